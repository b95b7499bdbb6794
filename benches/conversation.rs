//! A scripted conversation with real weights, through the real program.
//!
//! Timed and counted: 60 turns in which the user states eight lasting facts amid small talk, then
//! eight questions, one for each fact. The question it answers: what does the agent still know
//! after the facts have left its window? A question counts as answered if the reply holds all
//! texts of one of its accepted alternatives; nothing else is judged.
//!
//! That the evidence had left the window is shown and not assumed. The FIFO queue holds messages
//! in the order of recall storage and evicts the oldest first, so a message is out of view once
//! as many messages were evicted as there are up to and including it; at the end, the store's own
//! record of where the queue begins must agree with that count.
//!
//!     cargo bench -p pagewise-cli --bench conversation -- --script tests/data/conversation-test.json \
//!         --window 2048 --seeds 5 --models-dir DIR [--model NAME] [--temp 0.7] [--out DIR]
//!
//! Exits with 1 if an event failed, a conversation ended early, or evidence was still in view.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Parser;
use pagewise_core::TokenUsage;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const CLOCK: &str = "2026-01-05T09:00:00Z";

/// Scores a scripted conversation with a real model. Relative paths are the workspace's.
#[derive(Debug, Parser)]
struct Args {
    /// The conversation, as JSON
    #[arg(long)]
    script: PathBuf,
    /// The model: a name, or the path of a GGUF file [default: the program's own]
    #[arg(long)]
    model: Option<String>,
    /// The context window, in tokens
    #[arg(long, default_value_t = 2048)]
    window: u32,
    /// How many conversations, with the seeds 0, 1, 2, …
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// A folder laid out like the store's `models`
    #[arg(long, env = "PAGEWISE_TEST_MODELS")]
    models_dir: PathBuf,
    /// Temperature [default: the program's own]
    #[arg(long)]
    temp: Option<f32>,
    /// CPU threads
    #[arg(long)]
    threads: Option<u16>,
    /// Where to put a line for each seed, and every event
    #[arg(long)]
    out: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// A conversation and what it must leave behind. `questions[i]` asks for `facts[i]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    turns: Vec<String>,
    facts: Vec<Fact>,
    questions: Vec<Question>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fact {
    /// Index of the turn that states it, from 0.
    turn: usize,
    fact: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    text: String,
    /// The reply must hold, in any case, all texts of one of these.
    accept: Vec<Vec<String>>,
}

/// One line of `chat --json`.
#[derive(Debug, Default, Deserialize)]
struct Outcome {
    #[serde(default)]
    replies: Vec<String>,
    #[serde(default)]
    tokens: TokenUsage,
    #[serde(default)]
    evicted: usize,
    #[serde(default)]
    seconds: f64,
    error: Option<Value>,
}

/// What came of one seed.
#[derive(Debug, Serialize)]
struct SeedReport {
    script: String,
    model: String,
    window: u32,
    temperature: Option<f32>,
    seed: u64,
    n_events: usize,
    score: usize,
    questions: Vec<Answer>,
    /// Events in which messages left main context.
    flushes: usize,
    flushes_before_questions: usize,
    evicted: usize,
    tokens: TokenUsage,
    /// As the program counts them, events alone.
    seconds: f64,
    /// With loading the weights.
    wall_seconds: f64,
    /// Each failed event, or why the conversation ended early.
    failures: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Answer {
    question: String,
    fact: String,
    correct: bool,
    /// Whether the fact's message had left main context when the question was asked.
    evidence_out_of_view: bool,
    reply: String,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<bool> {
    // Cargo runs a bench in its package's folder; paths are meant from where cargo was run.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::set_current_dir(&root).context("the workspace's folder")?;
    let script = Script::read(&args.script)?;
    let out = args.out.as_deref();
    if let Some(out) = out {
        fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    }
    let mut reports = Vec::new();
    for seed in args.first_seed..args.first_seed + args.seeds {
        let report = converse(args, &script, seed)?;
        print_seed(&report);
        if let Some(out) = out {
            let mut lines =
                File::options().create(true).append(true).open(out.join("seeds.jsonl"))?;
            writeln!(lines, "{}", serde_json::to_string(&report)?)?;
        }
        reports.push(report);
    }
    print_summary(&script, &reports);
    Ok(reports.iter().all(|report| {
        report.failures.is_empty()
            && report.questions.iter().all(|answer| answer.evidence_out_of_view)
    }))
}

impl Script {
    fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = fs::read_to_string(path).with_context(|| shown.to_string())?;
        let script: Self = serde_json::from_str(&text).with_context(|| shown.to_string())?;
        ensure!(!script.questions.is_empty(), "{shown} asks nothing");
        ensure!(
            script.facts.len() == script.questions.len(),
            "{shown} has {} facts and {} questions; there must be one question for each fact",
            script.facts.len(),
            script.questions.len()
        );
        for Fact { turn, fact } in &script.facts {
            ensure!(
                *turn < script.turns.len(),
                "{shown}: there is no turn {turn}, which should say {fact:?}"
            );
        }
        let asked = script.questions.iter().map(|question| &question.text);
        for line in script.turns.iter().chain(asked) {
            // A line of the pipe is an event; a slash would make it a command.
            ensure!(
                !line.contains('\n') && !line.starts_with('/'),
                "{shown}: cannot be a line: {line:?}"
            );
        }
        Ok(script)
    }
}

impl Question {
    fn is_answered_by(&self, reply: &str) -> bool {
        let reply = reply.to_lowercase();
        self.accept
            .iter()
            .any(|texts| !texts.is_empty() && texts.iter().all(|text| reply.contains(text)))
    }
}

/// Has one conversation with a new agent in a home of its own.
fn converse(args: &Args, script: &Script, seed: u64) -> Result<SeedReport> {
    let started = Instant::now();
    let home = tempfile::tempdir()?;
    link_models(&args.models_dir, &home.path().join("models"))?;
    let lines: Vec<&str> = script
        .turns
        .iter()
        .chain(script.questions.iter().map(|question| &question.text))
        .map(String::as_str)
        .collect();
    let mut record = match &args.out {
        Some(out) => Some(File::create(out.join(format!("events-{seed}.jsonl")))?),
        None => None,
    };

    let mut chat = Chat::start(args, home.path(), seed)?;
    let mut outcomes = Vec::new();
    let mut failures = Vec::new();
    for (n_line, line) in lines.iter().enumerate() {
        let position = format!("seed {seed}, turn {}/{}", n_line + 1, lines.len());
        let text = match chat.say(line) {
            Ok(text) => text,
            Err(error) => {
                failures.push(format!("{position}: {error:#}"));
                break;
            }
        };
        let outcome: Outcome = match serde_json::from_str(&text) {
            Ok(outcome) => outcome,
            Err(error) => {
                failures.push(format!("{position}: not an event in JSON ({error}): {text}"));
                break;
            }
        };
        if let Some(record) = &mut record {
            let outcome: Value = serde_json::from_str(&text)?;
            writeln!(record, "{}", serde_json::json!({"user": line, "outcome": outcome}))?;
        }
        eprintln!("{position}: {:.1} s, {} evicted", outcome.seconds, outcome.evicted);
        if let Some(error) = &outcome.error {
            eprintln!("{position}: {error}");
            failures.push(format!("{position}: {error}"));
        }
        outcomes.push(outcome);
    }
    if let Err(error) = chat.finish() {
        failures.push(format!("seed {seed}: {error:#}"));
    }

    let spoken = match export(args, home.path()) {
        Ok(export) => {
            if let Err(error) = export.check(&outcomes) {
                failures.push(format!("seed {seed}: {error:#}"));
            }
            export.user_positions()
        }
        Err(error) => {
            failures.push(format!("seed {seed}: {error:#}"));
            Vec::new()
        }
    };
    let n_turns = script.turns.len();
    let questions: Vec<Answer> = script
        .questions
        .iter()
        .zip(&script.facts)
        .enumerate()
        .map(|(n, (question, fact))| {
            let before = outcomes.iter().take(n_turns + n).map(|outcome| outcome.evicted).sum();
            let reply = outcomes.get(n_turns + n).map(|outcome| outcome.replies.join("\n"));
            let position = spoken.get(fact.turn).copied();
            Answer {
                question: question.text.clone(),
                fact: fact.fact.clone(),
                correct: reply.as_deref().is_some_and(|reply| question.is_answered_by(reply)),
                evidence_out_of_view: reply.is_some()
                    && position.is_some_and(|position| position <= before),
                reply: reply.unwrap_or_default(),
            }
        })
        .collect();
    let flushes =
        |outcomes: &[Outcome]| outcomes.iter().filter(|outcome| outcome.evicted > 0).count();
    Ok(SeedReport {
        script: args.script.display().to_string(),
        model: args.model.clone().unwrap_or_else(|| "default".into()),
        window: args.window,
        temperature: args.temp,
        seed,
        n_events: outcomes.len(),
        score: questions.iter().filter(|answer| answer.correct).count(),
        questions,
        flushes: flushes(&outcomes),
        flushes_before_questions: flushes(&outcomes[..n_turns.min(outcomes.len())]),
        evicted: outcomes.iter().map(|outcome| outcome.evicted).sum(),
        tokens: outcomes.iter().fold(TokenUsage::default(), |mut sum, outcome| {
            sum += outcome.tokens;
            sum
        }),
        seconds: outcomes.iter().map(|outcome| outcome.seconds).sum(),
        wall_seconds: started.elapsed().as_secs_f64(),
        failures,
    })
}

fn link_models(models: &Path, link: &Path) -> Result<()> {
    let models = fs::canonicalize(models).with_context(|| models.display().to_string())?;
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(&models, link);
    #[cfg(windows)]
    let linked = std::os::windows::fs::symlink_dir(&models, link);
    linked.with_context(|| format!("cannot link {} to {}", link.display(), models.display()))
}

/// The program with a home, and nothing of the user's own settings.
fn pagewise(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagewise"));
    command.env_remove("PAGEWISE_MODEL").env("PAGEWISE_OFFLINE", "true");
    command.arg("--home").arg(home);
    command
}

/// A running `pagewise chat --json`.
struct Chat {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    said: Arc<Mutex<VecDeque<String>>>,
    listener: JoinHandle<()>,
}

/// Lines of the program's talk that are shown when it ends early.
const TALK_LINES: usize = 10;

impl Chat {
    fn start(args: &Args, home: &Path, seed: u64) -> Result<Self> {
        let mut command = pagewise(home);
        command.args(["chat", "--json", "--now", CLOCK]);
        command.args(["--seed", &seed.to_string(), "--window", &args.window.to_string()]);
        let optional = [
            ("--model", args.model.clone()),
            ("--temp", args.temp.map(|temp| temp.to_string())),
            ("--threads", args.threads.map(|threads| threads.to_string())),
        ];
        for (flag, value) in optional {
            if let Some(value) = value {
                command.args([flag, &value]);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("the program cannot be started")?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            bail!("the program's pipes are missing");
        };
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let heard = said.clone();
        let listener = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let Ok(mut heard) = heard.lock() else { return };
                if heard.len() == TALK_LINES {
                    heard.pop_front();
                }
                heard.push_back(line);
            }
        });
        Ok(Self { child, stdin, stdout: BufReader::new(stdout), said, listener })
    }

    /// Says one line and waits for the line that tells what came of it.
    fn say(&mut self, line: &str) -> Result<String> {
        // If the program has ended, reading says so better than the broken pipe does.
        let _ = writeln!(self.stdin, "{line}").and_then(|()| self.stdin.flush());
        let mut outcome = String::new();
        let n_bytes = self.stdout.read_line(&mut outcome)?;
        ensure!(n_bytes > 0, "the program ended without an answer");
        Ok(outcome)
    }

    /// Closes the pipe and waits; an error tells the exit status and the last of stderr.
    fn finish(mut self) -> Result<()> {
        drop(self.stdin);
        let status = self.child.wait()?;
        self.listener.join().map_err(|_| anyhow!("stderr could not be read"))?;
        if !status.success() {
            let said = self.said.lock().map(|said| said.iter().cloned().collect::<Vec<_>>());
            bail!("the program ended with {status}:\n{}", said.unwrap_or_default().join("\n"));
        }
        Ok(())
    }
}

/// What is needed of `memory export`.
#[derive(Debug, Deserialize)]
struct Export {
    messages: Vec<ExportedMessage>,
    queue: ExportedQueue,
}

#[derive(Debug, Deserialize)]
struct ExportedMessage {
    id: i64,
    kind: String,
}

#[derive(Debug, Deserialize)]
struct ExportedQueue {
    first_in_view: i64,
}

fn export(args: &Args, home: &Path) -> Result<Export> {
    let output = pagewise(home).args(["memory", "export", "--json", "--now", CLOCK]).output()?;
    ensure!(
        output.status.success(),
        "the memory of {} cannot be exported: {}",
        args.script.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("memory export")
}

impl Export {
    /// Checks that the messages that were said to be evicted are those before the queue's first.
    fn check(&self, outcomes: &[Outcome]) -> Result<()> {
        ensure!(
            self.messages.is_sorted_by_key(|message| message.id),
            "the messages are not exported in order"
        );
        let evicted: usize = outcomes.iter().map(|outcome| outcome.evicted).sum();
        let first_in_view = self.queue.first_in_view;
        let before = self.messages.iter().filter(|message| message.id < first_in_view).count();
        ensure!(
            evicted == before,
            "{evicted} messages were evicted, but {before} come before the queue's first"
        );
        Ok(())
    }

    /// For each message of the user, how many messages there are up to and including it.
    fn user_positions(&self) -> Vec<usize> {
        let numbered = self.messages.iter().zip(1..);
        numbered
            .filter(|(message, _)| message.kind == "user")
            .map(|(_, position)| position)
            .collect()
    }
}

fn print_seed(report: &SeedReport) {
    let TokenUsage { prefilled, reused, generated, forced, passes } = report.tokens;
    let in_view = report.questions.iter().filter(|answer| !answer.evidence_out_of_view).count();
    println!(
        "seed {}: {} of {}, {} flushes ({} before the questions), {} messages evicted, evidence {}; \
         tokens: {prefilled} prefilled, {reused} reused, {generated} generated, {forced} forced, {passes} passes; \
         {:.0} s in {} events, {:.0} s with loading",
        report.seed,
        report.score,
        report.questions.len(),
        report.flushes,
        report.flushes_before_questions,
        report.evicted,
        if in_view == 0 {
            "out of view every time".to_string()
        } else {
            format!("STILL IN VIEW {in_view} times")
        },
        report.seconds,
        report.n_events,
        report.wall_seconds,
    );
    for failure in &report.failures {
        println!("  failed: {failure}");
    }
}

fn print_summary(script: &Script, reports: &[SeedReport]) {
    let n = reports.len();
    println!("\nanswered  out of view  question");
    for (index, question) in script.questions.iter().enumerate() {
        let count = |is: fn(&Answer) -> bool| {
            reports
                .iter()
                .filter_map(|report| report.questions.get(index))
                .filter(|answer| is(answer))
                .count()
        };
        println!(
            "{:>4}/{n:<3}  {:>7}/{n:<3}  {}",
            count(|answer| answer.correct),
            count(|answer| answer.evidence_out_of_view),
            question.text
        );
    }
    let scores: Vec<f64> = reports.iter().map(|report| report.score as f64).collect();
    let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
    let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
    let deviation = (squares / (scores.len().max(2) - 1) as f64).sqrt();
    let flushes = |of: fn(&SeedReport) -> usize| reports.iter().map(of).min().unwrap_or(0);
    println!(
        "\nmean score {mean:.2} of {} (n = {n}, sd {deviation:.2}); flushes at least {}, before the questions at \
         least {}; failures {}",
        script.questions.len(),
        flushes(|report| report.flushes),
        flushes(|report| report.flushes_before_questions),
        reports.iter().map(|report| report.failures.len()).sum::<usize>(),
    );
}
