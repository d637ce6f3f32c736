//! The `heartbeat` input: an event now and then, which shows that all is well, or that it is not.
//!
//! COMPAT: the first number of a sequence is 1, whatever Logstash's manual says. `message => "epoch"` and
//! `"sequence"` mean the option `sequence` of that value, but not with ECS; such a message is no message.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bumpalo::Bump;
use skidder_pipeline::event::{Event, MESSAGE, Path, Timestamp, Value};
use skidder_pipeline::language::{DurationUnit, Options};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::decoration::Decoration;
use super::listener::told_to_stop;
use super::local::Marks;
use super::{Build, Running};
use crate::ack::Ack;
use crate::worker::{Batch, Records};

/// A heartbeat.
pub(super) struct HeartbeatInput {
    threads: usize,
    beat: Arc<Beat>,
}

struct Beat {
    name: String,
    message: Option<String>,
    interval: Duration,
    /// How many there are; none is without end.
    count: Option<u64>,
    sequence: Sequence,
    /// Where the number goes.
    field: Path,
    marks: Marks,
    decoration: Decoration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sequence {
    None,
    /// Seconds since 1970.
    Epoch,
    /// From 1 on.
    Count,
}

impl HeartbeatInput {
    /// Reads the options.
    pub(super) fn from_options(options: &mut Options<'_>, build: &Build<'_>) -> Option<Self> {
        let ecs = build.ecs(options);
        build.codec(options, "plain", ecs)?;
        let choices = [
            ("none", Sequence::None),
            ("epoch", Sequence::Epoch),
            ("sequence", Sequence::Count),
        ];
        let sequence = options.enumeration("sequence", &choices);
        let message = options.string("message").unwrap_or_else(|| "ok".into());
        let meant = match message.as_str() {
            "epoch" => Sequence::Epoch,
            "sequence" => Sequence::Count,
            _ => Sequence::None,
        };
        if meant != Sequence::None {
            let hint = if ecs {
                "with ECS this message means nothing: write `sequence`"
            } else {
                "the option `sequence` says the same"
            };
            options.warning("message", hint);
        }
        let interval = options.duration("interval", DurationUnit::Seconds);
        let count = options.integer("count", -1..=i64::MAX).unwrap_or(-1);
        let threads = options.count("threads", 1..=1024);
        let field: &[&str] = if ecs {
            &["event", "sequence"]
        } else {
            &["clock"]
        };
        let beat = Beat {
            name: build.name.to_owned(),
            message: (meant == Sequence::None).then_some(message),
            interval: interval
                .unwrap_or(Duration::from_mins(1))
                .max(Duration::from_millis(1)),
            // COMPAT: 0 is never reached either.
            count: u64::try_from(count).ok().filter(|count| *count > 0),
            sequence: sequence.unwrap_or(if ecs { Sequence::None } else { meant }),
            field: Path::new(field.iter().copied()),
            marks: Marks::host(ecs),
            decoration: Decoration::from_options(options),
        };
        Some(Self {
            threads: threads.unwrap_or(1),
            beat: Arc::new(beat),
        })
    }

    /// Begins to beat.
    pub(super) fn start(
        self,
        queue: mpsc::Sender<Batch>,
        stopping: watch::Receiver<bool>,
    ) -> Running {
        Box::pin(async move {
            let mut beats = JoinSet::new();
            for _ in 0..self.threads {
                let beat = Arc::clone(&self.beat);
                beats.spawn(beat.run(queue.clone(), stopping.clone()));
            }
            drop(queue);
            while beats.join_next().await.is_some() {}
        })
    }
}

impl Beat {
    async fn run(self: Arc<Self>, queue: mpsc::Sender<Batch>, mut stopping: watch::Receiver<bool>) {
        let mut interval = tokio::time::interval(self.interval);
        // What a full queue has held up is not made up for.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0;
        while self.count.is_none_or(|count| number < count) {
            tokio::select! {
                _ = interval.tick() => {}
                () = told_to_stop(&mut stopping) => return,
            }
            number += 1;
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let sequence = match self.sequence {
                Sequence::None => None,
                Sequence::Epoch => Some(now.unwrap_or_default().as_secs()),
                Sequence::Count => Some(number),
            };
            let records = BeatRecords {
                sequence,
                beat: Arc::clone(&self),
            };
            let batch = Batch {
                records: Box::new(records),
                ack: Ack::ignored(),
            };
            tokio::select! {
                sent = queue.send(batch) => if sent.is_err() { return },
                () = told_to_stop(&mut stopping) => return,
            }
        }
    }
}

/// One beat.
struct BeatRecords {
    sequence: Option<u64>,
    beat: Arc<Beat>,
}

impl Records for BeatRecords {
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
        let beat = &*self.beat;
        let mut event = Event::with_timestamp_in(now, arena);
        if let Some(message) = &beat.message {
            event
                .fields
                .push_new(MESSAGE, Value::Text(message.as_bytes()));
        }
        if let Some(sequence) = self.sequence {
            event.set(&beat.field, Value::Integer(sequence as i64), arena);
        }
        beat.marks.apply(&mut event, arena);
        beat.decoration.apply(&mut event, arena);
        each(event);
    }

    fn source(&self) -> &str {
        &self.beat.name
    }
}
