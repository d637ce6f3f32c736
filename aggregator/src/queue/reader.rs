//! Takes records off the front of the queue: from memory while they are there, else from the disk.

use std::io;
use std::sync::Arc;

use super::format::{RecordHeader, SEGMENT_HEADER};
use super::open::quarantine;
use super::scan::{Depth, Found, find, unpack};
use super::state::{Kept, Segment, Shared, segment_name};
use super::storage::StoredFile;

/// Reads the records in order. There is one for a queue.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Arc<Shared>,
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    number: u64,
    file: Arc<dyn StoredFile>,
    offset: u64,
}

/// The next record.
#[derive(Debug)]
pub(super) enum Taken {
    /// It was still in memory.
    Kept(Kept),
    /// It was read; its payload is unpacked.
    Read(RecordHeader, Vec<u8>),
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            place: None,
        }
    }

    /// The next record that is not done with; nothing if all that is safe on the disk is taken.
    ///
    /// After an error it can be called again, and tries the same place.
    pub(super) fn take(&mut self) -> io::Result<Option<Taken>> {
        loop {
            let mut state = self.shared.lock();
            let next = state.done.next_open(state.taken);
            state.taken = next.min(state.end).max(state.taken);
            let taken = state.taken;
            state.forget_before(taken);
            if taken >= state.end {
                return Ok(None);
            }
            if state
                .kept
                .front()
                .is_some_and(|kept| kept.sequence == taken)
                && let Some(kept) = state.take_kept()
            {
                state.taken += 1;
                let events = kept.records.len() as u64;
                state.unread_events = state.unread_events.saturating_sub(events);
                return Ok(Some(Taken::Kept(kept)));
            }
            let holder = state
                .segments
                .iter()
                .find(|(_, segment)| segment.end > taken && segment.end > segment.first)
                .map(|(number, segment)| (*number, segment.clone()));
            let Some((number, segment)) = holder else {
                // Nothing on the disk holds it: it was lost with a damaged place.
                let end = state.end;
                state.done.insert(taken, end);
                continue;
            };
            if segment.first > taken {
                state.done.insert(taken, segment.first);
                continue;
            }
            drop(state);
            if let Some(record) = self.read(number, taken, &segment)? {
                return Ok(Some(record));
            }
        }
    }

    /// Reads on in a segment until the record `wanted`; nothing if it is not there.
    fn read(&mut self, number: u64, wanted: u64, segment: &Segment) -> io::Result<Option<Taken>> {
        let mut place = match self.place.take() {
            Some(place) if place.number == number => place,
            _ => Place {
                number,
                file: self.shared.storage.open(&segment_name(number))?,
                offset: SEGMENT_HEADER as u64,
            },
        };
        let result = self.read_from(&mut place, wanted, segment);
        self.place = Some(place);
        result
    }

    fn read_from(
        &self,
        place: &mut Place,
        wanted: u64,
        segment: &Segment,
    ) -> io::Result<Option<Taken>> {
        let (salt, length) = (self.shared.salt, segment.length);
        let file = Arc::clone(&place.file);
        loop {
            let found = find(file.as_ref(), place.offset, length, salt, Depth::Header)?;
            let header = match found {
                Some(Found::Record { header, .. }) => header,
                Some(Found::Damage { end }) => {
                    self.damaged(place, end, "no record where one should begin")?;
                    continue;
                }
                None => {
                    // It and what followed it in this segment are gone.
                    self.shared.lock().done.insert(wanted, segment.end);
                    return Ok(None);
                }
            };
            if header.sequence < wanted {
                place.offset += header.size();
                continue;
            }
            if header.sequence > wanted {
                // What was between is in a damaged place.
                self.shared.lock().done.insert(wanted, header.sequence);
                return Ok(None);
            }
            let found = find(file.as_ref(), place.offset, length, salt, Depth::Payload)?;
            let payload = match found {
                Some(Found::Record { header, payload }) => unpack(&header, payload),
                _ => None,
            };
            let end = place.offset + header.size();
            let Some(payload) = payload else {
                self.damaged(place, end, "its payload cannot be read")?;
                self.taken(&header);
                self.shared
                    .lock()
                    .done
                    .insert(header.sequence, header.sequence + 1);
                return Ok(None);
            };
            place.offset = end;
            self.taken(&header);
            return Ok(Some(Taken::Read(header, payload)));
        }
    }

    fn taken(&self, header: &RecordHeader) {
        let mut state = self.shared.lock();
        state.taken = state.taken.max(header.sequence + 1);
        state.unread_events = state.unread_events.saturating_sub(u64::from(header.events));
    }

    /// Moves the bytes from here to `end` aside and goes on behind them.
    fn damaged(&self, place: &mut Place, end: u64, reason: &str) -> io::Result<()> {
        let storage = self.shared.storage.as_ref();
        quarantine(
            storage,
            place.file.as_ref(),
            place.number,
            place.offset,
            end,
            reason,
        )?;
        place.offset = end;
        Ok(())
    }
}
