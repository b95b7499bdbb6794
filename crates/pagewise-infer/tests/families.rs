//! Every family on tiny random weights: however tokens are fed, and from whichever kind of file, the
//! logits are those that Hugging Face's transformers give for all tokens at once.
//!
//! The fixtures are made by `scripts/make-family-fixtures`.

#![allow(missing_docs, clippy::unwrap_used, clippy::result_large_err)]

use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use pagewise_core::{Prompt, PromptMessage, PromptRole};
use pagewise_infer::{
    Compute, ConvertError, ConvertOptions, Converted, Decoder, DeviceChoice, Gguf, HfFolder,
    KvCache, LayerKind, LoadError, LoadedModel, Strings, TensorType, Weights, convert,
};
use pagewise_testkit::{GgufWriter, TinyFamily, TinyModel};
use proptest::prelude::*;
use serde_json::json;

/// Phi-4-mini takes other frequencies in windows that are longer than its original one; the fixtures
/// have one of 32 tokens, and one of 64.
const WINDOW_TOKENS: usize = 64;

/// Sums in another order, in f32, move logits by up to 6e-5. The least that a wrong number or formula
/// moves them by is 8e-4 (another epsilon, in Granite).
const EXACT: f32 = 2e-4;

/// Keys and values in half precision move them by up to 0.033, as in the reference when its cache is
/// rounded.
const HALVES: f32 = 0.04;

/// Tiles round queries, keys, values and the weights of attention to `bf16`, and activations where
/// weights are `bf16` too: with random weights, whose attention is sharp, they move logits by up to 0.2.
const TILES: f32 = 0.3;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/families").join(name)
}

fn cpu() -> Compute {
    Compute::new(DeviceChoice::Cpu, Some(2)).unwrap()
}

/// What the reference says about each prefix of `tokens`.
struct Expected {
    tokens: Vec<u32>,
    logits: Vec<Vec<f32>>,
}

impl Expected {
    fn read(name: &str) -> Self {
        let path = folder(name).join("expected.safetensors");
        let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let tokens = tensors["tokens"].to_dtype(DType::U32).unwrap();
        Self { tokens: tokens.to_vec1().unwrap(), logits: tensors["logits"].to_vec2().unwrap() }
    }

    /// Returns the largest error of `decoder` on the way of feeding that `feed` takes.
    fn error(&self, decoder: &Decoder, feed: impl FnOnce(&mut Feed<'_>)) -> f32 {
        let cache = decoder.new_cache().unwrap();
        let mut fed = Feed { decoder, cache, expected: self, error: 0.0 };
        feed(&mut fed);
        assert_eq!(fed.cache.len(), self.tokens.len(), "not all was fed");
        fed.error
    }
}

/// Feeds tokens and keeps the largest error.
struct Feed<'a> {
    decoder: &'a Decoder,
    cache: KvCache,
    expected: &'a Expected,
    error: f32,
}

impl Feed<'_> {
    /// Feeds the next tokens up to `end` at once.
    fn to(&mut self, end: usize) {
        let fed = self.cache.len()..end;
        let tokens = &self.expected.tokens[fed.clone()];
        let logits = self.decoder.forward_all(tokens, &mut self.cache).unwrap();
        for (actual, expected) in logits.iter().zip(&self.expected.logits[fed]) {
            assert_eq!(actual.len(), expected.len());
            for (actual, expected) in actual.iter().zip(expected) {
                assert!(actual.is_finite());
                self.error = self.error.max((actual - expected).abs());
            }
        }
    }

    fn one_by_one_to(&mut self, end: usize) {
        for next in self.cache.len() + 1..=end {
            self.to(next);
        }
    }
}

/// Checks weights on every back end, fed in every way.
#[track_caller]
fn check_weights(weights: &Weights, expected: &Expected) {
    let back_ends = [
        ("tensors", Compute::tensors(), EXACT),
        ("slices", cpu().exact(), EXACT),
        ("slices with halves", cpu().without_tiles(), HALVES),
        ("slices in tiles, where there are any", cpu(), TILES),
    ];
    for (back_end, compute, bound) in back_ends {
        let decoder = Decoder::load(weights, WINDOW_TOKENS, &compute).unwrap();
        let end = expected.tokens.len();
        let errors = [
            expected.error(&decoder, |feed| feed.to(end)),
            expected.error(&decoder, |feed| {
                feed.to(20);
                feed.one_by_one_to(end);
            }),
            expected.error(&decoder, |feed| {
                feed.to(10);
                feed.one_by_one_to(13);
                feed.to(20);
                feed.to(end);
            }),
            expected.error(&decoder, |feed| {
                feed.to(30);
                feed.cache.truncate(15);
                feed.to(16);
                feed.to(25);
                feed.one_by_one_to(28);
                let mut copy = feed.cache.try_clone().unwrap();
                feed.to(35);
                std::mem::swap(&mut feed.cache, &mut copy);
                feed.to(end);
            }),
        ];
        let most = errors.into_iter().fold(0f32, f32::max);
        assert!(most < bound, "{} on {back_end}: {errors:?}", weights.path().display());
    }
}

/// Checks the folder of a fixture, its settings as this version of transformers writes them and as
/// older ones have published them.
#[track_caller]
fn check_folder(name: &str) {
    let expected = Expected::read(name);
    check_weights(&Weights::open(&folder(name)).unwrap(), &expected);
    check_weights(&Weights::open(published_copy_of(name).path()).unwrap(), &expected);
}

/// Checks the weights of a fixture as a GGUF file has them, and of a folder that is made of that.
#[track_caller]
fn check_gguf(name: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = to_gguf(name, dir.path());
    let expected = Expected::read(name);
    check_weights(&Weights::open(&file).unwrap(), &expected);
    let again = dir.path().join("again");
    to(&file, &again, Some(TensorType::F32)).unwrap();
    check_weights(&Weights::open(&again).unwrap(), &expected);
    let error =
        largest_error(&logits(&folder(name), &expected.tokens), &logits(&again, &expected.tokens));
    assert!(error < 1e-5, "{name}: {error}");
}

/// Returns the logits behind each token, one after the other.
fn logits(path: &Path, tokens: &[u32]) -> Vec<f32> {
    let weights = Weights::open(path).unwrap();
    let decoder = Decoder::load(weights, WINDOW_TOKENS, &Compute::tensors()).unwrap();
    let mut cache = decoder.new_cache().unwrap();
    decoder.forward_all(tokens, &mut cache).unwrap().concat()
}

fn largest_error(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max)
}

fn to(from: &Path, to: &Path, quant: Option<TensorType>) -> Result<Converted, ConvertError> {
    convert(
        from,
        to,
        &ConvertOptions { quant, n_threads: 2 },
        &mut |_, _| ControlFlow::Continue(()),
    )
}

/// Converts a fixture, its settings as they are published.
fn to_gguf(name: &str, dir: &Path) -> PathBuf {
    let published = published_copy_of(name);
    let file = dir.join("converted.gguf");
    let converted = to(published.path(), &file, Some(TensorType::F32)).unwrap();
    assert_eq!(converted.bytes, file.metadata().unwrap().len());
    file
}

fn copy_of(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(folder(name).join(file), copy.path().join(file)).unwrap();
    }
    copy
}

fn published_copy_of(name: &str) -> tempfile::TempDir {
    let copy = copy_of(name);
    fs::copy(folder(name).join("config.published.json"), copy.path().join("config.json")).unwrap();
    copy
}

macro_rules! families {
    ($($test:ident: $name:literal $check:ident)*) => {
        $(#[test] fn $test() { $check($name); })*

        #[test]
        fn every_fixture_is_checked() {
            let checked = [$($name),*];
            for entry in fs::read_dir(folder("")).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(checked.contains(&name.as_str()), "nothing checks {name}");
            }
        }
    };
}

families! {
    gemma2: "gemma2" check_folder
    gemma2_gguf: "gemma2" check_gguf
    gemma3: "gemma3" check_folder
    gemma3_gguf: "gemma3" check_gguf
    granite: "granite" check_folder
    granite_gguf: "granite" check_gguf
    lfm2: "lfm2" check_folder
    lfm2_gguf: "lfm2" check_gguf
    llama: "llama" check_folder
    llama_gguf: "llama" check_gguf
    llama3: "llama3" check_folder
    llama3_gguf: "llama3" check_gguf
    mistral: "mistral" check_folder
    mistral_gguf: "mistral" check_gguf
    mistral_nemo: "mistral-nemo" check_folder
    mistral_nemo_gguf: "mistral-nemo" check_gguf
    olmo2: "olmo2" check_folder
    olmo2_gguf: "olmo2" check_gguf
    phi3: "phi3" check_folder
    phi3_gguf: "phi3" check_gguf
    phi4mini_long: "phi4mini-long" check_folder
    phi4mini_long_gguf: "phi4mini-long" check_gguf
    phi4mini_short: "phi4mini-short" check_folder
    phi4mini_short_gguf: "phi4mini-short" check_gguf
    qwen2: "qwen2" check_folder
    qwen2_gguf: "qwen2" check_gguf
    qwen2_yarn: "qwen2-yarn" check_folder
    qwen2_yarn_gguf: "qwen2-yarn" check_gguf
    qwen3: "qwen3" check_folder
    qwen3_gguf: "qwen3" check_gguf
    qwen3moe: "qwen3moe" check_folder
    qwen3moe_gguf: "qwen3moe" check_gguf
    qwen3moe_all: "qwen3moe-all" check_folder
    qwen3moe_all_gguf: "qwen3moe-all" check_gguf
    smollm3: "smollm3" check_folder
    smollm3_gguf: "smollm3" check_gguf
}

/// The file does not say which layers are not told positions.
#[test]
fn every_fourth_layer_of_a_smollm3_is_not_told_positions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("smollm3.gguf");
    let mut writer = GgufWriter::new("smollm3");
    for (key, number) in [
        ("block_count", 8u32),
        ("context_length", 64),
        ("embedding_length", 32),
        ("feed_forward_length", 64),
        ("attention.head_count", 4),
    ] {
        writer.set(&format!("smollm3.{key}"), number);
    }
    writer.set("smollm3.attention.layer_norm_rms_epsilon", 1e-5f32);
    writer.tensor_f32("token_embd.weight", &[3, 32], &[0.0; 3 * 32]);
    writer.write(&path).unwrap();
    let config = Weights::open(&path).unwrap().config().unwrap();
    let is_told = |kind: &LayerKind| matches!(kind, LayerKind::Attention { rope: Some(0), .. });
    let told: Vec<bool> = config.layers.iter().map(is_told).collect();
    assert_eq!(told, [true, true, true, false, true, true, true, false]);
}

/// The window of a Mistral is in the file, and it is said that other programs do not look for it.
#[test]
fn a_window_that_others_do_not_read_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    for (name, window) in [("mistral", Some(16)), ("mistral-nemo", None)] {
        let file = dir.path().join(format!("{name}.gguf"));
        assert_eq!(to(published_copy_of(name).path(), &file, None).unwrap().unread_window, window);
    }
}

/// Others would take the divisors of YaRN for a tensor that does not belong there.
#[test]
fn yarn_is_written_in_words_that_others_read() {
    let dir = tempfile::tempdir().unwrap();
    let gguf = Gguf::open(&to_gguf("qwen2-yarn", dir.path())).unwrap();
    let number =
        |key: &str| gguf.get_for_architecture::<f32>(&format!("rope.scaling.{key}")).unwrap();
    let kind: Option<&str> = gguf.get_for_architecture("rope.scaling.type").unwrap();
    assert_eq!((kind, number("factor")), (Some("yarn"), Some(4.0)));
    assert_eq!((number("yarn_beta_fast"), number("yarn_beta_slow")), (Some(2.0), Some(0.5)));
    let original: Option<usize> =
        gguf.get_for_architecture("rope.scaling.original_context_length").unwrap();
    assert_eq!(original, Some(32));
    assert!(gguf.tensor("rope_freqs.weight").is_none());
}

/// What GGUF has no words for is not left out in silence.
#[test]
fn what_the_other_form_cannot_say_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("converted.gguf");
    let copy = published_copy_of("qwen2");
    let config = copy.path().join("config.json");
    let mut settings: serde_json::Value =
        serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    settings["use_sliding_window"] = true.into();
    settings["sliding_window"] = 16.into();
    settings["max_window_layers"] = 0.into();
    fs::write(&config, settings.to_string()).unwrap();
    let error = to(copy.path(), &file, None).unwrap_err().to_string();
    let expected = format!(
        "{} cannot be written as a GGUF file, which has no words for its layers, or the windows of \
         these",
        copy.path().display()
    );
    assert_eq!(error, expected);
    let error = to(&folder("qwen2"), &dir.path().join("folder"), None).unwrap_err().to_string();
    assert!(error.ends_with("give the file to write a name that ends in .gguf"), "{error}");
    to(&folder("qwen2"), &file, None).unwrap();
    let error = to(&folder("qwen2"), &file, None).unwrap_err().to_string();
    assert!(error.ends_with("is there already; remove it first, or give another name"), "{error}");
    let error = to(&file, &dir.path().join("q"), Some(TensorType::Q8_0)).unwrap_err().to_string();
    assert!(error.ends_with("cannot hold Q8_0: a folder holds F32, F16 or BF16"), "{error}");
    // Nothing is left of what failed.
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["converted.gguf"]);
}

#[test]
fn weights_may_lie_in_several_files() {
    check_weights(&Weights::open(&folder("qwen2/sharded")).unwrap(), &Expected::read("qwen2"));
}

/// As published: what vision needs beside the language model, whose settings leave out what is usual.
#[test]
fn weights_may_lie_beside_those_of_vision() {
    for (prefix, head) in
        [("language_model.model.", "language_model.lm_head"), ("model.language_model.", "lm_head")]
    {
        let copy = copy_of("gemma3");
        let config = fs::read_to_string(copy.path().join("config.json")).unwrap();
        let config = format!("{{\"model_type\": \"gemma3\", \"text_config\": {config}}}");
        fs::write(copy.path().join("config.json"), config).unwrap();
        let path = copy.path().join("model.safetensors");
        let mut tensors: HashMap<String, Tensor> =
            candle_core::safetensors::load(&path, &Device::Cpu)
                .unwrap()
                .into_iter()
                .map(|(name, tensor)| (name.replacen("model.", prefix, 1), tensor))
                .collect();
        let embedding = tensors[&format!("{prefix}embed_tokens.weight")].clone();
        tensors.insert(format!("{head}.weight"), embedding.clone());
        tensors.insert("vision_tower.embeddings.weight".into(), embedding.clone());
        tensors.insert("multi_modal_projector.weight".into(), embedding);
        candle_core::safetensors::save(&tensors, &path).unwrap();
        check_weights(&Weights::open(copy.path()).unwrap(), &Expected::read("gemma3"));
    }
}

/// Nothing in the format says that numbers lie on multiples of their size.
#[test]
fn weights_may_lie_anywhere() {
    for name in ["llama", "qwen3", "phi3"] {
        for n_spaces in [1, 2, 3] {
            let copy = copy_of(name);
            let path = copy.path().join("model.safetensors");
            let bytes = fs::read(&path).unwrap();
            let (len, rest) = bytes.split_first_chunk::<8>().unwrap();
            let header_bytes = u64::from_le_bytes(*len);
            let (header, data) = rest.split_at(header_bytes as usize);
            let spaces = vec![b' '; n_spaces];
            let len = (header_bytes + n_spaces as u64).to_le_bytes();
            fs::write(&path, [&len, header, &spaces, data].concat()).unwrap();
            check_weights(&Weights::open(copy.path()).unwrap(), &Expected::read(name));
        }
    }
}

/// Writes a tiny model as a folder: weights, tokenizer and template.
fn write_tiny_folder(gguf: &Gguf, folder: &Path) {
    const NAMES: [(&str, &str); 12] = [
        ("token_embd", "model.embed_tokens"),
        ("output_norm", "model.norm"),
        ("blk.", "model.layers."),
        ("attn_norm", "input_layernorm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("ffn_norm", "post_attention_layernorm"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ];
    let tensors: HashMap<String, Tensor> = gguf
        .tensors()
        .map(|tensor| {
            let chunks = tensor.bytes().as_chunks().0;
            let numbers: Vec<f32> = chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            let name = NAMES
                .iter()
                .fold(tensor.name().to_owned(), |name, (gguf, hf)| name.replacen(gguf, hf, 1));
            (name, Tensor::from_vec(numbers, tensor.shape(), &Device::Cpu).unwrap())
        })
        .collect();
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
    let write = |name: &str, json: serde_json::Value| {
        fs::write(folder.join(name), json.to_string()).unwrap();
    };
    let number = |key: &str| gguf.require_for_architecture::<u32>(key).unwrap();
    write(
        "config.json",
        json!({
            "model_type": "qwen2",
            "num_hidden_layers": number("block_count"),
            "hidden_size": number("embedding_length"),
            "intermediate_size": number("feed_forward_length"),
            "num_attention_heads": number("attention.head_count"),
            "num_key_value_heads": number("attention.head_count_kv"),
            "max_position_embeddings": number("context_length"),
            "rms_norm_eps": 1e-5,
        }),
    );
    let tokens: Vec<&str> = gguf.require::<Strings<'_>>("tokenizer.ggml.tokens").unwrap().collect();
    let merges: Vec<&str> = gguf.require::<Strings<'_>>("tokenizer.ggml.merges").unwrap().collect();
    let kinds: Vec<i32> = gguf.require("tokenizer.ggml.token_type").unwrap();
    let controls = (0..tokens.len()).filter(|id| kinds[*id] == 3);
    let added: Vec<_> = controls
        .map(|id| json!({"id": id, "content": tokens[id], "special": true, "normalized": false}))
        .collect();
    let vocab: serde_json::Map<_, _> =
        (0..).zip(&tokens).map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
    write(
        "tokenizer.json",
        json!({
            "added_tokens": added,
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
            "decoder": {"type": "ByteLevel"},
            "model": {"type": "BPE", "vocab": vocab, "merges": merges},
        }),
    );
    let template: &str = gguf.require("tokenizer.chat_template").unwrap();
    let end = "<|im_end|>";
    write("tokenizer_config.json", json!({"chat_template": template, "eos_token": end}));
}

#[test]
fn a_folder_is_the_same_model_as_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    TinyModel::new(TinyFamily::Qwen2, 3).write(&path).unwrap();
    write_tiny_folder(&Gguf::open(&path).unwrap(), dir.path());
    let message = |role, content: &str| PromptMessage { role, content: content.to_owned() };
    let prompt = Prompt {
        messages: vec![
            message(PromptRole::System, "The mess in the thing."),
            message(PromptRole::User, "Then on and on?"),
        ],
    };
    let [(file, from_file), (folder, from_folder)] = [path.as_path(), dir.path()].map(|path| {
        let model = LoadedModel::load(path, &cpu(), |_, _| Ok(512)).unwrap();
        let tokens = model.encode(&prompt).unwrap();
        let mut cache = model.decoder.new_cache().unwrap();
        let logits = model.decoder.forward(&tokens, &mut cache).unwrap();
        (model.description(), (tokens, model.tokenizer.end_tokens().to_vec(), logits))
    });
    assert_eq!(from_file, from_folder);
    assert_eq!(
        (file.architecture, file.quantisation, file.n_parameters, file.context_length),
        (folder.architecture, folder.quantisation, folder.n_parameters, folder.context_length)
    );
    assert!(folder.has_chat_template && folder.fingerprint.len() == 64);
    assert_ne!(file.fingerprint, folder.fingerprint);
}

fn load(folder: &Path) -> Result<Decoder, LoadError> {
    Decoder::load(&HfFolder::open(folder)?, WINDOW_TOKENS, &cpu())
}

/// Changes a fixture, and checks that the error names the file and says the rest.
#[track_caller]
fn check_refused(name: &str, change: impl FnOnce(&Path), file: &str, expected: &str) {
    let copy = copy_of(name);
    change(copy.path());
    let error = load(copy.path()).err().expect(expected).to_string();
    let path = if file.is_empty() { copy.path().to_owned() } else { copy.path().join(file) };
    assert_eq!(error, format!("{}: {expected}", path.display()));
}

#[track_caller]
fn check_config(name: &str, from: &str, to: &str, expected: &str) {
    let change = |folder: &Path| {
        let path = folder.join("config.json");
        let config = fs::read_to_string(&path).unwrap();
        assert!(config.contains(from), "{config}");
        fs::write(&path, config.replace(from, to)).unwrap();
    };
    check_refused(name, change, "config.json", expected);
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    check_config(
        "llama",
        "\"model_type\": \"llama\"",
        "\"model_type\": \"mamba\"",
        "models of the architecture \"mamba\" are not supported; supported are llama, mistral, \
         qwen2, qwen3, qwen3_moe, gemma2, gemma3_text, gemma3, phi3, smollm3, granite, olmo2, lfm2",
    );
    check_config(
        "llama",
        "\"num_hidden_layers\": 2",
        "\"num_hidden_layers\": 1e9",
        "has a value of \"num_hidden_layers\" that cannot be used: invalid type: floating point \
         `1000000000.0`, expected usize",
    );
    check_config(
        "llama",
        "\"num_hidden_layers\": 2",
        "\"num_hidden_layers\": 1000000000",
        "asks for 1000000000 layers, which is impossible",
    );
    check_config(
        "llama",
        "\"hidden_size\"",
        "\"hidden\"",
        "does not say \"hidden_size\", which this kind of model needs",
    );
    check_config(
        "llama3",
        "\"rope_type\": \"llama3\"",
        "\"rope_type\": \"dynamic\"",
        "asks for RoPE scaling of the type \"dynamic\", which is not supported",
    );
    check_config(
        "qwen2-yarn",
        "\"factor\": 4.0",
        "\"factor\": null",
        "has a RoPE scaling without \"factor\"",
    );
    check_config(
        "qwen2-yarn",
        "\"factor\": 4.0",
        "\"factor\": -4.0",
        "asks for a RoPE base or scaling that is impossible",
    );
    check_config(
        "qwen2-yarn",
        "\"factor\": 4.0",
        "\"factor\": 4e30",
        "asks for 18446744073709551615 tokens of context, which is impossible",
    );
    check_config(
        "llama3",
        "\"rope_type\": \"llama3\"",
        "\"partial_rotary_factor\": 1e30, \"rope_type\": \"llama3\"",
        "turns 18446744073709551615 of 16 numbers of a head by RoPE, which is impossible",
    );
    check_config(
        "llama",
        "\"hidden_act\": \"silu\"",
        "\"hidden_act\": \"relu\"",
        "asks for the activation \"relu\", which is not supported",
    );
    check_config(
        "llama",
        "\"hidden_act\"",
        "\"quantization_config\": {}, \"hidden_act\"",
        "describes quantised weights, which are not supported in this form; use a GGUF file, or the \
         weights that they were made from",
    );
    check_config(
        "llama",
        "{",
        "[",
        "is damaged: invalid type: sequence, expected a map at line 1 column 0",
    );
}

/// A longer window than the one that the settings call the longest.
#[test]
fn yarn_lengthens_the_window() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("converted.gguf");
    to(&folder("qwen2-yarn"), &path, Some(TensorType::F32)).unwrap();
    for path in [folder("qwen2-yarn"), path] {
        assert_eq!(Weights::open(&path).unwrap().config().unwrap().context_length, 128);
    }
}

#[test]
fn weights_that_cannot_be_used_are_named() {
    const FILE: &str = "model.safetensors";
    let more_layers = |folder: &Path| {
        let path = folder.join("config.json");
        let config = fs::read_to_string(&path).unwrap();
        fs::write(&path, config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"))
            .unwrap();
    };
    check_refused(
        "llama",
        more_layers,
        FILE,
        "has no tensor model.layers.2.input_layernorm.weight, which its config.json asks for",
    );
    let fewer_layers = |folder: &Path| {
        let path = folder.join("config.json");
        let config = fs::read_to_string(&path).unwrap();
        fs::write(&path, config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1"))
            .unwrap();
    };
    check_refused(
        "llama",
        fewer_layers,
        "",
        "has model.layers.1.input_layernorm.weight, which is not supported",
    );
    let cut = |folder: &Path| {
        let bytes = fs::read(folder.join(FILE)).unwrap();
        fs::write(folder.join(FILE), &bytes[..bytes.len() - 1]).unwrap();
    };
    check_refused(
        "llama",
        cut,
        FILE,
        "is damaged or incomplete: tensor model.norm.weight lies behind the end of the file; fetch \
         it again",
    );
    let replaced = |from: &'static [u8], to: &'static [u8]| {
        move |folder: &Path| {
            let mut bytes = fs::read(folder.join(FILE)).unwrap();
            let at = bytes.windows(from.len()).position(|bytes| bytes == from).unwrap();
            bytes[at..at + to.len()].copy_from_slice(to);
            fs::write(folder.join(FILE), bytes).unwrap();
        }
    };
    check_refused(
        "phi3",
        replaced(b"\"F32\"", b"\"I32\""),
        FILE,
        "has tensor lm_head.weight stored as I32, which is not supported; supported are F32, F16, \
         BF16",
    );
    check_refused(
        "phi3",
        replaced(b"[128,32]", b"[129,32]"),
        FILE,
        "is damaged or incomplete: tensor lm_head.weight has more or fewer bytes than its shape asks \
         for; fetch it again",
    );
    check_refused(
        "phi3",
        replaced(b"[16384,", b"[16380,"),
        FILE,
        "is damaged or incomplete: tensor model.embed_tokens.weight overlaps another; fetch it again",
    );
    let empty = |folder: &Path| fs::write(folder.join(FILE), "").unwrap();
    check_refused(
        "llama",
        empty,
        FILE,
        "is damaged or incomplete: its header does not fit into its 0 bytes",
    );
    let other = |folder: &Path| fs::write(folder.join(FILE), "<!DOCTYPE html>").unwrap();
    check_refused(
        "llama",
        other,
        FILE,
        "is no safetensors file, or is damaged: its header would take 5789751444030890300 bytes, \
         and at most 16777216 are read",
    );
    let missing = |folder: &Path| fs::remove_file(folder.join(FILE)).unwrap();
    check_refused("llama", missing, FILE, "cannot be read: No such file or directory (os error 2)");
}

#[test]
fn shards_that_cannot_be_used_are_named() {
    const INDEX: &str = "model.safetensors.index.json";
    let check = |change: &dyn Fn(&Path), file: &str, expected: &str| {
        let copy_shards = |copy: &Path| {
            fs::remove_file(copy.join("model.safetensors")).unwrap();
            for entry in fs::read_dir(folder("qwen2/sharded")).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
            }
            change(copy);
        };
        check_refused("qwen2", copy_shards, file, expected);
    };
    let second = "model-00002-of-00002.safetensors";
    check(
        &|copy| fs::remove_file(copy.join(second)).unwrap(),
        second,
        "cannot be read: No such file or directory (os error 2)",
    );
    let index = |weight_map: &'static str| {
        move |copy: &Path| {
            fs::write(copy.join(INDEX), format!("{{\"weight_map\": {{{weight_map}}}}}")).unwrap();
        }
    };
    check(
        &index("\"x\": \"../model-00002-of-00002.safetensors\""),
        INDEX,
        "names the file \"../model-00002-of-00002.safetensors\", which is no safetensors file \
         beside it",
    );
    check(
        &index("\"x\": \"model-00002-of-00002.safetensors\""),
        INDEX,
        "says that model-00002-of-00002.safetensors has tensor x, and it has not",
    );
    check(
        &|copy| {
            fs::copy(copy.join("model-00001-of-00002.safetensors"), copy.join(second)).unwrap();
            fs::write(
                copy.join(INDEX),
                "{\"weight_map\": {\"model.embed_tokens.weight\": \
                 \"model-00001-of-00002.safetensors\", \"model.layers.0.mlp.gate_proj.weight\": \
                 \"model-00002-of-00002.safetensors\"}}",
            )
            .unwrap();
        },
        second,
        "has tensor model.embed_tokens.weight, which another of the files has as well",
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever a file says: it is used or refused, and nothing else happens.
    #[test]
    fn damaged_files_do_no_harm(
        name in prop::sample::select(vec!["qwen2-yarn", "qwen3", "phi4mini-short", "gemma3", "lfm2", "qwen3moe"]),
        is_config in any::<bool>(),
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(prop_oneof![Just(b'9'), Just(b'0'), any::<u8>()], 1..4),
    ) {
        let copy = copy_of(name);
        let path = copy.path().join(if is_config { "config.json" } else { "model.safetensors" });
        let mut file = fs::read(&path).unwrap();
        // The header; what follows are numbers.
        let at = at.index(file.len().min(2_000));
        let end = file.len().min(at + bytes.len());
        file[at..end].copy_from_slice(&bytes[..end - at]);
        fs::write(&path, file).unwrap();
        if let Ok(decoder) = load(copy.path())
            && let Ok(mut cache) = decoder.new_cache()
        {
            let _ = decoder.forward(&[1, 2, 3], &mut cache);
        }
    }
}
