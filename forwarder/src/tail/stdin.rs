//! Standard input as a source of lines: `-` in `paths`.
//!
//! A pipe cannot be read again, so what is read is held until it is a line. Its position is not
//! kept. A thread does the blocking reads; it hands over a few chunks at most and then waits.

use std::io::{self, Read};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::lines;
use super::reading::Budget;
use super::shape::{self, LongLines, Raw, Rules, Shaper, Sink};
use crate::batch::Batch;
use crate::event::Source;

const CHUNK_BYTES: usize = 64 << 10;
const MAX_CHUNKS: usize = 2;

/// Starts the reading thread. The channel closes at the end of the input.
pub fn start(mut input: impl Read + Send + 'static) -> io::Result<mpsc::Receiver<Bytes>> {
    let (sender, receiver) = mpsc::channel(MAX_CHUNKS);
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            let mut buffer = vec![0; CHUNK_BYTES];
            loop {
                match input.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(count) => {
                        if sender
                            .blocking_send(Bytes::copy_from_slice(&buffer[..count]))
                            .is_err()
                        {
                            return;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        tracing::error!(%error, "cannot read standard input, treating it as ended");
                        return;
                    }
                }
            }
        })?;
    Ok(receiver)
}

/// Makes lines of the chunks.
#[derive(Debug)]
pub struct Stdin {
    source: Rc<Source>,
    held: Vec<u8>,
    taken: usize,
    offset: u64,
    mid_line: bool,
    shaper: Option<Box<Shaper>>,
    long_lines: LongLines,
    cut: bool,
}

impl Stdin {
    /// Nothing read yet.
    pub fn new(source: Rc<Source>, rules: &Rc<Rules>, head: &[u8]) -> Self {
        Self {
            shaper: Shaper::new(rules, head),
            long_lines: rules.long_lines,
            cut: false,
            source,
            held: Vec::new(),
            taken: 0,
            offset: 0,
            mid_line: false,
        }
    }

    /// Goes on in the middle of a stream, perhaps in the middle of a line.
    pub fn resume(
        source: Rc<Source>,
        offset: u64,
        mid_line: bool,
        rules: &Rc<Rules>,
        head: &[u8],
    ) -> Self {
        Self {
            offset,
            mid_line,
            ..Self::new(source, rules, head)
        }
    }

    /// Where the next line begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes the next chunk. To be called only when [`Stdin::fill`] said that it needs more.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.held.drain(..self.taken);
        self.taken = 0;
        self.held.extend_from_slice(chunk);
    }

    /// Moves whole lines into the batch; at the end of the input what is left is a line too.
    /// True if it needs more input (or is done), false if the batch is full.
    pub fn fill(
        &mut self,
        batch: &mut Batch,
        budget: Budget,
        read_at: i64,
        ended: bool,
        split: &mut u64,
    ) -> bool {
        let wide = self.shaper.as_ref().and_then(|shaper| shaper.line_end());
        loop {
            let line = match wide {
                None => lines::next_line(&self.held, self.taken, budget.max_line_bytes),
                Some(end) => {
                    lines::next_wide_line(&self.held, self.taken, budget.max_line_bytes, end)
                }
            };
            let Some(line) = line else { break };
            if !self.allows(batch, budget, line.end - line.start) {
                return false;
            }
            let next = self.offset + (line.next - line.start) as u64;
            let range = line.start..line.end;
            let cut = self.cut || (line.split && self.long_lines == LongLines::Skip);
            let truncated = line.split && !cut && self.long_lines == LongLines::Truncate;
            if !(cut || (self.mid_line && range.is_empty())) {
                self.push(batch, read_at, range, next, truncated);
            }
            self.cut = line.split && (cut || truncated);
            self.mid_line = line.split;
            *split += u64::from(line.split);
            self.offset = next;
            self.taken = line.next;
        }
        if !ended {
            return true;
        }
        let rest = &self.held[self.taken..];
        let length = match wide {
            None => lines::strip_return(rest).len(),
            Some(end) => lines::strip_wide_return(rest, end).len(),
        };
        if !self.allows(batch, budget, length) {
            return false;
        }
        if length > 0 {
            let next = self.offset + length as u64;
            if !self.cut {
                self.push(batch, read_at, self.taken..self.taken + length, next, false);
            }
            self.taken = self.held.len();
            self.offset = next;
        }
        self.flush(batch, read_at);
        true
    }

    /// Whether lines are held back that may belong to an event with those to come, and how long they
    /// are waited for.
    pub fn patience(&self, otherwise: Duration) -> Option<Duration> {
        let shaper = self.shaper.as_ref().filter(|shaper| shaper.is_pending())?;
        Some(shaper.patience(otherwise))
    }

    /// Makes events of what is held back.
    pub fn flush(&mut self, batch: &mut Batch, read_at: i64) {
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
        }
    }

    fn allows(&self, batch: &Batch, budget: Budget, bytes: usize) -> bool {
        let held = self
            .shaper
            .as_ref()
            .map_or(0, |shaper| shaper.pending_bytes());
        budget.allows(batch, bytes + held)
    }

    fn push(
        &mut self,
        batch: &mut Batch,
        read_at: i64,
        range: Range<usize>,
        next: u64,
        truncated: bool,
    ) {
        let (text, start) = (&self.held[range], self.offset);
        match &mut self.shaper {
            None if !truncated => batch.push(&self.source, read_at, text, start, next),
            None => {
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
                let source = &self.source;
                shaper.line(
                    raw,
                    &mut Sink {
                        batch,
                        source,
                        read_at,
                    },
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn lines_of_a_pipe_come_out_whole_and_the_last_one_at_its_end() {
        let input = io::Cursor::new(b"one\r\ntwo\nlast".to_vec());
        let mut chunks = start(input).expect("starts");
        let source = Rc::new(Source::new(1, false, Path::new("-"), "h", &[]));
        let rules = Rc::new(shape::tests::rules());
        let mut stdin = Stdin::new(source, &rules, b"");
        let budget = Budget {
            events: 2,
            bytes: 100,
            max_line_bytes: 50,
        };
        let mut lines = Vec::new();
        let mut ended = false;
        while !ended {
            match chunks.recv().await {
                Some(chunk) => stdin.feed(&chunk),
                None => ended = true,
            }
            loop {
                let mut batch = Batch::default();
                let done = stdin.fill(&mut batch, budget, 0, ended, &mut 0);
                for line in batch.lines(0..batch.len()) {
                    let text = String::from_utf8_lossy(line.text).into_owned();
                    lines.push((text, line.start, line.next));
                }
                if done {
                    break;
                }
            }
        }
        let expected = [("one", 0, 5), ("two", 5, 9), ("last", 9, 13)]
            .map(|(text, start, next)| (text.to_owned(), start, next));
        assert_eq!(lines, expected);
    }
}
