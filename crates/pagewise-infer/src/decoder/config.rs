//! What a decoder is made of: the numbers by which families differ.

/// The largest count of anything that a configuration may ask for: far above any real model, and
/// small enough that products of two stay in range.
const MAX_DIM: usize = 1 << 24;
const MAX_LAYERS: usize = 1024;
const MAX_HEAD_DIM: usize = 1024;
const MAX_WIDTH_RATIO: usize = 64;

/// What a decoder is made of; a family turns its metadata into this.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// Layers.
    pub n_layers: usize,
    /// Numbers in the vector of a token.
    pub hidden: usize,
    /// Numbers between the two halves of the feed-forward network.
    pub feed_forward: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; each serves `n_heads / n_kv_heads` query heads.
    pub n_kv_heads: usize,
    /// Numbers in a key, query or value of one head.
    pub head_dim: usize,
    /// Tokens, and logits; can be more than the tokenizer has.
    pub vocabulary: usize,
    /// The longest window that the model was trained for, in tokens.
    pub context_length: usize,
    /// Added to the mean square in RMS norms.
    pub rms_epsilon: f32,
    /// How positions are told.
    pub rope: Rope,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
}

/// Rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// How many numbers of a head are turned, from the first on.
    pub dim: usize,
    /// The base of the wavelengths.
    pub theta: f32,
    /// Which numbers are turned together.
    pub pairing: RopePairing,
    /// How positions beyond the original window are brought back.
    pub scaling: RopeScaling,
}

/// Which two numbers of a head are turned together; llama.cpp's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairing {
    /// Neighbours: 0 and 1, 2 and 3, …
    Norm,
    /// Halves: 0 and `dim / 2`, 1 and `dim / 2 + 1`, …
    Neox,
}

/// How positions beyond the original window are brought back.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Every position divided by `factor`.
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// Each of the `dim / 2` frequencies divided by its own number (Llama 3.1 and later).
    Divisors(Vec<f32>),
}

impl DecoderConfig {
    /// Returns what makes this configuration impossible, as the rest of a sentence about the file.
    pub(crate) fn check(&self) -> Result<(), String> {
        let counts = [
            ("layers", self.n_layers),
            ("numbers per token", self.hidden),
            ("feed-forward numbers", self.feed_forward),
            ("attention heads", self.n_heads),
            ("key and value heads", self.n_kv_heads),
            ("numbers per head", self.head_dim),
            ("tokens in the vocabulary", self.vocabulary),
            ("tokens of context", self.context_length),
        ];
        for (what, count) in counts {
            if !(1..=MAX_DIM).contains(&count) {
                return Err(format!("asks for {count} {what}, which is impossible"));
            }
        }
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            return Err(format!(
                "shares {} key and value heads among {} heads, which does not divide evenly",
                self.n_kv_heads, self.n_heads
            ));
        }
        // Real models stay below a quarter of each of these; more would let a small file ask for any
        // amount of memory.
        let attention = self.n_heads.saturating_mul(self.head_dim);
        if self.n_layers > MAX_LAYERS
            || self.head_dim > MAX_HEAD_DIM
            || self.n_kv_heads > self.n_heads
            || attention > self.hidden.saturating_mul(MAX_WIDTH_RATIO)
            || self.feed_forward > self.hidden.saturating_mul(MAX_WIDTH_RATIO)
        {
            return Err(
                "asks for layers or heads out of all proportion, which is impossible".into()
            );
        }
        if !(self.rms_epsilon > 0.0 && self.rms_epsilon < 1.0) {
            return Err(format!(
                "asks for an RMS norm epsilon of {}, which is impossible",
                self.rms_epsilon
            ));
        }
        self.rope.check(self.head_dim)
    }
}

impl Rope {
    fn check(&self, head_dim: usize) -> Result<(), String> {
        if self.dim == 0 || !self.dim.is_multiple_of(2) || self.dim > head_dim {
            return Err(format!(
                "turns {} of {head_dim} numbers of a head by RoPE, which is impossible",
                self.dim
            ));
        }
        let are_good = |factors: &[f32]| factors.iter().all(|f| f.is_finite() && *f > 0.0);
        let scaling_is_good = match &self.scaling {
            RopeScaling::None => true,
            RopeScaling::Linear { factor } => are_good(&[*factor]),
            RopeScaling::Divisors(divisors) => divisors.len() == self.dim / 2 && are_good(divisors),
        };
        if !(self.theta.is_finite() && self.theta >= 1.0 && scaling_is_good) {
            return Err("asks for a RoPE base or scaling that is impossible".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> DecoderConfig {
        DecoderConfig {
            n_layers: 2,
            hidden: 32,
            feed_forward: 64,
            n_heads: 4,
            n_kv_heads: 2,
            head_dim: 8,
            vocabulary: 300,
            context_length: 4096,
            rms_epsilon: 1e-5,
            rope: Rope {
                dim: 8,
                theta: 10_000.0,
                pairing: RopePairing::Norm,
                scaling: RopeScaling::None,
            },
            qkv_bias: false,
        }
    }

    fn check(change: impl FnOnce(&mut DecoderConfig), expected: &str) {
        let mut config = example();
        change(&mut config);
        let error = config.check().expect_err(expected);
        assert!(error.contains(expected), "{error} does not say {expected:?}");
    }

    #[test]
    fn impossible_numbers_are_named() {
        assert_eq!(example().check(), Ok(()));
        check(|config| config.n_layers = 0, "0 layers");
        check(|config| config.hidden = usize::MAX, "numbers per token");
        check(|config| config.n_kv_heads = 3, "3 key and value heads among 4");
        check(|config| config.rms_epsilon = f32::NAN, "epsilon of NaN");
        check(|config| config.rope.dim = 7, "7 of 8");
        check(|config| config.rope.dim = 10, "10 of 8");
        check(|config| config.rope.theta = f32::INFINITY, "RoPE base");
        check(|config| config.rope.scaling = RopeScaling::Linear { factor: 0.0 }, "scaling");
        check(|config| config.rope.scaling = RopeScaling::Divisors(vec![1.0; 3]), "scaling");
    }
}
