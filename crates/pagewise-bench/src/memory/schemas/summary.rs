use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::measured::{MeasuredSchema, Verdict};
use crate::memory::interval::wilson;
use crate::memory::summary::{Share, text_table};
use crate::memory::task::Task;

/// The schemas of one set that were measured with one tokenizer.
pub(crate) struct MeasuredSet<'a> {
    pub(crate) source: &'a str,
    pub(crate) model: &'a str,
    pub(crate) schemas: Vec<&'a MeasuredSchema>,
}

impl<'a> MeasuredSet<'a> {
    /// Returns all that there are, in order.
    pub(crate) fn all(measured: &'a [MeasuredSchema]) -> Vec<Self> {
        let mut sets: Vec<Self> = Vec::new();
        for schema in measured {
            let (source, model) = (&*schema.source, &*schema.model);
            match sets.iter_mut().find(|set| (set.source, set.model) == (source, model)) {
                Some(set) => set.schemas.push(schema),
                None => sets.push(Self { source, model, schemas: vec![schema] }),
            }
        }
        sets
    }
}

/// Returns what a set with a tokenizer is, for people.
pub(crate) fn title(source: &str, model: &str) -> String {
    format!("{}, tokenizer of {model}", Task::Grammar.title(None, source))
}

/// What the schemas of a set come to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GrammarSummary {
    /// The task.
    pub task: Task,
    /// Where its schemas are from.
    pub source: String,
    /// Whose tokenizer it is.
    pub model: String,
    /// `grammar`: no model answers.
    pub arm: &'static str,
    /// Schemas, and the share of them that was compiled and told all instances apart.
    #[serde(flatten)]
    pub share: Share,
    /// The same for each family and feature.
    pub by: BTreeMap<&'static str, BTreeMap<String, Share>>,
    /// The schemas that were compiled.
    pub compiled: Share,
    /// Of the valid instances of these, those that passed.
    pub valid_accepted: Share,
    /// Of the invalid instances of these, those that were refused.
    pub invalid_refused: Share,
    /// The time to compile a schema, the first mask included, in microseconds.
    pub compile_us: Percentiles,
    /// The time of a mask, in microseconds.
    pub mask_us: Percentiles,
    /// How many masks were made.
    pub masks: usize,
    /// Schemas by what is wrong with them.
    pub failures: BTreeMap<&'static str, usize>,
    /// Schemas that are not supported, by the reason.
    pub unsupported: BTreeMap<String, usize>,
    /// To compile all schemas, and to make all masks.
    pub seconds: f64,
}

/// A half of the values is at most `p50`, 99 of a hundred are at most `p99`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// What one value in a hundred exceeds.
    pub p99: f64,
}

impl Percentiles {
    /// Returns those of values in any order; zero if there are none.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |per_cent: usize| {
            let place = (values.len() * per_cent).div_ceil(100).saturating_sub(1);
            values.get(place).copied().unwrap_or_default()
        };
        Self { p50: at(50), p99: at(99) }
    }
}

impl GrammarSummary {
    /// Sums up what was measured, for each set and tokenizer.
    pub fn all(measured: &[MeasuredSchema]) -> Vec<Self> {
        MeasuredSet::all(measured).iter().map(Self::of).collect()
    }

    fn of(set: &MeasuredSet<'_>) -> Self {
        let measured = &set.schemas;
        let is_compiled = |schema: &&MeasuredSchema| schema.unsupported.is_none();
        let compiled: Vec<&MeasuredSchema> = measured.iter().copied().filter(is_compiled).collect();
        let sum = |counts: &dyn Fn(&MeasuredSchema) -> [usize; 2]| {
            let [n_right, n] = compiled.iter().fold([0, 0], |sums, schema| {
                let counts = counts(schema);
                [sums[0] + counts[0], sums[1] + counts[1]]
            });
            share(n_right, n)
        };
        let mut by: BTreeMap<&'static str, BTreeMap<String, Share>> = BTreeMap::new();
        let families = measured.iter().map(|schema| (schema.family.as_str(), *schema));
        by.insert("family", shares(families));
        let features = measured
            .iter()
            .flat_map(|schema| schema.features.iter().map(|name| (name.as_str(), *schema)));
        let features = shares(features);
        if !features.is_empty() {
            by.insert("feature", features);
        }
        let mut failures = BTreeMap::new();
        let mut unsupported = BTreeMap::new();
        for schema in measured {
            *failures.entry(schema.verdict().name()).or_default() += 1;
            if let Some(reason) = &schema.unsupported {
                *unsupported.entry(reason.clone()).or_default() += 1;
            }
        }
        let masks: Vec<f64> =
            measured.iter().flat_map(|schema| schema.mask_us.iter().copied()).collect();
        let compile_us: f64 = measured.iter().map(|schema| schema.compile_us).sum();
        Self {
            task: Task::Grammar,
            source: set.source.into(),
            model: set.model.into(),
            arm: "grammar",
            share: share(measured.iter().filter(|schema| is_right(schema)).count(), measured.len()),
            by,
            compiled: share(compiled.len(), measured.len()),
            valid_accepted: sum(&|schema| schema.valid_accepted),
            invalid_refused: sum(&|schema| schema.invalid_refused),
            compile_us: Percentiles::of(compiled.iter().map(|schema| schema.compile_us).collect()),
            masks: masks.len(),
            seconds: (compile_us + masks.iter().sum::<f64>()) / 1e6,
            mask_us: Percentiles::of(masks),
            failures,
            unsupported,
        }
    }

    /// Returns what there is beside the share that is right, by name; times are in microseconds.
    pub(crate) fn scores(&self) -> Vec<(String, f64)> {
        let Self { compiled, valid_accepted, invalid_refused, compile_us, mask_us, .. } = self;
        let scores = [
            ("compiled", compiled.accuracy),
            ("valid accepted", valid_accepted.accuracy),
            ("invalid refused", invalid_refused.accuracy),
            ("compile p50", compile_us.p50),
            ("compile p99", compile_us.p99),
            ("mask p50", mask_us.p50),
            ("mask p99", mask_us.p99),
        ];
        scores.map(|(name, value)| (name.to_string(), value)).to_vec()
    }

    fn row(&self) -> Vec<String> {
        let Share { n, accuracy, ci95, .. } = &self.share;
        let of = |share: &Share| format!("{:.4} of {}", share.accuracy, share.n);
        let time = |us: f64| format!("{us:.0}");
        vec![
            self.source.clone(),
            self.model.clone(),
            n.to_string(),
            format!("{accuracy:.3}"),
            format!("{:.3} to {:.3}", ci95[0], ci95[1]),
            of(&self.compiled),
            of(&self.valid_accepted),
            of(&self.invalid_refused),
            time(self.compile_us.p50),
            time(self.compile_us.p99),
            self.masks.to_string(),
            time(self.mask_us.p50),
            time(self.mask_us.p99),
        ]
    }

    /// Returns what is wrong and where, a line each.
    pub(crate) fn details(&self) -> Vec<String> {
        let counted = |counts: Vec<String>| counts.join(", ");
        let classes = self.failures.iter().map(|(class, n)| format!("{class} {n}"));
        let mut lines = vec![counted(classes.collect())];
        for (label, values) in &self.by {
            let values = values
                .iter()
                .map(|(value, share)| format!("{value} {:.3} of {}", share.accuracy, share.n));
            lines.push(format!("by {label}: {}", counted(values.collect())));
        }
        let reasons = self.unsupported.iter();
        lines.extend(reasons.map(|(reason, n)| format!("not supported, {n}: {reason}")));
        lines
    }
}

fn is_right(schema: &MeasuredSchema) -> bool {
    schema.verdict() == Verdict::Right
}

fn share(n_right: usize, n: usize) -> Share {
    Share { n, accuracy: n_right as f64 / n.max(1) as f64, ci95: wilson(n_right, n), stores: None }
}

fn shares<'a>(
    named: impl Iterator<Item = (&'a str, &'a MeasuredSchema)>,
) -> BTreeMap<String, Share> {
    let mut counts: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for (name, schema) in named {
        let counts = counts.entry(name.into()).or_default();
        *counts = [counts[0] + usize::from(is_right(schema)), counts[1] + 1];
    }
    counts.into_iter().map(|(name, [n_right, n])| (name, share(n_right, n))).collect()
}

/// Returns summaries as rows, of which the first is the header.
pub(crate) fn grammar_rows(summaries: &[GrammarSummary]) -> Vec<Vec<String>> {
    let header = [
        "set",
        "tokenizer",
        "schemas",
        "right",
        "95%",
        "compiled",
        "valid accepted",
        "invalid refused",
        "compile p50 µs",
        "p99",
        "masks",
        "mask p50 µs",
        "p99",
    ];
    let header = header.map(str::to_string).to_vec();
    std::iter::once(header).chain(summaries.iter().map(GrammarSummary::row)).collect()
}

/// Writes summaries as a table, with what is wrong below it.
pub fn grammar_table(summaries: &[GrammarSummary]) -> String {
    let mut text = text_table(&grammar_rows(summaries));
    for summary in summaries {
        let _ = writeln!(text, "{}:", title(&summary.source, &summary.model));
        summary.details().iter().for_each(|line| {
            let _ = writeln!(text, "  {line}");
        });
    }
    text
}
