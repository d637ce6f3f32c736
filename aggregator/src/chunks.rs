//! Cuts a stream into chunks that end at a delimiter, so that each can be decoded by itself, by
//! whichever worker is free.

use std::io::{self, Read};

use memchr::memmem;

/// Bytes that are read at once.
pub const CHUNK_BYTES: usize = 64 << 10;

/// Longest record; a longer one is cut there, so that it cannot cost more memory. No byte is
/// left out.
pub const MAX_RECORD_BYTES: usize = 64 << 20;

/// Finds the chunks in what is read of a stream, whoever reads it.
pub struct Cut {
    /// What a chunk ends with; empty if every read is a chunk.
    delimiter: Vec<u8>,
    /// A record of this many bytes is cut there.
    max_record_bytes: usize,
    /// What was read, and room for more.
    pending: Vec<u8>,
    /// How much of `pending` was read.
    read: usize,
    /// How much of it is known to hold no delimiter.
    searched: usize,
}

impl Cut {
    /// Chunks that end with `delimiter`; without a delimiter each read is one.
    pub fn new(delimiter: &[u8], max_record_bytes: usize) -> Self {
        Self {
            delimiter: delimiter.to_vec(),
            max_record_bytes,
            pending: Vec::new(),
            read: 0,
            searched: 0,
        }
    }

    /// Room for the next read. What a read that was called off has left in it does not count.
    pub fn room(&mut self, bytes: usize) -> &mut [u8] {
        self.pending.resize(self.read + bytes, 0);
        &mut self.pending[self.read..]
    }

    /// So many bytes were read into the room: gives the records that are whole now, with their
    /// delimiters.
    pub fn filled(&mut self, bytes: usize) -> Option<Vec<u8>> {
        self.read += bytes;
        self.pending.truncate(self.read);
        let end = self.end()?;
        let rest = self.pending.split_off(end);
        self.read = rest.len();
        // What is behind the last delimiter has been looked through.
        self.searched = rest.len().saturating_sub(self.delimiter.len());
        Some(std::mem::replace(&mut self.pending, rest))
    }

    /// The stream is at its end: gives what is left.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        self.pending.truncate(self.read);
        (self.read, self.searched) = (0, 0);
        let rest = std::mem::take(&mut self.pending);
        (!rest.is_empty()).then_some(rest)
    }

    /// Bytes of a record that is not whole.
    pub fn pending(&self) -> usize {
        self.read
    }

    /// Where the chunk at hand ends, if it does.
    fn end(&mut self) -> Option<usize> {
        let read = self.pending.len();
        if self.delimiter.is_empty() {
            return (read > 0).then_some(read);
        }
        if let Some(at) = memmem::rfind(&self.pending[self.searched..], &self.delimiter) {
            return Some(self.searched + at + self.delimiter.len());
        }
        if read >= self.max_record_bytes {
            return Some(whole_characters(&self.pending));
        }
        self.searched = read.saturating_sub(self.delimiter.len() - 1);
        None
    }
}

/// How many bytes there are without a character of UTF-8 that is cut off at the end. All of them if there is
/// nothing else, or the end is no UTF-8.
pub fn whole_characters(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    let start = tail.iter().rposition(|byte| *byte & 0xC0 != 0x80);
    let Some(start) = start else {
        return bytes.len();
    };
    let width = match tail[start] {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => 1,
    };
    let there = tail.len() - start;
    let whole = bytes.len() - there;
    if there < width && whole > 0 {
        whole
    } else {
        bytes.len()
    }
}

/// Reads chunks from a stream.
pub struct Chunks<R> {
    input: R,
    cut: Cut,
}

impl<R: Read> Chunks<R> {
    /// Chunks of `input` that end with `delimiter`; without a delimiter each read is one.
    pub fn new(input: R, delimiter: &[u8]) -> Self {
        Self {
            input,
            cut: Cut::new(delimiter, MAX_RECORD_BYTES),
        }
    }

    /// The next chunk: some records with their delimiters, or what is left at the end.
    pub fn next_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let read = match self.input.read(self.cut.room(CHUNK_BYTES)) {
                Ok(0) => return Ok(self.cut.rest()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if let Some(chunk) = self.cut.filled(read) {
                return Ok(Some(chunk));
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
    fn a_record_over_the_limit_is_cut_between_characters() {
        for (text, whole) in [("aé", 3), ("a€", 4), ("a😀", 5)] {
            let bytes = text.as_bytes();
            assert_eq!(whole_characters(bytes), whole);
            for cut in 2..bytes.len() {
                assert_eq!(whole_characters(&bytes[..cut]), 1, "{text} {cut}");
            }
        }
        assert_eq!(whole_characters(b"abc"), 3);
        assert_eq!(whole_characters(b"\xc3"), 1);
        assert_eq!(whole_characters(b"a\xff"), 2);
        assert_eq!(whole_characters(b"a\x80\x80\x80"), 4);
        let mut cut = Cut::new(b"\n", 5);
        let mut pieces = Vec::new();
        for byte in "ééééé".bytes() {
            cut.room(1)[0] = byte;
            pieces.extend(cut.filled(1));
        }
        pieces.extend(cut.rest());
        assert_eq!(pieces, ["éé", "éé", "é"].map(str::as_bytes));
    }

    #[test]
    fn without_a_delimiter_each_read_is_a_chunk() {
        let mut chunks = Chunks::new(Slow(b"abcdef", 4), b"");
        assert_eq!(chunks.next_chunk().unwrap().unwrap(), b"abcd");
        assert_eq!(chunks.next_chunk().unwrap().unwrap(), b"ef");
        assert!(chunks.next_chunk().unwrap().is_none());
    }
}
