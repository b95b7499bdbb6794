//! The kernels for AVX2, with VNNI and without.

use super::{Columns, PREFETCH, SCALES};
use crate::BlockType;
use crate::activations::Activations;
use crate::matrix::Matrix;
use crate::product::Output;
use crate::simd::Simd;
use crate::unpack::{Unpacked, six_bit_scales};
use std::arch::x86_64::*;
use std::ops::Range;

/// Rows of weights whose sums are added up together.
const ROWS: usize = 4;

/// Computes the outputs of `rows` for all activations; `VNNI` if the machine has it.
pub(super) fn multiply<const VNNI: bool>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    activations: &Activations,
    out: &Output,
) {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn avx2(matrix: &Matrix<'_>, rows: Range<usize>, activations: &Activations, out: &Output) {
        // SAFETY: this function has the features of `Dot<false>`.
        unsafe { multiply_with::<false>(matrix, rows, activations, out) }
    }
    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
    fn avx_vnni(matrix: &Matrix<'_>, rows: Range<usize>, activations: &Activations, out: &Output) {
        // SAFETY: this function has the features of `Dot<true>`.
        unsafe { multiply_with::<true>(matrix, rows, activations, out) }
    }
    // SAFETY: called only on a pool whose `Isa` has these features, and `activations` was quantised
    // for this matrix.
    unsafe {
        if VNNI {
            avx_vnni(matrix, rows, activations, out);
        } else {
            avx2(matrix, rows, activations, out);
        }
    }
}

/// # Safety
///
/// To be inlined into a function with AVX2, FMA, F16C and, if `VNNI`, that.
#[inline(always)]
unsafe fn multiply_with<const VNNI: bool>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    activations: &Activations,
    out: &Output,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match matrix.block_type() {
            BlockType::Q4_0 => over_rows::<Q4_0, VNNI>(matrix, rows, activations, out),
            BlockType::Q4_1 => over_rows::<Q4_1, VNNI>(matrix, rows, activations, out),
            BlockType::Q5_0 => over_rows::<Q5_0, VNNI>(matrix, rows, activations, out),
            BlockType::Q5_1 => over_rows::<Q5_1, VNNI>(matrix, rows, activations, out),
            BlockType::Q8_0 => over_rows::<Q8_0, VNNI>(matrix, rows, activations, out),
            BlockType::Q4K => over_rows::<Q4K, VNNI>(matrix, rows, activations, out),
            BlockType::Q5K => over_rows::<Q5K, VNNI>(matrix, rows, activations, out),
            BlockType::Q6K => over_rows::<Q6K, VNNI>(matrix, rows, activations, out),
            BlockType::F32 | BlockType::F16 | BlockType::BF16 | BlockType::Q2K | BlockType::Q3K => {
                unreachable!("see `supports`")
            }
        }
    }
}

/// How a type is multiplied. The methods are to be inlined as [`multiply_with`] is.
trait Kind {
    /// Returns vectors whose sums are the products of one row of weights and `N` of activations.
    unsafe fn row<const VNNI: bool, const N: usize>(
        bytes: &[u8],
        columns: &Columns<N>,
    ) -> [__m256; N];
}

/// See [`multiply_with`].
#[inline(always)]
unsafe fn over_rows<T: Kind, const VNNI: bool>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    activations: &Activations,
    out: &Output,
) {
    for start in rows.clone().step_by(ROWS) {
        let rows = start..rows.end.min(start + ROWS);
        let mut first = 0;
        while first < activations.m {
            // SAFETY: the caller's promise.
            first += unsafe {
                match activations.m - first {
                    1 => tile::<T, VNNI, 1>(matrix, rows.clone(), activations, first, out),
                    2 | 3 => tile::<T, VNNI, 2>(matrix, rows.clone(), activations, first, out),
                    _ => tile::<T, VNNI, 4>(matrix, rows.clone(), activations, first, out),
                }
            };
        }
    }
}

/// Computes the outputs of up to [`ROWS`] rows for `N` activations; returns `N`. See [`multiply_with`].
#[inline(always)]
unsafe fn tile<T: Kind, const VNNI: bool, const N: usize>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    activations: &Activations,
    first: usize,
    out: &Output,
) -> usize {
    let columns = Columns::<N>::new(activations, first);
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); ROWS]; N];
        for (at, row) in rows.clone().enumerate() {
            let of_row = T::row::<VNNI, N>(matrix.row(row), &columns);
            for i in 0..N {
                sums[i][at] = of_row[i];
            }
        }
        for (i, sums) in sums.into_iter().enumerate() {
            let mut totals = [0f32; ROWS];
            Simd::store_sums(sums, totals.as_mut_ptr());
            for (row, total) in rows.clone().zip(totals) {
                out.set(first + i, row, total);
            }
        }
    }
    N
}

/// Returns the eight sums of four products each of 32 quants; if they are `SIGNED`, both factors are.
#[inline(always)]
unsafe fn dot<const VNNI: bool, const SIGNED: bool>(
    quants: __m256i,
    activation: __m256i,
) -> __m256i {
    // SAFETY: the caller has the features.
    unsafe {
        let (quants, activation) = if SIGNED {
            // The sign moves to the activations, which are above -128.
            (_mm256_abs_epi8(quants), _mm256_sign_epi8(activation, quants))
        } else {
            (quants, activation)
        };
        if VNNI {
            _mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), quants, activation)
        } else {
            let pairs = _mm256_maddubs_epi16(quants, activation);
            _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
        }
    }
}

/// A type with 32 weights to a block, which fill a vector.
///
/// The methods read one block at the pointer. They must be inlined into a function with the target
/// features of this module.
trait Block {
    const BYTES: usize;
    /// Where the quants have their zero, for the symmetric types.
    const OFFSET: Option<f32>;
    /// Whether quants have a sign of their own.
    const SIGNED: bool = false;

    unsafe fn quants(block: *const u8) -> __m256i;
}

/// 16 bytes of nibbles: low nibbles, then high nibbles.
#[inline(always)]
unsafe fn nibbles(from: *const u8) -> __m256i {
    // SAFETY: the caller's block has 16 bytes at the pointer.
    unsafe {
        let twice = _mm256_broadcastsi128_si256(_mm_loadu_si128(from.cast()));
        let shifted = _mm256_srlv_epi64(twice, _mm256_set_epi64x(4, 4, 0, 0));
        _mm256_and_si256(shifted, _mm256_set1_epi8(0x0f))
    }
}

/// Adds 16 to the quants whose bit in four bytes is set.
#[inline(always)]
unsafe fn add_fifth_bits(quants: __m256i, from: *const u8) -> __m256i {
    // SAFETY: the caller's block has four bytes at the pointer.
    unsafe {
        let bits = _mm256_set1_epi32(from.cast::<i32>().read_unaligned());
        // Each byte eight times, and in each of these another bit.
        let (low, high) = (0x0101_0101_0101_0101, 0x0202_0202_0202_0202);
        let bytes = _mm256_set_epi64x(low + high, high, low, 0);
        let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
        let bits = _mm256_and_si256(_mm256_shuffle_epi8(bits, bytes), bit);
        let set = _mm256_cmpeq_epi8(bits, bit);
        _mm256_or_si256(quants, _mm256_and_si256(set, _mm256_set1_epi8(16)))
    }
}

macro_rules! block {
    ($name:ident, $bytes:expr, $offset:expr, $signed:expr, |$block:ident| $quants:expr) => {
        struct $name;

        impl Block for $name {
            const BYTES: usize = $bytes;
            const OFFSET: Option<f32> = $offset;
            const SIGNED: bool = $signed;

            #[inline(always)]
            unsafe fn quants($block: *const u8) -> __m256i {
                // SAFETY: the offsets are those of fields inside the block at the pointer.
                unsafe { $quants }
            }
        }

        impl Kind for $name {
            #[inline(always)]
            unsafe fn row<const VNNI: bool, const N: usize>(
                bytes: &[u8],
                columns: &Columns<N>,
            ) -> [__m256; N] {
                // SAFETY: the caller's promise.
                unsafe { block_row::<Self, VNNI, N>(bytes, columns) }
            }
        }
    };
}

block!(Q4_0, 18, Some(8.0), false, |block| nibbles(block.add(2)));
block!(Q4_1, 20, None, false, |block| nibbles(block.add(4)));
block!(Q5_0, 22, Some(16.0), false, |block| add_fifth_bits(nibbles(block.add(6)), block.add(2)));
block!(Q5_1, 24, None, false, |block| add_fifth_bits(nibbles(block.add(8)), block.add(4)));
block!(Q8_0, 34, Some(0.0), true, |block| _mm256_loadu_si256(block.add(2).cast()));

/// The scales of up to [`SCALES`] blocks and, for types that have them, the minima; zero for those that
/// are not there.
#[inline(always)]
unsafe fn scales_and_mins<T: Block>(at: *const u8, n: usize) -> (__m256, __m256) {
    // SAFETY: `n` blocks begin at the pointer, and the mask leaves out what is behind them.
    unsafe {
        let index = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
        let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), index);
        let offsets = _mm256_mullo_epi32(index, _mm256_set1_epi32(T::BYTES as i32));
        let zero = _mm256_setzero_si256();
        let words = _mm256_mask_i32gather_epi32::<1>(zero, at.cast(), offsets, mask);
        let widen = |halves: __m256i| {
            let packed = _mm256_packus_epi32(halves, halves);
            let packed = _mm256_permute4x64_epi64::<0b10_00>(packed);
            _mm256_cvtph_ps(_mm256_castsi256_si128(packed))
        };
        let scales = widen(_mm256_and_si256(words, _mm256_set1_epi32(0xffff)));
        let mins = match T::OFFSET {
            Some(_) => scales,
            None => widen(_mm256_srli_epi32::<16>(words)),
        };
        (scales, mins)
    }
}

/// See [`Kind::row`].
#[inline(always)]
unsafe fn block_row<T: Block, const VNNI: bool, const N: usize>(
    bytes: &[u8],
    columns: &Columns<N>,
) -> [__m256; N] {
    let n_blocks = bytes.len() / T::BYTES;
    // SAFETY: the blocks of the row and of the activations are there; these are padded by more than
    // the scales that are read behind the last.
    unsafe {
        let mut total = [_mm256_setzero_ps(); N];
        let mut total_min = [_mm256_setzero_ps(); N];
        for first in (0..n_blocks).step_by(SCALES) {
            let n = (n_blocks - first).min(SCALES);
            let at = bytes.as_ptr().add(first * T::BYTES);
            let (scales, mins) = scales_and_mins::<T>(at, n);
            let there = _mm256_cmpgt_epi32(
                _mm256_set1_epi32(n as i32),
                _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0),
            );
            let mut factors = [[0f32; SCALES]; N];
            for i in 0..N {
                // What is behind the row may be infinite.
                let load = |from: *const f32| _mm256_maskload_ps(from.add(first), there);
                let activation_scales = load(columns.scales[i]);
                let factor = _mm256_mul_ps(scales, activation_scales);
                _mm256_storeu_ps(factors[i].as_mut_ptr(), factor);
                if !T::SIGNED {
                    let min = if T::OFFSET.is_some() {
                        factor
                    } else {
                        _mm256_mul_ps(mins, activation_scales)
                    };
                    total_min[i] = _mm256_fmadd_ps(min, load(columns.sums[i]), total_min[i]);
                }
            }
            let mut add = |block: usize| {
                let at = at.add(block * T::BYTES);
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(PREFETCH).cast());
                let quants = T::quants(at);
                for i in 0..N {
                    let activation = columns.quants[i].add((first + block) * 32);
                    let activation = _mm256_loadu_si256(activation.cast());
                    let dot = _mm256_cvtepi32_ps(if T::SIGNED {
                        dot::<VNNI, true>(quants, activation)
                    } else {
                        dot::<VNNI, false>(quants, activation)
                    });
                    let factor = _mm256_set1_ps(factors[i][block]);
                    total[i] = _mm256_fmadd_ps(dot, factor, total[i]);
                }
            };
            if n == SCALES {
                (0..SCALES).for_each(&mut add);
            } else {
                (0..n).for_each(&mut add);
            }
        }
        let offset = _mm256_set1_ps(T::OFFSET.map_or(1.0, |offset| -offset));
        std::array::from_fn(|i| _mm256_fmadd_ps(total_min[i], offset, total[i]))
    }
}

/// A type with 256 weights to a block. As for [`Block`], to be inlined.
trait SuperBlock {
    const BYTES: usize;
    /// Weights that share a scale.
    const SUB: usize;

    /// 256 quants in order.
    unsafe fn quants(block: *const u8) -> [__m256i; 8];

    /// What the small scales are multiplied with, the scales as words, those of even sub-blocks in the
    /// lower half if there are sixteen, and twice all eight if not; and what is to be taken away for
    /// each sub-block, times the sum of its activations: eight numbers, or sixteen.
    unsafe fn scales(block: *const u8) -> (f32, __m256i, [__m256; 2]);
}

macro_rules! super_block {
    ($name:ident, $bytes:expr, $sub:expr, $quants:path, $scales:path) => {
        struct $name;

        impl SuperBlock for $name {
            const BYTES: usize = $bytes;
            const SUB: usize = $sub;

            #[inline(always)]
            unsafe fn quants(block: *const u8) -> [__m256i; 8] {
                // SAFETY: the block is there.
                unsafe { $quants(block) }
            }

            #[inline(always)]
            unsafe fn scales(block: *const u8) -> (f32, __m256i, [__m256; 2]) {
                // SAFETY: the block is there.
                unsafe { $scales(block) }
            }
        }

        impl Kind for $name {
            #[inline(always)]
            unsafe fn row<const VNNI: bool, const N: usize>(
                bytes: &[u8],
                columns: &Columns<N>,
            ) -> [__m256; N] {
                // SAFETY: the caller's promise.
                unsafe { super_row::<Self, VNNI, N>(bytes, columns) }
            }
        }
    };
}

super_block!(Q4K, 144, 32, q4k_quants, eight_scales);
super_block!(Q5K, 176, 32, q5k_quants, eight_scales);
super_block!(Q6K, 210, 16, q6k_quants, q6k_scales);

/// The nibbles of 128 bytes, 32 low ones before the 32 high ones of the same bytes.
#[inline(always)]
unsafe fn super_nibbles(from: *const u8) -> [__m256i; 8] {
    // SAFETY: the caller's block has 128 bytes at the pointer.
    unsafe {
        let mask = _mm256_set1_epi8(0x0f);
        let mut quants = [_mm256_setzero_si256(); 8];
        for pair in 0..4 {
            let packed = _mm256_loadu_si256(from.add(32 * pair).cast());
            quants[2 * pair] = _mm256_and_si256(packed, mask);
            quants[2 * pair + 1] = _mm256_and_si256(_mm256_srli_epi16::<4>(packed), mask);
        }
        quants
    }
}

#[inline(always)]
unsafe fn q4k_quants(block: *const u8) -> [__m256i; 8] {
    // SAFETY: the block has 144 bytes.
    unsafe { super_nibbles(block.add(16)) }
}

#[inline(always)]
unsafe fn q5k_quants(block: *const u8) -> [__m256i; 8] {
    // SAFETY: the block has 176 bytes.
    unsafe {
        let mut quants = super_nibbles(block.add(48));
        // Byte i has the fifth bits of weights i, 32 + i, 64 + i, …, lowest bit first.
        let high = _mm256_loadu_si256(block.add(16).cast());
        for (i, quants) in quants.iter_mut().enumerate() {
            let bit = _mm256_set1_epi8((1u8 << i) as i8);
            let set = _mm256_cmpeq_epi8(_mm256_and_si256(high, bit), bit);
            *quants = _mm256_or_si256(*quants, _mm256_and_si256(set, _mm256_set1_epi8(16)));
        }
        quants
    }
}

#[inline(always)]
unsafe fn q6k_quants(block: *const u8) -> [__m256i; 8] {
    // SAFETY: the block has 210 bytes.
    unsafe {
        let (nibble, two_bits) = (_mm256_set1_epi8(0x0f), _mm256_set1_epi8(0x30));
        let mut quants = [_mm256_setzero_si256(); 8];
        for half in 0..2 {
            let first = _mm256_loadu_si256(block.add(64 * half).cast());
            let second = _mm256_loadu_si256(block.add(64 * half + 32).cast());
            let high = _mm256_loadu_si256(block.add(128 + 32 * half).cast());
            let upper = |packed: __m256i| _mm256_and_si256(_mm256_srli_epi16::<4>(packed), nibble);
            let bits = |shifted: __m256i| _mm256_and_si256(shifted, two_bits);
            let low = [
                _mm256_and_si256(first, nibble),
                _mm256_and_si256(second, nibble),
                upper(first),
                upper(second),
            ];
            let high = [
                bits(_mm256_slli_epi16::<4>(high)),
                bits(_mm256_slli_epi16::<2>(high)),
                bits(high),
                bits(_mm256_srli_epi16::<2>(high)),
            ];
            for i in 0..4 {
                quants[4 * half + i] = _mm256_or_si256(low[i], high[i]);
            }
        }
        quants
    }
}

#[inline(always)]
unsafe fn eight_scales(block: *const u8) -> (f32, __m256i, [__m256; 2]) {
    // SAFETY: the block begins with two halves and twelve bytes of scales.
    unsafe {
        let (scales, mins) = six_bit_scales(std::slice::from_raw_parts(block.add(4), 12));
        let halves = _mm_cvtph_ps(_mm_cvtsi32_si128(block.cast::<i32>().read_unaligned()));
        let words = _mm_cvtepu8_epi16(_mm_cvtsi64_si128(scales as i64));
        let mins = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(mins as i64)));
        let mins = _mm256_mul_ps(mins, _mm256_broadcastss_ps(_mm_movehdup_ps(halves)));
        let words = _mm256_broadcastsi128_si256(words);
        (_mm_cvtss_f32(halves), words, [mins, _mm256_setzero_ps()])
    }
}

#[inline(always)]
unsafe fn q6k_scales(block: *const u8) -> (f32, __m256i, [__m256; 2]) {
    // SAFETY: the block has 210 bytes.
    unsafe {
        let small = _mm_loadu_si128(block.add(192).cast());
        let half = _mm_cvtsi32_si128(i32::from(block.add(208).cast::<u16>().read_unaligned()));
        let scale = _mm_cvtss_f32(_mm_cvtph_ps(half));
        let even_first = _mm_set_epi8(15, 13, 11, 9, 7, 5, 3, 1, 14, 12, 10, 8, 6, 4, 2, 0);
        let words = _mm256_cvtepi8_epi16(_mm_shuffle_epi8(small, even_first));
        let offset = _mm256_set1_ps(32.0 * scale);
        let min =
            |small: __m128i| _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(small)), offset);
        (scale, words, [min(small), min(_mm_srli_si128::<8>(small))])
    }
}

/// See [`Kind::row`].
#[inline(always)]
unsafe fn super_row<T: SuperBlock, const VNNI: bool, const N: usize>(
    bytes: &[u8],
    columns: &Columns<N>,
) -> [__m256; N] {
    let n_subs = 256 / T::SUB;
    // SAFETY: the blocks of the row and of the activations are there.
    unsafe {
        let mut total = [_mm256_setzero_ps(); N];
        for block in 0..bytes.len() / T::BYTES {
            let at = bytes.as_ptr().add(block * T::BYTES);
            for line in 0..T::BYTES.div_ceil(64) {
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(PREFETCH + 64 * line).cast());
            }
            let (scale, words, mins) = T::scales(at);
            let quants = T::quants(at);
            let mut sums = [_mm256_setzero_si256(); N];
            for (part, quants) in quants.into_iter().enumerate() {
                let word = _mm256_set1_epi16((2 * part + ((2 * part + 1) << 8)) as i16);
                let scales = _mm256_shuffle_epi8(words, word);
                for i in 0..N {
                    let activation = columns.quants[i].add(block * 256 + part * 32);
                    let activation = _mm256_loadu_si256(activation.cast());
                    // Quants are below 64, so two products fit 16 bits.
                    let pairs = _mm256_maddubs_epi16(quants, activation);
                    sums[i] = if VNNI {
                        _mm256_dpwssd_avx_epi32(sums[i], pairs, scales)
                    } else {
                        _mm256_add_epi32(sums[i], _mm256_madd_epi16(pairs, scales))
                    };
                }
            }
            for i in 0..N {
                let product = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[i]), _mm256_set1_ps(scale));
                let of_sub =
                    |at: usize| _mm256_loadu_ps(columns.sums[i].add(block * n_subs + 8 * at));
                let mut product = _mm256_fnmadd_ps(mins[0], of_sub(0), product);
                if T::SUB == 16 {
                    product = _mm256_fnmadd_ps(mins[1], of_sub(1), product);
                }
                let scale = _mm256_set1_ps(*columns.scales[i].add(block));
                total[i] = _mm256_fmadd_ps(product, scale, total[i]);
            }
        }
        total
    }
}

/// Unpacks consecutive blocks as [`crate::unpack::unpack`] does.
#[inline(always)]
pub(crate) unsafe fn unpack(block_type: BlockType, bytes: &[u8], to: Unpacked<'_>) {
    // SAFETY: the caller has the features.
    unsafe {
        match block_type {
            BlockType::Q4_0 => unpack_blocks::<Q4_0>(bytes, to),
            BlockType::Q4_1 => unpack_blocks::<Q4_1>(bytes, to),
            BlockType::Q5_0 => unpack_blocks::<Q5_0>(bytes, to),
            BlockType::Q5_1 => unpack_blocks::<Q5_1>(bytes, to),
            BlockType::Q8_0 => unpack_blocks::<Q8_0>(bytes, to),
            _ => crate::unpack::unpack(block_type, bytes, to),
        }
    }
}

/// See [`unpack`].
#[inline(always)]
unsafe fn unpack_blocks<T: Block>(bytes: &[u8], to: Unpacked<'_>) {
    let n_blocks = bytes.len() / T::BYTES;
    assert!(to.quants.len() >= n_blocks * 32);
    assert!(to.scales.len() >= n_blocks && to.mins.len() >= n_blocks);
    for first in (0..n_blocks).step_by(SCALES) {
        let n = (n_blocks - first).min(SCALES);
        // SAFETY: `n` blocks begin here; the slices of `to` have room, asserted above.
        unsafe {
            let at = bytes.as_ptr().add(first * T::BYTES);
            let (scales, mins) = scales_and_mins::<T>(at, n);
            let mins = if T::SIGNED {
                _mm256_mul_ps(scales, _mm256_set1_ps(128.0))
            } else {
                match T::OFFSET {
                    Some(offset) => _mm256_mul_ps(scales, _mm256_set1_ps(offset)),
                    None => _mm256_sub_ps(_mm256_setzero_ps(), mins),
                }
            };
            let (mut both, scales_to) = ([[0f32; SCALES]; 2], first..first + n);
            _mm256_storeu_ps(both[0].as_mut_ptr(), scales);
            _mm256_storeu_ps(both[1].as_mut_ptr(), mins);
            to.scales[scales_to.clone()].copy_from_slice(&both[0][..n]);
            to.mins[scales_to].copy_from_slice(&both[1][..n]);
            for block in 0..n {
                let quants = T::quants(at.add(block * T::BYTES));
                let quants = if T::SIGNED {
                    _mm256_xor_si256(quants, _mm256_set1_epi8(-128))
                } else {
                    quants
                };
                let to = to.quants.as_mut_ptr().add((first + block) * 32);
                _mm256_storeu_si256(to.cast(), quants);
            }
        }
    }
}
