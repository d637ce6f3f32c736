//! The life of one request: sent, looked at item by item, sent again in part, split, given up.
//!
//! A request is a list of parts, in the order of the events. It starts as one; a part that a
//! server finds too large, or malformed as a whole, is split in two until the item at fault is
//! alone. Of a part that was stored in part only the refused items are kept, in their order. A part
//! that waits for its next attempt does not hold up the others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::backoff::Backoff;
use super::bulk::{AckCursor, BulkRequest, Item};
use super::client::{Answer, ExchangeError, WireBody};
use super::delivery::{Held, Shared};
use super::response::{self, Disposition, Failure, disposition};
use crate::ack::Ack;

/// Keeps `request` going until every event of it is safe.
pub(super) async fn deliver(shared: Arc<Shared>, request: BulkRequest, mut held: Held) {
    let backoff = Backoff::new(
        shared.options.retry_initial_interval,
        shared.options.retry_max_interval,
    );
    let mut parts = vec![Part::new(
        request.body.into(),
        request.items,
        request.acks,
        backoff,
    )];
    while let Some((position, not_before)) = earliest(&parts) {
        tokio::time::sleep_until(not_before).await;
        let part = parts.remove(position);
        let left = attempt(&shared, part).await;
        parts.splice(position..position, left);
        held.shrink_to(parts.iter().map(|part| part.body.len()).sum());
    }
}

/// Items that are sent together.
#[derive(Debug)]
struct Part {
    body: Bytes,
    items: Vec<Item>,
    acks: Vec<(Ack, u32)>,
    /// The body as it goes over the wire, kept for the next attempt.
    wire: Option<WireBody>,
    backoff: Backoff,
    not_before: Instant,
}

impl Part {
    fn new(body: Bytes, items: Vec<Item>, acks: Vec<(Ack, u32)>, backoff: Backoff) -> Self {
        Self {
            body,
            items,
            acks,
            wire: None,
            backoff,
            not_before: Instant::now(),
        }
    }

    /// The same part, to be sent again after a while; a server's own wish is respected.
    fn later(mut self, wish: Option<Duration>, longest: Duration) -> Vec<Self> {
        let wait = self
            .backoff
            .next_wait()
            .max(wish.unwrap_or_default().min(longest));
        self.not_before = Instant::now() + wait;
        vec![self]
    }

    /// Two parts of about the same size. The part must have more than one item.
    fn halves(self) -> Vec<Self> {
        let middle = self.body.len() / 2;
        let split = self.items.partition_point(|item| item.start < middle);
        let split = split.clamp(1, self.items.len() - 1);
        let at = self.items[split].start;
        let mut backoff = self.backoff;
        backoff.reset();

        let mut first_acks = self.acks;
        let mut second_acks = Vec::new();
        let mut left = split as u32;
        let mut run = 0;
        while run < first_acks.len() && first_acks[run].1 <= left {
            left -= first_acks[run].1;
            run += 1;
        }
        if run < first_acks.len() {
            second_acks = first_acks.split_off(run);
            if left > 0 {
                first_acks.push((second_acks[0].0.clone(), left));
                second_acks[0].1 -= left;
            }
        }
        let mut first_items = self.items;
        let second_items = first_items
            .split_off(split)
            .into_iter()
            .map(|item| moved(item, item.start - at))
            .collect();
        let mut first = Self::new(self.body.slice(..at), first_items, first_acks, backoff);
        let mut second = Self::new(self.body.slice(at..), second_items, second_acks, backoff);
        // Both take the place of this part in the order of the parts.
        first.not_before = self.not_before;
        second.not_before = self.not_before;
        vec![first, second]
    }
}

/// The part whose turn is next; of several, the one with the older events.
fn earliest(parts: &[Part]) -> Option<(usize, Instant)> {
    parts
        .iter()
        .enumerate()
        .map(|(position, part)| (position, part.not_before))
        .min_by_key(|(position, not_before)| (*not_before, *position))
}

/// Sends a part once; gives what is left to send, in order.
async fn attempt(shared: &Shared, mut part: Part) -> Vec<Part> {
    let limit = shared.options.document_max_bytes;
    if part.items.len() == 1 && part.body.len() > limit {
        let reason = format!(
            "the document is larger ({} bytes) than `document_max_bytes` ({limit})",
            part.body.len()
        );
        return give_up(shared, part, 0, &reason).await;
    }

    let statistics = &shared.statistics;
    let Ok(exchange) = shared.exchanges.acquire().await else {
        // The semaphore is never closed; if it were, nothing could be sent any more.
        return part.later(None, shared.options.retry_max_interval);
    };
    let wire = match part.wire.take() {
        Some(wire) => wire,
        None => encode(shared, &part.body).await,
    };
    part.wire = Some(wire.clone());
    let host = shared.pool.next().await;
    let events = part.items.len();
    let result = shared
        .client
        .bulk(&host.endpoint, wire, events, part.body.len())
        .await;
    drop(exchange);
    statistics.requests.fetch_add(1, Ordering::Relaxed);
    statistics
        .bytes
        .fetch_add(part.body.len() as u64, Ordering::Relaxed);

    let name = host.endpoint.name.as_str();
    let plugin = shared.options.plugin_id.as_str();
    let answer = match result {
        Ok(answer) => answer,
        Err(reason) => {
            statistics.failed_requests.fetch_add(1, Ordering::Relaxed);
            if let Some(count) = shared.alarms.exchange.due(1) {
                warn!(plugin, host = name, %reason, requests = count, "request failed, sending it again");
            }
            return match reason {
                // Nothing was sent: another host may have it at once.
                ExchangeError::Connect(_) => {
                    shared.pool.eject(&host);
                    vec![part]
                }
                ExchangeError::Timeout { .. } | ExchangeError::BrokeOff(_) => {
                    shared.pool.broke_off(&host);
                    part.later(None, shared.options.retry_max_interval)
                }
                ExchangeError::AnswerTooLarge { .. } if events > 1 => part.halves(),
                ExchangeError::AnswerTooLarge { .. } => {
                    part.later(None, shared.options.retry_max_interval)
                }
            };
        }
    };
    host.answered();

    if (200..300).contains(&answer.status) {
        return match response::parse(&answer.body, events) {
            Ok(failures) => {
                shared.accepted(part.body.len());
                settle(shared, part, failures, name).await
            }
            Err(reason) => {
                statistics.failed_requests.fetch_add(1, Ordering::Relaxed);
                if let Some(count) = shared.alarms.unreadable.due(1) {
                    error!(
                        plugin, host = name, %reason, requests = count, start = %excerpt(&answer.body),
                        "unusable answer to a bulk request, sending it again: is this an \
                         Elasticsearch or OpenSearch server?"
                    );
                }
                part.later(None, shared.options.retry_max_interval)
            }
        };
    }
    statistics.failed_requests.fetch_add(1, Ordering::Relaxed);
    refused(shared, part, &answer, name).await
}

/// Compresses large bodies off the network threads.
async fn encode(shared: &Shared, body: &Bytes) -> WireBody {
    const WORTH_ANOTHER_THREAD: usize = 32 * 1024;
    if !shared.client.compresses() || body.len() < WORTH_ANOTHER_THREAD {
        return shared.client.encode(body);
    }
    let client = Arc::clone(&shared.client);
    let copy = body.clone();
    match tokio::task::spawn_blocking(move || client.encode(&copy)).await {
        Ok(wire) => wire,
        Err(error) => {
            // Only a panic or the end of the runtime leads here.
            debug!(%error, "compressing on the network thread instead");
            shared.client.encode(body)
        }
    }
}

/// Deals with a status that concerns the request as a whole.
async fn refused(shared: &Shared, part: Part, answer: &Answer, host: &str) -> Vec<Part> {
    let plugin = shared.options.plugin_id.as_str();
    let longest = shared.options.retry_max_interval;
    let events = part.items.len();
    let status = answer.status;
    let own_words = response::parse_request_error(&answer.body);
    let reason = match &own_words {
        Some(refusal) => format!("{}: {}", refusal.error_type, refusal.reason),
        None => excerpt(&answer.body),
    };
    match status {
        413 if events > 1 => {
            shared.too_large(part.body.len());
            return part.halves();
        }
        413 => {
            let reason = format!(
                "the server takes no request of {} bytes (status 413): {reason}",
                part.body.len()
            );
            return give_up(shared, part, status, &reason).await;
        }
        // The servers' own form of a 400 means that something in the body is malformed; the
        // others of the request must not suffer. A 400 in another form is some proxy's.
        400 if own_words.is_some() && events > 1 => {
            debug!(
                plugin,
                host, reason, events, "request refused as malformed, splitting it"
            );
            return part.halves();
        }
        400 if own_words.is_some() => return give_up(shared, part, status, &reason).await,
        401 | 403 if !is_throttled(&answer.body) => {
            if let Some(count) = shared.alarms.denied.due(1) {
                error!(
                    plugin,
                    host,
                    status,
                    reason,
                    requests = count,
                    "the server denies access, trying again until it is granted: check `user` and \
                     `password` or `api_key`, and the right to write to the index"
                );
            }
        }
        403 | 408 | 425 | 429 | 502..=504 => {
            if let Some(count) = shared.alarms.busy.due(1) {
                warn!(
                    plugin,
                    host,
                    status,
                    reason,
                    requests = count,
                    "server is busy, sending again"
                );
            }
        }
        _ => {
            if let Some(count) = shared.alarms.refused.due(1) {
                error!(
                    plugin,
                    host,
                    status,
                    reason,
                    requests = count,
                    "the server refuses bulk requests, trying again: check `hosts` and `path`, and \
                     any proxy in between"
                );
            }
        }
    }
    part.later(answer.retry_after, longest)
}

/// Accounts for every item of an answered part; gives what must go again.
async fn settle(shared: &Shared, part: Part, failures: Vec<Failure>, host: &str) -> Vec<Part> {
    let statistics = &shared.statistics;
    if failures.is_empty() {
        for (ack, length) in &part.acks {
            ack.done(*length);
        }
        statistics
            .delivered
            .fetch_add(part.items.len() as u64, Ordering::Relaxed);
        drop(part.wire);
        shared.recycle(part.body);
        return Vec::new();
    }

    let mut outcome = Outcome::new(part.acks.len());
    let mut failures = failures.into_iter().peekable();
    let mut cursor = AckCursor::new(&part.acks);
    for (index, item) in part.items.iter().enumerate() {
        let run = cursor.next_run();
        let failure = failures.next_if(|failure| failure.index == index);
        let decision = failure
            .as_ref()
            .map_or(Disposition::Done, |failure| decide(shared, item, failure));
        match (decision, failure) {
            // It was stored by an earlier attempt, ours or another aggregator's: nothing to say.
            (Disposition::Conflict, Some(failure)) if item.own_id && failure.status == 409 => {
                outcome.done[run] += 1;
                outcome.duplicates += 1;
            }
            (Disposition::Conflict, Some(failure)) => {
                outcome.done[run] += 1;
                outcome.conflicts.add(failure);
            }
            (Disposition::Done | Disposition::Conflict, _) | (_, None) => outcome.done[run] += 1,
            (Disposition::Retry, Some(failure)) => {
                outcome.keep(item, &part, run);
                outcome.retried.add(failure);
            }
            (Disposition::RetryDenied, Some(failure)) => {
                outcome.keep(item, &part, run);
                outcome.denied.add(failure);
            }
            (Disposition::DeadLetter, Some(failure)) => {
                outcome.dead[run] += 1;
                let reason = failure.text();
                shared.write_letter(
                    &mut outcome.letters,
                    item,
                    &part.body,
                    failure.status,
                    &reason,
                );
                outcome.dead_letters.add(failure);
            }
        }
    }
    outcome.report(shared, host);

    let delivered = acknowledge(&part.acks, &outcome.done);
    statistics.delivered.fetch_add(delivered, Ordering::Relaxed);
    statistics
        .conflicts
        .fetch_add(outcome.conflicts.count, Ordering::Relaxed);
    statistics
        .duplicates
        .fetch_add(outcome.duplicates, Ordering::Relaxed);
    if !outcome.letters.is_empty() {
        let letters = outcome.dead_letters.count;
        shared.dead_letters.append(outcome.letters, letters).await;
        statistics
            .dead_lettered
            .fetch_add(letters, Ordering::Relaxed);
        acknowledge(&part.acks, &outcome.dead);
    }
    if outcome.items.is_empty() {
        return Vec::new();
    }
    statistics
        .retried
        .fetch_add(outcome.items.len() as u64, Ordering::Relaxed);
    let mut backoff = part.backoff;
    if outcome.items.len() < part.items.len() {
        backoff.reset();
    }
    let left = Part::new(outcome.body.into(), outcome.items, outcome.acks, backoff);
    left.later(None, shared.options.retry_max_interval)
}

fn decide(shared: &Shared, item: &Item, failure: &Failure) -> Disposition {
    let options = &shared.options;
    if options.drop_error_types.contains(&failure.error_type) {
        return Disposition::Conflict;
    }
    if options.dlq_custom_codes.contains(&failure.status) {
        return Disposition::DeadLetter;
    }
    disposition(item.kind, failure)
}

/// Puts the only item of a part into the dead letters.
async fn give_up(shared: &Shared, part: Part, status: u16, reason: &str) -> Vec<Part> {
    let mut lines = Vec::new();
    for item in &part.items {
        shared.write_letter(&mut lines, item, &part.body, status, reason);
    }
    let letters = part.items.len() as u64;
    if let Some(count) = shared.alarms.dead_lettered.due(letters) {
        warn!(
            plugin = %shared.options.plugin_id, events = count, status, reason,
            "events that no server will take are written to the dead letters"
        );
    }
    shared.dead_letters.append(lines, letters).await;
    shared
        .statistics
        .dead_lettered
        .fetch_add(letters, Ordering::Relaxed);
    for (ack, length) in &part.acks {
        ack.done(*length);
    }
    Vec::new()
}

/// What becomes of the items of one part.
struct Outcome {
    /// Stored items of each run of acknowledgements.
    done: Vec<u32>,
    /// Dead-lettered items of each run.
    dead: Vec<u32>,
    letters: Vec<u8>,
    body: Vec<u8>,
    items: Vec<Item>,
    acks: Vec<(Ack, u32)>,
    last_run: Option<usize>,
    /// Items that were stored before.
    duplicates: u64,
    conflicts: Sample,
    retried: Sample,
    denied: Sample,
    dead_letters: Sample,
}

/// How many items failed alike, and the first of them.
#[derive(Default)]
struct Sample {
    count: u64,
    first: Option<Failure>,
}

impl Sample {
    fn add(&mut self, failure: Failure) {
        self.count += 1;
        self.first.get_or_insert(failure);
    }
}

impl Outcome {
    fn new(runs: usize) -> Self {
        Self {
            done: vec![0; runs],
            dead: vec![0; runs],
            letters: Vec::new(),
            body: Vec::new(),
            items: Vec::new(),
            acks: Vec::new(),
            last_run: None,
            duplicates: 0,
            conflicts: Sample::default(),
            retried: Sample::default(),
            denied: Sample::default(),
            dead_letters: Sample::default(),
        }
    }

    fn keep(&mut self, item: &Item, part: &Part, run: usize) {
        let start = self.body.len();
        self.body.extend_from_slice(&part.body[item.range()]);
        self.items.push(Item {
            start,
            document: start + (item.document - item.start),
            end: self.body.len(),
            kind: item.kind,
            own_id: item.own_id,
        });
        match self.acks.last_mut() {
            Some((_, length)) if self.last_run == Some(run) => *length += 1,
            _ => self.acks.push((part.acks[run].0.clone(), 1)),
        }
        self.last_run = Some(run);
    }

    fn report(&self, shared: &Shared, host: &str) {
        let plugin = shared.options.plugin_id.as_str();
        if self.duplicates > 0 {
            let events = self.duplicates;
            debug!(
                plugin,
                host, events, "events that came again and are stored once"
            );
        }
        let spoken = |sample: &Sample| {
            let first = sample.first.as_ref()?;
            let silent = shared
                .options
                .silence_errors_in_log
                .contains(&first.error_type);
            (!silent).then(|| (first.status, first.text()))
        };
        if let Some((status, reason)) = spoken(&self.denied)
            && let Some(events) = shared.alarms.items_denied.due(self.denied.count)
        {
            error!(
                plugin,
                host,
                events,
                status,
                reason,
                "the server denies access to an index, trying again until it is granted"
            );
        }
        if let Some((status, reason)) = spoken(&self.dead_letters)
            && let Some(events) = shared.alarms.dead_lettered.due(self.dead_letters.count)
        {
            warn!(
                plugin,
                host,
                events,
                status,
                reason,
                "events that no server will take are written to the dead letters"
            );
        }
        if let Some((status, reason)) = spoken(&self.retried)
            && let Some(events) = shared.alarms.items_retried.due(self.retried.count)
        {
            warn!(
                plugin,
                host, events, status, reason, "events refused for now, sending them again"
            );
        }
        if let Some((status, reason)) = spoken(&self.conflicts)
            && let Some(events) = shared.alarms.conflicts.due(self.conflicts.count)
        {
            warn!(
                plugin,
                host,
                events,
                status,
                reason,
                "events that the server has already, or may not keep, are left as they are"
            );
        }
    }
}

fn acknowledge(acks: &[(Ack, u32)], counts: &[u32]) -> u64 {
    let mut total = 0;
    for ((ack, _), count) in acks.iter().zip(counts) {
        ack.done(*count);
        total += u64::from(*count);
    }
    total
}

impl Failure {
    fn text(&self) -> String {
        match (self.error_type.as_str(), self.reason.as_str()) {
            ("", "") => format!("status {}", self.status),
            (error_type, "") => error_type.to_owned(),
            (error_type, reason) => format!("{error_type}: {reason}"),
        }
    }
}

fn moved(item: Item, start: usize) -> Item {
    let offset = item.start - start;
    Item {
        start,
        document: item.document - offset,
        end: item.end - offset,
        kind: item.kind,
        own_id: item.own_id,
    }
}

/// COMPAT: Amazon's service throttles with a 403 whose text says so.
fn is_throttled(body: &[u8]) -> bool {
    memchr::memmem::find(&body.to_ascii_lowercase(), b"throttled").is_some()
}

/// The start of an answer, fit for a log line.
fn excerpt(body: &[u8]) -> String {
    const SHOWN: usize = 200;
    let start = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
    start
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}
