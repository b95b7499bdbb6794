//! One call of a function that is not the agent's own: written under the grammar as the agent writes its
//! calls, or as free text.

use std::ops::ControlFlow;

use pagewise_core::{
    CallFormat, Constraint, Finish, FunctionCall, GenerationRequest, ModelError, SessionSlot,
    Status,
};

use super::arm::{Answered, Answering, Arm};
use super::case::Case;
use super::error::MemoryBenchError;
use super::lent_model::{n_calls, n_invalid_calls};
use super::record::{EventRecord, PromptRecord, Step};
use super::tasks::function_calls;

impl Answering<'_> {
    /// Answers a case whose functions are not the agent's own. The reply is what was written.
    pub(super) fn with_tools(
        &mut self,
        case: &Case,
        answered: &mut Answered,
    ) -> Result<(), MemoryBenchError> {
        let agent = &self.settings.agent;
        let tools = &case.memory.tools;
        let specs =
            function_calls::specs(tools, agent.message_max_chars).map_err(ModelError::Grammar)?;
        let request = case.messages.last().map(|message| &*message.text).unwrap_or_default();
        let prompt = function_calls::prompt(&specs, request);
        let format = CallFormat { thought_max_chars: agent.thought_max_chars };
        let mut model = self.lender.lend();
        answered.prompt = Some(PromptRecord {
            n_pieces: tools.len(),
            n_pieces_all: tools.len(),
            tokens: model.count_tokens(&prompt)?,
            has_evidence: true,
            evidence_share: None,
        });
        let constraint = match self.settings.arm {
            Arm::Memgpt => Constraint::Call { functions: &specs, format: &format },
            _ => Constraint::Text { max_chars: agent.message_max_chars },
        };
        let generation = model.generate(
            &GenerationRequest {
                slot: SessionSlot::MainContext,
                prompt: &prompt,
                beginning: None,
                constraint,
                sampling: &agent.sampling,
                seed: self.settings.seed,
                max_tokens: self.answer_tokens(),
                cancelled: self.cancelled,
            },
            &mut |_| ControlFlow::Continue(()),
        )?;
        answered.is_cancelled = generation.finish == Finish::Cancelled;
        let written = self.lender.written();
        let (n_calls_written, n_invalid) = (Some(n_calls(&written)), n_invalid_calls(&written));
        let steps = written.into_iter().filter_map(|written| {
            let FunctionCall { function, arguments, .. } = written.call?;
            Some(Step {
                functions: written.functions.unwrap_or_default(),
                function,
                arguments,
                // Nothing is executed: the call itself is what counts.
                status: Status::Ok,
                result: String::new(),
                tokens: written.tokens,
                seconds: written.seconds,
                by_runtime: false,
            })
        });
        answered.events.push(EventRecord {
            steps: steps.collect(),
            n_calls_written,
            n_invalid,
            replies: vec![generation.text.trim().to_string()],
            ..EventRecord::default()
        });
        Ok(())
    }
}
