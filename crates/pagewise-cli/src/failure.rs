//! What went wrong, as a sentence and an exit code.

use std::fmt;
use std::process::ExitCode;

use pagewise_agent::AgentError;
use pagewise_core::ModelError;
use pagewise_infer::LoadError;
use pagewise_memory::StoreError;

/// Windows that are advised are multiples of this, in tokens.
const WINDOW_STEP: usize = 256;

/// A command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// One sentence on what is wrong.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

/// Why a command failed: the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Failure = 1,
    Usage = 2,
    Model = 3,
    Store = 4,
    Interrupted = 130,
}

impl Kind {
    /// Returns the name in JSON output.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Usage => "usage",
            Self::Model => "model",
            Self::Store => "store",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<Kind> for ExitCode {
    fn from(kind: Kind) -> Self {
        Self::from(kind as u8)
    }
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string(), hint: None }
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub(crate) fn hint(self, hint: impl fmt::Display) -> Self {
        Self { hint: Some(hint.to_string()), ..self }
    }

    /// This failure and another one, said together; it is of this kind.
    pub(crate) fn and(self, other: Self) -> Self {
        let hints: Vec<String> = self.hint.into_iter().chain(other.hint).collect();
        Self {
            kind: self.kind,
            message: format!("{}; {}", self.message, other.message),
            hint: (!hints.is_empty()).then(|| hints.join("; ")),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(Kind::Store, error)
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let kind = match error {
            LoadError::WindowTooLarge { .. } | LoadError::WindowTooSmall { .. } => Kind::Usage,
            _ => Kind::Model,
        };
        let hint = load_hint(&error);
        Self { hint, ..Self::new(kind, error) }
    }
}

/// Advises a window of so many tokens.
pub(crate) fn try_window(tokens: usize) -> String {
    format!("try --window {tokens}")
}

/// What to do where a window cannot be had, or there is no memory for a model.
fn load_hint(error: &LoadError) -> Option<String> {
    const PLAN: &str = "`pagewise models plan` says what a model takes";
    match error {
        LoadError::WindowTooLarge { context_length, .. } => Some(try_window(*context_length)),
        LoadError::TooLarge { largest_window, .. } => {
            let window = largest_window.unwrap_or(0) / WINDOW_STEP * WINDOW_STEP;
            Some(match window {
                0 => format!("try smaller weights; {PLAN}"),
                _ => format!("{}, or smaller weights; {PLAN}", try_window(window)),
            })
        }
        LoadError::OutOfMemory(_) => Some(PLAN.into()),
        _ => None,
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Self::new(Kind::Model, error)
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::EmptyMessage => Self::usage(error),
            AgentError::WindowTooSmall { needed_tokens, .. } => {
                Self::usage(error).hint(try_window(needed_tokens.next_multiple_of(WINDOW_STEP)))
            }
            AgentError::Model(error) => error.into(),
            AgentError::Store(error) => error.into(),
            AgentError::InvalidCall { .. } => Self::new(Kind::Failure, error),
        }
    }
}
