//! The objects that are open, and those that are closed and not stored yet: all that the output holds in memory.
//!
//! INVARIANTS
//! * Events come in the order of their positions, so an object has a range of them that no other object of its partition has.
//! * An object that the journal knew at the start becomes what it was: it is not closed before its last event is there, for
//!   whatever reason, and takes no other.
//! * What is held is below `max_memory_bytes` and one event, but for objects that are made again, which were held
//!   before as well.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::journal::Replay;
use super::object::{Body, Encoding, Plan, Position};
use super::options::S3Options;
use super::row::Record;
use crate::ack::Ack;

/// What a hold on a batch takes, with what it holds.
const ACK_BYTES: usize = 160;

/// What an open object takes besides its bytes.
const OBJECT_BYTES: usize = 512;

/// An event for the archive.
pub(super) struct Incoming<'e> {
    pub(super) position: Position,
    pub(super) partition: &'e str,
    pub(super) record: Record<'e>,
    /// The event has a hold on it.
    pub(super) ack: &'e Ack,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It is in an object.
    Taken,
    /// It was stored before the start.
    Known,
}

/// An object to be uploaded.
pub(super) struct Closed {
    pub(super) plan: Plan,
    pub(super) parts: Vec<Bytes>,
    /// How many events of each batch there are.
    pub(super) acks: Vec<(Ack, u32)>,
    /// What it counts for in [`Collector::held`].
    pub(super) held: usize,
}

/// All objects that are not stored.
pub(super) struct Collector {
    options: Arc<S3Options>,
    /// Of the queue that positions are of.
    salt: u64,
    replay: Replay,
    open: HashMap<String, Open>,
    /// Those of `open` that are made again.
    remade: usize,
    /// What `open` takes.
    open_bytes: usize,
    closed: VecDeque<Closed>,
    /// Closed ones, waiting or on their way.
    uploads: usize,
    upload_bytes: usize,
    /// Counts events, for "used last".
    clock: u64,
}

struct Open {
    body: Body,
    first: Position,
    last: Position,
    events: u64,
    acks: Vec<(Ack, u32)>,
    /// The time in its name.
    time: String,
    since: Instant,
    used: u64,
    /// It is made again as it was planned.
    planned: Option<Plan>,
}

impl Open {
    fn held(&self) -> usize {
        OBJECT_BYTES + self.body.held_bytes() + self.acks.len() * ACK_BYTES
    }

    fn is_closable(&self) -> bool {
        self.planned.is_none()
    }
}

impl Collector {
    pub(super) fn new(options: Arc<S3Options>, salt: u64, replay: Replay) -> Self {
        Self {
            options,
            salt,
            replay,
            open: HashMap::new(),
            remade: 0,
            open_bytes: 0,
            closed: VecDeque::new(),
            uploads: 0,
            upload_bytes: 0,
            clock: 0,
        }
    }

    /// Bytes in memory.
    pub(super) fn held(&self) -> usize {
        self.open_bytes + self.upload_bytes
    }

    /// How many objects are closed and not stored.
    pub(super) fn uploads(&self) -> usize {
        self.uploads
    }

    /// Whether there is room for an event; closes what can be closed to make some. Without room, something is being
    /// uploaded that will make it.
    pub(super) fn has_room(&mut self) -> bool {
        let limit = self.options.max_memory_bytes;
        while self.held() >= limit && (self.uploads == 0 || self.open_bytes > limit / 2) {
            let closable = self.open.iter().filter(|(_, open)| open.is_closable());
            let largest = closable.max_by_key(|(_, open)| open.body.held_bytes());
            match largest.map(|(partition, _)| partition.clone()) {
                Some(partition) => self.close(&partition),
                None => break,
            }
        }
        self.held() < limit || self.uploads == 0
    }

    /// Takes an event. `time` writes the time for the name of an object that begins with it.
    pub(super) fn add(
        &mut self,
        event: &Incoming<'_>,
        time: impl FnOnce() -> String,
    ) -> io::Result<Added> {
        self.close_passed(event.position);
        let known = self.replay.find(event.partition, event.position);
        if known.is_some_and(|known| known.stored) {
            return Ok(Added::Known);
        }
        let planned = known.map(|known| known.plan.clone());
        if let Some(open) = self.open.get(event.partition)
            && open.planned != planned
        {
            self.close(event.partition);
        }
        if !self.open.contains_key(event.partition) {
            self.begin(event, time(), planned)?;
        }
        self.clock += 1;
        let Some(open) = self.open.get_mut(event.partition) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let before = open.held();
        open.body.add(event.record)?;
        open.last = event.position;
        open.events += 1;
        open.used = self.clock;
        match open.acks.last_mut() {
            Some((last, events)) if last.is(event.ack) => *events += 1,
            _ => open.acks.push((event.ack.clone(), 1)),
        }
        let is_full = match &open.planned {
            Some(plan) => plan.last == event.position,
            None => open.body.stored_bytes() >= self.options.object_bytes(),
        };
        // A row group that was written has given memory back.
        self.open_bytes = self.open_bytes + open.held() - before;
        if is_full {
            self.close(event.partition);
        }
        Ok(Added::Taken)
    }

    /// Closes what has been open for `time_file`; if `too_full`, the oldest object as well.
    pub(super) fn close_due(&mut self, now: Instant, too_full: bool) {
        let after = self.options.time_file.unwrap_or(Duration::MAX);
        let closable = || self.open.iter().filter(|(_, open)| open.is_closable());
        let due = closable().filter(|(_, open)| now.duration_since(open.since) >= after);
        let mut due: Vec<String> = due.map(|(partition, _)| partition.clone()).collect();
        if due.is_empty() && too_full {
            // It is what holds the queue's segments.
            let oldest = closable().min_by_key(|(_, open)| open.first);
            due.extend(oldest.map(|(partition, _)| partition.clone()));
        }
        for partition in due {
            self.close(&partition);
        }
    }

    /// Closes all but what would not become what it was.
    pub(super) fn close_all(&mut self) {
        let closable = self.open.iter().filter(|(_, open)| open.is_closable());
        let all: Vec<String> = closable.map(|(partition, _)| partition.clone()).collect();
        for partition in all {
            self.close(&partition);
        }
    }

    /// The next object to upload.
    pub(super) fn next_closed(&mut self) -> Option<Closed> {
        self.closed.pop_front()
    }

    /// An object that was closed is stored, or given up.
    pub(super) fn ended(&mut self, held: usize) {
        self.uploads -= 1;
        self.upload_bytes -= held;
    }

    fn begin(
        &mut self,
        event: &Incoming<'_>,
        time: String,
        planned: Option<Plan>,
    ) -> io::Result<()> {
        if self.open.len() - self.remade >= self.options.max_open_objects {
            let closable = self.open.iter().filter(|(_, open)| open.is_closable());
            let idle = closable.min_by_key(|(_, open)| open.used);
            if let Some(idle) = idle.map(|(partition, _)| partition.clone()) {
                self.close(&idle);
            }
        }
        let encoding = match &planned {
            Some(plan) => Encoding::of_key(&plan.key),
            None => self.options.encoding,
        };
        let open = Open {
            body: Body::new(encoding, &self.options.columns)?,
            first: event.position,
            last: event.position,
            events: 0,
            acks: Vec::new(),
            time,
            since: Instant::now(),
            used: self.clock,
            planned,
        };
        self.remade += usize::from(!open.is_closable());
        self.open_bytes += open.held();
        self.open.insert(event.partition.to_owned(), open);
        Ok(())
    }

    /// Closes objects that are made again and whose last event is over: part of the queue was lost with a damaged place.
    fn close_passed(&mut self, position: Position) {
        if self.remade == 0 {
            return;
        }
        let passed = self.open.iter().filter(|(_, open)| {
            let planned = open.planned.as_ref();
            planned.is_some_and(|plan| plan.last < position)
        });
        let passed: Vec<String> = passed.map(|(partition, _)| partition.clone()).collect();
        for partition in passed {
            self.close(&partition);
        }
    }

    fn close(&mut self, partition: &str) {
        let Some(open) = self.open.remove(partition) else {
            return;
        };
        self.open_bytes -= open.held();
        self.remade -= usize::from(!open.is_closable());
        let plan = open.planned.unwrap_or_else(|| {
            let range = (open.first, open.last, open.events);
            let name = (
                open.time.as_str(),
                self.options.tags.as_slice(),
                self.options.encoding,
            );
            Plan::new(self.salt, partition, range, name)
        });
        let parts = open
            .body
            .finish()
            .expect("what is written to memory does not fail");
        let bytes: usize = parts.iter().map(Bytes::len).sum();
        let held = OBJECT_BYTES + bytes + open.acks.len() * ACK_BYTES;
        self.uploads += 1;
        self.upload_bytes += held;
        self.closed.push_back(Closed {
            plan,
            parts,
            acks: open.acks,
            held,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::journal::Known;
    use super::super::row::Row;
    use super::*;

    const LINE: usize = 1000;

    fn at(record: u64, event: u32) -> Position {
        Position { record, event }
    }

    fn options(change: impl FnOnce(&mut S3Options)) -> Arc<S3Options> {
        let mut options = super::super::options::tests::read("bucket => logs").0;
        options.size_file = Some(10 * LINE);
        change(&mut options);
        Arc::new(options)
    }

    fn collector(change: impl FnOnce(&mut S3Options), known: Vec<Known>) -> Collector {
        Collector::new(options(change), 7, Replay::new(known))
    }

    /// A batch whose acknowledgement sets the number.
    fn batch() -> (Ack, Arc<AtomicUsize>) {
        let told = Arc::new(AtomicUsize::new(0));
        let teller = Arc::clone(&told);
        let ack = Ack::new(Box::new(move || {
            teller.fetch_add(1, Ordering::SeqCst);
        }));
        (ack, told)
    }

    impl Collector {
        fn give(&mut self, partition: &str, position: Position) -> Added {
            let (ack, _) = batch();
            let mut bytes = vec![b'x'; LINE - 1];
            bytes.push(b'\n');
            ack.hold(1);
            let event = Incoming {
                position,
                partition,
                record: Record::Text(&bytes, &Row::default),
                ack: &ack,
            };
            self.add(&event, || "t".to_owned()).unwrap()
        }

        /// Partition, range and bytes of what is closed.
        fn closed(&mut self) -> Vec<(String, Position, Position, usize)> {
            let mut all = Vec::new();
            while let Some(closed) = self.next_closed() {
                let bytes = closed.parts.iter().map(Bytes::len).sum();
                let Plan {
                    partition,
                    first,
                    last,
                    ..
                } = closed.plan;
                all.push((partition, first, last, bytes));
                self.ended(closed.held);
            }
            all
        }

        fn keys(&mut self) -> Vec<Plan> {
            let closed: Vec<Closed> = std::iter::from_fn(|| self.next_closed()).collect();
            for each in &closed {
                self.ended(each.held);
            }
            closed.into_iter().map(|closed| closed.plan).collect()
        }
    }

    #[test]
    fn an_object_is_closed_by_its_size_and_by_its_time() {
        let mut collector = collector(
            |options| options.time_file = Some(Duration::from_mins(1)),
            vec![],
        );
        for event in 0..25 {
            collector.give("a/", at(1, event));
        }
        let full = |first, last| ("a/".to_owned(), at(1, first), at(1, last), 10 * LINE);
        assert_eq!(collector.closed(), [full(0, 9), full(10, 19)]);
        let now = Instant::now();
        collector.close_due(now + Duration::from_secs(30), false);
        assert!(collector.closed().is_empty());
        collector.close_due(now + Duration::from_secs(61), false);
        let expected = ("a/".to_owned(), at(1, 20), at(1, 24), 5 * LINE);
        assert_eq!(collector.closed(), [expected]);
        assert_eq!(collector.held(), 0);
    }

    #[test]
    fn the_least_used_partition_makes_room_for_another() {
        let mut collector = collector(|options| options.max_open_objects = 2, vec![]);
        collector.give("a/", at(1, 0));
        collector.give("b/", at(1, 1));
        collector.give("a/", at(1, 2));
        collector.give("c/", at(1, 3));
        assert_eq!(
            collector.closed(),
            [("b/".to_owned(), at(1, 1), at(1, 1), LINE)]
        );
        assert_eq!(collector.open.len(), 2);
    }

    #[test]
    fn memory_is_bounded_and_the_largest_object_goes_first() {
        let limit = 200 * LINE;
        let mut collector = collector(
            |options| {
                options.max_memory_bytes = limit;
                options.size_file = Some(1 << 30);
            },
            vec![],
        );
        let mut event = 0;
        while collector.has_room() {
            let partition = if event % 10 == 0 { "small/" } else { "large/" };
            collector.give(partition, at(1, event));
            assert!(collector.held() < limit + 2 * LINE);
            event += 1;
        }
        // Something is on its way, and until it is there nothing is taken.
        assert!(collector.uploads() > 0);
        assert!(!collector.has_room());
        let closed = collector.closed();
        assert_eq!(closed[0].0, "large/");
        assert!(collector.has_room());
    }

    #[test]
    fn a_queue_that_is_full_gets_its_oldest_object_stored() {
        let mut collector = collector(|options| options.time_file = None, vec![]);
        collector.give("a/", at(1, 0));
        collector.give("b/", at(1, 1));
        collector.give("a/", at(1, 2));
        collector.close_due(Instant::now(), false);
        assert!(collector.uploads() == 0);
        collector.close_due(Instant::now(), true);
        assert_eq!(collector.closed()[0].0, "a/");
    }

    #[test]
    fn after_a_crash_the_same_objects_come_out() {
        // Two partitions by turns, in records of four events.
        let feed = |collector: &mut Collector, from: u64| {
            let mut known = Vec::new();
            for record in from..20 {
                for event in 0..4 {
                    let partition = if event % 2 == 0 { "a/" } else { "b/" };
                    if collector.give(partition, at(record, event)) == Added::Known {
                        known.push((partition, at(record, event)));
                    }
                }
            }
            known
        };
        let mut first = collector(|_| {}, vec![]);
        assert_eq!(feed(&mut first, 0), []);
        let mut plans = first.keys();
        first.close_all();
        let open = first.keys();
        assert_eq!((plans.len(), open.len()), (8, 0));

        // Two of them were stored; the others were planned, but for the last one. Sizes are others now.
        plans.pop();
        let known = |plan: &Plan| Known {
            plan: plan.clone(),
            stored: plan.key == plans[0].key || plan.key == plans[3].key,
        };
        let mut known: Vec<Known> = plans.iter().map(known).collect();
        known.sort_by_key(|known| known.plan.first);
        let mut second = collector(|options| options.size_file = Some(1 << 20), known);
        // Closing makes nothing of what is only half there.
        let (ack, _) = batch();
        let event = Incoming {
            position: plans[1].first,
            partition: "b/",
            record: Record::Text(b"x", &Row::default),
            ack: &ack,
        };
        let mut half = Collector::new(
            options(|_| {}),
            7,
            Replay::new(vec![Known {
                plan: plans[1].clone(),
                stored: false,
            }]),
        );
        half.add(&event, String::new).unwrap();
        half.close_all();
        half.close_due(Instant::now() + Duration::from_hours(9), true);
        assert!(half.next_closed().is_none());

        let skipped = feed(&mut second, 0);
        assert_eq!(skipped.len() as u64, plans[0].events + plans[3].events);
        let mut again = second.keys();
        second.close_all();
        let rest = second.keys();
        assert_eq!(rest.len(), 1, "{rest:?}");
        let mut wanted: Vec<Plan> = plans.clone();
        wanted.retain(|plan| plan.key != plans[0].key && plan.key != plans[3].key);
        let by_key = |plans: &mut Vec<Plan>| plans.sort_by(|a, b| a.key.cmp(&b.key));
        by_key(&mut again);
        by_key(&mut wanted);
        assert_eq!(again, wanted);
        let all: u64 = again.iter().chain(&rest).map(|plan| plan.events).sum();
        assert_eq!(all + skipped.len() as u64, 80);
    }

    #[test]
    fn an_object_of_which_the_queue_has_lost_a_part_is_closed_when_it_is_over() {
        let plan = Plan::new(7, "a/", (at(1, 0), at(5, 0), 5), ("t", &[], Encoding::None));
        let known = Known {
            plan: plan.clone(),
            stored: false,
        };
        let mut collector = collector(|_| {}, vec![known]);
        collector.give("a/", at(1, 0));
        collector.give("b/", at(5, 0));
        assert!(collector.uploads() == 0);
        collector.give("b/", at(5, 1));
        assert_eq!(collector.keys(), [plan]);
    }
}
