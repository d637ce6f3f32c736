//! The printer: walks a text that follows the grammar and writes it anew.
//!
//! INVARIANT: whether something is broken into lines depends only on where the text has line
//! ends, on its column and on its width on one line, and none of these is different in what is
//! written; so a second run changes nothing.

use super::WIDTH;
use super::token::{Gap, Tokens};

/// Columns of one level.
const INDENT: usize = 2;

/// Levels by which a condition that goes on on the next line stands further in than its `if`.
const CONTINUED: usize = 2;

/// Writes one text.
pub(super) struct Printer<'a> {
    tokens: Tokens<'a>,
    out: String,
    /// Comments in the order in which they were written.
    comments: Vec<&'a str>,
    level: usize,
    /// `not` was written last, which needs a space right behind it.
    after_not: bool,
}

/// What stands between two pieces if there is no comment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Between {
    Nothing,
    Space,
    /// A line end, and an empty line if there is one in the text.
    Line,
    /// A line end, never an empty line.
    TightLine,
    /// An empty line.
    Blank,
}

/// What a piece of a condition is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Start,
    Open,
    Close,
    Not,
    Join,
    Other,
}

impl<'a> Printer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            tokens: Tokens::new(text),
            out: String::with_capacity(text.len() + text.len() / 8),
            comments: Vec::new(),
            level: 0,
            after_not: false,
        }
    }

    /// The text anew.
    pub(super) fn print(mut self) -> String {
        self.sections();
        self.out
    }

    /// The comments of the text.
    pub(super) fn comments(mut self) -> Vec<&'a str> {
        self.sections();
        self.comments
    }

    fn sections(&mut self) {
        let mut first = true;
        loop {
            let gap = self.tokens.gap();
            let at_end = self.tokens.at_end();
            let between = match (first, at_end) {
                (true, _) => Between::Line,
                (false, true) => Between::TightLine,
                (false, false) => Between::Blank,
            };
            self.gap(&gap, between);
            if at_end {
                break;
            }
            first = false;
            let name = self.tokens.name();
            self.out.push_str(name);
            self.space();
            self.statements();
        }
        let end = self.out.trim_end_matches(['\n', ' ']).len();
        self.out.truncate(end);
        if !self.out.is_empty() {
            self.out.push('\n');
        }
    }

    /// `{ statements }`.
    fn statements(&mut self) {
        self.block(|printer, _| {
            if printer.tokens.eat_if() {
                printer.branches();
            } else {
                printer.plugin();
            }
        });
    }

    /// `{`, then things on lines of their own, then `}`.
    fn block(&mut self, mut one: impl FnMut(&mut Self, bool)) {
        self.tokens.eat("{");
        self.out.push('{');
        self.level += 1;
        let mut first = true;
        loop {
            let gap = self.tokens.gap();
            if self.tokens.at_end() || self.tokens.peek() == Some(b'}') {
                // `drop { }`; what is empty and has no comment stays on its line.
                let empty = first && gap.comments.is_empty();
                self.inner_comments(&gap, first);
                self.level -= 1;
                if empty {
                    self.out.push(' ');
                } else {
                    self.line();
                }
                self.tokens.eat("}");
                self.out.push('}');
                return;
            }
            self.gap(
                &gap,
                if first {
                    Between::TightLine
                } else {
                    Between::Line
                },
            );
            one(self, first);
            first = false;
        }
    }

    /// The condition, the body and what follows; the `if` is already read.
    fn branches(&mut self) {
        self.out.push_str("if");
        loop {
            self.condition();
            self.statements();
            let mut ahead = self.tokens.clone();
            let gap = ahead.gap();
            if !ahead.eat_else() {
                return;
            }
            self.tokens = ahead;
            self.gap(&gap, Between::Space);
            self.out.push_str("else");
            self.space();
            if !self.tokens.eat_if() {
                self.statements();
                return;
            }
            self.out.push_str("if");
        }
    }

    /// Everything between `if` and `{`.
    fn condition(&mut self) {
        let mut before = Role::Start;
        let mut open = 0_usize;
        self.level += CONTINUED;
        loop {
            let gap = self.tokens.gap();
            let next = self.tokens.peek();
            let done = next.is_none() || (next == Some(b'{') && open == 0);
            let mut ahead = self.tokens.clone();
            let piece = if done { "" } else { ahead.condition_piece() };
            let role = match piece {
                "(" => Role::Open,
                ")" => Role::Close,
                "!" => Role::Not,
                "and" | "or" | "xor" | "nand" => Role::Join,
                _ => Role::Other,
            };
            let tight = matches!(before, Role::Open | Role::Not) || role == Role::Close;
            let broken = gap.newline && (role == Role::Join || before == Role::Join);
            self.gap(
                &gap,
                match () {
                    () if tight => Between::Nothing,
                    () if broken && !done => Between::TightLine,
                    () => Between::Space,
                },
            );
            if done {
                break;
            }
            match role {
                Role::Open => open += 1,
                Role::Close => open = open.saturating_sub(1),
                _ => {}
            }
            if piece == "[" {
                self.array();
            } else {
                self.tokens = ahead;
                self.out.push_str(piece);
                self.after_not = piece == "not";
            }
            before = role;
        }
        self.level -= CONTINUED;
    }

    /// `name { options }`.
    fn plugin(&mut self) {
        let name = self.tokens.name();
        self.out.push_str(name);
        self.space();
        if self.flat(flat_options) {
            return;
        }
        self.block(|printer, _| printer.entry(false));
    }

    /// `name => value`, or `key => value` of a hash.
    fn entry(&mut self, of_hash: bool) {
        let name = if of_hash {
            self.tokens.scalar()
        } else {
            self.tokens.name()
        };
        self.out.push_str(name);
        self.level += 1;
        self.space();
        self.tokens.eat("=>");
        self.out.push_str("=>");
        self.space();
        self.level -= 1;
        self.value();
    }

    fn value(&mut self) {
        match self.tokens.peek() {
            Some(b'[') => self.array(),
            Some(b'{') => {
                if !self.flat(flat_hash) {
                    self.block(|printer, _| printer.entry(true));
                }
            }
            _ if self.tokens.at_plugin() => self.plugin(),
            _ => {
                let scalar = self.tokens.scalar();
                self.out.push_str(scalar);
            }
        }
    }

    /// `[ values ]`. Values that share a line in a list of several lines go on to do so.
    fn array(&mut self) {
        if self.flat(flat_array) {
            return;
        }
        let one_line = is_on_one_line(&self.tokens);
        self.tokens.eat("[");
        self.out.push('[');
        self.level += 1;
        let mut first = true;
        loop {
            let mut gap = self.tokens.gap();
            if self.tokens.at_end() || self.tokens.peek() == Some(b']') {
                self.inner_comments(&gap, first);
                self.level -= 1;
                // In a condition, white space between the brackets would be the name of a field.
                if !first || !gap.comments.is_empty() {
                    self.line();
                }
                self.tokens.eat("]");
                self.out.push(']');
                return;
            }
            if !first {
                // Comments before a comma stand behind it, where they do no harm.
                let comma = self.tokens.eat(",");
                debug_assert!(comma, "the text follows the grammar");
                self.out.push(',');
                let behind = self.tokens.gap();
                gap.newline |= behind.newline;
                gap.blank |= behind.blank;
                let moved = !gap.comments.is_empty();
                gap.comments
                    .extend(behind.comments.into_iter().map(|mut comment| {
                        // Behind another comment it would be a part of that one.
                        comment.trails &= !moved;
                        comment
                    }));
            }
            let mut scratch = String::new();
            let fits = flat_value(&mut self.tokens.clone(), &mut scratch).is_some()
                && self.column() + 1 + scratch.chars().count() < WIDTH;
            let shares = !first && !one_line && !gap.newline && fits;
            self.gap(
                &gap,
                if shares {
                    Between::Space
                } else {
                    Between::TightLine
                },
            );
            self.value();
            first = false;
        }
    }

    /// Writes what comes on one line if it stands on one and fits.
    fn flat(&mut self, read: fn(&mut Tokens<'a>, &mut String) -> Option<()>) -> bool {
        let mut ahead = self.tokens.clone();
        let mut text = String::new();
        let fits =
            read(&mut ahead, &mut text).is_some() && self.column() + text.chars().count() <= WIDTH;
        if fits {
            self.tokens = ahead;
            self.out.push_str(&text);
        }
        fits
    }

    /// Comments before a closing bracket.
    fn inner_comments(&mut self, gap: &Gap<'a>, first: bool) {
        for (index, comment) in gap.comments.iter().enumerate() {
            let blank = comment.blank_before && !(first && index == 0);
            self.comment(comment.text, comment.trails, blank);
        }
    }

    /// One space, or the comments that stand there.
    fn space(&mut self) {
        let gap = self.tokens.gap();
        self.gap(&gap, Between::Space);
    }

    fn gap(&mut self, gap: &Gap<'a>, between: Between) {
        let mut blank_done = false;
        for comment in &gap.comments {
            let blank = match between {
                Between::Line => comment.blank_before,
                // Behind the first comment of a block empty lines are kept.
                Between::TightLine => comment.blank_before && !self.out.ends_with(['{', '[']),
                // The empty line between two sections stands before the comments of the second.
                Between::Blank => comment.blank_before || (!comment.trails && !blank_done),
                Between::Nothing | Between::Space => false,
            };
            blank_done |= blank;
            self.comment(comment.text, comment.trails, blank && !self.out.is_empty());
        }
        let comments = !gap.comments.is_empty();
        match between {
            Between::Nothing | Between::Space | Between::TightLine if comments => {
                let keeps_blank = between == Between::TightLine && gap.blank;
                self.line_with(keeps_blank);
            }
            Between::Nothing => {}
            Between::Space => self.out.push(' '),
            Between::TightLine => self.line(),
            Between::Line => self.line_with(gap.blank && !self.out.is_empty()),
            Between::Blank => self.line_with(gap.blank || !blank_done),
        }
    }

    fn comment(&mut self, text: &'a str, trails: bool, blank: bool) {
        self.comments.push(text);
        let after_not = std::mem::take(&mut self.after_not);
        let same_line = (trails && !self.out.is_empty()) || after_not;
        if same_line {
            self.out.push(' ');
        } else {
            self.line_with(blank);
        }
        self.out.push_str(text);
    }

    fn line(&mut self) {
        self.line_with(false);
    }

    /// Ends the line and stands at the column of the level.
    fn line_with(&mut self, blank: bool) {
        if self.out.is_empty() {
            return;
        }
        self.out.push('\n');
        if blank {
            self.out.push('\n');
        }
        let columns = self.level * INDENT;
        self.out.extend(std::iter::repeat_n(' ', columns));
    }

    fn column(&self) -> usize {
        let line = self.out.rfind('\n').map_or(0, |newline| newline + 1);
        self.out[line..].chars().count()
    }
}

/// Whether a list has no line end and no comment in it.
fn is_on_one_line(tokens: &Tokens<'_>) -> bool {
    let mut depth = 0_usize;
    let mut ahead = tokens.clone();
    loop {
        let gap = ahead.gap();
        if depth > 0 && (gap.newline || !gap.comments.is_empty()) {
            return false;
        }
        match ahead.peek() {
            None => return true,
            Some(b'[' | b'{') => depth += 1,
            Some(b']' | b'}') => {
                depth -= 1;
                if depth == 0 {
                    return true;
                }
            }
            _ => {}
        }
        if ahead.scalar().contains('\n') {
            return false;
        }
    }
}

/// A gap in which nothing stands but space on one line.
fn nothing(tokens: &mut Tokens<'_>) -> Option<()> {
    let gap = tokens.gap();
    (gap.comments.is_empty() && !gap.newline).then_some(())
}

/// Adds a piece that is on one line; nothing if the whole gets too wide.
fn add(out: &mut String, piece: &str) -> Option<()> {
    out.push_str(piece);
    (out.len() <= WIDTH * 4 && !piece.contains('\n')).then_some(())
}

fn flat_value(tokens: &mut Tokens<'_>, out: &mut String) -> Option<()> {
    match tokens.peek()? {
        b'[' => flat_array(tokens, out),
        b'{' => flat_hash(tokens, out),
        _ if tokens.at_plugin() => {
            add(out, tokens.name())?;
            nothing(tokens)?;
            out.push(' ');
            flat_options(tokens, out)
        }
        _ => add(out, tokens.scalar()),
    }
}

fn flat_array(tokens: &mut Tokens<'_>, out: &mut String) -> Option<()> {
    tokens.eat("[");
    out.push('[');
    let mut first = true;
    loop {
        nothing(tokens)?;
        if tokens.eat("]") {
            return add(out, "]");
        }
        if !first {
            tokens.eat(",");
            nothing(tokens)?;
            out.push_str(", ");
        }
        flat_value(tokens, out)?;
        first = false;
    }
}

fn flat_options(tokens: &mut Tokens<'_>, out: &mut String) -> Option<()> {
    flat_block(tokens, out, |tokens| tokens.name().to_owned())
}

fn flat_hash(tokens: &mut Tokens<'_>, out: &mut String) -> Option<()> {
    flat_block(tokens, out, |tokens| tokens.scalar().to_owned())
}

fn flat_block(
    tokens: &mut Tokens<'_>,
    out: &mut String,
    name: fn(&mut Tokens<'_>) -> String,
) -> Option<()> {
    tokens.eat("{");
    out.push_str("{ ");
    loop {
        nothing(tokens)?;
        if tokens.eat("}") {
            return add(out, "}");
        }
        add(out, &name(tokens))?;
        nothing(tokens)?;
        tokens.eat("=>");
        nothing(tokens)?;
        out.push_str(" => ");
        flat_value(tokens, out)?;
        out.push(' ');
    }
}
