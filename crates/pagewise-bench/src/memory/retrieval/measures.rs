//! What a list of hits is worth.

use std::collections::BTreeMap;

/// How many hits the recall is stated for.
pub(super) const CUTS: [usize; 5] = [1, 5, 10, 20, 100];

/// How many hits nDCG and MRR look at, and the accuracy.
pub(super) const PAGE: usize = 10;

/// The most hits that are looked at.
pub(super) const HITS_MAX: usize = 100;

/// The measures of one query.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measured {
    /// The share of what is right that is among the first hits.
    pub(super) recall: BTreeMap<usize, f64>,
    /// 1 if all of it is.
    pub(super) all_found: BTreeMap<usize, f64>,
    pub(super) ndcg_10: f64,
    pub(super) mrr_10: f64,
    pub(super) map_100: f64,
}

/// Measures hits, best first, against what is right, of which there is at least one.
pub(super) fn measure(hits: &[usize], gold: &[usize]) -> Measured {
    let n_gold = gold.len().max(1) as f64;
    let is_right: Vec<bool> = hits.iter().map(|hit| gold.contains(hit)).collect();
    let n_right = |n: usize| is_right.iter().take(n).filter(|right| **right).count();
    let recall: BTreeMap<usize, f64> =
        CUTS.iter().map(|cut| (*cut, n_right(*cut) as f64 / n_gold)).collect();
    let all_found =
        CUTS.iter().map(|cut| (*cut, f64::from(u8::from(n_right(*cut) == gold.len())))).collect();
    let gain = |place: usize| 1.0 / (place as f64 + 2.0).log2();
    let ideal: f64 = (0..gold.len().min(PAGE)).map(gain).sum();
    let found: f64 = (0..PAGE.min(hits.len())).filter(|place| is_right[*place]).map(gain).sum();
    let first = is_right.iter().take(PAGE).position(|right| *right);
    let precisions: f64 = (0..HITS_MAX.min(hits.len()))
        .filter(|place| is_right[*place])
        .map(|place| n_right(place + 1) as f64 / (place + 1) as f64)
        .sum();
    Measured {
        recall,
        all_found,
        ndcg_10: if ideal > 0.0 { found / ideal } else { 0.0 },
        mrr_10: first.map_or(0.0, |place| 1.0 / (place + 1) as f64),
        map_100: precisions / n_gold,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_by_hand() {
        // Right are 1, 2 and 3; the second and the fourth hit are.
        let measured = measure(&[9, 1, 8, 3], &[1, 2, 3]);
        let close =
            |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}");
        close(measured.recall[&1], 0.0);
        close(measured.recall[&5], 2.0 / 3.0);
        close(measured.all_found[&100], 0.0);
        close(measured.mrr_10, 0.5);
        close(measured.map_100, (1.0 / 2.0 + 2.0 / 4.0) / 3.0);
        let gain = |place: f64| 1.0 / (place + 1.0).log2();
        close(measured.ndcg_10, (gain(2.0) + gain(4.0)) / (gain(1.0) + gain(2.0) + gain(3.0)));
    }

    #[test]
    fn a_perfect_list_and_an_empty_one() {
        let perfect = measure(&[4, 5], &[5, 4]);
        let all = [
            perfect.recall[&5],
            perfect.all_found[&5],
            perfect.ndcg_10,
            perfect.mrr_10,
            perfect.map_100,
        ];
        assert!(all.iter().all(|value| (value - 1.0).abs() < 1e-12), "{perfect:?}");
        assert!((perfect.recall[&1] - 0.5).abs() < 1e-12);
        let none = measure(&[], &[1]);
        assert!(none.recall.values().chain(none.all_found.values()).all(|value| *value < 1e-12));
        assert!(none.ndcg_10 + none.mrr_10 + none.map_100 < 1e-12);
        // What is found behind the first page counts for the recall alone.
        let late: Vec<usize> = (0..50).collect();
        let late = measure(&late, &[40]);
        assert!(
            late.mrr_10 < 1e-12 && late.ndcg_10 < 1e-12 && (late.recall[&100] - 1.0).abs() < 1e-12
        );
    }
}
