//! Events that no server will ever take, kept on disk with the reason.
//!
//! Letters are JSON lines in numbered segments, `<directory>/<pipeline>/000000001.jsonl` and so
//! on. A segment is closed when it is full. Unless the settings say otherwise ([`StoragePolicy`],
//! [`DeadLetterOptions::retain_age`]), nothing here ever deletes one, that is the operator's (or a replay's) business, and a running process notices it.
//!
//! One letter: `{"time","pipeline","stage","plugin","reason","status","config","action","document","original"}`;
//! `status` is 0 when no server was asked, `config` is a hash of the pipeline's configuration, `action`
//! is the action line as text, `original` is the record as it came, if it is known, and what is not UTF-8
//! stands as base64 in `document_base64` and `original_base64` instead.
//!
//! INVARIANT: an append that returned is on the disk (fsync), whole. Until it returns nothing may
//! be acknowledged. A full disk, or a queue that has reached its cap, delays the append for as long
//! as it lasts and is logged; it never loses a letter, unless a policy other than [`StoragePolicy::Block`]
//! is asked for: then what is lost is counted and said.

mod retention;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tracing::{error, info};

use self::retention::Retention;
pub use self::retention::StoragePolicy;
use crate::settings::Settings;
use crate::throttle::Throttle;
use skidder_pipeline::event::write_json_text;

/// Where dead letters go and how many may lie there.
///
/// # Defaults
/// 1 GiB in all (`dead_letter_queue.max_bytes`), segments of 10 MiB, a first retry after 500 ms and
/// later ones at most 30 s apart; at the cap everything waits, and no letter grows too old.
#[derive(Clone, Debug)]
pub struct DeadLetterOptions {
    /// The folder of all pipelines, usually `dead_letter_queue` below `path.data`.
    pub directory: PathBuf,
    /// The pipeline's id; the folder of its segments has this name.
    pub pipeline: String,
    /// A hash of the configuration, which is written into the letters.
    pub config: String,
    /// All segments together are kept below this size.
    pub max_bytes: u64,
    /// A segment is closed before it would pass this size; a larger letter has one to itself.
    pub segment_max_bytes: u64,
    /// How soon a failed write is tried again at first; doubled each time.
    pub retry_initial_interval: Duration,
    /// The longest wait between attempts.
    pub retry_max_interval: Duration,
    /// What happens at the cap.
    pub storage_policy: StoragePolicy,
    /// Segments whose last letter is older are removed.
    pub retain_age: Option<Duration>,
}

impl DeadLetterOptions {
    /// The defaults for `pipeline` below `directory`.
    pub fn new(directory: impl Into<PathBuf>, pipeline: impl Into<String>) -> Self {
        Self {
            directory: directory.into(),
            pipeline: pipeline.into(),
            config: String::new(),
            max_bytes: 1 << 30,
            segment_max_bytes: 10 << 20,
            retry_initial_interval: Duration::from_millis(500),
            retry_max_interval: Duration::from_secs(30),
            storage_policy: StoragePolicy::Block,
            retain_age: None,
        }
    }

    /// What the settings of a pipeline say.
    pub fn of(settings: &Settings) -> Self {
        Self {
            config: settings.config_hash.clone(),
            max_bytes: settings.letters.max_bytes,
            storage_policy: settings.letters.storage_policy,
            retain_age: settings.letters.retain_age,
            ..Self::new(settings.dead_letters(), settings.pipeline_id.as_str())
        }
    }
}

/// Why a letter is not on the disk yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeadLetterError {
    /// The cap is reached.
    #[error(
        "the dead letter queue in {} holds {held} bytes and may hold {limit}: look at the letters \
         and remove segments, or raise `dead_letter_queue.max_bytes`", directory.display()
    )]
    Full {
        /// The pipeline's folder.
        directory: PathBuf,
        /// What lies there.
        held: u64,
        /// The cap.
        limit: u64,
    },
    /// The disk refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Disk {
        /// What was tried.
        operation: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The pipeline's id cannot name a folder.
    #[error("the pipeline id `{0}` cannot be the name of a folder for dead letters")]
    BadPipelineName(String),
}

/// Where an event was given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// When its record was read.
    Input,
    /// In a filter.
    Filter,
    /// When it was to be delivered.
    #[default]
    Output,
}

impl Stage {
    /// Its name in letters and options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Filter => "filter",
            Self::Output => "output",
        }
    }
}

/// One event to be kept, with the reason.
#[derive(Clone, Copy, Debug, Default)]
pub struct Letter<'a> {
    /// Where it was given up.
    pub stage: Stage,
    /// The id of the plugin that gives it up.
    pub plugin: &'a str,
    /// Why, in the server's words.
    pub reason: &'a str,
    /// The HTTP status of the item; 0 when no server was asked.
    pub status: u16,
    /// The action line, without its newline.
    pub action: &'a [u8],
    /// The document as it was sent; empty when the action has none.
    pub document: &'a [u8],
    /// The record as it came, if that is known.
    pub original: Option<&'a [u8]>,
}

/// The dead letter queue of one pipeline.
#[derive(Debug)]
pub struct DeadLetters {
    options: DeadLetterOptions,
    directory: PathBuf,
    open: Mutex<Option<Segment>>,
    written: AtomicU64,
    retention: Retention,
    stuck: Throttle,
    /// The folder, locked (shared) by everyone who may write, so that a purge knows whether
    /// somebody does.
    _lock: File,
}

#[derive(Debug)]
struct Segment {
    file: File,
    path: PathBuf,
    length: u64,
    /// The size of all segments, this one included.
    total: u64,
}

impl DeadLetters {
    /// Prepares the pipeline's folder; segments are opened with the first letter.
    pub fn open(options: DeadLetterOptions) -> Result<Arc<Self>, DeadLetterError> {
        let name = Path::new(&options.pipeline);
        if name.file_name() != Some(OsStr::new(&options.pipeline)) {
            return Err(DeadLetterError::BadPipelineName(options.pipeline));
        }
        let directory = options.directory.join(name);
        fs::create_dir_all(&directory).map_err(disk("create the folder", &directory))?;
        // Outputs of one pipeline share the writer: two would cut off each other's letters.
        let mut writers = WRITERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = writers.get(&directory).and_then(Weak::upgrade) {
            return Ok(there);
        }
        let lock = File::open(&directory).map_err(disk("open the folder", &directory))?;
        // Whoever purges is done in a moment.
        lock.lock_shared()
            .map_err(disk("lock the folder", &directory))?;
        let letters = Arc::new(Self {
            options,
            directory,
            _lock: lock,
            open: Mutex::new(None),
            written: AtomicU64::new(0),
            retention: Retention::default(),
            stuck: Throttle::default(),
        });
        writers.insert(letters.directory.clone(), Arc::downgrade(&letters));
        Ok(letters)
    }

    /// Appends one letter to `lines` in the form of the files.
    pub fn write_letter(&self, lines: &mut Vec<u8>, letter: &Letter<'_>) {
        lines.extend_from_slice(b"{\"time\":");
        write_json_text(format!("{:.3}", jiff::Timestamp::now()).as_bytes(), lines);
        lines.extend_from_slice(b",\"pipeline\":");
        write_json_text(self.options.pipeline.as_bytes(), lines);
        lines.extend_from_slice(b",\"stage\":\"");
        lines.extend_from_slice(letter.stage.name().as_bytes());
        lines.extend_from_slice(b"\",\"plugin\":");
        write_json_text(letter.plugin.as_bytes(), lines);
        lines.extend_from_slice(b",\"reason\":");
        write_json_text(letter.reason.as_bytes(), lines);
        lines.extend_from_slice(b",\"status\":");
        lines.extend_from_slice(letter.status.to_string().as_bytes());
        lines.extend_from_slice(b",\"config\":");
        write_json_text(self.options.config.as_bytes(), lines);
        lines.extend_from_slice(b",\"action\":");
        write_json_text(String::from_utf8_lossy(letter.action).as_bytes(), lines);
        write_bytes("document", letter.document, lines);
        if let Some(original) = letter.original {
            write_bytes("original", original, lines);
        }
        lines.extend_from_slice(b"}\n");
    }

    /// Writes lines made by [`Self::write_letter`] and returns when they are on the disk, however
    /// long that takes. `letters` is their number, for the statistics.
    ///
    /// Dropping the future gives up waiting; the lines may or may not be on the disk then.
    pub async fn append(self: &Arc<Self>, lines: Vec<u8>, letters: u64) {
        let lines: Arc<[u8]> = lines.into();
        let mut wait = self.options.retry_initial_interval;
        let mut failed = false;
        loop {
            let queue = Arc::clone(self);
            let copy = Arc::clone(&lines);
            let attempt = tokio::task::spawn_blocking(move || queue.try_append(&copy)).await;
            match attempt {
                Ok(Ok(())) => break,
                Ok(Err(reason)) => self.complain(&reason, letters),
                Err(reason) => self.complain(&reason, letters),
            }
            failed = true;
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(self.options.retry_max_interval);
        }
        if failed {
            info!(directory = %self.directory.display(), "dead letters are written again");
        }
        self.written.fetch_add(letters, Ordering::Relaxed);
    }

    /// The same in the thread of the caller; false if `give_up` said so before they were on the disk.
    pub(crate) fn append_or(&self, lines: &[u8], letters: u64, give_up: &dyn Fn() -> bool) -> bool {
        let mut wait = self.options.retry_initial_interval;
        while let Err(reason) = self.try_append(lines) {
            self.complain(&reason, letters);
            if give_up() {
                return false;
            }
            std::thread::sleep(wait);
            wait = (wait * 2).min(self.options.retry_max_interval);
        }
        self.written.fetch_add(letters, Ordering::Relaxed);
        true
    }

    /// Writes lines once; when it fails, none of them count as written.
    pub fn try_append(&self, lines: &[u8]) -> Result<(), DeadLetterError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let size = lines.len() as u64;
        if self.is_age_due() {
            *open = None;
            self.remove_aged()?;
        }
        let fits = open.as_ref().is_some_and(|segment| {
            segment.length + size <= self.options.segment_max_bytes
                && segment.total + size <= self.options.max_bytes
        });
        if !fits {
            *open = None;
        }
        let mut segment = match open.take() {
            Some(segment) => segment,
            None => match self.segment_for(size) {
                Err(DeadLetterError::Full { .. })
                    if self.options.storage_policy != StoragePolicy::Block =>
                {
                    if self.options.storage_policy == StoragePolicy::DropNewer
                        || size > self.options.max_bytes
                    {
                        self.drop_newer(lines);
                        return Ok(());
                    }
                    self.drop_older(size)?;
                    self.segment_for(size)?
                }
                found => found?,
            },
        };
        let written = segment
            .file
            .write_all(lines)
            .and_then(|()| segment.file.sync_data());
        if let Err(source) = written {
            // Leaves no half letter behind if the disk still allows that; if not, the next
            // opening repairs the tail.
            if let Err(error) = segment.file.set_len(segment.length) {
                error!(path = %segment.path.display(), %error, "cannot remove a half dead letter");
            }
            return Err(disk("write dead letters to", &segment.path)(source));
        }
        segment.length += size;
        segment.total += size;
        *open = Some(segment);
        Ok(())
    }

    /// How many letters this process has taken, those of [`Self::dropped`] included.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// The folder with this pipeline's segments.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn complain(&self, reason: &dyn std::fmt::Display, letters: u64) {
        if self.stuck.due(1).is_some() {
            error!(letters, %reason, "cannot write dead letters, trying again until it works");
        }
    }

    /// Opens the segment that takes `size` more bytes: the last one or a new one.
    fn segment_for(&self, size: u64) -> Result<Segment, DeadLetterError> {
        fs::create_dir_all(&self.directory).map_err(disk("create the folder", &self.directory))?;
        let (total, last) = self.scan()?;
        if total + size > self.options.max_bytes {
            return Err(DeadLetterError::Full {
                directory: self.directory.clone(),
                held: total,
                limit: self.options.max_bytes,
            });
        }
        if let Some(number) = last {
            let path = self.segment_path(number);
            let (file, length, torn) = open_repaired(&path)?;
            if length + size <= self.options.segment_max_bytes {
                return Ok(Segment {
                    file,
                    path,
                    length,
                    total: total.saturating_sub(torn),
                });
            }
        }
        let (file, path) = self.create_segment(last.unwrap_or(0) + 1)?;
        Ok(Segment {
            file,
            path,
            length: 0,
            total,
        })
    }

    fn create_segment(&self, number: u64) -> Result<(File, PathBuf), DeadLetterError> {
        let path = self.segment_path(number);
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(disk("create the dead letter segment", &path))?;
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(disk("sync the folder", &self.directory))?;
        Ok((file, path))
    }

    /// The size of all segments and the highest number among them.
    fn scan(&self) -> Result<(u64, Option<u64>), DeadLetterError> {
        let failed = disk("list the folder", &self.directory);
        let mut total = 0;
        let mut last = None;
        for entry in fs::read_dir(&self.directory).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            let Some(number) = segment_number(&entry.file_name()) else {
                continue;
            };
            last = last.max(Some(number));
            match entry.metadata() {
                Ok(metadata) => total += metadata.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok((total, last))
    }

    fn segment_path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:09}.{EXTENSION}"))
    }
}

const EXTENSION: &str = "jsonl";

/// A text member, or one in base64 if the bytes are none.
fn write_bytes(name: &str, bytes: &[u8], lines: &mut Vec<u8>) {
    lines.extend_from_slice(b",\"");
    lines.extend_from_slice(name.as_bytes());
    if let Ok(text) = std::str::from_utf8(bytes) {
        lines.extend_from_slice(b"\":");
        write_json_text(text.as_bytes(), lines);
    } else {
        lines.extend_from_slice(b"_base64\":");
        write_json_text(STANDARD.encode(bytes).as_bytes(), lines);
    }
}

/// The writers of this process, by their folders.
static WRITERS: Mutex<BTreeMap<PathBuf, Weak<DeadLetters>>> = Mutex::new(BTreeMap::new());

pub(crate) fn segment_number(name: &OsStr) -> Option<u64> {
    name.to_str()?
        .strip_suffix(EXTENSION)?
        .strip_suffix('.')?
        .parse()
        .ok()
}

/// Opens a segment for appending and cuts off a last line that a crash left without its end.
///
/// Gives the file, its length, and how many bytes were cut off. They were never synced, so
/// nothing was acknowledged for them.
fn open_repaired(path: &Path) -> Result<(File, u64, u64), DeadLetterError> {
    const CHUNK: u64 = 64 * 1024;
    let failed = disk("open the dead letter segment", path);
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .open(path)
        .map_err(&failed)?;
    let length = file.metadata().map_err(&failed)?.len();
    let mut whole = 0;
    let mut end = length;
    let mut chunk = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(CHUNK);
        chunk.resize((end - start) as usize, 0);
        file.seek(SeekFrom::Start(start)).map_err(&failed)?;
        file.read_exact(&mut chunk).map_err(&failed)?;
        if let Some(newline) = memchr::memrchr(b'\n', &chunk) {
            whole = start + newline as u64 + 1;
            break;
        }
        end = start;
    }
    if whole < length {
        file.set_len(whole)
            .map_err(disk("repair the dead letter segment", path))?;
    }
    Ok((file, whole, length - whole))
}

fn disk(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> DeadLetterError + use<> {
    let path = path.to_owned();
    move |source| DeadLetterError::Disk {
        operation,
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(queue: &DeadLetters, document: &[u8]) -> Vec<u8> {
        let mut lines = Vec::new();
        let letter = Letter {
            plugin: "out",
            reason: "no \"way\"",
            status: 400,
            action: b"{\"index\":{}}",
            document,
            ..Letter::default()
        };
        queue.write_letter(&mut lines, &letter);
        lines
    }

    fn segments(queue: &DeadLetters) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = fs::read_dir(queue.directory())
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        found.sort();
        found
    }

    #[test]
    fn letters_are_json_lines_with_everything_in_them() {
        let directory = tempfile::tempdir().unwrap();
        let queue = DeadLetters::open(DeadLetterOptions::new(directory.path(), "main")).unwrap();
        queue
            .try_append(&lines(&queue, b"{\"message\":\"x\"}"))
            .unwrap();
        queue.try_append(&lines(&queue, b"\xff\xfe")).unwrap();
        let found = segments(&queue);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "000000001.jsonl");
        let letters: Vec<serde_json::Value> = found[0]
            .1
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(letters[0]["pipeline"], "main");
        assert_eq!(letters[0]["plugin"], "out");
        assert_eq!(letters[0]["reason"], "no \"way\"");
        assert_eq!(letters[0]["status"], 400);
        assert_eq!(letters[0]["action"], "{\"index\":{}}");
        assert_eq!(letters[0]["document"], "{\"message\":\"x\"}");
        assert_eq!(letters[1]["document_base64"], "//4=");
        let time: jiff::Timestamp = letters[0]["time"].as_str().unwrap().parse().unwrap();
        assert!(time.duration_until(jiff::Timestamp::now()).as_secs() < 600);
    }

    #[test]
    fn segments_are_cut_and_counted_across_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let mut options = DeadLetterOptions::new(directory.path(), "main");
        options.segment_max_bytes = 300;
        options.max_bytes = 900;
        for _ in 0..3 {
            let queue = DeadLetters::open(options.clone()).unwrap();
            let line = lines(&queue, b"{}");
            assert!((100..200).contains(&line.len()), "{}", line.len());
            queue.try_append(&line).unwrap();
        }
        let queue = DeadLetters::open(options).unwrap();
        let line = lines(&queue, b"{}");
        let mut written = 3;
        let error = loop {
            match queue.try_append(&line) {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(
            matches!(error, DeadLetterError::Full { limit: 900, .. }),
            "{error}"
        );
        let found = segments(&queue);
        assert_eq!(
            found
                .iter()
                .map(|(_, text)| text.lines().count())
                .sum::<usize>(),
            written
        );
        assert!(found.iter().all(|(_, text)| text.len() <= 300));
        assert!(found.iter().map(|(_, text)| text.len()).sum::<usize>() <= 900);

        // Room made by the operator is noticed without a restart.
        fs::remove_file(queue.directory().join("000000001.jsonl")).unwrap();
        queue.try_append(&line).unwrap();
    }

    #[test]
    fn outputs_of_one_pipeline_write_by_one_writer() {
        let directory = tempfile::tempdir().unwrap();
        let open =
            |name: &str| DeadLetters::open(DeadLetterOptions::new(directory.path(), name)).unwrap();
        let (one, two) = (open("main"), open("main"));
        assert!(Arc::ptr_eq(&one, &two));
        assert!(!Arc::ptr_eq(&one, &open("other")));
    }

    #[test]
    fn a_torn_tail_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let options = DeadLetterOptions::new(directory.path(), "main");
        let queue = DeadLetters::open(options.clone()).unwrap();
        let line = lines(&queue, b"{}");
        queue.try_append(&line).unwrap();
        let path = queue.directory().join("000000001.jsonl");
        drop(queue);
        let mut torn = fs::read(&path).unwrap();
        torn.extend(std::iter::repeat_n(b'x', 200_000));
        fs::write(&path, torn).unwrap();

        let queue = DeadLetters::open(options).unwrap();
        queue.try_append(&line).unwrap();
        let text = segments(&queue).remove(0).1;
        assert_eq!(text.lines().count(), 2);
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }

    #[test]
    fn pipeline_names_cannot_leave_the_folder() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["..", "a/b", "", "/etc", "."] {
            let options = DeadLetterOptions::new(directory.path(), name);
            assert!(
                matches!(
                    DeadLetters::open(options),
                    Err(DeadLetterError::BadPipelineName(_))
                ),
                "{name:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_append_waits_until_the_disk_takes_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut options = DeadLetterOptions::new(directory.path(), "main");
        options.retry_initial_interval = Duration::from_millis(5);
        options.retry_max_interval = Duration::from_millis(20);
        let queue = DeadLetters::open(options).unwrap();
        // A file where the folder should be stands for a disk that refuses.
        fs::remove_dir(queue.directory()).unwrap();
        fs::write(queue.directory(), "in the way").unwrap();
        let line = lines(&queue, b"{}");
        let waiting = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.append(line, 1).await }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!waiting.is_finished());
        assert_eq!(queue.written(), 0);
        fs::remove_file(queue.directory()).unwrap();
        tokio::time::timeout(Duration::from_secs(30), waiting)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(queue.written(), 1);
        assert_eq!(segments(&queue)[0].1.lines().count(), 1);
    }
}
