use std::path::PathBuf;

use pagewise_agent::AgentError;
use pagewise_core::ModelError;
use pagewise_grammar::GrammarError;
use pagewise_memory::StoreError;
use thiserror::Error;

use super::task::Task;

/// A benchmark of memory could not be run. What fails in one case alone is in that case's record.
#[derive(Debug, Error)]
pub enum MemoryBenchError {
    /// A file could not be read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A line of a data set is not what its format says.
    #[error("{}, line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry of the one list in a file of a data set is not what its format says.
    #[error("{}, entry {entry}: {reason}", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// The entry, from 1.
        entry: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder has none of the layouts that the task reads.
    #[error("{} has no data for {task}: it needs {wanted}", path.display())]
    NoData {
        /// The folder.
        path: PathBuf,
        /// The task.
        task: Task,
        /// The files that would do.
        wanted: &'static str,
    },
    /// Two cases could not be told apart in their records.
    #[error("{} has two cases that are named {id}", path.display())]
    SameId {
        /// The folder.
        path: PathBuf,
        /// The name.
        id: String,
    },
    /// The data set yields no case.
    #[error("there is no case to run: {task} has {n_cases}, and {asked}")]
    NoCase {
        /// The task.
        task: Task,
        /// How many cases there are.
        n_cases: usize,
        /// What was asked for.
        asked: String,
    },
    /// The records in the folder were made with other settings.
    #[error(
        "{} has records that were made with other {}: give another folder, or remove the file",
        path.display(),
        differing.join(", ")
    )]
    OtherSettings {
        /// The file.
        path: PathBuf,
        /// The settings that differ.
        differing: Vec<String>,
    },
    /// Records in the folder are of cases that have the names of those to be run, and ask for something else.
    #[error(
        "{} has {n} other {} to be run, {id}{} (one that was asked with another prompt, or does not say with which, is \
         another): give another folder, or remove the file",
        path.display(),
        if *n == 1 { "case of the same name as one" } else { "cases of the same names as those" },
        if *n == 1 { "" } else { " for one" },
    )]
    OtherCases {
        /// The file.
        path: PathBuf,
        /// How many there are.
        n: usize,
        /// The name of the first.
        id: String,
    },
    /// The records in the folder are written in an older way, and would be mixed with new ones.
    #[error(
        "{} has records of layout {layout}, and this program writes layout {written}: give another folder",
        path.display()
    )]
    OtherLayout {
        /// The file.
        path: PathBuf,
        /// The layout that it has.
        layout: u32,
        /// The layout that is written.
        written: u32,
    },
    /// Records that would be counted together differ in a setting.
    #[error(
        "{cell} of {model} was run with other {} here than there: such records are not counted together",
        differing.join(", ")
    )]
    MixedSettings {
        /// Task and arm.
        cell: String,
        /// The model.
        model: String,
        /// The settings that differ.
        differing: Vec<String>,
    },
    /// There is nothing to read.
    #[error("{} has no records", path.display())]
    NoRecords {
        /// The folder.
        path: PathBuf,
    },
    /// Records would be written among others.
    #[error("{} has records already: give another folder", path.display())]
    HasRecords {
        /// The folder.
        path: PathBuf,
    },
    /// The folder has no answers on which a judge can be measured.
    #[error(
        "{} has no answers to measure a judge: it needs wrong_answers_v1.jsonl and wrong_answers_v2.jsonl",
        path.display()
    )]
    NoAudit {
        /// The folder.
        path: PathBuf,
    },
    /// A judge whose errors are not known.
    #[error("it is not known how often the judge {judge} is wrong: measure it first, with --data")]
    UnmeasuredJudge {
        /// The model.
        judge: String,
    },
    /// The vocabulary cannot be prepared for masks.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// The store failed while memory was prepared.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The model failed outside of a case.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The agent failed outside of a case.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// Stopped from outside; what was finished is recorded.
    #[error("stopped")]
    Cancelled,
}

impl MemoryBenchError {
    /// Says which file it was.
    pub(crate) fn file(path: impl Into<PathBuf>, error: &std::io::Error) -> Self {
        Self::File { path: path.into(), reason: error.to_string() }
    }
}
