//! The one forward pass, driven by [`DecoderConfig`].

mod attention;
mod config;
mod rope;

use candle_core::{Device, Tensor};
use pagewise_kernels::{Attention, ThreadPool};

use crate::compute::Compute;
use crate::linear::{Embedding, Linear, vector};
use crate::ops::to_floats;
use crate::{Gguf, InferError, KvCache, LoadError, families};
use attention::attend;
pub use config::{DecoderConfig, Rope, RopePairing, RopeScaling};
use rope::RopeTable;

/// Tokens run through the model at once. Larger chunks read the weights less often, but from a few
/// dozen tokens on arithmetic is the limit; smaller ones bound what a layer holds between its
/// matrices, and how much of a cancelled prefill is lost.
pub const PREFILL_CHUNK_TOKENS: usize = 256;

/// A transformer decoder: token ids in, logits out.
pub struct Decoder {
    config: DecoderConfig,
    window_tokens: usize,
    compute: Compute,
    embedding: Embedding,
    layers: Vec<Layer>,
    output_norm: Tensor,
    head: Linear,
    rope: RopeTable,
}

struct Layer {
    attention_norm: Tensor,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    feed_forward_norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Decoder {
    /// Takes the weights of `gguf` for windows of up to `window_tokens` tokens.
    ///
    /// Every tensor must have the shape that the metadata ask for.
    pub fn load(gguf: &Gguf, window_tokens: usize, compute: &Compute) -> Result<Self, LoadError> {
        let device = compute.device();
        let config = families::config(gguf)?;
        if let Some(tensor) = gguf.tensors().find(|tensor| is_unread(tensor.name())) {
            let reason = format!("has {}, which is not supported", tensor.name());
            return Err(families::fault(gguf, reason));
        }
        let (vocabulary, hidden) = (config.vocabulary, config.hidden);
        let embedding = Embedding::load(gguf, "token_embd.weight", vocabulary, hidden)?;
        // A model without a head of its own uses the embedding table.
        let head = match gguf.tensor("output.weight") {
            Some(_) => "output",
            None => "token_embd",
        };
        let head = Linear::load(gguf, head, (vocabulary, hidden), false, compute)?;
        let mut layers = Vec::new();
        for index in 0..config.n_layers {
            layers.push(Layer::load(gguf, index, &config, compute)?);
        }
        Ok(Self {
            window_tokens,
            compute: compute.clone(),
            embedding,
            layers,
            output_norm: vector(gguf, "output_norm.weight", hidden, device)?,
            head,
            rope: RopeTable::new(&config.rope, window_tokens, compute)?,
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
        // Before anything is read: what does not fit changes nothing.
        cache.reserve(tokens.len())?;
        let mut chunks = tokens.chunks(PREFILL_CHUNK_TOKENS);
        let last = chunks.next_back().ok_or(InferError::NoTokens)?;
        for chunk in chunks {
            self.hidden_states(is_cancelled, chunk, cache)?;
        }
        let hidden = self.hidden_states(is_cancelled, last, cache)?;
        let hidden = hidden.narrow(0, last.len() - 1, 1)?;
        Ok(self.logits(&hidden)?.squeeze(0)?.to_vec1()?)
    }

    /// Reads `tokens` behind those in `cache` all at once, and returns the logits behind each of
    /// them, `(T, vocabulary)`.
    pub fn forward_all(
        &self,
        tokens: &[u32],
        cache: &mut KvCache,
    ) -> Result<Vec<Vec<f32>>, InferError> {
        let hidden = self.hidden_states(&|| false, tokens, cache)?;
        Ok(self.logits(&hidden)?.to_vec2()?)
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor, InferError> {
        self.head.forward(&self.norm(hidden, &self.output_norm)?)
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
        let mut x = self.embedding.forward(tokens, self.compute.device())?;
        for (index, layer) in self.layers.iter().enumerate() {
            // What the layers before have written is not counted yet, and will be overwritten.
            if is_cancelled() {
                return Err(InferError::Cancelled);
            }
            let normed = self.norm(&x, &layer.attention_norm)?;
            let mixed = self.attention(
                index,
                [&layer.query, &layer.key, &layer.value].map(|linear| linear.forward(&normed)),
                cache,
            )?;
            x = (x + layer.output.forward(&mixed)?)?;

            let normed = self.norm(&x, &layer.feed_forward_norm)?;
            let (gate, up) = (layer.gate.forward(&normed)?, layer.up.forward(&normed)?);
            x = (x + layer.down.forward(&self.compute.silu_mul(&gate, &up)?)?)?;
        }
        cache.advance(tokens.len());
        Ok(x)
    }

    /// Turns queries and keys by their positions, puts keys and values into the cache and attends.
    ///
    /// Takes `(T, heads × head_dim)` each, returns `(T, n_heads × head_dim)`.
    fn attention(
        &self,
        layer: usize,
        [queries, keys, values]: [Result<Tensor, InferError>; 3],
        cache: &mut KvCache,
    ) -> Result<Tensor, InferError> {
        let (queries, keys, values) = (queries?, keys?, values?);
        match self.compute.pool() {
            Some(pool) => self.attend_slices(layer, [queries, keys, values], cache, pool),
            None => self.attend_tensors(layer, [queries, keys, values], cache),
        }
    }

    fn attend_slices(
        &self,
        layer: usize,
        [queries, keys, values]: [Tensor; 3],
        cache: &mut KvCache,
        pool: &ThreadPool,
    ) -> Result<Tensor, InferError> {
        let DecoderConfig { n_heads, n_kv_heads, head_dim, .. } = self.config;
        let (past, capacity) = (cache.len(), cache.capacity());
        let shape = queries.shape().clone();
        let (mut queries, mut keys) = (to_floats(&queries)?, to_floats(&keys)?);
        self.rope.turn(&mut queries, n_heads, head_dim, past);
        self.rope.turn(&mut keys, n_kv_heads, head_dim, past);
        let [keys, values] = cache.write_halves(layer, &keys, &to_floats(&values)?)?;
        let mut mixed = vec![0f32; queries.len()];
        let attention = Attention {
            n_head: n_heads,
            n_kv_head: n_kv_heads,
            head_dim,
            capacity,
            past,
            scale: (head_dim as f32).sqrt().recip(),
            window: None,
        };
        attention.run(&queries, keys, values, &mut mixed, pool);
        Ok(Tensor::from_vec(mixed, shape, &Device::Cpu)?)
    }

    fn attend_tensors(
        &self,
        layer: usize,
        [queries, keys, values]: [Tensor; 3],
        cache: &mut KvCache,
    ) -> Result<Tensor, InferError> {
        let DecoderConfig { n_heads, n_kv_heads, head_dim, .. } = self.config;
        let n_tokens = queries.dim(0)?;
        let past = cache.len();
        let heads = |x: Tensor, n: usize| x.reshape((n_tokens, n, head_dim))?.transpose(0, 1);
        let queries = self.rope.apply(&heads(queries, n_heads)?, past)?;
        let keys = self.rope.apply(&heads(keys, n_kv_heads)?, past)?;
        let values = heads(values, n_kv_heads)?;
        let [keys, values] = cache.write_tensors(layer, &keys, &values)?;
        attend(&queries, &keys, &values)
    }
}

impl Layer {
    fn load(
        gguf: &Gguf,
        index: usize,
        config: &DecoderConfig,
        compute: &Compute,
    ) -> Result<Self, LoadError> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let linear = |part: &str, out_dim: usize, in_dim: usize| {
            Linear::load(gguf, &name(part), (out_dim, in_dim), false, compute)
        };
        let projection = |part: &str, out_dim: usize| {
            let shape = (out_dim, config.hidden);
            Linear::load(gguf, &name(part), shape, config.qkv_bias, compute)
        };
        let norm = |part: &str| vector(gguf, &name(part), config.hidden, compute.device());
        let query_dim = config.n_heads * config.head_dim;
        let kv_dim = config.n_kv_heads * config.head_dim;
        Ok(Self {
            attention_norm: norm("attn_norm.weight")?,
            query: projection("attn_q", query_dim)?,
            key: projection("attn_k", kv_dim)?,
            value: projection("attn_v", kv_dim)?,
            output: linear("attn_output", config.hidden, query_dim)?,
            feed_forward_norm: norm("ffn_norm.weight")?,
            gate: linear("ffn_gate", config.feed_forward, config.hidden)?,
            up: linear("ffn_up", config.feed_forward, config.hidden)?,
            down: linear("ffn_down", config.hidden, config.feed_forward)?,
        })
    }
}

/// Whether a tensor would change what the model says and is not read: leaving it out in silence
/// would give wrong answers.
fn is_unread(name: &str) -> bool {
    const UNREAD: [&str; 6] = [
        "attn_output.bias",
        "ffn_gate.bias",
        "ffn_up.bias",
        "ffn_down.bias",
        "attn_q_norm.weight",
        "attn_k_norm.weight",
    ];
    let part = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    name == "output.bias" || part.is_some_and(|(_, part)| UNREAD.contains(&part))
}
