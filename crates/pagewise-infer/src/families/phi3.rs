//! The `phi3` architecture: Phi-3, Phi-3.5 and Phi-4-mini. Some matrices are stored as one, a part of
//! each head may not be turned, and long windows have frequencies of their own.

use super::Family;
use super::metadata::{llama_like_gguf, set_gguf_windows};
use super::settings::{LLAMA_DEFAULTS, llama_like_hf, set_hf_windows};
use crate::decoder::{Biases, DecoderConfig, RopePairing};
use crate::{Gguf, HfFolder, LoadError};

pub(super) const FAMILY: Family = Family {
    gguf: "phi3",
    model_types: &["phi3"],
    from_gguf,
    from_hf,
    hf_names: &[("attn_qkv", "self_attn.qkv_proj"), ("ffn_up", "mlp.gate_up_proj")],
};

fn from_gguf(gguf: &Gguf) -> Result<DecoderConfig, LoadError> {
    let mut config = llama_like_gguf(gguf, RopePairing::Neox)?;
    config.biases = Biases::default();
    // No layer is left out.
    set_gguf_windows(gguf, &mut config, usize::MAX)?;
    Ok(config)
}

fn from_hf(folder: &HfFolder) -> Result<DecoderConfig, LoadError> {
    let mut config = llama_like_hf(folder, LLAMA_DEFAULTS)?;
    let n_layers = config.layers.len();
    set_hf_windows(folder.config(), &mut config, &vec![true; n_layers])?;
    Ok(config)
}
