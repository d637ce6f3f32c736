//! What the automaton needs to know of a program, worked out once when it is compiled.
//!
//! Bytes that no instruction tells apart form a class, so that a state has one transition for
//! each class and not for each byte. The text's end is the last class.

use crate::{
    program::{Address, Instruction, Program, is_word_byte},
    syntax::{ByteSet, EDGE},
};

/// The byte before is an ASCII word character.
pub(super) const PREVIOUS_WORD: u32 = 1 << 31;
/// The byte before is part of a character from 128 up.
pub(super) const PREVIOUS_WIDE: u32 = 1 << 30;
/// There are bits for this many different look-behind sets.
const MAX_BEHIND_SETS: usize = 30;

/// The analysis of a program.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The class of each byte.
    pub(super) classes: [u8; 256],
    /// One byte of each class; [`EDGE`] for the last.
    pub(super) units: Vec<usize>,
    /// What each class is to look-behind, as bits.
    pub(super) context: Vec<u32>,
    /// The bit of each set that look-behind uses.
    pub(super) behind_bits: Vec<u32>,
    /// The bits that can matter at an address before the next byte.
    pub(super) behind_masks: Vec<u32>,
    /// Addresses from which a match follows whatever comes.
    pub(super) certain: Vec<bool>,
}

impl Plan {
    /// Analyses a program; `None` when it has more look-behind than the automaton can hold.
    pub(crate) fn new(program: &Program) -> Option<Self> {
        let mut behind_bits = vec![0_u32; program.sets.len()];
        let mut behind_sets = Vec::new();
        let mut words = false;
        for instruction in &program.instructions {
            match instruction {
                Instruction::Behind { set, .. } if behind_bits[*set as usize] == 0 => {
                    if behind_sets.len() == MAX_BEHIND_SETS {
                        return None;
                    }
                    behind_bits[*set as usize] = 1 << behind_sets.len();
                    behind_sets.push(program.sets[*set as usize]);
                }
                Instruction::Word { .. } => words = true,
                _ => {}
            }
        }
        let (classes, mut units) = byte_classes(program, words);
        units.push(EDGE);
        let context = units
            .iter()
            .map(|unit| {
                let mut bits = 0;
                for (index, set) in behind_sets.iter().enumerate() {
                    bits |= u32::from(set.contains(*unit)) << index;
                }
                if let Ok(byte) = u8::try_from(*unit) {
                    bits |= if is_word_byte(byte) { PREVIOUS_WORD } else { 0 };
                    bits |= if byte.is_ascii() { 0 } else { PREVIOUS_WIDE };
                }
                bits
            })
            .collect();
        let mut plan = Self {
            classes,
            units,
            context,
            behind_bits,
            behind_masks: vec![0; program.instructions.len()],
            certain: vec![false; program.instructions.len()],
        };
        plan.spread(program);
        Some(plan)
    }

    /// Number of transitions that a state has.
    pub(super) fn stride(&self) -> usize {
        self.units.len()
    }

    /// The class of the byte before a position.
    pub(super) fn class_before(&self, line: &[u8], position: usize) -> usize {
        match position.checked_sub(1) {
            Some(before) => usize::from(self.classes[usize::from(line[before])]),
            None => self.units.len() - 1,
        }
    }

    /// Carries what an instruction needs back to all that lead to it without a byte.
    fn spread(&mut self, program: &Program) {
        let continuation = ByteSet::from_range(0x80, 0xBF).complement();
        // INVARIANT: instructions mostly come after what they lead to, so few rounds do.
        let mut changed = true;
        while changed {
            changed = false;
            for (address, instruction) in program.instructions.iter().enumerate() {
                let (mut mask, mut certain) = (0, false);
                let mut after = |next: Address, passes: bool| {
                    mask |= self.behind_masks[next as usize];
                    certain |= passes && self.certain[next as usize];
                };
                match *instruction {
                    Instruction::Split { first, second }
                    | Instruction::LoopEnd { first, second, .. } => {
                        after(first, true);
                        after(second, true);
                    }
                    Instruction::Tag { next, .. } | Instruction::LoopStart { next, .. } => {
                        after(next, true);
                    }
                    // Where a character ends is only a matter of how far: a run of continuation
                    // bytes that is not left here is left later.
                    Instruction::Ahead { set, next } => {
                        after(next, program.sets[set as usize] == continuation);
                    }
                    Instruction::AheadSequence { next, .. } => after(next, false),
                    Instruction::Behind { set, next } => {
                        after(next, false);
                        mask |= self.behind_bits[set as usize];
                    }
                    Instruction::Word { next, .. } => {
                        after(next, false);
                        mask |= PREVIOUS_WORD | PREVIOUS_WIDE;
                    }
                    Instruction::Match => certain = true,
                    _ => {}
                }
                if self.behind_masks[address] != mask || self.certain[address] != certain {
                    self.behind_masks[address] = mask;
                    self.certain[address] = certain;
                    changed = true;
                }
            }
        }
    }
}

/// Bytes by what the program can tell of them, and one byte of each class.
fn byte_classes(program: &Program, words: bool) -> ([u8; 256], Vec<usize>) {
    let mut sets = program.sets.clone();
    if words {
        let mut word = ByteSet::default();
        for byte in 0..=255 {
            if is_word_byte(byte) {
                word.insert(usize::from(byte));
            }
        }
        sets.push(word);
    }
    sets.push(ByteSet::from_range(0x80, 0xFF));
    let mut classes = [0_u8; 256];
    let mut count = 1_usize;
    for set in sets {
        // Each class is split in two where the set cuts it.
        let mut renamed = vec![[None::<usize>; 2]; count];
        let mut fresh = 0;
        for (byte, class) in classes.iter_mut().enumerate() {
            let side = &mut renamed[usize::from(*class)][usize::from(set.contains(byte))];
            let name = *side.get_or_insert_with(|| {
                fresh += 1;
                fresh - 1
            });
            *class = name as u8;
        }
        count = fresh;
    }
    let mut units = vec![0; count];
    for (byte, class) in classes.iter().enumerate() {
        units[usize::from(*class)] = byte;
    }
    (classes, units)
}
