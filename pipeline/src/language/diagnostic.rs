//! What is wrong with a configuration, where, and what to do about it.
//!
//! Everything that reads a configuration (the parser, variable replacement, plugins reading
//! their options, the compiler) puts [`Diagnostic`]s into one [`Diagnostics`] and goes on, so
//! that a person sees all mistakes of a file at once. [`Diagnostics::render`] prints each with
//! file, line, column, the source line, a caret and a hint. The fields are public so that
//! other forms of output (JSON, an editor) need no text scraping.
//!
//! INVARIANT: the number kept is bounded by [`Diagnostics::LIMIT`]; errors beyond it still count.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::code::Code;
use super::known_option::NotedOptions;
use super::nearest::nearest;
use super::source::{SourceMap, Span};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration runs, but probably not as meant.
    Warning,
    /// Something to look at; it may well be as meant.
    Hint,
}

impl Severity {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Hint => "hint",
        }
    }
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The form of the text: it does not follow the grammar.
    Parse,
    /// What the text means: it follows the grammar, but cannot be run like this.
    Compile,
}

/// A second place that helps to understand a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    /// The place.
    pub span: Span,
    /// What there is to see there.
    pub label: String,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about; all but the parser's findings are about meaning.
    pub stage: Stage,
    /// What kind of finding it is.
    pub code: Code,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// Where; none if the fault is not in a source (a missing section, say).
    pub span: Option<Span>,
    /// Short text at the caret.
    pub label: Option<String>,
    /// Other places.
    pub related: Vec<Related>,
    /// What to do instead.
    pub hint: Option<String>,
    /// A text that may be put in place of the span, where that is all there is to do.
    pub suggestion: Option<String>,
    /// Where in the manual to read about it; set by whoever knows the manual.
    pub doc: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, span.into(), message.into())
    }

    /// A warning at a place.
    pub fn warning(span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, span.into(), message.into())
    }

    /// A hint at a place.
    pub fn remark(span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Self::new(Severity::Hint, span.into(), message.into())
    }

    fn new(severity: Severity, span: Option<Span>, message: String) -> Self {
        Self {
            severity,
            stage: Stage::Compile,
            code: Code::Plugin,
            message,
            span,
            label: None,
            related: Vec::new(),
            hint: None,
            suggestion: None,
            doc: None,
        }
    }

    /// Marks a finding as one about the form of the text.
    #[must_use]
    pub(super) fn in_grammar(mut self) -> Self {
        self.stage = Stage::Parse;
        self
    }

    /// Sets what kind of finding it is.
    #[must_use]
    pub fn code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    /// Proposes a known name in place of the span: "did you mean `x`?".
    #[must_use]
    pub fn did_you_mean<'a>(
        mut self,
        name: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        if let Some(near) = nearest(name, candidates) {
            self.hint = Some(format!("did you mean `{near}`?"));
            self.suggestion = Some(near.to_owned());
        }
        self
    }

    /// Sets the short text at the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Sets what to do instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets what to do instead, if something is known.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        if hint.is_some() {
            self.hint = hint;
        }
        self
    }

    /// Adds another place.
    #[must_use]
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push(Related {
            span,
            label: label.into(),
        });
        self
    }

    /// Whether this one refuses the configuration.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The finding as text for a terminal or a log, ending in a newline.
    pub fn render(&self, sources: &SourceMap, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Hint => Level::INFO.with_name("hint"),
        };
        let mut group = Group::with_title(level.primary_title(self.message.as_str()));
        let mut shown_sources: Vec<u32> = Vec::new();
        for span in self
            .span
            .iter()
            .chain(self.related.iter().map(|related| &related.span))
        {
            if !shown_sources.contains(&span.source) {
                shown_sources.push(span.source);
            }
        }
        for number in shown_sources {
            let Some(source) = sources.get(number) else {
                continue;
            };
            let mut snippet = Snippet::source(&*source.text).path(source.name.as_str());
            if let Some(span) = self.span.filter(|span| span.source == number) {
                let annotation = AnnotationKind::Primary.span(visible(&source.text, span));
                snippet = snippet.annotation(annotation.label(self.label.as_deref()));
            }
            for related in self
                .related
                .iter()
                .filter(|related| related.span.source == number)
            {
                let annotation = AnnotationKind::Context.span(visible(&source.text, related.span));
                snippet = snippet.annotation(annotation.label(related.label.as_str()));
            }
            group = group.element(snippet);
        }
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.message(hint.as_str()));
        }
        if let Some(doc) = &self.doc {
            group = group.element(Level::NOTE.message(format!("see {doc}")));
        }
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut text = renderer.decor_style(DecorStyle::Ascii).render(&[group]);
        text.push('\n');
        text
    }
}

/// The part of a span that a caret can be put under: inside the text, on character
/// boundaries, and of a span over many lines only its first line.
fn visible(text: &str, span: Span) -> std::ops::Range<usize> {
    let mut start = (span.start as usize).min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = (span.end as usize).clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    if let Some(newline) = text[start..end].find('\n').filter(|&newline| newline > 0) {
        end = start + newline;
        if end > start + 1 && text.as_bytes()[end - 1] == b'\r' {
            end -= 1;
        }
    }
    start..end
}

/// A collector of findings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    kept: Vec<Diagnostic>,
    errors: usize,
    left_out: usize,
    /// What plugins have asked for, if notes are taken.
    options: Option<Vec<NotedOptions>>,
}

impl Diagnostics {
    /// How many findings are kept. A file that is wrong in more places than this is wrong in
    /// one place near the top.
    pub const LIMIT: usize = 100;

    /// An empty collector.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty collector that also takes notes of the options that plugins ask for.
    pub fn noting_options() -> Self {
        Self {
            options: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// The options that plugins have asked for, if notes are taken.
    pub fn noted_options(&self) -> &[NotedOptions] {
        self.options.as_deref().unwrap_or_default()
    }

    /// Takes notes of what a plugin has asked for.
    pub(super) fn note_options(&mut self, asked: impl FnOnce() -> NotedOptions) {
        if let Some(options) = &mut self.options {
            options.push(asked());
        }
    }

    /// Adds a finding.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if diagnostic.is_error() {
            self.errors += 1;
        }
        if self.kept.len() < Self::LIMIT {
            self.kept.push(diagnostic);
        } else {
            self.left_out += 1;
        }
    }

    /// Adds an error without label and hint.
    pub fn error(&mut self, span: impl Into<Option<Span>>, message: impl Into<String>) {
        self.push(Diagnostic::error(span, message));
    }

    /// Adds a warning without label and hint.
    pub fn warning(&mut self, span: impl Into<Option<Span>>, message: impl Into<String>) {
        self.push(Diagnostic::warning(span, message));
    }

    /// Whether the configuration is refused.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// How many errors there were, those beyond the limit included.
    pub fn error_count(&self) -> usize {
        self.errors
    }

    /// How many findings were not kept.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// How many findings are kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// The kept findings, in the order they were made, to add to what they say.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Diagnostic> {
        self.kept.iter_mut()
    }

    /// Puts the findings in the order of their places, the ones without a place first.
    pub fn sort(&mut self) {
        self.kept
            .sort_by_key(|diagnostic| diagnostic.span.map(|span| (span.source, span.start)));
    }

    /// The kept findings, in the order they were made.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.kept.iter()
    }

    /// Moves all findings of another collector into this one.
    pub fn append(&mut self, other: Self) {
        let beyond = other.left_out;
        let errors = other.errors;
        let errors_before = self.errors;
        for diagnostic in other.kept {
            self.push(diagnostic);
        }
        self.errors = errors_before + errors;
        self.left_out += beyond;
    }

    /// All findings as text, in the order of their places, the ones without a place first.
    pub fn render(&self, sources: &SourceMap, color: bool) -> String {
        let mut sorted: Vec<&Diagnostic> = self.kept.iter().collect();
        sorted.sort_by_key(|diagnostic| diagnostic.span.map(|span| (span.source, span.start)));
        let mut text = String::new();
        for diagnostic in sorted {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&diagnostic.render(sources, color));
        }
        if self.left_out > 0 {
            text.push('\n');
            text.push_str(&self.left_out.to_string());
            text.push_str(" more findings are not shown\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rendering_shows_place_line_caret_and_hint() {
        let sources = SourceMap::single("main.conf", "filter {\n  grokk {}\n}\n");
        let text = Diagnostic::error(Span::new(0, 11, 16), "unknown filter plugin `grokk`")
            .label("not known")
            .hint("did you mean `grok`?")
            .render(&sources, false);
        assert!(
            text.contains("error: unknown filter plugin `grokk`"),
            "{text}"
        );
        assert!(text.contains("main.conf:2:3"), "{text}");
        assert!(text.contains("  grokk {}"), "{text}");
        assert!(text.contains("^^^^^ not known"), "{text}");
        assert!(text.contains("help: did you mean `grok`?"), "{text}");
    }

    #[test]
    fn any_span_can_be_rendered() {
        let sources = SourceMap::single("a", "ü\r\n{ \"ab\r\ncd\t");
        for start in 0..20 {
            for end in start..24 {
                let text = Diagnostic::error(Span::new(0, start, end), "wrong")
                    .related(Span::new(0, 0, 1), "here")
                    .render(&sources, true);
                assert!(text.contains("wrong"));
            }
        }
        let empty = SourceMap::single("a", "");
        assert!(
            Diagnostic::error(Span::new(0, 0, 0), "wrong")
                .render(&empty, false)
                .len()
                > 5
        );
        assert!(
            Diagnostic::error(None, "wrong")
                .render(&empty, false)
                .contains("error: wrong")
        );
    }

    #[test]
    fn findings_beyond_the_limit_count_but_are_not_kept() {
        let mut diagnostics = Diagnostics::new();
        for _ in 0..Diagnostics::LIMIT {
            diagnostics.warning(None, "odd");
        }
        diagnostics.error(None, "wrong");
        assert!(diagnostics.has_errors());
        assert_eq!(diagnostics.len(), Diagnostics::LIMIT);
        assert_eq!(diagnostics.left_out(), 1);
        assert!(
            diagnostics
                .render(&SourceMap::new(), false)
                .contains("1 more findings")
        );

        let mut merged = Diagnostics::new();
        merged.append(diagnostics);
        assert_eq!((merged.error_count(), merged.left_out()), (1, 1));
    }
}
