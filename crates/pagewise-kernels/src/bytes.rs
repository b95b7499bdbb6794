//! Vectors of bytes and sums of their products, so that a kernel is written once and compiled for
//! every family.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::BlockType;
use crate::simd::{Portable, Simd};
use crate::unpack::{Unpacked, unpack};

#[cfg(target_arch = "aarch64")]
pub(crate) use neon::{DotprodBytes, I8mmBytes, NeonBytes};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2Bytes, Avx512Bytes, AvxVnniBytes};

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
