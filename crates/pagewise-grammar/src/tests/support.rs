use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use pagewise_core::{ArgumentKind, ArgumentSpec, CallFormat, FunctionCall, FunctionSpec};

use crate::{CallGrammar, CallMatcher, Vocabulary};

/// Tokens of several bytes: words, punctuation of calls, whole and broken characters, bits of
/// escapes, digits.
const MERGES: &[&[u8]] = &[
    b"{\"",
    b"{\"function",
    b"function",
    b"\": \"",
    b"\": ",
    b"\", \"",
    b"\", \"args\": {",
    b"args",
    b"\"}",
    b"\"}}",
    b"}}",
    b"}, \"",
    b"}, \"request",
    b"_heartbeat",
    b"heart",
    b"beat",
    b"send",
    b"send_",
    b"message",
    b"send_message\"",
    b"search",
    b"conversation",
    b"block",
    b"content",
    b"true",
    b"false",
    b"true}",
    b"tr",
    b"fal",
    b" the",
    b" a",
    b"the",
    b"Hello",
    b" user",
    b"\"a",
    b" \"",
    b"  ",
    b" ",
    b"\\n",
    b"\\\"",
    b"\\\\",
    b"\\n\\n",
    b"n\"",
    b"n\", ",
    b"\\u00",
    b"\\/",
    b"\"\\",
    b"x\\",
    b"19",
    b"20",
    b"21",
    b"2024",
    b"-0",
    b"-02-",
    b"02-29",
    b"00",
    b"10",
    b"12",
    b"1}",
    b"1, ",
    b"0, \"",
    "é".as_bytes(),
    "né".as_bytes(),
    "…".as_bytes(),
    "👍".as_bytes(),
    "👍🏽".as_bytes(),
    "日本".as_bytes(),
    "\u{a0}".as_bytes(),
    "\u{3000}x".as_bytes(),
    b"\xc3",
    b"\xa9\"",
    b"\xe2\x80",
    b"\xa6x",
    b"\xf0\x9f",
    b"\x91\x8d",
    b"\x8d\"}",
    b"a\xf0\x9f\x91",
    b"\xc2",
    b"\xa0",
    b"\xa0a",
    b"\xed\xa0\x80",
    b"\n\n",
    b"\t",
    b"a\tb",
    b"a b",
    b"[\"",
    b"\", \"a",
    b"}]",
    b"]}}",
    b"[]",
    b"{}",
    b"null",
    b"1.",
    b".5",
    b"0.",
    b"e-",
    b"1e",
    b"-1",
    b": -",
    b"<|im_end|>",
    b"\x7f",
    b"x\x7f",
];

/// The vocabulary of the tests: all bytes, [`MERGES`], then ids without bytes as padding.
pub(super) struct TestVocabulary {
    pub(super) tokens: Vec<Vec<u8>>,
    ids: HashMap<Vec<u8>, u32>,
}

impl TestVocabulary {
    /// Greedy: the longest token that fits, then the next.
    pub(super) fn encode(&self, text: &[u8]) -> Vec<u32> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let n = (1..=rest.len().min(24))
                .rev()
                .find(|&n| self.ids.contains_key(&rest[..n]))
                .unwrap();
            tokens.push(self.ids[&rest[..n]]);
            rest = &rest[n..];
        }
        tokens
    }

    /// All tokens that `text` begins with.
    pub(super) fn beginnings(&self, text: &[u8]) -> Vec<u32> {
        (1..=text.len().min(24)).filter_map(|n| self.ids.get(&text[..n]).copied()).collect()
    }

    /// The vocabulary with an encoder of choice.
    pub(super) fn with_encoder(
        &self,
        encode: impl Fn(&[u8]) -> Vec<u32> + Send + Sync + 'static,
    ) -> Vocabulary {
        let mut vocabulary = Vocabulary::new(self.tokens.len(), Box::new(encode));
        for (id, bytes) in (0..).zip(&self.tokens) {
            vocabulary.set(id, bytes.clone());
        }
        vocabulary
    }
}

pub(super) static VOCABULARY: LazyLock<Arc<TestVocabulary>> = LazyLock::new(|| {
    let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    for merge in MERGES.iter().filter(|merge| merge.len() > 1) {
        tokens.push(merge.to_vec());
    }
    let ids = tokens.iter().cloned().zip(0..).collect();
    tokens.resize(tokens.len() + 9, Vec::new());
    Arc::new(TestVocabulary { tokens, ids })
});

pub(super) static GRAMMAR: LazyLock<CallGrammar> = LazyLock::new(|| {
    let vocabulary = VOCABULARY.clone();
    CallGrammar::new(VOCABULARY.with_encoder(move |text| vocabulary.encode(text))).unwrap()
});

pub(super) fn matcher(specs: &[FunctionSpec<'_>], format: &CallFormat) -> CallMatcher {
    GRAMMAR.matcher(specs, format).unwrap()
}

pub(super) fn argument<'a>(name: &'a str, kind: ArgumentKind<'a>) -> ArgumentSpec<'a> {
    ArgumentSpec { name, description: "", kind }
}

pub(super) fn function<'a>(
    name: &'a str,
    arguments: Vec<ArgumentSpec<'a>>,
    asks_heartbeat: bool,
) -> FunctionSpec<'a> {
    FunctionSpec { name, description: "", arguments, asks_heartbeat }
}

pub(super) fn one_of(allowed: &[&str]) -> ArgumentKind<'static> {
    ArgumentKind::OneOf(allowed.iter().map(|&text| text.to_owned()).collect())
}

pub(super) fn optional(kind: ArgumentKind<'_>) -> ArgumentKind<'_> {
    ArgumentKind::Optional(Box::new(kind))
}

pub(super) fn list(
    items: ArgumentKind<'_>,
    min_items: usize,
    max_items: usize,
) -> ArgumentKind<'_> {
    ArgumentKind::Array { items: Box::new(items), min_items, max_items }
}

/// One function named `f` with one argument `a`.
pub(super) fn function_of(kind: ArgumentKind<'_>) -> Vec<FunctionSpec<'_>> {
    vec![function("f", vec![argument("a", kind)], false)]
}

/// What an agent's functions look like.
pub(super) fn builtin_specs() -> Vec<FunctionSpec<'static>> {
    let text = |max_chars| ArgumentKind::Text { max_chars };
    let page = || argument("page", ArgumentKind::Integer { min: 1, max: 12 });
    let block = || argument("block", one_of(&["human", "persona"]));
    vec![
        function("send_message", vec![argument("message", text(300))], false),
        function("working_context_append", vec![block(), argument("content", text(200))], true),
        function(
            "working_context_replace",
            vec![
                block(),
                argument("old", one_of(&["Likes tea.", "Likes \"tea\".\nA lot.", "é👍"])),
                argument("new", text(200)),
            ],
            true,
        ),
        function("conversation_search", vec![argument("query", text(80)), page()], true),
        function(
            "conversation_search_date",
            vec![argument("from", ArgumentKind::Date), argument("to", ArgumentKind::Date), page()],
            true,
        ),
        function("archival_memory_insert", vec![argument("content", text(400))], true),
        function("archival_memory_search", vec![argument("query", text(80)), page()], true),
        function("set_quiet", vec![argument("quiet", ArgumentKind::Boolean)], false),
        function("pause", vec![], false),
    ]
}

/// Functions as others write them: names with dots, digits and capitals, and arguments of every kind.
pub(super) fn other_specs() -> Vec<FunctionSpec<'static>> {
    let number = || ArgumentKind::Integer { min: -9, max: 99 };
    vec![
        function(
            "Hotel.search-2",
            vec![
                argument("city", ArgumentKind::Text { max_chars: 9 }),
                argument("Guests", optional(number())),
                argument("tags", optional(list(one_of(&["sea", "spa"]), 0, 2))),
                argument(
                    "at",
                    ArgumentKind::Object(vec![
                        argument("x", optional(ArgumentKind::Number)),
                        argument("y", optional(ArgumentKind::Null)),
                    ]),
                ),
                argument("more", optional(ArgumentKind::any(1, 5, 2))),
            ],
            false,
        ),
        function(
            "sum",
            vec![argument("é \"n\"", optional(list(list(number(), 1, 1), 2, 3)))],
            true,
        ),
    ]
}

/// Fails unless `text` is a call of one of `specs` that [`FunctionCall::to_text`] writes in the same words;
/// only a number has more than one way to be written, and a key may be there twice.
#[track_caller]
pub(super) fn assert_is_call(
    text: &str,
    specs: &[FunctionSpec<'_>],
    format: &CallFormat,
) -> FunctionCall {
    match FunctionCall::parse(text, specs, format) {
        Ok(call) => {
            let arguments = specs.iter().flat_map(|spec| &spec.arguments);
            if arguments.clone().all(|argument| is_written_in_one_way(&argument.kind)) {
                assert_eq!(call.to_text(), text);
            } else {
                let again = FunctionCall::parse(&call.to_text(), specs, format);
                assert!(again.is_ok(), "{text}: {again:?}");
            }
            call
        }
        Err(error) => panic!("{text}: {error}"),
    }
}

fn is_written_in_one_way(kind: &ArgumentKind<'_>) -> bool {
    match kind {
        ArgumentKind::Number | ArgumentKind::Map { .. } => false,
        ArgumentKind::Array { items, .. } => is_written_in_one_way(items),
        ArgumentKind::Object(fields) => {
            fields.iter().all(|field| is_written_in_one_way(&field.kind))
        }
        ArgumentKind::AnyOf(kinds) => kinds.iter().all(is_written_in_one_way),
        ArgumentKind::Optional(kind) => is_written_in_one_way(kind),
        _ => true,
    }
}
