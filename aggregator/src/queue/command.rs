//! `skidder-aggregator queue`: a look at a queue from outside, and its repair.
//!
//! `show`, `check` and `export` only read, and may be used while a process has the queue; what it is
//! writing at that moment may then look unfinished. `repair` needs the queue for itself.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bumpalo::Bump;
use bytes::Bytes;
use skidder_pipeline::event::{Timestamp, write_json};

use super::format::SEGMENT_HEADER;
use super::open::{Survey, open, survey};
use super::places::{self, Label, directory};
use super::scan::{Depth, Found, find, unpack};
use super::state::segment_name;
use super::storage::{Directory, Storage};
use super::stored::{NotRestored, Sources, write_event};
use super::{QueueError, QueueOptions};
use crate::input::bare_sources;
use crate::settings::Settings;

/// What is to be done with a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueCommand {
    /// Print what is in it.
    Show,
    /// Read all of it and print what is damaged.
    Check,
    /// Cut torn ends, move damage aside.
    Repair,
    /// Print the events that wait, as JSON lines.
    Export {
        /// The delivered ones too, as far as they are there.
        all: bool,
        /// With `@metadata`.
        metadata: bool,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The queue cannot be used.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Nothing can be printed.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// There is something wrong with the queue.
    #[error("the queue is damaged: {0}")]
    Damaged(String),
}

/// Does what is asked with the queues of these pipelines and of their outputs. If there are several, the output says whose each is
/// (but for `export`, whose lines are events). A pipeline without a queue is left out, unless none has one.
pub fn run_all(
    command: QueueCommand,
    pipelines: &[Settings],
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let mut queues = Vec::new();
    for settings in pipelines {
        queues.extend(queues_of(settings)?);
    }
    let Some(first) = pipelines.first().filter(|_| queues.is_empty()) else {
        return run_each(command, pipelines.len() > 1, &queues, out);
    };
    let path = directory(first);
    let path = match (pipelines, path.parent()) {
        ([_, _, ..], Some(parent)) => parent.to_owned(),
        _ => path,
    };
    Err(QueueError::Missing { path }.into())
}

/// A queue that is there.
struct Queue<'s> {
    settings: &'s Settings,
    path: PathBuf,
    /// Whose it is, if it is not the pipeline's.
    output: Option<String>,
    options: QueueOptions,
}

fn queues_of(settings: &Settings) -> Result<Vec<Queue<'_>>, QueueError> {
    let path = directory(settings);
    let outputs = places::of_outputs(settings).map_err(|source| QueueError::Disk {
        path: path.clone(),
        operation: "look for the queues of outputs".into(),
        source,
    })?;
    // A directory that is empty is one of before there was anything in it.
    let is_pipelines = places::is_queue(&path) || (path.is_dir() && outputs.is_empty());
    let mut queues = Vec::new();
    if is_pipelines {
        queues.push(Queue {
            settings,
            path,
            output: None,
            options: settings.queue.clone(),
        });
    }
    for path in outputs {
        let label = Label::read(&path);
        let max_bytes = label.map_or(settings.queue.max_bytes, |label| label.max_bytes);
        queues.push(Queue {
            settings,
            output: Some(places::output_name(&path)),
            path,
            options: QueueOptions {
                max_bytes,
                ..settings.queue.clone()
            },
        });
    }
    Ok(queues)
}

fn run_each(
    command: QueueCommand,
    several: bool,
    queues: &[Queue<'_>],
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let mut damaged = Vec::new();
    for (at, queue) in queues.iter().enumerate() {
        let id = &queue.settings.pipeline_id;
        if !matches!(command, QueueCommand::Export { .. }) {
            if at > 0 {
                writeln!(out)?;
            }
            if several {
                writeln!(out, "pipeline: {id}")?;
            }
            if let Some(output) = &queue.output {
                writeln!(out, "output:   {output}")?;
            }
        }
        match run(command, queue, out) {
            Ok(()) => {}
            Err(CommandError::Damaged(damage)) if queues.len() > 1 => {
                let whose = match &queue.output {
                    Some(output) => format!("{id}, output {output}"),
                    None => id.clone(),
                };
                damaged.push(format!("{whose}: {damage}"));
            }
            Err(error) => return Err(error),
        }
    }
    if damaged.is_empty() {
        return Ok(());
    }
    Err(CommandError::Damaged(damaged.join("; ")))
}

fn run(command: QueueCommand, queue: &Queue<'_>, out: &mut dyn Write) -> Result<(), CommandError> {
    let path = &queue.path;
    match command {
        QueueCommand::Show => show(path, &queue.options, out),
        QueueCommand::Check => check(path, out),
        QueueCommand::Repair => repair(path, &queue.options, out),
        QueueCommand::Export { all, metadata } => {
            export(path, &bare_sources(queue.settings), all, metadata, out)
        }
    }
}

/// Whether a process has the queue.
fn in_use(path: &Path) -> bool {
    matches!(Directory::lock(path), Err(QueueError::Locked { .. }))
}

fn show(path: &Path, options: &QueueOptions, out: &mut dyn Write) -> Result<(), CommandError> {
    let storage = Directory::look(path)?;
    let survey = survey(&storage, Depth::Header)?;
    let sum =
        |of: fn(&super::open::SegmentSurvey) -> u64| survey.segments.iter().map(of).sum::<u64>();
    let state = if in_use(path) { "in use" } else { "not in use" };
    writeln!(out, "queue:    {} ({state})", path.display())?;
    writeln!(
        out,
        "size:     {} bytes in {} segments, of {} bytes",
        sum(|segment| segment.length),
        survey.segments.len(),
        options.max_bytes
    )?;
    writeln!(
        out,
        "waiting:  {} records in {} batches, of {} batches on the disk",
        sum(|segment| segment.open_events),
        sum(|segment| segment.open_records),
        sum(|segment| segment.records)
    )?;
    let oldest = survey
        .segments
        .iter()
        .find_map(|segment| segment.oldest_open);
    let oldest = oldest.map_or_else(|| "none".into(), time);
    writeln!(out, "oldest:   {oldest}")?;
    for segment in &survey.segments {
        let (first, last) = match (segment.runs.first(), segment.runs.last()) {
            (Some((first, _)), Some((_, end))) => (*first, end - 1),
            _ => (0, 0),
        };
        writeln!(
            out,
            "segment:  {}: {} bytes, batches {first} to {last}, {} waiting",
            segment_name(segment.number),
            segment.length,
            segment.open_records
        )?;
    }
    for (name, size) in &survey.damaged_files {
        writeln!(out, "damaged:  {name}: {size} bytes that were moved aside")?;
    }
    Ok(())
}

fn check(path: &Path, out: &mut dyn Write) -> Result<(), CommandError> {
    let storage = Directory::look(path)?;
    let survey = survey(&storage, Depth::Payload)?;
    let damage = findings(&survey, out)?;
    if in_use(path) {
        writeln!(
            out,
            "a process has the queue: its last write may look unfinished"
        )?;
    }
    if damage.is_empty() {
        writeln!(out, "no damage")?;
        return Ok(());
    }
    Err(CommandError::Damaged(format!(
        "{}; the next start, or `queue repair`, moves that aside and goes on with the rest",
        damage.join("; ")
    )))
}

/// What is wrong; what is only unfinished is printed.
fn findings(survey: &Survey, out: &mut dyn Write) -> io::Result<Vec<String>> {
    let mut damage = Vec::new();
    if survey.damaged_slots > 0 {
        writeln!(
            out,
            "checkpoint: {} of 2 slots unreadable, delivered batches may come again",
            survey.damaged_slots
        )?;
    }
    for segment in &survey.segments {
        let name = segment_name(segment.number);
        for (start, end) in &segment.damage {
            if *end <= SEGMENT_HEADER as u64 {
                writeln!(out, "{name}: its header cannot be read, its records can")?;
            } else if !is_known(survey, segment.number, *start) {
                damage.push(format!("{name}: bytes {start} to {end} are no batch"));
            }
        }
        if let Some(torn) = segment.torn {
            writeln!(
                out,
                "{name}: {} bytes at the end are an unfinished write, which was not acknowledged",
                segment.length - torn
            )?;
        }
    }
    for (name, size) in &survey.damaged_files {
        writeln!(out, "{name}: {size} bytes were moved aside before")?;
    }
    Ok(damage)
}

/// Whether a damaged place was moved aside already.
fn is_known(survey: &Survey, number: u64, start: u64) -> bool {
    let name = format!("{number:09}-{start}.damaged");
    survey.damaged_files.iter().any(|(file, _)| *file == name)
}

fn repair(path: &Path, options: &QueueOptions, out: &mut dyn Write) -> Result<(), CommandError> {
    // Not to make a queue where there is none.
    Directory::look(path)?;
    let storage: Arc<dyn Storage> = Arc::new(Directory::lock(path)?);
    let opened = open(&storage, options, Depth::Payload)?;
    let repairs = opened.repairs;
    writeln!(out, "unfinished writes cut off: {} bytes", repairs.cut)?;
    writeln!(out, "damaged places moved aside: {}", repairs.moved_aside)?;
    writeln!(out, "segments without a batch removed: {}", repairs.removed)?;
    if repairs.checkpoint {
        writeln!(out, "the checkpoint was written anew")?;
    }
    Ok(())
}

fn export(
    path: &Path,
    sources: &Sources,
    all: bool,
    metadata: bool,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let storage = Directory::look(path)?;
    let survey = survey(&storage, Depth::Header)?;
    let done = survey.done();
    let salt = survey.salt.unwrap_or_default();
    let mut unreadable = Vec::new();
    let mut exported = 0;
    for segment in &survey.segments {
        let name = segment_name(segment.number);
        let failed = |source| QueueError::Disk {
            path: path.to_owned(),
            operation: format!("read the file {name}"),
            source,
        };
        let file = storage.open(&name).map_err(failed)?;
        let mut offset = SEGMENT_HEADER as u64;
        let end = segment.torn.unwrap_or(segment.length);
        while let Some(found) =
            find(file.as_ref(), offset, end, salt, Depth::Payload).map_err(failed)?
        {
            let (header, payload) = match found {
                Found::Record { header, payload } => (header, payload),
                Found::Damage { end } => {
                    unreadable.push(format!("{name}: bytes {offset} to {end} are no batch"));
                    offset = end;
                    continue;
                }
            };
            offset += header.size();
            let sequence = header.sequence;
            // After a sync that failed a batch may be there twice.
            let twice = sequence < exported;
            if twice || (!all && done.covers(sequence, sequence + 1)) {
                continue;
            }
            exported = sequence + 1;
            let Some(payload) = unpack(&header, payload) else {
                unreadable.push(format!("{name}: batch {sequence} cannot be unpacked"));
                continue;
            };
            let received = Timestamp::from_milliseconds(header.received as i64);
            match print(&Bytes::from(payload), received, sources, metadata, out)? {
                Ok(()) => {}
                Err(reason) => unreadable.push(format!("{name}: batch {sequence}: {reason}")),
            }
        }
    }
    out.flush()?;
    if unreadable.is_empty() {
        return Ok(());
    }
    Err(CommandError::Damaged(unreadable.join("; ")))
}

fn print(
    payload: &Bytes,
    received: Timestamp,
    sources: &Sources,
    metadata: bool,
    out: &mut dyn Write,
) -> io::Result<Result<(), NotRestored>> {
    let records = match sources.restore(payload, received) {
        Ok(records) => records,
        Err(reason) => return Ok(Err(reason)),
    };
    let mut arena = Bump::new();
    let mut lines = Vec::new();
    for index in 0..records.len() {
        records.decode(index, &arena, received, &mut |event| {
            if metadata {
                write_event(&event, &mut lines);
            } else {
                write_json(&event, &mut lines);
                lines.push(b'\n');
            }
        });
        arena.reset();
        out.write_all(&lines)?;
        lines.clear();
    }
    Ok(Ok(()))
}

fn time(milliseconds: u64) -> String {
    let mut text = Vec::new();
    Timestamp::from_milliseconds(milliseconds as i64).write_iso8601(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}
