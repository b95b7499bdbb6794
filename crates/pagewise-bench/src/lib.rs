//! Benchmarks: how fast a model runs on this machine, how well it foresees a text, and how well it manages
//! its memory.
//!
//! [`perf`](perf::run) times prompt processing and generation as llama-bench does, so that the two
//! tables can be laid side by side, and the time to the first token of a second turn, where the
//! conversation so far is already in the KV cache. [`Report`] writes the rows as Markdown, CSV,
//! JSON or JSON lines.
//!
//! [`perplexity`](perplexity::run) scores a text as llama-perplexity does, through [`Predictor`].
//!
//! Neither of the two samples, renders a prompt or applies a grammar: what is timed is the forward pass,
//! reached through [`Processor`].
//!
//! [`memory`] runs the experiments of the MemGPT paper, and others on the same tiers: agents answer cases,
//! and what they did is recorded and scored.

pub mod memory;
mod memory_available;
mod memory_peak;
pub mod perf;
pub mod perplexity;
mod processor;
mod processor_name;
mod report;

pub use memory_available::{memory_available_bytes, memory_obtainable_bytes, memory_total_bytes};
pub use memory_peak::{memory_peak_bytes, memory_resident_bytes};
pub use perf::{PerfConfig, PerfError, PerfRow, Subject, Timed};
pub use perplexity::{Perplexity, PerplexityConfig, PerplexityError, Predictor};
pub use processor::{DecoderProcessor, Processor};
pub use processor_name::processor_name;
pub use report::{Format, Report};
