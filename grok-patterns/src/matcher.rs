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
        prefilter::{Found, Prefilter, Requirement, requirements},
        straight::{Step, Straight, Tokens},
        tagged::{Automaton, Follow, Outcome, Plan},
        threads::Threads,
    },
    program::{Program, build, build_relaxed, is_inside},
    syntax::parse,
};

/// A capture of an expression.
///
/// ```
/// use skidder_grok::{CaptureKind, CompileOptions, PatternSet};
///
/// let matcher = PatternSet::legacy().compile("%{INT:[http][status]:int}", &CompileOptions::default())?;
/// let capture = &matcher.captures()[0];
/// assert_eq!(capture.name, "[http][status]");
/// assert_eq!(capture.kind, CaptureKind::Integer);
/// assert_eq!(capture.pattern.as_deref(), Some("INT"));
/// # Ok::<(), skidder_grok::CompileError>(())
/// ```
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
///
/// ```
/// use skidder_grok::{CaptureKind, CompileOptions, PatternSet};
///
/// let matcher = PatternSet::legacy().compile("%{NUMBER:seconds:float}", &CompileOptions::default())?;
/// assert_eq!(matcher.captures()[0].kind, CaptureKind::Float);
/// # Ok::<(), skidder_grok::CompileError>(())
/// ```
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
///
/// ```
/// use skidder_grok::{CompileOptions, EngineKind, PatternSet};
///
/// let (set, options) = (PatternSet::legacy(), CompileOptions::default());
/// assert_eq!(set.compile("%{IP}", &options)?.engine(), EngineKind::Automaton);
/// let engine = set.compile(r"(?<a>.)\k<a>", &options)?.engine();
/// assert!(matches!(engine, EngineKind::Backtracking { because } if because == "a back-reference"));
/// # Ok::<(), skidder_grok::CompileError>(())
/// ```
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
///
/// ```
/// use skidder_grok::{CompileOptions, PatternSet, Slots};
///
/// let matcher = PatternSet::legacy().compile("%{IP:client}", &CompileOptions::default())?;
/// let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
/// assert_eq!(matcher.find(b"from 10.0.0.7", &mut scratch, &mut slots), Ok(true));
/// assert_eq!(slots.get(0), Some((5, 13)));
/// # Ok::<(), skidder_grok::CompileError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Matcher {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    program: Program,
    plan: Option<Plan>,
    /// The way that most matches go.
    straight: Option<Straight>,
    /// A program that matches wherever the real one does; small, and quick to say no.
    relaxed: Option<(Program, Plan)>,
    /// What every line that matches has.
    requirements: Vec<Requirement>,
    prefilter: Prefilter,
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
        let requirements = requirements(&relaxed);
        let (prefilter, _) = Prefilter::new(&[&requirements]);
        let relaxed = Plan::new(&relaxed).map(|plan| (relaxed, plan));
        let plan = if program.irregular.is_none() {
            Plan::new(&program)
        } else {
            None
        };
        let straight = plan.as_ref().and_then(|_| Straight::new(&parsed, options));
        Ok(Self {
            inner: Arc::new(Inner {
                program,
                plan,
                straight,
                relaxed,
                prefilter,
                requirements,
                captures: parsed.captures,
                options: options.clone(),
                identity: IDENTITIES.fetch_add(1, Ordering::Relaxed),
            }),
        })
    }

    /// The captures, in the order in which they open. The same name may appear several times.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet};
    ///
    /// let matcher = PatternSet::legacy().compile("%{WORD:verb} %{INT:bytes}", &CompileOptions::default())?;
    /// let names: Vec<&str> = matcher.captures().iter().map(|capture| &*capture.name).collect();
    /// assert_eq!(names, ["verb", "bytes"]);
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn captures(&self) -> &[Capture] {
        &self.inner.captures
    }

    /// How this expression is run.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, EngineKind, PatternSet};
    ///
    /// let matcher = PatternSet::legacy().compile("%{COMBINEDAPACHELOG}", &CompileOptions::default())?;
    /// assert_eq!(matcher.engine(), EngineKind::Automaton);
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn engine(&self) -> EngineKind {
        match &self.inner.program.irregular {
            None => EngineKind::Automaton,
            Some(because) => EngineKind::Backtracking {
                because: because.clone(),
            },
        }
    }

    /// Memory to match with, for one thread.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet, Slots};
    ///
    /// let matcher = PatternSet::legacy().compile("%{INT:count}", &CompileOptions::default())?;
    /// std::thread::scope(|scope| {
    ///     for line in [&b"12"[..], b"3 of 4"] {
    ///         let matcher = &matcher;
    ///         scope.spawn(move || {
    ///             let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    ///             assert_eq!(matcher.find(line, &mut scratch, &mut slots), Ok(true));
    ///         });
    ///     }
    /// });
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn scratch(&self) -> Scratch {
        let inner = &*self.inner;
        let bytes = inner.options.max_cache_bytes;
        let relaxed = inner
            .relaxed
            .as_ref()
            .map_or(&inner.program, |(relaxed, _)| relaxed);
        Scratch {
            identity: inner.identity,
            habit: Habit::default(),
            found: Found::default(),
            tokens: inner
                .straight
                .as_ref()
                .map(|straight| straight.tokens(bytes / 8)),
            groups: Automaton::new(&inner.program, Follow::Groups, bytes * 3 / 8),
            start: Automaton::new(&inner.program, Follow::Start, bytes / 4),
            presence: Automaton::new(relaxed, Follow::Presence, bytes / 4),
            threads: Threads::default(),
            backtracker: Backtracker::default(),
            step_limit: None,
        }
    }

    /// Looks for the expression anywhere in the line; when it is there, `slots` hold the spans
    /// of the captures.
    ///
    /// A scratch that was made by another matcher is made anew, which costs what was learnt.
    /// The line may hold any bytes. A line of 4 GiB or more is given up on.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet, Slots};
    ///
    /// let matcher = PatternSet::legacy().compile("%{WORD:verb} %{INT:bytes}", &CompileOptions::default())?;
    /// let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    /// assert_eq!(matcher.find(b"\xFF GET 512", &mut scratch, &mut slots), Ok(true));
    /// assert_eq!(slots.get(1), Some((6, 9)));
    /// assert_eq!(matcher.find(b"GET -", &mut scratch, &mut slots), Ok(false));
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn find(
        &self,
        line: &[u8],
        scratch: &mut Scratch,
        slots: &mut Slots,
    ) -> Result<bool, BudgetExceeded> {
        let found = match self.find_straight(line, scratch, slots) {
            Step::At(_) => Ok(true),
            step => self.find_otherwise(step, false, line, scratch, slots),
        };
        if found != Ok(true) {
            slots.unset(self.inner.captures.len());
        }
        found
    }

    /// What every line that matches has.
    pub(crate) fn requirements(&self) -> &[Requirement] {
        &self.inner.requirements
    }

    /// Follows the straight way from the start of the line. Unless that is a match, the slots then hold
    /// nothing of use.
    pub(crate) fn find_straight(
        &self,
        line: &[u8],
        scratch: &mut Scratch,
        slots: &mut Slots,
    ) -> Step {
        let inner = &*self.inner;
        if scratch.identity != inner.identity {
            *scratch = self.scratch();
        }
        let (Some(straight), Some(tokens)) = (&inner.straight, &mut scratch.tokens) else {
            return Step::Doubt;
        };
        if line.len() >= UNSET as usize || !scratch.habit.goes_straight() {
            return Step::Doubt;
        }
        slots.unset(inner.captures.len());
        let step = straight.run(tokens, line, &mut slots.positions);
        scratch.habit.went_straight(step);
        step
    }

    /// The same if it has led to a match not long ago; else it is better to look closer first.
    pub(crate) fn find_straight_in_hope(
        &self,
        line: &[u8],
        scratch: &mut Scratch,
        slots: &mut Slots,
    ) -> Option<Step> {
        let is_hopeful = scratch.habit.is_hopeful();
        is_hopeful.then(|| self.find_straight(line, scratch, slots))
    }

    /// Whether the expression, number `index` of a prefilter's, can go on from one of the places where
    /// the line has what every match has.
    pub(crate) fn may_match_closely(
        &self,
        (prefilter, index): (&Prefilter, usize),
        found: &Found,
        line: &[u8],
        scratch: &mut Scratch,
    ) -> bool {
        let Some((program, plan)) = &self.inner.relaxed else {
            return true;
        };
        prefilter.may_match_closely(index, found, |address, position| {
            let place = (address, position);
            scratch
                .presence
                .goes_on(plan, program, line, place, CLOSELY)
        })
    }

    /// Looks for the expression when the straight way has not found it. `filtered` says that the
    /// line is known to have what every match has.
    pub(crate) fn find_otherwise(
        &self,
        straight: Step,
        filtered: bool,
        line: &[u8],
        scratch: &mut Scratch,
        slots: &mut Slots,
    ) -> Result<bool, BudgetExceeded> {
        let inner = &*self.inner;
        let captures = inner.captures.len();
        if line.len() >= UNSET as usize {
            return Err(BudgetExceeded { steps: 0 });
        }
        if let Some(plan) = &inner.plan {
            match scratch.search(plan, inner, line, straight, filtered) {
                Outcome::Match => {
                    slots.fill(inner, &scratch.groups.positions()[..2 * captures], line);
                    return Ok(true);
                }
                Outcome::NoMatch => return Ok(false),
                Outcome::GaveUp => {}
            }
        } else if !scratch.may_match(inner, line, filtered) {
            return Ok(false);
        }
        let (found, tags) = if inner.program.irregular.is_some() {
            let budget = scratch.step_limit.unwrap_or(inner.options.max_steps);
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
        }
        Ok(found)
    }
}

/// What matching changes. Made by [`Matcher::scratch`], used by one thread at a time.
///
/// ```
/// use skidder_grok::{CompileOptions, PatternSet, Slots};
///
/// let matcher = PatternSet::legacy().compile("%{INT:count}", &CompileOptions::default())?;
/// let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
/// for line in ["12 apples", "7 pears"] {
///     assert_eq!(matcher.find(line.as_bytes(), &mut scratch, &mut slots), Ok(true));
/// }
/// # Ok::<(), skidder_grok::CompileError>(())
/// ```
#[derive(Debug)]
pub struct Scratch {
    identity: u64,
    habit: Habit,
    found: Found,
    tokens: Option<Tokens>,
    groups: Automaton,
    start: Automaton,
    presence: Automaton,
    threads: Threads,
    backtracker: Backtracker,
    step_limit: Option<u64>,
}

impl Scratch {
    /// Lets the fallback take so many steps on each of the next lines, in place of
    /// [`CompileOptions::max_steps`]; to share one budget between several matchers.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet, Slots};
    ///
    /// let matcher = PatternSet::empty().compile(r"(?<a>.)-\k<a>", &CompileOptions::default())?;
    /// let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    /// scratch.limit_steps(1000);
    /// assert_eq!(matcher.find(b"x-x", &mut scratch, &mut slots), Ok(true));
    /// let left = 1000 - scratch.steps_taken();
    /// scratch.limit_steps(left.min(3));
    /// assert!(matcher.find(b"abcdefgh-h", &mut scratch, &mut slots).is_err());
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn limit_steps(&mut self, steps: u64) {
        self.step_limit = Some(steps);
        self.backtracker.forget_steps();
    }

    /// Steps that the fallback took on the last line that it looked at since
    /// [`Self::limit_steps`].
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet, Slots};
    ///
    /// let matcher = PatternSet::legacy().compile(r"(?<a>.)-\k<a>", &CompileOptions::default())?;
    /// let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    /// assert_eq!(matcher.find(b"x-x", &mut scratch, &mut slots), Ok(true));
    /// assert!(scratch.steps_taken() > 0);
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn steps_taken(&self) -> u64 {
        self.backtracker.steps_taken()
    }

    /// Bytes of automaton that were built so far. At most [`CompileOptions::max_cache_bytes`].
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet, Slots};
    ///
    /// let matcher = PatternSet::legacy().compile("%{URI:uri}", &CompileOptions::default())?;
    /// let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    /// assert_eq!(matcher.find(b"see https://example.com/a", &mut scratch, &mut slots), Ok(true));
    /// assert!(scratch.cache_bytes() <= CompileOptions::default().max_cache_bytes);
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn cache_bytes(&self) -> usize {
        self.automata().map(Automaton::bytes).sum()
    }

    /// States of the automata that were built so far.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet, Slots};
    ///
    /// let matcher = PatternSet::legacy().compile("%{URI:uri}", &CompileOptions::default())?;
    /// let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    /// let before = scratch.states();
    /// assert_eq!(matcher.find(b"see https://example.com/a", &mut scratch, &mut slots), Ok(true));
    /// assert!(scratch.states() > before);
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn states(&self) -> usize {
        self.automata().map(Automaton::states).sum()
    }

    fn automata(&self) -> impl Iterator<Item = &Automaton> {
        let tokens = self.tokens.iter().flat_map(Tokens::automata);
        [&self.groups, &self.start, &self.presence]
            .into_iter()
            .chain(tokens)
    }

    /// Looks for a match from the start of the line on, and for one that begins later. After a
    /// line without a match two quick looks come first: for what every match has, and whether
    /// the relaxed program matches.
    fn search(
        &mut self,
        plan: &Plan,
        inner: &Inner,
        line: &[u8],
        straight: Step,
        filtered: bool,
    ) -> Outcome {
        let quick = self.habit.expects_none;
        let outcome = if quick && !self.may_match(inner, line, filtered) {
            Outcome::NoMatch
        } else {
            self.search_slowly(plan, inner, line, straight, filtered || quick)
        };
        self.habit.expects_none = outcome == Outcome::NoMatch;
        outcome
    }

    fn search_slowly(
        &mut self,
        plan: &Plan,
        inner: &Inner,
        line: &[u8],
        straight: Step,
        filtered: bool,
    ) -> Outcome {
        let program = &inner.program;
        if straight == Step::Doubt {
            let first = self.groups.run(plan, program, line, 0);
            if first != Outcome::NoMatch {
                return first;
            }
        }
        if program.anchored {
            return Outcome::NoMatch;
        }
        // PERF: an automaton that stays small is as quick to say no.
        let large = self.start.bytes() > SMALL_AUTOMATON;
        if large && !self.habit.expects_none && !self.may_match(inner, line, filtered) {
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

    /// Whether the line has what every match has, and the relaxed program matches; if not, the
    /// real one does not either.
    fn may_match(&mut self, inner: &Inner, line: &[u8], filtered: bool) -> bool {
        if !filtered && !inner.prefilter.is_empty() {
            inner.prefilter.scan(line, &mut self.found);
            if !inner.prefilter.may_match(0, &self.found) {
                return false;
            }
        }
        // A match may begin inside of a character only where the line does.
        if is_inside(line, 0) {
            return true;
        }
        match &inner.relaxed {
            Some((program, plan)) => self.presence.run(plan, program, line, 0) != Outcome::NoMatch,
            None => true,
        }
    }
}

/// What the lines were like so far. It decides what is tried first, never what is found.
#[derive(Debug, Default)]
struct Habit {
    /// Lines in a row on which the straight way was in doubt.
    doubts: u32,
    /// Lines on which it is not tried.
    pause: u32,
    /// Lines in a row which the straight way did not match.
    failures: u32,
    /// The last line that was searched did not match.
    expects_none: bool,
}

impl Habit {
    fn is_hopeful(&self) -> bool {
        self.failures < MANY_FAILURES
    }

    fn goes_straight(&mut self) -> bool {
        let goes = self.pause == 0;
        self.pause = self.pause.saturating_sub(1);
        goes
    }

    fn went_straight(&mut self, step: Step) {
        self.failures = match step {
            Step::At(_) => 0,
            Step::Fails | Step::Doubt => self.failures.saturating_add(1),
        };
        if step != Step::Doubt {
            self.doubts = 0;
        } else if self.doubts < MANY_DOUBTS {
            self.doubts += 1;
        } else {
            self.pause = PAUSE;
        }
    }
}

/// After so many doubtful lines in a row the straight way is given a pause.
const MANY_DOUBTS: u32 = 16;
/// After so many lines that it did not match, there are better things to try first.
const MANY_FAILURES: u32 = 16;
/// A pause lasts so many lines.
const PAUSE: u32 = 64;

/// Bytes over which an expression is followed to see whether it goes on.
const CLOSELY: usize = 32;
/// Beyond this many bytes, the automaton that finds where a match begins is only run on lines
/// that the relaxed program matches.
const SMALL_AUTOMATON: usize = 64 << 10;

/// The spans that a match leaves, one for each capture.
///
/// ```
/// use skidder_grok::{CompileOptions, PatternSet, Slots};
///
/// let matcher = PatternSet::legacy().compile("%{INT:a}(?:-%{INT:b})?", &CompileOptions::default())?;
/// let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
/// assert_eq!(matcher.find(b"12", &mut scratch, &mut slots), Ok(true));
/// assert!(slots.iter().eq([Some((0, 2)), None]));
/// # Ok::<(), skidder_grok::CompileError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Slots {
    positions: Vec<u32>,
}

impl Slots {
    /// Slots that fit any matcher.
    ///
    /// ```
    /// let slots = skidder_grok::Slots::new();
    /// assert!(slots.is_empty());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn clear(&mut self) {
        self.positions.clear();
    }

    /// So many captures, none of which took part in a match.
    fn unset(&mut self, captures: usize) {
        self.positions.clear();
        self.positions.resize(2 * captures, UNSET);
    }

    fn fill(&mut self, inner: &Inner, positions: &[u32], line: &[u8]) {
        self.positions.clear();
        self.positions.extend_from_slice(positions);
        for group in 0..inner.captures.len() {
            if inner.program.to_end[group] && self.positions[2 * group] != UNSET {
                self.positions[2 * group + 1] = line.len() as u32;
            }
        }
    }

    /// The bytes `start..end` that a capture matched; `None` when it took no part in the match.
    /// A capture that matched the empty text has equal numbers.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet, Slots};
    ///
    /// let matcher = PatternSet::legacy().compile("%{WORD:key}=%{DATA:value};", &CompileOptions::default())?;
    /// let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    /// assert_eq!(matcher.find(b"key=;", &mut scratch, &mut slots), Ok(true));
    /// assert_eq!(slots.get(0), Some((0, 3)));
    /// assert_eq!(slots.get(1), Some((4, 4)));
    /// assert_eq!(slots.get(2), None);
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn get(&self, capture: usize) -> Option<(usize, usize)> {
        let pair = self.positions.get(2 * capture..2 * capture + 2)?;
        (pair[0] != UNSET && pair[1] != UNSET).then_some((pair[0] as usize, pair[1] as usize))
    }

    /// Number of captures of the matcher that was used last.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet, Slots};
    ///
    /// let matcher = PatternSet::legacy().compile("%{WORD:a} %{WORD:b}", &CompileOptions::default())?;
    /// let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    /// assert_eq!(matcher.find(b"two words", &mut scratch, &mut slots), Ok(true));
    /// assert_eq!(slots.len(), 2);
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn len(&self) -> usize {
        self.positions.len() / 2
    }

    /// Whether that matcher had no captures.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet, Slots};
    ///
    /// let matcher = PatternSet::legacy().compile("%{WORD}", &CompileOptions::default())?;
    /// let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    /// assert_eq!(matcher.find(b"word", &mut scratch, &mut slots), Ok(true));
    /// assert!(slots.is_empty());
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// The spans of all captures in order.
    ///
    /// ```
    /// use skidder_grok::{CompileOptions, PatternSet, Slots};
    ///
    /// let matcher = PatternSet::legacy().compile("%{WORD:verb} %{INT:bytes}", &CompileOptions::default())?;
    /// let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    /// let line = "GET 512";
    /// assert_eq!(matcher.find(line.as_bytes(), &mut scratch, &mut slots), Ok(true));
    /// let texts: Vec<&str> = slots.iter().flatten().map(|(start, end)| &line[start..end]).collect();
    /// assert_eq!(texts, ["GET", "512"]);
    /// # Ok::<(), skidder_grok::CompileError>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = Option<(usize, usize)>> + '_ {
        (0..self.len()).map(|capture| self.get(capture))
    }
}
