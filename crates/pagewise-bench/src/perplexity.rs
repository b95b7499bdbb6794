//! Perplexity: how well a model foresees a text, by the protocol of llama-perplexity, so that the two
//! numbers can be laid side by side.
//!
//! The text's tokens are cut into windows that do not overlap, each read as a text of its own; where
//! the model wants a token that begins a text, it takes the place of a window's first. Only the second
//! half of a window is scored, where the model has something to go by, and what is left after the last
//! whole window is not used. The perplexity is the exponential of the mean of `-ln p(token)`, its
//! uncertainty what the standard error of that mean makes of it.

use std::error::Error;

use serde::Serialize;
use thiserror::Error;

/// The smallest window with a token to score.
pub const MIN_WINDOW_TOKENS: usize = 4;

/// A model, as perplexity needs it.
pub trait Predictor {
    /// Reads `tokens` as a text of its own, and returns the logarithm of the probability of each from
    /// index `first` on, given those before it.
    ///
    /// `first` is at least 1: nothing foresees the first token.
    fn log_probabilities(
        &mut self,
        tokens: &[u32],
        first: usize,
    ) -> Result<Vec<f64>, Box<dyn Error + Send + Sync>>;
}

/// How a text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerplexityConfig {
    /// The length of a window, in tokens; at least [`MIN_WINDOW_TOKENS`].
    pub window_tokens: usize,
    /// The most windows to read, from the beginning; all if `None`.
    pub windows_max: Option<usize>,
    /// The token that begins a text, if the model wants one.
    pub bos: Option<u32>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Perplexity {
    /// `exp(mean(-ln p))`.
    pub perplexity: f64,
    /// The standard error of that.
    pub uncertainty: f64,
    /// The length of a window, in tokens.
    pub window_tokens: usize,
    /// How many windows were read.
    pub n_windows: usize,
    /// How many tokens were scored.
    pub n_scored: usize,
    /// How many tokens the text has, with the one that begins it.
    pub n_tokens: usize,
    /// The perplexity of all windows so far, after each of them.
    pub after_each_window: Vec<f64>,
}

/// Perplexity could not be measured.
#[derive(Debug, Error)]
pub enum PerplexityError {
    /// No token of such a window would be scored.
    #[error(
        "a window of {window_tokens} tokens is too small; give it at least {MIN_WINDOW_TOKENS}"
    )]
    WindowTooSmall {
        /// What was asked for, in tokens.
        window_tokens: usize,
    },
    /// No window is asked for.
    #[error("at least one window must be read")]
    NoWindow,
    /// The text does not fill one window.
    #[error("the text has {n_tokens} tokens, which do not fill a window of {window_tokens}")]
    TextTooShort {
        /// Tokens of the text.
        n_tokens: usize,
        /// What a window needs.
        window_tokens: usize,
    },
    /// A token has no probability.
    #[error(
        "the model gives no probability to a token of window {window}: its logits are no numbers"
    )]
    NoProbability {
        /// Which window, from 1 on.
        window: usize,
    },
    /// The forward pass failed.
    #[error("the model failed: {0}")]
    Model(#[source] Box<dyn Error + Send + Sync>),
}

/// Measures the perplexity of a text, whose tokens `text` are without the one that begins it; `on_window`
/// gets the number of each window that is done, from 1 on, and the perplexity so far.
pub fn run(
    predictor: &mut dyn Predictor,
    text: &[u32],
    config: &PerplexityConfig,
    on_window: &mut dyn FnMut(usize, f64),
) -> Result<Perplexity, PerplexityError> {
    let PerplexityConfig { window_tokens, windows_max, bos } = *config;
    if window_tokens < MIN_WINDOW_TOKENS {
        return Err(PerplexityError::WindowTooSmall { window_tokens });
    }
    if windows_max == Some(0) {
        return Err(PerplexityError::NoWindow);
    }
    let mut tokens: Vec<u32> = bos.into_iter().chain(text.iter().copied()).collect();
    let n_tokens = tokens.len();
    let mut scores = Scores::default();
    let mut after_each_window = Vec::new();
    let windows = tokens.chunks_exact_mut(window_tokens);
    for (number, window) in (1..).zip(windows.take(windows_max.unwrap_or(usize::MAX))) {
        if let Some(bos) = bos {
            window[0] = bos;
        }
        // The logits in the second half score what follows each of them.
        let first = window_tokens / 2 + 1;
        let scored = predictor.log_probabilities(window, first).map_err(PerplexityError::Model)?;
        for log_probability in scored {
            if !log_probability.is_finite() {
                return Err(PerplexityError::NoProbability { window: number });
            }
            scores.add(-log_probability);
        }
        on_window(number, scores.perplexity());
        after_each_window.push(scores.perplexity());
    }
    if after_each_window.is_empty() {
        return Err(PerplexityError::TextTooShort { n_tokens, window_tokens });
    }
    Ok(Perplexity {
        perplexity: scores.perplexity(),
        uncertainty: scores.uncertainty(),
        window_tokens,
        n_windows: after_each_window.len(),
        n_scored: scores.n,
        n_tokens,
        after_each_window,
    })
}

/// Sums of `-ln p` and of its square.
#[derive(Default)]
struct Scores {
    n: usize,
    sum: f64,
    squares: f64,
}

impl Scores {
    fn add(&mut self, score: f64) {
        self.n += 1;
        self.sum += score;
        self.squares += score * score;
    }

    fn perplexity(&self) -> f64 {
        (self.sum / self.n as f64).exp()
    }

    /// The derivative of the exponential carries the standard error of the mean over; 0 for one score.
    fn uncertainty(&self) -> f64 {
        if self.n < 2 {
            return 0.0;
        }
        let n = self.n as f64;
        let variance = (self.squares / n - (self.sum / n).powi(2)).max(0.0);
        (variance / (n - 1.0)).sqrt() * self.perplexity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

    /// Gives every token the same probability, and records what it is asked.
    struct Uniform {
        probability: f64,
        asked: Vec<(Vec<u32>, usize)>,
    }

    impl Predictor for Uniform {
        fn log_probabilities(&mut self, tokens: &[u32], first: usize) -> Outcome<Vec<f64>> {
            self.asked.push((tokens.to_vec(), first));
            Ok(vec![self.probability.ln(); tokens.len() - first])
        }
    }

    fn uniform(probability: f64) -> Uniform {
        Uniform { probability, asked: Vec::new() }
    }

    fn config(window_tokens: usize) -> PerplexityConfig {
        PerplexityConfig { window_tokens, windows_max: None, bos: None }
    }

    #[test]
    fn only_the_second_half_of_whole_windows_is_scored() {
        let mut predictor = uniform(0.125);
        let text: Vec<u32> = (0..15).collect();
        let mut seen = Vec::new();
        let result = run(&mut predictor, &text, &config(6), &mut |n, _| seen.push(n)).unwrap();
        assert_eq!(predictor.asked, [(vec![0, 1, 2, 3, 4, 5], 4), (vec![6, 7, 8, 9, 10, 11], 4)]);
        assert_eq!((result.n_windows, result.n_scored, result.n_tokens), (2, 4, 15));
        assert_eq!(seen, [1, 2]);
        for perplexity in [result.perplexity, result.after_each_window[0]] {
            assert!((perplexity - 8.0).abs() < 1e-12, "{perplexity}");
        }
        assert!(result.uncertainty < 1e-6, "all scores are alike: {}", result.uncertainty);
    }

    #[test]
    fn the_token_that_begins_a_text_begins_every_window() {
        let mut predictor = uniform(0.5);
        let config = PerplexityConfig { bos: Some(99), windows_max: Some(2), ..config(4) };
        let result = run(&mut predictor, &[1, 2, 3, 4, 5, 6, 7, 8, 9], &config, &mut |_, _| {});
        // In the first window it stands before the text, in the others in place of a token.
        assert_eq!(predictor.asked, [(vec![99, 1, 2, 3], 3), (vec![99, 5, 6, 7], 3)]);
        assert_eq!(result.unwrap().n_tokens, 10);
    }

    #[test]
    fn the_uncertainty_is_the_standard_error() {
        let mut scores = Scores::default();
        [1.0, 3.0].into_iter().for_each(|score| scores.add(score));
        // The mean is 2; of two scores one apart from it, the standard error is 1.
        assert!((scores.perplexity() - 2f64.exp()).abs() < 1e-12);
        assert!((scores.uncertainty() - 2f64.exp()).abs() < 1e-12);
    }

    #[test]
    fn refuses_what_cannot_be_measured() {
        let check = |probability: f64, config: PerplexityConfig, expected: &str| {
            let error = run(&mut uniform(probability), &[7; 9], &config, &mut |_, _| {});
            assert_eq!(error.unwrap_err().to_string(), expected);
        };
        check(0.5, config(3), "a window of 3 tokens is too small; give it at least 4");
        check(0.5, config(10), "the text has 9 tokens, which do not fill a window of 10");
        let none = PerplexityConfig { windows_max: Some(0), ..config(4) };
        check(0.5, none, "at least one window must be read");
        check(
            f64::NAN,
            config(4),
            "the model gives no probability to a token of window 1: its logits are no numbers",
        );
    }
}
