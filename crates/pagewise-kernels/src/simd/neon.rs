//! Four floats of 64-bit ARM processors.

use super::Simd;
use half::{bf16, f16};
use std::arch::aarch64::*;

impl Simd for float32x4_t {
    const LANES: usize = 4;
    const WIDENS: bool = true;
    const FEW_QUERIES: usize = 4;
    const MANY_QUERIES: usize = 2;
    const MANY_KEYS: usize = 8;
    const VALUES: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: every such processor has the instructions here and below; the caller's pointers are
        // good.
        unsafe { vdupq_n_f32(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn load_halves(from: *const f16) -> Self {
        // SAFETY: as above.
        unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        // SAFETY: as above.
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { vst1q_f32(to, self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { vaddq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { vsubq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { vmulq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        // SAFETY: as above.
        unsafe { vfmaq_f32(term, self, factor) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // Not the instruction of that name, for which a number that is none is the larger one.
        // SAFETY: as above.
        unsafe { vbslq_f32(vcgtq_f32(self, other), self, other) }
    }

    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        // SAFETY: as above.
        unsafe {
            let exponent = vshlq_n_s32::<23>(vreinterpretq_s32_f32(self));
            vreinterpretq_f32_s32(vaddq_s32(exponent, vdupq_n_s32(127 << 23)))
        }
    }

    #[inline(always)]
    unsafe fn store_sums(vectors: [Self; 4], to: *mut f32) {
        // SAFETY: as above.
        unsafe {
            let [a, b, c, d] = vectors;
            vst1q_f32(to, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)));
        }
    }
}
