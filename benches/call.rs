//! One constrained function call behind a prompt that the KV cache holds, end to end.
//!
//! Timed: from the request to the last byte of the call, greedy, with a prompt of some 1,500 tokens. The
//! two cases differ in what the call says: one copies a sentence of the prompt, which guesses are good
//! at, the other is written anew. `scripts/bench-peers --call` makes the same calls with llama.cpp's
//! server: the tokens of the prompt and the same functions as a JSON schema are printed for that.
//!
//! ```text
//! cargo bench -p pagewise-cli --bench call -- --model FILE.gguf [--repetitions 5] [--threads N] [--isa NAME]
//! ```
//!
//! Prints a line of JSON for each case.
#![allow(clippy::print_stdout)]

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use pagewise_core::{
    ArgumentKind, ArgumentSpec, CallFormat, Constraint, FunctionSpec, GenerationRequest,
    LanguageModel, Prompt, PromptMessage, PromptRole, Sampling, SessionSlot,
};
use pagewise_infer::{Compute, DeviceChoice, Engine, EngineOptions, Isa};
use serde_json::{Value, json};

/// What fills the prompt.
const TEXT: &str = "crates/pagewise-bench/tests/data/perplexity/text.txt";

/// How long the prompt is at least, in tokens.
const PROMPT_TOKENS: usize = 1500;

/// What the model is asked for; the first can be copied.
const CASES: [(&str, &str); 2] = [
    (
        "copied",
        "Save this, word for word: \"My sister Ana moved to Lisbon in the spring of 2019, works at the \
         harbour as a crane operator, keeps two cats, and wants to be called on Sunday evenings \
         because she is at sea from Monday to Friday.\"",
    ),
    ("new", "Tell me in about forty words, in one message, what a lighthouse is for."),
];

/// Times a function call. Relative paths are the workspace's.
#[derive(Debug, Parser)]
struct Args {
    /// A GGUF file
    #[arg(long)]
    model: PathBuf,
    /// How often each call is made, after a first time that does not count
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
    /// CPU threads
    #[arg(long)]
    threads: Option<usize>,
    /// The kernels to use
    #[arg(long)]
    isa: Option<Isa>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::set_current_dir(&root).context("the workspace's folder")?;
    let mut compute = Compute::new(DeviceChoice::Cpu, args.threads)?;
    if let Some(isa) = args.isa {
        compute = compute.with_isa(isa);
    }
    let options = EngineOptions { window_tokens: Some(4096), ..EngineOptions::default() };
    let mut engine = Engine::load(&args.model, &compute, &options)?;
    let text = fs::read_to_string(TEXT).context(TEXT)?;
    for (name, request) in CASES {
        let prompt = prompt(&engine, &text, request)?;
        println!("{}", time(&mut engine, name, &prompt, args.repetitions)?);
    }
    Ok(())
}

/// Puts as many lines of `text` before the request as make the prompt long enough.
fn prompt(engine: &Engine, text: &str, request: &str) -> Result<Prompt> {
    let functions: Vec<String> = specs().iter().map(|spec| format!("{spec:?}")).collect();
    let system = format!(
        "You answer with one function call, as JSON: {{\"function\": name, \"args\": {{…}}}}.\n{}",
        functions.join("\n")
    );
    let mut context = String::new();
    for line in text.lines() {
        context.push_str(line);
        context.push('\n');
        let message = |role, content: String| PromptMessage { role, content };
        let prompt = Prompt {
            messages: vec![
                message(PromptRole::System, system.clone()),
                message(PromptRole::User, format!("{context}\n{request}")),
            ],
        };
        if engine.count_tokens(&prompt)? >= PROMPT_TOKENS {
            return Ok(prompt);
        }
    }
    anyhow::bail!("{TEXT} has fewer than {PROMPT_TOKENS} tokens")
}

fn specs() -> [FunctionSpec<'static>; 2] {
    let text = |name, description| ArgumentSpec {
        name,
        description,
        kind: ArgumentKind::Text { max_chars: 400 },
    };
    let spec = |name, description, argument| FunctionSpec {
        name,
        description,
        arguments: vec![argument],
        asks_heartbeat: false,
    };
    [
        spec(
            "archival_memory_insert",
            "Saves a text for ever.",
            text("content", "what is to be saved"),
        ),
        spec("send_message", "Says something to the user.", text("message", "what is said")),
    ]
}

/// The calls that [`specs`] allow, as JSON schema.
fn schema() -> Value {
    let call = |spec: FunctionSpec<'_>| {
        let arguments = spec.arguments.iter().map(|argument| {
            (argument.name.to_owned(), json!({"type": "string", "minLength": 1, "maxLength": 400}))
        });
        let names: Vec<_> = spec.arguments.iter().map(|argument| argument.name).collect();
        let properties: serde_json::Map<String, Value> = arguments.collect();
        json!({
            "type": "object",
            "properties": {
                "function": {"const": spec.name},
                "args": {
                    "type": "object",
                    "properties": properties,
                    "required": names,
                    "additionalProperties": false,
                },
            },
            "required": ["function", "args"],
            "additionalProperties": false,
        })
    };
    json!({"anyOf": specs().map(call)})
}

fn time(engine: &mut Engine, name: &str, prompt: &Prompt, repetitions: usize) -> Result<Value> {
    let (specs, format) = (specs(), CallFormat::default());
    let request = GenerationRequest {
        slot: SessionSlot::MainContext,
        prompt,
        beginning: None,
        constraint: Constraint::Call { functions: &specs, format: &format },
        sampling: &Sampling::default(),
        seed: 0,
        max_tokens: 200,
        cancelled: &AtomicBool::new(false),
    };
    let first = engine.generate(&request, &mut |_| ControlFlow::Continue(()))?;
    let mut seconds = Vec::new();
    for _ in 0..repetitions {
        let started = Instant::now();
        let again = engine.generate(&request, &mut |_| ControlFlow::Continue(()))?;
        seconds.push(started.elapsed().as_secs_f64());
        ensure!(again.tokens.prefilled <= 1, "the prompt was in the cache");
    }
    let tokens = engine.model().encode(prompt)?;
    let usage = &first.tokens;
    Ok(json!({
        "case": name,
        "text": first.text,
        "seconds": seconds,
        "call_tokens": usage.generated + usage.forced,
        "passes": usage.passes,
        "prompt_tokens": tokens.len(),
        "prompt": tokens,
        "schema": schema(),
    }))
}
