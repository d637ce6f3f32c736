//! Cuts a stream into chunks that end at a delimiter, so that each can be decoded by itself, by
//! whichever worker is free.

use std::io::{self, Read};

use memchr::memmem;

/// Bytes that are read at once.
pub const CHUNK_BYTES: usize = 64 << 10;

/// Longest record; a longer one is cut there, so that it cannot cost more memory. No byte is
/// left out.
pub const MAX_RECORD_BYTES: usize = 64 << 20;

/// Reads chunks from a stream.
pub struct Chunks<R> {
    input: R,
    /// What a chunk ends with; empty if every read is a chunk.
    delimiter: Vec<u8>,
    pending: Vec<u8>,
    /// How much of `pending` is known to hold no delimiter.
    searched: usize,
}

impl<R: Read> Chunks<R> {
    /// Chunks of `input` that end with `delimiter`; without a delimiter each read is one.
    pub fn new(input: R, delimiter: &[u8]) -> Self {
        Self {
            input,
            delimiter: delimiter.to_vec(),
            pending: Vec::new(),
            searched: 0,
        }
    }

    /// The next chunk: some records with their delimiters, or what is left at the end.
    pub fn next_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let start = self.pending.len();
            self.pending.resize(start + CHUNK_BYTES, 0);
            let read = match self.input.read(&mut self.pending[start..]) {
                Ok(read) => read,
                Err(error) => {
                    self.pending.truncate(start);
                    if error.kind() == io::ErrorKind::Interrupted {
                        continue;
                    }
                    return Err(error);
                }
            };
            self.pending.truncate(start + read);
            if read == 0 {
                let rest = std::mem::take(&mut self.pending);
                self.searched = 0;
                return Ok((!rest.is_empty()).then_some(rest));
            }
            if let Some(end) = self.end() {
                let rest = self.pending.split_off(end);
                // What is behind the last delimiter has been looked through.
                self.searched = rest.len().saturating_sub(self.delimiter.len());
                return Ok(Some(std::mem::replace(&mut self.pending, rest)));
            }
        }
    }

    /// Where the chunk at hand ends, if it does.
    fn end(&mut self) -> Option<usize> {
        if self.delimiter.is_empty() || self.pending.len() >= MAX_RECORD_BYTES {
            return Some(self.pending.len());
        }
        let new = &self.pending[self.searched..];
        match memmem::rfind(new, &self.delimiter) {
            Some(at) => Some(self.searched + at + self.delimiter.len()),
            None => {
                self.searched = self.pending.len().saturating_sub(self.delimiter.len() - 1);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives at most `step` bytes a read.
    struct Slow<'t>(&'t [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let step = self.1.min(self.0.len()).min(buffer.len());
            buffer[..step].copy_from_slice(&self.0[..step]);
            self.0 = &self.0[step..];
            Ok(step)
        }
    }

    #[test]
    fn every_chunk_ends_with_the_delimiter_and_nothing_is_lost() {
        let text = b"one||two|three||||four||five";
        for step in 1..=text.len() {
            let mut chunks = Chunks::new(Slow(text, step), b"||");
            let mut all = Vec::new();
            let mut seen = Vec::new();
            while let Some(chunk) = chunks.next_chunk().unwrap() {
                all.extend_from_slice(&chunk);
                seen.push(chunk);
            }
            assert_eq!(all, text, "step {step}");
            let (last, others) = seen.split_last().unwrap();
            assert!(
                others.iter().all(|chunk| chunk.ends_with(b"||")),
                "step {step}: {seen:?}"
            );
            assert_eq!(last.as_slice(), b"five");
        }
    }

    #[test]
    fn a_record_over_the_limit_is_cut_and_nothing_is_lost() {
        let length = MAX_RECORD_BYTES + 100;
        let mut chunks = Chunks::new(io::repeat(b'x').take(length as u64), b"\n");
        let first = chunks.next_chunk().unwrap().unwrap();
        assert!(first.len() >= MAX_RECORD_BYTES);
        assert!(first.len() <= MAX_RECORD_BYTES + CHUNK_BYTES);
        let rest = chunks.next_chunk().unwrap().map_or(0, |chunk| chunk.len());
        assert_eq!(first.len() + rest, length);
    }

    #[test]
    fn without_a_delimiter_each_read_is_a_chunk() {
        let mut chunks = Chunks::new(Slow(b"abcdef", 4), b"");
        assert_eq!(chunks.next_chunk().unwrap().unwrap(), b"abcd");
        assert_eq!(chunks.next_chunk().unwrap().unwrap(), b"ef");
        assert!(chunks.next_chunk().unwrap().is_none());
    }
}
