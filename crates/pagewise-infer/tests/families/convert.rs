//! Writes a fixture as llama.cpp's converter would: names, the order of rows, norms.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use pagewise_testkit::{GgufValue, GgufWriter};
use serde_json::Value;

/// Parts of names, Hugging Face's and GGUF's; what comes first counts.
const NAMES: [(&str, &str); 29] = [
    ("model.embed_tokens", "token_embd"),
    ("model.embedding_norm", "token_embd_norm"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
    ("model.layers.", "blk."),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.out_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.q_layernorm", "attn_q_norm"),
    ("self_attn.k_layernorm", "attn_k_norm"),
    ("input_layernorm", "attn_norm"),
    ("operator_norm", "attn_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("mlp.gate.", "ffn_gate_inp."),
    ("feed_forward.w1", "ffn_gate"),
    ("feed_forward.w3", "ffn_up"),
    ("feed_forward.w2", "ffn_down"),
    ("conv.conv", "shortconv.conv"),
    ("conv.in_proj", "shortconv.in_proj"),
];

/// The settings of a fixture in the keys that are published.
struct Config(Value);

impl Config {
    fn number(&self, key: &str) -> Option<f32> {
        self.0[key].as_f64().map(|number| number as f32)
    }

    fn count(&self, key: &str) -> Option<u32> {
        self.0[key].as_u64().map(|number| number as u32)
    }

    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    fn numbers(&self, key: &str) -> Vec<f32> {
        let list = self.0[key].as_array().into_iter().flatten();
        list.map(|number| number.as_f64().unwrap() as f32).collect()
    }

    fn section(&self, key: &str) -> Self {
        Self(self.0[key].clone())
    }
}

pub(crate) fn to_gguf(folder: &Path) -> GgufWriter {
    let json = fs::read_to_string(folder.join("config.published.json")).unwrap();
    let config = Config(serde_json::from_str(&json).unwrap());
    let family = match config.text("model_type") {
        "qwen3_moe" => "qwen3moe",
        "gemma3_text" => "gemma3",
        "mistral" => "llama",
        family => family,
    };
    let mut writer = GgufWriter::new(family);
    let tensors =
        candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
    let tensors: BTreeMap<String, Tensor> = tensors.into_iter().collect();
    let head_dim = config.count("head_dim").unwrap_or(
        config.count("hidden_size").unwrap() / config.count("num_attention_heads").unwrap(),
    );
    put_metadata(&mut writer, family, &config, head_dim, &tensors);
    put_rope(&mut writer, family, &config, head_dim);
    put_tensors(&mut writer, family, &config, head_dim, &tensors);
    writer
}

fn put_metadata(
    writer: &mut GgufWriter,
    family: &str,
    config: &Config,
    head_dim: u32,
    tensors: &BTreeMap<String, Tensor>,
) {
    let n_layers = config.count("num_hidden_layers").unwrap();
    let mut set = |key: &str, value: Option<GgufValue>| {
        if let Some(value) = value {
            writer.set(&format!("{family}.{key}"), value);
        }
    };
    let count = |key| config.count(key).map(GgufValue::U32);
    let number = |key| config.number(key).map(GgufValue::F32);
    set("block_count", count("num_hidden_layers"));
    set("context_length", count("max_position_embeddings"));
    set("embedding_length", count("hidden_size"));
    let feed_forward = match tensors.get("model.layers.0.feed_forward.w1.weight") {
        Some(gate) => Some(GgufValue::U32(gate.dims()[0] as u32)),
        None => count("intermediate_size"),
    };
    set("feed_forward_length", feed_forward);
    set("attention.head_count", count("num_attention_heads"));
    let attending: Vec<u64> = config.0["full_attn_idxs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .collect();
    if attending.is_empty() {
        set("attention.head_count_kv", count("num_key_value_heads"));
    } else {
        let n_kv_heads = config.count("num_key_value_heads").unwrap();
        let counts = (0..n_layers)
            .map(|index| if attending.contains(&u64::from(index)) { n_kv_heads } else { 0 });
        set("attention.head_count_kv", Some(GgufValue::U32s(counts.collect())));
    }
    set("attention.key_length", Some(GgufValue::U32(head_dim)));
    set("attention.value_length", Some(GgufValue::U32(head_dim)));
    set("attention.layer_norm_rms_epsilon", number("rms_norm_eps").or(number("norm_eps")));
    set("shortconv.l_cache", count("conv_L_cache"));
    if config.0["use_sliding_window"] != Value::Bool(false) {
        set("attention.sliding_window", count("sliding_window"));
    }
    if let Some(pattern) = config.count("sliding_window_pattern") {
        set("attention.sliding_window_pattern", Some(GgufValue::U32(pattern)));
    }
    set("attn_logit_softcapping", number("attn_logit_softcapping"));
    set("final_logit_softcapping", number("final_logit_softcapping"));
    set("embedding_scale", number("embedding_multiplier"));
    set("residual_scale", number("residual_multiplier"));
    set("attention.scale", number("attention_multiplier"));
    set("logit_scale", number("logits_scaling"));
    set("expert_count", count("num_experts").or(count("num_local_experts")));
    set("expert_used_count", count("num_experts_per_tok"));
    set("expert_feed_forward_length", count("moe_intermediate_size"));
}

fn put_rope(writer: &mut GgufWriter, family: &str, config: &Config, head_dim: u32) {
    let key = |key: &str| format!("{family}.rope.{key}");
    let dim = (head_dim as f32 * config.number("partial_rotary_factor").unwrap_or(1.0)) as u32;
    let theta = config.number("rope_theta").unwrap();
    writer.set(&key("dimension_count"), dim);
    writer.set(&key("freq_base"), theta);
    if let Some(theta) = config.number("rope_local_base_freq") {
        writer.set(&key("freq_base_swa"), theta);
    }
    let scaling = config.section("rope_scaling");
    let kind = match scaling.text("rope_type") {
        "" => scaling.text("type"),
        kind => kind,
    };
    match kind {
        "linear" => {
            writer.set(&key("scaling.type"), "linear");
            writer.set(&key("scaling.factor"), scaling.number("factor").unwrap());
        }
        "yarn" => {
            writer.set(&key("scaling.type"), "yarn");
            writer.set(&key("scaling.factor"), scaling.number("factor").unwrap());
            let original = scaling.count("original_max_position_embeddings").unwrap();
            writer.set(&key("scaling.original_context_length"), original);
            for beta in ["beta_fast", "beta_slow"] {
                writer.set(&key(&format!("scaling.yarn_{beta}")), scaling.number(beta).unwrap());
            }
        }
        "llama3" => {
            let setting = |key| f64::from(scaling.number(key).unwrap());
            let factor = setting("factor");
            let (low, high) = (setting("low_freq_factor"), setting("high_freq_factor"));
            let original = setting("original_max_position_embeddings");
            let divisors: Vec<f32> = (0..dim / 2)
                .map(|i| {
                    let frequency = f64::from(theta).powf(-f64::from(2 * i) / f64::from(dim));
                    let wavelength = 2.0 * std::f64::consts::PI / frequency;
                    let divisor = if wavelength < original / high {
                        1.0
                    } else if wavelength > original / low {
                        factor
                    } else {
                        let smooth = (original / wavelength - low) / (high - low);
                        1.0 / ((1.0 - smooth) / factor + smooth)
                    };
                    divisor as f32
                })
                .collect();
            writer.tensor_f32("rope_freqs.weight", &[divisors.len()], &divisors);
        }
        "longrope" | "su" => {
            for (name, setting) in [("long", "long_factor"), ("short", "short_factor")] {
                let divisors = scaling.numbers(setting);
                let name = format!("rope_factors_{name}.weight");
                writer.tensor_f32(&name, &[divisors.len()], &divisors);
            }
            let original = config.count("original_max_position_embeddings").unwrap();
            let longer = config.number("max_position_embeddings").unwrap() / original as f32;
            let factor = (1.0 + longer.ln() / (original as f32).ln()).sqrt();
            writer.set(&key("scaling.original_context_length"), original);
            writer.set(&key("scaling.attn_factor"), factor);
        }
        _ => {}
    }
}

fn put_tensors(
    writer: &mut GgufWriter,
    family: &str,
    config: &Config,
    head_dim: u32,
    tensors: &BTreeMap<String, Tensor>,
) {
    // What attention divides by is not in the file: the other number goes into the queries.
    let divisor = config.number("query_pre_attn_scalar").unwrap_or(head_dim as f32);
    let query_factor = f64::from((head_dim as f32 / divisor).sqrt());
    let turns_neighbours = matches!(family, "llama" | "smollm3" | "granite");
    let is_gemma = family.starts_with("gemma");
    let mut experts: BTreeMap<String, Vec<(usize, Tensor)>> = BTreeMap::new();
    for (hf_name, tensor) in tensors {
        let mut tensor = tensor.to_dtype(DType::F32).unwrap();
        let name = gguf_name(family, hf_name);
        if turns_neighbours && (name.contains("attn_q.") || name.contains("attn_k.")) {
            tensor = neighbours(&tensor, head_dim as usize);
        }
        if is_gemma && name.ends_with("norm.weight") {
            tensor = (tensor + 1.0).unwrap();
        }
        let query = if family == "gemma3" { "attn_q_norm.weight" } else { "attn_q.weight" };
        if is_gemma && name.ends_with(query) {
            tensor = (tensor * query_factor).unwrap();
        }
        if name.ends_with("shortconv.conv.weight") {
            tensor = tensor.squeeze(1).unwrap();
        }
        if let Some((before, rest)) = name.split_once("mlp.experts.") {
            let (expert, part) = rest.split_once('.').unwrap();
            let part = gguf_name(family, &format!("mlp.{part}")).replace(".weight", "_exps.weight");
            let expert = (expert.parse().unwrap(), tensor);
            experts.entry(format!("{before}{part}")).or_default().push(expert);
            continue;
        }
        put(writer, &name, &tensor);
    }
    for (name, mut list) in experts {
        list.sort_by_key(|(expert, _)| *expert);
        let list: Vec<&Tensor> = list.iter().map(|(_, tensor)| tensor).collect();
        put(writer, &name, &Tensor::stack(&list, 0).unwrap());
    }
}

fn put(writer: &mut GgufWriter, name: &str, tensor: &Tensor) {
    let numbers: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    writer.tensor_f32(name, tensor.dims(), &numbers);
}

fn gguf_name(family: &str, name: &str) -> String {
    let mut name = name.to_owned();
    // The same name stands for the norm before the feed-forward network, or for one more.
    let has_more_norms = family.starts_with("gemma") || family == "olmo2";
    let norm = if has_more_norms { "post_attention_norm" } else { "ffn_norm" };
    name = name.replace("post_attention_layernorm", norm);
    name = name.replace("conv.out_proj", "shortconv.out_proj");
    for (hf, gguf) in NAMES {
        name = name.replace(hf, gguf);
    }
    name
}

/// Puts the rows of a head in the order in which those that are turned together are neighbours.
fn neighbours(tensor: &Tensor, head_dim: usize) -> Tensor {
    let dims = tensor.dims().to_vec();
    let columns = tensor.elem_count() / dims[0];
    let heads = tensor.reshape((dims[0] / head_dim, 2, head_dim / 2, columns)).unwrap();
    heads.transpose(1, 2).unwrap().contiguous().unwrap().reshape(dims).unwrap()
}
