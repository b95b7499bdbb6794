//! Weights and activations as bytes with a sign, sums in 32-bit integers.
//!
//! A block of 256 weights gets one scale instead of those for 16 or 32 of them, and so do the activations that
//! it meets: integers hold for 256 columns, and are scaled and added up as `f32` once for so many. Compared
//! with `bf16`, a tile has twice the columns, so half as much is loaded for a product.
//!
//! ```text
//!              sums                      weights                     activations
//!          16 activations               64 columns                  16 activations
//!        ┌────────────────┐          ┌────────────────┐          ┌────────────────┐
//!     16 │                │       16 │ a row as it    │       16 │ four           │
//!   rows │ i32            │ +=  rows │ lies in memory │ ×  quads │ neighbouring   │
//!        │                │          │ i8             │          │ columns, i8    │
//!        └────────────────┘          └────────────────┘          └────────────────┘
//! ```
//!
//! The new step is a 127th of the largest weight of the block. Four bits lose little by that, since their own step
//! is a 15th of what their scale and minimum span; six lose more where a scale is much below the largest of the
//! block.

use super::{ACTIVATION_BYTES, MAX_COLS, ROWS, TILE_SUMS, TiledActivations, Tiles, stretches};
use super::{multiply_bytes_2x1, multiply_bytes_2x2};
use crate::BlockType;
use crate::activations::MIN_MAGNITUDE;
use crate::bf16::{TILE_BYTES, TILE_ROWS, transpose_16x16, vectors};
use crate::gemv::{Q4K, Q5K, Q6K, SuperBlock};
use crate::lines::{Lines, bytes_of};
use crate::matrix::Matrix;
use crate::unpack::{Unpacked, unpack};
use std::arch::x86_64::*;
use std::ops::Range;

/// Columns with one scale: those of a block.
pub(super) const BLOCK: usize = 256;
/// Columns of a tile.
pub(super) const TILE_COLS: usize = 64;
/// Tiles that a block is long.
const BLOCK_TILES: usize = BLOCK / TILE_COLS;
/// The largest quant.
const LARGEST: f32 = 127.0;
/// Blocks that are multiplied together: so many of 32 rows leave room in the first-level cache.
const BLOCKS_TOGETHER: usize = 2;

/// Returns the sums of `rows` and tiles of activations, as [`super::add_up`] does.
///
/// # Safety
///
/// The machine has AMX.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
pub(super) unsafe fn add_up<'a>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    activations: &TiledActivations,
    tokens: Range<usize>,
    scratch: &mut Lines,
    sums: &'a mut Lines,
) -> &'a mut [f32] {
    assert_eq!(activations.n_cols(), matrix.n_cols());
    // SAFETY: the caller's machine has AMX.
    let _tiles = unsafe { Tiles::configure() };
    let n_blocks = matrix.n_cols() / BLOCK;
    let step = ACTIVATION_BYTES / (TILE_ROWS * BLOCK * tokens.len());
    let step = step.clamp(1, MAX_COLS / BLOCK).min(n_blocks);
    // Odd in cache lines, so that rows do not get into each other's way.
    let row_bytes = step * BLOCK + 64;
    let [quants, scales, products] =
        scratch.parts([ROWS * row_bytes / size_of::<f32>(), step * ROWS, 2 * 4 * TILE_SUMS]);
    let mut weights = Weights { quants: bytes_of(quants), row_bytes, scales };
    let stretch_len = tokens.len() * 2 * TILE_SUMS;
    let [sums] = sums.parts([rows.len().div_ceil(ROWS) * stretch_len]);
    for unpacked in stretches(0..n_blocks, step) {
        for (rows, sums) in stretches(rows.clone(), ROWS).zip(sums.chunks_exact_mut(stretch_len)) {
            unpack_rows(matrix, rows, unpacked.clone(), &mut weights);
            for blocks in stretches(0..unpacked.len(), BLOCKS_TOGETHER) {
                let part = Part { unpacked: unpacked.clone(), blocks, tokens: tokens.clone() };
                // SAFETY: the registers are configured.
                unsafe { multiply_blocks(&weights, activations, &part, products, sums) };
            }
        }
    }
    sums
}

/// Some blocks of 32 rows.
struct Weights<'a> {
    /// Of each row, `row_bytes` apart; zero where there is no row.
    quants: &'a mut [u8],
    row_bytes: usize,
    /// `(blocks, 32)`.
    scales: &'a mut [f32],
}

/// What is multiplied together.
struct Part {
    /// Which blocks of a row the weights are.
    unpacked: Range<usize>,
    /// Some of them, counted from the first one that is unpacked.
    blocks: Range<usize>,
    /// Tiles of activations.
    tokens: Range<usize>,
}

/// Adds the products of some blocks to the sums, `(tokens, 2)` tiles, or puts them there if they are the first.
///
/// The integers of one block are scaled while the next one's are multiplied, because the two keep different
/// units of the processor busy.
///
/// # Safety
///
/// The registers are configured.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
unsafe fn multiply_blocks(
    weights: &Weights<'_>,
    activations: &TiledActivations,
    part: &Part,
    products: &mut [f32],
    sums: &mut [f32],
) {
    let (mut now, mut before) = products.split_at_mut(4 * TILE_SUMS);
    let mut waiting: Option<(usize, usize)> = None;
    let scale = |products: &[f32], sums: &mut [f32], (pair, block): (usize, usize)| {
        let of_rows = &weights.scales[block * ROWS..][..ROWS];
        let block_of_row = part.unpacked.start + block;
        let sums = sums[pair * 4 * TILE_SUMS..].chunks_exact_mut(2 * TILE_SUMS).take(2);
        for (at, sums) in sums.enumerate() {
            let of_tokens = activations.scales(part.tokens.start + 2 * pair + at, block_of_row);
            let products = &products[at * 2 * TILE_SUMS..][..2 * TILE_SUMS];
            add_scaled(products, of_rows, of_tokens, sums, block_of_row == 0);
        }
    };
    for (pair, tokens) in stretches(part.tokens.clone(), 2).enumerate() {
        for block in part.blocks.clone() {
            let first_tile = (part.unpacked.start + block) * BLOCK_TILES;
            let column = |token| activations.tiles(token, first_tile, BLOCK_TILES).as_ptr();
            // SAFETY: the registers are configured.
            unsafe { multiply_block(weights, block, tokens.clone().map(column), now) };
            if let Some(waiting) = waiting.replace((pair, block)) {
                scale(before, sums, waiting);
            }
            std::mem::swap(&mut now, &mut before);
        }
    }
    if let Some(waiting) = waiting {
        scale(before, sums, waiting);
    }
}

/// Multiplies a block of 32 rows with one column of tiles or two: `products` become so many times two tiles
/// of integers.
///
/// # Safety
///
/// The columns have a block's tiles each, and the registers are configured.
#[inline]
unsafe fn multiply_block(
    weights: &Weights<'_>,
    block: usize,
    mut columns: impl Iterator<Item = *const u8>,
    products: &mut [f32],
) {
    let quants = &weights.quants[block * BLOCK..];
    assert!(quants.len() >= (ROWS - 1) * weights.row_bytes + BLOCK);
    assert!(products.len() >= 4 * TILE_SUMS);
    let rows = [quants.as_ptr(), quants[TILE_ROWS * weights.row_bytes..].as_ptr()];
    let (row_bytes, n, to) = (weights.row_bytes, BLOCK_TILES, products.as_mut_ptr());
    // SAFETY: there are so many tiles at each pointer, asserted above and promised, and four of products.
    unsafe {
        match (columns.next(), columns.next()) {
            (Some(first), Some(second)) => {
                let to = [to, to.add(2 * TILE_SUMS)];
                multiply_bytes_2x2(rows, row_bytes, [first, second], n, to, true);
            }
            (Some(first), None) => multiply_bytes_2x1(rows, row_bytes, first, n, to, true),
            _ => {}
        }
    }
}

/// Adds integers, `(32 rows, 16 activations)`, to sums of the same shape once they are scaled, or puts them
/// there.
#[target_feature(enable = "avx512f")]
fn add_scaled(
    products: &[f32],
    of_rows: &[f32],
    of_tokens: &[f32],
    sums: &mut [f32],
    is_first: bool,
) {
    assert_eq!(of_tokens.len(), TILE_ROWS);
    // SAFETY: there are 16.
    let of_tokens = unsafe { _mm512_loadu_ps(of_tokens.as_ptr()) };
    let rows = products.chunks_exact(TILE_ROWS).zip(sums.chunks_exact_mut(TILE_ROWS));
    for ((products, sums), scale) in rows.zip(of_rows) {
        // SAFETY: both have 16.
        unsafe {
            let products = _mm512_cvtepi32_ps(_mm512_loadu_si512(products.as_ptr().cast()));
            let scale = _mm512_mul_ps(of_tokens, _mm512_set1_ps(*scale));
            let sum = if is_first {
                _mm512_mul_ps(products, scale)
            } else {
                _mm512_fmadd_ps(products, scale, _mm512_loadu_ps(sums.as_ptr()))
            };
            _mm512_storeu_ps(sums.as_mut_ptr(), sum);
        }
    }
}

/// Unpacks some blocks of `rows`.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
fn unpack_rows(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    blocks: Range<usize>,
    to: &mut Weights<'_>,
) {
    let block_type = matrix.block_type();
    let bytes = block_type.block_bytes();
    for (at, quants) in to.quants.chunks_exact_mut(to.row_bytes).enumerate() {
        let quants = quants[..blocks.len() * BLOCK].chunks_exact_mut(BLOCK);
        let to = quants.zip(to.scales.chunks_exact_mut(ROWS));
        if at < rows.len() {
            let row = &matrix.row(rows.start + at)[blocks.start * bytes..blocks.end * bytes];
            // The next row's are asked for meanwhile.
            for line in row.chunks(64) {
                let ahead = line.as_ptr().wrapping_add(matrix.row_bytes());
                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
            }
            for (block, (quants, scales)) in row.chunks_exact(bytes).zip(to) {
                scales[at] = unpack_block(block_type, block, quants);
            }
        } else {
            for (quants, scales) in to {
                quants.fill(0);
                scales[at] = 0.0;
            }
        }
    }
}

/// Unpacks a block to quants with a sign and returns their one scale.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
fn unpack_block(block_type: BlockType, block: &[u8], to: &mut [u8]) -> f32 {
    match block_type {
        BlockType::Q4K => requantize::<32, 16>(super_block::<Q4K>(block), to),
        BlockType::Q5K => requantize::<32, 32>(super_block::<Q5K>(block), to),
        BlockType::Q6K => requantize::<16, 64>(super_block::<Q6K>(block), to),
        BlockType::Q2K => requantize::<16, 4>(unpacked(block_type, block), to),
        BlockType::Q3K => requantize::<16, 8>(unpacked(block_type, block), to),
        _ => unreachable!("see `tile_form`"),
    }
}

/// A block's weights, `scale * quant - min`.
struct Block {
    quants: [__m512i; 4],
    /// For 16 or 32 weights each; zero where there are no more.
    scales: __m512,
    mins: __m512,
}

/// Unpacks a block.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
fn super_block<T: SuperBlock>(block: &[u8]) -> Block {
    assert_eq!(block.len(), T::BYTES);
    // SAFETY: the block is there.
    let (quants, (scales, mins)) =
        unsafe { (T::quants(block.as_ptr()), T::scales(block.as_ptr())) };
    let is_there = (1u32 << (BLOCK / T::SUB)) - 1;
    let scales = _mm512_maskz_mov_ps(is_there as u16, scales);
    Block { quants, scales, mins }
}

/// Unpacks a block of any other type.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
fn unpacked(block_type: BlockType, block: &[u8]) -> Block {
    let (mut quants, mut scales, mut mins) = ([0u8; BLOCK], [0f32; 16], [0f32; 16]);
    let to = Unpacked { quants: &mut quants, scales: &mut scales, mins: &mut mins };
    unpack(block_type, block, to);
    // SAFETY: there are 16 times 16 quants, and 16 of the others.
    unsafe {
        let (scales, mins) = (_mm512_loadu_ps(scales.as_ptr()), _mm512_loadu_ps(mins.as_ptr()));
        let quants = vectors![4; |part| _mm512_loadu_si512(quants.as_ptr().add(64 * part).cast())];
        Block { quants, scales, mins }
    }
}

/// Gives weights one scale, which is returned, instead of one for each `SUB`; a quant is below `LEVELS`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
fn requantize<const SUB: usize, const LEVELS: usize>(block: Block, to: &mut [u8]) -> f32 {
    let Block { quants, scales, mins } = block;
    if _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(scales, mins) != 0 {
        to.fill(0);
        return f32::NAN;
    }
    // The largest that any quant could give: a scale's first or last level. The quants are not looked at. If
    // one is infinite so is this, which makes the weights NaN, as they are.
    let last = _mm512_set1_ps((LEVELS - 1) as f32);
    let (first, last) = (_mm512_abs_ps(mins), _mm512_abs_ps(_mm512_fmsub_ps(last, scales, mins)));
    let largest = _mm512_reduce_max_ps(_mm512_max_ps(last, first));
    if largest < MIN_MAGNITUDE {
        to.fill(0);
        return 0.0;
    }
    // In 256ths of a step, for which 16 bits have room; half a step is added to round. A product may overflow:
    // it wraps, and its sum with the start is in range again.
    const PARTS: f32 = 256.0;
    let inverse = _mm512_set1_ps(PARTS * LARGEST / largest);
    let factors = to_words(_mm512_mul_ps(scales, inverse));
    let starts = to_words(_mm512_fnmadd_ps(mins, inverse, _mm512_set1_ps(PARTS / 2.0)));
    // Of 32 words, 16 with one scale and 16 with another, or the same.
    let round = |words: __m512i, low: usize, high: usize| {
        let which = _mm512_mask_set1_epi16(_mm512_set1_epi16(low as i16), 0xffff_0000, high as i16);
        let factors = _mm512_permutexvar_epi16(which, factors);
        let starts = _mm512_permutexvar_epi16(which, starts);
        let parts = _mm512_add_epi16(_mm512_mullo_epi16(words, factors), starts);
        _mm512_cvtepi16_epi8(_mm512_srai_epi16::<8>(parts))
    };
    for (part, (quants, to)) in quants.into_iter().zip(to.chunks_exact_mut(64)).enumerate() {
        let rounded = if (SUB, LEVELS) == (32, 16) {
            // All levels of two scales, then a look at them for each quant.
            let levels = round(word_numbers(), 2 * part, 2 * part + 1);
            let lanes = _mm512_set_epi64(3, 2, 3, 2, 1, 0, 1, 0);
            let levels = _mm512_permutexvar_epi64(lanes, _mm512_castsi256_si512(levels));
            _mm512_shuffle_epi8(levels, quants)
        } else {
            let first = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(quants));
            let second = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64::<1>(quants));
            let sub = 64 * part / SUB;
            let first = round(first, sub, sub + 16 / SUB);
            let second = round(second, sub + 32 / SUB, sub + 48 / SUB);
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(first), second)
        };
        // SAFETY: `to` has 64 bytes.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), rounded) };
    }
    largest / LARGEST
}

/// Returns the words from 0 to 15, twice.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn word_numbers() -> __m512i {
    let count = _mm_set_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    _mm512_cvtepu8_epi16(_mm256_set_m128i(count, count))
}

/// Rounds 16 numbers to words.
#[inline]
#[target_feature(enable = "avx512f")]
fn to_words(numbers: __m512) -> __m512i {
    _mm512_castsi256_si512(_mm512_cvtepi32_epi16(_mm512_cvtps_epi32(numbers)))
}

/// Packs up to 16 activations, `(n, n_cols)`, to tiles, `(n_cols / 64, 16 quads of columns, 16 activations, 4)`,
/// and their scales, `(n_cols / 256, 16)`.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
pub(super) fn pack_tiles(from: &[f32], n_cols: usize, to: &mut [u8], scales: &mut [f32]) {
    let blocks = to.chunks_exact_mut(BLOCK_TILES * TILE_BYTES);
    for (block, (tiles, scales)) in blocks.zip(scales.chunks_exact_mut(TILE_ROWS)).enumerate() {
        let mut inverses = [0f32; TILE_ROWS];
        scales.fill(0.0);
        for ((row, scale), inverse) in from.chunks_exact(n_cols).zip(scales).zip(&mut inverses) {
            let largest = largest_magnitude(&row[block * BLOCK..][..BLOCK]);
            if largest >= MIN_MAGNITUDE {
                (*scale, *inverse) = (largest / LARGEST, LARGEST / largest);
            }
        }
        for (at, tile) in tiles.chunks_exact_mut(TILE_BYTES).enumerate() {
            let mut quants = [_mm512_setzero_si512(); TILE_ROWS];
            let rows = from.chunks_exact(n_cols).zip(inverses);
            for (quants, (row, inverse)) in quants.iter_mut().zip(rows) {
                *quants = quantize(&row[block * BLOCK + at * TILE_COLS..][..TILE_COLS], inverse);
            }
            for (quad, to) in transpose_16x16(quants).into_iter().zip(tile.chunks_exact_mut(64)) {
                // SAFETY: `to` has 64 bytes.
                unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), quad) };
            }
        }
    }
}

/// Returns the largest magnitude of the numbers, a multiple of 16; NaN does not count.
#[inline]
#[target_feature(enable = "avx512f")]
fn largest_magnitude(numbers: &[f32]) -> f32 {
    let mut largest = _mm512_setzero_ps();
    for numbers in numbers.chunks_exact(16) {
        // SAFETY: there are 16.
        let numbers = unsafe { _mm512_loadu_ps(numbers.as_ptr()) };
        // Of two of which one is no number, this is the second.
        largest = _mm512_max_ps(_mm512_abs_ps(numbers), largest);
    }
    _mm512_reduce_max_ps(largest)
}

/// Returns 64 numbers as bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn quantize(numbers: &[f32], inverse: f32) -> __m512i {
    let inverse = _mm512_set1_ps(inverse);
    let mut quants = [_mm_setzero_si128(); 4];
    for (quants, numbers) in quants.iter_mut().zip(numbers.chunks_exact(16)) {
        // SAFETY: there are 16.
        let numbers = unsafe { _mm512_loadu_ps(numbers.as_ptr()) };
        let numbers = _mm512_cvtps_epi32(_mm512_mul_ps(numbers, inverse));
        *quants = _mm512_cvtepi32_epi8(numbers);
    }
    let [a, b, c, d] = quants;
    let low = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(a), b);
    let high = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(c), d);
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}
