//! The `file` output: events appended to files whose names may depend on the event.
//!
//! All workers share the open files; each file has its buffer, and at the end of a batch what
//! the batch put into buffers is handed to the system, at the latest. Then the events are safe
//! (from a crash of this process; a power cut is the file system's matter).
//!
//! COMPAT (logstash-output-file): the default codec is `json_lines`; a path that, once filled,
//! leaves the fixed part in front of its first `%{…}` goes to `filename_failure` beside it, so
//! that no event can choose where it is written; `file_mode`, `dir_mode`, `gzip` is not
//! supported, `write_behavior` `append` and `overwrite`. Files not written to for
//! [`STALE_AFTER`] are closed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libdeflater::{CompressionLvl, Compressor};
use skidder_pipeline::codec::Codec;
use skidder_pipeline::event::{Event, Timestamp};
use skidder_pipeline::template::Template;

use super::Writer;
use super::gzip::gzip;
use crate::ack::Ack;
use crate::throttle::Throttle;

/// Files that are open at one time; the one that was used longest ago is closed for another.
pub const MAX_OPEN_FILES: usize = 512;

/// How long a file stays open without a write.
pub const STALE_AFTER: Duration = Duration::from_secs(10);

/// Bytes that a worker collects for all files before it writes in the middle of a batch.
const BUFFER_BYTES: usize = 256 << 10;

/// How long a failed write waits before it is tried again: nothing is lost by a full disk.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the configuration says.
#[derive(Debug)]
pub struct FileOptions {
    /// `path`
    pub path: Template,
    /// `filename_failure`
    pub failure_name: String,
    /// `create_if_deleted`
    pub create_if_deleted: bool,
    /// `file_mode`, if one is set.
    pub file_mode: Option<u32>,
    /// `dir_mode`, if one is set.
    pub directory_mode: Option<u32>,
    /// `write_behavior => overwrite`: a file is emptied when it is opened.
    pub overwrite: bool,
    /// `gzip`: what is written is compressed.
    pub gzip: bool,
}

/// The files of one output.
pub struct Files {
    options: FileOptions,
    /// The directory that no event may leave.
    root: PathBuf,
    open: Mutex<HashMap<PathBuf, Open>>,
    failures: Throttle,
}

struct Open {
    file: File,
    used: Instant,
}

impl Files {
    /// The files of an output with these options.
    pub fn new(options: FileOptions) -> Self {
        let fixed = options.path.as_str().split("%{").next().unwrap_or_default();
        let root = fixed.rsplit_once('/').map_or(".", |(root, _)| root);
        let root = if root.is_empty() { "/" } else { root };
        Self {
            root: root.into(),
            options,
            open: Mutex::new(HashMap::new()),
            failures: Throttle::default(),
        }
    }

    /// Where an event with this filled path goes.
    fn path_for(&self, filled: &str) -> PathBuf {
        let path = Path::new(filled);
        let leaves = path.components().any(|part| part == Component::ParentDir)
            || !path.starts_with(&self.root)
            || filled.contains('\0');
        if leaves && !self.options.path.is_literal() {
            return self.root.join(&self.options.failure_name);
        }
        path.to_owned()
    }

    /// Appends to a file, all or nothing where files can be cut; tries again until it works.
    fn append(&self, path: &Path, bytes: &[u8], give_up: &dyn Fn() -> bool) -> bool {
        let mut written = 0;
        loop {
            match self.try_append(path, &bytes[written..]) {
                Ok(()) => return true,
                Err((error, some)) => {
                    written += some;
                    if let Some(count) = self.failures.due(1) {
                        tracing::error!(path = %path.display(), %error, count, "cannot write the file, trying again until it works");
                    }
                }
            }
            if give_up() {
                return false;
            }
            std::thread::sleep(RETRY_AFTER);
        }
    }

    fn try_append(&self, path: &Path, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        open.retain(|_, each| now.duration_since(each.used) < STALE_AFTER);
        if self.options.create_if_deleted && !path.try_exists().unwrap_or(false) {
            open.remove(path);
        }
        if !open.contains_key(path) {
            if open.len() >= MAX_OPEN_FILES {
                let oldest = open.iter().min_by_key(|(_, each)| each.used);
                if let Some(oldest) = oldest.map(|(path, _)| path.clone()) {
                    open.remove(&oldest);
                }
            }
            let file = self.open(path).map_err(|error| (error, 0))?;
            open.insert(path.to_owned(), Open { file, used: now });
        }
        let Some(entry) = open.get_mut(path) else {
            return Ok(());
        };
        entry.used = now;
        let mut written = 0;
        while written < bytes.len() {
            match entry.file.write(&bytes[written..]) {
                Ok(0) => return Err((io::ErrorKind::WriteZero.into(), written)),
                Ok(some) => written += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // Another worker may write before this one tries again: half a line, or half a
                    // gzip member, must not be in its way.
                    if cut(&entry.file, written).is_ok() {
                        written = 0;
                    }
                    open.remove(path);
                    return Err((error, written));
                }
            }
        }
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        if let Some(directory) = path.parent()
            && !directory.as_os_str().is_empty()
        {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true);
            if let Some(mode) = self.options.directory_mode {
                builder.mode(mode);
            }
            builder.create(directory)?;
        }
        let mut options = std::fs::OpenOptions::new();
        options.create(true);
        if let Some(mode) = self.options.file_mode {
            options.mode(mode);
        }
        if self.options.overwrite {
            options.write(true).truncate(true);
        } else {
            options.append(true);
        }
        options.open(path)
    }
}

/// Takes the last bytes off a file.
fn cut(file: &File, bytes: usize) -> io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    let length = file.metadata()?.len();
    file.set_len(length.saturating_sub(bytes as u64))
}

/// A worker's end of the output.
pub struct FileWriter {
    files: Arc<Files>,
    encoder: Arc<dyn Codec>,
    /// What waits, by file. Nearly always one.
    buffers: Vec<(PathBuf, Vec<u8>)>,
    bytes: usize,
    acks: Vec<Ack>,
    /// Only with `gzip`.
    compressor: Option<Compressor>,
    /// The filled path of the event at hand.
    filled: Vec<u8>,
    give_up: Box<dyn Fn() -> bool + Send>,
}

impl FileWriter {
    /// A writer to `files`; `give_up` says when a failing write is not tried again.
    pub fn new(
        files: Arc<Files>,
        encoder: Arc<dyn Codec>,
        give_up: Box<dyn Fn() -> bool + Send>,
    ) -> Self {
        let compressor = || Compressor::new(CompressionLvl::default());
        Self {
            compressor: files.options.gzip.then(compressor),
            files,
            encoder,
            buffers: Vec::new(),
            bytes: 0,
            acks: Vec::new(),
            filled: Vec::new(),
            give_up,
        }
    }

    fn write_out(&mut self) {
        if self.bytes == 0 {
            return;
        }
        self.bytes = 0;
        let give_up = self.give_up.as_ref();
        let mut all = true;
        for (path, buffer) in &mut self.buffers {
            if buffer.is_empty() {
                continue;
            }
            let compressor = self.compressor.as_mut();
            let packed = compressor.and_then(|compressor| gzip(compressor, buffer));
            let bytes = packed.as_deref().unwrap_or(buffer);
            all &= self.files.append(path, bytes, give_up);
            buffer.clear();
        }
        // Buffers are kept for the next batch, but not those of names that come and go.
        self.buffers.truncate(8);
        if all {
            self.acks.drain(..).for_each(|ack| ack.done(1));
        } else {
            self.acks.clear();
        }
    }
}

impl Writer for FileWriter {
    fn write(&mut self, event: &Event<'_>, now: Timestamp, ack: &Ack) {
        self.filled.clear();
        self.files.options.path.write(event, now, &mut self.filled);
        let path = self.files.path_for(&String::from_utf8_lossy(&self.filled));
        let at = match self.buffers.iter().position(|(each, _)| *each == path) {
            Some(at) => at,
            None => {
                self.buffers.push((path, Vec::new()));
                self.buffers.len() - 1
            }
        };
        let buffer = &mut self.buffers[at].1;
        let before = buffer.len();
        self.encoder.encode(event, buffer);
        self.bytes += buffer.len() - before;
        if !self.acks.last().is_some_and(|last| last.is(ack)) {
            ack.hold(1);
            self.acks.push(ack.clone());
        }
        if self.bytes >= BUFFER_BYTES {
            self.write_out();
        }
    }

    fn end_of_batch(&mut self) {
        self.write_out();
    }

    fn flush(&mut self) {
        self.write_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skidder_pipeline::language::EscapeStyle;

    #[test]
    fn open_files_are_bounded_and_closed_ones_are_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = format!("{}/%{{name}}", directory.path().display());
        let files = Files::new(FileOptions {
            path: Template::parse(&path, EscapeStyle::None).unwrap(),
            failure_name: "_failures".into(),
            create_if_deleted: true,
            file_mode: None,
            directory_mode: None,
            overwrite: false,
            gzip: false,
        });
        let names: Vec<PathBuf> = (0..MAX_OPEN_FILES + 20)
            .map(|number| directory.path().join(number.to_string()))
            .collect();
        for text in [b"one\n", b"two\n"] {
            for name in &names {
                assert!(files.append(name, text, &|| true));
                assert!(files.open.lock().unwrap().len() <= MAX_OPEN_FILES);
            }
        }
        for name in &names {
            assert_eq!(std::fs::read(name).unwrap(), b"one\ntwo\n");
        }
    }

    #[test]
    fn what_is_written_in_part_is_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events");
        std::fs::write(&path, "whole\nha").unwrap();
        let file = File::options().append(true).open(&path).unwrap();
        cut(&file, 2).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole\n");
        let mut device = File::options().write(true).open("/dev/full").unwrap();
        assert!(device.write(b"a").is_err());
        cut(&device, 0).unwrap();
        cut(&device, 1).unwrap_err();
    }
}
