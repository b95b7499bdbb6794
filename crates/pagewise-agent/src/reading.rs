//! What searches have found, read by itself before the reply.
//!
//! A small model that reads all of main context repeats what it was asked, or what stands last in it. Given
//! nothing but the lines that were found and the question, it finds the answer more often. How it is to answer
//! stands before them, so that the answer can be the reply, word for word: asked in main context to say it
//! again, a small model adds to it, or says the line instead on which it rests.
//!
//! What it finds may be only on the way to what is asked: where somebody was born, and not on which river that
//! town lies. So the answer is **checked**, again by itself, and the model searches on if it is none.

use std::collections::BTreeSet;

use pagewise_core::{ArgumentKind, FunctionCall, Prompt, PromptMessage, PromptRole};

use crate::functions::working_context::{content_words, one_line};
use crate::intake::{Decision, Question, examples};
use crate::message_parts;

/// The most messages of the conversation in view that are read with what was found.
pub(crate) const READ_MESSAGES_MAX: usize = 4;

/// What a line of working context begins with, among the lines that are read.
const NOTED: &str = "You had noted: ";

/// What the model has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The answer, in the model's words, as it can be sent to the user.
    pub(crate) answer: String,
    /// The line that has most of what the answer says and the message does not; `None` if no line has any.
    pub(crate) source: Option<String>,
    /// The words of the answer that the lines have and the message has not, in order: what a search for the rest
    /// of the answer can start from.
    pub(crate) leads: Vec<String>,
    /// Whether it answers what is asked, as far as the model was asked that.
    pub(crate) is_answer: bool,
    /// Whether the model searches on, because the answer is none yet.
    pub(crate) searches_on: bool,
}

impl Reading {
    /// Finds the line that an answer to `message` rests on.
    pub(crate) fn of(answer: &str, message: &str, lines: &[String]) -> Self {
        let said = words(message);
        let telling: BTreeSet<String> = words(answer).difference(&said).cloned().collect();
        let held: Vec<BTreeSet<String>> = lines.iter().map(|line| words(line)).collect();
        // A word that many lines have says little about any of them.
        let weight = |word: &String| {
            let n_lines = held.iter().filter(|line| line.contains(word)).count();
            1.0 / n_lines.max(1) as f64
        };
        let shared =
            |line: &BTreeSet<String>| -> f64 { line.intersection(&telling).map(weight).sum() };
        // Of lines that have as much of it, the one that was found first.
        let best =
            lines.iter().zip(held.iter().map(shared)).rev().max_by(|a, b| a.1.total_cmp(&b.1));
        let source = best.filter(|(_, shared)| *shared > 0.0).map(|(line, _)| line.clone());
        let held: BTreeSet<String> = held.into_iter().flatten().collect();
        let leads = leads(answer, &telling, &held);
        Self { answer: answer.to_string(), source, leads, is_answer: true, searches_on: false }
    }

    /// Whether it is on the way to an answer: that nothing was found leads nowhere.
    pub(crate) fn leads_on(&self) -> bool {
        self.source.is_some() && !self.leads.is_empty()
    }

    /// Says it before a request, like a fact that the user gives.
    pub(crate) fn before(&self, request: &str) -> String {
        let answer = one_line(&self.answer);
        let ends = answer.ends_with(|c: char| !c.is_alphanumeric());
        format!("{answer}{} {request}", if ends { "" } else { "." })
    }
}

/// The words of an answer that carry meaning and are among both, in order, each once.
fn leads(answer: &str, telling: &BTreeSet<String>, held: &BTreeSet<String>) -> Vec<String> {
    let meaningful = content_words(answer);
    let carries =
        |word: &String| meaningful.contains(word) || word.chars().any(message_parts::is_unspaced);
    let mut seen = BTreeSet::new();
    words_in_order(answer)
        .filter(|word| telling.contains(word) && held.contains(word) && carries(word))
        .filter(|word| seen.insert(word.clone()))
        .collect()
}

/// Asks what the lines say to what is asked, of the one that `persona` says.
pub(crate) fn reading(asked: &str, lines: &[String], persona: &str) -> Prompt {
    let listed: Vec<String> = lines.iter().map(|line| format!("- {line}")).collect();
    let turn = |role, content| PromptMessage { role, content };
    let system = include_str!("prompts/reading_system.md").trim_end();
    // How it is to answer stands there, in whatever words: as few as possible, or in French.
    let system = [persona, system].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
    let request = format!("Notes:\n{}\n\nRequest: {asked}", listed.join("\n"));
    let messages =
        vec![turn(PromptRole::System, system.join("\n\n")), turn(PromptRole::User, request)];
    Prompt { messages }
}

/// Asks whether an answer that was read says what is asked.
pub(crate) fn checking(asked: &str, answer: &str) -> Decision {
    // The answer first: what stands last is what small models judge.
    let shown =
        |answer: &str, asked: &str| format!("Answer: {}\nRequest: {asked}", one_line(answer));
    let kind = ArgumentKind::OneOf(vec!["yes".into(), "no".into()]);
    let question = Question { function: "check", argument: "answered", kind };
    let examples = examples(include_str!("prompts/checking_examples.md"));
    let examples = examples.filter_map(|(answered, text)| {
        let (answer, asked) = text.split_once(" | ")?;
        Some((shown(answer, asked), answered.into()))
    });
    question.decision(include_str!("prompts/checking_system.md"), examples, shown(answer, asked))
}

/// Reads what [`checking`] was answered.
pub(crate) fn read_checking(call: &FunctionCall) -> bool {
    call.text("answered") != "no"
}

/// A line of working context, as it is read.
pub(crate) fn noted(line: &str) -> String {
    format!("{NOTED}{line}")
}

/// Whether a line that was read is one of working context.
pub(crate) fn is_noted(line: &str) -> bool {
    line.starts_with(NOTED)
}

fn words(text: &str) -> BTreeSet<String> {
    words_in_order(text).collect()
}

fn words_in_order(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<String> {
        let boats = "4 January 2026, you said: Boats need paint.";
        vec![
            boats.into(),
            "4 January 2026, you said: Boats are wet.".into(),
            noted("The user has a dog."),
        ]
    }

    #[test]
    fn lines_are_read_for_what_is_asked() {
        let prompt = reading("What do boats need?", &lines(), "I am brief.");
        let turns: Vec<&str> = prompt.messages.iter().map(|turn| turn.content.as_str()).collect();
        insta::assert_snapshot!(turns.join("\n---\n"));
    }

    #[test]
    fn an_answer_leads_on_by_what_was_read_and_not_asked() {
        let asked = "Where was Ada Wren born?";
        let lines =
            ["4 January 2026: Ada Wren was born in Umberleigh.", "妹は京都に住んでいます。"];
        let lines = lines.map(String::from);
        let read = |answer| Reading::of(answer, asked, &lines);
        assert_eq!(read("Ada Wren was born in Umberleigh, Umberleigh.").leads, ["umberleigh"]);
        assert!(read("妹は京都に住んでいます。").leads_on());
        let nothing = read("The notes mention no birthplace.");
        assert!(nothing.leads.is_empty() && !nothing.leads_on());
    }

    #[test]
    fn what_was_read_is_a_sentence_before_the_request() {
        let before = |answer| Reading::of(answer, "", &[]).before("On which river?");
        assert_eq!(before("Umberleigh"), "Umberleigh. On which river?");
        assert_eq!(before("It is Umberleigh."), "It is Umberleigh. On which river?");
    }

    #[test]
    fn every_answer_is_checked_after_examples_of_both_kinds() {
        let decision = checking("Where does it lie?", "It lies there.");
        let turns: Vec<&str> =
            decision.prompt.messages.iter().map(|turn| turn.content.as_str()).collect();
        let n = |answered: &str| turns.iter().filter(|turn| turn.contains(answered)).count();
        assert!(n("\"yes\"") >= 4 && n("\"no\"") >= 4, "{turns:?}");
        assert_eq!(*turns.last().unwrap(), "Answer: It lies there.\nRequest: Where does it lie?");
    }

    #[test]
    fn an_answer_rests_on_the_line_that_has_its_words() {
        let lines = lines();
        let source = |answer| Reading::of(answer, "What do boats need?", &lines).source;
        assert_eq!(source("Boats need paint.").as_ref(), Some(&lines[0]));
        assert_eq!(source("Boats need oil."), None);
        assert_eq!(source("You said 2026: a dog.").as_ref(), Some(&lines[2]), "rare words count");
        assert_eq!(source("You said so.").as_ref(), Some(&lines[0]), "the first of two");
    }
}
