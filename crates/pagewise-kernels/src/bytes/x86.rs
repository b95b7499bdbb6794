//! Vectors of bytes of x86-64.

use super::{Bytes, QUAD};
use crate::BlockType;
use crate::bf16::{transpose_16x16, vectors};
use crate::unpack::Unpacked;
use std::arch::x86_64::*;

/// Thirty-two bytes with AVX2 alone.
#[derive(Clone, Copy)]
pub(crate) struct Avx2Bytes(__m256i);

/// Returns the first number in four lanes, the second one in the others.
#[inline(always)]
unsafe fn splat_halves_256(from: *const f32) -> __m256 {
    // SAFETY: the caller is compiled for AVX2, and its pointer is good for two numbers.
    unsafe {
        let both = _mm256_castpd_ps(_mm256_broadcast_sd(&*from.cast()));
        _mm256_permutevar_ps(both, _mm256_set_epi32(1, 1, 1, 1, 0, 0, 0, 0))
    }
}

/// [`Bytes::interleave`] of eight rows.
#[inline(always)]
unsafe fn interleave_8(
    rows: *const u8,
    row_bytes: usize,
    n_quads: usize,
    to: *mut u8,
    step: usize,
) {
    for first in (0..n_quads).step_by(8) {
        // SAFETY: the caller is compiled for AVX2, and its rows and vectors are there.
        unsafe {
            let row = |row: usize| {
                _mm256_loadu_si256(rows.add(row * row_bytes + first * QUAD).cast::<__m256i>())
            };
            let r: [__m256i; 8] = std::array::from_fn(row);
            let mut t = [_mm256_setzero_si256(); 8];
            for i in 0..4 {
                t[2 * i] = _mm256_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm256_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
            }
            // Of four rows each, the quads `i` in the lower half and `4 + i` in the upper one.
            let four = |at: usize| {
                [
                    _mm256_unpacklo_epi64(t[at], t[at + 2]),
                    _mm256_unpackhi_epi64(t[at], t[at + 2]),
                    _mm256_unpacklo_epi64(t[at + 1], t[at + 3]),
                    _mm256_unpackhi_epi64(t[at + 1], t[at + 3]),
                ]
            };
            let (upper, lower) = (four(0), four(4));
            for i in 0..4 {
                let vector = _mm256_permute2x128_si256::<0x20>(upper[i], lower[i]);
                _mm256_storeu_si256(to.add((first + i) * step).cast(), vector);
                let vector = _mm256_permute2x128_si256::<0x31>(upper[i], lower[i]);
                _mm256_storeu_si256(to.add((first + 4 + i) * step).cast(), vector);
            }
        }
    }
}

/// Returns 16 sums of the products of two neighbours. They overflow if weights are not below 128.
#[inline(always)]
unsafe fn dot_pairs(weights: __m256i, activations: __m256i) -> __m256i {
    // SAFETY: the caller is compiled for AVX2.
    unsafe { _mm256_maddubs_epi16(weights, activations) }
}

impl Bytes for Avx2Bytes {
    type Floats = __m256;
    type Sums = __m256i;
    const IS_SIGNED: bool = true;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller is compiled for AVX2, and its pointer is good.
        Self(unsafe { _mm256_loadu_si256(from.cast()) })
    }

    #[inline(always)]
    unsafe fn splat_quad(from: *const i8) -> Self {
        // SAFETY: the caller is compiled for AVX2, and its pointer is good for four bytes.
        Self(unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) })
    }

    #[inline(always)]
    unsafe fn splat_sum(sum: i32) -> __m256i {
        // SAFETY: the caller is compiled for AVX2.
        unsafe { _mm256_set1_epi32(sum) }
    }

    #[inline(always)]
    unsafe fn dot<const WIDE: bool>(sums: __m256i, weights: Self, activations: Self) -> __m256i {
        // SAFETY: the caller is compiled for AVX2.
        unsafe {
            let pairs = if WIDE {
                // The sign moves to the activations, which are above -128.
                let activations = _mm256_sign_epi8(activations.0, weights.0);
                dot_pairs(_mm256_abs_epi8(weights.0), activations)
            } else {
                dot_pairs(weights.0, activations.0)
            };
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }

    #[inline(always)]
    unsafe fn to_floats(sums: __m256i) -> __m256 {
        // SAFETY: the caller is compiled for AVX2.
        unsafe { _mm256_cvtepi32_ps(sums) }
    }

    #[inline(always)]
    unsafe fn unpack(block_type: BlockType, bytes: &[u8], to: Unpacked<'_>) {
        // SAFETY: the caller is compiled for AVX2.
        unsafe { crate::gemv::unpack_avx2(block_type, bytes, to) }
    }

    #[inline(always)]
    unsafe fn splat_halves(from: *const f32) -> __m256 {
        // SAFETY: the caller is compiled for AVX2, and its pointer is good for two numbers.
        unsafe { splat_halves_256(from) }
    }

    #[inline(always)]
    unsafe fn interleave(
        rows: *const u8,
        row_bytes: usize,
        n_quads: usize,
        to: *mut u8,
        step: usize,
    ) {
        // SAFETY: the caller is compiled for AVX2, and its rows and vectors are there.
        unsafe { interleave_8(rows, row_bytes, n_quads, to, step) }
    }

    /// Adds up as many products as 16 bits hold before it widens them.
    #[inline(always)]
    unsafe fn dot_quads<const V: usize, const N: usize, const STEPS: usize, const LEVELS: usize>(
        weights: *const u8,
        activations: [*const i8; N],
        starts: [i32; N],
    ) -> [[__m256i; N]; V] {
        // SAFETY: the caller is compiled for AVX2, and its pointers are good for so many steps.
        unsafe {
            let starts: [__m256i; N] = std::array::from_fn(|i| Self::splat_sum(starts[i]));
            let mut sums = [starts; V];
            // Two products of at most (LEVELS - 1) * 127 each, in magnitude.
            let narrow = (i16::MAX as usize / (2 * 127 * (LEVELS.min(128) - 1))).clamp(1, STEPS);
            for first in (0..STEPS).step_by(narrow) {
                let mut pairs = [[_mm256_setzero_si256(); N]; V];
                for step in first..first + narrow.min(STEPS - first) {
                    let weights: [Self; V] = std::array::from_fn(|v| {
                        Self::load(weights.add((step * V + v) * Self::LEN))
                    });
                    for i in 0..N {
                        let four = Self::splat_quad(activations[i].add(step * QUAD));
                        for v in 0..V {
                            let product = if LEVELS > 128 {
                                let four = _mm256_sign_epi8(four.0, weights[v].0);
                                dot_pairs(_mm256_abs_epi8(weights[v].0), four)
                            } else {
                                dot_pairs(weights[v].0, four.0)
                            };
                            pairs[v][i] = if step == first {
                                product
                            } else {
                                _mm256_add_epi16(pairs[v][i], product)
                            };
                        }
                    }
                }
                for v in 0..V {
                    for i in 0..N {
                        let wide = _mm256_madd_epi16(pairs[v][i], _mm256_set1_epi16(1));
                        sums[v][i] = _mm256_add_epi32(sums[v][i], wide);
                    }
                }
            }
            sums
        }
    }
}

/// Thirty-two bytes with VNNI.
#[derive(Clone, Copy)]
pub(crate) struct AvxVnniBytes(__m256i);

impl Bytes for AvxVnniBytes {
    type Floats = __m256;
    type Sums = __m256i;
    const IS_SIGNED: bool = false;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller is compiled for AVX2 and AVX-VNNI, and its pointer is good.
        Self(unsafe { _mm256_loadu_si256(from.cast()) })
    }

    #[inline(always)]
    unsafe fn splat_quad(from: *const i8) -> Self {
        // SAFETY: as above, for four bytes.
        Self(unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) })
    }

    #[inline(always)]
    unsafe fn splat_sum(sum: i32) -> __m256i {
        // SAFETY: the caller is compiled for AVX2 and AVX-VNNI.
        unsafe { _mm256_set1_epi32(sum) }
    }

    #[inline(always)]
    unsafe fn dot<const WIDE: bool>(sums: __m256i, weights: Self, activations: Self) -> __m256i {
        // SAFETY: the caller is compiled for AVX2 and AVX-VNNI.
        unsafe { _mm256_dpbusd_avx_epi32(sums, weights.0, activations.0) }
    }

    #[inline(always)]
    unsafe fn to_floats(sums: __m256i) -> __m256 {
        // SAFETY: the caller is compiled for AVX2 and AVX-VNNI.
        unsafe { _mm256_cvtepi32_ps(sums) }
    }

    #[inline(always)]
    unsafe fn unpack(block_type: BlockType, bytes: &[u8], to: Unpacked<'_>) {
        // SAFETY: the caller is compiled for AVX2.
        unsafe { crate::gemv::unpack_avx2(block_type, bytes, to) }
    }

    #[inline(always)]
    unsafe fn splat_halves(from: *const f32) -> __m256 {
        // SAFETY: the caller is compiled for AVX2, and its pointer is good for two numbers.
        unsafe { splat_halves_256(from) }
    }

    #[inline(always)]
    unsafe fn interleave(
        rows: *const u8,
        row_bytes: usize,
        n_quads: usize,
        to: *mut u8,
        step: usize,
    ) {
        // SAFETY: the caller is compiled for AVX2, and its rows and vectors are there.
        unsafe { interleave_8(rows, row_bytes, n_quads, to, step) }
    }
}

/// Sixty-four bytes with VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Avx512Bytes(__m512i);

impl Bytes for Avx512Bytes {
    type Floats = __m512;
    type Sums = __m512i;
    const IS_SIGNED: bool = false;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller is compiled for AVX-512 with VNNI, and its pointer is good.
        Self(unsafe { _mm512_loadu_si512(from.cast()) })
    }

    #[inline(always)]
    unsafe fn splat_quad(from: *const i8) -> Self {
        // SAFETY: as above, for four bytes.
        Self(unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) })
    }

    #[inline(always)]
    unsafe fn splat_sum(sum: i32) -> __m512i {
        // SAFETY: the caller is compiled for AVX-512 with VNNI.
        unsafe { _mm512_set1_epi32(sum) }
    }

    #[inline(always)]
    unsafe fn dot<const WIDE: bool>(sums: __m512i, weights: Self, activations: Self) -> __m512i {
        // SAFETY: the caller is compiled for AVX-512 with VNNI.
        unsafe { _mm512_dpbusd_epi32(sums, weights.0, activations.0) }
    }

    #[inline(always)]
    unsafe fn to_floats(sums: __m512i) -> __m512 {
        // SAFETY: the caller is compiled for AVX-512 with VNNI.
        unsafe { _mm512_cvtepi32_ps(sums) }
    }

    #[inline(always)]
    unsafe fn unpack(block_type: BlockType, bytes: &[u8], to: Unpacked<'_>) {
        // SAFETY: the caller is compiled for AVX-512 with VNNI.
        unsafe { crate::gemv::unpack(block_type, bytes, to) }
    }

    #[inline(always)]
    unsafe fn splat_halves(from: *const f32) -> __m512 {
        // SAFETY: the caller is compiled for AVX-512, and its pointer is good for two numbers.
        unsafe { _mm512_mask_blend_ps(0xff00, _mm512_set1_ps(*from), _mm512_set1_ps(*from.add(1))) }
    }

    #[inline(always)]
    unsafe fn interleave(
        rows: *const u8,
        row_bytes: usize,
        n_quads: usize,
        to: *mut u8,
        step: usize,
    ) {
        for first in (0..n_quads).step_by(16) {
            // The last stretch may have eight quads.
            let n = (n_quads - first).min(16);
            // SAFETY: the caller is compiled for AVX-512, and its rows and vectors are there.
            unsafe {
                let mask = if n == 16 { 0xffff } else { 0x00ff };
                let vectors = transpose_16x16(vectors![16; |row| {
                    let from = rows.add(row * row_bytes + first * QUAD);
                    _mm512_maskz_loadu_epi32(mask, from.cast())
                }]);
                // So many always, or the vectors would have to be in memory.
                for (at, vector) in vectors.into_iter().enumerate() {
                    if at < n {
                        _mm512_storeu_si512(to.add((first + at) * step).cast(), vector);
                    }
                }
            }
        }
    }
}
