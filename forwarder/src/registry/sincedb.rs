//! The positions of Logstash's file input, read once when Skidder takes its place.
//!
//! COMPAT: a sincedb is a text of lines `INODE MAJOR MINOR POSITION [TIME [PATH]]`; the last two were
//! added in version 5 of the plugin. `JRuby` calls the upper eight bits of a device number of 32 bits its major
//! number: on Linux that is 0 for all usual devices, and the minor number is the whole of it. There are no hashes of
//! content, so an entry counts only while a file with that device and inode is there and long enough.

use std::path::PathBuf;

use super::import::{Imported, entry};
use crate::tail::identity::Identity;

/// Whether these bytes look like a sincedb: the first line begins with four numbers.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    let first = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    parse(&first).is_some()
}

/// Reads the positions.
pub(super) fn read(bytes: &[u8]) -> Result<Imported, String> {
    let text = String::from_utf8_lossy(bytes);
    let mut imported = Imported {
        from: "Logstash",
        ..Imported::default()
    };
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let Some((identity, position, path)) = parse(line) else {
            return Err(format!("line {} is no line of a sincedb", number + 1));
        };
        imported.entries.push(entry(identity, position, path));
    }
    Ok(imported)
}

fn parse(line: &str) -> Option<(Identity, u64, PathBuf)> {
    let mut words = line.splitn(6, ' ');
    let inode = words.next()?.parse().ok()?;
    let major: u32 = words.next()?.parse().ok()?;
    let minor: u32 = words.next()?.parse().ok()?;
    let position = words.next()?.trim_end().parse().ok()?;
    let path = words.nth(1).unwrap_or_default().trim_end();
    let device = match major {
        0 => u64::from(minor),
        _ => rustix::fs::makedev(major, minor),
    };
    Some((Identity { device, inode }, position, path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sincedb_of_every_age_and_what_is_none() {
        let text = b"6 0 51713 1234 1700000000.5 /var/log/a b.log\n7 0 64768 10\n8 8 1 3 1.0 \n";
        assert!(is_one(text));
        let entries = read(text).expect("reads").entries;
        let positions: Vec<_> = entries
            .iter()
            .map(|entry| (entry.identity.inode, entry.identity.device, entry.offset))
            .collect();
        assert_eq!(positions, [(6, 51713, 1234), (7, 64768, 10), (8, 2049, 3)]);
        assert_eq!(entries[0].path.to_str(), Some("/var/log/a b.log"));
        assert!(!is_one(b"{\"a\": 1}"));
        assert!(!is_one(b""));
        let error = read(b"6 0 51713 1234\nnothing\n").expect_err("is refused");
        assert!(error.contains("line 2"), "{error}");
    }
}
