//! The straight way: the best way through an expression, and no other.
//!
//! A backtracking engine tries the ways through an expression best first. On the lines that an
//! expression was written for, the first way that is tried is nearly always the one that
//! matches, and following it alone needs no list of places and no registers: literals are
//! compared, classes are run over, and the parts without captures (an address, a number, a
//! date) are left to a matcher of their own, which says where their best way ends.
//!
//! INVARIANT: when this engine says "match", it has only gone ways that are the first to be
//! tried, so that it is the leftmost-first match; when it says "no match", there was no other way. In every other
//! case it says that it does not know ([`Step::Doubt`]) and the automaton takes the line.
//!
//! It looks for matches that begin at the first byte of the line only. Some expressions cannot be
//! run so at all (a `.*` that something follows, loops over captures): they have none.

mod compile;
mod typed;

use super::{
    UNSET,
    tagged::{Automaton, Follow, Outcome, Plan, Skipper},
};
use crate::{
    program::{Program, is_inside, is_word_boundary},
    syntax::ByteSet,
};
use typed::Typed;

/// An expression as the straight way sees it.
#[derive(Debug)]
pub(crate) struct Straight {
    items: Vec<Item>,
    tokens: Vec<Token>,
}

/// A part of the expression, and what goes on after it at the place where its best way ends.
#[derive(Debug)]
struct Item {
    work: Work,
    /// The capture that this is all of, if there is one.
    capture: Option<u32>,
    /// There is no other way than the best one from which the rest could go on, so that the
    /// whole fails if the rest does.
    rigid: bool,
}

#[derive(Debug)]
enum Work {
    /// Notes the position.
    Note { slot: u32 },
    /// This byte.
    One(u8),
    /// These bytes.
    Literal(Box<[u8]>),
    /// One byte of a table.
    Byte(Box<Table>),
    /// As many bytes of a table as there are.
    Run { table: Box<Table>, min: u32 },
    /// The same where few bytes end the run, so that a byte search finds its end.
    Skip { skipper: Skipper, min: u32 },
    /// As few bytes of a table as there must be for these bytes to follow.
    Before {
        table: Box<Table>,
        needle: Box<[u8]>,
    },
    /// The same over any byte.
    Find(Box<memchr::memmem::Finder<'static>>),
    /// Nothing, where a character begins.
    Nothing,
    /// A condition.
    Check(Check),
    /// A part without captures.
    Token(u32),
    /// The first that leads on.
    Choice(Vec<Branch>),
    /// One item, which begins with one of these units, at least once and as often as there is one.
    Again { item: Box<Item>, first: ByteSet },
}

/// One way of a choice.
#[derive(Debug)]
struct Branch {
    /// The units that it can begin with.
    first: ByteSet,
    items: Vec<Item>,
    /// Captures of this branch, which are not set if it fails.
    groups: std::ops::Range<u32>,
}

#[derive(Debug, Clone, Copy)]
enum Check {
    Ahead(ByteSet),
    Behind(ByteSet),
    Word { negative: bool },
    LineStart,
}

type Table = [bool; 256];

/// A part without captures.
#[derive(Debug)]
struct Token {
    typed: Option<Typed>,
    program: Program,
    plan: Plan,
}

/// What following the straight way came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The best way ends here.
    At(usize),
    /// There is no way.
    Fails,
    /// There may be another way.
    Doubt,
}

/// The automata of the tokens, as far as they have been built.
#[derive(Debug)]
pub(crate) struct Tokens {
    automata: Vec<Automaton>,
}

impl Tokens {
    pub(crate) fn automata(&self) -> impl Iterator<Item = &Automaton> {
        self.automata.iter()
    }
}

impl Straight {
    /// Memory to run with; all automata together may grow to so many bytes.
    pub(crate) fn tokens(&self, max_bytes: usize) -> Tokens {
        let share = max_bytes / self.tokens.len().max(1);
        Tokens {
            automata: self
                .tokens
                .iter()
                .map(|token| Automaton::new(&token.program, Follow::End, share))
                .collect(),
        }
    }

    /// Follows the straight way from the line's first byte. After [`Step::At`], `positions` are those of
    /// the captures; they must all be unset before.
    pub(crate) fn run(&self, tokens: &mut Tokens, line: &[u8], positions: &mut [u32]) -> Step {
        // A match may begin inside of a character that was cut in two; the automaton knows how.
        if is_inside(line, 0) {
            return Step::Doubt;
        }
        let mut way = Way {
            straight: self,
            tokens,
            line,
            positions,
        };
        way.sequence(&self.items, 0)
    }
}

struct Way<'a> {
    straight: &'a Straight,
    tokens: &'a mut Tokens,
    line: &'a [u8],
    positions: &'a mut [u32],
}

impl Way<'_> {
    fn sequence(&mut self, items: &[Item], start: usize) -> Step {
        let mut position = start;
        let mut sure = true;
        for item in items {
            match self.item(item, position) {
                Step::At(end) => position = end,
                Step::Fails if sure => return Step::Fails,
                Step::Fails | Step::Doubt => return Step::Doubt,
            }
            sure &= item.rigid;
        }
        Step::At(position)
    }

    #[expect(
        clippy::inline_always,
        reason = "the body of the loop over items; a call for each costs a tenth of the time"
    )]
    #[inline(always)]
    fn item(&mut self, item: &Item, position: usize) -> Step {
        let line = self.line;
        let step = match &item.work {
            Work::Note { slot } => {
                self.positions[*slot as usize] = position as u32;
                Step::At(position)
            }
            Work::One(byte) if line.get(position) == Some(byte) => Step::At(position + 1),
            Work::Literal(literal) if line[position..].starts_with(literal) => {
                Step::At(position + literal.len())
            }
            Work::Byte(table) => match line.get(position) {
                Some(byte) if table[usize::from(*byte)] => Step::At(position + 1),
                _ => Step::Fails,
            },
            Work::Run { table, min } => {
                let rest = &line[position..];
                let length = rest.iter().position(|byte| !table[usize::from(*byte)]);
                at_least(*min, position, length.unwrap_or(rest.len()))
            }
            Work::Skip { skipper, min } => {
                at_least(*min, position, skipper.skip(line, position) - position)
            }
            Work::Before { table, needle } => before(table, needle, line, position),
            Work::Find(finder) => match finder.find(&line[position..]) {
                Some(length) => Step::At(position + length),
                None => Step::Fails,
            },
            Work::Nothing if is_inside(line, position) => Step::Doubt,
            Work::Nothing => Step::At(position),
            Work::Check(check) if check.holds(line, position) => Step::At(position),
            Work::One(_) | Work::Literal(_) | Work::Check(_) => Step::Fails,
            Work::Token(token) => self.token(*token, position),
            Work::Choice(branches) => self.choice(branches, position),
            Work::Again { item, first } => self.again(item, *first, position),
        };
        if let (Some(group), Step::At(end)) = (item.capture, step) {
            let slot = 2 * group as usize;
            self.positions[slot] = position as u32;
            self.positions[slot + 1] = end as u32;
        }
        step
    }

    fn again(&mut self, item: &Item, first: ByteSet, start: usize) -> Step {
        let mut last = Step::Fails;
        let mut position = start;
        loop {
            if !first.contains(unit_at(self.line, position)) {
                return last;
            }
            match self.sequence(std::slice::from_ref(item), position) {
                Step::At(end) if end > position => {
                    position = end;
                    last = Step::At(end);
                }
                Step::Fails => return last,
                Step::At(_) | Step::Doubt => return Step::Doubt,
            }
        }
    }

    #[inline]
    fn token(&mut self, index: u32, position: usize) -> Step {
        let token = &self.straight.tokens[index as usize];
        if let Some(typed) = token.typed
            && let Some(end) = typed.end(self.line, position)
        {
            return Step::At(end);
        }
        let automaton = &mut self.tokens.automata[index as usize];
        match automaton.run(&token.plan, &token.program, self.line, position) {
            Outcome::Match => Step::At(automaton.positions()[0] as usize),
            Outcome::NoMatch => Step::Fails,
            Outcome::GaveUp => Step::Doubt,
        }
    }

    fn choice(&mut self, branches: &[Branch], position: usize) -> Step {
        let unit = unit_at(self.line, position);
        for branch in branches {
            if !branch.first.contains(unit) {
                continue;
            }
            match self.sequence(&branch.items, position) {
                Step::Fails => {
                    for group in branch.groups.clone() {
                        self.positions[2 * group as usize] = UNSET;
                        self.positions[2 * group as usize + 1] = UNSET;
                    }
                }
                step => return step,
            }
        }
        Step::Fails
    }
}

#[inline]
fn at_least(min: u32, position: usize, length: usize) -> Step {
    if length < min as usize {
        Step::Fails
    } else {
        Step::At(position + length)
    }
}

fn before(table: &Table, needle: &[u8], line: &[u8], start: usize) -> Step {
    for position in start..line.len() {
        if line[position..].starts_with(needle) {
            return Step::At(position);
        }
        if !table[usize::from(line[position])] {
            break;
        }
    }
    Step::Fails
}

fn unit_at(line: &[u8], position: usize) -> usize {
    line.get(position)
        .map_or(crate::syntax::EDGE, |byte| usize::from(*byte))
}

impl Check {
    fn holds(self, line: &[u8], position: usize) -> bool {
        match self {
            Self::Ahead(set) => set.contains(unit_at(line, position)),
            Self::Behind(set) => set.contains(match position.checked_sub(1) {
                Some(before) => usize::from(line[before]),
                None => crate::syntax::EDGE,
            }),
            Self::Word { negative } => is_word_boundary(line, position) != negative,
            // COMPAT: no line begins at the very end of the text, after its last newline.
            Self::LineStart => match position.checked_sub(1) {
                Some(before) => line[before] == b'\n' && position < line.len(),
                None => true,
            },
        }
    }
}
