//! What a file says, made fit for a sentence about it.

use std::fmt::{self, Display, Write as _};

/// The most characters that are shown of what a file says.
const MAX_CHARS: usize = 300;

/// Returns `text` on one line and not too long: a file may be shown in a sentence, but not pour
/// itself out there, nor speak to the terminal.
pub(crate) fn brief(text: impl Display) -> String {
    let mut brief = Brief { text: String::new(), n_chars: 0 };
    // It fails only where it has enough.
    if write!(brief, "{text}").is_err() {
        brief.text.push('…');
    }
    brief.text
}

/// Returns what the tensor library says of a failure, without the calls that led to it, which it
/// appends where the environment asks for them.
pub(crate) fn of_tensors(error: &candle_core::Error) -> String {
    let text = error.to_string();
    let is_call = |line: &&str| line.trim_start().starts_with("0: ");
    let lines: Vec<&str> = text.lines().take_while(|line| !is_call(line)).collect();
    brief(lines.join("; "))
}

struct Brief {
    text: String,
    n_chars: usize,
}

impl fmt::Write for Brief {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            self.n_chars += 1;
            if self.n_chars > MAX_CHARS {
                return Err(fmt::Error);
            }
            if character.is_control() || is_direction(character) {
                self.text.extend(character.escape_default());
            } else {
                self.text.push(character);
            }
        }
        Ok(())
    }
}

/// Whether a character turns the direction in which the rest of a line is read.
fn is_direction(character: char) -> bool {
    matches!(character, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::brief;

    #[test]
    fn what_is_shown_is_one_short_line() {
        assert_eq!(brief("a \"name\", naïve"), "a \"name\", naïve");
        assert_eq!(brief("\u{1B}[2J\na\u{202E}b"), "\\u{1b}[2J\\na\\u{202e}b");
        assert_eq!(brief("x".repeat(300)), "x".repeat(300));
        assert_eq!(brief("é".repeat(1 << 20)), "é".repeat(300) + "…");
    }
}
