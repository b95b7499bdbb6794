//! The perplexity of real weights on a fixed text, beside what llama-perplexity says of them.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

use std::fs;
use std::path::Path;

use pagewise_bench::{DecoderProcessor, PerplexityConfig, perplexity};
use pagewise_infer::{Compute, DeviceChoice, LoadedModel};
use pagewise_testkit::test_weights;

/// By how much the two may differ. Both round activations to 8 bits, each in its own blocks, which
/// moves a perplexity by some tenths of a percent; a wrong norm, angle or mask moves it by far more.
const TOLERANCE: f64 = 0.01;

const TEXT: &str = include_str!("data/perplexity/text.txt");

/// Compares the first `n_windows` windows: a few seconds of work.
#[track_caller]
fn check(name: &str, n_windows: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/perplexity/llama.cpp.json");
    let recorded: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let window_tokens = recorded["window_tokens"].as_u64().unwrap() as usize;
    let expected: Vec<f64> = recorded["after_each_window"][name]
        .as_array()
        .unwrap()
        .iter()
        .map(|perplexity| perplexity.as_f64().unwrap())
        .collect();
    let compute = Compute::new(DeviceChoice::Cpu, None).unwrap();
    let path = test_weights(&format!("{name}.gguf"));
    let model = LoadedModel::load(&path, &compute, |_| Ok(window_tokens)).unwrap();
    let config = PerplexityConfig {
        window_tokens,
        windows_max: Some(n_windows),
        bos: model.tokenizer.bos(),
    };
    let mut predictor = DecoderProcessor::new(&model.decoder).unwrap();
    let tokens = model.tokenizer.encode(TEXT);
    let found = perplexity::run(&mut predictor, &tokens, &config, &mut |_, _| {}).unwrap();
    assert_eq!(found.n_windows, n_windows);
    for (window, (ours, theirs)) in found.after_each_window.iter().zip(&expected).enumerate() {
        let difference = ours / theirs - 1.0;
        eprintln!("{name}: {ours:.4} and {theirs:.4} after window {}", window + 1);
        assert!(
            difference.abs() < TOLERANCE,
            "{name}: the perplexity is {ours:.4} after window {}, llama.cpp's {theirs:.4}",
            window + 1
        );
    }
}

#[test]
fn smollm2_135m() {
    check("smollm2-135m-instruct-q4_1", 4);
}

#[test]
fn qwen_0_5b() {
    check("qwen2.5-coder-0.5b-instruct-q4_k_m", 2);
}

#[test]
fn qwen_1_5b() {
    check("qwen2.5-coder-1.5b-instruct-q4_k_m", 1);
}

#[test]
fn gemma_3_270m() {
    check("gemma-3-270m-q4_k_m", 2);
}
