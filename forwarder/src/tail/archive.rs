//! Compressed twins: a file that was rotated and compressed while nobody looked, with lines left.
//!
//! It is recognised by what it unpacks to (the first bytes, then those before the position), unpacked
//! up to the position, and read on from there to its end. gzip with any number of members and zstd
//! with any number of frames. Positions are in what it unpacks to, so a restart in the middle goes on.
//!
//! One at a time, when no other file has something to read: memory is one decoder (for zstd its
//! window, [`MAX_ZSTD_WINDOW`] at most). A file that is compressed while it is followed is
//! not read here: its original is held open until all of it is read.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use tracing::{info, warn};
use xxhash_rust::xxh3::xxh3_64;

use super::Tails;
use super::complete::Times;
use super::identity::{FINGERPRINT_BYTES, Fingerprint, Identity, MARK_BYTES, Mark, birth_of};
use super::likeness::related_names;
use super::links::{open_of, open_to_compare};
use super::open::source_of;
use super::reading::Budget;
use super::shape::Rules;
use super::stdin::Stdin;
use crate::batch::Batch;
use crate::event::Source;
use crate::report::add;

/// The largest window of a zstd file that is read: what level 19 makes.
pub const MAX_ZSTD_WINDOW: u64 = 8 << 20;
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes before the position that are kept while skipping: a mark and a line end.
const KEPT_BYTES: usize = MARK_BYTES + 2;

/// One that is read, but perhaps not acknowledged.
#[derive(Debug)]
pub(super) struct ReadArchive {
    path: PathBuf,
    source: u64,
    /// Where it ends.
    end: u64,
    began: u64,
    /// Whose it is, if it was found as a complete file.
    group: Option<usize>,
}

/// A compressed file that is read to its end.
pub(super) struct Archive {
    path: PathBuf,
    /// Whose it is, if it was found as a complete file.
    group: Option<usize>,
    source: Rc<Source>,
    unpacked: Box<dyn Read>,
    /// Bytes unpacked so far.
    at: u64,
    /// Where reading begins, and what stands before it.
    from: u64,
    mark: Option<Mark>,
    before: Vec<u8>,
    head: Vec<u8>,
    chunk: Vec<u8>,
    rules: Rc<Rules>,
    lines: Stdin,
    ended: bool,
    wants_more: bool,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.path.display();
        write!(formatter, "Archive({path} at {})", self.at)
    }
}

/// What a compressed file unpacks to; `None` if it is of no kind that is known here.
pub(super) fn unpack(file: File, format: &str) -> Option<Box<dyn Read>> {
    let reader = BufReader::new(file);
    match format {
        "gzip" => Some(Box::new(MultiGzDecoder::new(reader))),
        "zstd" => {
            // All frames of the file, one after the other.
            let mut frames = zstd::stream::read::Decoder::with_buffer(reader).ok()?;
            frames.window_log_max(MAX_ZSTD_WINDOW.ilog2()).ok()?;
            Some(Box::new(frames))
        }
        _ => None,
    }
}

fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl Archive {
    pub(super) fn new(
        path: &Path,
        source: Rc<Source>,
        unpacked: Box<dyn Read>,
        rules: &Rc<Rules>,
        from: u64,
        mark: Option<Mark>,
        group: Option<usize>,
    ) -> Self {
        Self {
            path: path.to_owned(),
            group,
            source: Rc::clone(&source),
            unpacked,
            at: 0,
            from,
            mark,
            before: Vec::new(),
            head: Vec::new(),
            chunk: Vec::new(),
            rules: Rc::clone(rules),
            lines: Stdin::new(source, rules, b""),
            ended: false,
            wants_more: true,
        }
    }

    /// Unpacks a little more; false if it is another file after all.
    fn advance(&mut self) -> io::Result<bool> {
        self.chunk.resize(CHUNK_BYTES, 0);
        let count = fill(&mut *self.unpacked, &mut self.chunk)?;
        self.ended = count < self.chunk.len();
        let mut bytes = &self.chunk[..count];
        if self.at == 0 {
            self.head = bytes[..count.min(2)].to_vec();
            if self.from == 0 {
                self.lines = Stdin::new(Rc::clone(&self.source), &self.rules, &self.head);
            }
        }
        if self.at < self.from {
            let skipped = (self.from - self.at).min(bytes.len() as u64) as usize;
            self.before.extend_from_slice(&bytes[..skipped]);
            let surplus = self.before.len().saturating_sub(KEPT_BYTES);
            self.before.drain(..surplus);
            self.at += skipped as u64;
            bytes = &bytes[skipped..];
            if self.at == self.from {
                if !self.is_marked() {
                    return Ok(false);
                }
                let mid_line = self.before.last().is_some_and(|byte| *byte != b'\n');
                self.lines = Stdin::resume(
                    Rc::clone(&self.source),
                    self.from,
                    mid_line,
                    &self.rules,
                    &self.head,
                );
            } else if self.ended {
                return Ok(false);
            }
        }
        self.at += bytes.len() as u64;
        self.lines.feed(bytes);
        Ok(true)
    }

    fn is_marked(&self) -> bool {
        let Some(mark) = self.mark else { return true };
        let first = self.at - self.before.len() as u64;
        let begin = mark.end.checked_sub(u64::from(mark.length));
        let range = begin.and_then(|begin| {
            let begin = usize::try_from(begin.checked_sub(first)?).ok()?;
            Some(begin..begin + mark.length as usize)
        });
        range
            .and_then(|range| self.before.get(range))
            .is_some_and(|bytes| xxh3_64(bytes) == mark.hash)
    }
}

impl Tails {
    /// If this compressed file is what became of a file that is not all acknowledged, it is read on.
    pub(super) fn consider_archive(&mut self, path: &Path) -> io::Result<bool> {
        let file = open_to_compare(path)?;
        let metadata = file.metadata()?;
        let identity = Identity::of(&metadata);
        let Some(format) = super::open::compression_of(&file)? else {
            return Ok(false);
        };
        let Some(number) = self.number_of(path, identity, &file, format)? else {
            return Ok(false);
        };
        let Some(entry) = self.ledger.borrow().unclaimed_entry(number).cloned() else {
            return Ok(false);
        };
        let (true, Some(group)) = (entry.packed != Some(true), self.group_of(&entry.path)) else {
            return Ok(true);
        };
        let Some(unpacked) = unpack(open_of(&self.config, group, path)?, format) else {
            return Ok(false);
        };
        let id = self.new_id();
        let stream = entry.stream.clone();
        let source = source_of(&self.config, id, &entry.path, group, stream);
        let lines = Rc::clone(&self.config.groups[group].lines);
        info!(path = %path.display(), of = %entry.path.display(), offset = entry.offset,
            "the file was compressed before all of it was shipped, reading it on");
        let own_stream = source.stream.clone();
        let archive = Archive::new(
            path,
            source,
            unpacked,
            &lines,
            entry.offset,
            entry.mark,
            None,
        );
        self.archives.push_back(archive);
        let mut kept = entry;
        (kept.identity, kept.born, kept.packed) = (identity, birth_of(&metadata), Some(false));
        kept.stream = own_stream;
        self.ledger.borrow_mut().claim(id, number, kept);
        Ok(true)
    }

    fn number_of(
        &self,
        path: &Path,
        identity: Identity,
        file: &File,
        format: &str,
    ) -> io::Result<Option<u64>> {
        let ledger = self.ledger.borrow();
        let mut known = ledger.find_unclaimed(identity);
        if let Some((number, _)) = known.find(|(_, entry)| entry.packed.is_some()) {
            return Ok(Some(number));
        }
        let Some(mut unpacked) = unpack(file.try_clone()?, format) else {
            return Ok(None);
        };
        let mut head = [0; FINGERPRINT_BYTES];
        let length = fill(&mut *unpacked, &mut head)?;
        let full = Fingerprint::of(&head[..length]);
        let strong = full
            .is_full()
            .then(|| ledger.find_unclaimed_content(full.hash));
        let by_name = related_names(path).flat_map(|name| ledger.find_unclaimed_path(&name));
        let found = strong.into_iter().flatten().chain(by_name).find(|number| {
            ledger.unclaimed_entry(*number).is_some_and(|entry| {
                let covered = entry.fingerprint.length as usize;
                let same = covered > 0
                    && covered <= length
                    && Fingerprint::of(&head[..covered]) == entry.fingerprint;
                same && entry.packed.is_none()
            })
        });
        Ok(found)
    }

    /// Reads a little of a compressed file. False if the batch is full.
    pub(super) fn read_archive(&mut self, batch: &mut Batch, budget: Budget) -> bool {
        let Some(archive) = self.archives.front_mut() else {
            return true;
        };
        if archive.wants_more {
            match archive.advance() {
                Ok(true) => archive.wants_more = false,
                Ok(false) => {
                    warn!(path = %archive.path.display(), "what was compressed is not what was read, it is left out");
                    self.drop_archive();
                    return true;
                }
                Err(error) => {
                    warn!(path = %archive.path.display(), %error, at = archive.at,
                        "the compressed file is damaged, what is behind the damage is not shipped");
                    self.drop_archive();
                    return true;
                }
            }
        }
        let before = (batch.len(), batch.bytes());
        let read_at = jiff::Timestamp::now().as_millisecond();
        let mut split = 0;
        let taken = archive.at >= archive.from
            && !archive
                .lines
                .fill(batch, budget, read_at, archive.ended, &mut split);
        add(&self.counters.events_read, (batch.len() - before.0) as u64);
        add(&self.counters.bytes_read, (batch.bytes() - before.1) as u64);
        add(&self.counters.lines_split, split);
        if taken {
            return false;
        }
        archive.wants_more = true;
        if archive.ended {
            let end = archive.lines.offset().max(archive.from);
            if let Some(archive) = self.archives.pop_front() {
                self.archives_read.push(ReadArchive {
                    path: archive.path,
                    source: archive.source.id,
                    end,
                    began: archive.from,
                    group: archive.group,
                });
            }
        }
        true
    }

    fn drop_archive(&mut self) {
        if let Some(archive) = self.archives.pop_front() {
            self.ledger.borrow_mut().release(archive.source.id);
        }
    }

    /// Of those that were read to their end: is all of them acknowledged?
    pub(super) fn finish_archives(&mut self) {
        for archive in std::mem::take(&mut self.archives_read) {
            let acknowledged = self
                .ledger
                .borrow()
                .entry(archive.source)
                .map(|entry| entry.offset);
            let Some(acknowledged) = acknowledged else {
                continue;
            };
            if acknowledged < archive.end {
                self.archives_read.push(archive);
                continue;
            }
            let times = if archive.began > 0 && archive.began == archive.end {
                Times::Again
            } else {
                Times::First
            };
            let mut ledger = self.ledger.borrow_mut();
            ledger.change(archive.source, |entry| entry.packed = Some(true));
            drop(ledger);
            let gone = archive
                .group
                .is_some_and(|group| self.is_gone(group, &archive.path, times));
            let mut ledger = self.ledger.borrow_mut();
            if gone {
                ledger.remove(archive.source);
            } else {
                ledger.release(archive.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn unpacked(bytes: &[u8], format: &str) -> io::Result<Vec<u8>> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bytes).expect("writes");
        let mut text = Vec::new();
        let file = File::open(file.path()).expect("opens");
        unpack(file, format)
            .expect("a known format")
            .read_to_end(&mut text)?;
        Ok(text)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).expect("packs");
        encoder.finish().expect("packs")
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(text, 1).expect("packs")
    }

    #[test]
    fn complaint_08_every_member_and_every_frame_is_unpacked() {
        let (one, two) = (b"first\n".repeat(50_000), b"second\n".repeat(3));
        let all = [&one[..], &two].concat();
        let packed = [gzip(&one), gzip(b""), gzip(&two)].concat();
        assert_eq!(unpacked(&packed, "gzip").expect("unpacks"), all);
        let packed = [zstd(&one), zstd(&two)].concat();
        assert_eq!(unpacked(&packed, "zstd").expect("unpacks"), all);
        assert!(unpacked(&gzip(&one)[..100], "gzip").is_err());
        assert!(unpacked(&zstd(&one)[..20], "zstd").is_err());
    }

    #[test]
    fn a_zstd_window_beyond_the_limit_is_refused() {
        // A frame header without a content size, with a window of 2^30 bytes.
        let header = [
            0x28,
            0xb5,
            0x2f,
            0xfd,
            0x00,
            (30 - 10) << 3,
            0x01,
            0x00,
            0x00,
        ];
        let error = unpacked(&header, "zstd").expect_err("is refused");
        assert!(error.to_string().contains("too much memory"), "{error}");
    }
}
