//! One file that is being followed.
//!
//! A [`Tail`] holds almost nothing while its file is idle: the open file, a position, and the
//! last few bytes before it. Before each reading ([`super::reading`]) it is checked that the file is still the one that was read before:
//! not shorter than the position, the same first bytes, the same bytes just before the position.
//!
//! What this does not do: decide which files to follow, or when to give one up ([`super`] does).

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::age::Arrivals;
use super::identity::{Fingerprint, Identity, birth_of, read_fully_at};
use super::shape::{LongLines, Rules, Shaper};
use super::trail::{TRAIL_BYTES, Trail};
use crate::event::Source;

/// On a network file system a file has to look rewritten for this time.
pub const DOUBT: Duration = Duration::from_secs(2);

/// A file that is followed.
#[derive(Debug)]
pub struct Tail {
    /// Where its lines say they come from.
    pub source: Rc<Source>,
    /// The element of `files` that found it.
    pub group: usize,
    /// Where it is now, as far as is known.
    pub path: PathBuf,
    /// The path its events carry.
    pub first_path: PathBuf,
    /// Device and inode.
    pub identity: Identity,
    /// Time of birth, if known.
    pub born: Option<u64>,
    /// Hash of its first bytes.
    pub fingerprint: Fingerprint,
    /// Where the next line begins.
    pub offset: u64,
    /// Where the last line that was handed on ends: when that is acknowledged, all is.
    pub shipped_to: u64,
    /// When it was last seen to have grown.
    pub last_growth: Instant,
    /// Since when no pattern finds it any more.
    pub missing_since: Option<Instant>,
    /// Since when nothing links to it, as far as was looked.
    pub deleted_since: Option<Instant>,
    /// Whether it is in the queue of files to read.
    pub queued: bool,
    /// Whether it was found through a symbolic link.
    pub polled: bool,
    /// Whether it is certain that it is not a copy in the making.
    pub own: bool,
    /// Whether its stream began in another file, of which this is a copy.
    pub copy: bool,
    /// Whether a rewrite has to be seen twice before it is believed.
    pub cautious: bool,
    /// Since when it looks rewritten, as long as that is not believed.
    pub doubtful_since: Option<Instant>,
    /// Whether the config does not name it any more: no more is read of it.
    pub unwanted: bool,
    /// Whether its lines are to become events in another way, as soon as none is held back.
    pub reshape: bool,
    /// The last round that has seen it.
    pub round: u64,
    /// When its turn to be open began.
    pub turn_began: Instant,
    /// Whether something of it was read since.
    pub had_turn: bool,
    /// Its place among those that became idle.
    pub idle: u64,
    /// When its bytes came.
    pub arrivals: Arrivals,
    pub(super) file: Option<File>,
    /// The last bytes before `offset`, as they were when they were read.
    pub(super) trail: Trail,
    pub(super) size: u64,
    pub(super) modified: Option<SystemTime>,
    /// The position is inside a line: what comes next up to its end is not a line of its own.
    pub(super) mid_line: bool,
    /// Makes events of its lines, if they are not simply lines.
    pub(super) shaper: Option<Box<Shaper>>,
    pub(super) long_lines: LongLines,
    /// What ends a line, if it is not a newline.
    pub(super) delimiter: Option<Rc<[u8]>>,
    /// The rest of a line is left out.
    pub(super) cut: bool,
    /// Bytes at the end that are not shipped as they are: a return, which may be half of a line
    /// end, or NUL bytes.
    pub(super) rest: u64,
}

/// What a look at the file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing new.
    Unchanged,
    /// There is more to read.
    Grew,
    /// It is shorter, or its content was replaced.
    Rewritten,
    /// It looks like that, but on a network file system that may pass.
    Doubtful,
}

/// Where a new tail begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// The position.
    pub offset: u64,
    /// The fingerprint it was recognised by, or that of the new file.
    pub fingerprint: Fingerprint,
}

impl Tail {
    /// Begins to follow an open file.
    pub fn new(
        source: Rc<Source>,
        group: usize,
        path: &Path,
        first_path: &Path,
        file: File,
        metadata: &Metadata,
        beginning: Beginning,
    ) -> io::Result<Self> {
        let mut tail = Self {
            source,
            group,
            path: path.to_owned(),
            first_path: first_path.to_owned(),
            identity: Identity::of(metadata),
            born: birth_of(metadata),
            fingerprint: beginning.fingerprint,
            offset: 0,
            shipped_to: 0,
            last_growth: Instant::now(),
            missing_since: None,
            deleted_since: None,
            queued: false,
            polled: false,
            own: false,
            copy: false,
            cautious: false,
            doubtful_since: None,
            unwanted: false,
            reshape: false,
            round: 0,
            turn_began: Instant::now(),
            had_turn: false,
            idle: 0,
            arrivals: Arrivals::default(),
            file: Some(file),
            trail: Trail::default(),
            size: 0,
            modified: None,
            mid_line: false,
            shaper: None,
            long_lines: LongLines::Split,
            delimiter: None,
            cut: false,
            rest: 0,
        };
        tail.move_to(beginning.offset)?;
        Ok(tail)
    }

    /// Sets how its lines become events.
    pub fn shape(&mut self, rules: &Rc<Rules>) -> io::Result<()> {
        let mut head = [0; 2];
        let read = match &self.file {
            Some(file) => read_fully_at(file, &mut head, 0)?,
            None => 0,
        };
        self.shaper = Shaper::new(rules, &head[..read]);
        self.long_lines = rules.long_lines;
        self.delimiter.clone_from(&rules.delimiter);
        if let Some(delimiter) = &self.delimiter {
            let before = self.trail.bytes();
            self.mid_line = !before.is_empty() && !before.ends_with(delimiter);
        }
        Ok(())
    }

    /// Whether lines are held back that may belong to an event with those to come.
    pub fn is_pending(&self) -> bool {
        self.shaper
            .as_ref()
            .is_some_and(|shaper| shaper.is_pending())
    }

    /// How long its last line, or event, is waited for.
    pub fn patience(&self, partial_line_timeout: Duration) -> Duration {
        match &self.shaper {
            Some(shaper) if self.offset >= self.size => shaper.patience(partial_line_timeout),
            _ => partial_line_timeout,
        }
    }

    /// Sets the position, and reads what stands before it.
    fn move_to(&mut self, offset: u64) -> io::Result<()> {
        self.offset = offset;
        self.shipped_to = offset;
        self.size = offset;
        self.trail = Trail::default();
        self.mid_line = false;
        let Some(file) = &self.file else {
            return Ok(());
        };
        let mut before = [0; TRAIL_BYTES];
        let length = offset.min(TRAIL_BYTES as u64) as usize;
        let read = read_fully_at(file, &mut before[..length], offset - length as u64)?;
        self.trail.append(&before[..read]);
        self.mid_line = before[..read].last().is_some_and(|byte| *byte != b'\n');
        Ok(())
    }

    /// Whether the file is open.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// The file, if it is open.
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Lets the file go; everything that is known of it stays.
    pub fn close(&mut self) {
        self.file = None;
    }

    /// Takes an open file back, which must be this one.
    pub fn reopen(&mut self, file: File) {
        self.file = Some(file);
        self.modified = None;
    }

    /// Whether everything that is known to be there has been read, a partial line included.
    pub fn is_drained(&self) -> bool {
        self.offset >= self.size && !self.is_pending()
    }

    /// Whether nothing is left that would ever be shipped as it is.
    pub fn is_settled(&self) -> bool {
        self.behind() <= self.rest && !self.is_pending()
    }

    /// The name of the compression its first bytes show, if they do.
    pub fn compression(&self) -> io::Result<Option<&'static str>> {
        self.file
            .as_ref()
            .map_or(Ok(None), super::open::compression_of)
    }

    /// Takes everything that is there for read.
    pub fn skip_all(&mut self) {
        self.offset = self.size;
        self.shipped_to = 0;
        self.trail = Trail::default();
    }

    /// Bytes known to be there and not read.
    pub fn behind(&self) -> u64 {
        self.size.saturating_sub(self.offset)
    }

    /// Whether the file has the bytes that were read of this one, as far as is remembered.
    pub fn has_its_content(&self, file: &File) -> io::Result<bool> {
        let fingerprint = self.fingerprint.grown(file)?;
        Ok(fingerprint.is_some() && self.trail.matches(file, self.offset)?)
    }

    /// Whether what was read of the file still stands in it; else it was truncated or rewritten, which is
    /// yet to be noticed by reading on.
    pub fn is_whole(&self) -> io::Result<bool> {
        let Some(file) = &self.file else {
            return Ok(true);
        };
        Ok(file.metadata()?.len() >= self.offset && self.trail.matches(file, self.offset)?)
    }

    /// Whether the other file is a beginning of this one, or was before this was truncated.
    pub fn is_copied_in(&self, other: &File, length: u64) -> io::Result<bool> {
        let Some(file) = self.file.as_ref().filter(|_| self.offset > 0) else {
            return Ok(false);
        };
        let own = file.metadata()?.len();
        // When the original is removed, its copy may have grown already.
        let may_be = self.is_whole()? && (length <= own || self.is_deleted());
        if may_be && super::likeness::same_beginning(file, other, length.min(own))? {
            return Ok(true);
        }
        if self.is_whole()? {
            return Ok(false);
        }
        // It is truncated by now, which is yet to be noticed. The copy was whole before that: its
        // length is asked for again, it may have been less a moment ago.
        Ok(other.metadata()?.len() >= self.offset && self.has_its_content(other)?)
    }

    /// Lets go of the file without closing it.
    pub fn take_file(&mut self) -> Option<File> {
        self.file.take()
    }

    /// Goes on with another file that has the same content.
    pub fn replace_file(&mut self, file: Option<File>, metadata: &Metadata, path: &Path) {
        self.file = file;
        self.copy = true;
        self.identity = Identity::of(metadata);
        self.born = birth_of(metadata);
        path.clone_into(&mut self.path);
        self.modified = None;
        self.doubtful_since = None;
    }

    /// Nothing of the file is left: it ends here.
    pub fn end_at(&mut self, offset: u64) {
        self.offset = offset;
        self.shipped_to = self.shipped_to.min(offset);
        self.size = offset;
        self.trail = Trail::default();
        (self.mid_line, self.cut) = (false, false);
    }

    /// Whether nothing links to the file any more.
    pub fn is_deleted(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let metadata = self.file.as_ref().and_then(|file| file.metadata().ok());
        metadata.is_some_and(|metadata| metadata.nlink() == 0)
    }

    /// Whether these are the metadata of the last look.
    pub fn is_as_known(&self, metadata: &Metadata) -> bool {
        self.modified.is_some()
            && metadata.modified().ok() == self.modified
            && metadata.len() == self.size
    }

    /// Looks whether the file has grown, shrunk or been rewritten.
    pub fn look(&mut self, now: Instant) -> io::Result<Look> {
        let Some(file) = &self.file else {
            return Ok(Look::Unchanged);
        };
        let metadata = file.metadata()?;
        if self.is_as_known(&metadata) {
            return Ok(Look::Unchanged);
        }
        let mut fingerprint = Some(self.fingerprint);
        let mut same = metadata.len() >= self.offset && self.trail.matches(file, self.offset)?;
        // Before the first line is read there are no bytes before the position that could tell.
        if same && (self.offset == 0 || !self.fingerprint.is_full()) {
            fingerprint = self.fingerprint.grown(file)?;
            same = fingerprint.is_some();
        }
        if !same {
            let since = *self.doubtful_since.get_or_insert(now);
            let doubted = self.cautious && now.saturating_duration_since(since) < DOUBT;
            return Ok(if doubted {
                Look::Doubtful
            } else {
                Look::Rewritten
            });
        }
        self.doubtful_since = None;
        self.fingerprint = fingerprint.unwrap_or(self.fingerprint);
        let grew = metadata.len() != self.size;
        // Room that was allocated ahead is written over.
        let written = self.offset < self.size && metadata.modified().ok() != self.modified;
        if metadata.len() > self.size
            && let Ok(modified) = metadata.modified()
        {
            self.arrivals.grew(self.size, modified);
        }
        self.modified = metadata.modified().ok();
        self.size = metadata.len();
        if grew || written {
            self.last_growth = now;
            self.rest = 0;
        }
        Ok(if self.size > self.offset && grew {
            Look::Grew
        } else {
            Look::Unchanged
        })
    }

    /// Starts over with a file whose content was replaced; its lines get a new source.
    pub fn restart(&mut self, source: Rc<Source>, now: Instant) -> io::Result<()> {
        self.source = source;
        self.arrivals.clear();
        self.offset = 0;
        self.shipped_to = 0;
        self.size = 0;
        self.modified = None;
        self.doubtful_since = None;
        self.trail = Trail::default();
        (self.mid_line, self.cut) = (false, false);
        self.last_growth = now;
        self.fingerprint = match &self.file {
            Some(file) => Fingerprint::take(file)?,
            None => Fingerprint::default(),
        };
        Ok(())
    }
}

/// Where to begin in a file whose old lines are not wanted: at its last line, if that is not
/// finished, else at its end.
pub fn last_line_start(file: &File, size: u64, max_line_bytes: usize) -> io::Result<u64> {
    let mut block = [0; 4096];
    let mut end = size;
    while end > 0 && size - end <= max_line_bytes as u64 {
        let length = end.min(block.len() as u64) as usize;
        let start = end - length as u64;
        let read = read_fully_at(file, &mut block[..length], start)?;
        if let Some(newline) = memchr::memrchr(b'\n', &block[..read]) {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(if end == 0 { 0 } else { size })
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::super::reading::{Budget, ReadBuffer, Reading, Tally};
    use super::*;
    use crate::batch::Batch;

    struct Fixture {
        directory: tempfile::TempDir,
        writer: File,
        tail: Tail,
        buffer: ReadBuffer,
        tally: Tally,
    }

    const BUDGET: Budget = Budget {
        events: 100,
        bytes: 1000,
        max_line_bytes: 50,
    };

    impl Fixture {
        fn new(content: &[u8], offset: u64) -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("a.log");
            let mut writer = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .expect("a file");
            writer.write_all(content).expect("writes");
            let file = File::open(&path).expect("opens");
            let metadata = file.metadata().expect("metadata");
            let fingerprint = Fingerprint::take(&file).expect("reads");
            let source = Rc::new(Source::new(1, true, &path, "h", &[]));
            let beginning = Beginning {
                offset,
                fingerprint,
            };
            let tail =
                Tail::new(source, 0, &path, &path, file, &metadata, beginning).expect("tail");
            Self {
                directory,
                writer,
                tail,
                buffer: ReadBuffer::new(16),
                tally: Tally::default(),
            }
        }

        fn write(&mut self, text: &[u8]) {
            self.writer.write_all(text).expect("writes");
        }

        fn look(&mut self) -> Look {
            self.tail.look(Instant::now()).expect("looks")
        }

        fn read(&mut self) -> Vec<(String, u64, u64)> {
            let mut batch = Batch::default();
            while self
                .tail
                .read(&mut self.buffer, &mut batch, BUDGET, 0, &mut self.tally)
                .expect("reads")
                == Reading::More
            {}
            lines_of(&batch)
        }

        fn flush(&mut self) -> Vec<(String, u64, u64)> {
            let mut batch = Batch::default();
            assert!(
                self.tail
                    .flush_partial(&mut self.buffer, &mut batch, BUDGET, 0)
                    .expect("reads")
            );
            lines_of(&batch)
        }
    }

    fn lines_of(batch: &Batch) -> Vec<(String, u64, u64)> {
        batch
            .lines(0..batch.len())
            .map(|line| {
                (
                    String::from_utf8_lossy(line.text).into_owned(),
                    line.start,
                    line.next,
                )
            })
            .collect()
    }

    fn line(text: &str, start: u64, next: u64) -> (String, u64, u64) {
        (text.to_owned(), start, next)
    }

    #[test]
    fn whole_lines_with_their_offsets_and_the_rest_later() {
        let mut fixture = Fixture::new(b"one\r\ntwo\nthr", 0);
        assert_eq!(fixture.look(), Look::Grew);
        assert_eq!(fixture.read(), [line("one", 0, 5), line("two", 5, 9)]);
        assert_eq!(fixture.look(), Look::Unchanged);
        fixture.write(b"ee\n");
        assert_eq!(fixture.look(), Look::Grew);
        assert_eq!(fixture.read(), [line("three", 9, 15)]);
        assert!(fixture.tail.is_drained());
    }

    #[test]
    fn long_lines_are_split_and_counted() {
        let mut fixture = Fixture::new(&[b"x".repeat(120), b"\nnext\n".to_vec()].concat(), 0);
        fixture.look();
        let lines = fixture.read();
        let lengths: Vec<_> = lines.iter().map(|(text, ..)| text.len()).collect();
        assert_eq!(
            (lengths.as_slice(), fixture.tally.split),
            (&[50, 50, 20, 4][..], 2)
        );
        assert_eq!(lines[3], line("next", 121, 126));
        assert_eq!(fixture.buffer.bytes.len(), 16);
    }

    #[test]
    fn a_partial_line_that_is_flushed_and_then_grows() {
        let mut fixture = Fixture::new(b"part\r", 0);
        fixture.look();
        assert_eq!(fixture.read(), []);
        assert_eq!(fixture.flush(), [line("part", 0, 4)]);
        assert_eq!(fixture.flush(), []);
        fixture.write(b"\nnext\nlast");
        assert_eq!(fixture.look(), Look::Grew);
        assert_eq!(fixture.read(), [line("next", 6, 11)]);
        assert_eq!(fixture.flush(), [line("last", 11, 15)]);
        fixture.write(b" words\n\n");
        fixture.look();
        assert_eq!(fixture.read(), [line(" words", 15, 22), line("", 22, 23)]);
    }

    #[test]
    fn resuming_on_the_line_end_left_by_logstash_forwarder_makes_no_event() {
        let mut fixture = Fixture::new(b"one\r\ntwo\r\n", 4);
        fixture.look();
        assert_eq!(fixture.read(), [line("two", 5, 10)]);
    }

    #[test]
    fn a_hole_is_left_out_and_room_allocated_ahead_is_waited_for() {
        let hole = vec![0; 1000];
        let mut fixture = Fixture::new(&[&b"one\n"[..], &hole, b"two\n"].concat(), 0);
        fixture.look();
        assert_eq!(fixture.read(), [line("one", 0, 4), line("two", 1004, 1008)]);
        assert_eq!(fixture.tally.hole_bytes, 1000);
        // A few NUL bytes are text.
        fixture.write(b"\0\0three\n");
        fixture.look();
        assert_eq!(fixture.read(), [line("\0\0three", 1008, 1016)]);
        // At the end it may be written over.
        fixture.writer.set_len(2_000_000).expect("allocates");
        fixture.look();
        assert_eq!((fixture.read(), fixture.flush()), (vec![], vec![]));
        assert!(fixture.tail.is_settled() && !fixture.tail.is_drained());
        let path = fixture.directory.path().join("a.log");
        let over = OpenOptions::new().write(true).open(path).expect("opens");
        std::os::unix::fs::FileExt::write_all_at(&over, b"four\nfi", 1016).expect("writes");
        fixture.look();
        assert_eq!(fixture.read(), [line("four", 1016, 1021)]);
        assert_eq!(fixture.flush(), [line("fi", 1021, 1023)]);
        // A large one, as a writer leaves that does not append.
        fixture.write(b"\nlast\n");
        fixture.look();
        let lines = fixture.read();
        assert_eq!(lines, [line("last", 2_000_001, 2_000_006)]);
    }

    #[test]
    fn long_lines_are_truncated_or_left_out() {
        let text = [
            &b"x".repeat(120)[..],
            b"\nnext\n",
            &b"y".repeat(60),
            b"\nlast\n",
        ]
        .concat();
        for (policy, expected, skipped) in [
            (LongLines::Truncate, vec![50, 4, 50, 4], 0),
            (LongLines::Skip, vec![4, 4], 2),
        ] {
            let mut fixture = Fixture::new(&text, 0);
            fixture.tail.long_lines = policy;
            fixture.look();
            let lines = fixture.read();
            let lengths: Vec<_> = lines.iter().map(|(text, ..)| text.len()).collect();
            assert_eq!((lengths, fixture.tally.skipped), (expected, skipped));
            assert_eq!(fixture.tail.offset, text.len() as u64);
        }
    }

    #[test]
    fn truncation_to_smaller_and_to_larger_is_noticed() {
        let mut fixture = Fixture::new(b"one\ntwo\n", 0);
        fixture.look();
        assert_eq!(fixture.read().len(), 2);
        fixture.writer.set_len(0).expect("truncates");
        fixture.write(b"new\n");
        assert_eq!(fixture.look(), Look::Rewritten);
        let source = Rc::new(Source::new(2, true, Path::new("/a"), "h", &[]));
        fixture
            .tail
            .restart(source, Instant::now())
            .expect("restarts");
        assert_eq!(fixture.look(), Look::Grew);
        assert_eq!(fixture.read(), [line("new", 0, 4)]);
        fixture.writer.set_len(0).expect("truncates");
        fixture.write(b"something much longer than before\n");
        assert_eq!(fixture.look(), Look::Rewritten);
    }

    #[test]
    fn a_rewrite_before_the_first_line_is_read_is_noticed() {
        let old = b"old old old\n".repeat(100);
        let mut fixture = Fixture::new(&old, 0);
        fixture.writer.set_len(0).expect("truncates");
        fixture.write(&b"new new new new\n".repeat(100));
        assert_eq!(fixture.look(), Look::Rewritten);
    }

    #[test]
    fn a_rewrite_with_the_same_first_bytes_is_noticed_by_the_bytes_before_the_position() {
        let head = b"header ".repeat(200);
        let mut fixture = Fixture::new(&[&head[..], b"\nold old old\n"].concat(), 1400);
        assert_eq!(fixture.look(), Look::Grew);
        assert_eq!(fixture.read(), [line("old old old", 1401, 1413)]);
        fixture.writer.set_len(1401).expect("truncates");
        fixture.write(b"new new new new\n");
        assert_eq!(fixture.look(), Look::Rewritten);
    }

    #[test]
    fn a_full_batch_stops_the_reading_before_the_line_that_does_not_fit() {
        let mut fixture = Fixture::new(&b"0123456789\n".repeat(150), 0);
        fixture.look();
        let mut batch = Batch::default();
        let mut buffer = ReadBuffer::new(4096);
        let reading = fixture
            .tail
            .read(&mut buffer, &mut batch, BUDGET, 0, &mut Tally::default())
            .expect("reads");
        assert_eq!(
            (reading, batch.len(), fixture.tail.offset),
            (Reading::Full, 100, 1100)
        );
    }

    #[test]
    fn the_start_of_the_last_line() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"one\ntwo\n").expect("writes");
        assert_eq!(last_line_start(&file, 8, 100).expect("reads"), 8);
        file.write_all(b"part").expect("writes");
        assert_eq!(last_line_start(&file, 12, 100).expect("reads"), 8);
        file.write_all(&vec![b'x'; 10_000]).expect("writes");
        assert_eq!(last_line_start(&file, 10_012, 100).expect("reads"), 10_012);
        assert_eq!(last_line_start(&file, 10_012, 1 << 20).expect("reads"), 8);
        assert_eq!(last_line_start(&file, 0, 100).expect("reads"), 0);
    }
}
