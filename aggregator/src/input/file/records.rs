//! Lines of files on their way to the workers, and the events that they become.

use std::sync::Arc;

use bumpalo::Bump;
use bytes::Bytes;
use skidder_forwarder::batch::Batch as Lines;
use skidder_forwarder::event::StreamId;
use skidder_forwarder::follow::{Destination, Receipt};
use skidder_pipeline::codec::Codec;
use skidder_pipeline::event::identity::{Identity, content_hash};
use skidder_pipeline::event::{Event, MESSAGE, Name, Path, Timestamp, Value};
use skidder_pipeline::language::Plugin;
use tokio::sync::mpsc;

use super::super::decoding::decode_whole;
use super::super::decoration::Decoration;
use crate::ack::Ack;
use crate::settings::host_name;
use crate::worker::{Batch, Records};

/// How lines become events.
pub(super) struct Decoder {
    name: String,
    pub(super) codec: Arc<dyn Codec>,
    /// Whether the codec makes a message of a text, also of an empty one.
    plain: bool,
    host: String,
    /// Where the host's name goes, and the path of the file.
    host_field: Path,
    path_field: Path,
    decoration: Decoration,
}

impl Decoder {
    pub(super) fn new(
        name: &str,
        (plugin, codec): (Plugin, Arc<dyn Codec>),
        ecs: bool,
        decoration: Decoration,
    ) -> Self {
        let host: &[&str] = if ecs { &["host", "name"] } else { &["host"] };
        let path: &[&str] = if ecs {
            &["log", "file", "path"]
        } else {
            &["path"]
        };
        Self {
            name: name.to_owned(),
            codec,
            plain: ["line", "plain"].contains(&plugin.name.value.as_str()),
            host: host_name(),
            host_field: Path::new(host.iter().copied()),
            path_field: Path::new(path.iter().copied()),
            decoration,
        }
    }
}

/// The workers' queue.
pub(super) struct Workers {
    queue: mpsc::Sender<Batch>,
    /// Room in it.
    room: Option<mpsc::OwnedPermit<Batch>>,
    decoder: Arc<Decoder>,
}

impl Workers {
    pub(super) fn new(queue: mpsc::Sender<Batch>, decoder: Arc<Decoder>) -> Self {
        Self {
            queue,
            room: None,
            decoder,
        }
    }
}

impl Destination for Workers {
    async fn ready(&mut self) -> bool {
        if self.room.is_none() {
            self.room = self.queue.clone().reserve_owned().await.ok();
        }
        self.room.is_some()
    }

    fn send(&mut self, batch: &Lines, receipt: Receipt) {
        let Some(room) = self.room.take() else {
            return;
        };
        let mut text = Vec::with_capacity(batch.bytes());
        let mut lines = Vec::with_capacity(batch.len());
        let mut files: Vec<File> = Vec::new();
        let mut last = None;
        for line in batch.lines(0..batch.len()) {
            // Lines of a file come in runs.
            if last != Some(line.source.id) {
                last = Some(line.source.id);
                files.push(File {
                    path: line.source.path.to_string_lossy().into(),
                    stream: line.source.stream.clone(),
                });
            }
            text.extend_from_slice(line.text);
            lines.push(Line {
                end: text.len(),
                file: files.len() - 1,
                start: line.start,
            });
        }
        let records = LineRecords {
            text: text.into(),
            lines,
            files,
            decoder: Arc::clone(&self.decoder),
        };
        room.send(Batch {
            records: Box::new(records),
            ack: Ack::new(Box::new(move || receipt.safe())),
        });
    }
}

/// Lines of any number of files.
struct LineRecords {
    text: Bytes,
    lines: Vec<Line>,
    files: Vec<File>,
    decoder: Arc<Decoder>,
}

struct File {
    path: String,
    /// Its content's name, which stays the same whatever the path.
    stream: Option<StreamId>,
}

struct Line {
    /// Where its text ends; it begins where the one before ends.
    end: usize,
    /// Which of the files it is of.
    file: usize,
    /// Where it begins in its file.
    start: u64,
}

impl Records for LineRecords {
    fn len(&self) -> usize {
        self.lines.len()
    }

    fn decode<'b>(
        &'b self,
        index: usize,
        arena: &'b Bump,
        now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    ) {
        let decoder = &*self.decoder;
        let line = &self.lines[index];
        let begin = index
            .checked_sub(1)
            .map_or(0, |before| self.lines[before].end);
        let file = &self.files[line.file];
        let path = || Value::Text(file.path.as_bytes());
        let host = || Value::Text(decoder.host.as_bytes());
        let text = &self.text[begin..line.end];
        let events = if text.is_empty() && decoder.plain {
            // COMPAT: an empty line is an event.
            let mut event = Event::with_timestamp_in(now, arena);
            event.fields.push_new(MESSAGE, Value::Text(b""));
            vec![event]
        } else {
            decode_whole(&*decoder.codec, text, arena, now)
        };
        let mut identity = file.stream.as_ref().map(|stream| {
            let content = content_hash(decoder.host.as_bytes(), text);
            Identity::of_line(stream.as_str().as_bytes(), line.start, content)
        });
        for (number, mut event) in events.into_iter().enumerate() {
            event.identity = match number {
                0 => identity,
                _ => identity.as_mut().map(Identity::derive),
            };
            // COMPAT: the two of Logstash; the offset is ours, it tells events apart that come twice.
            event.metadata.set(Name::new("path"), path());
            event.metadata.set(Name::new("host"), host());
            event
                .metadata
                .set(Name::new("offset"), Value::Integer(line.start as i64));
            if event.get(&decoder.host_field).is_none() {
                event.set(&decoder.host_field, host(), arena);
            }
            if event.get(&decoder.path_field).is_none() {
                event.set(&decoder.path_field, path(), arena);
            }
            decoder.decoration.apply(&mut event, arena);
            each(event);
        }
    }

    fn source(&self) -> &str {
        &self.decoder.name
    }
}
