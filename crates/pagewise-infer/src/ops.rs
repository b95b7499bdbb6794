//! What the forward pass does between its matrices: our own kernels on the processors they serve,
//! candle elsewhere.

use std::sync::Mutex;

use candle_core::{CpuStorage, Device, Storage, Tensor};
use pagewise_kernels::ThreadPool;

use crate::InferError;
use crate::compute::Compute;
use crate::decoder::Activation;

/// Numbers that one task of an elementwise loop goes over: some microseconds of work.
const TASK_LEN: usize = 1 << 15;

impl Compute {
    /// Returns `x / sqrt(mean(x²) + epsilon) * weight`, row by row; `x` is `(T, n)`, `weight` `(n,)`.
    pub(crate) fn rms_norm(
        &self,
        x: &Tensor,
        weight: &Tensor,
        epsilon: f32,
    ) -> Result<Tensor, InferError> {
        let Some(pool) = self.pool() else {
            return Ok(candle_nn::ops::rms_norm(&x.contiguous()?, weight, epsilon)?);
        };
        let mut y = vec![0f32; x.elem_count()];
        with_floats(weight, |weight| {
            with_floats(x, |x| pagewise_kernels::rms_norm(pool.isa(), x, weight, epsilon, &mut y))
        })??;
        Ok(Tensor::from_vec(y, x.shape(), &Device::Cpu)?)
    }

    /// Returns `activation(gate) * up`; both are `(T, n)`.
    pub(crate) fn gate(
        &self,
        activation: Activation,
        gate: &Tensor,
        up: &Tensor,
    ) -> Result<Tensor, InferError> {
        let Some(pool) = self.pool() else {
            let gate = match activation {
                Activation::Silu => candle_nn::ops::silu(gate)?,
                Activation::GeluTanh => gate.gelu()?,
            };
            return Ok((gate * up)?);
        };
        let kernel = match activation {
            Activation::Silu => pagewise_kernels::silu_mul,
            Activation::GeluTanh => pagewise_kernels::gelu_mul,
        };
        let mut y = to_floats(gate)?;
        with_floats(up, |up| {
            in_parallel(&mut y, up, TASK_LEN, pool, |y, up| kernel(pool.isa(), y, up));
        })?;
        Ok(Tensor::from_vec(y, gate.shape(), &Device::Cpu)?)
    }

    /// Returns `cap * tanh(x / cap)`.
    pub(crate) fn softcap(&self, x: &Tensor, cap: f32) -> Result<Tensor, InferError> {
        let Some(pool) = self.pool() else {
            let cap = f64::from(cap);
            return Ok(((x / cap)?.tanh()? * cap)?);
        };
        let mut y = to_floats(x)?;
        pagewise_kernels::softcap(pool.isa(), &mut y, cap);
        Ok(Tensor::from_vec(y, x.shape(), &Device::Cpu)?)
    }
}

/// Calls `task` on pieces of `y` and the same pieces of `x`, of `len` numbers each.
fn in_parallel(
    y: &mut [f32],
    x: &[f32],
    len: usize,
    pool: &ThreadPool,
    task: impl Fn(&mut [f32], &[f32]) + Sync,
) {
    if y.len() <= len {
        return task(y, x);
    }
    let pieces: Vec<_> = y.chunks_mut(len).zip(x.chunks(len)).map(Mutex::new).collect();
    pool.run(pieces.len(), &|index| {
        // Nobody else has this piece; a lock that is poisoned belongs to a loop that has failed.
        if let Ok(mut piece) = pieces[index].lock() {
            let (y, x) = &mut *piece;
            task(y, x);
        }
    });
}

/// Calls `f` with the numbers of a tensor on the CPU, row by row.
pub(crate) fn with_floats<T>(x: &Tensor, f: impl FnOnce(&[f32]) -> T) -> Result<T, InferError> {
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    let start = layout.start_offset();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(numbers)) => Ok(f(&numbers[start..start + x.elem_count()])),
        _ => Err(candle_core::Error::Msg("the kernels take f32 on the CPU".into()).into()),
    }
}

/// Copies the numbers of a tensor on the CPU, row by row.
pub(crate) fn to_floats(x: &Tensor) -> Result<Vec<f32>, InferError> {
    with_floats(x, <[f32]>::to_vec)
}
