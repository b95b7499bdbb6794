//! What a processor could do at most, to be held against what kernels reach.

use crate::Isa;
use crate::bytes::Bytes;
use std::hint::black_box;

/// Sums that do not wait for each other: enough to hide how long a product takes.
const SUMS: usize = 12;

/// Multiplies and adds on registers alone, with the instruction that the products of many activations are
/// made with, `rounds` times twelve or sixteen of them, and returns how many multiply-adds that were.
///
/// Timed, this is the most that a thread can do; a kernel also has to load what it multiplies.
pub fn multiply_on_registers(isa: Isa, rounds: usize) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        use crate::bytes::{Avx2Bytes, Avx512Bytes, AvxVnniBytes};
        use crate::isa::Family;

        #[target_feature(enable = "avx2,fma,f16c")]
        fn avx2(rounds: usize) -> u64 {
            // SAFETY: this function has the features of the vectors.
            unsafe { multiply_with::<Avx2Bytes>(rounds) }
        }
        #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
        fn avx_vnni(rounds: usize) -> u64 {
            // SAFETY: as above.
            unsafe { multiply_with::<AvxVnniBytes>(rounds) }
        }
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
        fn avx512(rounds: usize) -> u64 {
            // SAFETY: as above.
            unsafe { multiply_with::<Avx512Bytes>(rounds) }
        }
        // SAFETY: an `Isa` is only made for a machine that has its features.
        unsafe {
            match isa.family() {
                Family::AmxInt8 => return crate::amx::multiply_bytes_on_registers(rounds),
                Family::Amx => return crate::amx::multiply_on_registers(rounds),
                Family::Avx512Vnni => return avx512(rounds),
                Family::AvxVnni => return avx_vnni(rounds),
                Family::Avx2 => return avx2(rounds),
                _ => {}
            }
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        use crate::bytes::{DotprodBytes, NeonBytes};
        use crate::isa::Family;

        #[target_feature(enable = "neon,dotprod")]
        fn dotprod(rounds: usize) -> u64 {
            // SAFETY: this function has the features of the vectors.
            unsafe { multiply_with::<DotprodBytes>(rounds) }
        }
        // SAFETY: an `Isa` is only made for a machine that has its features.
        unsafe {
            match isa.family() {
                Family::Dotprod | Family::I8mm => return dotprod(rounds),
                Family::Neon => return multiply_with::<NeonBytes>(rounds),
                _ => {}
            }
        }
    }
    let _ = isa;
    // SAFETY: plain Rust needs no features.
    unsafe { multiply_with::<crate::bytes::PortableBytes>(rounds) }
}

/// Reads every byte and returns the words folded into one, asking for memory as far ahead as the kernels of
/// decoding do.
///
/// Timed on bytes that no cache holds, this is the most that a thread can read; what the words fold to
/// only keeps the reading from being left out.
pub fn read_all(bytes: &[u8]) -> u64 {
    /// A line of the caches.
    const LINE: usize = 64;
    // As many sums as hide how long an operation takes.
    let mut sums = [[0u64; LINE / 8]; 4];
    for lines in bytes.as_chunks::<LINE>().0.as_chunks::<4>().0 {
        for (sums, line) in sums.iter_mut().zip(lines) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: asking ahead reads nothing that the program sees, and may ask for any address.
            unsafe {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

                _mm_prefetch::<_MM_HINT_T0>(
                    line.as_ptr().wrapping_add(crate::gemv::PREFETCH).cast(),
                );
            }
            for (sum, word) in sums.iter_mut().zip(line.as_chunks::<8>().0) {
                *sum ^= u64::from_ne_bytes(*word);
            }
        }
    }
    sums.iter().flatten().fold(0, |all, sum| all ^ sum)
}

/// # Safety
///
/// To be inlined into a function with the target features of `B`.
#[inline(always)]
unsafe fn multiply_with<B: Bytes>(rounds: usize) -> u64 {
    let bytes = black_box([1u8; 64]);
    // SAFETY: no vector has more bytes, and the caller's promise.
    unsafe {
        let vector = B::load(bytes.as_ptr());
        let mut sums = [B::splat_sum(0); SUMS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = B::dot::<false>(*sum, vector, vector);
            }
        }
        black_box(sums);
    }
    (rounds * SUMS * B::LEN) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_it_multiplies() {
        for isa in Isa::available() {
            assert_eq!(multiply_on_registers(isa, 0), 0);
            let once = multiply_on_registers(isa, 1);
            assert!(once > 0 && multiply_on_registers(isa, 50) == 50 * once, "{isa}");
        }
    }
}
