//! The vocabularies of embedders, and how words become tokens by them.
//!
//! They do what the `tokenizers` library does, which the tests compare them with, in a fraction of
//! the memory: its tree over a vocabulary takes hundreds of bytes for each letter, and falls over a
//! word of a million.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use tokenizers::models::bpe::BPE;
use tokenizers::models::wordpiece::WordPieceTrainer;
use tokenizers::{Model, Token};

/// What a character that is no piece costs more than the worst of those.
const UNKNOWN_PENALTY: f64 = 10.0;

/// How words become tokens.
pub(super) enum Words {
    /// The longest piece first, as BERTs have it.
    Longest {
        pieces: Pieces,
        /// Stands for a word that cannot be put together.
        unknown: String,
        /// What stands before a piece that does not begin a word.
        continuing: String,
        max_word_chars: usize,
    },
    /// The pieces that together are likeliest, as SentencePiece has it.
    Likeliest {
        pieces: Pieces,
        scores: Scores,
        unknown: Option<u32>,
        /// Whether a character that is no piece becomes the tokens of its bytes, `<0x0A>`.
        byte_fallback: bool,
    },
    /// Every word is one.
    Whole { pieces: Pieces, unknown: String },
    /// Pairs that are joined in an order of their own.
    Merges { bpe: Box<BPE>, n_tokens: usize },
}

/// The logarithms of the probabilities of pieces.
pub(super) struct Scores {
    /// By the numbers of the pieces.
    of_pieces: Vec<f64>,
    /// Of a character that is no piece.
    of_unknown: f64,
}

/// Texts with their numbers.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    texts: String,
    /// Where each text ends, in the order in which they came.
    ends: Vec<u32>,
    ids: Vec<u32>,
    /// The texts in the order of their bytes, each once; the one that came last counts.
    sorted: Vec<u32>,
}

/// The pieces that begin with what was read.
#[derive(Debug, Clone)]
struct Reading<'a> {
    pieces: &'a Pieces,
    /// Of [`Pieces::sorted`].
    found: Range<usize>,
    n_read: usize,
}

impl Scores {
    pub(super) fn new(of_pieces: Vec<f64>) -> Self {
        let worst = of_pieces.iter().copied().fold(f64::INFINITY, f64::min);
        Self { of_pieces, of_unknown: worst - UNKNOWN_PENALTY }
    }
}

impl Pieces {
    /// Adds a piece; nothing is found before [`Self::sort`].
    pub(super) fn add(&mut self, text: &str, id: u32) {
        self.texts.push_str(text);
        // A file is far smaller than that.
        self.ends.push(u32::try_from(self.texts.len()).unwrap_or(u32::MAX));
        self.ids.push(id);
    }

    /// Returns the length of all of them.
    pub(super) fn n_bytes(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn sort(&mut self) {
        self.texts.shrink_to_fit();
        let mut sorted: Vec<u32> = (0..).take(self.ends.len()).collect();
        sorted.sort_unstable_by(|a, b| self.text(*a).cmp(self.text(*b)).then(b.cmp(a)));
        sorted.dedup_by(|a, b| self.text(*a) == self.text(*b));
        self.sorted = sorted;
    }

    /// Returns how many there are.
    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Returns the highest number.
    pub(super) fn last_id(&self) -> Option<u32> {
        self.ids.iter().copied().max()
    }

    /// Returns the number of the piece that is `text`.
    pub(super) fn find(&self, text: &str) -> Option<u32> {
        let at =
            self.sorted.binary_search_by(|index| self.text(*index).as_bytes().cmp(text.as_bytes()));
        at.ok().map(|at| self.id(at))
    }

    fn id(&self, at: usize) -> u32 {
        self.ids[self.sorted[at] as usize]
    }

    fn text(&self, index: u32) -> &str {
        let index = index as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.texts[start..self.ends[index] as usize]
    }

    fn read(&self, text: &str) -> Reading<'_> {
        let mut reading = Reading { pieces: self, found: 0..self.sorted.len(), n_read: 0 };
        text.bytes().for_each(|byte| reading.step(byte));
        reading
    }
}

impl Reading<'_> {
    /// Reads on.
    fn step(&mut self, byte: u8) {
        let Self { pieces, found, n_read } = self;
        let within = &pieces.sorted[found.clone()];
        // Shorter pieces stand first.
        let next = |index: &u32| pieces.text(*index).as_bytes().get(*n_read).copied();
        let start = within.partition_point(|index| next(index) < Some(byte));
        let len = within[start..].partition_point(|index| next(index) == Some(byte));
        *found = found.start + start..found.start + start + len;
        *n_read += 1;
    }

    /// Returns the number of the piece that is what was read, and nothing more.
    fn id(&self) -> Option<u32> {
        let first = *self.pieces.sorted.get(self.found.clone())?.first()?;
        (self.pieces.text(first).len() == self.n_read).then(|| self.pieces.id(self.found.start))
    }

    fn is_over(&self) -> bool {
        self.found.is_empty()
    }
}

/// Cuts a word into the longest pieces, one after the other; `None` if that does not come out even.
fn longest(pieces: &Pieces, continuing: &str, word: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while start < word.len() {
        let mut reading = pieces.read(if start == 0 { "" } else { continuing });
        let mut found = None;
        for (at, byte) in word.bytes().enumerate().skip(start) {
            reading.step(byte);
            if reading.is_over() {
                break;
            }
            found = reading.id().map(|id| (id, at + 1)).or(found);
        }
        let (id, end) = found?;
        tokens.push(Token::new(id, String::new(), (start, end)));
        start = end;
    }
    Some(tokens)
}

/// The best way to a place in a word: its score, and the last step.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    score: f64,
    /// Where the last piece begins, and its number, if it is one.
    last: Option<(usize, Option<u32>)>,
}

impl Way {
    fn offer(&mut self, score: f64, start: usize, id: Option<u32>) {
        if self.last.is_none() || score > self.score {
            *self = Self { score, last: Some((start, id)) };
        }
    }
}

/// Cuts a word into the pieces that are likeliest together: where each begins and ends, and its
/// number; none for runs of characters that are no pieces.
fn likeliest(
    pieces: &Pieces,
    scores: &Scores,
    unknown: Option<u32>,
    word: &str,
) -> Vec<(Range<usize>, Option<u32>)> {
    let mut ways = vec![Way::default(); word.len() + 1];
    for (start, character) in word.char_indices() {
        let so_far = ways[start].score;
        let mut is_piece = false;
        let mut reading = pieces.read("");
        for (at, byte) in word.bytes().enumerate().skip(start) {
            reading.step(byte);
            if reading.is_over() {
                break;
            }
            if let Some(id) = reading.id() {
                ways[at + 1].offer(so_far + scores.of_pieces[id as usize], start, Some(id));
                is_piece |= at + 1 - start == character.len_utf8();
            }
        }
        if !is_piece {
            ways[start + character.len_utf8()].offer(so_far + scores.of_unknown, start, None);
        }
    }
    let mut parts: Vec<(Range<usize>, Option<u32>)> = Vec::new();
    let mut end = word.len();
    while let Some((start, id)) = ways[end].last.filter(|_| end > 0) {
        let id = id.filter(|id| Some(*id) != unknown);
        match parts.last_mut() {
            // Several unknown characters are one.
            Some((part, None)) if id.is_none() => part.start = start,
            _ => parts.push((start..end, id)),
        }
        end = start;
    }
    parts.reverse();
    parts
}

impl Model for Words {
    type Trainer = WordPieceTrainer;

    fn tokenize(&self, word: &str) -> tokenizers::Result<Vec<Token>> {
        let token =
            |id, range: Range<usize>| Token::new(id, String::new(), (range.start, range.end));
        let whole = |id: Option<u32>| {
            id.map(|id| vec![token(id, 0..word.len())])
                .ok_or_else(|| "the vocabulary has no token for what is unknown".into())
        };
        match self {
            Self::Longest { pieces, unknown, continuing, max_word_chars } => {
                let is_short = word.chars().nth(*max_word_chars).is_none();
                let tokens = is_short.then(|| longest(pieces, continuing, word)).flatten();
                tokens.map_or_else(|| whole(pieces.find(unknown)), Ok)
            }
            Self::Whole { pieces, unknown } => {
                whole(pieces.find(word).or_else(|| pieces.find(unknown)))
            }
            Self::Likeliest { pieces, scores, unknown, byte_fallback } => {
                let mut tokens = Vec::new();
                for (range, id) in likeliest(pieces, scores, *unknown, word) {
                    let id = id.or_else(|| pieces.find(&word[range.clone()]));
                    let bytes = || {
                        let names =
                            word[range.clone()].bytes().map(|byte| format!("<0x{byte:02X}>"));
                        names.map(|name| pieces.find(&name)).collect::<Option<Vec<u32>>>()
                    };
                    match id {
                        Some(id) => tokens.push(token(id, range)),
                        None => match byte_fallback.then(bytes).flatten() {
                            Some(ids) => {
                                tokens.extend(ids.iter().map(|id| token(*id, range.clone())))
                            }
                            None => tokens
                                .push(token((*unknown).ok_or("a character is no token")?, range)),
                        },
                    }
                }
                Ok(tokens)
            }
            Self::Merges { bpe, .. } => bpe.tokenize(word),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Longest { pieces, .. }
            | Self::Likeliest { pieces, .. }
            | Self::Whole { pieces, .. } => pieces.find(token),
            Self::Merges { bpe, .. } => bpe.token_to_id(token),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            // Of those with one text, all have numbers.
            Self::Likeliest { scores, .. } => scores.of_pieces.len(),
            Self::Longest { pieces, .. } | Self::Whole { pieces, .. } => pieces.len(),
            Self::Merges { n_tokens, .. } => *n_tokens,
        }
    }

    // Nobody asks an embedder for these: it reads texts and writes none.

    fn id_to_token(&self, _: u32) -> Option<String> {
        None
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        HashMap::new()
    }

    fn save(&self, _: &Path, _: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Err("the vocabulary of an embedder is not written".into())
    }

    fn get_trainer(&self) -> WordPieceTrainer {
        WordPieceTrainer::default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokenizers::models::unigram::Unigram;
    use tokenizers::models::wordpiece::WordPiece;

    use super::*;

    fn pieces(texts: &[String]) -> Pieces {
        let mut pieces = Pieces::default();
        for (text, id) in texts.iter().zip(0..) {
            pieces.add(text, id);
        }
        pieces.sort();
        pieces
    }

    /// The numbers and the places of tokens, or nothing of an error.
    fn shown(tokens: tokenizers::Result<Vec<Token>>) -> Option<Vec<(u32, (usize, usize))>> {
        Some(tokens.ok()?.into_iter().map(|token| (token.id, token.offsets)).collect())
    }

    #[test]
    fn a_piece_is_found_and_the_last_of_two_counts() {
        let pieces = pieces(&["b", "", "a", "ab", "b"].map(str::to_owned));
        let found = |text| pieces.find(text);
        assert_eq!(
            ["a", "b", "ab", "", "abc"].map(found),
            [Some(2), Some(4), Some(3), Some(1), None]
        );
        assert_eq!((pieces.len(), pieces.last_id()), (4, Some(4)));
        assert_eq!(Pieces::default().find("a"), None);
    }

    #[test]
    fn a_word_of_a_million_letters_is_a_piece_like_others() {
        let long = "x".repeat(1 << 20);
        let words = Words::Likeliest {
            pieces: pieces(&["<unk>".to_owned(), "x".to_owned(), long.clone()]),
            scores: Scores::new(vec![0.0, -1.0, -2.0]),
            unknown: Some(0),
            byte_fallback: false,
        };
        assert_eq!(shown(words.tokenize("xxx")).unwrap().len(), 3);
        assert_eq!(words.token_to_id(&long), Some(2));
    }

    proptest! {
        #[test]
        fn the_longest_pieces_are_those_of_the_library(
            texts in prop::collection::vec("(#{2})?[abé]{0,3}", 0..20),
            word in "[abéx]{0,12}",
            max_word_chars in 0_usize..14,
        ) {
            let mut texts = texts;
            texts.push("[UNK]".to_owned());
            texts.sort();
            texts.dedup();
            let vocab: serde_json::Map<_, _> =
                texts.iter().cloned().zip((0..).map(serde_json::Value::from)).collect();
            let library = serde_json::json!({
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": max_word_chars, "vocab": vocab,
            });
            let library: WordPiece = serde_json::from_str(&library.to_string()).unwrap();
            let ours = Words::Longest {
                pieces: pieces(&texts),
                unknown: "[UNK]".into(),
                continuing: "##".into(),
                max_word_chars,
            };
            prop_assert_eq!(shown(ours.tokenize(&word)), shown(library.tokenize(&word)));
        }

        #[test]
        fn the_likeliest_pieces_are_those_of_the_library(
            texts in prop::collection::vec(("[abé]{0,4}|<0x(C3|A9|78)>", -6_i8..0), 1..20),
            unknown in prop::option::of(0_usize..20),
            byte_fallback: bool,
            word in "[abéx]{0,12}",
        ) {
            let unknown = unknown.filter(|id| *id < texts.len());
            let vocab: Vec<(String, f64)> = texts
                .into_iter()
                .map(|(text, score)| (text, f64::from(score)))
                .collect();
            let names: Vec<String> = vocab.iter().map(|(text, _)| text.clone()).collect();
            let ours = Words::Likeliest {
                pieces: pieces(&names),
                scores: Scores::new(vocab.iter().map(|(_, score)| *score).collect()),
                unknown: unknown.map(|id| id as u32),
                byte_fallback,
            };
            let library = Unigram::from(vocab, unknown, byte_fallback).unwrap();
            // Without a token for what is unknown, the library gives up sooner.
            if let Some(expected) = shown(library.tokenize(&word)) {
                prop_assert_eq!(shown(ours.tokenize(&word)), Some(expected));
            }
        }
    }
}
