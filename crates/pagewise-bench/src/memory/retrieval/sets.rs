//! What is searched: documents, queries, and which document is right for which query.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::memory::case::{Case, Tier};
use crate::memory::error::MemoryBenchError;
use crate::memory::task::Task;
use crate::memory::tasks::dmr::Conversation;
use crate::memory::{generate, load};

/// A set of queries over documents, in one store or in several.
#[derive(Debug, Clone)]
pub struct SearchSet {
    pub(crate) source: String,
    /// Where the documents are: what was said, or passages.
    pub(crate) tier: Tier,
    /// Each is a store of its own.
    pub(crate) corpora: Vec<Corpus>,
    /// Whether some queries are identifiers, which are looked for as they are.
    pub(crate) has_identifiers: bool,
    pub(crate) is_generated: bool,
}

/// Documents that are searched together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Corpus {
    pub(crate) documents: Vec<String>,
    pub(crate) queries: Vec<Query>,
}

/// What is looked for.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) text: String,
    /// The places of the documents that are right, at least one.
    pub(crate) gold: Vec<usize>,
    /// What it is counted under.
    pub(crate) labels: BTreeMap<String, String>,
}

impl SearchSet {
    /// How many queries there are.
    pub fn n_queries(&self) -> usize {
        self.corpora.iter().map(|corpus| corpus.queries.len()).sum()
    }

    /// How many documents there are.
    pub fn n_documents(&self) -> usize {
        self.corpora.iter().map(|corpus| corpus.documents.len()).sum()
    }

    /// The name.
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// The name of the label that tells the two halves of a set apart: one to develop against, one to report.
const HALF: &str = "half";

/// In which half of `n` the one at a place is.
pub(crate) fn of_half(place: usize, n: usize) -> (String, String) {
    (HALF.into(), if 2 * place < n { "first" } else { "second" }.into())
}

/// Returns all sets that a folder has, or in folders of their names; without one, the generated set.
pub fn retrieval_sets(data: Option<&Path>, seed: u64) -> Result<Vec<SearchSet>, MemoryBenchError> {
    let Some(folder) = data else { return Ok(vec![generate::retrieval::set(seed)]) };
    let mut sets = Vec::new();
    if let Some(folder) = load::find(folder, "nq_closed", "questions.jsonl") {
        sets.push(of_passages("nq_closed", &load::nq_closed::cases(&folder)?));
    }
    if let Some(folder) = load::find_any(folder, "hotpot", &load::hotpot::FILES) {
        sets.push(of_passages("hotpot", &load::hotpot::cases(&folder)?));
    }
    if let Some(folder) = load::find_any(folder, "xquad", &load::xquad::FILES) {
        sets.push(of_passages("xquad", &load::xquad::cases(&folder)?));
    }
    if let Some(folder) = load::find(folder, "cranfield", load::cranfield::JUDGEMENTS) {
        let mut corpus = load::cranfield::corpus(&folder)?;
        let n = corpus.queries.len();
        for (place, query) in corpus.queries.iter_mut().enumerate() {
            query.labels.extend([of_half(place, n)]);
        }
        sets.push(one("cranfield", Tier::Archival, vec![corpus]));
    }
    if let Some(folder) = load::find(folder, "msc", load::msc::FILE) {
        sets.extend(of_conversations(&load::msc::conversations(&folder)?));
    }
    if sets.is_empty() {
        return Err(MemoryBenchError::NoData {
            path: folder.into(),
            task: Task::Retrieval,
            wanted: "questions.jsonl with passages.jsonl, hotpot_distractor.jsonl, xquad.en.jsonl, qrels.jsonl with \
                docs.jsonl and queries.jsonl, or conversations.jsonl",
        });
    }
    Ok(sets)
}

fn one(source: &str, tier: Tier, corpora: Vec<Corpus>) -> SearchSet {
    let source = source.into();
    SearchSet { source, tier, corpora, has_identifiers: false, is_generated: false }
}

/// Questions on passages, all of which are in the memory of each.
fn of_passages(source: &str, cases: &[Case]) -> SearchSet {
    let passages = cases.first().map_or(&[][..], |case| &case.memory.passages);
    let documents: Vec<String> = passages.iter().map(|passage| passage.text.clone()).collect();
    let mut places = HashMap::new();
    for (place, text) in documents.iter().enumerate() {
        places.entry(text.as_str()).or_insert(place);
    }
    let mut queries = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let gold: Vec<usize> = (case.gold.evidence.iter())
            .filter_map(|text| places.get(text.as_str()).copied())
            .collect();
        let mut labels = case.labels.clone();
        labels.extend([of_half(number, cases.len())]);
        queries.push(Query { text: case.baseline.query.clone(), gold, labels });
    }
    one(source, Tier::Archival, vec![Corpus { documents, queries }])
}

/// What a speaker was noted to have revealed, and the turn in which; each conversation in a store of its
/// own, and all in one.
fn of_conversations(conversations: &[Conversation]) -> [SearchSet; 2] {
    let mut within = Vec::new();
    let mut all = Corpus::default();
    for (number, conversation) in conversations.iter().enumerate() {
        let mut corpus = Corpus::default();
        for turn in conversation.sessions.iter().flatten() {
            if !turn.fact.trim().is_empty() {
                let labels = BTreeMap::from([of_half(number, conversations.len())]);
                let gold = vec![corpus.documents.len()];
                let text = turn.fact.trim().to_string();
                corpus.queries.push(Query { text, gold, labels });
            }
            corpus.documents.push(turn.text.clone());
        }
        let before = all.documents.len();
        all.documents.extend(corpus.documents.iter().cloned());
        all.queries.extend(corpus.queries.iter().map(|query| Query {
            gold: query.gold.iter().map(|place| before + place).collect(),
            ..query.clone()
        }));
        within.push(corpus);
    }
    [one("msc, one conversation", Tier::Recall, within), one("msc, all", Tier::Recall, vec![all])]
}
