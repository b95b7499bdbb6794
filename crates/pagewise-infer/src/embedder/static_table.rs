//! A vector for each token, of which a text is the mean: what model2vec makes of a larger model.

use pagewise_core::EmbedError;
use pagewise_kernels::{Isa, Matrix};
use serde::Deserialize;

use super::folder::EmbedderFolder;
use super::tokenizer::MAX_TOKENS;
use crate::weights::Weight;
use crate::{LoadError, TensorBytes};

/// The longest text of a table that does not say it, in tokens.
const MAX_LENGTH: usize = 512;

/// The vectors of tokens.
pub(super) struct StaticTable {
    /// `(n_rows, dimensions)`
    vectors: Weight,
    /// The row of each token, where tokens share rows.
    rows: Option<Vec<u32>>,
    /// What the vector of each token is multiplied with.
    weights: Option<Vec<f32>>,
    /// A token that says nothing, because the tokenizer did not know a word.
    unknown: Option<u32>,
    max_tokens: Option<usize>,
}

/// Of `config.json`; whether the mean is brought to length 1 does not matter, because here every
/// vector is.
#[derive(Deserialize)]
struct Config {
    /// `null` where there is no limit.
    #[serde(default = "default_max_tokens")]
    max_length: Option<usize>,
}

fn default_max_tokens() -> Option<usize> {
    Some(MAX_LENGTH)
}

impl StaticTable {
    pub(super) fn load(folder: &EmbedderFolder) -> Result<Self, LoadError> {
        let config: Config = folder.config("does not describe a table of vectors")?;
        if config.max_length == Some(0) {
            return Err(folder.config_fault("leaves no room for a text"));
        }
        let vectors = folder.any_shape("embeddings")?;
        let (n_rows, dimensions) = (vectors.n_rows(), vectors.n_cols());
        if vectors.shape.len() != 2 || n_rows == 0 || !(1..1 << 16).contains(&dimensions) {
            return Err(folder.weights_fault("has embeddings that are no table of vectors"));
        }
        let rows = match folder.raw("mapping") {
            None => None,
            // As I64, all of them take 8 bytes each.
            Some((_, bytes)) if bytes.len() > 8 * MAX_TOKENS => {
                return Err(folder.weights_fault("has a mapping of far too many tokens"));
            }
            Some((kind, bytes)) => Some(read_rows(&kind, &bytes, n_rows).ok_or_else(|| {
                folder.weights_fault("has a mapping that does not fit its embeddings")
            })?),
        };
        let n_tokens = rows.as_ref().map_or(n_rows, Vec::len);
        if n_tokens > MAX_TOKENS {
            return Err(folder.weights_fault(format!("has vectors for {n_tokens} tokens")));
        }
        let weights = match folder.raw("weights") {
            None => None,
            Some((_, bytes)) if bytes.len() > 8 * MAX_TOKENS => {
                return Err(folder.weights_fault("has weights of far too many tokens"));
            }
            Some((kind, bytes)) => Some(
                read_floats(&kind, &bytes).filter(|weights| weights.len() == n_tokens).ok_or_else(
                    || folder.weights_fault("has weights that are not one number for each token"),
                )?,
            ),
        };
        Ok(Self { vectors, rows, weights, unknown: None, max_tokens: config.max_length })
    }

    /// Leaves out `token`, which says nothing, from here on.
    pub(super) fn leave_out(&mut self, token: Option<u32>) {
        self.unknown = token;
    }

    pub(super) fn dimensions(&self) -> usize {
        self.vectors.n_cols()
    }

    /// Returns how many tokens it knows.
    pub(super) fn n_tokens(&self) -> usize {
        self.rows.as_ref().map_or(self.vectors.n_rows(), Vec::len)
    }

    /// Returns how many tokens are read of a text, if there is a limit.
    pub(super) fn max_tokens(&self) -> Option<usize> {
        self.max_tokens
    }

    /// Returns the mean of the vectors of `tokens`; zeros if there are none.
    pub(super) fn embed(&self, tokens: &[u32], isa: Isa) -> Result<Vec<f32>, EmbedError> {
        let table: Matrix<'_> =
            self.vectors.matrix().map_err(|error| EmbedError(error.to_string()))?;
        let mut sums = vec![0f64; table.n_cols()];
        let mut vector = vec![0f32; table.n_cols()];
        let mut n_known = 0_u32;
        for &token in tokens.iter().filter(|token| Some(**token) != self.unknown) {
            let row = match &self.rows {
                Some(rows) => rows.get(token as usize).copied(),
                None => Some(token),
            };
            let Some(row) = row.filter(|row| (*row as usize) < table.n_rows()) else {
                return Err(EmbedError(format!("there is no token {token}")));
            };
            table.dequantize_row(isa, row as usize, &mut vector);
            let weight = self.weights.as_ref().map_or(1.0, |weights| weights[token as usize]);
            for (sum, x) in sums.iter_mut().zip(&vector) {
                *sum += f64::from(weight * x);
            }
            n_known += 1;
        }
        let n_known = f64::from(n_known.max(1));
        Ok(sums.into_iter().map(|sum| (sum / n_known) as f32).collect())
    }
}

/// Reads the row of each token, all of which must be there.
fn read_rows(kind: &str, bytes: &TensorBytes, n_rows: usize) -> Option<Vec<u32>> {
    let row = |row: i64| u32::try_from(row).ok().filter(|row| (*row as usize) < n_rows);
    match kind {
        "I64" => whole::<8>(bytes)?.iter().map(|bytes| row(i64::from_le_bytes(*bytes))).collect(),
        "I32" => whole(bytes)?.iter().map(|bytes| row(i32::from_le_bytes(*bytes).into())).collect(),
        _ => None,
    }
}

fn read_floats(kind: &str, bytes: &TensorBytes) -> Option<Vec<f32>> {
    Some(match kind {
        "F64" => whole::<8>(bytes)?.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
        "F32" => whole::<4>(bytes)?.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        "F16" => {
            let halves = whole::<2>(bytes)?.iter();
            halves.map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect()
        }
        _ => return None,
    })
}

/// Views bytes as numbers of `N` bytes each, if they are that and nothing else.
fn whole<const N: usize>(bytes: &[u8]) -> Option<&[[u8; N]]> {
    let (numbers, rest) = bytes.as_chunks::<N>();
    rest.is_empty().then_some(numbers)
}
