//! Filebeat's registry, read once when Skidder takes its place.
//!
//! COMPAT: since 7.x it is a directory (`registry/filebeat` under Filebeat's data path) with
//! `<number>.json`, a JSON array of all states at operation `<number>`, and `log.json`, the
//! operations since: a line `{"op":"set","id":N}` followed by a line `{"k":KEY,"v":STATE}`, or
//! `remove` followed by `{"k":KEY}`. A state of the `log` input has `source`, `offset` and
//! `FileStateOS` (inode and device); one of `filestream` has `cursor.offset` and `meta.source`,
//! and says in its key which file it is of: `native::INODE-DEVICE`, `fingerprint::HEX` (SHA-256
//! of the first 1024 bytes), `path::PATH` or `inode_marker::INODE-MARKER`. Before, it was one file
//! with an array of the former.
//!
//! Only `native` is taken as it is. For the others the file is sought at its path (by fingerprint
//! also beside it), and if it is not there, or is not long enough, it is named and shipped from
//! its beginning: twice rather than never.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Entry;
use super::import::{Imported, entry, read_bounded};
use crate::tail::identity::{Identity, read_fully_at};

/// The name of the file of operations.
pub const LOG: &str = "log.json";
/// The bytes that Filebeat's fingerprint is of, unless it is configured otherwise.
const FINGERPRINT_BYTES: usize = 1024;
/// Files that are looked at beside the one that is sought.
const MAX_SIBLINGS: usize = 10_000;

/// Reads the directory, or the one that Filebeat would have below it.
pub(super) fn read_directory(path: &Path) -> Result<Imported, String> {
    let path = if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(Path::new("."))
    };
    let candidates = [
        "",
        "filebeat",
        "registry/filebeat",
        "data/registry/filebeat",
    ];
    let directory = candidates
        .iter()
        .map(|below| path.join(below))
        .find(|directory| directory.join("meta.json").is_file() || directory.join(LOG).is_file())
        .ok_or("there is no `log.json` in it as Filebeat writes it")?;
    let mut states = BTreeMap::new();
    let mut last = 0;
    if let Some((number, file)) = newest_checkpoint(&directory)? {
        last = number;
        let bytes = read_bounded(&file)?;
        let array: Vec<Value> = serde_json::from_slice(&bytes)
            .map_err(|error| format!("`{}`: {error}", file.display()))?;
        for state in array {
            if let Some(key) = state["_key"].as_str() {
                states.insert(key.to_owned(), state);
            }
        }
    }
    let log = directory.join(LOG);
    if log.is_file() {
        apply(&mut states, &read_bounded(&log)?, last);
    }
    Ok(resolve(states))
}

/// The array of the versions before 7.
pub(super) fn read_first_version(bytes: &[u8]) -> Result<Imported, String> {
    let array: Vec<Value> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let states = array
        .into_iter()
        .enumerate()
        .map(|(index, state)| (index.to_string(), state));
    Ok(resolve(states.collect()))
}

fn newest_checkpoint(directory: &Path) -> Result<Option<(u64, PathBuf)>, String> {
    let entries = std::fs::read_dir(directory).map_err(|error| error.to_string())?;
    let checkpoints = entries.filter_map(Result::ok).filter_map(|entry| {
        let path = entry.path();
        let number = path.file_name()?.to_str()?.strip_suffix(".json")?;
        Some((number.parse::<u64>().ok()?, path))
    });
    Ok(checkpoints.max())
}

/// Applies the operations after the checkpoint; stops where Filebeat would: at the first line that
/// is not whole, or an operation that does not follow.
fn apply(states: &mut BTreeMap<String, Value>, log: &[u8], mut last: u64) {
    let mut lines = log.split(|byte| *byte == b'\n');
    let field = |value: &Value, name: &str| {
        let value = [name.to_owned(), name.to_uppercase()]
            .iter()
            .find_map(|name| value.get(name))?
            .clone();
        Some(value)
    };
    while let (Some(action), Some(data)) = (lines.next(), lines.next()) {
        let (Ok(action), Ok(data)) = (
            serde_json::from_slice::<Value>(action),
            serde_json::from_slice::<Value>(data),
        ) else {
            return;
        };
        let (Some(id), Some(Value::String(key))) = (action["id"].as_u64(), field(&data, "k"))
        else {
            return;
        };
        if id <= last {
            continue;
        }
        if last != 0 && id != last + 1 {
            return;
        }
        last = id;
        match (action["op"].as_str(), field(&data, "v")) {
            (Some("set"), Some(state)) => drop(states.insert(key, state)),
            (Some("remove"), _) => drop(states.remove(&key)),
            _ => return,
        }
    }
}

fn resolve(states: BTreeMap<String, Value>) -> Imported {
    let mut found: HashMap<Identity, Entry> = HashMap::new();
    let mut unknown = Vec::new();
    for (key, state) in states {
        let source = state["source"]
            .as_str()
            .or(state["meta"]["source"].as_str());
        let offset = state["offset"]
            .as_u64()
            .or(state["cursor"]["offset"].as_u64());
        let Some(offset) = offset.filter(|offset| *offset > 0) else {
            continue;
        };
        let path = PathBuf::from(source.unwrap_or_default());
        let system = &state["FileStateOS"];
        let identity = match (system["device"].as_u64(), system["inode"].as_u64()) {
            (Some(device), Some(inode)) => Some(Identity { device, inode }),
            _ => of_key(&key, &path, offset),
        };
        let Some(identity) = identity else {
            unknown.push(path);
            continue;
        };
        let new = entry(identity, offset, path);
        // Two inputs that read one file: nothing is skipped for either.
        found
            .entry(identity)
            .and_modify(|known| known.offset = known.offset.min(offset))
            .or_insert(new);
    }
    let mut entries: Vec<_> = found.into_values().collect();
    entries.sort_by(|left, right| left.path.cmp(&right.path));
    unknown.sort();
    Imported {
        from: "Filebeat",
        entries,
        unknown,
    }
}

/// The file that a key of `filestream` means.
fn of_key(key: &str, path: &Path, offset: u64) -> Option<Identity> {
    let (before, value) = key.rsplit_once("::")?;
    let kind = before.rsplit("::").next()?;
    match kind {
        "native" => {
            let (inode, device) = value.split_once('-')?;
            Some(Identity {
                device: device.parse().ok()?,
                inode: inode.parse().ok()?,
            })
        }
        "fingerprint" => {
            let here = std::iter::once(path.to_owned());
            let beside = std::fs::read_dir(path.parent()?).ok()?;
            let beside = beside.filter_map(|entry| Some(entry.ok()?.path()));
            here.chain(beside.take(MAX_SIBLINGS))
                .filter(|path| path.is_file())
                .find_map(|path| with_fingerprint(&path, value, offset))
        }
        "inode_marker" => {
            let metadata = std::fs::metadata(path).ok()?;
            let inode: u64 = value.split_once('-')?.0.parse().ok()?;
            (metadata.ino() == inode).then(|| Identity::of(&metadata))
        }
        _ => {
            let metadata = std::fs::metadata(path).ok()?;
            (metadata.len() >= offset).then(|| Identity::of(&metadata))
        }
    }
}

fn with_fingerprint(path: &Path, hexadecimal: &str, offset: u64) -> Option<Identity> {
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    if metadata.len() < offset.max(FINGERPRINT_BYTES as u64) {
        return None;
    }
    let mut head = [0; FINGERPRINT_BYTES];
    let length = read_fully_at(&file, &mut head, 0).ok()?;
    (sha256(&head[..length]) == hexadecimal).then(|| Identity::of(&metadata))
}

/// SHA-256 in hexadecimal digits.
fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    let digits = digest.as_ref().iter();
    digits
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::import::read;
    use super::*;

    fn known(imported: &Imported) -> Vec<(u64, u64, u64, &str)> {
        let entries = imported.entries.iter();
        let tuple = |entry: &'_ Entry| (entry.identity.inode, entry.identity.device, entry.offset);
        entries
            .map(|entry| {
                let (inode, device, offset) = tuple(entry);
                (inode, device, offset, entry.path.to_str().expect("text"))
            })
            .collect()
    }

    #[test]
    fn complaint_04_a_checkpoint_and_the_operations_since() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("registry/filebeat");
        std::fs::create_dir_all(&directory).expect("creates");
        let write =
            |name: &str, text: &str| std::fs::write(directory.join(name), text).expect("writes");
        write("meta.json", r#"{"version":"1"}"#);
        write("5.json", "[]");
        write(
            "10.json",
            r#"[{"_key":"filebeat::logs::native::11-64768","source":"/var/log/a.log","offset":100,
                "timestamp":[1,2],"ttl":-1,"type":"log","identifier_name":"native",
                "FileStateOS":{"inode":11,"device":64768}},
               {"_key":"filestream::my::id::native::12-64768","meta":{"source":"/var/log/b.log",
                "identifier_name":"native"},"ttl":1,"updated":[1,2],"cursor":{"offset":200}},
               {"_key":"filestream::x::native::13-64768","meta":{"source":"/var/log/c.log"},
                "cursor":{"offset":300}},
               {"_key":"filestream::x::native::14-64768","meta":{"source":"/d"},"cursor":null}]"#,
        );
        write(
            "log.json",
            "{\"op\":\"set\",\"id\":9}\n\
             {\"k\":\"filebeat::logs::native::11-64768\",\"v\":{\"source\":\"/old\",\"offset\":1}}\n\
             {\"op\":\"set\",\"id\":11}\n\
             {\"k\":\"filebeat::logs::native::11-64768\",\"v\":{\"source\":\"/var/log/a.log\",\
             \"offset\":150,\"FileStateOS\":{\"inode\":11,\"device\":64768}}}\n\
             {\"op\":\"remove\",\"id\":12}\n\
             {\"k\":\"filestream::x::native::13-64768\"}\n\
             {\"op\":\"set\",\"id\":13}\n\
             {\"K\":\"filestream::other::native::12-64768\",\"V\":{\"cursor\":{\"offset\":180},\
             \"meta\":{\"source\":\"/var/log/b.log\"}}}\n\
             {\"op\":\"set\",\"id\":14}\n\
             {\"k\":\"filebeat::logs::native::11-64768\",\"v\":{\"source\":\"/var/log/a.log\",\"off",
        );
        let expected = [
            (11, 64768, 150, "/var/log/a.log"),
            (12, 64768, 180, "/var/log/b.log"),
        ];
        for path in [root.path(), &directory, &directory.join("log.json")] {
            let imported = read(path).expect("reads");
            assert_eq!(
                (imported.from, known(&imported)),
                ("Filebeat", expected.to_vec())
            );
            assert_eq!(imported.unknown, Vec::<PathBuf>::new());
        }
        std::fs::write(directory.join("10.json"), "[{").expect("writes");
        let error = read(root.path()).expect_err("is broken");
        assert!(error.contains("10.json"), "{error}");
        assert!(read(&root.path().join("registry/filebeat/none")).is_err());
    }

    #[test]
    fn a_known_sha256() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), expected);
    }

    #[test]
    fn complaint_04_fingerprints_and_paths_are_looked_for() {
        let root = tempfile::tempdir().expect("a directory");
        let (a, b) = (root.path().join("a.log"), root.path().join("a.log.1"));
        let text = "abcdefghijklmno\n".repeat(100);
        std::fs::write(&a, "another file").expect("writes");
        std::fs::write(&b, &text).expect("writes");
        let digest = sha256(&text.as_bytes()[..1024]);
        let state = |key: &str, offset: u64| {
            format!(
                "{{\"op\":\"set\",\"id\":1}}\n{{\"k\":\"filestream::x::{key}\",\"v\":{{\"cursor\":\
                 {{\"offset\":{offset}}},\"meta\":{{\"source\":\"{}\"}}}}}}\n",
                a.display()
            )
        };
        let import = |log: String| {
            std::fs::write(root.path().join("log.json"), log).expect("writes");
            read(root.path()).expect("reads")
        };
        let identity = |path: &Path| Identity::of(&std::fs::metadata(path).expect("is there"));
        let found = import(state(&format!("fingerprint::{digest}"), 1040));
        assert_eq!(found.entries[0].identity, identity(&b));
        let found = import(state(&format!("path::{}", a.display()), 5));
        assert_eq!(found.entries[0].identity, identity(&a));
        for (key, offset) in [
            ("fingerprint::0011", 5),
            (&format!("fingerprint::{digest}"), 5000),
            (&format!("path::{}", a.display()), 5000),
            ("inode_marker::1-x", 5),
        ] {
            let found = import(state(key, offset));
            assert_eq!(
                (found.entries.len(), found.unknown.as_slice()),
                (0, &[a.clone()][..])
            );
        }
    }

    #[test]
    fn complaint_04_the_single_file_of_the_versions_before() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("registry");
        let text = r#"[{"source":"/var/log/a.log","offset":19,"timestamp":"2018-01-01T00:00:00Z",
            "ttl":-1,"type":"log","FileStateOS":{"inode":7,"device":51713}}]"#;
        std::fs::write(&path, text).expect("writes");
        let imported = read(&path).expect("reads");
        assert_eq!(known(&imported), [(7, 51713, 19, "/var/log/a.log")]);
    }
}
