//! The record that a document was made of, for its dead letter: what a person wants to see, and filters can be tried on again.

use bumpalo::Bump;
use skidder_pipeline::event::{JsonLimits, MESSAGE, Name, Object, Value, read_json_object};

use super::bulk::{ActionKind, Item};

const DOC: Name<'static> = Name::new("doc");
const EVENT: Name<'static> = Name::new("event");
const ORIGINAL: Name<'static> = Name::new("original");

/// What `[event][original]` or else `message` of the document say, if it has one of them as a text.
pub(super) fn original<'b>(item: &Item, body: &'b [u8], arena: &'b Bump) -> Option<&'b [u8]> {
    let document = item.document_line(body);
    let mut fields = read_json_object(document, JsonLimits::default(), arena).ok()?;
    if item.kind == ActionKind::Update {
        // The fields that change are below.
        let Some(Value::Object(changes)) = fields.remove(&DOC) else {
            return None;
        };
        return of_fields(changes);
    }
    of_fields(&fields)
}

fn of_fields<'b>(fields: &Object<'b>) -> Option<&'b [u8]> {
    let text = |value: Option<&Value<'b>>| match value {
        Some(Value::Text(text)) => Some(*text),
        _ => None,
    };
    let below = match fields.get(&EVENT) {
        Some(Value::Object(event)) => text(event.get(&ORIGINAL)),
        _ => None,
    };
    below.or_else(|| text(fields.get(&MESSAGE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_record_is() {
        let arena = Bump::new();
        for (kind, document, expected) in [
            (ActionKind::Index, r#"{"message":"m"}"#, Some("m")),
            (
                ActionKind::Create,
                r#"{"message":"m","event":{"original":"a\nb"}}"#,
                Some("a\nb"),
            ),
            (ActionKind::Index, r#"{"message":7,"event":"x"}"#, None),
            (
                ActionKind::Update,
                r#"{"doc":{"message":"m"},"upsert":{"message":"u"}}"#,
                Some("m"),
            ),
            (ActionKind::Delete, "", None),
            (ActionKind::Index, "no JSON", None),
        ] {
            let body = format!("{{}}\n{document}\n");
            let item = Item {
                start: 0,
                document: 3,
                end: body.len(),
                kind,
                own_id: false,
            };
            let body: &[u8] = arena.alloc_slice_copy(body.as_bytes());
            let found =
                original(&item, body, &arena).map(|text| std::str::from_utf8(text).unwrap());
            assert_eq!(found, expected, "{document}");
        }
    }
}
