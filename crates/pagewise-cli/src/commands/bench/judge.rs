use std::path::PathBuf;

use clap::Args;
use pagewise_bench::memory::{
    Judge, MemoryBenchError, Runs, judged_shares, judged_text, read_records, record_files,
    rewrite_records, write_rates,
};
use pagewise_infer::Engine;

use super::report::say_what_was_read;
use crate::args::CommonArgs;
use crate::commands::chat::{cancel_on_ctrl_c, while_replying};
use crate::failure::Failure;
use crate::opening::engine_options;
use crate::printer::Printer;
use crate::weights;

/// Questions on which a judge is measured, if no number is asked for.
const QUESTIONS: u32 = 60;

/// Have --model judge replies that are in free words, and measure how often it is wrong
///
/// The judge answers yes or no. With --data (the LoCoMo audit's wrong_answers_v1.jsonl and
/// wrong_answers_v2.jsonl), it first judges answers that are known to be wrong or right, and its errors are
/// noted in the folders. Then it judges the records of the folders; what it says is written beside their
/// score, and never takes its place. A judge whose errors were not measured judges nothing.
#[derive(Debug, Args)]
pub(super) struct JudgeArgs {
    /// Folders that --out wrote
    #[arg(value_name = "DIR", required_unless_present = "data")]
    folders: Vec<PathBuf>,
    /// The folder with the audit's answers, or one that has it as locomo_audit
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Measure on at most so many questions
    #[arg(long, value_name = "N", default_value_t = QUESTIONS, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Leave out so many of them first
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u32,
}

pub(super) fn run(args: &JudgeArgs, common: &CommonArgs, printer: &Printer) -> Result<(), Failure> {
    // Before a model is loaded for records that are not there.
    let files = (args.folders.iter())
        .map(|folder| record_files(folder))
        .collect::<Result<Vec<_>, MemoryBenchError>>()?
        .concat();
    let mut judge = load(common, printer)?;
    let cancelled = cancel_on_ctrl_c()?;
    let mut measured = Vec::new();
    let mut is_stopped = false;
    if let Some(data) = &args.data {
        let (offset, limit) = (args.offset as usize, args.limit as usize);
        let mut seen = |n: usize, of: usize| {
            is_stopped = n < of;
            if n.is_multiple_of(10) || n == of {
                printer.talk(&format!("{n} of {of} questions with four answers each are judged"));
            }
        };
        let rates =
            while_replying(cancelled, || judge.measure(data, offset, limit, cancelled, &mut seen))?;
        for folder in args.folders.iter().filter(|folder| folder.is_dir()) {
            write_rates(folder, std::slice::from_ref(&rates))?;
        }
        measured.push(rates);
    }
    if args.folders.is_empty() || is_stopped {
        if printer.json() {
            measured.iter().for_each(|rates| printer.json_line(rates));
        } else {
            printer.out(&judged_text(&measured, &[]));
        }
        return if is_stopped { Err(MemoryBenchError::Cancelled.into()) } else { Ok(()) };
    }
    let known = Runs::read(&args.folders)?.rates;
    if !known.iter().any(|rates| rates.judge == *judge.name()) {
        let judge = judge.name().judge.clone();
        return Err(MemoryBenchError::UnmeasuredJudge { judge }.into());
    }
    for file in &files {
        let (mut records, _) = read_records(file)?;
        let mut n_judged = 0;
        let judged = while_replying(cancelled, || {
            records.iter_mut().try_for_each(|record| {
                n_judged += usize::from(judge.judge(record, cancelled)?);
                Ok::<_, MemoryBenchError>(())
            })
        });
        // What was judged before it was stopped need not be judged again.
        if n_judged > 0 {
            rewrite_records(file, &records)?;
        }
        judged?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        printer.talk(&format!("{name}: {n_judged} of {} records judged", records.len()));
    }
    let runs = Runs::read(&args.folders)?;
    say_what_was_read(&runs, printer);
    let shares = judged_shares(&runs);
    if printer.json() {
        printer.json_line(&serde_json::json!({"judges": runs.rates, "judged": shares}));
    } else {
        printer.out(&judged_text(&runs.rates, &shares));
    }
    Ok(())
}

fn load(common: &CommonArgs, printer: &Printer) -> Result<Judge, Failure> {
    let path = weights::model_path(common, printer)?;
    let engine = Engine::load(&path, &common.compute()?, &engine_options(common))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let weights = engine.description().fingerprint.clone();
    Ok(Judge::new(Box::new(engine), name, weights))
}
