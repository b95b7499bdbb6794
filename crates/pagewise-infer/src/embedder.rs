//! The embedder: all-MiniLM-L6-v2, or another BERT made for sentences, through candle.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use pagewise_core::{EmbedError, Embedder};
use sha2::{Digest, Sha256};
use tokenizers::{Encoding, Tokenizer, TruncationParams};

use crate::LoadError;

/// The longest text the model looks at, in word pieces: what its sentences were trained with.
const MAX_TOKENS: usize = 256;

/// Texts embedded at once; of similar length, so that little of it is padding.
const BATCH_TEXTS: usize = 16;

/// The largest file that is read whole, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// A BERT whose mean over all tokens is the meaning of a text.
pub struct BertEmbedder {
    model: BertModel,
    tokenizer: Tokenizer,
    id: String,
    dimensions: usize,
}

impl BertEmbedder {
    /// Takes `config.json`, `tokenizer.json` and `model.safetensors` from the folder `dir`.
    pub fn load(dir: &Path) -> Result<Self, LoadError> {
        let config_bytes = read(&dir.join("config.json"))?;
        let tokenizer_bytes = read(&dir.join("tokenizer.json"))?;
        let weights_path = dir.join("model.safetensors");
        let weights = read(&weights_path)?;

        let (config, name) =
            parse_config(&config_bytes).map_err(|reason| fault(dir.join("config.json"), reason))?;
        let tokenizer = parse_tokenizer(&tokenizer_bytes, &config)
            .map_err(|reason| fault(dir.join("tokenizer.json"), reason))?;

        let mut hash = Sha256::new();
        for bytes in [&config_bytes, &tokenizer_bytes, &weights] {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        let short_hash: String =
            hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();

        let damaged = |error: candle_core::Error| {
            fault(weights_path.clone(), format!("does not hold the weights of this model: {error}"))
        };
        let device = Device::Cpu;
        let tensors = candle_core::safetensors::load_buffer(&weights, &device).map_err(damaged)?;
        drop(weights);
        let weights = VarBuilder::from_tensors(tensors, DType::F32, &device);
        Ok(Self {
            model: BertModel::load(weights, &config).map_err(damaged)?,
            tokenizer,
            id: format!("{name}-{short_hash}"),
            dimensions: config.hidden_size,
        })
    }

    /// Returns one vector for each encoding, in order.
    fn embed_batch(&self, encodings: &[&Encoding]) -> Result<Vec<Vec<f32>>, candle_core::Error> {
        let device = &self.model.device;
        let n_texts = encodings.len();
        let len = encodings.iter().map(|e| e.get_ids().len()).max().unwrap_or_default();
        // (n_texts, len), the shorter ones filled up with zeros.
        let padded = |of: fn(&Encoding) -> &[u32]| {
            let numbers: Vec<u32> = encodings
                .iter()
                .flat_map(|e| of(e).iter().copied().chain(std::iter::repeat(0)).take(len))
                .collect();
            Tensor::from_vec(numbers, (n_texts, len), device)
        };
        let ids = padded(Encoding::get_ids)?;
        let types = padded(Encoding::get_type_ids)?;
        let mask = padded(Encoding::get_attention_mask)?.to_dtype(DType::F32)?;
        // (n_texts, len, hidden)
        let hidden = self.model.forward(&ids, &types, Some(&mask))?;
        let sums = mask.unsqueeze(1)?.matmul(&hidden)?.squeeze(1)?;
        // The mean, brought to length 1, is the sum brought to length 1.
        let lengths = sums.sqr()?.sum_keepdim(1)?.sqrt()?.clamp(1e-12, f64::MAX)?;
        sums.broadcast_div(&lengths)?.to_vec2()
    }
}

impl Embedder for BertEmbedder {
    fn id(&self) -> &str {
        &self.id
    }

    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let encodings = self
            .tokenizer
            .encode_batch(texts.to_vec(), true)
            .map_err(|error| EmbedError(format!("a text could not be cut into tokens: {error}")))?;
        let mut order: Vec<usize> = (0..encodings.len()).collect();
        order.sort_by_key(|index| encodings[*index].get_ids().len());
        let mut vectors = vec![Vec::new(); encodings.len()];
        for batch in order.chunks(BATCH_TEXTS) {
            let of_batch: Vec<&Encoding> = batch.iter().map(|index| &encodings[*index]).collect();
            let embedded =
                self.embed_batch(&of_batch).map_err(|error| EmbedError(error.to_string()))?;
            for (index, vector) in batch.iter().zip(embedded) {
                vectors[*index] = vector;
            }
        }
        Ok(vectors)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let unreadable = |error: std::io::Error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "; an embedder is a folder with config.json, \
                                             tokenizer.json and model.safetensors"
            }
            _ => "",
        };
        fault(path.to_owned(), format!("cannot be read: {error}{hint}"))
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        return Err(fault(path.to_owned(), "is not a file of a reasonable size"));
    }
    std::fs::read(path).map_err(unreadable)
}

fn fault(path: PathBuf, reason: impl Into<String>) -> LoadError {
    LoadError::Embedder { path, reason: reason.into() }
}

/// Returns the configuration and the model's name.
fn parse_config(bytes: &[u8]) -> Result<(Config, String), String> {
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| format!("is not valid JSON: {error}"))?;
    let field = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
    let model_type = field("model_type").unwrap_or("bert");
    if model_type != "bert" {
        return Err(format!(
            "describes a model of the type \"{model_type}\"; only \"bert\" can be an embedder"
        ));
    }
    let name = field("_name_or_path").unwrap_or(model_type);
    let name = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    let config: Config = serde_json::from_value(value)
        .map_err(|error| format!("does not describe a BERT: {error}"))?;
    let counts = [
        config.vocab_size,
        config.hidden_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.intermediate_size,
        config.type_vocab_size,
    ];
    let is_possible = counts.iter().all(|count| (1..1 << 24).contains(count))
        && config.hidden_size.is_multiple_of(config.num_attention_heads)
        // Room for the beginning, one piece and the end.
        && config.max_position_embeddings >= 3;
    if !is_possible {
        return Err(
            "describes a BERT that cannot be: a size in it is zero, far too large, or does \
                    not fit the others"
                .to_owned(),
        );
    }
    Ok((config, name))
}

fn parse_tokenizer(bytes: &[u8], config: &Config) -> Result<Tokenizer, String> {
    let mut tokenizer =
        Tokenizer::from_bytes(bytes).map_err(|error| format!("is not a tokenizer: {error}"))?;
    let n_tokens = tokenizer.get_vocab_size(true);
    if n_tokens > config.vocab_size {
        return Err(format!("has {n_tokens} tokens, and the model knows {}", config.vocab_size));
    }
    // What the file says about padding and cutting was for one use of it, not for this.
    tokenizer.with_padding(None);
    let truncation = TruncationParams {
        max_length: MAX_TOKENS.min(config.max_position_embeddings),
        ..TruncationParams::default()
    };
    tokenizer
        .with_truncation(Some(truncation))
        .map_err(|error| format!("cannot cut long texts: {error}"))?;
    Ok(tokenizer)
}
