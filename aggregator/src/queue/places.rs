//! Where the queues of a pipeline lie: its own at `<path.queue>/<pipeline.id>`, those of single outputs below
//! it, at `outputs/<name>`.
//!
//! The queue of an output has a file `output` beside its segments: whose it is, how large it may become,
//! and a hash of the output's options. So a queue can be told about without the configuration
//! that made it, and an output that takes the place of another is noticed.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::open::survey;
use super::scan::Depth;
use super::storage::Directory;
use crate::settings::Settings;

/// The file with the label.
const LABEL: &str = "output";

/// The directory of a pipeline's queue.
pub(crate) fn directory(settings: &Settings) -> PathBuf {
    let all = settings.queue.path.clone();
    let all = all.unwrap_or_else(|| settings.path_data.join("queue"));
    all.join(&settings.pipeline_id)
}

/// The directory of the queue of the output with this name.
pub(crate) fn of_output(settings: &Settings, name: &str) -> PathBuf {
    outputs(settings).join(file_name(name))
}

/// Whether there is a queue in the directory, and not only those of outputs below it.
pub(crate) fn is_queue(directory: &Path) -> bool {
    directory.join("lock").is_file() || directory.join(super::checkpoint::NAME).is_file()
}

/// The directories of all queues of outputs that there are, in the order of their names.
pub(crate) fn of_outputs(settings: &Settings) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(outputs(settings)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut directories = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if is_queue(&path) {
            directories.push(path);
        }
    }
    directories.sort();
    Ok(directories)
}

/// Events that wait in a queue that nobody has to have.
pub(crate) fn waiting_events(directory: &Path) -> Result<u64, super::QueueError> {
    let survey = survey(&Directory::look(directory)?, Depth::Header)?;
    let open = survey.segments.iter().map(|segment| segment.open_events);
    Ok(open.sum())
}

/// What is known of the queue of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// The output's name.
    pub(crate) output: String,
    /// How large the queue may become.
    pub(crate) max_bytes: u64,
    /// A hash of the output's options.
    pub(crate) options: u64,
}

impl Label {
    /// The label of a queue; nothing if there is none that can be read.
    pub(crate) fn read(directory: &Path) -> Option<Self> {
        let text = fs::read_to_string(directory.join(LABEL)).ok()?;
        let mut label = Self {
            output: String::new(),
            max_bytes: 0,
            options: 0,
        };
        for line in text.lines() {
            let (key, value) = line.split_once(' ')?;
            match key {
                "output" => value.clone_into(&mut label.output),
                "max_bytes" => label.max_bytes = value.parse().ok()?,
                "options" => label.options = u64::from_str_radix(value, 16).ok()?,
                _ => {}
            }
        }
        (!label.output.is_empty()).then_some(label)
    }

    /// Puts the label on a queue.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        // A name may have any character, but only one line.
        let output = self.output.replace(['\n', '\r'], " ");
        let (max_bytes, options) = (self.max_bytes, self.options);
        let text = format!("output {output}\nmax_bytes {max_bytes}\noptions {options:016x}\n");
        let new = directory.join("output.new");
        fs::write(&new, text)?;
        fs::rename(new, directory.join(LABEL))
    }
}

/// What to call the output of a queue: as its label says, or else as its directory is called.
pub(crate) fn output_name(directory: &Path) -> String {
    Label::read(directory).map_or_else(
        || {
            let name = directory.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        },
        |label| label.output,
    )
}

fn outputs(settings: &Settings) -> PathBuf {
    directory(settings).join("outputs")
}

/// A name as that of a file: what could mean something else is written as `%` and two digits.
fn file_name(name: &str) -> String {
    let mut file = String::new();
    for (at, byte) in name.bytes().enumerate() {
        let is_plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'#');
        if is_plain || (byte == b'.' && at > 0) {
            file.push(char::from(byte));
        } else {
            let _infallible = write!(file, "%{byte:02X}");
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_elsewhere() {
        for (name, file) in [
            ("elasticsearch#2", "elasticsearch#2"),
            ("a.b-c_D", "a.b-c_D"),
            ("..", "%2E."),
            ("../x y", "%2E.%2Fx%20y"),
            ("ü", "%C3%BC"),
        ] {
            assert_eq!(file_name(name), file);
        }
    }

    #[test]
    fn a_label_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Label::read(directory.path()), None);
        let label = Label {
            output: "main cluster".into(),
            max_bytes: 7,
            options: u64::MAX - 1,
        };
        label.write(directory.path()).unwrap();
        assert_eq!(Label::read(directory.path()), Some(label));
        fs::write(directory.path().join(LABEL), "max_bytes x").unwrap();
        assert_eq!(Label::read(directory.path()), None);
    }
}
