//! The `granite` architecture: a Llama with a factor at each of four places.

use super::Family;
use super::metadata::llama_like_gguf;
use super::settings::{LLAMA_DEFAULTS, llama_like_hf};
use crate::decoder::{DecoderConfig, RopePairing};
use crate::{Gguf, HfFolder, LoadError};

pub(super) const FAMILY: Family =
    Family { gguf: "granite", model_types: &["granite"], from_gguf, from_hf, hf_names: &[] };

fn from_gguf(gguf: &Gguf) -> Result<DecoderConfig, LoadError> {
    Ok(DecoderConfig {
        embedding_scale: gguf.get_for_architecture("embedding_scale")?.unwrap_or(1.0),
        residual_scale: gguf.get_for_architecture("residual_scale")?.unwrap_or(1.0),
        attention_scale: gguf.get_for_architecture("attention.scale")?,
        // Logits are divided.
        logit_scale: gguf.get_for_architecture("logit_scale")?.unwrap_or(1f32).recip(),
        ..llama_like_gguf(gguf, RopePairing::Norm)?
    })
}

fn from_hf(folder: &HfFolder) -> Result<DecoderConfig, LoadError> {
    let hf = folder.config();
    Ok(DecoderConfig {
        embedding_scale: hf.get("embedding_multiplier")?.unwrap_or(1.0),
        residual_scale: hf.get("residual_multiplier")?.unwrap_or(1.0),
        attention_scale: Some(hf.get("attention_multiplier")?.unwrap_or(1.0)),
        logit_scale: hf.get("logits_scaling")?.unwrap_or(1f32).recip(),
        ..llama_like_hf(folder, LLAMA_DEFAULTS)?
    })
}
