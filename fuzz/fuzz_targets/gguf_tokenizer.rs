//! The metadata of a GGUF file as a tokenizer and a chat template.

#![no_main]

mod files;
#[path = "../../crates/pagewise-infer/tests/hostile/read.rs"]
#[allow(dead_code)]
mod read;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    read::gguf_tokenizer(&files::write("hostile.gguf", data));
});
