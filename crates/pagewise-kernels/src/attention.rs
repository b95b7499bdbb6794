//! Causal attention of one layer over a half-precision KV cache.
//!
//! A task takes one KV head and the query rows of a few tokens that share it. It walks the cache
//! in tiles: a tile of keys and values is widened to `f32` once, serves all the task's query rows,
//! and the softmax is kept up as it goes (running maximum and sum), so no score matrix exists.

use crate::elementwise::exp;
use crate::isa::multiversion;
use crate::unpack::f16_to_f32;
use crate::{Isa, ThreadPool};
use half::f16;
use std::cell::RefCell;

/// Cache positions in a tile.
const TILE: usize = 64;
/// Query rows a task aims at, so that widening a tile is shared by many.
const TASK_ROWS: usize = 32;
/// Elements of a head accumulated together.
const LANES: usize = 32;

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
    /// How many positions, its own included, a token sees at most.
    pub window: Option<usize>,
}

#[derive(Default)]
struct Scratch {
    /// `(head_dim, TILE)`.
    keys: Vec<f32>,
    /// `(TILE, padded head_dim)`.
    values: Vec<f32>,
    /// `(rows, padded head_dim)`.
    sums: Vec<f32>,
    /// Running maximum score and sum of weights of every row.
    states: Vec<(f32, f32)>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

struct Output(*mut f32);

// SAFETY: tasks write disjoint query rows.
#[allow(unsafe_code)]
unsafe impl Sync for Output {}

impl Output {
    fn start(&self) -> *mut f32 {
        self.0
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

        let group = self.n_head / self.n_kv_head;
        let step = (TASK_ROWS / group).max(1);
        let n_blocks = n_tokens.div_ceil(step);
        let (isa, out) = (Isa::detect(), Output(out.as_mut_ptr()));
        pool.run(n_blocks * self.n_kv_head, &|task| {
            let (kv_head, block) = (task / n_blocks, task % n_blocks);
            // Later tokens see more: beginning with them leaves short tasks for the end.
            let first = (n_blocks - 1 - block) * step;
            let head = kv_head * self.capacity * self.head_dim
                ..(kv_head + 1) * self.capacity * self.head_dim;
            let block = Block {
                attention: *self,
                q,
                keys: &keys[head.clone()],
                values: &values[head],
                first_head: kv_head * group,
                group,
                first,
                n_tokens: (n_tokens - first).min(step),
            };
            SCRATCH.with_borrow_mut(|scratch| {
                attend(isa, &block, scratch);
                let padded = self.head_dim.next_multiple_of(LANES);
                for (index, sums) in
                    scratch.sums.chunks_exact(padded).take(block.rows()).enumerate()
                {
                    let at = block.query_at(index);
                    // SAFETY: `at + head_dim` is within `q`, whose length `out` has, and no other
                    // task has this token and head.
                    #[allow(unsafe_code)]
                    let to = unsafe {
                        std::slice::from_raw_parts_mut(out.start().add(at), self.head_dim)
                    };
                    let inverse = scratch.states[index].1.recip();
                    for (to, sum) in to.iter_mut().zip(sums) {
                        *to = sum * inverse;
                    }
                }
            });
        });
    }
}

/// The query rows of one task.
struct Block<'a> {
    attention: Attention,
    q: &'a [f32],
    /// `(capacity, head_dim)`, one head.
    keys: &'a [f16],
    values: &'a [f16],
    first_head: usize,
    group: usize,
    /// The first token.
    first: usize,
    n_tokens: usize,
}

impl Block<'_> {
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
    fn visible(&self, row: usize) -> std::ops::Range<usize> {
        let end = self.attention.past + self.first + row / self.group + 1;
        let window = self.attention.window.unwrap_or(end).max(1);
        end.saturating_sub(window)..end
    }
}

multiversion! {
    fn attend(block: &Block<'_>, scratch: &mut Scratch) = attend_body
}

#[inline(always)]
fn attend_body(block: &Block<'_>, scratch: &mut Scratch) {
    let head_dim = block.attention.head_dim;
    let padded = head_dim.next_multiple_of(LANES);
    let rows = block.rows();
    scratch.keys.resize(head_dim * TILE, 0.0);
    scratch.values.clear();
    scratch.values.resize(padded * TILE, 0.0);
    scratch.sums.clear();
    scratch.sums.resize(padded * rows, 0.0);
    scratch.states.clear();
    scratch.states.resize(rows, (f32::NEG_INFINITY, 0.0));

    let positions = block.visible(0).start..block.visible(rows - 1).end;
    let mut start = positions.start;
    while start < positions.end {
        let end = positions.end.min(start + TILE);
        for (i, position) in (start..end).enumerate() {
            let from = position * head_dim..(position + 1) * head_dim;
            for (d, key) in block.keys[from.clone()].iter().enumerate() {
                scratch.keys[d * TILE + i] = f16_to_f32(key.to_bits());
            }
            for (to, value) in scratch.values[i * padded..].iter_mut().zip(&block.values[from]) {
                *to = f16_to_f32(value.to_bits());
            }
        }
        for row in 0..rows {
            let visible = block.visible(row);
            let (low, high) = (visible.start.max(start), visible.end.min(end));
            if low >= high {
                continue;
            }
            let q = &block.q[block.query_at(row)..][..head_dim];
            let mut weights = scores(q, &scratch.keys, block.attention.scale);
            let seen = low - start..high - start;
            let (old_max, old_sum) = scratch.states[row];
            let max = weights[seen.clone()].iter().fold(old_max, |max, &score| max.max(score));
            let mut sum = 0f32;
            for (i, weight) in weights.iter_mut().enumerate() {
                *weight = if seen.contains(&i) { exp(*weight - max) } else { 0.0 };
                sum += *weight;
            }
            let shrink = if old_sum == 0.0 { 0.0 } else { exp(old_max - max) };
            scratch.states[row] = (max, old_sum * shrink + sum);
            let sums = &mut scratch.sums[row * padded..][..padded];
            accumulate(sums, shrink, &weights, &scratch.values, seen);
        }
        start = end;
    }
}

#[inline(always)]
fn scores(q: &[f32], keys: &[f32], scale: f32) -> [f32; TILE] {
    let mut scores = [0f32; TILE];
    for (q, keys) in q.iter().zip(keys.as_chunks::<TILE>().0) {
        for i in 0..TILE {
            scores[i] += q * keys[i];
        }
    }
    for score in &mut scores {
        *score *= scale;
    }
    scores
}

/// Shrinks `sums` and adds the weighted values.
#[inline(always)]
fn accumulate(
    sums: &mut [f32],
    shrink: f32,
    weights: &[f32; TILE],
    values: &[f32],
    seen: std::ops::Range<usize>,
) {
    let padded = sums.len();
    for (part, sums) in sums.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut total = *sums;
        for total in &mut total {
            *total *= shrink;
        }
        for i in seen.clone() {
            let values = &values[i * padded + part * LANES..][..LANES];
            for lane in 0..LANES {
                total[lane] += weights[i] * values[lane];
            }
        }
        *sums = total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Attention as its definition has it, in double precision.
    fn reference(shape: &Attention, q: &[f32], keys: &[f16], values: &[f16]) -> Vec<f64> {
        let (n, dim) = (shape.n_head, shape.head_dim);
        let mut out = vec![0.0; q.len()];
        for (row, (q, out)) in q.chunks(dim).zip(out.chunks_mut(dim)).enumerate() {
            let (token, head) = (row / n, row % n);
            let end = shape.past + token + 1;
            let begin = end.saturating_sub(shape.window.unwrap_or(end));
            let at = |position| (head * shape.n_kv_head / n * shape.capacity + position) * dim;
            let weights: Vec<f64> = (begin..end)
                .map(|p| {
                    let products = q.iter().zip(&keys[at(p)..at(p) + dim]);
                    products.map(|(q, k)| f64::from(*q) * k.to_f64()).sum::<f64>()
                })
                .map(|score| (score * f64::from(shape.scale)).exp())
                .collect();
            let total: f64 = weights.iter().sum();
            for (p, weight) in (begin..end).zip(weights) {
                for (out, v) in out.iter_mut().zip(&values[at(p)..at(p) + dim]) {
                    *out += weight / total * v.to_f64();
                }
            }
        }
        out
    }

    fn check(shape: Attention, n_tokens: usize) {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut random =
            |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-2f32..2.0)).collect() };
        let q = random(n_tokens * shape.n_head * shape.head_dim);
        let n_cache = shape.n_kv_head * shape.capacity * shape.head_dim;
        let halves = |x: Vec<f32>| x.into_iter().map(f16::from_f32).collect::<Vec<_>>();
        let (keys, values) = (halves(random(n_cache)), halves(random(n_cache)));
        let outs = [1, 3].map(|threads| {
            let mut out = vec![f32::NAN; q.len()];
            shape.run(&q, &keys, &values, &mut out, &ThreadPool::new(threads));
            out
        });
        assert_eq!(outs[0], outs[1]);
        for (actual, expected) in outs[0].iter().zip(reference(&shape, &q, &keys, &values)) {
            assert!(
                (f64::from(*actual) - expected).abs() < 1e-5,
                "{shape:?}, {n_tokens} tokens: {actual}, not {expected}"
            );
        }
    }

    #[test]
    fn attends_like_the_definition() {
        let shape = Attention {
            n_head: 6,
            n_kv_head: 2,
            head_dim: 64,
            capacity: 300,
            past: 0,
            scale: 0.125,
            window: None,
        };
        for (past, n_tokens) in [(0, 1), (0, 40), (63, 1), (64, 1), (100, 7), (17, 150)] {
            check(Attention { past, ..shape }, n_tokens);
            check(Attention { past, window: Some(20), ..shape }, n_tokens);
            check(Attention { past, head_dim: 40, n_kv_head: 6, ..shape }, n_tokens);
            check(Attention { past, n_kv_head: 1, ..shape }, n_tokens);
        }
    }
}
