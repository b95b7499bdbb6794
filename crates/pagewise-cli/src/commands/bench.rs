use std::thread::available_parallelism;

use clap::{Args, Subcommand};
use pagewise_bench::{DecoderProcessor, Format, PerfConfig, PerfError, Report, Subject, perf};
use pagewise_infer::{Compute, Decoder, Weights};

use crate::args::CommonArgs;
use crate::failure::{Failure, Kind};
use crate::printer::Printer;
use crate::weights;

/// The most tokens that one test may ask for: more than any model of today was trained for.
const TOKENS_MAX: i64 = 1 << 20;

/// Measure this machine with a model
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Perf(PerfArgs),
}

/// Time prompt processing and generation, as llama-bench does
///
/// Each flag with numbers takes a list, such as -p 128,512. A row is named pp512 for a prompt of
/// 512 tokens, tg64 for 64 generated tokens, and turn32 for a second turn of 32 new tokens behind
/// the longest prompt, timed up to its first token.
#[derive(Debug, Args)]
struct PerfArgs {
    /// Prompt lengths, in tokens; 0 for none
    #[arg(short = 'p', long, value_name = "N", value_delimiter = ',', value_parser = token_count(), default_value = "512")]
    prompt: Vec<u32>,
    /// Tokens to generate; 0 for none
    #[arg(short = 'n', long, value_name = "N", value_delimiter = ',', value_parser = token_count(), default_value = "64")]
    generate: Vec<u32>,
    /// New tokens of a second turn; 0 for none
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = token_count(), default_value = "0")]
    turn: Vec<u32>,
    /// Tokens in the KV cache before
    #[arg(short = 'd', long, value_name = "N", value_delimiter = ',', value_parser = token_count(), default_value = "0")]
    depth: Vec<u32>,
    /// Repetitions
    #[arg(short = 'r', long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..))]
    repetitions: u16,
    /// How rows are written: md, csv, json or jsonl [default: md, or json with --json]
    #[arg(short = 'o', long, value_name = "FORMAT")]
    output: Option<Format>,
}

pub(crate) fn run(args: &BenchArgs, common: &CommonArgs, printer: &Printer) -> Result<(), Failure> {
    match &args.what {
        What::Perf(args) => time(args, common, printer),
    }
}

fn time(args: &PerfArgs, common: &CommonArgs, printer: &Printer) -> Result<(), Failure> {
    let config = PerfConfig {
        prompt_tokens: counts(&args.prompt),
        generated_tokens: counts(&args.generate),
        turn_tokens: counts(&args.turn),
        depths: counts(&args.depth),
        repetitions: args.repetitions.into(),
    };
    if config.timed().is_empty() {
        return Err(PerfError::Nothing.into());
    }
    let format = args.output.unwrap_or(if printer.json() { Format::Json } else { Format::Md });
    let path = weights::model_path(common, printer)?;
    let weights = Weights::open(&path)?;
    let threads = common.threads.map(usize::from);
    let compute = Compute::new(common.device.into(), threads)?;
    // As large as the longest test needs, whatever a chat would use; a test that is longer than
    // the model was trained for is refused.
    let trained = weights.config()?.context_length;
    let window = common.window.map_or(config.needed_tokens(), |window| window as usize);
    let decoder = Decoder::load(&weights, window.min(trained), &compute)?;
    let mut processor =
        DecoderProcessor::new(&decoder).map_err(|error| Failure::new(Kind::Model, error))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let n_threads = threads.or_else(|| Some(available_parallelism().ok()?.get())).unwrap_or(1);
    let subject = Subject::of(&weights, &name, &compute.name().to_uppercase(), n_threads);
    let rows = perf::run(&mut processor, &subject, &config, &mut |row| {
        printer.detail(&format!("{}: {:.2} tokens/s", row.test, row.avg_ts));
    })?;
    printer.out(&Report { rows: &rows, format }.write());
    Ok(())
}

fn token_count() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(..=TOKENS_MAX)
}

fn counts(counts: &[u32]) -> Vec<usize> {
    counts.iter().map(|count| *count as usize).collect()
}

impl From<PerfError> for Failure {
    fn from(error: PerfError) -> Self {
        let kind = match error {
            PerfError::Nothing | PerfError::NoRepetition | PerfError::TooLong { .. } => Kind::Usage,
            PerfError::Model(_) => Kind::Model,
        };
        Self::new(kind, error)
    }
}
