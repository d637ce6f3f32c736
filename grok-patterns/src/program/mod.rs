//! The compiled form that every engine runs: instructions over bytes.
//!
//! A character is one byte below 128, or a byte from 128 up with the continuation bytes
//! (`80`-`BF`) after it; in UTF-8 text that is the usual meaning, and in other text it is a rule
//! under which `.` and negated classes reach every byte. Classes with some but not all of the
//! characters from 128 up become the exact byte sequences of UTF-8.
//!
//! INVARIANT: priorities are in the order of the branches of [`Instruction::Split`], first one
//! first; every engine keeps them, so that all find the same leftmost-first match.

mod build;
mod characters;
mod commit;
mod look;
mod simplify;

#[cfg(test)]
pub(crate) use build::build_literally;
pub(crate) use build::{build, build_relaxed};
pub(crate) use look::is_rigid;

use crate::syntax::{ByteSet, EDGE};

/// Index of an instruction.
pub(crate) type Address = u32;

/// One step of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instruction {
    /// Consumes one byte that is in a set.
    Byte { set: u32, next: Address },
    /// Tries one way, then the other.
    Split { first: Address, second: Address },
    /// Notes the position.
    Tag { tag: u32, next: Address },
    /// The next byte, or the end, must be in a set.
    Ahead { set: u32, next: Address },
    /// The byte before, or the start, must be in a set.
    Behind { set: u32, next: Address },
    /// A word boundary, or the opposite; characters from 128 up are looked at as characters.
    Word { negative: bool, next: Address },
    /// The next bytes must (not) be a sequence.
    AheadSequence { sequence: u32, next: Address },
    /// Starts an iteration of a loop whose body may match nothing.
    LoopStart { slot: u32, next: Address },
    /// Ends such an iteration; the loop is left when the iteration matched nothing.
    LoopEnd {
        slot: u32,
        first: Address,
        second: Address,
        again: Address,
    },
    /// A match.
    Match,
    /// No match this way.
    Fail,
    /// Look-around that only the backtracking engine can run. The body ends in its own `Match`.
    Look {
        look: u32,
        body: Address,
        next: Address,
    },
    /// A group that gives nothing back; only the backtracking engine can run it.
    Atomic { body: Address, next: Address },
    /// Text of a group again; only the backtracking engine can run it.
    BackReference { reference: u32, next: Address },
}

/// A sequence of bytes that must, or must not, follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) negative: bool,
    pub(crate) sets: Vec<u32>,
}

/// Look-around of the backtracking engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) negative: bool,
    /// For look-behind: the least and the most bytes it can span.
    pub(crate) behind: Option<(usize, usize)>,
}

/// A back-reference of the backtracking engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) groups: Vec<u32>,
    pub(crate) ignore_case: bool,
}

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) instructions: Vec<Instruction>,
    pub(crate) sets: Vec<ByteSet>,
    pub(crate) sequences: Vec<Sequence>,
    pub(crate) looks: Vec<Look>,
    pub(crate) references: Vec<Reference>,
    /// Where a match that begins right here starts.
    pub(crate) start: Address,
    /// Where a search that may skip text starts; tag 0 is where the match begins.
    pub(crate) search: Address,
    /// Number of groups; group `g` has the tags `2g + 1` and `2g + 2`.
    pub(crate) groups: usize,
    /// Groups that end where the text ends.
    pub(crate) to_end: Vec<bool>,
    /// Number of loops with an empty-iteration check.
    pub(crate) loops: usize,
    /// Why an automaton cannot run it, if so.
    pub(crate) irregular: Option<String>,
    /// A match can only begin at the start of the text.
    pub(crate) anchored: bool,
}

impl Program {
    /// Number of tags, tag 0 included.
    pub(crate) fn tags(&self) -> usize {
        2 * self.groups + 1
    }

    /// Whether the unit after a position is in a set.
    pub(crate) fn next_in(&self, set: u32, line: &[u8], position: usize) -> bool {
        let unit = line.get(position).map_or(EDGE, |byte| usize::from(*byte));
        self.sets[set as usize].contains(unit)
    }

    /// Whether the unit before a position is in a set.
    pub(crate) fn previous_in(&self, set: u32, line: &[u8], position: usize) -> bool {
        let unit = match position.checked_sub(1) {
            Some(before) => usize::from(line[before]),
            None => EDGE,
        };
        self.sets[set as usize].contains(unit)
    }

    /// Whether a sequence condition holds at a position.
    pub(crate) fn sequence_holds(&self, sequence: u32, line: &[u8], position: usize) -> bool {
        let sequence = &self.sequences[sequence as usize];
        let present = sequence.sets.iter().enumerate().all(|(offset, set)| {
            position + offset <= line.len() && self.next_in(*set, line, position + offset)
        });
        present != sequence.negative
    }
}

/// Whether a position is in the middle of a character, where no match begins.
pub(crate) fn is_inside(line: &[u8], position: usize) -> bool {
    line.get(position).is_some_and(|byte| byte & 0xC0 == 0x80)
}

/// Whether a position is a word boundary, looking at whole characters.
pub(crate) fn is_word_boundary(line: &[u8], position: usize) -> bool {
    is_word_before(line, position) != is_word_after(line, position)
}

fn is_word_before(line: &[u8], position: usize) -> bool {
    let before = &line[..position];
    match before.last() {
        None => false,
        Some(byte) if byte.is_ascii() => is_word_byte(*byte),
        Some(_) => {
            let floor = before.len().saturating_sub(4);
            let start = (floor..before.len())
                .rev()
                .find(|at| before[*at] & 0xC0 != 0x80);
            start.is_some_and(|start| decoded_is_word(&before[start..], true))
        }
    }
}

fn is_word_after(line: &[u8], position: usize) -> bool {
    match line.get(position) {
        None => false,
        Some(byte) if byte.is_ascii() => is_word_byte(*byte),
        Some(_) => decoded_is_word(&line[position..line.len().min(position + 4)], false),
    }
}

pub(crate) fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn decoded_is_word(bytes: &[u8], whole: bool) -> bool {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) if whole => return false,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    };
    let Some(character) = text.chars().next() else {
        return false;
    };
    match character {
        // COMPAT: Oniguruma looks characters below 256 up in a table of ISO 8859-1, in which
        // these digits and fractions are word characters.
        '\u{b2}' | '\u{b3}' | '\u{b9}' | '\u{bc}'..='\u{be}' => true,
        // Joiners of letters count elsewhere, not there.
        '\u{200c}' | '\u{200d}' => false,
        _ => regex_syntax::try_is_word_character(character).unwrap_or(false),
    }
}
