//! Main context: what the model reads (MemGPT paper, section 2.1).
//!
//! System instructions, working context, and the FIFO queue with the recursive summary at its
//! head. This is the one description of it; `frame.rs` and `transcript.rs` are the two ways it
//! is shown. Nothing that changes often stands near the front, so that the KV cache lasts.

use std::borrow::Cow;

use jiff::Zoned;
use pagewise_core::{Message, MessageBody, MessageId, Prompt};
use pagewise_memory::FifoQueue;

use crate::chain::{Chain, Task};
use crate::config::{AgentConfig, Rendering};
use crate::functions::working_context::one_line;
use crate::shown_working_context::ShownWorkingContext;
use crate::tool_rules::Must;
use crate::{frame, transcript};

/// What the memory pressure warning says (MemGPT paper, section 2.2).
pub(crate) const PRESSURE_WARNING: &str = include_str!("prompts/pressure_warning.md");

/// Everything a rendering needs.
pub(crate) struct MainContext<'a> {
    pub(crate) config: &'a AgentConfig,
    pub(crate) working_context: &'a ShownWorkingContext,
    pub(crate) queue: &'a FifoQueue,
    /// The chain that is under way, if any.
    pub(crate) chain: Option<&'a Chain>,
    /// Whether the window has room for examples in the system instructions.
    pub(crate) with_examples: bool,
    /// What the next call must do.
    pub(crate) must: Must,
    pub(crate) now: &'a Zoned,
    /// How long a message or a result is shown at most.
    pub(crate) shown: Shown,
}

/// How much of the parts of main context is shown at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Of a message, and of the arguments of a call.
    pub(crate) message_chars: usize,
    pub(crate) result_chars: usize,
    pub(crate) summary_chars: usize,
    /// The latest lines of the conversation, and the latest calls of the event.
    pub(crate) n_latest: usize,
}

impl Shown {
    /// The least that can be shown: a character of a rare script is up to four tokens.
    pub(crate) const LEAST: Self =
        Self { message_chars: 10, result_chars: 10, summary_chars: 0, n_latest: 0 };

    /// As many lines as are halved at first.
    const MANY_LATEST: usize = 64;

    pub(crate) fn of(config: &AgentConfig) -> Self {
        let page = usize::try_from(config.page_size).unwrap_or(1) + 1;
        Self {
            message_chars: config.shown_message_chars,
            result_chars: 2 * page * config.shown_result_chars,
            summary_chars: config.summary_max_chars,
            n_latest: usize::MAX,
        }
    }

    /// Half as long, and when that is at its least half as many, but not below [`Shown::LEAST`].
    pub(crate) fn halved(self) -> Self {
        let half = Self {
            message_chars: (self.message_chars / 2).max(Self::LEAST.message_chars),
            result_chars: (self.result_chars / 2).max(Self::LEAST.result_chars),
            summary_chars: self.summary_chars / 2,
            n_latest: self.n_latest,
        };
        if half == self {
            return Self { n_latest: self.n_latest.min(Self::MANY_LATEST) / 2, ..self };
        }
        half
    }

    /// The last [`Shown::n_latest`] of these.
    pub(crate) fn latest<T>(self, mut all: Vec<T>) -> Vec<T> {
        all.split_off(all.len().saturating_sub(self.n_latest))
    }
}

impl MainContext<'_> {
    /// Renders the prompt of the next step.
    pub(crate) fn prompt(&self) -> Prompt {
        match self.config.rendering {
            Rendering::Frame => frame::render(self),
            Rendering::Transcript => transcript::render(self),
        }
    }

    /// The messages of the event under way and of the calls it set off.
    pub(crate) fn is_of_event(&self, id: MessageId) -> bool {
        self.chain.is_some_and(|chain| id >= chain.event)
    }

    /// What the model is to do now, in one or two sentences.
    pub(crate) fn instruction(&self) -> Cow<'static, str> {
        let Some(chain) = self.chain else { return "".into() };
        if let Some(end) = chain.trail_end() {
            let instruction = include_str!("prompts/instruction_followed.md").trim_end();
            return instruction.replace("{end}", end).into();
        }
        let reads = matches!(self.must, Must::Anything | Must::SearchOn);
        if let Some(reading) = chain.reading.as_ref().filter(|_| reads) {
            let instruction = match self.must {
                Must::SearchOn => include_str!("prompts/instruction_search_on.md").trim_end(),
                _ => include_str!("prompts/instruction_read.md").trim_end(),
            };
            let answer = clip(&one_line(&reading.answer), self.shown.result_chars);
            return instruction.replace("{reading}", &answer).into();
        }
        let instruction = match chain.task {
            Task::Save => include_str!("prompts/instruction_save.md").trim_end(),
            Task::Reply if self.must == Must::Search => {
                include_str!("prompts/instruction_search.md").trim_end()
            }
            Task::Reply if self.must == Must::Follow => {
                include_str!("prompts/instruction_follow.md").trim_end()
            }
            Task::Reply if chain.n_searches > 0 => {
                include_str!("prompts/instruction_found.md").trim_end()
            }
            Task::Reply if chain.n_edits > 0 => {
                include_str!("prompts/instruction_saved.md").trim_end()
            }
            Task::Reply => include_str!("prompts/instruction_reply.md").trim_end(),
        };
        instruction.into()
    }
}

/// Says what an event that is not the user's was, for either rendering; `None` for what is no
/// event, and for the memory pressure warning, which is past when it is in the queue.
pub(crate) fn describe_event(message: &Message) -> Option<String> {
    match &message.body {
        MessageBody::Login { last: None } => Some("The user is here for the first time.".into()),
        MessageBody::Login { last: Some(last) } => {
            let days = message.at.duration_since(*last).as_hours() / 24;
            Some(match days {
                0 => "The user came back.".into(),
                1 => "The user came back after a day.".into(),
                days => format!("The user came back after {days} days."),
            })
        }
        MessageBody::DocumentUploaded { name, n_passages } => Some(format!(
            "The document {name:?} was put into archival storage ({n_passages} passages)."
        )),
        MessageBody::SystemAlert { text } if text != PRESSURE_WARNING => Some(text.clone()),
        _ => None,
    }
}

/// Cuts a text for showing, saying so; what is stored stays whole.
pub(crate) fn clip(text: &str, max_chars: usize) -> String {
    let n_chars = text.chars().count();
    if n_chars <= max_chars {
        return text.to_string();
    }
    let shown: String = text.chars().take(max_chars).collect();
    format!("{} [… {max_chars} of {n_chars} characters shown]", shown.trim_end())
}
