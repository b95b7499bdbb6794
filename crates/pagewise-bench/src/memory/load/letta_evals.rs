//! The core memory sets of MemGPT's authors: facts about people, questions, and facts that contradict them.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Place, has, in_turn, lines, some_text};
use crate::memory::case::Case;
use crate::memory::error::MemoryBenchError;
use crate::memory::tasks::core_memory::{Asked, Change, read, update, write};

const READ: &str = "core_memory_read.jsonl";
const UPDATE: &str = "core_memory_update.jsonl";

#[derive(Debug, Deserialize)]
struct Line {
    /// Upstream has none.
    id: Option<usize>,
    input: String,
    ground_truth: String,
    agent_args: Arguments,
}

#[derive(Debug, Deserialize)]
struct Arguments {
    extra: Extra,
}

#[derive(Debug, Deserialize)]
struct Extra {
    facts: Vec<String>,
    contradicting_fact: Option<String>,
    contradicting_answer: Option<String>,
    supporting_fact_indices: Option<Vec<usize>>,
}

/// Whether a folder has the set.
pub(crate) fn is_in(folder: &Path) -> bool {
    has(&home(folder, READ), READ)
}

/// Returns where a file is: in the folder itself, or in a folder of its own, as in upstream's `letta-leaderboard`.
fn home(folder: &Path, file: &str) -> PathBuf {
    let name = file.trim_end_matches(".jsonl");
    let upstream = format!("{}-agent/datasets", name.replace('_', "-"));
    let homes = ["", name, &upstream].map(|home| folder.join(home));
    let found = homes.into_iter().find(|home| has(home, file));
    found.unwrap_or_else(|| folder.into())
}

/// Reads the files of a folder: a question about each set of facts in turn, with its three kinds together
/// (reading, updating and writing), where each is there.
///
/// Which facts support a question stands in the file of updates alone, and both files have the same
/// questions; without it a case has no evidence, and writing cannot be asked.
pub(crate) fn cases(folder: &Path) -> Result<Vec<Case>, MemoryBenchError> {
    let reads: Vec<(Place, Line)> = lines(&home(folder, READ), READ)?;
    let updates: Vec<(Place, Line)> = lines(&home(folder, UPDATE), UPDATE)?;
    let mut by_facts: Vec<(&[String], Vec<Case>)> = Vec::new();
    let n = reads.len().max(updates.len());
    for number in 0..n {
        let changed = updates.get(number);
        let mut cases = Vec::new();
        let mut known: &[String] = &[];
        if let Some((place, line)) = reads.get(number) {
            let same = changed.filter(|(_, other)| other.input == line.input);
            let supporting = match same {
                Some((_, other)) => supporting(place, other)?,
                None => Vec::new(),
            };
            let asked = asked(place, line, line.ground_truth.clone(), supporting)?;
            known = facts(place, line)?;
            cases.push(read(&id(place, line), known, &asked));
        }
        if let Some((place, line)) = changed {
            let id = id(place, line);
            known = facts(place, line)?;
            let extra = &line.agent_args.extra;
            let (Some(fact), Some(answer)) =
                (&extra.contradicting_fact, &extra.contradicting_answer)
            else {
                return Err(place.wrong("there is no contradicting_fact with its answer"));
            };
            let supporting = supporting(place, line)?;
            let before = reads.get(number).filter(|(_, other)| other.input == line.input);
            let answer_before =
                before.map_or_else(String::new, |(_, other)| other.ground_truth.clone());
            let asked = Asked { question: line.input.clone(), answer: answer_before, supporting };
            some_text(place, "input", &asked.question)?;
            // The set quotes some of its facts.
            let fact = some_text(place, "contradicting_fact", fact)?.trim_matches('"').to_string();
            let answer = some_text(place, "contradicting_answer", answer)?.to_string();
            cases.push(update(&id, known, &asked, &Change { fact, answer }));
            if !asked.answer.is_empty() {
                cases.push(write(&id, known, &asked));
            }
        }
        by_facts.push((known, cases));
    }
    Ok(in_turn(by_facts).concat())
}

fn id(place: &Place, line: &Line) -> String {
    line.id.unwrap_or_else(|| place.row()).to_string()
}

fn facts<'a>(place: &Place, line: &'a Line) -> Result<&'a [String], MemoryBenchError> {
    let facts = &line.agent_args.extra.facts;
    if facts.is_empty() {
        return Err(place.wrong("there are no facts"));
    }
    for fact in facts {
        some_text(place, "a fact", fact)?;
    }
    Ok(facts)
}

fn supporting(place: &Place, line: &Line) -> Result<Vec<usize>, MemoryBenchError> {
    let extra = &line.agent_args.extra;
    let supporting = extra.supporting_fact_indices.clone().unwrap_or_default();
    match supporting.iter().find(|at| **at >= extra.facts.len()) {
        Some(at) => Err(place.wrong(format!("there is no fact {at}, only {}", extra.facts.len()))),
        None if supporting.is_empty() => Err(place.wrong("supporting_fact_indices is empty")),
        None => Ok(supporting),
    }
}

fn asked(
    place: &Place,
    line: &Line,
    answer: String,
    supporting: Vec<usize>,
) -> Result<Asked, MemoryBenchError> {
    some_text(place, "input", &line.input)?;
    some_text(place, "ground_truth", &answer)?;
    Ok(Asked { question: line.input.clone(), answer, supporting })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    fn load(read: &Value, update: &Value) -> Result<Vec<Case>, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, line) in [("core_memory_read", read), ("core_memory_update", update)] {
            fs::write(folder.path().join(format!("{name}.jsonl")), line.to_string()).unwrap();
        }
        cases(folder.path()).map_err(|error| error.to_string())
    }

    fn line(answer: &str, extra: &Value) -> Value {
        json!({"id": 3, "input": "Who cooks?", "ground_truth": answer, "agent_args": {"extra": extra}})
    }

    fn change(facts: &[&str], supporting: &[usize]) -> Value {
        json!({"facts": facts, "contradicting_fact": "\"Bo cooks.\"", "contradicting_answer": "Bo",
            "supporting_fact_indices": supporting})
    }

    const FACTS: &[&str] = &["Cy cooks.", "Bo sails."];

    #[test]
    fn both_sets_give_three_kinds() {
        let read = line("Cy", &json!({"facts": FACTS}));
        let cases = load(&read, &line("Bo", &change(FACTS, &[0]))).unwrap();
        let ids: Vec<&str> = cases.iter().map(|case| &*case.id).collect();
        assert_eq!(ids, ["read-3", "update-3", "write-3"]);
        assert_eq!(cases[0].gold.evidence, ["Cy cooks."]);
        assert!(
            cases[1].messages[0].text.ends_with(": Bo cooks."),
            "{}",
            cases[1].messages[0].text
        );
        let answers: Vec<&str> = cases.iter().map(|case| &*case.gold.answers[0]).collect();
        assert_eq!(answers, ["Cy", "Bo", "Cy"]);
    }

    #[test]
    fn every_set_of_facts_is_asked_about_in_turn() {
        let line = |id: u64, facts: &str| {
            json!({"id": id, "input": "Who cooks?", "ground_truth": "Cy",
                "agent_args": {"extra": change(&[facts], &[0])}})
            .to_string()
        };
        let both = [line(1, "Cy cooks."), line(2, "Cy cooks."), line(3, "Cy, who sings, cooks.")];
        let folder = tempfile::tempdir().unwrap();
        for name in ["core_memory_read", "core_memory_update"] {
            fs::write(folder.path().join(format!("{name}.jsonl")), both.join("\n")).unwrap();
        }
        let cases = cases(folder.path()).unwrap();
        let ids: Vec<&str> = cases.iter().map(|case| &*case.id).collect();
        let of_each = |n: u64| ["read", "update", "write"].map(|kind| format!("{kind}-{n}"));
        assert_eq!(ids, [of_each(1), of_each(3), of_each(2)].concat());
    }

    #[test]
    fn upstream_has_each_file_in_its_own_folder_and_no_names() {
        let line = |answer: &str, extra: &Value| {
            let mut line = line(answer, extra);
            line.as_object_mut().unwrap().shift_remove("id");
            line.to_string()
        };
        let read = line("Cy", &json!({"facts": FACTS}));
        let update = line("Bo", &change(FACTS, &[0]));
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_in(folder.path()));
        let write = |file: &str, first: &str, second: &str| {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{first}\n{second}\n")).unwrap();
        };
        let updates = "core-memory-update-agent/datasets/core_memory_update.jsonl";
        write("core-memory-read-agent/datasets/core_memory_read.jsonl", &read, &read);
        write(updates, &update, &update);
        assert!(is_in(folder.path()));
        let read = cases(folder.path()).unwrap();
        let ids: Vec<&str> = read.iter().map(|case| &*case.id).collect();
        assert_eq!(ids, ["read-0", "update-0", "write-0", "read-1", "update-1", "write-1"]);
        write(updates, &update, "{}");
        let error = cases(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("{updates}, line 2: not as its format says")), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let read = line("Cy", &json!({"facts": FACTS}));
        let check = |read: &Value, update: &Value, expected: &str| {
            let error = load(read, update).unwrap_err();
            assert!(error.contains(expected), "{error}, not {expected}");
        };
        check(&read, &line("Bo", &change(FACTS, &[2])), "line 1: there is no fact 2, only 2");
        check(&read, &line("Bo", &change(FACTS, &[])), "supporting_fact_indices is empty");
        check(
            &line("Cy", &json!({"facts": []})),
            &line("Bo", &change(FACTS, &[0])),
            "there are no facts",
        );
        check(
            &line(" ", &json!({"facts": FACTS})),
            &line("Bo", &change(FACTS, &[0])),
            "ground_truth is empty",
        );
        check(
            &read,
            &line("Bo", &json!({"facts": FACTS, "supporting_fact_indices": [0]})),
            "no contradicting_fact",
        );
        check(
            &read,
            &json!({"id": -1}),
            "core_memory_update.jsonl, line 1: not as its format says",
        );
    }
}
