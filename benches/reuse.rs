//! What is not read twice and not sampled one by one, with real weights, in one process.
//!
//! What main context's layouts cost is counted first, without a model (`reuse/layout.rs`). Then the
//! turns of a script go through an agent, and every request to the model is recorded:
//!
//! - **events**: the prompt tokens that each event had to read, in events with a flush and without;
//! - **restart** (once main context fills two thirds of the window): the time to the first token of a
//!   message after a restart, from the moment that the model is opened, with what the last run kept and
//!   without;
//! - **calls**: 50 recorded calls again, each from a cache that holds its prompt: one token at a time,
//!   with forced tokens in chunks, and with guesses as well; on processors with tiles of `bf16` the same
//!   without these; the texts must be the same;
//! - **moved**: what position-shifted reuse saves after a flush, and what it costs: the divergence of
//!   the next token's distribution, and how often its likeliest token is another, along the answer
//!   that was given.
//!
//! ```text
//! cargo bench -p pagewise-cli --bench reuse -- --script tests/data/conversation-dev.json \
//!     --model FILE.gguf [--window 2048] [--turns N] [--guesses 0,3] [--threads N]
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "reuse/layout.rs"]
mod layout;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use jiff::tz::TimeZone;
use pagewise_agent::{Agent, AgentConfig, Event, Observer, Outcome};
use pagewise_core::{
    ArgumentKind, ArgumentSpec, CallFormat, Constraint, FixedClock, FunctionSpec, Generation,
    GenerationRequest, LanguageModel, ModelError, Prompt, Sampling, SessionSlot, TokenUsage,
    Weighing, WeighingRequest,
};
use pagewise_infer::{Compute, DeviceChoice, Engine, EngineOptions, Session};
use pagewise_memory::Store;
use pagewise_testkit::HashEmbedder;
use serde::Deserialize;

const CLOCK: &str = "2026-01-05T09:00:00Z";

/// Once main context has so much of the window, a restart is measured: before it is flushed.
const RESTART_FRACTION: f64 = 0.66;

/// Recorded calls that are made again.
const CALLS: usize = 50;

/// How often a restart is repeated; the median counts.
const REPETITIONS: usize = 3;

/// Pieces of at least so many tokens are moved.
const PIECE_TOKENS: usize = 32;

/// Measures what need not be read or sampled. Relative paths are the workspace's.
#[derive(Debug, Parser)]
struct Args {
    /// The conversation, as JSON
    #[arg(long)]
    script: PathBuf,
    /// A GGUF file
    #[arg(long)]
    model: PathBuf,
    /// The context window, in tokens
    #[arg(long, default_value_t = 2048)]
    window: usize,
    /// As many turns of the script [default: all]
    #[arg(long)]
    turns: Option<usize>,
    /// Guesses of so many tokens are tried
    #[arg(long, value_delimiter = ',', default_value = "0,2,3,4,8")]
    guesses: Vec<usize>,
    /// CPU threads
    #[arg(long)]
    threads: Option<usize>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Deserialize)]
struct Script {
    turns: Vec<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::set_current_dir(&root).context("the workspace's folder")?;
    let text = fs::read_to_string(&args.script).context("the script")?;
    let Script { mut turns } = serde_json::from_str(&text).context("the script")?;
    layout::measure(&args.model, &turns)?;
    turns.truncate(args.turns.unwrap_or(usize::MAX));

    let home = tempfile::tempdir()?;
    let mut run = Run::open(&args, home.path(), true)?;
    let (mut outcomes, mut recorded) = (Vec::new(), Vec::new());
    let mut restarted = false;
    for (n, turn) in turns.iter().enumerate() {
        let used = outcomes.last().map_or(0, |outcome: &Outcome| outcome.context.used);
        if used as f64 >= RESTART_FRACTION * args.window as f64 && !restarted {
            recorded.extend(run.close()?);
            measure_restart(&args, home.path(), turn, used)?;
            run = Run::open(&args, home.path(), true)?;
            restarted = true;
        }
        let outcome = run.say(turn)?;
        eprintln!("turn {} of {}: {:.1} s", n + 1, turns.len(), outcome.seconds);
        outcomes.push(outcome);
    }
    recorded.extend(run.close()?);
    print_events(&outcomes);
    measure_calls(&args, &recorded)?;
    measure_moved(&args, &recorded)
}

/// An agent whose model writes down what it is asked.
struct Run {
    agent: Agent,
    recorded: Arc<Mutex<Vec<Recorded>>>,
    flushed: Arc<AtomicBool>,
}

/// A request to the model, and what it read and wrote.
#[derive(Clone)]
struct Recorded {
    slot: SessionSlot,
    prompt: Prompt,
    beginning: Option<Prompt>,
    /// The functions that could be called; none for a text.
    functions: Option<(Vec<FunctionSpec<'static>>, CallFormat)>,
    sampling: Sampling,
    seed: u64,
    max_tokens: usize,
    /// Whether it is the first of main context after a flush.
    is_after_flush: bool,
    /// The tokens that the cache stood for at the end: the prompt and what was run of the answer.
    tokens: Vec<u32>,
}

struct Recorder {
    engine: Engine,
    recorded: Arc<Mutex<Vec<Recorded>>>,
    flushed: Arc<AtomicBool>,
}

/// Takes note of a flush for the request that follows it.
struct FlushObserver<'a>(&'a AtomicBool);

impl Observer for FlushObserver<'_> {
    fn evicted(&mut self, _n_messages: usize) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn options(args: &Args, snapshot: Option<PathBuf>) -> EngineOptions {
    EngineOptions { window_tokens: Some(args.window), snapshot, ..EngineOptions::default() }
}

fn compute(args: &Args) -> Result<Compute> {
    Ok(Compute::new(DeviceChoice::Cpu, args.threads)?)
}

fn load(args: &Args, options: &EngineOptions) -> Result<Engine> {
    Ok(Engine::load(&args.model, &compute(args)?, options)?)
}

impl Run {
    fn open(args: &Args, home: &Path, keeps: bool) -> Result<Self> {
        let snapshot = keeps.then(|| home.join("main_context.kv"));
        let engine = load(args, &options(args, snapshot))?;
        let (recorded, flushed) = (Arc::default(), Arc::default());
        let model =
            Recorder { engine, recorded: Arc::clone(&recorded), flushed: Arc::clone(&flushed) };
        let store = Store::open(home, Arc::new(HashEmbedder::new()))?;
        let clock = Box::new(FixedClock::new(CLOCK.parse()?, TimeZone::UTC));
        let agent = Agent::open(store, Box::new(model), clock, AgentConfig::default())?;
        Ok(Self { agent, recorded, flushed })
    }

    fn say(&mut self, text: &str) -> Result<Outcome> {
        let event = Event::UserMessage { text: text.into() };
        let mut observer = FlushObserver(&self.flushed);
        Ok(self.agent.handle(event, &mut observer, &AtomicBool::new(false))?)
    }

    fn close(self) -> Result<Vec<Recorded>> {
        self.agent.close(&AtomicBool::new(false))?;
        let recorded = self.recorded.lock().map_err(|_| anyhow!("the record is broken"))?;
        Ok(recorded.clone())
    }
}

impl LanguageModel for Recorder {
    fn context_window_tokens(&self) -> usize {
        self.engine.context_window_tokens()
    }

    fn count_tokens(&self, prompt: &Prompt) -> Result<usize, ModelError> {
        self.engine.count_tokens(prompt)
    }

    fn generate(
        &mut self,
        request: &GenerationRequest<'_>,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation, ModelError> {
        let generation = self.engine.generate(request, on_text)?;
        let functions = match request.constraint {
            Constraint::Call { functions, format } => {
                Some((functions.iter().map(kept).collect(), format.clone()))
            }
            Constraint::Text { .. } => None,
        };
        let is_main = request.slot == SessionSlot::MainContext;
        let is_after_flush = is_main && self.flushed.swap(false, Ordering::Relaxed);
        if let Ok(mut recorded) = self.recorded.lock() {
            let session = self.engine.session(request.slot);
            recorded.push(Recorded {
                slot: request.slot,
                prompt: request.prompt.clone(),
                beginning: request.beginning.cloned(),
                functions,
                sampling: request.sampling.clone(),
                seed: request.seed,
                max_tokens: request.max_tokens,
                is_after_flush,
                tokens: session.map(|session| session.tokens().to_vec()).unwrap_or_default(),
            });
        }
        Ok(generation)
    }

    fn keep(&mut self, prompt: &Prompt, cancelled: &AtomicBool) -> Result<(), ModelError> {
        self.engine.keep(prompt, cancelled)
    }

    fn weigh(&mut self, request: &WeighingRequest<'_>) -> Result<Weighing, ModelError> {
        self.engine.weigh(request)
    }
}

fn print_events(outcomes: &[Outcome]) {
    println!("events: prompt tokens read in an event, all steps and summaries together");
    for (name, flushed) in [("without a flush", false), ("with a flush", true)] {
        let mut read: Vec<f64> = outcomes
            .iter()
            .skip(1)
            .filter(|outcome| (outcome.evicted > 0) == flushed)
            .map(|outcome| outcome.tokens.prefilled as f64)
            .collect();
        let n = read.len();
        println!("  {name}: median {:.0} (n = {n})", median(&mut read));
    }
    let read: usize = outcomes.iter().map(|outcome| outcome.tokens.prefilled).sum();
    println!(
        "  all {} events: {:.0} on average",
        outcomes.len(),
        read as f64 / outcomes.len() as f64
    );
}

fn measure_restart(args: &Args, home: &Path, message: &str, used: usize) -> Result<()> {
    println!(
        "restart: until the first token of a message, with {used} tokens of main context before it; \
         the file of weights is in memory"
    );
    const ARMS: [(&str, bool); 2] = [("cold", false), ("kept", true)];
    let mut arms = ARMS.map(|_| Restarts::default());
    // In turn, so that what else the machine does is no one's advantage.
    for _ in 0..REPETITIONS {
        for ((_, keeps), arm) in ARMS.into_iter().zip(&mut arms) {
            let copy = tempfile::tempdir()?;
            for entry in fs::read_dir(home)? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    fs::copy(entry.path(), copy.path().join(entry.file_name()))?;
                }
            }
            let started = Instant::now();
            let mut run = Run::open(args, copy.path(), keeps)?;
            let opened = started.elapsed().as_secs_f64();
            let outcome = run.say(message)?;
            let after_that = outcome.first_token_seconds.ok_or_else(|| anyhow!("no token"))?;
            arm.opening.push(opened);
            arm.first_token.push(opened + after_that);
            arm.tokens = Some((outcome.tokens, outcome.evicted));
        }
    }
    let mut medians = Vec::new();
    for ((name, _), mut arm) in ARMS.into_iter().zip(arms) {
        let (first_token, opening) = (median(&mut arm.first_token), median(&mut arm.opening));
        println!(
            "  {name}: {first_token:.3} s, of these {opening:.3} s for opening (medians, n = \
             {REPETITIONS}); whole event, and messages evicted: {:?}",
            arm.tokens
        );
        medians.push(first_token);
    }
    println!("  kept takes {:.1} % of cold", 100.0 * medians[1] / medians[0]);
    Ok(())
}

/// Times from the moment that the model is opened, in seconds.
#[derive(Default)]
struct Restarts {
    opening: Vec<f64>,
    first_token: Vec<f64>,
    /// What the event took in the end.
    tokens: Option<(TokenUsage, usize)>,
}

fn measure_calls(args: &Args, recorded: &[Recorded]) -> Result<()> {
    let all: Vec<&Recorded> =
        recorded.iter().filter(|request| request.functions.is_some()).collect();
    // Spread over the conversation, in its order, so that little is read between two of them.
    let n_calls = CALLS.min(all.len());
    let calls: Vec<&Recorded> = (0..n_calls).map(|i| all[i * all.len() / n_calls]).collect();
    println!("calls: {n_calls} of {} recorded calls again, their prompts in the cache", all.len());
    let compute = compute(args)?;
    let with_tiles = time_calls(args, &compute, &calls, &args.guesses)?;
    if compute.isa().is_some_and(|isa| isa.has_tiles()) {
        let guesses = [0, 3];
        println!("  without tiles:");
        let without = time_calls(args, &compute.without_tiles(), &calls, &guesses)?;
        let n_other = with_tiles.iter().zip(&without).filter(|(a, b)| a != b).count();
        println!("  {n_other} of {n_calls} texts are others without tiles than with them");
    } else {
        println!("  this processor has no tiles, so there is nothing to compare them with");
    }
    Ok(())
}

/// Makes the calls on `compute` again, with guesses of these lengths; returns the texts without
/// guesses.
fn time_calls(
    args: &Args,
    compute: &Compute,
    calls: &[&Recorded],
    guesses: &[usize],
) -> Result<Vec<String>> {
    let mut engine = Engine::load(&args.model, compute, &options(args, None))?;
    let (mut one_by_one, mut n_tokens) = (0.0, 0);
    let mut totals = vec![Total::default(); guesses.len()];
    let mut texts = Vec::new();
    for (n, call) in calls.iter().enumerate() {
        engine.set_guess_tokens(0);
        // Reads the prompt, and is what the others are compared with.
        let generation = answer(&mut engine, call)?;
        n_tokens += generation.tokens.generated + generation.tokens.forced;
        one_by_one += one_token_at_a_time(&engine, call)?;
        // In turn, so that a warm processor is no one's advantage.
        for (guess_tokens, total) in guesses.iter().zip(&mut totals) {
            engine.set_guess_tokens(*guess_tokens);
            let started = Instant::now();
            let again = answer(&mut engine, call)?;
            total.seconds += started.elapsed().as_secs_f64();
            total.n_passes += again.tokens.passes;
            total.n_same += usize::from(again.text == generation.text);
        }
        texts.push(generation.text);
        eprintln!("call {} of {}", n + 1, calls.len());
    }
    println!("  one token at a time: {one_by_one:.2} s for {n_tokens} tokens");
    for (guess_tokens, total) in guesses.iter().zip(totals) {
        let Total { seconds, n_passes, n_same } = total;
        println!(
            "  forced tokens in chunks, guesses of {guess_tokens}: {seconds:.2} s, {:.2} of one at a \
             time, {:.2} tokens a pass; {n_same} of {} texts as when the prompt was read",
            seconds / one_by_one,
            n_tokens as f64 / n_passes as f64,
            calls.len()
        );
    }
    Ok(texts)
}

/// What all calls took with guesses of one length.
#[derive(Clone, Copy, Default)]
struct Total {
    seconds: f64,
    n_passes: usize,
    n_same: usize,
}

/// Returns the time that the tokens of the last answer take one by one, without masks and sampling:
/// what is compared with does less work.
fn one_token_at_a_time(engine: &Engine, call: &Recorded) -> Result<f64> {
    let session = engine.session(call.slot).ok_or_else(|| anyhow!("there is no session"))?;
    let n_prompt = engine.count_tokens(&call.prompt)?.min(session.tokens().len());
    let mut session = session.try_clone()?;
    let tokens = session.tokens()[n_prompt - 1..].to_vec();
    session.truncate(n_prompt - 1);
    let started = Instant::now();
    for token in tokens {
        session.extend(&engine.model().decoder, &[token], &|| false)?;
    }
    Ok(started.elapsed().as_secs_f64())
}

/// Returns a spec that outlives the request that it was in.
fn kept(spec: &FunctionSpec<'_>) -> FunctionSpec<'static> {
    let text = |text: &str| -> &'static str { text.to_owned().leak() };
    let arguments = spec.arguments.iter().map(|argument| ArgumentSpec {
        name: text(argument.name),
        description: text(argument.description),
        kind: match &argument.kind {
            ArgumentKind::Text { max_chars } => ArgumentKind::Text { max_chars: *max_chars },
            ArgumentKind::OneOf(allowed) => ArgumentKind::OneOf(allowed.clone()),
            ArgumentKind::Integer { min, max } => ArgumentKind::Integer { min: *min, max: *max },
            ArgumentKind::Boolean => ArgumentKind::Boolean,
            ArgumentKind::Date => ArgumentKind::Date,
            other => unreachable!("no function of the agent has {other:?}"),
        },
    });
    FunctionSpec {
        name: text(spec.name),
        description: text(spec.description),
        arguments: arguments.collect(),
        asks_heartbeat: spec.asks_heartbeat,
    }
}

fn answer(engine: &mut Engine, call: &Recorded) -> Result<Generation> {
    let (functions, format) = call.functions.as_ref().ok_or_else(|| anyhow!("not a call"))?;
    let request = GenerationRequest {
        slot: call.slot,
        prompt: &call.prompt,
        beginning: call.beginning.as_ref(),
        constraint: Constraint::Call { functions, format },
        sampling: &call.sampling,
        seed: call.seed,
        max_tokens: call.max_tokens,
        cancelled: &AtomicBool::new(false),
    };
    Ok(engine.generate(&request, &mut |_| ControlFlow::Continue(()))?)
}

fn measure_moved(args: &Args, recorded: &[Recorded]) -> Result<()> {
    let engine = load(args, &options(args, None))?;
    let model = engine.model();
    let decoder = &model.decoder;
    let main: Vec<&Recorded> =
        recorded.iter().filter(|request| request.slot == SessionSlot::MainContext).collect();
    let (mut reused, mut exact_read, mut moved_read) = (0, 0, 0);
    let (mut divergences, mut n_other, mut n_rows, mut n_flushes) = (Vec::new(), 0, 0, 0);
    for pair in main.windows(2) {
        let (before, now) = (pair[0], pair[1]);
        if !now.is_after_flush {
            continue;
        }
        let prompt = model.encode(&now.prompt)?;
        let kept = before.tokens.iter().zip(&prompt).take_while(|(a, b)| a == b).count();
        let mut session = Session::new(decoder)?;
        session.sync(decoder, &before.tokens, &|| false)?;
        let moved = session.sync_moving(decoder, &prompt, PIECE_TOKENS, &|| false)?;
        let mut exact_session = Session::new(decoder)?;
        let exact = exact_session.sync(decoder, &prompt, &|| false)?;
        n_flushes += 1;
        reused += moved.reused - kept;
        moved_read += moved.prefilled;
        exact_read += prompt.len() - kept;
        let answer = &now.tokens[prompt.len().min(now.tokens.len())..];
        let mut rows = vec![(moved.logits, exact.logits)];
        if !answer.is_empty() {
            let run = |session: &mut Session| {
                session.extend_rows(decoder, answer, answer.len(), &|| false)
            };
            rows.extend(run(&mut session)?.into_iter().zip(run(&mut exact_session)?));
        }
        for (moved, exact) in rows {
            ensure!(moved.len() == exact.len(), "different vocabularies");
            divergences.push(divergence(&exact, &moved));
            n_other += usize::from(likeliest(&exact) != likeliest(&moved));
            n_rows += 1;
        }
    }
    println!(
        "moved: position-shifted reuse of pieces of {PIECE_TOKENS} tokens or more, {n_flushes} flushes"
    );
    println!(
        "  prompt tokens read behind the flushes: {exact_read} exactly, {moved_read} with {reused} moved"
    );
    let mean = divergences.iter().sum::<f64>() / divergences.len().max(1) as f64;
    println!(
        "  divergence (nats) along {n_rows} tokens: mean {mean:.4}, median {:.5}; likeliest token another: {n_other}",
        median(&mut divergences)
    );
    Ok(())
}

/// The Kullback-Leibler divergence of two distributions, given by logits, in nats.
fn divergence(exact: &[f32], approximate: &[f32]) -> f64 {
    let log_sum = |logits: &[f32]| {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
        f64::from(largest) + sum.ln()
    };
    let (a, b) = (log_sum(exact), log_sum(approximate));
    let terms = exact.iter().zip(approximate).map(|(x, y)| {
        let (log_p, log_q) = (f64::from(*x) - a, f64::from(*y) - b);
        log_p.exp() * (log_p - log_q)
    });
    terms.sum()
}

fn likeliest(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
}

fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    match numbers.len() {
        0 => f64::NAN,
        n => (numbers[(n - 1) / 2] + numbers[n / 2]) / 2.0,
    }
}
