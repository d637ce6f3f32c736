//! Random numbers of the operating system, fetched by the block: each worker has its own.

use std::hash::{BuildHasher, RandomState};

use ring::rand::{SecureRandom, SystemRandom};

/// Bytes fetched at once.
const BLOCK_BYTES: usize = 1024;

/// A block of random bytes that are handed out once.
pub(crate) struct Randomness {
    source: SystemRandom,
    block: [u8; BLOCK_BYTES],
    used: usize,
}

impl Randomness {
    /// Nothing is fetched yet.
    pub(crate) fn new() -> Self {
        Self {
            source: SystemRandom::new(),
            block: [0; BLOCK_BYTES],
            used: BLOCK_BYTES,
        }
    }

    /// Some bytes.
    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        if self.used + N > BLOCK_BYTES {
            if self.source.fill(&mut self.block).is_err() {
                // The system has no randomness, which no system we run on says: keys of hash
                // tables are the next best.
                for word in self.block.chunks_mut(8) {
                    let random = RandomState::new().hash_one(0).to_le_bytes();
                    word.copy_from_slice(&random[..word.len()]);
                }
            }
            self.used = 0;
        }
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.block[self.used..self.used + N]);
        self.used += N;
        bytes
    }

    /// A random UUID (RFC 9562, version 4) as text.
    pub(crate) fn uuid(&mut self) -> [u8; 36] {
        let mut bytes: [u8; 16] = self.take();
        bytes[6] = bytes[6] & 0x0F | 0x40;
        bytes[8] = bytes[8] & 0x3F | 0x80;
        let mut text = [b'-'; 36];
        let mut at = 0;
        for byte in bytes {
            if matches!(at, 8 | 13 | 18 | 23) {
                at += 1;
            }
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        text
    }
}

/// The digits of hexadecimal numbers.
pub(crate) const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn uuids_have_their_form_and_are_all_different() {
        let mut randomness = Randomness::new();
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            let uuid = randomness.uuid();
            let text = std::str::from_utf8(&uuid).unwrap();
            let lengths: Vec<_> = text.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{text}");
            assert_eq!(&text[14..15], "4");
            assert!("89ab".contains(&text[19..20]), "{text}");
            assert!(seen.insert(uuid));
        }
    }
}
