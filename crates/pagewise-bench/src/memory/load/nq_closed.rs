//! Questions of NaturalQuestions-Open over their own gold passages.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;

use super::{Place, has, lines, some_text};
use crate::memory::case::Case;
use crate::memory::error::MemoryBenchError;
use crate::memory::tasks::doc_qa::{self, Question};

#[derive(Debug, Deserialize)]
struct PassageLine {
    id: String,
    title: String,
    text: String,
}

#[derive(Debug, Deserialize)]
struct QuestionLine {
    id: u64,
    question: String,
    answers: Vec<String>,
    gold_passage: String,
}

/// Reads the questions of a folder; all passages are in the memory of each.
pub(crate) fn cases(folder: &Path) -> Result<Vec<Case>, MemoryBenchError> {
    if !has(folder, "passages.jsonl") {
        let error = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(MemoryBenchError::file(folder.join("passages.jsonl"), &error));
    }
    let read: Vec<(Place, PassageLine)> = lines(folder, "passages.jsonl")?;
    let mut passages = HashMap::new();
    let mut texts = Vec::new();
    for (place, PassageLine { id, title, text }) in read {
        some_text(&place, "text", &text)?;
        let text = format!("{title}: {text}");
        texts.push(text.clone());
        if passages.insert(id.clone(), text).is_some() {
            return Err(place.wrong(format!("the passage {id:?} is there twice")));
        }
    }
    let memory = doc_qa::memory(&texts);
    let read: Vec<(Place, QuestionLine)> = lines(folder, "questions.jsonl")?;
    read.into_iter()
        .map(|(place, line)| {
            some_text(&place, "question", &line.question)?;
            if line.answers.iter().all(|answer| answer.trim().is_empty()) {
                return Err(place.wrong("there is no answer"));
            }
            let Some(evidence) = passages.get(&line.gold_passage) else {
                return Err(place.wrong(format!("there is no passage {:?}", line.gold_passage)));
            };
            let question = Question {
                id: format!("nq-{}", line.id),
                labels: BTreeMap::new(),
                text: line.question,
                answers: line.answers,
                options: Vec::new(),
                evidence: vec![evidence.clone()],
            };
            Ok(doc_qa::case(question, &memory))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn load(passages: &str, questions: &str) -> Result<Vec<Case>, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("passages.jsonl"), passages).unwrap();
        fs::write(folder.path().join("questions.jsonl"), questions).unwrap();
        cases(folder.path()).map_err(|error| error.to_string())
    }

    const PASSAGES: &str = "{\"id\": \"p0\", \"title\": \"Harbour\", \"text\": \"It opened in 1911.\"}\n\
        {\"id\": \"p1\", \"title\": \"Mill\", \"text\": \"It burnt down.\"}\n";

    fn question(passage: &str, answer: &str) -> String {
        serde_json::json!({"id": 4, "question": "when did the harbour open", "answers": [answer],
            "gold_passage": passage})
        .to_string()
    }

    #[test]
    fn all_passages_are_in_memory_and_one_is_the_evidence() {
        let cases = load(PASSAGES, &question("p0", "1911")).unwrap();
        let case = &cases[0];
        assert_eq!((&*case.id, case.memory.passages.len()), ("nq-4", 2));
        assert_eq!(case.gold.evidence, ["Harbour: It opened in 1911."]);
        assert!(case.messages[0].text.ends_with("the question: when did the harbour open?"));
        assert_eq!(case.baseline.query, "when did the harbour open?");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let check = |passages: &str, questions: &str, expected: &str| {
            let error = load(passages, questions).unwrap_err();
            assert!(error.contains(expected), "{error}, not {expected}");
        };
        let good = question("p0", "1911");
        check(
            PASSAGES,
            &format!("{good}\n{}", question("p7", "x")),
            "questions.jsonl, line 2: there is no passage \"p7\"",
        );
        check(PASSAGES, &question("p0", " "), "line 1: there is no answer");
        check(
            &PASSAGES.replace("p1", "p0"),
            &good,
            "passages.jsonl, line 2: the passage \"p0\" is there twice",
        );
        check(&PASSAGES.replace("It burnt down.", ""), &good, "line 2: text is empty");
        check("{}", &good, "passages.jsonl, line 1: not as its format says");
    }
}
