//! The experiments: what is asked, in which words, and what makes an answer right. A generator and the
//! loaders of the public data make the same cases from their own material.

pub(super) mod bfcl_memory;
pub(super) mod core_memory;
pub(super) mod dmr;
pub(super) mod doc_qa;
pub(super) mod function_calls;
pub(super) mod locomo;
pub(super) mod longmemeval;
pub(super) mod nested_kv;
pub(super) mod opener;
pub(super) mod quest;
pub(super) mod topic_retrieval;

use pagewise_memory::Block;

/// The limit of a block that the experiment fills, in characters: twice what the longest needs.
const BLOCK_CHARS: usize = 4_000;

/// Who the agent is: a block that it cannot change.
fn persona(text: &str) -> Block {
    Block {
        label: "persona".into(),
        description: "who you are".into(),
        value: text.into(),
        limit_chars: BLOCK_CHARS,
        read_only: true,
    }
}

/// What the agent knows about the user.
fn human(text: &str) -> Block {
    Block {
        label: "human".into(),
        description: "what you know about the user".into(),
        value: text.into(),
        limit_chars: BLOCK_CHARS,
        read_only: false,
    }
}
