//! The `dead_letter_queue` input: documents that were given up, read again.
//!
//! COMPAT: of Logstash's input: `path`, `pipeline_id`, `commit_offsets`, `sincedb_path`, `clean_consumed`,
//! `start_timestamp`; the event is the document, and `[@metadata][dead_letter_queue]` says `plugin_id`, `plugin_type`,
//! `reason` and `entry_time`. Ours: `stage`, `status`, `action` and `original` beside them, and the option `follow`.
//! The event of a letter that a codec or a filter is at fault for comes without its failure tags: who reads it again tries again.
//!
//! The position (segment and offset) moves only over letters whose events are safe in every output. It is written to
//! `sincedb_path` by replacing the file; a crash makes some letters come again, and loses none. `clean_consumed` removes
//! segments that are wholly behind the position, but never the last one, to which a process may be writing.
//!
//! INVARIANT: an event has the same identity whenever its letter is read: the id under which it was to be created, or else one made of
//! the letter's place. So a letter that comes again is stored once.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bumpalo::Bump;
use serde::Deserialize;
use serde::de::IgnoredAny;
use skidder_pipeline::event::identity::{Identity, content_hash};
use skidder_pipeline::event::{self, Event, Name, Object, Timestamp, Value};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};
use xxhash_rust::xxh3::xxh3_64;

use super::decoration::Decoration;
use crate::ack::Ack;
use crate::dead_letter::Stage;
use crate::dead_letter_command::{StoredLetter, parse, segments};
use crate::settings::host_name;
use crate::worker::{Batch, Records};

/// Letters in one batch.
const BATCH_LETTERS: usize = 500;

/// How often the input looks for new letters, and writes its position.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A reader of dead letters, ready to run.
pub struct DeadLetterInput {
    /// The folder of the pipeline whose letters are read.
    pub folder: PathBuf,
    /// Where the position is kept; nowhere without it.
    pub position_file: Option<PathBuf>,
    /// Remove segments that are behind the position.
    pub clean_consumed: bool,
    /// Letters before this are skipped.
    pub start: Option<jiff::Timestamp>,
    /// Wait for new letters at the end; else the input ends there.
    pub follow: bool,
    /// `type`, `tags`, `add_field`.
    pub decoration: Decoration,
}

/// A place behind a letter: the number of the segment, and the offset.
type Position = (u64, u64);

/// Which letters are done with.
#[derive(Debug, Default)]
struct Progress {
    /// Everything before it is.
    position: Position,
    /// Batches that are under way, by the place where they begin: where they end, and whether they are
    /// done with.
    batches: BTreeMap<Position, (Position, bool)>,
}

impl Progress {
    fn done(&mut self, from: Position) {
        if let Some((_, done)) = self.batches.get_mut(&from) {
            *done = true;
        }
        while let Some(first) = self.batches.first_entry()
            && first.get().1
        {
            self.position = first.remove().0;
        }
    }
}

impl DeadLetterInput {
    /// Reads until `shutdown` changes, or without `follow` until the end of what is there now.
    pub async fn run(self, queue: mpsc::Sender<Batch>, mut shutdown: watch::Receiver<bool>) {
        let input = Arc::new(self);
        let start = input.read_position();
        let progress = Arc::new(Mutex::new(Progress {
            position: start,
            ..Progress::default()
        }));
        let end = input.end();
        // What is refused again while this runs is behind it, and would come again for ever.
        let until = (!input.follow).then_some(end);
        let mut next = start;
        let mut written = start;
        loop {
            let reading = Arc::clone(&input);
            let read = tokio::task::spawn_blocking(move || reading.read(next, until)).await;
            let mut failed = false;
            let (letters, reached) = match read {
                Ok(Ok(read)) => read,
                Ok(Err(error)) => {
                    error!(folder = %input.folder.display(), %error, "cannot read dead letters, trying again");
                    failed = true;
                    (Vec::new(), next)
                }
                Err(_) => return,
            };
            let idle = reached == next;
            if !letters.is_empty() {
                let batch = input.batch(letters, next, reached, &progress);
                tokio::select! {
                    sent = queue.send(batch) => if sent.is_err() { break },
                    _ = shutdown.changed() => break,
                }
            } else if reached > next {
                // Only letters that are skipped.
                let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                progress.batches.insert(next, (reached, true));
                progress.done(next);
            }
            next = reached;
            let position = lock(&progress).position;
            if position != written && (idle || position.0 != written.0) {
                input.commit(position);
                written = position;
            }
            // Not only at the end: the last line may be one that was never finished.
            let at_end = !input.follow && !failed && (idle || next >= end);
            if at_end && lock(&progress).batches.is_empty() {
                break;
            }
            if idle || at_end {
                let pause = if at_end {
                    LOOK_INTERVAL / 50
                } else {
                    LOOK_INTERVAL
                };
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = shutdown.changed() => break,
                }
            }
        }
        let position = lock(&progress).position;
        if position != written {
            input.commit(position);
        }
        info!(folder = %input.folder.display(), segment = position.0, offset = position.1, "dead letters read up to here");
    }

    fn batch(
        self: &Arc<Self>,
        letters: Vec<(Position, StoredLetter)>,
        from: Position,
        to: Position,
        progress: &Arc<Mutex<Progress>>,
    ) -> Batch {
        lock(progress).batches.insert(from, (to, false));
        let progress = Arc::clone(progress);
        let ack = Ack::new(Box::new(move || lock(&progress).done(from)));
        let records = letters.into_iter().map(|(place, mut letter)| ReadLetter {
            document: document(&mut letter),
            original: bytes(letter.original.take(), letter.original_base64.take()),
            name: name(&letter, place),
            offset: place.1,
            letter,
        });
        let records = LetterRecords {
            letters: records.collect(),
            input: Arc::clone(self),
        };
        Batch {
            records: Box::new(records),
            ack,
        }
    }

    /// The next letters behind a position, and the position behind them; none at or behind `until`.
    fn read(
        &self,
        from: Position,
        until: Option<Position>,
    ) -> io::Result<(Vec<(Position, StoredLetter)>, Position)> {
        let mut letters = Vec::new();
        let mut reached = from;
        let found = match segments(&self.folder) {
            Ok(found) => found,
            // No letter was ever written.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        for (number, path) in found {
            if number < reached.0 {
                continue;
            }
            let mut offset = if number == reached.0 { reached.1 } else { 0 };
            let mut file = BufReader::new(File::open(path)?);
            file.seek(SeekFrom::Start(offset))?;
            let mut line = Vec::new();
            while letters.len() < BATCH_LETTERS
                && until.is_none_or(|until| (number, offset) < until)
            {
                line.clear();
                file.read_until(b'\n', &mut line)?;
                let length = line.len() as u64;
                let place = (number, offset);
                // A line without its end is still being written.
                if line.pop() != Some(b'\n') {
                    break;
                }
                offset += length;
                reached = (number, offset);
                let letter = parse(&line);
                let early = |start: jiff::Timestamp| {
                    letter
                        .time
                        .parse::<jiff::Timestamp>()
                        .is_ok_and(|time| time < start)
                };
                if !self.start.is_some_and(early) {
                    letters.push((place, letter));
                }
            }
            if letters.len() == BATCH_LETTERS {
                break;
            }
        }
        Ok((letters, reached))
    }

    /// The end of what is there now.
    fn end(&self) -> Position {
        let found = segments(&self.folder).unwrap_or_default();
        let last = found.last().map(|(number, path)| {
            let length = fs::metadata(path).map_or(0, |metadata| metadata.len());
            (*number, length)
        });
        last.unwrap_or_default()
    }

    fn read_position(&self) -> Position {
        let Some(path) = &self.position_file else {
            return Position::default();
        };
        match fs::read_to_string(path) {
            Ok(text) => {
                let mut numbers = text.split_whitespace().map(str::parse);
                match (numbers.next(), numbers.next()) {
                    (Some(Ok(segment)), Some(Ok(offset))) => (segment, offset),
                    _ => {
                        warn!(path = %path.display(), "no position in this file: all dead letters are read");
                        Position::default()
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Position::default(),
            Err(error) => {
                warn!(path = %path.display(), %error, "cannot read the position: all dead letters are read");
                Position::default()
            }
        }
    }

    fn commit(&self, position: Position) {
        let Some(path) = &self.position_file else {
            return;
        };
        let written = (|| {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let new = path.with_extension("new");
            let mut file = File::create(&new)?;
            writeln!(file, "{} {}", position.0, position.1)?;
            file.sync_all()?;
            fs::rename(&new, path)
        })();
        if let Err(error) = written {
            warn!(path = %path.display(), %error, "cannot write the position, these letters will be read again");
            return;
        }
        if !self.clean_consumed {
            return;
        }
        let found = segments(&self.folder).unwrap_or_default();
        let last = found.last().map(|(number, _)| *number);
        for (number, segment) in found {
            if number >= position.0 || Some(number) == last {
                break;
            }
            match fs::remove_file(&segment) {
                Ok(()) => {
                    info!(segment = %segment.display(), "removed dead letters that are delivered");
                }
                Err(error) => {
                    warn!(segment = %segment.display(), %error, "cannot remove dead letters that are delivered");
                }
            }
        }
    }
}

fn lock(progress: &Mutex<Progress>) -> std::sync::MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the identity of a letter is made of.
#[derive(Debug, PartialEq, Eq)]
enum LetterName {
    /// The id under which the document was to be created.
    Id(String),
    /// Which letter it is, but for its offset.
    Place(String),
}

fn name(letter: &StoredLetter, (segment, _): Position) -> LetterName {
    #[derive(Deserialize)]
    struct Action {
        create: Creation,
    }
    #[derive(Deserialize)]
    struct Creation {
        #[serde(rename = "_id")]
        id: Option<String>,
    }
    // The id of another action may stand for a document that is there already, and was to be replaced.
    let action = serde_json::from_str::<Action>(&letter.action).ok();
    match action.and_then(|action| action.create.id) {
        Some(id) => LetterName::Id(id),
        None => LetterName::Place(format!(
            "letter-{:016x}-{segment}-",
            xxh3_64(host_name().as_bytes())
        )),
    }
}

/// How the body of an update starts.
const UPDATE: &[u8] = b"{\"doc\":";

/// The document of a letter as it was before it became an action of a bulk request.
fn document(letter: &mut StoredLetter) -> Vec<u8> {
    let document = bytes(letter.document.take(), letter.document_base64.take());
    let document = document.unwrap_or_default();
    // `{"doc":…,"upsert":…}` is what was sent, and the document is the first part of it.
    if letter.action.starts_with("{\"update\"")
        && let Some(rest) = document.strip_prefix(UPDATE)
    {
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
        if let Some(Ok(_)) = values.next() {
            return rest[..values.byte_offset()].to_vec();
        }
    }
    document
}

/// What stands in a letter as a text or in base64.
fn bytes(text: Option<String>, encoded: Option<String>) -> Option<Vec<u8>> {
    match (text, encoded) {
        (Some(text), _) => Some(text.into_bytes()),
        (None, encoded) => encoded.map(|encoded| STANDARD.decode(encoded).unwrap_or_default()),
    }
}

struct ReadLetter {
    letter: StoredLetter,
    document: Vec<u8>,
    original: Option<Vec<u8>>,
    name: LetterName,
    /// In its segment.
    offset: u64,
}

impl ReadLetter {
    fn identity(&self) -> Identity<'_> {
        match &self.name {
            LetterName::Id(id) => Identity::given(id.as_bytes()),
            // Segments are numbered from 1 again when all were removed: the time tells those apart.
            LetterName::Place(name) => {
                let content = content_hash(self.letter.time.as_bytes(), &self.document);
                Identity::of_line(name.as_bytes(), self.offset, content)
            }
        }
    }
}

/// Removes what says that a codec or a filter failed: the tags that begin with `_`.
fn remove_failure_tags(event: &mut Event<'_>) {
    let is_failure = |tag: &Value<'_>| tag.as_text().is_some_and(|tag| tag.starts_with(b"_"));
    let is_empty = match event.fields.get_mut(&event::TAGS) {
        Some(Value::Array(tags)) => {
            tags.retain(|tag| !is_failure(tag));
            tags.is_empty()
        }
        Some(tag) => is_failure(tag),
        None => false,
    };
    if is_empty {
        event.fields.remove(&event::TAGS);
    }
}

struct LetterRecords {
    letters: Vec<ReadLetter>,
    input: Arc<DeadLetterInput>,
}

impl Records for LetterRecords {
    fn len(&self) -> usize {
        self.letters.len()
    }

    fn decode<'b>(
        &'b self,
        index: usize,
        arena: &'b Bump,
        now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    ) {
        let ReadLetter {
            letter,
            document,
            original,
            ..
        } = &self.letters[index];
        let is_by_us = [Stage::Input, Stage::Filter]
            .iter()
            .any(|stage| stage.name() == letter.stage);
        let mut event = match Event::from_json(document, now, arena) {
            Ok(mut event) => {
                if is_by_us {
                    remove_failure_tags(&mut event);
                }
                event
            }
            Err(_) => {
                let mut event = Event::with_timestamp_in(now, arena);
                event.fields.push_new(event::MESSAGE, Value::Text(document));
                event.tag(b"_jsonparsefailure", arena);
                event
            }
        };
        event.identity = Some(self.letters[index].identity());
        let mut about = Object::with_capacity_in(8, arena);
        for (name, text) in [
            ("entry_time", &letter.time),
            ("plugin_id", &letter.plugin),
            ("reason", &letter.reason),
            ("stage", &letter.stage),
            ("action", &letter.action),
        ] {
            about.push_new(Name::new(name), Value::Text(text.as_bytes()));
        }
        if let Some(original) = original {
            about.push_new(Name::new("original"), Value::Text(original));
        }
        let plugin_type: &[u8] = if is_by_us {
            b"dead_letter_queue"
        } else {
            b"elasticsearch"
        };
        about.push_new(Name::new("plugin_type"), Value::Text(plugin_type));
        about.push_new(
            Name::new("status"),
            Value::Integer(i64::from(letter.status)),
        );
        event
            .metadata
            .set(Name::new("dead_letter_queue"), Value::object(about, arena));
        self.input.decoration.apply(&mut event, arena);
        each(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_moves_over_what_is_done_and_nothing_else() {
        let mut progress = Progress::default();
        let places = [(0, 0), (1, 10), (1, 20), (2, 5)];
        for pair in places.windows(2) {
            progress.batches.insert(pair[0], (pair[1], false));
        }
        progress.done((1, 10));
        assert_eq!(progress.position, (0, 0));
        progress.done((0, 0));
        assert_eq!(progress.position, (1, 20));
        progress.done((1, 20));
        assert_eq!(progress.position, (2, 5));
        assert!(progress.batches.is_empty());
    }

    #[test]
    fn letters_that_come_while_it_reads_to_the_end_are_left_for_the_next_time() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("000000001.jsonl"), "{}\n{}\n{}\n").unwrap();
        fs::write(folder.path().join("000000002.jsonl"), "{}\n").unwrap();
        let input = DeadLetterInput {
            folder: folder.path().into(),
            position_file: None,
            clean_consumed: false,
            start: None,
            follow: false,
            decoration: Decoration::default(),
        };
        for (until, letters, reached) in [
            (Some((1, 6)), 2, (1, 6)),
            (Some((1, 9)), 3, (1, 9)),
            (Some((2, 3)), 4, (2, 3)),
            (None, 4, (2, 3)),
        ] {
            let (read, position) = input.read((0, 0), until).unwrap();
            assert_eq!((read.len(), position), (letters, reached), "{until:?}");
        }
        assert_eq!(input.end(), (2, 3));
    }

    #[test]
    fn a_letter_has_one_identity_and_no_other_has_it() {
        let read = |action: &str, time: &str, document: &str, place: Position| {
            let letter = StoredLetter {
                action: action.into(),
                time: time.into(),
                ..StoredLetter::default()
            };
            let letter = ReadLetter {
                document: document.into(),
                original: None,
                name: name(&letter, place),
                offset: place.1,
                letter,
            };
            let mut id = Vec::new();
            letter.identity().write(&mut id);
            String::from_utf8(id).unwrap()
        };
        let create = r#"{"create":{"_index":"i","_id":"own \"1\""}}"#;
        assert_eq!(read(create, "t", "{}", (1, 0)), "own \"1\"");
        let index = r#"{"index":{"_index":"i","_id":"theirs"}}"#;
        let first = read(index, "t", "{}", (1, 0));
        assert_eq!(first, read("", "t", "{}", (1, 0)));
        for other in [
            read(index, "t", "{}", (1, 3)),
            read(index, "t", "{}", (2, 0)),
            read(index, "u", "{}", (1, 0)),
            read(index, "t", "{\"a\":1}", (1, 0)),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn documents_are_what_the_filters_made() {
        let letter = |action: &str, document: &str| StoredLetter {
            action: action.into(),
            document: Some(document.into()),
            ..StoredLetter::default()
        };
        for (action, sent, expected) in [
            ("{\"index\":{}}", "{\"a\":1}", "{\"a\":1}"),
            (
                "{\"index\":{}}",
                "{\"doc\":{\"a\":1}}",
                "{\"doc\":{\"a\":1}}",
            ),
            (
                "{\"update\":{\"_id\":\"1\"}}",
                "{\"doc\":{\"a\":1e400,\"b\":\"}\"},\"doc_as_upsert\":true}",
                "{\"a\":1e400,\"b\":\"}\"}",
            ),
        ] {
            let bytes = document(&mut letter(action, sent));
            assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        }
        let mut binary = StoredLetter {
            document_base64: Some("//4=".into()),
            ..StoredLetter::default()
        };
        assert_eq!(document(&mut binary), b"\xff\xfe");
    }
}
