//! Writes the tiny model of every family as a GGUF file with a tokenizer, and beside it, as JSON, its
//! tokens, the logits that the reference has for them, and those that pagewise computes from the file,
//! exactly and as it does unless told otherwise.
//!
//!     cargo run --release -p pagewise-infer --example write-family-ggufs -- FOLDER
//!
//! `scripts/check-peer` has another program read the files and compares.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::env;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use pagewise_infer::{
    Compute, ConvertError, ConvertOptions, Decoder, DeviceChoice, Gguf, TensorType, convert,
};
use serde_json::json;

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
    let with_tokenizer = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| {
        fs::copy(folder.join(from), with_tokenizer.path().join(to)).unwrap();
    };
    copy("config.published.json", "config.json");
    copy("model.safetensors", "model.safetensors");
    put_tokenizer(with_tokenizer.path(), reference[0].len());
    let gguf = to.with_extension("gguf");
    let options = ConvertOptions { quant: Some(TensorType::F32), n_threads: 1 };
    match convert(with_tokenizer.path(), &gguf, &options, &mut |_, _| ControlFlow::Continue(())) {
        Ok(_) => {}
        // What GGUF has no word for, no other program can read from it.
        Err(ConvertError::Refused { reason, .. }) => {
            eprintln!("left out {}: it {reason}", folder.display());
            return;
        }
        Err(error) => panic!("{error}"),
    }
    let logits = |compute: &Compute| {
        let decoder = Decoder::load(&Gguf::open(&gguf).unwrap(), WINDOW_TOKENS, compute).unwrap();
        decoder.forward_all(&tokens, &mut decoder.new_cache().unwrap()).unwrap()
    };
    let cpu = Compute::new(DeviceChoice::Cpu, None).unwrap();
    let json = json!({
        "tokens": tokens,
        "reference": reference,
        "exact": logits(&cpu.clone().exact()),
        "default": logits(&cpu),
    });
    fs::write(to.with_extension("json"), json.to_string()).unwrap();
}

/// Gives the model `n_tokens` tokens: three for control, a line break, and printable characters. Other
/// programs refuse a file without a tokenizer; no text is put into tokens by it.
fn put_tokenizer(folder: &Path, n_tokens: usize) {
    let controls = ["<pad>", "<s>", "</s>"];
    // Byte-level BPE writes a line break so.
    let characters = ["Ċ".to_owned()].into_iter().chain(('!'..='~').map(String::from));
    let pairs = ('a'..='z').flat_map(|a| ('a'..='z').map(move |b| format!("{a}{b}")));
    let texts = controls.map(str::to_owned).into_iter().chain(characters).chain(pairs);
    let vocabulary: serde_json::Map<_, _> =
        texts.take(n_tokens).zip(0..).map(|(text, id)| (text, json!(id))).collect();
    let added: Vec<_> = controls
        .iter()
        .zip(0..)
        .map(|(content, id)| {
            json!({
                "id": id, "content": content, "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false,
            })
        })
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "vocab": vocabulary, "merges": [["a", "a"]], "ignore_merges": false,
        },
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let config = json!({"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "add_bos_token": false});
    fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
}
