//! Opens an agent: store, embedder, model and clock, put together as the flags say.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use jiff::tz::TimeZone;
use pagewise_agent::{Agent, AgentConfig};
use pagewise_bench::memory_obtainable_bytes;
use pagewise_core::{Clock, EmbedError, Embedder, FixedClock, Purpose, SystemClock};
use pagewise_infer::{Engine, EngineOptions, SentenceEmbedder};
use pagewise_memory::Store;

use crate::agent_settings;
use crate::args::{CommonArgs, OpeningArgs};
use crate::commands::chat::while_replying;
use crate::failure::Failure;
use crate::home::Home;
use crate::printer::Printer;
use crate::weights;

/// The window when none is asked for: enough for a long chat, small enough for a quick reply.
pub(crate) const WINDOW_TOKENS: usize = 4096;

/// The options of an engine that the flags and this machine decide.
pub(crate) fn engine_options(args: &CommonArgs) -> EngineOptions {
    EngineOptions {
        window_tokens: args.window.map(|window| window as usize),
        default_window_tokens: WINDOW_TOKENS,
        memory_bytes: memory_obtainable_bytes(),
        ..EngineOptions::default()
    }
}

/// The file in an agent's folder that keeps the KV cache of main context.
const SNAPSHOT: &str = "main_context.kv";

/// Opens the agent that the flags name, with its model.
pub(crate) fn open_agent(
    opening: &OpeningArgs,
    args: &CommonArgs,
    printer: &Printer,
) -> Result<Agent, Failure> {
    // Before anything is fetched for a device that is not there.
    let compute = args.compute()?;
    let (model, embedder) = weights::ensure(args, printer, opening.yes)?;
    let home = Home::of(args)?;
    // The store first: if another process holds it, the model need not be loaded to find out.
    let embedder = load_embedder(&embedder, args)?;
    let folder = home.agent(&args.agent);
    let mut store = Store::open(&folder, embedder)?;
    resume_change(&mut store, args, printer)?;
    let snapshot = (!opening.no_snapshot).then(|| folder.join(SNAPSHOT));
    let options = EngineOptions {
        snapshot,
        cache_reuse_tokens: opening.cache_reuse.map(|tokens| tokens as usize),
        thinking_tokens: opening.think.map_or(0, |tokens| tokens as usize),
        ..engine_options(args)
    };
    let engine = Engine::load(&model, &compute, &options)?;
    if opening.think.is_some() && !engine.can_think() {
        let name = &engine.description().name;
        return Err(Failure::usage(format!("{name} was not trained to think before it answers"))
            .hint("leave out --think"));
    }
    let usual = agent_settings::for_model(args)?;
    let answer_tokens = usual.answer_tokens + options.thinking_tokens;
    let config = AgentConfig { answer_tokens, ..usual };
    Ok(Agent::open(store, Box::new(engine), clock(args), config)?)
}

/// Ends an agent's session: says what is still to be done, and keeps what the model has read for the
/// next one.
///
/// That it cannot be kept is no failure. All that is lost is time, at the next start.
pub(crate) fn close_agent(
    agent: Agent,
    cancelled: &AtomicBool,
    printer: &Printer,
) -> Result<(), Failure> {
    tell_of_change(agent.store(), printer)?;
    if let Err(error) = while_replying(cancelled, || agent.close(cancelled)) {
        printer.detail(&error.to_string());
    }
    Ok(())
}

/// Opens the store of an agent that exists, without a language model. Without an embedder on disk,
/// only search by words works: the second value is false.
pub(crate) fn open_store(args: &CommonArgs, printer: &Printer) -> Result<(Store, bool), Failure> {
    let folder = Home::of(args)?.existing_agent(&args.agent)?;
    open_store_at(&folder, args, printer)
}

/// Opens the store in `folder`, which is made if it is not there.
pub(crate) fn open_store_at(
    folder: &Path,
    args: &CommonArgs,
    printer: &Printer,
) -> Result<(Store, bool), Failure> {
    let embedder: Option<Arc<dyn Embedder>> = match weights::embedder_dir(args, printer)? {
        Some(dir) => Some(load_embedder(&dir, args)?),
        None => None,
    };
    let has_embedder = embedder.is_some();
    let store = Store::open(folder, embedder.unwrap_or_else(|| Arc::new(NoEmbedder)))?;
    Ok((store, has_embedder))
}

/// Opens the embedder in a folder.
pub(crate) fn load_embedder(dir: &Path, args: &CommonArgs) -> Result<Arc<dyn Embedder>, Failure> {
    // A store remembers where its embedder was, and may be opened from another folder.
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    load_embedder_on(&dir, args.threads.map(usize::from), args)
}

fn load_embedder_on(
    dir: &Path,
    threads: Option<usize>,
    args: &CommonArgs,
) -> Result<Arc<dyn Embedder>, Failure> {
    let embedder = SentenceEmbedder::load(dir, threads)?;
    Ok(Arc::new(match args.isa {
        Some(isa) => embedder.with_isa(isa),
        None => embedder,
    }))
}

/// If the store's vectors are another embedder's, lets that one answer meanwhile, goes on to embed
/// everything anew in the background, and says so.
pub(crate) fn resume_change(
    store: &mut Store,
    args: &CommonArgs,
    printer: &Printer,
) -> Result<(), Failure> {
    let Some(change) = store.embedder_change()? else { return Ok(()) };
    let Some(dir) = weights::embedder_dir(args, printer)? else { return Ok(()) };
    let old = change.from_folder.and_then(|folder| load_embedder(&folder, args).ok());
    let meanwhile = if old.is_some_and(|old| store.search_with_old(old)) {
        "searches by meaning go on with the old one"
    } else {
        "the old one is not on this disk any more, so until then searches are by words only"
    };
    printer.talk(&format!(
        "The embedder changes from {} to {}: {} of {} texts are embedded anew, the others in the \
         background; {meanwhile}.",
        change.from, change.to, change.n_embedded, change.n_texts
    ));
    // One thread: the others are the model's.
    store.reembed_in_background(load_embedder_on(&dir, Some(1), args)?);
    Ok(())
}

/// Says how far a change of the embedder is when a command ends before it does.
pub(crate) fn tell_of_change(store: &Store, printer: &Printer) -> Result<(), Failure> {
    if let Some(change) = store.embedder_change()? {
        printer.talk(&format!(
            "{} of {} texts are embedded anew for {}; the next command goes on.",
            change.n_embedded, change.n_texts, change.to
        ));
        if let Some(problem) = change.problem {
            printer.warn(&format!("embedding them stopped: {problem}"));
        }
    }
    Ok(())
}

/// The clock that the flags ask for.
pub(crate) fn clock(args: &CommonArgs) -> Box<dyn Clock> {
    match args.now {
        Some(start) => Box::new(FixedClock::new(start, TimeZone::UTC)),
        None => Box::new(SystemClock),
    }
}

/// Stands in where nothing is searched by meaning, or no embedder is on disk.
pub(crate) struct NoEmbedder;

impl Embedder for NoEmbedder {
    fn id(&self) -> &str {
        "none"
    }

    fn dimensions(&self) -> usize {
        0
    }

    fn embed(&self, _texts: &[&str], _purpose: Purpose) -> Result<Vec<Vec<f32>>, EmbedError> {
        Err(EmbedError(
            "no embedder is on this disk; `pagewise pull all-minilm-l6-v2` fetches one".into(),
        ))
    }
}
