//! What the decoder hands on: windows of events, whose payloads are slices of shared memory.
//!
//! INVARIANT: [`Pairs`] are checked when their frame is decoded, so reading them cannot fail.
//! The memory of a payload stays reserved in the [`crate::ByteBudget`] until the last slice of
//! its chunk is dropped.

use bytes::Bytes;

use crate::{Version, budget::Reservation, native::Line, version::read_u32};

/// A window: the unit that a peer sends and has acknowledged.
#[derive(Debug)]
#[non_exhaustive]
pub struct Window {
    /// The version that its frames were of.
    pub version: Version,
    /// Its events, in the order of the wire. Empty only for a window of size 0.
    pub events: Vec<Event>,
    /// How many events the peer announced; more than came if it began another window early.
    pub announced: u32,
    /// Payload bytes of all events together.
    pub payload_bytes: usize,
    /// The memory of `events` itself.
    pub(crate) hold: Option<Reservation>,
}

impl Window {
    /// The sequence number to acknowledge when all of the window is safe.
    ///
    /// COMPAT: that of the last event, which is right for peers that count events of a window
    /// from 1 as well as for those whose numbers run on.
    pub fn last_sequence(&self) -> u32 {
        self.events.last().map_or(0, |event| event.sequence)
    }

    /// Whether the sequence numbers are those of consecutive events.
    pub(crate) fn is_consecutive(&self) -> bool {
        self.events
            .windows(2)
            .all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1))
    }
}

/// One event of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its sequence number, as the peer gave it.
    pub sequence: u32,
    /// What it carries.
    pub payload: Payload,
}

/// What an event carries, by the type of its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A `D` frame: keys and values, not necessarily UTF-8, keys possibly repeated.
    Pairs(Pairs),
    /// A `J` frame: JSON text, which is not looked at here.
    ///
    /// COMPAT: some senders put an array of events into one frame. It has one sequence number,
    /// and so is one event of the window.
    Json(Bytes),
    /// A line of the native framing.
    Line(Line),
}

/// The key-value pairs of a `D` frame, in the order of the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairs {
    count: u32,
    body: Bytes,
}

impl Pairs {
    /// `body` must hold exactly `count` pairs, as the decoder has checked.
    pub(crate) fn new(count: u32, body: Bytes) -> Self {
        Self { count, body }
    }

    /// `count` pairs that were kept as their [`Pairs::body`]; nothing if the bytes are not just
    /// that many.
    pub fn from_body(count: u32, body: Bytes) -> Option<Self> {
        let mut rest = PairsIter {
            remaining: count,
            rest: &body,
        };
        let whole = rest.by_ref().count() == count as usize && rest.rest.is_empty();
        whole.then(|| Self { count, body })
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The pairs as borrowed slices. `body().slice_ref(value)` makes one that owns its memory.
    pub fn iter(&self) -> PairsIter<'_> {
        PairsIter {
            remaining: self.count,
            rest: &self.body,
        }
    }

    /// The value of the first pair of this key.
    pub fn find(&self, key: &[u8]) -> Option<&[u8]> {
        self.iter()
            .find_map(|(name, value)| (name == key).then_some(value))
    }

    /// The bytes that all keys and values are slices of.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

impl<'a> IntoIterator for &'a Pairs {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = PairsIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Iterator over [`Pairs`].
#[derive(Clone, Debug)]
pub struct PairsIter<'a> {
    remaining: u32,
    rest: &'a [u8],
}

impl<'a> PairsIter<'a> {
    fn field(&mut self) -> Option<&'a [u8]> {
        let length = read_u32(self.rest, 0)? as usize;
        let (field, rest) = self.rest.get(4..)?.split_at_checked(length)?;
        self.rest = rest;
        Some(field)
    }
}

impl<'a> Iterator for PairsIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        Some((self.field()?, self.field()?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining as usize, Some(self.remaining as usize))
    }
}

impl ExactSizeIterator for PairsIter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_made_only_of_bytes_that_hold_them() {
        let body = Bytes::from_static(b"\0\0\0\x01a\0\0\0\x02bc\0\0\0\0\0\0\0\x01d");
        let pairs = Pairs::from_body(2, body.clone()).unwrap();
        let all: Vec<_> = pairs.iter().collect();
        assert_eq!(all, [(&b"a"[..], &b"bc"[..]), (b"", b"d")]);
        for count in [0, 1, 3, u32::MAX] {
            assert_eq!(Pairs::from_body(count, body.clone()), None, "{count}");
        }
        for length in 0..body.len() {
            assert_eq!(Pairs::from_body(2, body.slice(..length)), None, "{length}");
        }
        assert!(Pairs::from_body(0, Bytes::new()).unwrap().is_empty());
    }
}
