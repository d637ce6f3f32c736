//! Which machine this is, so that a registry that was baked into an image is not taken for its own.
//!
//! The id is systemd's `/etc/machine-id`, which is made anew at the first boot of an image. It
//! is confidential by its manual, so only a hash of it is kept.

use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

/// The file of the id.
pub const MACHINE_ID: &str = "/etc/machine-id";

/// The hash of this machine's id; `None` if it has none (in many containers).
pub fn of_this_machine() -> Option<String> {
    read(Path::new(MACHINE_ID))
}

fn read(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let id = text.trim();
    // systemd writes `uninitialized` into an image that is yet to boot.
    (!id.is_empty() && id != "uninitialized").then(|| hash(id))
}

/// What the registry keeps of an id.
pub fn hash(id: &str) -> String {
    format!("{:016x}", xxh3_64(id.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_hashed_and_a_missing_one_is_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("machine-id");
        assert_eq!(read(&path), None);
        for (text, expected) in [
            ("", None),
            ("uninitialized\n", None),
            ("0123456789abcdef\n", Some(hash("0123456789abcdef"))),
        ] {
            std::fs::write(&path, text).expect("writes");
            assert_eq!(read(&path), expected);
        }
        assert!(!hash("0123456789abcdef").contains("0123456789abcdef"));
    }
}
