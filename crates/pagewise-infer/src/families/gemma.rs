//! The `gemma2` and `gemma3` architectures: norms before and behind, windows in most layers, and
//! GELU; Gemma 2 keeps scores and logits within bounds, Gemma 3 norms queries and keys.

use super::Family;
use super::metadata::{llama_like_gguf, set_gguf_windows};
use super::settings::{
    Defaults, LLAMA_DEFAULTS, hf_rope, hf_windowed, llama_like_hf, rope_section, set_hf_windows,
};
use crate::decoder::{
    Activation, DecoderConfig, NormPlacement, QkNorm, Rope, RopePairing, RopeScaling,
};
use crate::{Gguf, HfFolder, LoadError};

const HF_NAMES: &[(&str, &str)] = &[
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

pub(super) const FAMILY_2: Family = Family {
    gguf: "gemma2",
    model_types: &["gemma2"],
    from_gguf: gemma2_from_gguf,
    from_hf: gemma2_from_hf,
    hf_names: HF_NAMES,
};

pub(super) const FAMILY_3: Family = Family {
    gguf: "gemma3",
    model_types: &["gemma3_text", "gemma3"],
    from_gguf: gemma3_from_gguf,
    from_hf: gemma3_from_hf,
    hf_names: HF_NAMES,
};

/// In Gemma 2, every second layer sees everything.
const PATTERN_2: usize = 2;
/// In Gemma 3, every sixth.
const PATTERN_3: usize = 6;
/// What a Gemma has if nothing is said; files with vision leave much unsaid.
const DEFAULTS_2: Defaults = Defaults {
    n_heads: Some(8),
    n_kv_heads: Some(4),
    head_dim: Some(256),
    context_length: Some(8192),
    ..LLAMA_DEFAULTS
};
const DEFAULTS_3: Defaults = Defaults { theta: 1e6, context_length: Some(131_072), ..DEFAULTS_2 };
/// The base of RoPE in layers with a window.
const LOCAL_THETA: f32 = 10_000.0;

fn gemma2_from_gguf(gguf: &Gguf) -> Result<DecoderConfig, LoadError> {
    let mut config = gemma(llama_like_gguf(gguf, RopePairing::Neox)?);
    set_gguf_windows(gguf, &mut config, PATTERN_2)?;
    config.attention_scale = gguf_scale(FAMILY_2.gguf, &config);
    config.attention_softcap =
        Some(gguf.get_for_architecture("attn_logit_softcapping")?.unwrap_or(50.0));
    config.logit_softcap =
        Some(gguf.get_for_architecture("final_logit_softcapping")?.unwrap_or(30.0));
    Ok(config)
}

fn gemma3_from_gguf(gguf: &Gguf) -> Result<DecoderConfig, LoadError> {
    let mut config = gemma(llama_like_gguf(gguf, RopePairing::Neox)?);
    config.qk_norm = QkNorm::PerHead;
    let is_windowed = set_gguf_windows(gguf, &mut config, PATTERN_3)?;
    config.attention_scale = gguf_scale(FAMILY_3.gguf, &config);
    config.logit_softcap = gguf.get_for_architecture("final_logit_softcapping")?;
    let theta = gguf.get_for_architecture("rope.freq_base_swa")?.unwrap_or(LOCAL_THETA);
    let local =
        Rope { theta, scaling: RopeScaling::None, magnitude: 1.0, ..config.ropes[0].clone() };
    set_local_rope(&mut config, local, &is_windowed);
    Ok(config)
}

fn gemma2_from_hf(folder: &HfFolder) -> Result<DecoderConfig, LoadError> {
    let hf = folder.config();
    let mut config = gemma_from_hf(folder, DEFAULTS_2)?;
    let is_windowed = hf_windowed(hf, config.layers.len(), |index| index % PATTERN_2 == 0)?;
    set_hf_windows(hf, &mut config, &is_windowed)?;
    config.attention_softcap = hf.get("attn_logit_softcapping")?;
    Ok(config)
}

fn gemma3_from_hf(folder: &HfFolder) -> Result<DecoderConfig, LoadError> {
    let hf = folder.config();
    if hf.get("use_bidirectional_attention")?.unwrap_or(false) {
        return Err(hf.fault("lets tokens see later ones, which is not supported"));
    }
    let mut config = gemma_from_hf(folder, DEFAULTS_3)?;
    config.qk_norm = QkNorm::PerHead;
    let pattern = hf.get("sliding_window_pattern")?.unwrap_or(PATTERN_3).max(1);
    let is_windowed =
        hf_windowed(hf, config.layers.len(), |index| !(index + 1).is_multiple_of(pattern))?;
    set_hf_windows(hf, &mut config, &is_windowed)?;
    let DecoderConfig { head_dim, context_length, .. } = config;
    // Newer versions have a section for each kind of layer.
    let section = |kind| rope_section(hf).and_then(|sections| sections.section(kind));
    let local = match section("sliding_attention") {
        Some(local) => {
            let global = section("full_attention");
            config.ropes = vec![hf_rope(hf, global, head_dim, context_length, DEFAULTS_3.theta)?];
            hf_rope(hf, Some(local), head_dim, context_length, LOCAL_THETA)?
        }
        None => Rope {
            theta: hf.get("rope_local_base_freq")?.unwrap_or(LOCAL_THETA),
            scaling: RopeScaling::None,
            magnitude: 1.0,
            ..config.ropes[0].clone()
        },
    };
    set_local_rope(&mut config, local, &is_windowed);
    Ok(config)
}

fn gemma(config: DecoderConfig) -> DecoderConfig {
    DecoderConfig {
        embedding_scale: (config.hidden as f32).sqrt(),
        norms: NormPlacement::PreAndPost,
        activation: Activation::GeluTanh,
        ..config
    }
}

fn gemma_from_hf(folder: &HfFolder, defaults: Defaults) -> Result<DecoderConfig, LoadError> {
    let hf = folder.config();
    let mut config = gemma(llama_like_hf(folder, defaults)?);
    config.norm_plus_one = true;
    let divisor: f32 = hf.get("query_pre_attn_scalar")?.unwrap_or(256.0);
    config.attention_scale = Some(divisor.sqrt().recip());
    config.logit_softcap = hf.get("final_logit_softcapping")?;
    Ok(config)
}

/// The models of 27 billion divide scores by the root of what a head would have if heads shared the
/// numbers of a token. GGUF does not say so: they are known by their layers.
pub(super) fn gguf_scale(architecture: &str, config: &DecoderConfig) -> Option<f32> {
    let n_layers = match architecture {
        "gemma2" => 46,
        "gemma3" => 62,
        _ => return None,
    };
    let divisor = config.hidden as f32 / config.n_heads as f32;
    (config.layers.len() == n_layers && config.n_heads > 0).then(|| divisor.sqrt().recip())
}

fn set_local_rope(config: &mut DecoderConfig, local: Rope, is_windowed: &[bool]) {
    config.ropes.push(local);
    config.set_ropes(|index| Some(usize::from(is_windowed[index])));
}
