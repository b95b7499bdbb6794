//! Tests of the store through its public face.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod damage;
mod index;
mod reembedding;
mod search;
mod store;
mod transfer;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pagewise_core::{FunctionCall, MessageBody};
use pagewise_memory::{
    ArchivalQuery, NewPassage, RecallQuery, SearchMode, Store, StoreError, StoreOptions,
};
use pagewise_testkit::HashEmbedder;

pub(crate) fn open(folder: &Path) -> Store {
    Store::open(folder, Arc::new(HashEmbedder::new())).unwrap()
}

/// Opens with a graph above `graph_threshold` vectors.
pub(crate) fn open_with_graph(
    folder: &Path,
    graph_threshold: usize,
    graph_rows_per_search: usize,
) -> Store {
    let options = StoreOptions { graph_threshold, graph_rows_per_search };
    Store::open_with(folder, Arc::new(HashEmbedder::new()), options).unwrap()
}

pub(crate) fn try_open(folder: &Path) -> Result<Store, StoreError> {
    Store::open(folder, Arc::new(HashEmbedder::new()))
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn second(n: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + n).unwrap()
}

pub(crate) fn user(text: &str) -> MessageBody {
    MessageBody::User { text: text.into() }
}

pub(crate) fn reply(text: &str) -> MessageBody {
    call("send_message", "message", text)
}

pub(crate) fn call(function: &str, argument: &str, value: &str) -> MessageBody {
    MessageBody::Call(FunctionCall {
        thought: None,
        function: function.into(),
        arguments: [(argument.to_string(), value.into())].into_iter().collect(),
        request_heartbeat: None,
    })
}

pub(crate) fn say(store: &mut Store, n: i64, body: MessageBody) -> i64 {
    store.transact(|tx| tx.append(second(n), body)).unwrap().id.0
}

pub(crate) fn note(store: &mut Store, text: &str) -> i64 {
    let passage = NewPassage { text: text.into(), tags: vec![], source: None, at: second(0) };
    store.transact(|tx| tx.insert_passage(&passage)).unwrap().id().0
}

pub(crate) fn recall(words: &str, mode: SearchMode) -> RecallQuery {
    RecallQuery {
        words: Some(words.into()),
        roles: Vec::new(),
        from: None,
        to: None,
        time_zone: TimeZone::UTC,
        before: None,
        page: 1,
        page_size: 1000,
        mode,
    }
}

pub(crate) fn archival(words: &str, mode: SearchMode) -> ArchivalQuery {
    ArchivalQuery { words: words.into(), tags: Vec::new(), page: 1, page_size: 1000, mode }
}

pub(crate) fn found(store: &mut Store, query: &RecallQuery) -> Vec<i64> {
    store.recall_search(query).unwrap().hits.iter().map(|hit| hit.message.id.0).collect()
}

pub(crate) fn found_passages(store: &mut Store, query: &ArchivalQuery) -> Vec<i64> {
    store.archival_search(query).unwrap().hits.iter().map(|hit| hit.passage.id.0).collect()
}
