//! What a store exports, another one imports: all of it, or nothing.

use pagewise_core::{Embedder, FunctionResult, MessageId, Status};
use pagewise_memory::{Block, Export, ImportError, QueueState, Summary};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value};

use super::*;

fn written(store: &Store) -> String {
    serde_json::to_string(&store.export().unwrap()).unwrap()
}

/// A store in a new folder that has taken in this document.
fn imported(document: &str) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    store.import(&Export::read(document.as_bytes()).unwrap()).unwrap();
    (folder, store)
}

/// A store with something of everything.
fn lived_in(folder: &Path) -> Store {
    let mut store = open(folder);
    say(&mut store, 0, MessageBody::Login { last: None });
    say(&mut store, 1, user("My sister Ana lives in Oslo."));
    let cause = say(&mut store, 2, call("working_context_append", "text", "Ana: Oslo"));
    say(&mut store, 3, reply("Noted."));
    let block = |value: &str| Block {
        label: "human".into(),
        description: "the user".into(),
        value: value.into(),
        limit_chars: 2000,
        read_only: false,
    };
    store
        .transact(|tx| {
            tx.save_block(&block(""), second(0), None)?;
            tx.save_block(&block("Ana: Oslo"), second(2), Some(MessageId(cause)))?;
            let summary = Some(Summary { text: "Hello.".into(), n_messages: 1 });
            tx.set_queue(&QueueState { first_in_view: MessageId(2), summary, warned: true })
        })
        .unwrap();
    note(&mut store, "The boat is called Heron.");
    store
}

#[test]
fn an_imported_store_is_one_that_can_be_lived_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = lived_in(folder.path());
    store.embed_pending(usize::MAX).unwrap();
    let (copy_folder, mut copy) = imported(&written(&store));
    assert_eq!(written(&copy), written(&store));
    assert_eq!(copy.working_context().unwrap(), store.working_context().unwrap());
    assert_eq!(copy.message(MessageId(2)).unwrap(), store.message(MessageId(2)).unwrap());
    assert_eq!(copy.message(MessageId(99)).unwrap(), None);

    // Vectors are made when they are needed, and both go on in the same way.
    let report = copy.check().unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!((report.recall.n_pending, report.archival.n_pending), (2, 1));
    for open_store in [&mut store, &mut copy] {
        say(open_store, 9, user("The heron has one leg."));
        note(open_store, "The anchor weighs forty kilograms.");
    }
    for mode in [SearchMode::Words, SearchMode::Meaning, SearchMode::Fused] {
        let query = recall("heron oslo", mode);
        assert_eq!(found(&mut copy, &query), found(&mut store, &query), "{mode:?}");
        let query = archival("heron anchor", mode);
        assert_eq!(found_passages(&mut copy, &query), found_passages(&mut store, &query));
    }
    assert_eq!(written(&copy), written(&store));
    drop(copy);
    let mut copy = open(copy_folder.path());
    assert_eq!(written(&copy), written(&store));
    assert!(copy.check().unwrap().is_sound());
}

#[test]
fn a_store_with_a_memory_takes_nothing_in() {
    let folder = tempfile::tempdir().unwrap();
    let store = lived_in(folder.path());
    let export = store.export().unwrap();
    let block = export.blocks[0].block.clone();
    let steps: [fn(&mut Store, &Block); 3] = [
        |store, _| {
            say(store, 0, user("I was here first."));
        },
        |store, _| {
            note(store, "I was here first.");
        },
        |store, block| store.transact(|tx| tx.save_block(block, second(0), None)).unwrap(),
    ];
    for (place, step) in steps.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let mut other = open(folder.path());
        step(&mut other, &block);
        let before = written(&other);
        let refused = other.import(&export).unwrap_err();
        let n = |at: usize| u64::from(at == place);
        assert!(
            matches!(
                refused,
                ImportError::NotEmpty { n_messages, n_passages, n_versions }
                    if [n_messages, n_passages, n_versions] == [n(0), n(1), n(2)]
            ),
            "{refused}"
        );
        assert_eq!(written(&other), before);
    }
    // Nor does one that has imported already.
    let (_folder, mut copy) = imported(&written(&store));
    assert!(matches!(copy.import(&export), Err(ImportError::NotEmpty { .. })));
    assert_eq!(written(&copy), written(&store));
}

#[test]
fn what_cannot_be_is_not_imported_by_hand_either() {
    let folder = tempfile::tempdir().unwrap();
    let export = lived_in(folder.path()).export().unwrap();
    type Edit = fn(&mut Export);
    let edits: [(Edit, &str); 4] = [
        (|all| all.messages.swap(0, 1), "messages[1].id is 1, after 2"),
        (|all| all.queue.first_in_view = MessageId(9), "queue.first_in_view is 9"),
        (|all| all.blocks[1].cause = Some(MessageId(1)), "blocks[1].cause is 1, which is no call"),
        (|all| all.blocks[1].block.limit_chars = 3, "blocks[1].value has 9 characters"),
    ];
    for (edit, says) in edits {
        let mut edited = export.clone();
        edit(&mut edited);
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path());
        let refused = store.import(&edited).unwrap_err().to_string();
        assert!(refused.contains(says), "{refused:?} does not say {says:?}");
        assert_eq!(store.n_messages().unwrap(), 0);
        // It is as new as before.
        store.import(&export).unwrap();
        assert_eq!(store.export().unwrap(), export);
    }
}

#[test]
fn an_import_that_fails_in_its_middle_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let export = lived_in(folder.path()).export().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    // Another program stands in the way of what is written last.
    let other = rusqlite::Connection::open(folder.path().join("memory.db")).unwrap();
    let refuse =
        "CREATE TRIGGER full BEFORE INSERT ON passages BEGIN SELECT RAISE(ABORT, 'no'); END";
    other.execute_batch(refuse).unwrap();
    assert!(matches!(store.import(&export), Err(ImportError::Store(_))));
    other.execute_batch("DROP TRIGGER full").unwrap();
    assert_eq!((store.n_messages().unwrap(), store.n_passages().unwrap()), (0, 0));
    assert!(store.block_history().unwrap().is_empty());
    store.import(&export).unwrap();
    assert_eq!(store.export().unwrap(), export);
}

/// Whatever a damaged document is read as, that is what is there after it was imported.
#[test]
fn a_mutated_document_is_refused_or_taken_in_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let whole = written(&lived_in(folder.path())).into_bytes();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let (mut n_refused, mut n_imported) = (0, 0);
    for _ in 0..1000 {
        let mut bytes = whole.clone();
        for _ in 0..rng.random_range(1..3) {
            let place = rng.random_range(0..bytes.len());
            match rng.random_range(0..4) {
                0 => bytes[place] = b"0123456789-\"{}[],:nte.\\ "[rng.random_range(0..24)],
                1 => {
                    bytes.remove(place);
                }
                2 => bytes[place] ^= 1 << rng.random_range(0..8),
                _ => {
                    let end = bytes.len().min(place + rng.random_range(1..40));
                    let part = bytes[place..end].to_vec();
                    drop(bytes.splice(place..place, part));
                }
            }
        }
        let Ok(export) = Export::read(&bytes[..]) else {
            n_refused += 1;
            continue;
        };
        n_imported += 1;
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path());
        store.import(&export).unwrap();
        assert_eq!(store.export().unwrap(), export);
    }
    assert!(n_refused > 300 && n_imported > 10, "{n_refused} refused, {n_imported} imported");
}

#[derive(Debug, Clone)]
enum Step {
    Say(MessageBody),
    Note(String, Vec<String>, Option<String>),
    Block {
        label: String,
        value: String,
        read_only: bool,
        is_caused: bool,
    },
    /// The queue begins so far behind the first message, and so many of those before it are
    /// summarised.
    Queue(prop::sample::Index, Option<(String, prop::sample::Index)>, bool),
    Embed,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["\\PC{0,20}", "[a-c \\n\\r\\t\\x00\"\\\\]{0,12}"]
}

fn argument() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn moment() -> impl Strategy<Value = Timestamp> {
    (-377_705_023_201_i64..=253_402_207_200, 0_i32..1_000_000_000).prop_map(
        |(second, nanosecond)| Timestamp::new(second, nanosecond).unwrap_or(Timestamp::MAX),
    )
}

fn body() -> impl Strategy<Value = MessageBody> {
    let arguments = prop::collection::vec((text(), argument()), 0..4);
    let call =
        (prop::option::of(text()), "[a-z_]{0,12}", arguments, prop::option::of(any::<bool>()))
            .prop_map(|(thought, function, arguments, request_heartbeat)| {
                let arguments: Map<String, Value> = arguments.into_iter().collect();
                MessageBody::Call(FunctionCall { thought, function, arguments, request_heartbeat })
            });
    let result = ("[a-z_]{0,12}", any::<bool>(), text()).prop_map(|(function, is_ok, message)| {
        let status = if is_ok { Status::Ok } else { Status::Failed };
        MessageBody::Result(FunctionResult { function, status, message })
    });
    prop_oneof![
        text().prop_map(|text| MessageBody::User { text }),
        text().prop_map(|text| reply(&text)),
        call,
        result,
        prop::option::of(moment()).prop_map(|last| MessageBody::Login { last }),
        text().prop_map(|text| MessageBody::SystemAlert { text }),
        (text(), any::<usize>())
            .prop_map(|(name, n_passages)| MessageBody::DocumentUploaded { name, n_passages }),
        (text(), any::<u64>())
            .prop_map(|(text, n_messages)| MessageBody::Summary { text, n_messages }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let note = (text(), prop::collection::vec(text(), 0..3), prop::option::of("[ab]{0,2}"));
    let block = ("[ab é]{1,3}", text(), any::<bool>(), any::<bool>());
    let summary = prop::option::of((text(), any::<prop::sample::Index>()));
    prop_oneof![
        6 => body().prop_map(Step::Say),
        2 => note.prop_map(|(text, tags, source)| Step::Note(text, tags, source)),
        3 => block.prop_map(|(label, value, read_only, is_caused)| Step::Block {
            label, value, read_only, is_caused,
        }),
        1 => (any::<prop::sample::Index>(), summary, any::<bool>())
            .prop_map(|(first, summary, warned)| Step::Queue(first, summary, warned)),
        1 => Just(Step::Embed),
    ]
}

/// Does what the steps say; whatever they are, a store could have come to be so.
fn live(store: &mut Store, steps: Vec<(Timestamp, Step)>) {
    let mut last_call = None;
    let mut n_messages = 0;
    for (at, step) in steps {
        store
            .transact(|tx| match step {
                Step::Say(body) => {
                    let message = tx.append(at, body)?;
                    n_messages += 1;
                    if matches!(message.body, MessageBody::Call(_)) {
                        last_call = Some(message.id);
                    }
                    Ok(())
                }
                Step::Note(text, tags, source) => {
                    tx.insert_passage(&NewPassage { text, tags, source, at }).map(|_| ())
                }
                Step::Block { label, value, read_only, is_caused } => {
                    let limit_chars = value.chars().count() + label.len();
                    let description = "d".repeat(label.len());
                    let block = Block { label, description, value, limit_chars, read_only };
                    tx.save_block(&block, at, last_call.filter(|_| is_caused))
                }
                Step::Queue(first, summary, warned) => {
                    let n_out_of_view = first.index(n_messages + 1);
                    let summary = summary.map(|(text, n)| Summary {
                        text,
                        n_messages: n.index(n_out_of_view + 1) as u64,
                    });
                    let first_in_view = MessageId(n_out_of_view as i64 + 1);
                    tx.set_queue(&QueueState { first_in_view, summary, warned })
                }
                Step::Embed => Ok(()),
            })
            .unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn an_import_is_exported_as_the_same_document(
        steps in prop::collection::vec((moment(), step()), 0..40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path());
        let embeds = steps.iter().any(|(_, step)| matches!(step, Step::Embed));
        live(&mut store, steps);
        if embeds {
            store.embed_pending(usize::MAX).unwrap();
        }
        let document = written(&store);
        let (_folder, mut copy) = imported(&document);
        prop_assert_eq!(&written(&copy), &document);
        let report = copy.check().unwrap();
        prop_assert!(report.is_sound(), "{:?}", report.problems);

        // As people would have it laid out, too.
        let pretty = serde_json::to_string_pretty(&store.export().unwrap()).unwrap();
        let (_folder, again) = imported(&pretty);
        prop_assert_eq!(&written(&again), &document);
    }
}

#[test]
fn an_import_needs_no_embedder() {
    struct NoEmbedder;
    impl Embedder for NoEmbedder {
        fn id(&self) -> &str {
            "none"
        }
        fn dimensions(&self) -> usize {
            0
        }
        fn embed(
            &self,
            _: &[&str],
            _: pagewise_core::Purpose,
        ) -> Result<Vec<Vec<f32>>, pagewise_core::EmbedError> {
            Err(pagewise_core::EmbedError("there is none".into()))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let export = lived_in(folder.path()).export().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut without = Store::open(folder.path(), Arc::new(NoEmbedder)).unwrap();
    without.import(&export).unwrap();
    drop(without);
    let mut store = open(folder.path());
    assert_eq!(store.embedder_change().unwrap(), None);
    assert_eq!(store.embed_pending(usize::MAX).unwrap(), 3);
    assert_eq!(found_passages(&mut store, &archival("boat", SearchMode::Meaning)), [1]);
    assert_eq!(store.export().unwrap(), export);
}
