//! Running the cases of `bench memory` on a model.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pagewise_bench::memory::{
    Arm, CaseSet, Documents, Lender, MadeBy, Runner, Settings, Summary, Task, Truncation,
};
use pagewise_bench::processor_name;
use pagewise_core::{Embedder, LanguageModel};
use pagewise_infer::{Compute, Engine, EngineOptions, Isa, LoadError};

use super::MemoryArgs;
use super::experiment::Experiment;
use super::progress::{Pace, Progress};
use crate::agent_settings;
use crate::args::CommonArgs;
use crate::commands::chat::{cancel_on_ctrl_c, while_replying};
use crate::failure::Failure;
use crate::opening::{NoEmbedder, engine_options};
use crate::printer::Printer;
use crate::weights;

/// Documents in a prompt whose share of the window is the same for each.
const SHARED_DOCUMENTS: usize = 20;

/// A model, loaded for each job, and what it is measured with.
pub(super) struct Loaded<'a> {
    args: &'a MemoryArgs,
    common: &'a CommonArgs,
    printer: &'a Printer,
    embedder: &'a Arc<dyn Embedder>,
    model: String,
    weights: String,
    window: usize,
    lenders: Vec<Lender>,
    device: &'static str,
    kernels: Option<&'static str>,
    n_threads: usize,
}

impl<'a> Loaded<'a> {
    /// Loads a model; `None` if it was not trained for a window that a suite has and nobody asked for.
    pub(super) fn load(
        args: &'a MemoryArgs,
        common: &'a CommonArgs,
        printer: &'a Printer,
        embedder: &'a Arc<dyn Embedder>,
    ) -> Result<Option<Self>, Failure> {
        let path = weights::model_path(common, printer)?;
        let n_jobs = usize::from(args.jobs);
        let share = common.n_threads() / n_jobs;
        let compute = |_| common.compute_on(common.device.into(), Some(share));
        let computes = (0..n_jobs).map(compute).collect::<Result<Vec<Compute>, Failure>>()?;
        let options = engine_options(common);
        // All are to fit, and the memory of the first may count as free when the second is loaded.
        let memory_bytes = options.memory_bytes.map(|bytes| bytes / u64::from(args.jobs));
        let engines = match load_on(&computes, &path, &EngineOptions { memory_bytes, ..options }) {
            Err(error @ LoadError::WindowTooLarge { .. })
                if args.suite.is_some() && args.window.is_empty() =>
            {
                printer.talk(&format!("left out: {error}"));
                return Ok(None);
            }
            engines => engines?,
        };
        let model = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let weights = engines[0].description().fingerprint.clone();
        let window = engines[0].context_window_tokens();
        let lenders = engines.into_iter().map(|engine| Lender::new(Box::new(engine))).collect();
        let (device, kernels) = (computes[0].name(), computes[0].isa().map(Isa::name));
        Ok(Some(Self {
            args,
            common,
            printer,
            embedder,
            model,
            weights,
            window,
            lenders,
            device,
            kernels,
            n_threads: share,
        }))
    }

    /// What the records of this day say of the program and the machine.
    fn made_by(&self) -> MadeBy {
        MadeBy {
            version: env!("CARGO_PKG_VERSION").into(),
            processor: processor_name(),
            device: self.device.into(),
            kernels: self.kernels.map(str::to_string),
            threads: self.n_threads,
            jobs: self.lenders.len(),
            date: Timestamp::now().to_zoned(TimeZone::UTC).date(),
        }
    }

    /// Runs a task with all arms, which share the memory that was made ready.
    pub(super) fn run(
        &self,
        experiment: &Experiment,
        pace: &mut Pace,
    ) -> Result<Vec<Summary>, Failure> {
        let Experiment { task, set, arms, .. } = experiment;
        let task = *task;
        let embedder: Arc<dyn Embedder> = match task.needs_embedder() {
            true => Arc::clone(self.embedder),
            false => Arc::new(NoEmbedder),
        };
        let embedder_id = embedder.id().to_string();
        let cancelled = cancel_on_ctrl_c()?;
        let mut runner = Runner::new(&self.lenders, &embedder, cancelled).made_by(&self.made_by());
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
        let usual = agent_settings::for_model(self.common)?;
        let agent = agent_settings::with_set(task.agent_config(usual), &self.args.set)?;
        let truncation = self.args.truncation;
        let n_max = match (self.args.documents, truncation) {
            (Some(n), _) => n.into(),
            (None, Truncation::Whole) => agent.page_size as usize,
            (None, Truncation::Tokens | Truncation::Paper) => SHARED_DOCUMENTS,
        };
        let settings = Settings {
            format: Settings::FORMAT,
            task,
            source: set.source.clone(),
            model: self.model.clone(),
            weights: self.weights.clone(),
            arm,
            window: self.window,
            seed: self.common.seed,
            now: self.common.now.unwrap_or(Settings::CASE_START),
            embedder: embedder.into(),
            prompts: Settings::prompts(),
            documents: Documents { n_max, truncation },
            agent,
        };
        Ok(settings.with_what_counts())
    }
}

/// Loads a model for each of those that are to compute.
#[expect(clippy::result_large_err, reason = "the library's own error")]
fn load_on(
    computes: &[Compute],
    path: &Path,
    options: &EngineOptions,
) -> Result<Vec<Engine>, LoadError> {
    computes.iter().map(|compute| Engine::load(path, compute, options)).collect()
}
