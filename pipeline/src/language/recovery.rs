//! What to do after a mistake: find its likely cause, and a place to go on.
//!
//! Three things make one slip look like many mistakes, and each is traced to its start here:
//! a brace that is not closed (every later brace closes the wrong block; indentation tells
//! which one it was), a quote that is not closed (the string swallows everything up to the next
//! quote), and a bad piece inside a construct (skipped as a whole).
//!
//! INVARIANT: every `resume_…` function moves forward, so reading ends.

use super::cursor::{Cursor, Quoted, is_name};
use super::diagnostic::Diagnostic;
use super::parser::{Failure, Parser};
use super::source::Span;

/// A `{` that is open.
#[derive(Debug, Clone)]
struct Block {
    /// The brace.
    brace: Span,
    /// Where `if` or the plugin's name starts.
    header_start: usize,
    /// How far the line with the header is indented.
    indentation: usize,
    /// What to call it.
    what: String,
}

/// Where skipping stops besides the place it looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Before the `}` of the block around, or behind a `}` that closes what was skipped.
    BlockEnd,
    /// Before this closing character.
    Closer(u8),
    /// Nowhere: closing braces that close nothing are skipped.
    Section,
}

/// The open blocks, and what was odd on the way.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    open: Vec<Block>,
    /// Blocks and the `}` that closed each, where indentation says that brace was not meant.
    misplaced: Vec<(Block, Span)>,
    /// The last quoted piece that runs over a line end or holds an escaped quote.
    odd_quote: Option<Span>,
    /// A missing closing brace is told once.
    told: bool,
    /// The cursor went back to the line of a quote that was not meant to stay open.
    rewound: bool,
}

impl Blocks {
    /// How many blocks are open.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Forgets the blocks that were opened since there were this many.
    pub(super) fn truncate(&mut self, length: usize) {
        self.open.truncate(length);
    }

    /// Remembers a quoted piece that may have been meant to end earlier.
    pub(super) fn note_quote(&mut self, text: &str, span: Span) {
        let piece = text[span.range()].as_bytes();
        let quote = piece[0];
        let is_odd = |pair: &[u8]| pair[0] == b'\n' || pair == [b'\\', quote];
        if piece.windows(2).any(is_odd) {
            self.odd_quote = Some(span);
        }
    }

    /// The first block inside the innermost open one that a wrong `}` closed: the one whose own
    /// `}` is missing.
    fn culprit(&self) -> Option<&(Block, Span)> {
        let innermost = self.open.last()?;
        self.misplaced
            .iter()
            .find(|(block, _)| block.header_start > innermost.header_start)
    }

    /// The finding that a block is not closed: the innermost one, or the culprit.
    fn unclosed(&self) -> Option<Diagnostic> {
        let finding = |block: &Block| {
            Diagnostic::error(block.brace, format!("{} is not closed", block.what))
                .label("no `}` for this")
        };
        match self.culprit() {
            Some((block, closer)) => Some(
                finding(block)
                    .related(*closer, "this `}` closes it, but does not stand below it")
                    .hint("add a `}` where it ends"),
            ),
            None => self.open.last().map(finding),
        }
    }

    /// Whether something at an offset stands no deeper than the innermost open block, so that
    /// it was likely meant to follow it.
    pub(super) fn looks_closed_before(&self, cursor: &Cursor<'_>, offset: usize) -> bool {
        let Some(block) = self.open.last() else {
            return false;
        };
        cursor
            .indentation(offset)
            .is_some_and(|columns| columns <= block.indentation)
    }

    /// The finding that a block lacks its `}` before something that cannot stand in it.
    pub(super) fn unclosed_before(&self, at: Span, name: &str) -> Diagnostic {
        let cannot = format!("`{name}` cannot stand inside it");
        match self.unclosed() {
            Some(finding) if finding.hint.is_some() => finding,
            Some(finding) => finding
                .related(at, cannot)
                .hint(format!("add a `}}` before `{name}`")),
            None => Diagnostic::error(at, format!("`{name}` cannot stand here")),
        }
    }
}

impl Parser<'_> {
    /// Moves over a `{` and remembers it.
    pub(super) fn open_block(&mut self, header_start: usize, what: &str) {
        let start = self.cursor.position();
        let opened = self.cursor.eat("{");
        debug_assert!(opened);
        self.blocks.open.push(Block {
            brace: self.cursor.span_from(start),
            header_start,
            indentation: self.cursor.line_indentation(header_start),
            what: what.to_owned(),
        });
    }

    /// Moves over the `}` of the innermost block.
    pub(super) fn close_block(&mut self) -> Span {
        let start = self.cursor.position();
        let closed = self.cursor.eat("}");
        debug_assert!(closed);
        let closer = self.cursor.span_from(start);
        if let (Some(block), Some(columns)) =
            (self.blocks.open.pop(), self.cursor.indentation(start))
        {
            let is_outer = |outer: &Block| outer.indentation == columns;
            if columns < block.indentation
                && self.blocks.misplaced.len() < MISPLACED_LIMIT
                && self.blocks.open.iter().any(is_outer)
                && self.cursor.text()[block.header_start..start].contains('\n')
            {
                self.blocks.misplaced.push((block, closer));
            }
        }
        closer
    }

    /// Reports the block that is still open where the text ends.
    pub(super) fn unclosed_at_end(&mut self) -> Failure {
        let told = std::mem::replace(&mut self.blocks.told, true);
        if told || self.abandoned {
            return Failure::Here;
        }
        let finding = match self.blocks.unclosed() {
            Some(finding) => finding.hint("add a `}` where it ends"),
            None => Diagnostic::error(self.cursor.span_here(), "a `}` is missing"),
        };
        self.report(finding);
        Failure::Here
    }

    /// Reports an array, hash or parenthesis that something else ends.
    pub(super) fn unclosed_piece(&mut self, opener: Span, what: &str, closer: char) -> Failure {
        let found = self.found();
        let at = self.cursor.span_here();
        if self.cursor.at_end() {
            // The blocks around it are open as well, for the same reason.
            self.blocks.told = true;
        }
        let line = self.cursor.text()[opener.range().end..]
            .lines()
            .next()
            .unwrap_or_default();
        let hidden = line
            .split_once('#')
            .is_some_and(|(_, comment)| comment.contains(closer));
        let hint = if hidden {
            "`#` starts a comment; text that holds one must be in quotes: `\"#…\"`".to_owned()
        } else {
            format!("add a `{closer}` where it ends")
        };
        let diagnostic = Diagnostic::error(opener, format!("this {what} is not closed"))
            .label(format!("no `{closer}` for this"))
            .related(at, format!("found {found} instead"))
            .hint(hint);
        self.fail(diagnostic, Failure::Resumable)
    }

    /// Reports a quote without its partner. Goes on at what closes things around it in the
    /// same line, at a `{` that ends the line, or behind the line.
    pub(super) fn unclosed_quote(&mut self, start: usize) -> Failure {
        if self.abandoned {
            return Failure::Here;
        }
        self.cursor.set_position(start);
        self.cursor.skip_line();
        let text = self.cursor.text();
        let quote = &text[start..=start];
        let line = text[start..self.cursor.position()].trim_end();
        let end = start + meant_length(line);
        self.cursor.set_position(end);
        let what = if quote == "/" {
            "regular expression"
        } else {
            "string"
        };
        let hint = if line[1..].contains(&format!("\\{quote}")) {
            format!("a backslash keeps the `{quote}` behind it from closing the {what}")
        } else {
            format!("add a `{quote}` where the {what} ends")
        };
        let span = self
            .cursor
            .span(start, start + text[start..end].trim_end().len());
        self.blocks.odd_quote = None;
        self.report(
            Diagnostic::error(span, format!("this {what} is not closed"))
                .label(format!("no `{quote}` for the one that opens it"))
                .hint(hint),
        );
        Failure::Resumable
    }

    /// The likelier cause of a mistake, if there is one; it is then reported instead, and the
    /// cursor goes back to where reading makes sense again.
    pub(super) fn cause_of(&mut self, diagnostic: &Diagnostic) -> Option<Failure> {
        let quote = self.blocks.odd_quote?;
        let at = diagnostic.span?;
        // Right behind the string comes something that cannot follow it: what closed the string
        // was meant to open another.
        let between = self
            .cursor
            .text()
            .get(quote.end as usize..at.start as usize)?;
        let between = between.trim_start_matches([' ', '\t']);
        if !between.bytes().all(|byte| is_name(byte) || byte == b' ') {
            return None;
        }
        let failure = self.unclosed_quote(quote.start as usize);
        self.blocks.rewound = true;
        Some(failure)
    }

    /// Whether a plugin or branch starts here: `name {`, `if`, `else`.
    fn at_statement(&self) -> bool {
        let mut ahead = self.cursor.clone();
        match ahead.name() {
            "" => false,
            "if" => true,
            _ => ahead.followed_by("{"),
        }
    }

    /// Whether a section starts here.
    fn at_section(&self) -> bool {
        let mut ahead = self.cursor.clone();
        matches!(ahead.name(), "input" | "filter" | "output") && ahead.followed_by("{")
    }

    /// Moves to the next section.
    pub(super) fn resume_at_section(&mut self) {
        self.skip_until(Until::Section, Self::at_section);
    }

    /// Moves to where the next statement of the block may start, or to the block's `}`.
    pub(super) fn resume_at_statement(&mut self, start: usize, failure: Failure) {
        if failure == Failure::Here {
            self.skip_until(Until::BlockEnd, |parser| {
                parser.at_statement() || parser.at_section()
            });
        }
        self.ensure_progress(start);
    }

    /// Moves to where the next option of the plugin may start, or to the plugin's `}`.
    pub(super) fn resume_at_attribute(&mut self, start: usize, failure: Failure) {
        let resumable = failure != Failure::Here && {
            let mut ahead = self.cursor.clone();
            ahead.skip_space();
            ahead.peek() == Some(b'}') || at_attribute(&ahead)
        };
        if !resumable {
            self.skip_until(Until::BlockEnd, |parser| {
                at_attribute(&parser.cursor) || parser.at_statement()
            });
        }
        self.ensure_progress(start);
    }

    /// After a mistake inside an array or hash: moves behind its end if that is to be found,
    /// else to the next option.
    pub(super) fn resume_behind(&mut self, closer: u8, failure: Failure) -> Failure {
        if failure == Failure::BlockEnds {
            return failure;
        }
        if self.skip_until(Until::Closer(closer), |parser| at_attribute(&parser.cursor)) {
            self.cursor.advance();
        }
        Failure::Resumable
    }

    /// After a mistake in a condition: moves to the `{` of its body, or to what says that there
    /// is none.
    pub(super) fn resume_at_body(&mut self) {
        let first_on_line = self.cursor.indentation(self.cursor.position()).is_some();
        if first_on_line && (self.at_statement() || at_attribute(&self.cursor)) {
            return;
        }
        while let Some(byte) = self.cursor.peek() {
            match byte {
                b'{' | b'}' => return,
                b'"' | b'\'' => self.skip_quoted_on_line(byte),
                b'\n' => {
                    self.cursor.skip_space();
                    if self.at_statement() || at_attribute(&self.cursor) {
                        return;
                    }
                }
                b'#' => self.cursor.skip_line(),
                _ => self.cursor.advance(),
            }
        }
    }

    /// If the body of a branch lacks its `{`, but is there by its indentation: moves behind it,
    /// so that its `}` does not close what is around.
    pub(super) fn skip_body_without_brace(&mut self, header_start: usize) {
        let header = self.cursor.line_indentation(header_start);
        let deeper = self.cursor.indentation(self.cursor.position());
        if self.abandoned || self.cursor.at_end() || deeper.is_none_or(|columns| columns <= header)
        {
            return;
        }
        let mut before = self.cursor.position();
        while !self.cursor.at_end() && self.cursor.peek() != Some(b'}') {
            self.skip_until(Until::BlockEnd, |_| false);
            self.cursor.skip_space();
            if self.cursor.position() == before {
                break;
            }
            before = self.cursor.position();
        }
        if self.cursor.peek() == Some(b'}') {
            self.cursor.advance();
        }
    }

    /// Skips balanced text. Stops where [`Until`] says, at the end, and at the start of a line
    /// where `found` holds and nothing is open. Tells whether it stopped before the closer.
    fn skip_until(&mut self, until: Until, found: impl Fn(&Self) -> bool) -> bool {
        let mut braces = 0_usize;
        let mut brackets = 0_usize;
        while let Some(byte) = self.cursor.peek() {
            match byte {
                b'\n' => {
                    self.cursor.skip_space();
                    if braces == 0 && found(self) {
                        return false;
                    }
                    continue;
                }
                b'#' => {
                    self.cursor.skip_line();
                    continue;
                }
                b'"' | b'\'' => {
                    self.skip_quoted_on_line(byte);
                    continue;
                }
                b'{' => braces += 1,
                b'[' => brackets += 1,
                b']' if brackets > 0 => brackets -= 1,
                b']' if until == Until::Closer(b']') && braces == 0 => return true,
                b'}' if braces > 0 => {
                    braces -= 1;
                    // What was opened is closed again: the broken statement ends here.
                    if braces == 0 && !matches!(until, Until::Closer(_)) {
                        self.cursor.advance();
                        return false;
                    }
                }
                b'}' if until != Until::Section => return until == Until::Closer(b'}'),
                _ => {}
            }
            self.cursor.advance();
        }
        false
    }

    /// Moves over a quoted piece if it ends in its line, else over the quote alone.
    fn skip_quoted_on_line(&mut self, quote: u8) {
        let start = self.cursor.position();
        let closed = match self.cursor.quoted(quote) {
            Quoted::Closed(span) => !self.cursor.text()[span.range()].contains('\n'),
            Quoted::Open(_) => false,
        };
        if !closed {
            self.cursor.set_position(start);
            self.cursor.advance();
        }
    }

    /// Going back to an open quote is no lack of progress: each quote is gone back to once.
    fn ensure_progress(&mut self, start: usize) {
        if std::mem::take(&mut self.blocks.rewound) {
            return;
        }
        if self.cursor.position() <= start {
            self.cursor.set_position(start);
            self.cursor.advance();
        }
    }
}

/// How many blocks closed by a wrong brace are remembered.
const MISPLACED_LIMIT: usize = 100;

/// Whether an option starts here: `name =>`.
pub(super) fn at_attribute(cursor: &Cursor<'_>) -> bool {
    let mut ahead = cursor.clone();
    let named = match ahead.peek() {
        Some(quote @ (b'"' | b'\'')) => matches!(ahead.quoted(quote), Quoted::Closed(_)),
        _ => !ahead.name().is_empty(),
    };
    named && ahead.followed_by("=>")
}

/// How much of the line behind an opening quote was likely meant to be quoted: up to a bracket
/// that closes something from before the quote, or a `{` at the end that opens a body.
fn meant_length(line: &str) -> usize {
    let mut open = Vec::new();
    for (index, byte) in line.bytes().enumerate().skip(1) {
        match byte {
            b'{' | b'[' | b'(' => open.push(index),
            b'}' | b']' | b')' if open.pop().is_none() => return index,
            _ => {}
        }
    }
    match open.last() {
        Some(&index) if line[index..].trim_end() == "{" => index,
        _ => line.len(),
    }
}
