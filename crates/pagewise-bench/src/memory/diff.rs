//! Two runs of the same cases, compared case by case.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::arm::Arm;
use super::interval::{bootstrap_clusters, grouped, wilson};
use super::measurement::Measurement;
use super::record::{Change, Record, Settings};
use super::retrieval::{RetrievalReport, with_embedder};
use super::runs::{Cell, Part, Runs};
use super::schemas::{MeasuredSchema, MeasuredSet, Verdict, title};
use super::score::NEARNESS_ERROR;
use super::task::Task;

/// Cases that are named before the rest are counted.
const NAMED_MAX: usize = 12;

/// Up to so many groups all exchanges of signs are counted, beyond them [`N_SIGNS`] at random.
const SIGNS_EXACT_MAX: usize = 14;

/// Exchanges of signs drawn at random.
const N_SIGNS: usize = 10_000;

/// The longest value of a setting that is shown, in characters.
const VALUE_CHARS: usize = 40;

/// What differs between two runs.
#[derive(Debug, Clone, Serialize)]
pub struct Diff {
    /// Cells that both have, with the cases that both have; and sets of schemas, of which each is a case.
    pub cells: Vec<CellDiff>,
    /// Searches that both have.
    pub searches: Vec<SearchDiff>,
    /// Cases that have their names in common and nothing else.
    pub left_out: Vec<LeftOut>,
    /// What has no counterpart, in the first and in the second.
    pub unpaired: [Vec<String>; 2],
}

/// Cases of a cell that are not compared: under the same names the two runs ask for something else, or take something
/// else for right.
#[derive(Debug, Clone, Serialize)]
pub struct LeftOut {
    /// The cell.
    pub cell: String,
    /// How many there are.
    pub n: usize,
}

/// A way of searching a set, in both runs. There is no interval, since queries are not recorded one by one.
#[derive(Debug, Clone, Serialize)]
pub struct SearchDiff {
    /// The task, with the set and the queries of it that were run.
    pub part: String,
    /// The way of searching.
    pub arm: String,
    /// The embedders.
    pub models: [String; 2],
    /// Documents, or vectors.
    pub n_documents: usize,
    /// Queries.
    pub n: usize,
    /// Measures that both have, in the first and in the second.
    pub scores: Vec<(&'static str, [f64; 2])>,
}

/// A cell of both runs, or a set of schemas.
#[derive(Debug, Clone, Serialize)]
pub struct CellDiff {
    /// The task, with `control` behind it for the direct control, `recall` where recall storage answers too, and the
    /// source unless generated.
    pub part: String,
    /// Where its cases are from.
    pub source: String,
    /// Who answered; nobody, of schemas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arm: Option<Arm>,
    /// The context window, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// The models.
    pub models: [String; 2],
    /// The cases.
    #[serde(flatten)]
    pub paired: Paired,
    /// The settings that differ.
    pub settings: Vec<Change>,
}

impl Diff {
    /// Compares two runs. A cell is paired with the one of the same task, source, arm, window and model; where
    /// each side has only one model, with that, whatever its name. Of several that differ in other
    /// settings, the one with the fewest differences is taken. Schemas are paired by their set, and searches by their
    /// set, queries, documents and way, with models and embedders as cells are.
    pub fn of(first: &Runs, second: &Runs) -> Self {
        let mut unpaired = [Vec::new(), Vec::new()];
        let cells = paired(&first.cells, &second.cells, &mut unpaired);
        let [a, b] = [first, second].map(|runs| MeasuredSet::all(&runs.schemas));
        let sets = paired(&a, &b, &mut unpaired);
        let searches = paired(&first.searches, &second.searches, &mut unpaired);
        let left_out = cells.iter().flat_map(|(a, b)| left_out(a, b)).collect();
        let cells = cells.into_iter().flat_map(|(a, b)| compare(a, b));
        Self {
            left_out,
            cells: cells.chain(sets.into_iter().filter_map(|(a, b)| compare_sets(a, b))).collect(),
            searches: searches.into_iter().map(|(a, b)| SearchDiff::of(a, b)).collect(),
            unpaired,
        }
    }

    /// Whether the two have nothing in common.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.searches.is_empty()
    }

    /// Writes it for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for cell in &self.cells {
            let CellDiff { part, models, paired, .. } = cell;
            let Paired { n, accuracy, difference, ci95, test, stores, p, gained, lost } = paired;
            let models = both(models);
            let _ = match (cell.arm, cell.window) {
                (Some(arm), Some(window)) => {
                    writeln!(text, "{part}, {models}, {arm}, window {window}: {n} cases")
                }
                _ => writeln!(text, "{part}, tokenizer of {models}: {n} schemas"),
            };
            let _ = writeln!(
                text,
                "  {:.3} and {:.3}: {:+.3} (95%: {:+.3} to {:+.3}), {} p = {}{}",
                accuracy[0],
                accuracy[1],
                difference,
                ci95[0],
                ci95[1],
                test.name(),
                probability(*p),
                stores.map(|n| format!(" ({n} stores)")).unwrap_or_default()
            );
            for (what, ids) in [("gained", gained), ("lost", lost)] {
                let _ = writeln!(text, "  {what}: {}", named(ids));
            }
            for Change { setting, from, to } in &cell.settings {
                let [from, to] = [from, to].map(|value| shortened(&value.to_string()));
                let _ = writeln!(text, "  {setting}: {from} and {to}");
            }
        }
        for search in &self.searches {
            let SearchDiff { part, arm, models, n_documents, n, scores } = search;
            let embedder = with_embedder(&both(models));
            let of = format!("{n} queries on {n_documents} documents");
            let _ = writeln!(text, "{part}, {arm}{embedder}: {of}");
            let scores: Vec<String> = scores
                .iter()
                .map(|(name, [a, b])| format!("{name} {a:.3} and {b:.3}: {:+.3}", b - a))
                .collect();
            let _ = writeln!(text, "  {}", scores.join("; "));
        }
        if !self.searches.is_empty() {
            let _ = writeln!(
                text,
                "searches have no interval: their queries are not recorded one by one"
            );
        }
        for LeftOut { cell, n } in &self.left_out {
            let cases = if *n == 1 { "case that has" } else { "cases that have" };
            let _ = writeln!(text, "left out of {cell}: {n} {cases} another text in the second");
        }
        for (side, titles) in ["first", "second"].iter().zip(&self.unpaired) {
            for title in titles {
                let _ = writeln!(text, "only in the {side}: {title}");
            }
        }
        text
    }
}

impl SearchDiff {
    fn of(a: &RetrievalReport, b: &RetrievalReport) -> Self {
        let mut scores = vec![("R@10", [a.share.accuracy, b.share.accuracy])];
        if let (Some(a), Some(b)) = (&a.ranking, &b.ranking) {
            scores.push(("nDCG@10", [a.ndcg_10, b.ndcg_10]));
        }
        Self {
            part: Task::Retrieval.title(None, &a.set()),
            arm: a.arm.clone(),
            models: [a.model.clone(), b.model.clone()],
            n_documents: a.n_documents,
            n: a.share.n,
            scores,
        }
    }
}

/// What can have a counterpart in another run.
trait Comparable {
    /// The model, or the embedder, if there is one.
    fn model(&self) -> Option<&str>;
    /// Whether another one is of the same experiment, whatever its model.
    fn is_like(&self, other: &Self) -> bool;
    /// How many other settings differ.
    fn n_changes(&self, other: &Self) -> usize;
    fn title(&self) -> String;
}

impl Comparable for Cell {
    fn model(&self) -> Option<&str> {
        Some(&self.settings.model)
    }

    fn is_like(&self, other: &Self) -> bool {
        let (a, b) = (&self.settings, &other.settings);
        (a.task, a.arm, a.window, &a.source) == (b.task, b.arm, b.window, &b.source)
    }

    fn n_changes(&self, other: &Self) -> usize {
        self.settings.changes(&other.settings).len()
    }

    fn title(&self) -> String {
        self.title()
    }
}

impl Comparable for MeasuredSet<'_> {
    fn model(&self) -> Option<&str> {
        Some(self.model)
    }

    fn is_like(&self, other: &Self) -> bool {
        self.source == other.source
    }

    fn n_changes(&self, _: &Self) -> usize {
        0
    }

    fn title(&self) -> String {
        title(self.source, self.model)
    }
}

impl Comparable for RetrievalReport {
    fn model(&self) -> Option<&str> {
        (self.model != "none").then_some(&self.model)
    }

    fn is_like(&self, other: &Self) -> bool {
        let what = |one: &Self| (one.n_documents, one.seed, one.share.n);
        (&self.source, &self.cut, &self.arm) == (&other.source, &other.cut, &other.arm)
            && what(self) == what(other)
    }

    fn n_changes(&self, _: &Self) -> usize {
        0
    }

    fn title(&self) -> String {
        self.name()
    }
}

/// Pairs what is comparable; names what is left over on either side.
fn paired<'a, T: Comparable>(
    first: &'a [T],
    second: &'a [T],
    unpaired: &mut [Vec<String>; 2],
) -> Vec<(&'a T, &'a T)> {
    let has_one_model = [first, second].iter().all(|side| {
        let models: BTreeSet<&str> = side.iter().filter_map(T::model).collect();
        models.len() < 2
    });
    let mut taken = vec![false; second.len()];
    let mut pairs = Vec::new();
    for one in first {
        let candidates = second.iter().enumerate().filter(|(place, other)| {
            !taken[*place] && one.is_like(other) && (one.model() == other.model() || has_one_model)
        });
        match candidates.min_by_key(|(_, other)| one.n_changes(other)) {
            Some((place, other)) => {
                taken[place] = true;
                pairs.push((one, other));
            }
            None => unpaired[0].push(one.title()),
        }
    }
    let left = second.iter().zip(&taken).filter(|(_, taken)| !**taken);
    unpaired[1].extend(left.map(|(one, _)| one.title()));
    pairs
}

fn both([a, b]: &[String; 2]) -> String {
    if a == b { a.clone() } else { format!("{a} and {b}") }
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
    let settings = &a.settings;
    let diffs = parts_of_both(a, b).into_iter().filter_map(|(one, other)| {
        Some(CellDiff {
            paired: Paired::of(&one, &other)?,
            part: one.name,
            source: settings.source.clone(),
            arm: Some(settings.arm),
            window: Some(settings.window),
            models: [settings.model.clone(), b.settings.model.clone()],
            settings: settings.changes(&b.settings),
        })
    });
    diffs.collect()
}

/// What is counted together in both cells.
fn parts_of_both<'a>(a: &'a Cell, b: &'a Cell) -> Vec<(Part<'a>, Part<'a>)> {
    let mut others = b.parts();
    let counterpart = |one: Part<'a>| {
        let place = others.iter().position(|other| other.name == one.name)?;
        Some((one, others.swap_remove(place)))
    };
    a.parts().into_iter().filter_map(counterpart).collect()
}

/// Counts the cases of both cells that are not the same, whatever their names.
fn left_out(a: &Cell, b: &Cell) -> Vec<LeftOut> {
    let Settings { model, arm, window, .. } = &a.settings;
    let models = both(&[model.clone(), b.settings.model.clone()]);
    let left_out = parts_of_both(a, b).into_iter().map(|(one, other)| LeftOut {
        cell: format!("{}, {models}, {arm}, window {window}", one.name),
        n: same_names(&one, &other).filter(|[a, b]| !a.asks_the_same(b)).count(),
    });
    left_out.filter(|one| one.n > 0).collect()
}

/// Returns the records of both parts whose cases have the same name.
fn same_names<'a>(a: &'a Part<'a>, b: &'a Part<'a>) -> impl Iterator<Item = [&'a Record; 2]> {
    let others: HashMap<&str, &Record> =
        b.records.iter().map(|record| (&*record.case.id, *record)).collect();
    a.records.iter().filter_map(move |record| Some([*record, *others.get(&*record.case.id)?]))
}

fn compare_sets(a: &MeasuredSet<'_>, b: &MeasuredSet<'_>) -> Option<CellDiff> {
    let others: HashMap<&str, &MeasuredSchema> =
        b.schemas.iter().map(|schema| (&*schema.id, *schema)).collect();
    let pairs = a.schemas.iter().filter_map(|schema| {
        let both = [*schema, *others.get(&*schema.id)?];
        let correct = both.map(|one| one.verdict() == Verdict::Right);
        let values = correct.map(|correct| f64::from(u8::from(correct)));
        Some(Pair { id: &schema.id, store: "", correct, values })
    });
    Some(CellDiff {
        part: Task::Grammar.title(None, a.source),
        source: a.source.into(),
        arm: None,
        window: None,
        models: [a.model.into(), b.model.into()],
        paired: Paired::of_pairs(&pairs.collect::<Vec<Pair<'_>>>())?,
        settings: Vec::new(),
    })
}

/// The cases that two runs have in common.
#[derive(Debug, Clone, Serialize)]
pub struct Paired {
    /// Cases that both have.
    pub n: usize,
    /// The share that is right, in the first and in the second; the mean where a case can be right in part.
    pub accuracy: [f64; 2],
    /// The second less the first.
    pub difference: f64,
    /// Its 95% interval.
    pub ci95: [f64; 2],
    /// What says how likely such a difference is if neither run is better.
    pub test: Test,
    /// How many stores the cases share, if they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stores: Option<usize>,
    /// How likely one as large or larger is then.
    pub p: f64,
    /// Cases of which the second has more right: all, or a larger part where a reply can be right in part.
    pub gained: Vec<String>,
    /// Cases of which the first has.
    pub lost: Vec<String>,
}

/// How probable a difference is if neither run is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// McNemar's exact test of the cases that are right in one run alone.
    Mcnemar,
    /// Fisher's randomisation of pairs: whose value is whose is exchanged at random, for all cases of a store at
    /// once. For values between 0 and 1, and for cases that share a store, where it never says less than the test
    /// of single cases does. Few stores prove little: of G it cannot say less than 2^(1-G).
    SignFlip,
}

impl Test {
    /// Returns its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mcnemar => "McNemar",
            Self::SignFlip => "sign-flip",
        }
    }
}

/// A case of both.
struct Pair<'a> {
    id: &'a str,
    store: &'a str,
    correct: [bool; 2],
    values: [f64; 2],
}

impl Pair<'_> {
    /// How the second compares with the first.
    fn change(&self) -> Ordering {
        let [first, second] = &self.values;
        // A nearness may differ in its last bits.
        if (second - first).abs() <= NEARNESS_ERROR {
            Ordering::Equal
        } else {
            second.total_cmp(first)
        }
    }
}

impl Paired {
    /// Compares two parts; `None` if they have no case in common. One that asks for something else is another case,
    /// whatever its name.
    pub(crate) fn of(a: &Part<'_>, b: &Part<'_>) -> Option<Self> {
        let both = same_names(a, b).filter(|[a, b]| a.asks_the_same(b));
        let pairs = both.map(|both| Pair {
            id: &both[0].case.id,
            store: &both[0].store,
            correct: both.map(|one| one.score.correct),
            values: both.map(|one| one.score.value()),
        });
        Self::of_pairs(&pairs.collect::<Vec<Pair<'_>>>())
    }

    fn of_pairs(pairs: &[Pair<'_>]) -> Option<Self> {
        if pairs.is_empty() {
            return None;
        }
        let n_with = |a: bool, b: bool| pairs.iter().filter(|pair| pair.correct == [a, b]).count();
        let counts = [
            [n_with(true, true), n_with(true, false)],
            [n_with(false, true), n_with(false, false)],
        ];
        let changed = |how: Ordering| {
            let changed = pairs.iter().filter(|pair| pair.change() == how);
            changed.map(|pair| pair.id.to_string()).collect::<Vec<_>>()
        };
        let (gained, lost) = (changed(Ordering::Greater), changed(Ordering::Less));
        let n = pairs.len();
        let mean = |side: usize| pairs.iter().map(|pair| pair.values[side]).sum::<f64>() / n as f64;
        let accuracy = [mean(0), mean(1)];
        let changes: Vec<f64> = pairs.iter().map(|pair| pair.values[1] - pair.values[0]).collect();
        let alone: Vec<Vec<f64>> = changes.iter().map(|change| vec![*change]).collect();
        let is_whole = changes.iter().all(|change| change.fract() == 0.0);
        let mut ci95 = match n {
            _ if is_whole => newcombe(counts),
            // One case shows nothing of how cases differ.
            1 => [-1.0, 1.0],
            _ => within_reach(bootstrap_clusters(&alone, 0)),
        };
        let stores: Vec<&str> = pairs.iter().map(|pair| pair.store).collect();
        let groups = grouped(&changes, &stores);
        // Cases of one store may change together; a single one shows nothing of how stores differ.
        let shares_stores = (2..n).contains(&groups.len());
        if shares_stores {
            let [low, high] = within_reach(bootstrap_clusters(&groups, 0));
            ci95 = [ci95[0].min(low), ci95[1].max(high)];
        }
        let (test, p) = match (is_whole, shares_stores) {
            (true, false) => (Test::Mcnemar, mcnemar(lost.len(), gained.len())),
            (false, false) => (Test::SignFlip, sign_flip(&alone)),
            // Never surer than if each case stood for itself.
            (true, true) => {
                (Test::SignFlip, sign_flip(&groups).max(mcnemar(lost.len(), gained.len())))
            }
            (false, true) => (Test::SignFlip, sign_flip(&groups).max(sign_flip(&alone))),
        };
        let difference = accuracy[1] - accuracy[0];
        let stores = shares_stores.then_some(groups.len());
        Some(Self { n, accuracy, difference, ci95, test, stores, p, gained, lost })
    }
}

/// Cuts an interval to what differences of shares can be.
fn within_reach([low, high]: [f64; 2]) -> [f64; 2] {
    [low.max(-1.0), high.min(1.0)]
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

/// Returns the two-sided probability of Fisher's randomisation test: that the changes of all groups together come to as
/// much as they do, or more, either way, if each group's might as well have been the other way round. It is exact for a few
/// groups, else from samples, in which what was observed counts as one.
fn sign_flip(groups: &[Vec<f64>]) -> f64 {
    let sums: Vec<f64> = groups.iter().map(|group| group.iter().sum()).collect();
    let sums: Vec<f64> = sums.into_iter().filter(|sum| *sum != 0.0).collect();
    let observed = sums.iter().sum::<f64>().abs();
    // Sums that differ in their last bits alone are the same.
    let is_as_large = |sum: f64| sum.abs() >= observed - 1e-9;
    if sums.len() <= SIGNS_EXACT_MAX {
        let n = 1_usize << sums.len();
        let signed = |signs: usize| {
            let sum =
                |(place, sum): (usize, &f64)| if signs >> place & 1 == 0 { *sum } else { -sum };
            sums.iter().enumerate().map(sum).sum::<f64>()
        };
        return (0..n).filter(|signs| is_as_large(signed(*signs))).count() as f64 / n as f64;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let n_as_large = (0..N_SIGNS)
        .filter(|_| {
            is_as_large(sums.iter().map(|sum| if rng.random_bool(0.5) { *sum } else { -sum }).sum())
        })
        .count();
    (n_as_large + 1) as f64 / (N_SIGNS + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_flips_by_hand() {
        let of = |sums: &[f64]| sign_flip(&sums.iter().map(|sum| vec![*sum]).collect::<Vec<_>>());
        let check = |found: f64, p: f64| assert!((found - p).abs() < 1e-9, "{found}, not {p}");
        check(of(&[]), 1.0);
        check(of(&[0.0, 0.0]), 1.0);
        check(of(&[0.3]), 1.0);
        // 1 + 2 + 3 = 6: of eight, that and its opposite. 3 - 1 + 2 = 4: also 6, -4 and -6.
        check(of(&[0.1, 0.2, 0.3]), 0.25);
        check(of(&[0.3, -0.1, 0.2]), 0.5);
        check(sign_flip(&[vec![0.1, 0.1], vec![0.2, -0.1]]), 0.5);
        // Changes of one size are McNemar's.
        check(of(&[1.0, 1.0, 1.0, 1.0, 1.0, -1.0]), mcnemar(1, 5));
        let many: Vec<f64> = (0..40).map(|n| if n < 12 { -0.5 } else { 0.5 }).collect();
        assert!((of(&many) - mcnemar(12, 28)).abs() < 0.006, "{}", of(&many));
        assert!(of(&vec![0.5; 40]) < 0.0002);
    }

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
