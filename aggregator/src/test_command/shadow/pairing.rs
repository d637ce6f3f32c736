//! What waits for its counterpart, to be found by a key.

use std::collections::{HashMap, VecDeque};

/// Bytes of texts that may wait, whatever the window allows.
pub(super) const MAX_WAITING_BYTES: usize = 256 << 20;

/// How many of one key are looked at for one that is the same.
const MAX_COMPARED: usize = 32;

/// Things that wait, in the order in which they came.
pub(super) struct Pairing<T> {
    window: usize,
    /// By key, the oldest first.
    by_key: HashMap<Box<str>, VecDeque<Waiting<T>>>,
    /// Numbers and keys of all, the oldest first; those that were taken meanwhile included.
    order: VecDeque<(u64, Box<str>)>,
    count: usize,
    bytes: usize,
    /// How many have come.
    number: u64,
    /// The highest number of one that was taken for its counterpart.
    taken: u64,
}

struct Waiting<T> {
    number: u64,
    bytes: usize,
    value: T,
}

impl<T> Pairing<T> {
    pub(super) fn new(window: usize) -> Self {
        Self {
            window,
            by_key: HashMap::new(),
            order: VecDeque::new(),
            count: 0,
            bytes: 0,
            number: 0,
            taken: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether as many have come behind the last that found its counterpart as may.
    pub(super) fn is_ahead(&self) -> bool {
        self.number - self.taken >= self.window as u64 || self.bytes >= MAX_WAITING_BYTES
    }

    /// Lets something wait; gives those for which there is no room any more.
    pub(super) fn put(&mut self, key: &str, bytes: usize, value: T) -> Vec<T> {
        let mut lost = Vec::new();
        while self.count >= self.window.saturating_mul(2) || self.bytes >= MAX_WAITING_BYTES {
            match self.take_oldest() {
                Some(oldest) => lost.push(oldest),
                None => break,
            }
        }
        self.number += 1;
        let waiting = Waiting {
            number: self.number,
            bytes,
            value,
        };
        self.by_key
            .entry(key.into())
            .or_default()
            .push_back(waiting);
        self.order.push_back((self.number, key.into()));
        self.count += 1;
        self.bytes += bytes;
        lost
    }

    /// Takes what waits under a key: the first that is the same, or else the first.
    pub(super) fn take(&mut self, key: &str, is_same: impl Fn(&T) -> bool) -> Option<T> {
        let queue = self.by_key.get_mut(key)?;
        let mut first = queue.iter().take(MAX_COMPARED);
        let same = first.position(|waiting| is_same(&waiting.value));
        let taken = queue.remove(same.unwrap_or(0))?;
        if queue.is_empty() {
            self.by_key.remove(key);
        }
        self.taken = self.taken.max(taken.number);
        self.count -= 1;
        self.bytes -= taken.bytes;
        self.forget_taken();
        Some(taken.value)
    }

    /// The oldest of all.
    pub(super) fn oldest(&self) -> Option<&T> {
        let oldest = |(number, key): &(u64, Box<str>)| {
            let queue = self.by_key.get(key)?;
            Some(&queue[place(queue, *number)?].value)
        };
        self.order.iter().find_map(oldest)
    }

    /// Takes the oldest of all, if one that came a whole window behind it was taken: its own
    /// counterpart will not come any more.
    pub(super) fn take_aged(&mut self) -> Option<T> {
        let (number, _) = self.order.front()?;
        let is_aged = number.saturating_add(self.window as u64) < self.taken;
        if is_aged { self.take_oldest() } else { None }
    }

    /// All that is left, the oldest first.
    pub(super) fn rest(mut self) -> Vec<T> {
        std::iter::from_fn(|| self.take_oldest()).collect()
    }

    fn take_oldest(&mut self) -> Option<T> {
        while let Some((number, key)) = self.order.pop_front() {
            let Some(queue) = self.by_key.get_mut(&key) else {
                continue;
            };
            let Some(at) = place(queue, number) else {
                continue;
            };
            let taken = queue.remove(at)?;
            if queue.is_empty() {
                self.by_key.remove(&key);
            }
            self.count -= 1;
            self.bytes -= taken.bytes;
            self.forget_taken();
            return Some(taken.value);
        }
        None
    }

    /// Drops the numbers of those that were taken, as soon as they are at the front or are many.
    fn forget_taken(&mut self) {
        let by_key = &self.by_key;
        let waits = |(number, key): &(u64, Box<str>)| {
            let queue = by_key.get(key);
            queue.is_some_and(|queue| place(queue, *number).is_some())
        };
        while self.order.front().is_some_and(|front| !waits(front)) {
            self.order.pop_front();
        }
        if self.order.len() > 2 * self.count + 64 {
            self.order.retain(waits);
        }
    }
}

/// Where a number stands among those of one key.
fn place<T>(queue: &VecDeque<Waiting<T>>, number: u64) -> Option<usize> {
    queue
        .binary_search_by_key(&number, |waiting| waiting.number)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_comes_before_the_first_and_the_oldest_makes_room() {
        let mut waiting = Pairing::new(2);
        for (key, value) in [("a", 1), ("a", 2), ("b", 3)] {
            assert!(waiting.put(key, 10, value).is_empty());
        }
        assert_eq!(waiting.take("a", |value| *value == 2), Some(2));
        assert_eq!(waiting.take("c", |_| true), None);
        waiting.put("c", 10, 4);
        waiting.put("c", 10, 5);
        assert_eq!(waiting.put("d", 10, 6), [1]);
        assert_eq!(waiting.take("a", |_| false), None);
        assert_eq!(waiting.oldest(), Some(&3));
        assert_eq!(waiting.rest(), [3, 4, 5, 6]);
    }

    #[test]
    fn only_what_others_have_overtaken_by_the_window_is_given_up() {
        let mut waiting = Pairing::new(2);
        for (number, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
            assert_eq!(waiting.is_ahead(), number >= 2);
            waiting.put(key, 1, number);
        }
        assert_eq!(waiting.take("c", |_| true), Some(2));
        assert!(!waiting.is_ahead());
        assert_eq!(waiting.take_aged(), None);
        assert_eq!(waiting.take("d", |_| true), Some(3));
        assert_eq!(waiting.take_aged(), Some(0));
        assert_eq!(waiting.take_aged(), None);
    }

    #[test]
    fn bytes_are_bounded_and_taken_ones_forgotten() {
        let mut waiting = Pairing::new(usize::MAX);
        waiting.put("a", MAX_WAITING_BYTES, 1);
        assert_eq!(waiting.put("b", 1, 2), [1]);
        waiting.put("old", 1, 0);
        for number in 0..1000 {
            waiting.put("x", 1, number);
            waiting.take("x", |_| true);
        }
        assert!(waiting.order.len() < 100, "{}", waiting.order.len());
    }
}
