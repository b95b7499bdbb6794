//! The tiers of memory (MemGPT paper, section 2): working context, FIFO queue, recall storage and
//! archival storage, over one SQLite file per agent.
//!
//! [`Store`] is the door to what lasts; [`WorkingContext`] and [`FifoQueue`] are pure and know
//! nothing of it. The rows are the truth, embeddings included. The HNSW graphs beside the
//! database are a cache: they are used only if their checksums and the rows agree, are rebuilt
//! from the rows otherwise, and an exact scan answers for whatever they do not hold. Another
//! embedder than the one that made the vectors embeds them anew in the background ([`EmbedderChange`]).
//!
//! This crate counts characters, never tokens, and never calls a language model.

mod block_history;
mod chunk;
mod db;
mod error;
mod export;
mod fifo_queue;
mod hnsw;
mod lock;
mod query_words;
mod ranking;
mod reembedding;
mod store;
mod vector_index;
mod working_context;

pub use block_history::{BlockChange, block_changes, last_change};
pub use chunk::{DocumentFormat, chunk};
pub use db::check::{CheckReport, TierReport};
pub use db::rows::{
    Block, BlockVersion, Document, Inserted, NewPassage, Passage, PassageId, QueueState, Summary,
};
pub use error::StoreError;
pub use export::{Export, ImportError};
pub use fifo_queue::FifoQueue;
pub use query_words::identifiers;
pub use ranking::{ArchivalHit, ArchivalQuery, Page, RecallHit, RecallQuery, SearchMode};
pub use reembedding::EmbedderChange;
pub use store::{IngestReport, PASSAGE_CHARS_MAX, Store, StoreOptions, Transaction};
pub use vector_index::IndexState;
pub use working_context::{EditError, WorkingContext};
