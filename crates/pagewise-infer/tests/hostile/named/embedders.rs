//! Embedders.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Named;
use crate::cases::{Case, Way};
use crate::seeds;

pub(super) const CASES: &[Named] = &[
    ("a template with a token that it does not name", || {
        embedder("bge", "tokenizer.json", |json| {
            json["post_processor"]["special_tokens"] = json!({});
        })
    }),
    ("a template with a second text", || {
        embedder("bge", "tokenizer.json", |json| {
            json["post_processor"]["single"][1] = json!({"Sequence": {"id": "B", "type_id": 0}});
        })
    }),
    ("a template without a text", || {
        embedder("bge", "tokenizer.json", |json| json["post_processor"]["single"] = json!([]))
    }),
    ("a template with the text many times", || {
        embedder("bge", "tokenizer.json", |json| {
            let text = json!({"Sequence": {"id": "A", "type_id": 0}});
            json["post_processor"]["single"] = json!(vec![text; 60]);
        })
    }),
    ("more tokens around a text than it may have", || {
        embedder("bge", "tokenizer.json", |json| {
            json["post_processor"]["special_tokens"]["[CLS]"]["ids"] = json!(vec![2; 50]);
        })
    }),
    ("far too many tokens around a text", || {
        embedder("bge", "tokenizer.json", |json| {
            json["post_processor"]["special_tokens"]["[CLS]"]["ids"] = json!(vec![2; 1_000_000]);
        })
    }),
    ("a token around a text that the model does not know", || {
        embedder("bge", "tokenizer.json", |json| {
            json["post_processor"]["special_tokens"]["[CLS]"]["ids"] = json!([u32::MAX]);
        })
    }),
    ("a last step that is a pair", || {
        embedder("bge", "tokenizer.json", |json| {
            json["post_processor"] =
                json!({"type": "BertProcessing", "sep": ["x", u32::MAX], "cls": ["y", 0]});
        })
    }),
    ("a token of an embedder with the highest number", || {
        embedder("bge", "tokenizer.json", |json| json["model"]["vocab"]["far"] = json!(u32::MAX))
    }),
    ("a piece of a million letters", || {
        embedder("xlm-roberta", "tokenizer.json", |json| {
            json["model"]["vocab"][4] = json!(["the".repeat(400_000), -1.0]);
        })
    }),
    ("a million pieces of an embedder", || {
        let mut text = r#"{"model":{"type":"Unigram","unk_id":0,"vocab":["#.to_owned();
        (0..1 << 20).for_each(|id| write!(text, "[\"{id:x}\",-1],").unwrap());
        embedder_file(
            "xlm-roberta",
            "tokenizer.json",
            text.trim_end_matches(',').to_owned() + "]}}",
        )
    }),
    ("a million words of an embedder", || {
        let mut text = r#"{"model":{"type":"WordPiece","vocab":{"#.to_owned();
        (0..1 << 20).for_each(|id| write!(text, "\"{id:x}\":{id},").unwrap());
        embedder_file("bge", "tokenizer.json", text.trim_end_matches(',').to_owned() + "}}}")
    }),
    ("merges of an embedder", || {
        let mut text = r#"{"model":{"type":"BPE","merges":[],"vocab":{"#.to_owned();
        (0..1 << 17).for_each(|id| write!(text, "\"{id:x}\":{id},").unwrap());
        embedder_file("bge", "tokenizer.json", text.trim_end_matches(',').to_owned() + "}}}")
    }),
    ("merges of an embedder that make nothing", || {
        embedder("bge", "tokenizer.json", |json| {
            json["model"] = json!({"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]});
        })
    }),
    ("scores that are no numbers", || {
        embedder("xlm-roberta", "tokenizer.json", |json| {
            for piece in json["model"]["vocab"].as_array_mut().unwrap() {
                piece[1] = json!(-1e308);
            }
        })
    }),
    ("an unknown token that is not there", || {
        embedder("xlm-roberta", "tokenizer.json", |json| json["model"]["unk_id"] = json!(1 << 20))
    }),
    ("words as long as there are numbers", || {
        embedder("bge", "tokenizer.json", |json| {
            json["model"]["max_input_chars_per_word"] = json!(u64::MAX);
        })
    }),
    ("a text doubled thirty times", || {
        embedder("bge", "tokenizer.json", |json| {
            let step = json!({"type": "Replace", "pattern": {"String": "t"}, "content": "tt"});
            json["normalizer"] = json!({"type": "Sequence", "normalizers": vec![step; 30]});
        })
    }),
    ("a long text for each character", || {
        embedder("bge", "tokenizer.json", |json| {
            json["normalizer"] = json!({"type": "Replace", "pattern": {"Regex": "."},
                "content": "x".repeat(1_000_000)});
        })
    }),
    ("bytes of bytes of bytes", || {
        embedder("bge", "tokenizer.json", |json| {
            let step = json!({"type": "ByteLevel"});
            json["normalizer"] = json!({"type": "Sequence", "normalizers": vec![step; 100]});
        })
    }),
    ("words of bytes of bytes", || {
        embedder("bge", "tokenizer.json", |json| {
            let step = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
                "use_regex": false});
            json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": vec![step; 100]});
        })
    }),
    ("a pattern of an embedder that goes back", || {
        embedder("bge", "tokenizer.json", |json| {
            json["normalizer"] = json!({"type": "Replace", "pattern": {"Regex": r"(a|a)*(a|a)*b(?!c)"}, "content": ""});
        })
    }),
    ("a pattern of an embedder that finds nothing everywhere", || {
        embedder("bge", "tokenizer.json", |json| {
            let step = json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "x"});
            json["normalizer"] = json!({"type": "Sequence", "normalizers": vec![step; 60]});
        })
    }),
    ("steps of an embedder within steps", || {
        embedder("bge", "tokenizer.json", |json| {
            for (key, inner) in [
                ("normalizer", "normalizers"),
                ("pre_tokenizer", "pretokenizers"),
                ("post_processor", "processors"),
            ] {
                let mut step = json[key].clone();
                for _ in 0..60 {
                    step = json!({"type": "Sequence", inner: [step]});
                }
                json[key] = step;
            }
        })
    }),
    ("a table of characters that says it is long", || table(&[0xFF, 0xFF, 0xFF, 0xFF])),
    ("a table of no characters", || table(&[0; 4])),
    ("a table of characters that leads out of itself", || table(&characters(1 << 10, b"x\0"))),
    ("a table of characters that points behind its texts", || {
        let mut bytes = characters(1 << 8, b"x\0");
        // The root leads to unit 1, whose leaf is unit 1 ^ 1.
        bytes[4..8].copy_from_slice(&(1_u32 << 10).to_le_bytes());
        for at in 1..256_u32 {
            let place = 4 + 4 * at as usize;
            let unit = 1 << 10 | 1 << 8 | (at ^ 1);
            bytes[place..place + 4].copy_from_slice(&unit.to_le_bytes());
        }
        table(&bytes)
    }),
    ("a table that makes a megabyte of a character", || {
        table(&characters(1 << 8, &[b'x'; 700_000]))
    }),
    ("a table of characters that is no base64", || {
        embedder("bge", "tokenizer.json", |json| {
            json["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "a=b="});
        })
    }),
    ("many added tokens of an embedder", || {
        embedder("bge", "tokenizer.json", |json| {
            let token = |id| json!({"id": 0, "content": format!("<{id}>"), "special": true});
            json["added_tokens"] = (0..4_000).map(token).collect();
        })
    }),
    ("an added token of a million letters", || {
        embedder("bge", "tokenizer.json", |json| {
            json["added_tokens"][0]["content"] = json!("x".repeat(1_000_000));
        })
    }),
    ("added tokens that become nothing", || {
        embedder("bge", "tokenizer.json", |json| {
            json["normalizer"] = json!({"type": "Strip", "strip_left": true, "strip_right": true});
            json["added_tokens"] = json!([{"id": 0, "content": " ", "normalized": true}]);
        })
    }),
    ("as many positions as there are numbers", || {
        embedder("bge", "config.json", |json| json["max_position_embeddings"] = json!(u64::MAX))
    }),
    ("a padding behind all positions", || {
        embedder("xlm-roberta", "config.json", |json| json["pad_token_id"] = json!(u64::MAX))
    }),
    ("layers that widen without end", || {
        embedder("bge", "config.json", |json| json["intermediate_size"] = json!(1 << 23))
    }),
    ("a kind of embedder that speaks to the terminal", || {
        let kind = "\u{1B}[2J\u{202E}".to_owned() + &"x".repeat(900_000);
        embedder("bge", "config.json", |json| json["model_type"] = json!(kind))
    }),
    ("a name of an embedder that speaks to the terminal", || {
        let name = "\u{1B}[2J\u{202E}".to_owned() + &"x".repeat(900_000);
        embedder("bge", "config.json", |json| json["_name_or_path"] = json!(name))
    }),
    ("an activation that speaks to the terminal", || {
        let name = "\u{1B}[2J".to_owned() + &"x".repeat(900_000);
        embedder("bge", "config.json", |json| json["hidden_act"] = json!(name))
    }),
    ("settings of an embedder that are one long list", || {
        embedder_file("bge", "config.json", format!("{{\"x\":[{}0]}}", "0,".repeat(12_000_000)))
    }),
    ("a step with a long path", || {
        embedder("bge", "modules.json", |json| json[1]["path"] = json!("x/".repeat(400_000)))
    }),
    ("a step above the folder", || {
        embedder("bge", "modules.json", |json| json[1]["path"] = json!("../../../../etc"))
    }),
    ("many steps of an embedder", || {
        embedder("bge", "modules.json", |json| {
            let step = json[1].clone();
            *json = json!(vec![step; 5_000]);
        })
    }),
    ("a long prompt", || {
        embedder("e5", "config_sentence_transformers.json", |json| {
            json["prompts"]["query"] = json!("cat ".repeat(200_000));
        })
    }),
    ("a mapping of far more tokens than there are", || {
        shared_table("mapping", "I64", &vec![0; 16 << 20])
    }),
    ("a mapping to rows that are not there", || shared_table("mapping", "I64", &[0xFF; 8 * 91])),
    ("weights for other tokens", || shared_table("weights", "F64", &[0; 8])),
    ("a table that is a row", || shared_table("embeddings", "F32", &[0; 16])),
];

/// An embedder with a file changed.
fn embedder(name: &str, file: &str, change: impl FnOnce(&mut Value)) -> Case {
    let files = seeds::embedder(name);
    let (_, bytes) = files.iter().find(|(known, _)| known == file).unwrap();
    let mut json: Value = serde_json::from_slice(bytes).unwrap();
    change(&mut json);
    embedder_file(name, file, json.to_string())
}

/// An embedder with a file of these bytes.
fn embedder_file(name: &str, file: &str, bytes: impl Into<Vec<u8>>) -> Case {
    let mut files = seeds::embedder(name);
    files.retain(|(known, _)| known != file);
    files.push((file.to_owned(), bytes.into()));
    Case::folder("", Way::Embedder, files)
}

/// An embedder that replaces characters by a table of these bytes.
fn table(bytes: &[u8]) -> Case {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = [0, 1, 2].map(|at| group.get(at).copied().map_or(0, u32::from));
        let bits = bits[0] << 16 | bits[1] << 8 | bits[2];
        let letter = |at: usize| match at > group.len() {
            true => '=',
            false => char::from(LETTERS[(bits >> (18 - 6 * at)) as usize % 64]),
        };
        text.extend([0, 1, 2, 3].map(letter));
    }
    embedder("xlm-roberta", "tokenizer.json", |json| {
        json["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": text});
    })
}

/// A table of 256 characters, each of which is replaced by the first text, and whose root leads to
/// `root`.
fn characters(root: u32, texts: &[u8]) -> Vec<u8> {
    let mut bytes = 1024_u32.to_le_bytes().to_vec();
    bytes.extend((root << 10).to_le_bytes());
    // Every unit leads to the first, and has a leaf there.
    (1..256_u32).for_each(|at| bytes.extend((at << 10 | 1 << 8 | at).to_le_bytes()));
    bytes.extend(texts);
    bytes
}

/// A table of vectors with a tensor of these bytes, in one dimension.
fn shared_table(name: &str, dtype: &str, data: &[u8]) -> Case {
    let width = match dtype {
        "I64" | "F64" => 8,
        _ => 4,
    };
    let mut header = serde_json::Map::new();
    let mut all = data.to_vec();
    let entry = |dtype: &str, shape: &[usize], at: usize, len: usize| json!({"dtype": dtype, "shape": shape, "data_offsets": [at, at + len]});
    header.insert(name.into(), entry(dtype, &[data.len() / width], 0, data.len()));
    if name != "embeddings" {
        header.insert("embeddings".into(), entry("F32", &[91, 2], data.len(), 8 * 91));
        all.resize(data.len() + 8 * 91, 0);
    }
    let header = Value::Object(header).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &all].concat();
    embedder_file("shared-table", "model.safetensors", bytes)
}
