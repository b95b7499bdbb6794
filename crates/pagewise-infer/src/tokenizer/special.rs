//! Finds the texts of special tokens.

use std::collections::HashMap;

/// Marks a place in content where a special token must not be seen. Never part of a text: it is a
/// noncharacter, removed from content before it is used.
pub(crate) const SENTINEL: char = '\u{FDD0}';

/// The longest text that is looked for, in bytes; real ones have a few dozen.
const MAX_BYTES: usize = 256;

/// Which white space beside a special text belongs to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Strip {
    pub(crate) left: bool,
    pub(crate) right: bool,
}

/// Texts that stand for one token each, the longest first at each place.
#[derive(Debug, Default)]
pub(crate) struct SpecialTexts {
    ids: HashMap<Box<[u8]>, (u32, Strip)>,
    /// The lengths of the texts that begin with each byte, longest first.
    lengths: HashMap<u8, Vec<usize>>,
    longest: usize,
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'t> {
    Text(&'t str),
    Special(u32),
}

impl SpecialTexts {
    /// Adds a text, unless it is absurdly long.
    pub(crate) fn add(&mut self, text: &str, id: u32, strip: Strip) {
        let bytes = text.as_bytes();
        let Some(&first) = bytes.first() else { return };
        if bytes.len() > MAX_BYTES || text.contains(SENTINEL) {
            return;
        }
        let lengths = self.lengths.entry(first).or_default();
        if let Err(index) = lengths.binary_search_by(|length| bytes.len().cmp(length)) {
            lengths.insert(index, bytes.len());
        }
        self.longest = self.longest.max(bytes.len());
        self.ids.insert(bytes.into(), (id, strip));
    }

    /// Returns the longest text that `bytes` begins with: its id, its white space and its length.
    fn at(&self, bytes: &[u8]) -> Option<(u32, Strip, usize)> {
        self.lengths.get(bytes.first()?)?.iter().find_map(|&length| {
            let (id, strip) = self.ids.get(bytes.get(..length)?)?;
            Some((*id, *strip, length))
        })
    }

    /// Cuts `text` at every special text.
    pub(crate) fn split<'t>(&self, text: &'t str) -> Vec<Piece<'t>> {
        let mut pieces = Vec::new();
        let mut start = 0;
        let mut at = 0;
        while let Some(rest) = text.as_bytes().get(at..).filter(|rest| !rest.is_empty()) {
            let Some((id, strip, length)) = self.at(rest) else {
                at += 1;
                continue;
            };
            let before = text.get(start..at).unwrap_or_default();
            let before = if strip.left { before.trim_end() } else { before };
            pieces.extend(Some(before).filter(|before| !before.is_empty()).map(Piece::Text));
            pieces.push(Piece::Special(id));
            at += length;
            if strip.right {
                let after = text.get(at..).unwrap_or_default();
                at += after.len() - after.trim_start().len();
            }
            start = at;
        }
        pieces.extend(text.get(start..).filter(|t| !t.is_empty()).map(Piece::Text));
        pieces
    }

    /// Returns `content` with [`SENTINEL`]s in it, so that [`Self::split`] finds nothing in it,
    /// nor in any text put together from such contents and texts in which it finds nothing.
    pub(crate) fn neutralise(&self, content: &str) -> String {
        let mut neutral = String::with_capacity(content.len() + 8);
        let content = content.replace(SENTINEL, "");
        if self.could_end(content.as_bytes()) {
            neutral.push(SENTINEL);
        }
        for (at, character) in content.char_indices() {
            neutral.push(character);
            let rest = content.as_bytes().get(at..).unwrap_or_default();
            if self.at(rest).is_some() || self.could_begin(rest) {
                neutral.push(SENTINEL);
            }
        }
        neutral
    }

    /// Returns whether a special text begins with all of `bytes` and goes on.
    fn could_begin(&self, bytes: &[u8]) -> bool {
        bytes.len() < self.longest
            && bytes.first().is_some_and(|first| self.lengths.contains_key(first))
            && self.ids.keys().any(|text| text.len() > bytes.len() && text.starts_with(bytes))
    }

    /// Returns whether the end of a special text, but not all of it, is at the start of `bytes`.
    fn could_end(&self, bytes: &[u8]) -> bool {
        self.ids.keys().any(|text| {
            (1..text.len()).any(|cut| {
                let end = text.get(cut..).unwrap_or_default();
                bytes.starts_with(end)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> SpecialTexts {
        let mut texts = SpecialTexts::default();
        for (text, id) in [("<a>", 1), ("<a><b>", 2), ("[c]", 3), ("é|", 4), ("", 6)] {
            texts.add(text, id, Strip::default());
        }
        texts
    }

    #[test]
    fn the_longest_text_wins() {
        use Piece::{Special, Text};
        let texts = texts();
        assert_eq!(texts.split("<a><b>"), [Special(2)]);
        assert_eq!(
            texts.split("x<a><a>é[c]é|"),
            [Text("x"), Special(1), Special(1), Text("é"), Special(3), Special(4)]
        );
        assert_eq!(texts.split(""), []);
        assert_eq!(texts.split("<a"), [Text("<a")]);
    }

    #[test]
    fn white_space_beside_a_text_can_belong_to_it() {
        use Piece::{Special, Text};
        let mut texts = texts();
        texts.add("<l>", 7, Strip { left: true, right: false });
        texts.add("<r>", 8, Strip { left: false, right: true });
        assert_eq!(
            texts.split(" x \u{3000}<l> \n<r> \n\t y <r> <l> "),
            [
                Text(" x"),
                Special(7),
                Text(" \n"),
                Special(8),
                Text("y "),
                Special(8),
                Special(7),
                Text(" ")
            ]
        );
    }

    #[test]
    fn neutral_contents_join_to_nothing_special() {
        let texts = texts();
        let parts =
            ["", "<", "<a", "<a>", "a>", ">", "<a><b>", "é", "|", "[c", "]", " ", "\u{FDD0}"];
        for first in parts {
            for second in parts {
                let whole = texts.neutralise(&format!("{first}{second}"));
                let joined = texts.neutralise(first) + &texts.neutralise(second);
                for text in [whole, joined, format!("{first}{}", texts.neutralise(second))] {
                    let special = |text: &str| {
                        texts.split(text).iter().filter(|p| matches!(p, Piece::Special(_))).count()
                    };
                    if text.starts_with(first) && special(first) > 0 {
                        assert_eq!(special(&text), special(first), "{text:?}");
                    } else {
                        assert_eq!(special(&text), 0, "{text:?} of {first:?} and {second:?}");
                    }
                    assert_eq!(
                        text.replace(SENTINEL, ""),
                        format!("{first}{second}").replace(SENTINEL, "")
                    );
                }
            }
        }
    }
}
