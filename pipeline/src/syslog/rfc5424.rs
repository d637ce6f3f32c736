//! Messages of RFC 5424, as far as they must be taken apart by hand.
//!
//! ```text
//! <PRI>VERSION SP TIMESTAMP SP HOSTNAME SP APP-NAME SP PROCID SP MSGID SP STRUCTURED-DATA [SP MSG]
//! ```
//!
//! Each of the fields in the middle may be `-`, which is nothing. A message that starts with no
//! priority and version is not of this kind. Structured data that does not follow the rules is a part of
//! the text: it is not lost, only not taken apart.

use bumpalo::Bump;

use crate::event::{Array, Name, Object, Value};

/// Parameters and elements of structured data that are taken apart; with more, it stays a text.
pub const MAX_PARAMETERS: usize = 1_000;

/// A message, in parts. What is `-` in it is not there.
#[derive(Debug, PartialEq)]
pub(super) struct Message<'b> {
    pub(super) priority: i64,
    pub(super) version: &'b [u8],
    pub(super) timestamp: Option<&'b [u8]>,
    pub(super) hostname: Option<&'b [u8]>,
    pub(super) program: Option<&'b [u8]>,
    pub(super) process: Option<&'b [u8]>,
    pub(super) identifier: Option<&'b [u8]>,
    pub(super) data: Data<'b>,
    pub(super) text: &'b [u8],
}

/// Structured data.
#[derive(Debug, PartialEq)]
pub(super) enum Data<'b> {
    None,
    Elements(Object<'b>),
    /// More than [`MAX_PARAMETERS`].
    Raw(&'b [u8]),
}

impl<'b> Message<'b> {
    /// Takes a message apart; nothing if it is not of this kind.
    pub(super) fn parse(text: &'b [u8], arena: &'b Bump) -> Option<Self> {
        let rest = text.strip_prefix(b"<")?;
        let (priority, rest) = digits(rest)?;
        let (version, rest) = digits(rest.strip_prefix(b">")?)?;
        if version[0] == b'0' {
            return None;
        }
        let mut rest = rest.strip_prefix(b" ")?;
        let mut field = || {
            let end = memchr::memchr(b' ', rest)?;
            let field = &rest[..end];
            rest = &rest[end + 1..];
            (!field.is_empty()).then_some((field != b"-").then_some(field))
        };
        let (timestamp, hostname, program, process) = (field()?, field()?, field()?, field()?);
        // The last one may be the end of it.
        let identifier = match field() {
            Some(identifier) => identifier,
            None if rest.is_empty() || rest.contains(&b' ') => return None,
            None => {
                let last = std::mem::take(&mut rest);
                (last != b"-").then_some(last)
            }
        };
        let (data, text) = data(rest, arena).unwrap_or((Data::None, rest));
        let priority = priority
            .iter()
            .fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        Some(Self {
            priority,
            version,
            timestamp,
            hostname,
            program,
            process,
            identifier,
            data,
            text: text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text),
        })
    }
}

/// What says that a text is UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One to three digits and what stands behind them.
fn digits(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (1..=3).contains(&count).then(|| text.split_at(count))
}

/// The structured data at the start of a text and the message behind it.
fn data<'b>(text: &'b [u8], arena: &'b Bump) -> Option<(Data<'b>, &'b [u8])> {
    /// What follows must be separated by a blank.
    fn behind(rest: &[u8]) -> Option<&[u8]> {
        if rest.is_empty() {
            return Some(rest);
        }
        rest.strip_prefix(b" ")
    }
    if let Some(rest) = text.strip_prefix(b"-") {
        return Some((Data::None, behind(rest)?));
    }
    let mut elements = Object::new_in(arena);
    let mut count = 0;
    let mut rest = text;
    while let Some(inside) = rest.strip_prefix(b"[") {
        let (name, after) = name(inside)?;
        rest = after;
        let mut parameters = Object::new_in(arena);
        count += 1;
        while let Some(parameter) = rest.strip_prefix(b" ") {
            // Some leave a blank before the bracket.
            if parameter.starts_with(b"]") {
                rest = parameter;
                break;
            }
            let (name, after) = self::name(parameter)?;
            let (value, after) = value(after.strip_prefix(b"=\"")?, arena)?;
            rest = after;
            count += 1;
            if count <= MAX_PARAMETERS {
                add(&mut parameters, name, Value::Text(value), arena);
            }
        }
        rest = rest.strip_prefix(b"]")?;
        if count <= MAX_PARAMETERS {
            match elements.get_mut(&Name::new(name)) {
                // An element must not come twice; if it does, nothing of it is lost.
                Some(Value::Object(there)) => {
                    for (name, value) in parameters.iter_mut() {
                        let value = std::mem::replace(value, Value::Null);
                        add(there, name.as_str(), value, arena);
                    }
                }
                _ => elements.push_new(Name::new(name), Value::object(parameters, arena)),
            }
        }
    }
    let raw = &text[..text.len() - rest.len()];
    if raw.is_empty() {
        return None;
    }
    let data = if count <= MAX_PARAMETERS {
        Data::Elements(elements)
    } else {
        Data::Raw(raw)
    };
    Some((data, behind(rest)?))
}

/// Sets a parameter; the values of one that comes several times, which is allowed, are an array.
fn add<'b>(object: &mut Object<'b>, name: &'b str, value: Value<'b>, arena: &'b Bump) {
    let name = Name::new(name);
    match object.get_mut(&name) {
        None => object.push_new(name, value),
        Some(Value::Array(values)) => values.push(value),
        Some(there) => {
            let mut values = Array::with_capacity_in(2, arena);
            values.push(std::mem::replace(there, Value::Null));
            values.push(value);
            *there = Value::array(values, arena);
        }
    }
}

/// The name at the start of a text and what stands behind it.
fn name(text: &[u8]) -> Option<(&str, &[u8])> {
    let is_end = |byte: &u8| matches!(byte, b'=' | b' ' | b']' | b'"');
    let end = text.iter().position(is_end)?;
    let (name, rest) = text.split_at(end);
    let name = std::str::from_utf8(name).ok()?;
    (!name.is_empty()).then_some((name, rest))
}

/// The value whose opening quote stands before the text, and what stands behind the closing one.
fn value<'b>(text: &'b [u8], arena: &'b Bump) -> Option<(&'b [u8], &'b [u8])> {
    let mut end = 0;
    let mut escapes = false;
    loop {
        end += memchr::memchr2(b'"', b'\\', &text[end..])?;
        if text[end] == b'"' {
            break;
        }
        escapes = true;
        end += 2;
        if end > text.len() {
            return None;
        }
    }
    let (written, rest) = (&text[..end], &text[end + 1..]);
    if !escapes {
        return Some((written, rest));
    }
    let mut value = bumpalo::collections::Vec::with_capacity_in(written.len(), arena);
    let mut bytes = written.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        // Before any other character a backslash is only that.
        let escaped = bytes.next_if(|next| byte == b'\\' && matches!(next, b'"' | b'\\' | b']'));
        value.push(escaped.unwrap_or(byte));
    }
    Some((value.into_bump_slice(), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::write_json_value;

    /// The parts, each on its own.
    fn parts(text: &str) -> String {
        let arena = Bump::new();
        let text = arena.alloc_str(text).as_bytes();
        let Some(message) = Message::parse(text, &arena) else {
            return "none".into();
        };
        let show = |part: Option<&[u8]>| {
            part.map_or("-".into(), |part| {
                String::from_utf8_lossy(part).into_owned()
            })
        };
        let data = match message.data {
            Data::None => "-".to_owned(),
            Data::Raw(_) => "raw".to_owned(),
            Data::Elements(elements) => {
                let mut out = Vec::new();
                write_json_value(&Value::object(elements, &arena), &mut out);
                String::from_utf8(out).unwrap()
            }
        };
        [
            message.priority.to_string(),
            show(Some(message.version)),
            show(message.timestamp),
            show(message.hostname),
            show(message.program),
            show(message.process),
            show(message.identifier),
            data,
            show(Some(message.text)),
        ]
        .join("|")
    }

    #[test]
    fn messages() {
        for (text, expected) in [
            (
                "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{FEFF}'su root' failed",
                "34|1|2003-10-11T22:14:15.003Z|mymachine.example.com|su|-|ID47|-|'su root' failed",
            ),
            ("<0>1 - - - - - -", "0|1|-|-|-|-|-|-|"),
            ("<13>1 - - - - -", "13|1|-|-|-|-|-|-|"),
            ("<13>1 - - - - ID", "13|1|-|-|-|-|ID|-|"),
            ("<13>1 - h a 9 - - ", "13|1|-|h|a|9|-|-|"),
            (
                r#"<165>1 - h evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="App"][x@1] An entry"#,
                r#"165|1|-|h|evntslog|-|ID47|{"exampleSDID@32473":{"iut":"3","eventSource":"App"},"x@1":{}}|An entry"#,
            ),
            (
                r#"<13>1 - - - - - [a b="x\"\\\]\n" b="2" b="3" ]"#,
                r#"13|1|-|-|-|-|-|{"a":{"b":["x\"\\]\\n","2","3"]}}|"#,
            ),
            (
                r#"<13>1 - - - - - [a b="1"][a c="2" b="3"]"#,
                r#"13|1|-|-|-|-|-|{"a":{"b":["1","3"],"c":"2"}}|"#,
            ),
            // What is not as it must be stays in the text.
            (
                r#"<13>1 - - - - - [a b="1" text"#,
                r#"13|1|-|-|-|-|-|-|[a b="1" text"#,
            ),
            (
                "<13>1 - - - - - [not data] text",
                "13|1|-|-|-|-|-|-|[not data] text",
            ),
            (
                "<13>1 - - - - - no data at all",
                "13|1|-|-|-|-|-|-|no data at all",
            ),
            ("<13>1 - - - - - -dash", "13|1|-|-|-|-|-|-|-dash"),
            (
                r#"<13>1 - - - - - [a b="1\"#,
                r#"13|1|-|-|-|-|-|-|[a b="1\"#,
            ),
            ("<13>Oct 11 22:14:15 host su: x", "none"),
            ("<13>2003-10-11T22:14:15Z host su: x", "none"),
            ("<13>01 - - - - - -", "none"),
            ("<1300>1 - - - - - -", "none"),
            ("<13>1 - - - ", "none"),
            ("<13>1 - -  - - - x", "none"),
            ("13>1 - - - - - -", "none"),
        ] {
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn too_many_parameters_stay_a_text() {
        let many = r#" p="1""#.repeat(MAX_PARAMETERS);
        assert!(parts(&format!("<13>1 - - - - - [a{many}] text")).ends_with("|raw|text"));
        let fewer = r#" p="1""#.repeat(MAX_PARAMETERS - 1);
        let taken = parts(&format!("<13>1 - - - - - [a{fewer}] text"));
        assert!(taken.contains(r#"{"a":{"p":["1","1","#), "{taken}");
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(head in "(<1>1 - h a p i )?", tail: Vec<u8>, data in r#"[\[\]a ="\\-]{0,30}"#) {
            let arena = Bump::new();
            let text = [head.as_bytes(), data.as_bytes(), &tail].concat();
            if let Some(message) = Message::parse(&text, &arena) {
                prop_assert!(text.ends_with(message.text));
            }
        }
    }
}
