//! Times `Matrix::matmul` on the layers of the catalog's models, two threads.
//!
//! Questions: does decode (`m1`) run at memory bandwidth, what do chunks of forced tokens (`m8`)
//! cost against one token, and how many multiply-adds per second does prefill (`m512`) reach?
//! Throughput is in bytes of weights for `m1` and `m8` (compare with `read_bandwidth`) and in
//! multiply-adds for `m512`. Each shape cycles through copies of its matrix that together exceed
//! the caches, as the layers of a model do. Weights are random and seeded.

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use pagewise_kernels::{BlockType, Matrix, ThreadPool};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const THREADS: usize = 2;

/// More bytes than the last-level cache of most machines has for one tenant.
const WORKING_SET_BYTES: usize = 256 << 20;

/// Model, block type, rows, columns.
const SHAPES: [(&str, BlockType, usize, usize); 8] = [
    ("qwen1.5b_up", BlockType::Q4K, 8960, 1536),
    ("qwen1.5b_down", BlockType::Q4K, 1536, 8960),
    ("qwen1.5b_down", BlockType::Q6K, 1536, 8960),
    ("qwen0.5b_up", BlockType::Q5_0, 4864, 896),
    ("qwen0.5b_head", BlockType::Q8_0, 15194, 896),
    ("smollm2_up", BlockType::Q4_1, 1536, 576),
    ("float_up", BlockType::F16, 4096, 1024),
    ("five_bits", BlockType::Q5K, 4096, 1024),
];

fn matmul(criterion: &mut Criterion) {
    let pool = ThreadPool::new(THREADS);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (name, block_type, n_rows, n_cols) in SHAPES {
        let size = n_rows * n_cols / block_type.block_len() * block_type.block_bytes();
        let copies = (WORKING_SET_BYTES / size).max(1);
        let mut bytes = vec![0u8; copies * size];
        // Small bytes keep every half-precision scale finite whatever the layout.
        rng.fill_bytes(&mut bytes);
        bytes.iter_mut().for_each(|byte| *byte &= 0x3f);
        let matrices: Vec<Matrix<'_>> = bytes
            .chunks_exact(size)
            .filter_map(|bytes| Matrix::new(block_type, n_rows, n_cols, bytes).ok())
            .collect();
        let mut group =
            criterion.benchmark_group(format!("{name}/{block_type:?}_{n_rows}x{n_cols}"));
        group.sampling_mode(SamplingMode::Flat).sample_size(20);
        group
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_millis(1500));
        for m in [1usize, 2, 4, 8, 16, 32, 256] {
            let activations: Vec<f32> =
                (0..m * n_cols).map(|_| rng.random_range(-1f32..1.0)).collect();
            let mut out = vec![0f32; m * n_rows];
            group.throughput(if m <= 8 {
                Throughput::Bytes(size as u64)
            } else {
                Throughput::Elements((m * n_rows * n_cols) as u64)
            });
            let mut next = matrices.iter().cycle();
            group.bench_function(BenchmarkId::from_parameter(format!("m{m}")), |bencher| {
                bencher.iter(|| {
                    if let Some(matrix) = next.next() {
                        matrix.matmul(&activations, m, black_box(&mut out), &pool);
                    }
                });
            });
        }
        group.finish();
    }
}

fn read_bandwidth(criterion: &mut Criterion) {
    let pool = ThreadPool::new(THREADS);
    let words = vec![1u64; WORKING_SET_BYTES / 8];
    let mut group = criterion.benchmark_group("read_bandwidth");
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Bytes(WORKING_SET_BYTES as u64));
    group.bench_function(format!("{THREADS}_threads"), |bencher| {
        bencher.iter(|| {
            let total = AtomicU64::new(0);
            let chunks: Vec<&[u64]> = words.chunks(1 << 16).collect();
            pool.run(chunks.len(), &|i| {
                let sum = chunks[i].iter().fold(0u64, |sum, &word| sum ^ word);
                total.fetch_xor(sum, Ordering::Relaxed);
            });
            black_box(total.into_inner())
        });
    });
    group.finish();
}

criterion_group!(benches, read_bandwidth, matmul);
criterion_main!(benches);
