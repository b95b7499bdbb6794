//! Reads and checks the header of a GGUF file.
//!
//! Nothing in the file is believed: every count is compared with the bytes that are left before
//! anything is allocated for it, every sum is checked, and every tensor lies inside the file, on
//! its alignment, apart from all others.

use std::ops::Range;

use super::error::GgufProblem;
use super::metadata::{Array, Element, MetadataValue, Value};
use super::tensor_type::TensorType;

/// The longest text, in bytes.
const MAX_TEXT_BYTES: u64 = 16 << 20;
/// The longest key or tensor name, in bytes: the format's own limit.
const MAX_NAME_BYTES: u64 = 65_535;
/// The longest array.
const MAX_ARRAY_LEN: u64 = 64 << 20;
/// The most metadata entries; real files have fewer than a hundred.
const MAX_ENTRIES: u64 = 65_536;
/// The most tensors; real files have a few thousand.
pub(super) const MAX_TENSORS: u64 = 65_536;
/// What a metadata entry takes at least: a length, a type and one byte.
const MIN_ENTRY_BYTES: u64 = 13;
/// What a tensor takes at least: a length, the number of its dimensions, one dimension, a type
/// and an offset.
const MIN_TENSOR_BYTES: u64 = 32;
const MAX_DIMENSIONS: usize = 4;
const MIN_ALIGNMENT: u64 = 8;
const MAX_ALIGNMENT: u64 = 1 << 20;
const DEFAULT_ALIGNMENT: u64 = 32;
/// The number by which the format writes "array".
const ARRAY: u32 = 9;

/// A checked header. Names lie in the file.
#[derive(Debug)]
pub(super) struct Header {
    /// Sorted by key.
    pub(super) entries: Vec<Entry>,
    /// In the order of the file; two may have one name.
    pub(super) tensors: Vec<TensorInfo>,
    /// Where the header ends.
    pub(super) bytes: usize,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Range<usize>,
    pub(super) value: Value,
    /// Where its type and its value lie in the file.
    pub(super) typed_value: Range<usize>,
}

#[derive(Debug)]
pub(super) struct TensorInfo {
    pub(super) name: Range<usize>,
    /// Row-major: the file's dimensions reversed.
    pub(super) shape: [usize; MAX_DIMENSIONS],
    pub(super) n_dimensions: usize,
    pub(super) tensor_type: TensorType,
    /// Where its data lie in the file.
    pub(super) range: Range<usize>,
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, GgufProblem> {
        let mut reader = Reader { bytes, at: 0 };
        let (n_tensors, n_entries) = reader.preamble()?;

        let mut entries = Vec::new();
        for _ in 0..n_entries {
            entries.push(reader.entry()?);
        }
        let text = |range: &Range<usize>| bytes.get(range.clone()).unwrap_or_default();
        entries.sort_by(|a: &Entry, b: &Entry| text(&a.key).cmp(text(&b.key)));
        if let Some([first, _]) =
            entries.array_windows().find(|[a, b]| text(&a.key) == text(&b.key))
        {
            return Err(GgufProblem::DuplicateKey { key: reader.show(&first.key) });
        }

        let mut unplaced = Vec::new();
        for _ in 0..n_tensors {
            unplaced.push(reader.tensor()?);
        }
        let alignment = alignment(&entries, bytes)?;
        let tensors = reader.place(unplaced, alignment)?;
        Ok(Self { entries, tensors, bytes: reader.at })
    }
}

/// A tensor whose offset is still relative to the start of the data.
struct Unplaced {
    info: TensorInfo,
    offset: u64,
    size: u64,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    fn truncated(&self, what: &'static str) -> GgufProblem {
        GgufProblem::HeaderTruncated { what, file_bytes: self.bytes.len() }
    }

    fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], GgufProblem> {
        let end = self.at.checked_add(n).ok_or_else(|| self.truncated(what))?;
        let bytes = self.bytes.get(self.at..end).ok_or_else(|| self.truncated(what))?;
        self.at = end;
        Ok(bytes)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, GgufProblem> {
        let bytes = self.take(4, what)?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, GgufProblem> {
        let low = self.u32(what)?;
        let high = self.u32(what)?;
        Ok(u64::from(high) << 32 | u64::from(low))
    }

    /// Checks a count of things that take at least `min_bytes` each.
    fn check_count(
        &self,
        what: &'static str,
        count: u64,
        min_bytes: u64,
        max: u64,
    ) -> Result<usize, GgufProblem> {
        if count > max {
            return Err(GgufProblem::Count { what, count, max });
        }
        usize::try_from(count)
            .ok()
            .filter(|_| count <= self.left() / min_bytes)
            .ok_or_else(|| self.truncated(what))
    }

    /// Reads a text and returns where it lies.
    fn text(&mut self, what: &'static str, max: u64) -> Result<Range<usize>, GgufProblem> {
        let len = self.u64(what)?;
        let len = self.check_count("bytes of text", len, 1, max)?;
        let start = self.at;
        if std::str::from_utf8(self.take(len, what)?).is_err() {
            return Err(GgufProblem::NotUtf8 { what, at: start });
        }
        Ok(start..self.at)
    }

    /// Returns a name for an error message.
    fn show(&self, range: &Range<usize>) -> String {
        const MAX_CHARS: usize = 80;
        let text = String::from_utf8_lossy(self.bytes.get(range.clone()).unwrap_or_default());
        let mut shown: String = text.chars().take(MAX_CHARS).flat_map(char::escape_debug).collect();
        if text.chars().nth(MAX_CHARS).is_some() {
            shown.push('…');
        }
        shown
    }

    /// Reads magic, version and counts.
    fn preamble(&mut self) -> Result<(usize, usize), GgufProblem> {
        if !self.bytes.starts_with(b"GGUF") {
            let start = self.bytes.get(..4).unwrap_or(self.bytes).escape_ascii().to_string();
            return Err(GgufProblem::NotGguf { start });
        }
        self.take(4, "its magic number")?;
        match self.u32("its version")? {
            2 | 3 => {}
            version if matches!(version.swap_bytes(), 1..=3) => return Err(GgufProblem::BigEndian),
            version => return Err(GgufProblem::Version { version }),
        }
        let n_tensors = self.u64("the number of tensors")?;
        let n_entries = self.u64("the number of metadata entries")?;
        Ok((
            self.check_count("tensors", n_tensors, MIN_TENSOR_BYTES, MAX_TENSORS)?,
            self.check_count("metadata entries", n_entries, MIN_ENTRY_BYTES, MAX_ENTRIES)?,
        ))
    }

    fn entry(&mut self) -> Result<Entry, GgufProblem> {
        let key = self.text("a metadata key", MAX_NAME_BYTES)?;
        let start = self.at;
        let number = self.u32("the type of a metadata value")?;
        let value = if number == ARRAY {
            self.array(&key)?
        } else {
            match self.element(number, &key)? {
                Element::Text => Value::Text(self.text("a metadata text", MAX_TEXT_BYTES)?),
                element => {
                    let what = "a metadata value";
                    let bytes = self.take(element.min_bytes(), what)?;
                    element.read(bytes).ok_or_else(|| self.truncated(what))?
                }
            }
        };
        Ok(Entry { key, value, typed_value: start..self.at })
    }

    fn element(&self, number: u32, key: &Range<usize>) -> Result<Element, GgufProblem> {
        Element::from_number(number)
            .ok_or_else(|| GgufProblem::ValueType { key: self.show(key), number })
    }

    fn array(&mut self, key: &Range<usize>) -> Result<Value, GgufProblem> {
        let number = self.u32("the type of an array")?;
        if number == ARRAY {
            return Err(GgufProblem::NestedArray { key: self.show(key) });
        }
        let element = self.element(number, key)?;
        let len = self.u64("the length of an array")?;
        let min_bytes = element.min_bytes() as u64;
        let len = self.check_count("array elements", len, min_bytes, MAX_ARRAY_LEN)?;
        let start = self.at;
        if element == Element::Text {
            for _ in 0..len {
                self.text("a text of an array", MAX_TEXT_BYTES)?;
            }
        } else {
            // Cannot overflow: the count was compared with the bytes that are left.
            self.take(len * element.min_bytes(), "an array")?;
        }
        Ok(Value::Array(Array { element, len, range: start..self.at }))
    }

    fn tensor(&mut self) -> Result<Unplaced, GgufProblem> {
        let name = self.text("a tensor name", MAX_NAME_BYTES)?;
        let shown = self.show(&name);
        let n_dimensions = self.u32("the number of dimensions of a tensor")? as usize;
        if !(1..=MAX_DIMENSIONS).contains(&n_dimensions) {
            let shape = format!("of {n_dimensions} dimensions");
            return Err(GgufProblem::Shape { name: shown, shape });
        }
        let mut dimensions = [1_u64; MAX_DIMENSIONS];
        for dimension in dimensions.iter_mut().take(n_dimensions) {
            *dimension = self.u64("a dimension of a tensor")?;
        }
        let number = self.u32("the type of a tensor")?;
        let offset = self.u64("the offset of a tensor")?;

        let in_file = dimensions.get(..n_dimensions).unwrap_or_default();
        let show_shape = || format!("{in_file:?}");
        if in_file.contains(&0) {
            return Err(GgufProblem::Shape { name: shown, shape: show_shape() });
        }
        let tensor_type = TensorType::from_number(number)
            .map_err(|found| GgufProblem::TensorType { name: shown.clone(), found })?;
        let block = tensor_type.block_len() as u64;
        let row = dimensions.first().copied().unwrap_or_default();
        if !row.is_multiple_of(block) {
            return Err(GgufProblem::PartialBlock { name: shown, tensor_type, row, block });
        }
        let too_large = || GgufProblem::TooLarge { name: shown.clone(), shape: show_shape() };
        let n_elements = in_file
            .iter()
            .try_fold(1_u64, |product, dimension| product.checked_mul(*dimension))
            .ok_or_else(too_large)?;
        let size = (n_elements / block)
            .checked_mul(tensor_type.block_bytes() as u64)
            .filter(|size| isize::try_from(*size).is_ok())
            .ok_or_else(too_large)?;

        let mut shape = [1; MAX_DIMENSIONS];
        for (length, dimension) in shape.iter_mut().zip(in_file.iter().rev()) {
            *length = usize::try_from(*dimension).map_err(|_| too_large())?;
        }
        let info = TensorInfo { name, shape, n_dimensions, tensor_type, range: 0..0 };
        Ok(Unplaced { info, offset, size })
    }

    /// Finds where each tensor lies in the file.
    fn place(
        &self,
        unplaced: Vec<Unplaced>,
        alignment: u64,
    ) -> Result<Vec<TensorInfo>, GgufProblem> {
        // The header ends inside the file and the alignment is at most 1 MiB: no overflow.
        let data_start = (self.at as u64).next_multiple_of(alignment);
        let file_bytes = self.bytes.len() as u64;
        let mut expected = data_start;
        let mut tensors = Vec::with_capacity(unplaced.len());
        for Unplaced { mut info, offset, size } in unplaced {
            if !offset.is_multiple_of(alignment) {
                let name = self.show(&info.name);
                return Err(GgufProblem::Unaligned { name, offset, alignment });
            }
            let start = data_start.saturating_add(offset);
            let end = start.saturating_add(size);
            expected = expected.max(end);
            if let (Ok(start), Ok(end)) = (usize::try_from(start), usize::try_from(end)) {
                info.range = start..end;
            }
            tensors.push(info);
        }
        if !tensors.is_empty() && expected > file_bytes {
            return Err(GgufProblem::Truncated { expected, actual: file_bytes });
        }
        let mut in_order: Vec<&TensorInfo> = tensors.iter().collect();
        in_order.sort_by_key(|tensor| (tensor.range.start, tensor.range.end));
        if let Some([first, second]) =
            in_order.array_windows().find(|[a, b]| a.range.end > b.range.start)
        {
            let [first, second] = [first, second].map(|tensor| self.show(&tensor.name));
            return Err(GgufProblem::Overlap { first, second });
        }
        Ok(tensors)
    }
}

fn alignment(entries: &[Entry], bytes: &[u8]) -> Result<u64, GgufProblem> {
    let key = "general.alignment";
    let entry = entries
        .binary_search_by(|entry| {
            bytes.get(entry.key.clone()).unwrap_or_default().cmp(key.as_bytes())
        })
        .ok()
        .and_then(|index| entries.get(index));
    let Some(entry) = entry else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    let value = MetadataValue { value: &entry.value, bytes };
    let alignment: u64 = value.convert().map_err(|(found, wanted)| GgufProblem::IllTyped {
        key: key.into(),
        found,
        wanted,
    })?;
    if alignment.is_power_of_two() && (MIN_ALIGNMENT..=MAX_ALIGNMENT).contains(&alignment) {
        Ok(alignment)
    } else {
        Err(GgufProblem::Alignment { alignment })
    }
}
