//! A worker's end of the output: makes windows of events.

use std::sync::Arc;

use skidder_lumberjack::{Compression, EncodedWindow, Version, WindowBuilder};
use skidder_pipeline::event::{Event, Timestamp, write_json, write_json_text};
use tracing::error;

use super::delivery::Windows;
use super::options::LumberjackOptions;
use crate::ack::Ack;
use crate::output::Writer;

/// Events on their way, as often as they must be sent.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) encoded: EncodedWindow,
    /// How many events of each batch there are.
    pub(super) acks: Vec<(Ack, u32)>,
}

/// Makes windows.
pub(in crate::output) struct WindowWriter {
    windows: Windows,
    options: Arc<LumberjackOptions>,
    builder: WindowBuilder,
    json: Vec<u8>,
    acks: Vec<(Ack, u32)>,
}

impl WindowWriter {
    /// A writer whose windows go to `windows`.
    pub(in crate::output) fn new(windows: Windows) -> Self {
        let options = Arc::clone(windows.options());
        let compression = match options.compression_level {
            0 => Compression::None,
            level => Compression::Zlib { level },
        };
        Self {
            builder: WindowBuilder::new(Version::V2, compression)
                .with_max_events(options.window_events),
            options,
            windows,
            json: Vec::new(),
            acks: Vec::new(),
        }
    }

    fn send(&mut self) {
        if self.builder.is_empty() {
            return;
        }
        // Once the delivery has ended nothing is taken, and what it was not given stays unacknowledged.
        self.windows.send(Window {
            encoded: self.builder.finish(),
            acks: std::mem::take(&mut self.acks),
        });
    }
}

impl Writer for WindowWriter {
    fn write(&mut self, event: &Event<'_>, _now: Timestamp, ack: &Ack) {
        self.json.clear();
        write_event(event, &mut self.json);
        if !self.builder.is_empty()
            && self.builder.bytes() + self.json.len() > self.options.window_bytes
        {
            self.send();
        }
        ack.hold(1);
        if let Err(error) = self.builder.push_json(&self.json) {
            // Its hold is never given back, so that whoever sent it keeps it. Events of 4 GiB do not come through any input.
            error!(plugin = %self.options.plugin_id, %error, "an event does not fit into a frame");
            return;
        }
        match self.acks.last_mut() {
            Some((last, events)) if last.is(ack) => *events += 1,
            _ => self.acks.push((ack.clone(), 1)),
        }
        if self.builder.is_full() {
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

/// Appends the event, and which line it is.
fn write_event(event: &Event<'_>, out: &mut Vec<u8>) {
    let Some(identity) = &event.identity else {
        write_json(event, out);
        return;
    };
    out.extend_from_slice(br#"{"@metadata":{"_id":"#);
    let mut id = Vec::new();
    identity.write(&mut id);
    write_json_text(&id, out);
    out.extend_from_slice(b"}");
    let open = out.len();
    write_json(event, out);
    // The event's own brace goes: its fields stand behind ours.
    out[open] = b',';
    if out.ends_with(b",}") {
        out.remove(open);
    }
}
