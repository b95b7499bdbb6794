//! Causal attention of new tokens over all tokens so far.

use candle_core::{D, Device, Tensor};
use candle_nn::ops::softmax_last_dim;

use crate::InferError;
use crate::rows::softcap_tensor;

/// The most scores held at once: 4 million floats are 16 MB, twice that with the softmax. A long
/// prompt is attended in blocks of as many queries as fit, whatever the window.
const MAX_SCORES: usize = 1 << 22;

/// How a layer attends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attending {
    /// What the products of queries and keys are multiplied with.
    pub(crate) scale: f32,
    /// What they are then kept within.
    pub(crate) softcap: Option<f32>,
    /// How many tokens, itself included, a token sees at most.
    pub(crate) window: Option<usize>,
}

impl Attending {
    /// Attends `queries` over keys and values.
    ///
    /// - `queries`: `(n_heads, T, head_dim)`, contiguous: the last `T` of `S` tokens
    /// - `keys`, `values`: `(n_kv_heads, S, head_dim)`; may be strided
    ///
    /// Returns `(T, n_heads × head_dim)`. Query head `h` looks at key head
    /// `h / (n_heads / n_kv_heads)`; the heads of a group are rows of one matrix product, so that
    /// nothing is repeated.
    pub(crate) fn attend(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<Tensor, InferError> {
        let (n_heads, n_queries, _) = queries.dims3()?;
        let n_keys = keys.dim(1)?;
        let past = n_keys - n_queries;
        let queries = (queries * f64::from(self.scale))?;
        let block = (MAX_SCORES / (n_heads * n_keys)).clamp(1, n_queries);
        let mut blocks = Vec::with_capacity(n_queries.div_ceil(block));
        for start in (0..n_queries).step_by(block) {
            let n = block.min(n_queries - start);
            // Later keys are hidden from the whole block, and those before its first window.
            let end = past + start + n;
            let first = self.window.map_or(0, |window| (past + start + 1).saturating_sub(window));
            let queries = queries.narrow(1, start, n)?;
            let keys = keys.narrow(1, first, end - first)?;
            let values = values.narrow(1, first, end - first)?;
            blocks.push(self.attend_block(&queries, &keys, &values)?);
        }
        Ok(match blocks.as_slice() {
            [block] => block.clone(),
            blocks => Tensor::cat(blocks, 0)?,
        })
    }

    fn attend_block(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<Tensor, InferError> {
        let (n_heads, n_queries, head_dim) = queries.dims3()?;
        let (n_kv_heads, n_keys, _) = keys.dims3()?;
        let rows = n_heads / n_kv_heads * n_queries;
        let queries = queries.contiguous()?.reshape((n_kv_heads, rows, head_dim))?;
        let mut scores = queries.matmul(&keys.t()?)?;
        if let Some(cap) = self.softcap {
            scores = softcap_tensor(&scores, cap)?;
        }
        // One query sees all that it was given.
        if n_queries > 1 {
            let mask = self.mask(n_queries, n_keys, queries.device())?;
            scores = scores
                .reshape((n_heads, n_queries, n_keys))?
                .broadcast_add(&mask)?
                .reshape((n_kv_heads, rows, n_keys))?;
        }
        let mixed = softmax_last_dim(&scores)?.matmul(values)?;
        Ok(mixed
            .reshape((n_heads, n_queries, head_dim))?
            .transpose(0, 1)?
            .flatten_from(D::Minus2)?)
    }

    /// Returns `(T, S)` with negative infinity where a query would look at a later key, or at one
    /// before its window; the queries are the last `T` of the `S` tokens.
    fn mask(&self, n_queries: usize, n_keys: usize, device: &Device) -> Result<Tensor, InferError> {
        let past = n_keys - n_queries;
        let mut mask = vec![0f32; n_queries * n_keys];
        for (query, row) in mask.chunks_mut(n_keys).enumerate() {
            let end = past + query + 1;
            row[end..].fill(f32::NEG_INFINITY);
            let first = self.window.map_or(0, |window| end.saturating_sub(window));
            row[..first].fill(f32::NEG_INFINITY);
        }
        Ok(Tensor::from_vec(mask, (n_queries, n_keys), device)?)
    }
}
