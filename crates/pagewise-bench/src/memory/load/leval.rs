//! L-Eval: a document in each line, with its questions; those on whole articles, cut into passages.

use std::collections::BTreeMap;
use std::path::Path;

use pagewise_memory::{DocumentFormat, PASSAGE_CHARS_MAX, chunk};
use serde::Deserialize;

use super::{Place, in_turn, lines, some_text};
use crate::memory::case::Case;
use crate::memory::error::MemoryBenchError;
use crate::memory::tasks::doc_qa::{self, Question};

#[derive(Debug, Deserialize)]
struct Line {
    /// Upstream has none.
    id: Option<String>,
    instructions: Vec<String>,
    outputs: Vec<String>,
    input: String,
}

/// A document, and what is asked about it.
pub(super) struct Document {
    pub(super) place: Place,
    pub(super) id: String,
    pub(super) text: String,
    /// Questions with their answers.
    pub(super) asked: Vec<(String, String)>,
}

/// Reads a file of the set.
pub(super) fn documents(folder: &Path, file: &str) -> Result<Vec<Document>, MemoryBenchError> {
    let read: Vec<(Place, Line)> = lines(folder, file)?;
    let task = file.trim_end_matches(".jsonl");
    let document = |(place, line): (Place, Line)| {
        let Line { id, instructions, outputs, input: text } = line;
        let id = id.unwrap_or_else(|| format!("{task}:{}", place.row()));
        some_text(&place, "input", &text)?;
        if instructions.len() != outputs.len() {
            let (n, m) = (instructions.len(), outputs.len());
            return Err(place.wrong(format!("{n} instructions, but {m} outputs")));
        }
        let asked: Vec<_> = instructions.into_iter().zip(outputs).collect();
        for (question, answer) in &asked {
            some_text(&place, "an instruction", question)?;
            some_text(&place, "an output", answer)?;
        }
        Ok(Document { place, id, text, asked })
    };
    read.into_iter().map(document).collect()
}

/// Reads the articles of a folder, a question of each in turn. Each has a memory of its own, as when it is
/// put in once and asked about many times.
pub(crate) fn cases(folder: &Path) -> Result<Vec<Case>, MemoryBenchError> {
    let mut cases = Vec::new();
    for Document { id, text, asked, .. } in documents(folder, "natural_question.jsonl")? {
        let memory = doc_qa::memory(&chunk(&text, DocumentFormat::Text, PASSAGE_CHARS_MAX));
        for (number, (question, answer)) in (1..).zip(asked) {
            let question = Question {
                id: format!("leval-{id}-{number}"),
                labels: BTreeMap::from([("document".into(), id.clone())]),
                text: question,
                answers: vec![answer],
                // The set does not say where in the document the answer is.
                evidence: Vec::new(),
            };
            cases.push((id.clone(), doc_qa::case(question, &memory)));
        }
    }
    Ok(in_turn(cases))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    fn load(lines: &[Value]) -> Result<Vec<Case>, String> {
        let folder = tempfile::tempdir().unwrap();
        let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
        fs::write(folder.path().join("natural_question.jsonl"), lines.join("\n")).unwrap();
        cases(folder.path()).map_err(|error| error.to_string())
    }

    fn line(id: &str, questions: &[&str], answers: &[&str], input: &str) -> Value {
        json!({"id": id, "instructions": questions, "outputs": answers, "input": input, "source": "",
            "evaluation": "f1"})
    }

    #[test]
    fn a_document_is_cut_once_for_all_its_questions() {
        let document = "The mill was built by Ada in 1911. ".repeat(100);
        let cases = load(&[line("0", &["who", "when"], &["Ada", "1911"], &document)]).unwrap();
        assert_eq!(cases.len(), 2);
        assert!(cases[0].memory.passages.len() > 3);
        assert!(std::sync::Arc::ptr_eq(&cases[0].memory, &cases[1].memory));
        let long =
            cases[0].memory.passages.iter().map(|passage| passage.text.chars().count()).max();
        assert!(long.unwrap() <= PASSAGE_CHARS_MAX);
    }

    #[test]
    fn documents_are_asked_about_in_turn() {
        let three = line("a", &["who", "when", "why"], &["Ada", "1911", "corn"], "A mill.");
        let cases = load(&[three, line("b", &["where"], &["Bern"], "A bridge.")]).unwrap();
        let ids: Vec<&str> = cases.iter().map(|case| &*case.id).collect();
        assert_eq!(ids, ["leval-a-1", "leval-b-1", "leval-a-2", "leval-a-3"]);
    }

    #[test]
    fn a_document_without_a_name_has_that_of_its_row() {
        let [mut first, mut second] = ["", ""].map(|id| line(id, &["who"], &["Ada"], "A mill."));
        for line in [&mut first, &mut second] {
            line.as_object_mut().unwrap().shift_remove("id");
        }
        let cases = load(&[first.clone(), second]).unwrap();
        let ids: Vec<&str> = cases.iter().map(|case| &*case.id).collect();
        assert_eq!(ids, ["leval-natural_question:0-1", "leval-natural_question:1-1"]);
        let mut damaged = first.clone();
        damaged["outputs"] = json!("Ada");
        let error = load(&[first, damaged]).unwrap_err();
        assert!(error.contains("line 2: not as its format says"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let error = load(&[line("0", &["who", "when"], &["Ada"], "x")]).unwrap_err();
        assert!(error.contains("line 1: 2 instructions, but 1 outputs"), "{error}");
        let error = load(&[line("0", &["who"], &["Ada"], " ")]).unwrap_err();
        assert!(error.contains("line 1: input is empty"), "{error}");
    }
}
