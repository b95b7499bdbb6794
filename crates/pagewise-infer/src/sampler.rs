//! Masked logits in, one token out.

use pagewise_core::Sampling;
use pagewise_grammar::TokenMask;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::InferError;

/// Chooses tokens, the same ones for the same seed on every platform.
///
/// In this order, which is llama.cpp's: the mask; the repetition penalty; the likeliest token if
/// the temperature is 0, else top-k, top-p, min-p, temperature, and a draw from what is left. So the
/// filters look at the model's own probabilities, among the allowed tokens only, and the
/// temperature decides among those that they left.
pub struct Sampler {
    sampling: Sampling,
    rng: ChaCha8Rng,
    /// The tokens of the answer so far.
    recent: Vec<u32>,
}

/// A token that may still be drawn.
#[derive(Clone, Copy)]
struct Candidate {
    token: u32,
    logit: f32,
}

impl Sampler {
    /// Makes a sampler for one answer.
    pub fn new(sampling: &Sampling, seed: u64) -> Self {
        Self {
            sampling: sampling.clone(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            recent: Vec::new(),
        }
    }

    /// Takes note of a token of the answer, sampled or forced, for the repetition penalty.
    ///
    /// Tokens of the prompt are not penalised: to repeat what memory yielded is what is wanted.
    pub fn accept(&mut self, token: u32) {
        self.recent.push(token);
    }

    /// Chooses among the tokens that `mask` allows, or among all; `logits` is `(vocabulary,)`.
    ///
    /// Fails if the mask allows no token that has a logit.
    pub fn sample(&mut self, logits: &[f32], mask: Option<&TokenMask>) -> Result<u32, InferError> {
        let candidate = |token: u32| {
            let logit = *logits.get(token as usize)?;
            // A logit that is not a number is never the best, and must not poison the others.
            (!logit.is_nan() && logit > f32::NEG_INFINITY).then_some(Candidate { token, logit })
        };
        let mut candidates: Vec<Candidate> = match mask {
            Some(mask) => mask.iter().filter_map(candidate).collect(),
            None => (0u32..).take(logits.len()).filter_map(candidate).collect(),
        };
        self.penalise(&mut candidates);
        if self.sampling.temperature <= 0.0 {
            return likeliest(&candidates).map(|best| best.token).ok_or(NOTHING);
        }
        if likeliest(&candidates).is_none() {
            return Err(NOTHING);
        }
        // Equal logits in the order of their ids, so that no detail of sorting decides.
        candidates.sort_unstable_by(|a, b| b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token)));
        if self.sampling.top_k > 0 {
            candidates.truncate(self.sampling.top_k);
        }
        self.keep_top_p(&mut candidates);
        self.keep_min_p(&mut candidates);
        Ok(self.draw(&candidates))
    }

    fn penalise(&self, candidates: &mut [Candidate]) {
        let penalty = self.sampling.repetition_penalty;
        if penalty == 1.0 {
            return;
        }
        let start = self.recent.len().saturating_sub(self.sampling.repetition_window);
        let mut recent = self.recent[start..].to_vec();
        recent.sort_unstable();
        for candidate in candidates {
            if recent.binary_search(&candidate.token).is_ok() {
                if candidate.logit > 0.0 {
                    candidate.logit /= penalty;
                } else {
                    candidate.logit *= penalty;
                }
            }
        }
    }

    /// `candidates` is sorted, likeliest first, here and below.
    fn keep_top_p(&self, candidates: &mut Vec<Candidate>) {
        let top_p = f64::from(self.sampling.top_p);
        if top_p >= 1.0 {
            return;
        }
        let weights = weights(candidates, 1.0);
        let enough = top_p * weights.iter().sum::<f64>();
        let mut sum = 0.0;
        let n_kept = weights
            .iter()
            .position(|weight| {
                sum += weight;
                sum >= enough
            })
            .map_or(candidates.len(), |last| last + 1);
        candidates.truncate(n_kept);
    }

    fn keep_min_p(&self, candidates: &mut Vec<Candidate>) {
        let min_p = f64::from(self.sampling.min_p);
        if min_p > 0.0 {
            // The likeliest has the weight 1, and stays whatever is asked for.
            let n_kept =
                weights(candidates, 1.0).iter().take_while(|weight| **weight >= min_p).count();
            candidates.truncate(n_kept.max(1));
        }
    }

    fn draw(&mut self, candidates: &[Candidate]) -> u32 {
        let weights = weights(candidates, f64::from(self.sampling.temperature));
        let mut left = self.rng.random::<f64>() * weights.iter().sum::<f64>();
        for (candidate, weight) in candidates.iter().zip(&weights) {
            left -= weight;
            if left < 0.0 {
                return candidate.token;
            }
        }
        // Only rounding leads here.
        candidates[0].token
    }
}

const NOTHING: InferError =
    InferError::NothingToSample { reason: "no allowed token has a logit that is a number" };

/// Returns the candidate with the greatest logit; of several, the one with the lowest id.
fn likeliest(candidates: &[Candidate]) -> Option<Candidate> {
    candidates
        .iter()
        .copied()
        .reduce(|best, candidate| if candidate.logit > best.logit { candidate } else { best })
}

/// Returns probabilities relative to that of the first candidate, which is the likeliest.
fn weights(candidates: &[Candidate], temperature: f64) -> Vec<f64> {
    let best = candidates.first().map_or(0.0, |best| f64::from(best.logit));
    candidates
        .iter()
        .map(|candidate| ((f64::from(candidate.logit) - best) / temperature).exp())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask(n_tokens: usize, allowed: &[u32]) -> TokenMask {
        let mut mask = TokenMask::none(n_tokens);
        for &token in allowed {
            mask.allow(token);
        }
        mask
    }

    fn sampling(change: impl FnOnce(&mut Sampling)) -> Sampling {
        let mut sampling = Sampling { temperature: 1.0, ..Sampling::default() };
        change(&mut sampling);
        sampling
    }

    /// Returns how often each of the tokens came in 20,000 draws.
    fn shares(sampling: &Sampling, logits: &[f32], mask: Option<&TokenMask>) -> Vec<f64> {
        const N_DRAWS: u32 = 20_000;
        let mut sampler = Sampler::new(sampling, 7);
        let mut counts = vec![0u32; logits.len()];
        for _ in 0..N_DRAWS {
            counts[sampler.sample(logits, mask).expect("a token") as usize] += 1;
        }
        counts.iter().map(|n| f64::from(*n) / f64::from(N_DRAWS)).collect()
    }

    fn assert_shares(sampling: &Sampling, logits: &[f32], expected: &[f64]) {
        let actual = shares(sampling, logits, None);
        for (actual_share, expected_share) in actual.iter().zip(expected) {
            // Five standard deviations of 20,000 draws at most.
            assert!((actual_share - expected_share).abs() < 0.018, "{actual:?}, not {expected:?}");
        }
    }

    #[test]
    fn draws_as_often_as_the_probabilities_say() {
        // Probabilities 0.5, 0.3, 0.15, 0.05.
        let logits = [0.5f32, 0.3, 0.15, 0.05].map(f32::ln);
        assert_shares(&sampling(|_| {}), &logits, &[0.5, 0.3, 0.15, 0.05]);
        assert_shares(&sampling(|s| s.top_k = 2), &logits, &[0.625, 0.375, 0.0, 0.0]);
        assert_shares(&sampling(|s| s.top_p = 0.7), &logits, &[0.625, 0.375, 0.0, 0.0]);
        assert_shares(&sampling(|s| s.min_p = 0.2), &logits, &[0.526, 0.316, 0.158, 0.0]);
        // Squared probabilities, normalised.
        let halved = [0.6849, 0.2466, 0.0616, 0.0068];
        assert_shares(&sampling(|s| s.temperature = 0.5), &logits, &halved);
    }

    #[test]
    fn filters_look_at_probabilities_before_the_temperature() {
        let logits = [0.5f32, 0.3, 0.15, 0.05].map(f32::ln);
        // At this temperature all four are about equally likely, and top-p of 0.7 keeps two.
        let hot = sampling(|s| {
            s.temperature = 1000.0;
            s.top_p = 0.7;
        });
        assert_shares(&hot, &logits, &[0.5, 0.5, 0.0, 0.0]);
    }

    #[test]
    fn penalty_looks_at_the_last_tokens_only() {
        let sampling =
            Sampling { repetition_penalty: 2.0, repetition_window: 2, ..Sampling::default() };
        let mut sampler = Sampler::new(&sampling, 0);
        let logits = [3.0, 2.0, -1.0];
        assert_eq!(sampler.sample(&logits, None).expect("a token"), 0);
        sampler.accept(0);
        assert_eq!(sampler.sample(&logits, None).expect("a token"), 1);
        sampler.accept(2);
        sampler.accept(2);
        assert_eq!(sampler.sample(&logits, None).expect("a token"), 0);
        let only_negative = mask(3, &[2]);
        assert_eq!(sampler.sample(&logits, Some(&only_negative)).expect("a token"), 2);
    }

    #[test]
    fn nothing_allowed_is_an_error() {
        for temperature in [0.0, 1.0] {
            let sampling = sampling(|s| s.temperature = temperature);
            let mut sampler = Sampler::new(&sampling, 0);
            assert!(sampler.sample(&[1.0, 2.0], Some(&mask(2, &[]))).is_err());
            assert!(sampler.sample(&[f32::NAN, 1.0], Some(&mask(2, &[0]))).is_err());
            assert!(sampler.sample(&[], None).is_err());
            assert_eq!(sampler.sample(&[f32::NAN, 1.0], None).expect("a token"), 1);
        }
    }

    proptest! {
        #[test]
        fn respects_the_mask_and_repeats_itself(
            logits in prop::collection::vec(-10f32..10.0, 40),
            allowed in prop::collection::btree_set(0u32..40, 1..20),
            temperature in prop_oneof![Just(0f32), 0.1f32..3.0],
            top_k in 0usize..10,
            top_p in 0.05f32..=1.0,
            min_p in 0f32..=1.0,
            repetition_penalty in 0.5f32..2.0,
            seed in any::<u64>(),
        ) {
            let sampling = Sampling { temperature, top_k, top_p, min_p, repetition_penalty, repetition_window: 8 };
            let allowed: Vec<u32> = allowed.into_iter().collect();
            let mask = mask(40, &allowed);
            let run = || -> Vec<u32> {
                let mut sampler = Sampler::new(&sampling, seed);
                (0..20).map(|_| {
                    let token = sampler.sample(&logits, Some(&mask)).expect("a token is allowed");
                    sampler.accept(token);
                    token
                }).collect()
            };
            let tokens = run();
            prop_assert!(tokens.iter().all(|token| allowed.contains(token)));
            prop_assert_eq!(tokens, run());
        }

        #[test]
        fn greedy_takes_the_best_that_is_allowed(
            logits in prop::collection::vec(-10f32..10.0, 40),
            allowed in prop::collection::btree_set(0u32..40, 1..20),
        ) {
            let allowed: Vec<u32> = allowed.into_iter().collect();
            let mask = mask(40, &allowed);
            let token = Sampler::new(&Sampling::default(), 0).sample(&logits, Some(&mask)).expect("a token is allowed");
            let best = allowed.iter().map(|id| logits[*id as usize]).fold(f32::MIN, f32::max);
            prop_assert_eq!(logits[token as usize], best);
        }
    }
}
