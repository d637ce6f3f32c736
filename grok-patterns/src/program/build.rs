//! From the tree to the program.
//!
//! Code is laid down from the end: each node is given the address that follows it, so that only
//! loops need patching. Look-around, atomic groups and possessive quantifiers that an automaton
//! can do are lowered here to conditions on neighbouring bytes; the others mark the program as
//! irregular, with the reason.

use std::collections::BTreeMap;

use super::{
    Address, Instruction, Look, Program, Reference, Sequence,
    commit::committed,
    look::{
        Behind, byte_behind, captured_rest, first_bytes, is_nullable, lengths, sequences_ahead,
    },
    simplify::simplified,
};
use crate::{
    CompileError, CompileOptions,
    syntax::{Assertion, ByteSet, CharacterClass, EDGE, Node, Parsed, RepeatKind},
};

/// Compiles a tree.
pub(crate) fn build(parsed: &Parsed, options: &CompileOptions) -> Result<Program, CompileError> {
    let groups = parsed.captures.len() + parsed.hidden_groups as usize;
    compile(parsed, options, groups, Form::Rewritten)
}

/// Compiles a tree with every look-around and atomic group as it was written, to compare with.
#[cfg(test)]
pub(crate) fn build_literally(
    parsed: &Parsed,
    options: &CompileOptions,
) -> Result<Program, CompileError> {
    let groups = parsed.captures.len() + parsed.hidden_groups as usize;
    compile(parsed, options, groups, Form::Literal)
}

/// Compiles a tree to a program that matches wherever the real one does, and maybe elsewhere.
///
/// It has no groups, no large counts, no wide look-around and no back-references, so that it is
/// small, and so is its automaton. A line that it does not match need not be looked at further.
pub(crate) fn build_relaxed(
    parsed: &Parsed,
    options: &CompileOptions,
) -> Result<Program, CompileError> {
    compile(parsed, options, 0, Form::Relaxed)
}

/// What a tree is compiled to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// For the automaton, if there is any way to get there.
    Rewritten,
    /// See [`build_relaxed`].
    Relaxed,
    #[cfg(test)]
    Literal,
}

fn compile(
    parsed: &Parsed,
    options: &CompileOptions,
    groups: usize,
    form: Form,
) -> Result<Program, CompileError> {
    let mut builder = Builder {
        program: Program {
            instructions: Vec::new(),
            sets: Vec::new(),
            sequences: Vec::new(),
            looks: Vec::new(),
            references: Vec::new(),
            start: 0,
            search: 0,
            groups,
            to_end: vec![false; groups],
            loops: 0,
            irregular: None,
            anchored: false,
        },
        known_sets: BTreeMap::new(),
        options,
        relaxed: form == Form::Relaxed,
        #[cfg(test)]
        literal: form == Form::Literal,
    };
    let simpler = match form {
        #[cfg(test)]
        Form::Literal => None,
        _ => simplified(&parsed.node),
    };
    let node = simpler.as_ref().unwrap_or(&parsed.node);
    builder.program.anchored = is_anchored(node);
    let end = builder.push(Instruction::Match)?;
    let start = builder.emit(node, end)?;
    builder.program.start = start;
    // A search tries here first, then skips a byte; it never begins inside of a character.
    let begin = builder.push(Instruction::Tag {
        tag: 0,
        next: start,
    })?;
    let first = builder.ahead(not_continuation(), begin)?;
    let search = builder.push(Instruction::Fail)?;
    let second = builder.byte(ByteSet::from_range(0, 0xFF), search)?;
    builder.program.instructions[search as usize] = Instruction::Split { first, second };
    builder.program.search = search;
    Ok(builder.program)
}

pub(super) fn not_continuation() -> ByteSet {
    ByteSet::from_range(0x80, 0xBF).complement()
}

/// Whether a match can only begin at the start of the text.
fn is_anchored(node: &Node) -> bool {
    match node {
        Node::Assertion(Assertion::TextStart) => true,
        Node::Concat(nodes) => nodes.first().is_some_and(is_anchored),
        Node::Alternate(nodes) => nodes.iter().all(is_anchored),
        Node::Repeat { node, min, .. } => *min > 0 && is_anchored(node),
        Node::Group { node, .. } | Node::Atomic(node) => is_anchored(node),
        _ => false,
    }
}

/// A relaxed program counts no further than this.
const RELAXED_COUNT: u32 = 4;

pub(super) struct Builder<'a> {
    pub(super) program: Program,
    known_sets: BTreeMap<ByteSet, u32>,
    options: &'a CompileOptions,
    relaxed: bool,
    #[cfg(test)]
    literal: bool,
}

impl Builder<'_> {
    pub(super) fn push(&mut self, instruction: Instruction) -> Result<Address, CompileError> {
        if self.program.instructions.len() >= self.options.max_instructions {
            return Err(CompileError::TooLarge {
                what: "the compiled expression, in instructions,".to_owned(),
                option: "max_instructions",
                limit: self.options.max_instructions,
            });
        }
        self.program.instructions.push(instruction);
        Ok(self.program.instructions.len() as Address - 1)
    }

    fn set(&mut self, set: ByteSet) -> u32 {
        let fresh = self.program.sets.len() as u32;
        let index = *self.known_sets.entry(set).or_insert(fresh);
        if index == fresh {
            self.program.sets.push(set);
        }
        index
    }

    /// The number of a sequence; equal ones share one, so that the copies of a repeated condition
    /// are one condition to the automaton.
    fn sequence(&mut self, sequence: Sequence) -> u32 {
        let sequences = &mut self.program.sequences;
        let known = sequences.iter().position(|known| *known == sequence);
        known.unwrap_or_else(|| {
            sequences.push(sequence);
            sequences.len() - 1
        }) as u32
    }

    pub(super) fn byte(&mut self, set: ByteSet, next: Address) -> Result<Address, CompileError> {
        let set = self.set(set);
        self.push(Instruction::Byte { set, next })
    }

    pub(super) fn ahead(&mut self, set: ByteSet, next: Address) -> Result<Address, CompileError> {
        let set = self.set(set);
        self.push(Instruction::Ahead { set, next })
    }

    fn behind(&mut self, set: ByteSet, next: Address) -> Result<Address, CompileError> {
        let set = self.set(set);
        self.push(Instruction::Behind { set, next })
    }

    fn irregular(&mut self, reason: &str) {
        if self.program.irregular.is_none() {
            self.program.irregular = Some(reason.to_owned());
        }
    }

    fn emit(&mut self, node: &Node, next: Address) -> Result<Address, CompileError> {
        #[cfg(test)]
        if self.literal
            && let Some(address) = self.emit_literally(node, next)?
        {
            return Ok(address);
        }
        match node {
            Node::Empty => Ok(next),
            Node::Class(class) => self.class(class, next),
            Node::Concat(nodes) => nodes
                .iter()
                .rev()
                .try_fold(next, |next, node| self.emit(node, next)),
            Node::Alternate(nodes) => {
                let mut all: Option<Address> = None;
                for node in nodes.iter().rev() {
                    let first = self.emit(node, next)?;
                    all = Some(match all {
                        Some(second) => self.push(Instruction::Split { first, second })?,
                        None => first,
                    });
                }
                Ok(all.unwrap_or(next))
            }
            Node::Repeat { node, min, max, .. } if self.relaxed => {
                let (min, max) = match max {
                    Some(max) if *max <= RELAXED_COUNT => (*min, Some(*max)),
                    _ => ((*min).min(RELAXED_COUNT), None),
                };
                self.repeat(node, min, max, RepeatKind::Greedy, next)
            }
            Node::Repeat {
                node,
                min,
                max,
                kind,
            } => self.repeat(node, *min, *max, *kind, next),
            Node::Group { node, .. } | Node::Atomic(node) if self.relaxed => self.emit(node, next),
            Node::Look { ahead, .. } if self.relaxed && is_wide(node, *ahead) => Ok(next),
            Node::BackReference { .. } if self.relaxed => {
                let any = Node::Class(CharacterClass::any());
                self.repeat(&any, 0, None, RepeatKind::Greedy, next)
            }
            Node::Group { group, node } => {
                let close = self.push(Instruction::Tag {
                    tag: 2 * group + 2,
                    next,
                })?;
                let inside = self.emit(node, close)?;
                self.push(Instruction::Tag {
                    tag: 2 * group + 1,
                    next: inside,
                })
            }
            Node::Assertion(assertion) => self.assertion(*assertion, next),
            Node::Look {
                ahead: true,
                negative,
                node,
            } => self.look_ahead(node, *negative, next),
            Node::Look {
                ahead: false,
                negative,
                node,
            } => self.look_behind(node, *negative, next),
            Node::Atomic(node) => self.atomic(node, next),
            Node::BackReference {
                groups,
                ignore_case,
            } => {
                self.irregular("a back-reference");
                let reference = self.program.references.len() as u32;
                self.program.references.push(Reference {
                    groups: groups.clone(),
                    ignore_case: *ignore_case,
                });
                self.push(Instruction::BackReference { reference, next })
            }
        }
    }

    /// Look-around and atomic groups as the backtracking engine runs them.
    #[cfg(test)]
    fn emit_literally(
        &mut self,
        node: &Node,
        next: Address,
    ) -> Result<Option<Address>, CompileError> {
        let atomic = match node {
            Node::Look {
                ahead,
                negative,
                node,
            } => {
                self.irregular("look-around");
                let look = Look {
                    negative: *negative,
                    behind: if *ahead { None } else { lengths(node) },
                };
                return self.look(node, look, next).map(Some);
            }
            Node::Repeat {
                node,
                min,
                max,
                kind: RepeatKind::Possessive,
            } => Node::Repeat {
                node: node.clone(),
                min: *min,
                max: *max,
                kind: RepeatKind::Greedy,
            },
            Node::Atomic(node) => (**node).clone(),
            _ => return Ok(None),
        };
        self.irregular("an atomic group");
        let end = self.push(Instruction::Match)?;
        let body = self.emit(&atomic, end)?;
        self.push(Instruction::Atomic { body, next }).map(Some)
    }

    fn assertion(&mut self, assertion: Assertion, next: Address) -> Result<Address, CompileError> {
        let mut edge = ByteSet::default();
        edge.insert(EDGE);
        let mut line_edge = edge;
        line_edge.insert(usize::from(b'\n'));
        match assertion {
            // COMPAT: no line begins at the very end of the text, after its last newline.
            Assertion::LineStart if self.relaxed || self.takes_a_byte(next, 8) => {
                self.behind(line_edge, next)
            }
            Assertion::LineStart => {
                let first = self.ahead(edge.complement(), next)?;
                let second = self.behind(edge, next)?;
                let inside = self.push(Instruction::Split { first, second })?;
                self.behind(line_edge, inside)
            }
            Assertion::LineEnd => self.ahead(line_edge, next),
            Assertion::TextStart => self.behind(edge, next),
            Assertion::TextEnd => self.ahead(edge, next),
            Assertion::TextEndOrLastNewline if self.relaxed => self.ahead(line_edge, next),
            Assertion::TextEndOrLastNewline => {
                let newline = self.set(ByteSet::from_range(b'\n', b'\n'));
                let end = self.set(edge);
                let first = self.ahead(edge, next)?;
                let sequence = self.sequence(Sequence {
                    negative: false,
                    sets: vec![newline, end],
                });
                let second = self.push(Instruction::AheadSequence { sequence, next })?;
                self.push(Instruction::Split { first, second })
            }
            Assertion::WordBoundary => self.push(Instruction::Word {
                negative: false,
                next,
            }),
            Assertion::NotWordBoundary => self.push(Instruction::Word {
                negative: true,
                next,
            }),
        }
    }

    /// Whether every way from here begins with a byte, as far as a few instructions tell.
    fn takes_a_byte(&self, address: Address, depth: usize) -> bool {
        match self.program.instructions[address as usize] {
            Instruction::Byte { .. } => true,
            _ if depth == 0 => false,
            Instruction::Tag { next, .. }
            | Instruction::Behind { next, .. }
            | Instruction::Word { next, .. } => self.takes_a_byte(next, depth - 1),
            Instruction::Split { first, second } => {
                self.takes_a_byte(first, depth - 1) && self.takes_a_byte(second, depth - 1)
            }
            _ => false,
        }
    }

    fn split(&mut self, lazy: bool, again: Address, out: Address) -> Result<Address, CompileError> {
        let (first, second) = if lazy { (out, again) } else { (again, out) };
        self.push(Instruction::Split { first, second })
    }

    fn repeat(
        &mut self,
        node: &Node,
        min: u32,
        max: Option<u32>,
        kind: RepeatKind,
        next: Address,
    ) -> Result<Address, CompileError> {
        if max == Some(0) {
            return Ok(next);
        }
        let lazy = kind == RepeatKind::Lazy;
        let bytes = match node {
            Node::Class(class) => class.as_bytes(),
            _ => None,
        };
        // Where the repetition may stop before it has taken all it may.
        let mut out = next;
        if kind == RepeatKind::Possessive && max != Some(min) {
            match bytes {
                // Keeping all is the same as not stopping before one more.
                Some(bytes) => out = self.ahead(bytes.complement(), next)?,
                None => {
                    let node = Box::new(node.clone());
                    let plain = Node::Repeat {
                        node,
                        min,
                        max,
                        kind: RepeatKind::Greedy,
                    };
                    return self.atomic(&plain, next);
                }
            }
        }
        let mut after = match max {
            Some(max) => {
                let mut after = next;
                for _ in min..max {
                    let again = self.emit(node, after)?;
                    after = self.split(lazy, again, out)?;
                }
                after
            }
            None => match bytes.filter(|bytes| bytes.contains(0x80)) {
                // PERF: inside of a run of wide characters it does not matter where one ends,
                // so that the loop is one state whatever the bytes are; only leaving it does.
                Some(bytes) if bytes_fill_upper_half(bytes) => {
                    let out = self.ahead(not_continuation(), out)?;
                    let entry = self.push(Instruction::Fail)?;
                    let again = self.byte(bytes, entry)?;
                    let (first, second) = if lazy { (out, again) } else { (again, out) };
                    self.program.instructions[entry as usize] =
                        Instruction::Split { first, second };
                    if min == 1 {
                        return self.byte(bytes, entry);
                    }
                    entry
                }
                _ => self.unbounded(node, lazy, out, min > 0)?,
            },
        };
        let wide_loop = max.is_none() && bytes.is_some_and(bytes_fill_upper_half);
        let copies = if max.is_none() && !wide_loop {
            min.saturating_sub(1)
        } else {
            min
        };
        for _ in 0..copies {
            after = self.emit(node, after)?;
        }
        Ok(after)
    }

    /// A loop; with `once` it is entered through its body.
    fn unbounded(
        &mut self,
        node: &Node,
        lazy: bool,
        out: Address,
        once: bool,
    ) -> Result<Address, CompileError> {
        if !is_nullable(node) {
            let entry = self.push(Instruction::Fail)?;
            if let Some(branches) = branches_over_bytes(node) {
                // PERF: as for a loop over one class: `(?:\\.|[^"\\])*` stays in one state
                // whatever the bytes are.
                let out = self.ahead(not_continuation(), out)?;
                let mut body = None;
                for branch in branches.iter().rev() {
                    let first = match wide_class(branch) {
                        Some(bytes) => self.byte(bytes, entry)?,
                        None => self.emit(branch, entry)?,
                    };
                    body = Some(match body {
                        Some(second) => self.push(Instruction::Split { first, second })?,
                        None => first,
                    });
                }
                let body = body.unwrap_or(out);
                let (first, second) = if lazy { (out, body) } else { (body, out) };
                self.program.instructions[entry as usize] = Instruction::Split { first, second };
                return Ok(if once { body } else { entry });
            }
            let body = self.emit(node, entry)?;
            let (first, second) = if lazy { (out, body) } else { (body, out) };
            self.program.instructions[entry as usize] = Instruction::Split { first, second };
            return Ok(if once { body } else { entry });
        }
        let slot = self.program.loops as u32;
        self.program.loops += 1;
        let end = self.push(Instruction::Fail)?;
        let body = self.emit(node, end)?;
        let start = self.push(Instruction::LoopStart { slot, next: body })?;
        let (first, second) = if lazy { (out, start) } else { (start, out) };
        self.program.instructions[end as usize] = Instruction::LoopEnd {
            slot,
            first,
            second,
            again: start,
        };
        if once {
            return Ok(start);
        }
        self.split(lazy, start, out)
    }

    fn look_ahead(
        &mut self,
        node: &Node,
        negative: bool,
        next: Address,
    ) -> Result<Address, CompileError> {
        if let (Some(group), false) = (captured_rest(node), negative) {
            self.program.to_end[group as usize] = true;
            let close = self.push(Instruction::Tag {
                tag: 2 * group + 2,
                next,
            })?;
            return self.push(Instruction::Tag {
                tag: 2 * group + 1,
                next: close,
            });
        }
        let Some(sequences) = sequences_ahead(node) else {
            self.irregular("look-ahead over more than a few fixed characters");
            return self.look(
                node,
                Look {
                    negative,
                    behind: None,
                },
                next,
            );
        };
        if sequences.iter().any(Vec::is_empty) {
            return if negative {
                self.push(Instruction::Fail)
            } else {
                Ok(next)
            };
        }
        let mut single = ByteSet::default();
        let mut longer = Vec::new();
        for sequence in sequences {
            match sequence.as_slice() {
                [set] => single = single.union(*set),
                _ => longer.push(sequence),
            }
        }
        let mut ways = Vec::new();
        for sequence in longer {
            let sets = sequence.into_iter().map(|set| self.set(set)).collect();
            ways.push(self.sequence(Sequence { negative, sets }));
        }
        if negative {
            // None of them may follow.
            let mut address = next;
            for sequence in ways {
                address = self.push(Instruction::AheadSequence {
                    sequence,
                    next: address,
                })?;
            }
            return self.ahead(single.complement(), address);
        }
        let mut all = if single.is_empty() {
            None
        } else {
            Some(self.ahead(single, next)?)
        };
        for sequence in ways {
            let first = self.push(Instruction::AheadSequence { sequence, next })?;
            all = Some(match all {
                Some(second) => self.push(Instruction::Split { first, second })?,
                None => first,
            });
        }
        match all {
            Some(address) => Ok(address),
            None => self.push(Instruction::Fail),
        }
    }

    fn look_behind(
        &mut self,
        node: &Node,
        negative: bool,
        next: Address,
    ) -> Result<Address, CompileError> {
        match byte_behind(node) {
            Behind::Nothing if negative => self.push(Instruction::Fail),
            Behind::Nothing => Ok(next),
            Behind::OneOf(set) => self.behind(if negative { set.complement() } else { set }, next),
            Behind::More => {
                self.irregular("look-behind over more than one character");
                let Some(lengths) = lengths(node) else {
                    return Err(CompileError::Syntax {
                        within: crate::Within::Expression,
                        position: 0,
                        message: "look-behind must have a bounded length".to_owned(),
                    });
                };
                self.look(
                    node,
                    Look {
                        negative,
                        behind: Some(lengths),
                    },
                    next,
                )
            }
        }
    }

    fn look(&mut self, node: &Node, look: Look, next: Address) -> Result<Address, CompileError> {
        let end = self.push(Instruction::Match)?;
        let body = self.emit(node, end)?;
        let index = self.program.looks.len() as u32;
        self.program.looks.push(look);
        self.push(Instruction::Look {
            look: index,
            body,
            next,
        })
    }

    fn atomic(&mut self, node: &Node, next: Address) -> Result<Address, CompileError> {
        if let Some(plain) = committed(node) {
            return self.emit(&plain, next);
        }
        self.irregular("an atomic group or possessive quantifier");
        let end = self.push(Instruction::Match)?;
        let body = self.emit(node, end)?;
        self.push(Instruction::Atomic { body, next })
    }
}

fn bytes_fill_upper_half(bytes: ByteSet) -> bool {
    (0x80..=0xFF).all(|byte| bytes.contains(byte))
}

/// Whether look-around needs more than the byte next to it.
fn is_wide(look: &Node, ahead: bool) -> bool {
    let Node::Look { node, .. } = look else {
        return false;
    };
    if ahead {
        captured_rest(node).is_some()
            || sequences_ahead(node).is_none_or(|all| all.iter().any(|one| one.len() > 1))
    } else {
        matches!(byte_behind(node), Behind::More)
    }
}

/// The bytes of a class that has all the characters from 128 up.
fn wide_class(node: &Node) -> Option<ByteSet> {
    match node {
        Node::Class(class) => class
            .as_bytes()
            .filter(|bytes| bytes_fill_upper_half(*bytes)),
        _ => None,
    }
}

/// The branches of an alternation that may run over characters byte by byte when repeated: some
/// are wide classes, and the others cannot begin inside of a character.
fn branches_over_bytes(node: &Node) -> Option<&[Node]> {
    let Node::Alternate(branches) = node else {
        return None;
    };
    let mut any_wide = false;
    for branch in branches {
        if wide_class(branch).is_some() {
            any_wide = true;
        } else {
            let first = first_bytes(branch)?;
            if (0x80..=0xBF).any(|byte| first.contains(byte)) {
                return None;
            }
        }
    }
    any_wide.then_some(branches)
}
