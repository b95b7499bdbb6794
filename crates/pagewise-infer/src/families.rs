//! Model families: what the metadata of each architecture mean to the one decoder.

mod llama;
mod qwen2;

use crate::decoder::{DecoderConfig, Rope, RopePairing, RopeScaling};
use crate::{Gguf, LoadError};

type Read = fn(&Gguf) -> Result<DecoderConfig, LoadError>;

/// The architectures as GGUF names them, and how each is read.
const FAMILIES: [(&str, Read); 2] = [("llama", llama::config), ("qwen2", qwen2::config)];

/// Reads the metadata of `gguf` as its architecture has them.
pub(crate) fn config(gguf: &Gguf) -> Result<DecoderConfig, LoadError> {
    let architecture = gguf.architecture();
    let Some((_, read)) = FAMILIES.iter().find(|(name, _)| *name == architecture) else {
        return Err(LoadError::Architecture {
            path: gguf.path().to_owned(),
            architecture: architecture.to_owned(),
            supported: FAMILIES.map(|(name, _)| name).join(", "),
        });
    };
    let config = read(gguf)?;
    config.check().map_err(|reason| fault(gguf, reason))?;
    Ok(config)
}

/// Makes an error about the metadata of `gguf`.
pub(crate) fn fault(gguf: &Gguf, reason: impl Into<String>) -> LoadError {
    LoadError::Config { path: gguf.path().to_owned(), reason: reason.into() }
}

/// Reads what all families write alike; a family changes what it does otherwise.
fn common(gguf: &Gguf, pairing: RopePairing) -> Result<DecoderConfig, LoadError> {
    let hidden: usize = gguf.require_for_architecture("embedding_length")?;
    let n_heads: usize = gguf.require_for_architecture("attention.head_count")?;
    let n_kv_heads = gguf.get_for_architecture("attention.head_count_kv")?.unwrap_or(n_heads);
    let head_dim = match gguf.get_for_architecture("attention.key_length")? {
        Some(head_dim) => head_dim,
        None => hidden.checked_div(n_heads).ok_or_else(|| fault(gguf, "has no attention heads"))?,
    };
    let value_dim: Option<usize> = gguf.get_for_architecture("attention.value_length")?;
    if value_dim.is_some_and(|value_dim| value_dim != head_dim) {
        return Err(fault(
            gguf,
            "has keys and values of different lengths, which is not supported",
        ));
    }
    if gguf.get_for_architecture("expert_count")?.unwrap_or(0u32) > 0 {
        return Err(fault(
            gguf,
            "is a mixture of experts, which is not supported; use a dense model",
        ));
    }
    let vocabulary =
        gguf.require_tensor("token_embd.weight")?.shape().first().copied().unwrap_or_default();
    Ok(DecoderConfig {
        n_layers: gguf.require_for_architecture("block_count")?,
        hidden,
        feed_forward: gguf.require_for_architecture("feed_forward_length")?,
        n_heads,
        n_kv_heads,
        head_dim,
        vocabulary,
        context_length: gguf.require_for_architecture("context_length")?,
        rms_epsilon: gguf.require_for_architecture("attention.layer_norm_rms_epsilon")?,
        rope: Rope {
            dim: gguf.get_for_architecture("rope.dimension_count")?.unwrap_or(head_dim),
            theta: gguf.get_for_architecture("rope.freq_base")?.unwrap_or(10_000.0),
            pairing,
            scaling: rope_scaling(gguf)?,
        },
        qkv_bias: false,
    })
}

fn rope_scaling(gguf: &Gguf) -> Result<RopeScaling, LoadError> {
    // What Llama 3.1 calls its scaling is written out by the converter, one divisor per frequency.
    if let Some(tensor) = gguf.tensor("rope_freqs.weight") {
        let bytes = tensor.bytes();
        if tensor.tensor_type() != crate::TensorType::F32 {
            return Err(fault(gguf, "has rope_freqs.weight in a type other than F32"));
        }
        let divisors: Vec<f32> =
            bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        return Ok(RopeScaling::Divisors(divisors));
    }
    let kind: Option<&str> = gguf.get_for_architecture("rope.scaling.type")?;
    match kind {
        None | Some("none") => {
            // Older converters wrote only this key.
            Ok(match gguf.get_for_architecture("rope.scale_linear")? {
                None => RopeScaling::None,
                Some(factor) => RopeScaling::Linear { factor },
            })
        }
        Some("linear") => Ok(RopeScaling::Linear {
            factor: gguf.require_for_architecture("rope.scaling.factor")?,
        }),
        Some(other) => Err(fault(
            gguf,
            format!("asks for RoPE scaling of the type \"{other}\", which is not supported"),
        )),
    }
}
