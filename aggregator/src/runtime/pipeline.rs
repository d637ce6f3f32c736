//! The life of one pipeline: started from the back to the front, stopped from the front to the back.
//!
//! Starting: outputs, workers, inputs. Stopping: inputs take nothing new, workers empty the queue, outputs
//! deliver what they have. It ends by itself when every input has come to its end, or is asked for ([`Stop`]). An input that
//! other pipelines send to ends when it is told that none of them will any more (`close`), whatever the others of the pipeline do.
//! Whatever is not delivered is not acknowledged, so its sender keeps it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{Instrument as _, info, warn};

use super::{Plan, RuntimeError, Shared};
use crate::input;
use crate::log;
use crate::monitor::{OutputWatch, State, Watched};
use crate::output;
use crate::queue::{DiskQueue, RunningQueue};
use crate::reload::{self, Watcher};
use crate::settings::Settings;
use crate::worker::{Batch, Counters, Worker};

/// Batches that may wait for a worker, for each worker. Their bytes are bounded by the inputs.
const QUEUED_BATCHES: usize = 2;

/// Batches that may wait for the next sync of the disk queue. Their bytes are bounded by the inputs.
const GROUPED_BATCHES: usize = 256;

/// How often the counts are logged while events flow.
const REPORT_INTERVAL: Duration = Duration::from_mins(1);

/// That a pipeline is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Take nothing new and deliver what is there, by then.
    Drain(Instant),
    /// At once.
    Now,
}

/// What a pipeline is told while it runs.
pub(super) struct Orders {
    pub(super) stop: watch::Receiver<Option<Stop>>,
    /// No other pipeline will send any more.
    pub(super) close: watch::Receiver<bool>,
}

/// Runs a pipeline to its end. `started` is told when its inputs take events.
pub(super) async fn run(
    plan: Plan,
    shared: &Shared,
    orders: Orders,
    started: oneshot::Sender<()>,
) -> Result<(), RuntimeError> {
    let mut queue = None;
    let mut orders = orders;
    let result = run_to_the_end(plan, shared, &mut orders, started, &mut queue).await;
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
    plan: Plan,
    shared: &Shared,
    orders: &mut Orders,
    started: oneshot::Sender<()>,
    queue: &mut Option<RunningQueue>,
) -> Result<(), RuntimeError> {
    let (stop_inputs, stopping) = watch::channel(false);
    let (output_deadline, deadline) = watch::channel(None);
    let settings = plan.settings.clone();
    let counters = Arc::new(Counters::of_outputs(plan.outputs.len()));
    let close = orders.close.clone();
    let started_parts = start(plan, shared, &counters, stopping, close, deadline, queue).await?;
    let Started {
        mut inputs,
        threads,
        outputs,
        watcher: _watcher,
        watched,
    } = started_parts;
    let running = State::Running(Arc::clone(&watched));
    shared.monitor.set(&settings.pipeline_id, running);
    // Whoever waits for it may have gone.
    let _gone = started.send(());

    // Until every input has ended, by itself or because it is told to.
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
            stop = next(&mut orders.stop) => {
                let Stop::Drain(at) = stop else {
                    return Err(RuntimeError::NotDrained { after: Duration::ZERO });
                };
                deadline_at = Some(at);
                stop_inputs.send_replace(true);
                drain(queue.as_ref(), &settings);
                output_deadline.send_replace(Some(at));
            }
            () = until(deadline_at) => {
                say_what_is_left(&watched, shared);
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
            stop = next(&mut orders.stop) => {
                let Stop::Drain(at) = stop else {
                    return Err(RuntimeError::NotDrained { after: Duration::ZERO });
                };
                deadline_at = Some(at);
                drain(queue.as_ref(), &settings);
                output_deadline.send_replace(Some(at));
            }
            () = until(deadline_at) => {
                say_what_is_left(&watched, shared);
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

/// The time to stop is up.
fn say_what_is_left(watched: &Watched, shared: &Shared) {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counters = &watched.counters;
    let open = watched.inputs.iter().filter_map(|input| {
        let connections = input.connections.as_ref()?;
        Some(connections.current.load(Ordering::Relaxed))
    });
    warn!(
        connections = open.sum::<usize>(),
        events = read(&counters.filtered).saturating_sub(read(&counters.safe)),
        received_bytes = shared.budget.used(),
        "the time to stop is up: these connections are open, and these events not safe in all outputs"
    );
}

fn drain(queue: Option<&RunningQueue>, settings: &Settings) {
    if let Some(queue) = queue {
        queue.stop(settings.queue.drain);
    }
}

/// What runs of a pipeline.
struct Started {
    watched: Arc<Watched>,
    inputs: JoinSet<()>,
    threads: Vec<std::thread::JoinHandle<()>>,
    outputs: Vec<output::Running>,
    watcher: Option<Watcher>,
}

async fn start(
    plan: Plan,
    shared: &Shared,
    counters: &Arc<Counters>,
    stopping: watch::Receiver<bool>,
    close: watch::Receiver<bool>,
    deadline: output::deadline::Deadline,
    queue: &mut Option<RunningQueue>,
) -> Result<Started, RuntimeError> {
    let failed = |what| move |error| RuntimeError::Start { what, error };
    let settings = &plan.settings;
    let names = plan.outputs.iter().filter_map(output::Output::own_queue);
    let names: Vec<String> = names.map(ToOwned::to_owned).collect();
    output::own_queue::report_left_over(settings, &names);
    let mut outputs = Vec::new();
    let mut watched_outputs: Vec<OutputWatch> = Vec::new();
    for output in plan.outputs {
        let (name, id) = output.names();
        let (name, id) = (name.to_owned(), id.map(str::to_owned));
        let running = output.start(settings, deadline.clone(), &shared.addresses)?;
        let others = watched_outputs.iter().filter(|other| other.name == name);
        let id = id.unwrap_or_else(|| match others.count() {
            0 => name.clone(),
            others => format!("{name}#{}", others + 1),
        });
        watched_outputs.push(OutputWatch {
            id,
            name,
            figures: running.figures(),
            queue: running.queue_watch(),
        });
        outputs.push(running);
    }
    // Inputs are asynchronous, workers are threads: a bridge takes batches from one to the other,
    // through memory or through the disk.
    let waiting = if settings.queue.persisted {
        GROUPED_BATCHES
    } else {
        1
    };
    let (to_bridge, from_inputs) = mpsc::channel::<Batch>(waiting);
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
        let bridge = log::thread("queue", move || bridge(from_inputs, &to_workers));
        threads.push(bridge.map_err(failed("the queue's thread"))?);
    }
    let pipeline = Arc::new(plan.pipeline);
    let watcher = reload::watch(&pipeline).map_err(failed("the thread that reloads files"))?;
    for number in 0..plan.workers {
        let worker = Worker {
            pipeline: Arc::clone(&pipeline),
            queue: Receiver::clone(&to_work_on),
            writers: outputs.iter().map(output::Running::writer).collect(),
            batch_size: settings.batch_size,
            batch_delay: settings.batch_delay,
            counters: Arc::clone(counters),
        };
        let thread = log::thread(&format!("worker {number}"), move || worker.run());
        threads.push(thread.map_err(failed("a worker thread"))?);
    }
    drop(to_work_on);
    let watched = Arc::new(Watched {
        workers: plan.workers,
        batch_size: settings.batch_size,
        batch_delay: settings.batch_delay,
        config_hash: settings.config_hash.clone(),
        counters: Arc::clone(counters),
        gauge: queue.as_ref().map(RunningQueue::gauge),
        inputs: plan.inputs.iter().map(input::Input::watch).collect(),
        outputs: watched_outputs,
    });
    let mut inputs = JoinSet::new();
    for input in plan.inputs {
        let end = if input.is_pipeline() {
            close.clone()
        } else {
            stopping.clone()
        };
        let running = input
            .start(to_bridge.clone(), end, &shared.addresses)
            .await?;
        inputs.spawn(running.in_current_span());
    }
    info!(
        pipeline = settings.pipeline_id,
        workers = plan.workers,
        "pipeline started"
    );
    Ok(Started {
        watched,
        inputs,
        threads,
        outputs,
        watcher,
    })
}

fn bridge(mut from_inputs: mpsc::Receiver<Batch>, to_workers: &Sender<Batch>) {
    while let Some(batch) = from_inputs.blocking_recv() {
        if to_workers.send(batch).is_err() {
            break;
        }
    }
}

/// The next order to stop; never, if nobody can give one.
async fn next(stop: &mut watch::Receiver<Option<Stop>>) -> Stop {
    loop {
        if stop.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if let Some(stop) = *stop.borrow_and_update() {
            return stop;
        }
    }
}

/// Waits for a point in time, or for ever if there is none.
pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
