//! Times an embedder on passages of about 200 words, and on one query.
//!
//! Questions: how many tokens a second does an ingest embed, and how long does a search wait for its
//! query and for the embedder to be opened? The weights are all-MiniLM-L6-v2's, found as the tests
//! find them; without them there is nothing to time. Passages are random words from a seed.
//! `scripts/compare-embedders` times the same beside sentence-transformers.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use pagewise_core::{Embedder, Purpose};
use pagewise_infer::SentenceEmbedder;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const MODEL: &str = "all-minilm-l6-v2";
const THREADS: usize = 2;
const N_PASSAGES: usize = 32;
const WORDS: [&str; 16] = [
    "the",
    "of",
    "and",
    "river",
    "music",
    "paper",
    "friend",
    "morning",
    "garden",
    "letter",
    "winter",
    "story",
    "password",
    "meeting",
    "neighbour",
    "remember",
];

fn embedding(criterion: &mut Criterion) {
    let Some(folder) = std::env::var_os("PAGEWISE_TEST_MODELS") else {
        return;
    };
    let folder = std::path::Path::new(&folder).join(MODEL);
    let load = || SentenceEmbedder::load(&folder, Some(THREADS)).expect("the embedder");
    let embedder = load();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let passages: Vec<String> = (0..N_PASSAGES)
        .map(|_| {
            let words: Vec<&str> = (0..rng.random_range(180..220))
                .map(|_| WORDS[rng.random_range(0..WORDS.len())])
                .collect();
            words.join(" ")
        })
        .collect();
    let passages: Vec<&str> = passages.iter().map(String::as_str).collect();
    let n_tokens: usize = passages
        .iter()
        .map(|text| embedder.n_tokens(text, Purpose::Passage).expect("tokens"))
        .sum();

    let mut group = criterion.benchmark_group("embedding");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(10));
    group.throughput(Throughput::Elements(n_tokens as u64));
    group.bench_function(format!("{N_PASSAGES}_passages"), |bencher| {
        bencher.iter(|| embedder.embed(black_box(&passages), Purpose::Passage).expect("vectors"));
    });
    let query = ["Where did I leave the keys of the car?"];
    group.throughput(Throughput::Elements(1));
    group.bench_function("query", |bencher| {
        bencher.iter(|| embedder.embed(black_box(&query), Purpose::Query).expect("a vector"));
    });
    group.bench_function("load", |bencher| bencher.iter(load));
    group.finish();
}

criterion_group!(benches, embedding);
criterion_main!(benches);
