//! Servers that are too busy, too small for a body, or lack an index for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use skidder_aggregator::output::elasticsearch::ElasticsearchOptions;

use super::support::{Reply, Request, Stub};
use super::{Batch, Output, documents, eventually, options};

/// A document of about so many bytes.
fn large(number: usize, length: usize) -> String {
    format!("{{\"n\":{number},\"x\":\"{}\"}}", "x".repeat(length))
}

#[tokio::test]
async fn complaint_26_a_body_that_is_always_too_much_is_halved_until_it_is_not() {
    // As `indexing_pressure.memory.limit`: it counts bytes, whoever sends them.
    const LIMIT: usize = 150 << 10;
    let stub = Stub::start(|request: &Request| {
        if request.body.len() > LIMIT {
            Reply::Status(429, String::new())
        } else {
            Reply::Stored
        }
    })
    .await;
    let output = Output::start(options(&[stub.url()]));
    let all: Vec<String> = (0..20).map(|number| large(number, 20 << 10)).collect();
    let batch = Batch::new(all.clone());
    output.write(std::slice::from_ref(&batch)).await;
    eventually("the batch", || batch.is_acknowledged()).await;
    let mut stored = stub.stored();
    stored.sort_by_key(|text| all.iter().position(|document| document == text));
    assert_eq!(stored, all);
    let refused = stub
        .bulk()
        .iter()
        .filter(|one| one.body.len() > LIMIT)
        .count();
    assert!(refused >= 3, "{refused}");

    // Later ones are small from the start.
    let before = stub.bulk().len();
    let next = Batch::new(all.clone());
    output.write(std::slice::from_ref(&next)).await;
    eventually("the next batch", || next.is_acknowledged()).await;
    let later = stub.bulk().split_off(before);
    assert!(later.iter().all(|request| request.body.len() <= LIMIT));
    assert_eq!(output.finish().await.delivered, 40);
}

#[tokio::test]
async fn complaint_26_a_single_document_that_is_too_much_is_not_lost() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let stub = Stub::start(move |_: &Request| {
        if count.fetch_add(1, Ordering::SeqCst) < 20 {
            Reply::Status(429, String::new())
        } else {
            Reply::Stored
        }
    })
    .await;
    let output = Output::start(options(&[stub.url()]));
    let batch = Batch::new(documents(0..1));
    output.write(std::slice::from_ref(&batch)).await;
    eventually("the batch", || batch.is_acknowledged()).await;
    assert_eq!(asked.load(Ordering::SeqCst), 21);
    assert!(output.letters().is_empty());
}

#[tokio::test]
async fn fewer_requests_go_out_while_the_servers_are_busy_and_more_when_they_are_not() {
    let busy = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&busy);
    let stub = Stub::start(move |_: &Request| {
        if state.load(Ordering::SeqCst) {
            Reply::Status(429, String::new())
        } else {
            Reply::Slow(Duration::from_millis(5))
        }
    })
    .await;
    let output = Output::start(ElasticsearchOptions {
        bulk_max_events: 1,
        ..options(&[stub.url()])
    });
    let sender = output.sender();
    assert_eq!(sender.concurrency(), 4);
    let first = Batch::new(documents(0..20));
    output.write(std::slice::from_ref(&first)).await;
    eventually("a lower limit", || sender.concurrency() == 1).await;
    busy.store(false, Ordering::SeqCst);
    let second = Batch::new(documents(20..400));
    output.write(std::slice::from_ref(&second)).await;
    eventually("both batches", || {
        first.is_acknowledged() && second.is_acknowledged()
    })
    .await;
    assert!(sender.concurrency() > 4, "{}", sender.concurrency());
}

#[tokio::test]
async fn a_blocked_index_holds_up_its_own_events_only() {
    let blocked = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&blocked);
    let stub = Stub::start(move |request: &Request| {
        let is_blocked = String::from_utf8_lossy(&request.body).contains("\"full\"");
        if is_blocked && state.load(Ordering::SeqCst) {
            let items = vec![(429, "cluster_block_exception"); request.documents().len()];
            Reply::Items(items)
        } else {
            Reply::Stored
        }
    })
    .await;
    let output = Output::start(ElasticsearchOptions {
        // Without room of their own the blocked events would take these two places for good.
        pending_requests: 2,
        ..options(&[stub.url()])
    });
    let waiting: Vec<Batch> = (0..6)
        .map(|each| Batch::new(documents(each..=each)))
        .collect();
    for batch in &waiting {
        output.write_to("full", std::slice::from_ref(batch)).await;
    }
    for number in 100..120 {
        let batch = Batch::new(documents(number..=number));
        output.write(std::slice::from_ref(&batch)).await;
        eventually("the others", || batch.is_acknowledged()).await;
    }
    assert!(waiting.iter().all(|batch| !batch.is_acknowledged()));
    blocked.store(false, Ordering::SeqCst);
    eventually("those that waited", || {
        waiting.iter().all(Batch::is_acknowledged)
    })
    .await;
    let summary = output.finish().await;
    assert_eq!((summary.delivered, summary.dead_lettered), (26, 0));
}

#[tokio::test]
async fn what_waits_for_blocked_indices_is_bounded() {
    let stub = Stub::start(|request: &Request| {
        Reply::Items(vec![
            (503, "unavailable_shards_exception");
            request.documents().len()
        ])
    })
    .await;
    let output = Output::start(ElasticsearchOptions {
        pending_requests: 2,
        blocked_max_bytes: 4 << 10,
        ..options(&[stub.url()])
    });
    let sender = output.sender();
    let handed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handed);
    let writer = tokio::task::spawn_blocking(move || {
        use skidder_aggregator::ack::Ack;
        use skidder_aggregator::output::elasticsearch::{Action, ActionKind, BulkWriter};
        let mut writer = BulkWriter::new(sender);
        let ack = Ack::ignored();
        ack.hold(1_000);
        while count.load(Ordering::SeqCst) < 1_000 {
            let action = Action::new(ActionKind::Index, "logs");
            let written = writer.append(&action, &ack, |out| out.extend_from_slice(b"{}"));
            if written.and_then(|()| writer.flush()).is_err() {
                break;
            }
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    eventually("attempts", || stub.bulk().len() > 60).await;
    // Five of at least 1 KiB each aside, two in the places, one in the queue.
    let handed = handed.load(Ordering::SeqCst);
    assert!((2..=8).contains(&handed), "{handed}");
    output
        .deadline
        .send(Some(tokio::time::Instant::now()))
        .unwrap();
    writer.await.unwrap();
}

#[tokio::test]
async fn complaint_28_a_value_that_does_not_fit_moves_and_its_document_stays() {
    for guard in [true, false] {
        let stub = Stub::start(|request: &Request| {
            let items: Vec<String> = request
                .documents()
                .iter()
                .map(|document| {
                    if document.contains("\"n\":1}") {
                        r#"{"index":{"status":400,"error":{"type":"mapper_parsing_exception",
                            "reason":"failed to parse field [n] of type [ip] in document"}}}"#
                            .to_owned()
                    } else {
                        r#"{"index":{"status":201}}"#.to_owned()
                    }
                })
                .collect();
            Reply::Body(format!(
                "{{\"errors\":true,\"items\":[{}]}}",
                items.join(",")
            ))
        })
        .await;
        let output = Output::start(ElasticsearchOptions {
            mapping_guard: guard,
            ..options(&[stub.url()])
        });
        let batch = Batch::new(documents(0..3));
        output.write(std::slice::from_ref(&batch)).await;
        eventually("the batch", || batch.is_acknowledged()).await;
        let letters = output.letters().len();
        let summary = output.finish().await;
        if guard {
            assert_eq!(stub.bulk()[1].documents(), [r#"{"n__string":"1"}"#]);
            assert_eq!((summary.delivered, letters), (3, 0));
        } else {
            assert_eq!((summary.delivered, letters), (2, 1));
        }
    }
}
