//! The program killed at random moments: nothing that it acknowledged is lost.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::program::{Home, messages, replies, user_texts};

const KILLS: usize = 200;
/// Messages that a chat is given before it is killed.
const LINES: usize = 4;
/// Every so many kills, the whole store is examined, and not only what was said.
const EXAMINED_EVERY: usize = 10;

/// What was acknowledged: the outcome of the message was printed.
#[derive(Default)]
struct Acknowledged {
    messages: Vec<String>,
    replies: Vec<String>,
}

#[test]
fn nothing_acknowledged_is_lost() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let home = Home::new();
    let mut acknowledged = Acknowledged::default();
    let usual = usual_time(&home, &mut acknowledged);
    let mut n_in_reply = 0;
    for n_kill in 0..KILLS {
        let sent: Vec<String> =
            (0..LINES).map(|n| message(&format!("{n_kill}.{n}"), &mut rng)).collect();
        let outcomes = talk_until_killed(&home, &sent, usual, &mut rng);
        n_in_reply += usize::from((1..LINES).contains(&outcomes.len()));
        acknowledged.take(&sent, &outcomes);

        let export = home.export();
        acknowledged.check(&export);
        check_calls(&export);
        check_working_context(&export);
        if n_kill % EXAMINED_EVERY == 0 {
            home.json(&["doctor"], "");
        }
    }
    // If the moments were all before or all after the conversations, nothing was tested.
    assert!(
        n_in_reply > KILLS / 5,
        "only {n_in_reply} of {KILLS} kills were within a conversation"
    );
    home.json(&["doctor"], "");

    let after = home.json(&["chat", "--window", "2048"], "Still there?\nGood.\n");
    assert_eq!(after.len(), 2);
    assert!(after.iter().all(|outcome| outcome.get("error").is_none()), "{after:?}");
    assert!(user_texts(&home.export()).ends_with(&["Still there?", "Good."]));
}

/// Has a whole conversation; returns how long it took from start to end.
fn usual_time(home: &Home, acknowledged: &mut Acknowledged) -> Duration {
    let lines: Vec<String> =
        (0..LINES).map(|n| format!("Before the first kill, line {n}.")).collect();
    let started = Instant::now();
    let outcomes = home.json(&["chat", "--window", "2048", "--temp", "1"], lines.join("\n"));
    let usual = started.elapsed();
    acknowledged.take(&lines, &outcomes);
    usual
}

/// A message that no other is like.
fn message(name: &str, rng: &mut impl Rng) -> String {
    let words = ["the", "sister", "lives", "in", "a", "house", "by", "the", "sea", "since", "May"];
    let n_words = rng.random_range(1..60);
    let text: Vec<&str> = (0..n_words).map(|_| words[rng.random_range(0..words.len())]).collect();
    let end = if rng.random() { "." } else { "?" };
    format!("Message {name}: {}{end}", text.join(" "))
}

/// Starts a chat, says everything, kills it at a random moment; returns the outcomes it printed.
fn talk_until_killed(
    home: &Home,
    sent: &[String],
    usual: Duration,
    rng: &mut impl Rng,
) -> Vec<Value> {
    let seed = rng.random::<u32>().to_string();
    let mut chat = home
        .command(&["chat", "--json", "--window", "2048", "--temp", "1", "--seed", &seed])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut stdin = chat.stdin.take().expect("a pipe");
    let mut stdout = BufReader::new(chat.stdout.take().expect("a pipe"));
    // All at once: it fits into the pipe, and stays open so that the program would go on.
    stdin.write_all((sent.join("\n") + "\n").as_bytes()).expect("the program reads");

    let mut printed = String::new();
    // One in four dies while it starts, the others after the first reply or before it.
    let moment = if rng.random_ratio(1, 4) {
        usual.mul_f64(rng.random_range(0.0..1.0))
    } else {
        let n_bytes = stdout.read_line(&mut printed).expect("stdout is read");
        assert!(n_bytes > 0, "the program ended by itself");
        usual.mul_f64(rng.random_range(0.0..0.6))
    };
    std::thread::sleep(moment);
    kill(chat, &mut stdout, &mut printed);
    let whole = printed.rfind('\n').map_or("", |end| &printed[..end]);
    whole.lines().map(|line| serde_json::from_str(line).expect("an outcome in JSON")).collect()
}

/// SIGKILL where there are signals; then reads what had been printed.
fn kill(mut chat: Child, stdout: &mut BufReader<ChildStdout>, printed: &mut String) {
    chat.kill().expect("the program is there to be killed");
    stdout.read_to_string(printed).expect("stdout is read");
    let status = chat.wait().expect("the program ends");
    assert!(!status.success(), "the program ended by itself");
}

impl Acknowledged {
    fn take(&mut self, sent: &[String], outcomes: &[Value]) {
        for (text, outcome) in sent.iter().zip(outcomes) {
            assert_eq!(outcome.get("error"), None, "{outcome}");
            self.messages.push(text.clone());
            let replies = outcome["replies"].as_array().expect("replies");
            self.replies
                .extend(replies.iter().map(|reply| reply.as_str().expect("a text").to_string()));
        }
    }

    /// Everything acknowledged is there, once and in order; what was not may be there.
    fn check(&self, export: &Value) {
        check_contains("message", &user_texts(export), &self.messages);
        check_contains("reply", &replies(export), &self.replies);
        let mut distinct = user_texts(export);
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), user_texts(export).len(), "a message is there twice");
    }
}

fn check_contains(what: &str, stored: &[&str], wanted: &[String]) {
    let mut stored = stored.iter();
    for text in wanted {
        assert!(stored.any(|stored| stored == text), "an acknowledged {what} is lost: {text:?}");
    }
}

/// Every call but a reply is followed by its result, every result preceded by its call.
fn check_calls(export: &Value) {
    let mut waiting: Option<&Value> = None;
    for message in messages(export) {
        let kind = message["kind"].as_str().expect("a kind");
        match (kind, waiting.take()) {
            ("result", Some(call)) => assert_eq!(message["function"], call["function"]),
            ("result", None) => panic!("a result without its call: {message}"),
            (_, Some(call)) => panic!("a call without its result: {call}"),
            ("call", None) if message["function"] != "send_message" => waiting = Some(message),
            (_, None) => {}
        }
    }
    assert_eq!(waiting, None, "a call without its result");
}

/// The block that the model edits is what its successful edits make of an empty one, and each of
/// its versions was caused by one of them.
fn check_working_context(export: &Value) {
    let mut lines: Vec<String> = Vec::new();
    let mut edits = Vec::new();
    let mut inserted = BTreeSet::new();
    let mut call = &Value::Null;
    for message in messages(export) {
        if message["kind"] == "call" {
            call = message;
        }
        // Of what was asked for and is there already, nothing is made.
        if message["kind"] != "result"
            || message["status"] != "ok"
            || message["message"] == "Working context says so already."
        {
            continue;
        }
        let argument = |name: &str| call["args"][name].as_str().expect("a text");
        match message["function"].as_str().expect("a name") {
            "working_context_append" => lines.push(one_line(argument("text"))),
            "working_context_replace" => {
                let (old, new) = (argument("old"), one_line(argument("new")));
                assert!(lines.iter().any(|line| line == old), "there is no line {old:?}");
                for line in lines.iter_mut().filter(|line| *line == old) {
                    line.clone_from(&new);
                }
            }
            "archival_insert" => {
                inserted.insert(argument("text"));
                continue;
            }
            _ => continue,
        }
        edits.push(&call["id"]);
    }
    let versions = export["blocks"].as_array().expect("blocks");
    let human = versions.iter().filter(|version| version["label"] == "human");
    let (causes, values): (Vec<&Value>, Vec<&Value>) =
        human.map(|version| (&version["cause"], &version["value"])).unzip();
    assert_eq!(causes[0], &Value::Null, "the program makes the first version");
    assert_eq!(causes[1..], edits);
    assert_eq!(**values.last().expect("a version"), lines.join("\n"));
    assert_eq!(export["passages"].as_array().expect("passages").len(), inserted.len());
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
