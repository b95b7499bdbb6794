use thiserror::Error;

use pagewise_core::MAX_NAME_CHARS;

use crate::{MAX_ITEMS, MAX_LEVELS, MAX_TEXT_CHARS};

/// Why there is no grammar, no mask, or no way on.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum GrammarError {
    /// The vocabulary does not fit the token trie.
    #[error(
        "the vocabulary has {tokens} tokens of {bytes} bytes in all, more than a token trie holds"
    )]
    VocabularyTooLarge {
        /// Width of the logits.
        tokens: usize,
        /// Bytes of all tokens together.
        bytes: usize,
    },
    /// Nothing could be called.
    #[error("there is no function to call: give at least one")]
    NoFunctions,
    /// A name would not survive the call's text, or is there twice.
    #[error(
        "{name:?} cannot be a name: names have 1 to {MAX_NAME_CHARS} characters, no control character \
         among them, and each is given once"
    )]
    Name {
        /// The name of the function or argument.
        name: String,
    },
    /// No value satisfies an argument, or a text would be unbounded.
    #[error(
        "argument {argument} of {function} admits no value that a grammar can write: a text holds 1 \
         to {MAX_TEXT_CHARS} characters, a choice is never empty, a range runs from low to high, lists \
         and objects hold at most {MAX_ITEMS} items and {MAX_LEVELS} of them are in one another, kinds \
         to choose from begin differently, and only what has a name is optional"
    )]
    Argument {
        /// The function.
        function: String,
        /// The argument.
        argument: String,
    },
    /// The longest thought is out of bounds.
    #[error(
        "a thought of at most {max_chars} characters is asked for; allowed are 1 to {MAX_TEXT_CHARS}"
    )]
    Thought {
        /// What was asked for.
        max_chars: usize,
    },
    /// The token does not continue the call.
    #[error("token {token} cannot follow {text:?}: sample under the mask")]
    Refused {
        /// The token.
        token: u32,
        /// The call so far.
        text: String,
    },
    /// The call has ended, so nothing follows.
    #[error("the call is complete: nothing may follow it")]
    Complete,
    /// No grammar can be made of a JSON schema.
    #[error("the schema is not supported: {reason}")]
    Schema {
        /// Why not.
        reason: String,
    },
    /// llguidance gave up; every later use of the same matcher says the same.
    #[error("the grammar engine failed: {reason}")]
    Engine {
        /// Its own words.
        reason: String,
    },
}

impl GrammarError {
    /// Returns why the engine failed, in its own words; otherwise the sentence of the error.
    pub(crate) fn reason(self) -> String {
        match self {
            Self::Engine { reason } => reason,
            other => other.to_string(),
        }
    }

    pub(crate) fn engine(reason: impl std::fmt::Display) -> Self {
        let reason = reason.to_string();
        // The engine marks errors that it keeps short.
        Self::Engine { reason: reason.trim_end_matches("<non-verbose/>").trim_end().to_owned() }
    }
}
