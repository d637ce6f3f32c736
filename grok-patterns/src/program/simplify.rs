//! Wide look-around that the rest of the expression makes unnecessary.
//!
//! - Look-behind over fixed characters that the expression itself has just matched is decided
//!   on the spot: `\{ (?<=\{ )`.
//! - At the very beginning, look-behind of one length is text to be skipped: `(?<=id: )\d+`
//!   matches where `id: \d+` does, and begins as many bytes later.
//! - At the very end, `(?=…)` is the same as what is in it, for nobody asks where a match ends.
//!
//! INVARIANT: captures, and which lines match, stay the same. Where the match begins and ends
//! does not: only captures are told to users.

use super::look::{Behind, byte_behind, captured_rest, fixed_sequences, lengths, sequences_ahead};
use crate::syntax::{ByteSet, CharacterClass, Node};

/// An equal expression with less look-around, when there is any to be had.
pub(super) fn simplified(node: &Node) -> Option<Node> {
    if !has_wide_look(node) {
        return None;
    }
    let mut node = node.clone();
    decide(&mut node, &mut Vec::new());
    open_first(&mut node);
    open_last(&mut node);
    Some(node)
}

fn has_wide_look(node: &Node) -> bool {
    match node {
        Node::Empty | Node::Class(_) | Node::Assertion(_) | Node::BackReference { .. } => false,
        Node::Concat(nodes) | Node::Alternate(nodes) => nodes.iter().any(has_wide_look),
        Node::Repeat { node, .. } | Node::Group { node, .. } | Node::Atomic(node) => {
            has_wide_look(node)
        }
        Node::Look { node: body, .. } => is_wide(node) || has_wide_look(body),
    }
}

/// Whether this is look-around that cannot be run as a condition on neighbouring bytes.
fn is_wide(node: &Node) -> bool {
    match node {
        Node::Look {
            ahead: true,
            negative,
            node,
        } => sequences_ahead(node).is_none() && (*negative || captured_rest(node).is_none()),
        Node::Look { node, .. } => matches!(byte_behind(node), Behind::More),
        _ => false,
    }
}

/// Replaces look-behind that is decided by `before`, the bytes that the expression has matched
/// right before this node as far as they are known, and adds what the node itself matches.
fn decide(node: &mut Node, before: &mut Vec<ByteSet>) {
    match node {
        Node::Empty | Node::Assertion(_) => {}
        Node::Class(class) => match class.as_bytes() {
            Some(set) if !set.contains(0x80) => before.push(set),
            _ => before.clear(),
        },
        Node::Concat(nodes) => nodes.iter_mut().for_each(|node| decide(node, before)),
        Node::Group { node, .. } | Node::Atomic(node) => decide(node, before),
        Node::Alternate(nodes) => {
            for node in nodes {
                decide(node, &mut before.clone());
            }
            before.clear();
        }
        Node::Repeat { node, min, max, .. } => {
            let once = *max == Some(1);
            decide(node, &mut if once { before.clone() } else { Vec::new() });
            before.clear();
            if *min == 1 && once {
                decide(node, before);
            }
        }
        Node::Look {
            ahead: false,
            negative,
            node: body,
        } => {
            if let Some(found) = is_behind(body, before) {
                *node = if found == *negative {
                    Node::Class(CharacterClass::empty())
                } else {
                    Node::Empty
                };
            }
        }
        Node::Look { node, .. } => decide(node, &mut before.clone()),
        Node::BackReference { .. } => before.clear(),
    }
}

/// Whether the text before ends as a look-behind wants it, if that is certain.
fn is_behind(body: &Node, before: &[ByteSet]) -> Option<bool> {
    let mut possible = false;
    for sequence in fixed_sequences(body)? {
        let known = || sequence.iter().rev().zip(before.iter().rev());
        if known().any(|(wanted, there)| !wanted.intersects(*there)) {
            continue;
        }
        if sequence.len() <= before.len() && known().all(|(wanted, there)| there.is_subset(*wanted))
        {
            return Some(true);
        }
        possible = true;
    }
    (!possible).then_some(false)
}

/// `(?<=id: )…` at the very beginning becomes `id: …`.
fn open_first(node: &mut Node) {
    match node {
        Node::Concat(nodes) => {
            if let Some(first) = nodes.iter_mut().find(|node| **node != Node::Empty) {
                open_first(first);
            }
        }
        Node::Look {
            ahead: false,
            negative: false,
            node: body,
        } if matches!(byte_behind(body), Behind::More) => {
            let fixed = lengths(body).is_some_and(|(least, most)| least == most);
            if fixed {
                *node = std::mem::replace(body, Node::Empty);
            }
        }
        _ => {}
    }
}

/// `…(?=.*x)` at the very end becomes `….*x`.
fn open_last(node: &mut Node) {
    match node {
        Node::Concat(nodes) => {
            if let Some(last) = nodes.iter_mut().rfind(|node| **node != Node::Empty) {
                open_last(last);
            }
        }
        Node::Alternate(nodes) => nodes.iter_mut().for_each(open_last),
        Node::Look {
            ahead: true,
            negative: false,
            node: body,
        } if is_wide(&Node::Look {
            ahead: true,
            negative: false,
            node: body.clone(),
        }) =>
        {
            open_last(body);
            *node = std::mem::replace(body, Node::Empty);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::{CompileOptions, EngineKind, PatternSet, Slots};

    fn captured<'l>(expression: &str, line: &'l str) -> Option<&'l str> {
        let matcher = PatternSet::empty()
            .compile(expression, &CompileOptions::default())
            .expect("it compiles");
        assert_eq!(matcher.engine(), EngineKind::Automaton, "{expression}");
        let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
        matcher
            .find(line.as_bytes(), &mut scratch, &mut slots)
            .expect("an automaton has no budget");
        slots.get(0).map(|(start, end)| &line[start..end])
    }

    #[test]
    fn look_behind_that_the_expression_decides() {
        let query = r"(?<a>\{ (?<=\{ ).*(?= \} end) \})";
        assert_eq!(captured(query, "x { a: 1 } end"), Some("{ a: 1 }"));
        assert_eq!(captured(r"(?<a>ab(?<!ab|cd)c)", "abc"), None);
        assert_eq!(captured(r"(?<a>[ab]c(?<!xc)d)", "acd"), Some("acd"));
    }

    #[test]
    fn look_behind_at_the_beginning() {
        assert_eq!(captured(r"(?<=id: )(?<a>\d+)", "1 id 2 id: 3"), Some("3"));
        assert_eq!(captured(r"(?<=aba)(?<a>.)", "ababac"), Some("b"));
    }

    #[test]
    fn look_ahead_at_the_end() {
        assert_eq!(captured(r"(?<a>\w+)(?=.*end)", "a b end c"), Some("a"));
        assert_eq!(captured(r"(?<a>\w+)(?=.*end)", "a b en"), None);
        assert_eq!(captured(r"(?:x|(?<a>\d+)(?=\w*;))", "12 34a;"), Some("34"));
    }

    #[test]
    fn what_is_undecided_is_left_alone() {
        for expression in [
            r"\w\w(?<=ab)c",
            r"a(?!.*b)c",
            r"(?<=ab|abc)(?:x)",
            r"(?=.*b)\w+x",
        ] {
            let matcher = PatternSet::empty()
                .compile(expression, &CompileOptions::default())
                .expect("it compiles");
            assert_ne!(matcher.engine(), EngineKind::Automaton, "{expression}");
        }
    }
}
