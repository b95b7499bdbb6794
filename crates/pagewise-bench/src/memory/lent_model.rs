//! One loaded model, lent to one agent after another.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use pagewise_core::{
    Constraint, FunctionCall, Generation, GenerationRequest, LanguageModel, ModelError, Prompt,
    TokenUsage,
};

/// Owns a model, lends it to agents, and notes what they had it write.
pub struct Lender {
    model: Rc<RefCell<Box<dyn LanguageModel>>>,
    log: Rc<RefCell<Vec<Written>>>,
    tokens: Rc<RefCell<TokenUsage>>,
}

/// One answer of the model.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// The functions that could be called; `None` for a text.
    pub(crate) functions: Option<Vec<String>>,
    /// The call, if it is one.
    pub(crate) call: Option<FunctionCall>,
    pub(crate) tokens: TokenUsage,
    pub(crate) seconds: f64,
}

impl Written {
    /// Whether it was to be a call and is none.
    pub(crate) fn is_invalid(&self) -> bool {
        self.functions.is_some() && self.call.is_none()
    }
}

/// The model as an agent has it.
struct LentModel {
    model: Rc<RefCell<Box<dyn LanguageModel>>>,
    log: Rc<RefCell<Vec<Written>>>,
    tokens: Rc<RefCell<TokenUsage>>,
}

impl Lender {
    /// Takes a model.
    pub fn new(model: Box<dyn LanguageModel>) -> Self {
        Self { model: Rc::new(RefCell::new(model)), log: Rc::default(), tokens: Rc::default() }
    }

    /// Lends the model. Only one agent has it run at a time, since there is one loop.
    pub(crate) fn lend(&self) -> Box<dyn LanguageModel> {
        Box::new(LentModel {
            model: Rc::clone(&self.model),
            log: Rc::clone(&self.log),
            tokens: Rc::clone(&self.tokens),
        })
    }

    /// Has the model forget what it read and wrote for the case before.
    pub(crate) fn begin_case(&self) {
        self.model.borrow_mut().forget();
        self.log.borrow_mut().clear();
        self.tokens.take();
    }

    /// Returns what the model wrote since this was last asked.
    pub(crate) fn written(&self) -> Vec<Written> {
        self.log.take()
    }

    /// Returns what the case cost so far.
    pub(crate) fn tokens(&self) -> TokenUsage {
        *self.tokens.borrow()
    }

    /// Counts the tokens of a prompt.
    pub(crate) fn count_tokens(&self, prompt: &Prompt) -> Result<usize, ModelError> {
        self.model.borrow().count_tokens(prompt)
    }

    /// Returns the window, in tokens.
    pub fn window_tokens(&self) -> usize {
        self.model.borrow().context_window_tokens()
    }
}

impl LanguageModel for LentModel {
    fn context_window_tokens(&self) -> usize {
        self.model.borrow().context_window_tokens()
    }

    fn count_tokens(&self, prompt: &Prompt) -> Result<usize, ModelError> {
        self.model.borrow().count_tokens(prompt)
    }

    fn generate(
        &mut self,
        request: &GenerationRequest<'_>,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation, ModelError> {
        let started = Instant::now();
        let generation = self.model.borrow_mut().generate(request, on_text)?;
        let (functions, call) = match request.constraint {
            // Decisions are in the outcome of an event.
            _ if request.slot.is_decision() => (None, None),
            Constraint::Call { functions, format } => (
                Some(functions.iter().map(|spec| spec.name.to_string()).collect()),
                FunctionCall::parse(&generation.text, functions, format).ok(),
            ),
            Constraint::Text { .. } => (None, None),
        };
        let seconds = started.elapsed().as_secs_f64();
        let mut tokens = generation.tokens;
        if request.beginning.is_some() && !request.slot.is_decision() {
            // A case costs what it would cost alone, though another one had the same material read.
            tokens.prefilled += std::mem::take(&mut tokens.reused);
        }
        *self.tokens.borrow_mut() += tokens;
        self.log.borrow_mut().push(Written { functions, call, tokens, seconds });
        Ok(generation)
    }

    fn forget(&mut self) {
        self.model.borrow_mut().forget();
    }

    fn keep(&mut self, prompt: &Prompt, cancelled: &AtomicBool) -> Result<(), ModelError> {
        self.model.borrow_mut().keep(prompt, cancelled)
    }
}
