//! A queue of an output's own: while that output cannot deliver, the others and the inputs go on.
//!
//! Workers pack the events for the output and hand them to a disk queue below that of the pipeline. An event is
//! safe, as far as they are concerned, when it is synced there. A thread of its own takes the events out again, in the
//! order of the queue, and gives them to the output's writer; the queue is told when the output has them.
//!
//! INVARIANTS
//! * An event is acknowledged upstream when it is synced in the queue, or was thrown away because the queue is full and
//!   `when_full` is `shed`; a full disk never throws away.
//! * An event leaves the queue when the output has it, so a kill at any time loses nothing.
//! * Events keep the id of their line ([`crate::queue::packed`]), so what is delivered again is recognised.
//! * [`OwnQueue::finish`] returns when the directory can be locked by the next user.

mod options;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::bounded;
use skidder_pipeline::Pipeline;
use skidder_pipeline::program::{Operation, Program};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, info, warn};

pub(super) use self::options::OwnQueueOptions;
use super::deadline::{Deadline, passed};
use super::packing::{Destination, Packed, PackingWriter};
use super::s3::Origin;
use super::{Running, Writer};
use crate::ack::Ack;
use crate::log;
use crate::monitor::{Figures, OwnQueueWatch};
use crate::queue::packed::{PackedRecords, Receiver};
use crate::queue::places::{self, Label};
use crate::queue::stored::Sources;
use crate::queue::{DiskQueue, QueueOptions, RunningQueue, WhenFull};
use crate::runtime::RuntimeError;
use crate::settings::Settings;
use crate::worker::{Batch, Counters, Worker};

/// Packed batches of workers that may wait for the next sync; each has 512 KiB and one event at most.
const WAITING_BATCHES: usize = 16;

/// Bytes of synced batches that stay in memory, so that an output that keeps up never reads the disk.
const KEPT_BYTES: u64 = 8 << 20;

/// Batches that may wait for the output's writer.
const READ_BATCHES: usize = 2;

/// Segments that a full queue has at least, so that space comes back in pieces.
const MIN_SEGMENTS: u64 = 8;

/// How much earlier than the pipeline the output gives up, at most: so the queue is closed in time.
const MARGIN: Duration = Duration::from_secs(1);

/// The running queue of an output, with the output behind it.
pub struct OwnQueue {
    sender: mpsc::Sender<Batch>,
    /// That packed events are read as they are.
    receiver: Arc<Receiver>,
    figures: Option<Figures>,
    watch: OwnQueueWatch,
    end: JoinHandle<Result<(), RuntimeError>>,
}

/// What starts the output behind the queue, with the time at which it is to give up, and where its events come from.
pub(super) type StartOutput<'s> =
    Box<dyn FnOnce(Deadline, Origin) -> Result<Running, RuntimeError> + 's>;

impl OwnQueue {
    /// Opens the queue, and starts the output behind it.
    pub(super) fn start(
        options: &OwnQueueOptions,
        settings: &Settings,
        deadline: Deadline,
        output: StartOutput<'_>,
    ) -> Result<Self, RuntimeError> {
        let directory = places::of_output(settings, &options.name);
        let shed = Arc::new(AtomicU64::new(0));
        let queue_options = QueueOptions {
            max_bytes: options.max_bytes,
            max_events: 0,
            page_capacity: settings
                .queue
                .page_capacity
                .min(options.max_bytes / MIN_SEGMENTS),
            ..settings.queue.clone()
        };
        let mut queue = DiskQueue::open_at(&directory, queue_options, KEPT_BYTES)?;
        if options.sheds {
            queue = queue.when_full(WhenFull::Shed(Arc::clone(&shed)));
        }
        label(options, &directory, queue.waiting_events());
        let (give_up, inner_deadline) = watch::channel(None);
        let origin = Origin {
            directory,
            salt: queue.salt(),
            gauge: queue.gauge(),
        };
        let output = output(inner_deadline, origin)?;

        let failed = |what| move |error| RuntimeError::Start { what, error };
        let receiver = Arc::new(Receiver::bare());
        let mut sources = Sources::default();
        sources.add_bare(Arc::<Receiver>::clone(&receiver));
        let (sender, from_workers) = mpsc::channel(WAITING_BATCHES);
        let (to_feeder, to_feed) = bounded(READ_BATCHES);
        let mut queue = queue
            .start(from_workers, to_feeder, sources)
            .map_err(failed("the threads of an output's queue"))?;
        let mut threads = queue.front();
        let feeder = Worker {
            pipeline: Arc::new(straight_through()),
            queue: to_feed,
            writers: vec![output.writer()],
            batch_size: settings.batch_size,
            batch_delay: settings.batch_delay,
            counters: Arc::new(Counters::default()),
        };
        let feeder = log::thread("output", move || feeder.run());
        threads.push(feeder.map_err(failed("the thread of an output"))?);
        let figures = output.figures();
        let watch = OwnQueueWatch {
            gauge: queue.gauge(),
            sheds: options.sheds,
            shed: Arc::clone(&shed),
        };
        let end = run_to_the_end(Parts {
            name: options.name.clone(),
            queue,
            threads,
            output,
            give_up,
            deadline,
            drain: settings.queue.drain,
            shed,
        });
        Ok(Self {
            sender,
            receiver,
            figures,
            watch,
            end: tokio::spawn(end.in_current_span()),
        })
    }

    /// What says how deliveries of the output behind the queue go, if anything does.
    pub(super) fn figures(&self) -> Option<Figures> {
        self.figures.clone()
    }

    /// What tells how much waits in it.
    pub(super) fn watch(&self) -> OwnQueueWatch {
        self.watch.clone()
    }

    /// A writer for one worker.
    pub(super) fn writer(&self) -> Box<dyn Writer> {
        Box::new(PackingWriter::new(QueueEnd {
            sender: self.sender.clone(),
            receiver: Arc::clone(&self.receiver),
        }))
    }

    /// Waits until everything is delivered, or is to wait for the next start. Every writer must be gone.
    pub(super) async fn finish(self) -> Result<(), RuntimeError> {
        drop(self.sender);
        let ended = self.end.await;
        ended.map_err(|_| RuntimeError::Died("the queue of an output"))?
    }
}

/// Says which queues hold events for outputs that are not there: `names` are those that are.
pub(crate) fn report_left_over(settings: &Settings, names: &[String]) {
    let found = match places::of_outputs(settings) {
        Ok(found) => found,
        Err(error) => {
            let path = places::directory(settings);
            warn!(path = %path.display(), %error, "cannot look for queues of outputs that are gone");
            return;
        }
    };
    for directory in found {
        let is_used = |name: &String| places::of_output(settings, name) == directory;
        if names.iter().any(is_used) {
            continue;
        }
        let output = places::output_name(&directory);
        match places::waiting_events(&directory) {
            Ok(0) => {}
            Ok(events) => warn!(
                output, events, path = %directory.display(),
                "events wait for an output that the configuration does not have (with `queue => own`): give one this `id`, or \
                 take them out with `skidder-aggregator queue export`, then remove the directory"
            ),
            Err(error) => warn!(
                output, %error,
                "cannot look into the queue of an output that the configuration does not have"
            ),
        }
    }
}

/// Puts the label on the queue; says so if what waits was for another output.
fn label(options: &OwnQueueOptions, directory: &std::path::Path, events: u64) {
    let label = options.label();
    let before = Label::read(directory);
    if let Some(before) = &before
        && before.options != label.options
        && !options.has_id
        && events > 0
    {
        warn!(
            output = options.name,
            events,
            "events wait for this output that were put there when it had other options: they go where it goes now; \
             give outputs an `id`, so that they keep their queues when others come or go"
        );
    }
    if before.as_ref() != Some(&label)
        && let Err(error) = label.write(directory)
    {
        warn!(path = %directory.display(), %error, "cannot write down whose queue this is");
    }
}

/// A pipeline without filters and with one output.
fn straight_through() -> Pipeline {
    let mut outputs = Program::default();
    outputs.push(Operation::Run(0));
    Pipeline {
        filters: Program::default(),
        outputs,
        output_plugins: Vec::new(),
        watched_files: Vec::new(),
    }
}

/// What runs behind the workers.
struct Parts {
    name: String,
    queue: RunningQueue,
    threads: Vec<std::thread::JoinHandle<()>>,
    output: Running,
    give_up: watch::Sender<Option<Instant>>,
    deadline: Deadline,
    drain: bool,
    shed: Arc<AtomicU64>,
}

async fn run_to_the_end(parts: Parts) -> Result<(), RuntimeError> {
    let Parts {
        name,
        queue,
        threads,
        output,
        give_up,
        mut deadline,
        drain,
        shed,
    } = parts;
    let (cut, is_cut) = watch::channel(None);
    let delivered = async {
        let joined = tokio::task::spawn_blocking(move || {
            threads.into_iter().all(|thread| thread.join().is_ok())
        });
        if !joined.await.unwrap_or(false) {
            return Err(RuntimeError::Died("a thread of an output's queue"));
        }
        Box::pin(output.finish()).await
    };
    tokio::pin!(delivered);
    let too_late = passed(is_cut);
    tokio::pin!(too_late);
    let mut may_change = true;
    let result = loop {
        tokio::select! {
            result = &mut delivered => break result,
            changed = deadline.changed(), if may_change => {
                may_change = changed.is_ok();
                let at = *deadline.borrow_and_update();
                if let Some(at) = at {
                    queue.stop(drain);
                    let margin = MARGIN.min(at.saturating_duration_since(Instant::now()) / 4);
                    give_up.send_replace(Some(at - margin));
                    cut.send_replace(Some(at - margin / 2));
                }
            }
            () = &mut too_late => break Err(RuntimeError::NotDrained { after: MARGIN }),
        }
    };
    let written = queue.is_all_written();
    let left = tokio::task::spawn_blocking(move || queue.finish()).await;
    let left = left.map_err(|_| RuntimeError::Died("the queue of an output"))?;
    if matches!(result, Err(RuntimeError::NotDrained { .. })) {
        // Its threads see that it is over, and let go of the directory.
        let _ended = timeout(MARGIN, &mut delivered).await;
    }
    let shed = shed.load(Ordering::Relaxed);
    if shed > 0 {
        warn!(
            output = name,
            shed, "events were thrown away while the queue was full"
        );
    }
    if left > 0 {
        info!(
            output = name,
            batches = left,
            "left in the output's queue for the next start"
        );
    }
    match result {
        // What the output did not get is in the queue.
        Err(RuntimeError::NotDrained { .. } | RuntimeError::Undelivered { .. }) if written => {
            Ok(())
        }
        other => other,
    }
}

/// A worker's end of the queue.
struct QueueEnd {
    sender: mpsc::Sender<Batch>,
    receiver: Arc<Receiver>,
}

impl Destination for QueueEnd {
    fn send(&mut self, packed: Packed) {
        let Packed { bytes, acks, .. } = packed;
        let Some(records) = PackedRecords::new(bytes, Arc::clone(&self.receiver)) else {
            debug_assert!(false, "what was packed is whole");
            return;
        };
        let ack = Ack::new(Box::new(move || acks.iter().for_each(|ack| ack.done(1))));
        let records = Box::new(records);
        // Once the queue is closed nothing is taken, and what it was not given stays unacknowledged.
        let _closed = self.sender.blocking_send(Batch { records, ack });
    }
}
