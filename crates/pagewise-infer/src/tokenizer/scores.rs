//! Byte-pair encoding by score, as SentencePiece does it.
//!
//! There are no rules of merging: of all neighbours that together are a piece of the vocabulary,
//! those of the highest score join first, and of equal ones the leftmost. What is no piece in the
//! end is spelled in bytes. A heap keeps the work near to linear in the length of the text.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};

/// The longest piece that text is joined to, in bytes; real ones have at most a few hundred.
const MAX_PIECE_BYTES: usize = 1 << 10;

/// The pieces of a vocabulary that text may become.
#[derive(Debug)]
pub(super) struct Scores {
    pieces: HashMap<Box<str>, (u32, f32)>,
    /// The length of the longest piece, in bytes.
    longest: usize,
    byte_tokens: Vec<Option<u32>>,
    /// Stands for a character that is no piece where bytes are not either.
    unknown: Option<u32>,
}

/// A run of characters that are one piece, or a single character.
struct Symbol {
    start: usize,
    /// In bytes; zero once it has joined its left neighbour.
    len: usize,
    left: Option<usize>,
    right: Option<usize>,
}

/// Two neighbours that are a piece together.
struct Pair {
    score: f32,
    left: usize,
    /// In bytes, to see later whether either has changed.
    len: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |pair: &Self| Reverse(pair.left);
        self.score.total_cmp(&other.score).then_with(|| key(self).cmp(&key(other)))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl Scores {
    pub(super) fn new(unknown: Option<u32>) -> Self {
        Self { pieces: HashMap::new(), longest: 0, byte_tokens: vec![None; 256], unknown }
    }

    /// Adds a piece that text may become.
    pub(super) fn add(&mut self, piece: &str, id: u32, score: f32) {
        if !piece.is_empty() && piece.len() <= MAX_PIECE_BYTES {
            self.longest = self.longest.max(piece.len());
            // Zero has two signs, which compare as equal elsewhere.
            self.pieces.insert(piece.into(), (id, score + 0.0));
        }
    }

    /// Says that the token `id` stands for `byte`.
    pub(super) fn add_byte(&mut self, byte: u8, id: u32) {
        if let Some(slot) = self.byte_tokens.get_mut(usize::from(byte)) {
            *slot = Some(id);
        }
    }

    /// Appends the tokens of `text`, in which spaces are marked.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(index, (start, character))| Symbol {
                start,
                len: character.len_utf8(),
                left: index.checked_sub(1),
                right: Some(index + 1),
            })
            .collect();
        if let Some(last) = symbols.last_mut() {
            last.right = None;
        }
        let mut pairs: BinaryHeap<Pair> =
            (0..symbols.len()).filter_map(|left| self.pair(text, &symbols, left)).collect();
        while let Some(Pair { left, len, .. }) = pairs.pop() {
            // Either may have joined another neighbour since.
            let Some((right, joined)) = neighbours(&symbols, left).filter(|(_, now)| *now == len)
            else {
                continue;
            };
            let after = symbols.get(right).and_then(|symbol| symbol.right);
            if let Some(symbol) = symbols.get_mut(right) {
                symbol.len = 0;
            }
            if let Some(symbol) = after.and_then(|after| symbols.get_mut(after)) {
                symbol.left = Some(left);
            }
            let Some(symbol) = symbols.get_mut(left) else { continue };
            symbol.len = joined;
            symbol.right = after;
            let before = symbol.left;
            pairs.extend(before.and_then(|before| self.pair(text, &symbols, before)));
            pairs.extend(self.pair(text, &symbols, left));
        }
        for symbol in symbols.iter().filter(|symbol| symbol.len > 0) {
            let piece = text.get(symbol.start..symbol.start + symbol.len).unwrap_or_default();
            match self.pieces.get(piece) {
                Some((id, _)) => ids.push(*id),
                None => self.spell(piece, ids),
            }
        }
    }

    /// Returns the pair of the symbol at `left` and the next one, if it is a piece.
    fn pair(&self, text: &str, symbols: &[Symbol], left: usize) -> Option<Pair> {
        let (_, len) = neighbours(symbols, left).filter(|(_, len)| *len <= self.longest)?;
        let start = symbols.get(left)?.start;
        let (_, score) = self.pieces.get(text.get(start..start + len)?)?;
        Some(Pair { score: *score, left, len })
    }

    /// Appends the bytes of a character that is no piece.
    fn spell(&self, character: &str, ids: &mut Vec<u32>) {
        let bytes: Option<Vec<u32>> = character
            .bytes()
            .map(|byte| self.byte_tokens.get(usize::from(byte)).copied().flatten())
            .collect();
        match bytes {
            Some(bytes) => ids.extend(bytes),
            None => ids.extend(self.unknown),
        }
    }
}

/// Returns the symbol to the right of the one at `left`, and the length of both together.
fn neighbours(symbols: &[Symbol], left: usize) -> Option<(usize, usize)> {
    let symbol = symbols.get(left).filter(|symbol| symbol.len > 0)?;
    let right = symbol.right?;
    Some((right, symbol.len + symbols.get(right)?.len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scores(pieces: &[(&str, f32)]) -> Scores {
        let mut scores = Scores::new(Some(999));
        for (id, (piece, score)) in (0..).zip(pieces) {
            scores.add(piece, id, *score);
        }
        scores
    }

    fn encode(scores: &Scores, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        scores.encode(text, &mut ids);
        ids
    }

    #[test]
    fn the_highest_score_joins_first_and_of_equal_ones_the_leftmost() {
        let pieces = [("a", -9.0), ("b", -9.0), ("ab", -2.0), ("ba", -1.0), ("aba", -3.0)];
        let scores = scores(&pieces);
        assert_eq!(encode(&scores, "abab"), [4, 1]);
        assert_eq!(encode(&scores, "aba"), [4]);
        assert_eq!(encode(&scores, "baba"), [3, 3]);
        assert!(encode(&scores, "").is_empty());
    }

    #[test]
    fn what_is_no_piece_is_spelled_in_bytes_if_there_are_all() {
        let mut scores = scores(&[("a", 0.0)]);
        scores.add_byte(0xC3, 500);
        assert_eq!(encode(&scores, "aé"), [0, 999]);
        scores.add_byte(0xA9, 501);
        assert_eq!(encode(&scores, "éa"), [500, 501, 0]);
    }

    /// Joins the best pair of all, again and again: quadratic, and plainly right.
    fn slow(scores: &Scores, text: &str) -> Vec<u32> {
        let mut parts: Vec<String> = text.chars().map(String::from).collect();
        loop {
            let mut best: Option<(f32, usize)> = None;
            for (left, pair) in parts.windows(2).enumerate() {
                if let Some((_, score)) = scores.pieces.get(pair.concat().as_str())
                    && best.is_none_or(|(highest, _)| *score > highest)
                {
                    best = Some((*score, left));
                }
            }
            let Some((_, left)) = best else { break };
            let right = parts.remove(left + 1);
            parts[left].push_str(&right);
        }
        let mut ids = Vec::new();
        for part in parts {
            match scores.pieces.get(part.as_str()) {
                Some((id, _)) => ids.push(*id),
                None => scores.spell(&part, &mut ids),
            }
        }
        ids
    }

    proptest! {
        #[test]
        fn the_heap_does_what_the_slow_search_does(
            pieces in prop::collection::vec(("[abé]{1,4}", -4_i8..4), 0..30),
            text in "[abéx]{0,40}",
        ) {
            let pieces: Vec<(&str, f32)> =
                pieces.iter().map(|(piece, score)| (piece.as_str(), f32::from(*score))).collect();
            let scores = scores(&pieces);
            prop_assert_eq!(encode(&scores, &text), slow(&scores, &text));
        }
    }
}
