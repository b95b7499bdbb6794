//! Many query rows on the tile registers of AMX.
//!
//! Scores and weights have a row of queries in each lane, as in the other form for many rows, so that the
//! softmax is the same. Queries, keys, values and weights are rounded to `bf16`; sums are `f32`.
//!
//! ```text
//! scores (keys, rows) = keys (keys, dim) × queries (dim, rows)
//! sums   (dim, rows)  += values (dim, keys) × weights (keys, rows)
//! ```

use super::tile::soften;
use super::{Block, Partial};
use crate::amx::{TILE_SUMS, Tiles, multiply_2x1, multiply_2x2};
use crate::bf16::{
    TILE_BYTES, TILE_COLS, TILE_ROWS, pack_tiles, to_bf16, transpose_16x16, vectors,
};
use crate::elementwise::softcap_body;
use crate::lines::{Lines, bytes_of};
use crate::simd::PADDING;
use half::f16;
use std::arch::x86_64::*;
use std::ops::Range;

/// Cache positions in a tile: with the scores and sums of a task's rows they stay in the second-level
/// cache, and sums are read and written once for so many.
const TILE: usize = 256;

/// Bytes by which rows are longer than they need be, so that they do not get into each other's way.
const GAP: usize = 64;

/// Attends from all rows of `block` over `positions` into `partial`.
pub(super) fn attend(
    block: &Block<'_, f16>,
    positions: Range<usize>,
    scratch: &mut Lines,
    partial: Partial<'_>,
) {
    // SAFETY: called only for families with tiles.
    unsafe { attend_in_tiles(block, positions, scratch, partial) }
}

/// # Safety
///
/// The machine has AMX.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
unsafe fn attend_in_tiles(
    block: &Block<'_, f16>,
    positions: Range<usize>,
    scratch: &mut Lines,
    partial: Partial<'_>,
) {
    let (n_rows, dim) = (block.rows(), block.attention.head_dim);
    let (n_groups, dim_tiles) = (n_rows.div_ceil(TILE_ROWS), dim.div_ceil(TILE_COLS));
    let padded_dim = dim_tiles * TILE_COLS;
    let (key_bytes, value_bytes) = (2 * padded_dim + GAP, 2 * TILE + GAP);
    let floats = |bytes: usize| bytes / size_of::<f32>();
    let [queries, keys, values, scores, sums, shrink, q] = scratch.parts([
        floats(n_groups * dim_tiles * TILE_BYTES),
        floats(TILE * key_bytes),
        floats(padded_dim * value_bytes),
        n_groups * TILE * TILE_ROWS,
        n_groups * padded_dim * TILE_ROWS,
        n_groups * TILE_ROWS,
        (TILE_ROWS * dim).next_multiple_of(PADDING),
    ]);
    let Partial { sums: out, maxima, totals } = partial;
    maxima[..n_groups * TILE_ROWS].fill(f32::MIN);
    totals[..n_groups * TILE_ROWS].fill(0.0);

    let (queries, keys, values) = (bytes_of(queries), bytes_of(keys), bytes_of(values));
    for (group, to) in queries.chunks_exact_mut(dim_tiles * TILE_BYTES).enumerate() {
        let rows = group * TILE_ROWS..n_rows.min((group + 1) * TILE_ROWS);
        for (to, row) in q.chunks_exact_mut(dim).zip(rows.clone()) {
            for (to, q) in to.iter_mut().zip(&block.q[block.query_at(row)..]) {
                *to = q * block.scale;
            }
        }
        pack_tiles(&q[..rows.len() * dim], dim, to);
    }

    // SAFETY: the caller's machine has AMX.
    let _tiles = unsafe { Tiles::configure() };
    for start in positions.clone().step_by(TILE) {
        let tile = start..positions.end.min(start + TILE);
        let is_first = start == positions.start;
        let n_keys = tile.len().next_multiple_of(TILE_COLS);
        let of_tile = tile.start * dim..tile.end * dim;
        pack_keys(&block.keys[of_tile.clone()], dim, &mut keys[..n_keys * key_bytes], key_bytes);
        pack_values(&block.values[of_tile], dim, n_keys, values, value_bytes);
        let product = Product {
            rows: keys,
            row_bytes: key_bytes,
            n_rows: n_keys,
            columns: queries,
            n_groups,
            depth: dim_tiles,
            group_bytes: dim_tiles * TILE_BYTES,
            group_sums: TILE * TILE_ROWS,
        };
        // SAFETY: the registers are configured.
        unsafe { product.add_to(scores, true) };
        for (group, scores) in scores.chunks_exact_mut(TILE * TILE_ROWS).enumerate() {
            let scores = &mut scores[..n_keys * TILE_ROWS];
            if let Some(cap) = block.softcap {
                softcap_body(scores, cap);
            }
            hide(block, group * TILE_ROWS..n_rows.min((group + 1) * TILE_ROWS), &tile, scores);
            let lanes = group * TILE_ROWS..(group + 1) * TILE_ROWS;
            let state = [&mut *maxima, &mut *totals, &mut *shrink];
            let state = state.map(|state| state[lanes.clone()].as_mut_ptr());
            // SAFETY: the scores are `(n_keys, 16)`, and the others have 16 lanes.
            unsafe { soften::<__m512>(scores.as_mut_ptr(), TILE_ROWS, n_keys, state) };
            pack_weights(scores);
            if !is_first {
                let sums = &mut sums[group * padded_dim * TILE_ROWS..][..padded_dim * TILE_ROWS];
                for sums in sums.chunks_exact_mut(TILE_ROWS) {
                    let shrink = &shrink[lanes.clone()];
                    sums.iter_mut().zip(shrink).for_each(|(sum, shrink)| *sum *= shrink);
                }
            }
        }
        let product = Product {
            rows: values,
            row_bytes: value_bytes,
            n_rows: padded_dim,
            columns: bytes_of(scores),
            n_groups,
            depth: n_keys / TILE_COLS,
            // Weights begin where the scores of their group did.
            group_bytes: TILE * TILE_ROWS * size_of::<f32>(),
            group_sums: padded_dim * TILE_ROWS,
        };
        // SAFETY: the registers are configured.
        unsafe { product.add_to(sums, is_first) };
    }
    store(sums, padded_dim, n_rows, out, dim.next_multiple_of(PADDING));
}

/// Rows, `(n_rows, 32 × depth)`, times groups of 16 columns, which are tiles.
struct Product<'a> {
    rows: &'a [u8],
    row_bytes: usize,
    /// A multiple of 32.
    n_rows: usize,
    columns: &'a [u8],
    n_groups: usize,
    /// Tiles that a row is long.
    depth: usize,
    /// From one group of columns to the next.
    group_bytes: usize,
    /// From the sums of one group, `(n_rows, 16)`, to those of the next.
    group_sums: usize,
}

impl Product<'_> {
    /// # Safety
    ///
    /// The registers are configured.
    #[inline(always)]
    unsafe fn add_to(&self, sums: &mut [f32], is_first: bool) {
        let Self { rows, row_bytes, n_rows, columns, n_groups, depth, .. } = *self;
        let last = n_groups - 1;
        assert!(rows.len() >= (n_rows - 1) * row_bytes + 2 * TILE_COLS * depth);
        assert!(columns.len() >= last * self.group_bytes + depth * TILE_BYTES);
        assert!(sums.len() >= last * self.group_sums + n_rows * TILE_ROWS);
        for group in (0..n_groups).step_by(2) {
            for row in (0..n_rows).step_by(2 * TILE_ROWS) {
                // SAFETY: asserted above; `n_rows` is a multiple of the rows that are taken together.
                unsafe {
                    let upper = rows.as_ptr().add(row * row_bytes);
                    let of_rows = [upper, upper.add(TILE_ROWS * row_bytes)];
                    let column = |group| columns.as_ptr().add(group * self.group_bytes);
                    let at = row * TILE_ROWS;
                    let first = sums.as_mut_ptr().add(group * self.group_sums + at);
                    if group < last {
                        let columns = [column(group), column(group + 1)];
                        let sums = [first, first.add(self.group_sums)];
                        multiply_2x2(of_rows, row_bytes, columns, depth, sums, is_first);
                    } else {
                        multiply_2x1(of_rows, row_bytes, column(group), depth, first, is_first);
                    }
                }
            }
        }
    }
}

/// Rounds keys, `(n, dim)`, to rows of whole tiles; those that are not there are zero.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
fn pack_keys(from: &[f16], dim: usize, to: &mut [u8], row_bytes: usize) {
    let mut keys = from.chunks_exact(dim);
    for to in to.chunks_exact_mut(row_bytes) {
        let key = keys.next().unwrap_or_default();
        for (at, to) in to[..row_bytes - GAP].chunks_exact_mut(64).enumerate() {
            let key = key.get(at * TILE_COLS..).unwrap_or_default();
            let numbers = to_bf16(widen(key), widen(key.get(16..).unwrap_or_default()));
            // SAFETY: there are 64 bytes.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), numbers) };
        }
    }
}

/// Widens the first 16 numbers; those that are not there are zero.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn widen(from: &[f16]) -> __m512 {
    let mask = ((1u32 << from.len().min(16)) - 1) as u16;
    // SAFETY: the mask leaves out what is not there.
    unsafe { _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, from.as_ptr().cast())) }
}

/// Rounds and transposes values, `(n, dim)`, to rows of `n_keys` numbers, one for each element of a head;
/// those that are not there are zero.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
fn pack_values(from: &[f16], dim: usize, n_keys: usize, to: &mut [u8], row_bytes: usize) {
    for (first, to) in (0..).step_by(16).zip(to.chunks_exact_mut(16 * row_bytes)) {
        for key in (0..n_keys).step_by(TILE_COLS) {
            let half = |half: usize| {
                transpose_16x16(vectors![16; |row| {
                    let at = (key + 16 * half + row) * dim;
                    let row = from.get(at..at + dim).unwrap_or_default();
                    _mm512_castps_si512(widen(row.get(first..).unwrap_or_default()))
                }])
            };
            let (low, high) = (half(0), half(1));
            for ((low, high), to) in low.into_iter().zip(high).zip(to.chunks_exact_mut(row_bytes)) {
                let numbers = to_bf16(_mm512_castsi512_ps(low), _mm512_castsi512_ps(high));
                // SAFETY: there are 64 bytes.
                unsafe { _mm512_storeu_si512(to[2 * key..][..64].as_mut_ptr().cast(), numbers) };
            }
        }
    }
}

/// Rounds weights, `(n, 16)`, to tiles of pairs of neighbours, which begin where the weights do.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
fn pack_weights(weights: &mut [f32]) {
    // Word 2r is of the first of two neighbours in lane r, word 2r + 1 of the second.
    let words: [u16; 32] = std::array::from_fn(|word| (word / 2 + word % 2 * 16) as u16);
    let n_pairs = weights.len() / 32;
    let from = weights.as_ptr();
    let to = weights.as_mut_ptr();
    for pair in 0..n_pairs {
        // SAFETY: two vectors begin at `32 * pair`, and what is written, at half of that, ends before
        // what is still to be read.
        unsafe {
            let words = _mm512_loadu_si512(words.as_ptr().cast());
            let first = _mm512_loadu_ps(from.add(32 * pair));
            let second = _mm512_loadu_ps(from.add(32 * pair + 16));
            let both = _mm512_permutexvar_epi16(words, to_bf16(first, second));
            _mm512_storeu_si512(to.add(16 * pair).cast(), both);
        }
    }
}

/// Hides the scores, `(keys, 16)`, of positions of `tile` that a row does not see, and of keys behind it.
fn hide(block: &Block<'_, f16>, rows: Range<usize>, tile: &Range<usize>, scores: &mut [f32]) {
    scores[tile.len() * TILE_ROWS..].fill(f32::NEG_INFINITY);
    let (first, last) = (block.visible(rows.start), block.visible(rows.end - 1));
    if last.start <= tile.start && tile.end <= first.end {
        return;
    }
    for (lane, row) in rows.enumerate() {
        let visible = block.visible(row);
        for position in tile.clone().filter(|position| !visible.contains(position)) {
            scores[(position - tile.start) * TILE_ROWS + lane] = f32::NEG_INFINITY;
        }
    }
}

/// Transposes sums, `(groups, padded_dim, 16)`, to rows of `row_len` numbers.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
fn store(sums: &[f32], padded_dim: usize, n_rows: usize, to: &mut [f32], row_len: usize) {
    let rows = to.chunks_mut(TILE_ROWS * row_len).take(n_rows.div_ceil(TILE_ROWS));
    for (sums, to) in sums.chunks_exact(padded_dim * TILE_ROWS).zip(rows) {
        for (at, sums) in sums.chunks_exact(TILE_SUMS).take(row_len / 16).enumerate() {
            let transposed = transpose_16x16(vectors![16; |row| {
                // SAFETY: there are 16 vectors.
                unsafe { _mm512_loadu_si512(sums[16 * row..].as_ptr().cast()) }
            }]);
            for (sums, to) in transposed.into_iter().zip(to.chunks_exact_mut(row_len)) {
                // SAFETY: a row has 16 numbers from there on.
                unsafe { _mm512_storeu_si512(to[16 * at..][..16].as_mut_ptr().cast(), sums) };
            }
        }
    }
}
