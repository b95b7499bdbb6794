//! Weights and activations as `bf16` numbers.

use crate::BlockType;
use crate::gemv::{Pair, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, SuperBlock, half_pair, unpack};
use crate::matrix::Matrix;
use crate::unpack::{Unpacked, f16_at};
use std::arch::x86_64::*;
use std::ops::Range;

/// Rows of a tile of weights; activations in a tile of these.
pub(crate) const TILE_ROWS: usize = 16;
/// Columns of a tile.
pub(crate) const TILE_COLS: usize = 32;
/// Bytes of a tile: of 16 rows of 32 `bf16`, or of 16 rows of 16 `f32`.
pub(crate) const TILE_BYTES: usize = 1024;

/// Packs up to 16 activations.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
pub(crate) fn pack_tiles(from: &[f32], n_cols: usize, to: &mut [u8]) {
    for (at, tile) in to.chunks_exact_mut(TILE_BYTES).enumerate() {
        let first = at * TILE_COLS;
        let n = (n_cols - first).min(TILE_COLS);
        let mask = ((1u64 << n) - 1) as u32;
        let mut rows = [_mm512_setzero_si512(); TILE_ROWS];
        for (row, from) in rows.iter_mut().zip(from.chunks_exact(n_cols)) {
            // SAFETY: the mask leaves out what is behind the row's end.
            unsafe {
                let from = from.as_ptr().add(first);
                let low = _mm512_maskz_loadu_ps(mask as u16, from);
                let high = _mm512_maskz_loadu_ps((mask >> 16) as u16, from.wrapping_add(16));
                *row = to_bf16(low, high);
            }
        }
        for (row, to) in transpose_16x16(rows).into_iter().zip(tile.chunks_exact_mut(64)) {
            // SAFETY: `to` has 64 bytes.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), row) };
        }
    }
}

/// Rounds 32 numbers, in order.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(crate) fn to_bf16(low: __m512, high: __m512) -> __m512i {
    // SAFETY: both are 64 bytes of plain numbers.
    unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(high, low)) }
}

/// Unpacks `cols` of `rows`; the numbers of each begin `row_bytes` behind those of the last, and are
/// zero where there is no row.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
pub(crate) fn unpack_rows(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    cols: Range<usize>,
    to: &mut [u8],
    row_bytes: usize,
) {
    let block_type = matrix.block_type();
    let (len, bytes) = (block_type.block_len(), block_type.block_bytes());
    let range = cols.start / len * bytes..cols.end / len * bytes;
    let n_bytes = cols.len().div_ceil(TILE_COLS) * 64;
    for (at, to) in to.chunks_mut(row_bytes).enumerate() {
        let to = &mut to[..n_bytes];
        if at < rows.len() {
            // The next row's are asked for meanwhile.
            let ahead = matrix.row_bytes();
            unpack_row(block_type, &matrix.row(rows.start + at)[range.clone()], ahead, to);
        } else {
            to.fill(0);
        }
    }
}

/// Unpacks a stretch of a row.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
fn unpack_row(block_type: BlockType, bytes: &[u8], ahead: usize, to: &mut [u8]) {
    for line in bytes.chunks(64) {
        _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().wrapping_add(ahead).cast());
    }
    match block_type {
        BlockType::Q4_0 => unpack_pairs::<Q4_0, 16>(bytes, to),
        BlockType::Q4_1 => unpack_pairs::<Q4_1, 16>(bytes, to),
        BlockType::Q5_0 => unpack_pairs::<Q5_0, 32>(bytes, to),
        BlockType::Q5_1 => unpack_pairs::<Q5_1, 32>(bytes, to),
        BlockType::Q4K => unpack_supers::<Q4K, 16>(bytes, to),
        BlockType::Q5K => unpack_supers::<Q5K, 32>(bytes, to),
        BlockType::Q2K | BlockType::Q3K => unpack_by_16(block_type, bytes, to),
        BlockType::Q6K => unpack_q6k(bytes, to),
        BlockType::Q8_0 => {
            for (block, to) in bytes.as_chunks::<34>().0.iter().zip(to.chunks_exact_mut(64)) {
                let (scale, quants) = (_mm512_set1_ps(f16_at(block, 0)), &block[2..]);
                // SAFETY: a block has 32 quants.
                let number = |half: usize| unsafe {
                    let quants = _mm_loadu_si128(quants[16 * half..].as_ptr().cast());
                    _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(quants)), scale)
                };
                store(to_bf16(number(0), number(1)), to);
            }
        }
        BlockType::BF16 => {
            for (from, to) in bytes.chunks(64).zip(to.chunks_exact_mut(64)) {
                to[..from.len()].copy_from_slice(from);
                to[from.len()..].fill(0);
            }
        }
        BlockType::F32 | BlockType::F16 => unreachable!("these keep more bits than tiles do"),
    }
}

#[inline(always)]
fn store(numbers: __m512i, to: &mut [u8]) {
    // SAFETY: the slice has 64 bytes, and the callers have AVX-512.
    unsafe { _mm512_storeu_si512(to[..64].as_mut_ptr().cast(), numbers) }
}

/// Returns `scale * i - min` for 16 quants `i` from `first` on.
#[inline]
#[target_feature(enable = "avx512f")]
fn levels(first: f32, scale: f32, min: f32) -> __m512 {
    let count = _mm512_set_ps(
        15.0, 14.0, 13.0, 12.0, 11.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0,
    );
    let quants = _mm512_add_ps(count, _mm512_set1_ps(first));
    _mm512_fmsub_ps(quants, _mm512_set1_ps(scale), _mm512_set1_ps(min))
}

/// Looks up two groups of 32 quants, each with its scale and minimum; there are `LEVELS` different
/// ones, 16 or 32: so many numbers are found by a single instruction.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn look_up<const LEVELS: usize>(quants: __m512i, scales: [f32; 2], mins: [f32; 2]) -> [__m512i; 2] {
    let (tables, quants) = if LEVELS == 16 {
        let both = to_bf16(levels(0.0, scales[0], mins[0]), levels(0.0, scales[1], mins[1]));
        let second_half = _mm512_set_epi64(
            0x1010_1010_1010_1010,
            0x1010_1010_1010_1010,
            0x1010_1010_1010_1010,
            0x1010_1010_1010_1010,
            0,
            0,
            0,
            0,
        );
        ([both; 2], _mm512_or_si512(quants, second_half))
    } else {
        let table = |scale, min| to_bf16(levels(0.0, scale, min), levels(16.0, scale, min));
        ([table(scales[0], mins[0]), table(scales[1], mins[1])], quants)
    };
    let first = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(quants));
    let second = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64::<1>(quants));
    [_mm512_permutexvar_epi16(first, tables[0]), _mm512_permutexvar_epi16(second, tables[1])]
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
fn unpack_pairs<T: Pair, const LEVELS: usize>(bytes: &[u8], to: &mut [u8]) {
    for (pair, to) in bytes.chunks(2 * T::BYTES).zip(to.chunks_mut(2 * 64)) {
        let whole = pair.len() == 2 * T::BYTES;
        // SAFETY: `a` and `b` are blocks.
        let numbers = unsafe {
            let a = pair.as_ptr();
            let b = if whole { a.add(T::BYTES) } else { a };
            let scales = two(half_pair(a, b));
            let mins = match T::OFFSET {
                Some(offset) => scales.map(|scale| scale * offset),
                None => two(half_pair(a.add(2), b.add(2))).map(|min| -min),
            };
            look_up::<LEVELS>(T::quants(a, b), scales, mins)
        };
        store(numbers[0], to);
        if whole {
            store(numbers[1], &mut to[64..]);
        }
    }
}

/// Returns the first two lanes.
#[inline(always)]
fn two(lanes: __m128) -> [f32; 2] {
    // SAFETY: every x86-64 processor has these instructions.
    unsafe { [_mm_cvtss_f32(lanes), _mm_cvtss_f32(_mm_shuffle_ps::<1>(lanes, lanes))] }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
fn unpack_supers<T: SuperBlock, const LEVELS: usize>(bytes: &[u8], to: &mut [u8]) {
    let (mut scales, mut mins) = ([0f32; 16], [0f32; 16]);
    for (block, to) in bytes.chunks_exact(T::BYTES).zip(to.chunks_exact_mut(8 * 64)) {
        // SAFETY: the block is there, and the arrays have 16 numbers each.
        let quants = unsafe {
            let (some_scales, some_mins) = T::scales(block.as_ptr());
            _mm512_storeu_ps(scales.as_mut_ptr(), some_scales);
            _mm512_storeu_ps(mins.as_mut_ptr(), some_mins);
            T::quants(block.as_ptr())
        };
        for (part, quants) in quants.into_iter().enumerate() {
            let (first, second) = (2 * part, 2 * part + 1);
            let (scales, mins) = ([scales[first], scales[second]], [mins[first], mins[second]]);
            let numbers = look_up::<LEVELS>(quants, scales, mins);
            store(numbers[0], &mut to[first * 64..]);
            store(numbers[1], &mut to[second * 64..]);
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
fn unpack_q6k(bytes: &[u8], to: &mut [u8]) {
    let mut scales = [0f32; 16];
    for (block, to) in bytes.chunks_exact(Q6K::BYTES).zip(to.chunks_exact_mut(8 * 64)) {
        // SAFETY: the block is there, and the array has 16 numbers.
        let quants = unsafe {
            _mm512_storeu_ps(scales.as_mut_ptr(), Q6K::scales(block.as_ptr()).0);
            Q6K::quants(block.as_ptr())
        };
        for ((quants, scales), to) in
            quants.into_iter().zip(scales.chunks_exact(4)).zip(to.chunks_exact_mut(2 * 64))
        {
            let quants = _mm512_sub_epi8(quants, _mm512_set1_epi8(32));
            let numbers = |quants: __m128i, scale: f32| {
                let quants = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(quants));
                _mm512_mul_ps(quants, _mm512_set1_ps(scale))
            };
            let parts = [
                numbers(_mm512_castsi512_si128(quants), scales[0]),
                numbers(_mm512_extracti32x4_epi32::<1>(quants), scales[1]),
                numbers(_mm512_extracti32x4_epi32::<2>(quants), scales[2]),
                numbers(_mm512_extracti32x4_epi32::<3>(quants), scales[3]),
            ];
            store(to_bf16(parts[0], parts[1]), to);
            store(to_bf16(parts[2], parts[3]), &mut to[64..]);
        }
    }
}

/// Unpacks the types with a scale for 16 weights of two or three bits.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
fn unpack_by_16(block_type: BlockType, bytes: &[u8], to: &mut [u8]) {
    let (mut quants, mut scales, mut mins) = ([0u8; 256], [0f32; 16], [0f32; 16]);
    let blocks = bytes.chunks_exact(block_type.block_bytes());
    for (block, to) in blocks.zip(to.chunks_exact_mut(8 * 64)) {
        let unpacked = Unpacked { quants: &mut quants, scales: &mut scales, mins: &mut mins };
        unpack(block_type, block, unpacked);
        for (at, to) in to.chunks_exact_mut(64).enumerate() {
            let numbers = |sub: usize| {
                // SAFETY: there are 16 times 16 quants.
                let quants = unsafe { _mm_loadu_si128(quants[16 * sub..].as_ptr().cast()) };
                let quants = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(quants));
                _mm512_fmsub_ps(quants, _mm512_set1_ps(scales[sub]), _mm512_set1_ps(mins[sub]))
            };
            store(to_bf16(numbers(2 * at), numbers(2 * at + 1)), to);
        }
    }
}

/// An array of vectors, `vectors![16; |i| …]`. Unlike `array::from_fn`, whose closure is compiled for any
/// machine where it is not inlined, and then hands vectors over in memory.
macro_rules! vectors {
    ($n:literal; |$i:ident| $vector:expr) => {{
        let mut vectors = [_mm512_setzero_si512(); $n];
        for ($i, to) in vectors.iter_mut().enumerate() {
            *to = $vector;
        }
        vectors
    }};
}
pub(crate) use vectors;

/// Transposes 16 rows of 16 numbers of 32 bits.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn transpose_16x16(mut r: [__m512i; 16]) -> [__m512i; 16] {
    let mut t = [_mm512_setzero_si512(); 16];
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for i in 0..4 {
        r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    // Now 128-bit lane `l` of `r[4 * i + j]` has rows 4i..4i+4 of column 4l + j.
    for j in 0..4 {
        let even_a = _mm512_shuffle_i32x4::<0x88>(r[j], r[4 + j]);
        let even_b = _mm512_shuffle_i32x4::<0x88>(r[8 + j], r[12 + j]);
        let odd_a = _mm512_shuffle_i32x4::<0xdd>(r[j], r[4 + j]);
        let odd_b = _mm512_shuffle_i32x4::<0xdd>(r[8 + j], r[12 + j]);
        t[j] = _mm512_shuffle_i32x4::<0x88>(even_a, even_b);
        t[8 + j] = _mm512_shuffle_i32x4::<0xdd>(even_a, even_b);
        t[4 + j] = _mm512_shuffle_i32x4::<0x88>(odd_a, odd_b);
        t[12 + j] = _mm512_shuffle_i32x4::<0xdd>(odd_a, odd_b);
    }
    t
}
