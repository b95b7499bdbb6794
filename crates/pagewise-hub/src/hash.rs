//! SHA-256 of files, and copies that count.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::IoContext;
use crate::{HubError, Progress};

/// The digest and the size of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileHash {
    /// 64 lower-case hexadecimal digits.
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
}

const BUFFER_BYTES: usize = 1 << 20;

/// Reads all of `path`; the bytes count as progress of the step that has begun.
pub(crate) fn hash_file(path: &Path, progress: &mut dyn Progress) -> Result<FileHash, HubError> {
    let mut file = File::open(path).context("open", path)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut digest = Sha256::new();
    let mut bytes = 0;
    loop {
        if progress.cancelled() {
            return Err(HubError::Cancelled);
        }
        let n = file.read(&mut buffer).context("read", path)?;
        if n == 0 {
            break;
        }
        digest.update(&buffer[..n]);
        bytes += n as u64;
        progress.advance(n as u64);
    }
    Ok(FileHash { sha256: hex(&digest.finalize()), bytes })
}

/// Returns the SHA-256 of a text, as 64 lower-case hexadecimal digits.
pub(crate) fn hash_text(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// Copies `from` to `to` until its end; at most `limit` bytes are read.
///
/// Returns how many there were, `limit + 1` at most: a caller that gets more than `limit` refuses.
pub(crate) fn copy_bounded(
    from: &mut dyn Read,
    to: &mut dyn Write,
    limit: u64,
    progress: &mut dyn Progress,
) -> Result<u64, CopyError> {
    let mut from = from.take(limit.saturating_add(1));
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0;
    loop {
        if progress.cancelled() {
            return Err(CopyError::Cancelled);
        }
        let n = from.read(&mut buffer).map_err(CopyError::Read)?;
        if n == 0 {
            return Ok(bytes);
        }
        bytes += n as u64;
        if bytes > limit {
            return Ok(bytes);
        }
        to.write_all(&buffer[..n]).map_err(CopyError::Write)?;
        progress.advance(n as u64);
    }
}

/// Which side of a copy failed.
#[derive(Debug)]
pub(crate) enum CopyError {
    Read(std::io::Error),
    Write(std::io::Error),
    Cancelled,
}

/// Whether `text` is a SHA-256 in lower-case hexadecimal.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn hex(digest: &[u8]) -> String {
    let mut text = String::with_capacity(2 * digest.len());
    for byte in digest {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
