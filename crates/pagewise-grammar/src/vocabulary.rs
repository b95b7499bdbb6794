//! What each token id stands for, and how plain text becomes token ids.

use toktrie::{TokRxInfo, TokTrie, TokenizerEnv};

use crate::GrammarError;

/// Turns plain text into token ids as the model's tokenizer would, without special tokens.
///
/// The bytes may begin or end within a character. An encoder that cannot handle that returns any
/// other tokens: what does not decode to exactly the bytes asked for is not used.
pub type Encoder = Box<dyn Fn(&[u8]) -> Vec<u32> + Send + Sync>;

/// The longest token that can be matched, in bytes; longer ones are never allowed.
const MAX_TOKEN_BYTES: usize = 1_000;

/// The most tokens that the trie can number.
const MAX_TOKENS: usize = 1 << 23;

/// The most bytes of all tokens together; the trie has fewer nodes than this.
const MAX_VOCABULARY_BYTES: usize = 1 << 22;

/// The tokens of a model: the bytes of each, and the encoder.
///
/// Its width is that of the logits, which can be wider than the tokenizer: ids without bytes are
/// never allowed. Neither are special tokens, end-of-turn tokens included: a call ends with its
/// closing brace.
pub struct Vocabulary {
    /// Empty for what may never be sampled.
    tokens: Vec<Vec<u8>>,
    encode: Encoder,
}

impl Vocabulary {
    /// Makes a vocabulary of `n_logits` ids that are all without bytes yet.
    pub fn new(n_logits: usize, encode: Encoder) -> Self {
        Self { tokens: vec![Vec::new(); n_logits], encode }
    }

    /// Says that token `id` stands for `bytes`, which may be part of a character.
    ///
    /// Special tokens (markers of turns, padding, …) are left unset. Ids beyond the logits are
    /// ignored, since they cannot be sampled; so are tokens of more than 1,000 bytes.
    pub fn set(&mut self, id: u32, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        if let Some(token) =
            self.tokens.get_mut(id as usize).filter(|_| bytes.len() <= MAX_TOKEN_BYTES)
        {
            *token = bytes;
        }
    }

    /// Returns the width of the logits.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Returns whether there are no ids at all.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Returns the bytes of token `id`; empty for special tokens and unknown ids.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.tokens.get(id as usize).map_or(&[], Vec::as_slice)
    }
}

/// The vocabulary as llguidance wants it.
pub(crate) struct Environment {
    trie: TokTrie,
    encode: Encoder,
}

impl Environment {
    pub(crate) fn new(vocabulary: Vocabulary) -> Result<Self, GrammarError> {
        let n_tokens = vocabulary.len();
        let n_bytes = vocabulary.tokens.iter().map(Vec::len).sum();
        if n_tokens >= MAX_TOKENS || n_bytes >= MAX_VOCABULARY_BYTES {
            return Err(GrammarError::VocabularyTooLarge { tokens: n_tokens, bytes: n_bytes });
        }
        let mut words = vocabulary.tokens;
        for (id, word) in words.iter_mut().enumerate() {
            // Text never contains 0xFF, so these can be told apart and never match. The engine
            // reads its marker plus [id] as "this very token".
            if word.is_empty() || word[0] == TokTrie::SPECIAL_TOKEN_MARKER {
                *word = marked(id);
            }
        }
        // The engine wants a token for the end of a sequence. One past the logits keeps all real
        // ones out of the masks.
        words.push(marked(n_tokens));
        let info = TokRxInfo::new(words.len() as u32, n_tokens as u32);
        Ok(Self { trie: TokTrie::from(&info, &words), encode: vocabulary.encode })
    }

    /// Returns the width of the logits.
    pub(crate) fn n_tokens(&self) -> usize {
        self.trie.vocab_size() - 1
    }

    /// Returns the bytes of token `id`; empty for what no text contains.
    pub(crate) fn bytes(&self, id: u32) -> &[u8] {
        if (id as usize) < self.n_tokens() && !self.trie.is_special_token(id) {
            self.trie.token(id)
        } else {
            &[]
        }
    }

    fn spells(&self, tokens: &[u32], text: &[u8]) -> bool {
        tokens
            .iter()
            .try_fold(text, |rest, &id| {
                let bytes = self.bytes(id);
                if bytes.is_empty() { None } else { rest.strip_prefix(bytes) }
            })
            .is_some_and(<[u8]>::is_empty)
    }
}

fn marked(id: usize) -> Vec<u8> {
    let mut word = vec![TokTrie::SPECIAL_TOKEN_MARKER];
    word.extend_from_slice(format!("[{id}]").as_bytes());
    word
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    /// Returns tokens that decode to exactly `text`, canonical if the encoder is; none at all if
    /// the vocabulary cannot spell it.
    fn tokenize_bytes(&self, text: &[u8]) -> Vec<u32> {
        // An encoder may add a space, swallow broken characters or see a special token where the
        // text only looks like one. Forced tokens must be the text and nothing else.
        let tokens = (self.encode)(text);
        if self.spells(&tokens, text) {
            return tokens;
        }
        let tokens = self.trie.greedy_tokenize(text);
        if self.spells(&tokens, text) { tokens } else { Vec::new() }
    }
}
