//! A language model as its file has it: weights, tokenizer and chat template.

use std::path::{Path, PathBuf};

use pagewise_core::{ModelError, Prompt};

use crate::compute::Compute;
use crate::{ChatTemplate, Decoder, Gguf, LoadError, Tokenizer};

/// A language model as its file has it, for those who drive it themselves.
pub struct LoadedModel {
    /// The file.
    pub gguf: Gguf,
    /// Its vocabulary.
    pub tokenizer: Tokenizer,
    /// Its chat template.
    pub template: ChatTemplate,
    /// Its weights.
    pub decoder: Decoder,
}

/// What a model is, for display and for records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelDescription {
    /// What its makers call it; the name of the file if they do not say.
    pub name: String,
    /// The architecture as GGUF names it, for example `qwen2`.
    pub architecture: String,
    /// How most of its weights are stored, for example `Q4_K_M`.
    pub quantisation: String,
    /// How many numbers it has.
    pub n_parameters: u64,
    /// The size of the file, in bytes.
    pub file_bytes: u64,
    /// The longest window that it was trained for, in tokens.
    pub context_length: usize,
    /// Whether it was made to follow a chat.
    pub has_chat_template: bool,
    /// The file.
    pub path: PathBuf,
    /// A hash (SHA-256, hexadecimal) that tells these weights from others.
    pub fingerprint: String,
}

impl LoadedModel {
    /// Opens the weights at `path` for windows of up to `window_tokens` tokens.
    ///
    /// `window_tokens` gets the longest window that the model was trained for, in tokens, and
    /// returns the one to use.
    pub fn load(
        path: &Path,
        compute: &Compute,
        window_tokens: impl FnOnce(usize) -> Result<usize, LoadError>,
    ) -> Result<Self, LoadError> {
        let gguf = Gguf::open(path)?;
        let config = crate::families::config(&gguf)?;
        let window_tokens = window_tokens(config.context_length)?;
        let tokenizer = Tokenizer::from_gguf(&gguf)
            .map_err(|source| LoadError::Tokenizer { path: path.to_owned(), source })?;
        if tokenizer.n_tokens() > config.vocabulary {
            let (n_tokens, n_rows) = (tokenizer.n_tokens(), config.vocabulary);
            let reason = format!("has {n_tokens} tokens but embeddings for {n_rows} of them");
            return Err(crate::families::fault(&gguf, reason));
        }
        let template = ChatTemplate::from_gguf(&gguf, &tokenizer)
            .map_err(|source| LoadError::ChatTemplate { path: path.to_owned(), source })?;
        let decoder = Decoder::load(&gguf, window_tokens, compute)?;
        Ok(Self { gguf, tokenizer, template, decoder })
    }

    /// Returns the tokens of `prompt`, rendered by the model's own template.
    pub fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>, ModelError> {
        Ok(self.tokenizer.encode_rendered(&self.template.render(prompt)?))
    }

    /// Returns what the model is.
    pub fn description(&self) -> ModelDescription {
        let gguf = &self.gguf;
        let stem = || gguf.path().file_stem().unwrap_or_default().to_string_lossy();
        let name: Option<&str> = gguf.get("general.name").ok().flatten();
        ModelDescription {
            name: name.map_or_else(|| stem().into_owned(), str::to_owned),
            architecture: gguf.architecture().to_owned(),
            quantisation: quantisation(gguf),
            n_parameters: gguf.tensors().map(|tensor| tensor.n_elements() as u64).sum(),
            file_bytes: gguf.file_bytes(),
            context_length: self.decoder.config().context_length,
            has_chat_template: matches!(gguf.get::<&str>("tokenizer.chat_template"), Ok(Some(_))),
            path: gguf.path().to_owned(),
            fingerprint: gguf.fingerprint().iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// Returns the mix that the file says it is, or else the type of most of its numbers.
fn quantisation(gguf: &Gguf) -> String {
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
    if let Some((_, name)) = FILE_TYPES.iter().find(|(n, _)| Some(*n) == number) {
        return (*name).to_owned();
    }
    let mut counts: Vec<(String, usize)> = Vec::new();
    for tensor in gguf.tensors() {
        let name = tensor.tensor_type().to_string();
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += tensor.n_elements(),
            None => counts.push((name, tensor.n_elements())),
        }
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map_or_else(|| "none".to_owned(), |(name, _)| name)
}
