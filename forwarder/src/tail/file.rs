//! One file that is being followed.
//!
//! A [`Tail`] holds almost nothing while its file is idle: the open file, a position, and the
//! last few bytes before it. A partial last line is not kept in memory but read again when it has
//! grown. Before each reading it is checked that the file is still the one that was read before:
//! not shorter than the position, the same first bytes, the same bytes just before the position.
//!
//! What this does not do: decide which files to follow, or when to give one up ([`super`] does).

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::identity::{Fingerprint, Identity, birth_of, read_fully_at};
use super::lines;
use super::shape::{self, LongLines, Raw, Rules, Shaper, Sink};
use crate::batch::Batch;
use crate::config::Limits;
use crate::event::Source;

/// So many NUL bytes at the beginning of a line are a hole, not text.
pub const LEAST_HOLE: usize = 16;
/// So much of a hole that the file system does not know of is looked through for its end.
pub const MAX_SEARCHED_HOLE: u64 = 64 << 20;
/// Bytes before the position that are kept to notice a rewrite.
const TRAIL_BYTES: usize = 64;

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
    file: Option<File>,
    /// The last bytes before `offset`, as they were when they were read.
    trail: Trail,
    size: u64,
    modified: Option<SystemTime>,
    /// The position is inside a line: what comes next up to its end is not a line of its own.
    mid_line: bool,
    /// Makes events of its lines, if they are not simply lines.
    shaper: Option<Box<Shaper>>,
    long_lines: LongLines,
    /// The rest of a line is left out.
    cut: bool,
    /// Bytes at the end that are not shipped as they are: a return, which may be half of a line
    /// end, or NUL bytes.
    rest: u64,
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

/// How a reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// There may be more.
    More,
    /// The batch is full.
    Full,
    /// The end of the file.
    End,
}

/// What was unusual in what was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pieces cut off long lines.
    pub split: u64,
    /// Long lines that were left out.
    pub skipped: u64,
    /// Bytes of holes.
    pub hole_bytes: u64,
}

/// How much a reading may put into a batch, and how it treats lines.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Lines in the batch at most.
    pub events: usize,
    /// Bytes in the batch at most (but always one line).
    pub bytes: usize,
    /// A longer line is cut.
    pub max_line_bytes: usize,
}

impl Budget {
    /// The budget of the config.
    pub fn new(limits: &Limits) -> Self {
        Self {
            events: limits.spool_size,
            bytes: limits.spool_bytes,
            max_line_bytes: limits.max_line_bytes,
        }
    }

    /// Whether a line of this length still goes in.
    pub fn allows(&self, batch: &Batch, bytes: usize) -> bool {
        batch.is_empty() || (batch.len() < self.events && batch.bytes() + bytes <= self.bytes)
    }
}

/// The buffer that all files are read through: one for the process.
#[derive(Debug)]
pub struct ReadBuffer {
    bytes: Vec<u8>,
    normal: usize,
}

impl ReadBuffer {
    /// A buffer of the normal size; it grows only for long lines, and shrinks again.
    pub fn new(normal: usize) -> Self {
        Self {
            bytes: vec![0; normal],
            normal,
        }
    }

    /// Doubles, up to `most`. False if it is that large already.
    fn grow(&mut self, most: usize) -> bool {
        if self.bytes.len() >= most {
            return false;
        }
        let length = (self.bytes.len() * 2).min(most);
        self.bytes.resize(length, 0);
        true
    }

    fn shrink(&mut self) {
        if self.bytes.len() > self.normal {
            self.bytes.truncate(self.normal);
            self.bytes.shrink_to_fit();
        }
    }
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
            queued: false,
            polled: false,
            own: false,
            copy: false,
            cautious: false,
            doubtful_since: None,
            file: Some(file),
            trail: Trail::default(),
            size: 0,
            modified: None,
            mid_line: false,
            shaper: None,
            long_lines: LongLines::Split,
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

    /// Whether the other file is a beginning of this one, or was before this was truncated.
    pub fn is_copied_in(&self, other: &File, length: u64) -> io::Result<bool> {
        let Some(file) = self.file.as_ref().filter(|_| self.offset > 0) else {
            return Ok(false);
        };
        let own = file.metadata()?.len();
        if own < self.offset || !self.trail.matches(file, self.offset)? {
            // It has been truncated already, which is yet to be noticed.
            return Ok(length >= self.offset && self.has_its_content(other)?);
        }
        // When the original is removed, its copy may have grown already.
        let may_be = length <= own || self.is_deleted();
        Ok(may_be && super::copies::same_beginning(file, other, length.min(own))?)
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
        if same && !self.fingerprint.is_full() {
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

    /// Reads once and puts the whole lines into the batch.
    pub fn read(
        &mut self,
        buffer: &mut ReadBuffer,
        batch: &mut Batch,
        budget: Budget,
        read_at: i64,
        tally: &mut Tally,
    ) -> io::Result<Reading> {
        let Some(file) = &self.file else {
            return Ok(Reading::End);
        };
        let most = lines::lookahead(budget.max_line_bytes) + 2;
        let wide = self.shaper.as_ref().and_then(|shaper| shaper.line_end());
        loop {
            let filled = read_fully_at(file, &mut buffer.bytes, self.offset)?;
            let ended = filled < buffer.bytes.len();
            let bytes = &buffer.bytes[..filled];
            let (mut at, mut full, mut waiting) = (0, false, false);
            loop {
                if wide.is_none() && bytes.get(at) == Some(&0) {
                    let hole = nul_bytes(&bytes[at..]);
                    if at + hole < bytes.len() {
                        let skipped = if hole >= LEAST_HOLE { hole } else { 0 };
                        at += skipped;
                        tally.hole_bytes += skipped as u64;
                    } else {
                        break;
                    }
                }
                let line = match wide {
                    None => lines::next_line(bytes, at, budget.max_line_bytes),
                    Some(end) => lines::next_wide_line(bytes, at, budget.max_line_bytes, end),
                };
                let Some(mut line) = line else { break };
                // Text and then a hole: either the writer goes on there, or it is all of the line.
                if line.split
                    && wide.is_none()
                    && let Some(text) = text_before_hole(&bytes[line.start..line.end])
                {
                    let hole = self.offset + (line.start + text) as u64;
                    if end_of_hole(file, hole, &mut [0; 4096])?.is_none() {
                        waiting = true;
                        break;
                    }
                    line.end = line.start + text;
                    (line.next, line.split) = (line.end, false);
                }
                let held = self
                    .shaper
                    .as_ref()
                    .map_or(0, |shaper| shaper.pending_bytes());
                if !budget.allows(batch, line.end - line.start + held) {
                    full = true;
                    break;
                }
                let text = &bytes[line.start..line.end];
                let (start, next) = (
                    self.offset + line.start as u64,
                    self.offset + line.next as u64,
                );
                let (mut cut, mut truncated) = (false, false);
                if line.split || self.cut {
                    tally.split += u64::from(line.split);
                    // Not of a piece that was shipped as it was: the rest of it is wanted.
                    let whole = !self.mid_line || self.cut;
                    cut = self.cut || (whole && self.long_lines == LongLines::Skip);
                    tally.skipped += u64::from(cut && !self.cut);
                    truncated = !cut && whole && self.long_lines == LongLines::Truncate;
                    self.cut = line.split && (cut || truncated);
                }
                // Of a line whose first part was shipped already, a mere line end is swallowed.
                if !(cut || (self.mid_line && text.is_empty())) {
                    match &mut self.shaper {
                        None if !truncated => {
                            self.shipped_to = next;
                            batch.push(&self.source, read_at, text, start, next);
                        }
                        None => {
                            self.shipped_to = next;
                            let extra = shape::truncated(text, start);
                            batch.push_extra(&self.source, read_at, text, start, next, extra);
                        }
                        Some(shaper) => {
                            let raw = Raw {
                                text,
                                start,
                                next,
                                continued: self.mid_line,
                                truncated,
                            };
                            let before = batch.len();
                            let source = &self.source;
                            shaper.line(
                                raw,
                                &mut Sink {
                                    batch,
                                    source,
                                    read_at,
                                },
                            );
                            if batch.len() > before {
                                self.shipped_to = shaper.safe();
                            }
                        }
                    }
                }
                self.mid_line = line.split;
                at = line.next;
            }
            self.trail.append(&bytes[..at]);
            self.offset += at as u64;
            self.size = self.size.max(self.offset);
            if full {
                return Ok(Reading::Full);
            }
            if waiting {
                buffer.shrink();
                return Ok(Reading::End);
            }
            let rest = &bytes[at..];
            if wide.is_none() && rest.first() == Some(&0) && !ended {
                let Some(end) = end_of_hole(file, self.offset, &mut buffer.bytes)? else {
                    return Ok(Reading::End);
                };
                tally.hole_bytes += end - self.offset;
                self.trail.append(&[0; TRAIL_BYTES]);
                self.offset = end;
                return Ok(Reading::More);
            }
            if at == 0 && !ended && buffer.grow(most) {
                continue;
            }
            buffer.shrink();
            return Ok(if ended { Reading::End } else { Reading::More });
        }
    }

    /// Makes an event of what is held back, as no more of it will come.
    pub fn flush_pending(&mut self, batch: &mut Batch, read_at: i64) {
        if let Some(shaper) = &mut self.shaper {
            let source = &self.source;
            shaper.flush(
                self.offset,
                &mut Sink {
                    batch,
                    source,
                    read_at,
                },
            );
            self.shipped_to = self.offset;
        }
    }

    /// Puts the partial last line into the batch; false if there was no room for it.
    pub fn flush_partial(
        &mut self,
        buffer: &mut ReadBuffer,
        batch: &mut Batch,
        budget: Budget,
        read_at: i64,
    ) -> io::Result<bool> {
        let Some(file) = &self.file else {
            return Ok(true);
        };
        let most = lines::lookahead(budget.max_line_bytes) + 2;
        let filled = loop {
            let filled = read_fully_at(file, &mut buffer.bytes, self.offset)?;
            if filled < buffer.bytes.len() || !buffer.grow(most) {
                break filled;
            }
        };
        let bytes = &buffer.bytes[..filled];
        let wide = self.shaper.as_ref().and_then(|shaper| shaper.line_end());
        let bytes = if wide.is_none() {
            without_nul_bytes(bytes)
        } else {
            bytes
        };
        if bytes.is_empty() {
            self.rest = self.size - self.offset;
            self.flush_pending(batch, read_at);
            buffer.shrink();
            return Ok(true);
        }
        let line = match wide {
            None => lines::next_line(bytes, 0, budget.max_line_bytes),
            Some(end) => lines::next_wide_line(bytes, 0, budget.max_line_bytes, end),
        };
        if line.is_some() {
            // It has grown to a line meanwhile: that is for an ordinary reading.
            return Ok(true);
        }
        // A return may be half of a line end: it stays for what comes. So do NUL bytes: they may be
        // room that was allocated ahead, and text will be written over them.
        let text = match wide {
            None => lines::strip_return(bytes),
            Some(end) => lines::strip_wide_return(bytes, end),
        };
        self.rest = self.size.saturating_sub(self.offset + text.len() as u64);
        if let Some(shaper) = &mut self.shaper {
            if !budget.allows(batch, text.len() + shaper.pending_bytes()) {
                return Ok(false);
            }
            let (start, next) = (self.offset, self.offset + text.len() as u64);
            let mut sink = Sink {
                batch,
                source: &self.source,
                read_at,
            };
            if !text.is_empty() && !self.cut {
                let raw = Raw {
                    text,
                    start,
                    next,
                    continued: self.mid_line,
                    truncated: false,
                };
                shaper.line(raw, &mut sink);
            }
            shaper.flush(next, &mut sink);
            self.trail.append(text);
            (self.offset, self.shipped_to) = (next, next);
            self.mid_line |= !text.is_empty();
            buffer.shrink();
            return Ok(true);
        }
        if self.cut {
            self.trail.append(text);
            self.offset += text.len() as u64;
            buffer.shrink();
            return Ok(true);
        }
        if text.is_empty() {
            return Ok(true);
        }
        if !budget.allows(batch, text.len()) {
            return Ok(false);
        }
        let next = self.offset + text.len() as u64;
        batch.push(&self.source, read_at, text, self.offset, next);
        self.trail.append(text);
        self.offset = next;
        self.shipped_to = next;
        self.mid_line = true;
        buffer.shrink();
        Ok(true)
    }
}

/// NUL bytes at the beginning.
fn nul_bytes(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|byte| *byte != 0);
    end.unwrap_or(bytes.len())
}

/// How much text there is before a hole, if there is one behind some text.
fn text_before_hole(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = memchr::memchr(0, &bytes[from..]) {
        let at = from + found;
        let length = nul_bytes(&bytes[at..]);
        if length >= LEAST_HOLE {
            return Some(at);
        }
        from = at + length;
    }
    None
}

/// The bytes without a hole at their end.
fn without_nul_bytes(bytes: &[u8]) -> &[u8] {
    let text = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    if bytes.len() - text >= LEAST_HOLE {
        &bytes[..text]
    } else {
        bytes
    }
}

/// Where something else than NUL bytes follows; `None` if nothing does: then they may be room that
/// was allocated ahead.
fn end_of_hole(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<Option<u64>> {
    let data = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) {
        Ok(data) => data,
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        // Not every file system tells.
        Err(_) => offset,
    };
    let mut at = data.max(offset);
    while at - data.max(offset) < MAX_SEARCHED_HOLE {
        let filled = read_fully_at(file, buffer, at)?;
        let hole = nul_bytes(&buffer[..filled]);
        at += hole as u64;
        if hole < filled {
            return Ok(Some(at));
        }
        if filled < buffer.len() {
            break;
        }
    }
    Ok(None)
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

#[derive(Clone, Copy, Debug)]
struct Trail {
    bytes: [u8; TRAIL_BYTES],
    length: u8,
}

impl Default for Trail {
    fn default() -> Self {
        Self {
            bytes: [0; TRAIL_BYTES],
            length: 0,
        }
    }
}

impl Trail {
    fn append(&mut self, more: &[u8]) {
        let more = &more[more.len().saturating_sub(TRAIL_BYTES)..];
        let kept = usize::from(self.length).min(TRAIL_BYTES - more.len());
        let from = usize::from(self.length) - kept;
        self.bytes.copy_within(from..from + kept, 0);
        self.bytes[kept..kept + more.len()].copy_from_slice(more);
        self.length = (kept + more.len()) as u8;
    }

    fn matches(&self, file: &File, end: u64) -> io::Result<bool> {
        let expected = &self.bytes[..usize::from(self.length)];
        let mut found = [0; TRAIL_BYTES];
        let found = &mut found[..expected.len()];
        let start = end - expected.len() as u64;
        Ok(read_fully_at(file, found, start)? == expected.len() && found == expected)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::*;

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

    #[test]
    fn the_trail_is_the_last_bytes() {
        let mut trail = Trail::default();
        let mut all = Vec::new();
        for length in [0, 1, 10, 63, 64, 65, 200, 3] {
            let more: Vec<u8> = (0..length).map(|byte| byte as u8 ^ 0x55).collect();
            all.extend_from_slice(&more);
            trail.append(&more);
            let expected = &all[all.len().saturating_sub(TRAIL_BYTES)..];
            assert_eq!(&trail.bytes[..usize::from(trail.length)], expected);
        }
    }
}
