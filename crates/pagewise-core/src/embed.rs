//! The embedder as the tiers of memory see it.

use thiserror::Error;

/// Turns texts into vectors whose dot product is their similarity in meaning.
pub trait Embedder: Send + Sync {
    /// Returns a name that changes whenever the vectors would: stored beside each of them.
    fn id(&self) -> &str;

    /// Returns the length of each vector.
    fn dimensions(&self) -> usize;

    /// Returns one vector of length 1 (Euclidean) for each text, in order.
    ///
    /// A text longer than the embedder's own window is cut there.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError>;
}

/// The embedder could not do its work.
#[derive(Debug, Error)]
#[error("the embedder failed: {0}")]
pub struct EmbedError(pub String);
