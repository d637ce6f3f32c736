//! The journal's export format: bytes in whatever pieces in, entries out.
//!
//! ```text
//! NAME=text without a newline \n
//! NAME \n  8 bytes, the length, low byte first   so many bytes \n
//! \n                                              the entry ends
//! ```
//!
//! INVARIANT: memory is bounded whatever comes: a name by [`MAX_NAME_BYTES`], the message by its limit, any other
//! field by [`MAX_FIELD_BYTES`], an entry by [`MAX_FIELDS`] and [`MAX_ENTRY_BYTES`]; what is beyond is read over.
//! An entry that does not end is not an entry.

use std::borrow::Cow;

use super::names::{Keep, name_of};
use crate::batch::Field;

/// Bytes of a name.
pub const MAX_NAME_BYTES: usize = 256;
/// Bytes of a field other than the message; what is beyond is left out.
pub const MAX_FIELD_BYTES: usize = 64 << 10;
/// Fields that an event has of an entry; journald makes no entries with more.
pub const MAX_FIELDS: usize = 1024;
/// Bytes of all fields of an entry other than the message.
pub const MAX_ENTRY_BYTES: usize = 1 << 20;

/// One entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Where it is in the journal.
    pub cursor: String,
    /// When it was written, in microseconds since 1970.
    pub realtime: u64,
    /// Its `MESSAGE`.
    pub message: Vec<u8>,
    /// Whether the end of the message was left out.
    pub truncated: bool,
    /// The fields that are wanted, under the names that events have for them; the first of several of one name.
    pub fields: Vec<Field>,
    /// Bytes of them.
    bytes: usize,
}

/// It is not the export format.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("what journalctl writes is not the export format: {0}")]
pub struct Malformed(&'static str);

/// Understands the bytes of one `journalctl`.
#[derive(Debug)]
pub struct Parser {
    keep: Keep,
    max_message_bytes: usize,
    state: State,
    /// The name of a field, as far as it has come.
    name: Vec<u8>,
    /// The eight bytes of the length of its value, as far as they have come.
    length: Vec<u8>,
    /// What becomes of the value.
    target: Target,
    value: Vec<u8>,
    /// Bytes of the value that are kept, and whether there were more.
    limit: usize,
    cut: bool,
    entry: Entry,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Name,
    Text,
    Length,
    Binary(u64),
    /// The newline behind a binary value.
    End,
}

#[derive(Debug)]
enum Target {
    Nothing,
    Cursor,
    Realtime,
    Message,
    Field(Cow<'static, str>),
}

impl Parser {
    /// Nothing has come yet.
    pub fn new(keep: Keep, max_message_bytes: usize) -> Self {
        Self {
            keep,
            max_message_bytes,
            state: State::Name,
            name: Vec::new(),
            length: Vec::new(),
            target: Target::Nothing,
            value: Vec::new(),
            limit: 0,
            cut: false,
            entry: Entry::default(),
        }
    }

    /// Takes the next bytes, and hands on the entries that end in them.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        take: &mut impl FnMut(Entry),
    ) -> Result<(), Malformed> {
        while let Some(&first) = bytes.first() {
            bytes = match self.state {
                State::Name => self.name(bytes, take)?,
                State::Text => {
                    let end = memchr::memchr(b'\n', bytes);
                    self.keep_value(&bytes[..end.unwrap_or(bytes.len())]);
                    match end {
                        Some(end) => {
                            self.end_field();
                            &bytes[end + 1..]
                        }
                        None => &[],
                    }
                }
                State::Length => {
                    let missing = LENGTH_BYTES - self.length.len();
                    let (taken, rest) = bytes.split_at(bytes.len().min(missing));
                    self.length.extend_from_slice(taken);
                    if let Ok(length) = <[u8; LENGTH_BYTES]>::try_from(&self.length[..]) {
                        self.state = State::Binary(u64::from_le_bytes(length));
                    }
                    rest
                }
                State::Binary(0) => {
                    self.state = State::End;
                    bytes
                }
                State::Binary(left) => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX);
                    let (taken, rest) = bytes.split_at(bytes.len().min(length));
                    self.keep_value(taken);
                    self.state = State::Binary(left - taken.len() as u64);
                    rest
                }
                State::End if first == b'\n' => {
                    self.end_field();
                    &bytes[1..]
                }
                State::End => return Err(Malformed("no newline behind a binary value")),
            };
        }
        Ok(())
    }

    fn name<'a>(
        &mut self,
        bytes: &'a [u8],
        take: &mut impl FnMut(Entry),
    ) -> Result<&'a [u8], Malformed> {
        let end = memchr::memchr2(b'=', b'\n', bytes);
        let part = &bytes[..end.unwrap_or(bytes.len())];
        if self.name.len() + part.len() > MAX_NAME_BYTES {
            return Err(Malformed("a name without an end"));
        }
        self.name.extend_from_slice(part);
        let Some(end) = end else {
            return Ok(&[]);
        };
        match (bytes[end], self.name.is_empty()) {
            (b'=', _) => self.begin_value(State::Text),
            (_, false) => self.begin_value(State::Length),
            (_, true) => {
                let entry = std::mem::take(&mut self.entry);
                if !entry.cursor.is_empty() {
                    take(entry);
                } else if entry != Entry::default() {
                    return Err(Malformed("an entry without a cursor"));
                }
            }
        }
        Ok(&bytes[end + 1..])
    }

    fn begin_value(&mut self, state: State) {
        self.state = state;
        self.target = self.target();
        self.name.clear();
        self.length.clear();
        self.value.clear();
        self.cut = false;
        self.limit = match self.target {
            Target::Nothing => 0,
            Target::Message => self.max_message_bytes,
            Target::Cursor | Target::Realtime => MAX_FIELD_BYTES,
            Target::Field(_) => MAX_FIELD_BYTES.min(MAX_ENTRY_BYTES - self.entry.bytes),
        };
    }

    fn target(&self) -> Target {
        match &self.name[..] {
            b"__CURSOR" => Target::Cursor,
            b"__REALTIME_TIMESTAMP" => Target::Realtime,
            b"MESSAGE" if self.entry.message.is_empty() => Target::Message,
            b"MESSAGE" => Target::Nothing,
            name => match name_of(name, &self.keep) {
                Some(name) if self.wants(&name) => Target::Field(name),
                _ => Target::Nothing,
            },
        }
    }

    /// Whether there is room for this one, and none of its name.
    fn wants(&self, name: &str) -> bool {
        let fields = &self.entry.fields;
        fields.len() < MAX_FIELDS
            && self.entry.bytes < MAX_ENTRY_BYTES
            && fields.iter().all(|(known, _)| known != name)
    }

    fn keep_value(&mut self, bytes: &[u8]) {
        let room = self.limit - self.value.len();
        self.cut |= bytes.len() > room;
        self.value
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_field(&mut self) {
        self.state = State::Name;
        let value = std::mem::take(&mut self.value);
        let entry = &mut self.entry;
        match std::mem::replace(&mut self.target, Target::Nothing) {
            Target::Nothing => {}
            Target::Message => (entry.message, entry.truncated) = (value, self.cut),
            Target::Cursor => entry.cursor = String::from_utf8(value).unwrap_or_default(),
            Target::Realtime => {
                let digits = str::from_utf8(&value).ok();
                entry.realtime = digits.and_then(|text| text.parse().ok()).unwrap_or(0);
            }
            Target::Field(name) => {
                entry.bytes += name.len() + value.len();
                entry.bytes = entry.bytes.min(MAX_ENTRY_BYTES);
                entry.fields.push((name, value));
            }
        }
    }
}

/// Of the length of a binary value.
const LENGTH_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries(bytes: &[u8], pieces: usize, limit: usize) -> Result<Vec<Entry>, Malformed> {
        let mut parser = Parser::new(Keep::All, limit);
        let mut entries = Vec::new();
        for piece in bytes.chunks(pieces) {
            parser.feed(piece, &mut |entry| entries.push(entry))?;
        }
        Ok(entries)
    }

    fn binary(name: &str, value: &[u8]) -> Vec<u8> {
        let length = (value.len() as u64).to_le_bytes();
        [name.as_bytes(), b"\n", &length, value, b"\n"].concat()
    }

    fn field<'e>(entry: &'e Entry, name: &str) -> Option<&'e [u8]> {
        let mut fields = entry.fields.iter();
        let found = fields.find(|(known, _)| known.replace('\0', ".") == name);
        found.map(|(_, value)| value.as_slice())
    }

    #[test]
    fn text_and_binary_fields_in_any_pieces() {
        let mut bytes = b"__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1700000000000001\n_PID=7\n\
            EMPTY=\nMESSAGE=a = b\nOWN_THING=x\n\n__CURSOR=s=1;i=3\n"
            .to_vec();
        bytes.extend(binary("MESSAGE", b"two\nlines\n\nMESSAGE=no"));
        bytes.extend(binary("NOTHING", b""));
        bytes.extend(b"_PID=8\n_PID=9\n\n\n__CURSOR=s=1;i=4\nMESSAGE=cut off");
        for pieces in 1..=bytes.len() {
            let entries = entries(&bytes, pieces, 1000).expect("well-formed");
            assert_eq!(entries.len(), 2, "an entry that does not end is none");
            let [one, two] = &entries[..] else { panic!() };
            assert_eq!(one.cursor, "s=1;i=2");
            assert_eq!(
                (one.realtime, &one.message[..]),
                (1_700_000_000_000_001, &b"a = b"[..])
            );
            assert_eq!(field(one, "journald.pid"), Some(&b"7"[..]));
            assert_eq!(field(one, "journald.custom.empty"), Some(&b""[..]));
            assert_eq!(field(one, "journald.custom.own_thing"), Some(&b"x"[..]));
            assert_eq!(two.message, b"two\nlines\n\nMESSAGE=no");
            assert_eq!(
                field(two, "journald.pid"),
                Some(&b"8"[..]),
                "the first of several"
            );
            assert!(!one.truncated && !two.truncated);
        }
    }

    #[test]
    fn a_long_message_and_long_fields_are_cut_and_the_next_entry_is_whole() {
        let mut bytes = b"__CURSOR=c\nMESSAGE=0123456789abc\n".to_vec();
        bytes.extend(binary("MUCH", &vec![b'x'; MAX_FIELD_BYTES + 1]));
        for number in 0..MAX_FIELDS + 10 {
            bytes.extend(binary(&format!("F{number}"), &vec![b'y'; 2 << 10]));
        }
        bytes.extend(b"\n__CURSOR=d\nMESSAGE=0123456789\n\n");
        let entries = entries(&bytes, 4096, 10).expect("well-formed");
        assert_eq!(
            (&entries[0].message[..], entries[0].truncated),
            (&b"0123456789"[..], true)
        );
        assert_eq!(entries[0].fields[0].1.len(), MAX_FIELD_BYTES);
        assert!(entries[0].fields.len() < MAX_FIELDS);
        let bytes: usize = entries[0].fields.iter().map(|(_, value)| value.len()).sum();
        assert!(
            (MAX_ENTRY_BYTES - MAX_FIELD_BYTES..=MAX_ENTRY_BYTES).contains(&bytes),
            "{bytes}"
        );
        assert_eq!(
            (&entries[1].message[..], entries[1].truncated),
            (&b"0123456789"[..], false)
        );
    }

    #[test]
    fn what_is_not_the_format_is_said() {
        let long = vec![b'x'; MAX_NAME_BYTES + 1];
        let mut behind = binary("A", b"value");
        behind.pop();
        behind.push(b'!');
        for bytes in [&long[..], &behind, b"MESSAGE=no cursor\n\n"] {
            assert!(entries(bytes, 7, 10).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(bytes in proptest::collection::vec(
            prop_oneof![any::<u8>(), Just(b'\n'), Just(b'='), Just(0)], 0..300), pieces in 1..50_usize) {
            for entry in entries(&bytes, pieces, 20).unwrap_or_default() {
                prop_assert!(entry.message.len() <= 20);
            }
        }
    }
}
