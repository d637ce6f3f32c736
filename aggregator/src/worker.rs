//! Workers: threads that take whole batches from the queue through the pipeline.
//!
//! Workers share the compiled pipeline, which is immutable, and nothing else. Each has an arena
//! that is emptied every `pipeline.batch.size` records, so that what it touches stays in the
//! cache whatever the size of the batch, and one writer for each output. A writer that cannot
//! go on blocks its worker, a blocked worker leaves the queue full, and a full queue stops the
//! inputs: that is all there is to backpressure.
//!
//! Events are handed to outputs before the next record is read; nothing waits in a worker but
//! what a writer has not sent yet, which is flushed when the queue is quiet for
//! `pipeline.batch.delay`; while batches keep coming, the writer itself sees to it at their ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bumpalo::Bump;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use skidder_pipeline::Pipeline;
use skidder_pipeline::event::{Event, Timestamp};
use skidder_pipeline::filter::Scratch;

use crate::ack::Ack;
use crate::output::Writer;

/// Arena size above which a worker gives the memory back instead of keeping it for the next
/// batch. A usual batch needs a tenth of it.
pub const MAX_KEPT_ARENA_BYTES: usize = 8 << 20;

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

    /// Reads the record at `index` into its events (usually one).
    fn decode<'b>(
        &'b self,
        index: usize,
        arena: &'b Bump,
        now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    );
}

/// What all workers have counted.
#[derive(Debug, Default)]
pub struct Counters {
    /// Events that came in.
    pub received: AtomicU64,
    /// Events that left the filters.
    pub filtered: AtomicU64,
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
        let mut quiet = true;
        loop {
            match self.queue.recv_timeout(self.batch_delay) {
                Ok(batch) => {
                    self.work(&pipeline, &batch, &mut arena, &mut scratch);
                    quiet = false;
                }
                Err(RecvTimeoutError::Timeout) => {
                    if !quiet {
                        self.flush();
                        quiet = true;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.flush();
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
        let mut start = 0;
        while start < records.len() {
            let end = records.len().min(start + self.batch_size);
            let now = now();
            let writers = &mut self.writers;
            {
                let arena = &*arena;
                for index in start..end {
                    records.decode(index, arena, now, &mut |event| {
                        received += 1;
                        pipeline.filters.run(event, arena, now, scratch, |event| {
                            filtered += 1;
                            pipeline.outputs.visit(&event, |output| {
                                writers[*output].write(&event, now, &batch.ack);
                            });
                        });
                    });
                }
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
        self.counters
            .received
            .fetch_add(received, Ordering::Relaxed);
        self.counters
            .filtered
            .fetch_add(filtered, Ordering::Relaxed);
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
