//! Which part of a message says what is to be found.

/// Quotation marks, in pairs. Single ones are left out: most of them are apostrophes.
const QUOTATION_MARKS: [(char, char); 5] =
    [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»'), ('「', '」')];

/// They end a question; in no other script is there a sign for it.
pub(crate) const QUESTION_MARKS: [char; 4] = ['?', '？', '؟', '՞'];

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
/// the answer at hand needs to know of it.
pub(crate) fn asked(message: &str) -> String {
    let asking = |sentence: &&str| is_question(sentence) || !quotations(sentence).is_empty();
    let asked: Vec<&str> = sentences(message).into_iter().filter(asking).collect();
    if asked.is_empty() { message.to_string() } else { asked.join(" ") }
}

/// The quotations that can be looked for alone.
fn quotations(message: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = message;
    while let Some((start, opening)) = rest.char_indices().find(|(_, c)| closing(*c).is_some()) {
        let inside = &rest[start + opening.len_utf8()..];
        let Some(end) = closing(opening).and_then(|closing| inside.find(closing)) else { break };
        found.push(inside[..end].trim());
        // The closing mark may be one that opens, so the search goes on behind it.
        rest = inside[end..].trim_start_matches(|c| Some(c) == closing(opening));
    }
    found.retain(|quotation| has_words(quotation));
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

fn without_introduction(sentence: &str) -> &str {
    let rest = sentence.rsplit_once(": ").map(|(_, rest)| rest);
    rest.filter(|rest| has_words(rest)).unwrap_or(sentence)
}

fn is_question(sentence: &str) -> bool {
    sentence.ends_with(QUESTION_MARKS)
}

/// The sentences of a message. What is as short as an abbreviation goes with what follows it.
fn sentences(message: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, mark) in message.char_indices() {
        let end = at + mark.len_utf8();
        let ends = QUESTION_MARKS.contains(&mark)
            || matches!(mark, '。' | '！' | '\n')
            || matches!(mark, '.' | '!') && message[end..].starts_with(char::is_whitespace);
        let sentence = message[start..end].trim();
        if ends && has_words(sentence) {
            found.push(sentence);
            start = end;
        }
    }
    found.push(message[start..].trim());
    found.retain(|sentence| !sentence.is_empty());
    found
}

fn has_words(text: &str) -> bool {
    // Scripts without spaces have words of a few characters each.
    let has_spaces = text.split_whitespace().nth(1).is_some();
    text.split_whitespace().count() >= WORDS_MIN
        || !has_spaces && text.chars().count() >= 2 * WORDS_MIN && !text.is_ascii()
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
        let said = "Read all of the manual. Now the question: where is the fuse of the pump? Be brief.";
        assert_eq!(asked(said), "Now the question: where is the fuse of the pump?");
        assert_eq!(asked("Tell me of the pump. Be brief."), "Tell me of the pump. Be brief.");
    }

    #[test]
    fn else_all_of_it_is() {
        assert_eq!(wanted("Tell me about the fuse."), "Tell me about the fuse.");
        assert_eq!(wanted("Why?"), "Why?");
        assert_eq!(wanted(""), "");
    }

    proptest! {
        #[test]
        fn nothing_is_made_up(message in "[a-c \"“”„«».?!:\n？。日本]{0,60}") {
            let wanted = wanted(&message);
            for word in wanted.split_whitespace() {
                prop_assert!(message.contains(word));
            }
        }
    }
}
