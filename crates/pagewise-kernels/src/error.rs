//! What can be wrong with the shape of a matrix.

use crate::BlockType;
use std::fmt;

/// Says why bytes cannot be read as a matrix of the given shape.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShapeError {
    /// A row does not consist of whole blocks.
    PartialBlock {
        /// The blocks' type.
        block_type: BlockType,
        /// Weights per row.
        n_cols: usize,
    },
    /// The size in bytes does not fit into the address space.
    TooLarge {
        /// The number of rows.
        n_rows: usize,
        /// Weights per row.
        n_cols: usize,
    },
    /// The bytes are not as many as the shape needs.
    WrongLength {
        /// Bytes the shape needs.
        expected: usize,
        /// Bytes given.
        actual: usize,
    },
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PartialBlock { block_type, n_cols } => write!(
                f,
                "a row of {n_cols} weights cannot be cut into {block_type:?} blocks of {}",
                block_type.block_len()
            ),
            Self::TooLarge { n_rows, n_cols } => write!(
                f,
                "a matrix of {n_rows} rows and {n_cols} columns is larger than the address space"
            ),
            Self::WrongLength { expected, actual } => {
                write!(f, "the matrix needs {expected} bytes, but {actual} are there")
            }
        }
    }
}

impl std::error::Error for ShapeError {}
