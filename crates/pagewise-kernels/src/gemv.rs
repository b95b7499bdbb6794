//! Few activations in integers: rows of weights decoded in registers and dotted at once.
//!
//! Decoding a token reads every weight once, so these kernels only have to keep up with memory.
//! Blocks are never written back unpacked; each vector of quants serves several rows of activations.

mod avx2;
mod avx512;

use crate::BlockType;
use crate::activations::Activations;
use crate::isa::Family;
use crate::matrix::Matrix;
use crate::product::Output;
use std::ops::Range;

pub(crate) use avx2::unpack as unpack_avx2;
pub(crate) use avx512::{
    Pair, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, SuperBlock, half_pair, unpack,
};

/// How far ahead of the current block weights are asked for, in bytes.
pub(crate) const PREFETCH: usize = 6144;

/// Blocks of 32 weights whose scales are looked up together: they lie apart from each other, and one
/// instruction gathers so many.
const SCALES: usize = 8;

/// Returns whether a kernel here reads this type on a machine of this family.
pub(crate) fn supports(family: Family, block_type: BlockType) -> bool {
    family >= Family::Avx2
        && !block_type.is_float()
        && !matches!(block_type, BlockType::Q2K | BlockType::Q3K)
}

/// Computes the outputs of `rows` for all activations.
pub(crate) fn multiply(
    family: Family,
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    activations: &Activations,
    out: &Output,
) {
    match family {
        Family::Avx512Vnni | Family::AmxInt8 | Family::Amx => {
            avx512::multiply(matrix, rows, activations, out)
        }
        Family::AvxVnni => avx2::multiply::<true>(matrix, rows, activations, out),
        Family::Avx2 => avx2::multiply::<false>(matrix, rows, activations, out),
        _ => unreachable!("see `supports`"),
    }
}

/// Pointers to the quantised activations of `N` rows.
struct Columns<const N: usize> {
    quants: [*const i8; N],
    scales: [*const f32; N],
    sums: [*const f32; N],
}

impl<const N: usize> Columns<N> {
    fn new(activations: &Activations, first: usize) -> Self {
        let n_groups = activations.n_cols / activations.group_len;
        let n_subs = activations.n_cols / activations.sub_len;
        assert!(first + N <= activations.m);
        Self {
            quants: std::array::from_fn(|i| {
                activations.quants[(first + i) * activations.n_cols..].as_ptr()
            }),
            scales: std::array::from_fn(|i| activations.scales[(first + i) * n_groups..].as_ptr()),
            sums: std::array::from_fn(|i| activations.sums[(first + i) * n_subs..].as_ptr()),
        }
    }
}
