//! Everything in a store as one document, and a document as everything in a store.
//!
//! A document comes from outside. What is read of it would be written again as it stands, so that
//! nothing in it is lost without a word; what contradicts itself, or is beyond what a store takes,
//! is refused before anything is written. Vectors and indexes are derived, and no part of it.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io::{self, BufReader, Read};
use std::marker::PhantomData;

use pagewise_core::{MAX_NAME_CHARS, Message, MessageBody, MessageId};
use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::StoreError;
use crate::db::rows::{BlockVersion, Passage, QueueState, passage_digest};

/// The layout of documents that this program writes, and the only one so far.
pub(crate) const FORMAT: u32 = 1;

/// The largest document that is read, in bytes: more than is said in a life.
const DOCUMENT_BYTES_MAX: u64 = 1 << 30;

/// The most that a message, a version or a passage may take, in bytes; each value in it, however
/// short, takes [`VALUE_BYTES`]. Without this, a document could take many times its size in memory.
const ITEM_BYTES_MAX: usize = 16 << 20;

/// What a value takes in memory beside its text, in bytes.
const VALUE_BYTES: usize = size_of::<Value>();

/// The greatest number of a message or passage: the last that is exact in all readers of JSON, and far
/// from the end of those that SQLite has.
const ID_MAX: i64 = (1 << 53) - 1;

/// The greatest limit of a block, in characters: longer ones fit into no window.
const BLOCK_CHARS_MAX: usize = 100_000;

/// Everything in a store, for people, other programs and [`Store::import`](crate::Store::import).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// The layout of this.
    #[serde(deserialize_with = "format")]
    pub format: u32,
    /// All messages in order.
    #[serde(deserialize_with = "items")]
    pub messages: Vec<Message>,
    /// What is in view, and the recursive summary.
    #[serde(deserialize_with = "item")]
    pub queue: QueueState,
    /// All versions of all blocks in order; the last one of each label stands.
    #[serde(deserialize_with = "items")]
    pub blocks: Vec<BlockVersion>,
    /// All passages in order.
    #[serde(deserialize_with = "items")]
    pub passages: Vec<Passage>,
}

/// A document could not become the memory in a store. Nothing was changed.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The document is not JSON, or has not the fields of an export.
    #[error("it cannot be read as an export (line {line}, column {column}): {problem}")]
    Malformed {
        /// Where that was found, from 1.
        line: usize,
        /// Where in the line, in bytes; 0 before its first one.
        column: usize,
        /// What is wrong there.
        problem: String,
    },
    /// What the document says cannot be.
    #[error("{place} {problem}")]
    Invalid {
        /// The part of the document, such as `messages[3]`.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The document is larger than any that is read.
    #[error("it has more than {DOCUMENT_BYTES_MAX} bytes")]
    TooLarge,
    /// The document could not be read to its end.
    #[error("it cannot be read: {0}")]
    Io(io::Error),
    /// The store has a memory already, with which the document's would be mixed up.
    #[error(
        "there are {n_messages} messages, {n_versions} versions of blocks and {n_passages} passages in it"
    )]
    NotEmpty {
        /// The messages in recall storage.
        n_messages: u64,
        /// The versions of blocks of working context.
        n_versions: u64,
        /// The passages in archival storage.
        n_passages: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<serde_json::Error> for ImportError {
    fn from(error: serde_json::Error) -> Self {
        if !error.is_io() {
            let (line, column, text) = (error.line(), error.column(), error.to_string());
            let problem = text.strip_suffix(&format!(" at line {line} column {column}"));
            let problem = problem.unwrap_or(&text).to_owned();
            return Self::Malformed { line, column, problem };
        }
        match io::Error::from(error) {
            error if error.kind() == io::ErrorKind::FileTooLarge => Self::TooLarge,
            error => Self::Io(error),
        }
    }
}

impl Export {
    /// Reads a document that [`Store::export`](crate::Store::export) has returned and that was
    /// written as JSON. It may be anybody's: what is wrong with it is an error that names the place.
    pub fn read(document: impl Read) -> Result<Self, ImportError> {
        Self::read_within(document, DOCUMENT_BYTES_MAX)
    }

    fn read_within(document: impl Read, bytes_left: u64) -> Result<Self, ImportError> {
        let document = BufReader::new(Limited { inner: document, bytes_left });
        let export: Self = serde_json::from_reader(document)?;
        export.check()?;
        Ok(export)
    }

    /// Refuses what contradicts itself, or is beyond what a store takes.
    pub(crate) fn check(&self) -> Result<(), ImportError> {
        if self.format != FORMAT {
            return Err(invalid("format", other_format(self.format.into())));
        }
        check_ids("messages", self.messages.iter().map(|message| message.id.0))?;
        check_ids("passages", self.passages.iter().map(|passage| passage.id.0))?;
        self.check_queue()?;
        self.check_blocks()?;
        let mut seen: BTreeMap<[u8; 32], usize> = BTreeMap::new();
        for (index, Passage { text, source, .. }) in self.passages.iter().enumerate() {
            if let Some(first) = seen.insert(passage_digest(text, source.as_deref()), index) {
                let problem = format!("is passages[{first}] again: the same text and source");
                return Err(invalid(format!("passages[{index}]"), problem));
            }
        }
        Ok(())
    }

    fn check_queue(&self) -> Result<(), ImportError> {
        let QueueState { first_in_view, summary, warned: _ } = &self.queue;
        let last = self.messages.last().map_or(0, |message| message.id.0);
        // One more than the last: nothing is in view.
        if !(1..=last + 1).contains(&first_in_view.0) {
            let problem = match last {
                0 => format!("is {}, and there are no messages", first_in_view.0),
                _ => format!("is {}, and the last message is {last}", first_in_view.0),
            };
            return Err(invalid("queue.first_in_view", problem));
        }
        let n_out_of_view = self.messages.partition_point(|message| message.id < *first_in_view);
        let n_messages = summary.as_ref().map_or(0, |summary| summary.n_messages);
        if n_messages > n_out_of_view as u64 {
            let problem = format!("is {n_messages}, and {n_out_of_view} messages are out of view");
            return Err(invalid("queue.summary.n_messages", problem));
        }
        Ok(())
    }

    fn check_blocks(&self) -> Result<(), ImportError> {
        let is_call = |message: &&Message| matches!(message.body, MessageBody::Call(_));
        let calls: HashSet<MessageId> =
            self.messages.iter().filter(is_call).map(|call| call.id).collect();
        for (index, BlockVersion { block, cause, .. }) in self.blocks.iter().enumerate() {
            let refuse = |field: &str, problem: String| {
                Err(invalid(format!("blocks[{index}].{field}"), problem))
            };
            let is_name = (1..=MAX_NAME_CHARS).contains(&block.label.chars().count());
            if !is_name || block.label.chars().any(char::is_control) {
                let problem =
                    format!("is not 1 to {MAX_NAME_CHARS} characters without control characters");
                return refuse("label", problem);
            }
            if block.limit_chars > BLOCK_CHARS_MAX {
                let problem = format!("is {}, more than {BLOCK_CHARS_MAX}", block.limit_chars);
                return refuse("limit_chars", problem);
            }
            let n_chars = block.value.chars().count();
            if n_chars > block.limit_chars {
                let problem =
                    format!("has {n_chars} characters; the block's limit is {}", block.limit_chars);
                return refuse("value", problem);
            }
            if let Some(cause) = cause.filter(|cause| !calls.contains(cause)) {
                return refuse("cause", format!("is {}, which is no call among messages", cause.0));
            }
        }
        Ok(())
    }
}

fn invalid(place: impl Into<String>, problem: impl Into<String>) -> ImportError {
    ImportError::Invalid { place: place.into(), problem: problem.into() }
}

/// Refuses numbers that do not go up from 1 or more.
fn check_ids(list: &str, ids: impl Iterator<Item = i64>) -> Result<(), ImportError> {
    let mut last = 0;
    for (index, id) in ids.enumerate() {
        let problem = match id {
            _ if (last + 1..=ID_MAX).contains(&id) => None,
            _ if id == last && index > 0 => Some(format!("is {id} a second time")),
            _ if (1..=ID_MAX).contains(&id) => Some(format!("is {id}, after {last}")),
            _ => Some(format!("is {id}, and not from 1 to {ID_MAX}")),
        };
        if let Some(problem) = problem {
            return Err(invalid(format!("{list}[{index}].id"), problem));
        }
        last = id;
    }
    Ok(())
}

fn other_format(found: u64) -> String {
    let who = if found > u64::from(FORMAT) { ": a newer pagewise has written it" } else { "" };
    format!("is {found}, and this program reads {FORMAT}{who}")
}

/// Reads the number of the layout, which stands first: of another one, nothing else is read.
fn format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u64::deserialize(deserializer)? {
        found if found == u64::from(FORMAT) => Ok(FORMAT),
        found => Err(D::Error::custom(format!("format {}", other_format(found)))),
    }
}

/// What a document has a list of, or one of.
trait Item: DeserializeOwned + Serialize {
    /// The field of the document.
    const FIELD: &'static str;
}

impl Item for Message {
    const FIELD: &'static str = "messages";
}

impl Item for QueueState {
    const FIELD: &'static str = "queue";
}

impl Item for BlockVersion {
    const FIELD: &'static str = "blocks";
}

impl Item for Passage {
    const FIELD: &'static str = "passages";
}

fn item<'de, D: Deserializer<'de>, T: Item>(deserializer: D) -> Result<T, D::Error> {
    let mut bytes_left = ITEM_BYTES_MAX;
    let value = Bounded { bytes_left: &mut bytes_left }.deserialize(deserializer)?;
    exact(&value, T::FIELD).map_err(D::Error::custom)
}

fn items<'de, D: Deserializer<'de>, T: Item>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct Items<T>(PhantomData<T>);

    impl<'de, T: Item> Visitor<'de> for Items<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "the list {:?}", T::FIELD)
        }

        /// One after the other, so that only one of them is held as [`Value`]s.
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            let mut bytes_left = ITEM_BYTES_MAX;
            while let Some(value) =
                list.next_element_seed(Bounded { bytes_left: &mut bytes_left })?
            {
                let place = format!("{}[{}]", T::FIELD, items.len());
                items.push(exact(&value, &place).map_err(A::Error::custom)?);
                bytes_left = ITEM_BYTES_MAX;
            }
            Ok(items)
        }
    }

    deserializer.deserialize_seq(Items(PhantomData))
}

/// Reads what would be written again as it stands; else says where it would not.
fn exact<T: Item>(value: &Value, place: &str) -> Result<T, String> {
    let item = T::deserialize(value).map_err(|error| format!("{place}: {error}"))?;
    let written = serde_json::to_value(&item).map_err(|error| format!("{place}: {error}"))?;
    match difference(value, &written, place) {
        None => Ok(item),
        Some(difference) => Err(difference),
    }
}

fn difference(given: &Value, written: &Value, place: &str) -> Option<String> {
    match (given, written) {
        (Value::Object(given), Value::Object(written)) => {
            if let Some(name) = given.keys().find(|name| !written.contains_key(*name)) {
                return Some(format!("{place} has an unknown field {name:?}"));
            }
            written.iter().find_map(|(name, written)| match given.get(name) {
                None => Some(format!("{place} has no field {name:?}")),
                Some(given) => difference(given, written, &format!("{place}.{name}")),
            })
        }
        (given, written) if given == written => None,
        (Value::String(given), Value::String(written)) => {
            Some(format!("{place} is {given:?}, which an export has as {written:?}"))
        }
        _ => Some(format!("{place} is not as an export has it")),
    }
}

/// Reads any value that takes no more than so many bytes, and has no field twice.
struct Bounded<'a> {
    bytes_left: &'a mut usize,
}

impl Bounded<'_> {
    fn take<E: serde::de::Error>(&mut self, text: &str) -> Result<(), E> {
        let n_bytes = VALUE_BYTES + text.len();
        *self.bytes_left = self.bytes_left.checked_sub(n_bytes).ok_or_else(|| {
            E::custom(format!("one part of the document takes more than {ITEM_BYTES_MAX} bytes"))
        })?;
        Ok(())
    }

    fn value<E: serde::de::Error>(mut self, value: impl Into<Value>) -> Result<Value, E> {
        self.take("")?;
        Ok(value.into())
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.value(value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.value(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.value(value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        self.value(value)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.value(())
    }

    fn visit_str<E: serde::de::Error>(mut self, value: &str) -> Result<Value, E> {
        self.take(value)?;
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Value, A::Error> {
        self.take("")?;
        let mut values = Vec::new();
        while let Some(value) =
            list.next_element_seed(Bounded { bytes_left: &mut *self.bytes_left })?
        {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<Value, A::Error> {
        self.take("")?;
        let mut values = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            self.take(&name)?;
            if values.contains_key(&name) {
                return Err(A::Error::custom(format!("the field {name:?} is there twice")));
            }
            let value = fields.next_value_seed(Bounded { bytes_left: &mut *self.bytes_left })?;
            values.insert(name, value);
        }
        Ok(Value::Object(values))
    }
}

/// Fails, instead of ending, where a document goes on beyond so many bytes.
struct Limited<R> {
    inner: R,
    bytes_left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.inner.read(buffer)?;
        self.bytes_left =
            self.bytes_left.checked_sub(n_bytes as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(n_bytes)
    }
}

#[cfg(test)]
mod tests;
