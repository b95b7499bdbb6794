//! The tasks: what each asks, where its cases are from, and how the agent is set up for it.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use pagewise_agent::AgentConfig;
use serde::{Deserialize, Serialize};

use super::arm::Arm;
use super::case::Case;
use super::error::MemoryBenchError;
use super::tasks::{bfcl_memory, nested_kv, quest};
use super::{generate, load};

/// Multi-Session Chat, in records.
const MSC: &str = "msc";

/// One experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Nested key-value retrieval: look a key up whose value may be a key itself (MemGPT paper,
    /// section 3.2.2), with a control that wants the first value.
    NestedKv,
    /// Deep memory retrieval: something that was said in one of many past conversations (MemGPT paper,
    /// section 3.1.1), asked as a cloze, or with the paper's own questions where they are given.
    Dmr,
    /// Reading, updating and writing the blocks of working context.
    CoreMemory,
    /// Questions that passages in archival storage answer (MemGPT paper, section 3.2.1).
    DocQa,
    /// Which topic of a long conversation was the first, second or third.
    TopicRetrieval,
    /// What is said to a user who comes back (MemGPT paper, section 3.1.2).
    Opener,
    /// Questions about what two people told each other over months.
    Locomo,
    /// A user's questions about many earlier conversations, each with a history of its own.
    Longmemeval,
    /// Questions about conversations that the agent had itself, of what it saved of them.
    BfclMemory,
    /// Which of the functions of others a request wants, and with what.
    FunctionCalls,
    /// A guided walk, told turn by turn, with tasks that need what was seen long ago.
    Quest,
    /// How well the store's own searches find what is known to answer. There is no language model in it,
    /// and so there are no cases: see [`measure_retrieval`](super::measure_retrieval).
    Retrieval,
    /// What becomes of JSON schemas under a token mask; no model answers.
    Grammar,
}

/// The cases of a task.
#[derive(Debug)]
pub struct CaseSet {
    /// `generated`, or the name of the data set.
    pub source: String,
    /// All cases, in an order that mixes what they are labelled with.
    pub cases: Vec<Case>,
}

impl CaseSet {
    /// Whether an arm of the task can answer these cases: not every set says what must be read.
    pub fn has_arm(&self, arm: Arm) -> bool {
        arm != Arm::Oracle || self.cases.iter().any(|case| !case.gold.evidence.is_empty())
    }
}

impl Task {
    /// All that there are.
    pub const ALL: &'static [Self] = &[
        Self::NestedKv,
        Self::Dmr,
        Self::CoreMemory,
        Self::DocQa,
        Self::TopicRetrieval,
        Self::Opener,
        Self::Locomo,
        Self::Longmemeval,
        Self::BfclMemory,
        Self::FunctionCalls,
        Self::Quest,
        Self::Retrieval,
        Self::Grammar,
    ];

    /// Returns the name on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::NestedKv => "nested-kv",
            Self::Dmr => "dmr",
            Self::CoreMemory => "core-memory",
            Self::DocQa => "doc-qa",
            Self::TopicRetrieval => "topic-retrieval",
            Self::Opener => "opener",
            Self::Locomo => "locomo",
            Self::Longmemeval => "longmemeval",
            Self::BfclMemory => "bfcl-memory",
            Self::FunctionCalls => "function-calls",
            Self::Quest => "quest",
            Self::Retrieval => "retrieval",
            Self::Grammar => "grammar",
        }
    }

    /// Returns the task, or what is counted beside it, with where its cases are from unless they are generated.
    pub fn title(self, beside: Option<&str>, source: &str) -> String {
        let name = match beside {
            Some(beside) => format!("{self} {beside}"),
            None => self.to_string(),
        };
        match self.source_name(source) {
            "generated" => name,
            source => format!("{name} ({source})"),
        }
    }

    /// Returns what people are told a set is. That of MSC is not the paper's deep memory retrieval, and never looks
    /// as if it were.
    pub fn source_name(self, source: &str) -> &str {
        match (self, source) {
            (Self::Dmr, MSC) => "MSC-cloze",
            (Self::Dmr, "generated") => "cloze",
            (_, source) => source,
        }
    }

    /// Whether a language model answers its cases. What needs none has no cases and no arms, but things of
    /// its own to measure.
    pub fn needs_model(self) -> bool {
        !matches!(self, Self::Grammar | Self::Retrieval)
    }

    /// Whether memory is searched by meaning, so that an embedder is needed.
    pub fn needs_embedder(self) -> bool {
        match self {
            Self::NestedKv | Self::CoreMemory | Self::FunctionCalls | Self::Grammar => false,
            Self::Dmr | Self::DocQa | Self::TopicRetrieval | Self::BfclMemory | Self::Quest => true,
            Self::Opener | Self::Locomo | Self::Longmemeval | Self::Retrieval => true,
        }
    }

    /// Whether its score says how much of what could be right is right: the nearness of an opener to what the user told
    /// has no such meaning, and stands for itself.
    pub fn scores_right(self) -> bool {
        self != Self::Opener
    }

    /// Whether the share of the evidence that was read is a measure of its own.
    pub(crate) fn counts_evidence(self) -> bool {
        matches!(self, Self::Locomo | Self::Longmemeval)
    }

    /// Whether an arm can answer it: a prompt of what a search finds needs passages, and a question to
    /// search for; one with the material needs material, and one with what must be read a task of which that is known.
    pub fn has_arm(self, arm: Arm) -> bool {
        match arm {
            Arm::Retrieval => self == Self::DocQa,
            Arm::FullContext => self != Self::FunctionCalls,
            Arm::Oracle => {
                matches!(self, Self::Dmr | Self::DocQa | Self::Locomo | Self::Longmemeval)
            }
            Arm::Memgpt | Arm::NoMemory => true,
        }
    }

    /// Returns the settings of an agent for this task: the usual ones, but for what the experiment
    /// prescribes.
    pub fn agent_config(self, usual: AgentConfig) -> AgentConfig {
        match self {
            Self::NestedKv => nested_kv::agent_config(usual),
            Self::BfclMemory => bfcl_memory::agent_config(usual),
            Self::Quest => quest::agent_config(usual),
            _ => usual,
        }
    }

    /// Makes cases from `seed`, without end; none for a task without a model. Each depends on the seed and on
    /// its place alone.
    pub fn generate(self, seed: u64) -> Box<dyn Iterator<Item = Case>> {
        match self {
            Self::NestedKv => Box::new(generate::nested_kv::cases(seed)),
            Self::Dmr => Box::new(generate::dmr::cases(seed)),
            Self::CoreMemory => Box::new(generate::core_memory::cases(seed)),
            Self::DocQa => Box::new(generate::doc_qa::cases(seed)),
            Self::TopicRetrieval => Box::new(generate::topic_retrieval::cases(seed)),
            Self::Opener => Box::new(generate::opener::cases(seed)),
            Self::Locomo => Box::new(generate::locomo::cases(seed)),
            Self::Longmemeval => Box::new(generate::longmemeval::cases(seed)),
            Self::BfclMemory => Box::new(generate::bfcl_memory::cases(seed)),
            Self::FunctionCalls => Box::new(generate::function_calls::cases(seed)),
            Self::Quest => Box::new(generate::quest::cases(seed)),
            Self::Retrieval | Self::Grammar => Box::new(std::iter::empty()),
        }
    }

    /// Reads all cases of the data set in `folder`, or in the one of its folders that is named as the
    /// data set is. Which set it is shows in the names of its files.
    pub fn load(self, folder: &Path) -> Result<CaseSet, MemoryBenchError> {
        let none = |wanted| MemoryBenchError::NoData { path: folder.into(), task: self, wanted };
        let find = |set: &str, file: &str| load::find(folder, set, file);
        let find_any = |set: &str, files: &[&str]| load::find_any(folder, set, files);
        let set = |source: &str, cases: Vec<Case>| {
            let mut ids = HashSet::new();
            match cases.iter().find(|case| !ids.insert(&case.id)) {
                Some(case) => {
                    Err(MemoryBenchError::SameId { path: folder.into(), id: case.id.clone() })
                }
                None => Ok(CaseSet { source: source.into(), cases }),
            }
        };
        match self {
            Self::NestedKv => match find("nested_kv", "kv-retrieval-140_keys.jsonl") {
                Some(folder) => set("nested_kv", load::nested_kv::cases(&folder)?),
                None => Err(none("kv-retrieval-140_keys.jsonl and the files of random orderings")),
            },
            Self::Dmr => {
                // The name of the set here, and on the server that has it.
                let sets = [load::msc_self_instruct::SOURCE, "MSC-Self-Instruct"];
                let own = sets.iter().find_map(|set| find(set, load::msc_self_instruct::FILE));
                if let Some(folder) = own {
                    let cases = load::msc_self_instruct::cases(&folder)?;
                    return set(load::msc_self_instruct::SOURCE, cases);
                }
                match find(MSC, load::msc::FILE) {
                    Some(folder) => set(MSC, load::msc::cases(&folder)?),
                    None => Err(none("conversations.jsonl or msc_self_instruct.jsonl")),
                }
            }
            Self::CoreMemory => {
                match load::find_by(folder, "letta_evals", load::letta_evals::is_in) {
                    Some(folder) => set("letta_evals", load::letta_evals::cases(&folder)?),
                    None => Err(none("core_memory_read.jsonl and core_memory_update.jsonl")),
                }
            }
            Self::Opener => match find(MSC, load::msc::FILE) {
                Some(folder) => set(MSC, load::msc::openers(&folder)?),
                None => Err(none("conversations.jsonl")),
            },
            Self::Locomo => match find_any("locomo", &load::locomo::FILES) {
                Some(folder) => set("locomo", load::locomo::cases(&folder)?),
                None => Err(none("locomo.jsonl or locomo10.json")),
            },
            Self::Longmemeval => {
                let folders = [folder.to_path_buf(), folder.join("longmemeval")];
                let found = folders
                    .iter()
                    .find_map(|folder| Some((folder, load::longmemeval::set_in(folder)?)));
                match found {
                    Some((folder, name)) => set(name, load::longmemeval::cases(folder, name)?),
                    None => Err(none("longmemeval_s.json or longmemeval_oracle.json")),
                }
            }
            Self::Retrieval => Err(none("a run of its own, without cases")),
            Self::TopicRetrieval => match find("leval", "topic_retrieval_longchat.jsonl") {
                Some(folder) => set("leval", load::topics::cases(&folder)?),
                None => Err(none("topic_retrieval_longchat.jsonl")),
            },
            Self::BfclMemory => match find_any("bfcl", &load::bfcl_memory::FILES) {
                Some(folder) => set("bfcl", load::bfcl_memory::cases(&folder)?),
                None => Err(none(
                    "memory.jsonl, memory_answers.jsonl and memory_prereq_conversation.jsonl, or \
                     BFCL_v4_memory.json with its folders",
                )),
            },
            Self::FunctionCalls => match load::find_by(folder, "bfcl", load::bfcl_calls::is_in) {
                Some(folder) => set("bfcl", load::bfcl_calls::cases(&folder)?),
                None => Err(none(
                    "simple_python.jsonl, multiple.jsonl, live_simple.jsonl (each with its \
                     _answers.jsonl) or irrelevance.jsonl, or the same as BFCL_v4_multiple.json with \
                     the folder possible_answer",
                )),
            },
            Self::Quest => Err(none("nothing from outside, since its games are generated")),
            Self::Grammar => Err(none("no cases for a model")),
            Self::DocQa => {
                if let Some(folder) = find("nq_closed", "questions.jsonl") {
                    return set("nq_closed", load::nq_closed::cases(&folder)?);
                }
                if let Some(folder) = find_any("hotpot", &load::hotpot::FILES) {
                    return set("hotpot", load::hotpot::cases(&folder)?);
                }
                if let Some(folder) = find_any("xquad", &load::xquad::FILES) {
                    return set("xquad", load::xquad::cases(&folder)?);
                }
                if let Some(folder) = find_any("leval", &load::leval::FILES) {
                    return set("leval", load::leval::cases(&folder)?);
                }
                Err(none(
                    "questions.jsonl with passages.jsonl, hotpot_distractor.jsonl or \
                     hotpot_dev_distractor_v1.json, xquad.en.jsonl or xquad.en.json, or natural_question.jsonl or \
                     quality.jsonl",
                ))
            }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_name_is_a_task_s_own() {
        for task in Task::ALL {
            assert_eq!(task.name().parse(), Ok(*task));
            let quoted = serde_json::to_string(task).unwrap_or_default();
            assert_eq!(quoted, format!("\"{task}\""));
        }
        assert!("poetry".parse::<Task>().is_err_and(|error| error.contains("core-memory")));
    }

    #[test]
    fn generated_cases_can_be_told_apart() {
        for task in Task::ALL.iter().filter(|task| task.needs_model()) {
            let cases: Vec<Case> = task.generate(1).take(40).collect();
            let ids: HashSet<&str> = cases.iter().map(|case| &*case.id).collect();
            assert_eq!((cases.len(), ids.len()), (40, 40), "{task}");
        }
    }

    #[test]
    fn a_set_is_found_in_its_folder_or_in_one_of_its_name() {
        let home = tempfile::tempdir().unwrap();
        let inner = home.path().join("xquad");
        fs::create_dir(&inner).unwrap();
        let asked = serde_json::json!({"id": "q", "question": "What?", "answers": [{"text": "x"}]});
        let article = |asked: &[&serde_json::Value]| {
            serde_json::json!({"title": "T", "paragraphs": [{"context": "x", "qas": asked}]})
                .to_string()
        };
        fs::write(inner.join("xquad.en.jsonl"), article(&[&asked])).unwrap();
        for folder in [home.path(), &inner] {
            let set = Task::DocQa.load(folder).unwrap();
            assert_eq!((&*set.source, set.cases.len()), ("xquad", 1));
            let error = Task::Dmr.load(folder).unwrap_err().to_string();
            assert!(
                error.ends_with("for dmr: it needs conversations.jsonl or msc_self_instruct.jsonl"),
                "{error}"
            );
        }
        fs::write(inner.join("xquad.en.jsonl"), article(&[&asked, &asked])).unwrap();
        let error = Task::DocQa.load(&inner).unwrap_err().to_string();
        assert!(error.ends_with("has two cases that are named xquad-q"), "{error}");
    }

    #[test]
    fn the_paper_s_own_questions_come_before_those_made_by_rule() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("conversations.jsonl"), "").unwrap();
        assert_eq!(Task::Dmr.load(home.path()).unwrap().source, MSC);
        assert_eq!(Task::Dmr.title(None, MSC), "dmr (MSC-cloze)");
        assert_eq!(Task::Opener.title(None, MSC), "opener (msc)");
        let inner = home.path().join("MSC-Self-Instruct");
        fs::create_dir(&inner).unwrap();
        let row = serde_json::json!({"previous_dialogs": [], "dialog": [{"text": "I row."}],
            "self_instruct": {"B": "What do you do?", "A": "I row."}});
        fs::write(inner.join("msc_self_instruct.jsonl"), row.to_string()).unwrap();
        for folder in [home.path(), &inner] {
            let set = Task::Dmr.load(folder).unwrap();
            assert_eq!((&*set.source, set.cases.len()), ("msc-self-instruct", 1));
        }
    }
}
