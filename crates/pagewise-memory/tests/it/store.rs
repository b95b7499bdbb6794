//! What lasts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use pagewise_core::{FunctionResult, MessageBody, MessageId, Status};
use pagewise_memory::{
    Block, DocumentFormat, Inserted, NewPassage, QueueState, SearchMode, StoreError, Summary,
};
use proptest::prelude::*;
use rusqlite::Connection;

use super::*;

fn block(label: &str, value: &str) -> Block {
    Block {
        label: label.into(),
        description: "about".into(),
        value: value.into(),
        limit_chars: 100,
        read_only: false,
    }
}

#[test]
fn everything_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let bodies = [
        user("hello"),
        reply("hi"),
        call("archival_insert", "text", "x"),
        MessageBody::Result(FunctionResult {
            function: "archival_insert".into(),
            status: Status::Failed,
            message: "no".into(),
        }),
        MessageBody::Login { last: None },
        MessageBody::Login { last: Some(at("2024-01-01T00:00:00.000000001Z")) },
        MessageBody::SystemAlert { text: "pressure".into() },
        MessageBody::DocumentUploaded { name: "a.md".into(), n_passages: 3 },
        MessageBody::Summary { text: "so far".into(), n_messages: 7 },
        user(""),
        user("NUL \0 and \u{10ffff} and \"quotes\""),
    ];
    let times =
        ["-009999-01-02T01:59:59.999999999Z", "1969-12-31T23:59:59.5Z", "9999-12-30T22:00:00Z"];
    let queue = QueueState {
        first_in_view: MessageId(2),
        summary: Some(Summary { text: "so far".into(), n_messages: 1 }),
        warned: true,
    };
    let appended: Vec<_> = {
        let mut store = open(folder.path());
        assert_eq!(store.queue().unwrap(), QueueState::default());
        assert_eq!(store.last_message_at().unwrap(), None);
        let appended = bodies
            .iter()
            .zip(times.iter().cycle())
            .map(|(body, time)| store.transact(|tx| tx.append(at(time), body.clone())).unwrap())
            .collect();
        store
            .transact(|tx| {
                tx.set_queue(&queue)?;
                tx.save_block(&block("human", "a"), second(1), None)?;
                tx.save_block(&block("persona", "b"), second(2), None)?;
                tx.save_block(&block("human", "c"), second(3), Some(MessageId(3)))
            })
            .unwrap();
        appended
    };
    let store = open(folder.path());
    assert_eq!(store.messages_from(MessageId(1)).unwrap(), appended);
    assert_eq!(store.messages_from(appended[9].id).unwrap(), appended[9..]);
    assert_eq!(store.n_messages().unwrap(), appended.len() as u64);
    assert_eq!(store.last_message_at().unwrap(), Some(appended.last().unwrap().at));
    assert_eq!(store.queue().unwrap(), queue);
    assert_eq!(
        store.working_context().unwrap().blocks(),
        [block("human", "c"), block("persona", "b")]
    );
    let history = store.block_history().unwrap();
    assert_eq!(
        history.iter().map(|version| version.block.value.as_str()).collect::<Vec<_>>(),
        ["a", "b", "c"]
    );
    assert_eq!(history[2].cause, Some(MessageId(3)));

    let export = store.export().unwrap();
    let text = serde_json::to_string(&export).unwrap();
    assert_eq!(serde_json::from_str::<pagewise_memory::Export>(&text).unwrap(), export);
}

#[test]
fn a_failed_transaction_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let failed = store.transact(|tx| {
        tx.append(second(0), user("lost words"))?;
        tx.save_block(&block("human", "lost"), second(0), Some(MessageId(99)))
    });
    assert!(matches!(failed, Err(StoreError::Sql { .. })), "a cause that is not there: {failed:?}");
    assert_eq!(store.n_messages().unwrap(), 0);
    assert!(found(&mut store, &recall("lost", SearchMode::Words)).is_empty());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = store.transact(|tx| -> Result<(), StoreError> {
            tx.append(second(0), user("lost"))?;
            panic!("in the middle")
        });
    }));
    assert!(panicked.is_err());
    assert_eq!(store.n_messages().unwrap(), 0);
    say(&mut store, 0, user("kept"));
    assert_eq!(store.n_messages().unwrap(), 1);
    assert!(store.check().unwrap().is_sound());
}

#[test]
fn files_are_for_their_owner_alone() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("agents/a");
    let mut store = open(&folder);
    say(&mut store, 0, user("secret"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn commits_reach_the_disk_before_they_return() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    say(&mut store, 0, user("kept"));
    // What another process finds now is what a killed one would leave.
    let copy = tempfile::tempdir().unwrap();
    for name in ["memory.db", "memory.db-wal"] {
        fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let copied = open(copy.path());
    assert_eq!(copied.n_messages().unwrap(), 1);
    let mode: String = Connection::open(folder.path().join("memory.db"))
        .unwrap()
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn a_passage_is_stored_once_per_source() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let passage = |text: &str, source: Option<&str>| NewPassage {
        text: text.into(),
        tags: vec!["t".into()],
        source: source.map(str::to_string),
        at: second(0),
    };
    let mut insert =
        |passage: NewPassage| store.transact(|tx| tx.insert_passage(&passage)).unwrap();
    let first = insert(passage("text", None));
    assert!(matches!(first, Inserted::New(_)));
    assert_eq!(insert(passage("text", None)), Inserted::Existing(first.id()));
    assert!(matches!(insert(passage("text", Some("a.txt"))), Inserted::New(_)));
    assert!(matches!(insert(passage("text", Some(""))), Inserted::New(_)));
    assert!(matches!(insert(passage("txttext", Some("a."))), Inserted::New(_)));
    assert_eq!(store.n_passages().unwrap(), 4);
}

#[test]
fn uploading_a_document_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let text: String =
        (0..200).map(|n| format!("Paragraph {n} is about topic{n}.\n\nSame text.\n\n")).collect();
    let mut seen = Vec::new();
    let report = store
        .ingest("book.txt", &text, DocumentFormat::Text, second(1), &mut |done, total| {
            seen.push((done, total))
        })
        .unwrap();
    assert_eq!((report.n_new, report.n_existing), (report.n_passages, 0));
    assert!(report.n_passages > 5);
    assert_eq!(seen.first(), Some(&(0, report.n_passages)));
    assert_eq!(seen.last(), Some(&(report.n_passages, report.n_passages)));
    assert_eq!(store.embed_pending(10).unwrap(), 0);
    let before = store.export().unwrap();
    let again =
        store.ingest("book.txt", &text, DocumentFormat::Text, second(9), &mut |_, _| {}).unwrap();
    assert_eq!(
        (again.n_passages, again.n_new, again.n_existing),
        (report.n_passages, 0, report.n_passages)
    );
    assert_eq!(store.export().unwrap(), before);
    let documents = store.documents().unwrap();
    assert_eq!((documents.len(), documents[0].name.as_str()), (1, "book.txt"));
    assert_eq!(documents[0].n_passages, report.n_passages as u64);
    let page = store.archival_search(&archival("topic137", SearchMode::Fused)).unwrap();
    assert!(page.hits[0].passage.text.contains("topic137"));
    assert_eq!(page.hits[0].passage.source.as_deref(), Some("book.txt"));
}

#[test]
fn the_second_process_is_told_who_has_the_agent() {
    const HOLDER: &str = "PAGEWISE_TEST_HOLDS_FOLDER";
    let name = "store::the_second_process_is_told_who_has_the_agent";
    if let Some(folder) = std::env::var_os(HOLDER) {
        let _store = open(Path::new(&folder));
        fs::write(Path::new(&folder).join("held"), "").unwrap();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new()).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(HOLDER, folder.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !folder.path().join("held").exists() {
        assert!(holder.try_wait().unwrap().is_none(), "the other process ended early");
        std::thread::yield_now();
    }
    let refused = try_open(folder.path()).err().unwrap();
    assert!(
        matches!(refused, StoreError::Locked { pid: Some(pid), .. } if pid == holder.id()),
        "{refused}"
    );
    assert!(refused.to_string().contains(&format!("pid {}", holder.id())));
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    open(folder.path());
}

#[test]
fn the_lock_holds_within_a_process_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    assert!(matches!(try_open(folder.path()), Err(StoreError::Locked { .. })));
    drop(store);
    open(folder.path());
}

#[derive(Debug, Clone)]
enum Step {
    Say(String),
    Reply(String),
    Note(String),
    Block(u8, String),
    Queue(i64, bool),
    Fail(String),
    Search(String),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => "\\PC{0,30}".prop_map(Step::Say),
        3 => "[a-e ]{0,20}".prop_map(Step::Reply),
        2 => "[a-e ]{1,20}".prop_map(Step::Note),
        2 => (0u8..3, "\\PC{0,10}").prop_map(|(label, value)| Step::Block(label, value)),
        1 => (0i64..20, any::<bool>()).prop_map(|(first, warned)| Step::Queue(first, warned)),
        1 => "[a-e ]{0,20}".prop_map(Step::Fail),
        1 => "\\PC{0,20}".prop_map(Step::Search),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Every pushed message is in recall storage, in order, whatever happens around it.
    #[test]
    fn the_store_agrees_with_a_model_of_it(steps in prop::collection::vec(step(), 0..40)) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Some(open_with_graph(folder.path(), 5, 3));
        let (mut messages, mut notes, mut queue) = (Vec::new(), Vec::<String>::new(), QueueState::default());
        let mut blocks: Vec<Block> = Vec::new();
        for (n, step) in steps.into_iter().enumerate() {
            let now = second(n as i64);
            let open_store = store.as_mut().unwrap();
            match step {
                Step::Say(text) => messages.push(open_store.transact(|tx| tx.append(now, user(&text))).unwrap()),
                Step::Reply(text) => messages.push(open_store.transact(|tx| tx.append(now, reply(&text))).unwrap()),
                Step::Note(text) => {
                    note(open_store, &text);
                    if !notes.contains(&text) {
                        notes.push(text);
                    }
                }
                Step::Block(label, value) => {
                    let new = block(&label.to_string(), &value);
                    open_store.transact(|tx| tx.save_block(&new, now, None)).unwrap();
                    match blocks.iter_mut().find(|old| old.label == new.label) {
                        Some(old) => *old = new,
                        None => blocks.push(new),
                    }
                }
                Step::Queue(first, warned) => {
                    queue = QueueState { first_in_view: MessageId(first), summary: None, warned };
                    open_store.transact(|tx| tx.set_queue(&queue)).unwrap();
                }
                Step::Fail(text) => {
                    let failed = open_store.transact(|tx| {
                        tx.append(now, user(&text))?;
                        tx.insert_passage(&NewPassage { text, tags: vec![], source: None, at: now })?;
                        Err::<(), _>(StoreError::Embed(pagewise_core::EmbedError("made up".into())))
                    });
                    prop_assert!(failed.is_err());
                }
                Step::Search(words) => {
                    let page = open_store.recall_search(&recall(&words, SearchMode::Fused)).unwrap();
                    prop_assert_eq!(page.hits.len() as u64, page.total);
                    open_store.archival_search(&archival(&words, SearchMode::Fused)).unwrap();
                }
                Step::Reopen => {
                    drop(store.take());
                    store = Some(open_with_graph(folder.path(), 5, 3));
                }
            }
        }
        let mut store = store.unwrap();
        prop_assert_eq!(store.messages_from(MessageId(0)).unwrap(), &messages[..]);
        prop_assert_eq!(store.queue().unwrap(), queue);
        let working_context = store.working_context().unwrap();
        prop_assert_eq!(working_context.blocks(), &blocks[..]);
        let passages: Vec<String> = store.export().unwrap().passages.into_iter().map(|passage| passage.text).collect();
        prop_assert_eq!(passages, notes);
        let report = store.check().unwrap();
        prop_assert!(report.is_sound(), "{:?}", report.problems);
        // Each message with a word in it is found by that word.
        for message in &messages {
            let spoken = message.body.spoken().unwrap_or_default();
            let word = spoken.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| !word.is_empty());
            let is_whole = |word: &str| {
                !spoken.split(word).flat_map(|rest| [rest.chars().next(), rest.chars().next_back()]).flatten()
                    .any(|c| c.is_alphanumeric() || !c.is_ascii())
            };
            if let Some(word) = word.filter(|word| is_whole(word)) {
                let hits = found(&mut store, &recall(word, SearchMode::Words));
                prop_assert!(hits.contains(&message.id.0), "{:?} does not find {:?}", word, spoken);
            }
        }
    }
}
