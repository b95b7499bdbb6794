//! Working context through time: its versions, what is between two of them, and the way back.

use pagewise_core::MessageBody;
use pagewise_memory::{BlockChange, BlockVersion, Store, block_changes, last_change};
use serde_json::json;

use super::line_diff::{self, Change, Line};
use super::{block, minute, no_blocks, print_blocks, save, with_value};
use crate::args::CommonArgs;
use crate::failure::Failure;
use crate::printer::Printer;

/// Lists versions, newest first: of one block or of all.
pub(super) fn log(
    store: &Store,
    label: Option<&str>,
    limit: Option<u32>,
    printer: &Printer,
) -> Result<(), Failure> {
    if let Some(label) = label {
        block(&store.working_context()?, label)?;
    }
    let history = store.block_history()?;
    if history.is_empty() {
        printer.talk("There are no blocks before the first chat.");
    }
    let mut changes = block_changes(&history);
    changes.retain(|change| label.is_none_or(|label| label == change.label()));
    for change in changes.iter().rev().take(limit.map_or(usize::MAX, |limit| limit as usize)) {
        let function = function(store, change.version)?;
        let old = change.before.map_or("", |before| &before.block.value);
        let mut lines = line_diff::diff(old, value(change));
        lines.retain(|line| line.change != Change::Same);
        let BlockChange { number, version, .. } = change;
        let label = change.label();
        if printer.json() {
            let texts = |change: Change| -> Vec<&str> {
                lines.iter().filter(|line| line.change == change).map(|line| line.text).collect()
            };
            printer.json_line(&json!({
                "block": label,
                "version": number,
                "at": version.at,
                "cause": version.cause,
                "function": function,
                "removed": texts(Change::Removed),
                "added": texts(Change::Added),
            }));
        } else {
            let who = who(change, function.as_deref());
            let (at, what) = (minute(version.at), what(change, &lines));
            printer.line(format!("{label} {number}  {at}  {who}: {what}"));
        }
    }
    Ok(())
}

/// The function whose call made a version, if one did.
fn function(store: &Store, version: &BlockVersion) -> Result<Option<String>, Failure> {
    let Some(cause) = version.cause else { return Ok(None) };
    let message = store.message(cause)?;
    Ok(message.and_then(|message| match message.body {
        MessageBody::Call(call) => Some(call.function),
        _ => None,
    }))
}

fn who(change: &BlockChange<'_>, function: Option<&str>) -> String {
    match (change.version.cause, change.before) {
        (Some(cause), _) => {
            format!("by the model ({}, message {})", function.unwrap_or("a call"), cause.0)
        }
        (None, None) => "at first".into(),
        (None, Some(_)) => "by hand".into(),
    }
}

/// The first of the lines that a version changed, and how many more there are. What is there now
/// says more than what was there.
fn what(change: &BlockChange<'_>, changed: &[Line<'_>]) -> String {
    let added = changed.iter().find(|line| line.change == Change::Added);
    let Some(line) = added.or(changed.first()) else {
        return if change.before.is_some() { "(unchanged)" } else { "(empty)" }.into();
    };
    let first = format!("{} {}", line.change.sign(), line.text);
    match changed.len() - 1 {
        0 => first,
        1 => format!("{first} (and another line)"),
        n_more => format!("{first} (and {n_more} other lines)"),
    }
}

/// Shows what differs between two versions of a block; if none are named, what the last change of
/// the block, or of each block, has changed.
pub(super) fn diff(
    store: &Store,
    label: Option<&str>,
    from: Option<u32>,
    to: Option<u32>,
    printer: &Printer,
) -> Result<(), Failure> {
    let working_context = store.working_context()?;
    let blocks = match label {
        Some(label) => std::slice::from_ref(block(&working_context, label)?),
        None => working_context.blocks(),
    };
    let history = store.block_history()?;
    let changes = block_changes(&history);
    let mut pairs = Vec::new();
    for block in blocks {
        let versions = versions(&changes, &block.label);
        let pair = match from {
            Some(from) => {
                let to = to.map_or(versions.len(), |to| to as usize);
                Some((numbered(&versions, from as usize)?, numbered(&versions, to)?))
            }
            // What changed something has another version before it.
            None => last_change(&versions, None).map(|new| (versions[new.number - 2], new)),
        };
        pairs.extend(pair);
    }
    if printer.json() {
        let diffs: Vec<_> = pairs
            .iter()
            .map(|(old, new)| {
                json!({
                    "block": new.label(),
                    "from": old.number,
                    "to": new.number,
                    "lines": line_diff::diff(value(old), value(new)),
                })
            })
            .collect();
        printer.json_line(&json!({"diffs": diffs}));
        return Ok(());
    }
    if pairs.is_empty() {
        printer.talk("Nothing has changed yet.");
    }
    for (old, new) in &pairs {
        if value(old) == value(new) {
            printer.talk(&format!("Versions {} and {} are the same.", old.number, new.number));
            continue;
        }
        for (sign, side) in [("---", old), ("+++", new)] {
            let at = minute(side.version.at);
            printer.line(format!("{sign} {} {}  {at}", side.label(), side.number));
        }
        let lines = line_diff::diff(value(old), value(new));
        line_diff::unified(&lines).iter().for_each(|line| printer.line(line));
    }
    Ok(())
}

fn value<'a>(change: &BlockChange<'a>) -> &'a str {
    &change.version.block.value
}

/// The versions of a block, oldest first.
fn versions<'a>(changes: &[BlockChange<'a>], label: &str) -> Vec<BlockChange<'a>> {
    changes.iter().filter(|change| change.label() == label).copied().collect()
}

/// Returns a version of a block by its number, or says which there are.
fn numbered<'a>(versions: &[BlockChange<'a>], number: usize) -> Result<BlockChange<'a>, Failure> {
    let found = versions.iter().find(|version| version.number == number).copied();
    found.ok_or_else(|| {
        let label = versions.first().map_or("", |version| version.label());
        let refusal = Failure::usage(format!("the block {label:?} has no version {number}"));
        refusal.hint(match versions.len() {
            1 => "its only version is 1".to_string(),
            n => format!("its versions are 1 to {n}; `pagewise memory log` lists them"),
        })
    })
}

/// Gives a block the text that it had before its last change, or in the version `to`, as a new
/// version.
///
/// As with an edit by hand, the block may be read-only: that holds for the model.
pub(super) fn undo(
    store: &mut Store,
    label: Option<&str>,
    to: Option<u32>,
    common: &CommonArgs,
    printer: &Printer,
) -> Result<(), Failure> {
    let working_context = store.working_context()?;
    if let Some(label) = label {
        block(&working_context, label)?;
    } else if working_context.blocks().is_empty() {
        return Err(no_blocks());
    }
    let history = store.block_history()?;
    let changes = block_changes(&history);
    let target = match (label, to) {
        (Some(label), Some(to)) => numbered(&versions(&changes, label), to as usize)?,
        _ => {
            let last = last_change(&changes, label).ok_or_else(|| {
                Failure::usage(match label {
                    Some(label) => format!("the block {label:?} has not changed yet"),
                    None => "no block has changed yet".into(),
                })
            })?;
            // What changed something has another version before it.
            numbered(&versions(&changes, last.label()), last.number - 1)?
        }
    };
    let old = block(&working_context, target.label())?;
    let undone = with_value(old, value(&target).to_string())?;
    let is_changed = undone.is_some();
    save(store, undone.as_ref(), common, printer)?;
    if is_changed {
        printer.talk(&format!("{} is as in version {} again.", target.label(), target.number));
    }
    print_blocks(&store.working_context()?, printer);
    Ok(())
}
