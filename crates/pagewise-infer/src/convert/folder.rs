//! Writes the files of a Hugging Face folder.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::encode::{self, n_bytes};
use super::tensors::Planned;
use super::{ConvertError, ConvertOptions, OnTensor};
use crate::TensorType;
use crate::hf::{INDEX, SINGLE};

/// The most bytes of tensors in one file, but for a tensor that is larger.
const MAX_FILE_BYTES: usize = 4 << 30;
const BUFFER_BYTES: usize = 1 << 20;
/// The header ends on such a multiple, so that numbers lie on multiples of their size.
const ALIGNMENT: usize = 8;

/// Returns what configurations call a float.
pub(super) fn dtype_name(float: TensorType) -> &'static str {
    match float {
        TensorType::F32 => "float32",
        TensorType::BF16 => "bfloat16",
        _ => "float16",
    }
}

/// A folder that will be written.
pub(super) struct FolderWriter<'a> {
    /// Where; it is there.
    pub(super) folder: &'a Path,
    pub(super) planned: &'a [Planned],
    pub(super) options: &'a ConvertOptions,
}

impl FolderWriter<'_> {
    /// Writes and syncs all files, `settings` beside the tensors; returns the size of those with
    /// tensors, in bytes.
    pub(super) fn write(
        &self,
        settings: &[(&str, Value)],
        on_tensor: &mut OnTensor<'_>,
    ) -> Result<u64, ConvertError> {
        for (name, value) in settings {
            self.write_json(name, value)?;
        }
        let shards = shards(self.planned, MAX_FILE_BYTES);
        let name = |index: usize| match shards.len() {
            1 => SINGLE.to_owned(),
            n => format!("model-{:05}-of-{n:05}.safetensors", index + 1),
        };
        let (mut bytes, mut n_done) = (0, 0);
        let mut weight_map = Map::new();
        for (index, shard) in shards.iter().enumerate() {
            let name = name(index);
            bytes += self.write_tensors(&name, shard, &mut || {
                n_done += 1;
                on_tensor(n_done, self.planned.len())
            })?;
            let of_shard = shard.iter().map(|tensor| (tensor.name.clone(), json!(name)));
            weight_map.extend(of_shard);
        }
        if shards.len() > 1 {
            let total: usize = self.planned.iter().map(n_bytes).sum();
            let index = json!({"metadata": {"total_size": total}, "weight_map": weight_map});
            self.write_json(INDEX, &index)?;
        }
        Ok(bytes)
    }

    fn write_json(&self, name: &str, value: &Value) -> Result<(), ConvertError> {
        let path = self.folder.join(name);
        let written =
            serde_json::to_vec_pretty(value).map_err(std::io::Error::from).and_then(|text| {
                let mut file = File::create_new(&path)?;
                file.write_all(&text)?;
                file.sync_all()
            });
        written.map_err(ConvertError::io("write", &path))
    }

    fn write_tensors(
        &self,
        name: &str,
        tensors: &[&Planned],
        on_tensor: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<u64, ConvertError> {
        let path = self.folder.join(name);
        let io = || ConvertError::io("write", &path);
        let mut out =
            BufWriter::with_capacity(BUFFER_BYTES, File::create_new(&path).map_err(io())?);
        let header = header(tensors);
        let mut bytes = 8 + header.len();
        out.write_all(&(header.len() as u64).to_le_bytes()).map_err(io())?;
        out.write_all(&header).map_err(io())?;
        for tensor in tensors {
            encode::write(tensor, self.options.n_threads, &path, &mut out)?;
            bytes += n_bytes(tensor);
            if on_tensor().is_break() {
                return Err(ConvertError::Cancelled);
            }
        }
        let file = out.into_inner().map_err(std::io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).map_err(io())?;
        Ok(bytes as u64)
    }
}

/// Deals tensors out to files of at most `max_bytes`, but for a tensor that is larger.
fn shards(planned: &[Planned], max_bytes: usize) -> Vec<Vec<&Planned>> {
    let mut shards: Vec<Vec<&Planned>> = vec![Vec::new()];
    let mut bytes = 0;
    for tensor in planned {
        let more = n_bytes(tensor);
        if bytes > 0 && bytes + more > max_bytes {
            shards.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        shards.last_mut().into_iter().for_each(|shard| shard.push(tensor));
    }
    shards
}

/// Returns the header of a file: what tensors it has, and where.
fn header(tensors: &[&Planned]) -> Vec<u8> {
    let mut entries = Map::new();
    entries.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut at = 0;
    for tensor in tensors {
        let dtype = tensor.stored.to_string();
        let end = at + n_bytes(tensor);
        let entry = json!({"dtype": dtype, "shape": tensor.shape, "data_offsets": [at, end]});
        entries.insert(tensor.name.clone(), entry);
        at = end;
    }
    let mut text = Value::Object(entries).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(ALIGNMENT), b' ');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_dealt_out_to_files_of_bounded_size() {
        let tensors: Vec<Planned> =
            [10, 20, 40, 5, 5].map(|n| Planned::computed("x", &vec![0.0; n])).into();
        let sizes: Vec<Vec<usize>> = shards(&tensors, 120)
            .iter()
            .map(|shard| shard.iter().map(|tensor| n_bytes(tensor)).collect())
            .collect();
        assert_eq!(sizes, [vec![40, 80], vec![160], vec![20, 20]]);
    }
}
