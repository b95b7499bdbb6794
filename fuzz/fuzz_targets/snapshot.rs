//! A KV cache that was kept between two runs. Its checksum is always right.

#![no_main]

mod files;
#[path = "../../crates/pagewise-infer/tests/hostile/read.rs"]
#[allow(dead_code)]
mod read;

use std::path::Path;

use libfuzzer_sys::fuzz_target;

const WEIGHTS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/pagewise-infer/tests/data/families/qwen2");

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    read::make_checksum_right(&mut bytes);
    read::snapshot(&files::write("snapshot", &bytes), Path::new(WEIGHTS));
});
