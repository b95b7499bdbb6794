//! Models for tests: one that says what it is told to, one that calls at random.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use pagewise_core::{
    ArgumentKind, ArgumentSpec, CallFormat, Constraint, Finish, FunctionCall, FunctionSpec,
    Generation, GenerationRequest, LanguageModel, MAX_KEY_CHARS, ModelError, Prompt, SessionSlot,
    TokenUsage, Weighing, WeighingRequest,
};
use rand::{Rng, RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value};

/// What a [`ScriptedModel`] was asked, for a test to look at.
#[derive(Debug, Clone)]
pub struct Asked {
    /// What for.
    pub slot: SessionSlot,
    /// The prompt.
    pub prompt: Prompt,
    /// The names of the functions that could be called; empty for a text, and where answers were weighed.
    pub functions: Vec<String>,
}

/// A model that answers from a script, and from chance when the script has ended.
///
/// A token is four bytes, so that counting is exact and cheap. A scripted call that is not
/// permitted is an error: the test's script is wrong, or the tool rules are. Decisions beside the
/// steps are not in the script: a question mark asks for a search, everything else may
/// be saved, and of answers that are weighed the first is always the likeliest, but by less for what is asked "in
/// the end". Nor is what is noted of a message, or read in what a search found: nothing, unless [`Self::noting`]
/// and [`Self::reading`] say what.
pub struct ScriptedModel {
    window_tokens: usize,
    script: VecDeque<String>,
    asked: Arc<Mutex<Vec<Asked>>>,
    rng: ChaCha8Rng,
    is_random: bool,
    reads: VecDeque<String>,
    notes: Vec<String>,
}

impl ScriptedModel {
    /// Creates a model with this window that gives `script`'s entries, calls and texts, in order.
    pub fn new(window_tokens: usize, script: impl IntoIterator<Item = String>) -> Self {
        Self {
            window_tokens,
            script: script.into_iter().collect(),
            asked: Arc::default(),
            rng: ChaCha8Rng::seed_from_u64(0),
            is_random: false,
            reads: VecDeque::new(),
            notes: Vec::new(),
        }
    }

    /// Creates a model that makes valid calls and texts at random.
    pub fn random(window_tokens: usize, seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { rng, is_random: true, ..Self::new(window_tokens, []) }
    }

    /// Sets what is read in what searches found, one after the other; the last again and again.
    ///
    /// What is only "on the way" is no answer when it is checked.
    pub fn reading(self, reads: &[&str]) -> Self {
        Self { reads: reads.iter().map(ToString::to_string).collect(), ..self }
    }

    /// Sets what is noted of each message.
    pub fn noting(self, facts: &[&str]) -> Self {
        Self { notes: facts.iter().map(ToString::to_string).collect(), ..self }
    }

    /// Decides by signs what a model would decide by reading.
    fn decide(&self, functions: &[FunctionSpec], prompt: &Prompt) -> FunctionCall {
        let asked = prompt.messages.last().map_or("", |turn| turn.content.as_str());
        let wanted = if asked.contains('?') { "search" } else { "save" };
        let answered = if asked.contains("on the way") { "no" } else { "yes" };
        let spec = functions.first().expect("a decision is one function");
        let value = |kind: &ArgumentKind| -> Value {
            match kind {
                ArgumentKind::OneOf(allowed) => {
                    let by_sign = allowed.iter().find(|one| [wanted, answered].contains(&&***one));
                    by_sign.cloned().unwrap_or_default().into()
                }
                _ => self.notes.clone().into(),
            }
        };
        let arguments = spec.arguments.iter();
        FunctionCall::new(
            spec.name,
            arguments.map(|argument| (argument.name, value(&argument.kind))),
        )
    }

    fn log(&self, slot: SessionSlot, prompt: &Prompt, functions: Vec<String>) {
        if let Ok(mut asked) = self.asked.lock() {
            asked.push(Asked { slot, prompt: prompt.clone(), functions });
        }
    }

    /// Returns the log of what was asked, which the test keeps when the model is given away.
    pub fn asked(&self) -> Arc<Mutex<Vec<Asked>>> {
        Arc::clone(&self.asked)
    }
}

/// Writes a call for a script.
pub fn call(function: &str, arguments: &[(&str, &str)]) -> String {
    FunctionCall::new(function, arguments.iter().copied()).to_text()
}

impl LanguageModel for ScriptedModel {
    fn context_window_tokens(&self) -> usize {
        self.window_tokens
    }

    fn count_tokens(&self, prompt: &Prompt) -> Result<usize, ModelError> {
        Ok(prompt.messages.iter().map(|turn| 4 + turn.content.len().div_ceil(4)).sum())
    }

    fn generate(
        &mut self,
        request: &GenerationRequest<'_>,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation, ModelError> {
        let prompt_tokens = self.count_tokens(request.prompt)?;
        if prompt_tokens >= self.window_tokens {
            return Err(ModelError::PromptTooLong {
                prompt_tokens,
                window_tokens: self.window_tokens,
            });
        }
        let functions = match request.constraint {
            Constraint::Call { functions, .. } => {
                functions.iter().map(|spec| spec.name.to_string()).collect()
            }
            Constraint::Text { .. } => Vec::new(),
        };
        self.log(request.slot, request.prompt, functions);
        let unscripted = match (request.slot, request.constraint) {
            (slot, Constraint::Call { functions, .. }) if slot.is_decision() => {
                Some(self.decide(functions, request.prompt).to_text())
            }
            (SessionSlot::Reading, _) => {
                let is_last = self.reads.len() < 2;
                let next =
                    if is_last { self.reads.front().cloned() } else { self.reads.pop_front() };
                Some(next.unwrap_or_default())
            }
            _ => None,
        };
        if let Some(text) = unscripted.filter(|_| !self.is_random) {
            let tokens = TokenUsage { prefilled: prompt_tokens, ..TokenUsage::default() };
            let (thoughts, finish) = (String::new(), Finish::Complete);
            return Ok(Generation { text, thoughts, finish, tokens, first_token: None });
        }
        let text = match (self.script.pop_front(), request.constraint) {
            (Some(text), Constraint::Call { functions, format }) => {
                FunctionCall::parse(&text, functions, format)
                    .map_err(|error| ModelError::Inference(format!("script: {error}")))?;
                text
            }
            (Some(text), Constraint::Text { max_chars }) => text.chars().take(max_chars).collect(),
            (None, Constraint::Call { functions, format }) => {
                random_call(functions, format, &mut self.rng).to_text()
            }
            (None, Constraint::Text { max_chars }) => random_text(max_chars, &mut self.rng),
        };
        let mut written = String::new();
        for piece in text.split_inclusive(' ') {
            if request.cancelled.load(Ordering::Relaxed) {
                break;
            }
            written.push_str(piece);
            if on_text(piece).is_break() {
                break;
            }
        }
        let finish = if written == text { Finish::Complete } else { Finish::Cancelled };
        let generated = written.len().div_ceil(4);
        let tokens = TokenUsage { prefilled: prompt_tokens, generated, ..TokenUsage::default() };
        let thoughts = String::new();
        Ok(Generation { text: written, thoughts, finish, tokens, first_token: None })
    }

    fn weigh(&mut self, request: &WeighingRequest<'_>) -> Result<Weighing, ModelError> {
        self.log(request.slot, request.prompt, Vec::new());
        let asked = request.prompt.messages.last().map_or("", |turn| turn.content.as_str());
        let leans_less = match self.is_random {
            true => self.rng.random(),
            false => asked.contains("in the end"),
        };
        let of_others = if leans_less { -2.0 } else { -4.0 };
        let weights = (0..request.answers.len())
            .map(|number| if number == 0 { -1.0 } else { of_others })
            .collect();
        let prefilled = self.count_tokens(request.prompt)?;
        let tokens = TokenUsage { prefilled, ..TokenUsage::default() };
        Ok(Weighing { log_probabilities: Some(weights), tokens })
    }
}

/// Makes a call that the specs allow.
pub fn random_call(
    functions: &[FunctionSpec<'_>],
    format: &CallFormat,
    rng: &mut impl Rng,
) -> FunctionCall {
    let spec = functions.choose(rng).expect("a step has at least one function");
    let arguments = random_fields(&spec.arguments, rng);
    FunctionCall {
        thought: format.thought_max_chars.map(|max_chars| random_text(max_chars, rng)),
        function: spec.name.into(),
        arguments,
        request_heartbeat: spec.asks_heartbeat.then(|| rng.random()),
    }
}

fn random_fields(specs: &[ArgumentSpec<'_>], rng: &mut impl Rng) -> Map<String, Value> {
    let mut fields = Map::new();
    for spec in specs {
        if !spec.kind.is_optional() || rng.random() {
            fields.insert(spec.name.to_string(), random_value(&spec.kind, rng));
        }
    }
    fields
}

fn random_value(kind: &ArgumentKind<'_>, rng: &mut impl Rng) -> Value {
    match kind {
        ArgumentKind::Text { max_chars } => random_text(*max_chars, rng).into(),
        ArgumentKind::OneOf(allowed) => {
            allowed.choose(rng).expect("an alternation is never empty").clone().into()
        }
        ArgumentKind::Integer { min, max } => rng.random_range(*min..=*max).into(),
        ArgumentKind::Number => (f64::from(rng.random_range(-9999..=9999)) / 100.0).into(),
        ArgumentKind::Boolean => rng.random::<bool>().into(),
        ArgumentKind::Null => Value::Null,
        ArgumentKind::Date => {
            format!("2026-{:02}-{:02}", rng.random_range(1..=12), rng.random_range(1..=28)).into()
        }
        ArgumentKind::Array { items, min_items, max_items } => {
            let n_items = rng.random_range(*min_items..=*max_items);
            (0..n_items).map(|_| random_value(items, rng)).collect()
        }
        ArgumentKind::Object(fields) => Value::Object(random_fields(fields, rng)),
        ArgumentKind::Map { values, max_entries } => {
            let n_entries = rng.random_range(0..=*max_entries);
            (0..n_entries)
                .map(|_| (random_text(MAX_KEY_CHARS, rng), random_value(values, rng)))
                .collect::<Map<String, Value>>()
                .into()
        }
        ArgumentKind::AnyOf(kinds) => {
            random_value(kinds.choose(rng).expect("an alternation is never empty"), rng)
        }
        ArgumentKind::Optional(kind) => random_value(kind, rng),
    }
}

/// Makes a text of 1 to `max_chars` characters, in several scripts, without control characters.
pub fn random_text(max_chars: usize, rng: &mut impl Rng) -> String {
    const WORDS: &[&str] = &[
        "a",
        "the",
        "lisbon",
        "Zürich",
        "雨が降る",
        "🦀",
        "dog",
        "\"so\"",
        "C:\\x",
        "данные",
        "1984",
    ];
    let n_chars = rng.random_range(1..=max_chars.max(1));
    let mut text = String::new();
    while text.chars().count() < n_chars {
        text.push_str(WORDS.choose(rng).unwrap_or(&"x"));
        text.push(' ');
    }
    text.chars().take(n_chars).collect()
}
