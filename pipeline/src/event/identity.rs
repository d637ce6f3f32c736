//! Which line an event was made of: the same whenever the line comes again, and of no other line.
//!
//! An input sets it, from what its protocol tells; outputs make a document's id of it. It is no field:
//! filters neither see nor change it. A copy of an event ([`Event::copy_in`](super::Event::copy_in))
//! has none, because two documents of one id are one document; an event that is derived from another
//! ([`Event::derive_in`](super::Event::derive_in)) has one of its own, made of how many were derived
//! before it. So the same line through the same pipeline gives the same ids, however many events
//! it becomes.
//!
//! As text: the stream's name, then eight or (from 2^48 on) twelve characters of base64 for the
//! offset and eight for a hash of the content; then, for a derived event, `.` and eleven characters.
//! Ids of one stream begin alike and its offset can be read from them. An id that the sender gave
//! stands as it is.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The identity of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'b> {
    name: &'b [u8],
    place: Option<Place>,
    derived: u64,
    /// How many events were derived from this one.
    children: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    offset: u64,
    content: u64,
}

impl<'b> Identity<'b> {
    /// The line at `offset` of a stream, with a hash of its content: should a stream have another line at
    /// the same place after all (its end was not there yet when it was read first), it is another one.
    pub fn of_line(stream: &'b [u8], offset: u64, content: u64) -> Self {
        Self {
            name: stream,
            place: Some(Place { offset, content }),
            derived: 0,
            children: 0,
        }
    }

    /// What the sender says it is.
    pub fn given(id: &'b [u8]) -> Self {
        Self {
            name: id,
            place: None,
            derived: 0,
            children: 0,
        }
    }

    /// The identity of the next event that is made of this one.
    pub fn derive(&mut self) -> Self {
        self.children += 1;
        let mut child = *self;
        child.children = 0;
        // Never 0, which stands for an event that is not derived.
        child.derived = xxh3_64_with_seed(&self.children.to_le_bytes(), self.derived).max(1);
        child
    }

    /// The identity of the event where it goes one of several ways, each of which may store it.
    #[must_use]
    pub fn branch(self, name: &[u8]) -> Self {
        Self {
            derived: xxh3_64_with_seed(name, self.derived).max(1),
            children: 0,
            ..self
        }
    }

    /// Appends the id.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.name);
        if let Some(Place { offset, content }) = self.place {
            let digits = if offset >> 48 == 0 { 8 } else { 12 };
            push_base64(out, offset, digits);
            push_base64(out, content, 8);
        }
        if self.derived != 0 {
            out.push(b'.');
            push_base64(out, self.derived, 11);
        }
    }
}

/// Sixteen characters that stand for `parts` in this order.
pub fn stream_name(parts: &[&[u8]]) -> [u8; 16] {
    let (mut low, mut high) = (1, 2);
    for part in parts {
        // The length goes in by the hash's own definition, so parts cannot run into each other.
        low = xxh3_64_with_seed(part, low);
        high = xxh3_64_with_seed(part, high);
    }
    let mut name = [0; 16];
    write_base64(&mut name[..8], low);
    write_base64(&mut name[8..], high);
    name
}

/// The hash of a line's content, and of the host that it is of.
pub fn content_hash(host: &[u8], message: &[u8]) -> u64 {
    let seed = if host.is_empty() { 0 } else { xxh3_64(host) };
    xxh3_64_with_seed(message, seed)
}

fn push_base64(out: &mut Vec<u8>, number: u64, digits: usize) {
    let start = out.len();
    out.resize(start + digits, 0);
    write_base64(&mut out[start..], number);
}

/// The low bits of a number, six a character, the highest first.
fn write_base64(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = BASE64[(number & 63) as usize];
        number >>= 6;
    }
}

/// In the order of their bytes, so that ids of one stream lie in the order of its lines.
const BASE64: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn id(identity: &Identity<'_>) -> String {
        let mut out = Vec::new();
        identity.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn ids_tell_lines_apart_and_lie_in_their_order() {
        let stream = b"abcdefghijklmnop";
        let of = |offset, content| id(&Identity::of_line(stream, offset, content));
        assert_eq!(of(0, 0), "abcdefghijklmnop----------------");
        assert_eq!(of(64, 63), "abcdefghijklmnop------0--------z");
        assert_ne!(of(1, 5), of(1, 6));
        assert!(of(63, 9) < of(64, 8) && of(64, 8) < of(1 << 40, 7));
        assert_eq!(of(u64::MAX, 1).len(), 16 + 12 + 8);
        assert_eq!(id(&Identity::given(b"from a beat")), "from a beat");
    }

    #[test]
    fn what_is_derived_differs_at_every_depth_and_is_the_same_again() {
        let all = || {
            let mut ids = Vec::new();
            let mut root = Identity::of_line(b"s", 7, 8);
            for _ in 0..20 {
                let mut child = root.derive();
                for _ in 0..20 {
                    ids.push(id(&child.derive()));
                }
                ids.push(id(&child));
            }
            ids.push(id(&root));
            ids
        };
        let ids = all();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 421);
        assert_eq!(ids, all());
    }

    #[test]
    fn names_depend_on_every_part_and_where_it_ends() {
        let names = [
            stream_name(&[b"ab", b"c"]),
            stream_name(&[b"a", b"bc"]),
            stream_name(&[b"abc"]),
            stream_name(&[b"abc", b""]),
            stream_name(&[b"c", b"ab"]),
        ];
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    }
}
