//! Writes GGUF files, version 3.

use std::fs::File;
use std::io::{BufWriter, Write};

use super::encode::{self, n_bytes};
use super::output::Partial;
use super::tensors::Planned;
use super::{ConvertError, ConvertOptions, OnTensor};

/// On what multiple of bytes tensors are placed: the format's own.
const ALIGNMENT: usize = 32;
/// What the file is written by at once, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// A value of GGUF metadata.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Metadatum {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    I32s(Vec<i32>),
    U32s(Vec<u32>),
    F32s(Vec<f32>),
    Bools(Vec<bool>),
    /// Type and value as another file has them.
    Raw(Vec<u8>),
}

impl From<&str> for Metadatum {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A file that will be written.
pub(super) struct GgufFileWriter<'a> {
    pub(super) metadata: Vec<(String, Metadatum)>,
    pub(super) planned: &'a [Planned],
    pub(super) options: &'a ConvertOptions,
}

impl GgufFileWriter<'_> {
    /// Writes and syncs the file, and returns its size in bytes.
    pub(super) fn write(
        &self,
        partial: &Partial,
        on_tensor: &mut OnTensor<'_>,
    ) -> Result<u64, ConvertError> {
        let path = partial.path();
        let file =
            File::options().write(true).open(path).map_err(ConvertError::io("write", path))?;
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
        let header = self.header();
        let mut at = header.len();
        out.write_all(&header).map_err(ConvertError::io("write", path))?;
        for (index, tensor) in self.planned.iter().enumerate() {
            let start = at.next_multiple_of(ALIGNMENT);
            out.write_all(&[0; ALIGNMENT][..start - at])
                .map_err(ConvertError::io("write", path))?;
            encode::write(tensor, self.options.n_threads, path, &mut out)?;
            at = start + n_bytes(tensor);
            if on_tensor(index + 1, self.planned.len()).is_break() {
                return Err(ConvertError::Cancelled);
            }
        }
        let file = out.into_inner().map_err(std::io::IntoInnerError::into_error);
        let synced = file.and_then(|file| file.sync_all());
        synced.map_err(ConvertError::io("write", path))?;
        Ok(at as u64)
    }

    /// Returns all that comes before the first tensor.
    fn header(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend((self.planned.len() as u64).to_le_bytes());
        bytes.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            put_text(&mut bytes, key);
            value.put(&mut bytes);
        }
        let mut offset = 0usize;
        for tensor in self.planned {
            offset = offset.next_multiple_of(ALIGNMENT);
            put_text(&mut bytes, &tensor.name);
            bytes.extend((tensor.shape.len() as u32).to_le_bytes());
            for length in tensor.shape.iter().rev() {
                bytes.extend((*length as u64).to_le_bytes());
            }
            bytes.extend(tensor.stored.number().to_le_bytes());
            bytes.extend((offset as u64).to_le_bytes());
            offset += n_bytes(tensor);
        }
        bytes
    }
}

/// Returns a file without tensors.
#[cfg(test)]
pub(crate) fn file_of_metadata(metadata: Vec<(String, Metadatum)>) -> Vec<u8> {
    let mut file = vec![("general.architecture".to_owned(), Metadatum::from("llama"))];
    file.extend(metadata);
    let options = &ConvertOptions::default();
    GgufFileWriter { metadata: file, planned: &[], options }.header()
}

impl Metadatum {
    fn put(&self, bytes: &mut Vec<u8>) {
        const ARRAY: u32 = 9;
        let put = |bytes: &mut Vec<u8>, number: u32| bytes.extend(number.to_le_bytes());
        let put_list = |bytes: &mut Vec<u8>, number: u32, len: usize| {
            put(bytes, ARRAY);
            put(bytes, number);
            bytes.extend((len as u64).to_le_bytes());
        };
        match self {
            Self::Raw(typed_value) => bytes.extend(typed_value),
            Self::U32(number) => {
                put(bytes, 4);
                bytes.extend(number.to_le_bytes());
            }
            Self::F32(number) => {
                put(bytes, 6);
                bytes.extend(number.to_le_bytes());
            }
            Self::Bool(value) => {
                put(bytes, 7);
                bytes.push(u8::from(*value));
            }
            Self::Text(text) => {
                put(bytes, 8);
                put_text(bytes, text);
            }
            Self::Texts(texts) => {
                put_list(bytes, 8, texts.len());
                texts.iter().for_each(|text| put_text(bytes, text));
            }
            Self::I32s(numbers) => {
                put_list(bytes, 5, numbers.len());
                bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            }
            Self::U32s(numbers) => {
                put_list(bytes, 4, numbers.len());
                bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            }
            Self::F32s(numbers) => {
                put_list(bytes, 6, numbers.len());
                bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            }
            Self::Bools(values) => {
                put_list(bytes, 7, values.len());
                bytes.extend(values.iter().map(|value| u8::from(*value)));
            }
        }
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}
