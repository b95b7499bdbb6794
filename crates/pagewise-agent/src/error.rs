use pagewise_core::ModelError;
use pagewise_memory::StoreError;
use thiserror::Error;

/// The operating system could not go on.
#[derive(Debug, Error)]
pub enum AgentError {
    /// A message without text.
    #[error("the message is empty")]
    EmptyMessage,
    /// What must always be in main context leaves no room for a conversation.
    #[error(
        "a context window of {window_tokens} tokens is too small: the system instructions, the \
         working context and room for an answer need {needed_tokens}; use a larger window, or \
         shorten the working context"
    )]
    WindowTooSmall {
        /// The window.
        window_tokens: usize,
        /// What is needed at least.
        needed_tokens: usize,
    },
    /// The model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The grammar let something through that is no call: a bug.
    #[error("the grammar allowed a call that breaks its schema ({reason}): {text}")]
    InvalidCall {
        /// What is wrong with it.
        reason: String,
        /// What the model wrote.
        text: String,
    },
}
