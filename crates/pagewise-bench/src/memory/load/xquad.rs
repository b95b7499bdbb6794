//! XQuAD, English: articles in the layout of SQuAD 1.1, one in a line or all in upstream's one object; all
//! paragraphs in one memory.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{Place, entries, has, in_turn, lines, some_text, whole};
use crate::memory::case::Case;
use crate::memory::error::MemoryBenchError;
use crate::memory::tasks::doc_qa::{self, Question};

/// The file with an article in each line.
const LINES: &str = "xquad.en.jsonl";

/// Upstream's file.
const SQUAD: &str = "xquad.en.json";

/// Either.
pub(crate) const FILES: [&str; 2] = [LINES, SQUAD];

#[derive(Debug, Deserialize)]
struct Squad {
    data: Vec<Article>,
}

#[derive(Debug, Deserialize)]
struct Article {
    title: String,
    paragraphs: Vec<Paragraph>,
}

#[derive(Debug, Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Asked>,
}

#[derive(Debug, Deserialize)]
struct Asked {
    id: String,
    question: String,
    answers: Vec<Answer>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    text: String,
}

/// Reads the questions of a folder, one of each article in turn.
pub(crate) fn cases(folder: &Path) -> Result<Vec<Case>, MemoryBenchError> {
    let read: Vec<(Place, Article)> = match has(folder, LINES) {
        true => lines(folder, LINES)?,
        false => {
            let (path, Squad { data }) = whole(folder, SQUAD)?;
            entries(&path, data)
        }
    };
    let mut texts = Vec::new();
    let mut questions = Vec::new();
    for (article, (place, Article { title, paragraphs })) in read.into_iter().enumerate() {
        for Paragraph { context, qas } in paragraphs {
            some_text(&place, "context", &context)?;
            let text = format!("{}: {context}", title.replace('_', " "));
            for Asked { id, question, answers } in qas {
                some_text(&place, "question", &question)?;
                let answers: Vec<String> = answers.into_iter().map(|answer| answer.text).collect();
                if answers.iter().all(|answer| answer.trim().is_empty()) {
                    return Err(place.wrong(format!("the question {id} has no answer")));
                }
                let question = Question {
                    id: format!("xquad-{id}"),
                    labels: BTreeMap::new(),
                    text: question,
                    answers,
                    options: Vec::new(),
                    evidence: vec![text.clone()],
                };
                questions.push((article, question));
            }
            texts.push(text);
        }
    }
    let memory = doc_qa::memory(&texts);
    let questions = in_turn(questions).into_iter();
    Ok(questions.map(|question| doc_qa::case(question, &memory)).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    fn article(title: &str, answer: &str) -> Value {
        let asked = |id: &str| {
            json!({"id": format!("{title}{id}"), "question": "What is it?",
            "answers": [{"text": answer, "answer_start": 0}]})
        };
        json!({"title": title, "paragraphs": [{"context": "A mill.", "qas": [asked("1"), asked("2")]}]})
    }

    fn load(lines: &[Value]) -> Result<Vec<Case>, String> {
        let text: Vec<String> = lines.iter().map(Value::to_string).collect();
        load_file(LINES, &text.join("\n"))
    }

    fn load_file(name: &str, text: &str) -> Result<Vec<Case>, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), text).unwrap();
        cases(folder.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn articles_are_asked_about_in_turn() {
        let cases = load(&[article("A_b", "a mill"), article("C", "a mill")]).unwrap();
        let ids: Vec<&str> = cases.iter().map(|case| &*case.id).collect();
        assert_eq!(ids, ["xquad-A_b1", "xquad-C1", "xquad-A_b2", "xquad-C2"]);
        assert_eq!(cases[0].gold.evidence, ["A b: A mill."]);
        assert_eq!(cases[0].memory.passages.len(), 2);
    }

    #[test]
    fn upstream_s_one_object_gives_the_same_cases() {
        let load_squad = |articles: &[Value]| {
            let squad = json!({"version": "1.1", "data": articles});
            load_file(SQUAD, &format!("{squad:#}"))
        };
        let articles = [article("A_b", "a mill"), article("C", "a mill")];
        let (cases, own) = (load_squad(&articles).unwrap(), load(&articles).unwrap());
        let ids =
            |cases: &[Case]| -> Vec<String> { cases.iter().map(|case| case.id.clone()).collect() };
        assert_eq!(ids(&cases), ids(&own));
        assert_eq!(cases[3].gold, own[3].gold);
        let error = load_squad(&[article("A", "a mill"), article("B", "")]).unwrap_err();
        assert!(error.contains("xquad.en.json, entry 2: the question B1 has no answer"), "{error}");
        let error = load_file(SQUAD, "{\n\"data\": 7}").unwrap_err();
        assert!(error.contains("xquad.en.json, line 2: not as its format says"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let error = load(&[article("A", "a mill"), article("B", "")]).unwrap_err();
        assert!(error.contains("line 2: the question B1 has no answer"), "{error}");
        assert!(load(&[json!([])]).unwrap_err().contains("line 1: not as its format says"));
    }
}
