use pagewise_core::{ArgumentKind, CallFormat, FunctionCall, FunctionSpec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use rand::SeedableRng as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value};

use super::support::*;
use crate::{CallMatcher, FIRST_YEAR, LAST_YEAR};

const NAMES: &[&str] =
    &["a", "ab", "_", "a_", "send", "send_message", "search", "message", "function"];

/// A choice's options may hold anything.
fn any_option() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop_oneof![
            select(vec![
                'a', 'b', '"', '\\', '\n', '\t', '\u{0}', '\u{1f}', '\u{7f}', 'é', '👍', '…', '/',
                ' '
            ]),
            any::<char>()
        ],
        0..6,
    )
    .prop_map(String::from_iter)
}

fn any_kind() -> impl Strategy<Value = ArgumentKind> {
    prop_oneof![
        3 => (1usize..9).prop_map(|max_chars| ArgumentKind::Text { max_chars }),
        2 => prop::collection::vec(any_option(), 1..6).prop_map(ArgumentKind::OneOf),
        2 => (any::<u32>(), any::<u32>(), 0u32..32, 0u32..32).prop_map(|(a, b, c, d)| {
            let (a, b) = (a >> c, b >> d);
            ArgumentKind::Integer { min: a.min(b), max: a.max(b) }
        }),
        1 => Just(ArgumentKind::Boolean),
        1 => Just(ArgumentKind::Date),
    ]
}

fn any_spec(name: &'static str) -> impl Strategy<Value = FunctionSpec> {
    (subsequence(NAMES, 0..4).prop_shuffle(), prop::collection::vec(any_kind(), 3), any::<bool>())
        .prop_map(move |(names, kinds, asks_heartbeat)| {
            let arguments =
                names.into_iter().zip(kinds).map(|(name, kind)| argument(name, kind)).collect();
            function(name, arguments, asks_heartbeat)
        })
}

fn any_specs() -> impl Strategy<Value = Vec<FunctionSpec>> {
    subsequence(NAMES, 1..5)
        .prop_shuffle()
        .prop_flat_map(|names| names.into_iter().map(any_spec).collect::<Vec<_>>())
}

fn any_format() -> impl Strategy<Value = CallFormat> {
    prop::option::of(1usize..9).prop_map(|thought_max_chars| CallFormat { thought_max_chars })
}

/// Holds the mask against trying every entry of the vocabulary with the walker.
fn check_mask(matcher: &mut CallMatcher) {
    let mask = matcher.token_mask().unwrap().clone();
    assert!(!mask.is_empty(), "nothing may follow {:?}", matcher.text());
    let is_open = matcher.n_next_bytes() > 1;
    for (id, bytes) in (0..).zip(&VOCABULARY.tokens) {
        // Where bytes are decided, the mask holds only tokens that the model's tokenizer would use.
        if is_open || mask.allows(id) {
            let is_taken = matcher.walker_takes(bytes);
            assert_eq!(
                mask.allows(id),
                is_taken,
                "{:?} behind {:?}",
                String::from_utf8_lossy(bytes),
                matcher.text()
            );
        }
    }
}

fn random_text(max_chars: usize, rng: &mut ChaCha8Rng) -> String {
    let n_chars = rng.random_range(1..=max_chars);
    (0..n_chars)
        .map(|n| {
            loop {
                let c = match rng.random_range(0..4) {
                    0 => char::from(rng.random_range(0..0x80u8)),
                    1 => *['"', '\\', '\n', '\t', '\u{8}', '\u{c}', '\r', 'é', '👍', '…', 'a', ' ']
                        .choose(rng)
                        .unwrap(),
                    _ => rng.random(),
                };
                let can_be_written = c >= ' ' || "\u{8}\u{c}\n\r\t".contains(c);
                if can_be_written && (n > 0 || !c.is_whitespace()) {
                    break c;
                }
            }
        })
        .collect()
}

fn random_value(kind: &ArgumentKind, rng: &mut ChaCha8Rng) -> Value {
    match kind {
        ArgumentKind::Text { max_chars } => random_text(*max_chars, rng).into(),
        ArgumentKind::OneOf(allowed) => allowed.choose(rng).unwrap().as_str().into(),
        ArgumentKind::Integer { min, max } => rng.random_range(*min..=*max).into(),
        ArgumentKind::Boolean => rng.random::<bool>().into(),
        ArgumentKind::Date => {
            let (year, month) =
                (rng.random_range(FIRST_YEAR..=LAST_YEAR), rng.random_range(1..=12));
            let first = jiff::civil::Date::new(year as i16, month, 1).unwrap();
            first
                .with()
                .day(rng.random_range(1..=first.days_in_month()))
                .build()
                .unwrap()
                .to_string()
                .into()
        }
    }
}

fn random_call(specs: &[FunctionSpec], format: &CallFormat, rng: &mut ChaCha8Rng) -> FunctionCall {
    let spec = specs.choose(rng).unwrap();
    let arguments: Map<String, Value> = spec
        .arguments
        .iter()
        .map(|argument| (argument.name.to_owned(), random_value(&argument.kind, rng)))
        .collect();
    FunctionCall {
        thought: format.thought_max_chars.map(|max_chars| random_text(max_chars, rng)),
        function: spec.name.to_owned(),
        arguments,
        request_heartbeat: spec.asks_heartbeat.then(|| rng.random()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Whatever the mask allows leads to a call, and every prefix of it can be closed.
    #[test]
    fn every_walk_ends_in_a_valid_call(specs in any_specs(), format in any_format(), seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut matcher = matcher(&specs, &format);
        let mut bytes = Vec::new();
        while !matcher.is_complete() {
            check_mask(&mut matcher);
            let mask = matcher.token_mask().unwrap().clone();
            let tokens = match rng.random_range(0..3) {
                0 => matcher.take_forced().unwrap(),
                _ => vec![],
            };
            if let Some(&first) = tokens.first() {
                prop_assert!(mask.allows(first), "forced against the mask");
            } else {
                let token = mask.iter().collect::<Vec<_>>().choose(&mut rng).copied().unwrap();
                matcher.advance(token).unwrap();
                bytes.extend_from_slice(&VOCABULARY.tokens[token as usize]);
            }
            for token in tokens {
                bytes.extend_from_slice(&VOCABULARY.tokens[token as usize]);
            }
            prop_assert!(bytes.starts_with(matcher.text().as_bytes()));
            prop_assert!(bytes.len() < matcher.text().len() + 4);
            assert_is_call(&format!("{}{}", matcher.text(), matcher.close()), &specs, &format);
        }
        prop_assert_eq!(matcher.text().as_bytes(), bytes);
    }

    /// Every call can be written, in whatever tokens.
    #[test]
    fn every_valid_call_is_accepted(specs in any_specs(), format in any_format(), seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let call = random_call(&specs, &format, &mut rng);
        let text = call.to_text();
        prop_assert_eq!(assert_is_call(&text, &specs, &format), call);
        let mut matcher = matcher(&specs, &format);
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            prop_assert!(!matcher.is_complete());
            if matcher.n_next_bytes() > 1 && rng.random_ratio(1, 4) {
                let allowed = matcher.token_mask().unwrap();
                prop_assert!(VOCABULARY.beginnings(rest).iter().all(|&id| allowed.allows(id)));
            }
            let token = VOCABULARY.beginnings(rest).choose(&mut rng).copied().unwrap();
            matcher.advance(token).unwrap();
            rest = &rest[VOCABULARY.tokens[token as usize].len()..];
        }
        prop_assert!(matcher.is_complete());
        prop_assert_eq!(matcher.text(), text);
    }

    /// What is forced is what any tokens for the same text would lead to.
    #[test]
    fn forced_tokens_are_on_the_way_of_every_call(specs in any_specs(), format in any_format(), seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let text = random_call(&specs, &format, &mut rng).to_text();
        let mut matcher = matcher(&specs, &format);
        let mut n_read = 0;
        while !matcher.is_complete() {
            let mut tokens = matcher.take_forced().unwrap();
            if tokens.is_empty() {
                // The mask may insist on a longer token than the shortest, but never on another text.
                let mask = matcher.token_mask().unwrap();
                let beginnings = VOCABULARY.beginnings(&text.as_bytes()[n_read..]);
                let allowed: Vec<u32> = beginnings.into_iter().filter(|&id| mask.allows(id)).collect();
                tokens = vec![allowed.choose(&mut rng).copied().unwrap()];
                matcher.advance(tokens[0]).unwrap();
            }
            for token in tokens {
                let bytes = &VOCABULARY.tokens[token as usize];
                prop_assert!(text.as_bytes()[n_read..].starts_with(bytes));
                n_read += bytes.len();
            }
        }
        prop_assert_eq!(matcher.text(), text);
    }
}
