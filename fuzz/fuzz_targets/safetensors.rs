//! A safetensors file beside settings that are in order.

#![no_main]

mod files;
#[path = "../../crates/pagewise-infer/tests/hostile/read.rs"]
#[allow(dead_code)]
mod read;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    files::fixture("families/qwen3/config.json", "config.json");
    files::write("model.safetensors", data);
    read::weights(files::folder());
});
