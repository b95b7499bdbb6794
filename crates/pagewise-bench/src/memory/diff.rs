//! Two runs of the same cases, compared case by case.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt::Write;

use serde::Serialize;

use super::arm::Arm;
use super::interval::{bootstrap_clusters, grouped, wilson};
use super::record::{Change, Record};
use super::runs::{Cell, Part, Runs};

/// Cases that are named before the rest are counted.
const NAMED_MAX: usize = 12;

/// The longest value of a setting that is shown, in characters.
const VALUE_CHARS: usize = 40;

/// What differs between two runs.
#[derive(Debug, Clone, Serialize)]
pub struct Diff {
    /// Cells that both have, with the cases that both have.
    pub cells: Vec<CellDiff>,
    /// Cells that have no counterpart, in the first and in the second.
    pub unpaired: [Vec<String>; 2],
}

/// A cell of both runs.
#[derive(Debug, Clone, Serialize)]
pub struct CellDiff {
    /// The task, with `control` behind it for the direct control, `recall` where recall storage answers too.
    pub part: String,
    /// Where its cases are from.
    pub source: String,
    /// Who answered.
    pub arm: Arm,
    /// The context window, in tokens.
    pub window: usize,
    /// The models.
    pub models: [String; 2],
    /// Cases that both have.
    pub n: usize,
    /// The share that is right, in the first and in the second; of games, the mean share of tasks that are done.
    pub accuracy: [f64; 2],
    /// The second less the first.
    pub difference: f64,
    /// Its 95% interval.
    pub ci95: [f64; 2],
    /// The probability of so uneven changes, or more so, if neither run is better (McNemar's exact test).
    pub p: f64,
    /// Cases that only the second has right, and games of which it has done more.
    pub gained: Vec<String>,
    /// Cases that only the first has right, and games of which it has done more.
    pub lost: Vec<String>,
    /// The settings that differ.
    pub settings: Vec<Change>,
}

impl Diff {
    /// Compares two runs. A cell is paired with the one of the same task, source, arm, window and model; where
    /// each side has only one model, with that, whatever its name. Of several that differ in other
    /// settings, the one with the fewest differences is taken.
    pub fn of(first: &Runs, second: &Runs) -> Self {
        let has_one_model = [first, second].iter().all(|runs| {
            let model = |cell: &Cell| cell.settings.model.clone();
            runs.cells.windows(2).all(|pair| model(&pair[0]) == model(&pair[1]))
        });
        let mut taken = vec![false; second.cells.len()];
        let mut cells = Vec::new();
        let mut unpaired = [Vec::new(), Vec::new()];
        for cell in &first.cells {
            let candidates = second.cells.iter().enumerate().filter(|(place, other)| {
                let (a, b) = (&cell.settings, &other.settings);
                !taken[*place]
                    && (a.task, a.arm, a.window, &a.source) == (b.task, b.arm, b.window, &b.source)
                    && (a.model == b.model || has_one_model)
            });
            let nearest =
                candidates.min_by_key(|(_, other)| cell.settings.changes(&other.settings).len());
            match nearest {
                Some((place, other)) => {
                    taken[place] = true;
                    cells.extend(compare(cell, other));
                }
                None => unpaired[0].push(cell.title()),
            }
        }
        let left = second.cells.iter().zip(&taken).filter(|(_, taken)| !**taken);
        unpaired[1] = left.map(|(cell, _)| cell.title()).collect();
        Self { cells, unpaired }
    }

    /// Writes it for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for cell in &self.cells {
            let CellDiff { part, arm, window, models, n, accuracy, ci95, .. } = cell;
            let [a, b] = models;
            let model = if a == b { a.clone() } else { format!("{a} and {b}") };
            let _ = writeln!(text, "{part}, {model}, {arm}, window {window}: {n} cases");
            let _ = writeln!(
                text,
                "  {:.3} and {:.3}: {:+.3} (95%: {:+.3} to {:+.3}), McNemar p = {}",
                accuracy[0],
                accuracy[1],
                cell.difference,
                ci95[0],
                ci95[1],
                probability(cell.p)
            );
            for (what, ids) in [("gained", &cell.gained), ("lost", &cell.lost)] {
                let _ = writeln!(text, "  {what}: {}", named(ids));
            }
            for Change { setting, from, to } in &cell.settings {
                let [from, to] = [from, to].map(|value| shortened(&value.to_string()));
                let _ = writeln!(text, "  {setting}: {from} and {to}");
            }
        }
        for (side, titles) in ["first", "second"].iter().zip(&self.unpaired) {
            for title in titles {
                let _ = writeln!(text, "only in the {side}: {title}");
            }
        }
        text
    }
}

fn named(ids: &[String]) -> String {
    match ids.len() {
        0 => "none".into(),
        n if n <= NAMED_MAX => ids.join(", "),
        n => format!("{} and {} more", ids[..NAMED_MAX].join(", "), n - NAMED_MAX),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.into(),
    }
}

/// Writes a probability: small ones by their bound.
pub(crate) fn probability(p: f64) -> String {
    if p < 0.0005 { "< 0.001".into() } else { format!("{p:.3}") }
}

fn compare(a: &Cell, b: &Cell) -> Vec<CellDiff> {
    let (parts_a, parts_b) = (a.parts(), b.parts());
    let both = parts_a
        .iter()
        .filter_map(|one| Some((one, parts_b.iter().find(|other| other.name == one.name)?)));
    both.filter_map(|(one, other)| {
        let Paired { n, accuracy, difference, ci95, p, gained, lost } = Paired::of(one, other)?;
        Some(CellDiff {
            part: one.name.clone(),
            source: a.settings.source.clone(),
            arm: a.settings.arm,
            window: a.settings.window,
            models: [a.settings.model.clone(), b.settings.model.clone()],
            n,
            accuracy,
            difference,
            ci95,
            p,
            gained,
            lost,
            settings: a.settings.changes(&b.settings),
        })
    })
    .collect()
}

/// The cases that two parts have in common.
#[derive(Debug, Clone)]
pub(crate) struct Paired {
    pub(crate) n: usize,
    pub(crate) accuracy: [f64; 2],
    pub(crate) difference: f64,
    pub(crate) ci95: [f64; 2],
    pub(crate) p: f64,
    pub(crate) gained: Vec<String>,
    pub(crate) lost: Vec<String>,
}

impl Paired {
    /// Compares them; `None` if there are none.
    pub(crate) fn of(a: &Part<'_>, b: &Part<'_>) -> Option<Self> {
        let others: HashMap<&str, &Record> =
            b.records.iter().map(|record| (&*record.case.id, *record)).collect();
        let pairs: Vec<(&Record, &Record)> = a
            .records
            .iter()
            .filter_map(|record| Some((*record, *others.get(&*record.case.id)?)))
            .collect();
        if pairs.is_empty() {
            return None;
        }
        let n_with = |a: bool, b: bool| {
            pairs
                .iter()
                .filter(|(one, other)| (one.score.correct, other.score.correct) == (a, b))
                .count()
        };
        let counts = [
            [n_with(true, true), n_with(true, false)],
            [n_with(false, true), n_with(false, false)],
        ];
        let changed = |how: Ordering| {
            let changed = pairs.iter().filter(|(a, b)| order(b, a) == how);
            changed.map(|(one, _)| one.case.id.clone()).collect::<Vec<_>>()
        };
        let (gained, lost) = (changed(Ordering::Greater), changed(Ordering::Less));
        let n = pairs.len();
        let mean =
            |of: &dyn Fn(&(&Record, &Record)) -> f64| pairs.iter().map(of).sum::<f64>() / n as f64;
        let accuracy = [mean(&|(a, _)| a.score.value()), mean(&|(_, b)| b.score.value())];
        let mut ci95 = newcombe(counts);
        let changes: Vec<f64> =
            pairs.iter().map(|(a, b)| b.score.value() - a.score.value()).collect();
        let stores: Vec<&str> = pairs.iter().map(|(one, _)| &*one.store).collect();
        let mut groups = grouped(&changes, &stores);
        if groups.len() < 2 {
            // One store shows nothing of how stores differ.
            groups = changes.iter().map(|change| vec![*change]).collect();
        }
        let is_whole = changes.iter().all(|change| change.fract() == 0.0);
        let [low, high] = bootstrap_clusters(&groups, 0);
        if !is_whole {
            // One case shows nothing of how cases differ.
            ci95 = if n == 1 { [-1.0, 1.0] } else { [low.max(-1.0), high.min(1.0)] };
        } else if (2..n).contains(&groups.len()) {
            // Cases of one store may change together.
            ci95 = [ci95[0].min(low.max(-1.0)), ci95[1].max(high.min(1.0))];
        }
        Some(Self {
            n,
            accuracy,
            difference: accuracy[1] - accuracy[0],
            ci95,
            p: mcnemar(lost.len(), gained.len()),
            gained,
            lost,
        })
    }
}

/// Which of two records of a case is the better one: the one that is right, and of a game, the one with more
/// tasks that are done.
fn order(a: &Record, b: &Record) -> Ordering {
    let is_game = |record: &Record| !record.score.tasks.is_empty();
    if is_game(a) || is_game(b) {
        a.score.value().total_cmp(&b.score.value())
    } else {
        a.score.correct.cmp(&b.score.correct)
    }
}

/// Returns the 95% interval for the second share less the first, of the same cases: Newcombe's square-and-add
/// with correlation (Statistics in Medicine 17, 1998, 2635; method 10).
///
/// `counts[i][j]`: i = 0 if the first is right, j = 0 if the second is.
fn newcombe(counts: [[usize; 2]; 2]) -> [f64; 2] {
    let [[both, first], [second, neither]] = counts.map(|row| row.map(|n| n as f64));
    let n = both + first + second + neither;
    let (p1, p2) = ((both + second) / n, (both + first) / n);
    let interval = |n_right: f64| wilson(n_right as usize, n as usize);
    let ([l1, u1], [l2, u2]) = (interval(both + second), interval(both + first));
    let margins = (both + first) * (second + neither) * (both + second) * (first + neither);
    let product = both * neither - first * second;
    let corrected = if product > 0.0 { (product - n / 2.0).max(0.0) } else { product };
    let phi = if margins > 0.0 { corrected / margins.sqrt() } else { 0.0 };
    let side = |a: f64, b: f64| (a * a - 2.0 * phi * a * b + b * b).max(0.0).sqrt();
    let difference = p1 - p2;
    [difference - side(p1 - l1, u2 - p2), difference + side(u1 - p1, p2 - l2)]
}

/// Returns the two-sided probability of McNemar's exact test: of `b + c` cases that changed, as uneven a split
/// or more so if each way is as likely.
fn mcnemar(b: usize, c: usize) -> f64 {
    let n = b + c;
    // By logarithms: 2^-n is nothing from a thousand on.
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut sum = 0.0;
    for k in 0..=b.min(c) {
        sum += log_term.exp();
        log_term += ((n - k) as f64).ln() - ((k + 1) as f64).ln();
    }
    (2.0 * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mcnemar_by_hand() {
        let check = |b, c, p: f64| assert!((mcnemar(b, c) - p).abs() < 1e-9, "{}", mcnemar(b, c));
        check(0, 0, 1.0);
        check(3, 3, 1.0);
        // 2 · 1/2^5, 2 · (1 + 6)/2^6, and the airways of 21 children: 2 · (1 + 8)/2^8.
        check(0, 5, 0.0625);
        check(5, 1, 0.21875);
        check(1, 7, 0.0703125);
        assert!(mcnemar(0, 5000) < 1e-300);
        assert!((mcnemar(1200, 1200) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn newcombe_is_as_published() {
        // Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014): 1, 1, 7, 12 of 21.
        let [low, high] = newcombe([[1, 7], [1, 12]]);
        assert!((low + 0.507).abs() < 0.0006 && (high + 0.026).abs() < 0.0006, "{low} {high}");
        let [low, high] = newcombe([[20, 0], [0, 0]]);
        assert!(low < -0.1 && high > 0.1 && (low + high).abs() < 1e-12, "{low} {high}");
    }

    #[test]
    fn probabilities_are_for_people() {
        assert_eq!([1.0, 0.0313, 0.0001].map(probability), ["1.000", "0.031", "< 0.001"]);
    }
}
