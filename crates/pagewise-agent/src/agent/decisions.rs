//! What the model decides about a message beside the steps that it takes; what is asked is in `intake.rs`.

use std::ops::ControlFlow;

use pagewise_core::{
    CallFormat, Constraint, Finish, FunctionCall, GenerationRequest, Sampling, SessionSlot,
};

use super::{Agent, Handling};
use crate::chain::Chain;
use crate::error::AgentError;
use crate::event::Plan;
use crate::intake::{self, Decision};
use crate::main_context::clip;
use crate::reading::{self, READING_MAX_CHARS, Reading};

impl Agent {
    /// Has the model decide what to do first with the message.
    pub(super) fn take_in(
        &mut self,
        chain: &mut Chain,
        handling: &mut Handling<'_>,
    ) -> Result<(), AgentError> {
        if self.config.intake {
            let text = clip(&chain.event_text, self.config.shown_message_chars);
            let decided = self.decide(&intake::intake(&text), handling)?;
            chain.first = decided.map_or(chain.first, |call| intake::read_intake(&call));
            handling.plan(chain);
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
        let Some(start) = chain.trail_start().filter(|_| is_undecided && chain.is_question())
        else {
            return Ok(());
        };
        let text = clip(&chain.event_text, self.config.shown_message_chars);
        let decided = self.decide(&intake::rehearsal(&text, start), handling)?;
        chain.follows = decided.map(|call| intake::read_rehearsal(&call));
        handling.plan(chain);
        Ok(())
    }

    /// Has the model read what its last search has found, if it is to reply next.
    pub(super) fn read(
        &mut self,
        chain: &mut Chain,
        handling: &mut Handling<'_>,
    ) -> Result<(), AgentError> {
        let is_read = chain.reading.is_some() || chain.follows == Some(true);
        let has_searched = chain.is_question() && !chain.found.is_empty();
        if !self.config.reading || is_read || !has_searched {
            return Ok(());
        }
        let mut lines = self.noted_lines();
        lines.extend(chain.found.iter().cloned());
        let text = clip(&chain.event_text, self.config.shown_message_chars);
        let prompt = reading::reading(&text, &lines);
        if self.model.count_tokens(&prompt)? > self.levels.budget_tokens {
            return Ok(());
        }
        let generation = self.model.generate(
            &GenerationRequest {
                slot: SessionSlot::Reading,
                prompt: &prompt,
                constraint: Constraint::Text { max_chars: READING_MAX_CHARS },
                sampling: &self.config.sampling,
                seed: self.answer_seed(),
                max_tokens: self.levels.answer_tokens,
                cancelled: handling.cancelled,
            },
            &mut |_| ControlFlow::Continue(()),
        )?;
        handling.outcome.tokens += generation.tokens;
        if generation.finish != Finish::Cancelled && !generation.text.trim().is_empty() {
            chain.reading = Some(Reading::of(&generation.text, &text, &lines));
            handling.plan(chain);
        }
        Ok(())
    }

    /// What working context says, line by line, but for what the agent is.
    fn noted_lines(&self) -> Vec<String> {
        let blocks = self.working_context.blocks().iter().filter(|block| !block.read_only);
        let lines = blocks.flat_map(|block| self.working_context.lines(&block.label));
        let lines = lines.filter(|line| !line.trim().is_empty());
        lines.map(|line| format!("noted: {line}")).collect()
    }

    /// Has the model make a decision; `None` if the window has no room for it, or it was stopped.
    fn decide(
        &mut self,
        decision: &Decision,
        handling: &mut Handling<'_>,
    ) -> Result<Option<FunctionCall>, AgentError> {
        if self.model.count_tokens(&decision.prompt)? > self.levels.budget_tokens {
            return Ok(None);
        }
        let functions = std::slice::from_ref(&decision.function);
        let format = CallFormat::default();
        let generation = self.model.generate(
            &GenerationRequest {
                slot: SessionSlot::Intake,
                prompt: &decision.prompt,
                constraint: Constraint::Call { functions, format: &format },
                sampling: &Sampling::default(),
                seed: self.config.seed,
                max_tokens: self.levels.answer_tokens,
                cancelled: handling.cancelled,
            },
            &mut |_| ControlFlow::Continue(()),
        )?;
        handling.outcome.tokens += generation.tokens;
        Ok(FunctionCall::parse(&generation.text, functions, &format).ok())
    }
}

impl Handling<'_> {
    fn plan(&mut self, chain: &Chain) {
        let reading = chain.reading.as_ref().map(|reading| reading.answer.clone());
        let plan = Plan { first: chain.first, follows: chain.follows, reading };
        self.observer.plan(&plan);
        self.outcome.plan = Some(plan);
    }
}
