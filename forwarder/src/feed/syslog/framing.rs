//! Where messages begin and end in a stream (RFC 6587), and what becomes of those that are too long.
//!
//! A message that begins with a number, a blank and `<` has as many bytes as the number says behind the blank; any other
//! ends at a newline, or at the NUL that the C library writes on a socket that is a stream.
//! INVARIANT: no more than a message of `max line bytes` is held, whatever comes.

use crate::tail::shape::LongLines;

/// Digits of a number of bytes.
const MAX_DIGITS: usize = 9;

/// How messages are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Either way, message by message.
    Auto,
    /// By their line ends.
    Lines,
    /// By their numbers of bytes.
    Octets,
}

/// A message that does not begin with its number of bytes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message does not begin with its number of bytes, as `framing: octets` has it")]
pub struct NoCount;

/// What was done to messages that were too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// Pieces cut off.
    pub split: u64,
    /// Messages whose end was left out.
    pub truncated: u64,
    /// Messages left out.
    pub skipped: u64,
}

/// Holds a message until it is whole, or too long.
#[derive(Debug)]
pub struct Message {
    limit: usize,
    policy: LongLines,
    held: Vec<u8>,
    /// The rest of it is left out.
    left_out: bool,
    /// What was cut since this was last looked at.
    pub cuts: Cuts,
}

impl Message {
    /// None has begun.
    pub fn new(limit: usize, policy: LongLines) -> Self {
        Self {
            limit,
            policy,
            held: Vec::new(),
            left_out: false,
            cuts: Cuts::default(),
        }
    }

    /// More of it. `take` gets what is shipped: a text, and whether its end was left out.
    pub fn push(&mut self, mut bytes: &[u8], take: &mut impl FnMut(&[u8], bool)) {
        while !self.left_out && self.held.len() + bytes.len() > self.limit {
            let (fits, rest) = bytes.split_at(self.limit - self.held.len());
            self.held.extend_from_slice(fits);
            bytes = rest;
            match self.policy {
                LongLines::Split => {
                    self.cuts.split += 1;
                    take(&self.held, false);
                }
                LongLines::Truncate => {
                    self.cuts.truncated += 1;
                    self.left_out = true;
                    take(&self.held, true);
                }
                LongLines::Skip => {
                    self.cuts.skipped += 1;
                    self.left_out = true;
                }
            }
            self.held.clear();
        }
        if !self.left_out {
            self.held.extend_from_slice(bytes);
        }
    }

    /// It ends here. One without text is none.
    pub fn end(&mut self, take: &mut impl FnMut(&[u8], bool)) {
        let text = without_end(&self.held);
        if !self.left_out && !text.is_empty() {
            take(text, false);
        }
        self.held.clear();
        self.left_out = false;
    }

    /// Whether one has begun.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && !self.left_out
    }
}

/// A text without its line end, or the NUL in its place.
fn without_end(text: &[u8]) -> &[u8] {
    let end = text
        .iter()
        .rposition(|byte| !matches!(byte, b'\n' | b'\r' | 0));
    &text[..end.map_or(0, |last| last + 1)]
}

/// Makes messages of the bytes of one connection.
#[derive(Debug)]
pub struct Framer {
    framing: Framing,
    /// The message, and what is done with those that are too long.
    pub message: Message,
    state: State,
    /// What may be the number of bytes, and the blank behind it.
    count: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Start,
    Line,
    Octets(usize),
}

impl Framer {
    /// Nothing has come yet.
    pub fn new(framing: Framing, message: Message) -> Self {
        Self {
            framing,
            message,
            state: State::Start,
            count: Vec::new(),
        }
    }

    /// Takes the next bytes.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        take: &mut impl FnMut(&[u8], bool),
    ) -> Result<(), NoCount> {
        while let Some(&first) = bytes.first() {
            match self.state {
                State::Start => {
                    if self.start(first, take)? {
                        bytes = &bytes[1..];
                    }
                }
                State::Line => {
                    let end = memchr::memchr2(b'\n', 0, bytes);
                    let (text, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                    self.message.push(text, take);
                    bytes = rest;
                    if end.is_some() {
                        self.message.end(take);
                        self.state = State::Start;
                        bytes = &bytes[1..];
                    }
                }
                State::Octets(left) => {
                    let (text, rest) = bytes.split_at(bytes.len().min(left));
                    self.message.push(text, take);
                    bytes = rest;
                    self.state = State::Octets(left - text.len());
                    if left == text.len() {
                        self.message.end(take);
                        self.state = State::Start;
                    }
                }
            }
        }
        Ok(())
    }

    /// One byte of where a message begins; whether it is used up.
    fn start(&mut self, byte: u8, take: &mut impl FnMut(&[u8], bool)) -> Result<bool, NoCount> {
        let digits = self.count.strip_suffix(b" ").unwrap_or(&self.count);
        let counted = digits.len() < self.count.len();
        let may_be = self.framing != Framing::Lines;
        match byte {
            b'\n' | b'\r' | 0 if self.count.is_empty() => return Ok(true),
            b'1'..=b'9' if may_be && self.count.is_empty() => {}
            b'0'..=b'9' | b' '
                if !self.count.is_empty() && !counted && digits.len() <= MAX_DIGITS => {}
            _ if counted && (byte == b'<' || self.framing == Framing::Octets) => {
                let number = str::from_utf8(digits)
                    .ok()
                    .and_then(|text| text.parse().ok());
                self.state = State::Octets(number.ok_or(NoCount)?);
                self.count.clear();
                return Ok(false);
            }
            _ if self.framing == Framing::Octets => return Err(NoCount),
            _ => {
                self.state = State::Line;
                self.message.push(&self.count, take);
                self.count.clear();
                return Ok(false);
            }
        }
        self.count.push(byte);
        Ok(true)
    }

    /// The stream ends: what has come is a message, if it is anything.
    pub fn end(&mut self, take: &mut impl FnMut(&[u8], bool)) {
        let count = std::mem::take(&mut self.count);
        self.message.push(&count, take);
        self.message.end(take);
        self.state = State::Start;
    }

    /// Whether a message has begun.
    pub fn is_pending(&self) -> bool {
        !self.count.is_empty() || !self.message.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn messages(framing: Framing, limit: usize, policy: LongLines, bytes: &[u8]) -> Vec<String> {
        let mut all: Option<Vec<String>> = None;
        for pieces in 1..=bytes.len() {
            let mut framer = Framer::new(framing, Message::new(limit, policy));
            let mut messages = Vec::new();
            let mut take = |text: &[u8], truncated: bool| {
                let mark = if truncated { "…" } else { "" };
                messages.push(String::from_utf8_lossy(text).into_owned() + mark);
            };
            for piece in bytes.chunks(pieces) {
                framer.feed(piece, &mut take).expect("framed");
            }
            framer.end(&mut take);
            assert!(!framer.is_pending());
            if let Some(all) = &all {
                assert_eq!(&messages, all, "in pieces of {pieces}");
            }
            all = Some(messages);
        }
        all.unwrap_or_default()
    }

    #[test]
    fn lines_and_counted_messages_one_after_the_other() {
        let bytes =
            b"<13>one\n11 <14>two\nmore12 <15>three\r\n<13>c library\0\n\n42 is the answer\n7\n\
            9999999999 <13>long\n123456 and the last 9";
        let expected = [
            "<13>one",
            "<14>two\nmor",
            "e12 <15>three",
            "<13>c library",
            "42 is the answer",
            "7",
            "9999999999 <13>long",
            "123456 and the last 9",
        ];
        assert_eq!(
            messages(Framing::Auto, 100, LongLines::Split, bytes),
            expected
        );
        let lines = ["1 <a", "2"];
        assert_eq!(
            messages(Framing::Lines, 100, LongLines::Split, b"1 <a\n2\n"),
            lines
        );
        let counted = ["a\nb", "cd"];
        assert_eq!(
            messages(Framing::Octets, 100, LongLines::Split, b"4 a\nb\n2 cd"),
            counted
        );
        let mut framer = Framer::new(Framing::Octets, Message::new(10, LongLines::Split));
        for wrong in [&b"<13>x"[..], b"1x", b" ", b"99999999999 x"] {
            assert_eq!(framer.feed(wrong, &mut |_, _| ()), Err(NoCount));
            framer = Framer::new(Framing::Octets, Message::new(10, LongLines::Split));
        }
    }

    #[test]
    fn messages_that_are_too_long() {
        for bytes in [
            &b"0123456789\nshort\n"[..],
            b"<23456789\nshort\n",
            b"10 <123456789short\n",
        ] {
            let split = messages(Framing::Auto, 4, LongLines::Split, bytes);
            assert_eq!(split.len(), 5, "{split:?}");
            let truncated = messages(Framing::Auto, 5, LongLines::Truncate, bytes);
            assert_eq!((truncated.len(), &truncated[1][..]), (2, "short"));
            assert!(truncated[0].ends_with('…'));
            assert_eq!(
                messages(Framing::Auto, 5, LongLines::Skip, bytes),
                ["short"]
            );
        }
    }

    proptest! {
        #[test]
        fn no_more_than_a_message_is_held(bytes in proptest::collection::vec(
            prop_oneof![any::<u8>(), Just(b'\n'), Just(b' '), Just(b'<'), b'0'..=b'9'], 0..200)) {
            let mut framer = Framer::new(Framing::Auto, Message::new(8, LongLines::Split));
            let mut came = 0;
            for byte in &bytes {
                framer.feed(&[*byte], &mut |text, _| came += text.len()).expect("any");
                prop_assert!(framer.message.held.len() <= 8 && framer.count.len() <= MAX_DIGITS + 2);
            }
            prop_assert!(came <= bytes.len());
        }
    }
}
