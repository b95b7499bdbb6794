//! The weights of a model, wherever they lie, under the names that GGUF gives them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use pagewise_kernels::{BlockType, Isa, Matrix, ShapeError};

use crate::compute::Compute;
use crate::gguf::LargePages;
use crate::linear::Linear;
use crate::rows::Vector;
use crate::{DecoderConfig, Gguf, HfFolder, LoadError, TensorBytes, TensorType, families};

/// The weights of a model, wherever they lie, under the names that GGUF gives them.
#[derive(Debug, Clone)]
pub enum Weights {
    /// A GGUF file.
    Gguf(Gguf),
    /// A folder as Hugging Face has them.
    Hf(HfFolder),
}

/// Tensors of GGUF files that are read with the metadata.
pub(crate) const WITH_METADATA: [&str; 3] =
    ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"];

impl Weights {
    /// Opens a GGUF file, or a folder with `config.json` and safetensors files.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        if path.is_dir() {
            Ok(Self::Hf(HfFolder::open(path)?))
        } else {
            Ok(Self::Gguf(Gguf::open(path)?))
        }
    }

    /// Returns the file or folder.
    pub fn path(&self) -> &Path {
        match self {
            Self::Gguf(gguf) => gguf.path(),
            Self::Hf(folder) => folder.path(),
        }
    }

    /// Returns the files that have the tensors.
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Gguf(gguf) => gguf.paths().map(Path::to_owned).collect(),
            Self::Hf(folder) => folder.files().map(Path::to_owned).collect(),
        }
    }

    /// Returns what the decoder is made of that runs these weights.
    pub fn config(&self) -> Result<DecoderConfig, LoadError> {
        match self {
            Self::Gguf(gguf) => families::config_of_gguf(gguf),
            Self::Hf(folder) => families::config_of_folder(folder),
        }
    }

    /// Returns the architecture as GGUF names it, for example `llama`.
    pub fn architecture(&self) -> &str {
        match self {
            Self::Gguf(gguf) => gguf.architecture(),
            Self::Hf(folder) => folder.family().gguf,
        }
    }

    /// Returns the size of the file, or of the files with tensors, in bytes.
    pub fn file_bytes(&self) -> u64 {
        match self {
            Self::Gguf(gguf) => gguf.file_bytes(),
            Self::Hf(folder) => folder.file_bytes(),
        }
    }

    /// Returns a hash (SHA-256) that tells these weights from others without reading them all: of the
    /// sizes and headers of their files, and of samples of every tensor. What was trained or quantised
    /// otherwise differs nearly everywhere; bytes that differ between the samples alone are not seen.
    pub fn fingerprint(&self) -> [u8; 32] {
        match self {
            Self::Gguf(gguf) => gguf.fingerprint(),
            Self::Hf(folder) => folder.fingerprint(),
        }
    }

    /// Returns when each file with tensors was last written when it was opened, where the system says.
    pub(crate) fn modified(&self) -> Vec<Option<SystemTime>> {
        match self {
            Self::Gguf(gguf) => gguf.modified(),
            Self::Hf(folder) => folder.modified(),
        }
    }

    /// Returns in which ways numbers are stored, and how many in each.
    pub fn counts(&self) -> Vec<(TensorType, usize)> {
        let mut counts: Vec<(TensorType, usize)> = Vec::new();
        let mut add = |tensor_type, n_elements| match counts
            .iter_mut()
            .find(|(known, _)| *known == tensor_type)
        {
            Some((_, count)) => *count += n_elements,
            None => counts.push((tensor_type, n_elements)),
        };
        match self {
            Self::Gguf(gguf) => {
                gguf.tensors().for_each(|tensor| add(tensor.tensor_type(), tensor.n_elements()));
            }
            Self::Hf(folder) => folder.tensors().for_each(|(kind, count)| add(kind, count)),
        }
        counts
    }

    /// Returns all tensors of the language model, in the order of the file or files.
    pub fn tensors(&self) -> Result<Vec<TensorSummary>, LoadError> {
        let names: Vec<String> = match self {
            Self::Gguf(gguf) => gguf.tensors().map(|tensor| tensor.name().to_owned()).collect(),
            Self::Hf(folder) => folder.gguf_names()?,
        };
        let mut tensors = Vec::with_capacity(names.len());
        for name in names {
            if let Some(Weight { tensor_type, shape, bytes, .. }) = self.tensor(&name)? {
                let n_bytes = bytes.len() as u64;
                tensors.push(TensorSummary { name, tensor_type, shape, n_bytes });
            }
        }
        Ok(tensors)
    }

    /// Returns all metadata of a GGUF file, or the settings in the `config.json` of a folder, sorted
    /// by key, for display.
    pub fn metadata(&self) -> Vec<(String, String)> {
        match self {
            Self::Gguf(gguf) => {
                gguf.metadata().map(|(key, value)| (key.to_owned(), value.to_string())).collect()
            }
            Self::Hf(folder) => folder.config().entries(),
        }
    }

    /// Returns the chat template, Jinja, if there is one.
    pub fn chat_template(&self) -> Result<Option<String>, LoadError> {
        let path = self.path().to_owned();
        match self {
            Self::Gguf(gguf) => Ok(gguf.get::<&str>("tokenizer.chat_template")?.map(str::to_owned)),
            Self::Hf(folder) => crate::tokenizer::chat_template_of_folder(folder.path())
                .map_err(|source| LoadError::ChatTemplate { path, source: source.into() }),
        }
    }

    pub(crate) fn tensor(&self, name: &str) -> Result<Option<Weight>, LoadError> {
        Ok(match self {
            Self::Gguf(gguf) => gguf.tensor(name).map(|tensor| Weight {
                path: tensor.path().to_owned(),
                name: name.to_owned(),
                tensor_type: tensor.tensor_type(),
                shape: tensor.shape().to_vec(),
                bytes: tensor.hold(),
            }),
            Self::Hf(folder) => folder.tensor(name)?,
        })
    }

    fn missing(&self, name: &str) -> LoadError {
        match self {
            Self::Gguf(gguf) => {
                gguf.error(crate::GgufProblem::MissingTensor { name: name.into() }).into()
            }
            Self::Hf(folder) => folder.missing(name).into(),
        }
    }

    /// Returns a tensor that is not among `read`.
    fn unread(&self, read: &BTreeSet<String>) -> Option<String> {
        match self {
            Self::Gguf(gguf) => gguf
                .tensors()
                .map(|tensor| tensor.name())
                .find(|name| !read.contains(*name) && !WITH_METADATA.contains(name))
                .map(str::to_owned),
            Self::Hf(folder) => folder.unread(read.iter().map(String::as_str)),
        }
    }
}

impl From<&Gguf> for Weights {
    fn from(gguf: &Gguf) -> Self {
        Self::Gguf(gguf.clone())
    }
}

impl From<&HfFolder> for Weights {
    fn from(folder: &HfFolder) -> Self {
        Self::Hf(folder.clone())
    }
}

impl From<&Weights> for Weights {
    fn from(weights: &Weights) -> Self {
        weights.clone()
    }
}

/// What there is to know of a tensor but its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSummary {
    /// As GGUF calls it.
    pub name: String,
    /// How its numbers are stored.
    pub tensor_type: TensorType,
    /// Row-major.
    pub shape: Vec<usize>,
    /// What it takes in its file.
    pub n_bytes: u64,
}

/// A tensor where it lies in its file.
#[derive(Debug, Clone)]
pub(crate) struct Weight {
    /// The file.
    pub(crate) path: PathBuf,
    /// What the file calls it.
    pub(crate) name: String,
    pub(crate) tensor_type: TensorType,
    /// Row-major.
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: TensorBytes,
}

impl Weight {
    /// Returns some rows, which must be there.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Self {
        let row_bytes = self.bytes.len() / self.n_rows().max(1);
        let bytes = self.bytes.part(rows.start * row_bytes..rows.end * row_bytes);
        let mut shape = self.shape.clone();
        shape[0] = rows.len();
        Self { shape, bytes, path: self.path.clone(), name: self.name.clone(), ..*self }
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Returns how many numbers a row has; a vector is one row of each of its numbers.
    pub(crate) fn n_cols(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Views the tensor as a matrix.
    pub(crate) fn matrix(&self) -> Result<Matrix<'_>, ShapeError> {
        Matrix::new(self.block_type(), self.n_rows(), self.n_cols(), &self.bytes)
    }

    /// Returns all numbers, row by row.
    pub(crate) fn floats(&self) -> Result<Vec<f32>, LoadError> {
        let n_numbers: usize = self.shape.iter().product();
        let mut floats = vec![0f32; n_numbers];
        let matrix = Matrix::new(self.block_type(), 1, n_numbers, &self.bytes)
            .map_err(candle_core::Error::wrap)?;
        matrix.dequantize_row(Isa::detect(), 0, &mut floats);
        Ok(floats)
    }

    fn block_type(&self) -> BlockType {
        block_type(self.tensor_type)
    }
}

/// Returns what our own kernels call it.
pub(crate) fn block_type(tensor_type: TensorType) -> BlockType {
    match tensor_type {
        TensorType::F32 => BlockType::F32,
        TensorType::F16 => BlockType::F16,
        TensorType::BF16 => BlockType::BF16,
        TensorType::Q4_0 => BlockType::Q4_0,
        TensorType::Q4_1 => BlockType::Q4_1,
        TensorType::Q5_0 => BlockType::Q5_0,
        TensorType::Q5_1 => BlockType::Q5_1,
        TensorType::Q8_0 => BlockType::Q8_0,
        TensorType::Q2_K => BlockType::Q2K,
        TensorType::Q3_K => BlockType::Q3K,
        TensorType::Q4_K => BlockType::Q4K,
        TensorType::Q5_K => BlockType::Q5K,
        TensorType::Q6_K => BlockType::Q6K,
    }
}

/// Takes a decoder's parts out of the weights, and knows which were taken.
pub(crate) struct Loader<'a> {
    weights: &'a Weights,
    config: &'a DecoderConfig,
    compute: &'a Compute,
    read: RefCell<BTreeSet<String>>,
    /// Where copies of weights have room.
    pages: RefCell<Option<Arc<LargePages>>>,
}

/// Large pages that are asked for at once.
const PAGES_BYTES: usize = 64 << 20;

impl<'a> Loader<'a> {
    pub(crate) fn new(
        weights: &'a Weights,
        config: &'a DecoderConfig,
        compute: &'a Compute,
    ) -> Self {
        Self { weights, config, compute, read: RefCell::default(), pages: RefCell::default() }
    }

    pub(crate) fn config(&self) -> &'a DecoderConfig {
        self.config
    }

    pub(crate) fn compute(&self) -> &'a Compute {
        self.compute
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> Result<bool, LoadError> {
        Ok(self.weights.tensor(name)?.is_some())
    }

    /// Returns the tensor `name` if it has this shape.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Weight, LoadError> {
        let tensor = self.weights.tensor(name)?.ok_or_else(|| self.weights.missing(name))?;
        self.read.borrow_mut().insert(name.to_owned());
        if tensor.shape != shape {
            return Err(LoadError::Shape {
                path: tensor.path,
                tensor: tensor.name,
                expected: shape.to_vec(),
                found: tensor.shape,
            });
        }
        Ok(tensor)
    }

    /// Returns a weight that is read whole for every token: as a copy in large pages where our own
    /// kernels multiply and the system has such pages, else as it is.
    pub(crate) fn resident(&self, weight: Weight) -> Weight {
        let Some(pool) = self.compute.pool() else { return weight };
        let mut pages = self.pages.borrow_mut();
        let mut copy = || {
            if let Some(bytes) = pages.as_ref().and_then(|pages| weight.bytes.copied(pages, pool)) {
                return Some(bytes);
            }
            let fresh =
                Arc::new(LargePages::new(PAGES_BYTES.max(weight.bytes.len() + PAGES_BYTES / 2))?);
            weight.bytes.copied(pages.insert(fresh), pool)
        };
        match copy() {
            Some(bytes) => Weight { bytes, ..weight },
            None => weight,
        }
    }

    /// Returns the linear layer `{name}.weight`, `(out, in)`, with `{name}.bias`, `(out,)`, if it
    /// is to have one.
    pub(crate) fn linear(
        &self,
        name: &str,
        shape: (usize, usize),
        has_bias: bool,
    ) -> Result<Linear, LoadError> {
        let [linear] = self.fused(name, [shape.0], shape.1, has_bias)?;
        Ok(linear)
    }

    /// Returns the linear layers of which `{name}.weight` has the rows one after the other.
    pub(crate) fn fused<const N: usize>(
        &self,
        name: &str,
        out_dims: [usize; N],
        in_dim: usize,
        has_bias: bool,
    ) -> Result<[Linear; N], LoadError> {
        let out_dim = out_dims.iter().sum();
        let weight = self.resident(self.tensor(&format!("{name}.weight"), &[out_dim, in_dim])?);
        let bias = match has_bias {
            true => Some(self.tensor(&format!("{name}.bias"), &[out_dim])?.floats()?),
            false => None,
        };
        let mut at = 0;
        let mut linears = Vec::with_capacity(N);
        for out_dim in out_dims {
            let rows = at..at + out_dim;
            at += out_dim;
            let bias = bias.as_ref().map(|bias| bias[rows.clone()].to_vec());
            linears.push(Linear::new(weight.rows(rows), bias, self.compute)?);
        }
        linears.try_into().map_err(|_| unreachable!("as many as there are dimensions"))
    }

    /// Returns one linear layer for each expert: `{name}_exps.weight`, `(n_experts, out, in)`, has
    /// all of them, or else `{name}.0.weight`, `{name}.1.weight`, … are one each.
    pub(crate) fn experts(
        &self,
        name: &str,
        n_experts: usize,
        (out_dim, in_dim): (usize, usize),
    ) -> Result<Vec<Linear>, LoadError> {
        let whole = format!("{name}_exps.weight");
        if !self.has(&whole)? {
            let expert =
                |expert| self.linear(&format!("{name}.{expert}"), (out_dim, in_dim), false);
            return (0..n_experts).map(expert).collect();
        }
        let mut weight = self.tensor(&whole, &[n_experts, out_dim, in_dim])?;
        weight.shape = vec![n_experts * out_dim, in_dim];
        let weight = self.resident(weight);
        (0..n_experts)
            .map(|expert| {
                let rows = expert * out_dim..(expert + 1) * out_dim;
                Linear::new(weight.rows(rows), None, self.compute)
            })
            .collect()
    }

    /// Returns the weights of the norm `name`, `(len,)`.
    pub(crate) fn norm(&self, name: &str, len: usize) -> Result<Vector, LoadError> {
        let mut weights = self.tensor(&format!("{name}.weight"), &[len])?.floats()?;
        if self.config.norm_plus_one {
            weights.iter_mut().for_each(|weight| *weight += 1.0);
        }
        Ok(Vector::new(weights, self.compute)?)
    }

    /// Refuses weights of which something was not taken: left out in silence, it would make
    /// answers wrong.
    pub(crate) fn finish(self) -> Result<(), LoadError> {
        match self.weights.unread(&self.read.into_inner()) {
            None => Ok(()),
            Some(name) => Err(LoadError::Config {
                path: self.weights.path().to_owned(),
                reason: format!("has {name}, which is not supported"),
            }),
        }
    }
}
