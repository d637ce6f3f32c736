//! What was decided about objects, so that a crash does not make it come out otherwise.
//!
//! The file `objects` lies beside the segments of the output's queue. Each line is a checksum (XXH3 with 64 bits, in hexadecimal digits), a blank, and
//! JSON: whose queue it is, the plan of an object that is about to be uploaded, that an object is stored, or which multipart upload was begun.
//! A line that a crash has torn ends the file; what it would have said has not been acted on.
//!
//! INVARIANTS
//! * A plan is synced before its object can be there; that an object is stored is synced before its events are acknowledged.
//! * A plan is forgotten only when the queue cannot bring any of its events again, not even after a power cut.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

use super::object::{Plan, Position};

/// The name of the file.
const NAME: &str = "objects";

/// Disk space that is taken for the file when it is made, so that a full disk does not stop uploads: they are what frees
/// space. Enough for several hundred objects.
const RESERVED_BYTES: u64 = 256 << 10;

/// What a line says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The salt of the queue whose positions these are.
    Queue(u64),
    Planned(Plan),
    /// The key of the object.
    Stored(String),
    Begun(Upload),
}

/// A multipart upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Upload {
    pub(super) key: String,
    pub(super) id: String,
}

/// The journal of one queue.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    salt: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    /// Where the next line goes.
    end: u64,
    /// Its length at which it is written anew.
    rewrite_at: u64,
    known: Vec<Known>,
    /// By key, until the object is stored.
    uploads: HashMap<String, String>,
}

/// An object of which the journal knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) plan: Plan,
    pub(super) stored: bool,
}

impl Journal {
    /// Reads the journal of the queue in `directory`; one of a queue that is gone counts as none. Events before record
    /// `done_below` do not come again.
    pub(super) fn open(directory: &Path, salt: u64, done_below: u64) -> io::Result<Self> {
        let path = directory.join(NAME);
        let mut known = Vec::new();
        let mut uploads = HashMap::new();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut lines = lines(&bytes);
        if let Some(Line::Queue(of)) = lines.next()
            && of == salt
        {
            for line in lines {
                apply(line, &mut known, &mut uploads);
            }
        }
        known.retain(|known| is_needed(known, done_below));
        let (file, end) = write_anew(&path, salt, &known, &uploads)?;
        Ok(Self {
            path,
            salt,
            state: Mutex::new(State {
                file,
                end,
                rewrite_at: RESERVED_BYTES.max(2 * end),
                known,
                uploads,
            }),
        })
    }

    /// What is known, in the order of positions.
    pub(super) fn known(&self) -> Vec<Known> {
        let mut known = self.lock().known.clone();
        known.sort_by_key(|known| known.plan.first);
        known
    }

    /// Multipart uploads that were begun, and of which nobody knows how they ended.
    pub(super) fn left_over(&self) -> Vec<Upload> {
        let state = self.lock();
        let uploads = state.uploads.iter();
        let uploads = uploads.map(|(key, id)| Upload {
            key: key.clone(),
            id: id.clone(),
        });
        uploads.collect()
    }

    /// Notes an object that is about to be uploaded; it is on the disk when this returns.
    pub(super) fn plan(&self, plan: &Plan, done_below: u64) -> io::Result<()> {
        let mut state = self.lock();
        if state.known.iter().any(|known| known.plan.key == plan.key) {
            return Ok(());
        }
        self.make_room(&mut state, done_below);
        state.append(&Line::Planned(plan.clone()))?;
        state.file.sync_data()?;
        state.known.push(Known {
            plan: plan.clone(),
            stored: false,
        });
        Ok(())
    }

    /// Notes that an object is stored; it is on the disk when this returns.
    pub(super) fn stored(&self, key: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.append(&Line::Stored(key.to_owned()))?;
        state.file.sync_data()?;
        state.uploads.remove(key);
        let mut known = state.known.iter_mut();
        if let Some(known) = known.find(|known| known.plan.key == key) {
            known.stored = true;
        }
        Ok(())
    }

    /// Notes a multipart upload. Not synced: if it is lost the parts stay with the server a while, and nothing else.
    pub(super) fn begun(&self, upload: &Upload) -> io::Result<()> {
        let mut state = self.lock();
        state.append(&Line::Begun(upload.clone()))?;
        let Upload { key, id } = upload.clone();
        state.uploads.insert(key, id);
        Ok(())
    }

    /// Writes the file anew when it is long, without what is needed no more.
    fn make_room(&self, state: &mut State, done_below: u64) {
        if state.end < state.rewrite_at {
            return;
        }
        let State { known, uploads, .. } = state;
        known.retain(|known| is_needed(known, done_below));
        uploads.retain(|key, _| known.iter().any(|known| known.plan.key == *key));
        match write_anew(&self.path, self.salt, &state.known, &state.uploads) {
            Ok((file, end)) => {
                (state.file, state.end) = (file, end);
                state.rewrite_at = RESERVED_BYTES.max(2 * end);
            }
            // The old one is still good, and may become longer.
            Err(error) => {
                state.rewrite_at = state.end + RESERVED_BYTES;
                warn!(path = %self.path.display(), %error, "cannot write the journal of objects anew, it grows on");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn append(&mut self, line: &Line) -> io::Result<()> {
        let text = text_of(line)?;
        // A line that could only be written in part is written over.
        self.file.write_all_at(text.as_bytes(), self.end)?;
        self.end += text.len() as u64;
        Ok(())
    }
}

fn is_needed(known: &Known, done_below: u64) -> bool {
    known.plan.last.record >= done_below
}

fn apply(line: Line, known: &mut Vec<Known>, uploads: &mut HashMap<String, String>) {
    match line {
        Line::Queue(_) => {}
        Line::Planned(plan) => known.push(Known {
            plan,
            stored: false,
        }),
        Line::Stored(key) => {
            uploads.remove(&key);
            if let Some(known) = known.iter_mut().find(|known| known.plan.key == key) {
                known.stored = true;
            }
        }
        Line::Begun(Upload { key, id }) => {
            uploads.insert(key, id);
        }
    }
}

/// The lines of a file, up to the first that is none.
fn lines(bytes: &[u8]) -> impl Iterator<Item = Line> {
    bytes.split(|byte| *byte == b'\n').map_while(|line| {
        let (sum, json) = line.split_at_checked(16)?;
        let json = json.strip_prefix(b" ")?;
        let sum = u64::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
        (sum == xxh3_64(json)).then_some(())?;
        serde_json::from_slice(json).ok()
    })
}

fn text_of(line: &Line) -> io::Result<String> {
    let json = serde_json::to_string(line)?;
    Ok(format!("{:016x} {json}\n", xxh3_64(json.as_bytes())))
}

/// Puts a file with this content in the place of what is there; it and where its text ends.
fn write_anew(
    path: &Path,
    salt: u64,
    known: &[Known],
    uploads: &HashMap<String, String>,
) -> io::Result<(File, u64)> {
    let mut text = text_of(&Line::Queue(salt))?;
    for known in known {
        text.push_str(&text_of(&Line::Planned(known.plan.clone()))?);
        if known.stored {
            text.push_str(&text_of(&Line::Stored(known.plan.key.clone()))?);
        }
    }
    for (key, id) in uploads {
        let (key, id) = (key.clone(), id.clone());
        text.push_str(&text_of(&Line::Begun(Upload { key, id }))?);
    }
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&new)?;
    let reserved = text.len() as u64 + RESERVED_BYTES;
    // Where the file system cannot do it, there is no reserve.
    if let Err(error) =
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, reserved)
    {
        let error = io::Error::from(error);
        warn!(path = %path.display(), %error, "cannot keep disk space for the journal of objects");
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok((file, text.len() as u64))
}

/// Which object an event that comes again belongs to.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// By partition, in the order of positions.
    objects: HashMap<String, Vec<Known>>,
    /// After this position all is new.
    horizon: Option<Position>,
}

impl Replay {
    /// Of what a journal knew at the start.
    pub(super) fn new(known: Vec<Known>) -> Self {
        let mut replay = Self {
            horizon: known.iter().map(|known| known.plan.last).max(),
            ..Self::default()
        };
        for known in known {
            let partition = known.plan.partition.clone();
            replay.objects.entry(partition).or_default().push(known);
        }
        replay
    }

    /// The object that has this event, if it was planned before the start.
    pub(super) fn find(&self, partition: &str, position: Position) -> Option<&Known> {
        if self.horizon.is_none_or(|horizon| position > horizon) {
            return None;
        }
        let objects = self.objects.get(partition)?;
        let after = objects.partition_point(|known| known.plan.first <= position);
        let known = objects.get(after.checked_sub(1)?)?;
        (known.plan.last >= position).then_some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::super::object::Encoding;
    use super::*;

    fn plan(partition: &str, first: u64, last: u64) -> Plan {
        let at = |record| Position { record, event: 0 };
        let range = (at(first), at(last), last - first + 1);
        Plan::new(7, partition, range, ("t", &[], Encoding::None))
    }

    fn known(plan: &Plan, stored: bool) -> Known {
        Known {
            plan: plan.clone(),
            stored,
        }
    }

    #[test]
    fn what_was_noted_is_known_again_unless_it_is_needed_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (plan("a/", 1, 5), plan("b/", 2, 9));
        let upload = |id: &str| Upload {
            key: two.key.clone(),
            id: id.to_owned(),
        };
        {
            let journal = Journal::open(directory.path(), 7, 0).unwrap();
            journal.plan(&two, 0).unwrap();
            journal.plan(&one, 0).unwrap();
            journal.plan(&one, 0).unwrap();
            journal.begun(&upload("first")).unwrap();
            journal.begun(&upload("second")).unwrap();
            journal.stored(&one.key).unwrap();
        }
        let open = |salt, done_below| Journal::open(directory.path(), salt, done_below).unwrap();
        for _ in 0..2 {
            let journal = open(7, 5);
            assert_eq!(journal.known(), [known(&one, true), known(&two, false)]);
            assert_eq!(journal.left_over(), [upload("second")]);
        }
        let journal = open(7, 6);
        assert_eq!(journal.known(), [known(&two, false)]);
        journal.stored(&two.key).unwrap();
        assert_eq!(journal.left_over(), []);
        assert_eq!(open(7, 0).known(), [known(&two, true)]);
        // Positions of another queue mean nothing.
        assert_eq!(open(8, 0).known(), []);
    }

    #[test]
    fn a_file_that_is_cut_anywhere_knows_what_came_before() {
        let directory = tempfile::tempdir().unwrap();
        let plans: Vec<Plan> = (0..4).map(|at| plan("a/", at, at)).collect();
        let journal = Journal::open(directory.path(), 7, 0).unwrap();
        let mut ends = vec![journal.lock().end];
        for plan in &plans {
            journal.plan(plan, 0).unwrap();
            ends.push(journal.lock().end);
        }
        let path = directory.path().join(NAME);
        let all = fs::read(&path).unwrap();
        let end = *ends.last().unwrap() as usize;
        for cut in 0..=end {
            fs::write(&path, &all[..cut]).unwrap();
            let known = Journal::open(directory.path(), 7, 0).unwrap().known();
            // Without its line end a line is whole, too.
            let whole = ends[1..].iter().filter(|end| **end - 1 <= cut as u64);
            assert_eq!(known.len(), whole.count(), "cut at {cut}");
        }
    }

    #[test]
    fn the_file_is_written_anew_before_it_is_long() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path(), 7, 0).unwrap();
        let partition = "of some length/".repeat(25);
        for record in 0..500 {
            let plan = plan(&partition, record, record);
            journal.plan(&plan, record).unwrap();
            journal.stored(&plan.key).unwrap();
        }
        let length = fs::metadata(directory.path().join(NAME)).unwrap().len();
        assert!(length < 2 * RESERVED_BYTES, "{length}");
        let journal = Journal::open(directory.path(), 7, 490).unwrap();
        assert_eq!(journal.known().len(), 10);
    }

    #[test]
    fn an_event_that_comes_again_is_found_by_its_position() {
        let plans = [plan("a/", 1, 5), plan("a/", 8, 9), plan("b/", 3, 3)];
        let known: Vec<Known> = plans.iter().map(|plan| known(plan, false)).collect();
        let replay = Replay::new(known);
        let find = |partition, record, event| {
            let found = replay.find(partition, Position { record, event });
            found.map(|known| known.plan.key.clone())
        };
        assert_eq!(find("a/", 0, 7), None);
        assert_eq!(find("a/", 1, 0), Some(plans[0].key.clone()));
        assert_eq!(find("a/", 4, 9), Some(plans[0].key.clone()));
        assert_eq!(find("a/", 5, 1), None);
        assert_eq!(find("a/", 7, 0), None);
        assert_eq!(find("a/", 9, 0), Some(plans[1].key.clone()));
        assert_eq!(find("a/", 10, 0), None);
        assert_eq!(find("b/", 3, 0), Some(plans[2].key.clone()));
        assert_eq!(find("c/", 3, 0), None);
    }
}
