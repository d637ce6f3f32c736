//! What is on its way: the batches that are not wholly acknowledged, and which of their lines are
//! on the wire.
//!
//! Lines are kept once, as read. A window is encoded from them when it is sent, and encoded
//! again if it has to be sent again, from the first line that is not acknowledged on.

use std::collections::VecDeque;

use skidder_lumberjack::{Acked, Compression, EncodeError, EncodedWindow, Version, WindowBuilder};

use crate::batch::Batch;
use crate::event::{decimal, timestamp, write_fields};
use crate::registry::Ledger;

/// After trouble a window has at least this many lines.
const LEAST_WINDOW: usize = 16;
/// The scratch space for one event is not kept beyond this.
const KEPT_SCRATCH_BYTES: usize = 256 << 10;

/// Batches and windows in flight.
pub struct Flight {
    held: VecDeque<Held>,
    windows: VecDeque<Window>,
    builder: WindowBuilder,
    version: Version,
    scratch: Vec<u8>,
    /// Lines per window now, and when all is well.
    limit: usize,
    normal_limit: usize,
}

struct Held {
    batch: Batch,
    sent: usize,
    acknowledged: usize,
}

struct Window {
    lines: usize,
    acknowledged: usize,
}

/// What an acknowledgement brought.
#[derive(Debug, Default)]
pub struct Progress {
    /// Lines that are newly safe.
    pub lines: usize,
    /// A batch that is done with.
    pub done: Option<Batch>,
}

impl Flight {
    /// Nothing on its way.
    pub fn new(version: Version, compression_level: u8, window_limit: usize) -> Self {
        let compression = match compression_level {
            0 => Compression::None,
            level => Compression::Zlib { level },
        };
        let most = u32::try_from(window_limit).unwrap_or(u32::MAX);
        Self {
            held: VecDeque::new(),
            windows: VecDeque::new(),
            builder: WindowBuilder::new(version, compression).with_max_events(most),
            version,
            scratch: Vec::new(),
            limit: window_limit,
            normal_limit: window_limit,
        }
    }

    /// Takes a batch over.
    pub fn take(&mut self, batch: Batch) {
        if !batch.is_empty() {
            self.held.push_back(Held {
                batch,
                sent: 0,
                acknowledged: 0,
            });
        }
    }

    /// Whether nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Windows on the wire.
    pub fn windows(&self) -> usize {
        self.windows.len()
    }

    /// Whether there are lines that are not on the wire.
    pub fn has_unsent(&self) -> bool {
        self.held.iter().any(|held| held.sent < held.batch.len())
    }

    /// Lines that are not acknowledged.
    pub fn lines(&self) -> usize {
        self.held
            .iter()
            .map(|held| held.batch.len() - held.acknowledged)
            .sum()
    }

    /// Whether the numbers of version 1 have come so far that a new connection is due.
    pub fn should_reconnect(&self) -> bool {
        self.version == Version::V1 && self.builder.should_restart_sequence()
    }

    /// Encodes the next window; it counts as being on the wire from now.
    pub fn next_window(&mut self) -> Result<Option<EncodedWindow>, EncodeError> {
        let Some(held) = self
            .held
            .iter_mut()
            .find(|held| held.sent < held.batch.len())
        else {
            return Ok(None);
        };
        let end = held.batch.len().min(held.sent + self.limit);
        let mut read_at = None;
        let mut time = Vec::new();
        for line in held.batch.lines(held.sent..end) {
            match self.version {
                Version::V1 => {
                    let mut digits = [0; 20];
                    let offset = decimal(line.start, &mut digits);
                    let extra = line.extra.into_iter().flat_map(|extra| &extra.fields);
                    let extra = extra.map(|(name, value)| (name.as_bytes(), value.as_slice()));
                    let pairs = line.source.pairs(line.text, offset);
                    self.builder.push_pairs(pairs.chain(extra))?;
                }
                Version::V2 => {
                    if read_at != Some(line.read_at) {
                        read_at = Some(line.read_at);
                        time = timestamp(line.read_at);
                    }
                    self.scratch.clear();
                    line.source
                        .write_json(&mut self.scratch, &time, line.text, line.start);
                    if let Some(extra) = line.extra {
                        write_fields(&mut self.scratch, &extra.fields);
                    }
                    self.builder.push_json(&self.scratch)?;
                }
            }
        }
        if self.scratch.capacity() > KEPT_SCRATCH_BYTES {
            self.scratch = Vec::new();
        }
        self.windows.push_back(Window {
            lines: end - held.sent,
            acknowledged: 0,
        });
        held.sent = end;
        Ok(Some(self.builder.finish()))
    }

    /// Books an acknowledgement of the oldest window.
    pub fn acknowledge(&mut self, acked: Acked, ledger: &mut Ledger) -> Progress {
        let Some(window) = self.windows.front_mut() else {
            return Progress::default();
        };
        let events = (acked.events as usize).min(window.lines);
        let lines = events.saturating_sub(window.acknowledged);
        window.acknowledged += lines;
        if acked.complete {
            self.windows.pop_front();
            self.limit = (self.limit + self.normal_limit.div_ceil(16)).min(self.normal_limit);
        }
        // A window never reaches over the end of a batch.
        let Some(held) = self.held.front_mut() else {
            return Progress::default();
        };
        ledger.acknowledge(&held.batch, held.acknowledged..held.acknowledged + lines);
        held.acknowledged += lines;
        let finished = held.acknowledged == held.batch.len();
        let done = if finished {
            self.held.pop_front().map(|held| held.batch)
        } else {
            None
        };
        Progress { lines, done }
    }

    /// The connection is gone: what was on the wire has to be sent again, in smaller windows if the
    /// receiver was too slow to acknowledge.
    pub fn lost(&mut self, too_slow: bool) {
        self.windows.clear();
        for held in &mut self.held {
            held.sent = held.acknowledged;
        }
        if too_slow {
            self.limit = (self.limit / 2).max(LEAST_WINDOW.min(self.normal_limit));
        }
        self.builder.clear();
        self.builder.set_next_sequence(1);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::rc::Rc;

    use super::*;
    use crate::event::Source;
    use crate::registry::tests::entry;

    fn batch(source: &Rc<Source>, first: u64, lines: u64) -> Batch {
        let mut batch = Batch::default();
        for number in first..first + lines {
            batch.push(
                source,
                0,
                number.to_string().as_bytes(),
                number * 10,
                number * 10 + 10,
            );
        }
        batch
    }

    fn acked(events: u32, complete: bool) -> Acked {
        Acked { events, complete }
    }

    #[test]
    fn lines_are_sent_again_from_the_partial_acknowledgement_on() {
        let source = Rc::new(Source::new(1, true, Path::new("/a"), "h", &[]));
        let mut ledger = Ledger::default();
        ledger.insert(1, entry(1, 0));
        let mut flight = Flight::new(Version::V2, 1, 100);
        flight.take(batch(&source, 0, 60));
        flight.take(batch(&source, 60, 60));
        let events = |flight: &mut Flight| {
            flight
                .next_window()
                .expect("encodes")
                .map(|window| window.events)
        };
        assert_eq!(events(&mut flight), Some(60));
        assert_eq!(events(&mut flight), Some(60));
        assert_eq!(events(&mut flight), None);
        let progress = flight.acknowledge(acked(25, false), &mut ledger);
        assert!(progress.lines == 25 && progress.done.is_none());
        assert_eq!(ledger.entry(1).map(|entry| entry.offset), Some(250));
        flight.lost(false);
        assert_eq!((flight.windows(), flight.lines()), (0, 95));
        assert_eq!(events(&mut flight), Some(35));
        assert_eq!(events(&mut flight), Some(60));
        assert!(
            flight
                .acknowledge(acked(35, true), &mut ledger)
                .done
                .is_some()
        );
        assert_eq!(ledger.entry(1).map(|entry| entry.offset), Some(600));
        // An acknowledgement that goes back changes nothing.
        assert_eq!(flight.acknowledge(acked(9, false), &mut ledger).lines, 9);
        assert_eq!(flight.acknowledge(acked(9, false), &mut ledger).lines, 0);
        assert!(
            flight
                .acknowledge(acked(60, true), &mut ledger)
                .done
                .is_some()
        );
        assert!(flight.is_empty() && !flight.has_unsent());
        assert_eq!(ledger.entry(1).map(|entry| entry.offset), Some(1200));
    }

    #[test]
    fn windows_shrink_after_a_timeout_and_grow_again() {
        let source = Rc::new(Source::new(1, false, Path::new("-"), "h", &[]));
        let mut ledger = Ledger::default();
        let mut flight = Flight::new(Version::V1, 0, 64);
        let mut sizes = Vec::new();
        flight.take(batch(&source, 0, 64));
        for _ in 0..4 {
            let window = flight.next_window().expect("encodes").expect("a window");
            assert_eq!(window.first_sequence, 1);
            sizes.push(window.events);
            flight.lost(true);
        }
        while let Some(window) = flight.next_window().expect("encodes") {
            sizes.push(window.events);
            flight.acknowledge(acked(window.events, true), &mut ledger);
        }
        assert_eq!(sizes, [64, 32, 16, 16, 16, 20, 24, 4]);
    }
}
