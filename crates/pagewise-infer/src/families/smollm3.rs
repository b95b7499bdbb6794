//! The `smollm3` architecture: every fourth layer is not told positions.

use super::Family;
use super::metadata::llama_like_gguf;
use super::settings::{Defaults, LLAMA_DEFAULTS, hf_windowed, llama_like_hf, set_hf_windows};
use crate::decoder::{DecoderConfig, RopePairing};
use crate::{Gguf, HfFolder, LoadError};

pub(super) const FAMILY: Family =
    Family { gguf: "smollm3", model_types: &["smollm3"], from_gguf, from_hf, hf_names: &[] };

const INTERVAL: usize = 4;

fn from_gguf(gguf: &Gguf) -> Result<DecoderConfig, LoadError> {
    let mut config = llama_like_gguf(gguf, RopePairing::Norm)?;
    config.set_ropes(|index| has_rope(index, INTERVAL));
    Ok(config)
}

fn from_hf(folder: &HfFolder) -> Result<DecoderConfig, LoadError> {
    let hf = folder.config();
    let mut config = llama_like_hf(folder, Defaults { theta: 2e6, ..LLAMA_DEFAULTS })?;
    // The list says the opposite of its name.
    match hf.get::<Vec<u8>>("no_rope_layers")? {
        Some(list) if list.len() == config.layers.len() => {
            config.set_ropes(|index| (list[index] != 0).then_some(0));
        }
        Some(_) => return Err(hf.fault("lists RoPE for another number of layers")),
        None => {
            let interval = hf.get("no_rope_layer_interval")?.unwrap_or(INTERVAL);
            config.set_ropes(|index| has_rope(index, interval));
        }
    }
    if hf.get("use_sliding_window")?.unwrap_or(false) {
        let is_windowed = hf_windowed(hf, config.layers.len(), |_| false)?;
        set_hf_windows(hf, &mut config, &is_windowed)?;
    }
    Ok(config)
}

fn has_rope(index: usize, interval: usize) -> Option<usize> {
    (!(index + 1).is_multiple_of(interval)).then_some(0)
}
