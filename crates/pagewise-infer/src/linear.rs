//! Weights of linear layers and of the embedding, as the device at hand multiplies them best.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::quantized::{QMatMul, QStorage, QTensor};
use candle_core::{Device, Module, Tensor};
use pagewise_kernels::{BlockType, Isa, Matrix, ThreadPool};

use crate::compute::Compute;
use crate::gguf::TensorBytes;
use crate::ops::with_floats;
use crate::{Gguf, GgufTensor, InferError, LoadError, TensorType};

/// A linear layer: `x (T, in) -> x Wᵀ + b (T, out)`.
pub(crate) enum Linear {
    /// The blocks in the map of the file, multiplied where they lie by our own kernels.
    Mapped { blocks: Blocks, bias: Option<Vec<f32>>, pool: Arc<ThreadPool> },
    /// A copy of the blocks, multiplied by candle: on GPUs, and on processors that our own kernels
    /// do not serve.
    Candle { weight: QMatMul, bias: Option<Tensor> },
}

impl Linear {
    /// Takes the tensor `{name}.weight`, `(out, in)`, and `{name}.bias`, `(out,)`, if there is to
    /// be one.
    pub(crate) fn load(
        gguf: &Gguf,
        name: &str,
        (out_dim, in_dim): (usize, usize),
        has_bias: bool,
        compute: &Compute,
    ) -> Result<Self, LoadError> {
        let tensor = shaped(gguf, &format!("{name}.weight"), &[out_dim, in_dim])?;
        let bias = match has_bias {
            true => Some(vector(gguf, &format!("{name}.bias"), out_dim, compute.device())?),
            false => None,
        };
        Ok(match compute.pool() {
            Some(pool) => Self::Mapped {
                blocks: Blocks::new(&tensor, out_dim, in_dim),
                bias: bias.map(|bias| bias.to_vec1()).transpose()?,
                pool: pool.clone(),
            },
            None => Self::Candle {
                weight: QMatMul::from_arc(quantized(&tensor, compute.device())?)?,
                bias,
            },
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, InferError> {
        match self {
            Self::Mapped { blocks, bias, pool } => blocks.linear(x, bias.as_deref(), pool),
            Self::Candle { weight, bias: None } => Ok(weight.forward(x)?),
            Self::Candle { weight, bias: Some(bias) } => {
                Ok(weight.forward(x)?.broadcast_add(bias)?)
            }
        }
    }
}

/// A matrix in the map of the file.
pub(crate) struct Blocks {
    bytes: TensorBytes,
    block_type: BlockType,
    n_rows: usize,
    n_cols: usize,
}

impl Blocks {
    /// `tensor` is `(n_rows, n_cols)`.
    fn new(tensor: &GgufTensor<'_>, n_rows: usize, n_cols: usize) -> Self {
        Self { bytes: tensor.hold(), block_type: block_type(tensor.tensor_type()), n_rows, n_cols }
    }

    fn matrix(&self) -> Result<Matrix<'_>, InferError> {
        // The reader has checked the size; this cannot fail on a file that was opened.
        Matrix::new(self.block_type, self.n_rows, self.n_cols, &self.bytes)
            .map_err(|error| candle_core::Error::wrap(error).into())
    }

    /// `x` is `(T, n_cols)` on the CPU; returns `(T, n_rows)`.
    fn linear(
        &self,
        x: &Tensor,
        bias: Option<&[f32]>,
        pool: &ThreadPool,
    ) -> Result<Tensor, InferError> {
        let n_tokens = x.dim(0)?;
        let mut y = vec![0f32; n_tokens * self.n_rows];
        let matrix = self.matrix()?;
        with_floats(x, |x| matrix.matmul(x, n_tokens, &mut y, pool))?;
        if let Some(bias) = bias {
            for row in y.chunks_mut(self.n_rows) {
                for (y, bias) in row.iter_mut().zip(bias) {
                    *y += bias;
                }
            }
        }
        Ok(Tensor::from_vec(y, (n_tokens, self.n_rows), &Device::Cpu)?)
    }
}

fn block_type(tensor_type: TensorType) -> BlockType {
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

/// The embedding table, of which rows are looked up in the file: dequantised whole it would be the
/// largest tensor in memory.
pub(crate) struct Embedding {
    blocks: Blocks,
    isa: Isa,
}

impl Embedding {
    /// Takes the tensor `name`, `(n_rows, row_len)`.
    pub(crate) fn load(
        gguf: &Gguf,
        name: &str,
        n_rows: usize,
        row_len: usize,
    ) -> Result<Self, LoadError> {
        let tensor = shaped(gguf, name, &[n_rows, row_len])?;
        Ok(Self { blocks: Blocks::new(&tensor, n_rows, row_len), isa: Isa::detect() })
    }

    /// Returns the rows of `tokens`, `(T, row_len)`.
    pub(crate) fn forward(&self, tokens: &[u32], device: &Device) -> Result<Tensor, InferError> {
        let Blocks { n_rows, n_cols, .. } = self.blocks;
        let matrix = self.blocks.matrix()?;
        let mut rows = vec![0f32; tokens.len() * n_cols];
        for (&token, row) in tokens.iter().zip(rows.chunks_mut(n_cols)) {
            if token as usize >= n_rows {
                return Err(InferError::UnknownToken { token, vocabulary: n_rows });
            }
            matrix.dequantize_row(self.isa, token as usize, row);
        }
        Ok(Tensor::from_vec(rows, (tokens.len(), n_cols), device)?)
    }
}

/// Returns the tensor `name` if it has this shape.
pub(crate) fn shaped<'a>(
    gguf: &'a Gguf,
    name: &str,
    shape: &[usize],
) -> Result<GgufTensor<'a>, LoadError> {
    let tensor = gguf.require_tensor(name)?;
    if tensor.shape() != shape {
        return Err(LoadError::Shape {
            path: gguf.path().to_owned(),
            tensor: name.to_owned(),
            expected: shape.to_vec(),
            found: tensor.shape().to_vec(),
        });
    }
    Ok(tensor)
}

/// Returns the tensor `name`, `(len,)`, as floats.
pub(crate) fn vector(
    gguf: &Gguf,
    name: &str,
    len: usize,
    device: &Device,
) -> Result<Tensor, LoadError> {
    let tensor = shaped(gguf, name, &[len])?;
    Ok(quantized(&tensor, &Device::Cpu)?.dequantize(&Device::Cpu)?.to_device(device)?)
}

fn quantized(tensor: &GgufTensor<'_>, device: &Device) -> Result<Arc<QTensor>, LoadError> {
    let data = Cow::Borrowed(tensor.bytes());
    let storage = QStorage::from_data(data, device, tensor.tensor_type().to_candle())?;
    Ok(Arc::new(QTensor::new(storage, tensor.shape())?))
}
