//! Runs cases, one after the other, and records each as it is done.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use pagewise_core::Embedder;

use super::arm::{Answering, Arm};
use super::case::Case;
use super::error::MemoryBenchError;
use super::failure::Failure;
use super::lent_model::Lender;
use super::prepared::Memories;
use super::record::{Record, RecordFile, Settings};
use super::score::Score;

/// Watches a run. Every method does nothing by default.
pub trait RunObserver {
    /// A case begins: `n_done` of `n` are done, `n_recorded` of them in an earlier run.
    fn begin(&mut self, _id: &str, _n_done: usize, _n_recorded: usize, _n: usize) {}
    /// Memory is filled and embedded, which takes its time: so many texts.
    fn preparing(&mut self, _n_texts: usize) {}
    /// The agent has a conversation that memory comes of: `n_done` of `n` are over.
    fn telling(&mut self, _n_done: usize, _n: usize) {}
    /// A case is done.
    fn end(&mut self, _record: &Record) {}
}

impl RunObserver for () {}

/// What runs cases.
pub struct Runner<'a> {
    lender: &'a Lender,
    memories: Memories,
    cancelled: &'a AtomicBool,
}

impl<'a> Runner<'a> {
    /// Creates what runs cases on a model. `embedder` embeds passages and messages; where nothing is
    /// searched by meaning it has no dimensions. `now` is what the agent's clock says when a case begins.
    /// Setting `cancelled` stops a run.
    pub fn new(
        lender: &'a Lender,
        embedder: Arc<dyn Embedder>,
        now: Timestamp,
        cancelled: &'a AtomicBool,
    ) -> Self {
        Self { lender, memories: Memories::new(embedder, now), cancelled }
    }

    /// Runs those of `cases` that have no record in `folder`, and returns the records of all, in order.
    /// Without a folder nothing is written.
    ///
    /// A case is run as if it were the only one: with a copy of its memory, and a model that has
    /// forgotten the case before. So its record does not depend on which cases were run with it.
    pub fn run(
        &mut self,
        cases: &[Case],
        settings: &Settings,
        folder: Option<&Path>,
        observer: &mut dyn RunObserver,
    ) -> Result<Vec<Record>, MemoryBenchError> {
        let mut file = None;
        let mut recorded = Vec::new();
        if let Some(folder) = folder {
            let (opened, records) = RecordFile::open(folder, settings)?;
            file = Some(opened);
            recorded = records;
        }
        let cases = distinct(cases, settings.arm);
        let find = |case: &Case| recorded.iter().find(|record| record.case.id == case.id);
        let n_recorded = cases.iter().filter(|case| find(case).is_some()).count();
        let mut records = Vec::with_capacity(cases.len());
        for case in cases.iter().copied() {
            if let Some(record) = find(case) {
                records.push(record.clone());
                continue;
            }
            if self.is_cancelled() {
                return Err(MemoryBenchError::Cancelled);
            }
            observer.begin(&case.id, records.len(), n_recorded, cases.len());
            let record = self.run_case(case, settings, folder, observer)?;
            if let Some(file) = &mut file {
                file.add(&record)?;
            }
            observer.end(&record);
            records.push(record);
        }
        Ok(records)
    }

    fn run_case(
        &mut self,
        case: &Case,
        settings: &Settings,
        folder: Option<&Path>,
        observer: &mut dyn RunObserver,
    ) -> Result<Record, MemoryBenchError> {
        let mut answering = Answering {
            lender: self.lender,
            memories: &mut self.memories,
            settings,
            folder,
            cancelled: self.cancelled,
            observer,
        };
        let n_turns: usize = case.memory.sessions.iter().map(|one| one.turns.len()).sum();
        let n_texts = case.memory.passages.len() + n_turns;
        if n_texts > 0 && answering.needs_store(case) && !answering.memories.has(&case.memory) {
            answering.observer.preparing(n_texts);
        }
        let answered = answering.answer(case)?;
        if answered.is_cancelled || self.is_cancelled() {
            return Err(MemoryBenchError::Cancelled);
        }
        let last = answered.events.last().filter(|_| answered.events.len() == case.messages.len());
        let reply = match answered.prompt {
            // The other arms have one prompt, however many messages there are.
            Some(_) => answered.events.last().map(|event| event.replies.join("\n")),
            None => last.map(|event| event.replies.join("\n")),
        };
        let mut record = Record {
            settings: settings.clone(),
            case: case.clone(),
            reply: reply.unwrap_or_default(),
            events: answered.events,
            blocks: answered.blocks,
            prompt: answered.prompt,
            told: answered.told,
            told_tokens: answered.told_tokens,
            tokens: self.lender.tokens(),
            seconds: answered.seconds,
            error: answered.error,
            score: Score::default(),
            failure: Failure::default(),
        };
        record.grade();
        Ok(record)
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// The cases that an arm can tell apart: without an agent there is nothing to look up, and a question that
/// is asked both with and without what was said is the same question.
fn distinct(cases: &[Case], arm: Arm) -> Vec<&Case> {
    let mut distinct: Vec<&Case> = Vec::new();
    for case in cases {
        let is_same = |other: &&Case| {
            Arc::ptr_eq(&other.memory, &case.memory) && other.baseline == case.baseline
        };
        if arm == Arm::Memgpt || case.memory.told.is_empty() || !distinct.iter().any(is_same) {
            distinct.push(case);
        }
    }
    distinct
}
