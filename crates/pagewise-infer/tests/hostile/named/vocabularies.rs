//! Vocabularies as large as they may be, in files that are far smaller than what is made of them; and a
//! kept session that is of another one.

use std::fmt::Write as _;

use pagewise_testkit::GgufValue;
use serde_json::json;

use super::Named;
use crate::cases::{Case, Way};
use crate::{read, seeds};

pub(super) const CASES: &[Named] = &[
    ("a million tokens, as JSON", || {
        let mut vocab = r#"{"model":{"type":"BPE","merges":[],"vocab":{"#.to_owned();
        (0..1 << 20).for_each(|id| write!(vocab, "\"{id:x}\":{id},").unwrap());
        file("tokenizer.json", vocab.trim_end_matches(',').to_owned() + "}}}")
    }),
    ("two million merges, as JSON", || {
        let merges = "\"a a\",".repeat(2 << 20);
        let model = format!("{{\"vocab\":{{\"a\":0,\"aa\":1}},\"merges\":[{merges}\"a a\"]}}");
        file("tokenizer.json", format!("{{\"model\":{model}}}"))
    }),
    ("a million tokens", || {
        let mut writer = seeds::gguf("llama");
        let names: Vec<String> = (0..1 << 20).map(|id| format!("{id:x}")).collect();
        writer.replace("tokenizer.ggml.token_type", GgufValue::I32s(vec![1; names.len()]));
        writer.replace("tokenizer.ggml.tokens", names);
        writer.replace("tokenizer.ggml.merges", Vec::<String>::new());
        Case::file("hostile", Way::GgufTokenizer, writer.to_bytes())
    }),
    ("four million merges", || {
        let mut writer = seeds::gguf("llama");
        writer.replace("tokenizer.ggml.merges", vec!["t h".to_owned(); 4 << 20]);
        Case::file("hostile", Way::GgufTokenizer, writer.to_bytes())
    }),
    ("half a million merges", || {
        let mut writer = seeds::gguf("llama");
        writer.replace("tokenizer.ggml.merges", vec!["t h".to_owned(); 1 << 19]);
        Case::file("hostile", Way::GgufTokenizer, writer.to_bytes())
    }),
    ("a million pieces", || {
        let mut writer = seeds::sentencepiece();
        let names: Vec<String> = (0..1 << 20).map(|id| format!("{id:x}")).collect();
        writer.replace("tokenizer.ggml.token_type", GgufValue::I32s(vec![1; names.len()]));
        writer.replace("tokenizer.ggml.scores", GgufValue::F32s(vec![0.0; names.len()]));
        writer.replace("tokenizer.ggml.tokens", names);
        Case::file("hostile", Way::GgufTokenizer, writer.to_bytes())
    }),
    // As large as they may be in a file without weights: these are used, not refused.
    ("as many tokens and merges as have room, as JSON", || {
        let (names, merges) = pairs(280);
        let mut text =
            r#"{"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"#.to_owned();
        (0..).zip(&names).for_each(|(id, name)| write!(text, "\"{name}\":{id},").unwrap());
        text.truncate(text.len() - 1);
        write!(text, "}},\"merges\":{}}}}}", json!(merges)).unwrap();
        file("tokenizer.json", text)
    }),
    ("as many tokens and merges as have room", || {
        let (names, merges) = pairs(280);
        let mut writer = seeds::gguf("llama");
        writer.replace("tokenizer.ggml.token_type", GgufValue::I32s(vec![1; names.len()]));
        writer.replace("tokenizer.ggml.tokens", names);
        writer.replace("tokenizer.ggml.merges", merges);
        Case::file("hostile", Way::GgufTokenizer, writer.to_bytes())
    }),
    ("as many tokens as have room", || {
        let (names, _) = pairs(380);
        let mut writer = seeds::gguf("llama");
        writer.replace("tokenizer.ggml.token_type", GgufValue::I32s(vec![1; names.len()]));
        writer.replace("tokenizer.ggml.tokens", names);
        writer.replace("tokenizer.ggml.merges", Vec::<String>::new());
        Case::file("hostile", Way::GgufTokenizer, writer.to_bytes())
    }),
    ("as many pieces as have room", || {
        let (names, _) = pairs(380);
        let mut writer = seeds::sentencepiece();
        writer.replace("tokenizer.ggml.token_type", GgufValue::I32s(vec![1; names.len()]));
        writer.replace("tokenizer.ggml.scores", GgufValue::F32s(vec![0.0; names.len()]));
        writer.replace("tokenizer.ggml.tokens", names);
        Case::file("hostile", Way::GgufTokenizer, writer.to_bytes())
    }),
    ("as many settings as there may be", || {
        let mut writer = seeds::gguf("llama");
        (0..65_000).for_each(|index| _ = writer.set(&format!("{index:x}"), true));
        Case::file("hostile", Way::Weights, writer.to_bytes())
    }),
    ("as many tensors as there may be", || {
        let mut writer = seeds::gguf("llama");
        (0..65_000).for_each(|index| {
            writer.tensor_raw(&format!("{index:x}"), &[0], 0, vec![], None);
        });
        Case::file("hostile", Way::Weights, writer.to_bytes())
    }),
    ("a kept token that the model does not know", || {
        let mut bytes = seeds::snapshot();
        // Behind the magic number, the key, and how many tokens there are.
        bytes[48..52].copy_from_slice(&u32::MAX.to_le_bytes());
        read::make_checksum_right(&mut bytes);
        Case::folder("", Way::Snapshot, vec![("snapshot".into(), bytes)])
    }),
];

/// `n_letters` and all their pairs, as tokens and as merges.
fn pairs(n_letters: u32) -> (Vec<String>, Vec<String>) {
    // Letters of two bytes, as byte-level vocabularies have none of, so that no text is made of them.
    let letters: Vec<String> =
        (0..n_letters).filter_map(|n| char::from_u32(0x400 + n)).map(String::from).collect();
    let pairs = |between: &str| -> Vec<String> {
        let with =
            |a: &String| letters.iter().map(|b| format!("{a}{between}{b}")).collect::<Vec<_>>();
        letters.iter().flat_map(with).collect()
    };
    ([letters.clone(), pairs("")].concat(), pairs(" "))
}

/// A tokenizer with a file of these bytes.
fn file(name: &str, text: String) -> Case {
    let mut files = seeds::tokenizer_json_files();
    files.retain(|(known, _)| known != name);
    files.push((name.to_owned(), text.into_bytes()));
    Case::folder("", Way::FolderTokenizer, files)
}
