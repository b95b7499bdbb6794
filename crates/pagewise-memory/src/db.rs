//! The SQLite file: all SQL of the crate is here and below.
//!
//! A commit is durable when it returns (WAL, `synchronous=FULL`). A file that is not ours, is
//! damaged or comes from a newer program is refused before anything is written to it.

pub(crate) mod check;
pub(crate) mod rows;
mod schema;
pub(crate) mod texts;

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pagewise_core::for_owner_alone;
use rusqlite::config::DbConfig;
use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Params, Row, Transaction, TransactionBehavior,
};

use crate::StoreError;

/// The database's name in an agent's folder.
pub(crate) const FILE_NAME: &str = "memory.db";

/// How long a statement waits for another program that reads the file, for example a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Prepared statements kept.
const STATEMENTS_KEPT: usize = 64;

/// A connection to a database that was found to be sound.
#[derive(Debug)]
pub(crate) struct Db {
    connection: Connection,
    path: PathBuf,
}

impl Db {
    /// Opens the database in `folder`, makes it if there is none, and brings it up to date.
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(FILE_NAME);
        let is_new = look_at_header(&path)?;
        let db = Self { connection: connect(&path)?, path };
        if !is_new {
            db.pragma("query_only", "ON")?;
            db.check_pages()?;
            schema::check(&db)?;
            db.pragma("query_only", "OFF")?;
        }
        // Only now may closing the file write to it.
        db.checkpoint_on_close(true)?;
        db.pragma("journal_mode", "WAL")?;
        db.pragma("synchronous", "FULL")?;
        db.pragma("fullfsync", "ON")?;
        db.pragma("checkpoint_fullfsync", "ON")?;
        db.pragma("foreign_keys", "ON")?;
        schema::migrate(&db)?;
        Ok(db)
    }

    /// Returns where the database is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Says what an error of SQLite means.
    pub(crate) fn error(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::of_sql(&self.path, error)
    }

    /// Runs statements that return nothing.
    pub(crate) fn batch(&self, sql: &str) -> Result<(), StoreError> {
        self.connection.execute_batch(sql).map_err(|error| self.error(&error))
    }

    /// Runs a statement and returns how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params))
            .map_err(|error| self.error(&error))
    }

    /// Returns the number of the row that was inserted last.
    pub(crate) fn last_id(&self) -> i64 {
        self.connection.last_insert_rowid()
    }

    /// Returns the one row of a query that always has one.
    pub(crate) fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(params, read))
            .map_err(|error| self.error(&error))
    }

    /// Returns the row of a query that may have none.
    pub(crate) fn optional<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(params, read).optional())
            .map_err(|error| self.error(&error))
    }

    /// Returns all rows of a query.
    pub(crate) fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_map(params, read)?.collect())
            .map_err(|error| self.error(&error))
    }

    /// Begins a transaction that is rolled back unless it is committed.
    pub(crate) fn begin(&self) -> Result<Transaction<'_>, StoreError> {
        Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)
            .map_err(|error| self.error(&error))
    }

    /// Commits; when this returns without an error, what was written survives a loss of power.
    pub(crate) fn commit(&self, transaction: Transaction<'_>) -> Result<(), StoreError> {
        transaction.commit().map_err(|error| self.error(&error))
    }

    fn pragma(&self, name: &str, value: &str) -> Result<(), StoreError> {
        set_pragma(&self.connection, name, value).map_err(|error| self.error(&error))
    }

    fn checkpoint_on_close(&self, allowed: bool) -> Result<(), StoreError> {
        self.connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !allowed)
            .map(drop)
            .map_err(|error| self.error(&error))
    }

    /// Reads every page once, so that damage is found before it is built upon.
    fn check_pages(&self) -> Result<(), StoreError> {
        let found = self.one("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        match found {
            Ok(found) if found == "ok" => Ok(()),
            Ok(found) => Err(StoreError::damaged(&self.path, found.replace('\n', " "))),
            // Whatever SQLite calls it: pages that cannot be checked are damaged.
            Err(StoreError::Sql { path, reason }) => Err(StoreError::Damaged { path, reason }),
            Err(error) => Err(error),
        }
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        set_pragma(&connection, "trusted_schema", "OFF")?;
        set_pragma(&connection, "cell_size_check", "ON")?;
        Ok(connection)
    };
    open().map_err(|error: rusqlite::Error| StoreError::of_sql(path, &error))
}

fn set_pragma(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, name, value, |_| Ok(())).or_else(|error| match error {
        // Most pragmas answer nothing when they are set.
        rusqlite::Error::QueryReturnedNoRows => Ok(()),
        error => Err(error),
    })
}

/// Looks at the first bytes without SQLite, which might already write. Makes the file if there is
/// none; returns whether it is new.
fn look_at_header(path: &Path) -> Result<bool, StoreError> {
    let io = |error: std::io::Error| StoreError::of_io(path, &error);
    let mut header = Vec::with_capacity(schema::HEADER_BYTES);
    match File::open(path) {
        Ok(file) => {
            file.take(schema::HEADER_BYTES as u64).read_to_end(&mut header).map_err(io)?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            for_owner_alone(OpenOptions::new().write(true).create_new(true))
                .open(path)
                .map_err(io)?;
        }
        Err(error) => return Err(io(error)),
    }
    if header.is_empty() {
        // A database that was never written to, unless a log beside it says otherwise.
        let log_bytes = fs::metadata(path.with_extension("db-wal")).map_or(0, |log| log.len());
        return Ok(log_bytes == 0);
    }
    schema::check_header(path, &header)?;
    if fs::metadata(path).map_err(io)?.permissions().readonly() {
        return Err(StoreError::NotWritable {
            path: path.into(),
            reason: "the file is read-only".into(),
        });
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use pagewise_core::MessageBody;

    use super::*;

    #[test]
    fn a_full_disk_undoes_the_transaction_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path()).unwrap();
        let say = |text: &str| {
            let transaction = db.begin()?;
            db.append_message(Timestamp::UNIX_EPOCH, MessageBody::User { text: "short".into() })?;
            db.append_message(Timestamp::UNIX_EPOCH, MessageBody::User { text: text.into() })?;
            db.commit(transaction)
        };
        say("kept").unwrap();
        // SQLite's own limit on pages fails with the code of a full disk.
        let n_pages = db.one("PRAGMA page_count", [], |row| row.get::<_, i64>(0)).unwrap();
        db.pragma("max_page_count", &n_pages.to_string()).unwrap();
        let failed = say(&"long ".repeat(100_000));
        assert!(matches!(failed, Err(StoreError::DiskFull { .. })), "{failed:?}");
        assert_eq!(db.count("messages").unwrap(), 2);
        assert_eq!(db.problems().unwrap(), [] as [String; 0]);
        db.pragma("max_page_count", "100000").unwrap();
        say(&"long ".repeat(100_000)).unwrap();
        assert_eq!(db.count("messages").unwrap(), 4);
    }

    #[test]
    fn a_commit_is_durable_and_the_schema_trusts_nobody() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let db = Db::open(folder.path()).unwrap();
            let number = |name: &str| {
                db.one(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0)).unwrap()
            };
            let found =
                ["synchronous", "foreign_keys", "trusted_schema", "cell_size_check", "query_only"];
            assert_eq!(found.map(number), [2, 1, 0, 1, 0]);
            assert_eq!(number("busy_timeout"), 5000);
            let mode: String = db.one("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
            assert_eq!(mode, "wal");
        }
    }
}
