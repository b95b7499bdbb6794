//! Floating point weights against floating point activations.

use crate::isa::multiversion;
use crate::matrix::Matrix;
use crate::product::Output;
use crate::simd::{Portable, Simd};
use crate::unpack::f16_to_f32;
use crate::{BlockType, Isa};
use std::ops::Range;

/// Rows of weights that meet activations together.
const ROWS: usize = 4;

/// Numbers of activations that stay in the second-level cache while all rows of a task meet them.
const BLOCK_NUMBERS: usize = 1 << 17;

/// Partial sums of one dot product: their number fixes the result on every machine.
const LANES: usize = 32;

/// What a task multiplies.
struct Product<'a> {
    matrix: &'a Matrix<'a>,
    rows: Range<usize>,
    /// `(m, n_cols)`.
    activations: &'a [f32],
    m: usize,
    out: &'a Output,
}

/// A floating point type, little endian and not aligned.
trait Float {
    const BYTES: usize;

    /// Returns the number at the beginning of `bytes`.
    fn read(bytes: &[u8]) -> f32;

    /// # Safety
    ///
    /// To be inlined into a function with the target features of `S`; a vector can be read at `from`.
    unsafe fn load<S: Simd>(from: *const u8) -> S;
}

macro_rules! float {
    ($name:ident, $bytes:expr, $load:ident, |$array:ident| $read:expr) => {
        struct $name;

        impl Float for $name {
            const BYTES: usize = $bytes;

            #[inline(always)]
            fn read(bytes: &[u8]) -> f32 {
                let mut $array = [0u8; $bytes];
                $array.copy_from_slice(&bytes[..$bytes]);
                $read
            }

            #[inline(always)]
            unsafe fn load<S: Simd>(from: *const u8) -> S {
                // SAFETY: the caller's pointer is good for a vector.
                unsafe { S::$load(from.cast()) }
            }
        }
    };
}

float!(Single, 4, load, |bytes| f32::from_le_bytes(bytes));
float!(Half, 2, load_halves, |bytes| f16_to_f32(u16::from_le_bytes(bytes)));
float!(Brain, 2, load_bf16, |bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16));

/// Computes the outputs of `rows` for all activations, `(m, n_cols)`.
pub(crate) fn multiply(
    isa: Isa,
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    activations: &[f32],
    m: usize,
    out: &Output,
) {
    let product = Product { matrix, rows, activations, m, out };
    match matrix.block_type() {
        BlockType::F32 => multiply_as::<Single>(isa, &product),
        BlockType::BF16 => multiply_as::<Brain>(isa, &product),
        _ => multiply_as::<Half>(isa, &product),
    }
}

fn multiply_as<T: Float>(isa: Isa, product: &Product<'_>) {
    #[cfg(target_arch = "x86_64")]
    {
        use crate::isa::Family;
        use std::arch::x86_64::{__m256, __m512};

        #[target_feature(enable = "avx2,fma,f16c")]
        fn avx2<T: Float>(product: &Product<'_>) {
            // SAFETY: this function has the features of `__m256`.
            unsafe { multiply_with::<__m256, T>(product) }
        }
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
        fn avx512<T: Float>(product: &Product<'_>) {
            // SAFETY: this function has the features of `__m512`.
            unsafe { multiply_with::<__m512, T>(product) }
        }
        match isa.family() {
            // SAFETY: an `Isa` is only made for a machine that has its features.
            Family::Avx512Vnni | Family::AmxInt8 | Family::Amx => {
                return unsafe { avx512::<T>(product) };
            }
            // SAFETY: as above.
            Family::Avx2 | Family::AvxVnni => return unsafe { avx2::<T>(product) },
            _ => {}
        }
    }
    #[cfg(target_arch = "aarch64")]
    if isa != Isa::PORTABLE {
        use std::arch::aarch64::float32x4_t;
        // SAFETY: every such processor has the features.
        return unsafe { multiply_with::<float32x4_t, T>(product) };
    }
    let _ = isa;
    // SAFETY: plain Rust needs no features.
    unsafe { multiply_with::<Portable, T>(product) }
}

/// # Safety
///
/// To be inlined into a function with the target features of `S`.
#[inline(always)]
unsafe fn multiply_with<S: Simd, T: Float>(product: &Product<'_>) {
    let Product { matrix, rows, activations, m, out } = product;
    let n_cols = matrix.n_cols();
    // What the loops below take for granted when they leave out the bounds of slices.
    assert!(activations.len() == m * n_cols);
    let block = (BLOCK_NUMBERS / n_cols).max(S::FEW_QUERIES).next_multiple_of(S::FEW_QUERIES);
    for block in (0..*m).step_by(block).map(|first| first..*m.min(&(first + block))) {
        for first in rows.clone().step_by(ROWS) {
            let batch = first..rows.end.min(first + ROWS);
            // The last row stands for those that the last batch lacks.
            let weights: [&[u8]; ROWS] =
                std::array::from_fn(|row| matrix.row(batch.start + row.min(batch.len() - 1)));
            assert!(weights.iter().all(|row| row.len() == n_cols * T::BYTES));
            for column in block.clone().step_by(S::FEW_QUERIES) {
                let n = S::FEW_QUERIES.min(block.end - column);
                let mut sums = [[0f32; ROWS]; 6];
                let from = &activations[column * n_cols..];
                // SAFETY: the activations have `n` rows from `column` on; all rows have `n_cols`
                // numbers.
                unsafe {
                    match n {
                        1 => dots::<S, T, 1>(from, weights, n_cols, &mut sums),
                        2 => dots::<S, T, 2>(from, weights, n_cols, &mut sums),
                        3 => dots::<S, T, 3>(from, weights, n_cols, &mut sums),
                        4 => dots::<S, T, 4>(from, weights, n_cols, &mut sums),
                        5 => dots::<S, T, 5>(from, weights, n_cols, &mut sums),
                        _ => dots::<S, T, 6>(from, weights, n_cols, &mut sums),
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
/// To be inlined into a function with the target features of `S`; every row has `n_cols` numbers.
#[inline(always)]
unsafe fn dots<S: Simd, T: Float, const N: usize>(
    activations: &[f32],
    weights: [&[u8]; ROWS],
    n_cols: usize,
    to: &mut [[f32; ROWS]; 6],
) {
    let whole = n_cols / S::LANES * S::LANES;
    // SAFETY: the caller's promise; what is read ends before `n_cols`.
    unsafe {
        let mut sums = [[S::splat(0.0); ROWS]; N];
        for at in (0..whole).step_by(S::LANES) {
            let weights: [S; ROWS] =
                std::array::from_fn(|row| T::load(weights[row].as_ptr().add(at * T::BYTES)));
            for i in 0..N {
                let at = i.wrapping_mul(n_cols).wrapping_add(at);
                let activation = S::load(activations.as_ptr().wrapping_add(at));
                for row in 0..ROWS {
                    sums[i][row] = weights[row].mul_add(activation, sums[i][row]);
                }
            }
        }
        for (sums, to) in sums.into_iter().zip(to.iter_mut()) {
            S::store_sums(sums, to.as_mut_ptr());
        }
    }
    for at in whole..n_cols {
        for (activations, to) in activations.chunks_exact(n_cols).zip(to.iter_mut()).take(N) {
            for (weights, to) in weights.iter().zip(to) {
                *to += T::read(&weights[at * T::BYTES..]) * activations[at];
            }
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
