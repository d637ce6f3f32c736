//! What is not shipped of the files at this moment, and why: the answer that `drain` waits for.
//!
//! Unlike the numbers of the status it is not what is known: every file is asked for its size, and the
//! patterns are evaluated, so that nothing that was written a moment ago is overlooked. It is asked for
//! while no more is read.

use std::io;
use std::path::Path;

use super::Tails;
use super::file::Tail;
use super::identity::Identity;
use super::links::open_of;
use super::pattern::Found;
use crate::health::status::{Left, LeftFile};

/// Files in one answer; those beyond are counted.
pub const MAX_LISTED: usize = 1000;

impl Tails {
    /// Whether everything that is known to be there was read.
    pub fn is_at_end(&self) -> bool {
        self.turns.is_empty()
            && self.losses.is_empty()
            && self.archives.is_empty()
            && self.held.is_empty()
            && self.room.waiting() == 0
            && self.archives_read.is_empty()
    }

    /// Looks at everything.
    pub fn left(&self) -> Left {
        let mut left = Left::default();
        for tail in self.known.values().filter(|tail| !tail.unwanted) {
            let size = size_now(tail);
            let grown = size != tail.size;
            let end = size.saturating_sub(if grown { 0 } else { tail.rest });
            let acknowledged = self.acknowledged(tail);
            let bytes = end.max(tail.shipped_to).saturating_sub(acknowledged);
            if bytes == 0 {
                continue;
            }
            let unread = end.saturating_sub(tail.offset);
            left.unread_bytes += unread;
            let reason = match (unread > 0, tail.shipped_to > acknowledged) {
                (_, true) => "sent or about to be, and not acknowledged",
                (true, false) if grown => "written while it was read to its end",
                (true, false) => "not read yet",
                (false, false) => "its last line or event is not complete",
            };
            left.add(&tail.path, bytes, reason.to_owned());
        }
        self.left_unknown(&mut left);
        left
    }

    /// What the patterns find and is not followed.
    fn left_unknown(&self, left: &mut Left) {
        for (number, group) in self.config.groups.iter().enumerate() {
            let mut found = Found::default();
            for pattern in &group.patterns {
                pattern.walk(&mut found);
            }
            for (path, error) in found.failures {
                left.add(&path, 0, format!("cannot read the directory: {error}"));
            }
            for path in found.paths {
                let metadata = match std::fs::metadata(&path) {
                    Ok(metadata) => metadata,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => {
                        left.add(&path, 0, format!("cannot look at it: {error}"));
                        continue;
                    }
                };
                let identity = Identity::of(&metadata);
                let done = self.by_identity.contains_key(&identity)
                    || self.left_out.contains_key(&identity)
                    || self.strayed.contains_key(&path)
                    || group.exclude.covers(&path);
                if done || !metadata.is_file() || metadata.len() == 0 {
                    continue;
                }
                let reason = if self.held.contains_key(&identity) {
                    "it may be a copy in the making".to_owned()
                } else if self.room.is_waiting(&path) {
                    "it waits for a descriptor, see `max open files`".to_owned()
                } else {
                    match open_of(&self.config, number, &path) {
                        Ok(_) => "not read yet".to_owned(),
                        Err(error) => format!("cannot open it: {error}"),
                    }
                };
                left.unread_bytes += metadata.len();
                left.add(&path, metadata.len(), reason);
            }
        }
    }
}

impl Left {
    fn add(&mut self, path: &Path, bytes: u64, reason: String) {
        self.bytes += bytes;
        self.files += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push(LeftFile {
                path: path.to_string_lossy().into_owned(),
                bytes,
                reason,
            });
        }
    }
}

/// The size of the file itself, wherever it is called how.
fn size_now(tail: &Tail) -> u64 {
    let metadata = match tail.file() {
        Some(file) => file.metadata().ok(),
        None => {
            let metadata = std::fs::metadata(&tail.path).ok();
            metadata.filter(|metadata| Identity::of(metadata) == tail.identity)
        }
    };
    metadata.map_or(tail.size, |metadata| metadata.len())
}
