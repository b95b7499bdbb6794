//! Multiple choice: which of its options a reply names.
//!
//! An option is a text behind its letter, `(B) He left`. A reply names it by its letter, or, if it has no letter of
//! any option, by its text in whole words. That a letter is meant must show in how it stands there: in parentheses;
//! alone on a line, or at the beginning of one with a mark behind it; or after a word that announces it. So `A man
//! left` names nothing, and `Plan B failed` neither. Who only rules an option out names all the others.
//!
//! It never guesses: a reply that names two options is as wrong as one that names none.

use std::collections::BTreeSet;
use std::ops::Range;

use super::case::Gold;
use super::words::is_telling;

/// The most options of a question: up to H, so that no letter but the first is a word.
const OPTIONS_MAX: usize = 8;

/// The letter that is a word as well.
const ARTICLE: char = 'A';

/// Words behind which a letter is one of an option's, whatever follows.
const NAMES: [&str; 4] = ["option", "choice", "letter", "options"];

/// Words behind which it is, unless it is an article.
const ANNOUNCEMENTS: [&str; 23] = [
    "answer", "answer's", "is", "it's", "that's", "be", "choose", "chose", "pick", "select", "say",
    "think", "believe", "guess", "that", "either", "both", "not", "but", "isn't", "maybe",
    "perhaps", "probably",
];

/// Words that no noun begins with: a letter before them is no article.
const NO_NOUNS: [&str; 6] = ["is", "isn't", "and", "or", "because", "since"];

/// Words that rule out what follows.
const NEGATIONS: [&str; 6] = ["not", "never", "neither", "nor", "except", "cannot"];

/// Words that may stand between a negation and what it rules out.
const FILLERS: [&str; 8] = ["be", "is", "the", "answer", "option", "choice", "letter", "either"];

/// Words that, behind a letter and `is`, rule it out.
const WRONG: [&str; 5] = ["not", "wrong", "incorrect", "false", "never"];

/// An option of a question: its letter and its text; `None` if it does not begin with a letter in parentheses.
pub(crate) fn option(text: &str) -> Option<(char, &str)> {
    let (letter, text) = text.trim_start().strip_prefix('(')?.split_once(')')?;
    let mut chars = letter.chars();
    match (chars.next(), chars.next()) {
        (Some(letter), None) if is_letter(letter) => Some((letter, text.trim())),
        _ => None,
    }
}

/// Cuts a question into itself and its options, each on lines of its own, from A on. `None` if it has not at
/// least two.
pub(crate) fn cut(question: &str) -> Option<(String, Vec<String>)> {
    let mut asked = String::new();
    let mut options: Vec<String> = Vec::new();
    for line in question.lines() {
        let next = ('A'..='Z').nth(options.len()).filter(|letter| is_letter(*letter));
        match (option(line), options.last_mut()) {
            (Some((letter, text)), _) if next == Some(letter) => {
                options.push(format!("({letter}) {text}"));
            }
            (_, Some(option)) => *option = format!("{option} {}", line.trim()).trim().to_string(),
            (_, None) => asked = format!("{asked}{line}\n"),
        }
    }
    (options.len() > 1).then(|| (asked.trim().to_string(), options))
}

fn is_letter(letter: char) -> bool {
    ('A'..='Z').take(OPTIONS_MAX).any(|one| one == letter)
}

/// What a reply names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// No option.
    None,
    /// The right one.
    Right,
    /// One of the others.
    Other,
    /// Several.
    Several,
}

/// Tells what a reply names of the options of a question: its answer and its decoys.
pub(crate) fn named(gold: &Gold, reply: &str) -> Named {
    let options: Vec<(char, &str)> =
        gold.answers.iter().chain(&gold.decoys).filter_map(|one| option(one)).collect();
    let right = gold.answers.first().and_then(|answer| option(answer));
    let named: Vec<char> = letters(&options, reply).into_iter().collect();
    match named.as_slice() {
        [] => Named::None,
        [one] if right.is_some_and(|(letter, _)| letter == *one) => Named::Right,
        [_] => Named::Other,
        _ => Named::Several,
    }
}

/// The letters of the options that a reply names.
fn letters(options: &[(char, &str)], reply: &str) -> BTreeSet<char> {
    let all: BTreeSet<char> = options.iter().map(|(letter, _)| *letter).collect();
    let reply = Reply::read(reply, &all);
    let texts: Vec<(char, Vec<String>)> =
        options.iter().map(|(letter, text)| (*letter, content(text))).collect();
    let spans = reply.spans(&texts);
    let (mut named, mut ruled_out) = (BTreeSet::new(), BTreeSet::new());
    let mut name = |letter: char, is_ruled_out: bool| {
        if is_ruled_out { &mut ruled_out } else { &mut named }.insert(letter);
    };
    let marks = reply.marks();
    for at in &marks {
        let letter = reply.words[*at].letter.unwrap_or_default();
        name(letter, reply.is_ruled_out(*at..at + 1));
        // `(B) He left`, where that he left is another option.
        let beside: Vec<char> = (spans.iter())
            .filter(|(_, span)| reply.stands_beside(span, *at))
            .map(|(letter, _)| *letter)
            .collect();
        if !beside.contains(&letter) {
            beside.into_iter().for_each(|letter| name(letter, false));
        }
    }
    if marks.is_empty() {
        for (letter, span) in &spans {
            name(*letter, reply.is_ruled_out(span.clone()));
        }
    }
    if named.is_empty() && !ruled_out.is_empty() {
        named = all;
    }
    &named - &ruled_out
}

/// The words of a text by which it is recognised, in lower case and without articles.
fn content(text: &str) -> Vec<String> {
    let reply = Reply::read(text, &BTreeSet::new());
    reply.words.into_iter().filter(|word| !word.is_article()).map(|word| word.lower).collect()
}

/// A word with what stands before it.
#[derive(Debug)]
struct Word {
    lower: String,
    is_capital: bool,
    /// The option whose letter it may be.
    letter: Option<char>,
    before: String,
}

impl Word {
    fn is_article(&self) -> bool {
        ["a", "an", "the"].contains(&&*self.lower)
    }

    fn is_one_of(&self, words: &[&str]) -> bool {
        words.contains(&&*self.lower)
    }
}

/// A reply as words.
#[derive(Debug)]
struct Reply {
    words: Vec<Word>,
    /// What stands behind the last word.
    end: String,
}

impl Reply {
    /// Cuts a text into words: letters and digits, with an apostrophe or the point of a number inside. What only
    /// makes text bold or quotes it is left out.
    fn read(text: &str, letters: &BTreeSet<char>) -> Self {
        let chars: Vec<char> = text.chars().map(plain).collect();
        let char = |at: usize| chars.get(at).copied().unwrap_or(' ');
        let is_inner = |at: usize| match char(at) {
            '\'' => char(at - 1).is_alphanumeric() && char(at + 1).is_alphanumeric(),
            '.' | ',' => char(at - 1).is_ascii_digit() && char(at + 1).is_ascii_digit(),
            c => c.is_alphanumeric(),
        };
        let (mut words, mut before) = (Vec::new(), String::new());
        let mut at = 0;
        while at < chars.len() {
            if !char(at).is_alphanumeric() {
                if !"*_`\"'".contains(char(at)) {
                    before.push(char(at));
                }
                at += 1;
                continue;
            }
            let from = at;
            while at < chars.len() && is_inner(at) {
                at += 1;
            }
            let word: String = chars[from..at].iter().filter(|c| **c != ',').collect();
            let capital = char(from).to_ascii_uppercase();
            words.push(Word {
                lower: word.to_lowercase(),
                is_capital: char(from).is_uppercase(),
                letter: (at == from + 1 && letters.contains(&capital)).then_some(capital),
                before: std::mem::take(&mut before),
            });
        }
        Self { words, end: before }
    }

    /// What stands behind a word.
    fn after(&self, at: usize) -> &str {
        self.words.get(at + 1).map_or(&self.end, |word| &word.before)
    }

    fn is_last(&self, at: usize) -> bool {
        at + 1 == self.words.len()
    }

    /// The words that are letters of options, and meant as such.
    fn marks(&self) -> Vec<usize> {
        let places = || (0..self.words.len()).filter(|at| self.words[*at].letter.is_some());
        let mut marks: BTreeSet<usize> = places().filter(|at| self.is_mark(*at)).collect();
        // `A or (B)`, `B, C`: who names one of these names the other, and a line that begins with two names both. Once
        // in each direction is enough.
        let pairs: Vec<(usize, usize)> = places()
            .flat_map(|at| [(at, at + 1), (at, at + 2)])
            .filter(|(one, other)| self.are_listed(*one, *other))
            .collect();
        for (one, other) in pairs.iter().chain(pairs.iter().rev()) {
            if self.begins_line(*one) || marks.contains(one) || marks.contains(other) {
                marks.extend([one, other]);
            }
        }
        marks.into_iter().collect()
    }

    fn is_mark(&self, at: usize) -> bool {
        let word = &self.words[at];
        let (before, after) = (word.before.trim_end(), self.after(at).trim_start());
        if before.ends_with('(') && after.starts_with(')') {
            return true;
        }
        if self.begins_line(at) && self.is_closed(at) {
            return true;
        }
        if self.is_joined(at) {
            return false;
        }
        let is_announced = word.before.chars().all(|c| c.is_whitespace() || ":-(".contains(c));
        let last = at.checked_sub(1).map(|at| &self.words[at]).filter(|_| is_announced);
        if !word.is_capital {
            return last.is_some_and(|last| last.is_one_of(&NAMES)) && !self.is_article(at);
        }
        let begins_sentence = self.begins_line(at) || before.ends_with(['.', '!', '?', ';']);
        let has_verb = self.after(at).trim().is_empty()
            && self.words.get(at + 1).is_some_and(|next| next.is_one_of(&NO_NOUNS));
        if begins_sentence && has_verb {
            return true;
        }
        last.is_some_and(|last| {
            last.is_one_of(&NAMES) || (last.is_one_of(&ANNOUNCEMENTS) && !self.is_article(at))
        })
    }

    fn begins_line(&self, at: usize) -> bool {
        at == 0 || self.words[at].before.contains('\n')
    }

    /// Whether a mark, the end of the line or nothing at all stands behind a word: `B.`, but not `D.C.`.
    fn is_closed(&self, at: usize) -> bool {
        let after = self.after(at);
        let behind = after.trim_start_matches([' ', '\t']);
        let rest = behind.trim_start_matches(['.', ')', ':', ',', ';', '!', '?', '-', '–', '—']);
        let is_cut_off = self.is_last(at) || rest.starts_with(char::is_whitespace);
        behind.starts_with('\n') || self.is_last(at) || (rest.len() < behind.len() && is_cut_off)
    }

    /// Whether the next word stands directly behind: `D-day`.
    fn is_joined(&self, at: usize) -> bool {
        !self.is_last(at) && !self.after(at).contains(char::is_whitespace)
    }

    /// Whether a letter may be an article: `A man`.
    fn is_article(&self, at: usize) -> bool {
        self.words[at].letter == Some(ARTICLE)
            && self.after(at).trim().is_empty()
            && self.words.get(at + 1).is_some_and(|next| !next.is_one_of(&NO_NOUNS))
    }

    /// Whether two letters stand in one list.
    fn are_listed(&self, one: usize, other: usize) -> bool {
        let is_letter = |at: usize| {
            let word = self.words.get(at);
            word.is_some_and(|word| word.letter.is_some() && word.is_capital)
        };
        let is_gap = |at: usize| self.words[at].before.chars().all(|c| " \n\t,/&+()".contains(c));
        let is_linked = |at: usize| self.words[at].is_one_of(&["and", "or", "nor"]);
        is_letter(one)
            && is_letter(other)
            && !self.is_article(other)
            && !self.is_joined(other)
            && (one + 1..=other).all(is_gap)
            && (one + 1..other).all(is_linked)
    }

    /// Where the texts of options stand, without those that are a piece of another one's.
    fn spans(&self, texts: &[(char, Vec<String>)]) -> Vec<(char, Range<usize>)> {
        let places: Vec<usize> =
            (0..self.words.len()).filter(|at| !self.words[*at].is_article()).collect();
        let words: Vec<&str> = places.iter().map(|at| &*self.words[*at].lower).collect();
        let mut spans = Vec::new();
        for (letter, text) in texts.iter().filter(|(_, text)| !text.is_empty()) {
            let tells =
                text.iter().any(|word| is_telling(word) || word.starts_with(char::is_numeric));
            // "No" is in many replies that mean something else by it.
            let is_there = |from: usize| tells || (from == 0 && text.len() == words.len());
            let found = words.windows(text.len()).enumerate();
            spans.extend(
                found
                    .filter(|(from, window)| *window == text.as_slice() && is_there(*from))
                    .map(|(from, _)| (*letter, places[from]..places[from + text.len() - 1] + 1)),
            );
        }
        let is_piece = |span: &Range<usize>| {
            spans.iter().any(|(_, other): &(char, Range<usize>)| {
                other.start <= span.start && span.end <= other.end && other.len() > span.len()
            })
        };
        spans.iter().filter(|(_, span)| !is_piece(span)).cloned().collect()
    }

    /// Whether a text stands directly behind a letter, or before it in the same sentence.
    fn stands_beside(&self, span: &Range<usize>, mark: usize) -> bool {
        let are_articles = |mut places: Range<usize>| places.all(|at| self.words[at].is_article());
        let is_behind = span.start > mark && are_articles(mark + 1..span.start);
        is_behind || (span.end == mark && ["", "("].contains(&self.words[mark].before.trim()))
    }

    /// Whether it says that this is not the answer.
    fn is_ruled_out(&self, span: Range<usize>) -> bool {
        let mut at = span.start;
        // `is not the option B`: back to the negation, but not into the sentence before.
        while at > 0 && !self.words[at].before.contains(['.', '!', '?', ';', '\n']) {
            at -= 1;
            let word = &self.words[at];
            if word.is_one_of(&NEGATIONS) || word.lower.ends_with("n't") {
                return true;
            }
            if !word.is_one_of(&FILLERS) {
                break;
            }
        }
        let next = |n: usize| self.words.get(span.end + n);
        next(0).is_some_and(|word| {
            word.lower.ends_with("n't")
                || word.lower == "cannot"
                || (word.is_one_of(&["is", "was"])
                    && next(1).is_some_and(|word| word.is_one_of(&WRONG)))
        })
    }
}

/// One form for each kind of quote and bracket.
fn plain(c: char) -> char {
    match c {
        '’' | '‘' => '\'',
        '“' | '”' | '<' | '>' => '"',
        '[' | '{' => '(',
        ']' | '}' => ')',
        c => c,
    }
}

#[cfg(test)]
mod tests;
