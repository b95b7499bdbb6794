//! What is found, in which order, on which page; each defect of the original that applies
//! (keys missing from results, totals of a page, times of the search, stale caches, an end day left out,
//! no order) has its test here.

use jiff::civil::date;
use jiff::tz::TimeZone;
use pagewise_core::{FunctionResult, MessageBody, MessageId, Role, Status};
use pagewise_memory::{NewPassage, Page, RecallHit, SearchMode};
use proptest::prelude::*;

use super::*;

const MODES: [SearchMode; 3] = [SearchMode::Words, SearchMode::Meaning, SearchMode::Fused];

/// A search, as a person or the model would see it.
fn shown(page: &Page<RecallHit>) -> String {
    let mut text =
        format!("{} of {}, page {} of {}\n", page.hits.len(), page.total, page.page, page.n_pages);
    for hit in &page.hits {
        text += &format!(
            "{} {} {}: {}\n",
            hit.message.id.0,
            hit.message.at,
            hit.message.body.role().name(),
            hit.spoken
        );
    }
    text
}

fn conversation(store: &mut Store) {
    for (n, body) in [
        user("My sister Ana lives in Oslo."),
        reply("I will remember that Ana lives in Oslo."),
        user("The dog is called Rex, he likes running."),
        call("conversation_search", "words", "sister Oslo"),
        MessageBody::Result(FunctionResult {
            function: "conversation_search".into(),
            status: Status::Ok,
            message: "sister Oslo Rex".into(),
        }),
        MessageBody::SystemAlert { text: "sister Oslo".into() },
        MessageBody::Summary { text: "The sister lives in Oslo.".into(), n_messages: 2 },
        reply("Rex ran well!"),
        user("What is the weather?"),
    ]
    .into_iter()
    .enumerate()
    {
        say(store, n as i64, body);
    }
}

#[test]
fn a_hit_says_who_when_and_what() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    conversation(&mut store);
    let page =
        store.recall_search(&recall("where does my sister live?", SearchMode::Fused)).unwrap();
    insta::assert_snapshot!(shown(&page), @r"
    2 of 2, page 1 of 1
    1 2023-11-14T22:13:20Z user: My sister Ana lives in Oslo.
    2 2023-11-14T22:13:21Z assistant: I will remember that Ana lives in Oslo.
    ");
    let page = store.recall_search(&recall("run", SearchMode::Words)).unwrap();
    insta::assert_snapshot!(shown(&page), @r"
    1 of 1, page 1 of 1
    3 2023-11-14T22:13:22Z user: The dog is called Rex, he likes running.
    ");
}

#[test]
fn only_what_was_said_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    conversation(&mut store);
    for mode in MODES {
        let hits = found(&mut store, &recall("sister Oslo", mode));
        assert_eq!(hits[..2].iter().sum::<i64>(), 1 + 2, "{mode:?}: {hits:?}");
        assert!(hits.iter().all(|id| [1, 2, 3, 8, 9].contains(id)), "{mode:?}: {hits:?}");
    }
    assert_eq!(found(&mut store, &recall("sister Oslo", SearchMode::Words)).len(), 2);
    let by = |roles: &[Role]| RecallQuery {
        roles: roles.to_vec(),
        ..recall("Oslo Rex", SearchMode::Words)
    };
    assert_eq!(found(&mut store, &by(&[Role::User])).len(), 2);
    let mut assistant = found(&mut store, &by(&[Role::Assistant]));
    assistant.sort_unstable();
    assert_eq!(assistant, [2, 8]);
    assert!(found(&mut store, &by(&[Role::System, Role::Function])).is_empty());
    let before = RecallQuery { before: Some(MessageId(2)), ..recall("Oslo", SearchMode::Fused) };
    assert_eq!(found(&mut store, &before), [1]);
}

#[test]
fn without_words_everything_in_scope_is_listed_newest_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    conversation(&mut store);
    for words in [None, Some(String::new()), Some(" \n".into())] {
        let query = RecallQuery { words, ..recall("", SearchMode::Fused) };
        assert_eq!(found(&mut store, &query), [9, 8, 3, 2, 1]);
    }
    for words in ["?!", "\u{1f600}", "\0"] {
        assert!(found(&mut store, &recall(words, SearchMode::Words)).is_empty());
        store.recall_search(&recall(words, SearchMode::Fused)).unwrap();
    }
}

#[test]
fn a_substring_is_found_in_any_case_oldest_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let pairs = [("0a1b-KEY", "9f9f"), ("77aa", "0a1b-key"), ("9f9f", "Ümlaut")];
    for (key, value) in pairs {
        note(&mut store, &format!("Key-value pair: key = {key}, value = {value}"));
    }
    let mut check = |words: &str, expected: &[i64]| {
        let page = store.archival_search(&archival(words, SearchMode::Substring)).unwrap();
        let found: Vec<i64> = page.hits.iter().map(|hit| hit.passage.id.0).collect();
        assert_eq!((found.as_slice(), page.total), (expected, expected.len() as u64), "{words:?}");
    };
    // A value that is also a key is in two passages, one that is not is in one.
    check("0A1B-key", &[1, 2]);
    check(" 9f9f ", &[1, 3]);
    check("üml", &[3]);
    check("key = 77aa, value", &[2]);
    check("77aa value", &[]);
}

#[test]
fn totals_are_of_all_pages() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    for n in 0..23 {
        say(&mut store, n, user(&format!("tea tea tea {n}")));
        note(&mut store, &format!("tea tea tea {n}"));
    }
    for mode in MODES {
        for (page, n_hits) in [(1, 5), (2, 5), (5, 3), (6, 0), (u32::MAX, 0)] {
            let query = RecallQuery { page, page_size: 5, ..recall("tea", mode) };
            let result = store.recall_search(&query).unwrap();
            assert_eq!(
                (result.hits.len(), result.total, result.n_pages),
                (n_hits, 23, 5),
                "{mode:?} {page}"
            );
            let query = ArchivalQuery { page, page_size: 5, ..archival("tea", mode) };
            let result = store.archival_search(&query).unwrap();
            assert_eq!(
                (result.hits.len(), result.total, result.n_pages),
                (n_hits, 23, 5),
                "{mode:?} {page}"
            );
        }
    }
}

#[test]
fn ties_are_ordered_newest_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    for n in 0..12 {
        say(&mut store, n, user("the same words"));
    }
    for mode in MODES {
        assert_eq!(
            found(&mut store, &recall("same words", mode)),
            (1..=12).rev().collect::<Vec<_>>(),
            "{mode:?}"
        );
    }
}

#[test]
fn hits_carry_the_time_of_their_insertion() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let time = at("2001-02-03T04:05:06.789Z");
    let passage =
        NewPassage { text: "tea".into(), tags: vec!["drink".into()], source: None, at: time };
    store.transact(|tx| tx.insert_passage(&passage)).unwrap();
    store.transact(|tx| tx.append(time, user("tea"))).unwrap();
    let hit = store.archival_search(&archival("tea", SearchMode::Fused)).unwrap().hits.remove(0);
    assert_eq!((hit.passage.at, hit.passage.tags.as_slice()), (time, &["drink".to_string()][..]));
    let hit = store.recall_search(&recall("tea", SearchMode::Fused)).unwrap().hits.remove(0);
    assert_eq!(hit.message.at, time);
}

#[test]
fn what_was_just_inserted_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    for n in 1..=50 {
        for mode in MODES {
            assert_eq!(found_passages(&mut store, &archival("tea", mode)).len(), n - 1);
            assert_eq!(found(&mut store, &recall("tea", mode)).len(), n - 1);
        }
        note(&mut store, &format!("tea tea tea {n}"));
        say(&mut store, n as i64, user(&format!("tea tea tea {n}")));
    }
}

#[test]
fn the_last_day_is_included() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    for time in [
        "2024-05-01T21:59:59.999Z", // 23:59 in Oslo
        "2024-05-01T22:00:00Z",     // midnight in Oslo: the second of May
        "2024-05-02T12:00:00Z",
        "2024-05-03T21:59:59.999999999Z",
        "2024-05-03T22:00:00Z", // the fourth
    ] {
        store.transact(|tx| tx.append(at(time), user("tea"))).unwrap();
    }
    let oslo = TimeZone::get("Europe/Oslo").unwrap();
    let mut days = |from, to| {
        let query = RecallQuery {
            words: None,
            from,
            to,
            time_zone: oslo.clone(),
            ..recall("", SearchMode::Words)
        };
        let listed = found(&mut store, &query);
        // A search orders by how well a message fits, and these fit alike: the newest comes first.
        let with_words = RecallQuery { words: Some("tea".into()), ..query };
        let mut by_words = found(&mut store, &with_words);
        by_words.reverse();
        assert_eq!(by_words, listed);
        listed
    };
    let day = |d| Some(date(2024, 5, d));
    assert_eq!(days(day(2), day(3)), [2, 3, 4]);
    assert_eq!(days(day(3), day(3)), [4]);
    assert_eq!(days(None, day(1)), [1]);
    assert_eq!(days(day(4), None), [5]);
    assert_eq!(days(day(3), day(2)), [] as [i64; 0]);
    assert_eq!(days(Some(jiff::civil::Date::MIN), Some(jiff::civil::Date::MAX)).len(), 5);
}

#[test]
fn an_identifier_is_found_exactly_and_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let uuid = |n: u32| format!("5{n:07x}-e29b-41d4-a716-4466554400{:02x}", n % 7);
    store
        .transact(|tx| {
            for n in 0..300 {
                let text = format!("key {} value {}", uuid(n), uuid(n + 1000));
                tx.append(second(0), user(&text))?;
                tx.insert_passage(&NewPassage { text, tags: vec![], source: None, at: second(0) })?;
            }
            Ok(())
        })
        .unwrap();
    for n in [0, 17, 299] {
        for words in [
            uuid(n),
            uuid(n).to_uppercase(),
            format!("What is the value of the key \"{}\"?", uuid(n)),
        ] {
            for mode in [SearchMode::Words, SearchMode::Fused] {
                assert_eq!(
                    found_passages(&mut store, &archival(&words, mode))[0],
                    i64::from(n) + 1,
                    "{words}"
                );
                assert_eq!(
                    found(&mut store, &recall(&words, mode))[0],
                    i64::from(n) + 1,
                    "{words}"
                );
            }
        }
    }
    let page = store.archival_search(&archival(&uuid(17), SearchMode::Words)).unwrap();
    assert_eq!(page.total, 1, "parts of an identifier are not looked for");
}

#[test]
fn tags_narrow_a_search() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    for (text, tags) in
        [("tea one", vec!["a"]), ("tea two", vec!["a", "b'\"%"]), ("tea three", vec![])]
    {
        let tags = tags.into_iter().map(str::to_string).collect();
        let passage = NewPassage { text: text.into(), tags, source: None, at: second(0) };
        store.transact(|tx| tx.insert_passage(&passage)).unwrap();
    }
    let mut tagged = |tags: &[&str]| {
        let tags = tags.iter().map(|tag| tag.to_string()).collect();
        let mut hits = found_passages(
            &mut store,
            &ArchivalQuery { tags, ..archival("tea", SearchMode::Fused) },
        );
        hits.sort_unstable();
        hits
    };
    assert_eq!(tagged(&[]), [1, 2, 3]);
    assert_eq!(tagged(&["a"]), [1, 2]);
    assert_eq!(tagged(&["a", "b'\"%"]), [2]);
    assert_eq!(tagged(&["c"]), [] as [i64; 0]);
}

#[test]
fn stop_words_do_not_find_everything() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    conversation(&mut store);
    assert_eq!(found(&mut store, &recall("what is the weather", SearchMode::Words)), [9]);
    assert!(!found(&mut store, &recall("what is the", SearchMode::Words)).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Nothing that is typed breaks a search, and its pages are its hits, each once.
    #[test]
    fn pages_partition_the_result(
        texts in prop::collection::vec("[a-d ]{0,12}|\\PC{0,12}", 0..30),
        words in prop_oneof!["[a-d ]{0,8}", "\\PC{0,16}", Just("\" AND (NEAR".to_string()), Just("a* OR -b:".to_string())],
        page_size in 1u32..7,
        graph in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open_with_graph(folder.path(), if graph { 4 } else { 1000 }, 3);
        for (n, text) in texts.iter().enumerate() {
            say(&mut store, n as i64, if n % 2 == 0 { user(text) } else { reply(text) });
        }
        for mode in MODES {
            // Until the graph is complete, a search may find other neighbours than the one before.
            store.check().unwrap();
            let all = store.recall_search(&recall(&words, mode)).unwrap();
            let mut joined = Vec::new();
            for page in 1.. {
                let result = store.recall_search(&RecallQuery { page, page_size, ..recall(&words, mode) }).unwrap();
                prop_assert_eq!(result.total, all.total);
                if result.hits.is_empty() {
                    prop_assert_eq!(page, result.n_pages + 1);
                    break;
                }
                joined.extend(result.hits);
            }
            prop_assert_eq!(&joined, &all.hits);
            let mut ids: Vec<_> = joined.iter().map(|hit| hit.message.id).collect();
            ids.sort_unstable();
            ids.dedup();
            prop_assert_eq!(ids.len() as u64, all.total);
        }
    }
}
