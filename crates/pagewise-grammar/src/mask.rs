/// The tokens that may come next: a bitset over the vocabulary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenMask {
    /// Bit `id % 32` of word `id / 32` says whether token `id` is allowed. Bits from `n_tokens` on
    /// are zero.
    words: Vec<u32>,
    n_tokens: usize,
}

impl TokenMask {
    /// Makes a mask over `n_tokens` tokens that allows none.
    pub fn none(n_tokens: usize) -> Self {
        Self { words: vec![0; n_tokens.div_ceil(32)], n_tokens }
    }

    /// Takes over `words`, which may be longer or shorter than this mask; what is missing is not
    /// allowed.
    pub(crate) fn set_words(&mut self, words: &[u32]) {
        let n_shared = self.words.len().min(words.len());
        self.words[..n_shared].copy_from_slice(&words[..n_shared]);
        self.words[n_shared..].fill(0);
        let used = self.n_tokens % 32;
        if let Some(last) = self.words.last_mut().filter(|_| used != 0) {
            *last &= (1 << used) - 1;
        }
    }

    /// Returns how many tokens the mask is about: the width of the logits.
    pub fn len(&self) -> usize {
        self.n_tokens
    }

    /// Returns whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Returns whether token `id` is allowed; an id beyond the vocabulary is not.
    pub fn allows(&self, id: u32) -> bool {
        self.words.get(id as usize / 32).is_some_and(|word| word >> (id % 32) & 1 == 1)
    }

    /// Allows token `id`; an id beyond the vocabulary stays refused.
    pub fn allow(&mut self, id: u32) {
        if (id as usize) < self.n_tokens {
            self.words[id as usize / 32] |= 1 << (id % 32);
        }
    }

    /// Returns how many tokens are allowed.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Returns the only token allowed, if there is exactly one: then nothing need be sampled.
    pub fn single(&self) -> Option<u32> {
        let mut allowed = self.iter();
        let first = allowed.next()?;
        allowed.next().is_none().then_some(first)
    }

    /// Iterates over the ids of the allowed tokens, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().zip((0u32..).step_by(32)).flat_map(|(&word, base)| {
            std::iter::successors((word != 0).then_some(word), |&left| {
                let left = left & (left - 1);
                (left != 0).then_some(left)
            })
            .map(move |left| base + left.trailing_zeros())
        })
    }

    /// Sets the logits of all tokens that are not allowed to negative infinity.
    ///
    /// `logits` is `(vocab_size,)`; entries beyond the mask are not allowed either.
    pub fn apply(&self, logits: &mut [f32]) {
        let n_shared = logits.len().min(self.n_tokens);
        let (shared, beyond) = logits.split_at_mut(n_shared);
        beyond.fill(f32::NEG_INFINITY);
        for (chunk, &word) in shared.chunks_mut(32).zip(&self.words) {
            match word {
                0 => chunk.fill(f32::NEG_INFINITY),
                u32::MAX => {}
                _ => {
                    for (bit, logit) in chunk.iter_mut().enumerate() {
                        if word >> bit & 1 == 0 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn says_of_each_token_what_was_set(bits in prop::collection::vec(any::<bool>(), 1..200), beyond in 0usize..40) {
            let mut mask = TokenMask::none(bits.len());
            let ids: Vec<u32> = (0u32..).zip(&bits).filter(|(_, bit)| **bit).map(|(id, _)| id).collect();
            for &id in &ids {
                mask.allow(id);
            }
            mask.allow(bits.len() as u32);
            prop_assert_eq!(mask.iter().collect::<Vec<_>>(), ids.clone());
            prop_assert_eq!(mask.count(), ids.len());
            prop_assert_eq!(mask.is_empty(), ids.is_empty());
            prop_assert_eq!(mask.single(), (ids.len() == 1).then(|| ids[0]));
            let mut logits = vec![1.0; bits.len() + beyond];
            mask.apply(&mut logits);
            for (id, logit) in (0u32..).zip(logits) {
                prop_assert_eq!(mask.allows(id), logit == 1.0);
                prop_assert_eq!(mask.allows(id), bits.get(id as usize) == Some(&true));
            }
        }
    }

    #[test]
    fn takes_over_words_of_any_length() {
        let mut mask = TokenMask::none(40);
        mask.set_words(&[u32::MAX; 3]);
        assert_eq!((mask.count(), mask.len()), (40, 40));
        mask.set_words(&[1]);
        assert_eq!(mask.single(), Some(0));
    }
}
