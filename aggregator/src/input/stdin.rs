//! The `stdin` input: standard input until its end.
//!
//! The end of standard input is the end of this input; when every input has ended, the process
//! delivers what it has and exits. COMPAT: the default codec is `line`, a codec `json` means
//! `json_lines`, and events carry the host's name (`[host][hostname]` with ECS).

use std::sync::Arc;

use bumpalo::Bump;
use bytes::Bytes;
use skidder_pipeline::codec::{Codec, Sink};
use skidder_pipeline::event::{Event, Name, Timestamp, Value};
use tokio::sync::{mpsc, watch};

use super::decoration::Decoration;
use super::generator::object;
use crate::ack::Ack;
use crate::chunks::Chunks;
use crate::queue::stored::{Form, Restore};
use crate::worker::{Batch, Records};

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
    pub async fn run(
        self: Arc<Self>,
        queue: mpsc::Sender<Batch>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let delimiter = self.delimiter.clone();
        let input = self;
        // A read cannot be called off: it has a thread of its own, which may outlive this input
        // but holds nothing of the queue.
        let (read, mut chunks) = mpsc::channel(1);
        tokio::task::spawn_blocking(move || {
            let mut stream = Chunks::new(std::io::stdin(), &delimiter);
            loop {
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
        loop {
            let bytes = tokio::select! {
                chunk = chunks.recv() => match chunk {
                    Some(bytes) => bytes,
                    None => return,
                },
                _ = shutdown.changed() => return,
            };
            let records = ChunkRecords {
                bytes: bytes.into(),
                received: None,
                input: Arc::clone(&input),
            };
            let batch = Batch {
                records: Box::new(records),
                ack: Ack::ignored(),
            };
            if queue.send(batch).await.is_err() {
                return;
            }
        }
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
        let Some(mut decoder) = input.codec.decoder() else {
            return;
        };
        let mut events = Vec::new();
        let mut sink = Sink {
            arena,
            now,
            events: &mut events,
        };
        decoder.decode(&self.bytes, &mut sink);
        decoder.flush(&mut sink);
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
