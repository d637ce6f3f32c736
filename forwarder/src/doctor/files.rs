//! What is on this machine: the paths of the config, the data directory, the registry.
//!
//! Every file that the patterns find is opened, as the daemon would, and closed again without being read.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::access::{self, User, Want};
use super::{Finding, Level};
use crate::config::Config;
use crate::config::plan::directory_of;
use crate::registry::store;
use crate::tail::links::{Strayed, open_of};
use crate::tail::pattern::{Found, Pattern};

/// Findings of one pattern that are told one by one.
pub const MAX_FINDINGS: usize = 10;
/// Less free space than this for the registry is worth a warning.
const LITTLE_SPACE: u64 = 64 << 20;

/// What was found of one pattern.
#[derive(Debug, Serialize)]
pub struct PathReport {
    /// Its element of `files`, counted from 1.
    pub element: usize,
    /// As typed.
    pub pattern: String,
    /// Files that match now.
    pub files: usize,
    /// Of these, those that can be opened.
    pub readable: usize,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// What was found of the data directory and the registry.
#[derive(Debug, Serialize)]
pub struct DataReport {
    /// The directory.
    pub directory: PathBuf,
    /// Its file system.
    pub file_system: String,
    /// Bytes that are free there.
    pub free_bytes: u64,
    /// The registry's file.
    pub registry: PathBuf,
    /// Files that it knows; none if there is no registry yet.
    pub known_files: Option<usize>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Looks at every path of the config.
pub fn look(config: &Config, user: &User) -> Vec<PathReport> {
    let mut reports = Vec::new();
    for (number, group) in config.groups.iter().enumerate() {
        for pattern in &group.patterns {
            reports.push(look_for(config, number, pattern, user));
        }
    }
    reports
}

fn look_for(config: &Config, index: usize, pattern: &Pattern, user: &User) -> PathReport {
    let mut found = Found::default();
    pattern.walk(&mut found);
    found
        .paths
        .retain(|path| !config.groups[index].exclude.covers(path));
    let mut report = PathReport {
        element: index + 1,
        pattern: pattern.typed().to_owned(),
        files: 0,
        readable: 0,
        findings: Vec::new(),
    };
    // One directory denies all that is in it, and is told once.
    let mut messages: BTreeSet<String> = BTreeSet::new();
    let mut strayed = 0;
    for (path, error) in &found.failures {
        messages.insert(words(path, error, Want::List, user));
    }
    for path in &found.paths {
        match is_file(path) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => {
                messages.insert(words(path, &error, Want::Read, user));
                continue;
            }
        }
        report.files += 1;
        match open_of(config, index, path) {
            Ok(_) => report.readable += 1,
            Err(error) if Strayed::of(&error).is_some() => {
                if strayed < MAX_FINDINGS {
                    let message = format!("{} is not shipped: {error}", path.display());
                    report.findings.push(Finding::new(Level::Warning, message));
                }
                strayed += 1;
            }
            Err(error) if messages.len() <= MAX_FINDINGS => {
                messages.insert(words(path, &error, Want::Read, user));
            }
            Err(_) => {}
        }
    }
    if report.files == 0 && messages.is_empty() {
        let message = "no file matches now; it is shipped when there is one".to_owned();
        report.findings.push(Finding::new(Level::Warning, message));
    }
    let unreadable = report.files - report.readable;
    let more = messages.len() > MAX_FINDINGS;
    let told = messages.into_iter().take(MAX_FINDINGS);
    report
        .findings
        .extend(told.map(|message| Finding::new(Level::Wrong, message)));
    if more {
        let message = format!("{unreadable} files cannot be read in all");
        report.findings.push(Finding::new(Level::Wrong, message));
    }
    report
}

/// Whether there is a regular file, and not something else or nothing.
fn is_file(path: &Path) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_file()),
        // It has just gone, or is a link to nowhere.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn words(path: &Path, error: &io::Error, want: Want, user: &User) -> String {
    let action = if want == Want::List {
        "cannot look into"
    } else {
        "cannot open"
    };
    if error.kind() != io::ErrorKind::PermissionDenied {
        return format!("{action} {}: {error}", path.display());
    }
    access::explain(path, want, user)
}

/// Looks at the data directory and the registry.
pub fn look_at_data(config: &Config, user: &User) -> DataReport {
    let directory = directory_of(&config.registry);
    let mut findings = Vec::new();
    // It is made at the start if it is not there: whoever makes it needs the nearest one that is.
    let there = directory
        .ancestors()
        .find(|path| !path.as_os_str().is_empty() && std::fs::metadata(path).is_ok())
        .unwrap_or(Path::new("."));
    if !access::is_allowed(there, Want::Write) {
        let read_only = rustix::fs::statvfs(there).is_ok_and(|status| {
            status
                .f_flag
                .contains(rustix::fs::StatVfsMountFlags::RDONLY)
        });
        let reason = if read_only {
            format!(
                "{} is on a file system that is mounted read-only",
                there.display()
            )
        } else {
            access::explain(there, Want::Write, user)
        };
        let message = format!("the registry cannot be written: {reason}; or set `data dir`");
        findings.push(Finding::new(Level::Wrong, message));
    }
    let (file_system, lasting) = file_system(there);
    if let Some(why) = lasting {
        findings.push(Finding::new(Level::Warning, why.to_owned()));
    }
    let free_bytes = rustix::fs::statvfs(there)
        .map(|status| status.f_bavail.saturating_mul(status.f_frsize))
        .unwrap_or_default();
    if free_bytes < LITTLE_SPACE {
        let message =
            "there is little space left: without any the registry cannot be saved".to_owned();
        findings.push(Finding::new(Level::Warning, message));
    }
    let known_files = look_at_registry(config, &mut findings, user);
    DataReport {
        directory: directory.to_owned(),
        file_system,
        free_bytes,
        registry: config.registry.clone(),
        known_files,
        findings,
    }
}

fn look_at_registry(config: &Config, findings: &mut Vec<Finding>, user: &User) -> Option<usize> {
    let decoded = match store::read(&config.registry) {
        Ok(decoded) => decoded?,
        Err(store::RegistryError::Io { error, .. })
            if error.kind() == io::ErrorKind::PermissionDenied =>
        {
            let reason = access::explain(&config.registry, Want::Read, user);
            let message = format!("the registry cannot be read: {reason}");
            findings.push(Finding::new(Level::Wrong, message));
            return None;
        }
        Err(error) => {
            findings.push(Finding::new(Level::Wrong, error.to_string()));
            return None;
        }
    };
    if let Some(damage) = &decoded.damage {
        let message = format!(
            "the registry is damaged: {damage}; `state repair` keeps what is whole, files that are lost from it are \
             shipped again"
        );
        findings.push(Finding::new(Level::Wrong, message));
    } else if decoded.torn > 0 {
        let message = format!(
            "{} bytes at the registry's end are a save that is under way, or was cut off",
            decoded.torn
        );
        findings.push(Finding::new(Level::Note, message));
    }
    if let (Some(made_on), Some(machine)) = (&decoded.machine, &config.machine)
        && made_on != machine
    {
        let message = "the registry was made on another machine: it will be set aside, and files are shipped as at \
                       the first start; see `machine id`"
            .to_owned();
        findings.push(Finding::new(Level::Warning, message));
    }
    Some(decoded.entries.len())
}

/// The name of a file system, and why a registry there does not last.
fn file_system(path: &Path) -> (String, Option<&'static str>) {
    const MEMORY: Option<&str> = Some(
        "the data directory is in memory: after a reboot everything is shipped as at the first start",
    );
    const CONTAINER: Option<&str> = Some(
        "the data directory is in a container's own layer and goes with it: mount a volume there",
    );
    const NETWORK: Option<&str> = Some(
        "the data directory is on a network file system: its locks may not keep a second forwarder out, and saving \
         waits for the network",
    );
    const KNOWN: &[(i64, &str, Option<&str>)] = &[
        (0xEF53, "ext4", None),
        (0x5846_5342, "xfs", None),
        (0x9123_683E, "btrfs", None),
        (0x2FC1_2FC1, "zfs", None),
        (0xF2F5_2010, "f2fs", None),
        (0x0102_1994, "tmpfs", MEMORY),
        (0x8584_58F6, "ramfs", MEMORY),
        (0x794C_7630, "overlay", CONTAINER),
        (0x6969, "nfs", NETWORK),
        (0xFF53_4D42, "cifs", NETWORK),
        (0xFE53_4D42, "smb", NETWORK),
        (0x00C3_6400, "ceph", NETWORK),
        (0x0102_1997, "9p", NETWORK),
        (0x6573_5546, "fuse", NETWORK),
    ];
    let Ok(status) = rustix::fs::statfs(path) else {
        return ("unknown".to_owned(), None);
    };
    #[allow(clippy::unnecessary_cast, reason = "its width is the platform's")]
    let magic = status.f_type as i64;
    match KNOWN.iter().find(|(known, ..)| *known == magic) {
        Some((_, name, lasting)) => ((*name).to_owned(), *lasting),
        None => (format!("type {magic:#x}"), None),
    }
}
