//! What a decoder is made of: all that families differ by.

use pagewise_kernels::Activation;

/// The largest count of anything that a configuration may ask for: far above any real model, and
/// small enough that products of two stay in range.
const MAX_DIM: usize = 1 << 24;
/// Real models have up to 126.
const MAX_LAYERS: usize = 512;
/// The most numbers that a head may have; real ones have up to 256.
pub(crate) const MAX_HEAD_DIM: usize = 512;
/// How much wider than a token attention may be, which is up to 2 times in real models: a token of a
/// cache takes so much more memory than the weights that ask for it.
const MAX_ATTENTION_RATIO: usize = 8;
/// How much wider than a token a feed-forward network may be, which is up to 8 times in real models.
const MAX_FEED_FORWARD_RATIO: usize = 32;
const MAX_KERNEL: usize = 64;
const MAX_EXPERTS: usize = 1024;

/// What a decoder is made of; a family turns its metadata into this.
///
/// The default is a Llama without any size, which [`Self::check`] refuses: a family sets the sizes
/// and changes what it does otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// What each layer mixes tokens by.
    pub layers: Vec<LayerKind>,
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
    /// How positions are told; each layer chooses one of these or none.
    pub ropes: Vec<Rope>,
    /// Which linear layers have biases.
    pub biases: Biases,
    /// Added to the mean square in RMS norms.
    pub rms_epsilon: f32,
    /// Where in a layer the norms stand.
    pub norms: NormPlacement,
    /// Whether the weights of norms are stored less one, as Gemma's are outside of GGUF.
    pub norm_plus_one: bool,
    /// Whether queries and keys are normed.
    pub qk_norm: QkNorm,
    /// What the gate of the feed-forward network goes through.
    pub activation: Activation,
    /// The feed-forward networks among which a token chooses, where there are several.
    pub experts: Option<Experts>,
    /// What embeddings are multiplied with.
    pub embedding_scale: f32,
    /// What the products of queries and keys are multiplied with; `1 / sqrt(head_dim)` if `None`.
    pub attention_scale: Option<f32>,
    /// What each half of a layer is multiplied with before it is added.
    pub residual_scale: f32,
    /// What logits are multiplied with.
    pub logit_scale: f32,
    /// What the scores of attention are kept within, by tanh.
    pub attention_softcap: Option<f32>,
    /// What logits are kept within, by tanh.
    pub logit_softcap: Option<f32>,
    /// Whether the embedding table is the head as well.
    pub is_tied: bool,
}

/// What a layer mixes tokens by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// Attention over the tokens so far.
    Attention {
        /// Which of [`DecoderConfig::ropes`] tells positions; none if they are not told.
        rope: Option<usize>,
        /// How many tokens, itself included, a token sees at most.
        window: Option<usize>,
    },
    /// A gated convolution over the last few tokens, each number by itself (LFM2).
    ShortConv {
        /// Over how many tokens.
        kernel: usize,
    },
}

/// Which linear layers have biases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Biases {
    /// Those that make queries, keys and values.
    pub qkv: bool,
    /// The one behind attention.
    pub attention_output: bool,
    /// Those of the feed-forward network.
    pub feed_forward: bool,
}

/// Where in a layer the norms stand, for attention and feed-forward network alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlacement {
    /// Before: `x + f(norm(x))`.
    Pre,
    /// Behind: `x + norm(f(x))` (OLMo 2).
    Post,
    /// Both: `x + norm(f(norm(x)))` (Gemma 2 and later).
    PreAndPost,
}

/// Whether queries and keys are normed before they are turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// Not at all.
    None,
    /// Each head by itself, with the same weights for all.
    PerHead,
    /// All heads together.
    Whole,
}

/// Feed-forward networks among which each token chooses some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Experts {
    /// How many there are in a layer.
    pub n_experts: usize,
    /// How many of them a token goes through.
    pub n_used: usize,
    /// Numbers between the two halves of one.
    pub feed_forward: usize,
    /// Whether the shares of those that are used are made to add up to 1.
    pub shares_add_up: bool,
    /// Which layers have them; the others have one network.
    pub layers: Vec<bool>,
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
    /// What numbers that are turned are multiplied with as well.
    pub magnitude: f32,
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
    /// As `Divisors`, but others when the window is larger than the original one (Phi 3 and 4).
    ///
    /// The window that the decoder is loaded for decides, not the length of a prompt: keys in the
    /// cache stay good while it grows.
    LongRope {
        /// The divisors up to the original window.
        short: Vec<f32>,
        /// Those for larger windows.
        long: Vec<f32>,
        /// The original window, in tokens.
        original_context: usize,
    },
}

impl Default for DecoderConfig {
    fn default() -> Self {
        Self {
            layers: Vec::new(),
            hidden: 0,
            feed_forward: 0,
            n_heads: 0,
            n_kv_heads: 0,
            head_dim: 0,
            vocabulary: 0,
            context_length: 0,
            ropes: Vec::new(),
            biases: Biases::default(),
            rms_epsilon: 0.0,
            norms: NormPlacement::Pre,
            norm_plus_one: false,
            qk_norm: QkNorm::None,
            activation: Activation::Silu,
            experts: None,
            embedding_scale: 1.0,
            attention_scale: None,
            residual_scale: 1.0,
            logit_scale: 1.0,
            attention_softcap: None,
            logit_softcap: None,
            is_tied: false,
        }
    }
}

impl DecoderConfig {
    /// Makes all of `n_layers` layers attention over everything, turned by the first RoPE.
    ///
    /// The number is the file's, and is checked before anything is allocated for it.
    pub(crate) fn full_attention(n_layers: usize) -> Result<Vec<LayerKind>, String> {
        if !(1..=MAX_LAYERS).contains(&n_layers) {
            return Err(format!("asks for {n_layers} layers, which is impossible"));
        }
        Ok(vec![LayerKind::Attention { rope: Some(0), window: None }; n_layers])
    }

    /// Lets the layers of attention that `is_windowed` see only the last `window` tokens.
    pub(crate) fn set_windows(&mut self, window: usize, is_windowed: impl Fn(usize) -> bool) {
        for (index, layer) in self.layers.iter_mut().enumerate() {
            if let LayerKind::Attention { window: layer, .. } = layer
                && is_windowed(index)
            {
                *layer = Some(window);
            }
        }
    }

    /// Tells the positions in layer `index` by this RoPE, or not at all.
    pub(crate) fn set_ropes(&mut self, choose: impl Fn(usize) -> Option<usize>) {
        for (index, layer) in self.layers.iter_mut().enumerate() {
            if let LayerKind::Attention { rope, .. } = layer {
                *rope = choose(index);
            }
        }
    }

    /// Returns what makes this configuration impossible, as the rest of a sentence about the file.
    pub(crate) fn check(&self) -> Result<(), String> {
        let counts = [
            ("layers", self.layers.len()),
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
        // More would let a small file ask for any amount of memory.
        let attention = self.n_heads.saturating_mul(self.head_dim);
        if self.layers.len() > MAX_LAYERS
            || self.head_dim > MAX_HEAD_DIM
            || self.n_kv_heads > self.n_heads
            || attention > self.hidden.saturating_mul(MAX_ATTENTION_RATIO)
            || self.feed_forward > self.hidden.saturating_mul(MAX_FEED_FORWARD_RATIO)
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
        let factors = [
            ("embedding scale", Some(self.embedding_scale)),
            ("attention scale", self.attention_scale),
            ("residual scale", Some(self.residual_scale)),
            ("logit scale", Some(self.logit_scale)),
            ("attention softcap", self.attention_softcap),
            ("logit softcap", self.logit_softcap),
        ];
        for (what, factor) in factors {
            if factor.is_some_and(|factor| !(factor.is_finite() && factor > 0.0)) {
                return Err(format!("asks for an impossible {what}"));
            }
        }
        for layer in &self.layers {
            let is_good = match *layer {
                LayerKind::Attention { rope, window } => {
                    rope.is_none_or(|rope| rope < self.ropes.len()) && window != Some(0)
                }
                LayerKind::ShortConv { kernel } => (1..=MAX_KERNEL).contains(&kernel),
            };
            if !is_good {
                return Err("asks for an impossible layer".into());
            }
        }
        if let Some(experts) = &self.experts
            && !((1..=MAX_EXPERTS).contains(&experts.n_experts)
                && (1..=experts.n_experts).contains(&experts.n_used)
                && (1..=self.hidden.saturating_mul(MAX_FEED_FORWARD_RATIO))
                    .contains(&experts.feed_forward)
                && experts.layers.len() == self.layers.len())
        {
            return Err("asks for an impossible mixture of experts".into());
        }
        self.ropes.iter().try_for_each(|rope| rope.check(self.head_dim))
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
        let fit = |divisors: &[f32]| divisors.len() == self.dim / 2 && are_good(divisors);
        let scaling_is_good = match &self.scaling {
            RopeScaling::None => true,
            RopeScaling::Linear { factor } => are_good(&[*factor]),
            RopeScaling::Divisors(divisors) => fit(divisors),
            RopeScaling::LongRope { short, long, .. } => fit(short) && fit(long),
        };
        let theta_is_good = self.theta.is_finite() && self.theta >= 1.0;
        if !(theta_is_good && scaling_is_good && are_good(&[self.magnitude])) {
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
            layers: DecoderConfig::full_attention(2).expect("two layers"),
            hidden: 32,
            feed_forward: 64,
            n_heads: 4,
            n_kv_heads: 2,
            head_dim: 8,
            vocabulary: 300,
            context_length: 4096,
            rms_epsilon: 1e-5,
            ropes: vec![Rope {
                dim: 8,
                theta: 10_000.0,
                pairing: RopePairing::Norm,
                scaling: RopeScaling::None,
                magnitude: 1.0,
            }],
            ..DecoderConfig::default()
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
        check(|config| config.layers.clear(), "0 layers");
        check(|config| config.hidden = usize::MAX, "numbers per token");
        check(|config| config.n_kv_heads = 3, "3 key and value heads among 4");
        check(|config| config.rms_epsilon = f32::NAN, "epsilon of NaN");
        check(|config| config.logit_scale = f32::INFINITY, "impossible logit scale");
        check(|config| config.attention_softcap = Some(0.0), "impossible attention softcap");
        check(|config| config.set_ropes(|_| Some(1)), "impossible layer");
        check(|config| config.set_windows(0, |_| true), "impossible layer");
        check(|config| config.layers[0] = LayerKind::ShortConv { kernel: 0 }, "impossible layer");
        check(|config| config.ropes[0].dim = 7, "7 of 8");
        check(|config| config.ropes[0].dim = 10, "10 of 8");
        check(|config| config.ropes[0].theta = f32::INFINITY, "RoPE base");
        check(|config| config.ropes[0].magnitude = 0.0, "RoPE base");
        let scaling = |scaling| check(|config| config.ropes[0].scaling = scaling, "scaling");
        scaling(RopeScaling::Linear { factor: 0.0 });
        scaling(RopeScaling::Divisors(vec![1.0; 3]));
        let (short, long) = (vec![1.0; 4], vec![1.0; 3]);
        scaling(RopeScaling::LongRope { short, long, original_context: 10 });
    }
}
