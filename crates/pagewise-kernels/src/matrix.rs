//! A matrix over borrowed blocks, and the choice of the kernel for each product.

use crate::activations::Activations;
#[cfg(target_arch = "x86_64")]
use crate::bf16::TiledActivations;
#[cfg(target_arch = "x86_64")]
use crate::isa::Family;
use crate::rowwise::{self, unpack_row};
use crate::unpack::Unpacked;
use crate::{BlockType, Isa, ShapeError, ThreadPool, float};
use std::cell::RefCell;
use std::ops::Range;

/// Bytes of weights in one task of a product with few activations: large enough to hide the
/// hand-out, small enough that no thread waits long for the last one.
const TASK_BYTES: usize = 48 * 1024;

/// Rows of weights in one task of a product with many activations.
const TASK_ROWS: usize = 64;

/// Most rows of weights in one task of a product in tiles: their sums are in the second-level cache.
#[cfg(target_arch = "x86_64")]
const MAX_TILE_ROWS: usize = 128;

/// Returns from how many activations on unpacking weights into panels pays (measured).
#[cfg(target_arch = "x86_64")]
fn panels_from(block_type: BlockType) -> usize {
    match (crate::gemv::supports(block_type), block_type.block_len()) {
        (false, _) => 2,
        (true, 256) => 14,
        (true, _) => 8,
    }
}

/// Returns whether a product of `m` activations is one in tiles of `bf16`.
pub(crate) fn uses_tiles(isa: Isa, block_type: BlockType, m: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        /// From so many activations on it pays (measured).
        const FROM: usize = 5;
        // Rounded to `bf16`, these would lose what the file keeps.
        let is_finer = matches!(block_type, BlockType::F32 | BlockType::F16);
        isa.family() == Family::Amx && m >= FROM && !is_finer
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (isa, block_type, m);
        false
    }
}

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

/// The output of a product, `(m, n_rows)`, written by several threads at disjoint places.
pub(crate) struct Output {
    start: *mut f32,
    m: usize,
    n_rows: usize,
}

// SAFETY: tasks write disjoint rows of weights, hence disjoint elements, and nobody reads before
// all tasks have ended.
#[allow(unsafe_code)]
unsafe impl Sync for Output {}

impl Output {
    fn new(out: &mut [f32], n_rows: usize) -> Self {
        Self { start: out.as_mut_ptr(), m: out.len() / n_rows, n_rows }
    }

    /// Stores the product of one row of activations and one row of weights.
    #[inline(always)]
    pub(crate) fn set(&self, activation: usize, row: usize, value: f32) {
        debug_assert!(activation < self.m && row < self.n_rows);
        // SAFETY: the kernels stay within `(m, n_rows)`, and only the task that owns `row`
        // touches this element.
        #[allow(unsafe_code)]
        unsafe {
            *self.at(activation, row) = value;
        }
    }

    /// Returns the length of a row.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Returns where the product of one row of activations and one row of weights belongs.
    #[inline(always)]
    pub(crate) fn at(&self, activation: usize, row: usize) -> *mut f32 {
        self.start.wrapping_add(activation * self.n_rows + row)
    }
}

thread_local! {
    static ACTIVATIONS: RefCell<Activations> = RefCell::default();
    #[cfg(target_arch = "x86_64")]
    static TILED_ACTIVATIONS: RefCell<TiledActivations> = RefCell::default();
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

    /// Multiplies `activations`, `(m, n_cols)`, with the transpose of the matrix into `out`, `(m, n_rows)`.
    ///
    /// Quantised weights meet activations rounded to eight bits, with one scale per 32 of them or,
    /// for the `Q?K` types, per 256. The result does not depend on the number of threads.
    ///
    /// # Panics
    ///
    /// When a slice does not have the stated shape.
    pub fn matmul(&self, activations: &[f32], m: usize, out: &mut [f32], pool: &ThreadPool) {
        assert_eq!(
            Some(activations.len()),
            m.checked_mul(self.n_cols),
            "activations are (m, n_cols)"
        );
        assert_eq!(Some(out.len()), m.checked_mul(self.n_rows), "the output is (m, n_rows)");
        if out.is_empty() {
            return;
        }
        if self.n_cols == 0 {
            out.fill(0.0);
            return;
        }
        let out = Output::new(out, self.n_rows);
        #[cfg(target_arch = "x86_64")]
        if uses_tiles(pool.isa(), self.block_type, m) {
            // Taken out of its cell, so that a product inside a task of another finds an empty one
            // instead of a borrowed one.
            let mut tiled = TILED_ACTIVATIONS.take();
            tiled.pack(activations, self.n_cols, pool);
            self.for_row_ranges(self.tile_rows_per_task(pool), pool, &|rows| {
                crate::amx::multiply(self, rows, &tiled, &out);
            });
            TILED_ACTIVATIONS.set(tiled);
            return;
        }
        if self.block_type.is_float() {
            let rows_per_task = self.rows_per_task(m);
            self.for_row_ranges(rows_per_task, pool, &|rows| {
                float::multiply(pool.isa(), self, rows, activations, m, &out);
            });
            return;
        }
        // Taken out of its cell as above.
        let mut quantized = ACTIVATIONS.take();
        quantized.quantize(self.block_type, activations, self.n_cols, pool);
        self.multiply_quantized(&quantized, &out, pool);
        ACTIVATIONS.set(quantized);
    }

    fn multiply_quantized(&self, activations: &Activations, out: &Output, pool: &ThreadPool) {
        let rows_per_task = self.rows_per_task(activations.m);
        #[cfg(target_arch = "x86_64")]
        if pool.isa().family() >= Family::Avx512Vnni {
            if activations.m >= panels_from(self.block_type) {
                self.for_row_ranges(rows_per_task, pool, &|rows| {
                    crate::gemm::multiply(self, rows, activations, out);
                });
                return;
            }
            if crate::gemv::supports(self.block_type) {
                self.for_row_ranges(rows_per_task, pool, &|rows| {
                    crate::gemv::multiply(self, rows, activations, out);
                });
                return;
            }
        }
        self.for_row_ranges(rows_per_task, pool, &|rows| {
            rowwise::multiply(pool.isa(), self, rows, activations, out);
        });
    }

    fn rows_per_task(&self, m: usize) -> usize {
        if m >= TASK_ROWS / 2 {
            return TASK_ROWS;
        }
        // A multiple of the panel height, so that only the last panel is partial.
        (TASK_BYTES / self.row_bytes.max(1)).next_multiple_of(32).clamp(32, 512)
    }

    /// Enough rows for a stretch of activations to be read from the nearer caches, few enough for
    /// every thread to have several tasks.
    #[cfg(target_arch = "x86_64")]
    fn tile_rows_per_task(&self, pool: &ThreadPool) -> usize {
        let rows = self.n_rows / (4 * pool.threads());
        (rows / crate::amx::ROWS * crate::amx::ROWS).clamp(crate::amx::ROWS, MAX_TILE_ROWS)
    }

    fn for_row_ranges(&self, step: usize, pool: &ThreadPool, task: &(dyn Fn(Range<usize>) + Sync)) {
        pool.run(self.n_rows.div_ceil(step), &|index| {
            task(index * step..self.n_rows.min((index + 1) * step));
        });
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
