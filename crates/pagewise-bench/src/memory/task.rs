//! The tasks: what each asks, where its cases are from, and how the agent is set up for it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use pagewise_agent::AgentConfig;
use serde::{Deserialize, Serialize};

use super::arm::Arm;
use super::case::Case;
use super::error::MemoryBenchError;
use super::tasks::nested_kv;
use super::{generate, load};

/// One experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Nested key-value retrieval: look a key up whose value may be a key itself (MemGPT paper,
    /// section 3.2.2), with a control that wants the first value.
    NestedKv,
}

/// The cases of a task.
#[derive(Debug)]
pub struct CaseSet {
    /// `generated`, or the name of the data set.
    pub source: String,
    /// All cases, in an order that mixes what they are labelled with.
    pub cases: Vec<Case>,
}

impl Task {
    /// All that there are.
    pub const ALL: &'static [Self] = &[Self::NestedKv];

    /// Returns the name on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::NestedKv => "nested-kv",
        }
    }

    /// Whether memory is searched by meaning, so that an embedder is needed.
    pub fn needs_embedder(self) -> bool {
        match self {
            Self::NestedKv => false,
        }
    }

    /// Whether an arm can answer it: a prompt of what a search finds needs passages, and a question to
    /// search for.
    pub fn has_arm(self, arm: Arm) -> bool {
        match self {
            Self::NestedKv => arm != Arm::Retrieval,
        }
    }

    /// Returns the settings of an agent for this task: the usual ones, but for what the experiment
    /// prescribes.
    pub fn agent_config(self, usual: AgentConfig) -> AgentConfig {
        match self {
            Self::NestedKv => nested_kv::agent_config(usual),
        }
    }

    /// Makes `n` cases from `seed`. The first of them do not depend on how many follow.
    pub fn generate(self, seed: u64, n: usize) -> CaseSet {
        let cases = match self {
            Self::NestedKv => generate::nested_kv::cases(seed, n),
        };
        CaseSet { source: "generated".into(), cases }
    }

    /// Reads all cases of the data set in `folder`, or in the one of its folders that is named as the
    /// data set is. Which set it is shows in the names of its files.
    pub fn load(self, folder: &Path) -> Result<CaseSet, MemoryBenchError> {
        let none = |wanted| MemoryBenchError::NoData { path: folder.into(), task: self, wanted };
        let find = |name: &str, file: &str| -> Option<PathBuf> {
            let inner = folder.join(name);
            [folder, inner.as_path()]
                .into_iter()
                .find(|folder| load::has(folder, file))
                .map(Into::into)
        };
        let set = |source: &str, cases| Ok(CaseSet { source: source.into(), cases });
        match self {
            Self::NestedKv => match find("nested_kv", "kv-retrieval-140_keys.jsonl") {
                Some(folder) => set("nested_kv", load::nested_kv::cases(&folder)?),
                None => Err(none("kv-retrieval-140_keys.jsonl and the files of random orderings")),
            },
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Task {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|task| task.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|task| task.name()).collect();
            format!("one of {}", names.join(", "))
        })
    }
}
