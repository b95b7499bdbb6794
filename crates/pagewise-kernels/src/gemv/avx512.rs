//! The kernels for AVX-512 with VNNI.

use super::{Columns, PREFETCH, SCALES};
use crate::BlockType;
use crate::activations::Activations;
use crate::matrix::Matrix;
use crate::product::Output;
use crate::simd::Simd;
use crate::unpack::{Unpacked, six_bit_scales};
use std::arch::x86_64::*;
use std::ops::Range;

/// Rows of activations multiplied in one pass over a row of weights.
const TILE: usize = 8;

/// Computes the outputs of `rows` for all activations.
pub(crate) fn multiply(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    activations: &Activations,
    out: &Output,
) {
    // SAFETY: called only on a pool whose `Isa` is `Family::Avx512Vnni`, and `activations` was
    // quantised for this matrix.
    unsafe {
        match matrix.block_type() {
            BlockType::Q4_0 => pairs::<Q4_0>(matrix, rows, activations, out),
            BlockType::Q4_1 => pairs::<Q4_1>(matrix, rows, activations, out),
            BlockType::Q5_0 => pairs::<Q5_0>(matrix, rows, activations, out),
            BlockType::Q5_1 => pairs::<Q5_1>(matrix, rows, activations, out),
            BlockType::Q8_0 => pairs::<Q8_0>(matrix, rows, activations, out),
            BlockType::Q4K => supers::<Q4K>(matrix, rows, activations, out),
            BlockType::Q5K => supers::<Q5K>(matrix, rows, activations, out),
            BlockType::Q6K => supers::<Q6K>(matrix, rows, activations, out),
            BlockType::F32 | BlockType::F16 | BlockType::BF16 | BlockType::Q2K | BlockType::Q3K => {
                unreachable!("see `supports`")
            }
        }
    }
}

/// A type with 32 weights to a block; two blocks fill a vector.
///
/// The methods read one block at each pointer. They must be inlined into a function with the
/// target features of this module.
pub(crate) trait Pair {
    const BYTES: usize;
    /// Where the quants have their zero, for the symmetric types.
    const OFFSET: Option<f32>;

    unsafe fn quants(a: *const u8, b: *const u8) -> __m512i;
}

#[inline(always)]
pub(crate) unsafe fn half_pair(a: *const u8, b: *const u8) -> __m128 {
    // SAFETY: the caller's blocks have two bytes at the pointers.
    unsafe {
        let a = u32::from(a.cast::<u16>().read_unaligned());
        let b = u32::from(b.cast::<u16>().read_unaligned());
        _mm_cvtph_ps(_mm_cvtsi32_si128((a | b << 16) as i32))
    }
}

/// 16 bytes of nibbles from each block: low nibbles, then high nibbles, of both.
#[inline(always)]
unsafe fn nibble_pair(a: *const u8, b: *const u8) -> __m512i {
    // SAFETY: the caller's blocks have 16 bytes at the pointers.
    unsafe {
        // Broadcasts from memory leave the ports of the arithmetic free.
        let a = _mm512_broadcast_i32x4(_mm_loadu_si128(a.cast()));
        let both = _mm512_mask_broadcast_i32x4(a, 0xff00, _mm_loadu_si128(b.cast()));
        let shifted = _mm512_mask_srli_epi16::<4>(both, 0xff00_ff00, both);
        _mm512_and_si512(shifted, _mm512_set1_epi8(0x0f))
    }
}

/// Adds 16 to the quants whose bit in the four bytes of each block is set.
#[inline(always)]
unsafe fn add_fifth_bits(quants: __m512i, a: *const u8, b: *const u8) -> __m512i {
    // SAFETY: the caller's blocks have four bytes at the pointers.
    unsafe {
        let a = u64::from(a.cast::<u32>().read_unaligned());
        let b = u64::from(b.cast::<u32>().read_unaligned());
        _mm512_mask_add_epi8(quants, a | b << 32, quants, _mm512_set1_epi8(16))
    }
}

macro_rules! pair {
    ($name:ident, $bytes:expr, $offset:expr, |$a:ident, $b:ident| $quants:expr) => {
        pub(crate) struct $name;

        impl Pair for $name {
            const BYTES: usize = $bytes;
            const OFFSET: Option<f32> = $offset;

            #[inline(always)]
            unsafe fn quants($a: *const u8, $b: *const u8) -> __m512i {
                // SAFETY: the offsets are those of fields inside the blocks at the pointers.
                unsafe { $quants }
            }
        }
    };
}

pair!(Q4_0, 18, Some(8.0), |a, b| nibble_pair(a.add(2), b.add(2)));
pair!(Q4_1, 20, None, |a, b| nibble_pair(a.add(4), b.add(4)));
pair!(Q5_0, 22, Some(16.0), |a, b| {
    add_fifth_bits(nibble_pair(a.add(6), b.add(6)), a.add(2), b.add(2))
});
pair!(Q5_1, 24, None, |a, b| {
    add_fifth_bits(nibble_pair(a.add(8), b.add(8)), a.add(4), b.add(4))
});
pair!(Q8_0, 34, Some(128.0), |a, b| {
    let a = _mm512_castsi256_si512(_mm256_loadu_si256(a.add(2).cast()));
    let both = _mm512_inserti64x4::<1>(a, _mm256_loadu_si256(b.add(2).cast()));
    _mm512_xor_si512(both, _mm512_set1_epi8(-128))
});

/// Rows of weights whose sums are added up together.
const ROWS: usize = 4;

/// Defines `$name`, which has `$row` compute `rows`, for up to [`TILE`] activations at once.
macro_rules! over_rows {
    ($name:ident, $kind:ident, $row:ident) => {
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
        fn $name<T: $kind>(
            matrix: &Matrix<'_>,
            rows: Range<usize>,
            activations: &Activations,
            out: &Output,
        ) {
            #[target_feature(
                enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"
            )]
            fn tile<T: $kind, const N: usize>(
                matrix: &Matrix<'_>,
                rows: Range<usize>,
                activations: &Activations,
                first: usize,
                out: &Output,
            ) -> usize {
                let columns = Columns::<N>::new(activations, first);
                let mut sums = [[_mm512_setzero_ps(); ROWS]; N];
                for (at, row) in rows.clone().enumerate() {
                    let of_row = $row::<T, N>(matrix.row(row), &columns);
                    for i in 0..N {
                        sums[i][at] = of_row[i];
                    }
                }
                for (i, sums) in sums.into_iter().enumerate() {
                    let mut totals = [0f32; ROWS];
                    // SAFETY: this function has the features of the vectors.
                    unsafe { Simd::store_sums(sums, totals.as_mut_ptr()) };
                    for (row, total) in rows.clone().zip(totals) {
                        out.set(first + i, row, total);
                    }
                }
                N
            }
            for start in rows.clone().step_by(ROWS) {
                let rows = start..rows.end.min(start + ROWS);
                let mut first = 0;
                while first < activations.m {
                    first += match activations.m - first {
                        1 => tile::<T, 1>(matrix, rows.clone(), activations, first, out),
                        2 => tile::<T, 2>(matrix, rows.clone(), activations, first, out),
                        3 => tile::<T, 3>(matrix, rows.clone(), activations, first, out),
                        4..TILE => tile::<T, 4>(matrix, rows.clone(), activations, first, out),
                        _ => tile::<T, TILE>(matrix, rows.clone(), activations, first, out),
                    };
                }
            }
        }
    };
}

over_rows!(pairs, Pair, pair_row);
over_rows!(supers, SuperBlock, super_row);

/// Returns vectors whose sums are the products of one row of weights and `N` of activations.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn pair_row<T: Pair, const N: usize>(bytes: &[u8], columns: &Columns<N>) -> [__m512; N] {
    let n_blocks = bytes.len() / T::BYTES;
    let mut total = [_mm512_setzero_ps(); N];
    let mut total_min = [_mm256_setzero_ps(); N];
    let mut block = 0;
    while block + SCALES <= n_blocks {
        // SAFETY: so many blocks of the row and of the activations begin here.
        unsafe {
            let at = bytes.as_ptr().add(block * T::BYTES);
            pair_blocks::<T, N, SCALES>(at, SCALES, columns, block, &mut total, &mut total_min);
        }
        block += SCALES;
    }
    if block < n_blocks {
        // SAFETY: as above.
        unsafe {
            let (at, n) = (bytes.as_ptr().add(block * T::BYTES), n_blocks - block);
            pair_blocks::<T, N, 0>(at, n, columns, block, &mut total, &mut total_min);
        }
    }
    let offset = _mm512_set1_ps(T::OFFSET.map_or(1.0, |offset| -offset));
    std::array::from_fn(|i| {
        let min = _mm512_zextps256_ps512(total_min[i]);
        _mm512_fmadd_ps(min, offset, total[i])
    })
}

/// Adds the products of `n` blocks, at most [`SCALES`], and of exactly so many if `WHOLE` is.
///
/// # Safety
///
/// The blocks begin at `at`, and at number `block` of the activations. To be inlined, as for
/// [`Pair`].
#[inline(always)]
unsafe fn pair_blocks<T: Pair, const N: usize, const WHOLE: usize>(
    at: *const u8,
    n: usize,
    columns: &Columns<N>,
    block: usize,
    total: &mut [__m512; N],
    total_min: &mut [__m256; N],
) {
    // SAFETY: the caller's promise. What is beyond the blocks is left out by masks, and counts as zero.
    unsafe {
        let n = if WHOLE == SCALES { SCALES } else { n };
        let mask = ((1u32 << n) - 1) as u8;
        let words = header_words::<T>(at, mask);
        let scales = _mm256_cvtph_ps(_mm256_cvtepi32_epi16(words));
        let mut factors = [_mm256_setzero_ps(); N];
        for i in 0..N {
            let activation_scales = _mm256_maskz_loadu_ps(mask, columns.scales[i].add(block));
            factors[i] = _mm256_mul_ps(scales, activation_scales);
            let min = match T::OFFSET {
                Some(_) => factors[i],
                None => {
                    let mins = _mm256_cvtepi32_epi16(_mm256_srli_epi32::<16>(words));
                    _mm256_mul_ps(_mm256_cvtph_ps(mins), activation_scales)
                }
            };
            let sums = _mm256_maskz_loadu_ps(mask, columns.sums[i].add(block));
            total_min[i] = _mm256_fmadd_ps(min, sums, total_min[i]);
        }
        let mut lanes = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
        for pair in 0..n.div_ceil(2) {
            let a = at.add(2 * pair * T::BYTES);
            // The other half of the last vector, if their number is odd, has a factor of zero.
            let b = if 2 * pair + 1 < n { a.add(T::BYTES) } else { a };
            for line in 0..(2 * T::BYTES).div_ceil(64) {
                _mm_prefetch::<_MM_HINT_T0>(a.wrapping_add(PREFETCH + 64 * line).cast());
            }
            let quants = T::quants(a, b);
            for i in 0..N {
                let activation = columns.quants[i].add((block + 2 * pair) * 32);
                let activation = _mm512_loadu_si512(activation.cast());
                let dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), quants, activation);
                let factor = _mm512_permutexvar_ps(lanes, _mm512_castps256_ps512(factors[i]));
                total[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), factor, total[i]);
            }
            lanes = _mm512_add_epi32(lanes, _mm512_set1_epi32(2));
        }
    }
}

/// A type with 256 weights to a block. As for [`Pair`], to be inlined.
pub(crate) trait SuperBlock {
    const BYTES: usize;
    /// Weights that share a scale.
    const SUB: usize;

    /// 256 quants in order.
    unsafe fn quants(block: *const u8) -> [__m512i; 4];

    /// The scales and the minima of the sub-blocks; lanes beyond their number are undefined in
    /// the scales and zero in the minima.
    unsafe fn scales(block: *const u8) -> (__m512, __m512);
}

pub(crate) struct Q4K;
pub(crate) struct Q5K;
pub(crate) struct Q6K;

/// Brings the eight scales and minima of a Q4_K or Q5_K block to `f32`.
#[inline(always)]
unsafe fn eight_scales(block: *const u8) -> (__m512, __m512) {
    // SAFETY: the caller's block begins with two halves and twelve bytes of scales.
    unsafe {
        let (scales, mins) = six_bit_scales(std::slice::from_raw_parts(block.add(4), 12));
        let halves = _mm_cvtph_ps(_mm_cvtsi32_si128(block.cast::<i32>().read_unaligned()));
        let widen =
            |bytes: u64| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(bytes as i64)));
        let scale = _mm256_mul_ps(widen(scales), _mm256_broadcastss_ps(halves));
        let min = _mm256_mul_ps(widen(mins), _mm256_broadcastss_ps(_mm_movehdup_ps(halves)));
        (_mm512_castps256_ps512(scale), _mm512_zextps256_ps512(min))
    }
}

/// Spreads scales over the sums of four neighbouring products in each vector of quants.
#[inline(always)]
unsafe fn spread<const SUB: usize>(scales: __m512) -> [__m512; 4] {
    // SAFETY: only the features of this module are needed.
    unsafe {
        std::array::from_fn(|part| {
            let lanes = if SUB == 32 {
                _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0)
            } else {
                _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0)
            };
            let first = _mm512_set1_epi32((part * 64 / SUB) as i32);
            _mm512_permutexvar_ps(_mm512_add_epi32(lanes, first), scales)
        })
    }
}

/// The four vectors of nibbles of 128 bytes, 32 low nibbles before the 32 high ones of the same bytes.
#[inline(always)]
unsafe fn super_nibbles(bytes: *const u8) -> [__m512i; 4] {
    // SAFETY: the caller's block has 128 bytes at the pointer.
    unsafe {
        let mask = _mm512_set1_epi8(0x0f);
        let mut quants = [_mm512_setzero_si512(); 4];
        for half in 0..2 {
            let packed = _mm512_loadu_si512(bytes.add(64 * half).cast());
            let low = _mm512_and_si512(packed, mask);
            let high = _mm512_and_si512(_mm512_srli_epi16::<4>(packed), mask);
            quants[2 * half] = _mm512_shuffle_i64x2::<0x44>(low, high);
            quants[2 * half + 1] = _mm512_shuffle_i64x2::<0xee>(low, high);
        }
        quants
    }
}

impl SuperBlock for Q4K {
    const BYTES: usize = 144;
    const SUB: usize = 32;

    #[inline(always)]
    unsafe fn quants(block: *const u8) -> [__m512i; 4] {
        // SAFETY: the block has 144 bytes.
        unsafe { super_nibbles(block.add(16)) }
    }

    #[inline(always)]
    unsafe fn scales(block: *const u8) -> (__m512, __m512) {
        // SAFETY: as above.
        unsafe { eight_scales(block) }
    }
}

impl SuperBlock for Q5K {
    const BYTES: usize = 176;
    const SUB: usize = 32;

    #[inline(always)]
    unsafe fn quants(block: *const u8) -> [__m512i; 4] {
        // SAFETY: the block has 176 bytes.
        unsafe {
            let mut quants = super_nibbles(block.add(48));
            // Byte i has the fifth bits of weights i, 32 + i, 64 + i, …, lowest bit first.
            let high = _mm256_loadu_si256(block.add(16).cast());
            let high = _mm512_broadcast_i64x4(high);
            for (i, quants) in quants.iter_mut().enumerate() {
                let bits = 1i64 << (2 * i);
                let (low_bit, high_bit) =
                    (bits * 0x0101_0101_0101_0101, bits.wrapping_mul(0x0202_0202_0202_0202));
                let select = _mm512_set_epi64(
                    high_bit, high_bit, high_bit, high_bit, low_bit, low_bit, low_bit, low_bit,
                );
                let set = _mm512_test_epi8_mask(high, select);
                *quants = _mm512_mask_add_epi8(*quants, set, *quants, _mm512_set1_epi8(16));
            }
            quants
        }
    }

    #[inline(always)]
    unsafe fn scales(block: *const u8) -> (__m512, __m512) {
        // SAFETY: as above.
        unsafe { eight_scales(block) }
    }
}

impl SuperBlock for Q6K {
    const BYTES: usize = 210;
    const SUB: usize = 16;

    #[inline(always)]
    unsafe fn quants(block: *const u8) -> [__m512i; 4] {
        // SAFETY: the block has 210 bytes.
        unsafe {
            let mut quants = [_mm512_setzero_si512(); 4];
            let (nibble, two_bits) = (_mm512_set1_epi8(0x0f), _mm512_set1_epi8(0x30));
            let first_shift = _mm512_set_epi64(
                0x0002_0002_0002_0002,
                0x0002_0002_0002_0002,
                0x0002_0002_0002_0002,
                0x0002_0002_0002_0002,
                0x0004_0004_0004_0004,
                0x0004_0004_0004_0004,
                0x0004_0004_0004_0004,
                0x0004_0004_0004_0004,
            );
            let second_shift = _mm512_set_epi64(
                0x0002_0002_0002_0002,
                0x0002_0002_0002_0002,
                0x0002_0002_0002_0002,
                0x0002_0002_0002_0002,
                0,
                0,
                0,
                0,
            );
            for half in 0..2 {
                let low = _mm512_loadu_si512(block.add(64 * half).cast());
                let high = _mm256_loadu_si256(block.add(128 + 32 * half).cast());
                let high = _mm512_broadcast_i64x4(high);
                let first = _mm512_and_si512(_mm512_sllv_epi16(high, first_shift), two_bits);
                let second = _mm512_and_si512(_mm512_srlv_epi16(high, second_shift), two_bits);
                quants[2 * half] = _mm512_or_si512(_mm512_and_si512(low, nibble), first);
                let upper = _mm512_and_si512(_mm512_srli_epi16::<4>(low), nibble);
                quants[2 * half + 1] = _mm512_or_si512(upper, second);
            }
            quants
        }
    }

    #[inline(always)]
    unsafe fn scales(block: *const u8) -> (__m512, __m512) {
        // SAFETY: as above.
        unsafe {
            let small = _mm512_cvtepi8_epi32(_mm_loadu_si128(block.add(192).cast()));
            let scale = _mm_cvtsi32_si128(i32::from(block.add(208).cast::<u16>().read_unaligned()));
            let scale = _mm512_broadcastss_ps(_mm_cvtph_ps(scale));
            let scale = _mm512_mul_ps(_mm512_cvtepi32_ps(small), scale);
            (scale, _mm512_mul_ps(scale, _mm512_set1_ps(32.0)))
        }
    }
}

/// Returns vectors whose sums are the products of one row of weights and `N` of activations.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn super_row<T: SuperBlock, const N: usize>(bytes: &[u8], columns: &Columns<N>) -> [__m512; N] {
    let n_subs = 256 / T::SUB;
    let sum_mask = ((1u32 << n_subs) - 1) as u16;
    let mut total = [_mm512_setzero_ps(); N];
    for block in 0..bytes.len() / T::BYTES {
        // SAFETY: `block` is a block of the row and of the activations, whose quants, scales and
        // sums `Columns` points to.
        unsafe {
            let at = bytes.as_ptr().add(block * T::BYTES);
            for line in 0..T::BYTES.div_ceil(64) {
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(PREFETCH + 64 * line).cast());
            }
            let quants = T::quants(at);
            let (scales, mins) = T::scales(at);
            let scales = match T::SUB {
                32 => spread::<32>(scales),
                _ => spread::<16>(scales),
            };
            for i in 0..N {
                let sums = columns.sums[i].add(block * n_subs);
                let sums = _mm512_maskz_loadu_ps(sum_mask, sums);
                let mut even = _mm512_mul_ps(mins, sums);
                let mut odd = _mm512_setzero_ps();
                for part in 0..4 {
                    let activation = columns.quants[i].add(block * 256 + part * 64);
                    let activation = _mm512_loadu_si512(activation.cast());
                    let dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), quants[part], activation);
                    let dot = _mm512_cvtepi32_ps(dot);
                    if part == 0 {
                        even = _mm512_fmsub_ps(dot, scales[part], even);
                    } else if part == 2 {
                        even = _mm512_fmadd_ps(dot, scales[part], even);
                    } else {
                        odd = _mm512_fmadd_ps(dot, scales[part], odd);
                    }
                }
                let scale = _mm512_set1_ps(*columns.scales[i].add(block));
                total[i] = _mm512_fmadd_ps(_mm512_add_ps(even, odd), scale, total[i]);
            }
        }
    }
    total
}

/// Unpacks consecutive blocks as [`crate::unpack::unpack`] does, for the types in [`supports`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(crate) fn unpack(block_type: BlockType, bytes: &[u8], to: Unpacked<'_>) {
    match block_type {
        BlockType::Q4_0 => unpack_pairs::<Q4_0>(bytes, to),
        BlockType::Q4_1 => unpack_pairs::<Q4_1>(bytes, to),
        BlockType::Q5_0 => unpack_pairs::<Q5_0>(bytes, to),
        BlockType::Q5_1 => unpack_pairs::<Q5_1>(bytes, to),
        BlockType::Q8_0 => unpack_pairs::<Q8_0>(bytes, to),
        BlockType::Q4K => unpack_supers::<Q4K>(bytes, to),
        BlockType::Q5K => unpack_supers::<Q5K>(bytes, to),
        BlockType::Q6K => unpack_supers::<Q6K>(bytes, to),
        BlockType::F32 | BlockType::F16 | BlockType::BF16 | BlockType::Q2K | BlockType::Q3K => {
            crate::unpack::unpack(block_type, bytes, to);
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn unpack_pairs<T: Pair>(bytes: &[u8], to: Unpacked<'_>) {
    let n_blocks = bytes.len() / T::BYTES;
    assert!(
        to.quants.len() >= n_blocks * 32
            && to.scales.len() >= n_blocks
            && to.mins.len() >= n_blocks
    );
    let (quants, scales, mins) =
        (to.quants.as_mut_ptr(), to.scales.as_mut_ptr(), to.mins.as_mut_ptr());
    let mut block = 0;
    while block + SCALES <= n_blocks {
        // SAFETY: so many blocks begin here, and the slices of `to` have room for them, asserted above.
        unsafe {
            let at = bytes.as_ptr().add(block * T::BYTES);
            for pair in 0..SCALES / 2 {
                let a = at.add(2 * pair * T::BYTES);
                let to = quants.add((block + 2 * pair) * 32);
                _mm512_storeu_si512(to.cast(), T::quants(a, a.add(T::BYTES)));
            }
            let (scale, min) = scales_and_mins::<T>(at, u8::MAX);
            _mm256_storeu_ps(scales.add(block), scale);
            _mm256_storeu_ps(mins.add(block), min);
        }
        block += SCALES;
    }
    if block < n_blocks {
        let left = n_blocks - block;
        // SAFETY: as above, for those that are left; the masks leave out the others.
        unsafe {
            let at = bytes.as_ptr().add(block * T::BYTES);
            for pair in 0..left.div_ceil(2) {
                let a = at.add(2 * pair * T::BYTES);
                let whole = 2 * pair + 1 < left;
                let b = if whole { a.add(T::BYTES) } else { a };
                let mask = if whole { u64::MAX } else { u64::from(u32::MAX) };
                let to = quants.add((block + 2 * pair) * 32);
                _mm512_mask_storeu_epi8(to.cast(), mask, T::quants(a, b));
            }
            let mask = ((1u32 << left) - 1) as u8;
            let (scale, min) = scales_and_mins::<T>(at, mask);
            _mm256_mask_storeu_ps(scales.add(block), mask, scale);
            _mm256_mask_storeu_ps(mins.add(block), mask, min);
        }
    }
}

/// Returns the scales and the minima of up to [`SCALES`] blocks from `at` on.
///
/// # Safety
///
/// Those in `mask` are there. To be inlined, as for [`Pair`].
#[inline(always)]
unsafe fn scales_and_mins<T: Pair>(at: *const u8, mask: u8) -> (__m256, __m256) {
    // SAFETY: the caller's promise.
    unsafe {
        let words = header_words::<T>(at, mask);
        let scales = _mm256_cvtph_ps(_mm256_cvtepi32_epi16(words));
        let mins = match T::OFFSET {
            Some(offset) => _mm256_mul_ps(scales, _mm256_set1_ps(offset)),
            None => {
                let mins = _mm256_cvtepi32_epi16(_mm256_srli_epi32::<16>(words));
                _mm256_sub_ps(_mm256_setzero_ps(), _mm256_cvtph_ps(mins))
            }
        };
        (scales, mins)
    }
}

/// Returns the first four bytes of up to [`SCALES`] blocks from `at` on: a scale, and in some types a minimum.
///
/// # Safety
///
/// Those in `mask` are there. To be inlined, as for [`Pair`].
#[inline(always)]
unsafe fn header_words<T: Pair>(at: *const u8, mask: u8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let numbers = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
        let offsets = _mm256_mullo_epi32(numbers, _mm256_set1_epi32(T::BYTES as i32));
        let zero = _mm256_setzero_si256();
        _mm256_mmask_i32gather_epi32::<1>(zero, mask, offsets, at.cast())
    }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn unpack_supers<T: SuperBlock>(bytes: &[u8], to: Unpacked<'_>) {
    let n_blocks = bytes.len() / T::BYTES;
    let n_subs = 256 / T::SUB;
    assert!(to.quants.len() >= n_blocks * 256);
    assert!(to.scales.len() >= n_blocks * n_subs && to.mins.len() >= n_blocks * n_subs);
    for block in 0..n_blocks {
        // SAFETY: the block lies within `bytes`; the slices of `to` have room, asserted above.
        unsafe {
            let at = bytes.as_ptr().add(block * T::BYTES);
            for (part, quants) in T::quants(at).into_iter().enumerate() {
                _mm512_storeu_si512(
                    to.quants.as_mut_ptr().add(block * 256 + part * 64).cast(),
                    quants,
                );
            }
            let (scales, mins) = T::scales(at);
            for (to, vector) in [(&mut *to.scales, scales), (&mut *to.mins, mins)] {
                let to = to.as_mut_ptr().add(block * n_subs);
                // Stores with a mask are slow on some processors.
                match T::SUB {
                    32 => _mm256_storeu_ps(to, _mm512_castps512_ps256(vector)),
                    _ => _mm512_storeu_ps(to, vector),
                }
            }
        }
    }
}
