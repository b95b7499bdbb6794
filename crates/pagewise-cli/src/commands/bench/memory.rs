use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use pagewise_agent::AgentConfig;
use pagewise_bench::memory::{
    Arm, Case, CaseSet, Documents, Lender, MemoryBenchError, Record, RunObserver, Runner, Settings,
    Summary, Task, Truncation, read_records, rewrite_records, table,
};
use pagewise_bench::memory_obtainable_bytes;
use pagewise_core::Embedder;
use pagewise_infer::{Engine, EngineOptions};

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
/// where it was.
///
/// The table, or a JSON object for each model, window, task and arm, goes to stdout. An accuracy is the
/// share of cases that are right, with its 95% interval; nothing is judged by a model. For nested-kv, read
/// accuracy and control together: the control wants the first value of the same chains. For bfcl-memory it is
/// over the questions that only what the agent saved may answer, for quest the mean share of a game's
/// tasks that are done.
#[derive(Debug, Args)]
pub(super) struct MemoryArgs {
    /// Tasks: nested-kv, dmr, core-memory, doc-qa, topic-retrieval, bfcl-memory, quest
    #[arg(long, value_name = "TASK", value_delimiter = ',', required_unless_present = "regrade")]
    task: Vec<Task>,
    /// Models, each as --model names one elsewhere
    // Under the name of the flag that every command has, which takes one.
    #[arg(short, long, value_name = "MODEL", value_delimiter = ',')]
    model: Vec<String>,
    /// Arms: memgpt, full-context, retrieval, no-memory
    #[arg(long, value_name = "ARM", value_delimiter = ',', default_value = "memgpt")]
    arm: Vec<Arm>,
    /// Context windows, in tokens [default: 4096, or what the model has]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    window: Vec<u32>,
    /// A folder with public data, or one that has it in a folder of the set's name
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Run at most so many cases [default: all of a data set, 48 of a generator]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Leave out so many cases first
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u32,
    /// Run only cases with this label, such as lookups=4; can be given again
    #[arg(long, value_name = "LABEL=VALUE", value_parser = label)]
    only: Vec<(String, String)>,
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
        return regrade(folder, printer);
    }
    for task in &args.task {
        if let Some(arm) = args.arm.iter().find(|arm| !task.has_arm(**arm)) {
            return Err(Failure::usage(format!(
                "{task} has no arm {arm}: it has no passages to search for the question"
            )));
        }
    }
    // Before a model is loaded for data that is not there.
    let sets = args
        .task
        .iter()
        .map(|task| Ok((*task, cases(*task, args, common)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let models = match args.model.as_slice() {
        [] => vec![common.model.clone()],
        models => models.to_vec(),
    };
    let windows: Vec<Option<u32>> = match args.window.as_slice() {
        [] => vec![common.window],
        windows => windows.iter().copied().map(Some).collect(),
    };
    let embedder = embedder(args, common, printer)?;
    let mut summaries = Vec::new();
    for model in &models {
        for window in &windows {
            let common = CommonArgs { model: model.clone(), window: *window, ..common.clone() };
            let bench = Bench::load(args, &common, printer, &embedder)?;
            for (task, set) in &sets {
                summaries.extend(bench.run(*task, set)?);
            }
        }
    }
    report(&summaries, printer)
}

/// The cases that the flags ask for.
fn cases(task: Task, args: &MemoryArgs, common: &CommonArgs) -> Result<CaseSet, Failure> {
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
            let n = offset + args.limit.map_or(GENERATED_CASES, |limit| limit as usize);
            let n_all = n.saturating_mul(if args.only.is_empty() { 1 } else { CASES_FOR_ONE });
            ("generated".into(), n_all, Box::new(task.generate(common.seed).take(n_all)))
        }
    };
    let limit = match (args.limit, &args.data) {
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
    args: &MemoryArgs,
    common: &CommonArgs,
    printer: &Printer,
) -> Result<Arc<dyn Embedder>, Failure> {
    if !args.task.iter().any(|task| task.needs_embedder()) {
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
    lender: Lender,
}

impl<'a> Bench<'a> {
    fn load(
        args: &'a MemoryArgs,
        common: &'a CommonArgs,
        printer: &'a Printer,
        embedder: &'a Arc<dyn Embedder>,
    ) -> Result<Self, Failure> {
        let path = weights::model_path(common, printer)?;
        let options = EngineOptions {
            window_tokens: common.window.map(|window| window as usize),
            default_window_tokens: WINDOW_TOKENS,
            memory_bytes: memory_obtainable_bytes(),
            ..EngineOptions::default()
        };
        let engine = Engine::load(&path, &common.compute()?, &options)?;
        let model = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { args, common, printer, embedder, model, lender: Lender::new(Box::new(engine)) })
    }

    /// Runs a task with all arms, which share the memory that was made ready.
    fn run(&self, task: Task, set: &CaseSet) -> Result<Vec<Summary>, Failure> {
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
        for arm in &self.args.arm {
            let settings = self.settings(task, set, *arm, &embedder_id);
            let mut progress = Progress::new(self.printer, &settings);
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

    fn settings(&self, task: Task, set: &CaseSet, arm: Arm, embedder: &str) -> Settings {
        let usual = AgentConfig {
            sampling: weights::sampling(self.common),
            seed: self.common.seed,
            ..AgentConfig::default()
        };
        let agent = task.agent_config(usual);
        let truncation = self.args.truncation;
        let n_max = match (self.args.documents, truncation) {
            (Some(n), _) => n.into(),
            (None, Truncation::Whole) => agent.page_size as usize,
            (None, Truncation::Tokens | Truncation::Paper) => SHARED_DOCUMENTS,
        };
        Settings {
            format: Settings::FORMAT,
            task,
            source: set.source.clone(),
            model: self.model.clone(),
            arm,
            window: self.lender.window_tokens(),
            seed: self.common.seed,
            embedder: embedder.into(),
            prompts: Settings::prompts(),
            documents: Documents { n_max, truncation },
            agent,
        }
    }
}

/// Says how far a run is, and how long it will take.
struct Progress<'a> {
    printer: &'a Printer,
    title: String,
    started: Instant,
    n_before: Option<usize>,
    n_done: usize,
    n_right: usize,
    n: usize,
}

impl<'a> Progress<'a> {
    fn new(printer: &'a Printer, settings: &Settings) -> Self {
        let Settings { task, model, arm, window, .. } = settings;
        Self {
            printer,
            title: format!("{task}, {model}, {arm}, window {window}"),
            started: Instant::now(),
            n_before: None,
            n_done: 0,
            n_right: 0,
            n: 0,
        }
    }
}

impl RunObserver for Progress<'_> {
    fn begin(&mut self, _id: &str, _n_done: usize, n_recorded: usize, n: usize) {
        if self.n_before.is_none() {
            self.n_before = Some(n_recorded);
            self.n = n;
            self.started = Instant::now();
            let recorded = match n_recorded {
                0 => String::new(),
                n => format!(", {n} of them recorded already"),
            };
            self.printer.talk(&format!("{}: {n} cases{recorded}", self.title));
        }
    }

    fn preparing(&mut self, n_texts: usize) {
        self.printer.detail(&format!("memory is filled with {n_texts} texts"));
    }

    fn telling(&mut self, n_done: usize, n: usize) {
        self.printer.talk(&format!("the agent has conversation {} of {n}", n_done + 1));
    }

    fn end(&mut self, record: &Record) {
        self.n_done += 1;
        self.n_right += usize::from(record.score.correct);
        let n_before = self.n_before.unwrap_or(0);
        let n_left = self.n.saturating_sub(n_before + self.n_done);
        let per_case = self.started.elapsed().as_secs_f64() / self.n_done as f64;
        let right = match record.score.tasks.as_slice() {
            [] if record.score.correct => "right".to_string(),
            [] => record.failure.name().to_string(),
            tasks => {
                let n_done = tasks.iter().filter(|task| task.correct).count();
                format!("{n_done} of {} tasks done", tasks.len())
            }
        };
        self.printer.talk(&format!(
            "{}/{} {}: {right}, {:.1} s; {} of {} right, {} left",
            n_before + self.n_done,
            self.n,
            record.case.id,
            record.seconds,
            self.n_right,
            self.n_done,
            time(per_case * n_left as f64)
        ));
    }
}

/// Writes a time for people.
fn time(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round();
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{minutes:.0} min"),
        _ => format!("{:.1} h", minutes / 60.0),
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

/// Scores all records of a folder again.
fn regrade(folder: &Path, printer: &Printer) -> Result<(), Failure> {
    let error =
        |error| Failure::new(Kind::Failure, format!("cannot read {}: {error}", folder.display()));
    let mut files = fs::read_dir(folder)
        .map_err(error)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<PathBuf>, _>>()
        .map_err(error)?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let mut summaries = Vec::new();
    for file in &files {
        let (mut records, _) = read_records(file)?;
        let Some(first) = records.first() else { continue };
        let settings = first.settings.clone();
        let mut n_changed = 0;
        for record in &mut records {
            let before = (record.score.clone(), record.failure);
            record.grade();
            n_changed += usize::from(before != (record.score.clone(), record.failure));
        }
        if n_changed > 0 {
            rewrite_records(file, &records)?;
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        printer.talk(&format!("{name}: {n_changed} of {} records changed", records.len()));
        let summary = Summary::of(&settings, &records);
        if printer.json() {
            printer.json_line(&summary);
        }
        summaries.push(summary);
    }
    if summaries.is_empty() {
        return Err(Failure::usage(format!("{} has no records", folder.display())));
    }
    report(&summaries, printer)
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
            | MemoryBenchError::OtherSettings { .. } => Self::usage(error),
            MemoryBenchError::File { .. }
            | MemoryBenchError::Line { .. }
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
        assert_eq!((args.window.len(), common.seed), (0, 1000));
        assert_eq!(args.only, [("lookups".into(), "4".into())]);
        for flags in [
            "",
            "--task none",
            "--task nested-kv --arm none",
            "--task nested-kv --limit 0",
            "--task nested-kv --only lookups",
            "--regrade x --task nested-kv",
            "--task nested-kv --truncation half",
        ] {
            assert!(memory(flags).is_err(), "{flags:?}");
        }
    }

    #[test]
    fn cases_are_those_that_the_flags_ask_for() {
        let ids = |flags: &str| {
            let (args, common) = memory(&format!("--task nested-kv {flags}")).unwrap();
            cases(Task::NestedKv, &args, &common)
                .map(|set| set.cases.into_iter().map(|case| case.id).collect::<Vec<_>>())
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

    #[test]
    fn times_are_for_people() {
        let times = [0.0, 89.0, 90.0, 1800.0, 9000.0].map(time);
        assert_eq!(times, ["0 s", "89 s", "2 min", "30 min", "2.5 h"]);
    }
}
