//! Programs that write numbered lines into a folder and rotate their files in every way there is.
//!
//! A writer never destroys what nobody has read: it deletes or cuts only what has arrived, or what
//! has a copy or a compressed twin that a reader is promised to find. Everything else it does
//! without a look at the reader, which may be dead, stopped or far behind. Files are named so that
//! the pattern `app*.log*` finds those that are to be read.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use skidder_tests::process::append;
use skidder_tests::writers::{self, line};

use crate::random::Random;

/// How many lines of this writer have arrived; `None` when nobody can say just now.
pub(crate) type Arrived = Box<dyn Fn() -> Option<u64> + Send>;

/// A way of rotating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `app.log` becomes `app.log.1`, `.1` becomes `.2`, …; a new `app.log` is made.
    Rename,
    /// As [`Way::Rename`], but the new file has its own name from the beginning.
    Dated,
    /// `app.log` is copied to `app.log.1` and cut, whatever has been read of it.
    CopyTruncate,
    /// `app.log` is cut in place when everything has arrived.
    Truncate,
    /// All files are deleted when everything has arrived.
    Delete,
    /// `app.log` is renamed, compressed and deleted once its beginning has arrived.
    Compress,
    /// Each burst of lines is a file of its own.
    Small,
}

/// All of them.
pub(crate) const WAYS: [Way; 7] = [
    Way::Rename,
    Way::Dated,
    Way::CopyTruncate,
    Way::Truncate,
    Way::Delete,
    Way::Compress,
    Way::Small,
];

/// What a writer does.
pub(crate) struct Plan {
    /// Its name.
    pub(crate) name: String,
    /// Where its files are.
    pub(crate) folder: PathBuf,
    /// The number of its first line.
    pub(crate) first: u64,
    /// Lines a second.
    pub(crate) rate: u64,
    /// How long it writes.
    pub(crate) time: Duration,
    /// The ways of rotating that it takes turns in, at random.
    pub(crate) ways: Vec<Way>,
    /// Its random numbers.
    pub(crate) random: Random,
    /// What has arrived.
    pub(crate) arrived: Arrived,
}

/// A writer at work.
pub(crate) struct Writer {
    /// Its name.
    pub(crate) name: String,
    /// The number of its first line.
    pub(crate) first: u64,
    work: writers::Writer<String>,
}

/// How long a writer waits for its lines to arrive before it gives up deleting and writes on.
const CATCH_UP: Duration = Duration::from_secs(4);
const CATCH_UP_POLL: Duration = Duration::from_millis(200);

impl Plan {
    /// Starts writing.
    pub(crate) fn start(self) -> Result<Writer> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("creating {}", self.folder.display()))?;
        let (name, first) = (self.name.clone(), self.first);
        let work = writers::Writer::start(move |written, stop| {
            let mut run = Run {
                current: self.folder.join("app.log"),
                plan: self,
                written,
                stop,
                done: 0,
                files: 0,
                story: Vec::new(),
            };
            run.write_all()
        });
        Ok(Writer { name, first, work })
    }
}

impl Writer {
    /// How many lines it has written.
    pub(crate) fn written(&self) -> u64 {
        self.work.written()
    }

    /// Waits until its time is over; says how often it rotated in which way.
    pub(crate) fn finish(&mut self) -> Result<String> {
        self.work.finish()
    }
}

struct Run<'w> {
    plan: Plan,
    current: PathBuf,
    written: &'w AtomicU64,
    stop: &'w AtomicBool,
    done: u64,
    files: u64,
    story: Vec<Way>,
}

impl Run<'_> {
    fn write_all(&mut self) -> Result<String> {
        let started = Instant::now();
        let mut file = append(&self.current)?;
        let mut left = self.plan.random.within(5..700);
        while started.elapsed() < self.plan.time && !self.stop.load(Ordering::SeqCst) {
            let burst = self.plan.random.within(1..120);
            self.burst(&mut file, burst)?;
            left = left.saturating_sub(burst);
            if left == 0 {
                let way = self.plan.random.pick(&self.plan.ways);
                self.rotate(&file, way)
                    .with_context(|| format!("{} rotates by {way:?}", self.plan.name))?;
                file = append(&self.current)?;
                left = match way {
                    Way::Small => self.plan.random.within(1..100),
                    _ => self.plan.random.within(5..700),
                };
            }
            let due = Duration::from_secs_f64(self.done as f64 / self.plan.rate as f64);
            std::thread::sleep(due.saturating_sub(started.elapsed()));
        }
        let mut ways = Vec::new();
        for way in WAYS {
            let times = self.story.iter().filter(|taken| **taken == way).count();
            if times > 0 {
                ways.push(format!("{way:?} {times} times"));
            }
        }
        Ok(ways.join(", "))
    }

    /// Writes lines, now and then by two writes that part one of them.
    fn burst(&mut self, file: &mut File, lines: u64) -> Result<()> {
        let mut text = Vec::new();
        for number in self.done..self.done + lines {
            text.extend_from_slice(line(self.plan.first + number).as_bytes());
            text.push(b'\n');
        }
        let cut = match self.plan.random.within(0..4) {
            0 => self.plan.random.within(0..text.len() as u64) as usize,
            _ => 0,
        };
        file.write_all(&text[..cut])?;
        if cut > 0 {
            std::thread::sleep(Duration::from_millis(self.plan.random.within(0..30)));
        }
        file.write_all(&text[cut..])?;
        self.done += lines;
        self.written.store(self.done, Ordering::SeqCst);
        Ok(())
    }

    fn rotate(&mut self, file: &File, way: Way) -> Result<()> {
        let current = self.current.clone();
        match way {
            Way::Rename => {
                self.current = self.plan.folder.join("app.log");
                if self.current == current {
                    std::fs::rename(&current, make_room(&current)?)?;
                }
            }
            Way::Dated | Way::Small => {
                self.files += 1;
                self.current = self.plan.folder.join(format!("app-{:06}.log", self.files));
            }
            Way::CopyTruncate => {
                std::fs::copy(&current, make_room(&current)?)?;
                file.set_len(0)?;
            }
            Way::Truncate => {
                if !self.caught_up() {
                    return Ok(());
                }
                file.set_len(0)?;
            }
            Way::Delete => {
                if !self.caught_up() {
                    return Ok(());
                }
                for entry in std::fs::read_dir(&self.plan.folder)? {
                    std::fs::remove_file(entry?.path())?;
                }
            }
            Way::Compress => {
                // Its first lines have arrived, so the reader knows the file; some of it is new.
                if !self.caught_up() {
                    return Ok(());
                }
                let lines = self.plan.random.within(1..200);
                self.burst(&mut append(&current)?, lines)?;
                self.files += 1;
                let renamed = self.plan.folder.join(format!("app-{:06}.log", self.files));
                std::fs::rename(&current, &renamed)?;
                compress(&renamed)?;
                self.current = self.plan.folder.join("app.log");
            }
        }
        self.story.push(way);
        Ok(())
    }

    /// Whether everything written arrives within a short time.
    fn caught_up(&self) -> bool {
        let started = Instant::now();
        while started.elapsed() < CATCH_UP && !self.stop.load(Ordering::SeqCst) {
            if (self.plan.arrived)().is_some_and(|arrived| arrived >= self.done) {
                return true;
            }
            std::thread::sleep(CATCH_UP_POLL);
        }
        false
    }
}

/// Moves `PATH.1` to `PATH.2` and so on; returns `PATH.1`, which is free then.
fn make_room(path: &Path) -> Result<PathBuf> {
    let numbered = |number: u64| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    let mut free = 1;
    while numbered(free).try_exists()? {
        free += 1;
    }
    for number in (1..free).rev() {
        std::fs::rename(numbered(number), numbered(number + 1))?;
    }
    Ok(numbered(1))
}

/// Compresses a file as gzip does: beside it, then the file is deleted.
fn compress(path: &Path) -> Result<()> {
    let text = std::fs::read(path)?;
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
    let mut packed = vec![0; compressor.gzip_compress_bound(text.len())];
    let length = compressor.gzip_compress(&text, &mut packed)?;
    packed.truncate(length);
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    std::fs::write(PathBuf::from(name), packed)?;
    std::fs::remove_file(path)?;
    Ok(())
}
