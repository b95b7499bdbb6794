//! Topic retrieval: which was the first, second or third topic of one long conversation.
//!
//! The whole conversation is in recall storage and none of it in the queue, so that the answer must be
//! looked up by where it stands in time: no word of the question is in the turn that answers it. A reply is
//! right if it holds the name of the topic. The prompt without an agent keeps the latest turns, as a chat
//! would that forgets its beginning.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::{human, persona};
use crate::memory::case::{
    Baseline, Case, Gold, Keep, Material, Memory, Metric, PastSession, PastTurn, Speaker, Tier,
    UserMessage,
};

/// When the conversation began: the day before the clock of a case begins.
const BEGAN: &str = "2026-01-04T09:00:00Z";

const PERSONA: &str = "I am an assistant who discusses one topic after another with the user. What was said is in my \
    recall storage.";

/// A question about a conversation.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) question: String,
    pub(crate) topic: String,
    /// Which topic it asks for, from 1.
    pub(crate) position: usize,
}

/// Makes what memory holds of a conversation.
pub(crate) fn memory(turns: &[PastTurn]) -> Arc<Memory> {
    let at: Timestamp = BEGAN.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let pieces = turns
        .iter()
        .map(|turn| match turn.speaker {
            Speaker::User => format!("User: {}", turn.text),
            Speaker::Assistant => format!("You: {}", turn.text),
        })
        .collect();
    Arc::new(Memory {
        blocks: vec![persona(PERSONA), human("")],
        passages: Vec::new(),
        sessions: vec![PastSession { at, turns: turns.to_vec() }],
        now: None,
        material: Material { pieces, joiner: "\n", keep: Keep::Last },
        ..Memory::default()
    })
}

/// Makes the case of a question.
pub(crate) fn case(id: String, asked: &Asked, memory: &Arc<Memory>) -> Case {
    let Asked { question, topic, position } = asked;
    let named = memory.sessions.iter().flat_map(|session| &session.turns).find(|turn| {
        turn.speaker == Speaker::User && turn.text.to_lowercase().contains(&topic.to_lowercase())
    });
    Case {
        id,
        labels: BTreeMap::from([("position".into(), position.to_string())]),
        memory: Arc::clone(memory),
        messages: vec![UserMessage { text: question.clone(), after_reset: false }],
        baseline: Baseline {
            before: "This is your conversation with a user; \"You\" are the assistant.\n\n".into(),
            after: format!("\n\nNow the user says: {question}"),
            alone: question.clone(),
            query: String::new(),
        },
        gold: Gold {
            metric: Metric::Subspan,
            answers: vec![topic.clone()],
            decoys: Vec::new(),
            evidence: named.map(|turn| turn.text.clone()).into_iter().collect(),
            tier: Tier::Recall,
            edit: None,
        },
        tasks: Vec::new(),
    }
}
