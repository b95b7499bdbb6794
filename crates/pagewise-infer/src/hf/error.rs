//! Why a folder of weights is refused.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::brief::brief;

/// A file of a folder of weights that cannot be used.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
pub struct HfError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: HfProblem,
}

/// What is wrong with a file of a folder of weights.
#[derive(Debug, Error)]
pub enum HfProblem {
    /// The operating system would not open, measure or map it.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// A folder, a pipe or a device.
    #[error("is not a file")]
    NotAFile,
    /// It ends before its header does.
    #[error("is damaged or incomplete: its header does not fit into its {file_bytes} bytes")]
    HeaderTruncated {
        /// The size of the file.
        file_bytes: usize,
    },
    /// A header far larger than any real one.
    #[error(
        "is no safetensors file, or is damaged: its header would take {bytes} bytes, and at most \
         {max} are read"
    )]
    HeaderTooLarge {
        /// How large it would be.
        bytes: u64,
        /// How large it may be.
        max: u64,
    },
    /// A file of settings far larger than any real one.
    #[error("has more than the {max} bytes that are read of such a file")]
    JsonTooLarge {
        /// How large it may be.
        max: u64,
    },
    /// The JSON is none, or says something else than it should.
    #[error("is damaged: {}", brief(_0))]
    Json(serde_json::Error),
    /// A tensor whose place in the file is impossible.
    #[error("is damaged or incomplete: tensor {} {reason}; fetch it again", brief(name))]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Numbers that are stored in a way that is not supported.
    #[error(
        "has tensor {} stored as {}, which is not supported; supported are F32, F16, BF16",
        brief(name),
        brief(found)
    )]
    UnsupportedType {
        /// The tensor.
        name: String,
        /// How it is stored.
        found: String,
    },
    /// A tensor that the family needs is not there.
    #[error("has no tensor {}, which its config.json asks for", brief(name))]
    MissingTensor {
        /// The tensor.
        name: String,
    },
    /// A tensor that no supported model has.
    #[error("has {name}, which is not supported")]
    UnknownTensor {
        /// The tensor.
        name: String,
    },
    /// A tensor is in two of the files.
    #[error("has tensor {}, which another of the files has as well", brief(name))]
    DuplicateTensor {
        /// The tensor.
        name: String,
    },
    /// The index and the files contradict each other.
    #[error("says that {} has tensor {}, and it has not", brief(shard), brief(name))]
    NotInShard {
        /// The tensor.
        name: String,
        /// The file.
        shard: String,
    },
    /// The index names a file that cannot be one of its folder's.
    #[error("names the file \"{}\", which is no safetensors file beside it", brief(name))]
    ShardName {
        /// What it names.
        name: String,
    },
    /// The index names more files than any model has.
    #[error("names {n_shards} files, and at most {max} are allowed")]
    TooManyShards {
        /// How many it names.
        n_shards: usize,
        /// How many it may name.
        max: usize,
    },
    /// A setting is missing.
    #[error("does not say {key:?}, which this kind of model needs")]
    MissingKey {
        /// The setting.
        key: String,
    },
    /// A setting is not what it should be.
    #[error("has a value of {key:?} that cannot be used: {}", brief(source))]
    IllTyped {
        /// The setting.
        key: String,
        /// Why not.
        source: serde_json::Error,
    },
}
