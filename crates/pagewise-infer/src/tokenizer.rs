//! Text to token ids and back, with the vocabulary that comes with the weights.
//!
//! Control tokens (`<|im_end|>` and the like) are only ever seen in the text of a chat template:
//! [`Tokenizer::encode`] takes the same characters in content for plain text, and
//! [`Tokenizer::encode_rendered`] relies on the chat template to have broken up look-alikes.
//! User-defined tokens (`<tool_call>`, `<think>`) are matched in the template's text and in a text of
//! its own, as other tokenizers do; in contents of a conversation they are text as well, but for those
//! of white space, which mean nothing. Other tokenizers would let a message open or close a call, or
//! the model's thoughts.
//!
//! A GGUF file is followed as llama.cpp does, but for words, which are cut and joined as the model's
//! own tokenizer does it; a folder as the `tokenizers` library does. Tokens decode to exactly the text
//! they were made from, but for what the vocabulary itself changes:
//!
//! - SentencePiece vocabularies write a space as `▁`, so that `▁` comes back as a space, and most
//!   put a space before a text, which is not taken away again;
//! - some `tokenizer.json` ask for a Unicode normal form, or for white space beside a user-defined
//!   token to be dropped; GGUF files never do;
//! - a vocabulary without a token for every byte has no way to write some characters.

mod encoder;
mod error;
pub(crate) mod export;
mod folder;
mod gguf;
mod merges;
mod pre_tokenizer;
mod scores;
mod special;
mod spelling;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use pagewise_grammar::Vocabulary;

use crate::gguf::Gguf;
use encoder::{Encoder, Place};
pub use error::TokenizerError;
pub use folder::FolderError;
pub(crate) use folder::{
    Patterns, PlainMerges, chat_template as chat_template_of_folder, plain_merges,
};
pub(crate) use special::SENTINEL;
use special::{Piece, SpecialTexts, Strip};
use spelling::{SPACE_MARK, Spelling};

/// The most tokens a vocabulary may have; real ones have up to 262,144.
const MAX_TOKENS: usize = 1 << 20;
/// The most control and user-defined tokens, all of which are looked for in every text; real
/// vocabularies have up to 6,500.
const MAX_SPECIAL_TOKENS: usize = 1 << 15;

/// What a tokenizer may take besides the size of the files that it came with, in bytes: what some
/// hundred thousand tokens and merges do. Tests read whole vocabularies that came without weights.
const ROOM_BYTES: u64 = if cfg!(test) { 1 << 40 } else { 36 << 20 };
/// What a token and a merge take while a tokenizer is made, at most, in bytes.
const TOKEN_BYTES: u64 = 256;
const MERGE_BYTES: u64 = 192;

/// Refuses a vocabulary that would take far more memory than its files have bytes. Those of real models
/// are a small part of these.
fn check_room(n_tokens: usize, n_merges: usize, file_bytes: u64) -> Result<(), TokenizerError> {
    let needed = n_tokens as u64 * TOKEN_BYTES + n_merges as u64 * MERGE_BYTES;
    if needed <= file_bytes + ROOM_BYTES {
        return Ok(());
    }
    let wanted =
        "not that many: its files are too small for a model that could use them".to_owned();
    let found = n_tokens + n_merges;
    Err(TokenizerError::Count { what: "tokens and merges", found, wanted })
}

/// Tokens that end a turn under any of the names that models give them.
const END_NAMES: [&str; 24] = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|end_of_text|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
    "<EOT>",
    "[EOT]",
    "[EOS]",
    "[e~[",
    "<turn|>",
    "<|tool_response>",
    "_<EOT>",
    "<eos>",
    "</s>",
    // What follows these belongs to another file.
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<reponame>",
];

/// What a token is, as the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    /// A single byte, for characters that have no token.
    Byte,
    /// Structure, not text: turn markers, padding, end of text, the unknown token.
    Control,
    /// A text that is always one token.
    UserDefined,
    /// A number without a meaning.
    Unused,
}

/// What begins and ends texts.
struct Specials {
    bos: Option<u32>,
    eos: Option<u32>,
    turn_ends: Vec<u32>,
    add_bos: bool,
}

/// Everything that a source of tokenizers has to say.
struct Parts {
    /// The names of all tokens; empty for numbers without one.
    texts: Vec<String>,
    kinds: Vec<Kind>,
    /// Which special tokens take white space beside them.
    strips: HashMap<u32, Strip>,
    spelling: Spelling,
    encoder: Encoder,
    specials: Specials,
}

impl Specials {
    /// Completes what ends a turn by the names of tokens, and makes control tokens of all that
    /// must be: some files forget to say that these are not text.
    fn settle(mut self, texts: &[String], kinds: &mut [Kind]) -> Self {
        let mut harmony_ends = [None; 3];
        for ((id, text), kind) in (0_u32..).zip(texts).zip(kinds.iter_mut()) {
            if *kind == Kind::UserDefined && looks_like_control(text) {
                *kind = Kind::Control;
            }
            // A name counts only for a control token: `</s>` is plain text to some vocabularies.
            if *kind == Kind::Control && END_NAMES.contains(&text.as_str()) {
                self.turn_ends.push(id);
            }
            match text.as_str() {
                "<|return|>" => harmony_ends[0] = Some(id),
                "<|call|>" => harmony_ends[1] = Some(id),
                "<|end|>" => harmony_ends[2] = Some(id),
                _ => {}
            }
        }
        // Beside these two, `<|end|>` is only the end of one of several messages in a turn.
        if let [Some(_), Some(_), Some(end)] = harmony_ends {
            self.turn_ends.retain(|id| *id != end);
        }
        self.turn_ends.sort_unstable();
        self.turn_ends.dedup();
        for id in self.turn_ends.iter().chain(&self.bos).chain(&self.eos) {
            if let Some(kind) = kinds.get_mut(*id as usize) {
                *kind = Kind::Control;
            }
        }
        self
    }
}

/// Returns whether a token is structure by its looks. Many files only call it user-defined.
fn looks_like_control(text: &str) -> bool {
    let within = |start: &str, end: &str| {
        text.strip_prefix(start).is_some_and(|rest| rest.len() > end.len() && rest.ends_with(end))
    };
    // Gemma has thousands of these, for others to give a meaning to.
    let is_spare = text
        .strip_prefix("<unused")
        .and_then(|rest| rest.strip_suffix('>'))
        .is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
    within("<|", "|>") || within("<｜", "｜>") || is_spare
}

/// The tokenizer of a model. Clones share it.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

struct Inner {
    encoder: Encoder,
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
    /// What contents are kept free of.
    structure: SpecialTexts,
    specials: Specials,
}

impl Tokenizer {
    /// Builds the tokenizer that the metadata of `gguf` describe.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, TokenizerError> {
        Self::new(gguf::parts(gguf)?)
    }

    /// Builds the tokenizer that `tokenizer.json` in `folder` describes, with what
    /// `tokenizer_config.json`, `special_tokens_map.json`, `generation_config.json` and
    /// `config.json` say about special tokens, where they are there.
    pub fn from_folder(folder: &Path) -> Result<Self, TokenizerError> {
        Self::new(folder::parts(folder)?)
    }

    fn new(parts: Parts) -> Result<Self, TokenizerError> {
        let is_special = |kind: &&Kind| matches!(kind, Kind::Control | Kind::UserDefined);
        let n_special = parts.kinds.iter().filter(is_special).count();
        if n_special > MAX_SPECIAL_TOKENS {
            let wanted = format!("at most {MAX_SPECIAL_TOKENS}");
            return Err(TokenizerError::Count { what: "special tokens", found: n_special, wanted });
        }
        let mut inner = Inner {
            encoder: parts.encoder,
            kinds: parts.kinds,
            bytes: Vec::new(),
            ends: Vec::with_capacity(parts.texts.len()),
            byte_tokens: vec![None; 256],
            control: SpecialTexts::default(),
            user_defined: SpecialTexts::default(),
            all_special: SpecialTexts::default(),
            structure: SpecialTexts::default(),
            specials: parts.specials,
        };
        for (id, text) in (0..).zip(&parts.texts) {
            let strip = parts.strips.get(&id).copied().unwrap_or_default();
            inner.add(id, text, &parts.spelling, strip);
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns the tokens of `content` as a text of its own, in which control tokens are plain
    /// text.
    pub fn encode(&self, content: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(content.len() / 4);
        self.encode_pieces(content, &self.inner.user_defined, Place::Start, &mut ids);
        ids
    }

    /// Returns the tokens of a rendered chat template, with the token that begins a text if the
    /// model wants it.
    ///
    /// Control tokens are recognised; contents must have been neutralised by
    /// [`ChatTemplate::render`](crate::ChatTemplate::render).
    pub fn encode_rendered(&self, rendered: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(rendered.len() / 4);
        self.encode_pieces(rendered, &self.inner.all_special, Place::Start, &mut ids);
        if let Some(bos) = self.bos()
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        ids
    }

    /// Returns the tokens of `bytes` as plain text that follows other text; they may begin or end
    /// within a character.
    pub fn encode_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        let mut ids = Vec::with_capacity(bytes.len() / 4);
        for chunk in bytes.utf8_chunks() {
            self.encode_pieces(chunk.valid(), &self.inner.user_defined, Place::Within, &mut ids);
            self.encode_single_bytes(chunk.invalid(), &mut ids);
        }
        ids
    }

    fn encode_pieces(&self, text: &str, special: &SpecialTexts, start: Place, ids: &mut Vec<u32>) {
        let mut place = start;
        for piece in special.split(text) {
            match piece {
                Piece::Special(id) => {
                    ids.push(id);
                    if start != Place::Within {
                        place = Place::AfterSpecial;
                    }
                    continue;
                }
                Piece::Text(text) if text.contains(SENTINEL) => {
                    let text = text.replace(SENTINEL, "");
                    if text.is_empty() {
                        continue;
                    }
                    self.encode_plain(&text, place, ids);
                }
                Piece::Text(text) => self.encode_plain(text, place, ids),
            }
            place = Place::Within;
        }
    }

    fn encode_plain(&self, text: &str, place: Place, ids: &mut Vec<u32>) {
        let n_before = ids.len();
        if let Err(error) = self.inner.encoder.encode(text, place, ids) {
            tracing::error!(%error, "byte-pair encoding failed; using single bytes");
            ids.truncate(n_before);
            self.encode_single_bytes(text.as_bytes(), ids);
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

    /// Returns whether `id` is never part of what somebody says.
    #[cfg(test)]
    pub(crate) fn is_structure(&self, id: u32) -> bool {
        let of_name = self.inner.structure.split(self.name(Some(id)));
        self.is_control(id) || of_name == [Piece::Special(id)]
    }

    /// Returns whether `id` ends the model's turn.
    pub fn is_end(&self, id: u32) -> bool {
        self.inner.specials.turn_ends.binary_search(&id).is_ok()
    }

    /// Returns all tokens that end the model's turn, sorted.
    pub fn end_tokens(&self) -> &[u32] {
        &self.inner.specials.turn_ends
    }

    /// Returns the token with which the model ends its turn, as the file names it.
    pub fn eos(&self) -> Option<u32> {
        self.inner.specials.eos
    }

    /// Returns the token that every text begins with, if the model wants one.
    pub fn bos(&self) -> Option<u32> {
        self.inner.specials.bos.filter(|_| self.inner.specials.add_bos)
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
            let is_text = match kind {
                Kind::Normal | Kind::UserDefined => true,
                // Of two tokens for one character the model knows the one that is not a byte.
                Kind::Byte => self.encode_bytes(self.token_bytes(id)) == [id],
                Kind::Control | Kind::Unused => false,
            };
            if is_text {
                vocabulary.set(id, self.token_bytes(id));
            }
        }
        vocabulary
    }

    /// Returns `content` such that [`Self::encode_rendered`] sees no control token and none that is
    /// user-defined in it, nor across its edges, but for those of white space.
    pub(crate) fn neutralise(&self, content: &str) -> String {
        self.inner.structure.neutralise(content)
    }

    /// Returns the text of the token that the file names for `key`, for chat templates.
    pub(crate) fn name(&self, id: Option<u32>) -> &str {
        id.and_then(|id| std::str::from_utf8(self.token_bytes(id)).ok()).unwrap_or_default()
    }

    /// Returns the token that begins a text whether or not the model wants it.
    pub(crate) fn named_bos(&self) -> Option<u32> {
        self.inner.specials.bos
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
    fn add(&mut self, id: u32, text: &str, spelling: &Spelling, strip: Strip) {
        let start = self.bytes.len();
        match self.kinds.get(id as usize) {
            Some(Kind::Control) => {
                // A single character cannot be broken apart in content.
                if text.chars().nth(1).is_some() {
                    self.control.add(text, id, strip);
                    self.structure.add(text, id, strip);
                    self.all_special.add(text, id, strip);
                }
                self.bytes.extend_from_slice(text.as_bytes());
            }
            Some(Kind::UserDefined) => {
                self.user_defined.add(text, id, strip);
                self.all_special.add(text, id, strip);
                let is_blank = text.chars().all(|c| c.is_whitespace() || c == SPACE_MARK);
                if !is_blank && text.chars().nth(1).is_some() {
                    self.structure.add(text, id, strip);
                }
                spelling.decode_user_defined(text, &mut self.bytes);
            }
            Some(Kind::Byte) => self.bytes.extend(spelling::byte_of_name(text)),
            _ => spelling.decode(text, &mut self.bytes),
        }
        if let Some([byte]) = self.bytes.get(start..)
            && matches!(self.kinds.get(id as usize), Some(Kind::Normal | Kind::Byte))
            && let Some(token) = self.byte_tokens.get_mut(usize::from(*byte))
        {
            *token = Some(id);
        }
        self.ends.push(self.bytes.len());
    }
}
