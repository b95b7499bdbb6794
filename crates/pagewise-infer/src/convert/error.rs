use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::tokenizer::FolderError;
use crate::{GgufError, HfError, LoadError, TokenizerError};

/// Weights that could not be converted.
#[derive(Debug, Error)]
pub enum ConvertError {
    /// The weights cannot be used, or what was written of them cannot.
    #[error(transparent)]
    Load(Box<LoadError>),
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(Box<TokenizerError>),
    /// The model, or the way in which it is to be stored, does not go into that form.
    #[error("{} {reason}", path.display())]
    Refused {
        /// The weights.
        path: PathBuf,
        /// Why not, as the rest of a sentence about them.
        reason: String,
    },
    /// Something of that name is there.
    #[error("{} is there already; remove it first, or give another name", path.display())]
    Exists {
        /// Where it is.
        path: PathBuf,
    },
    /// The operating system refused: no room, no permission.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: a verb, as in "cannot write".
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It was broken off.
    #[error("the conversion was cancelled")]
    Cancelled,
    /// The numbers could not be stored in that way.
    #[error("the numbers of {tensor} cannot be stored as asked for: {source}")]
    Encode {
        /// The tensor.
        tensor: String,
        /// Why not.
        source: Box<candle_core::Error>,
    },
}

impl ConvertError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl From<LoadError> for ConvertError {
    fn from(error: LoadError) -> Self {
        Self::Load(Box::new(error))
    }
}

impl From<TokenizerError> for ConvertError {
    fn from(error: TokenizerError) -> Self {
        Self::Tokenizer(Box::new(error))
    }
}

impl From<GgufError> for ConvertError {
    fn from(error: GgufError) -> Self {
        LoadError::from(error).into()
    }
}

impl From<HfError> for ConvertError {
    fn from(error: HfError) -> Self {
        LoadError::from(error).into()
    }
}

impl From<FolderError> for ConvertError {
    fn from(error: FolderError) -> Self {
        TokenizerError::from(error).into()
    }
}
