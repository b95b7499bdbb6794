//! Loaders of public data sets: one file for each. Where a set is also around in another layout than its authors',
//! both are read.
//!
//! What they read is from outside: every line is checked, and what is wrong with it is said with file and
//! line. None of it is part of this repository.

pub(super) mod bfcl_calls;
pub(super) mod bfcl_memory;
pub(super) mod cranfield;
pub(super) mod hotpot;
pub(super) mod letta_evals;
pub(super) mod leval;
pub(super) mod locomo;
pub(super) mod locomo_audit;
pub(super) mod longmemeval;
pub(super) mod msc;
pub(super) mod msc_self_instruct;
pub(super) mod nested_kv;
pub(super) mod nq_closed;
pub(super) mod schemas;
pub(super) mod topics;
pub(super) mod xquad;

use std::collections::HashMap;
use std::fs::File;
use std::hash::Hash;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::de::DeserializeOwned;

use super::error::MemoryBenchError;

/// The longest line, in bytes: the longest document of the sets has half a million.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// The longest file that is read whole, in bytes: LongMemEval's usual set has some 300 million, and its larger one, of
/// 2.7 billion, is not read.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// The most lines of a file.
const LINES_MAX: usize = 1_000_000;

/// Whether a folder has the file, as it is or compressed.
pub(super) fn has(folder: &Path, name: &str) -> bool {
    folder.join(name).is_file() || folder.join(format!("{name}.gz")).is_file()
}

/// Returns the first of some files that a folder has.
pub(super) fn first<'a>(folder: &Path, files: &[&'a str]) -> Option<&'a str> {
    files.iter().copied().find(|file| has(folder, file))
}

/// Returns the folder that has the file of a data set: the one given, or the one in it that is named as
/// the set is.
pub(super) fn find(folder: &Path, set: &str, file: &str) -> Option<PathBuf> {
    find_by(folder, set, |folder| has(folder, file))
}

/// The same for a set whose file has several names: its own and upstream's.
pub(super) fn find_any(folder: &Path, set: &str, files: &[&str]) -> Option<PathBuf> {
    find_by(folder, set, |folder| first(folder, files).is_some())
}

/// The same for a set that `is_in` knows by more than the name of a file.
pub(super) fn find_by(folder: &Path, set: &str, is_in: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    [folder.to_path_buf(), folder.join(set)].into_iter().find(|folder| is_in(folder))
}

/// A line of a data set, or an entry of its one list, for sentences about it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    path: PathBuf,
    /// From 1.
    number: usize,
    is_entry: bool,
}

impl Place {
    /// The number of the line or entry from 0, by which rows are named that have no name of their own.
    pub(super) fn row(&self) -> usize {
        self.number.saturating_sub(1)
    }

    /// Says what is wrong here.
    pub(super) fn wrong(&self, reason: impl Into<String>) -> MemoryBenchError {
        let (path, reason) = (self.path.clone(), reason.into());
        match self.is_entry {
            true => MemoryBenchError::Entry { path, entry: self.number, reason },
            false => MemoryBenchError::Line { path, line: self.number, reason },
        }
    }
}

/// Reads a file of JSON values, as it is or compressed with gzip: one in each line, or all in one list. Upstream
/// has both, whatever the name ends in, so the first character decides.
pub(super) fn values<T: DeserializeOwned>(
    folder: &Path,
    name: &str,
) -> Result<Vec<(Place, T)>, MemoryBenchError> {
    let (path, mut reader) = open(folder, name)?;
    let start = reader.fill_buf().map_err(|error| MemoryBenchError::file(&path, &error))?;
    match start.trim_ascii_start().first() {
        Some(b'[') => Ok(entries(&path, read_whole(&path, reader)?)),
        _ => read_lines(&path, reader),
    }
}

/// Reads a file that is one JSON value, as it is or compressed with gzip; returns its path with it.
pub(super) fn whole<T: DeserializeOwned>(
    folder: &Path,
    name: &str,
) -> Result<(PathBuf, T), MemoryBenchError> {
    let (path, reader) = open(folder, name)?;
    let value = read_whole(&path, reader)?;
    Ok((path, value))
}

/// Gives the entries of a list their places.
pub(super) fn entries<T>(path: &Path, values: Vec<T>) -> Vec<(Place, T)> {
    let place = |number| Place { path: path.into(), number, is_entry: true };
    (1..).zip(values).map(|(number, value)| (place(number), value)).collect()
}

fn read_whole<T: DeserializeOwned>(
    path: &Path,
    reader: impl BufRead,
) -> Result<T, MemoryBenchError> {
    let mut bytes = Vec::new();
    let read = reader.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| MemoryBenchError::file(path, &error))?;
    let wrong = |line, reason| MemoryBenchError::Line { path: path.into(), line, reason };
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(1, "the file is too large for a data set".into()));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| wrong(error.line(), format!("not as its format says: {error}")))
}

/// Opens a file as it is or compressed with gzip.
fn open(folder: &Path, name: &str) -> Result<(PathBuf, Box<dyn BufRead>), MemoryBenchError> {
    let plain = folder.join(name);
    let packed = folder.join(format!("{name}.gz"));
    let path = if plain.is_file() { plain } else { packed };
    let file = File::open(&path).map_err(|error| MemoryBenchError::file(&path, &error))?;
    let is_packed = path.extension().is_some_and(|extension| extension == "gz");
    let reader: Box<dyn BufRead> = match is_packed {
        true => Box::new(BufReader::new(MultiGzDecoder::new(file))),
        false => Box::new(BufReader::new(file)),
    };
    Ok((path, reader))
}

/// Reads a file with a JSON value in each line, as it is or compressed with gzip.
pub(super) fn lines<T: DeserializeOwned>(
    folder: &Path,
    name: &str,
) -> Result<Vec<(Place, T)>, MemoryBenchError> {
    let (path, reader) = open(folder, name)?;
    read_lines(&path, reader)
}

fn read_lines<T: DeserializeOwned>(
    path: &Path,
    mut reader: impl BufRead,
) -> Result<Vec<(Place, T)>, MemoryBenchError> {
    let mut values = Vec::new();
    for line in 1.. {
        let place = Place { path: path.into(), number: line, is_entry: false };
        let mut bytes = Vec::new();
        let n_bytes = reader
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut bytes)
            .map_err(|error| place.wrong(format!("cannot be read: {error}")))?;
        if n_bytes == 0 {
            break;
        }
        if n_bytes as u64 == LINE_BYTES_MAX || line > LINES_MAX {
            return Err(place.wrong("the file is too large for a data set"));
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| place.wrong(format!("not as its format says: {error}")))?;
        values.push((place, value));
    }
    Ok(values)
}

/// Takes one of each group in turn, so that any stretch of what comes out is of all groups: the first of each,
/// in the order given, then the second of each, and so on.
pub(super) fn in_turn<G: Hash + Eq, T>(grouped: impl IntoIterator<Item = (G, T)>) -> Vec<T> {
    let mut n_taken: HashMap<G, usize> = HashMap::new();
    let mut in_rounds: Vec<(usize, T)> = Vec::new();
    for (group, one) in grouped {
        let round = n_taken.entry(group).or_default();
        in_rounds.push((*round, one));
        *round += 1;
    }
    in_rounds.sort_by_key(|(round, _)| *round);
    in_rounds.into_iter().map(|(_, one)| one).collect()
}

/// Refuses a text that a message or a passage cannot be.
pub(super) fn some_text<'a>(
    place: &Place,
    name: &str,
    text: &'a str,
) -> Result<&'a str, MemoryBenchError> {
    if text.trim().is_empty() {
        return Err(place.wrong(format!("{name} is empty")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn values_stand_in_lines_or_in_one_list() {
        let read = |text: &str| {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("x.json"), text).unwrap();
            let values: Result<Vec<(Place, u64)>, _> = values(folder.path(), "x.json");
            values
                .map(|values| -> Vec<(usize, u64)> {
                    values.into_iter().map(|(place, value)| (place.row(), value)).collect()
                })
                .map_err(|error| error.to_string())
        };
        assert_eq!(read("7\n\n8\n"), Ok(vec![(0, 7), (2, 8)]));
        assert_eq!(read(" \n[7,\n8]"), Ok(vec![(0, 7), (1, 8)]));
        assert_eq!(read(""), Ok(vec![]));
        for (text, line) in [("7\n[8]", 2), ("[7,\n-8]", 2), ("[7", 1), ("{}", 1)] {
            let error = read(text).unwrap_err();
            assert!(
                error.contains(&format!("x.json, line {line}: not as its format says")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_place_in_a_list_is_an_entry() {
        let places = entries(Path::new("x.json"), vec!["a", "b"]);
        let error = places[1].0.wrong("odd").to_string();
        assert_eq!((error.as_str(), places[1].0.row()), ("x.json, entry 2: odd", 1));
    }

    #[test]
    fn a_set_is_found_by_any_of_its_files() {
        let home = tempfile::tempdir().unwrap();
        let inner = home.path().join("set");
        fs::create_dir(&inner).unwrap();
        let find = || find_any(home.path(), "set", &["own.jsonl", "upstream.json"]);
        assert_eq!(find(), None);
        fs::write(inner.join("upstream.json.gz"), "").unwrap();
        assert_eq!(find(), Some(inner));
        fs::write(home.path().join("own.jsonl"), "").unwrap();
        assert_eq!(find(), Some(home.path().into()));
    }

    #[test]
    fn groups_of_any_size_are_taken_in_turn() {
        let check = |given: &str, expected: &str| {
            let grouped = given.split(' ').map(|one| (one.chars().next(), one));
            assert_eq!(in_turn(grouped).join(" "), expected);
        };
        check("a1 a2 a3 b1 c1 c2", "a1 b1 c1 a2 c2 a3");
        check("a1 b1 a2 c1 b2", "a1 b1 c1 a2 b2");
        check("a1", "a1");
    }
}
