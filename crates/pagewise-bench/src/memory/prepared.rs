//! Memory made ready when a case first needs it, and copied for each.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pagewise_core::{Embedder, FunctionCall, MessageBody, MessageId};
use pagewise_memory::{
    ArchivalQuery, NewPassage, QueueState, SearchMode, Store, StoreError, Summary,
};
use tempfile::TempDir;

use super::case::{Case, Memory, PastSession, PastTurn, Speaker, Tier};
use super::error::MemoryBenchError;
use super::jobs::Tell;
use super::told::{Listening, Told};

/// Prepares memories, and keeps them as long as there are cases that ask about them. Those that an agent wrote
/// it keeps all, for the settings of one run.
pub(crate) struct Memories {
    pub(crate) embedder: Arc<dyn Embedder>,
    prepared: Vec<Prepared>,
    told: Vec<Told>,
}

impl Memories {
    pub(crate) fn new(embedder: Arc<dyn Embedder>) -> Self {
        Self { embedder, prepared: Vec::new(), told: Vec::new() }
    }

    /// Whether this memory is ready for cases that begin at `now`.
    pub(crate) fn has(&self, memory: &Arc<Memory>, now: Timestamp) -> bool {
        self.prepared.iter().any(|prepared| prepared.is_for(memory, now))
    }

    /// Lets go of those that none of these cases asks about: each is a store of its own on the disk.
    pub(crate) fn keep_for(&mut self, cases: &[&Case]) {
        let is_asked =
            |memory: &Arc<Memory>| cases.iter().any(|case| Arc::ptr_eq(&case.memory, memory));
        self.prepared.retain(|prepared| is_asked(&prepared.memory));
    }

    /// Returns this memory, which the agent writes if it has not yet.
    pub(crate) fn told(
        &mut self,
        memory: &Arc<Memory>,
        listening: &Listening<'_>,
        tell: &mut Tell<'_>,
    ) -> Result<&Told, MemoryBenchError> {
        let known = self.told.iter().position(|told| Arc::ptr_eq(&told.memory, memory));
        let place = match known {
            Some(place) => place,
            None => {
                self.told.push(listening.listen(memory, tell)?);
                self.told.len() - 1
            }
        };
        Ok(&self.told[place])
    }

    /// Returns this memory for cases that begin at `now`; it is made ready if it is not.
    pub(crate) fn get(
        &mut self,
        memory: &Arc<Memory>,
        now: Timestamp,
    ) -> Result<&Prepared, MemoryBenchError> {
        let known = self.prepared.iter().position(|one| one.is_for(memory, now));
        let place = match known {
            Some(place) => place,
            None => {
                self.prepared.push(Prepared::new(memory, &self.embedder, now)?);
                self.prepared.len() - 1
            }
        };
        Ok(&self.prepared[place])
    }
}

/// A store that holds what a [`Memory`] says, with all vectors, closed.
pub(crate) struct Prepared {
    memory: Arc<Memory>,
    now: Timestamp,
    folder: TempDir,
    embedder: Arc<dyn Embedder>,
}

impl Prepared {
    fn is_for(&self, memory: &Arc<Memory>, now: Timestamp) -> bool {
        Arc::ptr_eq(&self.memory, memory) && self.now == now
    }

    /// Fills a new store. `now` is when the cases begin.
    fn new(
        memory: &Arc<Memory>,
        embedder: &Arc<dyn Embedder>,
        now: Timestamp,
    ) -> Result<Self, MemoryBenchError> {
        let folder = new_folder()?;
        let mut store = Store::open(folder.path(), Arc::clone(embedder))?;
        store.transact(|tx| {
            for block in &memory.blocks {
                tx.save_block(block, now, None)?;
            }
            for passage in &memory.passages {
                tx.insert_passage(&NewPassage {
                    text: passage.text.clone(),
                    tags: Vec::new(),
                    source: passage.source.clone(),
                    at: now,
                })?;
            }
            for session in &memory.sessions {
                for (minute, turn) in (0..).zip(&session.turns) {
                    tx.append(session.at + SignedDuration::from_mins(minute), body(turn))?;
                }
            }
            Ok(())
        })?;
        hide_messages(&mut store, past_summary(&memory.sessions))?;
        if embedder.dimensions() > 0 {
            store.embed_pending(usize::MAX)?;
        }
        drop(store);
        Ok(Self { memory: Arc::clone(memory), now, folder, embedder: Arc::clone(embedder) })
    }

    /// Copies it for a case.
    pub(crate) fn copy(&self) -> Result<TempDir, MemoryBenchError> {
        let copy = new_folder()?;
        copy_files(self.folder.path(), copy.path())?;
        Ok(copy)
    }

    /// Returns the places, in [`Memory::passages`], of the best `n` passages for a question, best first.
    pub(crate) fn best_passages(&self, question: &str, n: usize) -> Result<Vec<usize>, StoreError> {
        let mut store = Store::open(self.folder.path(), Arc::clone(&self.embedder))?;
        let mode =
            if self.embedder.dimensions() > 0 { SearchMode::Fused } else { SearchMode::Words };
        let page = store.archival_search(&ArchivalQuery {
            words: question.into(),
            tags: Vec::new(),
            page: 1,
            page_size: u32::try_from(n).unwrap_or(u32::MAX),
            mode,
        })?;
        let place = |text: &str| self.memory.passages.iter().position(|held| held.text == text);
        Ok(page.hits.iter().filter_map(|hit| place(&hit.passage.text)).collect())
    }
}

/// Copies the files of a closed store.
pub(crate) fn copy_files(from: &Path, to: &Path) -> Result<(), MemoryBenchError> {
    let error = |error: std::io::Error| MemoryBenchError::file(to, &error);
    for entry in fs::read_dir(from).map_err(error)? {
        let entry = entry.map_err(error)?;
        // The lock is the opener's own.
        if entry.file_type().map_err(error)?.is_file() && entry.file_name() != "lock" {
            fs::copy(entry.path(), to.join(entry.file_name())).map_err(error)?;
        }
    }
    Ok(())
}

/// Takes all messages out of the queue; recall storage keeps them. With a summary at the head of the
/// queue the agent may search them, without one it does not know of them.
fn hide_messages(store: &mut Store, summary: Option<Summary>) -> Result<(), StoreError> {
    let last = store.messages_from(MessageId(i64::MIN))?.last().map_or(0, |message| message.id.0);
    let state = QueueState { first_in_view: MessageId(last + 1), summary, warned: false };
    store.transact(|tx| tx.set_queue(&state))
}

/// Puts what the user says into recall storage and into the queue; the model is not run for it.
pub(crate) fn hear(store: &mut Store, texts: &[String], at: Timestamp) -> Result<(), StoreError> {
    store.transact(|tx| {
        texts.iter().try_for_each(|text| {
            tx.append(at, MessageBody::User { text: text.clone() }).map(|_| ())
        })
    })
}

/// Empties the queue of an agent that has gone: it will know what memory holds, and of conversations what the
/// summary says.
pub(crate) fn reset(
    store: &mut Store,
    summary: Option<Summary>,
    now: Timestamp,
) -> Result<(), StoreError> {
    // An edit is shown as a line of the conversation until the next flush; there is no such line any
    // more, so the blocks are saved as the user's own, which are shown in their place.
    let blocks = store.working_context()?;
    store.transact(|tx| {
        blocks.blocks().iter().try_for_each(|block| tx.save_block(block, now, None))
    })?;
    hide_messages(store, summary)
}

/// What stands at the head of the queue when a case begins, if anything is to be looked up.
pub(crate) fn summary_of_past(case: &Case) -> Option<Summary> {
    match case.memory.told.as_slice() {
        [] => past_summary(&case.memory.sessions),
        told if case.gold.tier == Tier::Recall => {
            let n_messages = told.iter().map(|one| one.turns.len() as u64).sum();
            let days: Vec<Timestamp> = told.iter().map(|one| one.at).collect();
            summary_of_days(&days, n_messages)
        }
        _ => None,
    }
}

fn past_summary(sessions: &[PastSession]) -> Option<Summary> {
    let n_messages = sessions.iter().map(|session| session.turns.len() as u64).sum();
    let days: Vec<Timestamp> = sessions.iter().map(|session| session.at).collect();
    summary_of_days(&days, n_messages)
}

/// What stands at the head of the queue for conversations of the past: that there were any, and nothing
/// of what was said.
fn summary_of_days(days: &[Timestamp], n_messages: u64) -> Option<Summary> {
    let (first, last) = (days.first()?, days.last()?);
    let day = |at: &Timestamp| at.to_zoned(jiff::tz::TimeZone::UTC).date();
    let when = match days.len() {
        1 => format!("There was one conversation with the user, on {}", day(first)),
        n => format!(
            "There were {n} conversations with the user, the first on {}, the last on {}",
            day(first),
            day(last)
        ),
    };
    let text = format!("{when}. What was said is in recall storage.");
    Some(Summary { text, n_messages })
}

fn body(turn: &PastTurn) -> MessageBody {
    let text = turn.text.clone();
    match turn.speaker {
        Speaker::User => MessageBody::User { text },
        Speaker::Assistant => {
            MessageBody::Call(FunctionCall::new("send_message", [("message", text)]))
        }
    }
}

pub(crate) fn new_folder() -> Result<TempDir, MemoryBenchError> {
    tempfile::tempdir()
        .map_err(|error| MemoryBenchError::file(Path::new("a temporary folder"), &error))
}
