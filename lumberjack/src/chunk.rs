//! The memory of decoded events: chunks that carry their reservation with them.
//!
//! A chunk is what one `C` frame inflates to, or the bodies of bare frames put one after the
//! other. It turns into `Bytes` whose last slice, when dropped, gives the memory back to the
//! budget.
//!
//! INVARIANT: memory is reserved before it is allocated, and by its capacity, not its length.

use bytes::Bytes;
use libdeflater::{DecompressionError, Decompressor};

use crate::{
    LimitName, Limits, ProtocolError,
    budget::{Account, Reservation},
};

/// Either done, or to be tried again when this many bytes are reserved in the account.
#[derive(Debug)]
pub(crate) enum Outcome<T> {
    Done(T),
    NeedMemory(usize),
}

/// The least that a chunk is given.
const SMALL_CHUNK_BYTES: usize = 4 * 1024;
/// Unused capacity of more than one part in this many is given back.
const SLACK_PARTS: usize = 8;
/// The ratio of the first `C` frame of a connection is not known; JSON of log lines is near it.
const FIRST_RATIO_GUESS: usize = 8;

struct Owner {
    data: Vec<u8>,
    _hold: Reservation,
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

pub(crate) fn into_bytes(mut data: Vec<u8>, mut hold: Reservation) -> Bytes {
    if data.capacity() - data.len() > data.len() / SLACK_PARTS {
        data.shrink_to_fit();
    }
    hold.shrink_to(data.capacity());
    Bytes::from_owner(Owner { data, _hold: hold })
}

/// Inflates `C` frames within the limits.
#[derive(Debug)]
pub(crate) struct Inflater {
    /// The last frame inflated to this many times its size, rounded up: peers repeat
    /// themselves, so the next one most likely fits the first buffer it is given.
    ratio: usize,
}

impl Inflater {
    pub(crate) const fn new() -> Self {
        Self {
            ratio: FIRST_RATIO_GUESS,
        }
    }

    /// Inflates one zlib stream; bytes after its end are ignored.
    ///
    /// A stream does not say how long it is, and the decompressor wants all of its output at
    /// once: the buffer doubles until the stream fits or the limit is reached, so that a bomb
    /// costs at most the limit and the time to inflate twice that.
    pub(crate) fn inflate(
        &mut self,
        compressed: &[u8],
        account: &mut Account,
        limits: &Limits,
    ) -> Result<Outcome<Bytes>, ProtocolError> {
        let (allowed, limit) = allowance(compressed.len(), limits);
        let mut size = compressed
            .len()
            .saturating_mul(self.ratio)
            .max(SMALL_CHUNK_BYTES)
            .min(allowed);
        // PERF: this is one allocation of 11 KiB beside the inflation of a whole window; kept
        // in the connection, it would weigh on thousands of idle ones.
        let mut decompressor = Decompressor::new();
        loop {
            let Some(hold) = account.try_reserve(size) else {
                // Not lost: the next attempt begins with the size that was not to be had.
                self.ratio = size.div_ceil(compressed.len().max(1));
                return Ok(Outcome::NeedMemory(size));
            };
            let mut data = vec![0; size];
            match decompressor.zlib_decompress(compressed, &mut data) {
                Ok(length) => {
                    data.truncate(length);
                    // An eighth more than needed this time, for the next one may vary.
                    self.ratio = (length + length / SLACK_PARTS)
                        .div_ceil(compressed.len().max(1))
                        .max(1);
                    return Ok(Outcome::Done(into_bytes(data, hold)));
                }
                Err(DecompressionError::InsufficientSpace) if size < allowed => {
                    size = size.saturating_mul(2).min(allowed);
                }
                Err(DecompressionError::InsufficientSpace) => {
                    return Err(ProtocolError::LimitExceeded {
                        limit,
                        allowed: allowed as u64,
                        got: allowed as u64 + 1,
                    });
                }
                Err(DecompressionError::BadData) => {
                    return Err(ProtocolError::CorruptCompression {
                        compressed: compressed.len(),
                    });
                }
            }
        }
    }
}

/// How much a frame may inflate to, and which limit says so.
fn allowance(compressed: usize, limits: &Limits) -> (usize, LimitName) {
    let by_ratio = limits.max_inflate_ratio.map_or(usize::MAX, |ratio| {
        compressed.saturating_mul(ratio as usize)
    });
    if by_ratio < limits.max_inflated_bytes {
        (by_ratio, LimitName::InflateRatio)
    } else {
        (limits.max_inflated_bytes, LimitName::InflatedBytes)
    }
}

/// The bodies of the bare frames of a window, one after the other.
///
/// They are copied out of the read buffer once: it can be used again at once, and the memory
/// that events hold on to is exactly what is reserved for them.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    data: Vec<u8>,
    hold: Option<Reservation>,
    /// How large it will probably be.
    expected: usize,
}

impl Arena {
    /// An arena that begins with room for `expected` bytes, when it begins to hold any.
    ///
    /// PERF: to grow to half a MiB by doubling costs three times what the copying does, in page
    /// faults.
    pub(crate) fn new(expected: usize) -> Self {
        Self {
            expected,
            ..Self::default()
        }
    }

    /// Makes room for `bytes` more.
    pub(crate) fn prepare(&mut self, bytes: usize, account: &mut Account) -> Outcome<()> {
        let wanted = self.data.len() + bytes;
        if wanted <= self.data.capacity() {
            return Outcome::Done(());
        }
        let capacity = wanted
            .max(self.data.capacity() * 2)
            .max(self.expected)
            .max(SMALL_CHUNK_BYTES);
        let more = capacity - self.data.capacity();
        let Some(hold) = account.try_reserve(more) else {
            return Outcome::NeedMemory(more);
        };
        match &mut self.hold {
            Some(held) => held.merge(hold),
            None => self.hold = Some(hold),
        }
        self.data.reserve_exact(capacity - self.data.len());
        Outcome::Done(())
    }

    /// Appends a body for which there is room.
    pub(crate) fn push(&mut self, body: &[u8]) {
        self.data.extend_from_slice(body);
    }

    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }

    /// The chunk, leaving the arena empty.
    pub(crate) fn take(&mut self) -> Bytes {
        match self.hold.take() {
            Some(hold) => into_bytes(std::mem::take(&mut self.data), hold),
            None => Bytes::new(),
        }
    }
}
