//! The settings of weights that are in order.

#![no_main]

mod files;
#[path = "../../crates/pagewise-infer/tests/hostile/read.rs"]
#[allow(dead_code)]
mod read;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    files::fixture("families/qwen3/model.safetensors", "model.safetensors");
    files::write("config.json", data);
    read::weights(files::folder());
});
