//! Looks a queue through, and opens it: tails cut, damage moved aside, the state put together.
//!
//! [`survey`] only reads, so `queue show` and `queue check` can use it beside a running process.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::sync::Arc;

use super::appender::Appender;
use super::checkpoint::{self, Keeper};
use super::done::Done;
use super::format::{BadHeader, Checkpoint, SEGMENT_HEADER, SegmentHeader, VERSION};
use super::reader::Reader;
use super::scan::{Depth, Found, find, unpack};
use super::state::{Segment, Shared, State, segment_name, segment_number};
use super::storage::{Storage, StoredFile};
use super::{QueueError, QueueOptions};

/// The name of the file that keeps space for a stop.
pub(super) const RESERVE: &str = "reserve";

/// What stands in a queue's files.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) checkpoint: Option<Checkpoint>,
    /// Slots of the checkpoint that cannot be read.
    pub(super) damaged_slots: u32,
    pub(super) salt: Option<u64>,
    /// In the order of their numbers.
    pub(super) segments: Vec<SegmentSurvey>,
    /// Files with what was moved aside, and their sizes.
    pub(super) damaged_files: Vec<(String, u64)>,
}

/// What stands in a segment.
#[derive(Debug)]
pub(super) struct SegmentSurvey {
    pub(super) number: u64,
    /// Length of the file.
    pub(super) length: u64,
    /// Whether its header can be read.
    pub(super) header: bool,
    pub(super) records: u64,
    pub(super) events: u64,
    /// Records, and events of them, that are not done with.
    pub(super) open_records: u64,
    pub(super) open_events: u64,
    /// Sequence numbers of the records, in order, as ranges without gaps.
    pub(super) runs: Vec<(u64, u64)>,
    /// When the first of the records that are not done with was received.
    pub(super) oldest_open: Option<u64>,
    /// Bytes that are no record: from, to.
    pub(super) damage: Vec<(u64, u64)>,
    /// Where the tail begins that a crash has torn.
    pub(super) torn: Option<u64>,
}

impl Survey {
    /// What is done with, as far as is known.
    pub(super) fn done(&self) -> Done {
        match &self.checkpoint {
            Some(checkpoint) => checkpoint.done.clone(),
            None => Done::new(1),
        }
    }
}

fn disk(
    storage: &dyn Storage,
    operation: impl Into<String>,
) -> impl FnOnce(io::Error) -> QueueError {
    let (path, operation) = (storage.path().to_owned(), operation.into());
    move |source| QueueError::Disk {
        path,
        operation,
        source,
    }
}

/// Reads all there is; `depth` says whether payloads are looked at, which in the last segment they
/// always are.
pub(super) fn survey(storage: &dyn Storage, depth: Depth) -> Result<Survey, QueueError> {
    let files = storage.list().map_err(disk(storage, "list the files"))?;
    let newer = |file: &str, version| QueueError::Newer {
        path: storage.path().to_owned(),
        file: file.to_owned(),
        version,
        known: VERSION,
    };
    let mut survey = Survey::default();
    let mut opened = Vec::new();
    for (name, size) in files {
        if name == checkpoint::NAME {
            let reading = || disk(storage, "read the file checkpoint");
            let file = storage.open(&name).map_err(reading())?;
            let read = checkpoint::read(file.as_ref()).map_err(reading())?;
            let read = read.map_err(|version| newer(&name, version))?;
            survey.salt = survey
                .salt
                .or(read.newest.as_ref().map(|newest| newest.salt));
            survey.checkpoint = read.newest;
            survey.damaged_slots = read.damaged;
        } else if name.ends_with(DAMAGED) {
            survey.damaged_files.push((name, size));
        } else if let Some(number) = segment_number(&name) {
            let reading = || disk(storage, format!("read the file {name}"));
            let file = match storage.open(&name) {
                Ok(file) => file,
                // A running process removes what is not needed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(reading()(error)),
            };
            let mut header = [0; SEGMENT_HEADER];
            let length = file.length().map_err(reading())?;
            file.read_at(&mut header, 0).map_err(reading())?;
            let header = match SegmentHeader::from_bytes(&header) {
                Ok(header) => Some(header),
                Err(BadHeader::Version(version)) => return Err(newer(&name, version)),
                Err(BadHeader::Damaged) => None,
            };
            survey.salt = survey.salt.or(header.map(|header| header.salt));
            opened.push((number, file, length, header));
        }
    }
    opened.sort_by_key(|(number, ..)| *number);
    let done = survey.done();
    let last = opened.last().map(|(number, ..)| *number);
    // Without any salt there is no record that could be told from noise.
    let salt = survey.salt.unwrap_or_default();
    for (number, file, length, header) in opened {
        let is_last = last == Some(number);
        let mut segment = SegmentSurvey {
            number,
            length,
            header: header.is_some_and(|header| header.number == number),
            records: 0,
            events: 0,
            open_records: 0,
            open_events: 0,
            runs: Vec::new(),
            oldest_open: None,
            damage: Vec::new(),
            torn: None,
        };
        let depth = if is_last { Depth::Payload } else { depth };
        let walked = segment.walk(file.as_ref(), salt, depth, &done);
        walked.map_err(disk(
            storage,
            format!("read the file {}", segment_name(number)),
        ))?;
        if is_last
            && let Some((start, end)) = segment.damage.last().copied()
            && end == length
        {
            segment.damage.pop();
            segment.torn = Some(start);
        }
        survey.segments.push(segment);
    }
    Ok(survey)
}

impl SegmentSurvey {
    fn walk(
        &mut self,
        file: &dyn StoredFile,
        salt: u64,
        depth: Depth,
        done: &Done,
    ) -> io::Result<()> {
        let mut offset = (SEGMENT_HEADER as u64).min(self.length);
        if !self.header && self.length > 0 {
            self.damage.push((0, offset));
        }
        while let Some(found) = find(file, offset, self.length, salt, depth)? {
            match found {
                Found::Record { header, payload } => {
                    let whole = depth == Depth::Header || unpack(&header, payload).is_some();
                    if whole {
                        self.count(&header, done);
                    } else {
                        self.damage.push((offset, offset + header.size()));
                    }
                    offset += header.size();
                }
                Found::Damage { end } => {
                    match self.damage.last_mut() {
                        Some((_, last)) if *last == offset => *last = end,
                        _ => self.damage.push((offset, end)),
                    }
                    offset = end;
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, header: &super::format::RecordHeader, done: &Done) {
        let sequence = header.sequence;
        self.records += 1;
        self.events += u64::from(header.events);
        if !done.covers(sequence, sequence + 1) {
            self.open_records += 1;
            self.open_events += u64::from(header.events);
            self.oldest_open = self.oldest_open.or(Some(header.received));
        }
        match self.runs.last_mut() {
            Some((_, end)) if *end == sequence => *end += 1,
            _ => self.runs.push((sequence, sequence + 1)),
        }
    }
}

const DAMAGED: &str = ".damaged";

/// Copies bytes that are no record to a file of their own and says so; false if that was done
/// before.
pub(super) fn quarantine(
    storage: &dyn Storage,
    file: &dyn StoredFile,
    number: u64,
    start: u64,
    end: u64,
    reason: &str,
) -> io::Result<bool> {
    let name = format!("{number:09}-{start}{DAMAGED}");
    let copy = match storage.create(&name) {
        Ok(copy) => copy,
        // Done before; it is only skipped again.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error),
    };
    let copied = (|| {
        let mut offset = start;
        let mut bytes = Vec::new();
        while offset < end {
            bytes.resize(COPY_BYTES.min((end - offset) as usize), 0);
            let read = file.read_at(&mut bytes, offset)?;
            if read == 0 {
                break;
            }
            copy.write_at(&bytes[..read], offset - start)?;
            offset += read as u64;
        }
        copy.sync()?;
        storage.sync_names()
    })();
    if let Err(error) = copied {
        // The next attempt begins anew.
        let _removed = storage.remove(&name);
        return Err(error);
    }
    tracing::error!(
        queue = %storage.path().display(), segment = segment_name(number), from = start, to = end, reason, kept = name,
        "a damaged part of the queue was moved aside, the rest goes on"
    );
    Ok(true)
}

const COPY_BYTES: usize = 1 << 20;

/// What opening did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Repairs {
    /// Bytes of a torn tail that were cut off.
    pub(super) cut: u64,
    /// Damaged places that were moved aside.
    pub(super) moved_aside: u64,
    /// Segments without a record that were removed.
    pub(super) removed: u64,
    /// The checkpoint could not be read in part or whole.
    pub(super) checkpoint: bool,
}

/// An open queue: its parts are for one thread each.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) shared: Arc<Shared>,
    pub(super) appender: Appender,
    pub(super) reader: Reader,
    pub(super) keeper: Keeper,
    pub(super) repairs: Repairs,
    /// The sequence number of the next record.
    pub(super) next: u64,
}

/// Opens the queue, or makes an empty one; `depth` is that of [`survey`].
pub(super) fn open(
    storage: &Arc<dyn Storage>,
    options: &QueueOptions,
    depth: Depth,
) -> Result<Opened, QueueError> {
    let storage_ref = storage.as_ref();
    let survey = survey(storage_ref, depth)?;
    let mut repairs = Repairs {
        checkpoint: survey.damaged_slots > 0,
        ..Repairs::default()
    };
    let mut done = survey.done();
    let mut end = done.watermark();
    if let Some(checkpoint) = &survey.checkpoint {
        end = end.max(checkpoint.next);
    }
    let mut segments = BTreeMap::new();
    let (mut bytes, mut unread_events) = (0, 0);
    // Numbers that no record has are done with: of records that were lost, or never were.
    let mut reached = done.watermark();
    let last = survey.segments.last().map_or(0, |segment| segment.number);
    for segment in &survey.segments {
        let name = segment_name(segment.number);
        let failed = |operation: &str| disk(storage_ref, format!("{operation} the file {name}"));
        let file = storage.open(&name).map_err(failed("open"))?;
        let mut length = segment.length;
        if let Some(torn) = segment.torn {
            repairs.cut += length - torn;
            tracing::warn!(
                queue = %storage.path().display(), file = name, bytes = length - torn,
                "cut off the end of the queue that a crash left unfinished; it was not acknowledged"
            );
            length = torn;
        }
        for (start, end) in &segment.damage {
            // A header that is lost costs nothing.
            if *end <= SEGMENT_HEADER as u64 {
                continue;
            }
            let reason = "no record where one should begin";
            let moved = quarantine(
                storage_ref,
                file.as_ref(),
                segment.number,
                *start,
                *end,
                reason,
            );
            repairs.moved_aside +=
                u64::from(moved.map_err(failed("move a damaged part aside of"))?);
        }
        if segment.records == 0 {
            storage.remove(&name).map_err(failed("remove"))?;
            repairs.removed += 1;
            continue;
        }
        if segment.torn.is_some() {
            file.set_length(length)
                .and_then(|()| file.sync())
                .map_err(failed("cut off"))?;
        }
        let mut first = u64::MAX;
        for (run, run_end) in &segment.runs {
            if *run > reached {
                done.insert(reached, *run);
            }
            reached = reached.max(*run_end);
            first = first.min(*run);
        }
        end = end.max(reached);
        // After a sync that failed, records may stand in two segments: the later ones count.
        for before in segments.values_mut() {
            let before: &mut Segment = before;
            before.end = before.end.min(first).max(before.first);
        }
        bytes += length;
        unread_events += segment.open_events;
        let last_run = segment.runs.iter().map(|(_, end)| *end).max();
        segments.insert(
            segment.number,
            Segment {
                first,
                end: last_run.unwrap_or(first),
                length,
                closed: true,
            },
        );
    }
    done.insert(reached, end);
    let state = State {
        segments,
        bytes,
        end,
        synced_below: 0,
        taken: done.watermark(),
        done,
        unread_events,
        acknowledged_events: 0,
        kept: VecDeque::new(),
        kept_bytes: 0,
        reserve_free: false,
        finished: false,
        stopped: false,
        over: false,
    };
    let salt = survey
        .salt
        .unwrap_or_else(|| RandomState::new().build_hasher().finish());
    let (file, read) = open_checkpoint(storage_ref)?;
    reserve(storage_ref, options);
    storage
        .sync_names()
        .map_err(disk(storage_ref, "sync the directory"))?;
    let shared = Shared::new(Arc::clone(storage), options.clone(), salt, state);
    let mut keeper = Keeper::new(Arc::clone(&shared), file, &read);
    // The salt has to be there before the first record, and the repairs are part of the state.
    keeper
        .sync()
        .map_err(disk(storage_ref, "write the file checkpoint"))?;
    Ok(Opened {
        appender: Appender::new(Arc::clone(&shared), last + 1),
        reader: Reader::new(Arc::clone(&shared)),
        keeper,
        repairs,
        next: end,
        shared,
    })
}

fn open_checkpoint(
    storage: &dyn Storage,
) -> Result<(Arc<dyn StoredFile>, checkpoint::Read), QueueError> {
    let failed = || disk(storage, "open the file checkpoint");
    let file = match storage.open(checkpoint::NAME) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            checkpoint::create(storage).map_err(failed())?
        }
        Err(error) => return Err(failed()(error)),
    };
    let read = checkpoint::read(file.as_ref()).map_err(failed())?;
    // The newer slot may be in the system's cache only, and the other one is written to next.
    file.sync().map_err(failed())?;
    // A version to come was refused by the survey.
    Ok((file, read.unwrap_or_default()))
}

/// Takes the space of the reserve. Without it the queue works, but a stop may find no space.
fn reserve(storage: &dyn Storage, options: &QueueOptions) {
    let wanted = options.reserve();
    let taken = (|| {
        let file = match storage.create(RESERVE) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => storage.open(RESERVE),
            other => other,
        }?;
        if file.length()? == wanted {
            return Ok(());
        }
        file.set_length(0)?;
        file.allocate(wanted)
    })();
    if let Err(error) = taken {
        tracing::warn!(queue = %storage.path().display(), bytes = wanted, %error, "cannot keep disk space for a stop");
    }
}

/// Gives the space of the reserve back.
pub(super) fn release_reserve(storage: &dyn Storage) -> io::Result<()> {
    match storage.remove(RESERVE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
