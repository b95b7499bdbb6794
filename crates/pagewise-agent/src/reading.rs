//! What searches have found, read by itself before the reply.
//!
//! A small model that reads all of main context repeats what it was asked, or what stands last in it. Given
//! nothing but the lines that were found and the question, it finds the answer more often. The reply is then
//! made in main context from that answer, and from the line that it rests on.

use std::collections::BTreeSet;

use pagewise_core::{Prompt, PromptMessage, PromptRole};

use crate::functions::working_context::one_line;
use crate::summary::trim_to_sentence;
use crate::wanted::asked;

/// The longest answer that is read in what was found, in characters.
pub(crate) const READING_MAX_CHARS: usize = 300;

/// What the model has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The answer, in the model's words.
    pub(crate) answer: String,
    /// The line that has most of what the answer says and the request does not; `None` if no line has any.
    pub(crate) source: Option<String>,
}

impl Reading {
    /// Finds the line that an answer rests on.
    pub(crate) fn of(answer: &str, request: &str, lines: &[String]) -> Self {
        let asked = words(request);
        let telling: BTreeSet<String> = words(answer).difference(&asked).cloned().collect();
        let n_shared = |line: &String| words(line).intersection(&telling).count();
        // Of lines that have as much of it, the one that was found first.
        let best = lines.iter().rev().max_by_key(|line| n_shared(line));
        let source = best.filter(|line| n_shared(line) > 0).cloned();
        Self { answer: one_line(trim_to_sentence(answer)), source }
    }
}

/// Asks what the lines say to what the message asks.
pub(crate) fn reading(message: &str, lines: &[String]) -> Prompt {
    let notes: Vec<String> = lines.iter().map(|line| format!("- {line}")).collect();
    let turn = |role, content| PromptMessage { role, content };
    let system = include_str!("prompts/reading_system.md").trim_end();
    let request = format!("Notes:\n{}\n\nRequest: {}", notes.join("\n"), asked(message));
    let messages =
        vec![turn(PromptRole::System, system.into()), turn(PromptRole::User, request)];
    Prompt { messages }
}

fn words(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<String> {
        let lines = ["noted: The user has a dog.", "2026-01-04, you said: Boats need paint."];
        lines.map(str::to_string).to_vec()
    }

    #[test]
    fn lines_are_read_for_what_is_asked() {
        let prompt = reading("I forgot. What do boats need again? In a word.", &lines());
        let turns: Vec<&str> = prompt.messages.iter().map(|turn| turn.content.as_str()).collect();
        insta::assert_snapshot!(turns.join("\n---\n"));
    }

    #[test]
    fn an_answer_rests_on_the_line_that_has_its_words() {
        let source = |answer| Reading::of(answer, "What do boats need?", &lines()).source;
        assert_eq!(source("Boats need paint.").as_deref(), Some(lines()[1].as_str()));
        assert_eq!(source("Boats need oil."), None);
        assert_eq!(source("A dog, and paint."), Some(lines()[0].clone()));
    }
}
