//! `skidder-aggregator dlq`: what lies in the dead letters of a pipeline, and its removal.
//!
//! The files are JSON lines, see [`crate::dead_letter`]; all of this only reads them, but for `purge`. INVARIANT:
//! the last segment is removed only while no process may write to it.
//!
//! `replay` is a run of the pipeline with another input, see [`crate::input::dead_letters`].

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::dead_letter::segment_number;
use crate::settings::Settings;

/// What is to be done with the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetterCommand {
    /// Print the segments.
    List,
    /// Print how many letters there are of each kind.
    Stats,
    /// Print letters as they are.
    Show(Filter),
    /// Remove segments.
    Purge {
        /// Only segments whose last letter is older; all without it.
        before: Option<jiff::Timestamp>,
        /// Only print what would be removed.
        dry_run: bool,
    },
}

/// Which letters are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// At most so many.
    pub limit: Option<u64>,
    /// Of this plugin.
    pub plugin: Option<String>,
    /// With this text in the reason.
    pub reason: Option<String>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There are none, or they cannot be read.
    #[error("the dead letters in {}: cannot {operation}: {error}", path.display())]
    Disk {
        /// The folder or the segment.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// Nothing can be printed.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// A letter, as far as the commands and the input look into it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StoredLetter {
    pub(crate) time: String,
    pub(crate) stage: String,
    pub(crate) plugin: String,
    pub(crate) reason: String,
    pub(crate) status: u16,
    pub(crate) action: String,
    pub(crate) document: Option<String>,
    pub(crate) document_base64: Option<String>,
    pub(crate) original: Option<String>,
    pub(crate) original_base64: Option<String>,
}

/// Does what is asked with the letters of each of these pipelines; those without any are left out if there are several.
pub fn run_all(
    command: &DeadLetterCommand,
    pipelines: &[Settings],
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    if let [only] = pipelines {
        return run(command, only, out);
    }
    let mut first = true;
    for settings in pipelines {
        if !settings.dead_letters().join(&settings.pipeline_id).is_dir() {
            continue;
        }
        // Paths and letters say it themselves.
        if matches!(command, DeadLetterCommand::Stats) {
            let line = if first { "" } else { "\n" };
            writeln!(out, "{line}pipeline: {}", settings.pipeline_id)?;
            first = false;
        }
        run(command, settings, out)?;
    }
    Ok(())
}

fn run(
    command: &DeadLetterCommand,
    settings: &Settings,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let folder = settings.dead_letters().join(&settings.pipeline_id);
    match command {
        DeadLetterCommand::List => list(&folder, out),
        DeadLetterCommand::Stats => stats(&folder, out),
        DeadLetterCommand::Show(filter) => show(&folder, filter, out),
        DeadLetterCommand::Purge { before, dry_run } => purge(&folder, *before, *dry_run, out),
    }
}

/// The segments of a folder, in order.
pub(crate) fn segments(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(number) = segment_number(&entry.file_name()) {
            segments.push((number, entry.path()));
        }
    }
    segments.sort();
    Ok(segments)
}

/// Calls `each` with every whole line of a segment, until it says that it has enough.
fn read_lines(
    path: &Path,
    mut each: impl FnMut(&[u8]) -> io::Result<bool>,
) -> Result<bool, CommandError> {
    let failed = disk("read", path);
    let mut file = BufReader::new(File::open(path).map_err(&failed)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        file.read_until(b'\n', &mut line).map_err(&failed)?;
        // A line without its end is still being written, or was never finished.
        if line.pop() != Some(b'\n') {
            return Ok(true);
        }
        if !each(&line)? {
            return Ok(false);
        }
    }
}

fn disk(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> CommandError + use<> {
    let path = path.to_owned();
    move |error| CommandError::Disk {
        path: path.clone(),
        operation,
        error,
    }
}

/// The letter of a line; an empty one if it is none.
pub(crate) fn parse(line: &[u8]) -> StoredLetter {
    serde_json::from_slice(line).unwrap_or_default()
}

struct Summary {
    letters: u64,
    bytes: u64,
    first: String,
    last: String,
}

fn summary(path: &Path) -> Result<Summary, CommandError> {
    let mut summary = Summary {
        letters: 0,
        bytes: 0,
        first: String::new(),
        last: String::new(),
    };
    read_lines(path, |line| {
        let time = parse(line).time;
        if summary.letters == 0 {
            summary.first.clone_from(&time);
        }
        summary.letters += 1;
        summary.bytes += line.len() as u64 + 1;
        summary.last = time;
        Ok(true)
    })?;
    Ok(summary)
}

fn list(folder: &Path, out: &mut dyn Write) -> Result<(), CommandError> {
    let found = segments(folder).map_err(disk("list", folder))?;
    for (_, path) in found {
        let Summary {
            letters,
            bytes,
            first,
            last,
        } = summary(&path)?;
        let path = path.display();
        writeln!(
            out,
            "{path}: {letters} letters, {bytes} bytes, {first} to {last}"
        )?;
    }
    Ok(())
}

fn stats(folder: &Path, out: &mut dyn Write) -> Result<(), CommandError> {
    let mut kinds: BTreeMap<(String, String, u16, String), u64> = BTreeMap::new();
    let mut more = 0;
    for (_, path) in segments(folder).map_err(disk("list", folder))? {
        read_lines(&path, |line| {
            let letter = parse(line);
            let kind = (letter.stage, letter.plugin, letter.status, letter.reason);
            // Reasons may hold values of the documents: their number is not bounded by itself.
            if kinds.len() < MAX_KINDS || kinds.contains_key(&kind) {
                *kinds.entry(kind).or_default() += 1;
            } else {
                more += 1;
            }
            Ok(true)
        })?;
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for ((stage, plugin, status, reason), count) in kinds {
        let stage = if stage.is_empty() { "output" } else { &stage };
        writeln!(out, "{count}\t{stage}\t{plugin}\t{status}\t{reason}")?;
    }
    if more > 0 {
        writeln!(out, "{more}\tof other reasons")?;
    }
    Ok(())
}

/// Reasons that `stats` tells apart.
const MAX_KINDS: usize = 10_000;

fn show(folder: &Path, filter: &Filter, out: &mut dyn Write) -> Result<(), CommandError> {
    let mut left = filter.limit.unwrap_or(u64::MAX);
    for (_, path) in segments(folder).map_err(disk("list", folder))? {
        let go_on = read_lines(&path, |line| {
            if left == 0 {
                return Ok(false);
            }
            let letter = parse(line);
            let plugin = filter.plugin.as_ref();
            let reason = filter.reason.as_ref();
            if plugin.is_none_or(|plugin| *plugin == letter.plugin)
                && reason.is_none_or(|reason| letter.reason.contains(reason))
            {
                out.write_all(line)?;
                out.write_all(b"\n")?;
                left -= 1;
            }
            Ok(true)
        })?;
        if !go_on {
            break;
        }
    }
    Ok(())
}

fn purge(
    folder: &Path,
    before: Option<jiff::Timestamp>,
    dry_run: bool,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let found = segments(folder).map_err(disk("list", folder))?;
    let lock = File::open(folder).map_err(disk("open", folder))?;
    let alone = lock.try_lock().is_ok();
    let last = found.last().map(|(number, _)| *number);
    for (number, path) in found {
        let Summary {
            letters,
            last: time,
            ..
        } = summary(&path)?;
        let old = before.is_none_or(|before| {
            time.parse::<jiff::Timestamp>()
                .is_ok_and(|time| time < before)
        });
        if !old {
            continue;
        }
        if Some(number) == last && !alone {
            let path = path.display();
            writeln!(out, "{path}: kept, a process may be writing to it")?;
            continue;
        }
        if dry_run {
            writeln!(
                out,
                "{}: {letters} letters would be removed",
                path.display()
            )?;
        } else {
            fs::remove_file(&path).map_err(disk("remove", &path))?;
            writeln!(out, "{}: {letters} letters removed", path.display())?;
        }
    }
    Ok(())
}
