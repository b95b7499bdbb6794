//! Weights.

use pagewise_testkit::{GgufValue, GgufWriter};

use super::Named;
use crate::cases::{Case, Way};
use crate::seeds;

pub(super) const CASES: &[Named] = &[
    ("a header of many small tensors", || {
        let tensor =
            |index| format!("\"{index}\":{{\"dtype\":\"\",\"shape\":[],\"data_offsets\":[0,0]}}");
        let tensors: Vec<String> = (0..200_000).map(tensor).collect();
        safetensors(&format!("{{{}}}", tensors.join(",")))
    }),
    ("a tensor of many dimensions", || {
        let shape = vec!["0"; 4_000_000].join(",");
        safetensors(&format!(
            "{{\"a\":{{\"dtype\":\"F32\",\"shape\":[{shape}],\"data_offsets\":[0,0]}}}}"
        ))
    }),
    ("a tensor with dimensions that overflow behind a zero", || {
        let tensor = "{\"dtype\":\"F32\",\"shape\":[0,4294967296,4294967296,4294967296],\"data_offsets\":[0,0]}";
        safetensors(&format!("{{\"model.embed_tokens.weight\":{tensor}}}"))
    }),
    ("a tensor with a long name", || {
        let name = "x".repeat(8_000_000);
        safetensors(&format!(
            "{{\"{name}\":{{\"dtype\":\"I8\",\"shape\":[],\"data_offsets\":[0,0]}}}}"
        ))
    }),
    ("settings that are one long list", || {
        weights_with("config.json", |_| {
            format!("{{\"model_type\":\"llama\",\"x\":[{}0]}}", "0,".repeat(12_000_000))
        })
    }),
    ("a rope of as many numbers as there are", || {
        weights_with("config.json", |config| {
            config.replace("\"rope_theta\"", "\"partial_rotary_factor\": 1e38, \"rope_theta\"")
        })
    }),
    ("an index of many tensors", || {
        let entries: Vec<String> =
            (0..400_000).map(|index| format!("\"{index}\":\"a.safetensors\"")).collect();
        let mut files = seeds::sharded();
        files.retain(|(name, _)| name != "model.safetensors.index.json");
        let index = format!("{{\"weight_map\":{{{}}}}}", entries.join(","));
        files.push(("model.safetensors.index.json".into(), index.into_bytes()));
        Case::folder("", Way::Weights, files)
    }),
    ("embeddings of far more tokens than there are", || {
        let mut writer = GgufWriter::new("llama");
        for (key, number) in [
            ("block_count", 1),
            ("embedding_length", 1),
            ("feed_forward_length", 1),
            ("attention.head_count", 1),
            ("context_length", 1 << 20),
        ] {
            writer.set(&format!("llama.{key}"), number);
        }
        writer.set("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
        writer.tensor_raw("token_embd.weight", &[1, 1 << 23], 1, vec![0; 2 << 23], None);
        writer
            .set("tokenizer.ggml.model", "gpt2")
            .set("tokenizer.ggml.pre", "gpt-2")
            .set("tokenizer.ggml.tokens", vec!["a".to_owned(), "b".into()])
            .set("tokenizer.ggml.merges", Vec::<String>::new());
        Case::file("hostile", Way::Weights, writer.to_bytes())
    }),
    ("divisors of RoPE as long as the file", || {
        let mut writer = seeds::gguf("llama");
        writer.tensor_f32("rope_freqs.weight", &[4 << 20], &vec![1.0; 4 << 20]);
        Case::file("hostile", Way::Weights, writer.to_bytes())
    }),
    ("a token of all letters of the alphabet, very long", || {
        let mut writer = seeds::sentencepiece();
        writer.replace("tokenizer.ggml.model", "gpt2");
        writer.replace("tokenizer.ggml.tokens", vec!["x".repeat(8 << 20), "y".into()]);
        writer.replace("tokenizer.ggml.token_type", GgufValue::I32s(vec![3, 4]));
        writer.replace("tokenizer.ggml.merges", Vec::<String>::new());
        writer.replace("tokenizer.ggml.eos_token_id", 1);
        Case::file("hostile", Way::GgufTokenizer, writer.to_bytes())
    }),
    ("control tokens alone", || {
        let mut writer = seeds::sentencepiece();
        let names: Vec<String> = (0..40_000).map(|index| format!("<{index}>")).collect();
        writer.replace("tokenizer.ggml.token_type", GgufValue::I32s(vec![3; names.len()]));
        writer.replace("tokenizer.ggml.scores", GgufValue::F32s(vec![0.0; names.len()]));
        writer.replace("tokenizer.ggml.tokens", names);
        Case::file("hostile", Way::GgufTokenizer, writer.to_bytes())
    }),
    ("a long architecture", || {
        Case::file("hostile", Way::Weights, GgufWriter::new(&"x".repeat(15 << 20)).to_bytes())
    }),
];

/// The weights of a family whose safetensors file has this header and no numbers.
fn safetensors(header: &str) -> Case {
    let mut files = seeds::folder("llama");
    files.retain(|(name, _)| name != "model.safetensors");
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    files.push(("model.safetensors".into(), bytes));
    Case::folder("", Way::Weights, files)
}

/// The weights of a family with a file changed.
fn weights_with(name: &str, change: impl FnOnce(&str) -> String) -> Case {
    let mut files = seeds::folder("llama3");
    let (_, bytes) = files.iter_mut().find(|(known, _)| known == name).unwrap();
    *bytes = change(std::str::from_utf8(bytes).unwrap()).into_bytes();
    Case::folder("", Way::Weights, files)
}
