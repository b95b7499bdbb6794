//! The keys and values of the tokens that a model has read.

use candle_core::{DType, Device, Tensor};
use half::f16;

use crate::InferError;
use crate::compute::Compute;
use crate::decoder::DecoderConfig;

/// The capacity a cache begins with, in tokens: small enough to cost nothing, large enough that a
/// short prompt does not grow it.
const INITIAL_CAPACITY: usize = 256;

/// The keys and values of the tokens that a model has read, layer by layer.
///
/// Each layer has one buffer for keys and one for values, `(n_kv_heads, capacity, head_dim)`, which
/// grow by doubling until they hold the window: halves where our own kernels attend, else tensors of
/// f32.
pub struct KvCache {
    layers: Layers,
    n_kv_heads: usize,
    head_dim: usize,
    len: usize,
    capacity: usize,
    window_tokens: usize,
}

enum Layers {
    Halves(Vec<[Vec<f16>; 2]>),
    Tensors(Vec<[Tensor; 2]>),
}

impl KvCache {
    /// Makes an empty cache that can grow to `window_tokens` tokens.
    pub(crate) fn new(
        config: &DecoderConfig,
        window_tokens: usize,
        compute: &Compute,
    ) -> Result<Self, InferError> {
        let capacity = INITIAL_CAPACITY.min(window_tokens);
        let shape = (config.n_kv_heads, capacity, config.head_dim);
        let layers = if compute.pool().is_some() {
            let buffer = vec![f16::ZERO; shape.0 * shape.1 * shape.2];
            Layers::Halves(vec![[buffer.clone(), buffer]; config.n_layers])
        } else {
            let buffer = || Tensor::zeros(shape, DType::F32, compute.device());
            let layer = |_| Ok([buffer()?, buffer()?]);
            Layers::Tensors((0..config.n_layers).map(layer).collect::<Result<_, InferError>>()?)
        };
        Ok(Self {
            layers,
            n_kv_heads: config.n_kv_heads,
            head_dim: config.head_dim,
            len: 0,
            capacity,
            window_tokens,
        })
    }

    /// Returns how many tokens it stands for.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether it stands for no token.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns how many tokens there is room for before it must grow.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns the most tokens it can hold.
    pub fn window_tokens(&self) -> usize {
        self.window_tokens
    }

    /// Returns the memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let (n_layers, number_bytes) = match &self.layers {
            Layers::Halves(layers) => (layers.len(), size_of::<f16>()),
            Layers::Tensors(layers) => (layers.len(), size_of::<f32>()),
        };
        2 * n_layers * self.n_kv_heads * self.capacity * self.head_dim * number_bytes
    }

    /// Forgets all tokens from `n_tokens` on; nothing if it has fewer.
    pub fn truncate(&mut self, n_tokens: usize) {
        self.len = self.len.min(n_tokens);
    }

    /// Copies the cache; the copy shares nothing with it.
    pub fn try_clone(&self) -> Result<Self, InferError> {
        let layers = match &self.layers {
            Layers::Halves(layers) => Layers::Halves(layers.clone()),
            Layers::Tensors(layers) => {
                let copy = |[keys, values]: &[Tensor; 2]| Ok([keys.copy()?, values.copy()?]);
                Layers::Tensors(layers.iter().map(copy).collect::<Result<_, InferError>>()?)
            }
        };
        Ok(Self { layers, ..*self })
    }

    /// Makes room for `n_tokens` more.
    pub(crate) fn reserve(&mut self, n_tokens: usize) -> Result<(), InferError> {
        let needed = self.len.saturating_add(n_tokens);
        if needed > self.window_tokens {
            return Err(InferError::WindowFull {
                n_tokens: needed,
                window_tokens: self.window_tokens,
            });
        }
        if needed <= self.capacity {
            return Ok(());
        }
        let mut capacity = self.capacity.max(1);
        while capacity < needed {
            capacity = capacity.saturating_mul(2);
        }
        let capacity = capacity.min(self.window_tokens);
        match &mut self.layers {
            Layers::Halves(layers) => {
                for buffer in layers.iter_mut().flatten() {
                    let (old_row, row) = (self.capacity * self.head_dim, capacity * self.head_dim);
                    let mut larger = vec![f16::ZERO; self.n_kv_heads * row];
                    for (to, from) in larger.chunks_mut(row).zip(buffer.chunks(old_row)) {
                        to[..old_row].copy_from_slice(from);
                    }
                    *buffer = larger;
                }
            }
            Layers::Tensors(layers) => {
                for buffer in layers.iter_mut().flatten() {
                    *buffer = grown(buffer, self.len, capacity)?;
                }
            }
        }
        self.capacity = capacity;
        Ok(())
    }

    /// Writes the keys and values, each `(n, n_kv_heads, head_dim)`, of `n` tokens behind those that
    /// the cache stands for, without counting them yet: that is [`Self::advance`], once all layers
    /// are written, so that a pass that fails leaves the cache as it was.
    ///
    /// Returns the layer's buffers.
    pub(crate) fn write_halves(
        &mut self,
        layer: usize,
        keys: &[f32],
        values: &[f32],
    ) -> Result<[&[f16]; 2], InferError> {
        let Layers::Halves(layers) = &mut self.layers else {
            return Err(wrong_kind());
        };
        let buffers = &mut layers[layer];
        for (buffer, numbers) in buffers.iter_mut().zip([keys, values]) {
            let heads = numbers.chunks(self.head_dim).enumerate();
            for (index, from) in heads {
                let (token, head) = (index / self.n_kv_heads, index % self.n_kv_heads);
                let at = (head * self.capacity + self.len + token) * self.head_dim;
                for (to, from) in buffer[at..at + self.head_dim].iter_mut().zip(from) {
                    *to = f16::from_f32(*from);
                }
            }
        }
        let [keys, values] = &layers[layer];
        Ok([keys, values])
    }

    /// Writes as [`Self::write_halves`] does, `(n_kv_heads, n, head_dim)`.
    ///
    /// Returns the keys and values of all tokens, the new ones included, as views.
    pub(crate) fn write_tensors(
        &mut self,
        layer: usize,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<[Tensor; 2], InferError> {
        let Layers::Tensors(layers) = &self.layers else {
            return Err(wrong_kind());
        };
        let len = self.len + keys.dim(1)?;
        let [key_buffer, value_buffer] = &layers[layer];
        key_buffer.slice_set(&keys.contiguous()?, 1, self.len)?;
        value_buffer.slice_set(&values.contiguous()?, 1, self.len)?;
        Ok([key_buffer.narrow(1, 0, len)?, value_buffer.narrow(1, 0, len)?])
    }

    /// Counts `n_tokens` that all layers have been given.
    pub(crate) fn advance(&mut self, n_tokens: usize) {
        self.len += n_tokens;
    }
}

fn wrong_kind() -> InferError {
    candle_core::Error::Msg("the KV cache belongs to another decoder".into()).into()
}

fn grown(buffer: &Tensor, len: usize, capacity: usize) -> Result<Tensor, InferError> {
    let (n_kv_heads, _, head_dim) = buffer.dims3()?;
    let device: &Device = buffer.device();
    let larger = Tensor::zeros((n_kv_heads, capacity, head_dim), buffer.dtype(), device)?;
    if len > 0 {
        larger.slice_set(&buffer.narrow(1, 0, len)?.contiguous()?, 1, 0)?;
    }
    Ok(larger)
}
