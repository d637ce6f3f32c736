//! Deleted files that are held open, and what becomes of them when they take too much.
//!
//! A deleted file takes disk space until it is closed. By default it is held until all of it is
//! delivered, however long that takes. Where there is a limit, what was not read of a file beyond it is given up: that
//! is logged and counted, and an event in its place tells the receiver.
//!
//! INVARIANT: what was read is shipped all the same, and nothing is given up of a file that has a name.

use std::os::unix::fs::MetadataExt;

use tokio::time::Instant;
use tracing::error;

use super::Tails;
use super::reading::Budget;
use super::status::BLOCK;
use crate::batch::{Batch, Extra};
use crate::report::add;

/// Losses that wait to be shipped at most; beyond that they are only logged and counted.
pub const MAX_LOSSES: usize = 10_000;

/// A deleted file that is open.
struct Deleted {
    key: u64,
    /// Whether something of it was not read.
    unread: bool,
    since: Instant,
    bytes: u64,
}

impl Tails {
    /// Gives up what is held beyond the limits.
    pub(super) fn limit_deleted(&mut self, now: Instant) {
        let most = self.config.limits.max_held_bytes;
        let mut held = Vec::new();
        for key in &self.missing {
            let Some(tail) = self.known.get_mut(key) else {
                continue;
            };
            let metadata = tail.file().and_then(|file| file.metadata().ok());
            if let Some(metadata) = metadata.filter(|metadata| metadata.nlink() == 0) {
                held.push(Deleted {
                    key: *key,
                    unread: !tail.is_drained(),
                    since: *tail.deleted_since.get_or_insert(now),
                    bytes: metadata.blocks() * BLOCK,
                });
            }
        }
        // Those that cost nothing to give up, then those that have been held the longest.
        held.sort_by_key(|held| (held.unread, held.since));
        let mut total: u64 = held.iter().map(|held| held.bytes).sum();
        for Deleted {
            key, since, bytes, ..
        } in held
        {
            let hold_for = self.known.get(&key).and_then(|tail| {
                let group = &self.config.groups[tail.group];
                group.following.hold_deleted_for
            });
            let reason = match hold_for {
                Some(limit) if limit.is_zero() => "it was deleted, and `deleted files` says drop",
                Some(limit) if now.saturating_duration_since(since) >= limit => {
                    "it was deleted, and held for `max held time`"
                }
                _ if most.is_some_and(|most| total > most) => {
                    "it was deleted, and more than `max held bytes` are held"
                }
                _ => continue,
            };
            total -= bytes;
            self.give_up(key, reason, now);
        }
    }

    /// Lets a file go, read to its end or not.
    pub(super) fn give_up(&mut self, key: u64, reason: &'static str, now: Instant) {
        let Some(tail) = self.known.get_mut(&key) else {
            return;
        };
        // For its length. What is wrong with it does not matter any more.
        drop(tail.look(now));
        let mut last = Batch::default();
        let read_at = jiff::Timestamp::now().as_millisecond();
        if tail.is_pending() {
            tail.flush_pending(&mut last, read_at);
        }
        let (from, unread) = (tail.offset, tail.behind().saturating_sub(tail.rest));
        if unread > 0 {
            let path = tail.path.display();
            error!(%path, from, bytes = unread, reason, "lines are lost: a file was given up before its end");
            add(&self.counters.lost_files, 1);
            add(&self.counters.lost_bytes, unread);
            let text =
                format!("{unread} bytes of {path} were given up, from byte {from} on: {reason}");
            let extra = Extra::lost(unread, reason);
            let source = &tail.source;
            last.push_extra(source, read_at, text.as_bytes(), from, from + unread, extra);
        }
        if !last.is_empty() && self.losses.len() < MAX_LOSSES {
            self.losses.push_back(last);
        }
        let deleted = tail.is_deleted();
        self.let_go(key, deleted);
    }

    /// Puts what is told of losses into the batch. False if there was no room for all of it.
    pub(super) fn tell_losses(&mut self, batch: &mut Batch, budget: Budget) -> bool {
        while let Some(last) = self.losses.front() {
            if !budget.allows(batch, last.bytes()) {
                return false;
            }
            for line in last.lines(0..last.len()) {
                let (text, start, next) = (line.text, line.start, line.next);
                match line.extra {
                    None => batch.push(line.source, line.read_at, text, start, next),
                    Some(extra) => {
                        let extra = extra.clone();
                        batch.push_extra(line.source, line.read_at, text, start, next, extra);
                    }
                }
            }
            self.losses.pop_front();
        }
        true
    }
}
