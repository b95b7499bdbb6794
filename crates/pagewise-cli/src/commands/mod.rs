//! One file for each command: its flags, its help and what it does.

pub(crate) mod agents;
pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod ingest;
pub(crate) mod memory;
pub(crate) mod models;
pub(crate) mod pull;
pub(crate) mod run;
