//! What `config.json` says.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::{HfError, HfProblem};
use super::read_json;
use crate::LoadError;

/// The largest `config.json`, in bytes: real ones have a few thousand, and what is parsed takes up to
/// forty times as much.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// The settings in `config.json`, or in one of its sections.
#[derive(Debug, Clone)]
pub(crate) struct HfConfig {
    path: PathBuf,
    values: Map<String, Value>,
}

impl HfConfig {
    pub(super) fn open(path: &Path) -> Result<Self, HfError> {
        Ok(Self { path: path.to_owned(), values: read_json(path, MAX_CONFIG_BYTES)? })
    }

    /// Returns the settings as a text.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(&self.values).unwrap_or_default()
    }

    /// Returns all settings, sorted by key, for display: long ones are told by their length.
    pub(crate) fn entries(&self) -> Vec<(String, String)> {
        const MAX_CHARS: usize = 80;
        let shown = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Array(list) if value.to_string().len() > MAX_CHARS => {
                format!("a list of {} values", list.len())
            }
            value => value.to_string(),
        };
        let mut entries: Vec<_> =
            self.values.iter().map(|(key, value)| (key.clone(), shown(value))).collect();
        entries.sort();
        entries
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the settings of the language model, where there is vision beside it.
    pub(super) fn of_text(self) -> Self {
        self.section("text_config").unwrap_or(self)
    }

    /// Returns the setting `key`; `None` if it is not there or null, an error if it is something
    /// else than asked for.
    pub(crate) fn get<T: for<'de> Deserialize<'de>>(
        &self,
        key: &str,
    ) -> Result<Option<T>, LoadError> {
        let value = match self.values.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value,
        };
        T::deserialize(value)
            .map(Some)
            .map_err(|source| self.error(HfProblem::IllTyped { key: key.to_owned(), source }))
    }

    /// Returns the setting `key`, or an error that names it.
    pub(crate) fn require<T: for<'de> Deserialize<'de>>(&self, key: &str) -> Result<T, LoadError> {
        self.get(key)?.ok_or_else(|| self.error(HfProblem::MissingKey { key: key.to_owned() }))
    }

    /// Whether the setting `key` is there.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|value| !value.is_null())
    }

    /// Returns the settings below `key`, if there are any.
    pub(crate) fn section(&self, key: &str) -> Option<Self> {
        match self.values.get(key) {
            Some(Value::Object(values)) => {
                Some(Self { path: self.path.clone(), values: values.clone() })
            }
            _ => None,
        }
    }

    /// Makes an error about what the file says.
    pub(crate) fn fault(&self, reason: impl Into<String>) -> LoadError {
        LoadError::Config { path: self.path.clone(), reason: reason.into() }
    }

    fn error(&self, problem: HfProblem) -> LoadError {
        HfError { path: self.path.clone(), problem }.into()
    }
}
