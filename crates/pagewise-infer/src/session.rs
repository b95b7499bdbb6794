//! What one conversation has in the KV cache.

use crate::{Decoder, InferError, KvCache};

/// A KV cache and the token ids that it stands for.
pub struct Session {
    tokens: Vec<u32>,
    cache: KvCache,
}

/// What bringing a session to a prompt took.
#[derive(Debug, Clone, PartialEq)]
pub struct Synced {
    /// Tokens that went through the model.
    pub prefilled: usize,
    /// Tokens that the cache already held.
    pub reused: usize,
    /// The logits, `(vocabulary,)`, of what follows the last token.
    pub logits: Vec<f32>,
}

impl Session {
    /// Makes a session without tokens.
    pub fn new(decoder: &Decoder) -> Result<Self, InferError> {
        Ok(Self { tokens: Vec::new(), cache: decoder.new_cache()? })
    }

    /// Returns the tokens that the cache stands for.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Returns the memory that the cache takes, in bytes.
    pub fn cache_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// Copies the session; the copy shares nothing with it.
    pub fn try_clone(&self) -> Result<Self, InferError> {
        Ok(Self { tokens: self.tokens.clone(), cache: self.cache.try_clone()? })
    }

    /// Makes the session stand for exactly `tokens`, with as little work as possible.
    ///
    /// What it already holds of their beginning is kept, except that the last token always runs,
    /// because its logits are wanted. Once `is_cancelled` it soon stops with
    /// [`InferError::Cancelled`] and keeps the chunks that are done.
    pub fn sync(
        &mut self,
        decoder: &Decoder,
        tokens: &[u32],
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Synced, InferError> {
        let all_but_last = tokens.split_last().ok_or(InferError::NoTokens)?.1;
        let reused = common_prefix(&self.tokens, all_but_last);
        self.tokens.truncate(reused);
        self.cache.truncate(reused);
        let logits = self.extend(decoder, &tokens[reused..], is_cancelled)?;
        Ok(Synced { prefilled: tokens.len() - reused, reused, logits })
    }

    /// Runs `tokens` behind those that the session stands for and returns the logits,
    /// `(vocabulary,)`, of what follows; is cancelled as [`Self::sync`] is.
    pub fn extend(
        &mut self,
        decoder: &Decoder,
        tokens: &[u32],
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<f32>, InferError> {
        let logits = decoder.forward_unless(is_cancelled, tokens, &mut self.cache);
        // Whether that failed or not: what the cache has taken is what the session stands for.
        let n_read = self.cache.len() - self.tokens.len();
        self.tokens.extend_from_slice(&tokens[..n_read]);
        logits
    }
}

fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
