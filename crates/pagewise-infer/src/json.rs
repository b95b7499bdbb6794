//! JSON files from outside, in memory that their size bounds.
//!
//! A parsed value takes many times the room of its text: `0,` becomes 72 bytes. So what nobody reads
//! is never parsed, lists have a length at which they are refused, and values that may be anything
//! have a number of parts at which they are.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The most parts of a [`SmallValue`]; real ones have a few hundred.
const MAX_PARTS: usize = 20_000;
/// The length of a text that counts as one more part, in bytes.
const PART_BYTES: usize = 64;

/// Reads a file whole; `None` if it is larger than `max_bytes`.
pub(crate) fn read_file(path: &Path, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    // Asked before opening: opening a pipe would wait for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let mut bytes = Vec::new();
    // What the file says of its size need not be true when it is read.
    File::open(path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= max_bytes))
}

/// A list of at most `MAX` elements.
#[derive(Debug, Clone)]
pub(crate) struct ShortList<T, const MAX: usize>(pub(crate) Vec<T>);

impl<T, const MAX: usize> Default for ShortList<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for ShortList<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
            type Value = ShortList<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX} elements")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                short_list(list, MAX).map(ShortList)
            }
        }

        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

/// Returns the elements of a list that has at most `max` of them.
pub(crate) fn short_list<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
    mut list: A,
    max: usize,
) -> Result<Vec<T>, A::Error> {
    let mut elements = Vec::new();
    while let Some(element) = list.next_element()? {
        if elements.len() == max {
            return Err(A::Error::custom(format!("a list of more than {max} elements")));
        }
        elements.push(element);
    }
    Ok(elements)
}

/// An object of at most `MAX` entries; the last counts of those with one name.
#[derive(Debug, Clone)]
pub(crate) struct ShortMap<V, const MAX: usize>(pub(crate) BTreeMap<String, V>);

impl<V, const MAX: usize> Default for ShortMap<V, MAX> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, V: Deserialize<'de>, const MAX: usize> Deserialize<'de> for ShortMap<V, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapVisitor<V, const MAX: usize>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>, const MAX: usize> Visitor<'de> for MapVisitor<V, MAX> {
            type Value = ShortMap<V, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object of at most {MAX} entries")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    if entries.len() == MAX {
                        return Err(A::Error::custom(format!(
                            "an object of more than {MAX} entries"
                        )));
                    }
                    entries.insert(name, value);
                }
                Ok(ShortMap(entries))
            }
        }

        deserializer.deserialize_map(MapVisitor(PhantomData))
    }
}

/// Any value that has not too many parts.
#[derive(Debug)]
pub(crate) struct SmallValue(pub(crate) Value);

impl<'de> Deserialize<'de> for SmallValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let left = Cell::new(MAX_PARTS);
        Part { left: &left }.deserialize(deserializer).map(Self)
    }
}

/// Reads a value as long as there is room.
#[derive(Clone, Copy)]
struct Part<'a> {
    left: &'a Cell<usize>,
}

impl Part<'_> {
    fn take<E: Error>(self, n_parts: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(n_parts);
        self.left.set(left.ok_or_else(|| E::custom("settings with far too many parts"))?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.take(1)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.take(value.len() / PART_BYTES)?;
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            self.take(name.len() / PART_BYTES)?;
            values.insert(name, map.next_value_seed(self)?);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_too_long_is_refused() {
        assert_eq!(parse::<ShortList<u8, 2>>("[1, 2]").unwrap().0, [1, 2]);
        assert!(
            parse::<ShortList<u8, 2>>("[1, 2, 3]").unwrap_err().contains("more than 2 elements")
        );
        let map = parse::<ShortMap<u8, 1>>(r#"{"a": 1}"#).unwrap().0;
        assert_eq!(map.into_iter().collect::<Vec<_>>(), [("a".to_owned(), 1)]);
        let error = parse::<ShortMap<u8, 1>>(r#"{"a": 1, "b": 2}"#).unwrap_err();
        assert!(error.contains("more than 1 entries"), "{error}");
    }

    #[test]
    fn a_value_is_read_as_it_is_or_refused() {
        let value = json!({"a": [null, true, -1, u64::MAX, 0.5, "x", {}], "b": []});
        assert_eq!(parse::<SmallValue>(&value.to_string()).unwrap().0, value);
        let long = "x".repeat(MAX_PARTS * PART_BYTES);
        for value in [json!(vec![0; MAX_PARTS]), json!([long]), json!({long: 0})] {
            assert!(
                parse::<SmallValue>(&value.to_string()).unwrap_err().contains("too many parts")
            );
        }
    }

    #[test]
    fn only_files_are_read_and_only_so_far() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(read_file(&path, 3).unwrap().as_deref(), Some(&b"abc"[..]));
        assert_eq!(read_file(&path, 2).unwrap(), None);
        assert!(read_file(folder.path(), 3).is_err());
        assert_eq!(read_file(&path.join("b"), 3).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }
}
