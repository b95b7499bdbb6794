use std::path::PathBuf;

use clap::Args;
use pagewise_bench::memory::{Diff, Runs};

use super::report::say_what_was_read;
use crate::failure::Failure;
use crate::printer::Printer;

/// Compare two runs of `bench memory`, case by case
///
/// Cells are paired by task, source, arm, window and model (or, where each side has one model, whatever its
/// name), and cases by their name, if both ask the same; where they do not, the cases are left out and counted.
/// For each cell: both accuracies over the cases that both have, the second less the first with its 95%
/// interval, how likely such a difference is if neither is better (McNemar's exact test; by exchanging signs
/// at random where cases are right in part or share a memory), the cases that were gained and lost, and the
/// settings that differ. A case that can be right in part, such as a game, is gained if more of it is right,
/// and lost if less is. Schemas (--task grammar) are compared one by one as cases are; of
/// searches (--task retrieval) both means are told, without an interval, since their queries leave no lines.
#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// A folder that --out wrote, or one of its files
    first: PathBuf,
    /// The one to compare it with
    second: PathBuf,
}

pub(super) fn run(args: &DiffArgs, printer: &Printer) -> Result<(), Failure> {
    let [first, second] =
        [&args.first, &args.second].map(|path| Runs::read(std::slice::from_ref(path)));
    let (first, second) = (first?, second?);
    say_what_was_read(&first, printer);
    say_what_was_read(&second, printer);
    let diff = Diff::of(&first, &second);
    if printer.json() {
        printer.json_line(&diff);
    } else {
        printer.out(&diff.text());
    }
    if diff.is_empty() {
        return Err(Failure::usage("the two have no case in common"));
    }
    Ok(())
}
