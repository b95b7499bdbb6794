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
        if let Some(line) = lines.into_iter().find(|line| overlaps_by_half(line, &text)) {
            return Ok(Done::failed(
                call,
                format!(
                    "The block already has the line {line:?}. To change it, call \
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
fn labels_with_room(state: &State<'_>) -> Vec<String> {
    let blocks = state.working_context.blocks().iter().filter(|block| !block.read_only);
    blocks
        .filter(|block| {
            block.value.chars().count() + state.config.memory_text_max_chars / 2
                <= block.limit_chars
        })
        .map(|block| block.label.clone())
        .collect()
}

pub(crate) fn writable_lines(working_context: &WorkingContext) -> Vec<String> {
    let writable = working_context.blocks().iter().filter(|block| !block.read_only);
    let lines = writable.flat_map(|block| working_context.lines(&block.label));
    // A line twice could not be replaced unambiguously, a blank one not named.
    let distinct: BTreeSet<&str> = lines.filter(|line| !line.trim().is_empty()).collect();
    distinct.into_iter().map(str::to_string).collect()
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

/// Whether at least half of the words of the shorter text are in the other one.
///
/// Small models append the new fact and leave the contradicted one; the refusal that follows
/// names the line, and the model replaces it instead.
fn overlaps_by_half(a: &str, b: &str) -> bool {
    let (a, b) = (content_words(a), content_words(b));
    let fewer = a.len().min(b.len());
    fewer > 0 && 2 * a.intersection(&b).count() >= fewer
}

/// The words that carry meaning: lower-cased, without those that nearly every note has.
pub(crate) fn content_words(text: &str) -> BTreeSet<String> {
    const COMMON: &[&str] = &[
        "the", "user", "user's", "users", "s", "is", "a", "an", "has", "have", "their", "my",
        "name", "and", "of", "in", "to", "was", "are", "for", "on", "at", "with", "that", "they",
        "he", "she", "i", "likes", "loves", "wants",
    ];
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty() && !COMMON.contains(word))
        .map(str::to_string)
        .collect()
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
    fn overlap_is_of_the_words_that_carry_meaning() {
        assert!(overlaps_by_half("The user lives in Oslo.", "User lives in Bergen and lives well"));
        assert!(overlaps_by_half("Dog: Biscuit", "The user's dog is Biscuit."));
        assert!(!overlaps_by_half("The user's dog is Biscuit.", "The user's sister is Ana."));
        assert!(!overlaps_by_half("", "The user"));
    }
}
