//! The cheap steps between matrix products: normalisation, rotation, gating.

use crate::Isa;
use crate::isa::multiversion;

/// Which two elements of a head a rotary embedding turns together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairing {
    /// Neighbours: `2i` and `2i + 1` (llama-family GGUF).
    Norm,
    /// Halves: `i` and `i + n / 2` (everybody else).
    Neox,
}

/// Writes `x / sqrt(mean(x²) + eps) * weight` for every row of `x`, `(m, weight.len())`, to `out`.
///
/// # Panics
///
/// When `x` does not consist of whole rows or `out` has another length.
pub fn rms_norm(isa: Isa, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "input and output have one shape");
    assert!(!weight.is_empty() && x.len().is_multiple_of(weight.len()), "the input is (m, n)");
    for (x, out) in x.chunks_exact(weight.len()).zip(out.chunks_exact_mut(weight.len())) {
        let mean = crate::float::dot(isa, x, x) / weight.len() as f32;
        scale_by(isa, x, weight, (mean + eps).sqrt().recip(), out);
    }
}

multiversion! {
    fn scale_by(x: &[f32], weight: &[f32], factor: f32, out: &mut [f32]) = scale_by_body
}

#[inline(always)]
fn scale_by_body(x: &[f32], weight: &[f32], factor: f32, out: &mut [f32]) {
    for ((x, weight), out) in x.iter().zip(weight).zip(out) {
        *out = x * factor * weight;
    }
}

/// Rotates every head of one token, `(n_head, head_dim)`, in place.
///
/// `cos` and `sin` are the token's rows of the tables, one entry per pair; elements of a head
/// beyond `2 * cos.len()` stay as they are (partial rotation).
///
/// # Panics
///
/// When `heads` does not consist of whole heads, or the tables differ or exceed a head.
pub fn rope(heads: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32], pairing: RopePairing) {
    assert_eq!(cos.len(), sin.len(), "the tables have one length");
    assert!(head_dim > 0 && heads.len().is_multiple_of(head_dim), "heads are (n_head, head_dim)");
    assert!(2 * cos.len() <= head_dim, "a head holds all rotated pairs");
    for head in heads.chunks_exact_mut(head_dim) {
        match pairing {
            RopePairing::Norm => {
                for ((pair, cos), sin) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
                    let [x, y] = *pair;
                    *pair = [x * cos - y * sin, x * sin + y * cos];
                }
            }
            RopePairing::Neox => {
                let (first, second) = head.split_at_mut(cos.len());
                for (((x, y), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                    (*x, *y) = (*x * cos - *y * sin, *x * sin + *y * cos);
                }
            }
        }
    }
}

/// What the gate of a feed-forward network goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// GELU, in its form with tanh.
    GeluTanh,
}

impl Activation {
    /// Replaces `gate` by the activated gate times `up`.
    ///
    /// # Panics
    ///
    /// When the lengths differ.
    pub fn apply(self, isa: Isa, gate: &mut [f32], up: &[f32]) {
        assert_eq!(gate.len(), up.len(), "gate and up have one shape");
        match self {
            Self::Silu => silu_mul(isa, gate, up),
            Self::GeluTanh => gelu_mul(isa, gate, up),
        }
    }
}

multiversion! {
    fn silu_mul(gate: &mut [f32], up: &[f32]) = silu_mul_body
}

#[inline(always)]
fn silu_mul_body(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp(-*gate)) * up;
    }
}

multiversion! {
    fn gelu_mul(gate: &mut [f32], up: &[f32]) = gelu_mul_body
}

#[inline(always)]
fn gelu_mul_body(gate: &mut [f32], up: &[f32]) {
    // The square root of 2 / π.
    const SCALE: f32 = 0.797_884_6;
    for (gate, up) in gate.iter_mut().zip(up) {
        let x = *gate;
        *gate = 0.5 * x * (1.0 + tanh(SCALE * (x + 0.044_715 * x * x * x))) * up;
    }
}

multiversion! {
    /// Replaces every number `x` by `gelu(x)`, where the normal distribution is exact.
    pub fn gelu(x: &mut [f32]) = gelu_body
}

#[inline(always)]
fn gelu_body(x: &mut [f32]) {
    for x in x {
        *x = 0.5 * *x * (1.0 + erf(*x * std::f32::consts::FRAC_1_SQRT_2));
    }
}

/// Returns the error function of `x` within 3e-7, in a form the compiler vectorises: formula
/// 7.1.26 of Abramowitz and Stegun.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let polynomial = t
        * (0.254_829_6
            + t * (-0.284_496_72 + t * (1.421_413_8 + t * (-1.453_152_1 + t * 1.061_405_4))));
    (1.0 - polynomial * exp(-x * x)).copysign(x)
}

multiversion! {
    /// Adds `bias`, `(n,)`, to every row of `x`, `(m, n)`.
    pub fn add_to_rows(x: &mut [f32], bias: &[f32]) = add_to_rows_body
}

#[inline(always)]
fn add_to_rows_body(x: &mut [f32], bias: &[f32]) {
    for row in x.chunks_exact_mut(bias.len().max(1)) {
        for (x, bias) in row.iter_mut().zip(bias) {
            *x += bias;
        }
    }
}

/// Brings every row of `x`, `(m, weight.len())`, to mean 0 and variance 1, then multiplies with
/// `weight` and adds `bias`, in place.
///
/// # Panics
///
/// When `x` does not consist of whole rows or `bias` has another length than `weight`.
pub fn layer_norm(isa: Isa, x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    assert_eq!(weight.len(), bias.len(), "weight and bias have one length");
    assert!(!weight.is_empty() && x.len().is_multiple_of(weight.len()), "the input is (m, n)");
    layer_norm_on(isa, x, weight, bias, eps);
}

multiversion! {
    fn layer_norm_on(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) = layer_norm_body
}

#[inline(always)]
fn layer_norm_body(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    let n = weight.len() as f32;
    for row in x.chunks_exact_mut(weight.len()) {
        let mean = sum_of(row, |x| x) / n;
        let variance = sum_of(row, |x| (x - mean) * (x - mean)) / n;
        let factor = (variance + eps).sqrt().recip();
        for ((x, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
            *x = (*x - mean) * factor * weight + bias;
        }
    }
}

/// Sums in lanes, whose number fixes the result on every machine.
#[inline(always)]
fn sum_of(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    const LANES: usize = 32;
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += f(chunk[i]);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|x| f(*x)).sum::<f32>()
}

multiversion! {
    /// Brings every number into `-cap..=cap`, by `cap * tanh(x / cap)`.
    pub fn softcap(x: &mut [f32], cap: f32) = softcap_body
}

#[inline(always)]
pub(crate) fn softcap_body(x: &mut [f32], cap: f32) {
    let inverse = cap.recip();
    for x in x {
        *x = cap * tanh(*x * inverse);
    }
}

/// Returns the hyperbolic tangent of `x` within three units in the last place, in a form the
/// compiler vectorises.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    // Near zero the difference below would cancel: there, the polynomial of Cephes' tanhf.
    let z = x * x;
    let small = x + x
        * z
        * (-0.333_332_8
            + z * (0.133_314_42
                + z * (-0.053_739_716 + z * (0.020_639_09 + z * -0.005_704_988_7))));
    // Beyond 9 it is 1.
    let magnitude = x.abs();
    let magnitude = if magnitude > 10.0 { 10.0 } else { magnitude };
    let large = (1.0 - 2.0 / (exp(2.0 * magnitude) + 1.0)).copysign(x);
    if x.abs() < 0.625 { small } else { large }
}

/// Returns e to the power of `x` within three units in the last place, in a form the compiler
/// vectorises. Beyond ±87 it saturates at the largest and smallest normal powers.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Written so that a NaN passes through.
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    // x = n ln 2 + r, where adding 1.5 * 2^23 rounds to the integer n, and ln 2 in two parts
    // keeps r exact.
    let shifted = x * std::f32::consts::LOG2_E + 12_582_912.0;
    let n = shifted - 12_582_912.0;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let power = 1.0
        + r * (1.0
            + r * (0.5
                + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    let exponent = (shifted.to_bits() << 23).wrapping_add(127 << 23);
    power * f32::from_bits(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_close(actual: &[f32], expected: &[f32]) {
        assert_eq!(actual.len(), expected.len());
        for (actual, expected) in actual.iter().zip(expected) {
            assert!(
                (actual - expected).abs() <= 1e-5 * (1.0 + expected.abs()),
                "{actual}, not {expected}"
            );
        }
    }

    #[test]
    fn exp_is_close_everywhere() {
        for i in -87_000..=88_000 {
            let x = i as f32 / 1000.0;
            let (actual, expected) = (exp(x), f64::from(x).exp());
            assert!(
                (f64::from(actual) / expected - 1.0).abs() < 4e-7,
                "exp({x}) = {actual}, not {expected}"
            );
        }
        assert!(
            exp(f32::NEG_INFINITY) < 1e-37 && exp(f32::INFINITY) > 1e38 && exp(f32::NAN).is_nan()
        );
    }

    /// Numbers of both signs and many magnitudes.
    fn numbers(n: usize, seed: f32) -> Vec<f32> {
        (0..n).map(|i| ((i as f32 + seed) * 12.9898).sin() * 10f32.powi(i as i32 % 5 - 2)).collect()
    }

    #[test]
    fn tanh_is_close_everywhere() {
        for i in -30_000..=30_000 {
            let x = i as f32 / 1000.0;
            let (actual, expected) = (f64::from(tanh(x)), f64::from(x).tanh());
            assert!(
                (actual - expected).abs() <= 4e-7 * expected.abs(),
                "tanh({x}) = {actual}, not {expected}"
            );
        }
        assert_eq!([tanh(f32::INFINITY), tanh(f32::NEG_INFINITY)], [1.0, -1.0]);
        assert!(tanh(f32::NAN).is_nan());
    }

    #[test]
    fn caps() {
        for isa in Isa::available() {
            for n in [1, 15, 64, 901] {
                let x = numbers(n, 0.5);
                let mut out = x.clone();
                softcap(isa, &mut out, 30.0);
                let expected = x.iter().map(|&x| (30.0 * (f64::from(x) / 30.0).tanh()) as f32);
                check_close(&out, &expected.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn normalizes_rows() {
        for isa in Isa::available() {
            let mut out = [0.0; 4];
            rms_norm(isa, &[3.0, 4.0, 0.0, 2.0], &[1.0, 2.0], 0.0, &mut out);
            let (first, second) = (12.5f32.sqrt(), 2f32.sqrt());
            check_close(&out, &[3.0 / first, 8.0 / first, 0.0, 4.0 / second]);
            // Below, at and above the widths of every family's vectors.
            for n in [1, 7, 32, 33, 576, 901] {
                let (x, weight) = (numbers(3 * n, 0.5), numbers(n, 7.0));
                let mut out = vec![f32::NAN; 3 * n];
                rms_norm(isa, &x, &weight, 1e-5, &mut out);
                for (x, out) in x.chunks(n).zip(out.chunks(n)) {
                    let squares: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
                    let factor = (squares / n as f64 + 1e-5).sqrt().recip();
                    let expected = x.iter().zip(&weight);
                    let expected = expected.map(|(x, w)| (f64::from(x * w) * factor) as f32);
                    check_close(out, &expected.collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn erf_is_close_everywhere() {
        // From tables of the function.
        let known = [(0.0, 0.0), (0.1, 0.112_462_92), (0.5, 0.520_499_9), (1.0, 0.842_700_8)];
        let more = [(2.0, 0.995_322_3), (3.5, 0.999_999_3), (9.0, 1.0), (f32::INFINITY, 1.0)];
        for (x, expected) in known.into_iter().chain(more) {
            for (x, expected) in [(x, expected), (-x, -expected)] {
                assert!((erf(x) - expected).abs() < 3e-7, "erf({x}) = {}", erf(x));
            }
        }
        assert!(erf(f32::NAN).is_nan());
        for isa in Isa::available() {
            let mut x = [-200.0, -1.0, 0.0, 1.0, 2.5, 200.0];
            gelu(isa, &mut x);
            check_close(&x, &[0.0, -0.158_655_26, 0.0, 0.841_344_8, 2.484_476, 200.0]);
        }
    }

    #[test]
    fn brings_rows_to_mean_and_variance() {
        for isa in Isa::available() {
            for n in [1, 7, 32, 33, 384, 901] {
                let (x, weight, bias) = (numbers(3 * n, 0.5), numbers(n, 7.0), numbers(n, 9.0));
                let mut out = x.clone();
                layer_norm(isa, &mut out, &weight, &bias, 1e-5);
                for (x, out) in x.chunks(n).zip(out.chunks(n)) {
                    let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
                    let mean = x.iter().sum::<f64>() / n as f64;
                    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
                    let factor = 1.0 / (variance + 1e-5).sqrt();
                    let expected: Vec<f32> = x
                        .iter()
                        .zip(&weight)
                        .zip(&bias)
                        .map(|((x, w), b)| ((x - mean) * factor * f64::from(*w)) as f32 + b)
                        .collect();
                    for (actual, expected) in out.iter().zip(&expected) {
                        let tolerance = 1e-5 * (1.0 + expected.abs()) + 1e-4;
                        assert!((actual - expected).abs() < tolerance, "{actual}, not {expected}");
                    }
                }
                let mut sums = x.clone();
                add_to_rows(isa, &mut sums, &bias);
                let expected: Vec<f32> =
                    x.iter().zip(bias.iter().cycle()).map(|(x, b)| x + b).collect();
                assert_eq!(sums, expected);
            }
        }
    }

    #[test]
    fn rotates_pairs() {
        let (cos, sin) = ([0.0, 1.0], [1.0, 0.0]);
        let mut heads = [1.0, 2.0, 3.0, 4.0, 5.0];
        rope(&mut heads, 5, &cos, &sin, RopePairing::Norm);
        assert_eq!(heads, [-2.0, 1.0, 3.0, 4.0, 5.0]);
        let mut heads = [1.0, 2.0, 3.0, 4.0, 5.0];
        rope(&mut heads, 5, &cos, &sin, RopePairing::Neox);
        assert_eq!(heads, [-3.0, 2.0, 1.0, 4.0, 5.0]);
    }

    #[test]
    fn gates() {
        for isa in Isa::available() {
            let gates = [-100.0f32, -1.0, 0.0, 0.5, 30.0];
            let mut out = gates;
            silu_mul(isa, &mut out, &[2.0; 5]);
            check_close(&out, &gates.map(|gate| 2.0 * gate / (1.0 + (-gate).exp())));
            for n in [1, 15, 64, 901] {
                let (gates, up) = (numbers(n, 0.5), numbers(n, 3.0));
                let mut out = gates.clone();
                silu_mul(isa, &mut out, &up);
                let expected = gates.iter().zip(&up).map(|(&gate, up)| {
                    let gate = f64::from(gate);
                    (gate / (1.0 + (-gate).exp()) * f64::from(*up)) as f32
                });
                check_close(&out, &expected.collect::<Vec<_>>());
                let mut out = gates.clone();
                gelu_mul(isa, &mut out, &up);
                let expected = gates.iter().zip(&up).map(|(&gate, up)| {
                    let gate = f64::from(gate);
                    let angle =
                        (2.0 / std::f64::consts::PI).sqrt() * (gate + 0.044_715 * gate.powi(3));
                    (0.5 * gate * (1.0 + angle.tanh()) * f64::from(*up)) as f32
                });
                check_close(&out, &expected.collect::<Vec<_>>());
            }
        }
    }
}
