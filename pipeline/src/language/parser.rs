//! From text to tree: sections, plugins, branches and options. Conditions and values have
//! modules of their own.
//!
//! A recursive descent over [`Cursor`], after the official grammar. It never gives up on a
//! file: after a mistake it goes on at the next place that looks like the start of something
//! (see [`super::recovery`]), so that one run shows all mistakes, and each once.
//!
//! Rules for what is accepted are those of Logstash, also where one could be more generous
//! (no commas in hashes, words of two letters or more): a file that runs here must run there.
//!
//! INVARIANT: recursion is bounded by [`super::MAX_DEPTH`]; whoever recurses goes through
//! [`Parser::nested`].

use super::code::Code;
use super::cursor::Cursor;
use super::diagnostic::{Diagnostic, Diagnostics};
use super::nearest::nearest;
use super::recovery::{Blocks, at_attribute};
use super::source::{Span, Spanned};
use super::syntax::{Attribute, Branch, Config, If, Plugin, Section, Statement};
use super::{MAX_DEPTH, MAX_SOURCE_BYTES, ParseOptions};

/// The marker of a mistake that is already in the diagnostics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The cursor stands at the mistake; whoever knows a good place to go on moves there.
    Here,
    /// The cursor already stands where reading can go on.
    Resumable,
    /// The block that is being read must be taken as closed before the cursor.
    BlockEnds,
}

/// What a reading function returns.
pub(super) type Parsed<T> = Result<T, Failure>;

/// A reader of one source.
pub(super) struct Parser<'a> {
    pub(super) cursor: Cursor<'a>,
    pub(super) options: &'a ParseOptions,
    pub(super) diagnostics: &'a mut Diagnostics,
    pub(super) blocks: Blocks,
    /// What kind of finding a mistake here is.
    context: Code,
    depth: usize,
    /// Nesting went too deep: reading stopped, nothing that follows from that is reported.
    pub(super) abandoned: bool,
}

impl<'a> Parser<'a> {
    pub(super) fn new(
        text: &'a str,
        source: u32,
        options: &'a ParseOptions,
        diagnostics: &'a mut Diagnostics,
    ) -> Self {
        Self {
            cursor: Cursor::new(text, source),
            options,
            diagnostics,
            blocks: Blocks::default(),
            context: Code::Syntax,
            depth: 0,
            abandoned: false,
        }
    }

    /// Reads the whole source and adds its sections to a configuration.
    pub(super) fn parse_into(mut self, config: &mut Config) {
        if self.cursor.text().len() > MAX_SOURCE_BYTES {
            self.report(
                Diagnostic::error(
                    self.cursor.span(0, 0),
                    format!("the configuration is bigger than {MAX_SOURCE_BYTES} bytes"),
                )
                .hint("check that this file is a pipeline configuration"),
            );
            return;
        }
        if self.cursor.eat("\u{feff}") {
            let span = self.cursor.span_from(0);
            self.report(
                Diagnostic::error(span, "the file starts with a byte order mark")
                    .hint("save the file as UTF-8 without a byte order mark"),
            );
        }
        loop {
            self.cursor.skip_space();
            if self.cursor.at_end() {
                break;
            }
            if self.section(config).is_err() {
                self.resume_at_section();
            }
        }
        if let Some(offset) = self.cursor.stray_return {
            self.report(
                Diagnostic::error(
                    self.cursor.span(offset, offset + 1),
                    "a carriage return inside a comment without a newline behind it",
                )
                .hint("save the file with line ends LF or CR LF"),
            );
        }
    }

    /// `input { … }` and the like.
    fn section(&mut self, config: &mut Config) -> Parsed<()> {
        let start = self.cursor.position();
        if self.cursor.peek() == Some(b'}') {
            let span = self.cursor.span_here();
            self.cursor.advance();
            return Err(self.fail(
                Diagnostic::error(span, "this `}` closes nothing")
                    .hint("remove it, or look above for a `{` that is missing"),
                Failure::Resumable,
            ));
        }
        let word = self.cursor.name();
        let word_span = self.cursor.span_from(start);
        let exact = Section::ALL
            .into_iter()
            .find(|section| section.name() == word);
        let names = Section::ALL.map(Section::name);
        let meant = exact.or_else(|| {
            let near = nearest(word, names)?;
            Section::ALL
                .into_iter()
                .find(|section| section.name() == near)
        });
        let opens = self.cursor.followed_by("{");
        if exact.is_none() {
            if word.is_empty() {
                let found = self.found();
                let span = self.cursor.span_here();
                return Err(self.fail(
                    Diagnostic::error(
                        span,
                        format!("expected `input`, `filter` or `output`, found {found}"),
                    ),
                    Failure::Here,
                ));
            }
            let hint = match meant {
                Some(section) => format!("did you mean `{}`?", section.name()),
                None if opens => format!(
                    "plugins stand inside a section: `filter {{ {word} {{ … }} }}`; the sections \
                     are `input`, `filter` and `output`"
                ),
                None => "the sections are `input`, `filter` and `output`".to_owned(),
            };
            let failure = self.fail(
                Diagnostic::error(word_span, format!("`{word}` is not a section")).hint(hint),
                Failure::Here,
            );
            // What is inside a misspelled section can still be checked.
            if meant.is_none() || !opens {
                return Err(failure);
            }
        } else if !opens {
            self.cursor.skip_space();
            let found = self.found();
            let span = self.cursor.span_here();
            return Err(self.fail(
                Diagnostic::error(span, format!("expected `{{` after `{word}`, found {found}"))
                    .related(word_span, "this section"),
                Failure::Here,
            ));
        }
        let Some(section) = meant else {
            return Err(Failure::Here);
        };
        let (statements, _) = self.block(start, &format!("the `{}` section", section.name()))?;
        config.section_mut(section).extend(statements);
        Ok(())
    }

    /// `{ statements }`; the cursor stands before the brace or white space before it.
    fn block(&mut self, header_start: usize, what: &str) -> Parsed<(Vec<Statement>, Span)> {
        self.nested(|parser| {
            parser.cursor.skip_space();
            parser.open_block(header_start, what);
            let mut statements = Vec::new();
            loop {
                parser.cursor.skip_space();
                if parser.cursor.at_end() {
                    return Err(parser.unclosed_at_end());
                }
                if parser.cursor.peek() == Some(b'}') {
                    let closer = parser.close_block();
                    return Ok((statements, closer));
                }
                let start = parser.cursor.position();
                if parser.at_outer_else() {
                    let closer = parser.cursor.span(start, start);
                    return Ok((statements, closer));
                }
                match parser.statement() {
                    Ok(statement) => statements.push(statement),
                    Err(failure) => parser.resume_at_statement(start, failure),
                }
            }
        })
    }

    /// Whether an `else` comes that can only belong to the block around, because the `}` before
    /// it is missing; reports that.
    fn at_outer_else(&mut self) -> bool {
        let start = self.cursor.position();
        let mut ahead = self.cursor.clone();
        if ahead.name() != "else" || !self.blocks.looks_closed_before(&self.cursor, start) {
            return false;
        }
        let diagnostic = self.blocks.unclosed_before(ahead.span_from(start), "else");
        self.report(diagnostic);
        true
    }

    /// A plugin or a branch.
    fn statement(&mut self) -> Parsed<Statement> {
        let start = self.cursor.position();
        if matches!(self.cursor.peek(), Some(b'"' | b'\'')) {
            let name = self.string()?.map(str::to_owned);
            self.expect_brace_after(name.span, "the plugin name")?;
            return self.plugin(name).map(Statement::Plugin);
        }
        let word = self.cursor.name();
        let span = self.cursor.span_from(start);
        if word.is_empty() {
            let found = self.found();
            let at = self.cursor.span_here();
            let diagnostic =
                Diagnostic::error(at, format!("expected a plugin or `if`, found {found}"));
            return Err(self.fail(diagnostic, Failure::Here));
        }
        if self.cursor.followed_by("{") && !self.is_keyword_before_statements(word) {
            // COMPAT: also a lone `else { }` or `if { }` is a plugin to the grammar. No plugin
            // has such a name, so it is refused later, with the hint of `keyword_hint`.
            let name = Spanned::new(word.to_owned(), span);
            return self.plugin(name).map(Statement::Plugin);
        }
        if is_if(word) {
            self.cursor.set_position(start + 2);
            return self.branches(start).map(Statement::If);
        }
        self.cursor.skip_space();
        if word == "else" && self.cursor.peek() == Some(b'{') {
            let diagnostic = Diagnostic::error(span, "this `else` belongs to no `if`")
                .hint("an `else` needs an `if` directly before it");
            self.report(diagnostic);
            self.block(start, "this `else`")?;
            return Err(Failure::Resumable);
        }
        let hint = match word {
            "else" => Some("an `else` needs an `if` directly before it".to_owned()),
            "elsif" | "elif" | "elseif" => Some("write `else if`".to_owned()),
            "unless" => Some("write `if !( … )`".to_owned()),
            _ if self.cursor.rest().starts_with("=>") => {
                Some("options stand inside a plugin: `name { option => value }`".to_owned())
            }
            _ => None,
        };
        let found = self.found();
        let at = self.cursor.span_here();
        let diagnostic =
            Diagnostic::error(at, format!("expected `{{` after `{word}`, found {found}"))
                .maybe_hint(hint);
        Err(self.fail(diagnostic, Failure::Here))
    }

    /// Whether a word is `if` or `else` and its braces hold statements, not options.
    fn is_keyword_before_statements(&self, word: &str) -> bool {
        if !matches!(word, "if" | "else") {
            return false;
        }
        let mut inside = self.cursor.clone();
        inside.skip_space();
        inside.advance();
        inside.skip_space();
        inside.peek() != Some(b'}') && !at_attribute(&inside)
    }

    /// Everything after the first `if`.
    fn branches(&mut self, start: usize) -> Parsed<If> {
        let mut branches = Vec::new();
        let mut otherwise = None;
        let mut failed = None;
        let mut last = Span::default();
        let mut branch_start = start;
        loop {
            match self.branch(branch_start) {
                Ok(branch) => {
                    last = branch.span;
                    branches.push(branch);
                }
                Err(failure @ Failure::Resumable) => failed = Some(failure),
                Err(failure) => return Err(failure),
            }
            let next = self.cursor.clone();
            self.cursor.skip_space();
            branch_start = self.cursor.position();
            match self.else_ahead() {
                Else::If => {}
                Else::Block => {
                    let (statements, closer) = self.block(branch_start, "this `else`")?;
                    last = closer;
                    otherwise = Some(statements);
                    break;
                }
                Else::Neither => {
                    let found = self.found();
                    let diagnostic = Diagnostic::error(
                        self.cursor.span_here(),
                        format!("expected `if` or `{{` after `else`, found {found}"),
                    );
                    return Err(self.fail(diagnostic, Failure::Here));
                }
                Else::Absent => {
                    self.cursor = next;
                    break;
                }
            }
        }
        match failed {
            Some(failure) => Err(failure),
            None => Ok(If {
                branches,
                otherwise,
                span: self.cursor.span(start, last.end as usize),
            }),
        }
    }

    /// What continues a branch, if anything. Moves behind `else if`, or behind a lone `else`.
    ///
    /// COMPAT: `elseif` is the same as `else if`: the grammar wants no white space there.
    fn else_ahead(&mut self) -> Else {
        let start = self.cursor.position();
        match self.cursor.name() {
            "else" => self.cursor.skip_space(),
            word if word.starts_with("elseif")
                && is_if(&word["else".len()..])
                && !self.cursor.followed_by("{") =>
            {
                self.cursor.set_position(start + "elseif".len());
                return Else::If;
            }
            _ => return Else::Absent,
        };
        let start = self.cursor.position();
        if self.cursor.peek() == Some(b'{') {
            return Else::Block;
        }
        if is_if(self.cursor.name()) {
            self.cursor.set_position(start + "if".len());
            return Else::If;
        }
        self.cursor.set_position(start);
        Else::Neither
    }

    /// A condition and its body; the cursor stands behind `if`.
    fn branch(&mut self, start: usize) -> Parsed<Branch> {
        let is_else = self.cursor.text()[start..].starts_with("else");
        let what = if is_else {
            "this `else if`"
        } else {
            "this `if`"
        };
        let condition = self.within(Code::ConditionSyntax, Self::condition_of_branch);
        let Ok(condition) = condition else {
            // A body can be read even if its condition could not.
            self.resume_at_body();
            if self.cursor.peek() != Some(b'{') {
                self.skip_body_without_brace(start);
                return Err(Failure::Here);
            }
            self.block(start, what)?;
            return Err(Failure::Resumable);
        };
        let (body, closer) = self.block(start, what)?;
        Ok(Branch {
            condition,
            body,
            span: self.cursor.span(start, closer.end as usize),
        })
    }

    /// `{ options }`; the name is already read.
    pub(super) fn plugin(&mut self, name: Spanned<String>) -> Parsed<Plugin> {
        self.nested(|parser| {
            parser.cursor.skip_space();
            parser.open_block(
                name.span.start as usize,
                &format!("plugin `{}`", name.value),
            );
            let mut attributes = Vec::new();
            let mut separated = true;
            loop {
                separated |= parser.cursor.skip_space();
                if parser.cursor.at_end() {
                    return Err(parser.unclosed_at_end());
                }
                if parser.cursor.peek() == Some(b'}') {
                    let closer = parser.close_block();
                    let span = name.span.to(closer);
                    return Ok(Plugin {
                        name,
                        attributes,
                        span,
                    });
                }
                let start = parser.cursor.position();
                match parser.separated_attribute(separated) {
                    Ok(attribute) => {
                        super::attributes::add(&mut attributes, attribute, parser.diagnostics);
                        separated = false;
                    }
                    Err(Failure::BlockEnds) => {
                        let span = parser.cursor.span_from(name.span.start as usize);
                        return Ok(Plugin {
                            name,
                            attributes,
                            span,
                        });
                    }
                    Err(failure) => {
                        parser.resume_at_attribute(start, failure);
                        separated = true;
                    }
                }
            }
        })
    }

    fn separated_attribute(&mut self, separated: bool) -> Parsed<Attribute> {
        let here = self.cursor.span_here();
        if self.cursor.peek() == Some(b',') {
            self.cursor.advance();
            let diagnostic = Diagnostic::error(here, "options are not separated by commas")
                .hint("remove the comma: white space is enough");
            return Err(self.fail(diagnostic, Failure::Resumable));
        }
        if !separated {
            let found = self.found();
            let diagnostic = Diagnostic::error(
                here,
                format!("expected white space or `}}` after the value, found {found}"),
            );
            return Err(self.fail(diagnostic, Failure::Here));
        }
        self.attribute()
    }

    /// `name => value`.
    fn attribute(&mut self) -> Parsed<Attribute> {
        let start = self.cursor.position();
        let name = if matches!(self.cursor.peek(), Some(b'"' | b'\'')) {
            self.string()?.map(str::to_owned)
        } else {
            let name = self.cursor.name().to_owned();
            Spanned::new(name, self.cursor.span_from(start))
        };
        if name.span.is_empty() {
            let found = self.found();
            let at = self.cursor.span_here();
            let diagnostic =
                Diagnostic::error(at, format!("expected an option name, found {found}"));
            return Err(self.fail(diagnostic, Failure::Here));
        }
        if !self.cursor.followed_by("=>") {
            return Err(self.missing_arrow(&name));
        }
        self.cursor.skip_space();
        self.cursor.eat("=>");
        let read = |parser: &mut Self| parser.value_after_arrow(name.span);
        let value = self.within(Code::ValueSyntax, read)?;
        Ok(Attribute { name, value })
    }

    /// Something that should be an option has no arrow: is it one, or is a `}` missing before?
    fn missing_arrow(&mut self, name: &Spanned<String>) -> Failure {
        let start = name.span.start as usize;
        let is_branch = matches!(name.value.as_str(), "if" | "else");
        if (is_branch || self.cursor.followed_by("{"))
            && self.blocks.looks_closed_before(&self.cursor, start)
        {
            self.cursor.set_position(start);
            let diagnostic = self.blocks.unclosed_before(name.span, &name.value);
            return self.fail(diagnostic, Failure::BlockEnds);
        }
        self.cursor.skip_space();
        let found = self.found();
        let at = self.cursor.span_here();
        let hint = match self.cursor.peek() {
            Some(b'{') => format!("if `{0}` is an option, write `{0} => {{ … }}`", name.value),
            Some(b'=' | b':' | b'-') => format!("write `{} => …`", name.value),
            _ => format!("an option is written `{} => value`", name.value),
        };
        let diagnostic = Diagnostic::error(
            at,
            format!("expected `=>` after `{}`, found {found}", name.value),
        )
        .hint(hint);
        self.fail(diagnostic, Failure::Here)
    }

    fn expect_brace_after(&mut self, name: Span, what: &str) -> Parsed<()> {
        if self.cursor.followed_by("{") {
            return Ok(());
        }
        self.cursor.skip_space();
        let found = self.found();
        let at = self.cursor.span_here();
        let diagnostic =
            Diagnostic::error(at, format!("expected `{{` after {what}, found {found}"))
                .related(name, "this name");
        Err(self.fail(diagnostic, Failure::Here))
    }

    /// Runs a reader one level deeper, or abandons the source if that is too deep.
    pub(super) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_DEPTH {
            return Err(self.too_deep());
        }
        self.depth += 1;
        let open = self.blocks.len();
        let result = read(self);
        self.blocks.truncate(open);
        self.depth -= 1;
        result
    }

    /// Reports too deep nesting and abandons the source.
    pub(super) fn too_deep(&mut self) -> Failure {
        if !self.abandoned {
            let span = self.cursor.span_here();
            self.report(Diagnostic::error(
                span,
                format!("this is nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        self.abandoned = true;
        self.cursor.set_position(self.cursor.text().len());
        Failure::Here
    }

    /// What stands here, for "found …".
    pub(super) fn found(&self) -> String {
        let span = self.cursor.span_here();
        let piece = &self.cursor.text()[span.range()];
        match piece {
            "" => "the end of the file".to_owned(),
            "\u{a0}" => "a non-breaking space (replace it by a space)".to_owned(),
            _ if piece.chars().any(char::is_control) => {
                format!("the character {}", piece.escape_unicode())
            }
            _ if self.cursor.rest().starts_with("=>") => "`=>`".to_owned(),
            _ => format!("`{piece}`"),
        }
    }

    /// Reports a mistake, or what is likelier to be its cause.
    pub(super) fn fail(&mut self, diagnostic: Diagnostic, failure: Failure) -> Failure {
        if self.abandoned {
            return Failure::Here;
        }
        match self.cause_of(&diagnostic) {
            Some(failure) => failure,
            None => {
                self.report(diagnostic);
                failure
            }
        }
    }

    /// Reports a mistake in the form of the text.
    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics
            .push(diagnostic.in_grammar().code(self.context));
    }

    /// Reports something about what the text means.
    pub(super) fn note(&mut self, diagnostic: Diagnostic) {
        let code = match self.context {
            Code::ConditionSyntax => Code::Condition,
            _ => Code::Value,
        };
        self.diagnostics.push(diagnostic.code(code));
    }

    /// Reads a part in which mistakes are of another kind.
    pub(super) fn within<T>(&mut self, context: Code, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.context, context);
        let result = read(self);
        self.context = before;
        result
    }
}

/// What follows the body of a branch.
enum Else {
    /// `else if`.
    If,
    /// `else {`.
    Block,
    /// `else` and something else.
    Neither,
    /// No `else`.
    Absent,
}

/// Whether a word is `if`, or `if` and a number that touches it.
///
/// COMPAT: `if5 == [a] {` is a branch: no white space is needed before the number.
pub(super) fn is_if(word: &str) -> bool {
    let starts_number = |byte: &u8| byte.is_ascii_digit() || *byte == b'-';
    word.strip_prefix("if")
        .is_some_and(|rest| rest.as_bytes().first().is_none_or(starts_number))
}

/// What to say about a plugin name that is a word of the language: the grammar takes a lone
/// `else { }` for a plugin.
pub fn keyword_hint(name: &str) -> Option<&'static str> {
    match name {
        "if" => Some("an `if` needs a condition: `if [field] == \"value\" { … }`"),
        "else" => Some("an `else` needs an `if` directly before it"),
        "input" | "filter" | "output" => {
            Some("a section stands on its own; is a `}` missing before it?")
        }
        _ => None,
    }
}
