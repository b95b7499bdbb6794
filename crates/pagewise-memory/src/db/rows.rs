//! Messages, blocks, passages and the queue as rows.

use jiff::Timestamp;
use pagewise_core::{Message, MessageBody, MessageId};
use rusqlite::types::Type;
use rusqlite::{Row, named_params};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::Db;
use crate::StoreError;

/// A labelled part of working context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The name by which the model edits it.
    pub label: String,
    /// What it is for, in a few words for the model.
    pub description: String,
    /// The text, line by line.
    pub value: String,
    /// The longest that the model may make it, in characters.
    pub limit_chars: usize,
    /// Whether only the user may change it.
    pub read_only: bool,
}

/// A block as it was saved at some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockVersion {
    /// The block.
    #[serde(flatten)]
    pub block: Block,
    /// When it was saved.
    pub at: Timestamp,
    /// The call that changed it; `None` if the user or the program did.
    pub cause: Option<MessageId>,
}

/// What the FIFO queue was when it was saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// The oldest message in view; those before it were evicted.
    pub first_in_view: MessageId,
    /// The recursive summary of the evicted ones.
    pub summary: Option<Summary>,
    /// Whether the model was warned of memory pressure since the last flush.
    pub warned: bool,
}

impl Default for QueueState {
    fn default() -> Self {
        Self { first_in_view: MessageId(1), summary: None, warned: false }
    }
}

/// A recursive summary (MemGPT paper, section 2.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// What it says.
    pub text: String,
    /// How many messages it stands for, all flushes together.
    pub n_messages: u64,
}

/// The number of a passage in archival storage; later passages have greater numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PassageId(pub i64);

/// A passage to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPassage {
    /// The text.
    pub text: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// The document it is from; `None` for a note.
    pub source: Option<String>,
    /// When it is stored.
    pub at: Timestamp,
}

/// A piece of archival storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// Its number.
    pub id: PassageId,
    /// The text.
    pub text: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// The document it is from; `None` for a note.
    pub source: Option<String>,
    /// When it was stored.
    pub at: Timestamp,
}

/// What inserting a passage did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It is new.
    New(PassageId),
    /// The same text from the same source was there, and stays as it is.
    Existing(PassageId),
}

impl Inserted {
    /// Returns the passage's number.
    pub fn id(self) -> PassageId {
        match self {
            Self::New(id) | Self::Existing(id) => id,
        }
    }
}

/// A document in archival storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Its name: the source of its passages.
    pub name: String,
    /// How many passages it has.
    pub n_passages: u64,
    /// When its first passage was stored.
    pub at: Timestamp,
}

const NANOSECONDS: i128 = 1_000_000_000;

/// Splits a time so that comparing the first numbers compares the times, before 1970 as well.
pub(super) fn split_time(at: Timestamp) -> (i64, i64) {
    let nanoseconds = at.as_nanosecond();
    // A timestamp is within ±10,000 years, so both parts fit.
    (nanoseconds.div_euclid(NANOSECONDS) as i64, nanoseconds.rem_euclid(NANOSECONDS) as i64)
}

/// Reads a time from the columns `at_second` and `at_nanosecond`.
fn time(row: &Row<'_>) -> rusqlite::Result<Timestamp> {
    let second: i64 = row.get("at_second")?;
    let nanosecond: i64 = row.get("at_nanosecond")?;
    Timestamp::from_nanosecond(i128::from(second) * NANOSECONDS + i128::from(nanosecond)).map_err(
        |error| rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, Box::new(error)),
    )
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}

fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message { id: MessageId(row.get("id")?), at: time(row)?, body: json(row, "body")? })
}

fn passage(row: &Row<'_>) -> rusqlite::Result<Passage> {
    Ok(Passage {
        id: PassageId(row.get("id")?),
        text: row.get("text")?,
        tags: json(row, "tags")?,
        source: row.get("source")?,
        at: time(row)?,
    })
}

fn block_version(row: &Row<'_>) -> rusqlite::Result<BlockVersion> {
    let limit_chars: i64 = row.get("limit_chars")?;
    Ok(BlockVersion {
        block: Block {
            label: row.get("label")?,
            description: row.get("description")?,
            value: row.get("value")?,
            limit_chars: usize::try_from(limit_chars).unwrap_or(0),
            read_only: row.get("read_only")?,
        },
        at: time(row)?,
        cause: row.get::<_, Option<i64>>("cause")?.map(MessageId),
    })
}

/// Two passages are the same if this is.
pub(crate) fn passage_digest(text: &str, source: Option<&str>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    match source {
        Some(source) => {
            hasher.update([1]);
            hasher.update((source.len() as u64).to_le_bytes());
            hasher.update(source);
        }
        None => hasher.update([0]),
    }
    hasher.update(text);
    hasher.finalize().into()
}

impl Db {
    fn json<T: Serialize>(&self, value: &T) -> Result<String, StoreError> {
        serde_json::to_string(value).map_err(|error| StoreError::Sql {
            path: self.path().into(),
            reason: error.to_string(),
        })
    }

    pub(crate) fn count(&self, table: &str) -> Result<u64, StoreError> {
        let n: i64 = self.one(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        Ok(n.unsigned_abs())
    }

    pub(crate) fn append_message(
        &self,
        at: Timestamp,
        body: MessageBody,
    ) -> Result<Message, StoreError> {
        self.insert_message(None, at, &body)?;
        Ok(Message { id: MessageId(self.last_id()), at, body })
    }

    /// Puts a message under the number that it had in another store.
    pub(crate) fn restore_message(&self, message: &Message) -> Result<(), StoreError> {
        self.insert_message(Some(message.id), message.at, &message.body)
    }

    /// Without a number it gets the next one.
    fn insert_message(
        &self,
        id: Option<MessageId>,
        at: Timestamp,
        body: &MessageBody,
    ) -> Result<(), StoreError> {
        let (second, nanosecond) = split_time(at);
        let spoken = body.spoken().filter(|text| !text.trim().is_empty());
        self.execute(
            "INSERT INTO messages (id, at_second, at_nanosecond, role, spoken, body)
             VALUES (:id, :second, :nanosecond, :role, :spoken, :body)",
            named_params! {
                ":id": id.map(|id| id.0), ":second": second, ":nanosecond": nanosecond,
                ":role": body.role().name(), ":spoken": spoken, ":body": self.json(body)?,
            },
        )?;
        Ok(())
    }

    pub(crate) fn messages_from(&self, first: MessageId) -> Result<Vec<Message>, StoreError> {
        self.all(
            "SELECT id, at_second, at_nanosecond, body FROM messages WHERE id >= ?1 ORDER BY id",
            [first.0],
            message,
        )
    }

    pub(crate) fn message(&self, id: i64) -> Result<Message, StoreError> {
        self.one(
            "SELECT id, at_second, at_nanosecond, body FROM messages WHERE id = ?1",
            [id],
            message,
        )
    }

    pub(crate) fn find_message(&self, id: MessageId) -> Result<Option<Message>, StoreError> {
        self.optional(
            "SELECT id, at_second, at_nanosecond, body FROM messages WHERE id = ?1",
            [id.0],
            message,
        )
    }

    pub(crate) fn last_message_at(&self) -> Result<Option<Timestamp>, StoreError> {
        self.optional(
            "SELECT at_second, at_nanosecond FROM messages ORDER BY id DESC LIMIT 1",
            [],
            time,
        )
    }

    pub(crate) fn queue(&self) -> Result<QueueState, StoreError> {
        let state = self.optional(
            "SELECT first_in_view, summary, summarised_messages, warned FROM queue",
            [],
            |row| {
                let n_messages: i64 = row.get("summarised_messages")?;
                let text: Option<String> = row.get("summary")?;
                Ok(QueueState {
                    first_in_view: MessageId(row.get("first_in_view")?),
                    summary: text
                        .map(|text| Summary { text, n_messages: n_messages.unsigned_abs() }),
                    warned: row.get("warned")?,
                })
            },
        )?;
        Ok(state.unwrap_or_default())
    }

    pub(crate) fn set_queue(&self, state: &QueueState) -> Result<(), StoreError> {
        let n_messages = state.summary.as_ref().map_or(0, |summary| summary.n_messages);
        self.execute(
            "INSERT OR REPLACE INTO queue (id, first_in_view, summary, summarised_messages, warned)
             VALUES (1, :first, :summary, :n, :warned)",
            named_params! {
                ":first": state.first_in_view.0,
                ":summary": state.summary.as_ref().map(|summary| &summary.text),
                ":n": i64::try_from(n_messages).unwrap_or(i64::MAX),
                ":warned": state.warned,
            },
        )?;
        Ok(())
    }

    pub(crate) fn save_block(
        &self,
        block: &Block,
        at: Timestamp,
        cause: Option<MessageId>,
    ) -> Result<(), StoreError> {
        let (second, nanosecond) = split_time(at);
        self.execute(
            "INSERT INTO block_versions
             (label, description, value, limit_chars, read_only, at_second, at_nanosecond, cause)
             VALUES (:label, :description, :value, :limit, :read_only, :second, :nanosecond, :cause)",
            named_params! {
                ":label": block.label, ":description": block.description, ":value": block.value,
                ":limit": i64::try_from(block.limit_chars).unwrap_or(i64::MAX),
                ":read_only": block.read_only, ":second": second, ":nanosecond": nanosecond,
                ":cause": cause.map(|cause| cause.0),
            },
        )?;
        Ok(())
    }

    /// The latest version of each block, in the order in which the blocks were first saved.
    pub(crate) fn blocks(&self) -> Result<Vec<Block>, StoreError> {
        self.all(
            "SELECT version.* FROM block_versions AS version
             JOIN (SELECT min(id) AS first, max(id) AS last FROM block_versions GROUP BY label) AS label
             ON version.id = label.last ORDER BY label.first",
            [],
            |row| Ok(block_version(row)?.block),
        )
    }

    pub(crate) fn block_history(&self) -> Result<Vec<BlockVersion>, StoreError> {
        self.all("SELECT * FROM block_versions ORDER BY id", [], block_version)
    }

    pub(crate) fn insert_passage(&self, passage: &NewPassage) -> Result<Inserted, StoreError> {
        let digest = passage_digest(&passage.text, passage.source.as_deref());
        let existing =
            self.optional("SELECT id FROM passages WHERE digest = ?1", [digest], |row| row.get(0))?;
        if let Some(id) = existing {
            return Ok(Inserted::Existing(PassageId(id)));
        }
        self.put_passage(None, passage, digest)?;
        Ok(Inserted::New(PassageId(self.last_id())))
    }

    /// Puts a passage, which must not be there, under the number that it had in another store.
    pub(crate) fn restore_passage(&self, passage: &Passage) -> Result<(), StoreError> {
        let Passage { id, text, tags, source, at } = passage.clone();
        let digest = passage_digest(&text, source.as_deref());
        self.put_passage(Some(id), &NewPassage { text, tags, source, at }, digest)
    }

    /// Without a number it gets the next one.
    fn put_passage(
        &self,
        id: Option<PassageId>,
        passage: &NewPassage,
        digest: [u8; 32],
    ) -> Result<(), StoreError> {
        let (second, nanosecond) = split_time(passage.at);
        self.execute(
            "INSERT INTO passages (id, at_second, at_nanosecond, source, tags, text, digest)
             VALUES (:id, :second, :nanosecond, :source, :tags, :text, :digest)",
            named_params! {
                ":id": id.map(|id| id.0), ":second": second, ":nanosecond": nanosecond,
                ":source": passage.source, ":tags": self.json(&passage.tags)?,
                ":text": passage.text, ":digest": digest,
            },
        )?;
        Ok(())
    }

    pub(crate) fn passages(&self) -> Result<Vec<Passage>, StoreError> {
        self.all("SELECT * FROM passages ORDER BY id", [], passage)
    }

    pub(crate) fn passage(&self, id: i64) -> Result<Passage, StoreError> {
        self.one("SELECT * FROM passages WHERE id = ?1", [id], passage)
    }

    pub(crate) fn documents(&self) -> Result<Vec<Document>, StoreError> {
        self.all(
            "SELECT passage.source, document.n, passage.at_second, passage.at_nanosecond
             FROM (SELECT min(id) AS first, count(*) AS n FROM passages
                   WHERE source IS NOT NULL GROUP BY source) AS document
             JOIN passages AS passage ON passage.id = document.first ORDER BY document.first",
            [],
            |row| {
                let n: i64 = row.get("n")?;
                Ok(Document {
                    name: row.get("source")?,
                    n_passages: n.unsigned_abs(),
                    at: time(row)?,
                })
            },
        )
    }
}
