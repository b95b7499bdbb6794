//! Texts made comparable: lower case, SQuAD's normal form, words and their stems.

/// Returns a text as SQuAD's evaluation compares it: lower case, no punctuation, no articles, single
/// spaces.
///
/// Punctuation is what is neither a letter, a digit nor white space; SQuAD removes that of ASCII only,
/// which leaves typographic quotes.
pub(crate) fn squad_normal(text: &str) -> String {
    let letters: String =
        text.to_lowercase().chars().filter(|c| c.is_alphanumeric() || c.is_whitespace()).collect();
    let words = letters.split_whitespace().filter(|word| !["a", "an", "the"].contains(word));
    words.collect::<Vec<_>>().join(" ")
}

/// Returns a text in lower case with single spaces and one kind each of hyphen, apostrophe and quote, as keyboards have
/// them: what containment is tested on.
pub(crate) fn folded(text: &str) -> String {
    let plain = |c: char| match c {
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{2018}' | '\u{2019}' => '\'',
        '\u{201c}' | '\u{201d}' => '"',
        _ => c,
    };
    let text: String = text.to_lowercase().chars().map(plain).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns a text as the Berkeley leaderboard's memory questions compare it: lower case, some punctuation
/// deleted, one kind of quote.
fn bfcl_normal(text: &str) -> String {
    let letters = text.chars().filter(|c| !",./-_*^()".contains(*c));
    letters.collect::<String>().to_lowercase().replace('\'', "\"")
}

/// Whether `phrase` stands in `text` as whole words, both in that form.
pub(crate) fn holds_phrase(text: &str, phrase: &str) -> bool {
    let (text, phrase) = (bfcl_normal(text), bfcl_normal(phrase));
    // As the boundaries of a regular expression: between a character of a word and another one.
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let is_boundary =
        |at: usize| is_word(text[..at].chars().next_back()) != is_word(text[at..].chars().next());
    !phrase.trim().is_empty()
        && text
            .match_indices(&phrase)
            .any(|(at, found)| is_boundary(at) && is_boundary(at + found.len()))
}

/// Returns the words of a text in lower case; an apostrophe ends a word.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_string)
        .collect()
}

/// The least letters that a stem keeps.
const STEM_CHARS_MIN: usize = 3;

/// Endings of English words, the longer before the shorter that it ends in.
const ENDINGS: &[&str] = &[
    "ations", "ation", "ingly", "edly", "ings", "ing", "ies", "ers", "ed", "er", "es", "ly", "s",
    "y", "e",
];

/// Returns what other forms of an English word have in common, in lower case: `painting`, `painted` and
/// `paints` all give `paint`.
///
/// One ending is taken off, and a doubled consonant in front of it halved (`running`, `run`). It is
/// coarse on purpose: it decides whether a reply that uses another form of the word is right, and the
/// word was chosen because hardly any other is like it.
pub(crate) fn stem(word: &str) -> String {
    let word = word.to_lowercase();
    let cut = ENDINGS.iter().find_map(|ending| {
        let rest = word.strip_suffix(ending)?;
        (rest.chars().count() >= STEM_CHARS_MIN).then_some((rest, *ending))
    });
    let Some((rest, ending)) = cut else { return word };
    let mut stem: Vec<char> = rest.chars().collect();
    let is_doubled = stem.len() > STEM_CHARS_MIN
        && stem[stem.len() - 1] == stem[stem.len() - 2]
        && !"aeiousl".contains(stem[stem.len() - 1]);
    if is_doubled && !matches!(ending, "s" | "y" | "e") {
        stem.pop();
    }
    stem.into_iter().collect()
}

/// Words so common in English that they tell nothing.
const COMMON: &str = "a about after all also am an and any are as at be because been before but by can could \
    did do does don don't for from get go going got had has have he her here him his how i if in into is it its \
    just know like likes lot love loves me more most my never no not now of off often on one only or our out \
    over really she so some still than that the their them then there they this to too two up us used using \
    usually very want wants was we well were what when where which while who why will with work would you your \
    s t m re ve ll d";

/// Whether a word, in lower case, tells something.
pub(crate) fn is_telling(word: &str) -> bool {
    word.chars().count() >= 2 && !COMMON.split_whitespace().any(|common| common == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squad_leaves_out_case_punctuation_and_articles() {
        assert_eq!(squad_normal("  The U.S.A.'s \n“Anthem”, a song!"), "usas anthem song");
        assert_eq!(squad_normal("An answer: the theatre"), "answer theatre");
        assert_eq!(squad_normal("?!"), "");
    }

    #[test]
    fn a_phrase_is_held_as_whole_words() {
        for (text, phrase) in [
            ("It is Type-2 Diabetes.", "type2 diabetes"),
            ("At 8:00 a.m., I think", "8:00 AM"),
            ("You have 1,250 euros", "1250"),
            ("(seventeen)", "Seventeen"),
            ("Zwölf Äpfel", "äpfel"),
        ] {
            assert!(holds_phrase(text, phrase), "{text}: {phrase}");
        }
        for (text, phrase) in
            [("2010", "10"), ("a walker", "walk"), ("35th", "35"), ("x", " "), ("", "x")]
        {
            assert!(!holds_phrase(text, phrase), "{text}: {phrase}");
        }
        // A quote at the end is no character of a word, so no boundary stands behind it.
        assert!(!holds_phrase("it is 'so'", "'so'"));
    }

    #[test]
    fn forms_of_a_word_have_one_stem() {
        for forms in [
            &["paint", "paints", "painting", "painted", "painter"][..],
            &["run", "running", "runs"],
            &["baby", "babies"],
            &["hike", "hiking", "hikes", "hiked"],
            &["dance", "dancing", "dancers"],
            &["Jeep", "jeeps"],
        ] {
            let stems: Vec<String> = forms.iter().map(|form| stem(form)).collect();
            assert!(stems.iter().all(|stem| *stem == stems[0]), "{forms:?}: {stems:?}");
        }
        for (a, b) in [("cello", "cellar"), ("house", "horse"), ("bass", "basset"), ("red", "reed")]
        {
            assert_ne!(stem(a), stem(b), "{a} {b}");
        }
        assert_eq!(stem("is"), "is");
    }
}
