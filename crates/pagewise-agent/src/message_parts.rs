//! Which parts of a message say what is to be found, what is asked, and what is told.

use std::ops::Range;

use pagewise_core::Role;

/// Quotation marks, in pairs. Single ones are left out: most of them are apostrophes.
const QUOTATION_MARKS: [(char, char); 5] =
    [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»'), ('「', '」')];

/// They end a question in most scripts.
const QUESTION_MARKS: [char; 4] = ['?', '？', '؟', '՞'];

/// The least words of a quotation or of a question that can be looked for alone; a shorter one needs the
/// words around it.
const WORDS_MIN: usize = 4;

/// Returns the part of a message that says what is wanted: what it quotes, else its questions, else all of
/// it.
///
/// The rest says how to answer, or why: in a search, such words find what has nothing to do with it.
pub(crate) fn wanted(message: &str) -> String {
    let whole = |parts: Vec<&str>| (!parts.is_empty()).then(|| parts.join(" "));
    whole(quotations(message))
        .or_else(|| whole(questions(message)))
        .unwrap_or_else(|| message.to_string())
}

/// Returns the sentences of a message that ask, or quote, or all of it if none does: what somebody who has
/// the answer at hand needs to know of it. What only announces a question is left out; a list behind it, from A on, of
/// what may be the answer, is part of it.
pub(crate) fn asked(message: &str) -> String {
    let mut asked = String::new();
    for Part { sentence, kind } in parts(message) {
        let (joiner, text) = match kind {
            Kind::Asks => (" ", without_announcement(sentence)),
            Kind::Choice => ("\n", sentence),
            Kind::Tells => continue,
        };
        if !asked.is_empty() {
            asked.push_str(joiner);
        }
        asked.push_str(text);
    }
    if asked.is_empty() { message.to_string() } else { asked }
}

/// Returns the sentences of a message that neither ask nor quote; `None` if that is all of them, or none.
pub(crate) fn told(message: &str) -> Option<String> {
    let parts = parts(message);
    let telling = parts.iter().filter(|part| part.kind == Kind::Tells);
    let told: Vec<&str> = telling.map(|part| part.sentence).collect();
    let is_mixed = !told.is_empty() && told.len() < parts.len();
    is_mixed.then(|| told.join(" "))
}

/// A sentence of a message, or the list of what may be the answer.
struct Part<'a> {
    sentence: &'a str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It asks, or quotes what is asked about.
    Asks,
    /// It lists what may be the answer.
    Choice,
    Tells,
}

fn parts(message: &str) -> Vec<Part<'_>> {
    let of_sentence = |sentence| {
        let kind = if asks(sentence) { Kind::Asks } else { Kind::Tells };
        Part { sentence, kind }
    };
    let all = |text| -> Vec<Part<'_>> { sentences(text).into_iter().map(of_sentence).collect() };
    let list = lettered_list(message).filter(|list| has_question_mark(&message[..list.start]));
    let Some(list) = list else { return all(message) };
    let mut parts = all(&message[..list.start]);
    parts.push(Part { sentence: message[list.clone()].trim(), kind: Kind::Choice });
    parts.extend(all(&message[list.end..]));
    parts
}

/// Where a message has lines that begin with "(A) ", "b) " or "C. ", one letter after the other from the first on;
/// `None` if there are fewer than two, or one of them asks.
fn lettered_list(message: &str) -> Option<Range<usize>> {
    let mut letters = ('a'..='z').peekable();
    let mut list: Option<Range<usize>> = None;
    let (mut from, mut n_items) = (0, 0);
    for line in message.split_inclusive('\n') {
        let (start, end) = (from, from + line.len());
        from = end;
        let line = line.trim();
        if letter_before(line).is_some_and(|letter| letters.next_if_eq(&letter).is_some()) {
            if is_question(line) {
                return None;
            }
            list = Some(list.map_or(start, |list| list.start)..end);
            n_items += 1;
        } else if list.is_some() && !line.is_empty() {
            break;
        }
    }
    list.filter(|_| n_items > 1)
}

/// The letter that a line is labelled with, in lower case.
fn letter_before(line: &str) -> Option<char> {
    let (label, _) = line.split_once(char::is_whitespace)?;
    let label = match label.strip_prefix('(') {
        Some(inside) => inside.strip_suffix(')')?,
        None => label.strip_suffix([')', '.'])?,
    };
    let mut letters = label.chars();
    let letter = letters.next().filter(char::is_ascii_alphabetic)?;
    letters.next().is_none().then_some(letter.to_ascii_lowercase())
}

/// Whether a message has the one sign of a question that needs no language.
pub(crate) fn has_question_mark(message: &str) -> bool {
    message.contains(QUESTION_MARKS)
}

/// Returns who has said what a message asks about, if it says so: the user with "I told you", the agent with "did you
/// suggest". In other languages it is not known.
pub(crate) fn said_by(message: &str) -> Option<Role> {
    const USER: [&str; 3] = ["i", "i've", "i'd"];
    const AGENT: [&str; 3] = ["you", "you've", "you'd"];
    const BETWEEN: [&str; 7] = ["once", "already", "ever", "just", "have", "had", "previously"];
    const SAID: [&str; 11] = [
        "told",
        "said",
        "mentioned",
        "asked",
        "recommended",
        "suggested",
        "advised",
        "explained",
        "promised",
        "described",
        "wrote",
    ];
    const SAY: [&str; 11] = [
        "tell",
        "say",
        "mention",
        "ask",
        "recommend",
        "suggest",
        "advise",
        "explain",
        "promise",
        "describe",
        "write",
    ];
    let words = words_outside_quotations(message);
    let has_said = |subjects: &[&str]| {
        words.iter().enumerate().any(|(at, word)| {
            let behind = words[at + 1..].iter().map(String::as_str);
            let verb = behind.take(3).find(|word| !BETWEEN.contains(word));
            let is_past = verb.is_some_and(|verb| SAID.contains(&verb));
            // "Did you say", but not "can you tell".
            let is_asked = at > 0 && words[at - 1] == "did";
            let is_said = is_past || (is_asked && verb.is_some_and(|verb| SAY.contains(&verb)));
            subjects.contains(&word.as_str()) && is_said
        })
    };
    match (has_said(&USER), has_said(&AGENT)) {
        (true, false) => Some(Role::User),
        (false, true) => Some(Role::Assistant),
        _ => None,
    }
}

fn words_outside_quotations(message: &str) -> Vec<String> {
    let mut outside = String::new();
    let mut from = 0;
    for inside in quoted(message) {
        outside.push_str(&message[from..inside.start]);
        from = inside.end;
    }
    outside.push_str(&message[from..]);
    let outside = outside.to_lowercase().replace('\u{2019}', "'");
    let words = outside.split(|c: char| !c.is_alphanumeric() && c != '\'');
    words.filter(|word| !word.is_empty()).map(str::to_string).collect()
}

/// The quotations that can be looked for alone.
fn quotations(message: &str) -> Vec<&str> {
    let quotations = quoted(message).into_iter().map(|inside| message[inside].trim());
    quotations.filter(|quotation| has_words(quotation)).collect()
}

/// Where a message quotes, from behind the opening mark to the closing one.
fn quoted(message: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    for (at, mark) in message.char_indices() {
        let inside = at + mark.len_utf8();
        let Some(closing) = closing(mark).filter(|_| at >= from) else { continue };
        if let Some(length) = message[inside..].find(closing) {
            let end = inside + length;
            found.push(inside..end);
            from = end + closing.len_utf8();
        }
    }
    found
}

fn closing(opening: char) -> Option<char> {
    QUOTATION_MARKS.iter().find(|(open, _)| *open == opening).map(|(_, close)| *close)
}

/// The questions of a message, without what introduces them up to a colon.
fn questions(message: &str) -> Vec<&str> {
    let questions = sentences(message).into_iter().filter(|sentence| is_question(sentence));
    questions.map(without_introduction).collect()
}

/// Words for what follows a colon, by which it is known that what stands before says nothing else.
const ANNOUNCED: [&str; 4] = ["question", "task", "request", "query"];

fn without_announcement(sentence: &str) -> &str {
    let rest = without_introduction(sentence);
    let introduction = sentence[..sentence.len() - rest.len()].to_lowercase();
    let mut words = introduction.split(|c: char| !c.is_alphanumeric());
    let is_announced =
        quotations(sentence).is_empty() && words.any(|word| ANNOUNCED.contains(&word));
    if is_announced { rest } else { sentence }
}

fn without_introduction(sentence: &str) -> &str {
    let rest = sentence.rsplit_once(": ").map(|(_, rest)| rest);
    rest.filter(|rest| has_words(rest)).unwrap_or(sentence)
}

/// Whether a sentence asks, or quotes what is asked about.
fn asks(sentence: &str) -> bool {
    is_question(sentence) || !quotations(sentence).is_empty()
}

fn is_question(sentence: &str) -> bool {
    sentence.ends_with(QUESTION_MARKS)
}

/// The sentences of a message, but those that it quotes. One that is too short to be looked for alone goes with
/// the next, and a short question at the end with what it follows.
fn sentences(message: &str) -> Vec<&str> {
    let quoted = quoted(message);
    let mut ends: Vec<usize> = Vec::new();
    for (at, mark) in message.char_indices() {
        let end = at + mark.len_utf8();
        let ends_here = QUESTION_MARKS.contains(&mark)
            || matches!(mark, '。' | '！' | '\n')
            || matches!(mark, '.' | '!') && message[end..].starts_with(char::is_whitespace);
        let is_quoted = quoted.iter().any(|inside| inside.contains(&at));
        if ends_here && !is_quoted && has_words(&message[ends.last().copied().unwrap_or(0)..end]) {
            ends.push(end);
        }
    }
    let rest = message[ends.last().copied().unwrap_or(0)..].trim();
    if is_question(rest) && !has_words(rest) {
        ends.pop();
    }
    ends.push(message.len());
    let starts = [0].into_iter().chain(ends.iter().copied());
    let sentences = starts.zip(&ends).map(|(start, end)| message[start..*end].trim());
    sentences.filter(|sentence| !sentence.is_empty()).collect()
}

/// Whether a character is of a script without spaces.
pub(crate) fn is_unspaced(c: char) -> bool {
    ('\u{e00}'..'\u{1100}').contains(&c) || c >= '\u{2e80}'
}

/// Whether a text has enough words to be looked for alone.
fn has_words(text: &str) -> bool {
    // In scripts without spaces, two characters are about a word.
    let n_words = |piece: &str| (piece.chars().filter(|c| is_unspaced(*c)).count() / 2).max(1);
    text.split_whitespace().map(n_words).sum::<usize>() >= WORDS_MIN
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_quoted_is_wanted() {
        let said = "I told you: \"we moved to the coast\". Which month was that?";
        assert_eq!(wanted(said), "we moved to the coast");
        assert_eq!(
            wanted("Wer sagte „das Boot ist schon verkauft“?"),
            "das Boot ist schon verkauft"
        );
        assert_eq!(wanted("Qui a dit « le bateau est vendu » hier ?"), "le bateau est vendu");
        assert_eq!(wanted(r#""a b c d" and "e f g h""#), "a b c d e f g h");
    }

    #[test]
    fn a_short_quotation_needs_the_words_around_it() {
        let asked = r#"When did I read "Moby Dick" for the first time?"#;
        assert_eq!(wanted(asked), asked);
        assert_eq!(wanted("a 6\" nail, please"), "a 6\" nail, please");
    }

    #[test]
    fn else_questions_are_wanted() {
        let asked =
            "Look in the manual. Answer in one line! The question: where is the fuse of the pump?";
        assert_eq!(wanted(asked), "where is the fuse of the pump?");
        assert_eq!(wanted("It rained all week. Who founded St. Louis?"), "Who founded St. Louis?");
        assert_eq!(wanted("明日は休みです。私の妹の名前は何ですか？"), "私の妹の名前は何ですか？");
    }

    #[test]
    fn what_asks_or_quotes_is_asked() {
        let said = "I told you: \"we moved to the coast\". Which month was that? Answer in a word.";
        let asking = "I told you: \"we moved to the coast\". Which month was that?";
        assert_eq!(asked(said), asking);
        let said =
            "Read all of the manual. Now the question: where is the fuse of the pump? Be brief.";
        assert_eq!(asked(said), "where is the fuse of the pump?");
        for whole in [
            "Which did I choose: tea with milk or plain coffee?",
            "For the trip to Oslo: which hotel did I book?",
        ] {
            assert_eq!(asked(whole), whole);
        }
        assert_eq!(asked("Tell me of the pump. Be brief."), "Tell me of the pump. Be brief.");
    }

    #[test]
    fn who_said_it_is_known_if_the_message_says_so() {
        for said in [
            "I once told you this: \"you said it rains.\" Which month was that?",
            "What did I tell you about my sister?",
            "Which hotel was it that I’ve already mentioned?",
            "I had asked you about a pump.",
        ] {
            assert_eq!(said_by(said), Some(Role::User), "{said}");
        }
        for said in ["What did you suggest for the hallway?", "You told me of a book. Which one?"] {
            assert_eq!(said_by(said), Some(Role::Assistant), "{said}");
        }
        for said in [
            "Can you tell me where I parked?",
            "I was told that the shop is closed. Is it?",
            "You said that I told you. What was it?",
            "What do you recommend?",
            "Was hast du mir gesagt?",
            "She told me and I forgot.",
        ] {
            assert_eq!(said_by(said), None, "{said}");
        }
    }

    #[test]
    fn a_list_behind_a_question_is_asked_with_it() {
        let list = "Where did I buy the blue tent?\n(A) At the market. It was cheap.\n (B) From Tom\n\n (C) In Ghent";
        let said = format!("Read all of it.\n{list}\nAnswer with the letter alone.");
        assert_eq!(asked(&said), list);
        assert_eq!(told(&said).as_deref(), Some("Read all of it. Answer with the letter alone."));
        assert_eq!(wanted(list), "Where did I buy the blue tent?");
        assert_eq!(told(list), None);
        let said = "Which of them did I choose?\na. tea\nb. coffee\nI live in Ghent now.";
        assert_eq!(asked(said), "Which of them did I choose?\na. tea\nb. coffee");
        assert_eq!(told(said).as_deref(), Some("I live in Ghent now."));
    }

    #[test]
    fn a_list_of_something_else_is_told() {
        for rest in [
            "(I never eat any fish.)",
            "(A doctor told me to eat less.)",
            "- I am allergic to nuts.\n- My dog is called Rex.",
            "24. Dezember ist mein Geburtstag.",
            "A. Smith has been my doctor for years.",
            "1. I am allergic to nuts.\n2. My dog is called Rex.",
            "B. My dog is called Rex.\nC. My cat is called Tom.",
        ] {
            let said = format!("Which dish would suit me best?\n{rest}");
            assert_eq!(asked(&said), "Which dish would suit me best?", "{rest}");
            assert!(told(&said).is_some(), "{rest}");
        }
        // Two questions, and what stands before the first one.
        let said = "(a) Which bus goes there now?\n(b) Which dish would suit me?";
        assert_eq!(told(said), None);
        let said = "A. My dog is called Rex.\nB. My cat is called Tom.\nWhich dish would suit me?";
        assert_eq!(asked(said), "Which dish would suit me?");
    }

    #[test]
    fn what_neither_asks_nor_quotes_is_told() {
        let said = "My aunt moved to Elm Street. Which bus goes there now? I never take a taxi.";
        let told_of_it = "My aunt moved to Elm Street. I never take a taxi.";
        assert_eq!(told(said).as_deref(), Some(told_of_it));
        assert_eq!(told("My aunt moved to Elm Street."), None);
        assert_eq!(told("Which bus goes there now?"), None);
        let said = "I told you: \"we moved to the coast\". It rained all that week.";
        assert_eq!(told(said).as_deref(), Some("It rained all that week."));
    }

    #[test]
    fn question_marks_are_of_any_script() {
        assert!(has_question_mark("¿Dónde?") && has_question_mark("どこですか？"));
        assert!(!has_question_mark("Fine."));
    }

    #[test]
    fn else_all_of_it_is() {
        assert_eq!(wanted("Tell me about the fuse."), "Tell me about the fuse.");
        assert_eq!(wanted("Why?"), "Why?");
        assert_eq!(wanted("Which city is it??"), "Which city is it??");
        assert_eq!(wanted(""), "");
    }

    #[test]
    fn a_short_question_needs_what_stands_before_it() {
        let said = "My sister moved to a new town last year. Which one?";
        assert_eq!((wanted(said).as_str(), asked(said).as_str()), (said, said));
    }

    #[test]
    fn a_quotation_is_not_cut() {
        let said = "It rained all week. Who said \"I sold it. It was old.\" to me?";
        assert_eq!(wanted(said), "I sold it. It was old.");
        assert_eq!(asked(said), "Who said \"I sold it. It was old.\" to me?");
    }

    proptest! {
        #[test]
        fn something_is_wanted_that_the_message_says(message in "[a-c \"“”„«».?!:\n？。日本]{0,60}") {
            let told = told(&message);
            for part in [wanted(&message), asked(&message)] {
                prop_assert!(has_words(&part) || part.trim() == message.trim(), "{:?}", part);
            }
            for part in [Some(wanted(&message)), Some(asked(&message)), told].into_iter().flatten() {
                for word in part.split_whitespace() {
                    prop_assert!(message.contains(word));
                }
            }
        }
    }
}
