use std::path::PathBuf;

use crate::caches::Origin;
use crate::{Caches, Entry, HubError, ModelSpec, Store, catalog};

/// Finds weights on this disk.
#[derive(Debug, Clone)]
pub struct Locator {
    /// Looked at first.
    pub store: Store,
    /// Looked at next.
    pub caches: Caches,
}

/// Weights on this disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Located {
    /// The name in the store or the catalog, else the file's name.
    pub name: String,
    /// The GGUF file, or the folder of a model or an embedder.
    pub path: PathBuf,
    /// Where that is.
    pub origin: Origin,
    /// What the catalog says of it.
    pub entry: Option<&'static Entry>,
}

impl Locator {
    /// Finds what a spec means: a path itself, else the store, then the caches.
    ///
    /// `None` if it could be pulled but is not here. Fails with [`HubError::UnknownModel`] for a
    /// name that neither the catalog nor anything on this disk has, and with
    /// [`HubError::NoSuchFile`] or [`HubError::NoWeights`] for a path to nothing, or to another folder.
    pub fn find(&self, spec: &ModelSpec) -> Result<Option<Located>, HubError> {
        if let ModelSpec::Path(path) = spec {
            // A folder as Hugging Face has them is a model; any other is a mistake.
            if path.is_dir() && !path.join("config.json").is_file() {
                return Err(HubError::NoWeights { path: path.clone() });
            }
            if !path.is_file() && !path.is_dir() {
                return Err(HubError::NoSuchFile { path: path.clone() });
            }
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            return Ok(Some(Located {
                name: stem.unwrap_or_default(),
                path: path.clone(),
                origin: Origin::Path,
                entry: None,
            }));
        }
        let name = spec.store_name().unwrap_or_default();
        let entry = catalog::find(&name);
        if let Some(stored) = self.store.find(&name)? {
            return Ok(Some(Located { name, path: stored.path, origin: Origin::Store, entry }));
        }
        if let Some(cached) = self.caches.find(spec, entry) {
            return Ok(Some(Located { name, path: cached.path, origin: cached.origin, entry }));
        }
        match spec {
            ModelSpec::Name(name) if entry.is_none() => {
                Err(HubError::UnknownModel { name: name.clone(), nearest: catalog::nearest(name) })
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_told_from_one_that_is_not_here() {
        let dir = tempfile::tempdir().unwrap();
        let locator = Locator { store: Store::new(dir.path()), caches: Caches::default() };
        let find = |text: &str| locator.find(&ModelSpec::parse(text).unwrap());
        assert_eq!(find("smollm2-135m-instruct-q4_1").unwrap(), None);
        assert_eq!(find("o/r:Q4_0").unwrap(), None);
        let error = find("smollm2-135m-instruct-q4").unwrap_err();
        assert!(error.to_string().contains("did you mean smollm2-135m-instruct-q4_1"), "{error}");
        assert!(matches!(find("./nothing.gguf"), Err(HubError::NoSuchFile { .. })));
    }

    #[test]
    fn a_folder_with_a_configuration_is_a_model() {
        let dir = tempfile::tempdir().unwrap();
        let locator = Locator { store: Store::new(dir.path()), caches: Caches::default() };
        let spec = ModelSpec::Path(dir.path().to_owned());
        assert!(matches!(locator.find(&spec), Err(HubError::NoWeights { .. })));
        std::fs::write(dir.path().join("config.json"), b"{}").unwrap();
        assert_eq!(locator.find(&spec).unwrap().unwrap().path, dir.path());
    }

    #[test]
    fn the_store_is_looked_at_first() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine.gguf"), b"GGUF").unwrap();
        let locator = Locator { store: Store::new(dir.path()), caches: Caches::default() };
        let found = locator.find(&ModelSpec::parse("mine").unwrap()).unwrap().unwrap();
        assert_eq!((found.origin, found.name.as_str()), (Origin::Store, "mine"));
    }
}
