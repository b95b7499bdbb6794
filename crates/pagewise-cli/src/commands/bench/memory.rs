mod experiment;
mod grammar;
mod loaded;
mod progress;
mod regrade;
mod retrieval;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use pagewise_agent::AgentConfig;
use pagewise_bench::memory::{Arm, MemoryBenchError, Suite, Summary, Task, Truncation, table};
use pagewise_core::Embedder;

use self::experiment::experiments;
use self::loaded::Loaded;
use self::progress::Pace;
use crate::agent_settings;
use crate::args::CommonArgs;
use crate::failure::{Failure, Kind};
use crate::opening::{NoEmbedder, load_embedder};
use crate::printer::Printer;
use crate::weights;

/// Measure how well a model manages its memory: the experiments of the MemGPT paper, and others
///
/// Each case has a fresh agent whose memory was filled before, or, for comparison, the same model with one
/// prompt: as much of the material as fits the window (full-context), what the store's own search finds
/// best (retrieval), what must be read to answer and nothing else (oracle), or the question alone (no-memory).
/// Without --data, cases are generated from --seed.
/// With --out, every case leaves a line with all that happened, and a run that was stopped goes on
/// where it was; cases that failed are run again. retrieval and grammar leave a line for each way of searching and
/// each schema there, in place of what was there of the same. `bench report`, `diff` and `merge` read these lines.
///
/// The table, or a JSON object for each model, window, task and arm, goes to stdout. An accuracy is the
/// share of cases that are right, with its 95% interval; nothing is judged by a model. For nested-kv, read
/// accuracy and control together: the control wants the first value of the same chains. For opener and
/// locomo it is a mean: of how near an opener comes to what the user told, and of F1. For bfcl-memory it is
/// over the questions that only what the agent saved may answer, for quest the mean share of a game's tasks
/// that are done.
///
/// function-calls offers functions of others, and counts the one call that the model makes. Its arms have
/// one prompt: memgpt writes under the grammar, no-memory does not. grammar has no model answer at all: the
/// values of JSON schemas go through the masks of the model's tokenizer.
///
/// retrieval has no language model and no arms: it measures each way of searching the store on all sets of
/// --data, and the index of vectors against a scan. There, --limit takes queries evenly from all there are,
/// and an accuracy is the recall at 10.
#[derive(Debug, Clone, Args)]
pub(super) struct MemoryArgs {
    /// Tasks: nested-kv, dmr, core-memory, doc-qa, topic-retrieval, opener, locomo, longmemeval, bfcl-memory,
    /// function-calls, quest, retrieval, grammar
    #[arg(long, value_name = "TASK", value_delimiter = ',')]
    task: Vec<Task>,
    /// Run tasks together, with the arms, windows and numbers of cases that the suite has for each: quick
    /// (a first look, under 10 minutes for 1.5 billion parameters on two cores), paper (the experiments of
    /// the MemGPT paper), full (every task that a model answers, with all its arms); the other flags go first
    #[arg(long, value_name = "SUITE", conflicts_with_all = ["task", "regrade"])]
    suite: Option<Suite>,
    /// Models, each as --model names one elsewhere
    // Under the name of the flag that every command has, which takes one.
    #[arg(short, long, value_name = "MODEL", value_delimiter = ',')]
    model: Vec<String>,
    /// Arms: memgpt, full-context, retrieval, oracle, no-memory [default: memgpt, or those of the suite]
    #[arg(long, value_name = "ARM", value_delimiter = ',')]
    arm: Vec<Arm>,
    /// Context windows, in tokens [default: 4096, or what the model has, or those of the suite]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    window: Vec<u32>,
    /// A folder with public data, or one that has it in a folder of the set's name
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Run at most so many cases [default: those of the suite, else all of a data set,
    /// 48 of a generator]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Leave out so many cases first
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u32,
    /// Run only cases with this label, such as lookups=4; can be given again
    #[arg(long, value_name = "LABEL=VALUE", value_parser = label)]
    only: Vec<(String, String)>,
    /// Give the agent another setting than usual, such as intake=false or page_size=3; can be given again.
    /// Records have all settings, and those of other ones are never counted together
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = agent_settings::setting)]
    set: Vec<(String, serde_json::Value)>,
    /// How many cases are run at once, each job with a model of its own in memory and its share of the
    /// threads (-t). Cases that are asked of one memory are run one after the other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Where to put a line for each case
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The most documents in a prompt of the arm retrieval [default: a page of the agent's, or 20 where they
    /// are cut]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    documents: Option<u16>,
    /// How documents are made to fit a prompt of the arm retrieval: whole, tokens (each gets the same share of
    /// the window), or paper (the same share, but in characters, as the paper's code did it)
    #[arg(long, value_name = "RULE", default_value = "whole")]
    truncation: Truncation,
    /// Score the records of this folder again, without a model
    #[arg(long, value_name = "DIR", conflicts_with_all = ["task", "model", "arm", "window", "data", "out"])]
    regrade: Option<PathBuf>,
}

pub(super) fn run(
    args: &MemoryArgs,
    common: &CommonArgs,
    printer: &Printer,
) -> Result<(), Failure> {
    if let Some(folder) = &args.regrade {
        return regrade::run(folder, printer);
    }
    if args.task.is_empty() && args.suite.is_none() {
        return Err(Failure::usage("there is nothing to run").hint("give --task or --suite"));
    }
    check_jobs(args, common)?;
    let cuts = args.documents.is_some() || args.truncation != Truncation::Whole;
    if cuts && args.suite.is_none() && !args.arm.contains(&Arm::Retrieval) {
        let what = "--documents and --truncation are for the prompts of the arm retrieval";
        return Err(Failure::usage(what).hint("give --arm retrieval as well"));
    }
    for task in args.task.iter().filter(|task| !task.needs_model()) {
        match task {
            Task::Grammar => grammar::run(args, common, printer)?,
            Task::Retrieval => retrieval::run(args, common, printer)?,
            task => unreachable!("{task} needs a model"),
        }
    }
    if args.suite.is_none() && !args.task.iter().any(|task| task.needs_model()) {
        return Ok(());
    }
    agent_settings::with_set(AgentConfig::default(), &args.set)?;
    // Before a model is loaded for data that is not there.
    let experiments = experiments(args, common, printer)?;
    let models = match args.model.as_slice() {
        [] => vec![common.model.clone()],
        models => models.to_vec(),
    };
    let mut windows: Vec<Option<u32>> = Vec::new();
    for window in experiments.iter().flat_map(|experiment| &experiment.windows) {
        if !windows.contains(window) {
            windows.push(*window);
        }
    }
    let tasks: Vec<Task> = experiments.iter().map(|experiment| experiment.task).collect();
    let embedder = embedder(&tasks, common, printer)?;
    let at = |window: &Option<u32>| {
        let window = *window;
        experiments.iter().filter(move |experiment| experiment.windows.contains(&window))
    };
    let mut pace = Pace::default();
    for experiment in models.iter().flat_map(|_| windows.iter().flat_map(at)) {
        experiment.arms.iter().for_each(|arm| pace.expect(*arm, experiment.set.cases.len()));
    }
    let mut summaries = Vec::new();
    for model in &models {
        for window in &windows {
            let common = CommonArgs { model: model.clone(), window: *window, ..common.clone() };
            let loaded = match Loaded::load(args, &common, printer, &embedder)? {
                Some(loaded) => loaded,
                None => {
                    at(window).flat_map(|one| &one.arms).for_each(|_| pace.begin());
                    continue;
                }
            };
            for experiment in at(window) {
                summaries.extend(loaded.run(experiment, &mut pace)?);
            }
        }
    }
    report(&summaries, printer)
}

/// Refuses jobs for which there would not be a thread each.
fn check_jobs(args: &MemoryArgs, common: &CommonArgs) -> Result<(), Failure> {
    let (n_jobs, n_threads) = (usize::from(args.jobs), common.n_threads());
    if n_jobs <= n_threads {
        return Ok(());
    }
    let threads = if n_threads == 1 { "thread" } else { "threads" };
    Err(Failure::usage(format!(
        "{n_jobs} jobs need a thread each, and there are {n_threads} {threads}"
    ))
    .hint(format!("try --jobs {n_threads}")))
}

/// The embedder, if a task needs one.
fn embedder(
    tasks: &[Task],
    common: &CommonArgs,
    printer: &Printer,
) -> Result<Arc<dyn Embedder>, Failure> {
    if !tasks.iter().any(|task| task.needs_embedder()) {
        return Ok(Arc::new(NoEmbedder));
    }
    let Some(dir) = weights::embedder_dir(common, printer)? else {
        let name = &common.embedder;
        return Err(Failure::new(Kind::Model, format!("the embedder {name} is not on this disk"))
            .hint(format!("`pagewise pull {name}` fetches it")));
    };
    load_embedder(&dir, common)
}

fn report(summaries: &[Summary], printer: &Printer) -> Result<(), Failure> {
    if !printer.json() {
        printer.out(&table(summaries));
    }
    let n_failed: usize = summaries.iter().map(Summary::n_failed).sum();
    let n_run: usize = summaries.iter().map(Summary::n_run).sum();
    if n_failed == n_run {
        return Err(Failure::new(Kind::Failure, "no case could be run to its end"));
    }
    Ok(())
}

/// Reads a label and its value with an equals sign between them.
fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((label, value)) if !label.is_empty() && !value.is_empty() => {
            Ok((label.into(), value.into()))
        }
        _ => Err("a label and its value, such as lookups=4".into()),
    }
}

impl From<MemoryBenchError> for Failure {
    fn from(error: MemoryBenchError) -> Self {
        match error {
            MemoryBenchError::NoData { .. }
            | MemoryBenchError::NoCase { .. }
            | MemoryBenchError::OtherSettings { .. }
            | MemoryBenchError::OtherCases { .. }
            | MemoryBenchError::OtherLayout { .. }
            | MemoryBenchError::MixedSettings { .. }
            | MemoryBenchError::HasRecords { .. }
            | MemoryBenchError::NoAudit { .. }
            | MemoryBenchError::UnmeasuredJudge { .. } => Self::usage(error),
            MemoryBenchError::NoRecords { .. } => {
                Self::usage(error).hint("give the folder of --out")
            }
            MemoryBenchError::File { .. }
            | MemoryBenchError::Line { .. }
            | MemoryBenchError::Grammar(_)
            | MemoryBenchError::Entry { .. }
            | MemoryBenchError::SameId { .. } => Self::new(Kind::Failure, error),
            MemoryBenchError::Store(error) => error.into(),
            MemoryBenchError::Model(error) => error.into(),
            MemoryBenchError::Agent(error) => error.into(),
            MemoryBenchError::Cancelled => Self::new(Kind::Interrupted, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};
    use crate::commands::bench::{BenchArgs, What};

    /// Reads the flags behind `bench memory`.
    pub(super) fn memory(flags: &str) -> Result<(MemoryArgs, CommonArgs), String> {
        let line = ["pagewise", "bench", "memory"].into_iter().chain(flags.split_whitespace());
        let cli = Cli::try_parse_from(line).map_err(|error| error.to_string())?;
        let Command::Bench(BenchArgs { what: What::Memory(args) }) = cli.command else {
            return Err("another command".into());
        };
        Ok((args, cli.common))
    }

    #[test]
    fn flags_take_lists() {
        let (args, _) =
            memory("--task nested-kv -m a,b --model c --arm memgpt,no-memory --window 2048,4096")
                .unwrap();
        assert_eq!(
            (args.model, args.window),
            (vec!["a".into(), "b".into(), "c".into()], vec![2048, 4096])
        );
        assert_eq!((args.task, args.arm), (vec![Task::NestedKv], vec![Arm::Memgpt, Arm::NoMemory]));
        let (args, common) = memory("--task nested-kv --seed 1000 --only lookups=4").unwrap();
        assert_eq!((args.window.len(), args.arm.len(), common.seed), (0, 0, 1000));
        assert_eq!(args.only, [("lookups".into(), "4".into())]);
        for flags in [
            "--task none",
            "--task nested-kv --arm none",
            "--task nested-kv --limit 0",
            "--task nested-kv --only lookups",
            "--regrade x --task nested-kv",
            "--suite quick --task nested-kv",
            "--suite all",
            "--task nested-kv --truncation half",
            "--task nested-kv --jobs 0",
            "--task nested-kv --jobs 65",
        ] {
            assert!(memory(flags).is_err(), "{flags:?}");
        }
    }
}
