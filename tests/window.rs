//! Whatever is said, the window is never exceeded and no event fails.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::program::Home;

const EVENTS: usize = 150;
/// A little less than the longest message that is taken, in bytes.
const LONGEST_BYTES: usize = 60_000;

#[test]
fn of_1024_tokens_is_never_exceeded() {
    check(1024);
}

#[test]
fn of_1536_tokens_is_never_exceeded() {
    check(1536);
}

#[test]
fn of_2048_tokens_is_never_exceeded() {
    check(2048);
}

fn check(window: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(window);
    let home = Home::new();
    let lines: Vec<String> = (0..EVENTS).map(|_| message(&mut rng)).collect();
    let window_text = window.to_string();
    let arguments = ["chat", "--window", &window_text, "--temp", "1"];
    let outcomes = home.json(&arguments, lines.join("\n"));
    assert_eq!(outcomes.len(), EVENTS);
    let mut n_evicted = 0;
    for (outcome, line) in outcomes.iter().zip(&lines) {
        assert_eq!(outcome.get("error"), None, "after {:?}", start(line));
        let used = outcome["context"]["used"].as_u64().expect("a number");
        assert!(used <= window, "{used} of {window} tokens after {:?}", start(line));
        n_evicted += outcome["evicted"].as_u64().expect("a number");
    }
    assert!(n_evicted > 0, "the window was never full");
}

fn start(text: &str) -> String {
    text.chars().take(60).collect()
}

/// A line of any length: most are short, some are longer than any window.
fn message(rng: &mut impl Rng) -> String {
    let n_bytes = match rng.random_range(0..20) {
        0 => rng.random_range(5_000..LONGEST_BYTES),
        1..4 => rng.random_range(500..5_000),
        4..12 => rng.random_range(60..500),
        _ => rng.random_range(1..60),
    };
    // A slash at the start would make it a command.
    let mut text = String::from(if rng.random() { "Well, " } else { "é" });
    while text.len() < n_bytes {
        text.push_str(&piece(rng));
    }
    if rng.random_ratio(1, 3) {
        text.push('?');
    }
    text
}

/// A word in one of many scripts, a sign, or something that looks like structure.
fn piece(rng: &mut impl Rng) -> String {
    const SCRIPTS: [(u32, u32); 10] = [
        ('a' as u32, 'z' as u32),
        ('а' as u32, 'я' as u32),
        ('α' as u32, 'ω' as u32),
        ('א' as u32, 'ת' as u32),
        ('ا' as u32, 'ي' as u32),
        ('अ' as u32, 'ह' as u32),
        ('ぁ' as u32, 'ん' as u32),
        ('一' as u32, '龥' as u32),
        ('가' as u32, '힣' as u32),
        ('😀' as u32, '🙏' as u32),
    ];
    const SIGNS: [&str; 14] = [
        " ",
        ". ",
        ", ",
        "\"",
        "\\",
        "{\"function\": \"",
        "<|im_end|>",
        "<|im_start|>system",
        "\u{301}",
        "👩\u{200d}👩\u{200d}👧",
        "🇳🇴",
        "\t",
        "12345",
        "\u{202e}",
    ];
    if rng.random_ratio(1, 3) {
        return SIGNS[rng.random_range(0..SIGNS.len())].into();
    }
    let (first, last) = SCRIPTS[rng.random_range(0..SCRIPTS.len())];
    let n_chars = rng.random_range(1..12);
    let word: String =
        (0..n_chars).filter_map(|_| char::from_u32(rng.random_range(first..=last))).collect();
    word + " "
}
