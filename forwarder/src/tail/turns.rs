//! Whose turn it is to be read.
//!
//! A turn is one read of `harvest buffer size`. Files have turns one after the other, so that a file that is written
//! to quickly takes no more than its share from the others. Inputs may have a priority: of eight turns seven
//! are of the highest that has something to read, the eighth is of a lower one, so that none
//! waits for ever. The files of an input with a `rate limit` or an `order` share one place in the round.
//!
//! INVARIANT: a file is in one queue at most (its `queued` says so), and a limit is kept over any second to within
//! one second's bytes and one read.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::FileGroup;

/// Which inputs are read first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Before all others.
    High,
    /// As most are.
    #[default]
    Normal,
    /// What the others leave.
    Low,
}

/// Of so many turns one is of a lower priority.
const LOWER_TURN: u64 = 8;
/// The number of priorities.
const LEVELS: usize = 3;

/// The files that may have something to read.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// By priority.
    levels: [VecDeque<Turn>; LEVELS],
    /// By element of `files`.
    inputs: Vec<Input>,
    /// A file that goes on before all others, and its element.
    next: Option<(u64, usize)>,
    /// Counts the turns.
    taken: u64,
}

#[derive(Clone, Copy, Debug)]
enum Turn {
    File(u64),
    Input(usize),
}

#[derive(Debug)]
struct Input {
    level: usize,
    /// Its files share one place.
    together: bool,
    /// A file is read to its end before the next.
    one_by_one: bool,
    files: VecDeque<u64>,
    /// Whether it has its place.
    listed: bool,
    /// Whether it is due when there are bytes to spend again.
    sleeps: bool,
    bucket: Option<Bucket>,
}

/// Bytes that may be read now.
#[derive(Debug)]
struct Bucket {
    /// In a second, and what is saved up at most.
    rate: f64,
    left: f64,
    filled: Instant,
}

impl Bucket {
    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.left = (self.left + passed * self.rate).min(self.rate);
        self.filled = now;
    }

    /// When there is something to spend.
    fn due(&self) -> Instant {
        if self.left > 0.0 {
            return self.filled;
        }
        // Not so little that it would be a read for each byte.
        let wanted = self.rate / 10.0 - self.left;
        self.filled + Duration::from_secs_f64(wanted / self.rate)
    }
}

impl Input {
    fn is_due(&mut self, now: Instant) -> bool {
        let Some(bucket) = &mut self.bucket else {
            return true;
        };
        if bucket.due() > now {
            return false;
        }
        bucket.fill(now);
        true
    }
}

impl Turns {
    /// For the files of a config. Nothing is in it.
    pub(super) fn new(groups: &[Rc<FileGroup>], now: Instant) -> Self {
        let inputs = groups.iter().map(|group| {
            let following = &group.following;
            Input {
                level: following.priority as usize,
                together: following.one_by_one || following.rate_limit.is_some(),
                one_by_one: following.one_by_one,
                files: VecDeque::new(),
                listed: false,
                sleeps: false,
                bucket: following.rate_limit.map(|rate| Bucket {
                    rate: rate as f64,
                    left: rate as f64,
                    filled: now,
                }),
            }
        });
        Self {
            inputs: inputs.collect(),
            ..Self::default()
        }
    }

    /// The file waits for its turn.
    pub(super) fn push(&mut self, key: u64, group: usize) {
        let Some(input) = self.inputs.get_mut(group) else {
            return;
        };
        if input.together {
            input.files.push_back(key);
            self.list(group);
        } else {
            self.levels[input.level].push_back(Turn::File(key));
        }
    }

    /// The file has had its turn, and has more.
    pub(super) fn push_again(&mut self, key: u64, group: usize) {
        match self.inputs.get_mut(group) {
            Some(input) if input.one_by_one => {
                input.files.push_front(key);
                self.list(group);
            }
            _ => self.push(key, group),
        }
    }

    /// The turn of the file is not over.
    pub(super) fn push_front(&mut self, key: u64, group: usize) {
        if let Some((key, group)) = self.next.replace((key, group)) {
            self.push(key, group);
        }
    }

    fn list(&mut self, group: usize) {
        let input = &mut self.inputs[group];
        if !input.listed && !input.sleeps && !input.files.is_empty() {
            input.listed = true;
            self.levels[input.level].push_back(Turn::Input(group));
        }
    }

    /// Whose turn it is.
    pub(super) fn pop(&mut self, now: Instant) -> Option<u64> {
        if let Some((key, group)) = self.next.take() {
            let input = &mut self.inputs[group];
            if input.is_due(now) {
                return Some(key);
            }
            input.files.push_front(key);
            self.list(group);
        }
        for group in 0..self.inputs.len() {
            let input = &mut self.inputs[group];
            if input.sleeps && input.is_due(now) {
                input.sleeps = false;
                self.list(group);
            }
        }
        self.taken = self.taken.wrapping_add(1);
        let order = if self.taken.is_multiple_of(LOWER_TURN * LOWER_TURN) {
            [2, 1, 0]
        } else if self.taken.is_multiple_of(LOWER_TURN) {
            [1, 0, 2]
        } else {
            [0, 1, 2]
        };
        for level in order {
            while let Some(turn) = self.levels[level].pop_front() {
                let group = match turn {
                    Turn::File(key) => return Some(key),
                    Turn::Input(group) => group,
                };
                let input = &mut self.inputs[group];
                input.listed = false;
                input.sleeps = !input.is_due(now);
                if input.sleeps {
                    continue;
                }
                let key = input.files.pop_front();
                self.list(group);
                if key.is_some() {
                    return key;
                }
            }
        }
        None
    }

    /// So many bytes of an input were read.
    pub(super) fn spend(&mut self, group: usize, bytes: usize) {
        let bucket = self
            .inputs
            .get_mut(group)
            .and_then(|input| input.bucket.as_mut());
        if let Some(bucket) = bucket {
            bucket.left -= bytes as f64;
        }
    }

    /// Whether it is a file's turn.
    pub(super) fn has_next(&self, now: Instant) -> bool {
        self.is_waited_for() || self.due().is_some_and(|due| due <= now)
    }

    fn is_waited_for(&self) -> bool {
        self.next.is_some() || self.levels.iter().any(|level| !level.is_empty())
    }

    /// When one that has to wait for its limit is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let asleep = self.inputs.iter().filter(|input| input.sleeps);
        asleep
            .filter_map(|input| Some(input.bucket.as_ref()?.due()))
            .min()
    }

    /// Whether no file waits.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_waited_for() && self.inputs.iter().all(|input| input.files.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(inputs: &[(Priority, bool, Option<f64>)], now: Instant) -> Turns {
        let inputs = inputs.iter().map(|(priority, one_by_one, rate)| Input {
            level: *priority as usize,
            together: *one_by_one || rate.is_some(),
            one_by_one: *one_by_one,
            files: VecDeque::new(),
            listed: false,
            sleeps: false,
            bucket: rate.map(|rate| Bucket {
                rate,
                left: rate,
                filled: now,
            }),
        });
        Turns {
            inputs: inputs.collect(),
            ..Turns::default()
        }
    }

    /// Who has the next turns, if each has more to read after them.
    fn take(turns: &mut Turns, count: usize, now: Instant) -> Vec<u64> {
        let taken = (0..count).map_while(|_| {
            let key = turns.pop(now)?;
            turns.push_again(key, (key / 10) as usize);
            Some(key)
        });
        taken.collect()
    }

    #[test]
    fn complaint_25_files_take_turns() {
        let now = Instant::now();
        let mut turns = turns(
            &[
                (Priority::Normal, false, None),
                (Priority::Normal, true, None),
            ],
            now,
        );
        for key in [1, 2, 11, 12] {
            turns.push(key, (key / 10) as usize);
        }
        // Those of the second input are read one by one, in the place of one.
        assert_eq!(take(&mut turns, 6, now), [1, 2, 11, 1, 2, 11]);
        let first = turns.pop(now).expect("there is one");
        turns.push_front(first, 0);
        assert_eq!(turns.pop(now), Some(first), "its turn was not over");
    }

    #[test]
    fn complaint_25_a_lower_priority_is_slower_and_not_starved() {
        let now = Instant::now();
        let inputs = [Priority::High, Priority::Normal, Priority::Low];
        let mut turns = turns(&inputs.map(|priority| (priority, false, None)), now);
        for key in [1, 11, 21] {
            turns.push(key, (key / 10) as usize);
        }
        let taken = take(&mut turns, 640, now);
        let count = |wanted| taken.iter().filter(|key| **key == wanted).count();
        assert_eq!((count(1), count(11), count(21)), (560, 70, 10));
    }

    #[test]
    fn complaint_25_a_limit_holds_up_its_own_input_only() {
        let mut now = Instant::now();
        let limited = (Priority::High, false, Some(1000.0));
        let mut turns = turns(&[limited, (Priority::Normal, false, None)], now);
        turns.push(1, 0);
        turns.push(11, 1);
        let (mut read, mut others) = (0, 0);
        for _ in 0..10_000 {
            now += Duration::from_millis(1);
            let key = turns.pop(now).expect("there is always one");
            if key == 1 {
                turns.spend(0, 70);
                read += 70;
                // As when a batch was full in the middle of it.
                turns.push_front(key, 0);
            } else {
                others += 1;
                turns.push_again(key, 1);
            }
        }
        assert!((10_000..=11_070).contains(&read), "{read} in 10 s");
        assert!(others > 9000, "{others}");
        assert!(turns.pop(now) == Some(11) || turns.pop(now) == Some(11));
        assert!(!turns.is_empty() && turns.due().is_some_and(|due| due > now));
    }
}
