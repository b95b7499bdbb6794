//! Whether a call is the one that was wanted: its tree is compared with the accepted values, as BFCL does it.
//!
//! An accepted call is JSON, `{"name": {"argument": [value, …]}}`: every argument has a list of the values
//! that will do, and the empty text among them says that it may be left out. An object inside is written
//! the same way. Texts are the same if they are in lower case without spaces and the characters `,./-_*^`;
//! a whole number will do for one with a fraction that is zero, and the other way round.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::failure::Failure;
use super::score::Score;

/// What a reply is.
#[derive(Debug, PartialEq)]
enum Called {
    /// A call.
    Function { name: String, arguments: Map<String, Value> },
    /// Words for the user.
    Nothing,
    /// It looks like a call, and cannot be read as one.
    Unreadable,
}

/// The function whose call is words for the user.
pub(crate) const REPLY: &str = "send_message";

/// Scores a reply: the accepted calls are in JSON, and there is none where nothing may be called.
pub(crate) fn score(accepted: &[String], reply: &str) -> Score {
    let called = called(reply);
    let yes = |yes| if yes { 1.0 } else { 0.0 };
    let mut parts = BTreeMap::new();
    parts.insert("readable".into(), yes(called != Called::Unreadable));
    let is_function = accepted_calls(accepted).iter().any(|(name, _)| names(&called, name));
    if !accepted.is_empty() {
        parts.insert("function".into(), yes(is_function));
    }
    Score { correct: failure(accepted, &called) == Failure::None, parts, ..Score::default() }
}

/// Says what is wrong with a reply.
pub(crate) fn classify(accepted: &[String], reply: &str) -> Failure {
    failure(accepted, &called(reply))
}

fn failure(accepted: &[String], called: &Called) -> Failure {
    let (name, arguments) = match called {
        Called::Unreadable => return Failure::NoJson,
        Called::Nothing if accepted.is_empty() => return Failure::None,
        Called::Nothing => return Failure::NoCall,
        Called::Function { .. } if accepted.is_empty() => return Failure::NeedlessCall,
        Called::Function { name, arguments } => (name, arguments),
    };
    // The one that comes nearest says what is wrong.
    let of_call = |(wanted, accepted): (String, Map<String, Value>)| {
        if wanted != *name {
            Failure::WrongFunction
        } else {
            arguments_failure(&accepted, arguments)
        }
    };
    let mut failures = accepted_calls(accepted).into_iter().map(of_call).collect::<Vec<_>>();
    failures.sort();
    failures.into_iter().next().unwrap_or(Failure::WrongFunction)
}

fn names(called: &Called, wanted: &str) -> bool {
    matches!(called, Called::Function { name, .. } if name == wanted)
}

fn accepted_calls(accepted: &[String]) -> Vec<(String, Map<String, Value>)> {
    accepted
        .iter()
        .filter_map(|text| serde_json::from_str::<Map<String, Value>>(text).ok())
        .flatten()
        .map(|(name, arguments)| match arguments {
            Value::Object(arguments) => (name, arguments),
            _ => (name, Map::new()),
        })
        .collect()
}

/// Reads a reply: all of it must be the call, alone or as the one block of code.
fn called(reply: &str) -> Called {
    let text = reply.trim();
    let fenced = text.strip_prefix("```").and_then(|text| text.strip_suffix("```"));
    let text = fenced.map_or(text, |inside| inside.trim_start_matches("json").trim());
    match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(mut call) => match (call.remove("function"), call.remove("args")) {
            (Some(Value::String(name)), _) if name == REPLY => Called::Nothing,
            (Some(Value::String(name)), Some(Value::Object(arguments))) => {
                Called::Function { name, arguments }
            }
            _ => Called::Unreadable,
        },
        Err(_) if text.contains('{') => Called::Unreadable,
        Err(_) => Called::Nothing,
    }
}

fn arguments_failure(accepted: &Map<String, Value>, given: &Map<String, Value>) -> Failure {
    let missing = accepted
        .iter()
        .find(|(name, values)| !given.contains_key(*name) && !may_be_left_out(values));
    if missing.is_some() {
        return Failure::MissingArgument;
    }
    let is_right = |(name, value): (&String, &Value)| {
        accepted.get(name).is_some_and(|values| any_of(values, value))
    };
    if given.iter().all(is_right) { Failure::None } else { Failure::WrongArgument }
}

fn may_be_left_out(values: &Value) -> bool {
    values.as_array().is_some_and(|values| values.iter().any(|value| value == ""))
}

/// Whether the value is one of a list of accepted ones.
fn any_of(values: &Value, given: &Value) -> bool {
    match values {
        Value::Array(values) => values.iter().any(|value| is_same(value, given)),
        value => is_same(value, given),
    }
}

fn is_same(accepted: &Value, given: &Value) -> bool {
    match (accepted, given) {
        (Value::String(accepted), Value::String(given)) => plain(accepted) == plain(given),
        (Value::Number(accepted), Value::Number(given)) => accepted.as_f64() == given.as_f64(),
        (Value::Array(accepted), Value::Array(given)) => {
            accepted.len() == given.len()
                && accepted.iter().zip(given).all(|(accepted, given)| is_same(accepted, given))
        }
        (Value::Object(accepted), Value::Object(given)) => {
            arguments_failure(accepted, given) == Failure::None
        }
        (accepted, given) => accepted == given,
    }
}

fn plain(text: &str) -> String {
    let kept: String = text.chars().filter(|c| !" ,./-_*^".contains(*c)).collect();
    kept.to_lowercase().replace('\'', "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPTED: &str = r#"{"Train.find": {"to": ["Oslo", "Oslo, Norway"], "seats": [2], "price": [1.5],
        "quiet": ["", false], "stops": [["Lund", "Ystad"]],
        "pass": ["", {"kind": ["youth"], "days": [5, 7], "name": ["", "x"]}]}}"#;

    fn check(reply: &str, expected: Failure) {
        assert_eq!(classify(&[ACCEPTED.into()], reply), expected, "{reply}");
        assert_eq!(score(&[ACCEPTED.into()], reply).correct, expected == Failure::None, "{reply}");
    }

    fn call(arguments: &str) -> String {
        format!(r#"{{"function": "Train.find", "args": {{{arguments}}}}}"#)
    }

    #[test]
    fn the_tree_of_a_call_is_compared_in_depth() {
        let least =
            r#""to": "oslo norway", "seats": 2, "price": 1.50, "stops": ["LUND", "ystad."]"#;
        check(&call(least), Failure::None);
        check(&call(&least.replace("2,", "2.0,")), Failure::None);
        check(&call(&format!("{least}, \"quiet\": false")), Failure::None);
        check(&call(&format!("{least}, \"quiet\": true")), Failure::WrongArgument);
        check(&call(&format!("{least}, \"window\": true")), Failure::WrongArgument);
        check(&call(&least.replace("\"LUND\", ", "")), Failure::WrongArgument);
        check(&call(&least.replace("2,", "\"2\",")), Failure::WrongArgument);
        check(&call(&least.replace("\"seats\": 2, ", "")), Failure::MissingArgument);
        let pass = |pass: &str| call(&format!("{least}, \"pass\": {{{pass}}}"));
        check(&pass(r#""kind": "Youth", "days": 7"#), Failure::None);
        check(&pass(r#""kind": "Youth", "days": 7, "name": "x""#), Failure::None);
        check(&pass(r#""kind": "Youth""#), Failure::WrongArgument);
        check(&pass(r#""kind": "Youth", "days": 7, "age": 9"#), Failure::WrongArgument);
    }

    #[test]
    fn what_is_no_such_call_has_its_class() {
        check(r#"{"function": "Bus.find", "args": {}}"#, Failure::WrongFunction);
        check(r#"{"function": "send_message", "args": {"message": "Where to?"}}"#, Failure::NoCall);
        check("I would look for a train.", Failure::NoCall);
        check(r#"{"function": "Train.find", "args": {"to": "#, Failure::NoJson);
        check(r#"Here it is: {"function": "Train.find", "args": {}}"#, Failure::NoJson);
        check(r#"{"name": "Train.find"}"#, Failure::NoJson);
        check(
            "```json\n{\"function\": \"Train.find\", \"args\": {}}\n```",
            Failure::MissingArgument,
        );
    }

    #[test]
    fn where_no_function_helps_words_are_right() {
        let none = |reply: &str| classify(&[], reply);
        assert_eq!(none("I cannot do that."), Failure::None);
        assert_eq!(
            none(r#"{"function": "send_message", "args": {"message": "No."}}"#),
            Failure::None
        );
        assert_eq!(none(&call("")), Failure::NeedlessCall);
        assert_eq!(none("{\"function\": "), Failure::NoJson);
        assert!(!score(&[], "{").parts.contains_key("function"));
    }

    #[test]
    fn of_several_accepted_calls_the_nearest_counts() {
        let accepted = [r#"{"a": {"x": [1]}}"#, r#"{"b": {"x": [1]}}"#].map(String::from);
        assert_eq!(classify(&accepted, r#"{"function": "b", "args": {"x": 1}}"#), Failure::None);
        let wrong = r#"{"function": "b", "args": {"x": 2}}"#;
        assert_eq!(classify(&accepted, wrong), Failure::WrongArgument);
        assert!((score(&accepted, wrong).parts["function"] - 1.0).abs() < 1e-12);
    }
}
