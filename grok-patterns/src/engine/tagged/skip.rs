//! Running over the bytes at which an automaton would stay where it is.
//!
//! A state that most bytes lead back to, such as the inside of a quoted string, is left at the
//! first byte of a few. Finding that byte is much faster than a step for each one.

/// Finds the first byte that leaves a state.
#[derive(Debug, Clone)]
pub(crate) enum Skipper {
    /// No byte does.
    Nothing,
    /// One of up to three bytes does.
    Bytes(Vec<u8>),
    /// A byte of up to four ranges does; a range is its first byte and its length less one.
    Ranges([(u8, u8); 4]),
}

/// A state is worth a skipper if at least this many bytes lead back to it.
const MIN_STAYING: usize = 64;
/// Bytes that are looked at together.
const CHUNK: usize = 16;

impl Skipper {
    /// Makes a skipper for a state that the bytes marked in `leaving` leave.
    pub(crate) fn new(leaving: &[bool; 256]) -> Option<Self> {
        let bytes: Vec<u8> = (0..=255)
            .filter(|byte| leaving[usize::from(*byte)])
            .collect();
        if bytes.len() > 256 - MIN_STAYING {
            return None;
        }
        if bytes.is_empty() {
            return Some(Self::Nothing);
        }
        if bytes.len() <= 3 {
            return Some(Self::Bytes(bytes));
        }
        let mut ranges: Vec<(u8, u8)> = Vec::new();
        for byte in bytes {
            match ranges.last_mut() {
                Some((first, length))
                    if u16::from(*first) + u16::from(*length) + 1 == u16::from(byte) =>
                {
                    *length += 1;
                }
                _ => ranges.push((byte, 0)),
            }
        }
        if ranges.len() > 4 {
            return None;
        }
        let last = *ranges.last()?;
        ranges.resize(4, last);
        Some(Self::Ranges([ranges[0], ranges[1], ranges[2], ranges[3]]))
    }

    /// The first position from here on at which the state is left, or the end.
    #[inline]
    pub(crate) fn skip(&self, line: &[u8], position: usize) -> usize {
        let rest = &line[position..];
        let found = match self {
            Self::Nothing => None,
            Self::Bytes(bytes) => match bytes.as_slice() {
                [one] => memchr::memchr(*one, rest),
                [one, two] => memchr::memchr2(*one, *two, rest),
                [one, two, three] => memchr::memchr3(*one, *two, *three, rest),
                _ => Some(0),
            },
            Self::Ranges(ranges) => find_in_ranges(*ranges, rest),
        };
        found.map_or(line.len(), |found| position + found)
    }
}

fn find_in_ranges(ranges: [(u8, u8); 4], text: &[u8]) -> Option<usize> {
    let inside = |byte: u8| {
        (byte.wrapping_sub(ranges[0].0) <= ranges[0].1)
            | (byte.wrapping_sub(ranges[1].0) <= ranges[1].1)
            | (byte.wrapping_sub(ranges[2].0) <= ranges[2].1)
            | (byte.wrapping_sub(ranges[3].0) <= ranges[3].1)
    };
    let (chunks, tail) = text.as_chunks::<CHUNK>();
    for (index, chunk) in chunks.iter().enumerate() {
        // PERF: without an early exit the compiler does all sixteen at once.
        let any = chunk.iter().fold(false, |any, byte| any | inside(*byte));
        if any {
            let at = chunk.iter().position(|byte| inside(*byte))?;
            return Some(index * CHUNK + at);
        }
    }
    let at = tail.iter().position(|byte| inside(*byte))?;
    Some(chunks.len() * CHUNK + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaving(bytes: &[u8]) -> [bool; 256] {
        let mut leaving = [false; 256];
        for byte in bytes {
            leaving[usize::from(*byte)] = true;
        }
        leaving
    }

    #[test]
    fn every_kind_finds_the_first_byte_that_leaves() {
        let text: Vec<u8> = (0..100).map(|index| b'a' + index % 20).collect();
        for bytes in [
            &b""[..],
            b"z",
            b"z\"",
            b"z\"\\",
            b"z\" \t\n\x0B\x0C\r",
            b"z\"\\\xFF",
        ] {
            let skipper = Skipper::new(&leaving(bytes)).expect("few bytes leave");
            assert_eq!(skipper.skip(&text, 7), text.len());
            for at in [0, 1, 15, 16, 17, 63, 99] {
                let mut text = text.clone();
                text[at] = b'z';
                let wanted = if bytes.is_empty() { text.len() } else { at };
                assert_eq!(skipper.skip(&text, 0), wanted, "{bytes:?} at {at}");
            }
        }
    }

    #[test]
    fn a_state_that_most_bytes_leave_gets_none() {
        assert!(Skipper::new(&[true; 256]).is_none());
        assert!(Skipper::new(&leaving(b"acegikm")).is_none());
    }
}
