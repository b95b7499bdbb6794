//! Cases: what memory holds, what the user says, and what makes an answer right.
//!
//! Everything here is data. What a [`Memory`] holds may be large and is shared by the cases that ask
//! about it; the rest of a [`Case`] is small and goes into its record, so that a record can be graded
//! again without the data that it was made from.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use pagewise_memory::Block;
use serde::{Deserialize, Serialize};

use super::tool::Tool;

/// One question, or several messages of which the last is the question.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Case {
    /// Its name, unique within the task and the same in every run.
    pub id: String,
    /// What it is counted under: `lookups` = `4`.
    pub labels: BTreeMap<String, String>,
    /// What memory holds before the first message.
    #[serde(skip)]
    pub memory: Arc<Memory>,
    /// What the user says, in order; the reply to the last is scored.
    pub messages: Vec<UserMessage>,
    /// How it is asked without an agent.
    #[serde(skip)]
    pub baseline: Baseline,
    /// What makes an answer right.
    pub gold: Gold,
    /// Where each message is a task of its own: what makes its answer right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<GameTask>,
}

impl Case {
    /// Whether another case of its name is the same as far as a record tells: what the user says, and what makes an
    /// answer right.
    pub(crate) fn asks_the_same(&self, other: &Self) -> bool {
        (&self.messages, &self.gold, &self.tasks) == (&other.messages, &other.gold, &other.tasks)
    }
}

/// A task of a game.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GameTask {
    /// What it is counted under, besides the labels of the game.
    pub labels: BTreeMap<String, String>,
    /// What makes an answer right.
    pub gold: Gold,
}

/// What the user says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserMessage {
    /// The text.
    pub text: String,
    /// Whether the FIFO queue was emptied before: only memory carries over.
    #[serde(default)]
    pub after_reset: bool,
}

/// How a case is asked in one prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baseline {
    /// What stands before the material.
    pub before: String,
    /// What stands behind it, the question last.
    pub after: String,
    /// The question without any material.
    pub alone: String,
    /// What to search for where passages are searched for it.
    pub query: String,
}

impl Baseline {
    /// Returns all that it says.
    pub(crate) fn texts(&self) -> [&str; 4] {
        [&self.before, &self.after, &self.alone, &self.query]
    }
}

/// Returns a hash of texts.
pub(crate) fn fingerprint<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    // FNV-1a, which is the same everywhere; a zero byte, which no text has, ends each.
    let hash = texts
        .flat_map(|text| text.bytes().chain([0]))
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
    format!("{hash:016x}")
}

/// What memory holds before the first message.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// The blocks of working context.
    pub blocks: Vec<Block>,
    /// Archival storage.
    pub passages: Vec<HeldPassage>,
    /// Conversations of the past: in recall storage, and no longer in the queue.
    pub sessions: Vec<PastSession>,
    /// What the clock says when a case begins, if the data says it; else the run does.
    pub now: Option<Timestamp>,
    /// Conversations that the agent itself has before, turn by turn: memory is what it makes of them.
    pub told: Vec<ToldConversation>,
    /// What the user says before each message of a game and wants no answer to: it is in recall storage and in
    /// the queue, and the model is not run for it.
    pub heard: Vec<Vec<String>>,
    /// The same for a prompt without an agent.
    pub material: Material,
    /// Functions that are offered in the place of the agent's own, where there is no memory to manage.
    pub tools: Vec<Tool>,
}

/// A passage in archival storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPassage {
    /// The text.
    pub text: String,
    /// The document it is from.
    pub source: Option<String>,
}

/// What a user says in one conversation; the replies are the agent's own.
///
/// The next conversation begins with an empty queue: only memory carries over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToldConversation {
    /// When it takes place.
    pub at: Timestamp,
    /// The user's messages, in order.
    pub turns: Vec<String>,
}

/// A conversation of the past.
#[derive(Debug, Clone)]
pub struct PastSession {
    /// When its first message was sent; the others follow a minute apart.
    pub at: Timestamp,
    /// What was said.
    pub turns: Vec<PastTurn>,
}

/// What one of the two said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastTurn {
    /// Who.
    pub speaker: Speaker,
    /// What.
    pub text: String,
}

/// One of the two in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    /// The user.
    User,
    /// The agent.
    Assistant,
}

impl Speaker {
    /// Returns the name in labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// What memory holds, as pieces of a prompt.
#[derive(Debug, Clone, Default)]
pub struct Material {
    /// The pieces, none of which is cut.
    pub pieces: Vec<String>,
    /// What stands between two of them.
    pub joiner: &'static str,
    /// Which of them are kept if not all fit.
    pub keep: Keep,
}

/// Which pieces a prompt keeps if not all fit the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    /// The first ones.
    #[default]
    First,
    /// The last ones: the latest of what was said.
    Last,
    /// Those that the store's own search finds best for the question; the pieces are its passages.
    Best,
}

/// What makes an answer right, and what one must have read to give it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gold {
    /// How a reply is compared with the answers.
    pub metric: Metric,
    /// Any of these is right.
    pub answers: Vec<String>,
    /// Wrong answers that have a meaning of their own: the value at which a lookup was given up, what
    /// was true before an update.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decoys: Vec<String>,
    /// Texts each of which must have been read.
    pub evidence: Vec<String>,
    /// Where they are. Of conversations that the agent had itself: whether what was said may be looked
    /// up ([`Tier::Recall`]), or only what it saved.
    pub tier: Tier,
    /// What must have become of working context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit: Option<EditGold>,
}

/// How a reply is compared with the answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The answer is in the reply, whatever its case; of one that is a sentence, all words are in a sentence of the
    /// reply, in any form.
    Contains,
    /// The answer, or another form of the word, is a word of the reply.
    ContainsWord,
    /// The answer is in the reply's answer field, both normalised as SQuAD does
    /// (`best_subspan_em`), and not as a piece of a longer number.
    Subspan,
    /// The reply is the call that the answer describes, or no call where there is no answer.
    Call,
    /// F1 over the stems of the words, as LoCoMo's evaluation counts it: a fraction.
    StemF1,
    /// The same for an answer of several parts with commas between them: for each part, the best part
    /// of the reply.
    StemF1OfParts,
    /// There is no answer, and the reply says so in a phrase that LoCoMo's evaluation accepts.
    NotMentioned,
    /// There is no answer, and the reply says in any way that it does not know.
    Abstains,
    /// How near the reply comes in meaning to any of the answers: a fraction.
    Nearness {
        /// What a human wrote in its place, to compare with.
        human: Option<String>,
    },
    /// The answer stands in the reply as whole words, both normalised as the Berkeley leaderboard does.
    Phrase,
    /// The same, and none of the decoys does.
    Only,
    /// The reply's answer field names one option, by its letter or by its text, and it is the answer; the decoys
    /// are the other options.
    Choice,
}

/// A tier of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Blocks that are always in view.
    WorkingContext,
    /// Everything that was said.
    Recall,
    /// Passages.
    Archival,
}

/// What must have become of working context in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditGold {
    /// A line that was not there before, or a note, holds one of these.
    pub new: Vec<String>,
    /// Lines that may not be there any more.
    pub old: Vec<String>,
    /// Lines that must still be there.
    pub kept: Vec<String>,
}
