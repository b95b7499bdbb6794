//! Weights of linear layers and of the embedding, as the device at hand multiplies them best.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::quantized::{QMatMul, QStorage, QTensor};
use candle_core::{Device, Module, Tensor};
use pagewise_kernels::{Isa, Matrix, ThreadPool};

use crate::compute::Compute;
use crate::ops::with_floats;
use crate::weights::Weight;
use crate::{InferError, LoadError};

/// A linear layer: `x (T, in) -> x Wᵀ + b (T, out)`.
pub(crate) enum Linear {
    /// The numbers in the map of the file, multiplied where they lie by our own kernels.
    Mapped { weight: Weight, bias: Option<Vec<f32>>, pool: Arc<ThreadPool> },
    /// A copy of them, multiplied by candle: on GPUs, and on processors that our own kernels do not
    /// serve.
    Candle { weight: QMatMul, bias: Option<Tensor> },
}

impl Linear {
    /// Takes a matrix, `(out, in)`, and a bias, `(out,)`.
    pub(crate) fn new(
        weight: Weight,
        bias: Option<Vec<f32>>,
        compute: &Compute,
    ) -> Result<Self, LoadError> {
        if let Some(pool) = compute.pool() {
            return Ok(Self::Mapped { weight, bias, pool: pool.clone() });
        }
        let device = compute.device();
        let bias = bias.map(|bias| Tensor::new(bias, device)).transpose()?;
        Ok(Self::Candle { weight: candle_matrix(&weight, device)?, bias })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, InferError> {
        match self {
            Self::Mapped { weight, bias, pool } => multiply(weight, x, bias.as_deref(), pool),
            Self::Candle { weight, bias: None } => Ok(weight.forward(x)?),
            Self::Candle { weight, bias: Some(bias) } => {
                Ok(weight.forward(x)?.broadcast_add(bias)?)
            }
        }
    }
}

/// Multiplies `x`, `(T, n_cols)` on the CPU; returns `(T, n_rows)`.
fn multiply(
    weight: &Weight,
    x: &Tensor,
    bias: Option<&[f32]>,
    pool: &ThreadPool,
) -> Result<Tensor, InferError> {
    let (n_tokens, n_rows) = (x.dim(0)?, weight.n_rows());
    let mut y = vec![0f32; n_tokens * n_rows];
    let matrix = matrix(weight)?;
    with_floats(x, |x| matrix.matmul(x, n_tokens, &mut y, pool))?;
    if let Some(bias) = bias {
        for row in y.chunks_mut(n_rows) {
            for (y, bias) in row.iter_mut().zip(bias) {
                *y += bias;
            }
        }
    }
    Ok(Tensor::from_vec(y, (n_tokens, n_rows), &Device::Cpu)?)
}

fn matrix(weight: &Weight) -> Result<Matrix<'_>, InferError> {
    // The reader has checked the size; this cannot fail on a file that was opened.
    weight.matrix().map_err(|error| candle_core::Error::wrap(error).into())
}

fn candle_matrix(weight: &Weight, device: &Device) -> Result<QMatMul, LoadError> {
    if weight.tensor_type.block_len() == 1 {
        // candle takes floats only where they are aligned, which files need not care for.
        let shape = weight.shape.as_slice();
        return Ok(QMatMul::Tensor(Tensor::from_vec(weight.floats()?, shape, device)?));
    }
    let data = Cow::Borrowed(&*weight.bytes);
    let storage = QStorage::from_data(data, device, weight.tensor_type.to_candle())?;
    Ok(QMatMul::from_qtensor(QTensor::new(storage, weight.shape.as_slice())?)?)
}

/// The embedding table, of which rows are looked up in the file: dequantised whole it would be the
/// largest tensor in memory.
pub(crate) struct Embedding {
    weight: Weight,
    isa: Isa,
}

impl Embedding {
    /// Takes a matrix, `(vocabulary, hidden)`.
    pub(crate) fn new(weight: Weight) -> Self {
        Self { weight, isa: Isa::detect() }
    }

    /// Returns the rows of `tokens`, `(T, hidden)`, multiplied with `scale`.
    pub(crate) fn forward(
        &self,
        tokens: &[u32],
        scale: f32,
        device: &Device,
    ) -> Result<Tensor, InferError> {
        let (n_rows, n_cols) = (self.weight.n_rows(), self.weight.n_cols());
        let matrix = matrix(&self.weight)?;
        let mut rows = vec![0f32; tokens.len() * n_cols];
        for (&token, row) in tokens.iter().zip(rows.chunks_mut(n_cols)) {
            if token as usize >= n_rows {
                return Err(InferError::UnknownToken { token, vocabulary: n_rows });
            }
            matrix.dequantize_row(self.isa, token as usize, row);
        }
        if scale != 1.0 {
            rows.iter_mut().for_each(|x| *x *= scale);
        }
        Ok(Tensor::from_vec(rows, (tokens.len(), n_cols), device)?)
    }
}
