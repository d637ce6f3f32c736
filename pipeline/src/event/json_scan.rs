//! Finds where a JSON text stops being plain.
//!
//! Short texts are searched a word at a time, long ones by vector instructions: most names are
//! short, most messages long. In safe code both come from how the loops are written.

/// The first byte that a JSON text cannot hold as it is (a quote, a backslash, a control character)
/// and its place.
#[inline]
pub(super) fn find_special(bytes: &[u8]) -> Option<(usize, u8)> {
    // PERF: names and short values end within a few words; for the lines of logs the vector search,
    // which takes longer to get going, is faster.
    let mut at = 0;
    while at < SHORT {
        let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) else {
            return find_special_in_long(bytes, at);
        };
        if let Some((offset, byte)) = special_in_word(u64::from_le_bytes(*word)) {
            return Some((at + offset, byte));
        }
        at += 8;
    }
    find_special_in_long(bytes, at)
}

/// How many bytes of a text are searched a word at a time.
const SHORT: usize = 32;

/// The first such byte of a word. The lowest set bit marks it, because a borrow only runs upwards
/// from a byte that is one.
#[inline]
pub(super) fn special_in_word(word: u64) -> Option<(usize, u8)> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    let quote = word ^ (ONES * u64::from(b'"'));
    let backslash = word ^ (ONES * u64::from(b'\\'));
    let found = ((quote.wrapping_sub(ONES) & !quote)
        | (backslash.wrapping_sub(ONES) & !backslash)
        | (word.wrapping_sub(ONES * 0x20) & !word))
        & HIGH;
    if found == 0 {
        return None;
    }
    let offset = (found.trailing_zeros() / 8) as usize;
    Some((offset, (word >> (offset * 8)) as u8))
}

/// The first such byte from `from` on.
fn find_special_in_long(bytes: &[u8], from: usize) -> Option<(usize, u8)> {
    let rest = bytes.get(from..)?;
    let end = memchr::memchr2(b'"', b'\\', rest);
    let clean = &rest[..end.unwrap_or(rest.len())];
    // The smallest byte of all: a loop without an exit, which the compiler turns into vector
    // instructions.
    let smallest = clean
        .iter()
        .fold(u8::MAX, |smallest, byte| smallest.min(*byte));
    let offset = if smallest < 0x20 {
        clean.iter().position(|byte| *byte < 0x20)?
    } else {
        end?
    };
    Some((from + offset, rest[offset]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The same as a search byte by byte, at any length and for a hit at any place.
        #[test]
        fn finds_the_first(
            bytes in prop::collection::vec(prop::sample::select(b"ab\x20\x7f\x80\xff\"\\\x1f\x00\n".to_vec()), 0..12),
            padding in 0usize..100,
        ) {
            let mut text = vec![b'x'; padding];
            text.extend_from_slice(&bytes);
            text.extend_from_slice(&[b'y'; 9]);
            let expected = text
                .iter()
                .position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\')
                .map(|at| (at, text[at]));
            prop_assert_eq!(find_special(&text), expected);
        }
    }
}
