//! Greedy answers of real weights against llama.cpp's, token by token.
//!
//! The fixtures are made by `scripts/make-greedy-fixtures`.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

use pagewise_infer::{Compute, Decoder, DeviceChoice, Gguf};
use pagewise_testkit::test_weights;
use serde::Deserialize;

/// Where the reference prefers its token by less than this, another one is rounding.
///
/// Both programs round activations to 8 bits before they multiply, each in its own blocks and its
/// own order. What that does to the reference is known: computed without it (f32 activations on
/// dequantised weights), the gaps of SmolLM2's fixture differ by 0.126 on average and 0.58 at most,
/// and 9 of its 342 tokens change.
const ROUNDING: f32 = 0.5;

/// How far the two programs' differences of logits may lie apart on average. A wrong layer, norm,
/// angle or mask moves them by whole units.
const MEAN_ROUNDING: f32 = 0.2;

#[derive(Deserialize)]
struct Case {
    text: String,
    prompt: Vec<u32>,
    answer: Vec<u32>,
    gaps: Vec<f32>,
}

fn check(model: &str, fixture: &str) {
    let cases: Vec<Case> = serde_json::from_str(fixture).unwrap();
    let gguf = Gguf::open(&test_weights(&format!("{model}.gguf"))).unwrap();
    let decoder =
        Decoder::load(&gguf, 512, &Compute::new(DeviceChoice::Cpu, None).unwrap()).unwrap();
    let mut differences = Vec::new();
    let mut n_other = 0;
    for case in &cases {
        let mut cache = decoder.new_cache().unwrap();
        let mut logits = decoder.forward(&case.prompt, &mut cache).unwrap();
        for (i, (&expected, &gap)) in case.answer.iter().zip(&case.gaps).enumerate() {
            let best_other = (0u32..)
                .zip(&logits)
                .filter(|(id, _)| *id != expected)
                .map(|(_, logit)| *logit)
                .fold(f32::MIN, f32::max);
            // How far the reference's choice lies above the best other: negative if not chosen here.
            let own_gap = logits[expected as usize] - best_other;
            differences.push((own_gap - gap).abs());
            if own_gap < 0.0 {
                n_other += 1;
                assert!(
                    gap < ROUNDING,
                    "{model}, {:?}: token {i} is not {expected}; gap {own_gap}, not {gap}",
                    case.text
                );
            }
            // Along the reference's answer, so that every position is compared.
            logits = decoder.forward(&[expected], &mut cache).unwrap();
        }
    }
    let mean = differences.iter().sum::<f32>() / differences.len() as f32;
    let largest = differences.iter().copied().fold(0f32, f32::max);
    eprintln!(
        "{model}: {n_other} of {} tokens differ; gaps differ by {mean:.3}, at most {largest:.3}",
        differences.len()
    );
    assert!(mean < MEAN_ROUNDING, "{model}: gaps differ by {mean} on average");
    // At most one token in twenty is that close.
    assert!(n_other * 20 <= differences.len(), "{model}: {n_other} tokens differ");
}

#[test]
fn smollm2_135m() {
    check(
        "smollm2-135m-instruct-q4_1",
        include_str!("data/greedy/smollm2-135m-instruct-q4_1.json"),
    );
}

#[test]
fn qwen_0_5b() {
    check(
        "qwen2.5-coder-0.5b-instruct-q4_k_m",
        include_str!("data/greedy/qwen2.5-coder-0.5b-instruct-q4_k_m.json"),
    );
}

/// Only where these weights are: a gigabyte is much to fetch for one test.
#[test]
fn qwen_1_5b() {
    const MODEL: &str = "qwen2.5-coder-1.5b-instruct-q4_k_m";
    let folder = test_weights("");
    if !folder.join(format!("{MODEL}.gguf")).exists() {
        return;
    }
    check(MODEL, include_str!("data/greedy/qwen2.5-coder-1.5b-instruct-q4_k_m.json"));
}
