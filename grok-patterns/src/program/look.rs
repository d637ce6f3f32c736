//! Look-around that an automaton can do.
//!
//! Look-behind over one byte and look-ahead over a bounded sequence of bytes are conditions on
//! the neighbouring bytes, as `\b` is. Here such look-around is recognised in the tree; what
//! stays unrecognised goes to the backtracking engine.

use crate::syntax::{Assertion, ByteSet, EDGE, Node, RepeatKind};

/// More alternatives than this are left to the backtracking engine.
const MAX_SEQUENCES: usize = 64;
/// Longer sequences than this, too.
const MAX_SEQUENCE_LENGTH: usize = 32;

/// The sequences of bytes of which one must follow for `node` to match here, if there are few.
pub(super) fn sequences_ahead(node: &Node) -> Option<Vec<Vec<ByteSet>>> {
    expand(node, true, true)
}

/// The sequences of bytes of which one must have come before for a look-behind to match.
pub(super) fn fixed_sequences(node: &Node) -> Option<Vec<Vec<ByteSet>>> {
    expand(node, false, false)
}

/// What must stand before a position for a look-behind to match.
pub(super) enum Behind {
    /// Anything will do.
    Nothing,
    /// One of these.
    OneOf(ByteSet),
    /// More than one byte can tell.
    More,
}

/// What a look-behind asks for.
pub(super) fn byte_behind(node: &Node) -> Behind {
    let Some(sequences) = expand(node, false, true) else {
        return Behind::More;
    };
    let mut set = ByteSet::default();
    for sequence in sequences {
        match sequence.as_slice() {
            [] => return Behind::Nothing,
            [one] => set = set.union(*one),
            _ => return Behind::More,
        }
    }
    Behind::OneOf(set)
}

/// `last` says that nothing follows, so that a wide class may be tested by its first byte and
/// a repetition need only be seen as often as it must occur.
fn expand(node: &Node, ahead: bool, last: bool) -> Option<Vec<Vec<ByteSet>>> {
    let found = match node {
        Node::Empty => vec![Vec::new()],
        Node::Class(class) => {
            if let Some(character) = class.single_member()
                && ahead
            {
                let mut buffer = [0; 4];
                let bytes = character.encode_utf8(&mut buffer).as_bytes();
                vec![
                    bytes
                        .iter()
                        .map(|byte| ByteSet::from_range(*byte, *byte))
                        .collect(),
                ]
            } else {
                let set = class.as_bytes()?;
                if set.contains(0x80) && !last {
                    return None;
                }
                vec![vec![set]]
            }
        }
        Node::Concat(nodes) => {
            let mut found = vec![Vec::new()];
            for (index, node) in nodes.iter().enumerate() {
                let tails = expand(node, ahead, last && index + 1 == nodes.len())?;
                found = join(&found, &tails)?;
            }
            found
        }
        Node::Alternate(nodes) => {
            let mut found = Vec::new();
            for node in nodes {
                found.extend(expand(node, ahead, last)?);
            }
            found
        }
        Node::Repeat {
            node,
            min,
            max,
            kind,
        } => {
            let mut found = vec![Vec::new()];
            if *min > MAX_SEQUENCE_LENGTH as u32 {
                return None;
            }
            let rest_matters = !(ahead && last);
            if rest_matters && *kind == RepeatKind::Possessive && *max != Some(*min) {
                // How many there are depends on what follows.
                return None;
            }
            let once = expand(node, ahead, last && *min == 1 && !rest_matters)?;
            for _ in 0..*min {
                found = join(&found, &once)?;
            }
            if rest_matters {
                let max = (*max)?;
                if max > MAX_SEQUENCE_LENGTH as u32 {
                    return None;
                }
                let mut longer = found.clone();
                for _ in *min..max {
                    longer = join(&longer, &once)?;
                    found.extend(longer.iter().cloned());
                }
            }
            found
        }
        Node::Assertion(assertion) => {
            let mut edge = ByteSet::default();
            edge.insert(EDGE);
            match (assertion, ahead) {
                (Assertion::TextEnd, true) | (Assertion::TextStart, false) => {}
                (Assertion::LineEnd, true) | (Assertion::LineStart, false) => {
                    edge.insert(usize::from(b'\n'));
                }
                _ => return None,
            }
            if !last {
                return None;
            }
            vec![vec![edge]]
        }
        Node::Group { .. } | Node::Look { .. } | Node::Atomic(_) | Node::BackReference { .. } => {
            return None;
        }
    };
    let small = found.len() <= MAX_SEQUENCES
        && found
            .iter()
            .all(|sequence| sequence.len() <= MAX_SEQUENCE_LENGTH);
    small.then_some(found)
}

fn join(heads: &[Vec<ByteSet>], tails: &[Vec<ByteSet>]) -> Option<Vec<Vec<ByteSet>>> {
    if heads.len() * tails.len() > MAX_SEQUENCES {
        return None;
    }
    let mut joined = Vec::new();
    for head in heads {
        for tail in tails {
            let mut sequence = head.clone();
            sequence.extend(tail);
            joined.push(sequence);
        }
    }
    Some(joined)
}

/// The group in `(?=(?<group>.*))`, which captures the rest of the text beside the match.
pub(super) fn captured_rest(node: &Node) -> Option<u32> {
    let Node::Group { group, node } = node else {
        return None;
    };
    match &**node {
        Node::Repeat {
            node,
            min: 0,
            max: None,
            kind: RepeatKind::Greedy,
        } => match &**node {
            Node::Class(class) => {
                let set = class.as_bytes()?;
                (0..256).all(|byte| set.contains(byte)).then_some(*group)
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether a node can match the empty text.
pub(super) fn is_nullable(node: &Node) -> bool {
    match node {
        Node::Class(_) => false,
        Node::Empty | Node::Assertion(_) | Node::Look { .. } | Node::BackReference { .. } => true,
        Node::Concat(nodes) => nodes.iter().all(is_nullable),
        Node::Alternate(nodes) => nodes.iter().any(is_nullable),
        Node::Repeat { node, min, .. } => *min == 0 || is_nullable(node),
        Node::Group { node, .. } | Node::Atomic(node) => is_nullable(node),
    }
}

/// Whether a node can match in one way at most, so that an atomic group around it changes
/// nothing.
pub(crate) fn is_rigid(node: &Node) -> bool {
    match node {
        Node::Empty
        | Node::Class(_)
        | Node::Assertion(_)
        | Node::Look { .. }
        | Node::BackReference { .. } => true,
        Node::Concat(nodes) => nodes.iter().all(is_rigid),
        Node::Alternate(nodes) => {
            let firsts: Option<Vec<ByteSet>> = nodes.iter().map(first_bytes).collect();
            let Some(firsts) = firsts else { return false };
            let disjoint = firsts.iter().enumerate().all(|(index, first)| {
                firsts[index + 1..]
                    .iter()
                    .all(|other| !(0..256).any(|byte| first.contains(byte) && other.contains(byte)))
            });
            disjoint && nodes.iter().all(is_rigid)
        }
        Node::Repeat { node, min, max, .. } => *max == Some(*min) && is_rigid(node),
        Node::Group { node, .. } | Node::Atomic(node) => is_rigid(node),
    }
}

/// The bytes that a match of this node can begin with; `None` when it may match nothing.
pub(super) fn first_bytes(node: &Node) -> Option<ByteSet> {
    match node {
        Node::Class(class) => {
            let mut set = class.ascii();
            if !class.above_ascii().is_empty() {
                set.insert_range(0x80, 0xFF);
            }
            Some(set)
        }
        Node::Concat(nodes) => match nodes.first()? {
            Node::Assertion(_) | Node::Look { .. } => None,
            first => first_bytes(first),
        },
        Node::Alternate(nodes) => nodes
            .iter()
            .map(first_bytes)
            .try_fold(ByteSet::default(), |all, first| Some(all.union(first?))),
        Node::Repeat { node, min, .. } if *min > 0 => first_bytes(node),
        Node::Group { node, .. } | Node::Atomic(node) => first_bytes(node),
        _ => None,
    }
}

/// The least and the most bytes that a node can match, if there is a most.
pub(super) fn lengths(node: &Node) -> Option<(usize, usize)> {
    match node {
        Node::Empty | Node::Assertion(_) | Node::Look { .. } => Some((0, 0)),
        Node::Class(class) => {
            let wide = class.above_ascii();
            let most = wide.last().map_or(1, |(_, last)| last.len_utf8());
            let least = if class.ascii().is_empty() {
                wide.first().map_or(1, |w| w.0.len_utf8())
            } else {
                1
            };
            Some((least, most))
        }
        Node::Concat(nodes) => nodes.iter().map(lengths).try_fold((0, 0), |sum, length| {
            let length = length?;
            Some((sum.0 + length.0, sum.1 + length.1))
        }),
        Node::Alternate(nodes) => {
            let mut bounds: Option<(usize, usize)> = None;
            for node in nodes {
                let (least, most) = lengths(node)?;
                bounds = Some(match bounds {
                    Some((min, max)) => (min.min(least), max.max(most)),
                    None => (least, most),
                });
            }
            bounds
        }
        Node::Repeat { node, min, max, .. } => {
            let (least, most) = lengths(node)?;
            Some((least * *min as usize, most * (*max)? as usize))
        }
        Node::Group { node, .. } | Node::Atomic(node) => lengths(node),
        Node::BackReference { .. } => None,
    }
}
