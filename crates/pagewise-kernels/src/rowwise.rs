//! Rows of any quantised type against any number of activations, on any machine.
//!
//! A few rows at a time are unpacked into cache-sized scratch and each is multiplied with every
//! row of activations. The faster kernels cover what this one is measured to be too slow for.

use crate::activations::Activations;
use crate::isa::multiversion;
use crate::matrix::Matrix;
use crate::product::Output;
use crate::unpack::{Unpacked, unpack};
use crate::{BlockType, Isa};
use std::cell::RefCell;
use std::ops::Range;

/// Rows unpacked together, so that activations are read once for several.
pub(crate) const ROWS: usize = 4;

/// One row, unpacked.
#[derive(Default)]
pub(crate) struct Row {
    pub(crate) quants: Vec<u8>,
    pub(crate) scales: Vec<f32>,
    pub(crate) mins: Vec<f32>,
}

/// One row of activations.
#[derive(Clone, Copy)]
pub(crate) struct Column<'a> {
    pub(crate) quants: &'a [i8],
    pub(crate) scales: &'a [f32],
    pub(crate) sums: &'a [f32],
}

thread_local! {
    static SCRATCH: RefCell<[Row; ROWS]> = RefCell::default();
}

/// Computes the outputs of `rows` for all activations.
pub(crate) fn multiply(
    isa: Isa,
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    activations: &Activations,
    out: &Output,
) {
    let n_cols = activations.n_cols;
    let (n_groups, n_subs) = (n_cols / activations.group_len, n_cols / activations.sub_len);
    SCRATCH.with_borrow_mut(|scratch| {
        for first in rows.clone().step_by(ROWS) {
            let batch = first..rows.end.min(first + ROWS);
            for (row, to) in batch.clone().zip(scratch.iter_mut()) {
                to.quants.resize(n_cols, 0);
                to.scales.resize(n_subs, 0.0);
                to.mins.resize(n_subs, 0.0);
                let to =
                    Unpacked { quants: &mut to.quants, scales: &mut to.scales, mins: &mut to.mins };
                unpack_row(isa, matrix.block_type(), matrix.row(row), to);
            }
            for column in 0..activations.m {
                let activation = Column {
                    quants: &activations.quants[column * n_cols..][..n_cols],
                    scales: &activations.scales[column * n_groups..][..n_groups],
                    sums: &activations.sums[column * n_subs..][..n_subs],
                };
                for (row, weights) in batch.clone().zip(scratch.iter()) {
                    out.set(column, row, dot(isa, matrix.block_type(), weights, activation));
                }
            }
        }
    });
}

multiversion! {
    pub(crate) fn unpack_row(block_type: BlockType, bytes: &[u8], to: Unpacked<'_>) = unpack
}

fn dot(isa: Isa, block_type: BlockType, row: &Row, column: Column<'_>) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if isa != Isa::PORTABLE {
        return crate::avx2::dot(block_type, row, column);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = isa;
    match (block_type.sub_len(), block_type.block_len()) {
        (16, _) => dot_portable::<16, 16>(row, column),
        (_, 256) => dot_portable::<32, 8>(row, column),
        _ => dot_portable::<32, 1>(row, column),
    }
}

/// `SUB` weights share a scale, `SUBS` times that many activations do.
fn dot_portable<const SUB: usize, const SUBS: usize>(row: &Row, column: Column<'_>) -> f32 {
    let weights = row.quants.as_chunks::<SUB>().0.chunks_exact(SUBS);
    let activations = column.quants.as_chunks::<SUB>().0.chunks_exact(SUBS);
    let scales = row.scales.chunks_exact(SUBS).zip(row.mins.chunks_exact(SUBS));
    let sums = column.sums.chunks_exact(SUBS);
    let mut total = 0f32;
    for ((((weights, activations), (scales, mins)), sums), activation_scale) in
        weights.zip(activations).zip(scales).zip(sums).zip(column.scales)
    {
        let mut group = 0f32;
        for sub in 0..SUBS {
            let products = weights[sub].iter().zip(&activations[sub]);
            let product: i32 = products.map(|(&w, &a)| i32::from(w) * i32::from(a)).sum();
            group += scales[sub] * product as f32 - mins[sub] * sums[sub];
        }
        total += group * activation_scale;
    }
    total
}
