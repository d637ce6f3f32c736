//! The body of a bulk request and of its answer.
//!
//! The body is lines: an action, then (but for deletes) a document. The counting stub sees
//! hundreds of thousands of items a second beside the daemons that are measured on the same
//! cores, so the kind of an action is told from its first bytes and an item of the answer is a
//! copied constant of the size that real servers send.

use serde_json::json;

/// The four kinds of actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Index,
    Create,
    Update,
    Delete,
}

impl Kind {
    fn of(action: &[u8]) -> Option<Self> {
        // Blanks where JSON allows them: some clients write them.
        let name = action.trim_ascii_start().strip_prefix(b"{")?;
        let name = name.trim_ascii_start().strip_prefix(b"\"")?;
        [Self::Index, Self::Create, Self::Update, Self::Delete]
            .into_iter()
            .find(|kind| {
                name.strip_prefix(kind.name().as_bytes())
                    .and_then(|rest| rest.strip_prefix(b"\""))
                    .is_some_and(|rest| rest.trim_ascii_start().starts_with(b":"))
            })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// An item of a successful answer, as long as a real one.
    fn taken(self, filtered: bool) -> &'static str {
        match (self, filtered) {
            (Self::Index, true) => r#"{"index":{"status":201}}"#,
            (Self::Create, true) => r#"{"create":{"status":201}}"#,
            (Self::Update, true) => r#"{"update":{"status":200}}"#,
            (Self::Delete, true) => r#"{"delete":{"status":200}}"#,
            (Self::Index, false) => {
                r#"{"index":{"_index":"stub-2026.01.01","_id":"AbCdEfGhIjKlMnOpQrSt","_version":1,"result":"created","_shards":{"total":2,"successful":1,"failed":0},"_seq_no":0,"_primary_term":1,"status":201}}"#
            }
            (Self::Create, false) => {
                r#"{"create":{"_index":"stub-2026.01.01","_id":"AbCdEfGhIjKlMnOpQrSt","_version":1,"result":"created","_shards":{"total":2,"successful":1,"failed":0},"_seq_no":0,"_primary_term":1,"status":201}}"#
            }
            (Self::Update, false) => {
                r#"{"update":{"_index":"stub-2026.01.01","_id":"AbCdEfGhIjKlMnOpQrSt","_version":2,"result":"updated","_shards":{"total":2,"successful":1,"failed":0},"_seq_no":1,"_primary_term":1,"status":200}}"#
            }
            (Self::Delete, false) => {
                r#"{"delete":{"_index":"stub-2026.01.01","_id":"AbCdEfGhIjKlMnOpQrSt","_version":2,"result":"deleted","_shards":{"total":2,"successful":1,"failed":0},"_seq_no":1,"_primary_term":1,"status":200}}"#
            }
        }
    }
}

/// One action of a bulk request with its document.
#[derive(Clone, Copy, Debug)]
pub struct Action<'a> {
    pub(super) kind: Kind,
    /// The action line.
    pub line: &'a [u8],
    /// The document; empty for a delete.
    pub source: &'a [u8],
}

/// One item of a scripted answer.
#[derive(Clone, Debug)]
pub struct Item {
    status: u16,
    error: Option<(String, String)>,
}

impl Item {
    /// A success.
    pub fn ok(status: u16) -> Self {
        Self {
            status,
            error: None,
        }
    }

    /// A failure with the type and the reason of its error.
    pub fn error(status: u16, kind: &str, reason: &str) -> Self {
        Self {
            status,
            error: Some((kind.to_owned(), reason.to_owned())),
        }
    }

    pub(super) fn taken(&self) -> bool {
        matches!(self.status, 200 | 201)
    }
}

/// Splits a body into its actions; the same checks as the real servers make, in their words.
pub(super) fn parse<'a>(body: &'a [u8], actions: &mut Vec<Action<'a>>) -> Result<(), &'static str> {
    actions.clear();
    if body.is_empty() {
        return Err("request body is required");
    }
    if body.last() != Some(&b'\n') {
        return Err("The bulk request must be terminated by a newline [\\n]");
    }
    let mut start = 0;
    let mut waiting: Option<(Kind, &'a [u8])> = None;
    for end in memchr::memchr_iter(b'\n', body) {
        let line = &body[start..end];
        start = end + 1;
        match waiting.take() {
            Some((kind, action)) => actions.push(Action {
                kind,
                line: action,
                source: line,
            }),
            // COMPAT: the real servers skip an empty line where an action is due.
            None if line.is_empty() => {}
            None => match Kind::of(line).ok_or("Malformed action/metadata line")? {
                Kind::Delete => actions.push(Action {
                    kind: Kind::Delete,
                    line,
                    source: &[],
                }),
                kind => waiting = Some((kind, line)),
            },
        }
    }
    if waiting.is_some() {
        Err("an action without its document")
    } else {
        Ok(())
    }
}

/// The shape of an answer: whole, or only what the usual `filter_path` of shippers leaves of it
/// (`errors`, and the status and error of the items).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Whole,
    Filtered,
}

impl Shape {
    /// COMPAT: a real cluster filters by any path; here every filter is taken for the usual one.
    pub(super) fn of(path: &str) -> Self {
        if path.contains("filter_path=") {
            Self::Filtered
        } else {
            Self::Whole
        }
    }

    fn start(self, errors: bool) -> String {
        match self {
            Self::Whole => format!(r#"{{"took":3,"errors":{errors},"items":["#),
            Self::Filtered => format!(r#"{{"errors":{errors},"items":["#),
        }
    }
}

/// The answer to a request of which everything was taken.
pub(super) fn all_taken(actions: &[Action<'_>], shape: Shape, answer: &mut Vec<u8>) {
    answer.clear();
    answer.extend_from_slice(shape.start(false).as_bytes());
    for (number, action) in actions.iter().enumerate() {
        if number > 0 {
            answer.push(b',');
        }
        answer.extend_from_slice(action.kind.taken(shape == Shape::Filtered).as_bytes());
    }
    answer.extend_from_slice(b"]}");
}

/// The answer with scripted items; items beyond the actions get the kind `index`.
pub(super) fn with_items(actions: &[Action<'_>], items: &[Item], shape: Shape) -> String {
    let mut answer = shape.start(items.iter().any(|item| !item.taken()));
    for (number, item) in items.iter().enumerate() {
        let kind = actions
            .get(number)
            .map_or(Kind::Index, |action| action.kind);
        let mut fields = json!({ "status": item.status });
        if let Some((error, reason)) = &item.error {
            fields["error"] = json!({ "type": error, "reason": reason });
        }
        if shape == Shape::Whole {
            fields["_index"] = json!("stub");
            fields["_id"] = json!("AbCdEfGhIjKlMnOpQrSt");
        }
        if number > 0 {
            answer.push(',');
        }
        answer.push_str(&json!({ kind.name(): fields }).to_string());
    }
    answer.push_str("]}");
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_looks_like_a_delete_is_a_document() {
        let mut actions = Vec::new();
        parse(
            b"{\"index\":{}}\n{\"delete\":{}}\n{\"delete\":{}}\n",
            &mut actions,
        )
        .unwrap();
        assert_eq!(actions.len(), 2);
        assert_eq!(actions[0].source, b"{\"delete\":{}}");
        assert_eq!(actions[1].kind, Kind::Delete);
    }

    #[test]
    fn empty_lines_between_items_are_skipped() {
        let mut actions = Vec::new();
        parse(b"{\"index\":{}}\n{}\n\n{\"delete\":{}}\n\n", &mut actions).unwrap();
        assert_eq!(actions.len(), 2);
    }

    #[test]
    fn blanks_in_an_action_are_json_too() {
        assert_eq!(Kind::of(b" { \"index\" : {}}"), Some(Kind::Index));
        assert_eq!(Kind::of(b"{\"indexes\":{}}"), None);
        assert_eq!(Kind::of(b"{\"index\"}"), None);
    }

    #[test]
    fn answers_are_json() {
        let mut actions = Vec::new();
        parse(b"{\"update\":{}}\n{}\n{\"index\":{}}\n{}\n", &mut actions).unwrap();
        let mut answer = Vec::new();
        all_taken(&actions, Shape::of("/_bulk"), &mut answer);
        let parsed: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(parsed["items"][0]["update"]["status"], 200);
        let items = [Item::ok(200), Item::error(400, "t\"", "r\n"), Item::ok(201)];
        let parsed: serde_json::Value =
            serde_json::from_str(&with_items(&actions, &items, Shape::Filtered)).unwrap();
        assert_eq!(parsed["items"][1]["index"]["error"]["type"], "t\"");
        assert_eq!(parsed["items"].as_array().unwrap().len(), 3);
    }
}
