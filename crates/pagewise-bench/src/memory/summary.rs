//! What the records of a run come to: one JSON object, and a table for people.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use pagewise_core::TokenUsage;
use serde::{Deserialize, Serialize};

use super::arm::Arm;
use super::failure::Failure;
use super::game;
use super::interval::{interval, n_clusters};
use super::made_by::Made;
use super::record::{Record, Settings, all_events};
use super::task::Task;
use super::tasks::bfcl_memory::{self, MEMORY};
use super::tasks::nested_kv::{ASK, DIRECT};
use super::told::ToldRecord;

/// The share of cases that are right, or the mean of what they score where a reply can be right in part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// How many cases.
    pub n: usize,
    /// The share or the mean.
    pub accuracy: f64,
    /// Its 95% interval: Wilson's, of a mean the bootstrap's, or where several cases were asked of one store, one that
    /// takes these together, if that is wider; of games, Wilson's for as many tasks as their spread allows.
    pub ci95: [f64; 2],
    /// How many stores the cases were asked of, if fewer than there are cases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stores: Option<usize>,
}

/// The mean of another measure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Its 95% interval: as a share's if each value is 0 or 1, else the bootstrap's.
    pub ci95: [f64; 2],
}

/// What it took the agent to write the memories that it is asked about, each counted once: no case has a share in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Writing {
    /// How many memories.
    pub n: usize,
    /// The agent's calls for one of them; replies included.
    pub calls_per_memory: f64,
    /// Tokens that went through the model for one of them: read, sampled and forced.
    pub tokens_per_memory: f64,
    /// Time for one of them.
    pub seconds_per_memory: f64,
}

impl Writing {
    /// `None` if the memories were given.
    fn of(records: &[Record]) -> Option<Self> {
        let mut told: BTreeMap<&str, &ToldRecord> = BTreeMap::new();
        for record in records {
            if let Some(one) = &record.told {
                told.entry(&record.store).or_insert(one);
            }
        }
        let n = told.len();
        let mean = |of: &dyn Fn(&ToldRecord) -> f64| {
            told.values().map(|one| of(one)).sum::<f64>() / n as f64
        };
        let written = |tokens: &TokenUsage| tokens.generated as f64 + tokens.forced as f64;
        (n > 0).then(|| Self {
            n,
            calls_per_memory: mean(&|told| told.n_calls as f64),
            tokens_per_memory: mean(&|told| told.tokens.prefilled as f64 + written(&told.tokens)),
            seconds_per_memory: mean(&|told| told.seconds),
        })
    }
}

/// What a run comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The task.
    pub task: Task,
    /// Where its cases are from.
    pub source: String,
    /// The model.
    pub model: String,
    /// A hash of its weights.
    pub weights: String,
    /// Who answered.
    pub arm: Arm,
    /// The context window, in tokens.
    pub window: usize,
    /// Seeds the cases and the answers.
    pub seed: u64,
    /// Cases, and the share of them that is right. The direct control of nested key-value retrieval is
    /// not among them, and of a question that was asked both ways of a memory that the agent wrote, it is
    /// the one without recall storage.
    #[serde(flatten)]
    pub share: Share,
    /// The same for each value of each label. What the tasks of games are labelled with counts tasks, and the
    /// labels of games count games.
    pub by: BTreeMap<String, BTreeMap<String, Share>>,
    /// The share of the direct control that is right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<f64>,
    /// Its interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_ci95: Option<[f64; 2]>,
    /// The control for each value of each label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_by: Option<BTreeMap<String, BTreeMap<String, Share>>>,
    /// The agent's calls, control and replies included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<usize>,
    /// Answers of the model that were to be calls: those of the agent, decisions beside its steps, and what it wrote
    /// in the conversations that memory comes of. `None` if a record does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_written: Option<usize>,
    /// Of these, the ones that were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid_calls: Option<usize>,
    /// The agent's searches, control included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub searches: Option<usize>,
    /// Of these, the ones that the runtime made itself or left the model nothing to choose of: a run that has
    /// any is no measure of the model alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_searches: Option<usize>,
    /// Other measures of the same replies.
    pub scores: BTreeMap<String, Mean>,
    /// Calls for a case; replies included.
    pub steps_per_case: f64,
    /// Tokens that went through the model for a case: read, sampled and forced.
    pub tokens_per_case: f64,
    /// Of these, the tokens that were written.
    pub written_tokens_per_case: f64,
    /// Time for a case.
    pub seconds_per_case: f64,
    /// What the memories took that the agent wrote itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writing: Option<Writing>,
    /// Mean length of a reply: what scores a part of it rewards long ones.
    pub reply_chars: f64,
    /// Cases by the class of their failure; tasks, where a case has several.
    pub failures: BTreeMap<&'static str, usize>,
    /// What made the records, as far as they say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub made_by: Vec<Made>,
    /// Other settings in which it differs from the first of its task, source, model, arm and window.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differing: Vec<String>,
}

impl Summary {
    /// Sums up records, at least one, which were made with these settings.
    pub fn of(settings: &Settings, records: &[Record]) -> Self {
        let is_control =
            |record: &&Record| record.case.labels.get(ASK).is_some_and(|ask| ask == DIRECT);
        let (control, others): (Vec<&Record>, Vec<&Record>) = records.iter().partition(is_control);
        // What was asked both ways counts once.
        let written: Vec<&Record> =
            others.iter().copied().filter(|record| !bfcl_memory::is_recall(record)).collect();
        let counted = if written.is_empty() { others.clone() } else { written };
        let has_control = settings.task == Task::NestedKv;
        let is_agent = settings.arm == Arm::Memgpt;
        // Controls alone were asked for: they have no share besides their own.
        let control_share =
            (has_control && !control.is_empty()).then(|| share(&control, settings.seed));
        let every: Vec<&Record> = records.iter().collect();
        let all = Figures::of(&every, settings.seed);
        let failures = all.failures.iter().map(|(class, n)| (class.name(), *n)).collect();
        let events = all_events(records);
        let mut by = by_labels(&counted, settings.seed);
        by.extend(by_labels(&others, settings.seed).remove_entry(MEMORY));
        by.extend(game::by_task_labels(&counted));
        Self {
            task: settings.task,
            source: settings.source.clone(),
            model: settings.model.clone(),
            weights: settings.weights.clone(),
            arm: settings.arm,
            window: settings.window,
            seed: settings.seed,
            share: share(&counted, settings.seed),
            by,
            control: control_share.as_ref().map(|share| share.accuracy),
            control_ci95: control_share.as_ref().map(|share| share.ci95),
            control_by: control_share.is_some().then(|| by_labels(&control, settings.seed)),
            calls: is_agent.then(|| records.iter().map(|record| record.steps().count()).sum()),
            // What a file says need not be a number that anything was counted to.
            calls_written: is_agent
                .then(|| {
                    let mut counts = events.iter().map(|event| event.n_calls_written);
                    counts.try_fold(0, |sum: usize, n| Some(sum.saturating_add(n?)))
                })
                .flatten(),
            invalid_calls: is_agent.then(|| {
                let counts = events.iter().map(|event| event.n_invalid);
                counts.fold(0, usize::saturating_add)
            }),
            searches: is_agent.then(|| records.iter().map(Record::n_searches).sum()),
            runtime_searches: is_agent
                .then(|| records.iter().map(Record::n_runtime_searches).sum()),
            scores: means(&counted, settings.seed),
            steps_per_case: all.steps,
            tokens_per_case: all.tokens,
            written_tokens_per_case: all.written,
            seconds_per_case: all.seconds,
            writing: Writing::of(records),
            reply_chars: all.reply_chars,
            failures,
            made_by: Made::counted(&every),
            differing: Vec::new(),
        }
    }

    /// Returns the task with where its cases are from, for people.
    pub fn title(&self) -> String {
        self.task.title(None, &self.source)
    }

    /// How many cases there are, control included; tasks, where a case has several.
    pub fn n_run(&self) -> usize {
        self.failures.values().sum()
    }

    /// How many cases could not be run to their end.
    pub fn n_failed(&self) -> usize {
        self.failures.get("failed").copied().unwrap_or(0)
    }
}

pub(crate) fn share(records: &[&Record], seed: u64) -> Share {
    if records.iter().any(|record| !record.score.tasks.is_empty()) {
        return game::share_of_games(records);
    }
    let values: Vec<f64> = records.iter().map(|record| record.score.value()).collect();
    let stores: Vec<&str> = records.iter().map(|record| &*record.store).collect();
    Share::of(&values, &stores, seed)
}

impl Share {
    /// The mean of values from 0 to 1, of which those of one of `stores` may be alike; an empty name is a store of its
    /// own. `seed` seeds the bootstrap.
    pub(crate) fn of(values: &[f64], stores: &[&str], seed: u64) -> Self {
        let n = values.len();
        Self {
            n,
            accuracy: values.iter().sum::<f64>() / n.max(1) as f64,
            ci95: interval(values, stores, seed),
            stores: n_clusters(stores),
        }
    }
}

fn by_labels(records: &[&Record], seed: u64) -> BTreeMap<String, BTreeMap<String, Share>> {
    let mut groups: BTreeMap<String, BTreeMap<String, Vec<&Record>>> = BTreeMap::new();
    for record in records {
        for (label, value) in &record.case.labels {
            let values = groups.entry(label.clone()).or_default();
            values.entry(value.clone()).or_default().push(record);
        }
    }
    let shares = |values: BTreeMap<String, Vec<&Record>>| {
        values.into_iter().map(|(value, records)| (value, share(&records, seed))).collect()
    };
    groups.into_iter().map(|(label, values)| (label, shares(values))).collect()
}

fn means(records: &[&Record], seed: u64) -> BTreeMap<String, Mean> {
    let mut values: BTreeMap<&str, (Vec<f64>, Vec<&str>)> = BTreeMap::new();
    for record in records {
        for (name, value) in &record.score.parts {
            let (values, stores) = values.entry(name).or_default();
            values.push(*value);
            stores.push(&record.store);
        }
    }
    values
        .into_iter()
        .map(|(name, (values, stores))| {
            let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
            (name.to_string(), Mean { mean, ci95: interval(&values, &stores, seed) })
        })
        .collect()
}

/// What records come to that are counted together.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    pub(crate) share: Share,
    /// Calls for a case; replies included.
    pub(crate) steps: f64,
    /// Tokens that went through the model for a case.
    pub(crate) tokens: f64,
    /// Of these, the tokens that were written.
    pub(crate) written: f64,
    pub(crate) seconds: f64,
    pub(crate) reply_chars: f64,
    /// Searches for a case.
    pub(crate) searches: f64,
    /// Of these, the ones of which the model had nothing to choose.
    pub(crate) runtime_searches: f64,
    /// Other measures of the same replies.
    pub(crate) scores: BTreeMap<String, Mean>,
    /// Cases by the class of their failure; tasks, where a case has several.
    pub(crate) failures: BTreeMap<Failure, usize>,
}

impl Figures {
    pub(crate) fn of(records: &[&Record], seed: u64) -> Self {
        let n = records.len().max(1) as f64;
        let mean =
            |of: &dyn Fn(&Record) -> f64| records.iter().map(|record| of(record)).sum::<f64>() / n;
        let mut failures = BTreeMap::new();
        for record in records {
            for failure in game::failures(record) {
                *failures.entry(failure).or_default() += 1;
            }
        }
        let written =
            |record: &Record| record.tokens.generated as f64 + record.tokens.forced as f64;
        Self {
            share: share(records, seed),
            steps: mean(&|record| record.steps().count() as f64),
            tokens: mean(&|record| record.tokens.prefilled as f64 + written(record)),
            written: mean(&written),
            seconds: mean(&|record| record.seconds),
            reply_chars: mean(&|record| record.reply.chars().count() as f64),
            searches: mean(&|record| record.n_searches() as f64),
            runtime_searches: mean(&|record| record.n_runtime_searches() as f64),
            scores: means(records, seed),
            failures,
        }
    }

    /// Names the other measures with their means.
    pub(crate) fn named_scores(&self) -> Vec<String> {
        named_scores(self.scores.iter().map(|(name, score)| (name, score.mean)))
    }
}

/// Writes measures with their names.
pub(crate) fn named_scores<N: Display>(scores: impl IntoIterator<Item = (N, f64)>) -> Vec<String> {
    scores.into_iter().map(|(name, value)| format!("{name} {value:.3}")).collect()
}

/// Writes summaries as a table.
pub fn table(summaries: &[Summary]) -> String {
    let header = [
        "task", "model", "arm", "window", "n", "accuracy", "95%", "control", "steps", "tokens", "s",
    ];
    let mut rows = vec![header.map(str::to_string).to_vec()];
    for summary in summaries {
        let Share { n, accuracy, ci95, .. } = &summary.share;
        rows.push(vec![
            summary.title(),
            match summary.differing.as_slice() {
                [] => summary.model.clone(),
                names => format!("{}, other {}", summary.model, names.join(", ")),
            },
            summary.arm.to_string(),
            summary.window.to_string(),
            n.to_string(),
            format!("{accuracy:.3}"),
            format!("{:.3} to {:.3}", ci95[0], ci95[1]),
            summary.control.map_or_else(|| "–".into(), |control| format!("{control:.3}")),
            format!("{:.1}", summary.steps_per_case),
            format!("{:.0}", summary.tokens_per_case),
            format!("{:.1}", summary.seconds_per_case),
        ]);
    }
    let mut text = text_table(&rows);
    for summary in summaries {
        let classes: Vec<String> =
            summary.failures.iter().map(|(class, n)| format!("{class} {n}")).collect();
        let _ = writeln!(text, "{} {}: {}", summary.title(), summary.arm, classes.join(", "));
        let scores = named_scores(summary.scores.iter().map(|(name, score)| (name, score.mean)));
        if !scores.is_empty() {
            let _ = writeln!(text, "  other measures: {}", scores.join(", "));
        }
        match (summary.calls_written, summary.calls, summary.invalid_calls) {
            (Some(n @ 1..), _, Some(n_invalid)) => {
                let n_valid = n.saturating_sub(n_invalid);
                let _ = writeln!(text, "  {n_valid} of {n} calls that the model wrote are valid");
            }
            (_, Some(n), Some(n_invalid @ 1..)) => {
                let _ = writeln!(text, "  {n_invalid} calls beside these {n} were not valid");
            }
            _ => {}
        }
        if let Some(Writing { n, calls_per_memory, tokens_per_memory, seconds_per_memory }) =
            &summary.writing
        {
            let _ = writeln!(
                text,
                "  {n} memories were written first, each in {calls_per_memory:.1} calls, {tokens_per_memory:.0} tokens \
                 and {seconds_per_memory:.1} s"
            );
        }
        if let (Some(n @ 1..), Some(of_them @ 1..)) = (summary.searches, summary.runtime_searches) {
            let _ = writeln!(text, "  {of_them} of {n} searches left the model nothing to choose");
        }
    }
    text
}

/// Writes rows, of which the first is the header, as a Markdown table with columns that stand below each other;
/// nothing if there is only the header.
pub(crate) fn text_table(rows: &[Vec<String>]) -> String {
    if rows.len() < 2 {
        return String::new();
    }
    let n_columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..n_columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.chars().count())))
            .collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
        if number == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            let _ = writeln!(text, "| {} |", rules.join(" | "));
        }
    }
    text
}
