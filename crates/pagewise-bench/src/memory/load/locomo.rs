//! LoCoMo: a conversation over months in each line, or all in upstream's one list (`locomo10.json`).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Value;

use super::{Place, first, some_text, values};
use crate::memory::case::{Case, Speaker};
use crate::memory::error::MemoryBenchError;
use crate::memory::tasks::locomo::{self, Category, Question, Talk, TalkSession};

/// The file with a conversation in each line.
const LINES: &str = "locomo.jsonl";

/// Upstream's file.
const LIST: &str = "locomo10.json";

/// Either.
pub(crate) const FILES: [&str; 2] = [LINES, LIST];

/// As sessions are dated: `1:56 pm on 8 May, 2023`.
const DATE: &str = "%I:%M %p on %d %B, %Y";

#[derive(Debug, Deserialize)]
struct Entry {
    sample_id: String,
    conversation: Conversation,
    qa: Vec<Asked>,
}

#[derive(Debug, Deserialize)]
struct Conversation {
    speaker_a: String,
    speaker_b: String,
    /// `session_N` and `session_N_date_time`.
    #[serde(flatten)]
    sessions: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Turn {
    speaker: String,
    dia_id: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    blip_caption: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(default)]
    question_id: Option<String>,
    question: String,
    /// Text, or a number.
    #[serde(default)]
    answer: Option<Value>,
    #[serde(default)]
    adversarial_answer: Option<Value>,
    #[serde(default)]
    evidence: Vec<String>,
    category: usize,
}

/// Reads the conversations of a folder.
pub(crate) fn cases(folder: &Path) -> Result<Vec<Case>, MemoryBenchError> {
    let file = first(folder, &FILES).unwrap_or(LINES);
    let read: Vec<(Place, Entry)> = values(folder, file)?;
    let mut cases = Vec::new();
    for (place, entry) in read {
        cases.extend(locomo::cases(&talk(&place, entry)?));
    }
    Ok(cases)
}

fn talk(place: &Place, entry: Entry) -> Result<Talk, MemoryBenchError> {
    let Entry { sample_id, conversation, qa } = entry;
    let Conversation { speaker_a, speaker_b, sessions } = conversation;
    let names = [speaker_a, speaker_b];
    let mut numbered: Vec<(usize, Vec<Turn>)> = Vec::new();
    for (key, value) in &sessions {
        // A session may be dated and not there.
        let Some(number) = key.strip_prefix("session_").and_then(|rest| rest.parse().ok()) else {
            continue;
        };
        let turns = Vec::deserialize(value)
            .map_err(|error| place.wrong(format!("{key} is not as its format says: {error}")))?;
        numbered.push((number, turns));
    }
    numbered.sort_by_key(|(number, _)| *number);
    let mut places = HashMap::new();
    let mut talked: Vec<TalkSession> = Vec::new();
    for (number, turns) in numbered {
        let key = format!("session_{number}_date_time");
        let date = sessions.get(&key).and_then(Value::as_str);
        let date = date.ok_or_else(|| place.wrong(format!("there is no {key}")))?;
        let at = timestamp(date)
            .ok_or_else(|| place.wrong(format!("{key} is no date like 1:56 pm on 8 May, 2023")))?;
        let mut said = Vec::new();
        for turn in turns {
            let speaker = match names.iter().position(|name| *name == turn.speaker) {
                Some(0) => Speaker::User,
                Some(_) => Speaker::Assistant,
                None => {
                    let [a, b] = &names;
                    let other = &turn.speaker;
                    return Err(
                        place.wrong(format!("there is no speaker {other:?}, only {a} and {b}"))
                    );
                }
            };
            let text = match &turn.blip_caption {
                Some(caption) => format!("{} [shows a photo: {caption}]", turn.text.trim()),
                None => turn.text.trim().to_string(),
            };
            some_text(place, &turn.dia_id, &text)?;
            places.insert(turn.dia_id, (talked.len(), said.len()));
            said.push((speaker, text));
        }
        talked.push(TalkSession { at, turns: said });
    }
    if talked.is_empty() {
        return Err(place.wrong("there is no session"));
    }
    let questions = (0..)
        .zip(qa)
        .map(|(number, asked)| question(place, &sample_id, number, asked, &places))
        .collect::<Result<_, _>>()?;
    Ok(Talk { id: sample_id, names, sessions: talked, questions })
}

fn question(
    place: &Place,
    sample_id: &str,
    number: usize,
    asked: Asked,
    places: &HashMap<String, (usize, usize)>,
) -> Result<Question, MemoryBenchError> {
    let id = asked.question_id.unwrap_or_else(|| format!("{sample_id}-q{number}"));
    let category = asked.category.checked_sub(1).and_then(|index| Category::ALL.get(index));
    let Some(category) = category.copied() else {
        return Err(place.wrong(format!("{id} is of category {}, not of 1 to 5", asked.category)));
    };
    some_text(place, &format!("the question of {id}"), &asked.question)?;
    let answer = asked.answer.as_ref().and_then(text).unwrap_or_default();
    if category != Category::Adversarial {
        some_text(place, &format!("the answer of {id}"), &answer)?;
    }
    // Some evidence is several turns in one string, and some is no turn at all.
    let evidence = asked.evidence.iter().flat_map(|one| one.split([';', ',', ' ']));
    let evidence = evidence.filter_map(|one| places.get(one.trim()).copied()).collect();
    Ok(Question {
        id,
        category,
        text: asked.question,
        answer,
        decoy: asked.adversarial_answer.as_ref().and_then(text),
        evidence,
    })
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn timestamp(date: &str) -> Option<Timestamp> {
    let date = DateTime::strptime(DATE, date).ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::memory::case::Metric;

    fn entry() -> Value {
        json!({
            "sample_id": "conv-x",
            "conversation": {
                "speaker_a": "Odette", "speaker_b": "Quirin",
                "session_2_date_time": "10:05 am on 3 June, 2024",
                "session_2": [
                    {"speaker": "Quirin", "dia_id": "D2:1", "text": "Look!", "img_url": ["x"],
                     "blip_caption": "a red kite"},
                ],
                "session_1_date_time": "1:56 pm on 28 May, 2024",
                "session_1": [
                    {"speaker": "Odette", "dia_id": "D1:1", "text": "I sold the boat yesterday."},
                    {"speaker": "Quirin", "dia_id": "D1:2", "text": "I never had one."},
                ],
                "session_10_date_time": "9:00 am on 1 July, 2024",
            },
            "qa": [
                {"question": "When did Odette sell the boat?", "answer": "27 May 2024",
                 "evidence": ["D1:1"], "category": 2},
                {"question": "What did both show?", "answer": "a kite, a boat",
                 "evidence": ["D1:1; D2:1", "D"], "category": 1},
                {"question": "Why did Quirin sell the boat?", "adversarial_answer": "no use",
                 "evidence": ["D1:1"], "category": 5},
                {"question": "How many boats?", "answer": 1, "evidence": [], "category": 4,
                 "question_id": "own"},
                {"question": "Does Odette like water?", "answer": "Likely no; she sold the boat",
                 "evidence": ["D1:1"], "category": 3},
            ],
        })
    }

    fn load(name: &str, text: &str) -> Result<Vec<Case>, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), text).unwrap();
        cases(folder.path())
            .map_err(|error| error.to_string().replace(&folder.path().display().to_string(), "DIR"))
    }

    #[test]
    fn both_layouts_give_the_same_cases() {
        let cases = load(LINES, &entry().to_string()).unwrap();
        let listed = load(LIST, &format!("{:#}", json!([entry()]))).unwrap();
        let ids =
            |cases: &[Case]| -> Vec<String> { cases.iter().map(|case| case.id.clone()).collect() };
        // One of each category in turn.
        assert_eq!(ids(&cases), ["conv-x-q1", "conv-x-q0", "conv-x-q4", "own", "conv-x-q2"]);
        assert_eq!(ids(&cases), ids(&listed));
        let memory = &cases[0].memory;
        let texts: Vec<&str> = (memory.sessions.iter())
            .flat_map(|session| session.turns.iter().map(|turn| &*turn.text))
            .collect();
        assert_eq!(
            texts,
            [
                "Odette: I sold the boat yesterday.",
                "Quirin: I never had one.",
                "Quirin: Look! [shows a photo: a red kite]",
            ]
        );
        assert_eq!(memory.sessions[0].at.to_string(), "2024-05-28T13:56:00Z");
        assert_eq!(memory.now.unwrap().to_string(), "2024-06-04T10:05:00Z");
        assert_eq!(
            memory.material.pieces[2],
            "3 June 2024, Quirin: Look! [shows a photo: a red kite]"
        );
        assert_eq!(cases[0].gold.metric, Metric::StemF1OfParts);
        assert_eq!(cases[0].gold.evidence, [texts[0], texts[2]]);
        assert_eq!(cases[2].gold.answers, ["Likely no"]);
        assert_eq!(cases[3].gold.answers, ["1"]);
        assert_eq!(cases[4].gold.metric, Metric::NotMentioned);
        assert_eq!(cases[4].gold.decoys, ["no use"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let check = |change: &dyn Fn(&mut Value), expected: &str| {
            let mut wrong = entry();
            change(&mut wrong);
            let said = load(LINES, &format!("{}\n{wrong}", entry())).unwrap_err();
            assert!(said.contains(&format!("DIR/locomo.jsonl, line 2: {expected}")), "{said}");
            let said = load(LIST, &json!([entry(), wrong]).to_string()).unwrap_err();
            assert!(said.contains(&format!("DIR/locomo10.json, entry 2: {expected}")), "{said}");
        };
        check(&|entry| entry["qa"][0]["category"] = 6.into(), "conv-x-q0 is of category 6");
        check(&|entry| entry["qa"][0]["answer"] = Value::Null, "the answer of conv-x-q0 is empty");
        check(
            &|entry| entry["qa"][0]["question"] = " ".into(),
            "the question of conv-x-q0 is empty",
        );
        let conversation = |key: &'static str, value: Value| {
            move |entry: &mut Value| entry["conversation"][key] = value.clone()
        };
        check(
            &conversation("session_1_date_time", "28 May".into()),
            "session_1_date_time is no date like 1:56 pm on 8 May, 2023",
        );
        check(&conversation("session_3", json!([])), "there is no session_3_date_time");
        check(&conversation("session_1", json!([{}])), "session_1 is not as its format says");
        check(&conversation("speaker_a", "Xenia".into()), "there is no speaker \"Odette\"");
        let said = load(LIST, "[\n{}]").unwrap_err();
        assert!(said.contains("locomo10.json, line 2: not as its format says"), "{said}");
    }
}
