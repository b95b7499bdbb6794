//! Running the cases of `bench memory` on a model.

use std::sync::Arc;

use pagewise_bench::memory::{
    Arm, CaseSet, Documents, Lender, Runner, Settings, Summary, Task, Truncation,
};
use pagewise_core::Embedder;
use pagewise_infer::{Engine, LoadError};

use super::MemoryArgs;
use super::experiment::Experiment;
use super::progress::{Pace, Progress};
use crate::agent_settings;
use crate::args::CommonArgs;
use crate::commands::chat::{cancel_on_ctrl_c, while_replying};
use crate::failure::{Failure, Kind};
use crate::opening::{NoEmbedder, engine_options};
use crate::printer::Printer;
use crate::weights;

/// When a case begins, if the flags do not say.
const CASE_START: &str = "2026-01-05T09:00:00Z";

/// Documents in a prompt whose share of the window is the same for each.
const SHARED_DOCUMENTS: usize = 20;

/// A loaded model, and what it is measured with.
pub(super) struct Loaded<'a> {
    args: &'a MemoryArgs,
    common: &'a CommonArgs,
    printer: &'a Printer,
    embedder: &'a Arc<dyn Embedder>,
    model: String,
    weights: String,
    lender: Lender,
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
        let engine = match Engine::load(&path, &common.compute()?, &engine_options(common)) {
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
            window: self.lender.window_tokens(),
            seed: self.common.seed,
            embedder: embedder.into(),
            prompts: Settings::prompts(),
            documents: Documents { n_max, truncation },
            agent,
        };
        Ok(settings.with_what_counts())
    }
}
