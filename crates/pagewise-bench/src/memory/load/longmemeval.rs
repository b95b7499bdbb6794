//! LongMemEval: one list of questions, each with its own history of sessions.

use std::path::Path;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Value;

use super::{Place, has, some_text, values};
use crate::memory::case::{Case, PastSession, PastTurn, Speaker};
use crate::memory::error::MemoryBenchError;
use crate::memory::tasks::longmemeval::{self, ABSTENTION, Question};

/// The names that the set was published under, without their endings: of these the first that is there.
pub(crate) const NAMES: [&str; 4] =
    ["longmemeval_s", "longmemeval_s_cleaned", "longmemeval_oracle", "longmemeval"];

/// As sessions and questions are dated, without the day of the week: `2023/05/20 (Sat) 02:21`.
const DATE: &str = "%Y/%m/%d %H:%M";

/// Numbers are written as words in replies up to this one.
const NUMBER_WORDS: [&str; 13] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve",
];

#[derive(Debug, Deserialize)]
struct Entry {
    question_id: String,
    question_type: String,
    question: String,
    /// Text, or a number.
    answer: Value,
    question_date: String,
    haystack_dates: Vec<String>,
    haystack_sessions: Vec<Vec<Turn>>,
    #[serde(default)]
    haystack_session_ids: Vec<String>,
    #[serde(default)]
    answer_session_ids: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Turn {
    role: String,
    content: String,
    #[serde(default)]
    has_answer: bool,
}

/// Returns the name of the set in a folder: a list (`.json`, or without an ending, as one of the servers has it), or a
/// line for each question (`.jsonl`).
pub(crate) fn set_in(folder: &Path) -> Option<&'static str> {
    NAMES.into_iter().find(|name| file(folder, name).is_some())
}

fn file(folder: &Path, name: &str) -> Option<String> {
    [".json", ".jsonl", ""]
        .map(|ending| format!("{name}{ending}"))
        .into_iter()
        .find(|file| has(folder, file))
}

/// Reads the questions of a set.
pub(crate) fn cases(folder: &Path, name: &str) -> Result<Vec<Case>, MemoryBenchError> {
    let file = file(folder, name).unwrap_or_else(|| format!("{name}.json"));
    let read: Vec<(Place, Entry)> = values(folder, &file)?;
    read.into_iter().map(|(place, entry)| Ok(longmemeval::case(question(&place, entry)?))).collect()
}

fn question(place: &Place, entry: Entry) -> Result<Question, MemoryBenchError> {
    let Entry { question_id: id, question_type: kind, question: text, .. } = entry;
    some_text(place, "question", &text)?;
    some_text(place, "question_type", &kind)?;
    let answers = answers(&entry.answer);
    if answers.iter().all(|answer| answer.is_empty()) && !id.ends_with(ABSTENTION) {
        return Err(place.wrong("answer is neither a text nor a number"));
    }
    let date = |name: &str, date: &str| {
        timestamp(date).ok_or_else(|| {
            place.wrong(format!("{name} has {date:?}, no date like 2023/05/20 (Sat) 02:21"))
        })
    };
    let at = date("question_date", &entry.question_date)?;
    let (n, m) = (entry.haystack_sessions.len(), entry.haystack_dates.len());
    if n != m {
        return Err(place.wrong(format!("{n} haystack_sessions, but {m} haystack_dates")));
    }
    let ids = entry.haystack_session_ids;
    if let Some(id) = entry.answer_session_ids.iter().find(|id| !ids.contains(id)) {
        return Err(
            place.wrong(format!("there is no haystack session {id:?}, which has the answer"))
        );
    }
    let mut evidence = Vec::new();
    let mut sessions = Vec::new();
    for (turns, session_date) in entry.haystack_sessions.into_iter().zip(&entry.haystack_dates) {
        let mut said = Vec::new();
        for Turn { role, content, has_answer } in turns {
            let speaker = match role.as_str() {
                "user" => Speaker::User,
                "assistant" => Speaker::Assistant,
                other => {
                    return Err(
                        place.wrong(format!("there is no role {other:?}, only user and assistant"))
                    );
                }
            };
            // Some turns are empty in the public set; nobody says nothing.
            if content.trim().is_empty() {
                continue;
            }
            if has_answer {
                evidence.push(content.clone());
            }
            said.push(PastTurn { speaker, text: content });
        }
        if !said.is_empty() {
            sessions.push(PastSession { at: date("haystack_dates", session_date)?, turns: said });
        }
    }
    if sessions.is_empty() {
        return Err(place.wrong("there is no haystack session with a turn"));
    }
    // The set does not promise an order, and recall storage has one.
    sessions.sort_by_key(|session| session.at);
    Ok(Question { id, kind, text, answers, decoys: Vec::new(), at, sessions, evidence })
}

/// The answer; a small number also as a word.
fn answers(answer: &Value) -> Vec<String> {
    match answer {
        Value::String(text) => vec![text.trim().to_string()],
        Value::Number(number) => {
            let word = number.as_u64().and_then(|number| usize::try_from(number).ok());
            let word = word.and_then(|number| NUMBER_WORDS.get(number));
            [number.to_string()].into_iter().chain(word.map(ToString::to_string)).collect()
        }
        _ => Vec::new(),
    }
}

fn timestamp(date: &str) -> Option<Timestamp> {
    let without_weekday = match (date.find('('), date.find(')')) {
        (Some(from), Some(to)) if from < to => format!("{} {}", &date[..from], &date[to + 1..]),
        _ => date.to_string(),
    };
    let words: Vec<&str> = without_weekday.split_whitespace().collect();
    let date = DateTime::strptime(DATE, words.join(" ")).ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::memory::case::Metric;

    fn entry(id: &str, answer: Value) -> Value {
        json!({
            "question_id": id, "question_type": "single-session-user",
            "question": "How many geese did I buy?", "answer": answer,
            "question_date": "2024/03/10 (Sun) 18:05",
            "haystack_dates": ["2024/02/20 (Tue) 09:15", "2024/02/01 (Thu) 11:40"],
            "haystack_session_ids": ["s2", "s1"],
            "haystack_sessions": [
                [{"role": "user", "content": "I bought three geese.", "has_answer": true},
                 {"role": "assistant", "content": "Lovely."}],
                [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": ""}],
            ],
            "answer_session_ids": ["s2"],
        })
    }

    fn load(name: &str, text: &str) -> Result<(String, Vec<Case>), String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), text).unwrap();
        let set = set_in(folder.path()).ok_or("no set")?;
        let cases = cases(folder.path(), set).map_err(|error| {
            error.to_string().replace(&folder.path().display().to_string(), "DIR")
        })?;
        Ok((set.into(), cases))
    }

    #[test]
    fn a_question_has_its_own_history_at_its_own_date() {
        let list = json!([entry("a", 3.into()), entry("b_abs", "You never said.".into())]);
        let (set, cases) = load("longmemeval_s.json", &list.to_string()).unwrap();
        assert_eq!(set, "longmemeval_s");
        assert_eq!(load("longmemeval_oracle", &list.to_string()).unwrap().0, "longmemeval_oracle");
        let case = &cases[0];
        assert_eq!(case.gold.answers, ["3", "three"]);
        assert_eq!(case.gold.evidence, ["I bought three geese."]);
        assert_eq!(case.memory.now.unwrap().to_string(), "2024-03-10T18:05:00Z");
        // In the order of their dates, and without what was not said.
        assert_eq!(
            case.memory.material.pieces,
            [
                "2024-02-01, User: Hello",
                "2024-02-20, User: I bought three geese.",
                "2024-02-20, You: Lovely."
            ]
        );
        assert_eq!(
            (&*case.labels["type"], &*case.labels["answerable"]),
            ("single-session-user", "yes")
        );
        assert_eq!(cases[1].gold.metric, Metric::Abstains);
        assert_eq!(cases[1].labels["answerable"], "no");
        let line = entry("a", "geese".into()).to_string();
        assert_eq!(load("longmemeval.jsonl", &line).unwrap().1[0].gold.answers, ["geese"]);
        assert_eq!(load("other.json", "[]").unwrap_err(), "no set");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_entry() {
        let check = |change: &dyn Fn(&mut Value), expected: &str| {
            let mut wrong = entry("b", "x".into());
            change(&mut wrong);
            let list = json!([entry("a", "x".into()), wrong]);
            let said = load("longmemeval_oracle.json", &list.to_string()).unwrap_err();
            assert!(
                said.contains(&format!("DIR/longmemeval_oracle.json, entry 2: {expected}")),
                "{said}"
            );
        };
        check(&|entry| entry["answer"] = json!([]), "answer is neither a text nor a number");
        check(
            &|entry| entry["question_date"] = "May".into(),
            "question_date has \"May\", no date like",
        );
        check(
            &|entry| entry["haystack_dates"] = json!([]),
            "2 haystack_sessions, but 0 haystack_dates",
        );
        check(
            &|entry| entry["answer_session_ids"] = json!(["s9"]),
            "there is no haystack session \"s9\"",
        );
        check(
            &|entry| entry["haystack_sessions"][0][0]["role"] = "tool".into(),
            "there is no role \"tool\"",
        );
        check(
            &|entry| entry["haystack_sessions"] = json!([[], []]),
            "there is no haystack session with a turn",
        );
        let said = load("longmemeval_s.json", "[\n{\"question_id\": 1}]").unwrap_err();
        assert!(said.contains("longmemeval_s.json, line 2: not as its format says"), "{said}");
    }
}
