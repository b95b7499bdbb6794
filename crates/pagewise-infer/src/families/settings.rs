//! What the settings in `config.json` have in common, whatever the family.

use super::yarn::Yarn;
use crate::decoder::{
    Activation, Biases, DecoderConfig, MAX_HEAD_DIM, Rope, RopePairing, RopeScaling,
};
use crate::hf::HfConfig;
use crate::{HfFolder, LoadError};

/// What a family means when `config.json` does not say it; where this has nothing, it has to.
#[derive(Clone, Copy)]
pub(super) struct Defaults {
    pub(super) theta: f32,
    pub(super) n_heads: Option<usize>,
    /// As many as query heads if `None`.
    pub(super) n_kv_heads: Option<usize>,
    /// What is left for each head if `None`.
    pub(super) head_dim: Option<usize>,
    pub(super) context_length: Option<usize>,
}

pub(super) const LLAMA_DEFAULTS: Defaults = Defaults {
    theta: 10_000.0,
    n_heads: None,
    n_kv_heads: None,
    head_dim: None,
    context_length: None,
};

/// Reads what all families write alike in `config.json`: a Llama, apart from `defaults`.
pub(super) fn llama_like_hf(
    folder: &HfFolder,
    defaults: Defaults,
) -> Result<DecoderConfig, LoadError> {
    let config = folder.config();
    let count = |key: &str, default: Option<usize>| match default {
        Some(default) => Ok(config.get(key)?.unwrap_or(default)),
        None => config.require(key),
    };
    let hidden: usize = config.require("hidden_size")?;
    let n_heads = count("num_attention_heads", defaults.n_heads)?;
    let head_dim = match config.get("head_dim")?.or(defaults.head_dim) {
        Some(head_dim) => head_dim,
        None => {
            hidden.checked_div(n_heads).ok_or_else(|| config.fault("has no attention heads"))?
        }
    };
    if head_dim > MAX_HEAD_DIM {
        return Err(config.fault(format!("asks for {head_dim} numbers per head")));
    }
    let layers = DecoderConfig::full_attention(config.require("num_hidden_layers")?)
        .map_err(|reason| config.fault(reason))?;
    let vocabulary = folder.tensor("token_embd.weight")?;
    let vocabulary = vocabulary.ok_or_else(|| folder.missing("token_embd.weight"))?.n_rows();
    let context_length = count("max_position_embeddings", defaults.context_length)?;
    let n_kv_heads = config.get("num_key_value_heads")?.or(defaults.n_kv_heads);
    let attention_bias = config.get("attention_bias")?.unwrap_or(false);
    let section = rope_section(config);
    let rope = hf_rope(config, section.clone(), head_dim, context_length, defaults.theta)?;
    let stretched = hf_yarn(config, section.as_ref(), context_length)?;
    let stretched = stretched.map_or(0, |yarn| yarn.context_length());
    Ok(DecoderConfig {
        layers,
        hidden,
        feed_forward: config.get("intermediate_size")?.unwrap_or_default(),
        n_heads,
        n_kv_heads: n_kv_heads.unwrap_or(n_heads),
        head_dim,
        vocabulary,
        // Makers leave it at the original window.
        context_length: context_length.max(stretched),
        rms_epsilon: config.get("rms_norm_eps")?.unwrap_or(1e-6),
        activation: hf_activation(config)?,
        ropes: vec![rope],
        biases: Biases {
            qkv: attention_bias,
            attention_output: attention_bias,
            feed_forward: config.get("mlp_bias")?.unwrap_or(false),
        },
        is_tied: folder.is_tied(),
        ..DecoderConfig::default()
    })
}

fn hf_activation(config: &HfConfig) -> Result<Activation, LoadError> {
    let name: Option<String> = match config.get("hidden_activation")? {
        Some(name) => Some(name),
        None => config.get("hidden_act")?,
    };
    match name.as_deref() {
        None | Some("silu") => Ok(Activation::Silu),
        Some("gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
        Some(other) => {
            Err(config
                .fault(format!("asks for the activation \"{other}\", which is not supported")))
        }
    }
}

/// Returns the part about RoPE, as newer or as older versions write it.
pub(super) fn rope_section(config: &HfConfig) -> Option<HfConfig> {
    config.section("rope_parameters").or_else(|| config.section("rope_scaling"))
}

/// Reads a RoPE from its section, and from what stands outside of it.
pub(super) fn hf_rope(
    config: &HfConfig,
    section: Option<HfConfig>,
    head_dim: usize,
    context_length: usize,
    default_theta: f32,
) -> Result<Rope, LoadError> {
    let section = section.as_ref();
    let inside = |key: &str| -> Result<Option<f32>, LoadError> {
        section.map_or(Ok(None), |section| section.get(key))
    };
    let either = |key: &str| -> Result<Option<f32>, LoadError> {
        Ok(match inside(key)? {
            Some(value) => Some(value),
            None => config.get(key)?,
        })
    };
    let kind = rope_kind(section)?;
    let dim = (head_dim as f32 * either("partial_rotary_factor")?.unwrap_or(1.0)) as usize;
    // Before as many frequencies are made.
    if dim > head_dim {
        return Err(config.fault(format!(
            "turns {dim} of {head_dim} numbers of a head by RoPE, which is impossible"
        )));
    }
    let theta = either("rope_theta")?.unwrap_or(default_theta);
    let required = |key: &str| -> Result<f32, LoadError> {
        inside(key)?.ok_or_else(|| config.fault(format!("has a RoPE scaling without {key:?}")))
    };
    let mut magnitude = 1.0;
    let scaling = match kind.as_deref() {
        None | Some("default") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear { factor: required("factor")? },
        Some("llama3") => {
            let factors =
                [required("factor")?, required("low_freq_factor")?, required("high_freq_factor")?];
            let original = required("original_max_position_embeddings")?;
            RopeScaling::Divisors(llama3_divisors((dim, theta), factors, original))
        }
        // The last two are what Phi called it first.
        Some("longrope" | "su" | "yarn")
            if section.is_some_and(|section| section.has("long_factor")) =>
        {
            let divisors = |key: &str| -> Result<Vec<f32>, LoadError> {
                let divisors = section.map_or(Ok(None), |section| section.get(key))?;
                divisors.ok_or_else(|| config.fault(format!("has a RoPE scaling without {key:?}")))
            };
            const ORIGINAL: &str = "original_max_position_embeddings";
            let original: usize = match config.get(ORIGINAL)? {
                Some(original) => original,
                None => required(ORIGINAL)? as usize,
            };
            let factor = context_length as f32 / original.max(1) as f32;
            let factor = inside("factor")?.unwrap_or(factor);
            let usual = if factor <= 1.0 {
                1.0
            } else {
                (1.0 + factor.ln() / (original as f32).ln()).sqrt()
            };
            magnitude = inside("attention_factor")?.unwrap_or(usual);
            RopeScaling::LongRope {
                short: divisors("short_factor")?,
                long: divisors("long_factor")?,
                original_context: original,
            }
        }
        Some("yarn") => {
            let yarn = hf_yarn(config, section, context_length)?;
            let yarn =
                yarn.ok_or_else(|| config.fault("has a RoPE scaling without any settings"))?;
            magnitude = match inside("attention_factor")? {
                Some(magnitude) => magnitude,
                None => hf_yarn_magnitude(&yarn, inside("mscale")?, inside("mscale_all_dim")?),
            };
            RopeScaling::Divisors(yarn.divisors(dim, f64::from(theta)))
        }
        Some(other) => {
            return Err(config.fault(format!(
                "asks for RoPE scaling of the type \"{other}\", which is not supported"
            )));
        }
    };
    Ok(Rope { dim, theta, pairing: RopePairing::Neox, scaling, magnitude })
}

fn rope_kind(section: Option<&HfConfig>) -> Result<Option<String>, LoadError> {
    let Some(section) = section else { return Ok(None) };
    Ok(match section.get("rope_type")? {
        Some(kind) => Some(kind),
        None => section.get("type")?,
    })
}

/// Reads YaRN from the section about RoPE, if that is the kind of scaling.
fn hf_yarn(
    config: &HfConfig,
    section: Option<&HfConfig>,
    context_length: usize,
) -> Result<Option<Yarn>, LoadError> {
    let Some(section) = section else { return Ok(None) };
    // Phi called its own so at first.
    if rope_kind(Some(section))?.as_deref() != Some("yarn") || section.has("long_factor") {
        return Ok(None);
    }
    let factor: Option<f64> = section.get("factor")?;
    let original: Option<f64> = section.get("original_max_position_embeddings")?;
    // The reference takes a 0 for nothing said.
    let beta = |key: &str, usual: f64| -> Result<f64, LoadError> {
        Ok(section.get(key)?.filter(|beta| *beta != 0.0).unwrap_or(usual))
    };
    let [fast, slow] = Yarn::BETAS;
    Ok(Some(Yarn {
        factor: factor.ok_or_else(|| config.fault("has a RoPE scaling without \"factor\""))?,
        original_context: original.unwrap_or(context_length as f64),
        beta_fast: beta("beta_fast", fast)?,
        beta_slow: beta("beta_slow", slow)?,
        truncates: section.get("truncate")?.unwrap_or(true),
    }))
}

/// Returns the YaRN that makes the divisors in `config` of what `folder` says, if that is where they
/// come from and GGUF has words for it: it has none for parts of waves.
pub(crate) fn yarn_of_folder(
    folder: &HfFolder,
    config: &DecoderConfig,
) -> Result<Option<Yarn>, LoadError> {
    let hf = folder.config();
    let context_length = hf.get("max_position_embeddings")?.unwrap_or(config.context_length);
    let yarn = hf_yarn(hf, rope_section(hf).as_ref(), context_length)?;
    let Some(Rope { dim, theta, scaling: RopeScaling::Divisors(divisors), .. }) =
        config.ropes.first()
    else {
        return Ok(None);
    };
    let makes_them = |yarn: &Yarn| yarn.divisors(*dim, f64::from(*theta)) == *divisors;
    Ok(yarn.filter(|yarn| yarn.truncates && makes_them(yarn)))
}

fn hf_yarn_magnitude(yarn: &Yarn, mscale: Option<f32>, mscale_all_dim: Option<f32>) -> f32 {
    let is_set = |weight: Option<f32>| weight.filter(|weight| *weight != 0.0).map(f64::from);
    let magnitude = match (is_set(mscale), is_set(mscale_all_dim)) {
        (Some(of), Some(over)) => {
            Yarn::magnitude(yarn.factor, of) / Yarn::magnitude(yarn.factor, over)
        }
        _ => Yarn::magnitude(yarn.factor, 1.0),
    };
    magnitude as f32
}

/// Returns what Llama 3.1 divides each frequency by: long waves by `factor`, short ones not at all,
/// and those between by something between.
pub(crate) fn llama3_divisors(
    (dim, theta): (usize, f32),
    [factor, low_freq_factor, high_freq_factor]: [f32; 3],
    original_context: f32,
) -> Vec<f32> {
    let [factor, low, high] = [factor, low_freq_factor, high_freq_factor].map(f64::from);
    (0..dim / 2)
        .map(|i| {
            let frequency = f64::from(theta).powf(-((2 * i) as f64) / dim as f64);
            let wavelength = 2.0 * std::f64::consts::PI / frequency;
            let n_waves = f64::from(original_context) / wavelength;
            let kept = ((n_waves - low) / (high - low)).clamp(0.0, 1.0);
            ((1.0 - kept) / factor + kept).recip() as f32
        })
        .collect()
}

/// Returns which layers see only a window: those that `layer_types` lists, or else those that
/// `by_default` says.
pub(super) fn hf_windowed(
    config: &HfConfig,
    n_layers: usize,
    by_default: impl Fn(usize) -> bool,
) -> Result<Vec<bool>, LoadError> {
    let Some(types) = config.get::<Vec<String>>("layer_types")? else {
        return Ok((0..n_layers).map(by_default).collect());
    };
    if types.len() != n_layers {
        return Err(config.fault("lists the types of another number of layers"));
    }
    Ok(types.iter().map(|layer_type| layer_type == "sliding_attention").collect())
}

/// Lets the layers that `is_windowed` lists see only `sliding_window`, if there is one.
pub(super) fn set_hf_windows(
    hf: &HfConfig,
    config: &mut DecoderConfig,
    is_windowed: &[bool],
) -> Result<(), LoadError> {
    if let Some(window) = hf.get("sliding_window")? {
        config.set_windows(window, |index| is_windowed[index]);
    }
    Ok(())
}
