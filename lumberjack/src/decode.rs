//! The receiving side of the protocol without any I/O: bytes in, windows out.
//!
//! A [`Decoder`] is fed in pieces of any size and gives the same windows for every split of the
//! bytes. It reads one direction of one connection; acknowledging is the server's.
//!
//! What is accepted is what senders are known to do, and nothing that would be ambiguous:
//! `D` and `J` in either version and mixed, several `C` frames in a window, `C` and bare frames
//! mixed, `W` frames inside `C`, a `W` before the last window is full (its events are handed on
//! as a short window), zlib streams with bytes after their end. Refused are a `C` inside a `C`,
//! a change of version, an event outside of a window, and whatever exceeds [`Limits`].
//!
//! Memory: frames are collected in a small buffer, which grows to the size of a larger frame
//! only as fast as its bytes arrive; a whole `C` frame is inflated into one chunk, of which the
//! events are slices. All of it is reserved first in the connection's [`Account`].

use bytes::{Buf, Bytes, BytesMut};

use crate::{
    Event, LimitName, Limits, Pairs, Payload, ProtocolError, Version, Window,
    budget::{Account, Reservation},
    chunk::{Arena, Inflater, Outcome},
    frame::{DataScan, EventKind, Frame, Parsed, check_bytes, parse},
    native::{self, Frames},
    version::{DATA, EVENT_HEADER_BYTES, SHORT_HEADER_BYTES},
};

/// The read buffer of a connection between large frames. Not reserved: it is what a
/// connection costs in any case.
pub const BASE_BUFFER_BYTES: usize = 16 * 1024;
/// Up to here memory is allocated at once if the last frame or window of the peer took as much.
const TRUSTED_BYTES: usize = 1024 * 1024;
/// A wire event has at least ten bytes, and mostly many more: the first guess of how many events
/// a chunk holds, so that the list of them is not allocated by a count from the wire.
const GUESSED_EVENT_BYTES: usize = 64;

/// What a [`Decoder`] has to say next.
#[derive(Debug)]
pub enum Step {
    /// A window is complete. It has no events exactly if the peer announced none.
    Window(Window),
    /// All bytes are used up: read into [`Decoder::buffer`] or [`Decoder::feed`].
    NeedInput,
    /// The budget has no room: await [`Account::reserve`] of this many bytes and call again.
    NeedMemory(usize),
}

/// Decodes what one peer sends.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    account: Account,
    buffer: BytesMut,
    /// For what `buffer` has beyond [`BASE_BUFFER_BYTES`].
    buffer_hold: Option<Reservation>,
    last_large_frame: usize,
    version: Option<Version>,
    scan: DataScan,
    inflater: Inflater,
    /// What is left of the last `C` frame.
    inflated: Option<Bytes>,
    window: Option<OpenWindow>,
    /// Bytes and events that came bare in the last window: most likely the next one is alike.
    last_bare: (usize, usize),
    native: Frames,
}

#[derive(Debug)]
struct OpenWindow {
    announced: u32,
    events: Vec<Event>,
    payload_bytes: usize,
    /// Bare events since the last `C` frame; they turn into `events` when `arena` is a chunk.
    bare: Vec<BareEvent>,
    arena: Arena,
    /// Bytes and events that were bare and now are `events`.
    sealed: (usize, usize),
}

#[derive(Clone, Copy, Debug)]
struct BareEvent {
    sequence: u32,
    kind: EventKind,
    end: usize,
}

impl Decoder {
    /// A decoder for one connection, whose memory comes from `account`.
    pub fn new(limits: Limits, account: Account) -> Self {
        Self {
            limits,
            account,
            buffer: BytesMut::new(),
            buffer_hold: None,
            last_large_frame: 0,
            version: None,
            scan: DataScan::default(),
            inflater: Inflater::new(),
            inflated: None,
            window: None,
            last_bare: (0, 0),
            native: Frames::default(),
        }
    }

    /// The version of the connection, once its first byte has come.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Where to wait for memory after [`Step::NeedMemory`].
    pub fn account(&mut self) -> &mut Account {
        &mut self.account
    }

    /// Whether no frame and no window is half there: the peer may leave now.
    pub fn is_at_boundary(&self) -> bool {
        self.buffer.is_empty() && self.is_between_windows()
    }

    /// Whether a part of a window of the native framing is there.
    pub fn is_inside_native_window(&self) -> bool {
        let first = self.buffer.first() == Some(&Version::Native.byte());
        first && self.version.unwrap_or(Version::Native) == Version::Native
    }

    /// Whether no window is open.
    pub fn is_between_windows(&self) -> bool {
        self.window.is_none() && self.inflated.is_none()
    }

    /// Events received and announced of the open window, `(0, 0)` if there is none.
    pub fn open_window(&self) -> (u32, u32) {
        self.window
            .as_ref()
            .map_or((0, 0), |window| (window.len(), window.announced))
    }

    /// The buffer to append what was read to. After [`Step::NeedInput`] it has spare capacity,
    /// beyond which it must not be grown.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Copies as much of `bytes` as the buffer has room for, and returns how much that was.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve(BASE_BUFFER_BYTES);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.buffer.extend_from_slice(taken);
        taken.len()
    }

    /// Decodes until there is something to say.
    pub fn step(&mut self) -> Result<Step, ProtocolError> {
        loop {
            let step = if let Some(window) = self.take_full_window() {
                Some(Step::Window(window))
            } else if self.inflated.is_some() {
                self.step_inflated()?
            } else if self.is_inside_native_window() {
                self.step_native()?
            } else {
                self.step_buffer()?
            };
            if let Some(step) = step {
                // INVARIANT: the right to overdraw is kept for as long as anything is held.
                let holds_nothing = self.is_between_windows() && self.buffer_hold.is_none();
                if holds_nothing && !matches!(step, Step::NeedMemory(_)) {
                    self.account.settle();
                }
                return Ok(step);
            }
        }
    }

    /// One native window of the read buffer.
    fn step_native(&mut self) -> Result<Option<Step>, ProtocolError> {
        self.version = Some(Version::Native);
        let parsed = self
            .native
            .parse(&self.buffer, &mut self.account, &self.limits)?;
        Ok(Some(match parsed {
            native::Parsed::Incomplete { needed } => self.make_room(needed),
            native::Parsed::NeedMemory(bytes) => Step::NeedMemory(bytes),
            native::Parsed::Window {
                events,
                payload_bytes,
                end,
            } => {
                self.consume(end);
                let announced = events.len() as u32;
                Step::Window(self.window(events, announced, payload_bytes))
            }
        }))
    }

    /// One frame of the inflated chunk, whose events are slices of it.
    fn step_inflated(&mut self) -> Result<Option<Step>, ProtocolError> {
        let Some(chunk) = &mut self.inflated else {
            return Ok(None);
        };
        if chunk.is_empty() {
            self.inflated = None;
            return Ok(None);
        }
        match parse(chunk, &mut self.version, &mut self.scan, &self.limits)? {
            Parsed::Incomplete { .. } => Err(ProtocolError::TruncatedCompression),
            Parsed::Frame(Frame::Compressed { .. }) => Err(ProtocolError::NestedCompression),
            Parsed::Frame(Frame::Window { count }) => {
                chunk.advance(SHORT_HEADER_BYTES);
                Ok(self.begin_window(count))
            }
            Parsed::Frame(Frame::Event {
                sequence,
                kind,
                body,
            }) => {
                let Some(window) = &mut self.window else {
                    return Err(ProtocolError::EventOutsideWindow { sequence });
                };
                window.count_bytes(body.len(), &self.limits)?;
                if window.events.capacity() == 0 {
                    let guess = chunk.len() / GUESSED_EVENT_BYTES + 1;
                    window.events.reserve(guess.min(window.announced as usize));
                }
                let end = body.end;
                let payload = kind.payload(chunk.slice(body));
                window.events.push(Event { sequence, payload });
                chunk.advance(end);
                if chunk.is_empty() {
                    self.inflated = None;
                }
                Ok(None)
            }
        }
    }

    /// One frame of the read buffer.
    fn step_buffer(&mut self) -> Result<Option<Step>, ProtocolError> {
        let parsed = parse(
            &self.buffer,
            &mut self.version,
            &mut self.scan,
            &self.limits,
        )?;
        match parsed {
            Parsed::Incomplete { needed } => Ok(Some(self.make_room(needed))),
            Parsed::Frame(Frame::Window { count }) => {
                self.consume(SHORT_HEADER_BYTES);
                Ok(self.begin_window(count))
            }
            Parsed::Frame(Frame::Event {
                sequence,
                kind,
                body,
            }) => {
                let Some(window) = &mut self.window else {
                    return Err(ProtocolError::EventOutsideWindow { sequence });
                };
                if let Outcome::NeedMemory(bytes) =
                    window.arena.prepare(body.len(), &mut self.account)
                {
                    return Ok(Some(Step::NeedMemory(bytes)));
                }
                window.count_bytes(body.len(), &self.limits)?;
                let end = body.end;
                window.arena.push(self.buffer.get(body).unwrap_or_default());
                window.bare.push(BareEvent {
                    sequence,
                    kind,
                    end: window.arena.len(),
                });
                self.consume(end);
                Ok(None)
            }
            Parsed::Frame(Frame::Compressed { body }) => {
                let end = body.end;
                let compressed = self.buffer.get(body).unwrap_or_default();
                match self
                    .inflater
                    .inflate(compressed, &mut self.account, &self.limits)?
                {
                    Outcome::NeedMemory(bytes) => return Ok(Some(Step::NeedMemory(bytes))),
                    Outcome::Done(chunk) => self.inflated = Some(chunk),
                }
                if let Some(window) = &mut self.window {
                    window.seal();
                }
                self.consume(end);
                Ok(None)
            }
        }
    }

    /// A `W` frame: hands on what the last window had, if it was cut short.
    ///
    /// COMPAT: Logstash hands the short window on too, but takes the new size for it and so
    /// loses count of the next one; go-lumber closes the connection.
    fn begin_window(&mut self, count: u32) -> Option<Step> {
        let cut_short = self.window.replace(OpenWindow::new(count, self.last_bare));
        cut_short
            .filter(|window| window.len() > 0)
            .map(|window| Step::Window(self.finish(window)))
    }

    /// A window of size 0 is full at once.
    fn take_full_window(&mut self) -> Option<Window> {
        let full = self
            .window
            .take_if(|window| window.len() >= window.announced)?;
        Some(self.finish(full))
    }

    fn finish(&mut self, mut window: OpenWindow) -> Window {
        window.seal();
        let (bytes, events) = window.sealed;
        self.last_bare = (bytes + bytes / 16, events);
        self.window(window.events, window.announced, window.payload_bytes)
    }

    fn window(&self, events: Vec<Event>, announced: u32, payload_bytes: usize) -> Window {
        let list_bytes = events.capacity() * size_of::<Event>();
        Window {
            // There is no window without a first byte.
            version: self.version.unwrap_or(Version::V2),
            hold: (list_bytes > 0).then(|| self.account.charge(list_bytes)),
            events,
            announced,
            payload_bytes,
        }
    }

    /// Makes room for a frame of at least `needed` bytes, as far as its bytes have earned it.
    fn make_room(&mut self, needed: usize) -> Step {
        let length = self.buffer.len();
        if self.buffer_hold.is_none() && needed <= BASE_BUFFER_BYTES {
            self.buffer.reserve(BASE_BUFFER_BYTES - length);
            return Step::NeedInput;
        }
        if self.buffer.capacity() >= needed
            || (self.buffer_hold.is_some() && self.buffer.capacity() > length)
        {
            return Step::NeedInput;
        }
        let earned = (length * 2)
            .max(self.last_large_frame.min(TRUSTED_BYTES))
            .max(BASE_BUFFER_BYTES * 2);
        let longest = if self.buffer.get(1) == Some(&DATA) {
            // Such a frame does not say how long it is: only how long it may be.
            EVENT_HEADER_BYTES + self.limits.max_event_bytes
        } else {
            needed
        };
        let capacity = longest.min(earned).max(length + 1);
        let Some(hold) = self.account.try_reserve(capacity) else {
            return Step::NeedMemory(capacity);
        };
        let mut larger = BytesMut::with_capacity(capacity);
        larger.extend_from_slice(&self.buffer);
        self.buffer = larger;
        self.buffer_hold = Some(hold);
        Step::NeedInput
    }

    /// Drops a frame from the buffer, and a large buffer as soon as the rest fits a small one:
    /// between frames a connection holds next to nothing.
    fn consume(&mut self, bytes: usize) {
        self.buffer.advance(bytes);
        if self.buffer_hold.is_none() {
            return;
        }
        self.last_large_frame = bytes;
        if self.buffer.len() <= BASE_BUFFER_BYTES {
            let mut small = BytesMut::with_capacity(BASE_BUFFER_BYTES);
            small.extend_from_slice(&self.buffer);
            self.buffer = small;
            self.buffer_hold = None;
        }
    }
}

impl OpenWindow {
    fn new(announced: u32, (bare_bytes, bare_events): (usize, usize)) -> Self {
        Self {
            announced,
            events: Vec::new(),
            payload_bytes: 0,
            bare: Vec::with_capacity(bare_events.min(announced as usize)),
            arena: Arena::new(bare_bytes.min(TRUSTED_BYTES)),
            sealed: (0, 0),
        }
    }

    fn len(&self) -> u32 {
        // Neither list can outgrow `announced`, which is a u32.
        (self.events.len() + self.bare.len()) as u32
    }

    fn count_bytes(&mut self, bytes: usize, limits: &Limits) -> Result<(), ProtocolError> {
        let total = self.payload_bytes.saturating_add(bytes);
        check_bytes(LimitName::WindowBytes, limits.max_window_bytes, total)?;
        self.payload_bytes = total;
        Ok(())
    }

    /// Turns the bare events so far into slices of one chunk.
    fn seal(&mut self) {
        if self.bare.is_empty() {
            return;
        }
        let chunk = self.arena.take();
        self.sealed.0 += chunk.len();
        self.sealed.1 += self.bare.len();
        let mut start = 0;
        self.events.reserve_exact(self.bare.len());
        for bare in self.bare.drain(..) {
            self.events.push(Event {
                sequence: bare.sequence,
                payload: bare.kind.payload(chunk.slice(start..bare.end)),
            });
            start = bare.end;
        }
    }
}

impl EventKind {
    fn payload(self, body: Bytes) -> Payload {
        match self {
            Self::Json => Payload::Json(body),
            Self::Pairs(count) => Payload::Pairs(Pairs::new(count, body)),
        }
    }
}
