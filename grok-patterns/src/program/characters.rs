//! Classes of characters as instructions over bytes.

use std::collections::BTreeMap;

use regex_syntax::utf8::Utf8Sequences;

use super::{
    Address, Instruction,
    build::{Builder, not_continuation},
};
use crate::{
    CompileError,
    syntax::{ByteSet, CharacterClass},
};

/// What is left of a byte sequence.
type Tail<'s> = &'s [(u8, u8)];

impl Builder<'_> {
    pub(super) fn class(
        &mut self,
        class: &CharacterClass,
        next: Address,
    ) -> Result<Address, CompileError> {
        let ascii = class.ascii();
        if class.is_empty() {
            return self.push(Instruction::Fail);
        }
        let above = class.above_ascii();
        if above.is_empty() {
            return self.byte(ascii, next);
        }
        let wide = if class.has_all_above_ascii() {
            // Any byte from 128 up, and then all the continuation bytes there are.
            let rest = self.push(Instruction::Fail)?;
            let first = self.byte(ByteSet::from_range(0x80, 0xBF), rest)?;
            let second = self.ahead(not_continuation(), next)?;
            self.program.instructions[rest as usize] = Instruction::Split { first, second };
            self.byte(ByteSet::from_range(0x80, 0xFF), rest)?
        } else {
            let sequences: Vec<Vec<(u8, u8)>> = above
                .iter()
                .flat_map(|(first, last)| Utf8Sequences::new(*first, *last))
                .map(|sequence| {
                    sequence
                        .as_slice()
                        .iter()
                        .map(|range| (range.start, range.end))
                        .collect()
                })
                .collect();
            let tails: Vec<&[(u8, u8)]> = sequences.iter().map(Vec::as_slice).collect();
            self.sequences(&tails, next, &mut BTreeMap::new())?
        };
        if ascii.is_empty() {
            return Ok(wide);
        }
        let first = self.byte(ascii, next)?;
        self.push(Instruction::Split {
            first,
            second: wide,
        })
    }

    /// Byte sequences as a tree in which equal tails are shared.
    fn sequences<'s>(
        &mut self,
        tails: &[Tail<'s>],
        next: Address,
        known: &mut BTreeMap<Vec<Tail<'s>>, Address>,
    ) -> Result<Address, CompileError> {
        if tails.iter().all(|tail| tail.is_empty()) {
            return Ok(next);
        }
        if let Some(address) = known.get(tails) {
            return Ok(*address);
        }
        // INVARIANT: sequences are sorted and stand for ranges of characters that do not overlap,
        // so that the first bytes of two are the same or have none in common, and equal ones
        // follow each other. Bytes that lead to the same rest share one instruction.
        let mut by_rest: Vec<(Address, ByteSet)> = Vec::new();
        for group in tails.chunk_by(|one, other| one.first() == other.first()) {
            let Some((first, last)) = group[0].first() else {
                continue;
            };
            let after: Vec<Tail<'s>> = group.iter().map(|tail| &tail[1..]).collect();
            let rest = self.sequences(&after, next, known)?;
            match by_rest.iter_mut().find(|(known, _)| *known == rest) {
                Some((_, set)) => set.insert_range(*first, *last),
                None => by_rest.push((rest, ByteSet::from_range(*first, *last))),
            }
        }
        let mut all: Option<Address> = None;
        for (rest, set) in by_rest {
            let first = self.byte(set, rest)?;
            all = Some(match all {
                Some(second) => self.push(Instruction::Split { first, second })?,
                None => first,
            });
        }
        let address = match all {
            Some(address) => address,
            None => self.push(Instruction::Fail)?,
        };
        known.insert(tails.to_vec(), address);
        Ok(address)
    }
}
