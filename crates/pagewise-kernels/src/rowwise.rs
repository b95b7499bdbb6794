//! Few activations in integers: rows of any quantised type, unpacked one by one, on any machine.
//!
//! A row is unpacked into scratch of the first-level cache and meets up to [`TILE`] rows of
//! activations. The kernels of `gemv.rs` do without scratch where they can.

use crate::activations::Activations;
use crate::bytes::Bytes;
use crate::lines::Lines;
use crate::matrix::Matrix;
use crate::product::Output;
use crate::simd::{PADDING, Simd};
use crate::unpack::Unpacked;
use crate::{BlockType, Isa};
use std::cell::RefCell;
use std::ops::Range;

/// Rows of activations that meet a row of weights at once.
const TILE: usize = 4;

thread_local! {
    static SCRATCH: RefCell<Lines> = RefCell::default();
}

/// What a task multiplies.
struct Product<'a> {
    matrix: &'a Matrix<'a>,
    rows: Range<usize>,
    activations: &'a Activations,
    out: &'a Output,
}

/// Computes the outputs of `rows` for all activations.
pub(crate) fn multiply(
    isa: Isa,
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    activations: &Activations,
    out: &Output,
) {
    let product = Product { matrix, rows, activations, out };
    SCRATCH.with_borrow_mut(|scratch| {
        #[cfg(target_arch = "x86_64")]
        {
            use crate::bytes::{Avx2Bytes, AvxVnniBytes};
            use crate::isa::Family;

            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2(product: &Product<'_>, scratch: &mut Lines) {
                // SAFETY: this function has the features of the vectors.
                unsafe { multiply_with::<Avx2Bytes>(product, scratch) }
            }
            #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
            fn avx_vnni(product: &Product<'_>, scratch: &mut Lines) {
                // SAFETY: as above.
                unsafe { multiply_with::<AvxVnniBytes>(product, scratch) }
            }
            match isa.family() {
                // SAFETY: an `Isa` is only made for a machine that has its features.
                Family::AvxVnni => return unsafe { avx_vnni(&product, scratch) },
                // SAFETY: as above; those with AVX-512 have AVX2.
                Family::Avx2 | Family::Avx512Vnni | Family::AmxInt8 | Family::Amx => {
                    return unsafe { avx2(&product, scratch) };
                }
                _ => {}
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            use crate::bytes::{DotprodBytes, I8mmBytes, NeonBytes};
            use crate::isa::Family;

            #[target_feature(enable = "neon,dotprod")]
            fn dotprod(product: &Product<'_>, scratch: &mut Lines) {
                // SAFETY: this function has the features of the vectors.
                unsafe { multiply_with::<DotprodBytes>(product, scratch) }
            }
            #[target_feature(enable = "neon,dotprod,i8mm")]
            fn i8mm(product: &Product<'_>, scratch: &mut Lines) {
                // SAFETY: as above.
                unsafe { multiply_with::<I8mmBytes>(product, scratch) }
            }
            match isa.family() {
                // SAFETY: an `Isa` is only made for a machine that has its features.
                Family::I8mm => return unsafe { i8mm(&product, scratch) },
                // SAFETY: as above.
                Family::Dotprod => return unsafe { dotprod(&product, scratch) },
                // SAFETY: every such processor has the features.
                Family::Neon => return unsafe { multiply_with::<NeonBytes>(&product, scratch) },
                _ => {}
            }
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = isa;
        // SAFETY: plain Rust needs no features.
        unsafe { multiply_with::<crate::bytes::PortableBytes>(&product, scratch) }
    });
}

/// # Safety
///
/// To be inlined into a function with the target features of `B`.
#[inline(always)]
unsafe fn multiply_with<B: Bytes>(product: &Product<'_>, scratch: &mut Lines) {
    // How many weights share a scale; times how many activations do; whether quants have eight bits.
    // SAFETY: the caller's promise.
    unsafe {
        match product.matrix.block_type() {
            BlockType::Q8_0 => run::<B, 32, 1, true>(product, scratch),
            BlockType::Q4_0 | BlockType::Q4_1 | BlockType::Q5_0 | BlockType::Q5_1 => {
                run::<B, 32, 1, false>(product, scratch);
            }
            BlockType::Q4K | BlockType::Q5K => run::<B, 32, 8, false>(product, scratch),
            BlockType::Q2K | BlockType::Q3K | BlockType::Q6K => {
                run::<B, 16, 16, false>(product, scratch);
            }
            BlockType::F32 | BlockType::F16 | BlockType::BF16 => {
                unreachable!("floating point weights have their own kernel")
            }
        }
    }
}

/// A row of weights, unpacked.
struct Row<'a> {
    quants: &'a [u8],
    scales: &'a [f32],
    mins: &'a [f32],
}

/// See [`multiply_with`].
#[inline(always)]
unsafe fn run<B: Bytes, const SUB: usize, const SUBS: usize, const WIDE: bool>(
    product: &Product<'_>,
    scratch: &mut Lines,
) {
    let Product { matrix, rows, activations, out } = product;
    let n_cols = activations.n_cols;
    let n_subs = n_cols / SUB;
    // Padded, because scales are read by the vector.
    let padded = n_subs.next_multiple_of(PADDING) + PADDING;
    let quants_len = n_cols.div_ceil(size_of::<f32>()).next_multiple_of(PADDING);
    let [quants, scales, mins] = scratch.parts([quants_len, padded, padded]);
    // SAFETY: floats are bytes, and any bytes are floats.
    let quants = unsafe { std::slice::from_raw_parts_mut(quants.as_mut_ptr().cast(), n_cols) };
    for row in rows.clone() {
        let to = Unpacked {
            quants: &mut *quants,
            scales: &mut scales[..n_subs],
            mins: &mut mins[..n_subs],
        };
        // SAFETY: the caller's promise.
        unsafe { B::unpack(matrix.block_type(), matrix.row(row), to) };
        if WIDE && B::IS_SIGNED {
            quants.iter_mut().for_each(|quant| *quant ^= 0x80);
            mins[..n_subs].fill(0.0);
        }
        let weights = Row { quants, scales, mins };
        let mut column = 0;
        while column < activations.m {
            // SAFETY: the caller's promise; the row has the columns of the activations.
            column += unsafe {
                match activations.m - column {
                    1 => dot::<B, 1, SUB, SUBS, WIDE>(&weights, activations, column, row, out),
                    2 => dot::<B, 2, SUB, SUBS, WIDE>(&weights, activations, column, row, out),
                    3 => dot::<B, 3, SUB, SUBS, WIDE>(&weights, activations, column, row, out),
                    _ => dot::<B, TILE, SUB, SUBS, WIDE>(&weights, activations, column, row, out),
                }
            };
        }
    }
}

/// Computes the outputs of a row of weights for `N` activations; returns `N`.
///
/// # Safety
///
/// To be inlined into a function with the target features of `B`; `weights` has the columns of the
/// activations.
#[inline(always)]
unsafe fn dot<B: Bytes, const N: usize, const SUB: usize, const SUBS: usize, const WIDE: bool>(
    weights: &Row<'_>,
    activations: &Activations,
    column: usize,
    row: usize,
    out: &Output,
) -> usize {
    let (n_cols, lanes) = (activations.n_cols, B::Floats::LANES);
    let group_len = SUB * SUBS;
    let (n_groups, n_subs) = (n_cols / group_len, n_cols / SUB);
    assert!(column + N <= activations.m && weights.quants.len() >= n_cols);
    assert!(weights.scales.len() >= n_subs && weights.mins.len() >= n_subs);
    // SAFETY: asserted above; `Activations` has so many quants, scales and sums of each row, and is
    // padded by more than a vector.
    unsafe {
        let quants: [*const i8; N] =
            std::array::from_fn(|i| activations.quants.as_ptr().add((column + i) * n_cols));
        let scales: [*const f32; N] =
            std::array::from_fn(|i| activations.scales.as_ptr().add((column + i) * n_groups));
        let sums: [*const f32; N] =
            std::array::from_fn(|i| activations.sums.as_ptr().add((column + i) * n_subs));
        let (weight_quants, weight_scales) = (weights.quants.as_ptr(), weights.scales.as_ptr());
        let zero = B::Floats::splat(0.0);
        let mut totals = [zero; N];
        for group in 0..n_groups {
            let mut products = [zero; N];
            for at in (group * group_len..(group + 1) * group_len).step_by(B::LEN) {
                let scale = if B::LEN > SUB {
                    B::splat_halves(weight_scales.add(at / SUB))
                } else {
                    B::Floats::splat(*weight_scales.add(at / SUB))
                };
                let quants_of_row = B::load(weight_quants.add(at));
                for i in 0..N {
                    let activations = B::load(quants[i].add(at).cast());
                    let sums = B::dot::<WIDE>(B::splat_sum(0), quants_of_row, activations);
                    products[i] = B::to_floats(sums).mul_add(scale, products[i]);
                }
            }
            for i in 0..N {
                let scale = B::Floats::splat(*scales[i].add(group));
                totals[i] = products[i].mul_add(scale, totals[i]);
            }
        }
        let mut tails = [0f32; N];
        for i in 0..N {
            let mut minima = zero;
            let min = |sub: usize| {
                let mins = B::Floats::load(weights.mins.as_ptr().add(sub));
                mins.mul(B::Floats::load(sums[i].add(sub)))
            };
            if SUBS == 1 {
                let whole = n_subs - n_subs % lanes;
                for sub in (0..whole).step_by(lanes) {
                    minima = min(sub).mul_add(B::Floats::load(scales[i].add(sub)), minima);
                }
                for sub in whole..n_subs {
                    tails[i] += weights.mins[sub] * *sums[i].add(sub) * *scales[i].add(sub);
                }
            } else {
                for sub in (0..n_subs).step_by(lanes) {
                    let scale = B::Floats::splat(*scales[i].add(sub / SUBS));
                    minima = min(sub).mul_add(scale, minima);
                }
            }
            totals[i] = totals[i].sub(minima);
        }
        for i in 0..N {
            let mut total = [0f32; 4];
            B::Floats::store_sums([totals[i], zero, zero, zero], total.as_mut_ptr());
            out.set(column + i, row, total[0] - tails[i]);
        }
    }
    N
}
