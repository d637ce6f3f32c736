//! Items for servers that take no ids of ours: time series, whose ids the servers make of the document.
//!
//! The id moves from the action into the document, as [`FIELD`], so that copies of a line can be told
//! afterwards; that a line is stored once can no longer be promised.

use super::bulk::Item;
use super::response::Failure;

/// Where the id is then.
pub(super) const FIELD: &str = "dedupe_id";

/// Whether the item was refused because it has an id.
///
/// COMPAT: the words of Amazon's serverless collections, and of Elasticsearch's time series.
pub(super) fn refuses_ids(failure: &Failure) -> bool {
    failure.status == 400
        && (failure.reason.contains("Document ID is not supported")
            || failure.reason.contains("_id must be unset"))
}

/// Appends an item with its id in the document; gives where it lies in `out`.
pub(super) fn write_without_id(item: &Item, body: &[u8], out: &mut Vec<u8>) -> Item {
    const MEMBER: &[u8] = b",\"_id\":";
    let start = out.len();
    let action = &body[item.start..item.document];
    let document = &body[item.document..item.end];
    // Quotes inside of names are escaped, so this is nothing but the member.
    let Some(at) = memchr::memmem::find(action, MEMBER) else {
        out.extend_from_slice(&body[item.range()]);
        return placed(item, start, item.document - item.start, out);
    };
    let text = &action[at + MEMBER.len()..];
    let id = &text[..end_of_text(text)];
    out.extend_from_slice(&action[..at]);
    out.extend_from_slice(&text[id.len()..]);
    let document_at = out.len() - start;
    out.extend_from_slice(format!("{{\"{FIELD}\":").as_bytes());
    out.extend_from_slice(id);
    let rest = document.strip_prefix(b"{").unwrap_or(document);
    if !rest.starts_with(b"}") {
        out.push(b',');
    }
    out.extend_from_slice(rest);
    placed(item, start, document_at, out)
}

fn placed(item: &Item, start: usize, document_at: usize, out: &[u8]) -> Item {
    Item {
        start,
        document: start + document_at,
        end: out.len(),
        kind: item.kind,
        own_id: false,
    }
}

/// One past the quote that ends the JSON string at the start of `text`.
pub(super) fn end_of_text(text: &[u8]) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 1,
            b'"' => return at + 1,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::super::bulk::ActionKind;
    use super::*;

    fn moved(action: &str, document: &str) -> String {
        let body = format!("{action}\n{document}\n");
        let item = Item {
            start: 0,
            document: action.len() + 1,
            end: body.len(),
            kind: ActionKind::Create,
            own_id: true,
        };
        let mut out = b"before".to_vec();
        let item = write_without_id(&item, body.as_bytes(), &mut out);
        assert_eq!((item.start, item.end, item.own_id), (6, out.len(), false));
        assert!(item.document_line(&out).starts_with(b"{"));
        String::from_utf8(out[6..].to_vec()).unwrap()
    }

    #[test]
    fn the_id_moves_into_the_document() {
        assert_eq!(
            moved(
                r#"{"create":{"_index":"i","_id":"a\"b","routing":"r"}}"#,
                r#"{"a":1}"#
            ),
            "{\"create\":{\"_index\":\"i\",\"routing\":\"r\"}}\n{\"dedupe_id\":\"a\\\"b\",\"a\":1}\n"
        );
        assert_eq!(
            moved(r#"{"create":{"_index":"i","_id":"x"}}"#, "{}"),
            "{\"create\":{\"_index\":\"i\"}}\n{\"dedupe_id\":\"x\"}\n"
        );
        assert_eq!(
            moved(r#"{"create":{"_index":"i"}}"#, "{}"),
            "{\"create\":{\"_index\":\"i\"}}\n{}\n"
        );
    }
}
