//! Looking at everything, a little at a time.
//!
//! What happens is hinted at ([`super::hints`]), so a round is for what no hint comes: hints that
//! were lost, file systems that others write to, and files that are gone. It walks over the patterns, looks at
//! each path that they find, and at its end every file that it has not seen counts as missing.
//!
//! INVARIANT: a directory is watched before its names are read. What appears in it meanwhile is
//! either read or hinted at.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Tails;
use super::complete::Order;
use super::pattern::{Visitor, Walk};
use super::watch::Watcher;
use crate::registry::store::now as unix_now;
use crate::report::Throttle;
use crate::sandbox;

/// Where a round is.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The element of `files`.
    group: usize,
    /// Its pattern.
    pattern: usize,
    walk: Walk,
    /// Whether all patterns of the element are walked.
    walked: bool,
    /// What was found and not looked at yet.
    paths: VecDeque<PathBuf>,
}

struct Visit<'a> {
    paths: &'a mut VecDeque<PathBuf>,
    watcher: &'a mut Watcher,
    throttle: &'a Throttle,
    sandbox: sandbox::Mode,
}

impl Visitor for Visit<'_> {
    fn found(&mut self, path: PathBuf) {
        self.paths.push_back(path);
    }
    fn directory(&mut self, path: &Path) {
        self.watcher.want(path);
    }
    fn failed(&mut self, path: &Path, error: io::Error) {
        if let Some(suppressed) = self.throttle.admit("directory not readable") {
            let path = path.display();
            let hint = self.sandbox.hint(&error);
            warn!(%path, %error, suppressed, "cannot read a directory, files in it are not shipped{hint}");
        }
    }
}

impl Tails {
    /// Whether there has been a whole round.
    pub fn has_looked_around(&self) -> bool {
        self.scanned
    }

    /// Begins a round, or begins the one that is under way anew.
    pub fn begin_round(&mut self, watcher: &mut Watcher) {
        watcher.begin_round();
        self.round_number += 1;
        self.round = Some(Round::default());
        if let (Some(round), Some(group)) = (&mut self.round, self.config.groups.first()) {
            round.walk = group.patterns.first().map(Walk::new).unwrap_or_default();
        }
    }

    /// Goes on with the round for about this time. True at its end.
    pub fn go_round(&mut self, watcher: &mut Watcher, now: Instant, time: Duration) -> bool {
        let config = Rc::clone(&self.config);
        let until = Instant::now().checked_add(time);
        loop {
            let Some(round) = &mut self.round else {
                return true;
            };
            let Some(settings) = config.groups.get(round.group) else {
                self.end_round(watcher, now);
                return true;
            };
            let ordered = settings.following.order != Order::AsFound;
            if (round.walked || !ordered)
                && let Some(path) = round.paths.pop_front()
            {
                let group = round.group;
                if !settings.exclude.covers(&path)
                    && let Some(key) = self.consider(&path, group, now)
                {
                    self.saw(key);
                }
            } else if let Some(pattern) = settings.patterns.get(round.pattern) {
                let mut visit = Visit {
                    paths: &mut round.paths,
                    watcher,
                    throttle: &self.throttle,
                    sandbox: config.sandbox,
                };
                if !round.walk.step(pattern, None, &mut visit) {
                    round.pattern += 1;
                    let next = settings.patterns.get(round.pattern);
                    round.walk = next.map(Walk::new).unwrap_or_default();
                }
            } else if !round.walked {
                round.walked = true;
                if ordered {
                    settings.following.order.sort(round.paths.make_contiguous());
                }
            } else {
                let group = round.group + 1;
                let next = config.groups.get(group);
                let first = next.and_then(|settings| settings.patterns.first());
                *round = Round {
                    group,
                    walk: first.map(Walk::new).unwrap_or_default(),
                    ..Round::default()
                };
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return false;
            }
        }
    }

    fn end_round(&mut self, watcher: &mut Watcher, now: Instant) {
        self.round = None;
        if !self.scanned {
            self.scanned = true;
            self.find_renamed(now);
            self.find_born_meanwhile(now);
        }
        let unseen: Vec<u64> = self
            .known
            .iter()
            .filter(|(_, tail)| tail.round != self.round_number && tail.missing_since.is_none())
            .map(|(key, _)| *key)
            .collect();
        for key in unseen {
            self.set_missing(key, now);
        }
        self.judge_gone(now);
        watcher.end_round();
        let before = unix_now().saturating_sub(self.config.limits.forget_after.as_secs());
        let forgotten = self.ledger.borrow_mut().forget(|entry| entry.seen < before);
        if forgotten > 0 {
            info!(forgotten, "files not seen for a long time are forgotten");
        }
    }

    /// Looks at what is in a directory that has just appeared.
    pub(super) fn look_below(&mut self, directory: &Path, watcher: &mut Watcher, now: Instant) {
        let config = Rc::clone(&self.config);
        for (group, settings) in config.groups.iter().enumerate() {
            let mut paths = VecDeque::new();
            let mut visit = Visit {
                paths: &mut paths,
                watcher,
                throttle: &self.throttle,
                sandbox: config.sandbox,
            };
            for pattern in &settings.patterns {
                pattern.walk_below(directory, &mut visit);
            }
            settings.following.order.sort(paths.make_contiguous());
            for path in paths {
                if !settings.exclude.covers(&path)
                    && let Some(key) = self.consider(&path, group, now)
                {
                    self.saw(key);
                }
            }
        }
    }

    /// A pattern finds the file.
    pub(super) fn saw(&mut self, key: u64) {
        let Some(tail) = self.known.get_mut(&key) else {
            return;
        };
        tail.round = self.round_number;
        self.ledger.borrow_mut().touch(tail.source.id, unix_now());
        if tail.missing_since.is_some() && !tail.unwanted {
            tail.missing_since = None;
            self.missing.remove(&key);
            self.wake(key);
        }
    }

    /// No pattern finds the file any more.
    pub(super) fn set_missing(&mut self, key: u64, now: Instant) {
        let Some(tail) = self.known.get_mut(&key) else {
            return;
        };
        if tail.missing_since.is_none() {
            let path = tail.path.display();
            debug!(%path, "no pattern finds the file any more, reading it to its end");
            tail.missing_since = Some(now);
            self.missing.insert(key);
        }
        self.wake(key);
    }
}
