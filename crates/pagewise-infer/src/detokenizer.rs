//! Token ids to text while they are produced, on UTF-8 boundaries.

use crate::Tokenizer;

/// Turns tokens into text as they come.
///
/// Bytes that may still become a character are held back; bytes that cannot become `U+FFFD`. All
/// pieces together are [`Tokenizer::decode`] of all tokens.
#[derive(Debug, Default)]
pub struct Detokenizer {
    /// The start of a character: at most three bytes.
    pending: Vec<u8>,
}

impl Detokenizer {
    /// Returns the text that `id` completes; empty if it completes none.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        self.push_bytes(tokenizer.text_bytes(id))
    }

    /// Returns the text that `bytes` complete; empty if they complete none.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = after;
                    if let Some(invalid) = error.error_len() {
                        text.push(char::REPLACEMENT_CHARACTER);
                        rest = rest.get(invalid..).unwrap_or_default();
                        continue;
                    }
                }
            }
            break;
        }
        self.pending = rest.to_vec();
        text
    }

    /// Returns what is left when no more tokens come: `U+FFFD` for the start of a character.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_character_comes_whole() {
        let mut detokenizer = Detokenizer::default();
        let mut pieces: Vec<String> =
            "é😀".bytes().map(|byte| detokenizer.push_bytes(&[byte])).collect();
        pieces.push(detokenizer.push_bytes(&[0xE2, 0x82]));
        pieces.push(detokenizer.finish());
        pieces.push(detokenizer.finish());
        assert_eq!(pieces, ["", "é", "", "", "", "😀", "", "\u{FFFD}", ""]);
    }

    proptest! {
        #[test]
        fn pieces_join_to_the_whole(
            tokens in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..5),
                    any::<String>().prop_map(String::into_bytes),
                    any::<char>().prop_map(|c| c.to_string().into_bytes()[..1].to_vec()),
                ],
                0..20,
            )
        ) {
            let mut detokenizer = Detokenizer::default();
            let mut text: String =
                tokens.iter().map(|bytes| detokenizer.push_bytes(bytes)).collect();
            text.push_str(&detokenizer.finish());
            let whole = tokens.concat();
            prop_assert_eq!(text, String::from_utf8_lossy(&whole));
        }
    }
}
