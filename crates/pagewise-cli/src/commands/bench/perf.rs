use std::path::Path;
use std::time::Instant;

use clap::Args;
use pagewise_bench::{
    DecoderProcessor, Format, PerfConfig, PerfError, PerfRow, Report, Subject, perf,
};
use pagewise_infer::{Decoder, Weights};

use super::check_memory;
use crate::args::CommonArgs;
use crate::failure::{Failure, Kind};
use crate::printer::Printer;
use crate::weights;

/// The most tokens that one test may ask for: more than any model of today was trained for.
const TOKENS_MAX: i64 = 1 << 20;

/// Time prompt processing and generation, as llama-bench does
///
/// Each flag with numbers takes a list, such as -p 128,512 or -t 1,2, and can be given again. A row is
/// named pp512 for a prompt of 512 tokens, tg64 for 64 generated tokens, pp512+tg64 for both together,
/// and turn32 for a second turn of 32 new tokens behind the longest prompt, timed up to its first
/// token.
#[derive(Debug, Args)]
pub(super) struct PerfArgs {
    /// Prompt lengths, in tokens; 0 for none
    #[arg(short = 'p', long, value_name = "N", value_delimiter = ',', value_parser = token_count(), default_value = "512")]
    prompt: Vec<u32>,
    /// Tokens to generate; 0 for none
    #[arg(short = 'n', long, value_name = "N", value_delimiter = ',', value_parser = token_count(), default_value = "64")]
    generate: Vec<u32>,
    /// A prompt and what is generated behind it, timed together, such as 512,64
    #[arg(long, value_name = "N,N", value_parser = prompt_and_generated)]
    pg: Vec<(u32, u32)>,
    /// New tokens of a second turn; 0 for none
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = token_count(), default_value = "0")]
    turn: Vec<u32>,
    /// Tokens in the KV cache before
    #[arg(short = 'd', long, value_name = "N", value_delimiter = ',', value_parser = token_count(), default_value = "0")]
    depth: Vec<u32>,
    /// CPU threads [default: one for each core]
    // Under the name of the flag that every command has, which takes one number.
    #[arg(short, long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Vec<u16>,
    /// Repetitions
    #[arg(short = 'r', long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..))]
    repetitions: u16,
    /// How rows are written: md, csv, json or jsonl [default: md, or json with --json]
    #[arg(short = 'o', long, value_name = "FORMAT")]
    output: Option<Format>,
}

pub(super) fn run(args: &PerfArgs, common: &CommonArgs, printer: &Printer) -> Result<(), Failure> {
    let config = PerfConfig {
        prompt_tokens: counts(&args.prompt),
        generated_tokens: counts(&args.generate),
        prompts_and_generated: args.pg.iter().map(|(p, g)| (*p as usize, *g as usize)).collect(),
        turn_tokens: counts(&args.turn),
        depths: counts(&args.depth),
        repetitions: args.repetitions.into(),
    };
    if config.timed().is_empty() {
        return Err(PerfError::Nothing.into());
    }
    let format = args.output.unwrap_or(if printer.json() { Format::Json } else { Format::Md });
    let path = weights::model_path(common, printer)?;
    let threads = match args.threads.as_slice() {
        [] => vec![common.n_threads()],
        threads => threads.iter().map(|n| usize::from(*n)).collect(),
    };
    let mut rows = Vec::new();
    for n_threads in threads {
        rows.extend(time_with(&path, &config, n_threads, common, printer)?);
    }
    printer.out(&Report { rows: &rows, format }.write());
    Ok(())
}

/// Loads the model and times it with so many threads.
fn time_with(
    path: &Path,
    config: &PerfConfig,
    n_threads: usize,
    common: &CommonArgs,
    printer: &Printer,
) -> Result<Vec<PerfRow>, Failure> {
    let started = Instant::now();
    let weights = Weights::open(path)?;
    let compute = common.compute_on(common.device.into(), Some(n_threads))?;
    // As large as the longest test needs, whatever a chat would use; a test that is longer than
    // the model was trained for is refused.
    let trained = weights.config()?.context_length;
    let window = common.window.map_or(config.needed_tokens(), |window| window as usize);
    let window = window.min(trained);
    check_memory(&weights, window, &compute)?;
    let decoder = Decoder::load(&weights, window, &compute)?;
    let mut processor =
        DecoderProcessor::new(&decoder).map_err(|error| Failure::new(Kind::Model, error))?;
    let load_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    printer.detail(&format!("loaded in {load_ms} ms"));
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let backend = compute.name().to_uppercase();
    let subject = Subject::of(&weights, &name, &backend, n_threads, load_ms);
    Ok(perf::run(&mut processor, &subject, config, &mut |row| {
        printer.detail(&format!("{}: {:.2} tokens/s", row.test, row.avg_ts));
    })?)
}

/// Reads two numbers with a comma between them.
fn prompt_and_generated(text: &str) -> Result<(u32, u32), String> {
    let count = |text: &str| text.trim().parse().ok().filter(|n| i64::from(*n) <= TOKENS_MAX);
    let both = text.split_once(',').and_then(|(p, g)| Some((count(p)?, count(g)?)));
    both.ok_or_else(|| format!("two numbers of up to {TOKENS_MAX}, such as 512,64"))
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};
    use crate::commands::bench::{BenchArgs, What};

    fn perf(flags: &str) -> (PerfArgs, CommonArgs) {
        let line = ["pagewise", "bench", "perf"].into_iter().chain(flags.split_whitespace());
        let cli = Cli::try_parse_from(line).unwrap();
        let Command::Bench(BenchArgs { what: What::Perf(args) }) = cli.command else {
            panic!("another command");
        };
        (args, cli.common)
    }

    #[test]
    fn flags_take_lists_and_are_repeated() {
        let (args, _) = perf("-p 128,512 -p 1 -n 0,64 -d 0,1024 --pg 512,64 --pg 8,1 -t 1,2");
        assert_eq!(args.prompt, [128, 512, 1]);
        assert_eq!((args.generate, args.depth), (vec![0, 64], vec![0, 1024]));
        assert_eq!((args.pg, args.threads), (vec![(512, 64), (8, 1)], vec![1, 2]));
        let (args, common) = perf("-t 3");
        assert_eq!((args.threads, common.threads), (vec![3], Some(3)));
        let line = ["pagewise", "-t", "5", "bench", "perf"];
        assert_eq!(Cli::try_parse_from(line).unwrap().common.threads, Some(5));
        let (args, common) = perf("");
        assert_eq!((args.threads, common.threads), (vec![], None));
        for text in ["", "512", "1,2,3", "a,b", "-1,2", "1,9999999"] {
            assert!(prompt_and_generated(text).is_err(), "{text:?}");
        }
    }
}
