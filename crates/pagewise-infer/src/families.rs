//! Model families: what the settings of each architecture mean to the one decoder.
//!
//! A family has one file, which says what differs from a Llama: once for the metadata of GGUF, and
//! once for the `config.json` of Hugging Face, with the names that its tensors have there.

mod gemma;
mod granite;
mod lfm2;
mod llama;
mod metadata;
mod olmo2;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen3moe;
mod settings;
mod smollm3;
mod yarn;

use crate::brief::brief;
use crate::hf::HfConfig;
use crate::{DecoderConfig, Gguf, HfFolder, LoadError};
pub(crate) use settings::{llama3_divisors, yarn_of_folder};
pub(crate) use yarn::Yarn;

/// A family of models.
pub(crate) struct Family {
    /// The architecture as GGUF names it.
    pub(crate) gguf: &'static str,
    /// The `model_type`s that Hugging Face has for it, the one to write first.
    pub(crate) model_types: &'static [&'static str],
    from_gguf: fn(&Gguf) -> Result<DecoderConfig, LoadError>,
    from_hf: fn(&HfFolder) -> Result<DecoderConfig, LoadError>,
    /// What differs from [`HF_NAMES`]; these come first.
    pub(crate) hf_names: &'static [(&'static str, &'static str)],
}

const FAMILIES: [&Family; 11] = [
    &llama::FAMILY,
    &qwen2::FAMILY,
    &qwen3::FAMILY,
    &qwen3moe::FAMILY,
    &gemma::FAMILY_2,
    &gemma::FAMILY_3,
    &phi3::FAMILY,
    &smollm3::FAMILY,
    &granite::FAMILY,
    &olmo2::FAMILY,
    &lfm2::FAMILY,
];

/// Parts of tensor names: GGUF's, and Hugging Face's.
pub(crate) const HF_NAMES: [(&str, &str); 14] = [
    ("token_embd", "embed_tokens"),
    ("output_norm", "norm"),
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("ffn_gate_inp", "mlp.gate"),
];

/// Returns the family that a GGUF file says it is of.
pub(crate) fn of_gguf(gguf: &Gguf) -> Result<&'static Family, LoadError> {
    let architecture = gguf.architecture();
    let family = FAMILIES.into_iter().find(|family| family.gguf == architecture);
    family.ok_or_else(|| LoadError::Architecture {
        path: gguf.path().to_owned(),
        // It may be megabytes long.
        architecture: brief(architecture),
        supported: FAMILIES.map(|family| family.gguf).join(", "),
    })
}

/// Reads the metadata of `gguf` as its architecture has them.
pub(crate) fn config_of_gguf(gguf: &Gguf) -> Result<DecoderConfig, LoadError> {
    let config = (of_gguf(gguf)?.from_gguf)(gguf)?;
    config.check().map_err(|reason| fault(gguf, reason))?;
    Ok(config)
}

/// Returns the family that a `config.json` says it is of.
pub(crate) fn of_model_type(config: &HfConfig) -> Result<&'static Family, LoadError> {
    let model_type: String = config.require("model_type")?;
    let is_it = |family: &&&Family| family.model_types.contains(&model_type.as_str());
    let Some(family) = FAMILIES.iter().find(is_it) else {
        return Err(LoadError::Architecture {
            path: config.path().to_owned(),
            architecture: model_type.clone(),
            supported: FAMILIES.map(|family| family.model_types.join(", ")).join(", "),
        });
    };
    if config.has("quantization_config") {
        return Err(config.fault(
            "describes quantised weights, which are not supported in this form; use a GGUF file, or \
             the weights that they were made from",
        ));
    }
    Ok(family)
}

/// Reads the `config.json` of `folder` as its family has it.
pub(crate) fn config_of_folder(folder: &HfFolder) -> Result<DecoderConfig, LoadError> {
    let config = (folder.family().from_hf)(folder)?;
    config.check().map_err(|reason| folder.config().fault(reason))?;
    Ok(config)
}

/// Returns what GGUF files of a family have the products of queries and keys multiplied with if
/// they do not say it: what is not so goes into the weights.
pub(crate) fn unsaid_attention_scale(family: &Family, config: &DecoderConfig) -> f32 {
    let usual = (config.head_dim as f32).sqrt().recip();
    gemma::gguf_scale(family.gguf, config).unwrap_or(usual)
}

/// Makes an error about the metadata of `gguf`.
pub(crate) fn fault(gguf: &Gguf, reason: impl Into<String>) -> LoadError {
    LoadError::Config { path: gguf.path().to_owned(), reason: reason.into() }
}
