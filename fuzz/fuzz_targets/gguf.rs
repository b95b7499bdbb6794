//! A GGUF file as a language model.

#![no_main]

mod files;
#[path = "../../crates/pagewise-infer/tests/hostile/read.rs"]
#[allow(dead_code)]
mod read;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    read::weights(&files::write("hostile.gguf", data));
});
