//! A compiled section of a pipeline: a flat list of operations that one event after the other runs
//! through.
//!
//! `if / else if / else` become jumps, so an event that a filter emits in the middle of a nested
//! condition simply goes on at the next operation. Order: an event, then what was made out of it,
//! each to the end before the next. Only where the caller allows it ([`Program::run_or_park`]), an event
//! whose filter has to wait for something outside is set aside, and goes on when the caller comes back to
//! it: behind those that did not have to wait.

use std::collections::VecDeque;

use bumpalo::Bump;

use crate::event::{Event, Timestamp};
use crate::filter::{Context, Patience, Scratch};

/// An operation of a program over plugins of type `P`.
#[derive(Debug)]
pub enum Operation<P, C> {
    /// Run the plugin.
    Run(P),
    /// Go on at the operation with this index if the condition does not hold.
    JumpUnless(C, usize),
    /// Go on at the operation with this index.
    Jump(usize),
}

/// A compiled section.
#[derive(Debug)]
pub struct Program<P, C> {
    operations: Vec<Operation<P, C>>,
}

/// A condition of a program.
pub trait Test {
    /// Whether the event meets it.
    fn holds(&self, event: &Event<'_>) -> bool;
}

/// A filter as it stands in a program, common options included.
pub trait Step {
    /// Works on the event, which may cancel it or emit others.
    fn step<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Flow;

    /// Emits what is due without an event.
    fn flush<'b>(&'b self, last: bool, context: &mut Context<'_, 'b>);
}

/// How an event goes on behind a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// To the next operation.
    GoOn,
    /// It waits, and comes back to the same filter. Only where [`Scratch::may_wait`] says so.
    Wait,
}

/// Events that wait, with the operation that they come back to.
#[derive(Debug, Default)]
pub struct Parked<'b>(Vec<(Event<'b>, usize)>);

impl<P, C> Default for Program<P, C> {
    fn default() -> Self {
        Self {
            operations: Vec::new(),
        }
    }
}

impl<P, C> Program<P, C> {
    /// Appends an operation and returns its index.
    pub fn push(&mut self, operation: Operation<P, C>) -> usize {
        self.operations.push(operation);
        self.operations.len() - 1
    }

    /// Index of the next operation that will be pushed.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there is no operation: every event passes as it is.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Sets where the jump at `index` goes.
    pub fn set_target(&mut self, index: usize, to: usize) {
        match &mut self.operations[index] {
            Operation::JumpUnless(_, target) | Operation::Jump(target) => *target = to,
            Operation::Run(_) => debug_assert!(false, "operation {index} is not a jump"),
        }
    }

    /// The plugins in order.
    pub fn plugins(&self) -> impl Iterator<Item = &P> {
        self.operations
            .iter()
            .filter_map(|operation| match operation {
                Operation::Run(plugin) => Some(plugin),
                _ => None,
            })
    }
}

impl<P, C: Test> Program<P, C> {
    /// Calls `visit` for each plugin that the event reaches (outputs: each sees every event that
    /// comes to it).
    pub fn visit<'p>(&'p self, event: &Event<'_>, mut visit: impl FnMut(&'p P)) {
        let mut at = 0;
        while let Some(operation) = self.operations.get(at) {
            at += 1;
            match operation {
                Operation::Run(plugin) => visit(plugin),
                Operation::JumpUnless(condition, target) => {
                    if !condition.holds(event) {
                        at = *target;
                    }
                }
                Operation::Jump(target) => at = *target,
            }
        }
    }
}

impl<P: Step, C: Test> Program<P, C> {
    /// Runs one event, and then what filters made out of it, through the program; `done` gets each
    /// event that was not cancelled, in order.
    pub fn run<'b>(
        &'b self,
        event: Event<'b>,
        arena: &'b Bump,
        now: Timestamp,
        scratch: &mut Scratch,
        mut done: impl FnMut(Event<'b>),
    ) {
        scratch.set_patience(Patience::MustFinish);
        let parked = &mut Parked::default();
        self.run_from(event, 0, arena, now, scratch, parked, &mut done);
    }

    /// The same, but events that have to wait go into `parked`. [`Program::resume`] must follow, before
    /// the arena is reset.
    pub fn run_or_park<'b>(
        &'b self,
        event: Event<'b>,
        arena: &'b Bump,
        now: Timestamp,
        scratch: &mut Scratch,
        parked: &mut Parked<'b>,
        mut done: impl FnMut(Event<'b>),
    ) {
        scratch.set_patience(Patience::MayWait);
        self.run_from(event, 0, arena, now, scratch, parked, &mut done);
    }

    /// Runs events that were set aside to their end. What they wait for next, they wait for together.
    pub fn resume<'b>(
        &'b self,
        parked: &mut Parked<'b>,
        arena: &'b Bump,
        now: Timestamp,
        scratch: &mut Scratch,
        mut done: impl FnMut(Event<'b>),
    ) {
        // Each round takes each event at least one operation further.
        while !parked.0.is_empty() {
            for (event, at) in std::mem::take(&mut parked.0) {
                scratch.set_patience(Patience::HasWaited);
                self.run_from(event, at, arena, now, scratch, parked, &mut done);
            }
        }
    }

    /// Lets each plugin emit what is due, and runs that through the rest of the program. With `last`
    /// no event will come any more.
    pub fn flush<'b>(
        &'b self,
        last: bool,
        arena: &'b Bump,
        now: Timestamp,
        scratch: &mut Scratch,
        mut done: impl FnMut(Event<'b>),
    ) {
        scratch.set_patience(Patience::MustFinish);
        let parked = &mut Parked::default();
        let mut emitted = Vec::new();
        for (at, operation) in self.operations.iter().enumerate() {
            if let Operation::Run(plugin) = operation {
                let mut context = Context {
                    arena,
                    now,
                    scratch,
                    emitted: &mut emitted,
                };
                plugin.flush(last, &mut context);
                for event in emitted.drain(..) {
                    self.run_from(event, at + 1, arena, now, scratch, parked, &mut done);
                }
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a struct of them would be made for each event"
    )]
    fn run_from<'b>(
        &'b self,
        event: Event<'b>,
        at: usize,
        arena: &'b Bump,
        now: Timestamp,
        scratch: &mut Scratch,
        parked: &mut Parked<'b>,
        done: &mut impl FnMut(Event<'b>),
    ) {
        let mut emitted = Vec::new();
        // Events that wait for their turn, with the operation they go on at. Empty for nearly every
        // event.
        let mut waiting: VecDeque<(Event<'b>, usize)> = VecDeque::new();
        let mut current = Some((event, at));
        while let Some((mut event, mut at)) = current.take() {
            // Children of this event stand before those that wait already.
            let mut place = 0;
            let mut is_parked = None;
            while let Some(operation) = self.operations.get(at) {
                at += 1;
                match operation {
                    Operation::Run(plugin) => {
                        let mut context = Context {
                            arena,
                            now,
                            scratch,
                            emitted: &mut emitted,
                        };
                        let flow = plugin.step(&mut event, &mut context);
                        if flow == Flow::Wait && scratch.may_wait() {
                            is_parked = Some(at - 1);
                            break;
                        }
                        if scratch.has_waited() {
                            scratch.set_patience(Patience::MayWait);
                        }
                        for child in emitted.drain(..) {
                            waiting.insert(place, (child, at));
                            place += 1;
                        }
                        if event.is_cancelled() {
                            break;
                        }
                    }
                    Operation::JumpUnless(condition, target) => {
                        if !condition.holds(&event) {
                            at = *target;
                        }
                    }
                    Operation::Jump(target) => at = *target,
                }
            }
            match is_parked {
                Some(at) => parked.0.push((event, at)),
                None if event.is_cancelled() => {}
                None => done(event),
            }
            current = waiting.pop_front();
        }
    }
}
