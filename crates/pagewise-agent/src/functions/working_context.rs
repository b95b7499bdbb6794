//! Writing the part of main context that is always in view.

use std::collections::BTreeSet;

use pagewise_core::{ArgumentKind, ArgumentSpec, FunctionCall, FunctionSpec};
use pagewise_memory::WorkingContext;

use super::{Done, Effect, Function, Purpose, State};
use crate::config::Heartbeats;

pub(crate) static APPEND: Function = Function {
    name: "working_context_append",
    purpose: Purpose::Edit,
    help: "(block, text): add a line to working context, for a lasting fact",
    spec: |state| {
        let labels = labels_with_room(state);
        (!labels.is_empty()).then(|| FunctionSpec {
            name: "working_context_append",
            description: "Add a line to a block of working context.",
            arguments: vec![
                ArgumentSpec {
                    name: "block",
                    description: "the block's label",
                    kind: ArgumentKind::OneOf(labels),
                },
                ArgumentSpec {
                    name: "text",
                    description: "the fact, in one short sentence",
                    kind: ArgumentKind::Text { max_chars: state.config.memory_text_max_chars },
                },
            ],
            asks_heartbeat: state.config.heartbeats == Heartbeats::Asked,
        })
    },
    run: |call, execution| {
        let (label, text) = (call.text("block"), one_line(call.text("text")));
        let lines = execution.working_context.lines(label);
        if lines.iter().any(|line| says_the_same(line, &text)) {
            return Ok(Done::ok(call, ALREADY_THERE, Effect::None));
        }
        if let Some(line) = outdated(&writable_lines(execution.working_context), &text) {
            return Ok(Done::failed(
                call,
                format!(
                    "There is the line {line:?} already. To change it, call \
                     working_context_replace; if it says the same, there is nothing to do."
                ),
            ));
        }
        let mut edited = execution.working_context.clone();
        Ok(match edited.append(label, &text) {
            Ok(block) => Done::ok(call, "Saved.", Effect::SaveBlock(block.clone())),
            Err(error) => Done::failed(call, error.to_string()),
        })
    },
};

pub(crate) static REPLACE: Function = Function {
    name: "working_context_replace",
    purpose: Purpose::Edit,
    help: "(old, new): change a line of working context that is no longer true",
    spec: |state| {
        let lines = writable_lines(state.working_context);
        (!lines.is_empty()).then(|| FunctionSpec {
            name: "working_context_replace",
            description: "Change a line of working context.",
            arguments: vec![
                ArgumentSpec {
                    name: "old",
                    description: "the line to change, as it stands there",
                    kind: ArgumentKind::OneOf(lines),
                },
                ArgumentSpec {
                    name: "new",
                    description: "the line that takes its place",
                    kind: ArgumentKind::Text { max_chars: state.config.memory_text_max_chars },
                },
            ],
            asks_heartbeat: state.config.heartbeats == Heartbeats::Asked,
        })
    },
    run: |call, execution| {
        let (old, new) = (call.text("old"), one_line(call.text("new")));
        let lines = writable_lines(execution.working_context);
        if lines.iter().any(|line| says_the_same(line, &new)) {
            return Ok(Done::ok(call, ALREADY_THERE, Effect::None));
        }
        // Small models would put what they have just heard in the place of any line.
        if content_words(old).is_disjoint(&content_words(&new)) {
            return Ok(Done::failed(
                call,
                format!(
                    "{old:?} is about something else and stays: the new line must change what it \
                     says. A new fact is added with working_context_append."
                ),
            ));
        }
        let holder = execution.working_context.blocks().iter().find(|block| {
            !block.read_only && execution.working_context.lines(&block.label).contains(&old)
        });
        let Some(label) = holder.map(|block| block.label.clone()) else {
            return Ok(Done::failed(call, format!("No block has the line {old:?} any more.")));
        };
        let mut edited = execution.working_context.clone();
        Ok(match edited.replace(&label, old, &new) {
            Ok(block) => Done::ok(call, "Changed.", Effect::SaveBlock(block.clone())),
            Err(error) => Done::failed(call, error.to_string()),
        })
    },
};

/// Says what an edit did, for the conversation.
pub(crate) fn describe_edit(call: &FunctionCall) -> Option<String> {
    match &call.function {
        name if name == APPEND.name => Some(format!("You noted: {}", one_line(call.text("text")))),
        name if name == REPLACE.name => Some(format!(
            "You changed the note {:?} to: {}",
            call.text("old"),
            one_line(call.text("new"))
        )),
        _ => None,
    }
}

/// No refusal: small models would try again in other words, and there is nothing left to do.
const ALREADY_THERE: &str = "Working context says so already.";

/// A block that is nearly full is left out, so that the model replaces a line, or stores the fact in
/// archival storage, instead of being refused.
pub(crate) fn labels_with_room(state: &State<'_>) -> Vec<String> {
    let blocks = state.working_context.blocks().iter().filter(|block| !block.read_only);
    blocks
        .filter(|block| {
            block.value.chars().count() + state.config.memory_text_max_chars / 2
                <= block.limit_chars
        })
        .map(|block| block.label.clone())
        .collect()
}

/// The lines that the model can change, each once, as they stand in their blocks: what was noted last is last.
pub(crate) fn writable_lines(working_context: &WorkingContext) -> Vec<String> {
    let writable = working_context.blocks().iter().filter(|block| !block.read_only);
    let lines = writable.flat_map(|block| working_context.lines(&block.label));
    // A line twice could not be replaced unambiguously, a blank one not named.
    let mut seen = BTreeSet::new();
    let distinct = lines.filter(|line| !line.trim().is_empty() && seen.insert(*line));
    distinct.map(str::to_string).collect()
}

/// Lines are what the model sees and replaces, so a text is one.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the same words carry the meaning of both. A part of the words is not enough: what is left
/// out may be a "not".
fn says_the_same(a: &str, b: &str) -> bool {
    content_words(a) == content_words(b)
}

/// The line that is no longer true, or no longer all that is known, if `text` is: the one most of which the
/// text says again.
///
/// Small models append the new fact and leave the contradicted one; asked whether two facts can both be true,
/// they answer by how alike they look. So it is by words here, of which those that many lines have, such as
/// the name of whom they are about, count less.
pub(crate) fn outdated<'a>(lines: &'a [String], text: &str) -> Option<&'a String> {
    let said = content_words(text);
    let held: Vec<BTreeSet<String>> = lines.iter().map(|line| content_words(line)).collect();
    let weight = |word: &String| {
        1.0 / held.iter().filter(|words| words.contains(word)).count().max(1) as f64
    };
    let share = |words: &BTreeSet<String>| -> f64 {
        let again: f64 = words.intersection(&said).map(weight).sum();
        again / words.iter().map(weight).sum::<f64>().max(f64::MIN_POSITIVE)
    };
    let shares = lines.iter().zip(held.iter().map(share));
    let most = shares.max_by(|a, b| a.1.total_cmp(&b.1));
    most.filter(|(_, share)| *share >= OUTDATED_SHARE).map(|(line, _)| line)
}

/// The share of a line that a new text must say again to take its place: of facts about the same people, one in
/// a hundred has as much in common with another, and four of five corrections with what they correct.
const OUTDATED_SHARE: f64 = 0.45;

/// The words that carry meaning, lower-cased and without their endings: not those that nearly every note has, nor
/// the number of a list.
pub(crate) fn content_words(text: &str) -> BTreeSet<String> {
    const COMMON: &[&str] = &[
        "the", "user", "user's", "users", "s", "is", "a", "an", "has", "have", "their", "my",
        "name", "and", "of", "in", "to", "was", "are", "for", "on", "at", "with", "that", "they",
        "he", "she", "i", "likes", "loves", "wants",
    ];
    let unnumbered = text.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
    let text = unnumbered.strip_prefix(". ").unwrap_or(text);
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty() && !COMMON.contains(word))
        .map(|word| without_ending(word).to_string())
        .collect()
}

/// Cuts the commonest endings of English off a word, if enough of it is left: "received" and "receives" are told
/// in the same way. In other languages it mostly leaves words as they are.
fn without_ending(word: &str) -> &str {
    const ENDINGS: [&str; 7] = ["ing", "ies", "ed", "es", "ly", "s", "e"];
    let stems = ENDINGS.iter().filter_map(|ending| word.strip_suffix(ending));
    stems.into_iter().find(|stem| stem.chars().count() >= 4).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_say_the_same() {
        assert!(says_the_same("The user lives in Ghent.", "User lives in Ghent"));
        assert!(!says_the_same(
            "The user is not allergic to nuts.",
            "The user is allergic to nuts."
        ));
        assert!(!says_the_same("The user lives in Ghent.", "The user lives in Bruges."));
    }

    #[test]
    fn endings_make_no_other_word() {
        assert!(says_the_same("Tom received awards.", "Tom receives an award"));
        assert!(!says_the_same("Tom is in Bath.", "Tom is in a bathing suit"));
        assert_eq!(
            ["red", "does", "is", "größe"].map(without_ending),
            ["red", "does", "is", "größ"]
        );
    }

    fn outdated_by(text: &str, lines: &[&str]) -> Option<String> {
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        outdated(&lines, text).cloned()
    }

    #[test]
    fn what_is_said_again_is_outdated() {
        let oslo = "The user lives in Oslo.";
        let dog = "The user's dog is Biscuit.";
        let lines = [oslo, dog];
        assert_eq!(
            outdated_by("User lives in Bergen and lives well", &lines).as_deref(),
            Some(oslo)
        );
        assert_eq!(outdated_by("Dog: Waffle", &lines).as_deref(), Some(dog));
        assert_eq!(outdated_by("The user's sister is Ana.", &lines), None);
        assert_eq!(outdated_by("The user", &lines), None);
        assert_eq!(outdated_by("The user", &[""]), None);
    }

    #[test]
    fn whom_many_lines_are_about_says_little() {
        let choir = "1. Ida Moss and Paul Renner sing in the choir of Elmwick.";
        let lines =
            [choir, "2. Ida Moss keeps bees.", "3. Paul Renner met Ida Moss in Leeds in 2010."];
        assert_eq!(outdated_by("Paul Renner and Ida Moss run a bakery.", &lines), None);
        let gone = "Ida Moss and Paul Renner left the choir.";
        assert_eq!(outdated_by(gone, &lines).as_deref(), Some(choir));
    }
}
