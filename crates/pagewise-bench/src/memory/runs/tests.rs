use super::*;
use crate::memory::card::{Advice, Card};
use crate::memory::case::GameTask;
use crate::memory::csv::csv;
use crate::memory::diff::{Diff, Test};
use crate::memory::failure::Failure;
use crate::memory::html::html;
use crate::memory::leaderboard::Leaderboard;
use crate::memory::made_by::MadeBy;
use crate::memory::made_up::{cell, record, runs, settings};
use crate::memory::measurement::write_measurements;
use crate::memory::merge::merge;
use crate::memory::record::rewrite_records;
use crate::memory::retrieval::{Cut, Ranking, retrieval_table};
use crate::memory::schemas::{GrammarSummary, grammar_table};
use crate::memory::score::GameTaskScore;
use crate::memory::summary::{Share, table};

fn write(cells: &[Cell]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for cell in cells {
        rewrite_records(&folder.path().join(cell.settings.file_name()), &cell.records).unwrap();
    }
    folder
}

fn read(folders: &[&tempfile::TempDir]) -> Runs {
    let paths: Vec<PathBuf> = folders.iter().map(|folder| folder.path().into()).collect();
    Runs::read(&paths).unwrap()
}

#[test]
fn what_two_machines_ran_is_one_cell() {
    let whole = cell(&settings(Task::DocQa, Arm::Memgpt), 4, 2);
    let part = |from: usize, to: usize| Cell {
        records: whole.records[from..to].to_vec(),
        ..whole.clone()
    };
    let (first, mut second) = (part(0, 4), part(2, 6));
    // Another machine is slower, and says something else once.
    second.records.iter_mut().for_each(|record| record.seconds *= 3.0);
    second.records[1].reply = "In 1902.".into();
    let [a, b] = [first, second].map(|cell| write(&[cell]));
    let runs = read(&[&a, &b]);
    assert_eq!((runs.cells.len(), runs.cells[0].records.len(), runs.n_same), (1, 6, 1));
    let [contradiction] = &runs.contradictions[..] else { panic!("{:?}", runs.contradictions) };
    assert_eq!(contradiction.id, "c3");
    assert!(contradiction.kept.starts_with(a.path()) && contradiction.other.starts_with(b.path()));
    assert_eq!(runs.cells[0].records[3].reply, "In 1901.");

    let out = tempfile::tempdir().unwrap();
    let files = merge(&runs, out.path(), false).unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(read(&[&out]).cells[0].records.len(), 6);
    let error = merge(&runs, out.path(), false).unwrap_err().to_string();
    assert!(error.ends_with("has records already: give another folder"), "{error}");
}

#[test]
fn a_case_that_asks_for_something_else_is_another_one() {
    let first = cell(&settings(Task::DocQa, Arm::Memgpt), 4, 0);
    let mut second = first.clone();
    second.records[1].case.messages[0].text = "Tell me when it was built.".into();
    second.records[2].case.gold.answers = vec!["1902".into()];
    // Nor does one that failed give way to it.
    let mut failed = first.clone();
    failed.records[1].error = Some("no memory".into());
    for first in [&first, &failed].map(std::slice::from_ref) {
        let runs = read(&[&write(first), &write(std::slice::from_ref(&second))]);
        let others: Vec<(&str, bool)> =
            runs.contradictions.iter().map(|one| (&*one.id, one.is_other_case)).collect();
        assert_eq!((runs.n_same, &others[..]), (2, &[("c1", true), ("c2", true)][..]));
        assert_eq!(runs.cells[0].records[1].case.messages, first[0].records[1].case.messages);
    }

    let mut all_others = first.clone();
    all_others.records.iter_mut().for_each(|record| record.case.messages.clear());
    let mut one_was_right = second;
    one_was_right.records[3].score.correct = false;
    let [first, second, others] = [first, one_was_right, all_others].map(|cell| runs(vec![cell]));
    insta::assert_snapshot!(Diff::of(&first, &second).text(), @"
    doc-qa, m, memgpt, window 4096: 2 cases
      1.000 and 0.500: -0.500 (95%: -0.905 to +0.273), McNemar p = 1.000
      gained: none
      lost: c3
    left out of doc-qa, m, memgpt, window 4096: 2 cases that have another text in the second
    ");
    let none = Diff::of(&first, &others);
    assert!(none.is_empty());
    insta::assert_snapshot!(
        none.text(),
        @"left out of doc-qa, m, memgpt, window 4096: 4 cases that have another text in the second"
    );
}

#[test]
fn agents_with_other_prompts_are_never_one_row_or_one_card() {
    let with = |task: Task, prompts: &str, page_size: u32| {
        let mut settings = Settings { prompts: prompts.into(), ..settings(task, Arm::Memgpt) };
        settings.agent.page_size = page_size;
        cell(&settings, 3, 1)
    };
    let rows = |cells: Vec<Cell>| {
        let cells: Vec<tempfile::TempDir> = cells.into_iter().map(|cell| write(&[cell])).collect();
        let runs = read(&cells.iter().collect::<Vec<_>>());
        let rows: Vec<(String, usize)> = Leaderboard::of(&runs)
            .standings
            .into_iter()
            .map(|standing| (standing.model, standing.n_tasks))
            .collect();
        let mut cards: Vec<(String, usize)> =
            Card::all(&runs).into_iter().map(|card| (card.model, card.n_tasks)).collect();
        cards.sort_by_key(|(_, n)| usize::MAX - n);
        assert_eq!(cards, rows);
        rows
    };
    let row = |model: &str, n: usize| (model.to_string(), n);
    // A task may have a page size of its own; that is one agent still.
    let one = vec![with(Task::NestedKv, "aaaaaaaaaaaa", 5), with(Task::DocQa, "aaaaaaaaaaaa", 6)];
    assert_eq!(rows(one.clone()), [row("m", 2)]);
    let two = [one.clone(), vec![with(Task::Dmr, "bbbbbbbbbbbb", 6)]].concat();
    assert_eq!(rows(two.clone()), [row("m, prompts aaaaaaaa", 2), row("m, prompts bbbbbbbb", 1)]);
    // Function calls are asked without an agent's prompts.
    let calls = vec![with(Task::FunctionCalls, "aaaaaaaaaaaa", 6)];
    assert_eq!(rows([one.clone(), calls.clone()].concat()), [row("m", 3)]);
    assert_eq!(
        rows([two.clone(), calls].concat()),
        [row("m, prompts aaaaaaaa", 2), row("m, prompts bbbbbbbb", 1), row("m", 1)]
    );
    // Whichever task has both.
    let both = [two, vec![with(Task::NestedKv, "bbbbbbbbbbbb", 5)]].concat();
    assert_eq!(rows(both), [row("m, prompts aaaaaaaa", 2), row("m, prompts bbbbbbbb", 2)]);
    let pages = [one, vec![with(Task::DocQa, "aaaaaaaaaaaa", 3)]].concat();
    assert_eq!(rows(pages), [row("m", 2), row("m, other agent.page_size", 1)]);
}

#[test]
fn whose_the_seconds_are_is_told_when_runs_are_joined() {
    let mut both = cell(&settings(Task::DocQa, Arm::Memgpt), 3, 0);
    for (place, record) in both.records.iter_mut().enumerate().skip(1) {
        record.made_by = Some(MadeBy {
            version: "0.1.0".into(),
            processor: (place == 1).then(|| "Some \"CPU\"".into()),
            device: if place == 1 { "cpu" } else { "cuda" }.into(),
            kernels: (place == 1).then(|| "avx2".into()),
            threads: 2,
            jobs: 1,
            date: jiff::civil::date(2026, 1, 5),
        });
    }
    let read = read(&[&write(std::slice::from_ref(&both))]);
    let made = read.cells[0].summary().made_by;
    assert_eq!(made.iter().map(|one| one.n).collect::<Vec<_>>(), [1, 1]);
    insta::assert_snapshot!(
        serde_json::to_string(&made[1]).unwrap(),
        @r#"{"version":"0.1.0","processor":"Some \"CPU\"","device":"cpu","kernels":"avx2","threads":2,"jobs":1,"date":"2026-01-05","n":1}"#
    );
    let csv = csv(&read);
    let last = csv.lines().nth(1).unwrap().split("\"none=3\",").last().unwrap();
    insta::assert_snapshot!(
        last,
        @r#""pagewise 0.1.0, unknown processor, cuda, threads 2, jobs 1, 2026-01-05 (n 1); pagewise 0.1.0, Some ""CPU"", cpu, avx2, threads 2, jobs 1, 2026-01-05 (n 1)""#
    );
}

#[test]
fn what_has_no_model_is_read_beside_records_and_once() {
    let folder = write(&[cell(&settings(Task::DocQa, Arm::Memgpt), 1, 0)]);
    let (searches, schemas) = (searches(0.5), schemas(2));
    write_measurements(folder.path(), &searches).unwrap();
    write_measurements(folder.path(), &schemas).unwrap();
    assert_eq!(record_files(folder.path()).unwrap().len(), 1);
    // A second run takes the place of what is the same, and leaves the rest.
    write_measurements(folder.path(), &searches[1..]).unwrap();
    let other = tempfile::tempdir().unwrap();
    write_measurements(other.path(), &schemas[..1]).unwrap();
    let mut otherwise = schemas[1].clone();
    otherwise.valid_accepted = [0, 1];
    write_measurements(other.path(), &[otherwise]).unwrap();
    assert!(record_files(other.path()).is_err());
    let both = read(&[&folder, &other]);
    assert_eq!((both.cells.len(), both.searches.len(), both.schemas.len()), (1, 4, 3));
    assert_eq!((both.n_same, both.contradictions.len()), (1, 1));
    assert_eq!(both.contradictions[0].id, "grammar (maskbench), tokenizer of m, s1");

    let out = tempfile::tempdir().unwrap();
    assert_eq!(merge(&both, out.path(), false).unwrap().len(), 3);
    let merged = read(&[&out, &folder]);
    assert_eq!((merged.n_same, merged.contradictions.len()), (1 + 4 + 3, 0));
}

#[test]
fn what_older_programs_left_of_schemas_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let line = r#"{"id":"a","family":"b","features":[],"compile_us":9,"valid_accepted":[1,1],"invalid_refused":[0,0]}"#;
    fs::write(folder.path().join("grammar.some-model.jsonl"), format!("{line}\n")).unwrap();
    let summary = GrammarSummary::all(&read(&[&folder]).schemas).remove(0);
    assert_eq!((&*summary.source, summary.masks, summary.share.n), ("not recorded", 0, 1));
}

/// Two ways of searching a set, and an index beside a scan.
fn searches(recall: f64) -> Vec<RetrievalReport> {
    let report = |source: &str, arm: &str, model: &str, ranking: Option<Ranking>| RetrievalReport {
        task: Task::Retrieval,
        source: source.into(),
        cut: Cut::default(),
        model: model.into(),
        arm: arm.into(),
        n_documents: 100,
        seed: 0,
        share: Share { n: 20, accuracy: recall, ci95: [0.25, 0.75], stores: None },
        by: BTreeMap::new(),
        ranking,
        seconds_per_case: 0.001,
        build_seconds: None,
    };
    let ranking = Ranking {
        recall: BTreeMap::from([(1, 0.25), (5, 0.5), (10, recall), (20, 0.75), (100, 1.0)]),
        all_found: None,
        ndcg_10: 0.375,
        mrr_10: 0.25,
        map_100: 0.25,
    };
    vec![
        report("xquad", "bm25", "none", Some(ranking.clone())),
        report("xquad", "fused", "e", Some(ranking)),
        report("made-up vectors", "exact", "none", None),
        report("made-up vectors", "hnsw", "none", None),
    ]
}

/// Three schemas, of which the first so many are right.
fn schemas(n_right: usize) -> Vec<MeasuredSchema> {
    let schema = |n: usize| MeasuredSchema {
        source: "maskbench".into(),
        model: "m".into(),
        id: format!("s{n}"),
        family: "texts".into(),
        features: Vec::new(),
        compile_us: 100.0,
        unsupported: None,
        valid_accepted: [1, 1],
        invalid_refused: [usize::from(n < n_right), 1],
        mask_us: vec![1.0, 2.5, 4.0],
    };
    (0..3).map(schema).collect()
}

#[test]
fn what_has_no_model_is_in_every_table() {
    let runs = Runs { searches: searches(0.5), schemas: schemas(2), ..Runs::default() };
    let texts = [
        retrieval_table(&runs.searches),
        grammar_table(&GrammarSummary::all(&runs.schemas)),
        csv(&runs),
    ];
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn what_has_no_model_is_compared() {
    let runs = |recall, n_right| Runs {
        cells: vec![cell(&settings(Task::DocQa, Arm::Memgpt), 1, 0)],
        searches: searches(recall),
        schemas: schemas(n_right),
        ..Runs::default()
    };
    let mut second = runs(0.625, 3);
    second.searches.remove(3);
    second.searches[1].model = "f".into();
    insta::assert_snapshot!(Diff::of(&runs(0.5, 2), &second).text(), @r#"
    doc-qa, m, memgpt, window 4096: 1 cases
      1.000 and 1.000: +0.000 (95%: -0.793 to +0.793), McNemar p = 1.000
      gained: none
      lost: none
    grammar (maskbench), tokenizer of m: 3 schemas
      0.667 and 1.000: +0.333 (95%: -0.291 to +0.792), McNemar p = 1.000
      gained: s2
      lost: none
    retrieval (xquad), bm25: 20 queries on 100 documents
      R@10 0.500 and 0.625: +0.125; nDCG@10 0.375 and 0.375: +0.000
    retrieval (xquad), fused, e and f: 20 queries on 100 documents
      R@10 0.500 and 0.625: +0.125; nDCG@10 0.375 and 0.375: +0.000
    retrieval (made-up vectors), exact: 20 queries on 100 documents
      R@10 0.500 and 0.625: +0.125
    searches have no interval: their queries are not recorded one by one
    only in the first: retrieval (made-up vectors), hnsw: 20 queries on 100 documents, seed 0
    "#);
}

#[test]
fn the_cloze_of_msc_is_named_one_wherever_it_is_shown() {
    let of_msc = |arm| Settings { source: "msc".into(), ..settings(Task::Dmr, arm) };
    let runs = runs([Arm::Memgpt, Arm::NoMemory].map(|arm| cell(&of_msc(arm), 2, 1)).to_vec());
    let texts = [
        table(&runs.cells.iter().map(Cell::summary).collect::<Vec<_>>()),
        Leaderboard::of(&runs).text(),
        Card::all(&runs)[0].markdown(),
        csv(&runs),
        Diff::of(&runs, &runs).text(),
        runs.cells[0].title(),
        html(&runs),
    ];
    for text in texts {
        let n_named = text.matches("dmr (MSC-cloze)").count();
        assert!(n_named > 0, "{text}");
        // In CSV the task has a column of its own, beside that of the source.
        let n_plain = text.matches("dmr").count() - text.matches("\ndmr,").count();
        assert_eq!(n_plain, n_named, "{text}");
    }
    // What records are found by is as it was.
    assert_eq!(runs.cells[0].settings.file_name(), "dmr.m.memgpt.4096.jsonl");
}

#[test]
fn a_search_without_a_choice_is_counted() {
    let mut records = cell(&settings(Task::DocQa, Arm::Memgpt), 2, 0).records;
    records[0].events[0].steps[0].tokens.generated = 0;
    let summary = Summary::of(&records[0].settings.clone(), &records);
    assert_eq!((summary.searches, summary.runtime_searches), (Some(2), Some(1)));
    let text = table(&[summary]);
    assert!(text.contains("1 of 2 searches left the model nothing to choose"), "{text}");
}

#[test]
fn a_case_that_failed_here_and_not_there_is_the_one_that_did_not() {
    let good = cell(&settings(Task::DocQa, Arm::Memgpt), 2, 0);
    let mut failed = good.clone();
    for record in &mut failed.records {
        record.error = Some("no memory".into());
        record.score.correct = false;
    }
    let [good, failed] = [good, failed].map(|cell| write(&[cell]));
    for folders in [[&good, &failed], [&failed, &good]] {
        let runs = read(&folders);
        assert!(runs.contradictions.is_empty());
        assert!(runs.cells[0].records.iter().all(|record| record.error.is_none()));
    }
    // What counts is told by the file where it is.
    let mut otherwise = cell(&settings(Task::DocQa, Arm::Memgpt), 2, 0);
    otherwise.records[1].reply = "In 1902.".into();
    let runs = read(&[&failed, &good, &write(&[otherwise])]);
    assert!(runs.contradictions[0].kept.starts_with(good.path()), "{:?}", runs.contradictions);
}

#[test]
fn counts_that_cannot_be_are_no_panic() {
    let mut records = cell(&settings(Task::DocQa, Arm::Memgpt), 2, 0).records;
    let mut told = |n: usize, n_invalid: usize| {
        for record in &mut records {
            record.events[0].n_calls_written = Some(n);
            record.events[0].n_invalid = n_invalid;
            record.tokens.forced = n;
        }
        table(&[Summary::of(&records[0].settings.clone(), &records)])
    };
    let text = told(1, 2);
    assert!(text.contains("0 of 2 calls that the model wrote are valid"), "{text}");
    told(usize::MAX, usize::MAX);
}

#[test]
fn what_differs_in_a_setting_is_never_one_cell() {
    let one = cell(&settings(Task::DocQa, Arm::Memgpt), 3, 0);
    let mut other = settings(Task::DocQa, Arm::Memgpt);
    other.prompts = "q".into();
    other.agent.page_size = 3;
    let other = cell(&other, 0, 3);
    let (a, b) = (write(&[one]), write(&[other]));
    let runs = read(&[&a, &b]);
    let variants: Vec<String> = runs.cells.iter().map(Cell::variant).collect();
    assert_eq!(variants, ["", ", other prompts, agent.page_size"]);
    let out = tempfile::tempdir().unwrap();
    let error = merge(&runs, out.path(), false).unwrap_err().to_string();
    assert_eq!(
        error,
        "doc-qa memgpt of m was run with other prompts, agent.page_size here than there: such records are not \
         counted together"
    );
    let files = merge(&runs, out.path(), true).unwrap();
    let names: Vec<_> =
        files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["doc-qa.m.memgpt.4096.jsonl", "doc-qa.m.memgpt.4096.2.jsonl"]);
    assert_eq!(read(&[&out]).cells.len(), 2);
    let board = Leaderboard::of(&runs);
    assert_eq!(board.standings.len(), 2, "{board:?}");
}

#[test]
fn where_no_agent_answers_its_settings_are_no_difference() {
    let usual = settings(Task::DocQa, Arm::FullContext);
    let mut other = usual.clone();
    other.prompts = "q".into();
    other.agent.page_size = 3;
    other.now = "2026-01-05T21:00:00Z".parse().unwrap();
    let mut shorter = usual.clone();
    shorter.agent.answer_tokens = 9;
    let [a, b, c] = [usual, other, shorter].map(|settings| write(&[cell(&settings, 2, 0)]));
    assert_eq!(read(&[&a, &b]).cells.len(), 1);
    let variants: Vec<String> = read(&[&a, &c]).cells.iter().map(Cell::variant).collect();
    assert_eq!(variants, ["", ", other agent.answer_tokens"]);
}

#[test]
fn a_record_from_a_later_program_is_refused_and_an_older_one_read() {
    let one = cell(&settings(Task::DocQa, Arm::Memgpt), 1, 0);
    let folder = write(std::slice::from_ref(&one));
    let file = folder.path().join(one.settings.file_name());
    let text = fs::read_to_string(&file).unwrap();
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        change(&mut value);
        fs::write(&file, format!("{value}\n")).unwrap();
        Runs::read(&[folder.path().into()])
    };
    let old = with(&|record| {
        record["settings"]["format"] = 1.into();
        record["settings"].as_object_mut().unwrap().remove("weights");
    });
    assert_eq!(old.unwrap().cells[0].settings.weights, "");
    let late = with(&|record| {
        record["settings"]["format"] = 9.into();
        record["settings"]["colour"] = "blue".into();
    });
    let error = late.unwrap_err().to_string();
    assert!(
        error.ends_with("line 1: a record of layout 9, and this program reads them up to 3"),
        "{error}"
    );
    let empty = tempfile::tempdir().unwrap();
    let error = Runs::read(&[empty.path().into()]).unwrap_err().to_string();
    assert!(error.ends_with("has no records"), "{error}");
}

#[test]
fn a_diff_names_what_changed_and_what_was_set_otherwise() {
    let before = settings(Task::DocQa, Arm::Memgpt);
    let mut after = before.clone();
    after.agent.page_size = 3;
    after.model = "n".into();
    let mut later = cell(&after, 10, 10);
    // Six are gained, one is lost, and one is new.
    (10..16).for_each(|place| later.records[place].score.correct = true);
    later.records[0].score.correct = false;
    later.records.push(record(&after, "new", true, &[]));
    let first = runs(vec![cell(&before, 10, 10), cell(&settings(Task::Dmr, Arm::Memgpt), 1, 0)]);
    let diff = Diff::of(&first, &runs(vec![later]));
    let [one] = &diff.cells[..] else { panic!("{diff:?}") };
    let paired = &one.paired;
    assert_eq!((paired.n, paired.gained.len(), &paired.lost[..]), (20, 6, &["c0".to_string()][..]));
    assert!(
        (paired.difference - 0.25).abs() < 1e-12 && (paired.p - 0.125).abs() < 1e-12,
        "{one:?}"
    );
    assert!(paired.ci95[0] < 0.0 && paired.ci95[1] > 0.4, "{:?}", paired.ci95);
    insta::assert_snapshot!(diff.text(), @r#"
    doc-qa, m and n, memgpt, window 4096: 20 cases
      0.500 and 0.750: +0.250 (95%: -0.010 to +0.466), McNemar p = 0.125
      gained: c10, c11, c12, c13, c14, c15
      lost: c0
      model: "m" and "n"
      agent.page_size: 6 and 3
    only in the first: dmr (cloze), m, memgpt, window 4096
    "#);
}

#[test]
fn cases_of_one_store_that_change_together_are_less_sure() {
    let settings = settings(Task::DocQa, Arm::Memgpt);
    let pair = |has_stores: bool| {
        let [mut first, mut second] = [cell(&settings, 0, 40), cell(&settings, 0, 40)];
        for (place, (a, b)) in first.records.iter_mut().zip(&mut second.records).enumerate() {
            // In five stores all are gained, in the other five none.
            b.score.correct = place / 4 % 2 == 0;
            if has_stores {
                a.store = format!("s{}", place / 4);
            }
        }
        Diff::of(&runs(vec![first]), &runs(vec![second])).cells[0].paired.clone()
    };
    let (alone, together) = (pair(false), pair(true));
    let ends = [alone.ci95, together.ci95];
    assert!(ends[1][0] < ends[0][0] - 0.05 && ends[1][1] > ends[0][1] + 0.05, "{ends:?}");
    assert_eq!((alone.test, alone.stores), (Test::Mcnemar, None));
    assert!(alone.p < 1e-5, "{}", alone.p);
    // Five stores that changed, all one way: 2 of 2^5.
    assert_eq!((together.test, together.stores), (Test::SignFlip, Some(10)));
    assert!((together.p - 0.0625).abs() < 1e-12, "{}", together.p);
}

#[test]
fn a_leaderboard_counts_each_task_once() {
    let model = |name: &str, kv: [usize; 2], qa: [usize; 2]| {
        let mut kv_settings = settings(Task::NestedKv, Arm::Memgpt);
        kv_settings.model = name.into();
        let mut nested = cell(&kv_settings, 0, 0);
        for (ask, n_right) in ["nested", "direct"].iter().zip(kv) {
            for n in 0..10 {
                let id = format!("{ask}-{n}");
                nested.records.push(record(&kv_settings, &id, n < n_right, &[("ask", ask)]));
            }
        }
        let qa_settings = Settings { task: Task::DocQa, ..kv_settings };
        vec![nested, cell(&qa_settings, qa[0], qa[1])]
    };
    // Following every chain to its end is right for the one half and wrong for the other.
    let mut cells = model("pushed", [10, 0], [30, 10]);
    cells.extend(model("better", [8, 8], [30, 10]));
    for (task, right, wrong) in [(Task::DocQa, 40, 0), (Task::Opener, 0, 40)] {
        let settings = Settings { model: "partly".into(), ..settings(task, Arm::Memgpt) };
        cells.push(cell(&settings, right, wrong));
    }
    let board = Leaderboard::of(&runs(cells));
    insta::assert_snapshot!(board.text(), @r#"
    | model  | window | nested-kv                 | doc-qa                    | opener                    | mean                        |
    | ------ | ------ | ------------------------- | ------------------------- | ------------------------- | --------------------------- |
    | better | 4096   | 0.80 (0.58 to 0.90, n 20) | 0.75 (0.60 to 0.86, n 40) | –                         | 0.78 (0.64 to 0.85, 2 of 2) |
    | pushed | 4096   | 0.50 (0.36 to 0.64, n 20) | 0.75 (0.60 to 0.86, n 40) | –                         | 0.62 (0.52 to 0.71, 2 of 2) |
    | partly | 4096   | –                         | 1.00 (0.91 to 1.00, n 40) | 0.00 (0.00 to 0.09, n 40) | 1.00 (0.91 to 1.00, 1 of 2) |
    The memgpt arm. Each task counts once in the mean, but for opener, whose nearness is no share of what is right; nested-kv is the mean of accuracy and control, and bfcl-memory has only what the agent saved to answer from.
    "#);
}

#[test]
fn a_question_that_was_asked_both_ways_counts_once() {
    let settings = settings(Task::BfclMemory, Arm::Memgpt);
    let mut both = cell(&settings, 0, 0);
    for (kind, n_right) in [("written", 2), ("recall", 9)] {
        let one = |n| record(&settings, &format!("q{n}-{kind}"), n < n_right, &[("memory", kind)]);
        both.records.extend((0..10).map(one));
    }
    let accuracies = |cell: &Cell| {
        let share = |part: &Part<'_>| part.figures(0).share.accuracy;
        cell.parts().iter().map(|part| (part.name.clone(), share(part))).collect::<Vec<_>>()
    };
    assert_eq!(
        accuracies(&both),
        [("bfcl-memory".into(), 0.2), ("bfcl-memory recall".into(), 0.9)]
    );
    let summary = both.summary();
    assert_eq!((summary.share.n, summary.share.accuracy), (10, 0.2));
    assert_eq!((summary.by["memory"]["recall"].n, summary.n_run()), (10, 20));
    let score = |cell: &Cell| {
        let board = Leaderboard::of(&runs(vec![cell.clone()]));
        board.standings[0].scores[0].as_ref().map(|score| (score.n, score.score))
    };
    assert_eq!(score(&both), Some((10, 0.2)));
    // What was asked one way alone is all there is to count.
    both.records.drain(..10);
    assert_eq!(score(&both), Some((10, 0.9)));
}

/// Games of four tasks each, of which so many are done.
fn games(n_done: &[u32]) -> Cell {
    let mut games = cell(&settings(Task::Quest, Arm::Memgpt), 0, n_done.len());
    for (record, n_done) in games.records.iter_mut().zip(n_done.iter().copied()) {
        record.score.correct = n_done == 4;
        for number in 0..4 {
            let age = if number < 2 { "new" } else { "old" };
            record.case.tasks.push(GameTask {
                labels: BTreeMap::from([("age".into(), age.into())]),
                gold: record.case.gold.clone(),
            });
            let correct = number < n_done;
            let failure = if correct { Failure::None } else { Failure::Misread };
            record.score.tasks.push(GameTaskScore { correct, failure });
        }
        record.score.fraction = Some(f64::from(n_done) / 4.0);
    }
    games
}

#[test]
fn a_diff_of_games_counts_their_tasks() {
    let [first, second] = [[3, 1, 2, 0], [4, 3, 1, 0]].map(|n_done| runs(vec![games(&n_done)]));
    insta::assert_snapshot!(Diff::of(&first, &second).text(), @r#"
    quest, m, memgpt, window 4096: 4 cases
      0.375 and 0.500: +0.125 (95%: -0.164 to +0.414), sign-flip p = 0.750
      gained: c0, c1
      lost: c2
    "#);
    let one = |n_done: u32| runs(vec![games(&[n_done])]);
    assert_eq!(Diff::of(&one(1), &one(3)).cells[0].paired.ci95, [-1.0, 1.0]);
}

#[test]
fn a_card_counts_the_tasks_of_games() {
    let cards = Card::all(&runs(vec![games(&[3, 1])]));
    let line = &cards[0].lines[0];
    assert_eq!((line.memgpt.n, line.memgpt.accuracy), (2, 0.5));
    assert_eq!(line.details(), "4 of 8 wrong (misread 4); by age: new: 3/4, old: 1/4");
}

#[test]
fn a_card_says_what_the_figures_allow() {
    let mut cells = vec![
        cell(&settings(Task::DocQa, Arm::Memgpt), 38, 2),
        cell(&settings(Task::Dmr, Arm::Memgpt), 2, 38),
        cell(&settings(Task::Opener, Arm::Memgpt), 2, 38),
    ];
    for (n, arm) in [(12, Arm::NoMemory), (20, Arm::FullContext)] {
        cells.push(cell(&settings(Task::DocQa, arm), n, 40 - n));
    }
    let cards = Card::all(&runs(cells));
    let [card] = &cards[..] else { panic!("{cards:?}") };
    let advice: Vec<Option<Advice>> = card.lines.iter().map(|line| line.advice).collect();
    assert_eq!(advice, [Some(Advice::Advised), Some(Advice::Against), None]);
    insta::assert_snapshot!(card.markdown(), @r#"
    # m as a manager of its memory

    Context window 4096 tokens; 120 cases of 3 tasks; weights w.

    | task        | n  | accuracy | 95%          | full context | no memory   | memory adds            | calls | tokens | s   | advice     |
    | ----------- | -- | -------- | ------------ | ------------ | ----------- | ---------------------- | ----- | ------ | --- | ---------- |
    | doc-qa      | 40 | 0.95     | 0.83 to 0.99 | 0.50 (n 40)  | 0.30 (n 40) | +0.65 (+0.46 to +0.77) | 2.0   | 924    | 2.0 | use        |
    | dmr (cloze) | 40 | 0.05     | 0.01 to 0.17 | –            | –           | –                      | 2.0   | 924    | 2.0 | do not use |
    | opener      | 40 | 0.05     | 0.01 to 0.17 | –            | –           | –                      | 2.0   | 924    | 2.0 | –          |

    - **doc-qa**: 2 of 40 wrong (misread 2)
    - **dmr (cloze)**: 38 of 40 wrong (misread 38)
    - **opener**: 38 of 40 wrong (misread 38)

    "use": the lower end of the 95% interval is at least 0.75; "do not use": its upper end is below 0.5; "check replies": neither; of openers none is given, since nearness is no share of what is right. "memory adds": accuracy less that of the question alone, over the cases that both arms have. Calls, tokens and seconds are means over cases; seconds are those of the machine that ran them.
    "#);
}

#[test]
fn a_line_of_csv_for_each_part() {
    let settings = settings(Task::NestedKv, Arm::Memgpt);
    let mut nested = cell(&settings, 0, 0);
    for (ask, correct) in [("nested", true), ("direct", false), ("direct", true)] {
        nested.records.push(record(
            &settings,
            &format!("{ask}{correct}"),
            correct,
            &[("ask", ask)],
        ));
    }
    insta::assert_snapshot!(csv(&runs(vec![nested])), @r#"
    task,part,source,model,weights,arm,window,seed,differing,n,stores,documents,accuracy,low95,high95,steps_per_case,tokens_per_case,written_tokens_per_case,seconds_per_case,reply_chars,searches_per_case,runtime_searches_per_case,scores,failures,made_by
    nested-kv,"nested-kv","generated","m","w",memgpt,4096,0,"",1,,,1.000000,0.206549,1.000000,2.000,924.0,24.0,2.000,8.0,1.000,0.000,"f1 0.500","none=1",""
    nested-kv,"nested-kv control","generated","m","w",memgpt,4096,0,"",2,,,0.500000,0.094531,0.905469,2.000,924.0,24.0,2.000,8.0,1.000,0.000,"f1 0.500","none=1 misread=1",""
    "#);
}
