//! Gathers events that leave their worker packed, with a hold on the acknowledgement of each batch that they are of.

use bytes::Bytes;
use skidder_pipeline::event::{Event, Timestamp};

use super::Writer;
use crate::ack::Ack;
use crate::queue::packed::pack;

/// Bytes that are sent in the middle of a batch.
const BUFFER_BYTES: usize = 512 << 10;

/// Where it goes.
pub(super) trait Destination: Send {
    /// Takes what was gathered; blocks while there is no room.
    fn send(&mut self, packed: Packed);
}

/// A worker's end of an output that takes events packed.
pub(super) struct PackingWriter<D> {
    packing: Packing,
    destination: D,
}

impl<D: Destination> PackingWriter<D> {
    pub(super) fn new(destination: D) -> Self {
        Self {
            packing: Packing::default(),
            destination,
        }
    }

    fn send(&mut self) {
        if let Some(packed) = self.packing.take() {
            self.destination.send(packed);
        }
    }
}

impl<D: Destination> Writer for PackingWriter<D> {
    fn write(&mut self, event: &Event<'_>, _now: Timestamp, ack: &Ack) {
        if self.packing.add(event, ack) {
            self.send();
        }
    }

    fn end_of_batch(&mut self) {
        self.send();
    }

    fn flush(&mut self) {
        self.send();
    }
}

/// What is being gathered.
#[derive(Default)]
struct Packing {
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
    fn add(&mut self, event: &Event<'_>, ack: &Ack) -> bool {
        pack(event, &mut self.buffer);
        self.events += 1;
        if !self.acks.last().is_some_and(|last| last.is(ack)) {
            ack.hold(1);
            self.acks.push(ack.clone());
        }
        self.buffer.len() >= BUFFER_BYTES
    }

    /// What there is, if there is anything.
    fn take(&mut self) -> Option<Packed> {
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
