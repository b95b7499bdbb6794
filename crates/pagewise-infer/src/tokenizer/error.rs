//! Why no tokenizer can be made.

use thiserror::Error;

use super::folder::FolderError;
use super::pre_tokenizer::PreTokenizer;
use crate::brief::brief;
use crate::gguf::GgufError;

/// A tokenizer cannot be made from these files.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// The vocabulary is missing or ill-typed.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A file of the folder is missing, too large or damaged.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Another algorithm than those that are known.
    #[error(
        "the tokenizer of these weights is of the kind \"{}\", which is not supported; supported are \
         \"gpt2\" (byte-level BPE), \"llama\" (SentencePiece BPE) and \"gemma4\"",
        brief(kind)
    )]
    Kind {
        /// Its name in the file.
        kind: String,
    },
    /// The file does not say how text is cut into words, or names a way that is not known.
    #[error(
        "the tokenizer of these weights cuts text into words by the rule \"{}\", which is not \
         supported; supported are {}",
        brief(name),
        PreTokenizer::known_names()
    )]
    PreTokenizer {
        /// Its name in the file.
        name: String,
    },
    /// A part of `tokenizer.json` that cannot be followed exactly.
    #[error("tokenizer.json asks for {}, which is not supported", brief(what))]
    Unsupported {
        /// The part.
        what: String,
    },
    /// A part of `tokenizer.json` that a GGUF file cannot have.
    #[error("tokenizer.json asks for {what}, for which GGUF has no word")]
    NoWord {
        /// The part.
        what: &'static str,
    },
    /// A list of another length than it must have.
    #[error("the vocabulary is damaged: it has {found} {what}, and must have {wanted}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there must be.
        wanted: String,
    },
    /// A token id beyond the vocabulary.
    #[error("the vocabulary is damaged: {key} is {id}, and there are {n_tokens} tokens")]
    TokenId {
        /// The metadata that names the id.
        key: &'static str,
        /// The id.
        id: u32,
        /// How many tokens there are.
        n_tokens: usize,
    },
    /// Two tokens with one number.
    #[error(
        "the vocabulary is damaged: \"{}\" and \"{}\" are both token {id}",
        brief(first),
        brief(second)
    )]
    SharedId {
        /// One of them.
        first: String,
        /// The other.
        second: String,
        /// Their number.
        id: u32,
    },
    /// A merge that is not two tokens with a space between them.
    #[error(
        "the vocabulary is damaged: merge {index} is \"{}\", and must be two tokens",
        brief(merge)
    )]
    Merge {
        /// Its position in the list.
        index: usize,
        /// The merge.
        merge: String,
    },
    /// A merge of tokens that are not in the vocabulary, or that make none.
    #[error(
        "the vocabulary is damaged: merge {index} needs the token \"{}\", which is not there",
        brief(token)
    )]
    MergeToken {
        /// Its position in the list.
        index: usize,
        /// The token.
        token: String,
    },
    /// The tokenizer does not accept the vocabulary.
    #[error("the vocabulary is damaged: {}", brief(reason))]
    Rejected {
        /// What the tokenizer says.
        reason: String,
    },
}

impl From<tokenizers::Error> for TokenizerError {
    fn from(error: tokenizers::Error) -> Self {
        Self::Rejected { reason: error.to_string() }
    }
}
