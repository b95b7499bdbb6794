//! Working context: the part of main context that the model edits (MemGPT paper, section 2.1).
//!
//! Text in labelled blocks, each with a limit. An edit that would exceed the limit is refused whole
//! and the model is told by how much: a silently cut fact is worse than a refused one. The limit
//! is in characters, so that it means the same under every tokenizer. The unit that the model
//! sees is the line.

use std::collections::HashSet;

use thiserror::Error;

use crate::Block;

/// How many lines an error names that are like the one not found.
const NEAR_LINES_MAX: usize = 3;

/// The blocks, in the order in which they were first saved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkingContext {
    blocks: Vec<Block>,
}

/// An edit was refused, and nothing was changed. The model reads the message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EditError {
    /// No block has the label.
    #[error("There is no block {label:?}; the blocks are {}.", labels.join(", "))]
    UnknownLabel {
        /// The label asked for.
        label: String,
        /// Those that there are.
        labels: Vec<String>,
    },
    /// The block is not the model's to change.
    #[error("The block {label:?} is read-only.")]
    ReadOnly {
        /// The block.
        label: String,
    },
    /// There is nothing to append, or nothing to look for.
    #[error("The text is empty.")]
    EmptyText,
    /// The old text is not in the block.
    #[error("The block {label:?} has no text {old:?}{}.", near(lines))]
    NotFound {
        /// The block.
        label: String,
        /// What was looked for.
        old: String,
        /// The lines that are most like it.
        lines: Vec<String>,
    },
    /// The old text is there more than once, and not as whole lines.
    #[error(
        "The text {old:?} is {n_found} times in the block {label:?}; give the whole line that should change."
    )]
    Ambiguous {
        /// The block.
        label: String,
        /// What was looked for.
        old: String,
        /// How often it is there.
        n_found: usize,
    },
    /// The block would become too long.
    #[error(
        "The block {label:?} would have {n_chars} characters, {} more than its limit of {limit_chars}; shorten \
         or replace a line first, or put the text into archival storage.",
        n_chars - limit_chars
    )]
    TooLong {
        /// The block.
        label: String,
        /// How long it would be.
        n_chars: usize,
        /// How long it may be.
        limit_chars: usize,
    },
}

fn near(lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let quoted: Vec<String> = lines.iter().map(|line| format!("{line:?}")).collect();
    format!("; the nearest lines are {}", quoted.join(", "))
}

impl WorkingContext {
    /// Creates a working context of these blocks.
    pub fn new(blocks: Vec<Block>) -> Self {
        Self { blocks }
    }

    /// Returns the blocks in order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Returns the block with this label.
    pub fn block(&self, label: &str) -> Option<&Block> {
        self.blocks.iter().find(|block| block.label == label)
    }

    /// Puts a block in the place of the one with its label, or at the end. No limit is checked:
    /// this is the program's and the user's door, not the model's.
    pub fn set(&mut self, block: Block) {
        match self.blocks.iter_mut().find(|old| old.label == block.label) {
            Some(old) => *old = block,
            None => self.blocks.push(block),
        }
    }

    /// Returns the lines of a block; none if it is empty or there is no such block.
    pub fn lines(&self, label: &str) -> Vec<&str> {
        self.block(label).map(|block| block.value.lines().collect()).unwrap_or_default()
    }

    /// Adds `text` to a block, on a line of its own, and returns the block.
    pub fn append(&mut self, label: &str, text: &str) -> Result<&Block, EditError> {
        let block = self.writable(label)?;
        let text = text.trim();
        if text.is_empty() {
            return Err(EditError::EmptyText);
        }
        let separator = if block.value.is_empty() { "" } else { "\n" };
        let value = format!("{}{separator}{text}", block.value);
        accept(block, value)
    }

    /// Replaces `old` by `new` in a block, and returns the block.
    ///
    /// Whole lines that read `old` are replaced, all of them; otherwise `old` must be in the block
    /// exactly once. An empty `new` deletes, and leaves no empty line behind.
    pub fn replace(&mut self, label: &str, old: &str, new: &str) -> Result<&Block, EditError> {
        let block = self.writable(label)?;
        let (old, new) = (old.trim_matches('\n'), new.trim_matches('\n'));
        if old.trim().is_empty() {
            return Err(EditError::EmptyText);
        }
        let found = occurrences(&block.value, old);
        let whole = whole_lines(&block.value, &found, old.len());
        let places = match (whole.is_empty(), found.len()) {
            (false, _) => whole,
            (true, 1) => found,
            (true, 0) => {
                let lines = nearest_lines(&block.value, old);
                return Err(EditError::NotFound { label: label.into(), old: old.into(), lines });
            }
            (true, n_found) => {
                return Err(EditError::Ambiguous { label: label.into(), old: old.into(), n_found });
            }
        };
        let mut value = block.value.clone();
        // From the end, so that the places before stay where they are.
        for &at in places.iter().rev() {
            splice(&mut value, at, old.len(), new);
        }
        accept(block, value)
    }

    fn writable(&mut self, label: &str) -> Result<&mut Block, EditError> {
        let Some(index) = self.blocks.iter().position(|block| block.label == label) else {
            return Err(EditError::UnknownLabel {
                label: label.into(),
                labels: self.blocks.iter().map(|block| block.label.clone()).collect(),
            });
        };
        let block = &mut self.blocks[index];
        if block.read_only {
            return Err(EditError::ReadOnly { label: label.into() });
        }
        Ok(block)
    }
}

/// Gives the block its new value unless that is too long. A block that was too long already may
/// still become shorter.
fn accept(block: &mut Block, value: String) -> Result<&Block, EditError> {
    let n_chars = value.chars().count();
    if n_chars > block.limit_chars && n_chars >= block.value.chars().count() {
        return Err(EditError::TooLong {
            label: block.label.clone(),
            n_chars,
            limit_chars: block.limit_chars,
        });
    }
    block.value = value;
    Ok(block)
}

/// Returns where `part` is in `text`, also where it overlaps itself.
fn occurrences(text: &str, part: &str) -> Vec<usize> {
    text.char_indices().map(|(at, _)| at).filter(|&at| text[at..].starts_with(part)).collect()
}

/// Returns those of the places where `len` bytes are whole lines, without overlaps.
fn whole_lines(text: &str, places: &[usize], len: usize) -> Vec<usize> {
    let mut whole: Vec<usize> = Vec::new();
    for &at in places {
        let (before, after) = (&text[..at], &text[at + len..]);
        let is_whole = (before.is_empty() || before.ends_with('\n'))
            && (after.is_empty() || after.starts_with('\n'));
        if is_whole && whole.last().is_none_or(|last| last + len <= at) {
            whole.push(at);
        }
    }
    whole
}

/// Replaces `len` bytes at `at`; if nothing takes their place and their line is blank then, the line
/// goes as well.
fn splice(value: &mut String, at: usize, len: usize, new: &str) {
    value.replace_range(at..at + len, new);
    if !new.trim().is_empty() {
        return;
    }
    let start = value[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = value[at..].find('\n').map_or(value.len(), |newline| at + newline + 1);
    if value[start..end].trim().is_empty() {
        value.replace_range(start..end, "");
        // It was the last line: the newline before it would now begin an empty one.
        if start == value.len() && value.ends_with('\n') {
            value.pop();
        }
    }
}

/// The lines that share the most words with `text`.
fn nearest_lines(value: &str, text: &str) -> Vec<String> {
    let words = |text: &str| -> HashSet<String> {
        text.to_lowercase()
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_string)
            .collect()
    };
    let wanted = words(text);
    let mut lines: Vec<(usize, &str)> =
        value.lines().map(|line| (words(line).intersection(&wanted).count(), line)).collect();
    lines.retain(|(n_shared, _)| *n_shared > 0);
    lines.sort_by_key(|(n_shared, _)| std::cmp::Reverse(*n_shared));
    lines.into_iter().take(NEAR_LINES_MAX).map(|(_, line)| line.to_string()).collect()
}

#[cfg(test)]
mod tests;
