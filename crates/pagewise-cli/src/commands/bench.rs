mod diff;
mod judge;
mod memory;
mod merge;
mod perf;
mod perplexity;
mod report;

use clap::{Args, Subcommand};
use pagewise_bench::memory_obtainable_bytes;
use pagewise_infer::{Compute, LoadError, ModelPlan, Weights};

use crate::args::CommonArgs;
use crate::failure::Failure;
use crate::printer::Printer;

/// Measure this machine with a model, or a model with its memory
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Perf(perf::PerfArgs),
    Perplexity(perplexity::PerplexityArgs),
    Memory(memory::MemoryArgs),
    Report(report::ReportArgs),
    Diff(diff::DiffArgs),
    Merge(merge::MergeArgs),
    Judge(judge::JudgeArgs),
}

pub(crate) fn run(args: &BenchArgs, common: &CommonArgs, printer: &Printer) -> Result<(), Failure> {
    match &args.what {
        What::Perf(args) => perf::run(args, common, printer),
        What::Perplexity(args) => perplexity::run(args, common, printer),
        What::Memory(args) => memory::run(args, common, printer),
        What::Report(args) => report::run(args, printer),
        What::Diff(args) => diff::run(args, printer),
        What::Merge(args) => merge::run(args, printer),
        What::Judge(args) => judge::run(args, common, printer),
    }
}

/// Refuses a model that there could be no memory for.
#[expect(clippy::result_large_err, reason = "the library's own error")]
fn check_memory(
    weights: &Weights,
    window_tokens: usize,
    compute: &Compute,
) -> Result<(), LoadError> {
    match memory_obtainable_bytes() {
        Some(memory_bytes) => ModelPlan::new(weights, compute)?.check(window_tokens, memory_bytes),
        None => Ok(()),
    }
}
