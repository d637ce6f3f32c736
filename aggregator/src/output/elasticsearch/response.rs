//! Reads bulk responses: what became of each item.
//!
//! The usual answer (everything stored) is checked byte by byte without building anything; any
//! other is parsed as a stream of items, keeping only those that failed. No tree of the response
//! is ever made, and the `errors` flag is never trusted: every item's status is looked at.

use std::fmt;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::bulk::ActionKind;

/// One item that was not answered with a status of 200 to 299.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Which item of the request.
    pub(super) index: usize,
    pub(super) status: u16,
    /// The server's error type, such as `mapper_parsing_exception`; may be empty.
    pub(super) error_type: String,
    /// The server's words, at most [`REASON_MAX_BYTES`]; may be empty.
    pub(super) reason: String,
}

/// Longer explanations of a server are cut here.
pub(super) const REASON_MAX_BYTES: usize = 1024;

/// A response that cannot be believed: the whole request counts as failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResponseError {
    #[error("the response is not a bulk response: {0}")]
    NotBulk(#[from] serde_json::Error),
    #[error("the response tells of {got} items, the request had {expected}")]
    ItemCount { expected: usize, got: usize },
    #[error("the response has no list of items")]
    NoItems,
}

/// What is to be done with an item that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    /// It is as it should be.
    Done,
    /// A document with this id, or a newer version of it, is there already.
    Conflict,
    /// The server may take it later.
    Retry,
    /// Its index is blocked or not available: others may be.
    Wait,
    /// The server refuses us, not the document: retry and raise the alarm.
    RetryDenied,
    /// The server will never take it.
    DeadLetter,
}

/// Decides what becomes of an item.
///
/// COMPAT: as Logstash, but for four points: 401 and 403 raise the alarm, an update's version
/// conflict is retried (it works on the newer document then), a delete of what is not there is
/// done, and other 4xx are dead-lettered rather than sent again for ever.
pub(super) fn disposition(kind: ActionKind, failure: &Failure) -> Disposition {
    match failure.status {
        200..=299 => Disposition::Done,
        409 if kind == ActionKind::Update => Disposition::Retry,
        409 => Disposition::Conflict,
        404 if kind == ActionKind::Delete && failure.error_type.is_empty() => Disposition::Done,
        403 | 429 | 503 if BLOCKED.contains(&failure.error_type.as_str()) => Disposition::Wait,
        401 | 403 => Disposition::RetryDenied,
        408 | 425 | 429 => Disposition::Retry,
        400..=499 => Disposition::DeadLetter,
        _ => Disposition::Retry,
    }
}

/// Error types of an index that takes nothing for now, whatever other indices do: it is read-only (its
/// disks are full), its shards are not there (`red`), or it must not be created.
const BLOCKED: [&str; 4] = [
    "cluster_block_exception",
    "unavailable_shards_exception",
    "no_shard_available_action_exception",
    "index_create_block_exception",
];

/// Whether an item was refused because the server has too much to do.
pub(super) fn is_busy(failure: &Failure) -> bool {
    matches!(failure.status, 429 | 503) && !BLOCKED.contains(&failure.error_type.as_str())
}

/// Reads a response to a request of `expected` items; gives the failed ones, in order.
pub(super) fn parse(body: &[u8], expected: usize) -> Result<Vec<Failure>, ResponseError> {
    if all_stored(body) == Some(expected) {
        return Ok(Vec::new());
    }
    let mut found = Found {
        expected,
        items: None,
        failures: Vec::new(),
    };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    Root(&mut found).deserialize(&mut deserializer)?;
    deserializer.end()?;
    match found.items {
        None => Err(ResponseError::NoItems),
        Some(got) if got != expected => Err(ResponseError::ItemCount { expected, got }),
        Some(_) => Ok(found.failures),
    }
}

/// What the servers say about a request as a whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RequestError {
    pub(super) error_type: String,
    pub(super) reason: String,
}

/// Reads the `error` of a refused request, if the body has the servers' own form.
pub(super) fn parse_request_error(body: &[u8]) -> Option<RequestError> {
    #[derive(Deserialize)]
    struct Refusal {
        error: ItemError,
    }
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    Some(RequestError {
        error_type: refusal.error.error_type,
        reason: refusal.error.reason,
    })
}

/// The number of items if the body is the short form that says that all were stored.
///
/// PERF: a hundred times cheaper than parsing. Anything unexpected gives `None`, and the body is
/// parsed instead.
fn all_stored(body: &[u8]) -> Option<usize> {
    let mut rest = body.strip_prefix(b"{\"errors\":false,\"items\":[")?;
    let mut items = 0;
    loop {
        rest = rest.strip_prefix(b"{\"")?;
        let name = if rest.starts_with(b"index") { 5 } else { 6 };
        match rest.get(..name)? {
            b"index" | b"create" | b"update" | b"delete" => {}
            _ => return None,
        }
        rest = rest[name..].strip_prefix(b"\":{\"status\":20")?;
        rest = rest
            .strip_prefix(b"1}}")
            .or_else(|| rest.strip_prefix(b"0}}"))?;
        items += 1;
        match rest.strip_prefix(b",") {
            Some(next) => rest = next,
            None => return (rest.strip_prefix(b"]}")?.trim_ascii().is_empty()).then_some(items),
        }
    }
}

struct Found {
    expected: usize,
    items: Option<usize>,
    failures: Vec<Failure>,
}

struct Root<'f>(&'f mut Found);

impl<'de> DeserializeSeed<'de> for Root<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Root<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with `items`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<RootKey>()? {
            match key {
                RootKey::Items => map.next_value_seed(Items(self.0))?,
                RootKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum RootKey {
    Items,
    #[serde(other)]
    Other,
}

struct Items<'f>(&'f mut Found);

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if self.0.items.is_some() {
            return Err(A::Error::duplicate_field("items"));
        }
        let mut count = 0;
        while let Some(answer) = items.next_element::<Answer>()? {
            // Items beyond those asked for are counted but not kept: memory stays bounded.
            if !(200..300).contains(&answer.status) && count < self.0.expected {
                let error = answer.error.unwrap_or_default();
                self.0.failures.push(Failure {
                    index: count,
                    status: answer.status,
                    error_type: error.error_type,
                    reason: error.reason,
                });
            }
            count += 1;
        }
        self.0.items = Some(count);
        Ok(())
    }
}

/// The answer to one item: `{"index":{"status":201,…}}`. The name of the action is not compared:
/// old servers answer an `index` without an id as `create`.
#[derive(Default)]
struct Answer {
    status: u16,
    error: Option<ItemError>,
}

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Outer;
        impl<'de> Visitor<'de> for Outer {
            type Value = Answer;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object with one action")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Answer, A::Error> {
                #[derive(Deserialize)]
                struct Inner {
                    status: u16,
                    #[serde(default)]
                    error: Option<ItemError>,
                }
                let Some(IgnoredAny) = map.next_key()? else {
                    return Err(A::Error::custom("an item without an action"));
                };
                let Inner { status, error } = map.next_value()?;
                if map.next_key::<IgnoredAny>()?.is_some() {
                    return Err(A::Error::custom("an item with two actions"));
                }
                Ok(Answer { status, error })
            }
        }
        deserializer.deserialize_map(Outer)
    }
}

/// An error: an object in all servers since generation 2, a bare string before.
#[derive(Debug, Default)]
struct ItemError {
    error_type: String,
    reason: String,
}

impl<'de> Deserialize<'de> for ItemError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyError;
        impl<'de> Visitor<'de> for AnyError {
            type Value = ItemError;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an error object or a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<ItemError, E> {
                Ok(ItemError {
                    error_type: "error".to_owned(),
                    reason: cut(text.to_owned()),
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ItemError, A::Error> {
                let mut error = ItemError::default();
                while let Some(key) = map.next_key::<ErrorKey>()? {
                    match key {
                        ErrorKey::Type => {
                            error.error_type =
                                map.next_value::<Option<String>>()?.unwrap_or_default();
                        }
                        ErrorKey::Reason => {
                            let reason = map.next_value::<Option<String>>()?.unwrap_or_default();
                            error.reason.insert_str(0, &reason);
                        }
                        ErrorKey::CausedBy => {
                            // serde_json limits the depth, so the recursion is bounded.
                            if let Some(cause) = map.next_value::<Option<ItemError>>()? {
                                error.reason.push_str(": ");
                                error.reason.push_str(&cause.reason);
                            }
                        }
                        ErrorKey::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                error.error_type = cut(error.error_type);
                error.reason = cut(error.reason);
                Ok(error)
            }
        }
        deserializer.deserialize_any(AnyError)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum ErrorKey {
    Type,
    Reason,
    CausedBy,
    #[serde(other)]
    Other,
}

/// Cuts a text that is too long at a character's border.
fn cut(mut text: String) -> String {
    if text.len() > REASON_MAX_BYTES {
        text.truncate(text.floor_char_boundary(REASON_MAX_BYTES));
        text.shrink_to_fit();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: u16, error_type: &str) -> Failure {
        Failure {
            index: 0,
            status,
            error_type: error_type.to_owned(),
            reason: String::new(),
        }
    }

    #[test]
    fn the_short_form_is_counted_without_parsing() {
        let body =
            br#"{"errors":false,"items":[{"index":{"status":201}},{"create":{"status":200}}]}"#;
        assert_eq!(all_stored(body), Some(2));
        assert_eq!(parse(body, 2).unwrap(), []);
        assert!(matches!(
            parse(body, 3),
            Err(ResponseError::ItemCount {
                expected: 3,
                got: 2
            })
        ));
        for end in 0..body.len() {
            assert_eq!(all_stored(&body[..end]), None, "cut at {end}");
            parse(&body[..end], 2).unwrap_err();
        }
    }

    #[test]
    fn a_lying_errors_flag_is_not_believed() {
        let body = br#"{"errors":false,"items":[{"index":{"status":429}}]}"#;
        assert_eq!(parse(body, 1).unwrap(), [failure(429, "")]);
    }

    #[test]
    fn full_responses_are_parsed_item_by_item() {
        let body = br#"{"took":7,"ingest_took":1,"errors":true,"items":[
            {"index":{"_index":"a","_id":"1","_version":1,"result":"created","_shards":{"total":2},"status":201}},
            {"create":{"_index":"a","status":409,"error":{"type":"version_conflict_engine_exception","reason":"[1]: version conflict"}}},
            {"index":{"_index":"a","error":{"root_cause":[{"type":"x"}],"type":"mapper_parsing_exception","reason":"failed to parse field [n]",
              "caused_by":{"type":"number_format_exception","reason":"For input string: \"x\""}},"status":400}},
            {"delete":{"_index":"a","status":404,"result":"not_found"}},
            {"index":{"_index":"old","status":503,"error":"UnavailableShardsException[...]"}}]}"#;
        let failures = parse(body, 5).unwrap();
        let summary: Vec<(usize, u16, &str)> = failures
            .iter()
            .map(|failure| (failure.index, failure.status, failure.error_type.as_str()))
            .collect();
        assert_eq!(
            summary,
            [
                (1, 409, "version_conflict_engine_exception"),
                (2, 400, "mapper_parsing_exception"),
                (3, 404, ""),
                (4, 503, "error"),
            ]
        );
        assert_eq!(
            failures[1].reason,
            "failed to parse field [n]: For input string: \"x\""
        );
    }

    #[test]
    fn more_items_than_sent_are_not_kept() {
        let item = r#"{"index":{"status":500}}"#;
        let body = format!("{{\"items\":[{}]}}", [item; 50].join(","));
        assert!(matches!(
            parse(body.as_bytes(), 2),
            Err(ResponseError::ItemCount {
                expected: 2,
                got: 50
            })
        ));
    }

    #[test]
    fn other_answers_are_errors() {
        assert!(matches!(
            parse(b"{\"took\":1}", 1),
            Err(ResponseError::NoItems)
        ));
        for body in [
            &b""[..],
            b"<html>",
            b"[]",
            b"{\"items\":[{}]}",
            b"{\"items\":[{\"index\":{}}]}",
            b"{\"items\":[{\"index\":{\"status\":201},\"create\":{\"status\":201}}]}",
            b"{\"items\":[{\"index\":{\"status\":201}}]} trailing",
            b"{\"items\":[{\"index\":{\"status\":201}}],\"items\":[]}",
        ] {
            assert!(
                matches!(parse(body, 1), Err(ResponseError::NotBulk(_))),
                "{body:?}"
            );
        }
    }

    #[test]
    fn long_reasons_are_cut() {
        let body = format!(
            "{{\"items\":[{{\"index\":{{\"status\":400,\"error\":{{\"reason\":\"{}\"}}}}}}]}}",
            "ä".repeat(5_000)
        );
        let failures = parse(body.as_bytes(), 1).unwrap();
        assert_eq!(failures[0].reason.len(), REASON_MAX_BYTES);
    }

    #[test]
    fn dispositions() {
        use ActionKind::{Create, Delete, Index, Update};
        for (kind, status, error_type, expected) in [
            (Index, 200, "", Disposition::Done),
            (Index, 201, "", Disposition::Done),
            (
                Create,
                409,
                "version_conflict_engine_exception",
                Disposition::Conflict,
            ),
            (
                Update,
                409,
                "version_conflict_engine_exception",
                Disposition::Retry,
            ),
            (
                Index,
                429,
                "rejected_execution_exception",
                Disposition::Retry,
            ),
            (
                Index,
                503,
                "unavailable_shards_exception",
                Disposition::Wait,
            ),
            (Index, 500, "", Disposition::Retry),
            (Index, 403, "cluster_block_exception", Disposition::Wait),
            (Index, 429, "cluster_block_exception", Disposition::Wait),
            (
                Index,
                503,
                "process_cluster_event_timeout_exception",
                Disposition::Retry,
            ),
            (Index, 403, "security_exception", Disposition::RetryDenied),
            (Index, 401, "security_exception", Disposition::RetryDenied),
            (
                Index,
                400,
                "mapper_parsing_exception",
                Disposition::DeadLetter,
            ),
            (
                Index,
                404,
                "index_not_found_exception",
                Disposition::DeadLetter,
            ),
            (Index, 413, "", Disposition::DeadLetter),
            (Delete, 404, "", Disposition::Done),
            (
                Delete,
                404,
                "index_not_found_exception",
                Disposition::DeadLetter,
            ),
            (Index, 0, "", Disposition::Retry),
            (Index, 302, "", Disposition::Retry),
        ] {
            assert_eq!(
                disposition(kind, &failure(status, error_type)),
                expected,
                "{kind:?} {status} {error_type}"
            );
        }
    }

    #[test]
    fn request_errors_are_told_from_other_bodies() {
        let refused = br#"{"error":{"root_cause":[],"type":"illegal_argument_exception","reason":"bad"},"status":400}"#;
        assert_eq!(
            parse_request_error(refused),
            Some(RequestError {
                error_type: "illegal_argument_exception".to_owned(),
                reason: "bad".to_owned()
            })
        );
        assert_eq!(parse_request_error(b"<html>400</html>"), None);
        assert_eq!(parse_request_error(br#"{"message":"no"}"#), None);
    }
}
