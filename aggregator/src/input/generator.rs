//! The `generator` input: the same lines over and over, for benchmarks and trials.
//!
//! COMPAT: `lines` or `message` (default `Hello world!`), `count` (0: for ever), `threads`; each
//! event has a `sequence` number (`[event][sequence]` with ECS) and the host.

use std::sync::Arc;

use bumpalo::Bump;
use skidder_pipeline::codec::Codec;
use skidder_pipeline::event::{self, Event, Name, Object, Timestamp, Value};
use tokio::sync::{mpsc, watch};

use super::decoding::{decode_whole, object};
use super::decoration::Decoration;
use crate::ack::Ack;
use crate::worker::{Batch, Records};

/// Events in one batch.
const BATCH_EVENTS: u64 = 1000;

/// A generator, ready to run.
pub struct GeneratorInput {
    /// The lines, in turn.
    pub lines: Vec<String>,
    /// How lines become events; not given if each is a message, which is quicker.
    pub codec: Option<Arc<dyn Codec>>,
    /// How often each line is given; 0 for without end.
    pub count: u64,
    /// How many generators run beside each other.
    pub threads: u64,
    /// Name of this host.
    pub host: String,
    /// Put fields where ECS has them.
    pub ecs: bool,
    /// `type`, `tags`, `add_field`.
    pub decoration: Decoration,
}

impl GeneratorInput {
    /// Generates until the count is reached or `shutdown` changes.
    pub async fn run(self, queue: mpsc::Sender<Batch>, shutdown: watch::Receiver<bool>) {
        let threads = self.threads;
        let total = self.count.saturating_mul(self.lines.len() as u64);
        let input = Arc::new(self);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..threads {
            let (input, queue, mut shutdown) =
                (Arc::clone(&input), queue.clone(), shutdown.clone());
            tasks.spawn(async move {
                let mut first = 0;
                while total == 0 || first < total {
                    let events = if total == 0 {
                        BATCH_EVENTS
                    } else {
                        BATCH_EVENTS.min(total - first)
                    };
                    let records = GeneratedRecords {
                        input: Arc::clone(&input),
                        first,
                        events: events as usize,
                    };
                    let batch = Batch {
                        records: Box::new(records),
                        ack: Ack::ignored(),
                    };
                    tokio::select! {
                        sent = queue.send(batch) => if sent.is_err() { break },
                        _ = shutdown.changed() => break,
                    }
                    first += events;
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }
}

impl GeneratorInput {
    /// Gives an event of a codec its number and its host.
    fn mark<'b>(&'b self, event: &mut Event<'b>, sequence: u64, arena: &'b Bump) {
        let host = || Value::Text(self.host.as_bytes());
        let sequence = Value::Integer(sequence as i64);
        if !self.ecs {
            event.fields.set(Name::new("host"), host());
            event.fields.set(Name::new("sequence"), sequence);
            return;
        }
        let host = object("name", host(), arena);
        event.fields.set(Name::new("host"), host);
        let details = event.fields.slot(Name::new("event"));
        match details {
            Value::Object(details) => details.set(Name::new("sequence"), sequence),
            other => *other = object("sequence", sequence, arena),
        }
    }
}

struct GeneratedRecords {
    input: Arc<GeneratorInput>,
    first: u64,
    events: usize,
}

impl Records for GeneratedRecords {
    fn len(&self) -> usize {
        self.events
    }

    fn decode<'b>(
        &'b self,
        index: usize,
        arena: &'b Bump,
        now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    ) {
        let input = self.input.as_ref();
        let number = self.first + index as u64;
        let lines = input.lines.len() as u64;
        let line = &input.lines[(number % lines) as usize];
        // COMPAT: each line of a round has the round's number.
        let sequence = Value::Integer((number / lines) as i64);
        if let Some(codec) = &input.codec {
            for mut event in decode_whole(&**codec, line.as_bytes(), arena, now) {
                input.mark(&mut event, number / lines, arena);
                input.decoration.apply(&mut event, arena);
                each(event);
            }
            return;
        }
        let mut event = Event::with_timestamp_in(now, arena);
        event
            .fields
            .push_new(event::MESSAGE, Value::Text(line.as_bytes()));
        let host = Value::Text(input.host.as_bytes());
        if input.ecs {
            event
                .fields
                .push_new(Name::new("host"), object("name", host, arena));
            let mut details = Object::new_in(arena);
            details.push_new(Name::new("sequence"), sequence);
            details.push_new(Name::new("original"), Value::Text(line.as_bytes()));
            event
                .fields
                .push_new(Name::new("event"), Value::object(details, arena));
        } else {
            event.fields.push_new(Name::new("host"), host);
            event.fields.push_new(Name::new("sequence"), sequence);
        }
        input.decoration.apply(&mut event, arena);
        each(event);
    }
}
