//! The HNSW graph: near enough to the exact scan, and never trusted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use pagewise_core::{EmbedError, Embedder, Purpose};
use pagewise_memory::{IndexState, SearchMode};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const THRESHOLD: usize = 100;

/// `n` sentences over a vocabulary in which some words are much more common.
fn sentences(n: usize, seed: u64) -> Vec<String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n)
        .map(|_| {
            let words: Vec<String> = (0..rng.random_range(4..14))
                .map(|_| format!("w{}", (400.0 * rng.random_range(0.0_f64..1.0).powi(2)) as u32))
                .collect();
            words.join(" ")
        })
        .collect()
}

fn fill(store: &mut Store, texts: &[String]) {
    store
        .transact(|tx| {
            for text in texts {
                tx.append(second(0), user(text))?;
            }
            Ok(())
        })
        .unwrap();
}

fn nearest(store: &mut Store, words: &str) -> Vec<i64> {
    let query = RecallQuery { page_size: 10, ..recall(words, SearchMode::Meaning) };
    found(store, &query)
}

fn state(store: &mut Store) -> IndexState {
    store.check().unwrap().recall.index
}

/// The fraction of the exact ten nearest that `store` finds.
fn recall_at_10(store: &mut Store, exact: &mut Store, queries: &[String]) -> f64 {
    let (mut n_found, mut n) = (0, 0);
    for query in queries {
        let (hits, truth) = (nearest(store, query), nearest(exact, query));
        n += truth.len();
        n_found += truth.iter().filter(|id| hits.contains(id)).count();
    }
    n_found as f64 / n as f64
}

#[test]
fn the_graph_finds_what_the_scan_finds() {
    let (folder, exact_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut store, mut exact) = (
        open_with_graph(folder.path(), THRESHOLD, 50),
        open_with_graph(exact_folder.path(), usize::MAX, 0),
    );
    let texts = sentences(1500, 1);
    fill(&mut store, &texts);
    fill(&mut exact, &texts);
    let queries = sentences(60, 2);
    store.embed_pending(usize::MAX).unwrap();
    nearest(&mut store, "w1");
    assert!(matches!(
        state(&mut store),
        IndexState::Graph { n_in_graph: 1500, n_scanned: 0, from_file: false }
    ));
    let recall = recall_at_10(&mut store, &mut exact, &queries);
    println!("recall@10 of the built graph: {recall:.4}");
    assert!(recall >= 0.95, "{recall}");

    // The same from the file, and with rows added after it was loaded.
    drop(store);
    let mut store = open_with_graph(folder.path(), THRESHOLD, 50);
    nearest(&mut store, "w1");
    assert!(matches!(
        state(&mut store),
        IndexState::Graph { n_in_graph: 1500, from_file: true, .. }
    ));
    let more = sentences(500, 3);
    fill(&mut store, &more);
    fill(&mut exact, &more);
    let recall = recall_at_10(&mut store, &mut exact, &queries);
    println!("recall@10 of the loaded graph with 500 more: {recall:.4}");
    assert!(recall >= 0.95, "{recall}");
    assert!(matches!(state(&mut store), IndexState::Graph { n_in_graph: 2000, .. }));
}

#[test]
fn a_narrow_scope_is_searched_exactly() {
    let (folder, exact_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut store, mut exact) = (
        open_with_graph(folder.path(), THRESHOLD, 5000),
        open_with_graph(exact_folder.path(), usize::MAX, 0),
    );
    for store in [&mut store, &mut exact] {
        fill(store, &sentences(600, 4));
        store.check().unwrap();
    }
    for words in sentences(20, 5) {
        let query = RecallQuery {
            before: Some(pagewise_core::MessageId(90)),
            ..recall(&words, SearchMode::Meaning)
        };
        assert_eq!(found(&mut store, &query), found(&mut exact, &query));
    }
}

#[test]
fn searches_are_right_while_the_graph_is_built() {
    let (folder, exact_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(&mut open(folder.path()), &sentences(400, 6));
    open(folder.path()).embed_pending(usize::MAX).unwrap();
    let mut exact = open_with_graph(exact_folder.path(), usize::MAX, 0);
    fill(&mut exact, &sentences(400, 6));
    let mut store = open_with_graph(folder.path(), THRESHOLD, 30);
    let (mut n_found, mut n) = (0, 0);
    for words in sentences(20, 7) {
        let truth = nearest(&mut exact, &words);
        let hits = nearest(&mut store, &words);
        n += truth.len();
        n_found += truth.iter().filter(|id| hits.contains(id)).count();
    }
    assert!(n_found as f64 >= 0.95 * n as f64, "{n_found} of {n}");
}

fn index_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.to_string_lossy().contains(".hnsw.") || path.to_string_lossy().contains(".index.")
        })
        .collect();
    files.sort();
    files
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Every mutation of the index files is noticed: the graph is not loaded, and a search finds what the
/// rows say.
#[test]
fn a_damaged_index_is_never_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let texts = sentences(150, 8);
    {
        let mut store = open_with_graph(folder.path(), THRESHOLD, 1000);
        fill(&mut store, &texts);
        nearest(&mut store, "w1");
    }
    let names: Vec<_> = index_files(folder.path())
        .iter()
        .map(|path| path.file_name().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["recall-1.hnsw.data", "recall-1.hnsw.graph", "recall.index.json"]);
    for path in index_files(folder.path()) {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
    let exact_folder = tempfile::tempdir().unwrap();
    let mut exact = open_with_graph(exact_folder.path(), usize::MAX, 0);
    fill(&mut exact, &texts);
    let truth: Vec<Vec<i64>> = texts[..3].iter().map(|words| nearest(&mut exact, words)).collect();

    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let (mut n_refused, mut n_harmless) = (0, 0);
    for round in 0..75 {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(folder.path(), copy.path());
        let path = copy.path().join(&names[round % 3]);
        let before = fs::read(&path).unwrap();
        let mut bytes = before.clone();
        let place = rng.random_range(0..bytes.len());
        match round / 3 % 5 {
            0 => bytes[place] ^= 1 << rng.random_range(0..8),
            1 => bytes.truncate(place),
            2 => bytes.extend((0..9).map(|_| rng.next_u32() as u8)),
            3 => bytes[place..].iter_mut().for_each(|byte| *byte = rng.next_u32() as u8),
            _ => bytes.clear(),
        }
        if round % 17 == 16 {
            fs::remove_file(&path).unwrap();
        } else {
            fs::write(&path, &bytes).unwrap();
        }
        let mut store = open_with_graph(copy.path(), THRESHOLD, 0);
        let hits: Vec<Vec<i64>> =
            texts[..3].iter().map(|words| nearest(&mut store, words)).collect();
        let IndexState::Graph { from_file, .. } = state(&mut store) else {
            panic!("no graph was built")
        };
        // A bit in the white space of the manifest may flip without a change of meaning.
        if from_file {
            assert_eq!(names[round % 3], "recall.index.json", "round {round}");
            n_harmless += 1;
        } else {
            n_refused += 1;
            // Nothing was in the graph yet when it was searched, so this is exact.
            assert_eq!(hits, truth, "round {round}");
        }
        drop(store);
        // It was rebuilt and saved, and is whole again.
        let mut store = open_with_graph(copy.path(), THRESHOLD, 0);
        nearest(&mut store, "w1");
        assert!(matches!(
            state(&mut store),
            IndexState::Graph { from_file: true, n_in_graph: 150, .. }
        ));
        drop(store);
        assert_eq!(index_files(copy.path()).len(), 3, "old dumps are removed");
    }
    println!("{n_refused} of 75 mutations refused, {n_harmless} without a change of meaning");
    assert!(n_refused >= 70);
}

#[test]
fn a_stale_or_foreign_index_is_never_loaded() {
    let (folder, other, copy) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (folder, seed) in [(&folder, 10), (&other, 11)] {
        let mut store = open_with_graph(folder.path(), THRESHOLD, 1000);
        fill(&mut store, &sentences(200, seed));
        nearest(&mut store, "w1");
    }
    let from_file = |folder: &Path| {
        let mut store = open_with_graph(folder, THRESHOLD, 1000);
        nearest(&mut store, "w1");
        matches!(state(&mut store), IndexState::Graph { from_file: true, .. })
    };
    assert!(from_file(folder.path()) && from_file(other.path()));
    // As many rows, but another agent's.
    copy_folder(folder.path(), copy.path());
    for file in index_files(other.path()) {
        fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    assert!(!from_file(copy.path()));
    assert!(from_file(copy.path()));
    // A changed vector among the rows that the graph holds.
    let connection = rusqlite::Connection::open(folder.path().join("memory.db")).unwrap();
    connection.execute("UPDATE message_vectors SET vector = (SELECT vector FROM message_vectors WHERE id = 2) WHERE id = 1", []).unwrap();
    drop(connection);
    assert!(!from_file(folder.path()));
    // A dump that did not come to its end is cleared away by the next save.
    fs::write(other.path().join("recall-77.hnsw.data"), "unfinished").unwrap();
    let mut store = open_with_graph(other.path(), THRESHOLD, 1000);
    fill(&mut store, &sentences(10, 12));
    nearest(&mut store, "w1");
    drop(store);
    assert_eq!(index_files(other.path()).len(), 3);
    assert!(from_file(other.path()));
}

/// Rows of another embedder's among those that are searched, which a change that an older program
/// did in place can leave, are as good as none.
#[test]
fn vectors_of_another_embedder_are_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let texts = sentences(150, 13);
    {
        let mut store = open_with_graph(folder.path(), THRESHOLD, 1000);
        fill(&mut store, &texts);
        nearest(&mut store, "w1");
    }
    for half in ["id > 75", "id <= 75"] {
        let connection = rusqlite::Connection::open(folder.path().join("memory.db")).unwrap();
        let sql = format!("UPDATE message_vectors SET embedder = 'other' WHERE {half}");
        connection.execute(&sql, []).unwrap();
        drop(connection);
        let mut store = open_with_graph(folder.path(), THRESHOLD, 1000);
        assert_eq!(store.embed_pending(0).unwrap(), 0);
        assert!(matches!(state(&mut store), IndexState::Exact { n_vectors: 75 }));
        for index in [0, 74, 75, 149] {
            assert!(
                nearest(&mut store, &texts[index]).contains(&(index as i64 + 1)),
                "{half} {index}"
            );
        }
        assert_eq!(store.check().unwrap().recall.n_pending, 0);
    }
}

/// Counts what it embeds, and does what it is told to do wrong.
struct Odd {
    inner: HashEmbedder,
    n_texts: AtomicUsize,
    wrong: Mutex<Option<Wrong>>,
}

#[derive(Clone, Copy)]
enum Wrong {
    Fails,
    TooFew,
    TooShort,
    NotFinite,
}

impl Embedder for Odd {
    fn id(&self) -> &str {
        self.inner.id()
    }

    fn dimensions(&self) -> usize {
        self.inner.dimensions()
    }

    fn embed(&self, texts: &[&str], purpose: Purpose) -> Result<Vec<Vec<f32>>, EmbedError> {
        self.n_texts.fetch_add(texts.len(), Ordering::Relaxed);
        let mut vectors = self.inner.embed(texts, purpose)?;
        match *self.wrong.lock().unwrap() {
            None => {}
            Some(Wrong::Fails) => return Err(EmbedError("made up".into())),
            Some(Wrong::TooFew) => drop(vectors.pop()),
            Some(Wrong::TooShort) => drop(vectors[0].pop()),
            Some(Wrong::NotFinite) => vectors[0].fill(f32::NAN),
        }
        Ok(vectors)
    }
}

#[test]
fn the_embedder_is_not_trusted_and_not_asked_twice() {
    let folder = tempfile::tempdir().unwrap();
    let embedder = Arc::new(Odd {
        inner: HashEmbedder::new(),
        n_texts: AtomicUsize::new(0),
        wrong: Mutex::new(None),
    });
    let options = StoreOptions { graph_threshold: 3, graph_rows_per_search: 10 };
    let mut store = Store::open_with(folder.path(), embedder.clone(), options).unwrap();
    fill(&mut store, &sentences(10, 14));
    found(&mut store, &recall("w1", SearchMode::Words));
    assert_eq!(embedder.n_texts.load(Ordering::Relaxed), 0, "a search by words needs no vectors");
    for wrong in [Wrong::Fails, Wrong::TooFew, Wrong::TooShort] {
        *embedder.wrong.lock().unwrap() = Some(wrong);
        assert!(matches!(
            store.recall_search(&recall("w1", SearchMode::Fused)),
            Err(StoreError::Embed(_))
        ));
        found(&mut store, &recall("w1", SearchMode::Words));
    }
    *embedder.wrong.lock().unwrap() = Some(Wrong::NotFinite);
    assert_eq!(store.embed_pending(1).unwrap(), 1);
    *embedder.wrong.lock().unwrap() = None;
    embedder.n_texts.store(0, Ordering::Relaxed);
    for _ in 0..3 {
        assert!(
            !nearest(&mut store, "w1 w2 w3").contains(&1),
            "the vector that is none is near to nothing"
        );
    }
    assert_eq!(embedder.n_texts.load(Ordering::Relaxed), 9 + 3, "nine texts once, and each query");
}
