//! Many activations in integers: panels of rows of weights, tiles of dot products.
//!
//! A panel holds a stretch of columns of some rows, unpacked to bytes and interleaved so that one
//! vector carries four neighbouring columns of as many rows as it has sums:
//!
//! ```text
//!             row 0       row 1            row L-1      the next L rows
//!          ┌───────────┬───────────┬─ ─ ─┬───────────┬───────────┬─ ─
//!  quad 0  │ c0 c1 c2 c3 │ c0 c1 c2 c3 │     │ c0 c1 c2 c3 │ c0 c1 c2 c3 │
//!  quad 1  │ c4 c5 c6 c7 │ c4 c5 c6 c7 │     │ c4 c5 c6 c7 │ c4 c5 c6 c7 │
//! ```
//!
//! Against it stands one quad of an activation, the same in all lanes, so a sum belongs to one row
//! and nothing is added up across lanes. A panel fits the first-level cache and serves every row of
//! activations, so the cost of unpacking is shared by all of them.

use crate::activations::Activations;
use crate::bytes::{Bytes, QUAD};
use crate::lines::{Lines, bytes_of};
use crate::matrix::Matrix;
use crate::product::Output;
use crate::simd::{PADDING, Simd};
use crate::unpack::Unpacked;
use crate::{BlockType, Isa};
use std::cell::RefCell;
use std::ops::Range;

/// Bytes of quants in a panel.
const PANEL_BYTES: usize = 1 << 14;
/// Vectors of rows in a panel.
const VECTORS: usize = 2;
/// Words of four bytes of a row, quads or scales, of which a multiple is interleaved.
const INTERLEAVED: usize = 8;

thread_local! {
    static SCRATCH: RefCell<Lines> = RefCell::default();
}

/// What a task multiplies.
struct Product<'a> {
    matrix: &'a Matrix<'a>,
    rows: Range<usize>,
    activations: &'a Activations,
    out: &'a Output,
}

/// Computes the outputs of `rows` for all activations.
pub(crate) fn multiply(
    isa: Isa,
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    activations: &Activations,
    out: &Output,
) {
    let product = Product { matrix, rows, activations, out };
    SCRATCH.with_borrow_mut(|scratch| {
        #[cfg(target_arch = "x86_64")]
        {
            use crate::bytes::{Avx2Bytes, Avx512Bytes, AvxVnniBytes};
            use crate::isa::Family;

            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2(product: &Product<'_>, scratch: &mut Lines) {
                // SAFETY: this function has the features of the vectors.
                unsafe { multiply_with::<Avx2Bytes, 4>(product, scratch) }
            }
            #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
            fn avx_vnni(product: &Product<'_>, scratch: &mut Lines) {
                // SAFETY: as above.
                unsafe { multiply_with::<AvxVnniBytes, 4>(product, scratch) }
            }
            #[target_feature(
                enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"
            )]
            fn avx512(product: &Product<'_>, scratch: &mut Lines) {
                // SAFETY: as above.
                unsafe { multiply_with::<Avx512Bytes, 6>(product, scratch) }
            }
            match isa.family() {
                // SAFETY: an `Isa` is only made for a machine that has its features.
                Family::Avx512Vnni | Family::AmxInt8 | Family::Amx => {
                    return unsafe { avx512(&product, scratch) };
                }
                // SAFETY: as above.
                Family::AvxVnni => return unsafe { avx_vnni(&product, scratch) },
                // SAFETY: as above.
                Family::Avx2 => return unsafe { avx2(&product, scratch) },
                _ => {}
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            use crate::bytes::{DotprodBytes, I8mmBytes, NeonBytes};
            use crate::isa::Family;

            #[target_feature(enable = "neon,dotprod")]
            fn dotprod(product: &Product<'_>, scratch: &mut Lines) {
                // SAFETY: this function has the features of the vectors.
                unsafe { multiply_with::<DotprodBytes, 6>(product, scratch) }
            }
            #[target_feature(enable = "neon,dotprod,i8mm")]
            fn i8mm(product: &Product<'_>, scratch: &mut Lines) {
                // SAFETY: as above.
                unsafe { multiply_with::<I8mmBytes, 6>(product, scratch) }
            }
            match isa.family() {
                // SAFETY: an `Isa` is only made for a machine that has its features.
                Family::I8mm => return unsafe { i8mm(&product, scratch) },
                // SAFETY: as above.
                Family::Dotprod => return unsafe { dotprod(&product, scratch) },
                // SAFETY: every such processor has the features.
                Family::Neon => return unsafe { multiply_with::<NeonBytes, 6>(&product, scratch) },
                _ => {}
            }
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = isa;
        // SAFETY: plain Rust needs no features.
        unsafe { multiply_with::<crate::bytes::PortableBytes, 4>(&product, scratch) }
    });
}

/// Up to `N` activations share what is loaded of a panel.
///
/// # Safety
///
/// To be inlined into a function with the target features of `B`.
#[inline(always)]
unsafe fn multiply_with<B: Bytes, const N: usize>(product: &Product<'_>, scratch: &mut Lines) {
    // How many quads of weights share a scale; times how many activations do; whether weights have
    // no minimum of their own; a bound of the quants.
    // SAFETY: the caller's promise.
    unsafe {
        match product.matrix.block_type() {
            BlockType::Q4_0 => run::<B, N, 8, 1, true, 16>(product, scratch),
            BlockType::Q5_0 => run::<B, N, 8, 1, true, 32>(product, scratch),
            BlockType::Q8_0 => run::<B, N, 8, 1, true, 256>(product, scratch),
            BlockType::Q4_1 => run::<B, N, 8, 1, false, 16>(product, scratch),
            BlockType::Q5_1 => run::<B, N, 8, 1, false, 32>(product, scratch),
            BlockType::Q4K => run::<B, N, 8, 8, false, 16>(product, scratch),
            BlockType::Q5K => run::<B, N, 8, 8, false, 32>(product, scratch),
            BlockType::Q3K => run::<B, N, 4, 16, true, 8>(product, scratch),
            BlockType::Q6K => run::<B, N, 4, 16, true, 64>(product, scratch),
            BlockType::Q2K => run::<B, N, 4, 16, false, 4>(product, scratch),
            BlockType::F32 | BlockType::F16 | BlockType::BF16 => {
                unreachable!("floating point weights have their own kernel")
            }
        }
    }
}

/// A stretch of columns of some rows.
struct Panel<'a> {
    /// `(cols / 4, rows, 4)`.
    quants: &'a mut [u8],
    /// `(subs, rows)`, of as many subs as are interleaved at once.
    scales: &'a mut [f32],
    /// The same, with the sign turned.
    mins: &'a mut [f32],
}

/// Rows before they are interleaved: as many as a vector has sums.
struct Staging<'a> {
    /// `(rows, cols)`.
    quants: &'a mut [u8],
    /// `(rows, subs)`, of as many subs as are interleaved at once.
    scales: &'a mut [f32],
    mins: &'a mut [f32],
}

/// See [`multiply_with`].
#[inline(always)]
unsafe fn run<
    B: Bytes,
    const N: usize,
    const STEPS: usize,
    const SUBS: usize,
    const SYMMETRIC: bool,
    const LEVELS: usize,
>(
    product: &Product<'_>,
    scratch: &mut Lines,
) {
    let Product { matrix, rows, activations, .. } = product;
    let (lanes, n_cols) = (B::Floats::LANES, activations.n_cols);
    let panel_rows = VECTORS * lanes;
    // A multiple of every block's length.
    let panel_cols = (PANEL_BYTES / panel_rows).min(n_cols.next_multiple_of(256));
    let sub_len = STEPS * QUAD;
    let panel_subs = (panel_cols / sub_len).next_multiple_of(INTERLEAVED);
    let bytes = |bytes: usize| bytes.div_ceil(size_of::<f32>()).next_multiple_of(PADDING);
    let [quants, scales, mins, staged_quants, staged_scales, staged_mins] = scratch.parts([
        bytes(panel_rows * panel_cols),
        panel_rows * panel_subs,
        panel_rows * panel_subs,
        bytes(lanes * panel_cols),
        (lanes * panel_subs).next_multiple_of(PADDING),
        (lanes * panel_subs).next_multiple_of(PADDING),
    ]);
    let (quants, staged_quants) = (bytes_of(quants), bytes_of(staged_quants));
    let mut panel = Panel { quants, scales, mins };
    let mut staging = Staging { quants: staged_quants, scales: staged_scales, mins: staged_mins };
    for first_col in (0..n_cols).step_by(panel_cols) {
        let cols = first_col..n_cols.min(first_col + panel_cols);
        for first_row in rows.clone().step_by(panel_rows) {
            let n_rows = (rows.end - first_row).min(panel_rows);
            #[cfg(target_arch = "x86_64")]
            if first_row + panel_rows < rows.end {
                let next = first_row + panel_rows..rows.end.min(first_row + 2 * panel_rows);
                matrix.prefetch(next, cols.clone());
            } else {
                let next = cols.end..n_cols.min(cols.end + panel_cols);
                matrix.prefetch(rows.start..rows.end.min(rows.start + panel_rows), next);
            }
            let panel_rows = first_row..first_row + n_rows;
            // SAFETY: the caller's promise.
            unsafe {
                fill::<B>(&mut panel, &mut staging, matrix, panel_rows, cols.clone(), sub_len);
                let mut column = 0;
                while column < activations.m {
                    let tile = Tile { cols: cols.clone(), column, first_row, n_rows };
                    column += match activations.m - column {
                        left if left >= N => multiply_tile::<B, N, STEPS, SUBS, SYMMETRIC, LEVELS>(
                            product, &panel, &tile,
                        ),
                        4.. => multiply_tile::<B, 4, STEPS, SUBS, SYMMETRIC, LEVELS>(
                            product, &panel, &tile,
                        ),
                        2 | 3 => multiply_tile::<B, 2, STEPS, SUBS, SYMMETRIC, LEVELS>(
                            product, &panel, &tile,
                        ),
                        _ => multiply_tile::<B, 1, STEPS, SUBS, SYMMETRIC, LEVELS>(
                            product, &panel, &tile,
                        ),
                    };
                }
            }
        }
    }
}

/// Unpacks `cols` of `rows`; rows of the panel that do not exist become zero.
///
/// # Safety
///
/// To be inlined into a function with the target features of `B`.
#[inline(always)]
unsafe fn fill<B: Bytes>(
    panel: &mut Panel<'_>,
    staging: &mut Staging<'_>,
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    cols: Range<usize>,
    sub_len: usize,
) {
    let block_type = matrix.block_type();
    let (len, bytes) = (block_type.block_len(), block_type.block_bytes());
    let range = cols.start / len * bytes..cols.end / len * bytes;
    let lanes = B::Floats::LANES;
    let panel_rows = VECTORS * lanes;
    let (n_cols, n_subs) = (cols.len(), cols.len() / sub_len);
    let padded_subs = n_subs.next_multiple_of(INTERLEAVED);
    let is_wide = block_type == BlockType::Q8_0;
    for vector in 0..VECTORS {
        for lane in 0..lanes {
            let row = rows.start + vector * lanes + lane;
            let quants = &mut staging.quants[lane * n_cols..(lane + 1) * n_cols];
            let scales = &mut staging.scales[lane * padded_subs..][..n_subs];
            let mins = &mut staging.mins[lane * padded_subs..][..n_subs];
            if row < rows.end {
                let to = Unpacked { quants: &mut *quants, scales, mins };
                // SAFETY: the caller's promise.
                unsafe { B::unpack(block_type, &matrix.row(row)[range.clone()], to) };
                if is_wide && B::IS_SIGNED {
                    quants.iter_mut().for_each(|quant| *quant ^= 0x80);
                }
            } else {
                quants.fill(0);
                scales.fill(0.0);
                mins.fill(0.0);
            }
        }
        let to = &mut panel.quants[vector * B::LEN..];
        assert!(staging.quants.len() >= lanes * n_cols);
        assert!(to.len() + vector * B::LEN >= panel_rows * n_cols);
        // SAFETY: the rows are there, and a vector for each quad, asserted above; a block has a
        // multiple of eight quads.
        unsafe {
            let (rows, step) = (staging.quants.as_ptr(), VECTORS * B::LEN);
            B::interleave(rows, n_cols, n_cols / QUAD, to.as_mut_ptr(), step);
        }
        let pairs = [(&*staging.scales, &mut *panel.scales), (&*staging.mins, &mut *panel.mins)];
        for (rows, to) in pairs {
            assert!(rows.len() >= lanes * padded_subs && to.len() >= panel_rows * padded_subs);
            let (row_bytes, step) = (padded_subs * QUAD, panel_rows * QUAD);
            let to = to[vector * lanes..].as_mut_ptr().cast();
            // SAFETY: as above; a number takes as much as a quad.
            unsafe { B::interleave(rows.as_ptr().cast(), row_bytes, padded_subs, to, step) };
        }
    }
    panel.mins[..panel_rows * padded_subs].iter_mut().for_each(|min| *min = -*min);
}

/// What one tile covers.
struct Tile {
    /// Columns of weights, all of them in the panel.
    cols: Range<usize>,
    /// The first activation.
    column: usize,
    first_row: usize,
    /// At most as many as the panel has.
    n_rows: usize,
}

/// Adds the products of a panel and `N` activations to the output; returns `N`.
///
/// # Safety
///
/// To be inlined into a function with the target features of `B`.
#[inline(always)]
unsafe fn multiply_tile<
    B: Bytes,
    const N: usize,
    const STEPS: usize,
    const SUBS: usize,
    const SYMMETRIC: bool,
    const LEVELS: usize,
>(
    product: &Product<'_>,
    panel: &Panel<'_>,
    tile: &Tile,
) -> usize {
    let Product { activations, out, .. } = product;
    let (lanes, n_cols) = (B::Floats::LANES, activations.n_cols);
    let sub_len = STEPS * QUAD;
    let (n_groups, n_subs) = (n_cols / (sub_len * SUBS), n_cols / sub_len);
    let (first_group, groups) =
        (tile.cols.start / (sub_len * SUBS), tile.cols.len() / (sub_len * SUBS));
    let first_sub = first_group * SUBS;

    let last = tile.column + N - 1;
    assert!(last < activations.m && tile.cols.end <= n_cols);
    assert!(panel.quants.len() >= VECTORS * lanes * tile.cols.len());
    assert!(panel.scales.len() >= VECTORS * lanes * groups * SUBS);
    assert!(panel.mins.len() >= VECTORS * lanes * groups * SUBS);
    assert!(activations.quants.len() >= (last + 1) * n_cols);
    assert!(activations.scales.len() >= (last + 1) * n_groups);
    assert!(activations.sums.len() >= (last + 1) * n_subs);
    assert!(activations.starts.len() >= (last + 1) * n_subs);

    // SAFETY: every pointer below stays within its buffer: activations `column..=last` have
    // `n_cols` quants, `n_groups` scales and `n_subs` sums, and the panel has the columns (asserted
    // above). The output is `(m, n_rows)`, and rows past the last are left out.
    unsafe {
        let quants: [*const i8; N] = std::array::from_fn(|i| {
            activations.quants.as_ptr().add((tile.column + i) * n_cols + tile.cols.start)
        });
        let scales: [*const f32; N] = std::array::from_fn(|i| {
            activations.scales.as_ptr().add((tile.column + i) * n_groups + first_group)
        });
        let sums: [*const f32; N] = std::array::from_fn(|i| {
            activations.sums.as_ptr().add((tile.column + i) * n_subs + first_sub)
        });
        let starts: [*const i32; N] = std::array::from_fn(|i| {
            activations.starts.as_ptr().add((tile.column + i) * n_subs + first_sub)
        });
        let mut totals = [[B::Floats::splat(0.0); N]; VECTORS];
        if tile.cols.start > 0 {
            for v in 0..VECTORS {
                for i in 0..N {
                    let from = out.at(tile.column + i, tile.first_row + v * lanes);
                    let n = tile.n_rows.saturating_sub(v * lanes);
                    totals[v][i] = load_first::<B::Floats>(from, n);
                }
            }
        }
        let mut weights = panel.quants.as_ptr();
        let (mut weight_scales, mut mins) = (panel.scales.as_ptr(), panel.mins.as_ptr());
        for group in 0..groups {
            let mut products = [[B::Floats::splat(0.0); N]; VECTORS];
            for sub in group * SUBS..(group + 1) * SUBS {
                // Where weights have a sign of their own, nothing has to be taken back.
                let is_offset = SYMMETRIC && !(LEVELS > 128 && B::IS_SIGNED);
                let dots = B::dot_quads::<VECTORS, N, STEPS, LEVELS>(
                    weights,
                    std::array::from_fn(|i| quants[i].add(sub * sub_len)),
                    std::array::from_fn(|i| if is_offset { *starts[i].add(sub) } else { 0 }),
                );
                weights = weights.add(VECTORS * STEPS * B::LEN);
                for v in 0..VECTORS {
                    let scale = B::Floats::load(weight_scales);
                    weight_scales = weight_scales.add(lanes);
                    for i in 0..N {
                        products[v][i] = B::to_floats(dots[v][i]).mul_add(scale, products[v][i]);
                    }
                    if !SYMMETRIC {
                        let min = B::Floats::load(mins);
                        mins = mins.add(lanes);
                        for i in 0..N {
                            let sum = B::Floats::splat(*sums[i].add(sub));
                            products[v][i] = sum.mul_add(min, products[v][i]);
                        }
                    }
                }
            }
            for i in 0..N {
                let scale = B::Floats::splat(*scales[i].add(group));
                for v in 0..VECTORS {
                    totals[v][i] = products[v][i].mul_add(scale, totals[v][i]);
                }
            }
        }
        for v in 0..VECTORS {
            for i in 0..N {
                let to = out.at(tile.column + i, tile.first_row + v * lanes);
                store_first(totals[v][i], to, tile.n_rows.saturating_sub(v * lanes));
            }
        }
    }
    N
}

/// Loads a vector of which the first `n` numbers are there.
#[inline(always)]
unsafe fn load_first<S: Simd>(from: *const f32, n: usize) -> S {
    // SAFETY: the caller's pointer is good for `n` numbers.
    unsafe {
        if n >= S::LANES {
            return S::load(from);
        }
        let mut numbers = [0.0; PADDING];
        std::ptr::copy_nonoverlapping(from, numbers.as_mut_ptr(), n);
        S::load(numbers.as_ptr())
    }
}

/// Stores the first `n` numbers of a vector.
#[inline(always)]
unsafe fn store_first<S: Simd>(vector: S, to: *mut f32, n: usize) {
    // SAFETY: the caller's pointer is good for `n` numbers.
    unsafe {
        if n >= S::LANES {
            return vector.store(to);
        }
        let mut numbers = [0.0; PADDING];
        vector.store(numbers.as_mut_ptr());
        std::ptr::copy_nonoverlapping(numbers.as_ptr(), to, n);
    }
}
