//! What a consumer is told by its group, and tells it: which partitions are ours, and how far they are safe.
//!
//! The library calls this in the thread that polls, and in no other, but for its log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tracing::{info, warn};

use super::progress::Progress;
use crate::kafka::client::Voice;
use crate::throttle::Throttle;

pub(super) type Consumer = BaseConsumer<Membership>;

/// What the library calls: the partitions that are ours, and what it has to say.
pub(super) struct Membership {
    voice: Voice,
    partitions: Mutex<Vec<Arc<Progress>>>,
    /// Nothing is to be fetched.
    paused: AtomicBool,
    not_committed: Throttle,
}

impl Membership {
    /// Of an input of this name.
    pub(super) fn new(input: &str) -> Self {
        Self {
            voice: Voice::new(input),
            partitions: Mutex::default(),
            paused: AtomicBool::new(false),
            not_committed: Throttle::default(),
        }
    }

    /// Whether fetching is paused or goes on from now on; false if that is nothing new.
    pub(super) fn pause(&self, pause: bool) -> bool {
        self.paused.swap(pause, Ordering::Relaxed) != pause
    }

    pub(super) fn partitions(&self) -> MutexGuard<'_, Vec<Arc<Progress>>> {
        self.partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The progress of a partition that something was read of.
    pub(super) fn progress(&self, topic: &str, partition: i32) -> Arc<Progress> {
        let mut partitions = self.partitions();
        let known = partitions
            .iter()
            .find(|known| known.partition == partition && *known.topic == *topic);
        if let Some(known) = known {
            return Arc::clone(known);
        }
        let new = Arc::new(Progress::new(topic, partition));
        partitions.push(Arc::clone(&new));
        new
    }

    /// Commits what has come to be safe of some partitions.
    pub(super) fn commit(
        &self,
        consumer: &Consumer,
        partitions: &[Arc<Progress>],
        mode: CommitMode,
    ) {
        let mut list = TopicPartitionList::new();
        let mut taken = Vec::new();
        for progress in partitions {
            let Some(offset) = progress.to_commit() else {
                continue;
            };
            let offset = Offset::Offset(offset);
            match list.add_partition_offset(&progress.topic, progress.partition, offset) {
                Ok(()) => taken.push(progress),
                Err(error) => self.say_not_committed(&error),
            }
        }
        if taken.is_empty() {
            return;
        }
        if let Err(error) = consumer.commit(&list, mode) {
            for progress in taken {
                progress.not_committed();
            }
            self.say_not_committed(&error);
        }
    }

    fn say_not_committed(&self, error: &KafkaError) {
        if let Some(count) = self.not_committed.due(1) {
            warn!(%error, count, "offsets could not be committed: they are with the next ones, or what is behind them is read again");
        }
    }

    /// Batches on their way.
    pub(super) fn under_way(&self) -> usize {
        self.partitions()
            .iter()
            .map(|progress| progress.under_way())
            .sum()
    }

    /// Commits what is safe of partitions that go to somebody else, and forgets them.
    fn give_back(&self, consumer: &Consumer, list: &TopicPartitionList) {
        let leaving: Vec<_> = {
            let mut partitions = self.partitions();
            let leaves = |progress: &mut Arc<Progress>| {
                list.find_partition(&progress.topic, progress.partition)
                    .is_some()
            };
            partitions.extract_if(.., leaves).collect()
        };
        // Once they are lost they are another's, and so is their offset.
        if !consumer.assignment_lost() {
            self.commit(consumer, &leaving, CommitMode::Sync);
        }
        for progress in leaving {
            progress.revoke();
        }
    }
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.voice.line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.voice.failure(&error, reason);
    }
}

impl ConsumerContext for Membership {
    fn pre_rebalance(&self, consumer: &Consumer, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(list) => {
                info!(partitions = list.count(), "partitions are taken back");
                self.give_back(consumer, list);
            }
            Rebalance::Error(error) => warn!(%error, "partitions could not be shared out"),
            Rebalance::Assign(_) => {}
        }
    }

    fn post_rebalance(&self, consumer: &Consumer, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            info!(
                partitions = list.count(),
                "partitions are given to this consumer"
            );
            if self.paused.load(Ordering::Relaxed)
                && let Err(error) = consumer.pause(list)
            {
                warn!(%error, "cannot pause");
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let Err(error) = result else { return };
        // There is nothing to commit.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::NoOffset) {
            return;
        }
        for progress in self.partitions().iter() {
            if offsets
                .find_partition(&progress.topic, progress.partition)
                .is_some()
            {
                progress.not_committed();
            }
        }
        self.say_not_committed(&error);
    }
}
