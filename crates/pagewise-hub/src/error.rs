use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Weights could not be found, fetched or kept.
#[derive(Debug, Error)]
pub enum HubError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: a verb, as in "cannot read".
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A name that is neither in the catalog nor in the store.
    #[error("there is no model called `{name}`{}", suggestions(nearest))]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// Catalog names that look like it, nearest first.
        nearest: Vec<String>,
    },
    /// A text that cannot name a model.
    #[error(
        "`{spec}` is no model: {reason}; give a catalog name, a .gguf file, a Hugging Face folder \
         (./folder), or owner/repo:QUANT"
    )]
    BadSpec {
        /// What was given.
        spec: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A name that cannot be a file of the store.
    #[error(
        "`{name}` cannot be a name in the store: use letters, digits, `.`, `_` and `-`, at most 128"
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// There is no such file.
    #[error("there is no file {}", path.display())]
    NoSuchFile {
        /// The path that was given.
        path: PathBuf,
    },
    /// A folder without weights, or without what they need beside them.
    #[error(
        "{} is no folder of weights: it needs config.json, tokenizer.json, and model.safetensors or \
         its index", path.display()
    )]
    NoWeights {
        /// The folder.
        path: PathBuf,
    },
    /// A name that the catalog has for other bytes.
    #[error(
        "`{name}` is a name of the catalog, which has it for other bytes ({reason}); give another \
         --name"
    )]
    NameOfCatalog {
        /// The name.
        name: String,
        /// What differs.
        reason: String,
    },
    /// A file that does not begin with the four letters of the format.
    #[error("{} is no GGUF file: it does not begin with `GGUF`", path.display())]
    NotGguf {
        /// The file.
        path: PathBuf,
    },
    /// A catalog file with a mistake.
    #[error("the catalog entry `{name}` is wrong: {reason}")]
    Catalog {
        /// The file's name without `.toml`.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Another set of weights has the name.
    #[error("the store already has `{name}`; remove it first with `pagewise models rm {name}`")]
    AlreadyStored {
        /// The name.
        name: String,
    },
    /// The store has nothing of this name.
    #[error("the store has no `{name}`")]
    NotStored {
        /// The name.
        name: String,
    },
    /// The bytes are not the bytes that were promised.
    #[error("{what} has the wrong SHA-256: it should be {expected}, and is {found}")]
    WrongSha256 {
        /// The file, or which source sent it.
        what: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The file is shorter or longer than promised.
    #[error("{what} has the wrong size: it should be {expected} bytes, and is {found}")]
    WrongSize {
        /// The file, or which source sent it.
        what: String,
        /// What it should be.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// An archive that must not be unpacked.
    #[error("the archive {} is refused: {reason}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A wheel that does not have what the catalog says.
    #[error("the package {package} is refused: {reason}")]
    Wheel {
        /// The package and its version.
        package: String,
        /// Why.
        reason: String,
    },
    /// `python3 -m pip download` failed.
    #[error("python3 -m pip could not download {package}: {reason}")]
    Pip {
        /// The package and its version.
        package: String,
        /// The last thing pip said, or why it could not be run.
        reason: String,
    },
    /// The hub answered with an error, or with nonsense.
    #[error("the hub has a problem with {repo}: {reason}")]
    Hub {
        /// The repository.
        repo: String,
        /// What it said.
        reason: String,
    },
    /// No connection.
    #[error("{address} cannot be reached: {reason}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// Why.
        reason: String,
    },
    /// Nothing says where these weights could come from.
    #[error("{name} is not on this disk, and {why}")]
    NoSource {
        /// The name.
        name: String,
        /// Why it cannot be fetched, as the rest of a sentence.
        why: &'static str,
        /// How to get it by hand, if that is known.
        hint: Option<String>,
    },
    /// Every source was tried.
    #[error("{name} could not be fetched: {}", reasons(failures))]
    AllSourcesFailed {
        /// The name.
        name: String,
        /// Each source, in order, and why it failed.
        failures: Vec<(String, String)>,
    },
    /// [`Progress::cancelled`](crate::Progress::cancelled) said so.
    #[error("stopped; what was fetched so far is kept for the next pull")]
    Cancelled,
}

fn suggestions(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(", ")),
    }
}

fn reasons(failures: &[(String, String)]) -> String {
    let reasons: Vec<_> =
        failures.iter().map(|(source, reason)| format!("{source}: {reason}")).collect();
    reasons.join("; ")
}

/// Names what was tried on `path` when an I/O error is passed on.
pub(crate) trait IoContext<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, HubError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, HubError> {
        self.map_err(|source| HubError::Io { action, path: path.to_owned(), source })
    }
}
