//! All ways at once, byte by byte: Pike's machine.
//!
//! Time is proportional to the line times the program, memory to the program; nothing is kept
//! between lines. It decodes characters for `\b`, which the automaton does not.

use super::UNSET;
use crate::program::{Address, Instruction, Program, is_word_boundary};

/// Memory that is used again from line to line.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    current: List,
    following: List,
    stack: Vec<Pending>,
    tags: Vec<u32>,
    best: Vec<u32>,
}

/// Threads in the order of their priority; each waits at a `Byte`, or is the match.
#[derive(Debug, Default)]
struct List {
    addresses: Vec<Address>,
    tags: Vec<u32>,
    seen: Vec<u32>,
    generation: u32,
}

impl List {
    fn clear(&mut self, program: &Program) {
        self.addresses.clear();
        self.tags.clear();
        self.seen.resize(program.instructions.len(), 0);
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            self.seen.fill(0);
            self.generation = 1;
        }
    }

    fn see(&mut self, address: Address) -> bool {
        std::mem::replace(&mut self.seen[address as usize], self.generation) != self.generation
    }
}

#[derive(Debug, Clone, Copy)]
enum Pending {
    Way(Address),
    Restore { tag: u32, value: u32 },
}

impl Threads {
    /// Searches the line; the tags of the match are in [`Self::best`].
    pub(crate) fn find(&mut self, program: &Program, line: &[u8]) -> bool {
        let width = program.tags();
        self.best.clear();
        let mut found = false;
        self.following.clear(program);
        self.tags.clear();
        self.tags.resize(width, UNSET);
        // The first position may be inside of a character that was cut in two.
        self.tags[0] = 0;
        self.spread(program, program.start, line, 0);
        self.tags[0] = UNSET;
        if !program.anchored {
            self.spread(program, program.search, line, 0);
        }
        std::mem::swap(&mut self.current, &mut self.following);
        for position in 0..=line.len() {
            self.following.clear(program);
            for index in 0..self.current.addresses.len() {
                let tags = index * width..(index + 1) * width;
                match program.instructions[self.current.addresses[index] as usize] {
                    Instruction::Byte { set, next } => {
                        if position < line.len() && program.next_in(set, line, position) {
                            self.tags.copy_from_slice(&self.current.tags[tags]);
                            self.spread(program, next, line, position + 1);
                        }
                    }
                    _ => {
                        found = true;
                        self.best.clear();
                        self.best.extend_from_slice(&self.current.tags[tags]);
                        break;
                    }
                }
            }
            std::mem::swap(&mut self.current, &mut self.following);
            if self.current.addresses.is_empty() {
                break;
            }
        }
        found
    }

    /// Bytes that are kept from line to line.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        let list =
            |list: &List| list.addresses.capacity() + list.tags.capacity() + list.seen.capacity();
        let numbers = list(&self.current)
            + list(&self.following)
            + self.tags.capacity()
            + self.best.capacity();
        numbers * size_of::<u32>() + self.stack.capacity() * size_of::<Pending>()
    }

    /// The positions that the last match left.
    pub(crate) fn best(&self) -> &[u32] {
        &self.best
    }

    /// Adds the threads that can be reached without a byte, with the tags as they are now.
    fn spread(&mut self, program: &Program, address: Address, line: &[u8], position: usize) {
        let list = &mut self.following;
        self.stack.push(Pending::Way(address));
        while let Some(pending) = self.stack.pop() {
            let mut address = match pending {
                Pending::Way(address) => address,
                Pending::Restore { tag, value } => {
                    self.tags[tag as usize] = value;
                    continue;
                }
            };
            while list.see(address) {
                let (holds, next) = match program.instructions[address as usize] {
                    Instruction::Byte { .. } | Instruction::Match => {
                        list.addresses.push(address);
                        list.tags.extend_from_slice(&self.tags);
                        break;
                    }
                    Instruction::Split { first, second }
                    | Instruction::LoopEnd { first, second, .. } => {
                        self.stack.push(Pending::Way(second));
                        (true, first)
                    }
                    Instruction::Tag { tag, next } => {
                        let value =
                            std::mem::replace(&mut self.tags[tag as usize], position as u32);
                        self.stack.push(Pending::Restore { tag, value });
                        (true, next)
                    }
                    Instruction::Ahead { set, next } => {
                        (program.next_in(set, line, position), next)
                    }
                    Instruction::Behind { set, next } => {
                        (program.previous_in(set, line, position), next)
                    }
                    Instruction::Word { negative, next } => {
                        (is_word_boundary(line, position) != negative, next)
                    }
                    Instruction::AheadSequence { sequence, next } => {
                        (program.sequence_holds(sequence, line, position), next)
                    }
                    Instruction::LoopStart { next, .. } => (true, next),
                    // INVARIANT: irregular programs are not given to this engine.
                    Instruction::Fail
                    | Instruction::Look { .. }
                    | Instruction::Atomic { .. }
                    | Instruction::BackReference { .. } => (false, address),
                };
                if !holds {
                    break;
                }
                address = next;
            }
        }
    }
}
