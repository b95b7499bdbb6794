//! CPU kernels for the weights of a GGUF file, working on the blocks as they lie in the file.
//!
//! A [`Matrix`] borrows its bytes and is never repacked: the memory a model needs is the size of its
//! file. [`Matrix::matmul`] quantises the activations to eight bits once per call and multiplies in
//! integers, or with AMX in tiles if there are many; floating point weights are multiplied in
//! `f32`. Work is spread over a [`ThreadPool`]; no result depends on the number of its threads.
//!
//! The instruction set is an argument ([`Isa`]) or the pool's. A kernel is written once over vectors
//! (`simd.rs`, `bytes.rs`) where families differ in these alone: many activations in `gemm.rs`, attention,
//! and few activations on ARM and in plain Rust in `rowwise.rs`. What is written for one family stands
//! apart: `gemv/`, `amx.rs`. Nothing here reads files, knows a model or allocates per call in the steady
//! state.

// In a register tile, an index counts lanes of several arrays at once.
#![allow(clippy::needless_range_loop)]

mod activations;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod amx;
mod attention;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod bf16;
mod block;
#[allow(unsafe_code)]
mod bytes;
mod elementwise;
mod error;
#[allow(unsafe_code)]
mod float;
#[allow(unsafe_code)]
mod gemm;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod gemv;
mod isa;
mod lines;
mod matrix;
#[allow(unsafe_code)]
mod peak;
mod pool;
mod product;
#[allow(unsafe_code)]
mod rowwise;
#[allow(unsafe_code)]
mod simd;
#[cfg(test)]
mod tests;
mod unpack;

pub use attention::Attention;
pub use block::BlockType;
pub use elementwise::{
    Activation, RopePairing, add_to_rows, gelu, layer_norm, rms_norm, rope, softcap,
};
pub use error::ShapeError;
pub use isa::{Isa, UnknownIsa};
pub use matrix::Matrix;
pub use peak::{multiply_on_registers, read_all};
pub use pool::ThreadPool;
pub use product::{Product, multiply, multiply_gated, multiply_rows};
