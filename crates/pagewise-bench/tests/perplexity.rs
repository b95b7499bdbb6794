//! The perplexity of real weights on a fixed text, beside what llama-perplexity says of them.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr, clippy::result_large_err)]

use std::fs;
use std::path::Path;

use pagewise_bench::{DecoderProcessor, PerplexityConfig, perplexity};
use pagewise_infer::{Compute, DeviceChoice, LoadedModel};
use pagewise_testkit::test_weights;

/// By how much the two may differ. Both round activations to 8 bits, each in its own blocks, which
/// moves the perplexity of one window by some tenths of a percent and that of four by less; a wrong
/// norm, angle or mask moves it by far more.
const TOLERANCE: f64 = 0.01;

const TEXT: &str = include_str!("data/perplexity/text.txt");

/// Compares the first `n_windows` windows: about three seconds of work.
#[track_caller]
fn check(name: &str, n_windows: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/perplexity/llama.cpp.json");
    let recorded: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let window_tokens = recorded["window_tokens"].as_u64().unwrap() as usize;
    let expected =
        recorded["after_each_window"][name][n_windows - 1].as_f64().expect("a recorded window");
    let compute = Compute::new(DeviceChoice::Cpu, None).unwrap();
    let path = test_weights(&format!("{name}.gguf"));
    let model = LoadedModel::load(&path, &compute, |_, _| Ok(window_tokens)).unwrap();
    let config = PerplexityConfig {
        window_tokens,
        windows_max: Some(n_windows),
        bos: model.tokenizer.bos(),
    };
    let mut predictor = DecoderProcessor::new(&model.decoder).unwrap();
    let tokens = model.tokenizer.encode(TEXT);
    let found = perplexity::run(&mut predictor, &tokens, &config, &mut |_, _| {}).unwrap();
    assert_eq!(found.n_windows, n_windows);
    let difference = found.perplexity / expected - 1.0;
    eprintln!("{name}: {:.4} and {expected:.4}, {:+.2}%", found.perplexity, 100.0 * difference);
    assert!(
        difference.abs() < TOLERANCE,
        "{name}: the perplexity of {n_windows} windows is {:.4}, llama.cpp's {expected:.4}",
        found.perplexity
    );
}

#[test]
fn smollm2_135m() {
    check("smollm2-135m-instruct-q4_1", 4);
}

#[test]
fn qwen_0_5b() {
    check("qwen2.5-coder-0.5b-instruct-q4_k_m", 4);
}

#[test]
fn gemma_3_270m() {
    check("gemma-3-270m-q4_k_m", 4);
}
