//! Open weights in a folder as Hugging Face has them: `config.json` beside safetensors files.
//!
//! All of it is hostile until it is checked: sizes are capped before anything is read, offsets stay
//! inside their files and apart from each other, and names of shards do not leave the folder. What
//! the tensors mean is the family's to say, which also says how GGUF's names are written here.

mod config;
mod error;
pub(crate) mod names;
mod safetensors;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::families::{self, Family};
use crate::fingerprint::Fingerprint;
use crate::json::{self, ShortMap};
use crate::weights::Weight;
use crate::{LoadError, TensorBytes, TensorType};
pub(crate) use config::HfConfig;
pub use error::{HfError, HfProblem};
pub(crate) use safetensors::{SafetensorsFile, StoredTensor};

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const SINGLE: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// The largest index, in bytes; that of a large model takes some 100 kB, of the largest 9 MB.
const MAX_INDEX_BYTES: u64 = 12 << 20;
const MAX_SHARDS: usize = 4096;
/// The most tensors of a file or an index; the largest models have some 90,000 in all.
const MAX_TENSORS: usize = 100_000;

/// What stands before the names of a language model's tensors, and before that of its head: beside
/// vision, they have a part of the file to themselves.
const PREFIXES: [(&str, &str); 3] =
    [("model.", ""), ("model.language_model.", ""), ("language_model.model.", "language_model.")];

/// Parts of a file that a language model without vision does not need, and tables that are computed.
const UNNEEDED: [&str; 5] = [
    "vision_tower.",
    "multi_modal_projector.",
    "model.vision_tower.",
    "model.multi_modal_projector.",
    "rotary_emb.inv_freq",
];

/// An open folder of weights. Clones share it.
#[derive(Clone)]
pub struct HfFolder {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    config: HfConfig,
    family: &'static Family,
    prefix: &'static str,
    head_prefix: &'static str,
    files: Vec<SafetensorsFile>,
    /// Names as the files have them; the file, and the tensor in it.
    tensors: HashMap<String, (usize, usize)>,
}

/// The index of a model in several files.
#[derive(Deserialize)]
struct ShardIndex {
    /// The file that each tensor is in.
    weight_map: ShortMap<String, MAX_TENSORS>,
}

impl HfFolder {
    /// Opens the folder `path` and checks what is in it.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let config = HfConfig::open(&path.join(CONFIG))?;
        let family = families::of_model_type(&config)?;
        let files = open_files(path)?;
        let mut tensors = HashMap::new();
        for (file_index, file) in files.iter().enumerate() {
            for (index, tensor) in file.tensors.iter().enumerate() {
                if tensors.insert(tensor.name.clone(), (file_index, index)).is_some() {
                    let name = tensor.name.clone();
                    return Err(file.error(HfProblem::DuplicateTensor { name }).into());
                }
            }
        }
        let (prefix, head_prefix) = PREFIXES
            .into_iter()
            .find(|(prefix, _)| tensors.contains_key(&format!("{prefix}embed_tokens.weight")))
            .unwrap_or(PREFIXES[0]);
        let path = path.to_owned();
        let config = config.of_text();
        let inner = Inner { path, config, family, prefix, head_prefix, files, tensors };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns where the folder lies.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Returns the files with tensors.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.inner.files.iter().map(|file| file.path.as_path())
    }

    /// Returns what the folder says about the language model.
    pub(crate) fn config(&self) -> &HfConfig {
        &self.inner.config
    }

    pub(crate) fn family(&self) -> &'static Family {
        self.inner.family
    }

    /// Returns the size of the files with tensors, in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.inner.files.iter().map(|file| file.map.bytes().len() as u64).sum()
    }

    /// Returns how the numbers of each tensor are stored, and how many these are.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (TensorType, usize)> {
        let tensors = self.inner.files.iter().flat_map(|file| &file.tensors);
        tensors.filter_map(|tensor| {
            let tensor_type = tensor.tensor_type.clone().ok()?;
            Some((tensor_type, tensor.range.len() / tensor_type.block_bytes()))
        })
    }

    /// Returns a hash that tells these weights from others without reading them all, of the settings
    /// as well: see [`crate::Weights::fingerprint`].
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let mut fingerprint = Fingerprint::default();
        fingerprint.add_settings(&self.config().to_json());
        for file in &self.inner.files {
            let tensors = file.tensors.iter().map(|tensor| tensor.range.clone());
            fingerprint.add_file(&file.map, file.header_bytes, tensors);
        }
        fingerprint.finish()
    }

    /// Returns when each file with tensors was last written, where the system says.
    pub(crate) fn modified(&self) -> Vec<Option<SystemTime>> {
        self.inner.files.iter().map(|file| file.modified).collect()
    }

    /// Returns the tensor that GGUF calls `name`.
    pub(crate) fn tensor(&self, name: &str) -> Result<Option<Weight>, HfError> {
        let hf_name = self.hf_name(name);
        let Some(&(file, index)) = self.inner.tensors.get(&hf_name) else {
            return Ok(None);
        };
        let file = &self.inner.files[file];
        let tensor = &file.tensors[index];
        let tensor_type = tensor.tensor_type.clone().map_err(|found| {
            file.error(HfProblem::UnsupportedType { name: hf_name.clone(), found })
        })?;
        let mut shape = tensor.shape.clone();
        // A convolution of each number by itself has one input; GGUF leaves that out.
        if let [_, 1, _] = shape[..] {
            shape.remove(1);
        }
        Ok(Some(Weight {
            path: file.path.clone(),
            name: hf_name,
            tensor_type,
            shape,
            bytes: TensorBytes::new(&file.map, tensor.range.clone()),
        }))
    }

    /// Returns the error that the tensor that GGUF calls `name` is missing.
    pub(crate) fn missing(&self, name: &str) -> HfError {
        let path = match self.inner.files.as_slice() {
            [file] => file.path.clone(),
            _ => self.inner.path.clone(),
        };
        HfError { path, problem: HfProblem::MissingTensor { name: self.hf_name(name) } }
    }

    /// Returns a tensor of the language model that is not one of `read`, which are GGUF's names.
    pub(crate) fn unread<'a>(&self, read: impl Iterator<Item = &'a str>) -> Option<String> {
        let read: HashSet<String> = read.map(|name| self.hf_name(name)).collect();
        let unread = |name: &&String| !read.contains(*name) && !self.is_unneeded(name);
        self.inner.tensors.keys().filter(unread).min().cloned()
    }

    /// Whether the embedding table is the head as well.
    pub(crate) fn is_tied(&self) -> bool {
        let config = self.config();
        let flag = |key| config.get::<bool>(key).ok().flatten();
        match flag("tie_word_embeddings").or(flag("tie_embedding")) {
            Some(is_tied) => is_tied,
            None => !self.inner.tensors.contains_key(&self.hf_name("output.weight")),
        }
    }

    /// Returns what GGUF calls the tensors of the language model, in the order of the files.
    pub(crate) fn gguf_names(&self) -> Result<Vec<String>, HfError> {
        let tensors = self.inner.files.iter().flat_map(|file| &file.tensors);
        let names =
            tensors.map(|tensor| tensor.name.as_str()).filter(|name| !self.is_unneeded(name));
        let gguf_name = |name: &str| {
            let Inner { prefix, head_prefix, family, .. } = &*self.inner;
            // Only names that lead back to the tensor are good.
            names::to_gguf(family, (prefix, head_prefix), name)
                .filter(|gguf_name| self.hf_name(gguf_name) == name)
                .ok_or_else(|| HfError {
                    path: self.inner.path.clone(),
                    problem: HfProblem::UnknownTensor { name: name.to_owned() },
                })
        };
        names.map(gguf_name).collect()
    }

    /// Returns what a tensor that GGUF calls `name` is called here.
    fn hf_name(&self, name: &str) -> String {
        let Inner { prefix, head_prefix, family, .. } = &*self.inner;
        names::to_hf(family, (prefix, head_prefix), name)
    }

    /// Whether a language model without vision does without a tensor.
    fn is_unneeded(&self, name: &str) -> bool {
        UNNEEDED.iter().any(|part| name.starts_with(part) || name.ends_with(part))
            // The table again, where it is the head as well.
            || (name.ends_with("lm_head.weight") && self.is_tied())
    }
}

impl fmt::Debug for HfFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HfFolder").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

fn open_files(folder: &Path) -> Result<Vec<SafetensorsFile>, HfError> {
    let index_path = folder.join(INDEX);
    if folder.join(SINGLE).exists() || !index_path.exists() {
        return Ok(vec![SafetensorsFile::open(&folder.join(SINGLE))?]);
    }
    let error = |problem| HfError { path: index_path.clone(), problem };
    let index: ShardIndex = read_json(&index_path, MAX_INDEX_BYTES)?;
    let weight_map = index.weight_map.0;
    let mut names: Vec<&String> = weight_map.values().collect();
    names.sort();
    names.dedup();
    if names.len() > MAX_SHARDS {
        return Err(error(HfProblem::TooManyShards { n_shards: names.len(), max: MAX_SHARDS }));
    }
    let mut files = Vec::new();
    for name in &names {
        if name.contains(['/', '\\', ':', '\0']) || !name.ends_with(".safetensors") {
            return Err(error(HfProblem::ShardName { name: (*name).clone() }));
        }
        files.push(SafetensorsFile::open(&folder.join(name))?);
    }
    let found: Vec<HashSet<&str>> = files
        .iter()
        .map(|file: &SafetensorsFile| {
            file.tensors.iter().map(|found| found.name.as_str()).collect()
        })
        .collect();
    for (tensor, file_name) in &weight_map {
        let in_file = names.binary_search(&file_name).ok().map(|index| &found[index]);
        if in_file.is_none_or(|in_file| !in_file.contains(tensor.as_str())) {
            return Err(error(HfProblem::NotInShard {
                name: tensor.clone(),
                shard: file_name.clone(),
            }));
        }
    }
    Ok(files)
}

/// Reads a JSON file of the folder, of at most `max` bytes.
fn read_json<T: DeserializeOwned>(path: &Path, max: u64) -> Result<T, HfError> {
    let error = |problem| HfError { path: path.to_owned(), problem };
    let bytes = json::read_file(path, max).map_err(|source| error(source.into()))?;
    let bytes = bytes.ok_or_else(|| error(HfProblem::JsonTooLarge { max }))?;
    serde_json::from_slice(&bytes).map_err(|source| error(HfProblem::Json(source)))
}
