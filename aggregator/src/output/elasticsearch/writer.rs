//! Builds bulk requests in place, one writer per worker thread.
//!
//! Action lines are written by hand and documents straight into the body that is sent. A request
//! is handed to the delivery when the next item would pass a limit, when [`BulkWriter::flush`] is
//! called, or never by itself: time is the caller's, who asks [`BulkWriter::due`] when to flush.
//!
//! Handing over blocks while the delivery is busy; that is the backpressure. Items that must not
//! be sent (an index name that was not interpolated, an unknown action) take the same way to the
//! dead letters.

use std::time::{Duration, Instant};

use super::bulk::{Action, ActionKind, BulkRequest, Item};
use super::delivery::{BulkSender, DeliveryClosed, Rejected, Work};
use super::with_type::with_type;
use super::without_id::write_without_id;
use crate::ack::Ack;
use skidder_pipeline::event::write_json_text;

/// Collects items and cuts them into requests.
#[derive(Debug)]
pub struct BulkWriter {
    sender: BulkSender,
    max_events: usize,
    max_delay: Duration,
    refuse_placeholders: bool,
    request: BulkRequest,
    rejected: Rejected,
    oldest: Option<Instant>,
}

impl BulkWriter {
    /// A writer with the limits of the delivery behind `sender`.
    pub fn new(sender: BulkSender) -> Self {
        let options = sender.options();
        Self {
            max_events: options.bulk_max_events.max(1),
            max_delay: options.bulk_max_delay,
            refuse_placeholders: options.dlq_on_failed_indexname_interpolation,
            request: BulkRequest {
                body: sender.buffer(),
                ..BulkRequest::default()
            },
            rejected: Rejected::default(),
            oldest: None,
            sender,
        }
    }

    /// Appends one event: its action line, then the JSON that `document` writes.
    ///
    /// The caller has taken the hold on `ack` that the delivery gives back. `document` must write
    /// one JSON object without a newline; it is not called for a delete. Blocks while the delivery
    /// is busy, so it must not be called on an async thread.
    pub fn append(
        &mut self,
        action: &Action<'_>,
        ack: &Ack,
        document: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), DeliveryClosed> {
        if self.refuse_placeholders && action.index.contains("%{") {
            let reason = format!(
                "badly formatted index, after interpolation still contains placeholder: [{}]",
                action.index
            );
            return self.reject(&reason, action, ack, document);
        }
        let start = self.request.body.len();
        let mut action = *action;
        if self.sender.wants_types() {
            action = with_type(&action);
        }
        let mut item = write_item(&mut self.request.body, &action, document);
        if item.own_id && !self.sender.takes_ids() {
            let mut moved = Vec::new();
            item = write_without_id(&item, &self.request.body, &mut moved);
            self.request.body.truncate(start);
            self.request.body.extend_from_slice(&moved);
            item = Item {
                start,
                document: start + item.document,
                end: start + item.end,
                ..item
            };
        }
        self.request.items.push(item);

        if self.request.body.len() > self.sender.body_limit() && self.request.items.len() > 1 {
            self.cut_before_last(start)?;
        }
        count_run(&mut self.request.acks, ack);
        if self.oldest.is_none() {
            self.oldest = Some(Instant::now());
        }
        if self.request.items.len() >= self.max_events {
            self.flush()?;
        }
        Ok(())
    }

    /// Sends one event to the dead letters instead of the servers.
    pub fn reject(
        &mut self,
        reason: &str,
        action: &Action<'_>,
        ack: &Ack,
        document: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), DeliveryClosed> {
        let mut body = Vec::new();
        let item = write_item(&mut body, action, document);
        self.sender
            .write_letter(&mut self.rejected.lines, &item, &body, 0, reason);
        count_run(&mut self.rejected.acks, ack);
        if self.oldest.is_none() {
            self.oldest = Some(Instant::now());
        }
        if self.rejected.lines.len() >= REJECTED_MAX_BYTES {
            self.send_rejected()?;
        }
        Ok(())
    }

    /// Hands over what has been collected, if anything.
    pub fn flush(&mut self) -> Result<(), DeliveryClosed> {
        self.oldest = None;
        self.send_rejected()?;
        if self.request.items.is_empty() {
            return Ok(());
        }
        let next = BulkRequest {
            body: self.sender.buffer(),
            items: Vec::with_capacity(self.request.items.len()),
            acks: Vec::new(),
        };
        let request = std::mem::replace(&mut self.request, next);
        self.sender.send(Work::Bulk(request))
    }

    /// When the oldest waiting item must be flushed; `None` while nothing waits.
    pub fn due(&self) -> Option<Instant> {
        self.oldest.map(|oldest| oldest + self.max_delay)
    }

    /// The number of items that wait for a flush.
    pub fn waiting(&self) -> usize {
        self.request.items.len()
    }

    /// Sends everything before the item just written, which becomes the first of the next request.
    fn cut_before_last(&mut self, start: usize) -> Result<(), DeliveryClosed> {
        let mut next = BulkRequest {
            body: self.sender.buffer(),
            items: Vec::with_capacity(self.request.items.len()),
            acks: Vec::new(),
        };
        next.body.extend_from_slice(&self.request.body[start..]);
        if let Some(item) = self.request.items.pop() {
            next.items.push(Item {
                start: 0,
                document: item.document - start,
                end: item.end - start,
                kind: item.kind,
                own_id: item.own_id,
            });
        }
        self.request.body.truncate(start);
        self.oldest = None;
        let full = std::mem::replace(&mut self.request, next);
        self.sender.send(Work::Bulk(full))
    }

    fn send_rejected(&mut self) -> Result<(), DeliveryClosed> {
        if self.rejected.acks.is_empty() {
            return Ok(());
        }
        self.sender
            .send(Work::Rejected(std::mem::take(&mut self.rejected)))
    }
}

/// Rejected events are handed over when their letters reach this size, or with the next flush.
const REJECTED_MAX_BYTES: usize = 256 * 1024;

fn count_run(runs: &mut Vec<(Ack, u32)>, ack: &Ack) {
    match runs.last_mut() {
        Some((last, length)) if last.is(ack) => *length += 1,
        _ => runs.push((ack.clone(), 1)),
    }
}

/// Writes the action line and, unless it is a delete, the document line.
fn write_item(
    body: &mut Vec<u8>,
    action: &Action<'_>,
    document: impl FnOnce(&mut Vec<u8>),
) -> Item {
    let start = body.len();
    body.extend_from_slice(match action.kind {
        ActionKind::Index => b"{\"index\":{\"_index\":",
        ActionKind::Create => b"{\"create\":{\"_index\":",
        ActionKind::Update => b"{\"update\":{\"_index\":",
        ActionKind::Delete => b"{\"delete\":{\"_index\":",
    });
    write_json_text(action.index.as_bytes(), body);
    write_member(body, b",\"_type\":", action.document_type);
    write_member(body, b",\"_id\":", action.id);
    write_member(body, b",\"routing\":", action.routing);
    write_member(body, b",\"pipeline\":", action.pipeline);
    write_member(body, b",\"version\":", action.version);
    write_member(body, b",\"version_type\":", action.version_type);
    if action.kind == ActionKind::Update && action.update.retry_on_conflict > 0 {
        body.extend_from_slice(b",\"retry_on_conflict\":");
        body.extend_from_slice(action.update.retry_on_conflict.to_string().as_bytes());
    }
    body.extend_from_slice(b"}}\n");

    let document_start = body.len();
    match action.kind {
        ActionKind::Delete => {}
        ActionKind::Index | ActionKind::Create => {
            document(body);
            body.push(b'\n');
        }
        ActionKind::Update => {
            body.extend_from_slice(b"{\"doc\":");
            document(body);
            if action.update.document_as_upsert {
                body.extend_from_slice(b",\"doc_as_upsert\":true");
            }
            if let Some(upsert) = action.update.upsert {
                body.extend_from_slice(b",\"upsert\":");
                body.extend_from_slice(upsert.as_bytes());
            }
            body.extend_from_slice(b"}\n");
        }
    }
    Item {
        start,
        document: document_start,
        end: body.len(),
        kind: action.kind,
        own_id: action.own_id,
    }
}

fn write_member(body: &mut Vec<u8>, name: &[u8], value: Option<&str>) {
    if let Some(value) = value
        && !value.is_empty()
    {
        body.extend_from_slice(name);
        write_json_text(value.as_bytes(), body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(action: &Action<'_>) -> String {
        let mut body = Vec::new();
        let item = write_item(&mut body, action, |out| out.extend_from_slice(b"{\"a\":1}"));
        assert_eq!(item.range(), 0..body.len());
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn action_lines() {
        let mut action = Action::new(ActionKind::Index, "logs-2026.11.23");
        assert_eq!(
            text(&action),
            "{\"index\":{\"_index\":\"logs-2026.11.23\"}}\n{\"a\":1}\n"
        );

        action.kind = ActionKind::Create;
        action.id = Some("a\"b");
        action.routing = Some("r");
        action.pipeline = Some("");
        assert_eq!(
            text(&action),
            "{\"create\":{\"_index\":\"logs-2026.11.23\",\"_id\":\"a\\\"b\",\"routing\":\"r\"}}\n{\"a\":1}\n"
        );

        action.kind = ActionKind::Delete;
        action.routing = None;
        action.pipeline = Some("p");
        assert_eq!(
            text(&action),
            "{\"delete\":{\"_index\":\"logs-2026.11.23\",\"_id\":\"a\\\"b\",\"pipeline\":\"p\"}}\n"
        );
    }

    #[test]
    fn updates_wrap_the_document() {
        let mut action = Action::new(ActionKind::Update, "i");
        action.id = Some("1");
        assert_eq!(
            text(&action),
            "{\"update\":{\"_index\":\"i\",\"_id\":\"1\",\"retry_on_conflict\":1}}\n{\"doc\":{\"a\":1}}\n"
        );
        action.update.retry_on_conflict = 3;
        action.update.document_as_upsert = true;
        action.update.upsert = Some("{\"b\":2}");
        assert_eq!(
            text(&action),
            "{\"update\":{\"_index\":\"i\",\"_id\":\"1\",\"retry_on_conflict\":3}}\n\
             {\"doc\":{\"a\":1},\"doc_as_upsert\":true,\"upsert\":{\"b\":2}}\n"
        );
    }

    #[test]
    fn versions_and_types_are_sent_when_set() {
        let mut action = Action::new(ActionKind::Index, "i");
        action.version = Some("7");
        action.version_type = Some("external");
        action.document_type = Some("doc");
        assert_eq!(
            text(&action),
            "{\"index\":{\"_index\":\"i\",\"_type\":\"doc\",\"version\":\"7\",\"version_type\":\"external\"}}\n{\"a\":1}\n"
        );
    }
}
