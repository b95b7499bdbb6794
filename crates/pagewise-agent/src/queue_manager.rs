//! Decides what stays in main context (MemGPT paper, section 2.2).
//!
//! Every message is in recall storage before it enters the FIFO queue, so eviction only ever
//! forgets a copy. Two levels drive it: at `warning_fraction` of the window the model is warned
//! once, while it can still save what matters; when the prompt and the room for an answer exceed
//! `flush_fraction`, the oldest messages leave and a recursive summary takes their place.
//!
//! The queue manager never calls the model: it says what must go, the agent asks for the summary.

use pagewise_core::MessageId;
use pagewise_memory::FifoQueue;

use crate::config::AgentConfig;

/// In a small window an answer is given this part of it, and not what the configuration says.
const LEAST_ANSWER_SHARE: usize = 7;

/// The levels of one window, in tokens of the rendered prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Levels {
    /// At this many, the model is warned.
    pub(crate) warning_tokens: usize,
    /// No prompt has more.
    pub(crate) budget_tokens: usize,
    /// Kept free for an answer.
    pub(crate) answer_tokens: usize,
}

impl Levels {
    pub(crate) fn of(config: &AgentConfig, window_tokens: usize) -> Self {
        let share = |fraction: f64| (window_tokens as f64 * fraction.clamp(0.0, 1.0)) as usize;
        let answer_tokens = config.answer_tokens.min(window_tokens / LEAST_ANSWER_SHARE);
        let budget_tokens = share(config.flush_fraction).saturating_sub(answer_tokens);
        let warning_tokens = share(config.warning_fraction).min(budget_tokens);
        Self { warning_tokens, budget_tokens, answer_tokens }
    }
}

/// Returns how many messages to evict so that the prompt comes down to the flush's goal, or all
/// that may go if none of them is enough. 0 only if none may go.
///
/// `count` says how many tokens the prompt has with so many of the oldest messages gone. The goal
/// is to free `evict_fraction` of the tokens that the queue takes.
pub(crate) fn plan_eviction<E>(
    queue: &FifoQueue,
    event: Option<MessageId>,
    config: &AgentConfig,
    budget_tokens: usize,
    mut count: impl FnMut(usize) -> Result<usize, E>,
) -> Result<usize, E> {
    // The event under way and what it set off stay, however long that is.
    let n_before_event =
        queue.messages().take_while(|message| event.is_none_or(|event| message.id < event)).count();
    let n_kept = (queue.len() - n_before_event).max(config.keep_last_messages);
    let most = queue.n_evictable(queue.len(), n_kept);
    if most == 0 {
        return Ok(0);
    }
    let (full, empty) = (count(0)?, count(most)?);
    let freed =
        (full.saturating_sub(empty) as f64 * config.evict_fraction.clamp(0.0, 1.0)) as usize;
    let goal = full.saturating_sub(freed).min(budget_tokens);
    // Fewer messages never make a longer prompt, so the least number that reaches the goal is
    // found by halving.
    let (mut too_few, mut enough) = (0, most);
    while enough - too_few > 1 {
        let middle = usize::midpoint(too_few, enough);
        if count(middle)? <= goal {
            enough = middle;
        } else {
            too_few = middle;
        }
    }
    Ok(queue.n_evictable(enough, n_kept).max(1).min(most))
}
