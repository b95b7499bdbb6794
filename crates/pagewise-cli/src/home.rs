//! Where models and agents live.

use std::fs;
use std::path::{Path, PathBuf};

use crate::args::{CommonArgs, DEFAULT_AGENT};
use crate::failure::{Failure, Kind};

/// The home folder: `models/`, and `agents/NAME/` for each agent.
#[derive(Debug, Clone)]
pub(crate) struct Home(PathBuf);

impl Home {
    /// `--home`, else `$PAGEWISE_HOME` (clap reads both), else the data folder of the system.
    pub(crate) fn of(args: &CommonArgs) -> Result<Self, Failure> {
        if let Some(home) = &args.home {
            return Ok(Self(home.clone()));
        }
        let folder =
            |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        folder("XDG_DATA_HOME")
            .filter(|folder| folder.is_absolute())
            .or_else(|| {
                let home = folder("HOME")?;
                Some(home.join(if cfg!(target_os = "macos") {
                    "Library/Application Support"
                } else {
                    ".local/share"
                }))
            })
            .map(|data| Self(data.join("pagewise")))
            .ok_or_else(|| {
                Failure::usage("there is no home folder")
                    .hint("set PAGEWISE_HOME, or give --home DIR")
            })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn models(&self) -> PathBuf {
        self.0.join("models")
    }

    pub(crate) fn agents(&self) -> PathBuf {
        self.0.join("agents")
    }

    pub(crate) fn agent(&self, name: &str) -> PathBuf {
        self.agents().join(name)
    }

    /// The names of the agents that exist, in order.
    pub(crate) fn agent_names(&self) -> Result<Vec<String>, Failure> {
        let entries = match fs::read_dir(self.agents()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                let agents = self.agents();
                return Err(Failure::new(
                    Kind::Store,
                    format!("cannot read {}: {error}", agents.display()),
                ));
            }
        };
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().is_dir())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The folder of an agent that must exist.
    pub(crate) fn existing_agent(&self, name: &str) -> Result<PathBuf, Failure> {
        let folder = self.agent(name);
        if folder.is_dir() {
            return Ok(folder);
        }
        let chat = match name {
            DEFAULT_AGENT => "pagewise chat".to_owned(),
            name => format!("pagewise chat --agent {name}"),
        };
        let failure = self.no_agent(name)?;
        let known = failure.hint.as_deref().unwrap_or_default();
        let hint = format!("{known}; `{chat}` makes one");
        Err(failure.hint(hint))
    }

    /// Says that there is no agent of this name, and which there are.
    pub(crate) fn no_agent(&self, name: &str) -> Result<Failure, Failure> {
        let names = self.agent_names()?;
        let known = if names.is_empty() {
            "there is none yet".into()
        } else {
            format!("there are: {}", names.join(", "))
        };
        Ok(Failure::new(Kind::Failure, format!("there is no agent {name:?}")).hint(known))
    }
}
