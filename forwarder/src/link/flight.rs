//! What is on its way: the batches that are not wholly acknowledged, and which of their lines are
//! on the wire.
//!
//! Lines are kept once, as read. A window is encoded from them when it is sent, and encoded
//! again if it has to be sent again, from the first line that is not acknowledged on.

use std::collections::VecDeque;

use skidder_lumberjack::native::{LineBuilder, NESTED, NativeCompression};
use skidder_lumberjack::{Acked, Compression, EncodeError, EncodedWindow, Version, WindowBuilder};

use super::pool::{Numbered, Pool};
use crate::batch::LineView;
use crate::event::{decimal, timestamp, write_fields};

/// After trouble a window has at least this many lines.
const LEAST_WINDOW: usize = 16;
/// The scratch space for one event is not kept beyond this.
const KEPT_SCRATCH_BYTES: usize = 256 << 10;

/// Batches and windows in flight.
pub struct Flight {
    held: VecDeque<Held>,
    windows: VecDeque<Window>,
    encoder: Encoder,
    compression_level: u8,
    /// Lines per window now, and when all is well.
    limit: usize,
    normal_limit: usize,
}

/// What writes lines down.
enum Encoder {
    V1(WindowBuilder),
    V2(JsonEncoder),
    Native(LineBuilder),
}

struct JsonEncoder {
    builder: WindowBuilder,
    scratch: Vec<u8>,
    /// When the last line was read, and as text.
    read_at: Option<i64>,
    time: Vec<u8>,
}

struct Held {
    numbered: Numbered,
    sent: usize,
}

impl Held {
    fn has_unsent(&self) -> bool {
        self.sent < self.numbered.batch.len()
    }
}

struct Window {
    lines: usize,
    acknowledged: usize,
}

impl Flight {
    /// Nothing on its way.
    pub fn new(version: Version, compression_level: u8, window_limit: usize) -> Self {
        Self {
            held: VecDeque::new(),
            windows: VecDeque::new(),
            encoder: Encoder::new(version, compression_level, window_limit),
            compression_level,
            limit: window_limit,
            normal_limit: window_limit,
        }
    }

    /// A new connection begins, in this version.
    pub fn begin(&mut self, version: Version) {
        if self.encoder.version() == version {
            self.encoder.restart();
        } else {
            self.encoder = Encoder::new(version, self.compression_level, self.normal_limit);
        }
    }

    /// Takes a batch over.
    pub fn take(&mut self, numbered: Numbered) {
        self.held.push_back(Held {
            sent: numbered.acknowledged,
            numbered,
        });
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
        self.held.iter().any(Held::has_unsent)
    }

    /// Lines that are not acknowledged.
    pub fn lines(&self) -> usize {
        self.held
            .iter()
            .map(|held| held.numbered.batch.len() - held.numbered.acknowledged)
            .sum()
    }

    /// Whether the numbers of version 1 have come so far that a new connection is due.
    pub fn should_reconnect(&self) -> bool {
        matches!(&self.encoder, Encoder::V1(builder) if builder.should_restart_sequence())
    }

    /// Encodes the next window; it counts as being on the wire from now.
    pub fn next_window(&mut self) -> Result<Option<EncodedWindow>, EncodeError> {
        let Some(held) = self.held.iter_mut().find(|held| held.has_unsent()) else {
            return Ok(None);
        };
        let batch = &held.numbered.batch;
        let end = batch.len().min(held.sent + self.limit);
        let mut lines = 0;
        for line in batch.lines(held.sent..end) {
            match self.encoder.push(&line) {
                Ok(()) => lines += 1,
                Err(EncodeError::SourcesFull) if lines > 0 => break,
                Err(error) => return Err(error),
            }
        }
        self.windows.push_back(Window {
            lines,
            acknowledged: 0,
        });
        held.sent += lines;
        Ok(Some(self.encoder.finish()))
    }

    /// Books an acknowledgement of the oldest window: lines that are newly safe, and the batch if it is
    /// done with.
    pub fn acknowledge(&mut self, acked: Acked, pool: &Pool) -> (usize, Option<Numbered>) {
        let Some(window) = self.windows.front_mut() else {
            return (0, None);
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
            return (0, None);
        };
        held.numbered.acknowledged += lines;
        pool.book(&mut held.numbered, lines);
        let finished = held.numbered.acknowledged == held.numbered.batch.len();
        let done = finished.then(|| self.held.pop_front()).flatten();
        (lines, done.map(|held| held.numbered))
    }

    /// The connection is gone: what was on the wire has to be sent again, in smaller windows if the
    /// receiver was too slow to acknowledge. What is not acknowledged goes to whoever comes first.
    pub fn lost(&mut self, too_slow: bool) -> impl Iterator<Item = Numbered> {
        self.windows.clear();
        if too_slow {
            self.limit = (self.limit / 2).max(LEAST_WINDOW.min(self.normal_limit));
        }
        self.encoder.restart();
        self.held.drain(..).map(|held| held.numbered)
    }
}

impl Encoder {
    fn new(version: Version, compression_level: u8, window_limit: usize) -> Self {
        let most = u32::try_from(window_limit).unwrap_or(u32::MAX);
        let builder = || {
            let compression = match compression_level {
                0 => Compression::None,
                level => Compression::Zlib { level },
            };
            WindowBuilder::new(version, compression).with_max_events(most)
        };
        match version {
            Version::V1 => Self::V1(builder()),
            Version::V2 => Self::V2(JsonEncoder {
                builder: builder(),
                scratch: Vec::new(),
                read_at: None,
                time: Vec::new(),
            }),
            Version::Native => {
                let compression = match compression_level {
                    0 => NativeCompression::None,
                    level => NativeCompression::Zstd { level },
                };
                Self::Native(LineBuilder::new(compression, most))
            }
        }
    }

    fn version(&self) -> Version {
        match self {
            Self::V1(_) => Version::V1,
            Self::V2(_) => Version::V2,
            Self::Native(_) => Version::Native,
        }
    }

    /// Forgets what the receiver of the last connection knew.
    fn restart(&mut self) {
        match self {
            Self::V1(builder) => {
                builder.clear();
                builder.set_next_sequence(1);
            }
            Self::V2(json) => json.builder.clear(),
            Self::Native(builder) => builder.restart(),
        }
    }

    fn push(&mut self, line: &LineView<'_>) -> Result<(), EncodeError> {
        let extra = line.extra.map_or(&[][..], |extra| &extra.fields);
        let pairs = extra
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_slice()));
        match self {
            Self::V1(builder) => {
                let mut digits = [0; 20];
                let offset = decimal(line.start, &mut digits);
                // It has no objects: a name says where it would be in one.
                let dotted = extra
                    .iter()
                    .map(|(name, value)| (name.replace(NESTED, "."), value));
                let dotted: Vec<_> = dotted.collect();
                let pairs = dotted.iter();
                let pairs = pairs.map(|(name, value)| (name.as_bytes(), value.as_slice()));
                builder.push_pairs(line.source.pairs(line.text, offset).chain(pairs))
            }
            Self::V2(json) => {
                if json.read_at != Some(line.read_at) {
                    json.read_at = Some(line.read_at);
                    json.time = timestamp(line.read_at);
                }
                json.scratch.clear();
                line.source
                    .write_json(&mut json.scratch, &json.time, line.text, line.start);
                if !extra.is_empty() {
                    write_fields(&mut json.scratch, extra);
                }
                json.builder.push_json(&json.scratch)
            }
            Self::Native(builder) => builder.push(
                line.source.id,
                |description| line.source.describe(description),
                line.read_at,
                line.start,
                line.text,
                pairs,
            ),
        }
    }

    fn finish(&mut self) -> EncodedWindow {
        match self {
            Self::V1(builder) => builder.finish(),
            Self::V2(json) => {
                if json.scratch.capacity() > KEPT_SCRATCH_BYTES {
                    json.scratch = Vec::new();
                }
                json.builder.finish()
            }
            Self::Native(builder) => builder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::Path;
    use std::rc::Rc;

    use tokio::sync::{Notify, mpsc};

    use super::*;
    use crate::batch::Batch;
    use crate::event::Source;
    use crate::registry::Ledger;
    use crate::registry::tests::entry;

    /// A pool with these batches of lines of ten bytes.
    async fn pool(source: &Rc<Source>, batches: &[u64]) -> (Pool, Rc<RefCell<Ledger>>) {
        let (sender, full) = mpsc::channel(batches.len());
        let (empty, _) = mpsc::channel(1);
        let mut first = 0;
        for lines in batches {
            let mut batch = Batch::default();
            for number in first..first + lines {
                let text = number.to_string();
                batch.push(source, 0, text.as_bytes(), number * 10, number * 10 + 10);
            }
            first += lines;
            sender.send(batch).await.expect("room");
        }
        let mut ledger = Ledger::default();
        ledger.insert(1, entry(1, 0));
        let ledger = Rc::new(RefCell::new(ledger));
        let changed = Rc::new(Notify::new());
        let pool = Pool::new(Rc::clone(&ledger), Rc::default(), changed, full, empty);
        (pool, ledger)
    }

    fn acked(events: u32, complete: bool) -> Acked {
        Acked { events, complete }
    }

    fn events(flight: &mut Flight) -> Option<u32> {
        flight
            .next_window()
            .expect("encodes")
            .map(|window| window.events)
    }

    #[tokio::test]
    async fn lines_are_sent_again_from_the_partial_acknowledgement_on() {
        let source = Rc::new(Source::new(1, true, Path::new("/a"), "h", &[]));
        let (pool, ledger) = pool(&source, &[60, 60]).await;
        let offset = || ledger.borrow().entry(1).map(|entry| entry.offset);
        let mut flight = Flight::new(Version::V2, 1, 100);
        flight.take(pool.next().await.expect("a batch"));
        flight.take(pool.next().await.expect("a batch"));
        assert_eq!(events(&mut flight), Some(60));
        assert_eq!(events(&mut flight), Some(60));
        assert_eq!(events(&mut flight), None);
        let (lines, done) = flight.acknowledge(acked(25, false), &pool);
        assert!(lines == 25 && done.is_none());
        assert_eq!(offset(), Some(250));
        pool.give_back(flight.lost(false));
        assert_eq!((flight.windows(), flight.lines(), pool.lines()), (0, 0, 95));
        flight.take(pool.next().await.expect("a batch"));
        flight.take(pool.next().await.expect("a batch"));
        assert_eq!(events(&mut flight), Some(35));
        assert_eq!(events(&mut flight), Some(60));
        assert!(flight.acknowledge(acked(35, true), &pool).1.is_some());
        assert_eq!(offset(), Some(600));
        // An acknowledgement that goes back changes nothing.
        assert_eq!(flight.acknowledge(acked(9, false), &pool).0, 9);
        assert_eq!(flight.acknowledge(acked(9, false), &pool).0, 0);
        assert!(flight.acknowledge(acked(60, true), &pool).1.is_some());
        assert!(flight.is_empty() && !flight.has_unsent());
        assert_eq!((offset(), pool.lines()), (Some(1200), 0));
    }

    #[tokio::test]
    async fn windows_shrink_after_a_timeout_and_grow_again() {
        let source = Rc::new(Source::new(1, false, Path::new("-"), "h", &[]));
        let (pool, _) = pool(&source, &[64]).await;
        let mut flight = Flight::new(Version::V1, 0, 64);
        let mut sizes = Vec::new();
        for _ in 0..4 {
            flight.take(pool.next().await.expect("a batch"));
            let window = flight.next_window().expect("encodes").expect("a window");
            assert_eq!(window.first_sequence, 1);
            sizes.push(window.events);
            pool.give_back(flight.lost(true));
        }
        flight.take(pool.next().await.expect("a batch"));
        while let Some(window) = flight.next_window().expect("encodes") {
            sizes.push(window.events);
            flight.acknowledge(acked(window.events, true), &pool);
        }
        assert_eq!(sizes, [64, 32, 16, 16, 16, 20, 24, 4]);
    }
}
