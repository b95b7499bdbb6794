use std::io;
use std::path::{Path, PathBuf};

use pagewise_core::EmbedError;
use rusqlite::ErrorCode;
use thiserror::Error;

/// The store could not do what was asked. Nothing was changed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process has the agent open.
    #[error(
        "the agent's memory in {} is in use by {}; close that one first",
        path.display(),
        pid.map_or_else(|| "another process".to_string(), |pid| format!("another process (pid {pid})"))
    )]
    Locked {
        /// The agent's folder.
        path: PathBuf,
        /// The other process, if it said who it is.
        pid: Option<u32>,
    },
    /// The file is no database of ours, or no longer.
    #[error(
        "the database {} is damaged: {reason}; it was left as it is; put a backup in its place, or \
         move it away to start with an empty memory",
        path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A later release wrote the database.
    #[error(
        "the database {} was written by a newer pagewise (its format is {found}, and this program \
         knows formats up to {known}); it was left as it is; use the newer program",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this program knows.
        known: u32,
    },
    /// There is no space left.
    #[error("the disk is full: {} cannot grow; free some space and try again", path.display())]
    DiskFull {
        /// The database.
        path: PathBuf,
    },
    /// The folder or the database may not be written.
    #[error("{} cannot be written ({reason}); check its permissions", path.display())]
    NotWritable {
        /// What cannot be written.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Reading or writing failed.
    #[error("{} cannot be read or written: {reason}", path.display())]
    Io {
        /// What was read or written.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The embedder failed.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// A statement failed in a way that none of the above covers: a bug.
    #[error("the database {} refused a statement: {reason}", path.display())]
    Sql {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
}

impl StoreError {
    pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.into(), reason: reason.into() }
    }

    /// Says what an error of SQLite means for the database at `path`.
    pub(crate) fn of_sql(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_path_buf();
        let reason = error.to_string();
        match error {
            // The file that the processes with the database open share cannot be given its size.
            rusqlite::Error::SqliteFailure(failure, _)
                if failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE =>
            {
                Self::DiskFull { path }
            }
            rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                    Self::Damaged { path, reason }
                }
                ErrorCode::DiskFull => Self::DiskFull { path },
                ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
                    Self::NotWritable { path, reason }
                }
                ErrorCode::SystemIoFailure => Self::Io { path, reason },
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                    Self::Locked { path, pid: None }
                }
                // The full-text index keeps its own format in a table.
                _ if reason.contains("invalid fts5 file format")
                    || reason.contains("vtable constructor failed") =>
                {
                    Self::Damaged { path, reason }
                }
                _ => Self::Sql { path, reason },
            },
            // A value that is not what the program writes there.
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..) => Self::Damaged { path, reason },
            _ => Self::Sql { path, reason },
        }
    }

    /// Says what an error of the system means for the file or folder at `path`.
    pub(crate) fn of_io(path: &Path, error: &io::Error) -> Self {
        let path = path.to_path_buf();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::IsADirectory => Self::NotWritable { path, reason: error.to_string() },
            _ => Self::Io { path, reason: error.to_string() },
        }
    }
}
