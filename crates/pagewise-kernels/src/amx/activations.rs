//! Activations in the tiles that products take.

use super::{TileForm, int8};
use crate::ThreadPool;
use crate::bf16::{self, TILE_BYTES, TILE_ROWS};
use crate::lines::Lines;

/// The activations of one call in tiles of one form; its buffers are reused by the next.
#[derive(Default)]
pub(crate) struct TiledActivations {
    form: TileForm,
    m: usize,
    n_cols: usize,
    /// `(m / 16, n_cols / 32, 16 pairs of columns, 16 activations, 2)` of `bf16`, or
    /// `(m / 16, n_cols / 64, 16 quads of columns, 16 activations, 4)` of bytes, rounded up and padded with
    /// zeros.
    tiles: Lines,
    /// Of bytes, `(m / 16, n_cols / 256, 16 activations)`.
    scales: Vec<f32>,
}

impl TiledActivations {
    /// Packs `activations`, `(m, n_cols)`.
    pub(crate) fn pack(
        &mut self,
        form: TileForm,
        activations: &[f32],
        n_cols: usize,
        pool: &ThreadPool,
    ) {
        (self.form, self.m, self.n_cols) = (form, activations.len() / n_cols, n_cols);
        let row_bytes = self.n_col_tiles() * TILE_BYTES;
        let n_tiles = self.n_tiles();
        let n_scales = self.n_blocks() * TILE_ROWS;
        if self.scales.len() < n_tiles * n_scales {
            self.scales.resize(n_tiles * n_scales, 0.0);
        }
        let tiles = std::sync::Mutex::new(
            self.tiles
                .bytes(n_tiles * row_bytes)
                .chunks_exact_mut(row_bytes)
                .zip(self.scales.chunks_exact_mut(n_scales))
                .zip(activations.chunks(TILE_ROWS * n_cols)),
        );
        pool.run(n_tiles, &|_| {
            let next = match tiles.lock() {
                Ok(mut tiles) => tiles.next(),
                Err(_) => None,
            };
            if let Some(((to, scales), from)) = next {
                // SAFETY: called only on a pool whose `Isa` has tiles.
                unsafe {
                    match form {
                        TileForm::Bf16 => bf16::pack_tiles(from, n_cols, to),
                        TileForm::Int8 => int8::pack_tiles(from, n_cols, to, scales),
                    }
                }
            }
        });
    }

    pub(crate) fn form(&self) -> TileForm {
        self.form
    }

    pub(crate) fn m(&self) -> usize {
        self.m
    }

    pub(crate) fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Returns the number of tiles that have the same columns.
    pub(crate) fn n_tiles(&self) -> usize {
        self.m.div_ceil(TILE_ROWS)
    }

    fn n_col_tiles(&self) -> usize {
        self.n_cols.div_ceil(match self.form {
            TileForm::Bf16 => bf16::TILE_COLS,
            TileForm::Int8 => int8::TILE_COLS,
        })
    }

    fn n_blocks(&self) -> usize {
        self.n_cols.div_ceil(int8::BLOCK)
    }

    /// Returns `n` neighbouring tiles of the same activations.
    pub(crate) fn tiles(&self, token_tile: usize, first_col_tile: usize, n: usize) -> &[u8] {
        let first = token_tile * self.n_col_tiles() + first_col_tile;
        &self.tiles.as_bytes()[first * TILE_BYTES..(first + n) * TILE_BYTES]
    }

    /// Returns the 16 scales of a block of columns.
    pub(super) fn scales(&self, token_tile: usize, block: usize) -> &[f32] {
        let first = token_tile * self.n_blocks() + block;
        &self.scales[first * TILE_ROWS..(first + 1) * TILE_ROWS]
    }
}
