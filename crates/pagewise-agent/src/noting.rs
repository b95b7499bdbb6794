//! What a message tells, noted by itself before the first step.
//!
//! A small model that reads all of main context saves one fact of a message that tells five, and none of one
//! that asks something as well. Given nothing but what the message tells, after a few examples from other
//! fields, it writes them all. Each becomes a call like any other.

use jiff::civil::Date;
use pagewise_core::{ArgumentKind, FunctionCall};
use serde_json::{Value, json};

use crate::config::AgentConfig;
use crate::functions::State;
use crate::functions::archival::ARCHIVAL_INSERT;
use crate::functions::working_context::{
    APPEND, REPLACE, content_words, labels_with_room, one_line, outdated,
};
use crate::intake::{Decision, Question, shown};
use crate::relative_days::with_days;

/// The most tokens that they may take together.
pub(crate) const NOTING_MAX_TOKENS: usize = 400;

/// Asks which facts a message tells, at least one.
pub(crate) fn noting(told: &str, config: &AgentConfig) -> Decision {
    let fact = ArgumentKind::Text { max_chars: config.memory_text_max_chars };
    let kind = ArgumentKind::Array {
        items: Box::new(fact),
        min_items: 1,
        max_items: config.facts_per_message,
    };
    let question = Question { function: "note", argument: "facts", kind };
    let examples = examples().map(|(message, facts)| (shown(message), facts));
    question.decision(include_str!("prompts/noting_system.md"), examples, shown(told))
}

/// Reads what [`noting`] was answered: the facts that the message tells, each once.
///
/// Small models repeat themselves, and what they have read in the examples. If the answer `is_cut`, the last fact
/// is not whole.
pub(crate) fn read_noting(call: &FunctionCall, told: &str, is_cut: bool) -> Vec<String> {
    let said = content_words(told);
    let mut facts: Vec<String> = Vec::new();
    let written = call.arguments.get("facts").and_then(Value::as_array).map_or(&[][..], |all| all);
    let n_whole = written.len() - usize::from(is_cut && !written.is_empty());
    for fact in written[..n_whole].iter().filter_map(Value::as_str).map(one_line) {
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
///
/// `today` says which days the fact means.
pub(crate) fn keeping(fact: &str, today: Date, state: &State<'_>) -> FunctionCall {
    let before = state.chain.lines_before(state.working_context);
    let dated = with_days(fact, today);
    if let Some(line) = outdated(&before, fact) {
        return FunctionCall::new(REPLACE.name, [("old", line.as_str()), ("new", dated.as_str())]);
    }
    match labels_with_room(state).first() {
        Some(block) => {
            FunctionCall::new(APPEND.name, [("block", block.as_str()), ("text", dated.as_str())])
        }
        None => archiving(fact, today),
    }
}

/// The call that keeps a fact in archival storage.
pub(crate) fn archiving(fact: &str, today: Date) -> FunctionCall {
    FunctionCall::new(ARCHIVAL_INSERT.name, [("text", with_days(fact, today).as_str())])
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
        read_noting(&FunctionCall::new("note", [("facts", json!(facts))]), TOLD, false)
    }

    #[test]
    fn facts_of_the_message_are_read() {
        let facts = ["The user's aunt moved to Elm Street.", "The user never eats fish."];
        assert_eq!(read(&facts), facts);
    }

    #[test]
    fn a_fact_that_was_cut_off_is_none() {
        let facts = json!(["The user's aunt moved to Elm Street.", "The user never ea"]);
        let call = FunctionCall::new("note", [("facts", facts)]);
        assert_eq!(read_noting(&call, TOLD, true), ["The user's aunt moved to Elm Street."]);
        let none = FunctionCall::new("note", [("facts", json!([]))]);
        assert!(read_noting(&none, TOLD, true).is_empty());
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
        let decision = noting(TOLD, &AgentConfig::default());
        let turns = decision.prompt.messages.iter();
        let text: Vec<&str> = turns.map(|turn| turn.content.as_str()).collect();
        insta::assert_snapshot!(text.join("\n---\n"));
    }

    #[test]
    fn examples_are_read_as_they_would_be() {
        let mut n = 0;
        for (message, facts) in examples() {
            let call = FunctionCall::new("note", [("facts", facts.clone())]);
            assert_eq!(json!(read_noting(&call, message, false)), facts);
            n += 1;
        }
        assert!(n >= 4);
    }
}
