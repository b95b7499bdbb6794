//! What a `-m` argument says, before weights are looked up.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::{HubError, catalog};

/// Which weights are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSpec {
    /// A name of the catalog or the store, or `name:tag` as ollama writes it.
    Name(String),
    /// A GGUF file, or a folder as Hugging Face has them.
    Path(PathBuf),
    /// The file of a hub repository that has this quantisation in its name.
    Hub {
        /// Who publishes it.
        owner: String,
        /// The repository.
        repo: String,
        /// For example `Q4_K_M`; letters of either case.
        quant: String,
    },
}

impl ModelSpec {
    /// Reads an argument.
    ///
    /// A text that ends in `.gguf`, or begins like a path (`/`, `./`, `../`, `~` is the shell's
    /// business), is a path, and so is that of a file or a folder of weights that is there, unless the
    /// catalog has it for a name; then `owner/repo:QUANT`; anything without a `/` is a name.
    pub fn parse(text: &str) -> Result<Self, HubError> {
        let bad = |reason| HubError::BadSpec { spec: text.to_owned(), reason };
        if text.is_empty() {
            return Err(bad("it is empty"));
        }
        if text.chars().any(char::is_control) {
            return Err(bad("it has a control character"));
        }
        let is_path = text.to_ascii_lowercase().ends_with(".gguf")
            || ["/", "./", "../", ".\\", "..\\"].iter().any(|start| text.starts_with(start))
            || (cfg!(windows) && text.contains('\\'));
        if is_path || catalog::find(text).is_none() && is_there(Path::new(text)) {
            return Ok(Self::Path(text.into()));
        }
        let Some((owner, rest)) = text.split_once('/') else {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
            if !text.chars().all(plain) || text.starts_with('.') {
                return Err(bad("a name has only letters, digits, `.`, `_`, `-` and `:`"));
            }
            return Ok(Self::Name(text.to_owned()));
        };
        let (repo, quant) =
            rest.split_once(':').ok_or_else(|| bad("the quantisation is missing"))?;
        if ![owner, repo].iter().all(|part| is_hub_name(part)) {
            return Err(bad("the hub has no such owner or repository"));
        }
        if !is_hub_name(quant) {
            return Err(bad("the quantisation has only letters, digits, `.`, `_` and `-`"));
        }
        Ok(Self::Hub { owner: owner.into(), repo: repo.into(), quant: quant.into() })
    }

    /// Returns the name under which the store keeps these weights.
    pub fn store_name(&self) -> Option<String> {
        match self {
            Self::Name(name) => Some(name.clone()),
            Self::Path(_) => None,
            Self::Hub { owner, repo, quant } => {
                let repo_id = format!("{owner}/{repo}");
                let known = catalog::entries().iter().find(|entry| {
                    entry.quantisation.eq_ignore_ascii_case(quant)
                        && entry
                            .hub
                            .as_ref()
                            .is_some_and(|hub| hub.repo.eq_ignore_ascii_case(&repo_id))
                });
                Some(match known {
                    Some(entry) => entry.name.clone(),
                    None => format!("{owner}--{repo}--{quant}").to_ascii_lowercase(),
                })
            }
        }
    }
}

impl fmt::Display for ModelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Hub { owner, repo, quant } => write!(f, "{owner}/{repo}:{quant}"),
        }
    }
}

/// Whether a file is there, or a folder as Hugging Face has them.
fn is_there(path: &Path) -> bool {
    path.is_file() || path.join("config.json").is_file()
}

/// Whether `text` can be one segment of a hub path: it ends up in file paths too.
pub(crate) fn is_hub_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 96
        && !text.starts_with('.')
        && !text.contains("..")
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Whether the name of a GGUF file says that it has this quantisation.
///
/// `Q4_K` does not match `…-Q4_K_M.gguf`, and the parts of a file that is cut in several never do.
pub(crate) fn file_has_quant(file_name: &str, quant: &str) -> bool {
    let lower = file_name.to_ascii_lowercase();
    let Some(stem) = lower.strip_suffix(".gguf") else {
        return false;
    };
    if stem.contains("-of-") || stem.starts_with("mmproj") {
        return false;
    }
    let quant = quant.to_ascii_lowercase();
    stem.strip_suffix(&quant).is_some_and(|rest| rest.is_empty() || rest.ends_with(['-', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_names_paths_and_hub_files() {
        assert_eq!(ModelSpec::parse("llama3.2:1b").unwrap(), ModelSpec::Name("llama3.2:1b".into()));
        assert_eq!(ModelSpec::parse("a/b.gguf").unwrap(), ModelSpec::Path("a/b.gguf".into()));
        assert_eq!(
            ModelSpec::parse("bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M").unwrap(),
            ModelSpec::Hub {
                owner: "bartowski".into(),
                repo: "Llama-3.2-1B-Instruct-GGUF".into(),
                quant: "Q4_K_M".into()
            }
        );
    }

    #[test]
    fn what_is_there_is_a_path_however_it_is_written() {
        for text in ["src/spec.rs", "Cargo.toml"] {
            assert_eq!(ModelSpec::parse(text).unwrap(), ModelSpec::Path(text.into()));
        }
        // A folder of something else is none.
        let folder = ModelSpec::parse("src/catalog").unwrap_err().to_string();
        assert_eq!(
            folder,
            "`src/catalog` is no model: the quantisation is missing; give a catalog name, a .gguf \
             file, a Hugging Face folder (./folder), or owner/repo:QUANT"
        );
    }

    #[test]
    fn refuses_what_would_leave_a_folder() {
        for text in [
            "",
            "..",
            ".hidden",
            "a/../b:Q4",
            "../x/y:Q4/..",
            "a/b",
            "a/b:..",
            "a/b/c:Q4",
            "x y",
            "a\nb",
        ] {
            let spec = ModelSpec::parse(text);
            assert!(
                matches!(spec, Err(HubError::BadSpec { .. }) | Ok(ModelSpec::Path(_))),
                "{text:?} was read as {spec:?}"
            );
        }
    }

    #[test]
    fn a_hub_file_of_the_catalog_has_the_catalog_name() {
        let spec = ModelSpec::parse("bartowski/Llama-3.2-1B-Instruct-GGUF:q4_k_m").unwrap();
        assert_eq!(spec.store_name().unwrap(), "llama-3.2-1b-instruct-q4_k_m");
        let spec = ModelSpec::parse("Someone/Thing-GGUF:Q8_0").unwrap();
        assert_eq!(spec.store_name().unwrap(), "someone--thing-gguf--q8_0");
    }

    #[test]
    fn a_quantisation_matches_whole() {
        for (file, quant, is) in [
            ("x-Q4_K_M.gguf", "q4_k_m", true),
            ("x.Q4_K_M.gguf", "Q4_K_M", true),
            ("x-Q4_K_M.gguf", "Q4_K", false),
            ("x-IQ4_K_M.gguf", "Q4_K_M", false),
            ("x-Q4_K_M-00001-of-00002.gguf", "Q4_K_M", false),
            ("x-Q4_K_M.bin", "Q4_K_M", false),
        ] {
            assert_eq!(file_has_quant(file, quant), is, "{file} {quant}");
        }
    }

    proptest! {
        #[test]
        fn a_store_name_never_leaves_the_store(text in ".{0,40}") {
            if let Ok(spec) = ModelSpec::parse(&text)
                && let Some(name) = spec.store_name()
            {
                prop_assert!(!name.contains(['/', '\\']) && !name.starts_with('.'));
            }
        }
    }
}
