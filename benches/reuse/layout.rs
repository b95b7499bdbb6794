//! What main context's layout costs: the tokens that are read again after one edit and after one flush.
//!
//! Nothing goes through a model. The answers are by rule, and the tokens that a KV cache would hold are
//! counted as a session counts them, so the figures depend on the tokenizer and on nothing else.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use jiff::tz::TimeZone;
use pagewise_agent::{Agent, AgentConfig, Event, Outcome, Rendering};
use pagewise_core::{
    ArgumentKind, Clock, Constraint, Finish, FixedClock, FunctionCall, FunctionSpec, Generation,
    GenerationRequest, LanguageModel, ModelError, Prompt, SessionSlot, TokenUsage, Weighing,
    WeighingRequest,
};
use pagewise_infer::{ChatTemplate, LoadedModel, Tokenizer, Weights};
use pagewise_memory::Store;
use pagewise_testkit::HashEmbedder;
use serde_json::Value;

use crate::{CLOCK, median};

/// The edit comes when main context has so much of the window: before the memory pressure warning.
const EDIT_FRACTION: f64 = 0.6;

const REPLY: &str =
    "That sounds good. Tell me more about it when you find the time, I am listening.";
const NOTE: &str = "Has a dachshund that is called Pretzel.";
const SUMMARY: &str =
    "The user told of everyday life, of a dog and of cooking, and asked for ideas.";

/// Small, so that a script is long enough for a flush.
const WINDOW_TOKENS: usize = 2048;

/// Measures each layout with what the user says in `turns`, questions left out: these ask for a search
/// after a flush.
pub(crate) fn measure(model: &Path, turns: &[String]) -> Result<()> {
    let weights = Weights::open(model)?;
    let (tokenizer, template) = LoadedModel::check(&weights)?;
    let language = Arc::new((tokenizer, template));
    let turns: Vec<&str> =
        turns.iter().map(String::as_str).filter(|turn| !turn.contains('?')).collect();
    println!("layout: prompt tokens that a step reads, by rule, window {WINDOW_TOKENS}");
    for rendering in [Rendering::Frame, Rendering::Transcript] {
        for edit in [Edit::AsALine, Edit::InPlace] {
            let read = Talk::open(&language, WINDOW_TOKENS, rendering)?.run(&turns, edit)?;
            let Read { main_context, usual, after_edit, summary, after_flush } = read;
            println!(
                "  {rendering:?}, edits {}: usually {usual:.0}; after an edit {after_edit} of \
                 {main_context}; after a flush {after_flush}, and {summary} for the summary",
                edit.words()
            );
        }
    }
    Ok(())
}

/// How main context shows an edit.
#[derive(Clone, Copy, PartialEq)]
enum Edit {
    /// The model's own: as a line at the end of the conversation.
    AsALine,
    /// The user's: in its place before the conversation.
    InPlace,
}

impl Edit {
    fn words(self) -> &'static str {
        match self {
            Self::AsALine => "as a line at the end",
            Self::InPlace => "in their place",
        }
    }
}

/// Prompt tokens.
struct Read {
    /// In view when the edit was made.
    main_context: usize,
    /// By the first step of an event, the median of those before the edit.
    usual: f64,
    /// By the first step after the edit.
    after_edit: usize,
    /// By the summariser at the first flush.
    summary: usize,
    /// By the first step after that flush.
    after_flush: usize,
}

type Language = Arc<(Tokenizer, ChatTemplate)>;

/// What a KV cache would hold, and what each request read, in order.
#[derive(Default)]
struct Cache {
    held: HashMap<SessionSlot, Vec<u32>>,
    read: Vec<(SessionSlot, usize)>,
    /// Whether the next call is to be an edit.
    edits: bool,
}

struct Talk {
    agent: Agent,
    /// Outlives the agent, as a process would.
    cache: Arc<Mutex<Cache>>,
    language: Language,
    window_tokens: usize,
    config: AgentConfig,
    folder: tempfile::TempDir,
}

impl Talk {
    fn open(language: &Language, window_tokens: usize, rendering: Rendering) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = AgentConfig { rendering, ..AgentConfig::default() };
        let cache = Arc::default();
        let agent = open_agent(&cache, language, window_tokens, &config, folder.path())?;
        let language = Arc::clone(language);
        Ok(Self { agent, cache, language, window_tokens, config, folder })
    }

    fn run(mut self, turns: &[&str], edit: Edit) -> Result<Read> {
        let mut turns = turns.iter();
        let mut usual = Vec::new();
        let mut used = 0;
        while (used as f64) < EDIT_FRACTION * self.window_tokens as f64 {
            let (outcome, read) = self.say(turns.next().context("more turns")?)?;
            usual.extend(read.first().map(|(_, n_tokens)| *n_tokens as f64));
            used = outcome.context.used;
        }
        let next = turns.next().context("more turns")?;
        let read = match edit {
            Edit::AsALine => {
                self.cache.lock().unwrap_or_else(PoisonError::into_inner).edits = true;
                let (outcome, read) = self.say(next)?;
                ensure!(outcome.calls.len() == 2, "an edit and a reply: {:?}", outcome.calls);
                read[1..].to_vec()
            }
            Edit::InPlace => {
                self = self.with_users_edit()?;
                self.say(next)?.1
            }
        };
        let after_edit = read.first().context("a step after the edit")?.1;
        // The first event has nothing in the cache.
        let usual = median(&mut usual[1..]);
        for turn in turns {
            let (outcome, read) = self.say(turn)?;
            if outcome.evicted > 0 {
                let at = read.iter().position(|(slot, _)| *slot == SessionSlot::Summary);
                let at = at.context("a summary")?;
                let (_, after_flush) = *read.get(at + 1).context("a step after the flush")?;
                let summary = read[at].1;
                return Ok(Read { main_context: used, usual, after_edit, summary, after_flush });
            }
        }
        anyhow::bail!("the window was never full")
    }

    /// Has the agent answer; returns what each request read as well.
    fn say(&mut self, text: &str) -> Result<(Outcome, Vec<(SessionSlot, usize)>)> {
        let event = Event::UserMessage { text: text.into() };
        let outcome = self.agent.handle(event, &mut (), &AtomicBool::new(false))?;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((outcome, std::mem::take(&mut cache.read)))
    }

    /// Puts a line into working context as a user does, and goes on with the same cache.
    fn with_users_edit(self) -> Result<Self> {
        let Self { agent, cache, language, window_tokens, config, folder } = self;
        drop(agent);
        let mut store = Store::open(folder.path(), Arc::new(HashEmbedder::new()))?;
        let mut block =
            store.working_context()?.block("human").context("a block of the user's")?.clone();
        block.value = NOTE.into();
        let now = clock()?.now().timestamp();
        store.transact(|tx| tx.save_block(&block, now, None))?;
        drop(store);
        let agent = open_agent(&cache, &language, window_tokens, &config, folder.path())?;
        Ok(Self { agent, cache, language, window_tokens, config, folder })
    }
}

fn open_agent(
    cache: &Arc<Mutex<Cache>>,
    language: &Language,
    window_tokens: usize,
    config: &AgentConfig,
    folder: &Path,
) -> Result<Agent> {
    let (cache, language) = (Arc::clone(cache), Arc::clone(language));
    let model = Counting { cache, language, window_tokens };
    let store = Store::open(folder, Arc::new(HashEmbedder::new()))?;
    Ok(Agent::open(store, Box::new(model), Box::new(clock()?), config.clone())?)
}

fn clock() -> Result<FixedClock> {
    Ok(FixedClock::new(CLOCK.parse()?, TimeZone::UTC))
}

/// Answers by rule, and counts what it would have to read.
struct Counting {
    cache: Arc<Mutex<Cache>>,
    language: Language,
    window_tokens: usize,
}

impl Counting {
    fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>, ModelError> {
        let (tokenizer, template) = &*self.language;
        Ok(tokenizer.encode_rendered(&template.render(prompt)?))
    }
}

impl LanguageModel for Counting {
    fn context_window_tokens(&self) -> usize {
        self.window_tokens
    }

    fn count_tokens(&self, prompt: &Prompt) -> Result<usize, ModelError> {
        Ok(self.encode(prompt)?.len())
    }

    fn generate(
        &mut self,
        request: &GenerationRequest<'_>,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation, ModelError> {
        let mut tokens = self.encode(request.prompt)?;
        let n_prompt = tokens.len();
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let held = cache.held.get(&request.slot).map_or(&[][..], Vec::as_slice);
        let kept = held.iter().zip(&tokens).take_while(|(a, b)| a == b).count();
        // The last token always runs.
        let reused = kept.min(n_prompt - 1);
        let text = match request.constraint {
            Constraint::Text { max_chars } => SUMMARY.chars().take(max_chars).collect(),
            Constraint::Call { functions, .. } => call(functions, &mut cache.edits).to_text(),
        };
        tokens.extend(self.language.0.encode(&text));
        cache.held.insert(request.slot, tokens);
        cache.read.push((request.slot, n_prompt - reused));
        let _ = on_text(&text);
        Ok(Generation {
            text,
            thoughts: String::new(),
            finish: Finish::Complete,
            tokens: TokenUsage { prefilled: n_prompt - reused, reused, ..TokenUsage::default() },
            first_token: None,
        })
    }

    fn weigh(&mut self, request: &WeighingRequest<'_>) -> Result<Weighing, ModelError> {
        // No conversation here names an identifier that leads to another.
        let even = vec![0.0; request.answers.len()];
        Ok(Weighing { log_probabilities: Some(even), tokens: TokenUsage::default() })
    }
}

/// An edit if that is wanted, else a reply, else whatever there is.
fn call(functions: &[FunctionSpec], edits: &mut bool) -> FunctionCall {
    let find = |name: &str| functions.iter().find(|function| function.name == name);
    let edit = find("working_context_append").filter(|_| std::mem::take(edits));
    let spec = edit.or_else(|| find("send_message")).unwrap_or(&functions[0]);
    let arguments = spec.arguments.iter().map(|argument| {
        let value: Value = match &argument.kind {
            ArgumentKind::Text { max_chars } => {
                let text = if spec.name == "send_message" { REPLY } else { NOTE };
                text.chars().take(*max_chars).collect::<String>().into()
            }
            ArgumentKind::OneOf(values) => values[0].clone().into(),
            ArgumentKind::Integer { min, .. } => (*min).into(),
            ArgumentKind::Boolean => true.into(),
            ArgumentKind::Date => CLOCK[..10].into(),
            other => unreachable!("no function of the agent has {other:?}"),
        };
        (argument.name.to_owned(), value)
    });
    FunctionCall {
        thought: None,
        function: spec.name.into(),
        arguments: arguments.collect(),
        request_heartbeat: spec.asks_heartbeat.then_some(true),
    }
}
