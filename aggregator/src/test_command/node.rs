//! Values with their places: what case files consist of, and what events are compared as.
//!
//! Numbers stay as they are written, so that nothing is rounded before it is compared; two that
//! mean the same (`1`, `1.0`, `10e-1`) are equal. Objects keep their order, which does not count in a
//! comparison.

use skidder_pipeline::language::{Span, Spanned};

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Where it stands; of a value that came out of a filter, nowhere in particular.
    pub(crate) span: Span,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Null,
    Boolean(bool),
    /// A number as JSON writes it.
    Number(Box<str>),
    Text(Box<str>),
    Array(Vec<Node>),
    Object(Vec<Member>),
}

/// A field of an object.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) key: Spanned<String>,
    pub(crate) value: Node,
}

impl Node {
    pub(crate) fn new(kind: Kind, span: Span) -> Self {
        Self { span, kind }
    }

    /// The fields; none if it is no object.
    pub(crate) fn members(&self) -> &[Member] {
        match &self.kind {
            Kind::Object(members) => members,
            _ => &[],
        }
    }

    /// A field of an object.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let member = self.members().iter().find(|member| member.key.value == key);
        member.map(|member| &member.value)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What a message calls this kind of value.
    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "null",
            Kind::Boolean(_) => "a boolean",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "a text",
            Kind::Array(_) => "a list",
            Kind::Object(_) => "an object",
        }
    }

    /// Takes a field out; an object on the way that has no other field goes with it.
    pub(crate) fn remove(&mut self, keys: &[String]) {
        let (Kind::Object(members), [first, rest @ ..]) = (&mut self.kind, keys) else {
            return;
        };
        let Some(at) = members.iter().position(|member| member.key.value == *first) else {
            return;
        };
        let goes = match &mut members[at].value {
            _ if rest.is_empty() => true,
            inner @ Self {
                kind: Kind::Object(_),
                ..
            } => {
                inner.remove(rest);
                inner.members().is_empty()
            }
            _ => false,
        };
        if goes {
            members.remove(at);
        }
    }

    /// Fields that are named `[a][b]` become nested ones.
    pub(crate) fn expand_references(self) -> Self {
        let span = self.span;
        let Kind::Object(members) = self.kind else {
            return self;
        };
        let mut expanded = Vec::with_capacity(members.len());
        for member in members {
            let value = member.value.expand_references();
            let place = member.key.span;
            match bracketed(&member.key.value) {
                Some(keys) => put(&mut expanded, &keys, value, place),
                None => put(&mut expanded, &[member.key.value.as_str()], value, place),
            }
        }
        Self::new(Kind::Object(expanded), span)
    }

    /// Appends the value as JSON on one line.
    pub(crate) fn write_json(&self, out: &mut String) {
        match &self.kind {
            Kind::Null => out.push_str("null"),
            Kind::Boolean(boolean) => out.push_str(if *boolean { "true" } else { "false" }),
            Kind::Number(number) => out.push_str(number),
            Kind::Text(text) => write_text(text, out),
            Kind::Array(values) => {
                out.push('[');
                for (at, value) in values.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    value.write_json(out);
                }
                out.push(']');
            }
            Kind::Object(members) => {
                out.push('{');
                for (at, member) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    write_text(&member.key.value, out);
                    out.push(':');
                    member.value.write_json(out);
                }
                out.push('}');
            }
        }
    }

    pub(crate) fn to_json(&self) -> String {
        let mut text = String::new();
        self.write_json(&mut text);
        text
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Null, Kind::Null) => true,
            (Kind::Boolean(left), Kind::Boolean(right)) => left == right,
            (Kind::Number(left), Kind::Number(right)) => same_number(left, right),
            (Kind::Text(left), Kind::Text(right)) => left == right,
            (Kind::Array(left), Kind::Array(right)) => left == right,
            (Kind::Object(left), Kind::Object(right)) => {
                left.len() == right.len()
                    && left
                        .iter()
                        .all(|member| other.get(&member.key.value) == Some(&member.value))
            }
            _ => false,
        }
    }
}

/// The keys of a name such as `[a][b]`; nothing for one that is not written in brackets.
///
/// COMPAT: logstash-filter-verifier takes any other name for one at the top.
pub(crate) fn bracketed(name: &str) -> Option<Vec<&str>> {
    let inner = name.strip_prefix('[')?.strip_suffix(']')?;
    let keys: Vec<&str> = inner.split("][").collect();
    let is_key = |key: &&str| !key.is_empty() && !key.contains(['[', ']', ',']);
    keys.iter().all(is_key).then_some(keys)
}

/// The keys of a field, in brackets or not.
pub(crate) fn keys_of(name: &str) -> Vec<String> {
    bracketed(name).map_or_else(
        || vec![name.to_owned()],
        |keys| keys.into_iter().map(str::to_owned).collect(),
    )
}

/// Sets a field; objects on the way are made, and two objects in one place become one.
fn put(members: &mut Vec<Member>, keys: &[&str], value: Node, place: Span) {
    let [first, rest @ ..] = keys else { return };
    let found = members.iter().position(|member| member.key.value == *first);
    let at = found.unwrap_or_else(|| {
        let span = value.span;
        members.push(Member {
            key: Spanned::new((*first).to_owned(), place),
            value: Node::new(Kind::Object(Vec::new()), span),
        });
        members.len() - 1
    });
    let slot = &mut members[at].value;
    if rest.is_empty() {
        merge(slot, value);
        return;
    }
    if !matches!(slot.kind, Kind::Object(_)) {
        slot.kind = Kind::Object(Vec::new());
    }
    if let Kind::Object(inner) = &mut slot.kind {
        put(inner, rest, value, place);
    }
}

/// Puts a value into a place; the fields of an object go into an object that is there.
fn merge(slot: &mut Node, value: Node) {
    match (&mut slot.kind, value.kind) {
        (Kind::Object(there), Kind::Object(members)) if !there.is_empty() => {
            for member in members {
                let place = member.key.span;
                put(there, &[member.key.value.as_str()], member.value, place);
            }
        }
        (_, kind) => *slot = Node::new(kind, value.span),
    }
}

fn same_number(left: &str, right: &str) -> bool {
    if left == right {
        return true;
    }
    match (left.parse::<i128>(), right.parse::<i128>()) {
        (Ok(left), Ok(right)) => left == right,
        _ => match (left.parse::<f64>(), right.parse::<f64>()) {
            #[expect(clippy::float_cmp, reason = "equal is what they are to be")]
            (Ok(left), Ok(right)) => left == right && left.is_finite(),
            _ => false,
        },
    }
}

fn write_text(text: &str, out: &mut String) {
    let mut bytes = Vec::with_capacity(text.len() + 2);
    skidder_pipeline::event::write_json_text(text.as_bytes(), &mut bytes);
    out.push_str(&String::from_utf8_lossy(&bytes));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_command::json;

    fn node(text: &str) -> Node {
        json::read(text, 0).unwrap()
    }

    #[test]
    fn values_have_types_and_numbers_a_value() {
        for (left, right, same) in [
            ("1", "1.0", true),
            ("100", "1e2", true),
            ("1", "\"1\"", false),
            ("true", "\"true\"", false),
            ("null", "false", false),
            ("9007199254740993", "9007199254740992", false),
            ("{\"a\":1,\"b\":[2]}", "{\"b\":[2.0],\"a\":1}", true),
            ("{\"a\":1}", "{\"a\":1,\"b\":null}", false),
            ("[1,2]", "[2,1]", false),
            ("1e999", "2e999", false),
        ] {
            assert_eq!(node(left) == node(right), same, "{left} {right}");
        }
    }

    #[test]
    fn names_in_brackets_are_nested() {
        let expanded = node(r#"{"[a][b]":1,"a":{"c":2},"[a][d][e]":3,"[x":4,"[y]":5,"[a,b]":6}"#);
        let expected = r#"{"a":{"b":1,"c":2,"d":{"e":3}},"[x":4,"y":5,"[a,b]":6}"#;
        assert_eq!(expanded.expand_references().to_json(), expected);
    }

    #[test]
    fn a_removed_field_takes_empty_objects_with_it() {
        let mut value = node(r#"{"a":{"b":{"c":1}},"d":{"e":1,"f":2},"g":3}"#);
        for name in ["[a][b][c]", "[d][e]", "[g][x]", "none"] {
            value.remove(&keys_of(name));
        }
        assert_eq!(value.to_json(), r#"{"d":{"f":2},"g":3}"#);
    }
}
