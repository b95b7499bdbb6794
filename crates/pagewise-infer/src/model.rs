//! A language model as its file or folder has it: weights, tokenizer and chat template.

use std::path::{Path, PathBuf};

use pagewise_core::{ModelError, Prompt};

use crate::compute::Compute;
use crate::tokenizer::chat_template_of_folder;
use crate::{ChatTemplate, Decoder, DecoderConfig, Gguf, LoadError, Tokenizer, Weights};

/// The most rows that the embedding table of a small vocabulary may have without a token.
const MAX_PADDING: usize = 4096;

/// A language model as its file or folder has it, for those who drive it themselves.
pub struct LoadedModel {
    /// The file or folder.
    pub weights: Weights,
    /// Its vocabulary.
    pub tokenizer: Tokenizer,
    /// Its chat template.
    pub template: ChatTemplate,
    /// What runs the weights.
    pub decoder: Decoder,
}

/// What a model is, for display and for records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelDescription {
    /// What its makers call it; the name of the file or folder if they do not say.
    pub name: String,
    /// The architecture as GGUF names it, for example `qwen2`.
    pub architecture: String,
    /// How its weights, or most of them, are stored, for example `Q4_K_M`.
    pub quantisation: String,
    /// How many numbers it has.
    pub n_parameters: u64,
    /// The size of the file or files, in bytes.
    pub file_bytes: u64,
    /// The longest window that it was trained for, in tokens.
    pub context_length: usize,
    /// Whether it was made to follow a chat.
    pub has_chat_template: bool,
    /// The file or folder.
    pub path: PathBuf,
    /// A hash (SHA-256, hexadecimal) that tells these weights from others.
    pub fingerprint: String,
}

impl LoadedModel {
    /// Opens the weights at `path` for windows of up to `window_tokens` tokens.
    ///
    /// `window_tokens` gets the weights and the longest window that the model was trained for, in
    /// tokens, and returns the one to use.
    pub fn load(
        path: &Path,
        compute: &Compute,
        window_tokens: impl FnOnce(&Weights, usize) -> Result<usize, LoadError>,
    ) -> Result<Self, LoadError> {
        let weights = Weights::open(path)?;
        let config = weights.config()?;
        let window_tokens = window_tokens(&weights, config.context_length)?;
        let (tokenizer, template) = language(&weights, &config)?;
        let decoder = Decoder::load(&weights, window_tokens, compute)?;
        Ok(Self { weights, tokenizer, template, decoder })
    }

    /// Finds out whether weights can be used, without running them: the error is the one that
    /// [`Self::load`] would fail with, but for tensors of a wrong shape or too many.
    pub fn check(weights: &Weights) -> Result<(Tokenizer, ChatTemplate), LoadError> {
        language(weights, &weights.config()?)
    }

    /// Returns the tokens of `prompt`, rendered by the model's own template.
    pub fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>, ModelError> {
        Ok(self.tokenizer.encode_rendered(&self.template.render(prompt)?))
    }

    /// Returns what the model is.
    pub fn description(&self) -> ModelDescription {
        let weights = &self.weights;
        let path = weights.path();
        let (name, quantisation, has_chat_template) = match weights {
            Weights::Gguf(gguf) => (
                gguf.get::<&str>("general.name").ok().flatten(),
                mix(gguf),
                matches!(gguf.get::<&str>("tokenizer.chat_template"), Ok(Some(_))),
            ),
            Weights::Hf(_) => (None, None, matches!(chat_template_of_folder(path), Ok(Some(_)))),
        };
        let stem = || match weights {
            Weights::Gguf(_) => path.file_stem().unwrap_or_default().to_string_lossy(),
            Weights::Hf(_) => path.file_name().unwrap_or_default().to_string_lossy(),
        };
        let counts = weights.counts();
        ModelDescription {
            name: name.map_or_else(|| stem().into_owned(), str::to_owned),
            architecture: weights.architecture().to_owned(),
            quantisation: quantisation.unwrap_or_else(|| {
                let most = counts.iter().max_by_key(|(_, count)| *count);
                most.map_or_else(|| "none".to_owned(), |(name, _)| name.to_string())
            }),
            n_parameters: counts.iter().map(|(_, count)| *count as u64).sum(),
            file_bytes: weights.file_bytes(),
            context_length: self.decoder.config().context_length,
            has_chat_template,
            path: path.to_owned(),
            fingerprint: weights.fingerprint().iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// Returns what turns texts into tokens and back, and conversations into texts.
fn language(
    weights: &Weights,
    config: &DecoderConfig,
) -> Result<(Tokenizer, ChatTemplate), LoadError> {
    let path = weights.path();
    let tokenizer = match weights {
        Weights::Gguf(gguf) => Tokenizer::from_gguf(gguf),
        Weights::Hf(folder) => Tokenizer::from_folder(folder.path()),
    };
    let tokenizer =
        tokenizer.map_err(|source| LoadError::Tokenizer { path: path.to_owned(), source })?;
    // Gemma 3 without vision has a token for images all the same.
    let mut beyond = config.vocabulary..tokenizer.n_tokens();
    if beyond.any(|id| !tokenizer.is_control(id as u32)) {
        let (n_tokens, n_rows) = (tokenizer.n_tokens(), config.vocabulary);
        return Err(LoadError::Config {
            path: path.to_owned(),
            reason: format!("has {n_tokens} tokens but embeddings for {n_rows} of them"),
        });
    }
    // Padding is a few hundred rows. Far more would let a small file ask for much memory, since
    // much is kept of each token.
    let most = tokenizer.n_tokens().saturating_mul(2).saturating_add(MAX_PADDING);
    if config.vocabulary > most {
        let (n_tokens, n_rows) = (tokenizer.n_tokens(), config.vocabulary);
        return Err(LoadError::Config {
            path: path.to_owned(),
            reason: format!("has {n_tokens} tokens, and embeddings for {n_rows}"),
        });
    }
    let template = match weights {
        Weights::Gguf(gguf) => ChatTemplate::from_gguf(gguf, &tokenizer),
        Weights::Hf(folder) => ChatTemplate::from_folder(folder.path(), &tokenizer),
    };
    let template =
        template.map_err(|source| LoadError::ChatTemplate { path: path.to_owned(), source })?;
    Ok((tokenizer, template))
}

/// Returns the mix that the file says it is.
fn mix(gguf: &Gguf) -> Option<String> {
    // llama.cpp's numbers.
    const FILE_TYPES: [(u32, &str); 17] = [
        (0, "F32"),
        (1, "F16"),
        (2, "Q4_0"),
        (3, "Q4_1"),
        (7, "Q8_0"),
        (8, "Q5_0"),
        (9, "Q5_1"),
        (10, "Q2_K"),
        (11, "Q3_K_S"),
        (12, "Q3_K_M"),
        (13, "Q3_K_L"),
        (14, "Q4_K_S"),
        (15, "Q4_K_M"),
        (16, "Q5_K_S"),
        (17, "Q5_K_M"),
        (18, "Q6_K"),
        (32, "BF16"),
    ];
    let number: Option<u32> = gguf.get("general.file_type").ok().flatten();
    let known = FILE_TYPES.iter().find(|(n, _)| Some(*n) == number);
    known.map(|(_, name)| (*name).to_owned())
}
