//! A worker's end of the output: makes requests of events.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use skidder_pipeline::event::{Event, Timestamp, write_json};
use skidder_pipeline::template::Template;

use super::body::Format;
use super::delivery::Posts;
use super::options::HttpOptions;
use crate::ack::Ack;
use crate::output::Writer;

/// One request, as often as it must be sent.
#[derive(Debug)]
pub(super) struct Post {
    /// The filled `url`, which may be none.
    pub(super) url: String,
    /// The filled headers, in the order of the options.
    pub(super) headers: Vec<Vec<u8>>,
    pub(super) body: Bytes,
    /// The events as JSON, for the dead letters, where they are not in the body.
    pub(super) events: Bytes,
    /// Where each event is: in `events`, or in `body`.
    pub(super) places: Vec<Range<usize>>,
    /// How many events of each batch there are.
    pub(super) acks: Vec<(Ack, u32)>,
}

impl Post {
    /// An event, as JSON.
    pub(super) fn event(&self, place: &Range<usize>) -> &[u8] {
        let text = if self.events.is_empty() {
            &self.body
        } else {
            &self.events
        };
        &text[place.clone()]
    }
}

/// Makes requests.
pub(in crate::output) struct HttpWriter {
    posts: Posts,
    options: Arc<HttpOptions>,
    /// The request at hand.
    url: Vec<u8>,
    headers: Vec<Vec<u8>>,
    body: Vec<u8>,
    events: Vec<u8>,
    places: Vec<Range<usize>>,
    acks: Vec<(Ack, u32)>,
}

impl HttpWriter {
    /// A writer whose requests go to `posts`.
    pub(in crate::output) fn new(posts: Posts) -> Self {
        Self {
            options: Arc::clone(posts.options()),
            posts,
            url: Vec::new(),
            headers: Vec::new(),
            body: Vec::new(),
            events: Vec::new(),
            places: Vec::new(),
            acks: Vec::new(),
        }
    }

    fn send(&mut self) {
        if self.places.is_empty() {
            return;
        }
        if matches!(self.options.format, Format::JsonBatch(_)) {
            self.body.push(b']');
        }
        let take = std::mem::take::<Vec<u8>>;
        let post = Post {
            url: String::from_utf8_lossy(&self.url).into_owned(),
            headers: self.headers.clone(),
            body: take(&mut self.body).into(),
            events: take(&mut self.events).into(),
            places: std::mem::take(&mut self.places),
            acks: std::mem::take(&mut self.acks),
        };
        // Once the delivery has ended nothing is taken, and what it was not given stays unacknowledged.
        self.posts.send(post);
    }

    /// Fills url and headers for the event; sends what is there if that goes elsewhere.
    fn address(&mut self, event: &Event<'_>, now: Timestamp) {
        let filled = |template: &Template| {
            let mut text = Vec::new();
            template.write(event, now, &mut text);
            text
        };
        let url = filled(&self.options.url);
        let headers = self.options.headers.iter();
        let headers: Vec<Vec<u8>> = headers.map(|(_, template)| filled(template)).collect();
        if url != self.url || headers != self.headers {
            self.send();
            (self.url, self.headers) = (url, headers);
        }
    }
}

impl Writer for HttpWriter {
    fn write(&mut self, event: &Event<'_>, now: Timestamp, ack: &Ack) {
        self.address(event, now);
        let options = Arc::clone(&self.options);
        let batches = matches!(options.format, Format::JsonBatch(_));
        if batches {
            self.body
                .push(if self.places.is_empty() { b'[' } else { b',' });
        }
        let start = self.body.len();
        options.format.write(event, now, &mut self.body);
        let place = if options.format.is_event() {
            start..self.body.len()
        } else {
            let start = self.events.len();
            write_json(event, &mut self.events);
            start..self.events.len()
        };
        self.places.push(place);
        ack.hold(1);
        match self.acks.last_mut() {
            Some((last, events)) if last.is(ack) => *events += 1,
            _ => self.acks.push((ack.clone(), 1)),
        }
        if !batches || self.body.len() >= options.batch_max_bytes {
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
