//! Many activations on the tile registers of AMX: weights and activations as `bf16`, sums in `f32`; or, in
//! `int8.rs`, as bytes.
//!
//! A stretch of 32 rows of weights is unpacked into tiles that fit the first-level cache and meets
//! every activation, so the cost of unpacking is shared by all of them. `f32` sums hold for a whole
//! row, so no scale has to be applied inside a product, whatever the type of the weights.
//!
//! A tile register has 16 rows of 64 bytes. A product adds to 16 × 16 sums what 32 columns give:
//!
//! ```text
//!              sums                      weights                     activations
//!          16 activations               32 columns                  16 activations
//!        ┌────────────────┐          ┌────────────────┐          ┌────────────────┐
//!     16 │                │       16 │ a row as it    │       16 │ pairs of       │
//!   rows │ f32            │ +=  rows │ lies in memory │ ×  pairs │ neighbouring   │
//!        │                │          │ bf16           │          │ columns, bf16  │
//!        └────────────────┘          └────────────────┘          └────────────────┘
//! ```
//!
//! So weights need no transposition; activations are packed once for all rows, and sums are
//! transposed once for all columns. Two tiles of weights and two of activations are in registers at
//! a time, and the four products of these.

use crate::bf16::{TILE_BYTES, TILE_COLS, TILE_ROWS, transpose_16x16, unpack_rows, vectors};
use crate::lines::Lines;
use crate::matrix::Matrix;
use crate::product::Output;
use crate::{Activation, Isa};
use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::OnceLock;

mod activations;
#[cfg(all(test, target_os = "linux"))]
mod emulated;
mod int8;

pub(crate) use activations::TiledActivations;

/// What tiles hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TileForm {
    /// Numbers rounded to `bf16`.
    #[default]
    Bf16,
    /// Bytes, 256 of a row with one scale.
    Int8,
}

/// Rows of weights that are multiplied together.
pub(crate) const ROWS: usize = 2 * TILE_ROWS;
/// Most bytes that the activations of one task take while some columns are multiplied: they stay in the
/// second-level cache.
const ACTIVATION_BYTES: usize = 1 << 20;
/// Most columns that are unpacked together: so many of 32 rows stay in the second-level cache.
const MAX_COLS: usize = 1 << 14;
/// Tiles of columns that are multiplied together: so many of 32 rows leave room in the first-level
/// cache.
const COL_TILES: usize = 8;
/// Tiles of activations whose sums stay in the second-level cache.
const TOKEN_TILES: usize = 32;
/// Sums in a tile.
pub(crate) const TILE_SUMS: usize = TILE_BYTES / size_of::<f32>();

/// Returns whether this machine has AMX for `bf16` and tiles of this form, and lets this process use it.
///
/// The kernel gives the registers' memory only to processes that ask for it, once for all threads.
pub(crate) fn is_available(form: TileForm) -> bool {
    static FORMS: OnceLock<[bool; 2]> = OnceLock::new();
    let forms = FORMS.get_or_init(|| {
        let has_vectors = is_x86_feature_detected!("avx512bf16");
        let [tile, bf16, int8] = processor_has();
        match has_vectors && tile && may_use_tiles() {
            true => [bf16, bf16 && int8],
            false => [has_vectors && !tile && is_emulated(); 2],
        }
    });
    forms[form as usize]
}

/// Returns whether tests do without the instructions.
fn is_emulated() -> bool {
    #[cfg(all(test, target_os = "linux"))]
    return emulated::install();
    #[cfg(not(all(test, target_os = "linux")))]
    false
}

/// Returns whether the processor has tiles, and products of `bf16` and of bytes in them.
fn processor_has() -> [bool; 3] {
    let features = if __cpuid(0).eax >= 7 { __cpuid_count(7, 0).edx } else { 0 };
    [24, 22, 25].map(|bit| features >> bit & 1 == 1)
}

#[cfg(target_os = "linux")]
fn may_use_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let result: i64;
    // SAFETY: this system call changes nothing but what the process may use.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn may_use_tiles() -> bool {
    false
}

/// The tile registers of this thread, each of 16 rows of 64 bytes, until it is dropped.
pub(crate) struct Tiles;

impl Tiles {
    /// # Safety
    ///
    /// [`is_available`] is true.
    pub(crate) unsafe fn configure() -> Self {
        #[repr(C, align(64))]
        struct Config {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            bytes_per_row: [u16; 16],
            rows: [u8; 16],
        }
        let mut config = Config {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            bytes_per_row: [0; 16],
            rows: [0; 16],
        };
        config.bytes_per_row[..8].fill(64);
        config.rows[..8].fill(TILE_ROWS as u8);
        // SAFETY: the configuration is one of palette 1, and the instruction is there.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly));
        }
        Self
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: there is a `Tiles` only where the instruction is. Registers that are in use would
        // be saved at every change of threads.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }
}

/// A thread's buffers.
#[derive(Default)]
struct Scratch {
    weights: Lines,
    sums: Lines,
    /// Of the second matrix.
    more_sums: Lines,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Computes the outputs of `rows` for all activations.
pub(crate) fn multiply(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    activations: &TiledActivations,
    out: &Output,
) {
    SCRATCH.with_borrow_mut(|Scratch { weights, sums, .. }| {
        for tokens in stretches(0..activations.n_tiles(), TOKEN_TILES) {
            // SAFETY: called only on a pool whose `Isa` has tiles; `activations` was packed for this
            // matrix and `out` is `(m, n_rows)`, checked by the caller.
            unsafe {
                let sums = add_up(matrix, rows.clone(), activations, tokens.clone(), weights, sums);
                store(sums, tokens, activations.m(), rows.clone(), out);
            }
        }
    });
}

/// Computes the outputs of `rows` of two matrices of one shape for all activations, the first ones
/// a gate for the others, of which nothing else is left.
pub(crate) fn multiply_gated(
    [gate, up]: [&Matrix<'_>; 2],
    rows: Range<usize>,
    activations: &TiledActivations,
    activation: Activation,
    isa: Isa,
    out: &Output,
) {
    SCRATCH.with_borrow_mut(|Scratch { weights, sums, more_sums }| {
        for tokens in stretches(0..activations.n_tiles(), TOKEN_TILES) {
            // SAFETY: as above.
            unsafe {
                let mut add_up = |matrix, sums| {
                    add_up(matrix, rows.clone(), activations, tokens.clone(), weights, sums)
                };
                let (gate, up) = (add_up(gate, sums), add_up(up, more_sums));
                activation.apply(isa, gate, up);
                store(gate, tokens, activations.m(), rows.clone(), out);
            }
        }
    });
}

/// Cuts a range.
fn stretches(range: Range<usize>, len: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(len).map(move |start| start..range.end.min(start + len))
}

/// Returns the sums of `rows` and tiles of activations: of each stretch of rows and each of these two
/// tiles, `(2, 16 rows, 16 activations)`.
///
/// # Safety
///
/// The machine has AMX.
unsafe fn add_up<'a>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    activations: &TiledActivations,
    tokens: Range<usize>,
    weights: &mut Lines,
    sums: &'a mut Lines,
) -> &'a mut [f32] {
    // SAFETY: the caller's machine has AMX.
    unsafe {
        match activations.form() {
            TileForm::Bf16 => add_up_bf16(matrix, rows, activations, tokens, weights, sums),
            TileForm::Int8 => int8::add_up(matrix, rows, activations, tokens, weights, sums),
        }
    }
}

/// See [`add_up`].
///
/// # Safety
///
/// The machine has AMX.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
unsafe fn add_up_bf16<'a>(
    matrix: &Matrix<'_>,
    rows: Range<usize>,
    activations: &TiledActivations,
    tokens: Range<usize>,
    weights: &mut Lines,
    sums: &'a mut Lines,
) -> &'a mut [f32] {
    let n_cols = matrix.n_cols();
    assert_eq!(activations.n_cols(), n_cols);
    // SAFETY: the caller's machine has AMX.
    let _tiles = unsafe { Tiles::configure() };
    // The more of a row is read together, the better the processor foresees what comes next. All
    // blocks are as long as this number or a part of it.
    const BLOCK: usize = 256;
    let step = ACTIVATION_BYTES / (TILE_BYTES / TILE_COLS * tokens.len()) / BLOCK * BLOCK;
    let step = step.clamp(BLOCK, MAX_COLS).min(n_cols.next_multiple_of(BLOCK));
    // Odd in cache lines, so that rows do not get into each other's way.
    let row_bytes = 2 * step + 64;
    let weights = weights.bytes(ROWS * row_bytes);
    let stretch_len = tokens.len() * 2 * TILE_SUMS;
    let [sums] = sums.parts([rows.len().div_ceil(ROWS) * stretch_len]);
    for cols in stretches(0..n_cols, step) {
        for (rows, sums) in stretches(rows.clone(), ROWS).zip(sums.chunks_exact_mut(stretch_len)) {
            unpack_rows(matrix, rows, cols.clone(), weights, row_bytes);
            for tiles in stretches(0..cols.len().div_ceil(TILE_COLS), COL_TILES) {
                let first = cols.start / TILE_COLS + tiles.start;
                let weights = &weights[2 * TILE_COLS * tiles.start..];
                // SAFETY: the registers are configured.
                unsafe {
                    let tiles = first..first + tiles.len();
                    multiply_tiles(weights, row_bytes, activations, tiles, tokens.clone(), sums);
                }
            }
        }
    }
    sums
}

/// Writes sums, as [`add_up`] returns them, to the output.
///
/// # Safety
///
/// The machine has AVX-512, and the output has `m` activations and these rows.
#[target_feature(enable = "avx512f")]
unsafe fn store(sums: &[f32], tokens: Range<usize>, m: usize, rows: Range<usize>, out: &Output) {
    let stretch_len = tokens.len() * 2 * TILE_SUMS;
    // Tokens first: what is written of each lies together.
    for (at, token) in tokens.enumerate() {
        let first_token = token * TILE_ROWS;
        let tokens = first_token..m.min(first_token + TILE_ROWS);
        for (rows, sums) in stretches(rows.clone(), ROWS).zip(sums.chunks_exact(stretch_len)) {
            let halves = sums[at * 2 * TILE_SUMS..].chunks_exact(TILE_SUMS);
            for (rows, sums) in stretches(rows, TILE_ROWS).zip(halves) {
                // SAFETY: the tokens and the rows are there.
                unsafe { store_tile(sums, tokens.clone(), rows, out) };
            }
        }
    }
}

/// Adds the products of some tiles of columns to the sums, `(tokens, 2)` tiles, or puts them there if
/// they are the first; the rows of `weights` are `row_bytes` apart.
///
/// # Safety
///
/// The registers are configured.
#[inline(always)]
unsafe fn multiply_tiles(
    weights: &[u8],
    row_bytes: usize,
    activations: &TiledActivations,
    cols: Range<usize>,
    tokens: Range<usize>,
    sums: &mut [f32],
) {
    let (n, is_first) = (cols.len(), cols.start == 0);
    assert!(weights.len() >= (ROWS - 1) * row_bytes + 2 * TILE_COLS * n);
    let (upper, lower) = (weights.as_ptr(), weights[TILE_ROWS * row_bytes..].as_ptr());
    for (at, sums) in sums.chunks_mut(4 * TILE_SUMS).enumerate() {
        let tiles = |token| activations.tiles(token, cols.start, n).as_ptr();
        let token = tokens.start + 2 * at;
        let rows = [upper, lower];
        // SAFETY: there are `n` tiles at each pointer, and four of sums, or two at the end.
        unsafe {
            let first_sums = sums.as_mut_ptr();
            if sums.len() == 4 * TILE_SUMS {
                let columns = [tiles(token), tiles(token + 1)];
                let sums = [first_sums, first_sums.add(2 * TILE_SUMS)];
                multiply_2x2(rows, row_bytes, columns, n, sums, is_first);
            } else {
                multiply_2x1(rows, row_bytes, tiles(token), n, first_sums, is_first);
            }
        }
    }
}

/// Defines the products that one instruction makes of tiles of `cols` columns.
macro_rules! products {
    (
        instruction: $instruction:literal,
        cols: $cols:expr,
        two_by_two: $two_by_two:ident,
        two_by_one: $two_by_one:ident,
        on_registers: $on_registers:ident,
    ) => {
        /// Adds the products of two rows of tiles and two columns of tiles, all `n` tiles long, to four tiles
        /// of sums, two of each column, or puts them there. Rows are `row_bytes` apart.
        ///
        /// # Safety
        ///
        /// The tiles are there and the registers are configured.
        #[inline(always)]
        pub(crate) unsafe fn $two_by_two(
            [upper, lower]: [*const u8; 2],
            row_bytes: usize,
            [first, second]: [*const u8; 2],
            n: usize,
            [sums, more_sums]: [*mut f32; 2],
            is_first: bool,
        ) {
            // SAFETY: the caller's promise.
            unsafe {
                asm!(
                    "test {is_first:e}, {is_first:e}",
                    "jnz 2f",
                    "tileloadd tmm0, [{sums} + {stride}]",
                    "tileloadd tmm1, [{sums} + {stride} + 1024]",
                    "tileloadd tmm2, [{more} + {stride}]",
                    "tileloadd tmm3, [{more} + {stride} + 1024]",
                    "jmp 3f",
                    "2:",
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "3:",
                    "tileloadd tmm4, [{upper} + {row}]",
                    "tileloadd tmm6, [{first} + {stride}]",
                    concat!($instruction, " tmm0, tmm4, tmm6"),
                    "tileloadd tmm5, [{lower} + {row}]",
                    concat!($instruction, " tmm1, tmm5, tmm6"),
                    "tileloadd tmm7, [{second} + {stride}]",
                    concat!($instruction, " tmm2, tmm4, tmm7"),
                    concat!($instruction, " tmm3, tmm5, tmm7"),
                    "add {upper}, 64",
                    "add {lower}, 64",
                    "add {first}, 1024",
                    "add {second}, 1024",
                    "dec {n}",
                    "jnz 3b",
                    "tilestored [{sums} + {stride}], tmm0",
                    "tilestored [{sums} + {stride} + 1024], tmm1",
                    "tilestored [{more} + {stride}], tmm2",
                    "tilestored [{more} + {stride} + 1024], tmm3",
                    upper = inout(reg) upper => _,
                    lower = inout(reg) lower => _,
                    first = inout(reg) first => _,
                    second = inout(reg) second => _,
                    n = inout(reg) n => _,
                    sums = in(reg) sums,
                    more = in(reg) more_sums,
                    stride = in(reg) 64usize,
                    row = in(reg) row_bytes,
                    is_first = in(reg) u32::from(is_first),
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }

        /// The same with one column of tiles: two tiles of sums.
        ///
        /// # Safety
        ///
        /// The tiles are there and the registers are configured.
        #[inline(always)]
        pub(crate) unsafe fn $two_by_one(
            [upper, lower]: [*const u8; 2],
            row_bytes: usize,
            first: *const u8,
            n: usize,
            sums: *mut f32,
            is_first: bool,
        ) {
            // SAFETY: the caller's promise.
            unsafe {
                asm!(
                    "test {is_first:e}, {is_first:e}",
                    "jnz 2f",
                    "tileloadd tmm0, [{sums} + {stride}]",
                    "tileloadd tmm1, [{sums} + {stride} + 1024]",
                    "jmp 3f",
                    "2:",
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "3:",
                    "tileloadd tmm6, [{first} + {stride}]",
                    "tileloadd tmm4, [{upper} + {row}]",
                    concat!($instruction, " tmm0, tmm4, tmm6"),
                    "tileloadd tmm5, [{lower} + {row}]",
                    concat!($instruction, " tmm1, tmm5, tmm6"),
                    "add {upper}, 64",
                    "add {lower}, 64",
                    "add {first}, 1024",
                    "dec {n}",
                    "jnz 3b",
                    "tilestored [{sums} + {stride}], tmm0",
                    "tilestored [{sums} + {stride} + 1024], tmm1",
                    upper = inout(reg) upper => _,
                    lower = inout(reg) lower => _,
                    first = inout(reg) first => _,
                    n = inout(reg) n => _,
                    sums = in(reg) sums,
                    stride = in(reg) 64usize,
                    row = in(reg) row_bytes,
                    is_first = in(reg) u32::from(is_first),
                    out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
                    options(nostack),
                );
            }
        }

        /// See [`crate::multiply_on_registers`].
        ///
        /// # Safety
        ///
        /// The machine has AMX.
        pub(crate) unsafe fn $on_registers(rounds: usize) -> u64 {
            if rounds > 0 {
                // SAFETY: the caller's machine has AMX. Registers that were just configured are zero.
                unsafe {
                    let _tiles = Tiles::configure();
                    asm!(
                        "2:",
                        concat!($instruction, " tmm0, tmm4, tmm6"),
                        concat!($instruction, " tmm1, tmm5, tmm6"),
                        concat!($instruction, " tmm2, tmm4, tmm7"),
                        concat!($instruction, " tmm3, tmm5, tmm7"),
                        "dec {rounds}",
                        "jnz 2b",
                        rounds = inout(reg) rounds => _,
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        options(nostack, nomem),
                    );
                }
            }
            (4 * rounds * TILE_ROWS * TILE_ROWS * $cols) as u64
        }
    };
}
products! {
    instruction: "tdpbf16ps",
    cols: TILE_COLS,
    two_by_two: multiply_2x2,
    two_by_one: multiply_2x1,
    on_registers: multiply_on_registers,
}
// Their sums are integers, whatever the pointers say.
products! {
    instruction: "tdpbssd",
    cols: int8::TILE_COLS,
    two_by_two: multiply_bytes_2x2,
    two_by_one: multiply_bytes_2x1,
    on_registers: multiply_bytes_on_registers,
}

/// Writes a tile of sums, `(16 rows, 16 tokens)`, to the output.
///
/// # Safety
///
/// The output has these tokens and rows, at most 16 each.
#[target_feature(enable = "avx512f")]
unsafe fn store_tile(sums: &[f32], tokens: Range<usize>, rows: Range<usize>, out: &Output) {
    assert_eq!(sums.len(), TILE_SUMS);
    // SAFETY: a tile has 16 vectors; the caller's promise for the output, and the mask leaves out
    // the rows past the last.
    unsafe {
        let transposed = transpose_16x16(vectors![16; |row| {
            _mm512_load_si512(sums.as_ptr().add(16 * row).cast())
        }]);
        let mut to = out.at(tokens.start, rows.start);
        if (tokens.len(), rows.len()) == (TILE_ROWS, TILE_ROWS) {
            // So many always: the vectors stay in registers.
            for sums in transposed {
                _mm512_storeu_ps(to, _mm512_castsi512_ps(sums));
                to = to.wrapping_add(out.n_rows());
            }
            return;
        }
        let mask = (1u32 << rows.len()).wrapping_sub(1) as u16;
        for sums in transposed.into_iter().take(tokens.len()) {
            _mm512_mask_storeu_ps(to, mask, _mm512_castsi512_ps(sums));
            to = to.wrapping_add(out.n_rows());
        }
    }
}
