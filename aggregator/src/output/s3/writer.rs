//! A worker's end of the output: encodes events and adds them to objects.

use std::sync::Arc;

use skidder_pipeline::event::{Event, Timestamp};

use super::delivery::Objects;
use super::object::{Position, partition};
use super::options::S3Options;
use super::row::{Record, Row};
use crate::ack::Ack;
use crate::output::Writer;

/// Adds events to objects.
pub(in crate::output) struct ObjectWriter {
    objects: Objects,
    options: Arc<S3Options>,
    /// Where the event at hand stands in the queue.
    position: Position,
    encoded: Vec<u8>,
    row: Row,
    /// The filled prefix of the event at hand, and what became of that of the one before.
    filled: Vec<u8>,
    prefix: Vec<u8>,
    partition: String,
}

impl ObjectWriter {
    /// A writer that adds to `objects`.
    pub(in crate::output) fn new(objects: Objects) -> Self {
        Self {
            options: Arc::clone(objects.options()),
            objects,
            position: Position::default(),
            encoded: Vec::new(),
            row: Row::default(),
            filled: Vec::new(),
            prefix: Vec::new(),
            partition: String::new(),
        }
    }
}

impl Writer for ObjectWriter {
    fn write(&mut self, event: &Event<'_>, now: Timestamp, ack: &Ack) {
        let record = ack.record().unwrap_or_default();
        if record == self.position.record {
            self.position.event += 1;
        } else {
            self.position = Position { record, event: 0 };
        }
        self.filled.clear();
        self.options.prefix.write(event, now, &mut self.filled);
        if self.filled != self.prefix {
            self.partition = partition(&self.filled);
            std::mem::swap(&mut self.filled, &mut self.prefix);
        }
        let again = || {
            let mut row = Row::default();
            self.options.columns.read(event, &mut row);
            row
        };
        let record = if self.options.encoding.has_columns() {
            self.options.columns.read(event, &mut self.row);
            Record::Row(&self.row)
        } else {
            self.encoded.clear();
            self.options.codec.encode(event, &mut self.encoded);
            Record::Text(&self.encoded, &again)
        };
        let time = || {
            let mut time = Vec::new();
            self.options.name_time.write(event, now, &mut time);
            String::from_utf8_lossy(&time).into_owned()
        };
        self.objects
            .add(self.position, &self.partition, record, ack, time);
    }

    fn flush(&mut self) {
        // Objects are closed by their size and their time, not by pauses.
    }
}
