//! Times `Matrix::matmul` on the layers of the catalog's models, two threads.
//!
//! Questions: does decode (`m1`) run at memory bandwidth, what do chunks of forced tokens (`m8`)
//! cost against one token, and how many multiply-adds per second does prefill (`m512`) reach?
//! Throughput is in bytes of weights up to `m8` (compare with `peaks/read_bandwidth`) and in
//! multiply-adds above (compare with `peaks/multiply_adds`). Each shape cycles through copies of its
//! matrix that together exceed the caches, as the layers of a model do, in large pages where the system
//! gives them. Weights are random and seeded. The kernels are the best ones, or those that
//! `PAGEWISE_ISA` names.

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use memmap2::MmapMut;
use pagewise_kernels::{
    BlockType, Isa, Matrix, Product, ThreadPool, multiply_on_registers, multiply_rows, read_all,
};
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
    let pool = ThreadPool::with_isa(THREADS, isa());
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (name, block_type, n_rows, n_cols) in SHAPES {
        let size = n_rows * n_cols / block_type.block_len() * block_type.block_bytes();
        let copies = (WORKING_SET_BYTES / size).max(1);
        let mut bytes = large_pages(copies * size);
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

/// The output head under a mask: some of its rows, spread over the vocabulary, against all of them.
///
/// The question is below which share of the vocabulary picking rows pays (`FEW_OF` in the engine).
fn some_rows(criterion: &mut Criterion) {
    const N_ROWS: usize = 151_936;
    const N_COLS: usize = 896;
    let pool = ThreadPool::with_isa(THREADS, isa());
    let block_type = BlockType::Q8_0;
    let size = N_ROWS * N_COLS / block_type.block_len() * block_type.block_bytes();
    let mut bytes = large_pages(size);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    rng.fill_bytes(&mut bytes);
    bytes.iter_mut().for_each(|byte| *byte &= 0x3f);
    let matrix = Matrix::new(block_type, N_ROWS, N_COLS, &bytes).expect("the shape is right");
    let activation: Vec<f32> = (0..N_COLS).map(|_| rng.random_range(-1f32..1.0)).collect();
    let mut out = vec![0f32; N_ROWS];
    let mut group = criterion.benchmark_group("some_rows/qwen0.5b_head");
    group.sample_size(20).measurement_time(Duration::from_secs(1));
    for one_of in [1024usize, 256, 64, 16, 8, 4, 2] {
        // Other rows each time, or they would come from the caches.
        let sets: Vec<Vec<u32>> = (0..64)
            .map(|_| {
                let mut rows: Vec<u32> =
                    (0..N_ROWS / one_of).map(|_| rng.random_range(0..N_ROWS as u32)).collect();
                rows.sort_unstable();
                rows
            })
            .collect();
        let mut next = sets.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(format!("1_of_{one_of}")), |bencher| {
            bencher.iter(|| {
                if let Some(rows) = next.next() {
                    let product = Product { matrix, out: black_box(&mut out) };
                    multiply_rows(&activation, product, rows, &pool);
                }
            });
        });
    }
    group.bench_function("all", |bencher| {
        bencher.iter(|| matrix.matmul(&activation, 1, black_box(&mut out), &pool));
    });
    group.finish();
}

fn isa() -> Isa {
    match std::env::var("PAGEWISE_ISA") {
        Ok(name) => name.parse().unwrap_or_else(|error| panic!("{error}")),
        Err(_) => Isa::detect(),
    }
}

fn large_pages(len: usize) -> MmapMut {
    let map = MmapMut::map_anon(len).expect("memory");
    // A wish, which not every system knows.
    #[cfg(target_os = "linux")]
    map.advise(memmap2::Advice::HugePage).ok();
    map
}

/// What the machine could do at most.
fn peaks(criterion: &mut Criterion) {
    let pool = ThreadPool::with_isa(THREADS, isa());
    let mut bytes = large_pages(4 * WORKING_SET_BYTES);
    bytes.fill(1);
    let mut group = criterion.benchmark_group("peaks");
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function(format!("read_bandwidth/{THREADS}_threads"), |bencher| {
        bencher.iter(|| {
            let total = AtomicU64::new(0);
            let chunks: Vec<&[u8]> = bytes.chunks(1 << 20).collect();
            pool.run(chunks.len(), &|i| {
                total.fetch_xor(read_all(chunks[i]), Ordering::Relaxed);
            });
            black_box(total.into_inner())
        });
    });
    const ROUNDS: usize = 100_000;
    let each = multiply_on_registers(pool.isa(), 1) * ROUNDS as u64;
    group.throughput(Throughput::Elements(each * THREADS as u64));
    group.bench_function(format!("multiply_adds/{}_{THREADS}_threads", pool.isa()), |bencher| {
        bencher.iter(|| {
            pool.run(THREADS, &|_| {
                black_box(multiply_on_registers(pool.isa(), ROUNDS));
            });
        });
    });
    group.finish();
}

criterion_group!(benches, peaks, some_rows, matmul);
criterion_main!(benches);
