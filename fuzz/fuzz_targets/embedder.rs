//! A folder of an embedder, one file of which is the fuzzer's: the first byte says which.

#![no_main]

mod files;
#[path = "../../crates/pagewise-infer/tests/hostile/read.rs"]
#[allow(dead_code)]
mod read;

use libfuzzer_sys::fuzz_target;

/// The embedders of the fixtures, and the file that is changed; `A` is the first of these.
/// `scripts/check-memory-safety` has the same list, for the seeds.
const CHANGES: [(&str, &str); 12] = [
    ("bge", "tokenizer.json"),
    ("bge", "config.json"),
    ("bge", "model.safetensors"),
    ("bge", "modules.json"),
    ("bge", "1_Pooling/config.json"),
    ("bge", "config_sentence_transformers.json"),
    ("bge", "sentence_bert_config.json"),
    ("bge", "tokenizer_config.json"),
    ("xlm-roberta", "tokenizer.json"),
    ("xlm-roberta", "config.json"),
    ("shared-table", "tokenizer.json"),
    ("shared-table", "model.safetensors"),
];

fuzz_target!(|data: &[u8]| {
    let Some((first, data)) = data.split_first() else { return };
    let index = usize::from(first.wrapping_sub(b'A')) % CHANGES.len();
    let (embedder, changed) = CHANGES[index];
    let folder = format!("{index}");
    for (_, name) in CHANGES {
        let fixture = format!("embedder/{embedder}/{name}");
        if name != changed && files::has_fixture(&fixture) {
            files::fixture(&fixture, &format!("{folder}/{name}"));
        }
    }
    files::write(&format!("{folder}/{changed}"), data);
    read::embedder(&files::folder().join(folder));
});
