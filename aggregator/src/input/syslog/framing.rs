//! Where messages of syslog begin and end in a stream (RFC 6587).
//!
//! Two ways are in use, and some senders mix them on one connection, so each message is looked at by itself: one
//! that starts with a number, a blank and `<` has as many bytes as the number says behind the blank (*octet
//! counting*); any other ends at a line end or a zero byte. Line ends and zeros around a message are none of
//! it.
//!
//! INVARIANTS: however the stream is cut into reads, the same messages come out. What is kept is at most
//! the limit and a few bytes. A message over the limit comes in pieces; a piece behind the first is never
//! taken for a message that starts with a count.

use std::ops::Range;

use bytes::Bytes;

use crate::chunks::whole_characters;
use crate::input::connection::Cutting;

/// The longest count, in digits.
const MAX_DIGITS: usize = 9;

/// Finds the messages of one connection.
pub(super) struct Framing {
    /// `max_record_bytes`.
    limit: usize,
    /// What was read, and room for more. A message begins or goes on at its start.
    pending: Vec<u8>,
    /// How much of `pending` was read.
    read: usize,
    /// How much of it is known to hold no end of a line.
    searched: usize,
    within: Within,
}

/// In what the start of the bytes at hand lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    /// Between two messages.
    Nothing,
    /// In a line.
    Line,
    /// In a counted message that has so many bytes more.
    Count(usize),
}

/// How a message starts.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// With a count; `head` is the length of it and the blank.
    Counted {
        head: usize,
        length: usize,
    },
    Line,
    /// That cannot be told yet.
    Unknown,
}

/// What stands at the start of the bytes at hand: a message or a piece of one, if it is not empty.
struct Found {
    message: Range<usize>,
    /// Bytes that are done with.
    taken: usize,
}

impl Framing {
    /// For messages of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            pending: Vec::new(),
            read: 0,
            searched: 0,
            within: Within::Nothing,
        }
    }

    /// Appends what is whole; at the end of the stream, all that is left.
    fn take(&mut self, at_end: bool, records: &mut Vec<Bytes>) {
        self.pending.truncate(self.read);
        let mut bytes = std::mem::take(&mut self.pending);
        let mut messages = Vec::new();
        let mut at = 0;
        while let Some(found) = self.find(&bytes[at..], at_end) {
            if !found.message.is_empty() {
                messages.push(at + found.message.start..at + found.message.end);
            }
            at += found.taken;
            self.searched = 0;
        }
        if at == 0 {
            self.pending = bytes;
            return;
        }
        self.pending = bytes.split_off(at);
        self.read = self.pending.len();
        let bytes = Bytes::from(bytes);
        records.extend(messages.into_iter().map(|message| bytes.slice(message)));
    }

    /// What stands at the start of the bytes; nothing if more are needed.
    fn find(&mut self, bytes: &[u8], at_end: bool) -> Option<Found> {
        if bytes.is_empty() {
            return None;
        }
        if self.within == Within::Nothing {
            let between = bytes.iter().take_while(|byte| is_between(**byte)).count();
            if between > 0 {
                return Some(Found {
                    message: 0..0,
                    taken: between,
                });
            }
            match start(bytes) {
                Start::Counted { head, length } => {
                    self.within = Within::Count(length);
                    return Some(Found {
                        message: 0..0,
                        taken: head,
                    });
                }
                Start::Unknown if !at_end => return None,
                Start::Unknown | Start::Line => self.within = Within::Line,
            }
        }
        match self.within {
            Within::Count(left) => self.counted(left, bytes, at_end),
            _ => self.line(bytes, at_end),
        }
    }

    fn counted(&mut self, left: usize, bytes: &[u8], at_end: bool) -> Option<Found> {
        if left <= self.limit && left <= bytes.len() {
            self.within = Within::Nothing;
            return Some(whole(bytes, left, left));
        }
        if left > self.limit && bytes.len() >= self.limit {
            let piece = whole_characters(&bytes[..self.limit]);
            self.within = Within::Count(left - piece);
            return Some(Found {
                message: 0..piece,
                taken: piece,
            });
        }
        // The rest of it does not come any more.
        at_end.then(|| {
            self.within = Within::Nothing;
            whole(bytes, bytes.len(), bytes.len())
        })
    }

    fn line(&mut self, bytes: &[u8], at_end: bool) -> Option<Found> {
        // One byte more than the limit: the end of a line of just that length.
        let within_limit = &bytes[..bytes.len().min(self.limit + 1)];
        let end = memchr::memchr2(b'\n', 0, &within_limit[self.searched..]);
        if let Some(end) = end {
            let end = self.searched + end;
            self.within = Within::Nothing;
            return Some(whole(bytes, end, end + 1));
        }
        if within_limit.len() > self.limit {
            let piece = whole_characters(&bytes[..self.limit]);
            return Some(Found {
                message: 0..piece,
                taken: piece,
            });
        }
        self.searched = bytes.len();
        at_end.then(|| {
            self.within = Within::Nothing;
            whole(bytes, bytes.len(), bytes.len())
        })
    }
}

impl Cutting for Framing {
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        self.pending.resize(self.read + bytes, 0);
        &mut self.pending[self.read..]
    }

    fn filled(&mut self, bytes: usize, records: &mut Vec<Bytes>) {
        self.read += bytes;
        self.take(false, records);
    }

    fn rest(&mut self, records: &mut Vec<Bytes>) {
        self.take(true, records);
    }

    fn pending(&self) -> usize {
        self.read
    }
}

/// How the message at the start of the bytes does start.
fn start(bytes: &[u8]) -> Start {
    if bytes.first() == Some(&b'0') {
        return Start::Line;
    }
    let digits = bytes.iter().take(MAX_DIGITS + 1);
    let digits = digits.take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > MAX_DIGITS {
        return Start::Line;
    }
    match &bytes[digits..] {
        [] | [b' '] => Start::Unknown,
        [b' ', b'<', ..] => Start::Counted {
            head: digits + 1,
            length: bytes[..digits]
                .iter()
                .fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0')),
        },
        _ => Start::Line,
    }
}

/// A message that ends at `end`, without what is between messages.
fn whole(bytes: &[u8], end: usize, taken: usize) -> Found {
    Found {
        message: 0..trimmed(&bytes[..end]).len(),
        taken,
    }
}

/// A message without the line ends and zeros behind it.
pub(super) fn trimmed(message: &[u8]) -> &[u8] {
    let end = message.iter().rposition(|byte| !is_between(*byte));
    &message[..end.map_or(0, |end| end + 1)]
}

/// Whether a byte stands between messages.
fn is_between(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r' | 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The messages of a stream that comes in these reads.
    fn messages(limit: usize, reads: &[&[u8]]) -> Vec<String> {
        let mut framing = Framing::new(limit);
        let mut records = Vec::new();
        for read in reads {
            framing.room(read.len() + 3)[..read.len()].copy_from_slice(read);
            framing.filled(read.len(), &mut records);
            assert!(framing.pending() <= limit + MAX_DIGITS + 2 + read.len());
        }
        framing.rest(&mut records);
        assert_eq!(framing.pending(), 0);
        let texts = records
            .iter()
            .map(|record| String::from_utf8_lossy(record).into_owned());
        texts.collect()
    }

    #[test]
    fn both_ways_are_told_apart_for_each_message() {
        for (stream, expected) in [
            (
                &b"<1>one\n<2>two\r\n<3>three"[..],
                &["<1>one", "<2>two", "<3>three"][..],
            ),
            (
                b"6 <1>one7 <2>a\nbc<3>three\n7 <4>four",
                &["<1>one", "<2>a\nbc", "<3>three", "<4>four"],
            ),
            // Senders that count and end lines as well, and count these or not.
            (b"7 <1>one\n6 <2>two\n\n", &["<1>one", "<2>two"]),
            (b"<1>one\0<2>two\0", &["<1>one", "<2>two"]),
            (b"<1>one\n\0\r\n\n<2>two", &["<1>one", "<2>two"]),
            // These are no counts.
            (
                b"2026-11-25 text\n12 text\n0 <1>x\n1234567890 <1>y\n5\n",
                &[
                    "2026-11-25 text",
                    "12 text",
                    "0 <1>x",
                    "1234567890 <1>y",
                    "5",
                ],
            ),
            // The stream ends too early.
            (b"20 <1>one", &["<1>one"]),
            (b"12 ", &["12 "]),
            (b"\n", &[]),
        ] {
            assert_eq!(messages(100, &[stream]), expected);
            let single: Vec<&[u8]> = stream.chunks(1).collect();
            assert_eq!(messages(100, &single), expected);
        }
    }

    #[test]
    fn messages_over_the_limit_come_in_pieces() {
        for (stream, expected) in [
            ("<1>abcdef\n<2>x\n", &["<1>a", "bcde", "f", "<2>x"][..]),
            ("<1>a\n", &["<1>a"]),
            // What looks like a count in the middle of one is none.
            ("<1>a9 <1\n", &["<1>a", "9 <1"]),
            ("10 <1>a3 <2>x<3>\n", &["<1>a", "3 <2", ">x", "<3>"]),
            ("<1>éé\n", &["<1>", "éé"]),
        ] {
            assert_eq!(messages(4, &[stream.as_bytes()]), expected, "{stream}");
        }
    }

    proptest! {
        #[test]
        fn reads_make_no_difference(
            stream in prop::collection::vec(prop::sample::select(b"<1>59 \n\0\xffa".to_vec()), 0..120),
            cuts in prop::collection::vec(0usize..120, 0..6),
            limit in 1usize..12,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.push(stream.len());
            cuts.sort_unstable();
            let mut at = 0;
            let reads: Vec<&[u8]> = cuts.into_iter().map(|cut| {
                let read = &stream[at..cut];
                at = cut;
                read
            }).collect();
            prop_assert_eq!(messages(limit, &reads), messages(limit, &[&stream]));
        }
    }
}
