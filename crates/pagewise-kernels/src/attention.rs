//! Attention of one layer over its KV cache, in half precision or, for comparisons, single; causal,
//! or for encoders both ways.
//!
//! A task takes one KV head, the query rows of a few tokens that share it, and a stretch of the
//! cache, of which it keeps the softmax up as it goes (running maximum and total of weights), so
//! no score matrix exists. When all rows are in one task for each KV head, as for one token, the
//! cache is cut into stretches, so that there is work for more threads than KV heads; what these
//! find is merged. The cuts follow from the shape alone, so the result is that of one thread.

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod amx;
#[allow(unsafe_code)]
mod tile;

use crate::isa::multiversion;
use crate::lines::Lines;
use crate::simd::PADDING;
use crate::{Isa, ThreadPool};
use half::f16;
use std::cell::RefCell;
use std::ops::Range;
use tile::Element;

/// Query rows a task aims at: widening a tile of the cache is shared by so many, and with the
/// queries and sums of more of them the second-level cache would be the smaller one.
const TASK_ROWS: usize = 96;
/// The same where tile registers share the packing of a tile.
const TASK_ROWS_IN_TILES: usize = 192;
/// Rows from which on tile registers are used: more than a few guessed tokens have, so that guesses are
/// verified with the arithmetic of single tokens.
#[cfg(target_arch = "x86_64")]
const TILE_ROWS: usize = 48;
/// Rows up to which a task multiplies them one by one, because they would not fill vectors.
const FEW_ROWS: usize = 8;
/// Cache positions of a task when the cache is cut.
const CHUNK: usize = 256;

/// The shape of attention in one layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Query heads; a multiple of `n_kv_head`.
    pub n_head: usize,
    /// Key and value heads.
    pub n_kv_head: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Positions the cache has room for.
    pub capacity: usize,
    /// Tokens in the cache before the first query; the queries' own keys and values follow them.
    pub past: usize,
    /// What scores are multiplied with.
    pub scale: f32,
    /// What scores are kept within before the softmax: `softcap * tanh(score / softcap)`.
    pub softcap: Option<f32>,
    /// How many positions, its own included, a token sees at most.
    pub window: Option<usize>,
}

thread_local! {
    /// The buffers of the task that a thread runs.
    static SCRATCH: RefCell<Lines> = RefCell::default();
    /// What tasks have of their rows: of one at a time, or of a whole call's on its thread.
    static PARTIALS: RefCell<Lines> = RefCell::default();
}

/// What a task has of its rows: the weighted sums of values, `(rows, head_dim)`, both padded, and
/// of each row the highest score, in powers of two, and the total of the weights relative to it.
struct Partial<'a> {
    sums: &'a mut [f32],
    maxima: &'a mut [f32],
    totals: &'a mut [f32],
}

/// A buffer of which each task writes its own part.
struct Shared(*mut f32);

// SAFETY: tasks write disjoint parts, and nobody else touches the buffer until all have ended.
#[allow(unsafe_code)]
unsafe impl Sync for Shared {}

impl Shared {
    /// # Safety
    ///
    /// The part lies in the buffer and no other task has any of it.
    #[allow(unsafe_code, clippy::mut_from_ref)]
    unsafe fn part(&self, at: usize, len: usize) -> &mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(at), len) }
    }
}

impl Attention {
    /// Attends from `q`, `(n_tokens, n_head, head_dim)`, into `out` of the same shape.
    ///
    /// `keys` and `values` are `(n_kv_head, capacity, head_dim)` and already hold the queries'
    /// own positions `past..past + n_tokens`. The result does not depend on the number of threads.
    ///
    /// # Panics
    ///
    /// When a slice or the struct's numbers do not fit together.
    pub fn run(&self, q: &[f32], keys: &[f16], values: &[f16], out: &mut [f32], pool: &ThreadPool) {
        self.run_over((q, keys, values), true, out, pool);
    }

    /// Attends as [`Self::run`] does, over a cache of twice the size that nothing was rounded for.
    ///
    /// # Panics
    ///
    /// When a slice or the struct's numbers do not fit together.
    pub fn run_exact(
        &self,
        q: &[f32],
        keys: &[f32],
        values: &[f32],
        out: &mut [f32],
        pool: &ThreadPool,
    ) {
        self.run_over((q, keys, values), true, out, pool);
    }

    /// Attends as [`Self::run_exact`] does, every token seeing all `capacity` positions, before it
    /// and behind it, as an encoder's do.
    ///
    /// # Panics
    ///
    /// When a slice or the struct's numbers do not fit together, or there is a window.
    pub fn run_both_ways(
        &self,
        q: &[f32],
        keys: &[f32],
        values: &[f32],
        out: &mut [f32],
        pool: &ThreadPool,
    ) {
        assert!(self.window.is_none(), "every token sees everything");
        self.run_over((q, keys, values), false, out, pool);
    }

    fn run_over<T: Element>(
        &self,
        (q, keys, values): (&[f32], &[T], &[T]),
        is_causal: bool,
        out: &mut [f32],
        pool: &ThreadPool,
    ) {
        let row = self.n_head * self.head_dim;
        assert!(row > 0 && q.len().is_multiple_of(row), "q is (n_tokens, n_head, head_dim)");
        assert!(
            self.n_kv_head > 0 && self.n_head.is_multiple_of(self.n_kv_head),
            "KV heads share evenly"
        );
        assert_eq!(q.len(), out.len(), "the output has the shape of q");
        assert_eq!(
            keys.len(),
            self.n_kv_head * self.capacity * self.head_dim,
            "keys are (n_kv_head, capacity, head_dim)"
        );
        assert_eq!(values.len(), keys.len(), "values have the shape of keys");
        let n_tokens = q.len() / row;
        assert!(self.past + n_tokens <= self.capacity, "the cache holds the queries' positions");
        let rows = n_tokens * self.group();
        let task_rows =
            if in_tiles::<T>(pool.isa(), rows) { TASK_ROWS_IN_TILES } else { TASK_ROWS };
        if rows <= task_rows {
            self.run_cut((q, keys, values), is_causal, out, pool);
        } else {
            self.run_blocks((q, keys, values), is_causal, task_rows, out, pool);
        }
    }

    /// Query heads that share a KV head.
    fn group(&self) -> usize {
        self.n_head / self.n_kv_head
    }

    /// Elements of a row of sums.
    fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(PADDING)
    }

    fn block<'a, T>(
        &self,
        (q, keys, values): (&'a [f32], &'a [T], &'a [T]),
        is_causal: bool,
        kv_head: usize,
        tokens: Range<usize>,
    ) -> Block<'a, T> {
        let head_len = self.capacity * self.head_dim;
        let head = kv_head * head_len..(kv_head + 1) * head_len;
        Block {
            attention: *self,
            is_causal,
            // Weights are powers of two, which cost less than those of e.
            scale: self.scale * std::f32::consts::LOG2_E,
            softcap: self.softcap.map(|cap| cap * std::f32::consts::LOG2_E),
            q,
            keys: &keys[head.clone()],
            values: &values[head],
            first_head: kv_head * self.group(),
            group: self.group(),
            first: tokens.start,
            n_tokens: tokens.len(),
        }
    }

    /// Cuts the tokens into blocks.
    fn run_blocks<T: Element>(
        &self,
        (q, keys, values): (&[f32], &[T], &[T]),
        is_causal: bool,
        task_rows: usize,
        out: &mut [f32],
        pool: &ThreadPool,
    ) {
        let n_tokens = q.len() / (self.n_head * self.head_dim);
        let step = (task_rows / self.group()).max(1);
        let n_blocks = n_tokens.div_ceil(step);
        let out = Shared(out.as_mut_ptr());
        pool.run(n_blocks * self.n_kv_head, &|task| {
            // Later tokens see more: beginning with them leaves short tasks for the end.
            let first = (n_blocks - 1 - task / self.n_kv_head) * step;
            let tokens = first..n_tokens.min(first + step);
            let block = self.block((q, keys, values), is_causal, task % self.n_kv_head, tokens);
            let rows = block.rows().next_multiple_of(PADDING);
            PARTIALS.with_borrow_mut(|partials| {
                let [sums, maxima, totals] = partials.parts([rows * self.padded_dim(), rows, rows]);
                let partial = Partial { sums, maxima, totals };
                SCRATCH.with_borrow_mut(|scratch| {
                    tile::attend(pool.isa(), &block, block.positions(), scratch, partial);
                });
                for row in 0..block.rows() {
                    // SAFETY: `query_at` is the place of a row in `q`, whose length `out` has, and
                    // no other task has this token and head.
                    #[allow(unsafe_code)]
                    let to = unsafe { out.part(block.query_at(row), self.head_dim) };
                    let (sums, inverse) = (&sums[row * self.padded_dim()..], totals[row].recip());
                    for (to, sum) in to.iter_mut().zip(sums) {
                        *to = sum * inverse;
                    }
                }
            });
        });
    }

    /// Cuts the cache into stretches.
    fn run_cut<T: Element>(
        &self,
        (q, keys, values): (&[f32], &[T], &[T]),
        is_causal: bool,
        out: &mut [f32],
        pool: &ThreadPool,
    ) {
        let row = self.n_head * self.head_dim;
        let n_tokens = q.len() / row;
        if n_tokens == 0 {
            return;
        }
        let block = |kv_head| self.block((q, keys, values), is_causal, kv_head, 0..n_tokens);
        let positions = block(0).positions();
        let n_chunks = positions.len().div_ceil(CHUNK);
        let rows = block(0).rows().next_multiple_of(PADDING);
        let (sums_len, partial_len) = (rows * self.padded_dim(), rows * (self.padded_dim() + 2));
        // Taken out of its cell, because tasks on this thread have one of their own.
        let mut partials = PARTIALS.take();
        let [buffer] = partials.parts([self.n_kv_head * n_chunks * partial_len]);
        let shared = Shared(buffer.as_mut_ptr());
        pool.run(n_chunks * self.n_kv_head, &|task| {
            let start = positions.start + task % n_chunks * CHUNK;
            // SAFETY: the buffer has a part for every task.
            #[allow(unsafe_code)]
            let part = unsafe { shared.part(task * partial_len, partial_len) };
            let (sums, rest) = part.split_at_mut(sums_len);
            let (maxima, totals) = rest.split_at_mut(rows);
            let partial = Partial { sums, maxima, totals };
            let positions = start..positions.end.min(start + CHUNK);
            SCRATCH.with_borrow_mut(|scratch| {
                let block = block(task / n_chunks);
                tile::attend(pool.isa(), &block, positions, scratch, partial);
            });
        });
        for (kv_head, parts) in buffer.chunks_exact(n_chunks * partial_len).enumerate() {
            let block = block(kv_head);
            for row in 0..block.rows() {
                let out = &mut out[block.query_at(row)..][..self.head_dim];
                merge(pool.isa(), row, rows, parts, partial_len, out);
            }
        }
        PARTIALS.set(partials);
    }
}

/// Returns whether tasks of so many rows use tile registers.
fn in_tiles<T: Element>(isa: Isa, rows: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        isa.has_tiles() && T::IN_TILES.is_some() && rows >= TILE_ROWS
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (isa, rows);
        false
    }
}

multiversion! {
    /// Merges what the tasks of one KV head have of a row; `parts` are their [`Partial`]s of
    /// `rows` rows each.
    fn merge(row: usize, rows: usize, parts: &[f32], len: usize, out: &mut [f32]) = merge_body
}

#[inline(always)]
fn merge_body(row: usize, rows: usize, parts: &[f32], len: usize, out: &mut [f32]) {
    let sums_len = len - 2 * rows;
    let padded_dim = sums_len / rows;
    let parts = parts.chunks_exact(len);
    let maximum = |part: &[f32]| part[sums_len + row];
    let highest = parts.clone().map(maximum).fold(f32::MIN, f32::max);
    let mut total = 0.0;
    out.fill(0.0);
    for part in parts {
        let weight = (maximum(part) - highest).exp2();
        total += weight * part[sums_len + rows + row];
        for (out, sum) in out.iter_mut().zip(&part[row * padded_dim..]) {
            *out += weight * sum;
        }
    }
    let inverse = total.recip();
    for out in out {
        *out *= inverse;
    }
}

/// Query rows that share a KV head: those of a few tokens, token by token.
struct Block<'a, T> {
    attention: Attention,
    /// Whether a token sees only itself and what is before it.
    is_causal: bool,
    /// What scores are multiplied with.
    scale: f32,
    /// What they are then kept within.
    softcap: Option<f32>,
    q: &'a [f32],
    /// `(capacity, head_dim)`, one head.
    keys: &'a [T],
    values: &'a [T],
    first_head: usize,
    group: usize,
    /// The first token.
    first: usize,
    n_tokens: usize,
}

impl<T> Block<'_, T> {
    fn rows(&self) -> usize {
        self.n_tokens * self.group
    }

    /// Where in `q` a row's elements begin.
    #[inline(always)]
    fn query_at(&self, row: usize) -> usize {
        let (token, head) = (self.first + row / self.group, self.first_head + row % self.group);
        (token * self.attention.n_head + head) * self.attention.head_dim
    }

    /// The cache positions a row sees.
    #[inline(always)]
    fn visible(&self, row: usize) -> Range<usize> {
        if !self.is_causal {
            return 0..self.attention.capacity;
        }
        let end = self.attention.past + self.first + row / self.group + 1;
        let window = self.attention.window.unwrap_or(end).max(1);
        end.saturating_sub(window)..end
    }

    /// The cache positions that any row sees.
    fn positions(&self) -> Range<usize> {
        self.visible(0).start..self.visible(self.rows() - 1).end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Attention as its definition has it, in double precision; weights, the largest of which is 1, go
    /// through `round` before they meet values.
    fn reference_with(
        shape: &Attention,
        q: &[f32],
        keys: &[f16],
        values: &[f16],
        round: impl Fn(f64) -> f64,
    ) -> Vec<f64> {
        let (n, dim) = (shape.n_head, shape.head_dim);
        let mut out = vec![0.0; q.len()];
        for (row, (q, out)) in q.chunks(dim).zip(out.chunks_mut(dim)).enumerate() {
            let (token, head) = (row / n, row % n);
            let end = shape.past + token + 1;
            let begin = end.saturating_sub(shape.window.unwrap_or(end));
            let at = |position| (head * shape.n_kv_head / n * shape.capacity + position) * dim;
            let scores: Vec<f64> = (begin..end)
                .map(|p| {
                    let products = q.iter().zip(&keys[at(p)..at(p) + dim]);
                    products.map(|(q, k)| f64::from(*q) * k.to_f64()).sum::<f64>()
                })
                .map(|score| score * f64::from(shape.scale))
                .map(|score| match shape.softcap.map(f64::from) {
                    Some(cap) => cap * (score / cap).tanh(),
                    None => score,
                })
                .collect();
            let highest = scores.iter().copied().fold(f64::MIN, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
            let total: f64 = weights.iter().sum();
            for (p, weight) in (begin..end).zip(weights) {
                for (out, v) in out.iter_mut().zip(&values[at(p)..at(p) + dim]) {
                    *out += round(weight) / total * v.to_f64();
                }
            }
        }
        out
    }

    fn reference(shape: &Attention, q: &[f32], keys: &[f16], values: &[f16]) -> Vec<f64> {
        reference_with(shape, q, keys, values, |weight| weight)
    }

    /// Tiles round to `bf16`. Weights are relative to the highest score so far, so that only those of one
    /// tile are rounded here as there.
    fn check_in_tiles(shape: &Attention, q: &[f32], keys: &[f16], values: &[f16], out: &[f32]) {
        let scale = shape.scale * std::f32::consts::LOG2_E;
        let q: Vec<f32> = q.iter().map(|q| bf16::from_f32(q * scale).to_f32() / scale).collect();
        // A half has all bits of a `bf16` of its size.
        let round = |x: &[f16]| -> Vec<f16> {
            x.iter().map(|x| f16::from_f32(bf16::from_f32(x.to_f32()).to_f32())).collect()
        };
        let (keys, values) = (round(keys), round(values));
        let rounded = |weight| bf16::from_f64(weight).to_f64();
        let expected = reference_with(shape, &q, &keys, &values, rounded);
        let is_one_tile = shape.past + q.len() / (shape.n_head * shape.head_dim) <= CHUNK;
        // One weight in hundreds may be between two numbers and rounded the other way.
        let bound = if is_one_tile { 2e-3 } else { 6e-3 };
        for (actual, expected) in out.iter().zip(&expected) {
            let error = (f64::from(*actual) - expected).abs();
            assert!(error < bound, "{shape:?}: {actual}, not {expected}");
        }
    }

    fn check(shape: Attention, n_tokens: usize) {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut random =
            |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-2f32..2.0)).collect() };
        let q = random(n_tokens * shape.n_head * shape.head_dim);
        let n_cache = shape.n_kv_head * shape.capacity * shape.head_dim;
        let halves = |x: Vec<f32>| x.into_iter().map(f16::from_f32).collect::<Vec<_>>();
        let (keys, values) = (halves(random(n_cache)), halves(random(n_cache)));
        let expected = reference(&shape, &q, &keys, &values);
        for isa in Isa::available() {
            let outs = [1, 3].map(|threads| {
                let mut out = vec![f32::NAN; q.len()];
                shape.run(&q, &keys, &values, &mut out, &ThreadPool::with_isa(threads, isa));
                out
            });
            assert_eq!(outs[0], outs[1], "{isa:?} {shape:?}, {n_tokens} tokens");
            if in_tiles::<f16>(isa, n_tokens * shape.group()) {
                check_in_tiles(&shape, &q, &keys, &values, &outs[0]);
                continue;
            }
            let widened = |x: &[f16]| x.iter().map(|x| x.to_f32()).collect::<Vec<_>>();
            let mut exact = vec![f32::NAN; q.len()];
            let pool = ThreadPool::with_isa(1, isa);
            shape.run_exact(&q, &widened(&keys), &widened(&values), &mut exact, &pool);
            assert_eq!(exact, outs[0], "{isa:?} {shape:?}, {n_tokens} tokens");
            for (actual, expected) in outs[0].iter().zip(&expected) {
                assert!(
                    (f64::from(*actual) - expected).abs() < 1e-5,
                    "{isa:?} {shape:?}, {n_tokens} tokens: {actual}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn both_ways_every_token_sees_all() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut random =
            |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-2f32..2.0)).collect() };
        for (len, head_dim) in [(1, 32), (9, 16), (70, 32), (300, 8)] {
            let shape = Attention { n_kv_head: 6, head_dim, capacity: len, ..SHAPE };
            let n = 6 * len * head_dim;
            let (q, keys, values) = (random(n), random(n), random(n));
            // The last of as many tokens sees as much when attention is causal.
            let row = 6 * head_dim;
            let last = Attention { past: len - 1, ..shape };
            for isa in Isa::available() {
                let pool = ThreadPool::with_isa(2, isa);
                let (mut out, mut expected) = (vec![f32::NAN; n], vec![f32::NAN; row]);
                shape.run_both_ways(&q, &keys, &values, &mut out, &pool);
                for (q, out) in q.chunks(row).zip(out.chunks(row)) {
                    last.run_exact(q, &keys, &values, &mut expected, &pool);
                    for (out, expected) in out.iter().zip(&expected) {
                        assert!((out - expected).abs() < 1e-5, "{isa:?}: {out}, not {expected}");
                    }
                }
            }
        }
    }

    const SHAPE: Attention = Attention {
        n_head: 6,
        n_kv_head: 2,
        head_dim: 64,
        capacity: 300,
        past: 0,
        scale: 0.125,
        softcap: None,
        window: None,
    };

    #[test]
    fn attends_like_the_definition() {
        for (past, n_tokens) in [(0, 1), (0, 40), (63, 1), (64, 1), (100, 7), (17, 150)] {
            let shape = Attention { past, ..SHAPE };
            check(shape, n_tokens);
            check(Attention { window: Some(20), ..shape }, n_tokens);
            check(Attention { head_dim: 40, n_kv_head: 6, ..shape }, n_tokens);
            check(Attention { head_dim: 80, ..shape }, n_tokens);
            check(Attention { head_dim: 3, ..shape }, n_tokens);
            check(Attention { n_kv_head: 1, ..shape }, n_tokens);
            let capped = Attention { softcap: Some(3.0), ..shape };
            check(capped, n_tokens);
            check(Attention { window: Some(20), head_dim: 40, ..capped }, n_tokens);
        }
    }

    #[test]
    fn attends_for_every_size_of_group() {
        for group in 1..=17 {
            let shape = Attention { n_head: 2 * group, head_dim: 48, past: 30, ..SHAPE };
            check(shape, 1);
            check(shape, 2);
        }
    }

    /// One more or less than the tiles and stretches of the cache have.
    #[test]
    fn attends_at_the_edges_of_stretches() {
        for past in [95, 96, 254, 255, 256, 511, 512, 600] {
            let shape = Attention { past, capacity: 640, head_dim: 32, ..SHAPE };
            for window in [None, Some(1), Some(256), Some(257)] {
                check(Attention { window, ..shape }, 1);
                check(Attention { window, ..shape }, 3);
                check(Attention { window, ..shape }, 35);
            }
        }
    }

    /// The weights of two of the positions are then all there is, one much like the other.
    #[test]
    fn large_scores_keep_their_precision() {
        let shape = Attention { capacity: 2, past: 1, head_dim: 16, scale: 1.0, ..SHAPE };
        let q = vec![20f32; shape.n_head * shape.head_dim];
        let keys: Vec<f16> = (0..shape.n_kv_head * 2 * shape.head_dim)
            .map(|i| f16::from_f32(if i % (2 * shape.head_dim) == 0 { 2.03 } else { 2.0 }))
            .collect();
        let values: Vec<f16> = (0..keys.len()).map(|i| f16::from_f32((i % 32) as f32)).collect();
        let expected = reference(&shape, &q, &keys, &values);
        for isa in Isa::available() {
            let mut out = vec![f32::NAN; q.len()];
            shape.run(&q, &keys, &values, &mut out, &ThreadPool::with_isa(1, isa));
            assert!(!in_tiles::<f16>(isa, 1), "a single row keeps its precision");
            for (actual, expected) in out.iter().zip(&expected) {
                let error = (f64::from(*actual) - expected).abs();
                assert!(error < 1e-3, "{isa:?}: {actual}, not {expected}");
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_so() {
        for isa in Isa::available() {
            for n_tokens in [1, 40] {
                let shape = Attention { capacity: 64, ..SHAPE };
                let mut q = vec![0.5; n_tokens * shape.n_head * shape.head_dim];
                q[0] = f32::NAN;
                let cache = vec![f16::ONE; shape.n_kv_head * shape.capacity * shape.head_dim];
                let mut out = vec![0.0; q.len()];
                shape.run(&q, &cache, &cache, &mut out, &ThreadPool::with_isa(1, isa));
                assert!(out[..shape.head_dim].iter().all(|out| out.is_nan()), "{isa:?}");
                assert!(out[shape.head_dim..].iter().all(|&out| (out - 1.0).abs() < 1e-6));
            }
        }
    }
}
