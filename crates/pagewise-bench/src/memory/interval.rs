//! How far chance alone may have moved a figure: 95% intervals.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The quantile of the normal distribution for 95%.
const Z: f64 = 1.959_963_984_540_054;

/// Samples drawn for a bootstrap.
const N_RESAMPLES: usize = 2_000;

/// Returns Wilson's 95% interval for a share, `n_right` of `n`; everything is possible if `n` is 0.
pub fn wilson(n_right: usize, n: usize) -> [f64; 2] {
    if n == 0 {
        return [0.0, 1.0];
    }
    wilson_of_share(n_right as f64 / n as f64, n as f64)
}

/// The same for a share of `n` cases, more than none, which need not be a whole number: what dependent cases
/// are worth.
pub(crate) fn wilson_of_share(share: f64, n: f64) -> [f64; 2] {
    let denominator = 1.0 + Z * Z / n;
    let centre = (share + Z * Z / (2.0 * n)) / denominator;
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt() / denominator;
    // At its ends the interval is exact, whatever the last bits say.
    let low = if share <= 0.0 { 0.0 } else { centre - half };
    let high = if share >= 1.0 { 1.0 } else { centre + half };
    [low.max(0.0), high.min(1.0)]
}

/// Returns the percentile bootstrap's 95% interval for the mean of `values`: the same for the same
/// values and seed.
pub fn bootstrap(values: &[f64], seed: u64) -> [f64; 2] {
    if values.is_empty() {
        return [0.0, 1.0];
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut means: Vec<f64> = (0..N_RESAMPLES)
        .map(|_| {
            let sum: f64 = values.iter().map(|_| values[rng.random_range(0..values.len())]).sum();
            sum / values.len() as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    [means[N_RESAMPLES * 25 / 1000], means[N_RESAMPLES * 975 / 1000 - 1]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: [f64; 2], expected: [f64; 2], tolerance: f64) {
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < tolerance, "{found}, not {expected}");
        }
    }

    #[test]
    fn wilson_is_as_published() {
        // Newcombe, Statistics in Medicine 17 (1998), table I, method 3: score without correction.
        close(wilson(81, 263), [0.2553, 0.3662], 5e-5);
        close(wilson(15, 148), [0.0624, 0.1605], 5e-5);
        close(wilson(0, 20), [0.0, 0.1611], 5e-5);
        close(wilson(1, 29), [0.0061, 0.1718], 5e-5);
        close(wilson(20, 20), [1.0 - 0.1611, 1.0], 5e-5);
        close(wilson(0, 0), [0.0, 1.0], 1e-12);
    }

    #[test]
    fn a_bootstrap_agrees_with_the_normal_interval_of_many_values() {
        // The mean is 0.5 and its standard error 0.5 / 20.
        let values: Vec<f64> = (0..400).map(|n| f64::from(n % 2)).collect();
        let half = Z * 0.5 / 20.0;
        close(bootstrap(&values, 1), [0.5 - half, 0.5 + half], 0.006);
        let uneven: Vec<f64> = (0..50).map(|n| f64::from(n).sqrt()).collect();
        assert_eq!(bootstrap(&uneven, 1), bootstrap(&uneven, 1));
        assert_ne!(bootstrap(&uneven, 1), bootstrap(&uneven, 2));
        close(bootstrap(&[0.25; 7], 3), [0.25, 0.25], 1e-12);
        close(bootstrap(&[], 3), [0.0, 1.0], 1e-12);
    }
}
