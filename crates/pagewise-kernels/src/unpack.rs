//! Blocks to unsigned bytes with scales: the one form every integer kernel can start from.
//!
//! Each quantised type becomes `w = scale * u - min` with `u` in `0..=255`, one scale and one
//! minimum per 16 or 32 weights ([`BlockType::sub_len`]). Symmetric types have
//! `min = offset * scale`. Layouts: ggml's block structs, little endian.

use crate::BlockType;
use crate::isa::multiversion;

/// Returns the value of an IEEE half given by its bits.
#[inline(always)]
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let sign = (bits & 0x8000) << 16;
    let magnitude = (bits & 0x7fff) << 13;
    let value = if bits & 0x7c00 == 0x7c00 {
        magnitude | 0x7f80_0000
    } else {
        // Rebias the exponent by a multiplication, which is exact for subnormals too.
        (f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23)).to_bits()
    };
    f32::from_bits(value | sign)
}

#[inline(always)]
pub(crate) fn f16_at(bytes: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

#[inline(always)]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Where a row is unpacked to.
pub(crate) struct Unpacked<'a> {
    pub(crate) quants: &'a mut [u8],
    pub(crate) scales: &'a mut [f32],
    pub(crate) mins: &'a mut [f32],
}

/// Unpacks consecutive blocks; the slices of `to` hold exactly what `bytes` unpack to.
#[inline(always)]
pub(crate) fn unpack(block_type: BlockType, bytes: &[u8], to: Unpacked<'_>) {
    // Not a function: its argument would be called through `Fn::call`, which is compiled for any
    // machine and too large to be inlined.
    macro_rules! blocks {
        ($bytes:literal, $len:literal, $subs:literal, $unpack_block:ident) => {{
            let (blocks, _) = bytes.as_chunks::<$bytes>();
            let (quants, _) = to.quants.as_chunks_mut::<$len>();
            let (scales, _) = to.scales.as_chunks_mut::<$subs>();
            let (mins, _) = to.mins.as_chunks_mut::<$subs>();
            for (((block, quants), scales), mins) in blocks.iter().zip(quants).zip(scales).zip(mins)
            {
                $unpack_block(block, quants, scales, mins);
            }
        }};
    }
    match block_type {
        BlockType::Q4_0 => blocks!(18, 32, 1, q4_0),
        BlockType::Q4_1 => blocks!(20, 32, 1, q4_1),
        BlockType::Q5_0 => blocks!(22, 32, 1, q5_0),
        BlockType::Q5_1 => blocks!(24, 32, 1, q5_1),
        BlockType::Q8_0 => blocks!(34, 32, 1, q8_0),
        BlockType::Q2K => blocks!(84, 256, 16, q2k),
        BlockType::Q3K => blocks!(110, 256, 16, q3k),
        BlockType::Q4K => blocks!(144, 256, 8, q4k),
        BlockType::Q5K => blocks!(176, 256, 8, q5k),
        BlockType::Q6K => blocks!(210, 256, 16, q6k),
        BlockType::F32 | BlockType::F16 | BlockType::BF16 => {
            unreachable!("floating point weights are not unpacked to bytes")
        }
    }
}

multiversion! {
    /// Unpacks consecutive blocks as [`unpack`] does.
    pub(crate) fn unpack_row(block_type: BlockType, bytes: &[u8], to: Unpacked<'_>) = unpack
}

/// Copies the first bytes: on local arrays the compiler sees that nothing overlaps, and vectorises.
#[inline(always)]
fn copy<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut copy = [0; N];
    copy.copy_from_slice(&bytes[..N]);
    copy
}

/// Builds an array byte by byte, in the one form that the compiler reliably vectorises.
#[inline(always)]
fn build<const N: usize>(byte: impl Fn(usize) -> u8) -> [u8; N] {
    let mut bytes = [0; N];
    for (i, to) in bytes.iter_mut().enumerate() {
        *to = byte(i);
    }
    bytes
}

/// Low nibbles are the first 16 weights, high nibbles the last 16.
#[inline(always)]
fn nibbles(packed: &[u8], quants: &mut [u8; 32]) {
    let packed: [u8; 16] = copy(packed);
    quants[..16].copy_from_slice(&build::<16>(|i| packed[i] & 0x0f));
    quants[16..].copy_from_slice(&build::<16>(|i| packed[i] >> 4));
}

#[inline(always)]
fn fifth_bits(high: u32, quants: &mut [u8; 32]) {
    // Each of the four bytes meets the eight masks of its bits.
    let bytes = high.to_le_bytes();
    let mut fifth = [0u8; 32];
    for (i, fifth) in fifth.iter_mut().enumerate() {
        *fifth = if bytes[i / 8] & 1 << (i % 8) == 0 { 0 } else { 16 };
    }
    let low = *quants;
    *quants = build(|i| low[i] | fifth[i]);
}

#[inline(always)]
fn q4_0(block: &[u8; 18], quants: &mut [u8; 32], scales: &mut [f32; 1], mins: &mut [f32; 1]) {
    nibbles(&block[2..], quants);
    scales[0] = f16_at(block, 0);
    mins[0] = 8.0 * scales[0];
}

#[inline(always)]
fn q4_1(block: &[u8; 20], quants: &mut [u8; 32], scales: &mut [f32; 1], mins: &mut [f32; 1]) {
    nibbles(&block[4..], quants);
    scales[0] = f16_at(block, 0);
    mins[0] = -f16_at(block, 2);
}

#[inline(always)]
fn q5_0(block: &[u8; 22], quants: &mut [u8; 32], scales: &mut [f32; 1], mins: &mut [f32; 1]) {
    nibbles(&block[6..], quants);
    fifth_bits(u32_at(block, 2), quants);
    scales[0] = f16_at(block, 0);
    mins[0] = 16.0 * scales[0];
}

#[inline(always)]
fn q5_1(block: &[u8; 24], quants: &mut [u8; 32], scales: &mut [f32; 1], mins: &mut [f32; 1]) {
    nibbles(&block[8..], quants);
    fifth_bits(u32_at(block, 4), quants);
    scales[0] = f16_at(block, 0);
    mins[0] = -f16_at(block, 2);
}

#[inline(always)]
fn q8_0(block: &[u8; 34], quants: &mut [u8; 32], scales: &mut [f32; 1], mins: &mut [f32; 1]) {
    let bytes: [u8; 32] = copy(&block[2..]);
    *quants = build(|i| bytes[i] ^ 0x80);
    scales[0] = f16_at(block, 0);
    mins[0] = 128.0 * scales[0];
}

#[inline(always)]
fn q2k(block: &[u8; 84], quants: &mut [u8; 256], scales: &mut [f32; 16], mins: &mut [f32; 16]) {
    let (scale, min) = (f16_at(block, 80), f16_at(block, 82));
    for i in 0..16 {
        scales[i] = scale * f32::from(block[i] & 0x0f);
        mins[i] = min * f32::from(block[i] >> 4);
    }
    for half in 0..2 {
        let bytes: [u8; 32] = copy(&block[16 + 32 * half..]);
        for plane in 0..4 {
            let to = &mut quants[128 * half + 32 * plane..][..32];
            to.copy_from_slice(&build::<32>(|i| bytes[i] >> (2 * plane) & 3));
        }
    }
}

#[inline(always)]
fn q3k(block: &[u8; 110], quants: &mut [u8; 256], scales: &mut [f32; 16], mins: &mut [f32; 16]) {
    let scale = f16_at(block, 108);
    for i in 0..16 {
        // Low four bits in nibbles of the first eight bytes, high two in the last four bytes.
        let low = block[96 + i % 8] >> (4 * (i / 8)) & 0x0f;
        let high = block[104 + i % 4] >> (2 * (i / 4)) & 3;
        scales[i] = scale * f32::from((low | high << 4) as i8 - 32);
        mins[i] = 4.0 * scales[i];
    }
    let high: [u8; 32] = copy(block);
    for half in 0..2 {
        let low: [u8; 32] = copy(&block[32 + 32 * half..]);
        for plane in 0..4 {
            let quant =
                |i: usize| low[i] >> (2 * plane) & 3 | (high[i] >> (4 * half + plane) & 1) << 2;
            let to = &mut quants[128 * half + 32 * plane..][..32];
            to.copy_from_slice(&build::<32>(quant));
        }
    }
}

/// Returns the eight 6-bit scales and the eight 6-bit minima of a Q4_K or Q5_K block.
#[inline(always)]
pub(crate) fn six_bit_scales(packed: &[u8]) -> (u64, u64) {
    let (a, b, c) = (u32_at(packed, 0), u32_at(packed, 4), u32_at(packed, 8));
    let scales_low = a & 0x3f3f_3f3f;
    let scales_high = (c & 0x0f0f_0f0f) | (a >> 2 & 0x3030_3030);
    let mins_low = b & 0x3f3f_3f3f;
    let mins_high = (c >> 4 & 0x0f0f_0f0f) | (b >> 2 & 0x3030_3030);
    (
        u64::from(scales_low) | u64::from(scales_high) << 32,
        u64::from(mins_low) | u64::from(mins_high) << 32,
    )
}

#[inline(always)]
fn q4k_scales(block: &[u8], scales: &mut [f32; 8], mins: &mut [f32; 8]) {
    let (scale, min) = (f16_at(block, 0), f16_at(block, 2));
    let (small_scales, small_mins) = six_bit_scales(&block[4..16]);
    let (small_scales, small_mins) = (small_scales.to_le_bytes(), small_mins.to_le_bytes());
    for i in 0..8 {
        scales[i] = scale * f32::from(small_scales[i]);
        mins[i] = min * f32::from(small_mins[i]);
    }
}

#[inline(always)]
fn q4k(block: &[u8; 144], quants: &mut [u8; 256], scales: &mut [f32; 8], mins: &mut [f32; 8]) {
    q4k_scales(block, scales, mins);
    for pair in 0..4 {
        let bytes: [u8; 32] = copy(&block[16 + 32 * pair..]);
        let (low, high) = quants[64 * pair..64 * pair + 64].split_at_mut(32);
        low.copy_from_slice(&build::<32>(|i| bytes[i] & 0x0f));
        high.copy_from_slice(&build::<32>(|i| bytes[i] >> 4));
    }
}

#[inline(always)]
fn q5k(block: &[u8; 176], quants: &mut [u8; 256], scales: &mut [f32; 8], mins: &mut [f32; 8]) {
    q4k_scales(block, scales, mins);
    let fifth: [u8; 32] = copy(&block[16..]);
    for pair in 0..4 {
        let bytes: [u8; 32] = copy(&block[48 + 32 * pair..]);
        let fifth: [u8; 32] = build(|i| fifth[i] >> (2 * pair));
        let low: [u8; 32] = build(|i| bytes[i] & 0x0f | (fifth[i] & 1) << 4);
        let high: [u8; 32] = build(|i| bytes[i] >> 4 | (fifth[i] & 2) << 3);
        quants[64 * pair..][..32].copy_from_slice(&low);
        quants[64 * pair + 32..][..32].copy_from_slice(&high);
    }
}

#[inline(always)]
fn q6k(block: &[u8; 210], quants: &mut [u8; 256], scales: &mut [f32; 16], mins: &mut [f32; 16]) {
    let scale = f16_at(block, 208);
    for i in 0..16 {
        scales[i] = scale * f32::from(block[192 + i] as i8);
        mins[i] = 32.0 * scales[i];
    }
    for half in 0..2 {
        let low: [u8; 64] = copy(&block[64 * half..]);
        let high: [u8; 32] = copy(&block[128 + 32 * half..]);
        let planes: [[u8; 32]; 4] = [
            build(|i| low[i] & 0x0f | (high[i] & 0x03) << 4),
            build(|i| low[32 + i] & 0x0f | (high[i] & 0x0c) << 2),
            build(|i| low[i] >> 4 | (high[i] & 0x30)),
            build(|i| low[32 + i] >> 4 | (high[i] & 0xc0) >> 2),
        ];
        quants[128 * half..128 * half + 128].copy_from_slice(planes.as_flattened());
    }
}
