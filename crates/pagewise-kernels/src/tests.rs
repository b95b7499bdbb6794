//! Every block type on every instruction set this machine has or emulates, against plain `f64` arithmetic.

use crate::unpack::f16_to_f32;
use crate::{
    Activation, BlockType, Isa, Matrix, Product, ShapeError, ThreadPool, multiply, multiply_gated,
    multiply_rows,
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Pools of `threads` threads, one for each instruction set this machine has.
fn pools(threads: usize) -> Vec<ThreadPool> {
    Isa::available().map(|isa| ThreadPool::with_isa(threads, isa)).collect()
}

fn half_at(bytes: &[u8], at: usize) -> f64 {
    half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f64()
}

/// Bytes of random blocks whose scales are of the order of `scale`.
fn random_blocks(
    rng: &mut ChaCha8Rng,
    block_type: BlockType,
    n_blocks: usize,
    scale: f32,
) -> Vec<u8> {
    let size = block_type.block_bytes();
    let mut bytes = vec![0u8; n_blocks * size];
    rng.fill(&mut bytes[..]);
    let halves: &[usize] = match block_type {
        BlockType::F32 | BlockType::BF16 => &[],
        BlockType::F16 | BlockType::Q4_0 | BlockType::Q5_0 | BlockType::Q8_0 => &[0],
        BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4K | BlockType::Q5K => &[0, 2],
        BlockType::Q2K => &[80, 82],
        BlockType::Q3K => &[108],
        BlockType::Q6K => &[208],
    };
    for block in bytes.chunks_exact_mut(size) {
        let value = |rng: &mut ChaCha8Rng| rng.random_range(-1f32..1.0) * scale;
        for &at in halves {
            let half = half::f16::from_f32(value(rng));
            block[at..at + 2].copy_from_slice(&half.to_le_bytes());
        }
        match block_type {
            BlockType::F32 => block.copy_from_slice(&value(rng).to_le_bytes()),
            BlockType::BF16 => {
                block.copy_from_slice(&half::bf16::from_f32(value(rng)).to_le_bytes())
            }
            _ => {}
        }
    }
    bytes
}

/// One weight, straight from the definition of its type.
fn weight(block_type: BlockType, block: &[u8], i: usize) -> f64 {
    let nibble = |bytes: &[u8]| f64::from(if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 });
    let fifth = |bytes: &[u8]| f64::from(bytes[i / 8] >> (i % 8) & 1) * 16.0;
    // Scale and minimum `j` of the eight packed into twelve bytes.
    let six_bits = |p: &[u8], j: usize| {
        if j < 4 {
            (f64::from(p[j] & 63), f64::from(p[j + 4] & 63))
        } else {
            let scale = p[j + 4] & 15 | p[j - 4] >> 6 << 4;
            let min = p[j + 4] >> 4 | p[j] >> 6 << 4;
            (f64::from(scale), f64::from(min))
        }
    };
    // Within 128 weights the two-bit planes follow each other, 32 weights each.
    let two_bits = |bytes: &[u8]| bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
    match block_type {
        BlockType::F32 => f64::from(f32::from_le_bytes([block[0], block[1], block[2], block[3]])),
        BlockType::F16 => half_at(block, 0),
        BlockType::BF16 => half::bf16::from_le_bytes([block[0], block[1]]).to_f64(),
        BlockType::Q4_0 => half_at(block, 0) * (nibble(&block[2..]) - 8.0),
        BlockType::Q4_1 => half_at(block, 0) * nibble(&block[4..]) + half_at(block, 2),
        BlockType::Q5_0 => half_at(block, 0) * (nibble(&block[6..]) + fifth(&block[2..]) - 16.0),
        BlockType::Q5_1 => {
            half_at(block, 0) * (nibble(&block[8..]) + fifth(&block[4..])) + half_at(block, 2)
        }
        BlockType::Q8_0 => half_at(block, 0) * f64::from(block[2 + i] as i8),
        BlockType::Q2K => {
            let scales = block[i / 16];
            half_at(block, 80) * f64::from(scales & 15) * f64::from(two_bits(&block[16..]))
                - half_at(block, 82) * f64::from(scales >> 4)
        }
        BlockType::Q3K => {
            let (packed, j) = (&block[96..108], i / 16);
            let low = if j < 8 { packed[j] & 15 } else { packed[j - 8] >> 4 };
            let high = packed[8 + j % 4] >> (j / 4 * 2) & 3;
            let scale = f64::from(low | high << 4) - 32.0;
            let third = block[i % 32] >> (i / 32) & 1;
            let quant = f64::from(two_bits(&block[32..])) - if third == 1 { 0.0 } else { 4.0 };
            half_at(block, 108) * scale * quant
        }
        BlockType::Q4K | BlockType::Q5K => {
            let (scale, min) = six_bits(&block[4..16], i / 32);
            let low_bytes = if block_type == BlockType::Q4K { &block[16..] } else { &block[48..] };
            let byte = low_bytes[i / 64 * 32 + i % 32];
            let mut quant = f64::from(if i % 64 < 32 { byte & 15 } else { byte >> 4 });
            if block_type == BlockType::Q5K {
                quant += 16.0 * f64::from(block[16 + i % 32] >> (i / 32) & 1);
            }
            half_at(block, 0) * scale * quant - half_at(block, 2) * min
        }
        BlockType::Q6K => {
            let (half, r) = (i / 128, i % 128);
            let byte = block[half * 64 + r % 64];
            let low = if r < 64 { byte & 15 } else { byte >> 4 };
            let high = block[128 + half * 32 + r % 32] >> (r / 32 * 2) & 3;
            let scale = f64::from(block[192 + i / 16] as i8);
            half_at(block, 208) * scale * (f64::from(low | high << 4) - 32.0)
        }
    }
}

/// How a kernel is documented to round what it multiplies.
#[derive(Clone, Copy, PartialEq)]
enum Rounding {
    None,
    /// Activations to eight bits for each block of the weights.
    Activations,
    /// Weights and activations to `bf16`.
    Bf16,
    /// Weights and activations to eight bits, so many of a row together.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "made with tiles alone"))]
    Both(usize),
}

impl Rounding {
    fn of(isa: Isa, block_type: BlockType, m: usize) -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use crate::amx::TileForm;
            match crate::product::tile_form(isa, block_type, m) {
                Some(TileForm::Bf16) => return Self::Bf16,
                Some(TileForm::Int8) => return Self::Both(256),
                None => {}
            }
        }
        let _ = (isa, m);
        if block_type.is_float() { Self::None } else { Self::Activations }
    }

    /// Rounds activations, `(n_cols,)`.
    fn round(self, block_type: BlockType, activations: &[f32]) -> Vec<f64> {
        let group_len = match self {
            Self::None => return activations.iter().map(|&a| f64::from(a)).collect(),
            Self::Bf16 => {
                return activations.iter().map(|&a| half::bf16::from_f32(a).to_f64()).collect();
            }
            Self::Activations => block_type.block_len(),
            Self::Both(group_len) => group_len,
        };
        let mut rounded = Vec::with_capacity(activations.len());
        for group in activations.chunks(group_len) {
            let largest = group.iter().fold(0f32, |largest, a| largest.max(a.abs()));
            let (inverse, scale) = (127.0 / largest, f64::from(largest / 127.0));
            let quant = |a: &f32| {
                if largest < 1e-30 { 0.0 } else { f64::from((a * inverse).round_ties_even()) }
            };
            rounded.extend(group.iter().map(|a| quant(a) * scale));
        }
        rounded
    }

    /// Returns a bound of what rounding weights to eight bits does to a product: what chance does not reach
    /// if each is off by up to half a step, and that by 12% more, since a step is of the largest weight that
    /// the scales of the group allow.
    fn weight_error_bound(self, weights: &[f64], activations: &[f64]) -> f64 {
        let Self::Both(group_len) = self else { return 0.0 };
        const DEVIATIONS: f64 = 6.0;
        let groups = weights.chunks(group_len).zip(activations.chunks(group_len));
        let variances = groups.map(|(weights, activations)| {
            let largest = weights.iter().fold(0f64, |largest, w| largest.max(w.abs()));
            let deviation = 1.12 * largest / 127.0 / 12f64.sqrt();
            deviation.powi(2) * activations.iter().map(|a| a * a).sum::<f64>()
        });
        DEVIATIONS * variances.sum::<f64>().sqrt()
    }
}

struct Case {
    block_type: BlockType,
    n_rows: usize,
    n_cols: usize,
    m: usize,
    weights: Vec<u8>,
    activations: Vec<f32>,
}

impl Case {
    fn new(
        seed: u64,
        block_type: BlockType,
        n_rows: usize,
        n_blocks: usize,
        m: usize,
        scale: f32,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let n_cols = n_blocks * block_type.block_len();
        let weights = random_blocks(&mut rng, block_type, n_rows * n_blocks, scale);
        let mut activations: Vec<f32> =
            (0..m * n_cols).map(|_| rng.random_range(-1f32..1.0)).collect();
        // Groups of zeros, and rows of very different magnitude.
        for (row, activations) in activations.chunks_exact_mut(n_cols).enumerate() {
            let factor = [1.0, 1e-6, 3e4][row % 3];
            activations.iter_mut().for_each(|a| *a *= factor);
            if row % 4 == 1 {
                activations[..block_type.block_len()].fill(0.0);
            }
        }
        Self { block_type, n_rows, n_cols, m, weights, activations }
    }

    fn matrix(&self) -> Matrix<'_> {
        Matrix::new(self.block_type, self.n_rows, self.n_cols, &self.weights).unwrap()
    }

    fn product(&self, pool: &ThreadPool) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.m * self.n_rows];
        self.matrix().matmul(&self.activations, self.m, &mut out, pool);
        out
    }

    fn weight(&self, row: usize, col: usize) -> f64 {
        let (len, size) = (self.block_type.block_len(), self.block_type.block_bytes());
        let block = (row * self.n_cols + col) / len * size;
        weight(self.block_type, &self.weights[block..block + size], col % len)
    }

    /// Holds every output against the product of the weights, exact or as `bf16`, and the rounded
    /// activations; with weights in bytes it may be off by what rounding them does.
    fn check(&self, pool: &ThreadPool) {
        let (isa, out) = (pool.isa(), self.product(pool));
        let rounding = Rounding::of(isa, self.block_type, self.m);
        // Tiles of `bf16` add up a whole row in one sum.
        let of_magnitude = if rounding == Rounding::Bf16 { 2e-5 } else { 2e-6 };
        let rows = self.activations.chunks_exact(self.n_cols);
        let rounded: Vec<_> = rows.map(|row| rounding.round(self.block_type, row)).collect();
        for row in 0..self.n_rows {
            let weight = |col| match self.weight(row, col) {
                weight if rounding == Rounding::Bf16 => {
                    half::bf16::from_f32(weight as f32).to_f64()
                }
                weight => weight,
            };
            let weights: Vec<f64> = (0..self.n_cols).map(weight).collect();
            for (i, rounded) in rounded.iter().enumerate() {
                let products = weights.iter().zip(rounded).map(|(w, a)| w * a);
                let (mut expected, mut magnitude) = (0f64, 0f64);
                products.for_each(|p| {
                    expected += p;
                    magnitude += p.abs();
                });
                let actual = f64::from(out[i * self.n_rows + row]);
                // Scale times quant and minimum nearly cancel in some types, which costs a few
                // bits against the sum of magnitudes.
                let tolerance = of_magnitude * magnitude
                    + 1e-6 * self.offset_magnitude(row, rounded)
                    + rounding.weight_error_bound(&weights, rounded)
                    + 1e-30;
                assert!(
                    (actual - expected).abs() <= tolerance,
                    "{:?} {isa:?} row {row} activation {i} of {}x{} m={}: {actual}, not {expected} (within {tolerance})",
                    self.block_type,
                    self.n_rows,
                    self.n_cols,
                    self.m,
                );
            }
        }
    }

    /// How large the two parts of `scale * u - min` are before they cancel.
    fn offset_magnitude(&self, row: usize, activations: &[f64]) -> f64 {
        let len = self.block_type.block_len();
        let parts = (0..self.n_cols).step_by(len).map(|block| {
            let largest =
                (block..block + len).map(|col| self.weight(row, col).abs()).fold(0f64, f64::max);
            largest * activations[block..block + len].iter().map(|a| a.abs()).sum::<f64>()
        });
        parts.sum()
    }
}

#[test]
fn multiplies_every_type_on_every_isa() {
    let pools = pools(2);
    for block_type in BlockType::ALL {
        // Odd numbers of rows, rows of one block and more columns than a panel holds.
        for (seed, (n_rows, n_weights)) in
            [(1, 256), (7, 1280), (33, 768), (70, 2304)].into_iter().enumerate()
        {
            for m in [1, 2, 3, 4, 5, 7, 8, 13, 16, 33, 50] {
                let n_blocks = n_weights / block_type.block_len();
                let case = Case::new(seed as u64, block_type, n_rows, n_blocks, m, 0.1);
                pools.iter().for_each(|pool| case.check(pool));
            }
        }
    }
}

/// Products that are made together are those that are made alone, whatever their types.
#[test]
fn multiplies_several_matrices() {
    use BlockType::{F16, Q4K, Q6K, Q8_0};
    for types in [[Q4K, Q4K, Q6K], [Q6K, Q8_0, Q4K], [Q8_0, F16, Q8_0]] {
        for m in [1, 3, 20] {
            let mut cases: Vec<Case> = types
                .iter()
                .zip([33, 70, 5])
                .map(|(&block_type, n_rows)| {
                    Case::new(8, block_type, n_rows, 768 / block_type.block_len(), m, 0.1)
                })
                .collect();
            let activations = cases[0].activations.clone();
            cases.iter_mut().for_each(|case| case.activations.clone_from(&activations));
            for pool in pools(2) {
                let mut outs: Vec<_> =
                    cases.iter().map(|case| vec![f32::NAN; m * case.n_rows]).collect();
                let products = cases.iter().zip(&mut outs);
                let mut products: Vec<_> =
                    products.map(|(case, out)| Product { matrix: case.matrix(), out }).collect();
                multiply(&activations, m, &mut products, &pool);
                for (case, out) in cases.iter().zip(outs) {
                    assert_eq!(case.product(&pool), out, "{:?} {types:?} m={m}", pool.isa());
                }
            }
        }
    }
}

/// Rows that are multiplied alone give what they give among all, to the last bit; the others stay.
#[test]
fn multiplies_some_rows() {
    for block_type in BlockType::ALL {
        let case = Case::new(4, block_type, 90, 768 / block_type.block_len(), 1, 0.1);
        for pool in pools(2) {
            let all = case.product(&pool);
            for rows in [vec![], vec![89], (0..90).step_by(7).rev().collect(), (0..90).collect()] {
                let mut out = vec![f32::NEG_INFINITY; 90];
                let product = Product { matrix: case.matrix(), out: &mut out };
                multiply_rows(&case.activations, product, &rows, &pool);
                for (row, (out, all)) in (0u32..).zip(out.iter().zip(&all)) {
                    let expected = if rows.contains(&row) { *all } else { f32::NEG_INFINITY };
                    assert_eq!(*out, expected, "{block_type:?} {:?} row {row}", pool.isa());
                }
            }
        }
    }
}

#[test]
fn a_gate_is_a_product_by_itself() {
    for types in [[BlockType::Q4K, BlockType::Q6K], [BlockType::Q8_0, BlockType::F16]] {
        for (m, kind) in [
            (1, Activation::Silu),
            (4, Activation::GeluTanh),
            (40, Activation::Silu),
            (530, Activation::GeluTanh),
        ] {
            let case = |block_type: BlockType| {
                Case::new(8, block_type, 77, 512 / block_type.block_len(), m, 0.1)
            };
            let (gate, mut up) = (case(types[0]), case(types[1]));
            up.activations.clone_from(&gate.activations);
            for pool in pools(2) {
                let mut out = vec![f32::NAN; m * gate.n_rows];
                let matrices = [gate.matrix(), up.matrix()];
                multiply_gated(&gate.activations, m, matrices, kind, &mut out, &pool);
                let mut expected = gate.product(&pool);
                kind.apply(pool.isa(), &mut expected, &up.product(&pool));
                assert_eq!(out, expected, "{:?} {types:?} m={m}", pool.isa());
            }
        }
    }
}

/// So many activations that their sums are not all kept at once.
#[test]
fn multiplies_many_activations() {
    // In bytes, 2,560 columns are not all unpacked at once with so many.
    for (block_type, n_cols) in [(BlockType::Q4K, 2560), (BlockType::BF16, 1024)] {
        let case = Case::new(7, block_type, 40, n_cols / block_type.block_len(), 530, 0.1);
        pools(2).iter().for_each(|pool| case.check(pool));
    }
}

/// So many numbers that activations are taken a part at a time.
#[test]
fn multiplies_long_rows_of_floats() {
    for block_type in [BlockType::F32, BlockType::F16, BlockType::BF16] {
        let case = Case::new(6, block_type, 5, 16_384, 20, 0.1);
        pools(2).iter().for_each(|pool| case.check(pool));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn multiplies_any_shape(
        seed: u64,
        type_index in 0..BlockType::ALL.len(),
        n_rows in 1usize..80,
        n_blocks in 1usize..40,
        m in 1usize..40,
        log_scale in -6f32..3.0,
    ) {
        let block_type = BlockType::ALL[type_index];
        let n_blocks = if block_type.block_len() == 256 { n_blocks.div_ceil(6) } else { n_blocks };
        let pools = pools(2);
        let case = Case::new(seed, block_type, n_rows, n_blocks, m, 10f32.powf(log_scale));
        pools.iter().for_each(|pool| case.check(pool));
    }
}

#[test]
fn does_not_depend_on_the_number_of_threads() {
    let pools = [1, 2, 3].map(pools);
    for block_type in BlockType::ALL {
        for m in [1, 4, 20, 40] {
            let case = Case::new(5, block_type, 301, 1024 / block_type.block_len(), m, 1.0);
            for isa in 0..pools[0].len() {
                let [one, two, three] = pools.each_ref().map(|pools| case.product(&pools[isa]));
                assert_eq!(one, two, "{block_type:?} {:?}", pools[0][isa].isa());
                assert_eq!(one, three, "{block_type:?} {:?}", pools[0][isa].isa());
            }
        }
    }
}

/// Activations that are not finite must stay in their row and their call: the kernels read
/// pairs of blocks, and the second of the last pair may belong to neither.
#[test]
fn an_infinite_activation_stays_where_it_is() {
    for pool in pools(1) {
        for block_type in BlockType::ALL {
            for (n_blocks, m) in [(1, 2), (3, 2), (5, 2), (3, 18)] {
                let mut case = Case::new(13, block_type, 3, n_blocks, m, 0.1);
                case.activations[(m - 1) * case.n_cols..].fill(f32::INFINITY);
                let out = case.product(&pool);
                let others = &out[..3 * (m - 1)];
                assert!(
                    others.iter().all(|out| out.is_finite()),
                    "{block_type:?} {n_blocks} m={m}"
                );
                // What the infinite row left in the buffers is behind this call's rows.
                Case::new(14, block_type, 3, n_blocks, m - 1, 0.1).check(&pool);
            }
        }
    }
}

/// Weights that are no numbers make a product none, whatever form they take on the way.
#[test]
fn weights_that_are_no_numbers_are_not_hidden() {
    let infinite = half::f16::INFINITY.to_le_bytes();
    for pool in pools(1) {
        for (block_type, scales) in [(BlockType::Q4K, [0, 2]), (BlockType::Q6K, [208, 208])] {
            for scale in [infinite, half::f16::NAN.to_le_bytes()] {
                let mut case = Case::new(15, block_type, 3, 2, 20, 0.1);
                for at in scales {
                    case.weights[at..at + 2].copy_from_slice(&scale);
                }
                // No small scale or minimum is zero.
                if block_type == BlockType::Q4K {
                    case.weights[4..16].fill(0xff);
                }
                let out = case.product(&pool);
                let of_first = out.chunks_exact(3).map(|rows| rows[0]);
                let zeros = |i: usize| i % 4 == 1;
                for (i, out) in of_first.enumerate().filter(|(i, _)| !zeros(*i)) {
                    assert!(!out.is_finite(), "{block_type:?} {:?} {i}: {out}", pool.isa());
                }
            }
        }
    }
}

#[test]
fn rounding_costs_little() {
    for pool in pools(1) {
        for block_type in BlockType::ALL {
            for m in [1, 40] {
                let case = Case::new(9, block_type, 45, 2048 / block_type.block_len(), m, 1.0);
                let out = case.product(&pool);
                for (i, activations) in case.activations.chunks_exact(case.n_cols).enumerate() {
                    let (mut error, mut total) = (0f64, 0f64);
                    for row in 0..case.n_rows {
                        let products = activations.iter().enumerate();
                        let products =
                            products.map(|(col, a)| case.weight(row, col) * f64::from(*a));
                        let exact: f64 = products.sum();
                        error += (f64::from(out[i * case.n_rows + row]) - exact).powi(2);
                        total += exact.powi(2);
                    }
                    let relative = (error / total).sqrt();
                    assert!(relative < 0.02, "{block_type:?} {:?} m={m}: {relative}", pool.isa());
                }
            }
        }
    }
}

#[test]
fn dequantizes_rows_exactly() {
    for block_type in BlockType::ALL {
        let case = Case::new(3, block_type, 5, 512 / block_type.block_len(), 1, 0.5);
        let mut out = vec![f32::NAN; case.n_cols];
        for isa in Isa::available() {
            for row in 0..case.n_rows {
                case.matrix().dequantize_row(isa, row, &mut out);
                for (col, &actual) in out.iter().enumerate() {
                    let expected = case.weight(row, col);
                    let error = (f64::from(actual) - expected).abs();
                    assert!(
                        error <= 1e-4 * expected.abs() + 1e-4,
                        "{block_type:?} {isa:?} {row},{col}: {actual}, not {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn widens_every_half() {
    for bits in 0..=u16::MAX {
        let (actual, expected) = (f16_to_f32(bits), half::f16::from_bits(bits).to_f32());
        assert!(
            actual == expected || actual.is_nan() && expected.is_nan(),
            "{bits:#06x}: {actual}, not {expected}"
        );
        assert_eq!(actual.is_sign_negative(), expected.is_sign_negative(), "{bits:#06x}");
    }
}

#[test]
fn reads_unaligned_bytes() {
    let pool = ThreadPool::new(2);
    for block_type in BlockType::ALL {
        let case = Case::new(11, block_type, 40, 512 / block_type.block_len(), 9, 1.0);
        let mut shifted = vec![0];
        shifted.extend_from_slice(&case.weights);
        let matrix = Matrix::new(block_type, case.n_rows, case.n_cols, &shifted[1..]).unwrap();
        let mut out = vec![f32::NAN; case.m * case.n_rows];
        matrix.matmul(&case.activations, case.m, &mut out, &pool);
        assert_eq!(out, case.product(&pool));
    }
}

#[test]
fn refuses_wrong_shapes() {
    let bytes = [0u8; 144];
    assert!(Matrix::new(BlockType::Q4K, 1, 256, &bytes).is_ok());
    assert_eq!(
        Matrix::new(BlockType::Q4K, 1, 255, &bytes).unwrap_err(),
        ShapeError::PartialBlock { block_type: BlockType::Q4K, n_cols: 255 }
    );
    assert_eq!(
        Matrix::new(BlockType::Q4K, 2, 256, &bytes).unwrap_err(),
        ShapeError::WrongLength { expected: 288, actual: 144 }
    );
    let n_rows = usize::MAX / 2;
    assert_eq!(
        Matrix::new(BlockType::Q4K, n_rows, 256, &bytes).unwrap_err(),
        ShapeError::TooLarge { n_rows, n_cols: 256 }
    );
    assert!(Matrix::new(BlockType::F32, usize::MAX, usize::MAX, &bytes).is_err());
}

#[test]
fn empty_products_do_nothing() {
    let pool = ThreadPool::new(1);
    let matrix = Matrix::new(BlockType::Q8_0, 2, 0, &[]).unwrap();
    let mut out = [1.0; 4];
    matrix.matmul(&[], 2, &mut out, &pool);
    assert_eq!(out, [0.0; 4]);
    Matrix::new(BlockType::Q8_0, 0, 32, &[]).unwrap().matmul(&[0.0; 32], 1, &mut [], &pool);
}

mod pool {
    use crate::ThreadPool;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn runs_every_task_once() {
        for threads in 0..4 {
            let pool = ThreadPool::new(threads);
            for n_tasks in [0, 1, 2, 3, 100] {
                for _ in 0..200 {
                    let counts: Vec<AtomicUsize> =
                        (0..n_tasks).map(|_| AtomicUsize::new(0)).collect();
                    pool.run(n_tasks, &|i| {
                        counts[i].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
                }
            }
        }
    }

    #[test]
    fn wakes_sleeping_workers() {
        let pool = ThreadPool::new(3);
        for pause_us in [0, 20, 50, 2_000] {
            for _ in 0..20 {
                std::thread::sleep(std::time::Duration::from_micros(pause_us));
                let count = AtomicUsize::new(0);
                pool.run(50, &|_| {
                    count.fetch_add(1, Ordering::Relaxed);
                });
                assert_eq!(count.into_inner(), 50);
            }
        }
    }

    #[test]
    fn hands_a_panic_to_the_caller_and_lives_on() {
        let pool = ThreadPool::new(2);
        for bad in [0, 40, 99] {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                pool.run(100, &|i| assert!(i != bad, "task {i}"));
            }));
            let message = *outcome.unwrap_err().downcast::<String>().unwrap();
            assert_eq!(message, format!("task {bad}"));
            pool.run(10, &|_| {});
        }
    }

    #[test]
    fn runs_nested_loops_in_line() {
        let pool = ThreadPool::new(2);
        let count = AtomicUsize::new(0);
        pool.run(8, &|_| {
            pool.run(8, &|_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(count.into_inner(), 64);
    }

    #[test]
    fn serves_several_callers() {
        let pool = ThreadPool::new(2);
        let count = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        pool.run(10, &|_| {
                            count.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 4_000);
    }
}
