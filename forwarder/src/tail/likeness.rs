//! What tells that two files may be one: their names and their content.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::identity::{Identity, read_fully_at};

/// Files of a directory that are looked at in search of another one.
const MAX_SIBLINGS: usize = 10_000;
/// Content is compared whole up to this length, beyond it in [`SAMPLES`] blocks.
const WHOLE_BYTES: u64 = 64 << 10;
const SAMPLES: u64 = 16;
const SAMPLE_BYTES: usize = 4096;

/// Paths that this one may be a copy of, by its name: `app.log` for `app.log.1` and
/// `app.log-20260101.gz`, also for `app-20260101.log`.
pub(super) fn related_names(path: &Path) -> impl Iterator<Item = PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_default().to_owned();
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    let extension = name.rfind('.').map(|dot| name[dot..].to_owned());
    let cuts: Vec<usize> = name
        .char_indices()
        .filter(|(at, character)| *at > 0 && matches!(character, '.' | '-' | '_' | '~' | '@'))
        .map(|(at, _)| at)
        .collect();
    cuts.into_iter().rev().flat_map(move |cut| {
        let base = name[..cut].to_owned();
        let with_extension = extension.as_ref().map(|extension| base.clone() + extension);
        let names = std::iter::once(base).chain(with_extension.filter(|other| *other != name));
        let directory = directory.clone();
        names
            .map(move |name| directory.join(name))
            .collect::<Vec<_>>()
    })
}

pub(super) fn is_related(path: &Path, original: &Path) -> bool {
    let name = original.file_name();
    related_names(path).any(|related| related.file_name() == name)
}

/// Whether both files have the same first bytes, as far as a few looks tell.
pub(super) fn same_beginning(left: &File, right: &File, length: u64) -> io::Result<bool> {
    let same = |offset: u64, length: usize| -> io::Result<bool> {
        let (mut one, mut other) = ([0; SAMPLE_BYTES], [0; SAMPLE_BYTES]);
        let read = read_fully_at(left, &mut one[..length], offset)?;
        let also = read_fully_at(right, &mut other[..length], offset)?;
        Ok(read == length && also == length && one == other)
    };
    if length <= WHOLE_BYTES {
        let mut offset = 0;
        while offset < length {
            let block = (length - offset).min(SAMPLE_BYTES as u64);
            if !same(offset, block as usize)? {
                return Ok(false);
            }
            offset += block;
        }
        return Ok(true);
    }
    let last = length - SAMPLE_BYTES as u64;
    for sample in 0..=SAMPLES {
        if !same(last / SAMPLES * sample, SAMPLE_BYTES)? {
            return Ok(false);
        }
    }
    same(last, SAMPLE_BYTES)
}

/// What is in the directory of this file, itself included; of a very large directory not all.
pub(super) fn siblings(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = path
        .parent()
        .and_then(|parent| std::fs::read_dir(parent).ok());
    let entries = entries.into_iter().flatten().take(MAX_SIBLINGS);
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

/// The path that a file has in the directory of another one.
pub(super) fn sibling(path: &Path, identity: Identity) -> Option<PathBuf> {
    siblings(path).find(|path| {
        let metadata = std::fs::symlink_metadata(path);
        metadata.is_ok_and(|metadata| Identity::of(&metadata) == identity)
    })
}

/// When it was last written to, in seconds since 1970.
pub(super) fn modified(metadata: &Metadata) -> u64 {
    let time = metadata.modified().unwrap_or(UNIX_EPOCH);
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn names_of_rotated_files_tell_what_they_were() {
        for (rotated, original) in [
            ("/d/app.log.1", "/d/app.log"),
            ("/d/app.log.1.gz", "/d/app.log"),
            ("/d/app.log-20260101", "/d/app.log"),
            ("/d/app-2026-01-01.log", "/d/app.log"),
            ("/d/app.1", "/d/app"),
        ] {
            assert!(
                is_related(Path::new(rotated), Path::new(original)),
                "{rotated}"
            );
        }
        for (other, original) in [
            ("/d/app.log", "/d/app.log"),
            ("/d/worker2.log", "/d/worker1.log"),
            ("/d/app.log", "/d/app.log.1"),
            ("/d/.log", "/d/app.log"),
        ] {
            assert!(
                !is_related(Path::new(other), Path::new(original)),
                "{other}"
            );
        }
    }

    #[test]
    fn beginnings_are_compared_over_their_whole_length() {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| (at * 7 / 3) as u8).collect();
        let file = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(bytes).expect("writes");
            file
        };
        let (left, right) = (file(&bytes), file(&bytes[..900_000]));
        for length in [0, 1, 4096, 4097, 65_536, 65_537, 900_000] {
            assert!(
                same_beginning(&left, &right, length).expect("reads"),
                "{length}"
            );
        }
        assert!(!same_beginning(&left, &right, 900_001).expect("reads"));
        right.write_all_at(b"!", 899_999).expect("writes");
        assert!(!same_beginning(&left, &right, 900_000).expect("reads"));
        right
            .write_all_at(&bytes[899_999..900_000], 899_999)
            .expect("writes");
        right.write_all_at(b"!", 10).expect("writes");
        assert!(!same_beginning(&left, &right, 900_000).expect("reads"));
        assert!(!same_beginning(&left, &right, 100).expect("reads"));
    }
}
