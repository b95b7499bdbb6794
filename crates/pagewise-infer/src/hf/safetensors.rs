//! Reads and checks the header of a safetensors file: the length of a JSON text, the text, and the
//! numbers that it describes.
//!
//! The crate of that name is not used: it adds up offsets that a file may choose without a check.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::MAX_TENSORS;
use super::error::{HfError, HfProblem};
use crate::TensorType;
use crate::gguf::FileMap;
use crate::json::ShortList;

/// The longest header, in bytes; that of a large model takes some 100 kB, and in one file of the
/// largest, 12 MB.
const MAX_HEADER_BYTES: u64 = 16 << 20;
/// The longest name of a tensor, in bytes; real ones have some eighty.
const MAX_NAME_BYTES: usize = 1 << 10;
const MAX_DIMENSIONS: usize = 8;
/// What the header has besides tensors.
const NOTES: &str = "__metadata__";

/// A checked file.
pub(crate) struct SafetensorsFile {
    pub(crate) path: PathBuf,
    pub(crate) modified: Option<SystemTime>,
    pub(crate) map: Arc<FileMap>,
    /// By their places.
    pub(crate) tensors: Vec<StoredTensor>,
    /// Where the header ends.
    pub(crate) header_bytes: usize,
}

/// A tensor in a file.
#[derive(Debug)]
pub(crate) struct StoredTensor {
    pub(crate) name: String,
    /// Row-major.
    pub(crate) shape: Vec<usize>,
    /// How its numbers are stored, or the name of a way that is not supported.
    pub(crate) tensor_type: Result<TensorType, String>,
    /// Where its data lie in the file.
    pub(crate) range: Range<usize>,
}

/// A tensor as the header has it.
#[derive(serde::Deserialize)]
struct Entry {
    dtype: String,
    shape: ShortList<usize, MAX_DIMENSIONS>,
    data_offsets: [usize; 2],
}

struct Entries(Vec<(String, Entry)>);

impl SafetensorsFile {
    pub(crate) fn open(path: &Path) -> Result<Self, HfError> {
        let error = |problem| HfError { path: path.to_owned(), problem };
        // Asked before opening: opening a pipe would wait for a writer.
        if !std::fs::metadata(path).map_err(|source| error(source.into()))?.is_file() {
            return Err(error(HfProblem::NotAFile));
        }
        let mapped = File::open(path).and_then(|file| {
            let metadata = file.metadata()?;
            Ok(match metadata.len() {
                // Nothing can be mapped of nothing; the header will be missed.
                0 => None,
                _ => Some((metadata.modified().ok(), FileMap::new(&file)?)),
            })
        });
        let Some((modified, map)) = mapped.map_err(|source| error(source.into()))? else {
            return Err(error(HfProblem::HeaderTruncated { file_bytes: 0 }));
        };
        let (header_bytes, tensors) = read_header(map.bytes()).map_err(error)?;
        Ok(Self { path: path.to_owned(), modified, map: Arc::new(map), tensors, header_bytes })
    }

    pub(crate) fn error(&self, problem: HfProblem) -> HfError {
        HfError { path: self.path.clone(), problem }
    }
}

/// Returns where the header of a file ends, and its tensors by their places.
fn read_header(bytes: &[u8]) -> Result<(usize, Vec<StoredTensor>), HfProblem> {
    let truncated = || HfProblem::HeaderTruncated { file_bytes: bytes.len() };
    let (len, rest) = bytes.split_first_chunk::<8>().ok_or_else(truncated)?;
    let header_bytes = u64::from_le_bytes(*len);
    if header_bytes > MAX_HEADER_BYTES {
        return Err(HfProblem::HeaderTooLarge { bytes: header_bytes, max: MAX_HEADER_BYTES });
    }
    let (header, data) = rest.split_at_checked(header_bytes as usize).ok_or_else(truncated)?;
    let start = bytes.len() - data.len();
    let Entries(mut entries) = serde_json::from_slice(header).map_err(HfProblem::Json)?;
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut tensors = Vec::with_capacity(entries.len());
    let mut free_from = 0;
    for (name, entry) in entries {
        match entry.check(free_from, data.len()) {
            Err(reason) => return Err(HfProblem::Tensor { name, reason }),
            Ok(tensor_type) => {
                let [begin, end] = entry.data_offsets;
                free_from = end;
                let range = start + begin..start + end;
                tensors.push(StoredTensor { name, shape: entry.shape.0, tensor_type, range });
            }
        }
    }
    Ok((start, tensors))
}

impl Entry {
    /// Checks that it lies within `free_from..data_bytes` and has as many bytes as its shape asks
    /// for; returns how its numbers are stored.
    fn check(
        &self,
        free_from: usize,
        data_bytes: usize,
    ) -> Result<Result<TensorType, String>, &'static str> {
        let [begin, end] = self.data_offsets;
        if begin > end {
            return Err("ends before it begins");
        }
        if end > data_bytes {
            return Err("lies behind the end of the file");
        }
        if begin < free_from {
            return Err("overlaps another");
        }
        let tensor_type = match self.dtype.as_str() {
            "F32" => TensorType::F32,
            "F16" => TensorType::F16,
            "BF16" => TensorType::BF16,
            other => return Ok(Err(other.to_owned())),
        };
        let bytes = self
            .shape
            .0
            .iter()
            .try_fold(tensor_type.block_bytes(), |bytes, length| bytes.checked_mul(*length));
        if bytes != Some(end - begin) {
            return Err("has more or fewer bytes than its shape asks for");
        }
        Ok(Ok(tensor_type))
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut names = std::collections::HashSet::new();
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == NOTES {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    if entries.len() == MAX_TENSORS || name.len() > MAX_NAME_BYTES {
                        return Err(A::Error::custom("more or longer names than any model has"));
                    }
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format!("tensor {name} is there twice")));
                    }
                    let entry = map.next_value()?;
                    entries.push((name, entry));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}
