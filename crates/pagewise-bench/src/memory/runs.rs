//! Runs: the records of folders, put together cell by cell.
//!
//! A cell has one task, source, model, arm and window. Records that agree in these and differ in another
//! setting are cells of their own, with what differs named: they are never counted as one.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::arm::Arm;
use super::error::MemoryBenchError;
use super::judge::{JudgeRates, read_rates};
use super::record::{Record, Settings, read_records};
use super::summary::{Figures, Summary};
use super::task::Task;
use super::tasks::bfcl_memory::{self, RECALL};
use super::tasks::nested_kv::{ASK, DIRECT};

/// What folders have.
#[derive(Debug, Default)]
pub struct Runs {
    /// The cells, in order.
    pub cells: Vec<Cell>,
    /// Records that were in two places and say the same; each is counted once.
    pub n_same: usize,
    /// Records that were in two places and say different things; the first is counted.
    pub contradictions: Vec<Contradiction>,
    /// How often the judges of these records are wrong.
    pub rates: Vec<JudgeRates>,
}

/// Records with the same settings.
#[derive(Debug, Clone)]
pub struct Cell {
    /// What they were made with.
    pub settings: Settings,
    /// The records, each of another case.
    pub records: Vec<Record>,
    /// The settings in which it differs from the first cell of its task, source, model, arm and window;
    /// empty if it is the first.
    pub differing: Vec<String>,
}

/// Two records of one case with the same settings that say different things.
#[derive(Debug, Clone, Serialize)]
pub struct Contradiction {
    /// The file with the record that is counted.
    pub kept: PathBuf,
    /// The other file.
    pub other: PathBuf,
    /// The case.
    pub id: String,
}

/// Cases that are counted together. Nested key-value retrieval has two such parts, and so have questions on
/// memory that the agent wrote; every other task has one.
#[derive(Debug, Clone)]
pub(crate) struct Part<'a> {
    /// The task, with `control` behind it for the direct control, and `recall` for questions that recall
    /// storage answers as well.
    pub(crate) name: String,
    /// Whether it has questions that another part has too: then the other one alone counts in a mean.
    pub(crate) is_repetition: bool,
    pub(crate) records: Vec<&'a Record>,
}

impl Part<'_> {
    /// Sums it up.
    pub(crate) fn figures(&self, seed: u64) -> Figures {
        Figures::of(&self.records, seed)
    }
}

impl Runs {
    /// Reads folders, and files of records.
    pub fn read(paths: &[PathBuf]) -> Result<Self, MemoryBenchError> {
        let mut runs = Self::default();
        let mut cells: Vec<Cell> = Vec::new();
        let mut places: HashMap<(usize, String), (usize, PathBuf)> = HashMap::new();
        for path in paths {
            for file in record_files(path)? {
                let (records, _) = read_records(&file)?;
                for record in records {
                    let cell = match cells.iter().position(|one| one.settings == record.settings) {
                        Some(cell) => cell,
                        None => {
                            let settings = record.settings.clone();
                            cells.push(Cell { settings, records: vec![], differing: vec![] });
                            cells.len() - 1
                        }
                    };
                    let all = &mut cells[cell].records;
                    let key = (cell, record.case.id.clone());
                    match places.get(&key) {
                        None => {
                            places.insert(key, (all.len(), file.clone()));
                            all.push(record);
                        }
                        Some((place, first)) => match compared(&all[*place], &record) {
                            Compared::Same => runs.n_same += 1,
                            Compared::OnlyFirstFailed => all[*place] = record,
                            Compared::OnlySecondFailed => {}
                            Compared::Different => runs.contradictions.push(Contradiction {
                                kept: first.clone(),
                                other: file.clone(),
                                id: record.case.id,
                            }),
                        },
                    }
                }
            }
            if path.is_dir() {
                runs.rates.extend(read_rates(path)?);
            }
        }
        cells.sort_by(|a, b| a.key().cmp(&b.key()));
        for at in 1..cells.len() {
            let first = cells[..at].iter().position(|one| one.key() == cells[at].key());
            if let Some(first) = first {
                cells[at].differing = cells[first].settings.differing(&cells[at].settings);
            }
        }
        runs.cells = cells;
        Ok(runs)
    }

    /// Returns the first cell that has the same task, source, model, arm and window as another one.
    pub fn first_variant(&self) -> Option<&Cell> {
        self.cells.iter().find(|cell| !cell.differing.is_empty())
    }
}

impl Cell {
    fn key(&self) -> (Task, &str, &str, usize, Arm) {
        let Settings { task, source, model, window, arm, .. } = &self.settings;
        (*task, source, model, *window, *arm)
    }

    /// Returns what it is, for people.
    pub fn title(&self) -> String {
        let Settings { task, source, model, window, arm, .. } = &self.settings;
        let source = if source == "generated" { String::new() } else { format!(" ({source})") };
        format!("{task}{source}, {model}, {arm}, window {window}{}", self.variant())
    }

    /// Returns what tells it from the first of its kind.
    pub fn variant(&self) -> String {
        match self.differing.as_slice() {
            [] => String::new(),
            names => format!(", other {}", names.join(", ")),
        }
    }

    /// Sums it up.
    pub fn summary(&self) -> Summary {
        let differing = self.differing.clone();
        Summary { differing, ..Summary::of(&self.settings, &self.records) }
    }

    /// Returns the records that are counted together.
    pub(crate) fn parts(&self) -> Vec<Part<'_>> {
        parts(&self.settings, self.records.iter())
    }
}

/// Returns the records that are counted together.
pub(crate) fn parts<'a>(
    settings: &Settings,
    records: impl Iterator<Item = &'a Record>,
) -> Vec<Part<'a>> {
    let mut parts: BTreeMap<Option<&str>, Vec<&Record>> = BTreeMap::new();
    for record in records {
        let is_control = settings.task == Task::NestedKv
            && record.case.labels.get(ASK).is_some_and(|ask| ask == DIRECT);
        let beside = match () {
            () if is_control => Some("control"),
            () if bfcl_memory::is_recall(record) => Some(RECALL),
            () => None,
        };
        parts.entry(beside).or_default().push(record);
    }
    let n = parts.len();
    parts
        .into_iter()
        .map(|(beside, records)| Part {
            name: match beside {
                Some(beside) => format!("{} {beside}", settings.task),
                None => settings.task.to_string(),
            },
            is_repetition: beside == Some(RECALL) && n > 1,
            records,
        })
        .collect()
}

/// Returns the files of records in a folder, or the file itself.
pub fn record_files(path: &Path) -> Result<Vec<PathBuf>, MemoryBenchError> {
    if path.is_file() {
        return Ok(vec![path.into()]);
    }
    let error = |error: std::io::Error| MemoryBenchError::file(path, &error);
    let mut files = fs::read_dir(path)
        .map_err(error)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<PathBuf>, _>>()
        .map_err(error)?;
    // What `grammar` leaves is no record of a case.
    let of_schemas = format!("{}.", Task::Grammar);
    files.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".jsonl") && !name.starts_with(&of_schemas)
    });
    files.sort();
    if files.is_empty() {
        return Err(MemoryBenchError::NoRecords { path: path.into() });
    }
    Ok(files)
}

enum Compared {
    Same,
    OnlyFirstFailed,
    OnlySecondFailed,
    Different,
}

/// Compares two records of a case: what was done and said, not how long it took.
fn compared(first: &Record, second: &Record) -> Compared {
    match (&first.error, &second.error) {
        (Some(_), None) => return Compared::OnlyFirstFailed,
        (None, Some(_)) => return Compared::OnlySecondFailed,
        _ => {}
    }
    let calls = |record: &Record| {
        let calls = record.steps().map(|step| (step.function.clone(), step.arguments.clone()));
        calls.collect::<Vec<_>>()
    };
    let replies = |record: &Record| {
        record.events.iter().flat_map(|event| event.replies.clone()).collect::<Vec<_>>()
    };
    let is_same = first.reply == second.reply
        && replies(first) == replies(second)
        && first.score.correct == second.score.correct
        && calls(first) == calls(second);
    if is_same { Compared::Same } else { Compared::Different }
}

#[cfg(test)]
mod tests;
