use jiff::civil::Date;
use pagewise_core::{ArgumentKind, CallFormat, FunctionSpec};

use super::support::*;
use crate::vocabulary::Vocabulary;
use crate::{
    CallGrammar, CallMatcher, FIRST_YEAR, GrammarError, LAST_YEAR, MAX_ITEMS, MAX_LEVELS,
    MAX_TEXT_CHARS,
};

/// Advances over `text` byte by byte; says how many bytes were taken.
fn feed(matcher: &mut CallMatcher, text: &[u8]) -> usize {
    text.iter().position(|&byte| matcher.advance(u32::from(byte)).is_err()).unwrap_or(text.len())
}

#[track_caller]
fn check_accepts(specs: &[FunctionSpec<'_>], format: &CallFormat, texts: &[&str]) {
    for text in texts {
        let mut matcher = matcher(specs, format);
        let n_taken = feed(&mut matcher, text.as_bytes());
        assert_eq!(n_taken, text.len(), "{text} was refused behind {}", matcher.text());
        assert!(matcher.is_complete(), "{text} is not complete");
        assert_eq!((matcher.text(), matcher.close().as_str()), (*text, ""));
        assert_is_call(text, specs, format);
    }
}

/// `texts` hold a `^` before the first byte that must be refused.
#[track_caller]
fn check_rejects(specs: &[FunctionSpec<'_>], format: &CallFormat, texts: &[&str]) {
    for text in texts {
        let (good, bad) = text.split_once('^').unwrap();
        let mut matcher = matcher(specs, format);
        assert_eq!(
            feed(&mut matcher, good.as_bytes()),
            good.len(),
            "{text} behind {}",
            matcher.text()
        );
        assert!(!matcher.is_complete(), "{text} is complete too early");
        let byte = u32::from(bad.as_bytes()[0]);
        assert!(!matcher.token_mask().unwrap().allows(byte), "{text}: the mask allows it");
        let error = matcher.advance(byte).unwrap_err();
        assert_eq!(error, GrammarError::Refused { token: byte, text: matcher.text().to_owned() });
        // What was refused changed nothing.
        assert_is_call(&format!("{}{}", matcher.text(), matcher.close()), specs, format);
    }
}

const PLAIN: CallFormat = CallFormat { thought_max_chars: None };

#[test]
fn follows_the_form_of_a_call() {
    let specs = builtin_specs();
    check_accepts(
        &specs,
        &PLAIN,
        &[
            r#"{"function": "send_message", "args": {"message": "Hé 👍"}}"#,
            r#"{"function": "pause", "args": {}}"#,
            r#"{"function": "set_quiet", "args": {"quiet": true}}"#,
            r#"{"function": "conversation_search", "args": {"query": "tea", "page": 12}, "request_heartbeat": false}"#,
            r#"{"function": "working_context_replace", "args": {"block": "human", "old": "Likes \"tea\".\nA lot.", "new": "x"}, "request_heartbeat": true}"#,
            r#"{"function": "conversation_search_date", "args": {"from": "2000-02-29", "to": "2199-12-31", "page": 1}, "request_heartbeat": true}"#,
        ],
    );
    check_rejects(
        &specs,
        &PLAIN,
        &[
            "^ {",
            r#"{^ "function": "pause", "args": {}}"#,
            r#"{"^thought": "Hm", "function": "pause", "args": {}}"#,
            r#"{"function":^"pause", "args": {}}"#,
            r#"{"function": "pause^_", "args": {}}"#,
            r#"{"function": "send^\u005fmessage", "args": {}}"#,
            r#"{"function": "^other", "args": {}}"#,
            r#"{"function": "pause", "args": {^"message": "a"}}"#,
            r#"{"function": "pause", "args": {}^, "request_heartbeat": true}"#,
            r#"{"function": "send_message", "args": {^}}"#,
            r#"{"function": "conversation_search", "args": {"^page": 1, "query": "tea"}"#,
            r#"{"function": "conversation_search", "args": {"query": "tea", "page": 1}^}"#,
            r#"{"function": "set_quiet", "args": {"quiet": ^"true"}}"#,
        ],
    );
}

#[test]
fn asks_for_a_thought() {
    let format = CallFormat { thought_max_chars: Some(3) };
    let specs = function_of(ArgumentKind::Boolean);
    check_accepts(
        &specs,
        &format,
        &[r#"{"thought": "a\nb", "function": "f", "args": {"a": false}}"#],
    );
    check_rejects(
        &specs,
        &format,
        &[r#"{"^function"#, r#"{"thought": "^""#, r#"{"thought": "abc^d"#, r#"{"thought": "^ a"#],
    );
}

#[test]
fn bounds_text_and_writes_it_in_one_way() {
    let specs = function_of(ArgumentKind::Text { max_chars: 4 });
    let call = |text: &str| format!(r#"{{"function": "f", "args": {{"a": "{text}"#);
    let valid = [
        "a",
        "abcd",
        "a  b",
        "a   ",
        r"\\n",
        r#"\"\"\\\\"#,
        r"a\n\t\r",
        r"\bx\f",
        "\u{7f}",
        "👍🏽👍🏽",
        "é日x…",
        "a\u{2028}",
    ];
    let valid = valid.map(|text| call(text) + "\"}}");
    check_accepts(&specs, &PLAIN, &valid.each_ref().map(String::as_str));
    let invalid = [
        "^\"",
        "^ ",
        "^\t",
        "abcd^e",
        "abcd^\\",
        "👍🏽👍🏽^x",
        r"\^n",
        r"\^t",
        r"a\^/",
        r"a\^u0041",
        r"a\^'",
        "a^\t",
        "a^\n",
        "a^\0",
    ];
    let invalid = invalid.map(&call);
    check_rejects(&specs, &PLAIN, &invalid.each_ref().map(String::as_str));
}

#[test]
fn refuses_broken_characters_and_leading_white_space_of_all_kinds() {
    let specs = function_of(ArgumentKind::Text { max_chars: 4 });
    let head = br#"{"function": "f", "args": {"a": ""#;
    for bad in [
        &b"\x80"[..],
        b"\xc0",
        b"\xc1",
        b"\xe0\x80",
        b"\xed\xa0",
        b"\xf0\x80",
        b"\xf4\x90",
        b"\xf5",
        b"\xff",
        b"\xe2a",
        b"\xc2\x85",
        b"\xc2\xa0",
        b"\xe1\x9a\x80",
        b"\xe2\x80\xa8",
        b"\xe2\x80\xaf",
        b"\xe3\x80\x80",
    ] {
        let mut matcher = matcher(&specs, &PLAIN);
        assert_eq!(feed(&mut matcher, head), head.len());
        let (last, good) = bad.split_last().unwrap();
        assert_eq!(feed(&mut matcher, good), good.len(), "{bad:x?}");
        assert!(!matcher.token_mask().unwrap().allows(u32::from(*last)), "{bad:x?}");
        assert!(matcher.advance(u32::from(*last)).is_err(), "{bad:x?}");
    }
}

#[test]
fn writes_choices_as_json_does() {
    let odd = [
        "",
        "a",
        "ab",
        "a\"b",
        "\\",
        "\u{1}\u{1f}\u{7f}",
        "\n\t\u{8}\u{c}\r",
        "é👍\u{2028}",
        "<|im_end|>",
        "a\"",
        " ",
    ];
    let specs = function_of(one_of(&[&odd[..], &odd[..3]].concat()));
    let calls = odd.map(|text| {
        format!(r#"{{"function": "f", "args": {{"a": {}}}}}"#, serde_json::Value::from(text))
    });
    check_accepts(&specs, &PLAIN, &calls.each_ref().map(String::as_str));
    check_rejects(
        &specs,
        &PLAIN,
        &[r#"{"function": "f", "args": {"a": "ab^c"#, r#"{"function": "f", "args": {"a": "\^/"#],
    );
}

#[test]
fn knows_every_day() {
    let specs = function_of(ArgumentKind::Date);
    let mut matcher = matcher(&specs, &PLAIN);
    let head = br#"{"function": "f", "args": {"a": ""#;
    assert_eq!(feed(&mut matcher, head), head.len());
    for year in FIRST_YEAR - 1..=LAST_YEAR + 1 {
        for month in 0..=13 {
            for day in 0..=32 {
                let text = format!("{year}-{month:02}-{day:02}\"");
                let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
                let is_allowed = matcher.engine_validates(&tokens) == tokens.len();
                let is_day = (FIRST_YEAR..=LAST_YEAR).contains(&year)
                    && Date::new(year as i16, month as i8, day as i8).is_ok();
                assert_eq!(is_allowed, is_day, "{text}");
            }
        }
    }
}

#[test]
fn counts_to_any_bound() {
    for (min, max) in [
        (0, 0),
        (0, 10),
        (1, 5),
        (7, 123),
        (99, 1001),
        (10, 19),
        (0, i64::from(u32::MAX)),
        (-7, 5),
        (-123, -99),
        (i64::MIN, i64::MAX),
        (i64::MIN, -1),
        (i64::MAX - 12, i64::MAX),
    ] {
        let specs = function_of(ArgumentKind::Integer { min, max });
        let mut matcher = matcher(&specs, &PLAIN);
        let head = br#"{"function": "f", "args": {"a": "#;
        assert_eq!(feed(&mut matcher, head), head.len());
        let near = |n: i64| i128::from(n) - 1100..=i128::from(n) + 1100;
        for number in near(min).chain(near(max)) {
            let tokens: Vec<u32> = format!("{number}}}").bytes().map(u32::from).collect();
            let is_allowed = matcher.engine_validates(&tokens) == tokens.len();
            assert_eq!(
                is_allowed,
                (i128::from(min)..=i128::from(max)).contains(&number),
                "{number} in {min} to {max}"
            );
        }
        for bad in [&b"00"[..], b"01", b"-0", b"+1", b"--1", b"1.", b"1e", b" 1", b"\""] {
            let tokens: Vec<u32> = bad.iter().map(|&byte| u32::from(byte)).collect();
            assert!(matcher.engine_validates(&tokens) < bad.len(), "{bad:?} in {min} to {max}");
        }
    }
}

#[test]
fn writes_numbers_as_json_does() {
    let specs = function_of(ArgumentKind::Number);
    let call = |number: &str| format!(r#"{{"function": "f", "args": {{"a": {number}"#);
    let digits = "123456789012345";
    let valid = [
        "0",
        "-0",
        "7",
        "-7",
        "0.5",
        "-0.50",
        "10.25",
        "1e5",
        "1E-05",
        "6.022e+23",
        "0e0",
        digits,
        "0.12345678901234",
        "1e-99",
    ];
    let valid = valid.map(|number| call(number) + "}}");
    check_accepts(&specs, &PLAIN, &valid.each_ref().map(String::as_str));
    let invalid = [
        "0^0",
        "-^}",
        "-^-",
        "1.^}",
        "^.5",
        "^+1",
        "1e^}",
        "1e+^}",
        "1e12^3",
        "1.5^.",
        "^\"",
        "123456789012345^6",
        "0.12345678901234^5",
    ];
    let invalid = invalid.map(call);
    check_rejects(&specs, &PLAIN, &invalid.each_ref().map(String::as_str));
}

#[test]
fn says_what_the_functions_of_others_say() {
    let specs = other_specs();
    let call = |args: &str| format!(r#"{{"function": "Hotel.search-2", "args": {{{args}"#);
    let sum = |args: &str| format!(r#"{{"function": "sum", "args": {{{args}"#);
    let valid = [
        r#""city": "Oslo", "at": {}"#,
        r#""city": "Oslo", "Guests": -2, "at": {}"#,
        r#""city": "Oslo", "tags": [], "at": {"y": null}"#,
        r#""city": "Oslo", "tags": ["spa", "sea"], "at": {"x": 1.5, "y": null}"#,
        r#""city": "Oslo", "Guests": 2, "tags": ["sea"], "at": {"x": -1}, "more": "any""#,
        r#""city": "Oslo", "at": {}, "more": [1, "b"]"#,
        r#""city": "Oslo", "at": {}, "more": {"k 1": false, "k": null}"#,
    ];
    let valid = valid.map(|args| call(args) + "}}");
    check_accepts(&specs, &PLAIN, &valid.each_ref().map(String::as_str));
    let sums = [
        sum(r#"}, "request_heartbeat": true}"#),
        sum(r#""é \"n\"": [[1], [-9]]}, "request_heartbeat": false}"#),
        sum(r#""é \"n\"": [[1], [2], [3]]}, "request_heartbeat": false}"#),
    ];
    check_accepts(&specs, &PLAIN, &sums.each_ref().map(String::as_str));
    let invalid = [
        call(r#""^Guests": 1"#),
        call(r#""city": "Oslo"^}"#),
        call(r#""city": "Oslo", "tags": [], "^Guests": 1"#),
        call(r#""city": "Oslo", "tags": ["sea",^]"#),
        call(r#""city": "Oslo", "tags": ["sea", "spa"^, "#),
        call(r#""city": "Oslo", "tags": [^ "#),
        call(r#""city": "Oslo", "at": {"x": 1, "^x": 1"#),
        call(r#""city": "Oslo", "at": {^ "x""#),
        call(r#""city": "Oslo", "at": {}, "more": [1, 2^, "#),
        call(r#""city": "Oslo", "at": {}, "more": [^["#),
        call(r#""city": "Oslo", "at": {}, "more": {"^ "#),
        call(r#""city": "Oslo", "at": {}, "^city": "#),
        sum(r#""é \"n\"": [^]"#),
        sum(r#""é \"n\"": [[1]^]"#),
        sum(r#""é \"n\"": [[1^, 2"#),
        sum(r#""é \"n\"": [[1], [2], [3]^, "#),
    ];
    check_rejects(&specs, &PLAIN, &invalid.each_ref().map(String::as_str));
}

#[test]
fn closes_lists_and_objects_as_soon_as_they_may_end() {
    let specs = other_specs();
    let head = r#"{"function": "Hotel.search-2", "args": {"#;
    for (written, closed) in [
        (r#""ci"#, r#""city": "…", "at": {}}}"#),
        (r#""city": "Oslo""#, r#""city": "Oslo", "at": {}}}"#),
        (r#""city": "Oslo", "#, r#""city": "Oslo", "at": {}}}"#),
        (r#""city": "Oslo", "G"#, r#""city": "Oslo", "Guests": 0, "at": {}}}"#),
        (r#""city": "Oslo", "Guests": -"#, r#""city": "Oslo", "Guests": -1, "at": {}}}"#),
        (r#""city": "Oslo", "tags": ["#, r#""city": "Oslo", "tags": [], "at": {}}}"#),
        (r#""city": "Oslo", "tags": ["s"#, r#""city": "Oslo", "tags": ["sea"], "at": {}}}"#),
        (r#""city": "O", "at": {"x": -"#, r#""city": "O", "at": {"x": -0}}}"#),
        (r#""city": "O", "at": {"x": 1."#, r#""city": "O", "at": {"x": 1.0}}}"#),
        (r#""city": "O", "at": {"x": 1e"#, r#""city": "O", "at": {"x": 1e0}}}"#),
        (r#""city": "O", "at": {}, "more": "#, r#""city": "O", "at": {}, "more": "…"}}"#),
        (r#""city": "O", "at": {}, "more": [t"#, r#""city": "O", "at": {}, "more": [true]}}"#),
        (r#""city": "O", "at": {}, "more": {""#, r#""city": "O", "at": {}, "more": {"…": "…"}}}"#),
    ] {
        check_closes(&specs, format!("{head}{written}").as_bytes(), &format!("{head}{closed}"));
    }
    let sum = r#"{"function": "sum", "args": {"é \"n\"": "#;
    let rest = r#"}, "request_heartbeat": false}"#;
    check_closes(&specs, format!("{sum}[[5").as_bytes(), &format!("{sum}[[5], [0]]{rest}"));
}

/// Says how a call that stops at `written` is closed.
#[track_caller]
fn check_closes(specs: &[FunctionSpec<'_>], written: &[u8], expected: &str) {
    let mut matcher = matcher(specs, &PLAIN);
    assert_eq!(feed(&mut matcher, written), written.len(), "behind {}", matcher.text());
    let text = format!("{}{}", matcher.text(), matcher.close());
    assert_eq!(text, expected);
    assert_is_call(&text, specs, &PLAIN);
}

#[test]
fn closes_what_was_cut_off() {
    let specs = builtin_specs();
    let message =
        |text: &str| format!(r#"{{"function": "send_message", "args": {{"message": "{text}"}}}}"#);
    let head = &br#"{"function": "send_message", "args": {"message": ""#[..];
    check_closes(&specs, b"", &message("…"));
    check_closes(&specs, b"{\"function\": \"s", &message("…"));
    check_closes(&specs, head, &message("…"));
    check_closes(&specs, &[head, b"Hello wor"].concat(), &message("Hello wor"));
    check_closes(&specs, &[head, b"Hello\\"].concat(), &message("Hello"));
    check_closes(&specs, &[head, b"\\"].concat(), &message("…"));
    check_closes(&specs, &[head, "Hé".as_bytes()].concat(), &message("Hé"));
    check_closes(&specs, &[head, b"H\xc3"].concat(), &message("H"));
    check_closes(&specs, &[head, b"\xf0\x9f\x91"].concat(), &message("…"));
    let old = r#"{"function": "working_context_replace", "args": {"block": "human", "old": ""#;
    let rest = r#", "new": "…"}, "request_heartbeat": false}"#;
    check_closes(&specs, old.as_bytes(), &format!(r#"{old}Likes \"tea\".\nA lot."{rest}"#));
    check_closes(&specs, format!("{old}Likes t").as_bytes(), &format!("{old}Likes tea.\"{rest}"));
    check_closes(
        &specs,
        &[old.as_bytes(), b"\xc3"].concat(),
        &format!("{old}Likes \\\"tea\\\".\\nA lot.\"{rest}"),
    );
    check_closes(
        &specs,
        &[old.as_bytes(), b"\xc3\xa9\xf0\x9f"].concat(),
        &format!("{old}é👍\"{rest}"),
    );
    let dates = r#"{"function": "conversation_search_date", "args": {"from": ""#;
    let rest = r#"", "to": "1900-01-01", "page": 1}, "request_heartbeat": false}"#;
    for (written, closed) in [
        ("", "1900-01-01"),
        ("2", "2000-01-01"),
        ("2023-1", "2023-10-01"),
        ("2024-02-2", "2024-02-20"),
    ] {
        check_closes(
            &specs,
            format!("{dates}{written}").as_bytes(),
            &format!("{dates}{closed}{rest}"),
        );
    }
    let numbers = function_of(ArgumentKind::Integer { min: 25, max: 310 });
    let head = r#"{"function": "f", "args": {"a": "#;
    for (written, closed) in [
        ("", "25"),
        ("2", "25"),
        ("3", "30"),
        ("9", "90"),
        ("1", "100"),
        ("31", "31"),
        ("310", "310"),
    ] {
        check_closes(
            &numbers,
            format!("{head}{written}").as_bytes(),
            &format!("{head}{closed}}}}}"),
        );
    }
    let quiet = r#"{"function": "set_quiet", "args": {"quiet": "#;
    check_closes(&specs, quiet.as_bytes(), &format!("{quiet}false}}}}"));
    check_closes(&specs, format!("{quiet}t").as_bytes(), &format!("{quiet}true}}}}"));
}

#[test]
fn forces_what_is_decided() {
    let specs = function_of(ArgumentKind::Integer { min: 1, max: 1 });
    let mut matcher = matcher(&specs, &PLAIN);
    let tokens = matcher.take_forced().unwrap();
    let text = r#"{"function": "f", "args": {"a": 1}}"#;
    assert_eq!(matcher.text(), text);
    assert_eq!(tokens, VOCABULARY.encode(text.as_bytes()));
    assert!(matcher.is_complete());
    assert_eq!(matcher.take_forced(), Ok(vec![]));
    assert_eq!(matcher.token_mask().unwrap_err(), GrammarError::Complete);
    assert!(matches!(matcher.advance(u32::from(b'}')), Err(GrammarError::Refused { .. })));
}

#[test]
fn forces_the_text_whatever_the_encoder_does() {
    let specs = function_of(one_of(&["<|im_end|>"]));
    let text = r#"{"function": "f", "args": {"a": "<|im_end|>"}}"#;
    type Encode = fn(&[u8]) -> Vec<u32>;
    let encoders: [Encode; 5] = [
        |_| vec![],
        |_| vec![u32::MAX],
        |_| vec![VOCABULARY.tokens.len() as u32 - 1; 3],
        |text| VOCABULARY.encode(&[b" ", text].concat()),
        |text| text.iter().map(|&byte| u32::from(byte)).collect(),
    ];
    for encode in encoders {
        let grammar = CallGrammar::new(VOCABULARY.with_encoder(encode)).unwrap();
        let mut matcher = grammar.matcher(&specs, &PLAIN).unwrap();
        matcher.take_forced().unwrap();
        assert_eq!(matcher.text(), text);
    }
}

#[test]
fn says_what_is_wrong_with_specs() {
    let argument_error = || GrammarError::Argument { function: "f".into(), argument: "a".into() };
    let name_error = |name: &str| GrammarError::Name { name: name.into() };
    let text = |max_chars| ArgumentKind::Text { max_chars };
    let f = |name, names: &[&'static str]| {
        function(
            name,
            names.iter().map(|name| argument(name, ArgumentKind::Boolean)).collect(),
            false,
        )
    };
    let deep = |n| (0..n).fold(ArgumentKind::Boolean, |kind, _| list(kind, 0, 1));
    assert!(GRAMMAR.matcher(&function_of(deep(MAX_LEVELS)), &PLAIN).is_ok());
    let thought = |n| CallFormat { thought_max_chars: Some(n) };
    for (specs, format, expected) in [
        (vec![], PLAIN, GrammarError::NoFunctions),
        (function_of(text(0)), PLAIN, argument_error()),
        (function_of(text(MAX_TEXT_CHARS + 1)), PLAIN, argument_error()),
        (function_of(one_of(&[])), PLAIN, argument_error()),
        (function_of(ArgumentKind::Integer { min: 2, max: 1 }), PLAIN, argument_error()),
        (vec![f("f", &[]), f("f", &[])], PLAIN, name_error("f")),
        (vec![f("f", &["a", "a"])], PLAIN, name_error("a")),
        (vec![f("", &[])], PLAIN, name_error("")),
        (vec![f("two\nlines", &[])], PLAIN, name_error("two\nlines")),
        (function_of(list(ArgumentKind::Null, 0, MAX_ITEMS + 1)), PLAIN, argument_error()),
        (function_of(list(ArgumentKind::Null, 2, 1)), PLAIN, argument_error()),
        (function_of(list(optional(ArgumentKind::Null), 0, 1)), PLAIN, argument_error()),
        (function_of(deep(MAX_LEVELS + 1)), PLAIN, argument_error()),
        (function_of(ArgumentKind::AnyOf(vec![])), PLAIN, argument_error()),
        (
            function_of(ArgumentKind::AnyOf(vec![text(3), ArgumentKind::Date])),
            PLAIN,
            argument_error(),
        ),
        (
            function_of(ArgumentKind::Object(vec![
                argument("x", ArgumentKind::Null),
                argument("x", ArgumentKind::Null),
            ])),
            PLAIN,
            name_error("x"),
        ),
        (vec![f("f", &[])], thought(0), GrammarError::Thought { max_chars: 0 }),
        (
            vec![f("f", &[])],
            thought(MAX_TEXT_CHARS + 1),
            GrammarError::Thought { max_chars: MAX_TEXT_CHARS + 1 },
        ),
    ] {
        let error = GRAMMAR.matcher(&specs, &format).err();
        assert_eq!(error, Some(expected));
    }
}

#[test]
fn holds_long_texts_and_long_lists() {
    let allowed: Vec<String> = (0..400).map(|n| format!("{n} {}", "é\"x ".repeat(50))).collect();
    let specs = vec![
        function("choose", vec![argument("a", ArgumentKind::OneOf(allowed.clone()))], false),
        function(
            "write",
            vec![argument("a", ArgumentKind::Text { max_chars: MAX_TEXT_CHARS })],
            false,
        ),
    ];
    let call = |name: &str, value: &str| {
        format!(r#"{{"function": "{name}", "args": {{"a": {}}}}}"#, serde_json::Value::from(value))
    };
    let long = "Ab \"é👍\n".repeat(MAX_TEXT_CHARS / 7);
    check_accepts(
        &specs,
        &PLAIN,
        &[&call("choose", &allowed[0]), &call("choose", &allowed[399]), &call("write", &long)],
    );
    let full =
        format!(r#"{{"function": "write", "args": {{"a": "{}^x"#, "é".repeat(MAX_TEXT_CHARS));
    check_rejects(&specs, &PLAIN, &[&full]);
}

#[test]
fn goes_as_deep_as_specs_may() {
    let kind = (1..MAX_LEVELS).fold(ArgumentKind::any(1, 9, 2), |kind, level| match level % 3 {
        0 => list(kind, 1, MAX_ITEMS),
        1 => ArgumentKind::Object(vec![
            argument("x", optional(kind)),
            argument("y", ArgumentKind::Date),
        ]),
        _ => ArgumentKind::Map { values: Box::new(kind), max_entries: 2 },
    });
    let specs = function_of(kind);
    let value = r#"{"k": {"x": [{"k": {"x": ["a", {}], "y": "2000-01-01"}}], "y": "2000-01-01"}}"#;
    let inner = value.replace(r#"["a", {}]"#, r#"{"k": "a"}"#);
    let call = |value: &str| format!(r#"{{"function": "f", "args": {{"a": {value}}}}}"#);
    check_accepts(&specs, &PLAIN, &[&call(&inner)]);
    let head = call(value).split_once("[\"a").unwrap().0.to_owned();
    let mut matcher = matcher(&specs, &PLAIN);
    assert_eq!(feed(&mut matcher, head.as_bytes()), head.len());
    assert_is_call(&format!("{head}{}", matcher.close()), &specs, &PLAIN);
}

#[test]
fn refuses_what_the_vocabulary_cannot_spell() {
    let mut vocabulary = Vocabulary::new(300, Box::new(|_| vec![]));
    vocabulary.set(1, "{");
    vocabulary.set(2, "x".repeat(5000));
    vocabulary.set(3, b"\xff[1]");
    vocabulary.set(300, "}");
    let grammar = CallGrammar::new(vocabulary).unwrap();
    let mut matcher = grammar.matcher(&function_of(ArgumentKind::Boolean), &PLAIN).unwrap();
    matcher.advance(1).unwrap();
    for token in [0, 1, 2, 3, 299, 300, 301, u32::MAX] {
        assert!(matches!(matcher.advance(token), Err(GrammarError::Refused { .. })), "{token}");
    }
    assert!(matcher.token_mask().map_or(true, |mask| mask.is_empty()));
    let mut too_large = Vocabulary::new(5000, Box::new(|_| vec![]));
    (0..5000).for_each(|id| too_large.set(id, "x".repeat(1000)));
    assert!(matches!(
        CallGrammar::new(too_large).err(),
        Some(GrammarError::VocabularyTooLarge { tokens: 5000, bytes: 5_000_000 })
    ));
}

#[test]
fn can_be_sent_between_threads() {
    fn assert_send<T: Send>() {}
    fn assert_sync<T: Sync>() {}
    assert_send::<CallMatcher>();
    assert_send::<CallGrammar>();
    assert_sync::<CallGrammar>();
}
