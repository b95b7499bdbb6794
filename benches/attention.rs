//! Times `Attention::run` on the shapes of the catalog's models, two threads.
//!
//! Questions: how many multiply-adds per second does a chunk of a prompt (`t256`) reach behind
//! contexts of two lengths, and what does the attention of one token (`t1`) cost beside reading
//! its weights? Throughput is in multiply-adds: two per element of a head for every pair of a
//! query and a position that it sees. Each shape cycles through several caches, as the layers of
//! a model do. Keys and values are random and seeded.

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use half::f16;
use pagewise_kernels::{Attention, ThreadPool};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::hint::black_box;
use std::time::Duration;

const THREADS: usize = 2;
/// Layers whose caches take turns, so that one token's reading is not served by the second-level
/// cache.
const LAYERS: usize = 16;

/// Model, heads, KV heads, elements of a head.
const SHAPES: [(&str, usize, usize, usize); 3] =
    [("qwen1.5b", 12, 2, 128), ("qwen0.5b", 14, 2, 64), ("smollm2", 9, 3, 64)];

fn attention(criterion: &mut Criterion) {
    let pool = ThreadPool::new(THREADS);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (name, n_head, n_kv_head, head_dim) in SHAPES {
        for context in [512usize, 2048] {
            let len = n_kv_head * context * head_dim;
            let mut random =
                |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-1f32..1.0)).collect() };
            let halves: Vec<f16> =
                random(2 * LAYERS * len).into_iter().map(f16::from_f32).collect();
            let layers: Vec<(&[f16], &[f16])> =
                halves.chunks_exact(2 * len).map(|layer| layer.split_at(len)).collect();
            let mut group = criterion.benchmark_group(format!("attention/{name}_context{context}"));
            group.sampling_mode(SamplingMode::Flat).sample_size(20);
            group
                .warm_up_time(Duration::from_millis(300))
                .measurement_time(Duration::from_millis(1500));
            for n_tokens in [1usize, 256] {
                let past = context - n_tokens;
                let attention = Attention {
                    n_head,
                    n_kv_head,
                    head_dim,
                    capacity: context,
                    past,
                    scale: (head_dim as f32).sqrt().recip(),
                    softcap: None,
                    window: None,
                };
                let q = random(n_tokens * n_head * head_dim);
                let mut out = vec![0f32; q.len()];
                let seen = n_tokens * past + n_tokens * (n_tokens + 1) / 2;
                group.throughput(Throughput::Elements((2 * seen * n_head * head_dim) as u64));
                let mut next = layers.iter().cycle();
                group.bench_function(
                    BenchmarkId::from_parameter(format!("t{n_tokens}")),
                    |bencher| {
                        bencher.iter(|| {
                            if let Some((keys, values)) = next.next() {
                                attention.run(&q, keys, values, black_box(&mut out), &pool);
                            }
                        });
                    },
                );
            }
            group.finish();
        }
    }
}

criterion_group!(benches, attention);
criterion_main!(benches);
