//! The dictionaries of lost-in-the-middle with the orderings of the MemGPT paper's code.

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;

use super::{Place, has, lines, some_text};
use crate::memory::case::Case;
use crate::memory::error::MemoryBenchError;
use crate::memory::tasks::nested_kv::{Chained, LOOKUPS_MAX, Wordings};

#[derive(Debug, Deserialize)]
struct Example {
    ordered_kv_records: Vec<(String, String)>,
}

/// Reads the cases of a folder: first the paper's, which are all of the first dictionary, one for each
/// ordering and number of lookups; then each other dictionary with the ordering of its number. Of these, the second
/// half is asked in the wordings to report by.
pub(crate) fn cases(folder: &Path) -> Result<Vec<Case>, MemoryBenchError> {
    let examples: Vec<(Place, Example)> = lines(folder, "kv-retrieval-140_keys.jsonl")?;
    let mut orderings = Vec::new();
    for n_lookups in 1..=LOOKUPS_MAX {
        let name = format!("random_orderings_100_samples_140_indices_{n_lookups}_levels.jsonl");
        if has(folder, &name) {
            let levels: Vec<(Place, Vec<usize>)> = lines(folder, &name)?;
            orderings.push((n_lookups, levels));
        }
    }
    let n_seeds = orderings.iter().map(|(_, levels)| levels.len()).max().unwrap_or(0);
    let all = (0..n_seeds).map(|seed| (0, seed)).chain((1..examples.len()).map(|n| (n, n)));
    let n_all = n_seeds + examples.len().saturating_sub(1);
    let mut cases = Vec::new();
    for (number, (example, seed)) in all.enumerate() {
        let Some((place, Example { ordered_kv_records })) = examples.get(example) else { continue };
        check_pairs(place, ordered_kv_records)?;
        let wordings = if 2 * number < n_all { Wordings::Development } else { Wordings::Report };
        for (n_lookups, levels) in &orderings {
            let Some((place, ordering)) = levels.get(seed) else { continue };
            check_ordering(place, ordering, *n_lookups, ordered_kv_records.len())?;
            let id = format!("nkv-ex{example}-L{n_lookups}-s{seed}");
            // So that each number of lookups meets every wording.
            let wording = seed + n_lookups + seed / LOOKUPS_MAX;
            let chained = Chained::new(ordered_kv_records.clone(), ordering.clone());
            cases.extend(chained.cases(&id, wordings, wording));
        }
    }
    Ok(cases)
}

fn check_pairs(place: &Place, pairs: &[(String, String)]) -> Result<(), MemoryBenchError> {
    let mut seen = HashSet::new();
    for (key, value) in pairs {
        some_text(place, "a key", key)?;
        some_text(place, "a value", value)?;
        if !seen.insert(key) {
            return Err(place.wrong(format!("the key {key:?} is there twice")));
        }
    }
    Ok(())
}

fn check_ordering(
    place: &Place,
    ordering: &[usize],
    n_lookups: usize,
    n_pairs: usize,
) -> Result<(), MemoryBenchError> {
    if ordering.len() != n_lookups {
        let n = ordering.len();
        return Err(place.wrong(format!("{n} indices, where {n_lookups} were expected")));
    }
    let distinct: HashSet<&usize> = ordering.iter().collect();
    if distinct.len() != n_lookups {
        return Err(place.wrong("an index is there twice"));
    }
    match ordering.iter().find(|index| **index >= n_pairs) {
        Some(index) => Err(place.wrong(format!("index {index}, but there are {n_pairs} pairs"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const DICTIONARY: &str = "kv-retrieval-140_keys.jsonl";
    const THREE: &str = "random_orderings_100_samples_140_indices_3_levels.jsonl";

    fn load(dictionary: &str, orderings: &str) -> Result<Vec<Case>, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(DICTIONARY), dictionary).unwrap();
        fs::write(folder.path().join(THREE), orderings).unwrap();
        cases(folder.path())
            .map_err(|error| error.to_string().replace(&folder.path().display().to_string(), "DIR"))
    }

    const PAIRS: &str =
        r#"{"ordered_kv_records": [["a", "1"], ["b", "2"], ["c", "3"]], "key": "a", "value": "1"}"#;

    #[test]
    fn an_ordering_chains_the_pairs() {
        let cases = load(&format!("{PAIRS}\n{PAIRS}\n"), "[2, 0, 1]\n[1, 2, 0]\n").unwrap();
        let ids: Vec<&str> = cases.iter().map(|case| &*case.id).collect();
        assert_eq!(
            ids,
            [
                "nkv-ex0-L3-s0-nested",
                "nkv-ex0-L3-s0-direct",
                "nkv-ex0-L3-s1-nested",
                "nkv-ex0-L3-s1-direct",
                "nkv-ex1-L3-s1-report-nested",
                "nkv-ex1-L3-s1-report-direct",
            ]
        );
        assert_eq!(
            (&cases[0].gold.answers[0], &cases[1].gold.answers[0]),
            (&"2".into(), &"a".into())
        );
        assert_eq!(cases[0].memory.passages[2].text, "Key-value pair: key = c, value = a");
        // The third dictionary is in the second half, and asked for in other words.
        assert_eq!(cases[2].labels["wording"], cases[4].labels["wording"]);
        assert_ne!(cases[2].messages[0].text, cases[4].messages[0].text);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let check = |dictionary: &str, orderings: &str, expected: &str| {
            let error = load(dictionary, orderings).unwrap_err();
            assert!(error.contains(expected), "{error}, not {expected}");
        };
        check(
            PAIRS,
            "[2, 0, 3]",
            "DIR/random_orderings_100_samples_140_indices_3_levels.jsonl, line 1: index 3",
        );
        check(PAIRS, "\n[2, 0]", "line 2: 2 indices, where 3 were expected");
        check(PAIRS, "[2, 0, 2]", "an index is there twice");
        check(PAIRS, "[2, -1, 0]", "not as its format says");
        check(
            "{\"ordered_kv_records\": 7}",
            "[0, 1, 2]",
            "DIR/kv-retrieval-140_keys.jsonl, line 1: not as",
        );
        check(&PAIRS.replace("\"b\"", "\"a\""), "[0, 1, 2]", "the key \"a\" is there twice");
        check(&PAIRS.replace("\"b\"", "\"\""), "[0, 1, 2]", "a key is empty");
        check("\u{0}\u{1}", "[0, 1, 2]", "not as its format says");
    }
}
