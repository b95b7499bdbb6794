//! Memory questions in the shape of the Berkeley Function Calling Leaderboard, version 4.
//!
//! A scenario is a row of conversations with one user, of whom only the messages are given: the agent answers
//! them live, in order, and keeps in memory what it wants to. Between two conversations its queue is emptied,
//! so the chat itself is not carried over. Then each question is asked alone, of a copy of the memory that
//! came of it. One such memory serves both kinds of question (label `memory`):
//!
//! - **written**: only what the model saved itself is there, working context and archival storage. That is
//!   the leaderboard's task, and what its published figures may stand beside.
//! - **recall**: recall storage may be searched too, in which everything is that was said. That is MemGPT as
//!   the paper has it.
//!
//! A question that was asked both ways must not count twice, and the harder claim is the one to lead with:
//! accuracy is over `written` where both were run, and `by` has both. Arms without an agent cannot tell
//! the two apart and answer each question once.
//!
//! A reply is right if an accepted answer stands in it as whole words, both normalised as the leaderboard
//! does. Such a score rewards long replies, so they are bounded, and what is right in its first sentence
//! is scored beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pagewise_agent::AgentConfig;
use pagewise_memory::Block;

use super::{human, persona};
use crate::memory::case::{
    Baseline, Case, Gold, Keep, Material, Memory, Metric, Tier, ToldConversation, UserMessage,
};
use crate::memory::record::Record;
use crate::memory::task::Task;

/// The label that says whether what was said may be looked up.
pub(crate) const MEMORY: &str = "memory";

/// Its value where only what was saved is there.
pub(crate) const WRITTEN: &str = "written";

/// Its value where recall storage may be searched.
pub(crate) const RECALL: &str = "recall";

/// The longest reply, in characters: a sentence or two.
const REPLY_CHARS: usize = 300;

/// When the last conversation was: before the clock of a case begins.
const LAST_CONVERSATION: &str = "2026-01-02T10:00:00Z";

/// Days from one conversation to the next.
const DAYS_BETWEEN: i64 = 2;

/// What is asked about one row of conversations.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// Who the agent is.
    pub(crate) persona: String,
    /// The user's messages of each conversation.
    pub(crate) conversations: Vec<Vec<String>>,
    pub(crate) questions: Vec<Question>,
}

/// A question, and what makes an answer right.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) id: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) text: String,
    pub(crate) answers: Vec<String>,
    /// What was true before it was corrected.
    pub(crate) decoys: Vec<String>,
    /// The message that tells it, if it is known.
    pub(crate) evidence: Vec<String>,
}

/// Returns the settings of an agent for this task.
pub(crate) fn agent_config(usual: AgentConfig) -> AgentConfig {
    AgentConfig { message_max_chars: REPLY_CHARS, ..usual }
}

/// Whether it is of a question that was asked with recall storage to search.
pub(crate) fn is_recall(record: &Record) -> bool {
    record.settings.task == Task::BfclMemory
        && record.case.labels.get(MEMORY).is_some_and(|memory| memory == RECALL)
}

/// Makes the cases of a scenario: each question both ways.
pub(crate) fn cases(scenario: &Scenario) -> Vec<Case> {
    let memory = Arc::new(memory(scenario));
    scenario
        .questions
        .iter()
        .flat_map(|question| [WRITTEN, RECALL].map(|kind| case(scenario, question, kind, &memory)))
        .collect()
}

fn case(scenario: &Scenario, question: &Question, kind: &str, memory: &Arc<Memory>) -> Case {
    let mut labels = question.labels.clone();
    labels.insert("scenario".into(), scenario.name.clone());
    labels.insert(MEMORY.into(), kind.into());
    Case {
        id: format!("{}-{kind}", question.id),
        labels,
        memory: Arc::clone(memory),
        messages: vec![UserMessage { text: question.text.clone(), after_reset: false }],
        baseline: Baseline {
            before: "This is what a user told you in conversations, oldest first.\n\n".into(),
            after: format!("\n\nNow the user asks: {}", question.text),
            alone: question.text.clone(),
            query: String::new(),
        },
        gold: Gold {
            metric: Metric::Phrase,
            answers: question.answers.clone(),
            decoys: question.decoys.clone(),
            evidence: question.evidence.clone(),
            tier: if kind == RECALL { Tier::Recall } else { Tier::Archival },
            edit: None,
        },
        tasks: Vec::new(),
    }
}

fn memory(scenario: &Scenario) -> Memory {
    let last: Timestamp = LAST_CONVERSATION.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let n = scenario.conversations.len() as i64;
    let mut pieces = Vec::new();
    let mut told = Vec::new();
    for (number, turns) in (1..).zip(&scenario.conversations) {
        let at = last - SignedDuration::from_hours(24 * DAYS_BETWEEN * (n - number));
        let day = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        pieces.extend(turns.iter().map(|turn| format!("{day}, User: {turn}")));
        told.push(ToldConversation { at, turns: turns.clone() });
    }
    // The usual limits: how much fits working context is part of the task.
    let usual = AgentConfig::default();
    let blocks = vec![
        Block { limit_chars: usual.persona_block_chars, ..persona(&scenario.persona) },
        Block { limit_chars: usual.human_block_chars, ..human("") },
    ];
    Memory {
        blocks,
        told,
        material: Material { pieces, joiner: "\n", keep: Keep::Last },
        ..Memory::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario() -> Scenario {
        Scenario {
            name: "garden".into(),
            persona: "I know the garden.".into(),
            conversations: vec![vec!["The pond is new.".into()], vec!["It has two carps.".into()]],
            questions: vec![Question {
                id: "q".into(),
                labels: BTreeMap::new(),
                text: "How many carps are there?".into(),
                answers: vec!["2".into(), "two".into()],
                decoys: Vec::new(),
                evidence: Vec::new(),
            }],
        }
    }

    #[test]
    fn a_question_is_asked_both_ways_of_one_memory() {
        let [written, recall] = &cases(&scenario())[..] else { panic!("two cases") };
        assert!(Arc::ptr_eq(&written.memory, &recall.memory));
        assert_eq!((&*written.id, &*recall.id), ("q-written", "q-recall"));
        assert_eq!((written.gold.tier, recall.gold.tier), (Tier::Archival, Tier::Recall));
        assert_eq!(written.labels["memory"], WRITTEN);
        let days: Vec<String> = written.memory.told.iter().map(|one| one.at.to_string()).collect();
        assert_eq!(days, ["2025-12-31T10:00:00Z", "2026-01-02T10:00:00Z"]);
        assert_eq!(written.memory.material.pieces[1], "2026-01-02, User: It has two carps.");
    }
}
