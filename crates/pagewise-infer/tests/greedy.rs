//! Greedy answers of real weights against llama.cpp's, token by token.
//!
//! The fixtures are made by `scripts/make-greedy-fixtures`.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

use pagewise_infer::{Compute, Decoder, DeviceChoice, Gguf};
use pagewise_testkit::test_weights;
use serde::Deserialize;

/// How many times the reference's average error the one measured here may be. Both programs round
/// activations to 8 bits before they multiply, each in its own blocks; here the KV cache is f16 as
/// well, the reference's was f32. The exact gaps are those of f32 activations on the dequantised
/// weights. A wrong layer, norm, angle or mask moves gaps by whole units, and the errors lie at a
/// tenth of one.
const ERROR_RATIO: f32 = 1.25;

#[derive(Deserialize)]
struct Case {
    text: String,
    prompt: Vec<u32>,
    answer: Vec<u32>,
    /// By how much the reference prefers its token to the best other.
    gaps: Vec<f32>,
    /// What that is without rounding.
    exact_gaps: Vec<f32>,
}

/// How far the gaps of one program lie from the exact ones.
#[derive(Debug, Default)]
struct Errors {
    sum: f32,
    largest: f32,
    n: usize,
    /// Tokens that are not the ones which exact arithmetic would choose.
    n_other: usize,
}

impl Errors {
    fn add(&mut self, gap: f32, exact_gap: f32) {
        let error = (gap - exact_gap).abs();
        self.sum += error;
        self.largest = self.largest.max(error);
        self.n += 1;
        self.n_other += usize::from((gap < 0.0) != (exact_gap < 0.0));
    }

    fn mean(&self) -> f32 {
        self.sum / self.n as f32
    }
}

/// Follows the reference's answers, so that every position is compared, and holds that where
/// another token is chosen here, exact arithmetic finds the two closer than rounding moves them.
fn check(model: &str, fixture: &str) {
    let cases: Vec<Case> = serde_json::from_str(fixture).unwrap();
    let gguf = Gguf::open(&test_weights(&format!("{model}.gguf"))).unwrap();
    let decoder =
        Decoder::load(&gguf, 512, &Compute::new(DeviceChoice::Cpu, None).unwrap()).unwrap();
    let (mut ours, mut reference) = (Errors::default(), Errors::default());
    let mut others = Vec::new();
    for case in &cases {
        let mut cache = decoder.new_cache().unwrap();
        let mut logits = decoder.forward(&case.prompt, &mut cache).unwrap();
        for (i, &expected) in case.answer.iter().enumerate() {
            let best_other = (0u32..)
                .zip(&logits)
                .filter(|(id, _)| *id != expected)
                .map(|(_, logit)| *logit)
                .fold(f32::MIN, f32::max);
            // Negative if the reference's token is not the one chosen here.
            let gap = logits[expected as usize] - best_other;
            let exact_gap = case.exact_gaps[i];
            ours.add(gap, exact_gap);
            reference.add(case.gaps[i], exact_gap);
            if gap < 0.0 {
                others.push((&case.text, i, gap, case.gaps[i], exact_gap));
            }
            logits = decoder.forward(&[expected], &mut cache).unwrap();
        }
    }
    eprintln!("{model}\nours      {ours:?}\nreference {reference:?}");
    assert!(
        ours.mean() <= ERROR_RATIO * reference.mean(),
        "{model}: gaps are off by {} on average, the reference's by {}",
        ours.mean(),
        reference.mean()
    );
    for (text, i, gap, reference_gap, exact_gap) in others {
        eprintln!(
            "token {i} of {text:?}: {gap:.3}, not {reference_gap:.3}, exactly {exact_gap:.3}"
        );
        assert!(
            exact_gap.abs() <= reference.largest,
            "{model}: token {i} of {text:?} is another one, and no rounding: {exact_gap}"
        );
    }
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

#[test]
fn qwen_1_5b() {
    check(
        "qwen2.5-coder-1.5b-instruct-q4_k_m",
        include_str!("data/greedy/qwen2.5-coder-1.5b-instruct-q4_k_m.json"),
    );
}
