//! Runs cases, one after the other or several at once, and records each as it is done.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pagewise_core::Embedder;

use super::arm::{Answering, Arm};
use super::case::{Case, Memory, fingerprint};
use super::error::MemoryBenchError;
use super::failure::Failure;
use super::jobs::{News, Queue, Taken, Tell, at_once};
use super::lent_model::Lender;
use super::made_by::MadeBy;
use super::nearness;
use super::prepared::Memories;
use super::record::{Record, RecordFile, Settings};
use super::score::Score;

/// Watches a run. Every method does nothing by default.
pub trait RunObserver {
    /// A case begins: `n_done` of `n` are done, `n_recorded` of them in an earlier run.
    fn begin(&mut self, _id: &str, _n_done: usize, _n_recorded: usize, _n: usize) {}
    /// So many of the cases failed in an earlier run, and are run again.
    fn again(&mut self, _n_failed: usize) {}
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
    jobs: Vec<Job<'a>>,
    cancelled: &'a AtomicBool,
}

impl<'a> Runner<'a> {
    /// Creates what runs as many cases at once as there are lenders, each with a model of its own, all of the
    /// same weights. `embedder` embeds passages and messages; where nothing is searched by meaning it has no
    /// dimensions. Setting `cancelled` stops a run; where several cases are run at once, a failed run sets it too.
    pub fn new(
        lenders: &'a [Lender],
        embedder: &Arc<dyn Embedder>,
        cancelled: &'a AtomicBool,
    ) -> Self {
        let job = |lender| {
            let memories = Memories::new(Arc::clone(embedder));
            Job { lender, memories, cancelled, made_by: None, store: None }
        };
        Self { jobs: lenders.iter().map(job).collect(), cancelled }
    }

    /// Has each record say what makes it.
    #[must_use]
    pub fn made_by(mut self, made_by: &MadeBy) -> Self {
        self.jobs.iter_mut().for_each(|job| job.made_by = Some(made_by.clone()));
        self
    }

    /// Runs those of `cases` that have no record in `folder`, or one that says that they failed, and returns
    /// the records of all, in order. Records of other settings, or of other cases with the same names, are an error.
    /// Without a folder nothing is written. In the file, records are in the order
    /// in which cases were done.
    ///
    /// A case is run as if it were the only one: with a copy of its memory, and a model that has
    /// forgotten the case before. So its record does not depend on which cases were run with it, but for the
    /// time and the tokens of what all decisions on messages begin with, which are the first one's, and for the
    /// time of reading the material that prompts share. Cases that are asked of one memory are run one after
    /// the other.
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
            let opened = RecordFile::open(folder, settings, cases)?;
            file = Some(opened.file);
            recorded = opened.records;
            if opened.n_left_out > 0 {
                observer.again(opened.n_left_out);
            }
        }
        let cases = distinct(cases, settings.arm);
        let find = |case: &Case| recorded.iter().find(|record| record.case.id == case.id).cloned();
        let records: Vec<Option<Record>> = cases.iter().copied().map(find).collect();
        let numbered = cases.into_iter().enumerate();
        let queue = Queue::new(numbered.filter(|(place, _)| records[*place].is_none()));
        let n_recorded = records.iter().flatten().count();
        let mut desk = Desk { file, records, n_recorded, n_done: n_recorded, observer };
        let work = |job: &mut Job<'_>, number: usize, tell: &mut Tell<'_>| {
            while let Some(taken) = queue.take(number) {
                job.run(&taken, settings, folder, tell)?;
            }
            Ok(())
        };
        match self.jobs.as_mut_slice() {
            // It needs no other thread, and what it tells has only just happened.
            [job] => work(job, 0, &mut |news| desk.take_in(news))?,
            jobs => at_once(jobs, self.cancelled, work, |news| desk.take_in(news))?,
        }
        Ok(desk.records.into_iter().flatten().collect())
    }
}

/// Where everything comes together that happens in a run.
struct Desk<'a> {
    file: Option<RecordFile>,
    /// The records of all cases, as far as they are done.
    records: Vec<Option<Record>>,
    n_recorded: usize,
    n_done: usize,
    observer: &'a mut dyn RunObserver,
}

impl Desk<'_> {
    /// Writes down what is to be kept, and tells the observer.
    fn take_in(&mut self, news: News) -> Result<(), MemoryBenchError> {
        match news {
            News::Begun { id } => {
                self.observer.begin(&id, self.n_done, self.n_recorded, self.records.len());
            }
            News::Preparing { n_texts } => self.observer.preparing(n_texts),
            News::Telling { n_done, n } => self.observer.telling(n_done, n),
            News::Ended { place, record } => {
                if let Some(file) = &mut self.file {
                    file.add(&record)?;
                }
                self.observer.end(&record);
                self.n_done += 1;
                self.records[place] = Some(*record);
            }
        }
        Ok(())
    }
}

/// What runs one case after the other.
struct Job<'a> {
    lender: &'a Lender,
    memories: Memories,
    cancelled: &'a AtomicBool,
    made_by: Option<MadeBy>,
    /// The memory of the last case, and its hash.
    store: Option<(Arc<Memory>, String)>,
}

impl Job<'_> {
    fn run(
        &mut self,
        taken: &Taken<'_>,
        settings: &Settings,
        folder: Option<&Path>,
        tell: &mut Tell<'_>,
    ) -> Result<(), MemoryBenchError> {
        if self.is_cancelled() {
            return Err(MemoryBenchError::Cancelled);
        }
        tell(News::Begun { id: taken.case.id.clone() })?;
        self.memories.keep_for(&taken.left);
        let record = self.run_case(taken.case, settings, folder, tell)?;
        tell(News::Ended { place: taken.place, record: Box::new(record) })
    }

    fn run_case(
        &mut self,
        case: &Case,
        settings: &Settings,
        folder: Option<&Path>,
        tell: &mut Tell<'_>,
    ) -> Result<Record, MemoryBenchError> {
        let mut answering = Answering {
            lender: self.lender,
            memories: &mut self.memories,
            settings,
            folder,
            cancelled: self.cancelled,
            tell,
        };
        let n_turns: usize = case.memory.sessions.iter().map(|one| one.turns.len()).sum();
        let n_texts = case.memory.passages.len() + n_turns;
        let is_ready = answering.memories.has(&case.memory, answering.starts(case));
        if n_texts > 0 && answering.needs_store(case) && !is_ready {
            (answering.tell)(News::Preparing { n_texts })?;
        }
        let answered = answering.answer(case)?;
        if answered.is_cancelled || self.is_cancelled() {
            return Err(MemoryBenchError::Cancelled);
        }
        let is_whole = answered.error.is_none() && answered.events.len() == case.messages.len();
        let last = answered.events.last().filter(|_| is_whole);
        let reply = match answered.prompt {
            // The other arms have one prompt, however many messages there are.
            Some(_) => answered.events.last().map(|event| event.replies.join("\n")),
            None => last.map(|event| event.replies.join("\n")),
        };
        let reply = reply.unwrap_or_default();
        let nearness = nearness::measure(
            &*self.memories.embedder,
            &case.gold,
            case.messages.last().map_or("", |message| &message.text),
            &reply,
        )?;
        let mut record = Record {
            settings: settings.clone(),
            made_by: self.made_by.clone(),
            case: case.clone(),
            reply,
            events: answered.events,
            blocks: answered.blocks,
            store: self.store_of(case),
            prompt: answered.prompt,
            asked: settings.asked(case),
            nearness,
            told: answered.told,
            told_tokens: answered.told_tokens,
            tokens: self.lender.tokens(),
            seconds: answered.seconds,
            error: answered.error,
            score: Score::default(),
            failure: Failure::default(),
            judged: Vec::new(),
        };
        record.grade();
        Ok(record)
    }

    /// Returns what tells the store of this case from others; empty if memory holds nothing in which two
    /// cases could be alike.
    fn store_of(&mut self, case: &Case) -> String {
        let memory = &case.memory;
        let is_known = self.store.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, memory));
        if !is_known {
            self.store = Some((Arc::clone(memory), hash(memory)));
        }
        self.store.as_ref().map(|(_, hash)| hash.clone()).unwrap_or_default()
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

/// Hashes what memory holds, but for who the agent is: that is the same in many stores.
fn hash(memory: &Memory) -> String {
    // Tools are offered and not held.
    let Memory { blocks, passages, sessions, told, heard, material, tools: _, now: _ } = memory;
    let blocks = blocks.iter().filter(|block| !block.read_only).map(|block| &*block.value);
    let passages = passages.iter().map(|passage| &*passage.text);
    let turns = sessions.iter().flat_map(|session| &session.turns).map(|turn| &*turn.text);
    let told = told.iter().flat_map(|one| &one.turns).map(String::as_str);
    let heard = heard.iter().flatten().map(String::as_str);
    let pieces = material.pieces.iter().map(String::as_str);
    let mut held = passages.chain(turns).chain(told).chain(heard).chain(pieces).peekable();
    if held.peek().is_none() {
        return String::new();
    }
    fingerprint(blocks.chain(held))
}
