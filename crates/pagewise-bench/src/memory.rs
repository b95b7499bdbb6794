//! Benchmarks of memory management: the MemGPT experiments on open weights.
//!
//! A [`Task`] gives [cases](Case), from a seeded generator or from a folder of public data. A case says what
//! memory holds before, what the user says, and what makes the last reply right. An [`Arm`] answers it: the
//! agent with its memory, or the same model with one prompt, so that what memory brings is told apart from
//! what the model knows, and from what a window holds anyway:
//!
//! | arm | what the model reads |
//! |---|---|
//! | `memgpt` | what an agent shows it, step by step; the material is in the agent's memory |
//! | `full-context` | one prompt with as much of the material as fits the window beside room for an answer |
//! | `retrieval` | one prompt with the passages that the store's own search finds best for the question |
//! | `no-memory` | the question alone |
//!
//! All arms have the same model, sampling and longest reply. In a prompt without an agent, whole pieces are
//! kept as long as they fit: the first pairs of a dictionary, the last turns of conversations, the passages
//! that a search finds best. [`Truncation`] names the other rules for documents.
//!
//! Most memory is given: the material is put where the experiment wants it. In two tasks it comes about. The agent
//! has conversations of which memory is what it made of them ([`ToldRecord`]), and a game is told while it is
//! played ([`GameTask`]).
//!
//! The [`Runner`] gives each case a fresh copy of its memory and a model that has forgotten the case before,
//! with a clock that is fixed: a record depends on nothing but the case and the [`Settings`]. Each
//! [`Record`] holds the whole trajectory, so that a run that was stopped goes on where it was, and all can
//! be graded again without the model. Nothing is judged by a model: [`Score`]s are containment, F1 and their
//! like. Why an answer is wrong is decided by rules ([`Failure`]). A [`Summary`] states shares with their
//! intervals.

mod arm;
mod case;
mod error;
mod failure;
mod game;
mod generate;
mod interval;
mod lent_model;
mod load;
mod play;
mod prepared;
mod record;
mod run;
mod score;
mod summary;
mod task;
mod tasks;
mod told;
mod words;

pub use arm::{Arm, Truncation};
pub use case::{
    Baseline, Case, EditGold, GameTask, Gold, HeldPassage, Keep, Material, Memory, Metric,
    PastSession, PastTurn, Speaker, Tier, ToldConversation, UserMessage,
};
pub use error::MemoryBenchError;
pub use failure::Failure;
pub use interval::{bootstrap, wilson};
pub use lent_model::Lender;
pub use record::{
    Documents, EventRecord, PromptRecord, Record, Settings, Step, read_records, rewrite_records,
};
pub use run::{RunObserver, Runner};
pub use score::{Score, TaskScore};
pub use summary::{Mean, Share, Summary, table};
pub use task::{CaseSet, Task};
pub use told::ToldRecord;
