//! Embedders whose vectors are known before: those that were made once in a run, and those of a list.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pagewise_core::{EmbedError, Embedder, Purpose};

/// Texts embedded at a time: the embedder makes smaller batches of them, of texts of one length.
const BATCH: usize = 256;

/// An embedder that embeds each text once.
pub(super) struct Remembering {
    embedder: Arc<dyn Embedder>,
    known: Mutex<HashMap<(bool, String), Vec<f32>>>,
}

impl Remembering {
    pub(super) fn new(embedder: Arc<dyn Embedder>) -> Self {
        Self { embedder, known: Mutex::default() }
    }

    /// Returns the vectors of texts, made now if they were not before.
    pub(super) fn vectors(
        &self,
        texts: &[&str],
        purpose: Purpose,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = |text: &str| (purpose == Purpose::Query, text.to_string());
        let mut unknown: Vec<&str> =
            texts.iter().copied().filter(|text| !known.contains_key(&key(text))).collect();
        unknown.sort_unstable();
        unknown.dedup();
        for batch in unknown.chunks(BATCH) {
            let vectors = self.embedder.embed(batch, purpose)?;
            known.extend(batch.iter().map(|text| key(text)).zip(vectors));
        }
        let vector = |text: &&str| known.get(&key(text)).cloned();
        Ok(texts.iter().filter_map(vector).collect())
    }
}

impl Embedder for Remembering {
    fn id(&self) -> &str {
        self.embedder.id()
    }

    fn dimensions(&self) -> usize {
        self.embedder.dimensions()
    }

    fn embed(&self, texts: &[&str], purpose: Purpose) -> Result<Vec<Vec<f32>>, EmbedError> {
        self.vectors(texts, purpose)
    }
}

/// A list of vectors; a text is the number of one of them, those to be found and those to look for apart.
pub(super) struct Listed {
    pub(super) vectors: Vec<Vec<f32>>,
    pub(super) queries: Vec<Vec<f32>>,
}

impl Embedder for Listed {
    fn id(&self) -> &str {
        "listed"
    }

    fn dimensions(&self) -> usize {
        self.vectors.first().map_or(0, Vec::len)
    }

    fn embed(&self, texts: &[&str], purpose: Purpose) -> Result<Vec<Vec<f32>>, EmbedError> {
        let list = match purpose {
            Purpose::Query => &self.queries,
            Purpose::Passage => &self.vectors,
        };
        let vector = |text: &&str| {
            let vector = text.parse::<usize>().ok().and_then(|place| list.get(place));
            vector.cloned().ok_or_else(|| EmbedError(format!("there is no vector {text:?}")))
        };
        texts.iter().map(vector).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use pagewise_testkit::HashEmbedder;

    use super::*;

    struct Counting(HashEmbedder, AtomicUsize);

    impl Embedder for Counting {
        fn id(&self) -> &str {
            self.0.id()
        }

        fn dimensions(&self) -> usize {
            self.0.dimensions()
        }

        fn embed(&self, texts: &[&str], purpose: Purpose) -> Result<Vec<Vec<f32>>, EmbedError> {
            self.1.fetch_add(texts.len(), Ordering::Relaxed);
            self.0.embed(texts, purpose)
        }
    }

    #[test]
    fn a_text_is_embedded_once() {
        let counting = Arc::new(Counting(HashEmbedder::new(), AtomicUsize::new(0)));
        let remembering = Remembering::new(counting.clone());
        let texts = ["a longer text", "short", "short"];
        let vectors = remembering.embed(&texts, Purpose::Passage).unwrap();
        assert_eq!(vectors, HashEmbedder::new().embed(&texts, Purpose::Passage).unwrap());
        remembering.embed(&["short", "new"], Purpose::Passage).unwrap();
        remembering.embed(&["short"], Purpose::Query).unwrap();
        assert_eq!(counting.1.load(Ordering::Relaxed), 4);
    }
}
