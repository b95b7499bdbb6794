//! Opens an agent: store, embedder, model and clock, put together as the flags say.

use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;
use pagewise_agent::{Agent, AgentConfig};
use pagewise_core::{Clock, EmbedError, Embedder, FixedClock, SystemClock};
use pagewise_infer::{BertEmbedder, Compute, Engine, EngineOptions};
use pagewise_memory::Store;

use crate::args::CommonArgs;
use crate::failure::Failure;
use crate::home::Home;
use crate::printer::Printer;
use crate::weights;

/// The window when none is asked for: enough for a long chat, small enough for a quick reply.
pub(crate) const WINDOW_TOKENS: usize = 4096;

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
    let embedder = Arc::new(BertEmbedder::load(&embedder)?);
    let store = Store::open(&home.agent(&args.agent), embedder)?;
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
        Some(dir) => Some(Arc::new(BertEmbedder::load(&dir)?)),
        None => None,
    };
    let has_embedder = embedder.is_some();
    let store = Store::open(folder, embedder.unwrap_or_else(|| Arc::new(NoEmbedder)))?;
    Ok((store, has_embedder))
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

    fn embed(&self, _texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        Err(EmbedError(
            "no embedder is on this disk; `pagewise pull all-minilm-l6-v2` fetches one".into(),
        ))
    }
}
