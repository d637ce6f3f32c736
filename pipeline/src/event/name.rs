//! Names of fields, compared by a hash first.

use bumpalo::Bump;

/// A field's name with its hash. Two names are equal when their texts are.
#[derive(Clone, Copy)]
pub struct Name<'b> {
    text: &'b str,
    hash: u32,
}

impl<'b> Name<'b> {
    /// A name of `text`, hashed here and now (`const`, so that fixed names cost nothing).
    pub const fn new(text: &'b str) -> Self {
        Self {
            text,
            hash: hash(text.as_bytes()),
        }
    }

    /// A name whose text is copied into the arena.
    pub fn copied_in(text: &str, arena: &'b Bump) -> Self {
        Self::new(arena.alloc_str(text))
    }

    /// A name whose hash is known.
    pub(super) const fn with_hash(text: &'b str, hash: u32) -> Self {
        Self { text, hash }
    }

    pub(super) const fn hash(&self) -> u32 {
        self.hash
    }

    /// The text.
    pub const fn as_str(&self) -> &'b str {
        self.text
    }

    /// Same name. Cheaper than comparing texts: unequal names nearly always differ in their hash.
    #[inline]
    pub fn is(&self, other: &Name<'_>) -> bool {
        self.hash == other.hash && self.text == other.text
    }
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.is(other)
    }
}

impl Eq for Name<'_> {}

impl std::fmt::Debug for Name<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.text.fmt(formatter)
    }
}

/// A multiplicative hash (Knuth's golden ratio in 64 bits) over the bytes, eight at a time. It need
/// not resist attack: an equal hash only costs a comparison of texts.
///
/// PERF: runs for every name of every event that is read, so it takes whole words; the last one of
/// a longer text overlaps the one before.
const fn hash(bytes: &[u8]) -> u32 {
    let mut state = bytes.len() as u64;
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        state = mix(state, u64::from_le_bytes(*word));
        rest = after;
    }
    if rest.is_empty() {
        return (state >> 32) as u32;
    }
    let last = if let Some(word) = bytes.last_chunk::<8>() {
        u64::from_le_bytes(*word)
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (u32::from_le_bytes(*first) as u64) << 32 | u32::from_le_bytes(*last) as u64
    } else {
        // One to three bytes.
        (bytes[0] as u64) << 16
            | (bytes[bytes.len() / 2] as u64) << 8
            | bytes[bytes.len() - 1] as u64
    };
    (mix(state, last) >> 32) as u32
}

const fn mix(state: u64, word: u64) -> u64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let state = (state ^ word).wrapping_mul(GOLDEN);
    state ^ state >> 29
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_by_text() {
        assert_eq!(Name::new("clientip"), Name::new(&String::from("clientip")));
        assert_ne!(Name::new("clientip"), Name::new("clientiq"));
        assert_ne!(Name::new(""), Name::new("\0"));
    }
}
