//! Which files are case files, and which configuration each of them tests.
//!
//! A path that is a file is a case file. In a directory, and in those below it, `*.json`, `*.yml` and
//! `*.yaml` files are looked at, except hidden ones: one is a case file if it has the key `testcases` or
//! `cases` at its top, or if its name ends in `.test.yml` (`.yaml`, `.json`). The others, dictionaries and
//! the like, are passed over and named, so that nobody believes they were run.
//!
//! The configuration is what `-f` or `-e` give; else what the file says by `config`; else the file beside
//! it that has its name (`web.test.yml`: `web.conf`), or one above its directory (`tests/web.yml`:
//! `web.conf`); else all `*.conf` beside it, or one above, together, as Logstash reads a directory.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::case_file::CaseFile;
use super::subject::Origin;
use crate::settings::Settings;

/// Directories below each other that are looked through.
const MAX_DEPTH: usize = 32;

/// Files that one run may have.
const MAX_FILES: usize = 100_000;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Case files in the order of their names.
    pub(super) files: Vec<PathBuf>,
    /// Files that have no cases.
    pub(super) passed_over: Vec<PathBuf>,
    /// All directories that were looked through.
    pub(super) directories: Vec<PathBuf>,
}

/// Why nothing can be run.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiscoverError {
    #[error("cannot read {}: {error}", path.display())]
    Read {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{} holds more than {MAX_FILES} files", path.display())]
    TooMany { path: PathBuf },
}

/// Finds the case files of some paths.
pub(super) fn discover(paths: &[PathBuf]) -> Result<Found, DiscoverError> {
    let mut found = Found::default();
    for path in paths {
        let failed = |error| DiscoverError::Read {
            path: path.clone(),
            error,
        };
        if std::fs::metadata(path).map_err(failed)?.is_dir() {
            walk(path, 0, &mut found)?;
        } else {
            found.files.push(path.clone());
        }
    }
    // Paths may overlap.
    for files in [&mut found.files, &mut found.passed_over] {
        let mut seen = HashSet::new();
        files.retain(|file| seen.insert(file.clone()));
    }
    Ok(found)
}

fn walk(directory: &Path, depth: usize, found: &mut Found) -> Result<(), DiscoverError> {
    let failed = |error| DiscoverError::Read {
        path: directory.to_owned(),
        error,
    };
    found.directories.push(directory.to_owned());
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        // Links to directories are not followed, so that there is no way in circles.
        let kind = entry.file_type().map_err(failed)?;
        if !hidden {
            entries.push((entry.path(), kind.is_dir()));
        }
    }
    entries.sort();
    for (path, is_directory) in entries {
        if is_directory {
            if depth < MAX_DEPTH {
                walk(&path, depth + 1, found)?;
            }
        } else if is_candidate(&path) && path.is_file() {
            if found.files.len() + found.passed_over.len() >= MAX_FILES {
                let path = directory.to_owned();
                return Err(DiscoverError::TooMany { path });
            }
            if is_named_test(&path) || has_cases(&path) {
                found.files.push(path);
            } else {
                found.passed_over.push(path);
            }
        }
    }
    Ok(())
}

fn is_candidate(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("json" | "yml" | "yaml"))
}

fn is_named_test(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default();
    Path::new(stem)
        .extension()
        .is_some_and(|extension| extension == "test")
}

/// Whether a file has one of the keys at its top. A file that is broken counts if it looks so: it is not
/// to go unnoticed.
fn has_cases(path: &Path) -> bool {
    const KEYS: [&str; 2] = ["testcases", "cases"];
    let Ok(text) = crate::sources::read(path) else {
        return false;
    };
    if KEYS.iter().all(|key| !text.contains(key)) {
        return false;
    }
    let root = if super::case_file::is_json(path) {
        super::json::read(&text, 0)
    } else {
        // PERF: nearly always this is enough, and the text is parsed only once.
        let is_key = |line: &str| KEYS.iter().any(|key| line.strip_prefix(key) == Some(":"));
        if text.lines().any(|line| is_key(line.trim_end())) {
            return true;
        }
        super::yaml::read(&text, 0)
    };
    root.map_or(true, |root| KEYS.iter().any(|key| root.get(key).is_some()))
}

/// The configuration that a case file tests.
pub(super) fn origin(path: &Path, file: &CaseFile, settings: &Settings) -> Result<Origin, String> {
    match (&settings.config_string, &settings.path_config) {
        (Some(_), Some(_)) => {
            return Err(crate::sources::SourceError::Both.to_string());
        }
        (Some(text), None) => return Ok(Origin::Text(text.clone())),
        (None, Some(pattern)) => return Ok(Origin::Pattern(pattern.clone())),
        (None, None) => {}
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    if !file.config.is_empty() {
        let mut files = Vec::new();
        for config in &file.config {
            let config = directory.join(&config.value);
            if config.is_dir() {
                files.extend(configurations(&config));
            } else {
                files.push(config);
            }
        }
        return Ok(Origin::Files(files));
    }
    let above = directory.join("..");
    for place in [&directory, &above] {
        let mut stem = path.file_stem().map(PathBuf::from);
        while let Some(name) = stem {
            let mut file = name.clone().into_os_string();
            file.push(".conf");
            let config = place.join(file);
            if config.is_file() {
                return Ok(Origin::Files(vec![config]));
            }
            stem = name.extension().and(name.file_stem()).map(PathBuf::from);
        }
    }
    for place in [&directory, &above] {
        let files = configurations(place);
        if !files.is_empty() {
            return Ok(Origin::Files(files));
        }
    }
    Err(format!(
        "{}: no configuration stands beside this file or above it; name it with -f, or by the key \
         `config`",
        path.display()
    ))
}

/// The `*.conf` files of a directory, in the order of their names.
fn configurations(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "conf")
        })
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, name: &str, text: &str) {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn names(directory: &Path, paths: &[PathBuf]) -> Vec<String> {
        paths
            .iter()
            .map(|path| path.strip_prefix(directory).unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn files_with_cases_are_found_and_the_others_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        write(root, "b.yml", "cases: []");
        write(root, "a.json", "{\"testcases\": []}");
        write(root, "deep/er/c.yaml", "testcases: []");
        write(root, "dictionary.yml", "cases of beer: 3");
        write(root, "broken.yml", "cases: [");
        write(root, "empty.test.yml", "");
        write(root, "x.conf", "");
        write(root, ".hidden/d.yml", "cases: []");
        let found = discover(&[root.to_owned()]).unwrap();
        assert_eq!(
            names(root, &found.files),
            [
                "a.json",
                "b.yml",
                "broken.yml",
                "deep/er/c.yaml",
                "empty.test.yml"
            ]
        );
        assert_eq!(names(root, &found.passed_over), ["dictionary.yml"]);
        // A file that is named is one whatever it holds.
        let named = root.join("dictionary.yml");
        assert_eq!(
            discover(std::slice::from_ref(&named)).unwrap().files,
            [named]
        );
        assert!(discover(&[root.join("none")]).is_err());
    }

    #[test]
    fn the_configuration_is_the_nearest() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for name in [
            "web.conf",
            "conf.d/1.conf",
            "conf.d/2.conf",
            "tests/db.conf",
            "conf.d/t/any.yml",
        ] {
            write(root, name, "");
        }
        let origin_of = |path: &str, config: &[&str]| {
            let file = CaseFile {
                config: config
                    .iter()
                    .map(|name| {
                        let span = skidder_pipeline::language::Span::default();
                        skidder_pipeline::language::Spanned::new((*name).to_owned(), span)
                    })
                    .collect(),
                ..CaseFile::default()
            };
            match origin(&root.join(path), &file, &Settings::default()).unwrap() {
                Origin::Files(files) => {
                    let files = files
                        .iter()
                        .map(|file| std::fs::canonicalize(file).unwrap());
                    let root = std::fs::canonicalize(root).unwrap();
                    names(&root, &files.collect::<Vec<_>>())
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(origin_of("web.test.yml", &[]), ["web.conf"]);
        assert_eq!(origin_of("tests/web.long.test.json", &[]), ["web.conf"]);
        assert_eq!(origin_of("tests/db.yml", &[]), ["tests/db.conf"]);
        assert_eq!(origin_of("tests/other.yml", &[]), ["tests/db.conf"]);
        assert_eq!(
            origin_of("conf.d/any.yml", &[]),
            ["conf.d/1.conf", "conf.d/2.conf"]
        );
        assert_eq!(
            origin_of("conf.d/t/any.yml", &[]),
            ["conf.d/1.conf", "conf.d/2.conf"]
        );
        assert_eq!(
            origin_of("tests/web.yml", &["../conf.d", "db.conf"]),
            ["conf.d/1.conf", "conf.d/2.conf", "tests/db.conf"]
        );
        let nowhere = tempfile::tempdir().unwrap();
        let lost = nowhere.path().join("a/b/x.yml");
        let error = origin(&lost, &CaseFile::default(), &Settings::default()).unwrap_err();
        assert!(error.contains("-f"), "{error}");
    }
}
