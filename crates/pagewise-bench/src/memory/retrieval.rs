//! How good the searches are by themselves, without a language model: how many of the texts that are known
//! to answer a query are among the first hits.
//!
//! A [`SearchSet`] has documents, put into a store as the agent would have them, and queries, each with the
//! documents that are right. Each way of searching the store is measured: `words`, `meaning`, `fused`, and
//! where queries are identifiers also `substring`. Beside them stands `bm25`, computed here over plain words
//! without stems, as a floor. `hnsw` and `exact` are the store's index of vectors against a scan of them all.
//!
//! Each document and each query is embedded once in a run, and before anything is timed. The accuracy is the
//! recall at 10, with its interval.

mod bm25;
mod known_vectors;
mod measures;
mod neighbours;
mod sets;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pagewise_core::{Embedder, MessageBody, Purpose};
use pagewise_memory::{ArchivalQuery, NewPassage, RecallQuery, SearchMode, Store};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use tempfile::TempDir;

pub(crate) use sets::{Corpus, Query, of_half};
pub use sets::{SearchSet, retrieval_sets};

use self::bm25::Bm25;
use self::known_vectors::Remembering;
use self::measures::{HITS_MAX, Measured, PAGE, measure};
use self::neighbours::{Neighbours, made_up};
use super::case::Tier;
use super::error::MemoryBenchError;
use super::measurement::Measurement;
use super::summary::{Share, text_table};
use super::task::Task;

/// Documents below which there is no use for an index of vectors.
const INDEX_DOCUMENTS_MIN: usize = 1_000;

/// How many vectors the index is compared with a scan on, as far as there are so many, and all of them.
const INDEX_SIZES: [usize; 3] = [1_000, 4_000, 16_000];

/// The same for vectors that are made up.
const MADE_UP_SIZES: [usize; 3] = [1_000, 5_000, 20_000];

const MADE_UP_QUERIES: usize = 200;

/// Which of the queries are run. The documents are always all there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// Only queries with these labels.
    pub only: Vec<(String, String)>,
    /// Leave out so many first.
    pub offset: usize,
    /// At most so many, evenly spread over what there are.
    pub limit: Option<usize>,
}

impl Cut {
    /// Whether all queries are run.
    fn is_whole(&self) -> bool {
        *self == Self::default()
    }
}

/// Says it behind the name of a set; nothing if all queries are run.
impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (label, value) in &self.only {
            write!(f, ", {label}={value}")?;
        }
        if self.offset > 0 {
            write!(f, ", offset {}", self.offset)?;
        }
        match self.limit {
            Some(limit) => write!(f, ", limit {limit}"),
            None => Ok(()),
        }
    }
}

/// What a way of searching a set comes to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetrievalReport {
    /// The task.
    pub task: Task,
    /// The name of the data set, or `generated`.
    pub source: String,
    /// Which of its queries were run.
    #[serde(default, skip_serializing_if = "Cut::is_whole")]
    pub cut: Cut,
    /// The embedder; `none` where nothing is searched by meaning.
    pub model: String,
    /// The way of searching.
    pub arm: String,
    /// Documents, or vectors, of which there may be several stores.
    pub n_documents: usize,
    /// Seeds the generator and the intervals.
    pub seed: u64,
    /// Queries and the mean recall at 10; for an index, of the 10 nearest that a scan finds.
    #[serde(flatten)]
    pub share: Share,
    /// The same for each value of each label.
    pub by: BTreeMap<String, BTreeMap<String, Share>>,
    /// Other measures, where documents are known to be right.
    #[serde(flatten)]
    pub ranking: Option<Ranking>,
    /// Time of a search, without that of embedding its query.
    pub seconds_per_case: f64,
    /// Time to make the index of vectors ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_seconds: Option<f64>,
}

/// Means over all queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// The share of the right documents among the first 1, 5, 10, 20 and 100 hits.
    #[serde(deserialize_with = "at_cuts")]
    pub recall: BTreeMap<usize, f64>,
    /// The share of queries for which all right documents are; only where some query has several.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_at_cuts")]
    pub all_found: Option<BTreeMap<usize, f64>>,
    /// nDCG of the first 10 hits, a document being right or not.
    pub ndcg_10: f64,
    /// The reciprocal rank of the first right document among 10 hits.
    pub mrr_10: f64,
    /// Mean average precision of the first 100 hits.
    pub map_100: f64,
}

/// Reads numbers that are text, which they stay in what is flattened.
fn at_cuts<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<usize, f64>, D::Error> {
    let named = BTreeMap::<String, f64>::deserialize(from)?;
    let numbered =
        named.into_iter().map(|(cut, value)| Ok((cut.parse().map_err(D::Error::custom)?, value)));
    numbered.collect()
}

fn some_at_cuts<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<BTreeMap<usize, f64>>, D::Error> {
    at_cuts(from).map(Some)
}

impl RetrievalReport {
    /// Returns the set with the queries of it that were run.
    pub fn set(&self) -> String {
        format!("{}{}", self.source, self.cut)
    }

    /// Returns what there is beside the recall at 10, by name.
    pub(crate) fn scores(&self) -> Vec<(String, f64)> {
        let Some(ranking) = &self.ranking else { return Vec::new() };
        let recall = ranking.recall.iter().map(|(cut, recall)| (format!("R@{cut}"), *recall));
        let Ranking { ndcg_10, mrr_10, map_100, .. } = ranking;
        let others = [("nDCG@10", ndcg_10), ("MRR@10", mrr_10), ("MAP@100", map_100)];
        recall.chain(others.map(|(name, value)| (name.into(), *value))).collect()
    }
}

/// Says which embedder there is behind the name of a search; nothing if there is none.
pub(crate) fn with_embedder(name: &str) -> String {
    if name == "none" { String::new() } else { format!(", {name}") }
}

impl Measurement for RetrievalReport {
    const TASK: Task = Task::Retrieval;

    fn name(&self) -> String {
        let Self { arm, n_documents, seed, share, .. } = self;
        let title = Task::Retrieval.title(None, &self.set());
        let embedder = with_embedder(&self.model);
        let n = share.n;
        format!("{title}, {arm}{embedder}: {n} queries on {n_documents} documents, seed {seed}")
    }

    /// As far as tables show it: what is written and read again may differ in its last digit.
    fn agrees(&self, other: &Self) -> bool {
        let [mine, others] = [self, other].map(|one| {
            let mut row = one.row();
            row.pop();
            row
        });
        mine == others
    }
}

/// A way of searching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Bm25,
    Store(SearchMode),
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Bm25 => "bm25",
            Self::Store(SearchMode::Words) => "words",
            Self::Store(SearchMode::Meaning) => "meaning",
            Self::Store(SearchMode::Fused) => "fused",
            Self::Store(SearchMode::Substring) => "substring",
        }
    }

    fn needs_embedder(self) -> bool {
        matches!(self, Self::Store(SearchMode::Meaning | SearchMode::Fused))
    }
}

/// Measures all ways of searching the sets, and hands out each report when it is done.
pub fn measure_retrieval(
    sets: &[SearchSet],
    cut: &Cut,
    seed: u64,
    embedder: Arc<dyn Embedder>,
    cancelled: &AtomicBool,
    report: &mut dyn FnMut(RetrievalReport),
) -> Result<(), MemoryBenchError> {
    // Conversations are searched alone and all together.
    let embedder = Arc::new(Remembering::new(embedder));
    let measuring = Measuring { cut, seed, embedder, cancelled };
    let mut n_queries = 0;
    for set in sets {
        n_queries += measuring.searches(set, report)?;
        measuring.index(set, report)?;
    }
    if n_queries == 0 {
        return Err(MemoryBenchError::NoCase {
            task: Task::Retrieval,
            n_cases: sets.iter().map(SearchSet::n_queries).sum(),
            asked: "the flags leave out all of them".into(),
        });
    }
    Ok(())
}

struct Measuring<'a> {
    cut: &'a Cut,
    seed: u64,
    embedder: Arc<Remembering>,
    cancelled: &'a AtomicBool,
}

/// A query with what tells its store from others; empty if there is only one.
struct StoreQuery<'a> {
    query: &'a Query,
    store: String,
}

/// The recalls of queries that are counted together, and their stores.
#[derive(Default)]
struct Group<'a> {
    recalls: Vec<f64>,
    stores: Vec<&'a str>,
}

/// What all queries of a way of searching came to.
#[derive(Default)]
struct Tally {
    measured: Vec<Measured>,
    seconds: f64,
}

impl Measuring<'_> {
    /// Measures the searches, and returns how many queries there were.
    fn searches(
        &self,
        set: &SearchSet,
        report: &mut dyn FnMut(RetrievalReport),
    ) -> Result<usize, MemoryBenchError> {
        let mut ways = vec![Way::Bm25, Way::Store(SearchMode::Words)];
        ways.extend([SearchMode::Meaning, SearchMode::Fused].map(Way::Store));
        if set.has_identifiers {
            ways.push(Way::Store(SearchMode::Substring));
        }
        let chosen = self.chosen(set);
        let mut tallies: Vec<Tally> = ways.iter().map(|_| Tally::default()).collect();
        let mut queries = Vec::new();
        for (number, (corpus, places)) in set.corpora.iter().zip(&chosen).enumerate() {
            if places.is_empty() {
                continue;
            }
            let asked: Vec<&Query> = places.iter().map(|place| &corpus.queries[*place]).collect();
            let texts: Vec<&str> = asked.iter().map(|query| &*query.text).collect();
            self.embed(&texts, Purpose::Query)?;
            let mut opened = Opened::new(set.tier, corpus, &self.embedder)?;
            for (way, tally) in ways.iter().zip(&mut tallies) {
                for query in &asked {
                    if self.cancelled.load(Ordering::Relaxed) {
                        return Err(MemoryBenchError::Cancelled);
                    }
                    let started = Instant::now();
                    let hits = opened.search(*way, &query.text)?;
                    tally.seconds += started.elapsed().as_secs_f64();
                    tally.measured.push(measure(&hits, &query.gold));
                }
            }
            let store = if set.corpora.len() > 1 { number.to_string() } else { String::new() };
            queries
                .extend(asked.into_iter().map(|query| StoreQuery { query, store: store.clone() }));
        }
        if !queries.is_empty() {
            for (way, tally) in ways.iter().zip(&tallies) {
                report(self.report(set, *way, &queries, tally));
            }
        }
        Ok(queries.len())
    }

    /// The places of the queries that are run, for each corpus.
    fn chosen(&self, set: &SearchSet) -> Vec<Vec<usize>> {
        let Cut { only, offset, limit } = self.cut;
        let has_labels = |query: &Query| {
            only.iter().all(|(label, value)| query.labels.get(label) == Some(value))
        };
        let mut all = Vec::new();
        for (number, corpus) in set.corpora.iter().enumerate() {
            let with = corpus.queries.iter().enumerate().filter(|(_, query)| has_labels(query));
            all.extend(with.map(|(place, _)| (number, place)));
        }
        let left = all.get(*offset..).unwrap_or_default();
        let n = limit.unwrap_or(left.len()).min(left.len());
        let mut chosen = vec![Vec::new(); set.corpora.len()];
        for number in 0..n {
            let (corpus, place) = left[number * left.len() / n];
            chosen[corpus].push(place);
        }
        chosen
    }

    fn embed(&self, texts: &[&str], purpose: Purpose) -> Result<Vec<Vec<f32>>, MemoryBenchError> {
        let vectors = self.embedder.vectors(texts, purpose);
        vectors.map_err(|error| MemoryBenchError::Store(error.into()))
    }

    fn report(
        &self,
        set: &SearchSet,
        way: Way,
        queries: &[StoreQuery<'_>],
        tally: &Tally,
    ) -> RetrievalReport {
        let n = queries.len().max(1) as f64;
        let mean = |of: &dyn Fn(&Measured) -> f64| tally.measured.iter().map(of).sum::<f64>() / n;
        let means = |of: &dyn Fn(&Measured) -> &BTreeMap<usize, f64>| -> BTreeMap<usize, f64> {
            measures::CUTS.iter().map(|cut| (*cut, mean(&|one| of(one)[cut]))).collect()
        };
        let recall_10: Vec<f64> = tally.measured.iter().map(|one| one.recall[&PAGE]).collect();
        let mut groups: BTreeMap<String, BTreeMap<String, Group<'_>>> = BTreeMap::new();
        for (StoreQuery { query, store }, recall) in queries.iter().zip(&recall_10) {
            for (label, value) in &query.labels {
                let values = groups.entry(label.clone()).or_default();
                let group = values.entry(value.clone()).or_default();
                group.recalls.push(*recall);
                group.stores.push(store);
            }
        }
        let share = |group: Group<'_>| Share::of(&group.recalls, &group.stores, self.seed);
        let by = |values: BTreeMap<String, Group<'_>>| {
            values.into_iter().map(|(value, group)| (value, share(group))).collect()
        };
        let stores: Vec<&str> = queries.iter().map(|asked| &*asked.store).collect();
        RetrievalReport {
            task: Task::Retrieval,
            source: set.source.clone(),
            cut: self.cut.clone(),
            model: if way.needs_embedder() { self.embedder.id() } else { "none" }.into(),
            arm: way.name().into(),
            n_documents: set.corpora.iter().map(|corpus| corpus.documents.len()).sum(),
            seed: self.seed,
            share: Share::of(&recall_10, &stores, self.seed),
            by: groups.into_iter().map(|(label, values)| (label, by(values))).collect(),
            ranking: Some(Ranking {
                recall: means(&|one| &one.recall),
                all_found: (queries.iter().any(|asked| asked.query.gold.len() > 1))
                    .then(|| means(&|one| &one.all_found)),
                ndcg_10: mean(&|one| one.ndcg_10),
                mrr_10: mean(&|one| one.mrr_10),
                map_100: mean(&|one| one.map_100),
            }),
            seconds_per_case: tally.seconds / n,
            build_seconds: None,
        }
    }

    /// Compares the index of vectors with a scan: on the vectors of a set that has one large store, and on
    /// more vectors than a generator has documents.
    fn index(
        &self,
        set: &SearchSet,
        report: &mut dyn FnMut(RetrievalReport),
    ) -> Result<(), MemoryBenchError> {
        let (seed, cancelled) = (self.seed, self.cancelled);
        if set.is_generated {
            let largest = MADE_UP_SIZES[MADE_UP_SIZES.len() - 1];
            let (vectors, queries) = made_up(largest, MADE_UP_QUERIES, seed);
            let (source, cut) = ("made-up vectors", &Cut::default());
            let neighbours = Neighbours { source, cut, model: "none", seed, cancelled };
            return neighbours.compare(&vectors, &queries, &MADE_UP_SIZES, report);
        }
        let [corpus] = &set.corpora[..] else { return Ok(()) };
        let places = self.chosen(set).remove(0);
        if corpus.documents.len() < INDEX_DOCUMENTS_MIN || places.is_empty() {
            return Ok(());
        }
        let documents: Vec<&str> = corpus.documents.iter().map(String::as_str).collect();
        let queries: Vec<&str> = places.iter().map(|place| &*corpus.queries[*place].text).collect();
        let vectors = self.embed(&documents, Purpose::Passage)?;
        let queries = self.embed(&queries, Purpose::Query)?;
        let mut sizes: Vec<usize> =
            INDEX_SIZES.into_iter().filter(|size| *size < documents.len()).collect();
        sizes.push(documents.len());
        let (source, cut, model) = (&set.source, self.cut, self.embedder.id());
        let neighbours = Neighbours { source, cut, model, seed, cancelled };
        neighbours.compare(&vectors, &queries, &sizes, report)
    }
}

/// A corpus in a store, and in an index of plain words.
struct Opened {
    tier: Tier,
    store: Store,
    bm25: Bm25,
    /// Where a document is in the corpus, by its number in the store.
    places: HashMap<i64, usize>,
    // After the store, which has files in it.
    _folder: TempDir,
}

impl Opened {
    fn new(
        tier: Tier,
        corpus: &Corpus,
        embedder: &Arc<Remembering>,
    ) -> Result<Self, MemoryBenchError> {
        let folder = new_folder()?;
        let mut store = Store::open(folder.path(), embedder.clone())?;
        let mut places = HashMap::new();
        store.transact(|tx| {
            let at = Timestamp::UNIX_EPOCH;
            // A text of nothing cannot be found, nor put into a store.
            let texts = corpus.documents.iter().enumerate();
            for (place, text) in texts.filter(|(_, text)| !text.trim().is_empty()) {
                let text = text.clone();
                let id = match tier {
                    Tier::Recall => tx.append(at, MessageBody::User { text })?.id.0,
                    // Each from a document of its own, so that a text may be there twice.
                    _ => {
                        let source = Some(place.to_string());
                        let passage = NewPassage { text, tags: Vec::new(), source, at };
                        tx.insert_passage(&passage)?.id().0
                    }
                };
                places.insert(id, place);
            }
            Ok(())
        })?;
        // In larger batches than the store's own.
        let texts: Vec<&str> = corpus.documents.iter().map(String::as_str).collect();
        let embedded = embedder.vectors(&texts, Purpose::Passage);
        embedded.map_err(|error| MemoryBenchError::Store(error.into()))?;
        store.embed_pending(usize::MAX)?;
        // Reads all vectors, which else the first search would.
        store.check()?;
        let bm25 = Bm25::new(&corpus.documents);
        Ok(Self { tier, store, bm25, places, _folder: folder })
    }

    /// Returns the places of what is found, best first.
    fn search(&mut self, way: Way, words: &str) -> Result<Vec<usize>, MemoryBenchError> {
        let mode = match way {
            Way::Bm25 => return Ok(self.bm25.search(words, HITS_MAX)),
            Way::Store(mode) => mode,
        };
        let (page, page_size) = (1, HITS_MAX as u32);
        let ids: Vec<i64> = match self.tier {
            Tier::Recall => {
                let found = self.store.recall_search(&RecallQuery {
                    words: Some(words.into()),
                    roles: Vec::new(),
                    from: None,
                    to: None,
                    time_zone: TimeZone::UTC,
                    before: None,
                    page,
                    page_size,
                    mode,
                })?;
                found.hits.iter().map(|hit| hit.message.id.0).collect()
            }
            _ => {
                let (words, tags) = (words.to_string(), Vec::new());
                let query = ArchivalQuery { words, tags, page, page_size, mode };
                let found = self.store.archival_search(&query)?;
                found.hits.iter().map(|hit| hit.passage.id.0).collect()
            }
        };
        Ok(ids.iter().filter_map(|id| self.places.get(id).copied()).collect())
    }
}

fn new_folder() -> Result<TempDir, MemoryBenchError> {
    tempfile::tempdir()
        .map_err(|error| MemoryBenchError::file(Path::new("a temporary folder"), &error))
}

impl RetrievalReport {
    /// Returns it as a row of a table; the time stands last.
    fn row(&self) -> Vec<String> {
        let Share { n, accuracy, ci95, .. } = &self.share;
        let scores: BTreeMap<String, f64> = self.scores().into_iter().collect();
        let score = |name| scores.get(name).map_or_else(|| "–".into(), |v| format!("{v:.3}"));
        vec![
            self.set(),
            self.arm.clone(),
            if self.model == "none" { "–".into() } else { self.model.clone() },
            self.n_documents.to_string(),
            n.to_string(),
            score("R@1"),
            score("R@5"),
            format!("{accuracy:.3}"),
            format!("{:.3} to {:.3}", ci95[0], ci95[1]),
            score("R@100"),
            score("nDCG@10"),
            score("MRR@10"),
            score("MAP@100"),
            format!("{:.2}", 1000.0 * self.seconds_per_case),
        ]
    }
}

/// Returns reports as rows, of which the first is the header.
pub(crate) fn retrieval_rows(reports: &[RetrievalReport]) -> Vec<Vec<String>> {
    let header = [
        "set",
        "search",
        "embedder",
        "documents",
        "n",
        "R@1",
        "R@5",
        "R@10",
        "95%",
        "R@100",
        "nDCG@10",
        "MRR@10",
        "MAP@100",
        "ms",
    ];
    let header = header.map(str::to_string).to_vec();
    std::iter::once(header).chain(reports.iter().map(RetrievalReport::row)).collect()
}

/// Writes reports as a table.
pub fn retrieval_table(reports: &[RetrievalReport]) -> String {
    text_table(&retrieval_rows(reports))
}

#[cfg(test)]
mod tests;
