//! The `qwen2` architecture: Qwen2 and Qwen2.5, Coder included.

use super::Family;
use super::metadata::llama_like_gguf;
use super::settings::{LLAMA_DEFAULTS, hf_windowed, llama_like_hf, set_hf_windows};
use crate::decoder::{Biases, DecoderConfig, RopePairing};
use crate::{Gguf, HfFolder, LoadError};

pub(super) const FAMILY: Family =
    Family { gguf: "qwen2", model_types: &["qwen2"], from_gguf, from_hf, hf_names: &[] };

const BIASES: Biases = Biases { qkv: true, attention_output: false, feed_forward: false };

fn from_gguf(gguf: &Gguf) -> Result<DecoderConfig, LoadError> {
    Ok(DecoderConfig { biases: BIASES, ..llama_like_gguf(gguf, RopePairing::Neox)? })
}

fn from_hf(folder: &HfFolder) -> Result<DecoderConfig, LoadError> {
    let config = llama_like_hf(folder, LLAMA_DEFAULTS)?;
    windowed(folder, DecoderConfig { biases: BIASES, ..config })
}

/// Sets the windows of Qwen2 and Qwen3, which have them only if they say so twice.
pub(super) fn windowed(
    folder: &HfFolder,
    mut config: DecoderConfig,
) -> Result<DecoderConfig, LoadError> {
    let hf = folder.config();
    if hf.get("use_sliding_window")?.unwrap_or(false) {
        let first: usize = hf.get("max_window_layers")?.unwrap_or(0);
        let is_windowed = hf_windowed(hf, config.layers.len(), |index| index >= first)?;
        set_hf_windows(hf, &mut config, &is_windowed)?;
    }
    Ok(config)
}
