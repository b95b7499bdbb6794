//! The `qwen2` architecture: Qwen2 and Qwen2.5, Coder included.

use super::common;
use crate::decoder::{DecoderConfig, RopePairing};
use crate::{Gguf, LoadError};

pub(super) fn config(gguf: &Gguf) -> Result<DecoderConfig, LoadError> {
    let mut config = common(gguf, RopePairing::Neox)?;
    config.qkv_bias = true;
    Ok(config)
}
