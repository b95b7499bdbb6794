//! The calls that one event sets off, as far as they have got (MemGPT paper, section 2.4:
//! function chaining).

use std::collections::BTreeSet;

use pagewise_core::{FunctionCall, FunctionResult, Message, MessageBody, MessageId, Status};
use pagewise_memory::PassageId;

use crate::functions::{Purpose, recall::page_of};

/// What the chain is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// The user is to be answered; the chain ends with a reply.
    Reply,
    /// Main context is nearly full; the chain ends when something was saved.
    Save,
}

/// One event and the calls made for it.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) task: Task,
    /// The message that the event became.
    pub(crate) event: MessageId,
    /// What the user said; empty if the event is not a user message.
    pub(crate) event_text: String,
    pub(crate) n_steps: usize,
    pub(crate) n_searches: usize,
    /// Edits that were made.
    pub(crate) n_edits: usize,
    /// Edits that were refused.
    pub(crate) n_refused_edits: usize,
    /// The last call was the same as the one before it, so often in a row.
    pub(crate) n_repeats: usize,
    pub(crate) last: Option<(FunctionCall, FunctionResult)>,
    /// What searches of this chain have shown, so that a later one says what is new.
    pub(crate) shown_messages: BTreeSet<MessageId>,
    pub(crate) shown_passages: BTreeSet<PassageId>,
    /// The pages that the last search had.
    pub(crate) n_pages: u32,
}

impl Chain {
    pub(crate) fn new(task: Task, event: &Message) -> Self {
        let event_text = match &event.body {
            MessageBody::User { text } => text.clone(),
            _ => String::new(),
        };
        Self {
            task,
            event: event.id,
            event_text,
            n_steps: 0,
            n_searches: 0,
            n_edits: 0,
            n_refused_edits: 0,
            n_repeats: 0,
            last: None,
            shown_messages: BTreeSet::new(),
            shown_passages: BTreeSet::new(),
            n_pages: 1,
        }
    }

    /// Whether the user asks something. A question mark in any script is the only sign that
    /// needs no language.
    pub(crate) fn is_question(&self) -> bool {
        self.event_text.contains(['?', '？', '؟', '՞'])
    }

    /// Counts a call that was executed.
    pub(crate) fn record(
        &mut self,
        purpose: Purpose,
        call: &FunctionCall,
        result: &FunctionResult,
    ) {
        self.n_steps += 1;
        let succeeded = result.status == Status::Ok;
        match purpose {
            Purpose::Search => self.n_searches += 1,
            Purpose::Edit if succeeded => self.n_edits += 1,
            Purpose::Edit => self.n_refused_edits += 1,
            Purpose::Reply => {}
        }
        let repeated = self.last.as_ref().is_some_and(|(last, _)| is_same(last, call));
        self.n_repeats = if repeated { self.n_repeats + 1 } else { 0 };
        self.last = Some((call.clone(), result.clone()));
    }
}

/// Whether two calls ask for the same; a search that names no page asks for the first.
fn is_same(a: &FunctionCall, b: &FunctionCall) -> bool {
    let others = |call: &FunctionCall| {
        let mut arguments = call.arguments.clone();
        arguments.shift_remove("page");
        arguments
    };
    a.function == b.function && page_of(a) == page_of(b) && others(a) == others(b)
}
