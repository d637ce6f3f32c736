//! Workers: threads that take whole batches from the queue through the pipeline.
//!
//! Workers share the compiled pipeline, which is immutable, and nothing else. Each has an arena
//! that is emptied every `pipeline.batch.size` records, or earlier when they are large, so that what it touches stays in the
//! cache whatever the size of the batch, and one writer for each output. A writer that cannot
//! go on blocks its worker, a blocked worker leaves the queue full, and a full queue stops the
//! inputs: that is all there is to backpressure.
//!
//! Events are handed to outputs before the next record is read; nothing waits in a worker but
//! what a writer has not sent yet. It is flushed as soon as no batch waits and there are at least
//! `pipeline.batch.size` records of it, or when the queue is quiet for `pipeline.batch.delay`;
//! while batches keep coming, the writer itself sees to it at their ends. The first of these is
//! what makes a sender fast: it has a few windows under way and sends the next one when the first
//! is acknowledged, so that a pause here would be a pause of the whole line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bumpalo::Bump;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use skidder_pipeline::Pipeline;
use skidder_pipeline::event::{Event, Timestamp};
use skidder_pipeline::filter::{FLUSH_INTERVAL, Scratch};
use skidder_pipeline::program::Parked;

use crate::ack::Ack;
use crate::output::Writer;
use crate::queue::packed::pack;
use crate::queue::stored::Form;

/// Arena size above which a worker empties it before it takes the next record, and gives the memory back instead of
/// keeping it. `pipeline.batch.size` usual records need a tenth of it.
pub const MAX_KEPT_ARENA_BYTES: usize = 8 << 20;

/// Seconds between two flushes of the filters that want it.
const FLUSH_SECONDS: i64 = FLUSH_INTERVAL.as_secs() as i64;

/// What an input puts into the queue: records that are read into events by the worker.
pub struct Batch {
    /// The records.
    pub records: Box<dyn Records>,
    /// To be acknowledged when they are safe. The batch is its first hold.
    pub ack: Ack,
}

/// The records of a batch.
pub trait Records: Send {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the record at `index` into its events (usually one). Records are read in their order; what is read again is
    /// read from the first on.
    fn decode<'b>(
        &'b self,
        index: usize,
        arena: &'b Bump,
        now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    );

    /// The name of the input that they came by, for the disk queue.
    #[expect(
        clippy::unnecessary_literal_bound,
        reason = "others give a name of their own"
    )]
    fn source(&self) -> &str {
        ""
    }

    /// Appends the records as the disk queue keeps them, and says in which form. An input that
    /// can read them back undecoded ([`crate::queue::stored::Restore`]) has a form of its own; the
    /// events that they decode to, packed, are good enough for the others.
    fn store(&self, out: &mut Vec<u8>) -> Form {
        let mut arena = Bump::new();
        for index in 0..self.len() {
            self.decode(index, &arena, now(), &mut |event| pack(&event, out));
            arena.reset();
        }
        Form::Packed
    }
}

/// What all workers have counted.
#[derive(Debug, Default)]
pub struct Counters {
    /// Events that came in.
    pub received: AtomicU64,
    /// Events that left the filters.
    pub filtered: AtomicU64,
    /// Those of them that are safe: every output has them, and all others of their batch.
    pub safe: AtomicU64,
    /// Time that workers spent on batches, waiting for outputs included, in nanoseconds.
    pub busy: AtomicU64,
    /// Events that each output was given, by its index.
    pub outputs: Vec<AtomicU64>,
    /// Workers that run.
    pub workers: AtomicUsize,
}

impl Counters {
    /// Of a pipeline with so many outputs.
    pub fn of_outputs(count: usize) -> Self {
        Self {
            outputs: std::iter::repeat_with(AtomicU64::default)
                .take(count)
                .collect(),
            ..Self::default()
        }
    }

    /// Adds what one batch was, and leaves nothing in `given`.
    fn add(&self, received: u64, filtered: u64, given: &mut [u64]) {
        self.received.fetch_add(received, Ordering::Relaxed);
        self.filtered.fetch_add(filtered, Ordering::Relaxed);
        for (output, given) in self.outputs.iter().zip(given) {
            output.fetch_add(std::mem::take(given), Ordering::Relaxed);
        }
    }

    /// Counts the events of a batch as safe when it is.
    fn count_when_safe(self: &Arc<Self>, ack: &Ack, events: u64) {
        let counters = Arc::clone(self);
        ack.also(move || {
            counters.safe.fetch_add(events, Ordering::Relaxed);
        });
    }
}

/// One worker.
pub struct Worker {
    /// The compiled pipeline.
    pub pipeline: Arc<Pipeline>,
    /// Batches to work on.
    pub queue: Receiver<Batch>,
    /// Writers of this worker, by the index that the pipeline gives the outputs.
    pub writers: Vec<Box<dyn Writer>>,
    /// Records between two resets of the arena.
    pub batch_size: usize,
    /// Quiet time after which writers are flushed.
    pub batch_delay: Duration,
    /// Where to count.
    pub counters: Arc<Counters>,
}

impl Worker {
    /// Works until every input is gone and the queue is empty; flushes and ends.
    pub fn run(mut self) {
        let pipeline = Arc::clone(&self.pipeline);
        let mut arena = Bump::new();
        let mut scratch = Scratch::default();
        let mut waiting = 0;
        let flushes = pipeline.has_flush();
        self.counters.workers.fetch_add(1, Ordering::AcqRel);
        let mut flushed = now();
        loop {
            if flushes && now().seconds() >= flushed.seconds() + FLUSH_SECONDS {
                flushed = now();
                waiting += self.flush_filters(&pipeline, false, &mut arena, &mut scratch);
            }
            match self.queue.recv_timeout(self.batch_delay) {
                Ok(batch) => {
                    self.work(&pipeline, &batch, &mut arena, &mut scratch);
                    waiting += batch.records.len();
                    if waiting >= self.batch_size && self.queue.is_empty() {
                        self.flush();
                        waiting = 0;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if waiting > 0 {
                        self.flush();
                        waiting = 0;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // After the last worker no event can come; one that has not begun yet finds none either.
        let is_last = self.counters.workers.fetch_sub(1, Ordering::AcqRel) == 1;
        if flushes && is_last {
            self.flush_filters(&pipeline, true, &mut arena, &mut scratch);
        }
        self.flush();
    }

    /// Sends what filters have due; answers how many events that are.
    fn flush_filters(
        &mut self,
        pipeline: &Pipeline,
        last: bool,
        arena: &mut Bump,
        scratch: &mut Scratch,
    ) -> usize {
        let now = now();
        let mut filtered = 0;
        let mut given = vec![0; self.writers.len()];
        let writers = &mut self.writers;
        // Nobody upstream waits for what a filter made by itself.
        let ack = Ack::ignored();
        pipeline.filters.flush(last, arena, now, scratch, |event| {
            filtered += 1;
            pipeline.outputs.visit(&event, |output| {
                given[*output] += 1;
                writers[*output].write(&event, now, &ack);
            });
        });
        arena.reset();
        self.counters.add(0, filtered, &mut given);
        self.counters.count_when_safe(&ack, filtered);
        ack.done(1);
        filtered as usize
    }

    fn work(
        &mut self,
        pipeline: &Pipeline,
        batch: &Batch,
        arena: &mut Bump,
        scratch: &mut Scratch,
    ) {
        let records = batch.records.as_ref();
        let (mut received, mut filtered) = (0, 0);
        let mut given = vec![0; self.writers.len()];
        let begun = Instant::now();
        let mut start = 0;
        while start < records.len() {
            let mut end = records.len().min(start + self.batch_size);
            let now = now();
            let writers = &mut self.writers;
            {
                let arena = &*arena;
                let filters = &pipeline.filters;
                let mut parked = Parked::default();
                let mut done = |event: Event<'_>| {
                    filtered += 1;
                    pipeline.outputs.visit(&event, |output| {
                        given[*output] += 1;
                        writers[*output].write(&event, now, &batch.ack);
                    });
                };
                for index in start..end {
                    records.decode(index, arena, now, &mut |event| {
                        received += 1;
                        filters.run_or_park(event, arena, now, scratch, &mut parked, &mut done);
                    });
                    if arena.allocated_bytes() > MAX_KEPT_ARENA_BYTES {
                        end = index + 1;
                        break;
                    }
                }
                filters.resume(&mut parked, arena, now, scratch, &mut done);
            }
            if arena.allocated_bytes() > MAX_KEPT_ARENA_BYTES {
                *arena = Bump::new();
            } else {
                arena.reset();
            }
            start = end;
        }
        self.writers
            .iter_mut()
            .for_each(|writer| writer.end_of_batch());
        let busy = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.counters.busy.fetch_add(busy, Ordering::Relaxed);
        self.counters.add(received, filtered, &mut given);
        self.counters.count_when_safe(&batch.ack, filtered);
        batch.ack.done(1);
    }

    fn flush(&mut self) {
        self.writers.iter_mut().for_each(|writer| writer.flush());
    }
}

/// The time by the system's clock.
pub fn now() -> Timestamp {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => Timestamp::new(since.as_secs() as i64, since.subsec_nanos()),
        Err(error) => {
            let before = error.duration();
            let nanoseconds = before.subsec_nanos();
            if nanoseconds == 0 {
                Timestamp::new(-(before.as_secs() as i64), 0)
            } else {
                Timestamp::new(-(before.as_secs() as i64) - 1, 1_000_000_000 - nanoseconds)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{SyncSender, sync_channel};

    use crossbeam_channel::bounded;
    use skidder_pipeline::program::Program;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn empty_pipeline() -> Pipeline {
        Pipeline {
            filters: Program::default(),
            outputs: Program::default(),
            output_plugins: Vec::new(),
            watched_files: Vec::new(),
        }
    }

    struct Count(usize);

    impl Records for Count {
        fn len(&self) -> usize {
            self.0
        }

        fn decode<'b>(&'b self, _: usize, _: &'b Bump, _: Timestamp, _: &mut dyn FnMut(Event<'b>)) {
        }
    }

    struct Flushes(SyncSender<()>);

    impl Writer for Flushes {
        fn write(&mut self, _: &Event<'_>, _: Timestamp, _: &Ack) {}

        fn flush(&mut self) {
            self.0.send(()).unwrap();
        }
    }

    /// One record that is one event.
    struct One;

    impl Records for One {
        fn len(&self) -> usize {
            1
        }

        fn decode<'b>(
            &'b self,
            _: usize,
            arena: &'b Bump,
            now: Timestamp,
            each: &mut dyn FnMut(Event<'b>),
        ) {
            each(Event::with_timestamp_in(now, arena));
        }
    }

    /// Says of each event how many fields it has.
    struct Fields(SyncSender<usize>);

    impl Writer for Fields {
        fn write(&mut self, event: &Event<'_>, _: Timestamp, _: &Ack) {
            self.0.send(event.fields.len()).unwrap();
        }

        fn flush(&mut self) {}
    }

    #[test]
    fn what_filters_have_left_comes_at_the_end_and_once() {
        use skidder_pipeline::language::{Diagnostics, EscapeStyle, SourceMap, parse};
        let text = "filter { metrics { meter => events } } output { stdout { } }";
        let sources = SourceMap::single("test", text);
        let mut diagnostics = Diagnostics::new();
        let config = parse(
            &sources,
            skidder_pipeline::language::ParseOptions::default(),
            &mut diagnostics,
        );
        let options = skidder_pipeline::CompileOptions {
            ecs: false,
            escape_style: EscapeStyle::None,
            files: &skidder_pipeline::NoFiles,
        };
        let pipeline = skidder_pipeline::compile(&config, &options, &mut diagnostics);
        let pipeline = Arc::new(pipeline.unwrap());
        let counters = Arc::new(Counters::of_outputs(1));
        let (queue, receiver) = bounded(2);
        let (written, events) = sync_channel(10);
        let threads = [(); 2].map(|()| {
            let worker = Worker {
                pipeline: Arc::clone(&pipeline),
                queue: receiver.clone(),
                writers: vec![Box::new(Fields(written.clone()))],
                batch_size: 125,
                batch_delay: Duration::from_hours(1),
                counters: Arc::clone(&counters),
            };
            std::thread::spawn(move || worker.run())
        });
        drop(written);
        for _ in 0..2 {
            let batch = Batch {
                records: Box::new(One),
                ack: Ack::ignored(),
            };
            queue.send(batch).unwrap();
        }
        drop(queue);
        for thread in threads {
            thread.join().unwrap();
        }
        // Two events with a time and a version, then the figures with a message and a meter.
        assert_eq!(events.iter().collect::<Vec<_>>(), [2, 2, 4]);
        assert_eq!(counters.filtered.load(Ordering::Relaxed), 3);
        assert_eq!(counters.outputs[0].load(Ordering::Relaxed), 3);
        // The writer of this test takes no holds.
        assert_eq!(counters.safe.load(Ordering::Relaxed), 3);
    }

    /// Records of which each takes a megabyte; says how much the arena holds when one is read.
    struct Large(SyncSender<usize>);

    impl Records for Large {
        fn len(&self) -> usize {
            100
        }

        fn decode<'b>(
            &'b self,
            _: usize,
            arena: &'b Bump,
            _: Timestamp,
            _: &mut dyn FnMut(Event<'b>),
        ) {
            arena.alloc_slice_fill_copy(1 << 20, 0_u8);
            self.0.send(arena.allocated_bytes()).unwrap();
        }
    }

    #[test]
    fn the_arena_is_emptied_before_it_is_large() {
        let (queue, receiver) = bounded(1);
        let (said, sizes) = sync_channel(100);
        let batch = Batch {
            records: Box::new(Large(said)),
            ack: Ack::ignored(),
        };
        queue.send(batch).unwrap();
        drop(queue);
        let worker = Worker {
            pipeline: Arc::new(empty_pipeline()),
            queue: receiver,
            writers: Vec::new(),
            batch_size: 125,
            batch_delay: Duration::from_hours(1),
            counters: Arc::default(),
        };
        worker.run();
        let sizes: Vec<usize> = sizes.iter().collect();
        assert_eq!(sizes.len(), 100);
        let most = sizes.iter().max().unwrap();
        assert!(*most <= 2 * MAX_KEPT_ARENA_BYTES, "{most} bytes");
    }

    #[test]
    fn a_full_batch_does_not_wait_for_more_and_a_small_one_does() {
        let (queue, receiver) = bounded(2);
        let (flushed, flushes) = sync_channel(10);
        let worker = Worker {
            pipeline: Arc::new(empty_pipeline()),
            queue: receiver,
            writers: vec![Box::new(Flushes(flushed))],
            batch_size: 125,
            // What is flushed in this test is not flushed because of the time.
            batch_delay: Duration::from_hours(1),
            counters: Arc::default(),
        };
        let thread = std::thread::spawn(move || worker.run());
        let send = |records| {
            let batch = Batch {
                records: Box::new(Count(records)),
                ack: Ack::ignored(),
            };
            queue.send(batch).unwrap();
        };
        send(125);
        flushes.recv_timeout(PATIENCE).unwrap();
        // Two halves: the first alone is not worth a flush, both together are one.
        send(63);
        send(63);
        flushes.recv_timeout(PATIENCE).unwrap();
        send(1);
        drop(queue);
        thread.join().unwrap();
        // The last record was flushed at the end, and nothing else ever was.
        assert_eq!(flushes.iter().count(), 1);
    }
}
