//! Bytes to lines.
//!
//! A line ends with `\n`; one `\r` before it belongs to the end, not to the text. Offsets always
//! count every byte of the file, so that `next` of one line is `start` of the following one. A line
//! longer than the limit is cut into pieces at a character boundary; nothing of it is dropped.

use memchr::{memchr, memmem};

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

/// As [`next_line`], for lines that end with `delimiter`, before which nothing is left out.
pub fn next_delimited(
    bytes: &[u8],
    start: usize,
    max_line_bytes: usize,
    delimiter: &[u8],
) -> Option<Framed> {
    let rest = &bytes[start..];
    let window = max_line_bytes + delimiter.len();
    let searched = &rest[..rest.len().min(window)];
    if let Some(found) = memmem::find(searched, delimiter) {
        let end = start + found;
        return Some(Framed {
            start,
            end,
            next: end + delimiter.len(),
            split: false,
        });
    }
    if searched.len() < window {
        return None;
    }
    let end = start + character_boundary(rest, max_line_bytes);
    Some(Framed {
        start,
        end,
        next: end,
        split: true,
    })
}

/// As [`next_line`], for two bytes a character; `line_end` is how a line end looks. `start` and
/// `max_line_bytes` are taken for even.
pub fn next_wide_line(
    bytes: &[u8],
    start: usize,
    max_line_bytes: usize,
    line_end: [u8; 2],
) -> Option<Framed> {
    let limit = (max_line_bytes & !1).max(4);
    let rest = &bytes[start..];
    let at = |at: usize| rest.get(at..at + 2);
    let mut from = 0;
    let newline = loop {
        let Some(found) = memchr(b'\n', &rest[from..]).map(|found| found + from) else {
            break None;
        };
        let unit = found & !1;
        if unit > limit + 2 {
            break None;
        }
        match at(unit) {
            Some(pair) if pair == line_end => break Some(unit),
            None => return None,
            Some(_) => from = unit + 2,
        }
    };
    if let Some(newline) = newline {
        let text = strip_wide_return(&rest[..newline], line_end);
        if text.len() <= limit {
            return Some(Framed {
                start,
                end: start + text.len(),
                next: start + newline + 2,
                split: false,
            });
        }
    } else if rest.len() < limit + 4 {
        return None;
    }
    // Not between the halves of a character.
    let high = |pair: &[u8]| pair[usize::from(line_end[0] == b'\n')];
    let halves = at(limit).is_some_and(|pair| high(pair) & 0xFC == 0xDC);
    let end = start + limit - if halves { 2 } else { 0 };
    Some(Framed {
        start,
        end,
        next: end,
        split: true,
    })
}

/// A last line of two bytes a character, as far as it is whole.
pub fn strip_wide_return(text: &[u8], line_end: [u8; 2]) -> &[u8] {
    let text = &text[..text.len() & !1];
    let carriage_return = line_end.map(|byte| if byte == b'\n' { b'\r' } else { byte });
    text.strip_suffix(&carriage_return).unwrap_or(text)
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

    #[test]
    fn complaint_24_wide_lines_are_told_apart_by_pairs() {
        let wide = |text: &str, big: bool| -> Vec<u8> {
            let units = text.encode_utf16();
            units
                .flat_map(|unit| {
                    if big {
                        unit.to_be_bytes()
                    } else {
                        unit.to_le_bytes()
                    }
                })
                .collect()
        };
        for (big, line_end) in [(false, [b'\n', 0]), (true, [0, b'\n'])] {
            // U+0A0D and U+0D0A have the bytes of line ends in them.
            let bytes = wide("one\r\n\u{a0d}\u{d0a}x\n\nlast", big);
            let (mut lines, mut at) = (Vec::new(), 0);
            while let Some(line) = next_wide_line(&bytes, at, 100, line_end) {
                lines.push(bytes[line.start..line.end].to_vec());
                at = line.next;
            }
            let expected = [wide("one", big), wide("\u{a0d}\u{d0a}x", big), Vec::new()];
            assert_eq!(lines, expected);
            assert_eq!(&bytes[at..], wide("last", big));
            // Cut, but not in the middle of a character of two pairs.
            let bytes = wide("abc\u{1f600}def\n", big);
            let (mut lines, mut at) = (Vec::new(), 0);
            while let Some(line) = next_wide_line(&bytes, at, 8, line_end) {
                lines.push(bytes[line.start..line.end].to_vec());
                at = line.next;
            }
            let expected = [wide("abc", big), wide("\u{1f600}de", big), wide("f", big)];
            assert_eq!(lines, expected);
        }
    }

    #[test]
    fn lines_with_a_delimiter_of_their_own() {
        let bytes = b"one\r\n||two|||three";
        let first = next_delimited(bytes, 0, 50, b"||").expect("a line");
        assert_eq!((first.end, first.next), (5, 7));
        let second = next_delimited(bytes, 7, 50, b"||").expect("a line");
        assert_eq!((&bytes[7..second.end], second.next), (&b"two"[..], 12));
        assert_eq!(next_delimited(bytes, 12, 50, b"||"), None);
        // It begins where the line has all that it may have.
        let whole = next_delimited(b"abcd||", 0, 4, b"||").expect("a line");
        assert_eq!((whole.end, whole.split), (4, false));
        let piece = next_delimited(b"abcde||", 0, 4, b"||").expect("a piece");
        assert_eq!((piece.next, piece.split), (4, true));
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
