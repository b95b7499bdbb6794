//! Finds the weights that the flags name, and offers to fetch what is missing.

use std::env;
use std::path::{Path, PathBuf};

use indicatif::{HumanBytes, ProgressBar};
use pagewise_core::Sampling;
use pagewise_hub::catalog::{self, Kind as EntryKind};
use pagewise_hub::{
    Caches, Entry, HubError, Located, Locator, ModelSpec, Progress, SourceOptions, Store, Stored,
};

use crate::args::CommonArgs;
use crate::failure::{Failure, Kind};
use crate::home::Home;
use crate::printer::Printer;

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        let kind = match &error {
            HubError::BadSpec { .. } | HubError::BadName { .. } => Kind::Usage,
            HubError::Io { .. } => Kind::Store,
            HubError::Catalog { .. } => Kind::Failure,
            HubError::Cancelled => Kind::Interrupted,
            _ => Kind::Model,
        };
        let failure = Self::new(kind, &error);
        match &error {
            HubError::WrongSha256 { .. } | HubError::WrongSize { .. } => failure
                .hint("the file is damaged or is not the one it claims to be: remove it, and pull it again"),
            HubError::NotGguf { .. } => failure.hint(
                "models are files in the GGUF format, or Hugging Face folders, given as ./folder",
            ),
            HubError::UnknownModel { .. } => failure.hint(
                "`pagewise models ls` lists the catalog; a GGUF file is given by its path, a Hugging \
                 Face folder as ./folder",
            ),
            HubError::NotStored { .. } => {
                failure.hint("`pagewise models ls` shows what is in the store")
            }
            HubError::NoSource { hint: Some(hint), .. } => failure.hint(hint),
            HubError::Unreachable { .. } | HubError::AllSourcesFailed { .. } => failure.hint(
                "nothing was left half done; `pagewise models import PATH` takes in a file or a \
                 folder fetched by hand",
            ),
            _ => failure,
        }
    }
}

/// Returns the model that the flags name. Fails, saying how to get it, if it is not on this disk.
pub(crate) fn model_path(args: &CommonArgs, _: &Printer) -> Result<PathBuf, Failure> {
    let spec = ModelSpec::parse(&args.model)?;
    match find(args, &spec, EntryKind::Model)? {
        Some(located) => Ok(located.path),
        None => Err(missing(&spec)),
    }
}

/// Returns the folder of the embedder that the flags name; `None` if it is not on this disk.
pub(crate) fn embedder_dir(args: &CommonArgs, _: &Printer) -> Result<Option<PathBuf>, Failure> {
    if let Some(folder) = embedder_folder(args)? {
        return Ok(Some(folder));
    }
    let spec = ModelSpec::parse(&args.embedder)?;
    Ok(find(args, &spec, EntryKind::Embedder)?.map(|located| located.path))
}

/// Returns the model and the embedder's folder; what is missing is fetched, after asking.
pub(crate) fn ensure(
    args: &CommonArgs,
    printer: &Printer,
    yes: bool,
) -> Result<(PathBuf, PathBuf), Failure> {
    let spec = ModelSpec::parse(&args.model)?;
    let model = find(args, &spec, EntryKind::Model)?;
    let embedder = embedder_dir(args, printer)?;
    let mut missing = Vec::new();
    if model.is_none() {
        missing.push(spec.clone());
    }
    if embedder.is_none() {
        missing.push(ModelSpec::parse(&args.embedder)?);
    }
    fetch_missing(args, printer, yes, &missing)?;
    let model = match model {
        Some(located) => located.path,
        None => model_path(args, printer)?,
    };
    Ok((model, embedder_after_fetch(args, printer, embedder)?))
}

/// Returns the embedder's folder; if it is missing it is fetched, after asking.
pub(crate) fn ensure_embedder(
    args: &CommonArgs,
    printer: &Printer,
    yes: bool,
) -> Result<PathBuf, Failure> {
    let embedder = embedder_dir(args, printer)?;
    if embedder.is_none() {
        fetch_missing(args, printer, yes, &[ModelSpec::parse(&args.embedder)?])?;
    }
    embedder_after_fetch(args, printer, embedder)
}

fn embedder_after_fetch(
    args: &CommonArgs,
    printer: &Printer,
    embedder: Option<PathBuf>,
) -> Result<PathBuf, Failure> {
    match embedder {
        Some(embedder) => Ok(embedder),
        None => match embedder_dir(args, printer)? {
            Some(embedder) => Ok(embedder),
            None => Err(missing(&ModelSpec::parse(&args.embedder)?)),
        },
    }
}

/// How tokens are chosen: as the maker of the model recommends, if anything is left to chance.
///
/// The maker's repetition penalty is left out: it keeps a model from copying the very facts that it
/// is asked for.
pub(crate) fn sampling(args: &CommonArgs) -> Sampling {
    let temperature = args.temp.unwrap_or(0.0);
    let plain = Sampling { temperature, ..Sampling::default() };
    let advice = entry(args).and_then(|entry| entry.sampling.as_ref());
    let Some(advice) = advice.filter(|_| temperature > 0.0) else { return plain };
    Sampling {
        temperature,
        top_k: advice.top_k.unwrap_or(plain.top_k),
        top_p: advice.top_p.unwrap_or(plain.top_p),
        min_p: advice.min_p.unwrap_or(plain.min_p),
        ..plain
    }
}

/// The entry of the catalog that the model is, if it is named there.
pub(crate) fn entry(args: &CommonArgs) -> Option<&'static Entry> {
    let name = ModelSpec::parse(&args.model).ok().and_then(|spec| spec.store_name());
    name.as_deref().and_then(catalog::find)
}

/// Returns what finds weights on this disk.
pub(crate) fn locator(args: &CommonArgs) -> Result<Locator, Failure> {
    Ok(Locator { store: Store::new(Home::of(args)?.models()), caches: caches() })
}

/// Fetches weights into the store, with a bar, whatever may already be on this disk.
pub(crate) fn pull(
    spec: &ModelSpec,
    args: &CommonArgs,
    printer: &Printer,
) -> Result<Stored, Failure> {
    let locator = locator(args)?;
    let name = spec.store_name().unwrap_or_default();
    if let Some(stored) = locator.store.find(&name)? {
        return Ok(stored);
    }
    let (wanted, sources) = pagewise_hub::sources(spec, &source_options(args, locator.caches))?;
    let mut bar = Bar::new(printer);
    let pulled = pagewise_hub::pull(&locator.store, &wanted, &sources, &mut bar);
    bar.finish();
    Ok(pulled?)
}

fn source_options(args: &CommonArgs, caches: Caches) -> SourceOptions {
    let text = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let proxy = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    SourceOptions {
        caches,
        network: !args.offline,
        hub_endpoint: text("HF_ENDPOINT"),
        proxy: proxy.iter().find_map(|name| text(name)),
    }
}

/// Finds weights of one kind on this disk.
fn find(args: &CommonArgs, spec: &ModelSpec, kind: EntryKind) -> Result<Option<Located>, Failure> {
    let entry = spec.store_name().and_then(|name| catalog::find(&name));
    if let Some(entry) = entry
        && entry.kind != kind
    {
        let (is, flag) = match entry.kind {
            EntryKind::Embedder => ("an embedder, not a language model", "--embedder"),
            EntryKind::Model => ("a language model, not an embedder", "--model"),
        };
        return Err(
            Failure::usage(format!("{} is {is}", entry.name)).hint(format!("give it to {flag}"))
        );
    }
    Ok(locator(args)?.find(spec)?)
}

/// The folder that `--embedder` gives as a path, if it does.
fn embedder_folder(args: &CommonArgs) -> Result<Option<PathBuf>, Failure> {
    let path = Path::new(&args.embedder);
    if catalog::find(&args.embedder).is_some() || path.components().count() < 2 && !path.is_dir() {
        return Ok(None);
    }
    if !path.is_dir() {
        return Err(Failure::new(Kind::Model, format!("there is no folder {}", path.display()))
            .hint(
                "an embedder is a folder with config.json, tokenizer.json and model.safetensors",
            ));
    }
    Ok(Some(path.to_owned()))
}

/// Says what will be fetched, how large it is and where it comes from, asks, and fetches it.
fn fetch_missing(
    args: &CommonArgs,
    printer: &Printer,
    yes: bool,
    missing: &[ModelSpec],
) -> Result<(), Failure> {
    if missing.is_empty() {
        return Ok(());
    }
    let locator = locator(args)?;
    let options = source_options(args, locator.caches.clone());
    let mut lines = Vec::new();
    let mut nowhere: Option<Failure> = None;
    for spec in missing {
        let (wanted, sources) = match pagewise_hub::sources(spec, &options) {
            Ok(found) => found,
            // What else is missing is better known now than at the next try.
            Err(error) => {
                let failure = Failure::from(error);
                nowhere = Some(match nowhere {
                    Some(earlier) => earlier.and(failure),
                    None => failure,
                });
                continue;
            }
        };
        let places: Vec<String> = sources.iter().map(|source| source.describe()).collect();
        let size = match wanted.bytes {
            Some(bytes) => HumanBytes(bytes).to_string(),
            None => "size as the hub says".into(),
        };
        lines.push(format!("  {} ({size}) from {}", wanted.name, places.join(", else ")));
    }
    if let Some(failure) = nowhere {
        return Err(failure);
    }
    printer.talk(&format!(
        "These weights are not on this disk yet and would be fetched:\n{}",
        lines.join("\n")
    ));
    printer.talk(&format!("They are kept in {}.", locator.store.dir().display()));
    if !yes && !printer.confirm("Fetch them now?") {
        let names: Vec<String> =
            missing.iter().map(|spec| format!("`pagewise pull {spec}`")).collect();
        return Err(Failure::new(Kind::Model, "the weights are missing, and nothing was fetched")
            .hint(format!(
                "give --yes to fetch them without being asked, or run {}",
                names.join(" and ")
            )));
    }
    for spec in missing {
        let stored = pull(spec, args, printer)?;
        printer.talk(&format!("{} is here, its SHA-256 verified.", stored.name));
    }
    Ok(())
}

fn missing(spec: &ModelSpec) -> Failure {
    Failure::new(Kind::Model, format!("{spec} is not on this disk")).hint(format!(
        "`pagewise pull {spec}` fetches it, `pagewise models import PATH` takes in a file or a folder"
    ))
}

/// Where other programs keep their weights, as their documents say.
fn caches() -> Caches {
    let folder =
        |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = folder("HOME").or_else(|| folder("USERPROFILE"));
    let in_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let hub = folder("HF_HUB_CACHE")
        .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| folder("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")))
        .or_else(|| in_home(".cache/huggingface/hub"));
    let ollama = match folder("OLLAMA_MODELS") {
        Some(models) => vec![models],
        None => in_home(".ollama/models")
            .into_iter()
            // Where its service for Linux keeps them.
            .chain([PathBuf::from("/usr/share/ollama/.ollama/models")])
            .collect(),
    };
    let lm_studio = [".lmstudio/models", ".cache/lm-studio/models"];
    Caches {
        hub: hub.into_iter().collect(),
        ollama,
        lm_studio: lm_studio.iter().filter_map(|path| in_home(path)).collect(),
    }
}

/// Shows the progress of a fetch as a bar with size and rate.
pub(crate) struct Bar<'a> {
    printer: &'a Printer,
    bar: ProgressBar,
}

impl<'a> Bar<'a> {
    pub(crate) fn new(printer: &'a Printer) -> Self {
        Self { printer, bar: ProgressBar::hidden() }
    }
}

impl Progress for Bar<'_> {
    fn start(&mut self, total_bytes: Option<u64>) {
        self.bar.finish_and_clear();
        self.bar = match total_bytes {
            Some(total) => self.printer.bar(
                total,
                "[{bar:30}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta}",
            ),
            None => self.printer.bar(0, "{spinner} {binary_bytes}, {binary_bytes_per_sec}"),
        };
    }

    fn advance(&mut self, n_bytes: u64) {
        self.bar.inc(n_bytes);
    }

    fn message(&mut self, text: &str) {
        self.bar.suspend(|| self.printer.talk(text));
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Returns what a person reads of an entry's size.
pub(crate) fn size_words(entry: &Entry) -> String {
    entry.stored_bytes().map_or_else(|| "?".into(), |bytes| HumanBytes(bytes).to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    fn args(flags: &[&str]) -> CommonArgs {
        let line = ["pagewise", "doctor"].iter().chain(flags);
        Cli::try_parse_from(line).unwrap().common
    }

    #[test]
    fn a_recommendation_is_for_sampling_and_not_for_greedy_decoding() {
        let greedy = sampling(&args(&["-m", "qwen2.5-coder-1.5b-instruct-q4_k_m"]));
        assert_eq!(greedy, Sampling::default());
        let sampled =
            sampling(&args(&["-m", "qwen2.5-coder-1.5b-instruct-q4_k_m", "--temp", "0.5"]));
        let plain = Sampling::default();
        assert_eq!(sampled, Sampling { temperature: 0.5, top_k: 20, top_p: 0.8, ..plain });
        let unknown = sampling(&args(&["-m", "./x.gguf", "--temp", "0.5"]));
        assert_eq!(unknown, Sampling { temperature: 0.5, ..Sampling::default() });
    }

    #[test]
    fn models_and_embedders_are_not_taken_for_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        let find =
            |name: &str, kind| find(&args(&["--home", home]), &ModelSpec::Name(name.into()), kind);
        assert_eq!(find("all-minilm-l6-v2", EntryKind::Model).unwrap_err().kind, Kind::Usage);
        assert_eq!(
            find("smollm2-135m-instruct-q4_1", EntryKind::Embedder).unwrap_err().kind,
            Kind::Usage
        );
        assert_eq!(find("no-such-thing", EntryKind::Model).unwrap_err().kind, Kind::Model);
    }

    #[test]
    fn an_embedder_can_be_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        assert_eq!(embedder_folder(&args(&["--embedder", path])).unwrap(), Some(path.into()));
        let missing = embedder_folder(&args(&["--embedder", &format!("{path}/none")]));
        assert_eq!(missing.unwrap_err().kind, Kind::Model);
        assert_eq!(embedder_folder(&args(&[])).unwrap(), None);
    }
}
