//! The messages of RFC 1035, as far as a question for SRV records (RFC 2782) and its answer need them.
//!
//! INVARIANT: whatever the bytes, reading them ends (a pointer leads back, never on) and takes no more than
//! [`MAX_RECORDS`] records.

/// Records of one answer that are taken.
pub(super) const MAX_RECORDS: usize = 256;
/// What a name is long, at most, as text.
pub(super) const MAX_NAME_BYTES: usize = 253;
/// A message over UDP, without extensions.
pub(super) const MAX_UDP_BYTES: usize = 512;

const HEADER_BYTES: usize = 12;
const MAX_LABEL_BYTES: usize = 63;
const TYPE_SRV: u16 = 33;
const CLASS_IN: u16 = 1;
const FLAG_ANSWER: u16 = 0x8000;
const FLAG_TRUNCATED: u16 = 0x0200;
const FLAG_RECURSION_DESIRED: u16 = 0x0100;
const OPCODE: u16 = 0x7800;
const RCODE: u16 = 0x000f;
const NO_SUCH_NAME: u16 = 3;

/// One server of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The lower, the better.
    pub(super) priority: u16,
    /// The share among those of one priority.
    pub(super) weight: u16,
    /// Its port.
    pub(super) port: u16,
    /// Its name; empty if the service is not there on purpose.
    pub(super) target: String,
    /// How many seconds this holds.
    pub(super) ttl: u32,
}

/// What a name server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// These, at least one.
    Found(Vec<Record>),
    /// There is no such name, or it has no such records.
    Missing,
    /// It does not want to or cannot say; its code.
    Refused(u16),
    /// It does not fit, ask over TCP.
    Truncated,
}

/// Whether it can be asked for.
pub fn is_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let valid = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=MAX_LABEL_BYTES).contains(&label.len()) && label.bytes().all(allowed)
    };
    name.len() <= MAX_NAME_BYTES && name.split('.').all(valid)
}

/// The question for the SRV records of a name, for which [`is_name`] holds.
pub(super) fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_BYTES + name.len() + 6);
    for number in [id, FLAG_RECURSION_DESIRED, 1, 0, 0, 0] {
        message.extend(number.to_be_bytes());
    }
    for label in name.trim_end_matches('.').split('.') {
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.push(0);
    for number in [TYPE_SRV, CLASS_IN] {
        message.extend(number.to_be_bytes());
    }
    message
}

/// What a message says to that question; `None` if it is no answer to it.
///
/// An alias (CNAME) is followed by the name server, which has put the records of the other name behind it: all
/// SRV records of the answer count.
pub(super) fn reply(message: &[u8], id: u16, name: &str) -> Option<Reply> {
    let mut reader = Reader { message, at: 0 };
    let (got, flags) = (reader.number()?, reader.number()?);
    let (questions, answers) = (reader.number()?, reader.number()?);
    reader.skip(4)?;
    if got != id || flags & (FLAG_ANSWER | OPCODE) != FLAG_ANSWER || questions != 1 {
        return None;
    }
    let asked = reader.name()?;
    let same = asked.eq_ignore_ascii_case(name.trim_end_matches('.'));
    if !same || reader.number()? != TYPE_SRV || reader.number()? != CLASS_IN {
        return None;
    }
    if flags & FLAG_TRUNCATED != 0 {
        return Some(Reply::Truncated);
    }
    match flags & RCODE {
        0 => {}
        NO_SUCH_NAME => return Some(Reply::Missing),
        code => return Some(Reply::Refused(code)),
    }
    let mut records = Vec::new();
    for _ in 0..answers {
        if records.len() == MAX_RECORDS {
            break;
        }
        reader.name()?;
        let (kind, class) = (reader.number()?, reader.number()?);
        let ttl = u32::from(reader.number()?) << 16 | u32::from(reader.number()?);
        let length = usize::from(reader.number()?);
        let end = reader.at + length;
        if end > message.len() {
            return None;
        }
        if (kind, class) == (TYPE_SRV, CLASS_IN) {
            records.push(Record {
                priority: reader.number()?,
                weight: reader.number()?,
                port: reader.number()?,
                target: reader.name()?,
                // The highest bit is to be read as 0 (RFC 2181 §8).
                ttl: if ttl > i32::MAX as u32 { 0 } else { ttl },
            });
        }
        reader.at = end;
    }
    if records.is_empty() {
        return Some(Reply::Missing);
    }
    Some(Reply::Found(records))
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn number(&mut self) -> Option<u16> {
        let bytes = self.message.get(self.at..self.at + 2)?;
        self.at += 2;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at += bytes;
        (self.at <= self.message.len()).then_some(())
    }

    /// A name as text without the last dot; what is no letter of a host name makes it none.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        // Where the name began, or the last pointer led to: the next one has to lead further back.
        let (mut at, mut bound, mut after) = (self.at, self.at, None);
        loop {
            let length = usize::from(*self.message.get(at)?);
            match length {
                0 => {
                    self.at = after.unwrap_or(at + 1);
                    return Some(name);
                }
                1..=MAX_LABEL_BYTES => {
                    let label = self.message.get(at + 1..at + 1 + length)?;
                    if !name.is_empty() {
                        name.push('.');
                    }
                    let printable = label.iter().all(u8::is_ascii_graphic);
                    name.push_str(std::str::from_utf8(label).ok().filter(|_| printable)?);
                    if name.len() > MAX_NAME_BYTES {
                        return None;
                    }
                    at += 1 + length;
                }
                0xc0.. => {
                    let low = usize::from(*self.message.get(at + 1)?);
                    let target = (length & 0x3f) << 8 | low;
                    after.get_or_insert(at + 2);
                    if target >= bound {
                        return None;
                    }
                    (at, bound) = (target, target);
                }
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer with these flags and records, whose owner is a pointer to the question.
    fn answer(flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = question(7, "_beats._tcp.example.com");
        message[2..4].copy_from_slice(&(flags | FLAG_ANSWER).to_be_bytes());
        message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        for (kind, data) in records {
            message.extend([0xc0, 12]);
            message.extend(kind.to_be_bytes());
            message.extend([0, 1, 0, 0, 1, 44]);
            message.extend((data.len() as u16).to_be_bytes());
            message.extend_from_slice(data);
        }
        message
    }

    fn understood(message: &[u8]) -> Option<Reply> {
        reply(message, 7, "_Beats._tcp.example.com.")
    }

    #[test]
    fn records_are_read_with_and_without_pointers() {
        // `example.com` begins 24 bytes into the message.
        let message = answer(
            0,
            &[
                (5, &[0xc0, 12]),
                (33, b"\0\x01\0\x02\x13\xb3\x01a\xc0\x18"),
                (33, b"\0\0\0\0\0\x09\0"),
            ],
        );
        let record = |priority, weight, port, target: &str| Record {
            priority,
            weight,
            port,
            target: target.to_owned(),
            ttl: 300,
        };
        let expected = vec![record(1, 2, 5043, "a.example.com"), record(0, 0, 9, "")];
        assert_eq!(understood(&message), Some(Reply::Found(expected)));
        assert_eq!(understood(&answer(0, &[])), Some(Reply::Missing));
        assert_eq!(understood(&answer(3, &[])), Some(Reply::Missing));
        assert_eq!(understood(&answer(5, &[])), Some(Reply::Refused(5)));
        assert_eq!(understood(&answer(0x0200, &[])), Some(Reply::Truncated));
    }

    #[test]
    fn what_answers_something_else_is_no_answer() {
        let good = answer(0, &[]);
        assert_eq!(reply(&good, 8, "_beats._tcp.example.com"), None);
        assert_eq!(reply(&good, 7, "_beats._tcp.example.org"), None);
        assert_eq!(understood(&question(7, "_beats._tcp.example.com")), None);
        // A pointer to itself, and one that leads on.
        for pointer in [41, 60] {
            let mut data = b"\0\0\0\0\0\x09\xc0\0".to_vec();
            data[7] = pointer + 18;
            let message = answer(0, &[(33, &data)]);
            assert_eq!(understood(&message), None, "{pointer}");
        }
        for length in 0..good.len() {
            assert_eq!(understood(&good[..length]), None, "{length}");
        }
    }

    #[test]
    fn names_that_can_be_asked_for() {
        for good in ["_beats._tcp.example.com", "a.", "_a-b._tcp.x"] {
            assert!(is_name(good), "{good}");
        }
        let long = "a".repeat(64);
        let many = "a.".repeat(130);
        for wrong in ["", ".", "a..b", ".a", "a b", "ü.example", &long, &many] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_message_makes_it_fail(at in 0_usize..80, bytes: Vec<u8>) {
            let mut message = answer(0, &[(33, b"\0\x01\0\x02\x13\xb3\x01a\xc0\x18")]);
            let at = at.min(message.len());
            message.splice(at.., bytes);
            drop(understood(&message));
        }
    }
}
