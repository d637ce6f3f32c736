//! The decision about a path: a file we know, a file the registry knows, or a new one, and
//! where to begin in it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::copies::Verdict;
use super::file::{Beginning, DOUBT, Tail, last_line_start};
use super::identity::{Fingerprint, Identity, birth_of, read_fully_at};
use super::links::{Strayed, open_of, open_to_compare};
use super::shape::container::{Format, fields_of_path};
use super::{MAX_FILES, Tails, Trust};
use crate::config::{Config, NetworkFiles, StartPosition};
use crate::event::{Source, StreamId};
use crate::registry::Entry;
use crate::registry::store::now as unix_now;

/// How compressed files begin: shipping their bytes as lines helps nobody.
const COMPRESSED: &[(&[u8], &str)] = &[
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PK\x03\x04", "zip"),
    (b"\x04\x22\x4d\x18", "lz4"),
];

/// The advice for a compressed file.
pub(super) const NOT_COMPRESSED: &str =
    "a compressed file is not shipped; set `compressed files: ship` to ship its bytes";

/// What the lines of a file come from, with the fields of its group, and of its path if it is a
/// container's.
///
/// It goes on with the stream that is known, or begins one.
pub(super) fn source_of(
    config: &Config,
    id: u64,
    first_path: &Path,
    group: usize,
    stream: Option<StreamId>,
) -> Rc<Source> {
    let settings = &config.groups[group];
    let mut fields = Cow::Borrowed(settings.fields.as_slice());
    if settings.lines.format != Format::Plain {
        for (name, value) in fields_of_path(first_path) {
            if !fields.iter().any(|(known, _)| *known == name) {
                fields.to_mut().push((name, value));
            }
        }
    }
    let source = Source::new(id, true, first_path, &config.hostname, &fields)
        .with_facts(config.network.facts.as_deref());
    Rc::new(source.with_stream(stream.or_else(StreamId::random)))
}

/// What the registry keeps of a tail.
pub(super) fn entry_of(tail: &Tail) -> Entry {
    Entry {
        identity: tail.identity,
        born: tail.born,
        fingerprint: tail.fingerprint,
        offset: tail.offset,
        mark: None,
        cursor: None,
        path: tail.first_path.clone(),
        packed: None,
        stream: tail.source.stream.clone(),
        seen: unix_now(),
    }
}

impl Tails {
    /// Looks at a path that a pattern found. Returns the key of its tail, if it has or gets one.
    pub(super) fn consider(&mut self, path: &Path, group: usize, now: Instant) -> Option<u64> {
        self.consider_as(path, path, group, now)
    }

    /// As [`Tails::consider`], for a file that was called `first_path` when it was first there.
    pub(super) fn consider_as(
        &mut self,
        path: &Path,
        first_path: &Path,
        group: usize,
        now: Instant,
    ) -> Option<u64> {
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return self.cannot("look at", path, &error),
        };
        let identity = Identity::of(&metadata);
        if let Some(key) = self.by_identity.get(&identity).copied() {
            if self.known.get(&key).is_some_and(|tail| tail.is_open()) {
                // While it is open its inode cannot belong to another file.
                self.found_at(key, path, &metadata);
                return Some(key);
            }
            return self.consider_closed(key, path, &metadata, now);
        }
        let state = (birth_of(&metadata), metadata.modified().ok());
        if metadata.is_dir() || self.left_out.get(&identity) == Some(&state) {
            return None;
        }
        if !metadata.is_file() {
            self.leave_out(identity, &metadata);
            warn!(path = %path.display(), "not a regular file, it is not shipped");
            return None;
        }
        match self.open_new(path, first_path, group, now) {
            Ok(key) => key,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => self.cannot("open", path, &error),
        }
    }

    /// A file that was closed: it is opened again if it has changed.
    fn consider_closed(
        &mut self,
        key: u64,
        path: &Path,
        metadata: &Metadata,
        now: Instant,
    ) -> Option<u64> {
        let tail = self.known.get_mut(&key)?;
        let (group, first_path) = (tail.group, tail.first_path.clone());
        if birth_of(metadata) == tail.born {
            let done = tail.is_as_known(metadata) && tail.is_drained();
            self.found_at(key, path, metadata);
            if done {
                return Some(key);
            }
        }
        if !self.make_room(path, &first_path, group) {
            return Some(key);
        }
        let file = match open_of(&self.config, group, path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return self.cannot("open", path, &error).or(Some(key)),
        };
        let identity = match file.metadata() {
            Ok(metadata) => (Identity::of(&metadata), birth_of(&metadata)),
            Err(error) => return self.cannot("look at", path, &error).or(Some(key)),
        };
        let tail = self.known.get_mut(&key)?;
        if identity != (tail.identity, tail.born) {
            // Another file with the old one's inode, or the path went to another file just now. The
            // tail is dropped as missing, the path is looked at again.
            let old = tail.identity;
            self.by_identity.remove(&old);
            self.set_missing(key, now);
            return self.consider_as(path, path, group, now);
        }
        tail.reopen(file);
        tail.last_growth = now;
        self.open_files += 1;
        self.begin_turn(key, now);
        self.found_at(key, path, metadata);
        self.wake(key);
        Some(key)
    }

    fn open_new(
        &mut self,
        path: &Path,
        first_path: &Path,
        group: usize,
        now: Instant,
    ) -> io::Result<Option<u64>> {
        if self.known.len() >= MAX_FILES {
            if let Some(suppressed) = self.throttle.admit("too many files") {
                let path = path.display();
                warn!(%path, limit = MAX_FILES, suppressed, "the patterns find too many files, some are not shipped");
            }
            return Ok(None);
        }
        if !self.make_room(path, first_path, group) {
            return Ok(None);
        }
        let file = open_of(&self.config, group, path)?;
        let metadata = file.metadata()?;
        let identity = Identity::of(&metadata);
        if self.by_identity.contains_key(&identity) {
            // Something else than a moment ago: the next scan decides.
            return Ok(None);
        }
        if self.complete(group).is_some() {
            if self.is_too_old(group, &metadata) {
                self.leave_out(identity, &metadata);
                return Ok(None);
            }
            if let Some(format) = compression_of(&file)? {
                self.begin_archive(path, group, file, &metadata, format)?;
                return Ok(None);
            }
        }
        if !self.config.groups[group].ship_compressed
            && let Some(format) = compression_of(&file)?
        {
            self.leave_out(identity, &metadata);
            let path = path.display();
            warn!(%path, format, "{NOT_COMPRESSED}");
            return Ok(None);
        }
        if self.is_doubtful(group, &file, &metadata, now) {
            return Ok(None);
        }
        let mut known = self.recognise(path, &file, &metadata)?;
        // A file of which nothing was read is as good as unknown: a copy is empty at first, and may have the inode of a
        // file that was removed.
        let mut unread = match &known {
            Known::Same(_, entry, _) => entry.offset == 0 && entry.fingerprint.length == 0,
            Known::Another | Known::Nothing => true,
        };
        // Complete files may well have the same content: each is read.
        let copies = self.complete(group).is_none();
        if copies
            && unread
            && metadata.len() > 0
            && let Some((number, entry, fingerprint)) =
                self.recognise_copy(path, &file, &metadata)?
        {
            info!(path = %path.display(), of = %entry.path.display(), "the file is a copy of one that is known");
            known = Known::Same(number, entry, fingerprint);
            unread = false;
        }
        if copies
            && unread
            && self.may_be_copy(path, group, &file, &metadata, now)? == Verdict::Wait
        {
            debug!(path = %path.display(), "the file may be a copy in the making, it has to wait");
            return Ok(None);
        }
        let (beginning, first_path, mark) = match known {
            Known::Same(_, ref entry, fingerprint) => {
                let offset = entry.offset;
                (
                    Beginning {
                        offset,
                        fingerprint,
                    },
                    entry.path.clone(),
                    entry.mark,
                )
            }
            Known::Another => {
                info!(path = %path.display(), "another file or content than in the last run, starting over with it");
                let fingerprint = Fingerprint::take(&file)?;
                (
                    Beginning {
                        offset: 0,
                        fingerprint,
                    },
                    first_path.to_owned(),
                    None,
                )
            }
            Known::Nothing => {
                let fingerprint = Fingerprint::take(&file)?;
                let offset = self.first_offset(path, group, &file, &metadata)?;
                (
                    Beginning {
                        offset,
                        fingerprint,
                    },
                    first_path.to_owned(),
                    None,
                )
            }
        };
        let id = self.new_id();
        let stream = match &known {
            Known::Same(_, entry, _) => entry.stream.clone(),
            Known::Another | Known::Nothing => None,
        };
        let source = source_of(&self.config, id, &first_path, group, stream);
        let mut tail = Tail::new(source, group, path, &first_path, file, &metadata, beginning)?;
        tail.shape(&self.config.groups[group].lines)?;
        tail.last_growth = now;
        // What is written through a link is not hinted at where the link is.
        tail.polled = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
        if tail.polled {
            self.polled.insert(id);
        }
        let mut kept = entry_of(&tail);
        kept.mark = mark;
        let mut ledger = self.ledger.borrow_mut();
        // Not before everything that can fail: what is known must not get lost.
        match known {
            Known::Same(number, _, _) => ledger.claim(id, number, kept),
            Known::Another | Known::Nothing => ledger.insert(id, kept),
        }
        // What else had this inode may be in a copy.
        ledger.pass_on(identity);
        drop(ledger);
        info!(path = %path.display(), offset = beginning.offset, size = metadata.len(), "following the file");
        tail.own = metadata.len() > 0 || !copies;
        tail.cautious = self.is_cautious(group, tail.file());
        self.network_files |= tail.cautious;
        self.open_files += 1;
        if self.complete(group).is_some() {
            self.unfinished.insert(id, beginning.offset);
        }
        self.take_place(id, Box::new(tail));
        self.begin_turn(id, now);
        Ok(Some(id))
    }

    /// Whether what the file system says about this file may be out of date.
    fn is_cautious(&self, group: usize, file: Option<&File>) -> bool {
        match self.config.groups[group].network_files {
            NetworkFiles::On => true,
            NetworkFiles::Off => false,
            NetworkFiles::Auto => file.is_some_and(is_on_network),
        }
    }

    /// Whether a file that the registry knows is too short, which on a network file system may pass.
    fn is_doubtful(
        &mut self,
        group: usize,
        file: &File,
        metadata: &Metadata,
        now: Instant,
    ) -> bool {
        let identity = Identity::of(metadata);
        let short = match self.ledger.borrow().find_unclaimed(identity).next() {
            Some((_, entry)) => metadata.len() < entry.offset,
            None => false,
        };
        if !short || !self.is_cautious(group, Some(file)) {
            self.short.remove(&identity);
            return false;
        }
        let since = *self.short.entry(identity).or_insert(now);
        now.saturating_duration_since(since) < DOUBT
    }

    /// What the registry knows of this file.
    fn recognise(&self, path: &Path, file: &File, metadata: &Metadata) -> io::Result<Known> {
        let ledger = self.ledger.borrow();
        let identity = Identity::of(metadata);
        let born = birth_of(metadata);
        let mut entries: Vec<_> = ledger.find_unclaimed(identity).collect();
        if entries.is_empty() {
            // Devices are renumbered by a reboot now and then.
            entries.extend(ledger.unclaimed().find(|(_, entry)| {
                let moved = entry.identity.inode == identity.inode && entry.path == path;
                moved && entry.born.is_some() && entry.born == born
            }));
        }
        for (number, entry) in &entries {
            if let Some(fingerprint) = still_the_same(entry, file, metadata)? {
                return Ok(Known::Same(*number, (*entry).clone(), fingerprint));
            }
        }
        if entries.is_empty() {
            return Ok(Known::Nothing);
        }
        Ok(Known::Another)
    }

    /// Where to begin in a file that the registry does not know.
    fn first_offset(
        &self,
        path: &Path,
        group: usize,
        file: &File,
        metadata: &Metadata,
    ) -> io::Result<u64> {
        let settings = &self.config.groups[group];
        if self.is_too_old(group, metadata) && self.trust != Trust::Damaged {
            info!(path = %path.display(), size = metadata.len(),
                "the file was last written to longer than `ignore older` ago, only what is added \
                 to it will be shipped");
            return Ok(metadata.len());
        }
        let created = self.ledger.borrow().created;
        let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
        let age = SystemTime::now()
            .duration_since(modified)
            .unwrap_or_default();
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
        // Files that nobody has written to since before Skidder came here: old stock.
        let old_stock = settings.following.skip_old_stock
            && age >= settings.dead_time
            && seconds(modified) < created;
        if old_stock && self.trust != Trust::Damaged {
            info!(path = %path.display(), size = metadata.len(),
                "the file was last written to longer than `dead time` before the first start, \
                 only what is added to it will be shipped");
            return Ok(metadata.len());
        }
        let born = birth_of(metadata).map_or(seconds(modified), |born| born / 1_000_000_000);
        let was_there = match self.trust {
            Trust::FirstRun => !self.scanned || born < created,
            Trust::Whole => born < created,
            Trust::Damaged => false,
        };
        match settings.start_position {
            StartPosition::End if was_there && settings.lines.delimiter.is_some() => {
                Ok(metadata.len())
            }
            StartPosition::End if was_there => {
                last_line_start(file, metadata.len(), self.config.limits.max_line_bytes)
            }
            _ => Ok(0),
        }
    }

    /// After a start: files that were renamed while nobody looked, to where no pattern finds
    /// them, may have lines left. They are sought in the directory they were in.
    pub(super) fn find_renamed(&mut self, now: Instant) {
        let directories: HashSet<PathBuf> = {
            let ledger = self.ledger.borrow();
            let parents = ledger.unclaimed().map(|(_, entry)| entry.path.parent());
            parents.flatten().map(Path::to_owned).collect()
        };
        for directory in directories {
            let Ok(entries) = std::fs::read_dir(&directory) else {
                continue;
            };
            for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
                let Ok(metadata) = std::fs::symlink_metadata(&path) else {
                    continue;
                };
                let identity = Identity::of(&metadata);
                if self.known.len() >= MAX_FILES
                    || !metadata.is_file()
                    || self.by_identity.contains_key(&identity)
                {
                    continue;
                }
                // An error: the file has just gone, or nobody may read it.
                if self.consider_archive(&path).unwrap_or(true) {
                    continue;
                }
                let known = self.first_path_of(&path, identity);
                let first_path = known.or_else(|| self.first_path_of_copy(&path, &metadata));
                if let Some(first_path) = first_path
                    && let Some(group) = self.group_of(&first_path)
                {
                    // No pattern finds it, so it is closed when it is done.
                    self.consider_as(&path, &first_path, group, now);
                }
            }
        }
    }

    fn first_path_of_copy(&self, path: &Path, metadata: &Metadata) -> Option<PathBuf> {
        let file = open_to_compare(path).ok()?;
        let (_, entry, _) = self.recognise_copy(path, &file, metadata).ok()??;
        Some(entry.path)
    }

    /// Where a file of this identity was in the last run, if it is still the same.
    fn first_path_of(&self, path: &Path, identity: Identity) -> Option<PathBuf> {
        let ledger = self.ledger.borrow();
        let mut entries = ledger.find_unclaimed(identity).peekable();
        entries.peek()?;
        let file = open_to_compare(path).ok()?;
        let metadata = file.metadata().ok()?;
        let mut entries = entries.filter(|_| Identity::of(&metadata) == identity);
        let same = entries.find(|(_, entry)| {
            still_the_same(entry, &file, &metadata).is_ok_and(|same| same.is_some())
        });
        same.map(|(_, entry)| entry.path.clone())
    }

    /// Remembers that a file is not shipped for what it is; it is looked at again when it changes.
    pub(super) fn leave_out(&mut self, identity: Identity, metadata: &Metadata) {
        if self.left_out.len() >= MAX_FILES {
            self.left_out.clear();
        }
        self.left_out
            .insert(identity, (birth_of(metadata), metadata.modified().ok()));
    }

    fn cannot(&mut self, what: &'static str, path: &Path, error: &io::Error) -> Option<u64> {
        if let Some(strayed) = Strayed::of(error) {
            if self.strayed.len() >= MAX_FILES {
                self.strayed.clear();
            }
            let target = strayed.target.clone();
            let before = self.strayed.insert(path.to_owned(), target.clone());
            if before != Some(target) {
                warn!(path = %path.display(), "the file is not shipped: {strayed}");
            }
            return None;
        }
        if let Some(suppressed) = self.throttle.admit(what) {
            let path = path.display();
            let hint = self.config.sandbox.hint(error);
            warn!(%path, %error, suppressed, "cannot {what} the file, trying again with the next round{hint}");
        }
        None
    }
}

/// What the registry knows of a file.
enum Known {
    /// It has never been seen.
    Nothing,
    /// There is an entry of this identity, but of another file or of other content.
    Another,
    /// It is the file of this entry; its first bytes may have become more.
    Same(u64, Entry, Fingerprint),
}

/// The fingerprint as it is now, if the file is the one of the entry.
pub(super) fn still_the_same(
    entry: &Entry,
    file: &File,
    metadata: &Metadata,
) -> io::Result<Option<Fingerprint>> {
    if !is_born_as(entry, metadata) {
        return Ok(None);
    }
    let same_mark = entry.mark.map_or(Ok(true), |mark| mark.matches(file))?;
    if metadata.len() < entry.offset || !same_mark {
        return Ok(None);
    }
    entry.fingerprint.grown(file)
}

/// Whether the file has the time of birth of the entry's, as far as both are known: an inode that is used again has another.
pub(super) fn is_born_as(entry: &Entry, metadata: &Metadata) -> bool {
    match (entry.born, birth_of(metadata)) {
        (Some(then), Some(now)) => then == now,
        _ => true,
    }
}

/// Whether the file is on a file system whose server others write to.
fn is_on_network(file: &File) -> bool {
    // The magic numbers of NFS, SMB, CIFS, SMB2, AFS, Coda, 9P, Ceph, GFS2, Lustre and FUSE.
    const NETWORK: &[i64] = &[
        0x6969,
        0x517B,
        0xFF53_4D42,
        0xFE53_4D42,
        0x5346_414F,
        0x7375_7245,
        0x0102_1997,
        0x00C3_6400,
        0x0116_1970,
        0x0BD0_0BD0,
        0x6573_5546,
    ];
    rustix::fs::fstatfs(file).is_ok_and(|status| {
        #[allow(clippy::unnecessary_cast, reason = "its width is the platform's")]
        NETWORK.contains(&(status.f_type as i64))
    })
}

/// The name of the compression that the file's first bytes show.
pub(super) fn compression_of(file: &File) -> io::Result<Option<&'static str>> {
    let mut head = [0; 8];
    let length = read_fully_at(file, &mut head, 0)?;
    let known = COMPRESSED
        .iter()
        .find(|(magic, _)| head[..length].starts_with(magic));
    Ok(known.map(|(_, name)| *name))
}
