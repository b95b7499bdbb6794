//! Times searches of recall storage, end to end: the query's vector, the full-text index, the vectors,
//! the rows of one page.
//!
//! The embedder is the hash embedder (64 numbers, no weights), so that what is timed is the store;
//! an embedder's own time comes on top. `meaning` at 20,000 messages compares the exact scan with the
//! HNSW graph at the length of all-MiniLM-L6-v2's vectors (384). Question: from how many messages on
//! is the graph worth its upkeep?

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use pagewise_core::{EmbedError, Embedder, MessageBody, Purpose};
use pagewise_memory::{RecallQuery, SearchMode, Store, StoreOptions};
use pagewise_testkit::HashEmbedder;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Vectors as long as all-MiniLM-L6-v2's: six of the hash embedder's, side by side.
struct Long([HashEmbedder; 6]);

impl Long {
    fn new() -> Self {
        Self(["a", "b", "c", "d", "e", "f"].map(HashEmbedder::with_id))
    }
}

impl Embedder for Long {
    fn id(&self) -> &str {
        "hash-384"
    }

    fn dimensions(&self) -> usize {
        384
    }

    fn embed(&self, texts: &[&str], purpose: Purpose) -> Result<Vec<Vec<f32>>, EmbedError> {
        let mut vectors = vec![Vec::new(); texts.len()];
        for part in &self.0 {
            for (vector, part) in vectors.iter_mut().zip(part.embed(texts, purpose)?) {
                vector.extend(part);
            }
        }
        Ok(vectors)
    }
}

/// Sentences over a vocabulary in which some words are much more common than others.
fn sentence(rng: &mut ChaCha8Rng) -> String {
    let words: Vec<String> = (0..rng.random_range(6..24))
        .map(|_| format!("w{}", (5000.0 * rng.random_range(0.0_f64..1.0).powi(3)) as u32))
        .collect();
    words.join(" ")
}

fn filled(
    embedder: Arc<dyn Embedder>,
    n_messages: usize,
    graph_threshold: usize,
) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let options = StoreOptions { graph_threshold, graph_rows_per_search: 200 };
    let mut store = Store::open_with(folder.path(), embedder, options).expect("a store");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    store
        .transact(|tx| {
            for _ in 0..n_messages {
                tx.append(Timestamp::UNIX_EPOCH, MessageBody::User { text: sentence(&mut rng) })?;
            }
            Ok(())
        })
        .expect("the messages");
    store.embed_pending(usize::MAX).expect("the vectors");
    // Completes the graph, if there is to be one.
    store.check().expect("a sound store");
    (folder, store)
}

fn query(words: &str, mode: SearchMode) -> RecallQuery {
    RecallQuery {
        words: Some(words.into()),
        roles: Vec::new(),
        from: None,
        to: None,
        time_zone: TimeZone::UTC,
        before: None,
        page: 1,
        page_size: 5,
        mode,
    }
}

fn time(c: &mut Criterion, name: &str, store: &mut Store, mode: SearchMode) {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let queries: Vec<RecallQuery> = (0..32).map(|_| query(&sentence(&mut rng), mode)).collect();
    let mut next = queries.iter().cycle();
    c.bench_function(name, |b| {
        b.iter(|| black_box(store.recall_search(next.next().expect("endless")).expect("a page")));
    });
}

fn recall_search(c: &mut Criterion) {
    for n_messages in [1_000, 20_000] {
        let (_folder, mut store) = filled(Arc::new(HashEmbedder::new()), n_messages, usize::MAX);
        time(
            c,
            &format!("recall_search_fused/{n_messages}_messages"),
            &mut store,
            SearchMode::Fused,
        );
    }
}

fn meaning(c: &mut Criterion) {
    for (name, graph_threshold) in [("exact", usize::MAX), ("hnsw", 1_000)] {
        let (_folder, mut store) = filled(Arc::new(Long::new()), 20_000, graph_threshold);
        time(
            c,
            &format!("recall_search_meaning/{name}_20000_messages"),
            &mut store,
            SearchMode::Meaning,
        );
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = recall_search, meaning
}
criterion_main!(benches);
