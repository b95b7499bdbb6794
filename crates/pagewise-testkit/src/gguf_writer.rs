//! Writes GGUF files: tiny models, and files that are wrong on purpose.

use std::io;
use std::path::{Path, PathBuf};

/// A value of GGUF metadata.
#[derive(Debug, Clone)]
pub enum GgufValue {
    /// An unsigned 32-bit integer.
    U32(u32),
    /// A signed 32-bit integer.
    I32(i32),
    /// An unsigned 64-bit integer.
    U64(u64),
    /// A 32-bit float.
    F32(f32),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// A list of unsigned 32-bit integers.
    U32s(Vec<u32>),
    /// A list of signed 32-bit integers.
    I32s(Vec<i32>),
    /// A list of 32-bit floats.
    F32s(Vec<f32>),
    /// The number of a type and the bytes that follow it, for files that are wrong on purpose.
    Raw(u32, Vec<u8>),
}

impl From<u32> for GgufValue {
    fn from(value: u32) -> Self {
        Self::U32(value)
    }
}

impl From<f32> for GgufValue {
    fn from(value: f32) -> Self {
        Self::F32(value)
    }
}

impl From<bool> for GgufValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for GgufValue {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<Vec<String>> for GgufValue {
    fn from(value: Vec<String>) -> Self {
        Self::Texts(value)
    }
}

#[derive(Debug, Clone)]
struct Tensor {
    name: String,
    dimensions: Vec<u64>,
    type_number: u32,
    data: Vec<u8>,
    /// Written instead of where the data lie.
    offset: Option<u64>,
}

/// Collects metadata and tensors and writes them as a GGUF file.
///
/// Nothing is checked: what is put in wrong comes out wrong.
#[derive(Debug, Clone)]
pub struct GgufWriter {
    /// Written as the version of the format; 3 unless changed.
    pub version: u32,
    /// Written as the number of tensors instead of the real one.
    pub n_tensors: Option<u64>,
    /// Written as the number of metadata entries instead of the real one.
    pub n_entries: Option<u64>,
    /// On what multiple of bytes tensors are placed; 32 unless changed. Not written: set
    /// `general.alignment` too if it is not 32.
    pub alignment: usize,
    entries: Vec<(String, GgufValue)>,
    tensors: Vec<Tensor>,
}

impl Default for GgufWriter {
    fn default() -> Self {
        Self {
            version: 3,
            n_tensors: None,
            n_entries: None,
            alignment: 32,
            entries: Vec::new(),
            tensors: Vec::new(),
        }
    }
}

impl GgufWriter {
    /// Starts a file of the given architecture.
    pub fn new(architecture: &str) -> Self {
        let mut writer = Self::default();
        writer.set("general.architecture", architecture);
        writer
    }

    /// Adds metadata; a key that is already there is written twice.
    pub fn set(&mut self, key: &str, value: impl Into<GgufValue>) -> &mut Self {
        self.entries.push((key.into(), value.into()));
        self
    }

    /// Removes metadata, if it is there.
    pub fn remove(&mut self, key: &str) {
        self.entries.retain(|(known, _)| known != key);
    }

    /// Changes metadata, or adds it if it is not there.
    pub fn replace(&mut self, key: &str, value: impl Into<GgufValue>) {
        self.remove(key);
        self.set(key, value);
    }

    /// Adds a tensor of 32-bit floats; `shape` is row-major, the last dimension contiguous.
    pub fn tensor_f32(&mut self, name: &str, shape: &[usize], numbers: &[f32]) -> &mut Self {
        let data = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let dimensions: Vec<u64> = shape.iter().rev().map(|length| *length as u64).collect();
        self.tensor_raw(name, &dimensions, 0, data, None)
    }

    /// Adds a tensor as it will be written: dimensions in the order of the file (the contiguous
    /// one first), the number of its type, its data, and its offset if that is to be wrong.
    pub fn tensor_raw(
        &mut self,
        name: &str,
        dimensions: &[u64],
        type_number: u32,
        data: Vec<u8>,
        offset: Option<u64>,
    ) -> &mut Self {
        let dimensions = dimensions.to_vec();
        self.tensors.push(Tensor { name: name.into(), dimensions, type_number, data, offset });
        self
    }

    /// Stores the matrices of 32-bit floats in another way: as the type of this number, in the bytes that
    /// `encode` makes of their numbers. Vectors stay as they are, as in real files.
    pub fn store_matrices(&mut self, type_number: u32, encode: impl Fn(&[f32]) -> Vec<u8>) {
        let matrices = self.tensors.iter_mut().filter(|tensor| tensor.dimensions.len() > 1);
        for tensor in matrices.filter(|tensor| tensor.type_number == 0) {
            let (bytes, _) = tensor.data.as_chunks();
            let numbers: Vec<f32> = bytes.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            tensor.data = encode(&numbers);
            tensor.type_number = type_number;
        }
    }

    /// Returns the files of the same model cut into `n_files`, the tensors dealt out in turn: the
    /// first has all metadata, and each says which one it is.
    pub fn split(&self, n_files: usize) -> Vec<Self> {
        let part = |number: usize| {
            let tensors = self.tensors.iter().skip(number).step_by(n_files);
            let entries = if number == 0 { self.entries.clone() } else { Vec::new() };
            let mut part = Self { entries, tensors: tensors.cloned().collect(), ..self.clone() };
            part.set("split.no", number as u32);
            part.set("split.count", n_files as u32);
            part.set("split.tensors.count", self.tensors.len() as u32);
            part
        };
        (0..n_files).map(part).collect()
    }

    /// Writes the files of the same model cut into `n_files`, `stem-00001-of-00003.gguf` and so on;
    /// returns where they lie.
    pub fn write_split(
        &self,
        folder: &Path,
        stem: &str,
        n_files: usize,
    ) -> io::Result<Vec<PathBuf>> {
        let write = |(number, part): (usize, Self)| {
            let path = folder.join(format!("{stem}-{:05}-of-{n_files:05}.gguf", number + 1));
            part.write(&path)?;
            Ok(path)
        };
        self.split(n_files).into_iter().enumerate().map(write).collect()
    }

    /// Returns the bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.n_tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        bytes.extend(self.n_entries.unwrap_or(self.entries.len() as u64).to_le_bytes());
        for (key, value) in &self.entries {
            put_text(&mut bytes, key);
            put_value(&mut bytes, value);
        }
        let mut data_bytes = 0_usize;
        for tensor in &self.tensors {
            put_text(&mut bytes, &tensor.name);
            bytes.extend((tensor.dimensions.len() as u32).to_le_bytes());
            for dimension in &tensor.dimensions {
                bytes.extend(dimension.to_le_bytes());
            }
            bytes.extend(tensor.type_number.to_le_bytes());
            let offset = data_bytes.next_multiple_of(self.alignment);
            bytes.extend(tensor.offset.unwrap_or(offset as u64).to_le_bytes());
            data_bytes = offset + tensor.data.len();
        }
        for tensor in &self.tensors {
            bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
            bytes.extend(&tensor.data);
        }
        bytes
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path, self.to_bytes())
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn put_value(bytes: &mut Vec<u8>, value: &GgufValue) {
    let mut put = |type_number: u32, value: &[u8]| {
        bytes.extend(type_number.to_le_bytes());
        bytes.extend(value);
    };
    match value {
        GgufValue::U32(value) => put(4, &value.to_le_bytes()),
        GgufValue::I32(value) => put(5, &value.to_le_bytes()),
        GgufValue::F32(value) => put(6, &value.to_le_bytes()),
        GgufValue::Bool(value) => put(7, &[u8::from(*value)]),
        GgufValue::U64(value) => put(10, &value.to_le_bytes()),
        GgufValue::Raw(type_number, value) => put(*type_number, value),
        GgufValue::Text(text) => {
            put(8, &[]);
            put_text(bytes, text);
        }
        GgufValue::Texts(texts) => {
            put_list(bytes, 8, texts, |bytes, text| put_text(bytes, text));
        }
        GgufValue::U32s(numbers) => {
            put_list(bytes, 4, numbers, |bytes, number| bytes.extend(number.to_le_bytes()));
        }
        GgufValue::I32s(numbers) => {
            put_list(bytes, 5, numbers, |bytes, number| bytes.extend(number.to_le_bytes()));
        }
        GgufValue::F32s(numbers) => {
            put_list(bytes, 6, numbers, |bytes, number| bytes.extend(number.to_le_bytes()));
        }
    }
}

fn put_list<T>(bytes: &mut Vec<u8>, type_number: u32, list: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    bytes.extend(9_u32.to_le_bytes());
    bytes.extend(type_number.to_le_bytes());
    bytes.extend((list.len() as u64).to_le_bytes());
    for element in list {
        put(bytes, element);
    }
}
