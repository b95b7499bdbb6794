//! Every type of block through the decoder: however tokens are fed, the logits are those of the numbers
//! that the blocks hold, computed in full precision by candle.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

#[path = "block_types/stored.rs"]
mod stored;

use std::path::Path;

use pagewise_infer::{Compute, Decoder, DeviceChoice, Gguf, Isa, TensorType};
use pagewise_testkit::{GgufWriter, TinyFamily, TinyModel};
use stored::{TYPES, in_blocks};

const WINDOW_TOKENS: usize = 64;
const N_TOKENS: usize = 48;

fn load(writer: &GgufWriter, path: &Path, compute: &Compute) -> Decoder {
    writer.write(path).unwrap();
    Decoder::load(&Gguf::open(path).unwrap(), WINDOW_TOKENS, compute).unwrap()
}

fn tokens() -> Vec<u32> {
    (0..N_TOKENS as u32).map(|i| (i * 7919 + 13) % 283).collect()
}

/// Returns the logits behind each token when so many are read at a time.
fn logits(decoder: &Decoder, pieces: &[usize]) -> Vec<f32> {
    assert_eq!(pieces.iter().sum::<usize>(), N_TOKENS, "not all is read");
    let mut cache = decoder.new_cache().unwrap();
    let tokens = tokens();
    let mut read = |n: &usize| {
        let piece = &tokens[cache.len()..cache.len() + n];
        decoder.forward_all(piece, &mut cache).unwrap().concat()
    };
    pieces.iter().flat_map(&mut read).collect()
}

/// Returns how much of `actual` is error, as a share of `expected`, both by their root mean square.
fn error(actual: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(actual.len(), expected.len());
    let square = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| x * x).sum::<f32>();
    let errors = square(&mut actual.iter().zip(expected).map(|(a, b)| a - b));
    (errors / square(&mut expected.iter().copied())).sqrt()
}

/// What rounding to a type does to a number, relative to those around it.
///
/// Activations meet quantised weights in 8 bits, from -127 to 127 of the largest of a group, which is as
/// long as the blocks. Of 32 normally distributed numbers the largest is about 2.1 standard deviations,
/// of 256 about 2.8; a step is 1/127 of it, and rounding to steps is off by 1/√12 of one.
fn activation_noise(stored: TensorType) -> f32 {
    let largest = match stored.block_len() {
        1 => return 0.0,
        32 => 2.1,
        _ => 2.8,
    };
    largest / 127.0 / 12f32.sqrt()
}

/// How many times that noise the error of the logits may be: 14 products follow one another here, and
/// attention is sharp. It is 5.1 to 5.8 times with every quantised type.
const AMPLIFICATION: f32 = 7.0;

/// The error of sums in another order; it is at most 1e-6.
const ORDER: f32 = 1e-5;

/// What keys and values in halves add: they are off by 7e-4.
const HALVES: f32 = 1e-3;

/// What tiles add, which round to `bf16` what attention reads, and activations as well where the weights
/// are `bf16`. Weights that are rounded so make an error of 0.011.
const TILES: f32 = 0.02;

fn tolerance(stored: TensorType, compute: &Compute, is_exact: bool) -> f32 {
    let has_tiles = compute.isa().is_some_and(Isa::has_tiles);
    let cache = if is_exact { 0.0 } else { HALVES };
    let tiles = if has_tiles { TILES } else { 0.0 };
    ORDER + AMPLIFICATION * activation_noise(stored) + cache + tiles
}

/// Returns how many tokens are read at a time: as many as there are; a prompt and then one by one; and
/// pieces of every length at which another kernel is chosen.
fn feeds() -> [Vec<usize>; 3] {
    let decode = [20].into_iter().chain([1; N_TOKENS - 20]).collect();
    [vec![N_TOKENS], decode, vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 3]]
}

fn check(family: TinyFamily) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    let model = TinyModel::new(family, 1).wide().writer();
    let whole = [N_TOKENS];
    let original = logits(&load(&model, &path, &Compute::tensors()), &whole);
    let cpu = Compute::new(DeviceChoice::Cpu, Some(2)).unwrap();
    for stored in TYPES {
        let (blocks, numbers) = in_blocks(&model, stored);
        let expected = logits(&load(&numbers, &path, &Compute::tensors()), &whole);
        for (compute, is_exact) in [
            (cpu.clone().exact(), true),
            (cpu.clone().without_tiles(), false),
            (cpu.clone(), false),
        ] {
            let decoder = load(&blocks, &path, &compute);
            let errors = feeds().map(|feed| error(&logits(&decoder, &feed), &expected));
            let bound = tolerance(stored, &compute, is_exact);
            eprintln!("{family:?} in {stored}, {:?}: {errors:?}, at most {bound}", compute.isa());
            assert!(
                errors.iter().all(|error| *error < bound),
                "{family:?} in {stored}: {errors:?}, more than {bound}"
            );
            check_few(&decoder);
        }
        // Other numbers would be found out: those that the blocks were made of lie further off than any
        // bound, but where rounding weights and rounding activations are about the same.
        if ![TensorType::F32, TensorType::Q8_0].contains(&stored) {
            let distance = error(&original, &expected);
            let bound = tolerance(stored, &cpu.clone().exact(), true);
            assert!(distance > 1.5 * bound, "{stored} is only {distance} off, within {bound}");
        }
    }
}

/// Logits of a few tokens alone are those that there are when all are.
fn check_few(decoder: &Decoder) {
    let (tokens, wanted) = (tokens(), [0, 17, 282]);
    let mut caches = [(); 2].map(|()| decoder.new_cache().unwrap());
    for piece in [&tokens[..20], &tokens[20..21]] {
        let all = decoder.forward(piece, &mut caches[0]).unwrap();
        let few = decoder.forward_among(&|| false, piece, &wanted, &mut caches[1]).unwrap();
        for id in wanted.map(|id| id as usize) {
            assert_eq!(few[id], all[id]);
        }
    }
}

#[test]
fn every_type_with_a_head_of_its_own() {
    check(TinyFamily::Llama);
}

#[test]
fn every_type_with_biases_and_the_table_as_head() {
    check(TinyFamily::Qwen2);
}
