//! A worker's end of the output: makes a message of each event.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use skidder_pipeline::event::{Event, Timestamp, write_json};
use skidder_pipeline::template::Template;

use super::delivery::Messages;
use super::message::Message;
use super::options::KafkaOptions;
use crate::ack::Ack;
use crate::kafka::IDENTITY_HEADER;
use crate::output::Writer;

/// Makes messages.
pub(in crate::output) struct MessageWriter {
    messages: Messages,
    options: Arc<KafkaOptions>,
}

impl MessageWriter {
    /// A writer whose messages go to `messages`.
    pub(in crate::output) fn new(messages: Messages) -> Self {
        Self {
            options: Arc::clone(messages.options()),
            messages,
        }
    }
}

impl Writer for MessageWriter {
    fn write(&mut self, event: &Event<'_>, now: Timestamp, ack: &Ack) {
        let options = &self.options;
        let filled = |template: &Template| {
            let mut text = Vec::new();
            template.write(event, now, &mut text);
            text
        };
        let headers = options.headers.iter();
        let mut headers: Vec<_> = headers
            .map(|(name, value)| (name.clone(), filled(value)))
            .collect();
        if let Some(identity) = &event.identity {
            let mut id = Vec::new();
            identity.write(&mut id);
            headers.push((IDENTITY_HEADER.to_owned(), id));
        }
        let mut payload = Vec::new();
        options.codec.encode(event, &mut payload);
        let mut whole = Vec::new();
        if !options.whole_event {
            write_json(event, &mut whole);
        }
        ack.hold(1);
        self.messages.send(Message {
            topic: String::from_utf8_lossy(&filled(&options.topic)).into_owned(),
            key: options.key.as_ref().map(filled),
            headers,
            payload,
            event: whole,
            ack: ack.clone(),
            alone: AtomicBool::new(false),
        });
    }

    /// The library sends by itself, as `linger_ms` and `batch_size` say.
    fn flush(&mut self) {}
}
