//! LongMemEval: questions of a user about many earlier conversations with the assistant.
//!
//! Each question has a history of its own, which is in the agent's recall storage with its dates; the clock
//! stands at the question's date. What the public evaluation has a language model judge is scored by rule
//! here: a reply is right if it holds the answer in SQuAD's normal form, and where there is none, if it says
//! that it does not know. That is stricter where answers are sentences, so figures do not belong beside
//! judged ones; SQuAD's F1 and the share of the evidence that was read are measures of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{human, persona};
use crate::memory::case::{
    Baseline, Case, Gold, Keep, Material, Memory, Metric, PastSession, PastTurn, Speaker, Tier,
    UserMessage,
};

const PERSONA: &str = "I am an assistant who talks with the user again and again. What we said in earlier \
    conversations is in my recall storage, and I look there before I answer. If it was never said, I say that I do \
    not know.";

const BEFORE: &str =
    "These are your conversations with a user, oldest first; \"You\" are the assistant.\n\n";

// A prompt that has the exception alone ("If it was never said, say that you do not know.") lets the 1.5B say that of
// every question, with the answer in view: what is wanted comes first.
const INSTRUCTION: &str = "Answer the user's question briefly from these conversations, or say that you do not know if it \
    was never said.";

const INSTRUCTION_ALONE: &str =
    "Answer the user's question briefly, or say that you do not know if you cannot know it.";

/// The endings of the names of questions that have no answer.
pub(crate) const ABSTENTION: &str = "_abs";

/// A question with its history.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// Ends in `_abs` if there is no answer.
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) text: String,
    /// Any of these is right; what would be said of it if there is no answer.
    pub(crate) answers: Vec<String>,
    /// What was true before.
    pub(crate) decoys: Vec<String>,
    pub(crate) at: Timestamp,
    pub(crate) sessions: Vec<PastSession>,
    /// The turns that have the answer.
    pub(crate) evidence: Vec<String>,
}

/// Makes the case of a question.
pub(crate) fn case(question: Question) -> Case {
    let Question { id, kind, text, answers, decoys, at, sessions, evidence } = question;
    let has_answer = !id.ends_with(ABSTENTION);
    let day = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
    let now = format!("Now, on {}, the user says: {text}", day(at));
    let mut pieces = Vec::new();
    for session in &sessions {
        pieces.extend(session.turns.iter().map(|PastTurn { speaker, text }| {
            let speaker = match speaker {
                Speaker::User => "User",
                Speaker::Assistant => "You",
            };
            format!("{}, {speaker}: {text}", day(session.at))
        }));
    }
    Case {
        labels: BTreeMap::from([
            ("type".into(), kind),
            ("answerable".into(), if has_answer { "yes" } else { "no" }.into()),
        ]),
        memory: Arc::new(Memory {
            blocks: vec![persona(PERSONA), human("")],
            sessions,
            now: Some(at),
            material: Material { pieces, joiner: "\n", keep: Keep::Last },
            ..Memory::default()
        }),
        messages: vec![UserMessage { text, after_reset: false }],
        baseline: Baseline {
            before: BEFORE.into(),
            after: format!("\n\n{INSTRUCTION} {now}"),
            alone: format!("{INSTRUCTION_ALONE} {now}"),
            query: String::new(),
        },
        gold: Gold {
            metric: if has_answer { Metric::Subspan } else { Metric::Abstains },
            answers,
            decoys,
            evidence,
            tier: Tier::Recall,
            edit: None,
        },
        tasks: Vec::new(),
        id,
    }
}
