//! Logstash's own grok definitions, to compare ours with.
//!
//! They are not in this repository. The library of Elasticsearch that its ingest pipelines use
//! has a copy, which is downloaded as the servers are. In that copy some definitions of the ECS
//! set have lost square brackets, and some of the legacy set are older ones; `is_copy` says so.
//! `SKIDDER_GROK_ORIGINALS` may name a folder with the real ones: `legacy/` and `ecs-v1/`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{StartError, fetch};
use crate::environment;

/// A folder with Logstash's pattern files.
const ORIGINALS: &str = "SKIDDER_GROK_ORIGINALS";

const JAR: fetch::Artifact = fetch::Artifact {
    group: "org.elasticsearch",
    name: "elasticsearch-grok",
    version: "8.19.21",
    kind: "jar",
    sha256: "48af6638a6019552aa2f736dbd1e6cfb0ae18bc1117ea838412c1747a234ad2d",
    folder: Some("patterns"),
};

/// The pattern files of both sets.
#[derive(Debug)]
pub struct PatternFiles {
    folder: PathBuf,
    /// Whether they are Elasticsearch's copy.
    pub is_copy: bool,
}

impl PatternFiles {
    /// The texts of the files of a set, `legacy` or `ecs-v1`, by name.
    pub fn texts(&self, set: &str) -> Result<Vec<String>> {
        let folder = self.folder.join(set);
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("listing the pattern files in {}", folder.display()))?;
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<_>>()?;
        paths.sort();
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
        };
        paths.iter().map(read).collect()
    }
}

/// Logstash's pattern files; `None`, after saying so, when they are not to be had.
///
/// # Panics
/// When they should be there and are not, or when skipping is forbidden.
pub fn pattern_files_or_skip() -> Option<PatternFiles> {
    if let Some(folder) = std::env::var_os(ORIGINALS) {
        return Some(PatternFiles {
            folder: Path::new(&folder).to_path_buf(),
            is_copy: false,
        });
    }
    match fetch::unpacked_artifact(&JAR) {
        Ok(folder) => Some(PatternFiles {
            folder,
            is_copy: true,
        }),
        Err(StartError::Unavailable(reason)) => {
            environment::skip(&reason);
            None
        }
        Err(StartError::Failed(error)) => panic!("Logstash's pattern files: {error:#}"),
    }
}
