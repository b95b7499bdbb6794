//! What searches have found, read by itself before the reply.
//!
//! A small model that reads all of main context repeats what it was asked, or what stands last in it. Given
//! nothing but the lines that were found and the question, it finds the answer more often. The reply is then
//! made in main context from that answer, and from the line that it rests on.
//!
//! What it finds may be only on the way to what is asked: where somebody was born, and not on which river that
//! town lies. So the answer is **checked**, again by itself, and the model searches on if it is none.

use std::collections::BTreeSet;

use pagewise_core::{ArgumentKind, FunctionCall, Prompt, PromptMessage, PromptRole};

use crate::functions::working_context::{content_words, one_line};
use crate::intake::{Decision, Question, examples};

/// The longest answer that is read in what was found, in characters.
pub(crate) const READING_MAX_CHARS: usize = 300;

/// The most messages of the conversation in view that are read with what was found.
pub(crate) const READ_MESSAGES_MAX: usize = 4;

/// What a line of working context begins with, among the lines that are read.
const NOTED: &str = "You had noted: ";

/// What the model has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The answer, in the model's words.
    pub(crate) answer: String,
    /// The line that has most of what the answer says and the message does not; `None` if no line has any.
    pub(crate) source: Option<String>,
    /// Whether it says what the message asks for, as far as the model was asked.
    pub(crate) answers: bool,
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
        Self { answer: one_line(answer), source, answers: true }
    }

    /// The words of the answer that are in what was found and not in `message`, in order: what a search for
    /// the rest of the answer can start from.
    pub(crate) fn leads(&self, message: &str, found: &[String]) -> Vec<&str> {
        let (said, held) = (words(message), words(&found.join(" ")));
        let telling = content_words(&self.answer);
        let mut seen = BTreeSet::new();
        let all = self.answer.split(|c: char| !c.is_alphanumeric());
        all.filter(|word| {
            let word = word.to_lowercase();
            telling.contains(&word)
                && held.contains(&word)
                && !said.contains(&word)
                && seen.insert(word)
        })
        .collect()
    }
}

/// Asks what the lines say to what is asked.
pub(crate) fn reading(asked: &str, lines: &[String]) -> Prompt {
    let listed: Vec<String> = lines.iter().map(|line| format!("- {line}")).collect();
    let turn = |role, content| PromptMessage { role, content };
    let system = include_str!("prompts/reading_system.md").trim_end();
    let request = format!("Notes:\n{}\n\nRequest: {asked}", listed.join("\n"));
    let messages = vec![turn(PromptRole::System, system.into()), turn(PromptRole::User, request)];
    Prompt { messages }
}

/// Asks whether an answer that was read says what is asked.
pub(crate) fn checking(asked: &str, answer: &str) -> Decision {
    // The answer first: what stands last is what small models judge.
    let shown = |answer: &str, asked: &str| format!("Answer: {answer}\nRequest: {asked}");
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
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<String> {
        let boats = "2026-01-04, you said: Boats need paint.";
        vec![
            boats.into(),
            "2026-01-04, you said: Boats are wet.".into(),
            noted("The user has a dog."),
        ]
    }

    #[test]
    fn lines_are_read_for_what_is_asked() {
        let prompt = reading("What do boats need?", &lines());
        let turns: Vec<&str> = prompt.messages.iter().map(|turn| turn.content.as_str()).collect();
        insta::assert_snapshot!(turns.join("\n---\n"));
    }

    #[test]
    fn an_answer_leads_on_by_what_was_found_and_not_asked() {
        let found = vec!["2026-01-04: Ada Wren was born in Umberleigh.".to_string()];
        let leads = |answer| {
            Reading::of(answer, "Where was Ada Wren born?", &found)
                .leads("Where was Ada Wren born?", &found)
                .join(" ")
        };
        assert_eq!(leads("Ada Wren was born in Umberleigh, Umberleigh."), "Umberleigh");
        assert_eq!(leads("The notes mention no birthplace."), "");
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
