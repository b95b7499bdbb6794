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
//! | `oracle` | one prompt with what must be read to answer, and nothing else |
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
//! be graded again without the model. [`Score`]s are containment, F1 and their like; what a [`Judge`] says
//! stands beside them, with its own errors. Why an answer is wrong is decided by rules ([`Failure`]). A
//! [`Summary`] states shares with their intervals.
//!
//! [`Runs`] are the records of folders, put together in [cells](Cell) whose settings are the same: reports
//! ([`table`], [`csv`], [`html`], a [`Card`] for each weights file), the [`Diff`] of two runs, and what
//! [`merge`] joins are made of them. A [`Suite`] says what is run together.
//!
//! [`measure_retrieval`] and [`measure_schemas`] have no model: they measure the searches of a store, and schemas
//! under token masks, by themselves. A [`Measurement`] is kept beside records, and is in all reports but the card.

mod arm;
mod call_score;
mod calling;
mod card;
mod case;
mod choice;
mod csv;
mod diff;
mod error;
mod failure;
mod game;
mod generate;
mod html;
mod interval;
mod jobs;
mod judge;
mod leaderboard;
mod lent_model;
mod load;
mod made_by;
#[cfg(test)]
mod made_up;
mod measurement;
mod merge;
mod nearness;
mod play;
mod porter;
mod prepared;
mod record;
mod retrieval;
mod run;
mod runs;
mod schemas;
mod score;
mod suite;
mod summary;
mod task;
mod tasks;
mod told;
mod tool;
mod words;

pub use arm::{Arm, Truncation};
pub use card::{ADVISED_AGAINST_BELOW, ADVISED_FROM, Advice, Card, CardLine};
pub use case::{
    Baseline, Case, EditGold, GameTask, Gold, HeldPassage, Keep, Material, Memory, Metric,
    PastSession, PastTurn, Speaker, Tier, ToldConversation, UserMessage,
};
pub use csv::csv;
pub use diff::{CellDiff, Diff, LeftOut, Paired, SearchDiff, Test};
pub use error::MemoryBenchError;
pub use failure::Failure;
pub use html::html;
pub use interval::{bootstrap, wilson};
pub use judge::{
    Judge, JudgeName, JudgeRates, JudgedSet, JudgedShare, Judgement, judged_shares, judged_text,
    read_rates, write_rates,
};
pub use leaderboard::{Leaderboard, Standing, TaskScore};
pub use lent_model::Lender;
pub use made_by::{Made, MadeBy};
pub use measurement::{Measurement, write_measurements};
pub use merge::merge;
pub use nearness::{HumanNearness, Nearness};
pub use record::{
    Change, Documents, EventRecord, PromptRecord, Record, Settings, Step, read_records,
    rewrite_records,
};
pub use retrieval::{
    Cut, RetrievalReport, SearchSet, measure_retrieval, retrieval_sets, retrieval_table,
};
pub use run::{RunObserver, Runner};
pub use runs::{Cell, Contradiction, Runs, record_files};
pub use schemas::{
    GrammarSummary, Instance, MeasuredSchema, Percentiles, SchemaCase, SchemaSet, Verdict,
    grammar_table, measure_schemas,
};
pub use score::{GameTaskScore, Score};
pub use suite::{Suite, SuiteRow};
pub use summary::{Mean, Share, Summary, Writing, table};
pub use task::{CaseSet, Task};
pub use told::{ToldRecord, ToldTurn};
pub use tool::Tool;
