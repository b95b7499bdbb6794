//! The values of a GGUF header.
//!
//! Texts and arrays stay in the map: a value only remembers where they lie, so that a vocabulary
//! of 262,144 strings costs nothing until somebody reads it.

use std::fmt;
use std::ops::Range;

/// The longest list of numbers that is read: they are one for each token or for each layer.
const MAX_NUMBERS: usize = 1 << 20;

/// A value as it lies in the file.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Any unsigned integer, or a signed one that is not negative.
    Unsigned(u64),
    /// A negative integer.
    Negative(i64),
    Float(f64),
    Bool(bool),
    /// Where its bytes lie; known to be UTF-8.
    Text(Range<usize>),
    Array(Array),
}

/// An array as it lies in the file.
#[derive(Debug, Clone)]
pub(super) struct Array {
    pub(super) element: Element,
    pub(super) len: usize,
    /// Where its elements lie; for texts each is its length (u64) and its bytes.
    pub(super) range: Range<usize>,
}

/// What an array holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    U64,
    I64,
    F64,
}

impl Element {
    /// Returns the type that the format writes as `number`; arrays (9) are not among them.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::Text,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    /// Returns the bytes an element takes at least: a text its length.
    pub(super) fn min_bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::Text | Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Reads a number or a truth value; `None` for texts and for a wrong number of bytes.
    pub(super) fn read(self, bytes: &[u8]) -> Option<Value> {
        Some(match self {
            Self::U8 => Value::Unsigned(u8::from_le_bytes(bytes.try_into().ok()?).into()),
            Self::I8 => signed(i8::from_le_bytes(bytes.try_into().ok()?).into()),
            Self::U16 => Value::Unsigned(u16::from_le_bytes(bytes.try_into().ok()?).into()),
            Self::I16 => signed(i16::from_le_bytes(bytes.try_into().ok()?).into()),
            Self::U32 => Value::Unsigned(u32::from_le_bytes(bytes.try_into().ok()?).into()),
            Self::I32 => signed(i32::from_le_bytes(bytes.try_into().ok()?).into()),
            Self::U64 => Value::Unsigned(u64::from_le_bytes(bytes.try_into().ok()?)),
            Self::I64 => signed(i64::from_le_bytes(bytes.try_into().ok()?)),
            Self::F32 => Value::Float(f32::from_le_bytes(bytes.try_into().ok()?).into()),
            Self::F64 => Value::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
            Self::Bool => Value::Bool(*bytes.first()? != 0),
            Self::Text => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::F32 | Self::F64 => "numbers",
            Self::Bool => "truth values",
            Self::Text => "texts",
            _ => "whole numbers",
        }
    }
}

fn signed(number: i64) -> Value {
    match u64::try_from(number) {
        Ok(number) => Value::Unsigned(number),
        Err(_) => Value::Negative(number),
    }
}

/// One value of the metadata, for those who show it or convert it themselves.
#[derive(Clone, Copy)]
pub struct MetadataValue<'a> {
    pub(super) value: &'a Value,
    pub(super) bytes: &'a [u8],
}

impl<'a> MetadataValue<'a> {
    fn text(&self) -> Option<&'a str> {
        match self.value {
            // Checked anew, not assumed: the file may have changed underneath.
            Value::Text(range) => std::str::from_utf8(self.bytes.get(range.clone())?).ok(),
            _ => None,
        }
    }

    fn array(&self) -> Option<&'a Array> {
        match self.value {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    fn numbers<T>(&self, convert: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
        let array = self.array()?;
        // A list of bytes would take four times its room.
        if array.element == Element::Text || array.len > MAX_NUMBERS {
            return None;
        }
        let bytes = self.bytes.get(array.range.clone())?;
        let mut numbers = Vec::with_capacity(array.len);
        for element in bytes.chunks_exact(array.element.min_bytes()) {
            numbers.push(convert(&array.element.read(element)?)?);
        }
        Some(numbers)
    }

    fn describe(&self) -> String {
        match self.value {
            Value::Unsigned(_) | Value::Negative(_) | Value::Float(_) | Value::Bool(_) => {
                format!("{self}")
            }
            Value::Text(_) => "a text".into(),
            Value::Array(array) => format!("a list of {} {}", array.len, array.element.name()),
        }
    }

    pub(super) fn convert<T: FromMetadata<'a>>(self) -> Result<T, (String, &'static str)> {
        T::from_metadata(self).ok_or_else(|| (self.describe(), T::WANTED))
    }
}

impl fmt::Display for MetadataValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Value::Unsigned(number) => number.fmt(f),
            Value::Negative(number) => number.fmt(f),
            Value::Float(number) => number.fmt(f),
            Value::Bool(value) => value.fmt(f),
            Value::Text(_) => f.write_str(self.text().unwrap_or_default()),
            Value::Array(_) => f.write_str(&self.describe()),
        }
    }
}

/// A type that metadata can be read as.
pub trait FromMetadata<'a>: Sized {
    /// What the value must be, for error messages: "a whole number …".
    const WANTED: &'static str;

    /// Converts the value, or returns `None` if it is something else.
    fn from_metadata(value: MetadataValue<'a>) -> Option<Self>;
}

macro_rules! whole_numbers {
    ($($number:ty: $wanted:literal, $wanted_list:literal;)*) => {$(
        impl FromMetadata<'_> for $number {
            const WANTED: &'static str = $wanted;

            fn from_metadata(value: MetadataValue<'_>) -> Option<Self> {
                whole(value.value)
            }
        }

        impl FromMetadata<'_> for Vec<$number> {
            const WANTED: &'static str = $wanted_list;

            fn from_metadata(value: MetadataValue<'_>) -> Option<Self> {
                value.numbers(whole)
            }
        }
    )*};
}

whole_numbers! {
    u32: "a whole number below 2^32", "a list of whole numbers below 2^32";
    i32: "a whole number of 32 bits", "a list of whole numbers of 32 bits";
    u64: "a whole number", "a list of whole numbers";
    usize: "a whole number", "a list of whole numbers";
}

fn whole<T: TryFrom<u64> + TryFrom<i64>>(value: &Value) -> Option<T> {
    match value {
        Value::Unsigned(number) => T::try_from(*number).ok(),
        Value::Negative(number) => T::try_from(*number).ok(),
        _ => None,
    }
}

fn float(value: &Value) -> Option<f32> {
    match value {
        // A number that f32 cannot hold is as wrong as none.
        Value::Float(number) => Some(*number as f32).filter(|number| number.is_finite()),
        _ => None,
    }
}

impl FromMetadata<'_> for f32 {
    const WANTED: &'static str = "a finite number with a decimal point";

    fn from_metadata(value: MetadataValue<'_>) -> Option<Self> {
        float(value.value)
    }
}

impl FromMetadata<'_> for Vec<f32> {
    const WANTED: &'static str = "a list of finite numbers with a decimal point";

    fn from_metadata(value: MetadataValue<'_>) -> Option<Self> {
        value.numbers(float)
    }
}

impl FromMetadata<'_> for bool {
    const WANTED: &'static str = "true or false";

    fn from_metadata(value: MetadataValue<'_>) -> Option<Self> {
        match value.value {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }
}

impl FromMetadata<'_> for Vec<bool> {
    const WANTED: &'static str = "a list of true and false";

    fn from_metadata(value: MetadataValue<'_>) -> Option<Self> {
        value.numbers(|value| match value {
            Value::Bool(value) => Some(*value),
            _ => None,
        })
    }
}

impl<'a> FromMetadata<'a> for &'a str {
    const WANTED: &'static str = "a text";

    fn from_metadata(value: MetadataValue<'a>) -> Option<Self> {
        value.text()
    }
}

/// A number for the whole model, or one for each layer: what `head_count_kv` may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OneOrMany {
    /// The same everywhere.
    One(u32),
    /// One for each layer.
    Many(Vec<u32>),
}

impl OneOrMany {
    /// Returns the number of layer `index`; `None` if the list is too short.
    pub fn get(&self, index: usize) -> Option<u32> {
        match self {
            Self::One(number) => Some(*number),
            Self::Many(numbers) => numbers.get(index).copied(),
        }
    }
}

impl FromMetadata<'_> for OneOrMany {
    const WANTED: &'static str = "a whole number below 2^32, or a list of them";

    fn from_metadata(value: MetadataValue<'_>) -> Option<Self> {
        match value.value {
            Value::Array(_) => value.numbers(whole).map(Self::Many),
            value => whole(value).map(Self::One),
        }
    }
}

/// A list of texts that stays in the file; iterating reads it.
#[derive(Clone)]
pub struct Strings<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> FromMetadata<'a> for Strings<'a> {
    const WANTED: &'static str = "a list of texts";

    fn from_metadata(value: MetadataValue<'a>) -> Option<Self> {
        let array = value.array().filter(|array| array.element == Element::Text)?;
        Some(Self { bytes: value.bytes.get(array.range.clone())?, left: array.len })
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        // The header was checked; if the file has changed since, the texts become empty.
        let text = (|| {
            let (len, rest) = self.bytes.split_first_chunk()?;
            let (text, rest) =
                rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
            self.bytes = rest;
            std::str::from_utf8(text).ok()
        })();
        Some(text.unwrap_or_default())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Strings<'_> {}
