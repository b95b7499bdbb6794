mod agent_settings;
mod grammar;
mod progress;
mod regrade;
mod retrieval;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use pagewise_agent::AgentConfig;
use pagewise_bench::memory::{
    Arm, Case, CaseSet, Documents, Lender, MemoryBenchError, Runner, Settings, Suite, Summary,
    Task, Truncation, table,
};
use pagewise_bench::memory_obtainable_bytes;
use pagewise_core::Embedder;
use pagewise_infer::{Engine, EngineOptions, LoadError};

use self::progress::{Pace, Progress};

use crate::args::CommonArgs;
use crate::commands::chat::{cancel_on_ctrl_c, while_replying};
use crate::failure::{Failure, Kind};
use crate::opening::{NoEmbedder, WINDOW_TOKENS, load_embedder};
use crate::printer::Printer;
use crate::weights;

/// Cases of a generator, if no number is asked for: enough to tell a half from three quarters.
const GENERATED_CASES: usize = 48;

/// When a case begins, if the flags do not say.
const CASE_START: &str = "2026-01-05T09:00:00Z";

/// Cases made for one that has the labels asked for: as many as there are values of two labels.
const CASES_FOR_ONE: usize = 48;

/// Documents in a prompt whose share of the window is the same for each.
const SHARED_DOCUMENTS: usize = 20;

/// Measure how well a model manages its memory: the experiments of the MemGPT paper, and others
///
/// Each case has a fresh agent whose memory was filled before, or, for comparison, the same model with one
/// prompt: as much of the material as fits the window (full-context), what the store's own search finds
/// best (retrieval), or the question alone (no-memory). Without --data, cases are generated from --seed.
/// With --out, every case leaves a line with all that happened, and a run that was stopped goes on
/// where it was; cases that failed are run again. `bench report`, `diff` and `merge` read these lines.
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
    #[arg(long, value_name = "TASK", value_delimiter = ',', required_unless_present_any = ["regrade", "suite"])]
    task: Vec<Task>,
    /// Run tasks together, with the arms, windows and numbers of cases that the suite has for each: quick
    /// (a first look, under 10 minutes for 1.5 billion parameters on two cores), paper (the experiments of
    /// the MemGPT paper), full (every task with all its arms); the other flags go first
    #[arg(long, value_name = "SUITE", conflicts_with_all = ["task", "regrade"])]
    suite: Option<Suite>,
    /// Models, each as --model names one elsewhere
    // Under the name of the flag that every command has, which takes one.
    #[arg(short, long, value_name = "MODEL", value_delimiter = ',')]
    model: Vec<String>,
    /// Arms: memgpt, full-context, retrieval, no-memory [default: memgpt, or those of the suite]
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
    /// Where to put a line for each case
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The most documents in a prompt [default: a page of the agent's, or 20 where they are cut]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    documents: Option<u16>,
    /// How documents are made to fit a prompt: whole, tokens (each gets the same share of the window), or
    /// paper (the same share, but in characters, as the paper's code did it)
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
    agent_settings::with_settings(AgentConfig::default(), &args.set)?;
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
            let bench = match Bench::load(args, &common, printer, &embedder)? {
                Some(bench) => bench,
                None => {
                    at(window).flat_map(|one| &one.arms).for_each(|_| pace.begin());
                    continue;
                }
            };
            for experiment in at(window) {
                summaries.extend(bench.run(experiment, &mut pace)?);
            }
        }
    }
    report(&summaries, printer)
}

/// A task with everything that it is run with.
struct Experiment {
    task: Task,
    set: CaseSet,
    arms: Vec<Arm>,
    windows: Vec<Option<u32>>,
}

/// What the flags ask for, in order.
fn experiments(
    args: &MemoryArgs,
    common: &CommonArgs,
    printer: &Printer,
) -> Result<Vec<Experiment>, Failure> {
    let asked: Vec<Option<u32>> = match args.window.as_slice() {
        [] => vec![common.window],
        windows => windows.iter().copied().map(Some).collect(),
    };
    let asked_arms = match args.arm.as_slice() {
        [] => vec![Arm::Memgpt],
        arms => arms.to_vec(),
    };
    let Some(suite) = args.suite else {
        let experiment = |task: &Task| {
            if let Some(arm) = asked_arms.iter().find(|arm| !task.has_arm(**arm)) {
                return Err(Failure::usage(format!(
                    "{task} has no arm {arm}: there is nothing that such a prompt would hold"
                )));
            }
            let set = cases(*task, args.limit, args, common)?;
            Ok(Experiment { task: *task, set, arms: asked_arms.clone(), windows: asked.clone() })
        };
        return args.task.iter().filter(|task| task.needs_model()).map(experiment).collect();
    };
    let mut experiments = Vec::new();
    for row in suite.rows() {
        let arms = match args.arm.as_slice() {
            [] => row.arms.to_vec(),
            arms => arms.iter().copied().filter(|arm| row.task.has_arm(*arm)).collect(),
        };
        if arms.is_empty() {
            continue;
        }
        let windows = match (args.window.as_slice(), common.window) {
            ([], None) => row.windows.iter().copied().map(Some).collect(),
            _ => asked.clone(),
        };
        let limit = Some(args.limit.unwrap_or(row.n_cases));
        let set = match cases(row.task, limit, args, common) {
            // A folder need not have data for every task of a suite; what is generated is named so.
            Err(NoCases::NoData(error)) => {
                printer.talk(&format!("{error}; its cases are generated"));
                let without = MemoryArgs { data: None, ..args.clone() };
                cases(row.task, limit, &without, common)?
            }
            set => set?,
        };
        experiments.push(Experiment { task: row.task, set, arms, windows });
    }
    if experiments.is_empty() {
        return Err(Failure::usage(format!("no task of the suite {suite} has these arms")));
    }
    Ok(experiments)
}

/// There are no cases to run.
enum NoCases {
    /// The folder has no data for the task.
    NoData(MemoryBenchError),
    Other(MemoryBenchError),
}

impl From<MemoryBenchError> for NoCases {
    fn from(error: MemoryBenchError) -> Self {
        match error {
            MemoryBenchError::NoData { .. } => Self::NoData(error),
            error => Self::Other(error),
        }
    }
}

impl From<NoCases> for Failure {
    fn from(none: NoCases) -> Self {
        let (NoCases::NoData(error) | NoCases::Other(error)) = none;
        error.into()
    }
}

/// The cases that the flags ask for.
fn cases(
    task: Task,
    limit: Option<u32>,
    args: &MemoryArgs,
    common: &CommonArgs,
) -> Result<CaseSet, NoCases> {
    let offset = args.offset as usize;
    let has_labels =
        |case: &Case| args.only.iter().all(|(label, value)| case.labels.get(label) == Some(value));
    let (source, n_all, cases): (_, _, Box<dyn Iterator<Item = Case>>) = match &args.data {
        Some(folder) => {
            let set = task.load(folder)?;
            (set.source, set.cases.len(), Box::new(set.cases.into_iter()))
        }
        None => {
            // There is no end of them, and perhaps none with these labels.
            let n = offset + limit.map_or(GENERATED_CASES, |limit| limit as usize);
            let n_all = n.saturating_mul(if args.only.is_empty() { 1 } else { CASES_FOR_ONE });
            ("generated".into(), n_all, Box::new(task.generate(common.seed).take(n_all)))
        }
    };
    let limit = match (limit, &args.data) {
        (Some(limit), _) => limit as usize,
        (None, Some(_)) => usize::MAX,
        (None, None) => GENERATED_CASES,
    };
    let mut n_with_labels = 0;
    let cases: Vec<Case> =
        cases.filter(has_labels).inspect(|_| n_with_labels += 1).skip(offset).take(limit).collect();
    if cases.is_empty() {
        let asked = match n_with_labels {
            0 => "none of them has the labels of --only".into(),
            n => format!("--offset {offset} leaves out all of {n}"),
        };
        return Err(MemoryBenchError::NoCase { task, n_cases: n_all, asked }.into());
    }
    Ok(CaseSet { source, cases })
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

/// A loaded model, and what it is measured with.
struct Bench<'a> {
    args: &'a MemoryArgs,
    common: &'a CommonArgs,
    printer: &'a Printer,
    embedder: &'a Arc<dyn Embedder>,
    model: String,
    weights: String,
    lender: Lender,
}

impl<'a> Bench<'a> {
    /// Loads a model; `None` if it was not trained for a window that a suite has and nobody asked for.
    fn load(
        args: &'a MemoryArgs,
        common: &'a CommonArgs,
        printer: &'a Printer,
        embedder: &'a Arc<dyn Embedder>,
    ) -> Result<Option<Self>, Failure> {
        let path = weights::model_path(common, printer)?;
        let options = EngineOptions {
            window_tokens: common.window.map(|window| window as usize),
            default_window_tokens: WINDOW_TOKENS,
            memory_bytes: memory_obtainable_bytes(),
            ..EngineOptions::default()
        };
        let engine = match Engine::load(&path, &common.compute()?, &options) {
            Err(error @ LoadError::WindowTooLarge { .. })
                if args.suite.is_some() && args.window.is_empty() =>
            {
                printer.talk(&format!("left out: {error}"));
                return Ok(None);
            }
            engine => engine?,
        };
        let model = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let weights = engine.description().fingerprint.clone();
        let lender = Lender::new(Box::new(engine));
        Ok(Some(Self { args, common, printer, embedder, model, weights, lender }))
    }

    /// Runs a task with all arms, which share the memory that was made ready.
    fn run(&self, experiment: &Experiment, pace: &mut Pace) -> Result<Vec<Summary>, Failure> {
        let Experiment { task, set, arms, .. } = experiment;
        let task = *task;
        let embedder: Arc<dyn Embedder> = match task.needs_embedder() {
            true => Arc::clone(self.embedder),
            false => Arc::new(NoEmbedder),
        };
        let embedder_id = embedder.id().to_string();
        let now = match self.common.now {
            Some(now) => now,
            None => CASE_START.parse().map_err(|error| Failure::new(Kind::Failure, error))?,
        };
        let cancelled = cancel_on_ctrl_c()?;
        let mut runner = Runner::new(&self.lender, embedder, now, cancelled);
        let mut summaries = Vec::new();
        for arm in arms {
            let settings = self.settings(task, set, *arm, &embedder_id)?;
            let mut progress = Progress::new(self.printer, &settings, pace);
            let records = while_replying(cancelled, || {
                runner.run(&set.cases, &settings, self.args.out.as_deref(), &mut progress)
            })?;
            let summary = Summary::of(&settings, &records);
            if let Some(record) = records.iter().find(|record| record.error.is_some()) {
                let (n, id) = (summary.n_failed(), &record.case.id);
                let error = record.error.as_deref().unwrap_or_default();
                self.printer.warn(&format!("{n} cases could not be run; {id}: {error}"));
            }
            if self.printer.json() {
                self.printer.json_line(&summary);
            }
            summaries.push(summary);
        }
        Ok(summaries)
    }

    fn settings(
        &self,
        task: Task,
        set: &CaseSet,
        arm: Arm,
        embedder: &str,
    ) -> Result<Settings, Failure> {
        let usual = AgentConfig {
            sampling: weights::sampling(self.common),
            seed: self.common.seed,
            ..AgentConfig::default()
        };
        let agent = agent_settings::with_settings(task.agent_config(usual), &self.args.set)?;
        let truncation = self.args.truncation;
        let n_max = match (self.args.documents, truncation) {
            (Some(n), _) => n.into(),
            (None, Truncation::Whole) => agent.page_size as usize,
            (None, Truncation::Tokens | Truncation::Paper) => SHARED_DOCUMENTS,
        };
        Ok(Settings {
            format: Settings::FORMAT,
            task,
            source: set.source.clone(),
            model: self.model.clone(),
            weights: self.weights.clone(),
            arm,
            window: self.lender.window_tokens(),
            seed: self.common.seed,
            embedder: embedder.into(),
            prompts: Settings::prompts(),
            documents: Documents { n_max, truncation },
            agent,
        })
    }
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
            | MemoryBenchError::OtherLayout { .. }
            | MemoryBenchError::MixedSettings { .. }
            | MemoryBenchError::NoRecords { .. }
            | MemoryBenchError::HasRecords { .. }
            | MemoryBenchError::NoAudit { .. }
            | MemoryBenchError::UnmeasuredJudge { .. } => Self::usage(error),
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

    fn memory(flags: &str) -> Result<(MemoryArgs, CommonArgs), String> {
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
            "",
            "--task none",
            "--task nested-kv --arm none",
            "--task nested-kv --limit 0",
            "--task nested-kv --only lookups",
            "--regrade x --task nested-kv",
            "--suite quick --task nested-kv",
            "--suite all",
            "--task nested-kv --truncation half",
        ] {
            assert!(memory(flags).is_err(), "{flags:?}");
        }
    }

    #[test]
    fn cases_are_those_that_the_flags_ask_for() {
        let ids = |flags: &str| {
            let (args, common) = memory(&format!("--task nested-kv {flags}")).unwrap();
            cases(Task::NestedKv, args.limit, &args, &common)
                .map(|set| set.cases.into_iter().map(|case| case.id).collect::<Vec<_>>())
                .map_err(Failure::from)
                .map_err(|failure| (failure.kind, failure.message))
        };
        assert_eq!(ids("").unwrap().len(), GENERATED_CASES);
        assert_eq!(ids("--limit 2").unwrap(), ["kv-0-0-nested", "kv-0-0-direct"]);
        assert_eq!(
            ids("--limit 2 --offset 1 --seed 3").unwrap(),
            ["kv-3-0-direct", "kv-3-1-nested"]
        );
        let only = ids("--limit 3 --only lookups=6 --only ask=direct").unwrap();
        assert_eq!(only, ["kv-0-5-direct", "kv-0-11-direct", "kv-0-17-direct"]);
        let none = ids("--only lookups=7").unwrap_err();
        assert_eq!(none.0, Kind::Usage);
        assert!(none.1.ends_with("none of them has the labels of --only"), "{}", none.1);
        let data = tempfile::tempdir().unwrap();
        let none = ids(&format!("--data {}", data.path().display())).unwrap_err();
        assert!(none.1.contains("has no data for nested-kv"), "{}", none.1);
    }
}
