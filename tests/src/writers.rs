//! Programs that write log files, and rotate them while they write.
//!
//! A writer runs in a thread and writes *numbered* lines: what arrived can be compared with what
//! was written without keeping either. Both ways of rotation are those of logrotate:
//!
//! * *rename*: `app.log` becomes `app.log.1` (and `.1` becomes `.2`, …), a new `app.log` is
//!   created. Nothing is ever deleted here.
//! * *copytruncate*: `app.log` is copied and then cut to zero length. Lines written between copy
//!   and cut would be lost by the rotation itself, so the writer stands still meanwhile; and
//!   since the cut destroys what a reader has not read yet, it first waits for a condition of
//!   the caller's ("everything written so far has arrived").

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

/// Waits until a reader has everything up to this many lines; called before a file is cut.
pub type BeforeCut = Box<dyn FnMut(u64) -> Result<()> + Send>;

/// When and how the file is rotated.
#[derive(Default)]
pub enum Rotation {
    /// Never.
    #[default]
    None,
    /// By renaming, after so many lines each time.
    Rename {
        /// Lines a file gets.
        lines: u64,
    },
    /// By copying and truncating, after so many lines each time.
    CopyTruncate {
        /// Lines a file gets.
        lines: u64,
        /// Called with the number of lines written so far, before the file is cut.
        before_cut: BeforeCut,
    },
}

/// What a writer does.
pub struct Plan {
    /// The file.
    pub path: PathBuf,
    /// The number of the first line.
    pub first: u64,
    /// How many lines to write in all.
    pub lines: u64,
    /// Lines a second; 0 for as fast as possible.
    pub rate: u64,
    /// Lines written by one `write` call: a program's buffer. Writes end at line ends unless
    /// `torn` is set.
    pub burst: u64,
    /// Whether writes end in the middle of lines, too.
    pub torn: bool,
    /// Rotation.
    pub rotation: Rotation,
}

impl Plan {
    /// Numbered lines into a file, at full speed, without rotation.
    pub fn new(path: &Path, lines: u64) -> Self {
        Self {
            path: path.to_owned(),
            first: 0,
            lines,
            rate: 0,
            burst: 100,
            torn: false,
            rotation: Rotation::None,
        }
    }

    /// Starts writing. The writer tells how often it rotated.
    pub fn start(self) -> Writer<u64> {
        Writer::start(move |written, stop| Run::new(self, written, stop)?.write_all())
    }

    /// Writes everything in this thread.
    pub fn write(self) -> Result<()> {
        self.start().finish().map(|_| ())
    }
}

/// A writer at work, with what it tells in the end. Dropping it stops it.
#[derive(Debug)]
pub struct Writer<T> {
    written: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<T>>>,
}

impl<T: Send + 'static> Writer<T> {
    /// Starts a thread that counts the lines it has written completely, and ends when it is told to stop.
    pub fn start(
        write: impl FnOnce(&AtomicU64, &AtomicBool) -> Result<T> + Send + 'static,
    ) -> Self {
        let written = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (written, stop) = (Arc::clone(&written), Arc::clone(&stop));
            std::thread::spawn(move || write(&written, &stop))
        };
        Self {
            written,
            stop,
            thread: Some(thread),
        }
    }
}

impl<T> Writer<T> {
    /// How many lines it has written completely.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Waits until it has written everything.
    pub fn finish(&mut self) -> Result<T> {
        let thread = self
            .thread
            .take()
            .context("a writer that was finished already")?;
        thread.join().map_err(|_| anyhow!("the writer panicked"))?
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// The text of a line: its number, and filling of a length that differs from line to line.
pub fn line(number: u64) -> String {
    let filling = (number.wrapping_mul(2_654_435_761) >> 7) % 120;
    format!(
        "line {number:09} {:.<1$}",
        "",
        usize::try_from(filling).unwrap_or(0)
    )
}

/// The number of a line that [`line`] made; `None` when it is damaged in any way.
pub fn number(text: &str) -> Option<u64> {
    let number = text
        .strip_prefix("line ")?
        .split(' ')
        .next()?
        .parse()
        .ok()?;
    (line(number) == text).then_some(number)
}

/// What arrived, compared with what was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Numbers that did not arrive.
    pub missing: Vec<u64>,
    /// Arrivals beyond the first of each number.
    pub duplicates: u64,
    /// Arrivals that are no line that was written.
    pub damaged: Vec<String>,
}

/// Compares the arrived lines with the numbers `first..first + lines`.
pub fn tally<'a>(first: u64, lines: u64, arrived: impl IntoIterator<Item = &'a str>) -> Tally {
    let mut seen = vec![0_u32; usize::try_from(lines).unwrap_or(0)];
    let mut result = Tally::default();
    for text in arrived {
        let place = number(text)
            .and_then(|number| number.checked_sub(first))
            .and_then(|place| seen.get_mut(usize::try_from(place).ok()?));
        match place {
            Some(count) => {
                result.duplicates += u64::from(*count > 0);
                *count += 1;
            }
            None => result.damaged.push(text.to_owned()),
        }
    }
    result.missing = (first..)
        .zip(&seen)
        .filter(|(_, count)| **count == 0)
        .map(|(n, _)| n)
        .collect();
    result
}

impl Tally {
    /// # Panics
    /// When a line is missing or damaged.
    pub fn assert_nothing_lost(&self) {
        let some = |list: &[u64]| {
            list.iter()
                .take(10)
                .map(u64::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        assert!(
            self.missing.is_empty() && self.damaged.is_empty(),
            "{} lines missing (first: {}), {} damaged (first: {:?}), {} duplicates",
            self.missing.len(),
            some(&self.missing),
            self.damaged.len(),
            self.damaged.first(),
            self.duplicates
        );
    }

    /// # Panics
    /// When a line is missing, damaged or there twice.
    pub fn assert_once_each(&self) {
        self.assert_nothing_lost();
        assert_eq!(self.duplicates, 0, "lines arrived more than once");
    }
}

struct Run<'a> {
    plan: Plan,
    file: File,
    written: &'a AtomicU64,
    stop: &'a AtomicBool,
    rotations: u64,
}

impl<'a> Run<'a> {
    fn new(plan: Plan, written: &'a AtomicU64, stop: &'a AtomicBool) -> Result<Self> {
        let file = open(&plan.path)?;
        Ok(Self {
            plan,
            file,
            written,
            stop,
            rotations: 0,
        })
    }

    fn write_all(mut self) -> Result<u64> {
        let started = Instant::now();
        let mut buffer = Vec::new();
        let mut in_file = 0;
        let mut done = 0;
        while done < self.plan.lines && !self.stop.load(Ordering::Acquire) {
            let per_file = match &self.plan.rotation {
                Rotation::None => u64::MAX,
                Rotation::Rename { lines } | Rotation::CopyTruncate { lines, .. } => *lines,
            };
            if in_file >= per_file {
                self.rotate(done)?;
                in_file = 0;
            }
            let burst = self
                .plan
                .burst
                .max(1)
                .min(self.plan.lines - done)
                .min(per_file - in_file);
            buffer.clear();
            for number in done..done + burst {
                buffer.extend_from_slice(line(self.plan.first + number).as_bytes());
                buffer.push(b'\n');
            }
            if self.plan.torn {
                let (head, tail) = buffer.split_at(buffer.len() - buffer.len() / 3);
                self.file.write_all(head)?;
                std::thread::yield_now();
                self.file.write_all(tail)?;
            } else {
                self.file.write_all(&buffer)?;
            }
            done += burst;
            in_file += burst;
            self.written.store(done, Ordering::Release);
            if self.plan.rate > 0 {
                let due = Duration::from_secs_f64(done as f64 / self.plan.rate as f64);
                std::thread::sleep(due.saturating_sub(started.elapsed()));
            }
        }
        Ok(self.rotations)
    }

    fn rotate(&mut self, done: u64) -> Result<()> {
        self.rotations += 1;
        let path = self.plan.path.clone();
        match &mut self.plan.rotation {
            Rotation::None => {}
            Rotation::Rename { .. } => {
                for number in (1..self.rotations).rev() {
                    rename(&numbered(&path, number), &numbered(&path, number + 1))?;
                }
                rename(&path, &numbered(&path, 1))?;
                self.file = open(&path)?;
            }
            Rotation::CopyTruncate { before_cut, .. } => {
                before_cut(done)?;
                // The copy's name does not match `*.log`: it is an archive, not an input.
                let copy = path.with_extension(format!("copy.{}", self.rotations));
                std::fs::copy(&path, &copy)
                    .with_context(|| format!("copying {}", path.display()))?;
                self.file
                    .set_len(0)
                    .with_context(|| format!("cutting {}", path.display()))?;
            }
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<File> {
    // Append mode, as programs that survive copytruncate use: the next write goes to the end
    // of the file, wherever that is by then.
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).with_context(|| format!("renaming {}", from.display()))
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(path: &Path) -> Vec<String> {
        std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn lines_know_their_number() {
        for value in [0, 1, 99, 123_456_789] {
            assert_eq!(number(&line(value)), Some(value));
        }
        assert_eq!(number(&line(7)[1..]), None);
        assert_eq!(number(&format!("{}.", line(7))), None);
    }

    #[test]
    fn the_tally_finds_what_is_wrong() {
        let arrived = [line(10), line(11), line(11), "rubbish".to_owned(), line(99)];
        let tally = tally(10, 3, arrived.iter().map(String::as_str));
        assert_eq!(tally.missing, [12]);
        assert_eq!(tally.duplicates, 1);
        assert_eq!(tally.damaged, ["rubbish".to_owned(), line(99)]);
    }

    #[test]
    fn rename_keeps_every_line_in_some_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        let plan = Plan {
            torn: true,
            rotation: Rotation::Rename { lines: 150 },
            ..Plan::new(&path, 1000)
        };
        assert_eq!(plan.start().finish().unwrap(), 6);
        let mut lines = lines_of(&path);
        for number in 1..=6 {
            lines.extend(lines_of(&numbered(&path, number)));
        }
        tally(0, 1000, lines.iter().map(String::as_str)).assert_once_each();
    }

    #[test]
    fn copytruncate_cuts_only_when_told_that_it_may() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        let seen = Arc::new(AtomicU64::new(0));
        let cuts = Arc::clone(&seen);
        let rotation = Rotation::CopyTruncate {
            lines: 300,
            before_cut: Box::new(move |written| {
                cuts.store(written, Ordering::Relaxed);
                Ok(())
            }),
        };
        let rotations = Plan {
            rotation,
            ..Plan::new(&path, 700)
        }
        .start()
        .finish()
        .unwrap();
        assert_eq!(rotations, 2);
        assert_eq!(seen.load(Ordering::Relaxed), 600);
        assert_eq!(lines_of(&path).len(), 100);
        assert_eq!(lines_of(&folder.path().join("app.copy.1")).len(), 300);
        assert_eq!(lines_of(&folder.path().join("app.copy.2"))[0], line(300));
    }

    #[test]
    fn a_rate_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let started = Instant::now();
        let plan = Plan {
            rate: 1000,
            burst: 10,
            ..Plan::new(&folder.path().join("app.log"), 100)
        };
        plan.write().unwrap();
        assert!(started.elapsed() >= Duration::from_millis(95));
    }
}
