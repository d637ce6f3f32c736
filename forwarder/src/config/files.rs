//! The elements of `files`: which paths, which fields, where reading begins.
//!
//! Patterns are compiled here; no log file is opened.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::plan::Overrides;
use super::raw::RawConfig;
use super::values::{HOUR, MILLISECOND, Reader, items};
use super::yaml::{Node, Value};
use super::{Problems, following, lines};
use crate::tail::complete::Following;
use crate::tail::links::Follow;
use crate::tail::pattern::{Excludes, Pattern};
use crate::tail::shape::Rules;

/// A path in `paths` that stands for standard input.
pub const STDIN: &str = "-";
/// Fields allowed in one element of `files`.
pub const MAX_FIELDS: usize = 256;

/// One element of `files`.
#[derive(Debug)]
pub struct FileGroup {
    /// The patterns.
    pub patterns: Vec<Pattern>,
    /// Whether `-` is among the paths.
    pub stdin: bool,
    /// What to leave out.
    pub exclude: Excludes,
    /// Added to each event.
    pub fields: Vec<(String, String)>,
    /// A file without growth for this long before the first start is not shipped.
    pub dead_time: Duration,
    /// A file without growth for this long is closed until it grows.
    pub close_inactive: Duration,
    /// Where the files that are there at the very first start begin.
    pub start_position: StartPosition,
    /// Whether files that begin like gzip, xz, zstd… are shipped all the same.
    pub ship_compressed: bool,
    /// Whether what the file system says may be out of date.
    pub network_files: NetworkFiles,
    /// Which symbolic links are followed.
    pub follow_links: Follow,
    /// Directories that links may lead into.
    pub link_targets: Vec<PathBuf>,
    /// How lines become events.
    pub lines: Rc<Rules>,
    /// When files are begun, in which order they are read, and what ends them.
    pub following: Following,
    /// The options that `lines` was made of, to compare with those of another config.
    pub line_options: lines::Typed,
}

/// Whether files are on a network file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkFiles {
    /// The file system tells.
    Auto,
    /// They are.
    On,
    /// They are not.
    Off,
}

/// Where reading begins in a file found at start and never seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPosition {
    /// At its first byte.
    Beginning,
    /// At its last line.
    End,
}

pub(super) fn build(
    raw: &RawConfig,
    overrides: &Overrides,
    problems: &mut Problems,
) -> Vec<Rc<FileGroup>> {
    if raw.files.is_empty() && raw.journal.is_empty() && raw.syslog.is_empty() {
        problems.add(
            None,
            "no `files` in the config; give at least one element with `paths`, or of `journal` or `syslog`",
        );
    }
    let mut groups = Vec::with_capacity(raw.files.len());
    for section in &raw.files {
        let (mut patterns, mut stdin) = (Vec::new(), false);
        match section.find("paths") {
            None => problems.add(
                section.place.as_ref(),
                "this element of `files` has no `paths`",
            ),
            Some(node) => {
                if items(node).is_empty() {
                    problems.add(Some(&node.place), "`paths` is empty");
                }
                for node in items(node) {
                    match node.text() {
                        Some(STDIN) => stdin = true,
                        Some(path) => match Pattern::new(&absolute(path)) {
                            Ok(pattern) => patterns.push(pattern),
                            Err(message) => problems.add(Some(&node.place), message),
                        },
                        None => {
                            let message = format!("a path is text, not {}", node.kind());
                            problems.add(Some(&node.place), message);
                        }
                    }
                }
            }
        }
        let mut exclude = Excludes::default();
        for node in section.find("exclude").map_or(&[][..], items) {
            let added = match node.text() {
                Some(path) => exclude.add(path),
                None => Err(format!("a path is text, not {}", node.kind())),
            };
            if let Err(message) = added {
                problems.add(Some(&node.place), message);
            }
        }
        let link_targets = build_directories(section.find("symlink targets"), problems);
        let fields = build_fields(section.find("fields"), problems);
        let mut reader = Reader { section, problems };
        let default_position = overrides.start_position.unwrap_or(StartPosition::Beginning);
        let start_position = match section.find("start position") {
            None => default_position,
            Some(_) => match reader.choice("start position", &["beginning", "end"]) {
                "end" => StartPosition::End,
                _ => StartPosition::Beginning,
            },
        };
        let dead_time = reader.seconds("dead time", 24 * 3600);
        let close_inactive =
            reader.duration("close inactive", dead_time, MILLISECOND, 24 * 3650 * HOUR);
        let following = following::build(&mut reader);
        let lines = Rc::new(lines::build(section, reader.problems));
        groups.push(Rc::new(FileGroup {
            lines,
            line_options: lines::Typed::new(section),
            patterns,
            stdin,
            exclude,
            fields,
            dead_time,
            close_inactive,
            start_position,
            ship_compressed: reader.choice("compressed files", &["skip", "ship"]) == "ship",
            network_files: match reader.choice("network files", &["auto", "on", "off"]) {
                "on" => NetworkFiles::On,
                "off" => NetworkFiles::Off,
                _ => NetworkFiles::Auto,
            },
            follow_links: match reader.choice("follow symlinks", &["inside", "on", "off"]) {
                "on" => Follow::On,
                "off" => Follow::Off,
                _ => Follow::Inside,
            },
            link_targets,
            following,
        }));
    }
    if groups.iter().filter(|group| group.stdin).count() > 1 {
        problems.add(
            None,
            "`-` (standard input) is in two elements of `files`; keep one",
        );
    }
    groups
}

fn build_directories(node: Option<&Node>, problems: &mut Problems) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    for node in node.map_or(&[][..], items) {
        match node.text() {
            Some(path) if path.starts_with('/') => directories.push(PathBuf::from(path)),
            _ => {
                let message = "`symlink targets` are directories, like /var/log/pods";
                problems.add(Some(&node.place), message);
            }
        }
    }
    directories
}

/// A relative path counts from the working directory; events carry the whole path.
fn absolute(path: &str) -> String {
    match std::env::current_dir() {
        Ok(here) if !path.is_empty() && !path.starts_with('/') => {
            format!("{}/{path}", globset::escape(&here.to_string_lossy()))
        }
        _ => path.to_owned(),
    }
}

/// Names an event has of its own: a field of that name would destroy it.
const RESERVED_FIELDS: &[&str] = &["message", "@timestamp", "offset"];

pub(super) fn build_fields(node: Option<&Node>, problems: &mut Problems) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    let Some(node) = node.filter(|node| !node.is_null()) else {
        return fields;
    };
    let Value::Map(pairs) = &node.value else {
        problems.add(
            Some(&node.place),
            format!("`fields` must be a mapping, not {}", node.kind()),
        );
        return fields;
    };
    if pairs.len() > MAX_FIELDS {
        problems.add(Some(&node.place), format!("more than {MAX_FIELDS} fields"));
    }
    for (key, value) in pairs {
        match (key.text(), value.text()) {
            (Some(name), _) if RESERVED_FIELDS.contains(&name) => {
                let message = format!("the field `{name}` is the event's own; choose another name");
                problems.add(Some(&key.place), message);
            }
            (Some(name), _) if fields.iter().any(|(known, _)| known == name) => {
                problems.add(
                    Some(&key.place),
                    format!("the field `{name}` is given twice"),
                );
            }
            (Some(name), Some(text)) => fields.push((name.to_owned(), text.to_owned())),
            _ => problems.add(Some(&value.place), "a field is a name and a text"),
        }
    }
    fields
}
