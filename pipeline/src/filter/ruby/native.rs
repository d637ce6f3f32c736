//! Ruby code that is a filter already: `event.remove('x')` is `mutate { remove_field => … }`.
//!
//! Only what such a filter does just as well, on the events that the code was written for, is
//! named here; everything else is left to [`super::lua`].

use super::calls::{is_event, is_event_call};
use super::tree::{Call, Node, Statement};
use crate::language::FieldReference;

/// Filters that do what these statements do, if there are any for all of them.
pub(super) fn filters(statements: &[Statement]) -> Option<String> {
    if statements.is_empty() {
        return None;
    }
    let mut out = String::new();
    for statement in statements {
        out.push_str(&filter(&statement.node)?);
        out.push('\n');
    }
    Some(out)
}

fn filter(node: &Node) -> Option<String> {
    match node {
        Node::If(condition, then, otherwise) => {
            if let Some(percentage) = dropped_share(condition)
                && otherwise.is_empty()
                && matches!(then.as_slice(), [only] if is_cancel(&only.node))
            {
                return Some(format!("drop {{ percentage => {percentage} }}"));
            }
            let used = if otherwise.is_empty() {
                Use::IfTrue
            } else {
                Use::Any
            };
            let condition = condition_of(condition, used)?;
            if then.is_empty() {
                let body = indented(&filters(otherwise)?);
                return Some(format!("if !({condition}) {{\n{body}}}"));
            }
            let mut text = format!("if {condition} {{\n{}}}", indented(&filters(then)?));
            if !otherwise.is_empty() {
                text.push_str(" else {\n");
                text.push_str(&indented(&filters(otherwise)?));
                text.push('}');
            }
            Some(text)
        }
        Node::Call(call) if is_event(call.receiver.as_ref()) && call.block.is_none() => {
            match (call.name.as_str(), call.arguments.as_slice()) {
                ("cancel", []) => Some("drop { }".into()),
                ("remove", [Node::Text(name)]) => {
                    Some(format!("mutate {{ remove_field => [{}] }}", named(name)?))
                }
                ("tag", [Node::Text(tag)]) => {
                    Some(format!("mutate {{ add_tag => [{}] }}", text(tag)?))
                }
                ("set", [Node::Text(name), value]) => set(name, value),
                _ => None,
            }
        }
        _ => None,
    }
}

fn is_cancel(node: &Node) -> bool {
    matches!(node, Node::Call(call) if is_event_call(call, &["cancel"]))
}

/// `rand <= 0.9`: the share of events that are dropped, in percent.
fn dropped_share(condition: &Node) -> Option<String> {
    let Node::Binary("<" | "<=", left, right) = condition else {
        return None;
    };
    let is_rand = matches!(&**left, Node::Call(call) if call.receiver.is_none() && call.name == "rand" && call.arguments.is_empty());
    match &**right {
        Node::Float(share) if is_rand && (0.0..=1.0).contains(share) => {
            let percentage = (share * 1e8).round() / 1e6;
            Some(percentage.to_string())
        }
        _ => None,
    }
}

/// `event.set(name, value)`.
fn set(name: &str, value: &Node) -> Option<String> {
    let target = named(name)?;
    match value {
        Node::Text(value) if name != "@timestamp" => Some(format!(
            "mutate {{ replace => {{ {target} => {} }} }}",
            text(value)?
        )),
        Node::Call(call) => called(name, &target, call),
        _ => None,
    }
}

fn called(name: &str, target: &str, call: &Call) -> Option<String> {
    if call.block.is_some() || call.is_safe {
        return None;
    }
    // `event.set('b', event.get('a'))`
    if let Some(source) =
        field(call, "get").filter(|source| *source != name && name != "@timestamp")
    {
        return Some(format!(
            "mutate {{ copy => {{ {} => {target} }} }}",
            named(source)?
        ));
    }
    if let Some(source) =
        field(call, "remove").filter(|source| *source != name && name != "@timestamp")
    {
        return Some(format!(
            "mutate {{ rename => {{ {} => {target} }} }}",
            named(source)?
        ));
    }
    if let Some(Node::Constant(constant)) = &call.receiver {
        let [argument] = call.arguments.as_slice() else {
            return None;
        };
        let source = source_of(argument)?;
        return match (constant.as_str(), call.name.as_str()) {
            ("JSON" | "LogStash::Json", "parse" | "load") => Some(format!(
                "json {{ source => {} target => {target} }}",
                named(source)?
            )),
            ("URI" | "URI::DEFAULT_PARSER", "decode" | "unescape") if source == name => {
                Some(format!("urldecode {{ field => {target} }}"))
            }
            ("LogStash::Timestamp" | "Time", "at") => Some(format!(
                "date {{ match => [{}, \"UNIX\"] target => {target} }}",
                named(source)?
            )),
            (digest, "hexdigest") => {
                let method = match digest {
                    "Digest::MD5" => "MD5",
                    "Digest::SHA1" => "SHA1",
                    "Digest::SHA256" | "Digest::SHA2" => "SHA256",
                    "Digest::SHA384" => "SHA384",
                    "Digest::SHA512" => "SHA512",
                    _ => return None,
                };
                Some(format!(
                    "fingerprint {{ method => \"{method}\" source => [{}] target => {target} }}",
                    named(source)?
                ))
            }
            _ => None,
        };
    }
    // `event.set('a', event.get('a').upcase)`
    let source = source_of(call.receiver.as_ref()?)?;
    if source != name {
        return None;
    }
    let option = match (call.name.as_str(), call.arguments.as_slice()) {
        ("upcase", []) => format!("uppercase => [{target}]"),
        ("downcase", []) => format!("lowercase => [{target}]"),
        ("capitalize", []) => format!("capitalize => [{target}]"),
        ("strip", []) => format!("strip => [{target}]"),
        ("to_i", []) => format!("convert => {{ {target} => \"integer\" }}"),
        ("to_f", []) => format!("convert => {{ {target} => \"float\" }}"),
        ("to_s", []) => format!("convert => {{ {target} => \"string\" }}"),
        ("split", [Node::Text(by)]) if by != " " => {
            format!("split => {{ {target} => {} }}", text(by)?)
        }
        ("join", [Node::Text(by)]) => format!("join => {{ {target} => {} }}", text(by)?),
        ("gsub", [Node::Regex(pattern), Node::Text(by)]) => {
            format!("gsub => [{target}, {}, {}]", text(pattern)?, text(by)?)
        }
        _ => return None,
    };
    Some(format!("mutate {{ {option} }}"))
}

/// The field of `event.get('field')`.
fn field<'c>(call: &'c Call, method: &str) -> Option<&'c str> {
    match call.arguments.as_slice() {
        [Node::Text(name)] if is_event_call(call, &[method]) => Some(name),
        _ => None,
    }
}

/// The field of a value that is read from one, whatever number it is turned into.
fn source_of(node: &Node) -> Option<&str> {
    let Node::Call(call) = node else { return None };
    field(call, "get")
}

/// How the answer of a condition is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Something happens if it holds, and nothing if not: as in Ruby, where a missing field is a fault.
    IfTrue,
    /// Something happens if it does not hold.
    Any,
}

/// A condition of the language.
fn condition_of(node: &Node, used: Use) -> Option<String> {
    match node {
        Node::Call(call) if call.block.is_none() => {
            if let Some(name) = field(call, "get") {
                return reference(name);
            }
            match (
                call.name.as_str(),
                &call.receiver,
                call.arguments.as_slice(),
            ) {
                ("include?", Some(list), [Node::Text(value)]) if used == Use::IfTrue => Some(
                    format!("{} in {}", text(value)?, reference(source_of(list)?)?),
                ),
                _ => None,
            }
        }
        Node::Binary(operator @ ("==" | "!="), left, right) => {
            let name = reference(source_of(left)?)?;
            let value = match &**right {
                Node::Text(value) => text(value)?,
                Node::Integer(value) => value.to_string(),
                _ => return None,
            };
            Some(format!("{name} {operator} {value}"))
        }
        Node::Binary(operator @ ("=~" | "!~"), left, right) => match &**right {
            Node::Regex(pattern) if !pattern.contains('/') => Some(format!(
                "{} {operator} /{pattern}/",
                reference(source_of(left)?)?
            )),
            _ => None,
        },
        Node::And(left, right) => Some(format!(
            "({} and {})",
            condition_of(left, used)?,
            condition_of(right, used)?
        )),
        Node::Or(left, right) => Some(format!(
            "({} or {})",
            // A fault on the left keeps Ruby from the right.
            condition_of(left, Use::Any)?,
            condition_of(right, used)?
        )),
        Node::Not(inner) => Some(format!("!({})", condition_of(inner, Use::Any)?)),
        _ => None,
    }
}

/// The name of a field in quotes.
fn named(name: &str) -> Option<String> {
    FieldReference::parse(name).ok()?;
    text(name)
}

fn reference(name: &str) -> Option<String> {
    FieldReference::parse(name).ok()?;
    let is_plain = !name.is_empty() && !name.contains(['"', '%']);
    is_plain.then(|| {
        if name.starts_with('[') {
            name.to_owned()
        } else {
            format!("[{name}]")
        }
    })
}

/// A text in quotes that means itself: nothing in it is a template or an escape.
fn text(value: &str) -> Option<String> {
    if value.contains("%{") || value.contains("${") {
        return None;
    }
    if !value.contains('"') {
        return Some(format!("\"{value}\""));
    }
    (!value.contains('\'')).then(|| format!("'{value}'"))
}

fn indented(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for line in text.lines() {
        out.extend(["  ", line, "\n"]);
    }
    out
}
