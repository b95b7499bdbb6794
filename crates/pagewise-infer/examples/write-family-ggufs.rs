//! Writes the tiny model of every family as a GGUF file with a tokenizer, and beside it, as JSON, its
//! tokens, the logits that the reference has for them, and those that pagewise computes from the file.
//!
//!     cargo run --release -p pagewise-infer --example write-family-ggufs -- FOLDER
//!
//! `scripts/check-peer` has another program read the files and compares.

#![allow(clippy::unwrap_used)]

#[path = "../tests/families/convert.rs"]
mod convert;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use pagewise_infer::{Compute, Decoder, DeviceChoice, Gguf};
use pagewise_testkit::{GgufValue, GgufWriter};

/// Longer than the tokens, and than the original window of one Phi-4-mini only.
const WINDOW_TOKENS: usize = 64;

fn main() {
    let to = PathBuf::from(env::args_os().nth(1).expect("the folder to write to"));
    fs::create_dir_all(&to).unwrap();
    let families = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/families");
    for entry in fs::read_dir(families).unwrap() {
        let folder = entry.unwrap().path();
        write(&folder, &to.join(folder.file_name().unwrap()));
    }
}

fn write(folder: &Path, to: &Path) {
    let expected = folder.join("expected.safetensors");
    let expected = candle_core::safetensors::load(expected, &Device::Cpu).unwrap();
    let tokens: Vec<u32> = expected["tokens"].to_dtype(DType::U32).unwrap().to_vec1().unwrap();
    let reference: Vec<Vec<f32>> = expected["logits"].to_vec2().unwrap();
    let mut writer = convert::to_gguf(folder);
    put_tokenizer(&mut writer, reference[0].len());
    let gguf = to.with_extension("gguf");
    writer.write(&gguf).unwrap();
    let cpu = Compute::new(DeviceChoice::Cpu, None).unwrap().with_exact_cache();
    let decoder = Decoder::load(&Gguf::open(&gguf).unwrap(), WINDOW_TOKENS, &cpu).unwrap();
    let pagewise = decoder.forward_all(&tokens, &mut decoder.new_cache().unwrap()).unwrap();
    let json = serde_json::json!({"tokens": tokens, "reference": reference, "pagewise": pagewise});
    fs::write(to.with_extension("json"), json.to_string()).unwrap();
}

/// Gives the model `n_tokens` tokens: three for control, a line break, and printable characters. Other
/// programs refuse a file without a tokenizer; no text is put into tokens by it.
fn put_tokenizer(writer: &mut GgufWriter, n_tokens: usize) {
    let controls = ["<pad>", "<s>", "</s>"].map(str::to_owned);
    // Byte-level BPE writes a line break so.
    let characters = ["Ċ".to_owned()].into_iter().chain(('!'..='~').map(String::from));
    let pairs = ('a'..='z').flat_map(|a| ('a'..='z').map(move |b| format!("{a}{b}")));
    let tokens: Vec<String> =
        controls.into_iter().chain(characters).chain(pairs).take(n_tokens).collect();
    let kinds = (0..n_tokens).map(|id| if id < 3 { 3 } else { 1 }).collect();
    writer
        .set("general.name", "Tiny")
        .set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.pre", "default")
        .set("tokenizer.ggml.tokens", tokens)
        .set("tokenizer.ggml.token_type", GgufValue::I32s(kinds))
        .set("tokenizer.ggml.merges", vec!["a a".to_owned()])
        .set("tokenizer.ggml.padding_token_id", 0u32)
        .set("tokenizer.ggml.bos_token_id", 1u32)
        .set("tokenizer.ggml.eos_token_id", 2u32)
        .set("tokenizer.ggml.add_bos_token", false);
}
