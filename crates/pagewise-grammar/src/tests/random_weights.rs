use std::collections::BTreeMap;

use pagewise_core::CallFormat;
use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::support::*;

const N_TOKENS: usize = 100_000;
const TEMPERATURE: f32 = 1.5;

/// A model with random weights: logits without any sense, a standard deviation of about 3.
fn random_logits(logits: &mut [f32], rng: &mut ChaCha8Rng) {
    for logit in logits {
        let sum: f32 = (0..4).map(|_| rng.random::<f32>()).sum();
        *logit = (sum - 2.0) * 5.2;
    }
}

/// Samples in proportion to `exp(logit / TEMPERATURE)`.
fn sample(logits: &[f32], rng: &mut ChaCha8Rng) -> u32 {
    let weights: Vec<f32> = logits.iter().map(|logit| (logit / TEMPERATURE).exp()).collect();
    let mut at = rng.random::<f32>() * weights.iter().sum::<f32>();
    let mut sampled = None;
    for (id, &weight) in (0..).zip(&weights).filter(|(_, weight)| **weight > 0.0) {
        sampled = Some(id);
        at -= weight;
        if at < 0.0 {
            break;
        }
    }
    sampled.expect("the mask left nothing")
}

#[test]
fn random_weights_produce_only_valid_calls() {
    let mut specs = builtin_specs();
    specs.extend(other_specs());
    let mut rng = ChaCha8Rng::seed_from_u64(231_008_560);
    let mut logits = vec![0.0; VOCABULARY.tokens.len()];
    let (mut n_sampled, mut n_cut_off) = (0, 0);
    let mut n_calls = BTreeMap::new();
    while n_sampled < N_TOKENS {
        let thought_max_chars = rng.random::<bool>().then_some(60);
        let format = CallFormat { thought_max_chars };
        let budget = if rng.random() { usize::MAX } else { rng.random_range(0..150) };
        let mut matcher = matcher(&specs, &format);
        let mut n_tokens = 0;
        loop {
            n_tokens += matcher.take_forced().unwrap().len();
            if matcher.is_complete() || n_tokens >= budget {
                break;
            }
            random_logits(&mut logits, &mut rng);
            matcher.token_mask().unwrap().apply(&mut logits);
            matcher.advance(sample(&logits, &mut rng)).unwrap();
            n_tokens += 1;
            n_sampled += 1;
        }
        n_cut_off += usize::from(!matcher.is_complete());
        let text = format!("{}{}", matcher.text(), matcher.close());
        let call = assert_is_call(&text, &specs, &format);
        *n_calls.entry(call.function).or_insert(0) += 1;
    }
    assert_eq!(n_calls.len(), specs.len(), "all functions are called: {n_calls:?}");
    assert!(n_cut_off > 100, "only {n_cut_off} calls were cut off");
}
