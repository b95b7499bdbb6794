//! Weights into the store, from the first source that has the right bytes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::archive::unpack;
use crate::catalog::{FolderFile, is_safe_relative};
use crate::error::IoContext;
use crate::hash::FileHash;
use crate::source::{Content, Expected, Fetched, Source};
use crate::staging::Staging;
use crate::store::{Record, check_file, check_folder, check_gguf, is_store_name, sync_dir};
use crate::{Entry, HubError, Progress, Store, Stored};

/// What a pull must end with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The name it gets in the store.
    pub name: String,
    /// SHA-256 of the file, or of the archive that the folder comes in.
    pub sha256: Option<String>,
    /// Size of the same.
    pub bytes: Option<u64>,
    /// The files of a folder; empty for a single GGUF file.
    pub files: Vec<FolderFile>,
}

impl Wanted {
    /// A GGUF file of which only the name is known.
    pub fn file(name: &str) -> Self {
        Self { name: name.to_owned(), sha256: None, bytes: None, files: Vec::new() }
    }

    /// What the catalog says.
    pub fn entry(entry: &Entry) -> Self {
        Self {
            name: entry.name.clone(),
            sha256: entry.sha256.clone(),
            bytes: entry.bytes,
            files: entry.files.clone(),
        }
    }
}

/// Puts weights into the store from the first of `sources` that has the right bytes.
///
/// If the store has them already, nothing is done. Of two pulls of one name at the same time the
/// second waits and then finds them. Nothing appears under its final name before its SHA-256 is
/// verified and its bytes are synced. A pull that fails removes what it made; one that is
/// cancelled, or whose process dies, leaves it for the next pull to go on from.
pub fn pull(
    store: &Store,
    wanted: &Wanted,
    sources: &[Box<dyn Source>],
    progress: &mut dyn Progress,
) -> Result<Stored, HubError> {
    if !is_store_name(&wanted.name) {
        return Err(HubError::BadName { name: wanted.name.clone() });
    }
    // Sources copy by these paths.
    if let Some(file) = wanted.files.iter().find(|file| !is_safe_relative(&file.path)) {
        let reason = format!("its file `{}` leaves the folder", file.path);
        return Err(HubError::Catalog { name: wanted.name.clone(), reason });
    }
    if let Some(stored) = store.find(&wanted.name)? {
        return Ok(stored);
    }
    if sources.is_empty() {
        let why = "there is no source to fetch it from";
        return Err(HubError::NoSource { name: wanted.name.clone(), why, hint: None });
    }
    let staging = Staging::open(store, &wanted.name, progress)?;
    if let Some(stored) = store.find(&wanted.name)? {
        staging.remove();
        return Ok(stored);
    }
    let result = pull_locked(store, wanted, sources, &staging, progress);
    if !matches!(result, Err(HubError::Cancelled)) {
        staging.remove();
    }
    result?;
    store.find(&wanted.name)?.ok_or_else(|| HubError::NotStored { name: wanted.name.clone() })
}

fn pull_locked(
    store: &Store,
    wanted: &Wanted,
    sources: &[Box<dyn Source>],
    staging: &Staging,
    progress: &mut dyn Progress,
) -> Result<(), HubError> {
    let mut failures = Vec::new();
    for source in sources {
        let place = source.describe();
        progress.message(&format!("fetching {} from {place}", wanted.name));
        let result = pull_from(store, wanted, source.as_ref(), staging, progress);
        let error = match result {
            Ok(()) => return Ok(()),
            // Another source would meet a full disk or a stop as well.
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => error,
        };
        staging.clear_source(source.id());
        progress.message(&format!("{place}: {error}"));
        failures.push((place, error));
    }
    if failures.len() == 1
        && let Some((_, error)) = failures.pop()
    {
        return Err(error);
    }
    let failures = failures.into_iter().map(|(place, error)| (place, error.to_string())).collect();
    Err(HubError::AllSourcesFailed { name: wanted.name.clone(), failures })
}

fn is_final(error: &HubError) -> bool {
    use std::io::ErrorKind;
    match error {
        HubError::Cancelled => true,
        HubError::Io { source, .. } => matches!(
            source.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem
        ),
        _ => false,
    }
}

fn pull_from(
    store: &Store,
    wanted: &Wanted,
    source: &dyn Source,
    staging: &Staging,
    progress: &mut dyn Progress,
) -> Result<(), HubError> {
    let dir = staging.source_dir(source.id())?;
    let fetched = source.fetch(&dir, progress)?;
    progress.message("verifying its SHA-256");
    let record = |hash: FileHash| Record {
        sha256: hash.sha256,
        bytes: hash.bytes,
        source: fetched.origin.clone(),
        verified_at: Timestamp::now(),
        files: wanted.files.clone(),
    };
    match (&fetched.content, wanted.files.is_empty()) {
        (Content::File(file), true) => {
            let found = verify_file(file, wanted, &fetched, progress)?;
            check_gguf(file)?;
            commit(store, wanted, file, &record(found))
        }
        (Content::File(archive), false) => {
            let found = verify_file(archive, wanted, &fetched, progress)?;
            let folder = dir.join("unpacked");
            let total = wanted.files.iter().map(|file| file.bytes).sum::<u64>();
            unpack(archive, &folder, total, progress)?;
            // The bytes are in the folder now; a full disk needs them once.
            fs::remove_file(archive).context("remove", archive)?;
            check_folder(&folder, &wanted.files, &mut crate::NoProgress)?;
            commit(store, wanted, &folder, &record(FileHash { bytes: total, ..found }))
        }
        (Content::Folder(folder), false) => {
            let total = wanted.files.iter().map(|file| file.bytes).sum();
            progress.start(Some(total));
            check_folder(folder, &wanted.files, progress)?;
            progress.finish();
            let sha256 = wanted.sha256.clone().unwrap_or_default();
            commit(store, wanted, folder, &record(FileHash { sha256, bytes: total }))
        }
        (Content::Folder(folder), true) => Err(HubError::NotGguf { path: folder.clone() }),
    }
}

fn verify_file(
    path: &Path,
    wanted: &Wanted,
    fetched: &Fetched,
    progress: &mut dyn Progress,
) -> Result<FileHash, HubError> {
    let expected = match (&wanted.sha256, &fetched.expected) {
        (Some(sha256), _) => Some(sha256.as_str()),
        (None, Expected::Sha256(sha256)) => Some(sha256.as_str()),
        (None, Expected::AsFound) => None,
    };
    let what = format!("{} from {}", wanted.name, fetched.origin);
    let bytes = wanted.bytes.or(fetched.bytes);
    progress.start(bytes);
    let found = check_file(path, &what, bytes, expected, progress)?;
    progress.finish();
    Ok(found)
}

/// Syncs verified weights and gives them their final name, the record first: what can be seen by
/// its name has its record. If that fails, neither is there.
fn commit(store: &Store, wanted: &Wanted, from: &Path, record: &Record) -> Result<(), HubError> {
    sync_tree(from)?;
    let to = if wanted.files.is_empty() {
        store.file_path(&wanted.name)
    } else {
        store.dir().join(&wanted.name)
    };
    let named = store
        .write_record(&wanted.name, record)
        .and_then(|()| fs::rename(from, &to).context("create", &to));
    let committed = named.and_then(|()| {
        sync_dir(store.dir()).inspect_err(|_| {
            // Back into staging, or the next source would find its name taken.
            let _ = fs::rename(&to, from);
        })
    });
    if committed.is_err() {
        // A record alone would speak for whatever gets this name later. That the store has no
        // weights of this name was seen under its lock, so the record is of no others. The first
        // error is the one to report.
        let _ = store.remove_record(&wanted.name);
    }
    committed
}

fn sync_tree(path: &Path) -> Result<(), HubError> {
    if path.is_dir() {
        for entry in fs::read_dir(path).context("read", path)? {
            let entry: PathBuf = entry.context("read", path)?.path();
            sync_tree(&entry)?;
        }
        return sync_dir(path);
    }
    File::open(path).and_then(|file| file.sync_all()).context("sync", path)
}

#[cfg(test)]
mod tests;
