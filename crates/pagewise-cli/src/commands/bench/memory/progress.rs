//! How far a run is, and how long it will take: this task and arm, and all that were asked for.

use std::collections::BTreeMap;
use std::time::Instant;

use pagewise_bench::memory::{Arm, Record, RunObserver, Settings};

use crate::printer::Printer;

/// How long cases take, and what is still to come after what is run now.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Cases and seconds.
    by_arm: BTreeMap<Arm, (usize, f64)>,
    /// Cases of what was not begun yet, in order.
    to_come: Vec<(Arm, usize)>,
}

impl Pace {
    /// Takes note of cases that will be run.
    pub(super) fn expect(&mut self, arm: Arm, n_cases: usize) {
        self.to_come.push((arm, n_cases));
    }

    /// The next of what is to come begins.
    pub(super) fn begin(&mut self) {
        self.to_come.drain(..self.to_come.len().min(1));
    }

    fn took(&mut self, arm: Arm, seconds: f64) {
        let (n, sum) = self.by_arm.entry(arm).or_default();
        *n += 1;
        *sum += seconds;
    }

    /// Seconds for what was not begun yet, as long as its arm took so far, or all arms where that is not known;
    /// `None` if nothing is to come.
    fn seconds_to_come(&self) -> Option<f64> {
        if self.to_come.is_empty() {
            return None;
        }
        let mean = |(n, seconds): (usize, f64)| seconds / n.max(1) as f64;
        let all = self.by_arm.values().fold((0, 0.0), |(n, s), (more, t)| (n + more, s + t));
        let per_case = |arm: &Arm| mean(self.by_arm.get(arm).copied().unwrap_or(all));
        Some(self.to_come.iter().map(|(arm, n)| per_case(arm) * *n as f64).sum())
    }
}

/// Says how far a run is, and how long it will take.
pub(super) struct Progress<'a> {
    printer: &'a Printer,
    pace: &'a mut Pace,
    arm: Arm,
    title: String,
    last: Instant,
    n_before: Option<usize>,
    n_done: usize,
    n_right: usize,
    n: usize,
    seconds: f64,
}

impl<'a> Progress<'a> {
    pub(super) fn new(printer: &'a Printer, settings: &Settings, pace: &'a mut Pace) -> Self {
        let Settings { model, arm, window, .. } = settings;
        pace.begin();
        Self {
            printer,
            pace,
            arm: *arm,
            title: format!("{}, {model}, {arm}, window {window}", settings.title()),
            last: Instant::now(),
            n_before: None,
            n_done: 0,
            n_right: 0,
            n: 0,
            seconds: 0.0,
        }
    }
}

impl RunObserver for Progress<'_> {
    fn again(&mut self, n_failed: usize) {
        let failed = match n_failed {
            1 => "a case that failed before is".into(),
            n => format!("{n} cases that failed before are"),
        };
        self.printer.talk(&format!("{}: {failed} run again", self.title));
    }

    fn begin(&mut self, _id: &str, _n_done: usize, n_recorded: usize, n: usize) {
        if self.n_before.is_none() {
            self.n_before = Some(n_recorded);
            self.n = n;
            self.last = Instant::now();
            let recorded = match n_recorded {
                0 => String::new(),
                n => format!(", {n} of them recorded already"),
            };
            self.printer.talk(&format!("{}: {n} cases{recorded}", self.title));
        }
    }

    fn preparing(&mut self, n_texts: usize) {
        self.printer.detail(&format!("memory is filled with {n_texts} texts"));
    }

    fn telling(&mut self, n_done: usize, n: usize) {
        self.printer.talk(&format!("the agent has conversation {} of {n}", n_done + 1));
    }

    fn end(&mut self, record: &Record) {
        // What was prepared for it is part of the time that a case takes.
        let seconds = self.last.elapsed().as_secs_f64();
        self.last = Instant::now();
        self.seconds += seconds;
        self.pace.took(self.arm, seconds);
        self.n_done += 1;
        self.n_right += usize::from(record.score.correct);
        let n_before = self.n_before.unwrap_or(0);
        let n_left = self.n.saturating_sub(n_before + self.n_done);
        let left = self.seconds / self.n_done as f64 * n_left as f64;
        let all = match self.pace.seconds_to_come() {
            Some(more) => format!(", {} in all", time(left + more)),
            None => String::new(),
        };
        let right = match record.score.tasks.as_slice() {
            [] if record.score.correct => "right".to_string(),
            [] => record.failure.name().to_string(),
            tasks => {
                let n_done = tasks.iter().filter(|task| task.correct).count();
                format!("{n_done} of {} tasks done", tasks.len())
            }
        };
        self.printer.talk(&format!(
            "{}/{} {}: {right}, {:.1} s; {} of {} right, {} left{all}",
            n_before + self.n_done,
            self.n,
            record.case.id,
            record.seconds,
            self.n_right,
            self.n_done,
            time(left)
        ));
    }
}

/// Writes a time for people.
fn time(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round();
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{minutes:.0} min"),
        _ => format!("{:.1} h", minutes / 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_for_people() {
        let times = [0.0, 89.0, 90.0, 1800.0, 9000.0].map(time);
        assert_eq!(times, ["0 s", "89 s", "2 min", "30 min", "2.5 h"]);
    }

    #[test]
    fn what_is_to_come_takes_as_long_as_its_arm_did() {
        let mut pace = Pace::default();
        for (arm, n) in
            [(Arm::Memgpt, 2), (Arm::NoMemory, 2), (Arm::Memgpt, 10), (Arm::NoMemory, 4)]
        {
            pace.expect(arm, n);
        }
        let close = |pace: &Pace, seconds: f64| {
            let found = pace.seconds_to_come();
            assert!(found.is_some_and(|found| (found - seconds).abs() < 1e-9), "{found:?}");
        };
        pace.begin();
        pace.took(Arm::Memgpt, 3.0);
        pace.took(Arm::Memgpt, 5.0);
        // Nothing is known of the other arm yet.
        close(&pace, 4.0 * (2.0 + 10.0 + 4.0));
        pace.begin();
        pace.took(Arm::NoMemory, 1.0);
        close(&pace, 4.0 * 10.0 + 4.0);
        pace.begin();
        pace.begin();
        assert_eq!(pace.seconds_to_come(), None);
    }
}
