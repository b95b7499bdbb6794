//! A hash that tells weights from others without reading them all.
//!
//! A hash of every byte would take as long as the loading itself. So of each tensor a few samples are
//! hashed, spread over it, which is enough to tell apart what was trained or quantised otherwise. It is
//! not a proof that bytes are right: `pagewise models verify` reads them all.

use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::gguf::FileMap;

/// Of each tensor so many samples are hashed: its beginning, its end, and what lies evenly between. Each
/// may cost a read of the disk, when the file is not in memory yet.
const SAMPLES: usize = 4;
const SAMPLE_BYTES: usize = 256;

#[derive(Default)]
pub(crate) struct Fingerprint(Sha256);

impl Fingerprint {
    /// Adds what is known of the model beside its files of tensors.
    pub(crate) fn add_settings(&mut self, settings: &str) {
        self.0.update(settings);
    }

    /// Adds a file that begins with a header of `header_bytes`, and has `tensors` at these places.
    pub(crate) fn add_file(
        &mut self,
        map: &FileMap,
        header_bytes: usize,
        tensors: impl Iterator<Item = Range<usize>>,
    ) {
        let bytes = map.bytes();
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes.get(..header_bytes).unwrap_or_default());
        for tensor in tensors {
            let data = bytes.get(tensor.clone()).unwrap_or_default();
            samples(data.len()).for_each(|sample| self.0.update(&data[sample]));
            // Weights may have been copied by now: their file need not be in memory a second time.
            map.release(tensor);
        }
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Returns which bytes of a tensor of `len` bytes are hashed; of a small one, all.
fn samples(len: usize) -> impl Iterator<Item = Range<usize>> {
    let is_small = len <= SAMPLES * SAMPLE_BYTES;
    let (count, sample_bytes) = if is_small { (1, len) } else { (SAMPLES, SAMPLE_BYTES) };
    let last = len - sample_bytes;
    // In this order, lest the product overflow: the rest is less than the number of samples.
    let between = last / (SAMPLES - 1);
    (0..count).map(move |n| {
        let start = if n == SAMPLES - 1 { last } else { n * between };
        start..start + sample_bytes
    })
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;

    #[test]
    fn samples_are_the_ends_and_what_lies_between() {
        let check = |len: usize, expected: &[Range<usize>]| {
            assert_eq!(samples(len).collect::<Vec<_>>(), expected, "{len} bytes");
        };
        check(0, slice::from_ref(&(0..0)));
        check(1, slice::from_ref(&(0..1)));
        check(1024, slice::from_ref(&(0..1024)));
        check(1025, &[0..256, 256..512, 512..768, 769..1025]);
        check(3256, &[0..256, 1000..1256, 2000..2256, 3000..3256]);
        let last = samples(usize::MAX).last();
        assert_eq!(last, Some(usize::MAX - 256..usize::MAX));
    }
}
