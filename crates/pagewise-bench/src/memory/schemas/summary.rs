use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::measured::{MeasuredSchema, Verdict};
use crate::memory::interval::wilson;
use crate::memory::summary::Share;
use crate::memory::task::Task;

/// What a run over schemas comes to.
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
    /// The whole run.
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
    /// Sums up what was measured with the tokenizer of `model` in so many seconds.
    pub fn of(source: &str, model: &str, measured: &[MeasuredSchema], seconds: f64) -> Self {
        let is_compiled = |schema: &&MeasuredSchema| schema.unsupported.is_none();
        let compiled: Vec<&MeasuredSchema> = measured.iter().filter(is_compiled).collect();
        let sum = |counts: &dyn Fn(&MeasuredSchema) -> [usize; 2]| {
            let [n_right, n] = compiled.iter().fold([0, 0], |sums, schema| {
                let counts = counts(schema);
                [sums[0] + counts[0], sums[1] + counts[1]]
            });
            share(n_right, n)
        };
        let mut by: BTreeMap<&'static str, BTreeMap<String, Share>> = BTreeMap::new();
        let families = measured.iter().map(|schema| (schema.family.as_str(), schema));
        by.insert("family", shares(families));
        let features = measured
            .iter()
            .flat_map(|schema| schema.features.iter().map(move |name| (name.as_str(), schema)));
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
        Self {
            task: Task::Grammar,
            source: source.into(),
            model: model.into(),
            arm: "grammar",
            share: share(measured.iter().filter(|schema| is_right(schema)).count(), measured.len()),
            by,
            compiled: share(compiled.len(), measured.len()),
            valid_accepted: sum(&|schema| schema.valid_accepted),
            invalid_refused: sum(&|schema| schema.invalid_refused),
            compile_us: Percentiles::of(compiled.iter().map(|schema| schema.compile_us).collect()),
            masks: masks.len(),
            mask_us: Percentiles::of(masks),
            failures,
            unsupported,
            seconds,
        }
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

/// Writes a summary for people.
pub fn grammar_table(summary: &GrammarSummary) -> String {
    let mut text = String::new();
    let GrammarSummary { source, model, share, compile_us, mask_us, .. } = summary;
    let _ = writeln!(
        text,
        "grammar, {source}, tokenizer of {model}: {:.3} of {} schemas ({:.3} to {:.3})",
        share.accuracy, share.n, share.ci95[0], share.ci95[1]
    );
    for (name, share) in [
        ("compiled", &summary.compiled),
        ("valid accepted", &summary.valid_accepted),
        ("invalid refused", &summary.invalid_refused),
    ] {
        let _ = writeln!(text, "  {name}: {:.4} of {}", share.accuracy, share.n);
    }
    for (name, times) in [("compile", compile_us), ("mask", mask_us)] {
        let _ = writeln!(text, "  {name}: p50 {:.0} µs, p99 {:.0} µs", times.p50, times.p99);
    }
    for (label, values) in &summary.by {
        for (value, share) in values {
            let _ = writeln!(text, "  {label} {value}: {:.3} of {}", share.accuracy, share.n);
        }
    }
    let classes: Vec<String> =
        summary.failures.iter().map(|(class, n)| format!("{class} {n}")).collect();
    let _ = writeln!(text, "  {}", classes.join(", "));
    for (reason, n) in &summary.unsupported {
        let _ = writeln!(text, "  not supported, {n}: {reason}");
    }
    text
}
