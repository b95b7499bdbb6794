//! Turns what somebody typed into a full-text query that cannot be malformed.
//!
//! Every term is quoted, so nothing in the text is read as an operator; terms are joined by OR, so
//! that a long question finds what has some of its words. Identifiers (a UUID, an order number,
//! an address) are looked for whole.

use std::collections::HashSet;

/// The most terms of a query; a longer text is a document, and its first terms say what it is about.
const TERMS_MAX: usize = 64;

/// The least characters of an identifier that mixes letters and digits.
const MIXED_CHARS_MIN: usize = 4;

/// The least digits of an identifier of digits alone: shorter numbers are years and counts.
const DIGITS_MIN: usize = 6;

/// Words so common in English that they find everything; left out if anything else remains.
const STOP_WORDS: &str = "a about after again all also am an and any are as at be because been before being \
    but by can could d did do does doing don for from had has have having he her here hers him his how i if in \
    into is it its just let ll m me my myself no nor not of off on or our ours out over re s said say she should \
    so some such t tell than that the their theirs them then there these they this those to too up us ve very was \
    we were what when where which while who whom why will with would you your yours";

/// A query, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueryWords {
    /// For FTS5; `None` if there is no word in it.
    pub(crate) any: Option<String>,
    /// What must be found whole, in lower case.
    pub(crate) identifiers: Vec<String>,
}

impl QueryWords {
    /// Reads what somebody typed.
    pub(crate) fn read(text: &str) -> Self {
        let mut seen = HashSet::new();
        let mut words = Vec::new();
        let mut identifiers = Vec::new();
        // A query is a C string to the full-text index: a NUL would end it inside a term.
        for piece in text.split(|c: char| c.is_whitespace() || c.is_control()) {
            if words.len() + identifiers.len() >= TERMS_MAX {
                break;
            }
            let piece = piece.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
            if is_identifier(&piece) {
                if seen.insert(piece.clone()) {
                    identifiers.push(piece);
                }
                continue;
            }
            for word in piece.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
            {
                if seen.insert(word.to_string()) {
                    words.push(word.to_string());
                }
            }
        }
        let stop_words: HashSet<&str> = STOP_WORDS.split_whitespace().collect();
        let telling: Vec<&String> =
            words.iter().filter(|word| !stop_words.contains(word.as_str())).collect();
        let words = if telling.is_empty() && identifiers.is_empty() {
            words.iter().collect()
        } else {
            telling
        };
        let terms: Vec<String> =
            identifiers.iter().chain(words).take(TERMS_MAX).map(|term| quoted(term)).collect();
        Self { any: (!terms.is_empty()).then(|| terms.join(" OR ")), identifiers }
    }

    /// Returns a full-text query for one of the identifiers.
    pub(crate) fn for_identifier(identifier: &str) -> String {
        quoted(identifier)
    }
}

/// Returns the identifiers in a text as they are written there, each once: a UUID, an order number, an
/// address, but no word and no short number.
pub fn identifiers(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for piece in
        text.split(|c: char| c.is_whitespace() || c.is_control() || ",;=\"'()[]{}<>".contains(c))
    {
        let piece = piece.trim_matches(|c: char| !c.is_alphanumeric());
        if is_identifier(piece) && !found.iter().any(|other| other.eq_ignore_ascii_case(piece)) {
            found.push(piece.to_string());
        }
    }
    found
}

/// Whether `text` has `identifier`, which is in lower case, as a whole.
pub(crate) fn holds_identifier(text: &str, identifier: &str) -> bool {
    let text = text.to_lowercase();
    text.match_indices(identifier).any(|(at, found)| {
        let before = text[..at].chars().next_back();
        let after = text[at + found.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

/// A string of FTS5: a phrase of whatever words are in it.
fn quoted(term: &str) -> String {
    format!("\"{}\"", term.replace('"', "\"\""))
}

/// Whether it is a number with an ending, such as `14th` and `1980s`: a word like others, which many texts
/// have.
fn is_ordinal_or_decade(piece: &str) -> bool {
    let ending = piece.trim_start_matches(|c: char| c.is_ascii_digit());
    ending.len() < piece.len() && ["st", "nd", "rd", "th", "s"].contains(&ending)
}

fn is_identifier(piece: &str) -> bool {
    if is_ordinal_or_decade(piece) {
        return false;
    }
    let n_digits = piece.chars().filter(char::is_ascii_digit).count();
    let n_letters = piece.chars().filter(|c| c.is_alphabetic()).count();
    let is_mixed = n_digits > 0 && n_letters > 0 && n_digits + n_letters >= MIXED_CHARS_MIN;
    is_mixed || n_digits >= DIGITS_MIN || piece.contains(['@', '_'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, any: &str) {
        assert_eq!(QueryWords::read(text).any.unwrap_or_default(), any, "{text:?}");
    }

    #[test]
    fn words_are_quoted_and_joined() {
        check("Where does my sister live?", r#""sister" OR "live""#);
        check("what is it", r#""what" OR "is" OR "it""#);
        check(
            r#"" OR text:* NEAR(a b) -x ^y {z}"#,
            r#""text" OR "near" OR "b" OR "x" OR "y" OR "z""#,
        );
        check("don't Don't", r#""don" OR "t""#);
        check("Übung 東京", r#""übung" OR "東京""#);
        check("\0 \u{1f600} ?? --", "");
        check("", "");
        assert!(!format!("{:?}", QueryWords::read("a1\0b2c3").any).contains('\0'));
    }

    #[test]
    fn identifiers_stay_whole() {
        let uuid = "550e8400-E29B-41d4-a716-446655440000";
        let words = QueryWords::read(&format!("what is the value of {uuid}?"));
        assert_eq!(words.identifiers, [uuid.to_lowercase()]);
        assert_eq!(words.any.unwrap(), format!("\"{}\" OR \"value\"", uuid.to_lowercase()));
        for (text, expected) in [
            ("in 2019", false),
            ("A113", true),
            ("40", false),
            ("ana@example.org", true),
            ("+47 22 33", false),
            ("12345678", true),
            ("B7", false),
            ("14th", false),
            ("the 1980s", false),
            ("21ST", false),
            ("14thx", true),
            ("s1980", true),
            ("snake_case", true),
        ] {
            assert_eq!(!QueryWords::read(text).identifiers.is_empty(), expected, "{text}");
        }
    }

    #[test]
    fn an_identifier_is_found_only_whole() {
        assert!(holds_identifier("the key is A1-B2.", "a1-b2"));
        assert!(!holds_identifier("the key is A1-B23", "a1-b2"));
        assert!(!holds_identifier("the key is a1 b2", "a1-b2"));
    }

    #[test]
    fn a_long_text_is_bounded() {
        let text: String = (0..100_000).map(|n| format!("word{n} w{}x ", n % 7)).collect();
        assert!(QueryWords::read(&text).any.unwrap().matches(" OR ").count() < TERMS_MAX);
    }
}
