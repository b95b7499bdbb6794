//! Byte-pair encoding by a list of merges.

use std::collections::HashSet;

use tokenizers::models::bpe::{BPE, Vocab};

use super::special::SENTINEL;
use super::{Kind, TokenizerError};

/// The most merges; real vocabularies have up to 515,000.
pub(super) const MAX_MERGES: usize = 1 << 21;

/// What a list of merges leaves open.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MergeOptions {
    /// Whether a word that is a token is taken whole, without merging.
    pub(super) ignore_merges: bool,
    /// Whether a character that is no token becomes the tokens of its bytes, `<0x0A>`.
    pub(super) byte_fallback: bool,
    /// The token of a character for which there is no other, if there is one.
    pub(super) unknown: Option<u32>,
    /// Whether several of these in a row become one.
    pub(super) fuse_unknown: bool,
}

/// Builds the encoder of a vocabulary.
///
/// Control tokens are left out with all merges that name them, so that no content can become one.
pub(super) fn build<'a>(
    texts: impl Iterator<Item = (u32, &'a str)>,
    kinds: &[Kind],
    merges: impl ExactSizeIterator<Item = Result<(String, String), TokenizerError>>,
    options: MergeOptions,
) -> Result<BPE, TokenizerError> {
    if merges.len() > MAX_MERGES {
        let wanted = format!("at most {MAX_MERGES}");
        return Err(TokenizerError::Count { what: "merges", found: merges.len(), wanted });
    }
    let mut vocab = Vocab::with_capacity(kinds.len());
    let mut control = HashSet::new();
    for (id, text) in texts {
        if kinds.get(id as usize) == Some(&Kind::Control) {
            control.insert(text);
        } else {
            vocab.insert(text.to_owned(), id);
        }
    }
    let mut kept = Vec::with_capacity(merges.len());
    'merges: for (index, merge) in merges.enumerate() {
        let (first, second) = merge?;
        // Checked here because the tokenizer panics on tokens longer than any in the vocabulary.
        let joined = format!("{first}{second}");
        for token in [&first, &second, &joined] {
            if vocab.contains_key(token) {
                continue;
            }
            if control.contains(token.as_str()) {
                continue 'merges;
            }
            return Err(TokenizerError::MergeToken { index, token: token.clone() });
        }
        kept.push((first, second));
    }
    let mut builder = BPE::builder();
    if let Some(id) = options.unknown {
        // Under a name that no text has: the token itself must not be found in one.
        let name = format!("{SENTINEL}unknown");
        vocab.insert(name.clone(), id);
        builder = builder.unk_token(name).fuse_unk(options.fuse_unknown);
    }
    let bpe = builder
        .vocab_and_merges(vocab, kept)
        .ignore_merges(options.ignore_merges)
        .byte_fallback(options.byte_fallback)
        .build()?;
    Ok(bpe)
}

/// Takes a merge apart that is written as two tokens with a space between them.
pub(super) fn parse(index: usize, merge: &str) -> Result<(String, String), TokenizerError> {
    // The first token may itself begin with a space in vocabularies that are not byte-level.
    merge
        .char_indices()
        .skip(1)
        .find(|(_, character)| *character == ' ')
        .and_then(|(at, _)| Some((merge.get(..at)?, merge.get(at + 1..)?)))
        .filter(|(_, second)| !second.is_empty())
        .map(|(first, second)| (first.to_owned(), second.to_owned()))
        .ok_or_else(|| TokenizerError::Merge { index, merge: merge.into() })
}
