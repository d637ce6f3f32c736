//! What the daemon tells about itself: counters, one summary line now and then, and warnings that
//! cannot flood the log.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

/// The same kind of warning is logged at most once in this time.
pub const WARNING_INTERVAL: Duration = Duration::from_secs(30);

/// Everything that is counted, for the whole process.
#[derive(Debug, Default)]
pub struct Counters {
    /// Lines read.
    pub events_read: Cell<u64>,
    /// Bytes of lines read.
    pub bytes_read: Cell<u64>,
    /// Events on the wire, those sent again included.
    pub events_sent: Cell<u64>,
    /// Bytes on the wire, before TLS.
    pub bytes_sent: Cell<u64>,
    /// Events acknowledged.
    pub events_acknowledged: Cell<u64>,
    /// Times a connection was made.
    pub connections: Cell<u64>,
    /// Pieces cut off long lines.
    pub lines_split: Cell<u64>,
    /// Lines that were left out as they were too long.
    pub lines_skipped: Cell<u64>,
    /// Bytes of holes that were left out.
    pub hole_bytes: Cell<u64>,
    /// Files that were rewritten or truncated.
    pub files_rewritten: Cell<u64>,
    /// Bytes of deleted files that were given up unread.
    pub lost_bytes: Cell<u64>,
    /// Deleted files that were given up before their end.
    pub lost_files: Cell<u64>,
    /// Times that `journalctl` was started again.
    pub journal_restarts: Cell<u64>,
    /// Times that the journal did not have the entry any more at which reading stopped.
    pub journal_gaps: Cell<u64>,
    /// Messages whose end was left out.
    pub messages_truncated: Cell<u64>,
    /// Datagrams that the kernel has dropped for want of room.
    pub datagrams_dropped: Cell<u64>,
}

/// Adds to a counter.
pub fn add(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get().wrapping_add(more));
}

/// Where the reading stands, for the summary.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Files followed.
    pub files: usize,
    /// Of these, open.
    pub open_files: usize,
    /// Bytes known to be in the files and not read.
    pub behind_bytes: u64,
}

/// Writes the summary: what happened since the last one, and how far behind we are.
#[derive(Debug, Default)]
pub struct Summary {
    events: u64,
    bytes: u64,
    acknowledged: u64,
}

impl Summary {
    /// Logs one line.
    pub fn log(&mut self, counters: &Counters, progress: Progress) {
        let events = counters.events_read.get();
        let bytes = counters.bytes_read.get();
        let acknowledged = counters.events_acknowledged.get();
        info!(
            events = events - self.events,
            bytes = bytes - self.bytes,
            acknowledged = acknowledged - self.acknowledged,
            in_flight = events - acknowledged,
            behind_bytes = progress.behind_bytes,
            files = progress.files,
            open_files = progress.open_files,
            "summary"
        );
        *self = Self {
            events,
            bytes,
            acknowledged,
        };
    }
}

/// Decides which warnings of a kind are logged.
#[derive(Debug, Default)]
pub struct Throttle {
    kinds: RefCell<HashMap<&'static str, Kind>>,
}

#[derive(Debug)]
struct Kind {
    last: Instant,
    suppressed: u64,
}

impl Throttle {
    /// `Some(n)`: log this one, and say that `n` before it were not logged.
    pub fn admit(&self, kind: &'static str) -> Option<u64> {
        let now = Instant::now();
        let mut kinds = self.kinds.borrow_mut();
        match kinds.get_mut(kind) {
            Some(known) if now.duration_since(known.last) < WARNING_INTERVAL => {
                known.suppressed += 1;
                None
            }
            Some(known) => {
                known.last = now;
                Some(std::mem::take(&mut known.suppressed))
            }
            None => {
                kinds.insert(
                    kind,
                    Kind {
                        last: now,
                        suppressed: 0,
                    },
                );
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn warnings_of_a_kind_are_rare_and_counted() {
        let throttle = Throttle::default();
        assert_eq!(throttle.admit("a"), Some(0));
        assert_eq!(throttle.admit("a"), None);
        assert_eq!(throttle.admit("b"), Some(0));
        assert_eq!(throttle.admit("a"), None);
        tokio::time::advance(WARNING_INTERVAL).await;
        assert_eq!(throttle.admit("a"), Some(2));
    }
}
