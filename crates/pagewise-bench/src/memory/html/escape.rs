//! Text from anywhere as text of a page: what a model wrote may be anything.

use std::fmt::Write;

/// The most of a text that is shown, in characters.
const SHOWN_CHARS: usize = 4_000;

/// Writes a text so that it is only text, in an element and in a quoted attribute.
///
/// What a page may not hold, or what would turn the direction of the text around it, is written as an escape.
pub(super) fn text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            c if is_not_shown(c) => {
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// The same for a text that may be long: its beginning, and how much is left out.
pub(super) fn long_text(long: &str) -> String {
    match long.char_indices().nth(SHOWN_CHARS) {
        None => text(long),
        Some((at, _)) => {
            let n_left_out = long[at..].chars().count();
            format!("{}… [{n_left_out} more characters]", text(&long[..at]))
        }
    }
}

/// Control characters, marks that override the direction, and the two code points that are none.
fn is_not_shown(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{FFFE}' | '\u{FFFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_the_element_or_the_attribute() {
        assert_eq!(
            text("</script><a href='x' onclick=\"y\">&amp;"),
            "&lt;/script&gt;&lt;a href=&#39;x&#39; onclick=&quot;y&quot;&gt;&amp;amp;"
        );
        assert_eq!(text("a\u{0}b\u{1b}[2Jc\u{202e}d\ne"), "a\\u{0}b\\u{1b}[2Jc\\u{202e}d\ne");
        assert_eq!(text("naïve – „日本“"), "naïve – „日本“");
    }

    #[test]
    fn a_long_text_says_what_is_left_out() {
        let long = "<".repeat(SHOWN_CHARS + 7);
        let shown = long_text(&long);
        assert!(shown.ends_with("&lt;… [7 more characters]"), "{}", &shown[shown.len() - 40..]);
        assert_eq!(long_text("short"), "short");
    }
}
