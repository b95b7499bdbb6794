//! Many activations: panels of 32 rows of weights, tiles of VNNI dot products.
//!
//! A panel holds a stretch of columns of 32 rows, unpacked to bytes and transposed so that one
//! 64-byte vector carries four neighbouring columns of 16 rows. It fits the first-level cache
//! and serves every row of activations, so the cost of unpacking is shared by all of them.

use crate::BlockType;
use crate::activations::Activations;
use crate::bf16::transpose_16x16;
use crate::gemv::unpack;
use crate::matrix::Matrix;
use crate::product::Output;
use crate::unpack::Unpacked;
use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ops::Range;

/// Rows in a panel: two vectors of 16.
const ROWS: usize = 32;
/// Columns of weights in a panel.
const COLS: usize = 512;
/// Activations in a tile; with two vectors of rows this fills the registers.
const TILE: usize = 4;

#[repr(C, align(64))]
struct Panel {
    /// `(COLS / 4, ROWS, 4)`.
    quants: [u8; ROWS * COLS],
    /// `(subs, ROWS)`.
    scales: [f32; ROWS * COLS / 16],
    mins: [f32; ROWS * COLS / 16],
    /// 16 rows before the transposition.
    staging: [u8; 16 * COLS],
    staged_scales: [f32; COLS / 16],
    staged_mins: [f32; COLS / 16],
}

thread_local! {
    static PANEL: RefCell<Option<Box<Panel>>> = const { RefCell::new(None) };
}

fn empty_panel() -> Box<Panel> {
    Box::new(Panel {
        quants: [0; ROWS * COLS],
        scales: [0.0; ROWS * COLS / 16],
        mins: [0.0; ROWS * COLS / 16],
        staging: [0; 16 * COLS],
        staged_scales: [0.0; COLS / 16],
        staged_mins: [0.0; COLS / 16],
    })
}

/// Computes the outputs of `rows` for all activations.
pub(crate) fn multiply(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    activations: &Activations,
    out: &Output,
) {
    PANEL.with_borrow_mut(|panel| {
        let panel = panel.get_or_insert_with(empty_panel);
        // SAFETY: called only on a pool whose `Isa` is `Family::Avx512Vnni`; `activations` was
        // quantised for this matrix and `out` is `(m, n_rows)`, checked by `Matrix::matmul`.
        unsafe {
            match matrix.block_type() {
                BlockType::Q4_0 | BlockType::Q5_0 | BlockType::Q8_0 => {
                    run::<32, 1, true>(matrix, rows, activations, out, panel);
                }
                BlockType::Q4_1 | BlockType::Q5_1 => {
                    run::<32, 1, false>(matrix, rows, activations, out, panel);
                }
                BlockType::Q4K | BlockType::Q5K => {
                    run::<32, 8, false>(matrix, rows, activations, out, panel);
                }
                BlockType::Q3K | BlockType::Q6K => {
                    run::<16, 16, true>(matrix, rows, activations, out, panel);
                }
                BlockType::Q2K => run::<16, 16, false>(matrix, rows, activations, out, panel),
                BlockType::F32 | BlockType::F16 | BlockType::BF16 => {
                    unreachable!("floating point weights have their own kernel")
                }
            }
        }
    });
}

/// `SUB` weights share a scale, `SUBS` times that many activations do; `SYMMETRIC` types have no
/// minima of their own.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn run<const SUB: usize, const SUBS: usize, const SYMMETRIC: bool>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    activations: &Activations,
    out: &Output,
    panel: &mut Panel,
) {
    let n_cols = activations.n_cols;
    for first_col in (0..n_cols).step_by(COLS) {
        let cols = first_col..n_cols.min(first_col + COLS);
        for first_row in rows.clone().step_by(ROWS) {
            let n_rows = (rows.end - first_row).min(ROWS);
            fill(panel, matrix, first_row, n_rows, cols.clone());
            if first_row + ROWS < rows.end {
                matrix.prefetch(first_row + ROWS..rows.end.min(first_row + 2 * ROWS), cols.clone());
            } else {
                let next = cols.end..n_cols.min(cols.end + COLS);
                matrix.prefetch(rows.start..rows.end.min(rows.start + ROWS), next);
            }
            let mut column = 0;
            while column < activations.m {
                let tile = Tile { cols: cols.clone(), column, first_row, n_rows };
                let left = activations.m - column;
                column += match left {
                    1 => tile_product::<SUB, SUBS, SYMMETRIC, 1>(panel, activations, out, tile),
                    2 | 3 => tile_product::<SUB, SUBS, SYMMETRIC, 2>(panel, activations, out, tile),
                    _ => tile_product::<SUB, SUBS, SYMMETRIC, TILE>(panel, activations, out, tile),
                };
            }
        }
    }
}

/// Unpacks `cols` of up to 32 rows from `first_row` on; rows that do not exist become zero.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn fill(
    panel: &mut Panel,
    matrix: &Matrix<'_>,
    first_row: usize,
    n_rows: usize,
    cols: Range<usize>,
) {
    let block_type = matrix.block_type();
    let (len, bytes) = (block_type.block_len(), block_type.block_bytes());
    let range = cols.start / len * bytes..cols.end / len * bytes;
    let (n_cols, n_subs) = (cols.len(), cols.len() / block_type.sub_len());
    for half in 0..2 {
        for lane in 0..16 {
            let row = half * 16 + lane;
            let quants = &mut panel.staging[lane * COLS..][..n_cols];
            let scales = &mut panel.staged_scales[..n_subs];
            let mins = &mut panel.staged_mins[..n_subs];
            if row < n_rows {
                let bytes = &matrix.row(first_row + row)[range.clone()];
                unpack(block_type, bytes, Unpacked { quants, scales, mins });
            } else {
                quants.fill(0);
                scales.fill(0.0);
                mins.fill(0.0);
            }
            for sub in 0..n_subs {
                panel.scales[sub * ROWS + row] = panel.staged_scales[sub];
                panel.mins[sub * ROWS + row] = panel.staged_mins[sub];
            }
        }
        for at in (0..n_cols).step_by(64) {
            // The last stretch may have only 32 columns; the staged bytes after it are stale but
            // the panel has room for them and no tile reads them.
            transpose(&panel.staging, at, &mut panel.quants, half);
        }
    }
}

/// Moves 64 columns of 16 staged rows into the panel, four columns of all rows per vector.
#[target_feature(enable = "avx512f")]
fn transpose(staging: &[u8; 16 * COLS], at: usize, quants: &mut [u8; ROWS * COLS], half: usize) {
    assert!(at + 64 <= COLS);
    let mut r = [_mm512_setzero_si512(); 16];
    for (lane, r) in r.iter_mut().enumerate() {
        // SAFETY: `at + 64 <= COLS`, so the load stays within the lane's `COLS` bytes.
        unsafe {
            *r = _mm512_loadu_si512(staging.as_ptr().add(lane * COLS + at).cast());
        }
    }
    for (i, t) in transpose_16x16(r).into_iter().enumerate() {
        // SAFETY: `at / 4 + i < COLS / 4` and `half < 2`, so the store stays within the panel.
        unsafe {
            let to = quants.as_mut_ptr().add((at / 4 + i) * ROWS * 4 + half * 64);
            _mm512_storeu_si512(to.cast(), t);
        }
    }
}

/// What one tile covers.
struct Tile {
    /// Columns of weights, all of them in the panel.
    cols: Range<usize>,
    /// The first activation.
    column: usize,
    first_row: usize,
    /// At most [`ROWS`].
    n_rows: usize,
}

/// Adds the products of a panel and `N` activations to the output; returns `N`.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn tile_product<const SUB: usize, const SUBS: usize, const SYMMETRIC: bool, const N: usize>(
    panel: &Panel,
    activations: &Activations,
    out: &Output,
    tile: Tile,
) -> usize {
    let (n_cols, group_len) = (activations.n_cols, SUB * SUBS);
    let (n_groups, n_subs) = (n_cols / group_len, n_cols / SUB);
    let first_group = tile.cols.start / group_len;
    let groups = tile.cols.len() / group_len;
    let first_sub = first_group * SUBS;

    let last = tile.column + N - 1;
    assert!(last < activations.m && tile.cols.len() <= COLS && tile.cols.end <= n_cols);
    assert!(activations.quants.len() >= (last + 1) * n_cols);
    assert!(activations.scales.len() >= (last + 1) * n_groups);
    assert!(activations.sums.len() >= (last + 1) * n_subs);
    assert!(activations.starts.len() >= (last + 1) * n_subs);

    // SAFETY: every pointer below stays within its buffer: activations `column..=last` have
    // `n_cols` quants, `n_groups` scales and `n_subs` sums (asserted above), and the panel has
    // `COLS` columns, of which `cols.len()` are visited. The output is `(m, n_rows)`, and the
    // masks leave out the rows past the last.
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
        let mask = (1u64 << tile.n_rows) - 1;
        let masks = [mask as u16, (mask >> 16) as u16];
        let mut total = [[_mm512_setzero_ps(); N]; 2];
        if tile.cols.start > 0 {
            for half in 0..2 {
                for i in 0..N {
                    let from = out.at(tile.column + i, tile.first_row + 16 * half);
                    total[half][i] = _mm512_maskz_loadu_ps(masks[half], from);
                }
            }
        }

        let mut weights = panel.quants.as_ptr();
        for group in 0..groups {
            let mut sum = [[_mm512_setzero_ps(); N]; 2];
            for sub in group * SUBS..(group + 1) * SUBS {
                let mut dot = [[_mm512_setzero_si512(); N]; 2];
                if SYMMETRIC {
                    for i in 0..N {
                        let start = _mm512_set1_epi32(*starts[i].add(sub));
                        dot[0][i] = start;
                        dot[1][i] = start;
                    }
                }
                for step in 0..SUB / 4 {
                    let low = _mm512_load_si512(weights.cast());
                    let high = _mm512_load_si512(weights.add(64).cast());
                    weights = weights.add(128);
                    for i in 0..N {
                        let four = quants[i].add(sub * SUB + step * 4).cast::<i32>();
                        let four = _mm512_set1_epi32(four.read_unaligned());
                        dot[0][i] = _mm512_dpbusd_epi32(dot[0][i], low, four);
                        dot[1][i] = _mm512_dpbusd_epi32(dot[1][i], high, four);
                    }
                }
                for half in 0..2 {
                    let at = sub * ROWS + 16 * half;
                    let scale = _mm512_load_ps(panel.scales.as_ptr().add(at));
                    let min = _mm512_load_ps(panel.mins.as_ptr().add(at));
                    for i in 0..N {
                        let product = _mm512_cvtepi32_ps(dot[half][i]);
                        sum[half][i] = _mm512_fmadd_ps(product, scale, sum[half][i]);
                        if !SYMMETRIC {
                            let activation_sum = _mm512_set1_ps(*sums[i].add(sub));
                            sum[half][i] = _mm512_fnmadd_ps(min, activation_sum, sum[half][i]);
                        }
                    }
                }
            }
            for i in 0..N {
                let scale = _mm512_set1_ps(*scales[i].add(group));
                for half in 0..2 {
                    total[half][i] = _mm512_fmadd_ps(sum[half][i], scale, total[half][i]);
                }
            }
        }

        for half in 0..2 {
            for i in 0..N {
                let to = out.at(tile.column + i, tile.first_row + 16 * half);
                _mm512_mask_storeu_ps(to, masks[half], total[half][i]);
            }
        }
    }
    N
}
