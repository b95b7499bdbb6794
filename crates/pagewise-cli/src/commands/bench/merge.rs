use std::path::PathBuf;

use clap::Args;
use pagewise_bench::memory::{Leaderboard, MemoryBenchError, Runs, merge};

use super::report::say_what_was_read;
use crate::failure::Failure;
use crate::printer::Printer;

/// Join runs of `bench memory`, from several machines or days, into one leaderboard
///
/// Records are put together by task, source, model, arm and window. A case that is in two places with the
/// same settings is counted once; where the two say different things, that is told, and the first counts.
/// Runs that differ in another setting are never counted together. What --task retrieval and grammar measured is
/// kept beside them. The leaderboard goes to stdout.
#[derive(Debug, Args)]
pub(super) struct MergeArgs {
    /// Folders that --out wrote
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Where to put the records: a folder without any
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Keep runs beside each other that differ in a setting, instead of refusing them
    #[arg(long)]
    keep_apart: bool,
}

pub(super) fn run(args: &MergeArgs, printer: &Printer) -> Result<(), Failure> {
    let runs = Runs::read(&args.folders)?;
    say_what_was_read(&runs, printer);
    let files = merge(&runs, &args.out, args.keep_apart).map_err(|error| match error {
        MemoryBenchError::MixedSettings { .. } => {
            Failure::from(error).hint("--keep-apart gives each its own file and its own line")
        }
        error => error.into(),
    })?;
    let n_records: usize = runs.cells.iter().map(|cell| cell.records.len()).sum::<usize>()
        + runs.searches.len()
        + runs.schemas.len();
    printer.talk(&format!(
        "{n_records} records in {} files; {} were there twice and agree, {} disagree",
        files.len(),
        runs.n_same,
        runs.contradictions.len()
    ));
    let leaderboard = Leaderboard::of(&runs);
    if printer.json() {
        printer.json_line(&leaderboard);
    } else {
        printer.out(&leaderboard.text());
    }
    Ok(())
}
