//! The patterns that the expressions of a grok filter may name, where each came from, and what
//! is wrong with those that are used.
//!
//! Findings point at the place inside of the expression or definition where they are. A text of
//! the configuration is read as it is written between its quotes; where it is not (an escape, a
//! variable) the finding points at the whole of it and counts bytes. A pattern file is named with
//! line and column.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skidder_grok::{
    CompileError, CompileOptions, EngineKind, FallbackPart, MatcherList, PartKind, PatternSet,
    Within, definitions, outline,
};

use super::ahead::Ahead;
use crate::compile::Build;
use crate::language::{Code, Diagnostic, Options, Span, Spanned, did_you_mean};

/// Largest pattern file.
const MAX_PATTERN_FILE_BYTES: usize = 16 << 20;

/// Named patterns and their places.
pub(crate) struct Patterns {
    set: PatternSet,
    origins: HashMap<String, Origin>,
    /// What was reported already: a pattern is often used by several expressions.
    reported: HashSet<(String, Range<usize>)>,
    /// What decides about the set; none if files do.
    identity: Option<String>,
    /// What was compiled ahead.
    ahead: Option<Arc<Ahead>>,
}

/// Where a definition stands.
enum Origin {
    /// In `pattern_definitions`.
    Option(Spanned<String>),
    /// In a pattern file.
    File {
        path: PathBuf,
        line: usize,
        column: usize,
    },
}

impl Patterns {
    /// The standard patterns, then those of files, then those of the filter itself; later ones
    /// win.
    pub(crate) fn from_options(
        options: &mut Options<'_>,
        build: &Build<'_>,
        ahead: Option<Arc<Ahead>>,
    ) -> Self {
        let ecs = build.ecs(options);
        let mut patterns = Self {
            set: if ecs {
                PatternSet::ecs_v1()
            } else {
                PatternSet::legacy()
            },
            origins: HashMap::new(),
            reported: HashSet::new(),
            identity: None,
            ahead,
        };
        let of_files = options.has("patterns_dir");
        let directories = options.strings("patterns_dir").unwrap_or_default();
        let glob = options
            .string("patterns_files_glob")
            .unwrap_or_else(|| "*".into());
        for directory in directories {
            patterns.read_directory(&directory, &glob, build, options);
        }
        let definitions = options
            .string_hash("pattern_definitions")
            .unwrap_or_default();
        if !of_files {
            let texts = definitions.iter();
            let texts: Vec<_> = texts
                .map(|(name, text)| (&name.value, &text.value))
                .collect();
            patterns.identity = Some(format!("{ecs} {texts:?}"));
        }
        for (name, definition) in definitions {
            patterns.set.add(&name.value, &definition.value);
            patterns
                .origins
                .insert(name.value, Origin::Option(definition));
        }
        patterns
    }

    /// All that decides about what a list of expressions becomes; none if files do.
    pub(super) fn key(
        &self,
        expressions: &[impl AsRef<str>],
        compile: &CompileOptions,
    ) -> Option<String> {
        let expressions: Vec<&str> = expressions.iter().map(AsRef::as_ref).collect();
        let identity = self.identity.as_ref()?;
        Some(format!("{identity} {expressions:?} {compile:?}"))
    }

    /// The patterns.
    pub(super) fn set(&self) -> &PatternSet {
        &self.set
    }

    /// The patterns alone.
    pub(super) fn into_set(self) -> PatternSet {
        self.set
    }

    /// Compiles the expressions of a field and warns of those that need the fallback; gives
    /// nothing if one is refused.
    pub(crate) fn compile(
        &mut self,
        expressions: &[Spanned<String>],
        compile: &CompileOptions,
        options: &mut Options<'_>,
    ) -> Option<MatcherList> {
        let list: Vec<&str> = expressions.iter().map(|each| each.value.as_str()).collect();
        let ahead = self.ahead.as_ref();
        let ahead = ahead.and_then(|ahead| ahead.find(&self.key(&list, compile)?));
        let compiled = match ahead {
            Some(compiled) => Ok(compiled),
            None => self.set.compile_list(&list, compile),
        };
        let Ok(matchers) = compiled else {
            for expression in expressions {
                if let Err(error) = self.set.compile(&expression.value, compile) {
                    let finding = self.explain(&error, expression);
                    options.diagnostics().push(finding.code(Code::Pattern));
                }
            }
            return None;
        };
        for (expression, matcher) in expressions.iter().zip(matchers.matchers()) {
            if matcher.engine() == EngineKind::Automaton {
                continue;
            }
            for part in self.set.fallback_parts(&expression.value, compile) {
                if let Within::Pattern(name) = &part.within
                    && !self.reported.insert((name.clone(), part.range.clone()))
                {
                    continue;
                }
                let finding = self.warn(&part, expression, compile);
                options
                    .diagnostics()
                    .push(finding.code(Code::FallbackPattern));
            }
        }
        Some(matchers)
    }

    /// Warns of definitions of the filter itself that are wrong and that no expression uses:
    /// those that one uses are reported there.
    pub(super) fn check_unused(&self, compile: &CompileOptions, options: &mut Options<'_>) {
        if !options.is_valid() {
            return;
        }
        for (name, origin) in &self.origins {
            let Origin::Option(definition) = origin else {
                continue;
            };
            if let Err(error) = self.set.compile(&format!("%{{{name}}}"), compile) {
                let mut finding = Diagnostic::warning(
                    definition.span,
                    format!("nothing uses the pattern `{name}`, and nothing could: {error}"),
                );
                if let CompileError::Syntax {
                    within: Within::Pattern(within),
                    position,
                    ..
                } = &error
                    && within == name
                    && let Some(span) = point(definition, *position)
                {
                    finding.span = Some(span);
                }
                options.diagnostics().push(finding.code(Code::Pattern));
            }
        }
    }

    /// An error with its place and what to do.
    fn explain(&self, error: &CompileError, expression: &Spanned<String>) -> Diagnostic {
        match error {
            CompileError::Syntax {
                within,
                position,
                message,
            } => self.at(
                within,
                expression,
                |text| point(text, *position),
                Some(*position),
                message,
            ),
            CompileError::UnknownPattern {
                name,
                within,
                nearest,
            } => self
                .at(
                    within,
                    expression,
                    |text| inside(text, reference(&text.value, name)?),
                    None,
                    &format!("the pattern `{name}` is not defined"),
                )
                .maybe_hint(did_you_mean(name, self.set.names()).or_else(|| {
                    let nearest = nearest.as_ref()?;
                    Some(format!("did you mean `{nearest}`?"))
                })),
            CompileError::Recursion { cycle } => {
                let used = cycle
                    .iter()
                    .find_map(|name| reference(&expression.value, name));
                let span = used.and_then(|range| inside(expression, range));
                Diagnostic::error(span.unwrap_or(expression.span), error.to_string())
                    .hint("a regular expression cannot match nested text of any depth")
            }
            other => Diagnostic::error(expression.span, other.to_string()),
        }
    }

    /// A finding in the expression or in a pattern that it uses; `position` is told where no
    /// caret can.
    fn at(
        &self,
        within: &Within,
        expression: &Spanned<String>,
        place: impl Fn(&Spanned<String>) -> Option<Span>,
        position: Option<usize>,
        message: &str,
    ) -> Diagnostic {
        let position = position.unwrap_or_default();
        let Within::Pattern(name) = within else {
            return match place(expression) {
                Some(span) => Diagnostic::error(span, message),
                None => Diagnostic::error(
                    expression.span,
                    format!("{message}, at byte {position} of the expression"),
                ),
            };
        };
        match self.origins.get(name) {
            Some(Origin::Option(definition)) => {
                let message = match place(definition) {
                    Some(_) => message.to_owned(),
                    None => format!("{message}, at byte {position} of the pattern `{name}`"),
                };
                let span = place(definition).unwrap_or(definition.span);
                Diagnostic::error(span, message)
                    .related(self.use_of(name, expression), "used by this")
            }
            Some(Origin::File { path, line, column }) => Diagnostic::error(
                self.use_of(name, expression),
                format!(
                    "{}:{line}:{}: {message}, in the pattern `{name}`",
                    path.display(),
                    column + position + 1
                ),
            ),
            None => Diagnostic::error(
                self.use_of(name, expression),
                format!("{message}, at byte {position} of the pattern `{name}`"),
            ),
        }
    }

    /// A part that needs the fallback, with its place and what to write instead.
    fn warn(
        &self,
        part: &FallbackPart,
        expression: &Spanned<String>,
        compile: &CompileOptions,
    ) -> Diagnostic {
        let label = format!("runs under a budget of {} steps a line", compile.max_steps);
        let FallbackPart { text, what, .. } = part;
        let message = format!("{what} needs the bounded fallback: no automaton can run it");
        let finding = match &part.within {
            Within::Pattern(name) => match self.origins.get(name) {
                Some(Origin::Option(definition)) => {
                    let span = inside(definition, part.range.clone()).unwrap_or(definition.span);
                    Diagnostic::warning(span, message)
                        .label(label)
                        .related(self.use_of(name, expression), "used by this")
                }
                Some(Origin::File { path, line, column }) => {
                    let column = column + part.range.start + 1;
                    let place = format!("{}:{line}:{column}", path.display());
                    let message = format!("{place}: `{text}`, {message}");
                    Diagnostic::warning(self.use_of(name, expression), message).label(label)
                }
                None => {
                    let message = format!("`{text}` of the pattern `{name}`, {message}");
                    Diagnostic::warning(self.use_of(name, expression), message).label(label)
                }
            },
            _ => {
                let span = inside(expression, part.range.clone()).unwrap_or(expression.span);
                Diagnostic::warning(span, message).label(label)
            }
        };
        finding.hint(part.instead.clone())
    }

    /// Where an expression names a pattern, or the whole of it if it only does so by way of
    /// another.
    fn use_of(&self, name: &str, expression: &Spanned<String>) -> Span {
        let text = &expression.value;
        let direct = reference(text, name);
        let range = direct.or_else(|| {
            // The one of the patterns named here that leads to it.
            let uses = |part: &PartKind<'_>| match part {
                PartKind::Reference { name: used, .. } => {
                    self.leads_to(used, name, &mut HashSet::new())
                }
                _ => false,
            };
            let parts = outline(text).into_iter();
            let mut parts = parts.filter(|part| uses(&part.kind));
            parts.next().map(|part| part.range)
        });
        range
            .and_then(|range| inside(expression, range))
            .unwrap_or(expression.span)
    }

    fn leads_to(&self, from: &str, to: &str, seen: &mut HashSet<String>) -> bool {
        if !seen.insert(from.to_owned()) {
            return false;
        }
        let Some(definition) = self.set.definition(from) else {
            return false;
        };
        reference(definition, to).is_some()
            || references(definition).any(|(name, _)| self.leads_to(name, to, seen))
    }

    /// Adds the pattern files of a directory whose names match the glob.
    fn read_directory(
        &mut self,
        directory: &Spanned<String>,
        glob: &str,
        build: &Build<'_>,
        options: &mut Options<'_>,
    ) {
        let path = Path::new(&directory.value);
        let matching = |files: Vec<PathBuf>, glob: &str| -> Vec<PathBuf> {
            let name = |file: &Path| {
                file.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned()
            };
            files
                .into_iter()
                .filter(|file| glob_matches(glob.as_bytes(), name(file).as_bytes()))
                .collect()
        };
        // COMPAT: an entry may also be a file, or a glob itself; one that names nothing is no
        // error, since nothing may need it.
        let files = match build.files.list(path) {
            Ok(files) => matching(files, glob),
            Err(_) => match (
                path.parent(),
                path.file_name().and_then(|name| name.to_str()),
            ) {
                (Some(parent), Some(name)) if name.contains(['*', '?']) => {
                    let parent = if parent.as_os_str().is_empty() {
                        Path::new(".")
                    } else {
                        parent
                    };
                    matching(build.files.list(parent).unwrap_or_default(), name)
                }
                _ => vec![path.to_owned()],
            },
        };
        if files.is_empty() {
            options.diagnostics().warning(
                directory.span,
                "there is no pattern file in this directory, or none that the glob matches",
            );
        }
        for file in files {
            let bytes = match build.files.read(&file) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    let message = "there is no such directory or file, so no pattern of it";
                    options.diagnostics().warning(directory.span, message);
                    continue;
                }
                Err(error) => {
                    let message =
                        format!("cannot read the pattern file {}: {error}", file.display());
                    options.diagnostics().error(directory.span, message);
                    continue;
                }
            };
            if bytes.len() > MAX_PATTERN_FILE_BYTES {
                let message = format!(
                    "the pattern file {} is larger than {MAX_PATTERN_FILE_BYTES} bytes",
                    file.display()
                );
                options.diagnostics().error(directory.span, message);
                continue;
            }
            self.add_file(
                &file,
                &String::from_utf8_lossy(&bytes),
                directory.span,
                options,
            );
        }
    }

    fn add_file(&mut self, path: &Path, text: &str, span: Span, options: &mut Options<'_>) {
        for definition in definitions(text) {
            match definition {
                Ok(definition) => {
                    self.set.add(definition.name, definition.expression);
                    let origin = Origin::File {
                        path: path.to_owned(),
                        line: definition.line,
                        column: definition.column,
                    };
                    self.origins.insert(definition.name.to_owned(), origin);
                }
                // COMPAT: such a line is no error in Logstash.
                Err(error) => {
                    let message = format!("{}:{}: {}", path.display(), error.line, error.message);
                    options.diagnostics().warning(span, message);
                }
            }
        }
    }
}

/// The references of a text, those in groups included, and their bytes.
fn references(text: &str) -> impl Iterator<Item = (&str, Range<usize>)> {
    let mut found = Vec::new();
    collect_references(text, 0, &mut found);
    found.into_iter()
}

fn collect_references<'t>(text: &'t str, base: usize, found: &mut Vec<(&'t str, Range<usize>)>) {
    for part in outline(text) {
        let shifted = |range: &Range<usize>| base + range.start..base + range.end;
        match &part.kind {
            PartKind::Reference {
                name, definition, ..
            } => {
                let bare = part.range.start..part.range.end - part.quantifier.len();
                found.push((name, shifted(&bare)));
                if let Some(inner) = definition {
                    collect_references(&text[inner.clone()], base + inner.start, found);
                }
            }
            PartKind::Group { inside, .. } if inside.len() < text.len() => {
                collect_references(&text[inside.clone()], base + inside.start, found);
            }
            _ => {}
        }
    }
}

/// Where a text names a pattern first.
fn reference(text: &str, wanted: &str) -> Option<Range<usize>> {
    references(text)
        .find(|(name, _)| *name == wanted)
        .map(|(_, range)| range)
}

/// The place in the configuration of some bytes of a text, if the text stands there as it is.
fn inside(text: &Spanned<String>, range: Range<usize>) -> Option<Span> {
    let Span { source, start, end } = text.span;
    // Nothing around it, or quotes.
    let quotes = match ((end - start) as usize).checked_sub(text.value.len()) {
        Some(0) => 0,
        Some(2) => 1,
        _ => return None,
    };
    let begin = start as usize + quotes;
    Some(Span::new(source, begin + range.start, begin + range.end))
}

/// The place of one character of a text.
fn point(text: &Spanned<String>, position: usize) -> Option<Span> {
    let position = position.min(text.value.len());
    let rest = text.value.get(position..)?;
    let length = rest.chars().next().map_or(0, char::len_utf8);
    inside(text, position..position + length)
}

/// Whether a file name matches a glob of `*` and `?`.
///
/// COMPAT: a file whose name starts with a dot is only meant by a glob that does, too.
fn glob_matches(glob: &[u8], name: &[u8]) -> bool {
    fn rest_matches(glob: &[u8], name: &[u8]) -> bool {
        match (glob, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                (0..=name.len()).any(|skip| rest_matches(rest, &name[skip..]))
            }
            ([b'?', glob @ ..], [_, name @ ..]) => rest_matches(glob, name),
            ([first, glob @ ..], [byte, name @ ..]) => first == byte && rest_matches(glob, name),
            _ => false,
        }
    }
    let hidden = |text: &[u8]| text.first() == Some(&b'.');
    (hidden(glob) || !hidden(name)) && rest_matches(glob, name)
}
