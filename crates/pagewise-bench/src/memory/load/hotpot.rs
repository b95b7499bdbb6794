//! HotpotQA, distractor setting: the paragraphs of all questions in one memory.

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;

use super::{Place, lines, some_text};
use crate::memory::case::Case;
use crate::memory::error::MemoryBenchError;
use crate::memory::tasks::doc_qa::{self, Question};

#[derive(Debug, Deserialize)]
struct Line {
    id: String,
    question: String,
    answer: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    supporting_facts: Supporting,
    context: Context,
}

#[derive(Debug, Deserialize)]
struct Supporting {
    title: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Context {
    title: Vec<String>,
    sentences: Vec<Vec<String>>,
}

/// Reads the questions of a folder.
pub(crate) fn cases(folder: &Path) -> Result<Vec<Case>, MemoryBenchError> {
    let read: Vec<(Place, Line)> = lines(folder, "hotpot_distractor.jsonl")?;
    let mut seen = HashSet::new();
    let mut texts = Vec::new();
    let mut questions = Vec::new();
    for (place, line) in read {
        let paragraphs = paragraphs(&place, &line.context)?;
        let evidence = paragraphs
            .iter()
            .filter(|(title, _)| line.supporting_facts.title.contains(title))
            .map(|(_, text)| text.clone())
            .collect::<Vec<_>>();
        if evidence.is_empty() {
            return Err(place.wrong("none of the paragraphs is one of the supporting facts"));
        }
        for (_, text) in paragraphs {
            if seen.insert(text.clone()) {
                texts.push(text);
            }
        }
        some_text(&place, "question", &line.question)?;
        some_text(&place, "answer", &line.answer)?;
        questions.push(Question {
            id: format!("hotpot-{}", line.id),
            labels: line.kind.into_iter().map(|kind| ("type".to_string(), kind)).collect(),
            text: line.question,
            answers: vec![line.answer],
            evidence,
        });
    }
    let memory = doc_qa::memory(&texts);
    Ok(questions.into_iter().map(|question| doc_qa::case(question, &memory)).collect())
}

/// Title and text of each paragraph; the text begins with the title.
fn paragraphs(place: &Place, context: &Context) -> Result<Vec<(String, String)>, MemoryBenchError> {
    if context.title.len() != context.sentences.len() {
        return Err(place.wrong("context has not as many titles as paragraphs"));
    }
    let texts = context.title.iter().zip(&context.sentences);
    Ok(texts
        .map(|(title, sentences)| {
            let text: Vec<&str> = sentences.iter().map(|sentence| sentence.trim()).collect();
            (title.clone(), format!("{title}: {}", text.join(" ")))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    fn load(lines: &[Value]) -> Result<Vec<Case>, String> {
        let folder = tempfile::tempdir().unwrap();
        let text: Vec<String> = lines.iter().map(Value::to_string).collect();
        fs::write(folder.path().join("hotpot_distractor.jsonl"), text.join("\n")).unwrap();
        cases(folder.path()).map_err(|error| error.to_string())
    }

    fn line(id: &str, supporting: &str, titles: &[&str]) -> Value {
        json!({"id": id, "question": "Who built the mill?", "answer": "Ada", "type": null,
            "supporting_facts": {"title": [supporting], "sent_id": [0]},
            "context": {"title": titles, "sentences": [["Ada built it. ", "It is red."], ["Far away."]]}})
    }

    #[test]
    fn paragraphs_of_all_questions_are_pooled() {
        let cases =
            load(&[line("a", "Mill", &["Mill", "Sea"]), line("b", "Mill", &["Mill", "Hill"])])
                .unwrap();
        let texts: Vec<&str> =
            cases[0].memory.passages.iter().map(|passage| &*passage.text).collect();
        assert_eq!(texts, ["Mill: Ada built it. It is red.", "Sea: Far away.", "Hill: Far away."]);
        assert_eq!(cases[1].gold.evidence, ["Mill: Ada built it. It is red."]);
        assert!(std::sync::Arc::ptr_eq(&cases[0].memory, &cases[1].memory));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let error =
            load(&[line("a", "Mill", &["Mill", "Sea"]), line("b", "Lake", &["Mill", "Sea"])]);
        assert!(error.unwrap_err().contains("line 2: none of the paragraphs"));
        let error = load(&[line("a", "Mill", &["Mill"])]).unwrap_err();
        assert!(error.contains("line 1: context has not as many titles as paragraphs"), "{error}");
    }
}
