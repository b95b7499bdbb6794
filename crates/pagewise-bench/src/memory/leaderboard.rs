//! Models beside each other: how each does as a memory manager, task by task and over all.

use std::fmt::Write;

use serde::Serialize;

use super::arm::Arm;
use super::record::Settings;
use super::runs::{Cell, Runs};
use super::summary::{Share, share, text_table};

/// Models and tasks: the agents' arm alone, since the others measure what memory is compared with.
#[derive(Debug, Clone, Serialize)]
pub struct Leaderboard {
    /// The tasks, with their source unless generated.
    pub tasks: Vec<String>,
    /// How many of them are in the mean: not those whose score is no share of what is right.
    pub n_in_mean: usize,
    /// The models, the best first.
    pub standings: Vec<Standing>,
}

/// An agent: a model with its prompts, at one window.
#[derive(Debug, Clone, Serialize)]
pub struct Standing {
    /// The model, with its prompts if there are several agents of it, and with what else differs if it has several
    /// cells of a task.
    pub model: String,
    /// A hash of its weights.
    pub weights: String,
    /// What its prompts are, as a number.
    pub prompts: String,
    /// The context window, in tokens.
    pub window: usize,
    /// One for each task; `None` where it was not run.
    pub scores: Vec<Option<TaskScore>>,
    /// Tasks of the mean that it was run on.
    pub n_tasks: usize,
    /// The mean of their scores, each counted once.
    pub mean: f64,
    /// Its 95% interval.
    pub ci95: [f64; 2],
}

/// How a model does in a task.
#[derive(Debug, Clone, Serialize)]
pub struct TaskScore {
    /// Cases, control included.
    pub n: usize,
    /// The share that is right, or the mean of what replies score where they can be right in part; of nested
    /// key-value retrieval, the mean of that and of its control's, and of memory that the agent wrote, over what
    /// only that may answer.
    pub score: f64,
    /// Its 95% interval.
    pub ci95: [f64; 2],
    /// Whether it is in the mean.
    pub is_in_mean: bool,
}

impl TaskScore {
    /// Scores a cell; each of its parts counts the same, but for one that repeats another's questions.
    pub(crate) fn of(cell: &Cell) -> Self {
        let shares: Vec<Share> = cell
            .parts()
            .iter()
            .filter(|part| !part.is_repetition)
            .map(|part| share(&part.records, cell.settings.seed))
            .collect();
        let parts: Vec<(f64, [f64; 2])> =
            shares.iter().map(|share| (share.accuracy, share.ci95)).collect();
        let (score, ci95) = mean(&parts);
        let is_in_mean = cell.settings.task.scores_right();
        Self { n: shares.iter().map(|share| share.n).sum(), score, ci95, is_in_mean }
    }
}

impl Leaderboard {
    /// Ranks what was run.
    pub fn of(runs: &Runs) -> Self {
        let cells = || runs.cells.iter().filter(|cell| cell.settings.arm == Arm::Memgpt);
        let mut tasks: Vec<String> = Vec::new();
        let mut n_in_mean = 0;
        for cell in cells() {
            let name = cell.settings.title();
            if !tasks.contains(&name) {
                tasks.push(name);
                n_in_mean += usize::from(cell.settings.task.scores_right());
            }
        }
        let mut standings: Vec<Standing> = Vec::new();
        for cell in cells() {
            let Some(column) = tasks.iter().position(|name| *name == cell.settings.title()) else {
                continue;
            };
            let model = runs.agent(cell);
            let Settings { weights, window, prompts, .. } = cell.settings.clone();
            let is_it = |one: &Standing| {
                (&one.model, &one.weights, one.window) == (&model, &weights, window)
                    && one.scores[column].is_none()
            };
            let at = match standings.iter().position(is_it) {
                Some(at) => at,
                None => {
                    standings.push(Standing {
                        model,
                        weights,
                        prompts,
                        window,
                        scores: vec![None; tasks.len()],
                        n_tasks: 0,
                        mean: 0.0,
                        ci95: [0.0, 1.0],
                    });
                    standings.len() - 1
                }
            };
            standings[at].scores[column] = Some(TaskScore::of(cell));
        }
        for standing in &mut standings {
            let in_mean = standing.scores.iter().flatten().filter(|score| score.is_in_mean);
            let scores: Vec<(f64, [f64; 2])> =
                in_mean.map(|score| (score.score, score.ci95)).collect();
            standing.n_tasks = scores.len();
            (standing.mean, standing.ci95) = mean(&scores);
        }
        // A mean over fewer tasks is another measure: it does not stand above one over more.
        standings.sort_by(|a, b| b.n_tasks.cmp(&a.n_tasks).then(b.mean.total_cmp(&a.mean)));
        Self { tasks, n_in_mean, standings }
    }

    /// Writes it for people; nothing if no model was run.
    pub fn text(&self) -> String {
        if self.standings.is_empty() {
            return String::new();
        }
        let mut header = vec!["model".to_string(), "window".into()];
        header.extend(self.tasks.iter().cloned());
        header.push("mean".into());
        let mut rows = vec![header];
        for standing in &self.standings {
            let mut row = vec![standing.model.clone(), standing.window.to_string()];
            row.extend(standing.scores.iter().map(|score| match score {
                Some(TaskScore { n, score, ci95: [low, high], .. }) => {
                    format!("{score:.2} ({low:.2} to {high:.2}, n {n})")
                }
                None => "–".into(),
            }));
            let Standing { mean, ci95: [low, high], n_tasks, .. } = standing;
            let of = self.n_in_mean;
            row.push(match n_tasks {
                0 => "–".into(),
                _ => format!("{mean:.2} ({low:.2} to {high:.2}, {n_tasks} of {of})"),
            });
            rows.push(row);
        }
        let mut text = text_table(&rows);
        let _ = writeln!(
            text,
            "The memgpt arm. Each task counts once in the mean, but for opener, whose nearness is no share of what is \
             right; nested-kv is the mean of accuracy and control, and bfcl-memory has only what the agent saved to \
             answer from."
        );
        text
    }
}

/// Returns the mean of independent figures with its interval: the distances of their ends are squared and
/// added.
pub(crate) fn mean(figures: &[(f64, [f64; 2])]) -> (f64, [f64; 2]) {
    let n = figures.len();
    if n == 0 {
        return (0.0, [0.0, 1.0]);
    }
    let n = n as f64;
    let mean = figures.iter().map(|(figure, _)| figure).sum::<f64>() / n;
    let side = |end: usize| {
        figures.iter().map(|(figure, ends)| (figure - ends[end]).powi(2)).sum::<f64>().sqrt() / n
    };
    (mean, [(mean - side(0)).max(0.0), (mean + side(1)).min(1.0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_of_figures_is_surer_than_each() {
        let (one, ends) = mean(&[(0.5, [0.3, 0.8])]);
        assert!((one - 0.5).abs() < 1e-12 && (ends[0] - 0.3).abs() < 1e-12, "{ends:?}");
        let (four, ends) = mean(&[(0.5, [0.3, 0.8]); 4]);
        assert!((four - 0.5).abs() < 1e-12);
        assert!((ends[0] - 0.4).abs() < 1e-12 && (ends[1] - 0.65).abs() < 1e-12, "{ends:?}");
        assert_eq!(mean(&[]), (0.0, [0.0, 1.0]));
    }
}
