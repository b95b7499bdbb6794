//! Thousands of damaged files, each read all the way: opened, and where it is let in, run, tokenised,
//! rendered and answered with.
//!
//! Whatever a file says, the reader must not panic, abort or overflow its stack, must refuse within
//! [`TIME_LIMIT_S`], and must not take more memory than the file and [`MEMORY_LIMIT`] together. Since
//! an abort cannot be caught, cases run in child processes, which are this program again; a child
//! that dies or hangs is replaced by one that goes on behind the case that did it.
//!
//! The memory that counts is what the system says the child had resident at most during a case, all
//! of the process included (Linux; elsewhere memory is not checked). The address space of a child is
//! limited as well where there is a shell to do it, so that a bomb dies and the machine does not.
//!
//! `cargo test -p pagewise-infer --test hostile -- NAME` runs the cases whose group or name has NAME
//! in it, and with NAME "all" every case there is (151,000, some twenty minutes); with `--write DIR`
//! before NAME they are written there instead, as seeds for the fuzz targets.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

#[path = "hostile/cases.rs"]
mod cases;
#[path = "hostile/layout.rs"]
mod layout;
#[path = "hostile/named.rs"]
mod named;
#[path = "hostile/read.rs"]
mod read;
#[path = "hostile/seeds.rs"]
mod seeds;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use cases::{Case, Group, groups};
use read::Outcome;

/// Instead of a name: all of them.
const ALL: &str = "all";
/// The longest that one case may take, in seconds.
const TIME_LIMIT_S: usize = 10;
/// A child that took longer for a case makes way for a fresh one.
const TIRING: Duration = Duration::from_secs(1);
/// What a process may have resident besides the files of a case, in bytes.
const MEMORY_LIMIT: usize = 64 << 20;
/// The address space of a child, in KiB: far more than it needs, far less than the machine has.
const ADDRESS_SPACE_KIB: usize = 4 << 20;
const N_CHILDREN: usize = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut words = arguments.iter().filter(|argument| !argument.starts_with("--"));
    match arguments.first().map(String::as_str) {
        Some("--child") => {
            let mut numbers = words.by_ref().take(2).map(|word| word.parse().unwrap());
            let (first, step) = (numbers.next().unwrap(), numbers.next().unwrap());
            run_cases(first, step, &words.next().cloned().unwrap_or_default());
            ExitCode::SUCCESS
        }
        Some("--write") => {
            let folder = words.next().expect("a folder to write to").clone();
            write_cases(Path::new(&folder), &words.next().cloned().unwrap_or_default());
            ExitCode::SUCCESS
        }
        // What a test runner asks of every test program.
        Some("--list") => {
            println!("hostile: test");
            ExitCode::SUCCESS
        }
        _ => supervise(&words.next().cloned().unwrap_or_default()),
    }
}

/// The cases whose names have `filter` in them; without one, as many of each group as take half a
/// minute in all.
fn chosen(filter: &str) -> Vec<(Group, usize)> {
    let all = groups().into_iter().flat_map(|group| (0..group.len).map(move |at| (group, at)));
    all.filter(|(group, index)| {
        filter == ALL
            || (filter.is_empty() && index.is_multiple_of(group.one_of))
            || (!filter.is_empty() && group.name.contains(filter))
            || (group.name == "named" && named::name(*index).contains(filter))
    })
    .collect()
}

/// What a child does: every `step`th case, `first` being the first, with a line before and a line
/// behind each.
fn run_cases(first: usize, step: usize, filter: &str) {
    let mut out = std::io::stdout();
    for (number, (group, index)) in chosen(filter).iter().enumerate().skip(first).step_by(step) {
        let case = (group.make)(*index);
        writeln!(out, "begin\t{number}\t{}: {}", group.name, case.name.escape_debug()).unwrap();
        out.flush().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let case = case.write(folder.path());
        forget_peak();
        let began = Instant::now();
        let outcome = case.read();
        let peak = peak_bytes().unwrap_or(0);
        let excess = peak.saturating_sub(case.n_bytes);
        let (verdict, sentence) = match &outcome {
            Outcome::Used => ("used", ""),
            Outcome::Refused(sentence) => ("refused", sentence.as_str()),
        };
        writeln!(out, "end\t{number}\t{excess}\t{verdict}\t{}", sentence.escape_debug()).unwrap();
        out.flush().unwrap();
        if began.elapsed() > TIRING || (excess > MEMORY_LIMIT / 2 && !is_sanitized()) {
            // Something may be going on that was given up on, or memory not be given back yet.
            writeln!(out, "tired").unwrap();
            return;
        }
    }
    writeln!(out, "done").unwrap();
}

fn write_cases(folder: &Path, filter: &str) {
    std::fs::create_dir_all(folder).unwrap();
    for (number, (group, index)) in chosen(filter).iter().enumerate() {
        let Case { files, .. } = (group.make)(*index);
        for (name, bytes) in files {
            let name = name.replace('/', "-");
            std::fs::write(folder.join(format!("{number}-{name}")), bytes).unwrap();
        }
    }
}

/// Makes the system measure anew from here.
fn forget_peak() {
    // Refused elsewhere than on Linux, where there is nothing to forget either.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Returns the most memory that was resident since [`forget_peak`], in bytes.
fn peak_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

/// What the parent learns of the cases of one child after the other.
#[derive(Default)]
struct Report {
    n_used: usize,
    n_refused: usize,
    most_excess: (usize, String),
    longest: (Duration, String),
    failures: Vec<String>,
}

fn supervise(filter: &str) -> ExitCode {
    let started = Instant::now();
    let n_cases = chosen(filter).len();
    let threads: Vec<_> = (0..N_CHILDREN)
        .map(|first| {
            let filter = filter.to_owned();
            std::thread::spawn(move || watch(first, n_cases, &filter))
        })
        .collect();
    let mut failures = Vec::new();
    let (mut n_used, mut n_refused) = (0, 0);
    let mut most_excess = (0, String::new());
    let mut longest = (Duration::ZERO, String::new());
    for thread in threads {
        let report = thread.join().unwrap();
        n_used += report.n_used;
        n_refused += report.n_refused;
        most_excess = most_excess.max(report.most_excess);
        longest = longest.max(report.longest);
        failures.extend(report.failures);
    }
    println!(
        "{n_cases} hostile files: {n_refused} refused, {n_used} used, in {:.1} s; at most {} KiB \
         besides the file ({}), at most {:.2} s ({})",
        started.elapsed().as_secs_f32(),
        most_excess.0 >> 10,
        most_excess.1,
        longest.0.as_secs_f32(),
        longest.1
    );
    if n_used + n_refused + failures.len() < n_cases {
        failures.push("not every case was run".to_owned());
    }
    for failure in &failures {
        println!("FAILED {failure}");
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether AddressSanitizer is at work, which takes memory for itself and keeps what was freed.
fn is_sanitized() -> bool {
    std::env::var_os("ASAN_OPTIONS").is_some()
}

/// Starts a child that runs every `N_CHILDREN`th case from `first` on.
fn start(first: usize, filter: &str) -> (Child, Receiver<String>) {
    let program = std::env::current_exe().unwrap();
    let arguments = ["--child".to_owned(), first.to_string(), N_CHILDREN.to_string()];
    // AddressSanitizer has an address space of its own that is larger than any limit.
    let mut command = if cfg!(unix) && !is_sanitized() {
        let mut command = Command::new("sh");
        let limited = format!("ulimit -v {ADDRESS_SPACE_KIB} || true; exec \"$0\" \"$@\"");
        command.arg("-c").arg(limited).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.args(arguments);
    if !filter.is_empty() {
        command.arg(filter);
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (sender, lines) = channel();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let stdout = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
        // What it said last tells why it died.
        let mut said = String::new();
        let _ = std::io::Read::read_to_string(&mut stderr, &mut said);
        let _ = sender.send(format!("died\t{}", said.trim().escape_debug()));
    });
    (child, lines)
}

fn watch(first: usize, n_cases: usize, filter: &str) -> Report {
    let mut report = Report::default();
    let mut next = first;
    while next < n_cases {
        let (mut child, lines) = start(next, filter);
        let mut name = String::new();
        let mut began = Instant::now();
        loop {
            // Second by second: where all of the machine stands still for a minute, one has passed.
            let line =
                (0..TIME_LIMIT_S).find_map(|_| match lines.recv_timeout(Duration::from_secs(1)) {
                    Err(RecvTimeoutError::Timeout) => None,
                    line => Some(line),
                });
            let line = match &line {
                Some(Ok(line)) => line.as_str(),
                Some(Err(_)) => "died",
                None => "hangs",
            };
            let parts: Vec<&str> = line.split('\t').collect();
            match parts.as_slice() {
                ["begin", number, case] => {
                    next = number.parse().unwrap();
                    name = (*case).to_owned();
                    began = Instant::now();
                }
                ["end", number, excess, verdict, sentence] => {
                    next = number.parse::<usize>().unwrap() + N_CHILDREN;
                    report.take(&name, began.elapsed(), excess, verdict, sentence);
                }
                ["done"] => {
                    next = n_cases;
                    break;
                }
                ["tired"] => break,
                reason => {
                    let reason = reason.join(": ");
                    report.failures.push(format!("{name}: the reader {reason:.600}"));
                    next += N_CHILDREN;
                    break;
                }
            }
        }
        let _ = child.kill();
        let _ = child.wait();
    }
    report
}

impl Report {
    fn take(&mut self, name: &str, took: Duration, excess: &str, verdict: &str, sentence: &str) {
        let excess = excess.parse().unwrap();
        if verdict == "used" {
            self.n_used += 1;
        } else {
            self.n_refused += 1;
        }
        if excess > MEMORY_LIMIT && !is_sanitized() {
            let mib = excess >> 20;
            self.failures.push(format!("{name}: {mib} MiB besides the file ({verdict})"));
        } else if name.starts_with("in order") && verdict != "used" {
            self.failures.push(format!("{name}: a file that is in order is refused: {sentence}"));
        }
        self.most_excess = std::mem::take(&mut self.most_excess).max((excess, name.to_owned()));
        self.longest = std::mem::take(&mut self.longest).max((took, name.to_owned()));
    }
}
