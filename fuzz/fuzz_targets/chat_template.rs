//! A chat template, with a tokenizer that is in order.

#![no_main]

mod files;
#[path = "../../crates/pagewise-infer/tests/hostile/read.rs"]
#[allow(dead_code)]
mod read;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pagewise_infer::Tokenizer;

/// As small as a tokenizer can be.
const TOKENIZER: &str = r#"{"added_tokens": [{"id": 2, "content": "<s>", "special": true}],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}"#;

static READY: LazyLock<Tokenizer> = LazyLock::new(|| {
    files::write("tokenizer.json", TOKENIZER.as_bytes());
    Tokenizer::from_folder(files::folder()).expect("it is in order")
});

fuzz_target!(|data: &[u8]| {
    if let Ok(template) = std::str::from_utf8(data) {
        read::template(template, &READY);
    }
});
