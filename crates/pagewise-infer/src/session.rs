//! What one conversation has in the KV cache.

use std::collections::HashMap;
use std::io::{self, Read};
use std::ops::Range;

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

    pub(crate) fn cache(&self) -> &KvCache {
        &self.cache
    }

    /// Copies the session; the copy shares nothing with it.
    pub fn try_clone(&self) -> Result<Self, InferError> {
        Ok(Self { tokens: self.tokens.clone(), cache: self.cache.try_clone()? })
    }

    /// Makes the session stand for `tokens`, whose rows are in `source` as a snapshot has them.
    pub(crate) fn read_rows(&mut self, tokens: Vec<u32>, source: &mut impl Read) -> io::Result<()> {
        self.tokens.clear();
        self.cache.restore(tokens.len(), source)?;
        self.tokens = tokens;
        Ok(())
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
        self.sync_moving(decoder, tokens, usize::MAX, is_cancelled)
    }

    /// Makes the session stand for `tokens` as [`Self::sync`] does, and reuses also pieces of at
    /// least `piece_tokens` tokens that it holds at another place: their keys are turned to the new
    /// one.
    ///
    /// That is an approximation: what a piece took in from the tokens before it stays in it, though
    /// those may be gone.
    pub fn sync_moving(
        &mut self,
        decoder: &Decoder,
        tokens: &[u32],
        piece_tokens: usize,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Synced, InferError> {
        let all_but_last = tokens.split_last().ok_or(InferError::NoTokens)?.1;
        let mut reused = common_prefix(&self.tokens, all_but_last);
        let moves = moves(&self.tokens, all_but_last, reused, piece_tokens);
        let mut pieces = Vec::with_capacity(moves.len());
        for Move { from, to } in moves {
            let mut rows = self.cache.rows(from.clone())?;
            decoder.shift(&mut rows, to as isize - from.start as isize);
            pieces.push((to..to + from.len(), rows));
        }
        self.truncate(reused);
        for (place, rows) in pieces {
            if place.start > self.tokens.len() {
                self.extend(decoder, &tokens[self.tokens.len()..place.start], is_cancelled)?;
            }
            self.cache.append(&rows)?;
            self.tokens.extend_from_slice(&tokens[place.clone()]);
            reused += place.len();
        }
        let logits = self.extend(decoder, &tokens[self.tokens.len()..], is_cancelled)?;
        Ok(Synced { prefilled: tokens.len() - reused, reused, logits })
    }

    /// Makes the session stand for exactly the first `n_apart` of `tokens`, if that is a number: they are read by
    /// themselves, so what follows is read in the same pieces whatever was read before, and comes to the same in
    /// every bit. Returns how many tokens had to be read.
    pub(crate) fn read_apart(
        &mut self,
        decoder: &Decoder,
        tokens: &[u32],
        n_apart: Option<usize>,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<usize, InferError> {
        let Some(n_apart) = n_apart else { return Ok(0) };
        let beginning = &tokens[..n_apart];
        if self.tokens.starts_with(beginning) {
            self.truncate(beginning.len());
            return Ok(0);
        }
        self.truncate(0);
        if !beginning.is_empty() {
            self.extend(decoder, beginning, is_cancelled)?;
        }
        Ok(beginning.len())
    }

    /// Forgets all tokens from `n_tokens` on; nothing if there are fewer.
    pub fn truncate(&mut self, n_tokens: usize) {
        self.tokens.truncate(n_tokens);
        self.cache.truncate(n_tokens);
    }

    /// Runs `tokens` behind those that the session stands for and returns the logits,
    /// `(vocabulary,)`, of what follows; is cancelled as [`Self::sync`] is.
    pub fn extend(
        &mut self,
        decoder: &Decoder,
        tokens: &[u32],
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<f32>, InferError> {
        let mut rows = self.extend_rows(decoder, tokens, 1, is_cancelled)?;
        rows.pop().ok_or(InferError::NoTokens)
    }

    /// Runs `tokens` as [`Self::extend`] does and returns the logits behind each of the last
    /// `n_rows` of them.
    pub fn extend_rows(
        &mut self,
        decoder: &Decoder,
        tokens: &[u32],
        n_rows: usize,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<Vec<f32>>, InferError> {
        let mut rows = Vec::with_capacity(n_rows);
        let first = tokens.len().saturating_sub(n_rows);
        let read = decoder.forward_each(is_cancelled, tokens, first, &mut self.cache, &mut |row| {
            rows.push(row.to_vec());
        });
        self.stand_for(tokens);
        read.map(|()| rows)
    }

    /// Runs `tokens` as [`Self::extend`] does, and returns logits of which only those of `wanted` have
    /// a meaning: see [`Decoder::forward_among`].
    pub fn extend_among(
        &mut self,
        decoder: &Decoder,
        tokens: &[u32],
        wanted: &[u32],
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<f32>, InferError> {
        let logits = decoder.forward_among(is_cancelled, tokens, wanted, &mut self.cache);
        self.stand_for(tokens);
        logits
    }

    /// Takes note of those of `tokens` that the cache has taken, whether that failed or not.
    fn stand_for(&mut self, tokens: &[u32]) {
        let n_read = self.cache.len() - self.tokens.len();
        self.tokens.extend_from_slice(&tokens[..n_read]);
    }
}

/// How many tokens both begin with.
pub(crate) fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A piece that both token lists have, at different places.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Move {
    from: Range<usize>,
    to: usize,
}

/// Returns pieces of at least `piece_tokens` tokens of `old` that `new` has behind its first
/// `prefix` tokens, in the order of `new`: at each place the longest one.
fn moves(old: &[u32], new: &[u32], prefix: usize, piece_tokens: usize) -> Vec<Move> {
    let piece_tokens = piece_tokens.max(1);
    let mut places: HashMap<&[u32], Vec<usize>> = HashMap::new();
    for (at, piece) in old.windows(piece_tokens).enumerate().skip(prefix) {
        places.entry(piece).or_default().push(at);
    }
    let mut moves = Vec::new();
    let mut to = prefix;
    while let Some(piece) = new.get(to..).and_then(|rest| rest.get(..piece_tokens)) {
        let of_length = |at: &usize| common_prefix(&old[*at..], &new[to..]);
        let longest = places.get(piece).and_then(|at| at.iter().max_by_key(|at| of_length(at)));
        let Some(at) = longest else {
            to += 1;
            continue;
        };
        let from = *at..at + of_length(at);
        to += from.len();
        moves.push(Move { to: to - from.len(), from });
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(old: &str, new: &str, piece_tokens: usize, expected: &[(Range<usize>, usize)]) {
        let tokens = |text: &str| text.bytes().map(u32::from).collect::<Vec<_>>();
        let (old, new) = (tokens(old), tokens(new));
        let prefix = common_prefix(&old, &new);
        let found: Vec<_> = moves(&old, &new, prefix, piece_tokens)
            .into_iter()
            .map(|piece| (piece.from, piece.to))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn pieces_that_moved_are_found() {
        check("system old tail", "system new tail", 4, &[(10..15, 10)]);
        check("system evicted tail", "system sum tail", 4, &[(14..19, 10)]);
        check("system tail", "system tail", 4, &[]);
        check("abc", "xyz", 1, &[]);
        check("system tail", "system new tail and more", 4, &[(7..11, 11)]);
        // The longest of several, and several in turn.
        check("-one two-one twelve", "x one twelve", 4, &[(9..19, 2)]);
        check("-aaaa-bbbb", "x bbbb aaaa", 4, &[(6..10, 2), (1..5, 7)]);
        check("system tail", "", 4, &[]);
        check("", "system tail", 4, &[]);
        check("ab", "xab", usize::MAX, &[]);
    }
}
