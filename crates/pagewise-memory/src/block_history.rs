//! The versions of working context, numbered, and what each of them changed.
//!
//! Every save of a block makes a version, and no version is ever removed. The versions of a block are
//! numbered from 1, each block's by themselves, so that a number means the same in a store that was
//! exported and imported.

use std::collections::HashMap;

use crate::BlockVersion;

/// A version of a block beside the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockChange<'a> {
    /// The number among the versions of the block, from 1.
    pub number: usize,
    /// The version.
    pub version: &'a BlockVersion,
    /// The version of the block before it; `None` for the first.
    pub before: Option<&'a BlockVersion>,
}

impl BlockChange<'_> {
    /// Returns the block's label.
    pub fn label(&self) -> &str {
        &self.version.block.label
    }

    /// Returns whether the text differs from that of the version before. The first version changes
    /// nothing: it makes the block.
    pub fn is_edit(&self) -> bool {
        self.before.is_some_and(|before| before.block.value != self.version.block.value)
    }
}

/// Numbers the versions in `history`, every version of every block in the order in which they were
/// saved.
pub fn block_changes(history: &[BlockVersion]) -> Vec<BlockChange<'_>> {
    let mut last: HashMap<&str, (usize, &BlockVersion)> = HashMap::new();
    let change = |version| {
        let before = last.get(label_of(version)).copied();
        let number = before.map_or(1, |(number, _)| number + 1);
        last.insert(label_of(version), (number, version));
        BlockChange { number, version, before: before.map(|(_, before)| before) }
    };
    history.iter().map(change).collect()
}

fn label_of(version: &BlockVersion) -> &str {
    &version.block.label
}

/// Returns the latest of `changes` that changed a text: of one block, or of any.
pub fn last_change<'a>(
    changes: &[BlockChange<'a>],
    label: Option<&str>,
) -> Option<BlockChange<'a>> {
    let is_meant = |change: &&BlockChange<'a>| {
        change.is_edit() && label.is_none_or(|label| label == change.label())
    };
    changes.iter().rev().find(is_meant).copied()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::Block;

    fn version((label, value): &(&str, &str)) -> BlockVersion {
        let block = Block {
            label: (*label).into(),
            description: String::new(),
            value: (*value).into(),
            limit_chars: 100,
            read_only: false,
        };
        BlockVersion { block, at: Timestamp::UNIX_EPOCH, cause: None }
    }

    /// `before -> value` of the last change, with its number.
    fn check_last(history: &[(&str, &str)], label: Option<&str>, expected: Option<&str>) {
        let history: Vec<BlockVersion> = history.iter().map(version).collect();
        let last = last_change(&block_changes(&history), label).map(|change| {
            let before = change.before.expect("it changed something");
            let (old, new) = (&before.block.value, &change.version.block.value);
            format!("{} {}: {old} -> {new}", change.label(), change.number)
        });
        assert_eq!(last.as_deref(), expected, "{history:?}");
    }

    #[test]
    fn each_block_is_numbered_by_itself() {
        let history = [("persona", "p"), ("human", ""), ("human", "a"), ("persona", "q")];
        let history: Vec<BlockVersion> = history.iter().map(version).collect();
        let numbers: Vec<(usize, bool)> = block_changes(&history)
            .iter()
            .map(|change| (change.number, change.is_edit()))
            .collect();
        assert_eq!(numbers, [(1, false), (1, false), (2, true), (2, true)]);
    }

    #[test]
    fn the_last_change_is_the_last_that_changed_a_text() {
        check_last(&[], None, None);
        check_last(&[("human", "a"), ("persona", "b")], None, None);
        let history = [("human", "a"), ("human", "b"), ("persona", "p"), ("persona", "q")];
        check_last(&history, None, Some("persona 2: p -> q"));
        check_last(&history, Some("human"), Some("human 2: a -> b"));
        check_last(&history, Some("dog"), None);
        // Saved again as it was.
        check_last(
            &[("human", "a"), ("human", "b"), ("human", "b")],
            None,
            Some("human 2: a -> b"),
        );
        check_last(&[("human", "a"), ("human", "a")], None, None);
    }
}
