//! What the model may call, and what it called.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

/// A function that the model may call at this step.
///
/// Specs are made anew at each step from the state of memory: a function that may not be called
/// now is left out, and an argument that must match what memory holds is a [`ArgumentKind::OneOf`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionSpec {
    /// The name, `[a-z_]+`.
    pub name: &'static str,
    /// One sentence for the model.
    pub description: &'static str,
    /// All required, in the order in which the model writes them.
    pub arguments: Vec<ArgumentSpec>,
    /// Whether the call carries the boolean `request_heartbeat` of the MemGPT paper (section 2.4).
    pub asks_heartbeat: bool,
}

/// One argument of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgumentSpec {
    /// The name, `[a-z_]+`.
    pub name: &'static str,
    /// A phrase for the model.
    pub description: &'static str,
    /// What the value may be.
    pub kind: ArgumentKind,
}

/// What the value of an argument may be. Everything is bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArgumentKind {
    /// A string of 1 to `max_chars` characters (Unicode scalar values) with something other than
    /// white space in it.
    Text {
        /// The longest allowed, in characters.
        max_chars: usize,
    },
    /// One of these strings, exactly. Never empty.
    OneOf(Vec<String>),
    /// A whole number from `min` to `max`, both included.
    Integer {
        /// The least allowed.
        min: u32,
        /// The greatest allowed.
        max: u32,
    },
    /// `true` or `false`.
    Boolean,
    /// A day, `YYYY-MM-DD`.
    Date,
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
    /// Reads a call as the grammar writes it and checks it against `specs`.
    pub fn parse(
        text: &str,
        specs: &[FunctionSpec],
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

    fn check(&self, spec: &FunctionSpec, format: &CallFormat) -> Result<(), CallError> {
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
        let fault = |argument: &str, reason: &str| CallError::Argument {
            function: spec.name.into(),
            argument: argument.into(),
            reason: reason.into(),
        };
        let names: Vec<&str> = self.arguments.keys().map(String::as_str).collect();
        let wanted: Vec<&str> = spec.arguments.iter().map(|argument| argument.name).collect();
        if names != wanted {
            return Err(fault(
                &names.join(", "),
                &format!("expected the arguments {}", wanted.join(", ")),
            ));
        }
        for argument in &spec.arguments {
            argument
                .kind
                .check(&self.arguments[argument.name])
                .map_err(|reason| fault(argument.name, &reason))?;
        }
        Ok(())
    }

    /// Writes the call as the grammar would have the model write it.
    pub fn to_text(&self) -> String {
        let mut fields = Vec::new();
        if let Some(thought) = &self.thought {
            fields.push(format!("\"thought\": {}", json_string(thought)));
        }
        fields.push(format!("\"function\": {}", json_string(&self.function)));
        let arguments: Vec<String> = self
            .arguments
            .iter()
            .map(|(name, value)| format!("{}: {value}", json_string(name)))
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

impl ArgumentKind {
    fn check(&self, value: &Value) -> Result<(), String> {
        match (self, value) {
            (Self::Text { max_chars }, Value::String(text)) => match text.chars().count() {
                n if n > *max_chars => {
                    Err(format!("{n} characters, at most {max_chars} are allowed"))
                }
                _ if text.trim().is_empty() => Err("must not be blank".into()),
                _ => Ok(()),
            },
            (Self::OneOf(allowed), Value::String(text)) if allowed.contains(text) => Ok(()),
            (Self::Integer { min, max }, Value::Number(number))
                if number
                    .as_u64()
                    .is_some_and(|n| (u64::from(*min)..=u64::from(*max)).contains(&n)) =>
            {
                Ok(())
            }
            (Self::Boolean, Value::Bool(_)) => Ok(()),
            (Self::Date, Value::String(text))
                if text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok() =>
            {
                Ok(())
            }
            _ => Err(format!("{value} is not {}", self.describe())),
        }
    }

    /// Returns what the value may be, in words for a message or a prompt.
    pub fn describe(&self) -> String {
        match self {
            Self::Text { max_chars } => format!("a text of at most {max_chars} characters"),
            Self::OneOf(allowed) => format!("one of {}", allowed.join(", ")),
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Boolean => "true or false".into(),
            Self::Date => "a day as YYYY-MM-DD".into(),
        }
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

    fn specs() -> Vec<FunctionSpec> {
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
