//! Plain text to token ids: normalise, mark spaces, cut into words, join characters to tokens.

use std::borrow::Cow;

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{NFC, NFD, NFKC, NFKD};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{
    Model as _, NormalizedString, Normalizer as _, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer as _,
};

use super::pre_tokenizer::cut_long_white_space;
use super::scores::Scores;
use super::spelling::SPACE_MARK;

/// Everything that happens to a text without special tokens in it.
pub(super) struct Encoder {
    pub(super) form: Option<Form>,
    pub(super) prefix: Option<Prefix>,
    /// Whether spaces become [`SPACE_MARK`]s.
    pub(super) marks_spaces: bool,
    pub(super) words: Option<Sequence>,
    pub(super) model: Model,
}

/// How characters become tokens.
pub(super) enum Model {
    Merges(Box<BPE>),
    Scores(Scores),
}

/// The Unicode normal forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
}

/// Where a space is added before a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix {
    /// At the very start alone, not after each special token too.
    pub(super) only_at_start: bool,
    /// Also where the text already begins with a space.
    pub(super) doubles: bool,
}

/// What a text follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing.
    Start,
    /// A special token.
    AfterSpecial,
    /// Other text.
    Within,
}

impl Encoder {
    /// Appends the tokens of `text`.
    pub(super) fn encode(
        &self,
        text: &str,
        place: Place,
        ids: &mut Vec<u32>,
    ) -> tokenizers::Result<()> {
        let text = self.prepared(text, place)?;
        let Some(words) = &self.words else { return self.model.encode(&text, ids) };
        for part in cut_long_white_space(&text) {
            let mut split = PreTokenizedString::from(part);
            words.pre_tokenize(&mut split)?;
            for (word, ..) in split.get_splits(OffsetReferential::Normalized, OffsetType::None) {
                self.model.encode(word, ids)?;
            }
        }
        Ok(())
    }

    fn prepared<'t>(&self, text: &'t str, place: Place) -> tokenizers::Result<Cow<'t, str>> {
        let mut text = match self.form {
            Some(form) => form.apply(text)?,
            None => Cow::Borrowed(text),
        };
        let begins_with_space =
            text.starts_with(' ') || (self.marks_spaces && text.starts_with(SPACE_MARK));
        if let Some(prefix) = self.prefix
            && !text.is_empty()
            && (prefix.doubles || !begins_with_space)
            && match place {
                Place::Start => true,
                Place::AfterSpecial => !prefix.only_at_start,
                Place::Within => false,
            }
        {
            text.to_mut().insert(0, ' ');
        }
        if self.marks_spaces && text.contains(' ') {
            text = Cow::Owned(text.replace(' ', SPACE_MARK.encode_utf8(&mut [0; 4])));
        }
        Ok(text)
    }
}

impl Model {
    fn encode(&self, word: &str, ids: &mut Vec<u32>) -> tokenizers::Result<()> {
        match self {
            Self::Merges(bpe) => ids.extend(bpe.tokenize(word)?.iter().map(|token| token.id)),
            Self::Scores(scores) => scores.encode(word, ids),
        }
        Ok(())
    }
}

impl Form {
    fn apply(self, text: &str) -> tokenizers::Result<Cow<'_, str>> {
        if text.is_ascii() {
            return Ok(Cow::Borrowed(text));
        }
        let mut normalized = NormalizedString::from(text);
        match self {
            Self::Nfc => NFC.normalize(&mut normalized)?,
            Self::Nfd => NFD.normalize(&mut normalized)?,
            Self::Nfkc => NFKC.normalize(&mut normalized)?,
            Self::Nfkd => NFKD.normalize(&mut normalized)?,
        }
        Ok(Cow::Owned(normalized.get().to_owned()))
    }
}
