//! What was typed: the known keys of every file, merged, with variables expanded.
//!
//! Unknown keys, keys given twice and things of the wrong shape are reported here; whether a
//! value makes sense is for [`super::plan`]. Nothing is opened but the config files themselves.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::options::{self, Section};
use super::yaml::{self, Node, Place, Value};
use super::{Problems, environment};

/// The largest config file that is read.
///
/// COMPAT: the limit of logstash-forwarder.
pub const MAX_CONFIG_BYTES: u64 = 10 << 20;

/// The values of one section in the order they were typed, keys as the table writes them.
#[derive(Debug, Default)]
pub struct RawSection {
    /// Where the section begins, for what is missing in it.
    pub place: Option<Place>,
    values: Vec<(&'static str, Node)>,
    /// What stands under `multiline`, in an element of `files`.
    pub multiline: Option<Box<Self>>,
}

impl RawSection {
    /// The value of an option, if it was given.
    pub fn find(&self, name: &str) -> Option<&Node> {
        self.values
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, node)| node)
    }
}

/// Everything that was typed.
#[derive(Debug, Default)]
pub struct RawConfig {
    /// The outermost keys but those below.
    pub top: RawSection,
    /// What stood under `network`, of all files.
    pub network: RawSection,
    /// The elements of `files`, of all files.
    pub files: Vec<RawSection>,
    /// The elements of `journal`, of all files.
    pub journal: Vec<RawSection>,
    /// The elements of `syslog`, of all files.
    pub syslog: Vec<RawSection>,
}

/// Reads the file, or all files of the directory in the order of their names.
pub fn read(
    path: &Path,
    lookup: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems,
) -> RawConfig {
    let mut raw = RawConfig::default();
    let files = match files_of(path) {
        Ok(files) => files,
        Err(message) => {
            problems.add(None, message);
            return raw;
        }
    };
    for file in files {
        match read_text(&file) {
            Err(message) => problems.add(None, message),
            Ok(text) => match yaml::parse(&file, &text) {
                Err(error) => problems.add(Some(&error.place), error.message),
                Ok(None) => {}
                Ok(Some(mut node)) => {
                    expand(&mut node, lookup, problems);
                    merge(&mut raw, node, problems);
                }
            },
        }
    }
    raw
}

/// The file, or those of the directory in the order in which they are read.
pub fn files_of(path: &Path) -> Result<Vec<PathBuf>, String> {
    let cannot = |error| format!("cannot read the config `{}`: {error}", path.display());
    if !std::fs::metadata(path).map_err(cannot)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(format!(
            "no config file in the directory `{}`",
            path.display()
        ));
    }
    Ok(files)
}

fn read_text(path: &Path) -> Result<String, String> {
    let cannot = |error| format!("cannot read the config `{}`: {error}", path.display());
    let file = File::open(path).map_err(cannot)?;
    let mut text = String::new();
    file.take(MAX_CONFIG_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(cannot)?;
    if text.len() as u64 > MAX_CONFIG_BYTES {
        return Err(format!(
            "the config `{}` is larger than 10MiB",
            path.display()
        ));
    }
    Ok(text)
}

fn expand(node: &mut Node, lookup: &dyn Fn(&str) -> Option<String>, problems: &mut Problems) {
    match &mut node.value {
        Value::Scalar { text, .. } if text.contains('$') => {
            match environment::expand(text, lookup) {
                Ok(expanded) => *text = expanded,
                Err(message) => problems.add(Some(&node.place), message),
            }
        }
        Value::Scalar { .. } => {}
        Value::List(items) => {
            for item in items {
                expand(item, lookup, problems);
            }
        }
        Value::Map(pairs) => {
            for (_, value) in pairs {
                expand(value, lookup, problems);
            }
        }
    }
}

fn merge(raw: &mut RawConfig, node: Node, problems: &mut Problems) {
    let Some(pairs) = mapping(Section::Top, node, problems) else {
        return;
    };
    for (name, key, value) in known_keys(Section::Top, pairs, problems) {
        match name {
            "network" | "files" | "journal" | "syslog" if value.is_null() => {}
            "network" => {
                raw.network.place.get_or_insert(key);
                let Some(pairs) = mapping(Section::Network, value, problems) else {
                    continue;
                };
                for (name, key, value) in known_keys(Section::Network, pairs, problems) {
                    insert(&mut raw.network, name, &key, value, problems);
                }
            }
            "files" => elements(Section::Files, name, value, &mut raw.files, problems),
            "journal" => elements(Section::Journal, name, value, &mut raw.journal, problems),
            "syslog" => elements(Section::Syslog, name, value, &mut raw.syslog, problems),
            _ => insert(&mut raw.top, name, &key, value, problems),
        }
    }
}

/// The mappings of a list.
fn elements(
    kind: Section,
    name: &str,
    value: Node,
    sections: &mut Vec<RawSection>,
    problems: &mut Problems,
) {
    let Value::List(items) = value.value else {
        let message = format!("`{name}` must be a list, not {}", value.kind());
        problems.add(Some(&value.place), message);
        return;
    };
    for item in items {
        let mut section = RawSection {
            place: Some(item.place.clone()),
            ..RawSection::default()
        };
        let Some(pairs) = mapping(kind, item, problems) else {
            continue;
        };
        for (name, key, value) in known_keys(kind, pairs, problems) {
            if name == "multiline" && matches!(value.value, Value::Map(_)) {
                section.multiline = Some(Box::new(multiline(&value, problems)));
            }
            insert(&mut section, name, &key, value, problems);
        }
        sections.push(section);
    }
}

fn multiline(node: &Node, problems: &mut Problems) -> RawSection {
    let mut section = RawSection {
        place: Some(node.place.clone()),
        ..RawSection::default()
    };
    if let Some(pairs) = mapping(Section::Multiline, node.clone(), problems) {
        for (name, key, value) in known_keys(Section::Multiline, pairs, problems) {
            insert(&mut section, name, &key, value, problems);
        }
    }
    section
}

fn mapping(section: Section, node: Node, problems: &mut Problems) -> Option<Vec<(Node, Node)>> {
    match node.value {
        Value::Map(pairs) => Some(pairs),
        _ => {
            let message = format!("{} must be a mapping, not {}", section.title(), node.kind());
            problems.add(Some(&node.place), message);
            None
        }
    }
}

/// Keeps the keys the table knows; the others become problems that name the nearest known one.
fn known_keys(
    section: Section,
    pairs: Vec<(Node, Node)>,
    problems: &mut Problems,
) -> Vec<(&'static str, Place, Node)> {
    let mut known = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        let Some(typed) = key.text() else {
            problems.add(
                Some(&key.place),
                format!("a key must be a word, not {}", key.kind()),
            );
            continue;
        };
        let name = options::normalise(typed);
        if let Some(option) = options::find(section, &name) {
            known.push((option.name, key.place, value));
            continue;
        }
        let hint = match options::nearest(section, &name) {
            Some(near) if near.section == section => format!("; did you mean `{}`?", near.name),
            Some(near) => format!("; `{}` belongs in {}", near.name, near.section.title()),
            None => String::new(),
        };
        let message = format!("unknown key `{typed}` in {}{hint}", section.title());
        problems.add(Some(&key.place), message);
    }
    known
}

/// COMPAT: `servers` of several files add up; any other key given twice is an error, as a second
/// `ssl ca` is for logstash-forwarder.
fn insert(
    section: &mut RawSection,
    name: &'static str,
    key: &Place,
    value: Node,
    problems: &mut Problems,
) {
    let Some((_, first)) = section.values.iter_mut().find(|(known, _)| *known == name) else {
        section.values.push((name, value));
        return;
    };
    if name == "servers"
        && let (Value::List(servers), Value::List(more)) = (&mut first.value, &value.value)
        && first.place.file != value.place.file
    {
        servers.extend(more.iter().cloned());
        return;
    }
    let message = format!(
        "`{name}` is given twice; it was first given at {}",
        first.place
    );
    problems.add(Some(key), message);
}
