//! Open weights in a GGUF file, read through a map of the file.
//!
//! The file is hostile until its header is checked: [`Gguf::open`] refuses anything that would
//! make a later read leave the file, overflow or allocate more than the file could justify. After
//! that, metadata and tensors are views into the map; nothing is copied.
//!
//! What the tensors *mean* is not known here: whether they fit an architecture is checked where
//! the architecture is.

mod error;
mod header;
mod map;
mod metadata;
mod tensor_type;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use error::{GgufError, GgufProblem};
use header::{Header, TensorInfo};
pub(crate) use map::FileMap;
pub use metadata::{FromMetadata, MetadataValue, OneOrMany, Strings};
pub use tensor_type::TensorType;

const ARCHITECTURE: &str = "general.architecture";

/// An open GGUF file. Clones share it.
#[derive(Clone)]
pub struct Gguf {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    map: Arc<FileMap>,
    header: Header,
}

impl Gguf {
    /// Opens a file of GGUF version 2 or 3 and checks its header.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let inner =
            Inner::open(path).map_err(|problem| GgufError { path: path.to_owned(), problem })?;
        let gguf = Self { inner: Arc::new(inner) };
        gguf.require::<&str>(ARCHITECTURE)?;
        Ok(gguf)
    }

    /// Returns where the file lies.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Returns the size of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.inner.map.bytes().len() as u64
    }

    /// Returns the architecture, for example `llama`.
    pub fn architecture(&self) -> &str {
        // There since `open`.
        self.get(ARCHITECTURE).ok().flatten().unwrap_or_default()
    }

    /// Returns the metadata `key`; `None` if the file does not have it, an error if it is not
    /// what was asked for.
    ///
    /// Asked for can be `u32`, `i32`, `u64`, `usize`, `f32`, `bool`, `&str`, a `Vec` of any of
    /// them but the last, [`Strings`] and [`OneOrMany`].
    pub fn get<'a, T: FromMetadata<'a>>(&'a self, key: &str) -> Result<Option<T>, GgufError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let value = value.convert().map_err(|(found, wanted)| {
            self.error(GgufProblem::IllTyped { key: key.into(), found, wanted })
        })?;
        Ok(Some(value))
    }

    /// Returns the metadata `key`, or an error that names it.
    pub fn require<'a, T: FromMetadata<'a>>(&'a self, key: &str) -> Result<T, GgufError> {
        self.get(key)?.ok_or_else(|| self.error(GgufProblem::MissingKey { key: key.into() }))
    }

    /// Returns the metadata `{architecture}.{key}`, as [`Self::get`] does.
    pub fn get_for_architecture<'a, T: FromMetadata<'a>>(
        &'a self,
        key: &str,
    ) -> Result<Option<T>, GgufError> {
        self.get(&format!("{}.{key}", self.architecture()))
    }

    /// Returns the metadata `{architecture}.{key}`, as [`Self::require`] does.
    pub fn require_for_architecture<'a, T: FromMetadata<'a>>(
        &'a self,
        key: &str,
    ) -> Result<T, GgufError> {
        self.require(&format!("{}.{key}", self.architecture()))
    }

    /// Returns all metadata, sorted by key, for display.
    pub fn metadata(&self) -> impl ExactSizeIterator<Item = (&str, MetadataValue<'_>)> {
        self.inner.header.entries.iter().map(|entry| {
            let value = MetadataValue { value: &entry.value, bytes: self.inner.map.bytes() };
            (self.inner.text(&entry.key), value)
        })
    }

    /// Returns the tensors in the order of the file.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = GgufTensor<'_>> {
        self.inner.header.tensors.iter().map(|info| GgufTensor { gguf: self, info })
    }

    /// Returns the tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<GgufTensor<'_>> {
        let header = &self.inner.header;
        let info = |index: u32| header.tensors.get(index as usize);
        let index = header
            .tensors_by_name
            .binary_search_by(|index| {
                info(*index).map_or("", |info| self.inner.text(&info.name)).cmp(name)
            })
            .ok()?;
        let info = info(*header.tensors_by_name.get(index)?)?;
        Some(GgufTensor { gguf: self, info })
    }

    /// Returns the tensor called `name`, or an error that names it.
    pub fn require_tensor(&self, name: &str) -> Result<GgufTensor<'_>, GgufError> {
        self.tensor(name)
            .ok_or_else(|| self.error(GgufProblem::MissingTensor { name: name.into() }))
    }

    /// Returns a hash (SHA-256) that tells these weights from others without reading them all:
    /// of the size of the file, its header, and the first bytes of every tensor.
    pub fn fingerprint(&self) -> [u8; 32] {
        const BYTES_PER_TENSOR: usize = 256;
        let bytes = self.inner.map.bytes();
        let mut hash = Sha256::new();
        hash.update(self.file_bytes().to_le_bytes());
        hash.update(bytes.get(..self.inner.header.bytes).unwrap_or_default());
        for tensor in self.tensors() {
            let data = tensor.bytes();
            hash.update(data.get(..BYTES_PER_TENSOR).unwrap_or(data));
        }
        hash.finalize().into()
    }

    /// Returns an error about this file.
    pub fn error(&self, problem: GgufProblem) -> GgufError {
        GgufError { path: self.inner.path.clone(), problem }
    }

    fn value(&self, key: &str) -> Option<MetadataValue<'_>> {
        let entries = &self.inner.header.entries;
        let index = entries.binary_search_by(|entry| self.inner.text(&entry.key).cmp(key)).ok()?;
        let value = &entries.get(index)?.value;
        Some(MetadataValue { value, bytes: self.inner.map.bytes() })
    }
}

impl fmt::Debug for Gguf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gguf").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl Inner {
    fn open(path: &Path) -> Result<Self, GgufProblem> {
        // Asked before opening: opening a pipe would wait for a writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(GgufProblem::NotAFile);
        }
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Err(GgufProblem::Empty);
        }
        let map = FileMap::new(&file)?;
        let header = Header::read(map.bytes())?;
        Ok(Self { path: path.to_owned(), map: Arc::new(map), header })
    }

    fn text(&self, range: &Range<usize>) -> &str {
        let bytes = self.map.bytes().get(range.clone()).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

/// A tensor in a GGUF file.
#[derive(Clone, Copy)]
pub struct GgufTensor<'a> {
    gguf: &'a Gguf,
    info: &'a TensorInfo,
}

impl<'a> GgufTensor<'a> {
    /// Returns its name, for example `blk.0.attn_q.weight`.
    pub fn name(&self) -> &'a str {
        self.gguf.inner.text(&self.info.name)
    }

    /// Returns its shape in row-major order, the last dimension contiguous: the weight of a linear
    /// layer is `[out, in]`.
    pub fn shape(&self) -> &'a [usize] {
        self.info.shape.get(..self.info.n_dimensions).unwrap_or_default()
    }

    /// Returns how many numbers it holds.
    pub fn n_elements(&self) -> usize {
        // Checked when the header was read.
        self.shape().iter().product()
    }

    /// Returns how its numbers are stored.
    pub fn tensor_type(&self) -> TensorType {
        self.info.tensor_type
    }

    /// Returns its data as they lie in the file.
    pub fn bytes(&self) -> &'a [u8] {
        self.gguf.inner.map.bytes().get(self.info.range.clone()).unwrap_or_default()
    }

    /// Returns its data in a form that keeps the file open.
    pub fn hold(&self) -> TensorBytes {
        TensorBytes::new(&self.gguf.inner.map, self.info.range.clone())
    }

    /// Tells the operating system that the data are not needed soon, for example because they
    /// have been packed elsewhere. They stay readable.
    pub fn release(&self) {
        self.gguf.inner.map.release(self.info.range.clone());
    }
}

impl fmt::Debug for GgufTensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.name(), self.shape(), self.tensor_type())
    }
}

/// The data of a tensor, borrowed from the file for as long as this lives.
#[derive(Clone)]
pub struct TensorBytes {
    map: Arc<FileMap>,
    range: Range<usize>,
}

impl TensorBytes {
    pub(crate) fn new(map: &Arc<FileMap>, range: Range<usize>) -> Self {
        Self { map: map.clone(), range }
    }

    /// Returns a part of the data, which must lie within them.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        let (start, end) = (self.range.start + range.start, self.range.start + range.end);
        Self { map: self.map.clone(), range: start..end.min(self.range.end) }
    }
}

impl Deref for TensorBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.bytes().get(self.range.clone()).unwrap_or_default()
    }
}

impl AsRef<[u8]> for TensorBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for TensorBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TensorBytes({} bytes)", self.range.len())
    }
}
