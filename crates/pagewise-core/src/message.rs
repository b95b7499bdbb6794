//! Messages: what the FIFO queue shows and recall storage keeps.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{FunctionCall, FunctionResult};

/// The number of a message in its agent's recall storage; later messages have greater numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub i64);

/// One entry of recall storage, and of the FIFO queue while it is in view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its number in recall storage.
    pub id: MessageId,
    /// When it was stored.
    pub at: Timestamp,
    /// What it says.
    #[serde(flatten)]
    pub body: MessageBody,
}

/// What a message says. Events, the model's calls and their results are all messages
/// (MemGPT paper, sections 2.1 and 2.4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MessageBody {
    /// The user said something.
    User {
        /// What was said.
        text: String,
    },
    /// The user came back.
    Login {
        /// When the user was last here; `None` the first time.
        last: Option<Timestamp>,
    },
    /// The operating system tells the model something, for example memory pressure.
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
    /// The model called a function.
    Call(FunctionCall),
    /// A function returned.
    Result(FunctionResult),
    /// A recursive summary, kept as a record of what stood at the head of the queue.
    Summary {
        /// The summary.
        text: String,
        /// How many messages it stands for, all flushes together.
        n_messages: u64,
    },
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The user.
    User,
    /// The model.
    Assistant,
    /// The operating system.
    System,
    /// A function that returned.
    Function,
}

impl Role {
    /// Returns the lower-case name, as stored and as shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::System => "system",
            Self::Function => "function",
        }
    }
}

impl MessageBody {
    /// Returns who speaks.
    pub fn role(&self) -> Role {
        match self {
            Self::User { .. } => Role::User,
            Self::Call(_) => Role::Assistant,
            Self::Result(_) => Role::Function,
            Self::Login { .. }
            | Self::SystemAlert { .. }
            | Self::DocumentUploaded { .. }
            | Self::Summary { .. } => Role::System,
        }
    }

    /// Returns what was said in the conversation: the user's text, or the message of a
    /// `send_message` call. Only this is found by a search of recall storage; alerts, other calls
    /// and old summaries would drown it.
    pub fn spoken(&self) -> Option<&str> {
        match self {
            Self::User { text } => Some(text),
            Self::Call(call) if call.function == "send_message" => Some(call.text("message")),
            _ => None,
        }
    }
}
