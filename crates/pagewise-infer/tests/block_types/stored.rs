//! Models whose matrices are stored as one type of block, and the same numbers in full precision.

use candle_core::quantized::QTensor;
use candle_core::{Device, Tensor};
use pagewise_infer::TensorType;
use pagewise_kernels::BlockType;
use pagewise_testkit::GgufWriter;

/// Every type that a file may have.
pub(crate) const TYPES: [TensorType; BlockType::ALL.len()] = [
    TensorType::F32,
    TensorType::F16,
    TensorType::BF16,
    TensorType::Q4_0,
    TensorType::Q4_1,
    TensorType::Q5_0,
    TensorType::Q5_1,
    TensorType::Q8_0,
    TensorType::Q2_K,
    TensorType::Q3_K,
    TensorType::Q4_K,
    TensorType::Q5_K,
    TensorType::Q6_K,
];

/// Returns `model` with all its matrices, table and head too, in blocks of `stored`, and a model of
/// the numbers that these blocks hold, as candle reads them.
pub(crate) fn in_blocks(model: &GgufWriter, stored: TensorType) -> (GgufWriter, GgufWriter) {
    let (mut blocks, mut numbers) = (model.clone(), model.clone());
    blocks.store_matrices(stored.number(), |numbers| {
        quantised(numbers, stored).data().unwrap().into_owned()
    });
    numbers.store_matrices(TensorType::F32.number(), |numbers| {
        let held = quantised(numbers, stored).dequantize(&Device::Cpu).unwrap();
        held.to_vec1::<f32>().unwrap().into_iter().flat_map(f32::to_le_bytes).collect()
    });
    (blocks, numbers)
}

fn quantised(numbers: &[f32], stored: TensorType) -> QTensor {
    let numbers = Tensor::new(numbers, &Device::Cpu).unwrap();
    QTensor::quantize(&numbers, stored.to_candle()).unwrap()
}
