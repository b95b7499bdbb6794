//! What happens when a store is opened with another embedder than the one that made its vectors.
//!
//! The old vectors stay and are searched with the old embedder, while a second set is filled: by a
//! thread of its own, a few texts at a time, each batch durable. The thread only ever adds rows to
//! the set that nobody reads, over the store's one connection, which it holds for as long as a
//! batch takes to be read or written and never while it embeds. The store itself, between two
//! searches, makes the second set the one that is searched, in one transaction. Whatever is cut
//! off is resumed: what has a vector in the second set is not embedded again.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use pagewise_core::{EmbedError, Embedder, Purpose};
use serde::Serialize;

use crate::StoreError;
use crate::db::Db;
use crate::db::texts::{Tier, VectorSet};
use crate::vector_index::make_unit;

/// Texts that the thread embeds at a time: few, because closing the store waits for them.
const THREAD_BATCH: usize = 8;

/// A change of the embedder that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EmbedderChange {
    /// The embedder that made the vectors that are searched.
    pub from: String,
    /// Where its weights were.
    pub from_folder: Option<PathBuf>,
    /// The embedder that the store was opened with.
    pub to: String,
    /// Texts in both tiers.
    pub n_texts: u64,
    /// Those that the new embedder has embedded.
    pub n_embedded: u64,
    /// Whether the old embedder is there, so that searches by meaning go on meanwhile. Without it
    /// they find nothing by meaning, and what they find by words.
    pub is_searchable: bool,
    /// Why the texts are no longer embedded anew, if so.
    pub problem: Option<String>,
}

/// The change, as the store has it.
pub(crate) struct Change {
    /// The set that is filled.
    pub(crate) to: VectorSet,
    pub(crate) from_folder: Option<PathBuf>,
    pub(crate) thread: Option<Thread>,
    pub(crate) problem: Option<String>,
}

/// The thread that fills the set. It is stopped when this is dropped.
pub(crate) struct Thread {
    stop: Arc<AtomicBool>,
    handle: Option<JoinHandle<Result<(), StoreError>>>,
}

impl Thread {
    /// Starts it; `None` if the system has no more threads.
    pub(crate) fn start(
        db: Arc<Mutex<Db>>,
        embedder: Arc<dyn Embedder>,
        set: VectorSet,
    ) -> Option<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let work = move || {
            for tier in [Tier::Archival, Tier::Recall] {
                let mut after = 0;
                while !stopped.load(Ordering::Relaxed) {
                    let rows = embed_some(&db, &*embedder, tier, &set, after, THREAD_BATCH)?;
                    match rows.last() {
                        Some((last, _)) => after = *last,
                        None => break,
                    }
                }
            }
            Ok(())
        };
        let handle = std::thread::Builder::new().name("embedder".into()).spawn(work).ok()?;
        Some(Self { stop, handle: Some(handle) })
    }

    /// Whether it has come to its end, or failed.
    pub(crate) fn has_ended(&self) -> bool {
        self.handle.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops it and returns how it ended.
    pub(crate) fn join(mut self) -> Result<(), StoreError> {
        self.stop.store(true, Ordering::Relaxed);
        let panicked = |_| Err(EmbedError("it ended without a reason".into()).into());
        self.handle.take().map_or(Ok(()), |handle| handle.join().unwrap_or_else(panicked))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(handle) = self.handle.take() {
            // Nobody is left to hear of a failure; what was embedded is stored.
            let _ = handle.join();
        }
    }
}

/// Takes the connection.
pub(crate) fn lock(db: &Mutex<Db>) -> MutexGuard<'_, Db> {
    // A panic in another thread leaves a transaction that was rolled back.
    db.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Embeds the oldest texts after number `after` that have no vector in a set, up to `max`, stores
/// the vectors, and returns them.
pub(crate) fn embed_some(
    db: &Mutex<Db>,
    embedder: &dyn Embedder,
    tier: Tier,
    set: &VectorSet,
    after: i64,
    max: usize,
) -> Result<Vec<(i64, Vec<f32>)>, StoreError> {
    let pending = lock(db).pending(tier, set, after, max)?;
    if pending.is_empty() {
        return Ok(Vec::new());
    }
    let texts: Vec<&str> = pending.iter().map(|pending| pending.text.as_str()).collect();
    let vectors = embed(embedder, &texts, Purpose::Passage)?;
    let rows: Vec<(i64, Vec<f32>)> =
        pending.iter().map(|pending| pending.id).zip(vectors).collect();
    lock(db).put_vectors(tier, set, &rows)?;
    Ok(rows)
}

/// Embeds texts, and holds the embedder to what it promises.
pub(crate) fn embed(
    embedder: &dyn Embedder,
    texts: &[&str],
    purpose: Purpose,
) -> Result<Vec<Vec<f32>>, StoreError> {
    let mut vectors = embedder.embed(texts, purpose)?;
    if vectors.len() != texts.len()
        || vectors.iter().any(|vector| vector.len() != embedder.dimensions())
    {
        return Err(EmbedError(format!(
            "{} did not return one vector of {} numbers for each text",
            embedder.id(),
            embedder.dimensions()
        ))
        .into());
    }
    vectors.iter_mut().for_each(|vector| make_unit(vector));
    Ok(vectors)
}
