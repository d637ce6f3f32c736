//! Gathers events that leave their worker packed, with a hold on the acknowledgement of each batch that they are of.

use bytes::Bytes;
use skidder_pipeline::event::Event;

use crate::ack::Ack;
use crate::queue::packed::pack;

/// Bytes that are sent in the middle of a batch.
const BUFFER_BYTES: usize = 512 << 10;

/// What is being gathered.
#[derive(Default)]
pub(super) struct Packing {
    buffer: Vec<u8>,
    events: u32,
    acks: Vec<Ack>,
}

/// What was gathered.
pub(super) struct Packed {
    /// The events.
    pub(super) bytes: Bytes,
    /// Their number.
    pub(super) events: u32,
    /// One hold on each.
    pub(super) acks: Vec<Ack>,
}

impl Packing {
    /// Adds an event; true if it is time to send.
    pub(super) fn add(&mut self, event: &Event<'_>, ack: &Ack) -> bool {
        pack(event, &mut self.buffer);
        self.events += 1;
        if !self.acks.last().is_some_and(|last| last.is(ack)) {
            ack.hold(1);
            self.acks.push(ack.clone());
        }
        self.buffer.len() >= BUFFER_BYTES
    }

    /// What there is, if there is anything.
    pub(super) fn take(&mut self) -> Option<Packed> {
        if self.events == 0 {
            return None;
        }
        let length = self.buffer.len();
        let bytes = Bytes::from(std::mem::take(&mut self.buffer));
        // The next batch is probably like this one.
        self.buffer.reserve(length.min(BUFFER_BYTES));
        Some(Packed {
            bytes,
            events: std::mem::take(&mut self.events),
            acks: std::mem::take(&mut self.acks),
        })
    }
}
