//! The `kafka` input: messages of topics, as a member of a consumer group.
//!
//! Each of the `consumer_threads` is a thread with a consumer of the library ([`consumers`]). It hands batches of messages to the
//! workers, which decode them ([`records`]), and commits an offset when everything before it is safe ([`progress`]): in the outputs,
//! or in the disk queue. So what is read and not safe when the process dies, or when a partition goes to
//! another member, is read again; an event that comes again has the identity that it had.
//!
//! When the pipeline is full, fetching is paused, while the consumer stays a member. What is fetched ahead is bounded by
//! `prefetch_max_bytes`; what the pipeline holds, by `queue.max_memory_bytes`.
//!
//! COMPAT (logstash-integration-kafka): options, their defaults, `[@metadata][kafka]`. Differences: Logstash commits what is
//! in its queue; topics that are not there are not made.

#[cfg(feature = "kafka")]
mod collected;
#[cfg(feature = "kafka")]
mod consumers;
#[cfg(not(feature = "kafka"))]
#[path = "without.rs"]
mod consumers;
#[cfg(feature = "kafka")]
mod membership;
mod options;
#[cfg_attr(
    not(feature = "kafka"),
    allow(dead_code, reason = "only consumers need it")
)]
#[cfg(any(feature = "kafka", test))]
mod progress;
mod records;

use skidder_pipeline::language::Options;
use tokio::sync::{mpsc, watch};

use self::options::KafkaOptions;
use super::{Build, Running};
use crate::worker::Batch;

/// A kafka input, ready to start.
pub(super) struct KafkaInput(KafkaOptions);

impl KafkaInput {
    /// Reads the options.
    pub(super) fn from_options(options: &mut Options<'_>, build: &Build<'_>) -> Option<Self> {
        KafkaOptions::from_options(options, build).map(Self)
    }

    /// Starts the consumers; no broker needs to answer for that.
    pub(super) async fn start(
        self,
        queue: mpsc::Sender<Batch>,
        stopping: watch::Receiver<bool>,
    ) -> Result<Running, String> {
        consumers::start(self.0, queue, stopping).await
    }
}
