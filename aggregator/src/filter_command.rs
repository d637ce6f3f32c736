//! `filter`: the filters of a configuration applied to standard input.
//!
//! Events come as JSON lines (or raw lines) and go as JSON lines, in order and with nothing
//! added that the filters do not add: `@timestamp` and `@version`, which every event has while
//! it is filtered, are printed only if they were in the input or a filter changed them.
//!
//! The input is cut at line ends into chunks; worker `n` gets every `n`-th chunk, and the
//! printer takes the results in the same turn, so order costs no sorting and memory is bounded
//! by a few chunks for each worker.

use std::io::{Read, Write};

use bumpalo::Bump;
use crossbeam_channel::{Receiver, Sender, bounded};
use skidder_pipeline::Pipeline;
use skidder_pipeline::event::{self, Event, JsonLimits, Object, Timestamp, Value};
use skidder_pipeline::filter::Scratch;

use crate::chunks::Chunks;
use crate::shown;
use crate::worker::now;

/// Chunks that may wait before or behind each worker.
const WAITING_CHUNKS: usize = 2;

/// How the command reads and prints.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Each line is the message of an event, not a JSON object.
    pub lines: bool,
    /// Print `@metadata` too.
    pub metadata: bool,
}

/// Filters `input` to `output` with `workers` threads until the input ends.
pub fn run(
    pipeline: &Pipeline,
    format: Format,
    workers: usize,
    input: impl Read + Send,
    output: &mut impl Write,
) -> std::io::Result<()> {
    std::thread::scope(|scope| {
        let mut to_workers: Vec<Sender<Vec<u8>>> = Vec::new();
        let mut from_workers: Vec<Receiver<Vec<u8>>> = Vec::new();
        for _ in 0..workers {
            let (to_worker, chunks) = bounded(WAITING_CHUNKS);
            let (results, from_worker) = bounded(WAITING_CHUNKS);
            to_workers.push(to_worker);
            from_workers.push(from_worker);
            scope.spawn(move || work(pipeline, format, &chunks, &results));
        }
        let reader = scope.spawn(move || read(input, &to_workers));
        // A worker ends when there are no more chunks, so the first turn without a result is
        // the end of all.
        for from_worker in from_workers.iter().cycle() {
            let Ok(text) = from_worker.recv() else { break };
            output.write_all(&text)?;
            output.flush()?;
        }
        drop(from_workers);
        match reader.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    if pipeline.has_flush() {
        output.write_all(&flushed(pipeline, format))?;
        output.flush()?;
    }
    Ok(())
}

/// What filters have left to say when there are no more events.
fn flushed(pipeline: &Pipeline, format: Format) -> Vec<u8> {
    let (arena, mut out) = (Bump::new(), Vec::new());
    let mut scratch = Scratch::default();
    pipeline
        .filters
        .flush(true, &arena, now(), &mut scratch, |event| {
            write(&event, format, &mut out);
        });
    out
}

/// Appends an event as a line.
fn write(event: &Event<'_>, format: Format, out: &mut Vec<u8>) {
    shown::write_event(event, format.metadata, out);
    out.push(b'\n');
}

/// Gives each worker its turn.
fn read(input: impl Read, to_workers: &[Sender<Vec<u8>>]) -> std::io::Result<()> {
    let mut chunks = Chunks::new(input, b"\n");
    for worker in to_workers.iter().cycle() {
        let Some(chunk) = chunks.next_chunk()? else {
            break;
        };
        if worker.send(chunk).is_err() {
            break;
        }
    }
    Ok(())
}

fn work(
    pipeline: &Pipeline,
    format: Format,
    chunks: &Receiver<Vec<u8>>,
    results: &Sender<Vec<u8>>,
) {
    let mut arena = Bump::new();
    let mut scratch = Scratch::default();
    while let Ok(chunk) = chunks.recv() {
        let mut out = Vec::with_capacity(chunk.len() * 2);
        // What stands behind the last newline is no line, if nothing does.
        let whole = chunk.strip_suffix(b"\n").unwrap_or(&chunk);
        for line in whole.split(|byte| *byte == b'\n') {
            // An empty line is an event of an empty message, but no JSON.
            if format.lines || !line.trim_ascii().is_empty() {
                filter_line(pipeline, format, line, &arena, &mut scratch, &mut out);
                arena.reset();
            }
        }
        if results.send(out).is_err() {
            return;
        }
    }
}

/// Filters the events of one line and appends them to `out`.
fn filter_line<'b>(
    pipeline: &'b Pipeline,
    format: Format,
    line: &'b [u8],
    arena: &'b Bump,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) {
    let now = now();
    let mut each = |event: Event<'b>, implied: Implied| {
        pipeline
            .filters
            .run(event, arena, now, scratch, |mut event| {
                implied.take_away(&mut event, now);
                write(&event, format, out);
            });
    };
    if format.lines {
        let mut event = Event::with_timestamp_in(now, arena);
        event.fields.push_new(event::MESSAGE, Value::Text(line));
        each(
            event,
            Implied {
                timestamp: true,
                version: true,
            },
        );
        return;
    }
    let mut object = |fields: Object<'b>| {
        let implied = Implied {
            timestamp: fields.get(&event::TIMESTAMP).is_none(),
            version: fields.get(&event::VERSION).is_none(),
        };
        each(Event::from_object(fields, now, arena), implied);
    };
    match event::read_json(line, JsonLimits::default(), arena) {
        Ok(Value::Object(fields)) => object(std::mem::replace(fields, Object::new_in(arena))),
        Ok(Value::Array(array)) if array.iter().all(|each| matches!(each, Value::Object(_))) => {
            for value in array.drain(..) {
                if let Value::Object(fields) = value {
                    object(std::mem::replace(fields, Object::new_in(arena)));
                }
            }
        }
        other => {
            let reason = other.map_or_else(|error| error.to_string(), |_| "not an object".into());
            tracing::warn!(
                reason,
                "a line of the input is not a JSON object, it is kept as a message"
            );
            let mut event = Event::with_timestamp_in(now, arena);
            event.fields.push_new(event::MESSAGE, Value::Text(line));
            event.tag(b"_jsonparsefailure", arena);
            each(
                event,
                Implied {
                    timestamp: true,
                    version: true,
                },
            );
        }
    }
}

/// Which of the fields that every event has were not in the input.
#[derive(Clone, Copy)]
struct Implied {
    timestamp: bool,
    version: bool,
}

impl Implied {
    fn take_away(self, event: &mut Event<'_>, now: Timestamp) {
        if self.timestamp && event.timestamp() == Some(now) {
            event.fields.remove(&event::TIMESTAMP);
        }
        let version = event.fields.get(&event::VERSION);
        if self.version && version == Some(&Value::Text(b"1")) {
            event.fields.remove(&event::VERSION);
        }
    }
}
