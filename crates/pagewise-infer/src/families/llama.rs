//! The `llama` architecture: Llama, Mistral, SmolLM and SmolLM2, TinyLlama, …

use super::common;
use crate::decoder::{DecoderConfig, RopePairing};
use crate::{Gguf, LoadError};

pub(super) fn config(gguf: &Gguf) -> Result<DecoderConfig, LoadError> {
    // The converter permutes the rows of q and k so that the numbers of a pair lie side by side.
    let mut config = common(gguf, RopePairing::Norm)?;
    config.qkv_bias = gguf.tensor("blk.0.attn_q.bias").is_some();
    Ok(config)
}
