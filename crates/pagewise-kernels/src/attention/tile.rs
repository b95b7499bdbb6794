//! The inner loops of attention: query rows of one task against a stretch of one head's cache.
//!
//! Two forms give the same numbers up to rounding. For many rows, a tile of keys and values is
//! widened to `f32` once; the lanes of a vector are rows of queries, so that a tile of scores is
//! a plain matrix product and its softmax goes down the lanes. For few rows, which could not fill
//! the lanes, the lanes are elements of a head, and keys and values are widened in registers.

use super::{Block, CHUNK, FEW_ROWS, Partial};
use crate::Isa;
use crate::elementwise::softcap_body;
use crate::lines::Lines;
use crate::simd::{PADDING, Portable, Simd};
use half::f16;
use std::ops::Range;

/// Cache positions in a tile for many rows: its keys and values stay in the second-level cache
/// beside the queries. A multiple of every [`Simd::MANY_KEYS`].
const TILE: usize = 96;
/// Rows of weights that meet values at once.
const MIX_ROWS: usize = 4;

/// Attends from all rows of a block over some positions.
#[cfg(target_arch = "x86_64")]
pub(super) type Attend<T> = fn(&Block<'_, T>, Range<usize>, &mut Lines, Partial<'_>);

/// What a KV cache is made of.
pub(super) trait Element: Copy + Sync + Sized {
    fn widened(self) -> f32;

    /// The form for tile registers, which rounds more than some elements are made for.
    #[cfg(target_arch = "x86_64")]
    const IN_TILES: Option<Attend<Self>>;

    /// # Safety
    ///
    /// To be inlined into a function with the target features of `S`; a vector can be read at `from`.
    unsafe fn load<S: Simd>(from: *const Self) -> S;
}

impl Element for f32 {
    #[cfg(target_arch = "x86_64")]
    const IN_TILES: Option<Attend<Self>> = None;

    #[inline(always)]
    fn widened(self) -> f32 {
        self
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const Self) -> S {
        // SAFETY: the caller's pointer is good for a vector.
        unsafe { S::load(from) }
    }
}

impl Element for f16 {
    #[cfg(target_arch = "x86_64")]
    const IN_TILES: Option<Attend<Self>> = Some(super::amx::attend);

    #[inline(always)]
    fn widened(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const Self) -> S {
        // SAFETY: the caller's pointer is good for a vector.
        unsafe { S::load_halves(from) }
    }
}

/// Attends from all rows of `block` over `positions` into `partial`.
pub(super) fn attend<T: Element>(
    isa: Isa,
    block: &Block<'_, T>,
    positions: Range<usize>,
    scratch: &mut Lines,
    partial: Partial<'_>,
) {
    #[cfg(target_arch = "x86_64")]
    {
        use crate::isa::Family;
        use std::arch::x86_64::{__m256, __m512};

        #[target_feature(enable = "avx2,fma,f16c")]
        fn avx2<T: Element>(
            block: &Block<'_, T>,
            positions: Range<usize>,
            scratch: &mut Lines,
            to: Partial<'_>,
        ) {
            // SAFETY: this function has the features of `__m256`.
            unsafe { attend_with::<__m256, T>(block, positions, scratch, to) }
        }
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
        fn avx512<T: Element>(
            block: &Block<'_, T>,
            positions: Range<usize>,
            scratch: &mut Lines,
            to: Partial<'_>,
        ) {
            // SAFETY: this function has the features of `__m512`.
            unsafe { attend_with::<__m512, T>(block, positions, scratch, to) }
        }
        if let (true, Some(attend)) = (super::in_tiles::<T>(isa, block.rows()), T::IN_TILES) {
            return attend(block, positions, scratch, partial);
        }
        match isa.family() {
            // SAFETY: an `Isa` is only made for a machine that has its features.
            Family::Avx512Vnni | Family::AmxInt8 | Family::Amx => {
                return unsafe { avx512(block, positions, scratch, partial) };
            }
            // SAFETY: as above.
            Family::Avx2 | Family::AvxVnni => {
                return unsafe { avx2(block, positions, scratch, partial) };
            }
            _ => {}
        }
    }
    #[cfg(target_arch = "aarch64")]
    if isa != Isa::PORTABLE {
        use std::arch::aarch64::float32x4_t;
        // SAFETY: every such processor has the features.
        return unsafe { attend_with::<float32x4_t, T>(block, positions, scratch, partial) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = isa;
    // SAFETY: plain Rust needs no features.
    unsafe { attend_with::<Portable, T>(block, positions, scratch, partial) }
}

/// # Safety
///
/// To be inlined into a function with the target features of `S`.
#[inline(always)]
unsafe fn attend_with<S: Simd, T: Element>(
    block: &Block<'_, T>,
    positions: Range<usize>,
    scratch: &mut Lines,
    partial: Partial<'_>,
) {
    let (rows, head_dim) = (block.rows(), block.attention.head_dim);
    let (padded_rows, padded_dim) =
        (rows.next_multiple_of(PADDING), head_dim.next_multiple_of(PADDING));
    // What the loops below take for granted when they leave out the bounds of slices.
    assert!(positions.end * head_dim <= block.keys.len() && block.keys.len() == block.values.len());
    assert!(partial.sums.len() >= padded_rows * padded_dim);
    assert!(partial.maxima.len() >= padded_rows && partial.totals.len() >= padded_rows);
    // SAFETY: asserted above.
    unsafe {
        let is_few = rows <= FEW_ROWS && positions.len() <= CHUNK;
        if is_few && S::WIDENS && head_dim.is_multiple_of(PADDING) {
            few::<S, T>(block, positions, scratch, partial);
        } else {
            many::<S, T>(block, positions, scratch, partial);
        }
    }
}

/// Hides the scores of positions that a row does not see; those of `row` begin at
/// `row * row_step` and follow each other at `step`.
#[inline(always)]
fn hide<T>(
    block: &Block<'_, T>,
    tile: Range<usize>,
    scores: &mut [f32],
    (row_step, step): (usize, usize),
) {
    let (first, last) = (block.visible(0), block.visible(block.rows() - 1));
    if last.start <= tile.start && tile.end <= first.end {
        return;
    }
    for row in 0..block.rows() {
        let visible = block.visible(row);
        for position in tile.clone().filter(|position| !visible.contains(position)) {
            scores[row * row_step + (position - tile.start) * step] = f32::NEG_INFINITY;
        }
    }
}

/// Returns 2 to the power of `x`, which is at most 0, within two units in the last place, and
/// zero below -126.5. What is no number stays so.
#[inline(always)]
unsafe fn exp2<S: Simd>(x: S) -> S {
    // SAFETY: the caller has the features of `S`.
    unsafe {
        let x = S::splat(-127.0).max(x);
        // Adding 1.5 * 2^23 rounds to an integer.
        let magic = S::splat(12_582_912.0);
        let shifted = x.add(magic);
        let rest = x.sub(shifted.sub(magic));
        // The polynomial of Cephes' exp2f for -0.5..=0.5, whose own error is below 4e-8.
        let mut power = S::splat(1.535_336_2e-4);
        for coefficient in
            [1.339_887_4e-3, 9.618_437e-3, 5.550_332_4e-2, 2.402_264_8e-1, 6.931_472e-1, 1.0]
        {
            power = power.mul_add(rest, S::splat(coefficient));
        }
        power.mul(shifted.power_of_two())
    }
}

/// # Safety
///
/// As for [`attend_with`], whose assertions hold.
#[inline(always)]
unsafe fn many<S: Simd, T: Element>(
    block: &Block<'_, T>,
    positions: Range<usize>,
    scratch: &mut Lines,
    partial: Partial<'_>,
) {
    let (rows, dim) = (block.rows(), block.attention.head_dim);
    let (rows_padded, dim_padded) = (rows.next_multiple_of(PADDING), dim.next_multiple_of(PADDING));
    let [queries, keys, values, scores, shrink] = scratch.parts([
        dim * rows_padded,
        TILE * dim_padded,
        TILE * dim_padded,
        TILE * rows_padded,
        rows_padded,
    ]);
    let Partial { sums, maxima, totals } = partial;
    sums[..rows_padded * dim_padded].fill(0.0);
    maxima[..rows_padded].fill(f32::MIN);
    totals[..rows_padded].fill(0.0);
    // `(dim, rows)`: rows are lanes.
    queries.fill(0.0);
    for row in 0..rows {
        let from = &block.q[block.query_at(row)..][..dim];
        for (to, q) in queries.chunks_exact_mut(rows_padded).zip(from) {
            to[row] = q * block.scale;
        }
    }

    let mut start = positions.start;
    while start < positions.end {
        let len = (positions.end - start).min(TILE);
        // SAFETY: the tile lies in the cache (asserted by the caller); the buffers have the
        // shapes that the loops go over: `TILE` rows of `dim_padded` in `keys` and `values`, and
        // `rows_padded` columns in `queries` and `scores`, both multiples of `S::LANES`.
        unsafe {
            widen::<S, T>(&block.keys[start * dim..][..len * dim], dim, keys);
            widen::<S, T>(&block.values[start * dim..][..len * dim], dim, values);
            let mut row = 0;
            while row < rows_padded {
                let tile = ScoreTile {
                    queries: queries.as_ptr().add(row),
                    keys: keys.as_ptr(),
                    scores: scores.as_mut_ptr().add(row),
                    row_step: rows_padded,
                    key_step: dim_padded,
                    dim,
                    n_keys: len,
                };
                let vectors = (rows_padded - row) / S::LANES;
                row += S::LANES
                    * match vectors.min(S::MANY_QUERIES) {
                        1 => tile.score_all::<S, 1>(),
                        2 => tile.score_all::<S, 2>(),
                        _ => tile.score_all::<S, 3>(),
                    };
            }
            if let Some(cap) = block.softcap {
                softcap_body(&mut scores[..len * rows_padded], cap);
            }
            hide(block, start..start + len, scores, (1, rows_padded));
            for row in (0..rows_padded).step_by(S::LANES) {
                soften::<S>(
                    scores.as_mut_ptr().add(row),
                    rows_padded,
                    len,
                    [
                        maxima.as_mut_ptr().add(row),
                        totals.as_mut_ptr().add(row),
                        shrink.as_mut_ptr().add(row),
                    ],
                );
            }
            for row in (0..rows_padded).step_by(MIX_ROWS) {
                let mix = Mix {
                    weights: scores.as_ptr().add(row),
                    weight_steps: (1, rows_padded),
                    values: values.as_ptr(),
                    sums: sums.as_mut_ptr().add(row * dim_padded),
                    dim: dim_padded,
                    n_values: len,
                };
                mix.add_all::<S, MIX_ROWS>(Some(shrink.as_ptr().add(row)));
            }
        }
        start += len;
    }
}

/// Widens rows of `dim` elements to rows of `dim` padded with zeros.
#[inline(always)]
unsafe fn widen<S: Simd, T: Element>(from: &[T], dim: usize, to: &mut [f32]) {
    let to = to.chunks_exact_mut(dim.next_multiple_of(PADDING));
    for (from, to) in from.chunks_exact(dim).zip(to) {
        let whole = dim - dim % S::LANES;
        for at in (0..whole).step_by(S::LANES) {
            // SAFETY: `at + S::LANES` is within both rows.
            unsafe { T::load::<S>(from.as_ptr().add(at)).store(to.as_mut_ptr().add(at)) };
        }
        for at in whole..to.len() {
            to[at] = from.get(at).map_or(0.0, |element| element.widened());
        }
    }
}

/// Brings the scores of `S::LANES` rows, `(n_keys, row_step)`, to weights relative to the running
/// maxima, and keeps up these, the totals of weights, and by what earlier sums shrink.
#[inline(always)]
pub(super) unsafe fn soften<S: Simd>(
    scores: *mut f32,
    row_step: usize,
    n_keys: usize,
    [maxima, totals, shrink]: [*mut f32; 3],
) {
    // SAFETY: the caller's pointers are good for a vector, `scores` at every multiple of
    // `row_step` below `n_keys`.
    unsafe {
        let old = S::load(maxima);
        // Two running maxima, for the next one need not wait for the last.
        let mut highest = [old; 2];
        let mut at = scores;
        for key in 0..n_keys {
            highest[key % 2] = highest[key % 2].max(S::load(at));
            at = at.wrapping_add(row_step);
        }
        let highest = highest[0].max(highest[1]);
        let mut total = S::splat(0.0);
        let mut at = scores;
        for _ in 0..n_keys {
            let weight = exp2::<S>(S::load(at).sub(highest));
            weight.store(at);
            total = total.add(weight);
            at = at.wrapping_add(row_step);
        }
        let factor = exp2::<S>(old.sub(highest));
        S::load(totals).mul_add(factor, total).store(totals);
        highest.store(maxima);
        factor.store(shrink);
    }
}

/// Some vectors of query rows against all keys of a tile.
struct ScoreTile {
    /// `(dim, row_step)`.
    queries: *const f32,
    /// `(n_keys, key_step)`.
    keys: *const f32,
    /// `(n_keys, row_step)`.
    scores: *mut f32,
    row_step: usize,
    key_step: usize,
    dim: usize,
    n_keys: usize,
}

impl ScoreTile {
    /// Scores `Q` vectors of rows; returns `Q`.
    #[inline(always)]
    unsafe fn score_all<S: Simd, const Q: usize>(&self) -> usize {
        // SAFETY: the caller's buffers have the shapes stated at the fields, and are padded to
        // `TILE` keys.
        unsafe {
            for key in (0..self.n_keys).step_by(S::MANY_KEYS) {
                match S::MANY_KEYS {
                    8 => self.score::<S, Q, 8>(key),
                    6 => self.score::<S, Q, 6>(key),
                    _ => self.score::<S, Q, 4>(key),
                }
            }
        }
        Q
    }

    #[inline(always)]
    unsafe fn score<S: Simd, const Q: usize, const K: usize>(&self, first_key: usize) {
        // SAFETY: as above.
        unsafe {
            let keys: [*const f32; K] =
                std::array::from_fn(|k| self.keys.add((first_key + k) * self.key_step));
            let mut sums = [[S::splat(0.0); Q]; K];
            let mut queries = self.queries;
            for d in 0..self.dim {
                let q: [S; Q] = std::array::from_fn(|i| S::load(queries.add(i * S::LANES)));
                queries = queries.wrapping_add(self.row_step);
                for k in 0..K {
                    let key = S::splat(*keys[k].add(d));
                    for i in 0..Q {
                        sums[k][i] = q[i].mul_add(key, sums[k][i]);
                    }
                }
            }
            for k in 0..K {
                let scores = self.scores.add((first_key + k) * self.row_step);
                for i in 0..Q {
                    sums[k][i].store(scores.add(i * S::LANES));
                }
            }
        }
    }
}

/// Weighted sums of values, for some rows of weights.
struct Mix<T> {
    weights: *const f32,
    /// From one row of weights to the next, and from one position to the next.
    weight_steps: (usize, usize),
    /// `(n_values, dim)`.
    values: *const T,
    /// `(rows, dim)`.
    sums: *mut f32,
    /// A multiple of `S::LANES`.
    dim: usize,
    n_values: usize,
}

impl<T: Element> Mix<T> {
    /// Adds to the sums of `R` rows, after they were multiplied with `shrink`, `(R,)`, or from
    /// zero on.
    #[inline(always)]
    unsafe fn add_all<S: Simd, const R: usize>(&self, shrink: Option<*const f32>) {
        // SAFETY: the caller's buffers have the shapes stated at the fields.
        unsafe {
            let mut at = 0;
            while at < self.dim {
                at += S::LANES
                    * match ((self.dim - at) / S::LANES).min(S::VALUES) {
                        4 => self.add::<S, R, 4>(at, shrink),
                        2 | 3 => self.add::<S, R, 2>(at, shrink),
                        _ => self.add::<S, R, 1>(at, shrink),
                    };
            }
        }
    }

    #[inline(always)]
    unsafe fn add<S: Simd, const R: usize, const V: usize>(
        &self,
        at: usize,
        shrink: Option<*const f32>,
    ) -> usize {
        // SAFETY: as above.
        unsafe {
            let mut sums = [[S::splat(0.0); V]; R];
            if let Some(shrink) = shrink {
                for row in 0..R {
                    let from = self.sums.add(row * self.dim + at);
                    for i in 0..V {
                        sums[row][i] =
                            S::load(from.add(i * S::LANES)).mul(S::splat(*shrink.add(row)));
                    }
                }
            }
            let weights: [*const f32; R] =
                std::array::from_fn(|row| self.weights.add(row * self.weight_steps.0));
            let mut values = self.values.add(at);
            let mut position = 0;
            for _ in 0..self.n_values {
                let value: [S; V] = std::array::from_fn(|i| T::load(values.add(i * S::LANES)));
                for row in 0..R {
                    let weight = S::splat(*weights[row].wrapping_add(position));
                    for i in 0..V {
                        sums[row][i] = value[i].mul_add(weight, sums[row][i]);
                    }
                }
                position = position.wrapping_add(self.weight_steps.1);
                values = values.wrapping_add(self.dim);
            }
            for row in 0..R {
                let to = self.sums.add(row * self.dim + at);
                for i in 0..V {
                    sums[row][i].store(to.add(i * S::LANES));
                }
            }
        }
        V
    }
}

/// # Safety
///
/// As for [`attend_with`], whose assertions hold; `head_dim` is a multiple of [`PADDING`], and
/// there are at most [`FEW_ROWS`] rows and [`CHUNK`] positions.
#[inline(always)]
unsafe fn few<S: Simd, T: Element>(
    block: &Block<'_, T>,
    positions: Range<usize>,
    scratch: &mut Lines,
    partial: Partial<'_>,
) {
    let (rows, dim, len) = (block.rows(), block.attention.head_dim, positions.len());
    let [queries, scores] = scratch.parts([rows * dim, FEW_ROWS * CHUNK]);
    for (row, to) in queries.chunks_exact_mut(dim).take(rows).enumerate() {
        for (to, q) in to.iter_mut().zip(&block.q[block.query_at(row)..]) {
            *to = q * block.scale;
        }
    }
    let keys = &block.keys[positions.start * dim..positions.end * dim];
    let values = &block.values[positions.start * dim..positions.end * dim];
    // SAFETY: `queries` is `(rows, dim)`, `scores` `(FEW_ROWS, CHUNK)`, keys and values are
    // `(len, dim)`, sums `(rows, dim)`, and `dim` is a multiple of the lanes.
    unsafe {
        let step = rows.div_ceil(rows.div_ceil(S::FEW_QUERIES));
        for row in (0..rows).step_by(step) {
            let (queries, scores) =
                (queries.as_ptr().add(row * dim), scores.as_mut_ptr().add(row * CHUNK));
            match step.min(rows - row) {
                1 => dots::<S, T, 1>(queries, keys, dim, scores),
                2 => dots::<S, T, 2>(queries, keys, dim, scores),
                3 => dots::<S, T, 3>(queries, keys, dim, scores),
                4 => dots::<S, T, 4>(queries, keys, dim, scores),
                5 => dots::<S, T, 5>(queries, keys, dim, scores),
                _ => dots::<S, T, 6>(queries, keys, dim, scores),
            }
        }
        if let Some(cap) = block.softcap {
            for scores in scores.chunks_exact_mut(CHUNK).take(rows) {
                softcap_body(&mut scores[..len], cap);
            }
        }
        hide(block, positions, scores, (CHUNK, 1));
        for (row, scores) in scores.chunks_exact_mut(CHUNK).take(rows).enumerate() {
            scores[len..len.next_multiple_of(S::LANES)].fill(f32::NEG_INFINITY);
            (partial.maxima[row], partial.totals[row]) = soften_row::<S>(scores, len);
        }
        let step = rows.div_ceil(rows.div_ceil(MIX_ROWS));
        for row in (0..rows).step_by(step) {
            let mix = Mix {
                weights: scores.as_ptr().add(row * CHUNK),
                weight_steps: (CHUNK, 1),
                values: values.as_ptr(),
                sums: partial.sums.as_mut_ptr().add(row * dim),
                dim,
                n_values: len,
            };
            match step.min(rows - row) {
                1 => mix.add_all::<S, 1>(None),
                2 => mix.add_all::<S, 2>(None),
                3 => mix.add_all::<S, 3>(None),
                _ => mix.add_all::<S, 4>(None),
            }
        }
    }
}

/// Scores `Q` rows of queries, `(Q, dim)`, against all keys, `(n, dim)`, four at a time; writes up
/// to a multiple of four scores, `(Q, CHUNK)`.
#[inline(always)]
unsafe fn dots<S: Simd, T: Element, const Q: usize>(
    queries: *const f32,
    keys: &[T],
    dim: usize,
    scores: *mut f32,
) {
    let n_keys = keys.len() / dim;
    for key in (0..n_keys).step_by(4) {
        // SAFETY: the last key stands for those that the last four lack; `queries` and `scores`
        // have the shapes above.
        unsafe {
            let at: [*const T; 4] =
                std::array::from_fn(|k| keys.as_ptr().add((key + k).min(n_keys - 1) * dim));
            let mut sums = [[S::splat(0.0); 4]; Q];
            for d in (0..dim).step_by(S::LANES) {
                let keys: [S; 4] = std::array::from_fn(|k| T::load(at[k].add(d)));
                for i in 0..Q {
                    let q = S::load(queries.wrapping_add(i.wrapping_mul(dim)).wrapping_add(d));
                    for k in 0..4 {
                        sums[i][k] = keys[k].mul_add(q, sums[i][k]);
                    }
                }
            }
            for (i, sums) in sums.into_iter().enumerate() {
                S::store_sums(sums, scores.add(i * CHUNK + key));
            }
        }
    }
}

/// Brings the scores of one row to weights; returns their maximum and the total of the weights.
/// Behind the `len` scores stand negative infinities up to a multiple of the lanes.
#[inline(always)]
unsafe fn soften_row<S: Simd>(scores: &mut [f32], len: usize) -> (f32, f32) {
    let scores = &mut scores[..len.next_multiple_of(S::LANES)];
    // SAFETY: the chunks have `S::LANES` elements; no vector has more than `PADDING` lanes.
    unsafe {
        let mut highest = S::splat(f32::MIN);
        for scores in scores.chunks_exact(S::LANES) {
            highest = highest.max(S::load(scores.as_ptr()));
        }
        let mut lanes = [f32::MIN; PADDING];
        highest.store(lanes.as_mut_ptr());
        let highest = lanes.into_iter().fold(f32::MIN, |a, b| if a > b { a } else { b });
        let mut total = S::splat(0.0);
        for scores in scores.chunks_exact_mut(S::LANES) {
            let weight = exp2::<S>(S::load(scores.as_ptr()).sub(S::splat(highest)));
            weight.store(scores.as_mut_ptr());
            total = total.add(weight);
        }
        let mut lanes = [0f32; PADDING];
        total.store(lanes.as_mut_ptr());
        (highest, lanes.into_iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// # Safety
    ///
    /// As for [`exp2`].
    #[inline(always)]
    unsafe fn powers<S: Simd>(x: &mut [f32; PADDING]) {
        for lanes in x.chunks_exact_mut(S::LANES) {
            // SAFETY: the caller has the features of `S`; every chunk is a vector.
            unsafe { exp2(S::load(lanes.as_ptr())).store(lanes.as_mut_ptr()) };
        }
    }

    fn powers_on(isa: Isa, x: &mut [f32; PADDING]) {
        #[cfg(target_arch = "x86_64")]
        {
            use crate::isa::Family;
            use std::arch::x86_64::{__m256, __m512};

            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2(x: &mut [f32; PADDING]) {
                // SAFETY: this function has the features of `__m256`.
                unsafe { powers::<__m256>(x) }
            }
            #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")]
            fn avx512(x: &mut [f32; PADDING]) {
                // SAFETY: this function has the features of `__m512`.
                unsafe { powers::<__m512>(x) }
            }
            match isa.family() {
                // SAFETY: an `Isa` is only made for a machine that has its features.
                Family::Avx512Vnni | Family::AmxInt8 | Family::Amx => return unsafe { avx512(x) },
                // SAFETY: as above.
                Family::Avx2 | Family::AvxVnni => return unsafe { avx2(x) },
                _ => {}
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = isa;
        // SAFETY: plain Rust needs no features.
        unsafe { powers::<Portable>(x) }
    }

    #[test]
    fn powers_of_two_are_close_everywhere() {
        for isa in Isa::available() {
            let mut worst = 0f64;
            for first in (0..126_000).step_by(PADDING) {
                let x: [f32; PADDING] = std::array::from_fn(|i| (first + i) as f32 / -1000.0);
                let mut actual = x;
                powers_on(isa, &mut actual);
                for (actual, x) in actual.into_iter().zip(x) {
                    worst = worst.max((f64::from(actual) / f64::from(x).exp2() - 1.0).abs());
                }
            }
            assert!(worst < 1.2e-7, "{isa:?}: {worst}");
            let mut edges = [0.0; PADDING];
            edges[..5].copy_from_slice(&[-0.0, -126.6, f32::MIN, f32::NEG_INFINITY, f32::NAN]);
            powers_on(isa, &mut edges);
            assert_eq!(edges[..4], [1.0, 0.0, 0.0, 0.0], "{isa:?}");
            assert!(edges[4].is_nan(), "{isa:?}");
        }
    }
}
