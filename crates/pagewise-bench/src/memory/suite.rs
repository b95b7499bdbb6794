//! Suites: what is run together, in one table.
//!
//! A row is a task with its arms, windows and number of cases; the order is the order in which they are run,
//! but for windows, of which each has the model loaded anew. A task that is not in the table is in no
//! suite. Flags of the command line go before what stands here.

use std::fmt;
use std::str::FromStr;

use super::arm::Arm;
use super::task::Task;

/// A set of experiments that are run together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// A first look: under 10 minutes for a model of 1.5 billion parameters on two cores.
    Quick,
    /// The experiments of the MemGPT paper, with its arms.
    Paper,
    /// Every task that a model answers, with all its arms.
    Full,
}

/// One task of a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuiteRow {
    /// The task.
    pub task: Task,
    /// Who answers.
    pub arms: &'static [Arm],
    /// The context windows, in tokens.
    pub windows: &'static [u32],
    /// The cases. Of nested key-value retrieval half of them are the control; a question on memory that the
    /// agent wrote is two, with and without recall storage, and a case of the quest is a whole game.
    pub n_cases: u32,
}

/// The agent beside what the model knows.
const WITH_FLOOR: &[Arm] = &[Arm::Memgpt, Arm::NoMemory];
/// The agent beside the same model with one prompt.
const WITH_PROMPTS: &[Arm] = &[Arm::Memgpt, Arm::FullContext, Arm::NoMemory];
/// The same where it is known what must be read.
const WITH_ORACLE: &[Arm] = &[Arm::Memgpt, Arm::FullContext, Arm::NoMemory, Arm::Oracle];
/// The same where passages can be searched for the question.
const WITH_SEARCH: &[Arm] =
    &[Arm::Memgpt, Arm::FullContext, Arm::Retrieval, Arm::NoMemory, Arm::Oracle];

/// The window of most figures, in tokens.
const USUAL: &[u32] = &[4096];
/// Windows in which less and more of the material fits, in tokens.
const THREE: &[u32] = &[2048, 4096, 8192];

#[rustfmt::skip]
const QUICK: &[SuiteRow] = &[
    row(Task::NestedKv,       &[Arm::Memgpt], USUAL, 12),
    row(Task::Dmr,            WITH_FLOOR,     USUAL,  8),
    row(Task::CoreMemory,     &[Arm::Memgpt], USUAL,  9),
    row(Task::DocQa,          WITH_FLOOR,     USUAL,  8),
    row(Task::TopicRetrieval, &[Arm::Memgpt], USUAL,  6),
];

#[rustfmt::skip]
const PAPER: &[SuiteRow] = &[
    row(Task::NestedKv, WITH_PROMPTS, USUAL, 96),
    row(Task::Dmr,      WITH_PROMPTS, USUAL, 48),
    row(Task::Opener,   WITH_PROMPTS, USUAL, 24),
    row(Task::DocQa,    WITH_SEARCH,  USUAL, 48),
];

#[rustfmt::skip]
const FULL: &[SuiteRow] = &[
    row(Task::NestedKv,       WITH_PROMPTS, THREE, 96),
    row(Task::Dmr,            WITH_ORACLE,  THREE, 48),
    row(Task::CoreMemory,     WITH_PROMPTS, USUAL, 48),
    row(Task::DocQa,          WITH_SEARCH,  USUAL, 48),
    row(Task::TopicRetrieval, WITH_PROMPTS, USUAL, 48),
    row(Task::Opener,         WITH_PROMPTS, USUAL, 24),
    row(Task::Locomo,         WITH_ORACLE,  USUAL, 48),
    row(Task::Longmemeval,    WITH_ORACLE,  USUAL, 48),
    row(Task::BfclMemory,     WITH_PROMPTS, USUAL, 96),
    row(Task::FunctionCalls,  WITH_FLOOR,   USUAL, 48),
    row(Task::Quest,          WITH_PROMPTS, USUAL,  4),
];

const fn row(task: Task, arms: &'static [Arm], windows: &'static [u32], n_cases: u32) -> SuiteRow {
    SuiteRow { task, arms, windows, n_cases }
}

impl Suite {
    /// All that there are.
    pub const ALL: &'static [Self] = &[Self::Quick, Self::Paper, Self::Full];

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Paper => "paper",
            Self::Full => "full",
        }
    }

    /// Returns what it runs.
    pub fn rows(self) -> &'static [SuiteRow] {
        match self {
            Self::Quick => QUICK,
            Self::Paper => PAPER,
            Self::Full => FULL,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Suite {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|suite| suite.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|suite| suite.name()).collect();
            format!("one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_can_be_run() {
        for suite in Suite::ALL {
            assert_eq!(suite.name().parse(), Ok(*suite));
            for row in suite.rows() {
                assert!(!row.arms.is_empty() && !row.windows.is_empty() && row.n_cases > 0);
                assert!(row.arms.iter().all(|arm| row.task.has_arm(*arm)), "{suite}: {row:?}");
            }
        }
        assert_eq!("all".parse::<Suite>(), Err("one of quick, paper, full".into()));
    }

    #[test]
    fn the_full_suite_has_every_task_that_a_model_answers() {
        for task in Task::ALL.iter().filter(|task| task.needs_model()) {
            let rows: Vec<&SuiteRow> =
                Suite::Full.rows().iter().filter(|row| row.task == *task).collect();
            assert!(!rows.is_empty(), "{task}");
            for arm in Arm::ALL.iter().filter(|arm| task.has_arm(**arm)) {
                assert!(rows.iter().any(|row| row.arms.contains(arm)), "{task} {arm}");
            }
        }
    }
}
