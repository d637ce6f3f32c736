//! The lines of a file, one at a time.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;

use crate::chunks::Chunks;

/// The lines of a file; a line of more than 64 MiB comes in pieces.
pub(super) struct Lines {
    chunks: Chunks<File>,
    waiting: VecDeque<Vec<u8>>,
}

impl Lines {
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            chunks: Chunks::new(File::open(path)?, b"\n"),
            waiting: VecDeque::new(),
        })
    }

    /// The next line, without its end.
    pub(super) fn next_line(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        while self.waiting.is_empty() {
            let Some(chunk) = self.chunks.next_chunk()? else {
                return Ok(None);
            };
            let whole = chunk.strip_suffix(b"\n").unwrap_or(&chunk);
            let lines = whole.split(|byte| *byte == b'\n');
            self.waiting
                .extend(lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec()));
        }
        Ok(self.waiting.pop_front())
    }
}
