//! What happens to an agent, and what came of it.

use jiff::Timestamp;
use pagewise_core::{FunctionCall, FunctionResult, MessageBody, Status, TokenUsage};
use serde::{Deserialize, Serialize};

use serde_json::{Map, Value};

/// Something that happens (MemGPT paper, section 2.4).
///
/// A user message is answered; the others are put in the queue, where the model reads them when
/// it next runs. The memory pressure warning is the operating system's own event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The user says something.
    UserMessage {
        /// What is said.
        text: String,
    },
    /// The user comes back.
    Login,
    /// The system tells the model something.
    SystemAlert {
        /// What it is told.
        text: String,
    },
    /// A document was put into archival storage.
    DocumentUploaded {
        /// Its name.
        name: String,
        /// How many passages it became.
        n_passages: usize,
    },
}

impl Event {
    pub(crate) fn into_body(self, last_message_at: Option<Timestamp>) -> MessageBody {
        match self {
            Self::UserMessage { text } => MessageBody::User { text },
            Self::Login => MessageBody::Login { last: last_message_at },
            Self::SystemAlert { text } => MessageBody::SystemAlert { text },
            Self::DocumentUploaded { name, n_passages } => {
                MessageBody::DocumentUploaded { name, n_passages }
            }
        }
    }
}

/// Watches an event being handled. Every method does nothing by default.
pub trait Observer {
    /// A piece of a reply, as soon as the model has written it.
    fn reply_piece(&mut self, _text: &str) {}
    /// What the model thought before a call, if it thinks. It is not stored.
    fn thoughts(&mut self, _text: &str) {}
    /// The reply is whole, and stored.
    fn reply_end(&mut self) {}
    /// Something was decided about the message; what was decided before is in it too.
    fn plan(&mut self, _plan: &Plan) {}
    /// A call was executed and stored, `send_message` included.
    fn call(&mut self, _record: &CallRecord) {}
    /// Messages left main context.
    fn evicted(&mut self, _n_messages: usize) {}
}

impl Observer for () {}

/// What came of an event.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcome {
    /// What was said to the user.
    pub replies: Vec<String>,
    /// What the model decided about the message, and read in what was found; `None` if it did neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Every call made, in order, `send_message` included.
    pub calls: Vec<CallRecord>,
    /// What it cost, summaries included.
    pub tokens: TokenUsage,
    /// How full main context is now.
    pub context: ContextUse,
    /// How many messages left main context.
    pub evicted: usize,
    /// How long it took.
    pub seconds: f64,
    /// How long it took from the event until its first token was sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_seconds: Option<f64>,
    /// Why the event was not handled to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What the model decided about a message. Records of benchmarks that were made before it had all of these
/// are read as if it had decided nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Whether it wants something that memory may hold.
    #[serde(default)]
    pub searches: bool,
    /// Whether it tells something to remember.
    #[serde(default)]
    pub saves: bool,
    /// Whether to search for what a search found, until nothing more is found; `None` if that was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<bool>,
    /// What was read in all that was found, before the reply; `None` if nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reading: Option<String>,
}

/// A call and its result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallRecord {
    /// The function.
    pub function: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
    /// Whether it did what was asked.
    pub status: Status,
    /// What it returned, or why it failed.
    pub result: String,
}

impl CallRecord {
    pub(crate) fn new(call: &FunctionCall, result: &FunctionResult) -> Self {
        Self {
            function: call.function.clone(),
            arguments: call.arguments.clone(),
            status: result.status,
            result: result.message.clone(),
        }
    }
}

/// How full main context is, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ContextUse {
    /// The prompt as it would be rendered now.
    pub used: usize,
    /// The context window.
    pub window: usize,
}
