//! From a path to an open file: only a regular one, and not where a symbolic link leads out of what the config
//! names.
//!
//! Who writes the logs often owns their directory, and we may be allowed to read more than they are: a link
//! to `/etc/shadow` planted there must not ship it. So the path of what was opened is looked at, not that of what is
//! to be opened: the kernel is asked where the descriptor has led to, and nobody can put another file there in
//! between. A descriptor that only marks the place comes first; what is not a regular file (a pipe
//! whose writer waits for a reader, a device that does something when it is opened) is never opened at all.
//!
//! Hard links are not looked at: with `fs.protected_hardlinks` (the default everywhere) nobody can make one
//! to a file that is not theirs.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

use super::pattern::Pattern;
use crate::config::{Config, FileGroup};

/// Which symbolic links are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Follow {
    /// Those to files that a pattern names, in the same directory, or below `symlink targets`.
    #[default]
    Inside,
    /// All.
    On,
    /// None but those in the part of a pattern before its first wildcard and before its last name.
    Off,
}

/// A link that is not followed.
#[derive(Debug, thiserror::Error)]
#[error(
    "it is, or is behind, a symbolic link to {}, which no pattern names; if it is meant to be shipped write `symlink targets: [{}]` in its \
     element of `files`",
    .target.display(),
    .target.parent().unwrap_or(.target).display()
)]
pub(crate) struct Strayed {
    /// Where it leads to.
    pub(crate) target: PathBuf,
}

impl Strayed {
    /// What the error of [`open_file`] is about, if it is this.
    pub(crate) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

/// Opens a file of an element of `files`.
pub(crate) fn open_of(config: &Config, group: usize, path: &Path) -> io::Result<File> {
    open_file(path, &|target| may_follow(config, group, path, target))
}

/// Opens a file that nothing will be shipped of, wherever links lead.
pub(crate) fn open_to_compare(path: &Path) -> io::Result<File> {
    open_file(path, &|_| true)
}

/// Opens a regular file for reading. `may_follow` is asked if its path, without links, is another one.
fn open_file(path: &Path, may_follow: &dyn Fn(&Path) -> bool) -> io::Result<File> {
    let marks = OFlags::PATH | OFlags::CLOEXEC;
    let reads = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let place = rustix::fs::open(path, marks, Mode::empty())?;
    let status = fstat(&place)?;
    if !FileType::from_raw_mode(status.st_mode).is_file() {
        let message = "it is not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let way = format!("/proc/self/fd/{}", place.as_raw_fd());
    let Ok(target) = std::fs::read_link(&way) else {
        // There is no /proc here: then without links at all.
        let file = openat2(CWD, path, reads, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
        let file = File::from(file);
        return match file.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(file),
            Ok(_) => Err(io::ErrorKind::InvalidInput.into()),
            Err(error) => Err(error),
        };
    };
    if target != path {
        if status.st_nlink == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !may_follow(&target) {
            let strayed = Strayed { target };
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, strayed));
        }
    }
    let file = rustix::fs::open(way, reads, Mode::empty())?;
    Ok(File::from(file))
}

/// Whether a file of the element, found at `path`, may be the one at `target`.
fn may_follow(config: &Config, group: usize, path: &Path, target: &Path) -> bool {
    let settings = &config.groups[group];
    if settings.follow_links == Follow::On {
        return true;
    }
    let inside = settings.follow_links == Follow::Inside;
    let bases = settings.patterns.iter().flat_map(Pattern::bases);
    for (base, _) in bases {
        let Some(there) = path
            .strip_prefix(base)
            .ok()
            .and_then(|rest| Some(std::fs::canonicalize(base).ok()?.join(rest)))
        else {
            continue;
        };
        // Whoever can make a link in a directory can rename another file there.
        if there == target || inside && there.parent() == target.parent() && !is_sticky(target) {
            return true;
        }
    }
    inside
        && (config.groups.iter().any(|group| names(group, target))
            || is_below(&settings.link_targets, target))
}

/// Whether a pattern names the target, which has no links in its path.
fn names(group: &FileGroup, target: &Path) -> bool {
    !group.exclude.covers(target)
        && group.patterns.iter().any(|pattern| {
            pattern.matches(target)
                || pattern.bases().any(|(base, rest)| {
                    let base = std::fs::canonicalize(base).ok();
                    base.as_deref()
                        .and_then(|base| target.strip_prefix(base).ok())
                        .is_some_and(|found| rest.is_match(found))
                })
        })
}

fn is_below(directories: &[PathBuf], target: &Path) -> bool {
    directories.iter().any(|directory| {
        std::fs::canonicalize(directory).is_ok_and(|directory| target.starts_with(directory))
    })
}

/// In a directory like `/tmp` nobody can rename the files of others.
fn is_sticky(target: &Path) -> bool {
    let directory = target.parent().map(std::fs::metadata);
    directory.is_none_or(|found| found.is_ok_and(|found: Metadata| found.mode() & 0o1000 != 0))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_is_not_a_regular_file_is_never_opened() {
        let root = tempfile::tempdir().expect("a directory");
        let root = root.path().canonicalize().expect("a path");
        let fifo = root.join("fifo.log");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .expect("a pipe");
        let socket = root.join("socket.log");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        // A writer waits for a reader, and would go on if we opened the pipe.
        let (for_thread, began) = (fifo.clone(), Instant::now());
        let (sender, opened) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let writer = File::options().write(true).open(for_thread);
            sender.send(writer.is_ok()).unwrap_or_default();
        });
        for path in [&fifo, &socket, &root, Path::new("/dev/null")] {
            let error = open_file(path, &|_| true).expect_err("no file");
            assert_eq!(
                error.kind(),
                io::ErrorKind::InvalidInput,
                "{}",
                path.display()
            );
        }
        assert!(began.elapsed() < Duration::from_secs(20));
        assert!(opened.recv_timeout(Duration::from_millis(200)).is_err());
        // It goes on now, so that its thread ends.
        drop(File::open(&fifo));
        let missing = open_file(&root.join("missing"), &|_| true).expect_err("nothing");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_link_that_is_swapped_while_it_is_opened_does_not_win() {
        let root = tempfile::tempdir().expect("a directory");
        let root = root.path().canonicalize().expect("a path");
        let (good, secret) = (root.join("good"), root.join("secret"));
        std::fs::write(&good, "good").expect("writes");
        std::fs::write(&secret, "secret").expect("writes");
        let path = root.join("app.log");
        symlink(&good, &path).expect("links");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut targets = [&secret, &good].into_iter().cycle();
                while !stop.load(Ordering::Relaxed) {
                    let new = root.join("new");
                    symlink(targets.next().expect("endless"), &new).expect("links");
                    std::fs::rename(new, &path).expect("renames");
                }
            });
            let (mut opened, mut refused) = (0, 0);
            let deadline = Instant::now() + Duration::from_mins(1);
            while (opened < 500 || refused < 500) && Instant::now() < deadline {
                match open_file(&path, &|target| target == good) {
                    Ok(file) => {
                        assert_eq!(io::read_to_string(file).expect("reads"), "good");
                        opened += 1;
                    }
                    Err(error) => {
                        let strayed = Strayed::of(&error).expect("it strays");
                        assert_eq!(strayed.target, secret);
                        refused += 1;
                    }
                }
            }
            stop.store(true, Ordering::Relaxed);
            assert!(opened > 0 && refused > 0, "{opened}, {refused}");
        });
    }
}
