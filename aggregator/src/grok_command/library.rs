//! `grok list` and `grok show`: the patterns there are, and what one of them is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use bumpalo::Bump;
use serde_json::json;
use skidder_grok::{
    CaptureKind, CompileOptions, EngineKind, Matcher, PartKind, PatternSet, definitions, outline,
};
use skidder_pipeline::Files as _;
use skidder_pipeline::filter::Scratch;
use skidder_pipeline::language::nearest;

use super::arguments::{Expressions, Library, ListArguments, ShowArguments};
use super::filter::GrokFilter;
use super::{EXIT_NO_MATCH, Failure, Refused};
use crate::commands::Disk;
use crate::{cli, log};

/// What `--define` counts as, where a file is named.
const DEFINED: &str = "--define";

/// How deep `show` follows the patterns that a pattern uses.
const MAX_DEPTH: usize = 32;

/// Named patterns, and the files they are from.
pub(super) struct Shelf {
    pub(super) set: PatternSet,
    /// Files of the patterns that are not standard ones.
    files: BTreeMap<String, String>,
}

impl Shelf {
    pub(super) fn new(library: &Library) -> Result<Self, Refused> {
        let mut shelf = Self {
            set: if library.ecs {
                PatternSet::ecs_v1()
            } else {
                PatternSet::legacy()
            },
            files: BTreeMap::new(),
        };
        for directory in &library.directories {
            let path = Path::new(directory);
            let files = Disk.list(path).unwrap_or_else(|_| vec![path.to_owned()]);
            for file in files {
                shelf.read(&file)?;
            }
        }
        for (name, expression) in &library.definitions {
            shelf.set.add(name, expression);
            shelf.files.insert(name.clone(), DEFINED.into());
        }
        Ok(shelf)
    }

    fn read(&mut self, file: &Path) -> Result<(), Refused> {
        let shown = file.display();
        let bytes = Disk
            .read(file)
            .map_err(|error| Refused::Message(format!("cannot read {shown}: {error}")))?;
        let text = String::from_utf8_lossy(&bytes);
        for definition in definitions(&text) {
            match definition {
                Ok(definition) => {
                    self.set.add(definition.name, definition.expression);
                    let file = file.display().to_string();
                    self.files.insert(definition.name.to_owned(), file);
                }
                Err(error) => log::say(&format!("warning: {shown}: {error}\n")),
            }
        }
        Ok(())
    }

    /// The file that a pattern is from.
    fn file_of(&self, name: &str) -> String {
        match self.files.get(name) {
            Some(file) => file.clone(),
            // Every name is of a standard file, or of one that was read here.
            None => self.set.file_of(name).unwrap_or_default().to_owned(),
        }
    }
}

/// Prints the names, by file.
pub(super) fn list(arguments: &ListArguments, output: &mut impl Write) -> Result<u8, Failure> {
    let shelf = Shelf::new(&arguments.library)?;
    let mut by_file: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for name in shelf.set.names() {
        let file = shelf.file_of(name);
        let wanted = arguments
            .filter
            .as_ref()
            .is_none_or(|filter| fits(filter, name) || fits(filter, &file));
        if wanted {
            by_file.entry(file).or_default().push(name);
        }
    }
    if arguments.json {
        let files: Vec<_> = by_file
            .iter()
            .map(|(file, names)| json!({ "file": file, "patterns": names }))
            .collect();
        writeln!(output, "{}", json!(files))?;
    } else {
        for (file, names) in &by_file {
            writeln!(output, "{file}")?;
            for name in names {
                writeln!(output, "  {name}")?;
            }
        }
    }
    Ok(if by_file.is_empty() {
        EXIT_NO_MATCH
    } else {
        cli::EXIT_OK
    })
}

/// Whether a text holds the filter or, if that is a glob, is matched by it as a whole. A path
/// counts with its last part alone, too.
fn fits(filter: &str, text: &str) -> bool {
    let (filter, text) = (filter.to_lowercase(), text.to_lowercase());
    if !filter.contains(['*', '?']) {
        return text.contains(&filter);
    }
    let last = text.rsplit('/').next().unwrap_or(&text);
    globset::Glob::new(&filter).is_ok_and(|glob| {
        let glob = glob.compile_matcher();
        glob.is_match(&text) || glob.is_match(last)
    })
}

/// A pattern that another one uses.
struct Use {
    name: String,
    definition: String,
    depth: usize,
    /// It was shown before.
    again: bool,
}

/// Prints one pattern.
pub(super) fn show(arguments: &ShowArguments, output: &mut impl Write) -> Result<u8, Failure> {
    let shelf = Shelf::new(&arguments.library)?;
    let name = arguments.name.as_str();
    let Some(definition) = shelf.set.definition(name) else {
        let hint = nearest(name, shelf.set.names())
            .map(|near| format!("; did you mean `{near}`?"))
            .unwrap_or_default();
        log::complain(&format!("there is no pattern `{name}`{hint}"));
        return Ok(EXIT_NO_MATCH);
    };
    let refused = |error: skidder_grok::CompileError| Refused::Message(error.to_string());
    let expanded = shelf.set.expanded(name).map_err(refused)?;
    if arguments.flat && !arguments.json {
        writeln!(output, "{expanded}")?;
        return Ok(cli::EXIT_OK);
    }
    let expression = format!("%{{{name}}}");
    let matcher = shelf
        .set
        .compile(&expression, &CompileOptions::default())
        .map_err(refused)?;
    let mut uses = Vec::new();
    follow(&shelf.set, definition, 0, &mut BTreeSet::new(), &mut uses);
    let examples = examples(arguments, &shelf)?;
    let file = shelf.file_of(name);
    if arguments.json {
        let captures: Vec<_> = matcher
            .captures()
            .iter()
            .map(|capture| {
                json!({
                    "field": capture.name,
                    "type": kind(capture.kind),
                    "pattern": capture.pattern,
                })
            })
            .collect();
        let uses: Vec<_> = uses
            .iter()
            .filter(|each| !each.again)
            .map(|each| json!({ "name": each.name, "definition": each.definition }))
            .collect();
        let examples: Vec<_> = examples
            .iter()
            .map(|(text, captured)| json!({ "text": text, "captures": captured }))
            .collect();
        let shown = json!({
            "name": name, "file": file, "definition": definition, "expanded": expanded,
            "engine": engine_json(&matcher), "captures": captures, "uses": uses,
            "examples": examples,
        });
        writeln!(output, "{shown}")?;
        return Ok(cli::EXIT_OK);
    }
    let mut text = format!(
        "{name} ({file})\n  {definition}\n\nengine: {}\n",
        engine(&matcher)
    );
    captures_text(&matcher, &mut text);
    if !uses.is_empty() {
        text.push_str("\nuses\n");
    }
    for each in &uses {
        let indent = "  ".repeat(each.depth + 1);
        let definition = if each.again {
            "(above)"
        } else {
            &each.definition
        };
        writeln!(text, "{indent}{}  {definition}", each.name).map_err(std::io::Error::other)?;
    }
    if !examples.is_empty() {
        text.push_str("\nexamples\n");
    }
    for (line, captured) in &examples {
        writeln!(text, "  {line}\n    {captured}").map_err(std::io::Error::other)?;
    }
    output.write_all(text.as_bytes())?;
    Ok(cli::EXIT_OK)
}

fn captures_text(matcher: &Matcher, text: &mut String) {
    if matcher.captures().is_empty() {
        text.push_str("captures: none\n");
        return;
    }
    text.push_str("captures\n");
    let width = matcher.captures().iter().map(|each| each.name.len()).max();
    let width = width.unwrap_or_default();
    for capture in matcher.captures() {
        let pattern = capture.pattern.as_deref().unwrap_or_default();
        let line = format!(
            "  {:width$}  {:7}  {pattern}",
            capture.name,
            kind(capture.kind)
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// The patterns that a definition uses, each one's own below it.
fn follow(
    set: &PatternSet,
    definition: &str,
    depth: usize,
    seen: &mut BTreeSet<String>,
    uses: &mut Vec<Use>,
) {
    if depth >= MAX_DEPTH {
        return;
    }
    for part in outline(definition) {
        match part.kind {
            PartKind::Reference { name, .. } => {
                let Some(inner) = set.definition(name) else {
                    continue;
                };
                let again = !seen.insert(name.to_owned());
                uses.push(Use {
                    name: name.to_owned(),
                    definition: inner.to_owned(),
                    depth,
                    again,
                });
                if !again {
                    follow(set, inner, depth + 1, seen, uses);
                }
            }
            PartKind::Group { inside, .. } if inside.len() < definition.len() => {
                follow(set, &definition[inside], depth, seen, uses);
            }
            _ => {}
        }
    }
}

/// Examples with what the pattern captures of them.
fn examples(
    arguments: &ShowArguments,
    shelf: &Shelf,
) -> Result<Vec<(String, serde_json::Value)>, Refused> {
    let texts = shelf.set.examples(&arguments.name).map(str::to_owned);
    let texts: Vec<String> = texts.collect();
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let expressions = Expressions {
        given: vec![format!("%{{{}}}", arguments.name)],
        library: Library {
            ecs: arguments.library.ecs,
            directories: arguments.library.directories.clone(),
            definitions: arguments.library.definitions.clone(),
        },
        ..Expressions::default()
    };
    let filter = GrokFilter::new(&expressions, false)?;
    let mut scratch = Scratch::default();
    let captured = |text: &String| {
        let arena = Bump::new();
        let mut out = Vec::new();
        filter.apply(text.as_bytes(), &arena, &mut scratch, &mut out);
        serde_json::from_slice(&out).unwrap_or_default()
    };
    let all: Vec<_> = texts.iter().map(captured).collect();
    Ok(texts.into_iter().zip(all).collect())
}

fn kind(kind: CaptureKind) -> &'static str {
    match kind {
        CaptureKind::Integer => "integer",
        CaptureKind::Float => "float",
        _ => "text",
    }
}

/// How a matcher runs, for people.
pub(super) fn engine(matcher: &Matcher) -> String {
    match matcher.engine() {
        EngineKind::Backtracking { because } => {
            format!("bounded fallback, because of {because}")
        }
        _ => "automaton".to_owned(),
    }
}

/// How a matcher runs, for programs.
pub(super) fn engine_json(matcher: &Matcher) -> serde_json::Value {
    match matcher.engine() {
        EngineKind::Backtracking { because } => json!({ "kind": "fallback", "because": because }),
        _ => json!({ "kind": "automaton" }),
    }
}
