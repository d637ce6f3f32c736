//! Which files are followed, from when, and until when.
//!
//! [`Tails`] evaluates the patterns, recognises files it knows (however they are called now),
//! reads those that have grown, round robin, and lets files go that are done with. It never waits:
//! every call does a bounded amount of work. What it reads goes into the batch it is handed;
//! where reading begins is what the [`Ledger`] says.
//!
//! The life of a file: found by a pattern, read as it grows; closed when it is idle and opened
//! again when it grows; once no pattern finds it (renamed, deleted), read to its end and closed
//! when it has been quiet for a while.

pub mod age;
pub mod archive;
pub mod complete;
pub mod copies;
pub mod deleted;
pub mod file;
mod gone;
mod hints;
pub mod identity;
mod known_copies;
pub mod left;
mod likeness;
pub mod lines;
pub mod links;
mod open;
pub mod pattern;
pub mod reading;
mod reconfigure;
mod room;
mod rounds;
pub mod shape;
mod status;
pub mod stdin;
mod trail;
pub mod turns;
pub mod watch;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::{debug, warn};

use self::file::{Look, Tail};
use self::identity::Identity;
use self::reading::{Budget, ReadBuffer, Reading, Tally};
use self::room::Room;
use self::rounds::Round;
use self::turns::Turns;
use crate::batch::Batch;
use crate::config::Config;
use crate::registry::Ledger;
use crate::report::{Counters, Progress, Throttle, add};

/// Files that the patterns may find at most.
pub const MAX_FILES: usize = 100_000;
/// For this long a closed file may be neither here nor there.
const MOVING: Duration = Duration::from_secs(2);

/// All files that are followed.
#[derive(Debug)]
pub struct Tails {
    config: Rc<Config>,
    ledger: Rc<RefCell<Ledger>>,
    counters: Rc<Counters>,
    throttle: Rc<Throttle>,
    /// PERF: boxed, as a table is up to half empty.
    known: HashMap<u64, Box<Tail>>,
    by_identity: HashMap<Identity, u64>,
    by_path: HashMap<PathBuf, u64>,
    /// Files that were renamed, by the path their events carry; the last renamed last.
    renamed: HashMap<PathBuf, Vec<u64>>,
    turns: Turns,
    /// Files whose last line has no end yet.
    partial: HashSet<u64>,
    by_fingerprint: HashMap<u64, u64>,
    missing: HashSet<u64>,
    /// Files that may be copies in the making.
    held: HashMap<Identity, copies::Held>,
    /// Files that look rewritten, on a network file system.
    doubtful: HashSet<u64>,
    /// Compressed files that are read to their end.
    archives: VecDeque<archive::Archive>,
    /// Those that have been.
    archives_read: Vec<archive::ReadArchive>,
    /// Files found through a symbolic link.
    polled: HashSet<u64>,
    /// Files the registry knows that are too short, on a network file system.
    short: HashMap<Identity, Instant>,
    /// Files left out for what they are, so that it is said once.
    left_out: HashMap<Identity, (Option<u64>, Option<SystemTime>)>,
    /// Links that are not followed, and where they led when that was said.
    strayed: HashMap<PathBuf, PathBuf>,
    /// Complete files that are not done with, and where they were begun.
    unfinished: HashMap<u64, u64>,
    /// The turn that is not over, or was the last.
    turn: ReadingTurn,
    /// What is to be told of files that were given up.
    losses: VecDeque<Batch>,
    /// Files that may be gone before they were read.
    gone: Vec<gone::Gone>,
    /// When the last run has looked at its files, in seconds since 1970.
    last_look: Option<u64>,
    buffer: ReadBuffer,
    open_files: usize,
    room: Room,
    /// The round that is under way.
    round: Option<Round>,
    /// Its number, or that of the last one.
    round_number: u64,
    /// Whether a file was on a network file system.
    network_files: bool,
    next_id: u64,
    scanned: bool,
    trust: Trust,
}

/// What a file has had of its turn.
#[derive(Clone, Copy, Debug, Default)]
struct ReadingTurn {
    key: u64,
    reads: u64,
    /// Bytes after the last whole read.
    bytes: usize,
}

/// What the registry says about files that are not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// There was no registry: this is the first run.
    FirstRun,
    /// The registry is whole: what is not in it is new.
    Whole,
    /// Entries may be lost: everything not in it is read from its beginning.
    Damaged,
}

impl Tails {
    /// Follows nothing yet.
    pub fn new(
        config: Rc<Config>,
        ledger: Rc<RefCell<Ledger>>,
        counters: Rc<Counters>,
        throttle: Rc<Throttle>,
        trust: Trust,
    ) -> Self {
        let buffer = ReadBuffer::new(config.limits.harvest_buffer_size);
        let turns = Turns::new(&config.groups, Instant::now());
        let last_look = ledger.borrow().entries().map(|(_, entry)| entry.seen).max();
        Self {
            config,
            ledger,
            counters,
            throttle,
            known: HashMap::new(),
            by_identity: HashMap::new(),
            by_path: HashMap::new(),
            renamed: HashMap::new(),
            turns,
            partial: HashSet::new(),
            by_fingerprint: HashMap::new(),
            missing: HashSet::new(),
            held: HashMap::new(),
            doubtful: HashSet::new(),
            archives: VecDeque::new(),
            archives_read: Vec::new(),
            polled: HashSet::new(),
            short: HashMap::new(),
            left_out: HashMap::new(),
            strayed: HashMap::new(),
            unfinished: HashMap::new(),
            turn: ReadingTurn::default(),
            losses: VecDeque::new(),
            gone: Vec::new(),
            last_look,
            buffer,
            open_files: 0,
            room: Room::default(),
            round: None,
            round_number: 0,
            network_files: false,
            next_id: 1,
            scanned: false,
            trust,
        }
    }

    /// Looks at the files that no hint will come for: those that have gone, those behind links, those that
    /// may be copies.
    pub fn tick(&mut self, now: Instant) {
        for key in self
            .polled
            .iter()
            .chain(&self.doubtful)
            .copied()
            .collect::<Vec<_>>()
        {
            self.wake(key);
        }
        self.look_at_held(now);
        self.finish_archives();
        for key in self.missing.clone() {
            self.let_go_if_done(key, now);
            self.wake(key);
        }
        self.limit_deleted(now);
        self.finish_complete(now);
        self.end_turns(now);
    }

    /// Queues every file.
    ///
    /// COMPAT: Logstash asks for the length of each file every `stat_interval`.
    pub fn wake_all(&mut self) {
        let keys: Vec<u64> = self.known.keys().copied().collect();
        for key in keys {
            self.wake(key);
        }
    }

    /// Whether files are written to by other machines, of which no hint comes.
    pub fn has_network_files(&self) -> bool {
        self.network_files
    }

    /// Whether files need a [`Tails::tick`] from time to time.
    pub fn needs_tick(&self) -> bool {
        !self.missing.is_empty()
            || !self.polled.is_empty()
            || !self.held.is_empty()
            || !self.doubtful.is_empty()
            || !self.archives_read.is_empty()
            || !self.unfinished.is_empty()
            || self.room.waiting() > 0
    }

    /// Whether there are files to look at or to read.
    pub fn has_work(&self, now: Instant) -> bool {
        self.turns.has_next(now) || !self.archives.is_empty() || !self.losses.is_empty()
    }

    /// When files may be read on that have used up their `rate limit`.
    pub fn limit_time(&self) -> Option<Instant> {
        self.turns.due()
    }

    /// Takes the next file that may have grown, and reads from it once. False if the batch is full.
    pub fn read_next(&mut self, batch: &mut Batch, budget: Budget, now: Instant) -> bool {
        if !self.losses.is_empty() {
            let before = batch.len();
            let told = self.tell_losses(batch, budget);
            add(&self.counters.events_read, (batch.len() - before) as u64);
            return told;
        }
        let Some(key) = self.turns.pop(now) else {
            return self.read_archive(batch, budget);
        };
        let Some(tail) = self.known.get_mut(&key) else {
            return true;
        };
        tail.queued = false;
        let group = tail.group;
        let before = (batch.len(), batch.bytes());
        let result = self.read(key, batch, budget, now);
        if batch.len() > before.0
            && let Some(tail) = self.known.get_mut(&key)
        {
            tail.had_turn = true;
        }
        add(&self.counters.events_read, (batch.len() - before.0) as u64);
        add(&self.counters.bytes_read, (batch.bytes() - before.1) as u64);
        self.turns.spend(group, batch.bytes() - before.1);
        match result {
            Ok(Reading::More) => self.go_on(key, self.config.limits.harvest_buffer_size),
            Ok(Reading::Full) => {
                self.go_on(key, batch.bytes() - before.1);
                return false;
            }
            Ok(Reading::End) => self.note_idle(key),
            Err(error) => {
                if let Some(suppressed) = self.throttle.admit("file not readable")
                    && let Some(tail) = self.known.get(&key)
                {
                    let path = tail.path.display();
                    warn!(%path, %error, suppressed, "cannot read the file, trying again when it changes");
                }
            }
        }
        true
    }

    /// The file has more: it goes on, or has its next turn when the others have had theirs.
    fn go_on(&mut self, key: u64, bytes: usize) {
        let Some(tail) = self.known.get_mut(&key) else {
            return;
        };
        if self.turn.key != key {
            self.turn = ReadingTurn {
                key,
                ..ReadingTurn::default()
            };
        }
        // Of short lines a batch is full before much was read.
        self.turn.bytes += bytes;
        if self.turn.bytes >= self.config.limits.harvest_buffer_size {
            self.turn.bytes = 0;
            self.turn.reads += 1;
        }
        tail.queued = true;
        let group = tail.group;
        if self.turn.reads >= self.config.groups[group].following.reads_per_turn {
            self.turn = ReadingTurn::default();
            self.turns.push_again(key, group);
        } else {
            self.turns.push_front(key, group);
        }
    }

    fn read(
        &mut self,
        key: u64,
        batch: &mut Batch,
        budget: Budget,
        now: Instant,
    ) -> io::Result<Reading> {
        let Some(tail) = self.known.get_mut(&key).filter(|tail| !tail.unwanted) else {
            return Ok(Reading::End);
        };
        if tail.reshape && !tail.is_pending() {
            tail.reshape = false;
            tail.shape(&self.config.groups[tail.group].lines)?;
        }
        let before = tail.fingerprint;
        match tail.look(now)? {
            Look::Rewritten => {
                self.doubtful.remove(&key);
                if !tail.copy && tail.is_pending() {
                    let read_at = jiff::Timestamp::now().as_millisecond();
                    tail.flush_pending(batch, read_at);
                }
                self.start_over(key, now)?;
                let group = self.known.get(&key).map(|tail| tail.group);
                if group.is_some_and(|group| self.complete(group).is_some()) {
                    // It is another one, whatever was done with it before.
                    self.unfinished.insert(key, 0);
                }
            }
            Look::Doubtful => {
                self.doubtful.insert(key);
                return Ok(Reading::End);
            }
            look @ (Look::Unchanged | Look::Grew) => {
                if look == Look::Grew && self.config.groups[tail.group].following.complete.is_some()
                {
                    self.unfinished.entry(key).or_insert(tail.offset);
                }
                if !self.doubtful.is_empty() {
                    self.doubtful.remove(&key);
                }
            }
        }
        let Some(tail) = self.known.get_mut(&key) else {
            return Ok(Reading::End);
        };
        if tail.is_drained() {
            self.partial.remove(&key);
            return Ok(Reading::End);
        }
        if tail.offset == 0 && !tail.own && self.turns_out_a_copy(key, now)? {
            return Ok(Reading::End);
        }
        let Some(tail) = self.known.get_mut(&key) else {
            return Ok(Reading::End);
        };
        if tail.offset == 0
            && !self.config.groups[tail.group].ship_compressed
            && let Some(format) = tail.compression()?
        {
            // It was empty when it was found. Nothing of it is shipped: it counts as read.
            let path = tail.path.display();
            warn!(%path, format, "{}", open::NOT_COMPRESSED);
            tail.skip_all();
            return Ok(Reading::End);
        }
        let read_at = jiff::Timestamp::now().as_millisecond();
        let mut tally = Tally::default();
        let reading = tail.read(&mut self.buffer, batch, budget, read_at, &mut tally)?;
        if tail.fingerprint.is_full() && before != tail.fingerprint {
            self.by_fingerprint.insert(tail.fingerprint.hash, key);
        }
        let mut ledger = self.ledger.borrow_mut();
        ledger.update_fingerprint(tail.source.id, tail.fingerprint);
        if tail.arrivals.is_crowded()
            && let Some(entry) = ledger.entry(tail.source.id)
        {
            tail.arrivals.acknowledged(entry.offset, tail.size);
        }
        drop(ledger);
        if tally != Tally::default() {
            self.report(key, tally, budget.max_line_bytes);
        }
        let Some(tail) = self.known.get_mut(&key) else {
            return Ok(reading);
        };
        if reading != Reading::End {
            return Ok(reading);
        }
        if tail.is_drained() {
            self.partial.remove(&key);
            return Ok(Reading::End);
        }
        let (group, missing) = (tail.group, tail.missing_since.is_some());
        let timeout = self.partial_line_timeout(group, missing);
        let Some(tail) = self.known.get_mut(&key) else {
            return Ok(reading);
        };
        let patience = tail.patience(timeout);
        if now.saturating_duration_since(tail.last_growth) >= patience {
            if !tail.flush_partial(&mut self.buffer, batch, budget, read_at)? {
                return Ok(Reading::Full);
            }
            self.partial.remove(&key);
        } else if patience < complete::FOR_EVER {
            self.partial.insert(key);
        }
        Ok(Reading::End)
    }

    /// Says what was unusual.
    fn report(&self, key: u64, tally: Tally, limit: usize) {
        add(&self.counters.lines_split, tally.split);
        add(&self.counters.lines_skipped, tally.skipped);
        add(&self.counters.hole_bytes, tally.hole_bytes);
        let Some(tail) = self.known.get(&key) else {
            return;
        };
        let path = tail.path.display();
        let kind = if tally.split > 0 {
            "line split"
        } else {
            "hole"
        };
        let Some(suppressed) = self.throttle.admit(kind) else {
            return;
        };
        if tally.split > 0 {
            let policy = self.config.groups[tail.group].lines.long_lines;
            warn!(%path, limit, split = tally.split, skipped = tally.skipped, suppressed, ?policy,
                "a line is longer than `max line bytes`");
        } else {
            warn!(%path, bytes = tally.hole_bytes, suppressed, "a hole of NUL bytes is left out");
        }
    }

    /// Queues the partial lines whose time has come. Returns when the next one's does.
    pub fn wake_partial(&mut self, now: Instant) -> Option<Duration> {
        let mut next: Option<Duration> = None;
        for key in self.partial.clone() {
            let Some(tail) = self.known.get(&key) else {
                self.partial.remove(&key);
                continue;
            };
            let timeout = self.partial_line_timeout(tail.group, tail.missing_since.is_some());
            let patience = tail.patience(timeout);
            let quiet = now.saturating_duration_since(tail.last_growth);
            if quiet >= patience {
                self.partial.remove(&key);
                self.wake(key);
            } else {
                let left = patience.saturating_sub(quiet);
                next = Some(next.map_or(left, |known| known.min(left)));
            }
        }
        next
    }

    /// Whether the registry has something to save.
    pub fn registry_changed(&self) -> bool {
        self.ledger.borrow().is_dirty()
    }

    /// Where the reading stands.
    pub fn progress(&self) -> Progress {
        Progress {
            files: self.known.len(),
            open_files: self.open_files,
            behind_bytes: self.known.values().map(|tail| tail.behind()).sum(),
        }
    }

    fn wake(&mut self, key: u64) {
        if let Some(tail) = self.known.get_mut(&key)
            && tail.is_open()
            && !tail.queued
        {
            tail.queued = true;
            self.turns.push(key, tail.group);
        }
    }

    /// The content was replaced in place: everything in the file is new.
    fn start_over(&mut self, key: u64, now: Instant) -> io::Result<()> {
        let id = self.new_id();
        let Some(tail) = self.known.get_mut(&key) else {
            return Ok(());
        };
        if tail.copy && tail.missing_since.is_some() {
            // No pattern wants it for its own sake: what it was followed for is gone.
            debug!(path = %tail.path.display(), "a copy was overwritten, it is not followed any more");
            self.let_go(key, true);
            return Ok(());
        }
        add(&self.counters.files_rewritten, 1);
        let path = tail.path.display();
        let group = tail.group;
        warn!(%path, position = tail.offset, not_read = tail.behind(),
            "the file was truncated or rewritten in place");
        let source = open::source_of(&self.config, id, &tail.first_path, tail.group, None);
        if self.move_to_copy(key, &source, now) {
            if let Some(tail) = self.known.get_mut(&key) {
                tail.look(now)?;
            }
            return Ok(());
        }
        let Some(tail) = self.known.get_mut(&key) else {
            return Ok(());
        };
        let old = tail.source.id;
        tail.restart(source, now)?;
        tail.shape(&self.config.groups[group].lines)?;
        let entry = open::entry_of(tail);
        let mut ledger = self.ledger.borrow_mut();
        ledger.remove(old);
        ledger.insert(id, entry);
        drop(ledger);
        tail.look(now)?;
        Ok(())
    }

    /// A file that no pattern finds is closed when all of it is acknowledged and it is quiet.
    fn let_go_if_done(&mut self, key: u64, now: Instant) {
        let Some(tail) = self.known.get_mut(&key) else {
            self.missing.remove(&key);
            return;
        };
        let Some(since) = tail.missing_since else {
            return;
        };
        if !tail.is_open() && !tail.unwanted {
            self.look_at_closed(key, since, now);
            return;
        }
        if tail.is_open() && !tail.unwanted {
            let quiet = now.saturating_duration_since(since.max(tail.last_growth));
            if quiet < self.config.limits.close_rotated || !tail.is_settled() {
                return;
            }
            let ledger = self.ledger.borrow();
            let acknowledged = ledger
                .entry(tail.source.id)
                .map_or(u64::MAX, |entry| entry.offset);
            // The last look may be half a second old. An error is met again by the reading.
            if acknowledged < tail.shipped_to || !matches!(tail.look(now), Ok(Look::Unchanged)) {
                return;
            }
        }
        if tail.unwanted {
            // What was read of it is still acknowledged.
            let ledger = self.ledger.borrow();
            let entry = ledger.entry(tail.source.id);
            if entry.is_some_and(|entry| entry.offset < tail.shipped_to) {
                return;
            }
        }
        let deleted = tail.is_deleted();
        self.let_go(key, deleted);
    }

    /// A closed file that no pattern finds may be written to where it is now.
    fn look_at_closed(&mut self, key: u64, since: Instant, now: Instant) {
        let Some(tail) = self.known.get(&key) else {
            return;
        };
        let there = std::fs::metadata(&tail.path).ok();
        let there = there.filter(|metadata| Identity::of(metadata) == tail.identity);
        let quiet = now.saturating_duration_since(since) >= self.config.limits.close_rotated;
        match there {
            Some(metadata) if !tail.is_as_known(&metadata) || !tail.is_drained() => {
                let (path, first_path) = (tail.path.clone(), tail.first_path.clone());
                let group = tail.group;
                self.consider_as(&path, &first_path, group, now);
            }
            Some(_) if !quiet => {}
            // A hint that says where it went comes after the one that it is gone.
            None if now.saturating_duration_since(since) < MOVING => {}
            _ => self.give_up(key, "it went away while it waited for a descriptor", now),
        }
    }

    /// Follows a file no longer; what is known of it is kept unless its content is gone.
    fn let_go(&mut self, key: u64, gone: bool) {
        let Some(tail) = self.known.remove(&key) else {
            return;
        };
        self.missing.remove(&key);
        self.partial.remove(&key);
        self.unfinished.remove(&key);
        self.polled.remove(&key);
        self.doubtful.remove(&key);
        self.forget_places(key, &tail);
        if tail.is_open() {
            self.open_files -= 1;
        }
        let path = tail.path.display();
        debug!(%path, gone, "the file is done with");
        let mut ledger = self.ledger.borrow_mut();
        if gone {
            ledger.remove(tail.source.id);
        } else {
            ledger.release(tail.source.id);
        }
    }

    /// The group whose patterns name this path.
    fn group_of(&self, path: &Path) -> Option<usize> {
        self.config.groups.iter().position(|group| {
            group.patterns.iter().any(|pattern| pattern.matches(path))
                && !group.exclude.covers(path)
        })
    }

    /// A known file was found at this path.
    fn found_at(&mut self, key: u64, path: &Path, metadata: &Metadata) {
        let Some(tail) = self.known.get_mut(&key) else {
            return;
        };
        if tail.path != path {
            debug!(from = %tail.path.display(), to = %path.display(), "the file was renamed");
            if self.by_path.get(&tail.path) == Some(&key) {
                self.by_path.remove(&tail.path);
            }
            path.clone_into(&mut tail.path);
        }
        if self.by_path.get(path) != Some(&key) {
            self.take_path(key, path);
        }
        let Some(tail) = self.known.get(&key) else {
            return;
        };
        if !tail.is_as_known(metadata) || !tail.is_drained() {
            self.wake(key);
        }
    }

    fn new_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }
}
