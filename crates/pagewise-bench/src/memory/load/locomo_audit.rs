//! The audit of LoCoMo: for each question the golden answer and two that are wrong on purpose, one of them
//! specific, one vague.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{Place, lines, some_text};
use crate::memory::error::MemoryBenchError;

const SPECIFIC: &str = "wrong_answers_v1.jsonl";
const VAGUE: &str = "wrong_answers_v2.jsonl";

/// A question with answers that are known to be right and wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AuditRow {
    pub(crate) question: String,
    pub(crate) gold: String,
    /// A specific one and a vague one.
    pub(crate) wrong: [String; 2],
}

#[derive(Debug, Deserialize)]
struct Line {
    question_id: String,
    question: String,
    golden_answer: Value,
    generated_answer: String,
}

/// Reads the questions of a folder, or of its folder `locomo_audit`, in the order of the first file; only
/// those that have an answer in both.
pub(crate) fn rows(folder: &Path) -> Result<Vec<AuditRow>, MemoryBenchError> {
    let inner = folder.join("locomo_audit");
    let folder = [folder, inner.as_path()]
        .into_iter()
        .find(|folder| super::has(folder, SPECIFIC) && super::has(folder, VAGUE))
        .ok_or_else(|| MemoryBenchError::NoAudit { path: folder.into() })?;
    let mut vague = HashMap::new();
    for (place, line) in lines::<Line>(folder, VAGUE)? {
        some_text(&place, "an answer", &line.generated_answer)?;
        vague.insert(line.question_id, line.generated_answer);
    }
    let mut rows = Vec::new();
    for (place, line) in lines::<Line>(folder, SPECIFIC)? {
        let gold = gold(&place, &line.golden_answer)?;
        some_text(&place, "the question", &line.question)?;
        some_text(&place, "an answer", &line.generated_answer)?;
        if let Some(vague) = vague.remove(&line.question_id) {
            let wrong = [line.generated_answer, vague];
            rows.push(AuditRow { question: line.question, gold, wrong });
        }
    }
    if rows.is_empty() {
        return Err(MemoryBenchError::NoAudit { path: folder.into() });
    }
    Ok(rows)
}

/// A few golden answers are numbers.
fn gold(place: &Place, value: &Value) -> Result<String, MemoryBenchError> {
    match value {
        Value::String(text) => Ok(some_text(place, "the golden answer", text)?.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(place.wrong("the golden answer is neither a text nor a number")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn line(id: &str, gold: Value, answer: &str) -> String {
        let question = format!("What of {id}?");
        serde_json::json!({
            "question_id": id, "question": question, "golden_answer": gold,
            "generated_answer": answer, "category": "1", "sample_id": "x",
        })
        .to_string()
    }

    fn load(specific: &[String], vague: &[String]) -> Result<Vec<AuditRow>, String> {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("locomo_audit");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join(SPECIFIC), specific.join("\n")).unwrap();
        fs::write(inner.join(VAGUE), vague.join("\n")).unwrap();
        rows(folder.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_question_has_a_right_and_two_wrong_answers() {
        let specific =
            [line("a", "rye".into(), "oats"), line("b", 7.into(), "9"), line("c", "x".into(), "y")];
        let vague = [line("b", 7.into(), "a few"), line("a", "rye".into(), "some grain")];
        let rows = load(&specific, &vague).unwrap();
        let found: Vec<_> = rows.iter().map(|row| (&*row.gold, &row.wrong)).collect();
        let expected = [
            ("rye", &["oats".into(), "some grain".into()]),
            ("7", &["9".to_string(), "a few".into()]),
        ];
        assert_eq!(found, expected);
        assert_eq!(rows[0].question, "What of a?");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let good = line("a", "rye".into(), "oats");
        let check = |specific: &str, expected: &str| {
            let error = load(&[specific.into()], std::slice::from_ref(&good)).unwrap_err();
            assert!(error.contains(expected), "{error}, not {expected}");
        };
        check(&line("a", Value::Null, "oats"), "v1.jsonl, line 1: the golden answer is neither");
        check(&line("a", "rye".into(), " "), "line 1: an answer is empty");
        check("{}", "line 1: not as its format says");
        check(&line("z", "rye".into(), "oats"), "has no answers to measure a judge");
        let empty = tempfile::tempdir().unwrap();
        assert!(
            rows(empty.path()).is_err_and(|error| error.to_string().contains("wrong_answers_v1"))
        );
    }
}
