//! Requests for functions of four kinds: one function is offered, or several, or several to a request that
//! says more than it asks, or only functions that do not help.

mod tools;

use std::collections::BTreeMap;

use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use super::{any, chance};
use crate::memory::case::Case;
use crate::memory::tasks::function_calls::{self, Asked};
use crate::memory::tool::Tool;
use tools::{Argument, Kind, TOOLS, ToolText};

/// What a case is, in turn.
const CATEGORIES: [&str; 4] = ["simple", "multiple", "live", "irrelevance"];

/// The most functions besides the one that is wanted.
const OTHERS: usize = 3;

/// The most words of a list.
const WORDS: usize = 3;

/// What people say before they ask.
const BEFORE: &[&str] = &[
    "Hi there! I am in a bit of a hurry today.",
    "Sorry to bother you again, my brother says you are good at this.",
    "We had a long day and the 3 of us are tired.",
    "I tried it by hand first and gave up after 20 minutes.",
    "Good morning. It is raining here, by the way.",
];

/// What they say behind it.
const AFTER: &[&str] = &[
    "Thanks a lot!",
    "I hope that makes sense.",
    "No need to explain anything.",
    "My sister will be so glad.",
    "Take your time.",
];

/// Makes cases without end: each depends on the seed and on its number alone.
pub(crate) fn cases(seed: u64) -> impl Iterator<Item = Case> {
    (0..).map(move |number| function_calls::case(asked(seed, number)))
}

fn asked(seed: u64, number: usize) -> Asked {
    let mut rng = chance(seed, 0, number);
    let category = CATEGORIES[number % CATEGORIES.len()];
    let Some(wanted) = TOOLS.choose(&mut rng) else { unreachable!("there are tools") };
    let (request, arguments) = request(wanted, &mut rng);
    let n_others = match category {
        "simple" => 0,
        "irrelevance" => rng.random_range(1..=OTHERS),
        _ => rng.random_range(2..=OTHERS),
    };
    let is_far = category == "irrelevance";
    let mut others: Vec<&ToolText> = TOOLS
        .iter()
        .filter(|tool| tool.name != wanted.name && (!is_far || tool.domain != wanted.domain))
        .collect();
    others.shuffle(&mut rng);
    // Those of the same domain are the ones that could be taken for it.
    others.sort_by_key(|tool| tool.domain != wanted.domain);
    others.truncate(n_others);
    let mut offered: Vec<Tool> = others.into_iter().map(tool).collect();
    let mut accepted = Vec::new();
    if !is_far {
        offered.push(tool(wanted));
        accepted.push(json!({ wanted.name: arguments }).to_string());
    }
    offered.shuffle(&mut rng);
    let request = match category {
        "live" => format!("{} {request} {}", any(BEFORE, &mut rng), any(AFTER, &mut rng)),
        _ => request,
    };
    let id = format!("calls-{seed}-{number}");
    Asked { id, category: category.into(), request, tools: offered, accepted }
}

/// Describes a function as its authors would.
fn tool(text: &ToolText) -> Tool {
    let mut properties = Map::new();
    for argument in text.arguments {
        let mut schema = schema(&argument.kind);
        schema.insert("description".into(), argument.description.into());
        properties.insert(argument.name.into(), schema.into());
    }
    let required: Vec<&str> = text
        .arguments
        .iter()
        .filter(|argument| argument.said.is_none())
        .map(|argument| argument.name)
        .collect();
    Tool {
        name: text.name.into(),
        description: text.description.into(),
        parameters: json!({"type": "object", "properties": properties, "required": required}),
    }
}

fn schema(kind: &Kind) -> Map<String, Value> {
    let schema = match kind {
        Kind::Word(_) => json!({"type": "string"}),
        Kind::Choice(options) => json!({"type": "string", "enum": options}),
        Kind::Whole(..) => json!({"type": "integer"}),
        Kind::Tenths(..) => json!({"type": "number"}),
        Kind::Yes => json!({"type": "boolean"}),
        Kind::Words(_) => json!({"type": "array", "items": {"type": "string"}}),
        Kind::Place => json!({
            "type": "object",
            "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}},
            "required": ["lat", "lon"],
        }),
    };
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

/// Returns a request in words, and the accepted values of each argument.
fn request(tool: &ToolText, rng: &mut ChaCha8Rng) -> (String, Map<String, Value>) {
    let mut values = BTreeMap::new();
    let mut accepted = Map::new();
    let mut request = any(tool.asks, rng).to_string();
    for argument in tool.arguments {
        let Argument { name, kind, said, .. } = argument;
        if let Some(said) = said {
            if !rng.random::<bool>() {
                accepted.insert((*name).into(), not_said(kind));
                continue;
            }
            request.push(' ');
            request.push_str(said);
        }
        let (text, value) = value(kind, rng);
        values.insert(*name, text);
        accepted.insert((*name).into(), json!([value]));
    }
    for (name, text) in values {
        request = request.replace(&format!("{{{name}}}"), &text);
    }
    (request, accepted)
}

/// What will do for an argument of which nothing was said: nothing, or what it comes to.
fn not_said(kind: &Kind) -> Value {
    match kind {
        Kind::Yes => json!(["", false]),
        _ => json!([""]),
    }
}

/// Returns a value as it is said, and as it is in a call.
fn value(kind: &Kind, rng: &mut ChaCha8Rng) -> (String, Value) {
    match kind {
        Kind::Word(words) | Kind::Choice(words) => {
            let word = any(words, rng);
            (word.into(), word.into())
        }
        Kind::Whole(low, high) => {
            let number = rng.random_range(*low..=*high);
            (number.to_string(), number.into())
        }
        Kind::Tenths(low, high) => {
            let number = f64::from(rng.random_range(low * 10 + 1..high * 10)) / 10.0;
            (number.to_string(), number.into())
        }
        Kind::Yes => (String::new(), true.into()),
        Kind::Words(words) => {
            let words: Vec<&str> = words.sample(rng, WORDS).copied().collect();
            (words.join(", "), json!(words))
        }
        Kind::Place => {
            let [lat, lon] = [50..70, 5..30].map(|degrees| {
                f64::from(rng.random_range(degrees) * 10 + rng.random_range(1..10)) / 10.0
            });
            (format!("latitude {lat} and longitude {lon}"), json!({"lat": [lat], "lon": [lon]}))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use pagewise_core::{CallFormat, FunctionCall};

    use super::*;
    use crate::memory::call_score::score;

    /// The call that a case wants, with the first of the accepted values.
    fn wanted(case: &Case) -> Option<FunctionCall> {
        let calls: Map<String, Value> = serde_json::from_str(case.gold.answers.first()?).unwrap();
        let (function, arguments) = calls.into_iter().next().unwrap();
        let first = |values: &Value| values[0].clone();
        let arguments = arguments
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, values)| (name.clone(), first(values)))
            .filter(|(_, value)| *value != "")
            .map(|(name, value)| match value {
                Value::Object(fields) => {
                    let fields = fields.iter().map(|(name, values)| (name.clone(), first(values)));
                    (name, Value::Object(fields.collect()))
                }
                value => (name, value),
            });
        Some(FunctionCall::new(function, arguments))
    }

    #[test]
    fn every_case_can_be_answered_with_what_is_offered() {
        let cases: Vec<Case> = cases(5).take(200).collect();
        let mut called = HashSet::new();
        for case in &cases {
            let specs = function_calls::specs(&case.memory.tools, 100).unwrap();
            assert_eq!(pagewise_grammar::check_specs(&specs, &CallFormat::default()), Ok(()));
            assert!(!case.messages[0].text.contains(['{', '}']), "{}", case.messages[0].text);
            let Some(call) = wanted(case) else {
                assert_eq!(case.labels["category"], "irrelevance");
                continue;
            };
            let text = call.to_text();
            assert!(FunctionCall::parse(&text, &specs, &CallFormat::default()).is_ok(), "{text}");
            assert!(score(&case.gold.answers, &text).correct, "{text} {:?}", case.gold.answers);
            called.insert(call.function);
        }
        assert_eq!(called.len(), TOOLS.len(), "all functions are wanted");
    }

    #[test]
    fn a_request_that_no_function_serves_is_of_another_domain() {
        for case in cases(6).take(80).filter(|case| case.gold.answers.is_empty()) {
            let domains: HashSet<&str> = case
                .memory
                .tools
                .iter()
                .filter_map(|tool| TOOLS.iter().find(|text| text.name == tool.name))
                .map(|text| text.domain)
                .collect();
            assert!((1..=OTHERS).contains(&case.memory.tools.len()) && !domains.is_empty());
        }
    }

    #[test]
    fn a_case_depends_on_its_number_alone() {
        let all: Vec<String> = cases(7).take(9).map(|case| format!("{case:?}")).collect();
        assert_eq!(cases(7).nth(8).map(|case| format!("{case:?}")), all.last().cloned());
        assert_ne!(format!("{:?}", cases(8).nth(8)), format!("{:?}", cases(7).nth(8)));
    }

    #[test]
    fn the_model_sees_functions_and_a_request() {
        let case = cases(1).nth(2).unwrap();
        let specs = function_calls::specs(&case.memory.tools, 600).unwrap();
        let prompt = function_calls::prompt(&specs, &case.messages[0].text);
        let turns: Vec<String> = prompt
            .messages
            .iter()
            .map(|turn| format!("{:?}:\n{}", turn.role, turn.content))
            .collect();
        insta::assert_snapshot!(format!(
            "{}\n\nAccepted:\n{}",
            turns.join("\n\n"),
            case.gold.answers.join("\n")
        ));
    }
}
