//! Vectors of bytes and sums of their products, so that a kernel is written once and compiled for
//! every family.

use crate::BlockType;
#[cfg(target_arch = "x86_64")]
use crate::bf16::transpose_16x16;
use crate::simd::{Portable, Simd};
use crate::unpack::{Unpacked, unpack};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Products of weights and activations are added up in groups of so many neighbours.
pub(crate) const QUAD: usize = 4;

/// A vector of bytes: [`QUAD`] for each number of [`Floats`](Self::Floats).
///
/// Every method is `unsafe`, because it runs the instructions of its family and has to be inlined
/// into a function with their target features. A pointer must be good for a vector, aligned or not,
/// if nothing else is said.
pub(crate) trait Bytes: Copy {
    /// What sums become.
    type Floats: Simd;
    /// A sum of 32 bits for each number of `Floats`.
    type Sums: Copy;
    /// Bytes in a vector.
    const LEN: usize = QUAD * Self::Floats::LANES;
    /// Whether weights of eight bits are signed, and not 128 more; others have no sign in any case.
    const IS_SIGNED: bool;

    unsafe fn load(from: *const u8) -> Self;
    /// Returns a vector of the [`QUAD`] bytes at `from`, over and over.
    unsafe fn splat_quad(from: *const i8) -> Self;
    unsafe fn splat_sum(sum: i32) -> Self::Sums;
    /// Returns the sums with those of the products of each quad added. Weights are below 128; if
    /// `WIDE` they have eight bits, with or without a sign as [`IS_SIGNED`](Self::IS_SIGNED) says.
    unsafe fn dot<const WIDE: bool>(
        sums: Self::Sums,
        weights: Self,
        activations: Self,
    ) -> Self::Sums;
    unsafe fn to_floats(sums: Self::Sums) -> Self::Floats;
    /// Returns the first number in the lanes of the first half of a vector's bytes, the second one in
    /// the others.
    unsafe fn splat_halves(from: *const f32) -> Self::Floats;

    /// Unpacks consecutive blocks as [`unpack`] does.
    #[inline(always)]
    unsafe fn unpack(block_type: BlockType, bytes: &[u8], to: Unpacked<'_>) {
        unpack(block_type, bytes, to);
    }

    /// Copies `n_quads` quads, a multiple of eight, of each of as many rows as there are sums in a
    /// vector, so that those of the same columns form a vector, and vectors are `step` bytes apart.
    #[inline(always)]
    unsafe fn interleave(
        rows: *const u8,
        row_bytes: usize,
        n_quads: usize,
        to: *mut u8,
        step: usize,
    ) {
        for quad in 0..n_quads {
            for row in 0..Self::Floats::LANES {
                // SAFETY: the caller's rows and vectors are there.
                unsafe {
                    let from = rows.add(row * row_bytes + quad * QUAD).cast::<[u8; QUAD]>();
                    let to = to.add(quad * step + row * QUAD).cast::<[u8; QUAD]>();
                    to.write_unaligned(from.read_unaligned());
                }
            }
        }
    }

    /// Multiplies `STEPS` quads of columns of `V` vectors of rows, `(STEPS, V)`, with those of `N`
    /// rows of activations, and returns the sums, which begin with `starts`. Weights are below
    /// `LEVELS`.
    #[inline(always)]
    unsafe fn dot_quads<const V: usize, const N: usize, const STEPS: usize, const LEVELS: usize>(
        weights: *const u8,
        activations: [*const i8; N],
        starts: [i32; N],
    ) -> [[Self::Sums; N]; V] {
        // SAFETY: the caller's pointers are good for so many steps.
        unsafe {
            let starts: [Self::Sums; N] = std::array::from_fn(|i| Self::splat_sum(starts[i]));
            let mut sums = [starts; V];
            for step in 0..STEPS {
                let weights: [Self; V] =
                    std::array::from_fn(|v| Self::load(weights.add((step * V + v) * Self::LEN)));
                for i in 0..N {
                    let four = Self::splat_quad(activations[i].add(step * QUAD));
                    for v in 0..V {
                        sums[v][i] = if LEVELS > 128 {
                            Self::dot::<true>(sums[v][i], weights[v], four)
                        } else {
                            Self::dot::<false>(sums[v][i], weights[v], four)
                        };
                    }
                }
            }
            sums
        }
    }
}

/// Sixteen bytes in plain Rust.
#[derive(Clone, Copy)]
pub(crate) struct PortableBytes([u8; 16]);

impl Bytes for PortableBytes {
    type Floats = Portable;
    type Sums = [i32; 4];
    const IS_SIGNED: bool = true;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller's pointer is good for a vector.
        Self(unsafe { from.cast::<[u8; 16]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn splat_quad(from: *const i8) -> Self {
        // SAFETY: the caller's pointer is good for four bytes.
        let [a, b, c, d] = unsafe { from.cast::<[u8; 4]>().read_unaligned() };
        Self([a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d])
    }

    #[inline(always)]
    unsafe fn splat_sum(sum: i32) -> [i32; 4] {
        [sum; 4]
    }

    #[inline(always)]
    unsafe fn dot<const WIDE: bool>(sums: [i32; 4], weights: Self, activations: Self) -> [i32; 4] {
        // All have a sign here, those below 128 too.
        let product = |i: usize| i32::from(weights.0[i] as i8) * i32::from(activations.0[i] as i8);
        std::array::from_fn(|lane| sums[lane] + (4 * lane..4 * lane + 4).map(product).sum::<i32>())
    }

    #[inline(always)]
    unsafe fn to_floats(sums: [i32; 4]) -> Portable {
        let floats = sums.map(|sum| sum as f32);
        // SAFETY: there are four.
        unsafe { Portable::load(floats.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn splat_halves(from: *const f32) -> Portable {
        // SAFETY: the caller's pointer is good for two numbers.
        unsafe {
            let [a, b] = from.cast::<[f32; 2]>().read_unaligned();
            Portable::load([a, a, b, b].as_ptr())
        }
    }
}

/// Thirty-two bytes with AVX2 alone.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx2Bytes(__m256i);

/// Returns the first number in four lanes, the second one in the others.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn splat_halves_256(from: *const f32) -> __m256 {
    // SAFETY: the caller is compiled for AVX2, and its pointer is good for two numbers.
    unsafe {
        let both = _mm256_castpd_ps(_mm256_broadcast_sd(&*from.cast()));
        _mm256_permutevar_ps(both, _mm256_set_epi32(1, 1, 1, 1, 0, 0, 0, 0))
    }
}

/// [`Bytes::interleave`] of eight rows.
#[cfg(target_arch = "x86_64")]
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
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn dot_pairs(weights: __m256i, activations: __m256i) -> __m256i {
    // SAFETY: the caller is compiled for AVX2.
    unsafe { _mm256_maddubs_epi16(weights, activations) }
}

#[cfg(target_arch = "x86_64")]
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
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct AvxVnniBytes(__m256i);

#[cfg(target_arch = "x86_64")]
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
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx512Bytes(__m512i);

#[cfg(target_arch = "x86_64")]
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
                let row = |row: usize| {
                    let from = rows.add(row * row_bytes + first * QUAD);
                    if n == 16 {
                        _mm512_loadu_si512(from.cast())
                    } else {
                        _mm512_castsi256_si512(_mm256_loadu_si256(from.cast()))
                    }
                };
                let vectors = transpose_16x16(std::array::from_fn(row));
                for (at, vector) in vectors.into_iter().enumerate().take(n) {
                    _mm512_storeu_si512(to.add((first + at) * step).cast(), vector);
                }
            }
        }
    }
}
