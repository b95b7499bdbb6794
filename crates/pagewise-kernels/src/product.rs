//! Products of the same activations with one matrix or several, and the choice of the kernel for each.

use crate::activations::Activations;
#[cfg(target_arch = "x86_64")]
use crate::amx::{TileForm, TiledActivations};
#[cfg(target_arch = "x86_64")]
use crate::isa::Family;
use crate::lines::Lines;
use crate::simd::PADDING;
use crate::{Activation, BlockType, Isa, Matrix, ThreadPool, float, gemm, rowwise};
use std::cell::RefCell;
use std::ops::Range;

/// Bytes of weights in one task of a product with few activations: large enough to hide the
/// hand-out, small enough that no thread waits long for the last one.
const MIN_TASK_BYTES: usize = 16 << 10;
const MAX_TASK_BYTES: usize = 256 << 10;

/// Tasks that each thread has at least, if they are not too small.
const TASKS_PER_THREAD: usize = 4;

/// Rows of weights in one task of a product with many activations.
const TASK_ROWS: usize = 64;

/// Most rows of weights in one task of a product in tiles: their sums are in the second-level cache.
#[cfg(target_arch = "x86_64")]
const MAX_TILE_ROWS: usize = 128;

/// Most products that are made together.
const MAX_PRODUCTS: usize = 3;

/// A matrix and where its products with `m` activations belong, `(m, n_rows)`.
pub struct Product<'a> {
    /// The weights.
    pub matrix: Matrix<'a>,
    /// The output.
    pub out: &'a mut [f32],
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

/// Which kernel makes a product.
#[derive(Clone, Copy, PartialEq)]
enum Kernel {
    /// In tiles of this form.
    #[cfg(target_arch = "x86_64")]
    Tiles(TileForm),
    /// In integers, with panels of unpacked weights.
    Panels,
    /// In integers, weights unpacked in registers.
    #[cfg(target_arch = "x86_64")]
    Registers,
    /// In integers, a row at a time.
    Rows,
    /// In `f32`.
    Floats,
}

impl Kernel {
    fn choose(isa: Isa, block_type: BlockType, m: usize) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(form) = tile_form(isa, block_type, m) {
            return Self::Tiles(form);
        }
        if block_type.is_float() {
            return Self::Floats;
        }
        if m >= panels_from(isa, block_type) {
            return Self::Panels;
        }
        #[cfg(target_arch = "x86_64")]
        if crate::gemv::supports(isa.family(), block_type) {
            return Self::Registers;
        }
        Self::Rows
    }
}

/// Returns from how many activations on unpacking weights into panels pays (measured).
fn panels_from(isa: Isa, block_type: BlockType) -> usize {
    #[cfg(target_arch = "x86_64")]
    if isa.family() >= Family::Avx512Vnni {
        return match block_type {
            _ if !crate::gemv::supports(isa.family(), block_type) => 2,
            BlockType::Q6K => 6,
            _ if block_type.block_len() == 256 => 14,
            _ => 8,
        };
    }
    let _ = (isa, block_type);
    8
}

/// Returns the form of tiles in which a product of `m` activations is made, if it is.
#[cfg(target_arch = "x86_64")]
pub(crate) fn tile_form(isa: Isa, block_type: BlockType, m: usize) -> Option<TileForm> {
    // From so many activations on it pays: measured for `bf16`, taken over for bytes.
    let from = if block_type == BlockType::Q6K { 9 } else { 6 };
    if m < from || !isa.has_tiles() {
        return None;
    }
    // The other types have blocks shorter than the 256 weights that share a scale in bytes.
    let is_long = block_type.block_len() == 256;
    match block_type {
        // Rounded to `bf16`, these would lose what the file keeps.
        BlockType::F32 | BlockType::F16 => None,
        _ if isa.family() == Family::AmxInt8 && is_long => Some(TileForm::Int8),
        _ => Some(TileForm::Bf16),
    }
}

/// Activations in the forms that kernels take; the buffers are reused by the next call.
#[derive(Default)]
struct Prepared {
    /// For each form, in the order of these.
    #[cfg(target_arch = "x86_64")]
    tiled: [TiledActivations; 2],
    /// For each product; those of the same form share the first one's.
    quantized: [Activations; MAX_PRODUCTS],
}

thread_local! {
    static PREPARED: RefCell<Prepared> = RefCell::default();
    /// What a gate is for.
    static UP: RefCell<Lines> = RefCell::default();
}

/// A product with what its tasks need.
struct Planned<'a> {
    matrix: Matrix<'a>,
    out: Output,
    kernel: Kernel,
    /// Which quantised activations it takes.
    quantized: usize,
    rows_per_task: usize,
    n_tasks: usize,
}

impl Planned<'_> {
    fn task(&self, index: usize) -> Range<usize> {
        index * self.rows_per_task..self.matrix.n_rows().min((index + 1) * self.rows_per_task)
    }
}

/// Multiplies `activations`, `(m, n_cols)`, with the transposes of up to three matrices of `n_cols`
/// columns.
///
/// Quantised weights meet activations rounded to eight bits, with one scale per 32 of them or, for
/// the `Q?K` types, per 256; with AMX, six activations or more (nine for `Q6K`) and all weights but `F32` and
/// `F16` are rounded to `bf16`, or with `amx-int8` those of the `Q?K` types to bytes with one scale per 256. The
/// result does not depend on the number of threads, nor on what else is multiplied.
///
/// # Panics
///
/// When a slice does not have the stated shape, or there are more matrices.
pub fn multiply(activations: &[f32], m: usize, products: &mut [Product<'_>], pool: &ThreadPool) {
    assert!(products.len() <= MAX_PRODUCTS, "at most {MAX_PRODUCTS} products are made together");
    // Taken out of its cell, so that a product inside a task of another finds an empty one instead
    // of a borrowed one.
    let mut prepared = PREPARED.take();
    let planned = plan(activations, m, products, &mut prepared, pool);
    let n_tasks = planned.iter().flatten().map(|product| product.n_tasks).sum();
    pool.run(n_tasks, &|task| {
        let mut task = task;
        for product in planned.iter().flatten() {
            if task < product.n_tasks {
                return prepared.run(product, product.task(task), activations, m, pool.isa());
            }
            task -= product.n_tasks;
        }
    });
    PREPARED.set(prepared);
}

/// Chooses how products are made, and brings the activations into the forms that they take. There is
/// nothing where nothing is to be multiplied; such outputs are filled.
fn plan<'a>(
    activations: &[f32],
    m: usize,
    products: &mut [Product<'a>],
    prepared: &mut Prepared,
    pool: &ThreadPool,
) -> [Option<Planned<'a>>; MAX_PRODUCTS] {
    let mut planned: [Option<Planned<'_>>; MAX_PRODUCTS] = Default::default();
    for (index, Product { matrix, out }) in products.iter_mut().enumerate() {
        let (n_rows, n_cols) = (matrix.n_rows(), matrix.n_cols());
        assert_eq!(Some(activations.len()), m.checked_mul(n_cols), "activations are (m, n_cols)");
        assert_eq!(Some(out.len()), m.checked_mul(n_rows), "the output is (m, n_rows)");
        if out.is_empty() {
            continue;
        }
        if n_cols == 0 {
            out.fill(0.0);
            continue;
        }
        let kernel = Kernel::choose(pool.isa(), matrix.block_type(), m);
        let rows_per_task = rows_per_task(matrix, kernel, m, pool);
        let quantized = prepared.make(kernel, matrix, activations, index, &planned, pool);
        let (n_tasks, out) = (n_rows.div_ceil(rows_per_task), Output::new(out, n_rows));
        planned[index] =
            Some(Planned { matrix: *matrix, out, kernel, quantized, rows_per_task, n_tasks });
    }
    planned
}

/// Multiplies one activation, `(n_cols,)`, as [`multiply`] does, with some rows of the matrix, and leaves
/// what belongs to the others in `out`, `(n_rows,)`, as it is.
///
/// # Panics
///
/// When there is no such row, or a slice does not have the stated shape.
pub fn multiply_rows(activation: &[f32], product: Product<'_>, rows: &[u32], pool: &ThreadPool) {
    /// Rows in one task: some microseconds of work.
    const TASK_ROWS: usize = 16;
    let n_rows = product.matrix.n_rows();
    assert!(rows.iter().all(|row| (*row as usize) < n_rows), "all rows are of the matrix");
    let mut prepared = PREPARED.take();
    let planned = plan(activation, 1, &mut [product], &mut prepared, pool);
    if let [Some(product), ..] = &planned {
        pool.run(rows.len().div_ceil(TASK_ROWS), &|task| {
            for row in rows.iter().skip(task * TASK_ROWS).take(TASK_ROWS) {
                let row = *row as usize;
                prepared.run(product, row..row + 1, activation, 1, pool.isa());
            }
        });
    }
    PREPARED.set(prepared);
}

/// Multiplies as [`multiply`] does with two matrices of one shape and puts the first product, the
/// gate, through its activation and times the second into `out`, `(m, n_rows)`.
///
/// # Panics
///
/// When a slice or a matrix does not have the stated shape.
pub fn multiply_gated(
    activations: &[f32],
    m: usize,
    [gate, up]: [Matrix<'_>; 2],
    activation: Activation,
    out: &mut [f32],
    pool: &ThreadPool,
) {
    let shape = |matrix: &Matrix<'_>| (matrix.n_rows(), matrix.n_cols());
    assert_eq!(shape(&gate), shape(&up), "gate and up have one shape");
    #[cfg(target_arch = "x86_64")]
    if let [Some(form), Some(of_up)] =
        [gate, up].map(|matrix| tile_form(pool.isa(), matrix.block_type(), m))
        && form == of_up
    {
        let (n_rows, n_cols) = shape(&gate);
        assert_eq!(Some(activations.len()), m.checked_mul(n_cols), "activations are (m, n_cols)");
        assert_eq!(Some(out.len()), m.checked_mul(n_rows), "the output is (m, n_rows)");
        if n_rows == 0 || n_cols == 0 {
            out.fill(0.0);
            return;
        }
        let mut prepared = PREPARED.take();
        let tiled = &mut prepared.tiled[form as usize];
        tiled.pack(form, activations, n_cols, pool);
        let (tiled, isa) = (&*tiled, pool.isa());
        let out = Output::new(out, n_rows);
        let step = rows_per_task(&gate, Kernel::Tiles(form), m, pool);
        pool.run(n_rows.div_ceil(step), &|task| {
            let rows = task * step..n_rows.min((task + 1) * step);
            crate::amx::multiply_gated([&gate, &up], rows, tiled, activation, isa, &out);
        });
        PREPARED.set(prepared);
        return;
    }
    let mut lines = UP.take();
    let [up_out] = lines.parts([out.len().next_multiple_of(PADDING)]);
    let up_out = &mut up_out[..out.len()];
    let mut prepared = PREPARED.take();
    let products = [(gate, &mut *out), (up, &mut *up_out)];
    let mut products = products.map(|(matrix, out)| Product { matrix, out });
    let planned = plan(activations, m, &mut products, &mut prepared, pool);
    if let [Some(gate), Some(up), ..] = &planned {
        // A task has the same rows of both, so that it can put them together.
        let (n_rows, step) = (gate.matrix.n_rows(), gate.rows_per_task);
        pool.run(gate.n_tasks, &|task| {
            let rows = task * step..n_rows.min((task + 1) * step);
            for product in [gate, up] {
                prepared.run(product, rows.clone(), activations, m, pool.isa());
            }
            for i in 0..m {
                // SAFETY: both outputs have these rows, which no other task touches.
                #[allow(unsafe_code)]
                let [gate, up] = [gate, up].map(|product| unsafe {
                    std::slice::from_raw_parts_mut(product.out.at(i, rows.start), rows.len())
                });
                activation.apply(pool.isa(), gate, up);
            }
        });
    }
    PREPARED.set(prepared);
    UP.set(lines);
}

impl Prepared {
    /// Brings the activations into the form that product number `index` takes, unless an earlier
    /// one has; returns which quantised ones it takes.
    fn make(
        &mut self,
        kernel: Kernel,
        matrix: &Matrix<'_>,
        activations: &[f32],
        index: usize,
        earlier: &[Option<Planned<'_>>; MAX_PRODUCTS],
        pool: &ThreadPool,
    ) -> usize {
        let form = |block_type: BlockType| {
            (block_type.block_len(), block_type.sub_len(), block_type.offset())
        };
        let mut earlier = earlier.iter().flatten();
        match kernel {
            Kernel::Floats => index,
            #[cfg(target_arch = "x86_64")]
            Kernel::Tiles(form) => {
                if !earlier.any(|product| product.kernel == kernel) {
                    self.tiled[form as usize].pack(form, activations, matrix.n_cols(), pool);
                }
                index
            }
            _ => {
                let is_same = |product: &&Planned<'_>| {
                    form(product.matrix.block_type()) == form(matrix.block_type())
                };
                if let Some(product) = earlier.find(is_same) {
                    return product.quantized;
                }
                let n_cols = matrix.n_cols();
                self.quantized[index].quantize(matrix.block_type(), activations, n_cols, pool);
                index
            }
        }
    }

    /// Computes `rows` of a product.
    fn run(
        &self,
        product: &Planned<'_>,
        rows: Range<usize>,
        activations: &[f32],
        m: usize,
        isa: Isa,
    ) {
        let Planned { matrix, out, .. } = product;
        let quantized = &self.quantized[product.quantized];
        match product.kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Tiles(form) => {
                crate::amx::multiply(matrix, rows, &self.tiled[form as usize], out);
            }
            Kernel::Panels => gemm::multiply(isa, matrix, rows, quantized, out),
            #[cfg(target_arch = "x86_64")]
            Kernel::Registers => crate::gemv::multiply(isa.family(), matrix, rows, quantized, out),
            Kernel::Rows => rowwise::multiply(isa, matrix, rows, quantized, out),
            Kernel::Floats => float::multiply(isa, matrix, rows, activations, m, out),
        }
    }
}

fn rows_per_task(matrix: &Matrix<'_>, kernel: Kernel, m: usize, pool: &ThreadPool) -> usize {
    #[cfg(target_arch = "x86_64")]
    if let Kernel::Tiles(_) = kernel {
        use crate::amx::ROWS;
        // Enough rows for a stretch of activations to be read from the nearer caches, few enough for
        // every thread to have several tasks.
        let rows = matrix.n_rows() / (4 * pool.threads());
        return (rows / ROWS * ROWS).clamp(ROWS, MAX_TILE_ROWS);
    }
    // A multiple of every panel's height, so that only the last panel is partial.
    const STEP: usize = 32;
    if kernel == Kernel::Panels && m >= TASK_ROWS / 2 {
        return TASK_ROWS;
    }
    let bytes = matrix.n_rows() * matrix.row_bytes() / (TASKS_PER_THREAD * pool.threads());
    let rows = bytes.clamp(MIN_TASK_BYTES, MAX_TASK_BYTES) / matrix.row_bytes().max(1);
    rows.max(1).next_multiple_of(STEP)
}
