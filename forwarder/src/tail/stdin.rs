//! Standard input as a source of lines: `-` in `paths`.
//!
//! A pipe cannot be read again, so what is read is held until it is a line. Its position is not
//! kept. A thread does the blocking reads; it hands over a few chunks at most and then waits.

use std::io::{self, Read};
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::file::Budget;
use super::lines;
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
}

impl Stdin {
    /// Nothing read yet.
    pub fn new(source: Rc<Source>) -> Self {
        Self {
            source,
            held: Vec::new(),
            taken: 0,
            offset: 0,
            mid_line: false,
        }
    }

    /// Goes on in the middle of a stream, perhaps in the middle of a line.
    pub fn resume(source: Rc<Source>, offset: u64, mid_line: bool) -> Self {
        Self {
            offset,
            mid_line,
            ..Self::new(source)
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
        while let Some(line) = lines::next_line(&self.held, self.taken, budget.max_line_bytes) {
            if !budget.allows(batch, line.end - line.start) {
                return false;
            }
            let length = (line.next - line.start) as u64;
            let text = &self.held[line.start..line.end];
            if !(self.mid_line && text.is_empty()) {
                batch.push(
                    &self.source,
                    read_at,
                    text,
                    self.offset,
                    self.offset + length,
                );
            }
            self.mid_line = line.split;
            *split += u64::from(line.split);
            self.offset += length;
            self.taken = line.next;
        }
        let rest = lines::strip_return(&self.held[self.taken..]);
        if ended && !rest.is_empty() {
            if !budget.allows(batch, rest.len()) {
                return false;
            }
            let next = self.offset + rest.len() as u64;
            batch.push(&self.source, read_at, rest, self.offset, next);
            self.taken = self.held.len();
            self.offset = next;
        }
        true
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
        let mut stdin = Stdin::new(source);
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
