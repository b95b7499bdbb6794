//! Buffers that begin at a cache line, so that no vector crosses two.

use crate::simd::PADDING;

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; PADDING]);

#[cfg(target_arch = "x86_64")]
const LINE_BYTES: usize = size_of::<Line>();

/// A buffer of a thread; it grows to what the largest task needs and stays.
#[derive(Default)]
pub(crate) struct Lines(Vec<Line>);

impl Lines {
    fn grow(&mut self, n_lines: usize) {
        if self.0.len() < n_lines {
            self.0.resize(n_lines, Line([0.0; PADDING]));
        }
    }

    /// Returns parts of these lengths, each a multiple of [`PADDING`], with any content.
    pub(crate) fn parts<const N: usize>(&mut self, lens: [usize; N]) -> [&mut [f32]; N] {
        self.grow(lens.iter().sum::<usize>().div_ceil(PADDING));
        // SAFETY: a `Line` is `PADDING` floats without anything between them.
        #[allow(unsafe_code)]
        let mut rest = unsafe {
            std::slice::from_raw_parts_mut(
                self.0.as_mut_ptr().cast::<f32>(),
                self.0.len() * PADDING,
            )
        };
        lens.map(|len| rest.split_off_mut(..len).unwrap_or_default())
    }

    /// Returns `len` bytes with any content.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn bytes(&mut self, len: usize) -> &mut [u8] {
        self.grow(len.div_ceil(LINE_BYTES));
        // SAFETY: the lines are there, and any bytes are floats.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), len)
        }
    }

    /// Returns all bytes.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        // SAFETY: the lines are there, and have no byte that was never written.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * LINE_BYTES)
        }
    }
}

/// Returns floats as their bytes.
pub(crate) fn bytes_of(floats: &mut [f32]) -> &mut [u8] {
    // SAFETY: floats are bytes, and any bytes are floats.
    #[allow(unsafe_code)]
    unsafe {
        std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), size_of_val(floats))
    }
}
