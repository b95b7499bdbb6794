//! Why weights cannot be loaded, and why a forward pass fails.

use std::path::PathBuf;

use thiserror::Error;

use crate::brief::brief;
use crate::{ChatTemplateError, GgufError, HfError, TokenizerError};

/// Weights that cannot be used.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The GGUF file is refused, or lacks something.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A file of a folder of weights is refused, or lacks something.
    #[error(transparent)]
    Hf(#[from] HfError),
    /// The file holds a kind of model that there is no decoder for.
    #[error(
        "{}: models of the architecture \"{}\" are not supported; supported are {supported}",
        path.display(), brief(architecture)
    )]
    Architecture {
        /// The file.
        path: PathBuf,
        /// What it says it holds.
        architecture: String,
        /// The names of what could be used.
        supported: String,
    },
    /// The metadata contradict themselves, or ask for something that the decoder cannot do.
    #[error("{}: {}", path.display(), brief(reason))]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, as the rest of a sentence about the file.
        reason: String,
    },
    /// A tensor has another shape than the metadata say.
    #[error(
        "{}: tensor {} has the shape {found:?}, and the metadata of the file ask for \
         {expected:?}; the file is damaged or was converted wrongly", path.display(), brief(tensor)
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape that the metadata ask for, row-major.
        expected: Vec<usize>,
        /// The shape it has.
        found: Vec<usize>,
    },
    /// The vocabulary cannot be used.
    #[error("{}: {source}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenizerError,
    },
    /// The chat template cannot be used.
    #[error("{}: {source}", path.display())]
    ChatTemplate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ChatTemplateError,
    },
    /// A window larger than the model was trained for.
    #[error(
        "a context window of {window_tokens} tokens was asked for, and {} was trained for at most \
         {context_length}", path.display()
    )]
    WindowTooLarge {
        /// The file.
        path: PathBuf,
        /// What was asked for, in tokens.
        window_tokens: usize,
        /// What is possible, in tokens.
        context_length: usize,
    },
    /// A window of no use.
    #[error(
        "a context window of {window_tokens} tokens is too small; give it at least {min_tokens}"
    )]
    WindowTooSmall {
        /// What was asked for, in tokens.
        window_tokens: usize,
        /// The least that is accepted.
        min_tokens: usize,
    },
    /// The device asked for is not there, or not in this build.
    #[error("the device \"{device}\" cannot be used: {reason}")]
    Device {
        /// What was asked for.
        device: &'static str,
        /// Why not, and what to do.
        reason: String,
    },
    /// A file of the embedder is missing or damaged.
    #[error("{}: {reason}", path.display())]
    Embedder {
        /// The file.
        path: PathBuf,
        /// What is wrong, as the rest of a sentence about the file.
        reason: String,
    },
    /// Building the tensors failed.
    #[error("the weights could not be prepared: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// A forward pass that could not be done.
#[derive(Debug, Error)]
pub enum InferError {
    /// The cache would outgrow the context window.
    #[error("{n_tokens} tokens do not fit into a context window of {window_tokens}")]
    WindowFull {
        /// What the cache would hold, in tokens.
        n_tokens: usize,
        /// The window, in tokens.
        window_tokens: usize,
    },
    /// A token that the model does not have.
    #[error("there is no token {token}: the vocabulary has {vocabulary}")]
    UnknownToken {
        /// The token.
        token: u32,
        /// How many tokens there are.
        vocabulary: usize,
    },
    /// Nothing to run.
    #[error("a forward pass needs at least one token")]
    NoTokens,
    /// A token mask that allows nothing, or logits that are not numbers.
    #[error("no token can be sampled: {reason}")]
    NothingToSample {
        /// Why not.
        reason: &'static str,
    },
    /// Stopped from outside.
    #[error("cancelled")]
    Cancelled,
    /// A tensor operation failed.
    #[error("{0}")]
    Tensor(#[from] candle_core::Error),
}
