//! Why weights cannot be loaded, and why a forward pass fails.

use std::collections::TryReserveError;
use std::path::PathBuf;

use thiserror::Error;

use crate::brief::{brief, of_tensors};
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
    /// The model would take more memory than there is.
    #[error(
        "{}: with a context window of {window_tokens} tokens the model takes {} of memory, and there \
         are {}", path.display(), mebibytes(*needed_bytes), mebibytes(*available_bytes)
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The window that it was to have, in tokens.
        window_tokens: usize,
        /// What it takes with that.
        needed_bytes: u64,
        /// What there is.
        available_bytes: u64,
        /// The largest window that it could have, in tokens; `None` if not even the weights fit.
        largest_window: Option<usize>,
    },
    /// Memory could not be had.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// Building the tensors failed.
    #[error("the weights could not be prepared: {}", of_tensors(.0))]
    Tensor(candle_core::Error),
}

impl From<candle_core::Error> for LoadError {
    fn from(error: candle_core::Error) -> Self {
        OutOfMemory::of(&error).map_or(Self::Tensor(error), Self::OutOfMemory)
    }
}

/// Memory that could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OutOfMemory {
    /// Of this machine.
    #[error(
        "there is not enough memory for {what}: {} more were asked for; a smaller context window \
         takes less", mebibytes(*bytes as u64)
    )]
    Processor {
        /// What it was for.
        what: &'static str,
        /// How much was asked for.
        bytes: usize,
    },
    /// Of the GPU, which does not say how much was asked for.
    #[error(
        "the GPU has not enough memory; a smaller context window or smaller weights take less, and \
         on the processor there may be more"
    )]
    Gpu,
}

impl OutOfMemory {
    /// Returns the lack of memory that a tensor operation failed for, if it was one.
    fn of(error: &candle_core::Error) -> Option<Self> {
        // The tensor library has no variant for it; this is the driver's name.
        error.to_string().contains("CUDA_ERROR_OUT_OF_MEMORY").then_some(Self::Gpu)
    }
}

/// Returns `len` numbers, all 0, or says that there is no memory for `what`.
pub(crate) fn zeros<T: Copy + Default>(
    len: usize,
    what: &'static str,
) -> Result<Vec<T>, OutOfMemory> {
    let mut numbers = Vec::new();
    lengthen(&mut numbers, len, what)?;
    Ok(numbers)
}

/// Appends zeros until there are `len` numbers, or says that there is no memory for `what`.
pub(crate) fn lengthen<T: Copy + Default>(
    numbers: &mut Vec<T>,
    len: usize,
    what: &'static str,
) -> Result<(), OutOfMemory> {
    let more = len.saturating_sub(numbers.len());
    // An allocation that fails elsewhere ends the program.
    numbers.try_reserve_exact(more).map_err(|_: TryReserveError| OutOfMemory::Processor {
        what,
        bytes: more.saturating_mul(size_of::<T>()),
    })?;
    numbers.resize(len, T::default());
    Ok(())
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
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
    /// Memory could not be had.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// A tensor operation failed.
    #[error("{}", of_tensors(.0))]
    Tensor(candle_core::Error),
}

impl From<candle_core::Error> for InferError {
    fn from(error: candle_core::Error) -> Self {
        OutOfMemory::of(&error).map_or(Self::Tensor(error), Self::OutOfMemory)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Error;

    use super::*;

    /// As the driver words it, with what the tensor library may append.
    fn gpu_error() -> Error {
        let said = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";
        Error::Cuda(said.into()).context("matmul").context(
            "   0: candle_core::error::Error::bt\n             at ./src/error.rs:264:25\n   1: main",
        )
    }

    #[test]
    fn a_gpu_without_memory_is_one_sentence() {
        let failed: InferError = gpu_error().into();
        assert!(matches!(failed, InferError::OutOfMemory(OutOfMemory::Gpu)));
        let sentence = failed.to_string();
        assert_eq!(LoadError::from(gpu_error()).to_string(), sentence);
        insta::assert_snapshot!(sentence, @"the GPU has not enough memory; a smaller context window or smaller weights take less, and on the processor there may be more");
    }

    #[test]
    fn other_failures_are_said_without_their_trace() {
        let failed = InferError::from(Error::Msg(
            "shape mismatch\nin matmul\n   0: candle_core::error::Error::bt\n   1: main".into(),
        ));
        assert_eq!(failed.to_string(), "shape mismatch; in matmul");
        let failed = LoadError::from(Error::Cuda("no kernel \u{1b}[2J".into()));
        assert_eq!(failed.to_string(), "the weights could not be prepared: no kernel \\u{1b}[2J");
    }

    #[test]
    fn what_cannot_be_had_is_said() {
        let failed = zeros::<f32>(1 << 50, "a test").unwrap_err();
        assert_eq!(failed, OutOfMemory::Processor { what: "a test", bytes: 1 << 52 });
        insta::assert_snapshot!(failed, @"there is not enough memory for a test: 4294967296 MiB more were asked for; a smaller context window takes less");
        assert!(zeros::<u64>(usize::MAX, "a test").is_err());
        assert_eq!(zeros::<u8>(3, "a test").unwrap(), [0; 3]);
    }
}
