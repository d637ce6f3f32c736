//! Lines of the same shape, and what they have in common.
//!
//! A line joins the first cluster of its shape (the kinds of its tokens) with which it shares at
//! least half of its words; words that differ become data. Afterwards clusters that differ in a
//! few kinds only become one, and those that have the same head and many different tails.
//! INVARIANT: the result depends on the lines and their order alone.

use std::collections::{BTreeMap, HashMap};

use super::tokens::{ADDRESS, Kind, LEVEL, Token, is_name};

/// A place in the lines of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// The same text in every line.
    Literal(String),
    /// White space that differs.
    Space,
    /// Data of one kind.
    Value(Kind),
    /// Data of one kind, or a dash.
    OrDash(Kind),
    /// Data of several kinds, without white space.
    Mixed,
    /// The rest of the line.
    Rest,
}

/// Lines that look the same.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub(super) slots: Vec<Slot>,
    /// The lines, by number.
    pub(super) lines: Vec<usize>,
}

/// The clusters so far.
pub(super) struct Clusters {
    all: Vec<Cluster>,
    by_shape: HashMap<Vec<(Kind, char)>, Vec<usize>>,
    most: usize,
    /// Lines of more kinds than there may be clusters.
    pub(super) left_out: usize,
}

/// From so many clusters on that share a head, their tails are taken to be free text.
const MANY_TAILS: usize = 5;

impl Clusters {
    pub(super) fn new(most: usize) -> Self {
        Self {
            all: Vec::new(),
            by_shape: HashMap::new(),
            most,
            left_out: 0,
        }
    }

    /// Adds a line.
    pub(super) fn add(&mut self, line: usize, tokens: &[Token<'_>]) {
        let shape: Vec<(Kind, char)> = tokens.iter().map(shape).collect();
        let known = self.by_shape.entry(shape).or_default();
        for index in known.iter() {
            let cluster = &mut self.all[*index];
            if is_alike(&cluster.slots, tokens) {
                join(&mut cluster.slots, tokens);
                cluster.lines.push(line);
                return;
            }
        }
        if self.all.len() >= self.most {
            self.left_out += 1;
            return;
        }
        known.push(self.all.len());
        self.all.push(Cluster {
            slots: tokens.iter().map(first_slot).collect(),
            lines: vec![line],
        });
    }

    /// The clusters, the largest first.
    pub(super) fn finish(self) -> Vec<Cluster> {
        let mut all = merge_kinds(self.all);
        all = merge_tails(all);
        for cluster in &mut all {
            cluster.lines.sort_unstable();
        }
        all.sort_by_key(|cluster| (std::cmp::Reverse(cluster.lines.len()), cluster.lines[0]));
        all
    }
}

/// What lines of one shape have in common: kinds and, of punctuation, characters.
fn shape(token: &Token<'_>) -> (Kind, char) {
    match token.kind {
        Kind::Punctuation => (token.kind, token.text.chars().next().unwrap_or_default()),
        kind => (kind, ' '),
    }
}

fn first_slot(token: &Token<'_>) -> Slot {
    match token.kind {
        Kind::Space | Kind::Punctuation | Kind::Key | Kind::Word => {
            Slot::Literal(token.text.to_owned())
        }
        Kind::Rest => Slot::Rest,
        kind => Slot::Value(kind),
    }
}

/// Whether a line shares enough words with a cluster of its shape: at least half, and all keys.
fn is_alike(slots: &[Slot], tokens: &[Token<'_>]) -> bool {
    let (mut words, mut same) = (0, 0);
    for (slot, token) in slots.iter().zip(tokens) {
        let equal = matches!(slot, Slot::Literal(text) if text == token.text);
        match token.kind {
            Kind::Key if !equal => return false,
            Kind::Word => {
                words += 1;
                same += usize::from(equal);
            }
            _ => {}
        }
    }
    same * 2 >= words
}

fn join(slots: &mut [Slot], tokens: &[Token<'_>]) {
    for (slot, token) in slots.iter_mut().zip(tokens) {
        let Slot::Literal(text) = slot else { continue };
        if text == token.text {
            continue;
        }
        *slot = match token.kind {
            Kind::Space => Slot::Space,
            kind => Slot::Value(kind),
        };
    }
}

/// Makes one of clusters of the same length that differ in few kinds of data.
fn merge_kinds(clusters: Vec<Cluster>) -> Vec<Cluster> {
    let mut by_length: BTreeMap<usize, Vec<Cluster>> = BTreeMap::new();
    for cluster in clusters {
        let merged = by_length.entry(cluster.slots.len()).or_default();
        let found = merged
            .iter_mut()
            .find_map(|other| Some((merged_slots(&other.slots, &cluster.slots)?, other)));
        match found {
            Some((slots, other)) => {
                other.slots = slots;
                other.lines.extend(cluster.lines);
            }
            None => merged.push(cluster),
        }
    }
    by_length.into_values().flatten().collect()
}

/// What two clusters have in common, if they differ in few places.
fn merged_slots(left: &[Slot], right: &[Slot]) -> Option<Vec<Slot>> {
    let (mut differ, mut data) = (0, 0);
    let mut slots = Vec::with_capacity(left.len());
    for (left, right) in left.iter().zip(right) {
        let is_data = |slot: &Slot| !matches!(slot, Slot::Literal(_) | Slot::Space);
        data += usize::from(is_data(left) || is_data(right));
        if left == right {
            slots.push(left.clone());
        } else if is_blank(left) && is_blank(right) {
            slots.push(Slot::Space);
        } else {
            let slot = merged_data(left, right)?;
            // A dash that stands for nothing is no difference, and so is a kind of number or
            // name.
            let is_other = slot == Slot::Mixed || !(is_data(left) && is_data(right));
            differ += usize::from(is_other);
            slots.push(slot);
        }
    }
    (differ * 4 <= data).then_some(slots)
}

fn is_blank(slot: &Slot) -> bool {
    match slot {
        Slot::Space => true,
        Slot::Literal(text) => text.trim().is_empty(),
        _ => false,
    }
}

/// Data that is of the kind of one slot or of another.
fn merged_data(left: &Slot, right: &Slot) -> Option<Slot> {
    // The kind, if it is not a dash only, and whether it may be a dash.
    let kind = |slot: &Slot| match slot {
        Slot::Value(Kind::Dash) => Some((None, true)),
        Slot::Value(kind) => Some((Some(*kind), false)),
        Slot::OrDash(kind) => Some((Some(*kind), true)),
        Slot::Literal(text) if !text.is_empty() && text.chars().all(is_name) => {
            let is_word = text.chars().all(char::is_alphabetic);
            Some((Some(if is_word { Kind::Word } else { Kind::Name }), false))
        }
        _ => None,
    };
    let single = |slot: &Slot| {
        let kind = kind(slot).map(|(kind, _)| kind.is_none_or(is_single));
        *slot == Slot::Mixed || kind == Some(true)
    };
    let (Some(first), Some(second)) = (kind(left), kind(right)) else {
        return (single(left) && single(right)).then_some(Slot::Mixed);
    };
    let both = match (first.0, second.0) {
        (None, None) => return Some(Slot::Value(Kind::Dash)),
        (Some(kind), None) | (None, Some(kind)) => kind,
        (Some(first), Some(second)) if first == second => first,
        (Some(first), Some(second)) => match (first, second) {
            (Kind::Word | Kind::Name, Kind::Word | Kind::Name) => Kind::Name,
            (Kind::Integer | Kind::Decimal, Kind::Integer | Kind::Decimal) => Kind::Decimal,
            (first, second) if is_single(first) && is_single(second) => return Some(Slot::Mixed),
            _ => return None,
        },
    };
    Some(if first.1 || second.1 {
        Slot::OrDash(both)
    } else {
        Slot::Value(both)
    })
}

/// Whether data of a kind is one piece without white space.
fn is_single(kind: Kind) -> bool {
    kind == ADDRESS
        || matches!(
            kind,
            Kind::Integer | Kind::Decimal | Kind::Word | Kind::Name | Kind::Path
        )
}

/// Makes one of clusters with the same head and many different tails.
fn merge_tails(clusters: Vec<Cluster>) -> Vec<Cluster> {
    let mut by_head: BTreeMap<String, Vec<Cluster>> = BTreeMap::new();
    let mut merged = Vec::new();
    for cluster in clusters {
        match head(&cluster.slots) {
            Some(length) => {
                let key = format!("{:?}", kinds(&cluster.slots[..length]));
                by_head.entry(key).or_default().push(cluster);
            }
            None => merged.push(cluster),
        }
    }
    for clusters in by_head.into_values() {
        if clusters.len() < MANY_TAILS {
            merged.extend(clusters);
            continue;
        }
        let length = head(&clusters[0].slots).unwrap_or_default();
        let mut slots = clusters[0].slots[..length].to_vec();
        for cluster in &clusters[1..] {
            for (slot, other) in slots.iter_mut().zip(&cluster.slots) {
                if slot != other {
                    *slot = common(slot, other);
                }
            }
        }
        slots.push(Slot::Rest);
        merged.push(Cluster {
            slots,
            lines: clusters.into_iter().flat_map(|each| each.lines).collect(),
        });
    }
    merged
}

/// The slots without the words.
fn kinds(slots: &[Slot]) -> Vec<Slot> {
    let kind = |slot: &Slot| match slot {
        Slot::Literal(text) if text.chars().any(char::is_alphanumeric) => Slot::Value(Kind::Name),
        Slot::Literal(text) if text.trim().is_empty() => Slot::Space,
        Slot::Value(Kind::Word) => Slot::Value(Kind::Name),
        other => other.clone(),
    };
    slots.iter().map(kind).collect()
}

/// What two slots of heads of the same kinds have in common.
fn common(left: &Slot, right: &Slot) -> Slot {
    let is_word = |slot: &Slot| match slot {
        Slot::Literal(text) => text.chars().all(char::is_alphabetic),
        Slot::Value(kind) => *kind == Kind::Word,
        _ => false,
    };
    if is_blank(left) {
        Slot::Space
    } else if is_word(left) && is_word(right) {
        Slot::Value(Kind::Word)
    } else {
        Slot::Value(Kind::Name)
    }
}

/// The slots before free text begins: behind the last of a time, a level or an address, a bracket
/// or colon that stands near it, and the white space there.
fn head(slots: &[Slot]) -> Option<usize> {
    let strong = |slot: &Slot| matches!(slot, Slot::Value(Kind::Typed(index)) if *index <= 4);
    let level = |slot: &Slot| matches!(slot, Slot::Value(kind) if *kind == LEVEL);
    let marker = slots
        .iter()
        .position(level)
        .or_else(|| slots.iter().position(strong))?;
    let mut end = marker + 1;
    // Up to the last delimiter that stands within a few tokens of the one before.
    let mut near = 0;
    for (index, slot) in slots.iter().enumerate().skip(marker + 1) {
        let delimiter = match slot {
            Slot::Literal(text) => matches!(text.as_str(), ":" | "]" | "|" | ")"),
            Slot::Value(Kind::Dash) => true,
            _ => false,
        };
        if delimiter {
            end = index + 1;
            near = 0;
        } else {
            near += 1;
            if near > NEAR {
                break;
            }
        }
    }
    match slots.get(end) {
        Some(Slot::Literal(text)) if text.trim().is_empty() => Some(end + 1),
        Some(Slot::Space) => Some(end + 1),
        _ => None,
    }
}

/// A delimiter so many tokens behind the one before still belongs to the head.
const NEAR: usize = 6;
