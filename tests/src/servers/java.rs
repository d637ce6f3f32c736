//! The Java runtimes of this machine.
//!
//! Old servers want Java 17, new ones 21 or later; distributions install several side by side
//! and only one is `java` on the path. Looked at: `JAVA_HOME`, `JDK17`/`JDK21`/`JDK25` style
//! variables are not needed because everything below `/usr/lib/jvm` is looked at as well.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Which Java a server needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// This major version and no other.
    Exactly(u32),
    /// This major version or a later one.
    AtLeast(u32),
}

impl Need {
    fn met_by(self, major: u32) -> bool {
        match self {
            Self::Exactly(version) => major == version,
            Self::AtLeast(version) => major >= version,
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Exactly(version) => format!("Java {version}"),
            Self::AtLeast(version) => format!("Java {version} or later"),
        }
    }
}

/// Finds the home folder of a suitable Java.
///
/// # Errors
/// When there is none: what was looked for, what was found, and how to get it.
pub(super) fn home(need: Need) -> Result<PathBuf, String> {
    let mut found = Vec::new();
    for home in candidates() {
        let Some(major) = major_version(&home) else {
            continue;
        };
        if need.met_by(major) {
            return Ok(home);
        }
        found.push(format!("{} (Java {major})", home.display()));
    }
    Err(format!(
        "{} is needed and not installed; found: {}; install it below /usr/lib/jvm or point JAVA_HOME at it",
        need.describe(),
        if found.is_empty() {
            "none".to_owned()
        } else {
            found.join(", ")
        }
    ))
}

fn candidates() -> Vec<PathBuf> {
    let mut homes = Vec::new();
    homes.extend(std::env::var_os("JAVA_HOME").map(PathBuf::from));
    let on_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path)
            .find_map(|folder| std::fs::canonicalize(folder.join("java")).ok())
    });
    homes.extend(on_path.and_then(|java| Some(java.parent()?.parent()?.to_path_buf())));
    let mut installed: Vec<PathBuf> = std::fs::read_dir("/usr/lib/jvm")
        .map(|entries| {
            entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect()
        })
        .unwrap_or_default();
    installed.sort();
    homes.extend(installed);
    homes
}

fn major_version(home: &Path) -> Option<u32> {
    let output = Command::new(home.join("bin/java"))
        .arg("-version")
        .output()
        .ok()?;
    parse_version(&String::from_utf8_lossy(&output.stderr))
}

/// `openjdk version "17.0.12" 2024-07-16`, `java version "1.8.0_392"`, `… version "25"`.
fn parse_version(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("version \"")?;
    let mut numbers = rest
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    match numbers.next()?.ok()? {
        1 => numbers.next()?.ok(),
        major => Some(major),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_version_lines() {
        assert_eq!(
            parse_version("openjdk version \"17.0.12\" 2024-07-16\n"),
            Some(17)
        );
        assert_eq!(parse_version("java version \"1.8.0_392\""), Some(8));
        assert_eq!(
            parse_version("Picked up options\nopenjdk version \"25\" 2025"),
            Some(25)
        );
        assert_eq!(parse_version("command not found"), None);
    }

    #[test]
    fn a_missing_java_is_named() {
        let message = home(Need::AtLeast(9999)).unwrap_err();
        assert!(message.contains("Java 9999 or later"), "{message}");
    }
}
