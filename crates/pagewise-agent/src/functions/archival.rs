//! Archival storage: passages stored on purpose, and documents.

use pagewise_core::{ArgumentKind, ArgumentSpec, FunctionSpec};
use pagewise_memory::{ArchivalHit, ArchivalQuery, NewPassage, Page};

use super::recall::{heading, known, page_argument, page_of, search_words, words_argument};
use super::{Done, Effect, Execution, Function, Purpose};
use crate::{config::Heartbeats, main_context::clip, relative_days::written};

pub(crate) static ARCHIVAL_INSERT: Function = Function {
    name: "archival_insert",
    purpose: Purpose::Edit,
    help: "(text): put a longer note into archival storage",
    spec: |state| {
        Some(FunctionSpec {
            name: "archival_insert",
            description: "Put a note into archival storage.",
            arguments: vec![ArgumentSpec {
                name: "text",
                description: "the note; it must make sense on its own",
                kind: ArgumentKind::Text { max_chars: 2 * state.config.memory_text_max_chars },
            }],
            asks_heartbeat: state.config.heartbeats == Heartbeats::Asked,
        })
    },
    run: |call, execution| {
        let passage = NewPassage {
            text: call.text("text").to_string(),
            tags: Vec::new(),
            source: None,
            at: execution.now.timestamp(),
        };
        Ok(Done::ok(call, "Stored.", Effect::InsertPassage(passage)))
    },
};

pub(crate) static ARCHIVAL_SEARCH: Function = Function {
    name: "archival_search",
    purpose: Purpose::Search,
    help: "(words): search archival storage (documents and notes) by words and meaning",
    spec: |state| {
        let mut arguments = vec![words_argument(state)];
        arguments.extend(page_argument(state));
        (state.n_passages > 0).then(|| FunctionSpec {
            name: "archival_search",
            description: "Search documents and notes.",
            arguments,
            asks_heartbeat: state.config.heartbeats == Heartbeats::Asked,
        })
    },
    run: |call, execution| {
        execution.chain.search_for(call.text("words"));
        let query = ArchivalQuery {
            words: search_words(call, execution),
            tags: Vec::new(),
            page: page_of(call),
            page_size: execution.config.page_size,
            mode: execution.config.search_mode,
        };
        let page = execution.store.archival_search(&query)?;
        Ok(Done::ok(call, show(&page, execution), Effect::None))
    },
};

fn show(page: &Page<ArchivalHit>, execution: &mut Execution<'_>) -> String {
    execution.chain.n_pages = page.n_pages;
    let mut lines = vec![heading(page, "results")];
    let mut n_known = 0;
    for ArchivalHit { passage, .. } in &page.hits {
        if !execution.chain.shown_passages.insert(passage.id) {
            n_known += 1;
            continue;
        }
        let day = written(passage.at.to_zoned(execution.time_zone()).date());
        let source = passage.source.as_deref().map_or_else(String::new, |name| format!(", {name}"));
        // A passage of a document is the answer itself more often than a message is, so it is
        // shown at twice the length.
        let text = clip(&passage.text, 2 * execution.config.shown_result_chars);
        lines.push(execution.chain.show(&format!("{day}{source}"), &text));
    }
    lines.extend(known(n_known, page.hits.len(), execution));
    lines.join("\n")
}
