//! Runs of several machines or days, joined into one folder.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::MemoryBenchError;
use super::judge::write_rates;
use super::measurement::write_measurements;
use super::record::rewrite_records;
use super::runs::{Runs, line_files};

/// Writes the records of runs into `folder`, a file for each cell, and what was measured without a model beside
/// them; returns the files.
///
/// Cells that would be one but for a setting are refused, unless they are to be kept apart: then the second
/// has a file of its own.
pub fn merge(
    runs: &Runs,
    folder: &Path,
    keep_apart: bool,
) -> Result<Vec<PathBuf>, MemoryBenchError> {
    if let Some(cell) = runs.first_variant()
        && !keep_apart
    {
        return Err(MemoryBenchError::MixedSettings {
            cell: format!("{} {}", cell.settings.title(), cell.settings.arm),
            model: cell.settings.model.clone(),
            differing: cell.differing.clone(),
        });
    }
    let error = |error: std::io::Error| MemoryBenchError::file(folder, &error);
    fs::create_dir_all(folder).map_err(error)?;
    if line_files(folder).is_ok() {
        return Err(MemoryBenchError::HasRecords { path: folder.into() });
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for cell in &runs.cells {
        let name = cell.settings.file_name();
        let variants = (2..).map(|n| name.replace(".jsonl", &format!(".{n}.jsonl")));
        let mut names = std::iter::once(name.clone()).chain(variants).map(|name| folder.join(name));
        if let Some(file) = names.find(|file| !files.contains(file)) {
            rewrite_records(&file, &cell.records)?;
            files.push(file);
        }
    }
    if !runs.searches.is_empty() {
        files.push(write_measurements(folder, &runs.searches)?);
    }
    if !runs.schemas.is_empty() {
        files.push(write_measurements(folder, &runs.schemas)?);
    }
    if !runs.rates.is_empty() {
        write_rates(folder, &runs.rates)?;
    }
    Ok(files)
}
