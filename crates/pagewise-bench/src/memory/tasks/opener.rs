//! The conversation opener (MemGPT paper, section 3.1.2): what the agent says when a user comes back.
//!
//! Earlier conversations are in recall storage. For half of the cases the `human` block of working context
//! has what the user told, as the paper's agent would have noted it; for the other half the block is empty,
//! so that the agent must look. The label `facts` tells them apart: `noted` and `said`. The paper's agent was
//! woken by a login; here an event that is no message gets no reply, so the user greets, in the same words in
//! every case, and the reply is the opener.
//!
//! An opener is compared with what is known of the user by the cosine of their embeddings, as the paper did
//! with a model that it does not name, so that only figures of the same embedder can be compared: SIM-1 is
//! that of the nearest fact, SIM-3 the mean of the three nearest, SIM-H that of what a human wrote in its
//! place, where there is such. A sentence of the opener may be what is near, so that a greeting before it
//! does not count against it. The accuracy is the mean of SIM-1, and no share of right cases: an opener counts
//! as right, for the classes of failure, if it is nearer to what this user told than to what another did, and
//! nearer than the user's own greeting is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::dmr::{Conversation, held};
use super::{BLOCK_CHARS, human, persona};
use crate::memory::case::{
    Baseline, Case, Gold, Keep, Material, Memory, Metric, Speaker, Tier, UserMessage,
};

const PERSONA: &str = "I am a companion who talks with the user again and again. When the user comes back I open the \
    conversation with one or two sentences about something that I know of them. What we said in earlier conversations \
    is in my recall storage.";

const GREETING: &str = "Hello, I am back! What shall we talk about?";

const REQUEST: &str =
    "Open the conversation with one or two sentences about something that you know of the user.";

/// A user whom the agent knows from earlier conversations.
#[derive(Debug, Clone)]
pub(crate) struct Acquaintance {
    pub(crate) conversation: Conversation,
    /// What the user told in them.
    pub(crate) noted: Vec<String>,
    /// All that is known of the user.
    pub(crate) facts: Vec<String>,
    /// What a human wrote as an opener.
    pub(crate) human: Option<String>,
}

/// Makes a case of each; what the next one told is what an opener should not be near to.
pub(crate) fn cases(id: &str, acquaintances: &[Acquaintance]) -> Vec<Case> {
    let others = acquaintances.iter().cycle().skip(1);
    acquaintances
        .iter()
        .zip(others)
        .enumerate()
        .map(|(number, (one, other))| case(id, one, other, number % 2 == 0))
        .collect()
}

fn case(id: &str, one: &Acquaintance, other: &Acquaintance, is_noted: bool) -> Case {
    let Acquaintance { conversation, noted, facts, human } = one;
    // With one alone there is no other.
    let decoys = other.facts.iter().filter(|fact| !facts.contains(fact)).cloned().collect();
    Case {
        id: format!("{id}-{}", conversation.id),
        labels: BTreeMap::from([(
            "facts".into(),
            if is_noted { "noted" } else { "said" }.to_string(),
        )]),
        memory: Arc::new(memory(conversation, if is_noted { noted } else { &[] })),
        messages: vec![UserMessage { text: GREETING.into(), after_reset: false }],
        baseline: Baseline {
            before: "These are your conversations with a user, oldest first; \"You\" are the assistant.\n\n".into(),
            after: format!("\n\nNow the user says: {GREETING}\n\n{REQUEST}"),
            alone: format!("A user whom you have met before says: {GREETING}\n\n{REQUEST}"),
            query: String::new(),
        },
        gold: Gold {
            metric: Metric::Nearness { human: human.clone() },
            answers: facts.clone(),
            decoys,
            evidence: Vec::new(),
            tier: Tier::Recall,
            edit: None,
        },
        tasks: Vec::new(),
    }
}

fn memory(conversation: &Conversation, noted: &[String]) -> Memory {
    let (sessions, pieces) = held(std::slice::from_ref(conversation));
    let mut lines = String::new();
    for fact in noted {
        // The latest are left out where a block cannot take all.
        if lines.chars().count() + fact.chars().count() < BLOCK_CHARS {
            lines.push_str(&format!("{fact}\n"));
        }
    }
    Memory {
        blocks: vec![persona(PERSONA), human(lines.trim_end())],
        sessions,
        material: Material { pieces, joiner: "\n", keep: Keep::Last },
        ..Memory::default()
    }
}

/// Returns what the user of a conversation was noted to have told, a sentence each, none twice.
pub(crate) fn facts_of_user(conversation: &Conversation) -> Vec<String> {
    let mut facts: Vec<String> = Vec::new();
    let turns = conversation.sessions.iter().flatten();
    for turn in turns.filter(|turn| turn.speaker == Speaker::User) {
        let sentences = turn.fact.split_inclusive(['.', '!', '?', ';']).map(str::trim);
        for sentence in sentences.filter(|sentence| sentence.contains(char::is_alphabetic)) {
            if !facts.iter().any(|fact| fact == sentence) {
                facts.push(sentence.into());
            }
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::tasks::dmr::NotedTurn;

    fn acquaintance(id: &str, facts: &[&str]) -> Acquaintance {
        let turn = |fact: &&str| NotedTurn {
            speaker: Speaker::User,
            text: format!("Well, {fact}"),
            fact: fact.to_string(),
        };
        let sessions = vec![facts.iter().map(turn).collect()];
        let conversation = Conversation { id: id.into(), sessions };
        let noted = facts_of_user(&conversation);
        Acquaintance { conversation, facts: noted.clone(), noted, human: None }
    }

    #[test]
    fn every_other_agent_has_noted_the_facts() {
        let both = [
            acquaintance("a", &["I row. I weld!", "I row."]),
            acquaintance("b", &["I bake.", "I weld!"]),
        ];
        let cases = cases("x", &both);
        let blocks = |case: &Case| case.memory.blocks[1].value.clone();
        assert_eq!(cases[0].gold.answers, ["I row.", "I weld!"]);
        assert_eq!(cases[0].gold.decoys, ["I bake."]);
        assert_eq!(cases[1].gold.decoys, ["I row."]);
        assert_eq!((&*cases[0].labels["facts"], &*blocks(&cases[0])), ("noted", "I row.\nI weld!"));
        assert_eq!((&*cases[1].labels["facts"], &*blocks(&cases[1])), ("said", ""));
        assert_eq!(
            cases[0].memory.material.pieces,
            ["2025-12-28, User: Well, I row. I weld!", "2025-12-28, User: Well, I row.",]
        );
    }

    #[test]
    fn what_a_block_cannot_take_is_left_out() {
        let long = "word ".repeat(300);
        let facts: Vec<String> = (0..5).map(|n| format!("{n} {long}.")).collect();
        let facts: Vec<&str> = facts.iter().map(String::as_str).collect();
        let memory =
            memory(&acquaintance("a", &facts).conversation, &acquaintance("a", &facts).noted);
        let value = &memory.blocks[1].value;
        assert!(value.chars().count() <= BLOCK_CHARS && value.lines().count() == 2, "{value}");
    }
}
