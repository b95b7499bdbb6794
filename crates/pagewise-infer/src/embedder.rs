//! Embedders: texts in, vectors out, from a folder of files.
//!
//! Two kinds are known. A [`Bert`] reads a text with attention over all of it, and is pooled into
//! one vector; a [`StaticTable`] has a vector for each token, of which a text is the mean. What
//! tells them apart, how they pool and what stands before a query is read by `folder.rs`.
//!
//! Texts of about one length are read together, as many as make a batch worth its matrix products;
//! none is padded. Batches are spread over the threads, and a single one has all of them.

mod bert;
mod folder;
mod pieces;
mod static_table;
mod tokenizer;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pagewise_core::{EmbedError, Embedder, Purpose};
use pagewise_kernels::{Isa, ThreadPool};

use crate::LoadError;
use crate::brief::brief;
use bert::Bert;
use folder::{EmbedderFolder, Kind};
use static_table::StaticTable;
use tokenizer::EmbedderTokenizer;

/// Tokens that are read together: enough that weights are not the larger part of what is moved,
/// few enough that the numbers in between stay in the second-level cache.
const BATCH_TOKENS: usize = 256;

/// An embedder from a folder, as sentence-transformers or model2vec writes it.
pub struct SentenceEmbedder {
    id: String,
    folder: PathBuf,
    tokenizer: EmbedderTokenizer,
    query_prefix: String,
    passage_prefix: String,
    /// Whether texts are turned to lower case before all else.
    lowercases: bool,
    model: Model,
    pool: ThreadPool,
}

enum Model {
    Bert(Box<Bert>),
    Static(StaticTable),
}

impl SentenceEmbedder {
    /// Checks that a folder is one of an embedder of a kind that is read here, without its weights.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn check(dir: &Path) -> Result<(), LoadError> {
        EmbedderFolder::open(dir).map(drop)
    }

    /// Opens the folder `dir`: `config.json`, `tokenizer.json` and `model.safetensors`, and what
    /// else sentence-transformers puts there if it is there.
    ///
    /// The weights are mapped, so that only what is used is read. `threads` is how many of the
    /// processor's to use, all of them if `None`.
    ///
    /// # Errors
    ///
    /// When a file is missing, damaged, or describes an embedder of another kind.
    pub fn load(dir: &Path, threads: Option<usize>) -> Result<Self, LoadError> {
        let folder = EmbedderFolder::open(dir)?;
        let (model, tokenizer, max_tokens) = match folder.kind() {
            Kind::Bert => {
                let bert = Bert::load(&folder)?;
                let tokenizer = folder.tokenizer(bert.n_tokens())?;
                let max_tokens = folder.max_tokens(bert.n_positions())?;
                (Model::Bert(Box::new(bert)), tokenizer, Some(max_tokens))
            }
            Kind::Static => {
                let mut table = StaticTable::load(&folder)?;
                let tokenizer = folder.tokenizer(table.n_tokens())?;
                table.leave_out(tokenizer.unknown());
                let max_tokens = table.max_tokens();
                (Model::Static(table), tokenizer, max_tokens)
            }
        };
        let tokenizer =
            tokenizer.with_limit(max_tokens).map_err(|reason| folder.tokenizer_fault(reason))?;
        let (query_prefix, passage_prefix) = folder.prefixes();
        let threads = threads
            .or_else(|| std::thread::available_parallelism().ok().map(Into::into))
            .unwrap_or(1);
        Ok(Self {
            id: folder.id(max_tokens),
            folder: dir.to_owned(),
            tokenizer,
            query_prefix,
            passage_prefix,
            lowercases: folder.lowercases(),
            model,
            pool: ThreadPool::new(threads),
        })
    }

    /// Uses only these instructions of the processor.
    pub fn with_isa(self, isa: Isa) -> Self {
        Self { pool: ThreadPool::with_isa(self.pool.threads(), isa), ..self }
    }

    /// Returns how many tokens are read of a text, for measurements.
    ///
    /// # Errors
    ///
    /// When the text cannot be cut into tokens.
    pub fn n_tokens(&self, text: &str, purpose: Purpose) -> Result<usize, EmbedError> {
        Ok(self.tokens(text, purpose)?.len())
    }

    fn tokens(&self, text: &str, purpose: Purpose) -> Result<Vec<u32>, EmbedError> {
        let prefix = match purpose {
            Purpose::Query => &self.query_prefix,
            Purpose::Passage => &self.passage_prefix,
        };
        let mut text = format!("{prefix}{text}");
        if self.lowercases {
            text = text.to_lowercase();
        }
        self.tokenizer.encode(text).map_err(|error| {
            EmbedError(format!("a text could not be cut into tokens: {}", brief(error)))
        })
    }

    fn embed_batch(&self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>, EmbedError> {
        match &self.model {
            Model::Bert(bert) => bert.embed(texts, &self.pool),
            Model::Static(table) => {
                texts.iter().map(|tokens| table.embed(tokens, self.pool.isa())).collect()
            }
        }
    }
}

impl Embedder for SentenceEmbedder {
    fn id(&self) -> &str {
        &self.id
    }

    fn dimensions(&self) -> usize {
        match &self.model {
            Model::Bert(bert) => bert.dimensions(),
            Model::Static(table) => table.dimensions(),
        }
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.folder)
    }

    fn embed(&self, texts: &[&str], purpose: Purpose) -> Result<Vec<Vec<f32>>, EmbedError> {
        let tokens =
            in_parallel(&self.pool, texts.len(), &|index| self.tokens(texts[index], purpose))?;
        // The longest first, so that short ones fill the end.
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(tokens[*index].len()));
        let batches = cut_into_batches(&order, &tokens);
        let embedded = in_parallel(&self.pool, batches.len(), &|index| {
            let of_batch: Vec<&[u32]> =
                batches[index].iter().map(|text| tokens[*text].as_slice()).collect();
            self.embed_batch(&of_batch)
        })?;
        let mut vectors = vec![Vec::new(); texts.len()];
        for (text, mut vector) in order.iter().zip(embedded.into_iter().flatten()) {
            make_unit(&mut vector);
            vectors[*text] = vector;
        }
        Ok(vectors)
    }
}

/// Cuts `order` into batches of about [`BATCH_TOKENS`] tokens.
fn cut_into_batches<'a>(order: &'a [usize], tokens: &[Vec<u32>]) -> Vec<&'a [usize]> {
    let mut batches = Vec::new();
    let (mut start, mut n_tokens) = (0, 0);
    for (at, text) in order.iter().enumerate() {
        if at > start && n_tokens + tokens[*text].len() > BATCH_TOKENS {
            batches.push(&order[start..at]);
            (start, n_tokens) = (at, 0);
        }
        n_tokens += tokens[*text].len();
    }
    if start < order.len() {
        batches.push(&order[start..]);
    }
    batches
}

/// Returns what `task` makes of `0..n`, in order, or the first of its errors.
fn in_parallel<T: Send>(
    pool: &ThreadPool,
    n: usize,
    task: &(dyn Fn(usize) -> Result<T, EmbedError> + Sync),
) -> Result<Vec<T>, EmbedError> {
    if n == 1 {
        // Not as a task, inside of which all work would be one thread's.
        return Ok(vec![task(0)?]);
    }
    let results: Vec<Mutex<Option<Result<T, EmbedError>>>> =
        (0..n).map(|_| Mutex::new(None)).collect();
    pool.run(n, &|index| {
        let result = task(index);
        *results[index].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    });
    let nothing = || Err(EmbedError("a thread ended before its work was done".into()));
    results
        .into_iter()
        .map(|result| {
            result.into_inner().unwrap_or_else(PoisonError::into_inner).unwrap_or_else(nothing)
        })
        .collect()
}

/// Brings a vector to length 1, unless it is zero.
fn make_unit(vector: &mut [f32]) {
    let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_full_and_no_text_is_left_out() {
        let tokens: Vec<Vec<u32>> =
            [300, 200, 100, 60, 50, 40, 6, 0].map(|len| vec![0; len]).to_vec();
        let order: Vec<usize> = (0..tokens.len()).collect();
        let batches = cut_into_batches(&order, &tokens);
        assert_eq!(batches, [&[0][..], &[1], &[2, 3, 4, 5, 6, 7]]);
        assert!(cut_into_batches(&[], &[]).is_empty());
    }

    #[test]
    fn a_vector_of_zeros_stays_one() {
        let mut vector = [0.0, 0.0];
        make_unit(&mut vector);
        assert_eq!(vector, [0.0, 0.0]);
        let mut vector = [3.0, 4.0];
        make_unit(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
    }
}
