//! The numbers of a tensor, as they will lie in a file.

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use candle_core::quantized::QTensor;
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use pagewise_kernels::Isa;

use super::ConvertError;
use super::tensors::{Parts, Planned, RowOrder};
use crate::TensorType;
use crate::weights::Weight;

/// How many numbers a thread converts at once; a bound on memory.
const CHUNK_NUMBERS: usize = 1 << 20;

/// Returns how many bytes a tensor takes.
pub(super) fn n_bytes(tensor: &Planned) -> usize {
    // The shape is that of a tensor that lies in a file, and so is no larger than can be counted.
    let n_numbers: usize = tensor.shape.iter().product();
    n_numbers / tensor.stored.block_len() * tensor.stored.block_bytes()
}

/// Writes the numbers of `tensor` to `out`, which is the file `path`.
pub(super) fn write(
    tensor: &Planned,
    n_threads: usize,
    path: &Path,
    out: &mut dyn Write,
) -> Result<(), ConvertError> {
    let sources = match &tensor.made_of {
        Parts::Stored(sources) => sources,
        Parts::Computed(numbers) => {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            return out.write_all(&bytes).map_err(ConvertError::io("write", path));
        }
    };
    for source in sources {
        let (n_rows, n_cols) = (source.n_rows(), source.n_cols());
        let step = (CHUNK_NUMBERS / n_cols.max(1)).max(1);
        let mut ranges = (0..n_rows).step_by(step).map(|row| row..n_rows.min(row + step));
        loop {
            let round: Vec<Range<usize>> = ranges.by_ref().take(n_threads.max(1)).collect();
            if round.is_empty() {
                break;
            }
            let chunks = std::thread::scope(|scope| {
                let threads: Vec<_> = round
                    .into_iter()
                    .map(|rows| scope.spawn(|| encode_rows(tensor, source, rows)))
                    .collect();
                threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
            });
            for chunk in chunks {
                let chunk = chunk.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                let chunk = chunk.map_err(|source| ConvertError::Encode {
                    tensor: tensor.name.clone(),
                    source: Box::new(source),
                })?;
                out.write_all(&chunk).map_err(ConvertError::io("write", path))?;
            }
        }
    }
    Ok(())
}

/// Returns some rows of a source as they will lie in the file.
fn encode_rows(
    tensor: &Planned,
    source: &Weight,
    rows: Range<usize>,
) -> Result<Vec<u8>, candle_core::Error> {
    let (n_rows, n_cols) = (source.n_rows(), source.n_cols());
    let from = |row: usize| tensor.change.rows.source_of(row);
    if tensor.stored == source.tensor_type && tensor.change.is_order_alone() {
        let row_bytes = source.bytes.len() / n_rows.max(1);
        let row = |row: usize| &source.bytes[from(row) * row_bytes..(from(row) + 1) * row_bytes];
        return Ok(rows.flat_map(row).copied().collect());
    }
    let matrix = source.matrix().map_err(candle_core::Error::wrap)?;
    let isa = Isa::detect();
    let mut numbers = vec![0f32; rows.len() * n_cols];
    for (row, numbers) in rows.zip(numbers.chunks_mut(n_cols)) {
        matrix.dequantize_row(isa, from(row), numbers);
        for number in numbers {
            *number = (*number + tensor.change.add) * tensor.change.multiply;
        }
    }
    encode(numbers, n_cols, tensor.stored)
}

fn encode(
    numbers: Vec<f32>,
    n_cols: usize,
    stored: TensorType,
) -> Result<Vec<u8>, candle_core::Error> {
    Ok(match stored {
        TensorType::F32 => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        TensorType::F16 => {
            numbers.iter().flat_map(|number| f16::from_f32(*number).to_le_bytes()).collect()
        }
        TensorType::BF16 => {
            numbers.iter().flat_map(|number| bf16::from_f32(*number).to_le_bytes()).collect()
        }
        blocks => {
            let n_rows = numbers.len() / n_cols;
            let tensor = Tensor::from_vec(numbers, (n_rows, n_cols), &Device::Cpu)?;
            QTensor::quantize(&tensor, blocks.to_candle())?.data()?.into_owned()
        }
    })
}

impl RowOrder {
    /// Returns which row of the source becomes `row`.
    fn source_of(self, row: usize) -> usize {
        let (Self::ToNeighbours(heads) | Self::ToHalves(heads)) = self else { return row };
        let (head, at) = (row / heads.head_dim * heads.head_dim, row % heads.head_dim);
        let half = heads.turned / 2;
        match self {
            _ if at >= heads.turned => row,
            Self::ToNeighbours(_) => head + at % 2 * half + at / 2,
            _ => head + at % half * 2 + at / half,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::tensors::Heads;

    #[test]
    fn rows_come_back_to_their_places() {
        let order = |head_dim, turned| -> Vec<usize> {
            let heads = Heads { head_dim, turned };
            let (to, back) = (RowOrder::ToNeighbours(heads), RowOrder::ToHalves(heads));
            for row in 0..4 * head_dim {
                assert_eq!(to.source_of(back.source_of(row)), row);
                assert_eq!(RowOrder::Same.source_of(row), row);
            }
            (head_dim..2 * head_dim).map(|row| to.source_of(row)).collect()
        };
        assert_eq!(order(6, 6), [6, 9, 7, 10, 8, 11]);
        assert_eq!(order(6, 4), [6, 8, 7, 9, 10, 11]);
    }

    #[test]
    fn numbers_that_are_none_can_be_stored() {
        let numbers = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e38, -1e38, 0.0, 1.0, -1.0];
        let numbers = numbers.repeat(32);
        for stored in ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q5_0", "Q4_K"] {
            let stored = TensorType::from_name(stored).unwrap();
            let bytes = encode(numbers.clone(), 256, stored).unwrap();
            assert_eq!(bytes.len(), 256 / stored.block_len() * stored.block_bytes());
        }
    }
}
