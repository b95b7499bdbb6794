//! Porter's stemmer for English (Program 14, 1980), with the two corrections of his own program: what some
//! public evaluations compare words by. Where [`stem`](super::words::stem) decides which word was asked
//! for, this one only makes figures comparable.

/// Suffixes that step 2 replaces behind a stem with a vowel and a consonant in it.
const STEP_2: &[(&str, &str)] = &[
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("logi", "log"),
];

const STEP_3: &[(&str, &str)] = &[
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
];

/// Suffixes that step 4 takes off a stem of two or more measures, the longer before those they end in.
const STEP_4: &[&str] = &[
    "ement", "ance", "ence", "able", "ible", "ment", "ant", "ent", "ion", "ism", "ate", "iti",
    "ous", "ive", "ize", "al", "er", "ic", "ou",
];

/// Returns the stem of a word in lower case. A word with letters beyond `a` to `z`, or of one or two
/// letters, is its own stem.
pub(crate) fn porter_stem(word: &str) -> String {
    if word.len() <= 2 || !word.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return word.into();
    }
    let mut word = word.to_string();
    plural(&mut word);
    past(&mut word);
    if let Some(stem) = word.strip_suffix('y')
        && has_vowel(stem)
    {
        word = format!("{stem}i");
    }
    replace(&mut word, STEP_2);
    replace(&mut word, STEP_3);
    take_off(&mut word);
    final_e(&mut word);
    word
}

/// Step 1a.
fn plural(word: &mut String) {
    for (ending, instead) in [("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")] {
        if let Some(stem) = word.strip_suffix(ending) {
            *word = format!("{stem}{instead}");
            return;
        }
    }
}

/// Step 1b.
fn past(word: &mut String) {
    if let Some(stem) = word.strip_suffix("eed") {
        if measure(stem) > 0 {
            word.pop();
        }
        return;
    }
    let Some(stem) = ["ed", "ing"].iter().find_map(|ending| word.strip_suffix(ending)) else {
        return;
    };
    if !has_vowel(stem) {
        return;
    }
    let mut stem = stem.to_string();
    if ["at", "bl", "iz"].iter().any(|ending| stem.ends_with(ending)) {
        stem.push('e');
    } else if ends_double(&stem) && !stem.ends_with(['l', 's', 'z']) {
        stem.pop();
    } else if measure(&stem) == 1 && ends_short(&stem) {
        stem.push('e');
    }
    *word = stem;
}

/// Steps 2 and 3: the first suffix that the word has is replaced, if enough stands before it.
fn replace(word: &mut String, suffixes: &[(&str, &str)]) {
    // The longest one that fits is the one, whatever comes of it.
    let fits = suffixes.iter().filter(|(ending, _)| word.ends_with(ending));
    let Some((ending, instead)) = fits.max_by_key(|(ending, _)| ending.len()) else { return };
    let stem = &word[..word.len() - ending.len()];
    if measure(stem) > 0 {
        *word = format!("{stem}{instead}");
    }
}

/// Step 4.
fn take_off(word: &mut String) {
    let Some(ending) = STEP_4.iter().find(|ending| word.ends_with(**ending)) else { return };
    let stem = &word[..word.len() - ending.len()];
    if measure(stem) > 1 && (*ending != "ion" || stem.ends_with(['s', 't'])) {
        word.truncate(stem.len());
    }
}

/// Step 5.
fn final_e(word: &mut String) {
    if let Some(stem) = word.strip_suffix('e')
        && (measure(stem) > 1 || measure(stem) == 1 && !ends_short(stem))
    {
        word.pop();
    }
    if word.ends_with("ll") && measure(word) > 1 {
        word.pop();
    }
}

/// Whether each letter is a consonant: `y` is one at the beginning and behind a vowel.
fn consonants(word: &str) -> Vec<bool> {
    let mut consonants: Vec<bool> = Vec::with_capacity(word.len());
    for letter in word.chars() {
        let before = consonants.last().copied();
        consonants.push(match letter {
            'a' | 'e' | 'i' | 'o' | 'u' => false,
            'y' => before != Some(true),
            _ => true,
        });
    }
    consonants
}

/// Porter's `m`: how often a vowel is followed by a consonant.
fn measure(stem: &str) -> usize {
    consonants(stem).windows(2).filter(|pair| !pair[0] && pair[1]).count()
}

fn has_vowel(stem: &str) -> bool {
    consonants(stem).contains(&false)
}

fn ends_double(stem: &str) -> bool {
    let letters = stem.as_bytes();
    let n = letters.len();
    n >= 2 && letters[n - 1] == letters[n - 2] && consonants(stem)[n - 1]
}

/// Ends in consonant, vowel, consonant, the last of them not `w`, `x` or `y`.
fn ends_short(stem: &str) -> bool {
    let consonants = consonants(stem);
    consonants.ends_with(&[true, false, true]) && !stem.ends_with(['w', 'x', 'y'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_stemmed_as_published() {
        // The examples of the paper, step by step.
        for (word, expected) in [
            ("caresses", "caress"),
            ("ponies", "poni"),
            ("cats", "cat"),
            ("feed", "feed"),
            ("agreed", "agre"),
            ("plastered", "plaster"),
            ("bled", "bled"),
            ("motoring", "motor"),
            ("sing", "sing"),
            ("conflated", "conflat"),
            ("sized", "size"),
            ("hopping", "hop"),
            ("falling", "fall"),
            ("failing", "fail"),
            ("filing", "file"),
            ("happy", "happi"),
            ("sky", "sky"),
            ("relational", "relat"),
            ("conditional", "condit"),
            ("rational", "ration"),
            ("digitizer", "digit"),
            ("vietnamization", "vietnam"),
            ("sensibiliti", "sensibl"),
            ("triplicate", "triplic"),
            ("formative", "form"),
            ("goodness", "good"),
            ("revival", "reviv"),
            ("replacement", "replac"),
            ("adoption", "adopt"),
            ("probate", "probat"),
            ("rate", "rate"),
            ("controll", "control"),
            ("roll", "roll"),
            ("generalizations", "gener"),
            ("oscillators", "oscil"),
            ("is", "is"),
            ("2023", "2023"),
            ("café", "café"),
        ] {
            assert_eq!(porter_stem(word), expected, "{word}");
        }
    }
}
