//! The store's index of vectors against a scan of all of them: how many of the nearest it finds, and how
//! fast.
//!
//! Both are the search of archival storage as the agent has it, but for the threshold up to which a store
//! scans. The vectors are known before, so that neither embedding nor a model is in the times.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use jiff::Timestamp;
use pagewise_memory::{ArchivalQuery, NewPassage, SearchMode, Store, StoreOptions};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::known_vectors::Listed;
use super::measures::PAGE;
use super::{Cut, RetrievalReport, new_folder};
use crate::memory::error::MemoryBenchError;
use crate::memory::summary::Share;
use crate::memory::task::Task;

/// Queries of a comparison.
const QUERIES_MAX: usize = 200;

/// What is compared.
pub(super) struct Neighbours<'a> {
    pub(super) source: &'a str,
    pub(super) cut: &'a Cut,
    pub(super) model: &'a str,
    pub(super) seed: u64,
    pub(super) cancelled: &'a AtomicBool,
}

/// What one of the two found.
struct Found {
    hits: Vec<Vec<String>>,
    seconds_per_query: f64,
    build_seconds: f64,
}

impl Neighbours<'_> {
    /// Compares the two on the first vectors, as many as each of `sizes` says.
    pub(super) fn compare(
        &self,
        vectors: &[Vec<f32>],
        queries: &[Vec<f32>],
        sizes: &[usize],
        report: &mut dyn FnMut(RetrievalReport),
    ) -> Result<(), MemoryBenchError> {
        let n = queries.len().min(QUERIES_MAX);
        let queries: Vec<Vec<f32>> =
            (0..n).map(|number| queries[number * queries.len() / n].clone()).collect();
        for size in sizes {
            let listed =
                Arc::new(Listed { vectors: vectors[..*size].to_vec(), queries: queries.clone() });
            let exact = self.search(&listed, usize::MAX)?;
            let graph = self.search(&listed, 0)?;
            for (arm, found) in [("exact", &exact), ("hnsw", &graph)] {
                report(self.report(arm, *size, found, &exact.hits));
            }
        }
        Ok(())
    }

    fn search(&self, listed: &Arc<Listed>, threshold: usize) -> Result<Found, MemoryBenchError> {
        let folder = new_folder()?;
        let options = StoreOptions { graph_threshold: threshold, ..StoreOptions::default() };
        let mut store = Store::open_with(folder.path(), listed.clone(), options)?;
        store.transact(|tx| {
            (0..listed.vectors.len()).try_for_each(|place| {
                let at = Timestamp::UNIX_EPOCH;
                let (text, tags) = (place.to_string(), Vec::new());
                tx.insert_passage(&NewPassage { text, tags, source: None, at }).map(drop)
            })
        })?;
        store.embed_pending(usize::MAX)?;
        let started = Instant::now();
        // Reads the vectors, and brings the graph to its end if there is to be one.
        store.check()?;
        let build_seconds = started.elapsed().as_secs_f64();
        let mut hits = Vec::new();
        let started = Instant::now();
        for query in 0..listed.queries.len() {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(MemoryBenchError::Cancelled);
            }
            let page = store.archival_search(&ArchivalQuery {
                words: query.to_string(),
                tags: Vec::new(),
                page: 1,
                page_size: PAGE as u32,
                mode: SearchMode::Meaning,
            })?;
            hits.push(page.hits.into_iter().map(|hit| hit.passage.text).collect());
        }
        let seconds_per_query =
            started.elapsed().as_secs_f64() / listed.queries.len().max(1) as f64;
        Ok(Found { hits, seconds_per_query, build_seconds })
    }

    /// The share of the nearest that was found.
    fn report(
        &self,
        arm: &str,
        size: usize,
        found: &Found,
        nearest: &[Vec<String>],
    ) -> RetrievalReport {
        let shares: Vec<f64> = found
            .hits
            .iter()
            .zip(nearest)
            // A query that is near to nothing has nothing to find.
            .filter(|(_, nearest)| !nearest.is_empty())
            .map(|(hits, nearest)| {
                let hits: HashSet<&String> = hits.iter().collect();
                let n_found = nearest.iter().filter(|one| hits.contains(one)).count();
                n_found as f64 / nearest.len() as f64
            })
            .collect();
        RetrievalReport {
            task: Task::Retrieval,
            source: self.source.into(),
            cut: self.cut.clone(),
            model: self.model.into(),
            arm: arm.into(),
            n_documents: size,
            seed: self.seed,
            share: Share::of(&shares, &vec![""; shares.len()], self.seed),
            by: BTreeMap::new(),
            ranking: None,
            seconds_per_case: found.seconds_per_query,
            build_seconds: Some(found.build_seconds),
        }
    }
}

/// Numbers that vectors of a real embedder might be: in clusters, and of far fewer dimensions than they
/// have numbers.
pub(super) fn made_up(
    n_vectors: usize,
    n_queries: usize,
    seed: u64,
) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    const NUMBERS: usize = 384;
    const DIMENSIONS: usize = 32;
    const IN_CLUSTER: usize = 25;
    const SPREAD: f32 = 0.6;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // The sum of three is near enough to a normal distribution.
    let mut draw = move || (0..3).map(|_| rng.random_range(-1.0_f32..1.0)).sum::<f32>();
    let axes: Vec<Vec<f32>> =
        (0..DIMENSIONS).map(|_| (0..NUMBERS).map(|_| draw()).collect()).collect();
    let clusters: Vec<Vec<f32>> = (0..n_vectors.div_ceil(IN_CLUSTER))
        .map(|_| (0..DIMENSIONS).map(|_| draw()).collect())
        .collect();
    let mut vector = |number: usize| {
        let cluster = &clusters[number % clusters.len()];
        let place: Vec<f32> = cluster.iter().map(|centre| centre + SPREAD * draw()).collect();
        let mut vector = vec![0.0_f32; NUMBERS];
        for (axis, along) in axes.iter().zip(&place) {
            vector.iter_mut().zip(axis).for_each(|(value, axis)| *value += along * axis);
        }
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-6);
        vector.iter_mut().for_each(|value| *value /= length);
        vector
    };
    let vectors = (0..n_vectors).map(&mut vector).collect();
    (vectors, (0..n_queries).map(vector).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_finds_nearly_all_that_a_scan_finds() {
        let (vectors, queries) = made_up(600, 20, 3);
        let (cut, cancelled) = (&Cut::default(), &AtomicBool::new(false));
        let neighbours = Neighbours { source: "made-up", cut, model: "none", seed: 3, cancelled };
        let mut reports = Vec::new();
        neighbours.compare(&vectors, &queries, &[200, 600], &mut |one| reports.push(one)).unwrap();
        let arms: Vec<(&str, usize)> =
            reports.iter().map(|report| (&*report.arm, report.n_documents)).collect();
        assert_eq!(arms, [("exact", 200), ("hnsw", 200), ("exact", 600), ("hnsw", 600)]);
        for report in &reports {
            assert_eq!(report.share.n, 20);
            let least = if report.arm == "exact" { 1.0 } else { 0.9 };
            assert!(report.share.accuracy >= least, "{report:?}");
        }
    }

    #[test]
    fn made_up_vectors_depend_on_the_seed() {
        assert_eq!(made_up(30, 2, 1), made_up(30, 2, 1));
        assert_ne!(made_up(30, 2, 1), made_up(30, 2, 2));
        let (vectors, _) = made_up(30, 2, 1);
        let lengths = vectors.iter().map(|one| one.iter().map(|value| value * value).sum::<f32>());
        assert!(lengths.into_iter().all(|length| (length - 1.0).abs() < 1e-4));
    }
}
