use serde_json::json;

use super::*;

/// A document with something of everything.
fn document() -> Value {
    let block = |label: &str, value: &str, cause: Value| {
        json!({
            "label": label, "description": "about", "value": value, "limit_chars": 20,
            "read_only": false, "at": "2024-01-01T00:00:00Z", "cause": cause,
        })
    };
    let passage = |id: i64, text: &str, source: Value| json!({"id": id, "text": text, "tags": ["t"], "source": source, "at": "2024-01-01T00:00:00.5Z"});
    json!({
        "format": 1,
        "messages": [
            {"id": 1, "at": "2024-01-01T00:00:00Z", "kind": "login", "last": null},
            {"id": 2, "at": "2024-01-01T00:00:01Z", "kind": "user", "text": "hello"},
            {"id": 3, "at": "2024-01-01T00:00:02Z", "kind": "call", "function": "working_context_append",
             "args": {"block": "human", "text": "a", "more": [1, -2, {"deep": true}]}},
            {"id": 4, "at": "2024-01-01T00:00:02Z", "kind": "result",
             "function": "working_context_append", "status": "ok", "message": "Saved."},
            {"id": 6, "at": "2024-01-01T00:00:03Z", "kind": "call", "thought": "hm",
             "function": "send_message", "args": {"message": "hi"}, "request_heartbeat": false},
        ],
        "queue": {
            "first_in_view": 3, "summary": {"text": "so far", "n_messages": 2}, "warned": true,
        },
        "blocks": [
            block("human", "", Value::Null), block("persona", "calm", Value::Null), block("human", "a", json!(3)),
        ],
        "passages": [passage(1, "text", Value::Null), passage(2, "text", json!("a.txt"))],
    })
}

fn read(text: &str) -> Result<Export, ImportError> {
    Export::read(text.as_bytes())
}

fn check_refused(text: &str, says: &str) {
    let refused = read(text).expect_err(says).to_string();
    assert!(refused.contains(says), "{refused:?} does not say {says:?}");
}

/// What `edit` makes of the document is refused with this sentence.
fn check_edited(edit: impl FnOnce(&mut Value), says: &str) {
    let mut edited = document();
    edit(&mut edited);
    check_refused(&edited.to_string(), says);
}

#[test]
fn what_is_read_is_written_again_as_it_stands() {
    for text in [document().to_string(), serde_json::to_string_pretty(&document()).unwrap()] {
        let export = read(&text).unwrap();
        assert_eq!(serde_json::to_value(&export).unwrap(), document());
        assert_eq!(export.messages.len(), 5);
    }
    let empty = r#"{"format":1,"messages":[],"queue":{"first_in_view":1,"summary":null,"warned":false},"blocks":[],"passages":[]}"#;
    assert_eq!(serde_json::to_string(&read(empty).unwrap()).unwrap(), empty);
}

#[test]
fn what_is_no_export_is_refused() {
    check_refused("", "EOF");
    check_refused("\u{7f}ELF", "as an export (line 1, column 1): expected value");
    check_refused("{}", "missing field `format`");
    check_refused("3", "expected struct Export");
    check_refused(&document().to_string().replace("hello", "\\ud800"), "(line 1, column ");
    check_refused(&(document().to_string() + " {}"), "trailing characters");
    let whole = document().to_string();
    check_refused(&whole[..whole.len() - 1], "EOF");
    check_refused(&"[".repeat(100_000), "(line 1, column ");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    check_refused(&whole.replace("[1,-2,", &format!("[{deep},")), "recursion limit");
    check_refused(
        &whole.replacen("\"id\":1,", "\"id\":1,\"id\":1,", 1),
        "the field \"id\" is there twice",
    );
    check_refused(
        &whole.replacen("\"text\":\"a\",", "\"text\":\"a\",\"text\":\"b\",", 1),
        "the field \"text\" is there twice",
    );
    check_refused(
        &whole.replacen("\"format\":1", "\"format\":1,\"format\":1", 1),
        "duplicate field `format`",
    );
}

#[test]
fn other_formats_are_refused_before_all_else() {
    check_edited(|all| all["format"] = json!(0), "): format is 0, and this program reads 1");
    check_edited(|all| all["format"] = json!("1"), "invalid type: string \"1\"");
    let newer = r#"{"format": 2, "facts": []}"#;
    check_refused(
        newer,
        "): format is 2, and this program reads 1: a newer pagewise has written it",
    );
    let made = Export { format: 7, ..read(&document().to_string()).unwrap() };
    let refused = made.check().unwrap_err().to_string();
    assert!(refused.contains("format is 7"), "{refused}");
}

#[test]
fn what_would_be_lost_is_refused() {
    check_edited(|all| all["facts"] = json!([]), "unknown field `facts`");
    check_edited(
        |all| all["messages"][1]["mood"] = json!("good"),
        "messages[1] has an unknown field \"mood\"",
    );
    check_edited(
        |all| all["messages"][2]["mood"] = json!("good"),
        "messages[2]: unknown field `mood`",
    );
    check_edited(
        |all| all["queue"]["summary"]["of"] = json!(1),
        "queue.summary has an unknown field \"of\"",
    );
    check_edited(|all| all["blocks"][0]["id"] = json!(1), "blocks[0] has an unknown field \"id\"");
    check_edited(
        |all| all["passages"][1]["vector"] = Value::Null,
        "passages[1] has an unknown field \"vector\"",
    );
    check_edited(
        |all| drop(all["passages"][1].as_object_mut().unwrap().shift_remove("source")),
        "passages[1] has no field \"source\"",
    );
    check_edited(
        |all| drop(all["messages"][1].as_object_mut().unwrap().shift_remove("text")),
        "messages[1]: missing field `text`",
    );
    check_edited(
        |all| drop(all.as_object_mut().unwrap().shift_remove("queue")),
        "missing field `queue`",
    );
    check_edited(|all| all["messages"] = json!({}), "the list \"messages\"");
    check_edited(|all| all["messages"][0] = json!(3), "messages[0]: invalid type");
    check_edited(|all| all["passages"][0]["tags"][0] = json!(3), "passages[0]: invalid type");
    check_edited(|all| all["messages"][1]["kind"] = json!("dream"), "unknown variant `dream`");
}

#[test]
fn times_are_refused_beyond_the_calendar() {
    for time in ["10000-01-01T00:00:00Z", "2024-02-30T00:00:00Z", "yesterday", ""] {
        check_edited(|all| all["messages"][1]["at"] = json!(time), "messages[1]: ");
        check_edited(|all| all["blocks"][1]["at"] = json!(time), "blocks[1]: ");
        check_edited(|all| all["passages"][1]["at"] = json!(time), "passages[1]: ");
        check_edited(|all| all["messages"][0]["last"] = json!(time), "messages[0]: ");
    }
    check_edited(
        |all| all["messages"][1]["at"] = json!("2024-01-01T02:00:01+02:00"),
        "messages[1].at is \"2024-01-01T02:00:01+02:00\", which an export has as \"2024-01-01T00:00:01Z\"",
    );
}

#[test]
fn numbers_go_up() {
    let id = |list: &'static str, index: usize, id: i64, says: &str| {
        check_edited(|all| all[list][index]["id"] = json!(id), says);
    };
    id("messages", 1, 1, "messages[1].id is 1 a second time");
    id("messages", 4, 2, "messages[4].id is 2, after 4");
    id("messages", 0, 0, "messages[0].id is 0, and not from 1 to 9007199254740991");
    id("messages", 0, -1, "messages[0].id is -1, and not from 1");
    id("messages", 4, i64::MAX, "messages[4].id is 9223372036854775807, and not from 1");
    id("messages", 4, ID_MAX + 1, "messages[4].id is 9007199254740992, and not from 1");
    id("passages", 1, 1, "passages[1].id is 1 a second time");
    id("passages", 0, 3, "passages[1].id is 2, after 3");
    check_edited(|all| all["messages"][0]["id"] = json!(1.5), "messages[0]: invalid type");
    check_edited(|all| all["messages"][0]["id"] = json!(u64::MAX), "messages[0]: invalid value");
}

#[test]
fn the_queue_is_about_messages_that_are_there() {
    let queue = |field: &'static str, value: Value, says: &str| {
        check_edited(|all| all["queue"][field] = value, says);
    };
    queue("first_in_view", json!(8), "queue.first_in_view is 8, and the last message is 6");
    queue("first_in_view", json!(0), "queue.first_in_view is 0");
    queue("first_in_view", json!(-3), "queue.first_in_view is -3");
    let summary = |n: u64| json!({"text": "so far", "n_messages": n});
    queue("summary", summary(3), "queue.summary.n_messages is 3, and 2 messages are out of view");
    queue("summary", summary(u64::MAX), "queue.summary.n_messages is 18446744073709551615");
    check_edited(
        |all| {
            all["messages"] = json!([]);
            all["blocks"] = json!([]);
            all["queue"]["summary"] = Value::Null;
        },
        "queue.first_in_view is 3, and there are no messages",
    );
    // Nothing is in view.
    let mut all = document();
    all["queue"]["first_in_view"] = json!(7);
    read(&all.to_string()).unwrap();
}

#[test]
fn blocks_keep_to_their_limits() {
    let block = |field: &'static str, value: Value, says: &str| {
        check_edited(|all| all["blocks"][2][field] = value, says);
    };
    block(
        "value",
        json!("é".repeat(21)),
        "blocks[2].value has 21 characters; the block's limit is 20",
    );
    block("limit_chars", json!(100_001), "blocks[2].limit_chars is 100001, more than 100000");
    block("limit_chars", json!(-1), "blocks[2]: invalid value");
    block("label", json!(""), "blocks[2].label is not 1 to 128 characters");
    block("label", json!("a\nb"), "blocks[2].label is not 1 to 128 characters");
    block("label", json!("x".repeat(129)), "blocks[2].label is not 1 to 128 characters");
    block("cause", json!(9), "blocks[2].cause is 9, which is no call among messages");
    block("cause", json!(2), "blocks[2].cause is 2, which is no call among messages");
    block("read_only", json!("no"), "blocks[2]: invalid type");
    let mut all = document();
    all["blocks"][2]["value"] = json!("é".repeat(20));
    read(&all.to_string()).unwrap();
}

#[test]
fn a_passage_is_there_once() {
    check_edited(
        |all| all["passages"][1]["source"] = Value::Null,
        "passages[1] is passages[0] again: the same text and source",
    );
}

#[test]
fn memory_is_bounded() {
    let text = document().to_string();
    let n_bytes = text.len() as u64;
    Export::read_within(text.as_bytes(), n_bytes).unwrap();
    let refused = Export::read_within(text.as_bytes(), n_bytes - 1).unwrap_err();
    assert!(matches!(refused, ImportError::TooLarge), "{refused}");
    // A document without end.
    let refused = Export::read_within(io::repeat(b' '), 1 << 20).unwrap_err();
    assert!(matches!(refused, ImportError::TooLarge), "{refused}");
    let says = "one part of the document takes more than 16777216 bytes";
    check_refused(&text.replace("[1,-2,", &format!("[{}", "0,".repeat(1 << 20))), says);
    check_refused(&text.replace("hello", &"x".repeat(ITEM_BYTES_MAX)), says);
    // That much in many parts is no harm.
    let mut all = document();
    let passage = |id: usize| {
        json!({"id": id, "text": format!("{id}{}", "x".repeat(1 << 20)), "tags": [], "source": null,
               "at": "2024-01-01T00:00:00Z"})
    };
    all["passages"] = (1..=20).map(passage).collect();
    assert_eq!(read(&all.to_string()).unwrap().passages.len(), 20);
}

#[test]
fn a_document_that_cannot_be_read_says_why() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is on fire"))
        }
    }
    let refused = Export::read(Broken).unwrap_err();
    assert!(matches!(refused, ImportError::Io(_)), "{refused}");
    assert_eq!(refused.to_string(), "it cannot be read: the disk is on fire");
}
