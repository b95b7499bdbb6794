//! The FIFO queue: what of the conversation is in main context (MemGPT paper, section 2.1).
//!
//! Its first entry is the recursive summary of what was evicted. The queue holds copies: recall
//! storage has every message before it enters, so eviction loses nothing. It counts messages; what
//! a message costs in tokens is the queue manager's business.

use std::collections::VecDeque;

use pagewise_core::{Message, MessageBody};

use crate::Summary;

/// The recursive summary and the messages in view, oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FifoQueue {
    summary: Option<Summary>,
    messages: VecDeque<Message>,
}

impl FifoQueue {
    /// Creates a queue as it was left.
    pub fn new(summary: Option<Summary>, messages: Vec<Message>) -> Self {
        Self { summary, messages: messages.into() }
    }

    /// Returns the recursive summary, if anything was evicted yet.
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }

    /// Puts another recursive summary at the head.
    pub fn set_summary(&mut self, summary: Summary) {
        self.summary = Some(summary);
    }

    /// Returns the messages in view, oldest first.
    pub fn messages(&self) -> impl DoubleEndedIterator<Item = &Message> + ExactSizeIterator {
        self.messages.iter()
    }

    /// Returns how many messages are in view.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Returns whether no message is in view.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Adds a message that recall storage already has.
    pub fn push(&mut self, message: Message) {
        self.messages.push_back(message);
    }

    /// Removes the `n` oldest messages, or all if there are fewer, and returns them.
    pub fn evict(&mut self, n: usize) -> Vec<Message> {
        self.messages.drain(..n.min(self.messages.len())).collect()
    }

    /// Returns how many of the oldest messages to evict when `wanted` should go and the last
    /// `keep_last` must stay.
    ///
    /// It is `wanted`, or a little more so that the queue does not begin with the result of a call
    /// that is gone; if that would touch the messages that stay, it is less.
    pub fn n_evictable(&self, wanted: usize, keep_last: usize) -> usize {
        let most = self.messages.len().saturating_sub(keep_last);
        let mut n = wanted.min(most);
        if n == 0 {
            return 0;
        }
        while n < most && self.begins_with_result(n) {
            n += 1;
        }
        while n > 0 && self.begins_with_result(n) {
            n -= 1;
        }
        n
    }

    /// Whether the queue would begin with a result if `n` messages were gone.
    fn begins_with_result(&self, n: usize) -> bool {
        self.messages.get(n).is_some_and(|message| matches!(message.body, MessageBody::Result(_)))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use pagewise_core::{FunctionCall, FunctionResult, MessageId, Status};
    use proptest::prelude::*;

    use super::*;

    /// `u` a user message, `c` a call, `r` its result.
    fn queue(kinds: &str) -> FifoQueue {
        let messages = kinds.chars().enumerate().map(|(index, kind)| Message {
            id: MessageId(index as i64 + 1),
            at: Timestamp::UNIX_EPOCH,
            body: match kind {
                'u' => MessageBody::User { text: "hello".into() },
                'c' => MessageBody::Call(FunctionCall {
                    thought: None,
                    function: "search".into(),
                    arguments: serde_json::Map::new(),
                    request_heartbeat: None,
                }),
                _ => MessageBody::Result(FunctionResult {
                    function: "search".into(),
                    status: Status::Ok,
                    message: String::new(),
                }),
            },
        });
        FifoQueue::new(None, messages.collect())
    }

    fn check(kinds: &str, wanted: usize, keep_last: usize, expected: usize) {
        assert_eq!(
            queue(kinds).n_evictable(wanted, keep_last),
            expected,
            "{kinds} {wanted} {keep_last}"
        );
    }

    #[test]
    fn the_cut_never_parts_a_call_from_its_result() {
        check("ucrucr", 2, 0, 3);
        check("ucrucr", 1, 0, 1);
        check("ucrucr", 3, 0, 3);
        check("ucr", 2, 1, 1);
        check("cr", 1, 1, 0);
        check("ucrr", 2, 1, 1);
        check("uuuu", 9, 3, 1);
        check("uuuu", 9, 9, 0);
        check("uuuu", 0, 0, 0);
        // The reference looked at the message under the cut before it knew that there was one.
        check("", 5, 0, 0);
        check("crr", 3, 0, 3);
        check("rrr", 1, 0, 3);
    }

    proptest! {
        #[test]
        fn eviction_keeps_order_and_the_last_messages(
            turns in prop::collection::vec(prop_oneof![Just("u"), Just("cr"), Just("c")], 0..20),
            wanted in 0usize..50,
            keep_last in 0usize..50,
        ) {
            let mut queue = queue(&turns.concat());
            let all: Vec<Message> = queue.messages().cloned().collect();
            let n = queue.n_evictable(wanted, keep_last);
            let evicted = queue.evict(n);
            prop_assert_eq!(evicted.len(), n);
            prop_assert!(queue.len() >= keep_last.min(all.len()));
            let begins_with_result = matches!(queue.messages().next().map(|m| &m.body), Some(MessageBody::Result(_)));
            prop_assert!(!begins_with_result);
            // Progress: whatever may go without parting a call from its result does go.
            if wanted > 0 && n == 0 {
                let most = all.len().saturating_sub(keep_last);
                prop_assert!(most == 0 || (most == 1 && matches!(all[1].body, MessageBody::Result(_))));
            }
            let rest: Vec<Message> = evicted.into_iter().chain(queue.messages().cloned()).collect();
            prop_assert_eq!(rest, all);
        }
    }
}
