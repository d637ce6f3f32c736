//! What came out, beside what was to come out.
//!
//! Events are compared in order. Where their numbers differ, those that are equal are paired first, so
//! that one event more or less does not make all that follow look wrong.

use std::collections::BTreeSet;

use super::case_file::{Case, Expected};
use super::node::{Kind, Member, Node};
use super::run::{CameOut, OUTPUT_FIELD};

/// Pairs that are looked for among events, at most; beyond that events are paired by their order alone.
const MAX_PAIRS: usize = 1 << 20;

/// How an event is not what it was to be.
#[derive(Debug)]
pub(crate) enum Difference {
    /// It came, but with other fields.
    Fields {
        /// Its number among the events that were to come, from 1.
        number: usize,
        fields: Vec<FieldDifference>,
    },
    /// It did not come.
    Missing { number: usize, event: Node },
    /// It was not to come.
    Unexpected { number: usize, event: Node },
}

/// A field that is not what it was to be.
#[derive(Debug, PartialEq)]
pub(crate) struct FieldDifference {
    /// Its reference.
    pub(crate) field: String,
    /// What it was to be; nothing if it was not to be there.
    pub(crate) expected: Option<Node>,
    /// What it is; nothing if it is not there.
    pub(crate) actual: Option<Node>,
}

/// What is not compared.
pub(crate) struct Ignored<'a> {
    /// Fields, as keys from the top.
    pub(crate) lists: [&'a [Vec<String>]; 2],
    /// Whether metadata is compared where the expected event has none.
    pub(crate) metadata_counts: bool,
}

impl Ignored<'_> {
    fn take_from(&self, event: &mut Node) {
        // COMPAT: logstash-filter-verifier never looks at it.
        event.remove(&["@version".to_owned()]);
        for keys in self.lists.into_iter().flatten() {
            event.remove(keys);
        }
    }
}

/// An event as it is compared: without what is ignored, and without a time that is only the clock's.
pub(super) fn compared(came: &CameOut, expected: Option<&Node>, ignored: &Ignored<'_>) -> Node {
    let mut event = came.event.clone();
    ignored.take_from(&mut event);
    if came.is_now && expected.is_none_or(|expected| expected.get("@timestamp").is_none()) {
        event.remove(&["@timestamp".to_owned()]);
    }
    // What metadata there is does not matter until someone asks.
    let asks = expected.is_some_and(|expected| expected.get("@metadata").is_some());
    if !asks && !ignored.metadata_counts {
        event.remove(&["@metadata".to_owned()]);
    }
    if let Some(expected) = expected {
        unify_output(&mut event, expected);
    }
    event
}

/// Compares what came of a case with what was to come.
pub(super) fn compare(case: &Case, came: &[CameOut], ignored: &Ignored<'_>) -> Vec<Difference> {
    let Expected {
        events, partial, ..
    } = &case.expected;
    let expected: Vec<Node> = events
        .iter()
        .map(|event| {
            let mut event = event.clone();
            ignored.take_from(&mut event);
            event
        })
        .collect();
    let wanted: Vec<Node> = expected
        .iter()
        .map(|event| {
            if *partial {
                without_nulls(event)
            } else {
                event.clone()
            }
        })
        .collect();
    let actual_for = |came: &CameOut, expected: &Node| {
        let actual = compared(came, Some(expected), ignored);
        if *partial {
            without_nulls(&part_of(&actual, expected))
        } else {
            actual
        }
    };
    let is_same =
        |left: usize, right: usize| wanted[left] == actual_for(&came[right], &expected[left]);
    let mut differences = Vec::new();
    for pair in align(expected.len(), came.len(), &is_same) {
        match pair {
            (Some(left), Some(right)) => {
                let actual = actual_for(&came[right], &expected[left]);
                let fields = field_differences(&wanted[left], &actual);
                if !fields.is_empty() {
                    let number = left + 1;
                    differences.push(Difference::Fields { number, fields });
                }
            }
            (Some(left), None) => differences.push(Difference::Missing {
                number: left + 1,
                event: expected[left].clone(),
            }),
            (None, Some(right)) => {
                let event = compared(&came[right], None, ignored);
                let number = right + 1;
                differences.push(Difference::Unexpected { number, event });
            }
            (None, None) => {}
        }
    }
    differences
}

/// What a case would have to say to pass: an event for each that came, beside the number of the
/// expected one that it takes the place of.
pub(super) fn accepted(
    case: &Case,
    came: &[CameOut],
    ignored: &Ignored<'_>,
) -> Vec<(Option<usize>, Node)> {
    let expected = &case.expected.events;
    let is_same = |left: usize, right: usize| {
        let actual = compared(&came[right], Some(&expected[left]), ignored);
        expected[left] == actual
    };
    let pairs = align(expected.len(), came.len(), &is_same).into_iter();
    pairs
        .filter_map(|(left, right)| {
            let before = left.map(|left| &expected[left]);
            let actual = compared(&came[right?], before, ignored);
            let event = match before {
                Some(before) if case.expected.partial => named_fields(&actual, before),
                _ => actual,
            };
            Some((left, event))
        })
        .collect()
}

/// The fields that a part of an event names, as they are now; null for one that is not there.
fn named_fields(actual: &Node, named: &Node) -> Node {
    let Kind::Object(names) = &named.kind else {
        return actual.clone();
    };
    if !matches!(actual.kind, Kind::Object(_)) {
        return actual.clone();
    }
    let fields = names.iter().map(|name| {
        let value = match actual.get(&name.key.value) {
            Some(value) => named_fields(value, &name.value),
            None => Node::new(Kind::Null, actual.span),
        };
        member(&name.key.value, value)
    });
    Node::new(Kind::Object(fields.collect()), actual.span)
}

/// Pairs two lists in order: first what is the same, then what lies between.
fn align(
    left: usize,
    right: usize,
    is_same: &dyn Fn(usize, usize) -> bool,
) -> Vec<(Option<usize>, Option<usize>)> {
    let by_order = |left: std::ops::Range<usize>, right: std::ops::Range<usize>| {
        let count = left.len().max(right.len());
        (0..count).map(move |at| (left.clone().nth(at), right.clone().nth(at)))
    };
    if left == right || left.saturating_mul(right) > MAX_PAIRS {
        return by_order(0..left, 0..right).collect();
    }
    // The longest common subsequence, from the end.
    let width = right + 1;
    let mut lengths = vec![0_u32; (left + 1) * width];
    let mut same = vec![false; left * right];
    for one in (0..left).rev() {
        for other in (0..right).rev() {
            let equal = is_same(one, other);
            same[one * right + other] = equal;
            lengths[one * width + other] = if equal {
                lengths[(one + 1) * width + other + 1] + 1
            } else {
                lengths[(one + 1) * width + other].max(lengths[one * width + other + 1])
            };
        }
    }
    let (mut pairs, mut one, mut other) = (Vec::new(), 0, 0);
    let (mut one_start, mut other_start) = (0, 0);
    while one < left && other < right {
        if same[one * right + other] {
            pairs.extend(by_order(one_start..one, other_start..other));
            pairs.push((Some(one), Some(other)));
            (one, other) = (one + 1, other + 1);
            (one_start, other_start) = (one, other);
        } else if lengths[(one + 1) * width + other] >= lengths[one * width + other + 1] {
            one += 1;
        } else {
            other += 1;
        }
    }
    pairs.extend(by_order(one_start..left, other_start..right));
    pairs
}

/// The fields in which two events differ, by reference, in the order of their names.
pub(crate) fn field_differences(expected: &Node, actual: &Node) -> Vec<FieldDifference> {
    let mut differences = Vec::new();
    differ("", expected, actual, &mut differences);
    differences
}

fn differ(name: &str, expected: &Node, actual: &Node, differences: &mut Vec<FieldDifference>) {
    if let (Kind::Object(left), Kind::Object(right)) = (&expected.kind, &actual.kind)
        && (name.is_empty() || !left.is_empty() && !right.is_empty())
    {
        let keys: BTreeSet<&str> = left
            .iter()
            .chain(right)
            .map(|member| member.key.value.as_str())
            .collect();
        for key in keys {
            let field = format!("{name}[{key}]");
            match (expected.get(key), actual.get(key)) {
                (Some(expected), Some(actual)) => differ(&field, expected, actual, differences),
                (expected, actual) => differences.push(FieldDifference {
                    field: plain(&field),
                    expected: expected.cloned(),
                    actual: actual.cloned(),
                }),
            }
        }
    } else if expected != actual {
        differences.push(FieldDifference {
            field: plain(name),
            expected: Some(expected.clone()),
            actual: Some(actual.clone()),
        });
    }
}

/// A field at the top is written without brackets.
fn plain(reference: &str) -> String {
    let inner = reference
        .strip_prefix('[')
        .and_then(|reference| reference.strip_suffix(']'))
        .filter(|name| !name.contains(['[', ']']));
    inner.unwrap_or(reference).to_owned()
}

/// Of an event, only the fields that another one has.
pub(super) fn part_of(event: &Node, named: &Node) -> Node {
    let (Kind::Object(members), Kind::Object(names)) = (&event.kind, &named.kind) else {
        return event.clone();
    };
    let kept = names.iter().filter_map(|name| {
        let found = members
            .iter()
            .find(|member| member.key.value == name.key.value)?;
        Some(member(&found.key.value, part_of(&found.value, &name.value)))
    });
    Node::new(Kind::Object(kept.collect()), event.span)
}

/// A part of an event without its nulls: there, null says that a field is not there.
fn without_nulls(part: &Node) -> Node {
    let Kind::Object(members) = &part.kind else {
        return part.clone();
    };
    let kept = members
        .iter()
        .filter(|member| !matches!(member.value.kind, Kind::Null))
        .map(|each| member(&each.key.value, without_nulls(&each.value)));
    Node::new(Kind::Object(kept.collect()), part.span)
}

/// COMPAT: in the verifier's ids of outputs all but letters and digits is `_`.
fn unify_output(event: &mut Node, expected: &Node) {
    let wanted = expected.get(OUTPUT_FIELD).and_then(Node::text);
    let name = event.get(OUTPUT_FIELD).and_then(Node::text);
    let (Some(wanted), Some(name)) = (wanted, name) else {
        return;
    };
    let safe = name.replace(|character: char| !character.is_ascii_alphanumeric(), "_");
    if wanted != name && wanted == safe {
        let value = Node::new(Kind::Text(safe.into()), event.span);
        event.remove(&[OUTPUT_FIELD.to_owned()]);
        if let Kind::Object(members) = &mut event.kind {
            members.push(member(OUTPUT_FIELD, value));
        }
    }
}

fn member(key: &str, value: Node) -> Member {
    Member {
        key: skidder_pipeline::language::Spanned::new(key.to_owned(), value.span),
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_command::json;

    fn node(text: &str) -> Node {
        json::read(text, 0).unwrap()
    }

    fn differences(expected: &str, actual: &str) -> Vec<String> {
        field_differences(&node(expected), &node(actual))
            .iter()
            .map(|difference| {
                let text = |node: &Option<Node>| node.as_ref().map_or("-".into(), Node::to_json);
                format!(
                    "{} {} {}",
                    difference.field,
                    text(&difference.expected),
                    text(&difference.actual)
                )
            })
            .collect()
    }

    #[test]
    fn fields_are_told_by_their_references() {
        assert_eq!(
            differences(
                r#"{"a":1,"b":{"c":[1,2],"d":"x"},"e":{},"f":null}"#,
                r#"{"b":{"c":[1,3],"d":"x","g":true},"a":"1","e":{"h":1}}"#,
            ),
            [
                "a 1 \"1\"",
                "[b][c] [1,2] [1,3]",
                "[b][g] - true",
                "e {} {\"h\":1}",
                "f null -"
            ]
        );
        assert_eq!(differences("{}", "{}"), Vec::<String>::new());
    }

    #[test]
    fn one_event_more_or_less_does_not_move_the_others() {
        let pairs = |left: &[i32], right: &[i32]| {
            align(left.len(), right.len(), &|one, other| {
                left[one] == right[other]
            })
        };
        assert_eq!(
            pairs(&[1, 2, 3], &[1, 3]),
            [(Some(0), Some(0)), (Some(1), None), (Some(2), Some(1))]
        );
        assert_eq!(
            pairs(&[1, 9], &[5, 1, 7, 8]),
            [
                (None, Some(0)),
                (Some(0), Some(1)),
                (Some(1), Some(2)),
                (None, Some(3))
            ]
        );
        assert_eq!(pairs(&[], &[1]), [(None, Some(0))]);
        assert_eq!(
            pairs(&[1, 2], &[2, 1]),
            [(Some(0), Some(0)), (Some(1), Some(1))]
        );
    }

    #[test]
    fn a_part_has_the_named_fields_only() {
        let event = node(r#"{"a":1,"b":{"c":1,"d":2},"e":3}"#);
        let part = part_of(&event, &node(r#"{"b":{"d":0,"x":null},"e":null,"y":1}"#));
        assert_eq!(part.to_json(), r#"{"b":{"d":2},"e":3}"#);
        let wanted = without_nulls(&node(r#"{"b":{"d":2,"x":null},"e":3}"#));
        assert_eq!(wanted, part);
    }
}
