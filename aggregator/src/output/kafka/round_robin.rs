//! The partitioner `round_robin`, which the library does not have.

use std::sync::atomic::{AtomicI32, Ordering};

use rdkafka::producer::Partitioner;

/// One partition after the other, those without a leader left out.
#[derive(Default)]
pub(super) struct RoundRobin(AtomicI32);

impl Partitioner for RoundRobin {
    fn partition(
        &self,
        _topic: &str,
        _key: Option<&[u8]>,
        partitions: i32,
        is_available: impl Fn(i32) -> bool,
    ) -> i32 {
        let partitions = partitions.max(1);
        let next = || {
            self.0
                .fetch_add(1, Ordering::Relaxed)
                .rem_euclid(partitions)
        };
        let first = next();
        std::iter::once(first)
            .chain(std::iter::repeat_with(next).take(partitions as usize))
            .find(|partition| is_available(*partition))
            .unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_partition_after_the_other() {
        let partitioner = RoundRobin::default();
        let chosen: Vec<i32> = (0..6)
            .map(|_| partitioner.partition("logs", Some(b"key"), 3, |_| true))
            .collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1, 2]);
        assert_eq!(
            partitioner.partition("logs", None, 3, |partition| partition == 2),
            2
        );
        assert!((0..3).contains(&partitioner.partition("logs", None, 3, |_| false)));
        let late = RoundRobin(AtomicI32::new(i32::MAX));
        for _ in 0..3 {
            assert!((0..3).contains(&late.partition("logs", None, 3, |_| true)));
        }
    }
}
