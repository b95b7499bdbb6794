//! The keys and values of the tokens that a model has read.

use std::io::{self, Read, Write};
use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use half::f16;

use crate::compute::Compute;
use crate::decoder::{DecoderConfig, LayerKind};
use crate::error::{lengthen, zeros};
use crate::{InferError, OutOfMemory};

/// The capacity a cache begins with, in tokens: small enough to cost nothing, large enough that a
/// short prompt does not grow it.
const INITIAL_CAPACITY: usize = 256;

/// What there may be no memory for.
const WHAT: &str = "the KV cache";

/// What a model keeps of the tokens that it has read, layer by layer: keys and values, or what a
/// convolution goes over.
///
/// Each has a buffer, `(n_heads, capacity, width)`, and all grow by doubling until they hold the
/// window: halves where our own kernels attend (floats for comparisons), else tensors of f32. A convolution needs the last few
/// tokens only and keeps all the same: so every buffer is cut off by forgetting its end.
pub struct KvCache {
    layers: Layers,
    shapes: Vec<BufferShapes>,
    len: usize,
    capacity: usize,
    window_tokens: usize,
}

enum Layers {
    Halves(Vec<Vec<Vec<f16>>>),
    Floats(Vec<Vec<Vec<f32>>>),
    Tensors(Vec<Vec<Tensor>>),
}

/// The buffers of a layer as our own kernels have them.
pub(crate) enum Slices<'a, const N: usize> {
    Halves([&'a [f16]; N]),
    Floats([&'a [f32]; N]),
}

/// The buffers of a layer, all alike.
#[derive(Clone, Copy)]
struct BufferShapes {
    n_buffers: usize,
    n_heads: usize,
    width: usize,
}

impl BufferShapes {
    fn new(kind: LayerKind, config: &DecoderConfig) -> Self {
        match kind {
            LayerKind::Attention { .. } => {
                Self { n_buffers: 2, n_heads: config.n_kv_heads, width: config.head_dim }
            }
            LayerKind::ShortConv { .. } => Self { n_buffers: 1, n_heads: 1, width: config.hidden },
        }
    }
}

impl BufferShapes {
    fn buffers<T: Copy + Default>(&self, capacity: usize) -> Result<Vec<Vec<T>>, OutOfMemory> {
        (0..self.n_buffers).map(|_| zeros(self.n_heads * capacity * self.width, WHAT)).collect()
    }

    /// Makes room in a buffer of one capacity for a larger one. Without memory for that it stays as
    /// it was.
    fn grow<T: Copy + Default>(
        &self,
        buffer: &mut Vec<T>,
        old: usize,
        capacity: usize,
    ) -> Result<(), OutOfMemory> {
        let (old_row, row) = (old * self.width, capacity * self.width);
        lengthen(buffer, self.n_heads * row, WHAT)?;
        // The last head first: none is overwritten before it has moved.
        for head in (1..self.n_heads).rev() {
            buffer.copy_within(head * old_row..(head + 1) * old_row, head * row);
        }
        Ok(())
    }

    /// Undoes [`Self::grow`].
    fn shrink<T: Copy>(&self, buffer: &mut Vec<T>, old: usize, capacity: usize) {
        let (old_row, row) = (old * self.width, capacity * self.width);
        for head in 1..self.n_heads {
            buffer.copy_within(head * row..head * row + old_row, head * old_row);
        }
        buffer.truncate(self.n_heads * old_row);
        buffer.shrink_to_fit();
    }

    /// Returns what the tokens of `range` have, `(n, n_heads, width)`.
    fn rows<T: Copy>(
        &self,
        buffer: &[T],
        capacity: usize,
        range: &Range<usize>,
        widened: impl Fn(T) -> f32,
    ) -> Vec<f32> {
        let mut rows = Vec::with_capacity(range.len() * self.n_heads * self.width);
        for token in range.clone() {
            for head in 0..self.n_heads {
                let at = (head * capacity + token) * self.width;
                rows.extend(buffer[at..at + self.width].iter().map(|x| widened(*x)));
            }
        }
        rows
    }

    /// Writes tokens, `(n, n_heads, width)`, from position `start` on.
    fn write<T>(
        &self,
        buffer: &mut [T],
        capacity: usize,
        start: usize,
        numbers: &[f32],
        convert: impl Fn(f32) -> T,
    ) {
        for (index, from) in numbers.chunks(self.width).enumerate() {
            let (token, head) = (index / self.n_heads, index % self.n_heads);
            let at = (head * capacity + start + token) * self.width;
            for (to, from) in buffer[at..at + self.width].iter_mut().zip(from) {
                *to = convert(*from);
            }
        }
    }
}

impl KvCache {
    /// Makes an empty cache that can grow to `window_tokens` tokens.
    pub(crate) fn new(
        config: &DecoderConfig,
        window_tokens: usize,
        compute: &Compute,
    ) -> Result<Self, InferError> {
        let capacity = INITIAL_CAPACITY.min(window_tokens);
        let shapes: Vec<_> =
            config.layers.iter().map(|kind| BufferShapes::new(*kind, config)).collect();
        let layers = if compute.pool().is_some() {
            if compute.has_exact_cache() {
                let buffers = shapes.iter().map(|shape| shape.buffers(capacity));
                Layers::Floats(buffers.collect::<Result<_, _>>()?)
            } else {
                let buffers = shapes.iter().map(|shape| shape.buffers(capacity));
                Layers::Halves(buffers.collect::<Result<_, _>>()?)
            }
        } else {
            let buffer = |shape: &BufferShapes| {
                zero_tensor((shape.n_heads, capacity, shape.width), compute.device())
            };
            let buffers =
                |shape: &BufferShapes| (0..shape.n_buffers).map(|_| buffer(shape)).collect();
            Layers::Tensors(shapes.iter().map(buffers).collect::<Result<_, InferError>>()?)
        };
        Ok(Self { layers, shapes, len: 0, capacity, window_tokens })
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
        self.token_bytes() * self.capacity
    }

    /// Returns the memory that a token takes, in bytes.
    fn token_bytes(&self) -> usize {
        let number_bytes = match &self.layers {
            Layers::Halves(_) => size_of::<f16>(),
            Layers::Floats(_) | Layers::Tensors(_) => size_of::<f32>(),
        };
        let numbers = self.shapes.iter().map(|shape| shape.n_buffers * shape.n_heads * shape.width);
        numbers.sum::<usize>() * number_bytes
    }

    /// Forgets all tokens from `n_tokens` on; nothing if it has fewer.
    pub fn truncate(&mut self, n_tokens: usize) {
        self.len = self.len.min(n_tokens);
    }

    /// Copies the cache; the copy shares nothing with it.
    pub fn try_clone(&self) -> Result<Self, InferError> {
        let layers = match &self.layers {
            Layers::Halves(layers) => Layers::Halves(copied(layers)?),
            Layers::Floats(layers) => Layers::Floats(copied(layers)?),
            Layers::Tensors(layers) => {
                let copy = |layer: &Vec<Tensor>| layer.iter().map(Tensor::copy).collect();
                Layers::Tensors(layers.iter().map(copy).collect::<Result<_, _>>()?)
            }
        };
        Ok(Self { layers, shapes: self.shapes.clone(), ..*self })
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
        let grown = match &mut self.layers {
            Layers::Halves(layers) => grow_all(layers, &self.shapes, self.capacity, capacity),
            Layers::Floats(layers) => grow_all(layers, &self.shapes, self.capacity, capacity),
            Layers::Tensors(layers) => {
                for buffer in layers.iter_mut().flatten() {
                    *buffer = grown(buffer, self.len, capacity)?;
                }
                Ok(())
            }
        };
        // A single buffer may be small; what is lacking is memory for all of them.
        grown.map_err(|_| OutOfMemory::Processor {
            what: WHAT,
            bytes: self.token_bytes().saturating_mul(capacity - self.capacity),
        })?;
        self.capacity = capacity;
        Ok(())
    }

    /// Writes what `n` tokens have in each buffer of a layer, `(n, n_heads, width)`, behind those
    /// that the cache stands for, without counting them yet: that is [`Self::advance`], once all
    /// layers are written, so that a pass that fails leaves the cache as it was.
    ///
    /// Returns the layer's buffers.
    pub(crate) fn write_slices<const N: usize>(
        &mut self,
        layer: usize,
        parts: [&[f32]; N],
    ) -> Result<Slices<'_, N>, InferError> {
        let (shape, len, capacity) = (self.shapes[layer], self.len, self.capacity);
        match &mut self.layers {
            Layers::Halves(layers) => {
                let buffers: &mut [Vec<f16>; N] =
                    layers[layer].as_mut_slice().try_into().map_err(|_| wrong_kind())?;
                for (buffer, numbers) in buffers.iter_mut().zip(parts) {
                    shape.write(buffer, capacity, len, numbers, f16::from_f32);
                }
                Ok(Slices::Halves(buffers.each_ref().map(Vec::as_slice)))
            }
            Layers::Floats(layers) => {
                let buffers: &mut [Vec<f32>; N] =
                    layers[layer].as_mut_slice().try_into().map_err(|_| wrong_kind())?;
                for (buffer, numbers) in buffers.iter_mut().zip(parts) {
                    shape.write(buffer, capacity, len, numbers, |number| number);
                }
                Ok(Slices::Floats(buffers.each_ref().map(Vec::as_slice)))
            }
            Layers::Tensors(_) => Err(wrong_kind()),
        }
    }

    /// Writes as [`Self::write_slices`] does, `(n_heads, n, width)`.
    ///
    /// Returns what all tokens have there, the new ones included, as views.
    pub(crate) fn write_tensors<const N: usize>(
        &mut self,
        layer: usize,
        parts: [&Tensor; N],
    ) -> Result<[Tensor; N], InferError> {
        let Layers::Tensors(layers) = &self.layers else {
            return Err(wrong_kind());
        };
        let buffers: &[Tensor; N] =
            layers[layer].as_slice().try_into().map_err(|_| wrong_kind())?;
        let mut views = buffers.clone();
        for (view, part) in views.iter_mut().zip(parts) {
            view.slice_set(&part.contiguous()?, 1, self.len)?;
            *view = view.narrow(1, 0, self.len + part.dim(1)?)?;
        }
        Ok(views)
    }

    /// Returns what the tokens of `range` have in each buffer of each layer, `(n, n_heads, width)`.
    pub(crate) fn rows(&self, range: Range<usize>) -> Result<Vec<Vec<Vec<f32>>>, InferError> {
        let shapes = self.shapes.iter().zip(0..);
        let of_layer = |(shape, layer): (&BufferShapes, usize)| match &self.layers {
            Layers::Halves(layers) => {
                let buffers = layers[layer].iter();
                Ok(buffers.map(|x| shape.rows(x, self.capacity, &range, f16::to_f32)).collect())
            }
            Layers::Floats(layers) => {
                let buffers = layers[layer].iter();
                Ok(buffers.map(|x| shape.rows(x, self.capacity, &range, |x| x)).collect())
            }
            Layers::Tensors(layers) => layers[layer]
                .iter()
                .map(|x| {
                    let rows = x.narrow(1, range.start, range.len())?.transpose(0, 1)?;
                    rows.contiguous()?.flatten_all()?.to_vec1()
                })
                .collect::<Result<_, _>>(),
        };
        Ok(shapes.map(of_layer).collect::<Result<_, _>>()?)
    }

    /// Puts rows that [`Self::rows`] gave behind those that the cache has.
    pub(crate) fn append(&mut self, rows: &[Vec<Vec<f32>>]) -> Result<(), InferError> {
        let Some((shape, first)) = self.shapes.first().zip(rows.first().and_then(|x| x.first()))
        else {
            return Ok(());
        };
        let n_tokens = first.len() / (shape.n_heads * shape.width);
        self.reserve(n_tokens)?;
        for (layer, buffers) in rows.iter().enumerate() {
            let shape = self.shapes[layer];
            let (len, capacity) = (self.len, self.capacity);
            match &mut self.layers {
                Layers::Halves(layers) => {
                    for (buffer, rows) in layers[layer].iter_mut().zip(buffers) {
                        shape.write(buffer, capacity, len, rows, f16::from_f32);
                    }
                }
                Layers::Floats(layers) => {
                    for (buffer, rows) in layers[layer].iter_mut().zip(buffers) {
                        shape.write(buffer, capacity, len, rows, |x| x);
                    }
                }
                Layers::Tensors(layers) => {
                    for (buffer, rows) in layers[layer].iter().zip(buffers) {
                        let dims = (n_tokens, shape.n_heads, shape.width);
                        let rows = Tensor::from_slice(rows, dims, buffer.device())?;
                        buffer.slice_set(&rows.transpose(0, 1)?.contiguous()?, 1, len)?;
                    }
                }
            }
        }
        self.advance(n_tokens);
        Ok(())
    }

    /// Returns how many bytes [`Self::save`] writes for `n_tokens` tokens.
    pub(crate) fn saved_bytes(&self, n_tokens: usize) -> usize {
        n_tokens * self.bytes() / self.capacity.max(1)
    }

    /// Writes what the cache holds, buffer after buffer, little-endian.
    pub(crate) fn save(&self, sink: &mut impl Write) -> io::Result<()> {
        for (layer, shape) in self.shapes.iter().enumerate() {
            let (row, held) = (self.capacity * shape.width, self.len * shape.width);
            match &self.layers {
                Layers::Halves(layers) => {
                    for head in layers[layer].iter().flat_map(|buffer| buffer.chunks(row)) {
                        write_numbers(sink, &head[..held], |x| x.to_le_bytes())?;
                    }
                }
                Layers::Floats(layers) => {
                    for head in layers[layer].iter().flat_map(|buffer| buffer.chunks(row)) {
                        write_numbers(sink, &head[..held], |x| x.to_le_bytes())?;
                    }
                }
                Layers::Tensors(layers) => {
                    for buffer in &layers[layer] {
                        let numbers = buffer
                            .narrow(1, 0, self.len)
                            .and_then(|held| held.contiguous()?.flatten_all()?.to_vec1::<f32>());
                        let numbers = numbers.map_err(io::Error::other)?;
                        write_numbers(sink, &numbers, |x| x.to_le_bytes())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes what [`Self::save`] wrote of `n_tokens` tokens into an empty cache, which stays empty
    /// if that fails.
    pub(crate) fn restore(&mut self, n_tokens: usize, source: &mut impl Read) -> io::Result<()> {
        self.truncate(0);
        self.reserve(n_tokens).map_err(io::Error::other)?;
        for (layer, shape) in self.shapes.iter().enumerate() {
            let (row, held) = (self.capacity * shape.width, n_tokens * shape.width);
            match &mut self.layers {
                Layers::Halves(layers) => {
                    for head in layers[layer].iter_mut().flat_map(|buffer| buffer.chunks_mut(row)) {
                        read_numbers(source, &mut head[..held], f16::from_le_bytes)?;
                    }
                }
                Layers::Floats(layers) => {
                    for head in layers[layer].iter_mut().flat_map(|buffer| buffer.chunks_mut(row)) {
                        read_numbers(source, &mut head[..held], f32::from_le_bytes)?;
                    }
                }
                Layers::Tensors(layers) => {
                    for buffer in &layers[layer] {
                        let mut numbers = vec![0f32; shape.n_heads * held];
                        read_numbers(source, &mut numbers, f32::from_le_bytes)?;
                        let dims = (shape.n_heads, n_tokens, shape.width);
                        Tensor::from_vec(numbers, dims, buffer.device())
                            .and_then(|held| buffer.slice_set(&held, 1, 0))
                            .map_err(io::Error::other)?;
                    }
                }
            }
        }
        self.advance(n_tokens);
        Ok(())
    }

    /// Counts `n_tokens` that all layers have been given.
    pub(crate) fn advance(&mut self, n_tokens: usize) {
        self.len += n_tokens;
    }
}

/// Grows all buffers from one capacity to a larger one. If there is no memory for that they stay as
/// they were.
fn grow_all<T: Copy + Default>(
    layers: &mut [Vec<Vec<T>>],
    shapes: &[BufferShapes],
    old: usize,
    capacity: usize,
) -> Result<(), OutOfMemory> {
    let mut buffers = with_shapes(layers, shapes).enumerate();
    let failed = buffers.find_map(|(n_grown, (buffer, shape))| {
        shape.grow(buffer, old, capacity).err().map(|error| (n_grown, error))
    });
    drop(buffers);
    let Some((n_grown, error)) = failed else { return Ok(()) };
    for (buffer, shape) in with_shapes(layers, shapes).take(n_grown) {
        shape.shrink(buffer, old, capacity);
    }
    Err(error)
}

/// Returns all buffers, each with its shape.
fn with_shapes<'a, T>(
    layers: &'a mut [Vec<Vec<T>>],
    shapes: &'a [BufferShapes],
) -> impl Iterator<Item = (&'a mut Vec<T>, BufferShapes)> {
    let each = |(buffers, shape): (&'a mut Vec<Vec<T>>, &'a BufferShapes)| {
        buffers.iter_mut().map(|buffer| (buffer, *shape))
    };
    layers.iter_mut().zip(shapes).flat_map(each)
}

fn copied<T: Copy + Default>(layers: &[Vec<Vec<T>>]) -> Result<Vec<Vec<Vec<T>>>, OutOfMemory> {
    let copy = |buffer: &Vec<T>| -> Result<Vec<T>, OutOfMemory> {
        let mut copy = zeros(buffer.len(), WHAT)?;
        copy.copy_from_slice(buffer);
        Ok(copy)
    };
    layers.iter().map(|buffers| buffers.iter().map(copy).collect()).collect()
}

/// Numbers turned into bytes at once.
const NUMBERS_AT_ONCE: usize = 8192;

fn write_numbers<T: Copy, const N: usize>(
    sink: &mut impl Write,
    numbers: &[T],
    bytes_of: impl Fn(T) -> [u8; N],
) -> io::Result<()> {
    let mut bytes = vec![0; N * NUMBERS_AT_ONCE.min(numbers.len())];
    for numbers in numbers.chunks(NUMBERS_AT_ONCE) {
        let bytes = &mut bytes[..N * numbers.len()];
        for (bytes, number) in bytes.chunks_exact_mut(N).zip(numbers) {
            bytes.copy_from_slice(&bytes_of(*number));
        }
        sink.write_all(bytes)?;
    }
    Ok(())
}

fn read_numbers<T, const N: usize>(
    source: &mut impl Read,
    numbers: &mut [T],
    number_of: impl Fn([u8; N]) -> T,
) -> io::Result<()> {
    let mut bytes = vec![0; N * NUMBERS_AT_ONCE.min(numbers.len())];
    for numbers in numbers.chunks_mut(NUMBERS_AT_ONCE) {
        let bytes = &mut bytes[..N * numbers.len()];
        source.read_exact(bytes)?;
        for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks().0) {
            *number = number_of(*bytes);
        }
    }
    Ok(())
}

fn wrong_kind() -> InferError {
    candle_core::Error::Msg("the KV cache belongs to another decoder".into()).into()
}

fn grown(buffer: &Tensor, len: usize, capacity: usize) -> Result<Tensor, InferError> {
    let (n_kv_heads, _, head_dim) = buffer.dims3()?;
    let larger = zero_tensor((n_kv_heads, capacity, head_dim), buffer.device())?;
    if len > 0 {
        larger.slice_set(&buffer.narrow(1, 0, len)?.contiguous()?, 1, 0)?;
    }
    Ok(larger)
}

fn zero_tensor(dims: (usize, usize, usize), device: &Device) -> Result<Tensor, InferError> {
    if device.is_cpu() {
        // The tensor library would end the program if there is no memory.
        let numbers = zeros::<f32>(dims.0 * dims.1 * dims.2, WHAT)?;
        return Ok(Tensor::from_vec(numbers, dims, device)?);
    }
    Ok(Tensor::zeros(dims, DType::F32, device)?)
}

#[cfg(test)]
mod tests {
    use pagewise_testkit::{TinyFamily, TinyModel};

    use super::*;
    use crate::{DeviceChoice, Weights};

    /// Numbers that say where they stand: head, token, place.
    fn filled(shape: BufferShapes, capacity: usize) -> Vec<f32> {
        let mut buffer: Vec<f32> = zeros(shape.n_heads * capacity * shape.width, WHAT).unwrap();
        for (at, number) in (0u16..).zip(&mut buffer) {
            *number = at.into();
        }
        buffer
    }

    #[test]
    fn what_a_cache_holds_outlives_its_growth() {
        for (n_heads, width) in [(1, 3), (2, 1), (4, 5)] {
            let shape = BufferShapes { n_buffers: 1, n_heads, width };
            for (old, capacity) in [(1, 2), (3, 4), (2, 17), (16, 17)] {
                let before = filled(shape, old);
                let mut buffer = before.clone();
                shape.grow(&mut buffer, old, capacity).unwrap();
                assert_eq!(buffer.len(), n_heads * capacity * width);
                let rows =
                    |buffer: &[f32], capacity| shape.rows(buffer, capacity, &(0..old), |x| x);
                assert_eq!(rows(&buffer, capacity), rows(&before, old));
                shape.shrink(&mut buffer, old, capacity);
                assert_eq!(buffer, before);
            }
        }
    }

    #[test]
    fn without_memory_to_grow_all_buffers_stay() {
        let small = BufferShapes { n_buffers: 2, n_heads: 2, width: 3 };
        let shapes = [small, BufferShapes { n_buffers: 1, n_heads: 1, width: 1 << 50 }];
        let before = vec![vec![filled(small, 2); 2], vec![Vec::new()]];
        let mut layers = before.clone();
        assert!(grow_all(&mut layers, &shapes, 2, 8).is_err());
        assert_eq!(layers, before);
    }

    #[test]
    fn a_window_beyond_all_memory_is_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tiny.gguf");
        TinyModel::new(TinyFamily::Qwen2, 1).write(&path).unwrap();
        let config = Weights::open(&path).unwrap().config().unwrap();
        let ours = Compute::new(DeviceChoice::Cpu, Some(1)).unwrap();
        for compute in [ours.clone(), ours.exact(), Compute::tensors()] {
            let mut cache = KvCache::new(&config, 1 << 50, &compute).unwrap();
            let before = (cache.len(), cache.capacity(), cache.bytes());
            let failed = cache.reserve(1 << 45).unwrap_err();
            assert!(matches!(failed, InferError::OutOfMemory(_)), "{failed}");
            let sentence = failed.to_string();
            assert!(sentence.contains("not enough memory for the KV cache"), "{sentence}");
            // What fits goes on.
            assert_eq!((cache.len(), cache.capacity(), cache.bytes()), before);
            cache.reserve(1000).unwrap();
        }
    }
}
