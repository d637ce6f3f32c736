//! Messages of DNS (RFC 1035): what is asked, and what an answer says. Bytes only.
//!
//! ```text
//! id 16 | flags 16 | questions 16 | answers 16 | authorities 16 | others 16
//! question: name, type 16, class 16
//! record:   name, type 16, class 16, seconds 32, length 16, data
//! name:     labels (length 8, bytes), then 0, or a pointer (11 and 14 bits) to an earlier place
//! ```
//!
//! INVARIANT: reading takes time linear in the message: names are bounded in length, pointers only go back,
//! and no more than [`MAX_RECORDS`] records are looked at. Nothing in an answer is trusted but what
//! belongs to the question.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest message over UDP that is asked for and read. Longer ones come over TCP.
pub const MAX_UDP_BYTES: usize = 4096;
/// How many records of an answer are looked at.
const MAX_RECORDS: usize = 200;
/// The longest name, dots included.
pub const MAX_NAME_BYTES: usize = 253;
/// How many aliases are followed.
const MAX_ALIASES: usize = 16;

const CLASS_INTERNET: u16 = 1;
const TYPE_ALIAS: u16 = 5;
const HEADER_BYTES: usize = 12;

/// What kind of record is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordType {
    /// An address of version 4.
    A,
    /// An address of version 6.
    Aaaa,
    /// A name.
    Ptr,
}

impl RecordType {
    fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Ptr => 12,
        }
    }
}

/// What a name server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The first record of the kind, as a text.
    Found(Box<str>),
    /// There is none.
    Missing,
    /// The answer is longer than a datagram: ask again over TCP.
    Truncated,
    /// The server cannot or will not say.
    Refused,
}

/// A question as a message. Nothing if the name cannot be one.
pub fn question(id: u16, name: &str, kind: RecordType) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(HEADER_BYTES + name.len() + 6);
    out.extend_from_slice(&id.to_be_bytes());
    // Recursion desired; one question.
    out.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return None;
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&kind.number().to_be_bytes());
    out.extend_from_slice(&CLASS_INTERNET.to_be_bytes());
    Some(out)
}

/// Reads the answer to a question. Nothing if it is none, or none to this one: it may be forged,
/// and the right one may still come.
pub fn reply(message: &[u8], id: u16, name: &str, kind: RecordType) -> Option<Reply> {
    let mut reader = Reader { message, at: 0 };
    let answered = reader.number()?;
    let flags = reader.number()?;
    let questions = reader.number()?;
    let answers = reader.number()?;
    reader.number()?;
    reader.number()?;
    let is_answer = flags & 0x8000 != 0 && flags & 0x7800 == 0;
    if answered != id || !is_answer || questions != 1 {
        return None;
    }
    let asked = name.strip_suffix('.').unwrap_or(name);
    if !reader.name()?.eq_ignore_ascii_case(asked)
        || reader.number()? != kind.number()
        || reader.number()? != CLASS_INTERNET
    {
        return None;
    }
    if flags & 0x0200 != 0 {
        return Some(Reply::Truncated);
    }
    match flags & 0xf {
        0 => {}
        3 => return Some(Reply::Missing),
        _ => return Some(Reply::Refused),
    }
    let mut found = Vec::new();
    let mut aliases = Vec::new();
    for _ in 0..usize::from(answers).min(MAX_RECORDS) {
        let owner = reader.name()?;
        let record = reader.number()?;
        let class = reader.number()?;
        reader.skip(4)?;
        let length = usize::from(reader.number()?);
        let start = reader.at;
        let data = message.get(start..start.checked_add(length)?)?;
        if class == CLASS_INTERNET && record == TYPE_ALIAS {
            aliases.push((owner, reader.name()?));
        } else if class == CLASS_INTERNET && record == kind.number() {
            let text = match kind {
                RecordType::A => {
                    let bytes: [u8; 4] = data.try_into().ok()?;
                    Ipv4Addr::from(bytes).to_string()
                }
                RecordType::Aaaa => {
                    let bytes: [u8; 16] = data.try_into().ok()?;
                    Ipv6Addr::from(bytes).to_string()
                }
                RecordType::Ptr => reader.name()?,
            };
            // The root is no name of a host.
            if !text.is_empty() {
                found.push((owner, text));
            }
        }
        reader.at = start + length;
    }
    let mut current = asked.to_owned();
    for _ in 0..=MAX_ALIASES {
        let is_it = |owner: &String| owner.eq_ignore_ascii_case(&current);
        if let Some((_, text)) = found.iter().find(|(owner, _)| is_it(owner)) {
            return Some(Reply::Found(text.as_str().into()));
        }
        let Some((_, target)) = aliases.iter().find(|(owner, _)| is_it(owner)) else {
            break;
        };
        current.clone_from(target);
    }
    Some(Reply::Missing)
}

/// The name that an address is asked by.
pub fn reverse_name(address: IpAddr) -> String {
    use std::fmt::Write as _;
    let mut name = String::with_capacity(73);
    // Writing to memory does not fail.
    let written = match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            write!(name, "{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => address
            .octets()
            .iter()
            .rev()
            .try_for_each(|byte| write!(name, "{:x}.{:x}.", byte & 0xf, byte >> 4))
            .and_then(|()| name.write_str("ip6.arpa")),
    };
    written.unwrap_or_default();
    name
}

struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl Reader<'_> {
    fn number(&mut self) -> Option<u16> {
        let bytes = self.message.get(self.at..self.at + 2)?;
        self.at += 2;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count)?;
        (self.at <= self.message.len()).then_some(())
    }

    /// A name, and on behind it.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut at = self.at;
        // Where a pointer may lead: only before the place of the last one.
        let mut limit = self.at;
        let mut behind = None;
        loop {
            let length = *self.message.get(at)?;
            match length {
                0 => break,
                1..=63 => {
                    let label = self.message.get(at + 1..at + 1 + usize::from(length))?;
                    if !name.is_empty() {
                        name.push('.');
                    }
                    push_label(&mut name, label);
                    if name.len() > 4 * MAX_NAME_BYTES {
                        return None;
                    }
                    at += 1 + usize::from(length);
                }
                0xc0.. => {
                    let low = *self.message.get(at + 1)?;
                    let target = usize::from(length & 0x3f) << 8 | usize::from(low);
                    if target >= limit {
                        return None;
                    }
                    behind.get_or_insert(at + 2);
                    (at, limit) = (target, target);
                }
                _ => return None,
            }
        }
        self.at = behind.unwrap_or(at + 1);
        Some(name)
    }
}

/// A label as it is written: what is no plain sign as `\DDD`, so that no answer can smuggle anything in.
fn push_label(name: &mut String, label: &[u8]) {
    use std::fmt::Write as _;
    for byte in label {
        if byte.is_ascii_graphic() && !matches!(byte, b'.' | b'\\') {
            name.push(char::from(*byte));
        } else {
            // Writing to memory does not fail.
            write!(name, "\\{byte:03}").unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer to `a.example` with these records: name, type, data.
    fn answer(flags: u16, records: &[(&[u8], u16, &[u8])]) -> Vec<u8> {
        let mut out = question(7, "a.example", RecordType::A).unwrap();
        out[2..4].copy_from_slice(&flags.to_be_bytes());
        out[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        for (name, kind, data) in records {
            out.extend_from_slice(name);
            out.extend_from_slice(&kind.to_be_bytes());
            out.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
            out.extend_from_slice(&(data.len() as u16).to_be_bytes());
            out.extend_from_slice(data);
        }
        out
    }

    fn read(message: &[u8]) -> Option<Reply> {
        reply(message, 7, "A.example", RecordType::A)
    }

    const SELF: &[u8] = &[0xc0, 12];

    #[test]
    fn answers_are_read() {
        let found = |text: &str| Some(Reply::Found(text.into()));
        assert_eq!(
            read(&answer(0x8180, &[(SELF, 1, &[192, 0, 2, 1])])),
            found("192.0.2.1")
        );
        // By an alias, in any order; what belongs to another name does not count.
        let other = b"\x01b\x07example\x00";
        assert_eq!(
            read(&answer(
                0x8180,
                &[
                    (b"\x01c\x00", 1, &[9, 9, 9, 9]),
                    (other, 1, &[192, 0, 2, 2]),
                    (SELF, 5, other)
                ]
            )),
            found("192.0.2.2")
        );
        assert_eq!(
            read(&answer(0x8180, &[(b"\x01c\x00", 1, &[9, 9, 9, 9])])),
            Some(Reply::Missing)
        );
        assert_eq!(read(&answer(0x8183, &[])), Some(Reply::Missing));
        assert_eq!(read(&answer(0x8180, &[])), Some(Reply::Missing));
        assert_eq!(read(&answer(0x8182, &[])), Some(Reply::Refused));
        assert_eq!(read(&answer(0x8380, &[])), Some(Reply::Truncated));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let good = answer(0x8180, &[(SELF, 1, &[192, 0, 2, 1])]);
        assert_eq!(
            reply(&good, 8, "a.example", RecordType::A),
            None,
            "another id"
        );
        assert_eq!(
            reply(&good, 7, "b.example", RecordType::A),
            None,
            "another name"
        );
        assert_eq!(
            reply(&good, 7, "a.example", RecordType::Aaaa),
            None,
            "another type"
        );
        assert_eq!(read(&answer(0x0100, &[])), None, "a question");
        for length in 0..good.len() {
            assert_eq!(read(&good[..length]), None, "{length} bytes of it");
        }
        assert_eq!(
            read(&answer(0x8180, &[(SELF, 1, &[1, 2, 3])])),
            None,
            "three bytes"
        );
        // A pointer to itself, and one that goes on.
        let here = (good.len() - 16) as u8;
        assert_eq!(
            read(&answer(0x8180, &[(&[0xc0, here], 1, &[1, 2, 3, 4])])),
            None
        );
        assert_eq!(read(&answer(0x8180, &[(SELF, 5, &[0xc0, 200])])), None);
        // Two aliases in a circle.
        let other = b"\x01b\x07example\x00";
        let circle = answer(0x8180, &[(SELF, 5, other), (other, 5, SELF)]);
        assert_eq!(read(&circle), Some(Reply::Missing));
    }

    #[test]
    fn names() {
        let reversed = |text: &str| reverse_name(text.parse().unwrap());
        assert_eq!(reversed("192.0.2.17"), "17.2.0.192.in-addr.arpa");
        assert_eq!(
            reversed("2001:db8::1"),
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
        for bad in ["", ".", "a..b", &"x".repeat(64), &"abc.".repeat(80)] {
            assert!(question(1, bad, RecordType::A).is_none(), "{bad}");
        }
        let mut name = String::new();
        push_label(&mut name, b"a.\n\xff\\b");
        assert_eq!(name, "a\\046\\010\\255\\092b");
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), name in "[a-z.]{0,20}") {
            let mut message = question(7, "a.example", RecordType::Ptr).unwrap();
            message[2] = 0x81;
            message[7] = bytes.first().copied().unwrap_or(1);
            message.extend_from_slice(&bytes);
            // Whether they are an answer or not.
            let _reply = reply(&message, 7, "a.example", RecordType::Ptr);
            let _reply = reply(&bytes, 7, &name, RecordType::A);
        }
    }
}
