//! The `exec` input: what a command writes, each time it is run, as one text.
//!
//! A run is bounded: `max_output_bytes` of output and `timeout` of time. One that goes beyond is ended, with all that
//! it has started, and what it wrote so far is an event with a tag. When the input stops, so does the command, and
//! what it wrote is dropped. One run follows the other: the next waits for the one before.
//!
//! COMPAT: of Logstash's input: either `interval` or `schedule`; the fields `host`, `command`,
//! `[@metadata][exit_status]` and `[@metadata][duration]` (seconds); with ECS `[host][name]`, `[process][command_line]`,
//! `[process][exit_code]` and `[@metadata][input][exec][process][elapsed_time]` (nanoseconds, which Logstash's manual says
//! and its code does not).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bumpalo::Bump;
use bytes::Bytes;
use jiff::Timestamp as Time;
use skidder_pipeline::event::{Event, Path, Timestamp, Value};
use skidder_pipeline::language::{DurationUnit, Options};
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::cron::Cron;
use super::decoration::Decoration;
use super::listener::told_to_stop;
use super::local::{Decoder, Marks};
use super::process::Process;
use super::{Build, Running};
use crate::ack::Ack;
use crate::throttle::Throttle;
use crate::worker::{Batch, Records};

/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;
/// The clock may be set meanwhile: a time that is far away is waited for in steps.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// The tags of a run that was ended.
const TIMED_OUT: &[u8] = b"_exec_timeout";
const TRUNCATED: &[u8] = b"_exec_output_truncated";

/// A command to run now and then.
pub(super) struct ExecInput {
    command: String,
    when: When,
    timeout: Duration,
    max_output_bytes: usize,
    results: Arc<Results>,
}

enum When {
    Every(Duration),
    At(Box<Cron>),
}

/// How results become events.
struct Results {
    decoder: Decoder,
    exit_status: Path,
    elapsed: Path,
    /// Whether the time is in nanoseconds and not in seconds.
    nanoseconds: bool,
}

impl ExecInput {
    /// Reads the options.
    pub(super) fn from_options(options: &mut Options<'_>, build: &Build<'_>) -> Option<Self> {
        let ecs = build.ecs(options);
        let codec = build.codec(options, "plain", ecs);
        let command = options.required_string("command");
        let interval = options.duration("interval", DurationUnit::Seconds);
        let schedule = options.spanned_string("schedule");
        let when = match (interval, schedule) {
            (Some(interval), None) => Some(When::Every(interval)),
            (None, Some(text)) => match Cron::new(&text.value) {
                Ok(cron) if cron.next(Time::now()).is_none() => {
                    options
                        .diagnostics()
                        .error(text.span, "this time never comes");
                    None
                }
                Ok(cron) => Some(When::At(Box::new(cron))),
                Err(message) => {
                    options.diagnostics().error(text.span, message);
                    None
                }
            },
            (Some(_), Some(_)) => {
                options.error("schedule", "there is an `interval` too: write one of them");
                None
            }
            (None, None) => {
                if !options.has("interval") && !options.has("schedule") {
                    options.missing("interval");
                }
                None
            }
        };
        let timeout = options.duration("timeout", DurationUnit::Seconds);
        let max_output_bytes = options.bytes("max_output_bytes").unwrap_or(16 << 20);
        let decoration = Decoration::from_options(options);
        let ((plugin, codec), command) = (codec?, command?);
        let mut marks = Marks::host(ecs);
        let with_ecs = ["process", "command_line"];
        marks.add(ecs, &["command"], &with_ecs, command.clone());
        let (status, elapsed): (&[&str], &[&str]) = if ecs {
            let elapsed = &["@metadata", "input", "exec", "process", "elapsed_time"];
            (&["process", "exit_code"], elapsed)
        } else {
            (&["@metadata", "exit_status"], &["@metadata", "duration"])
        };
        Some(Self {
            command,
            when: when?,
            timeout: timeout.unwrap_or(Duration::from_hours(1)),
            max_output_bytes: usize::try_from(max_output_bytes).unwrap_or(usize::MAX),
            results: Arc::new(Results {
                decoder: Decoder {
                    name: build.name.to_owned(),
                    codec,
                    plain: plugin.name.value == "plain",
                    marks,
                    decoration,
                },
                exit_status: Path::new(status.iter().copied()),
                elapsed: Path::new(elapsed.iter().copied()),
                nanoseconds: ecs,
            }),
        })
    }

    /// Begins to run the command.
    pub(super) fn start(
        self,
        queue: mpsc::Sender<Batch>,
        stopping: watch::Receiver<bool>,
    ) -> Running {
        Box::pin(self.run(queue, stopping))
    }

    async fn run(self, queue: mpsc::Sender<Batch>, mut stopping: watch::Receiver<bool>) {
        let (input, command) = (&self.results.decoder.name, &self.command);
        let (failed, late) = (Throttle::default(), Throttle::default());
        loop {
            if let When::At(cron) = &self.when
                && !wait_for(cron, &mut stopping).await
            {
                return;
            }
            let started = Instant::now();
            let finished = tokio::select! {
                finished = self.execute() => finished,
                // Dropping it kills the command.
                () = told_to_stop(&mut stopping) => return,
            };
            match finished {
                Ok(result) => {
                    debug!(input, command, status = ?result.status, elapsed = ?result.elapsed, "the command has ended");
                    let batch = Batch {
                        records: Box::new(result),
                        ack: Ack::ignored(),
                    };
                    tokio::select! {
                        sent = queue.send(batch) => if sent.is_err() { return },
                        () = told_to_stop(&mut stopping) => return,
                    }
                }
                Err(error) => {
                    if let Some(count) = failed.due(1) {
                        warn!(input, command, %error, count, "cannot run the command");
                    }
                }
            }
            if let When::Every(interval) = self.when {
                let elapsed = started.elapsed();
                if elapsed >= interval
                    && !interval.is_zero()
                    && let Some(count) = late.due(1)
                {
                    warn!(
                        input,
                        command,
                        ?elapsed,
                        ?interval,
                        count,
                        "the command takes longer than its interval"
                    );
                }
                tokio::select! {
                    () = tokio::time::sleep(interval.saturating_sub(elapsed).max(LEAST_PAUSE)) => {}
                    () = told_to_stop(&mut stopping) => return,
                }
            }
        }
    }

    /// Runs the command once.
    async fn execute(&self) -> io::Result<ResultRecords> {
        let started = Instant::now();
        let deadline = started + self.timeout;
        let (process, mut output) = Process::start(&self.command)?;
        let mut text = Vec::new();
        let mut tag = None;
        loop {
            let before = text.len();
            // One byte more shows that there is more.
            let room = (self.max_output_bytes + 1 - before).min(READ_BYTES);
            text.resize(before + room, 0);
            let read = tokio::time::timeout_at(deadline, output.read(&mut text[before..])).await;
            let read = match read {
                Ok(read) => read,
                Err(_) => {
                    tag = Some(TIMED_OUT);
                    Ok(0)
                }
            };
            let read = read.inspect_err(|_| text.truncate(before))?;
            text.truncate(before + read);
            if text.len() > self.max_output_bytes {
                text.truncate(self.max_output_bytes);
                tag = Some(TRUNCATED);
            }
            if read == 0 || tag.is_some() {
                break;
            }
        }
        let status = if tag.is_some() {
            process.end(Duration::ZERO).await
        } else {
            // It may go on without its output, for the rest of its time.
            process
                .end(deadline.saturating_duration_since(Instant::now()))
                .await
        };
        Ok(ResultRecords {
            text: text.into(),
            status: status.and_then(|status| status.code()),
            elapsed: started.elapsed(),
            tag,
            results: Arc::clone(&self.results),
        })
    }
}

/// Between two runs there is this much at least, so that a command that fails at once does not take a processor.
const LEAST_PAUSE: Duration = Duration::from_millis(10);

/// Waits for the next time. False if the input is to stop.
async fn wait_for(cron: &Cron, stopping: &mut watch::Receiver<bool>) -> bool {
    let Some(next) = cron.next(Time::now()) else {
        told_to_stop(stopping).await;
        return false;
    };
    loop {
        let left = Duration::try_from(next.duration_since(Time::now())).unwrap_or_default();
        if left.is_zero() {
            return true;
        }
        tokio::select! {
            () = tokio::time::sleep(left.min(LONGEST_SLEEP)) => {}
            () = told_to_stop(stopping) => return false,
        }
    }
}

/// What a run has given.
struct ResultRecords {
    text: Bytes,
    /// Of one that was killed there is none.
    status: Option<i32>,
    elapsed: Duration,
    tag: Option<&'static [u8]>,
    results: Arc<Results>,
}

impl Records for ResultRecords {
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
        let results = &*self.results;
        let elapsed = || {
            if results.nanoseconds {
                Value::Integer(i64::try_from(self.elapsed.as_nanos()).unwrap_or(i64::MAX))
            } else {
                Value::Float(self.elapsed.as_secs_f64())
            }
        };
        for mut event in results.decoder.decode(&self.text, arena, now) {
            if let Some(status) = self.status
                && event.get(&results.exit_status).is_none()
            {
                event.set(&results.exit_status, Value::Integer(status.into()), arena);
            }
            event.set(&results.elapsed, elapsed(), arena);
            if let Some(tag) = self.tag {
                event.tag(tag, arena);
            }
            results.decoder.finish(&mut event, arena);
            each(event);
        }
    }

    fn source(&self) -> &str {
        &self.results.decoder.name
    }
}
