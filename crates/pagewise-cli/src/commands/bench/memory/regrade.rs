use std::path::Path;

use pagewise_bench::memory::{
    MemoryBenchError, Summary, read_records, record_files, rewrite_records,
};

use super::report;
use crate::failure::Failure;
use crate::printer::Printer;

/// Scores all records of a folder again.
pub(super) fn run(folder: &Path, printer: &Printer) -> Result<(), Failure> {
    let files = record_files(folder)?;
    let mut summaries = Vec::new();
    for file in &files {
        let (mut records, _) = read_records(file)?;
        let Some(first) = records.first() else { continue };
        let settings = first.settings.clone();
        let mut n_changed = 0;
        for record in &mut records {
            let before = (record.score.clone(), record.failure);
            record.grade();
            n_changed += usize::from(before != (record.score.clone(), record.failure));
        }
        if n_changed > 0 {
            rewrite_records(file, &records)?;
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        printer.talk(&format!("{name}: {n_changed} of {} records changed", records.len()));
        let summary = Summary::of(&settings, &records);
        if printer.json() {
            printer.json_line(&summary);
        }
        summaries.push(summary);
    }
    if summaries.is_empty() {
        return Err(MemoryBenchError::NoRecords { path: folder.into() }.into());
    }
    report(&summaries, printer)
}
