//! What the model decides, notes and reads beside the steps that it takes; what is asked is in `intake.rs`,
//! `noting.rs` and `reading.rs`.

use std::ops::ControlFlow;

use pagewise_core::{
    CallFormat, Constraint, Finish, FunctionCall, GenerationRequest, Sampling, SessionSlot, Status,
    WeighingRequest,
};

use super::{Agent, Handling};
use crate::chain::Chain;
use crate::config::Rendering;
use crate::error::AgentError;
use crate::event::Plan;
use crate::functions::recall::{said, whose};
use crate::functions::working_context::{content_words, read_only_text, writable_lines};
use crate::intake::{self, Decision, First, Rehearsal};
use crate::main_context::clip;
use crate::message_parts::{asked, told};
use crate::noting::{self, NOTING_MAX_TOKENS};
use crate::reading::{self, READ_MESSAGES_MAX, Reading};
use crate::relative_days::with_days;
use crate::tool_rules;

impl Agent {
    /// Has the model decide whether to search for what the message wants, and whether to save what it tells.
    pub(super) fn take_in(
        &mut self,
        chain: &mut Chain,
        handling: &mut Handling<'_>,
    ) -> Result<(), AgentError> {
        if !self.config.intake {
            return Ok(());
        }
        let Some(first) = self.first_with(&chain.event_text, handling)? else { return Ok(()) };
        (chain.searches, chain.saves) = (first == First::Search, first == First::Save);
        // One decision is one answer: a message that asks and tells is decided by its other part as well.
        if let Some(told) = told(&chain.event_text).filter(|_| self.config.noting) {
            if first == First::Save {
                let asked = asked(&chain.event_text);
                chain.searches = self.first_with(&asked, handling)? == Some(First::Search);
            } else {
                chain.saves = self.first_with(&told, handling)? == Some(First::Save);
            }
        }
        handling.plan(chain);
        Ok(())
    }

    fn first_with(
        &mut self,
        text: &str,
        handling: &mut Handling<'_>,
    ) -> Result<Option<First>, AgentError> {
        let intake = intake::intake(&clip(text, self.config.shown_message_chars));
        let budget = self.levels.answer_tokens;
        let decided = self.decide(SessionSlot::Intake, &intake, budget, handling)?;
        Ok(decided.map(|Decided { call, .. }| intake::read_intake(&call)))
    }

    /// Has the model note what the message tells, and keeps each fact by a call.
    pub(super) fn note(
        &mut self,
        chain: &mut Chain,
        handling: &mut Handling<'_>,
    ) -> Result<(), AgentError> {
        if !self.config.noting || !chain.saves {
            return Ok(());
        }
        let told = told(&chain.event_text).filter(|_| chain.searches);
        let told = told.as_ref().unwrap_or(&chain.event_text);
        let told = clip(told, self.config.shown_message_chars);
        let noting = noting::noting(&told, &self.config);
        let decided = self.decide(SessionSlot::Noting, &noting, NOTING_MAX_TOKENS, handling)?;
        let facts = decided.map_or_else(Vec::new, |Decided { call, is_cut }| {
            noting::read_noting(&call, &told, is_cut)
        });
        let today = self.clock.now().date();
        for fact in facts {
            let keeping = noting::keeping(&fact, today, &self.state(chain)?);
            if self.execute(&keeping, chain, handling)? == Status::Failed {
                self.execute(&noting::archiving(&fact, today), chain, handling)?;
            }
        }
        Ok(())
    }

    /// Has the model decide whether to search for what a search for an identifier has found, once.
    pub(super) fn rehearse(
        &mut self,
        chain: &mut Chain,
        handling: &mut Handling<'_>,
    ) -> Result<(), AgentError> {
        let is_undecided = self.config.intake && chain.follows.is_none();
        let Some(start) = chain.trail_start().filter(|_| is_undecided && chain.searches) else {
            return Ok(());
        };
        let text = clip(&chain.event_text, self.config.shown_message_chars);
        let rehearsal = Rehearsal::of(&text, &start);
        let Some(even) = self.even_leaning(handling)? else { return Ok(()) };
        let leaning = self.leaning(&rehearsal, handling)?;
        chain.follows = leaning.map(|leaning| leaning > even);
        handling.plan(chain);
        Ok(())
    }

    /// How the model leans where a request wants the one as much as the other: on an average of plain ones.
    fn even_leaning(&mut self, handling: &mut Handling<'_>) -> Result<Option<f64>, AgentError> {
        if self.even_leaning.is_none() {
            let mut leanings = Vec::new();
            for rehearsal in Rehearsal::plain() {
                let Some(leaning) = self.leaning(&rehearsal, handling)? else { return Ok(None) };
                leanings.push(leaning);
            }
            self.even_leaning = Some(leanings.iter().sum::<f64>() / leanings.len() as f64);
        }
        Ok(self.even_leaning)
    }

    /// How much likelier the model makes the end of a trail than what stands next, as a logarithm; `None` if the
    /// window has no room to ask, or it was stopped.
    fn leaning(
        &mut self,
        rehearsal: &Rehearsal,
        handling: &mut Handling<'_>,
    ) -> Result<Option<f64>, AgentError> {
        if self.model.count_tokens(&rehearsal.prompt)? > self.levels.budget_tokens {
            return Ok(None);
        }
        let examples = rehearsal.prompt.without_last_turn();
        let weighing = self.model.weigh(&WeighingRequest {
            slot: SessionSlot::Rehearsal,
            prompt: &rehearsal.prompt,
            beginning: Some(&examples),
            answers: &rehearsal.answers,
            cancelled: handling.cancelled,
        })?;
        handling.outcome.tokens += weighing.tokens;
        Ok(match weighing.log_probabilities.as_deref() {
            Some([next, end]) => Some(end - next),
            _ => None,
        })
    }

    /// Has the model read what its searches have found, and what it has noted: of a question, once it has
    /// searched, or at once if there is nothing to search. Not if it follows a trail, of which only the end is
    /// wanted.
    pub(super) fn read(
        &mut self,
        chain: &mut Chain,
        handling: &mut Handling<'_>,
    ) -> Result<(), AgentError> {
        // The transcript shows what was called and returned, and nothing in its place.
        let reads = self.config.reading && self.config.rendering == Rendering::Frame;
        if !reads || !chain.searches || chain.reading.is_some() || chain.follows == Some(true) {
            return Ok(());
        }
        let is_new = chain.read_before.is_none() || chain.n_read < chain.found.len();
        let mut reading = if is_new { self.read_unread(chain, handling)? } else { None };
        if let Some(reading) = &mut reading {
            reading.is_answer = self.is_answer(&reading.answer, chain, handling)?;
            reading.searches_on = !reading.is_answer;
        }
        // If there is nothing new, what was read before is all there is to say.
        let before = chain.read_before.take();
        let before = before.map(|before| Reading { searches_on: false, ..before });
        chain.reading = reading.or(before);
        if chain.reading.is_some() {
            handling.plan(chain);
        }
        Ok(())
    }

    /// Has the model read the lines that it has not read yet, among others; `None` if there are none, or the window
    /// has no room for any.
    fn read_unread(
        &mut self,
        chain: &mut Chain,
        handling: &mut Handling<'_>,
    ) -> Result<Option<Reading>, AgentError> {
        let asked = clip(&asked(&chain.event_text), self.config.shown_message_chars);
        let noted = writable_lines(&self.working_context);
        let persona = read_only_text(&self.working_context);
        if chain.found.is_empty() {
            let wanted = content_words(&asked);
            let is_about = |line: &String| !content_words(line).is_disjoint(&wanted);
            if self.state(chain)?.has_more() || !noted.iter().any(is_about) {
                return Ok(None);
            }
        }
        let mut lines: Vec<String> = noted.iter().map(|line| reading::noted(line)).collect();
        lines.extend(self.said_about(&asked, chain));
        let mut n_in_view = lines.len();
        // Small models take the last line of a few for the answer, so what was found stands there.
        let found = chain.unread().into_iter().filter(|line| !lines.contains(line));
        lines.extend(found.collect::<Vec<_>>());
        let request = match chain.way() {
            // Put like a fact that the user gives, it is taken as the start, and not found once more.
            Some(before) => before.before(&asked),
            None => asked,
        };
        let request = with_days(&request, self.clock.now().date());
        chain.n_read = chain.found.len();
        let max_chars = self.config.message_max_chars;
        let mut prompt = reading::reading(&request, &lines, &persona);
        while self.count(&prompt)? > self.levels.budget_tokens {
            // Main context has what is in view anyway; of what was found, the best stands first.
            if n_in_view > 0 {
                lines.drain(..n_in_view);
                n_in_view = 0;
            } else {
                lines.pop();
                // The line that led on may be one that was not found.
                chain.n_read = chain.n_read.saturating_sub(1);
            }
            if lines.is_empty() {
                return Ok(None);
            }
            prompt = reading::reading(&request, &lines, &persona);
        }
        let text = self.write_text(SessionSlot::Reading, &prompt, max_chars, handling)?;
        // What a call's text may have, so that it can be one.
        let written = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
        let text = text.map(|text| text.chars().filter(written).collect::<String>());
        let text = text.filter(|text| !text.is_empty());
        Ok(text.map(|text| Reading::of(&text, &chain.event_text, &lines)))
    }

    /// Has the model decide whether what it has read is an answer, if it could search on; not if it was asked
    /// already whether what was found leads on.
    fn is_answer(
        &mut self,
        answer: &str,
        chain: &Chain,
        handling: &mut Handling<'_>,
    ) -> Result<bool, AgentError> {
        let is_decided = !self.config.checking || chain.follows.is_some();
        if is_decided || !tool_rules::may_search_on(&self.state(chain)?) {
            return Ok(true);
        }
        let asked = clip(&asked(&chain.event_text), self.config.shown_message_chars);
        let checking = reading::checking(&asked, answer);
        let budget = self.levels.answer_tokens;
        let decided = self.decide(SessionSlot::Checking, &checking, budget, handling)?;
        Ok(decided.is_none_or(|Decided { call, .. }| reading::read_checking(&call)))
    }

    /// What was said in the conversation in view that has a word of what is asked, and was not found: the
    /// latest few messages.
    fn said_about(&self, asked: &str, chain: &Chain) -> Vec<String> {
        let time_zone = self.clock.now().time_zone().clone();
        let wanted = content_words(asked);
        let before = self.queue.messages().take_while(|message| message.id < chain.event);
        let about = before.filter_map(|message| {
            let text = message.body.spoken()?;
            let is_about = !content_words(text).is_disjoint(&wanted);
            let text = said(message, text, self.config.shown_result_chars, &time_zone);
            is_about.then(|| format!("{}: {text}", whose(message, &time_zone)))
        });
        let mut about: Vec<String> = about.filter(|line| !chain.found.contains(line)).collect();
        about.split_off(about.len().saturating_sub(READ_MESSAGES_MAX))
    }

    /// Has the model make a decision in at most so many tokens; `None` if the window has no room for it, or it
    /// was stopped.
    fn decide(
        &mut self,
        slot: SessionSlot,
        decision: &Decision,
        max_tokens: usize,
        handling: &mut Handling<'_>,
    ) -> Result<Option<Decided>, AgentError> {
        let n_asked = self.model.count_tokens(&decision.prompt)?;
        if n_asked > self.levels.budget_tokens {
            return Ok(None);
        }
        let functions = std::slice::from_ref(&decision.function);
        let format = CallFormat::default();
        let examples = decision.prompt.without_last_turn();
        let generation = self.model.generate(
            &GenerationRequest {
                slot,
                prompt: &decision.prompt,
                beginning: Some(&examples),
                constraint: Constraint::Call { functions, format: &format },
                sampling: &Sampling::default(),
                seed: self.config.seed,
                max_tokens: max_tokens.min(self.model.context_window_tokens() - n_asked),
                cancelled: handling.cancelled,
            },
            &mut |_| ControlFlow::Continue(()),
        )?;
        handling.outcome.tokens += generation.tokens;
        let is_cut = generation.finish == Finish::Budget;
        let call = FunctionCall::parse(&generation.text, functions, &format).ok();
        Ok(call.map(|call| Decided { call, is_cut }))
    }
}

/// A decision that the model has made.
struct Decided {
    call: FunctionCall,
    /// Whether it ran out of tokens, and the grammar closed it.
    is_cut: bool,
}

impl Handling<'_> {
    fn plan(&mut self, chain: &Chain) {
        let reading = chain.reading.as_ref().map(|reading| reading.answer.clone());
        let plan =
            Plan { searches: chain.searches, saves: chain.saves, follows: chain.follows, reading };
        self.observer.plan(&plan);
        self.outcome.plan = Some(plan);
    }
}
