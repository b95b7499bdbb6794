//! Weights of linear layers and of the embedding, as the device at hand multiplies them best.

use std::borrow::Cow;

use candle_core::quantized::{QMatMul, QStorage, QTensor};
use candle_core::{Device, Module, Tensor};
use pagewise_kernels::{
    Isa, Matrix, Product, add_to_rows, multiply, multiply_gated, multiply_rows,
};

use crate::compute::Compute;
use crate::decoder::Activation;
use crate::rows::Rows;
use crate::weights::Weight;
use crate::{InferError, LoadError};

/// A linear layer: `x (T, in) -> x Wᵀ + b (T, out)`.
pub(crate) enum Linear {
    /// The numbers in the map of the file, multiplied where they lie by our own kernels.
    Mapped { weight: Weight, bias: Option<Vec<f32>> },
    /// A copy of them, multiplied by candle: on GPUs.
    Candle { weight: QMatMul, bias: Option<Tensor> },
}

impl Linear {
    /// Takes a matrix, `(out, in)`, and a bias, `(out,)`.
    pub(crate) fn new(
        weight: Weight,
        bias: Option<Vec<f32>>,
        compute: &Compute,
    ) -> Result<Self, LoadError> {
        if compute.pool().is_some() {
            return Ok(Self::Mapped { weight, bias });
        }
        let device = compute.device();
        let bias = bias.map(|bias| Tensor::new(bias, device)).transpose()?;
        Ok(Self::Candle { weight: candle_matrix(&weight, device)?, bias })
    }

    pub(crate) fn forward(&self, x: &Rows, compute: &Compute) -> Result<Rows, InferError> {
        let [y] = Self::forward_all([self], x, compute)?;
        Ok(y)
    }

    /// Puts one row through, of which only these numbers are wanted; the others have no meaning.
    pub(crate) fn forward_some(
        &self,
        x: &Rows,
        wanted: &[u32],
        compute: &Compute,
    ) -> Result<Rows, InferError> {
        let (Some(pool), Self::Mapped { bias: None, .. }) = (compute.pool(), self) else {
            return self.forward(x, compute);
        };
        let (matrix, _) = self.mapped()?;
        let mut y = compute.buffer(matrix.n_rows());
        y.fill(f32::NEG_INFINITY);
        multiply_rows(x.slice()?, Product { matrix, out: &mut y }, wanted, pool);
        Ok(Rows::from_buffer(y, matrix.n_rows()))
    }

    /// Puts the same rows through up to three layers.
    pub(crate) fn forward_all<const N: usize>(
        layers: [&Self; N],
        x: &Rows,
        compute: &Compute,
    ) -> Result<[Rows; N], InferError> {
        let rows = match compute.pool() {
            None => layers.into_iter().map(|layer| layer.forward_tensor(x)).collect(),
            Some(pool) => {
                let mapped = layers.map(Self::mapped);
                let mut outputs = Vec::with_capacity(N);
                for layer in mapped {
                    let (matrix, bias) = layer?;
                    outputs.push((matrix, bias, compute.buffer(x.n_rows() * matrix.n_rows())));
                }
                let mut products: Vec<_> = outputs
                    .iter_mut()
                    .map(|(matrix, _, out)| Product { matrix: *matrix, out })
                    .collect();
                multiply(x.slice()?, x.n_rows(), &mut products, pool);
                let rows = outputs.into_iter().map(|(matrix, bias, mut y)| {
                    if let Some(bias) = bias {
                        add_to_rows(pool.isa(), &mut y, bias);
                    }
                    Ok(Rows::from_buffer(y, matrix.n_rows()))
                });
                rows.collect::<Result<Vec<_>, InferError>>()
            }
        };
        rows?.try_into().map_err(|_| unreachable!("as many as there are layers"))
    }

    /// Puts rows through a gate with its activation and through `up`, and multiplies what comes out.
    pub(crate) fn forward_gated(
        gate: &Self,
        up: &Self,
        activation: Activation,
        x: &Rows,
        compute: &Compute,
    ) -> Result<Rows, InferError> {
        if let (
            Some(pool),
            Self::Mapped { weight: gate, bias: None },
            Self::Mapped { weight: up, bias: None },
        ) = (compute.pool(), gate, up)
        {
            let matrices = [matrix(gate)?, matrix(up)?];
            let mut y = compute.buffer(x.n_rows() * gate.n_rows());
            multiply_gated(x.slice()?, x.n_rows(), matrices, activation, &mut y, pool);
            return Ok(Rows::from_buffer(y, gate.n_rows()));
        }
        let [gate, up] = Self::forward_all([gate, up], x, compute)?;
        compute.gate(activation, gate, &up)
    }

    fn mapped(&self) -> Result<(Matrix<'_>, Option<&[f32]>), InferError> {
        match self {
            Self::Mapped { weight, bias } => Ok((matrix(weight)?, bias.as_deref())),
            Self::Candle { .. } => Err(wrong_kind()),
        }
    }

    fn forward_tensor(&self, x: &Rows) -> Result<Rows, InferError> {
        let Self::Candle { weight, bias } = self else { return Err(wrong_kind()) };
        let y = weight.forward(x.tensor()?)?;
        match bias {
            None => Rows::from_tensor(y),
            Some(bias) => Rows::from_tensor(y.broadcast_add(bias)?),
        }
    }
}

fn wrong_kind() -> InferError {
    candle_core::Error::Msg("the layer was made for another device".into()).into()
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

/// The embedding table, of which rows are looked up as they are stored: dequantised whole it would be the
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
        compute: &Compute,
    ) -> Result<Rows, InferError> {
        let (n_rows, n_cols) = (self.weight.n_rows(), self.weight.n_cols());
        let matrix = matrix(&self.weight)?;
        let mut rows = compute.buffer(tokens.len() * n_cols);
        for (&token, row) in tokens.iter().zip(rows.chunks_mut(n_cols)) {
            if token as usize >= n_rows {
                return Err(InferError::UnknownToken { token, vocabulary: n_rows });
            }
            matrix.dequantize_row(self.isa, token as usize, row);
        }
        compute.scale(compute.rows(rows, n_cols)?, scale)
    }
}
