//! What all links share: the batches that wait for one, and the order in which they were read.
//!
//! Any link may send any batch, so acknowledgements come out of order. INVARIANT: the registry moves in the
//! order of reading all the same: a batch that is acknowledged before an earlier one is noted
//! ([`Order`]) and booked when its turn comes. Its lines are gone from memory by then, only the
//! positions are kept, and of those a bounded number of batches.
//!
//! A link that fails gives its batches back, and the next link that has room takes them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::rc::Rc;

use tokio::sync::{Mutex, Notify, mpsc};

use crate::batch::Batch;
use crate::registry::{Ledger, Position};
use crate::report::{Counters, add};

/// So many batches after the first that is not acknowledged are handed out at most: it is what comes twice
/// after a crash in that moment.
pub const MAX_AHEAD: u64 = 1024;

/// A batch on its way.
#[derive(Debug)]
pub struct Numbered {
    /// Its place in the order of reading.
    pub number: u64,
    /// Its lines.
    pub batch: Batch,
    /// Lines of it, from the first, that are acknowledged.
    pub acknowledged: usize,
    /// Lines of it that the registry knows to be.
    pub booked: usize,
}

/// Which batches are done with, in the order of reading.
#[derive(Debug, Default)]
pub struct Order {
    /// The first that is not.
    first: u64,
    /// Runs of later ones that are, by the first of each.
    ahead: BTreeMap<u64, Run>,
}

/// Batches one after the other that are done with, though an earlier one is not.
#[derive(Debug, Default)]
struct Run {
    /// The one after the last.
    end: u64,
    /// Where they leave their files.
    positions: HashMap<u64, Position>,
}

impl Order {
    /// More of this batch is acknowledged.
    pub fn book(&mut self, numbered: &mut Numbered, ledger: &mut Ledger) {
        let done = numbered.acknowledged == numbered.batch.len();
        let range = numbered.booked..numbered.acknowledged;
        if numbered.number != self.first {
            if done {
                self.note(&numbered.batch, numbered.number, range);
            }
            return;
        }
        ledger.acknowledge(&numbered.batch, range);
        numbered.booked = numbered.acknowledged;
        if done {
            self.first += 1;
            while let Some(run) = self.ahead.remove(&self.first) {
                ledger.acknowledge_positions(run.positions.into_values());
                self.first = run.end;
            }
        }
    }

    /// Runs grow at their ends, so there are no more of them than batches on the wire.
    fn note(&mut self, batch: &Batch, number: u64, lines: Range<usize>) {
        let before = self.ahead.range_mut(..number).next_back();
        match before.filter(|(_, run)| run.end == number) {
            Some((_, run)) => {
                run.end = number + 1;
                Position::collect(batch, lines, &mut run.positions);
            }
            None => {
                let mut run = Run {
                    end: number + 1,
                    ..Run::default()
                };
                Position::collect(batch, lines, &mut run.positions);
                self.ahead.insert(number, run);
            }
        }
    }
}

/// The batches between the reader and the links.
pub struct Pool {
    ledger: Rc<RefCell<Ledger>>,
    counters: Rc<Counters>,
    /// Told after each acknowledgement.
    acknowledged: Rc<Notify>,
    full: Mutex<mpsc::Receiver<Batch>>,
    empty: mpsc::Sender<Batch>,
    /// Given back, by number.
    returned: RefCell<VecDeque<Numbered>>,
    order: RefCell<Order>,
    next: Cell<u64>,
    lines: Cell<usize>,
    bytes: Cell<usize>,
    ended: Cell<bool>,
    changed: Notify,
    /// Saves the names of streams that are new.
    secure: Box<dyn Fn()>,
}

impl Pool {
    /// A pool that takes full batches and gives them back empty.
    pub fn new(
        ledger: Rc<RefCell<Ledger>>,
        counters: Rc<Counters>,
        acknowledged: Rc<Notify>,
        full: mpsc::Receiver<Batch>,
        empty: mpsc::Sender<Batch>,
    ) -> Self {
        Self {
            ledger,
            counters,
            acknowledged,
            full: Mutex::new(full),
            empty,
            returned: RefCell::default(),
            order: RefCell::default(),
            next: Cell::new(0),
            lines: Cell::new(0),
            bytes: Cell::new(0),
            ended: Cell::new(false),
            changed: Notify::new(),
            secure: Box::new(|| ()),
        }
    }

    /// With what has to be done before lines are sent.
    #[must_use]
    pub fn securing(self, secure: Box<dyn Fn()>) -> Self {
        Self { secure, ..self }
    }

    /// To be called before lines are sent.
    pub fn secure(&self) {
        (self.secure)();
    }

    /// Lines that are not acknowledged.
    pub fn lines(&self) -> usize {
        self.lines.get()
    }

    /// Bytes of the batches that are not wholly acknowledged.
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Whether everything is acknowledged and nothing more will come.
    pub fn is_done(&self) -> bool {
        self.ended.get() && self.lines.get() == 0
    }

    /// The next batch to send; `None` when [`Pool::is_done`]. Cancel-safe.
    pub async fn next(&self) -> Option<Numbered> {
        loop {
            let changed = self.changed.notified();
            if let Some(numbered) = self.returned.borrow_mut().pop_front() {
                return Some(numbered);
            }
            if self.is_done() {
                return None;
            }
            let ahead = self.next.get() - self.order.borrow().first;
            let wants_more = !self.ended.get() && ahead < MAX_AHEAD;
            tokio::select! {
                () = changed => {}
                batch = async { self.full.lock().await.recv().await }, if wants_more => match batch {
                    Some(batch) if batch.is_empty() => self.give_empty(batch, 0).await,
                    Some(batch) => return Some(self.number(batch)),
                    None => {
                        self.ended.set(true);
                        self.changed.notify_waiters();
                    }
                },
            }
        }
    }

    /// Waits until [`Pool::is_done`].
    pub async fn done(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_done() {
                return;
            }
            changed.await;
        }
    }

    fn number(&self, batch: Batch) -> Numbered {
        let number = self.next.get();
        self.next.set(number + 1);
        self.lines.set(self.lines.get() + batch.len());
        self.bytes.set(self.bytes.get() + batch.bytes());
        Numbered {
            number,
            batch,
            acknowledged: 0,
            booked: 0,
        }
    }

    /// Takes batches back that a link could not deliver.
    pub fn give_back(&self, batches: impl IntoIterator<Item = Numbered>) {
        let mut returned = self.returned.borrow_mut();
        returned.extend(batches);
        returned
            .make_contiguous()
            .sort_by_key(|numbered| numbered.number);
        drop(returned);
        self.changed.notify_waiters();
    }

    /// So many lines more of a batch are acknowledged, counted in it already.
    pub fn book(&self, numbered: &mut Numbered, lines: usize) {
        self.order
            .borrow_mut()
            .book(numbered, &mut self.ledger.borrow_mut());
        self.lines.set(self.lines.get() - lines);
        add(&self.counters.events_acknowledged, lines as u64);
        if lines > 0 {
            self.acknowledged.notify_one();
        }
        // Somebody may wait for the end, or for the first of too many.
        self.changed.notify_waiters();
    }

    /// A batch is done with.
    pub async fn give_empty(&self, mut batch: Batch, normal_bytes: usize) {
        let bytes = self.bytes.get();
        self.bytes.set(bytes.saturating_sub(batch.bytes()));
        batch.clear(normal_bytes);
        // There is room for every batch there is; only at the very end nobody takes it.
        drop(self.empty.send(batch).await);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::event::Source;
    use crate::registry::tests::entry;

    fn numbered(source: &Rc<Source>, number: u64, lines: u64) -> Numbered {
        let mut batch = Batch::default();
        for line in number * 10..number * 10 + lines {
            batch.push(source, 0, b"text", line, line + 1);
        }
        Numbered {
            number,
            batch,
            acknowledged: 0,
            booked: 0,
        }
    }

    fn offset(ledger: &Ledger) -> u64 {
        ledger.entry(1).expect("is there").offset
    }

    #[test]
    fn complaint_17_the_registry_moves_in_the_order_of_reading() {
        let source = Rc::new(Source::new(1, true, Path::new("/a"), "h", &[]));
        let mut ledger = Ledger::default();
        ledger.insert(1, entry(1, 0));
        let mut order = Order::default();
        let [mut first, mut second, mut third] =
            [0, 1, 2].map(|number| numbered(&source, number, 10));
        third.acknowledged = 10;
        order.book(&mut third, &mut ledger);
        second.acknowledged = 4;
        order.book(&mut second, &mut ledger);
        assert_eq!(offset(&ledger), 0, "the first is not acknowledged");
        first.acknowledged = 5;
        order.book(&mut first, &mut ledger);
        assert_eq!(offset(&ledger), 5);
        first.acknowledged = 10;
        order.book(&mut first, &mut ledger);
        assert_eq!(
            offset(&ledger),
            10,
            "what is known of the second waits for its next"
        );
        second.acknowledged = 10;
        order.book(&mut second, &mut ledger);
        assert_eq!(offset(&ledger), 30);
    }

    #[tokio::test]
    async fn what_is_given_back_is_taken_first_and_in_order() {
        let (full_sender, full) = mpsc::channel(4);
        let (empty, _empties) = mpsc::channel(4);
        let pool = Pool::new(
            Rc::default(),
            Rc::default(),
            Rc::new(Notify::new()),
            full,
            empty,
        );
        let source = Rc::new(Source::new(1, true, Path::new("/a"), "h", &[]));
        for _ in 0..3 {
            full_sender
                .send(numbered(&source, 0, 2).batch)
                .await
                .expect("room");
        }
        let first = pool.next().await.expect("a batch");
        let second = pool.next().await.expect("a batch");
        assert_eq!((first.number, second.number, pool.lines()), (0, 1, 4));
        pool.give_back([second]);
        pool.give_back([first]);
        for expected in 0..3 {
            let mut numbered = pool.next().await.expect("a batch");
            assert_eq!(numbered.number, expected);
            numbered.acknowledged = 2;
            pool.book(&mut numbered, 2);
        }
        assert!(!pool.is_done());
        drop(full_sender);
        assert!(pool.next().await.is_none());
    }
}
