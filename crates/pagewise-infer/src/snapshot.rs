//! A session on disk, so that a program that starts again need not read its prompt again.
//!
//! A snapshot is a cache: it is written under another name and renamed, it has a checksum, and one
//! that is damaged, cut off, or of other weights is ignored. Everything in it is little-endian:
//!
//! ```text
//! magic     8 bytes    "pgwkv", two zeros and the version of this format
//! key      32 bytes    SHA-256 of what SnapshotKey says
//! tokens    8 bytes    how many, then 4 bytes each
//! rows                 what KvCache::save writes of them
//! checksum 32 bytes    SHA-256 of all before
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use pagewise_core::for_owner_alone;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{Decoder, Session, Weights};

const MAGIC: [u8; 8] = *b"pgwkv\0\0\x01";

/// The bytes before the tokens.
const HEADER_BYTES: usize = MAGIC.len() + HASH_BYTES + size_of::<u64>();

const HASH_BYTES: usize = 32;

/// How much is read or written at once, in bytes.
const BUFFER_BYTES: usize = 1 << 18;

/// What a snapshot must be of: a hash of everything but the tokens that its numbers depend on.
///
/// For the weights stand their fingerprint ([`Weights::fingerprint`]), which has samples of them, and
/// the times when their files were last written. So weights that were copied or fetched anew are taken
/// for others, which costs one reading of the prompt. Other weights are taken for these only if they
/// have the same sizes and headers, are the same at all samples, and somebody gave them the same time
/// on purpose; or if the disk has changed some bytes by itself. Against that, all of them would have to
/// be read at each start, which takes as long as loading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotKey([u8; HASH_BYTES]);

/// A snapshot that could not be written, or is not to be used.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is no snapshot of this model, or it is damaged.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, as the rest of a sentence about the file.
        reason: &'static str,
    },
}

impl SnapshotKey {
    /// Returns the key of snapshots of `decoder`, which was loaded from `weights`.
    pub fn new(weights: &Weights, decoder: &Decoder) -> Self {
        let mut hash = Sha256::new();
        hash.update(weights.fingerprint());
        for modified in weights.modified() {
            let since_epoch = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            hash.update(since_epoch.unwrap_or_default().as_nanos().to_le_bytes());
        }
        // Other programs of ours and other kernels may round otherwise, and other windows turn keys
        // otherwise.
        hash.update(env!("CARGO_PKG_VERSION"));
        hash.update(decoder.kernels());
        hash.update(decoder.cache_type());
        hash.update((decoder.window_tokens() as u64).to_le_bytes());
        hash.update(format!("{:?}", decoder.config()));
        Self(hash.finalize().into())
    }
}

impl Session {
    /// Writes the session to the file `path`.
    ///
    /// The file appears whole or not at all, and only its owner may read it. It is not forced to the disk: after a power cut its
    /// checksum is wrong, and it is ignored.
    pub fn save(&self, key: SnapshotKey, path: &Path) -> Result<(), SnapshotError> {
        let unfinished = path.with_extension("unfinished");
        // What a killed process has left would keep its mode.
        let cleared = match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let written = cleared
            .and_then(|()| write(self, key, &unfinished))
            .and_then(|()| fs::rename(&unfinished, path));
        written.map_err(|source| {
            // It may be that not even this can be done; the first error says why.
            let _ = fs::remove_file(&unfinished);
            SnapshotError::Io { path: path.to_owned(), source }
        })
    }

    /// Returns the session that was saved in the file `path`; `None` if there is no such file.
    pub fn restore(
        decoder: &Decoder,
        key: SnapshotKey,
        path: &Path,
    ) -> Result<Option<Self>, SnapshotError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::UnexpectedEof => unusable(path, "is cut off"),
            _ => SnapshotError::Io { path: path.to_owned(), source },
        };
        match File::open(path) {
            Ok(file) => match read(decoder, key, file).map_err(failed)? {
                Ok(session) => Ok(Some(session)),
                Err(reason) => Err(unusable(path, reason)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

fn unusable(path: &Path, reason: &'static str) -> SnapshotError {
    SnapshotError::Unusable { path: path.to_owned(), reason }
}

fn write(session: &Session, key: SnapshotKey, path: &Path) -> io::Result<()> {
    let file = for_owner_alone(OpenOptions::new().write(true).create_new(true)).open(path)?;
    let mut file = Hashing::new(BufWriter::with_capacity(BUFFER_BYTES, file));
    file.write_all(&MAGIC)?;
    file.write_all(&key.0)?;
    file.write_all(&(session.tokens().len() as u64).to_le_bytes())?;
    for token in session.tokens() {
        file.write_all(&token.to_le_bytes())?;
    }
    session.cache().save(&mut file)?;
    let Hashing { mut inner, hash } = file;
    inner.write_all(&hash.finalize())?;
    inner.flush()
}

/// Reads a session, or says what is wrong with the file. Nothing is allocated for what the file
/// claims before its size has borne it out.
fn read(
    decoder: &Decoder,
    key: SnapshotKey,
    file: File,
) -> io::Result<Result<Session, &'static str>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Err("is not a file"));
    }
    let mut file = Hashing::new(BufReader::with_capacity(BUFFER_BYTES, file));
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header)?;
    let (magic, rest) = header.split_at(MAGIC.len());
    let (its_key, count) = rest.split_at(HASH_BYTES);
    if magic != MAGIC {
        return Ok(Err("is not a snapshot that this program knows"));
    }
    if its_key != key.0 {
        return Ok(Err("is of other weights, kernels or another window"));
    }
    let n_tokens = count.iter().rev().fold(0u64, |count, byte| count << 8 | u64::from(*byte));
    let n_tokens = usize::try_from(n_tokens).ok().filter(|n| *n <= decoder.window_tokens());
    let Some(n_tokens) = n_tokens else {
        return Ok(Err("holds more tokens than the window"));
    };
    let mut session = Session::new(decoder).map_err(io::Error::other)?;
    let bytes = HEADER_BYTES
        + n_tokens * size_of::<u32>()
        + session.cache().saved_bytes(n_tokens)
        + HASH_BYTES;
    if metadata.len() != bytes as u64 {
        return Ok(Err("has another size than its tokens ask for"));
    }
    let mut tokens = vec![[0; size_of::<u32>()]; n_tokens];
    for token in &mut tokens {
        file.read_exact(token)?;
    }
    let tokens: Vec<u32> = tokens.into_iter().map(u32::from_le_bytes).collect();
    if tokens.iter().any(|token| *token as usize >= decoder.config().vocabulary) {
        return Ok(Err("holds a token that the model does not know"));
    }
    session.read_rows(tokens, &mut file)?;
    let Hashing { mut inner, hash } = file;
    let mut checksum = [0; HASH_BYTES];
    inner.read_exact(&mut checksum)?;
    if hash.finalize()[..] != checksum {
        return Ok(Err("is damaged"));
    }
    Ok(Ok(session))
}

/// Hashes what goes through it.
struct Hashing<T> {
    inner: T,
    hash: Sha256,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Self {
        Self { inner, hash: Sha256::new() }
    }
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(bytes)?;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }
}
