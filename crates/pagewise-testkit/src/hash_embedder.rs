use pagewise_core::{EmbedError, Embedder, Purpose};

/// The length of the vectors.
const DIMENSIONS: usize = 64;

/// An embedder without weights: each word of a text adds 1 or -1 at a place that its hash says.
///
/// Texts that share words are near to each other, and the same text always has the same vector.
#[derive(Debug, Clone)]
pub struct HashEmbedder {
    id: String,
}

impl HashEmbedder {
    /// Creates the embedder.
    pub fn new() -> Self {
        Self::with_id("hash-64")
    }

    /// Creates an embedder with another name and other vectors.
    pub fn with_id(id: &str) -> Self {
        Self { id: id.into() }
    }

    fn vector(&self, text: &str) -> Vec<f32> {
        let mut vector = vec![0.0_f32; DIMENSIONS];
        let lower = text.to_lowercase();
        for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            let hash = hash(self.id.bytes().chain(word.bytes()));
            let place = usize::try_from(hash % DIMENSIONS as u64).unwrap_or(0);
            vector[place] += if hash >> 63 == 0 { 1.0 } else { -1.0 };
        }
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        if length > 0.0 {
            vector.iter_mut().for_each(|value| *value /= length);
        }
        vector
    }
}

impl Default for HashEmbedder {
    fn default() -> Self {
        Self::new()
    }
}

/// FNV-1a, then mixed so that the high bits depend on all bytes.
fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Embedder for HashEmbedder {
    fn id(&self) -> &str {
        &self.id
    }

    fn dimensions(&self) -> usize {
        DIMENSIONS
    }

    fn embed(&self, texts: &[&str], _purpose: Purpose) -> Result<Vec<Vec<f32>>, EmbedError> {
        Ok(texts.iter().map(|text| self.vector(text)).collect())
    }
}
