use pagewise_testkit::HashEmbedder;

use super::*;

fn query(text: &str, gold: &[usize], half: usize) -> Query {
    Query { text: text.into(), gold: gold.to_vec(), labels: BTreeMap::from([of_half(half, 2)]) }
}

fn set(tier: Tier) -> SearchSet {
    let documents = [
        "The ferry to the island leaves at nine.",
        "",
        "Ferries were painted blue, and ferries were slow.",
        "Code AB-1200-7 opens the gate.",
        "Nobody knows who built the tower.",
        "The ferry to the island leaves at nine.",
    ];
    SearchSet {
        source: "small".into(),
        tier,
        corpora: vec![Corpus {
            documents: documents.map(str::to_string).to_vec(),
            queries: vec![
                query("who built the tower", &[4], 0),
                query("ab-1200-7", &[3], 0),
                query("ferry to the island", &[0, 5], 1),
            ],
        }],
        has_identifiers: true,
        is_generated: false,
    }
}

fn measured(set: &SearchSet, cut: &Cut) -> Result<Vec<RetrievalReport>, MemoryBenchError> {
    let mut reports = Vec::new();
    let (embedder, cancelled) = (Arc::new(HashEmbedder::new()), AtomicBool::new(false));
    let sets = std::slice::from_ref(set);
    measure_retrieval(sets, cut, 1, embedder, &cancelled, &mut |one| reports.push(one))?;
    Ok(reports)
}

#[test]
fn queries_of_one_store_are_taken_together() {
    let mut two = set(Tier::Recall);
    two.corpora.push(two.corpora[0].clone());
    let stores = |set: &SearchSet| {
        let report = measured(set, &Cut::default()).unwrap().remove(0);
        let by: Vec<Option<usize>> =
            report.by.values().flat_map(|values| values.values()).map(|one| one.stores).collect();
        (report.share.n, report.share.stores, by)
    };
    // Of the first half each store has two queries, of the second one.
    assert_eq!(stores(&two), (6, Some(2), vec![Some(2), None]));
    assert_eq!(stores(&set(Tier::Recall)), (3, None, vec![None, None]));
}

#[test]
fn every_way_of_searching_either_tier_is_measured() {
    for tier in [Tier::Recall, Tier::Archival] {
        let reports = measured(&set(tier), &Cut::default()).unwrap();
        let arms: Vec<&str> = reports.iter().map(|report| &*report.arm).collect();
        assert_eq!(arms, ["bm25", "words", "meaning", "fused", "substring"]);
        for report in &reports {
            let ranking = report.ranking.as_ref().unwrap();
            assert_eq!((report.share.n, report.n_documents), (3, 6));
            assert!((report.share.accuracy - 1.0).abs() < 1e-12, "{report:?}");
            // One of two copies is the first, so that a third of the queries has half of its documents.
            assert!((ranking.recall[&1] - 5.0 / 6.0).abs() < 1e-12, "{report:?}");
            assert!((ranking.all_found.as_ref().unwrap()[&1] - 2.0 / 3.0).abs() < 1e-12);
            assert!((ranking.mrr_10 - 1.0).abs() < 1e-12 && (ranking.ndcg_10 - 1.0).abs() < 1e-12);
            assert_eq!((report.by["half"]["first"].n, report.by["half"]["second"].n), (2, 1));
            let uses_vectors = ["meaning", "fused"].contains(&&*report.arm);
            assert_eq!(report.model, if uses_vectors { "hash-64" } else { "none" });
        }
    }
}

#[test]
fn queries_can_be_chosen_and_documents_stay() {
    let of = |cut: &Cut| {
        let reports = measured(&set(Tier::Archival), cut).unwrap();
        (reports[0].share.n, reports[0].n_documents, reports[0].by["half"].clone())
    };
    let first = Cut { only: vec![("half".into(), "first".into())], ..Cut::default() };
    let (n, n_documents, by) = of(&first);
    assert_eq!((n, n_documents, by.len()), (2, 6, 1));
    // Two of three, evenly: the first and the second.
    assert_eq!(of(&Cut { limit: Some(2), ..Cut::default() }).0, 2);
    assert_eq!(of(&Cut { offset: 2, limit: Some(5), ..Cut::default() }).0, 1);
    let none = measured(&set(Tier::Archival), &Cut { offset: 3, ..Cut::default() }).unwrap_err();
    let said = none.to_string();
    assert_eq!(
        said,
        "there is no case to run: retrieval has 3, and the flags leave out all of them"
    );
}

#[test]
fn a_report_is_one_object_with_the_fields_of_the_other_tasks() {
    let mut report = measured(&set(Tier::Archival), &Cut::default()).unwrap().swap_remove(3);
    report.seconds_per_case = 0.5;
    insta::assert_snapshot!(serde_json::to_string_pretty(&report).unwrap());
    let written = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<RetrievalReport>(&written).unwrap(), report);
    let table = retrieval_table(&[report]);
    assert!(
        table.contains("| small | fused  | hash-64  | 6         | 3 | 0.833 | 1.000 | 1.000 |"),
        "{table}"
    );
}

#[test]
fn sets_are_made_of_public_data() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let error = retrieval_sets(Some(home.path()), 0).unwrap_err().to_string();
    assert!(error.contains("has no data for retrieval: it needs questions.jsonl with"), "{error}");
    write(
        "msc/conversations.jsonl",
        "{\"id\": \"a\", \"sessions\": [{\"turns\": [{\"speaker\": \"A\", \"text\": \"Hello\"}, \
         {\"speaker\": \"B\", \"text\": \"I row\", \"fact\": \"I row.\"}]}]}\n\
         {\"id\": \"b\", \"sessions\": [{\"turns\": [{\"speaker\": \"A\", \"text\": \"I weld\", \
         \"fact\": \"I weld.\"}]}]}\n",
    );
    write(
        "xquad/xquad.en.jsonl",
        "{\"title\": \"T\", \"paragraphs\": [{\"context\": \"A mill.\", \"qas\": [{\"id\": \"q\", \
         \"question\": \"What?\", \"answers\": [{\"text\": \"mill\"}]}]}]}\n",
    );
    let sets = retrieval_sets(Some(home.path()), 0).unwrap();
    let sources: Vec<&str> = sets.iter().map(SearchSet::source).collect();
    assert_eq!(sources, ["xquad", "msc, one conversation", "msc, all"]);
    assert_eq!(sets[0].corpora[0].documents, ["T: A mill."]);
    assert_eq!(sets[0].corpora[0].queries[0].text, "What?");
    assert_eq!((sets[1].corpora.len(), sets[2].corpora.len()), (2, 1));
    let all = &sets[2].corpora[0];
    assert_eq!(all.documents, ["Hello", "I row", "I weld"]);
    let gold: Vec<&[usize]> = all.queries.iter().map(|query| &*query.gold).collect();
    assert_eq!(gold, [&[1][..], &[2]]);
    assert_eq!(all.queries[1].labels["half"], "second");
    assert_eq!((sets[2].n_queries(), sets[2].n_documents()), (2, 3));
}
