//! `state`: what the registry says, for a person, and what a person can do about it.
//!
//! Showing, checking and exporting read it beside a running daemon. Repairing and forgetting take
//! its lock: they are refused while a daemon has it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::format::Decoded;
use super::store::{self, RegistryError, Store};
use super::{Entry, Ledger};
use crate::tail::identity::Identity;

/// What to do with the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// List the files, or those at one path.
    Show(Option<PathBuf>),
    /// Say whether it is whole.
    Check,
    /// Write what is whole of it anew.
    Repair,
    /// Print it as JSON.
    Export,
    /// Forget a file: it is shipped from its beginning.
    Forget(PathBuf),
}

/// What is to be printed, and whether all is well.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// For standard output.
    pub text: String,
    /// False if the registry is damaged, or there is nothing to act on.
    pub good: bool,
}

/// Does it.
pub fn act(action: &Action, registry: &Path) -> Result<Answer, RegistryError> {
    let Some(decoded) = store::read(registry)? else {
        return Ok(Answer {
            text: format!("there is no registry `{}`\n", registry.display()),
            good: false,
        });
    };
    match action {
        Action::Show(path) => Ok(show(&decoded, path.as_deref())),
        Action::Check => Ok(check(&decoded, registry)),
        Action::Export => Ok(export(&decoded)),
        Action::Repair => {
            let (mut store, loaded) = Store::open(registry)?;
            let decoded = loaded.decoded;
            let files = decoded.entries.len();
            let mut ledger = Ledger::new(decoded.created, decoded.machine, decoded.entries);
            store.fold(&mut ledger)?;
            let text = match (decoded.damage, loaded.set_aside) {
                (Some(damage), Some(aside)) => format!(
                    "it was damaged: {damage}; {files} files are kept, the old one is in `{}`\n",
                    aside.display()
                ),
                _ => format!("it was whole; {files} files are kept\n"),
            };
            Ok(Answer { text, good: true })
        }
        Action::Forget(path) => {
            let (mut store, loaded) = Store::open(registry)?;
            let decoded = loaded.decoded;
            let mut ledger = Ledger::new(decoded.created, decoded.machine, decoded.entries);
            let count = ledger.forget(|entry| entry.path == *path);
            if count > 0 {
                store.fold(&mut ledger)?;
            }
            let path = path.display();
            let text = match count {
                0 => format!("no file is known as `{path}`; see `state show` for those that are\n"),
                _ => format!("forgotten: {count} files known as `{path}`\n"),
            };
            Ok(Answer {
                text,
                good: count > 0,
            })
        }
    }
}

fn show(decoded: &Decoded, path: Option<&Path>) -> Answer {
    let mut text = String::new();
    let mut entries: Vec<&Entry> = decoded
        .entries
        .iter()
        .filter(|entry| path.is_none_or(|path| entry.path == path))
        .collect();
    entries.sort_by(|left, right| left.path.cmp(&right.path));
    // Writing to a string cannot fail.
    writeln!(
        text,
        "{:>14}  {:>14}  {:>20}  {:>20}  path",
        "acknowledged", "of bytes", "device:inode", "last seen"
    )
    .unwrap_or_default();
    for entry in &entries {
        let identity = entry.identity;
        let metadata = std::fs::metadata(&entry.path).ok();
        let metadata = metadata.filter(|metadata| Identity::of(metadata) == identity);
        let size = match (metadata, &entry.cursor) {
            (Some(metadata), _) => metadata.len().to_string(),
            (None, Some(_)) => "entries".to_owned(),
            (None, None) => "elsewhere".to_owned(),
        };
        writeln!(
            text,
            "{:>14}  {size:>14}  {:>20}  {:>20}  {}",
            entry.offset,
            format!("{}:{}", identity.device, identity.inode),
            time(entry.seen),
            entry.path.display()
        )
        .unwrap_or_default();
    }
    let good = path.is_none() || !entries.is_empty();
    Answer { text, good }
}

fn check(decoded: &Decoded, registry: &Path) -> Answer {
    let mut text = format!("registry   {}\n", registry.display());
    let state = match (&decoded.damage, decoded.torn) {
        (Some(damage), _) => format!("damaged: {damage}; `state repair` keeps what is whole"),
        (None, 0) => "whole".to_owned(),
        (None, torn) => format!(
            "whole, but for {torn} bytes at its end: a save that is under way, or was cut off"
        ),
    };
    let machine = decoded.machine.as_deref().unwrap_or("not known");
    for (name, value) in [
        ("state", state),
        ("files", decoded.entries.len().to_string()),
        ("made", time(decoded.created)),
        ("machine", machine.to_owned()),
    ] {
        writeln!(text, "{name:<10} {value}").unwrap_or_default();
    }
    Answer {
        text,
        good: decoded.damage.is_none(),
    }
}

fn export(decoded: &Decoded) -> Answer {
    let json = serde_json::json!({
        "created": decoded.created,
        "machine": decoded.machine,
        "damage": decoded.damage,
        "files": decoded.entries,
    });
    Answer {
        text: format!("{json}\n"),
        good: decoded.damage.is_none(),
    }
}

fn time(seconds: u64) -> String {
    let timestamp = i64::try_from(seconds).ok();
    timestamp
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| "not known".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::tests::entry;
    use super::*;

    #[tokio::test]
    async fn complaint_09_show_check_export_forget_and_repair() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("registry");
        let run = |action: &Action| act(action, &path).expect("works");
        assert!(!run(&Action::Check).good);
        let (mut store, _) = Store::open(&path).expect("opens");
        let mut ledger = Ledger::new(1, None, vec![entry(1, 10), entry(2, 20), entry(3, 30)]);
        store.save(&mut ledger).expect("saves");

        // Beside a running daemon.
        let shown = run(&Action::Show(None));
        assert!(
            shown.good && shown.text.contains("/var/log/2.log"),
            "{shown:?}"
        );
        let some = run(&Action::Show(Some("/var/log/2.log".into())));
        assert_eq!(some.text.lines().count(), 2, "{some:?}");
        assert!(!run(&Action::Show(Some("/nowhere".into()))).good);
        assert!(run(&Action::Check).text.contains("whole\n"));
        let exported: serde_json::Value =
            serde_json::from_str(&run(&Action::Export).text).expect("JSON");
        assert_eq!(exported["files"][2]["offset"], 30);
        let refused = act(&Action::Forget("/var/log/2.log".into()), &path).expect_err("locked");
        assert!(
            refused.to_string().contains("in use by process"),
            "{refused}"
        );
        drop(store);

        assert!(!run(&Action::Forget("/nowhere".into())).good);
        assert!(run(&Action::Forget("/var/log/2.log".into())).good);
        let left = store::read(&path).expect("reads").expect("some");
        assert_eq!(left.entries, [entry(1, 10), entry(3, 30)]);

        let mut bytes = std::fs::read(&path).expect("reads");
        let at = bytes.iter().position(|byte| *byte == b'/').expect("a path");
        bytes[at] = b'!';
        std::fs::write(&path, bytes).expect("writes");
        let checked = run(&Action::Check);
        assert!(
            !checked.good && checked.text.contains("damaged"),
            "{checked:?}"
        );
        let repaired = run(&Action::Repair);
        assert!(
            repaired.good && repaired.text.contains("1 files"),
            "{repaired:?}"
        );
        assert!(run(&Action::Check).good);
    }
}
