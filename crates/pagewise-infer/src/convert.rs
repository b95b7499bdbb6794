//! Weights from one form into another: a GGUF file into a Hugging Face folder, a folder into a GGUF
//! file, and a GGUF file into one whose numbers are stored in another way.
//!
//! What a model is, is read by its family into a [`DecoderConfig`] and written from that; so nothing
//! is converted that the engine could not run, but for a GGUF file into another, where all metadata
//! are taken over as they are. What was written is opened again and compared with what it was made
//! from, settings and tokenizer both, and refused where the other form has no words for something.
//! Everything is written under a temporary name: what fails leaves nothing.

mod config;
mod difference;
mod encode;
mod error;
mod folder;
mod gguf_file;
mod output;
mod tensors;

use std::ops::ControlFlow;
use std::path::Path;

use serde_json::Value;

pub use error::ConvertError;
pub(crate) use gguf_file::Metadatum;
#[cfg(test)]
pub(crate) use gguf_file::file_of_metadata;

use crate::families;
use crate::tokenizer::{chat_template_of_folder, export};
use crate::weights::WITH_METADATA;
use crate::{DecoderConfig, Gguf, HfFolder, TensorType, Tokenizer, Weights};
use folder::FolderWriter;
use gguf_file::GgufFileWriter;
use output::Partial;
use tensors::{Planned, Quirks};

/// How weights are to be converted.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConvertOptions {
    /// How matrices are to be stored; as they are if `None`, but for a folder, which holds floats
    /// alone, blocks become F16. What a row cannot hold, and the table of embeddings and the head,
    /// are stored in more bits; vectors are always floats.
    pub quant: Option<TensorType>,
    /// Threads that quantise; at least one.
    pub n_threads: usize,
}

/// What became of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// How many tensors were written.
    pub n_tensors: usize,
    /// Bytes of the file, or of the files with tensors.
    pub bytes: u64,
    /// In which ways matrices are stored, and how many there are of each, by their number.
    pub stored: Vec<(TensorType, usize)>,
    /// Whether a tokenizer came with the weights and was converted too.
    pub has_tokenizer: bool,
    /// How many tokens back a Mistral sees, which other programs do not read from a GGUF file: to them
    /// only texts that are not longer mean the same.
    pub unread_window: Option<usize>,
}

/// Is told how many of how many tensors are written, and says whether to go on.
pub type OnTensor<'a> = dyn FnMut(usize, usize) -> ControlFlow<()> + 'a;

/// Converts the weights at `from` into what `to` says: a GGUF file if it ends in `.gguf`, else a
/// folder.
///
/// Fails if there is something at `to` already, if `from` cannot be used, if the other form cannot
/// hold the model, or if `on_tensor` breaks it off; nothing is left at `to` then.
pub fn convert(
    from: &Path,
    to: &Path,
    options: &ConvertOptions,
    on_tensor: &mut OnTensor<'_>,
) -> Result<Converted, ConvertError> {
    let is_file = to.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    match (Weights::open(from)?, is_file) {
        (Weights::Gguf(gguf), true) => requantise(&gguf, to, options, on_tensor),
        (Weights::Gguf(gguf), false) => to_folder(&gguf, to, options, on_tensor),
        (Weights::Hf(folder), true) => to_file(&folder, to, options, on_tensor),
        (Weights::Hf(_), false) => Err(ConvertError::Refused {
            path: from.to_owned(),
            reason: "is a folder already; give the file to write a name that ends in .gguf".into(),
        }),
    }
}

/// Writes a GGUF file with the same metadata, whatever they mean; several files become one.
fn requantise(
    gguf: &Gguf,
    to: &Path,
    options: &ConvertOptions,
    on_tensor: &mut OnTensor<'_>,
) -> Result<Converted, ConvertError> {
    let planned = tensors::of_gguf(gguf, options.quant)?;
    let mut metadata = Vec::new();
    for (key, bytes) in gguf.raw_metadata() {
        let is_new = ["general.file_type", "general.quantization_version", "general.alignment"];
        if !key.starts_with("split.") && !is_new.contains(&key) {
            metadata.push((key.to_owned(), Metadatum::Raw(bytes.to_vec())));
        }
    }
    metadata.extend(storage_metadata(&planned));
    let partial = Partial::file(to)?;
    let bytes =
        GgufFileWriter { metadata, planned: &planned, options }.write(&partial, on_tensor)?;
    Gguf::open(partial.path())?;
    partial.finish()?;
    Ok(converted(&planned, bytes, gguf.get::<&str>("tokenizer.ggml.model")?.is_some()))
}

fn to_file(
    folder: &HfFolder,
    to: &Path,
    options: &ConvertOptions,
    on_tensor: &mut OnTensor<'_>,
) -> Result<Converted, ConvertError> {
    let family = folder.family();
    let config = families::config_of_folder(folder)?;
    let quirks = Quirks::to_gguf(family, &config);
    let mut planned = tensors::of_folder(folder, &quirks, options.quant)?;
    let yarn = families::yarn_of_folder(folder, &config)?;
    if yarn.is_none() {
        planned.extend(config::rope_tensors(&config));
    }
    let name = folder.path().canonicalize().unwrap_or_else(|_| folder.path().to_owned());
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut metadata = vec![
        ("general.architecture".to_owned(), Metadatum::from(family.gguf)),
        ("general.type".to_owned(), Metadatum::from("model")),
        ("general.name".to_owned(), Metadatum::Text(name)),
    ];
    metadata.extend(config::to_metadata(family, &config, yarn.as_ref()));
    let has_tokenizer = folder.path().join("tokenizer.json").exists();
    if has_tokenizer {
        metadata.extend(export::to_metadata(folder.path(), config.vocabulary)?);
        if let Some(template) = chat_template_of_folder(folder.path())? {
            metadata.push(("tokenizer.chat_template".into(), Metadatum::Text(template)));
        }
    }
    metadata.extend(storage_metadata(&planned));
    let partial = Partial::file(to)?;
    let bytes =
        GgufFileWriter { metadata, planned: &planned, options }.write(&partial, on_tensor)?;
    let written = Weights::Gguf(Gguf::open(partial.path())?);
    check(folder.path(), &quirks.applied_to(&config), &written, "a GGUF file")?;
    if has_tokenizer {
        check_tokenizer(folder.path(), &Weights::Hf(folder.clone()), &written)?;
    }
    partial.finish()?;
    let window = config::windows(&config).filter(|_| family.gguf == "llama");
    let unread_window = window.map(|(window, _)| window);
    Ok(Converted { unread_window, ..converted(&planned, bytes, has_tokenizer) })
}

fn to_folder(
    gguf: &Gguf,
    to: &Path,
    options: &ConvertOptions,
    on_tensor: &mut OnTensor<'_>,
) -> Result<Converted, ConvertError> {
    let family = families::of_gguf(gguf)?;
    let config = families::config_of_gguf(gguf)?;
    if let Some(quant) = options.quant
        && quant.block_len() > 1
    {
        return Err(ConvertError::Refused {
            path: to.to_owned(),
            reason: format!("cannot hold {quant}: a folder holds F32, F16 or BF16"),
        });
    }
    let quirks = Quirks::to_hf(family, &config);
    let float = options.quant.unwrap_or(TensorType::F16);
    let planned = tensors::of_gguf_as_hf(gguf, family, &quirks, options.quant)?;
    let mut settings = config::to_json(family, &config, gguf.path())?;
    settings.insert("torch_dtype".into(), Value::from(folder::dtype_name(float)));
    let has_tokenizer = gguf.get::<&str>("tokenizer.ggml.model")?.is_some();
    let mut files = Vec::new();
    if has_tokenizer {
        let template = gguf.get::<&str>("tokenizer.chat_template")?;
        let exported = export::to_folder(gguf, template, config.context_length)?;
        settings.extend(exported.ids);
        files = exported.files;
    }
    let partial = Partial::folder(to)?;
    files.push((crate::hf::CONFIG, Value::Object(settings)));
    let writer = FolderWriter { folder: partial.path(), planned: &planned, options };
    let bytes = writer.write(&files, on_tensor)?;
    let written = Weights::Hf(HfFolder::open(partial.path())?);
    check(gguf.path(), &quirks.applied_to(&config), &written, "a folder")?;
    if has_tokenizer {
        check_tokenizer(gguf.path(), &Weights::Gguf(gguf.clone()), &written)?;
    }
    partial.finish()?;
    Ok(converted(&planned, bytes, has_tokenizer))
}

/// Compares what was written with what it should be.
fn check(
    from: &Path,
    expected: &DecoderConfig,
    written: &Weights,
    form: &str,
) -> Result<(), ConvertError> {
    match difference::between(expected, &written.config()?) {
        None => Ok(()),
        Some(what) => Err(ConvertError::Refused {
            path: from.to_owned(),
            reason: format!("cannot be written as {form}, which has no words for its {what}"),
        }),
    }
}

fn check_tokenizer(from: &Path, old: &Weights, new: &Weights) -> Result<(), ConvertError> {
    let load = |weights: &Weights| match weights {
        Weights::Gguf(gguf) => Tokenizer::from_gguf(gguf),
        Weights::Hf(folder) => Tokenizer::from_folder(folder.path()),
    };
    match export::difference(&load(old)?, &load(new)?) {
        None => Ok(()),
        Some(what) => Err(ConvertError::Refused {
            path: from.to_owned(),
            reason: format!("has a tokenizer that cannot be written in the other form: {what}"),
        }),
    }
}

/// Returns what GGUF says of the way in which numbers are stored.
fn storage_metadata(planned: &[Planned]) -> Vec<(String, Metadatum)> {
    // llama.cpp's numbers; a mix goes by what most of its numbers are stored as.
    const FILE_TYPES: [(TensorType, u32); 13] = [
        (TensorType::F32, 0),
        (TensorType::F16, 1),
        (TensorType::Q4_0, 2),
        (TensorType::Q4_1, 3),
        (TensorType::Q8_0, 7),
        (TensorType::Q5_0, 8),
        (TensorType::Q5_1, 9),
        (TensorType::Q2_K, 10),
        (TensorType::Q3_K, 11),
        (TensorType::Q4_K, 14),
        (TensorType::Q5_K, 16),
        (TensorType::Q6_K, 18),
        (TensorType::BF16, 32),
    ];
    let counts = stored(planned);
    let most = counts.first().map(|(tensor_type, _)| *tensor_type);
    let file_type = FILE_TYPES.iter().find(|(tensor_type, _)| Some(*tensor_type) == most);
    let mut metadata = vec![("general.quantization_version".to_owned(), Metadatum::U32(2))];
    if let Some((_, number)) = file_type {
        metadata.push(("general.file_type".to_owned(), Metadatum::U32(*number)));
    }
    metadata
}

/// Returns in which ways matrices are stored, and how many there are of each, most numbers first.
fn stored(planned: &[Planned]) -> Vec<(TensorType, usize)> {
    let mut counts: Vec<(TensorType, usize, usize)> = Vec::new();
    for tensor in planned.iter().filter(|tensor| tensor.shape.len() > 1) {
        let n_numbers: usize = tensor.shape.iter().product();
        match counts.iter_mut().find(|(known, ..)| *known == tensor.stored) {
            Some((_, count, numbers)) => {
                *count += 1;
                *numbers += n_numbers;
            }
            None => counts.push((tensor.stored, 1, n_numbers)),
        }
    }
    counts.sort_by_key(|(.., numbers)| std::cmp::Reverse(*numbers));
    counts.into_iter().map(|(tensor_type, count, _)| (tensor_type, count)).collect()
}

fn converted(planned: &[Planned], bytes: u64, has_tokenizer: bool) -> Converted {
    Converted {
        n_tensors: planned.len(),
        bytes,
        stored: stored(planned),
        has_tokenizer,
        unread_window: None,
    }
}
