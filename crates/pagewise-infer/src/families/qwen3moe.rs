//! The `qwen3moe` architecture: Qwen3, with a mixture of experts in most layers.

use super::Family;
use super::metadata::llama_or_experts_gguf;
use super::settings::{LLAMA_DEFAULTS, llama_like_hf, set_hf_windows};
use crate::decoder::{DecoderConfig, Experts, QkNorm, RopePairing};
use crate::{Gguf, HfFolder, LoadError};

pub(super) const FAMILY: Family =
    Family { gguf: "qwen3moe", model_types: &["qwen3_moe"], from_gguf, from_hf, hf_names: &[] };

fn from_gguf(gguf: &Gguf) -> Result<DecoderConfig, LoadError> {
    let config = llama_or_experts_gguf(gguf, RopePairing::Neox)?;
    let experts = Experts {
        n_experts: gguf.require_for_architecture("expert_count")?,
        n_used: gguf.require_for_architecture("expert_used_count")?,
        feed_forward: gguf.require_for_architecture("expert_feed_forward_length")?,
        shares_add_up: true,
        // A layer without a router has one network.
        layers: (0..config.layers.len())
            .map(|index| gguf.tensor(&format!("blk.{index}.ffn_gate_inp.weight")).is_some())
            .collect(),
    };
    Ok(DecoderConfig { qk_norm: QkNorm::PerHead, experts: Some(experts), ..config })
}

fn from_hf(folder: &HfFolder) -> Result<DecoderConfig, LoadError> {
    let hf = folder.config();
    let config = llama_like_hf(folder, LLAMA_DEFAULTS)?;
    let n_experts: Option<usize> = hf.get("num_experts")?;
    let dense: Vec<usize> = hf.get("mlp_only_layers")?.unwrap_or_default();
    let step = hf.get("decoder_sparse_step")?.unwrap_or(1usize).max(1);
    let experts = Experts {
        n_experts: match n_experts {
            Some(n_experts) => n_experts,
            // As newer versions write it.
            None => hf.require("num_local_experts")?,
        },
        n_used: hf.require("num_experts_per_tok")?,
        feed_forward: hf.require("moe_intermediate_size")?,
        shares_add_up: hf.get("norm_topk_prob")?.unwrap_or(false),
        layers: (0..config.layers.len())
            .map(|index| !dense.contains(&index) && (index + 1).is_multiple_of(step))
            .collect(),
    };
    let n_layers = config.layers.len();
    let mut config = DecoderConfig { qk_norm: QkNorm::PerHead, experts: Some(experts), ..config };
    // Not only from some layer on, as in the Qwens without experts.
    if hf.get("use_sliding_window")?.unwrap_or(false) {
        set_hf_windows(hf, &mut config, &vec![true; n_layers])?;
    }
    Ok(config)
}
