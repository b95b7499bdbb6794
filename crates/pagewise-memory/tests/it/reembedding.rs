//! A change of the embedder: the old vectors answer until the new ones are complete.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use pagewise_core::{EmbedError, Embedder, Purpose};
use pagewise_memory::{DocumentFormat, SearchMode};

use super::*;

/// How long a test waits for the thread before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A hash embedder that counts its texts, and waits for leave before each batch of passages.
struct Gated {
    inner: HashEmbedder,
    n_passages: AtomicUsize,
    n_queries: AtomicUsize,
    /// Batches that may still be embedded.
    leave: Mutex<usize>,
    given: Condvar,
}

impl Gated {
    fn new(id: &str, leave: usize) -> Arc<Self> {
        Arc::new(Self {
            inner: HashEmbedder::with_id(id),
            n_passages: AtomicUsize::new(0),
            n_queries: AtomicUsize::new(0),
            leave: Mutex::new(leave),
            given: Condvar::new(),
        })
    }

    fn give(&self, n_batches: usize) {
        *self.leave.lock().unwrap() += n_batches;
        self.given.notify_all();
    }
}

impl Embedder for Gated {
    fn id(&self) -> &str {
        self.inner.id()
    }

    fn dimensions(&self) -> usize {
        self.inner.dimensions()
    }

    fn embed(&self, texts: &[&str], purpose: Purpose) -> Result<Vec<Vec<f32>>, EmbedError> {
        if purpose == Purpose::Query {
            self.n_queries.fetch_add(texts.len(), Ordering::SeqCst);
        } else {
            let leave = self.leave.lock().unwrap();
            let (mut leave, waited) =
                self.given.wait_timeout_while(leave, PATIENCE, |leave| *leave == 0).unwrap();
            if waited.timed_out() {
                return Err(EmbedError("nobody gave leave".into()));
            }
            *leave -= 1;
            self.n_passages.fetch_add(texts.len(), Ordering::SeqCst);
        }
        self.inner.embed(texts, purpose)
    }
}

fn old() -> Arc<HashEmbedder> {
    Arc::new(HashEmbedder::with_id("old"))
}

fn open_as(folder: &Path, embedder: Arc<dyn Embedder>) -> Store {
    Store::open(folder, embedder).unwrap()
}

/// A store of 60 messages and 40 passages with the vectors of the old embedder.
fn filled() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open_as(folder.path(), old());
    store
        .transact(|tx| {
            for i in 0..60 {
                tx.append(second(i), user(&format!("message w{} w{}", i % 7, i)))?;
            }
            for i in 0..40 {
                tx.insert_passage(&pagewise_memory::NewPassage {
                    text: format!("passage w{} w{}", i % 5, i),
                    tags: Vec::new(),
                    source: None,
                    at: second(i),
                })?;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(store.embed_pending(usize::MAX).unwrap(), 100);
    folder
}

/// What both tiers answer to a few searches by meaning, with scores.
fn answers(store: &mut Store) -> Vec<(i64, String)> {
    let mut answers = Vec::new();
    for words in ["w1", "w3 w17", "message w5"] {
        let found = store.recall_search(&recall(words, SearchMode::Meaning)).unwrap();
        answers.extend(found.hits.iter().map(|hit| (hit.message.id.0, hit.score.to_string())));
        let found = store.archival_search(&archival(words, SearchMode::Meaning)).unwrap();
        answers.extend(found.hits.iter().map(|hit| (hit.passage.id.0, hit.score.to_string())));
    }
    assert!(answers.len() > 20);
    answers
}

/// What a store answers that never had another embedder than `embedder`.
fn answers_of(embedder: Arc<dyn Embedder>) -> Vec<(i64, String)> {
    let folder = filled();
    let mut store = open_as(folder.path(), embedder);
    store.embed_pending(usize::MAX).unwrap();
    assert_eq!(store.embedder_change().unwrap(), None);
    answers(&mut store)
}

fn n_embedded(store: &Store) -> Option<u64> {
    store.embedder_change().unwrap().map(|change| change.n_embedded)
}

/// Waits until the thread has embedded `n` texts.
fn wait_for(store: &Store, n: u64) {
    let start = std::time::Instant::now();
    while n_embedded(store) < Some(n) {
        assert!(start.elapsed() < PATIENCE, "{:?} of {n}", n_embedded(store));
        std::thread::yield_now();
    }
}

#[test]
fn the_old_vectors_answer_until_the_new_ones_are_complete() {
    let folder = filled();
    let (before, after) = (answers_of(old()), answers_of(Arc::new(HashEmbedder::with_id("new"))));
    assert_ne!(before, after);

    // Three batches, then it is closed in the middle.
    let new = Gated::new("new", 3);
    let mut store = open_as(folder.path(), new.clone());
    let change = store.embedder_change().unwrap().unwrap();
    assert_eq!((change.from.as_str(), change.to.as_str()), ("old", "new"));
    assert_eq!((change.n_embedded, change.n_texts, change.is_searchable), (0, 100, false));
    // Without the old embedder nothing is found by meaning, and by words what there is.
    let by_meaning = recall("w3", SearchMode::Meaning);
    assert!(found(&mut store, &by_meaning).is_empty());
    let (fused, words) = (recall("w3", SearchMode::Fused), recall("w3", SearchMode::Words));
    assert!(!found(&mut store, &words).is_empty());
    assert_eq!(found(&mut store, &fused), found(&mut store, &words));

    assert!(!store.search_with_old(new.clone()), "that one did not make the vectors");
    assert!(store.search_with_old(old()));
    assert_eq!(answers(&mut store), before);
    store.reembed_in_background(new.clone());
    wait_for(&store, 24);
    assert_eq!(answers(&mut store), before, "in the middle of it");
    assert_eq!(store.check().unwrap().problems, [] as [String; 0]);
    // Closing waits for the batch that is under way, if the thread has begun one.
    new.give(1);
    drop(store);
    assert_eq!(new.n_queries.load(Ordering::SeqCst), 0, "queries were the old embedder's");
    let n_before = new.n_passages.load(Ordering::SeqCst);
    assert!([24, 32].contains(&n_before), "{n_before}");

    // Opened again it goes on where it was.
    let new = Gated::new("new", usize::MAX / 2);
    let mut store = open_as(folder.path(), new.clone());
    assert_eq!(n_embedded(&store), Some(n_before as u64));
    assert!(store.search_with_old(old()));
    assert_eq!(answers(&mut store), before);
    store.reembed_in_background(new.clone());
    wait_for(&store, 100);
    // Said meanwhile: it belongs to the new vectors as well.
    store.transact(|tx| tx.append(second(100), user("said meanwhile w99"))).unwrap();
    let start = std::time::Instant::now();
    while store.embedder_change().unwrap().is_some() {
        assert!(start.elapsed() < PATIENCE);
        found(&mut store, &by_meaning);
    }
    assert_eq!(n_before + new.n_passages.load(Ordering::SeqCst), 101, "each text once");
    assert_eq!(found(&mut store, &recall("w99 said meanwhile", SearchMode::Meaning))[0], 61);
    assert_eq!(store.check().unwrap().recall.n_pending, 0);
    drop(store);

    let counted = Gated::new("new", 0);
    let mut store = open_as(folder.path(), counted.clone());
    assert_eq!(store.embedder_change().unwrap(), None);
    let expected = {
        let (mut with_more, _folder) = {
            let folder = filled();
            let mut store = open_as(folder.path(), Arc::new(HashEmbedder::with_id("new")));
            store.transact(|tx| tx.append(second(100), user("said meanwhile w99"))).unwrap();
            store.embed_pending(usize::MAX).unwrap();
            (store, folder)
        };
        answers(&mut with_more)
    };
    assert_eq!(answers(&mut store), expected, "right after, and without embedding anything");
    assert_eq!(counted.n_passages.load(Ordering::SeqCst), 0);
    let connection = rusqlite::Connection::open(folder.path().join("memory.db")).unwrap();
    let n_old: i64 = connection
        .query_row(
            "SELECT (SELECT count(*) FROM message_vectors) + (SELECT count(*) FROM passage_vectors)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(n_old, 0, "the old vectors are gone");
}

#[test]
fn it_is_resumed_batch_by_batch_and_can_be_undone() {
    let folder = filled();
    let new = Arc::new(HashEmbedder::with_id("new"));
    let mut store = open_as(folder.path(), new.clone());
    assert_eq!(store.embed_pending(30).unwrap(), 30);
    drop(store);
    let mut store = open_as(folder.path(), new.clone());
    assert_eq!(n_embedded(&store), Some(30));
    assert_eq!(store.embed_pending(50).unwrap(), 50);
    drop(store);

    // Back to the old one: nothing was lost, and nothing has to be embedded.
    let counted = Gated::new("old", 0);
    let mut store = open_as(folder.path(), counted);
    assert_eq!(store.embedder_change().unwrap(), None);
    assert_eq!(answers(&mut store), answers_of(old()));
    drop(store);

    // A third one begins at the beginning.
    let third = Arc::new(HashEmbedder::with_id("third"));
    let mut store = open_as(folder.path(), third.clone());
    assert_eq!(n_embedded(&store), Some(0));
    assert_eq!(store.embed_pending(100).unwrap(), 100);
    assert_eq!(store.embedder_change().unwrap(), None, "the last of them ends the change");
    assert_eq!(answers(&mut store), answers_of(third));
    // And from the second table back to the first.
    drop(store);
    let mut store = open_as(folder.path(), new.clone());
    assert_eq!(store.embed_pending(usize::MAX).unwrap(), 100);
    assert_eq!(answers(&mut store), answers_of(new));
}

#[test]
fn a_document_brings_the_change_to_its_end() {
    let folder = filled();
    let mut store = open_as(folder.path(), Arc::new(HashEmbedder::with_id("new")));
    let mut seen = Vec::new();
    store
        .ingest("a.txt", "one more w77", DocumentFormat::Text, second(200), &mut |done, of| {
            seen.push((done, of));
        })
        .unwrap();
    // With the message that tells of the document there is no more that is searched.
    assert_eq!((seen.first(), seen.last()), (Some(&(0, 101)), Some(&(101, 101))));
    assert_eq!(store.embedder_change().unwrap(), None);
}

#[test]
fn a_failure_in_the_thread_is_told_and_searches_go_on() {
    struct Failing;
    impl Embedder for Failing {
        fn id(&self) -> &str {
            "failing"
        }
        fn dimensions(&self) -> usize {
            8
        }
        fn embed(&self, _: &[&str], _: Purpose) -> Result<Vec<Vec<f32>>, EmbedError> {
            Err(EmbedError("made up".into()))
        }
    }
    let folder = filled();
    let mut store = open_as(folder.path(), Arc::new(Failing));
    assert!(store.search_with_old(old()));
    store.reembed_in_background(Arc::new(Failing));
    let start = std::time::Instant::now();
    let problem = loop {
        assert_eq!(answers(&mut store), answers_of(old()));
        if let Some(problem) = store.embedder_change().unwrap().unwrap().problem {
            break problem;
        }
        assert!(start.elapsed() < PATIENCE);
    };
    assert!(problem.contains("made up"), "{problem}");
}

/// Stands where no embedder is on the disk.
struct Missing;

impl Embedder for Missing {
    fn id(&self) -> &str {
        "none"
    }
    fn dimensions(&self) -> usize {
        0
    }
    fn embed(&self, _: &[&str], _: Purpose) -> Result<Vec<Vec<f32>>, EmbedError> {
        Err(EmbedError("there is none".into()))
    }
}

#[test]
fn a_store_opened_without_an_embedder_changes_nothing() {
    let folder = filled();
    let mut store = open_as(folder.path(), Arc::new(Missing));
    assert_eq!(store.embedder_change().unwrap(), None);
    assert!(!found(&mut store, &recall("w3", SearchMode::Words)).is_empty());
    assert!(store.recall_search(&recall("w3", SearchMode::Fused)).is_err());
    drop(store);
    let mut store = open_as(folder.path(), old());
    assert_eq!(store.embedder_change().unwrap(), None);
    assert_eq!(answers(&mut store), answers_of(old()));
}
