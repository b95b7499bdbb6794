//! The one forward pass, driven by [`DecoderConfig`].

mod attention;
mod config;
mod layer;
mod rope;

use candle_core::{Device, Tensor};
use half::f16;
use pagewise_kernels::{Attention, ThreadPool};

use crate::compute::Compute;
use crate::kv_cache::Slices;
use crate::linear::{Embedding, Linear};
use crate::ops::{to_floats, with_floats};
use crate::weights::{Loader, Weights};
use crate::{InferError, KvCache, LoadError};
use attention::Attending;
pub(crate) use config::MAX_HEAD_DIM;
pub use config::{
    Activation, Biases, DecoderConfig, Experts, LayerKind, NormPlacement, QkNorm, Rope,
    RopePairing, RopeScaling,
};
use layer::{
    AttentionLayer, ExpertsLayer, FeedForward, Layer, Mixer, Network, Norms, ShortConvLayer,
};
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
    output_norm: Tensor,
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
        let embedding = loader.tensor("token_embd.weight", &[vocabulary, hidden])?;
        let head = if config.is_tied {
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
                let logits = self.logits(&hidden.narrow(0, row, n_rows)?)?;
                let logits: Vec<f32> = logits.flatten_all()?.to_vec1()?;
                logits.chunks(self.config.vocabulary).for_each(&mut *on_logits);
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

    fn logits(&self, hidden: &Tensor) -> Result<Tensor, InferError> {
        let mut logits = self.head.forward(&self.norm(hidden, &self.output_norm)?)?;
        if self.config.logit_scale != 1.0 {
            logits = (logits * f64::from(self.config.logit_scale))?;
        }
        match self.config.logit_softcap {
            Some(cap) => self.compute.softcap(&logits, cap),
            None => Ok(logits),
        }
    }

    fn norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor, InferError> {
        self.compute.rms_norm(x, weight, self.config.rms_epsilon)
    }

    /// Returns `(T, hidden)`, before the last norm.
    fn hidden_states(
        &self,
        is_cancelled: &dyn Fn() -> bool,
        tokens: &[u32],
        cache: &mut KvCache,
    ) -> Result<Tensor, InferError> {
        if tokens.is_empty() {
            return Err(InferError::NoTokens);
        }
        cache.reserve(tokens.len())?;
        let scale = self.config.embedding_scale;
        let mut x = self.embedding.forward(tokens, scale, self.compute.device())?;
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
        x: Tensor,
        half: impl FnOnce(&Tensor) -> Result<Tensor, InferError>,
    ) -> Result<Tensor, InferError> {
        let mut y = match &norms.before {
            Some(norm) => half(&self.norm(&x, norm)?)?,
            None => half(&x)?,
        };
        if let Some(norm) = &norms.behind {
            y = self.norm(&y, norm)?;
        }
        if self.config.residual_scale != 1.0 {
            y = (y * f64::from(self.config.residual_scale))?;
        }
        Ok((x + y)?)
    }

    fn feed_forward(&self, layer: &FeedForward, x: &Tensor) -> Result<Tensor, InferError> {
        match layer {
            FeedForward::One(network) => self.network(network, x),
            FeedForward::Experts(experts) => self.experts(experts, x),
        }
    }

    fn network(&self, network: &Network, x: &Tensor) -> Result<Tensor, InferError> {
        let (gate, up) = (network.gate.forward(x)?, network.up.forward(x)?);
        network.down.forward(&self.compute.gate(self.config.activation, &gate, &up)?)
    }

    /// Takes each token through the experts that it chooses.
    fn experts(&self, layer: &ExpertsLayer, x: &Tensor) -> Result<Tensor, InferError> {
        let device = self.compute.device();
        let routes = layer.route(&layer.router.forward(x)?.to_vec2()?);
        let mut y = x.zeros_like()?;
        for (network, (tokens, shares)) in layer.experts.iter().zip(routes) {
            if tokens.is_empty() {
                continue;
            }
            let shares = Tensor::from_vec(shares, (tokens.len(), 1), device)?;
            let tokens = Tensor::new(tokens, device)?;
            let expert = self.network(network, &x.index_select(&tokens, 0)?)?;
            y = y.index_add(&tokens, &expert.broadcast_mul(&shares)?, 0)?;
        }
        Ok(y)
    }

    /// Turns queries and keys by their positions, puts keys and values into the cache and attends.
    fn attention(
        &self,
        index: usize,
        layer: &AttentionLayer,
        x: &Tensor,
        cache: &mut KvCache,
    ) -> Result<Tensor, InferError> {
        let mut queries = layer.query.forward(x)?;
        let mut keys = layer.key.forward(x)?;
        let values = layer.value.forward(x)?;
        if let Some([query_norm, key_norm]) = &layer.norms {
            queries = self.norm_heads(&queries, query_norm)?;
            keys = self.norm_heads(&keys, key_norm)?;
        }
        let heads = [queries, keys, values];
        let mixed = match self.compute.pool() {
            Some(pool) => self.attend_slices(index, layer, heads, cache, pool)?,
            None => self.attend_tensors(index, layer, heads, cache)?,
        };
        layer.output.forward(&mixed)
    }

    /// Norms `x`, `(T, n)`, in pieces as long as `weight`: heads, or all of them at once.
    fn norm_heads(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor, InferError> {
        let pieces = x.reshape(((), weight.elem_count()))?;
        Ok(self.norm(&pieces, weight)?.reshape(x.shape())?)
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
        [queries, keys, values]: [Tensor; 3],
        cache: &mut KvCache,
        pool: &ThreadPool,
    ) -> Result<Tensor, InferError> {
        let DecoderConfig { n_heads, n_kv_heads, head_dim, .. } = self.config;
        let (past, capacity) = (cache.len(), cache.capacity());
        let shape = queries.shape().clone();
        let (mut queries, mut keys) = (to_floats(&queries)?, to_floats(&keys)?);
        if let Some(rope) = layer.rope {
            self.ropes[rope].turn(&mut queries, n_heads, head_dim, past);
            self.ropes[rope].turn(&mut keys, n_kv_heads, head_dim, past);
        }
        let cached = with_floats(&values, |values| cache.write_slices(index, [&keys, values]))??;
        let mut mixed = vec![0f32; queries.len()];
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
                attention.run(&queries, keys, values, &mut mixed, pool);
            }
            Slices::Floats([keys, values]) => {
                attention.run_exact(&queries, keys, values, &mut mixed, pool);
            }
        }
        Ok(Tensor::from_vec(mixed, shape, &Device::Cpu)?)
    }

    fn attend_tensors(
        &self,
        index: usize,
        layer: &AttentionLayer,
        [queries, keys, values]: [Tensor; 3],
        cache: &mut KvCache,
    ) -> Result<Tensor, InferError> {
        let DecoderConfig { n_heads, n_kv_heads, head_dim, .. } = self.config;
        let n_tokens = queries.dim(0)?;
        let past = cache.len();
        let heads = |x: Tensor, n: usize| x.reshape((n_tokens, n, head_dim))?.transpose(0, 1);
        let mut queries = heads(queries, n_heads)?;
        let mut keys = heads(keys, n_kv_heads)?;
        let values = heads(values, n_kv_heads)?;
        if let Some(rope) = layer.rope {
            queries = self.ropes[rope].apply(&queries, past)?;
            keys = self.ropes[rope].apply(&keys, past)?;
        }
        let [keys, values] = cache.write_tensors(index, [&keys, &values])?;
        self.attending(layer).attend(&self.compute, &queries, &keys, &values)
    }

    /// Convolves the gated input with the last few tokens', each number by itself, and gates again.
    fn short_conv(
        &self,
        index: usize,
        layer: &ShortConvLayer,
        x: &Tensor,
        cache: &mut KvCache,
    ) -> Result<Tensor, InferError> {
        let [input_gate, output_gate, x] = layer.input.each_ref().map(|linear| linear.forward(x));
        let gated = (input_gate? * x?)?;
        let mixed = match self.compute.pool() {
            Some(_) => self.convolve_slices(index, layer, &gated, cache)?,
            None => self.convolve_tensors(index, layer, &gated, cache)?,
        };
        layer.output.forward(&(output_gate? * mixed)?)
    }

    /// Takes and returns `(T, hidden)`.
    fn convolve_slices(
        &self,
        index: usize,
        layer: &ShortConvLayer,
        x: &Tensor,
        cache: &mut KvCache,
    ) -> Result<Tensor, InferError> {
        let (past, hidden) = (cache.len(), self.config.hidden);
        let kernel = layer.taps.dim(0)?;
        let cached = with_floats(x, |x| cache.write_slices(index, [x]))??;
        let mut mixed = vec![0f32; x.elem_count()];
        with_floats(&layer.taps, |taps| {
            for (token, mixed) in mixed.chunks_mut(hidden).enumerate() {
                for (tap, taps) in taps.chunks(hidden).enumerate() {
                    // Before the first token is nothing.
                    let Some(at) = (past + token + tap + 1).checked_sub(kernel) else { continue };
                    let inputs = at * hidden..(at + 1) * hidden;
                    match &cached {
                        Slices::Halves([x]) => add_products(mixed, taps, &x[inputs], f16::to_f32),
                        Slices::Floats([x]) => add_products(mixed, taps, &x[inputs], |x| x),
                    }
                }
            }
        })?;
        Ok(Tensor::from_vec(mixed, x.shape(), &Device::Cpu)?)
    }

    fn convolve_tensors(
        &self,
        index: usize,
        layer: &ShortConvLayer,
        x: &Tensor,
        cache: &mut KvCache,
    ) -> Result<Tensor, InferError> {
        let (n_tokens, kernel) = (x.dim(0)?, layer.taps.dim(0)?);
        let past = cache.len();
        let [inputs] = cache.write_tensors(index, [&x.unsqueeze(0)?])?;
        let inputs = inputs.squeeze(0)?;
        // Before the first token is nothing.
        let n_missing = (kernel - 1).saturating_sub(past);
        let n_before = kernel - 1 - n_missing;
        let inputs = inputs.narrow(0, past - n_before, n_before + n_tokens)?;
        let inputs = inputs.pad_with_zeros(0, n_missing, 0)?;
        let mut mixed = x.zeros_like()?;
        for tap in 0..kernel {
            let taps = layer.taps.narrow(0, tap, 1)?;
            mixed = (mixed + inputs.narrow(0, tap, n_tokens)?.broadcast_mul(&taps)?)?;
        }
        Ok(mixed)
    }
}

fn add_products<T: Copy>(sums: &mut [f32], taps: &[f32], x: &[T], widened: impl Fn(T) -> f32) {
    for ((sum, tap), x) in sums.iter_mut().zip(taps).zip(x) {
        *sum += tap * widened(*x);
    }
}
