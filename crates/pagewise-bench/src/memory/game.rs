//! Games: cases with several tasks, which share one memory.
//!
//! A game scores the share of its tasks that are done, and the accuracy of a run is the mean over its games.
//! Tasks of one game are not independent, so an interval is Wilson's for as many independent tasks as the
//! spread between games allows: at least as many as there are games, at most as many as there are tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::case::{Baseline, Case};
use super::failure::{Failure, classify, is_evidence_seen};
use super::interval::wilson_of_share;
use super::record::{EventRecord, Record};
use super::score::{GameTaskScore, Score, score};
use super::summary::Share;
use super::words::holds_phrase;

/// Scores a game task by task.
pub(crate) fn score_game(record: &Record) -> Score {
    let mut n_named = 0;
    let mut n_seen = 0;
    let mut tasks = Vec::new();
    for number in 0..record.case.tasks.len() {
        let Some(one) = as_one(record, number) else {
            tasks.push(GameTaskScore { correct: false, failure: Failure::Failed });
            continue;
        };
        let answers = &one.case.gold.answers;
        n_named += usize::from(answers.iter().any(|answer| holds_phrase(&one.reply, answer)));
        n_seen += usize::from(is_evidence_seen(&one));
        tasks.push(GameTaskScore { correct: one.score.correct, failure: classify(&one) });
    }
    let n_done = tasks.iter().filter(|task| task.correct).count();
    let share = |n: usize| n as f64 / tasks.len().max(1) as f64;
    let mut parts = BTreeMap::from([
        // Right, but perhaps with other names beside it.
        ("named".to_string(), share(n_named)),
        ("seen".to_string(), share(n_seen)),
    ]);
    if let Some(tokens) = record.told_tokens {
        parts.insert("windows_told".into(), tokens as f64 / record.settings.window.max(1) as f64);
    }
    Score { correct: n_done == tasks.len(), fraction: Some(share(n_done)), parts, tasks }
}

/// A task as a case of its own.
pub(crate) fn part(case: &Case, number: usize) -> Option<Case> {
    let (message, task) = (case.messages.get(number)?, case.tasks.get(number)?);
    let mut labels = case.labels.clone();
    labels.extend(task.labels.clone());
    Some(Case {
        id: format!("{}-{}", case.id, number + 1),
        labels,
        memory: Arc::clone(&case.memory),
        messages: vec![message.clone()],
        baseline: Baseline {
            before: case.baseline.before.clone(),
            after: format!("\n\nNow the user says: {}", message.text),
            alone: message.text.clone(),
            query: String::new(),
        },
        gold: task.gold.clone(),
        tasks: Vec::new(),
    })
}

/// The record of a task; `None` if the game was over before.
fn as_one(record: &Record, number: usize) -> Option<Record> {
    let event = record.events.get(number)?.clone();
    let case = part(&record.case, number)?;
    let EventRecord { replies, prompt, .. } = &event;
    let mut one = Record {
        reply: replies.join("\n"),
        prompt: prompt.clone(),
        case,
        error: None,
        events: vec![event],
        ..record.clone()
    };
    one.score = score(&one);
    Some(one)
}

/// What goes wrong most in a game.
pub(crate) fn failure_of_game(record: &Record) -> Failure {
    if record.error.is_some() {
        return Failure::Failed;
    }
    let mut classes: BTreeMap<Failure, usize> = BTreeMap::new();
    for task in record.score.tasks.iter().filter(|task| !task.correct) {
        *classes.entry(task.failure).or_default() += 1;
    }
    classes.into_iter().max_by_key(|(_, n)| *n).map_or(Failure::None, |(failure, _)| failure)
}

/// The classes of failure of a record: of its tasks if it is a game.
pub(crate) fn failures(record: &Record) -> Vec<Failure> {
    match record.score.tasks.as_slice() {
        [] => vec![record.failure],
        tasks => tasks.iter().map(|task| task.failure).collect(),
    }
}

/// The mean score of games.
pub(crate) fn share_of_games(records: &[&Record]) -> Share {
    let games: Vec<(f64, f64)> = records.iter().map(|one| (one.score.value(), 1.0)).collect();
    let n_tasks = records.iter().map(|record| record.score.tasks.len()).sum();
    let (accuracy, ci95) = clustered(&games, n_tasks);
    Share { n: records.len(), accuracy, ci95, stores: None }
}

/// The tasks of each game, by its place: those that are done, and all.
type ByGame = BTreeMap<usize, (f64, f64)>;

/// The share of tasks that is done, for each value of each label of a task.
pub(crate) fn by_task_labels(records: &[&Record]) -> BTreeMap<String, BTreeMap<String, Share>> {
    let mut groups: BTreeMap<&str, BTreeMap<&str, ByGame>> = BTreeMap::new();
    for (game, record) in records.iter().enumerate() {
        for (task, score) in record.case.tasks.iter().zip(&record.score.tasks) {
            for (label, value) in &task.labels {
                let games = groups.entry(label).or_default().entry(value).or_default();
                let (n_done, n) = games.entry(game).or_default();
                *n_done += if score.correct { 1.0 } else { 0.0 };
                *n += 1.0;
            }
        }
    }
    let share = |games: ByGame| {
        let games: Vec<(f64, f64)> = games.into_values().collect();
        let n = games.iter().map(|(_, n)| *n as usize).sum();
        let (accuracy, ci95) = clustered(&games, n);
        let stores = (games.len() < n).then_some(games.len());
        Share { n, accuracy, ci95, stores }
    };
    let shares = |values: BTreeMap<&str, _>| {
        values.into_iter().map(|(value, games)| (value.to_string(), share(games))).collect()
    };
    groups.into_iter().map(|(label, values)| (label.to_string(), shares(values))).collect()
}

/// The ratio of two sums over clusters, and its 95% interval. `n_max` is how many observations there are.
fn clustered(clusters: &[(f64, f64)], n_max: usize) -> (f64, [f64; 2]) {
    let n = clusters.len() as f64;
    let sum_of_n: f64 = clusters.iter().map(|(_, n)| n).sum();
    if sum_of_n <= 0.0 {
        return (0.0, [0.0, 1.0]);
    }
    let ratio = clusters.iter().map(|(done, _)| done).sum::<f64>() / sum_of_n;
    // One cluster shows nothing of the spread between them.
    let effective = if clusters.len() < 2 {
        1.0
    } else {
        let squares: f64 =
            clusters.iter().map(|(done, n)| (done - ratio * n) * (done - ratio * n)).sum();
        let variance = n / (n - 1.0) * squares / (sum_of_n * sum_of_n);
        if variance > 0.0 { ratio * (1.0 - ratio) / variance } else { f64::INFINITY }
    };
    (ratio, wilson_of_share(ratio, effective.clamp(n, (n_max as f64).max(n))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_as_wide_as_the_spread_between_games_asks() {
        let width = |games: &[(f64, f64)], n: usize| {
            let (_, [low, high]) = clustered(games, n);
            high - low
        };
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a}, not {b}");
        let wilson = |share: f64, n: f64| {
            let [low, high] = wilson_of_share(share, n);
            high - low
        };
        // All alike: the tasks tell as much as independent ones.
        near(width(&[(10.0, 20.0); 4], 80), wilson(0.5, 80.0));
        // All or nothing: each game tells as much as one task. 4/3 · 4 · 10² / 80² = 1/12, so 3 tasks; but
        // never fewer than there are games.
        near(width(&[(20.0, 20.0), (0.0, 20.0), (20.0, 20.0), (0.0, 20.0)], 80), wilson(0.5, 4.0));
        // In between: the shares deviate by 0.1, so 2 · 2 · 2² / 40² = 1/100 and 25 tasks.
        near(width(&[(12.0, 20.0), (8.0, 20.0)], 40), wilson(0.5, 25.0));
        near(width(&[(12.0, 20.0)], 20), wilson(0.6, 1.0));
        let (share, interval) = clustered(&[], 0);
        assert!(share.abs() < 1e-12 && interval == [0.0, 1.0]);
    }
}
