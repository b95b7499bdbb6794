//! Searching recall storage: what was said.

use jiff::tz::TimeZone;
use pagewise_core::{ArgumentKind, ArgumentSpec, FunctionCall, FunctionSpec, Message, Role};
use pagewise_memory::{Page, RecallHit, RecallQuery, SearchMode};

use super::{Done, Effect, Execution, Function, Purpose, State};
use crate::{
    config::Heartbeats,
    main_context::clip,
    message_parts::{said_by, wanted},
    relative_days::{with_days, written},
    tool_rules::{Must, must},
};

pub(crate) static CONVERSATION_SEARCH: Function = Function {
    name: "conversation_search",
    purpose: Purpose::Search,
    help: "(words): search recall storage by words and meaning",
    spec: |state| {
        let mut arguments = vec![words_argument(state)];
        arguments.extend(page_argument(state));
        state.has_evicted.then(|| FunctionSpec {
            name: "conversation_search",
            description: "Search everything said so far.",
            arguments,
            asks_heartbeat: state.config.heartbeats == Heartbeats::Asked,
        })
    },
    run: |call, execution| {
        execution.chain.search_for(call.text("words"));
        let words = search_words(call, execution);
        let query = RecallQuery { words: Some(words), ..recall_query(call, execution) };
        let speaker = speaker(call, execution);
        let of_speaker = RecallQuery { roles: speaker.into_iter().collect(), ..query.clone() };
        let mut page = execution.store.recall_search(&of_speaker)?;
        if page.total == 0 && speaker.is_some() {
            page = execution.store.recall_search(&query)?;
        }
        Ok(Done::ok(call, show(&page, execution), Effect::None))
    },
};

pub(crate) static CONVERSATION_SEARCH_DATE: Function = Function {
    name: "conversation_search_date",
    purpose: Purpose::Search,
    help: "(from, to): list what was said between two days, both included",
    spec: |state| {
        let mut arguments = vec![
            ArgumentSpec { name: "from", description: "the first day", kind: ArgumentKind::Date },
            ArgumentSpec { name: "to", description: "the last day", kind: ArgumentKind::Date },
        ];
        arguments.extend(page_argument(state));
        state.has_evicted.then(|| FunctionSpec {
            name: "conversation_search_date",
            description: "List what was said between two days.",
            arguments,
            asks_heartbeat: state.config.heartbeats == Heartbeats::Asked,
        })
    },
    run: |call, execution| {
        let (from, to) = (call.text("from").parse().ok(), call.text("to").parse().ok());
        if from > to {
            return Ok(Done::failed(call, "The first day is after the last one: swap them."));
        }
        let query = RecallQuery { from, to, ..recall_query(call, execution) };
        let page = execution.store.recall_search(&query)?;
        Ok(Done::ok(call, list(&page, execution), Effect::None))
    },
};

/// What to look for.
pub(super) fn words_argument(state: &State<'_>) -> ArgumentSpec<'static> {
    ArgumentSpec {
        name: "words",
        description: "what to look for",
        kind: match (must(state), state.chain.identifiers()) {
            (Must::Follow, _) => ArgumentKind::OneOf(state.chain.leads.clone()),
            // What the user named exactly is looked for as it is named.
            (Must::Search, named) if !named.is_empty() => ArgumentKind::OneOf(named),
            _ => ArgumentKind::Text { max_chars: state.config.query_max_chars },
        },
    }
}

/// A page can be asked for once a search has shown that there are more, and not of another search.
pub(super) fn page_argument(state: &State<'_>) -> Option<ArgumentSpec<'static>> {
    let is_another = matches!(must(state), Must::Follow | Must::SearchOn);
    (state.chain.n_pages > 1 && !is_another).then_some(ArgumentSpec {
        name: "page",
        description: "the page of results",
        kind: ArgumentKind::Integer { min: 1, max: state.chain.n_pages.into() },
    })
}

/// The page that a call asks for, from 1.
pub(crate) fn page_of(call: &FunctionCall) -> u32 {
    let page = call.arguments.get("page").and_then(serde_json::Value::as_u64);
    page.and_then(|page| u32::try_from(page).ok()).unwrap_or(1)
}

/// The model's words, joined by the user's own: small models drop the telling ones.
pub(super) fn search_words(call: &FunctionCall, execution: &Execution<'_>) -> String {
    let words = call.text("words");
    let config = execution.config;
    // A text that has both in a row is found by no substring.
    let joins = config.event_words_in_search && config.search_mode != SearchMode::Substring;
    let chain = &*execution.chain;
    if !joins || chain.event_text.is_empty() {
        return words.to_string();
    }
    match chain.reading.as_ref().filter(|reading| reading.searches_on && reading.leads_on()) {
        // The message was searched for, and led here.
        Some(reading) => format!("{words} {}", reading.leads.join(" ")),
        None => format!("{words} {}", wanted(&chain.event_text)),
    }
}

/// Who spoke that the search is confined to. The first one looks among what was said by the one who has said it
/// according to the message, all its pages do, and another one among everything: the message may be wrong.
fn speaker(call: &FunctionCall, execution: &mut Execution<'_>) -> Option<Role> {
    let words = call.text("words");
    let chain = &mut *execution.chain;
    let speaker = match &chain.last_search {
        Some((before, speaker)) if before == words => *speaker,
        Some(_) => None,
        None => said_by(&chain.event_text),
    };
    chain.last_search = Some((words.to_string(), speaker));
    speaker
}

/// Says what there is of it and how much, before what a page has.
pub(super) fn heading<T>(page: &Page<T>, what: &str) -> String {
    let Page { hits, total, page, n_pages } = page;
    match (hits.len(), total) {
        (_, 0) => "Nothing was found.".into(),
        (0, _) => format!("There is no page {page}: the last one is {n_pages}."),
        (n_hits, _) => format!("Page {page} of {n_pages}, {n_hits} of {total} {what}:"),
    }
}

/// Says which hits are left out of a page, and if all of them are, what that means.
pub(super) fn known(n_known: usize, n_hits: usize, execution: &Execution<'_>) -> Option<String> {
    let end = execution.chain.trail_end().filter(|_| n_known == n_hits);
    match (n_known, end) {
        (0, _) => None,
        (_, Some(end)) => {
            Some(format!("(Nothing new. Nothing else names {end}: the trail ends there.)"))
        }
        _ => Some(format!("({n_known} of these were already shown above.)")),
    }
}

fn recall_query(call: &FunctionCall, execution: &Execution<'_>) -> RecallQuery {
    RecallQuery {
        words: None,
        roles: vec![Role::User, Role::Assistant],
        from: None,
        to: None,
        time_zone: execution.time_zone(),
        // What is being answered would be found first, and tells nothing.
        before: Some(execution.chain.event),
        page: page_of(call),
        page_size: execution.config.page_size,
        mode: execution.config.search_mode,
    }
}

fn show(page: &Page<RecallHit>, execution: &mut Execution<'_>) -> String {
    execution.chain.n_pages = page.n_pages;
    let time_zone = execution.time_zone();
    let mut lines = vec![heading(page, "results")];
    let mut n_known = 0;
    for hit in &page.hits {
        if execution.chain.shown_messages.insert(hit.message.id) {
            lines.push(line(hit, &time_zone, execution));
        } else {
            n_known += 1;
        }
    }
    lines.extend(known(n_known, page.hits.len(), execution));
    lines.join("\n")
}

/// Shows all of a page, whatever was shown before: it may be the place of a message that is asked for.
fn list(page: &Page<RecallHit>, execution: &mut Execution<'_>) -> String {
    execution.chain.n_pages = page.n_pages;
    let time_zone = execution.time_zone();
    let mut lines = vec![heading(page, "messages, oldest first")];
    for hit in &page.hits {
        execution.chain.shown_messages.insert(hit.message.id);
        lines.push(line(hit, &time_zone, execution));
    }
    lines.join("\n")
}

fn line(hit: &RecallHit, time_zone: &TimeZone, execution: &mut Execution<'_>) -> String {
    let text = said(&hit.message, &hit.spoken, execution.config.shown_result_chars, time_zone);
    execution.chain.show(&whose(&hit.message, time_zone), &text)
}

/// Shows what a message says, shortened to so many characters, with the days that it counts from its own.
pub(crate) fn said(
    message: &Message,
    spoken: &str,
    max_chars: usize,
    time_zone: &TimeZone,
) -> String {
    with_days(&clip(spoken, max_chars), message.at.to_zoned(time_zone.clone()).date())
}

/// Says when a message was sent, and by whom.
pub(crate) fn whose(message: &Message, time_zone: &TimeZone) -> String {
    let day = written(message.at.to_zoned(time_zone.clone()).date());
    let speaker = match message.body.role() {
        Role::User => "the user said",
        _ => "you said",
    };
    format!("{day}, {speaker}")
}
