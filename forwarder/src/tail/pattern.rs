//! Globs: which paths a config names, and which directories must be watched for them.
//!
//! `*`, `?` and `[…]` stay within one path component, as in Go's `filepath.Glob`; `**` as a whole
//! component stands for any number of directories; `{a,b}` for either. A `*` matches a leading dot
//! too, as it does in Go. Symbolic links are followed where
//! a component names them, but not by `**`, which would walk in circles.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::FileType;
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
    /// What stands before the first wildcard and before the last name, and the rest.
    bases: Vec<(PathBuf, GlobMatcher)>,
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

/// The paths of a walk, each once, and what could not be read.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that match.
    pub paths: BTreeSet<PathBuf>,
    /// Directories, and why not.
    pub failures: Vec<(PathBuf, io::Error)>,
}

impl Visitor for Found {
    fn found(&mut self, path: PathBuf) {
        self.paths.insert(path);
    }
    fn directory(&mut self, _path: &Path) {}
    fn failed(&mut self, path: &Path, error: io::Error) {
        self.failures.push((path.to_owned(), error));
    }
}

impl Pattern {
    /// Compiles a pattern.
    pub fn new(typed: &str) -> Result<Self, String> {
        if typed.is_empty() {
            return Err("a path is empty".to_owned());
        }
        let mut alternatives = Vec::new();
        let (mut matcher, mut bases) = (Vec::new(), Vec::new());
        for text in expand_braces(typed)? {
            let components = components(&text)?;
            bases.push(base_of(&components, &text)?);
            alternatives.push(components);
            matcher.push(compile(&tidy(&text))?);
        }
        Ok(Self {
            typed: typed.to_owned(),
            alternatives,
            matcher,
            bases,
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

    /// The directories that are named without wildcards, below which everything is that matches, each with
    /// what the rest of a path has to match.
    pub fn bases(&self) -> impl Iterator<Item = (&Path, &GlobMatcher)> {
        self.bases.iter().map(|(base, rest)| (base.as_path(), rest))
    }

    /// Visits every path that matches now.
    pub fn walk(&self, visitor: &mut dyn Visitor) {
        let mut walk = Walk::new(self);
        while walk.step(self, None, visitor) {}
    }

    /// Visits what matches in a directory and below it, and nothing else.
    pub fn walk_below(&self, directory: &Path, visitor: &mut dyn Visitor) {
        let mut walk = Walk::new(self);
        while walk.step(self, Some(directory), visitor) {}
    }
}

/// A walk over what a pattern matches, which can be interrupted after each directory.
#[derive(Debug, Default)]
pub struct Walk {
    /// The last is the next.
    pending: Vec<Place>,
}

/// Where the rest of a pattern is to be looked for.
#[derive(Debug)]
struct Place {
    base: PathBuf,
    alternative: usize,
    /// The first of the components that are left.
    component: usize,
    /// Directories entered for a `**`.
    depth: usize,
}

impl Walk {
    /// At the beginning.
    pub fn new(pattern: &Pattern) -> Self {
        let pending = (0..pattern.alternatives.len())
            .rev()
            .map(|alternative| Place {
                base: PathBuf::new(),
                alternative,
                component: 0,
                depth: 0,
            });
        Self {
            pending: pending.collect(),
        }
    }

    /// Goes on by one directory at most, of the same pattern. False at the end.
    pub fn step(
        &mut self,
        pattern: &Pattern,
        only: Option<&Path>,
        visitor: &mut dyn Visitor,
    ) -> bool {
        let Some(place) = self.pending.pop() else {
            return false;
        };
        let left = pattern
            .alternatives
            .get(place.alternative)
            .and_then(|components| components.get(place.component..)?.split_first());
        let Some((component, rest)) = left else {
            return true;
        };
        if only.is_some_and(|only| !leads_to(&place.base, only)) {
            return true;
        }
        match component {
            Component::Root => self.enter(&place, PathBuf::from("/")),
            Component::Literal(name) => {
                if rest.is_empty() {
                    visitor.directory(or_here(&place.base));
                }
                let path = place.base.join(name);
                if !rest.is_empty() {
                    self.enter(&place, path);
                // A literal last component still has to be there to be found.
                } else if only.is_none_or(|only| path.starts_with(only)) {
                    match std::fs::symlink_metadata(&path) {
                        Ok(_) => visitor.found(path),
                        Err(error) => tell(or_here(&place.base), error, visitor),
                    }
                }
            }
            Component::Wild(matcher) => {
                visitor.directory(or_here(&place.base));
                let from = self.pending.len();
                for (name, kind) in names(&place.base, only, visitor) {
                    if matcher.is_match(Path::new(&name)) {
                        let path = place.base.join(&name);
                        match (rest.is_empty(), kind) {
                            (true, Kind::Directory) | (false, Kind::File) => {}
                            (true, _) => visitor.found(path),
                            (false, Kind::Directory) => self.enter(&place, path),
                            (false, Kind::Link) => {
                                if path.is_dir() {
                                    self.enter(&place, path);
                                }
                            }
                        }
                    }
                }
                self.pending[from..].reverse();
            }
            Component::AnyDepth => {
                let from = self.pending.len();
                let deeper = place.depth < MAX_DEPTH;
                // PERF: `**/*.log` is the usual case, and reads each directory once.
                let wild = match rest {
                    [Component::Wild(matcher)] => Some(matcher),
                    _ => {
                        self.enter(&place, place.base.clone());
                        None
                    }
                };
                if wild.is_none() && !deeper {
                    return true;
                }
                visitor.directory(or_here(&place.base));
                for (name, kind) in names(&place.base, only, visitor) {
                    let path = place.base.join(&name);
                    match kind {
                        Kind::Directory if deeper => self.pending.push(Place {
                            base: path,
                            depth: place.depth + 1,
                            ..place
                        }),
                        Kind::Directory => {}
                        Kind::File | Kind::Link => {
                            if wild.is_some_and(|wild| wild.is_match(Path::new(&name))) {
                                visitor.found(path);
                            }
                        }
                    }
                }
                self.pending[from..].reverse();
            }
        }
        true
    }

    /// The rest of the pattern is looked for there.
    fn enter(&mut self, place: &Place, base: PathBuf) {
        self.pending.push(Place {
            base,
            component: place.component + 1,
            ..*place
        });
    }
}

/// Whether a path is on the way to another one, or below it.
fn leads_to(path: &Path, only: &Path) -> bool {
    only.starts_with(path) || path.starts_with(only)
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

/// The names before the first wildcard and before the last name, and what the rest has to match.
fn base_of(components: &[Component], text: &str) -> Result<(PathBuf, GlobMatcher), String> {
    let plain =
        components
            .iter()
            .take(components.len() - 1)
            .map_while(|component| match component {
                Component::Root => Some(Path::new("/")),
                Component::Literal(name) => Some(Path::new(name)),
                Component::Wild(_) | Component::AnyDepth => None,
            });
    let base: PathBuf = plain.collect();
    let names = base.iter().filter(|name| *name != "/").count();
    let rest: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .skip(names)
        .collect();
    Ok((base, compile(&rest.join("/"))?))
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

fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    }
}

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    Link,
    /// Anything else.
    File,
}

/// A directory that is not there is none that cannot be read.
fn tell(directory: &Path, error: io::Error, visitor: &mut dyn Visitor) {
    let expected = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
    if !expected.contains(&error.kind()) {
        visitor.failed(directory, error);
    }
}

fn names(
    directory: &Path,
    only: Option<&Path>,
    visitor: &mut dyn Visitor,
) -> Vec<(OsString, Kind)> {
    if let Some(name) = only.and_then(|only| only.strip_prefix(directory).ok()?.iter().next()) {
        let kind = std::fs::symlink_metadata(directory.join(name)).map(|found| found.file_type());
        return match kind {
            Ok(kind) => vec![(name.to_owned(), Kind::of(kind))],
            Err(_) => Vec::new(),
        };
    }
    let directory = or_here(directory);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            tell(directory, error, visitor);
            return Vec::new();
        }
    };
    let mut names: Vec<(OsString, Kind)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.file_name(), Kind::of(entry.file_type().ok()?))))
        .collect();
    names.sort_unstable_by(|left, right| left.0.cmp(&right.0));
    names
}

impl Kind {
    fn of(kind: FileType) -> Self {
        if kind.is_dir() {
            Self::Directory
        } else if kind.is_symlink() {
            Self::Link
        } else {
            Self::File
        }
    }
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
    fn what_stands_before_the_first_wildcard_is_the_base() {
        for (typed, base, rest) in [
            ("/var/log/*.log", "/var/log", "a.log"),
            ("/var//./log/app/current", "/var/log/app", "current"),
            ("/srv/*/logs/x.log", "/srv", "a/logs/x.log"),
            ("/**/x.log", "/", "a/b/x.log"),
            ("/a", "/", "a"),
        ] {
            let pattern = Pattern::new(typed).expect("valid");
            let (found, matcher) = pattern.bases().next().expect("one");
            assert_eq!(found, Path::new(base), "{typed}");
            assert!(
                matcher.is_match(rest) && !matcher.is_match("other"),
                "{typed}"
            );
        }
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
    fn only_what_is_below_a_directory_is_visited() {
        let root = tree();
        let below = root.path().join("x/y");
        for (typed, expected) in [
            ("**/*.log", &["x/y/.hidden.log", "x/y/a.log"][..]),
            ("x/*/b.txt", &["x/y/b.txt"]),
            ("*/*.log", &[]),
            ("x/y/a.log", &["x/y/a.log"]),
        ] {
            let pattern = Pattern::new(&format!("{}/{typed}", root.path().display()));
            let mut found = Found::default();
            pattern.expect("valid").walk_below(&below, &mut found);
            let expected: Vec<_> = expected.iter().map(|path| root.path().join(path)).collect();
            assert_eq!(found.paths, expected, "{typed}");
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
