//! How the numbers of a tensor are stored.

use std::fmt;

use candle_core::quantized::GgmlDType;

/// How the numbers of a tensor are stored: in blocks of [`Self::block_len`] numbers, each block
/// [`Self::block_bytes`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)]
pub enum TensorType {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// 16-bit brain floats.
    BF16,
    /// 4 bits and a scale for 32 numbers.
    Q4_0,
    /// 4 bits, a scale and a minimum for 32 numbers.
    Q4_1,
    /// 5 bits and a scale for 32 numbers.
    Q5_0,
    /// 5 bits, a scale and a minimum for 32 numbers.
    Q5_1,
    /// 8 bits and a scale for 32 numbers.
    Q8_0,
    /// 2 bits in super-blocks of 256.
    Q2_K,
    /// 3 bits in super-blocks of 256.
    Q3_K,
    /// 4 bits in super-blocks of 256.
    Q4_K,
    /// 5 bits in super-blocks of 256.
    Q5_K,
    /// 6 bits in super-blocks of 256.
    Q6_K,
}

use TensorType::{BF16, F16, F32, Q2_K, Q3_K, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0};

/// Number in the file, type, name.
const SUPPORTED: [(u32, TensorType, &str); 13] = [
    (0, F32, "F32"),
    (1, F16, "F16"),
    (30, BF16, "BF16"),
    (2, Q4_0, "Q4_0"),
    (3, Q4_1, "Q4_1"),
    (6, Q5_0, "Q5_0"),
    (7, Q5_1, "Q5_1"),
    (8, Q8_0, "Q8_0"),
    (10, Q2_K, "Q2_K"),
    (11, Q3_K, "Q3_K"),
    (12, Q4_K, "Q4_K"),
    (13, Q5_K, "Q5_K"),
    (14, Q6_K, "Q6_K"),
];

/// Types that exist and are refused by name.
const UNSUPPORTED: [(u32, &str); 26] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (36, "IQ4_NL_4_4"),
    (40, "NVFP4"),
];

impl TensorType {
    /// Returns the type that a GGUF file writes as `number`, or the name of the type that is not
    /// supported.
    pub(super) fn from_number(number: u32) -> Result<Self, String> {
        if let Some((_, tensor_type, _)) = SUPPORTED.iter().find(|(n, ..)| *n == number) {
            return Ok(*tensor_type);
        }
        Err(match UNSUPPORTED.iter().find(|(n, _)| *n == number) {
            Some((_, name)) => (*name).to_owned(),
            None => format!("number {number}"),
        })
    }

    /// Returns the number by which a GGUF file writes it.
    pub fn number(self) -> u32 {
        SUPPORTED.iter().find(|(_, t, _)| *t == self).map_or(0, |(number, ..)| *number)
    }

    /// Returns the type of this name, in letters of either case.
    pub fn from_name(name: &str) -> Option<Self> {
        let is_it = |(_, _, known): &&(u32, Self, &str)| known.eq_ignore_ascii_case(name);
        SUPPORTED.iter().find(is_it).map(|(_, tensor_type, _)| *tensor_type)
    }

    /// Returns the names of all supported types, for error messages.
    pub(super) fn supported_names() -> String {
        SUPPORTED.map(|(.., name)| name).join(", ")
    }

    /// Returns how many numbers a block holds; rows are whole blocks.
    pub fn block_len(self) -> usize {
        match self {
            F32 | F16 | BF16 => 1,
            Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 => 32,
            Q2_K | Q3_K | Q4_K | Q5_K | Q6_K => 256,
        }
    }

    /// Returns how many bytes a block takes.
    pub fn block_bytes(self) -> usize {
        match self {
            F32 => 4,
            F16 | BF16 => 2,
            Q4_0 => 18,
            Q4_1 => 20,
            Q5_0 => 22,
            Q5_1 => 24,
            Q8_0 => 34,
            Q2_K => 84,
            Q3_K => 110,
            Q4_K => 144,
            Q5_K => 176,
            Q6_K => 210,
        }
    }

    /// Returns candle's name for it.
    pub fn to_candle(self) -> GgmlDType {
        match self {
            F32 => GgmlDType::F32,
            F16 => GgmlDType::F16,
            BF16 => GgmlDType::BF16,
            Q4_0 => GgmlDType::Q4_0,
            Q4_1 => GgmlDType::Q4_1,
            Q5_0 => GgmlDType::Q5_0,
            Q5_1 => GgmlDType::Q5_1,
            Q8_0 => GgmlDType::Q8_0,
            Q2_K => GgmlDType::Q2K,
            Q3_K => GgmlDType::Q3K,
            Q4_K => GgmlDType::Q4K,
            Q5_K => GgmlDType::Q5K,
            Q6_K => GgmlDType::Q6K,
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = SUPPORTED.iter().find(|(_, t, _)| t == self).map_or("?", |(.., name)| name);
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sizes_are_candles() {
        for (number, tensor_type, name) in SUPPORTED {
            let candle = tensor_type.to_candle();
            assert_eq!(tensor_type.block_len(), candle.block_size(), "{name}");
            assert_eq!(tensor_type.block_bytes(), candle.type_size(), "{name}");
            assert_eq!(TensorType::from_number(number), Ok(tensor_type));
            assert_eq!(tensor_type.to_string(), name);
        }
    }
}
