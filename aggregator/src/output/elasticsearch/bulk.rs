//! The pieces of a bulk request: one action line, its document, and whose acknowledgement it is.
//!
//! A [`BulkRequest`] holds complete NDJSON and where each item lies in it, so that the items a
//! server refused can be sent again, dead-lettered, or split off without building them anew.
//!
//! INVARIANT: items lie one after the other, without gaps, in the order in which the events came;
//! the run lengths in `acks` add up to the number of items.

use std::ops::Range;

use crate::ack::Ack;

/// What is to be done with one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionKind {
    /// Store the document, replacing one with the same id.
    Index,
    /// Store the document unless one with the same id is there.
    Create,
    /// Change parts of a stored document.
    Update,
    /// Remove a stored document.
    Delete,
}

impl ActionKind {
    /// The kind with the name used in configurations and on the wire, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "index" => Some(Self::Index),
            "create" => Some(Self::Create),
            "update" => Some(Self::Update),
            "delete" => Some(Self::Delete),
            _ => None,
        }
    }

    /// The name used in configurations and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// Everything the action line of one item says; all text is already interpolated.
#[derive(Clone, Copy, Debug)]
pub struct Action<'a> {
    /// What is to be done.
    pub kind: ActionKind,
    /// The index, alias or data stream.
    pub index: &'a str,
    /// `_id`; chosen by the server when absent or empty.
    pub id: Option<&'a str>,
    /// Whether the id is made of the event's identity.
    pub own_id: bool,
    /// `routing`; not sent when absent or empty.
    pub routing: Option<&'a str>,
    /// The ingest pipeline; not sent when absent or empty.
    pub pipeline: Option<&'a str>,
    /// `version`; not sent when absent or empty.
    pub version: Option<&'a str>,
    /// `version_type`; not sent when absent or empty.
    pub version_type: Option<&'a str>,
    /// `_type`, for servers of generation 7 and older; not sent when absent or empty.
    pub document_type: Option<&'a str>,
    /// How an update treats a missing document; ignored by the other actions.
    pub update: Update<'a>,
}

impl<'a> Action<'a> {
    /// An action of `kind` on `index` with nothing else set.
    pub fn new(kind: ActionKind, index: &'a str) -> Self {
        Self {
            kind,
            index,
            id: None,
            own_id: false,
            routing: None,
            pipeline: None,
            version: None,
            version_type: None,
            document_type: None,
            update: Update::default(),
        }
    }
}

/// What an update says besides the changed fields.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// How often the server itself tries again after a version conflict.
    pub retry_on_conflict: u32,
    /// Store the changed fields as a new document when there is none.
    pub document_as_upsert: bool,
    /// The document, as JSON, to store when there is none.
    pub upsert: Option<&'a str>,
}

impl Default for Update<'_> {
    fn default() -> Self {
        Self {
            retry_on_conflict: 1,
            document_as_upsert: false,
            upsert: None,
        }
    }
}

/// Where one item lies in the body of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// First byte of the action line.
    pub start: usize,
    /// First byte of the document; the same as `end` when there is none.
    pub document: usize,
    /// One past the newline that ends the item.
    pub end: usize,
    /// What is to be done with it.
    pub kind: ActionKind,
    /// Whether its id is made of the event's identity: then a document with that id is this one.
    pub own_id: bool,
}

impl Item {
    /// The item's bytes in the body, newlines included.
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// The action line without its newline.
    pub fn action_line<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        trim_newline(&body[self.start..self.document])
    }

    /// The document line without its newline; empty for a delete.
    pub fn document_line<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        trim_newline(&body[self.document..self.end])
    }
}

/// A complete request: its body and what is needed to account for each item.
#[derive(Debug, Default)]
pub struct BulkRequest {
    /// NDJSON, uncompressed, ending in a newline.
    pub body: Vec<u8>,
    /// The items in the order in which they lie in the body.
    pub items: Vec<Item>,
    /// Whose acknowledgement the items count for, as runs in item order.
    pub acks: Vec<(Ack, u32)>,
}

/// Walks the acknowledgements of a request item by item, in order.
pub(super) struct AckCursor<'a> {
    runs: &'a [(Ack, u32)],
    run: usize,
    used: u32,
}

impl<'a> AckCursor<'a> {
    pub(super) fn new(runs: &'a [(Ack, u32)]) -> Self {
        Self {
            runs,
            run: 0,
            used: 0,
        }
    }

    /// The index of the run that the next item belongs to.
    ///
    /// Stays on the last run when the run lengths are short of the items, which is a defect.
    pub(super) fn next_run(&mut self) -> usize {
        while self.run + 1 < self.runs.len() && self.used >= self.runs[self.run].1 {
            self.run += 1;
            self.used = 0;
        }
        debug_assert!(
            self.runs
                .get(self.run)
                .is_some_and(|(_, length)| self.used < *length),
            "more items than acknowledgements"
        );
        self.used += 1;
        self.run
    }
}

/// The index that an action line names; nothing for a name that is no index's.
pub(super) fn index_of(action: &[u8]) -> Option<&str> {
    const MEMBER: &[u8] = b"\"_index\":\"";
    let at = memchr::memmem::find(action, MEMBER)? + MEMBER.len();
    let name = &action[at..];
    let name = &name[..memchr::memchr(b'"', name)?];
    std::str::from_utf8(name)
        .ok()
        .filter(|name| !name.is_empty() && !name.contains('\\'))
}

fn trim_newline(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_kinds_agree() {
        for kind in [
            ActionKind::Index,
            ActionKind::Create,
            ActionKind::Update,
            ActionKind::Delete,
        ] {
            assert_eq!(ActionKind::parse(kind.name()), Some(kind));
        }
        assert_eq!(ActionKind::parse("Index"), None);
        assert_eq!(ActionKind::parse("upsert"), None);
    }

    #[test]
    fn the_cursor_follows_the_runs() {
        let ack = Ack::ignored();
        let runs = vec![
            (ack.clone(), 2),
            (ack.clone(), 0),
            (ack.clone(), 3),
            (ack, 1),
        ];
        let mut cursor = AckCursor::new(&runs);
        let walked: Vec<usize> = (0..6).map(|_| cursor.next_run()).collect();
        assert_eq!(walked, [0, 0, 2, 2, 2, 3]);
    }
}
