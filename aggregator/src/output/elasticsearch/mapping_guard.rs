//! Keeps documents whose values do not fit the mapping of a field.
//!
//! A server refuses the whole document for one such value. It says which field it is about, so the value
//! moves beside it, as a text, into `<field>__string`, where it can be searched, and the document is sent
//! again: nothing is dropped, and what fits is where it belongs. What fits after a conversion that loses
//! nothing (`"7"` for a number) the servers convert themselves.
//!
//! INVARIANT: every attempt moves a field that has not got the suffix into one that has, and one that has
//! is never moved, so a document is sent again at most once for each of its fields.

use bumpalo::Bump;
use skidder_pipeline::event::{
    JsonLimits, Name, Object, Value, read_json_object, write_json_value,
};

use super::bulk::{ActionKind, Item};
use super::response::Failure;

/// What the name of the field beside ends with.
pub(super) const SUFFIX: &str = "__string";

/// Each stands before the name of the field in the words of a server: Elasticsearch's from 5 to 9 and
/// `OpenSearch`'s.
const BEFORE_NAME: [&str; 5] = [
    "failed to parse field [",
    "failed to parse [",
    "object mapping for [",
    "non object mapping [",
    "mapper [",
];

/// The field whose value was refused, if that is why an item was.
pub(super) fn misfit(failure: &Failure) -> Option<&str> {
    let is_about_mapping = matches!(
        failure.error_type.as_str(),
        "mapper_parsing_exception" | "document_parsing_exception" | "illegal_argument_exception"
    );
    if failure.status != 400 || !is_about_mapping {
        return None;
    }
    let (at, before) = BEFORE_NAME
        .iter()
        .filter_map(|before| Some((failure.reason.find(before)?, before)))
        .min()?;
    let (name, _) = failure.reason[at + before.len()..].split_once(']')?;
    // A data stream without a time is no better.
    (!name.is_empty() && name != "@timestamp" && !name.ends_with(SUFFIX)).then_some(name)
}

/// Appends the item with the value of `field` beside it; gives where it lies in `out`. Nothing is
/// appended if the document has no such field, or one of the other name already.
pub(super) fn write_beside(
    item: &Item,
    body: &[u8],
    field: &str,
    out: &mut Vec<u8>,
) -> Option<Item> {
    if !matches!(item.kind, ActionKind::Index | ActionKind::Create) {
        return None;
    }
    let arena = Bump::new();
    let document = item.document_line(body);
    let mut fields = read_json_object(document, JsonLimits::default(), &arena).ok()?;
    if !move_field(&mut fields, field, &arena) {
        return None;
    }
    let start = out.len();
    out.extend_from_slice(&body[item.start..item.document]);
    let document = out.len();
    write_json_value(&Value::object(fields, &arena), out);
    out.push(b'\n');
    Some(Item {
        start,
        document,
        end: out.len(),
        ..*item
    })
}

/// Moves the field of this path, which may have points in its names, in every object that has it.
fn move_field<'b>(object: &mut Object<'b>, path: &str, arena: &'b Bump) -> bool {
    if object.get(&Name::new(path)).is_some() {
        let beside = Name::copied_in(&format!("{path}{SUFFIX}"), arena);
        if object.get(&beside).is_some() {
            return false;
        }
        let Some(value) = object.remove(&Name::new(path)) else {
            return false;
        };
        object.push_new(beside, as_text(value, arena));
        return true;
    }
    let mut moved = false;
    for (name, value) in object.iter_mut() {
        let rest = path.strip_prefix(name.as_str());
        if let Some(rest) = rest.and_then(|rest| rest.strip_prefix('.')) {
            moved |= move_below(value, rest, arena);
        }
    }
    moved
}

fn move_below<'b>(value: &mut Value<'b>, path: &str, arena: &'b Bump) -> bool {
    match value {
        Value::Object(object) => move_field(object, path, arena),
        Value::Array(values) => {
            let mut moved = false;
            for value in values.iter_mut() {
                moved |= move_below(value, path, arena);
            }
            moved
        }
        _ => false,
    }
}

/// A text as it is, the texts of an array each by itself, anything else as its JSON.
fn as_text<'b>(value: Value<'b>, arena: &'b Bump) -> Value<'b> {
    match value {
        Value::Text(_) | Value::Null => value,
        Value::Array(values) => {
            for value in values.iter_mut() {
                let inner = std::mem::replace(value, Value::Null);
                *value = as_text(inner, arena);
            }
            Value::Array(values)
        }
        other => {
            let mut json = Vec::new();
            write_json_value(&other, &mut json);
            Value::copied_text(&json, arena)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaint_28_the_field_that_a_server_names() {
        let field = |error_type: &str, reason: &str| {
            let failure = Failure {
                index: 0,
                status: 400,
                error_type: error_type.to_owned(),
                reason: reason.to_owned(),
            };
            misfit(&failure).map(ToOwned::to_owned)
        };
        for (error_type, reason, expected) in [
            (
                "mapper_parsing_exception",
                "failed to parse field [a.b] of type [long] in document with id 'x'. Preview of field's value: '[c]'",
                Some("a.b"),
            ),
            (
                "document_parsing_exception",
                "[1:7] object mapping for [a] tried to parse field [a] as object, but found a concrete value",
                Some("a"),
            ),
            ("mapper_parsing_exception", "failed to parse [n]", Some("n")),
            (
                "illegal_argument_exception",
                "mapper [n] cannot be changed from type [long] to [text]",
                Some("n"),
            ),
            (
                "illegal_argument_exception",
                "can't merge a non object mapping [a] with an object mapping",
                Some("a"),
            ),
            (
                "illegal_argument_exception",
                "Limit of total fields [1000] has been exceeded",
                None,
            ),
            (
                "strict_dynamic_mapping_exception",
                "mapping set to strict, dynamic introduction of [x]",
                None,
            ),
            (
                "mapper_parsing_exception",
                "failed to parse field [@timestamp] of type [date]",
                None,
            ),
            (
                "mapper_parsing_exception",
                "failed to parse field [a__string] of type [long]",
                None,
            ),
        ] {
            assert_eq!(field(error_type, reason).as_deref(), expected, "{reason}");
        }
    }

    #[test]
    fn values_move_beside_and_nothing_else_changes() {
        for (document, field, expected) in [
            (
                r#"{"n":"x","m":1.50}"#,
                "n",
                Some(r#"{"m":1.5,"n__string":"x"}"#),
            ),
            (
                r#"{"a":{"b":{"c":7},"d":2}}"#,
                "a.b",
                Some(r#"{"a":{"d":2,"b__string":"{\"c\":7}"}}"#),
            ),
            (r#"{"a.b":7}"#, "a.b", Some(r#"{"a.b__string":"7"}"#)),
            (
                r#"{"a":{"b.c":true}}"#,
                "a.b.c",
                Some(r#"{"a":{"b.c__string":"true"}}"#),
            ),
            (
                r#"{"a":[{"b":1},{"c":2},{"b":[1,"x",{}]}]}"#,
                "a.b",
                Some(r#"{"a":[{"b__string":"1"},{"c":2},{"b__string":["1","x","{}"]}]}"#),
            ),
            (
                r#"{"n":123456789012345678901234567890}"#,
                "n",
                Some(r#"{"n__string":"123456789012345678901234567890"}"#),
            ),
            (r#"{"n":1,"n__string":"x"}"#, "n", None),
            (r#"{"n":1}"#, "m", None),
        ] {
            let action = "{\"create\":{}}\n";
            let body = format!("{action}{document}\n");
            let item = Item {
                start: 0,
                document: action.len(),
                end: body.len(),
                kind: ActionKind::Create,
                own_id: true,
            };
            let mut out = b"before".to_vec();
            let moved = write_beside(&item, body.as_bytes(), field, &mut out);
            let written = moved.map(|item| {
                assert_eq!((item.start, item.end), (6, out.len()));
                String::from_utf8(item.document_line(&out).to_vec()).unwrap()
            });
            assert_eq!(written.as_deref(), expected, "{document} {field}");
            assert!(expected.is_some() || out == b"before");
        }
    }
}
