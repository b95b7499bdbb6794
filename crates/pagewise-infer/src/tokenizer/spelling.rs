//! The bytes that a token stands for, from the name that the vocabulary gives it.

/// Stands for a space in the names of a SentencePiece vocabulary.
pub(super) const SPACE_MARK: char = '▁';

/// How the names of a vocabulary are to be read.
#[derive(Debug)]
pub(super) enum Spelling {
    /// Each character stands for a byte.
    ByteLevel(ByteOf),
    /// Each character stands for itself, but [`SPACE_MARK`] for a space; `<0x0A>` is a byte.
    Marked,
}

impl Spelling {
    pub(super) fn byte_level() -> Self {
        Self::ByteLevel(ByteOf::new())
    }

    /// Appends the bytes of a token of plain text.
    pub(super) fn decode(&self, name: &str, bytes: &mut Vec<u8>) {
        match self {
            Self::ByteLevel(byte_of) => byte_of.decode(name, bytes),
            Self::Marked => bytes.extend_from_slice(unmarked(name).as_bytes()),
        }
    }

    /// Appends the bytes of a token whose name is the text it was made from.
    pub(super) fn decode_user_defined(&self, name: &str, bytes: &mut Vec<u8>) {
        match self {
            Self::ByteLevel(_) => bytes.extend_from_slice(name.as_bytes()),
            Self::Marked => bytes.extend_from_slice(unmarked(name).as_bytes()),
        }
    }
}

fn unmarked(name: &str) -> String {
    name.replace(SPACE_MARK, " ")
}

/// Returns the byte that a token with a name like `<0x0A>` stands for.
pub(super) fn byte_of_name(name: &str) -> Option<u8> {
    let digits = name.strip_prefix("<0x")?.strip_suffix('>')?;
    let proper = digits.len() == 2 && !digits.bytes().any(|digit| digit.is_ascii_lowercase());
    u8::from_str_radix(digits, 16).ok().filter(|_| proper && !digits.starts_with('+'))
}

/// The byte each character of a byte-level vocabulary stands for.
#[derive(Debug)]
pub(super) struct ByteOf(pub(super) Vec<Option<u8>>);

impl ByteOf {
    /// Printable characters of Latin-1 stand for themselves; the other 68 bytes, in order, are
    /// `U+0100` and following.
    pub(super) fn new() -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_capital_digits_name_a_byte() {
        assert_eq!(byte_of_name("<0x0A>"), Some(10));
        assert_eq!(byte_of_name("<0xFF>"), Some(255));
        for name in ["<0xff>", "<0x+A>", "<0x0A", "0x0A", "<0x00A>", "<0x>", "", "<0xé>"] {
            assert_eq!(byte_of_name(name), None, "{name}");
        }
    }
}
