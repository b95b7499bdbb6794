//! What the tables are, version by version.

use std::path::Path;

use rusqlite::Connection;

use super::Db;
use crate::StoreError;

/// `PRAGMA application_id`: the letters `pgws`.
const APPLICATION_ID: u32 = u32::from_be_bytes(*b"pgws");

/// The bytes of a database file that name what it is.
pub(super) const HEADER_BYTES: usize = 100;

/// The changes from each version of the schema to the next; a database's `user_version` is how
/// many of them it has seen. Published ones are never edited.
const MIGRATIONS: &[&str] = &[M001_FIRST, M002_TWO_SETS_OF_VECTORS];

/// The newest version that this program knows.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

const M001_FIRST: &str = "
CREATE TABLE messages (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    at_second     INTEGER NOT NULL,
    at_nanosecond INTEGER NOT NULL,
    role          TEXT NOT NULL,
    spoken        TEXT,
    body          TEXT NOT NULL
) STRICT;
CREATE INDEX messages_spoken ON messages (role, at_second) WHERE spoken IS NOT NULL;
CREATE VIEW spoken_messages (id, text) AS
    SELECT id, spoken FROM messages WHERE spoken IS NOT NULL;
CREATE VIRTUAL TABLE message_words USING fts5 (
    text, content='spoken_messages', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER message_words_insert AFTER INSERT ON messages WHEN new.spoken IS NOT NULL BEGIN
    INSERT INTO message_words (rowid, text) VALUES (new.id, new.spoken);
END;
CREATE TRIGGER message_words_delete AFTER DELETE ON messages WHEN old.spoken IS NOT NULL BEGIN
    INSERT INTO message_words (message_words, rowid, text) VALUES ('delete', old.id, old.spoken);
END;
CREATE TRIGGER message_words_update_old AFTER UPDATE ON messages WHEN old.spoken IS NOT NULL BEGIN
    INSERT INTO message_words (message_words, rowid, text) VALUES ('delete', old.id, old.spoken);
    DELETE FROM message_vectors WHERE id = old.id;
END;
CREATE TRIGGER message_words_update_new AFTER UPDATE ON messages WHEN new.spoken IS NOT NULL BEGIN
    INSERT INTO message_words (rowid, text) VALUES (new.id, new.spoken);
END;
CREATE TABLE message_vectors (
    id       INTEGER PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    embedder TEXT NOT NULL,
    vector   BLOB NOT NULL
) STRICT;

CREATE TABLE passages (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    at_second     INTEGER NOT NULL,
    at_nanosecond INTEGER NOT NULL,
    source        TEXT,
    tags          TEXT NOT NULL,
    text          TEXT NOT NULL,
    digest        BLOB NOT NULL UNIQUE
) STRICT;
CREATE INDEX passages_source ON passages (source);
CREATE VIRTUAL TABLE passage_words USING fts5 (
    text, content='passages', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER passage_words_insert AFTER INSERT ON passages BEGIN
    INSERT INTO passage_words (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER passage_words_delete AFTER DELETE ON passages BEGIN
    INSERT INTO passage_words (passage_words, rowid, text) VALUES ('delete', old.id, old.text);
END;
CREATE TRIGGER passage_words_update AFTER UPDATE ON passages BEGIN
    INSERT INTO passage_words (passage_words, rowid, text) VALUES ('delete', old.id, old.text);
    INSERT INTO passage_words (rowid, text) VALUES (new.id, new.text);
    DELETE FROM passage_vectors WHERE id = old.id;
END;
CREATE TABLE passage_vectors (
    id       INTEGER PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE,
    embedder TEXT NOT NULL,
    vector   BLOB NOT NULL
) STRICT;

CREATE TABLE block_versions (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    label         TEXT NOT NULL,
    description   TEXT NOT NULL,
    value         TEXT NOT NULL,
    limit_chars   INTEGER NOT NULL,
    read_only     INTEGER NOT NULL,
    at_second     INTEGER NOT NULL,
    at_nanosecond INTEGER NOT NULL,
    cause         INTEGER REFERENCES messages (id)
) STRICT;
CREATE INDEX block_versions_label ON block_versions (label);

CREATE TABLE queue (
    id                  INTEGER PRIMARY KEY CHECK (id = 1),
    first_in_view       INTEGER NOT NULL,
    summary             TEXT,
    summarised_messages INTEGER NOT NULL,
    warned              INTEGER NOT NULL
) STRICT;
";

/// While the embedder changes there are two sets of vectors: one is searched, one is filled.
const M002_TWO_SETS_OF_VECTORS: &str = "
CREATE TABLE message_vectors_second (
    id       INTEGER PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    embedder TEXT NOT NULL,
    vector   BLOB NOT NULL
) STRICT;
CREATE TRIGGER message_vectors_second_update AFTER UPDATE ON messages WHEN old.spoken IS NOT NULL BEGIN
    DELETE FROM message_vectors_second WHERE id = old.id;
END;
CREATE TABLE passage_vectors_second (
    id       INTEGER PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE,
    embedder TEXT NOT NULL,
    vector   BLOB NOT NULL
) STRICT;
CREATE TRIGGER passage_vectors_second_update AFTER UPDATE ON passages BEGIN
    DELETE FROM passage_vectors_second WHERE id = old.id;
END;

CREATE TABLE embedder (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    name       TEXT NOT NULL,
    dimensions INTEGER NOT NULL,
    folder     TEXT,
    is_second  INTEGER NOT NULL
) STRICT;
INSERT INTO embedder (id, name, dimensions, folder, is_second)
    SELECT 1, embedder, max(length(vector)) / 4, NULL, 0
    FROM (SELECT embedder, vector FROM message_vectors
          UNION ALL SELECT embedder, vector FROM passage_vectors)
    GROUP BY embedder ORDER BY count(*) DESC, embedder LIMIT 1;
";

/// Refuses a file that is no database, not ours, or a newer program's, by its first bytes.
pub(super) fn check_header(path: &Path, header: &[u8]) -> Result<(), StoreError> {
    if header.len() < HEADER_BYTES || !header.starts_with(b"SQLite format 3\0") {
        return Err(StoreError::damaged(path, "it is not a SQLite database"));
    }
    // How it is read and written: 1 with a rollback journal, 2 with a log.
    if header[18..20].iter().any(|version| !matches!(version, 1 | 2)) {
        return Err(StoreError::damaged(path, "its header is not as SQLite writes it"));
    }
    check_numbers(path, number(header, 68), number(header, 60))
}

fn number(header: &[u8], at: usize) -> u32 {
    header[at..at + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn check_numbers(path: &Path, application_id: u32, version: u32) -> Result<(), StoreError> {
    match (application_id, version) {
        // Cut off between being made and its first commit; the log decides.
        (0, 0) => Ok(()),
        (APPLICATION_ID, version) if version > VERSION => {
            Err(StoreError::Newer { path: path.into(), found: version, known: VERSION })
        }
        (APPLICATION_ID, _) => Ok(()),
        _ => Err(StoreError::damaged(path, "it is the database of another program")),
    }
}

/// Refuses a database whose tables are not those of its version: another program's triggers in it
/// would run with our statements.
pub(super) fn check(db: &Db) -> Result<(), StoreError> {
    // A page that cannot be read is damage, whatever SQLite calls it.
    let damaged = |error| match error {
        StoreError::Sql { path, reason } => StoreError::Damaged { path, reason },
        error => error,
    };
    let id = db.one("PRAGMA application_id", [], |row| row.get::<_, i64>(0)).map_err(damaged)?;
    let version = db.one("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).map_err(damaged)?;
    let (id, version) = (id as u32, version as u32);
    check_numbers(db.path(), id, version)?;
    let found = db
        .all(OBJECTS, [], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)))
        .map_err(damaged)?;
    let expected = expected_objects(version).map_err(|error| db.error(&error))?;
    match found.iter().zip(&expected).find(|(found, expected)| found != expected) {
        Some(((name, _), _)) => Err(StoreError::damaged(
            db.path(),
            format!("its table or index {name:?} is not as it was made"),
        )),
        None if found.len() != expected.len() => {
            Err(StoreError::damaged(db.path(), "it has other tables than it was made with"))
        }
        None => Ok(()),
    }
}

/// What FTS5 and SQLite make for themselves is theirs to change from release to release.
const OBJECTS: &str = "
SELECT name, sql FROM sqlite_schema
WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
  AND name NOT IN ('message_words_data', 'message_words_idx', 'message_words_docsize', 'message_words_config')
  AND name NOT IN ('passage_words_data', 'passage_words_idx', 'passage_words_docsize', 'passage_words_config')
ORDER BY name";

fn expected_objects(version: u32) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    let connection = Connection::open_in_memory()?;
    for migration in MIGRATIONS.iter().take(version as usize) {
        connection.execute_batch(migration)?;
    }
    let mut statement = connection.prepare(OBJECTS)?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Brings the database up to date, each version in a transaction of its own.
pub(super) fn migrate(db: &Db) -> Result<(), StoreError> {
    loop {
        let version = db.one("PRAGMA user_version", [], |row| row.get::<_, i64>(0))?;
        let Some(migration) =
            usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version))
        else {
            return Ok(());
        };
        let transaction = db.begin()?;
        db.batch(migration)?;
        db.batch(&format!(
            "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {};",
            version + 1
        ))?;
        db.commit(transaction)?;
        tracing::debug!(version = version + 1, "migrated the store");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::FILE_NAME;
    use crate::db::texts::{SearchedSet, VectorSet};

    /// A store as the first release left it, with these statements run on it.
    fn first_version(statements: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join(FILE_NAME)).unwrap();
        connection.execute_batch(M001_FIRST).unwrap();
        connection.execute_batch(statements).unwrap();
        let numbers = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;");
        connection.execute_batch(&numbers).unwrap();
        folder
    }

    #[test]
    fn whose_vectors_a_store_has_is_known_after_the_second_migration() {
        let folder = first_version(
            "INSERT INTO messages (at_second, at_nanosecond, role, spoken, body) VALUES
                 (0, 0, 'user', 'a', '{}'), (0, 0, 'user', 'b', '{}'), (0, 0, 'user', 'c', '{}');
             INSERT INTO message_vectors VALUES
                 (1, 'few', zeroblob(4)), (2, 'many', zeroblob(8)), (3, 'many', zeroblob(8));",
        );
        let set = VectorSet { embedder: "many".into(), dimensions: 2, is_second: false };
        for _ in 0..2 {
            let db = Db::open(folder.path()).unwrap();
            let expected = SearchedSet { set: set.clone(), folder: None };
            assert_eq!(db.searched_set().unwrap(), Some(expected));
        }
        let db = Db::open(first_version("").path()).unwrap();
        assert_eq!(db.searched_set().unwrap(), None);
    }
}
