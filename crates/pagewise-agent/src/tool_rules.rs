//! Which functions the model may call at this step.
//!
//! The rules are guarantees and not advice: what they leave out is not in the grammar, so it
//! cannot be sampled.

use pagewise_core::{FunctionSpec, Status};

use crate::chain::{Chain, Task};
use crate::functions::{FUNCTIONS, Function, Purpose, SEND_MESSAGE, State, recall};

/// Returns the specs of the functions that may be called now, at least one.
pub(crate) fn permitted(state: &State<'_>) -> Vec<FunctionSpec<'static>> {
    let mut specs: Vec<FunctionSpec> = FUNCTIONS
        .iter()
        .filter(|function| allows(function, state))
        .filter_map(|function| (function.spec)(state))
        .collect();
    if specs.is_empty() {
        specs.extend((SEND_MESSAGE.spec)(state));
    }
    specs
}

/// What the next call must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Must {
    /// Whatever is permitted.
    Anything,
    /// Search: the user asks, and there is more than the model sees.
    Search,
    /// Search on: what was read in what was found is no answer yet.
    SearchOn,
    /// Search for one of the identifiers that were found: the request wants the end of a trail.
    Follow,
}

/// Returns what the next call must do.
pub(crate) fn must(state: &State<'_>) -> Must {
    let (config, chain) = (state.config, state.chain);
    if chain.task != Task::Reply || is_last_step(state) {
        return Must::Anything;
    }
    let is_unsearched = chain.n_searches == 0 && state.has_more();
    if config.search_before_answer && chain.searches && is_unsearched {
        return Must::Search;
    }
    let may_search = chain.n_searches < config.searches_per_event;
    if may_search && chain.reading.as_ref().is_some_and(|reading| reading.searches_on) {
        return Must::SearchOn;
    }
    match chain.follows == Some(true) && !chain.leads.is_empty() && may_search {
        true => Must::Follow,
        false => Must::Anything,
    }
}

fn allows(function: &Function, state: &State<'_>) -> bool {
    let (config, chain) = (state.config, state.chain);
    let must = must(state);
    // A search that starts from what was read is another one, though the model's own words be the same.
    if must != Must::SearchOn && is_masked_for_a_step(function, chain, config.repeats_allowed) {
        return false;
    }
    match (chain.task, function.purpose) {
        (Task::Save, purpose) => purpose == Purpose::Edit,
        (Task::Reply, _) if must == Must::Follow => {
            chain.last.as_ref().is_some_and(|(last, _)| last.function == function.name)
        }
        (Task::Reply, Purpose::Reply) => !matches!(must, Must::Search | Must::SearchOn),
        (Task::Reply, _) if is_last_step(state) => false,
        (Task::Reply, Purpose::Search) => {
            // The first search is by words, as is one that starts from what was read: left to itself, a small
            // model lists the current day.
            let is_by_words = chain.n_searches == 0 || must == Must::SearchOn;
            let is_by_date = function.name == recall::CONVERSATION_SEARCH_DATE.name;
            chain.n_searches < config.searches_per_event && !(is_by_date && is_by_words)
        }
        // What a question says is no fact, but small models would save it as one.
        (Task::Reply, Purpose::Edit) => {
            // An edit that was refused may be mended once: small models would go on trying.
            (chain.saves || !config.intake)
                && !chain.searches
                && chain.n_edits < config.edits_per_event
                && chain.n_refused_edits <= config.edits_per_event
        }
    }
}

/// Whether the model could search on, now that it has searched.
pub(crate) fn may_search_on(state: &State<'_>) -> bool {
    let searches = 1..state.config.searches_per_event;
    searches.contains(&state.chain.n_searches) && !is_last_step(state)
}

fn is_last_step(state: &State<'_>) -> bool {
    state.chain.n_steps + 1 >= state.config.steps_per_event
}

/// A model that repeated a call word for word, or was refused, would do the same again: for one
/// step it cannot.
fn is_masked_for_a_step(function: &Function, chain: &Chain, repeats_allowed: usize) -> bool {
    function.purpose != Purpose::Reply
        && chain.last.as_ref().is_some_and(|(last, result)| {
            last.function == function.name
                && (chain.n_repeats >= repeats_allowed || result.status == Status::Failed)
        })
}
