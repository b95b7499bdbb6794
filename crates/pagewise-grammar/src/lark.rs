//! Function specs as the text of a grammar in llguidance's dialect of Lark.
//!
//! Rules are lower case and matched by the parser, terminals are upper case and matched by the
//! lexer. What all calls share is written once; the name of the function then decides the rule.
//! Strings hold only what `serde_json` writes: the short escapes, no `\u`, no raw control
//! characters, so that a call's text is also the text that [`FunctionCall::to_text`] gives.
//!
//! [`FunctionCall::to_text`]: pagewise_core::FunctionCall::to_text

use std::fmt::Write as _;

use pagewise_core::{ArgumentKind, ArgumentSpec, CallFormat, FunctionSpec, MAX_KEY_CHARS};

use crate::plan::json_string;
use crate::walker::{NUMBER_DIGITS, sizes};

/// A character that may begin a string: anything but white space, so that no text is blank.
const FIRST_CHAR: &str = r#"/[^"\\\x00-\x1f\s]|\\["\\b]/"#;

/// A character of a string.
const CHAR: &str = r#"/[^"\\\x00-\x1f]|\\["\\bfnrt]/"#;

/// The days of the years 1900 to 2199; 2000 is the only leap year among those that end in 00.
const DATE: &str = "/(19|20|21)[0-9][0-9]-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])\
    |(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))\
    |((19|20|21)(0[48]|[2468][048]|[13579][26])|2000)-02-29/";

/// Returns the grammar of a call of one of `specs`, which have been checked.
pub(crate) fn grammar_text(specs: &[FunctionSpec<'_>], format: &CallFormat) -> String {
    let mut grammar = Grammar::default();
    let mut start = Rule::default();
    start.literal("{");
    if let Some(max_chars) = format.thought_max_chars {
        start.literal("\"thought\": \"");
        start.symbol(&grammar.terminals.text(max_chars));
        start.literal("\", ");
    }
    start.literal("\"function\": \"");
    start.symbol("call");

    let mut names = Vec::new();
    let mut calls = String::new();
    for (n, spec) in specs.iter().enumerate() {
        let mut call = Rule::default();
        let function = json_string(spec.name);
        call.literal(&format!("{}, \"args\": {{", &function[1..]));
        grammar.fields(&mut call, &spec.arguments);
        if spec.asks_heartbeat {
            call.literal(", \"request_heartbeat\": ");
            call.symbol(&grammar.terminals.boolean());
        }
        call.literal("}");
        // Other names than these could not be a rule's.
        let is_plain = spec.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        names.push(if is_plain { format!("call_{}", spec.name) } else { format!("call_{n}") });
        let _ = writeln!(calls, "{}: {}", names[n], call.finish());
    }
    format!(
        "%llguidance {{}}\nstart: {}\ncall: {}\n{calls}{}{}",
        start.finish(),
        names.join(" | "),
        lines(grammar.rules),
        lines(grammar.terminals.names_and_patterns)
    )
}

/// What calls are made of, besides their own rules.
#[derive(Default)]
struct Grammar {
    /// Names with right sides, each side once.
    rules: Vec<(String, String)>,
    terminals: Terminals,
}

impl Grammar {
    /// Adds a rule, if there is none with the same right side; returns its name.
    fn rule(&mut self, stem: &str, right: String) -> String {
        if let Some((name, _)) = self.rules.iter().find(|(_, known)| *known == right) {
            return name.clone();
        }
        let name = format!("{stem}_{}", self.rules.len() + 1);
        self.rules.push((name.clone(), right));
        name
    }

    /// Writes the fields of an object, and its closing brace, at the end of `rule`.
    fn fields(&mut self, rule: &mut Rule, fields: &[ArgumentSpec<'_>]) {
        let n_required = fields.iter().take_while(|field| !field.kind.is_optional()).count();
        for (n, field) in fields[..n_required].iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            rule.literal(&format!("{comma}{}: ", json_string(field.name)));
            self.value(rule, &field.kind);
        }
        if n_required == fields.len() {
            return rule.literal("}");
        }
        // From here on any may be missing: each rule begins with its field, or is the next rule. Where
        // nothing is written yet, a field has no comma before it.
        let mut none_yet = self.rule("end", quoted("}"));
        let mut some = none_yet.clone();
        for (n, field) in fields.iter().enumerate().skip(n_required).rev() {
            let mut with = |comma: &str, skipped: &str| {
                let mut rule = Rule::default();
                rule.literal(&format!("{comma}{}: ", json_string(field.name)));
                self.value(&mut rule, &field.kind);
                rule.symbol(&some);
                let or_not = match field.kind.is_optional() {
                    true => format!(" | {skipped}"),
                    false => String::new(),
                };
                self.rule("fields", format!("{}{or_not}", rule.finish()))
            };
            let first = (n_required == 0).then(|| with("", &none_yet));
            // Nothing can have been written before the first field of all.
            if n > 0 {
                some = with(", ", &some);
            }
            none_yet = first.unwrap_or(none_yet);
        }
        rule.symbol(if n_required == 0 { &none_yet } else { &some });
    }

    /// Writes a value at the end of `rule`.
    fn value(&mut self, rule: &mut Rule, kind: &ArgumentKind<'_>) {
        match kind {
            ArgumentKind::Text { max_chars } => {
                rule.literal("\"");
                rule.symbol(&self.terminals.text(*max_chars));
                rule.literal("\"");
            }
            ArgumentKind::Date => {
                rule.literal("\"");
                rule.symbol(&self.terminals.add("DATE".into(), DATE.into()));
                rule.literal("\"");
            }
            ArgumentKind::OneOf(allowed) => rule.symbol(&self.terminals.one_of(allowed)),
            ArgumentKind::Integer { min, max } => rule.symbol(&self.terminals.integer(*min, *max)),
            ArgumentKind::Number => rule.symbol(&self.terminals.number()),
            ArgumentKind::Boolean => rule.symbol(&self.terminals.boolean()),
            ArgumentKind::Null => rule.literal("null"),
            ArgumentKind::Object(fields) => {
                rule.literal("{");
                self.fields(rule, fields);
            }
            ArgumentKind::Array { items, min_items, max_items } => {
                let mut item = Rule::default();
                self.value(&mut item, items);
                let item = item.finish();
                let inside = repeated(&item, *min_items, *max_items);
                rule.symbol(&self.rule("list", format!("\"[\" {inside} \"]\"")));
            }
            ArgumentKind::Map { values, max_entries } => {
                let mut entry = Rule::default();
                entry.literal("\"");
                entry.symbol(&self.terminals.text(MAX_KEY_CHARS));
                entry.literal("\": ");
                self.value(&mut entry, values);
                let entry = entry.finish();
                let inside = repeated(&entry, 0, *max_entries);
                rule.symbol(&self.rule("map", format!("\"{{\" {inside} \"}}\"")));
            }
            ArgumentKind::AnyOf(kinds) => {
                let kinds: Vec<String> = kinds
                    .iter()
                    .map(|kind| {
                        let mut rule = Rule::default();
                        self.value(&mut rule, kind);
                        rule.finish()
                    })
                    .collect();
                rule.symbol(&self.rule("any", kinds.join(" | ")));
            }
            ArgumentKind::Optional(kind) => self.value(rule, kind),
        }
    }
}

/// Returns from `min` to `max` items with commas between them.
fn repeated(item: &str, min: usize, max: usize) -> String {
    // A repetition of zero times is not in the dialect.
    let more = match max - 1 {
        0 => String::new(),
        more => format!(" (\", \" {item}){{{},{more}}}", min.saturating_sub(1)),
    };
    let some = format!("{item}{more}");
    if min == 0 { format!("({some})?") } else { some }
}

fn lines(names_and_rights: Vec<(String, String)>) -> String {
    names_and_rights.into_iter().map(|(name, right)| format!("{name}: {right}\n")).collect()
}

/// The right side of a rule; neighbouring literals become one.
#[derive(Default)]
struct Rule {
    symbols: Vec<String>,
    literal: String,
}

impl Rule {
    fn literal(&mut self, text: &str) {
        self.literal.push_str(text);
    }

    fn symbol(&mut self, name: &str) {
        if !self.literal.is_empty() {
            self.symbols.push(quoted(&std::mem::take(&mut self.literal)));
        }
        self.symbols.push(name.to_owned());
    }

    fn finish(mut self) -> String {
        if !self.literal.is_empty() {
            self.symbols.push(quoted(&self.literal));
        }
        self.symbols.join(" ")
    }
}

/// The terminals in the order of their first use, each once.
#[derive(Default)]
struct Terminals {
    names_and_patterns: Vec<(String, String)>,
}

impl Terminals {
    fn add(&mut self, name: String, pattern: String) -> String {
        if !self.names_and_patterns.iter().any(|(known, _)| *known == name) {
            self.names_and_patterns.push((name.clone(), pattern));
        }
        name
    }

    fn text(&mut self, max_chars: usize) -> String {
        let first = self.add("FIRST_CHAR".into(), FIRST_CHAR.into());
        // A repetition of zero times is not in the dialect.
        if max_chars == 1 {
            return first;
        }
        let char = self.add("CHAR".into(), CHAR.into());
        self.add(format!("TEXT_{max_chars}"), format!("{first} {char}{{0,{}}}", max_chars - 1))
    }

    fn boolean(&mut self) -> String {
        self.add("BOOLEAN".into(), "\"true\" | \"false\"".into())
    }

    fn integer(&mut self, min: i64, max: i64) -> String {
        let name = format!("INTEGER_{min}_{max}").replace('-', "MINUS_");
        self.add(name, format!("/{}/", integer_pattern(min, max)))
    }

    fn number(&mut self) -> String {
        let [digits, fraction, exponent] = NUMBER_DIGITS;
        let pattern = format!(
            "/-?(0|[1-9][0-9]{{0,{}}})(\\.[0-9]{{1,{fraction}}})?([eE][-+]?[0-9]{{1,{exponent}}})?/",
            digits - 1
        );
        self.add("NUMBER".into(), pattern)
    }

    fn one_of(&mut self, allowed: &[String]) -> String {
        let mut options: Vec<String> =
            allowed.iter().map(|text| quoted(&json_string(text))).collect();
        options.sort_unstable();
        options.dedup();
        let pattern = options.join("\n    | ");
        if let Some((name, _)) = self.names_and_patterns.iter().find(|(_, known)| *known == pattern)
        {
            return name.clone();
        }
        let n_choices =
            self.names_and_patterns.iter().filter(|(name, _)| name.starts_with("ONE_OF_")).count();
        self.add(format!("ONE_OF_{}", n_choices + 1), pattern)
    }
}

/// Writes a literal of the grammar, which has JSON's syntax save that U+007F must be escaped.
fn quoted(text: &str) -> String {
    json_string(text).replace('\x7f', "\\u007f")
}

/// Returns a regular expression of the numbers from `min` to `max` without leading zeros.
fn integer_pattern(min: i64, max: i64) -> String {
    let mut patterns = Vec::new();
    if let Some((low, high)) = sizes(true, min, max) {
        patterns.push(format!("-({})", size_pattern(low, high)));
    }
    if let Some((low, high)) = sizes(false, min, max) {
        patterns.push(size_pattern(low, high));
    }
    patterns.join("|")
}

/// Returns the same for numbers without a sign.
fn size_pattern(min: u64, max: u64) -> String {
    let mut patterns = Vec::new();
    let (mut low, max) = (u128::from(min), u128::from(max));
    while low <= max {
        // The largest block of numbers that begins at `low`, in which the last `n_free` digits
        // are free and one more runs up to some digit.
        let mut size = 1u128;
        while low != 0 && low.is_multiple_of(size * 10) && low + size * 10 - 1 <= max {
            size *= 10;
        }
        let digit = low / size % 10;
        let n_blocks = (10 - digit).min((max - low + 1) / size);
        let prefix = match low / size / 10 {
            0 => String::new(),
            prefix => prefix.to_string(),
        };
        let n_free = size.ilog10();
        let last = digit + n_blocks - 1;
        let digits = if last == digit { digit.to_string() } else { format!("[{digit}-{last}]") };
        let free = if n_free == 0 { String::new() } else { format!("[0-9]{{{n_free}}}") };
        patterns.push(format!("{prefix}{digits}{free}"));
        low += n_blocks * size;
    }
    patterns.join("|")
}

#[cfg(test)]
mod tests {
    use pagewise_core::ArgumentSpec;

    use super::*;

    #[test]
    fn covers_ranges_of_integers() {
        for (min, max, expected) in [
            (0, 0, "0"),
            (1, 10, "[1-9]|10"),
            (7, 123, "[7-9]|[1-9][0-9]{1}|1[0-1][0-9]{1}|12[0-3]"),
            (99, 100, "99|100"),
            (0, 1000, "[0-9]|[1-9][0-9]{1}|[1-9][0-9]{2}|1000"),
        ] {
            assert_eq!(integer_pattern(min, max), expected);
        }
        assert!(integer_pattern(0, u32::MAX.into()).ends_with("|429496729[0-5]"));
        assert_eq!(integer_pattern(-12, 3), "-([1-9]|1[0-2])|[0-3]");
        assert_eq!(integer_pattern(-3, -2), "-([2-3])");
        let all = integer_pattern(i64::MIN, i64::MAX);
        assert!(all.contains("|922337203685477580[0-8])|") && all.ends_with("580[0-7]"), "{all}");
    }

    #[test]
    fn reads_well() {
        let argument = |name, kind| ArgumentSpec { name, description: "", kind };
        let specs = [
            FunctionSpec {
                name: "send_message",
                description: "",
                arguments: vec![argument("message", ArgumentKind::Text { max_chars: 400 })],
                asks_heartbeat: false,
            },
            FunctionSpec {
                name: "conversation_search_date",
                description: "",
                arguments: vec![
                    argument("from", ArgumentKind::Date),
                    argument("to", ArgumentKind::Date),
                    argument("page", ArgumentKind::Integer { min: 1, max: 12 }),
                ],
                asks_heartbeat: true,
            },
            FunctionSpec {
                name: "working_context_replace",
                description: "",
                arguments: vec![
                    argument("block", ArgumentKind::OneOf(vec!["human".into(), "persona".into()])),
                    argument(
                        "old",
                        ArgumentKind::OneOf(vec!["Likes \"tea\"\n".into(), "Likes".into()]),
                    ),
                    argument("new", ArgumentKind::Text { max_chars: 400 }),
                ],
                asks_heartbeat: true,
            },
            FunctionSpec {
                name: "pause",
                description: "",
                arguments: vec![],
                asks_heartbeat: false,
            },
        ];
        let format = CallFormat { thought_max_chars: Some(120) };
        insta::assert_snapshot!(grammar_text(&specs, &format), @r##"
        %llguidance {}
        start: "{\"thought\": \"" TEXT_120 "\", \"function\": \"" call
        call: call_send_message | call_conversation_search_date | call_working_context_replace | call_pause
        call_send_message: "send_message\", \"args\": {\"message\": \"" TEXT_400 "\"}}"
        call_conversation_search_date: "conversation_search_date\", \"args\": {\"from\": \"" DATE "\", \"to\": \"" DATE "\", \"page\": " INTEGER_1_12 "}, \"request_heartbeat\": " BOOLEAN "}"
        call_working_context_replace: "working_context_replace\", \"args\": {\"block\": " ONE_OF_1 ", \"old\": " ONE_OF_2 ", \"new\": \"" TEXT_400 "\"}, \"request_heartbeat\": " BOOLEAN "}"
        call_pause: "pause\", \"args\": {}}"
        FIRST_CHAR: /[^"\\\x00-\x1f\s]|\\["\\b]/
        CHAR: /[^"\\\x00-\x1f]|\\["\\bfnrt]/
        TEXT_120: FIRST_CHAR CHAR{0,119}
        TEXT_400: FIRST_CHAR CHAR{0,399}
        DATE: /(19|20|21)[0-9][0-9]-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))|((19|20|21)(0[48]|[2468][048]|[13579][26])|2000)-02-29/
        INTEGER_1_12: /[1-9]|1[0-2]/
        BOOLEAN: "true" | "false"
        ONE_OF_1: "\"human\""
            | "\"persona\""
        ONE_OF_2: "\"Likes \\\"tea\\\"\\n\""
            | "\"Likes\""
        "##);
    }
}
