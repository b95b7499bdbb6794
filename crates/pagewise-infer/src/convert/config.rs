//! The settings of a model, as GGUF and as `config.json` have them.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::tensors::{Planned, attention_scale, is_gemma};
use super::{ConvertError, Metadatum};
use crate::decoder::{Activation, DecoderConfig, LayerKind, RopeScaling};
use crate::families::{Family, Yarn, llama3_divisors};

/// What Llama 3 has in common, whatever its size.
const LLAMA_3_LOW: f32 = 1.0;
const LLAMA_3_HIGH: f32 = 4.0;

/// Returns the metadata of a model, without those that all files have. With `yarn`, that is what the
/// divisors of its RoPE are made by.
pub(super) fn to_metadata(
    family: &Family,
    config: &DecoderConfig,
    yarn: Option<&Yarn>,
) -> Vec<(String, Metadatum)> {
    let mut metadata = Vec::new();
    let mut set = |key: &str, value: Metadatum| {
        metadata.push((format!("{}.{key}", family.gguf), value));
    };
    let count = |n: usize| Metadatum::U32(u32::try_from(n).unwrap_or(u32::MAX));
    set("block_count", count(config.layers.len()));
    set("context_length", count(config.context_length));
    set("embedding_length", count(config.hidden));
    set("feed_forward_length", count(config.feed_forward));
    set("vocab_size", count(config.vocabulary));
    set("attention.head_count", count(config.n_heads));
    set("attention.head_count_kv", kv_heads(config));
    set("attention.key_length", count(config.head_dim));
    set("attention.value_length", count(config.head_dim));
    set("attention.layer_norm_rms_epsilon", Metadatum::F32(config.rms_epsilon));
    let kernel = config.layers.iter().find_map(|layer| match layer {
        LayerKind::ShortConv { kernel } => Some(*kernel),
        LayerKind::Attention { .. } => None,
    });
    if let Some(kernel) = kernel {
        set("shortconv.l_cache", count(kernel));
    }
    if let Some((window, is_windowed)) = windows(config) {
        set("attention.sliding_window", count(window));
        if is_windowed != usual_windows(family, config) {
            set("attention.sliding_window_pattern", Metadatum::Bools(is_windowed));
        }
    }
    let caps = [
        ("attn_logit_softcapping", config.attention_softcap),
        ("final_logit_softcapping", config.logit_softcap),
    ];
    for (key, cap) in caps {
        if let Some(cap) = cap {
            set(key, Metadatum::F32(cap));
        }
    }
    if family.gguf == "granite" {
        set("embedding_scale", Metadatum::F32(config.embedding_scale));
        set("residual_scale", Metadatum::F32(config.residual_scale));
        set("attention.scale", Metadatum::F32(attention_scale(config)));
        set("logit_scale", Metadatum::F32(config.logit_scale.recip()));
    }
    if let Some(experts) = &config.experts {
        set("expert_count", count(experts.n_experts));
        set("expert_used_count", count(experts.n_used));
        set("expert_feed_forward_length", count(experts.feed_forward));
    }
    if let Some(rope) = config.ropes.first() {
        set("rope.dimension_count", count(rope.dim));
        set("rope.freq_base", Metadatum::F32(rope.theta));
        if let RopeScaling::Linear { factor } = rope.scaling {
            set("rope.scaling.type", "linear".into());
            set("rope.scaling.factor", Metadatum::F32(factor));
        }
        if let RopeScaling::LongRope { original_context, .. } = rope.scaling {
            set("rope.scaling.original_context_length", count(original_context));
        }
        if let Some(yarn) = yarn {
            set("rope.scaling.type", "yarn".into());
            set("rope.scaling.factor", Metadatum::F32(yarn.factor as f32));
            set("rope.scaling.original_context_length", count(yarn.original_context as usize));
            let [fast, slow] = Yarn::BETAS;
            let betas = [("fast", yarn.beta_fast, fast), ("slow", yarn.beta_slow, slow)];
            for (name, beta, usual) in betas {
                if beta != usual {
                    set(&format!("rope.scaling.yarn_beta_{name}"), Metadatum::F32(beta as f32));
                }
            }
            if rope.magnitude != Yarn::magnitude(yarn.factor, 1.0) as f32 {
                set("rope.scaling.yarn_attn_factor", Metadatum::F32(rope.magnitude));
            }
        } else if rope.magnitude != 1.0 {
            set("rope.scaling.attn_factor", Metadatum::F32(rope.magnitude));
        }
    }
    if let Some(local) = config.ropes.get(1) {
        set("rope.freq_base_swa", Metadatum::F32(local.theta));
    }
    metadata
}

/// Returns the tensors in which GGUF has settings.
pub(super) fn rope_tensors(config: &DecoderConfig) -> Vec<Planned> {
    match config.ropes.first().map(|rope| &rope.scaling) {
        Some(RopeScaling::Divisors(divisors)) => {
            vec![Planned::computed("rope_freqs.weight", divisors)]
        }
        Some(RopeScaling::LongRope { short, long, .. }) => vec![
            Planned::computed("rope_factors_long.weight", long),
            Planned::computed("rope_factors_short.weight", short),
        ],
        _ => Vec::new(),
    }
}

/// One number for all layers, or one for each where some do not attend.
fn kv_heads(config: &DecoderConfig) -> Metadatum {
    let attends = |layer: &LayerKind| matches!(layer, LayerKind::Attention { .. });
    let n_kv_heads = u32::try_from(config.n_kv_heads).unwrap_or(u32::MAX);
    if config.layers.iter().all(attends) {
        return Metadatum::U32(n_kv_heads);
    }
    let counts = config.layers.iter().map(|layer| if attends(layer) { n_kv_heads } else { 0 });
    Metadatum::U32s(counts.collect())
}

/// Returns the window, and which layers have it; `None` if none has one.
pub(super) fn windows(config: &DecoderConfig) -> Option<(usize, Vec<bool>)> {
    let window = |layer: &LayerKind| match layer {
        LayerKind::Attention { window, .. } => *window,
        LayerKind::ShortConv { .. } => None,
    };
    let first = config.layers.iter().find_map(window)?;
    Some((first, config.layers.iter().map(|layer| window(layer).is_some()).collect()))
}

/// Returns which layers have a window in a GGUF file that does not say it.
fn usual_windows(family: &Family, config: &DecoderConfig) -> Vec<bool> {
    let pattern = match family.gguf {
        "gemma2" => 2,
        "gemma3" => 6,
        _ => usize::MAX,
    };
    (1..=config.layers.len()).map(|n| n % pattern != 0).collect()
}

/// Returns the settings of a model as `config.json`; `path` is the file, for errors.
pub(super) fn to_json(
    family: &Family,
    config: &DecoderConfig,
    path: &Path,
) -> Result<Map<String, Value>, ConvertError> {
    let refused = |reason: String| ConvertError::Refused { path: path.to_owned(), reason };
    let is_windowed = windows(config);
    let architecture = match family.gguf {
        // A Llama has no window.
        "llama" if is_windowed.is_some() => "MistralForCausalLM",
        "llama" => "LlamaForCausalLM",
        "qwen2" => "Qwen2ForCausalLM",
        "qwen3" => "Qwen3ForCausalLM",
        "qwen3moe" => "Qwen3MoeForCausalLM",
        "gemma2" => "Gemma2ForCausalLM",
        "gemma3" => "Gemma3ForCausalLM",
        "phi3" => "Phi3ForCausalLM",
        "smollm3" => "SmolLM3ForCausalLM",
        "granite" => "GraniteForCausalLM",
        "olmo2" => "Olmo2ForCausalLM",
        "lfm2" => "Lfm2ForCausalLM",
        other => return Err(refused(format!("is a {other}, which cannot be written as a folder"))),
    };
    let mut settings = Map::new();
    let mut set = |key: &str, value: Value| {
        settings.insert(key.to_owned(), value);
    };
    set("architectures", json!([architecture]));
    let model_type = match architecture {
        "MistralForCausalLM" => Some(&"mistral"),
        _ => family.model_types.first(),
    };
    set("model_type", json!(model_type));
    set("vocab_size", json!(config.vocabulary));
    set("hidden_size", json!(config.hidden));
    set("intermediate_size", json!(config.feed_forward));
    set("num_hidden_layers", json!(config.layers.len()));
    set("num_attention_heads", json!(config.n_heads));
    set("num_key_value_heads", json!(config.n_kv_heads));
    set("head_dim", json!(config.head_dim));
    set("max_position_embeddings", json!(config.context_length));
    set("rms_norm_eps", number(config.rms_epsilon));
    set("tie_word_embeddings", json!(config.is_tied));
    set("attention_bias", json!(config.biases.qkv));
    set("mlp_bias", json!(config.biases.feed_forward));
    let activation = match config.activation {
        Activation::Silu => "silu",
        Activation::GeluTanh => "gelu_pytorch_tanh",
    };
    set("hidden_act", json!(activation));
    if let Some(rope) = config.ropes.first() {
        set("rope_theta", number(rope.theta));
        if rope.dim != config.head_dim {
            set("partial_rotary_factor", number(partial_factor(rope.dim, config.head_dim)));
        }
        let Some(scaling) = scaling_to_json(config) else {
            return Err(refused("scales RoPE in a way that cannot be written as a folder".into()));
        };
        set("rope_scaling", scaling);
        if let RopeScaling::LongRope { original_context, .. } = rope.scaling {
            set("original_max_position_embeddings", json!(original_context));
        }
    }
    if let Some((window, is_windowed)) = &is_windowed {
        set("sliding_window", json!(window));
        let names = is_windowed.iter().map(|is_windowed| match is_windowed {
            true => "sliding_attention",
            false => "full_attention",
        });
        set("layer_types", names.collect());
    } else if family.gguf != "lfm2" {
        set("sliding_window", Value::Null);
    }
    match family.gguf {
        _ if is_gemma(family) => {
            let divisor = attention_scale(config).powi(-2);
            // What makers write is a whole number, and readers insist on it.
            let whole = divisor.round();
            let divisor = match (divisor - whole).abs() < 1e-3 {
                true => json!(whole as u64),
                false => number(divisor),
            };
            set("query_pre_attn_scalar", divisor);
            set("hidden_activation", json!(activation));
            set("attn_logit_softcapping", config.attention_softcap.map_or(Value::Null, number));
            set("final_logit_softcapping", config.logit_softcap.map_or(Value::Null, number));
            if let Some(local) = config.ropes.get(1) {
                set("rope_local_base_freq", number(local.theta));
            }
        }
        "qwen2" | "qwen3" => set("use_sliding_window", json!(is_windowed.is_some())),
        "qwen3moe" => {
            set("use_sliding_window", json!(is_windowed.is_some()));
            if let Some(experts) = &config.experts {
                let dense = (0..).zip(&experts.layers).filter(|(_, has_experts)| !**has_experts);
                set("num_experts", json!(experts.n_experts));
                set("num_experts_per_tok", json!(experts.n_used));
                set("moe_intermediate_size", json!(experts.feed_forward));
                set("norm_topk_prob", json!(experts.shares_add_up));
                set("decoder_sparse_step", json!(1));
                set("mlp_only_layers", dense.map(|(index, _): (usize, _)| index).collect());
            }
        }
        "smollm3" => {
            // The list says the opposite of its name.
            let is_told = |layer: &LayerKind| {
                u8::from(matches!(layer, LayerKind::Attention { rope: Some(_), .. }))
            };
            set("no_rope_layers", config.layers.iter().map(is_told).collect());
            set("use_sliding_window", json!(is_windowed.is_some()));
        }
        "granite" => {
            set("embedding_multiplier", number(config.embedding_scale));
            set("residual_multiplier", number(config.residual_scale));
            set("attention_multiplier", number(attention_scale(config)));
            set("logits_scaling", number(config.logit_scale.recip()));
        }
        "lfm2" => {
            set("norm_eps", number(config.rms_epsilon));
            set("block_auto_adjust_ff_dim", json!(false));
            set("block_ff_dim", json!(config.feed_forward));
            set("conv_bias", json!(false));
            let kernel = config.layers.iter().find_map(|layer| match layer {
                LayerKind::ShortConv { kernel } => Some(*kernel),
                LayerKind::Attention { .. } => None,
            });
            set("conv_L_cache", json!(kernel.unwrap_or(3)));
            let attends = |layer: &LayerKind| matches!(layer, LayerKind::Attention { .. });
            let names = config.layers.iter().map(|layer| match attends(layer) {
                true => "full_attention",
                false => "conv",
            });
            set("layer_types", names.collect());
        }
        _ => {}
    }
    Ok(settings)
}

/// Returns a number that reads as it is written: 0.1 rather than 0.10000000149011612.
fn number(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or_else(|_| json!(number), |number| json!(number))
}

/// Returns the part of a head that is turned, such that multiplying gives back `dim`.
fn partial_factor(dim: usize, head_dim: usize) -> f32 {
    let mut factor = dim as f32 / head_dim as f32;
    while ((head_dim as f32 * factor) as usize) < dim {
        factor = factor.next_up();
    }
    factor
}

/// Returns what `rope_scaling` is; `None` if there is no word for it.
fn scaling_to_json(config: &DecoderConfig) -> Option<Value> {
    let rope = config.ropes.first()?;
    let long_rope = |short: &[f32], long: &[f32], original: usize| {
        let list = |divisors: &[f32]| divisors.iter().map(|divisor| number(*divisor)).collect();
        let (short, long): (Value, Value) = (list(short), list(long));
        json!({
            "rope_type": "longrope",
            "type": "longrope",
            "short_factor": short,
            "long_factor": long,
            "attention_factor": number(rope.magnitude),
            "original_max_position_embeddings": original,
        })
    };
    Some(match &rope.scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => {
            json!({"rope_type": "linear", "type": "linear", "factor": number(*factor)})
        }
        RopeScaling::LongRope { short, long, original_context } => {
            long_rope(short, long, *original_context)
        }
        RopeScaling::Divisors(divisors) => match llama3_original(config, divisors) {
            Some((factor, original)) => json!({
                "rope_type": "llama3",
                "factor": number(factor),
                "low_freq_factor": number(LLAMA_3_LOW),
                "high_freq_factor": number(LLAMA_3_HIGH),
                "original_max_position_embeddings": original,
            }),
            // The same divisors in another word: both for short windows and for long ones.
            None => long_rope(divisors, divisors, config.context_length),
        },
    })
}

/// Finds what Llama 3 calls its scaling from the divisors that a converter made of it: the factor,
/// and the original window. `None` if they are not of that making.
fn llama3_original(config: &DecoderConfig, divisors: &[f32]) -> Option<(f32, usize)> {
    let rope = config.ropes.first().filter(|rope| rope.magnitude == 1.0)?;
    let factor = *divisors.last()?;
    let originals = (4..=24).map(|power| 1usize << power);
    originals.map(|original| (factor, original)).find(|(factor, original)| {
        let made = llama3_divisors(
            (rope.dim, rope.theta),
            [*factor, LLAMA_3_LOW, LLAMA_3_HIGH],
            *original as f32,
        );
        made.len() == divisors.len()
            && made.iter().zip(divisors).all(|(a, b)| (a - b).abs() <= 1e-5 * a.abs())
    })
}
