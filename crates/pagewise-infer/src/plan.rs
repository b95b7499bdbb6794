//! What a model will take before it is loaded: memory, and time on this machine.
//!
//! Memory is counted: the weights stay where they lie in their file, the KV cache is as large as its
//! window, and what a chunk of a prompt takes besides follows from the widths of the layers. Time is
//! measured with our own kernels on made-up matrices that are stored as the model's are.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pagewise_kernels::{Matrix, ThreadPool};

use crate::compute::Compute;
use crate::weights::{TensorSummary, block_type};
use crate::{
    DecoderConfig, InferError, KvCache, LoadError, PREFILL_CHUNK_TOKENS, TensorType, Weights,
};

/// The program itself, its threads and what little is kept of each tensor, in bytes; measured.
const PROGRAM_BYTES: u64 = 12 << 20;

/// What of a table becomes resident with each of its rows that is read: the kernel maps so much at
/// once around what is touched.
const TABLE_BYTES_PER_TOKEN: u64 = 64 << 10;

/// The memory that a model takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// What is read of the mapped file, or copied to a GPU.
    pub weights: u64,
    /// Keys and values of one session that fills its window.
    pub kv_cache: u64,
    /// What a chunk of a prompt takes between layers, the logits, and the program.
    pub scratch: u64,
}

impl MemoryPlan {
    /// Returns all of it together.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.kv_cache).saturating_add(self.scratch)
    }
}

/// What is known of a model without loading it.
#[derive(Debug)]
pub struct ModelPlan {
    config: DecoderConfig,
    path: PathBuf,
    /// Whether it takes the memory of this machine, and not a GPU's.
    is_on_processor: bool,
    /// Of what is read for every token.
    weights_bytes: u64,
    /// Of the table of embeddings, if it is not the head: only the rows of some tokens are read.
    table_bytes: u64,
    kv_bytes_per_token: u64,
    /// Of each way of storing numbers: bytes read, and numbers multiplied with, for each token.
    per_token: Vec<TokenCost>,
}

/// What a token takes of the matrices that are stored in one way.
#[derive(Debug, Clone, Copy)]
struct TokenCost {
    tensor_type: TensorType,
    /// When one token is generated.
    decode_bytes: f64,
    /// When many are read at once; the head is used for the last of them alone.
    prefill_macs: f64,
}

/// How fast a model will run on this machine, in tokens per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// One token after the other, at the beginning of a window.
    pub decode: f64,
    /// Many tokens at once, without what attention takes.
    pub prefill: f64,
    /// Bytes of weights that a second reads while tokens are generated.
    pub bytes_per_second: f64,
}

impl ModelPlan {
    /// Reads what `weights` say of themselves, for `compute`.
    pub fn new(weights: &Weights, compute: &Compute) -> Result<Self, LoadError> {
        let config = weights.config()?;
        let tensors = weights.tensors()?;
        // A short cache takes as much for each token as a long one.
        let cache_error = |error: InferError| match error {
            InferError::Tensor(error) => LoadError::Tensor(error),
            InferError::OutOfMemory(error) => LoadError::OutOfMemory(error),
            error => LoadError::Config {
                path: weights.path().to_owned(),
                reason: format!("cannot have a KV cache: {error}"),
            },
        };
        let cache = KvCache::new(&config, KV_SAMPLE_TOKENS, compute).map_err(cache_error)?;
        let kv_bytes_per_token = cache.bytes().div_ceil(KV_SAMPLE_TOKENS) as u64;
        let table = tensors.iter().find(|tensor| is_table(tensor) && !config.is_tied);
        let table_bytes = table.map_or(0, |table| table.n_bytes);
        let read = weights.file_bytes().saturating_sub(table_bytes);
        // Without our own kernels, tensors are copied out of the map; a GPU has the copy alone.
        let is_on_processor = compute.device().is_cpu();
        let n_copies = if is_on_processor && compute.pool().is_none() { 2 } else { 1 };
        Ok(Self {
            path: weights.path().to_owned(),
            is_on_processor,
            weights_bytes: read.saturating_mul(n_copies),
            table_bytes,
            kv_bytes_per_token,
            per_token: per_token(&config, &tensors),
            config,
        })
    }

    /// Returns what the model is made of.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Returns the memory that the model takes with a window of `window_tokens`.
    pub fn memory(&self, window_tokens: usize) -> MemoryPlan {
        let window = window_tokens as u64;
        MemoryPlan {
            weights: self.weights_bytes
                + self.table_bytes.min(TABLE_BYTES_PER_TOKEN.saturating_mul(window)),
            kv_cache: self.kv_bytes_per_token.saturating_mul(window),
            scratch: self.scratch(window),
        }
    }

    /// Refuses a window with which the model cannot be run in `available` bytes of this machine's memory.
    ///
    /// `available` must be all that there could be: mapped weights can always be dropped and read
    /// again, but with less than the model takes in all, some of them would be for every token.
    pub fn check(&self, window_tokens: usize, available: u64) -> Result<(), LoadError> {
        let needed_bytes = self.memory(window_tokens).total();
        if !self.is_on_processor || needed_bytes <= available {
            return Ok(());
        }
        Err(LoadError::TooLarge {
            path: self.path.clone(),
            window_tokens,
            needed_bytes,
            available_bytes: available,
            largest_window: self.largest_window(available),
        })
    }

    /// Returns the largest window with which the model takes no more than `available` bytes, at most
    /// what it was trained for; `None` if it does not even fit without one.
    pub fn largest_window(&self, available: u64) -> Option<usize> {
        let fits = |window: &usize| self.memory(*window).total() <= available;
        let most = self.config.context_length;
        if fits(&most) {
            return Some(most);
        }
        // Memory grows with the window, so that halving finds the last one that fits.
        let (mut fitting, mut too_large) = (0, most);
        while too_large - fitting > 1 {
            let middle = fitting + (too_large - fitting) / 2;
            if fits(&middle) {
                fitting = middle;
            } else {
                too_large = middle;
            }
        }
        Some(fitting).filter(|window| *window > 0)
    }

    /// What is neither weights nor KV cache.
    fn scratch(&self, window_tokens: u64) -> u64 {
        let config = &self.config;
        let chunk = window_tokens.min(PREFILL_CHUNK_TOKENS as u64);
        let heads = (config.n_heads + 2 * config.n_kv_heads) as u64 * config.head_dim as u64;
        let feed_forward = match &config.experts {
            Some(experts) => experts.feed_forward.max(config.feed_forward),
            None => config.feed_forward,
        } as u64;
        let hidden = config.hidden as u64;
        // The stream, its norm and its sum; queries, keys, values and what is mixed of them; gate, up
        // and their product, which is rounded to bytes as well.
        let numbers = 3 * hidden + 2 * heads + 3 * feed_forward + feed_forward / 3;
        let float = size_of::<f32>() as u64;
        let turned: u64 = config.ropes.iter().map(|rope| rope.dim as u64 * float).sum();
        let logits = 3 * config.vocabulary as u64 * float;
        chunk * numbers * float + logits + window_tokens.saturating_mul(turned) + PROGRAM_BYTES
    }

    /// Measures this machine for about `budget` and returns how fast the model will run; `None` for
    /// a GPU.
    pub fn measure_speed(&self, compute: &Compute, budget: Duration) -> Option<Speed> {
        let pool = compute.pool()?;
        let each = budget / u32::try_from(2 * self.per_token.len()).unwrap_or(1).max(1);
        let (mut decode_seconds, mut prefill_seconds, mut bytes) = (0.0, 0.0, 0.0);
        for cost in &self.per_token {
            let probe = Probe::new(cost.tensor_type);
            decode_seconds += cost.decode_bytes / probe.bytes_per_second(pool, each);
            prefill_seconds += cost.prefill_macs / probe.macs_per_second(pool, each);
            bytes += cost.decode_bytes;
        }
        (decode_seconds > 0.0 && prefill_seconds > 0.0).then(|| Speed {
            decode: decode_seconds.recip(),
            prefill: prefill_seconds.recip(),
            bytes_per_second: bytes / decode_seconds,
        })
    }
}

/// For how many tokens a cache is made to see what it takes.
const KV_SAMPLE_TOKENS: usize = 64;

fn is_table(tensor: &TensorSummary) -> bool {
    tensor.name == "token_embd.weight"
}

fn per_token(config: &DecoderConfig, tensors: &[TensorSummary]) -> Vec<TokenCost> {
    let mut costs: Vec<TokenCost> = Vec::new();
    for tensor in tensors.iter().filter(|tensor| tensor.shape.len() > 1) {
        let is_head = tensor.name == "output.weight" || (is_table(tensor) && config.is_tied);
        if is_table(tensor) && !is_head {
            continue;
        }
        let whole = tensor.name.strip_suffix(".weight").unwrap_or(&tensor.name);
        let is_numbered = whole.rsplit('.').next().is_some_and(|n| n.parse::<usize>().is_ok());
        let share = match &config.experts {
            Some(experts) if is_numbered || whole.ends_with("_exps") => {
                experts.n_used as f64 / experts.n_experts as f64
            }
            _ => 1.0,
        };
        let n_numbers = tensor.shape.iter().map(|length| *length as f64).product::<f64>();
        let cost = TokenCost {
            tensor_type: tensor.tensor_type,
            decode_bytes: share * tensor.n_bytes as f64,
            prefill_macs: if is_head { 0.0 } else { share * n_numbers },
        };
        match costs.iter_mut().find(|known| known.tensor_type == cost.tensor_type) {
            Some(known) => {
                known.decode_bytes += cost.decode_bytes;
                known.prefill_macs += cost.prefill_macs;
            }
            None => costs.push(cost),
        }
    }
    costs
}

/// Made-up matrices that are stored in one way.
struct Probe {
    tensor_type: TensorType,
    bytes: Vec<u8>,
}

impl Probe {
    const N_COLS: usize = 2048;
    /// Too many to stay in the processor's caches, as a model's are.
    const BYTES: usize = 64 << 20;
    /// Rows that many tokens are multiplied with; arithmetic is the limit there.
    const PREFILL_ROWS: usize = 512;
    const PREFILL_TOKENS: usize = 128;

    fn new(tensor_type: TensorType) -> Self {
        let n_rows = Self::BYTES / Self::row_bytes(tensor_type);
        // Small, finite numbers in every way of storing them.
        let bytes = vec![0x11; n_rows * Self::row_bytes(tensor_type)];
        Self { tensor_type, bytes }
    }

    fn row_bytes(tensor_type: TensorType) -> usize {
        Self::N_COLS / tensor_type.block_len() * tensor_type.block_bytes()
    }

    fn matrix(&self, n_rows: usize) -> Option<Matrix<'_>> {
        let bytes = self.bytes.get(..n_rows * Self::row_bytes(self.tensor_type))?;
        Matrix::new(block_type(self.tensor_type), n_rows, Self::N_COLS, bytes).ok()
    }

    /// Multiplies with one token again and again.
    fn bytes_per_second(&self, pool: &ThreadPool, budget: Duration) -> f64 {
        let n_rows = self.bytes.len() / Self::row_bytes(self.tensor_type);
        self.matrix(n_rows).map_or(f64::NAN, |matrix| {
            self.bytes.len() as f64 / seconds_each(&matrix, 1, pool, budget)
        })
    }

    /// Multiplies with many tokens again and again.
    fn macs_per_second(&self, pool: &ThreadPool, budget: Duration) -> f64 {
        self.matrix(Self::PREFILL_ROWS).map_or(f64::NAN, |matrix| {
            let macs = (Self::PREFILL_ROWS * Self::N_COLS * Self::PREFILL_TOKENS) as f64;
            macs / seconds_each(&matrix, Self::PREFILL_TOKENS, pool, budget)
        })
    }
}

/// Returns the seconds that a product takes on average; the first, which warms up, does not count.
fn seconds_each(matrix: &Matrix<'_>, n_tokens: usize, pool: &ThreadPool, budget: Duration) -> f64 {
    let activations: Vec<f32> =
        (0..n_tokens * matrix.n_cols()).map(|i| (i % 17) as f32 / 17.0 - 0.5).collect();
    let mut out = vec![0f32; n_tokens * matrix.n_rows()];
    matrix.matmul(&activations, n_tokens, &mut out, pool);
    let started = Instant::now();
    for n_done in 1u32.. {
        matrix.matmul(&activations, n_tokens, &mut out, pool);
        let elapsed = started.elapsed();
        if elapsed >= budget {
            return (elapsed / n_done).as_secs_f64().max(1e-9);
        }
    }
    f64::NAN
}

#[cfg(test)]
mod tests {
    use pagewise_testkit::{TinyFamily, TinyModel};

    use super::*;
    use crate::DeviceChoice;

    fn plan(model: TinyModel, compute: &Compute) -> (ModelPlan, Weights) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tiny.gguf");
        model.write(&path).unwrap();
        let weights = Weights::open(&path).unwrap();
        (ModelPlan::new(&weights, compute).unwrap(), weights)
    }

    #[test]
    fn the_cache_is_as_large_as_planned() {
        let compute = Compute::new(DeviceChoice::Cpu, Some(1)).unwrap();
        let (plan, weights) = plan(TinyModel::new(TinyFamily::Llama, 1), &compute);
        let decoder = crate::Decoder::load(&weights, 256, &compute).unwrap();
        let cache = decoder.new_cache().unwrap();
        assert_eq!(plan.memory(256).kv_cache, cache.bytes() as u64);
        assert_eq!(plan.memory(512).kv_cache, 2 * cache.bytes() as u64);
        // The table, which is not the head, is read by rows.
        let table = weights.tensors().unwrap().into_iter().find(is_table).unwrap();
        let n_copies = if compute.pool().is_some() { 1 } else { 2 };
        let rest = n_copies * (weights.file_bytes() - table.n_bytes);
        assert_eq!(plan.memory(0).weights, rest);
        assert_eq!(plan.memory(256).weights, rest + table.n_bytes);
    }

    #[test]
    fn the_largest_window_is_the_last_that_fits() {
        let compute = Compute::tensors();
        let (plan, _) = plan(TinyModel::new(TinyFamily::Qwen2, 1), &compute);
        for window in [1, 100, 4095] {
            let available = plan.memory(window).total();
            assert_eq!(plan.largest_window(available), Some(window));
            assert_eq!(plan.largest_window(available - 1), Some(window - 1).filter(|n| *n > 0));
        }
        assert_eq!(plan.largest_window(u64::MAX), Some(4096));
        assert_eq!(plan.largest_window(0), None);
        assert_eq!(plan.measure_speed(&compute, Duration::ZERO), None);
    }

    #[test]
    fn a_window_that_there_is_no_memory_for_is_refused() {
        let compute = Compute::tensors();
        let (plan, _) = plan(TinyModel::new(TinyFamily::Qwen2, 1), &compute);
        let needed = plan.memory(2048).total();
        assert!(plan.check(2048, needed).is_ok() && plan.check(1024, needed - 1).is_ok());
        let refused = plan.check(2048, needed - 1).unwrap_err();
        let sentence = refused.to_string();
        let (_, sentence) = sentence.split_once("tiny.gguf: ").unwrap();
        insta::with_settings!({filters => [(r"\d+ MiB", "[size]")]}, {
            insta::assert_snapshot!(sentence, @"with a context window of 2048 tokens the model takes [size] of memory, and there are [size]");
        });
        assert!(matches!(refused, LoadError::TooLarge { largest_window: Some(2047), .. }));
        let refused = plan.check(2048, 1 << 20).unwrap_err();
        assert!(matches!(refused, LoadError::TooLarge { largest_window: None, .. }));
    }

    #[test]
    fn speed_is_a_number() {
        let compute = Compute::new(DeviceChoice::Cpu, Some(1)).unwrap();
        let (plan, _) = plan(TinyModel::new(TinyFamily::Qwen2, 1).quantised(), &compute);
        if let Some(speed) = plan.measure_speed(&compute, Duration::from_millis(20)) {
            assert!(speed.decode.is_finite() && speed.decode > 0.0, "{speed:?}");
            assert!(speed.prefill.is_finite() && speed.prefill > 0.0, "{speed:?}");
        }
    }
}
