//! Text to token ids and back, with the vocabulary of the weights file.
//!
//! Control tokens (`<|im_end|>` and the like) are only ever seen in the text of a chat template:
//! [`Tokenizer::encode`] takes the same characters in content for plain text, and
//! [`Tokenizer::encode_rendered`] relies on the chat template to have broken up look-alikes.
//! User-defined tokens (`<tool_call>`) are matched everywhere, as llama.cpp does. Nothing is
//! normalized, again as in llama.cpp: tokens decode to exactly the text they were made from.

mod pre_tokenizer;
mod special;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::sync::Arc;

use pagewise_grammar::Vocabulary;
use thiserror::Error;
use tokenizers::models::bpe::{BPE, Vocab};

use crate::gguf::{Gguf, GgufError, Strings};
use pre_tokenizer::PreTokenizer;
pub(crate) use special::SENTINEL;
use special::{Piece, SpecialTexts};

/// The most tokens a vocabulary may have; real ones have up to 262,144.
const MAX_TOKENS: usize = 1 << 22;
/// The most merges; real ones have up to 515,000.
const MAX_MERGES: usize = 1 << 23;

/// Tokens that end a turn under any of the names that models give them.
const END_NAMES: [&str; 18] = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|end_of_text|>",
    "<|return|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
    "<EOT>",
    "[EOT]",
    "<eos>",
    "</s>",
    // What follows these belongs to another file.
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<reponame>",
];

/// A tokenizer cannot be made from this file.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// The vocabulary is missing or ill-typed.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// Another algorithm than byte-level byte-pair encoding.
    #[error(
        "the tokenizer of these weights is of the kind \"{kind}\", which is not supported yet; \
         supported is \"gpt2\" (byte-level BPE)"
    )]
    Kind {
        /// Its name in the file.
        kind: String,
    },
    /// The file does not say how text is cut into words, or names a way that is not known.
    #[error(
        "the tokenizer of these weights cuts text into words by the rule \"{name}\", which is not \
         supported; supported are {}",
        PreTokenizer::known_names()
    )]
    PreTokenizer {
        /// Its name in the file.
        name: String,
    },
    /// A list of another length than it must have.
    #[error("the vocabulary is damaged: it has {found} {what}, and must have {wanted}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there must be.
        wanted: String,
    },
    /// A token id beyond the vocabulary.
    #[error("the vocabulary is damaged: {key} is {id}, and there are {n_tokens} tokens")]
    TokenId {
        /// The metadata that names the id.
        key: &'static str,
        /// The id.
        id: u32,
        /// How many tokens there are.
        n_tokens: usize,
    },
    /// A merge that is not two tokens with a space between them.
    #[error("the vocabulary is damaged: merge {index} is {merge:?}, and must be two tokens")]
    Merge {
        /// Its position in the list.
        index: usize,
        /// The merge.
        merge: String,
    },
    /// A merge of tokens that are not in the vocabulary, or that make none.
    #[error(
        "the vocabulary is damaged: merge {index} needs the token {token:?}, which is not there"
    )]
    MergeToken {
        /// Its position in the list.
        index: usize,
        /// The token.
        token: String,
    },
    /// The tokenizer does not accept the vocabulary.
    #[error("the vocabulary is damaged: {reason}")]
    Rejected {
        /// What the tokenizer says.
        reason: String,
    },
}

/// What a token is, as the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    /// Structure, not text: turn markers, padding, end of text, the unknown token.
    Control,
    /// A text that is always one token.
    UserDefined,
    /// A number without a meaning.
    Unused,
}

/// The tokenizer of a model. Clones share it.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

struct Inner {
    bpe: tokenizers::Tokenizer,
    kinds: Vec<Kind>,
    /// The bytes of all tokens, one after the other.
    bytes: Vec<u8>,
    /// Where each token's bytes end.
    ends: Vec<usize>,
    /// The token of each single byte.
    byte_tokens: Vec<Option<u32>>,
    control: SpecialTexts,
    user_defined: SpecialTexts,
    all_special: SpecialTexts,
    turn_ends: Vec<u32>,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
}

impl Tokenizer {
    /// Builds the tokenizer that the metadata of `gguf` describe.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, TokenizerError> {
        let kind: &str = gguf.require("tokenizer.ggml.model")?;
        if kind != "gpt2" {
            return Err(TokenizerError::Kind { kind: kind.into() });
        }
        let name: &str = gguf.require("tokenizer.ggml.pre")?;
        let pre_tokenizer = PreTokenizer::from_name(name)
            .ok_or_else(|| TokenizerError::PreTokenizer { name: name.into() })?;

        let texts: Strings<'_> = gguf.require("tokenizer.ggml.tokens")?;
        let n_tokens = texts.len();
        if !(1..=MAX_TOKENS).contains(&n_tokens) {
            let wanted = format!("1 to {MAX_TOKENS}");
            return Err(TokenizerError::Count { what: "tokens", found: n_tokens, wanted });
        }
        let special_id = |key| special_id(gguf, key, n_tokens);
        let bos = special_id("tokenizer.ggml.bos_token_id")?;
        let eos = special_id("tokenizer.ggml.eos_token_id")?;
        let mut turn_ends: Vec<u32> = eos.into_iter().collect();
        turn_ends.extend(special_id("tokenizer.ggml.eot_token_id")?);
        turn_ends.extend(special_id("tokenizer.ggml.eom_token_id")?);

        let mut kinds = kinds(gguf, n_tokens)?;
        for (id, text) in (0_u32..).zip(texts.clone()) {
            // A name counts only for a control token: `</s>` is plain text to some vocabularies.
            if kinds.get(id as usize) == Some(&Kind::Control) && END_NAMES.contains(&text) {
                turn_ends.push(id);
            }
        }
        turn_ends.sort_unstable();
        turn_ends.dedup();
        // Some files forget to say that these are not text.
        for id in turn_ends.iter().chain(&bos) {
            if let Some(kind) = kinds.get_mut(*id as usize) {
                *kind = Kind::Control;
            }
        }

        let byte_of = ByteOf::new();
        let mut inner = Inner {
            bpe: bpe(gguf, pre_tokenizer, texts.clone(), &kinds)?,
            kinds,
            bytes: Vec::new(),
            ends: Vec::with_capacity(n_tokens),
            byte_tokens: vec![None; 256],
            control: SpecialTexts::default(),
            user_defined: SpecialTexts::default(),
            all_special: SpecialTexts::default(),
            turn_ends,
            bos,
            eos,
            add_bos: gguf.get("tokenizer.ggml.add_bos_token")?.unwrap_or(pre_tokenizer.add_bos),
        };
        for (id, text) in (0..).zip(texts) {
            inner.add(id, text, &byte_of);
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns the tokens of `content`, in which control tokens are plain text.
    pub fn encode(&self, content: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(content.len() / 4);
        self.encode_pieces(content, &self.inner.user_defined, &mut ids);
        ids
    }

    /// Returns the tokens of a rendered chat template, with the token that begins a text if the
    /// model wants it.
    ///
    /// Control tokens are recognised; contents must have been neutralised by
    /// [`ChatTemplate::render`](crate::ChatTemplate::render).
    pub fn encode_rendered(&self, rendered: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(rendered.len() / 4);
        self.encode_pieces(rendered, &self.inner.all_special, &mut ids);
        if let Some(bos) = self.bos()
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        ids
    }

    /// Returns the tokens of `bytes` as plain text; they may begin or end within a character.
    pub fn encode_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        let mut ids = Vec::with_capacity(bytes.len() / 4);
        for chunk in bytes.utf8_chunks() {
            self.encode_pieces(chunk.valid(), &self.inner.user_defined, &mut ids);
            self.encode_single_bytes(chunk.invalid(), &mut ids);
        }
        ids
    }

    fn encode_pieces(&self, text: &str, special: &SpecialTexts, ids: &mut Vec<u32>) {
        for piece in special.split(text) {
            match piece {
                Piece::Special(id) => ids.push(id),
                Piece::Text(text) if text.contains(SENTINEL) => {
                    self.encode_plain(&text.replace(SENTINEL, ""), ids);
                }
                Piece::Text(text) => self.encode_plain(text, ids),
            }
        }
    }

    fn encode_plain(&self, text: &str, ids: &mut Vec<u32>) {
        for part in pre_tokenizer::cut_long_white_space(text) {
            match self.inner.bpe.encode_fast(part, false) {
                Ok(encoding) => ids.extend_from_slice(encoding.get_ids()),
                Err(error) => {
                    tracing::error!(%error, "byte-pair encoding failed; using single bytes");
                    self.encode_single_bytes(part.as_bytes(), ids);
                }
            }
        }
    }

    fn encode_single_bytes(&self, bytes: &[u8], ids: &mut Vec<u32>) {
        let token = |byte: &u8| self.inner.byte_tokens.get(usize::from(*byte)).copied().flatten();
        ids.extend(bytes.iter().filter_map(token));
    }

    /// Returns the text of `ids`, without control tokens; bytes that are not UTF-8 become `U+FFFD`.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| self.text_bytes(*id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the bytes that token `id` stands for, its name if it is a control token; nothing
    /// for an id beyond the vocabulary.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        let inner = &*self.inner;
        let id = id as usize;
        let start = id.checked_sub(1).and_then(|id| inner.ends.get(id)).copied().unwrap_or(0);
        let end = inner.ends.get(id).copied().unwrap_or(start);
        inner.bytes.get(start..end).unwrap_or_default()
    }

    /// Returns the bytes that token `id` adds to a text: none for control tokens.
    pub(crate) fn text_bytes(&self, id: u32) -> &[u8] {
        if self.is_control(id) { &[] } else { self.token_bytes(id) }
    }

    /// Returns whether `id` is structure and not text, for example `<|im_end|>`.
    pub fn is_control(&self, id: u32) -> bool {
        self.inner.kinds.get(id as usize) == Some(&Kind::Control)
    }

    /// Returns whether `id` ends the model's turn.
    pub fn is_end(&self, id: u32) -> bool {
        self.inner.turn_ends.binary_search(&id).is_ok()
    }

    /// Returns all tokens that end the model's turn, sorted.
    pub fn end_tokens(&self) -> &[u32] {
        &self.inner.turn_ends
    }

    /// Returns the token with which the model ends its turn, as the file names it.
    pub fn eos(&self) -> Option<u32> {
        self.inner.eos
    }

    /// Returns the token that every text begins with, if the model wants one.
    pub fn bos(&self) -> Option<u32> {
        self.inner.bos.filter(|_| self.inner.add_bos)
    }

    /// Returns how many tokens the vocabulary has; the logits can be wider.
    pub fn n_tokens(&self) -> usize {
        self.inner.kinds.len()
    }

    /// Returns the vocabulary for grammars, as wide as the logits. Control and unused tokens have
    /// no bytes in it, so that no text can be made of them.
    pub fn vocabulary(&self, n_logits: usize) -> Vocabulary {
        let tokenizer = self.clone();
        let encode = Box::new(move |bytes: &[u8]| tokenizer.encode_bytes(bytes));
        let mut vocabulary = Vocabulary::new(n_logits, encode);
        for (id, kind) in (0..).zip(&self.inner.kinds) {
            if matches!(kind, Kind::Normal | Kind::UserDefined) {
                vocabulary.set(id, self.token_bytes(id));
            }
        }
        vocabulary
    }

    /// Returns `content` such that no control token is seen in it, nor across its edges, by
    /// [`Self::encode_rendered`], and that otherwise gives the same tokens.
    pub(crate) fn neutralise(&self, content: &str) -> String {
        self.inner.control.neutralise(content)
    }

    /// Returns the text of the token that the file names for `key`, for chat templates.
    pub(crate) fn name(&self, id: Option<u32>) -> &str {
        id.and_then(|id| std::str::from_utf8(self.token_bytes(id)).ok()).unwrap_or_default()
    }

    /// Returns the token that begins a text whether or not the model wants it.
    pub(crate) fn named_bos(&self) -> Option<u32> {
        self.inner.bos
    }

    /// Returns whether `text` is the name of a control token.
    pub(crate) fn has_control(&self, text: &str) -> bool {
        self.inner.control.split(text).iter().all(|piece| matches!(piece, Piece::Special(_)))
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokenizer({} tokens)", self.n_tokens())
    }
}

impl Inner {
    /// Takes in the next token.
    fn add(&mut self, id: u32, text: &str, byte_of: &ByteOf) {
        let start = self.bytes.len();
        match self.kinds.get(id as usize) {
            Some(Kind::Control) => {
                self.control.add(text, id);
                self.all_special.add(text, id);
                self.bytes.extend_from_slice(text.as_bytes());
            }
            Some(Kind::UserDefined) => {
                self.user_defined.add(text, id);
                self.all_special.add(text, id);
                self.bytes.extend_from_slice(text.as_bytes());
            }
            _ => {
                byte_of.decode(text, &mut self.bytes);
                if let Some([byte]) = self.bytes.get(start..)
                    && let Some(token) = self.byte_tokens.get_mut(usize::from(*byte))
                {
                    *token = Some(id);
                }
            }
        }
        self.ends.push(self.bytes.len());
    }
}

fn special_id(
    gguf: &Gguf,
    key: &'static str,
    n_tokens: usize,
) -> Result<Option<u32>, TokenizerError> {
    match gguf.get(key)? {
        Some(id) if id as usize >= n_tokens => Err(TokenizerError::TokenId { key, id, n_tokens }),
        id => Ok(id),
    }
}

fn kinds(gguf: &Gguf, n_tokens: usize) -> Result<Vec<Kind>, TokenizerError> {
    let Some(types) = gguf.get::<Vec<u32>>("tokenizer.ggml.token_type")? else {
        return Ok(vec![Kind::Normal; n_tokens]);
    };
    if types.len() != n_tokens {
        let wanted = n_tokens.to_string();
        return Err(TokenizerError::Count { what: "token types", found: types.len(), wanted });
    }
    let kind = |number| match number {
        // The unknown token is as little text as a control token.
        2 | 3 => Kind::Control,
        4 => Kind::UserDefined,
        5 => Kind::Unused,
        _ => Kind::Normal,
    };
    Ok(types.into_iter().map(kind).collect())
}

fn bpe(
    gguf: &Gguf,
    pre_tokenizer: PreTokenizer,
    texts: Strings<'_>,
    kinds: &[Kind],
) -> Result<tokenizers::Tokenizer, TokenizerError> {
    // Control tokens are left out, so that no content can become one.
    let vocab: Vocab = texts
        .zip(kinds)
        .zip(0..)
        .filter(|((_, kind), _)| **kind != Kind::Control)
        .map(|((text, _), id)| (text.to_owned(), id))
        .collect();
    let in_file: Strings<'_> = gguf.require("tokenizer.ggml.merges")?;
    if in_file.len() > MAX_MERGES {
        let wanted = format!("at most {MAX_MERGES}");
        return Err(TokenizerError::Count { what: "merges", found: in_file.len(), wanted });
    }
    let mut merges = Vec::with_capacity(in_file.len());
    for (index, merge) in in_file.enumerate() {
        // The first token may itself be a space in vocabularies that are not byte-level.
        let (first, second) = merge
            .char_indices()
            .skip(1)
            .find(|(_, character)| *character == ' ')
            .and_then(|(at, _)| Some((merge.get(..at)?, merge.get(at + 1..)?)))
            .filter(|(_, second)| !second.is_empty())
            .ok_or_else(|| TokenizerError::Merge { index, merge: merge.into() })?;
        // Checked here because the tokenizer panics on tokens longer than any in the vocabulary.
        let joined = format!("{first}{second}");
        for token in [first, second, &joined] {
            if !vocab.contains_key(token) {
                return Err(TokenizerError::MergeToken { index, token: token.into() });
            }
        }
        merges.push((first.to_owned(), second.to_owned()));
    }
    let rejected =
        |error: tokenizers::Error| TokenizerError::Rejected { reason: error.to_string() };
    let model = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .ignore_merges(pre_tokenizer.ignore_merges)
        .build()
        .map_err(rejected)?;
    let mut bpe = tokenizers::Tokenizer::new(model);
    bpe.with_pre_tokenizer(Some(pre_tokenizer.build().map_err(rejected)?));
    Ok(bpe)
}

/// The byte each character of a byte-level vocabulary stands for.
struct ByteOf(Vec<Option<u8>>);

impl ByteOf {
    /// Printable characters of Latin-1 stand for themselves; the other 68 bytes, in order, are
    /// `U+0100` and following.
    fn new() -> Self {
        let mut bytes = vec![None; 0x100 + 68];
        let mut next = 0x100;
        for byte in 0..=u8::MAX {
            let character = match byte {
                0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => usize::from(byte),
                _ => {
                    next += 1;
                    next - 1
                }
            };
            if let Some(slot) = bytes.get_mut(character) {
                *slot = Some(byte);
            }
        }
        Self(bytes)
    }

    /// Appends the bytes of a token; a character that stands for no byte is taken as it is.
    fn decode(&self, text: &str, bytes: &mut Vec<u8>) {
        for character in text.chars() {
            match self.0.get(character as usize).copied().flatten() {
                Some(byte) => bytes.push(byte),
                None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
}
