//! What the model has read is read once: a start takes up where the last one ended, and where it
//! cannot, time is lost and nothing else.
//!
//! How many steps an event takes is the model's affair, so what is compared are sums over all of
//! them: the tokens that were read, and those that the KV cache held already.

use std::fs;
use std::path::{Path, PathBuf};

use pagewise_testkit::test_weights;
use serde_json::Value;

use crate::program::{Home, replies, user_texts};

const WINDOW: &str = "2048";
const FIRST: &str = "My sister Ana lives in Oslo.";
const SECOND: &str = "And my brother in Rome.";

/// Main context as it is between two events ends otherwise than a prompt: with the end of the user's
/// turn and the beginning of the answer. More tokens than that are never read again.
const END_TOKENS: u64 = 16;

/// More than a step of a model that can write adds to its prompt when little was said: what the last
/// call came to, the event, what is to be done.
const STEP_TOKENS: u64 = 200;

/// Pieces of the KV cache of so many tokens are moved.
const PIECE_TOKENS: &str = "32";

/// What all steps of an event took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tokens {
    prefilled: u64,
    reused: u64,
}

impl Tokens {
    fn of(event: &Value) -> Self {
        let number = |name: &str| event["tokens"][name].as_u64().expect("a number");
        Self { prefilled: number("prefilled"), reused: number("reused") }
    }

    /// Of all prompts of the event.
    fn prompts(self) -> u64 {
        self.prefilled + self.reused
    }
}

/// Returns the best kernels of this machine whose products do not depend on how many tokens are read
/// at once: what is compared is read in different pieces.
fn kernels(home: &Home) -> String {
    let machine = &home.json_value(&["doctor"])["machine"];
    let available = machine["kernels_available"].as_array().expect("names");
    let mut names = available.iter().map(|name| name.as_str().expect("a name"));
    names.rfind(|name| !name.starts_with("amx")).expect("there are always some").to_owned()
}

/// Says something to the agent, with a start of the program for it alone; returns the event.
fn say(home: &Home, model: &Path, text: &str, flags: &[&str]) -> Value {
    say_in(WINDOW, home, model, text, flags)
}

fn say_in(window: &str, home: &Home, model: &Path, text: &str, flags: &[&str]) -> Value {
    let (kernels, model) = (kernels(home), model.to_str().expect("a path in UTF-8"));
    let arguments = ["run", text, "--window", window, "--isa", &kernels, "--model", model];
    let mut events = home.json(&[&arguments[..], flags].concat(), "");
    assert_eq!(events.len(), 1);
    check_answered(&events);
    events.remove(0)
}

fn check_answered(events: &[Value]) {
    for event in events {
        assert_eq!(event.get("error"), None, "{event}");
        assert!(event["replies"].as_array().is_some_and(|said| !said.is_empty()), "{event}");
    }
}

fn context_used(event: &Value) -> u64 {
    event["context"]["used"].as_u64().expect("a number")
}

fn n_steps(event: &Value) -> u64 {
    event["calls"].as_array().expect("calls").len() as u64
}

fn snapshot(home: &Home) -> PathBuf {
    home.join("agents").join("default").join("main_context.kv")
}

/// What was read for the decision before the first step.
fn intake_snapshot(home: &Home) -> PathBuf {
    snapshot(home).with_file_name("intake.kv")
}

#[cfg(unix)]
#[test]
fn what_is_kept_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let home = Home::new();
    let event = say(&home, &home.model(), FIRST, &[]);
    let mut names = Vec::new();
    for entry in fs::read_dir(home.join("agents").join("default")).expect("a folder") {
        let entry = entry.expect("a file");
        let name = entry.file_name().to_string_lossy().into_owned();
        let mode = entry.metadata().expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
        names.push(name);
    }
    for name in ["memory.db", "main_context.kv", "intake.kv"] {
        assert!(names.iter().any(|other| other == name), "no {name} in {names:?}");
    }
    let is_noted = names.iter().any(|name| name == "noting.kv");
    assert_eq!(is_noted, event["plan"]["saves"] == true, "{names:?}");
}

/// An event without the times that it took and the tokens that it need not read.
fn what_was_said(event: &Value) -> Value {
    Value::Array(["replies", "calls", "context"].map(|name| event[name].clone()).into())
}

#[test]
fn a_restart_reads_only_what_is_new() {
    let home = Home::new();
    let history = context_used(&say(&home, &home.model(), FIRST, &[]));
    assert!(history > 500, "{history} tokens are no history");
    let cold = home.copy();

    let event = say(&home, &home.model(), SECOND, &[]);
    let warm = Tokens::of(&event);

    // The same answer, of all that is read again before the first step.
    let again = say(&cold, &home.model(), SECOND, &["--no-snapshot"]);
    assert_eq!(what_was_said(&again), what_was_said(&event));
    let cold = Tokens::of(&again);
    assert_eq!(cold.prompts(), warm.prompts());
    assert!(cold.prefilled >= warm.prefilled + history - END_TOKENS, "{warm:?}, {cold:?}");

    let export = home.export();
    assert_eq!(user_texts(&export), [FIRST, SECOND]);
    let said = event["replies"].as_array().expect("replies");
    assert!(replies(&export).ends_with(&said.iter().map(text).collect::<Vec<_>>()), "{said:?}");
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[test]
fn a_real_model_reads_only_what_is_new() {
    let model = test_weights("smollm2-135m-instruct-q4_1.gguf");
    let home = Home::new();
    let history = context_used(&say(&home, &model, FIRST, &[]));
    assert!(history > 500, "{history} tokens are no history");
    let cold = home.copy();

    let event = say(&home, &model, SECOND, &[]);
    let warm = Tokens::of(&event);
    assert!(warm.reused >= history - END_TOKENS, "{history} tokens, {event}");
    // The decision before the first step reads the message too.
    assert!(warm.prefilled <= (n_steps(&event) + 1) * STEP_TOKENS, "{event}");

    let again = say(&cold, &model, SECOND, &["--no-snapshot"]);
    assert!(Tokens::of(&again).prefilled >= history - END_TOKENS, "{history} tokens, {again}");
}

#[test]
fn a_chat_goes_on_with_what_a_run_has_read() {
    let home = Home::new();
    let history = context_used(&say(&home, &home.model(), FIRST, &[]));
    let cold = home.copy();
    let talk = |at: &Home, flags: &[&str]| {
        let (kernels, model) = (kernels(&home), home.model());
        let model = model.to_str().expect("a path in UTF-8");
        let arguments = ["chat", "--window", WINDOW, "--isa", &kernels, "--model", model];
        let mut events = at.json(&[&arguments[..], flags].concat(), SECOND);
        check_answered(&events);
        events.remove(0)
    };
    let (warm, cold) = (talk(&home, &[]), talk(&cold, &["--no-snapshot"]));
    assert_eq!(what_was_said(&warm), what_was_said(&cold));
    let (warm, cold) = (Tokens::of(&warm), Tokens::of(&cold));
    assert!(cold.prefilled >= warm.prefilled + history - END_TOKENS, "{warm:?}, {cold:?}");
}

/// The numbers of messages seed what is sampled, and main context follows from the store.
#[test]
fn what_is_said_does_not_depend_on_restarts() {
    const LINES: [&str; 4] = [FIRST, SECOND, "What did I say of Oslo?", "Thank you."];
    let flags = ["--temp", "1", "--seed", "3"];
    let one = Home::new();
    let kernels = kernels(&one);
    let arguments = ["chat", "--window", WINDOW, "--isa", &kernels];
    let arguments = [&arguments[..], &flags].concat();
    let events = one.json(&arguments, LINES.join("\n"));
    check_answered(&events);
    let many = Home::new();
    for (line, event) in LINES.iter().zip(&events) {
        let with_a_start = say(&many, &many.model(), line, &flags);
        assert_eq!(what_was_said(&with_a_start), what_was_said(event), "{line}");
    }
}

#[test]
fn a_snapshot_that_cannot_be_used_costs_time_and_nothing_else() {
    let whole = Home::new();
    let model = whole.model();
    let history = context_used(&say(&whole, &model, FIRST, &[]));
    // What a copy's snapshot saves if nothing is done to it, and what it takes without one.
    let warm = Tokens::of(&say(&whole.copy(), &model, SECOND, &[]));
    let expected = say(&whole.copy(), &model, SECOND, &["--no-snapshot"]);
    let cold = Tokens::of(&expected);
    assert!(warm.prefilled + history - END_TOKENS <= cold.prefilled, "{warm:?}, {cold:?}");

    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 6] = [
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
        ("all but its last byte", |bytes| bytes.truncate(bytes.len() - 1)),
        ("nothing in it", Vec::clear),
    ];
    for (name, damage) in damages {
        let home = whole.copy();
        for path in [snapshot(&home), intake_snapshot(&home)] {
            let mut bytes = fs::read(&path).expect("the snapshot");
            damage(&mut bytes);
            fs::write(&path, &bytes).expect("the snapshot is damaged");
        }
        let event = say(&home, &model, SECOND, &[]);
        assert_eq!(event["tokens"], expected["tokens"], "{name}");
        assert_eq!(what_was_said(&event), what_was_said(&expected), "{name}");
        // The next one is whole again.
        let third = Tokens::of(&say(&home, &model, "Good.", &[]));
        assert!(third.reused >= context_used(&event) - END_TOKENS, "{name}: {third:?}");
    }

    // It is of another window.
    let home = whole.copy();
    let other = say_in("2000", &home, &model, SECOND, &[]);
    assert!(Tokens::of(&other).prefilled >= history - END_TOKENS, "{other}");
}

#[test]
fn without_a_snapshot_nothing_is_used_and_nothing_kept() {
    let home = Home::new();
    let model = home.model();
    let history = context_used(&say(&home, &model, FIRST, &[]));
    let before = fs::read(snapshot(&home)).expect("the snapshot");
    let event = say(&home, &model, SECOND, &["--no-snapshot"]);
    assert!(Tokens::of(&event).prefilled >= history - END_TOKENS, "{event}");
    assert!(fs::read(snapshot(&home)).expect("the snapshot") == before, "it is left as it is");

    let home = Home::new();
    say(&home, &model, FIRST, &["--no-snapshot"]);
    assert!(!snapshot(&home).exists());
}

/// After a flush the conversation stands at another place. What of it is in the KV cache is moved
/// there if that is asked for, and read again if it is not.
#[test]
fn pieces_are_moved_after_a_flush_if_that_is_asked_for() {
    let lines: String = (0..16).map(long_line).collect();
    let talk = |flags: &[&str]| {
        let home = Home::new();
        let kernels = kernels(&home);
        let arguments = ["chat", "--window", WINDOW, "--isa", &kernels];
        let arguments = [&arguments[..], flags].concat();
        let events = home.json(&arguments, &lines);
        check_answered(&events);
        (snapshot(&home).exists(), events)
    };
    let (is_kept, exact) = talk(&[]);
    assert!(is_kept);
    let (is_kept, moving) = talk(&["--cache-reuse", PIECE_TOKENS]);
    assert!(!is_kept, "an approximation must not pass for what was read");

    let read_again = |events: &[Value]| {
        let flushes: Vec<Tokens> =
            events.iter().filter(|event| event["evicted"] != 0).map(Tokens::of).collect();
        assert!(!flushes.is_empty(), "the window is never full");
        let prefilled: u64 = flushes.iter().map(|tokens| tokens.prefilled).sum();
        let prompts: u64 = flushes.iter().map(|tokens| tokens.prompts()).sum();
        prefilled as f64 / prompts as f64
    };
    let (exact, moving) = (read_again(&exact), read_again(&moving));
    assert!(moving + 0.05 < exact, "{moving:.3} of all prompts moving, {exact:.3} without");
}

/// Some 150 tokens that no other line has.
fn long_line(n: usize) -> String {
    let words: Vec<String> =
        (0..30).map(|word| format!("found {}", 7919 * (30 * n + word))).collect();
    format!("Message {n} says: {}.\n", words.join(", "))
}
