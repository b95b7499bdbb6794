//! Who answers: an agent with its memory, or the same model with one prompt.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use pagewise_agent::{Agent, AgentError, CallRecord, Event, Observer, Plan};
use pagewise_core::{
    Constraint, Finish, FixedClock, GenerationRequest, Message, MessageBody, Prompt, PromptMessage,
    PromptRole, SessionSlot, Status,
};
use pagewise_memory::{Block, Store, StoreError};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::case::{Case, Gold, Keep, Metric};
use super::error::MemoryBenchError;
use super::failure::{evidence_share, has_evidence};
use super::jobs::Tell;
use super::lent_model::{Lender, n_calls, n_invalid_calls};
use super::prepared::{Memories, hear, reset, summary_of_past};
use super::record::{EventRecord, PromptRecord, Settings, steps};
use super::told::{Listening, ToldRecord};

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arm {
    /// The agent, with its memory.
    Memgpt,
    /// The model with one prompt that has as much of the material as fits the window.
    FullContext,
    /// The model with the question alone.
    NoMemory,
    /// The model with one prompt that has the passages which the store's own search finds best.
    Retrieval,
    /// The model with one prompt that has what must be read to answer, and nothing else: what is lost there is not lost
    /// by memory.
    Oracle,
}

impl Arm {
    /// All that there are.
    pub const ALL: &'static [Self] =
        &[Self::Memgpt, Self::FullContext, Self::NoMemory, Self::Retrieval, Self::Oracle];

    /// Returns the name on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memgpt => "memgpt",
            Self::FullContext => "full-context",
            Self::NoMemory => "no-memory",
            Self::Retrieval => "retrieval",
            Self::Oracle => "oracle",
        }
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Arm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|arm| arm.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|arm| arm.name()).collect();
            format!("one of {}", names.join(", "))
        })
    }
}

/// How documents are made to fit a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Truncation {
    /// None is cut; as many as fit, best first.
    #[default]
    Whole,
    /// Each of them gets the same share of the window, in tokens.
    Tokens,
    /// As the paper's code did it: each gets its share in *characters*, a quarter or so of what would
    /// fit, with 1,000 tokens set aside.
    Paper,
}

impl FromStr for Truncation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "whole" => Ok(Self::Whole),
            "tokens" => Ok(Self::Tokens),
            "paper" => Ok(Self::Paper),
            _ => Err("one of whole, tokens, paper".into()),
        }
    }
}

/// The tokens that the paper's code set aside, besides the prompt itself.
const PAPER_PADDING_TOKENS: usize = 1000;

/// What came of a case, before it is scored.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    pub(crate) events: Vec<EventRecord>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) prompt: Option<PromptRecord>,
    pub(crate) told: Option<ToldRecord>,
    pub(crate) told_tokens: Option<usize>,
    /// From the first message to the last reply.
    pub(crate) seconds: f64,
    pub(crate) error: Option<String>,
    pub(crate) is_cancelled: bool,
}

/// What a case is answered with.
pub(crate) struct Answering<'a> {
    pub(crate) lender: &'a Lender,
    pub(crate) memories: &'a mut Memories,
    pub(crate) settings: &'a Settings,
    /// Where what an agent wrote is kept between runs.
    pub(crate) folder: Option<&'a Path>,
    pub(crate) cancelled: &'a AtomicBool,
    pub(crate) tell: &'a mut Tell<'a>,
}

impl Answering<'_> {
    /// Whether the arm needs a store that holds what memory holds.
    pub(crate) fn needs_store(&self, case: &Case) -> bool {
        match self.settings.arm {
            _ if !case.memory.tools.is_empty() => false,
            Arm::Memgpt => true,
            Arm::FullContext | Arm::Retrieval => case.memory.material.keep == Keep::Best,
            Arm::NoMemory | Arm::Oracle => false,
        }
    }

    /// What the clock says when a case begins.
    pub(crate) fn starts(&self, case: &Case) -> Timestamp {
        case.memory.now.unwrap_or(self.settings.now)
    }

    /// Answers a case. What fails in it is in the answer.
    pub(crate) fn answer(&mut self, case: &Case) -> Result<Answered, MemoryBenchError> {
        let mut answered = Answered::default();
        let result = self.prepare(case, &mut answered).and_then(|store| {
            answered.told_tokens = self.told_tokens(case)?;
            self.lender.begin_case();
            let started = Instant::now();
            let result = match store {
                Some(store) => self.with_agent(case, store.path(), &mut answered),
                None if !case.memory.tools.is_empty() => self.with_tools(case, &mut answered),
                None if !case.tasks.is_empty() => self.play(case, &mut answered),
                None => self.with_prompt(case, &mut answered),
            };
            answered.seconds = started.elapsed().as_secs_f64();
            result
        });
        match result {
            Ok(()) => {}
            // The model and the agent fail at one case; a disk that is full would fail at all.
            Err(MemoryBenchError::Agent(AgentError::Store(error))) => return Err(error.into()),
            Err(MemoryBenchError::Agent(error)) => answered.error = Some(error.to_string()),
            Err(MemoryBenchError::Model(error)) => answered.error = Some(error.to_string()),
            Err(error) => return Err(error),
        }
        Ok(answered)
    }

    /// Makes memory ready, which is not part of the case; returns a copy of it if an agent answers.
    fn prepare(
        &mut self,
        case: &Case,
        answered: &mut Answered,
    ) -> Result<Option<TempDir>, MemoryBenchError> {
        if !self.needs_store(case) {
            return Ok(None);
        }
        if case.memory.told.is_empty() {
            let prepared = self.memories.get(&case.memory, self.starts(case))?;
            return (self.settings.arm == Arm::Memgpt).then(|| prepared.copy()).transpose();
        }
        let embedder = Arc::clone(&self.memories.embedder);
        let listening = Listening {
            lender: self.lender,
            embedder: &embedder,
            settings: self.settings,
            folder: self.folder,
            cancelled: self.cancelled,
        };
        let told = self.memories.told(&case.memory, &listening, self.tell)?;
        answered.told = Some(told.record());
        Ok(Some(told.copy()?))
    }

    /// What was told in a game, in tokens.
    fn told_tokens(&self, case: &Case) -> Result<Option<usize>, MemoryBenchError> {
        if case.memory.heard.is_empty() {
            return Ok(None);
        }
        let model = self.lender.lend();
        let told = model.count_tokens(&one_turn(&case.memory.heard.concat().join("\n")))?;
        Ok(Some(told.saturating_sub(model.count_tokens(&one_turn(""))?)))
    }

    fn with_agent(
        &mut self,
        case: &Case,
        folder: &Path,
        answered: &mut Answered,
    ) -> Result<(), MemoryBenchError> {
        let is_told = !case.memory.told.is_empty();
        let mut agent = None;
        for (hour, message) in (0..).zip(&case.messages) {
            // A game is of one day.
            let since = match case.tasks.is_empty() {
                true => SignedDuration::from_hours(hour),
                false => SignedDuration::from_mins(hour),
            };
            let start = self.starts(case) + since;
            if message.after_reset || (is_told && hour == 0) {
                // The agent holds the store's folder until it is gone.
                drop(agent.take());
                let mut store = Store::open(folder, Arc::clone(&self.memories.embedder))?;
                reset(&mut store, summary_of_past(case), start)?;
            }
            let heard = usize::try_from(hour).ok().and_then(|place| case.memory.heard.get(place));
            if let Some(heard) = heard.filter(|heard| !heard.is_empty()) {
                drop(agent.take());
                let mut store = Store::open(folder, Arc::clone(&self.memories.embedder))?;
                hear(&mut store, heard, start)?;
            }
            let open = match agent.take() {
                Some(open) => open,
                None => {
                    let store = Store::open(folder, Arc::clone(&self.memories.embedder))?;
                    let clock = Box::new(FixedClock::new(start, TimeZone::UTC));
                    let config = self.settings.agent.clone();
                    Agent::open(store, self.lender.lend(), clock, config)?
                }
            };
            let open = agent.insert(open);
            let task = usize::try_from(hour).ok().and_then(|place| case.tasks.get(place));
            let queue = task.map(|_| in_view(open.store())).transpose()?;
            let event = Event::UserMessage { text: message.text.clone() };
            let mut seen = Seen::default();
            let outcome = open.handle(event, &mut seen, self.cancelled);
            let in_queue = (task.zip(queue))
                .map(|(task, queue)| still_in(&queue, seen.evicted_before_reply(), &task.gold));
            answered.events.push(EventRecord { in_queue, ..seen.record(self.lender) });
            answered.is_cancelled |= outcome?.error.is_some();
        }
        if let Some(agent) = agent {
            answered.blocks = agent.store().working_context()?.blocks().to_vec();
        }
        Ok(())
    }

    fn with_prompt(
        &mut self,
        case: &Case,
        answered: &mut Answered,
    ) -> Result<(), MemoryBenchError> {
        let model = self.lender.lend();
        let MaterialPrompt { prompt, beginning, n_pieces } = match self.settings.arm {
            Arm::NoMemory => MaterialPrompt::of(one_turn(&case.baseline.alone)),
            _ => self.prompt_with_material(case)?,
        };
        let text = &prompt.messages[0].content;
        let gold = as_pieces(case);
        let n_pieces_all = case.memory.material.pieces.len();
        // Where it is not known what must be read, it is there if everything is, uncut.
        let is_whole = self.settings.arm != Arm::Retrieval
            || self.settings.documents.truncation == Truncation::Whole;
        let has_all =
            gold.metric == Metric::Choice && n_pieces > 0 && n_pieces == n_pieces_all && is_whole;
        answered.prompt = Some(PromptRecord {
            n_pieces,
            n_pieces_all,
            tokens: model.count_tokens(&prompt)?,
            has_evidence: has_all || has_evidence(&gold, std::slice::from_ref(text)),
            evidence_share: evidence_share(&gold, std::slice::from_ref(text)),
        });
        drop(model);
        let reply = self.reply(&prompt, beginning.as_ref(), answered)?;
        answered.events.push(EventRecord { replies: vec![reply], ..EventRecord::default() });
        Ok(())
    }

    /// Has the model answer a prompt, of which the beginning is that of other cases too, if one is given.
    pub(crate) fn reply(
        &mut self,
        prompt: &Prompt,
        beginning: Option<&Prompt>,
        answered: &mut Answered,
    ) -> Result<String, MemoryBenchError> {
        let generation = self.lender.lend().generate(
            &GenerationRequest {
                slot: SessionSlot::MainContext,
                prompt,
                beginning,
                constraint: Constraint::Text { max_chars: self.settings.agent.message_max_chars },
                sampling: &self.settings.agent.sampling,
                seed: self.settings.seed,
                max_tokens: self.answer_tokens(),
                cancelled: self.cancelled,
            },
            &mut |_| ControlFlow::Continue(()),
        )?;
        answered.is_cancelled |= generation.finish == Finish::Cancelled;
        Ok(generation.text.trim().to_string())
    }

    /// Returns the prompt with as much of the material as fits.
    fn prompt_with_material(&mut self, case: &Case) -> Result<MaterialPrompt, MemoryBenchError> {
        let material = &case.memory.material;
        let all: Vec<&str> = material.pieces.iter().map(String::as_str).collect();
        let documents = self.settings.documents;
        if self.settings.arm == Arm::Oracle {
            return self.best_fitting(case, &to_be_read(case));
        }
        if material.keep != Keep::Best {
            let n = self.n_fitting(case, &all, material.keep)?;
            let pieces = kept(&all, n, material.keep);
            let beginning = Some(one_turn(&beginning(case, pieces)));
            return Ok(MaterialPrompt {
                prompt: with_pieces(case, pieces),
                beginning,
                n_pieces: n,
            });
        }
        let takes_all = self.settings.arm == Arm::FullContext;
        let n_max = if takes_all { all.len() } else { documents.n_max.min(all.len()) };
        let prepared = self.memories.get(&case.memory, self.starts(case))?;
        let places = prepared.best_passages(&case.baseline.query, n_max)?;
        let best: Vec<&str> = places.iter().filter_map(|place| all.get(*place).copied()).collect();
        if takes_all {
            return self.best_fitting(case, &best);
        }
        let share = match documents.truncation {
            Truncation::Whole => return self.best_fitting(case, &best),
            Truncation::Tokens => self.share_tokens(case, best.len(), self.answer_tokens())?,
            Truncation::Paper => self.share_tokens(case, best.len(), PAPER_PADDING_TOKENS)?,
        };
        let cut = best
            .iter()
            .map(|text| match documents.truncation {
                Truncation::Paper => Ok(text.chars().take(share).collect()),
                _ => self.first_tokens(text, share),
            })
            .collect::<Result<Vec<String>, MemoryBenchError>>()?;
        let cut: Vec<&str> = cut.iter().map(String::as_str).collect();
        self.best_fitting(case, &cut)
    }

    /// The tokens of the window for each of `n` documents, when the rest of the prompt and `set_aside`
    /// are taken off.
    fn share_tokens(
        &self,
        case: &Case,
        n: usize,
        set_aside: usize,
    ) -> Result<usize, MemoryBenchError> {
        let model = self.lender.lend();
        let around = model.count_tokens(&with_pieces(case, &[]))?;
        Ok(model.context_window_tokens().saturating_sub(around + set_aside) / n.max(1))
    }

    /// The longest beginning of `text` that is at most `n_tokens` long.
    fn first_tokens(&self, text: &str, n_tokens: usize) -> Result<String, MemoryBenchError> {
        let model = self.lender.lend();
        let chars: Vec<char> = text.chars().collect();
        let empty = model.count_tokens(&one_turn(""))?;
        let n_chars = largest(chars.len(), |n| {
            let beginning: String = chars[..n].iter().collect();
            Ok(model.count_tokens(&one_turn(&beginning))?.saturating_sub(empty) <= n_tokens)
        })?;
        Ok(chars[..n_chars].iter().collect())
    }

    /// Returns the prompt with as many of these pieces as fit, best first; other questions have others.
    fn best_fitting(&self, case: &Case, best: &[&str]) -> Result<MaterialPrompt, MemoryBenchError> {
        let n_pieces = self.n_within(case, best, Keep::First, self.prompt_tokens())?;
        Ok(MaterialPrompt { n_pieces, ..MaterialPrompt::of(with_pieces(case, &best[..n_pieces])) })
    }

    /// How many of the pieces fit, from the beginning or from the end.
    ///
    /// What stands around them is taken for a whole number of 32nds of the window, so that for most questions on
    /// one store the same pieces fit, which are then read once.
    pub(crate) fn n_fitting(
        &self,
        case: &Case,
        pieces: &[&str],
        keep: Keep,
    ) -> Result<usize, MemoryBenchError> {
        let part = (self.lender.window_tokens() / 32).max(1);
        let around = self.lender.count_tokens(&with_pieces(case, &[]))?;
        let rounded_up = around.next_multiple_of(part) - around;
        self.n_within(case, pieces, keep, self.prompt_tokens().saturating_sub(rounded_up))
    }

    /// How many of the pieces a prompt of at most so many tokens has room for.
    fn n_within(
        &self,
        case: &Case,
        pieces: &[&str],
        keep: Keep,
        n_tokens: usize,
    ) -> Result<usize, MemoryBenchError> {
        largest(pieces.len(), |n| {
            let prompt = with_pieces(case, kept(pieces, n, keep));
            Ok(self.lender.count_tokens(&prompt)? <= n_tokens)
        })
    }

    /// The longest prompt.
    fn prompt_tokens(&self) -> usize {
        self.lender.window_tokens().saturating_sub(self.answer_tokens())
    }

    /// The room kept for an answer, as the agent keeps it.
    pub(super) fn answer_tokens(&self) -> usize {
        self.settings.agent.answer_tokens.min(self.lender.window_tokens() / 7)
    }
}

/// One prompt that asks everything.
struct MaterialPrompt {
    prompt: Prompt,
    /// Up to the end of the material, if other cases have the same.
    beginning: Option<Prompt>,
    /// Of how many pieces it is.
    n_pieces: usize,
}

impl MaterialPrompt {
    /// Makes one that shares nothing, without material.
    fn of(prompt: Prompt) -> Self {
        Self { prompt, beginning: None, n_pieces: 0 }
    }
}

/// What happened in an event, up to its end or to where it failed.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    plan: Option<Plan>,
    calls: Vec<CallRecord>,
    evicted: usize,
    /// How many messages had left main context at the last reply.
    evicted_at_reply: Option<usize>,
}

impl Observer for Seen {
    fn plan(&mut self, plan: &Plan) {
        self.plan = Some(plan.clone());
    }

    fn call(&mut self, record: &CallRecord) {
        if is_reply(record) {
            self.evicted_at_reply = Some(self.evicted);
        }
        self.calls.push(record.clone());
    }

    fn evicted(&mut self, n_messages: usize) {
        self.evicted += n_messages;
    }
}

impl Seen {
    pub(crate) fn record(self, lender: &Lender) -> EventRecord {
        let written = lender.written();
        let text = |call: &CallRecord| Some(call.arguments.get("message")?.as_str()?.to_string());
        EventRecord {
            plan: self.plan,
            replies: self.calls.iter().filter(|call| is_reply(call)).filter_map(text).collect(),
            n_calls_written: Some(n_calls(&written)),
            n_invalid: n_invalid_calls(&written),
            steps: steps(self.calls, &written),
            evicted: self.evicted,
            in_queue: None,
            prompt: None,
        }
    }

    /// How many of the messages that were in view had left main context when it replied. What it saves after its
    /// reply may flush more.
    fn evicted_before_reply(&self) -> usize {
        self.evicted_at_reply.unwrap_or(self.evicted)
    }
}

fn is_reply(call: &CallRecord) -> bool {
    call.function == "send_message" && call.status == Status::Ok
}

/// What the user said that is in the FIFO queue, oldest first; nothing for a message of another kind.
fn in_view(store: &Store) -> Result<Vec<Option<String>>, StoreError> {
    let messages = store.messages_from(store.queue()?.first_in_view)?;
    let said = |message: Message| match message.body {
        MessageBody::User { text } => Some(text),
        _ => None,
    };
    Ok(messages.into_iter().map(said).collect())
}

/// The texts of the evidence, by their places, that are left in a queue when its `n_evicted` oldest messages are
/// gone.
fn still_in(queue: &[Option<String>], n_evicted: usize, gold: &Gold) -> Vec<usize> {
    let left = queue.get(n_evicted..).unwrap_or_default();
    let is_left = |text: &String| left.iter().flatten().any(|said| said == text);
    let evidence = gold.evidence.iter().enumerate();
    evidence.filter(|(_, text)| is_left(text)).map(|(place, _)| place).collect()
}

/// So many of the pieces, from the beginning or from the end.
pub(crate) fn kept<'a, 'b>(pieces: &'a [&'b str], n: usize, keep: Keep) -> &'a [&'b str] {
    match keep {
        Keep::Last => &pieces[pieces.len() - n..],
        Keep::First | Keep::Best => &pieces[..n],
    }
}

/// The pieces of the material that have what must be read, in their order; none if it is not known what must be.
fn to_be_read(case: &Case) -> Vec<&str> {
    let pieces = case.memory.material.pieces.iter().map(String::as_str);
    let has_it = |piece: &&str| case.gold.evidence.iter().any(|text| piece.contains(text.as_str()));
    pieces.filter(has_it).collect()
}

/// What must be read, in the form that it has in a prompt: a passage is a piece of the material.
fn as_pieces(case: &Case) -> Gold {
    let memory = &case.memory;
    let piece = |text: &String| {
        let place = memory.passages.iter().position(|passage| passage.text == *text);
        place.and_then(|place| memory.material.pieces.get(place)).unwrap_or(text).clone()
    };
    Gold { evidence: case.gold.evidence.iter().map(piece).collect(), ..case.gold.clone() }
}

pub(crate) fn with_pieces(case: &Case, pieces: &[&str]) -> Prompt {
    one_turn(&format!("{}{}", beginning(case, pieces), case.baseline.after))
}

/// What stands before the question.
fn beginning(case: &Case, pieces: &[&str]) -> String {
    format!("{}{}", case.baseline.before, pieces.join(case.memory.material.joiner))
}

pub(crate) fn one_turn(text: &str) -> Prompt {
    Prompt { messages: vec![PromptMessage { role: PromptRole::User, content: text.into() }] }
}

/// Returns the largest number up to `max` for which `fits` holds, which holds for all smaller ones too;
/// 0 if it holds for none.
fn largest(
    max: usize,
    fits: impl Fn(usize) -> Result<bool, MemoryBenchError>,
) -> Result<usize, MemoryBenchError> {
    let (mut low, mut high) = (0, max);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle)? {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Ok(low)
}
