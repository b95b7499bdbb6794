//! A BERT with random weights: texts of the same letters get the same vector.

use std::io;
use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

const HIDDEN: usize = 16;
const FEED_FORWARD: usize = 16;
const POSITIONS: usize = 128;

/// Writes the folder of an embedder; the same each time.
pub(crate) fn write(folder: &Path) -> io::Result<()> {
    std::fs::create_dir(folder)?;
    let vocabulary = vocabulary();
    let config = json!({
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": vocabulary.len(),
        "hidden_size": HIDDEN,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": FEED_FORWARD,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
    });
    std::fs::write(folder.join("config.json"), config.to_string())?;
    std::fs::write(folder.join("tokenizer.json"), tokenizer(&vocabulary).to_string())?;
    std::fs::write(folder.join("model.safetensors"), weights(vocabulary.len()))
}

/// Whole words are cut into letters.
fn vocabulary() -> Vec<String> {
    let signs = ('a'..='z').chain('0'..='9').map(String::from);
    let inner = ('a'..='z').chain('0'..='9').map(|sign| format!("##{sign}"));
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        .map(String::from)
        .into_iter()
        .chain(signs)
        .chain(inner)
        .collect()
}

fn tokenizer(vocabulary: &[String]) -> Value {
    let ids: Map<String, Value> =
        vocabulary.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let special = |id: usize| {
        json!({
            "id": id, "content": vocabulary[id], "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        })
    };
    let part = |id: usize| json!({"SpecialToken": {"id": vocabulary[id], "type_id": 0}});
    let known = |id: usize| json!({"id": vocabulary[id], "ids": [id], "tokens": [vocabulary[id]]});
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(0), special(1), special(2), special(3)],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [part(2), {"Sequence": {"id": "A", "type_id": 0}}, part(3)],
            "pair": [
                part(2), {"Sequence": {"id": "A", "type_id": 0}}, part(3),
                {"Sequence": {"id": "B", "type_id": 1}}, part(3),
            ],
            "special_tokens": {"[CLS]": known(2), "[SEP]": known(3)},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": ids,
        },
    })
}

/// The bytes of a safetensors file: the length of the header, the header, the numbers.
fn weights(n_tokens: usize) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut header = Map::new();
    let mut data = Vec::new();
    let mut tensor = |name: &str, shape: &[usize], number: &mut dyn FnMut() -> f32| {
        let start = data.len();
        for _ in 0..shape.iter().product::<usize>() {
            data.extend(number().to_le_bytes());
        }
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.into(), entry);
    };
    let mut random = || rng.random::<f32>() - 0.5;
    let (mut zero, mut one) = (|| 0.0, || 1.0);

    for (name, rows) in [("word", n_tokens), ("position", POSITIONS), ("token_type", 2)] {
        tensor(&format!("embeddings.{name}_embeddings.weight"), &[rows, HIDDEN], &mut random);
    }
    let layer = "encoder.layer.0";
    for name in [
        "embeddings.LayerNorm".to_string(),
        format!("{layer}.attention.output.LayerNorm"),
        format!("{layer}.output.LayerNorm"),
    ] {
        tensor(&format!("{name}.weight"), &[HIDDEN], &mut one);
        tensor(&format!("{name}.bias"), &[HIDDEN], &mut zero);
    }
    for (name, rows, columns) in [
        ("attention.self.query", HIDDEN, HIDDEN),
        ("attention.self.key", HIDDEN, HIDDEN),
        ("attention.self.value", HIDDEN, HIDDEN),
        ("attention.output.dense", HIDDEN, HIDDEN),
        ("intermediate.dense", FEED_FORWARD, HIDDEN),
        ("output.dense", HIDDEN, FEED_FORWARD),
    ] {
        tensor(&format!("{layer}.{name}.weight"), &[rows, columns], &mut random);
        tensor(&format!("{layer}.{name}.bias"), &[rows], &mut zero);
    }

    let mut header = Value::Object(header).to_string().into_bytes();
    // The numbers begin on a multiple of eight bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend(data);
    bytes
}
