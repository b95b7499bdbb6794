use pagewise_core::{ArgumentKind, ArgumentSpec, CallFormat, FunctionCall, FunctionSpec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use rand::SeedableRng as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value};

use super::support::*;
use crate::plan::beginnings;
use crate::{CallMatcher, FIRST_YEAR, LAST_YEAR};

const NAMES: &[&str] =
    &["a", "ab", "_", "a_", "send", "send_message", "search", "message", "Math.gcd-2", "né \"x\""];

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

fn any_leaf() -> impl Strategy<Value = ArgumentKind<'static>> {
    prop_oneof![
        3 => (1usize..9).prop_map(|max_chars| ArgumentKind::Text { max_chars }),
        2 => prop::collection::vec(any_option(), 1..6).prop_map(ArgumentKind::OneOf),
        2 => (any::<i64>(), any::<i64>(), 0u32..64, 0u32..64).prop_map(|(a, b, c, d)| {
            let (a, b) = (a >> c, b >> d);
            ArgumentKind::Integer { min: a.min(b), max: a.max(b) }
        }),
        1 => Just(ArgumentKind::Number),
        1 => Just(ArgumentKind::Boolean),
        1 => Just(ArgumentKind::Null),
        1 => Just(ArgumentKind::Date),
    ]
}

/// Kinds with others inside, up to three levels of them.
fn any_kind() -> impl Strategy<Value = ArgumentKind<'static>> {
    any_leaf().prop_recursive(3, 8, 3, |inner| {
        let fields = (
            subsequence(NAMES, 0..4).prop_shuffle(),
            prop::collection::vec((inner.clone(), any::<bool>()), 3),
        );
        prop_oneof![
            3 => any_leaf(),
            2 => (inner.clone(), 0usize..3, 0usize..3).prop_map(|(items, min_items, more)| {
                let max_items = (min_items + more).max(1);
                ArgumentKind::Array { items: Box::new(items), min_items, max_items }
            }),
            2 => fields.prop_map(|(names, kinds)| ArgumentKind::Object(named(names, kinds))),
            1 => (inner.clone(), 1usize..3).prop_map(|(values, max_entries)| {
                ArgumentKind::Map { values: Box::new(values), max_entries }
            }),
            2 => prop::collection::vec(inner, 1..4).prop_map(|kinds| {
                // The first of those that begin alike.
                let mut begun = std::collections::HashSet::new();
                let mut kept = kinds;
                kept.retain(|kind| beginnings(kind).into_iter().all(|one| begun.insert(one)));
                ArgumentKind::AnyOf(kept)
            }),
        ]
    })
}

fn named(
    names: Vec<&'static str>,
    kinds: Vec<(ArgumentKind<'static>, bool)>,
) -> Vec<ArgumentSpec<'static>> {
    names
        .into_iter()
        .zip(kinds)
        .map(|(name, (kind, is_optional))| {
            argument(name, if is_optional { optional(kind) } else { kind })
        })
        .collect()
}

fn any_spec(name: &'static str) -> impl Strategy<Value = FunctionSpec<'static>> {
    (
        subsequence(NAMES, 0..4).prop_shuffle(),
        prop::collection::vec((any_kind(), prop::bool::weighted(0.3)), 3),
        any::<bool>(),
    )
        .prop_map(move |(names, kinds, asks_heartbeat)| {
            function(name, named(names, kinds), asks_heartbeat)
        })
}

fn any_specs() -> impl Strategy<Value = Vec<FunctionSpec<'static>>> {
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

fn random_value(kind: &ArgumentKind<'_>, rng: &mut ChaCha8Rng) -> Value {
    match kind {
        ArgumentKind::Text { max_chars } => random_text(*max_chars, rng).into(),
        ArgumentKind::OneOf(allowed) => allowed.choose(rng).unwrap().as_str().into(),
        ArgumentKind::Integer { min, max } => rng.random_range(*min..=*max).into(),
        ArgumentKind::Number => match rng.random_range(0..3) {
            0 => rng.random_range(-999_999_999_999_999i64..=999_999_999_999_999).into(),
            1 => (f64::from(rng.random::<i32>()) / 1000.0).into(),
            // Within what is read back to the last bit.
            _ => format!("{}e{}", rng.random::<i16>(), rng.random_range(-20..10))
                .parse::<f64>()
                .unwrap()
                .into(),
        },
        ArgumentKind::Boolean => rng.random::<bool>().into(),
        ArgumentKind::Null => Value::Null,
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
        ArgumentKind::Array { items, min_items, max_items } => {
            let n_items = rng.random_range(*min_items..=*max_items);
            (0..n_items).map(|_| random_value(items, rng)).collect()
        }
        ArgumentKind::Object(fields) => random_fields(fields, rng).into(),
        ArgumentKind::Map { values, max_entries } => {
            let n_entries = rng.random_range(0..=*max_entries);
            (0..n_entries)
                .map(|_| (random_text(4, rng), random_value(values, rng)))
                .collect::<Map<String, Value>>()
                .into()
        }
        ArgumentKind::AnyOf(kinds) => random_value(kinds.choose(rng).unwrap(), rng),
        ArgumentKind::Optional(kind) => random_value(kind, rng),
    }
}

fn random_fields(specs: &[ArgumentSpec<'_>], rng: &mut ChaCha8Rng) -> Map<String, Value> {
    let mut fields = Map::new();
    for spec in specs {
        if !spec.kind.is_optional() || rng.random() {
            fields.insert(spec.name.to_owned(), random_value(&spec.kind, rng));
        }
    }
    fields
}

fn random_call(
    specs: &[FunctionSpec<'_>],
    format: &CallFormat,
    rng: &mut ChaCha8Rng,
) -> FunctionCall {
    let spec = specs.choose(rng).unwrap();
    FunctionCall {
        thought: format.thought_max_chars.map(|max_chars| random_text(max_chars, rng)),
        function: spec.name.to_owned(),
        arguments: random_fields(&spec.arguments, rng),
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
