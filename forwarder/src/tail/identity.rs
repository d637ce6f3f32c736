//! Which file is this? A name is not an answer: files are renamed, truncated, copied, deleted, and
//! a new file may get the inode of an old one.
//!
//! Identity here is device + inode + time of birth (where the file system keeps it), together with
//! two pieces of content: a [`Fingerprint`] of the first bytes, which grows with a small file, and
//! a [`Mark`] of the bytes just before a position. If any of them disagrees it is another file, and
//! another file is read from its beginning: when in doubt lines are shipped twice, never skipped.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes at the start of a file that the fingerprint covers at most.
pub const FINGERPRINT_BYTES: usize = 1024;
/// Bytes before a position that a mark covers at most.
pub const MARK_BYTES: usize = 256;

/// What the file system says a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The device it is on.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
}

impl Identity {
    /// The identity in a file's metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// When the file was born, in nanoseconds since 1970, if the file system knows.
pub fn birth_of(metadata: &Metadata) -> Option<u64> {
    let born = metadata.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(born.as_nanos()).ok()
}

/// Hash of the first `length` bytes of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Bytes covered: fewer than [`FINGERPRINT_BYTES`] only while the file is that short.
    pub length: u32,
    /// Their hash; 0 if there are none.
    pub hash: u64,
}

impl Fingerprint {
    /// Takes the fingerprint of the first bytes of an open file.
    pub fn take(file: &File) -> io::Result<Self> {
        let mut head = [0; FINGERPRINT_BYTES];
        let length = read_fully_at(file, &mut head, 0)?;
        Ok(Self::of(&head[..length]))
    }

    /// The fingerprint of a file that begins with these bytes.
    pub fn of(head: &[u8]) -> Self {
        let head = &head[..head.len().min(FINGERPRINT_BYTES)];
        let hash = if head.is_empty() { 0 } else { xxh3_64(head) };
        Self {
            length: head.len() as u32,
            hash,
        }
    }

    /// If the file still begins with the bytes of this fingerprint: the fingerprint of all of its
    /// first bytes, which may be longer. `None` if it is another file now.
    pub fn grown(self, file: &File) -> io::Result<Option<Self>> {
        let mut head = [0; FINGERPRINT_BYTES];
        let length = read_fully_at(file, &mut head, 0)?;
        let covered = self.length as usize;
        if covered > length || Self::of(&head[..covered]) != self {
            return Ok(None);
        }
        Ok(Some(Self::of(&head[..length])))
    }

    /// Whether the file is long enough that the fingerprint will not change any more.
    pub fn is_full(self) -> bool {
        self.length as usize >= FINGERPRINT_BYTES
    }
}

/// Hash of the bytes just before a position that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Where the bytes end.
    pub end: u64,
    /// How many there are.
    pub length: u32,
    /// Their hash.
    pub hash: u64,
}

impl Mark {
    /// The mark of a text that ends at `end`; `None` if there is no text.
    pub fn of(text: &[u8], end: u64) -> Option<Self> {
        let last = &text[text.len().saturating_sub(MARK_BYTES)..];
        (!last.is_empty()).then(|| Self {
            end,
            length: last.len() as u32,
            hash: xxh3_64(last),
        })
    }

    /// Whether the file still has these bytes there.
    pub fn matches(self, file: &File) -> io::Result<bool> {
        let mut bytes = [0; MARK_BYTES];
        let length = self.length as usize;
        let Some(start) = self.end.checked_sub(u64::from(self.length)) else {
            return Ok(false);
        };
        let Some(bytes) = bytes.get_mut(..length) else {
            return Ok(false);
        };
        Ok(read_fully_at(file, bytes, start)? == length && xxh3_64(bytes) == self.hash)
    }
}

/// Reads until the buffer is full or the file ends.
pub fn read_fully_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_fingerprint_grows_with_the_file_and_notices_a_rewrite() {
        let mut file = tempfile::tempfile().expect("a file");
        let empty = Fingerprint::take(&file).expect("read");
        assert_eq!(empty, Fingerprint::default());
        file.write_all(b"first line\n").expect("write");
        let short = empty.grown(&file).expect("read").expect("the same file");
        assert_eq!(short.length, 11);
        file.write_all(&vec![b'x'; 5000]).expect("write");
        let full = short.grown(&file).expect("read").expect("the same file");
        assert!(full.is_full() && !short.is_full());
        file.write_all_at(b"F", 0).expect("write");
        assert_eq!(short.grown(&file).expect("read"), None);
        assert_eq!(full.grown(&file).expect("read"), None);
        file.set_len(5).expect("truncate");
        assert_eq!(short.grown(&file).expect("read"), None);
    }

    #[test]
    fn a_mark_notices_a_rewrite_before_the_position() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"one\ntwo\nthree\n").expect("write");
        let mark = Mark::of(b"two", 7).expect("some text");
        assert!(mark.matches(&file).expect("read"));
        file.write_all_at(b"2", 4).expect("write");
        assert!(!mark.matches(&file).expect("read"));
        file.set_len(3).expect("truncate");
        assert!(!mark.matches(&file).expect("read"));
        assert_eq!(Mark::of(b"", 7), None);
        let damaged = Mark {
            end: 2,
            length: 900,
            hash: 0,
        };
        assert!(!damaged.matches(&file).expect("read"));
    }
}
