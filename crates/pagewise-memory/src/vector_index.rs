//! Finds the vectors nearest to one, in one tier.
//!
//! Up to a threshold all vectors lie in one matrix that is scanned. Above it rows move into an HNSW
//! graph, so many at each search and each insertion, and only what is not in it yet is scanned:
//! a search is right from the first one on, and none waits for the graph. Nothing depends on
//! time or threads, so the same history gives the same results.

use std::path::Path;

use serde::Serialize;

use crate::StoreError;
use crate::db::Db;
use crate::db::texts::{Tier, VectorSet, from_bytes};
use crate::hnsw::{Graph, GraphFiles, RowsDigest, dot};

/// A graph is written again when one row in so many is new, at the latest when the store is closed.
const UNSAVED_FRACTION: usize = 4;

/// How the vectors of a tier are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum IndexState {
    /// No search has needed the vectors yet.
    NotLoaded,
    /// All are scanned.
    Exact {
        /// How many there are.
        n_vectors: usize,
    },
    /// Most are in a graph.
    Graph {
        /// How many are in the graph.
        n_in_graph: usize,
        /// How many are scanned.
        n_scanned: usize,
        /// Whether the graph was read from its file instead of built from the rows.
        from_file: bool,
    },
}

/// The index over the vectors of a tier.
pub(crate) struct VectorIndex {
    tier: Tier,
    files: GraphFiles,
    set: VectorSet,
    threshold: usize,
    loaded: bool,
    from_file: bool,
    graph: Option<Graph>,
    /// The rows that are not in the graph, ascending: all have greater numbers than those in it.
    ids: Vec<i64>,
    /// Their vectors, one after the other: `(ids.len(), dimensions)`.
    values: Vec<f32>,
}

impl VectorIndex {
    pub(crate) fn new(folder: &Path, tier: Tier, set: &VectorSet, threshold: usize) -> Self {
        Self {
            tier,
            files: GraphFiles::new(folder, tier, &set.embedder, set.dimensions),
            set: set.clone(),
            threshold,
            loaded: false,
            from_file: false,
            graph: None,
            ids: Vec::new(),
            values: Vec::new(),
        }
    }

    pub(crate) fn state(&self) -> IndexState {
        match &self.graph {
            _ if !self.loaded => IndexState::NotLoaded,
            None => IndexState::Exact { n_vectors: self.ids.len() },
            Some(graph) => IndexState::Graph {
                n_in_graph: graph.n_rows(),
                n_scanned: self.ids.len(),
                from_file: self.from_file,
            },
        }
    }

    /// Reads the vectors, and the graph if its copy on disk fits them.
    pub(crate) fn load(&mut self, db: &Db) -> Result<(), StoreError> {
        if self.loaded {
            return Ok(());
        }
        self.graph = None;
        if let Some(manifest) = self.files.manifest() {
            let mut digest = RowsDigest::default();
            let mut n_rows = 0;
            let rows = (i64::MIN, manifest.last_row);
            db.each_vector(self.tier, &self.set, rows, |id, bytes| {
                digest.add(id, bytes);
                n_rows += 1;
            })?;
            if n_rows == manifest.n_rows && n_rows > self.threshold {
                self.graph = self.files.load(&manifest, digest);
            }
            if self.graph.is_none() {
                tracing::info!(
                    tier = self.tier.name(),
                    "the index is stale or damaged; it is built anew"
                );
            }
        }
        self.from_file = self.graph.is_some();
        let first = self.graph.as_ref().map_or(i64::MIN, |graph| graph.last_row() + 1);
        let (mut ids, mut values) = (Vec::new(), Vec::new());
        db.each_vector(self.tier, &self.set, (first, i64::MAX), |id, bytes| {
            ids.push(id);
            values.extend(from_bytes(bytes));
        })?;
        for vector in values.chunks_exact_mut(self.set.dimensions.max(1)) {
            make_unit(vector);
        }
        (self.ids, self.values) = (ids, values);
        self.loaded = true;
        Ok(())
    }

    /// Adds a row that was just stored.
    pub(crate) fn push(&mut self, id: i64, vector: &[f32]) {
        if !self.loaded {
            return;
        }
        let last = self.ids.last().copied().or(self.graph.as_ref().map(Graph::last_row));
        if last.is_some_and(|last| last >= id) {
            // A row among the earlier ones, whose vector was another embedder's: read them in order.
            self.loaded = false;
            self.graph = None;
            return;
        }
        self.ids.push(id);
        self.values.extend_from_slice(vector);
    }

    /// Moves up to `max_rows` rows into the graph, if there are enough vectors for one.
    pub(crate) fn catch_up(&mut self, max_rows: usize) {
        let n_in_graph = self.graph.as_ref().map_or(0, Graph::n_rows);
        if !self.loaded || n_in_graph + self.ids.len() <= self.threshold {
            return;
        }
        let n = max_rows.min(self.ids.len());
        let expected = 2 * (n_in_graph + self.ids.len());
        let graph = self.graph.get_or_insert_with(|| Graph::new(expected));
        for (id, vector) in
            self.ids.iter().zip(self.values.chunks_exact(self.set.dimensions)).take(n)
        {
            graph.insert(*id, vector);
        }
        self.ids.drain(..n);
        self.values.drain(..n * self.set.dimensions);
        if graph.n_unsaved() * UNSAVED_FRACTION > graph.n_rows() + self.ids.len() {
            self.save();
        }
    }

    /// Writes the graph if it changed. It is a cache, so a failure is only logged.
    pub(crate) fn save(&mut self) {
        let Some(graph) = self.graph.as_mut().filter(|graph| graph.n_unsaved() > 0) else { return };
        if let Err(error) = self.files.save(graph) {
            tracing::warn!(tier = self.tier.name(), %error, "the index could not be written; it will be built anew");
        }
    }

    /// Returns the `k` rows of `scope` (ascending) nearest to `query`, best first, ties by newest.
    ///
    /// Exact for what is not in the graph, and for a scope that leaves too little of the graph to
    /// walk on.
    pub(crate) fn search(
        &self,
        db: &Db,
        query: &[f32],
        k: usize,
        scope: &[i64],
    ) -> Result<Vec<(i64, f64)>, StoreError> {
        let mut hits: Vec<(i64, f64)> = Vec::new();
        if let Some(graph) = &self.graph {
            let in_graph = &scope[..scope.partition_point(|&id| id <= graph.last_row())];
            let found = if in_graph.len() > self.threshold {
                graph.search(query, k, &|id| in_graph.binary_search(&id).is_ok())
            } else {
                Vec::new()
            };
            if found.len() < k.min(in_graph.len()) {
                hits.extend(self.scan_rows(db, query, in_graph)?);
            } else {
                hits.extend(found.into_iter().map(|(id, cosine)| (id, f64::from(cosine))));
            }
        }
        let rows = self.ids.iter().zip(self.values.chunks_exact(self.set.dimensions.max(1)));
        hits.extend(
            rows.filter(|(id, _)| scope.binary_search(id).is_ok())
                .map(|(id, vector)| (*id, f64::from(dot(query, vector)))),
        );
        hits.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0)));
        hits.truncate(k);
        Ok(hits)
    }

    fn scan_rows(
        &self,
        db: &Db,
        query: &[f32],
        ids: &[i64],
    ) -> Result<Vec<(i64, f64)>, StoreError> {
        let (Some(&first), Some(&last)) = (ids.first(), ids.last()) else { return Ok(Vec::new()) };
        let mut hits = Vec::with_capacity(ids.len());
        let mut vector = Vec::with_capacity(self.set.dimensions);
        db.each_vector(self.tier, &self.set, (first, last), |id, bytes| {
            if ids.binary_search(&id).is_ok() {
                vector.clear();
                vector.extend(from_bytes(bytes));
                make_unit(&mut vector);
                hits.push((id, f64::from(dot(query, &vector))));
            }
        })?;
        Ok(hits)
    }
}

/// Makes a vector one of length 1; one that cannot be, because it is zero or not finite, becomes
/// zero, which is near to nothing.
pub(crate) fn make_unit(vector: &mut [f32]) {
    let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if !length.is_finite() || length < 1e-9 {
        vector.fill(0.0);
    } else if (length - 1.0).abs() > 1e-5 {
        vector.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
}
