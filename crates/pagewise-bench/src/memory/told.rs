//! Memory that the agent writes itself: it has conversations before the first case, and what it makes of them
//! is asked about.
//!
//! That takes as long as many cases, so it happens once for a model, window and settings of the agent. After
//! each conversation the store is put beside the records ([`Shelf`]), where the next run finds it: under a
//! name that is made of everything it depends on, with a checksum for each of its files. What is damaged is
//! made again.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use jiff::tz::TimeZone;
use pagewise_agent::{Agent, AgentError, CallRecord, Event, Outcome};
use pagewise_core::{Embedder, FixedClock, Status, TokenUsage};
use pagewise_memory::Store;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tempfile::TempDir;

use super::arm::Seen;
use super::case::{Memory, ToldConversation};
use super::error::MemoryBenchError;
use super::jobs::{News, Tell};
use super::lent_model::Lender;
use super::prepared::{copy_files, new_folder, reset};
use super::record::{EventRecord, Settings};

/// The layout of what is kept between runs.
const FORMAT: u32 = 2;

/// The file beside a kept store that says what it is.
const LABEL: &str = "told.json";

/// How the agent took conversations in, and what it saved of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ToldRecord {
    /// The conversations.
    pub n_conversations: usize,
    /// The user's messages in them.
    pub n_turns: usize,
    /// Messages that the agent failed at.
    pub n_failed_turns: usize,
    /// All calls, replies included.
    pub n_calls: usize,
    /// Edits of working context that were made.
    pub n_edits: usize,
    /// Notes that were put into archival storage.
    pub n_notes: usize,
    /// Calls that were refused.
    pub n_refused: usize,
    /// Messages after which something left main context.
    pub n_flushes: usize,
    /// What the model read and wrote.
    pub tokens: TokenUsage,
    /// How long it took.
    pub seconds: f64,
    /// What is saved in the end: the lines of working context that the model can write, then the notes.
    pub saved: Vec<String>,
    /// All that happened, in the first record that a run makes of this memory; the others refer to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<ToldTurn>,
}

/// One message of a conversation, and what the agent did about it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ToldTurn {
    /// What the user said.
    pub text: String,
    /// What came of it.
    pub event: EventRecord,
}

impl ToldRecord {
    fn count(&mut self, outcome: &Outcome) {
        self.n_turns += 1;
        self.n_calls += outcome.calls.len();
        self.n_flushes += usize::from(outcome.evicted > 0);
        self.tokens += outcome.tokens;
        for CallRecord { function, status, .. } in &outcome.calls {
            let counter = match (status, &**function) {
                (Status::Failed, _) => &mut self.n_refused,
                (Status::Ok, "archival_insert") => &mut self.n_notes,
                (Status::Ok, name) if name.starts_with("working_context") => &mut self.n_edits,
                _ => continue,
            };
            *counter += 1;
        }
    }
}

/// A store that has taken conversations in, closed, its queue empty.
pub(crate) struct Told {
    pub(crate) memory: Arc<Memory>,
    folder: TempDir,
    record: ToldRecord,
    /// Whether a record has all that happened.
    is_told: Cell<bool>,
}

impl Told {
    /// Returns its record, the first time with all that happened.
    pub(crate) fn record(&self) -> ToldRecord {
        let turns = match self.is_told.replace(true) {
            true => Vec::new(),
            false => self.record.turns.clone(),
        };
        ToldRecord { turns, ..self.record.clone() }
    }

    /// Copies it for a case.
    pub(crate) fn copy(&self) -> Result<TempDir, MemoryBenchError> {
        let copy = new_folder()?;
        copy_files(self.folder.path(), copy.path())?;
        Ok(copy)
    }
}

/// What takes conversations in.
pub(crate) struct Listening<'a> {
    pub(crate) lender: &'a Lender,
    pub(crate) embedder: &'a Arc<dyn Embedder>,
    pub(crate) settings: &'a Settings,
    /// Where stores are kept between runs.
    pub(crate) folder: Option<&'a Path>,
    pub(crate) cancelled: &'a AtomicBool,
}

impl Listening<'_> {
    /// Has the agent take in the conversations of a memory, but for those that an earlier run has kept.
    pub(crate) fn listen(
        &self,
        memory: &Arc<Memory>,
        tell: &mut Tell<'_>,
    ) -> Result<Told, MemoryBenchError> {
        let shelf = self.folder.map(|folder| Shelf::new(folder, self.settings, memory));
        let folder = new_folder()?;
        let (n_done, mut record) = match shelf.as_ref().and_then(Shelf::label) {
            Some(label) => {
                copy_files(&shelf.as_ref().map_or_else(PathBuf::new, Shelf::path), folder.path())?;
                (label.n_done, label.record)
            }
            None => (0, ToldRecord::default()),
        };
        let n = memory.told.len();
        for (number, conversation) in memory.told.iter().enumerate().skip(n_done) {
            tell(News::Telling { n_done: number, n })?;
            if number == 0 {
                let mut store = Store::open(folder.path(), Arc::clone(self.embedder))?;
                store.transact(|tx| {
                    let mut blocks = memory.blocks.iter();
                    blocks.try_for_each(|block| tx.save_block(block, conversation.at, None))
                })?;
            }
            self.converse(folder.path(), conversation, &mut record)?;
            let mut store = Store::open(folder.path(), Arc::clone(self.embedder))?;
            reset(&mut store, None, conversation.at)?;
            if number + 1 == n && self.embedder.dimensions() > 0 {
                store.embed_pending(usize::MAX)?;
            }
            record.n_conversations = number + 1;
            record.saved = saved(&store)?;
            drop(store);
            if let Some(shelf) = &shelf {
                shelf.keep(folder.path(), number + 1, &record)?;
            }
        }
        Ok(Told { memory: Arc::clone(memory), folder, record, is_told: Cell::new(false) })
    }

    /// Has one conversation, with a model that has forgotten the one before.
    fn converse(
        &self,
        folder: &Path,
        conversation: &ToldConversation,
        record: &mut ToldRecord,
    ) -> Result<(), MemoryBenchError> {
        self.lender.begin_case();
        let started = Instant::now();
        let store = Store::open(folder, Arc::clone(self.embedder))?;
        let clock = Box::new(FixedClock::new(conversation.at, TimeZone::UTC));
        let config = self.settings.agent.clone();
        let mut agent = Agent::open(store, self.lender.lend(), clock, config)?;
        for text in &conversation.turns {
            let event = Event::UserMessage { text: text.clone() };
            let mut seen = Seen::default();
            let handled = agent.handle(event, &mut seen, self.cancelled);
            record.turns.push(ToldTurn { text: text.clone(), event: seen.record(self.lender) });
            match handled {
                Ok(outcome) if outcome.error.is_none() => record.count(&outcome),
                Ok(_) => return Err(MemoryBenchError::Cancelled),
                Err(error @ AgentError::Store(_)) => return Err(error.into()),
                // The message is in recall storage, and the conversation goes on.
                Err(_) => {
                    record.n_turns += 1;
                    record.n_failed_turns += 1;
                }
            }
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(MemoryBenchError::Cancelled);
            }
        }
        record.seconds += started.elapsed().as_secs_f64();
        Ok(())
    }
}

/// The lines of working context that the model can write, and the passages of archival storage.
fn saved(store: &Store) -> Result<Vec<String>, MemoryBenchError> {
    let export = store.export()?;
    let working_context = store.working_context()?;
    let writable = working_context.blocks().iter().filter(|block| !block.read_only);
    let lines = writable.flat_map(|block| block.value.lines()).map(str::to_string);
    let notes = export.passages.into_iter().map(|passage| passage.text);
    Ok(lines.filter(|line| !line.trim().is_empty()).chain(notes).collect())
}

/// The place of one store between runs.
struct Shelf {
    folder: PathBuf,
    key: String,
}

/// What a kept store is.
#[derive(Debug, Serialize, Deserialize)]
struct Label {
    format: u32,
    key: String,
    /// How many of its conversations it has taken in.
    n_done: usize,
    record: ToldRecord,
    /// The checksum of each file.
    files: BTreeMap<String, String>,
}

impl Shelf {
    fn new(folder: &Path, settings: &Settings, memory: &Memory) -> Self {
        let mut settings = serde_json::to_value(settings).unwrap_or_default();
        if let Some(settings) = settings.as_object_mut() {
            // None of them has a part in it: conversations have days of their own.
            settings.retain(|name, _| !["arm", "documents", "now"].contains(&name.as_str()));
        }
        let depends_on = json!({
            "format": FORMAT, "settings": settings, "blocks": memory.blocks, "told": memory.told,
        });
        let key = checksum(depends_on.to_string().as_bytes());
        Self { folder: folder.into(), key }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(format!("told-{}", self.key))
    }

    /// Says what is there; `None` if it is nothing, something else or damaged.
    fn label(&self) -> Option<Label> {
        let path = self.path();
        let label: Label = serde_json::from_slice(&fs::read(path.join(LABEL)).ok()?).ok()?;
        let is_whole = label.format == FORMAT
            && label.key == self.key
            && !label.files.is_empty()
            && label.files.iter().all(|(name, expected)| {
                // A name is of this folder, whoever wrote it.
                !name.contains(['/', '\\'])
                    && fs::read(path.join(name)).is_ok_and(|bytes| checksum(&bytes) == *expected)
            });
        is_whole.then_some(label)
    }

    /// Puts a store there in the place of what was there.
    fn keep(
        &self,
        store: &Path,
        n_done: usize,
        record: &ToldRecord,
    ) -> Result<(), MemoryBenchError> {
        let path = self.path();
        let beside = path.with_extension("new");
        let error = |error: std::io::Error| MemoryBenchError::file(&path, &error);
        for old in [&beside, &path] {
            if old.exists() {
                fs::remove_dir_all(old).map_err(error)?;
            }
        }
        fs::create_dir_all(&beside).map_err(error)?;
        copy_files(store, &beside)?;
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&beside).map_err(error)? {
            let entry = entry.map_err(error)?;
            let bytes = fs::read(entry.path()).map_err(error)?;
            files.insert(entry.file_name().to_string_lossy().into_owned(), checksum(&bytes));
        }
        let key = self.key.clone();
        let label = Label { format: FORMAT, key, n_done, record: record.clone(), files };
        let text = serde_json::to_string(&label).unwrap_or_default();
        fs::write(beside.join(LABEL), text).map_err(error)?;
        fs::rename(&beside, &path).map_err(error)
    }
}

/// FNV-1a: tells damage from what was written, not more.
fn checksum(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    format!("{hash:016x}")
}
