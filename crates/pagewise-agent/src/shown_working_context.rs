//! Working context as main context shows it.
//!
//! It stands before the conversation, and if it changed there with each edit, the whole
//! conversation would have to be read again. So main context shows it as it was at the last flush,
//! and each edit since then as a line of the conversation, where the call was made. A flush, after
//! which everything behind is read again anyway, brings the two together.
//!
//! Nothing of this is stored: it follows from the versions of the blocks and from the queue, so a
//! reopened agent reads what it read before.

use std::collections::BTreeSet;

use pagewise_core::{MessageBody, MessageId};
use pagewise_memory::{BlockVersion, FifoQueue, WorkingContext};

/// Working context at the last flush, and which calls have edited it since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ShownWorkingContext {
    /// As it was at the last flush, or when the user last changed it.
    pub(crate) at_flush: WorkingContext,
    /// The calls that have edited it since then.
    edits: BTreeSet<MessageId>,
}

impl ShownWorkingContext {
    /// Shows all of `working_context` in its place before the conversation.
    pub(crate) fn whole(working_context: &WorkingContext) -> Self {
        Self { at_flush: working_context.clone(), edits: BTreeSet::new() }
    }

    /// Returns what was shown when `history`, every version of every block in order, and `queue`
    /// were left.
    pub(crate) fn reopened(history: &[BlockVersion], queue: &FifoQueue) -> Self {
        let flush = queue.messages().rev().find_map(|message| {
            matches!(message.body, MessageBody::Summary { .. }).then_some(message.id)
        });
        // What the user changed has no line in the conversation, and neither has what came before.
        let n_at_flush = history
            .iter()
            .rposition(|version| version.cause.is_none_or(|cause| Some(cause) < flush))
            .map_or(0, |index| index + 1);
        let (before, since) = history.split_at(n_at_flush);
        let mut at_flush = WorkingContext::default();
        before.iter().for_each(|version| at_flush.set(version.block.clone()));
        Self { at_flush, edits: since.iter().filter_map(|version| version.cause).collect() }
    }

    /// Shows an edit as a line of the conversation.
    pub(crate) fn add_edit(&mut self, call: MessageId) {
        self.edits.insert(call);
    }

    /// Whether the message is a call that the conversation shows as an edit.
    pub(crate) fn is_edit(&self, message: MessageId) -> bool {
        self.edits.contains(&message)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use pagewise_core::Message;
    use pagewise_memory::Block;

    use super::*;

    fn version(value: &str, cause: Option<i64>) -> BlockVersion {
        let block = Block {
            label: "human".into(),
            description: String::new(),
            value: value.into(),
            limit_chars: 100,
            read_only: false,
        };
        BlockVersion { block, at: Timestamp::UNIX_EPOCH, cause: cause.map(MessageId) }
    }

    fn check(history: &[BlockVersion], flush: Option<i64>, at_flush: &str, edits: &[i64]) {
        let record = flush.map(|id| Message {
            id: MessageId(id),
            at: Timestamp::UNIX_EPOCH,
            body: MessageBody::Summary { text: String::new(), n_messages: 1 },
        });
        let queue = FifoQueue::new(None, record.into_iter().collect());
        let shown = ShownWorkingContext::reopened(history, &queue);
        assert_eq!(shown.at_flush.lines("human").join("\n"), at_flush);
        assert_eq!(shown.edits.iter().map(|id| id.0).collect::<Vec<_>>(), edits);
    }

    #[test]
    fn edits_since_the_last_flush_are_lines_of_the_conversation() {
        let history = [version("", None), version("a", Some(2)), version("a\nb", Some(6))];
        check(&history, None, "", &[2, 6]);
        check(&history, Some(4), "a", &[6]);
        check(&history, Some(8), "a\nb", &[]);
    }

    #[test]
    fn what_the_user_changed_is_shown_in_its_place() {
        let history = [
            version("", None),
            version("a", Some(2)),
            version("A", None),
            version("A\nb", Some(6)),
        ];
        check(&history, None, "A", &[6]);
        check(&history, Some(4), "A", &[6]);
    }
}
