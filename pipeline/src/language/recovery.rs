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
    /// A block and the `}` that closed it, where indentation says that brace was not meant.
    misplaced: Option<(Block, Span)>,
    /// The last quoted piece that runs over a line end.
    long_quote: Option<Span>,
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

    /// Remembers a quoted piece of several lines: its opening quote may be a slip.
    pub(super) fn note_long_quote(&mut self, text: &str, span: Span) {
        if text[span.range()].contains('\n') {
            self.long_quote = Some(span);
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

    /// The finding that the innermost block lacks its `}` before something.
    pub(super) fn unclosed_before(&self, at: Span, name: &str) -> Diagnostic {
        match self.open.last() {
            Some(block) => Diagnostic::error(block.brace, format!("{} is not closed", block.what))
                .label("no `}` for this")
                .related(at, format!("`{name}` cannot stand inside it"))
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
            let same_line = !self.cursor.text()[block.header_start..start].contains('\n');
            let fits_outer = self
                .blocks
                .open
                .iter()
                .any(|outer| outer.indentation == columns);
            if self.blocks.misplaced.is_none()
                && columns < block.indentation
                && fits_outer
                && !same_line
            {
                self.blocks.misplaced = Some((block, closer));
            }
        }
        closer
    }

    /// Reports the block that is still open where the text ends.
    pub(super) fn unclosed_at_end(&mut self) -> Failure {
        let told = std::mem::replace(&mut self.blocks.told, true);
        let innermost = self.blocks.open.pop();
        if told || self.abandoned {
            return Failure::Here;
        }
        let diagnostic = match (self.blocks.misplaced.take(), innermost) {
            (Some((block, closer)), _) => {
                Diagnostic::error(block.brace, format!("{} is not closed", block.what))
                    .label("no `}` for this")
                    .related(closer, "this `}` closes it, but does not stand below it")
                    .hint("add a `}` where it ends")
            }
            (None, Some(block)) => {
                Diagnostic::error(block.brace, format!("{} is not closed", block.what))
                    .label("no `}` for this")
                    .hint("add a `}` where it ends")
            }
            (None, None) => Diagnostic::error(self.cursor.span_here(), "a `}` is missing"),
        };
        self.report(diagnostic);
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
        let diagnostic = Diagnostic::error(opener, format!("this {what} is not closed"))
            .label(format!("no `{closer}` for this"))
            .related(at, format!("found {found} instead"))
            .hint(format!("add a `{closer}` where it ends"));
        self.fail(diagnostic, Failure::Resumable)
    }

    /// Reports a quote without its partner. Goes on behind its line.
    pub(super) fn unclosed_quote(&mut self, start: usize) -> Failure {
        if self.abandoned {
            return Failure::Here;
        }
        self.cursor.set_position(start);
        self.cursor.skip_line();
        let text = self.cursor.text();
        let line_end = self.cursor.position();
        let quote = &text[start..=start];
        let line = text[start..line_end].trim_end();
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
        let span = self.cursor.span(start, start + line.len());
        self.blocks.long_quote = None;
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
        let quote = self.blocks.long_quote?;
        let at = diagnostic.span?;
        // Right behind a string of several lines comes something that cannot follow it: what
        // closed the string was meant to open another.
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

    /// Whether an option starts here: `name =>`.
    pub(super) fn at_attribute(&self) -> bool {
        let mut ahead = self.cursor.clone();
        let named = match ahead.peek() {
            Some(quote @ (b'"' | b'\'')) => matches!(ahead.quoted(quote), Quoted::Closed(_)),
            _ => !ahead.name().is_empty(),
        };
        named && ahead.followed_by("=>")
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
            std::mem::swap(&mut ahead, &mut self.cursor);
            let fits = self.cursor.peek() == Some(b'}') || self.at_attribute();
            std::mem::swap(&mut ahead, &mut self.cursor);
            fits
        };
        if !resumable {
            self.skip_until(Until::BlockEnd, |parser| {
                parser.at_attribute() || parser.at_statement()
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
        if self.skip_until(Until::Closer(closer), Self::at_attribute) {
            self.cursor.advance();
        }
        Failure::Resumable
    }

    /// After a mistake in a condition: moves to the `{` of its body. Tells whether there is one.
    pub(super) fn resume_at_body(&mut self) -> bool {
        if self.abandoned {
            return false;
        }
        while let Some(byte) = self.cursor.peek() {
            match byte {
                b'{' => return true,
                b'}' => return false,
                b'"' | b'\'' => self.skip_quoted_on_line(byte),
                b'\n' => {
                    self.cursor.skip_space();
                    // A statement of one line's height below: the body is missing.
                    if self.at_statement() || self.at_attribute() {
                        return false;
                    }
                }
                _ => self.cursor.advance(),
            }
        }
        false
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
