//! YaRN (arXiv 2309.00071): fast waves stay as they were trained, slow ones are stretched over the
//! longer window, those between are mixed, and what is turned grows a little.

use std::f64::consts::PI;

/// What YaRN is told.
pub(crate) struct Yarn {
    /// By how much the window is longer than the original one.
    pub(crate) factor: f64,
    /// The original window, in tokens.
    pub(crate) original_context: f64,
    /// Waves that turn so often or more within the original window stay.
    pub(crate) beta_fast: f64,
    /// Waves that turn so seldom or less are stretched whole.
    pub(crate) beta_slow: f64,
    /// Whether the first and the last wave that are mixed are rounded to whole numbers, outwards.
    pub(crate) truncates: bool,
}

impl Yarn {
    /// Waves that turn 32 times and more, or once and less, if nothing else is said.
    pub(crate) const BETAS: [f64; 2] = [32.0, 1.0];

    /// Returns what each of the `dim / 2` frequencies is divided by. An impossible factor gives divisors
    /// that the check of the configuration refuses.
    pub(crate) fn divisors(&self, dim: usize, theta: f64) -> Vec<f32> {
        let [first, last] = self.mixed(dim, theta);
        let n_mixed = if last == first { 0.001 } else { last - first };
        (0..dim / 2)
            .map(|i| {
                let stretched = ((i as f64 - first) / n_mixed).clamp(0.0, 1.0);
                (stretched / self.factor + (1.0 - stretched)).recip() as f32
            })
            .collect()
    }

    /// Returns the numbers of the waves between which others are mixed.
    fn mixed(&self, dim: usize, theta: f64) -> [f64; 2] {
        let dim = dim as f64;
        // Wave i turns original_context / (2π theta^(2i / dim)) times.
        let turning =
            |n: f64| dim * (self.original_context / (n * 2.0 * PI)).ln() / (2.0 * theta.ln());
        let (first, last) = (turning(self.beta_fast), turning(self.beta_slow));
        let (first, last) =
            if self.truncates { (first.floor(), last.ceil()) } else { (first, last) };
        [first.max(0.0), last.min(dim - 1.0)]
    }

    /// Returns the window that it makes of the original one, in tokens.
    pub(crate) fn context_length(&self) -> usize {
        (self.factor * self.original_context) as usize
    }

    /// Returns what numbers that are turned are multiplied with, for a window longer by `factor`.
    ///
    /// `weight` is usually 1; DeepSeek's settings have two, and the quotient of what they give.
    pub(crate) fn magnitude(factor: f64, weight: f64) -> f64 {
        if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks against the quotients of frequencies without and with YaRN that transformers 5.24
    /// computes (`_compute_yarn_parameters`).
    #[track_caller]
    fn check(yarn: &Yarn, dim: usize, theta: f64, expected: &[f32]) {
        let divisors = yarn.divisors(dim, theta);
        assert_eq!(divisors.len(), expected.len());
        for (divisor, expected) in divisors.iter().zip(expected) {
            assert!((divisor / expected - 1.0).abs() < 1e-5, "{divisors:?}, not {expected:?}");
        }
    }

    #[test]
    fn the_betas_are_32_and_1_by_default() {
        let [beta_fast, beta_slow] = Yarn::BETAS;
        let yarn =
            Yarn { factor: 4.0, original_context: 32_768.0, beta_fast, beta_slow, truncates: true };
        check(
            &yarn,
            32,
            1e6,
            &[
                1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.176471, 1.428571, 1.818182, 2.5, 4.0, 4.0, 4.0,
                4.0, 4.0, 4.0,
            ],
        );
    }

    #[test]
    fn whole_waves_are_mixed() {
        let yarn = Yarn {
            factor: 4.0,
            original_context: 32.0,
            beta_fast: 2.0,
            beta_slow: 0.5,
            truncates: true,
        };
        check(&yarn, 16, 20.0, &[1.0, 1.0, 1.0, 1.176471, 1.428571, 1.818182, 2.5, 4.0]);
    }

    #[test]
    fn parts_of_waves_are_mixed() {
        let yarn = Yarn {
            factor: 4.0,
            original_context: 32.0,
            beta_fast: 2.0,
            beta_slow: 0.5,
            truncates: false,
        };
        check(&yarn, 16, 20.0, &[1.0, 1.0, 1.0, 1.113688, 1.438171, 2.02948, 3.446533, 4.0]);
    }

    #[test]
    fn without_a_wave_that_is_mixed_there_is_a_step() {
        let yarn = Yarn {
            factor: 4.0,
            original_context: 32.0,
            beta_fast: 1.0,
            beta_slow: 1.0,
            truncates: false,
        };
        check(&yarn, 16, 20.0, &[1.0, 1.0, 1.0, 1.0, 1.0, 4.0, 4.0, 4.0]);
    }

    /// As the reference has it, and not what the paper would.
    #[test]
    fn where_the_fastest_wave_is_too_slow_nothing_is_stretched() {
        let yarn = Yarn {
            factor: 8.0,
            original_context: 32.0,
            beta_fast: 200.0,
            beta_slow: 100.0,
            truncates: true,
        };
        check(&yarn, 16, 20.0, &[1.0; 8]);
    }

    #[test]
    fn the_magnitude_grows_with_the_logarithm() {
        assert!((Yarn::magnitude(4.0, 1.0) - 1.138_629_436).abs() < 1e-9);
        assert!((Yarn::magnitude(4.0, 0.5) - 1.069_314_718).abs() < 1e-9);
        assert!((Yarn::magnitude(0.5, 1.0) - 1.0).abs() < 1e-9);
    }

    /// Whatever else is impossible stretches all waves, or none.
    #[test]
    fn impossible_factors_give_no_divisors_that_pass() {
        for factor in [0.0, -4.0, f64::NAN, f64::INFINITY] {
            let yarn = Yarn {
                factor,
                original_context: 32.0,
                beta_fast: 32.0,
                beta_slow: 1.0,
                truncates: true,
            };
            let divisors = yarn.divisors(16, 20.0);
            assert!(divisors.iter().any(|d| !d.is_finite() || *d <= 0.0), "{divisors:?}");
        }
    }
}
