//! Vectors of floats, so that a kernel is written once and compiled for every family.

#[cfg(target_arch = "aarch64")]
mod neon;

use crate::unpack::f16_to_f32;
use half::{bf16, f16};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Numbers to which buffers are padded: a multiple of every [`Simd::LANES`].
pub(crate) const PADDING: usize = 16;

/// A vector of `f32`.
///
/// Every method is `unsafe`, because it runs the instructions of its family and has to be inlined
/// into a function with their target features. A pointer must be good for [`LANES`](Self::LANES)
/// elements, aligned or not, if nothing else is said.
pub(crate) trait Simd: Copy {
    const LANES: usize;
    /// Whether halves are widened by an instruction, so that doing it again costs little.
    const WIDENS: bool;
    /// Queries that meet four keys at once. This and what follows keeps as many sums in registers
    /// as there is room for beside what is multiplied.
    const FEW_QUERIES: usize;
    /// Vectors of queries that meet [`MANY_KEYS`](Self::MANY_KEYS) keys at once.
    const MANY_QUERIES: usize;
    const MANY_KEYS: usize;
    /// Vectors of values that four rows of weights meet at once.
    const VALUES: usize;

    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn load_halves(from: *const f16) -> Self;
    unsafe fn load_bf16(from: *const bf16) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// Returns `self * factor + term`.
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self;
    /// Returns the larger, and `other` if either is no number.
    unsafe fn max(self, other: Self) -> Self;
    /// Returns 2^n for `self = n + 1.5 * 2^23` with an integer `n` of -127..=127, where 2^-127
    /// counts as zero.
    unsafe fn power_of_two(self) -> Self;
    /// Writes the sums of the lanes of four vectors to four floats.
    unsafe fn store_sums(vectors: [Self; 4], to: *mut f32);
}

/// Four floats in plain Rust.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 4]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Simd for Portable {
    const LANES: usize = 4;
    const WIDENS: bool = false;
    const FEW_QUERIES: usize = 2;
    const MANY_QUERIES: usize = 2;
    const MANY_KEYS: usize = 4;
    const VALUES: usize = 2;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's pointer is good for four elements.
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_halves(from: *const f16) -> Self {
        // SAFETY: the caller's pointer is good for four elements.
        let halves = unsafe { from.cast::<[u16; 4]>().read_unaligned() };
        Self(halves.map(f16_to_f32))
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        // SAFETY: the caller's pointer is good for four elements.
        let numbers = unsafe { from.cast::<[u16; 4]>().read_unaligned() };
        Self(numbers.map(|bits| f32::from_bits(u32::from(bits) << 16)))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's pointer is good for four elements.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        // Not `f32::mul_add`, which is a call where the machine cannot do it in one step.
        self.zip(factor, |a, b| a * b).zip(term, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        Self(self.0.map(|x| f32::from_bits((x.to_bits() << 23).wrapping_add(127 << 23))))
    }

    #[inline(always)]
    unsafe fn store_sums(vectors: [Self; 4], to: *mut f32) {
        let sums = vectors.map(|Self([a, b, c, d])| (a + b) + (c + d));
        // SAFETY: the caller's pointer is good for four elements.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(sums) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Simd for __m256 {
    const LANES: usize = 8;
    const WIDENS: bool = true;
    const FEW_QUERIES: usize = 3;
    const MANY_QUERIES: usize = 2;
    const MANY_KEYS: usize = 6;
    const VALUES: usize = 2;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller is compiled for AVX2, FMA and F16C, and its pointers are good.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller is compiled for AVX2, FMA and F16C, and its pointers are good.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_halves(from: *const f16) -> Self {
        // SAFETY: the caller is compiled for AVX2, FMA and F16C, and its pointers are good.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        // SAFETY: the caller is compiled for AVX2, FMA and F16C, and its pointers are good.
        unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller is compiled for AVX2, FMA and F16C, and its pointers are good.
        unsafe { _mm256_storeu_ps(to, self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller is compiled for AVX2, FMA and F16C, and its pointers are good.
        unsafe { _mm256_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller is compiled for AVX2, FMA and F16C, and its pointers are good.
        unsafe { _mm256_sub_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the caller is compiled for AVX2, FMA and F16C, and its pointers are good.
        unsafe { _mm256_mul_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        // SAFETY: the caller is compiled for AVX2, FMA and F16C, and its pointers are good.
        unsafe { _mm256_fmadd_ps(self, factor, term) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the caller is compiled for AVX2, FMA and F16C, and its pointers are good.
        unsafe { _mm256_max_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        // SAFETY: the caller is compiled for AVX2, FMA and F16C, and its pointers are good.
        unsafe {
            let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(self));
            _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(127 << 23)))
        }
    }

    #[inline(always)]
    unsafe fn store_sums(vectors: [Self; 4], to: *mut f32) {
        // SAFETY: the caller is compiled for AVX2, FMA and F16C, and its pointers are good.
        unsafe {
            let [a, b, c, d] = vectors;
            let ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            let (ab, cd) = (_mm256_castps_pd(ab), _mm256_castps_pd(cd));
            let (low, high) = (_mm256_unpacklo_pd(ab, cd), _mm256_unpackhi_pd(ab, cd));
            // Each half now has partial sums of all four vectors.
            let sums = _mm256_add_ps(_mm256_castpd_ps(low), _mm256_castpd_ps(high));
            let sums = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps::<1>(sums));
            _mm_storeu_ps(to, sums);
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Simd for __m512 {
    const LANES: usize = 16;
    const WIDENS: bool = true;
    const FEW_QUERIES: usize = 6;
    const MANY_QUERIES: usize = 3;
    const MANY_KEYS: usize = 8;
    const VALUES: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller is compiled for AVX-512, and its pointers are good.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller is compiled for AVX-512, and its pointers are good.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_halves(from: *const f16) -> Self {
        // SAFETY: the caller is compiled for AVX-512, and its pointers are good.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        // SAFETY: the caller is compiled for AVX-512, and its pointers are good.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller is compiled for AVX-512, and its pointers are good.
        unsafe { _mm512_storeu_ps(to, self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller is compiled for AVX-512, and its pointers are good.
        unsafe { _mm512_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller is compiled for AVX-512, and its pointers are good.
        unsafe { _mm512_sub_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the caller is compiled for AVX-512, and its pointers are good.
        unsafe { _mm512_mul_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        // SAFETY: the caller is compiled for AVX-512, and its pointers are good.
        unsafe { _mm512_fmadd_ps(self, factor, term) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the caller is compiled for AVX-512, and its pointers are good.
        unsafe { _mm512_max_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        // SAFETY: the caller is compiled for AVX-512, and its pointers are good.
        unsafe {
            let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(self));
            _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(127 << 23)))
        }
    }

    #[inline(always)]
    unsafe fn store_sums(vectors: [Self; 4], to: *mut f32) {
        // SAFETY: the caller is compiled for AVX-512, and its pointers are good.
        unsafe {
            let [a, b, c, d] = vectors;
            let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
            let (low, high) = (_mm512_unpacklo_pd(ab, cd), _mm512_unpackhi_pd(ab, cd));
            // Each quarter now has partial sums of all four vectors.
            let sums = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
            let low = _mm512_castps512_ps256(sums);
            let sums = _mm256_add_ps(low, _mm512_extractf32x8_ps::<1>(sums));
            let sums = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps::<1>(sums));
            _mm_storeu_ps(to, sums);
        }
    }
}
