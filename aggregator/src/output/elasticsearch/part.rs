//! Items that are sent together, and what is left of them after an attempt.
//!
//! INVARIANT: whatever is split off or kept, the items stay in the order of the events, and each stays
//! with its acknowledgement.

use std::time::Duration;

use bumpalo::Bump;
use bytes::Bytes;
use skidder_pipeline::event::Object;
use tokio::time::Instant;

use super::bulk::Item;
use super::client::WireBody;
use super::mapping::{Moved, rewrite};
use super::with_type::write_with_type;
use super::without_id::write_without_id;
use crate::ack::Ack;
use crate::backoff::Backoff;

/// Items that are sent together.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) body: Bytes,
    pub(super) items: Vec<Item>,
    pub(super) acks: Vec<(Ack, u32)>,
    /// The body as it goes over the wire, kept for the next attempt.
    pub(super) wire: Option<WireBody>,
    pub(super) backoff: Backoff,
    pub(super) not_before: Instant,
    /// How often in a row it was refused as a whole because the server was busy.
    pub(super) refusals: u32,
    /// It is half of a part of this size that was always refused like that.
    pub(super) half_of: Option<usize>,
    /// Its items wait for an index that is blocked, or not there for now.
    pub(super) is_blocked: bool,
}

impl Part {
    pub(super) fn new(
        body: Bytes,
        items: Vec<Item>,
        acks: Vec<(Ack, u32)>,
        backoff: Backoff,
    ) -> Self {
        Self {
            body,
            items,
            acks,
            wire: None,
            backoff,
            not_before: Instant::now(),
            refusals: 0,
            half_of: None,
            is_blocked: false,
        }
    }

    /// The same part, to be sent again after a while; a server's own wish is respected.
    pub(super) fn later(mut self, wish: Option<Duration>, longest: Duration) -> Vec<Self> {
        let wait = self
            .backoff
            .next_wait()
            .max(wish.unwrap_or_default().min(longest));
        self.not_before = Instant::now() + wait;
        vec![self]
    }

    /// Gives a type to each item that has none; false if all have one.
    pub(super) fn add_types(&mut self) -> bool {
        let mut body = Vec::with_capacity(self.body.len() + self.items.len() * 16);
        let mut changed = false;
        for item in &mut self.items {
            let (typed, given) = write_with_type(item, &self.body, &mut body);
            *item = typed;
            changed |= given;
        }
        self.body = body.into();
        self.wire = None;
        changed
    }

    /// Two parts of about the same size that are sent at once. The part must have more than one item.
    pub(super) fn halves(self) -> Vec<Self> {
        let middle = self.body.len() / 2;
        let split = self.items.partition_point(|item| item.start < middle);
        let split = split.clamp(1, self.items.len() - 1);
        let at = self.items[split].start;
        let mut backoff = self.backoff;
        backoff.reset();

        let mut first_acks = self.acks;
        let mut second_acks = Vec::new();
        let mut left = split as u32;
        let mut run = 0;
        while run < first_acks.len() && first_acks[run].1 <= left {
            left -= first_acks[run].1;
            run += 1;
        }
        if run < first_acks.len() {
            second_acks = first_acks.split_off(run);
            if left > 0 {
                first_acks.push((second_acks[0].0.clone(), left));
                second_acks[0].1 -= left;
            }
        }
        let mut first_items = self.items;
        let second_items = first_items
            .split_off(split)
            .into_iter()
            .map(|item| moved(item, item.start - at))
            .collect();
        let mut first = Self::new(self.body.slice(..at), first_items, first_acks, backoff);
        let mut second = Self::new(self.body.slice(at..), second_items, second_acks, backoff);
        // Both take the place of this part in the order of the parts.
        first.not_before = self.not_before;
        second.not_before = self.not_before;
        (first.is_blocked, second.is_blocked) = (self.is_blocked, self.is_blocked);
        vec![first, second]
    }
}

/// The part whose turn is next; of several, the one with the older events.
pub(super) fn earliest(parts: &[Part]) -> Option<(usize, Instant)> {
    parts
        .iter()
        .enumerate()
        .map(|(position, part)| (position, part.not_before))
        .min_by_key(|(position, not_before)| (*not_before, *position))
}

/// Items of a part that are kept for another attempt.
#[derive(Debug, Default)]
pub(super) struct Kept {
    body: Vec<u8>,
    pub(super) items: Vec<Item>,
    acks: Vec<(Ack, u32)>,
    last_run: Option<usize>,
}

impl Kept {
    /// Keeps an item of `part` that counts for the acknowledgement number `run`.
    pub(super) fn keep(&mut self, item: &Item, part: &Part, run: usize) {
        let start = self.body.len();
        self.body.extend_from_slice(&part.body[item.range()]);
        self.items.push(moved(*item, start));
        self.count(part, run);
    }

    /// The same, with its id in the document.
    pub(super) fn keep_without_id(&mut self, item: &Item, part: &Part, run: usize) {
        let item = write_without_id(item, &part.body, &mut self.body);
        self.items.push(item);
        self.count(part, run);
    }

    /// The same, with its document changed; nothing is kept if `change` moves nothing.
    pub(super) fn keep_changed(
        &mut self,
        item: &Item,
        part: &Part,
        run: usize,
        change: impl for<'b> FnOnce(&mut Object<'b>, &'b Bump) -> Moved,
    ) -> Option<Moved> {
        let (item, moved) = rewrite(item, &part.body, &mut self.body, change)?;
        self.items.push(item);
        self.count(part, run);
        Some(moved)
    }

    fn count(&mut self, part: &Part, run: usize) {
        match self.acks.last_mut() {
            Some((_, length)) if self.last_run == Some(run) => *length += 1,
            _ => self.acks.push((part.acks[run].0.clone(), 1)),
        }
        self.last_run = Some(run);
    }

    /// What was kept as a part, to be sent after a while; nothing if nothing was.
    pub(super) fn into_parts(
        self,
        backoff: Backoff,
        is_blocked: bool,
        longest: Duration,
    ) -> Vec<Part> {
        if self.items.is_empty() {
            return Vec::new();
        }
        let mut part = Part::new(self.body.into(), self.items, self.acks, backoff);
        part.is_blocked = is_blocked;
        part.later(None, longest)
    }
}

/// The item as it is when it begins at `start`.
fn moved(item: Item, start: usize) -> Item {
    Item {
        start,
        document: start + (item.document - item.start),
        end: start + (item.end - item.start),
        ..item
    }
}
