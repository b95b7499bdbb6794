//! The forward pass of a BERT, or of an XLM-RoBERTa, which differs in where its positions begin.

use std::sync::OnceLock;

use half::bf16;
use pagewise_core::EmbedError;
use pagewise_kernels::{
    Attention, BlockType, Isa, Matrix, ThreadPool, add_to_rows, gelu, layer_norm,
};
use serde::Deserialize;

use super::folder::{EmbedderFolder, Pooling};
use super::tokenizer::MAX_TOKENS;
use crate::LoadError;
use crate::weights::Weight;

/// What may stand before the names of the tensors.
const PREFIXES: [&str; 3] = ["", "bert.", "roberta."];

/// The largest settings: real ones have up to 1,024 numbers for each token in between, four times that
/// within a layer, 24 layers, and 8,194 positions.
const MAX_HIDDEN: usize = 1 << 14;
const MAX_WIDENING: usize = 16;
const MAX_LAYERS: usize = 1 << 10;
const MAX_POSITIONS: usize = 1 << 16;

/// An encoder whose outputs are pooled into one vector for each text.
pub(super) struct Bert {
    config: Config,
    pooling: Pooling,
    /// The position of the first token: RoBERTas count from behind their padding.
    first_position: usize,
    /// `(vocab_size, hidden)`
    words: Weight,
    /// `(max_position_embeddings, hidden)`
    positions: Weight,
    /// Of the first kind of token, the only one in a text alone: `(hidden,)`
    token_type: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

#[derive(Debug, Deserialize)]
struct Config {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    #[serde(default = "default_norm_epsilon")]
    layer_norm_eps: f32,
    #[serde(default)]
    hidden_act: Option<String>,
    #[serde(default)]
    position_embedding_type: Option<String>,
    #[serde(default)]
    pad_token_id: Option<usize>,
}

fn default_norm_epsilon() -> f32 {
    1e-12
}

struct Layer {
    query: Dense,
    key: Dense,
    value: Dense,
    mix: Dense,
    attention_norm: Norm,
    up: Dense,
    down: Dense,
    norm: Norm,
}

/// From so many tokens on, weights are rounded to `bf16` where products in tiles are made of that:
/// several times faster, and no cosine changes by 0.001. A short query has not the time to round them.
const ROUNDED_FROM_TOKENS: usize = 64;

/// `x (T, in) -> x Wᵀ + b (T, out)`
struct Dense {
    weight: Weight,
    bias: Vec<f32>,
    /// The weights as `bf16`, once they have been needed.
    rounded: OnceLock<Vec<u8>>,
}

struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl Bert {
    pub(super) fn load(folder: &EmbedderFolder) -> Result<Self, LoadError> {
        let config: Config = folder.config("does not describe a BERT")?;
        config.check().map_err(|reason| folder.config_fault(reason))?;
        let first_position = match folder.model_type() {
            "bert" => 0,
            _ => config.pad_token_id.unwrap_or(1) + 1,
        };
        // Room for the beginning, one piece and the end.
        if config.max_position_embeddings < first_position.saturating_add(3) {
            return Err(folder.config_fault("describes a BERT without room for a text"));
        }
        let has = |prefix: &&&str| folder.has(&format!("{prefix}embeddings.LayerNorm.weight"));
        let prefix = PREFIXES.iter().find(has).unwrap_or(&PREFIXES[0]);
        let hidden = config.hidden_size;
        let parts = Parts { folder, epsilon: config.layer_norm_eps };
        let table = |name: &str, rows| {
            folder.tensor(&format!("{prefix}embeddings.{name}.weight"), &[rows, hidden])
        };
        let layers = (0..config.num_hidden_layers)
            .map(|index| parts.layer(&format!("{prefix}encoder.layer.{index}"), &config))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            pooling: folder.pooling(),
            first_position,
            words: table("word_embeddings", config.vocab_size)?,
            positions: table("position_embeddings", config.max_position_embeddings)?,
            token_type: table("token_type_embeddings", config.type_vocab_size)?
                .rows(0..1)
                .floats()?,
            norm: parts.norm(&format!("{prefix}embeddings.LayerNorm"), hidden)?,
            layers,
            config,
        })
    }

    pub(super) fn dimensions(&self) -> usize {
        self.config.hidden_size
    }

    /// Returns how many tokens it knows.
    pub(super) fn n_tokens(&self) -> usize {
        self.config.vocab_size
    }

    /// Returns how many tokens a text can have.
    pub(super) fn n_positions(&self) -> usize {
        self.config.max_position_embeddings - self.first_position
    }

    /// Returns one vector for each text, of any length.
    pub(super) fn embed(
        &self,
        texts: &[&[u32]],
        pool: &ThreadPool,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        let isa = pool.isa();
        let mut hidden = self.look_up(texts, isa)?;
        self.norm.apply(&mut hidden, isa);
        for layer in &self.layers {
            let mut mixed = layer.attend(&hidden, texts, self.config.num_attention_heads, pool)?;
            mixed = layer.mix.forward(&mixed, pool)?;
            add(&mut hidden, &mixed);
            layer.attention_norm.apply(&mut hidden, isa);
            let mut wide = layer.up.forward(&hidden, pool)?;
            gelu(isa, &mut wide);
            let narrow = layer.down.forward(&wide, pool)?;
            add(&mut hidden, &narrow);
            layer.norm.apply(&mut hidden, isa);
        }
        let mut rows = hidden.as_slice();
        Ok(texts
            .iter()
            .map(|tokens| {
                let (of_text, rest) = rows.split_at(tokens.len() * self.config.hidden_size);
                rows = rest;
                self.pooling.apply(of_text, self.config.hidden_size)
            })
            .collect())
    }

    /// Returns what stands for the tokens of all texts before the first layer, `(T, hidden)`.
    fn look_up(&self, texts: &[&[u32]], isa: Isa) -> Result<Vec<f32>, EmbedError> {
        let hidden = self.config.hidden_size;
        let words = self.words.matrix().map_err(failed)?;
        let positions = self.positions.matrix().map_err(failed)?;
        let mut rows = vec![0f32; texts.iter().map(|tokens| tokens.len()).sum::<usize>() * hidden];
        let tokens = texts.iter().flat_map(|tokens| tokens.iter().enumerate());
        let mut at_position = vec![0f32; hidden];
        for ((position, &token), row) in tokens.zip(rows.chunks_exact_mut(hidden)) {
            let position = self.first_position + position;
            if token as usize >= words.n_rows() || position >= positions.n_rows() {
                return Err(EmbedError(format!("there is no token {token} at {position}")));
            }
            words.dequantize_row(isa, token as usize, row);
            positions.dequantize_row(isa, position, &mut at_position);
            add(row, &at_position);
            add(row, &self.token_type);
        }
        Ok(rows)
    }
}

impl Config {
    /// Says what is impossible about it, as the rest of a sentence.
    fn check(&self) -> Result<(), String> {
        let is_possible = |count: usize, most: usize| (1..=most).contains(&count);
        if !is_possible(self.vocab_size, MAX_TOKENS)
            || !is_possible(self.hidden_size, MAX_HIDDEN)
            || !is_possible(self.num_hidden_layers, MAX_LAYERS)
            || !is_possible(self.num_attention_heads, MAX_HIDDEN)
            || !is_possible(self.intermediate_size, MAX_WIDENING * self.hidden_size)
            || !is_possible(self.max_position_embeddings, MAX_POSITIONS)
            || !is_possible(self.type_vocab_size, MAX_POSITIONS)
            || self.pad_token_id.is_some_and(|id| id >= MAX_TOKENS)
            || !self.hidden_size.is_multiple_of(self.num_attention_heads)
            || !(self.layer_norm_eps >= 0.0 && self.layer_norm_eps < 1.0)
        {
            return Err(
                "describes a BERT that cannot be: a size in it is zero, far too large, or \
                        does not fit the others"
                    .into(),
            );
        }
        match (self.hidden_act.as_deref(), self.position_embedding_type.as_deref()) {
            (None | Some("gelu"), None | Some("absolute")) => Ok(()),
            (None | Some("gelu"), Some(other)) => {
                Err(format!("asks for the positions {other:?}, which are not supported"))
            }
            (Some(other), _) => {
                Err(format!("asks for the activation {other:?}, which is not supported"))
            }
        }
    }
}

/// Takes the parts of a model out of its folder.
struct Parts<'a> {
    folder: &'a EmbedderFolder,
    epsilon: f32,
}

impl Parts<'_> {
    fn layer(&self, name: &str, config: &Config) -> Result<Layer, LoadError> {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let dense = |part: &str, out, from| self.dense(&format!("{name}.{part}"), out, from);
        let norm = |part: &str| self.norm(&format!("{name}.{part}.LayerNorm"), hidden);
        Ok(Layer {
            query: dense("attention.self.query", hidden, hidden)?,
            key: dense("attention.self.key", hidden, hidden)?,
            value: dense("attention.self.value", hidden, hidden)?,
            mix: dense("attention.output.dense", hidden, hidden)?,
            attention_norm: norm("attention.output")?,
            up: dense("intermediate.dense", wide, hidden)?,
            down: dense("output.dense", hidden, wide)?,
            norm: norm("output")?,
        })
    }

    fn dense(&self, name: &str, n_out: usize, n_in: usize) -> Result<Dense, LoadError> {
        Ok(Dense {
            weight: self.folder.tensor(&format!("{name}.weight"), &[n_out, n_in])?,
            bias: self.folder.tensor(&format!("{name}.bias"), &[n_out])?.floats()?,
            rounded: OnceLock::new(),
        })
    }

    fn norm(&self, name: &str, len: usize) -> Result<Norm, LoadError> {
        let floats = |part: &str| self.folder.tensor(&format!("{name}.{part}"), &[len])?.floats();
        Ok(Norm { weight: floats("weight")?, bias: floats("bias")?, epsilon: self.epsilon })
    }
}

impl Layer {
    /// Lets the tokens of each text attend to each other, `(T, hidden)`.
    fn attend(
        &self,
        hidden: &[f32],
        texts: &[&[u32]],
        n_heads: usize,
        pool: &ThreadPool,
    ) -> Result<Vec<f32>, EmbedError> {
        let queries = self.query.forward(hidden, pool)?;
        let keys = self.key.forward(hidden, pool)?;
        let values = self.value.forward(hidden, pool)?;
        let row = self.query.bias.len();
        let head_dim = row / n_heads;
        let mut mixed = vec![0f32; queries.len()];
        let (mut of_keys, mut of_values) = (Vec::new(), Vec::new());
        let mut start = 0;
        for tokens in texts {
            let range = start..start + tokens.len() * row;
            start = range.end;
            if range.is_empty() {
                continue;
            }
            by_head(&keys[range.clone()], (n_heads, head_dim), &mut of_keys);
            by_head(&values[range.clone()], (n_heads, head_dim), &mut of_values);
            let attention = Attention {
                n_head: n_heads,
                n_kv_head: n_heads,
                head_dim,
                capacity: tokens.len(),
                past: 0,
                scale: (head_dim as f32).sqrt().recip(),
                softcap: None,
                window: None,
            };
            let (queries, mixed) = (&queries[range.clone()], &mut mixed[range]);
            attention.run_both_ways(queries, &of_keys, &of_values, mixed, pool);
        }
        Ok(mixed)
    }
}

/// Turns `(n_tokens, n_heads, head_dim)` into `(n_heads, n_tokens, head_dim)`.
fn by_head(rows: &[f32], (n_heads, head_dim): (usize, usize), to: &mut Vec<f32>) {
    to.clear();
    for head in 0..n_heads {
        for row in rows.chunks_exact(n_heads * head_dim) {
            to.extend_from_slice(&row[head * head_dim..][..head_dim]);
        }
    }
}

impl Dense {
    fn forward(&self, x: &[f32], pool: &ThreadPool) -> Result<Vec<f32>, EmbedError> {
        let mut matrix = self.weight.matrix().map_err(failed)?;
        let n_tokens = x.len() / matrix.n_cols();
        let is_fine = matches!(matrix.block_type(), BlockType::F32 | BlockType::F16);
        if n_tokens >= ROUNDED_FROM_TOKENS && is_fine && pool.isa().has_tiles() {
            let (n_rows, n_cols) = (matrix.n_rows(), matrix.n_cols());
            let rounded = self.rounded.get_or_init(|| round(&matrix, pool.isa()));
            matrix = Matrix::new(BlockType::BF16, n_rows, n_cols, rounded).map_err(failed)?;
        }
        let mut y = vec![0f32; n_tokens * matrix.n_rows()];
        matrix.matmul(x, n_tokens, &mut y, pool);
        add_to_rows(pool.isa(), &mut y, &self.bias);
        Ok(y)
    }
}

/// Returns the weights as `bf16`.
fn round(matrix: &Matrix<'_>, isa: Isa) -> Vec<u8> {
    let mut numbers = vec![0f32; matrix.n_cols()];
    let mut rounded = Vec::with_capacity(2 * matrix.n_rows() * matrix.n_cols());
    for row in 0..matrix.n_rows() {
        matrix.dequantize_row(isa, row, &mut numbers);
        rounded.extend(numbers.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()));
    }
    rounded
}

impl Norm {
    fn apply(&self, x: &mut [f32], isa: Isa) {
        layer_norm(isa, x, &self.weight, &self.bias, self.epsilon);
    }
}

fn add(to: &mut [f32], other: &[f32]) {
    for (to, other) in to.iter_mut().zip(other) {
        *to += other;
    }
}

/// The folder has checked every shape; this cannot fail on a model that was loaded.
fn failed(error: pagewise_kernels::ShapeError) -> EmbedError {
    EmbedError(error.to_string())
}
