//! The integration tests, one binary: what the crates do together, and what the tree promises.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod program;

mod bad_input;
mod bench_memory;
mod bench_reports;
mod chat;
mod doctor;
mod embedder_change;
mod kill;
mod memory_history;
#[cfg(target_os = "linux")]
mod memory_limits;
mod memory_transfer;
mod models;
mod offline;
mod perf;
mod perplexity;
mod restart;
#[cfg(unix)]
mod terminal;
mod tidy;
mod window;
