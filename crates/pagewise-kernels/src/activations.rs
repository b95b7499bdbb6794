//! Activations as signed bytes with scales, made once per matrix product.

use crate::isa::multiversion;
use crate::{BlockType, ThreadPool};

/// Below this largest magnitude numbers that share a scale count as zero, so that reciprocals stay well
/// within the range of `f32`.
pub(crate) const MIN_MAGNITUDE: f32 = 1e-30;

/// Bytes a kernel may read past the last activation of a row.
const PADDING: usize = 64;

/// The quantised activations of one call; its buffers are reused by the next.
#[derive(Default)]
pub(crate) struct Activations {
    pub(crate) m: usize,
    pub(crate) n_cols: usize,
    /// Activations that share a scale: 32, or 256 for the K types.
    pub(crate) group_len: usize,
    /// Activations that share a sum: as many as weights share a scale.
    pub(crate) sub_len: usize,
    /// `(m, n_cols)`, within -127..=127.
    pub(crate) quants: Vec<i8>,
    /// `(m, n_cols / group_len)`.
    pub(crate) scales: Vec<f32>,
    /// `(m, n_cols / sub_len)`, sums of `quants`: integers held as floats.
    pub(crate) sums: Vec<f32>,
    /// `(m, n_cols / sub_len)`, what an integer dot product starts from: `-offset * sum`.
    pub(crate) starts: Vec<i32>,
}

struct Row<'a> {
    quants: &'a mut [i8],
    scales: &'a mut [f32],
    sums: &'a mut [f32],
    starts: &'a mut [i32],
}

impl Activations {
    /// Quantises `activations`, `(m, n_cols)`, for weights of `block_type`.
    pub(crate) fn quantize(
        &mut self,
        block_type: BlockType,
        activations: &[f32],
        n_cols: usize,
        pool: &ThreadPool,
    ) {
        self.n_cols = n_cols;
        self.m = activations.len() / n_cols;
        self.group_len = block_type.block_len();
        self.sub_len = block_type.sub_len();
        let (n_groups, n_subs) = (n_cols / self.group_len, n_cols / self.sub_len);
        grow(&mut self.quants, self.m * n_cols + PADDING);
        grow(&mut self.scales, self.m * n_groups + PADDING);
        grow(&mut self.sums, self.m * n_subs + PADDING);
        grow(&mut self.starts, self.m * n_subs + PADDING);

        let rows = std::sync::Mutex::new(
            activations
                .chunks_exact(n_cols)
                .zip(self.quants.chunks_exact_mut(n_cols))
                .zip(self.scales.chunks_exact_mut(n_groups))
                .zip(self.sums.chunks_exact_mut(n_subs))
                .zip(self.starts.chunks_exact_mut(n_subs)),
        );
        let (offset, group_len, sub_len) = (block_type.offset(), self.group_len, self.sub_len);
        let isa = pool.isa();
        let quantize_next = |_| {
            let next = match rows.lock() {
                Ok(mut rows) => rows.next(),
                Err(_) => None,
            };
            if let Some(((((from, quants), scales), sums), starts)) = next {
                let row = Row { quants, scales, sums, starts };
                quantize_row(isa, from, group_len, sub_len, offset, row);
            }
        };
        if self.m == 1 {
            quantize_next(0);
        } else {
            pool.run(self.m, &quantize_next);
        }
    }
}

fn grow<T: Copy + Default>(buffer: &mut Vec<T>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
}

multiversion! {
    fn quantize_row(from: &[f32], group_len: usize, sub_len: usize, offset: i32, to: Row<'_>)
        = quantize_row_body
}

#[inline(always)]
fn quantize_row_body(from: &[f32], group_len: usize, sub_len: usize, offset: i32, to: Row<'_>) {
    let groups = from.chunks_exact(group_len).zip(to.quants.chunks_exact_mut(group_len));
    for ((from, quants), scale) in groups.zip(to.scales) {
        *scale = quantize_group(from, quants);
    }
    for ((quants, sum), start) in to.quants.chunks_exact(sub_len).zip(to.sums).zip(to.starts) {
        let total: i32 = quants.iter().map(|&quant| i32::from(quant)).sum();
        *sum = total as f32;
        *start = -offset * total;
    }
}

#[inline(always)]
fn quantize_group(from: &[f32], to: &mut [i8]) -> f32 {
    let mut largest = [0f32; 16];
    for chunk in from.as_chunks::<16>().0 {
        for (largest, value) in largest.iter_mut().zip(chunk) {
            let magnitude = value.abs();
            *largest = if magnitude > *largest { magnitude } else { *largest };
        }
    }
    let largest = largest.into_iter().fold(0f32, f32::max);
    if largest < MIN_MAGNITUDE {
        to.fill(0);
        return 0.0;
    }
    let inverse = 127.0 / largest;
    // Adding 1.5 * 2^23 leaves the nearest integer (ties to even) in the low mantissa bits, the
    // same on every instruction set.
    for (to, value) in to.iter_mut().zip(from) {
        *to = (value * inverse + 12_582_912.0).to_bits() as i8;
    }
    largest / 127.0
}
