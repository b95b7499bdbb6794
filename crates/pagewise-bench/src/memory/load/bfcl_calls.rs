//! The single-turn part of the Berkeley Function Calling Leaderboard: requests, functions, accepted calls; in files
//! of one layout, or as the leaderboard's own repository has them.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Place, has, some_text, values};
use crate::memory::case::Case;
use crate::memory::error::MemoryBenchError;
use crate::memory::tasks::function_calls::{Asked, case, specs};
use crate::memory::tool::Tool;

/// The categories, and what version 3 of the leaderboard called them.
const CATEGORIES: [(&str, &str); 6] = [
    ("simple_python", "simple"),
    (JAVA, "java"),
    (JAVASCRIPT, "javascript"),
    ("multiple", "multiple"),
    ("live_simple", "live_simple"),
    (IRRELEVANCE, "irrelevance"),
];

/// Functions of programs, which are given what the program has in variables.
const JAVA: &str = "simple_java";
const JAVASCRIPT: &str = "simple_javascript";

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

/// Whether a folder has any of the categories.
pub(crate) fn is_in(folder: &Path) -> bool {
    CATEGORIES.iter().any(|category| file(folder, category).is_some())
}

/// Returns the file of a category: of this program's data layout, or else the leaderboard's, whose files have a value
/// in each line although they are named `.json`.
fn file(folder: &Path, (category, before): &(&str, &str)) -> Option<String> {
    [(*category).to_string(), format!("BFCL_v4_{category}"), format!("BFCL_v3_{before}")]
        .iter()
        .flat_map(|stem| ["jsonl", "json"].map(|ending| format!("{stem}.{ending}")))
        .find(|file| has(folder, file))
}

/// Reads the categories that a folder has, in turn.
pub(crate) fn cases(folder: &Path) -> Result<Vec<Case>, MemoryBenchError> {
    let mut placed = Vec::new();
    for category in &CATEGORIES {
        let Some(file) = file(folder, category) else { continue };
        let (category, _) = *category;
        let questions: Vec<(Place, Line)> = values(folder, &file)?;
        let answers = match category {
            IRRELEVANCE => HashMap::new(),
            _ => answers(folder, &file)?,
        };
        let n = questions.len();
        for (number, (place, line)) in questions.into_iter().enumerate() {
            let accepted = match category {
                IRRELEVANCE => Vec::new(),
                _ => accepted(&place, &line, answers.get(&line.id))?,
            };
            // Categories of any size are mixed evenly.
            let at = (number as f64 + 0.5) / n as f64;
            placed.push((at, case(asked(&place, line, category, accepted)?)));
        }
    }
    placed.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(placed.into_iter().map(|(_, case)| case).collect())
}

/// Reads the answers to a file of questions by their names: from the file beside it, or the leaderboard's folder.
fn answers(
    folder: &Path,
    file: &str,
) -> Result<HashMap<String, (Place, Answers)>, MemoryBenchError> {
    let beside = file.replace(".json", "_answers.json");
    let read: Vec<(Place, Answers)> = match has(folder, &beside) {
        true => values(folder, &beside)?,
        false => values(&folder.join(POSSIBLE_ANSWERS), file)?,
    };
    let mut by_id = HashMap::new();
    for (place, answers) in read {
        if by_id.contains_key(&answers.id) {
            return Err(place.wrong(format!("{} is answered twice", answers.id)));
        }
        by_id.insert(answers.id.clone(), (place, answers));
    }
    Ok(by_id)
}

fn accepted(
    place: &Place,
    line: &Line,
    answers: Option<&(Place, Answers)>,
) -> Result<Vec<String>, MemoryBenchError> {
    let Some((answer_place, answers)) = answers else {
        return Err(place.wrong(format!("there are no answers to {}", line.id)));
    };
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
        if [JAVA, JAVASCRIPT].contains(&category) {
            or_variable(&mut tool.parameters);
        }
    }
    let specs = specs(&tools, 1).map_err(|reason| place.wrong(reason))?;
    pagewise_grammar::check_specs(&specs, &Default::default())
        .map_err(|error| place.wrong(error.to_string()))?;
    Ok(Asked { id: line.id, category: category.into(), request, tools, accepted })
}

/// Lets an argument that is a list or an object be the name of a variable as well: of some, that is the accepted value.
fn or_variable(parameters: &mut Value) {
    let Some(Value::Object(arguments)) = parameters.get_mut("properties") else { return };
    for schema in arguments.values_mut() {
        if schema.get("type").is_some_and(|name| name == "array" || name == "object") {
            let description = schema.get("description").cloned().unwrap_or_default();
            let either = [schema.take(), json!({"type": "string"})];
            *schema = json!({"description": description, "anyOf": either});
        }
    }
}

/// Gives types the names that JSON Schema has for them; the set's own are those of Python, Java and JavaScript.
fn to_json_schema(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let name = match fields.get("type").and_then(Value::as_str) {
                Some("dict" | "HashMap" | "Hashtable") => Some("object"),
                Some("float" | "double") => Some("number"),
                Some("byte" | "short" | "long" | "Bigint") => Some("integer"),
                Some("tuple" | "list" | "Array" | "ArrayList" | "Set" | "Queue" | "Stack") => {
                    Some("array")
                }
                Some("String" | "char") => Some("string"),
                Some("Boolean" | "bool") => Some("boolean"),
                Some("Any") => Some("any"),
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
        assert!(!is_in(folder.path()));
        let upstream = |name: &str, questions: &[Value], answers: &[Value]| {
            write(&folder, name, questions);
            write(&folder, &format!("possible_answer/{name}"), answers);
        };
        // The answers have an order of their own.
        let of = |file: &str| [question(&format!("{file}_0")), question(&format!("{file}_1"))];
        let to = |file: &str| [answer(&format!("{file}_1")), answer(&format!("{file}_0"))];
        upstream("BFCL_v4_multiple.json", &of("multiple"), &to("multiple"));
        upstream("BFCL_v3_simple.json", &of("simple"), &to("simple"));
        // Of two versions the later one is read.
        upstream("BFCL_v3_multiple.json", &[question("old")], &[]);
        write(&folder, "BFCL_v4_irrelevance.json", &[question("none")]);
        assert!(is_in(folder.path()));
        let cases = cases(folder.path()).unwrap();
        let ids: Vec<&str> = cases.iter().map(|case| &*case.id).collect();
        assert_eq!(ids, ["simple_0", "multiple_0", "none", "simple_1", "multiple_1"]);
        assert_eq!(cases[0].labels["category"], "simple_python");
    }

    #[test]
    fn a_program_s_types_are_read_and_its_variables_may_be_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("possible_answer")).unwrap();
        let mut asked = question("j");
        asked["function"][0]["parameters"] = json!({"type": "dict", "properties": {
            "name": {"type": "String"}, "on": {"type": "Boolean"}, "level": {"type": "long"},
            "at": {"type": "ArrayList", "description": "when", "items": {"type": "char"}},
            "more": {"type": "HashMap"}, "lamp": {"type": "any"},
        }, "required": ["name"]});
        write(&folder, "BFCL_v4_simple_java.json", &[asked]);
        write(&folder, "possible_answer/BFCL_v4_simple_java.json", &[answer("j")]);
        let cases = cases(folder.path()).unwrap();
        assert_eq!(cases[0].labels["category"], "simple_java");
        let either = |kind: Value| json!([kind, {"type": "string"}]);
        let list = json!({"type": "array", "description": "when", "items": {"type": "string"}});
        let properties = &cases[0].memory.tools[0].parameters["properties"];
        assert_eq!(properties["name"], json!({"type": "string"}));
        assert_eq!(properties["on"], json!({"type": "boolean"}));
        assert_eq!(properties["level"], json!({"type": "integer"}));
        assert_eq!(properties["at"], json!({"description": "when", "anyOf": either(list)}));
        assert_eq!(properties["more"]["anyOf"], either(json!({"type": "object"})));
        assert_eq!(properties["lamp"], json!({}));
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
        check(question("a"), answer("b"), questions, "there are no answers to a");
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
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("possible_answer")).unwrap();
        write(&folder, "BFCL_v4_multiple.json", &[question("a")]);
        let twice = "possible_answer/BFCL_v4_multiple.json";
        write(&folder, twice, &[answer("a"), answer("a")]);
        let error = cases(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with(&format!("{twice}, line 2: a is answered twice")), "{error}");
        write(&folder, "BFCL_v4_multiple.json", &[question("a"), json!({"id": "b"})]);
        let error = cases(folder.path()).unwrap_err().to_string();
        let says = "BFCL_v4_multiple.json, line 2: not as its format says";
        assert!(error.contains(says), "{error}");
    }
}
