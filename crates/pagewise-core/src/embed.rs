//! The embedder as the tiers of memory see it.

use std::path::Path;

use thiserror::Error;

/// Turns texts into vectors whose dot product is their similarity in meaning.
pub trait Embedder: Send + Sync {
    /// Returns a name that changes whenever the vectors would: stored beside each of them.
    fn id(&self) -> &str;

    /// Returns the length of each vector; an embedder of no dimensions stands for none at all.
    fn dimensions(&self) -> usize;

    /// Returns the folder with its weights, where it is found again; `None` if it has none.
    fn folder(&self) -> Option<&Path> {
        None
    }

    /// Returns one vector of length 1 (Euclidean) for each text, in order; all zeros for a text
    /// of which the embedder knows nothing.
    ///
    /// A text longer than the embedder's own window is cut there.
    fn embed(&self, texts: &[&str], purpose: Purpose) -> Result<Vec<Vec<f32>>, EmbedError>;
}

/// What texts are embedded for. Some embedders are trained to tell the two apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To look for passages.
    Query,
    /// To be found.
    Passage,
}

/// The embedder could not do its work.
#[derive(Debug, Error)]
#[error("the embedder failed: {0}")]
pub struct EmbedError(pub String);
