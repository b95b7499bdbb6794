//! What the metadata of GGUF have in common, whatever the family.

use super::fault;
use super::yarn::Yarn;
use crate::decoder::{Biases, DecoderConfig, MAX_HEAD_DIM, Rope, RopePairing, RopeScaling};
use crate::{Gguf, LoadError, OneOrMany, TensorType};

/// Reads what all families write alike in GGUF: a Llama, apart from `pairing`.
pub(super) fn llama_like_gguf(
    gguf: &Gguf,
    pairing: RopePairing,
) -> Result<DecoderConfig, LoadError> {
    if gguf.get_for_architecture("expert_count")?.unwrap_or(0u32) > 0 {
        return Err(fault(
            gguf,
            "is a mixture of experts, which is not supported; use a dense model",
        ));
    }
    llama_or_experts_gguf(gguf, pairing)
}

/// Reads as [`llama_like_gguf`] does, and leaves experts to the family.
pub(super) fn llama_or_experts_gguf(
    gguf: &Gguf,
    pairing: RopePairing,
) -> Result<DecoderConfig, LoadError> {
    let hidden: usize = gguf.require_for_architecture("embedding_length")?;
    let n_heads: usize = gguf.require_for_architecture("attention.head_count")?;
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
    let n_layers: usize = gguf.require_for_architecture("block_count")?;
    let layers = DecoderConfig::full_attention(n_layers).map_err(|reason| fault(gguf, reason))?;
    let has_bias = |part: &str| gguf.tensor(&format!("blk.0.{part}.bias")).is_some();
    let context_length: usize = gguf.require_for_architecture("context_length")?;
    let stretched = gguf_yarn(gguf, context_length)?.map_or(0, |yarn| yarn.context_length());
    Ok(DecoderConfig {
        layers,
        hidden,
        feed_forward: gguf.require_for_architecture("feed_forward_length")?,
        n_heads,
        n_kv_heads: gguf_kv_heads(gguf)?.unwrap_or(n_heads),
        head_dim,
        vocabulary: gguf
            .require_tensor("token_embd.weight")?
            .shape()
            .first()
            .copied()
            .unwrap_or_default(),
        // Converters leave it at the original window.
        context_length: context_length.max(stretched),
        rms_epsilon: gguf.require_for_architecture("attention.layer_norm_rms_epsilon")?,
        ropes: vec![gguf_rope(gguf, pairing, head_dim, context_length)?],
        biases: Biases {
            qkv: has_bias("attn_q"),
            attention_output: has_bias("attn_output"),
            feed_forward: has_bias("ffn_up"),
        },
        is_tied: gguf.tensor("output.weight").is_none(),
        ..DecoderConfig::default()
    })
}

/// Returns the key and value heads: one number, or a list where layers without any have zero.
fn gguf_kv_heads(gguf: &Gguf) -> Result<Option<usize>, LoadError> {
    const KEY: &str = "attention.head_count_kv";
    match gguf.get_for_architecture(KEY)? {
        None => Ok(None),
        Some(OneOrMany::One(number)) => Ok(Some(number as usize)),
        Some(OneOrMany::Many(numbers)) => {
            let mut counts = numbers.into_iter().filter(|count| *count > 0);
            let first = counts.next().unwrap_or_default();
            if counts.any(|count| count != first) {
                return Err(fault(
                    gguf,
                    "has layers with different numbers of key and value heads, which is not \
                     supported",
                ));
            }
            Ok(Some(first as usize))
        }
    }
}

fn gguf_rope(
    gguf: &Gguf,
    pairing: RopePairing,
    head_dim: usize,
    context_length: usize,
) -> Result<Rope, LoadError> {
    let dim = gguf.get_for_architecture("rope.dimension_count")?.unwrap_or(head_dim);
    let theta = gguf.get_for_architecture("rope.freq_base")?.unwrap_or(10_000.0);
    let magnitude = gguf.get_for_architecture("rope.scaling.attn_factor")?.unwrap_or(1.0);
    let rope = Rope { dim, theta, pairing, scaling: RopeScaling::None, magnitude };
    let Some(yarn) = gguf_yarn(gguf, context_length)? else {
        return Ok(Rope { scaling: gguf_rope_scaling(gguf)?, ..rope });
    };
    // Before there are so many divisors.
    if dim > MAX_HEAD_DIM {
        return Err(fault(gguf, format!("turns {dim} numbers of a head by RoPE")));
    }
    let usual = Yarn::magnitude(yarn.factor, 1.0) as f32;
    let set: Option<f32> = gguf.get_for_architecture("rope.scaling.yarn_attn_factor")?;
    Ok(Rope {
        scaling: RopeScaling::Divisors(yarn.divisors(dim, f64::from(theta))),
        magnitude: magnitude * set.unwrap_or(usual),
        ..rope
    })
}

/// Reads YaRN, if that is the kind of scaling.
fn gguf_yarn(gguf: &Gguf, context_length: usize) -> Result<Option<Yarn>, LoadError> {
    let kind: Option<&str> = gguf.get_for_architecture("rope.scaling.type")?;
    if kind != Some("yarn") {
        return Ok(None);
    }
    let number = |key: &str| -> Result<Option<f64>, LoadError> {
        let number: Option<f32> = gguf.get_for_architecture(&format!("rope.scaling.{key}"))?;
        Ok(number.map(f64::from))
    };
    if number("yarn_ext_factor")?.is_some_and(|factor| factor != 1.0)
        || number("yarn_log_multiplier")?.is_some_and(|factor| factor != 0.0)
    {
        return Err(fault(gguf, "asks for a variant of YaRN that is not supported"));
    }
    let original: Option<usize> =
        gguf.get_for_architecture("rope.scaling.original_context_length")?;
    let factor: f32 = gguf.require_for_architecture("rope.scaling.factor")?;
    let [fast, slow] = Yarn::BETAS;
    Ok(Some(Yarn {
        factor: f64::from(factor),
        original_context: original.unwrap_or(context_length) as f64,
        beta_fast: number("yarn_beta_fast")?.unwrap_or(fast),
        beta_slow: number("yarn_beta_slow")?.unwrap_or(slow),
        truncates: true,
    }))
}

fn gguf_rope_scaling(gguf: &Gguf) -> Result<RopeScaling, LoadError> {
    // What Llama 3.1 calls its scaling is written out by the converter, one divisor per frequency.
    if let Some(divisors) = gguf_floats(gguf, "rope_freqs.weight")? {
        return Ok(RopeScaling::Divisors(divisors));
    }
    if let Some(long) = gguf_floats(gguf, "rope_factors_long.weight")? {
        let short = gguf_floats(gguf, "rope_factors_short.weight")?;
        return Ok(RopeScaling::LongRope {
            short: short.ok_or_else(|| fault(gguf, "has no rope_factors_short.weight"))?,
            long,
            original_context: gguf
                .require_for_architecture("rope.scaling.original_context_length")?,
        });
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

/// Returns the numbers of a small tensor, if it is there.
fn gguf_floats(gguf: &Gguf, name: &str) -> Result<Option<Vec<f32>>, LoadError> {
    let Some(tensor) = gguf.tensor(name) else { return Ok(None) };
    if tensor.tensor_type() != TensorType::F32 {
        return Err(fault(gguf, format!("has {name} in a type other than F32")));
    }
    // Before it is copied: one for each pair of numbers in a head.
    if tensor.n_elements() > MAX_HEAD_DIM / 2 {
        return Err(fault(gguf, format!("has {} numbers in {name}", tensor.n_elements())));
    }
    let chunks = tensor.bytes().as_chunks().0;
    Ok(Some(chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
}

/// Lets layers see only a window if GGUF has one: those that the metadata list, or else all but
/// every `pattern`th. In GGUF a window of 0 is none.
pub(super) fn set_gguf_windows(
    gguf: &Gguf,
    config: &mut DecoderConfig,
    pattern: usize,
) -> Result<Vec<bool>, LoadError> {
    const PATTERN: &str = "attention.sliding_window_pattern";
    let window: usize = gguf.get_for_architecture("attention.sliding_window")?.unwrap_or(0);
    let n_layers = config.layers.len();
    let is_windowed: Vec<bool> = match gguf.get_for_architecture::<Vec<bool>>(PATTERN) {
        Ok(Some(listed)) if listed.len() == n_layers => listed,
        Ok(Some(_)) => return Err(fault(gguf, "lists windows for another number of layers")),
        Ok(None) => (0..n_layers).map(|index| (index + 1) % pattern != 0).collect(),
        Err(_) => {
            let pattern: usize = gguf.require_for_architecture(PATTERN)?;
            (0..n_layers).map(|index| pattern == 0 || (index + 1) % pattern != 0).collect()
        }
    };
    if window == 0 {
        return Ok(vec![false; n_layers]);
    }
    config.set_windows(window, |index| is_windowed[index]);
    Ok(is_windowed)
}
