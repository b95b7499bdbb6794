//! The files of an embedder, as sentence-transformers and model2vec write them.
//!
//! All of them are hostile until they are checked: small ones are read up to a limit, the weights
//! are mapped and their header is checked, and what asks for a step that is not known is refused,
//! because leaving it out in silence would make every vector wrong. The tokenizer's file is read by
//! `tokenizer.rs`.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::tokenizer::EmbedderTokenizer;
use crate::brief::brief;
use crate::hf::{SafetensorsFile, StoredTensor};
use crate::json::{self, ShortList, ShortMap, SmallValue};
use crate::weights::Weight;
use crate::{LoadError, TensorBytes};

/// The largest `tokenizer.json`, in bytes; one of 250,000 tokens takes some 17 million.
const MAX_TOKENIZER_BYTES: u64 = 64 << 20;
/// The largest of the other JSON files, in bytes; real ones have a few thousand.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// The most steps of an embedder; real ones have up to five.
const MAX_STEPS: usize = 32;
/// The most prompts, and the longest one, in bytes.
const MAX_PROMPTS: usize = 256;
const MAX_PROMPT_BYTES: usize = 4 << 10;
/// The most characters of a model's name.
const MAX_NAME_CHARS: usize = 64;

/// The longest text of an embedder that does not say it, in tokens.
const MAX_TOKENS: usize = 512;

/// Parts of each tensor that tell it from others, and their length in bytes.
const SAMPLES_PER_TENSOR: usize = 8;
const SAMPLE_BYTES: usize = 128;

/// What stands before queries and passages, for makers who say it in their documentation alone:
/// part of the model's name, then the two.
const PREFIXES: [(&str, &str, &str); 6] = [
    ("bge-small-en", BGE_QUERY, ""),
    ("bge-base-en", BGE_QUERY, ""),
    ("bge-large-en", BGE_QUERY, ""),
    ("e5-small", "query: ", "passage: "),
    ("e5-base", "query: ", "passage: "),
    ("e5-large", "query: ", "passage: "),
];
const BGE_QUERY: &str = "Represent this sentence for searching relevant passages: ";

/// A name that has one of those and is none of them: its queries are instructions.
const NOT_PREFIXED: &str = "instruct";

/// An embedder's folder, its small files read.
pub(super) struct EmbedderFolder {
    path: PathBuf,
    config_bytes: Vec<u8>,
    config: Value,
    tokenizer_bytes: Vec<u8>,
    weights: SafetensorsFile,
    /// The tensors of `weights`, by their names: there may be a hundred thousand.
    by_name: HashMap<String, usize>,
    kind: Kind,
    model_type: String,
    pooling: Pooling,
    prompts: Prompts,
    sentence: SentenceConfig,
    tokenizer_config: TokenizerConfig,
}

/// What kind of model is in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A BERT, or an XLM-RoBERTa.
    Bert,
    /// A table of vectors, as model2vec makes it.
    Static,
}

/// How the outputs for the tokens of a text become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooling {
    /// The first one.
    First,
    /// Their mean.
    Mean,
}

/// A step that sentence-transformers takes.
#[derive(Deserialize)]
struct Step {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// `config_sentence_transformers.json`
#[derive(Default, Deserialize)]
struct Prompts {
    #[serde(default)]
    prompts: ShortMap<String, MAX_PROMPTS>,
    #[serde(default)]
    default_prompt_name: Option<String>,
}

/// `sentence_bert_config.json`
#[derive(Default, Deserialize)]
struct SentenceConfig {
    #[serde(default)]
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

/// `tokenizer_config.json`
#[derive(Default, Deserialize)]
struct TokenizerConfig {
    /// 1e30 where there is no limit.
    #[serde(default)]
    model_max_length: Option<f64>,
}

impl EmbedderFolder {
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        let config_path = path.join("config.json");
        let config_bytes = read(&config_path, MAX_CONFIG_BYTES)?;
        let SmallValue(config) = parse(&config_path, &config_bytes)?;
        let tokenizer_bytes = read(&path.join("tokenizer.json"), MAX_TOKENIZER_BYTES)?;
        let weights_path = path.join("model.safetensors");
        if !weights_path.exists() {
            // Says what a folder of this kind has.
            read(&weights_path, MAX_CONFIG_BYTES)?;
        }
        let weights = SafetensorsFile::open(&weights_path).map_err(|error| {
            fault(
                &weights_path,
                format!("does not hold the weights of an embedder: it {}", error.problem),
            )
        })?;
        let model_type = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let names = weights.tensors.iter().map(|tensor| tensor.name.clone());
        let by_name: HashMap<String, usize> = names.zip(0..).collect();
        let kind = match model_type {
            "bert" | "xlm-roberta" | "roberta" => Kind::Bert,
            "model2vec" => Kind::Static,
            "" if by_name.contains_key("embeddings") => Kind::Static,
            "" => Kind::Bert,
            other => {
                return Err(fault(
                    &config_path,
                    format!(
                        "describes a model of the type \"{other}\"; only \"bert\", \"xlm-roberta\" \
                         and \"model2vec\" can be an embedder"
                    ),
                ));
            }
        };
        let model_type = if model_type.is_empty() { "bert" } else { model_type }.to_owned();
        let steps: ShortList<Step, MAX_STEPS> =
            optional(&path.join("modules.json"))?.unwrap_or_default();
        let pooling = match kind {
            Kind::Bert => pooling(path, &steps.0)?,
            Kind::Static => Pooling::Mean,
        };
        let prompts_path = path.join("config_sentence_transformers.json");
        let prompts: Prompts = optional(&prompts_path)?.unwrap_or_default();
        if let Some(prompt) = prompts.prompts.0.values().find(|text| text.len() > MAX_PROMPT_BYTES)
        {
            let reason = format!("has a prompt of {} bytes, far too long", prompt.len());
            return Err(fault(&prompts_path, reason));
        }
        Ok(Self {
            kind,
            model_type,
            pooling,
            prompts,
            sentence: optional(&path.join("sentence_bert_config.json"))?.unwrap_or_default(),
            tokenizer_config: optional(&path.join("tokenizer_config.json"))?.unwrap_or_default(),
            path: path.to_owned(),
            config_bytes,
            config,
            tokenizer_bytes,
            weights,
            by_name,
        })
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the type of model that `config.json` names.
    pub(super) fn model_type(&self) -> &str {
        &self.model_type
    }

    pub(super) fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// Whether texts are turned to lower case before all else.
    pub(super) fn lowercases(&self) -> bool {
        self.sentence.do_lower_case
    }

    /// Reads `config.json`; `otherwise` is the rest of a sentence about it.
    pub(super) fn config<T: DeserializeOwned>(&self, otherwise: &str) -> Result<T, LoadError> {
        serde_json::from_value(self.config.clone())
            .map_err(|error| self.config_fault(format!("{otherwise}: {error}")))
    }

    pub(super) fn config_fault(&self, reason: impl Into<String>) -> LoadError {
        fault(&self.path.join("config.json"), reason)
    }

    /// Returns how many tokens are read of a text, of the `n_positions` that the model has.
    pub(super) fn max_tokens(&self, n_positions: usize) -> Result<usize, LoadError> {
        let of_tokenizer = self.tokenizer_config.model_max_length.filter(|n| *n < 1e6);
        let asked = match (self.sentence.max_seq_length, of_tokenizer) {
            (Some(n), _) => n,
            (None, Some(n)) => n as usize,
            (None, None) => MAX_TOKENS,
        };
        if asked < 3 {
            let path = self.path.join("sentence_bert_config.json");
            return Err(fault(&path, "leaves no room for a text"));
        }
        Ok(asked.min(n_positions))
    }

    /// Returns what stands before a query, and before a passage.
    pub(super) fn prefixes(&self) -> (String, String) {
        let Prompts { prompts: ShortMap(prompts), default_prompt_name } = &self.prompts;
        if prompts.values().any(|prompt| !prompt.is_empty()) {
            let default = default_prompt_name.as_ref().and_then(|name| prompts.get(name));
            let first_of = |names: &[&str]| {
                let named = names.iter().find_map(|name| prompts.get(*name));
                named.or(default).cloned().unwrap_or_default()
            };
            return (first_of(&["query"]), first_of(&["document", "passage", "corpus"]));
        }
        let names = self.names();
        let known = PREFIXES.iter().find(|(part, ..)| names.iter().any(|name| name.contains(part)));
        match known {
            Some((_, query, passage)) if !names.iter().any(|name| name.contains(NOT_PREFIXED)) => {
                ((*query).to_owned(), (*passage).to_owned())
            }
            _ => Default::default(),
        }
    }

    /// Returns what the model may be called: by its maker, by its folder, or by the folder above,
    /// which is the one with a name in other programs' caches.
    fn names(&self) -> Vec<String> {
        let folders = self.path.components().rev().filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_string_lossy().to_lowercase()),
            _ => None,
        });
        self.maker_name().map(str::to_lowercase).into_iter().chain(folders.take(3)).collect()
    }

    fn maker_name(&self) -> Option<&str> {
        self.config.get("_name_or_path").and_then(Value::as_str)
    }

    /// Returns the tokenizer of a model that knows `n_known` tokens.
    pub(super) fn tokenizer(&self, n_known: usize) -> Result<EmbedderTokenizer, LoadError> {
        // What stands around a text says nothing of it to a table.
        let has_around = self.kind == Kind::Bert;
        EmbedderTokenizer::read(&self.tokenizer_bytes, n_known, has_around)
            .map_err(|reason| self.tokenizer_fault(reason))
    }

    pub(super) fn tokenizer_fault(&self, reason: impl Into<String>) -> LoadError {
        fault(&self.path.join("tokenizer.json"), reason)
    }

    /// Returns whether there is a tensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Returns the tensor of this name and shape.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Weight, LoadError> {
        let weight = self.any_shape(name)?;
        if weight.shape != shape {
            return Err(LoadError::Shape {
                path: weight.path,
                tensor: weight.name,
                expected: shape.to_vec(),
                found: weight.shape,
            });
        }
        Ok(weight)
    }

    /// Returns the tensor of this name.
    pub(super) fn any_shape(&self, name: &str) -> Result<Weight, LoadError> {
        let tensor = self.find(name).ok_or_else(|| {
            self.weights_fault(format!(
                "does not hold the weights of this model: {name} is missing"
            ))
        })?;
        let tensor_type = tensor.tensor_type.clone().map_err(|found| {
            self.weights_fault(format!("has {name} stored as {found}, which is not supported"))
        })?;
        Ok(Weight {
            path: self.weights.path.clone(),
            name: name.to_owned(),
            tensor_type,
            shape: tensor.shape.clone(),
            bytes: self.bytes(tensor),
        })
    }

    /// Returns a tensor that may be missing, and how its numbers are stored: its bytes are as many
    /// as the file says, which need not be what its shape asks for.
    pub(super) fn raw(&self, name: &str) -> Option<(String, TensorBytes)> {
        let tensor = self.find(name)?;
        let kind = match &tensor.tensor_type {
            Ok(known) => format!("{known:?}"),
            Err(other) => other.clone(),
        };
        Some((kind, self.bytes(tensor)))
    }

    pub(super) fn weights_fault(&self, reason: impl Into<String>) -> LoadError {
        fault(&self.weights.path, reason)
    }

    fn find(&self, name: &str) -> Option<&StoredTensor> {
        self.weights.tensors.get(*self.by_name.get(name)?)
    }

    fn bytes(&self, tensor: &StoredTensor) -> TensorBytes {
        TensorBytes::new(&self.weights.map, tensor.range.clone())
    }

    /// Returns a name that tells this embedder from others: of its model, and a hash of all that
    /// its vectors depend on.
    ///
    /// Of the weights that is their size, what the header says and a sample of every tensor, because
    /// reading all of them would take longer than a search. Weights that differ at all, say by
    /// training, differ in most of their numbers.
    pub(super) fn id(&self, max_tokens: Option<usize>) -> String {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        let (query, passage) = self.prefixes();
        let lowercases = self.lowercases();
        add(format!("{:?} {max_tokens:?} {lowercases}", self.pooling).as_bytes());
        for bytes in
            [query.as_bytes(), passage.as_bytes(), &self.config_bytes, &self.tokenizer_bytes]
        {
            add(bytes);
        }
        let weights = self.weights.map.bytes();
        add(&(weights.len() as u64).to_le_bytes());
        add(weights.get(..self.weights.header_bytes).unwrap_or_default());
        for tensor in &self.weights.tensors {
            let data = weights.get(tensor.range.clone()).unwrap_or_default();
            samples(data).for_each(&mut add);
        }
        let short: String =
            hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let name = self.maker_name().unwrap_or(&self.model_type).trim_end_matches('/');
        let name = name.rsplit('/').next().unwrap_or(name).to_lowercase();
        // It is shown and stored: whatever it says, it is a short word.
        let is_plain = |letter: &char| letter.is_alphanumeric() || "-_.+ ".contains(*letter);
        let name: String = name.chars().filter(is_plain).take(MAX_NAME_CHARS).collect();
        format!("{name}-{short}")
    }
}

impl Pooling {
    /// Makes one vector of the outputs for a text, `(n_tokens, len)`; zeros if there are none.
    pub(super) fn apply(self, rows: &[f32], len: usize) -> Vec<f32> {
        if self == Self::First {
            return rows.get(..len).map_or_else(|| vec![0.0; len], <[f32]>::to_vec);
        }
        let mut sums = vec![0f64; len];
        for row in rows.chunks_exact(len) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += f64::from(*x);
            }
        }
        let n_rows = (rows.len() / len).max(1) as f64;
        sums.into_iter().map(|sum| (sum / n_rows) as f32).collect()
    }
}

/// Reads how sentence-transformers pools; without its files, the mean is taken.
fn pooling(path: &Path, steps: &[Step]) -> Result<Pooling, LoadError> {
    let modules = path.join("modules.json");
    let mut pooling = None;
    for step in steps {
        match step.kind.rsplit('.').next().unwrap_or_default() {
            "Transformer" | "Normalize" => {}
            "Pooling" => {
                let is_below = Path::new(&step.path)
                    .components()
                    .all(|component| matches!(component, Component::Normal(_)));
                // It is shown with what is wrong in it.
                let is_plain = step.path.len() <= MAX_NAME_CHARS && brief(&step.path) == step.path;
                if !(is_below && is_plain) {
                    return Err(fault(&modules, format!("names the folder {:?}", step.path)));
                }
                let file = path.join(&step.path).join("config.json");
                let SmallValue(config) = optional(&file)?.ok_or_else(|| {
                    fault(&file, "is missing, and modules.json says that the embedder pools")
                })?;
                pooling = Some(read_pooling(&config).map_err(|reason| fault(&file, reason))?);
            }
            other => {
                let reason = format!("asks for the step {other:?}, which is not supported");
                return Err(fault(&modules, reason));
            }
        }
    }
    Ok(pooling.unwrap_or(Pooling::Mean))
}

/// Reads a pooling that is named, or of which there is a flag for every kind.
fn read_pooling(config: &Value) -> Result<Pooling, String> {
    let config = config.as_object().ok_or("is no list of settings")?;
    let is_on = |(key, value): &(&String, &Value)| {
        key.starts_with("pooling_mode_") && value.as_bool() == Some(true)
    };
    let mut modes: Vec<&str> = config
        .iter()
        .filter(is_on)
        .map(|(key, _)| key.trim_start_matches("pooling_mode_").trim_end_matches("_tokens"))
        .collect();
    match config.get("pooling_mode") {
        Some(Value::String(mode)) => modes.push(mode),
        Some(Value::Array(several)) => modes.extend(several.iter().filter_map(Value::as_str)),
        _ => {}
    }
    match modes.as_slice() {
        ["mean"] => Ok(Pooling::Mean),
        ["cls" | "cls_token"] => Ok(Pooling::First),
        other => Err(format!(
            "asks for the pooling {other:?}; only the mean and the first token are supported"
        )),
    }
}

/// Parts of a tensor, evenly spread, its beginning and its end among them.
fn samples(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let last = data.len().saturating_sub(SAMPLE_BYTES);
    let step = (last / (SAMPLES_PER_TENSOR - 1)).max(1);
    let starts = (0..SAMPLES_PER_TENSOR - 1).map(move |index| (index * step).min(last));
    starts.chain([last]).map(|start| &data[start..data.len().min(start + SAMPLE_BYTES)])
}

/// Reads a file that has to be there, whole.
fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, LoadError> {
    match json::read_file(path, max_bytes) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => {
            Err(fault(path, format!("is larger than the {max_bytes} bytes that are allowed")))
        }
        Err(error) => {
            let hint = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    "; an embedder is a folder with config.json, tokenizer.json and \
                     model.safetensors"
                }
                _ => "",
            };
            Err(fault(path, format!("cannot be read: {error}{hint}")))
        }
    }
}

/// Reads a small file of settings that may be missing.
fn optional<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, LoadError> {
    if !path.exists() {
        return Ok(None);
    }
    parse(path, &read(path, MAX_CONFIG_BYTES)?).map(Some)
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, LoadError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let what = if error.is_data() { "is not what it should be" } else { "is not valid JSON" };
        fault(path, format!("{what}: {error}"))
    })
}

fn fault(path: &Path, reason: impl Into<String>) -> LoadError {
    LoadError::Embedder { path: path.to_owned(), reason: brief(reason.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_naming_a_pooling_are_read() {
        let check = |text: &str| read_pooling(&serde_json::from_str(text).unwrap());
        let flags = r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#;
        assert_eq!(check(flags), Ok(Pooling::First));
        assert_eq!(check(r#"{"pooling_mode": "mean"}"#), Ok(Pooling::Mean));
        assert_eq!(check(r#"{"pooling_mode": ["cls"]}"#), Ok(Pooling::First));
        let both = r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}"#;
        assert!(check(both).is_err());
        assert!(check(r#"{"pooling_mode_mean_sqrt_len_tokens": true}"#).is_err());
        assert!(check("{}").is_err());
    }

    #[test]
    fn samples_have_the_beginning_and_the_end_and_stay_inside() {
        for len in [0, 1, 127, 128, 129, 1000, 100_000] {
            let data: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let samples: Vec<&[u8]> = samples(&data).collect();
            assert_eq!(samples.len(), SAMPLES_PER_TENSOR);
            let n = len.min(SAMPLE_BYTES);
            assert_eq!((samples[0], samples[7]), (&data[..n], &data[len - n..]), "{len}");
        }
    }
}
