//! Every threshold and bound of the operating system, in one place, with its unit.

use pagewise_core::Sampling;
use pagewise_memory::SearchMode;
use serde::{Deserialize, Serialize};

/// How main context is shown to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rendering {
    /// The state rebuilt into one user turn at each step: what small models handle best.
    Frame,
    /// A chat: events are user turns, calls assistant turns, results tool turns, as in the paper.
    Transcript,
}

/// When the model runs again after a call that succeeded. It always does after one that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Heartbeats {
    /// After every function but `send_message`: a search or an edit is never the last word.
    Implied,
    /// When the call says `"request_heartbeat": true` (MemGPT paper, section 2.4).
    Asked,
}

/// The settings of an agent. The defaults are for models of 0.5 to 3 billion parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentConfig {
    /// The text that the working context's `persona` block begins with.
    pub persona: String,
    /// How main context is shown to the model.
    pub rendering: Rendering,
    /// When the model runs again.
    pub heartbeats: Heartbeats,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Seeds every answer, together with the number of the message it answers.
    pub seed: u64,

    /// Memory pressure warning at this fraction of the window (MemGPT paper, section 2.2: 70%).
    pub warning_fraction: f64,
    /// Flush when the prompt and the room for an answer exceed this fraction of the window.
    pub flush_fraction: f64,
    /// The fraction of the queue's tokens that a flush evicts (MemGPT paper, section 2.2: 50%).
    pub evict_fraction: f64,
    /// Messages at the end of the queue that a flush never evicts.
    pub keep_last_messages: usize,
    /// Tokens of the window kept free for an answer; less in a window below seven times as many.
    pub answer_tokens: usize,
    /// The longest recursive summary, in characters; never more than a quarter as many as the
    /// window has tokens.
    pub summary_max_chars: usize,
    /// From this window on, in tokens, the system instructions have examples.
    pub examples_from_window_tokens: usize,
    /// The longest a message is shown in the queue, in characters; recall storage has all of it.
    pub shown_message_chars: usize,
    /// The longest a search result is shown, in characters.
    pub shown_result_chars: usize,

    /// The most steps that one event may take, without what is noted; at the last one the model can only reply.
    pub steps_per_event: usize,
    /// The most searches that one event may take.
    pub searches_per_event: usize,
    /// The most edits of working context that the steps of one event may make; after noting, none.
    pub edits_per_event: usize,
    /// Calls in a row with the same function and arguments after which the function is masked.
    pub repeats_allowed: usize,
    /// Whether the model decides what a message asks for before the first step; if not, a question mark
    /// does.
    pub intake: bool,
    /// Whether the model notes what a message tells by itself; only after an intake.
    pub noting: bool,
    /// The most facts that are noted of one message.
    pub facts_per_message: usize,
    /// Whether the model reads what a search found by itself before it replies; never in a transcript.
    pub reading: bool,
    /// Whether the model decides if what it has read answers the message, and searches on if it does not.
    pub checking: bool,
    /// Whether a question is answered only after one search, once there is something to find.
    pub search_before_answer: bool,
    /// Whether what the event says is wanted joins the model's words in a search.
    pub event_words_in_search: bool,
    /// What makes a text a hit of a search.
    pub search_mode: SearchMode,
    /// Results on a page of a search.
    pub page_size: u32,

    /// The longest message to the user, in characters.
    pub message_max_chars: usize,
    /// The longest text that one call can put into memory, in characters.
    pub memory_text_max_chars: usize,
    /// The longest query, in characters.
    pub query_max_chars: usize,
    /// The longest thought before a call, in characters; none if `None`.
    pub thought_max_chars: Option<usize>,
    /// The limit of the working context's `human` block, in characters.
    pub human_block_chars: usize,
    /// The limit of the working context's `persona` block, in characters.
    pub persona_block_chars: usize,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            persona: "I am a friendly, attentive assistant. I answer briefly and truthfully."
                .into(),
            rendering: Rendering::Frame,
            heartbeats: Heartbeats::Implied,
            sampling: Sampling::default(),
            seed: 0,
            warning_fraction: 0.70,
            flush_fraction: 1.0,
            evict_fraction: 0.5,
            keep_last_messages: 4,
            answer_tokens: 200,
            summary_max_chars: 500,
            examples_from_window_tokens: 1_536,
            shown_message_chars: 1_200,
            shown_result_chars: 300,
            steps_per_event: 8,
            searches_per_event: 3,
            edits_per_event: 1,
            repeats_allowed: 1,
            intake: true,
            noting: true,
            facts_per_message: 5,
            reading: true,
            checking: true,
            search_before_answer: true,
            event_words_in_search: true,
            search_mode: SearchMode::Fused,
            page_size: 6,
            message_max_chars: 600,
            memory_text_max_chars: 200,
            query_max_chars: 100,
            thought_max_chars: None,
            human_block_chars: 2_000,
            persona_block_chars: 2_000,
        }
    }
}
