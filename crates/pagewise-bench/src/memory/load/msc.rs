//! Multi-Session Chat with the facts that its workers noted: a conversation in each line.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{Place, lines, some_text};
use crate::memory::case::{Case, Speaker};
use crate::memory::error::MemoryBenchError;
use crate::memory::tasks::dmr::{self, CONVERSATIONS, Conversation, Frequencies, NotedTurn};
use crate::memory::tasks::opener::{self, Acquaintance};

/// The file of the set.
pub(crate) const FILE: &str = "conversations.jsonl";

/// The speaker who opens every session. For openers it is the agent; elsewhere it is the user.
const OPENER: &str = "A";

const OTHER: &str = "B";

#[derive(Debug, Deserialize)]
struct Line {
    id: String,
    #[serde(default)]
    init_personas: BTreeMap<String, Vec<String>>,
    sessions: Vec<Session>,
}

#[derive(Debug, Deserialize)]
struct Session {
    turns: Vec<Turn>,
    #[serde(default)]
    followup: String,
}

#[derive(Debug, Deserialize)]
struct Turn {
    speaker: String,
    text: String,
    #[serde(default)]
    fact: String,
}

/// Reads the conversations of a folder, and makes cases of four at a time. What is left over is not used.
pub(crate) fn cases(folder: &Path) -> Result<Vec<Case>, MemoryBenchError> {
    let conversations = conversations(folder)?;
    // Which words are rare shows in all of them.
    let frequencies = Frequencies::of(&conversations);
    Ok(conversations
        .chunks_exact(CONVERSATIONS)
        .flat_map(|group| dmr::cases("msc", group, &frequencies))
        .collect())
}

/// Reads the conversations of a folder.
pub(crate) fn conversations(folder: &Path) -> Result<Vec<Conversation>, MemoryBenchError> {
    let read: Vec<(Place, Line)> = lines(folder, FILE)?;
    read.into_iter().map(|(place, line)| conversation(&place, line, OPENER)).collect()
}

/// Reads the conversations of a folder for the one who would open the next session: what the other told,
/// and the opener that a worker wrote.
pub(crate) fn openers(folder: &Path) -> Result<Vec<Case>, MemoryBenchError> {
    let read: Vec<(Place, Line)> = lines(folder, FILE)?;
    let acquaintances = read
        .into_iter()
        .map(|(place, mut line)| {
            let mut facts = line.init_personas.remove(OTHER).unwrap_or_default();
            let human = line.sessions.last().map(|session| session.followup.trim().to_string());
            let conversation = conversation(&place, line, OTHER)?;
            let noted = opener::facts_of_user(&conversation);
            facts.extend(noted.iter().cloned());
            if facts.is_empty() {
                return Err(place.wrong("nothing is known of speaker B: no init_personas, no fact"));
            }
            let human = human.filter(|human| !human.is_empty());
            Ok(Acquaintance { conversation, noted, facts, human })
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(opener::cases("msc", &acquaintances))
}

fn conversation(place: &Place, line: Line, user: &str) -> Result<Conversation, MemoryBenchError> {
    let Line { id, sessions, .. } = line;
    let turn = |turn: Turn| {
        let speaker = match turn.speaker.as_str() {
            one if one == user => Speaker::User,
            OPENER | OTHER => Speaker::Assistant,
            other => {
                return Err(place.wrong(format!("there is no speaker {other:?}, only A and B")));
            }
        };
        some_text(place, "a turn", &turn.text)?;
        Ok(NotedTurn { speaker, text: turn.text, fact: turn.fact })
    };
    let sessions = sessions
        .into_iter()
        .map(|session| session.turns.into_iter().map(turn).collect::<Result<Vec<_>, _>>())
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Conversation { id, sessions })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn line(id: &str, speaker: &str, text: &str, fact: &str) -> String {
        serde_json::json!({"id": id, "sessions": [{"session": 1, "turns": [
            {"id": "S1:0", "speaker": speaker, "text": text, "fact": fact},
        ]}]})
        .to_string()
    }

    fn load(text: &str, is_packed: bool) -> Result<Vec<Case>, String> {
        let folder = tempfile::tempdir().unwrap();
        if is_packed {
            let file = fs::File::create(folder.path().join("conversations.jsonl.gz")).unwrap();
            let mut packer = GzEncoder::new(file, Compression::fast());
            packer.write_all(text.as_bytes()).unwrap();
            packer.finish().unwrap();
        } else {
            fs::write(folder.path().join("conversations.jsonl"), text).unwrap();
        }
        cases(folder.path())
            .map_err(|error| error.to_string().replace(&folder.path().display().to_string(), "DIR"))
    }

    #[test]
    fn four_conversations_are_in_one_store() {
        let said = ["accordions", "chandeliers", "houseboats", "wheelbarrows", "tablecloths"];
        let places = ["dock", "mill", "farm", "inn", "park"];
        let text: Vec<String> = said
            .iter()
            .zip(places)
            .enumerate()
            .map(|(n, (said, place))| {
                let text = format!("Behind the old {place} we sell {said}.");
                line(&format!("c{n}"), "A", &text, &format!("I sell {said} at the {place}."))
            })
            .collect();
        for is_packed in [false, true] {
            let cases = load(&text.join("\n"), is_packed).unwrap();
            let ids: Vec<&str> = cases.iter().map(|case| &*case.id).collect();
            assert_eq!(ids, ["msc-c0-1", "msc-c1-1", "msc-c2-1", "msc-c3-1"]);
            assert_eq!(cases[2].gold.answers, ["houseboats"]);
            assert_eq!(cases[0].memory.sessions.len(), 4);
        }
    }

    #[test]
    fn the_one_who_opens_is_the_agent() {
        let line = |id: &str, told: &str, persona: &[&str]| {
            serde_json::json!({"id": id, "init_personas": {"A": ["I dive."], "B": persona},
                "sessions": [{"session": 1, "turns": [
                    {"id": "S1:0", "speaker": "A", "text": "Hello!"},
                    {"id": "S1:1", "speaker": "B", "text": "Hi, tired.", "fact": told},
                ], "followup": "Did you sleep?", "newfact": ""}]})
            .to_string()
        };
        let load = |text: &str| {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(FILE), text).unwrap();
            openers(folder.path()).map_err(|error| error.to_string())
        };
        let text =
            [line("a", "I work nights. I am tired.", &["I bake."]), line("b", "I row.", &[])];
        let cases = load(&text.join("\n")).unwrap();
        let gold = &cases[0].gold;
        assert_eq!(gold.answers, ["I bake.", "I work nights.", "I am tired."]);
        assert_eq!(gold.decoys, ["I row."]);
        let human = Some("Did you sleep?".to_string());
        assert_eq!(gold.metric, crate::memory::case::Metric::Nearness { human });
        let turns = &cases[0].memory.sessions[0].turns;
        assert_eq!((turns[0].speaker, turns[1].speaker), (Speaker::Assistant, Speaker::User));
        let error = load(&line("a", "", &[])).unwrap_err();
        assert!(error.contains("line 1: nothing is known of speaker B"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let check = |text: &str, expected: &str| {
            let error = load(text, false).unwrap_err();
            assert!(error.contains(expected), "{error}, not {expected}");
        };
        let good = line("a", "A", "x", "");
        check(
            &format!("{good}\n{}", line("b", "C", "x", "")),
            "DIR/conversations.jsonl, line 2: there is no speaker \"C\"",
        );
        check(&line("b", "A", " ", ""), "line 1: a turn is empty");
        check("{}", "line 1: not as its format says: missing field `id`");
        check("[", "line 1: not as its format says");
    }
}
