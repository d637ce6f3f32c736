//! Copies of files that only the registry knows: made while nobody looked.
//!
//! What was sent of the original is sent of the copy, as with those of this run ([`super::copies`]), and by the same rule: equal
//! content alone does not make a file known.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

use tracing::debug;

use super::Tails;
use super::identity::{FINGERPRINT_BYTES, Fingerprint, Identity, birth_of};
use super::likeness::{is_related, modified, related_names, sibling, siblings};
use super::links::open_to_compare;
use super::open::{is_born_as, still_the_same};
use crate::registry::Entry;

impl Tails {
    /// The entry of the last run whose content this file has, under another inode.
    pub(super) fn recognise_copy(
        &self,
        path: &Path,
        file: &File,
        metadata: &Metadata,
    ) -> io::Result<Option<(u64, Entry, Fingerprint)>> {
        let ledger = self.ledger.borrow();
        let fingerprint = Fingerprint::take(file)?;
        let mut numbers = Vec::new();
        if fingerprint.is_full() {
            numbers.extend(ledger.find_unclaimed_content(fingerprint.hash));
        }
        for name in std::iter::once(path.to_owned()).chain(related_names(path)) {
            numbers.extend(ledger.find_unclaimed_path(&name));
        }
        for number in numbers {
            let Some(entry) = ledger.unclaimed_entry(number) else {
                continue;
            };
            if let Some(fingerprint) = is_copy_of(entry, path, file, metadata)?
                && !self.has_older_twin(entry, path, metadata)
            {
                return Ok(Some((number, entry.clone(), fingerprint)));
            }
        }
        Ok(None)
    }

    /// Whether the entry may as well be that of an older copy that nobody knows.
    ///
    /// A forwarder that was killed right behind the first lines has saved what they are and the name of their stream, but
    /// no position, and nothing but the beginning tells copies apart. If two of them begin alike the
    /// older one has those lines: under their name another line would be taken for one of them.
    fn has_older_twin(&self, entry: &Entry, path: &Path, metadata: &Metadata) -> bool {
        if entry.offset > 0 {
            return false;
        }
        let mut twins =
            siblings(path).filter(|sibling| sibling != path && is_related(sibling, &entry.path));
        twins.any(|sibling| {
            let twin = || -> io::Result<bool> {
                let file = open_to_compare(&sibling)?;
                let other = file.metadata()?;
                let identity = Identity::of(&other);
                let known = self.by_identity.contains_key(&identity)
                    || self
                        .ledger
                        .borrow()
                        .find_unclaimed(identity)
                        .next()
                        .is_some();
                Ok(!known
                    && other.modified()? < metadata.modified()?
                    && entry.fingerprint.grown(&file)?.is_some())
            };
            twin().unwrap_or(false)
        })
    }
}

/// Whether the file is a copy of the one that the entry was made for, which is not there any more as
/// it was. Its fingerprint, if so.
fn is_copy_of(
    entry: &Entry,
    path: &Path,
    file: &File,
    metadata: &Metadata,
) -> io::Result<Option<Fingerprint>> {
    let covered = u64::from(entry.fingerprint.length);
    let known = entry.mark.is_some() || entry.offset <= covered;
    if entry.packed.is_some() || covered == 0 || !known {
        return Ok(None);
    }
    let born = birth_of(metadata);
    let as_ours = Entry {
        born,
        ..entry.clone()
    };
    let Some(fingerprint) = still_the_same(&as_ours, file, metadata)? else {
        return Ok(None);
    };
    let strong = entry.offset.max(covered) >= FINGERPRINT_BYTES as u64;
    let elsewhere = path != entry.path;
    let believed = match open_original(entry) {
        Some((own, own_metadata)) => {
            // Truncated, that is: while the original is whole, both are read.
            let whole = still_the_same(entry, &own, &own_metadata)?.is_some();
            !whole && elsewhere && (strong || is_related(path, &entry.path))
        }
        None => {
            let moved = strong && metadata_device(metadata) != entry.identity.device;
            moved
                || (elsewhere && strong && is_related(path, &entry.path))
                || modified(metadata) <= entry.seen && strong
        }
    };
    debug!(path = %path.display(), of = %entry.path.display(), believed, "a file with known content");
    Ok(believed.then_some(fingerprint))
}

/// The file that the entry was made for, whatever it holds now: where it was, or renamed in its
/// directory. Not another one that has its inode.
fn open_original(entry: &Entry) -> Option<(File, Metadata)> {
    let open = |path: &Path| {
        let file = open_to_compare(path).ok()?;
        let metadata = file.metadata().ok()?;
        let is_it = Identity::of(&metadata) == entry.identity && is_born_as(entry, &metadata);
        is_it.then_some((file, metadata))
    };
    open(&entry.path).or_else(|| open(&sibling(&entry.path, entry.identity)?))
}

fn metadata_device(metadata: &Metadata) -> u64 {
    Identity::of(metadata).device
}
