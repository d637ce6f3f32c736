//! How old the oldest line is that is not acknowledged.
//!
//! A file does not say when each of its bytes was written, so a few marks are kept while it grows: from this
//! offset on, bytes came at this time or later. INVARIANT: the age that is told is never too small by more
//! than [`LEAST_GAP`] and the time between two looks.

use std::time::{Duration, SystemTime};

/// Marks that are kept for a file at most.
pub const MAX_MARKS: usize = 8;
/// Marks are not set more often than this.
pub const LEAST_GAP: Duration = Duration::from_secs(1);

/// When bytes came, for those that are not acknowledged.
#[derive(Debug, Default)]
pub struct Arrivals {
    marks: Vec<(u64, SystemTime)>,
}

impl Arrivals {
    /// From this offset on there is something new, since this time.
    pub fn grew(&mut self, from: u64, at: SystemTime) {
        if let Some((offset, last)) = self.marks.last() {
            let gap = at.duration_since(*last).unwrap_or_default();
            if gap < LEAST_GAP || *offset >= from {
                return;
            }
        }
        if self.marks.len() >= MAX_MARKS {
            // The coarser marks claim an older time, never a younger one.
            let mut index = 0;
            self.marks.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
        self.marks.push((from, at));
    }

    /// Everything before this offset is acknowledged, of a file that is this long.
    pub fn acknowledged(&mut self, offset: u64, size: u64) {
        if offset >= size {
            self.marks = Vec::new();
            return;
        }
        let passed = self
            .marks
            .iter()
            .skip(1)
            .take_while(|(from, _)| *from <= offset);
        let passed = passed.count();
        self.marks.drain(..passed);
    }

    /// Since when the byte at this offset has been there, as far as is known.
    pub fn since(&self, offset: u64) -> Option<SystemTime> {
        let known = self.marks.iter().rev().find(|(from, _)| *from <= offset);
        known.or(self.marks.first()).map(|(_, at)| *at)
    }

    /// Whether there is something to drop by an acknowledgement.
    pub fn is_crowded(&self) -> bool {
        self.marks.len() > 1
    }

    /// Nothing is known any more.
    pub fn clear(&mut self) {
        self.marks = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_byte_is_as_old_as_its_mark_or_younger() {
        let start = SystemTime::UNIX_EPOCH;
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut arrivals = Arrivals::default();
        for second in 0..100 {
            arrivals.grew(second * 10, at(second));
            assert!(arrivals.marks.len() <= MAX_MARKS);
        }
        assert_eq!(arrivals.since(0), Some(at(0)));
        for offset in (0..990).step_by(7) {
            let since = arrivals.since(offset).expect("known");
            assert!(since <= at(offset / 10), "{offset}");
        }
        arrivals.acknowledged(985, 1000);
        let age = at(98).duration_since(arrivals.since(985).expect("known"));
        assert!(
            age.expect("older") <= Duration::from_secs(25),
            "{arrivals:?}"
        );
        arrivals.acknowledged(1000, 1000);
        assert_eq!(arrivals.since(1000), None);
    }
}
