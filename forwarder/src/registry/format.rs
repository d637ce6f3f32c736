//! The registry's bytes.
//!
//! ```text
//! skidder-registry 1 <created>        version, seconds since 1970
//! <16 hex digits> <json>              one line per file; the digits are XXH3-64 of the JSON
//! end <count>
//! ```
//!
//! Text, so that it can be read at 3 a.m.; a checksum per line, so that damage costs the damaged
//! lines only. Whatever the bytes are, reading them never fails: it tells what is whole and
//! whether anything is not.

use std::fmt::Write;

use xxhash_rust::xxh3::xxh3_64;

use super::Entry;

const TITLE: &str = "skidder-registry";
const VERSION: u32 = 1;

/// What could be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// When the first registry was made; 0 if that is lost.
    pub created: u64,
    /// The entries whose checksum is right.
    pub entries: Vec<Entry>,
    /// What is wrong, if anything is.
    pub damage: Option<String>,
}

/// Writes a registry.
pub fn encode(created: u64, entries: &[&Entry]) -> Result<String, serde_json::Error> {
    let mut text = format!("{TITLE} {VERSION} {created}\n");
    for entry in entries {
        let json = serde_json::to_string(entry)?;
        // Writing to a string cannot fail.
        writeln!(text, "{:016x} {json}", xxh3_64(json.as_bytes())).unwrap_or_default();
    }
    writeln!(text, "end {}", entries.len()).unwrap_or_default();
    Ok(text)
}

/// Reads a registry, or what is left of one.
pub fn decode(bytes: &[u8]) -> Decoded {
    let mut decoded = Decoded::default();
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    match header(lines.next().unwrap_or_default()) {
        Ok(created) => decoded.created = created,
        Err(damage) => decoded.damage = Some(damage),
    }
    let (mut lost, mut ended) = (0_usize, false);
    for line in lines {
        let whole = line.strip_suffix(b"\n");
        if let Some(count) = whole.and_then(trailer) {
            ended = count == decoded.entries.len() + lost;
        } else if let Some(entry) = whole.and_then(entry) {
            ended = false;
            decoded.entries.push(entry);
        } else {
            ended = false;
            lost += 1;
        }
    }
    if decoded.damage.is_none() && lost > 0 {
        decoded.damage = Some(format!("{lost} lines do not match their checksum"));
    }
    if decoded.damage.is_none() && !ended {
        decoded.damage = Some("its end is missing".to_owned());
    }
    decoded
}

fn header(line: &[u8]) -> Result<u64, String> {
    let line = str::from_utf8(line).unwrap_or_default();
    let mut words = line.strip_suffix('\n').unwrap_or_default().split(' ');
    if words.next() != Some(TITLE) {
        return Err("it does not begin like a registry".to_owned());
    }
    match words.next().and_then(|word| word.parse::<u32>().ok()) {
        Some(VERSION) => {}
        Some(other) => {
            return Err(format!(
                "it has version {other}, this program knows {VERSION}"
            ));
        }
        None => return Err("its version is not readable".to_owned()),
    }
    let created = words.next().and_then(|word| word.parse().ok());
    created.ok_or_else(|| "its first line is damaged".to_owned())
}

fn trailer(line: &[u8]) -> Option<usize> {
    str::from_utf8(line.strip_prefix(b"end ")?)
        .ok()?
        .parse()
        .ok()
}

fn entry(line: &[u8]) -> Option<Entry> {
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
        let text = encode(1_600_000_000, &entries.iter().collect::<Vec<_>>()).expect("encodes");
        (entries, text)
    }

    #[test]
    fn what_was_written_is_read() {
        let (entries, text) = sample();
        let expected = Decoded {
            created: 1_600_000_000,
            entries,
            damage: None,
        };
        assert_eq!(decode(text.as_bytes()), expected);
    }

    #[test]
    fn a_registry_cut_at_any_byte_is_noticed_and_keeps_its_whole_lines() {
        let (entries, text) = sample();
        for cut in 0..text.len() {
            let decoded = decode(&text.as_bytes()[..cut]);
            assert!(decoded.damage.is_some(), "cut at {cut}");
            assert_eq!(
                decoded.entries,
                entries[..decoded.entries.len()],
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn a_newer_version_is_not_guessed_at() {
        let (_, text) = sample();
        let text = text.replacen(" 1 ", " 2 ", 1);
        let damage = decode(text.as_bytes()).damage.expect("refused");
        assert!(damage.contains("version 2"), "{damage}");
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
            let header_digits = at < 64 && bytes[..at].iter().all(|byte| *byte != b'\n');
            prop_assert!(decoded.damage.is_some() || header_digits);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let decoded = decode(&bytes);
            prop_assert!(decoded.damage.is_some());
        }
    }
}
