//! Generators of cases, one file for each task: seeded, so that they need no data and no two seeds give the
//! same. Case `n` depends on the seed and on `n` alone.

pub(super) mod nested_kv;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What chance is in one part of a generator.
///
/// `stream` tells parts apart that have the same seed and number.
fn chance(seed: u64, stream: u64, number: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream((stream << 32) | number as u64);
    rng
}
