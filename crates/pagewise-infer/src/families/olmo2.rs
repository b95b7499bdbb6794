//! The `olmo2` architecture: norms stand behind attention and feed-forward network, and queries and
//! keys are normed with all their heads together.

use super::Family;
use super::metadata::llama_like_gguf;
use super::settings::{LLAMA_DEFAULTS, llama_like_hf};
use crate::decoder::{DecoderConfig, NormPlacement, QkNorm, RopePairing};
use crate::{Gguf, HfFolder, LoadError};

pub(super) const FAMILY: Family = Family {
    gguf: "olmo2",
    model_types: &["olmo2"],
    from_gguf,
    from_hf,
    hf_names: &[
        ("post_attention_norm", "post_attention_layernorm"),
        ("post_ffw_norm", "post_feedforward_layernorm"),
    ],
};

fn from_gguf(gguf: &Gguf) -> Result<DecoderConfig, LoadError> {
    if gguf.get_for_architecture("attention.sliding_window")?.unwrap_or(0u32) > 0 {
        // OLMo 3, which goes by the same name.
        return Err(super::fault(gguf, "is an olmo2 with windows, which is not supported"));
    }
    Ok(olmo2(llama_like_gguf(gguf, RopePairing::Neox)?))
}

fn from_hf(folder: &HfFolder) -> Result<DecoderConfig, LoadError> {
    Ok(olmo2(llama_like_hf(folder, LLAMA_DEFAULTS)?))
}

fn olmo2(config: DecoderConfig) -> DecoderConfig {
    DecoderConfig { norms: NormPlacement::Post, qk_norm: QkNorm::Whole, ..config }
}
