//! Rotary position embedding: how the model knows where a token stands.

use candle_core::Tensor;
use candle_nn::rotary_emb::{rope, rope_i};

use super::{Rope, RopePairing, RopeScaling};
use crate::compute::Compute;
use crate::error::zeros;
use crate::{InferError, LoadError};

/// Cosines and sines of all positions of a window, `(window, dim / 2)` each.
///
/// In f32: in f16 the angle of position 8191 would be wrong by more than a radian.
pub(crate) struct RopeTable {
    cos: Vec<f32>,
    sin: Vec<f32>,
    /// The same for candle, where it is needed.
    tensors: Option<[Tensor; 2]>,
    dim: usize,
    pairing: RopePairing,
    magnitude: f32,
}

impl RopeTable {
    pub(crate) fn new(
        config: &Rope,
        window_tokens: usize,
        compute: &Compute,
    ) -> Result<Self, LoadError> {
        const WHAT: &str = "the angles of all positions";
        let frequencies = frequencies(config, window_tokens);
        let n_angles = window_tokens * frequencies.len();
        let mut cos = zeros(n_angles, WHAT)?;
        let mut sin = zeros(n_angles, WHAT)?;
        let rows = cos.chunks_mut(frequencies.len()).zip(sin.chunks_mut(frequencies.len()));
        for (position, (cos, sin)) in rows.enumerate() {
            for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(&frequencies) {
                // The product in f64, so that late positions keep their precision.
                let (sine, cosine) = (position as f64 * frequency).sin_cos();
                *cos = cosine as f32 * config.magnitude;
                *sin = sine as f32 * config.magnitude;
            }
        }
        let tensor = |table: &[f32]| {
            Tensor::from_slice(table, (window_tokens, frequencies.len()), compute.device())
        };
        let tensors = match compute.pool() {
            Some(_) => None,
            None => Some([tensor(&cos)?, tensor(&sin)?]),
        };
        let Rope { dim, pairing, magnitude, .. } = *config;
        Ok(Self { cos, sin, tensors, dim, pairing, magnitude })
    }

    /// Turns `x`, `(T, n_heads, head_dim)`, whose first token stands at `position`, in place.
    pub(crate) fn turn(&self, x: &mut [f32], n_heads: usize, head_dim: usize, position: usize) {
        let n_pairs = self.dim / 2;
        let pairing = self.kernel_pairing();
        let angles = self.cos.chunks(n_pairs).zip(self.sin.chunks(n_pairs));
        for (heads, (cos, sin)) in x.chunks_mut(n_heads * head_dim).zip(angles.skip(position)) {
            pagewise_kernels::rope(heads, head_dim, cos, sin, pairing);
        }
    }

    /// Turns `x`, `(T, n_heads, head_dim)`, which was turned for other positions, so that each of
    /// its tokens stands `by` positions further on.
    pub(crate) fn shift(&self, x: &mut [f32], n_heads: usize, head_dim: usize, by: isize) {
        let n_pairs = self.dim / 2;
        let angles = by.unsigned_abs() * n_pairs..(by.unsigned_abs() + 1) * n_pairs;
        // The numbers have their magnitude already.
        let direction = if by < 0 { -1.0 } else { 1.0 };
        let cos: Vec<f32> = self.cos[angles.clone()].iter().map(|x| x / self.magnitude).collect();
        let sin: Vec<f32> =
            self.sin[angles].iter().map(|x| direction * x / self.magnitude).collect();
        for heads in x.chunks_mut(n_heads * head_dim) {
            pagewise_kernels::rope(heads, head_dim, &cos, &sin, self.kernel_pairing());
        }
    }

    fn kernel_pairing(&self) -> pagewise_kernels::RopePairing {
        match self.pairing {
            RopePairing::Norm => pagewise_kernels::RopePairing::Norm,
            RopePairing::Neox => pagewise_kernels::RopePairing::Neox,
        }
    }

    /// Turns `x`, `(n_heads, T, head_dim)`, whose first token stands at `position`.
    pub(crate) fn apply(&self, x: &Tensor, position: usize) -> Result<Tensor, InferError> {
        let (_, n_tokens, head_dim) = x.dims3()?;
        let Some([cos, sin]) = &self.tensors else {
            return Err(candle_core::Error::Msg("RoPE was prepared for slices".into()).into());
        };
        let cos = cos.narrow(0, position, n_tokens)?;
        let sin = sin.narrow(0, position, n_tokens)?;
        let turn = |x: &Tensor| -> Result<Tensor, InferError> {
            let x = x.contiguous()?.unsqueeze(0)?;
            let turned = match self.pairing {
                RopePairing::Norm => rope_i(&x, &cos, &sin)?,
                RopePairing::Neox => rope(&x, &cos, &sin)?,
            };
            Ok(turned.squeeze(0)?)
        };
        if self.dim == head_dim {
            return turn(x);
        }
        let turned = turn(&x.narrow(2, 0, self.dim)?)?;
        let rest = x.narrow(2, self.dim, head_dim - self.dim)?;
        Ok(Tensor::cat(&[&turned, &rest], 2)?)
    }
}

fn frequencies(config: &Rope, window_tokens: usize) -> Vec<f64> {
    (0..config.dim / 2)
        .map(|i| {
            let exponent = (2 * i) as f64 / config.dim as f64;
            let frequency = f64::from(config.theta).powf(-exponent);
            match &config.scaling {
                RopeScaling::None => frequency,
                RopeScaling::Linear { factor } => frequency / f64::from(*factor),
                RopeScaling::Divisors(divisors) => frequency / f64::from(divisors[i]),
                RopeScaling::LongRope { short, long, original_context } => {
                    let is_long = window_tokens > *original_context;
                    frequency / f64::from(if is_long { long[i] } else { short[i] })
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns 1, 2, 3, 4 turned, which must be the same for slices and for tensors.
    fn turned(pairing: RopePairing, dim: usize, position: usize) -> Vec<f32> {
        let config =
            Rope { dim, theta: 100.0, pairing, scaling: RopeScaling::None, magnitude: 1.0 };
        let compute = Compute::tensors();
        let table = RopeTable::new(&config, 8, &compute).expect("a small table");
        let numbers = [1f32, 2.0, 3.0, 4.0];
        let x = Tensor::from_slice(&numbers, (1, 1, 4), compute.device()).expect("a tensor");
        let y = table.apply(&x, position).expect("within the table");
        let y: Vec<f32> = y.flatten_all().and_then(|y| y.to_vec1()).expect("floats");
        let mut in_place = numbers;
        table.turn(&mut in_place, 1, 4, position);
        for (a, b) in y.iter().zip(in_place) {
            assert!((a - b).abs() < 1e-6, "{y:?} and {in_place:?}");
        }
        y
    }

    fn rotate(x: f32, y: f32, angle: f32) -> [f32; 2] {
        let (sin, cos) = angle.sin_cos();
        [x * cos - y * sin, x * sin + y * cos]
    }

    fn assert_close(actual: &[f32], expected: [f32; 4]) {
        for (actual, expected) in actual.iter().zip(expected) {
            assert!((actual - expected).abs() < 1e-6, "{actual} and {expected}");
        }
    }

    #[test]
    fn pairs_are_neighbours_or_halves() {
        // Frequencies of theta 100 over 4 numbers: 1 and 1/10.
        let ([a, b], [c, d]) = (rotate(1.0, 2.0, 3.0), rotate(3.0, 4.0, 0.3));
        assert_close(&turned(RopePairing::Norm, 4, 3), [a, b, c, d]);
        let ([a, c], [b, d]) = (rotate(1.0, 3.0, 3.0), rotate(2.0, 4.0, 0.3));
        assert_close(&turned(RopePairing::Neox, 4, 3), [a, b, c, d]);
    }

    #[test]
    fn numbers_beyond_the_turned_ones_stay() {
        let [a, b] = rotate(1.0, 2.0, 5.0);
        assert_close(&turned(RopePairing::Norm, 2, 5), [a, b, 3.0, 4.0]);
    }
}
