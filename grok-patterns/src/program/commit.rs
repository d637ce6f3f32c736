//! Atomic groups and possessive quantifiers as plain ones with conditions.
//!
//! An atomic group takes the first way in which its inside matches, whatever comes after it. So
//! it is equal to a plain group that can match in that way only: wherever the inside has a
//! choice, the lower one is allowed only where the higher one, up to the end of the group,
//! does not match. That is a condition on the bytes that follow, and it is not even needed
//! where no text can begin in both ways.
//!
//! INVARIANT: what [`committed`] returns matches in at most one way at any position, and that is
//! the way which the atomic group takes. It returns `None` where a condition would need more
//! than a few fixed bytes; that is left to the backtracking engine.

use super::look::{is_nullable, is_rigid, sequences_ahead};
use crate::syntax::{ByteSet, Node, RepeatKind};

/// A bounded repetition of more than a class is written out up to this count.
const MAX_COPIES: u32 = 16;
/// As many bytes are looked at to see that two ways cannot begin alike.
const PREFIX_LENGTH: usize = 3;
/// And in as many different beginnings.
const MAX_PREFIXES: usize = 64;

/// A node equal to `(?>node)`.
pub(super) fn committed(node: &Node) -> Option<Node> {
    commit(node, &Rest::END)
}

/// What follows a node inside of its atomic group.
#[derive(Clone, Copy)]
struct Rest<'r> {
    nodes: &'r [Node],
    then: Option<&'r Self>,
}

impl<'r> Rest<'r> {
    const END: Self = Rest {
        nodes: &[],
        then: None,
    };

    fn nodes(&self) -> impl Iterator<Item = &'r Node> {
        std::iter::successors(Some(*self), |rest| rest.then.copied()).flat_map(|rest| rest.nodes)
    }

    /// Whether it matches the empty text wherever it is tried.
    fn is_optional(&self) -> bool {
        self.nodes().all(is_optional)
    }
}

fn commit(node: &Node, rest: &Rest<'_>) -> Option<Node> {
    Some(match node {
        Node::Empty
        | Node::Class(_)
        | Node::Assertion(_)
        | Node::Look { .. }
        | Node::BackReference { .. } => node.clone(),
        Node::Group { group, node } => Node::Group {
            group: *group,
            node: Box::new(commit(node, rest)?),
        },
        Node::Atomic(node) => commit(node, &Rest::END)?,
        Node::Concat(nodes) => {
            let mut all = Vec::with_capacity(nodes.len());
            for (index, node) in nodes.iter().enumerate() {
                let rest = Rest {
                    nodes: &nodes[index + 1..],
                    then: Some(rest),
                };
                all.push(commit(node, &rest)?);
            }
            Node::Concat(all)
        }
        Node::Alternate(nodes) => alternate(nodes, rest)?,
        Node::Repeat {
            node,
            min,
            max,
            kind,
        } => match kind {
            RepeatKind::Greedy => greedy(node, *min, *max, rest)?,
            RepeatKind::Lazy => lazy(node, *min, *max, rest)?,
            RepeatKind::Possessive => greedy(node, *min, *max, &Rest::END)?,
        },
    })
}

fn alternate(nodes: &[Node], rest: &Rest<'_>) -> Option<Node> {
    let prefixes: Vec<Prefixes> = nodes.iter().map(|node| prefixes(node, rest)).collect();
    let mut all = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        let mut branch = Vec::new();
        for (higher, before) in nodes[..index].iter().zip(&prefixes) {
            if !are_disjoint(before, &prefixes[index]) {
                branch.push(unless(higher, rest)?);
            }
        }
        branch.push(commit(node, rest)?);
        all.push(Node::Concat(branch));
    }
    Some(Node::Alternate(all))
}

fn greedy(node: &Node, min: u32, max: Option<u32>, rest: &Rest<'_>) -> Option<Node> {
    let repeat = |node: Node, kind| Node::Repeat {
        node: Box::new(node),
        min,
        max,
        kind,
    };
    if max == Some(min) && is_rigid(node) {
        return Some(repeat(node.clone(), RepeatKind::Greedy));
    }
    // The compiler has a short form for this one.
    if let Node::Class(class) = node
        && class.as_bytes().is_some()
        && rest.is_optional()
    {
        return Some(repeat(node.clone(), RepeatKind::Possessive));
    }
    if is_nullable(node) {
        return None;
    }
    let again = Node::Repeat {
        node: Box::new(node.clone()),
        min: 0,
        max: None,
        kind: RepeatKind::Greedy,
    };
    let after = Rest {
        nodes: std::slice::from_ref(&again),
        then: Some(rest),
    };
    // With `again` unbounded this looks at more than a bounded repetition can do, which may
    // only make a condition appear to be needed that is not.
    let apart = are_disjoint(&prefixes(node, &after), &prefixes(&Node::Empty, rest));
    let Some(max) = max else {
        // After the first `min` rounds every round is followed by the same.
        if min > 1 && !is_rigid(node) {
            return None;
        }
        let rounds = repeat(commit(node, &after)?, RepeatKind::Greedy);
        return Some(if apart {
            rounds
        } else {
            Node::Concat(vec![rounds, unless(node, &after)?])
        });
    };
    if apart && is_rigid(node) {
        return Some(repeat(node.clone(), RepeatKind::Greedy));
    }
    if min == 0 && max == 1 {
        let skip = if apart {
            Node::Empty
        } else {
            unless(node, rest)?
        };
        return Some(Node::Alternate(vec![commit(node, rest)?, skip]));
    }
    commit(&copies(node, min, max, RepeatKind::Greedy)?, rest)
}

fn lazy(node: &Node, min: u32, max: Option<u32>, rest: &Rest<'_>) -> Option<Node> {
    if rest.is_optional() {
        // Nothing asks for more rounds than there must be.
        return greedy(node, min, Some(min), rest);
    }
    if max == Some(min) && is_rigid(node) {
        return greedy(node, min, max, rest);
    }
    if is_nullable(node) {
        return None;
    }
    let Some(max) = max else {
        if min > 1 && !is_rigid(node) {
            return None;
        }
        let again = Node::Repeat {
            node: Box::new(node.clone()),
            min: 0,
            max: None,
            kind: RepeatKind::Lazy,
        };
        let after = Rest {
            nodes: std::slice::from_ref(&again),
            then: Some(rest),
        };
        let round = commit(node, &after)?;
        let mut all = vec![round.clone(); min as usize];
        let apart = are_disjoint(&prefixes(&Node::Empty, rest), &prefixes(node, &after));
        let round = if apart {
            round
        } else {
            Node::Concat(vec![unless(&Node::Empty, rest)?, round])
        };
        all.push(Node::Repeat {
            node: Box::new(round),
            min: 0,
            max: None,
            kind: RepeatKind::Lazy,
        });
        return Some(Node::Concat(all));
    };
    if min == 0 && max == 1 {
        let taken = commit(node, rest)?;
        let taken = if are_disjoint(&prefixes(&Node::Empty, rest), &prefixes(node, rest)) {
            taken
        } else {
            Node::Concat(vec![unless(&Node::Empty, rest)?, taken])
        };
        return Some(Node::Alternate(vec![Node::Empty, taken]));
    }
    commit(&copies(node, min, max, RepeatKind::Lazy)?, rest)
}

/// `x{2,4}` as `xx(?:x(?:x)?)?`.
fn copies(node: &Node, min: u32, max: u32, kind: RepeatKind) -> Option<Node> {
    if max > MAX_COPIES {
        return None;
    }
    let mut all = Node::Empty;
    for _ in min..max {
        all = Node::Repeat {
            node: Box::new(Node::Concat(vec![node.clone(), all])),
            min: 0,
            max: Some(1),
            kind,
        };
    }
    let mut nodes = vec![node.clone(); min as usize];
    nodes.push(all);
    Some(Node::Concat(nodes))
}

/// The condition that a higher way, up to the end of the group, does not match here.
fn unless(higher: &Node, rest: &Rest<'_>) -> Option<Node> {
    let mut nodes: Vec<Node> = std::iter::once(higher)
        .chain(rest.nodes())
        .map(plain)
        .collect();
    while nodes.last().is_some_and(is_optional) {
        nodes.pop();
    }
    let node = Node::Concat(nodes);
    sequences_ahead(&node)?;
    Some(Node::Look {
        ahead: true,
        negative: true,
        node: Box::new(node),
    })
}

/// The node without its groups, which do not matter to a condition. An atomic group goes too
/// when it makes no difference.
fn plain(node: &Node) -> Node {
    let all = |nodes: &[Node]| nodes.iter().map(plain).collect();
    match node {
        Node::Group { node, .. } => plain(node),
        Node::Atomic(node) if is_rigid(node) => plain(node),
        Node::Concat(nodes) => Node::Concat(all(nodes)),
        Node::Alternate(nodes) => Node::Alternate(all(nodes)),
        Node::Repeat {
            node,
            min,
            max,
            kind,
        } => Node::Repeat {
            node: Box::new(plain(node)),
            min: *min,
            max: *max,
            kind: *kind,
        },
        _ => node.clone(),
    }
}

/// Whether a node matches the empty text wherever it is tried.
fn is_optional(node: &Node) -> bool {
    match node {
        Node::Empty => true,
        Node::Class(_) | Node::Assertion(_) | Node::Look { .. } | Node::BackReference { .. } => {
            false
        }
        Node::Concat(nodes) => nodes.iter().all(is_optional),
        Node::Alternate(nodes) => nodes.iter().any(is_optional),
        Node::Repeat { node, min, .. } => *min == 0 || is_optional(node),
        Node::Group { node, .. } | Node::Atomic(node) => is_optional(node),
    }
}

/// The first bytes of all texts that can match, and maybe of others; anything may follow them.
type Prefixes = Vec<Prefix>;

#[derive(Clone, PartialEq)]
struct Prefix {
    sets: Vec<ByteSet>,
    /// Nothing is known of what comes next.
    closed: bool,
}

fn prefixes(node: &Node, rest: &Rest<'_>) -> Prefixes {
    let mut all = vec![Prefix {
        sets: Vec::new(),
        closed: false,
    }];
    for node in std::iter::once(node).chain(rest.nodes()) {
        lengthen(&mut all, node);
    }
    all
}

fn lengthen(all: &mut Prefixes, node: &Node) {
    if all.iter().all(|prefix| prefix.closed) {
        return;
    }
    match node {
        // A condition only takes texts away.
        Node::Empty | Node::Assertion(_) | Node::Look { .. } => {}
        Node::Class(class) => {
            let ascii = class.ascii();
            let wide = !class.above_ascii().is_empty();
            let mut longer = Prefixes::new();
            for prefix in all.drain(..) {
                if prefix.closed {
                    longer.push(prefix);
                    continue;
                }
                if wide {
                    let mut prefix = prefix.clone();
                    prefix.sets.push(ByteSet::from_range(0x80, 0xFF));
                    prefix.closed = true;
                    longer.push(prefix);
                }
                if !ascii.is_empty() {
                    let mut prefix = prefix;
                    prefix.sets.push(ascii);
                    prefix.closed = prefix.sets.len() >= PREFIX_LENGTH;
                    longer.push(prefix);
                }
            }
            *all = longer;
        }
        Node::Concat(nodes) => nodes.iter().for_each(|node| lengthen(all, node)),
        Node::Alternate(nodes) => {
            let before = std::mem::take(all);
            for node in nodes {
                let mut longer = before.clone();
                lengthen(&mut longer, node);
                join(all, longer);
            }
        }
        Node::Repeat { node, min, max, .. } => {
            let rounds = (*min).min(PREFIX_LENGTH as u32 + 1);
            (0..rounds).for_each(|_| lengthen(all, node));
            let mut longer = all.clone();
            let more = max.map_or(u32::MAX, |max| max - min);
            for _ in 0..more.min(PREFIX_LENGTH as u32 + 1) {
                lengthen(&mut longer, node);
                join(all, longer.clone());
            }
            if more > PREFIX_LENGTH as u32 || *min > rounds {
                // Rounds that match nothing could go on for longer than was looked at.
                close(&mut longer);
                join(all, longer);
            }
        }
        Node::Group { node, .. } | Node::Atomic(node) => lengthen(all, node),
        Node::BackReference { .. } => close(all),
    }
    if all.len() > MAX_PREFIXES {
        // One that begins with any of the first bytes stands for all.
        let first = all
            .iter()
            .map(|prefix| prefix.sets.first().copied())
            .try_fold(ByteSet::default(), |all, set| Some(all.union(set?)));
        *all = vec![Prefix {
            sets: first.into_iter().collect(),
            closed: true,
        }];
    }
}

fn close(all: &mut [Prefix]) {
    for prefix in all {
        prefix.closed = true;
    }
}

fn join(all: &mut Prefixes, more: Prefixes) {
    for prefix in more {
        if !all.contains(&prefix) {
            all.push(prefix);
        }
    }
}

/// Whether no text begins with one of these and one of those.
fn are_disjoint(left: &Prefixes, right: &Prefixes) -> bool {
    left.iter().all(|left| {
        right.iter().all(|right| {
            left.sets
                .iter()
                .zip(&right.sets)
                .any(|(left, right)| !left.intersects(*right))
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::{CompileOptions, EngineKind, PatternSet, Slots};

    /// The captures of `(?<a>…)` around an expression, in one line after the other.
    fn spans(expression: &str, lines: &[&str]) -> Vec<Option<(usize, usize)>> {
        let matcher = PatternSet::empty()
            .compile(&format!("(?<a>{expression})"), &CompileOptions::default())
            .expect("it compiles");
        assert_eq!(matcher.engine(), EngineKind::Automaton, "{expression}");
        let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
        lines
            .iter()
            .map(|line| {
                let found = matcher.find(line.as_bytes(), &mut scratch, &mut slots);
                assert_eq!(found.is_ok_and(|found| found), slots.get(0).is_some());
                slots.get(0)
            })
            .collect()
    }

    #[test]
    fn a_number_is_taken_whole() {
        let number = r"\A(?>[+-]?(?:\d+(?:\.\d+)?|\.\d+))";
        let lines = ["-1.25x", "12.", "12.x", ".5", "-"];
        let whole = [Some((0, 5)), Some((0, 2)), Some((0, 2)), Some((0, 2)), None];
        assert_eq!(spans(number, &lines), whole);
        // Nothing is given back for the sake of what follows.
        assert_eq!(
            spans(&format!("{number}\\d"), &["123", "1.25", "1.2"]),
            [None; 3]
        );
        assert_eq!(
            spans(&format!("{number}\\."), &["12.", "12.5"]),
            [Some((0, 3)), None]
        );
    }

    #[test]
    fn the_first_branch_that_matches_is_kept() {
        assert_eq!(spans("(?>a|ab)c", &["ac", "abc"]), [Some((0, 2)), None]);
        assert_eq!(
            spans("(?>ab|a)c", &["ac", "abc"]),
            [Some((0, 2)), Some((0, 3))]
        );
        assert_eq!(spans("(?>ab|a)b", &["ab", "abb"]), [None, Some((0, 3))]);
    }

    #[test]
    fn lazy_ones_stop_at_the_first_chance() {
        assert_eq!(
            spans("\\A(?>.*?;);", &["a;;", "a;b;;"]),
            [Some((0, 3)), None]
        );
        assert_eq!(spans("\\A(?>\\d+?)x", &["1x", "12x"]), [Some((0, 2)), None]);
    }

    #[test]
    fn counted_and_nested_ones() {
        assert_eq!(
            spans("\\A(?>\\d{2,3})\\d", &["123", "1234"]),
            [None, Some((0, 4))]
        );
        assert_eq!(
            spans("\\A(?>(?:ab){1,2})ab", &["abab", "ababab"]),
            [None, Some((0, 6))]
        );
        let quoted = r#"(?>"(?>\\.|[^\\"]+)+"|"")"#;
        let lines = [r#""a\"b" ""#, r#""""#, r#""\\""#, r#""a"#];
        assert_eq!(
            spans(quoted, &lines),
            [Some((0, 6)), Some((0, 2)), Some((0, 4)), None]
        );
    }

    #[test]
    fn what_needs_more_than_a_few_bytes_is_left_alone() {
        for expression in ["(?>.*x|.)y", "(?>(?:a|b*)*)b", "(?>a*b|aa)a"] {
            let matcher = PatternSet::empty()
                .compile(expression, &CompileOptions::default())
                .expect("it compiles");
            assert_ne!(matcher.engine(), EngineKind::Automaton, "{expression}");
        }
    }
}
