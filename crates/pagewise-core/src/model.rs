//! The language model as the operating system sees it.

use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{CallFormat, FunctionSpec};

/// A processor with a fixed context window.
pub trait LanguageModel {
    /// Returns the size of the context window in tokens: prompt and answer together.
    fn context_window_tokens(&self) -> usize;

    /// Returns how many tokens `prompt` is, rendered and tokenized exactly as for generation.
    fn count_tokens(&self, prompt: &Prompt) -> Result<usize, ModelError>;

    /// Answers `request.prompt`.
    ///
    /// `on_text` gets each piece of the answer as soon as it is whole UTF-8, forced text
    /// included; the pieces join to [`Generation::text`]. Breaking from it, or setting
    /// `request.cancelled`, ends the generation with [`Finish::Cancelled`].
    fn generate(
        &mut self,
        request: &GenerationRequest<'_>,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation, ModelError>;

    /// Says how likely each of several answers is.
    fn weigh(&mut self, request: &WeighingRequest<'_>) -> Result<Weighing, ModelError>;

    /// Forgets what was read, so that the next answer cannot depend on what came before it: in the
    /// last bits, what is computed depends on how much of a prompt is already in a KV cache. It may keep
    /// what makes no such difference, such as a [beginning](GenerationRequest::beginning).
    fn forget(&mut self) {}

    /// Reads `prompt`, which is how main context is expected to begin when it is next asked for, and
    /// keeps what was read beyond the end of the program, if the model can do that.
    ///
    /// Nothing is lost if it is not called, or fails, but time. Setting `cancelled` makes it keep
    /// what was read already.
    fn keep(&mut self, _prompt: &Prompt, _cancelled: &AtomicBool) -> Result<(), ModelError> {
        Ok(())
    }
}

/// What the model reads, before the chat template.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// The turns; the model's answer follows the last one.
    pub messages: Vec<PromptMessage>,
}

impl Prompt {
    /// Returns the prompt without its last turn.
    #[must_use]
    pub fn without_last_turn(&self) -> Self {
        let n_before = self.messages.len().saturating_sub(1);
        Self { messages: self.messages[..n_before].to_vec() }
    }
}

/// One turn of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptMessage {
    /// Whose turn it is.
    pub role: PromptRole,
    /// What it says; never read as template or as special tokens.
    pub content: String,
}

/// Whose turn it is in a prompt. Chat templates that refuse one of these get it mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptRole {
    /// System instructions.
    System,
    /// The user, or the operating system speaking as a user turn.
    User,
    /// The model.
    Assistant,
    /// The result of a function.
    Tool,
}

/// Which prompt this is a version of: each slot keeps its own KV cache, so that writing a
/// summary does not throw away the conversation's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionSlot {
    /// The agent's main context.
    MainContext,
    /// The summariser's prompt.
    Summary,
    /// The prompt with what was found, noted and said, and what is asked.
    Reading,
    /// What is decided of a message before main context is asked.
    Intake,
    /// What is decided of a request on made-up entries.
    Rehearsal,
    /// What is noted of a message.
    Noting,
    /// What is decided of an answer that was read: whether it is one.
    Checking,
}

impl SessionSlot {
    /// Whether what is asked in this slot is a decision: all turns but the last are the same each time.
    pub fn is_decision(self) -> bool {
        matches!(self, Self::Intake | Self::Rehearsal | Self::Noting | Self::Checking)
    }
}

/// What the answer must be.
#[derive(Debug, Clone, Copy)]
pub enum Constraint<'a> {
    /// One function call, written as [`CallFormat`] says.
    Call {
        /// The functions that may be called now.
        functions: &'a [FunctionSpec<'a>],
        /// How the call is written.
        format: &'a CallFormat,
    },
    /// Free text until the model ends its turn, or `max_chars` characters.
    Text {
        /// The longest allowed, in characters.
        max_chars: usize,
    },
}

/// One question to the model.
#[derive(Debug)]
pub struct GenerationRequest<'a> {
    /// Which KV cache to use.
    pub slot: SessionSlot,
    /// What the model reads.
    pub prompt: &'a Prompt,
    /// What other prompts of the slot begin with too, up to where they differ. It is read by itself and kept
    /// for them, so that the answer does not depend on which of them was asked before. `None` if the prompt
    /// continues the one before it.
    pub beginning: Option<&'a Prompt>,
    /// What it may answer.
    pub constraint: Constraint<'a>,
    /// How tokens are chosen.
    pub sampling: &'a Sampling,
    /// Seeds this answer alone, so that an answer does not depend on how many came before it.
    pub seed: u64,
    /// The most tokens the answer may take; a call that has not ended by then is closed by the
    /// grammar, a text is cut.
    pub max_tokens: usize,
    /// Set from outside to stop, also in the middle of a long prefill.
    pub cancelled: &'a AtomicBool,
}

/// One question to the model of which the answers are known, and are to be weighed against each other.
#[derive(Debug)]
pub struct WeighingRequest<'a> {
    /// Which KV cache to use.
    pub slot: SessionSlot,
    /// What the model reads.
    pub prompt: &'a Prompt,
    /// As [`GenerationRequest::beginning`].
    pub beginning: Option<&'a Prompt>,
    /// The answers, whole.
    pub answers: &'a [String],
    /// As [`GenerationRequest::cancelled`].
    pub cancelled: &'a AtomicBool,
}

/// How likely answers are.
#[derive(Debug, Clone, PartialEq)]
pub struct Weighing {
    /// The natural logarithm of the probability that the model, not constrained, writes what the answer has behind
    /// what all of them begin with, for each answer; whether it ends there does not count. `None` if it was
    /// cancelled.
    pub log_probabilities: Option<Vec<f64>>,
    /// What it cost; the tokens of answers count as forced, those that all begin with once.
    pub tokens: TokenUsage,
}

/// How tokens are chosen among those the constraint allows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// 0 takes the likeliest token always.
    pub temperature: f32,
    /// Keeps the `top_k` likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the likeliest tokens that together reach this probability; 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens at least this fraction as likely as the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of recent tokens; 1 does nothing.
    pub repetition_penalty: f32,
    /// How many recent tokens the penalty looks at.
    pub repetition_window: usize,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            repetition_window: 64,
        }
    }
}

/// The model's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// All of it.
    pub text: String,
    /// What the model thought before it; empty unless it was trained to think and may.
    pub thoughts: String,
    /// Why it ended.
    pub finish: Finish,
    /// What it cost.
    pub tokens: TokenUsage,
    /// How long it took until the first token was sampled, which is mostly reading the prompt;
    /// `None` if nothing was sampled, or the model does not measure it.
    pub first_token: Option<Duration>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The call is complete, or the model ended its turn.
    Complete,
    /// The token budget ran out; a call was closed by the grammar, a text was cut.
    Budget,
    /// Stopped from outside; the text is what there was.
    Cancelled,
}

/// What an answer cost, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Prompt tokens that went through the model.
    pub prefilled: usize,
    /// Prompt tokens that the KV cache already held.
    pub reused: usize,
    /// Tokens sampled.
    pub generated: usize,
    /// Tokens of the answer that the grammar decided.
    pub forced: usize,
    /// Forward passes: one for the prompt, then one for each token sampled, unless it was guessed
    /// rightly before.
    pub passes: usize,
}

impl std::ops::AddAssign for TokenUsage {
    fn add_assign(&mut self, other: Self) {
        self.prefilled += other.prefilled;
        self.reused += other.reused;
        self.generated += other.generated;
        self.forced += other.forced;
        self.passes += other.passes;
    }
}

/// The model could not answer.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The prompt leaves no room in the window. The operating system counts before it asks, so
    /// this is a bug in its accounting.
    #[error("the prompt is {prompt_tokens} tokens, and the context window {window_tokens}")]
    PromptTooLong {
        /// The prompt's tokens.
        prompt_tokens: usize,
        /// The window's tokens.
        window_tokens: usize,
    },
    /// The chat template could not be rendered.
    #[error("the model's chat template failed: {0}")]
    Template(String),
    /// The grammar allowed nothing: a bug of the grammar.
    #[error("the grammar allows no token: {0}")]
    Grammar(String),
    /// The forward pass failed.
    #[error("inference failed: {0}")]
    Inference(String),
    /// What was read could not be kept for the next start.
    #[error("the KV cache was not saved: {0}")]
    NotKept(String),
}
