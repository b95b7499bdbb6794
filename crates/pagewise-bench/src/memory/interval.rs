//! How far chance alone may have moved a figure: 95% intervals.

use std::collections::HashMap;

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

/// Returns the 95% interval for the mean of `values`, each from 0 to 1, of which those in the same of `clusters` may be alike;
/// an empty name is a cluster of its own.
///
/// Shares have Wilson's interval, other means the bootstrap's. Where clusters have several values, they are
/// drawn whole too, and the interval is widened as if each were one value; it is never narrower than that of
/// values alone, which is what is left to say when all values are the same, or all are in one cluster. One value
/// that is no share says nothing of others.
pub(crate) fn interval(values: &[f64], clusters: &[&str], seed: u64) -> [f64; 2] {
    let is_share = values.iter().all(|value| *value == 0.0 || *value == 1.0);
    let alone = if is_share {
        let n_right = values.iter().filter(|value| **value == 1.0).count();
        wilson(n_right, values.len())
    } else if values.len() == 1 {
        [0.0, 1.0]
    } else {
        bootstrap(values, seed)
    };
    let groups = grouped(values, clusters);
    if groups.len() == values.len() || groups.len() < 2 {
        return alone;
    }
    let [low, high] = bootstrap_clusters(&groups, seed);
    [low.max(0.0).min(alone[0]), high.min(1.0).max(alone[1])]
}

/// Returns in how many clusters the values are, if some are in the same.
pub(crate) fn n_clusters(clusters: &[&str]) -> Option<usize> {
    let n = grouped(clusters, clusters).len();
    (n < clusters.len()).then_some(n)
}

/// Puts together what is in the same cluster, in the order of the first of each.
pub(crate) fn grouped<T: Copy>(values: &[T], clusters: &[&str]) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (value, cluster) in values.iter().zip(clusters) {
        match places.get(cluster) {
            Some(place) if !cluster.is_empty() => groups[*place].push(*value),
            _ => {
                places.insert(cluster, groups.len());
                groups.push(vec![*value]);
            }
        }
    }
    groups
}

/// Returns the percentile bootstrap's 95% interval for the mean of all values, with clusters drawn whole. Of
/// a few clusters it would be too narrow, as a variance with the wrong divisor is, and is widened by as much.
/// It may leave what the values themselves can be: that is for the caller to know.
pub(crate) fn bootstrap_clusters(groups: &[Vec<f64>], seed: u64) -> [f64; 2] {
    let sums: Vec<(f64, usize)> =
        groups.iter().map(|group| (group.iter().sum(), group.len())).collect();
    let mean_of = |drawn: &mut dyn Iterator<Item = (f64, usize)>| {
        let (sum, n) = drawn.fold((0.0, 0), |(sum, n), (more, m)| (sum + more, n + m));
        sum / (n.max(1)) as f64
    };
    let mean = mean_of(&mut sums.iter().copied());
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut means: Vec<f64> = (0..N_RESAMPLES)
        .map(|_| mean_of(&mut (0..sums.len()).map(|_| sums[rng.random_range(0..sums.len())])))
        .collect();
    means.sort_by(f64::total_cmp);
    let n = groups.len() as f64;
    let factor = (n / (n - 1.0).max(1.0)).sqrt();
    [means[N_RESAMPLES * 25 / 1000], means[N_RESAMPLES * 975 / 1000 - 1]]
        .map(|end| mean + (end - mean) * factor)
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
    fn cases_of_one_store_count_for_less_when_they_are_alike() {
        let stores: Vec<String> = (0..40).map(|n| format!("s{}", n / 4)).collect();
        let stores: Vec<&str> = stores.iter().map(String::as_str).collect();
        let alone = vec![""; 40];
        // Of ten stores, all four questions are right or none: as much is known as from ten.
        let alike: Vec<f64> = (0..40).map(|n| f64::from(n / 4 % 2)).collect();
        let wide = interval(&alike, &stores, 1);
        close(wide, [0.5 - 0.31, 0.5 + 0.31], 0.05);
        close(interval(&alike, &alone, 1), wilson(20, 40), 1e-12);
        // Where each store has as many that are right, they tell no less than Wilson's interval says.
        let mixed: Vec<f64> = (0..40).map(|n| f64::from(n % 2)).collect();
        close(interval(&mixed, &stores, 1), wilson(20, 40), 1e-12);
        close(interval(&[1.0; 40], &stores, 1), wilson(40, 40), 1e-12);
        // One store says nothing about others.
        close(interval(&alike, &["s"; 40], 1), wilson(20, 40), 1e-12);
        let means: Vec<f64> = (0..40).map(|n| f64::from(n / 4) / 10.0).collect();
        let [low, high] = interval(&means, &stores, 1);
        let [low_alone, high_alone] = interval(&means, &alone, 1);
        assert!(high - low > 1.5 * (high_alone - low_alone), "{low} to {high}");
        // Two stores that happen to have the same mean do not make it certain.
        let two: Vec<&str> = (0..40).map(|n| if n % 2 == 0 { "a" } else { "b" }).collect();
        let fractions: Vec<f64> = (0..40).map(|n| f64::from(n / 2) / 20.0).collect();
        assert_eq!(interval(&fractions, &two, 1), interval(&fractions, &alone, 1));
        assert_eq!((n_clusters(&stores), n_clusters(&alone)), (Some(10), None));
        assert_eq!(interval(&[0.4], &[""], 1), [0.0, 1.0]);
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
