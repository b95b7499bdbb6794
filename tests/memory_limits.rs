//! A model that there is no memory for is refused with a sentence; nothing aborts.
//!
//! Only Linux says how much memory there is, and lets a shell limit it.

use std::fs::File;
use std::path::PathBuf;

use pagewise_testkit::GgufWriter;

use crate::program::{Finished, Home, finish, long_winded_model, tiny_model};

const MODEL: i32 = 3;

/// Longer than any model was trained for, so that a window can ask for any amount of memory.
const CONTEXT_TOKENS: u32 = 1 << 24;

/// Runs the program in a shell that has set a limit first.
fn run_within(home: &Home, limit: &str, arguments: &[&str]) -> Finished {
    let script = format!("ulimit {limit}; exec \"$0\" \"$@\"");
    finish(home.command_under(&["sh", "-c", &script], arguments), b"")
}

/// The program must have ended with a sentence of the model's; returns what it said.
fn refusal(finished: &Finished) -> &str {
    let Finished { status, stdout, stderr } = finished;
    assert_eq!(status.code(), Some(MODEL), "{status}: {stderr}");
    assert_eq!(stdout, "");
    assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
    for sign in ["panicked", "memory allocation", "backtrace", "overflow"] {
        assert!(!stderr.contains(sign), "{stderr}");
    }
    stderr
}

fn written(home: &Home, model: &GgufWriter) -> PathBuf {
    let path = home.join("large.gguf");
    model.write(&path).expect("the model");
    path
}

/// Its KV cache takes 4 KiB a token, and the angles of a position 64 bytes.
fn with_long_windows(home: &Home) -> String {
    trained_for_long_windows(home, long_winded_model())
}

fn trained_for_long_windows(home: &Home, mut model: GgufWriter) -> String {
    model.replace("llama.context_length", CONTEXT_TOKENS);
    written(home, &model).to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn weights_beyond_all_memory_are_refused() {
    const SIDE: u64 = 1 << 20;
    let home = Home::new();
    let mut model = long_winded_model();
    model.tensor_raw("large.weight", &[SIDE, SIDE], 0, Vec::new(), None);
    let path = written(&home, &model);
    // Four TiB, of which the disk has next to none: the rest is a hole.
    let file = File::options().write(true).open(&path).expect("the model");
    let length = file.metadata().expect("its length").len() + SIDE * SIDE * 4;
    file.set_len(length).expect("its size");
    let path = path.to_str().expect("a path in UTF-8");
    for command in [
        vec!["run", "Hello", "--model", path],
        vec!["chat", "--model", path],
        vec!["bench", "perf", "--model", path],
    ] {
        let finished = home.run(&command, "");
        let said = refusal(&finished);
        assert!(said.contains("the model takes 41943"), "{said}");
        assert!(said.contains("MiB of memory, and there are"), "{said}");
        assert!(said.contains("try smaller weights; `pagewise models plan`"), "{said}");
    }
    let doctor = home.run(&["doctor", "--model", path], "");
    let said = &doctor.stderr;
    assert_eq!(doctor.status.code(), Some(MODEL), "{said}");
    assert!(said.contains("the model takes 41943"), "{said}");
    assert!(doctor.stdout.contains("(4.00 TiB, cannot be used)"), "{}", doctor.stdout);
}

#[test]
fn a_window_beyond_the_limit_on_addresses_is_refused() {
    let home = Home::new();
    let model = with_long_windows(&home);
    let run = |window: &str| {
        let arguments = ["run", "Hello", "--model", &model, "--window", window];
        run_within(&home, "-v 4000000", &arguments)
    };
    let finished = run("2000000");
    let said = refusal(&finished);
    assert!(said.contains("with a context window of 2000000 tokens the model takes"), "{said}");
    // What is advised can be followed.
    let (_, advised) = said.split_once("try --window ").expect("advice");
    let advised: usize = advised.split(',').next().and_then(|n| n.parse().ok()).expect("a number");
    assert!((100_000..1_000_000).contains(&advised), "{said}");
    let finished = run("2048");
    assert!(finished.status.success(), "{finished:?}");
    assert!(!finished.stdout.is_empty(), "{finished:?}");
}

/// A limit that the system does not speak of: memory ends when it is asked for.
///
/// What is refused takes all that the limit allows by itself, so that it does not matter what else the
/// program takes on this machine; and it is less than any machine has, so that the plan does not
/// refuse it before.
#[test]
fn memory_that_ends_is_a_sentence() {
    const LIMIT_KIB: usize = 500_000;
    const WINDOW: usize = 8_000_000;
    const { assert!(WINDOW * 64 >= LIMIT_KIB << 10, "the angles alone") };
    let home = Home::new();
    let limited = |arguments: &[&str], model: &str| {
        let limit = format!("-d {LIMIT_KIB}");
        run_within(&home, &limit, &[arguments, &["--model", model]].concat())
    };
    // Before the first token. Its KV cache would take 64 bytes a token as well.
    let model = trained_for_long_windows(&home, tiny_model());
    let finished = limited(&["run", "Hello", "--window", &WINDOW.to_string()], &model);
    let said = refusal(&finished);
    assert!(said.contains("not enough memory for the angles of all positions"), "{said}");
    assert!(said.contains("`pagewise models plan`"), "{said}");
    // The limit is wide enough for what is usual.
    let finished = limited(&["run", "Hello", "--window", "2048"], &model);
    assert!(finished.status.success(), "{finished:?}");
    assert!(!finished.stdout.is_empty(), "{finished:?}");
    // When the cache grows.
    let model = with_long_windows(&home);
    let finished = limited(&["bench", "perf", "-p", "200000", "-n", "0", "-r", "1"], &model);
    let said = refusal(&finished);
    assert!(said.contains("not enough memory for the KV cache: "), "{said}");
}
