//! What the model may call, and what it called.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::argument::{ArgumentSpec, check_fields};

/// A function that the model may call at this step.
///
/// Specs are made anew at each step from the state of memory: a function that may not be called
/// now is left out, and an argument that must match what memory holds is a [`ArgumentKind::OneOf`]. Names
/// are borrowed: those of the agent's own functions live for ever, those of other tools as long as the tools.
///
/// [`ArgumentKind::OneOf`]: crate::ArgumentKind::OneOf
/// [`ArgumentKind::Optional`]: crate::ArgumentKind::Optional
/// [`MAX_NAME_CHARS`]: crate::MAX_NAME_CHARS
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionSpec<'a> {
    /// The name: 1 to [`MAX_NAME_CHARS`] characters, none of them a control character.
    pub name: &'a str,
    /// One sentence for the model.
    pub description: &'a str,
    /// In the order in which the model writes them; one of the kind [`ArgumentKind::Optional`] may be left
    /// out.
    pub arguments: Vec<ArgumentSpec<'a>>,
    /// Whether the call carries the boolean `request_heartbeat` of the MemGPT paper (section 2.4).
    pub asks_heartbeat: bool,
}

/// How a call is written, for all functions alike.
///
/// The text is one line of JSON with a space after each colon and comma:
/// `{"thought": "…", "function": "name", "args": {"a": "…"}, "request_heartbeat": true}`, where
/// the thought and the heartbeat are there only if asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallFormat {
    /// The longest thought before the call, in characters; no thought if `None`.
    pub thought_max_chars: Option<usize>,
}

/// A function call that the model made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionCall {
    /// What the model thought before it called, if the format asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thought: Option<String>,
    /// The name of the function.
    pub function: String,
    /// The arguments in the order of the spec.
    #[serde(rename = "args")]
    pub arguments: Map<String, Value>,
    /// Whether the model asks to run again at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_heartbeat: Option<bool>,
}

/// The text is not a call that the specs allow. Under a grammar this is a bug of the grammar.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CallError {
    /// Not JSON, or not the fields of a call.
    #[error("not a function call: {0}")]
    Malformed(String),
    /// No spec has this name.
    #[error("there is no function {0:?}")]
    UnknownFunction(String),
    /// An argument is missing, unknown, misplaced or breaks its kind.
    #[error("argument {argument:?} of {function}: {reason}")]
    Argument {
        /// The function called.
        function: String,
        /// The argument at fault.
        argument: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl FunctionCall {
    /// Makes a call with these arguments, without a thought or a heartbeat.
    pub fn new<N: Into<String>, V: Into<Value>>(
        function: impl Into<String>,
        arguments: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let arguments = arguments.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self {
            thought: None,
            function: function.into(),
            arguments: arguments.collect(),
            request_heartbeat: None,
        }
    }

    /// Reads a call as the grammar writes it and checks it against `specs`.
    pub fn parse(
        text: &str,
        specs: &[FunctionSpec<'_>],
        format: &CallFormat,
    ) -> Result<Self, CallError> {
        let call: Self =
            serde_json::from_str(text).map_err(|error| CallError::Malformed(error.to_string()))?;
        let spec = specs
            .iter()
            .find(|spec| spec.name == call.function)
            .ok_or_else(|| CallError::UnknownFunction(call.function.clone()))?;
        call.check(spec, format)?;
        Ok(call)
    }

    fn check(&self, spec: &FunctionSpec<'_>, format: &CallFormat) -> Result<(), CallError> {
        match (&self.thought, format.thought_max_chars) {
            (None, None) => {}
            (Some(thought), Some(max_chars)) if thought.chars().count() <= max_chars => {}
            _ => {
                return Err(CallError::Malformed(
                    "the thought is missing, unasked for or too long".into(),
                ));
            }
        }
        if self.request_heartbeat.is_some() != spec.asks_heartbeat {
            return Err(CallError::Malformed("request_heartbeat is missing or unasked for".into()));
        }
        check_fields(&self.arguments, &spec.arguments).map_err(|(argument, reason)| {
            CallError::Argument { function: spec.name.into(), argument, reason }
        })
    }

    /// Writes the call as the grammar would have the model write it. Only numbers with fractions or exponents
    /// can be written in other ways as well: `1e2` reads back as `100.0`.
    pub fn to_text(&self) -> String {
        let mut fields = Vec::new();
        if let Some(thought) = &self.thought {
            fields.push(format!("\"thought\": {}", json_string(thought)));
        }
        fields.push(format!("\"function\": {}", json_string(&self.function)));
        let arguments: Vec<String> = self
            .arguments
            .iter()
            .map(|(name, value)| format!("{}: {}", json_string(name), spaced(value)))
            .collect();
        fields.push(format!("\"args\": {{{}}}", arguments.join(", ")));
        if let Some(request_heartbeat) = self.request_heartbeat {
            fields.push(format!("\"request_heartbeat\": {request_heartbeat}"));
        }
        format!("{{{}}}", fields.join(", "))
    }

    /// Returns the argument `name` as a string; empty if it is not one.
    pub fn text(&self, name: &str) -> &str {
        self.arguments.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Writes a value in one line with a space after each colon and comma.
fn spaced(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(spaced).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{}: {}", json_string(name), spaced(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        value => value.to_string(),
    }
}

fn json_string(text: &str) -> String {
    Value::String(text.into()).to_string()
}

/// What came of a call; the model reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionResult {
    /// The function that was called.
    pub function: String,
    /// Whether it did what was asked.
    pub status: Status,
    /// What it returned, or a sentence on what went wrong that the model can act on.
    pub message: String,
}

/// Whether a call did what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It did.
    Ok,
    /// It did not, and nothing was changed.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ArgumentKind;

    fn specs() -> Vec<FunctionSpec<'static>> {
        vec![
            FunctionSpec {
                name: "send_message",
                description: "",
                arguments: vec![ArgumentSpec {
                    name: "message",
                    description: "",
                    kind: ArgumentKind::Text { max_chars: 5 },
                }],
                asks_heartbeat: false,
            },
            FunctionSpec {
                name: "search",
                description: "",
                arguments: vec![
                    ArgumentSpec {
                        name: "block",
                        description: "",
                        kind: ArgumentKind::OneOf(vec!["a".into(), "b".into()]),
                    },
                    ArgumentSpec {
                        name: "page",
                        description: "",
                        kind: ArgumentKind::Integer { min: 1, max: 3 },
                    },
                    ArgumentSpec { name: "from", description: "", kind: ArgumentKind::Date },
                ],
                asks_heartbeat: true,
            },
        ]
    }

    fn check(text: &str, expected: Result<(), &str>) {
        let parsed = FunctionCall::parse(text, &specs(), &CallFormat::default());
        match (parsed, expected) {
            (Ok(call), Ok(())) => assert_eq!(call.to_text(), text),
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{error} does not say {part:?}");
            }
            (parsed, expected) => panic!("{text}: {parsed:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn reads_what_it_writes_and_refuses_the_rest() {
        check(r#"{"function": "send_message", "args": {"message": "hé\n"}}"#, Ok(()));
        let search = r#"{"function": "search", "args": {"block": "b", "page": 3, "from": "2024-02-29"}, "request_heartbeat": true}"#;
        check(search, Ok(()));
        check(&search.replace("\"b\"", "\"c\""), Err("one of a, b"));
        check(&search.replace('3', "4"), Err("from 1 to 3"));
        check(&search.replace("02-29", "02-30"), Err("YYYY-MM-DD"));
        check(&search.replace(", \"request_heartbeat\": true", ""), Err("request_heartbeat"));
        check(r#"{"function": "send_message", "args": {"message": "longer"}}"#, Err("at most 5"));
        check(r#"{"function": "send_message", "args": {"message": " \n"}}"#, Err("blank"));
        check(r#"{"function": "send_message", "args": {}}"#, Err("expected the arguments message"));
        check(r#"{"function": "other", "args": {}}"#, Err("no function \"other\""));
        check(
            r#"{"function": "send_message", "args": {"message": "a"}, "x": 1}"#,
            Err("unknown field"),
        );
        check("hello", Err("not a function call"));
    }
}
