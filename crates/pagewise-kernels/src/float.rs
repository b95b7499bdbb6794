//! Floating point weights against floating point activations.

use crate::isa::multiversion;
use crate::matrix::{Matrix, Output};
use crate::unpack::f16_to_f32;
use crate::{BlockType, Isa};
use std::cell::RefCell;
use std::ops::Range;

/// Rows widened to `f32` together.
const ROWS: usize = 4;

/// Partial sums of one dot product: their number fixes the result on every machine.
const LANES: usize = 32;

thread_local! {
    static SCRATCH: RefCell<[Vec<f32>; ROWS]> = RefCell::default();
}

/// Computes the outputs of `rows` for all activations, `(m, n_cols)`.
pub(crate) fn multiply(
    isa: Isa,
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    activations: &[f32],
    m: usize,
    out: &Output,
) {
    let n_cols = matrix.n_cols();
    SCRATCH.with_borrow_mut(|scratch| {
        for first in rows.clone().step_by(ROWS) {
            for (to, row) in scratch.iter_mut().zip(first..rows.end) {
                to.resize(n_cols, 0.0);
                widen(isa, matrix.block_type(), matrix.row(row), to);
            }
            for column in 0..m {
                let activation = &activations[column * n_cols..][..n_cols];
                for (row, weights) in (first..rows.end).zip(scratch.iter()) {
                    out.set(column, row, dot(isa, weights, activation));
                }
            }
        }
    });
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
