//! The life of one request: sent, looked at item by item, sent again in part, split, given up.
//!
//! A request is a list of parts, in the order of the events. It starts as one; a part that a
//! server finds too large, or malformed as a whole, is split in two until the item at fault is
//! alone. Of a part that was stored in part only the refused items are kept, in their order. A part
//! that waits for its next attempt does not hold up the others.
//!
//! Items of an index that is blocked become a part by themselves, and when nothing else is left of a
//! request it waits aside: it takes no place, and no memory, from those that can be sent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::bulk::{AckCursor, BulkRequest, Item};
use super::client::{Answer, ExchangeError, WireBody};
use super::concurrency::{Exchange, Signal};
use super::delivery::{Held, Shared};
use super::hosts::Host;
use super::mapping::{Guard, Remedy};
use super::outcome::Outcome;
use super::part::{Part, earliest};
use super::response::{self, Disposition, Failure, disposition, is_busy};
use super::with_type::wants_type;
use super::without_id::refuses_ids;
use crate::ack::Ack;
use crate::aws::Service;
use crate::backoff::Backoff;

/// A body that was refused as a whole so many times in a row because the server was busy is halved: a
/// server that counts bytes under way (`indexing_pressure.memory.limit`) never takes one that is too
/// large for it, however often it is asked.
pub(super) const REFUSALS_TO_SPLIT: u32 = 3;
/// After so many refusals of a single document somebody should be told.
const REFUSALS_TO_ALARM: u32 = 8;

/// Keeps `request` going until every event of it is safe.
pub(super) async fn deliver(shared: Arc<Shared>, request: BulkRequest, mut held: Held) {
    let backoff = Backoff::new(
        shared.options.retry_initial_interval,
        shared.options.retry_max_interval,
    );
    let request = fitted(&shared, request).await;
    let mut parts = vec![Part::new(
        request.body.into(),
        request.items,
        request.acks,
        backoff,
    )];
    shared.ready().await;
    while let Some((position, not_before)) = earliest(&parts) {
        tokio::time::sleep_until(not_before).await;
        let part = parts.remove(position);
        let left = attempt(&shared, part).await;
        parts.splice(position..position, left);
        let length = parts.iter().map(|part| part.body.len()).sum();
        held.shrink_to(length);
        if !parts.is_empty() && parts.iter().all(|part| part.is_blocked) {
            held.wait_aside(&shared, length);
        }
    }
}

/// The request with its documents changed that are known not to fit the mapping of their index.
async fn fitted(shared: &Arc<Shared>, request: BulkRequest) -> BulkRequest {
    for index in shared.mapping.to_ask(&request) {
        shared.mapping.learn(shared, &index).await;
    }
    if !shared.mapping.is_active() {
        return request;
    }
    let mut request = request;
    let preparing = {
        let shared = Arc::clone(shared);
        tokio::task::spawn_blocking(move || {
            let (documents, moved) = shared.mapping.prepare(&mut request);
            shared.statistics.moved(documents, moved);
            request
        })
    };
    match preparing.await {
        Ok(request) => request,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is going away: nothing is sent, and nothing is acknowledged.
        Err(_) => std::future::pending().await,
    }
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
    let mut exchange = shared.concurrency.exchange().await;
    let host = shared.pool.next().await;
    if part.body.len() > host.body_limit() && part.items.len() > 1 {
        // It has refused smaller ones: no need to ask.
        return part.halves();
    }
    let wire = match part.wire.take() {
        Some(wire) => wire,
        None => encode(shared, &part.body).await,
    };
    part.wire = Some(wire.clone());
    let events = part.items.len();
    exchange.start();
    let result = shared
        .client
        .bulk(&host.endpoint, wire, events, part.body.len())
        .await;
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
            let signal = match reason {
                ExchangeError::Timeout { .. } | ExchangeError::BrokeOff(_) => Signal::Lost,
                ExchangeError::Connect(_)
                | ExchangeError::Unsigned(_)
                | ExchangeError::AnswerTooLarge { .. } => Signal::Nothing,
            };
            end(shared, exchange, part.body.len(), signal);
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
                ExchangeError::AnswerTooLarge { .. } | ExchangeError::Unsigned(_) => {
                    part.later(None, shared.options.retry_max_interval)
                }
            };
        }
    };
    host.answered();

    if (200..300).contains(&answer.status) {
        let parsed = match shared.client.signs_for() {
            // Its 200 says that the pipeline has all of it, whatever the body is.
            Some(Service::Ingestion) => Ok(Vec::new()),
            _ => response::parse(&answer.body, events),
        };
        let signal = match &parsed {
            Ok(failures) if failures.iter().any(is_busy) => Signal::Busy,
            Ok(_) => Signal::Answered,
            Err(_) => Signal::Nothing,
        };
        end(shared, exchange, part.body.len(), signal);
        return match parsed {
            Ok(failures) => {
                host.accepted(part.body.len());
                if let Some(refused) = part.half_of {
                    shared.pool.crowded(&host, part.body.len());
                    let (limit, host) = (part.body.len(), name);
                    info!(
                        plugin,
                        host,
                        refused,
                        limit,
                        "a server that was too busy for a body takes half of it: later ones are cut \
                         smaller for a while"
                    );
                }
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
    let signal = match answer.status {
        502..=504 => Signal::Busy,
        _ if answer.is_throttled() => Signal::Busy,
        _ => Signal::Nothing,
    };
    end(shared, exchange, part.body.len(), signal);
    refused(shared, part, &answer, &host).await
}

/// The exchange is over: says so when fewer go out at a time from now on.
fn end(shared: &Shared, exchange: Exchange<'_>, length: usize, signal: Signal) {
    if let Some(lowered) = exchange.end(length, signal)
        && let Some(times) = shared.alarms.lowered.due(1)
    {
        let plugin = shared.options.plugin_id.as_str();
        let (concurrency, why) = (lowered.limit, lowered.why);
        info!(
            plugin,
            concurrency, why, times, "fewer requests go out at a time"
        );
    }
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
async fn refused(shared: &Shared, mut part: Part, answer: &Answer, at: &Host) -> Vec<Part> {
    let host = at.endpoint.name.as_str();
    let plugin = shared.options.plugin_id.as_str();
    let longest = shared.options.retry_max_interval;
    let events = part.items.len();
    let status = if answer.is_throttled() {
        429
    } else {
        answer.status
    };
    let own_words = response::parse_request_error(&answer.body);
    let reason = match &own_words {
        Some(refusal) => format!("{}: {}", refusal.error_type, refusal.reason),
        None => excerpt(&answer.body),
    };
    part.refusals = match status {
        429 => part.refusals + 1,
        _ => 0,
    };
    match status {
        413 if events > 1 => {
            if let Some(limit) = shared.pool.too_large(at, part.body.len()) {
                info!(
                    plugin,
                    host,
                    refused = part.body.len(),
                    limit,
                    "a server refused a request as too large, later ones are cut smaller"
                );
            }
            return part.halves();
        }
        413 => {
            let reason = format!(
                "the server takes no request of {} bytes (status 413): {reason}",
                part.body.len()
            );
            return give_up(shared, part, status, &reason).await;
        }
        400 if own_words.as_ref().is_some_and(wants_type) && part.add_types() => {
            shared.wants_types(host);
            return vec![part];
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
        401 | 403 => {
            if let Some(count) = shared.alarms.denied.due(1) {
                let check = shared.what_to_check(&reason);
                error!(
                    plugin,
                    host,
                    status,
                    reason,
                    requests = count,
                    check,
                    "the server denies access, trying again until it is granted"
                );
            }
        }
        408 | 425 | 429 | 502..=504 => {
            if part.refusals >= REFUSALS_TO_SPLIT && events > 1 {
                debug!(
                    plugin,
                    host, events, "always refused as too much at a time, splitting it"
                );
                let refused = part.body.len();
                let mut backoff = part.backoff;
                let mut halves = part.halves();
                for half in &mut halves {
                    half.half_of = Some(refused);
                    half.not_before = Instant::now() + backoff.next_wait();
                }
                return halves;
            }
            if part.refusals >= REFUSALS_TO_ALARM
                && events == 1
                // One that has taken larger ones is busy, and not too small.
                && at.largest_taken() < part.body.len()
                && let Some(count) = shared.alarms.crowded.due(1)
            {
                let bytes = part.body.len();
                error!(
                    plugin,
                    host,
                    status,
                    reason,
                    bytes,
                    requests = count,
                    "a single document is refused as too much again and again: the server is overloaded, or its \
                     `indexing_pressure.memory.limit` is too small for the document. It is sent again \
                     until it is taken; a lower `document_max_bytes` makes a dead letter of it"
                );
            }
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

    let mut to_learn = BTreeSet::new();
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
            (_, Some(failure)) if item.own_id && refuses_ids(&failure) => {
                outcome.kept.keep_without_id(item, &part, run);
                shared.refuses_ids(host, &failure.reason);
                outcome.retried.add(failure);
            }
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
                outcome.kept.keep(item, &part, run);
                outcome.retried.add(failure);
            }
            (Disposition::Wait, Some(failure)) => {
                outcome.blocked.keep(item, &part, run);
                outcome
                    .waiting
                    .add_of(item.action_line(&part.body), failure);
            }
            (Disposition::RetryDenied, Some(failure)) => {
                outcome.kept.keep(item, &part, run);
                outcome.denied.add_of(item.action_line(&part.body), failure);
            }
            (Disposition::DeadLetter, Some(failure)) => {
                let remedy = shared
                    .mapping
                    .remedy(item.action_line(&part.body), &failure);
                if let Some(Remedy::Learn(index)) = remedy {
                    to_learn.insert(index);
                    outcome.kept.keep(item, &part, run);
                    outcome.retried.add(failure);
                    continue;
                }
                if let Some(remedy) = remedy
                    && let Some(moved) =
                        outcome
                            .kept
                            .keep_changed(item, &part, run, |document, arena| {
                                remedy.apply(document, arena)
                            })
                {
                    let plugin = shared.options.plugin_id.as_str();
                    shared.mapping.say(plugin, host, &remedy, &failure.reason);
                    statistics.moved(1, moved);
                    continue;
                }
                if Guard::is_about_mapping(&failure) {
                    statistics.unfit.fetch_add(1, Ordering::Relaxed);
                }
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
    for index in to_learn {
        shared.mapping.learn(shared, &index).await;
    }

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
    let left = outcome.kept.items.len() + outcome.blocked.items.len();
    if left == 0 {
        return Vec::new();
    }
    statistics.retried.fetch_add(left as u64, Ordering::Relaxed);
    let mut backoff = part.backoff;
    if left < part.items.len() {
        backoff.reset();
    }
    let longest = shared.options.retry_max_interval;
    let mut parts = outcome.kept.into_parts(backoff, false, longest);
    parts.extend(outcome.blocked.into_parts(backoff, true, longest));
    parts
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

fn acknowledge(acks: &[(Ack, u32)], counts: &[u32]) -> u64 {
    let mut total = 0;
    for ((ack, _), count) in acks.iter().zip(counts) {
        ack.done(*count);
        total += u64::from(*count);
    }
    total
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
