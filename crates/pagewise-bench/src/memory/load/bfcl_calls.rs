//! The single-turn part of the Berkeley Function Calling Leaderboard: requests, functions, accepted calls.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Place, has, lines, some_text};
use crate::memory::case::Case;
use crate::memory::error::MemoryBenchError;
use crate::memory::tasks::function_calls::{Asked, case, specs};
use crate::memory::tool::Tool;

/// The categories, and the files that they are in: those of this program's data layout, then those that the
/// leaderboard has itself.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("simple_python", "simple_python"),
    ("multiple", "multiple"),
    ("live_simple", "live_simple"),
    ("irrelevance", "irrelevance"),
    ("simple_python", "BFCL_v4_simple_python"),
    ("multiple", "BFCL_v4_multiple"),
    ("live_simple", "BFCL_v4_live_simple"),
    ("irrelevance", "BFCL_v4_irrelevance"),
];

/// Where no function helps, so that there are no answers.
const IRRELEVANCE: &str = "irrelevance";

/// The folder of the leaderboard's own answers.
const POSSIBLE_ANSWERS: &str = "possible_answer";

#[derive(Debug, Deserialize)]
struct Line {
    id: String,
    question: Vec<Vec<Turn>>,
    function: Vec<Tool>,
}

#[derive(Debug, Deserialize)]
struct Turn {
    content: String,
}

#[derive(Debug, Deserialize)]
struct Answers {
    id: String,
    ground_truth: Vec<Map<String, Value>>,
}

/// Reads the categories that a folder has, in turn.
pub(crate) fn cases(folder: &Path) -> Result<Vec<Case>, MemoryBenchError> {
    let mut placed = Vec::new();
    for (category, file) in FILES.iter().filter(|(_, file)| has(folder, &format!("{file}.jsonl"))) {
        let questions: Vec<(Place, Line)> = lines(folder, &format!("{file}.jsonl"))?;
        let answers = match *category {
            IRRELEVANCE => Vec::new(),
            _ => answers(folder, file)?,
        };
        let n = questions.len();
        for (number, (place, line)) in questions.into_iter().enumerate() {
            let accepted = match *category {
                IRRELEVANCE => Vec::new(),
                _ => accepted(&place, &line, answers.get(number))?,
            };
            // Categories of any size are mixed evenly.
            let at = (number as f64 + 0.5) / n as f64;
            placed.push((at, case(asked(&place, line, category, accepted)?)));
        }
    }
    placed.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(placed.into_iter().map(|(_, case)| case).collect())
}

fn answers(folder: &Path, file: &str) -> Result<Vec<(Place, Answers)>, MemoryBenchError> {
    let name = format!("{file}_answers.jsonl");
    match has(folder, &name) {
        true => lines(folder, &name),
        false => lines(&folder.join(POSSIBLE_ANSWERS), &format!("{file}.jsonl")),
    }
}

fn accepted(
    place: &Place,
    line: &Line,
    answers: Option<&(Place, Answers)>,
) -> Result<Vec<String>, MemoryBenchError> {
    let Some((answer_place, answers)) = answers else {
        return Err(place.wrong("has no line in the file of answers"));
    };
    if answers.id != line.id {
        let reason = format!("answers {}, and the question there is {}", answers.id, line.id);
        return Err(answer_place.wrong(reason));
    }
    let is_offered = |name: &String| line.function.iter().any(|tool| tool.name == *name);
    let [call] = answers.ground_truth.as_slice() else {
        return Err(answer_place.wrong("ground_truth is not one call"));
    };
    match call.keys().collect::<Vec<_>>().as_slice() {
        [name] if is_offered(name) => Ok(vec![Value::from(call.clone()).to_string()]),
        _ => Err(answer_place.wrong("ground_truth is no call of a function that is offered")),
    }
}

fn asked(
    place: &Place,
    line: Line,
    category: &str,
    accepted: Vec<String>,
) -> Result<Asked, MemoryBenchError> {
    let [turns] = line.question.as_slice() else {
        return Err(place.wrong("question is not one turn"));
    };
    let request: Vec<&str> = turns.iter().map(|turn| turn.content.trim()).collect();
    let request = some_text(place, "question", &request.join("\n"))?.to_string();
    let mut tools = line.function;
    for tool in &mut tools {
        to_json_schema(&mut tool.parameters);
    }
    let specs = specs(&tools, 1).map_err(|reason| place.wrong(reason))?;
    pagewise_grammar::check_specs(&specs, &Default::default())
        .map_err(|error| place.wrong(error.to_string()))?;
    Ok(Asked { id: line.id, category: category.into(), request, tools, accepted })
}

/// Gives types the names that JSON Schema has for them; the set's own are Python's.
fn to_json_schema(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let name = match fields.get("type").and_then(Value::as_str) {
                Some("dict") => Some("object"),
                Some("float") => Some("number"),
                Some("tuple") => Some("array"),
                _ => None,
            };
            if let Some(name) = name {
                fields.insert("type".into(), name.into());
            }
            if fields.get("type").is_some_and(|name| name == "any") {
                fields.shift_remove("type");
            }
            for (name, inner) in fields {
                // A default or an example is a value and no schema.
                match (&**name, inner) {
                    ("properties", Value::Object(properties)) => {
                        properties.values_mut().for_each(to_json_schema);
                    }
                    ("items" | "additionalProperties", inner) => to_json_schema(inner),
                    ("anyOf" | "oneOf", inner) => to_json_schema(inner),
                    _ => {}
                }
            }
        }
        Value::Array(schemas) => schemas.iter_mut().for_each(to_json_schema),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    fn question(id: &str) -> Value {
        json!({"id": id, "question": [[{"role": "user", "content": "Dim the hall lamp to 0.5"}]], "function": [{
            "name": "lamp.set", "description": "Sets a lamp.",
            "parameters": {"type": "dict", "properties": {
                "name": {"type": "string", "default": {"type": "dict"}},
                "level": {"type": "float"},
                "at": {"type": "tuple", "items": {"type": "any"}},
            }, "required": ["name"]},
        }]})
    }

    fn write(folder: &TempDir, name: &str, lines: &[Value]) {
        let text: Vec<String> = lines.iter().map(Value::to_string).collect();
        fs::write(folder.path().join(name), text.join("\n")).unwrap();
    }

    fn answer(id: &str) -> Value {
        json!({"id": id, "ground_truth": [{"lamp.set": {"name": ["hall"], "level": [0.5]}}]})
    }

    #[test]
    fn categories_are_mixed_and_types_are_those_of_json_schema() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder, "simple_python.jsonl", &[question("a"), question("b"), question("c")]);
        write(&folder, "simple_python_answers.jsonl", &[answer("a"), answer("b"), answer("c")]);
        write(&folder, "irrelevance.jsonl", &[question("x")]);
        let cases = cases(folder.path()).unwrap();
        let ids: Vec<&str> = cases.iter().map(|case| &*case.id).collect();
        assert_eq!(ids, ["a", "b", "x", "c"]);
        assert_eq!(cases[2].labels["category"], "irrelevance");
        assert!(cases[2].gold.answers.is_empty());
        assert_eq!(cases[0].gold.answers, [r#"{"lamp.set":{"name":["hall"],"level":[0.5]}}"#]);
        let parameters = &cases[0].memory.tools[0].parameters;
        assert_eq!(parameters["type"], "object");
        assert_eq!(parameters["properties"]["level"]["type"], "number");
        assert_eq!(parameters["properties"]["at"], json!({"type": "array", "items": {}}));
        assert_eq!(parameters["properties"]["name"]["default"], json!({"type": "dict"}));
    }

    #[test]
    fn the_leaderboard_s_own_files_are_read_as_well() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("possible_answer")).unwrap();
        write(&folder, "BFCL_v4_multiple.jsonl", &[question("m")]);
        write(&folder, "possible_answer/BFCL_v4_multiple.jsonl", &[answer("m")]);
        let cases = cases(folder.path()).unwrap();
        assert_eq!((cases.len(), &*cases[0].labels["category"]), (1, "multiple"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let check = |question: Value, answer: Value, file: &str, says: &str| {
            let folder = tempfile::tempdir().unwrap();
            write(&folder, "multiple.jsonl", &[question]);
            write(&folder, "multiple_answers.jsonl", &[answer]);
            let error = cases(folder.path()).unwrap_err().to_string();
            assert!(error.contains(&format!("{file}, line 1: ")), "{error}");
            assert!(error.ends_with(says), "{error}");
        };
        let changed = |pointer: &str, value: Value| {
            let mut question = question("a");
            *question.pointer_mut(pointer).unwrap() = value;
            question
        };
        let questions = "multiple.jsonl";
        let answers = "multiple_answers.jsonl";
        check(question("a"), answer("b"), answers, "answers b, and the question there is a");
        check(
            question("a"),
            json!({"id": "a", "ground_truth": [{"lamp.get": {}}]}),
            answers,
            "no call of a function that is offered",
        );
        check(question("a"), json!({"id": "a", "ground_truth": []}), answers, "is not one call");
        check(changed("/question", json!([])), answer("a"), questions, "question is not one turn");
        check(changed("/question/0/0/content", json!(" ")), answer("a"), questions, "is empty");
        check(
            changed("/function/0/parameters/properties/level/type", json!("complex")),
            answer("a"),
            questions,
            "level: \"complex\" is no type of JSON Schema",
        );
        check(
            changed("/function/0/name", json!("send_message")),
            json!({"id": "a", "ground_truth": [{"send_message": {}}]}),
            questions,
            "each is given once",
        );
    }
}
