//! L-Eval: a document in each line, with its questions; those on whole articles, cut into passages.
//!
//! Questions on articles are in two files, which are one set: those on Wikipedia's come first, and then those of QuALITY,
//! which have options. The label `file` tells them apart.

use std::collections::BTreeMap;
use std::path::Path;

use pagewise_memory::{DocumentFormat, PASSAGE_CHARS_MAX, chunk};
use serde::Deserialize;

use super::{Place, has, in_turn, lines, some_text};
use crate::memory::case::Case;
use crate::memory::choice::{cut, option};
use crate::memory::error::MemoryBenchError;
use crate::memory::tasks::doc_qa::{self, Question};

/// The file whose answers are in free words.
const FREE: &str = "natural_question.jsonl";

/// The file whose questions have options.
const CHOICE: &str = "quality.jsonl";

/// Either, in the order of their cases.
pub(crate) const FILES: [&str; 2] = [FREE, CHOICE];

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

/// Reads the articles of a folder: of each file that it has, a question of each article in turn. Each has a memory of
/// its own, as when it is put in once and asked about many times.
pub(crate) fn cases(folder: &Path) -> Result<Vec<Case>, MemoryBenchError> {
    let mut cases = Vec::new();
    for file in FILES.into_iter().filter(|file| has(folder, file)) {
        let mut of_file = Vec::new();
        for Document { place, id, text, asked } in documents(folder, file)? {
            let memory = doc_qa::memory(&chunk(&text, DocumentFormat::Text, PASSAGE_CHARS_MAX));
            for (number, (question, answer)) in (1..).zip(asked) {
                let (text, answer, options) = match file {
                    CHOICE => with_options(&place, &question, &answer)?,
                    _ => (question, answer, Vec::new()),
                };
                let question = Question {
                    id: format!("leval-{id}-{number}"),
                    labels: BTreeMap::from([
                        ("document".into(), id.clone()),
                        ("file".into(), file.trim_end_matches(".jsonl").into()),
                    ]),
                    text,
                    answers: vec![answer],
                    options,
                    // The set does not say where in the document the answer is.
                    evidence: Vec::new(),
                };
                of_file.push((id.clone(), doc_qa::case(question, &memory)));
            }
        }
        cases.extend(in_turn(of_file));
    }
    Ok(cases)
}

/// Cuts a question into itself and its options; the answer is one of them, and its letter says which.
fn with_options(
    place: &Place,
    question: &str,
    answer: &str,
) -> Result<(String, String, Vec<String>), MemoryBenchError> {
    let Some((text, options)) = cut(question) else {
        return Err(place.wrong("an instruction has no options (A), (B) and so on, a line each"));
    };
    some_text(place, "an instruction before its options", &text)?;
    let right = options.iter().find(|one| {
        let letter = |text| option(text).map(|(letter, _)| letter);
        letter(one).is_some() && letter(one) == letter(answer)
    });
    match right.cloned() {
        Some(answer) => Ok((text, answer, options)),
        None => Err(place.wrong(format!("an output begins with no option's letter: {answer}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;
    use crate::memory::score::answers;

    fn load(lines: &[Value]) -> Result<Vec<Case>, String> {
        load_files(&[(FREE, lines)])
    }

    fn load_files(files: &[(&str, &[Value])]) -> Result<Vec<Case>, String> {
        let folder = tempfile::tempdir().unwrap();
        for (file, lines) in files {
            let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
            fs::write(folder.path().join(file), lines.join("\n")).unwrap();
        }
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

    const WHO: &str = "Who built the mill?\n\n (A) Ada\n (B) The miller\n (C) Nobody\n (D) A king";

    #[test]
    fn a_question_with_options_is_asked_with_them() {
        let lines = [line("quality:7", &[WHO], &["(B) The miller"], "The miller built it.")];
        let cases = load_files(&[(CHOICE, &lines)]).unwrap();
        let [case] = &cases[..] else { panic!("{cases:?}") };
        assert_eq!(case.id, "leval-quality:7-1");
        assert_eq!((&*case.labels["file"], &*case.labels["document"]), ("quality", "quality:7"));
        let asked = "Who built the mill?\n(A) Ada\n(B) The miller\n(C) Nobody\n(D) A king\n\
            Answer with the letter of the right option.";
        for text in [&case.messages[0].text, &case.baseline.after, &case.baseline.alone] {
            assert!(text.ends_with(asked), "{text}");
        }
        assert_eq!(case.baseline.query, "Who built the mill?");
        assert_eq!(case.gold.answers, ["(B) The miller"]);
        assert_eq!(case.gold.decoys, ["(A) Ada", "(C) Nobody", "(D) A king"]);
        assert_eq!(case.memory.passages[0].text, "The miller built it.");
        let is_right = |reply: &str| answers(&case.gold, reply);
        assert!(is_right("ANSWER: (B), DOCUMENT: (A) Ada did it."));
        assert!(!is_right("ANSWER: Ada, DOCUMENT: (B) The miller built it."));
    }

    #[test]
    fn those_with_options_stand_behind_the_others() {
        let free = [
            line("n:0", &["who", "when"], &["Ada", "1911"], "A mill."),
            line("n:1", &["where"], &["Bern"], "A bridge."),
        ];
        let choice = ["q:0", "q:1"]
            .map(|id| line(id, &[WHO, WHO], &["(A) Ada", "(C)"], "Once there was a mill."));
        let ids = |files: &[(&str, &[Value])]| -> Vec<String> {
            load_files(files).unwrap().into_iter().map(|case| case.id).collect()
        };
        let alone = ids(&[(FREE, &free)]);
        assert_eq!(alone, ["leval-n:0-1", "leval-n:1-1", "leval-n:0-2"]);
        let both = ids(&[(CHOICE, &choice), (FREE, &free)]);
        assert_eq!(both[..3], alone);
        assert_eq!(both[3..], ["leval-q:0-1", "leval-q:1-1", "leval-q:0-2", "leval-q:1-2"]);
        assert_eq!(both[3..], ids(&[(CHOICE, &choice)]));
    }

    #[test]
    fn a_question_without_its_options_is_refused() {
        let check = |question: &str, answer: &str, expected: &str| {
            let error = load_files(&[(CHOICE, &[line("0", &[question], &[answer], "x")])]);
            let error = error.unwrap_err();
            assert!(error.contains(expected), "{error}, not {expected}");
        };
        check("Who?", "(A) Ada", "quality.jsonl, line 1: an instruction has no options (A), (B)");
        check("(A) Ada\n(B) Ida", "(A) Ada", "an instruction before its options is empty");
        check(WHO, "(E) Ada", "an output begins with no option's letter: (E) Ada");
        check(WHO, "Ada", "an output begins with no option's letter: Ada");
    }
}
