//! The memory questions of the Berkeley Function Calling Leaderboard, version 4: in files of one layout, or
//! as the leaderboard's own repository has them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{Place, has, in_turn, lines, some_text, whole};
use crate::memory::case::Case;
use crate::memory::error::MemoryBenchError;
use crate::memory::tasks::bfcl_memory::{self, Question, Scenario};

/// The questions, with their answers and the conversations before them, as the files are called here.
const QUESTIONS: &str = "memory.jsonl";
const ANSWERS: &str = "memory_answers.jsonl";
const CONVERSATIONS: &str = "memory_prereq_conversation.jsonl";

/// As the leaderboard calls them; it has the conversations of each scenario in a file of their own.
const UPSTREAM_QUESTIONS: &str = "BFCL_v4_memory.json";
const UPSTREAM_ANSWERS: &str = "possible_answer/BFCL_v4_memory.json";

/// The questions in either layout.
pub(crate) const FILES: [&str; 2] = [QUESTIONS, UPSTREAM_QUESTIONS];

/// Who the agent is, scenario by scenario; a persona of our own takes its place where it is not there.
const PROMPTS: &str = "memory_prompts.json";

#[derive(Debug, Deserialize)]
struct Asked {
    id: String,
    question: Vec<Vec<Message>>,
    scenario: String,
}

#[derive(Debug, Deserialize)]
struct Answers {
    id: String,
    ground_truth: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Conversation {
    question: Vec<Vec<Message>>,
    scenario: String,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: String,
}

#[derive(Debug, Deserialize)]
struct Prompts {
    #[serde(default)]
    scenario_setting: BTreeMap<String, String>,
}

/// Reads all scenarios of a folder. Questions of different scenarios follow each other, so that a few cases
/// are about all of them.
pub(crate) fn cases(folder: &Path) -> Result<Vec<Case>, MemoryBenchError> {
    let is_upstream = !has(folder, QUESTIONS);
    let (questions, answers) = match is_upstream {
        true => (UPSTREAM_QUESTIONS, UPSTREAM_ANSWERS),
        false => (QUESTIONS, ANSWERS),
    };
    let asked: Vec<(Place, Asked)> = lines(folder, questions)?;
    let answers: Vec<(Place, Answers)> = lines(folder, answers)?;
    let personas = personas(folder)?;
    let mut scenarios: Vec<Scenario> = Vec::new();
    for (number, (place, line)) in asked.iter().enumerate() {
        let answered = answers.get(number).filter(|(_, answers)| answers.id == line.id);
        let Some((answer_place, answer)) = answered else {
            return Err(place.wrong(format!("{} has no answers in the same place", line.id)));
        };
        let question = question(place, line, answer_place, answer)?;
        let known = scenarios.iter_mut().find(|scenario| scenario.name == line.scenario);
        match known {
            Some(scenario) => scenario.questions.push(question),
            None => scenarios.push(Scenario {
                name: line.scenario.clone(),
                persona: persona(&personas, &line.scenario),
                conversations: Vec::new(),
                questions: vec![question],
            }),
        }
    }
    let names: Vec<String> = scenarios.iter().map(|scenario| scenario.name.clone()).collect();
    for (place, conversation) in conversations(folder, is_upstream, &names)? {
        let Some(scenario) = scenarios.iter_mut().find(|one| one.name == conversation.scenario)
        else {
            // A scenario of which nothing is asked.
            continue;
        };
        let turns = conversation
            .question
            .iter()
            .map(|turn| said(&place, turn))
            .collect::<Result<Vec<_>, _>>()?;
        if turns.is_empty() {
            return Err(place.wrong("the conversation has no turn"));
        }
        scenario.conversations.push(turns);
    }
    if let Some(scenario) = scenarios.iter().find(|scenario| scenario.conversations.is_empty())
        && let Some((place, _)) = asked.iter().find(|(_, line)| line.scenario == scenario.name)
    {
        return Err(place.wrong(format!("{} has no conversation", scenario.name)));
    }
    // A question of each scenario in turn, both ways of asking it together.
    let pairs = scenarios.iter().enumerate().flat_map(|(number, scenario)| {
        let cases = bfcl_memory::cases(scenario);
        cases.chunks(2).map(|pair| (number, pair.to_vec())).collect::<Vec<_>>()
    });
    Ok(in_turn(pairs).concat())
}

fn conversations(
    folder: &Path,
    is_upstream: bool,
    scenarios: &[String],
) -> Result<Vec<(Place, Conversation)>, MemoryBenchError> {
    if !is_upstream {
        return lines(folder, CONVERSATIONS);
    }
    let mut all = Vec::new();
    for scenario in scenarios {
        // The name becomes part of a path.
        if scenario.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            all.extend(lines(
                folder,
                &format!("memory_prereq_conversation/memory_{scenario}.json"),
            )?);
        }
    }
    Ok(all)
}

fn question(
    place: &Place,
    line: &Asked,
    answer_place: &Place,
    answer: &Answers,
) -> Result<Question, MemoryBenchError> {
    let [turn] = &line.question[..] else {
        return Err(place.wrong(format!("a question has one turn, not {}", line.question.len())));
    };
    if answer.ground_truth.is_empty() {
        return Err(answer_place.wrong("there is no answer"));
    }
    for text in &answer.ground_truth {
        some_text(answer_place, "an answer", text)?;
    }
    Ok(Question {
        id: line.id.clone(),
        labels: BTreeMap::new(),
        text: said(place, turn)?,
        answers: answer.ground_truth.clone(),
        decoys: Vec::new(),
        evidence: Vec::new(),
    })
}

/// What the user says in a turn.
fn said(place: &Place, turn: &[Message]) -> Result<String, MemoryBenchError> {
    let [message] = turn else {
        return Err(place.wrong(format!("a turn has one message, not {}", turn.len())));
    };
    if message.role != "user" {
        return Err(place.wrong(format!("a turn is the user's, not of {:?}", message.role)));
    }
    Ok(some_text(place, "a message", &message.content)?.to_string())
}

fn personas(folder: &Path) -> Result<BTreeMap<String, String>, MemoryBenchError> {
    if !has(folder, PROMPTS) {
        return Ok(BTreeMap::new());
    }
    let (_, prompts): (_, Prompts) = whole(folder, PROMPTS)?;
    Ok(prompts.scenario_setting)
}

fn persona(personas: &BTreeMap<String, String>, scenario: &str) -> String {
    match personas.get(scenario).filter(|text| !text.trim().is_empty()) {
        Some(text) => text.clone(),
        None => format!(
            "I am the user's assistant ({scenario}). I will meet the user again and be asked about what was \
             told, when the conversation is long over, so I save what may matter."
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    fn turn(text: &str) -> Value {
        json!([{"role": "user", "content": text}])
    }

    fn asked(number: usize, scenario: &str, text: &str) -> Value {
        json!({"id": format!("memory_{number}"), "question": [turn(text)], "scenario": scenario,
            "involved_classes": ["MemoryAPI"]})
    }

    fn answer(number: usize, answers: &[&str]) -> Value {
        json!({"id": format!("memory_{number}"), "ground_truth": answers, "source": "somewhere"})
    }

    fn told(scenario: &str, turns: &[&str]) -> Value {
        let turns: Vec<Value> = turns.iter().map(|text| turn(text)).collect();
        json!({"id": "c", "topic": "t", "question": turns, "scenario": scenario})
    }

    fn text(lines: &[Value]) -> String {
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn load(
        questions: &[Value],
        answers: &[Value],
        conversations: &[Value],
    ) -> Result<Vec<Case>, String> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, lines: &[Value]| {
            fs::write(folder.path().join(name), text(lines)).unwrap();
        };
        write(QUESTIONS, questions);
        write(ANSWERS, answers);
        write(CONVERSATIONS, conversations);
        cases(folder.path())
            .map_err(|error| error.to_string().replace(&folder.path().display().to_string(), "DIR"))
    }

    fn questions() -> Vec<Value> {
        vec![
            asked(0, "farm", "How many goats are there?"),
            asked(1, "farm", "Who shears them?"),
            asked(2, "mill", "What is ground?"),
        ]
    }

    fn answers() -> Vec<Value> {
        vec![answer(0, &["9", "nine"]), answer(1, &["Otto"]), answer(2, &["Rye"])]
    }

    fn conversations() -> Vec<Value> {
        vec![
            told("farm", &["Nine goats!", "Otto shears them."]),
            told("mill", &["We grind rye."]),
            told("farm", &["It rains."]),
            told("pub", &["Nobody asks."]),
        ]
    }

    fn check(cases: &[Case]) {
        let ids: Vec<&str> = cases.iter().map(|case| &*case.id).collect();
        let expected = [
            "memory_0-written",
            "memory_0-recall",
            "memory_2-written",
            "memory_2-recall",
            "memory_1-written",
            "memory_1-recall",
        ];
        assert_eq!(ids, expected);
        assert_eq!(cases[0].gold.answers, ["9", "nine"]);
        let turns: Vec<&[String]> =
            cases[0].memory.told.iter().map(|told| told.turns.as_slice()).collect();
        assert_eq!(turns, [&["Nine goats!", "Otto shears them."][..], &["It rains."]]);
        assert_eq!(cases[2].labels["scenario"], "mill");
    }

    #[test]
    fn a_scenario_has_its_conversations_in_order() {
        let cases = load(&questions(), &answers(), &conversations()).unwrap();
        check(&cases);
        assert!(cases[0].memory.blocks[0].value.contains("(farm)"), "{:?}", cases[0].memory.blocks);
    }

    #[test]
    fn the_leaderboard_s_own_files_are_read_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for inner in ["possible_answer", "memory_prereq_conversation"] {
            fs::create_dir(path(inner)).unwrap();
        }
        fs::write(path(UPSTREAM_QUESTIONS), text(&questions())).unwrap();
        fs::write(path(UPSTREAM_ANSWERS), text(&answers())).unwrap();
        for scenario in ["farm", "mill"] {
            let of_it: Vec<Value> =
                conversations().into_iter().filter(|one| one["scenario"] == scenario).collect();
            let name = format!("memory_prereq_conversation/memory_{scenario}.json");
            fs::write(path(&name), text(&of_it)).unwrap();
        }
        let setting = json!({"scenario_setting": {"farm": "You help on a farm."}});
        fs::write(path(PROMPTS), setting.to_string()).unwrap();
        let cases = cases(folder.path()).unwrap();
        check(&cases);
        assert_eq!(cases[0].memory.blocks[0].value, "You help on a farm.");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let fails = |questions: &[Value], answers: &[Value], told: &[Value], expected: &str| {
            let error = load(questions, answers, told).unwrap_err();
            assert!(error.contains(expected), "{error}, not {expected}");
        };
        let (asked, answered, talks) = (questions(), answers(), conversations());
        fails(&asked, &answered[..2], &talks, "DIR/memory.jsonl, line 3: memory_2 has no answers");
        fails(
            &asked,
            &[answer(0, &[])],
            &talks,
            "memory_answers.jsonl, line 1: there is no answer",
        );
        fails(&asked, &[answer(0, &[" "])], &talks, "line 1: an answer is empty");
        fails(&asked, &answered, &talks[..1], "line 3: mill has no conversation");
        fails(&asked, &answered, &[told("farm", &[])], "line 1: the conversation has no turn");
        fails(&asked, &answered, &[told("farm", &[""])], "line 1: a message is empty");
        let mut other = asked.clone();
        other[0]["question"][0][0]["role"] = "system".into();
        fails(&other, &answered, &talks, "memory.jsonl, line 1: a turn is the user's");
        other[0] = json!({"id": "memory_0"});
        fails(&other, &answered, &talks, "memory.jsonl, line 1: not as its format says");
    }
}
