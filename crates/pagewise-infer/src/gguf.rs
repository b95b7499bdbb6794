//! Open weights in a GGUF file, read through a map of the file.
//!
//! The file is hostile until its header is checked: [`Gguf::open`] refuses anything that would
//! make a later read leave the file, overflow or allocate more than the file could justify. After
//! that, metadata and tensors are views into the map; nothing is copied.
//!
//! A model may be cut into several files, `name-00001-of-00003.gguf` and so on: any of them opens
//! all, the metadata are those of the first, and each file is as hostile as a single one.
//!
//! What the tensors *mean* is not known here: whether they fit an architecture is checked where
//! the architecture is.

mod error;
mod header;
mod map;
mod metadata;
mod shards;
mod tensor_type;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use pagewise_kernels::ThreadPool;

use crate::fingerprint::Fingerprint;
pub use error::{GgufError, GgufProblem};
use header::{Header, MAX_TENSORS, TensorInfo};
use map::Copied;
pub(crate) use map::{FileMap, LargePages};
pub use metadata::{FromMetadata, MetadataValue, OneOrMany, Strings};
pub use tensor_type::TensorType;

const ARCHITECTURE: &str = "general.architecture";

/// An open GGUF file, or all files of a model that is cut into several. Clones share it.
#[derive(Clone)]
pub struct Gguf {
    inner: Arc<Inner>,
}

struct Inner {
    /// The first has the metadata.
    files: Vec<GgufFile>,
    /// The file and the place in its header of each tensor, in the order of the files.
    tensors: Vec<(usize, usize)>,
    /// Indices into `tensors`, sorted by name.
    by_name: Vec<usize>,
}

/// One file, its header checked.
struct GgufFile {
    path: PathBuf,
    modified: Option<SystemTime>,
    map: Arc<FileMap>,
    header: Header,
}

impl Gguf {
    /// Opens a file of GGUF version 2 or 3 and checks its header; of a model in several files, all
    /// of them.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let files = shards::open_all(path)?;
        let inner = Inner::new(files)?;
        let gguf = Self { inner: Arc::new(inner) };
        gguf.require::<&str>(ARCHITECTURE)?;
        Ok(gguf)
    }

    /// Returns where the file lies, or the first of several.
    pub fn path(&self) -> &Path {
        &self.inner.first().path
    }

    /// Returns where all files lie: one, unless the model is cut into several.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.inner.files.iter().map(|file| file.path.as_path())
    }

    /// Returns the size of the file, or of all of them together, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.inner.files.iter().map(|file| file.map.bytes().len() as u64).sum()
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
        self.inner.first().get(key)
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
        let file = self.inner.first();
        file.header.entries.iter().map(|entry| {
            let value = MetadataValue { value: &entry.value, bytes: file.map.bytes() };
            (file.text(&entry.key), value)
        })
    }

    /// Returns all metadata, sorted by key, each with the bytes of its type and value.
    pub(crate) fn raw_metadata(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let file = self.inner.first();
        file.header.entries.iter().map(|entry| {
            let bytes = file.map.bytes().get(entry.typed_value.clone());
            (file.text(&entry.key), bytes.unwrap_or_default())
        })
    }

    /// Returns the tensors in the order of the file, or of the files.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = GgufTensor<'_>> {
        self.inner.tensors.iter().map(|place| self.inner.tensor(*place))
    }

    /// Returns the tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<GgufTensor<'_>> {
        let Inner { tensors, by_name, .. } = &*self.inner;
        let place = |index: &usize| tensors.get(*index).copied().unwrap_or_default();
        let found = by_name
            .binary_search_by(|index| self.inner.tensor(place(index)).name().cmp(name))
            .ok()?;
        Some(self.inner.tensor(place(by_name.get(found)?)))
    }

    /// Returns the tensor called `name`, or an error that names it.
    pub fn require_tensor(&self, name: &str) -> Result<GgufTensor<'_>, GgufError> {
        self.tensor(name)
            .ok_or_else(|| self.error(GgufProblem::MissingTensor { name: name.into() }))
    }

    /// Returns a hash that tells these weights from others without reading them all: see
    /// [`crate::Weights::fingerprint`].
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut fingerprint = Fingerprint::default();
        for file in &self.inner.files {
            let tensors = file.header.tensors.iter().map(|info| info.range.clone());
            fingerprint.add_file(&file.map, file.header.bytes, tensors);
        }
        fingerprint.finish()
    }

    /// Returns when each file was last written, where the system says.
    pub(crate) fn modified(&self) -> Vec<Option<SystemTime>> {
        self.inner.files.iter().map(|file| file.modified).collect()
    }

    /// Returns an error about this file.
    pub fn error(&self, problem: GgufProblem) -> GgufError {
        self.inner.first().error(problem)
    }
}

impl fmt::Debug for Gguf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gguf").field("path", &self.path()).finish_non_exhaustive()
    }
}

impl Inner {
    /// Puts checked files together: at least one.
    fn new(files: Vec<GgufFile>) -> Result<Self, GgufError> {
        let mut tensors: Vec<(usize, usize)> = Vec::new();
        for (file_index, file) in files.iter().enumerate() {
            tensors.extend((0..file.header.tensors.len()).map(|index| (file_index, index)));
            if tensors.len() as u64 > MAX_TENSORS {
                let (count, max) = (tensors.len() as u64, MAX_TENSORS);
                return Err(file.error(GgufProblem::Count { what: "tensors", count, max }));
            }
        }
        let mut inner = Self { files, tensors, by_name: Vec::new() };
        let name = |index: usize| inner.tensor(inner.tensors[index]).name();
        let mut by_name: Vec<usize> = (0..inner.tensors.len()).collect();
        by_name.sort_by(|a, b| name(*a).cmp(name(*b)));
        if let Some([_, second]) = by_name.array_windows().find(|[a, b]| name(*a) == name(*b)) {
            let (file, _) = inner.tensors[*second];
            let problem = GgufProblem::DuplicateTensor { name: name(*second).to_owned() };
            return Err(inner.files[file].error(problem));
        }
        inner.by_name = by_name;
        Ok(inner)
    }

    fn first(&self) -> &GgufFile {
        &self.files[0]
    }

    fn tensor(&self, (file, index): (usize, usize)) -> GgufTensor<'_> {
        let file = &self.files[file];
        GgufTensor { file, info: &file.header.tensors[index] }
    }
}

impl GgufFile {
    fn open(path: &Path) -> Result<Self, GgufError> {
        Self::read(path).map_err(|problem| GgufError { path: path.to_owned(), problem })
    }

    fn read(path: &Path) -> Result<Self, GgufProblem> {
        // Asked before opening: opening a pipe would wait for a writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(GgufProblem::NotAFile);
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.len() == 0 {
            return Err(GgufProblem::Empty);
        }
        let modified = metadata.modified().ok();
        let map = FileMap::new(&file)?;
        let header = Header::read(map.bytes())?;
        Ok(Self { path: path.to_owned(), modified, map: Arc::new(map), header })
    }

    fn value(&self, key: &str) -> Option<MetadataValue<'_>> {
        let entries = &self.header.entries;
        let index = entries.binary_search_by(|entry| self.text(&entry.key).cmp(key)).ok()?;
        let value = &entries.get(index)?.value;
        Some(MetadataValue { value, bytes: self.map.bytes() })
    }

    fn get<'a, T: FromMetadata<'a>>(&'a self, key: &str) -> Result<Option<T>, GgufError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let value = value.convert().map_err(|(found, wanted)| {
            self.error(GgufProblem::IllTyped { key: key.into(), found, wanted })
        })?;
        Ok(Some(value))
    }

    fn error(&self, problem: GgufProblem) -> GgufError {
        GgufError { path: self.path.clone(), problem }
    }

    fn text(&self, range: &Range<usize>) -> &str {
        let bytes = self.map.bytes().get(range.clone()).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

/// A tensor in a GGUF file.
#[derive(Clone, Copy)]
pub struct GgufTensor<'a> {
    file: &'a GgufFile,
    info: &'a TensorInfo,
}

impl<'a> GgufTensor<'a> {
    /// Returns the file that it is in.
    pub(crate) fn path(&self) -> &'a Path {
        &self.file.path
    }

    /// Returns its name, for example `blk.0.attn_q.weight`.
    pub fn name(&self) -> &'a str {
        self.file.text(&self.info.name)
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
        self.file.map.bytes().get(self.info.range.clone()).unwrap_or_default()
    }

    /// Returns its data in a form that keeps the file open.
    pub fn hold(&self) -> TensorBytes {
        TensorBytes::new(&self.file.map, self.info.range.clone())
    }

    /// Tells the operating system that the data are not needed soon, for example because they
    /// have been packed elsewhere. They stay readable.
    pub fn release(&self) {
        self.file.map.release(self.info.range.clone());
    }
}

impl fmt::Debug for GgufTensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.name(), self.shape(), self.tensor_type())
    }
}

/// The data of a tensor, borrowed from the file for as long as this lives, or a copy of them.
#[derive(Clone)]
pub struct TensorBytes {
    source: Source,
    range: Range<usize>,
}

#[derive(Clone)]
enum Source {
    File(Arc<FileMap>),
    Copy(Copied),
}

impl TensorBytes {
    pub(crate) fn new(map: &Arc<FileMap>, range: Range<usize>) -> Self {
        Self { source: Source::File(map.clone()), range }
    }

    /// Returns a part of the data, which must lie within them.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        let (start, end) = (self.range.start + range.start, self.range.start + range.end);
        Self { source: self.source.clone(), range: start..end.min(self.range.end) }
    }

    /// Returns a copy in `pages`, if they have room, and lets the system take the file's pages away,
    /// piece by piece: a tensor can be most of a file.
    pub(crate) fn copied(&self, pages: &Arc<LargePages>, pool: &ThreadPool) -> Option<Self> {
        let release = |range: Range<usize>| {
            if let Source::File(map) = &self.source {
                map.release(self.range.start + range.start..self.range.start + range.end);
            }
        };
        let copied = pages.copy(self, pool, &release)?;
        // The pages at the ends of pieces belong to two of them.
        release(0..self.range.len());
        Some(Self { source: Source::Copy(copied), range: 0..self.range.len() })
    }
}

impl Deref for TensorBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let bytes = match &self.source {
            Source::File(map) => map.bytes(),
            Source::Copy(copied) => copied.bytes(),
        };
        bytes.get(self.range.clone()).unwrap_or_default()
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
