//! Key-value pairs of fresh UUIDs.

use rand::RngExt;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use super::chance;
use crate::memory::case::Case;
use crate::memory::tasks::nested_kv::{Chained, LOOKUPS_MAX, N_WORDINGS, Wordings};

/// Pairs in archival storage, as in the paper.
const N_PAIRS: usize = 140;

/// From this seed on, the wordings are those to report by.
const REPORT_SEEDS_FROM: u64 = 1000;

/// Makes cases: nested and direct in turn, over all numbers of lookups and all wordings.
pub(crate) fn cases(seed: u64) -> impl Iterator<Item = Case> {
    (0..).flat_map(move |number| pair(seed, number))
}

fn pair(seed: u64, number: usize) -> [Case; 2] {
    let mut rng = chance(seed, 1, number);
    let pairs: Vec<(String, String)> =
        (0..N_PAIRS).map(|_| (uuid(&mut rng), uuid(&mut rng))).collect();
    let n_lookups = 1 + number % LOOKUPS_MAX;
    let chain = sample(&mut rng, N_PAIRS, n_lookups).into_vec();
    // Every wording comes with every number of lookups, in 48 pairs.
    let wording = (number + number / (LOOKUPS_MAX * N_WORDINGS / 2)) % N_WORDINGS;
    let wordings = if seed < REPORT_SEEDS_FROM { Wordings::Development } else { Wordings::Report };
    Chained::new(pairs, chain).cases(&format!("kv-{seed}-{number}"), wordings, wording)
}

/// A random UUID, version 4.
fn uuid(rng: &mut ChaCha8Rng) -> String {
    let bits: u128 = rng.random();
    let bits = (bits & !(0xF << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let digits = format!("{bits:032x}");
    let [a, b, c, d, e] =
        [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| digits.get(range).unwrap_or_default());
    format!("{a}-{b}-{c}-{d}-{e}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn some(seed: u64, n: usize) -> Vec<Case> {
        cases(seed).take(n).collect()
    }

    #[test]
    fn a_case_depends_on_its_seed_and_number_alone() {
        let few: Vec<String> =
            some(7, 3).into_iter().map(|case| case.messages[0].text.clone()).collect();
        let many: Vec<String> =
            some(7, 9).into_iter().map(|case| case.messages[0].text.clone()).collect();
        assert_eq!(few, many[..3]);
        assert_ne!(few[0], some(8, 1)[0].messages[0].text);
        let reported = cases(REPORT_SEEDS_FROM).nth(2).unwrap();
        assert_eq!(reported.labels["wording"], some(7, 3)[2].labels["wording"]);
        assert_eq!(reported.id, "kv-1000-1-report-nested");
        let without = |case: &Case| {
            let text = &case.messages[0].text;
            let key = text.split_whitespace().find(|word| word.matches('-').count() == 4);
            text.replace(key.unwrap(), "")
        };
        assert_ne!(
            without(&reported),
            without(&some(7, 3)[2]),
            "seeds to report by have words of their own"
        );
        let uuids: HashSet<String> =
            some(7, 1)[0].memory.passages.iter().map(|passage| passage.text.clone()).collect();
        assert_eq!(uuids.len(), N_PAIRS);
    }

    #[test]
    fn all_wordings_come_with_all_numbers_of_lookups() {
        let labels: HashSet<(String, String)> = some(1, 2 * 48)
            .into_iter()
            .map(|case| (case.labels["lookups"].clone(), case.labels["wording"].clone()))
            .collect();
        assert_eq!(labels.len(), LOOKUPS_MAX * N_WORDINGS);
    }

    #[test]
    fn a_uuid_says_its_version() {
        let uuid = uuid(&mut chance(0, 1, 0));
        assert_eq!(uuid.len(), 36);
        assert_eq!(&uuid[14..15], "4");
        assert!("89ab".contains(&uuid[19..20]), "{uuid}");
    }
}
