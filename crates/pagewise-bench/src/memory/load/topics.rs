//! L-Eval's topic retrieval on LongChat: a conversation in each line, with its questions.

use std::path::Path;

use super::leval::{Document, documents};
use crate::memory::case::{Case, PastTurn, Speaker};
use crate::memory::error::MemoryBenchError;
use crate::memory::tasks::topic_retrieval::{self, Asked};

/// Reads the conversations of a folder.
pub(crate) fn cases(folder: &Path) -> Result<Vec<Case>, MemoryBenchError> {
    let mut cases = Vec::new();
    for Document { place, id, text, asked } in documents(folder, "topic_retrieval_longchat.jsonl")?
    {
        let turns = turns(&text);
        if turns.is_empty() {
            return Err(place.wrong("input has no turn that begins with USER: or ASSISTANT:"));
        }
        let memory = topic_retrieval::memory(&turns);
        for (position, (question, topic)) in (1..).zip(asked) {
            let asked = Asked { question, topic, position };
            cases.push(topic_retrieval::case(format!("{id}-{position}"), &asked, &memory));
        }
    }
    Ok(cases)
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

    use serde_json::json;

    use super::*;

    fn load(questions: &[&str], answers: &[&str], input: &str) -> Result<Vec<Case>, String> {
        let folder = tempfile::tempdir().unwrap();
        let line = json!({"id": "t:0", "instructions": questions, "outputs": answers,
            "input": input, "source": "", "evaluation": "exam"});
        let file = folder.path().join("topic_retrieval_longchat.jsonl");
        fs::write(file, line.to_string()).unwrap();
        cases(folder.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_conversation_is_cut_into_turns() {
        let input =
            "USER: Let us discuss old mills. \n ASSISTANT: Gladly. \n USER: Now salt roads. ";
        let cases = load(&["first?", "second?"], &["Old mills", "Salt roads"], input).unwrap();
        let turns = &cases[0].memory.sessions[0].turns;
        let texts: Vec<&str> = turns.iter().map(|turn| &*turn.text).collect();
        assert_eq!(texts, ["Let us discuss old mills.", "Gladly.", "Now salt roads."]);
        assert_eq!(turns[1].speaker, Speaker::Assistant);
        assert_eq!(cases[1].gold.evidence, ["Now salt roads."]);
        assert_eq!(cases[1].labels["position"], "2");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let check = |answers: &[&str], input: &str, expected: &str| {
            let error = load(&["first?"], answers, input).unwrap_err();
            assert!(error.contains(expected), "{error}, not {expected}");
        };
        check(&["a", "b"], "USER: x", "line 1: 1 instructions, but 2 outputs");
        check(&["a"], "nobody speaks", "line 1: input has no turn");
        check(&[" "], "USER: x", "line 1: an output is empty");
    }
}
