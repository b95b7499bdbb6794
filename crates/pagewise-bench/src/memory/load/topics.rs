//! L-Eval's topic retrieval on LongChat: a conversation in each line, with its questions.

use std::path::Path;

use super::in_turn;
use super::leval::{Document, documents};
use crate::memory::case::{Case, PastTurn, Speaker};
use crate::memory::error::MemoryBenchError;
use crate::memory::tasks::topic_retrieval::{self, Asked};

/// Reads the conversations of a folder, a question on each in turn: on one its first topic, on the next its
/// second.
pub(crate) fn cases(folder: &Path) -> Result<Vec<Case>, MemoryBenchError> {
    let mut cases = Vec::new();
    let documents = documents(folder, "topic_retrieval_longchat.jsonl")?;
    for (number, Document { place, id, text, asked }) in documents.into_iter().enumerate() {
        let turns = turns(&text);
        if turns.is_empty() {
            return Err(place.wrong("input has no turn that begins with USER: or ASSISTANT:"));
        }
        let memory = topic_retrieval::memory(&turns);
        let mut asked: Vec<Asked> = (1..)
            .zip(asked)
            .map(|(position, (question, topic))| Asked { question, topic, position })
            .collect();
        let n_asked = asked.len().max(1);
        asked.rotate_left(number % n_asked);
        cases.extend(asked.iter().map(|asked| {
            let case_id = format!("{id}-{}", asked.position);
            (id.clone(), topic_retrieval::case(case_id, asked, &memory))
        }));
    }
    Ok(in_turn(cases))
}

/// Cuts a conversation at the names of its speakers. What stands before the first name is nobody's.
fn turns(text: &str) -> Vec<PastTurn> {
    const NAMES: [(&str, Speaker); 2] =
        [("USER:", Speaker::User), ("ASSISTANT:", Speaker::Assistant)];
    let mut starts: Vec<(usize, usize, Speaker)> = NAMES
        .iter()
        .flat_map(|(name, speaker)| {
            text.match_indices(name).map(|(at, name)| (at, at + name.len(), *speaker))
        })
        .collect();
    starts.sort_unstable();
    let ends = starts.iter().skip(1).map(|(at, ..)| *at).chain([text.len()]);
    let all = starts.iter().zip(ends).map(|((_, from, speaker), to)| PastTurn {
        speaker: *speaker,
        text: text[*from..to].trim().to_string(),
    });
    all.filter(|turn| !turn.text.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    fn load(lines: &[Value]) -> Result<Vec<Case>, String> {
        let folder = tempfile::tempdir().unwrap();
        let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
        let file = folder.path().join("topic_retrieval_longchat.jsonl");
        fs::write(file, lines.join("\n")).unwrap();
        cases(folder.path()).map_err(|error| error.to_string())
    }

    fn line(id: &str, questions: &[&str], answers: &[&str], input: &str) -> Value {
        json!({"id": id, "instructions": questions, "outputs": answers, "input": input, "source": "",
            "evaluation": "exam"})
    }

    #[test]
    fn a_conversation_is_cut_into_turns() {
        let input =
            "USER: Let us discuss old mills. \n ASSISTANT: Gladly. \n USER: Now salt roads. ";
        let line = line("t:0", &["first?", "second?"], &["Old mills", "Salt roads"], input);
        let cases = load(&[line]).unwrap();
        let turns = &cases[0].memory.sessions[0].turns;
        let texts: Vec<&str> = turns.iter().map(|turn| &*turn.text).collect();
        assert_eq!(texts, ["Let us discuss old mills.", "Gladly.", "Now salt roads."]);
        assert_eq!(turns[1].speaker, Speaker::Assistant);
        assert_eq!(cases[1].gold.evidence, ["Now salt roads."]);
        assert_eq!(cases[1].labels["position"], "2");
    }

    #[test]
    fn a_conversation_without_a_name_has_that_of_its_row() {
        let mut line = line("", &["first?"], &["x"], "USER: x");
        line.as_object_mut().unwrap().shift_remove("id");
        assert_eq!(load(&[line]).unwrap()[0].id, "topic_retrieval_longchat:0-1");
    }

    #[test]
    fn few_cases_are_of_all_conversations_and_all_positions() {
        let asked = ["first?", "second?", "third?"];
        let lines =
            ["a", "b", "c", "d"].map(|id| line(id, &asked, &["x", "y", "z"], "USER: x y z"));
        let cases = load(&lines).unwrap();
        let ids: Vec<&str> = cases.iter().map(|case| &*case.id).collect();
        assert_eq!(ids[..4], ["a-1", "b-2", "c-3", "d-1"]);
        assert_eq!(ids[4..8], ["a-2", "b-3", "c-1", "d-2"]);
        assert_eq!(ids[8..], ["a-3", "b-1", "c-2", "d-3"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let check = |answers: &[&str], input: &str, expected: &str| {
            let error = load(&[line("t:0", &["first?"], answers, input)]).unwrap_err();
            assert!(error.contains(expected), "{error}, not {expected}");
        };
        check(&["a", "b"], "USER: x", "line 1: 1 instructions, but 2 outputs");
        check(&["a"], "nobody speaks", "line 1: input has no turn");
        check(&[" "], "USER: x", "line 1: an output is empty");
    }
}
