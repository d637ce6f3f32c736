//! Answers as Elasticsearch writes them.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};
use skidder_pipeline::event::{Value as EventValue, write_json_value};

use super::actions::ItemAnswer;
use super::filter_path::FilterPath;

/// The answer to a bulk request.
pub(super) fn bulk(took: Duration, items: &[ItemAnswer], filter: &FilterPath) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + items.len() * 64);
    out.push(b'{');
    if filter.keeps(&["took"]) {
        out.extend_from_slice(format!("\"took\":{},", took.as_millis()).as_bytes());
    }
    if filter.keeps(&["errors"]) {
        let errors = items.iter().any(|item| item.error.is_some());
        out.extend_from_slice(format!("\"errors\":{errors},").as_bytes());
    }
    let mut parts: Vec<(&str, Parts)> = Vec::new();
    let start = out.len();
    out.extend_from_slice(b"\"items\":[");
    let first = out.len();
    for item in items {
        let known = parts.iter().find(|(action, _)| *action == item.action);
        let wanted = match known {
            Some((_, wanted)) => *wanted,
            None => {
                let wanted = Parts::of(item.action, filter);
                parts.push((item.action, wanted));
                wanted
            }
        };
        let before = out.len();
        if before > first {
            out.push(b',');
        }
        if !write_item(item, wanted, &mut out) {
            out.truncate(before);
        }
    }
    if out.len() == first {
        out.truncate(start);
    } else {
        out.extend_from_slice(b"],");
    }
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.push(b'}');
    out
}

/// Which parts of an item are wanted.
#[derive(Clone, Copy)]
struct Parts {
    index: bool,
    id: bool,
    version: bool,
    result: bool,
    shards: bool,
    sequence: bool,
    term: bool,
    status: bool,
    error_type: bool,
    error_reason: bool,
}

impl Parts {
    fn of(action: &str, filter: &FilterPath) -> Self {
        let keeps = |name| filter.keeps(&["items", action, name]);
        Self {
            index: keeps("_index"),
            id: keeps("_id"),
            version: keeps("_version"),
            result: keeps("result"),
            shards: keeps("_shards"),
            sequence: keeps("_seq_no"),
            term: keeps("_primary_term"),
            status: keeps("status"),
            error_type: filter.keeps(&["items", action, "error", "type"]),
            error_reason: filter.keeps(&["items", action, "error", "reason"]),
        }
    }
}

/// Appends one item; answers whether anything of it is wanted.
fn write_item(item: &ItemAnswer, wanted: Parts, out: &mut Vec<u8>) -> bool {
    let text = |out: &mut Vec<u8>, name: &str, value: &[u8]| {
        out.extend_from_slice(format!("\"{name}\":").as_bytes());
        write_json_value(&EventValue::Text(value), out);
        out.push(b',');
    };
    out.extend_from_slice(format!("{{\"{}\":{{", item.action).as_bytes());
    let start = out.len();
    if wanted.index
        && let Some(index) = &item.index
    {
        text(out, "_index", index);
    }
    if wanted.id
        && let Some(id) = &item.id
    {
        text(out, "_id", id);
    }
    if item.error.is_none() {
        for (wanted, part) in [
            (wanted.version, "\"_version\":1,"),
            (wanted.result, "\"result\":\"created\","),
            (
                wanted.shards,
                "\"_shards\":{\"total\":1,\"successful\":1,\"failed\":0},",
            ),
            (wanted.sequence, "\"_seq_no\":0,"),
            (wanted.term, "\"_primary_term\":1,"),
            (wanted.status, "\"status\":201,"),
        ] {
            if wanted {
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
    if let Some(reason) = item.error {
        if wanted.status {
            out.extend_from_slice(b"\"status\":400,");
        }
        if wanted.error_type || wanted.error_reason {
            out.extend_from_slice(b"\"error\":{");
            if wanted.error_type {
                text(out, "type", b"illegal_argument_exception");
            }
            if wanted.error_reason {
                text(out, "reason", reason.as_bytes());
            }
            out.pop();
            out.extend_from_slice(b"},");
        }
    }
    let any = out.len() > start;
    if any {
        out.pop();
    }
    out.extend_from_slice(b"}}");
    any
}

/// The answer to a request with one document.
pub(super) fn document(index: &str, id: Option<&str>) -> Value {
    let mut answer = json!({
        "_index": index,
        "_version": 1,
        "result": "created",
        "_shards": {"total": 1, "successful": 1, "failed": 0},
        "_seq_no": 0,
        "_primary_term": 1,
    });
    if let Some(id) = id {
        answer["_id"] = id.into();
    }
    answer
}

/// The answer to a request that failed.
pub(super) fn error(status: StatusCode, kind: &str, reason: &str) -> Value {
    let cause = json!({"type": kind, "reason": reason});
    let mut error = cause.clone();
    error["root_cause"] = json!([cause]);
    json!({"error": error, "status": status.as_u16()})
}
