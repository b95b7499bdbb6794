//! Whether function specs can become a grammar.

use std::collections::HashSet;

use pagewise_core::{ArgumentKind, ArgumentSpec, CallFormat, FunctionSpec, MAX_NAME_CHARS};

use crate::plan::beginnings;
use crate::{GrammarError, MAX_ITEMS, MAX_LEVELS, MAX_TEXT_CHARS};

/// Refuses function specs that no grammar can be made of, as [`CallGrammar::matcher`](crate::CallGrammar::matcher) does.
pub fn check(specs: &[FunctionSpec<'_>], format: &CallFormat) -> Result<(), GrammarError> {
    if specs.is_empty() {
        return Err(GrammarError::NoFunctions);
    }
    if let Some(max_chars) = format.thought_max_chars.filter(|n| !(1..=MAX_TEXT_CHARS).contains(n))
    {
        return Err(GrammarError::Thought { max_chars });
    }
    check_names(specs.iter().map(|spec| spec.name))?;
    for spec in specs {
        check_names(spec.arguments.iter().map(|argument| argument.name))?;
        for argument in &spec.arguments {
            let is_possible = spec.arguments.len() <= MAX_ITEMS && is_field(&argument.kind, 0)?;
            if !is_possible {
                return Err(GrammarError::Argument {
                    function: spec.name.to_owned(),
                    argument: argument.name.to_owned(),
                });
            }
        }
    }
    Ok(())
}

/// Whether a grammar can write this kind where it has a name; `level` lists and objects are around it.
fn is_field(kind: &ArgumentKind<'_>, level: usize) -> Result<bool, GrammarError> {
    match kind {
        ArgumentKind::Optional(kind) => is_value(kind, level),
        kind => is_value(kind, level),
    }
}

fn is_value(kind: &ArgumentKind<'_>, level: usize) -> Result<bool, GrammarError> {
    let is_inside = level < MAX_LEVELS;
    Ok(match kind {
        ArgumentKind::Text { max_chars } => (1..=MAX_TEXT_CHARS).contains(max_chars),
        ArgumentKind::OneOf(allowed) => !allowed.is_empty(),
        ArgumentKind::Integer { min, max } => min <= max,
        ArgumentKind::Number | ArgumentKind::Boolean | ArgumentKind::Null | ArgumentKind::Date => {
            true
        }
        ArgumentKind::Array { items, min_items, max_items } => {
            is_inside
                && (1..=MAX_ITEMS).contains(max_items)
                && min_items <= max_items
                && is_value(items, level + 1)?
        }
        ArgumentKind::Map { values, max_entries } => {
            is_inside && (1..=MAX_ITEMS).contains(max_entries) && is_value(values, level + 1)?
        }
        ArgumentKind::Object(fields) => {
            is_inside && fields.len() <= MAX_ITEMS && are_fields(fields, level + 1)?
        }
        ArgumentKind::AnyOf(kinds) => {
            let all = beginnings(kind);
            let distinct: HashSet<_> = all.iter().collect();
            let mut is_possible = !kinds.is_empty() && distinct.len() == all.len();
            for kind in kinds {
                is_possible = is_possible && is_value(kind, level)?;
            }
            is_possible
        }
        ArgumentKind::Optional(_) => false,
    })
}

fn are_fields(fields: &[ArgumentSpec<'_>], level: usize) -> Result<bool, GrammarError> {
    check_names(fields.iter().map(|field| field.name))?;
    for field in fields {
        if !is_field(&field.kind, level)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), GrammarError> {
    let mut seen = HashSet::new();
    for name in names {
        let can_be_written = (1..=MAX_NAME_CHARS).contains(&name.chars().count())
            && !name.chars().any(char::is_control);
        if !can_be_written || !seen.insert(name) {
            return Err(GrammarError::Name { name: name.to_owned() });
        }
    }
    Ok(())
}
