//! Why a GGUF file is refused.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::tensor_type::TensorType;
use crate::brief::brief;

/// A GGUF file that cannot be used.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
pub struct GgufError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: GgufProblem,
}

/// What is wrong with a GGUF file.
#[derive(Debug, Error)]
pub enum GgufProblem {
    /// The operating system would not open, measure or map it.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// A folder, a pipe or a device.
    #[error("is not a file; give the path of a .gguf file")]
    NotAFile,
    /// Nothing is in it.
    #[error("is empty; fetch it again")]
    Empty,
    /// It does not begin as GGUF files do.
    #[error("is not a GGUF file: it begins with \"{start}\" and not with \"GGUF\"")]
    NotGguf {
        /// Its first bytes, escaped.
        start: String,
    },
    /// Written on a big-endian machine.
    #[error("is a big-endian GGUF file, which is not supported; convert it to little-endian")]
    BigEndian,
    /// A version of the format that is not supported.
    #[error("is GGUF version {version}; supported are 2 and 3")]
    Version {
        /// The version.
        version: u32,
    },
    /// It ends before its header does.
    #[error(
        "is damaged or incomplete: it ends at byte {file_bytes}, inside its header, where {what} \
         should be; fetch it again"
    )]
    HeaderTruncated {
        /// What did not fit.
        what: &'static str,
        /// The size of the file.
        file_bytes: usize,
    },
    /// It ends before its last tensor does.
    #[error(
        "is incomplete: its header describes {expected} bytes and it has {actual}; fetch it again"
    )]
    Truncated {
        /// The size its header asks for.
        expected: u64,
        /// The size it has.
        actual: u64,
    },
    /// A count beyond any real model.
    #[error("is damaged: it claims to hold {count} {what}, and at most {max} are allowed")]
    Count {
        /// What is counted.
        what: &'static str,
        /// How many there should be.
        count: u64,
        /// How many there may be.
        max: u64,
    },
    /// Text that is not UTF-8.
    #[error("is damaged: {what} at byte {at} is not UTF-8 text")]
    NotUtf8 {
        /// Which text.
        what: &'static str,
        /// Where it begins.
        at: usize,
    },
    /// A type of metadata that the format does not have.
    #[error("is damaged: metadata \"{key}\" has a value of unknown type {number}")]
    ValueType {
        /// The key.
        key: String,
        /// The number of the type.
        number: u32,
    },
    /// An array of arrays.
    #[error("has an array of arrays as metadata \"{key}\", which no supported model needs")]
    NestedArray {
        /// The key.
        key: String,
    },
    /// The same metadata key twice.
    #[error("is damaged: it has the metadata \"{key}\" twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// Metadata that is needed is not there.
    #[error("lacks the metadata \"{}\", which is needed here", brief(key))]
    MissingKey {
        /// The key.
        key: String,
    },
    /// Metadata of another type than it must have.
    #[error("has the metadata \"{}\" as {found}, and it must be {wanted}", brief(key))]
    IllTyped {
        /// The key.
        key: String,
        /// What is there.
        found: String,
        /// What must be there.
        wanted: &'static str,
    },
    /// An alignment that is no power of two, or out of range.
    #[error(
        "is damaged: its alignment is {alignment}, and it must be a power of two from 8 to 1048576"
    )]
    Alignment {
        /// The alignment in bytes.
        alignment: u64,
    },
    /// The same tensor name twice.
    #[error("is damaged: it has the tensor {} twice", brief(name))]
    DuplicateTensor {
        /// The tensor.
        name: String,
    },
    /// A tensor without dimensions, with too many, or with an empty one.
    #[error(
        "is damaged: tensor {name} has the shape {shape}, and it must have 1 to 4 dimensions, \
         none of them 0"
    )]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape, or the number of its dimensions.
        shape: String,
    },
    /// A tensor larger than can be counted.
    #[error("is damaged: tensor {name} with the shape {shape} is too large for any file")]
    TooLarge {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: String,
    },
    /// A way to store numbers that is not supported.
    #[error(
        "cannot be used: tensor {name} has type {found}, which is not supported; supported are {}",
        TensorType::supported_names()
    )]
    TensorType {
        /// The tensor.
        name: String,
        /// The name of the type, or its number.
        found: String,
    },
    /// Rows that are not whole blocks.
    #[error(
        "is damaged: tensor {name} has rows of {row} numbers, and {tensor_type} stores {block} \
         at a time"
    )]
    PartialBlock {
        /// The tensor.
        name: String,
        /// How its numbers are stored.
        tensor_type: TensorType,
        /// Numbers in a row.
        row: u64,
        /// Numbers in a block.
        block: u64,
    },
    /// A tensor that does not begin on a multiple of the alignment.
    #[error(
        "is damaged: tensor {name} begins at offset {offset}, which is not a multiple of \
         {alignment}"
    )]
    Unaligned {
        /// The tensor.
        name: String,
        /// Its offset from the start of the data.
        offset: u64,
        /// The alignment of the file.
        alignment: u64,
    },
    /// Two tensors that share bytes.
    #[error("is damaged: the tensors {first} and {second} overlap")]
    Overlap {
        /// The one that begins first.
        first: String,
        /// The one that begins inside it.
        second: String,
    },
    /// A tensor that is needed is not there.
    #[error("lacks the tensor {name}, which its architecture needs")]
    MissingTensor {
        /// The tensor.
        name: String,
    },
    /// A part of a model in several files that does not say which one by its name.
    #[error(
        "is part {number} of {count} of a model, and its name should end with \"{suffix}\" so that \
         the other parts can be found; give it back the name it had"
    )]
    ShardName {
        /// Which part, counted from 1.
        number: usize,
        /// How many there are.
        count: usize,
        /// How the name should end.
        suffix: String,
    },
    /// Another part of the model is not there.
    #[error("is part of a model of which the part {missing} is not beside it; fetch that one too")]
    MissingShard {
        /// The file that is not there.
        missing: String,
    },
    /// A number of parts that no model has.
    #[error("is damaged: it claims to be part {number} of {count}, and at most {max} are allowed")]
    ShardCount {
        /// Which part, counted from 1.
        number: u64,
        /// How many there should be.
        count: u64,
        /// How many there may be.
        max: usize,
    },
    /// A part that belongs to another place, or to another model.
    #[error("is not the part that its name says: it is part {number} of {count} by its metadata")]
    OtherShard {
        /// Which part, counted from 1.
        number: u64,
        /// How many there are.
        count: u64,
    },
    /// The parts have more or fewer tensors than the first of them says.
    #[error(
        "belongs to a model of {expected} tensors, and its parts have {found} together; fetch them \
         again"
    )]
    ShardTensors {
        /// How many there should be.
        expected: u64,
        /// How many there are.
        found: usize,
    },
}
