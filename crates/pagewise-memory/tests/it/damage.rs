//! Databases that are damaged, newer, foreign or not writable: a clear error, and the file as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use pagewise_memory::{Block, SearchMode};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rusqlite::Connection;

use super::*;

/// A store of some pages, closed, and the path of its database.
fn sound(folder: &Path) -> std::path::PathBuf {
    let mut store = open(folder);
    store
        .transact(|tx| {
            for n in 0..60 {
                let text = format!("note number {n} about topic{}", n % 9);
                tx.append(second(n), user(&text.replace("note", "message")))?;
                tx.insert_passage(&NewPassage { text, tags: vec![], source: None, at: second(n) })?;
            }
            Ok(())
        })
        .unwrap();
    let block = Block {
        label: "human".into(),
        description: "d".into(),
        value: "v".into(),
        limit_chars: 9,
        read_only: false,
    };
    store.transact(|tx| tx.save_block(&block, second(0), None)).unwrap();
    store.embed_pending(usize::MAX).unwrap();
    drop(store);
    folder.join("memory.db")
}

fn use_all(store: &mut Store) -> Result<(), StoreError> {
    store.messages_from(pagewise_core::MessageId(0))?;
    store.working_context()?;
    store.queue()?;
    store.export()?;
    for mode in [SearchMode::Words, SearchMode::Fused] {
        store.recall_search(&recall("topic3", mode))?;
        store.archival_search(&archival("topic3", mode))?;
    }
    store.transact(|tx| tx.append(second(0), user("more about topic3")))?;
    store.check()?;
    Ok(())
}

fn refused(folder: &Path) -> StoreError {
    let path = folder.join("memory.db");
    let before = fs::read(&path).unwrap();
    let error = try_open(folder).err().expect("the database was opened");
    assert!(fs::read(&path).unwrap() == before, "the database was changed");
    error
}

#[test]
fn a_mutated_database_never_panics_and_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let sound_bytes = fs::read(sound(folder.path())).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (mut n_refused, mut n_used, mut n_failed_later) = (0, 0, 0);
    for round in 0..200 {
        let copy = tempfile::tempdir().unwrap();
        let path = copy.path().join("memory.db");
        let mut bytes = sound_bytes.clone();
        let place = rng.random_range(0..bytes.len());
        match round % 5 {
            0 => bytes[place] ^= 1 << rng.random_range(0..8),
            1 => bytes.truncate(place),
            2 => {
                let end = bytes.len().min(place + rng.random_range(1..600));
                bytes[place..end].iter_mut().for_each(|byte| *byte = rng.next_u32() as u8);
            }
            // The header and the schema.
            3 => {
                for _ in 0..3 {
                    bytes[rng.random_range(0..4096)] = rng.next_u32() as u8;
                }
            }
            _ => {
                let other = rng.random_range(0..bytes.len() / 4096) * 4096;
                let page = place / 4096 * 4096;
                bytes.copy_within(other..other + 4096, page);
            }
        }
        fs::write(&path, &bytes).unwrap();
        match try_open(copy.path()) {
            Err(error) => {
                n_refused += 1;
                assert!(
                    fs::read(&path).unwrap() == bytes,
                    "round {round}: a refused database was changed"
                );
                let clear = matches!(error, StoreError::Damaged { .. } | StoreError::Newer { .. })
                    || (bytes.is_empty() && matches!(error, StoreError::Damaged { .. }));
                assert!(clear, "round {round}: {error:?}");
                assert!(error.to_string().contains("memory.db"), "{error}");
            }
            Ok(mut store) => match use_all(&mut store) {
                Ok(()) => n_used += 1,
                Err(StoreError::Damaged { .. }) => n_failed_later += 1,
                Err(error) => panic!("round {round}: {error:?}"),
            },
        }
    }
    println!(
        "200 mutated databases: {n_refused} refused at once, {n_failed_later} later, {n_used} still of use"
    );
    // The rest changed what rows say, not what they are made of: SQLite has no checksums.
    assert!(n_refused >= 60);
}

#[test]
fn a_newer_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = sound(folder.path());
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA user_version = 7; CREATE TABLE later (x);").unwrap();
    drop(connection);
    let error = refused(folder.path());
    assert!(matches!(error, StoreError::Newer { found: 7, known: 2, .. }));
    let text = error.to_string().replace(&path.display().to_string(), "PATH");
    insta::assert_snapshot!(text, @"the database PATH was written by a newer pagewise (its format is 7, and this program knows formats up to 2); it was left as it is; use the newer program");
}

#[test]
fn a_file_that_is_no_database_of_ours_is_refused() {
    for content in ["not a database at all", "SQLite format 3\0", &"x".repeat(5000)] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("memory.db"), content).unwrap();
        let error = refused(folder.path());
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains("not a SQLite database"), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::open(folder.path().join("memory.db")).unwrap();
    connection.execute_batch("PRAGMA application_id = 5; CREATE TABLE theirs (x);").unwrap();
    drop(connection);
    let error = refused(folder.path());
    assert!(error.to_string().contains("another program"), "{error}");
}

#[test]
fn foreign_tables_and_triggers_are_refused() {
    for change in [
        "CREATE TRIGGER evil AFTER INSERT ON messages BEGIN DELETE FROM passages; END",
        "DROP TRIGGER message_words_insert",
        "DROP TABLE queue",
        "ALTER TABLE queue ADD COLUMN more TEXT",
        "CREATE VIEW a AS SELECT 1",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = sound(folder.path());
        Connection::open(&path).unwrap().execute_batch(change).unwrap();
        let error = refused(folder.path());
        assert!(matches!(error, StoreError::Damaged { .. }), "{change}: {error:?}");
    }
}

#[test]
fn a_row_that_cannot_be_read_is_damage() {
    for change in [
        "UPDATE messages SET body = '{' WHERE id = 5",
        "UPDATE messages SET body = '{\"kind\":\"later\"}' WHERE id = 5",
        "UPDATE messages SET body = CAST(x'ff' AS TEXT) WHERE id = 5",
        "UPDATE messages SET at_second = 9223372036854775807 WHERE id = 5",
        "UPDATE passages SET tags = '{}' WHERE id = 5",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = sound(folder.path());
        Connection::open(&path).unwrap().execute_batch(change).unwrap();
        let mut store = open(folder.path());
        assert!(matches!(use_all(&mut store), Err(StoreError::Damaged { .. })), "{change}");
    }
}

#[test]
fn a_vector_that_cannot_be_read_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = sound(folder.path());
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("UPDATE message_vectors SET vector = x'00' WHERE id = 5").unwrap();
    connection
        .execute("UPDATE message_vectors SET vector = ?1 WHERE id = 6", [[255_u8; 256]])
        .unwrap();
    drop(connection);
    let mut store = open(folder.path());
    assert_eq!(store.check().unwrap().recall.n_pending, 1);
    assert_eq!(store.embed_pending(100).unwrap(), 1);
    let hits = found(&mut store, &recall("message number 4 about topic4", SearchMode::Meaning));
    assert_eq!(hits[0], 5);
    assert!(!hits.contains(&6), "a vector of NaN is near to nothing");
}

#[test]
fn a_text_index_that_differs_from_its_texts_is_found_and_made_anew() {
    for recipe in [
        "DELETE FROM message_words WHERE rowid = 3",
        "INSERT INTO message_words (message_words) VALUES ('delete-all')",
        "INSERT INTO message_words (rowid, text) VALUES (99999, 'ghost')",
        "INSERT INTO message_words (message_words, rowid, text) VALUES ('delete', 4, 'other words')",
        "INSERT INTO message_words (rowid, text) VALUES (3, 'doubled')",
        "DELETE FROM message_words_docsize WHERE id = 3",
        "DELETE FROM message_words_data WHERE id > 10",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = sound(folder.path());
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(recipe).unwrap();
        drop(connection);
        let mut store = match try_open(folder.path()) {
            Ok(store) => store,
            Err(StoreError::Damaged { .. }) => continue,
            Err(error) => panic!("{recipe}: {error:?}"),
        };
        let report = store.check().unwrap();
        assert!(!report.is_sound(), "{recipe}");
        assert!(
            report.problems.iter().any(|problem| problem.contains("recall")),
            "{:?}",
            report.problems
        );
        store.rebuild_words().unwrap();
        assert_eq!(store.check().unwrap().problems, [] as [String; 0], "{recipe}");
        assert_eq!(found(&mut store, &recall("2", SearchMode::Words)), [3], "{recipe}");
    }
}

#[test]
fn what_may_not_be_written_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    let error = try_open(&file).err().unwrap();
    assert!(matches!(&error, StoreError::NotWritable { path, .. } if *path == file), "{error:?}");
    let error = try_open(&file.join("below")).err().unwrap();
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error:?}");

    let folder = tempfile::tempdir().unwrap();
    let path = sound(folder.path());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(matches!(refused(folder.path()), StoreError::NotWritable { .. }));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    open(folder.path());

    // The superuser may write anywhere, so only others can be shown a folder that is read-only.
    let closed = parent.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    let is_superuser = fs::write(closed.join("probe"), "").is_ok();
    let opened = try_open(&closed);
    assert_eq!(opened.is_ok(), is_superuser);
    if let Err(error) = opened {
        assert!(matches!(error, StoreError::NotWritable { .. }), "{error:?}");
    }
}
