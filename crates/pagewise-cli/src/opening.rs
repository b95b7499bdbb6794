//! Opens an agent: store, embedder, model and clock, put together as the flags say.

use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;
use pagewise_agent::{Agent, AgentConfig};
use pagewise_core::{Clock, EmbedError, Embedder, FixedClock, Purpose, SystemClock};
use pagewise_infer::{Compute, Engine, EngineOptions, SentenceEmbedder};
use pagewise_memory::Store;

use crate::args::CommonArgs;
use crate::failure::Failure;
use crate::home::Home;
use crate::printer::Printer;
use crate::weights;

/// The window when none is asked for: enough for a long chat, small enough for a quick reply.
const WINDOW_TOKENS: usize = 4096;

/// Opens the agent that the flags name, with its model.
pub(crate) fn open_agent(
    args: &CommonArgs,
    printer: &Printer,
    yes: bool,
) -> Result<Agent, Failure> {
    // Before anything is fetched for a device that is not there.
    let compute = Compute::new(args.device.into(), args.threads.map(usize::from))?;
    let (model, embedder) = weights::ensure(args, printer, yes)?;
    let home = Home::of(args)?;
    // The store first: if another process holds it, the model need not be loaded to find out.
    let embedder = load_embedder(&embedder, args)?;
    let mut store = Store::open(&home.agent(&args.agent), embedder)?;
    resume_change(&mut store, args, printer)?;
    let engine = load_engine(&model, &compute, args)?;
    let mut sampling = weights::sampling(args);
    sampling.temperature = args.temp.unwrap_or(0.0);
    let config = AgentConfig { sampling, seed: args.seed, ..AgentConfig::default() };
    Ok(Agent::open(store, Box::new(engine), clock(args), config)?)
}

/// Loads the model with the window that was asked for, or with the default one.
fn load_engine(model: &Path, compute: &Compute, args: &CommonArgs) -> Result<Engine, Failure> {
    let window_tokens = args.window.map(|window| window as usize);
    let options = EngineOptions { window_tokens, default_window_tokens: WINDOW_TOKENS };
    Ok(Engine::load(model, compute, &options)?)
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

fn load_embedder(dir: &Path, args: &CommonArgs) -> Result<Arc<dyn Embedder>, Failure> {
    // A store remembers where its embedder was, and may be opened from another folder.
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    Ok(Arc::new(SentenceEmbedder::load(&dir, args.threads.map(usize::from))?))
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
    store.reembed_in_background(Arc::new(SentenceEmbedder::load(&dir, Some(1))?));
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
