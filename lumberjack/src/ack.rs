//! The windows of a connection that wait to be acknowledged.
//!
//! INVARIANTS: windows are acknowledged in the order they came, each by its own number, however
//! their handles complete; a version 1 peer is told nothing before a window is whole (it takes
//! any answer for "all of it"); a handle that is dropped closes the connection without an
//! acknowledgement, so that nothing is lost by a panic or an early return.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    Version, Window,
    budget::Reservation,
    version::{ACK_BYTES, LEAVE_FRAME, ack_frame},
};

/// The promise to acknowledge one window. Dropped without [`AckHandle::acknowledge`], it closes
/// the connection unacknowledged, and the peer sends the window again.
#[derive(Debug)]
#[must_use = "dropping the handle closes the connection"]
pub struct AckHandle {
    pending: Arc<Pending>,
    id: u64,
    acknowledged: bool,
    /// The memory of the list of events.
    _hold: Option<Reservation>,
}

impl AckHandle {
    /// Every event of the window is safe: the peer may forget them.
    pub fn acknowledge(mut self) {
        self.acknowledged = true;
        self.pending
            .update(self.id, |entry| entry.state = State::Done);
    }

    /// The first `events` events of the window are safe. A version 2 peer is told, and need not
    /// send them again should the connection break; for version 1 this does nothing.
    pub fn progress(&self, events: u32) {
        self.pending.update(self.id, |entry| {
            if let State::Waiting { safe } = &mut entry.state {
                *safe = events.max(*safe);
            }
        });
    }
}

impl Drop for AckHandle {
    fn drop(&mut self) {
        if !self.acknowledged {
            self.pending
                .update(self.id, |entry| entry.state = State::Abandoned);
        }
    }
}

/// What one connection owes its peer.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    queue: Mutex<Queue>,
    /// For the writer: something may be there to write.
    pub(crate) changed: Notify,
    /// For the reader: a window left the queue.
    pub(crate) freed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// The id of the first entry; ids are consecutive.
    first_id: u64,
    version: Option<Version>,
    /// Payload bytes of all entries.
    bytes: usize,
    /// The reader holds undecoded bytes and cannot go on: the peer has to be kept waiting.
    stalled: bool,
    /// A native window is being received, which may take long.
    receiving: bool,
    /// The reader is done, nothing will be added.
    finished: bool,
    /// The peer is to be asked to leave.
    leave: bool,
}

#[derive(Debug)]
struct Entry {
    version: Version,
    first_sequence: u32,
    last_sequence: u32,
    /// Events of which a partial acknowledgement can be made; 0 if the numbers are not those of
    /// consecutive events.
    countable: u32,
    reported: u32,
    /// Payload bytes.
    bytes: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting { safe: u32 },
    Done,
    Abandoned,
}

/// What the writer has to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing now; `keep_alive` in the version given if it stays so.
    Wait { keep_alive: Option<Version> },
    /// Acknowledgements were appended to the output.
    Write,
    /// A window was given up.
    Abandoned,
    /// All is acknowledged and nothing more will come.
    Finished,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No statement under the lock can leave the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, id: u64, change: impl FnOnce(&mut Entry)) {
        {
            let mut queue = self.lock();
            let Some(index) = id.checked_sub(queue.first_id) else {
                return;
            };
            if let Some(entry) = queue.entries.get_mut(index as usize) {
                change(entry);
            }
        }
        self.changed.notify_one();
    }

    /// Adds a window, which is thereby owed an acknowledgement.
    pub(crate) fn add(self: &Arc<Self>, window: &mut Window) -> AckHandle {
        let consecutive = window.is_consecutive();
        let id = self.push(Entry {
            version: window.version,
            first_sequence: window.events.first().map_or(0, |event| event.sequence),
            last_sequence: window.last_sequence(),
            countable: if consecutive {
                window.events.len() as u32
            } else {
                0
            },
            reported: 0,
            bytes: window.payload_bytes,
            state: State::Waiting { safe: 0 },
        });
        AckHandle {
            pending: Arc::clone(self),
            id,
            acknowledged: false,
            _hold: window.hold.take(),
        }
    }

    /// A window without events: acknowledged with 0 in its turn, but not in version 1.
    ///
    /// COMPAT: Logstash answers 0 from 6.7.0 on, and in version 1 too, where a sender would take
    /// it for an acknowledgement of whatever it sent last.
    pub(crate) fn add_empty(&self, version: Version) {
        if version != Version::V1 {
            self.push(Entry {
                version,
                first_sequence: 0,
                last_sequence: 0,
                countable: 0,
                reported: 0,
                bytes: 0,
                state: State::Done,
            });
        }
    }

    fn push(&self, entry: Entry) -> u64 {
        let id = {
            let mut queue = self.lock();
            queue.version = Some(entry.version);
            queue.bytes += entry.bytes;
            queue.entries.push_back(entry);
            queue.first_id + queue.entries.len() as u64 - 1
        };
        self.changed.notify_one();
        id
    }

    /// How many windows are not acknowledged yet.
    pub(crate) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether so many windows, or so many bytes, are not acknowledged yet. One window alone may have more bytes.
    pub(crate) fn is_full(&self, windows: usize, bytes: usize) -> bool {
        let queue = self.lock();
        queue.entries.len() >= windows.max(1) || (queue.bytes > 0 && queue.bytes >= bytes)
    }

    /// Says whether the reader is kept from reading on by something of ours.
    pub(crate) fn set_stalled(&self, version: Option<Version>, stalled: bool) {
        {
            let mut queue = self.lock();
            queue.stalled = stalled;
            queue.version = queue.version.or(version);
        }
        self.changed.notify_one();
    }

    /// Says whether a native peer is in the middle of a window, and would like to know that it arrives.
    pub(crate) fn set_receiving(&self, receiving: bool) {
        {
            let mut queue = self.lock();
            queue.receiving = receiving;
            queue.version = Some(Version::Native);
        }
        self.changed.notify_one();
    }

    /// Asks the peer to send no further window, if it understands that.
    pub(crate) fn ask_to_leave(&self) {
        self.lock().leave = true;
        self.changed.notify_one();
    }

    /// Says that no window will be added any more.
    pub(crate) fn finish(&self) {
        {
            let mut queue = self.lock();
            queue.stalled = false;
            queue.receiving = false;
            queue.finished = true;
        }
        self.changed.notify_one();
    }

    /// Appends to `output` what is due, in the order of the windows.
    pub(crate) fn collect(&self, output: &mut Vec<u8>) -> Due {
        let mut queue = self.lock();
        let mut freed = false;
        if queue.version == Some(Version::Native) && std::mem::take(&mut queue.leave) {
            output.extend(LEAVE_FRAME);
        }
        let due = loop {
            let Some(entry) = queue.entries.front_mut() else {
                break None;
            };
            match entry.state {
                State::Done => {
                    output.extend(ack_frame(entry.version, entry.last_sequence));
                    let bytes = entry.bytes;
                    queue.bytes -= bytes;
                    queue.entries.pop_front();
                    queue.first_id += 1;
                    freed = true;
                    if output.len() >= MAX_ACK_BATCH_BYTES {
                        break None;
                    }
                }
                State::Abandoned => break Some(Due::Abandoned),
                State::Waiting { safe } => {
                    if let Some(sequence) = entry.partial(safe) {
                        output.extend(ack_frame(entry.version, sequence));
                    }
                    break None;
                }
            }
        };
        let waiting = queue.stalled || queue.receiving || !queue.entries.is_empty();
        let keep_alive = queue
            .version
            .filter(|version| waiting && *version != Version::V1);
        let finished = queue.finished && queue.entries.is_empty();
        drop(queue);
        if freed {
            self.freed.notify_one();
        }
        match due {
            _ if !output.is_empty() => Due::Write,
            Some(due) => due,
            None if finished => Due::Finished,
            None => Due::Wait { keep_alive },
        }
    }
}

/// No more than this many bytes of acknowledgements are written at once.
const MAX_ACK_BATCH_BYTES: usize = 128 * ACK_BYTES;

impl Entry {
    /// The number to acknowledge when the first `safe` events are, if it says something new.
    fn partial(&mut self, safe: u32) -> Option<u32> {
        let news = self.version != Version::V1
            && safe > self.reported
            // The last one is the business of `acknowledge`.
            && safe < self.countable;
        if !news {
            return None;
        }
        self.reported = safe;
        let sequence = self.first_sequence.wrapping_add(safe - 1);
        // 0 would be a keep-alive.
        (sequence != 0).then_some(sequence)
    }
}
