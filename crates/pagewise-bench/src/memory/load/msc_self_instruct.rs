//! MSC-Self-Instruct, the paper's own set: five sessions of two speakers in each line, and a question about them with
//! its answer.
//!
//! The agent plays speaker A and is asked by B. Personas and summaries are not read: they say in short what was said,
//! some of the answers among it. Nor are the hours and days between sessions, which are a week apart here.

use std::path::Path;

use serde::Deserialize;

use super::{Place, some_text, values};
use crate::memory::case::{Case, Speaker};
use crate::memory::error::MemoryBenchError;
use crate::memory::tasks::dmr::{self, Asked, Conversation, NotedTurn};

/// The file of the set.
pub(crate) const FILE: &str = "msc_self_instruct.jsonl";

/// The set in records.
pub(crate) const SOURCE: &str = "msc-self-instruct";

/// The speakers by name, where turns have one; elsewhere A has the even turns of a session, counted from 0.
const A: &str = "Speaker 1";
const B: &str = "Speaker 2";

#[derive(Debug, Deserialize)]
struct Line {
    previous_dialogs: Vec<Session>,
    /// The fifth session.
    dialog: Vec<Turn>,
    self_instruct: Pair,
}

#[derive(Debug, Deserialize)]
struct Session {
    dialog: Vec<Turn>,
}

#[derive(Debug, Deserialize)]
struct Turn {
    text: String,
    id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Pair {
    #[serde(rename = "B")]
    question: String,
    #[serde(rename = "A")]
    answer: String,
}

/// Reads the questions of a folder, each with a memory of its own.
pub(crate) fn cases(folder: &Path) -> Result<Vec<Case>, MemoryBenchError> {
    let read: Vec<(Place, Line)> = values(folder, FILE)?;
    read.into_iter().map(|(place, line)| Ok(dmr::asked(asked(&place, line)?))).collect()
}

fn asked(place: &Place, line: Line) -> Result<Asked, MemoryBenchError> {
    let Line { previous_dialogs, dialog, self_instruct: Pair { question, answer } } = line;
    some_text(place, "self_instruct.B", &question)?;
    some_text(place, "self_instruct.A", &answer)?;
    let mut sessions = Vec::new();
    for turns in previous_dialogs.into_iter().map(|session| session.dialog).chain([dialog]) {
        let mut said = Vec::new();
        for (number, Turn { text, id }) in turns.into_iter().enumerate() {
            let speaker = match id.as_deref().unwrap_or([A, B][number % 2]) {
                name if name.eq_ignore_ascii_case(A) => Speaker::Assistant,
                name if name.eq_ignore_ascii_case(B) => Speaker::User,
                other => {
                    return Err(
                        place.wrong(format!("there is no speaker {other:?}, only {A} and {B}"))
                    );
                }
            };
            // An empty turn has its place, and nobody says nothing.
            if !text.trim().is_empty() {
                said.push(NotedTurn { speaker, text, fact: String::new() });
            }
        }
        if !said.is_empty() {
            sessions.push(said);
        }
    }
    if sessions.is_empty() {
        return Err(place.wrong("nothing is said in any dialog"));
    }
    let conversation = Conversation { id: format!("{SOURCE}-{}", place.row()), sessions };
    Ok(Asked { conversation, question, answer })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;
    use crate::memory::case::Metric;

    fn line() -> Value {
        json!({
            "personas": [["I keep geese."], ["I sing."]],
            "previous_dialogs": [
                {"dialog": [{"text": "I keep geese."}, {"text": ""}, {"text": "Nine."}, {"text": "Oh!"}],
                 "time_num": 3, "time_unit": "days", "time_back": "3 days ago"},
                {"dialog": []},
            ],
            "dialog": [{"text": "How are they?", "id": "Speaker 2"}, {"text": "Fine.", "id": "speaker 1"}],
            "self_instruct": {"B": "How many geese did you have?", "A": "Nine geese."},
            "summary_speaker_1": [["I keep geese."]],
        })
    }

    fn load(lines: &[Value]) -> Result<Vec<Case>, String> {
        let folder = tempfile::tempdir().unwrap();
        let text: Vec<String> = lines.iter().map(Value::to_string).collect();
        fs::write(folder.path().join(FILE), text.join("\n")).unwrap();
        cases(folder.path())
            .map_err(|error| error.to_string().replace(&folder.path().display().to_string(), "DIR"))
    }

    #[test]
    fn the_agent_plays_the_first_speaker_and_the_second_asks() {
        let cases = load(&[line(), line()]).unwrap();
        let ids: Vec<&str> = cases.iter().map(|case| &*case.id).collect();
        assert_eq!(ids, ["msc-self-instruct-0", "msc-self-instruct-1"]);
        assert_eq!(cases[1].messages[0].text, "How many geese did you have?");
        assert_eq!(cases[1].gold.answers, ["Nine geese."]);
        assert_eq!(cases[1].gold.metric, Metric::Subspan);
        let said: Vec<Vec<(Speaker, &str)>> = (cases[0].memory.sessions.iter())
            .map(|one| one.turns.iter().map(|turn| (turn.speaker, &*turn.text)).collect())
            .collect();
        let (agent, user) = (Speaker::Assistant, Speaker::User);
        let first = vec![(agent, "I keep geese."), (agent, "Nine."), (user, "Oh!")];
        let second = vec![(user, "How are they?"), (agent, "Fine.")];
        assert_eq!(said, [first, second]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let check = |change: &dyn Fn(&mut Value), expected: &str| {
            let mut wrong = line();
            change(&mut wrong);
            let error = load(&[line(), wrong]).unwrap_err();
            let expected = format!("DIR/msc_self_instruct.jsonl, line 2: {expected}");
            assert!(error.contains(&expected), "{error}, not {expected}");
        };
        check(&|line| line["self_instruct"]["B"] = " ".into(), "self_instruct.B is empty");
        check(&|line| line["self_instruct"]["A"] = "".into(), "self_instruct.A is empty");
        check(&|line| line["dialog"][0]["id"] = "C".into(), "there is no speaker \"C\"");
        check(&|line| line["dialog"] = 7.into(), "not as its format says");
        let silent = |line: &mut Value| {
            line["dialog"] = json!([]);
            line["previous_dialogs"] = json!([{"dialog": [{"text": " "}]}]);
        };
        check(&silent, "nothing is said in any dialog");
    }
}
