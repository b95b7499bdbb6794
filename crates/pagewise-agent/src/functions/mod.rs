//! The functions the model can call: for each one its spec, its body and its purpose.
//!
//! To add one, write a [`Function`] in the file of its tier and name it in [`FUNCTIONS`]; the
//! prompt's list and the grammar follow from the spec.

pub(crate) mod archival;
pub(crate) mod recall;
mod reply;
pub(crate) mod working_context;

use jiff::{Zoned, tz::TimeZone};
use pagewise_core::{FunctionCall, FunctionResult, FunctionSpec, Status};
use pagewise_memory::{Block, NewPassage, Store, StoreError, WorkingContext};

use crate::{chain::Chain, config::AgentConfig};

pub(crate) use reply::SEND_MESSAGE;

/// Every function, in the order in which the model reads them.
pub(crate) static FUNCTIONS: [&Function; 7] = [
    &reply::SEND_MESSAGE,
    &working_context::APPEND,
    &working_context::REPLACE,
    &recall::CONVERSATION_SEARCH,
    &recall::CONVERSATION_SEARCH_DATE,
    &archival::ARCHIVAL_INSERT,
    &archival::ARCHIVAL_SEARCH,
];

/// One function.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) purpose: Purpose,
    /// As the model reads it in the system instructions: `(arguments): description`.
    pub(crate) help: &'static str,
    /// The spec in this state of memory; `None` when there is nothing the function could do.
    pub(crate) spec: fn(&State<'_>) -> Option<FunctionSpec<'static>>,
    /// Does what the call asks, or says why not. Changes nothing itself: see [`Effect`].
    pub(crate) run: fn(&FunctionCall, &mut Execution<'_>) -> Result<Done, StoreError>,
}

/// What a function is for; the tool rules speak of purposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Speaks to the user.
    Reply,
    /// Reads memory.
    Search,
    /// Writes memory.
    Edit,
}

/// What memory holds, for the specs.
pub(crate) struct State<'a> {
    pub(crate) config: &'a AgentConfig,
    pub(crate) working_context: &'a WorkingContext,
    pub(crate) chain: &'a Chain,
    /// Whether recall storage holds messages that are not in view.
    pub(crate) has_evicted: bool,
    pub(crate) n_passages: u64,
}

impl State<'_> {
    /// Whether memory holds more than the model sees.
    pub(crate) fn has_more(&self) -> bool {
        self.has_evicted || self.n_passages > 0
    }
}

/// What a function works with.
pub(crate) struct Execution<'a> {
    pub(crate) config: &'a AgentConfig,
    pub(crate) working_context: &'a WorkingContext,
    pub(crate) chain: &'a mut Chain,
    pub(crate) store: &'a mut Store,
    pub(crate) now: &'a Zoned,
}

impl Execution<'_> {
    pub(crate) fn time_zone(&self) -> TimeZone {
        self.now.time_zone().clone()
    }
}

/// What came of a call, not yet stored.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) result: FunctionResult,
    pub(crate) effect: Effect,
}

/// The change that a call makes. It is stored in one transaction with the call and its result,
/// so that there is never one without the others.
#[derive(Debug)]
pub(crate) enum Effect {
    None,
    SaveBlock(Block),
    InsertPassage(NewPassage),
}

impl Done {
    pub(crate) fn ok(call: &FunctionCall, message: impl Into<String>, effect: Effect) -> Self {
        Self::new(call, Status::Ok, message.into(), effect)
    }

    /// `reason` is a sentence that the model can act on.
    pub(crate) fn failed(call: &FunctionCall, reason: impl Into<String>) -> Self {
        Self::new(call, Status::Failed, reason.into(), Effect::None)
    }

    fn new(call: &FunctionCall, status: Status, message: String, effect: Effect) -> Self {
        let result = FunctionResult { function: call.function.clone(), status, message };
        Self { result, effect }
    }
}

/// Finds a function by its name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().copied().find(|function| function.name == name)
}

/// The lines about functions in the system instructions. They never change, so that the KV cache of
/// the system instructions never does; what may be called now is the grammar's business.
pub(crate) fn help() -> String {
    let lines: Vec<String> =
        FUNCTIONS.iter().map(|function| format!("- {}{}", function.name, function.help)).collect();
    lines.join("\n")
}
