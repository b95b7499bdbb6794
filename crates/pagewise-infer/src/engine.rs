//! The language model that the operating system asks: prompt in, call or text out.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pagewise_core::{
    CallFormat, Constraint, Finish, FunctionSpec, Generation, GenerationRequest, LanguageModel,
    ModelError, Prompt, SessionSlot, TokenUsage, Weighing, WeighingRequest,
};
use pagewise_grammar::{CallGrammar, GrammarError, TokenMask};

use crate::session::common_prefix;
use crate::thinking::Thinking;
use crate::{
    Compute, Decoder, Detokenizer, InferError, LoadError, LoadedModel, ModelDescription, ModelPlan,
    Sampler, Session, SnapshotKey, Tokenizer, log_probability, prompt_lookup,
};

/// The least window that anything can be done in, in tokens.
const MIN_WINDOW_TOKENS: usize = 64;

/// Tokens left for a call when thoughts take all the room there is.
const CALL_TOKENS: usize = 200;

/// Allowed tokens are few if the vocabulary has so many times as many: their logits are computed alone,
/// each for the price of a row of the head. (The bench `matmul`, `some_rows`: of 151,936 rows of Q8_0, a
/// sixteenth takes 0.4 to 0.6 of the time of all, an eighth 0.7 to 1.1, in two runs on two cores with AVX-512.)
const FEW_OF: usize = 16;

/// Tokens guessed at once: of 2, 3, 4 and 8, 2 and 3 took least time with a 1.5B model (0.58 and 0.59 of one
/// token at a time, 46 calls), and 8 with one of 135M.
const GUESS_TOKENS: usize = 3;

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The context window: prompt and answer together. At most what the model was trained for;
    /// if `None`, that or `default_window_tokens`, whichever is less.
    pub window_tokens: Option<usize>,
    /// The most tokens that the window is given unasked: the KV cache of a large window takes
    /// memory, and a long prompt time.
    pub default_window_tokens: usize,
    /// The memory that there could be for the model at most, in bytes: one that takes more is
    /// refused. Nothing is if `None`.
    pub memory_bytes: Option<u64>,
    /// The file that keeps the KV cache of main context between two runs of the program; none if
    /// `None`, and if pieces are reused at another place.
    pub snapshot: Option<PathBuf>,
    /// Reuses also pieces of the KV cache of at least so many tokens that now stand at another place,
    /// which is an approximation: see [`Session::sync_moving`]. Never if `None`.
    pub cache_reuse_tokens: Option<usize>,
    /// How many tokens of an answer are guessed at most and then verified together: see
    /// `prompt_lookup.rs`. 0 guesses none; the answer is the same, but for rounding where tokens are equally
    /// likely: how many tokens are read at once decides in which order products are added up.
    pub guess_tokens: usize,
    /// The most tokens that a model may think before a call, if it was trained to; 0 leaves no room
    /// for thoughts.
    pub thinking_tokens: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            window_tokens: None,
            default_window_tokens: 8192,
            memory_bytes: None,
            snapshot: None,
            cache_reuse_tokens: None,
            guess_tokens: GUESS_TOKENS,
            thinking_tokens: 0,
        }
    }
}

impl EngineOptions {
    /// Returns the window to use for a model trained for windows of up to `context_length` tokens.
    fn window(&self, path: &Path, context_length: usize) -> Result<usize, LoadError> {
        let window_tokens =
            self.window_tokens.unwrap_or(self.default_window_tokens.min(context_length));
        if window_tokens > context_length {
            return Err(LoadError::WindowTooLarge {
                path: path.to_owned(),
                window_tokens,
                context_length,
            });
        }
        if window_tokens < MIN_WINDOW_TOKENS {
            return Err(LoadError::WindowTooSmall { window_tokens, min_tokens: MIN_WINDOW_TOKENS });
        }
        Ok(window_tokens)
    }
}

/// A loaded model with a KV cache for each kind of prompt.
pub struct Engine {
    model: LoadedModel,
    description: ModelDescription,
    sessions: HashMap<SessionSlot, Session>,
    /// Of the slots whose last prompt had a beginning that was read by itself, its tokens.
    beginnings: HashMap<SessionSlot, usize>,
    /// Made when the first call is asked for.
    grammar: Option<CallGrammar>,
    /// What a text may be made of: no structure but the end of the turn.
    text_mask: TokenMask,
    /// How the model thinks before a call, if it was trained to.
    thinking: Option<Thinking>,
    snapshot: Option<Snapshot>,
    cache_reuse_tokens: usize,
    guess_tokens: usize,
}

/// Where KV caches are kept between two runs, and what they must be of.
struct Snapshot {
    /// Main context's; those of decisions stand beside it.
    path: PathBuf,
    key: SnapshotKey,
}

impl Engine {
    /// Opens the weights at `path`, to be run on `compute`.
    pub fn load(
        path: &Path,
        compute: &Compute,
        options: &EngineOptions,
    ) -> Result<Self, LoadError> {
        let mut model = LoadedModel::load(path, compute, |weights, context_length| {
            let window_tokens = options.window(path, context_length)?;
            if let Some(memory_bytes) = options.memory_bytes {
                ModelPlan::new(weights, compute)?.check(window_tokens, memory_bytes)?;
            }
            Ok(window_tokens)
        })?;
        let n_logits = model.decoder.config().vocabulary;
        let mut text_mask = TokenMask::none(n_logits);
        let vocabulary = model.tokenizer.vocabulary(n_logits);
        for token in (0u32..).take(n_logits) {
            if model.tokenizer.is_end(token) || !vocabulary.bytes(token).is_empty() {
                text_mask.allow(token);
            }
        }
        model.template.set_thinking(options.thinking_tokens > 0);
        let (tokenizer, template) = (&model.tokenizer, &model.template);
        let thinking = Thinking::of(tokenizer, template, &text_mask, options.thinking_tokens);
        tracing::debug!(
            path = %path.display(),
            device = compute.name(),
            window_tokens = model.decoder.window_tokens(),
            "model loaded"
        );
        let key = || SnapshotKey::new(&model.weights, &model.decoder);
        // An approximation must not pass for the exact cache of a later run.
        let is_exact = options.cache_reuse_tokens.is_none();
        let snapshot = options.snapshot.clone().filter(|_| is_exact);
        let snapshot = snapshot.map(|path| Snapshot { path, key: key() });
        // Now and not with the first question, which would wait for both.
        let (restored, grammar) = thread::scope(|scope| {
            let grammar = scope.spawn(|| CallGrammar::new(model.tokenizer.vocabulary(n_logits)));
            let restore = |slot| {
                let session = snapshot.as_ref()?.restore(slot, &model.decoder)?;
                Some((slot, session))
            };
            let restored = Snapshot::SLOTS.into_iter().filter_map(restore);
            (restored.collect::<HashMap<_, _>>(), grammar.join())
        });
        // Of decisions, what all of them begin with was kept.
        let decisions = restored.iter().filter(|(slot, _)| slot.is_decision());
        let beginnings: HashMap<_, _> =
            decisions.map(|(slot, session)| (*slot, session.tokens().len())).collect();
        Ok(Self {
            thinking,
            snapshot,
            cache_reuse_tokens: options.cache_reuse_tokens.unwrap_or(usize::MAX),
            guess_tokens: options.guess_tokens,
            description: model.description(),
            model,
            sessions: restored,
            beginnings,
            // What went wrong is said when it is needed.
            grammar: grammar.ok().and_then(Result::ok),
            text_mask,
        })
    }

    /// Returns what the model is.
    pub fn description(&self) -> &ModelDescription {
        &self.description
    }

    /// Returns the model, to count its tokens or to run it without sessions.
    pub fn model(&self) -> &LoadedModel {
        &self.model
    }

    /// Changes how many tokens are guessed at most; see [`EngineOptions::guess_tokens`].
    pub fn set_guess_tokens(&mut self, guess_tokens: usize) {
        self.guess_tokens = guess_tokens;
    }

    /// Returns whether the model was trained to think before it answers.
    pub fn can_think(&self) -> bool {
        self.thinking.is_some()
    }

    /// Returns the session of `slot`, if anything was asked there yet.
    pub fn session(&self, slot: SessionSlot) -> Option<&Session> {
        self.sessions.get(&slot)
    }

    /// Encodes a prompt, of which at least so many tokens of an answer must have room behind it.
    fn encode(&self, prompt: &Prompt, n_answer: usize) -> Result<Vec<u32>, ModelError> {
        let prompt = self.model.encode(prompt)?;
        let window_tokens = self.context_window_tokens();
        if prompt.is_empty() {
            return Err(ModelError::Inference("the prompt has no tokens".into()));
        }
        if prompt.len() + n_answer > window_tokens {
            return Err(ModelError::PromptTooLong { prompt_tokens: prompt.len(), window_tokens });
        }
        Ok(prompt)
    }

    /// Prepares a slot for a prompt; returns how many tokens of it are read by themselves, if any are to be.
    fn begin(
        &mut self,
        slot: SessionSlot,
        beginning: Option<&Prompt>,
        prompt: &[u32],
    ) -> Result<Option<usize>, ModelError> {
        let n_apart = beginning.map(|beginning| self.n_in_common(beginning, prompt)).transpose()?;
        let n_kept = match n_apart {
            Some(n_apart) => self.beginnings.insert(slot, n_apart),
            None => self.beginnings.remove(&slot),
        };
        if n_kept != n_apart {
            // Whatever was read there was read in other pieces.
            self.sessions.remove(&slot);
        }
        Ok(n_apart)
    }

    /// Returns how many tokens `beginning` and `tokens`, which are not none, have in common; never all of these.
    fn n_in_common(&self, beginning: &Prompt, tokens: &[u32]) -> Result<usize, ModelError> {
        if beginning.messages.is_empty() {
            return Ok(0);
        }
        // An answer would follow it, so it ends otherwise.
        let beginning = self.model.encode(beginning)?;
        Ok(common_prefix(&beginning, tokens).min(tokens.len() - 1))
    }
}

impl LanguageModel for Engine {
    fn context_window_tokens(&self) -> usize {
        self.model.decoder.window_tokens()
    }

    fn count_tokens(&self, prompt: &Prompt) -> Result<usize, ModelError> {
        Ok(self.model.encode(prompt)?.len())
    }

    fn generate(
        &mut self,
        request: &GenerationRequest<'_>,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation, ModelError> {
        let started = Instant::now();
        let prompt = self.encode(request.prompt, 1)?;
        let n_apart = self.begin(request.slot, request.beginning, &prompt)?;
        let decoder = &self.model.decoder;
        let session = session_of(request.slot, &mut self.sessions, decoder)?;
        let budget = request.max_tokens.min(decoder.window_tokens() - prompt.len());
        let answer = Answer {
            request,
            tokenizer: &self.model.tokenizer,
            thinking: self.thinking.as_ref(),
            decoder,
            session,
            prompt,
            n_apart,
            cache_reuse_tokens: self.cache_reuse_tokens,
            guess_tokens: self.guess_tokens,
            ahead: VecDeque::new(),
            budget,
            sampler: Sampler::new(request.sampling, request.seed),
            usage: TokenUsage::default(),
            started,
            first_token: None,
            pending: Vec::new(),
            is_synced: false,
            text: String::new(),
            thoughts: String::new(),
            on_text,
            is_broken_off: false,
        };
        match request.constraint {
            Constraint::Call { functions, format } => {
                let grammar = match &mut self.grammar {
                    Some(grammar) => grammar,
                    grammar => {
                        let n_logits = decoder.config().vocabulary;
                        let vocabulary = self.model.tokenizer.vocabulary(n_logits);
                        grammar.insert(CallGrammar::new(vocabulary).map_err(grammar_error)?)
                    }
                };
                answer.call(grammar, functions, format)
            }
            Constraint::Text { max_chars } => answer.text(&self.text_mask, max_chars),
        }
    }

    fn weigh(&mut self, request: &WeighingRequest<'_>) -> Result<Weighing, ModelError> {
        let answers: Vec<Vec<u32>> =
            request.answers.iter().map(|answer| self.model.tokenizer.encode(answer)).collect();
        let n_longest = answers.iter().map(Vec::len).max().unwrap_or(0);
        let prompt = self.encode(request.prompt, n_longest)?;
        let n_apart = self.begin(request.slot, request.beginning, &prompt)?;
        let decoder = &self.model.decoder;
        let session = session_of(request.slot, &mut self.sessions, decoder)?;
        let is_cancelled = || request.cancelled.load(Ordering::Relaxed);
        let mut tokens = TokenUsage::default();
        let weighed =
            weigh(session, decoder, &prompt, n_apart, &answers, &mut tokens, &is_cancelled);
        // The session stands for the prompt again, whatever was read of the answers.
        session.truncate(prompt.len());
        match weighed {
            Ok(log_probabilities) => {
                Ok(Weighing { log_probabilities: Some(log_probabilities), tokens })
            }
            Err(InferError::Cancelled) => Ok(Weighing { log_probabilities: None, tokens }),
            Err(error) => Err(model_error(error)),
        }
    }

    fn forget(&mut self) {
        // What was read by itself is the same whatever was asked before.
        self.sessions.retain(|slot, _| self.beginnings.contains_key(slot));
    }

    fn keep(&mut self, prompt: &Prompt, cancelled: &AtomicBool) -> Result<(), ModelError> {
        let Some(snapshot) = &self.snapshot else { return Ok(()) };
        let prompt = self.model.encode(prompt)?;
        let decoder = &self.model.decoder;
        let main_context = self.sessions.get_mut(&SessionSlot::MainContext);
        let fits = !prompt.is_empty() && prompt.len() <= decoder.window_tokens();
        if let Some(session) = main_context.filter(|_| fits) {
            let is_cancelled = || cancelled.load(Ordering::Relaxed);
            match session.sync(decoder, &prompt, &is_cancelled) {
                // What was read so far is worth keeping.
                Ok(_) | Err(InferError::Cancelled) => {}
                Err(error) => return Err(model_error(error)),
            }
        }
        for slot in Snapshot::SLOTS {
            if let Some(session) = self.sessions.get_mut(&slot) {
                if let Some(n_beginning) = self.beginnings.get(&slot) {
                    session.truncate(*n_beginning);
                }
                let saved = session.save(snapshot.key, &snapshot.path_of(slot));
                saved.map_err(|error| ModelError::NotKept(error.to_string()))?;
            }
        }
        Ok(())
    }
}

impl Snapshot {
    /// What is kept: a summary has little in common with the one before it.
    const SLOTS: [SessionSlot; 4] =
        [SessionSlot::MainContext, SessionSlot::Intake, SessionSlot::Noting, SessionSlot::Checking];

    fn path_of(&self, slot: SessionSlot) -> PathBuf {
        match slot {
            SessionSlot::Intake => self.path.with_file_name("intake.kv"),
            SessionSlot::Noting => self.path.with_file_name("noting.kv"),
            SessionSlot::Checking => self.path.with_file_name("checking.kv"),
            _ => self.path.clone(),
        }
    }

    /// Returns the session of the last run; what cannot be used is as good as not there.
    fn restore(&self, slot: SessionSlot, decoder: &Decoder) -> Option<Session> {
        match Session::restore(decoder, self.key, &self.path_of(slot)) {
            Ok(session) => session,
            Err(error) => {
                tracing::info!(%error, "the KV cache of the last run is not used");
                None
            }
        }
    }
}

/// Returns the session of `slot`, a new one if it has none.
fn session_of<'s>(
    slot: SessionSlot,
    sessions: &'s mut HashMap<SessionSlot, Session>,
    decoder: &Decoder,
) -> Result<&'s mut Session, ModelError> {
    Ok(match sessions.entry(slot) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(Session::new(decoder).map_err(model_error)?),
    })
}

/// Reads a prompt, and each of `answers` behind it; returns the logarithm of the probability of what each has
/// behind what all of them begin with.
fn weigh(
    session: &mut Session,
    decoder: &Decoder,
    prompt: &[u32],
    n_apart: Option<usize>,
    answers: &[Vec<u32>],
    usage: &mut TokenUsage,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Vec<f64>, InferError> {
    let n_read_apart = session.read_apart(decoder, prompt, n_apart, is_cancelled)?;
    // What all begin with needs no logits, of which a row costs as much as several tokens.
    let n_shared = n_shared_by_all(answers);
    let shared = answers.first().map_or(&[][..], |answer| &answer[..n_shared]);
    let read = [prompt, shared].concat();
    let synced = session.sync(decoder, &read, is_cancelled)?;
    usage.reused = synced.reused.min(prompt.len()) - n_read_apart;
    usage.prefilled = prompt.len() - usage.reused;
    usage.forced = n_shared;
    usage.passes = 1;
    let mut log_probabilities = Vec::with_capacity(answers.len());
    for answer in answers {
        let rest = &answer[n_shared..];
        let mut rows = vec![synced.logits.clone()];
        if let [before @ .., _] = rest
            && !before.is_empty()
        {
            session.truncate(read.len());
            rows.extend(session.extend_rows(decoder, before, before.len(), is_cancelled)?);
            usage.passes += 1;
        }
        log_probabilities
            .push(rows.iter().zip(rest).map(|(row, token)| log_probability(row, *token)).sum());
        usage.forced += rest.len();
    }
    Ok(log_probabilities)
}

/// How many tokens all answers begin with.
fn n_shared_by_all(answers: &[Vec<u32>]) -> usize {
    let [first, others @ ..] = answers else { return 0 };
    others.iter().map(|other| common_prefix(first, other)).min().unwrap_or(0)
}

/// An answer under way.
struct Answer<'a, 'r> {
    request: &'a GenerationRequest<'r>,
    tokenizer: &'a Tokenizer,
    thinking: Option<&'a Thinking>,
    decoder: &'a Decoder,
    session: &'a mut Session,
    prompt: Vec<u32>,
    /// Tokens at the beginning of the prompt that are read by themselves, if it is asked for one of several with
    /// the same beginning.
    n_apart: Option<usize>,
    cache_reuse_tokens: usize,
    guess_tokens: usize,
    /// Guessed tokens that have gone through the model, each with the logits of what follows it.
    ahead: VecDeque<(u32, Vec<f32>)>,
    /// The most tokens that it may have.
    budget: usize,
    sampler: Sampler,
    usage: TokenUsage,
    started: Instant,
    first_token: Option<Duration>,
    /// Its tokens that have not gone through the model yet.
    pending: Vec<u32>,
    /// Whether the prompt has gone through the model.
    is_synced: bool,
    /// What has been told of it.
    text: String,
    thoughts: String,
    on_text: &'a mut dyn FnMut(&str) -> ControlFlow<()>,
    is_broken_off: bool,
}

impl Answer<'_, '_> {
    fn call(
        mut self,
        grammar: &CallGrammar,
        functions: &[FunctionSpec],
        format: &CallFormat,
    ) -> Result<Generation, ModelError> {
        let mut matcher = grammar.matcher(functions, format).map_err(grammar_error)?;
        if !self.think()? {
            return Ok(self.end(Finish::Cancelled));
        }
        let finish = loop {
            let forced = matcher.take_forced().map_err(grammar_error)?;
            self.force(&forced);
            // A piece at a time, not a token: forced text comes at once.
            let piece = matcher.text().get(self.text.len()..).unwrap_or_default();
            self.tell(piece);
            if self.is_cancelled() {
                break Finish::Cancelled;
            }
            if matcher.is_complete() {
                break Finish::Complete;
            }
            if self.is_spent() {
                self.tell(&matcher.close());
                break Finish::Budget;
            }
            let mask = matcher.token_mask().map_err(grammar_error)?;
            // The grammar may leave one token without calling it forced, where it is not sure
            // that the model's tokenizer would write the text so.
            let token = match mask.single() {
                Some(token) => {
                    self.usage.forced += 1;
                    token
                }
                None => {
                    let Some(logits) = self.run(Some(mask))? else {
                        break Finish::Cancelled;
                    };
                    self.usage.generated += 1;
                    let sampled = self.sampler.sample(&logits, Some(mask));
                    sampled.map_err(model_error)?
                }
            };
            self.take(&[token]);
            matcher.advance(token).map_err(grammar_error)?;
        };
        Ok(self.end(finish))
    }

    /// Has the model think, if it can and may; returns whether it was not cancelled.
    fn think(&mut self) -> Result<bool, ModelError> {
        let Some(thinking) = self.thinking else { return Ok(true) };
        let tokenizer = self.tokenizer;
        let for_call = CALL_TOKENS.min(self.budget / 2);
        let room = thinking.max_tokens().min(self.budget - for_call);
        if room == 0 {
            self.force(&thinking.skipping(&self.prompt, tokenizer));
            return Ok(true);
        }
        let Some(opening) = thinking.opening(&self.prompt, tokenizer) else { return Ok(true) };
        self.force(&opening);
        let mut thoughts = Vec::new();
        while thoughts.len() < room {
            if self.is_cancelled() {
                return Ok(false);
            }
            let Some(logits) = self.run(None)? else { return Ok(false) };
            let token = self.sampler.sample(&logits, Some(thinking.mask())).map_err(model_error)?;
            self.usage.generated += 1;
            if thinking.ends_with(token, tokenizer) {
                break;
            }
            self.take(&[token]);
            thoughts.push(token);
        }
        self.force(&thinking.closing());
        tokenizer.decode(&thoughts).trim().clone_into(&mut self.thoughts);
        Ok(true)
    }

    fn text(mut self, mask: &TokenMask, max_chars: usize) -> Result<Generation, ModelError> {
        let mut detokenizer = Detokenizer::default();
        let mut chars_left = max_chars;
        if let Some(thinking) = self.thinking {
            self.force(&thinking.skipping(&self.prompt, self.tokenizer));
        }
        let finish = loop {
            if self.is_cancelled() {
                break Finish::Cancelled;
            }
            if chars_left == 0 || self.is_spent() {
                break Finish::Budget;
            }
            let Some(logits) = self.run(None)? else {
                break Finish::Cancelled;
            };
            let sampled = self.sampler.sample(&logits, Some(mask));
            let token = sampled.map_err(model_error)?;
            self.usage.generated += 1;
            if self.tokenizer.is_end(token) {
                self.tell(&detokenizer.finish());
                break Finish::Complete;
            }
            self.take(&[token]);
            let piece: String =
                detokenizer.push(self.tokenizer, token).chars().take(chars_left).collect();
            chars_left -= piece.chars().count();
            self.tell(&piece);
        };
        Ok(self.end(finish))
    }

    /// Adds tokens that are not the model's choice.
    fn force(&mut self, tokens: &[u32]) {
        self.take(tokens);
        self.usage.forced += tokens.len();
    }

    /// Adds tokens to the answer; they go through the model when logits are asked for.
    fn take(&mut self, tokens: &[u32]) {
        self.pending.extend_from_slice(tokens);
        for token in tokens {
            self.sampler.accept(*token);
        }
    }

    /// Runs what is pending, the prompt first, and returns the logits of what follows; `None` if
    /// it was cancelled. Logits of tokens that `mask` does not allow may have no meaning.
    fn run(&mut self, mask: Option<&TokenMask>) -> Result<Option<Vec<f32>>, ModelError> {
        let mut pending = std::mem::take(&mut self.pending);
        let logits = if self.is_synced {
            match self.follow_guess(&mut pending) {
                Some(logits) if pending.is_empty() => return Ok(Some(logits)),
                _ => match mask.filter(|mask| mask.count() <= mask.len() / FEW_OF) {
                    Some(mask) => self.run_for_few(&pending, mask),
                    None => self.run_with_guess(&pending),
                },
            }
        } else {
            self.run_prompt(&pending)
        };
        match logits {
            Ok(logits) => {
                self.usage.passes += 1;
                self.first_token.get_or_insert_with(|| self.started.elapsed());
                Ok(Some(logits))
            }
            Err(InferError::Cancelled) => Ok(None),
            Err(error) => Err(model_error(error)),
        }
    }

    fn run_prompt(&mut self, pending: &[u32]) -> Result<Vec<f32>, InferError> {
        let request = self.request;
        let is_cancelled = || request.cancelled.load(Ordering::Relaxed);
        let tokens = [self.prompt.as_slice(), pending].concat();
        let n_read_apart =
            self.session.read_apart(self.decoder, &self.prompt, self.n_apart, &is_cancelled)?;
        let pieces = self.cache_reuse_tokens;
        let synced = self.session.sync_moving(self.decoder, &tokens, pieces, &is_cancelled)?;
        self.is_synced = true;
        self.usage.reused = synced.reused.min(self.prompt.len()) - n_read_apart;
        self.usage.prefilled = self.prompt.len() - self.usage.reused;
        Ok(synced.logits)
    }

    /// Takes from `pending` what was guessed rightly, and returns the logits of what follows that.
    fn follow_guess(&mut self, pending: &mut Vec<u32>) -> Option<Vec<f32>> {
        let mut n_right = 0;
        let mut logits = None;
        while let Some((_, row)) =
            self.ahead.pop_front_if(|(guessed, _)| pending.get(n_right) == Some(guessed))
        {
            logits = Some(row);
            n_right += 1;
        }
        pending.drain(..n_right);
        if !pending.is_empty() {
            self.forget_guess();
        }
        logits
    }

    /// Forgets guesses that were wrong, or are not needed any more.
    fn forget_guess(&mut self) {
        self.session.truncate(self.session.tokens().len() - self.ahead.len());
        self.ahead.clear();
    }

    /// Runs `pending`, and computes no logits but those of the few tokens that may follow. Nothing is
    /// guessed: of what follows a guess, all logits would be wanted.
    fn run_for_few(&mut self, pending: &[u32], mask: &TokenMask) -> Result<Vec<f32>, InferError> {
        let is_cancelled = || self.request.cancelled.load(Ordering::Relaxed);
        let few: Vec<u32> = mask.iter().collect();
        self.session.extend_among(self.decoder, pending, &few, &is_cancelled)
    }

    /// Runs `pending`, and behind it what the answer may go on with.
    fn run_with_guess(&mut self, pending: &[u32]) -> Result<Vec<f32>, InferError> {
        let is_cancelled = || self.request.cancelled.load(Ordering::Relaxed);
        let mut tokens = [self.session.tokens(), pending].concat();
        let n_before = self.session.tokens().len();
        let room = self.decoder.window_tokens().saturating_sub(tokens.len());
        let left = self.budget.saturating_sub(self.usage.generated + self.usage.forced);
        let guess = prompt_lookup::guess(&tokens, self.guess_tokens.min(room).min(left)).to_vec();
        tokens.extend_from_slice(&guess);
        let n_rows = guess.len() + 1;
        let rows =
            self.session.extend_rows(self.decoder, &tokens[n_before..], n_rows, &is_cancelled)?;
        let mut rows = rows.into_iter();
        let logits = rows.next().ok_or(InferError::NoTokens)?;
        self.ahead = guess.into_iter().zip(rows).collect();
        Ok(logits)
    }

    /// Tells a piece of the answer.
    fn tell(&mut self, piece: &str) {
        if piece.is_empty() || self.is_broken_off {
            return;
        }
        self.text.push_str(piece);
        self.is_broken_off = (self.on_text)(piece).is_break();
    }

    fn is_cancelled(&self) -> bool {
        self.is_broken_off || self.request.cancelled.load(Ordering::Relaxed)
    }

    fn is_spent(&self) -> bool {
        self.usage.generated + self.usage.forced >= self.budget
    }

    fn end(mut self, finish: Finish) -> Generation {
        self.forget_guess();
        let Self { text, thoughts, usage: tokens, first_token, .. } = self;
        Generation { text, thoughts, finish, tokens, first_token }
    }
}

fn grammar_error(error: GrammarError) -> ModelError {
    ModelError::Grammar(error.to_string())
}

fn model_error(error: InferError) -> ModelError {
    match error {
        InferError::NothingToSample { reason } => ModelError::Grammar(reason.to_owned()),
        error => ModelError::Inference(error.to_string()),
    }
}
