//! What a message tells, noted by itself before the first step.
//!
//! A small model that reads all of main context saves one fact of a message that tells five, and none of one
//! that asks something as well. Given nothing but what the message tells, after a few examples from other
//! fields, it writes them all. Each becomes a call like any other.

use pagewise_core::{ArgumentKind, FunctionCall};
use serde_json::{Value, json};

use crate::functions::State;
use crate::functions::archival::ARCHIVAL_INSERT;
use crate::functions::working_context::{
    APPEND, REPLACE, content_words, labels_with_room, one_line, outdated, writable_lines,
};
use crate::intake::{Decision, Question};

/// The most facts that are noted of one message.
const FACTS_MAX: usize = 5;

/// Asks which facts a message tells, at least one.
pub(crate) fn noting(told: &str, fact_max_chars: usize) -> Decision {
    let fact = ArgumentKind::Text { max_chars: fact_max_chars };
    let kind = ArgumentKind::Array { items: Box::new(fact), min_items: 1, max_items: FACTS_MAX };
    let question = Question { function: "note", argument: "facts", kind };
    let examples = examples().map(|(message, facts)| (asked(message), facts));
    question.decision(include_str!("prompts/noting_system.md"), examples, asked(told))
}

/// Reads what [`noting`] was answered: the facts that the message tells, each once.
///
/// Small models repeat themselves, and what they have read in the examples.
pub(crate) fn read_noting(call: &FunctionCall, told: &str) -> Vec<String> {
    let said = content_words(told);
    let mut facts: Vec<String> = Vec::new();
    let written = call.arguments.get("facts").and_then(Value::as_array).into_iter().flatten();
    for fact in written.filter_map(Value::as_str).map(one_line) {
        let words = content_words(&fact);
        let is_told = 2 * words.intersection(&said).count() >= words.len() && !words.is_empty();
        if is_told && !facts.iter().any(|other| content_words(other) == words) {
            facts.push(fact);
        }
    }
    facts
}

/// The call that keeps a fact: in the place of a line that it outdates, else beside the others, or in archival
/// storage if no block has room.
pub(crate) fn keeping(fact: &str, state: &State<'_>) -> FunctionCall {
    let lines = writable_lines(state.working_context);
    if let Some(line) = outdated(&lines, fact) {
        return FunctionCall::new(REPLACE.name, [("old", line.as_str()), ("new", fact)]);
    }
    match labels_with_room(state).first() {
        Some(block) => FunctionCall::new(APPEND.name, [("block", block.as_str()), ("text", fact)]),
        None => archiving(fact),
    }
}

/// The call that keeps a fact in archival storage.
pub(crate) fn archiving(fact: &str) -> FunctionCall {
    FunctionCall::new(ARCHIVAL_INSERT.name, [("text", fact)])
}

fn asked(message: &str) -> String {
    format!("Message: {message}")
}

/// Reads the examples: a message, and a line for each fact.
fn examples() -> impl Iterator<Item = (&'static str, Value)> {
    let entries = include_str!("prompts/noting_examples.md").split("\n\n");
    entries.filter_map(|entry| {
        let (message, facts) = entry.split_once('\n')?;
        let facts = facts.lines().map(|line| line.trim_start_matches("- "));
        Some((message, json!(facts.collect::<Vec<_>>())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "My aunt moved to Elm Street. I never eat fish.";

    fn read(facts: &[&str]) -> Vec<String> {
        read_noting(&FunctionCall::new("note", [("facts", json!(facts))]), TOLD)
    }

    #[test]
    fn facts_of_the_message_are_read() {
        let facts = ["The user's aunt moved to Elm Street.", "The user never eats fish."];
        assert_eq!(read(&facts), facts);
    }

    #[test]
    fn what_it_does_not_say_or_says_twice_is_left_out() {
        let aunt = "The user's aunt moved to Elm Street.";
        let again = "The aunt of the user moved to Elm  Street.";
        assert_eq!(
            read(&[aunt, again, "Tom sold his red boat for 900 euros.", "The user"]),
            [aunt]
        );
    }

    #[test]
    fn a_message_is_noted_after_examples() {
        let decision = noting(TOLD, 160);
        let turns = decision.prompt.messages.iter();
        let text: Vec<&str> = turns.map(|turn| turn.content.as_str()).collect();
        insta::assert_snapshot!(text.join("\n---\n"));
    }

    #[test]
    fn examples_are_read_as_they_would_be() {
        let mut n = 0;
        for (message, facts) in examples() {
            let call = FunctionCall::new("note", [("facts", facts.clone())]);
            assert_eq!(json!(read_noting(&call, message)), facts);
            n += 1;
        }
        assert!(n >= 4);
    }
}
