//! The automaton: one step a byte, captures included, built while it runs.
//!
//! A state is an ordered list of the places in the program where a backtracking engine could
//! be, best first, each with its own version of every capture's position. Versions live in
//! registers; where a transition sets or moves some, it carries operations, and most carry
//! none. A transition looks at the byte it consumes before it follows the program, so that a
//! condition on the next byte costs nothing and only positions that survive are noted.
//!
//! States and transitions are made the first time they are needed and kept up to a limit; at
//! the limit all are dropped and the search goes on. INVARIANT: a register's number follows
//! from its tag and version alone, so that positions survive a drop.
//!
//! What it does not do: `\b` next to a character from 128 up. It gives up there and the line
//! goes to the thread list.

mod determine;
mod plan;
mod skip;

use std::{collections::HashMap, sync::Arc};

use self::determine::Workspace;
pub(crate) use self::{plan::Plan, skip::Skipper};
use super::UNSET;
use crate::program::{Address, Program};

/// Marks a transition that is more than a step to the next state.
const SPECIAL: u32 = 1 << 31;
/// The special transition that is not known yet.
const UNKNOWN: u32 = SPECIAL;
/// The special transition that ends the search.
const DEAD: u32 = SPECIAL | 1;
/// No target, no acceptance, no skipper.
const NONE: u32 = u32::MAX;
/// In an operation or acceptance: the position, and not a register.
const POSITION: u32 = u32::MAX - 1;

/// Which positions an automaton follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    /// Where the match begins, and nothing else.
    Start,
    /// Nothing but whether there is a match. The order of the places does not matter then, so
    /// that there are fewer states. A `\b` that it cannot decide is taken to hold, which
    /// only suits programs that may match too much.
    Presence,
    /// Where the first group ends, of a match that begins at a given place.
    End,
    /// Every group, of a match that begins at a given place.
    Groups,
}

/// What a search came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A match; its positions are in [`Automaton::positions`].
    Match,
    /// No match.
    NoMatch,
    /// Another engine must look at this line.
    GaveUp,
}

/// An automaton as far as it has been built.
#[derive(Debug)]
pub(crate) struct Automaton {
    follow: Follow,
    /// Number of positions that are followed.
    width: usize,
    max_bytes: usize,
    /// For each state a row: the offset of the next row, or a special transition.
    transitions: Vec<u32>,
    states: Vec<State>,
    known: HashMap<Arc<[u32]>, u32>,
    edges: Vec<Edge>,
    operations: Vec<Operation>,
    acceptances: Vec<u32>,
    skippers: Vec<Skipper>,
    /// The first state, by the class of the byte before.
    starts: Vec<u32>,
    /// The same for a few other places to begin at, each with the class of the byte before.
    other_starts: Vec<(Address, usize, u32)>,
    bytes: usize,
    registers: Vec<u32>,
    moved: Vec<u32>,
    positions: Vec<u32>,
    workspace: Workspace,
}

/// A state as it was determined.
#[derive(Debug)]
struct State {
    /// The context bits, then for each place its address, obligation and versions.
    key: Arc<[u32]>,
    /// Transitions back to itself so far, until a skipper was tried.
    staying: u8,
    skipper: u32,
}

/// A transition that does more than step on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Edge {
    target: u32,
    operations: u32,
    operations_end: u32,
    /// Copies overlap, so that all must be read before one is written.
    overlapping: bool,
    acceptance: u32,
    skipper: u32,
}

/// Sets a register to another one, or to the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Operation {
    register: u32,
    source: u32,
}

impl Automaton {
    /// An empty automaton, which may grow to a number of bytes.
    pub(crate) fn new(program: &Program, follow: Follow, max_bytes: usize) -> Self {
        let width = match follow {
            Follow::Presence => 0,
            Follow::Start | Follow::End => 1,
            Follow::Groups => 2 * program.groups,
        };
        let mut automaton = Self {
            follow,
            width,
            max_bytes,
            transitions: Vec::new(),
            states: Vec::new(),
            known: HashMap::new(),
            edges: Vec::new(),
            operations: Vec::new(),
            acceptances: Vec::new(),
            skippers: Vec::new(),
            starts: Vec::new(),
            other_starts: Vec::new(),
            bytes: 0,
            registers: Vec::new(),
            moved: Vec::new(),
            positions: vec![UNSET; width],
            workspace: Workspace::default(),
        };
        automaton.clear();
        automaton
    }

    /// The positions that the last match left, by tag.
    pub(crate) fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// Bytes that states and transitions take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of states.
    pub(crate) fn states(&self) -> usize {
        self.states.len()
    }

    /// Forgets all states.
    fn clear(&mut self) {
        self.transitions.clear();
        self.states.clear();
        self.known.clear();
        self.operations.clear();
        self.acceptances.clear();
        self.skippers.clear();
        self.starts.clear();
        self.other_starts.clear();
        self.bytes = 0;
        self.edges.clear();
        let end = Edge {
            target: NONE,
            operations: 0,
            operations_end: 0,
            overlapping: false,
            acceptance: NONE,
            skipper: NONE,
        };
        // The first two stand for `UNKNOWN` and `DEAD`.
        self.edges.extend([end, end]);
    }

    fn root(&self, program: &Program) -> Address {
        match self.follow {
            Follow::Start | Follow::Presence => program.search,
            Follow::Groups | Follow::End => program.start,
        }
    }

    /// Searches from a position on.
    pub(crate) fn run(
        &mut self,
        plan: &Plan,
        program: &Program,
        line: &[u8],
        start: usize,
    ) -> Outcome {
        let end_class = plan.stride() - 1;
        let mut position = start;
        let mut state = self.start(plan, program, plan.class_before(line, start)) as usize;
        let mut matched = false;
        let skipper = self.states[state / plan.stride()].skipper;
        if skipper != NONE {
            position = self.skippers[skipper as usize].skip(line, position);
        }
        loop {
            let mut class = end_class;
            let mut next = None;
            for byte in &line[position..] {
                class = usize::from(plan.classes[usize::from(*byte)]);
                let transition = self.transitions[state + class];
                if transition & SPECIAL != 0 {
                    next = Some(transition);
                    break;
                }
                state = transition as usize;
                position += 1;
            }
            let mut next = match next {
                Some(next) => next,
                None => {
                    class = end_class;
                    self.transitions[state + class]
                }
            };
            if next == UNKNOWN {
                match self.determine(plan, program, state, class) {
                    Some(transition) => next = transition,
                    None => return Outcome::GaveUp,
                }
            }
            if next & SPECIAL == 0 {
                state = next as usize;
                position += 1;
                continue;
            }
            let edge = self.edges[(next & !SPECIAL) as usize];
            if edge.acceptance != NONE {
                matched = true;
                self.accept(edge.acceptance as usize, position);
            }
            if edge.target == NONE {
                break;
            }
            self.operate(&edge, position);
            state = edge.target as usize;
            position += 1;
            if edge.skipper != NONE {
                position = self.skippers[edge.skipper as usize].skip(line, position);
            }
        }
        if matched {
            Outcome::Match
        } else {
            Outcome::NoMatch
        }
    }

    /// Whether the program can go on from an address and a position: it comes to a match, or is
    /// not dead after `limit` bytes.
    pub(crate) fn goes_on(
        &mut self,
        plan: &Plan,
        program: &Program,
        line: &[u8],
        (address, position): (Address, usize),
        limit: usize,
    ) -> bool {
        let class = plan.class_before(line, position);
        let mut state = self.start_at(plan, address, class) as usize;
        for position in position..position + limit {
            let (class, at_end) = match line.get(position) {
                Some(byte) => (usize::from(plan.classes[usize::from(*byte)]), false),
                None => (plan.stride() - 1, true),
            };
            let mut next = self.transitions[state + class];
            if next == UNKNOWN {
                match self.determine(plan, program, state, class) {
                    Some(transition) => next = transition,
                    None => return true,
                }
            }
            if next & SPECIAL == 0 {
                state = next as usize;
                continue;
            }
            let edge = self.edges[(next & !SPECIAL) as usize];
            if edge.acceptance != NONE {
                return true;
            }
            if edge.target == NONE || at_end {
                return false;
            }
            state = edge.target as usize;
        }
        true
    }

    #[inline]
    fn accept(&mut self, acceptance: usize, position: usize) {
        let sources = &self.acceptances[acceptance..acceptance + self.width];
        for (slot, source) in self.positions.iter_mut().zip(sources) {
            *slot = match *source {
                NONE => UNSET,
                POSITION => position as u32,
                register => self.registers[register as usize],
            };
        }
    }

    #[inline]
    fn operate(&mut self, edge: &Edge, position: usize) {
        let operations = &self.operations[edge.operations as usize..edge.operations_end as usize];
        if edge.overlapping {
            self.moved.clear();
            for operation in operations {
                self.moved.push(match operation.source {
                    POSITION => position as u32,
                    register => self.registers[register as usize],
                });
            }
            for (operation, value) in operations.iter().zip(&self.moved) {
                self.registers[operation.register as usize] = *value;
            }
        } else {
            for operation in operations {
                let value = match operation.source {
                    POSITION => position as u32,
                    register => self.registers[register as usize],
                };
                self.registers[operation.register as usize] = value;
            }
        }
    }
}
