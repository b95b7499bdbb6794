//! Writing the part of main context that is always in view.

use std::collections::BTreeSet;

use pagewise_core::{ArgumentKind, ArgumentSpec, FunctionCall, FunctionSpec};
use pagewise_memory::WorkingContext;

use super::{Done, Effect, Function, Purpose, State};
use crate::config::Heartbeats;
use crate::message_parts::is_unspaced;
use crate::relative_days::without_days;

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
        let before = execution.chain.lines_before(execution.working_context);
        if let Some(line) = outdated(&before, &text) {
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

/// What the model cannot change: who it is, and whatever else it was given.
pub(crate) fn read_only_text(working_context: &WorkingContext) -> String {
    let given = working_context.blocks().iter().filter(|block| block.read_only);
    let values = given.map(|block| block.value.trim()).filter(|value| !value.is_empty());
    values.collect::<Vec<_>>().join("\n\n")
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

/// The line that is no longer true if `text` is: one that says something else of the same.
///
/// Small models append the new fact and leave the contradicted one; asked whether two facts can both be true,
/// they answer by how alike they look. So it is by words here: either only the last word differs ("lives in
/// Oslo", "lives in Bergen now"), or the place, of however many words, or the line has much in common with the fact
/// beside its subject.
pub(crate) fn outdated<'a>(lines: &'a [String], text: &str) -> Option<&'a String> {
    let said = stems(text);
    // Two things that happened on one day are not the same thing.
    let held: Vec<Vec<String>> = lines.iter().map(|line| stems(without_days(line))).collect();
    // Words that many lines have, such as the name of whom they are about, say little of any of them.
    let weight = |word: &String| {
        1.0 / held.iter().filter(|words| words.contains(word)).count().max(1) as f64
    };
    let closeness = |words: &[String]| -> f64 {
        let n_alike = words.iter().zip(&said).take_while(|(old, new)| old == new).count();
        if n_alike > 0 && words.len() - n_alike <= 1 && said.len() - n_alike <= 2 {
            return 1.0;
        }
        // A few lines do not tell a subject by how often it occurs: there it is what both begin with.
        let n_subject = if lines.len() < FEW_LINES && n_alike > 1 { n_alike } else { 0 };
        let (words, said_of_it) = (&words[n_subject..], &said[n_subject..]);
        let again: Vec<&String> = words.iter().filter(|word| said_of_it.contains(word)).collect();
        let share = again.iter().map(|word| weight(word)).sum::<f64>()
            / words.iter().map(weight).sum::<f64>().max(f64::MIN_POSITIVE);
        if again.len() > 1 && share >= OUTDATED_SHARE { share } else { 0.0 }
    };
    let all = lines.iter().zip(held.iter().map(|words| closeness(words)));
    let closest = all.max_by(|a, b| a.1.total_cmp(&b.1));
    let closest = closest.filter(|(_, closeness)| *closeness > 0.0).map(|(line, _)| line);
    closest.or_else(|| lines.iter().find(|line| is_another_place(line, text)))
}

/// Whether both say of the same one where they live or are from, by a name, and by another one: "lives in New York City",
/// "lives in Los Angeles now". What goes on behind the name would be lost with the line, so it must not.
fn is_another_place(line: &str, text: &str) -> bool {
    const STATES: &[&str] = &["lives", "live", "resides", "born", "based"];
    // With one of these it is not said that they do, or that they do now.
    const OTHERWISE: &[&str] =
        &["used", "never", "not", "t", "would", "will", "wants", "has", "had", "have"];
    const TIMES: &str = "january february march april may june july august september october november december \
        spring summer autumn winter";
    // Of whom it is said, that, and where, as it is written: a name begins with a capital letter.
    let split = |text: &str| -> Option<(Vec<String>, String, Vec<String>)> {
        let words = all_words(text);
        let at = words.windows(2).position(|two| STATES.contains(&&*two[0]) && two[1] == "in")?;
        let written = unnumbered(text).split(|c: char| !c.is_alphanumeric());
        let place = written.filter(|word| !word.is_empty()).skip(at + 2).map(str::to_string);
        Some((words[..at].to_vec(), words[at].clone(), place.collect()))
    };
    let is_name = |word: &String| {
        word.starts_with(char::is_uppercase)
            && !TIMES.split(' ').any(|time| time == word.to_lowercase())
    };
    let (Some((of_old, old_state, old)), Some((of_new, new_state, new))) =
        (split(line), split(text))
    else {
        return false;
    };
    // "The user's sister Ida" and "Ida" are the same one.
    let is_same_one = !of_old.is_empty()
        && !of_new.is_empty()
        && (of_old.ends_with(&of_new) || of_new.ends_with(&of_old));
    let is_said = !of_old.iter().chain(&of_new).any(|word| OTHERWISE.contains(&word.as_str()));
    let are_names = !old.is_empty() && old.iter().all(is_name) && new.first().is_some_and(is_name);
    old_state == new_state && is_same_one && is_said && are_names && !new.starts_with(&old)
}

/// The share of a line's words that a fact must have to take its place.
const OUTDATED_SHARE: f64 = 0.4;

/// So many lines are too few to tell rare words from common ones.
const FEW_LINES: usize = 5;

/// The words that carry meaning without their endings, in order, each once.
fn stems(text: &str) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let stems = words_in_order(text).into_iter().map(|word| without_ending(&word).to_string());
    stems.filter(|stem| seen.insert(stem.clone())).collect()
}

/// The words that carry meaning, lower-cased: not those that nearly every note has, nor the number of a list. In
/// scripts without spaces, characters stand for words.
pub(crate) fn content_words(text: &str) -> BTreeSet<String> {
    words_in_order(text).into_iter().collect()
}

fn unnumbered(text: &str) -> &str {
    let behind_number = text.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
    behind_number.strip_prefix(". ").unwrap_or(text)
}

/// The words in lower case, without the number of a list.
fn all_words(text: &str) -> Vec<String> {
    let text = unnumbered(text).to_lowercase();
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_string).collect()
}

fn words_in_order(text: &str) -> Vec<String> {
    const COMMON: &[&str] = &[
        "the", "user", "user's", "users", "s", "is", "a", "an", "has", "have", "their", "my",
        "name", "and", "of", "in", "to", "was", "are", "for", "on", "at", "with", "that", "they",
        "he", "she", "i", "likes", "loves", "wants",
    ];
    let words = all_words(text).into_iter().filter(|word| !COMMON.contains(&word.as_str()));
    words
        .flat_map(|word| match word.chars().any(is_unspaced) {
            true => word.chars().map(String::from).collect(),
            false => vec![word],
        })
        .collect()
}

/// Cuts the commonest endings of English off a word, if enough of it is left: "received" and "receives" are told
/// in the same way. In other languages it mostly leaves words as they are.
fn without_ending(word: &str) -> &str {
    const ENDINGS: [&str; 5] = ["ing", "ed", "es", "s", "e"];
    let mut stems = ENDINGS.iter().filter_map(|ending| word.strip_suffix(ending));
    stems.find(|stem| stem.chars().count() >= 4).unwrap_or(word)
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

    fn outdated_by(text: &str, lines: &[&str]) -> Option<String> {
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        outdated(&lines, text).cloned()
    }

    #[test]
    fn another_value_of_the_same_outdates_a_line() {
        for (line, fact) in [
            ("The user lives in Oslo.", "The user lives in Bergen now."),
            ("The user's dog is Biscuit.", "Dog: Waffle"),
            ("The user's brother Tom lives in Rome.", "The user's brother Tom lives in Oslo now."),
            ("The shop closes at seven.", "The shop closes at six."),
            ("Ida Moss leads the choir of Elmwick.", "Paul Renner leads the choir of Elmwick."),
            ("The user lives in New York City.", "The user lives in Los Angeles now."),
            ("The user was born in New York City.", "The user was born in Los Angeles."),
            ("The user's sister Ida lives in New York City.", "Ida lives in Los Angeles now."),
        ] {
            assert_eq!(outdated_by(fact, &[line]).as_deref(), Some(line), "{fact}");
            let lines = ["The user never eats fish.", line, "The user plays the cello."];
            assert_eq!(outdated_by(fact, &lines).as_deref(), Some(line), "{fact}");
        }
    }

    #[test]
    fn something_else_leaves_a_line_as_it_is() {
        for (line, fact) in [
            ("The user's brother Tom moved to Rome.", "The user's brother Tom sold his boat."),
            ("The user's dog is Biscuit.", "The user's dog had surgery in May."),
            ("The user is a nurse.", "The user's sister is a nurse."),
            ("The user lives in Oslo.", "The user's sister lives in Bergen."),
            ("The user plays the cello.", "The user's daughter plays the piano."),
            ("The user has a dog.", "The user has a cat."),
            ("The user was born in New York City.", "The user was born in March 1990."),
            ("The user lives in New York City.", "The user lives in a small flat with two cats."),
            ("The user lives in New York City with Ida.", "The user lives in Los Angeles now."),
            ("The user used to live in New York City.", "The user used to live in Los Angeles."),
            ("The user's sister lives in New York City.", "The user lives in Los Angeles now."),
            (
                "The user's friends have lived in New York City.",
                "The user's friends have lived in Los Angeles.",
            ),
            ("The user went to Rome with Ida.", "The user went to the old harbour."),
            ("The user's dog is Biscuit.", "The user"),
            ("", "The user"),
        ] {
            assert_eq!(outdated_by(fact, &[line]), None, "{fact}");
        }
    }

    #[test]
    fn the_day_of_a_line_is_not_what_it_is_about() {
        let dog = "The user's dog died yesterday. (yesterday: 4 January 2026)";
        assert_eq!(outdated_by("The user bought a car yesterday.", &[dog]), None);
        let moved = "The user moved to Oslo yesterday. (yesterday: 4 January 2026)";
        let fact = "The user moved to Bergen yesterday.";
        assert_eq!(outdated_by(fact, &[moved]).as_deref(), Some(moved));
    }

    #[test]
    fn whom_many_lines_are_about_says_little() {
        let choir = "1. Ida Moss and Paul Renner sing in the choir of Elmwick.";
        let lines = [
            choir,
            "2. Ida Moss keeps bees.",
            "3. Paul Renner met Ida Moss in Leeds in 2010.",
            "4. Ida Moss received the Rose Prize in 2019.",
            "5. Paul Renner teaches maths.",
        ];
        assert_eq!(outdated_by("Paul Renner and Ida Moss run a bakery.", &lines), None);
        let fact = "Ida Moss did not receive any prize in 2019.";
        assert_eq!(outdated_by(fact, &lines).as_deref(), Some(lines[3]));
        let fact = "Ida Moss and Paul Renner left the choir of Elmwick.";
        assert_eq!(outdated_by(fact, &lines).as_deref(), Some(choir));
    }

    #[test]
    fn characters_stand_for_words_where_there_are_no_spaces() {
        let kyoto = "妹は京都に住んでいます。";
        assert!(!content_words(kyoto).is_disjoint(&content_words("京都")));
        assert_eq!(content_words("京都"), ["京", "都"].map(String::from).into());
    }
}
