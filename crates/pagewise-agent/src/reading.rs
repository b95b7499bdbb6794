//! What searches have found, read by itself before the reply.
//!
//! A small model that reads all of main context repeats what it was asked, or what stands last in it. Given
//! nothing but the lines that were found and the question, it finds the answer more often. The reply is then
//! made in main context from that answer, and from the line that it rests on.

use std::collections::BTreeSet;

use pagewise_core::{Prompt, PromptMessage, PromptRole};

use crate::functions::working_context::one_line;

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
        Self { answer: one_line(answer), source }
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
    fn an_answer_rests_on_the_line_that_has_its_words() {
        let lines = lines();
        let source = |answer| Reading::of(answer, "What do boats need?", &lines).source;
        assert_eq!(source("Boats need paint.").as_ref(), Some(&lines[0]));
        assert_eq!(source("Boats need oil."), None);
        assert_eq!(source("You said 2026: a dog.").as_ref(), Some(&lines[2]), "rare words count");
        assert_eq!(source("You said so.").as_ref(), Some(&lines[0]), "the first of two");
    }
}
