//! HotpotQA, distractor setting: the paragraphs of all questions in one memory. The questions stand in lines, with
//! titles and texts in columns, or in upstream's one list, with pairs of them.

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;

use super::{Place, first, some_text, values};
use crate::memory::case::Case;
use crate::memory::error::MemoryBenchError;
use crate::memory::tasks::doc_qa::{self, Question};

/// The file with a question in each line, and upstream's.
pub(crate) const FILES: [&str; 2] = ["hotpot_distractor.jsonl", "hotpot_dev_distractor_v1.json"];

#[derive(Debug, Deserialize)]
struct Line {
    #[serde(alias = "_id")]
    id: String,
    question: String,
    answer: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    supporting_facts: Supporting,
    context: Context,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Supporting {
    Columns {
        title: Vec<String>,
    },
    /// Title, and number of the sentence.
    Pairs(Vec<(String, i64)>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Context {
    Columns { title: Vec<String>, sentences: Vec<Vec<String>> },
    Pairs(Vec<(String, Vec<String>)>),
}

/// Reads the questions of a folder.
pub(crate) fn cases(folder: &Path) -> Result<Vec<Case>, MemoryBenchError> {
    let file = first(folder, &FILES).unwrap_or(FILES[0]);
    let read: Vec<(Place, Line)> = values(folder, file)?;
    let mut seen = HashSet::new();
    let mut texts = Vec::new();
    let mut questions = Vec::new();
    for (place, line) in read {
        let paragraphs = paragraphs(&place, line.context)?;
        let supporting = match line.supporting_facts {
            Supporting::Columns { title } => title,
            Supporting::Pairs(pairs) => pairs.into_iter().map(|(title, _)| title).collect(),
        };
        let evidence = paragraphs
            .iter()
            .filter(|(title, _)| supporting.contains(title))
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
            options: Vec::new(),
            evidence,
        });
    }
    let memory = doc_qa::memory(&texts);
    Ok(questions.into_iter().map(|question| doc_qa::case(question, &memory)).collect())
}

/// Title and text of each paragraph; the text begins with the title.
fn paragraphs(place: &Place, context: Context) -> Result<Vec<(String, String)>, MemoryBenchError> {
    let pairs = match context {
        Context::Columns { title, sentences } if title.len() != sentences.len() => {
            return Err(place.wrong("context has not as many titles as paragraphs"));
        }
        Context::Columns { title, sentences } => title.into_iter().zip(sentences).collect(),
        Context::Pairs(pairs) => pairs,
    };
    let paragraph = |(title, sentences): (String, Vec<String>)| {
        let text: Vec<&str> = sentences.iter().map(|sentence| sentence.trim()).collect();
        let text = format!("{title}: {}", text.join(" "));
        (title, text)
    };
    Ok(pairs.into_iter().map(paragraph).collect())
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
    fn upstream_s_list_gives_the_same_cases() {
        let upstream = |id: &str, supporting: Value| {
            json!({"_id": id, "question": "Who built the mill?", "answer": "Ada", "type": "bridge",
                "level": "hard", "supporting_facts": supporting,
                "context": [["Mill", ["Ada built it. ", "It is red."]], ["Sea", ["Far away."]]]})
        };
        let load_list = |entries: &[Value]| {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(FILES[1]), json!(entries).to_string()).unwrap();
            cases(folder.path()).map_err(|error| error.to_string())
        };
        let own = load(&[line("a", "Mill", &["Mill", "Sea"])]).unwrap();
        let cases = load_list(&[upstream("a", json!([["Mill", 0], ["Mill", 1]]))]).unwrap();
        assert_eq!((&cases[0].id, &cases[0].gold), (&own[0].id, &own[0].gold));
        assert_eq!(cases[0].memory.passages, own[0].memory.passages);
        assert_eq!(cases[0].labels["type"], "bridge");
        let error = load_list(&[upstream("a", json!([["Lake", 0]]))]).unwrap_err();
        assert!(error.contains("_v1.json, entry 1: none of the paragraphs"), "{error}");
        let error = load_list(&[upstream("a", json!([["Lake"]]))]).unwrap_err();
        assert!(error.contains("_v1.json, line 1: not as its format says"), "{error}");
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
