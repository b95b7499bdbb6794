//! The folder that holds weights: `NAME.gguf` or a folder `NAME`, each beside its record `NAME.json`.

mod folder;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::IoContext;
use crate::hash::{FileHash, hash_file};
use crate::{HubError, Progress, catalog};
use folder::{WEIGHTS, folder_sha256, has_weights};

/// The folder. Nothing half-made is ever in it under a name that [`Store::list`] shows.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

/// One set of weights in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// The GGUF file, or the folder.
    pub path: PathBuf,
    /// What it takes on disk.
    pub bytes: u64,
    /// What was recorded when it came; `None` if it was put here by hand.
    pub record: Option<Record>,
}

/// What is known of a set of weights since its bytes were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// SHA-256 of the file as fetched: of the archive, if it came as one; of the list of files, each
    /// with its own, if it is a folder that was imported.
    pub sha256: String,
    /// What it takes on disk.
    pub bytes: u64,
    /// Where it came from, in words.
    pub source: String,
    /// When its bytes were last found to be right.
    pub verified_at: Timestamp,
    /// For a folder, each file with its own SHA-256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<catalog::FolderFile>,
}

/// What [`Store::verify`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Its name.
    pub name: String,
    /// SHA-256 of the file; of `model.safetensors` for a folder, or of the list of its files if it
    /// has no such file.
    pub sha256: String,
    /// Bytes that were read.
    pub bytes: u64,
    /// Whether there was a SHA-256 to compare with; if not, this one is recorded from now on.
    pub was_known: bool,
}

/// A record longer than this is not read.
const RECORD_BYTES_MAX: u64 = 1 << 20;

impl Store {
    /// Names the folder; it is made when something is first put into it.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Returns the folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the folder, readable by its owner alone.
    pub(crate) fn create(&self) -> Result<(), HubError> {
        create_private_dir(&self.dir)
    }

    /// Returns everything in the store, by name.
    pub fn list(&self) -> Result<Vec<Stored>, HubError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => {
                return Err(HubError::Io { action: "read", path: self.dir.clone(), source });
            }
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.context("read", &self.dir)?;
            let file_name = entry.file_name();
            let Some(file_name) = file_name.to_str() else {
                continue;
            };
            let name = file_name.strip_suffix(".gguf").unwrap_or(file_name);
            if is_store_name(name)
                && let Some(stored) = self.find(name)?
                && stored.path == entry.path()
            {
                found.push(stored);
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Returns the weights of this name, if they are here.
    pub fn find(&self, name: &str) -> Result<Option<Stored>, HubError> {
        if !is_store_name(name) {
            return Ok(None);
        }
        let file = self.file_path(name);
        let folder = self.dir.join(name);
        let (path, bytes) = if let Ok(metadata) = fs::metadata(&file)
            && metadata.is_file()
        {
            (file, metadata.len())
        } else if has_weights(&folder) {
            let bytes = folder_bytes(&folder)?;
            (folder, bytes)
        } else {
            return Ok(None);
        };
        Ok(Some(Stored { name: name.to_owned(), path, bytes, record: self.record(name) }))
    }

    /// Returns the path that a GGUF file of this name has.
    pub(crate) fn file_path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.gguf"))
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.json"))
    }

    /// A record that cannot be read is as good as none: verifying writes a new one.
    fn record(&self, name: &str) -> Option<Record> {
        let path = self.record_path(name);
        // A pipe would be waited for.
        if !fs::metadata(&path).ok()?.is_file() {
            return None;
        }
        let file = File::open(path).ok()?;
        let mut text = String::new();
        file.take(RECORD_BYTES_MAX).read_to_string(&mut text).ok()?;
        let record: Record = serde_json::from_str(&text).ok()?;
        // Its paths are read from when the folder is verified.
        let is_safe = |file: &catalog::FolderFile| catalog::is_safe_relative(&file.path);
        record.files.iter().all(is_safe).then_some(record)
    }

    /// Writes the record of `name`, whole or not at all.
    pub(crate) fn write_record(&self, name: &str, record: &Record) -> Result<(), HubError> {
        let path = self.record_path(name);
        let text = serde_json::to_string_pretty(record).map_err(|error| HubError::Io {
            action: "write",
            path: path.clone(),
            source: error.into(),
        })?;
        write_atomically(&path, text.as_bytes())
    }

    /// Removes the record of `name`, if there is one.
    pub(crate) fn remove_record(&self, name: &str) -> Result<(), HubError> {
        let path = self.record_path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            result => result.context("remove", &path),
        }
    }

    /// Reads the weights again and compares them with the catalog, or else with their record.
    ///
    /// Progress is one step of their size.
    pub fn verify(&self, name: &str, progress: &mut dyn Progress) -> Result<Verified, HubError> {
        let stored = self.find(name)?.ok_or_else(|| HubError::NotStored { name: name.into() })?;
        let entry = catalog::find(name);
        progress.start(Some(stored.bytes));
        let verified = if stored.path.is_dir() {
            let known = entry.map(|entry| entry.files.clone()).unwrap_or_default();
            let recorded = stored.record.as_ref().map(|record| record.files.clone());
            let files = if known.is_empty() { recorded.unwrap_or_default() } else { known };
            self.verify_folder(&stored, &files, progress)
        } else {
            let known = entry.and_then(|entry| entry.sha256.clone());
            let expected = known.or(stored.record.as_ref().map(|record| record.sha256.clone()));
            self.verify_file(&stored, expected, progress)
        }?;
        progress.finish();
        Ok(verified)
    }

    fn verify_file(
        &self,
        stored: &Stored,
        expected: Option<String>,
        progress: &mut dyn Progress,
    ) -> Result<Verified, HubError> {
        check_gguf(&stored.path)?;
        let found = hash_file(&stored.path, progress)?;
        if let Some(expected) = &expected
            && *expected != found.sha256
        {
            return Err(HubError::WrongSha256 {
                what: stored.path.display().to_string(),
                expected: expected.clone(),
                found: found.sha256,
            });
        }
        self.write_record(
            &stored.name,
            &Record {
                sha256: found.sha256.clone(),
                bytes: found.bytes,
                source: stored.record.as_ref().map_or("found in the store", |r| &r.source).into(),
                verified_at: Timestamp::now(),
                files: Vec::new(),
            },
        )?;
        Ok(Verified {
            name: stored.name.clone(),
            sha256: found.sha256,
            bytes: found.bytes,
            was_known: expected.is_some(),
        })
    }

    fn verify_folder(
        &self,
        stored: &Stored,
        files: &[catalog::FolderFile],
        progress: &mut dyn Progress,
    ) -> Result<Verified, HubError> {
        check_folder(&stored.path, files, progress)?;
        let weights = stored.path.join(WEIGHTS);
        let sha256 = match weights.is_file() {
            true => hash_file(&weights, &mut crate::NoProgress)?.sha256,
            // The weights are in several files, each of which was compared.
            false => folder_sha256(files),
        };
        let source = stored.record.as_ref().map_or("found in the store", |r| &r.source).into();
        let archive = catalog::find(&stored.name).and_then(|entry| entry.sha256.clone());
        let recorded = stored.record.as_ref().map(|record| record.sha256.clone());
        self.write_record(
            &stored.name,
            &Record {
                sha256: recorded.or(archive).unwrap_or_else(|| sha256.clone()),
                bytes: stored.bytes,
                source,
                verified_at: Timestamp::now(),
                files: files.to_vec(),
            },
        )?;
        Ok(Verified {
            name: stored.name.clone(),
            sha256,
            bytes: stored.bytes,
            was_known: !files.is_empty(),
        })
    }

    /// Takes a GGUF file into the store under `name`, or under its own name, and records its SHA-256.
    ///
    /// The file is linked where the file system can, else copied under a temporary name; the
    /// original stays. Progress is one step of its size.
    pub fn import(
        &self,
        path: &Path,
        name: Option<&str>,
        progress: &mut dyn Progress,
    ) -> Result<Stored, HubError> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => metadata,
            _ => {
                return Err(HubError::NoSuchFile { path: path.to_owned() });
            }
        };
        check_gguf(path)?;
        let name = match name {
            Some(name) => name.to_owned(),
            None => {
                let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
                stem.to_ascii_lowercase()
            }
        };
        // A name of the catalog promises the catalog's bytes.
        let wanted = match catalog::find(&name) {
            Some(entry) => crate::Wanted::entry(entry),
            None => crate::Wanted::file(&name),
        };
        let source = crate::source::LocalFile::imported(path, metadata.len());
        if self.find(&name)?.is_some() {
            return Err(HubError::AlreadyStored { name });
        }
        crate::pull(self, &wanted, &[Box::new(source)], progress)
    }

    /// Removes the weights of this name, and their record.
    pub fn remove(&self, name: &str) -> Result<Stored, HubError> {
        if !is_store_name(name) {
            return Err(HubError::BadName { name: name.to_owned() });
        }
        let folder = self.dir.join(name);
        let stored = match self.find(name)? {
            Some(stored) => stored,
            // A folder that lacks a file has no weights, and may well be what is to be removed.
            None if folder.is_dir() => {
                let bytes = folder_bytes(&folder)?;
                Stored { name: name.to_owned(), path: folder, bytes, record: None }
            }
            None => return Err(HubError::NotStored { name: name.to_owned() }),
        };
        let is_link =
            fs::symlink_metadata(&stored.path).context("read", &stored.path)?.is_symlink();
        if stored.path.is_dir() && !is_link {
            fs::remove_dir_all(&stored.path).context("remove", &stored.path)?;
        } else {
            fs::remove_file(&stored.path).context("remove", &stored.path)?;
        }
        self.remove_record(name)?;
        Ok(stored)
    }
}

fn folder_bytes(folder: &Path) -> Result<u64, HubError> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).context("read", folder)? {
        let entry = entry.context("read", folder)?;
        let metadata = entry.metadata().context("read", &entry.path())?;
        bytes += if metadata.is_dir() { folder_bytes(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

/// Compares each file of a folder with what it should be.
pub(crate) fn check_folder(
    folder: &Path,
    files: &[catalog::FolderFile],
    progress: &mut dyn Progress,
) -> Result<(), HubError> {
    for file in files {
        let path = folder.join(&file.path);
        check_file(&path, &file.path, Some(file.bytes), Some(&file.sha256), progress)?;
    }
    Ok(())
}

/// Compares a file with what it should be, the size first because it costs nothing.
pub(crate) fn check_file(
    path: &Path,
    what: &str,
    bytes: Option<u64>,
    sha256: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<FileHash, HubError> {
    let found = fs::metadata(path).context("read", path)?.len();
    if let Some(expected) = bytes
        && expected != found
    {
        return Err(HubError::WrongSize { what: what.to_owned(), expected, found });
    }
    let found = hash_file(path, progress)?;
    match sha256 {
        Some(expected) if expected != found.sha256 => Err(HubError::WrongSha256 {
            what: what.to_owned(),
            expected: expected.to_owned(),
            found: found.sha256,
        }),
        _ => Ok(found),
    }
}

/// Refuses a file that does not begin as GGUF does.
pub(crate) fn check_gguf(path: &Path) -> Result<(), HubError> {
    let mut magic = [0; 4];
    let mut file = File::open(path).context("open", path)?;
    match file.read_exact(&mut magic) {
        Ok(()) if &magic == b"GGUF" => Ok(()),
        Ok(()) => Err(HubError::NotGguf { path: path.to_owned() }),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(HubError::NotGguf { path: path.to_owned() })
        }
        Err(source) => Err(HubError::Io { action: "read", path: path.to_owned(), source }),
    }
}

/// Whether a text can be a name in the store: it never leaves the folder, and never hides.
pub(crate) fn is_store_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && !name.starts_with(['.', '-'])
        && !name.ends_with(".json")
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Makes a folder and its parents; what is made is readable by its owner alone.
pub(crate) fn create_private_dir(dir: &Path) -> Result<(), HubError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(dir).context("create", dir)
}

/// Makes a folder as [`create_private_dir`] does, and removes what is in it.
pub(crate) fn create_empty_dir(dir: &Path) -> Result<(), HubError> {
    if dir.exists() {
        fs::remove_dir_all(dir).context("remove", dir)?;
    }
    create_private_dir(dir)
}

/// Writes a small file under a temporary name, syncs it, renames it and syncs its folder.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    let temporary = path.with_extension("json.tmp");
    let written = fs::write(&temporary, bytes)
        .and_then(|()| File::open(&temporary)?.sync_all())
        .context("write", &temporary)
        .and_then(|()| fs::rename(&temporary, path).context("write", path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Makes renames in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), HubError> {
    if cfg!(unix) {
        File::open(dir).and_then(|dir| dir.sync_all()).context("sync", dir)
    } else {
        Ok(())
    }
}
