//! MurmurHash3 by Austin Appleby: the variants of 32 bits and of 128 bits for 64-bit machines.

/// The hash of 32 bits.
pub(super) fn hash_32(text: &[u8], seed: u32) -> u32 {
    let scramble = |word: u32| {
        word.wrapping_mul(0xCC9E_2D51)
            .rotate_left(15)
            .wrapping_mul(0x1B87_3593)
    };
    let mut hash = seed;
    let (words, tail) = text.as_chunks::<4>();
    for word in words {
        hash ^= scramble(u32::from_le_bytes(*word));
        hash = hash
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xE654_6B64);
    }
    if !tail.is_empty() {
        let mut word = [0; 4];
        word[..tail.len()].copy_from_slice(tail);
        hash ^= scramble(u32::from_le_bytes(word));
    }
    hash ^= text.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85EB_CA6B);
    hash = (hash ^ hash >> 13).wrapping_mul(0xC2B2_AE35);
    hash ^ hash >> 16
}

/// The hash of 128 bits, its two words as their bytes, low ones first.
pub(super) fn hash_128(text: &[u8], seed: u32) -> [u8; 16] {
    const FIRST: u64 = 0x87C3_7B91_1142_53D5;
    const SECOND: u64 = 0x4CF5_AD43_2745_937F;
    let scramble_low = |word: u64| {
        word.wrapping_mul(FIRST)
            .rotate_left(31)
            .wrapping_mul(SECOND)
    };
    let scramble_high = |word: u64| {
        word.wrapping_mul(SECOND)
            .rotate_left(33)
            .wrapping_mul(FIRST)
    };
    let (mut low, mut high) = (u64::from(seed), u64::from(seed));
    let (blocks, tail) = text.as_chunks::<16>();
    for block in blocks {
        let [first, second] = words(block);
        low ^= scramble_low(first);
        low = low
            .rotate_left(27)
            .wrapping_add(high)
            .wrapping_mul(5)
            .wrapping_add(0x52DC_E729);
        high ^= scramble_high(second);
        high = high
            .rotate_left(31)
            .wrapping_add(low)
            .wrapping_mul(5)
            .wrapping_add(0x3849_5AB5);
    }
    if !tail.is_empty() {
        let mut block = [0; 16];
        block[..tail.len()].copy_from_slice(tail);
        let [first, second] = words(&block);
        // Zeros scramble to zero, so a short tail leaves the second word alone.
        high ^= scramble_high(second);
        low ^= scramble_low(first);
    }
    low ^= text.len() as u64;
    high ^= text.len() as u64;
    low = low.wrapping_add(high);
    high = high.wrapping_add(low);
    low = finish(low);
    high = finish(high);
    low = low.wrapping_add(high);
    high = high.wrapping_add(low);
    let mut hash = [0; 16];
    hash[..8].copy_from_slice(&low.to_le_bytes());
    hash[8..].copy_from_slice(&high.to_le_bytes());
    hash
}

fn words(block: &[u8; 16]) -> [u64; 2] {
    let both = u128::from_le_bytes(*block);
    [both as u64, (both >> 64) as u64]
}

fn finish(mut word: u64) -> u64 {
    word = (word ^ word >> 33).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    word = (word ^ word >> 33).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    word ^ word >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        for (text, seed, expected) in [
            ("", 0, 0),
            ("", 1, 0x514E_28B7),
            ("test", 0, 0xBA6B_D213),
            ("Hello, world!", 0, 0xC036_3E43),
            ("aaa", 0x9747_B28C, 0x283E_0130),
        ] {
            assert_eq!(hash_32(text.as_bytes(), seed), expected, "{text}");
        }
        assert_eq!(hash_128(b"", 0), [0; 16]);
        assert_ne!(
            hash_128(b"0123456789abcdef0", 0),
            hash_128(b"0123456789abcdef1", 0)
        );
    }
}
