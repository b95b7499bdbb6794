//! `bench perplexity`, on a tiny model that knows nothing.

use std::fs;

use crate::program::Home;

/// Tokens of text that fill `n_windows` windows of 64: every letter is at most one.
fn text(n_windows: usize) -> String {
    "zq".repeat(32 * n_windows)
}

#[test]
fn a_text_is_scored_window_by_window() {
    let home = Home::new();
    let file = home.join("text.txt");
    fs::write(&file, text(3)).unwrap();
    let command =
        ["bench", "perplexity", "-f", file.to_str().unwrap(), "--window", "64", "--chunks", "2"];
    let report = home.json_value(&command);
    assert_eq!(report["window_tokens"], 64);
    assert_eq!(report["n_windows"], 2);
    // The logits of the second half score what follows each, but the last has nothing behind it.
    assert_eq!(report["n_scored"], 2 * 31);
    let after_each = report["after_each_window"].as_array().unwrap();
    assert_eq!((after_each.len(), &after_each[1]), (2, &report["perplexity"]));
    // The same again in words: the figure is data, the rest is talk.
    let said = home.run(&command, "");
    said.succeeded(&command);
    let perplexity = format!("{:.4} ±", report["perplexity"].as_f64().unwrap());
    assert!(said.stdout.contains(&perplexity), "{} has no {perplexity}", said.stdout);
    assert!(said.stderr.contains("62 tokens scored, in 2 windows of 64"), "{}", said.stderr);
}

#[test]
fn what_cannot_be_scored_is_refused_with_a_sentence() {
    let home = Home::new();
    let file = home.join("text.txt");
    let check = |bytes: Option<&[u8]>, window: &str, code: i32, says: &str| {
        if let Some(bytes) = bytes {
            fs::write(&file, bytes).unwrap();
        }
        let file = file.to_str().unwrap();
        let finished = home.run(&["bench", "perplexity", "-f", file, "--window", window], "");
        assert_eq!(finished.status.code(), Some(code), "{}", finished.stderr);
        assert!(finished.stderr.contains(says), "{}", finished.stderr);
        assert!(finished.stdout.is_empty(), "{}", finished.stdout);
    };
    check(None, "64", 1, "cannot read");
    check(Some(b"\xFFzq"), "64", 2, "is not text in UTF-8");
    check(Some(b"zq"), "64", 2, "which do not fill a window of 64");
    check(Some(text(1).as_bytes()), "3", 2, "a window of 3 tokens is too small");
    check(Some(text(1).as_bytes()), "5000", 2, "was trained for at most 4096");
}
