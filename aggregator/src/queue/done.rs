//! Which sequence numbers are done with: all below a watermark, and ranges above it.

use std::collections::BTreeMap;

/// A set of sequence numbers that is almost always "everything below".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Done {
    watermark: u64,
    /// First number of a range to the number after its last. Disjoint, not adjacent, all above
    /// the watermark.
    ranges: BTreeMap<u64, u64>,
}

impl Done {
    /// Everything below `watermark`.
    pub(super) fn new(watermark: u64) -> Self {
        Self {
            watermark,
            ranges: BTreeMap::new(),
        }
    }

    /// The first number that is not done with.
    pub(super) fn watermark(&self) -> u64 {
        self.watermark
    }

    /// The ranges above the watermark, in order.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ranges.iter().map(|(first, end)| (*first, *end))
    }

    /// Adds the numbers from `first` up to, not including, `end`.
    pub(super) fn insert(&mut self, first: u64, end: u64) {
        let (mut first, mut end) = (first.max(self.watermark), end);
        if first >= end {
            return;
        }
        // Whatever overlaps or touches becomes one range with it.
        if let Some((before, before_end)) = self.ranges.range(..=first).next_back()
            && *before_end >= first
        {
            first = *before;
        }
        while let Some((inside, inside_end)) = self.ranges.range(first..=end).next() {
            let inside = *inside;
            end = end.max(*inside_end);
            self.ranges.remove(&inside);
        }
        if first == self.watermark {
            self.watermark = end;
        } else {
            self.ranges.insert(first, end);
        }
    }

    /// Whether all numbers from `first` up to, not including, `end` are done with.
    pub(super) fn covers(&self, first: u64, end: u64) -> bool {
        let first = first.max(self.watermark);
        if first >= end {
            return true;
        }
        let range = self.ranges.range(..=first).next_back();
        range.is_some_and(|(_, range_end)| *range_end >= end)
    }

    /// The first number from `from` on that is not done with.
    pub(super) fn next_open(&self, from: u64) -> u64 {
        let from = from.max(self.watermark);
        match self.ranges.range(..=from).next_back() {
            Some((_, end)) if *end > from => *end,
            _ => from,
        }
    }

    /// The same, with at most so many ranges.
    pub(super) fn truncated(&self, ranges: usize) -> Self {
        Self {
            watermark: self.watermark,
            ranges: self.ranges().take(ranges).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(inserts in prop::collection::vec((0_u64..60, 0_u64..12), 0..40)) {
            let mut done = Done::new(5);
            let mut model: BTreeSet<u64> = (0..5).collect();
            for (first, length) in inserts {
                done.insert(first, first + length);
                model.extend(first..first + length);
                for number in 0..80 {
                    prop_assert_eq!(done.covers(number, number + 1), model.contains(&number));
                    let open = (number..200).find(|number| !model.contains(number)).unwrap();
                    prop_assert_eq!(done.next_open(number), open);
                }
                let mut last = done.watermark();
                for (first, end) in done.ranges() {
                    prop_assert!(first > last && end > first, "{:?}", done);
                    last = end;
                }
            }
        }
    }
}
