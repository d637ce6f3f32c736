//! The entries of the last run that no file of this run has been recognised as.
//!
//! More than one may bear the same mark: an inode is used again, files begin alike, and all that were rotated away have
//! the path of the first. None of them hides another.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::Entry;
use crate::tail::identity::Identity;

/// Their numbers, and how they are found. What is found comes with the youngest entry first.
#[derive(Debug, Default)]
pub(super) struct Unclaimed {
    numbers: BTreeSet<u64>,
    by_identity: BTreeSet<(Identity, u64)>,
    /// By the hash of the first bytes, when there are enough of them.
    by_content: BTreeSet<(u64, u64)>,
    by_path: HashMap<PathBuf, Vec<u64>>,
}

impl Unclaimed {
    pub(super) fn insert(&mut self, number: u64, entry: &Entry) {
        self.numbers.insert(number);
        self.by_identity.insert((entry.identity, number));
        if entry.fingerprint.is_full() {
            self.by_content.insert((entry.fingerprint.hash, number));
        }
        let numbers = self.by_path.entry(entry.path.clone()).or_default();
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }

    /// The entry has to be as it was when it was put in.
    pub(super) fn remove(&mut self, number: u64, entry: &Entry) {
        if !self.numbers.remove(&number) {
            return;
        }
        self.orphan(number, entry);
        self.by_content.remove(&(entry.fingerprint.hash, number));
        if let Some(numbers) = self.by_path.get_mut(&entry.path) {
            numbers.retain(|known| *known != number);
            if numbers.is_empty() {
                self.by_path.remove(&entry.path);
            }
        }
    }

    /// It is not found by its identity any more.
    pub(super) fn orphan(&mut self, number: u64, entry: &Entry) {
        self.by_identity.remove(&(entry.identity, number));
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.numbers.contains(&number)
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.numbers.iter().copied()
    }

    pub(super) fn of_identity(&self, identity: Identity) -> impl Iterator<Item = u64> {
        under(&self.by_identity, identity)
    }

    pub(super) fn of_content(&self, hash: u64) -> impl Iterator<Item = u64> {
        under(&self.by_content, hash)
    }

    pub(super) fn of_path<'a>(&'a self, path: &Path) -> impl Iterator<Item = u64> + use<'a> {
        let numbers = self.by_path.get(path);
        numbers.into_iter().flatten().rev().copied()
    }
}

/// The numbers that stand with this mark, the largest first.
fn under<K: Copy + Ord>(index: &BTreeSet<(K, u64)>, mark: K) -> impl Iterator<Item = u64> {
    let range = index.range((mark, 0)..=(mark, u64::MAX));
    range.rev().map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::tests::entry;
    use crate::tail::identity::{FINGERPRINT_BYTES, Fingerprint};

    #[test]
    fn none_hides_another_that_bears_the_same_marks() {
        let mut same = entry(1, 10);
        same.fingerprint = Fingerprint::of(&[b'x'; FINGERPRINT_BYTES]);
        let (identity, hash, path) = (same.identity, same.fingerprint.hash, same.path.clone());
        let mut unclaimed = Unclaimed::default();
        let found = |unclaimed: &Unclaimed| {
            [
                unclaimed.of_identity(identity).collect::<Vec<_>>(),
                unclaimed.of_content(hash).collect(),
                unclaimed.of_path(&path).collect(),
            ]
        };
        unclaimed.insert(9, &entry(2, 10));
        for number in [1, 2, 3] {
            unclaimed.insert(number, &same);
        }
        unclaimed.insert(3, &same);
        assert_eq!(
            found(&unclaimed),
            [vec![3, 2, 1], vec![3, 2, 1], vec![3, 2, 1]]
        );
        unclaimed.remove(3, &same);
        unclaimed.remove(3, &same);
        assert_eq!(found(&unclaimed), [vec![2, 1], vec![2, 1], vec![2, 1]]);
        unclaimed.orphan(2, &same);
        assert_eq!(found(&unclaimed), [vec![1], vec![2, 1], vec![2, 1]]);
        unclaimed.remove(1, &same);
        unclaimed.remove(2, &same);
        assert!(found(&unclaimed).iter().all(Vec::is_empty));
        assert_eq!(unclaimed.numbers().collect::<Vec<_>>(), [9]);
        assert!(unclaimed.by_path.len() == 1 && unclaimed.by_content.is_empty());
    }
}
