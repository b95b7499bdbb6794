//! Small files that are in order, to be damaged.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use pagewise_infer::{ConvertOptions, Gguf, Session, TensorType, Tokenizer, convert};
use pagewise_testkit::{GgufValue, GgufWriter, TinyFamily, TinyModel};
use serde_json::{Value, json};

use super::layout;
use super::read::kept_model;

/// The files of a folder, or, if it is one without a name, a file.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

pub(crate) const FAMILIES: [&str; 15] = [
    "llama",
    "llama3",
    "mistral",
    "qwen2",
    "qwen3",
    "qwen3moe",
    "gemma2",
    "gemma3",
    "phi3",
    "phi4mini-short",
    "phi4mini-long",
    "smollm3",
    "granite",
    "olmo2",
    "lfm2",
];

/// Those of the fixtures.
pub(crate) const EMBEDDERS: [&str; 5] = ["bge", "e5", "xlm-roberta", "table", "shared-table"];

const TEMPLATE: &str = "{% for message in messages %}{{ '<s>' + message.role + '\n' + \
    message.content + '</s>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<s>assistant\n' }}\
    {% endif %}";

/// The same, and those of families.
pub(crate) const CHAT_TEMPLATES: [&str; 11] = [
    TEMPLATE,
    include_str!("../data/chat_template/gemma-like.jinja"),
    include_str!("../data/chat_template/granite3.3.jinja"),
    include_str!("../data/chat_template/lfm2-like.jinja"),
    include_str!("../data/chat_template/llama3-like.jinja"),
    include_str!("../data/chat_template/mistral-nemo.jinja"),
    include_str!("../data/chat_template/olmo2-like.jinja"),
    include_str!("../data/chat_template/phi3.5.jinja"),
    include_str!("../data/chat_template/phi4-mini-like.jinja"),
    include_str!("../data/chat_template/qwen3.jinja"),
    include_str!("../data/chat_template/smollm3.jinja"),
];

/// Less than the fixtures have embeddings for.
const N_TEXTS: usize = 104;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/families").join(name)
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// Characters that can be seen, the space and the end of line as byte-level vocabularies write
/// them, and a few that are joined; then the control tokens.
fn names() -> Vec<String> {
    let mut names: Vec<String> = (b'!'..=b'~').map(|byte| char::from(byte).to_string()).collect();
    names.extend(["Ġ", "Ċ", "th", "the", "er", "Ġthe", "Ġ\"", "\":"].map(str::to_owned));
    while names.len() < N_TEXTS {
        names.push(format!("unused{}", names.len()));
    }
    names.extend(["<unk>", "<s>", "</s>", "<pad>"].map(str::to_owned));
    names
}

const MERGES: [&str; 6] = ["t h", "th e", "e r", "Ġ the", "Ġ \"", "\" :"];

/// The JSON files of a tokenizer for the fixtures.
pub(crate) fn tokenizer_files() -> Vec<(&'static str, Value)> {
    let names = names();
    let vocab: serde_json::Map<String, Value> =
        names.iter().zip(0..N_TEXTS).map(|(name, id)| (name.clone(), id.into())).collect();
    let added: Vec<Value> = (N_TEXTS..names.len())
        .map(|id| {
            json!({"id": id, "content": names[id], "single_word": false, "lstrip": false,
                   "rstrip": id == N_TEXTS, "normalized": false, "special": id > N_TEXTS})
        })
        .collect();
    let id = |name: &str| names.iter().position(|known| known == name).unwrap();
    vec![
        (
            "tokenizer.json",
            json!({
                "version": "1.0",
                "truncation": null,
                "padding": null,
                "added_tokens": added,
                "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]},
                "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                    {"type": "Digits", "individual_digits": true},
                    {"type": "Split", "pattern": {"Regex": " ?\\p{L}{1,9}| ?[^\\s\\p{L}]+|\\s+(?!\\S)|\\s+"},
                     "behavior": "Isolated", "invert": false},
                    {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                     "use_regex": false},
                ]},
                "post_processor": {"type": "TemplateProcessing",
                    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                               {"Sequence": {"id": "A", "type_id": 0}}],
                    "pair": [], "special_tokens": {}},
                "decoder": {"type": "ByteLevel"},
                "model": {"type": "BPE", "dropout": null, "unk_token": null,
                    "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": false,
                    "byte_fallback": false, "ignore_merges": true, "vocab": vocab,
                    "merges": [["t", "h"], "th e", "e r", ["Ġ", "the"], "Ġ \"", "\" :"]},
            }),
        ),
        (
            "tokenizer_config.json",
            json!({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>",
                   "add_bos_token": true, "chat_template": TEMPLATE}),
        ),
        ("special_tokens_map.json", json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}})),
        (
            "generation_config.json",
            json!({"bos_token_id": id("<s>"), "eos_token_id": [id("</s>"), id("<pad>")]}),
        ),
    ]
}

/// A folder of a fixture's weights with a tokenizer.
pub(crate) fn folder(family: &str) -> Files {
    let mut files: Files = ["config.json", "model.safetensors"]
        .map(|name| (name.to_owned(), read(&fixture(family).join(name))))
        .to_vec();
    files.extend(tokenizer_json_files());
    files
}

/// A folder whose weights lie in several files.
pub(crate) fn sharded() -> Files {
    let mut files: Files = std::fs::read_dir(fixture("qwen2/sharded"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), read(&path)))
        .collect();
    files.sort();
    files.extend(tokenizer_json_files());
    files
}

pub(crate) fn tokenizer_json_files() -> Files {
    tokenizer_files()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_string().into_bytes()))
        .collect()
}

/// A folder's settings and weights as GGUF has them, taken apart again so that they can be changed.
fn converted(folder: &Path) -> GgufWriter {
    let dir = tempfile::tempdir().unwrap();
    // As it is published, where the fixture says other things.
    let published = ["config.published.json", "config.json"].map(|name| folder.join(name));
    let config = published.iter().find(|path| path.exists()).unwrap();
    std::fs::copy(config, dir.path().join("config.json")).unwrap();
    let weights = "model.safetensors";
    std::fs::copy(folder.join(weights), dir.path().join(weights)).unwrap();
    let file = dir.path().join("converted.gguf");
    let options = ConvertOptions { quant: Some(TensorType::F32), n_threads: 1 };
    convert(dir.path(), &file, &options, &mut |_, _| ControlFlow::Continue(())).unwrap();

    let gguf = Gguf::open(&file).unwrap();
    let mut writer = GgufWriter::new(gguf.architecture());
    let bytes = read(&file);
    let fields = layout::fields(&bytes);
    let starts: Vec<usize> = (0..fields.len())
        .filter(|index| ["key", "tensor"].contains(&fields[*index].name.as_str()))
        .collect();
    for pair in starts.windows(2) {
        let [key, text, kind] = [0, 1, 2].map(|n| &fields[pair[0] + n]);
        if key.name == "key" && text.name.starts_with(gguf.architecture()) {
            let number = u32::from_le_bytes(bytes[kind.at..kind.at + 4].try_into().unwrap());
            let value = bytes[kind.at + 4..fields[pair[1]].at].to_vec();
            writer.set(&text.name, GgufValue::Raw(number, value));
        }
    }
    for tensor in gguf.tensors() {
        let dimensions: Vec<u64> = tensor.shape().iter().rev().map(|n| *n as u64).collect();
        // Floats of 32 bits have the number 0.
        writer.tensor_raw(tensor.name(), &dimensions, 0, tensor.bytes().to_vec(), None);
    }
    writer
}

/// A fixture as a GGUF file, with a tokenizer.
pub(crate) fn gguf(family: &str) -> GgufWriter {
    // Converters call a Mistral a Llama.
    let family = if family == "mistral" { "llama" } else { family };
    let mut writer = converted(&fixture(family));
    let names = names();
    let types = (0..names.len()).map(|id| if id < N_TEXTS { 1 } else { 3 }).collect();
    writer
        .set("general.name", "Tiny")
        .set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.pre", "smollm")
        .set("tokenizer.ggml.tokens", names)
        .set("tokenizer.ggml.token_type", GgufValue::I32s(types))
        .set("tokenizer.ggml.merges", MERGES.map(str::to_owned).to_vec())
        .set("tokenizer.ggml.bos_token_id", N_TEXTS as u32 + 1)
        .set("tokenizer.ggml.eos_token_id", N_TEXTS as u32 + 2)
        .set("tokenizer.ggml.add_bos_token", true)
        .set("tokenizer.chat_template", TEMPLATE);
    writer
}

/// A fixture as a GGUF file, with a SentencePiece vocabulary.
pub(crate) fn sentencepiece() -> GgufWriter {
    let mut writer = gguf("llama");
    let mut names: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    names.extend((0x20..0x80).map(|byte| format!("<0x{byte:02X}>")));
    names.extend(["▁", "▁the", "th", "he", "er", "the"].map(str::to_owned));
    let types = (0..names.len()).map(|id| match id {
        0 => 2,
        1 | 2 => 3,
        3..99 => 6,
        _ => 1,
    });
    let scores = (0..names.len()).map(|id| -(id as f32)).collect();
    writer.replace("tokenizer.ggml.model", "llama");
    writer.replace("tokenizer.ggml.token_type", GgufValue::I32s(types.collect()));
    writer.replace("tokenizer.ggml.scores", GgufValue::F32s(scores));
    writer.replace("tokenizer.ggml.tokens", names);
    writer.replace("tokenizer.ggml.bos_token_id", 1);
    writer.replace("tokenizer.ggml.eos_token_id", 2);
    writer
}

/// The files of an embedder, those below it with their folders.
pub(crate) fn embedder(name: &str) -> Files {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/embedder").join(name);
    let mut files = Files::new();
    let mut walk = vec![folder.clone()];
    while let Some(at) = walk.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
            match path.is_dir() {
                true => walk.push(path),
                // What the tests compare with.
                false if name == "expected.json" => {}
                false => files.push((name, read(&path))),
            }
        }
    }
    files.sort();
    files
}

/// The weights that [`snapshot`] is of.
pub(crate) fn kept_weights() -> PathBuf {
    fixture("qwen2")
}

/// A KV cache as it is kept.
pub(crate) fn snapshot() -> Vec<u8> {
    let (decoder, key) = kept_model(&kept_weights());
    let mut session = Session::new(decoder).unwrap();
    session.sync(decoder, &[1, 5, 9, 2, 7], &|| false).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshot");
    session.save(*key, &path).unwrap();
    read(&path)
}

/// A tokenizer that is in order, for chat templates that are not.
pub(crate) fn tokenizer() -> &'static Tokenizer {
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        TinyModel::new(TinyFamily::Llama, 1).write(&path).unwrap();
        Tokenizer::from_gguf(&Gguf::open(&path).unwrap()).unwrap()
    });
    &TOKENIZER
}
