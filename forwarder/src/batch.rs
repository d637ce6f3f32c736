//! Lines on their way: a batch owns the bytes of its lines from the read to the acknowledgement.
//!
//! There is a fixed number of batches in the process. They go round: the reader fills one, the
//! link encodes windows from it and keeps it until the receiver has all of it, then it comes
//! back empty. This is what bounds memory and what stops the reading when the link is slow.

use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;

use crate::event::Source;
use crate::tail::identity::Mark;

/// A buffer that had to grow beyond this many times its normal size is given back to the system.
const KEEP_FACTOR: usize = 2;

/// Lines of any number of files, in the order they were read.
#[derive(Debug, Default)]
pub struct Batch {
    text: Vec<u8>,
    lines: Vec<Line>,
    runs: Vec<Run>,
    /// What some lines have beside their text, by line.
    extras: Vec<(usize, Extra)>,
}

/// Name and value. A name of several parts, with [`NESTED`](skidder_lumberjack::native::NESTED) between them, is an object in an object.
pub type Field = (Cow<'static, str>, Vec<u8>);

/// What an event has that is not simply a line of its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// Fields of this event alone.
    pub fields: Vec<Field>,
    /// Hash of what stands in the file before `next`; the text does not tell.
    pub mark: Option<Mark>,
    /// Where its source goes on behind it, if a number does not tell.
    pub cursor: Option<Box<str>>,
}

impl Extra {
    /// The event is in the place of bytes that are lost.
    pub fn lost(bytes: u64, reason: &str) -> Self {
        Self {
            fields: vec![
                ("lost_bytes".into(), bytes.to_string().into_bytes()),
                ("lost_reason".into(), reason.into()),
            ],
            ..Self::default()
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Line {
    /// Where its text ends in the batch; it begins where the one before ends.
    end: usize,
    /// Where it begins in its file.
    start: u64,
    /// Where the next line begins in its file.
    next: u64,
}

/// Consecutive lines of one source, read at one time.
#[derive(Debug)]
struct Run {
    source: Rc<Source>,
    end: usize,
    read_at: i64,
}

/// One line of a batch.
#[derive(Clone, Copy, Debug)]
pub struct LineView<'a> {
    /// Where it comes from.
    pub source: &'a Rc<Source>,
    /// Its text without line end.
    pub text: &'a [u8],
    /// Its position in the file.
    pub start: u64,
    /// The position of what follows it.
    pub next: u64,
    /// When it was read, in milliseconds since 1970.
    pub read_at: i64,
    /// What it has beside its text.
    pub extra: Option<&'a Extra>,
}

impl LineView<'_> {
    /// The mark of the file just before `next`.
    pub fn mark(&self) -> Option<Mark> {
        match self.extra {
            Some(extra) => extra.mark,
            None => Mark::of(self.text, self.start + self.text.len() as u64),
        }
    }

    /// Where its source goes on behind it, if `next` does not tell.
    pub fn cursor(&self) -> Option<&str> {
        self.extra?.cursor.as_deref()
    }
}

impl Batch {
    /// Number of lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Bytes of text.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Appends a line.
    pub fn push(&mut self, source: &Rc<Source>, read_at: i64, text: &[u8], start: u64, next: u64) {
        self.text.extend_from_slice(text);
        self.lines.push(Line {
            end: self.text.len(),
            start,
            next,
        });
        let end = self.lines.len();
        match self.runs.last_mut() {
            Some(run) if run.source.id == source.id && run.read_at == read_at => run.end = end,
            _ => self.runs.push(Run {
                source: Rc::clone(source),
                end,
                read_at,
            }),
        }
    }

    /// Appends an event that is not simply a line.
    pub fn push_extra(
        &mut self,
        source: &Rc<Source>,
        read_at: i64,
        text: &[u8],
        start: u64,
        next: u64,
        extra: Extra,
    ) {
        self.extras.push((self.lines.len(), extra));
        self.push(source, read_at, text, start, next);
    }

    /// Takes the lines out, keeps the buffers unless an extraordinary line made them huge.
    pub fn clear(&mut self, normal_bytes: usize) {
        self.text.clear();
        if self.text.capacity() > normal_bytes.saturating_mul(KEEP_FACTOR) {
            self.text.shrink_to(normal_bytes);
        }
        self.lines.clear();
        self.extras.clear();
        self.runs.clear();
    }

    /// The lines of a range.
    pub fn lines(&self, range: Range<usize>) -> impl Iterator<Item = LineView<'_>> {
        let mut run = self.runs.partition_point(|run| run.end <= range.start);
        range.map(move |index| {
            while self.runs[run].end <= index {
                run += 1;
            }
            self.view(index, &self.runs[run])
        })
    }

    /// Of a range, the last line of each source: where its file is when the range is done.
    pub fn last_lines(&self, range: Range<usize>) -> impl Iterator<Item = LineView<'_>> {
        let first = self.runs.partition_point(|run| run.end <= range.start);
        let mut start = range.start;
        self.runs[first..]
            .iter()
            .take_while(move |run| {
                let wanted = start < range.end;
                start = run.end;
                wanted
            })
            .map(move |run| self.view(run.end.min(range.end) - 1, run))
    }

    fn view<'a>(&'a self, index: usize, run: &'a Run) -> LineView<'a> {
        let line = self.lines[index];
        let begin = index
            .checked_sub(1)
            .map_or(0, |before| self.lines[before].end);
        LineView {
            source: &run.source,
            text: &self.text[begin..line.end],
            start: line.start,
            next: line.next,
            read_at: run.read_at,
            extra: self.extra(index),
        }
    }

    /// PERF: most batches have none at all.
    fn extra(&self, index: usize) -> Option<&Extra> {
        if self.extras.is_empty() {
            return None;
        }
        let found = self.extras.binary_search_by_key(&index, |(line, _)| *line);
        found.ok().map(|at| &self.extras[at].1)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn source(id: u64) -> Rc<Source> {
        Rc::new(Source::new(id, true, Path::new("/a"), "h", &[]))
    }

    #[test]
    fn lines_come_back_as_they_were_put_in() {
        let (one, two) = (source(1), source(2));
        let mut batch = Batch::default();
        batch.push(&one, 5, b"a", 0, 2);
        batch.push(&one, 5, b"bb", 2, 5);
        batch.push(&two, 5, b"", 0, 1);
        batch.push(&one, 6, b"ccc", 5, 9);
        let all: Vec<_> = batch
            .lines(0..4)
            .map(|line| (line.source.id, line.text, line.next))
            .collect();
        assert_eq!(
            all,
            [
                (1, &b"a"[..], 2),
                (1, b"bb", 5),
                (2, b"", 1),
                (1, b"ccc", 9)
            ]
        );
        let some: Vec<_> = batch.lines(1..3).map(|line| line.text).collect();
        assert_eq!(some, [&b"bb"[..], b""]);
        let last: Vec<_> = batch
            .last_lines(0..4)
            .map(|line| (line.source.id, line.next))
            .collect();
        assert_eq!(last, [(1, 5), (2, 1), (1, 9)]);
        let last: Vec<_> = batch
            .last_lines(0..1)
            .map(|line| (line.source.id, line.next))
            .collect();
        assert_eq!(last, [(1, 2)]);
        assert_eq!(batch.last_lines(2..2).count(), 0);
    }

    #[test]
    fn a_huge_buffer_is_not_kept() {
        let mut batch = Batch::default();
        batch.push(&source(1), 0, &vec![b'x'; 1 << 20], 0, 1);
        batch.clear(4096);
        assert!(batch.is_empty() && batch.text.capacity() <= 8192);
    }
}
