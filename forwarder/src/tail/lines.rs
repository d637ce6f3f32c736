//! Bytes to lines.
//!
//! A line ends with `\n`; one `\r` before it belongs to the end, not to the text. Offsets always
//! count every byte of the file, so that `next` of one line is `start` of the following one. A line
//! longer than the limit is cut into pieces at a character boundary; nothing of it is dropped.

use memchr::memchr;

/// One line, or one piece of a long line, as positions in the bytes it was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framed {
    /// Where the text begins.
    pub start: usize,
    /// Where the text ends (without the line end).
    pub end: usize,
    /// Where the next line begins.
    pub next: usize,
    /// Whether this is a piece of a line that goes on.
    pub split: bool,
}

/// Bytes that must be at hand to be sure that a line is too long: the limit, and a line end.
pub const fn lookahead(max_line_bytes: usize) -> usize {
    max_line_bytes + 2
}

/// The line that begins at `start`. `None` if its end has not been read yet.
pub fn next_line(bytes: &[u8], start: usize, max_line_bytes: usize) -> Option<Framed> {
    let rest = &bytes[start..];
    let searched = &rest[..rest.len().min(lookahead(max_line_bytes))];
    match memchr(b'\n', searched) {
        Some(newline) => {
            let text = strip_return(&rest[..newline]);
            if text.len() <= max_line_bytes {
                let (end, next) = (start + text.len(), start + newline + 1);
                return Some(Framed {
                    start,
                    end,
                    next,
                    split: false,
                });
            }
        }
        None if searched.len() < lookahead(max_line_bytes) => return None,
        None => {}
    }
    let length = character_boundary(rest, max_line_bytes);
    let end = start + length;
    Some(Framed {
        start,
        end,
        next: end,
        split: true,
    })
}

/// The text of a last line that has no end yet.
pub fn strip_return(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\r").unwrap_or(text)
}

/// The largest length up to `limit` that does not cut a UTF-8 character (nor makes no progress).
fn character_boundary(bytes: &[u8], limit: usize) -> usize {
    let is_continuation = |at: usize| bytes.get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
    (limit.saturating_sub(3)..=limit)
        .rev()
        .find(|at| *at > 0 && !is_continuation(*at))
        .unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8], limit: usize) -> (Vec<Vec<u8>>, usize) {
        let (mut lines, mut at) = (Vec::new(), 0);
        while let Some(line) = next_line(bytes, at, limit) {
            lines.push(bytes[line.start..line.end].to_vec());
            assert!(line.next > at, "progress");
            at = line.next;
        }
        (lines, at)
    }

    #[test]
    fn line_ends_of_both_kinds() {
        let (lines, rest) = all(b"a\r\nb\n\n\r\nc\r\r\nlast", 100);
        assert_eq!(lines, [&b"a"[..], b"b", b"", b"", b"c\r"]);
        assert_eq!(rest, 12);
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let (lines, rest) = all("ab\u{20ac}cdefg\nx\n".as_bytes(), 4);
        assert_eq!(
            lines,
            ["ab".as_bytes(), "\u{20ac}c".as_bytes(), b"defg", b"x"]
        );
        assert_eq!(rest, 13);
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_not_cut() {
        let (lines, _) = all(b"abcd\nabcd\r\nabcde\n", 4);
        assert_eq!(lines, [&b"abcd"[..], b"abcd", b"abcd", b"e"]);
    }

    #[test]
    fn garbage_without_boundaries_still_makes_progress() {
        let (lines, _) = all(&[0x80; 64], 8);
        assert!(lines.iter().all(|line| line.len() <= 8));
        assert!(lines.len() >= 6);
    }

    proptest! {
        /// However the bytes arrive, the same lines come out with the same offsets, and the
        /// pieces with their line ends are the input.
        #[test]
        fn any_cut_gives_the_same_lines(
            bytes in proptest::collection::vec(
                prop_oneof![3 => Just(b'a'), 1 => Just(b'\n'), 1 => Just(b'\r'), 1 => any::<u8>()],
                0..200,
            ),
            limit in 4_usize..40,
        ) {
            let (whole, consumed) = all(&bytes, limit);
            for cut in 0..=bytes.len() {
                let (first, at) = all(&bytes[..cut], limit);
                let mut lines = first;
                let (rest, more) = all(&bytes[at..], limit);
                lines.extend(rest);
                prop_assert_eq!(&lines, &whole);
                prop_assert_eq!(at + more, consumed);
            }
            let mut at = 0;
            while let Some(line) = next_line(&bytes, at, limit) {
                prop_assert_eq!(line.start, at);
                prop_assert!(line.end - line.start <= limit);
                let ending = &bytes[line.end..line.next];
                prop_assert!(matches!(ending, b"\n" | b"\r\n") != line.split);
                at = line.next;
            }
        }
    }
}
