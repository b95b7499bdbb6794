//! The perplexity of real weights on a fixed text, beside what llama-perplexity says of them.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr, clippy::result_large_err)]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use pagewise_bench::{DecoderProcessor, PerplexityConfig, perplexity};
use pagewise_infer::{Compute, ConvertOptions, DeviceChoice, LoadedModel, convert};
use pagewise_testkit::test_weights;

/// By how much the two may differ. Both round activations to 8 bits, each in its own blocks, which
/// moves the perplexity of one window by some tenths of a percent and that of four by less; a wrong
/// norm, angle or mask moves it by far more.
const TOLERANCE: f64 = 0.01;

const TEXT: &str = include_str!("data/perplexity/text.txt");

/// Compares the first `n_windows` windows of the weights that the record names.
#[track_caller]
fn check(name: &str, n_windows: usize) {
    check_form(name, &test_weights(&format!("{name}.gguf")), n_windows);
}

/// Compares the weights at `path`, which are those that the record names in whatever form.
#[track_caller]
fn check_form(name: &str, path: &Path, n_windows: usize) {
    let recorded =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/perplexity/llama.cpp.json");
    let recorded: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(recorded).unwrap()).unwrap();
    let window_tokens = recorded["window_tokens"].as_u64().unwrap() as usize;
    let expected =
        recorded["after_each_window"][name][n_windows - 1].as_f64().expect("a recorded window");
    let compute = Compute::new(DeviceChoice::Cpu, None).unwrap();
    let model = LoadedModel::load(path, &compute, |_, _| Ok(window_tokens)).unwrap();
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
    let shown = path.display();
    eprintln!("{shown}: {:.4} and {expected:.4}, {:+.2}%", found.perplexity, 100.0 * difference);
    assert!(
        difference.abs() < TOLERANCE,
        "{shown}: the perplexity of {n_windows} windows is {:.4}, llama.cpp's {expected:.4}",
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

/// Twelve times the arithmetic of the smallest, so as many windows as were recorded, which are two.
#[test]
fn qwen_1_5b() {
    check("qwen2.5-coder-1.5b-instruct-q4_k_m", 2);
}

#[test]
fn gemma_3_270m() {
    check("gemma-3-270m-q4_k_m", 4);
}

/// The same model as `models convert` writes it to a folder: safetensors in F16, with its settings and
/// its tokenizer. Activations meet these weights unrounded, so that it lies further from the record by
/// what rounding does there.
#[test]
fn smollm2_135m_as_a_folder() {
    let name = "smollm2-135m-instruct-q4_1";
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(name);
    let options = ConvertOptions { quant: None, n_threads: 2 };
    let go_on = &mut |_, _| ControlFlow::Continue(());
    convert(&test_weights(&format!("{name}.gguf")), &folder, &options, go_on).unwrap();
    assert!(folder.join("model.safetensors").exists(), "no safetensors folder");
    check_form(name, &folder, 4);
}
