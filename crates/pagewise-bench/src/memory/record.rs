//! What a case left: one line of JSON with the whole trajectory, from which it can be graded again.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use jiff::Timestamp;
use pagewise_agent::{AgentConfig, CallRecord, Plan, prompts_fingerprint};
use pagewise_core::{Status, TokenUsage};
use pagewise_memory::Block;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::arm::{Arm, Truncation};
use super::case::{Baseline, Case, Tier, fingerprint};
use super::error::MemoryBenchError;
use super::failure::{Failure, classify};
use super::game::{failure_of_game, part, score_game};
use super::judge::Judgement;
use super::lent_model::Written;
use super::made_by::MadeBy;
use super::nearness::Nearness;
use super::score::{Score, score};
use super::task::Task;
use super::tasks::function_calls;
use super::told::ToldRecord;

/// The layout of a record, and how the material of a prompt is made to fit, which is no setting: before the third,
/// as much was taken as the window has room for.
const FORMAT: u32 = 3;

/// What a run was made with. Records of one file have the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The layout of the record.
    pub format: u32,
    /// The task.
    pub task: Task,
    /// Where its cases are from: `generated`, or the name of a data set.
    pub source: String,
    /// The model's name.
    pub model: String,
    /// A hash that tells its weights from others of the same name; empty in records that have none.
    #[serde(default)]
    pub weights: String,
    /// Who answered.
    pub arm: Arm,
    /// The context window, in tokens.
    pub window: usize,
    /// Seeds the generator of cases and every answer.
    pub seed: u64,
    /// What the agent's clock says when a case begins, unless its data says it; the usual time where no agent
    /// answers, and in records that do not say.
    #[serde(default = "case_start")]
    pub now: Timestamp,
    /// The embedder that searches; `none` where nothing is searched by meaning.
    pub embedder: String,
    /// What the agent's prompts are, as a number: records that were made with others are not mixed. Empty where
    /// no agent answers.
    pub prompts: String,
    /// How documents are cut for a prompt, and how many there are; the usual for every arm but retrieval.
    pub documents: Documents,
    /// The agent's settings; the other arms take sampling and the length of an answer from them.
    pub agent: AgentConfig,
}

fn case_start() -> Timestamp {
    Settings::CASE_START
}

/// How the passages that a search finds become part of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Documents {
    /// The most of them.
    pub n_max: usize,
    /// How they are made to fit.
    pub truncation: Truncation,
}

/// Those of a page of an agent's search, whole.
impl Default for Documents {
    fn default() -> Self {
        let n_max = AgentConfig::default().page_size as usize;
        Self { n_max, truncation: Truncation::Whole }
    }
}

impl Settings {
    /// The layout that is written.
    pub const FORMAT: u32 = FORMAT;

    /// What the agent's clock usually says when a case begins: 2026-01-05T09:00:00Z.
    pub const CASE_START: Timestamp = Timestamp::constant(1_767_603_600, 0);

    /// Returns what [`prompts`](Self::prompts) is in this program.
    pub fn prompts() -> String {
        format!("{:016x}", prompts_fingerprint())
    }

    /// Leaves only what has a part in the answers. Documents are cut and counted for retrieval alone. Where no agent
    /// answers, an agent's prompts are nothing, its clock and its settings are the usual ones but for those that make
    /// a single prompt and its answer. So these records stand when the agent changes.
    #[must_use]
    pub fn with_what_counts(mut self) -> Self {
        if self.arm != Arm::Retrieval {
            self.documents = Documents::default();
        }
        if !self.has_agent() {
            self.prompts.clear();
            self.now = Self::CASE_START;
            let usual = AgentConfig::default();
            let thought_max_chars = match self.arm {
                Arm::Memgpt => self.agent.thought_max_chars,
                _ => usual.thought_max_chars,
            };
            let AgentConfig { sampling, answer_tokens, message_max_chars, .. } = self.agent;
            self.agent = AgentConfig {
                sampling,
                answer_tokens,
                message_max_chars,
                thought_max_chars,
                ..usual
            };
        }
        self
    }

    /// Whether an agent answers, and not one prompt. The functions of others are offered in one prompt, whether or not
    /// the grammar has a say in the call.
    fn has_agent(&self) -> bool {
        self.arm == Arm::Memgpt && self.task != Task::FunctionCalls
    }

    /// Returns what [`asked`](Record::asked) is of a record of this case.
    pub(crate) fn asked(&self, case: &Case) -> String {
        if self.has_agent() {
            return String::new();
        }
        let parts = (0..case.tasks.len()).filter_map(|number| part(case, number));
        let baselines: Vec<Baseline> = match case.tasks.len() {
            0 => vec![case.baseline.clone()],
            _ => parts.map(|part| part.baseline).collect(),
        };
        let tools = function_calls::prompt_text(case, self.agent.message_max_chars);
        let texts = baselines.iter().flat_map(Baseline::texts);
        fingerprint(texts.chain(Some(&*tools).filter(|tools| !tools.is_empty())))
    }

    /// Returns the task with where its cases are from, for people.
    pub fn title(&self) -> String {
        self.task.title(None, &self.source)
    }

    /// Returns the name of the file of these records, without a folder.
    pub fn file_name(&self) -> String {
        let Self { task, model, arm, window, .. } = self;
        let model: String = model
            .chars()
            .map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' })
            .collect();
        format!("{task}.{model}.{arm}.{window}.jsonl")
    }

    /// Names what differs from `other`.
    pub(crate) fn differing(&self, other: &Self) -> Vec<String> {
        self.changes(other).into_iter().map(|change| change.setting).collect()
    }

    /// Returns what is otherwise in `other`, with both values; a setting of the agent is named `agent.…`.
    pub fn changes(&self, other: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if let [Ok(mine), Ok(others)] = [self, other].map(serde_json::to_value) {
            compare("", &mine, &others, &mut changes);
        }
        changes
    }
}

/// A setting that two runs have different values of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Its name.
    pub setting: String,
    /// The one value.
    pub from: Value,
    /// The other.
    pub to: Value,
}

fn compare(name: &str, from: &Value, to: &Value, changes: &mut Vec<Change>) {
    match (from, to) {
        (Value::Object(from), Value::Object(to)) => {
            let added = to.keys().filter(|key| !from.contains_key(*key));
            for key in from.keys().chain(added) {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                let value = |of: &Map<String, Value>| of.get(key).cloned().unwrap_or_default();
                compare(&name, &value(from), &value(to), changes);
            }
        }
        (from, to) if from == to => {}
        (from, to) => {
            changes.push(Change { setting: name.into(), from: from.clone(), to: to.clone() })
        }
    }
}

/// What a case left.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// What it was run with.
    pub settings: Settings,
    /// What made it besides; `None` in records that do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<MadeBy>,
    /// The case, without what memory held.
    pub case: Case,
    /// What came of each message, in order.
    pub events: Vec<EventRecord>,
    /// The last reply: what is scored.
    pub reply: String,
    /// Working context in the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<Block>,
    /// A hash of what memory held before: cases that were asked of one store have the same. Empty if it
    /// held nothing that they could share.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub store: String,
    /// What a prompt without an agent had of the material.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<PromptRecord>,
    /// A hash of what stands around the material in a prompt without an agent; empty where an agent answers, and in
    /// records that do not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub asked: String,
    /// How near the last reply comes to the answers in meaning, where that is what is scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearness: Option<Nearness>,
    /// How memory was written, where the agent did that itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<ToldRecord>,
    /// What the user told in a game, in tokens of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_tokens: Option<usize>,
    /// Summaries included.
    pub tokens: TokenUsage,
    /// From the first message to the last reply, without the preparation of memory.
    pub seconds: f64,
    /// Why the case could not be run to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it scored.
    #[serde(default)]
    pub score: Score,
    /// Why it is wrong.
    #[serde(default)]
    pub failure: Failure,
    /// What models said that were asked whether it is right; it counts for nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judged: Vec<Judgement>,
}

/// What came of a message.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct EventRecord {
    /// What the model decided about the message, and read in what was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// The calls, in order, replies included.
    pub steps: Vec<Step>,
    /// Answers of the model that were to be calls, decisions beside the steps included; `None` in records that do
    /// not say, and where there is no agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_calls_written: Option<usize>,
    /// Of these, the ones that were none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_invalid: usize,
    /// What was said.
    pub replies: Vec<String>,
    /// How many messages left main context.
    pub evicted: usize,
    /// In a game that an agent plays: the texts of its evidence, by their places, that were still in the FIFO queue
    /// when it replied. `None` where that was not written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_queue: Option<Vec<usize>>,
    /// What a prompt without an agent had of the material, if it is the prompt of this message alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<PromptRecord>,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// One call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// What could be called; empty if the runtime called.
    pub functions: Vec<String>,
    /// What was called.
    pub function: String,
    /// With what.
    pub arguments: Map<String, Value>,
    /// Whether it did what was asked.
    pub status: Status,
    /// What it returned.
    pub result: String,
    /// What writing it cost.
    pub tokens: TokenUsage,
    /// How long writing it took.
    pub seconds: f64,
    /// Whether the runtime made this search and not the model.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_runtime: bool,
}

/// What a prompt had of the material.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PromptRecord {
    /// The pieces in the prompt.
    pub n_pieces: usize,
    /// All there are.
    pub n_pieces_all: usize,
    /// The prompt's tokens.
    pub tokens: usize,
    /// Whether everything that one must have read was in it.
    pub has_evidence: bool,
    /// Which share of it was in it; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_share: Option<f64>,
}

impl Step {
    /// The tier that it searched, if it is a search.
    pub fn searches(&self) -> Option<Tier> {
        tier_of_search(&self.function)
    }

    /// Whether the model had no part in it: the runtime called, or its rules left one call to write, so that
    /// no token was sampled.
    pub fn is_without_choice(&self) -> bool {
        self.by_runtime || (!self.functions.is_empty() && self.tokens.generated == 0)
    }
}

/// The tier that a function searches.
pub(crate) fn tier_of_search(function: &str) -> Option<Tier> {
    match function {
        "archival_search" => Some(Tier::Archival),
        "conversation_search" | "conversation_search_date" => Some(Tier::Recall),
        _ => None,
    }
}

/// Lays the calls that were executed beside the answers that the model wrote: a search that no answer asked for
/// was the runtime's own, an edit keeps a fact that the model noted beside its steps.
pub(crate) fn steps(calls: Vec<CallRecord>, written: &[Written]) -> Vec<Step> {
    let mut written = written.iter().filter(|answer| answer.is_step()).peekable();
    calls
        .into_iter()
        .map(|CallRecord { function, arguments, status, result }| {
            let answer = written.next_if(|answer| {
                answer
                    .call
                    .as_ref()
                    .is_some_and(|call| call.function == function && call.arguments == arguments)
            });
            Step {
                functions: answer.and_then(|answer| answer.functions.clone()).unwrap_or_default(),
                by_runtime: answer.is_none() && tier_of_search(&function).is_some(),
                tokens: answer.map(|answer| answer.tokens).unwrap_or_default(),
                seconds: answer.map_or(0.0, |answer| answer.seconds),
                function,
                arguments,
                status,
                result,
            }
        })
        .collect()
}

impl Record {
    /// All calls of all messages.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.events.iter().flat_map(|event| &event.steps)
    }

    /// The notes that were put into archival storage.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.steps()
            .filter(|step| step.function == "archival_insert" && step.status == Status::Ok)
            .filter_map(|step| step.arguments.get("text")?.as_str().map(str::to_string))
            .collect()
    }

    /// Whether another record is of the same case, and of the same prompt if it is of the same arm. If one of two says
    /// how it was asked in one prompt and the other does not, they are not taken for the same.
    pub(crate) fn asks_the_same(&self, other: &Self) -> bool {
        let is_asked_alike = self.settings.arm != other.settings.arm || self.asked == other.asked;
        is_asked_alike && self.case.asks_the_same(&other.case)
    }

    /// How many searches were made.
    pub fn n_searches(&self) -> usize {
        self.steps().filter(|step| step.searches().is_some()).count()
    }

    /// How many searches the runtime made itself, or left the model nothing to choose of.
    pub fn n_runtime_searches(&self) -> usize {
        let searches = self.steps().filter(|step| step.searches().is_some());
        searches.filter(|step| step.is_without_choice()).count()
    }

    /// Calls that answering did not need: where the answer is in view, all but the reply. `None` where
    /// it is not in view, or nobody could call.
    pub(crate) fn n_needless_calls(&self) -> Option<usize> {
        let is_in_view = self.case.gold.tier == Tier::WorkingContext;
        (is_in_view && self.settings.arm == Arm::Memgpt).then(|| {
            let question = self.events.last();
            question.map_or(0, |event| {
                event.steps.iter().filter(|step| step.function != "send_message").count()
            })
        })
    }

    /// Scores and classifies it by what it holds.
    pub fn grade(&mut self) {
        if self.case.tasks.is_empty() {
            self.score = score(self);
            self.failure = classify(self);
        } else {
            self.score = score_game(self);
            self.failure = failure_of_game(self);
        }
    }
}

/// What came of all messages of records, and of the conversations that their memories come of: of each memory once,
/// though a run that went on tells of it again.
pub(crate) fn all_events(records: &[Record]) -> Vec<&EventRecord> {
    let mut events: Vec<&EventRecord> = Vec::new();
    let mut stores = HashSet::new();
    for record in records {
        let told = record.told.iter().filter(|told| !told.turns.is_empty());
        let told = told.filter(|_| stores.insert(&record.store));
        events.extend(told.flat_map(|told| &told.turns).map(|turn| &turn.event));
        events.extend(&record.events);
    }
    events
}

/// Reads the records of a file, which may end in a line that was not finished: a run that was killed.
/// Returns them with the length of the whole lines, in bytes.
pub fn read_records(path: &Path) -> Result<(Vec<Record>, u64), MemoryBenchError> {
    let (records, whole) = read_lines(path)?;
    let with_what_counts = |record: Record| {
        let Record { settings, .. } = record;
        Record { settings: settings.with_what_counts(), ..record }
    };
    Ok((records.into_iter().map(with_what_counts).collect(), whole))
}

/// Reads the whole lines of a file, and how long they are in bytes.
pub(crate) fn read_lines<T: DeserializeOwned>(
    path: &Path,
) -> Result<(Vec<T>, u64), MemoryBenchError> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| MemoryBenchError::file(path, &error))?;
    let read = { file }.read_to_string(&mut text);
    read.map_err(|error| MemoryBenchError::file(path, &error))?;
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    let records = text[..whole]
        .lines()
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|error| MemoryBenchError::Line {
                path: path.into(),
                line: index + 1,
                reason: match layout(line) {
                    Some(layout) if layout > FORMAT => format!(
                        "a record of layout {layout}, and this program reads them up to {FORMAT}"
                    ),
                    _ => format!("not a record: {error}"),
                },
            })
        })
        .collect::<Result<_, MemoryBenchError>>()?;
    Ok((records, whole as u64))
}

/// Returns the layout of what may be a record of another one.
fn layout(line: &str) -> Option<u32> {
    let value: Value = serde_json::from_str(line).ok()?;
    value["settings"]["format"].as_u64()?.try_into().ok()
}

/// Writes records of any kind into a new file in the place of the old one, all or none.
pub fn rewrite_records<T: Serialize>(path: &Path, records: &[T]) -> Result<(), MemoryBenchError> {
    let error = |error: std::io::Error| MemoryBenchError::file(path, &error);
    let beside = path.with_extension("jsonl.new");
    let mut file = File::create(&beside).map_err(error)?;
    for record in records {
        file.write_all(line(record).as_bytes()).map_err(error)?;
    }
    file.sync_all().map_err(error)?;
    fs::rename(&beside, path).map_err(error)
}

fn line<T: Serialize>(record: &T) -> String {
    // Everything in a record is text, numbers and lists of them, which JSON can always say.
    let mut line = serde_json::to_string(record).unwrap_or_default();
    line.push('\n');
    line
}

/// The file to which records are added as cases are done.
pub(crate) struct RecordFile {
    file: File,
    path: std::path::PathBuf,
}

/// A file with what was in it.
pub(crate) struct Opened {
    pub(crate) file: RecordFile,
    pub(crate) records: Vec<Record>,
    /// Records that were in it and are to be made again.
    pub(crate) n_left_out: usize,
}

impl RecordFile {
    /// Opens the file of these settings in `folder`, with the records that it has. What a killed run
    /// left unfinished is cut off, and so are the records of `cases` that failed. A record of one of the cases that
    /// asks for something else is none of this run.
    pub(crate) fn open(
        folder: &Path,
        settings: &Settings,
        cases: &[Case],
    ) -> Result<Opened, MemoryBenchError> {
        fs::create_dir_all(folder).map_err(|error| MemoryBenchError::file(folder, &error))?;
        let path = folder.join(settings.file_name());
        let error = |error: std::io::Error| MemoryBenchError::file(&path, &error);
        let (mut records, mut whole) = match path.exists() {
            true => read_records(&path)?,
            false => (Vec::new(), 0),
        };
        for record in &records {
            if record.settings.format != FORMAT {
                let layout = record.settings.format;
                return Err(MemoryBenchError::OtherLayout { path, layout, written: FORMAT });
            }
            let differing = settings.differing(&record.settings);
            if !differing.is_empty() {
                return Err(MemoryBenchError::OtherSettings { path, differing });
            }
        }
        let asked: HashMap<&str, &Case> = cases.iter().map(|case| (&*case.id, case)).collect();
        let is_other = |record: &&Record| {
            asked.get(&*record.case.id).is_some_and(|case| {
                !record.case.asks_the_same(case) || record.asked != settings.asked(case)
            })
        };
        let others: Vec<&Record> = records.iter().filter(is_other).collect();
        if let Some(first) = others.first() {
            let (n, id) = (others.len(), first.case.id.clone());
            return Err(MemoryBenchError::OtherCases { path, n, id });
        }
        let has_failed =
            |record: &Record| record.error.is_some() && asked.contains_key(&*record.case.id);
        let n_left_out = records.iter().filter(|record| has_failed(record)).count();
        if n_left_out > 0 {
            records.retain(|record| !has_failed(record));
            rewrite_records(&path, &records)?;
            whole = fs::metadata(&path).map_err(error)?.len();
        }
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(error)?;
        file.set_len(whole).map_err(error)?;
        Ok(Opened { file: Self { file, path }, records, n_left_out })
    }

    /// Adds a record; it is on the disk when this returns.
    pub(crate) fn add(&mut self, record: &Record) -> Result<(), MemoryBenchError> {
        let written = self.file.write_all(line(record).as_bytes());
        written
            .and_then(|()| self.file.sync_data())
            .map_err(|error| MemoryBenchError::file(&self.path, &error))
    }
}
