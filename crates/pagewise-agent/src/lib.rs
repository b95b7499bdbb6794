//! The operating system of MemGPT (arXiv 2310.08560) around a small language model.
//!
//! [`Agent::handle`] takes an [`Event`], stores it, and runs the model until it yields: one
//! function call a step, executed, its result put in the FIFO queue. Read `agent.rs` first; it is
//! the one loop. What the model reads is rendered in `frame.rs` (or `transcript.rs`), what it may
//! call is decided in `tool_rules.rs`, what leaves main context in `queue_manager.rs`, and what a
//! function does in `functions/`, one file for each tier of memory.
//!
//! This crate sees the model only through [`pagewise_core::LanguageModel`], and it prints nothing:
//! a reply streams out through an [`Observer`].

mod agent;
mod chain;
mod config;
mod context_report;
mod error;
mod event;
mod frame;
mod functions;
mod intake;
mod main_context;
mod message_parts;
mod noting;
mod prompts;
mod queue_manager;
mod reading;
mod relative_days;
mod reply_stream;
mod shown_working_context;
mod summary;
mod tool_rules;
mod transcript;

pub use agent::Agent;
pub use config::{AgentConfig, Heartbeats, Rendering};
pub use context_report::{ContextReport, Region};
pub use error::AgentError;
pub use event::{CallRecord, ContextUse, Event, Observer, Outcome, Plan};
pub use prompts::prompts_fingerprint;
