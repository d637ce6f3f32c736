//! Letters that go: because there is no room for others (`dead_letter_queue.storage_policy`) or because they are
//! too old (`dead_letter_queue.retain.age`). By default none do.
//!
//! COMPAT: the names are Logstash's, and so is that whole segments go. Ours is the policy `block`, and that it is the default.
//!
//! INVARIANT: the segment with the highest number is never removed before there is one behind it. Readers
//! remember their places by these numbers, so none may be given twice.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tracing::{info, warn};

use super::{DeadLetterError, DeadLetters, disk, segment_number};
use crate::throttle::Throttle;

/// What happens to a letter for which there is no room below `dead_letter_queue.max_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoragePolicy {
    /// It waits, and so in the end do the senders.
    #[default]
    Block,
    /// It is dropped.
    DropNewer,
    /// The oldest segments are removed.
    DropOlder,
}

impl StoragePolicy {
    /// The value of `dead_letter_queue.storage_policy` that is called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "block" => Self::Block,
            "drop_newer" => Self::DropNewer,
            "drop_older" => Self::DropOlder,
            _ => return None,
        })
    }
}

/// How often it is looked for segments that are too old, while letters are written.
const AGE_INTERVAL: Duration = Duration::from_mins(1);

/// What a queue has dropped, and when it looked last.
#[derive(Debug, Default)]
pub(super) struct Retention {
    looked: Mutex<Option<Instant>>,
    dropped: AtomicU64,
    full: Throttle,
}

impl DeadLetters {
    /// How many letters this process has dropped because there was no room.
    pub fn dropped(&self) -> u64 {
        self.retention.dropped.load(Ordering::Relaxed)
    }

    /// Whether it is time to look for segments that are too old.
    pub(super) fn is_age_due(&self) -> bool {
        if self.options.retain_age.is_none() {
            return false;
        }
        let looked = &self.retention.looked;
        let mut looked = looked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = looked.is_none_or(|at| at.elapsed() >= AGE_INTERVAL);
        if due {
            *looked = Some(Instant::now());
        }
        due
    }

    /// Removes segments whose last letter is too old, but for the last segment.
    pub(super) fn remove_aged(&self) -> Result<(), DeadLetterError> {
        let Some(age) = self.options.retain_age else {
            return Ok(());
        };
        let mut segments = self.ordered_segments()?;
        segments.pop();
        for segment in segments {
            let modified = segment.path.metadata().and_then(|found| found.modified());
            let is_old = modified.is_ok_and(|at| {
                let passed = SystemTime::now().duration_since(at);
                passed.is_ok_and(|passed| passed > age)
            });
            if is_old {
                let letters = Self::remove(&segment.path)?;
                info!(segment = %segment.path.display(), letters, "removed dead letters that are older than dead_letter_queue.retain.age");
            }
        }
        Ok(())
    }

    /// Does without these letters.
    pub(super) fn drop_newer(&self, lines: &[u8]) {
        let letters = count(lines);
        let dropped = &self.retention.dropped;
        let all = dropped.fetch_add(letters, Ordering::Relaxed) + letters;
        if let Some(letters) = self.retention.full.due(letters) {
            warn!(
                directory = %self.directory.display(), letters, all, limit = self.options.max_bytes,
                "the dead letter queue is full, dropped dead letters"
            );
        }
    }

    /// Removes the oldest segments until there is room for `size` more bytes.
    pub(super) fn drop_older(&self, size: u64) -> Result<(), DeadLetterError> {
        let segments = self.ordered_segments()?;
        let mut total: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let last = segments.last().map(|segment| segment.number);
        for segment in segments {
            if total + size <= self.options.max_bytes {
                break;
            }
            if Some(segment.number) == last {
                self.create_segment(segment.number + 1)?;
            }
            let letters = Self::remove(&segment.path)?;
            total -= segment.bytes;
            let dropped = &self.retention.dropped;
            let all = dropped.fetch_add(letters, Ordering::Relaxed) + letters;
            warn!(
                segment = %segment.path.display(), letters, all, limit = self.options.max_bytes,
                "the dead letter queue is full, dropped its oldest dead letters"
            );
        }
        Ok(())
    }

    /// Removes a segment; gives how many letters it had.
    fn remove(path: &Path) -> Result<u64, DeadLetterError> {
        let letters = fs::read(path).map_or(0, |text| count(&text));
        match fs::remove_file(path) {
            Ok(()) => Ok(letters),
            // Somebody else was quicker.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(disk("remove the dead letter segment", path)(error)),
        }
    }

    fn ordered_segments(&self) -> Result<Vec<Found>, DeadLetterError> {
        let failed = disk("list the folder", &self.directory);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            if let Some(number) = segment_number(&entry.file_name()) {
                found.push(Found {
                    number,
                    bytes: entry.metadata().map_or(0, |metadata| metadata.len()),
                    path: entry.path(),
                });
            }
        }
        found.sort_by_key(|segment| segment.number);
        Ok(found)
    }
}

struct Found {
    number: u64,
    bytes: u64,
    path: PathBuf,
}

/// How many letters there are in some lines.
fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use super::super::DeadLetterOptions;
    use super::*;

    fn full(policy: StoragePolicy) -> (tempfile::TempDir, Arc<DeadLetters>) {
        let directory = tempfile::tempdir().unwrap();
        let mut options = DeadLetterOptions::new(directory.path(), "main");
        options.segment_max_bytes = 30;
        options.max_bytes = 90;
        options.storage_policy = policy;
        let queue = DeadLetters::open(options).unwrap();
        for number in 0..9 {
            queue
                .try_append(format!("letter {number}\n").as_bytes())
                .unwrap();
        }
        assert_eq!(queue.dropped(), 0);
        (directory, queue)
    }

    fn segments(queue: &DeadLetters) -> Vec<(u64, String)> {
        let found = queue.ordered_segments().unwrap();
        let read = |segment: Found| (segment.number, fs::read_to_string(segment.path).unwrap());
        found.into_iter().map(read).collect()
    }

    #[test]
    fn newer_letters_are_dropped_and_counted() {
        let (_directory, queue) = full(StoragePolicy::DropNewer);
        // 81 bytes lie there: one more letter fits, the next does not.
        queue.try_append(b"letter 9\n").unwrap();
        let before = segments(&queue);
        queue.try_append(b"letter a\nletter b\n").unwrap();
        assert_eq!(queue.dropped(), 2);
        assert_eq!(segments(&queue), before);
    }

    #[test]
    fn older_letters_are_dropped_and_counted() {
        let (_directory, queue) = full(StoragePolicy::DropOlder);
        queue.try_append(b"letter 9\nletter a\nletter b\n").unwrap();
        assert_eq!(queue.dropped(), 3);
        let left: Vec<u64> = segments(&queue).iter().map(|(number, _)| *number).collect();
        assert_eq!(left, [2, 3, 4]);
        // So large that all others go; the numbers go on.
        let large = format!("{}\n", "x".repeat(80));
        queue.try_append(large.as_bytes()).unwrap();
        assert_eq!(queue.dropped(), 12);
        let mut left = segments(&queue);
        left.retain(|(_, text)| !text.is_empty());
        assert_eq!(left.len(), 1);
        assert!(left[0].0 > 4 && left[0].1 == large, "{left:?}");
        // Nothing makes room for this one.
        queue.try_append(&[b'x'; 91]).unwrap();
        let mut after = segments(&queue);
        after.retain(|(_, text)| !text.is_empty());
        assert_eq!(after, left);
    }

    #[test]
    fn old_segments_go_and_the_last_one_stays() {
        let directory = tempfile::tempdir().unwrap();
        let mut options = DeadLetterOptions::new(directory.path(), "main");
        options.segment_max_bytes = 10;
        options.retain_age = Some(Duration::from_hours(1));
        fs::create_dir(directory.path().join("main")).unwrap();
        let old = SystemTime::now() - Duration::from_hours(2);
        for (number, is_old) in [(1, true), (2, false), (3, true)] {
            let path = directory.path().join(format!("main/{number:09}.jsonl"));
            fs::write(&path, "a letter\n").unwrap();
            if is_old {
                let file = File::options().write(true).open(&path).unwrap();
                file.set_modified(old).unwrap();
            }
        }
        let queue = DeadLetters::open(options).unwrap();
        queue.try_append(b"new one\n").unwrap();
        let left: Vec<u64> = segments(&queue).iter().map(|(number, _)| *number).collect();
        assert_eq!(left, [2, 3, 4]);
    }
}
