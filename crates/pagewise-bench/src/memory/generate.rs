//! Generators of cases, one file for each task: seeded, so that they need no data and no two seeds give the
//! same. There is no end of cases, and each depends on the seed and on its number alone.

pub(super) mod bfcl_memory;
pub(super) mod core_memory;
pub(super) mod dmr;
pub(super) mod doc_qa;
pub(super) mod function_calls;
mod lives;
pub(super) mod locomo;
pub(super) mod longmemeval;
pub(super) mod nested_kv;
pub(super) mod opener;
mod people;
pub(super) mod quest;
pub(super) mod retrieval;
pub(super) mod schemas;
pub(super) mod topic_retrieval;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What chance is in one part of a generator.
///
/// `stream` tells parts apart that have the same seed and number.
fn chance(seed: u64, stream: u64, number: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream((stream << 32) | number as u64);
    rng
}

/// Takes one of the words out of a list of those that were not used yet.
fn take<T>(words: &mut Vec<T>, rng: &mut ChaCha8Rng) -> T {
    let at = rng.random_range(0..words.len());
    words.swap_remove(at)
}

/// Returns the words in an order that chance makes.
fn shuffled<'a>(words: &[&'a str], rng: &mut ChaCha8Rng) -> Vec<&'a str> {
    let mut words = words.to_vec();
    words.shuffle(rng);
    words
}

/// Returns any of the words.
fn any<'a>(words: &[&'a str], rng: &mut ChaCha8Rng) -> &'a str {
    words.choose(rng).copied().unwrap_or_default()
}
