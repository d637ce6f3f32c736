//! What an expression compiles to, and what matching it needs and leaves.
//!
//! A [`Matcher`] never changes and is shared by all threads; what matching changes is in a
//! [`Scratch`], one for each thread, and in the [`Slots`] that the spans are left in.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    BudgetExceeded, CompileError, CompileOptions, PatternSet,
    engine::{
        UNSET,
        backtrack::Backtracker,
        tagged::{Automaton, Follow, Outcome, Plan},
        threads::Threads,
    },
    program::{Program, build, build_relaxed},
    syntax::parse,
};

/// A capture of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capture {
    /// The name as it was written: `client`, or `[source][address]`.
    pub name: String,
    /// What the text is to be made into.
    pub kind: CaptureKind,
    /// The pattern that is captured, as `IPORHOST` in `%{IPORHOST:client}`; none for
    /// `(?<client>…)`.
    pub pattern: Option<String>,
}

/// The type that stands after the second colon of `%{NAME:field:type}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum CaptureKind {
    /// Text as it is; also for types that are not known.
    #[default]
    Text,
    /// `int`: a whole number.
    Integer,
    /// `float`: a number.
    Float,
}

impl CaptureKind {
    pub(crate) fn from_name(name: Option<&str>) -> Self {
        match name {
            Some("int") => Self::Integer,
            Some("float") => Self::Float,
            _ => Self::Text,
        }
    }
}

/// How an expression is run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineKind {
    /// As an automaton: the time is linear in the line, whatever the line.
    Automaton,
    /// By backtracking under a budget of steps, since an automaton cannot run it.
    Backtracking {
        /// The part that an automaton cannot run.
        because: String,
    },
}

/// A compiled expression.
#[derive(Debug, Clone)]
pub struct Matcher {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    program: Program,
    plan: Option<Plan>,
    /// A program that matches wherever the real one does; small, and quick to say no.
    relaxed: Option<(Program, Plan)>,
    captures: Vec<Capture>,
    options: CompileOptions,
    identity: u64,
}

impl Matcher {
    pub(crate) fn new(
        expression: &str,
        set: &PatternSet,
        options: &CompileOptions,
    ) -> Result<Self, CompileError> {
        static IDENTITIES: AtomicU64 = AtomicU64::new(1);
        let parsed = parse(expression, set, options)?;
        let program = build(&parsed, options)?;
        let relaxed = build_relaxed(&parsed, options)?;
        let relaxed = Plan::new(&relaxed).map(|plan| (relaxed, plan));
        let plan = if program.irregular.is_none() {
            Plan::new(&program)
        } else {
            None
        };
        Ok(Self {
            inner: Arc::new(Inner {
                program,
                plan,
                relaxed,
                captures: parsed.captures,
                options: options.clone(),
                identity: IDENTITIES.fetch_add(1, Ordering::Relaxed),
            }),
        })
    }

    /// The captures, in the order in which they open. The same name may appear several times.
    pub fn captures(&self) -> &[Capture] {
        &self.inner.captures
    }

    /// How this expression is run.
    pub fn engine(&self) -> EngineKind {
        match &self.inner.program.irregular {
            None => EngineKind::Automaton,
            Some(because) => EngineKind::Backtracking {
                because: because.clone(),
            },
        }
    }

    /// Memory to match with, for one thread.
    pub fn scratch(&self) -> Scratch {
        let inner = &*self.inner;
        let bytes = inner.options.max_cache_bytes;
        let relaxed = inner
            .relaxed
            .as_ref()
            .map_or(&inner.program, |(relaxed, _)| relaxed);
        Scratch {
            identity: inner.identity,
            groups: Automaton::new(&inner.program, Follow::Groups, bytes / 2),
            start: Automaton::new(&inner.program, Follow::Start, bytes / 4),
            presence: Automaton::new(relaxed, Follow::Presence, bytes / 4),
            threads: Threads::default(),
            backtracker: Backtracker::default(),
        }
    }

    /// Looks for the expression anywhere in the line; when it is there, `slots` hold the spans
    /// of the captures.
    ///
    /// A scratch that was made by another matcher is made anew, which costs what was learnt.
    /// The line may hold any bytes. A line of 4 GiB or more is given up on.
    pub fn find(
        &self,
        line: &[u8],
        scratch: &mut Scratch,
        slots: &mut Slots,
    ) -> Result<bool, BudgetExceeded> {
        let inner = &*self.inner;
        if scratch.identity != inner.identity {
            *scratch = self.scratch();
        }
        let captures = inner.captures.len();
        slots.positions.clear();
        if line.len() >= UNSET as usize {
            slots.positions.resize(2 * captures, UNSET);
            return Err(BudgetExceeded { steps: 0 });
        }
        if let Some(plan) = &inner.plan {
            match scratch.search(plan, inner, line) {
                Outcome::Match => {
                    slots.fill(inner, &scratch.groups.positions()[..2 * captures], line);
                    return Ok(true);
                }
                Outcome::NoMatch => {
                    slots.positions.resize(2 * captures, UNSET);
                    return Ok(false);
                }
                Outcome::GaveUp => {}
            }
        }
        if inner.plan.is_none() && !scratch.may_match(inner, line) {
            slots.positions.resize(2 * captures, UNSET);
            return Ok(false);
        }
        let (found, tags) = if inner.program.irregular.is_some() {
            let budget = inner.options.max_steps;
            let found = scratch.backtracker.find(&inner.program, line, budget);
            let found = found.map_err(|_| BudgetExceeded { steps: budget })?;
            (found, scratch.backtracker.tags())
        } else {
            (
                scratch.threads.find(&inner.program, line),
                scratch.threads.best(),
            )
        };
        if found {
            slots.fill(inner, &tags[1..=2 * captures], line);
        } else {
            slots.positions.resize(2 * captures, UNSET);
        }
        Ok(found)
    }
}

/// What matching changes. Made by [`Matcher::scratch`], used by one thread at a time.
#[derive(Debug)]
pub struct Scratch {
    identity: u64,
    groups: Automaton,
    start: Automaton,
    presence: Automaton,
    threads: Threads,
    backtracker: Backtracker,
}

impl Scratch {
    /// Most lines match from their first byte on, or not at all: that is tried first. If it
    /// fails, one pass finds out where a match begins, if there is one.
    fn search(&mut self, plan: &Plan, inner: &Inner, line: &[u8]) -> Outcome {
        let program = &inner.program;
        let first = self.groups.run(plan, program, line, 0);
        if first != Outcome::NoMatch || program.anchored {
            return first;
        }
        // PERF: an automaton that stays small is as quick to say no.
        if self.start.bytes() > SMALL_AUTOMATON && !self.may_match(inner, line) {
            return Outcome::NoMatch;
        }
        match self.start.run(plan, program, line, 0) {
            Outcome::Match => {
                let begin = self.start.positions()[0] as usize;
                self.groups.run(plan, program, line, begin)
            }
            outcome => outcome,
        }
    }

    /// Whether the relaxed program matches; if not, the real one does not either.
    fn may_match(&mut self, inner: &Inner, line: &[u8]) -> bool {
        // A match may begin inside of a character only where the line does.
        if line.first().is_some_and(|byte| byte & 0xC0 == 0x80) {
            return true;
        }
        match &inner.relaxed {
            Some((program, plan)) => self.presence.run(plan, program, line, 0) != Outcome::NoMatch,
            None => true,
        }
    }
}

/// Beyond this many bytes, the automaton that finds where a match begins is only run on lines
/// that the relaxed program matches.
const SMALL_AUTOMATON: usize = 64 << 10;

/// The spans that a match leaves, one for each capture.
#[derive(Debug, Clone, Default)]
pub struct Slots {
    positions: Vec<u32>,
}

impl Slots {
    /// Slots that fit any matcher.
    pub fn new() -> Self {
        Self::default()
    }

    fn fill(&mut self, inner: &Inner, positions: &[u32], line: &[u8]) {
        self.positions.extend_from_slice(positions);
        for group in 0..inner.captures.len() {
            if inner.program.to_end[group] && self.positions[2 * group] != UNSET {
                self.positions[2 * group + 1] = line.len() as u32;
            }
        }
    }

    /// The bytes `start..end` that a capture matched; `None` when it took no part in the match.
    /// A capture that matched the empty text has equal numbers.
    pub fn get(&self, capture: usize) -> Option<(usize, usize)> {
        let pair = self.positions.get(2 * capture..2 * capture + 2)?;
        (pair[0] != UNSET && pair[1] != UNSET).then_some((pair[0] as usize, pair[1] as usize))
    }

    /// Number of captures of the matcher that was used last.
    pub fn len(&self) -> usize {
        self.positions.len() / 2
    }

    /// Whether that matcher had no captures.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// The spans of all captures in order.
    pub fn iter(&self) -> impl Iterator<Item = Option<(usize, usize)>> + '_ {
        (0..self.len()).map(|capture| self.get(capture))
    }
}

/// Several expressions, of which the first in the list that matches counts.
#[derive(Debug, Clone)]
pub struct MatcherList {
    matchers: Vec<Matcher>,
}

impl MatcherList {
    pub(crate) fn new(matchers: Vec<Matcher>) -> Self {
        Self { matchers }
    }

    /// The single expressions, in order.
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// Memory to match with, for one thread.
    pub fn scratch(&self) -> ListScratch {
        ListScratch {
            scratches: self.matchers.iter().map(Matcher::scratch).collect(),
        }
    }

    /// The index of the first expression that matches; `slots` then hold its captures.
    pub fn find(
        &self,
        line: &[u8],
        scratch: &mut ListScratch,
        slots: &mut Slots,
    ) -> Result<Option<usize>, BudgetExceeded> {
        if scratch.scratches.len() != self.matchers.len() {
            *scratch = self.scratch();
        }
        for (index, (matcher, scratch)) in
            self.matchers.iter().zip(&mut scratch.scratches).enumerate()
        {
            if matcher.find(line, scratch, slots)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }
}

/// What matching a [`MatcherList`] changes.
#[derive(Debug)]
pub struct ListScratch {
    scratches: Vec<Scratch>,
}
