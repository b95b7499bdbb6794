//! The one forward pass, driven by [`DecoderConfig`].

mod attention;
mod config;
mod layer;
mod rope;

use candle_core::Tensor;
use half::f16;
use pagewise_kernels::{Attention, Isa, ThreadPool};

use crate::compute::Compute;
use crate::kv_cache::Slices;
use crate::linear::{Embedding, Linear};
use crate::rows::{Rows, Vector};
use crate::weights::{Loader, Weights};
use crate::{InferError, KvCache, LoadError};
use attention::Attending;
pub(crate) use config::MAX_HEAD_DIM;
pub use config::{
    Biases, DecoderConfig, Experts, LayerKind, NormPlacement, QkNorm, Rope, RopePairing,
    RopeScaling,
};
use layer::{
    AttentionLayer, ExpertsLayer, FeedForward, Layer, Mixer, Network, Norms, ShortConvLayer,
};
pub use pagewise_kernels::Activation;
use rope::RopeTable;

/// Tokens run through the model at once. Larger chunks read the weights less often, but from a few
/// dozen tokens on arithmetic is the limit; smaller ones bound what a layer holds between its
/// matrices, and how much of a cancelled prefill is lost.
pub const PREFILL_CHUNK_TOKENS: usize = 256;

/// Rows of logits that [`Decoder::forward_each`] has in memory at once: with a vocabulary of 262,144
/// they take 32 MiB.
const LOGIT_ROWS: usize = 32;

/// A decoder: token ids in, logits out.
pub struct Decoder {
    config: DecoderConfig,
    window_tokens: usize,
    compute: Compute,
    embedding: Embedding,
    layers: Vec<Layer>,
    output_norm: Vector,
    head: Linear,
    ropes: Vec<RopeTable>,
}

impl Decoder {
    /// Takes `weights` for windows of up to `window_tokens` tokens.
    ///
    /// Every tensor must have the shape that the metadata ask for, and every tensor must be asked
    /// for.
    pub fn load(
        weights: impl Into<Weights>,
        window_tokens: usize,
        compute: &Compute,
    ) -> Result<Self, LoadError> {
        let weights = weights.into();
        let config = weights.config()?;
        let loader = Loader::new(&weights, &config, compute);
        let (vocabulary, hidden) = (config.vocabulary, config.hidden);
        let mut embedding = loader.tensor("token_embd.weight", &[vocabulary, hidden])?;
        let head = if config.is_tied {
            // Rows are looked up in what is multiplied, so that nothing is in memory twice.
            embedding = loader.resident(embedding);
            Linear::new(embedding.clone(), None, compute)?
        } else {
            loader.linear("output", (vocabulary, hidden), false)?
        };
        let mut layers = Vec::new();
        for (index, kind) in config.layers.iter().enumerate() {
            layers.push(Layer::load(&loader, index, *kind)?);
        }
        // What LFM2 calls by this name stands at the end all the same.
        let is_lfm2 = loader.has("token_embd_norm.weight")?;
        let output_norm =
            loader.norm(if is_lfm2 { "token_embd_norm" } else { "output_norm" }, hidden)?;
        loader.finish()?;
        let rope = |rope| RopeTable::new(rope, window_tokens, compute);
        Ok(Self {
            window_tokens,
            compute: compute.clone(),
            embedding: Embedding::new(embedding),
            layers,
            output_norm,
            head,
            ropes: config.ropes.iter().map(rope).collect::<Result<_, _>>()?,
            config,
        })
    }

    /// Returns what it is made of.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Returns the longest window that it can be run with, in tokens.
    pub fn window_tokens(&self) -> usize {
        self.window_tokens
    }

    /// Makes an empty cache for the decoder's window.
    pub fn new_cache(&self) -> Result<KvCache, InferError> {
        KvCache::new(&self.config, self.window_tokens, &self.compute)
    }

    /// Reads `tokens` behind those in `cache`, [`PREFILL_CHUNK_TOKENS`] at a time, and returns the
    /// logits, `(vocabulary,)`, of what follows the last of them.
    ///
    /// After an error the cache stands for whole chunks, which are those before the one that failed.
    pub fn forward(&self, tokens: &[u32], cache: &mut KvCache) -> Result<Vec<f32>, InferError> {
        self.forward_unless(&|| false, tokens, cache)
    }

    /// Reads `tokens` as [`Self::forward`] does, unless `is_cancelled`, which is an error like any
    /// other: [`InferError::Cancelled`]. It is asked before each layer, because a chunk may take
    /// seconds.
    pub fn forward_unless(
        &self,
        is_cancelled: &dyn Fn() -> bool,
        tokens: &[u32],
        cache: &mut KvCache,
    ) -> Result<Vec<f32>, InferError> {
        let mut last = None;
        let first = tokens.len().saturating_sub(1);
        self.forward_each(is_cancelled, tokens, first, cache, &mut |logits| {
            last = Some(logits.to_vec());
        })?;
        last.ok_or(InferError::NoTokens)
    }

    /// Returns how the numbers of its caches are stored.
    pub(crate) fn cache_type(&self) -> &'static str {
        match self.compute.pool() {
            Some(_) if !self.compute.has_exact_cache() => "f16",
            Some(_) => "f32",
            None => "f32 tensors",
        }
    }

    /// Returns what computes: the name of our kernels, or of the device.
    pub(crate) fn kernels(&self) -> &'static str {
        self.compute.isa().map_or(self.compute.name(), Isa::name)
    }

    /// Turns the keys among `rows`, which a cache gave, as if their tokens stood `by` positions
    /// further on.
    pub(crate) fn shift(&self, rows: &mut [Vec<Vec<f32>>], by: isize) {
        for (rows, kind) in rows.iter_mut().zip(&self.config.layers) {
            if let (LayerKind::Attention { rope: Some(rope), .. }, [keys, ..]) =
                (kind, rows.as_mut_slice())
            {
                self.ropes[*rope].shift(keys, self.config.n_kv_heads, self.config.head_dim, by);
            }
        }
    }

    /// Reads `tokens` as [`Self::forward_unless`] does, and gives `on_logits` the logits, `(vocabulary,)`, of
    /// what follows each of them from the one with index `first` on, in their order.
    ///
    /// A few rows are in memory at once, however many tokens there are.
    pub fn forward_each(
        &self,
        is_cancelled: &dyn Fn() -> bool,
        tokens: &[u32],
        first: usize,
        cache: &mut KvCache,
        on_logits: &mut dyn FnMut(&[f32]),
    ) -> Result<(), InferError> {
        if tokens.is_empty() {
            return Err(InferError::NoTokens);
        }
        // Before anything is read: what does not fit changes nothing.
        cache.reserve(tokens.len())?;
        let mut start = 0;
        for chunk in tokens.chunks(PREFILL_CHUNK_TOKENS) {
            let hidden = self.hidden_states(is_cancelled, chunk, cache)?;
            let mut row = first.saturating_sub(start).min(chunk.len());
            while row < chunk.len() {
                let n_rows = LOGIT_ROWS.min(chunk.len() - row);
                let logits = self.logits(&self.compute.narrow(&hidden, row, n_rows)?, None)?;
                logits.read(|logits| {
                    logits.chunks(self.config.vocabulary).for_each(&mut *on_logits);
                })?;
                row += n_rows;
            }
            start += chunk.len();
        }
        Ok(())
    }

    /// Reads `tokens` as [`Self::forward`] does, and returns the logits behind each of them,
    /// `(T, vocabulary)`.
    pub fn forward_all(
        &self,
        tokens: &[u32],
        cache: &mut KvCache,
    ) -> Result<Vec<Vec<f32>>, InferError> {
        let mut rows = Vec::with_capacity(tokens.len());
        self.forward_each(&|| false, tokens, 0, cache, &mut |logits| rows.push(logits.to_vec()))?;
        Ok(rows)
    }

    /// Reads `tokens` as [`Self::forward_unless`] does, and computes no logits but those of `wanted`, of
    /// which most of the head's weights need not be read; the others have no meaning.
    pub fn forward_among(
        &self,
        is_cancelled: &dyn Fn() -> bool,
        tokens: &[u32],
        wanted: &[u32],
        cache: &mut KvCache,
    ) -> Result<Vec<f32>, InferError> {
        let vocabulary = self.config.vocabulary;
        if let Some(&token) = wanted.iter().find(|token| **token as usize >= vocabulary) {
            return Err(InferError::UnknownToken { token, vocabulary });
        }
        cache.reserve(tokens.len())?;
        let mut last = None;
        for chunk in tokens.chunks(PREFILL_CHUNK_TOKENS) {
            let hidden = self.hidden_states(is_cancelled, chunk, cache)?;
            last = Some(self.compute.narrow(&hidden, chunk.len() - 1, 1)?);
        }
        let hidden = last.ok_or(InferError::NoTokens)?;
        self.logits(&hidden, Some(wanted))?.read(|logits| logits.to_vec())
    }

    /// Returns the logits behind each row, or behind one of `wanted` tokens only.
    fn logits(&self, hidden: &Rows, wanted: Option<&[u32]>) -> Result<Rows, InferError> {
        let hidden = self.norm(hidden, &self.output_norm)?;
        let logits = match wanted {
            Some(wanted) => self.head.forward_some(&hidden, wanted, &self.compute)?,
            None => self.head.forward(&hidden, &self.compute)?,
        };
        let logits = self.compute.scale(logits, self.config.logit_scale)?;
        match self.config.logit_softcap {
            Some(cap) => self.compute.softcap(logits, cap),
            None => Ok(logits),
        }
    }

    /// Norms the rows of `x`, or pieces of them as long as `weight`: their heads.
    fn norm(&self, x: &Rows, weight: &Vector) -> Result<Rows, InferError> {
        self.compute.rms_norm(x, weight, self.config.rms_epsilon)
    }

    /// Returns `(T, hidden)`, before the last norm.
    fn hidden_states(
        &self,
        is_cancelled: &dyn Fn() -> bool,
        tokens: &[u32],
        cache: &mut KvCache,
    ) -> Result<Rows, InferError> {
        if tokens.is_empty() {
            return Err(InferError::NoTokens);
        }
        cache.reserve(tokens.len())?;
        let scale = self.config.embedding_scale;
        let mut x = self.embedding.forward(tokens, scale, &self.compute)?;
        for (index, layer) in self.layers.iter().enumerate() {
            // What the layers before have written is not counted yet, and will be overwritten.
            if is_cancelled() {
                return Err(InferError::Cancelled);
            }
            x = self.add(&layer.mixer_norms, x, |x| match &layer.mixer {
                Mixer::Attention(attention) => self.attention(index, attention, x, cache),
                Mixer::ShortConv(conv) => self.short_conv(index, conv, x, cache),
            })?;
            x = self
                .add(&layer.feed_forward_norms, x, |x| self.feed_forward(&layer.feed_forward, x))?;
        }
        cache.advance(tokens.len());
        Ok(x)
    }

    /// Adds one half of a layer, normed before or behind, to its input.
    fn add(
        &self,
        norms: &Norms,
        x: Rows,
        half: impl FnOnce(&Rows) -> Result<Rows, InferError>,
    ) -> Result<Rows, InferError> {
        let mut y = match &norms.before {
            Some(norm) => half(&self.norm(&x, norm)?)?,
            None => half(&x)?,
        };
        if let Some(norm) = &norms.behind {
            y = self.norm(&y, norm)?;
        }
        self.compute.add(x, &self.compute.scale(y, self.config.residual_scale)?)
    }

    fn feed_forward(&self, layer: &FeedForward, x: &Rows) -> Result<Rows, InferError> {
        match layer {
            FeedForward::One(network) => self.network(network, x),
            FeedForward::Experts(experts) => self.experts(experts, x),
        }
    }

    fn network(&self, network: &Network, x: &Rows) -> Result<Rows, InferError> {
        let compute = &self.compute;
        let Network { gate, up, down } = network;
        let inner = Linear::forward_gated(gate, up, self.config.activation, x, compute)?;
        down.forward(&inner, compute)
    }

    /// Takes each token through the experts that it chooses.
    fn experts(&self, layer: &ExpertsLayer, x: &Rows) -> Result<Rows, InferError> {
        let scores = layer.router.forward(x, &self.compute)?;
        let routes = scores.read(|scores| layer.route(scores))?;
        let mut y = self.compute.zeros_like(x)?;
        for (network, (tokens, shares)) in layer.experts.iter().zip(routes) {
            if !tokens.is_empty() {
                let expert = self.network(network, &self.compute.select(x, &tokens)?)?;
                y = self.compute.add_shares(y, &expert, &tokens, &shares)?;
            }
        }
        Ok(y)
    }

    /// Turns queries and keys by their positions, puts keys and values into the cache and attends.
    fn attention(
        &self,
        index: usize,
        layer: &AttentionLayer,
        x: &Rows,
        cache: &mut KvCache,
    ) -> Result<Rows, InferError> {
        let inputs = [&layer.query, &layer.key, &layer.value];
        let [mut queries, mut keys, values] = Linear::forward_all(inputs, x, &self.compute)?;
        if let Some([query_norm, key_norm]) = &layer.norms {
            queries = self.norm(&queries, query_norm)?;
            keys = self.norm(&keys, key_norm)?;
        }
        let heads = [queries, keys, values];
        let mixed = match self.compute.pool() {
            Some(pool) => self.attend_slices(index, layer, heads, cache, pool)?,
            None => self.attend_tensors(index, layer, heads, cache)?,
        };
        layer.output.forward(&mixed, &self.compute)
    }

    fn attending(&self, layer: &AttentionLayer) -> Attending {
        let usual = (self.config.head_dim as f32).sqrt().recip();
        Attending {
            scale: self.config.attention_scale.unwrap_or(usual),
            softcap: self.config.attention_softcap,
            window: layer.window,
        }
    }

    /// Takes `(T, heads × head_dim)` each, returns `(T, n_heads × head_dim)`.
    fn attend_slices(
        &self,
        index: usize,
        layer: &AttentionLayer,
        [mut queries, mut keys, values]: [Rows; 3],
        cache: &mut KvCache,
        pool: &ThreadPool,
    ) -> Result<Rows, InferError> {
        let DecoderConfig { n_heads, n_kv_heads, head_dim, .. } = self.config;
        let (past, capacity) = (cache.len(), cache.capacity());
        if let Some(rope) = layer.rope {
            self.ropes[rope].turn(queries.slice_mut()?, n_heads, head_dim, past);
            self.ropes[rope].turn(keys.slice_mut()?, n_kv_heads, head_dim, past);
        }
        let cached = cache.write_slices(index, [keys.slice()?, values.slice()?])?;
        let queries = queries.slice()?;
        let mut mixed = self.compute.buffer(queries.len());
        let Attending { scale, softcap, window } = self.attending(layer);
        let attention = Attention {
            n_head: n_heads,
            n_kv_head: n_kv_heads,
            head_dim,
            capacity,
            past,
            scale,
            softcap,
            window,
        };
        match cached {
            Slices::Halves([keys, values]) => {
                attention.run(queries, keys, values, &mut mixed, pool);
            }
            Slices::Floats([keys, values]) => {
                attention.run_exact(queries, keys, values, &mut mixed, pool);
            }
        }
        Ok(Rows::from_buffer(mixed, n_heads * head_dim))
    }

    fn attend_tensors(
        &self,
        index: usize,
        layer: &AttentionLayer,
        [queries, keys, values]: [Rows; 3],
        cache: &mut KvCache,
    ) -> Result<Rows, InferError> {
        let DecoderConfig { n_heads, n_kv_heads, head_dim, .. } = self.config;
        let n_tokens = queries.n_rows();
        let past = cache.len();
        let heads = |x: &Rows, n: usize| -> Result<Tensor, InferError> {
            Ok(x.tensor()?.reshape((n_tokens, n, head_dim))?.transpose(0, 1)?)
        };
        let mut queries = heads(&queries, n_heads)?;
        let mut keys = heads(&keys, n_kv_heads)?;
        let values = heads(&values, n_kv_heads)?;
        if let Some(rope) = layer.rope {
            queries = self.ropes[rope].apply(&queries, past)?;
            keys = self.ropes[rope].apply(&keys, past)?;
        }
        let [keys, values] = cache.write_tensors(index, [&keys, &values])?;
        Rows::from_tensor(self.attending(layer).attend(&queries, &keys, &values)?)
    }

    /// Convolves the gated input with the last few tokens', each number by itself, and gates again.
    fn short_conv(
        &self,
        index: usize,
        layer: &ShortConvLayer,
        x: &Rows,
        cache: &mut KvCache,
    ) -> Result<Rows, InferError> {
        let inputs = layer.input.each_ref();
        let [input_gate, output_gate, x] = Linear::forward_all(inputs, x, &self.compute)?;
        let gated = self.compute.multiply(input_gate, &x)?;
        let mixed = match self.compute.pool() {
            Some(_) => self.convolve_slices(index, layer, &gated, cache)?,
            None => self.convolve_tensors(index, layer, &gated, cache)?,
        };
        layer.output.forward(&self.compute.multiply(output_gate, &mixed)?, &self.compute)
    }

    /// Takes and returns `(T, hidden)`.
    fn convolve_slices(
        &self,
        index: usize,
        layer: &ShortConvLayer,
        x: &Rows,
        cache: &mut KvCache,
    ) -> Result<Rows, InferError> {
        let (past, hidden) = (cache.len(), self.config.hidden);
        let kernel = layer.taps.len() / hidden;
        let x = x.slice()?;
        let cached = cache.write_slices(index, [x])?;
        let mut mixed = self.compute.buffer(x.len());
        mixed.fill(0.0);
        for (token, mixed) in mixed.chunks_mut(hidden).enumerate() {
            for (tap, taps) in layer.taps.chunks(hidden).enumerate() {
                // Before the first token is nothing.
                let Some(at) = (past + token + tap + 1).checked_sub(kernel) else { continue };
                let inputs = at * hidden..(at + 1) * hidden;
                match &cached {
                    Slices::Halves([x]) => add_products(mixed, taps, &x[inputs], f16::to_f32),
                    Slices::Floats([x]) => add_products(mixed, taps, &x[inputs], |x| x),
                }
            }
        }
        Ok(Rows::from_buffer(mixed, hidden))
    }

    fn convolve_tensors(
        &self,
        index: usize,
        layer: &ShortConvLayer,
        x: &Rows,
        cache: &mut KvCache,
    ) -> Result<Rows, InferError> {
        let (x, past) = (x.tensor()?, cache.len());
        let (n_tokens, kernel) = (x.dim(0)?, layer.taps_tensor.dim(0)?);
        let [inputs] = cache.write_tensors(index, [&x.unsqueeze(0)?])?;
        let inputs = inputs.squeeze(0)?;
        // Before the first token is nothing.
        let n_missing = (kernel - 1).saturating_sub(past);
        let n_before = kernel - 1 - n_missing;
        let inputs = inputs.narrow(0, past - n_before, n_before + n_tokens)?;
        let inputs = inputs.pad_with_zeros(0, n_missing, 0)?;
        let mut mixed = x.zeros_like()?;
        for tap in 0..kernel {
            let taps = layer.taps_tensor.narrow(0, tap, 1)?;
            mixed = (mixed + inputs.narrow(0, tap, n_tokens)?.broadcast_mul(&taps)?)?;
        }
        Rows::from_tensor(mixed)
    }
}

fn add_products<T: Copy>(sums: &mut [f32], taps: &[f32], x: &[T], widened: impl Fn(T) -> f32) {
    for ((sum, tap), x) in sums.iter_mut().zip(taps).zip(x) {
        *sum += tap * widened(*x);
    }
}
