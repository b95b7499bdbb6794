//! How likely logits make a token.

/// Returns the logarithm of the probability that `logits` give to `token`; the lowest number there is
/// for one that they do not have.
pub fn log_probability(logits: &[f32], token: u32) -> f64 {
    let highest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let total: f64 = logits.iter().map(|logit| (f64::from(*logit) - highest).exp()).sum();
    match logits.get(token as usize) {
        Some(logit) => f64::from(*logit) - highest - total.ln(),
        None => f64::NEG_INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_of_a_softmax() {
        let logits = [1e4f32, 1e4 + 2f32.ln(), -1e30];
        let close = |token, expected: f64| {
            let probability = log_probability(&logits, token).exp();
            assert!((probability - expected).abs() < 1e-3, "{probability}, not {expected}");
        };
        close(0, 1.0 / 3.0);
        close(1, 2.0 / 3.0);
        close(2, 0.0);
        close(3, 0.0);
        assert!(log_probability(&[f32::NAN, 0.0], 1).is_nan());
    }
}
