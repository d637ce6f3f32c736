//! The configuration: from files to built objects, in two steps.
//!
//! [`raw`] holds what was typed: known keys only, each with its place, several files merged.
//! [`plan`] turns it into what the daemon runs on: patterns compiled, certificates read, numbers
//! in range. Both collect every problem they find, so that one `check` shows them all.

pub mod environment;
pub mod files;
mod following;
pub mod host;
mod journal;
pub mod lines;
pub mod network;
pub mod options;
pub mod plan;
pub mod proxy;
pub mod raw;
mod syslog;
pub mod units;
mod values;
pub mod yaml;

use std::fmt;
use std::path::Path;

pub use files::{FileGroup, NetworkFiles, StartPosition};
pub use network::Network;
pub use plan::{Config, Limits, Overrides};

/// One thing that is wrong.
#[derive(Debug)]
pub struct Problem {
    /// Where it stands, if it stands anywhere.
    pub place: Option<yaml::Place>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(formatter, "{place}: {}", self.message),
            None => formatter.write_str(&self.message),
        }
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    pub(crate) fn add(&mut self, place: Option<&yaml::Place>, message: impl Into<String>) {
        self.0.push(Problem {
            place: place.cloned(),
            message: message.into(),
        });
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Reads and builds the configuration at `path`: a file, or a directory whose files are merged.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Config, Problems> {
    load_with(path, overrides, &|name| std::env::var(name).ok())
}

/// The files that [`load`] would read now, to see whether they have changed.
pub fn files(path: &Path) -> Vec<std::path::PathBuf> {
    raw::files_of(path).unwrap_or_else(|_| vec![path.to_owned()])
}

/// As [`load`], with the environment given by the caller.
pub fn load_with(
    path: &Path,
    overrides: &Overrides,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    let mut problems = Problems::default();
    let raw = raw::read(path, environment, &mut problems);
    let config = plan::build(&raw, overrides, &mut problems);
    match config {
        Some(config) if problems.0.is_empty() => Ok(config),
        _ => Err(problems),
    }
}
