//! What the forward pass computes with: a row of numbers for each token, and what is done to them
//! between the matrices. Slices and our own kernels on the processor, candle's tensors on GPUs.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{D, Tensor};
use pagewise_kernels::ThreadPool;

use crate::InferError;
use crate::compute::Compute;
use crate::decoder::Activation;

/// Numbers that one task of an elementwise loop goes over: some microseconds of work.
const TASK_LEN: usize = 1 << 14;

/// Buffers that are free are kept up to this many: more than a layer needs at once.
const MAX_FREE_BUFFERS: usize = 12;

/// Numbers, `(T, n_cols)`.
pub(crate) struct Rows {
    n_cols: usize,
    numbers: Numbers,
}

enum Numbers {
    Slice(Buffer),
    Tensor(Tensor),
}

/// Buffers that have been used and will be again: fresh ones would cost more than what is computed
/// in them, because the system hands out memory page by page.
#[derive(Default)]
pub(crate) struct Buffers(Mutex<Vec<Vec<f32>>>);

/// Numbers that have any value at first; their memory goes back to where it is from.
pub(crate) struct Buffer {
    numbers: Vec<f32>,
    len: usize,
    home: Arc<Buffers>,
}

impl Buffers {
    /// Returns a buffer for `len` numbers.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Buffer {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The smallest that is large enough.
        let fitting = (0..free.len()).filter(|at| free[*at].len() >= len);
        let numbers = match fitting.min_by_key(|at| free[*at].len()) {
            Some(at) => free.swap_remove(at),
            None => {
                drop(free);
                vec![0.0; len]
            }
        };
        Buffer { numbers, len, home: Arc::clone(self) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(std::mem::take(&mut self.numbers));
        if free.len() > MAX_FREE_BUFFERS {
            // The smallest is the one that costs least to make again.
            if let Some(smallest) = (0..free.len()).min_by_key(|at| free[*at].len()) {
                free.swap_remove(smallest);
            }
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.numbers[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.numbers[..self.len]
    }
}

impl Rows {
    /// Takes numbers, `(T, n_cols)`.
    pub(crate) fn from_buffer(numbers: Buffer, n_cols: usize) -> Self {
        Self { n_cols, numbers: Numbers::Slice(numbers) }
    }

    /// Takes a tensor, `(T, n_cols)`.
    pub(crate) fn from_tensor(tensor: Tensor) -> Result<Self, InferError> {
        Ok(Self { n_cols: tensor.dim(D::Minus1)?, numbers: Numbers::Tensor(tensor) })
    }

    /// Returns the number of rows.
    pub(crate) fn n_rows(&self) -> usize {
        match &self.numbers {
            Numbers::Slice(numbers) => numbers.len() / self.n_cols,
            Numbers::Tensor(tensor) => tensor.elem_count() / self.n_cols,
        }
    }

    /// Returns the numbers where our own kernels compute.
    pub(crate) fn slice(&self) -> Result<&[f32], InferError> {
        match &self.numbers {
            Numbers::Slice(numbers) => Ok(numbers),
            Numbers::Tensor(_) => Err(wrong_kind()),
        }
    }

    /// Returns them to be changed.
    pub(crate) fn slice_mut(&mut self) -> Result<&mut [f32], InferError> {
        match &mut self.numbers {
            Numbers::Slice(numbers) => Ok(numbers),
            Numbers::Tensor(_) => Err(wrong_kind()),
        }
    }

    /// Returns the numbers where candle computes.
    pub(crate) fn tensor(&self) -> Result<&Tensor, InferError> {
        match &self.numbers {
            Numbers::Tensor(tensor) => Ok(tensor),
            Numbers::Slice(_) => Err(wrong_kind()),
        }
    }

    /// Calls `f` with the numbers, row after row.
    pub(crate) fn read<T>(&self, f: impl FnOnce(&[f32]) -> T) -> Result<T, InferError> {
        match &self.numbers {
            Numbers::Slice(numbers) => Ok(f(numbers)),
            Numbers::Tensor(tensor) => Ok(f(&tensor.flatten_all()?.to_vec1()?)),
        }
    }
}

fn wrong_kind() -> InferError {
    candle_core::Error::Msg("slices and tensors do not mix".into()).into()
}

/// A number for each column: the weights of a norm.
pub(crate) enum Vector {
    Slice(Vec<f32>),
    Tensor(Tensor),
}

impl Vector {
    /// Puts the numbers where they are needed.
    pub(crate) fn new(numbers: Vec<f32>, compute: &Compute) -> Result<Self, candle_core::Error> {
        match compute.pool() {
            Some(_) => Ok(Self::Slice(numbers)),
            None => Ok(Self::Tensor(Tensor::new(numbers, compute.device())?)),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Slice(numbers) => numbers.len(),
            Self::Tensor(tensor) => tensor.elem_count(),
        }
    }
}

impl Compute {
    /// Puts numbers, `(T, n_cols)`, where they are needed.
    pub(crate) fn rows(&self, numbers: Buffer, n_cols: usize) -> Result<Rows, InferError> {
        match self.pool() {
            Some(_) => Ok(Rows::from_buffer(numbers, n_cols)),
            None => {
                let shape = (numbers.len() / n_cols, n_cols);
                Rows::from_tensor(Tensor::from_slice(&numbers, shape, self.device())?)
            }
        }
    }

    /// Returns `x / sqrt(mean(x²) + epsilon) * weight` of each piece as long as `weight`: whole rows,
    /// or the heads of each.
    pub(crate) fn rms_norm(
        &self,
        x: &Rows,
        weight: &Vector,
        epsilon: f32,
    ) -> Result<Rows, InferError> {
        match (&x.numbers, weight, self.pool()) {
            (Numbers::Slice(x_numbers), Vector::Slice(weight), Some(pool)) => {
                let mut y = self.buffer(x_numbers.len());
                let len = (TASK_LEN / weight.len()).max(1) * weight.len();
                in_parallel(&mut y, x_numbers, len, pool, |y, x| {
                    pagewise_kernels::rms_norm(pool.isa(), x, weight, epsilon, y);
                });
                Ok(Rows::from_buffer(y, x.n_cols))
            }
            (Numbers::Tensor(tensor), Vector::Tensor(numbers), _) => {
                let pieces = tensor.reshape(((), weight.len()))?.contiguous()?;
                let y = candle_nn::ops::rms_norm(&pieces, numbers, epsilon)?;
                Rows::from_tensor(y.reshape(tensor.shape())?)
            }
            _ => Err(wrong_kind()),
        }
    }

    /// Returns `x + y`.
    pub(crate) fn add(&self, mut x: Rows, y: &Rows) -> Result<Rows, InferError> {
        match (&mut x.numbers, &y.numbers, self.pool()) {
            (Numbers::Slice(x), Numbers::Slice(y), Some(pool)) => {
                in_parallel(x, y, TASK_LEN, pool, |x, y| {
                    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
                });
            }
            (Numbers::Tensor(x), Numbers::Tensor(y), _) => *x = (&*x + y)?,
            _ => return Err(wrong_kind()),
        }
        Ok(x)
    }

    /// Returns `x * y`, number by number.
    pub(crate) fn multiply(&self, mut x: Rows, y: &Rows) -> Result<Rows, InferError> {
        match (&mut x.numbers, &y.numbers, self.pool()) {
            (Numbers::Slice(x), Numbers::Slice(y), Some(pool)) => {
                in_parallel(x, y, TASK_LEN, pool, |x, y| {
                    x.iter_mut().zip(y).for_each(|(x, y)| *x *= y);
                });
            }
            (Numbers::Tensor(x), Numbers::Tensor(y), _) => *x = (&*x * y)?,
            _ => return Err(wrong_kind()),
        }
        Ok(x)
    }

    /// Returns `x * factor`.
    pub(crate) fn scale(&self, mut x: Rows, factor: f32) -> Result<Rows, InferError> {
        if factor == 1.0 {
            return Ok(x);
        }
        match &mut x.numbers {
            Numbers::Slice(x) => x.iter_mut().for_each(|x| *x *= factor),
            Numbers::Tensor(x) => *x = (&*x * f64::from(factor))?,
        }
        Ok(x)
    }

    /// Returns `activation(gate) * up`.
    pub(crate) fn gate(
        &self,
        activation: Activation,
        mut gate: Rows,
        up: &Rows,
    ) -> Result<Rows, InferError> {
        match (&mut gate.numbers, &up.numbers, self.pool()) {
            (Numbers::Slice(gate), Numbers::Slice(up), Some(pool)) => {
                in_parallel(gate, up, TASK_LEN, pool, |gate, up| {
                    activation.apply(pool.isa(), gate, up);
                });
            }
            (Numbers::Tensor(gate), Numbers::Tensor(up), _) => {
                let activated = match activation {
                    Activation::Silu => candle_nn::ops::silu(gate)?,
                    Activation::GeluTanh => gate.gelu()?,
                };
                *gate = (activated * up)?;
            }
            _ => return Err(wrong_kind()),
        }
        Ok(gate)
    }

    /// Returns `cap * tanh(x / cap)`.
    pub(crate) fn softcap(&self, mut x: Rows, cap: f32) -> Result<Rows, InferError> {
        match (&mut x.numbers, self.pool()) {
            (Numbers::Slice(x), Some(pool)) => pagewise_kernels::softcap(pool.isa(), x, cap),
            (Numbers::Tensor(x), _) => *x = softcap_tensor(x, cap)?,
            _ => return Err(wrong_kind()),
        }
        Ok(x)
    }

    /// Returns `n` rows from number `first` on.
    pub(crate) fn narrow(&self, x: &Rows, first: usize, n: usize) -> Result<Rows, InferError> {
        match &x.numbers {
            Numbers::Slice(numbers) => {
                let mut y = self.buffer(n * x.n_cols);
                y.copy_from_slice(&numbers[first * x.n_cols..(first + n) * x.n_cols]);
                Ok(Rows::from_buffer(y, x.n_cols))
            }
            Numbers::Tensor(tensor) => Rows::from_tensor(tensor.narrow(0, first, n)?),
        }
    }

    /// Returns the rows of these numbers, in their order.
    pub(crate) fn select(&self, x: &Rows, rows: &[u32]) -> Result<Rows, InferError> {
        match &x.numbers {
            Numbers::Slice(numbers) => {
                let mut y = self.buffer(rows.len() * x.n_cols);
                for (to, row) in y.chunks_exact_mut(x.n_cols).zip(rows) {
                    let at = *row as usize * x.n_cols;
                    to.copy_from_slice(&numbers[at..at + x.n_cols]);
                }
                Ok(Rows::from_buffer(y, x.n_cols))
            }
            Numbers::Tensor(tensor) => {
                let rows = Tensor::new(rows, self.device())?;
                Rows::from_tensor(tensor.index_select(&rows, 0)?)
            }
        }
    }

    /// Returns as many numbers as `x` has, all zero.
    pub(crate) fn zeros_like(&self, x: &Rows) -> Result<Rows, InferError> {
        match &x.numbers {
            Numbers::Slice(numbers) => {
                let mut y = self.buffer(numbers.len());
                y.fill(0.0);
                Ok(Rows::from_buffer(y, x.n_cols))
            }
            Numbers::Tensor(tensor) => Rows::from_tensor(tensor.zeros_like()?),
        }
    }

    /// Adds each row of `x` times its share to the row of `y` with its number.
    pub(crate) fn add_shares(
        &self,
        mut y: Rows,
        x: &Rows,
        rows: &[u32],
        shares: &[f32],
    ) -> Result<Rows, InferError> {
        match (&mut y.numbers, &x.numbers) {
            (Numbers::Slice(y), Numbers::Slice(numbers)) => {
                for ((x, row), share) in numbers.chunks_exact(x.n_cols).zip(rows).zip(shares) {
                    let y = &mut y[*row as usize * x.len()..][..x.len()];
                    y.iter_mut().zip(x).for_each(|(y, x)| *y += share * x);
                }
            }
            (Numbers::Tensor(y), Numbers::Tensor(x)) => {
                let shares = Tensor::from_slice(shares, (shares.len(), 1), self.device())?;
                let rows = Tensor::new(rows, self.device())?;
                *y = y.index_add(&rows, &x.broadcast_mul(&shares)?, 0)?;
            }
            _ => return Err(wrong_kind()),
        }
        Ok(y)
    }
}

/// Returns `cap * tanh(x / cap)`.
pub(crate) fn softcap_tensor(x: &Tensor, cap: f32) -> Result<Tensor, InferError> {
    let cap = f64::from(cap);
    Ok(((x / cap)?.tanh()? * cap)?)
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
    let pieces = Mutex::new(y.chunks_mut(len).zip(x.chunks(len)));
    pool.run(x.len().div_ceil(len), &|_| {
        let next = pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
        if let Some((y, x)) = next {
            task(y, x);
        }
    });
}
