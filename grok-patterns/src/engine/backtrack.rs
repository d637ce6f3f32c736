//! Backtracking, for what an automaton cannot do, under a budget of steps.
//!
//! It explores the ways in the order of their priority and takes the first that matches. Time
//! can be exponential in the line, hence the budget. Memory is bounded by the budget too: every
//! entry on the stack has cost a step. What a hard line took is given back after it.

use super::UNSET;
use crate::program::{Address, Instruction, Program, is_inside, is_word_boundary};

/// Entries of the stack that are kept from line to line; 64 KiB or so.
const KEPT_ENTRIES: usize = 2_700;

/// The budget was used up.
#[derive(Debug)]
pub(crate) struct OutOfSteps;

/// Memory that is used again from line to line.
#[derive(Debug, Default)]
pub(crate) struct Backtracker {
    tags: Vec<u32>,
    loops: Vec<u32>,
    stack: Vec<Pending>,
    /// Steps that are left.
    steps: u64,
    budget: u64,
}

#[derive(Debug, Clone, Copy)]
enum Pending {
    Way { address: Address, position: usize },
    RestoreTag { tag: u32, value: u32 },
    RestoreLoop { slot: u32, value: u32 },
}

impl Backtracker {
    /// Searches the line; the tags of the match are in [`Self::tags`].
    pub(crate) fn find(
        &mut self,
        program: &Program,
        line: &[u8],
        budget: u64,
    ) -> Result<bool, OutOfSteps> {
        let found = self.search(program, line, budget);
        if self.stack.capacity() > KEPT_ENTRIES {
            self.stack = Vec::new();
        }
        found
    }

    /// Bytes that are kept from line to line.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.stack.capacity() * size_of::<Pending>()
            + (self.tags.capacity() + self.loops.capacity()) * size_of::<u32>()
    }

    fn search(&mut self, program: &Program, line: &[u8], budget: u64) -> Result<bool, OutOfSteps> {
        self.steps = budget;
        self.budget = budget;
        for start in 0..=line.len() {
            // A match never begins inside of a character.
            if start > 0 && is_inside(line, start) {
                continue;
            }
            self.tags.clear();
            self.tags.resize(program.tags(), UNSET);
            self.loops.clear();
            self.loops.resize(program.loops, UNSET);
            self.stack.clear();
            if self
                .run(program, program.start, line, start, None)?
                .is_some()
            {
                self.tags[0] = start as u32;
                return Ok(true);
            }
            if program.anchored {
                break;
            }
        }
        Ok(false)
    }

    /// Steps that the last line took.
    pub(crate) fn steps_taken(&self) -> u64 {
        self.budget - self.steps
    }

    /// Makes [`Self::steps_taken`] zero.
    pub(crate) fn forget_steps(&mut self) {
        self.budget = self.steps;
    }

    /// The positions that the last match left.
    pub(crate) fn tags(&self) -> &[u32] {
        &self.tags
    }

    /// Runs from an address until a `Match` (at `end`, if that is given).
    fn run(
        &mut self,
        program: &Program,
        address: Address,
        line: &[u8],
        position: usize,
        end: Option<usize>,
    ) -> Result<Option<usize>, OutOfSteps> {
        let floor = self.stack.len();
        self.stack.push(Pending::Way { address, position });
        while self.stack.len() > floor {
            match self.stack.pop() {
                Some(Pending::Way { address, position }) => {
                    if let Some(end) = self.follow(program, address, line, position, end)? {
                        // What led here stays; only the other ways are forgotten.
                        self.forget_ways(floor);
                        return Ok(Some(end));
                    }
                }
                Some(Pending::RestoreTag { tag, value }) => self.tags[tag as usize] = value,
                Some(Pending::RestoreLoop { slot, value }) => self.loops[slot as usize] = value,
                None => break,
            }
        }
        Ok(None)
    }

    /// Keeps the restores above `floor`, for an outer way that fails later.
    fn forget_ways(&mut self, floor: usize) {
        let mut kept = floor;
        for index in floor..self.stack.len() {
            let pending = self.stack[index];
            if !matches!(pending, Pending::Way { .. }) {
                self.stack[kept] = pending;
                kept += 1;
            }
        }
        self.stack.truncate(kept);
    }

    /// Undoes what was noted above `floor`.
    fn undo(&mut self, floor: usize) {
        while self.stack.len() > floor {
            match self.stack.pop() {
                Some(Pending::RestoreTag { tag, value }) => self.tags[tag as usize] = value,
                Some(Pending::RestoreLoop { slot, value }) => self.loops[slot as usize] = value,
                Some(Pending::Way { .. }) | None => {}
            }
        }
    }

    fn set_tag(&mut self, tag: u32, position: usize) {
        let value = std::mem::replace(&mut self.tags[tag as usize], position as u32);
        self.stack.push(Pending::RestoreTag { tag, value });
    }

    fn follow(
        &mut self,
        program: &Program,
        mut address: Address,
        line: &[u8],
        mut position: usize,
        end: Option<usize>,
    ) -> Result<Option<usize>, OutOfSteps> {
        loop {
            self.steps = self.steps.checked_sub(1).ok_or(OutOfSteps)?;
            let holds;
            (holds, address) = match program.instructions[address as usize] {
                Instruction::Byte { set, next } => {
                    let holds = position < line.len() && program.next_in(set, line, position);
                    position += 1;
                    (holds, next)
                }
                Instruction::Split { first, second } => {
                    self.stack.push(Pending::Way {
                        address: second,
                        position,
                    });
                    (true, first)
                }
                Instruction::Tag { tag, next } => {
                    self.set_tag(tag, position);
                    (true, next)
                }
                Instruction::Ahead { set, next } => (program.next_in(set, line, position), next),
                Instruction::Behind { set, next } => {
                    (program.previous_in(set, line, position), next)
                }
                Instruction::Word { negative, next } => {
                    (is_word_boundary(line, position) != negative, next)
                }
                Instruction::AheadSequence { sequence, next } => {
                    (program.sequence_holds(sequence, line, position), next)
                }
                Instruction::LoopStart { slot, next } => {
                    let value = std::mem::replace(&mut self.loops[slot as usize], position as u32);
                    self.stack.push(Pending::RestoreLoop { slot, value });
                    (true, next)
                }
                Instruction::LoopEnd {
                    slot,
                    first,
                    second,
                    again,
                } => {
                    if self.loops[slot as usize] == position as u32 {
                        (true, if first == again { second } else { first })
                    } else {
                        self.stack.push(Pending::Way {
                            address: second,
                            position,
                        });
                        (true, first)
                    }
                }
                Instruction::Match => {
                    return Ok(end.is_none_or(|end| end == position).then_some(position));
                }
                Instruction::Fail => (false, address),
                Instruction::Look { look, body, next } => {
                    let look = program.looks[look as usize];
                    let floor = self.stack.len();
                    let found = match look.behind {
                        None => self.run(program, body, line, position, None)?.is_some(),
                        Some((least, most)) => {
                            let mut found = false;
                            for length in least..=most.min(position) {
                                let from = position - length;
                                if self
                                    .run(program, body, line, from, Some(position))?
                                    .is_some()
                                {
                                    found = true;
                                    break;
                                }
                            }
                            found
                        }
                    };
                    if found && look.negative {
                        self.undo(floor);
                    }
                    (found != look.negative, next)
                }
                Instruction::Atomic { body, next } => {
                    match self.run(program, body, line, position, None)? {
                        Some(end) => {
                            position = end;
                            (true, next)
                        }
                        None => (false, next),
                    }
                }
                Instruction::BackReference { reference, next } => {
                    match self.referred(program, reference, line, position) {
                        Some(length) => {
                            // A long text takes as many steps as it has bytes.
                            self.steps = self.steps.checked_sub(length as u64).ok_or(OutOfSteps)?;
                            position += length;
                            (true, next)
                        }
                        None => (false, next),
                    }
                }
            };
            if !holds {
                return Ok(None);
            }
        }
    }

    /// Length of the text that a back-reference matches here.
    fn referred(
        &self,
        program: &Program,
        reference: u32,
        line: &[u8],
        position: usize,
    ) -> Option<usize> {
        let reference = &program.references[reference as usize];
        let group = reference
            .groups
            .iter()
            .rev()
            .find(|group| self.tags[**group as usize * 2 + 2] != UNSET)?;
        let start = self.tags[*group as usize * 2 + 1] as usize;
        let end = self.tags[*group as usize * 2 + 2] as usize;
        let text = line.get(start..end)?;
        let here = line.get(position..position + text.len())?;
        let equal = if reference.ignore_case {
            text.eq_ignore_ascii_case(here)
        } else {
            text == here
        };
        equal.then_some(text.len())
    }
}
