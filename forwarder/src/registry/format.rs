//! The registry's bytes: a log of records, one a line.
//!
//! ```text
//! skidder-registry 2
//! <16 hex digits> {"made":{"created":…,"machine":…}}
//! <16 hex digits> {"file":{"number":1,"entry":{…}}}      what is known of a file, all of it
//! <16 hex digits> {"whole":{"files":1}}                  up to here it was written at once
//! <16 hex digits> {"at":{"number":1,"offset":…,…}}       a position has moved
//! <16 hex digits> {"gone":{"number":1}}                  a file is forgotten
//! ```
//!
//! The digits are XXH3-64 of the JSON. Text, so that it can be read at 3 a.m.; a checksum per
//! record, so that damage costs the damaged records only. Up to `whole` the file is written beside
//! the old one, synced and renamed; after it records are appended. So an end that is not whole is what
//! a crash leaves (a torn tail, dropped); anything else that is not whole is damage, and said.
//! Whatever the bytes are, reading them never fails.
//!
//! Version 1, which had no positions of their own and a last line `end <count>`, is read as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::Entry;
use crate::tail::identity::Mark;

const TITLE: &str = "skidder-registry";
const VERSION: u32 = 2;

/// One line of the log.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record<E> {
    /// Where and when the registry was made.
    Made {
        /// Seconds since 1970.
        created: u64,
        /// See [`super::machine`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        machine: Option<String>,
    },
    /// All that is known of a file.
    File {
        /// Its number in this log.
        number: u64,
        /// What is known.
        entry: E,
    },
    /// What was written at once ends here.
    Whole {
        /// How many files it has.
        files: usize,
    },
    /// A file's position.
    At {
        /// Its number in this log.
        number: u64,
        /// Everything before this is acknowledged.
        offset: u64,
        /// Hash of the text before it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mark: Option<Mark>,
        /// The position in the words of its source, if it has such.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cursor: Option<Box<str>>,
        /// When that was, in seconds since 1970.
        seen: u64,
    },
    /// A file is forgotten.
    Gone {
        /// Its number in this log.
        number: u64,
    },
}

/// What could be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// When the first registry was made; 0 if that is lost.
    pub created: u64,
    /// The machine it was made on, as far as that is known.
    pub machine: Option<String>,
    /// The entries, as the whole records make them.
    pub entries: Vec<Entry>,
    /// What is wrong, if anything is.
    pub damage: Option<String>,
    /// Bytes at the end that a crash left unfinished.
    pub torn: usize,
}

/// Appends a record as a line.
pub fn append<E: Serialize>(
    text: &mut String,
    record: &Record<E>,
) -> Result<(), serde_json::Error> {
    let json = serde_json::to_string(record)?;
    // Writing to a string cannot fail.
    writeln!(text, "{:016x} {json}", xxh3_64(json.as_bytes())).unwrap_or_default();
    Ok(())
}

/// Writes a registry from its beginning.
pub fn encode<'a>(
    created: u64,
    machine: Option<&str>,
    entries: impl Iterator<Item = (u64, &'a Entry)>,
) -> Result<String, serde_json::Error> {
    let mut text = format!("{TITLE} {VERSION}\n");
    let machine = machine.map(str::to_owned);
    append(&mut text, &Record::<&Entry>::Made { created, machine })?;
    let mut files = 0;
    for (number, entry) in entries {
        append(&mut text, &Record::File { number, entry })?;
        files += 1;
    }
    append(&mut text, &Record::<&Entry>::Whole { files })?;
    Ok(text)
}

/// Reads a registry, or what is left of one.
pub fn decode(bytes: &[u8]) -> Decoded {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    match version(first) {
        Ok((1, created)) => decode_first_version(created, lines),
        Ok(_) => decode_log(lines, None),
        Err(damage) => decode_log(lines, Some(damage)),
    }
}

fn decode_log<'a>(lines: impl Iterator<Item = &'a [u8]>, damage: Option<String>) -> Decoded {
    let mut decoded = Decoded {
        damage,
        ..Decoded::default()
    };
    let mut files: BTreeMap<u64, Entry> = BTreeMap::new();
    let mut orphans = BTreeSet::new();
    let (mut lost, mut pending, mut whole, mut made) = (0_usize, 0_usize, false, false);
    for line in lines {
        let Some(record) = line.strip_suffix(b"\n").and_then(record) else {
            pending += 1;
            decoded.torn += line.len();
            continue;
        };
        // What is not whole is followed by something that is: it is not the end.
        lost += std::mem::take(&mut pending);
        decoded.torn = 0;
        match record {
            Record::Made { created, machine } => {
                (decoded.created, decoded.machine, made) = (created, machine, true);
            }
            Record::File { number, entry } => {
                files.insert(number, entry);
            }
            Record::Whole { files: count } => {
                whole = true;
                if count != files.len() && lost == 0 {
                    lost += 1;
                }
            }
            Record::At {
                number,
                offset,
                mark,
                cursor,
                seen,
            } => match files.get_mut(&number) {
                Some(entry) => {
                    entry.offset = offset;
                    entry.mark = mark;
                    entry.cursor = cursor.or(entry.cursor.take());
                    entry.seen = entry.seen.max(seen);
                }
                None => {
                    orphans.insert(number);
                }
            },
            Record::Gone { number } => {
                files.remove(&number);
                orphans.remove(&number);
            }
        }
    }
    decoded.entries = files.into_values().collect();
    if decoded.damage.is_some() {
        return decoded;
    }
    if lost > 0 || !orphans.is_empty() {
        let lost = lost.max(orphans.len());
        decoded.damage = Some(format!("{lost} lines do not match their checksum"));
    } else if !whole || !made {
        decoded.damage = Some("its end is missing".to_owned());
    }
    decoded
}

fn version(line: &[u8]) -> Result<(u32, u64), String> {
    let line = str::from_utf8(line).unwrap_or_default();
    let mut words = line.strip_suffix('\n').unwrap_or_default().split(' ');
    if words.next() != Some(TITLE) {
        return Err("it does not begin like a registry".to_owned());
    }
    let number = words.next().and_then(|word| word.parse::<u32>().ok());
    match (number, words.next()) {
        (Some(VERSION), None) => Ok((VERSION, 0)),
        (Some(1), Some(created)) => created
            .parse()
            .map(|created| (1, created))
            .map_err(|_| "its first line is damaged".to_owned()),
        (Some(1 | VERSION), _) => Err("its first line is damaged".to_owned()),
        (Some(other), _) => Err(format!(
            "it has version {other}, this program knows {VERSION}"
        )),
        (None, _) => Err("its version is not readable".to_owned()),
    }
}

fn decode_first_version<'a>(created: u64, lines: impl Iterator<Item = &'a [u8]>) -> Decoded {
    let mut decoded = Decoded {
        created,
        ..Decoded::default()
    };
    let (mut lost, mut ended) = (0_usize, false);
    for line in lines {
        let line = line.strip_suffix(b"\n").unwrap_or_default();
        let end = line.strip_prefix(b"end ").map(str::from_utf8);
        if let Some(Ok(count)) = end {
            ended = count.parse() == Ok(decoded.entries.len() + lost);
        } else if let Some(entry) = checked(line) {
            ended = false;
            decoded.entries.push(entry);
        } else {
            (lost, ended) = (lost + 1, false);
        }
    }
    if lost > 0 {
        decoded.damage = Some(format!("{lost} lines do not match their checksum"));
    } else if !ended {
        decoded.damage = Some("its end is missing".to_owned());
    }
    decoded
}

fn record(line: &[u8]) -> Option<Record<Entry>> {
    checked(line)
}

/// The JSON of a line whose checksum is right.
fn checked<T: for<'de> Deserialize<'de>>(line: &[u8]) -> Option<T> {
    let (checksum, json) = line.split_at_checked(17)?;
    let checksum = str::from_utf8(checksum.strip_suffix(b" ")?).ok()?;
    let checksum = u64::from_str_radix(checksum, 16).ok()?;
    if checksum != xxh3_64(json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// A path as JSON: text where it is text, else its bytes.
pub(super) mod path {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Typed {
        Text(String),
        Bytes(Vec<u8>),
    }

    pub(in crate::registry) fn serialize<S: Serializer>(
        path: &Path,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match path.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => path.as_os_str().as_bytes().serialize(serializer),
        }
    }

    pub(in crate::registry) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<PathBuf, D::Error> {
        Ok(match Typed::deserialize(from)? {
            Typed::Text(text) => text.into(),
            Typed::Bytes(bytes) => OsString::from_vec(bytes).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::super::tests::entry;
    use super::*;

    fn sample() -> (Vec<Entry>, String) {
        let mut entries: Vec<_> = (1..5).map(|inode| entry(inode, inode * 100)).collect();
        entries[1].path = OsStr::from_bytes(b"/var/log/\xff\n.log").into();
        entries[2].mark = None;
        entries[2].born = None;
        let numbered = entries
            .iter()
            .zip(1..)
            .map(|(entry, number)| (number, entry));
        let text = encode(1_600_000_000, Some("abc"), numbered).expect("encodes");
        (entries, text)
    }

    #[test]
    fn what_was_written_is_read() {
        let (mut entries, mut text) = sample();
        let expected = |entries: &[Entry]| Decoded {
            created: 1_600_000_000,
            machine: Some("abc".to_owned()),
            entries: entries.to_vec(),
            damage: None,
            torn: 0,
        };
        assert_eq!(decode(text.as_bytes()), expected(&entries));
        let mark = Mark::of(b"more", 500);
        let at: Record<&Entry> = Record::At {
            number: 2,
            offset: 501,
            mark,
            cursor: Some("s=1".into()),
            seen: 1_800_000_000,
        };
        append(&mut text, &at).expect("encodes");
        append(&mut text, &Record::<&Entry>::Gone { number: 1 }).expect("encodes");
        (entries[1].offset, entries[1].mark, entries[1].seen) = (501, mark, 1_800_000_000);
        entries[1].cursor = Some("s=1".into());
        entries.remove(0);
        assert_eq!(decode(text.as_bytes()), expected(&entries));
    }

    #[test]
    fn complaint_09_a_registry_cut_at_any_byte_keeps_what_is_before_the_cut() {
        let (entries, mut text) = sample();
        let whole = text.len();
        let mut ends = vec![whole];
        for offset in 1000..1010_u64 {
            let record: Record<&Entry> = Record::At {
                number: 1,
                offset,
                mark: None,
                cursor: None,
                seen: 0,
            };
            append(&mut text, &record).expect("encodes");
            ends.push(text.len());
        }
        for cut in 0..=text.len() {
            let decoded = decode(&text.as_bytes()[..cut]);
            let kept = decoded.entries.len();
            if cut < whole {
                assert!(decoded.damage.is_some(), "cut at {cut}");
                assert_eq!(decoded.entries, entries[..kept], "cut at {cut}");
                continue;
            }
            // Of what was appended, every record before the cut counts.
            let updates = ends.iter().filter(|end| **end <= cut).count() as u64 - 1;
            let offset = if updates == 0 { 100 } else { 999 + updates };
            assert_eq!(decoded.damage, None, "cut at {cut}");
            assert_eq!(
                (kept, decoded.entries[0].offset),
                (4, offset),
                "cut at {cut}"
            );
            let unfinished = cut - ends[updates as usize];
            assert_eq!(decoded.torn, unfinished, "cut at {cut}");
        }
    }

    #[test]
    fn complaint_09_a_tail_of_zeros_or_of_old_blocks_is_dropped() {
        let (entries, text) = sample();
        for junk in [&[0; 4096][..], b"\n\n\n", b"0123\n\0\0\n\xff"] {
            let decoded = decode(&[text.as_bytes(), junk].concat());
            assert_eq!((decoded.damage, decoded.torn), (None, junk.len()));
            assert_eq!(decoded.entries, entries);
        }
    }

    #[test]
    fn complaint_04_the_first_version_is_still_read() {
        let (entries, _) = sample();
        let mut text = format!("{TITLE} 1 77\n");
        for entry in &entries {
            let json = serde_json::to_string(entry).expect("encodes");
            writeln!(text, "{:016x} {json}", xxh3_64(json.as_bytes())).expect("writes");
        }
        let cut = decode(text.as_bytes());
        assert_eq!(cut.damage.as_deref(), Some("its end is missing"));
        text += "end 4\n";
        let decoded = decode(text.as_bytes());
        assert_eq!((decoded.created, decoded.damage), (77, None));
        assert_eq!(decoded.entries, entries);
    }

    #[test]
    fn a_newer_version_is_not_guessed_at() {
        let (_, text) = sample();
        let text = text.replacen(" 2\n", " 3\n", 1);
        let damage = decode(text.as_bytes()).damage.expect("refused");
        assert!(damage.contains("version 3"), "{damage}");
    }

    proptest! {
        #[test]
        fn a_changed_byte_costs_at_most_the_lines_it_is_in(at: prop::sample::Index, to: u8) {
            let (entries, text) = sample();
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != to);
            // Upper case hexadecimal digits are the same checksum.
            prop_assume!(!bytes[at].eq_ignore_ascii_case(&to));
            let end_of_line = bytes[at] == b'\n';
            bytes[at] = to;
            let decoded = decode(&bytes);
            prop_assert!(decoded.entries.iter().all(|entry| entries.contains(entry)));
            // Without the line end between them, two lines are one that is wrong.
            let lines = if end_of_line { 2 } else { 1 };
            prop_assert!(decoded.entries.len() + lines >= entries.len());
            prop_assert!(decoded.damage.is_some());
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let decoded = decode(&bytes);
            prop_assert!(decoded.damage.is_some());
        }
    }
}
