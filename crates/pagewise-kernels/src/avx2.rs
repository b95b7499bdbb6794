//! The integer dot product of one unpacked row with AVX2.

use crate::BlockType;
use crate::rowwise::{Column, Row};
use std::arch::x86_64::*;

/// Returns the dot product of a row of weights and a row of activations.
#[allow(unsafe_code)]
pub(crate) fn dot(block_type: BlockType, row: &Row, column: Column<'_>) -> f32 {
    // SAFETY: called only with an `Isa` above `PORTABLE`, and on x86-64 those begin with AVX2.
    unsafe {
        match (block_type.sub_len(), block_type.block_len()) {
            (16, _) => dot_16(row, column),
            (_, 256) => dot_32::<8, false>(row, column),
            _ if block_type == BlockType::Q8_0 => dot_32::<1, true>(row, column),
            _ => dot_32::<1, false>(row, column),
        }
    }
}

/// Returns the eight partial sums of 32 products; `WIDE` for weights above 127, whose products
/// would overflow the 16-bit sums of two.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn products<const WIDE: bool>(weights: &[u8; 32], activations: &[i8; 32]) -> __m256i {
    // SAFETY: both arrays have the 32 bytes read.
    #[allow(unsafe_code)]
    let (w, a) = unsafe {
        (
            _mm256_loadu_si256(weights.as_ptr().cast()),
            _mm256_loadu_si256(activations.as_ptr().cast()),
        )
    };
    if WIDE {
        let low = _mm256_madd_epi16(
            _mm256_cvtepu8_epi16(_mm256_castsi256_si128(w)),
            _mm256_cvtepi8_epi16(_mm256_castsi256_si128(a)),
        );
        let high = _mm256_madd_epi16(
            _mm256_cvtepu8_epi16(_mm256_extracti128_si256::<1>(w)),
            _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(a)),
        );
        _mm256_add_epi32(low, high)
    } else {
        _mm256_madd_epi16(_mm256_maddubs_epi16(w, a), _mm256_set1_epi16(1))
    }
}

#[target_feature(enable = "avx2,fma")]
fn dot_32<const SUBS: usize, const WIDE: bool>(row: &Row, column: Column<'_>) -> f32 {
    let weights = row.quants.as_chunks::<32>().0.chunks_exact(SUBS);
    let activations = column.quants.as_chunks::<32>().0.chunks_exact(SUBS);
    let scales = row.scales.chunks_exact(SUBS).zip(row.mins.chunks_exact(SUBS));
    let sums = column.sums.chunks_exact(SUBS);
    let (mut total, mut total_min) = (_mm256_setzero_ps(), 0f32);
    for ((((w, a), (scales, mins)), sums), &scale) in
        weights.zip(activations).zip(scales).zip(sums).zip(column.scales)
    {
        let (mut group, mut min) = (_mm256_setzero_ps(), 0f32);
        for sub in 0..SUBS {
            let products = _mm256_cvtepi32_ps(products::<WIDE>(&w[sub], &a[sub]));
            group = _mm256_fmadd_ps(products, _mm256_set1_ps(scales[sub]), group);
            min += mins[sub] * sums[sub];
        }
        total = _mm256_fmadd_ps(group, _mm256_set1_ps(scale), total);
        total_min += min * scale;
    }
    sum(total) - total_min
}

#[target_feature(enable = "avx2,fma")]
fn dot_16(row: &Row, column: Column<'_>) -> f32 {
    let weights = row.quants.as_chunks::<32>().0.chunks_exact(8);
    let activations = column.quants.as_chunks::<32>().0.chunks_exact(8);
    let scales = row.scales.as_chunks::<16>().0.iter().zip(row.mins.as_chunks::<16>().0);
    let sums = column.sums.as_chunks::<16>().0;
    let (mut total, mut total_min) = (_mm256_setzero_ps(), 0f32);
    for ((((w, a), (scales, mins)), sums), &scale) in
        weights.zip(activations).zip(scales).zip(sums).zip(column.scales)
    {
        let (mut group, mut min) = (_mm256_setzero_ps(), 0f32);
        for pair in 0..8 {
            let products = _mm256_cvtepi32_ps(products::<false>(&w[pair], &a[pair]));
            let scales =
                _mm256_set_m128(_mm_set1_ps(scales[2 * pair + 1]), _mm_set1_ps(scales[2 * pair]));
            group = _mm256_fmadd_ps(products, scales, group);
        }
        for sub in 0..16 {
            min += mins[sub] * sums[sub];
        }
        total = _mm256_fmadd_ps(group, _mm256_set1_ps(scale), total);
        total_min += min * scale;
    }
    sum(total) - total_min
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn sum(lanes: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}
