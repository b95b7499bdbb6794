//! Floating point weights against floating point activations.

use crate::isa::multiversion;
use crate::matrix::Matrix;
use crate::product::Output;
use crate::simd::{PADDING, Portable, Simd};
use crate::unpack::f16_to_f32;
use crate::{BlockType, Isa};
use std::cell::RefCell;
use std::ops::Range;

/// Rows widened to `f32` together.
const ROWS: usize = 4;

/// Numbers of activations that stay in the second-level cache while all rows of a task meet them.
const BLOCK_NUMBERS: usize = 1 << 17;

/// Partial sums of one dot product: their number fixes the result on every machine.
const LANES: usize = 32;

thread_local! {
    static SCRATCH: RefCell<[Vec<f32>; ROWS]> = RefCell::default();
}

/// What a task multiplies.
struct Product<'a> {
    matrix: &'a Matrix<'a>,
    rows: Range<usize>,
    /// `(m, n_cols)`.
    activations: &'a [f32],
    m: usize,
    out: &'a Output,
}

/// Computes the outputs of `rows` for all activations, `(m, n_cols)`.
pub(crate) fn multiply(
    isa: Isa,
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    activations: &[f32],
    m: usize,
    out: &Output,
) {
    let n_cols = matrix.n_cols();
    SCRATCH.with_borrow_mut(|scratch| {
        for row in scratch.iter_mut() {
            row.resize(n_cols, 0.0);
        }
        if m > 1 && n_cols.is_multiple_of(PADDING) {
            tiles(isa, scratch, &Product { matrix, rows, activations, m, out });
            return;
        }
        for first in rows.clone().step_by(ROWS) {
            for (to, row) in scratch.iter_mut().zip(first..rows.end) {
                widen(isa, matrix.block_type(), matrix.row(row), to);
            }
            for column in 0..m {
                let activation = &activations[column * n_cols..][..n_cols];
                for (row, weights) in (first..rows.end).zip(scratch.iter()) {
                    out.set(column, row, dot(isa, weights, activation));
                }
            }
        }
    });
}

/// Multiplies several activations at once, of which rows are whole vectors.
fn tiles(isa: Isa, scratch: &mut [Vec<f32>; ROWS], product: &Product<'_>) {
    #[cfg(target_arch = "x86_64")]
    {
        use crate::isa::Family;
        use std::arch::x86_64::{__m256, __m512};

        #[target_feature(enable = "avx2,fma,f16c")]
        fn avx2(isa: Isa, scratch: &mut [Vec<f32>; ROWS], product: &Product<'_>) {
            // SAFETY: this function has the features of `__m256`.
            unsafe { tiles_with::<__m256>(isa, scratch, product) }
        }
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
        fn avx512(isa: Isa, scratch: &mut [Vec<f32>; ROWS], product: &Product<'_>) {
            // SAFETY: this function has the features of `__m512`.
            unsafe { tiles_with::<__m512>(isa, scratch, product) }
        }
        match isa.family() {
            // SAFETY: an `Isa` is only made for a machine that has its features.
            Family::Avx512Vnni | Family::Amx => return unsafe { avx512(isa, scratch, product) },
            // SAFETY: as above.
            Family::Avx2 => return unsafe { avx2(isa, scratch, product) },
            Family::Portable => {}
        }
    }
    // SAFETY: plain Rust needs no features.
    unsafe { tiles_with::<Portable>(isa, scratch, product) }
}

/// # Safety
///
/// To be inlined into a function with the target features of `S`.
#[inline(always)]
unsafe fn tiles_with<S: Simd>(isa: Isa, scratch: &mut [Vec<f32>; ROWS], product: &Product<'_>) {
    let Product { matrix, rows, activations, m, out } = product;
    let n_cols = matrix.n_cols();
    // What the loops below take for granted when they leave out the bounds of slices.
    assert!(activations.len() == m * n_cols && n_cols.is_multiple_of(S::LANES));
    assert!(scratch.iter().all(|row| row.len() == n_cols));
    let block = (BLOCK_NUMBERS / n_cols).max(S::FEW_QUERIES).next_multiple_of(S::FEW_QUERIES);
    for block in (0..*m).step_by(block).map(|first| first..*m.min(&(first + block))) {
        for first in rows.clone().step_by(ROWS) {
            let batch = first..rows.end.min(first + ROWS);
            for (to, row) in scratch.iter_mut().zip(batch.clone()) {
                widen(isa, matrix.block_type(), matrix.row(row), to);
            }
            // The last row stands for those that the last batch lacks.
            let weights: [*const f32; ROWS] =
                std::array::from_fn(|row| scratch[row.min(batch.len() - 1)].as_ptr());
            for column in block.clone().step_by(S::FEW_QUERIES) {
                let n = S::FEW_QUERIES.min(block.end - column);
                let mut sums = [[0f32; ROWS]; 6];
                // SAFETY: the activations have `n` rows from `column` on; all rows have `n_cols`
                // numbers, whole vectors.
                unsafe {
                    let at = activations.as_ptr().add(column * n_cols);
                    match n {
                        1 => dots::<S, 1>(at, weights, n_cols, &mut sums),
                        2 => dots::<S, 2>(at, weights, n_cols, &mut sums),
                        3 => dots::<S, 3>(at, weights, n_cols, &mut sums),
                        4 => dots::<S, 4>(at, weights, n_cols, &mut sums),
                        5 => dots::<S, 5>(at, weights, n_cols, &mut sums),
                        _ => dots::<S, 6>(at, weights, n_cols, &mut sums),
                    }
                }
                for (column, sums) in (column..column + n).zip(&sums) {
                    for (row, sum) in batch.clone().zip(sums) {
                        out.set(column, row, *sum);
                    }
                }
            }
        }
    }
}

/// Multiplies `N` rows of activations, `(N, n_cols)`, with rows of weights.
///
/// # Safety
///
/// To be inlined into a function with the target features of `S`; every row has `n_cols` numbers, a
/// multiple of the lanes.
#[inline(always)]
unsafe fn dots<S: Simd, const N: usize>(
    activations: *const f32,
    weights: [*const f32; ROWS],
    n_cols: usize,
    to: &mut [[f32; ROWS]; 6],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[S::splat(0.0); ROWS]; N];
        for at in (0..n_cols).step_by(S::LANES) {
            let weights: [S; ROWS] = std::array::from_fn(|row| S::load(weights[row].add(at)));
            for i in 0..N {
                let at = i.wrapping_mul(n_cols).wrapping_add(at);
                let activation = S::load(activations.wrapping_add(at));
                for row in 0..ROWS {
                    sums[i][row] = weights[row].mul_add(activation, sums[i][row]);
                }
            }
        }
        for (sums, to) in sums.into_iter().zip(to) {
            S::store_sums(sums, to.as_mut_ptr());
        }
    }
}

multiversion! {
    /// Writes floating point weights as `f32`.
    pub(crate) fn widen(block_type: BlockType, bytes: &[u8], out: &mut [f32]) = widen_body
}

#[inline(always)]
fn widen_body(block_type: BlockType, bytes: &[u8], out: &mut [f32]) {
    match block_type {
        BlockType::F32 => {
            for (bytes, out) in bytes.as_chunks::<4>().0.iter().zip(out) {
                *out = f32::from_le_bytes(*bytes);
            }
        }
        BlockType::BF16 => {
            for (bytes, out) in bytes.as_chunks::<2>().0.iter().zip(out) {
                *out = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
            }
        }
        _ => {
            for (bytes, out) in bytes.as_chunks::<2>().0.iter().zip(out) {
                *out = f16_to_f32(u16::from_le_bytes(*bytes));
            }
        }
    }
}

multiversion! {
    /// Returns the dot product of two slices of one length.
    pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 = dot_body
}

#[inline(always)]
fn dot_body(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += a * b;
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}
