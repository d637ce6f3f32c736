//! The bytes just before a position, by which a rewrite in place is noticed.

use std::fs::File;
use std::io;

use super::identity::read_fully_at;

/// Bytes before the position that are kept to notice a rewrite.
pub(super) const TRAIL_BYTES: usize = 64;

/// The last bytes before a position, as they were when they were read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trail {
    bytes: [u8; TRAIL_BYTES],
    length: u8,
}

impl Default for Trail {
    fn default() -> Self {
        Self {
            bytes: [0; TRAIL_BYTES],
            length: 0,
        }
    }
}

impl Trail {
    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    pub(super) fn append(&mut self, more: &[u8]) {
        let more = &more[more.len().saturating_sub(TRAIL_BYTES)..];
        let kept = usize::from(self.length).min(TRAIL_BYTES - more.len());
        let from = usize::from(self.length) - kept;
        self.bytes.copy_within(from..from + kept, 0);
        self.bytes[kept..kept + more.len()].copy_from_slice(more);
        self.length = (kept + more.len()) as u8;
    }

    pub(super) fn matches(&self, file: &File, end: u64) -> io::Result<bool> {
        let expected = self.bytes();
        let mut found = [0; TRAIL_BYTES];
        let found = &mut found[..expected.len()];
        let start = end - expected.len() as u64;
        Ok(read_fully_at(file, found, start)? == expected.len() && found == expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trail_is_the_last_bytes() {
        let mut trail = Trail::default();
        let mut all = Vec::new();
        for length in [0, 1, 10, 63, 64, 65, 200, 3] {
            let more: Vec<u8> = (0..length).map(|byte| byte as u8 ^ 0x55).collect();
            all.extend_from_slice(&more);
            trail.append(&more);
            let expected = &all[all.len().saturating_sub(TRAIL_BYTES)..];
            assert_eq!(trail.bytes(), expected);
        }
    }
}
