//! The registry of logstash-forwarder, read once when Skidder takes over a machine.
//!
//! COMPAT: `{"/path": {"source": "/path", "offset": N, "inode": N, "device": N}}`. It has no
//! content hashes, so an entry counts only while a file with that device and inode is there and
//! long enough. After CRLF lines its offset is one byte short per line end of the last line (it
//! counts one byte for every line end): reading resumes on the `\n`, which [`crate::tail`] swallows
//! when the position is not at the beginning of a line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Entry;
use super::store::now;
use crate::tail::identity::{Fingerprint, Identity};

/// The largest file that is read.
pub const MAX_IMPORT_BYTES: u64 = 64 << 20;

#[derive(Deserialize)]
struct Position {
    source: Option<PathBuf>,
    offset: i64,
    inode: u64,
    device: u64,
}

/// Reads the entries; an error is a sentence.
pub fn read(path: &Path) -> Result<Vec<Entry>, String> {
    let cannot = |error: &dyn std::fmt::Display| {
        format!(
            "cannot import the registry `{}`: {error}; repair it, or remove `import registry` to \
             ship all files from their beginning",
            path.display()
        )
    };
    let size = std::fs::metadata(path)
        .map_err(|error| cannot(&error))?
        .len();
    if size > MAX_IMPORT_BYTES {
        return Err(cannot(&"it is larger than 64MiB"));
    }
    let bytes = std::fs::read(path).map_err(|error| cannot(&error))?;
    let positions: BTreeMap<PathBuf, Position> =
        serde_json::from_slice(&bytes).map_err(|error| cannot(&error))?;
    let entries = positions.into_iter().filter_map(|(key, position)| {
        Some(Entry {
            identity: Identity {
                device: position.device,
                inode: position.inode,
            },
            born: None,
            fingerprint: Fingerprint::default(),
            offset: u64::try_from(position.offset).ok()?,
            mark: None,
            path: position.source.unwrap_or(key),
            seen: now(),
        })
    });
    Ok(entries.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_as_logstash_forwarder_writes_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(".logstash-forwarder");
        let text = r#"{"/var/log/a.log":{"source":"/var/log/a.log","offset":1234,"inode":99,
            "device":2049},"/b":{"source":"/b","offset":-1,"inode":1,"device":2}}"#;
        std::fs::write(&path, text).expect("writes");
        let entries = read(&path).expect("reads");
        assert_eq!(entries.len(), 1);
        assert_eq!(
            entries[0].identity,
            Identity {
                device: 2049,
                inode: 99
            }
        );
        assert_eq!(
            (entries[0].offset, entries[0].path.to_str()),
            (1234, Some("/var/log/a.log"))
        );
        std::fs::write(&path, &text[..40]).expect("writes");
        assert!(read(&path).expect_err("cut").contains("cannot import"));
    }
}
