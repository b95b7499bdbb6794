//! One loaded model, lent to one agent after another.

use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pagewise_core::{
    Constraint, FunctionCall, Generation, GenerationRequest, LanguageModel, ModelError, Prompt,
    TokenUsage, Weighing, WeighingRequest,
};

/// Owns a model, lends it to agents, and notes what they had it write.
pub struct Lender {
    lent: Arc<Mutex<Lent>>,
}

/// What is lent, and what became of it.
struct Lent {
    model: Box<dyn LanguageModel + Send>,
    log: Vec<Written>,
    tokens: TokenUsage,
}

/// One answer of the model.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// The functions that could be called; `None` for a text, and where answers were weighed.
    pub(crate) functions: Option<Vec<String>>,
    /// The call, if it is one.
    pub(crate) call: Option<FunctionCall>,
    /// Whether it is a decision beside the steps: what was decided is in the outcome of the event.
    pub(crate) is_decision: bool,
    pub(crate) tokens: TokenUsage,
    pub(crate) seconds: f64,
}

impl Written {
    /// Whether it was to be a call.
    fn is_to_be_call(&self) -> bool {
        self.functions.is_some()
    }

    /// Whether it was to be a step.
    pub(crate) fn is_step(&self) -> bool {
        self.is_to_be_call() && !self.is_decision
    }
}

/// How many of the answers were to be calls, decisions included.
pub(crate) fn n_calls(written: &[Written]) -> usize {
    written.iter().filter(|answer| answer.is_to_be_call()).count()
}

/// How many of these are none.
pub(crate) fn n_invalid_calls(written: &[Written]) -> usize {
    written.iter().filter(|answer| answer.is_to_be_call() && answer.call.is_none()).count()
}

/// The model as an agent has it.
struct LentModel {
    lent: Arc<Mutex<Lent>>,
}

/// Nobody waits here: of the agents of one lender, one runs at a time.
fn lock(lent: &Mutex<Lent>) -> MutexGuard<'_, Lent> {
    lent.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lender {
    /// Takes a model.
    pub fn new(model: Box<dyn LanguageModel + Send>) -> Self {
        let lent = Lent { model, log: Vec::new(), tokens: TokenUsage::default() };
        Self { lent: Arc::new(Mutex::new(lent)) }
    }

    /// Lends the model. Only one agent has it run at a time, since each job has a model of its own.
    pub(crate) fn lend(&self) -> Box<dyn LanguageModel> {
        Box::new(LentModel { lent: Arc::clone(&self.lent) })
    }

    /// Has the model forget what it read and wrote for the case before.
    pub(crate) fn begin_case(&self) {
        let mut lent = lock(&self.lent);
        lent.model.forget();
        lent.log.clear();
        lent.tokens = TokenUsage::default();
    }

    /// Returns what the model wrote since this was last asked.
    pub(crate) fn written(&self) -> Vec<Written> {
        std::mem::take(&mut lock(&self.lent).log)
    }

    /// Returns what the case cost so far.
    pub(crate) fn tokens(&self) -> TokenUsage {
        lock(&self.lent).tokens
    }

    /// Counts the tokens of a prompt.
    pub(crate) fn count_tokens(&self, prompt: &Prompt) -> Result<usize, ModelError> {
        lock(&self.lent).model.count_tokens(prompt)
    }

    /// Returns the window, in tokens.
    pub fn window_tokens(&self) -> usize {
        lock(&self.lent).model.context_window_tokens()
    }
}

impl LanguageModel for LentModel {
    fn context_window_tokens(&self) -> usize {
        lock(&self.lent).model.context_window_tokens()
    }

    fn count_tokens(&self, prompt: &Prompt) -> Result<usize, ModelError> {
        lock(&self.lent).model.count_tokens(prompt)
    }

    fn generate(
        &mut self,
        request: &GenerationRequest<'_>,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation, ModelError> {
        let started = Instant::now();
        let mut lent = lock(&self.lent);
        let generation = lent.model.generate(request, on_text)?;
        let (functions, call) = match request.constraint {
            Constraint::Call { functions, format } => (
                Some(functions.iter().map(|spec| spec.name.to_string()).collect()),
                FunctionCall::parse(&generation.text, functions, format).ok(),
            ),
            Constraint::Text { .. } => (None, None),
        };
        let seconds = started.elapsed().as_secs_f64();
        let is_decision = request.slot.is_decision();
        let mut tokens = generation.tokens;
        if request.beginning.is_some() && !is_decision {
            // A case costs what it would cost alone, though another one had the same material read.
            tokens.prefilled += std::mem::take(&mut tokens.reused);
        }
        lent.tokens += tokens;
        lent.log.push(Written { functions, call, is_decision, tokens, seconds });
        Ok(generation)
    }

    fn weigh(&mut self, request: &WeighingRequest<'_>) -> Result<Weighing, ModelError> {
        let started = Instant::now();
        let mut lent = lock(&self.lent);
        let weighing = lent.model.weigh(request)?;
        let (seconds, tokens) = (started.elapsed().as_secs_f64(), weighing.tokens);
        let is_decision = request.slot.is_decision();
        lent.tokens += tokens;
        lent.log.push(Written { functions: None, call: None, is_decision, tokens, seconds });
        Ok(weighing)
    }

    fn forget(&mut self) {
        lock(&self.lent).model.forget();
    }

    fn keep(&mut self, prompt: &Prompt, cancelled: &AtomicBool) -> Result<(), ModelError> {
        lock(&self.lent).model.keep(prompt, cancelled)
    }
}
