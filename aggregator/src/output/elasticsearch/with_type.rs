//! Items for servers that want a type: those of generation 6 refuse a request in which one has none.
//!
//! COMPAT: `_doc`, which they take for the type of an index whatever it is called there (from 6.7 on). They also refuse to create
//! what has no id, so that is an `index`, which does the same then.

use super::bulk::{Action, ActionKind, Item};
use super::response::RequestError;
use super::without_id::end_of_text;

/// The type of what has none.
pub(super) const TYPE: &str = "_doc";

/// Whether the request was refused because an item has no type.
pub(super) fn wants_type(refusal: &RequestError) -> bool {
    refusal.reason.contains("type is missing")
}

/// The action in the form that these servers take.
pub(super) fn with_type<'a>(action: &Action<'a>) -> Action<'a> {
    let has = |text: Option<&str>| text.is_some_and(|text| !text.is_empty());
    let mut action = *action;
    if !has(action.document_type) {
        action.document_type = Some(TYPE);
    }
    if action.kind == ActionKind::Create && !has(action.id) {
        action.kind = ActionKind::Index;
    }
    action
}

/// Appends the item with a type in its action, if it has none; gives where it lies in `out`, and whether it was given one.
pub(super) fn write_with_type(item: &Item, body: &[u8], out: &mut Vec<u8>) -> (Item, bool) {
    const INDEX: &[u8] = b"\"_index\":";
    const MEMBER: &[u8] = b",\"_type\":";
    const ID: &[u8] = b",\"_id\":";
    const CREATE: &[u8] = b"{\"create\":";
    let start = out.len();
    let mut action = &body[item.start..item.document];
    let mut kind = item.kind;
    // Quotes inside of names are escaped, so this is nothing but the member.
    if memchr::memmem::find(action, ID).is_none()
        && let Some(rest) = action.strip_prefix(CREATE)
    {
        out.extend_from_slice(b"{\"index\":");
        action = rest;
        kind = ActionKind::Index;
    }
    // The member is the first of its object, and quotes inside of names are escaped.
    let index = memchr::memmem::find(action, INDEX).map(|at| at + INDEX.len());
    let at = index
        .map(|at| at + end_of_text(&action[at..]))
        .filter(|at| !action[*at..].starts_with(MEMBER));
    match at {
        Some(at) => {
            out.extend_from_slice(&action[..at]);
            out.extend_from_slice(MEMBER);
            out.extend_from_slice(format!("\"{TYPE}\"").as_bytes());
            out.extend_from_slice(&action[at..]);
        }
        None => out.extend_from_slice(action),
    }
    let document = out.len();
    out.extend_from_slice(&body[item.document..item.end]);
    let item = Item {
        start,
        document,
        end: out.len(),
        kind,
        ..*item
    };
    (item, at.is_some())
}

#[cfg(test)]
mod tests {
    use super::super::bulk::ActionKind;
    use super::*;

    fn typed(action: &str) -> (String, bool) {
        let body = format!("{action}\n{{\"a\":\"_index\"}}\n");
        let item = Item {
            start: 0,
            document: action.len() + 1,
            end: body.len(),
            kind: ActionKind::Index,
            own_id: false,
        };
        let mut out = b"before".to_vec();
        let (item, given) = write_with_type(&item, body.as_bytes(), &mut out);
        assert_eq!((item.start, item.end), (6, out.len()));
        assert_eq!(item.document_line(&out), b"{\"a\":\"_index\"}");
        let action = String::from_utf8(item.action_line(&out).to_vec()).unwrap();
        (action, given)
    }

    #[test]
    fn the_same_before_it_is_written() {
        let mut action = Action::new(ActionKind::Create, "i");
        let typed = with_type(&action);
        assert_eq!(
            (typed.kind, typed.document_type),
            (ActionKind::Index, Some("_doc"))
        );
        (action.id, action.document_type) = (Some("1"), Some("kept"));
        let typed = with_type(&action);
        assert_eq!(
            (typed.kind, typed.document_type),
            (ActionKind::Create, Some("kept"))
        );
    }

    #[test]
    fn an_action_gets_a_type_unless_it_has_one() {
        for (action, expected) in [
            (
                r#"{"index":{"_index":"i"}}"#,
                r#"{"index":{"_index":"i","_type":"_doc"}}"#,
            ),
            (
                r#"{"create":{"_index":"i","routing":"r"}}"#,
                r#"{"index":{"_index":"i","_type":"_doc","routing":"r"}}"#,
            ),
            (
                r#"{"create":{"_index":"a\"b","_id":",\"_type\":"}}"#,
                r#"{"create":{"_index":"a\"b","_type":"_doc","_id":",\"_type\":"}}"#,
            ),
        ] {
            assert_eq!(typed(action), (expected.to_owned(), true));
            assert_eq!(typed(expected), (expected.to_owned(), false));
        }
    }
}
