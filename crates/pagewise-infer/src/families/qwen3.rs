//! The `qwen3` architecture: queries and keys are normed, each head by itself.

use super::metadata::llama_like_gguf;
use super::settings::{Defaults, LLAMA_DEFAULTS, llama_like_hf};
use super::{Family, qwen2};
use crate::decoder::{DecoderConfig, QkNorm, RopePairing};
use crate::{Gguf, HfFolder, LoadError};

pub(super) const FAMILY: Family =
    Family { gguf: "qwen3", model_types: &["qwen3"], from_gguf, from_hf, hf_names: &[] };

fn from_gguf(gguf: &Gguf) -> Result<DecoderConfig, LoadError> {
    let config = llama_like_gguf(gguf, RopePairing::Neox)?;
    Ok(DecoderConfig { qk_norm: QkNorm::PerHead, ..config })
}

fn from_hf(folder: &HfFolder) -> Result<DecoderConfig, LoadError> {
    let config = llama_like_hf(folder, Defaults { head_dim: Some(128), ..LLAMA_DEFAULTS })?;
    qwen2::windowed(folder, DecoderConfig { qk_norm: QkNorm::PerHead, ..config })
}
