//! The registry of another shipper, read once when Skidder takes over a machine:
//! logstash-forwarder's here, Filebeat's in [`super::filebeat`], Logstash's in [`super::sincedb`].
//!
//! COMPAT: logstash-forwarder writes `{"/path": {"source": "/path", "offset": N, "inode": N, "device": N}}`. It has no
//! content hashes, so an entry counts only while a file with that device and inode is there and
//! long enough. After CRLF lines its offset is one byte short per line end of the last line (it
//! counts one byte for every line end): reading resumes on the `\n`, which [`crate::tail`] swallows
//! when the position is not at the beginning of a line.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::store::now;
use super::{Entry, filebeat, sincedb};
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

/// What a registry of another shipper gives.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Whose it was.
    pub from: &'static str,
    /// The files and their positions.
    pub entries: Vec<Entry>,
    /// Files whose position cannot be taken over, because it is not known which file it is of.
    pub unknown: Vec<PathBuf>,
}

/// An entry that is known by device and inode only.
pub(super) fn entry(identity: Identity, offset: u64, path: PathBuf) -> Entry {
    Entry {
        identity,
        born: None,
        fingerprint: Fingerprint::default(),
        offset,
        mark: None,
        cursor: None,
        path,
        packed: None,
        stream: None,
        seen: now(),
    }
}

/// Reads the entries, whoever wrote them; an error is a sentence.
pub fn read(path: &Path) -> Result<Imported, String> {
    let cannot = |error: String| {
        format!(
            "cannot import the registry `{}`: {error}; repair it, or remove `import registry` to \
             ship all files from their beginning",
            path.display()
        )
    };
    let metadata = std::fs::metadata(path).map_err(|error| cannot(error.to_string()))?;
    if metadata.is_dir() || path.file_name().is_some_and(|name| name == filebeat::LOG) {
        return filebeat::read_directory(path).map_err(cannot);
    }
    let bytes = read_bounded(path).map_err(cannot)?;
    if bytes.trim_ascii_start().starts_with(b"[") {
        return filebeat::read_first_version(&bytes).map_err(cannot);
    }
    if sincedb::is_one(&bytes) {
        return sincedb::read(&bytes).map_err(cannot);
    }
    let positions: BTreeMap<PathBuf, Position> =
        serde_json::from_slice(&bytes).map_err(|error| cannot(error.to_string()))?;
    let entries = positions.into_iter().filter_map(|(key, position)| {
        let identity = Identity {
            device: position.device,
            inode: position.inode,
        };
        let offset = u64::try_from(position.offset).ok()?;
        Some(entry(identity, offset, position.source.unwrap_or(key)))
    });
    Ok(Imported {
        from: "logstash-forwarder",
        entries: entries.collect(),
        unknown: Vec::new(),
    })
}

/// The bytes of a file that is not too large.
pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(MAX_IMPORT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_IMPORT_BYTES {
        return Err(format!("`{}` is larger than 64MiB", path.display()));
    }
    Ok(bytes)
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
        let entries = read(&path).expect("reads").entries;
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
