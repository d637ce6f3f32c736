//! What the inputs share whose events come from this host: streams that are read to their end, and fields
//! that are the same for every event.
//!
//! What a stream can take is bounded: a record (`max_record_bytes`; a longer one comes in pieces), and the
//! memory that all inputs share (`queue.max_memory_bytes`). A full queue is felt by who writes, since nothing is read.

use std::sync::Arc;
use std::time::Duration;

use bumpalo::Bump;
use bytes::Bytes;
use skidder_lumberjack::{Account, ByteBudget, Reservation};
use skidder_pipeline::codec::Codec;
use skidder_pipeline::event::{Event, MESSAGE, Path, Timestamp, Value};
use skidder_pipeline::language::Options;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::info;

use super::decoding::decode_whole;
use super::decoration::Decoration;
use super::listener::told_to_stop;
use super::{Build, delimiter_of};
use crate::ack::Ack;
use crate::chunks::Cut;
use crate::settings::host_name;
use crate::worker::{Batch, Records};

/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;

/// Fields with fixed texts, which an event gets unless it has them.
#[derive(Default)]
pub(super) struct Marks(Vec<(Path, String)>);

impl Marks {
    /// The host's name: `host`, with ECS `[host][name]`.
    pub(super) fn host(ecs: bool) -> Self {
        let mut marks = Self(Vec::new());
        marks.add(ecs, &["host"], &["host", "name"], host_name());
        marks
    }

    /// Adds one, which is elsewhere with ECS.
    pub(super) fn add(&mut self, ecs: bool, classic: &[&str], with_ecs: &[&str], text: String) {
        let keys = if ecs { with_ecs } else { classic };
        self.0.push((Path::new(keys.iter().copied()), text));
    }

    /// Sets those that are not there.
    pub(super) fn apply<'b>(&'b self, event: &mut Event<'b>, arena: &'b Bump) {
        for (path, text) in &self.0 {
            if event.get(path).is_none() {
                event.set(path, Value::Text(text.as_bytes()), arena);
            }
        }
    }
}

/// How texts become events.
pub(super) struct Decoder {
    pub(super) name: String,
    pub(super) codec: Arc<dyn Codec>,
    /// Whether the codec makes a message of a text, also of an empty one.
    pub(super) plain: bool,
    pub(super) marks: Marks,
    pub(super) decoration: Decoration,
}

impl Decoder {
    /// The events of a text.
    ///
    /// COMPAT: an empty text is an event with an empty message.
    pub(super) fn decode<'b>(
        &'b self,
        text: &'b [u8],
        arena: &'b Bump,
        now: Timestamp,
    ) -> Vec<Event<'b>> {
        if text.is_empty() && self.plain {
            let mut event = Event::with_timestamp_in(now, arena);
            event.fields.push_new(MESSAGE, Value::Text(b""));
            return vec![event];
        }
        decode_whole(&*self.codec, text, arena, now)
    }

    /// Gives an event what every one of this input has.
    pub(super) fn finish<'b>(&'b self, event: &mut Event<'b>, arena: &'b Bump) {
        self.marks.apply(event, arena);
        self.decoration.apply(event, arena);
    }
}

/// How the records of a stream are found.
pub(super) struct Stream {
    decoder: Arc<Decoder>,
    /// Whether each line is decoded by itself.
    each_line: bool,
    /// What ends a record; empty if each read is one.
    delimiter: Vec<u8>,
    max_record_bytes: usize,
    /// A stream that is silent for so long has ended.
    idle: Option<Duration>,
    budget: Arc<ByteBudget>,
}

/// Why a stream is not read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It is at its end.
    Closed,
    /// Nobody takes what comes of it.
    QueueGone,
}

impl Stream {
    /// Reads `codec` and `max_record_bytes`. With `lines`, the stream is cut into lines whatever the codec is.
    pub(super) fn from_options(
        options: &mut Options<'_>,
        build: &Build<'_>,
        ecs: bool,
        marks: Marks,
        lines: bool,
        idle: Option<Duration>,
    ) -> Option<Self> {
        let built = if lines && !options.has("codec") {
            build.codec(options, "line", ecs)
        } else {
            build.codec(options, if lines { "plain" } else { "line" }, ecs)
        };
        let max_record_bytes = options.bytes("max_record_bytes").unwrap_or(1 << 20);
        let decoration = Decoration::from_options(options);
        let (plugin, codec) = built?;
        let (delimiter, each_line) = match plugin.name.value.as_str() {
            "line" | "json_lines" => (delimiter_of(&plugin).into_bytes(), false),
            "es_bulk" | "multiline" => (b"\n".to_vec(), false),
            _ if lines => (b"\n".to_vec(), true),
            _ => (Vec::new(), false),
        };
        let decoder = Decoder {
            name: build.name.to_owned(),
            codec,
            plain: ["line", "plain"].contains(&plugin.name.value.as_str()),
            marks,
            decoration,
        };
        Some(Self {
            decoder: Arc::new(decoder),
            each_line,
            delimiter,
            max_record_bytes: usize::try_from(max_record_bytes)
                .unwrap_or(usize::MAX)
                .max(1),
            idle,
            budget: Arc::clone(build.budget),
        })
    }

    /// The input's name.
    pub(super) fn name(&self) -> &str {
        &self.decoder.name
    }

    /// Reads a stream to its end. When the input is to stop, `stop` is called, and what comes within `last_read` is
    /// still taken.
    pub(super) async fn read<S>(
        &self,
        mut stream: S,
        queue: &mpsc::Sender<Batch>,
        stopping: &mut watch::Receiver<bool>,
        last_read: Duration,
        stop: impl FnOnce(),
    ) -> Ended
    where
        S: AsyncRead + Unpin,
    {
        let mut stop = Some(stop);
        let mut account = self.budget.account();
        let mut cutter = self.decoder.codec.cutter();
        let mut cut = Cut::new(&self.delimiter, self.max_record_bytes);
        // When the input is to stop, until when is read.
        let mut last: Option<Instant> = None;
        loop {
            let waits = cutter.as_ref().filter(|cutter| cutter.pending() > 0);
            let to_flush = waits.and_then(|cutter| cutter.patience());
            let patience = to_flush.into_iter().chain(self.idle).min();
            let until = last.or(patience.map(|patience| Instant::now() + patience));
            let read = async {
                let read = stream.read(cut.room(READ_BYTES));
                match until {
                    Some(until) => tokio::time::timeout_at(until, read).await.ok(),
                    None => Some(read.await),
                }
            };
            let read = tokio::select! {
                read = read => read,
                () = told_to_stop(stopping), if last.is_none() => {
                    last = Some(Instant::now() + last_read);
                    if let Some(stop) = stop.take() {
                        stop();
                    }
                    continue;
                }
            };
            let read = match read {
                Some(Ok(read)) => read,
                Some(Err(error)) => {
                    info!(input = self.name(), %error, "the stream broke");
                    0
                }
                None if last.is_none() && to_flush.is_some() => {
                    let kept = cutter.as_mut().and_then(|cutter| cutter.flush());
                    if !self.hand_on(kept, &mut account, queue).await {
                        return Ended::QueueGone;
                    }
                    continue;
                }
                None => {
                    if last.is_none() {
                        info!(input = self.name(), timeout = ?self.idle, "nothing came for too long, closing the stream");
                    }
                    0
                }
            };
            let mut whole = if read == 0 {
                cut.rest()
            } else {
                cut.filled(read)
            };
            if let Some(cutter) = &mut cutter {
                whole = whole.and_then(|lines| cutter.push(lines));
            }
            if !self.hand_on(whole, &mut account, queue).await {
                return Ended::QueueGone;
            }
            // What is not whole yet counts as well.
            account.reserve(cut.pending()).await;
            if read == 0 {
                let kept = cutter.and_then(|mut cutter| cutter.flush());
                return if self.hand_on(kept, &mut account, queue).await {
                    Ended::Closed
                } else {
                    Ended::QueueGone
                };
            }
        }
    }

    /// Puts whole records into the queue. False if it is gone.
    async fn hand_on(
        &self,
        bytes: Option<Vec<u8>>,
        account: &mut Account,
        queue: &mpsc::Sender<Batch>,
    ) -> bool {
        let Some(bytes) = bytes else {
            return true;
        };
        account.reserve(bytes.len()).await;
        let records = StreamRecords {
            _memory: account.try_reserve(bytes.len()),
            bytes: bytes.into(),
            each_line: self.each_line,
            decoder: Arc::clone(&self.decoder),
        };
        account.settle();
        let batch = Batch {
            records: Box::new(records),
            ack: Ack::ignored(),
        };
        queue.send(batch).await.is_ok()
    }
}

/// Whole records of a stream.
struct StreamRecords {
    bytes: Bytes,
    each_line: bool,
    _memory: Option<Reservation>,
    decoder: Arc<Decoder>,
}

impl Records for StreamRecords {
    fn len(&self) -> usize {
        1
    }

    fn decode<'b>(
        &'b self,
        _index: usize,
        arena: &'b Bump,
        now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    ) {
        let decoder = &*self.decoder;
        let mut decode = |text: &'b [u8]| {
            for mut event in decoder.decode(text, arena, now) {
                decoder.finish(&mut event, arena);
                each(event);
            }
        };
        if !self.each_line {
            return decode(&self.bytes);
        }
        for line in self.bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            decode(line.strip_suffix(b"\r").unwrap_or(line));
        }
    }

    fn source(&self) -> &str {
        &self.decoder.name
    }
}
