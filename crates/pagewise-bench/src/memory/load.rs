//! Loaders of public data sets: one file for each.
//!
//! What they read is from outside: every line is checked, and what is wrong with it is said with file and
//! line. None of it is part of this repository.

pub(super) mod bfcl_memory;
pub(super) mod hotpot;
pub(super) mod letta_evals;
pub(super) mod leval;
pub(super) mod msc;
pub(super) mod nested_kv;
pub(super) mod nq_closed;
pub(super) mod topics;
pub(super) mod xquad;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::de::DeserializeOwned;

use super::error::MemoryBenchError;

/// The longest line, in bytes: the longest document of the sets has half a million.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// The most lines of a file.
const LINES_MAX: usize = 1_000_000;

/// Whether a folder has the file, as it is or compressed.
pub(super) fn has(folder: &Path, name: &str) -> bool {
    folder.join(name).is_file() || folder.join(format!("{name}.gz")).is_file()
}

/// A line of a data set, for sentences about it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    path: PathBuf,
    line: usize,
}

impl Place {
    /// Says what is wrong with this line.
    pub(super) fn wrong(&self, reason: impl Into<String>) -> MemoryBenchError {
        MemoryBenchError::Line { path: self.path.clone(), line: self.line, reason: reason.into() }
    }
}

/// Reads a file with a JSON value in each line, as it is or compressed with gzip.
pub(super) fn lines<T: DeserializeOwned>(
    folder: &Path,
    name: &str,
) -> Result<Vec<(Place, T)>, MemoryBenchError> {
    let plain = folder.join(name);
    let packed = folder.join(format!("{name}.gz"));
    let path = if plain.is_file() { plain } else { packed };
    let error = |error: std::io::Error| MemoryBenchError::file(&path, &error);
    let file = File::open(&path).map_err(error)?;
    let is_packed = path.extension().is_some_and(|extension| extension == "gz");
    let mut reader: Box<dyn BufRead> = match is_packed {
        true => Box::new(BufReader::new(MultiGzDecoder::new(file))),
        false => Box::new(BufReader::new(file)),
    };
    let mut values = Vec::new();
    for line in 1.. {
        let place = Place { path: path.clone(), line };
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
