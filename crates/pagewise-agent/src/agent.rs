//! The loop: take an event, put it in the queue, run the model until it yields.

mod decisions;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use pagewise_core::{
    CallFormat, Clock, Constraint, Finish, FunctionCall, FunctionSpec, Generation,
    GenerationRequest, LanguageModel, Message, MessageBody, MessageId, Prompt, SessionSlot, Status,
};
use pagewise_memory::{Block, FifoQueue, QueueState, Store, Summary, WorkingContext};

use crate::chain::{Chain, Task};
use crate::config::{AgentConfig, Heartbeats};
use crate::context_report::{ContextReport, Region};
use crate::error::AgentError;
use crate::event::{CallRecord, ContextUse, Event, Observer, Outcome};
use crate::functions::{self, Done, Effect, Execution, Purpose, State};
use crate::main_context::{MainContext, PRESSURE_WARNING, Shown};
use crate::queue_manager::{Levels, plan_eviction};
use crate::reply_stream::ReplyStream;
use crate::shown_working_context::ShownWorkingContext;
use crate::summary::{Summarised, trim_to_sentence};
use crate::tool_rules::{self, Must};

/// The most steps that a memory pressure warning may take.
const SAVE_STEPS: usize = 2;

/// Tokens for the event and the instruction, each shown as short as can be: below this a window is
/// not worth starting with.
const LEAST_QUEUE_TOKENS: usize = 176;

/// A language model with its memory.
pub struct Agent {
    store: Store,
    model: Box<dyn LanguageModel>,
    clock: Box<dyn Clock>,
    config: AgentConfig,
    levels: Levels,
    working_context: WorkingContext,
    /// How main context shows it.
    shown_working_context: ShownWorkingContext,
    queue: FifoQueue,
    warned: bool,
    /// Of rehearsals, once the model was asked: see [`Agent::even_leaning`].
    even_leaning: Option<f64>,
}

impl Agent {
    /// Opens the agent whose memory is `store`, as it was left.
    ///
    /// Fails with [`AgentError::WindowTooSmall`] if what must always be in main context leaves no
    /// room for a conversation.
    pub fn open(
        mut store: Store,
        model: Box<dyn LanguageModel>,
        clock: Box<dyn Clock>,
        config: AgentConfig,
    ) -> Result<Self, AgentError> {
        let mut working_context = store.working_context()?;
        if working_context.blocks().is_empty() {
            let now = clock.now().timestamp();
            let blocks = first_blocks(&config);
            store.transact(|tx| {
                blocks.iter().try_for_each(|block| tx.save_block(block, now, None))
            })?;
            working_context = store.working_context()?;
        }
        let QueueState { first_in_view, summary, warned } = store.queue()?;
        let queue = FifoQueue::new(summary, store.messages_from(first_in_view)?);
        let summary_max_chars = config.summary_max_chars.min(model.context_window_tokens() / 4);
        let config = AgentConfig { summary_max_chars, ..config };
        let levels = Levels::of(&config, model.context_window_tokens());
        let shown_working_context = ShownWorkingContext::reopened(&store.block_history()?, &queue);
        let agent = Self {
            store,
            model,
            clock,
            config,
            levels,
            working_context,
            shown_working_context,
            queue,
            warned,
            even_leaning: None,
        };
        agent.check_window()?;
        Ok(agent)
    }

    /// Takes an event and runs the model until it yields.
    ///
    /// The event is durable in recall storage before the model runs, and each call is stored
    /// with its effect and its result in one transaction. Setting `cancelled` ends the event
    /// early; what was said so far is kept, and [`Outcome::error`] says so.
    pub fn handle(
        &mut self,
        event: Event,
        observer: &mut dyn Observer,
        cancelled: &AtomicBool,
    ) -> Result<Outcome, AgentError> {
        let started = Instant::now();
        let body = event.into_body(self.store.last_message_at()?);
        if matches!(&body, MessageBody::User { text } if text.trim().is_empty()) {
            return Err(AgentError::EmptyMessage);
        }
        let message = self.remember(body)?;
        let mut handling = Handling { observer, cancelled, started, outcome: Outcome::default() };
        if matches!(message.body, MessageBody::User { .. }) {
            let mut chain = Chain::new(Task::Reply, &message);
            self.take_in(&mut chain, &mut handling)?;
            if !chain.searches {
                self.note(&mut chain, &mut handling)?;
            }
            self.read(&mut chain, &mut handling)?;
            self.run(&mut chain, &mut handling)?;
            // Noted before, what a question says of itself would be found, and taken for its answer.
            if chain.searches && handling.outcome.error.is_none() {
                may_fail(self.note(&mut chain, &mut handling), "what the message tells")?;
            }
        }
        may_fail(self.warn_of_pressure(&mut handling), "the memory pressure warning")?;
        let mut outcome = handling.outcome;
        outcome.context = self.context_use()?;
        outcome.seconds = started.elapsed().as_secs_f64();
        Ok(outcome)
    }

    /// Runs the model for one event: a call a step, until it yields.
    fn run(&mut self, chain: &mut Chain, handling: &mut Handling<'_>) -> Result<(), AgentError> {
        loop {
            let prompt = self.make_room(chain, handling)?;
            // After a flush, which changes what there is to find.
            let functions = tool_rules::permitted(&self.state(chain)?);
            let (generation, said) = self.generate_call(&prompt, &functions, handling)?;
            if generation.finish == Finish::Cancelled {
                return match chain.task {
                    Task::Reply => self.stop_early(said, handling),
                    // The reply is whole; only the saving after it was stopped.
                    Task::Save => Ok(()),
                };
            }
            let format = self.call_format();
            let call =
                FunctionCall::parse(&generation.text, &functions, &format).map_err(|error| {
                    AgentError::InvalidCall {
                        reason: error.to_string(),
                        text: generation.text.clone(),
                    }
                })?;
            chain.n_steps += 1;
            let status = self.execute(&call, chain, handling)?;
            if self.yields(&call, status, chain) {
                return Ok(());
            }
            self.rehearse(chain, handling)?;
            self.read(chain, handling)?;
        }
    }

    /// Whether the model now waits for the next event instead of running again.
    fn yields(&self, call: &FunctionCall, status: Status, chain: &Chain) -> bool {
        let purpose = functions::find(&call.function).map(|function| function.purpose);
        match chain.task {
            Task::Save => status == Status::Ok || chain.n_steps >= SAVE_STEPS,
            Task::Reply if chain.n_steps >= self.config.steps_per_event => true,
            Task::Reply if status == Status::Failed => false,
            Task::Reply if purpose == Some(Purpose::Reply) => true,
            Task::Reply => {
                self.config.heartbeats == Heartbeats::Asked && call.request_heartbeat != Some(true)
            }
        }
    }

    /// Executes a call, and stores it with its effect and its result in one transaction.
    fn execute(
        &mut self,
        call: &FunctionCall,
        chain: &mut Chain,
        handling: &mut Handling<'_>,
    ) -> Result<Status, AgentError> {
        let now = self.clock.now();
        let function = functions::find(&call.function).ok_or_else(|| AgentError::InvalidCall {
            reason: "there is no such function".into(),
            text: call.to_text(),
        })?;
        let mut done = (function.run)(
            call,
            &mut Execution {
                config: &self.config,
                working_context: &self.working_context,
                chain,
                store: &mut self.store,
                now: &now,
            },
        )?;
        if let Effect::SaveBlock(block) = &done.effect
            && !self.leaves_room(block)?
        {
            done = Done::failed(
                call,
                "Working context would take too much of the window: shorten a line with \
                 working_context_replace, or use archival_insert.",
            );
        }
        let Done { result, effect } = done;
        // A reply returns nothing that the model would need to read.
        let result_body =
            (function.purpose != Purpose::Reply).then(|| MessageBody::Result(result.clone()));
        let messages = self.store.transact(|tx| {
            let made = tx.append(now.timestamp(), MessageBody::Call(call.clone()))?;
            match &effect {
                Effect::None => {}
                Effect::SaveBlock(block) => tx.save_block(block, now.timestamp(), Some(made.id))?,
                Effect::InsertPassage(passage) => {
                    tx.insert_passage(passage)?;
                }
            }
            let returned = result_body.map(|body| tx.append(now.timestamp(), body)).transpose()?;
            Ok([Some(made), returned])
        })?;
        if let (Effect::SaveBlock(_), [Some(made), _]) = (&effect, &messages) {
            self.working_context = self.store.working_context()?;
            self.shown_working_context.add_edit(made.id);
        }
        messages.into_iter().flatten().for_each(|message| self.queue.push(message));
        chain.record(function.purpose, call, &result);
        let record = CallRecord::new(call, &result);
        if function.purpose == Purpose::Reply {
            handling.outcome.replies.push(call.text("message").to_string());
            handling.observer.reply_end();
        }
        handling.observer.call(&record);
        handling.outcome.calls.push(record);
        Ok(result.status)
    }

    /// Has the model write one call; returns it with what it says to the user.
    fn generate_call(
        &mut self,
        prompt: &Prompt,
        functions: &[FunctionSpec],
        handling: &mut Handling<'_>,
    ) -> Result<(Generation, String), AgentError> {
        let format = self.call_format();
        let request = GenerationRequest {
            slot: SessionSlot::MainContext,
            prompt,
            beginning: None,
            constraint: Constraint::Call { functions, format: &format },
            sampling: &self.config.sampling,
            seed: self.answer_seed(),
            max_tokens: self.model.context_window_tokens(),
            cancelled: handling.cancelled,
        };
        let asked_after = handling.started.elapsed();
        let mut reply = ReplyStream::default();
        let mut said = String::new();
        let observer = &mut *handling.observer;
        let generation = self.model.generate(&request, &mut |piece| {
            let text = reply.push(piece);
            if !text.is_empty() {
                observer.reply_piece(&text);
                said.push_str(&text);
            }
            ControlFlow::Continue(())
        })?;
        if !generation.thoughts.is_empty() {
            handling.observer.thoughts(&generation.thoughts);
        }
        handling.outcome.tokens += generation.tokens;
        if let (None, Some(took)) = (handling.outcome.first_token_seconds, generation.first_token) {
            handling.outcome.first_token_seconds = Some((asked_after + took).as_secs_f64());
        }
        Ok((generation, said))
    }

    /// Keeps what was said until the user stopped it.
    fn stop_early(&mut self, said: String, handling: &mut Handling<'_>) -> Result<(), AgentError> {
        handling.outcome.error = Some("stopped by the user".into());
        if said.is_empty() {
            return Ok(());
        }
        let call = FunctionCall::new(functions::SEND_MESSAGE.name, [("message", said.as_str())]);
        self.remember(MessageBody::Call(call))?;
        handling.outcome.replies.push(said);
        handling.observer.reply_end();
        Ok(())
    }

    /// Stores a message, then puts it in the queue.
    fn remember(&mut self, body: MessageBody) -> Result<Message, AgentError> {
        let now = self.clock.now().timestamp();
        let message = self.store.transact(|tx| tx.append(now, body))?;
        self.queue.push(message.clone());
        Ok(message)
    }

    /// Warns the model once, while it can still save what matters.
    fn warn_of_pressure(&mut self, handling: &mut Handling<'_>) -> Result<(), AgentError> {
        if self.warned
            || handling.outcome.error.is_some()
            || self.tokens_in_view(Shown::of(&self.config))? < self.levels.warning_tokens
        {
            return Ok(());
        }
        let alert = self.remember(MessageBody::SystemAlert { text: PRESSURE_WARNING.into() })?;
        self.warned = true;
        self.save_queue()?;
        self.run(&mut Chain::new(Task::Save, &alert), handling)
    }

    /// Returns the prompt of the next step, after a flush if it would not fit.
    ///
    /// If even then it does not fit, its long messages and results are shown shorter, and say so.
    fn make_room(
        &mut self,
        chain: &Chain,
        handling: &mut Handling<'_>,
    ) -> Result<Prompt, AgentError> {
        let budget = self.levels.budget_tokens;
        let mut shown = Shown::of(&self.config);
        let mut prompt = self.prompt_for(chain, shown)?;
        if self.model.count_tokens(&prompt)? > budget && self.flush(chain, handling)? {
            prompt = self.prompt_for(chain, shown)?;
        }
        while self.model.count_tokens(&prompt)? > budget {
            if shown == Shown::LEAST {
                return Err(self.window_too_small(self.model.count_tokens(&prompt)?));
            }
            shown = shown.halved();
            prompt = self.prompt_for(chain, shown)?;
        }
        Ok(prompt)
    }

    /// Evicts the oldest messages and puts a new recursive summary at the head of the queue.
    /// Returns whether anything could be evicted.
    fn flush(&mut self, chain: &Chain, handling: &mut Handling<'_>) -> Result<bool, AgentError> {
        let shown = Shown::of(&self.config);
        let working_context = ShownWorkingContext::whole(&self.working_context);
        let must = tool_rules::must(&self.state(chain)?);
        let n_evicted = plan_eviction(
            &self.queue,
            Some(chain.event),
            &self.config,
            self.levels.budget_tokens,
            |n| {
                let mut rest = self.queue.clone();
                rest.evict(n);
                let chain = Some(chain);
                self.count(&self.render(&working_context, &rest, chain, shown, must))
            },
        )?;
        if n_evicted == 0 {
            return Ok(false);
        }
        let evicted: Vec<Message> = self.queue.messages().take(n_evicted).cloned().collect();
        let old = self.queue.summary().cloned();
        let text = self.summarise(old.as_ref().map(|old| old.text.as_str()), &evicted, handling)?;
        if handling.cancelled.load(Ordering::Relaxed) {
            // Stopped: nothing leaves, and the step that follows is cancelled before it begins.
            return Ok(false);
        }
        let n_messages = old.map_or(0, |old| old.n_messages) + evicted.len() as u64;

        self.queue.evict(n_evicted);
        self.queue.set_summary(Summary { text: text.clone(), n_messages });
        self.warned = false;
        let now = self.clock.now().timestamp();
        let state = self.queue_state(MessageId(evicted.last().map_or(0, |last| last.id.0) + 1));
        let record = self.store.transact(|tx| {
            tx.set_queue(&state)?;
            tx.append(now, MessageBody::Summary { text, n_messages })
        })?;
        self.queue.push(record);
        self.shown_working_context = working_context;
        handling.outcome.evicted += evicted.len();
        handling.observer.evicted(evicted.len());
        Ok(true)
    }

    /// Has the model fold the evicted messages into the summary.
    fn summarise(
        &mut self,
        old: Option<&str>,
        evicted: &[Message],
        handling: &mut Handling<'_>,
    ) -> Result<String, AgentError> {
        let summarised = Summarised { old, evicted };
        let max_chars = self.config.summary_max_chars;
        let mut message_chars = self.config.shown_message_chars;
        let mut prompt = summarised.prompt(max_chars, message_chars);
        while self.model.count_tokens(&prompt)? > self.levels.budget_tokens {
            if message_chars <= Shown::LEAST.message_chars {
                return Ok(summarised.by_rule(max_chars));
            }
            message_chars /= 2;
            prompt = summarised.prompt(max_chars, message_chars);
        }
        let text = self.write_text(SessionSlot::Summary, &prompt, max_chars, handling)?;
        Ok(text
            .filter(|text| summarised.shrinks_to(text))
            .unwrap_or_else(|| summarised.by_rule(max_chars)))
    }

    /// Has the model write a text of at most so many characters; `None` if it was stopped.
    fn write_text(
        &mut self,
        slot: SessionSlot,
        prompt: &Prompt,
        max_chars: usize,
        handling: &mut Handling<'_>,
    ) -> Result<Option<String>, AgentError> {
        let generation = self.model.generate(
            &GenerationRequest {
                slot,
                prompt,
                beginning: None,
                constraint: Constraint::Text { max_chars },
                sampling: &self.config.sampling,
                seed: self.answer_seed(),
                max_tokens: self.levels.answer_tokens,
                cancelled: handling.cancelled,
            },
            &mut |_| ControlFlow::Continue(()),
        )?;
        handling.outcome.tokens += generation.tokens;
        Ok(match generation.finish {
            Finish::Complete => Some(generation.text.trim().to_string()),
            Finish::Budget => Some(trim_to_sentence(&generation.text).to_string()),
            Finish::Cancelled => None,
        })
    }

    /// Has the model keep what it has read, so that the agent need not read it again when it is
    /// opened the next time. Nothing depends on that; memory is durable without it.
    pub fn close(mut self, cancelled: &AtomicBool) -> Result<(), AgentError> {
        let shown = self.shown_now()?;
        let prompt =
            self.render(&self.shown_working_context, &self.queue, None, shown, Must::Anything);
        Ok(self.model.keep(&prompt, cancelled)?)
    }

    /// Returns what main context is spent on.
    pub fn context(&self) -> Result<ContextReport, AgentError> {
        let empty = FifoQueue::new(None, Vec::new());
        let only_summary = FifoQueue::new(self.queue.summary().cloned(), Vec::new());
        let no_blocks = ShownWorkingContext::default();
        let shown = self.shown_now()?;
        let stages = [
            ("system instructions", &no_blocks, &empty),
            ("working context", &self.shown_working_context, &empty),
            ("recursive summary", &self.shown_working_context, &only_summary),
            ("FIFO queue", &self.shown_working_context, &self.queue),
        ];
        let mut regions = Vec::new();
        let mut used = 0;
        for (name, working_context, queue) in stages {
            let prompt = self.render(working_context, queue, None, shown, Must::Anything);
            let total = self.model.count_tokens(&prompt)?;
            regions.push(Region { name, tokens: total.saturating_sub(used) });
            used = total;
        }
        Ok(ContextReport {
            regions,
            used,
            window: self.model.context_window_tokens(),
            warning: self.levels.warning_tokens,
            budget: self.levels.budget_tokens,
            messages_in_view: self.queue.len(),
            messages_evicted: self.queue.summary().map_or(0, |summary| summary.n_messages),
        })
    }

    /// Returns main context as the model would read it now, turn by turn.
    pub fn prompt(&self) -> Result<String, AgentError> {
        let shown = self.shown_now()?;
        let prompt =
            self.render(&self.shown_working_context, &self.queue, None, shown, Must::Anything);
        let turns: Vec<String> = prompt
            .messages
            .iter()
            .map(|turn| format!("--- {:?}\n{}", turn.role, turn.content))
            .collect();
        Ok(turns.join("\n"))
    }

    /// Returns the agent's memory.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the agent's memory for a search, which may have to embed first.
    pub fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    fn context_use(&self) -> Result<ContextUse, AgentError> {
        let used = self.tokens_in_view(self.shown_now()?)?;
        Ok(ContextUse { used, window: self.model.context_window_tokens() })
    }

    /// How much can be shown between events: as before a step, what does not fit is shown shorter.
    fn shown_now(&self) -> Result<Shown, AgentError> {
        let mut shown = Shown::of(&self.config);
        while shown != Shown::LEAST && self.tokens_in_view(shown)? > self.levels.budget_tokens {
            shown = shown.halved();
        }
        Ok(shown)
    }

    fn tokens_in_view(&self, shown: Shown) -> Result<usize, AgentError> {
        self.count(&self.render(
            &self.shown_working_context,
            &self.queue,
            None,
            shown,
            Must::Anything,
        ))
    }

    fn state<'a>(&'a self, chain: &'a Chain) -> Result<State<'a>, AgentError> {
        Ok(State {
            config: &self.config,
            working_context: &self.working_context,
            chain,
            has_evicted: self.queue.summary().is_some(),
            n_passages: self.store.n_passages()?,
        })
    }

    fn prompt_for(&self, chain: &Chain, shown: Shown) -> Result<Prompt, AgentError> {
        let must = tool_rules::must(&self.state(chain)?);
        let working_context = &self.shown_working_context;
        Ok(self.render(working_context, &self.queue, Some(chain), shown, must))
    }

    fn render(
        &self,
        working_context: &ShownWorkingContext,
        queue: &FifoQueue,
        chain: Option<&Chain>,
        shown: Shown,
        must: Must,
    ) -> Prompt {
        MainContext {
            config: &self.config,
            working_context,
            queue,
            chain,
            with_examples: self.model.context_window_tokens()
                >= self.config.examples_from_window_tokens,
            must,
            now: &self.clock.now(),
            shown,
        }
        .prompt()
    }

    fn count(&self, prompt: &Prompt) -> Result<usize, AgentError> {
        Ok(self.model.count_tokens(prompt)?)
    }

    /// Whether main context still has room for a conversation with this block in place.
    fn leaves_room(&self, block: &Block) -> Result<bool, AgentError> {
        let mut edited = self.working_context.clone();
        edited.set(block.clone());
        Ok(self.least_tokens(&edited)? <= self.levels.budget_tokens)
    }

    fn check_window(&self) -> Result<(), AgentError> {
        let needed = self.least_tokens(&self.working_context)?;
        if needed > self.levels.budget_tokens {
            return Err(self.window_too_small(needed));
        }
        Ok(())
    }

    /// The tokens of what is always in main context, and of the least conversation.
    fn least_tokens(&self, working_context: &WorkingContext) -> Result<usize, AgentError> {
        let summary =
            Summary { text: "x ".repeat(self.config.summary_max_chars / 4), n_messages: 0 };
        let queue = FifoQueue::new(Some(summary), Vec::new());
        let shown = ShownWorkingContext::whole(working_context);
        let prompt = self.render(&shown, &queue, None, Shown::LEAST, Must::Anything);
        Ok(self.count(&prompt)? + LEAST_QUEUE_TOKENS)
    }

    fn window_too_small(&self, prompt_tokens: usize) -> AgentError {
        AgentError::WindowTooSmall {
            window_tokens: self.model.context_window_tokens(),
            needed_tokens: prompt_tokens + self.levels.answer_tokens,
        }
    }

    fn call_format(&self) -> CallFormat {
        CallFormat { thought_max_chars: self.config.thought_max_chars }
    }

    /// Seeds an answer by what it answers, so that a restart does not change it.
    fn answer_seed(&self) -> u64 {
        let last = self.queue.messages().last().map_or(0, |message| message.id.0.unsigned_abs());
        self.config.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(last)
    }

    fn queue_state(&self, first_in_view: MessageId) -> QueueState {
        QueueState { first_in_view, summary: self.queue.summary().cloned(), warned: self.warned }
    }

    fn save_queue(&mut self) -> Result<(), AgentError> {
        let state = QueueState { warned: self.warned, ..self.store.queue()? };
        self.store.transact(|tx| tx.set_queue(&state))?;
        Ok(())
    }
}

/// Passes on only what went wrong with memory itself: the reply stands, whether the model could save something
/// after it or not.
fn may_fail(saved: Result<(), AgentError>, what: &str) -> Result<(), AgentError> {
    match saved {
        Err(error @ (AgentError::Model(_) | AgentError::WindowTooSmall { .. })) => {
            tracing::warn!(%error, "nothing was saved: {what}");
            Ok(())
        }
        result => result,
    }
}

/// An event while it is handled.
struct Handling<'a> {
    observer: &'a mut dyn Observer,
    cancelled: &'a AtomicBool,
    started: Instant,
    outcome: Outcome,
}

/// The blocks of a new agent's working context (MemGPT paper, section 2.1: facts about the user,
/// and the agent's own persona).
fn first_blocks(config: &AgentConfig) -> [Block; 2] {
    [
        Block {
            label: "persona".into(),
            description: "who you are".into(),
            value: config.persona.clone(),
            limit_chars: config.persona_block_chars,
            read_only: true,
        },
        Block {
            label: "human".into(),
            description: "what you know about the user".into(),
            value: String::new(),
            limit_chars: config.human_block_chars,
            read_only: false,
        },
    ]
}
