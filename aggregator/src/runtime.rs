//! The life of a running pipeline: built, started, stopped.
//!
//! Building ([`plan`]) finds every mistake of the configuration before anything starts; `-t`
//! stops there. Starting goes from the back to the front: outputs, workers, inputs. Stopping
//! goes from the front to the back: inputs take nothing new, workers empty the queue, outputs
//! deliver what they have. It ends by itself when every input has come to its end (stdin), or
//! is asked for by SIGTERM or SIGINT; then it may take `pipeline.shutdown_timeout`, and a second
//! signal ends it at once. Whatever is not delivered is not acknowledged, so its sender keeps it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::bounded;
use skidder_lumberjack::ByteBudget;
use skidder_pipeline::Pipeline;
use skidder_pipeline::language::{Code, Config, Diagnostic, Diagnostics};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::input::{self, Input};
use crate::output::{self, Output};
use crate::queue::{DiskQueue, QueueError, RunningQueue};
use crate::reload;
use crate::settings::Settings;
use crate::worker::{Batch, Counters, Worker};

/// Batches that may wait for a worker, for each worker. Their bytes are bounded by the inputs.
const QUEUED_BATCHES: usize = 2;

/// Batches that may wait for the next sync of the disk queue. Their bytes are bounded by the inputs.
const GROUPED_BATCHES: usize = 256;

/// How often the counts are logged while events flow.
const REPORT_INTERVAL: Duration = Duration::from_mins(1);

/// Why a pipeline could not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The system refused a thread or the like.
    #[error("cannot start {what}: {error}")]
    Start {
        /// "a worker thread", …
        what: &'static str,
        /// Why.
        error: std::io::Error,
    },
    /// An input cannot begin.
    #[error("input {name}: {reason}")]
    Input {
        /// The plugin's name.
        name: String,
        /// Why.
        reason: String,
    },
    /// An output cannot begin.
    #[error("output {name}: {reason}")]
    Output {
        /// The plugin's name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The outputs were not done within the time for it.
    #[error(
        "stopped after {after:?} before everything was delivered; what was not delivered was not \
         acknowledged either, so senders that can send again will"
    )]
    NotDrained {
        /// `pipeline.shutdown_timeout`
        after: Duration,
    },
    /// An output gave up at the end of the time for it.
    #[error(
        "{events} events were not delivered when the time to stop was up; they were not \
         acknowledged, so senders that can send them again will"
    )]
    Undelivered {
        /// How many.
        events: u64,
    },
    /// The disk queue cannot be used.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A part of the process ended that must not.
    #[error("{0} ended unexpectedly, this is a bug: see the messages before this one")]
    Died(&'static str),
}

/// A pipeline that is ready to start.
pub struct Plan {
    pipeline: Pipeline,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    workers: usize,
}

/// Builds inputs and outputs; what is wrong goes into `diagnostics`.
pub fn plan(
    settings: &Settings,
    config: &Config,
    pipeline: Pipeline,
    diagnostics: &mut Diagnostics,
) -> Option<Plan> {
    let budget = ByteBudget::new(settings.queue_max_memory);
    let inputs = input::build(settings, &config.inputs, &budget, diagnostics);
    let outputs = output::build(settings, &pipeline.output_plugins, diagnostics);
    if diagnostics.has_errors() {
        return None;
    }
    if inputs.is_empty() {
        diagnostics.push(no_input());
        return None;
    }
    let workers = settings.workers_or(inputs.iter().all(Input::is_stdin));
    Some(Plan {
        pipeline,
        inputs,
        outputs,
        workers,
    })
}

/// The finding that there is no input.
pub(crate) fn no_input() -> Diagnostic {
    let message = "the configuration has no input: nothing would ever come";
    Diagnostic::error(None, message).code(Code::Pipeline)
}

/// Runs until all inputs have ended or a signal comes.
pub fn run(settings: &Settings, plan: Plan) -> Result<(), RuntimeError> {
    let failed = |what| move |error| RuntimeError::Start { what, error };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(plan.workers.clamp(1, 8))
        .thread_name("network")
        .enable_all()
        .build()
        .map_err(failed("the network threads"))?;
    let result = runtime.block_on(supervise(settings, plan));
    // A read of stdin that waits for a person must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn supervise(settings: &Settings, plan: Plan) -> Result<(), RuntimeError> {
    let mut queue = None;
    let result = run_to_the_end(settings, plan, &mut queue).await;
    match queue {
        None => result,
        Some(queue) => close(queue, result).await,
    }
}

/// Writes the last checkpoint of the disk queue. What the outputs did not get in time is no loss
/// if all of it is in the queue.
async fn close(queue: RunningQueue, result: Result<(), RuntimeError>) -> Result<(), RuntimeError> {
    let written = queue.is_all_written();
    let left = tokio::task::spawn_blocking(move || queue.finish()).await;
    let left = left.map_err(|_| RuntimeError::Died("the queue"))?;
    if left > 0 {
        info!(batches = left, "left in the queue for the next start");
    }
    match result {
        Err(RuntimeError::NotDrained { .. } | RuntimeError::Undelivered { .. }) if written => {
            Ok(())
        }
        other => other,
    }
}

async fn run_to_the_end(
    settings: &Settings,
    plan: Plan,
    queue: &mut Option<RunningQueue>,
) -> Result<(), RuntimeError> {
    let failed = |what| move |error| RuntimeError::Start { what, error };
    let mut signals = Signals {
        terminate: signal(SignalKind::terminate()).map_err(failed("signal handling"))?,
        interrupt: signal(SignalKind::interrupt()).map_err(failed("signal handling"))?,
    };
    let (stop_inputs, stopping) = watch::channel(false);
    let (output_deadline, deadline) = watch::channel(None);

    let mut outputs = Vec::new();
    for output in plan.outputs {
        outputs.push(output.start(settings, deadline.clone())?);
    }
    // Inputs are asynchronous, workers are threads: a bridge takes batches from one to the other,
    // through memory or through the disk.
    let waiting = if settings.queue.persisted {
        GROUPED_BATCHES
    } else {
        1
    };
    let (to_bridge, mut from_inputs) = mpsc::channel::<Batch>(waiting);
    let (to_workers, to_work_on) = bounded(plan.workers * QUEUED_BATCHES);
    let mut threads = Vec::new();
    if settings.queue.persisted {
        let mut sources = input::bare_sources(settings);
        plan.inputs
            .iter()
            .for_each(|input| input.add_to(&mut sources));
        let running = DiskQueue::open(settings)?
            .start(from_inputs, to_workers, sources)
            .map_err(failed("the queue's threads"))?;
        threads.extend(queue.insert(running).front());
    } else {
        let bridge = std::thread::Builder::new()
            .name("queue".into())
            .spawn(move || {
                while let Some(batch) = from_inputs.blocking_recv() {
                    if to_workers.send(batch).is_err() {
                        break;
                    }
                }
            })
            .map_err(failed("the queue's thread"))?;
        threads.push(bridge);
    }
    let counters = Arc::new(Counters::default());
    let pipeline = Arc::new(plan.pipeline);
    let _watcher = reload::watch(&pipeline).map_err(failed("the thread that reloads files"))?;
    for number in 0..plan.workers {
        let worker = Worker {
            pipeline: Arc::clone(&pipeline),
            queue: to_work_on.clone(),
            writers: outputs.iter().map(output::Running::writer).collect(),
            batch_size: settings.batch_size,
            batch_delay: settings.batch_delay,
            counters: Arc::clone(&counters),
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker {number}"))
            .spawn(move || worker.run())
            .map_err(failed("a worker thread"))?;
        threads.push(thread);
    }
    drop(to_work_on);
    let mut inputs = tokio::task::JoinSet::new();
    for input in plan.inputs {
        let running = input.start(to_bridge.clone(), stopping.clone()).await?;
        inputs.spawn(running);
    }
    drop(to_bridge);
    info!(
        pipeline = settings.pipeline_id,
        workers = plan.workers,
        "pipeline started"
    );

    // Until every input has ended, by itself or because of a signal.
    let mut report = tokio::time::interval(REPORT_INTERVAL);
    report.tick().await;
    let mut reported = 0;
    let mut deadline_at = None;
    loop {
        tokio::select! {
            ended = inputs.join_next() => match ended {
                None => break,
                Some(Ok(())) => {}
                Some(Err(_)) => return Err(RuntimeError::Died("an input")),
            },
            name = signals.next() => {
                if deadline_at.is_some() {
                    warn!(signal = name, "stopped at once, nothing that is not delivered was acknowledged");
                    return Err(RuntimeError::NotDrained { after: Duration::ZERO });
                }
                let at = Instant::now() + settings.shutdown_timeout;
                info!(signal = name, timeout = ?settings.shutdown_timeout, "stopping: draining inputs, queue and outputs");
                deadline_at = Some(at);
                stop_inputs.send_replace(true);
                if let Some(queue) = queue {
                    queue.stop(settings.queue.drain);
                }
                output_deadline.send_replace(Some(at));
            }
            () = until(deadline_at) => {
                return Err(RuntimeError::NotDrained { after: settings.shutdown_timeout });
            }
            _ = report.tick() => {
                let received = counters.received.load(Ordering::Relaxed);
                if received != reported {
                    let filtered = counters.filtered.load(Ordering::Relaxed);
                    info!(received, filtered, "events so far");
                    reported = received;
                }
            }
        }
    }

    // Inputs are gone, so the bridge ends, then the workers, then the outputs.
    let drained = async {
        let joined = tokio::task::spawn_blocking(move || {
            threads.into_iter().all(|thread| thread.join().is_ok())
        });
        if !joined.await.unwrap_or(false) {
            return Err(RuntimeError::Died("a worker"));
        }
        for output in outputs {
            output.finish().await?;
        }
        Ok(())
    };
    tokio::pin!(drained);
    loop {
        tokio::select! {
            result = &mut drained => {
                result?;
                break;
            }
            name = signals.next() => {
                if deadline_at.is_some() {
                    return Err(RuntimeError::NotDrained { after: Duration::ZERO });
                }
                info!(signal = name, timeout = ?settings.shutdown_timeout, "stopping: draining outputs");
                let at = Instant::now() + settings.shutdown_timeout;
                deadline_at = Some(at);
                if let Some(queue) = queue {
                    queue.stop(settings.queue.drain);
                }
                output_deadline.send_replace(Some(at));
            }
            () = until(deadline_at) => {
                return Err(RuntimeError::NotDrained { after: settings.shutdown_timeout });
            }
        }
    }
    let received = counters.received.load(Ordering::Relaxed);
    let filtered = counters.filtered.load(Ordering::Relaxed);
    if queue.is_some() {
        info!(received, filtered, "pipeline stopped");
    } else {
        info!(
            received,
            filtered, "pipeline stopped, everything is delivered"
        );
    }
    Ok(())
}

/// Waits for a point in time, or for ever if there is none.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
