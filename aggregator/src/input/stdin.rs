//! The `stdin` input: standard input until its end.
//!
//! The end of standard input is the end of this input; when every input has ended, the process
//! delivers what it has and exits. COMPAT: the default codec is `line`, a codec `json` means
//! `json_lines`, and events carry the host's name (`[host][hostname]` with ECS).
//!
//! A codec that joins lines cuts the stream here, where its events end, so that every batch has
//! whole events: the workers, the acknowledgement and the disk queue see nothing of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bumpalo::Bump;
use bytes::Bytes;
use skidder_pipeline::codec::Codec;
use skidder_pipeline::event::{Event, Name, Timestamp, Value};
use tokio::sync::{mpsc, watch};

use super::decoding::{decode_whole, object};
use super::decoration::Decoration;
use super::listener::told_to_stop;
use crate::ack::Ack;
use crate::chunks::Chunks;
use crate::queue::stored::{Form, Restore};
use crate::worker::{Batch, Records};

/// How long nothing may come of what has been read when the input stops: then the reader waits for its
/// next byte, which is not there.
const LAST_READ: Duration = Duration::from_millis(200);

/// Standard input, ready to be read.
pub struct StdinInput {
    /// Its name in the disk queue.
    pub name: String,
    /// How bytes become events.
    pub codec: Arc<dyn Codec>,
    /// What ends a record; empty if each read is one.
    pub delimiter: Vec<u8>,
    /// Name of this host.
    pub host: String,
    /// Put the host where ECS has it.
    pub ecs: bool,
    /// `type`, `tags`, `add_field`.
    pub decoration: Decoration,
}

impl StdinInput {
    /// Reads until the end of standard input, or until `shutdown` changes.
    pub async fn run(self: Arc<Self>, queue: mpsc::Sender<Batch>, shutdown: watch::Receiver<bool>) {
        let delimiter = self.delimiter.clone();
        // A read cannot be called off: it has a thread of its own, which may outlive this input
        // but holds nothing of the queue.
        let (read, chunks) = mpsc::channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        tokio::task::spawn_blocking(move || {
            let mut stream = Chunks::new(std::io::stdin(), &delimiter);
            while !stopping.load(Ordering::Relaxed) {
                match stream.next_chunk() {
                    Ok(Some(bytes)) => {
                        if read.blocking_send(bytes).is_err() {
                            return;
                        }
                    }
                    Ok(None) => return,
                    Err(error) => {
                        tracing::error!(%error, "cannot read stdin any further");
                        return;
                    }
                }
            }
        });
        self.forward(chunks, queue, shutdown, &stop).await;
    }

    /// Puts chunks into the queue, those of a codec that joins lines cut where events end. When the
    /// input is to stop, `stop` says so to whoever reads, and what it has read by then is taken.
    async fn forward(
        self: Arc<Self>,
        mut chunks: mpsc::Receiver<Vec<u8>>,
        queue: mpsc::Sender<Batch>,
        mut shutdown: watch::Receiver<bool>,
        stop: &AtomicBool,
    ) {
        let mut cutter = self.codec.cutter();
        // When the input is to stop, how long a read may take.
        let mut last: Option<Duration> = None;
        loop {
            let waits = cutter.as_ref().filter(|cutter| cutter.pending() > 0);
            let patience = waits.and_then(|cutter| cutter.patience());
            let (next, is_last) = tokio::select! {
                chunk = chunks.recv() => {
                    let is_last = chunk.is_none();
                    (chunk, is_last)
                }
                () = told_to_stop(&mut shutdown), if last.is_none() => {
                    stop.store(true, Ordering::Relaxed);
                    last = Some(LAST_READ);
                    continue;
                }
                () = idle(last), if last.is_some() => (None, true),
                () = idle(patience), if last.is_none() => (None, false),
            };
            let bytes = match (&mut cutter, next) {
                (Some(cutter), Some(lines)) => cutter.push(lines),
                (Some(cutter), None) => cutter.flush(),
                (None, next) => next,
            };
            if let Some(bytes) = bytes {
                let records = ChunkRecords {
                    bytes: bytes.into(),
                    received: None,
                    input: Arc::clone(&self),
                };
                let batch = Batch {
                    records: Box::new(records),
                    ack: Ack::ignored(),
                };
                if queue.send(batch).await.is_err() {
                    return;
                }
            }
            if is_last {
                return;
            }
        }
    }
}

/// Ends after this time, or never.
async fn idle(patience: Option<Duration>) {
    match patience {
        Some(patience) => tokio::time::sleep(patience).await,
        None => std::future::pending().await,
    }
}

/// A chunk of the stream: whole records.
struct ChunkRecords {
    bytes: Bytes,
    /// When it was received, if it was read back from the disk queue.
    received: Option<Timestamp>,
    input: Arc<StdinInput>,
}

impl Records for ChunkRecords {
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
        let input = self.input.as_ref();
        let now = self.received.unwrap_or(now);
        let events = decode_whole(&*input.codec, &self.bytes, arena, now);
        for mut event in events {
            const HOST: Name<'static> = Name::new("host");
            if event.fields.get(&HOST).is_none() {
                let host = Value::Text(input.host.as_bytes());
                let host = if input.ecs {
                    object("hostname", host, arena)
                } else {
                    host
                };
                event.fields.push_new(HOST, host);
            }
            input.decoration.apply(&mut event, arena);
            each(event);
        }
    }
    fn source(&self) -> &str {
        &self.input.name
    }

    fn store(&self, out: &mut Vec<u8>) -> Form {
        out.extend_from_slice(&self.bytes);
        Form::Chunk
    }
}

/// In the disk queue a chunk is its bytes and nothing else.
impl Restore for StdinInput {
    fn form(&self) -> Form {
        Form::Chunk
    }

    fn restore(self: Arc<Self>, body: Bytes, received: Timestamp) -> Option<Box<dyn Records>> {
        Some(Box::new(ChunkRecords {
            bytes: body,
            received: Some(received),
            input: self,
        }))
    }
}

#[cfg(test)]
mod tests {
    use skidder_lumberjack::ByteBudget;
    use skidder_pipeline::language::{Diagnostics, ParseOptions, SourceMap, parse};

    use super::*;
    use crate::input::{Kind, build};
    use crate::settings::Settings;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn input(interval: &str) -> Arc<StdinInput> {
        let text = format!(
            r#"input {{ stdin {{ codec => multiline {{ pattern => "^ " what => previous {interval} }} }} }}"#
        );
        let sources = SourceMap::single("test", text);
        let mut diagnostics = Diagnostics::new();
        let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
        let budget = ByteBudget::new(0);
        let settings = Settings::default();
        let mut inputs = build(&settings, &config.inputs, &budget, &mut diagnostics);
        let Some(Kind::Stdin(stdin)) = inputs.pop().map(|input| input.kind) else {
            panic!("{}", diagnostics.render(&sources, false))
        };
        stdin
    }

    async fn forward(
        input: Arc<StdinInput>,
        chunks: mpsc::Receiver<Vec<u8>>,
        queue: mpsc::Sender<Batch>,
        shutdown: watch::Receiver<bool>,
    ) {
        let stop = AtomicBool::new(false);
        input.forward(chunks, queue, shutdown, &stop).await;
    }

    /// The messages of the next batch.
    async fn messages(batches: &mut mpsc::Receiver<Batch>) -> Vec<String> {
        let batch = tokio::time::timeout(PATIENCE, batches.recv()).await;
        let batch = batch.unwrap().expect("a batch");
        let arena = Bump::new();
        let mut messages = Vec::new();
        batch
            .records
            .decode(0, &arena, Timestamp::new(0, 0), &mut |event| {
                let message = event.fields.get(&skidder_pipeline::event::MESSAGE);
                let message = message.and_then(Value::as_text).unwrap();
                messages.push(String::from_utf8_lossy(message).into_owned());
            });
        messages
    }

    #[tokio::test]
    async fn a_batch_has_whole_events_and_the_end_gives_the_last() {
        let (chunk, chunks) = mpsc::channel(1);
        let (queue, mut batches) = mpsc::channel(1);
        let (_go_on, shutdown) = watch::channel(false);
        let running = tokio::spawn(forward(input(""), chunks, queue, shutdown));
        chunk.send(b"a\n 1\n".to_vec()).await.unwrap();
        chunk.send(b" 2\nb\nc\n".to_vec()).await.unwrap();
        assert_eq!(messages(&mut batches).await, ["a\n 1\n 2", "b"]);
        chunk.send(b" 3".to_vec()).await.unwrap();
        drop(chunk);
        assert_eq!(messages(&mut batches).await, ["c\n 3"]);
        running.await.unwrap();
        assert!(batches.recv().await.is_none());
    }

    #[tokio::test]
    async fn what_is_kept_comes_when_the_stream_is_idle_and_at_a_shutdown() {
        let (chunk, chunks) = mpsc::channel(1);
        let (queue, mut batches) = mpsc::channel(1);
        let (stop, shutdown) = watch::channel(false);
        let patient = input("auto_flush_interval => 0.02");
        let running = tokio::spawn(forward(patient, chunks, queue, shutdown));
        chunk.send(b"a\n 1\n".to_vec()).await.unwrap();
        assert_eq!(messages(&mut batches).await, ["a\n 1"]);
        // COMPAT: what comes too late is an event of its own.
        chunk.send(b" 2\n".to_vec()).await.unwrap();
        assert_eq!(messages(&mut batches).await, [" 2"]);
        stop.send(true).unwrap();
        running.await.unwrap();

        let (chunk, chunks) = mpsc::channel(1);
        let (queue, mut batches) = mpsc::channel(1);
        let (stop, shutdown) = watch::channel(false);
        let running = tokio::spawn(forward(input(""), chunks, queue, shutdown));
        chunk.send(b"a\n".to_vec()).await.unwrap();
        // A second one has room only when the first was taken.
        chunk.send(b"b\n".to_vec()).await.unwrap();
        assert_eq!(messages(&mut batches).await, ["a"]);
        stop.send(true).unwrap();
        // What was read before is taken, and so is what comes while it is.
        chunk.send(b"c\nd\n".to_vec()).await.unwrap();
        drop(chunk);
        assert_eq!(messages(&mut batches).await, ["b", "c"]);
        assert_eq!(messages(&mut batches).await, ["d"]);
        running.await.unwrap();
    }
}
