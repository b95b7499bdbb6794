//! A matrix over borrowed blocks.

use crate::product::{Product, multiply};
use crate::unpack::{Unpacked, unpack_row};
use crate::{BlockType, Isa, ShapeError, ThreadPool, float};
#[cfg(target_arch = "x86_64")]
use std::ops::Range;

/// Weights as they lie in a file: `n_rows` rows of `n_cols`, each row a sequence of blocks.
///
/// Cheap to make for every product. The bytes need no alignment.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    block_type: BlockType,
    n_rows: usize,
    n_cols: usize,
    row_bytes: usize,
    bytes: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// Views `bytes` as a matrix.
    ///
    /// # Errors
    ///
    /// When `n_cols` is no multiple of the block's length, or `bytes` is not exactly the matrix.
    pub fn new(
        block_type: BlockType,
        n_rows: usize,
        n_cols: usize,
        bytes: &'a [u8],
    ) -> Result<Self, ShapeError> {
        if !n_cols.is_multiple_of(block_type.block_len()) {
            return Err(ShapeError::PartialBlock { block_type, n_cols });
        }
        let too_large = ShapeError::TooLarge { n_rows, n_cols };
        let row_bytes = (n_cols / block_type.block_len())
            .checked_mul(block_type.block_bytes())
            .ok_or(too_large.clone())?;
        let expected = row_bytes.checked_mul(n_rows).ok_or(too_large)?;
        if expected != bytes.len() {
            return Err(ShapeError::WrongLength { expected, actual: bytes.len() });
        }
        Ok(Self { block_type, n_rows, n_cols, row_bytes, bytes })
    }

    /// Returns how the weights are stored.
    pub fn block_type(&self) -> BlockType {
        self.block_type
    }

    /// Returns the number of rows, which is the length of an output row.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Returns the number of weights per row, which is the length of an activation row.
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Returns the size of a row.
    pub(crate) fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Returns the blocks of one row.
    pub(crate) fn row(&self, row: usize) -> &'a [u8] {
        &self.bytes[row * self.row_bytes..(row + 1) * self.row_bytes]
    }

    /// Asks for the blocks of `cols` of `rows`: a few hundred bytes in each of many rows, which the
    /// processor does not foresee by itself.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn prefetch(&self, rows: Range<usize>, cols: Range<usize>) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let (len, bytes) = (self.block_type.block_len(), self.block_type.block_bytes());
        let range = cols.start / len * bytes..cols.end / len * bytes;
        for row in rows {
            for line in self.row(row)[range.clone()].chunks(64) {
                // SAFETY: every x86-64 processor has the instruction, which reads nothing.
                #[allow(unsafe_code)]
                unsafe {
                    _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
                }
            }
        }
    }

    /// Multiplies `activations`, `(m, n_cols)`, with the transpose of the matrix into `out`, `(m, n_rows)`,
    /// as [`multiply`] does.
    ///
    /// # Panics
    ///
    /// When a slice does not have the stated shape.
    pub fn matmul(&self, activations: &[f32], m: usize, out: &mut [f32], pool: &ThreadPool) {
        multiply(activations, m, &mut [Product { matrix: *self, out }], pool);
    }

    /// Writes the weights of one row to `out`, `(n_cols,)`.
    ///
    /// # Panics
    ///
    /// When there is no such row, or `out` has another length.
    pub fn dequantize_row(&self, isa: Isa, row: usize, out: &mut [f32]) {
        assert!(row < self.n_rows, "row {row} of {} rows", self.n_rows);
        assert_eq!(out.len(), self.n_cols, "the output is (n_cols,)");
        if self.block_type.is_float() {
            float::widen(isa, self.block_type, self.row(row), out);
            return;
        }
        let (block_len, sub_len) = (self.block_type.block_len(), self.block_type.sub_len());
        let blocks = self.row(row).chunks_exact(self.block_type.block_bytes());
        let n_subs = block_len / sub_len;
        let (mut quants, mut scales, mut mins) = ([0u8; 256], [0f32; 16], [0f32; 16]);
        for (block, out) in blocks.zip(out.chunks_exact_mut(block_len)) {
            let to = Unpacked {
                quants: &mut quants[..block_len],
                scales: &mut scales[..n_subs],
                mins: &mut mins[..n_subs],
            };
            unpack_row(isa, self.block_type, block, to);
            for (sub, out) in out.chunks_exact_mut(sub_len).enumerate() {
                for (out, &quant) in out.iter_mut().zip(&quants[sub * sub_len..]) {
                    *out = scales[sub] * f32::from(quant) - mins[sub];
                }
            }
        }
    }
}
