//! The `stdout` output: events as text on standard output.
//!
//! Each worker encodes into a buffer of its own and writes it at the end of a batch, whole, so
//! that lines of two workers never mix. Events are safe when they are written. COMPAT: the
//! default codec is `rubydebug`.

use std::io::Write as _;
use std::sync::Arc;

use skidder_pipeline::codec::Codec;
use skidder_pipeline::event::{Event, Timestamp};

use super::Writer;
use crate::ack::Ack;

/// Bytes after which a worker writes in the middle of a batch.
const BUFFER_BYTES: usize = 64 << 10;

/// A worker's end of the output.
pub struct StdoutWriter {
    encoder: Arc<dyn Codec>,
    buffer: Vec<u8>,
    acks: Vec<Ack>,
}

impl StdoutWriter {
    /// A writer of this codec.
    pub fn new(encoder: Arc<dyn Codec>) -> Self {
        Self {
            encoder,
            buffer: Vec::new(),
            acks: Vec::new(),
        }
    }

    fn write_out(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let mut out = std::io::stdout().lock();
        let written = out.write_all(&self.buffer).and_then(|()| out.flush());
        drop(out);
        self.buffer.clear();
        match written {
            Ok(()) => self.acks.drain(..).for_each(|ack| ack.done(1)),
            Err(error) => {
                // Nobody reads any more (a closed pipe): what is not written is not acknowledged.
                tracing::error!(%error, "cannot write to stdout");
                self.acks.clear();
            }
        }
    }
}

impl Writer for StdoutWriter {
    fn write(&mut self, event: &Event<'_>, _now: Timestamp, ack: &Ack) {
        self.encoder.encode(event, &mut self.buffer);
        if !self.acks.last().is_some_and(|last| last.is(ack)) {
            ack.hold(1);
            self.acks.push(ack.clone());
        }
        if self.buffer.len() >= BUFFER_BYTES {
            self.write_out();
        }
    }

    fn end_of_batch(&mut self) {
        self.write_out();
    }

    fn flush(&mut self) {
        self.write_out();
    }
}
