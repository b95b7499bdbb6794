//! Vectors of sixteen bytes of 64-bit ARM processors: with what all of them have, with products of quads
//! (`dotprod`), and with products of small matrices (`i8mm`).
//!
//! The instructions of the last two have no stable intrinsics yet.

use super::{Bytes, QUAD};
use std::arch::aarch64::*;
use std::arch::asm;

/// Returns the sums with those of the products of each quad added.
#[inline(always)]
unsafe fn dot(sums: int32x4_t, weights: int8x16_t, activations: int8x16_t) -> int32x4_t {
    // SAFETY: every such processor has the instructions. Two products of at most 128 * 127 fit 16 bits.
    unsafe {
        let low = vmull_s8(vget_low_s8(weights), vget_low_s8(activations));
        let high = vmull_high_s8(weights, activations);
        vpadalq_s16(sums, vpaddq_s16(low, high))
    }
}

/// The same with `dotprod`.
#[inline(always)]
unsafe fn dot_quads(sums: int32x4_t, weights: int8x16_t, activations: int8x16_t) -> int32x4_t {
    let mut sums = sums;
    // SAFETY: the caller's machine has the instruction, which touches registers only.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {activations:v}.16b",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            activations = in(vreg) activations,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Returns four sums with the products added of two rows of eight weights and two of eight activations:
/// those of the first row come first.
#[inline(always)]
unsafe fn dot_matrices(sums: int32x4_t, weights: int8x16_t, activations: int8x16_t) -> int32x4_t {
    let mut sums = sums;
    // SAFETY: the caller's machine has `i8mm`, and the instruction touches registers only.
    unsafe {
        asm!(
            "smmla {sums:v}.4s, {weights:v}.16b, {activations:v}.16b",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            activations = in(vreg) activations,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

macro_rules! bytes {
    ($(#[$doc:meta])* $name:ident, $dot:path $(, $dot_quads:item)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name(int8x16_t);

        impl Bytes for $name {
            type Floats = float32x4_t;
            type Sums = int32x4_t;
            const IS_SIGNED: bool = true;

            #[inline(always)]
            unsafe fn load(from: *const u8) -> Self {
                // SAFETY: the caller's pointer is good for a vector.
                Self(unsafe { vld1q_s8(from.cast()) })
            }

            #[inline(always)]
            unsafe fn splat_quad(from: *const i8) -> Self {
                // SAFETY: the caller's pointer is good for four bytes.
                Self(unsafe { vreinterpretq_s8_s32(vdupq_n_s32(from.cast::<i32>().read_unaligned())) })
            }

            #[inline(always)]
            unsafe fn splat_sum(sum: i32) -> int32x4_t {
                // SAFETY: every such processor has the instruction.
                unsafe { vdupq_n_s32(sum) }
            }

            #[inline(always)]
            unsafe fn dot<const WIDE: bool>(
                sums: int32x4_t,
                weights: Self,
                activations: Self,
            ) -> int32x4_t {
                // SAFETY: the caller has the features. Both have a sign.
                unsafe { $dot(sums, weights.0, activations.0) }
            }

            #[inline(always)]
            unsafe fn to_floats(sums: int32x4_t) -> float32x4_t {
                // SAFETY: every such processor has the instruction.
                unsafe { vcvtq_f32_s32(sums) }
            }

            #[inline(always)]
            unsafe fn splat_halves(from: *const f32) -> float32x4_t {
                // SAFETY: the caller's pointer is good for two numbers.
                unsafe { vcombine_f32(vdup_n_f32(*from), vdup_n_f32(*from.add(1))) }
            }

            $($dot_quads)?
        }
    };
}

bytes!(
    /// With what every such processor has.
    NeonBytes,
    dot
);

bytes!(
    /// With `dotprod`.
    DotprodBytes,
    dot_quads
);

bytes!(
    /// With `dotprod` and `i8mm`.
    I8mmBytes,
    dot_quads,
    /// Two rows of weights meet two of activations in each product.
    ///
    /// ```text
    /// quads as they lie     r0 c0-3  r1 c0-3  r2 c0-3  r3 c0-3     r0 c4-7  r1 c4-7  r2 c4-7  r3 c4-7
    /// matrices of two rows  r0 c0-7           r1 c0-7              r2 c0-7           r3 c0-7
    /// sums                  r0 a0    r0 a1    r1 a0    r1 a1       r2 a0    r2 a1    r3 a0    r3 a1
    /// ```
    #[inline(always)]
    unsafe fn dot_quads<const V: usize, const N: usize, const STEPS: usize, const LEVELS: usize>(
        weights: *const u8,
        activations: [*const i8; N],
        starts: [i32; N],
    ) -> [[int32x4_t; N]; V] {
        // SAFETY: the caller has the features, and its pointers are good for so many steps, which are
        // an even number.
        unsafe {
            let zero = vdupq_n_s32(0);
            // Of each vector of rows and pair of activations: of the first two rows, and of the others.
            let mut sums = [[[zero; 2]; N]; V];
            for step in (0..STEPS).step_by(2) {
                let matrices: [[int8x16_t; 2]; V] = std::array::from_fn(|v| {
                    let at = weights.add((step * V + v) * Self::LEN);
                    let first = vld1q_s32(at.cast());
                    let second = vld1q_s32(at.add(V * Self::LEN).cast());
                    [vzip1q_s32(first, second), vzip2q_s32(first, second)].map(|rows| vreinterpretq_s8_s32(rows))
                });
                for pair in 0..N.div_ceil(2) {
                    let eight = |i: usize| vld1_s8(activations[i].add(step * QUAD));
                    // The last one of an odd number meets itself.
                    let (a, b) = (2 * pair, (2 * pair + 1).min(N - 1));
                    let both = vcombine_s8(eight(a), eight(b));
                    for v in 0..V {
                        for half in 0..2 {
                            sums[v][pair][half] =
                                dot_matrices(sums[v][pair][half], matrices[v][half], both);
                        }
                    }
                }
            }
            std::array::from_fn(|v| {
                std::array::from_fn(|i| {
                    let [upper, lower] = sums[v][i / 2];
                    let of_row = if i % 2 == 0 {
                        vuzp1q_s32(upper, lower)
                    } else {
                        vuzp2q_s32(upper, lower)
                    };
                    vaddq_s32(of_row, vdupq_n_s32(starts[i]))
                })
            })
        }
    }
);
