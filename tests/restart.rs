//! What the model has read is read once: a start takes up where the last one ended, and no more than
//! time is lost where it cannot.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::program::{Home, replies, user_texts};

const FIRST: &str = "My sister Ana lives in Oslo.";
const SECOND: &str = "And my brother in Rome.";

/// The tokens of a prompt that change with each event: the date, what the user says, what to do.
const NEW_TOKENS: u64 = 120;

/// What an event took, of the `prefilled` and the `reused` tokens of all its prompts.
fn tokens(event: &Value) -> (u64, u64) {
    let number = |name: &str| event["tokens"][name].as_u64().expect("a number");
    (number("prefilled"), number("reused"))
}

/// A home in which a first message was answered by a program that has ended.
fn after_a_run() -> Home {
    let home = Home::new();
    home.json(&["run", FIRST, "--window", "2048"], "");
    home
}

fn snapshot(home: &Home) -> PathBuf {
    home.join("agents").join("default").join("main_context.kv")
}

/// Says the second thing, which must be answered and remembered; returns the event.
fn say_second(home: &Home, flags: &[&str]) -> Value {
    let events = home.json(&[&["run", SECOND, "--window", "2048"], flags].concat(), "");
    assert_eq!(events.len(), 1);
    check_answer(home, &events[0]);
    events[0].clone()
}

fn check_answer(home: &Home, event: &Value) {
    assert_eq!(event.get("error"), None, "{event}");
    let export = home.export();
    assert_eq!(user_texts(&export), [FIRST, SECOND]);
    let said = event["replies"].as_array().expect("replies");
    assert!(!said.is_empty(), "{event}");
    let all = replies(&export);
    assert!(said.iter().eq(&all[all.len() - said.len()..]), "{said:?} in {all:?}");
}

/// An event without the times that it took and the tokens that it did not have to read.
fn what_was_said(event: &Value) -> Value {
    Value::Array(["replies", "calls", "context"].map(|name| event[name].clone()).into())
}

#[test]
fn a_restart_reads_only_what_is_new() {
    let home = after_a_run();
    let cold = home.copy();
    assert!(snapshot(&home).is_file());

    let warm = say_second(&home, &[]);
    let (prefilled, reused) = tokens(&warm);
    assert!(prefilled <= NEW_TOKENS && reused >= 4 * NEW_TOKENS, "{}", warm["tokens"]);

    // The same with nothing kept: all of it is read, and the answer is as good.
    fs::remove_file(snapshot(&cold)).expect("the snapshot is removed");
    let cold = say_second(&cold, &[]);
    assert_eq!(tokens(&cold), (prefilled + reused, 0), "in one step");
    assert_eq!(what_was_said(&cold), what_was_said(&warm));
}

#[test]
fn a_chat_goes_on_with_what_a_run_has_read() {
    let home = after_a_run();
    let events = home.json(&["chat", "--window", "2048"], SECOND);
    check_answer(&home, &events[0]);
    // One line more: the user came back.
    let (prefilled, reused) = tokens(&events[0]);
    assert!(prefilled <= NEW_TOKENS && reused >= 4 * NEW_TOKENS, "{}", events[0]["tokens"]);
}

#[test]
fn a_snapshot_that_cannot_be_used_costs_time_and_nothing_else() {
    let whole = after_a_run();
    let expected = {
        let home = whole.copy();
        fs::remove_file(snapshot(&home)).expect("the snapshot is removed");
        say_second(&home, &[])
    };
    let damages: [(&str, fn(&mut Vec<u8>)); 5] = [
        ("a flipped bit at its start", |bytes| bytes[0] ^= 1),
        ("a flipped bit in its middle", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }),
        ("a flipped bit at its end", |bytes| {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
        }),
        ("half of it", |bytes| bytes.truncate(bytes.len() / 2)),
        ("nothing in it", Vec::clear),
    ];
    for (name, damage) in damages {
        let home = whole.copy();
        let mut bytes = fs::read(snapshot(&home)).expect("the snapshot");
        damage(&mut bytes);
        fs::write(snapshot(&home), &bytes).expect("the snapshot is damaged");
        let event = say_second(&home, &[]);
        assert_eq!(event["tokens"], expected["tokens"], "{name}");
        assert_eq!(what_was_said(&event), what_was_said(&expected), "{name}");
        // The next one is whole again.
        let written = fs::read(snapshot(&home)).expect("a snapshot");
        assert!(written.starts_with(b"pgwkv") && written.len() > bytes.len(), "{name}");
    }
    // It is of another window.
    let home = whole.copy();
    let events = home.json(&["run", SECOND, "--window", "2000"], "");
    check_answer(&home, &events[0]);
    assert_eq!(tokens(&events[0]).1, 0, "{}", events[0]["tokens"]);
}

#[test]
fn without_a_snapshot_nothing_is_used_and_nothing_kept() {
    let home = after_a_run();
    let before = fs::read(snapshot(&home)).expect("the snapshot");
    let event = say_second(&home, &["--no-snapshot"]);
    assert_eq!(tokens(&event).1, 0, "{}", event["tokens"]);
    assert!(fs::read(snapshot(&home)).expect("the snapshot") == before, "it is left as it is");

    let home = Home::new();
    home.json(&["run", FIRST, "--window", "2048", "--no-snapshot"], "");
    assert!(!snapshot(&home).exists());
    assert_eq!(tokens(&say_second(&home, &[])).1, 0);
}

/// After a flush the conversation stands at another place. What it took before is moved there, so
/// that less is read again.
#[test]
fn pieces_are_reused_across_a_flush() {
    let lines: String = (0..40)
        .map(|n| format!("Message number {n} says that the user found results.\n"))
        .collect();
    let talk = |flags: &[&str]| {
        let home = Home::new();
        let events = home.json(&[&["chat", "--window", "1024"], flags].concat(), &lines);
        assert_eq!(events.len(), 40);
        for event in &events {
            assert_eq!(event.get("error"), None, "{event}");
            assert!(event["replies"].as_array().is_some_and(|said| !said.is_empty()), "{event}");
        }
        let flushes: Vec<Value> =
            events.into_iter().filter(|event| event["evicted"].as_u64() > Some(0)).collect();
        assert!(flushes.len() > 1, "the window was hardly ever full");
        (home, flushes)
    };
    let (home, moving) = talk(&["--cache-reuse", "16"]);
    assert!(!snapshot(&home).exists(), "an approximation is not kept");
    let (home, exact) = talk(&[]);
    assert!(snapshot(&home).exists());
    let share = |events: &[Value]| {
        let (prefilled, reused) =
            events.iter().map(tokens).fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        reused as f64 / (prefilled + reused) as f64
    };
    let (moving, exact) = (share(&moving), share(&exact));
    assert!(moving > exact + 0.05, "{moving:.3} with pieces, {exact:.3} without");
}
