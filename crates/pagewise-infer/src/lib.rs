//! Open weights in, tokens out: everything between a weights file and the text of an answer.
//!
//! [`Engine`] is the door: it implements [`pagewise_core::LanguageModel`] over a `LoadedModel`, which
//! is a weights file, its tokenizer, its chat template and the one [`Decoder`], and over a [`Session`]
//! for each prompt that is kept. [`SentenceEmbedder`] turns texts into vectors. A weights file may be
//! anybody's: it is validated before a byte of it is believed. This crate knows nothing of memory.

mod brief;
mod chat_template;
mod compute;
mod convert;
mod decoder;
mod detokenizer;
mod embedder;
mod engine;
mod error;
mod families;
mod fingerprint;
mod gguf;
mod hf;
mod json;
mod kv_cache;
mod likelihood;
mod linear;
mod model;
mod plan;
mod prompt_lookup;
mod rows;
mod sampler;
mod session;
mod snapshot;
mod thinking;
mod tokenizer;
mod weights;

pub use chat_template::{ChatTemplate, ChatTemplateError};
pub use compute::{Compute, DeviceChoice};
pub use convert::{ConvertError, ConvertOptions, Converted, OnTensor, convert};
pub use decoder::{
    Activation, Biases, Decoder, DecoderConfig, Experts, LayerKind, NormPlacement,
    PREFILL_CHUNK_TOKENS, QkNorm, Rope, RopePairing, RopeScaling,
};
pub use detokenizer::Detokenizer;
pub use embedder::SentenceEmbedder;
pub use engine::{Engine, EngineOptions};
pub use error::{InferError, LoadError, OutOfMemory};
pub use gguf::{
    FromMetadata, Gguf, GgufError, GgufProblem, GgufTensor, MetadataValue, OneOrMany, Strings,
    TensorBytes, TensorType,
};
pub use hf::{HfError, HfFolder, HfProblem};
pub use kv_cache::KvCache;
pub use likelihood::log_probability;
pub use model::{LoadedModel, ModelDescription};
pub use pagewise_kernels::Isa;
pub use plan::{MemoryPlan, ModelPlan, Speed};
pub use sampler::Sampler;
pub use session::{Session, Synced};
pub use snapshot::{SnapshotError, SnapshotKey};
pub use tokenizer::{FolderError, Tokenizer, TokenizerError};
pub use weights::{TensorSummary, Weights};
