//! What is measured without a language model: searches, and schemas under masks.
//!
//! Such a thing is a line of the file of its task, in the folder where records are. It has a name, and of two with
//! the same name one counts: when a folder is written to the newer one, when folders are read together the first.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::MemoryBenchError;
use super::record::{read_lines, rewrite_records};
use super::task::Task;

/// One thing that was measured.
pub trait Measurement: Clone + Serialize + DeserializeOwned {
    /// The task that measures it.
    const TASK: Task;

    /// Says what was measured, so that no other has the same name.
    fn name(&self) -> String;

    /// Whether another one of the same name came to the same, in whatever time.
    fn agrees(&self, other: &Self) -> bool;
}

/// Writes what was measured into a folder, beside what it has and in place of what it has of the same names.
/// Returns the file.
pub fn write_measurements<T: Measurement>(
    folder: &Path,
    new: &[T],
) -> Result<PathBuf, MemoryBenchError> {
    fs::create_dir_all(folder).map_err(|error| MemoryBenchError::file(folder, &error))?;
    let path = folder.join(format!("{}.jsonl", T::TASK));
    let mut all: Vec<T> = if path.exists() { read_lines(&path)?.0 } else { Vec::new() };
    let names: HashSet<String> = new.iter().map(T::name).collect();
    all.retain(|old| !names.contains(&old.name()));
    all.extend_from_slice(new);
    rewrite_records(&path, &all)?;
    Ok(path)
}

/// Whether a file has measurements of a task, by its name.
pub(crate) fn is_of(task: Task, file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(&format!("{task}."))
}
