//! The command line, as clap reads it. Doc comments are the help text.

use std::num::NonZero;
use std::path::PathBuf;
use std::thread::available_parallelism;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pagewise_infer::{Compute, DeviceChoice, Isa};

use crate::commands::{
    agents, bench, chat, completions, doctor, ingest, memory, models, pull, run,
};
use crate::failure::Failure;

/// Talk to a local language model that manages its own memory.
///
/// Everything runs on this machine. Only `pull` opens a connection, and `chat`, `run` and `ingest`
/// when weights are missing, after asking.
#[derive(Debug, Parser)]
#[command(
    name = "pagewise",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Chat(chat::ChatArgs),
    Run(run::RunArgs),
    Ingest(ingest::IngestArgs),
    Memory(memory::MemoryArgs),
    Agents(agents::AgentsArgs),
    Pull(pull::PullArgs),
    Models(models::ModelsArgs),
    Bench(bench::BenchArgs),
    Doctor(doctor::DoctorArgs),
    Completions(completions::CompletionsArgs),
}

/// The flags that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct CommonArgs {
    /// The model: a name of the catalog, ollama's `name:tag` if ollama has it on this disk, a GGUF
    /// file, a Hugging Face folder (./folder), or owner/repo:QUANT
    #[arg(
        short,
        long,
        global = true,
        value_name = "MODEL",
        env = "PAGEWISE_MODEL",
        default_value = "qwen2.5-coder-1.5b-instruct-q4_k_m"
    )]
    pub(crate) model: String,
    /// The embedder: a name of the catalog, or a folder
    #[arg(
        long,
        global = true,
        value_name = "EMBEDDER",
        env = "PAGEWISE_EMBEDDER",
        default_value = "all-minilm-l6-v2"
    )]
    pub(crate) embedder: String,
    /// The agent: each has its own memory
    #[arg(long, global = true, value_name = "NAME", default_value = DEFAULT_AGENT, value_parser = agent_name)]
    pub(crate) agent: String,
    /// Where models and agents live [default: the data folder of this system]
    #[arg(long, global = true, value_name = "DIR", env = "PAGEWISE_HOME")]
    pub(crate) home: Option<PathBuf>,
    /// The context window, in tokens [default: 4096, or what the model has]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) window: Option<u32>,
    /// Where the model runs
    #[arg(long, global = true, value_name = "DEVICE", default_value = "auto")]
    pub(crate) device: DeviceArg,
    /// CPU threads [default: one for each core]
    #[arg(short, long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// The kernels to use on the processor, for comparisons: one of those that `doctor` lists
    /// [default: the best]
    #[arg(long, global = true, value_name = "NAME", env = "PAGEWISE_ISA")]
    pub(crate) isa: Option<Isa>,
    /// Seeds the choice of tokens, on which it has no effect at temperature 0, the default, and the cases that
    /// `bench` generates. The same seed, clock and messages give the same tokens on the same kernels, if the
    /// program is not restarted in between
    #[arg(long, global = true, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Temperature; 0 always takes the likeliest token [default: 0]
    #[arg(long, global = true, value_name = "T", value_parser = temperature)]
    pub(crate) temp: Option<f32>,
    /// Fixes the clock at TIME (such as 2026-01-05T09:00:00Z); each time it is read it moves on by one
    /// second
    #[arg(long, global = true, value_name = "TIME")]
    pub(crate) now: Option<jiff::Timestamp>,
    /// Prints JSON to stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Says less
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Says more: each call that the model makes
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Never opens a connection
    #[arg(long, global = true, env = "PAGEWISE_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) offline: bool,
}

impl CommonArgs {
    /// Returns how many threads of the processor are to be used.
    pub(crate) fn n_threads(&self) -> usize {
        let every_core = || available_parallelism().map_or(1, NonZero::get);
        self.threads.map_or_else(every_core, usize::from)
    }

    /// Finds where the arithmetic is to happen.
    pub(crate) fn compute(&self) -> Result<Compute, Failure> {
        self.compute_on(self.device.into(), self.threads.map(usize::from))
    }

    /// The same for another device or another number of threads.
    pub(crate) fn compute_on(
        &self,
        device: DeviceChoice,
        threads: Option<usize>,
    ) -> Result<Compute, Failure> {
        let compute = Compute::new(device, threads)?;
        Ok(match self.isa {
            Some(isa) => compute.with_isa(isa),
            None => compute,
        })
    }
}

/// How an agent is opened to be talked to.
#[derive(Debug, Clone, Args)]
pub(crate) struct OpeningArgs {
    /// Fetch missing weights without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Does not keep the KV cache on disk for the next start, nor use one that is there
    #[arg(long)]
    pub(crate) no_snapshot: bool,
    /// After a flush, reuses pieces of the KV cache of at least N tokens at their new place: faster,
    /// but an approximation, so nothing is kept on disk [default: never]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) cache_reuse: Option<u32>,
    /// Lets a model that was trained to think do so before each call, for at most N tokens
    /// [default: no thinking; without N: 512]
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "512", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) think: Option<u32>,
}

/// Where the model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeviceArg {
    /// The best that this program was built for and the machine has
    Auto,
    /// The processor
    Cpu,
    /// An NVIDIA GPU
    Cuda,
    /// An Apple GPU
    Metal,
}

impl From<DeviceArg> for DeviceChoice {
    fn from(device: DeviceArg) -> Self {
        match device {
            DeviceArg::Auto => Self::Auto,
            DeviceArg::Cpu => Self::Cpu,
            DeviceArg::Cuda => Self::Cuda,
            DeviceArg::Metal => Self::Metal,
        }
    }
}

/// The agent that is meant when none is named.
pub(crate) const DEFAULT_AGENT: &str = "default";

/// The longest name of an agent, in bytes: it becomes the name of a folder.
const AGENT_NAME_BYTES: usize = 64;

fn agent_name(name: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty()
        || name.len() > AGENT_NAME_BYTES
        || name.starts_with('.')
        || !name.chars().all(allowed)
    {
        return Err(format!(
            "a name has 1 to {AGENT_NAME_BYTES} letters, digits, '-', '_' or '.', and does not start with '.'"
        ));
    }
    Ok(name.to_string())
}

fn temperature(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() && (0.0..=10.0).contains(&value) => Ok(value),
        _ => Err("a number from 0 to 10".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_agent_name_is_no_path() {
        for name in ["", ".", "..", "a/b", "a\\b", "a b", ".hidden", &"x".repeat(65)] {
            assert!(agent_name(name).is_err(), "{name:?}");
        }
        for name in ["default", "work-2", "Ünï_1.0"] {
            assert!(agent_name(name).is_ok(), "{name:?}");
        }
    }
}
