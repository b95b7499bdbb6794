//! The block types of GGUF that the kernels read.

/// How the weights of a row are stored.
///
/// A row is a sequence of blocks of [`block_len`](Self::block_len) weights. The quantised types
/// are those of ggml: the `Q?_?` ones have one scale per 32 weights, the `Q?K` ones one scale per
/// 256 and a small integer scale per 16 or 32 inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of single precision.
    BF16,
    /// 4 bits and a scale.
    Q4_0,
    /// 4 bits, a scale and a minimum.
    Q4_1,
    /// 5 bits and a scale.
    Q5_0,
    /// 5 bits, a scale and a minimum.
    Q5_1,
    /// 8 bits and a scale.
    Q8_0,
    /// 2 bits; 4-bit scales and minima per 16.
    Q2K,
    /// 3 bits; 6-bit scales per 16.
    Q3K,
    /// 4 bits; 6-bit scales and minima per 32.
    Q4K,
    /// 5 bits; 6-bit scales and minima per 32.
    Q5K,
    /// 6 bits; 8-bit scales per 16.
    Q6K,
}

impl BlockType {
    /// Every type.
    pub const ALL: [Self; 13] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Returns the number of weights in a block.
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Returns the size of a block in bytes.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    pub(crate) const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }

    /// Weights that share one scale once the block is unpacked.
    pub(crate) const fn sub_len(self) -> usize {
        match self {
            Self::Q2K | Self::Q3K | Self::Q6K => 16,
            _ => 32,
        }
    }

    /// Where the unsigned quants of a symmetric type have their zero: `w = scale * (u - offset)`.
    ///
    /// Zero for the types that store a minimum of their own.
    pub(crate) const fn offset(self) -> i32 {
        match self {
            Self::Q3K => 4,
            Self::Q4_0 => 8,
            Self::Q5_0 => 16,
            Self::Q6K => 32,
            Self::Q8_0 => 128,
            _ => 0,
        }
    }
}
