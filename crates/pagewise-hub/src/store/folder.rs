//! Folders of weights as Hugging Face has them, and how they come into the store.

use std::fs;
use std::path::Path;

use super::Store;
use crate::catalog::{self, FolderFile};
use crate::error::IoContext;
use crate::hash::{hash_file, hash_text};
use crate::{HubError, Progress, Stored, Wanted};

/// The file that has the weights, where one has them all.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// The file that names the others, where several have them.
const INDEX: &str = "model.safetensors.index.json";
/// What is taken of a folder that is imported: weights, settings, tokenizer, template, licence.
const EXTENSIONS: [&str; 5] = ["safetensors", "json", "jinja", "txt", "md"];
/// The most files that a folder may have; a large model has a few dozen.
const MAX_FILES: usize = 1024;

/// Whether a folder has what weights need.
pub(super) fn has_weights(folder: &Path) -> bool {
    let has = |file: &str| folder.join(file).is_file();
    has("config.json") && has("tokenizer.json") && (has(WEIGHTS) || has(INDEX))
}

/// Returns the SHA-256 of the list of files with their own, as `sha256sum` prints it.
pub(super) fn folder_sha256(files: &[FolderFile]) -> String {
    let lines = files.iter().map(|file| format!("{}  {}\n", file.sha256, file.path));
    hash_text(&lines.collect::<String>())
}

impl Store {
    /// Takes a folder of weights into the store under `name`, or under its own name: its files with
    /// weights, settings and tokenizer, but none below it. Each is copied and recorded with its
    /// SHA-256; the original stays. Progress is one step of reading it, and one of copying each file.
    pub fn import_folder(
        &self,
        path: &Path,
        name: Option<&str>,
        progress: &mut dyn Progress,
    ) -> Result<Stored, HubError> {
        // `.` has no name of its own.
        let path = fs::canonicalize(path).context("read", path)?;
        let name = match (name, path.file_name().and_then(|name| name.to_str())) {
            (Some(name), _) => name.to_owned(),
            (None, name) => name.unwrap_or_default().to_ascii_lowercase(),
        };
        // A name of the catalog promises the catalog's bytes.
        if catalog::find(&name).is_some() {
            return Err(HubError::NameOfCatalog { name });
        }
        if self.find(&name)?.is_some() {
            return Err(HubError::AlreadyStored { name });
        }
        if !has_weights(&path) {
            return Err(HubError::NoWeights { path });
        }
        let files = hash_files(&path, progress)?;
        let wanted = Wanted {
            sha256: Some(folder_sha256(&files)),
            files: files.clone(),
            ..Wanted::file(&name)
        };
        let source = crate::source::LocalFile::imported_folder(&path, files);
        crate::pull(self, &wanted, &[Box::new(source)], progress)
    }
}

/// Returns the files of a folder that are taken, by name, each with its size and SHA-256.
fn hash_files(folder: &Path, progress: &mut dyn Progress) -> Result<Vec<FolderFile>, HubError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).context("read", folder)? {
        let path = entry.context("read", folder)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_wanted = extension.is_some_and(|extension| EXTENSIONS.contains(&extension));
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // Read through links: a snapshot of the hub's cache has nothing else.
        if is_wanted && path.is_file() && catalog::is_safe_relative(name) && !name.starts_with('.')
        {
            let bytes = fs::metadata(&path).context("read", &path)?.len();
            names.push((name.to_owned(), bytes));
        }
        if names.len() > MAX_FILES {
            return Err(HubError::NoWeights { path: folder.to_owned() });
        }
    }
    names.sort();
    progress.start(Some(names.iter().map(|(_, bytes)| bytes).sum()));
    let mut files = Vec::new();
    for (name, _) in names {
        let hash = hash_file(&folder.join(&name), progress)?;
        files.push(FolderFile { path: name, bytes: hash.bytes, sha256: hash.sha256 });
    }
    progress.finish();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoProgress;

    /// A folder with weights, and with what is not taken.
    fn folder(dir: &Path, weights: &[&str]) -> std::path::PathBuf {
        let folder = dir.join("My-Model");
        fs::create_dir_all(folder.join("onnx")).unwrap();
        let others =
            ["config.json", "tokenizer.json", "pytorch_model.bin", ".hidden.json", "onnx/x.json"];
        for name in weights.iter().chain(&others) {
            fs::write(folder.join(name), format!("the bytes of {name}")).unwrap();
        }
        folder
    }

    fn check_taken(weights: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path(), weights);
        let store = Store::new(dir.path().join("store"));
        let stored = store.import_folder(&folder, None, &mut NoProgress).unwrap();
        assert_eq!((stored.name.as_str(), stored.path), ("my-model", store.dir().join("my-model")));
        let record = stored.record.unwrap();
        let mut taken: Vec<&str> = record.files.iter().map(|file| file.path.as_str()).collect();
        let mut expected = weights.to_vec();
        expected.extend(["config.json", "tokenizer.json"]);
        taken.sort_unstable();
        expected.sort_unstable();
        assert_eq!(taken, expected);
        assert_eq!(record.sha256.len(), 64);
        assert_eq!(store.list().unwrap().len(), 1);
        assert!(store.verify("my-model", &mut NoProgress).unwrap().was_known);

        let again = store.import_folder(&folder, None, &mut NoProgress).unwrap_err();
        assert!(matches!(again, HubError::AlreadyStored { .. }), "{again}");
        fs::write(store.dir().join("my-model").join(weights[0]), "other bytes of the same")
            .unwrap();
        assert!(store.verify("my-model", &mut NoProgress).is_err());
        store.remove("my-model").unwrap();
        assert!(store.list().unwrap().is_empty());
        assert!(folder.join(weights[0]).is_file());
    }

    #[test]
    fn a_folder_is_taken_verified_and_removed() {
        check_taken(&["model.safetensors"]);
        check_taken(&[
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
        ]);
    }

    #[test]
    fn what_is_no_folder_of_weights_is_refused_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("store"));
        let folder = folder(dir.path(), &["weights.safetensors"]);
        let import = |name| store.import_folder(&folder, name, &mut NoProgress).unwrap_err();
        assert!(matches!(import(None), HubError::NoWeights { .. }));
        fs::write(folder.join(WEIGHTS), "w").unwrap();
        assert!(matches!(import(Some("../x")), HubError::BadName { .. }));
        assert!(matches!(import(Some("all-minilm-l6-v2")), HubError::NameOfCatalog { .. }));
        assert!(!store.dir().exists());
    }
}
