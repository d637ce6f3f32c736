//! From the tree to the straight way, if there is one.
//!
//! Items are made from the end of the expression to its beginning, so that each knows what may
//! follow it: a run over `\S` needs no second thought when a space must come next.

use super::{Branch, Check, Item, Straight, Table, Token, Work, typed};
use crate::{
    CompileOptions,
    engine::tagged::{Plan, Skipper},
    program::{build, is_rigid},
    syntax::{Assertion, ByteSet, CharacterClass, EDGE, Node, Parsed, RepeatKind},
};

/// What can come after an item.
#[derive(Debug, Clone)]
struct Follow {
    /// The units with which the rest of the expression can begin; all if it can be empty.
    first: ByteSet,
    /// Bytes with which it certainly begins.
    literal: Vec<u8>,
}

impl Follow {
    fn anything() -> Self {
        Self::first(ByteSet::default().complement())
    }

    fn first(first: ByteSet) -> Self {
        Self {
            first,
            literal: Vec::new(),
        }
    }
}

impl Straight {
    /// The straight way of an expression; `None` when there is none, or it would never get to
    /// the end.
    pub(crate) fn new(parsed: &Parsed, options: &CompileOptions) -> Option<Self> {
        if parsed.hidden_groups > 0 {
            return None;
        }
        let mut compiler = Compiler {
            tokens: Vec::new(),
            options,
        };
        let mut items = Vec::new();
        compiler.node(&parsed.node, Follow::anything(), &mut items)?;
        items.reverse();
        let tokens = compiler.tokens.into_iter();
        Some(Self {
            items,
            tokens: tokens.map(|(_, token)| token).collect(),
        })
    }
}

struct Compiler<'a> {
    /// The tokens so far, and their trees: equal parts share one.
    tokens: Vec<(Node, Token)>,
    options: &'a CompileOptions,
}

impl Compiler<'_> {
    /// Adds the items of a node, last one first; gives what follows the item before it.
    fn node(&mut self, node: &Node, follow: Follow, items: &mut Vec<Item>) -> Option<Follow> {
        if let Some(typed) = typed::of(node) {
            return self.token(node, Some(typed), &follow, items);
        }
        match node {
            Node::Empty => Some(follow),
            Node::Group { group, node } => {
                let mut inside = Vec::new();
                let before = self.node(node, follow, &mut inside)?;
                if let [only] = inside.as_mut_slice()
                    && only.capture.is_none()
                    && !matches!(only.work, Work::Note { .. })
                {
                    only.capture = Some(*group);
                    items.append(&mut inside);
                } else {
                    let slot = 2 * group;
                    items.push(Item::rigid(Work::Note { slot: slot + 1 }));
                    items.append(&mut inside);
                    items.push(Item::rigid(Work::Note { slot }));
                }
                Some(before)
            }
            Node::Class(class) => self.class(class, node, &follow, items),
            Node::Concat(nodes) if has_groups(node) => {
                let mut parts = nodes.iter().rev();
                parts.try_fold(follow, |follow, node| self.node(node, follow, items))
            }
            Node::Concat(nodes) => {
                let mut parts = Vec::new();
                let before = nodes.iter().rev().try_fold(follow.clone(), |follow, node| {
                    self.node(node, follow, &mut parts)
                });
                // What has no captures is taken apart only if that cannot lead to doubt where
                // one automaton would have known.
                let plain = |item: &Item| item.rigid && !matches!(item.work, Work::Token(_));
                if before.is_some() && parts.iter().all(plain) {
                    items.append(&mut parts);
                    return before;
                }
                self.token(node, None, &follow, items)
            }
            Node::Repeat {
                node: inner,
                min,
                max,
                kind,
            } => self.repeat((node, inner), (*min, *max), *kind, follow, items),
            Node::Alternate(nodes) if has_groups(node) => {
                self.choice(nodes.iter().collect(), &follow, items)
            }
            Node::Assertion(assertion) => match check(*assertion) {
                Some(check) => {
                    items.push(Item::rigid(Work::Check(check)));
                    Some(Follow::first(follow.first))
                }
                None => self.token(node, None, &follow, items),
            },
            _ if has_groups(node) => None,
            _ => self.token(node, None, &follow, items),
        }
    }

    fn class(
        &mut self,
        class: &CharacterClass,
        node: &Node,
        follow: &Follow,
        items: &mut Vec<Item>,
    ) -> Option<Follow> {
        if let Some(character) = class.single_member() {
            let mut buffer = [0; 4];
            let bytes = character.encode_utf8(&mut buffer).as_bytes();
            let known = match items.last() {
                Some(Item {
                    capture: Some(_), ..
                })
                | None => Vec::new(),
                Some(item) => match &item.work {
                    Work::Literal(known) => known.to_vec(),
                    Work::One(known) => vec![*known],
                    _ => Vec::new(),
                },
            };
            if !known.is_empty() {
                items.pop();
            }
            let literal = [bytes, &known].concat();
            items.push(Item::rigid(match *literal.as_slice() {
                [one] => Work::One(one),
                _ => Work::Literal(literal.into()),
            }));
            return Some(Follow {
                first: ByteSet::from_range(bytes[0], bytes[0]),
                literal: [bytes, &follow.literal].concat(),
            });
        }
        match class.as_bytes() {
            Some(bytes) if !bytes.contains(0x80) => {
                items.push(Item::rigid(Work::Byte(table(bytes))));
                Some(Follow::first(bytes))
            }
            _ => self.token(node, None, follow, items),
        }
    }

    fn repeat(
        &mut self,
        (node, inner): (&Node, &Node),
        (min, max): (u32, Option<u32>),
        kind: RepeatKind,
        follow: Follow,
        items: &mut Vec<Item>,
    ) -> Option<Follow> {
        let bytes = match inner {
            Node::Class(class) => class.as_bytes(),
            _ => None,
        };
        // A wide character is several bytes, so that one can be told from none, but not more.
        let countable = bytes.is_some_and(|bytes| min <= 1 || !bytes.contains(0x80));
        match (bytes, max, kind) {
            (Some(bytes), None, RepeatKind::Greedy | RepeatKind::Possessive) if countable => {
                // A run that takes all that could follow it never gets on.
                if is_within(follow.first, bytes) {
                    return None;
                }
                let rigid = kind == RepeatKind::Possessive || are_disjoint(bytes, follow.first);
                items.push(Item {
                    work: run(bytes, min),
                    capture: None,
                    rigid,
                });
                Some(before_repetition(bytes, min, &follow))
            }
            (Some(bytes), None, RepeatKind::Lazy) if min == 0 => {
                if follow.first == Follow::anything().first {
                    items.push(Item::loose(Work::Nothing));
                    return Some(follow);
                }
                let needle = follow.literal.as_slice();
                if !needle.first().is_some_and(u8::is_ascii) {
                    return None;
                }
                let all = ByteSet::from_range(0, 0xFF);
                let work = if is_within(all, bytes) {
                    Work::Find(Box::new(memchr::memmem::Finder::new(needle).into_owned()))
                } else {
                    Work::Before {
                        table: table(bytes),
                        needle: needle.into(),
                    }
                };
                items.push(Item::loose(work));
                Some(before_repetition(bytes, 0, &follow))
            }
            (_, Some(1), RepeatKind::Greedy) if min == 0 && has_groups(inner) => {
                self.choice(vec![inner, &Node::Empty], &follow, items)
            }
            (_, None, RepeatKind::Greedy) if min == 1 && has_groups(inner) => {
                self.again(inner, &follow, items)
            }
            _ if has_groups(inner) => None,
            _ => self.token(node, None, &follow, items),
        }
    }

    /// `(?<a>…)+` over a single part. What an item that fails has noted is not taken back, so
    /// that there may be one only.
    fn again(&mut self, node: &Node, follow: &Follow, items: &mut Vec<Item>) -> Option<Follow> {
        let (first, nullable) = first(node);
        let mut inside = Vec::new();
        let before = self.node(node, Follow::first(first.union(follow.first)), &mut inside)?;
        if nullable || inside.len() != 1 {
            return None;
        }
        let item = inside.remove(0);
        if matches!(item.work, Work::Choice(_) | Work::Again { .. }) {
            return None;
        }
        items.push(Item::loose(Work::Again {
            item: Box::new(item),
            first,
        }));
        Some(before)
    }

    fn choice(
        &mut self,
        nodes: Vec<&Node>,
        follow: &Follow,
        items: &mut Vec<Item>,
    ) -> Option<Follow> {
        let mut branches = Vec::new();
        let mut all = ByteSet::default();
        let mut rigid = true;
        for node in nodes {
            let mut inside = Vec::new();
            let before = self.node(node, follow.clone(), &mut inside)?;
            inside.reverse();
            rigid &= are_disjoint(all, before.first) && inside.iter().all(|item| item.rigid);
            all = all.union(before.first);
            branches.push(Branch {
                first: before.first,
                items: inside,
                groups: groups(node),
            });
        }
        items.push(Item {
            work: Work::Choice(branches),
            capture: None,
            rigid,
        });
        Some(Follow::first(all))
    }

    fn token(
        &mut self,
        node: &Node,
        typed: Option<typed::Typed>,
        follow: &Follow,
        items: &mut Vec<Item>,
    ) -> Option<Follow> {
        let known = self.tokens.iter().position(|(known, _)| known == node);
        let index = match known {
            Some(index) => index,
            None => {
                // A group of its own tells where the part ends.
                let parsed = Parsed {
                    node: Node::Group {
                        group: 0,
                        node: Box::new(node.clone()),
                    },
                    captures: Vec::new(),
                    hidden_groups: 1,
                };
                let program = build(&parsed, self.options).ok()?;
                if program.irregular.is_some() {
                    return None;
                }
                let plan = Plan::new(&program)?;
                let token = Token {
                    typed,
                    program,
                    plan,
                };
                self.tokens.push((node.clone(), token));
                self.tokens.len() - 1
            }
        };
        items.push(Item {
            work: Work::Token(index as u32),
            capture: None,
            rigid: is_rigid(node),
        });
        let (first, nullable) = first(node);
        Some(Follow::first(if nullable {
            first.union(follow.first)
        } else {
            first
        }))
    }
}

impl Item {
    fn rigid(work: Work) -> Self {
        Self {
            work,
            capture: None,
            rigid: true,
        }
    }

    fn loose(work: Work) -> Self {
        Self {
            rigid: false,
            ..Self::rigid(work)
        }
    }
}

fn table(bytes: ByteSet) -> Box<Table> {
    let mut table = Box::new([false; 256]);
    for (byte, member) in table.iter_mut().enumerate() {
        *member = bytes.contains(byte);
    }
    table
}

fn run(bytes: ByteSet, min: u32) -> Work {
    let table = table(bytes);
    match Skipper::new(&table.map(|stays| !stays)) {
        Some(skipper) => Work::Skip { skipper, min },
        None => Work::Run { table, min },
    }
}

fn before_repetition(bytes: ByteSet, min: u32, follow: &Follow) -> Follow {
    Follow::first(if min == 0 {
        bytes.union(follow.first)
    } else {
        bytes
    })
}

fn is_within(inner: ByteSet, outer: ByteSet) -> bool {
    (0..=EDGE).all(|unit| !inner.contains(unit) || outer.contains(unit))
}

fn are_disjoint(left: ByteSet, right: ByteSet) -> bool {
    !(0..=EDGE).any(|unit| left.contains(unit) && right.contains(unit))
}

fn check(assertion: Assertion) -> Option<Check> {
    let mut edge = ByteSet::default();
    edge.insert(EDGE);
    let mut line_edge = edge;
    line_edge.insert(usize::from(b'\n'));
    Some(match assertion {
        Assertion::LineStart => Check::LineStart,
        Assertion::LineEnd => Check::Ahead(line_edge),
        Assertion::TextStart => Check::Behind(edge),
        Assertion::TextEnd => Check::Ahead(edge),
        Assertion::WordBoundary => Check::Word { negative: false },
        Assertion::NotWordBoundary => Check::Word { negative: true },
        Assertion::TextEndOrLastNewline => return None,
    })
}

fn has_groups(node: &Node) -> bool {
    !groups(node).is_empty()
}

/// The captures inside of a node: they are numbered in the order in which they open.
fn groups(node: &Node) -> std::ops::Range<u32> {
    let (mut first, mut end) = (u32::MAX, 0);
    visit_groups(node, &mut |group| {
        first = first.min(group);
        end = end.max(group + 1);
    });
    first..end
}

fn visit_groups(node: &Node, visit: &mut impl FnMut(u32)) {
    match node {
        Node::Empty | Node::Class(_) | Node::Assertion(_) => {}
        // What it refers to is set elsewhere; it is as good as a capture for what matters here.
        Node::BackReference { groups, .. } => groups.iter().for_each(|group| visit(*group)),
        Node::Concat(nodes) | Node::Alternate(nodes) => {
            for node in nodes {
                visit_groups(node, visit);
            }
        }
        Node::Repeat { node, .. } | Node::Look { node, .. } | Node::Atomic(node) => {
            visit_groups(node, visit);
        }
        Node::Group { group, node } => {
            visit(*group);
            visit_groups(node, visit);
        }
    }
}

/// The bytes that a match of this node can begin with, and whether it can be empty.
fn first(node: &Node) -> (ByteSet, bool) {
    match node {
        Node::Empty | Node::Assertion(_) | Node::Look { .. } => (ByteSet::default(), true),
        Node::BackReference { .. } => (ByteSet::from_range(0, 0xFF), true),
        Node::Class(class) => {
            let mut set = class.ascii();
            if !class.above_ascii().is_empty() {
                set.insert_range(0x80, 0xFF);
            }
            (set, false)
        }
        Node::Concat(nodes) => {
            let mut all = ByteSet::default();
            for node in nodes {
                let (set, nullable) = first(node);
                all = all.union(set);
                if !nullable {
                    return (all, false);
                }
            }
            (all, true)
        }
        Node::Alternate(nodes) => nodes.iter().map(first).fold(
            (ByteSet::default(), false),
            |(all, any), (set, nullable)| (all.union(set), any || nullable),
        ),
        Node::Repeat { node, min, .. } => {
            let (set, nullable) = first(node);
            (set, nullable || *min == 0)
        }
        Node::Group { node, .. } | Node::Atomic(node) => first(node),
    }
}
