//! Folders of weights as Hugging Face has them, and how they come into the store.

use std::fs;
use std::path::Path;

use super::{Store, check_folder};
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
/// Of a folder below it, which is a step of an embedder.
const STEP_CONFIG: &str = "config.json";

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
    /// weights, settings and tokenizer, and the settings of an embedder's steps from the folders below
    /// it. Each is copied and recorded with its SHA-256; the original stays. Of a name of the catalog,
    /// the files must be the catalog's. Progress is one step of reading it, and one of copying each file.
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
        if self.find(&name)?.is_some() {
            return Err(HubError::AlreadyStored { name });
        }
        if !has_weights(&path) {
            return Err(HubError::NoWeights { path });
        }
        // A name of the catalog promises the catalog's bytes.
        let wanted = match catalog::find(&name) {
            Some(entry) => check_promised(&path, Wanted::entry(entry), progress)?,
            None => {
                let files = hash_files(&path, progress)?;
                Wanted { sha256: Some(folder_sha256(&files)), files, ..Wanted::file(&name) }
            }
        };
        let source = crate::source::LocalFile::imported_folder(&path, wanted.files.clone());
        crate::pull(self, &wanted, &[Box::new(source)], progress)
    }
}

/// Returns `wanted` if the folder has its files; nothing is made in the store to find out.
fn check_promised(
    folder: &Path,
    wanted: Wanted,
    progress: &mut dyn Progress,
) -> Result<Wanted, HubError> {
    let other = |reason: String| HubError::NameOfCatalog { name: wanted.name.clone(), reason };
    if wanted.files.is_empty() {
        return Err(other("those of one file".into()));
    }
    progress.start(Some(wanted.files.iter().map(|file| file.bytes).sum()));
    match check_folder(folder, &wanted.files, progress) {
        Err(HubError::Cancelled) => return Err(HubError::Cancelled),
        Err(error) => return Err(other(error.to_string())),
        Ok(()) => progress.finish(),
    }
    Ok(wanted)
}

/// Whether this is how sentence-transformers names the folder of a step, for example `1_Pooling`.
fn is_step(name: &str) -> bool {
    let step = name.split_once('_').map(|(number, _)| number);
    step.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Returns the files of a folder that are taken, by name, each with its size and SHA-256.
fn hash_files(folder: &Path, progress: &mut dyn Progress) -> Result<Vec<FolderFile>, HubError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).context("read", folder)? {
        let path = entry.context("read", folder)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // How an embedder pools stands in a folder of its own.
        let name = match is_step(name) && path.is_dir() {
            true => format!("{name}/{STEP_CONFIG}"),
            false => name.to_owned(),
        };
        let path = folder.join(&name);
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_wanted = extension.is_some_and(|extension| EXTENSIONS.contains(&extension));
        // Read through links: a snapshot of the hub's cache has nothing else.
        if is_wanted && path.is_file() && catalog::is_safe_relative(&name) && !name.starts_with('.')
        {
            let bytes = fs::metadata(&path).context("read", &path)?.len();
            names.push((name, bytes));
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
        for below in ["onnx", "1_Pooling"] {
            fs::create_dir_all(folder.join(below)).unwrap();
        }
        let others = [
            "config.json",
            "tokenizer.json",
            "1_Pooling/config.json",
            "pytorch_model.bin",
            ".hidden.json",
            "onnx/config.json",
            "1_Pooling/x.json",
        ];
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
        expected.extend(["config.json", "tokenizer.json", "1_Pooling/config.json"]);
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
        for (name, reason) in [
            ("all-minilm-l6-v2", "has the wrong size"),
            ("smollm2-135m-instruct-q4_1", "those of one file"),
        ] {
            let error = import(Some(name));
            assert!(matches!(error, HubError::NameOfCatalog { .. }), "{error}");
            assert!(error.to_string().contains(reason), "{error}");
        }
        assert!(!store.dir().exists());
    }

    #[test]
    fn a_name_of_the_catalog_is_for_the_files_that_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path(), &["model.safetensors"]);
        let files = hash_files(&folder, &mut NoProgress).unwrap();
        // As the catalog has it: some of the files, and the SHA-256 of an archive of them.
        let promised = Wanted {
            sha256: Some("0".repeat(64)),
            files: files.into_iter().filter(|file| file.path != "tokenizer.json").collect(),
            ..Wanted::file("known")
        };
        let check = || check_promised(&folder, promised.clone(), &mut NoProgress);
        assert_eq!(check().unwrap(), promised);
        let step = folder.join("1_Pooling/config.json");
        fs::write(&step, "other bytes").unwrap();
        assert!(matches!(check(), Err(HubError::NameOfCatalog { .. })));
        fs::remove_file(&step).unwrap();
        let missing = check().unwrap_err().to_string();
        assert!(missing.contains("config.json") && missing.contains("--name"), "{missing}");
    }

    #[test]
    fn steps_are_told_by_their_number() {
        for (name, is) in [
            ("1_Pooling", true),
            ("12_Dense", true),
            ("onnx", false),
            ("_x", false),
            ("v2_x", false),
        ] {
            assert_eq!(is_step(name), is, "{name}");
        }
    }
}
