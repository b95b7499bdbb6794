//! Weights that other programs have already put on this disk.
//!
//! Three layouts are read, none is written: the Hugging Face cache
//! (`models--OWNER--NAME/{refs,snapshots,blobs}`), ollama's (`manifests/…` naming blobs by their
//! SHA-256) and LM Studio's (`OWNER/NAME/FILE.gguf`). Everything in them is another program's data:
//! a digest or a commit that is not plain hexadecimal ends the look-up.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::catalog::{Entry, is_safe_relative};
use crate::hash::is_sha256;
use crate::spec::{ModelSpec, file_has_quant, is_hub_name};

/// Where each program keeps its weights; folders that do not exist are passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caches {
    /// Hugging Face caches: folders of `models--OWNER--NAME`.
    pub hub: Vec<PathBuf>,
    /// ollama's `models` folders: those with `manifests` and `blobs`.
    pub ollama: Vec<PathBuf>,
    /// LM Studio's `models` folders.
    pub lm_studio: Vec<PathBuf>,
}

/// Which place a file was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The store.
    Store,
    /// A path that was given.
    Path,
    /// A Hugging Face cache.
    HubCache,
    /// ollama's folder.
    Ollama,
    /// LM Studio's folder.
    LmStudio,
}

impl Origin {
    /// Returns the place in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Store => "the store",
            Self::Path => "the given path",
            Self::HubCache => "the Hugging Face cache",
            Self::Ollama => "ollama's folder",
            Self::LmStudio => "LM Studio's folder",
        }
    }
}

/// A file, or the folder of an embedder, in another program's cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Whose it is.
    pub origin: Origin,
    /// Its SHA-256 if the cache names it by that.
    pub sha256: Option<String>,
}

/// A manifest or a reference longer than this is not read.
const SMALL_BYTES_MAX: u64 = 1 << 20;

impl Caches {
    /// Finds what a spec means; `entry` is its catalog entry, if it has one.
    pub fn find(&self, spec: &ModelSpec, entry: Option<&Entry>) -> Option<CachedFile> {
        let found = match (spec, entry) {
            (_, Some(entry)) => self.find_entry(entry),
            (ModelSpec::Hub { owner, repo, quant }, None) => self.find_hub(owner, repo, quant),
            (ModelSpec::Name(name), None) => {
                let (model, tag) = name.split_once(':').unwrap_or((name, "latest"));
                self.ollama.iter().find_map(|dir| {
                    ollama_manifest(dir, &["registry.ollama.ai", "library", model, tag])
                })
            }
            (ModelSpec::Path(_), None) => None,
        }?;
        // A file of the wrong size cannot be the one; what its bytes say is for `pull` to read.
        match entry.filter(|entry| entry.files.is_empty()).and_then(|entry| entry.bytes) {
            Some(bytes) if fs::metadata(&found.path).ok()?.len() != bytes => None,
            _ => Some(found),
        }
    }

    fn find_entry(&self, entry: &Entry) -> Option<CachedFile> {
        let by_repo = entry.hub.as_ref().and_then(|hub| {
            let (owner, repo) = hub.repo.split_once('/')?;
            if !entry.files.is_empty() {
                let has_all =
                    |dir: &PathBuf| entry.files.iter().all(|file| dir.join(&file.path).is_file());
                return self.hub.iter().find_map(|dir| {
                    let path = snapshots(dir, owner, repo).into_iter().find(has_all)?;
                    Some(CachedFile { path, origin: Origin::HubCache, sha256: None })
                });
            }
            let file = hub.file.as_deref().filter(|file| is_safe_relative(file))?;
            let cached = self.hub.iter().find_map(|dir| {
                snapshots(dir, owner, repo)
                    .iter()
                    .find_map(|snapshot| hub_cached(&snapshot.join(file)))
            });
            cached.or_else(|| {
                self.lm_studio
                    .iter()
                    .find_map(|dir| lm_cached(&dir.join(owner).join(repo).join(file)))
            })
        });
        by_repo.or_else(|| {
            // ollama names a blob by the SHA-256 of its bytes, so the same file is found whatever
            // it is called there.
            let sha256 = entry.sha256.as_deref().filter(|_| entry.files.is_empty())?;
            self.ollama.iter().find_map(|dir| ollama_blob(dir, sha256))
        })
    }

    fn find_hub(&self, owner: &str, repo: &str, quant: &str) -> Option<CachedFile> {
        let in_folder = |folder: &Path| -> Option<PathBuf> {
            let mut files: Vec<PathBuf> = fs::read_dir(folder)
                .ok()?
                .filter_map(|file| Some(file.ok()?.path()))
                .filter(|path| {
                    let name = path.file_name().and_then(|name| name.to_str());
                    name.is_some_and(|name| file_has_quant(name, quant)) && path.is_file()
                })
                .collect();
            files.sort();
            files.into_iter().next()
        };
        let hub = self.hub.iter().find_map(|dir| {
            snapshots(dir, owner, repo).iter().find_map(|folder| hub_cached(&in_folder(folder)?))
        });
        let ollama = || {
            self.ollama.iter().find_map(|dir| ollama_manifest(dir, &["hf.co", owner, repo, quant]))
        };
        let lm_studio = || {
            self.lm_studio
                .iter()
                .find_map(|dir| lm_cached(&in_folder(&dir.join(owner).join(repo))?))
        };
        hub.or_else(ollama).or_else(lm_studio)
    }
}

/// The folders of a repository's downloaded commits, that of `main` first.
fn snapshots(cache: &Path, owner: &str, repo: &str) -> Vec<PathBuf> {
    let repo = cache.join(format!("models--{owner}--{repo}"));
    let snapshots = repo.join("snapshots");
    let is_commit = |text: &str| text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let main = read_small(&repo.join("refs").join("main")).unwrap_or_default();
    let main = main.trim();
    let mut folders = Vec::new();
    if is_commit(main) {
        folders.push(snapshots.join(main));
    }
    let mut others: Vec<PathBuf> = fs::read_dir(&snapshots)
        .into_iter()
        .flatten()
        .filter_map(|folder| folder.ok()?.file_name().into_string().ok())
        .filter(|commit| is_commit(commit) && commit != main)
        .map(|commit| snapshots.join(commit))
        .collect();
    others.sort();
    folders.append(&mut others);
    folders
}

fn hub_cached(path: &Path) -> Option<CachedFile> {
    if !path.is_file() {
        return None;
    }
    // A snapshot links to `blobs/ETAG`, and the etag of a large file is its SHA-256.
    let blob = fs::read_link(path).ok();
    let etag = blob.as_ref().and_then(|blob| blob.file_name()?.to_str());
    let sha256 = etag.filter(|etag| is_sha256(etag)).map(str::to_owned);
    Some(CachedFile { path: path.to_owned(), origin: Origin::HubCache, sha256 })
}

fn lm_cached(path: &Path) -> Option<CachedFile> {
    path.is_file().then(|| CachedFile {
        path: path.to_owned(),
        origin: Origin::LmStudio,
        sha256: None,
    })
}

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: String,
}

fn ollama_manifest(dir: &Path, name: &[&str]) -> Option<CachedFile> {
    if !name.iter().all(|part| is_hub_name(part)) {
        return None;
    }
    let path = name.iter().fold(dir.join("manifests"), |path, part| path.join(part));
    let manifest: Manifest = serde_json::from_str(&read_small(&path)?).ok()?;
    let layer = manifest
        .layers
        .iter()
        .find(|layer| layer.media_type == "application/vnd.ollama.image.model")?;
    ollama_blob(dir, layer.digest.strip_prefix("sha256:")?)
}

/// Reads a small file whole.
fn read_small(path: &Path) -> Option<String> {
    // A pipe would be waited for, and what a file says of its size need not be true.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    File::open(path).ok()?.take(SMALL_BYTES_MAX + 1).read_to_string(&mut text).ok()?;
    Some(text).filter(|text| text.len() as u64 <= SMALL_BYTES_MAX)
}

fn ollama_blob(dir: &Path, sha256: &str) -> Option<CachedFile> {
    if !is_sha256(sha256) {
        return None;
    }
    let path = dir.join("blobs").join(format!("sha256-{sha256}"));
    let found = CachedFile { path, origin: Origin::Ollama, sha256: Some(sha256.to_owned()) };
    found.path.is_file().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn write(path: &Path, bytes: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn hub_spec() -> ModelSpec {
        ModelSpec::parse("o/R-GGUF:Q4_0").unwrap()
    }

    #[test]
    fn the_hub_cache_is_read_through_its_ref() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("models--o--R-GGUF");
        write(&repo.join("refs/main"), COMMIT.as_bytes());
        write(&repo.join("snapshots").join(COMMIT).join("R-Q4_0.gguf"), b"GGUF");
        let caches = Caches { hub: vec![dir.path().into()], ..Caches::default() };
        let found = caches.find(&hub_spec(), None).unwrap();
        assert_eq!(found.origin, Origin::HubCache);
        assert!(found.path.ends_with("R-Q4_0.gguf"));
        assert_eq!(caches.find(&ModelSpec::parse("o/R-GGUF:Q8_0").unwrap(), None), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_blob_says_its_sha256() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("models--o--R-GGUF");
        let sha256 = "a".repeat(64);
        write(&repo.join("blobs").join(&sha256), b"GGUF");
        let snapshot = repo.join("snapshots").join(COMMIT);
        fs::create_dir_all(&snapshot).unwrap();
        let blob = format!("../../blobs/{sha256}");
        std::os::unix::fs::symlink(blob, snapshot.join("R-Q4_0.gguf")).unwrap();
        let caches = Caches { hub: vec![dir.path().into()], ..Caches::default() };
        assert_eq!(caches.find(&hub_spec(), None).unwrap().sha256, Some(sha256));
    }

    #[test]
    fn a_ref_that_is_no_commit_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("models--o--R-GGUF");
        write(&repo.join("refs/main"), b"../../..");
        write(&dir.path().join("R-Q4_0.gguf"), b"GGUF");
        let caches = Caches { hub: vec![dir.path().into()], ..Caches::default() };
        assert_eq!(caches.find(&hub_spec(), None), None);
    }

    #[test]
    fn only_small_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "abc").unwrap();
        assert_eq!(read_small(&path).as_deref(), Some("abc"));
        fs::write(&path, " ".repeat(SMALL_BYTES_MAX as usize + 1)).unwrap();
        assert_eq!(read_small(&path), None);
        assert_eq!(read_small(dir.path()), None);
        // Opening a device may wait, and reading it may not end.
        #[cfg(unix)]
        assert_eq!(read_small(Path::new("/dev/zero")), None);
    }

    fn manifest(digest: &str) -> String {
        format!(
            r#"{{"layers":[{{"mediaType":"application/vnd.ollama.image.template","digest":"sha256:00"}},
                {{"mediaType":"application/vnd.ollama.image.model","digest":"{digest}"}}]}}"#
        )
    }

    #[test]
    fn ollama_is_read_through_its_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let sha256 = "b".repeat(64);
        write(&dir.path().join(format!("blobs/sha256-{sha256}")), b"GGUF");
        let library = dir.path().join("manifests/registry.ollama.ai/library");
        write(&library.join("llama3.2/1b"), manifest(&format!("sha256:{sha256}")).as_bytes());
        write(
            &dir.path().join("manifests/hf.co/o/R-GGUF/Q4_0"),
            manifest(&format!("sha256:{sha256}")).as_bytes(),
        );
        let caches = Caches { ollama: vec![dir.path().into()], ..Caches::default() };
        for spec in ["llama3.2:1b", "o/R-GGUF:Q4_0"] {
            let found = caches.find(&ModelSpec::parse(spec).unwrap(), None).unwrap();
            assert_eq!(
                (found.origin, found.sha256),
                (Origin::Ollama, Some(sha256.clone())),
                "{spec}"
            );
        }
    }

    #[test]
    fn a_hostile_manifest_finds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("secret"), b"GGUF");
        let path = dir.path().join("manifests/registry.ollama.ai/library/x/latest");
        for text in [
            manifest("sha256:../../secret"),
            manifest("../secret"),
            "{".into(),
            "[]".into(),
            "{\"layers\":[{}]}".into(),
            "[".repeat(100_000),
        ] {
            write(&path, text.as_bytes());
            let caches = Caches { ollama: vec![dir.path().into()], ..Caches::default() };
            assert_eq!(caches.find(&ModelSpec::parse("x").unwrap(), None), None);
        }
    }

    #[test]
    fn lm_studio_is_read_by_owner_and_repository() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("o/R-GGUF/R-Q4_0.gguf"), b"GGUF");
        let caches = Caches { lm_studio: vec![dir.path().into()], ..Caches::default() };
        assert_eq!(caches.find(&hub_spec(), None).unwrap().origin, Origin::LmStudio);
    }

    #[test]
    fn a_catalog_file_of_the_wrong_size_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let entry = catalog::find("smollm2-135m-instruct-q4_1").unwrap();
        let hub = entry.hub.as_ref().unwrap();
        let file = dir.path().join(&hub.repo).join(hub.file.as_ref().unwrap());
        write(&file, b"GGUF");
        let caches = Caches { lm_studio: vec![dir.path().into()], ..Caches::default() };
        let spec = ModelSpec::Name(entry.name.clone());
        assert_eq!(caches.find(&spec, Some(entry)), None);
        fs::File::options().write(true).open(&file).unwrap().set_len(entry.bytes.unwrap()).unwrap();
        assert!(caches.find(&spec, Some(entry)).is_some());
    }
}
