//! The `llama` architecture: Llama, Mistral, SmolLM and SmolLM2, TinyLlama, …

use super::Family;
use super::metadata::{llama_like_gguf, set_gguf_windows};
use super::settings::{LLAMA_DEFAULTS, llama_like_hf, set_hf_windows};
use crate::decoder::{DecoderConfig, RopePairing};
use crate::{Gguf, HfFolder, LoadError};

pub(super) const FAMILY: Family =
    Family { gguf: "llama", model_types: &["llama", "mistral"], from_gguf, from_hf, hf_names: &[] };

fn from_gguf(gguf: &Gguf) -> Result<DecoderConfig, LoadError> {
    // The converter permutes the rows of q and k so that the numbers of a pair lie side by side.
    let mut config = llama_like_gguf(gguf, RopePairing::Norm)?;
    // Only the first Mistral has a window. Other converters leave it out, and other programs do not
    // look for it: they do the same as long as a text is not longer than it.
    set_gguf_windows(gguf, &mut config, usize::MAX)?;
    Ok(config)
}

fn from_hf(folder: &HfFolder) -> Result<DecoderConfig, LoadError> {
    let mut config = llama_like_hf(folder, LLAMA_DEFAULTS)?;
    let n_layers = config.layers.len();
    set_hf_windows(folder.config(), &mut config, &vec![true; n_layers])?;
    Ok(config)
}
