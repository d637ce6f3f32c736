//! What is watched of one pipeline: its counters, its queue, the connections of its inputs, and what its outputs have delivered.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::queue::{QueueFigures, QueueGauge};
use crate::worker::Counters;

/// A pipeline that runs.
#[derive(Debug)]
pub struct Watched {
    /// How many workers it has.
    pub workers: usize,
    /// `pipeline.batch.size`
    pub batch_size: usize,
    /// `pipeline.batch.delay`
    pub batch_delay: Duration,
    /// A hash of its configuration.
    pub config_hash: String,
    /// What its workers have counted.
    pub counters: Arc<Counters>,
    /// Its disk queue.
    pub(crate) gauge: Option<QueueGauge>,
    /// Its inputs.
    pub inputs: Vec<InputWatch>,
    /// Its outputs, in the order of [`Counters::outputs`].
    pub outputs: Vec<OutputWatch>,
}

impl Watched {
    /// What waits in its disk queue, if it has one.
    pub fn queue(&self) -> Option<QueueFigures> {
        self.gauge.as_ref().map(QueueGauge::figures)
    }
}

/// An input.
#[derive(Debug)]
pub struct InputWatch {
    /// Its `id`, or its name and number.
    pub id: String,
    /// The name of the plugin.
    pub name: String,
    /// Its connections, if it has any.
    pub connections: Option<Arc<Connections>>,
}

/// The connections of an input.
#[derive(Debug, Default)]
pub struct Connections {
    /// Those that are open.
    pub current: AtomicUsize,
    /// The most that were ever open.
    pub peak: AtomicUsize,
    /// All that were ever accepted.
    pub accepted: AtomicU64,
}

impl Connections {
    /// Counts a connection, which is open as long as the answer lives.
    pub(crate) fn opened(self: &Arc<Self>) -> Open {
        let current = self.current.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak.fetch_max(current, Ordering::Relaxed);
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }
}

/// A connection that is open.
pub(crate) struct Open(Arc<Connections>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.current.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What says how the deliveries of an output go.
pub type Figures = Arc<dyn Fn() -> DeliveryFigures + Send + Sync>;

/// An output.
pub struct OutputWatch {
    /// Its `id`, or its name and number.
    pub id: String,
    /// The name of the plugin.
    pub name: String,
    /// What it says of its deliveries; nothing if an event is safe as soon as the output has it.
    pub figures: Option<Figures>,
    /// The queue of its own that stands before it, if it has one.
    pub(crate) queue: Option<OwnQueueWatch>,
}

/// The queue of an output's own.
#[derive(Clone, Debug)]
pub(crate) struct OwnQueueWatch {
    pub(crate) gauge: QueueGauge,
    /// Whether it throws away what it has no room for, instead of making everybody wait.
    pub(crate) sheds: bool,
    /// Events that it has thrown away.
    pub(crate) shed: Arc<AtomicU64>,
}

impl fmt::Debug for OutputWatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "OutputWatch({})", self.id)
    }
}

/// What an output has delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFigures {
    /// Events that are safe at the other side.
    pub delivered: u64,
    /// Those of them that were there already.
    pub duplicates: u64,
    /// Events in the dead letters.
    pub dead_lettered: u64,
    /// Events that were sent again, counted each time.
    pub retried: u64,
    /// Requests, those that failed included.
    pub requests: u64,
    /// Requests that failed as a whole.
    pub failed_requests: u64,
    /// Bytes that were sent, before compression.
    pub bytes: u64,
    /// Values that did not fit the columns of an object, if it has some.
    pub column_misfits: Option<u64>,
    /// Requests at a time at most, for now.
    pub concurrency: usize,
    /// The servers.
    pub hosts: Vec<HostFigures>,
    /// What was done to documents that did not fit the mapping of their index, if there is such a thing.
    pub mapping: Option<MappingFigures>,
}

/// What became of documents that did not fit the mapping of their index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappingFigures {
    /// Documents that were changed, each time counted.
    pub documents: u64,
    /// Values that were kept in a text field beside their own.
    pub beside: u64,
    /// Values that were kept as texts in `unmapped`.
    pub unmapped: u64,
    /// Documents in the dead letters because they did not fit.
    pub refused: u64,
    /// The fields that it was about, of which there is a bounded number.
    pub fields: Vec<String>,
}

/// A server of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFigures {
    /// Its URL, without what is secret.
    pub name: String,
    /// Whether it answers.
    pub answers: bool,
}
