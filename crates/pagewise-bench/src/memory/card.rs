//! The aptitude card of one weights file: what it can do as a manager of its memory, from records alone.
//!
//! Every word of advice follows from figures by thresholds that stand on the card.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::arm::Arm;
use super::diff::Paired;
use super::failure::Failure;
use super::record::Settings;
use super::runs::{Cell, Part, Runs};
use super::summary::{Figures, Share, share, text_table};

/// A task is advised if the lower end of its interval is at least this.
pub const ADVISED_FROM: f64 = 0.75;
/// A task is advised against if the upper end of its interval is below this.
pub const ADVISED_AGAINST_BELOW: f64 = 0.5;

/// Failure classes that are named.
const CLASSES_NAMED: usize = 3;

/// What the records say of one weights file at one window, with one agent's prompts.
#[derive(Debug, Clone, Serialize)]
pub struct Card {
    /// The model, with its prompts if there are several agents of it.
    pub model: String,
    /// A hash of its weights.
    pub weights: String,
    /// What the agent's prompts are, as a number.
    pub prompts: String,
    /// The context window, in tokens.
    pub window: usize,
    /// Tasks, or sources of one, that were run.
    pub n_tasks: usize,
    /// What was run.
    pub lines: Vec<CardLine>,
}

/// What the records say of one task.
#[derive(Debug, Clone, Serialize)]
pub struct CardLine {
    /// The task, with `control` behind it for the direct control, and the source unless generated.
    pub part: String,
    /// How the agent does with its memory.
    pub memgpt: Share,
    /// How the same model does otherwise: the share of each other arm that was run.
    pub others: BTreeMap<&'static str, Share>,
    /// What memory adds to the question alone, over the cases that both have, with the 95% interval.
    pub over_no_memory: Option<(f64, [f64; 2])>,
    /// The agent's mean cost of a case.
    pub steps_per_case: f64,
    /// Tokens that went through the model: read, sampled and forced.
    pub tokens_per_case: f64,
    /// Time.
    pub seconds_per_case: f64,
    /// How many answers there are: one a case, but for games, which have one for each task.
    pub n_answers: usize,
    /// How many of them are wrong.
    pub n_wrong: usize,
    /// The most frequent reasons for wrong answers, with their number of cases.
    pub failures: Vec<(&'static str, usize)>,
    /// For each value of each label, how many of how many answers are right.
    pub by: BTreeMap<String, BTreeMap<String, [usize; 2]>>,
    /// What follows; `None` where the score has no such meaning.
    pub advice: Option<Advice>,
}

/// What follows from a share with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Advice {
    /// The lower end of the interval is at least [`ADVISED_FROM`].
    Advised,
    /// Neither.
    Check,
    /// The upper end is below [`ADVISED_AGAINST_BELOW`].
    Against,
}

impl Advice {
    fn of([low, high]: [f64; 2]) -> Self {
        match () {
            () if low >= ADVISED_FROM => Self::Advised,
            () if high < ADVISED_AGAINST_BELOW => Self::Against,
            () => Self::Check,
        }
    }

    /// Returns it as a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Advised => "use",
            Self::Check => "check replies",
            Self::Against => "do not use",
        }
    }
}

impl Card {
    /// Makes the cards of all weights, windows and prompts that runs have the agent's arm of.
    pub fn all(runs: &Runs) -> Vec<Self> {
        let mut cards: Vec<Self> = Vec::new();
        for cell in runs.cells.iter().filter(|cell| cell.settings.arm == Arm::Memgpt) {
            let model = runs.agent(cell);
            let (weights, window) = (&cell.settings.weights, cell.settings.window);
            let others: Vec<&Cell> =
                runs.cells.iter().filter(|other| is_beside(cell, other)).collect();
            let lines = cell.parts().into_iter().map(|part| CardLine::of(cell, &part, &others));
            let is_it = |card: &&mut Self| {
                (&card.model, &card.weights, card.window) == (&model, weights, window)
            };
            match cards.iter_mut().find(is_it) {
                Some(card) => {
                    card.n_tasks += 1;
                    card.lines.extend(lines);
                }
                None => cards.push(Self {
                    weights: weights.clone(),
                    prompts: cell.settings.prompts.clone(),
                    window,
                    n_tasks: 1,
                    lines: lines.collect(),
                    model,
                }),
            }
        }
        cards
    }

    /// Writes it as a page of Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {} as a manager of its memory\n\n", self.model);
        let n: usize = self.lines.iter().map(|line| line.memgpt.n).sum();
        let _ = writeln!(
            text,
            "Context window {} tokens; {n} cases of {} tasks; weights {}.\n",
            self.window,
            self.n_tasks,
            if self.weights.is_empty() { "without a recorded hash" } else { &self.weights },
        );
        let head = ["task", "n", "accuracy", "95%", "full context", "no memory", "memory adds"];
        let tail = ["calls", "tokens", "s", "advice"];
        let mut rows: Vec<Vec<String>> =
            vec![head.iter().chain(&tail).map(|name| (*name).to_string()).collect()];
        for line in &self.lines {
            let Share { n, accuracy, ci95: [low, high], .. } = &line.memgpt;
            let other = |arm: Arm| match line.others.get(arm.name()) {
                Some(share) => format!("{:.2} (n {})", share.accuracy, share.n),
                None => "–".into(),
            };
            rows.push(vec![
                line.part.clone(),
                n.to_string(),
                format!("{accuracy:.2}"),
                format!("{low:.2} to {high:.2}"),
                other(Arm::FullContext),
                other(Arm::NoMemory),
                match line.over_no_memory {
                    Some((more, [low, high])) => format!("{more:+.2} ({low:+.2} to {high:+.2})"),
                    None => "–".into(),
                },
                format!("{:.1}", line.steps_per_case),
                format!("{:.0}", line.tokens_per_case),
                format!("{:.1}", line.seconds_per_case),
                line.advice.map_or("–", Advice::name).into(),
            ]);
        }
        text += &text_table(&rows);
        text.push('\n');
        for line in &self.lines {
            let _ = writeln!(text, "- **{}**: {}", line.part, line.details());
        }
        let _ = writeln!(
            text,
            "\n\"use\": the lower end of the 95% interval is at least {ADVISED_FROM}; \"do not use\": its upper end is \
             below {ADVISED_AGAINST_BELOW}; \"check replies\": neither; of openers none is given, since nearness is no share of \
             what is right. \"memory adds\": accuracy less that of the \
             question alone, over the cases that both arms have. Calls, tokens and seconds are means over cases; \
             seconds are those of the machine that ran them.",
        );
        text
    }
}

impl CardLine {
    fn of(cell: &Cell, part: &Part<'_>, others: &[&Cell]) -> Self {
        let seed = cell.settings.seed;
        let Figures { share: memgpt, steps, tokens, seconds, failures, .. } = part.figures(seed);
        let mut shares = BTreeMap::new();
        let mut over_no_memory = None;
        for other in others {
            let parts = other.parts();
            let Some(same) = parts.iter().find(|one| one.name == part.name) else { continue };
            shares.insert(other.settings.arm.name(), share(&same.records, seed));
            if other.settings.arm == Arm::NoMemory {
                let paired = Paired::of(same, part);
                over_no_memory = paired.map(|paired| (paired.difference, paired.ci95));
            }
        }
        let mut by: BTreeMap<String, BTreeMap<String, [usize; 2]>> = BTreeMap::new();
        let mut count = |label: &str, value: &str, is_right: bool| {
            let [n_right, n] = by.entry(label.into()).or_default().entry(value.into()).or_default();
            *n_right += usize::from(is_right);
            *n += 1;
        };
        for record in &part.records {
            let tasks = &record.score.tasks;
            for (label, value) in &record.case.labels {
                match tasks.as_slice() {
                    [] => count(label, value, record.score.correct),
                    tasks => tasks.iter().for_each(|task| count(label, value, task.correct)),
                }
            }
            for (task, score) in record.case.tasks.iter().zip(tasks) {
                task.labels.iter().for_each(|(label, value)| count(label, value, score.correct));
            }
        }
        // A label with one value divides nothing.
        by.retain(|_, values| values.len() > 1);
        let n_answers = failures.values().sum();
        let mut failures: Vec<(&'static str, usize)> = failures
            .into_iter()
            .filter(|(class, _)| *class != Failure::None)
            .map(|(class, n)| (class.name(), n))
            .collect();
        let n_wrong = failures.iter().map(|(_, n)| n).sum();
        failures.sort_by_key(|(_, n)| usize::MAX - n);
        failures.truncate(CLASSES_NAMED);
        Self {
            part: part.name.clone(),
            advice: cell.settings.task.scores_right().then(|| Advice::of(memgpt.ci95)),
            memgpt,
            others: shares,
            over_no_memory,
            steps_per_case: steps,
            tokens_per_case: tokens,
            seconds_per_case: seconds,
            n_answers,
            n_wrong,
            failures,
            by,
        }
    }

    /// Returns why answers are wrong, and where, in words.
    pub(crate) fn details(&self) -> String {
        let mut text = match self.n_wrong {
            0 => format!("all {} right", self.n_answers),
            n => format!("{n} of {} wrong", self.n_answers),
        };
        if !self.failures.is_empty() {
            let named: Vec<String> =
                self.failures.iter().map(|(class, n)| format!("{class} {n}")).collect();
            let _ = write!(text, " ({})", named.join(", "));
        }
        for (label, values) in &self.by {
            let named: Vec<String> = values
                .iter()
                .map(|(value, [n_right, n])| format!("{value}: {n_right}/{n}"))
                .collect();
            let _ = write!(text, "; by {label}: {}", named.join(", "));
        }
        text
    }
}

/// Whether a cell is another arm of the same experiment.
fn is_beside(cell: &Cell, other: &Cell) -> bool {
    let arm = other.settings.arm;
    let expected = Settings { arm, ..cell.settings.clone() }.with_what_counts();
    arm != cell.settings.arm && expected == other.settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_follows_from_the_interval() {
        let advice =
            [[0.8, 0.95], [0.75, 1.0], [0.74, 1.0], [0.1, 0.5], [0.1, 0.49]].map(Advice::of);
        let names = advice.map(Advice::name);
        assert_eq!(names, ["use", "use", "check replies", "check replies", "do not use"]);
    }
}
