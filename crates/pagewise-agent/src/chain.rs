//! The calls that one event sets off, as far as they have got (MemGPT paper, section 2.4:
//! function chaining).

use std::collections::BTreeSet;

use pagewise_core::{FunctionCall, FunctionResult, Message, MessageBody, MessageId, Role, Status};
use pagewise_memory::{PassageId, WorkingContext, identifiers};

use crate::functions::{
    Purpose,
    recall::page_of,
    working_context::{one_line, writable_lines},
};
use crate::message_parts::{has_question_mark, told};
use crate::reading::Reading;

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
    /// Whether the user wants something that memory may hold.
    pub(crate) searches: bool,
    /// Whether the user tells something to remember.
    pub(crate) saves: bool,
    /// Whether what a search finds is to be searched for in turn, until nothing more is found; `None` as
    /// long as that was not asked.
    pub(crate) follows: Option<bool>,
    /// Identifiers that searches have shown and that were not searched for, the latest last.
    pub(crate) leads: Vec<String>,
    /// The lines that searches have shown, in order, each once.
    pub(crate) found: Vec<String>,
    /// What was read in them since the last search.
    pub(crate) reading: Option<Reading>,
    /// What was read before the last search, if the model searched on from there.
    pub(crate) read_before: Option<Reading>,
    /// How many of the lines that were found have been read.
    pub(crate) n_read: usize,
    /// Identifiers that were searched for, in order.
    pub(crate) searched: Vec<String>,
    /// Lines of working context that were written for this event.
    pub(crate) noted: Vec<String>,
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
    /// The words of the last search of recall storage, and who spoke that it was confined to.
    pub(crate) last_search: Option<(String, Option<Role>)>,
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
            searches: has_question_mark(&event_text),
            saves: false,
            follows: None,
            leads: Vec::new(),
            found: Vec::new(),
            reading: None,
            read_before: None,
            n_read: 0,
            searched: Vec::new(),
            noted: Vec::new(),
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
            last_search: None,
        }
    }

    /// The identifiers in what the user said.
    pub(crate) fn identifiers(&self) -> Vec<String> {
        identifiers(&self.event_text)
    }

    /// The end of the trail that was followed: what was searched for last, when nothing leads further.
    pub(crate) fn trail_end(&self) -> Option<&str> {
        let is_followed = self.follows == Some(true) && self.leads.is_empty();
        self.searched.last().filter(|_| is_followed).map(String::as_str)
    }

    /// Takes note of a line that a search shows: whose text it is and when, and the text.
    pub(crate) fn show(&mut self, whose: &str, text: &str) -> String {
        let line = format!("{whose}: {text}");
        for lead in identifiers(text) {
            if !holds(&self.searched, &lead) && !holds(&self.leads, &lead) {
                self.leads.push(lead);
            }
        }
        let shown = format!("- {line}");
        if !self.found.contains(&line) {
            self.found.push(line);
        }
        shown
    }

    /// What was read, if it is a reply: an answer to a message that says nothing but what it asks. What else it says,
    /// such as in which language it wants to be answered, was not in view where it was read.
    pub(crate) fn answer(&self) -> Option<&str> {
        let reading = self.reading.as_ref().filter(|reading| reading.is_answer);
        let reading = reading.filter(|_| told(&self.event_text).is_none());
        reading.map(|reading| reading.answer.as_str())
    }

    /// What was read on the way to the answer, before the last search.
    pub(crate) fn way(&self) -> Option<&Reading> {
        self.read_before.as_ref().filter(|before| before.leads_on())
    }

    /// The lines that were found and are to be read: on the way to the answer the one that led on, and those that
    /// are new.
    pub(crate) fn unread(&self) -> Vec<String> {
        match self.way() {
            None => self.found.clone(),
            Some(before) => {
                let new = self.found.iter().skip(self.n_read).cloned();
                before.source.iter().cloned().chain(new).collect()
            }
        }
    }

    /// The identifier that the user named, as it is written there, that was searched for, and that has led to others.
    pub(crate) fn trail_start(&self) -> Option<String> {
        let first = self.searched.first()?;
        let start = self.identifiers().into_iter().find(|asked| asked.eq_ignore_ascii_case(first));
        start.filter(|_| !self.leads.is_empty())
    }

    /// Takes note of what is searched for.
    pub(crate) fn search_for(&mut self, words: &str) {
        for identifier in identifiers(words) {
            self.leads.retain(|lead| !lead.eq_ignore_ascii_case(&identifier));
            if !holds(&self.searched, &identifier) {
                self.searched.push(identifier);
            }
        }
    }

    /// The lines that the model can change and has not written for this event: what one message tells does not
    /// outdate what else it tells.
    pub(crate) fn lines_before(&self, working_context: &WorkingContext) -> Vec<String> {
        let mut lines = writable_lines(working_context);
        lines.retain(|line| !self.noted.contains(line));
        lines
    }

    /// Counts a call that was executed.
    pub(crate) fn record(
        &mut self,
        purpose: Purpose,
        call: &FunctionCall,
        result: &FunctionResult,
    ) {
        let succeeded = result.status == Status::Ok;
        match purpose {
            Purpose::Search => {
                self.n_searches += 1;
                self.read_before = self.reading.take().filter(|reading| reading.searches_on);
            }
            Purpose::Edit if succeeded => {
                self.n_edits += 1;
                let written = ["text", "new"].map(|name| one_line(call.text(name)));
                self.noted.extend(written.into_iter().filter(|line| !line.is_empty()));
            }
            Purpose::Edit => self.n_refused_edits += 1,
            Purpose::Reply => {}
        }
        let repeated = self.last.as_ref().is_some_and(|(last, _)| is_same(last, call));
        self.n_repeats = if repeated { self.n_repeats + 1 } else { 0 };
        self.last = Some((call.clone(), result.clone()));
    }
}

fn holds(identifiers: &[String], identifier: &str) -> bool {
    identifiers.iter().any(|other| other.eq_ignore_ascii_case(identifier))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_begins_where_the_user_says_whatever_case_it_was_searched_in() {
        let body = MessageBody::User { text: "What is AB12CD34 in the end?".into() };
        let event = Message { id: MessageId(1), at: Default::default(), body };
        let mut chain = Chain::new(Task::Reply, &event);
        chain.search_for("ab12cd34");
        assert_eq!(chain.trail_start(), None, "it has led to nothing");
        chain.show("archival storage", "Entry: ab12cd34 = ef56ab78");
        assert_eq!(chain.trail_start().as_deref(), Some("AB12CD34"));
    }
}
