//! Runs: the records of folders, put together cell by cell.
//!
//! A cell has one task, source, model, arm and window. Records that agree in these and differ in another
//! setting are cells of their own, with what differs named: they are never counted as one. What was measured
//! without a language model has no cells, and stands beside them.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::arm::Arm;
use super::error::MemoryBenchError;
use super::judge::{JudgeRates, read_rates};
use super::measurement::{Measurement, is_of};
use super::record::{Record, Settings, read_lines, read_records};
use super::retrieval::RetrievalReport;
use super::schemas::MeasuredSchema;
use super::summary::{Figures, Summary};
use super::task::Task;
use super::tasks::bfcl_memory::{self, RECALL};
use super::tasks::nested_kv::{ASK, DIRECT};

/// How much of the number of an agent's prompts is shown.
const PROMPTS_DIGITS: usize = 8;

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
    /// How good searches are by themselves.
    pub searches: Vec<RetrievalReport>,
    /// What became of schemas under masks.
    pub schemas: Vec<MeasuredSchema>,
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

/// Two records of one case with the same settings, or two measurements of one thing, that say different things.
#[derive(Debug, Clone, Serialize)]
pub struct Contradiction {
    /// The file with the record that is counted.
    pub kept: PathBuf,
    /// The other file.
    pub other: PathBuf,
    /// The case, or what was measured.
    pub id: String,
    /// Whether the two have only its name in common: what is asked, or what is right, is not the same.
    pub is_other_case: bool,
}

/// Measurements of one kind, each with the file where it was first.
struct Measured<T> {
    all: Vec<T>,
    places: HashMap<String, (usize, PathBuf)>,
}

/// Cases that are counted together. Nested key-value retrieval has two such parts, and so have questions on
/// memory that the agent wrote; every other task has one.
#[derive(Debug, Clone)]
pub(crate) struct Part<'a> {
    /// The task, with `control` behind it for the direct control, and `recall` for questions that recall
    /// storage answers as well, and the source unless generated.
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
        let (mut searches, mut schemas) = (Measured::default(), Measured::default());
        for path in paths {
            for file in line_files(path)? {
                if is_of(Task::Retrieval, &file) {
                    searches.read(&file, &mut runs)?;
                    continue;
                }
                if is_of(Task::Grammar, &file) {
                    schemas.read(&file, &mut runs)?;
                    continue;
                }
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
                    match places.get_mut(&key) {
                        None => {
                            places.insert(key, (all.len(), file.clone()));
                            all.push(record);
                        }
                        Some((place, first)) => match compared(&all[*place], &record) {
                            Compared::Same => runs.n_same += 1,
                            Compared::OnlyFirstFailed => {
                                all[*place] = record;
                                first.clone_from(&file);
                            }
                            Compared::OnlySecondFailed => {}
                            Compared::Different { is_other_case } => {
                                runs.contradictions.push(Contradiction {
                                    kept: first.clone(),
                                    other: file.clone(),
                                    id: record.case.id,
                                    is_other_case,
                                });
                            }
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
        Ok(Self { cells, searches: searches.all, schemas: schemas.all, ..runs })
    }

    /// Names the agent of a cell, for people: the model, and what tells it from other agents of the same weights and
    /// window. One agent has the same prompts in every task; settings are a task's own, so that they are compared
    /// within it.
    pub fn agent(&self, cell: &Cell) -> String {
        let Settings { model, weights, window, arm, prompts, .. } = &cell.settings;
        let is_of = |one: &&Cell| {
            let one = &one.settings;
            (&one.model, &one.weights, one.window, one.arm) == (model, weights, *window, *arm)
        };
        // A task that takes none of an agent's prompts is of whichever there is.
        let is_another =
            |one: &Cell| !one.settings.prompts.is_empty() && one.settings.prompts != *prompts;
        let mut name = model.clone();
        if !prompts.is_empty() && self.cells.iter().filter(is_of).any(is_another) {
            let digits: String = prompts.chars().take(PROMPTS_DIGITS).collect();
            name += &format!(", prompts {digits}");
        }
        let others = cell.differing.iter().filter(|setting| *setting != "prompts");
        name + &otherwise(others)
    }

    /// Returns the first cell that has the same task, source, model, arm and window as another one.
    pub fn first_variant(&self) -> Option<&Cell> {
        self.cells.iter().find(|cell| !cell.differing.is_empty())
    }
}

impl<T> Default for Measured<T> {
    fn default() -> Self {
        Self { all: Vec::new(), places: HashMap::new() }
    }
}

impl<T: Measurement> Measured<T> {
    /// Adds what a file has; tells `runs` what was there already.
    fn read(&mut self, file: &Path, runs: &mut Runs) -> Result<(), MemoryBenchError> {
        for one in read_lines::<T>(file)?.0 {
            let id = one.name();
            match self.places.get(&id) {
                None => {
                    self.places.insert(id, (self.all.len(), file.into()));
                    self.all.push(one);
                }
                Some((place, _)) if self.all[*place].agrees(&one) => runs.n_same += 1,
                Some((_, first)) => {
                    let (kept, other) = (first.clone(), file.into());
                    let is_other_case = false;
                    runs.contradictions.push(Contradiction { kept, other, id, is_other_case });
                }
            }
        }
        Ok(())
    }
}

impl Cell {
    fn key(&self) -> (Task, &str, &str, usize, Arm) {
        let Settings { task, source, model, window, arm, .. } = &self.settings;
        (*task, source, model, *window, *arm)
    }

    /// Returns what it is, for people.
    pub fn title(&self) -> String {
        let Settings { model, window, arm, .. } = &self.settings;
        format!("{}, {model}, {arm}, window {window}{}", self.settings.title(), self.variant())
    }

    /// Returns what tells it from the first of its kind.
    pub fn variant(&self) -> String {
        otherwise(self.differing.iter())
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

fn otherwise<'a>(differing: impl Iterator<Item = &'a String>) -> String {
    match differing.map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => String::new(),
        names => format!(", other {}", names.join(", ")),
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
            name: settings.task.title(beside, &settings.source),
            is_repetition: beside == Some(RECALL) && n > 1,
            records,
        })
        .collect()
}

/// Returns the files of cases' records in a folder, or the file itself.
pub fn record_files(path: &Path) -> Result<Vec<PathBuf>, MemoryBenchError> {
    let mut files = line_files(path)?;
    files.retain(|file| !is_of(Task::Retrieval, file) && !is_of(Task::Grammar, file));
    if files.is_empty() {
        return Err(MemoryBenchError::NoRecords { path: path.into() });
    }
    Ok(files)
}

/// Returns the files of records and measurements in a folder, or the file itself.
pub(crate) fn line_files(path: &Path) -> Result<Vec<PathBuf>, MemoryBenchError> {
    if path.is_file() {
        return Ok(vec![path.into()]);
    }
    let error = |error: std::io::Error| MemoryBenchError::file(path, &error);
    let mut files = fs::read_dir(path)
        .map_err(error)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<PathBuf>, _>>()
        .map_err(error)?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
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
    Different { is_other_case: bool },
}

/// Compares two records of a case: what was done and said, not how long it took.
fn compared(first: &Record, second: &Record) -> Compared {
    if !first.asks_the_same(second) {
        return Compared::Different { is_other_case: true };
    }
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
    if is_same { Compared::Same } else { Compared::Different { is_other_case: false } }
}

#[cfg(test)]
mod tests;
