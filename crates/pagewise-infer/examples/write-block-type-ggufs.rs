//! Writes a tiny model in blocks of each type as a GGUF file, and what `convert` makes of it for each
//! type that it is asked for. Beside each stand, as JSON, tokens and three times their logits: the
//! reference, which candle computes in full precision from the numbers that the blocks hold, and those
//! that pagewise computes from the file, exactly and as it does unless told otherwise.
//!
//!     cargo run --release -p pagewise-infer --example write-block-type-ggufs -- FOLDER
//!
//! `scripts/check-peer` has another program read the files and compares.

#![allow(clippy::unwrap_used)]

#[path = "../tests/block_types/stored.rs"]
mod stored;

use std::env;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use pagewise_infer::{Compute, ConvertOptions, Decoder, DeviceChoice, Gguf, TensorType, convert};
use pagewise_testkit::{TinyFamily, TinyModel};

const N_TOKENS: u32 = 48;
const WINDOW_TOKENS: usize = 64;

fn main() {
    let to = PathBuf::from(env::args_os().nth(1).expect("the folder to write to"));
    fs::create_dir_all(&to).unwrap();
    let model = TinyModel::new(TinyFamily::Llama, 1).wide().writer();
    let whole = to.join("whole.gguf");
    model.write(&whole).unwrap();
    let numbers_path = to.join("numbers.gguf");
    for stored in stored::TYPES {
        let (blocks, numbers) = stored::in_blocks(&model, stored);
        let path = to.join(format!("blocks-{stored}.gguf"));
        blocks.write(&path).unwrap();
        numbers.write(&numbers_path).unwrap();
        write_logits(&path, &numbers_path);
    }
    for quant in [TensorType::Q8_0, TensorType::Q4_0, TensorType::Q4_K] {
        let path = to.join(format!("converted-{quant}.gguf"));
        let as_numbers = ConvertOptions { quant: Some(TensorType::F32), n_threads: 2 };
        let as_blocks = ConvertOptions { quant: Some(quant), ..as_numbers };
        let go_on = &mut |_, _| ControlFlow::Continue(());
        convert(&whole, &path, &as_blocks, go_on).unwrap();
        fs::remove_file(&numbers_path).unwrap();
        convert(&path, &numbers_path, &as_numbers, go_on).unwrap();
        write_logits(&path, &numbers_path);
    }
    fs::remove_file(numbers_path).unwrap();
    fs::remove_file(whole).unwrap();
}

fn write_logits(path: &Path, numbers: &Path) {
    let tokens: Vec<u32> = (0..N_TOKENS).map(|i| (i * 7919 + 13) % 283).collect();
    let logits = |path: &Path, compute: &Compute| {
        let decoder = Decoder::load(&Gguf::open(path).unwrap(), WINDOW_TOKENS, compute).unwrap();
        decoder.forward_all(&tokens, &mut decoder.new_cache().unwrap()).unwrap()
    };
    let cpu = Compute::new(DeviceChoice::Cpu, None).unwrap();
    let json = serde_json::json!({
        "tokens": tokens,
        "reference": logits(numbers, &Compute::tensors()),
        "exact": logits(path, &cpu.clone().exact()),
        "default": logits(path, &cpu),
    });
    fs::write(path.with_extension("json"), json.to_string()).unwrap();
}
