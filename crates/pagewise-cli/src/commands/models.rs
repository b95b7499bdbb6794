mod convert;
mod plan;
mod show;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use pagewise_hub::catalog::{self, Kind as EntryKind};
use pagewise_hub::{Entry, Located, Locator, ModelSpec, Origin, Progress, Stored};
use pagewise_infer::{SentenceEmbedder, TensorType, Weights};
use serde::Serialize;
use serde_json::json;

use crate::args::CommonArgs;
use crate::failure::{Failure, Kind};
use crate::printer::Printer;
use crate::weights::{Bar, locator};

/// List, check, add and remove weights
#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    #[command(subcommand)]
    command: ModelsCommand,
}

#[derive(Debug, Subcommand)]
enum ModelsCommand {
    /// List the catalog and what is on this disk
    Ls,
    /// Show all that is known of one set of weights, and all that they say of themselves
    Show {
        /// A name, a path, or owner/repo:QUANT
        name: String,
        /// Prints the chat template alone
        #[arg(long)]
        template: bool,
    },
    /// Say what a model will take: memory, the largest window, time
    ///
    /// Memory is counted, on the device of --device with the window of --window; available memory is
    /// what could be had now. Time is measured, on the processor alone, for half a second on made-up
    /// matrices that are stored as the model's are, and leaves attention out: long prompts take longer.
    /// Nothing is loaded.
    Plan {
        /// A name, a path, or owner/repo:QUANT; of what is not on this disk the catalog says less
        name: String,
    },
    /// Read weights again and compare their SHA-256
    Verify {
        /// Their names [default: everything in the store]
        names: Vec<String>,
    },
    /// Take a GGUF file, or the folder of a model or an embedder, into the store
    Import {
        /// The file or folder; it stays where it is
        file: PathBuf,
        /// The name it gets [default: its own name in lower case]
        #[arg(long)]
        name: Option<String>,
    },
    /// Write weights in another form
    ///
    /// A GGUF file becomes a Hugging Face folder, or a GGUF file that is quantised otherwise (of a
    /// model in several files it makes one); a folder becomes a GGUF file. What --quant cannot hold
    /// is stored in more bits: rows that are no whole blocks as Q5_0 or F16, the table of embeddings
    /// and the head as Q8_0.
    Convert {
        /// A name, or the path of a GGUF file or a folder
        from: String,
        /// What to write: a GGUF file if its name ends in .gguf, else a folder
        to: PathBuf,
        /// How matrices are stored: F32, F16, BF16, Q8_0, Q4_0 or Q4_K [default: as they are; F16 in a
        /// folder]
        #[arg(long, value_name = "TYPE", value_parser = convert::quant)]
        quant: Option<TensorType>,
    },
    /// Remove weights from the store
    Rm {
        /// Their name
        name: String,
    },
}

pub(crate) fn run(
    args: &ModelsArgs,
    common: &CommonArgs,
    printer: &Printer,
) -> Result<(), Failure> {
    let locator = locator(common)?;
    match &args.command {
        ModelsCommand::Ls => list(&locator, printer),
        ModelsCommand::Show { name, template } => show::run(&locator, name, *template, printer),
        ModelsCommand::Plan { name } => plan::run(&locator, name, common, printer),
        ModelsCommand::Verify { names } => verify(&locator, names, printer),
        ModelsCommand::Import { file, name } => import(&locator, file, name.as_deref(), printer),
        ModelsCommand::Convert { from, to, quant } => {
            convert::run(&locator, (from, to), *quant, common, printer)
        }
        ModelsCommand::Rm { name } => remove(&locator, name, printer),
    }
}

/// What is known of one set of weights.
#[derive(Debug, Serialize)]
struct Model {
    name: String,
    /// `None` for what is not on this disk.
    path: Option<PathBuf>,
    origin: Option<Origin>,
    bytes: Option<u64>,
    kind: &'static str,
    family: Option<String>,
    architecture: Option<String>,
    quant: Option<String>,
    parameters: Option<u64>,
    context: Option<u64>,
    licence: Option<String>,
    supported: bool,
    /// Why not, if that was asked.
    reason: Option<String>,
    default: bool,
    sha256: Option<String>,
    description: Option<String>,
}

impl Model {
    fn of_entry(entry: &Entry, located: Option<&Located>) -> Self {
        let on_disk = located.and_then(|located| match located.path.is_file() {
            true => Some(located.path.metadata().ok()?.len()),
            false => entry.stored_bytes(),
        });
        Self {
            name: entry.name.clone(),
            path: located.map(|located| located.path.clone()),
            origin: located.map(|located| located.origin),
            bytes: on_disk.or_else(|| entry.stored_bytes()),
            kind: match entry.kind {
                EntryKind::Model => "model",
                EntryKind::Embedder => "embedder",
            },
            family: Some(entry.family.clone()),
            architecture: Some(entry.architecture.clone()),
            quant: Some(entry.quantisation.clone()),
            parameters: Some(entry.parameters),
            context: Some(entry.context_tokens),
            licence: Some(entry.licence.clone()),
            supported: entry.supported,
            reason: None,
            default: entry.default,
            sha256: entry.sha256.clone(),
            description: Some(entry.description.clone()),
        }
    }

    /// What weights say of themselves that the catalog does not know; little if they cannot be read.
    fn of_path(name: &str, path: &Path, origin: Origin, sha256: Option<String>) -> Self {
        let weights = Weights::open(path).ok();
        let config = weights.as_ref().and_then(|weights| weights.config().ok());
        let text = |key| match &weights {
            Some(Weights::Gguf(gguf)) => gguf.get::<&str>(key).ok().flatten().map(str::to_owned),
            _ => None,
        };
        let bytes = match &weights {
            Some(weights) => Some(weights.file_bytes()),
            None => path.metadata().ok().map(|metadata| metadata.len()),
        };
        // Of folders, those of language models can be read here.
        let is_embedder = path.is_dir() && weights.is_none();
        Self {
            name: name.to_owned(),
            path: Some(path.to_owned()),
            origin: Some(origin),
            bytes,
            kind: if is_embedder { "embedder" } else { "model" },
            family: text("general.basename"),
            architecture: weights.as_ref().map(|weights| weights.architecture().to_owned()),
            quant: quant_in_name(name).or_else(|| most_stored(weights.as_ref()?)),
            parameters: weights
                .as_ref()
                .map(|weights| weights.counts().iter().map(|(_, count)| *count as u64).sum()),
            context: config.as_ref().map(|config| config.context_length as u64),
            licence: text("general.license"),
            supported: match is_embedder {
                true => SentenceEmbedder::check(path).is_ok(),
                false => config.is_some(),
            },
            reason: None,
            default: false,
            sha256,
            description: text("general.name"),
        }
    }

    fn of_stored(stored: &Stored) -> Self {
        let sha256 = stored.record.as_ref().map(|record| record.sha256.clone());
        Self {
            bytes: Some(stored.bytes),
            ..Self::of_path(&stored.name, &stored.path, Origin::Store, sha256)
        }
    }
}

/// How most numbers of a model are stored.
fn most_stored(weights: &Weights) -> Option<String> {
    let counts = weights.counts();
    counts.iter().max_by_key(|(_, count)| *count).map(|(most, _)| most.to_string())
}

/// The quantisation at the end of a file's name, as in `model-q4_k_m`.
fn quant_in_name(name: &str) -> Option<String> {
    let last = name.rsplit(['-', '.']).next()?.to_ascii_uppercase();
    let bits = ["IQ", "BF", "Q", "F"].iter().find_map(|prefix| last.strip_prefix(prefix))?;
    bits.starts_with(|c: char| c.is_ascii_digit()).then_some(last.clone())
}

fn list(locator: &Locator, printer: &Printer) -> Result<(), Failure> {
    let mut models = Vec::new();
    for entry in catalog::entries() {
        let located = locator.find(&ModelSpec::Name(entry.name.clone()))?;
        models.push(Model::of_entry(entry, located.as_ref()));
    }
    let known: BTreeSet<&str> =
        catalog::entries().iter().map(|entry| entry.name.as_str()).collect();
    for stored in locator.store.list()? {
        if !known.contains(stored.name.as_str()) {
            models.push(Model::of_stored(&stored));
        }
    }
    if printer.json() {
        printer.json_line(&json!({"models": models}));
        return Ok(());
    }
    let width = models.iter().map(|model| model.name.len()).max().unwrap_or(0);
    for model in &models {
        let size = model.bytes.map_or_else(|| "?".into(), |bytes| HumanBytes(bytes).to_string());
        let mut notes = vec![match (model.path.is_some(), model.origin) {
            (true, Some(Origin::Store) | None) => "here".to_owned(),
            (true, Some(origin)) => format!("in {}", origin.words()),
            (false, _) => "to pull".to_owned(),
        }];
        if model.default {
            notes.push("default".into());
        }
        if !model.supported {
            notes.push("not supported yet".into());
        }
        printer.line(format!(
            "{:width$}  {size:>10}  {:<8}  {:<13}  {}",
            model.name,
            model.quant.as_deref().unwrap_or(""),
            model.licence.as_deref().unwrap_or(""),
            notes.join(", "),
        ));
    }
    Ok(())
}

fn verify(locator: &Locator, names: &[String], printer: &Printer) -> Result<(), Failure> {
    let names = match names {
        [] => locator.store.list()?.into_iter().map(|stored| stored.name).collect(),
        names => names.to_vec(),
    };
    if names.is_empty() {
        printer.talk("There is nothing in the store.");
    }
    let mut bar = Bar::new(printer);
    let mut results = Vec::new();
    let mut first_failure = None;
    for name in &names {
        let verified = locator.store.verify(name, &mut bar).map_err(Failure::from);
        bar.finish();
        let verified = verified.and_then(|verified| check_header(locator, verified));
        match verified {
            Ok(verified) => {
                let known = if verified.was_known {
                    "right"
                } else {
                    "recorded (there was none to compare with)"
                };
                printer.talk(&format!("{name}: the SHA-256 is {known}."));
                results.push(json!({"name": name, "ok": true, "sha256": verified.sha256, "bytes": verified.bytes, "was_known": verified.was_known}));
            }
            Err(failure) => {
                results.push(json!({"name": name, "ok": false, "error": failure.message}));
                if let Some(earlier) = first_failure.replace(failure) {
                    printer.warn(&earlier.message);
                }
            }
        }
    }
    if printer.json() {
        printer.json_line(&json!({"verified": results}));
    } else {
        for result in &results {
            if let Some(sha256) = result["sha256"].as_str() {
                printer.line(format!("{sha256}  {}", result["name"].as_str().unwrap_or_default()));
            }
        }
    }
    first_failure.map_or(Ok(()), Err)
}

/// The bytes may be right and still be no model that can be read: says so too.
fn check_header(
    locator: &Locator,
    verified: pagewise_hub::Verified,
) -> Result<pagewise_hub::Verified, Failure> {
    if let Some(stored) = locator.store.find(&verified.name)?
        && (stored.path.is_file() || is_language_model(&stored.path))
    {
        Weights::open(&stored.path)?;
    }
    Ok(verified)
}

/// Whether a folder of the store is for the decoder; else it is for the embedder.
fn is_language_model(folder: &Path) -> bool {
    match catalog::find(&folder.file_name().unwrap_or_default().to_string_lossy()) {
        Some(entry) => entry.kind == EntryKind::Model,
        None => Weights::open(folder).is_ok_and(|weights| weights.config().is_ok()),
    }
}

fn import(
    locator: &Locator,
    file: &Path,
    name: Option<&str>,
    printer: &Printer,
) -> Result<(), Failure> {
    if !file.exists() {
        return Err(pagewise_hub::HubError::NoSuchFile { path: file.to_owned() }.into());
    }
    // Refused before it is copied: what has the right first bytes may still be damaged.
    let flag = match open_kind(file)? {
        EntryKind::Model => "-m",
        EntryKind::Embedder => "--embedder",
    };
    let mut bar = Bar::new(printer);
    let stored = if file.is_dir() {
        locator.store.import_folder(file, name, &mut bar)
    } else {
        locator.store.import(file, name, &mut bar)
    };
    bar.finish();
    let stored = stored?;
    if printer.json() {
        printer.json_line(&Model::of_stored(&stored));
    } else {
        printer
            .talk(&format!("{} is in the store; `{flag} {}` takes it.", stored.name, stored.name));
        printer.line(stored.path.display().to_string());
    }
    Ok(())
}

/// Opens what is to be imported, and says what it is.
fn open_kind(path: &Path) -> Result<EntryKind, Failure> {
    let no_model = match Weights::open(path) {
        Ok(weights) if weights.files().len() > 1 && path.is_file() => {
            let message = format!("{} is a part of a model in several files", path.display());
            return Err(Failure::new(Kind::Model, message).hint(
                "`pagewise models convert PART WHOLE.gguf` makes one file of them, which can be \
                 imported; -m PART takes them as they are",
            ));
        }
        Ok(_) => return Ok(EntryKind::Model),
        Err(error) => Failure::from(error),
    };
    if !path.is_dir() {
        return Err(no_model);
    }
    match SentenceEmbedder::load(path, Some(1)) {
        Ok(_) => Ok(EntryKind::Embedder),
        Err(error) => Err(no_model.hint(format!("it is no embedder either: {error}"))),
    }
}

fn remove(locator: &Locator, name: &str, printer: &Printer) -> Result<(), Failure> {
    let removed = locator.store.remove(name)?;
    if printer.json() {
        printer.json_line(&json!({"removed": removed.name, "bytes": removed.bytes}));
    } else {
        printer.talk(&format!("Removed {} ({}).", removed.name, HumanBytes(removed.bytes)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantisation_is_read_from_the_end_of_a_name() {
        for (name, quant) in [
            ("a-1.5b-instruct-q4_k_m", Some("Q4_K_M")),
            ("a.Q8_0", Some("Q8_0")),
            ("a-iq3_xs", Some("IQ3_XS")),
            ("a-f16", Some("F16")),
            ("a-bf16", Some("BF16")),
            ("a-queen", None),
            ("a-1b", None),
        ] {
            assert_eq!(quant_in_name(name).as_deref(), quant, "{name}");
        }
    }
}
