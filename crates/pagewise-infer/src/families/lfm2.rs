//! The `lfm2` architecture: most layers convolve the last few tokens, the others attend.

use super::Family;
use super::metadata::llama_like_gguf;
use super::settings::{Defaults, LLAMA_DEFAULTS, llama_like_hf};
use crate::decoder::{DecoderConfig, LayerKind, QkNorm, RopePairing};
use crate::{Gguf, HfFolder, LoadError, OneOrMany};

pub(super) const FAMILY: Family = Family {
    gguf: "lfm2",
    model_types: &["lfm2"],
    from_gguf,
    from_hf,
    hf_names: &[
        ("output_norm", "embedding_norm"),
        ("attn_norm", "operator_norm"),
        ("attn_output", "self_attn.out_proj"),
        ("attn_q_norm", "self_attn.q_layernorm"),
        ("attn_k_norm", "self_attn.k_layernorm"),
        ("ffn_norm", "ffn_norm"),
        ("ffn_gate", "feed_forward.w1"),
        ("ffn_up", "feed_forward.w3"),
        ("ffn_down", "feed_forward.w2"),
        ("shortconv.conv", "conv.conv"),
        ("shortconv.in_proj", "conv.in_proj"),
        ("shortconv.out_proj", "conv.out_proj"),
    ],
};

fn from_gguf(gguf: &Gguf) -> Result<DecoderConfig, LoadError> {
    let mut config = llama_like_gguf(gguf, RopePairing::Neox)?;
    config.qk_norm = QkNorm::PerHead;
    let kernel = gguf.require_for_architecture("shortconv.l_cache")?;
    // A layer without key and value heads does not attend.
    let n_kv_heads: OneOrMany = gguf.require_for_architecture("attention.head_count_kv")?;
    for (index, layer) in config.layers.iter_mut().enumerate() {
        if n_kv_heads.get(index) == Some(0) {
            *layer = LayerKind::ShortConv { kernel };
        }
    }
    Ok(config)
}

fn from_hf(folder: &HfFolder) -> Result<DecoderConfig, LoadError> {
    let hf = folder.config();
    let mut config = llama_like_hf(folder, Defaults { theta: 1e6, ..LLAMA_DEFAULTS })?;
    config.qk_norm = QkNorm::PerHead;
    config.rms_epsilon = hf.require("norm_eps")?;
    // What `intermediate_size` says is rounded, in a way of its own.
    if let Some(gate) = folder.tensor("blk.0.ffn_gate.weight")? {
        config.feed_forward = gate.n_rows();
    }
    let kernel = hf.require("conv_L_cache")?;
    let types: Option<Vec<String>> = hf.get("layer_types")?;
    let attending: Option<Vec<usize>> = hf.get("full_attn_idxs")?;
    for (index, layer) in config.layers.iter_mut().enumerate() {
        let attends = match (&types, &attending) {
            (Some(types), _) => types.get(index).is_some_and(|kind| kind == "full_attention"),
            (None, Some(attending)) => attending.contains(&index),
            (None, None) => return Err(hf.fault("does not say which layers attend")),
        };
        if !attends {
            *layer = LayerKind::ShortConv { kernel };
        }
    }
    Ok(config)
}
