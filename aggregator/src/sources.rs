//! Where the text of a pipeline comes from: files in name order, or the command line.
//!
//! COMPAT: `-f` takes a file, a directory (every file in it; Logstash too reads all of them,
//! so editors' backup files are skipped with a warning) or a glob; the files are one
//! configuration. `-e` without an input section reads stdin, without an output section prints.

use std::path::{Path, PathBuf};

use skidder_pipeline::language::SourceMap;

/// Most files one configuration may consist of.
pub const MAX_FILES: usize = 10_000;

/// Most bytes one file of a configuration may have.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file or directory cannot be read.
    #[error("cannot read the configuration {}: {error}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file is not text.
    #[error("the configuration {} is not UTF-8 text (byte {at})", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Offset of the first bad byte.
        at: usize,
    },
    /// A file or a set of files is too large.
    #[error("the configuration {} is larger than {limit}", path.display())]
    TooLarge {
        /// The file, directory or glob.
        path: PathBuf,
        /// The limit with its unit.
        limit: String,
    },
    /// Nothing matches.
    #[error("no configuration file matches {pattern}")]
    NoFile {
        /// As it was given.
        pattern: String,
    },
    /// Two configurations are given.
    #[error("-e (config.string) and -f (path.config) cannot be used together")]
    Both,
    /// No configuration is given.
    #[error(
        "no pipeline: name its configuration with -f, write it after -e, or list pipelines in {}",
        .0.display()
    )]
    None(PathBuf),
    /// A glob that cannot be understood.
    #[error("the configuration path {pattern} is not a valid glob: {error}")]
    Glob {
        /// As it was given.
        pattern: String,
        /// Why.
        error: String,
    },
}

/// The configuration that `-f` names.
pub fn from_path(pattern: &str) -> Result<SourceMap, SourceError> {
    let path = Path::new(pattern);
    let files = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => list(path, |file| !is_backup(file))?,
        Ok(_) => vec![path.to_owned()],
        Err(error) if !pattern.contains(['*', '?', '[', '{']) => {
            return Err(SourceError::Read {
                path: path.into(),
                error,
            });
        }
        Err(_) => matching(pattern)?,
    };
    if files.is_empty() {
        return Err(SourceError::NoFile {
            pattern: pattern.into(),
        });
    }
    if files.len() > MAX_FILES {
        return Err(SourceError::TooLarge {
            path: path.into(),
            limit: format!("{MAX_FILES} files"),
        });
    }
    let mut sources = SourceMap::new();
    for file in files {
        let text = read(&file)?;
        sources.add(file.to_string_lossy(), text);
    }
    Ok(sources)
}

/// The configuration that `-e` gives.
pub fn from_text(text: &str) -> SourceMap {
    SourceMap::single("config.string", text)
}

/// The configuration that stands in `pipelines.yml`, of the pipeline of that name.
pub fn from_text_of(pipeline: &str, text: &str) -> SourceMap {
    SourceMap::single(format!("config.string of {pipeline}"), text)
}

/// Whether a file is one of those that [`from_path`] takes.
pub(crate) fn takes(pattern: &str, file: &Path) -> bool {
    let named = Path::new(pattern);
    if named == file || file.parent() == Some(named) {
        return true;
    }
    let glob = globset::GlobBuilder::new(pattern)
        .literal_separator(true)
        .build();
    glob.is_ok_and(|glob| glob.compile_matcher().is_match(file))
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> Result<String, SourceError> {
    let failed = |error| SourceError::Read {
        path: path.into(),
        error,
    };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_FILE_BYTES {
        let limit = format!("{MAX_FILE_BYTES} bytes");
        return Err(SourceError::TooLarge {
            path: path.into(),
            limit,
        });
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    String::from_utf8(bytes).map_err(|error| SourceError::NotText {
        path: path.into(),
        at: error.utf8_error().valid_up_to(),
    })
}

/// The files (not directories) of a directory that `keep` likes, in name order.
fn list(directory: &Path, keep: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, SourceError> {
    let failed = |error| SourceError::Read {
        path: directory.into(),
        error,
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() && keep(&path) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn is_backup(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let backup = name.starts_with('.') || name.ends_with('~') || name.ends_with(".swp");
    if backup {
        tracing::warn!(path = %path.display(), "skipped, it looks like an editor's backup file");
    }
    backup
}

/// The files that match a glob, in name order. The part before the first wildcard is walked.
fn matching(pattern: &str) -> Result<Vec<PathBuf>, SourceError> {
    let glob = globset::GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map_err(|error| SourceError::Glob {
            pattern: pattern.into(),
            error: error.to_string(),
        })?
        .compile_matcher();
    let wild = pattern.find(['*', '?', '[', '{']).unwrap_or(pattern.len());
    let root = match pattern[..wild].rfind('/') {
        Some(0) => Path::new("/"),
        Some(end) => Path::new(&pattern[..end]),
        None => Path::new("."),
    };
    let depth = pattern[wild..].matches('/').count();
    let deep = pattern.contains("**");
    let mut files = Vec::new();
    let mut directories = vec![(root.to_owned(), 0)];
    while let Some((directory, level)) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let shown = path.strip_prefix("./").unwrap_or(&path);
            if path.is_dir() {
                if (deep || level < depth) && directories.len() < MAX_FILES {
                    directories.push((path, level + 1));
                }
            } else if glob.is_match(shown) {
                files.push(shown.to_owned());
                if files.len() > MAX_FILES {
                    return Ok(files);
                }
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_and_a_glob_in_name_order() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("2.conf", "two"),
            ("1.conf", "one"),
            ("3.conf~", "no"),
            ("x.txt", "x"),
        ] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let texts = |pattern: &str| {
            let sources = from_path(pattern).unwrap();
            sources
                .iter()
                .map(|source| source.text.to_string())
                .collect::<Vec<_>>()
        };
        let root = directory.path().to_str().unwrap();
        assert_eq!(texts(root), ["one", "two", "x"]);
        assert_eq!(texts(&format!("{root}/*.conf")), ["one", "two"]);
        assert_eq!(texts(&format!("{root}/2.conf")), ["two"]);
    }

    #[test]
    fn a_file_over_the_limit_is_refused_unread() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("huge.conf");
        // Sparse: it takes no room on the disk.
        std::fs::File::create(&path)
            .unwrap()
            .set_len(MAX_FILE_BYTES + 1)
            .unwrap();
        let message = from_path(path.to_str().unwrap()).unwrap_err().to_string();
        assert!(message.contains("huge.conf is larger than"), "{message}");
    }

    #[test]
    fn errors_name_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_str().unwrap();
        let message = |pattern: String| from_path(&pattern).unwrap_err().to_string();
        assert!(message(format!("{root}/no.conf")).contains("no.conf: No such file"));
        assert!(message(format!("{root}/*.conf")).contains("no configuration file matches"));
        assert!(message(root.to_owned()).contains("no configuration file matches"));
        std::fs::write(directory.path().join("bad.conf"), b"ab\xff").unwrap();
        assert!(message(format!("{root}/bad.conf")).contains("not UTF-8 text (byte 2)"));
    }
}
