//! Making the states and transitions of the automaton as they are needed.

use std::{collections::HashMap, sync::Arc};

use super::{
    Automaton, DEAD, Edge, Follow, NONE, Operation, POSITION, Plan, SPECIAL, State, UNKNOWN,
    plan::{PREVIOUS_WIDE, PREVIOUS_WORD},
    skip::Skipper,
};
use crate::{
    program::{Address, Instruction, Program, is_word_byte},
    syntax::EDGE,
};

/// A version that is not set.
const NEVER: u32 = u32::MAX;
/// The version that this transition makes.
const NEW: u32 = u32::MAX - 1;
/// A skipper is tried when a state has this many transitions to itself.
const STAYING_ENOUGH: u8 = 3;

/// Beyond this many different sets of sequence conditions the automaton gives up: it would have to
/// tell places apart by all of them.
const MAX_OBLIGATIONS: usize = 64;
/// First states that are kept for places other than the start of the program.
const MAX_OTHER_STARTS: usize = 32;

/// Sequence conditions that a place still has to meet: each a sequence and how far it is.
type Obligation = Vec<(u32, u32)>;

/// Memory for determining a transition.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    stack: Vec<Pending>,
    versions: Vec<u32>,
    reached: Seen,
    places: Seen,
    /// The places of the next state, as in a key but with versions not renamed yet.
    entries: Vec<u32>,
    obligations: Vec<Obligation>,
}

#[derive(Debug, Clone, Copy)]
enum Pending {
    Way { address: Address, obligation: u32 },
    Restore { slot: usize, version: u32 },
}

/// Addresses, with their obligations, that were there before.
#[derive(Debug, Default)]
struct Seen {
    plain: Vec<u32>,
    generation: u32,
    obliged: HashMap<Address, Vec<u32>>,
}

impl Seen {
    fn clear(&mut self, length: usize) {
        self.plain.resize(length, 0);
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            self.plain.fill(0);
            self.generation = 1;
        }
        self.obliged.clear();
    }

    /// Whether a way to this address is worth following.
    ///
    /// It is not when a better way got there that has to meet nothing more: whatever this one
    /// finds, that one finds too. So a loop is not gone round again at the same place for the
    /// sake of a condition that was picked up on the way.
    fn insert(&mut self, address: Address, obligation: u32, all: &[Obligation]) -> bool {
        if obligation != 0 {
            if self.plain[address as usize] == self.generation {
                return false;
            }
            let before = self.obliged.entry(address).or_default();
            let wanted = &all[obligation as usize];
            let met = |known: &u32| all[*known as usize].iter().all(|one| wanted.contains(one));
            if before.iter().any(met) {
                return false;
            }
            before.push(obligation);
            return true;
        }
        let seen = &mut self.plain[address as usize];
        std::mem::replace(seen, self.generation) != self.generation
    }
}

/// What became of a way that the program allows.
enum Step {
    On(Address, u32),
    Stop,
    Accept,
    GiveUp,
}

impl Automaton {
    /// The state that a search starts in after a byte of this class.
    pub(super) fn start(&mut self, plan: &Plan, program: &Program, class: usize) -> u32 {
        if self.starts.is_empty() {
            self.starts = vec![NONE; plan.stride()];
        }
        if self.starts[class] != NONE {
            return self.starts[class];
        }
        let state = self.first_state(plan, self.root(program), class);
        self.starts[class] = state;
        state
    }

    /// The state of being at an address only, after a byte of this class.
    pub(super) fn start_at(&mut self, plan: &Plan, address: Address, class: usize) -> u32 {
        let known = self
            .other_starts
            .iter()
            .find(|known| (known.0, known.1) == (address, class));
        if let Some((_, _, state)) = known {
            return *state;
        }
        let state = self.first_state(plan, address, class);
        if self.other_starts.len() < MAX_OTHER_STARTS {
            self.other_starts.push((address, class, state));
        }
        state
    }

    fn first_state(&mut self, plan: &Plan, address: Address, class: usize) -> u32 {
        let mut key = vec![
            plan.context[class] & plan.behind_masks[address as usize],
            address,
            0,
        ];
        key.resize(3 + self.width, NEVER);
        self.intern(plan, key.into())
    }

    /// The number of a state, which is the offset of its row.
    fn intern(&mut self, plan: &Plan, key: Arc<[u32]>) -> u32 {
        if let Some(state) = self.known.get(&key) {
            return *state;
        }
        let state = self.transitions.len() as u32;
        self.transitions
            .resize(self.transitions.len() + plan.stride(), UNKNOWN);
        self.bytes += 4 * plan.stride() + 4 * key.len() + size_of::<State>() + 64;
        self.states.push(State {
            key: Arc::clone(&key),
            staying: 0,
            skipper: NONE,
        });
        self.known.insert(key, state);
        state
    }

    /// Makes a transition, or gives up. States may get new numbers; that of the one before the
    /// transition is of no use any more.
    pub(super) fn determine(
        &mut self,
        plan: &Plan,
        program: &Program,
        mut state: usize,
        class: usize,
    ) -> Option<u32> {
        if self.bytes > self.max_bytes {
            let key = Arc::clone(&self.states[state / plan.stride()].key);
            self.clear();
            state = self.intern(plan, key) as usize;
        }
        let transition = self.make(plan, program, state, class)?;
        self.transitions[state + class] = transition;
        if transition as usize == state {
            self.consider_skipper(plan, program, state);
        }
        Some(self.transitions[state + class])
    }

    fn make(&mut self, plan: &Plan, program: &Program, state: usize, class: usize) -> Option<u32> {
        let key = Arc::clone(&self.states[state / plan.stride()].key);
        let unit = plan.units[class];
        let mut work = std::mem::take(&mut self.workspace);
        let accepted = work.follow_all(plan, program, &key, unit, self.width, self.follow);
        let transition = accepted.map(|accepted| {
            let accepted = accepted.then_some(work.versions.as_slice());
            self.finish(plan, &work.entries, accepted, class)
        });
        self.workspace = work;
        transition
    }

    /// Renames versions, finds the target state and writes down the operations.
    fn finish(
        &mut self,
        plan: &Plan,
        entries: &[u32],
        accepted: Option<&[u32]>,
        class: usize,
    ) -> u32 {
        let width = self.width;
        let size = width + 2;
        let acceptance =
            match accepted {
                None => NONE,
                Some(versions) => {
                    let start = self.acceptances.len();
                    self.acceptances
                        .extend(versions.iter().enumerate().map(
                            |(slot, version)| match *version {
                                NEVER => NONE,
                                NEW => POSITION,
                                version => version * width as u32 + slot as u32,
                            },
                        ));
                    self.bytes += 4 * width;
                    start as u32
                }
            };
        let (target, operations, operations_end, overlapping) = if entries.is_empty() {
            (NONE, 0, 0, false)
        } else {
            let mut key = Vec::with_capacity(1 + entries.len());
            let mut mask = 0;
            for entry in entries.chunks_exact(size) {
                mask |= plan.behind_masks[entry[0] as usize];
            }
            key.push(plan.context[class] & mask);
            key.extend_from_slice(entries);
            if self.follow == Follow::Presence {
                sort_places(&mut key[1..]);
            }
            let start = self.operations.len();
            let overlapping = self.rename(&mut key[1..]);
            let target = self.intern(plan, key.into());
            (
                target,
                start as u32,
                self.operations.len() as u32,
                overlapping,
            )
        };
        if target == NONE && acceptance == NONE {
            return DEAD;
        }
        let skipper = match target {
            NONE => NONE,
            target => self.states[target as usize / plan.stride()].skipper,
        };
        if acceptance == NONE && operations == operations_end && skipper == NONE {
            return target;
        }
        self.push_edge(Edge {
            target,
            operations,
            operations_end,
            overlapping,
            acceptance,
            skipper,
        })
    }

    fn push_edge(&mut self, edge: Edge) -> u32 {
        self.bytes += size_of::<Edge>();
        self.edges.push(edge);
        SPECIAL | (self.edges.len() as u32 - 1)
    }

    /// Gives versions the numbers 0, 1, 2… in the order in which they come, so that states that
    /// differ in nothing else are one, and notes the operations that this takes.
    fn rename(&mut self, entries: &mut [u32]) -> bool {
        let width = self.width;
        let size = width + 2;
        let start = self.operations.len();
        let mut sets = Vec::new();
        let mut names: Vec<u32> = Vec::new();
        for slot in 0..width {
            names.clear();
            for entry in entries.chunks_exact_mut(size) {
                let version = entry[2 + slot];
                if version == NEVER {
                    continue;
                }
                let name = names
                    .iter()
                    .rposition(|known| *known == version)
                    .unwrap_or_else(|| {
                        names.push(version);
                        names.len() - 1
                    });
                entry[2 + slot] = name as u32;
            }
            for (name, version) in names.iter().enumerate() {
                let register = (name * width + slot) as u32;
                if self.registers.len() <= register as usize {
                    self.registers.resize(register as usize + 1, 0);
                }
                if *version == NEW {
                    sets.push(Operation {
                        register,
                        source: POSITION,
                    });
                } else if *version as usize != name {
                    let source = *version * width as u32 + slot as u32;
                    self.operations.push(Operation { register, source });
                }
            }
        }
        // Positions are set last, when all copies have been read.
        let copies = &self.operations[start..];
        let overlapping = copies.iter().enumerate().any(|(index, copy)| {
            copies[index + 1..]
                .iter()
                .any(|later| later.source == copy.register)
        });
        self.bytes += size_of::<Operation>() * (copies.len() + sets.len());
        self.operations.extend(sets);
        overlapping
    }

    /// Tries to find a quick way out of a state that leads to itself.
    fn consider_skipper(&mut self, plan: &Plan, program: &Program, state: usize) {
        let row = state / plan.stride();
        self.states[row].staying = self.states[row].staying.saturating_add(1);
        if self.states[row].staying != STAYING_ENOUGH || self.states[row].skipper != NONE {
            return;
        }
        for class in 0..plan.stride() - 1 {
            if self.transitions[state + class] == UNKNOWN
                && let Some(transition) = self.make(plan, program, state, class)
            {
                self.transitions[state + class] = transition;
            }
        }
        let mut leaving = [false; 256];
        for (byte, leaves) in leaving.iter_mut().enumerate() {
            let class = usize::from(plan.classes[byte]);
            *leaves = self.transitions[state + class] as usize != state;
        }
        let Some(skipper) = Skipper::new(&leaving) else {
            return;
        };
        let skipper_index = self.skippers.len() as u32;
        self.skippers.push(skipper);
        self.states[row].skipper = skipper_index;
        for edge in &mut self.edges {
            if edge.target as usize == state {
                edge.skipper = skipper_index;
            }
        }
        // Plain transitions from elsewhere now have to run the skipper.
        let into = self.push_edge(Edge {
            target: state as u32,
            operations: 0,
            operations_end: 0,
            overlapping: false,
            acceptance: NONE,
            skipper: skipper_index,
        });
        let own_row = state..state + plan.stride();
        for (index, transition) in self.transitions.iter_mut().enumerate() {
            if *transition as usize == state && !own_row.contains(&index) {
                *transition = into;
            }
        }
    }
}

impl Workspace {
    /// Follows every place of a state over one unit. Leaves the places of the next state in
    /// `entries`, and if this is a match, its versions in `versions`; `None` is giving up.
    fn follow_all(
        &mut self,
        plan: &Plan,
        program: &Program,
        key: &[u32],
        unit: usize,
        width: usize,
        follow: Follow,
    ) -> Option<bool> {
        self.entries.clear();
        self.reached.clear(program.instructions.len());
        self.places.clear(program.instructions.len());
        if self.obligations.is_empty() {
            self.obligations.push(Vec::new());
        }
        let context = key[0];
        for entry in key[1..].chunks_exact(width + 2) {
            let Some(obligation) = self.advance(program, entry[1], unit) else {
                continue;
            };
            self.versions.clear();
            self.versions.extend_from_slice(&entry[2..]);
            self.stack.clear();
            self.stack.push(Pending::Way {
                address: entry[0],
                obligation,
            });
            while let Some(pending) = self.stack.pop() {
                let (mut address, mut obligation) = match pending {
                    Pending::Way {
                        address,
                        obligation,
                    } => (address, obligation),
                    Pending::Restore { slot, version } => {
                        self.versions[slot] = version;
                        continue;
                    }
                };
                while self.reached.insert(address, obligation, &self.obligations) {
                    match self.step(plan, program, address, obligation, unit, context, follow) {
                        Step::On(next, obliged) => (address, obligation) = (next, obliged),
                        Step::Stop => break,
                        Step::Accept if follow == Follow::Presence => {
                            self.entries.clear();
                            return Some(true);
                        }
                        Step::Accept => return Some(!self.match_is_certain(plan, width)),
                        Step::GiveUp => return None,
                    }
                }
            }
        }
        Some(false)
    }

    /// Whether a better way than this match will be a match too, so that this one need not be
    /// noted. Otherwise every byte of a last `.*` would be.
    fn match_is_certain(&self, plan: &Plan, width: usize) -> bool {
        self.entries
            .chunks_exact(width + 2)
            .any(|entry| entry[1] == 0 && plan.certain[entry[0] as usize])
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one step of one way, called in one place"
    )]
    fn step(
        &mut self,
        plan: &Plan,
        program: &Program,
        address: Address,
        obligation: u32,
        unit: usize,
        context: u32,
        follow: Follow,
    ) -> Step {
        let (holds, next) = match program.instructions[address as usize] {
            Instruction::Byte { set, next } => {
                if unit != EDGE && program.sets[set as usize].contains(unit) {
                    self.arrive(next, obligation);
                }
                return Step::Stop;
            }
            Instruction::Split { first, second } | Instruction::LoopEnd { first, second, .. } => {
                self.stack.push(Pending::Way {
                    address: second,
                    obligation,
                });
                (true, first)
            }
            Instruction::Tag { tag, next } => {
                let slot = match (follow, tag) {
                    (Follow::Start, 0) | (Follow::End, 2) => Some(0),
                    (Follow::Start | Follow::End | Follow::Presence, _) | (Follow::Groups, 0) => {
                        None
                    }
                    (Follow::Groups, tag) => Some(tag as usize - 1),
                };
                if let Some(slot) = slot {
                    let version = std::mem::replace(&mut self.versions[slot], NEW);
                    self.stack.push(Pending::Restore { slot, version });
                }
                (true, next)
            }
            Instruction::Ahead { set, next } => (program.sets[set as usize].contains(unit), next),
            Instruction::Behind { set, next } => {
                (context & plan.behind_bits[set as usize] != 0, next)
            }
            Instruction::Word { negative, next } => {
                let wide = unit != EDGE && unit >= 0x80;
                if wide || context & PREVIOUS_WIDE != 0 {
                    return match follow {
                        Follow::Presence => Step::On(next, obligation),
                        _ => Step::GiveUp,
                    };
                }
                let before = context & PREVIOUS_WORD != 0;
                let after = u8::try_from(unit).is_ok_and(is_word_byte);
                ((before != after) != negative, next)
            }
            Instruction::AheadSequence { .. } if self.obligations.len() > MAX_OBLIGATIONS => {
                return Step::GiveUp;
            }
            Instruction::AheadSequence { sequence, next } => {
                match self.oblige(program, obligation, sequence, unit) {
                    Some(obligation) => return Step::On(next, obligation),
                    None => (false, next),
                }
            }
            Instruction::LoopStart { next, .. } => (true, next),
            Instruction::Match if obligation == 0 => return Step::Accept,
            // A match if what follows is as it must be.
            Instruction::Match => {
                self.arrive(address, obligation);
                return Step::Stop;
            }
            // INVARIANT: irregular programs are not given to this engine.
            Instruction::Fail
            | Instruction::Look { .. }
            | Instruction::Atomic { .. }
            | Instruction::BackReference { .. } => return Step::Stop,
        };
        if holds {
            Step::On(next, obligation)
        } else {
            Step::Stop
        }
    }

    fn arrive(&mut self, address: Address, obligation: u32) {
        if self.places.insert(address, obligation, &self.obligations) {
            self.entries.extend([address, obligation]);
            self.entries.extend_from_slice(&self.versions);
        }
    }

    /// What is left of an obligation after a unit; `None` when it is not met.
    fn advance(&mut self, program: &Program, obligation: u32, unit: usize) -> Option<u32> {
        if obligation == 0 {
            return Some(0);
        }
        let mut left = Obligation::new();
        for index in 0..self.obligations[obligation as usize].len() {
            let (sequence, done) = self.obligations[obligation as usize][index];
            left.extend(advance_one(program, sequence, done, unit)?);
        }
        Some(self.intern(left))
    }

    /// Adds a sequence condition that begins with this unit.
    fn oblige(
        &mut self,
        program: &Program,
        obligation: u32,
        sequence: u32,
        unit: usize,
    ) -> Option<u32> {
        let Some(more) = advance_one(program, sequence, 0, unit)? else {
            return Some(obligation);
        };
        let mut all = self.obligations[obligation as usize].clone();
        if !all.contains(&more) {
            all.push(more);
            all.sort_unstable();
        }
        Some(self.intern(all))
    }

    fn intern(&mut self, obligation: Obligation) -> u32 {
        let known = self
            .obligations
            .iter()
            .position(|known| *known == obligation);
        let index = known.unwrap_or_else(|| {
            self.obligations.push(obligation);
            self.obligations.len() - 1
        });
        index as u32
    }
}

/// Puts places without versions into the order of their addresses.
fn sort_places(places: &mut [u32]) {
    let (pairs, _) = places.as_chunks_mut::<2>();
    pairs.sort_unstable();
}

/// One sequence condition over one unit: `None` when it fails, `Some(None)` when it is met.
#[expect(
    clippy::option_option,
    reason = "failed, met, and how far are three things"
)]
fn advance_one(
    program: &Program,
    sequence: u32,
    done: u32,
    unit: usize,
) -> Option<Option<(u32, u32)>> {
    let condition = &program.sequences[sequence as usize];
    let set = condition.sets[done as usize];
    let fits = program.sets[set as usize].contains(unit);
    let last = done as usize + 1 == condition.sets.len() || unit == EDGE;
    // At the end of the text nothing can follow, so that an unfinished sequence is not there.
    let present = fits && done as usize + 1 == condition.sets.len();
    match (fits && !last, condition.negative) {
        (true, _) => Some(Some((sequence, done + 1))),
        (false, negative) => (present != negative).then_some(None),
    }
}
