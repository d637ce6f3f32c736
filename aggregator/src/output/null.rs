//! The `null` output: events end here, safe at once.

use skidder_pipeline::event::{Event, Timestamp};

use super::Writer;
use crate::ack::Ack;

/// Forgets events.
pub struct NullWriter;

impl Writer for NullWriter {
    fn write(&mut self, _event: &Event<'_>, _now: Timestamp, _ack: &Ack) {}

    fn flush(&mut self) {}
}
