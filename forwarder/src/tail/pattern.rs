//! Globs: which paths a config names, and which directories must be watched for them.
//!
//! `*`, `?` and `[…]` stay within one path component, as in Go's `filepath.Glob`; `**` as a whole
//! component stands for any number of directories; `{a,b}` for either. A `*` matches a leading dot
//! too, as it does in Go. Symbolic links are followed where
//! a component names them, but not by `**`, which would walk in circles.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

/// Directories below a `**` that are entered at most.
pub const MAX_DEPTH: usize = 64;
/// Alternatives that the braces of one pattern may expand to.
pub const MAX_ALTERNATIVES: usize = 256;

/// One path of the config, compiled.
#[derive(Debug)]
pub struct Pattern {
    typed: String,
    alternatives: Vec<Vec<Component>>,
    matcher: Vec<GlobMatcher>,
}

#[derive(Debug)]
enum Component {
    Root,
    Literal(OsString),
    Wild(GlobMatcher),
    AnyDepth,
}

/// What a walk finds.
pub trait Visitor {
    /// A path that matches.
    fn found(&mut self, path: PathBuf);
    /// A directory whose changes can make other paths match.
    fn directory(&mut self, path: &Path);
    /// A directory that cannot be read, other than because it is not there.
    fn failed(&mut self, path: &Path, error: io::Error);
}

impl Pattern {
    /// Compiles a pattern.
    pub fn new(typed: &str) -> Result<Self, String> {
        if typed.is_empty() {
            return Err("a path is empty".to_owned());
        }
        let mut alternatives = Vec::new();
        let mut matcher = Vec::new();
        for text in expand_braces(typed)? {
            alternatives.push(components(&text)?);
            matcher.push(compile(&tidy(&text))?);
        }
        Ok(Self {
            typed: typed.to_owned(),
            alternatives,
            matcher,
        })
    }

    /// The pattern as it was typed.
    pub fn typed(&self) -> &str {
        &self.typed
    }

    /// Whether this path matches.
    pub fn matches(&self, path: &Path) -> bool {
        self.matcher.iter().any(|matcher| matcher.is_match(path))
    }

    /// Visits every path that matches now.
    pub fn walk(&self, visitor: &mut dyn Visitor) {
        for components in &self.alternatives {
            step(PathBuf::new(), components, 0, visitor);
        }
    }
}

/// The pattern without `.` components and doubled slashes, as the paths of a walk are.
fn tidy(text: &str) -> String {
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    format!(
        "{}{}",
        if text.starts_with('/') { "/" } else { "" },
        parts.join("/")
    )
}

fn compile(text: &str) -> Result<GlobMatcher, String> {
    GlobBuilder::new(text)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| format!("`{text}` is not a valid pattern: {}", error.kind()))
}

fn components(text: &str) -> Result<Vec<Component>, String> {
    let mut components = Vec::new();
    if text.starts_with('/') {
        components.push(Component::Root);
    }
    for part in text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
    {
        components.push(match part {
            "**" => Component::AnyDepth,
            _ if part.contains("**") => {
                return Err(format!("`**` must stand alone between slashes in `{text}`"));
            }
            _ if part.contains(['*', '?', '[', '\\']) => Component::Wild(compile(part)?),
            _ => Component::Literal(part.into()),
        });
    }
    if matches!(
        components.last(),
        None | Some(Component::Root | Component::AnyDepth)
    ) {
        return Err(format!(
            "`{text}` names no file; write `{}/*`",
            text.trim_end_matches('/')
        ));
    }
    Ok(components)
}

fn step(base: PathBuf, components: &[Component], depth: usize, visitor: &mut dyn Visitor) {
    let Some((component, rest)) = components.split_first() else {
        visitor.found(base);
        return;
    };
    match component {
        Component::Root => step(PathBuf::from("/"), rest, depth, visitor),
        Component::Literal(name) => {
            if rest.is_empty() {
                visitor.directory(or_here(&base));
            }
            let path = base.join(name);
            // A literal last component still has to be there to be found.
            if rest.is_empty() && std::fs::symlink_metadata(&path).is_err() {
                return;
            }
            step(path, rest, depth, visitor);
        }
        Component::Wild(matcher) => {
            visitor.directory(or_here(&base));
            for name in names(&base, visitor) {
                if matcher.is_match(Path::new(&name)) {
                    let path = base.join(&name);
                    if rest.is_empty() || path.is_dir() {
                        step(path, rest, depth, visitor);
                    }
                }
            }
        }
        Component::AnyDepth => {
            step(base.clone(), rest, depth, visitor);
            if depth >= MAX_DEPTH {
                return;
            }
            visitor.directory(or_here(&base));
            for name in names(&base, visitor) {
                let path = base.join(&name);
                if std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
                    step(path, components, depth + 1, visitor);
                }
            }
        }
    }
}

fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    }
}

fn names(directory: &Path, visitor: &mut dyn Visitor) -> Vec<OsString> {
    let directory = or_here(directory);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            let expected = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
            if !expected.contains(&error.kind()) {
                visitor.failed(directory, error);
            }
            return Vec::new();
        }
    };
    let mut names: Vec<OsString> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name())
        .collect();
    names.sort();
    names
}

/// `a{b,c}d` becomes `abd`, `acd`; nested braces too. A brace inside `[…]` or after `\` is plain.
fn expand_braces(text: &str) -> Result<Vec<String>, String> {
    let mut pending = vec![text.to_owned()];
    let mut done = Vec::new();
    while let Some(text) = pending.pop() {
        if pending.len() + done.len() >= MAX_ALTERNATIVES {
            return Err(format!(
                "the braces stand for more than {MAX_ALTERNATIVES} paths"
            ));
        }
        match first_braces(&text)? {
            None => done.push(text),
            Some((open, commas, close)) => {
                let mut from = open + 1;
                let mut expanded = Vec::new();
                for to in commas.into_iter().chain([close]) {
                    expanded.push(format!(
                        "{}{}{}",
                        &text[..open],
                        &text[from..to],
                        &text[close + 1..]
                    ));
                    from = to + 1;
                }
                pending.extend(expanded.into_iter().rev());
            }
        }
    }
    Ok(done)
}

type Braces = (usize, Vec<usize>, usize);

fn first_braces(text: &str) -> Result<Option<Braces>, String> {
    let (mut open, mut depth, mut commas) = (None, 0, Vec::new());
    let (mut escaped, mut class) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'[' => class = true,
            b']' => class = false,
            _ if class => {}
            b'{' => {
                depth += 1;
                open.get_or_insert(at);
            }
            b',' if depth == 1 => commas.push(at),
            b'}' if depth == 1 => return Ok(open.map(|open| (open, commas, at))),
            b'}' if depth > 1 => depth -= 1,
            _ => {}
        }
    }
    match open {
        Some(_) => Err(format!(
            "`{{` without `}}` in `{text}`; write `\\{{` for a plain brace"
        )),
        None => Ok(None),
    }
}

/// The `exclude` list: a pattern with a slash is matched against the whole path, one without
/// against the file's name.
#[derive(Debug, Default)]
pub struct Excludes {
    paths: Vec<GlobMatcher>,
    names: Vec<GlobMatcher>,
}

impl Excludes {
    /// Adds one pattern.
    pub fn add(&mut self, typed: &str) -> Result<(), String> {
        for text in expand_braces(typed)? {
            let list = if text.contains('/') {
                &mut self.paths
            } else {
                &mut self.names
            };
            list.push(compile(&text)?);
        }
        Ok(())
    }

    /// Whether this path is left out.
    pub fn covers(&self, path: &Path) -> bool {
        let name = path.file_name().map_or(path, Path::new);
        self.paths.iter().any(|matcher| matcher.is_match(path))
            || self.names.iter().any(|matcher| matcher.is_match(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Found {
        paths: Vec<PathBuf>,
        directories: Vec<PathBuf>,
    }

    impl Visitor for Found {
        fn found(&mut self, path: PathBuf) {
            self.paths.push(path);
        }
        fn directory(&mut self, path: &Path) {
            self.directories.push(path.to_owned());
        }
        fn failed(&mut self, path: &Path, error: io::Error) {
            panic!("{}: {error}", path.display());
        }
    }

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for file in [
            "a.log",
            "b.log.1",
            "x/a.log",
            "x/y/a.log",
            "x/y/b.txt",
            "x/y/.hidden.log",
        ] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(path, "line\n").expect("a file");
        }
        std::os::unix::fs::symlink(root.path(), root.path().join("x/loop")).expect("a link");
        root
    }

    fn walk(root: &Path, pattern: &str) -> Vec<String> {
        let pattern = Pattern::new(&format!("{}/{pattern}", root.display())).expect("valid");
        let mut found = Found::default();
        pattern.walk(&mut found);
        assert!(found.paths.iter().all(|path| pattern.matches(path)));
        let mut names: Vec<String> = found
            .paths
            .iter()
            .map(|path| {
                path.strip_prefix(root)
                    .expect("inside")
                    .display()
                    .to_string()
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn stars_stay_in_their_directory_and_double_stars_do_not() {
        let root = tree();
        assert_eq!(walk(root.path(), "*.log"), ["a.log"]);
        assert_eq!(walk(root.path(), "*/*.log"), ["x/a.log"]);
        let deep = ["a.log", "x/a.log", "x/y/.hidden.log", "x/y/a.log"];
        assert_eq!(walk(root.path(), "**/*.log"), deep);
        assert_eq!(walk(root.path(), "x/**/a.log"), ["x/a.log", "x/y/a.log"]);
        assert_eq!(walk(root.path(), "{a.log,x/y/b.*}"), ["a.log", "x/y/b.txt"]);
        assert_eq!(walk(root.path(), "[ab].log{,.[0-9]}"), ["a.log", "b.log.1"]);
        assert_eq!(walk(root.path(), "missing/*.log"), Vec::<String>::new());
        assert_eq!(walk(root.path(), "missing.log"), Vec::<String>::new());
    }

    #[test]
    fn a_link_that_is_named_is_followed() {
        let root = tree();
        assert_eq!(walk(root.path(), "x/loop/*.log"), ["x/loop/a.log"]);
        assert_eq!(
            walk(root.path(), "x/*/a.log"),
            ["x/loop/a.log", "x/y/a.log"]
        );
    }

    #[test]
    fn the_directories_to_watch_are_told() {
        let root = tree();
        let mut found = Found::default();
        let typed = format!("{}/x/*/b.txt", root.path().display());
        Pattern::new(&typed).expect("valid").walk(&mut found);
        for directory in ["x", "x/y", "x/loop"] {
            assert!(
                found.directories.contains(&root.path().join(directory)),
                "{directory}"
            );
        }
    }

    #[test]
    fn what_is_wrong_with_a_pattern_is_said() {
        for (typed, expected) in [
            ("/var/log/[a", "not a valid pattern"),
            ("/var/log/{a,b", "without"),
            ("/var/log/a**.log", "stand alone"),
            ("/var/log/**", "names no file"),
            ("/", "names no file"),
        ] {
            let error = Pattern::new(typed).expect_err(typed);
            assert!(error.contains(expected), "{typed}: {error}");
        }
        let many = "{a,b}".repeat(9);
        assert!(
            Pattern::new(&format!("/{many}"))
                .expect_err("too many")
                .contains("more than")
        );
    }

    #[test]
    fn excludes_by_name_and_by_path() {
        let mut excludes = Excludes::default();
        excludes.add("*.{gz,xz}").expect("valid");
        excludes.add("/var/log/private/**").expect("valid");
        assert!(excludes.covers(Path::new("/a/b.gz")));
        assert!(excludes.covers(Path::new("/var/log/private/x/y.log")));
        assert!(!excludes.covers(Path::new("/var/log/b.log")));
    }
}
