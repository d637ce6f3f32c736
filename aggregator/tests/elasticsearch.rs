//! The elasticsearch output against a scripted server: every fault a server can show, and that no
//! event is lost or acknowledged early whatever happens.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "elasticsearch/identity.rs"]
mod identity;
#[path = "elasticsearch/management.rs"]
mod management;
#[path = "elasticsearch/mapping.rs"]
mod mapping;
#[path = "elasticsearch/pressure.rs"]
mod pressure;
mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use skidder_aggregator::ack::Ack;
use skidder_aggregator::dead_letter::{DeadLetterOptions, DeadLetters};
use skidder_aggregator::output::elasticsearch::{
    Action, ActionKind, BulkSender, BulkWriter, Delivery, DeliveryClosed, DeliverySummary,
    ElasticsearchOptions, Secret,
};
use skidder_aggregator::tls::{ClientTlsOptions, Verification};
use support::{Reply, Request, Reserved, Stub, answer};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// Waits are for conditions; this only ends a test that would never end.
const PATIENCE: Duration = Duration::from_mins(1);

struct Output {
    sender: Option<BulkSender>,
    handle: JoinHandle<DeliverySummary>,
    deadline: watch::Sender<Option<Instant>>,
    dead_letters: Arc<DeadLetters>,
    _directory: TempDir,
}

impl Output {
    fn start(options: ElasticsearchOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut letters = DeadLetterOptions::new(directory.path(), "main");
        letters.retry_initial_interval = Duration::from_millis(5);
        letters.retry_max_interval = Duration::from_millis(20);
        let dead_letters = DeadLetters::open(letters).unwrap();
        let (deadline, watched) = watch::channel(None);
        let (sender, handle) =
            Delivery::start(options, Arc::clone(&dead_letters), watched).unwrap();
        Self {
            sender: Some(sender),
            handle,
            deadline,
            dead_letters,
            _directory: directory,
        }
    }

    fn sender(&self) -> BulkSender {
        self.sender.clone().unwrap()
    }

    /// Writes each batch's documents in one go and flushes at the end.
    async fn write(&self, batches: &[Batch]) {
        self.write_to("logs", batches).await;
    }

    /// The same into another index.
    async fn write_to(&self, index: &'static str, batches: &[Batch]) {
        let sender = self.sender();
        let batches: Vec<(Ack, Vec<String>)> = batches
            .iter()
            .map(|batch| (batch.ack.clone(), batch.documents.clone()))
            .collect();
        tokio::task::spawn_blocking(move || {
            let mut writer = BulkWriter::new(sender);
            for (ack, documents) in batches {
                for document in documents {
                    let action = Action::new(ActionKind::Index, index);
                    writer
                        .append(&action, &ack, |out| {
                            out.extend_from_slice(document.as_bytes());
                        })
                        .unwrap();
                }
            }
            writer.flush().unwrap();
        })
        .await
        .unwrap();
    }

    /// Ends the delivery in the ordinary way.
    async fn finish(mut self) -> DeliverySummary {
        self.sender = None;
        tokio::time::timeout(PATIENCE, self.handle)
            .await
            .expect("the delivery ends")
            .unwrap()
    }

    fn letters(&self) -> Vec<serde_json::Value> {
        letters(self.dead_letters.directory())
    }
}

/// Events that are acknowledged together.
struct Batch {
    ack: Ack,
    documents: Vec<String>,
    acknowledged: Arc<AtomicBool>,
}

impl Batch {
    fn new(documents: impl IntoIterator<Item = String>) -> Self {
        let acknowledged = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&acknowledged);
        let mut batch = Self::watched(documents, move || flag.store(true, Ordering::SeqCst));
        batch.acknowledged = acknowledged;
        batch
    }

    fn watched(
        documents: impl IntoIterator<Item = String>,
        acknowledge: impl FnOnce() + Send + 'static,
    ) -> Self {
        let documents: Vec<String> = documents.into_iter().collect();
        let ack = Ack::new(Box::new(acknowledge));
        ack.hold(documents.len() as u32);
        ack.done(1);
        Self {
            ack,
            documents,
            acknowledged: Arc::new(AtomicBool::new(false)),
        }
    }

    fn is_acknowledged(&self) -> bool {
        self.acknowledged.load(Ordering::SeqCst)
    }
}

fn document(number: usize) -> String {
    format!("{{\"n\":{number}}}")
}

fn documents(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(document).collect()
}

fn options(urls: &[String]) -> ElasticsearchOptions {
    ElasticsearchOptions {
        hosts: urls.to_vec(),
        retry_initial_interval: Duration::from_millis(4),
        retry_max_interval: Duration::from_millis(30),
        resurrect_delay: Duration::from_millis(20),
        timeout: Duration::from_secs(30),
        ..ElasticsearchOptions::default()
    }
}

fn letters(directory: &Path) -> Vec<serde_json::Value> {
    let mut letters = Vec::new();
    let mut paths: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    for path in paths {
        let text = fs::read_to_string(path).unwrap();
        letters.extend(text.lines().map(|line| serde_json::from_str(line).unwrap()));
    }
    letters
}

/// Answers with each reply in turn, then stores everything.
fn script(replies: Vec<Reply>) -> impl FnMut(&Request) -> Reply + Send + 'static {
    let mut replies = replies.into_iter();
    move |_| replies.next().unwrap_or(Reply::Stored)
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn stores_and_acknowledges() {
    let stub = Stub::start(script(vec![])).await;
    let output = Output::start(ElasticsearchOptions {
        custom_headers: vec![("X-Team".to_owned(), "ops".to_owned())],
        parameters: vec![("refresh".to_owned(), "true".to_owned())],
        compression_level: 0,
        ..options(&[format!("{}/es", stub.url())])
    });
    let batches = [Batch::new(documents(0..3)), Batch::new(documents(3..4))];
    output.write(&batches).await;
    eventually("both batches", || {
        batches.iter().all(Batch::is_acknowledged)
    })
    .await;

    let requests = stub.bulk();
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    assert_eq!(request.method, "POST");
    assert_eq!(
        request.target,
        "/es/_bulk?filter_path=errors,items.*.status,items.*.error&refresh=true"
    );
    assert_eq!(request.headers["content-type"], "application/x-ndjson");
    assert_eq!(request.headers["x-elastic-event-count"], "4");
    assert_eq!(
        request.headers["x-elastic-uncompressed-request-length"],
        request.body.len().to_string()
    );
    assert_eq!(request.headers["x-team"], "ops");
    assert!(!request.headers.contains_key("content-encoding"));
    assert!(!request.headers.contains_key("authorization"));
    assert!(
        request
            .body
            .starts_with(b"{\"index\":{\"_index\":\"logs\"}}\n{\"n\":0}\n")
    );
    assert_eq!(stub.stored(), documents(0..4));

    let statistics = output.sender();
    assert_eq!(statistics.statistics().requests.load(Ordering::Relaxed), 1);
    drop(statistics);
    let summary = output.finish().await;
    assert_eq!(
        summary,
        DeliverySummary {
            delivered: 4,
            duplicates: 0,
            dead_lettered: 0,
            undelivered: 0
        }
    );
}

#[tokio::test]
async fn requests_refused_as_a_whole_are_sent_again() {
    let busy = |status| Reply::Status(status, String::new());
    let stub = Stub::start(script(vec![
        busy(429),
        busy(503),
        busy(500),
        busy(502),
        busy(401),
        Reply::Status(
            403,
            "{\"message\":\"Request throttled due to too many requests\"}".to_owned(),
        ),
        busy(404),
        busy(301),
        Reply::Status(400, "<html>Bad Request</html>".to_owned()),
        Reply::Header(429, "retry-after", "3600".to_owned()),
    ]))
    .await;
    let output = Output::start(options(&[stub.url()]));
    let batch = Batch::new(documents(0..5));
    output.write(std::slice::from_ref(&batch)).await;
    eventually("the batch", || batch.is_acknowledged()).await;
    assert_eq!(stub.bulk().len(), 11);
    assert_eq!(stub.stored(), documents(0..5));
    assert!(output.letters().is_empty());
}

#[tokio::test]
async fn complaint_27_only_refused_items_go_again_in_their_order() {
    let stub = Stub::start(script(vec![
        Reply::Items(vec![
            (201, ""),
            (429, "rejected_execution_exception"),
            (400, "mapper_parsing_exception"),
            (503, "process_cluster_event_timeout_exception"),
            (409, "version_conflict_engine_exception"),
            (403, "security_exception"),
            (200, ""),
        ]),
        Reply::Items(vec![
            (429, "rejected_execution_exception"),
            (201, ""),
            (404, "index_not_found_exception"),
        ]),
    ]))
    .await;
    let output = Output::start(options(&[stub.url()]));
    let first = Batch::new(documents(0..3));
    let second = Batch::new(documents(3..7));
    output.write(&[first_of(&first), first_of(&second)]).await;
    eventually("both batches", || {
        first.is_acknowledged() && second.is_acknowledged()
    })
    .await;

    let sent: Vec<Vec<String>> = stub.bulk().iter().map(Request::documents).collect();
    assert_eq!(
        sent,
        [documents(0..7), documents([1, 3, 5]), documents([1])]
    );
    let letters = output.letters();
    let kept: Vec<(&str, u64)> = letters
        .iter()
        .map(|letter| {
            (
                letter["document"].as_str().unwrap(),
                letter["status"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(kept, [("{\"n\":2}", 400), ("{\"n\":5}", 404)]);
    assert_eq!(letters[0]["reason"], "mapper_parsing_exception: because");
    assert_eq!(letters[0]["action"], "{\"index\":{\"_index\":\"logs\"}}");
    assert_eq!(letters[0]["plugin"], "elasticsearch");
    let summary = output.finish().await;
    assert_eq!(
        summary,
        DeliverySummary {
            delivered: 5,
            duplicates: 0,
            dead_lettered: 2,
            undelivered: 0
        }
    );
}

/// The same batch for `write`, which only needs its handle and documents.
fn first_of(batch: &Batch) -> Batch {
    Batch {
        ack: batch.ack.clone(),
        documents: batch.documents.clone(),
        acknowledged: Arc::clone(&batch.acknowledged),
    }
}

#[tokio::test]
async fn acknowledgements_wait_for_the_last_item() {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let stub = Stub::start(move |request: &Request| {
        let refuse = !gate.load(Ordering::SeqCst);
        Reply::Items(
            request
                .documents()
                .iter()
                .map(|text| {
                    if refuse && text == "{\"n\":1}" {
                        (429, "rejected")
                    } else {
                        (201, "")
                    }
                })
                .collect(),
        )
    })
    .await;
    let output = Output::start(options(&[stub.url()]));
    let blocked = Batch::new(documents(0..2));
    let free = Batch::new(documents(2..4));
    output.write(&[first_of(&blocked), first_of(&free)]).await;
    eventually("the free batch", || free.is_acknowledged()).await;
    eventually("more attempts", || stub.bulk().len() >= 4).await;
    assert!(
        !blocked.is_acknowledged(),
        "acknowledged before its last event was stored"
    );
    open.store(true, Ordering::SeqCst);
    eventually("the blocked batch", || blocked.is_acknowledged()).await;
}

#[tokio::test]
async fn unbelievable_answers_count_as_failures_of_the_whole_request() {
    let one_too_few = answer(&[(201, ""); 3]);
    let one_too_many = answer(&[(201, ""); 5]);
    let stub = Stub::start(script(vec![
        Reply::Body(one_too_few),
        Reply::Body(one_too_many),
        Reply::Body("{\"took\":1}".to_owned()),
        Reply::Body("<html>hello</html>".to_owned()),
        Reply::Body(String::new()),
        Reply::Body("{\"errors\":false,\"items\":[{\"index\":{\"status\":2".to_owned()),
        Reply::Truncated(10),
        Reply::Truncated(0),
        Reply::Close,
    ]))
    .await;
    let output = Output::start(options(&[stub.url()]));
    let batch = Batch::new(documents(0..4));
    output.write(std::slice::from_ref(&batch)).await;
    eventually("the batch", || batch.is_acknowledged()).await;
    let requests = stub.bulk();
    // A connection that is closed without a word may be tried once more by the HTTP client.
    assert!(requests.len() >= 10, "{} requests", requests.len());
    assert!(
        requests
            .iter()
            .all(|request| request.documents() == documents(0..4))
    );
    assert!(output.letters().is_empty());
}

#[tokio::test]
async fn complaint_30_too_large_requests_are_split_and_the_limit_is_remembered() {
    const LIMIT: usize = 1_000;
    let stub = Stub::start(|request: &Request| {
        if request.body.len() > LIMIT {
            Reply::Status(413, String::new())
        } else {
            Reply::Stored
        }
    })
    .await;
    let output = Output::start(options(&[stub.url()]));
    let mut all = documents(0..100);
    all.insert(50, format!("{{\"big\":\"{}\"}}", "x".repeat(2 * LIMIT)));
    let batch = Batch::new(all);
    output.write(std::slice::from_ref(&batch)).await;
    eventually("the batch", || batch.is_acknowledged()).await;
    assert_eq!(
        stub.stored(),
        documents(0..100),
        "all but the big one, in order"
    );
    let letters = output.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["status"], 413);
    assert!(letters[0]["reason"].as_str().unwrap().contains("413"));
    assert!(letters[0]["document"].as_str().unwrap().contains("xxx"));

    let limit = output.sender().body_limit();
    assert!(limit <= 2 * LIMIT, "the limit is {limit}");
    let before = stub.bulk().len();
    let next = Batch::new(documents(0..200));
    output.write(std::slice::from_ref(&next)).await;
    eventually("the next batch", || next.is_acknowledged()).await;
    let later = stub.bulk().split_off(before);
    assert!(later.iter().all(|request| request.body.len() <= 2 * LIMIT));
    assert_eq!(stub.stored().len(), 300);
}

#[tokio::test]
async fn documents_over_the_own_limit_are_not_sent() {
    let stub = Stub::start(script(vec![])).await;
    let output = Output::start(ElasticsearchOptions {
        document_max_bytes: 200,
        bulk_max_bytes: 150,
        ..options(&[stub.url()])
    });
    let batch = Batch::new([
        document(0),
        format!("{{\"a\":\"{}\"}}", "x".repeat(300)),
        document(1),
    ]);
    output.write(std::slice::from_ref(&batch)).await;
    eventually("the batch", || batch.is_acknowledged()).await;
    let mut stored = stub.stored();
    stored.sort();
    assert_eq!(stored, documents(0..2));
    let letters = output.letters();
    assert_eq!(letters.len(), 1);
    assert!(
        letters[0]["reason"]
            .as_str()
            .unwrap()
            .contains("`document_max_bytes` (200)")
    );
}

#[tokio::test]
async fn one_malformed_item_does_not_take_the_others_with_it() {
    let stub = Stub::start(|request: &Request| {
        if request.documents().iter().any(|text| text.contains("13")) {
            let body =
                r#"{"error":{"type":"illegal_argument_exception","reason":"no"},"status":400}"#;
            Reply::Status(400, body.to_owned())
        } else {
            Reply::Stored
        }
    })
    .await;
    let output = Output::start(options(&[stub.url()]));
    let batch = Batch::new(documents(0..50));
    output.write(std::slice::from_ref(&batch)).await;
    eventually("the batch", || batch.is_acknowledged()).await;
    assert_eq!(
        stub.stored(),
        documents((0..50).filter(|number| *number != 13))
    );
    let letters = output.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["document"], "{\"n\":13}");
    assert_eq!(letters[0]["reason"], "illegal_argument_exception: no");
}

#[tokio::test]
async fn answers_over_the_limit_are_not_read() {
    let stub = Stub::start(|request: &Request| {
        let items = request.documents().len();
        if items > 2 {
            Reply::Body("x".repeat(100_000))
        } else {
            Reply::Stored
        }
    })
    .await;
    let output = Output::start(ElasticsearchOptions {
        response_max_bytes: 1_000,
        ..options(&[stub.url()])
    });
    let batch = Batch::new(documents(0..8));
    output.write(std::slice::from_ref(&batch)).await;
    eventually("the batch", || batch.is_acknowledged()).await;
    assert_eq!(stub.bulk().last().unwrap().documents(), documents(6..8));
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let reserved = Reserved::new();
    let output = Output::start(options(&[reserved.url()]));
    let batch = Batch::new(documents(0..3));
    output.write(std::slice::from_ref(&batch)).await;
    let statistics = output.sender();
    eventually("an attempt", || {
        statistics
            .statistics()
            .failed_requests
            .load(Ordering::Relaxed)
            > 0
    })
    .await;
    assert!(!batch.is_acknowledged());
    let stub = reserved.start(script(vec![]));
    eventually("the batch", || batch.is_acknowledged()).await;
    assert!(!stub.probes().is_empty(), "came back through a probe");
    assert_eq!(stub.probes()[0].target, "/");
    assert_eq!(stub.stored(), documents(0..3));
}

#[tokio::test]
async fn hosts_take_turns_and_dead_ones_are_left_out_until_they_are_back() {
    let one = Stub::start(script(vec![])).await;
    let two = Stub::start(script(vec![])).await;
    let reserved = Reserved::new();
    let output = Output::start(options(&[one.url(), reserved.url(), two.url()]));
    for number in 0..12 {
        let batch = Batch::new(documents([number]));
        output.write(std::slice::from_ref(&batch)).await;
        eventually("the batch", || batch.is_acknowledged()).await;
    }
    let (first, second) = (one.stored().len(), two.stored().len());
    assert_eq!(first + second, 12);
    assert!(first >= 4 && second >= 4, "{first} and {second}");

    let three = reserved.start(script(vec![]));
    eventually("a probe", || !three.probes().is_empty()).await;
    let mut number = 12;
    while three.stored().is_empty() {
        let batch = Batch::new(documents([number]));
        output.write(std::slice::from_ref(&batch)).await;
        eventually("the batch", || batch.is_acknowledged()).await;
        number += 1;
        assert!(number < 10_000, "the host that is back gets nothing");
    }
}

#[tokio::test]
async fn a_slow_host_does_not_hold_up_the_other() {
    let slow = Stub::start(|_: &Request| Reply::Slow(PATIENCE)).await;
    let quick = Stub::start(script(vec![])).await;
    let output = Output::start(ElasticsearchOptions {
        concurrency: 3,
        ..options(&[slow.url(), quick.url()])
    });
    let stuck = Batch::new(documents([0]));
    output.write(std::slice::from_ref(&stuck)).await;
    eventually("the slow host has it", || slow.bulk().len() == 1).await;
    let free = Batch::new(documents([1]));
    output.write(std::slice::from_ref(&free)).await;
    eventually("the quick host's batch", || free.is_acknowledged()).await;
    assert!(!stuck.is_acknowledged());
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_not_waited_for() {
    let stub = Stub::start(script(vec![Reply::Slow(PATIENCE)])).await;
    let output = Output::start(ElasticsearchOptions {
        timeout: Duration::from_millis(300),
        ..options(&[stub.url()])
    });
    let batch = Batch::new(documents(0..2));
    output.write(std::slice::from_ref(&batch)).await;
    eventually("the batch", || batch.is_acknowledged()).await;
    assert!(stub.bulk().len() >= 2);
}

#[tokio::test]
async fn bodies_are_compressed() {
    let stub = Stub::start(script(vec![Reply::Items(vec![(429, "busy"); 5_000])])).await;
    let output = Output::start(options(&[stub.url()]));
    let batch = Batch::new(documents(0..5_000));
    output.write(std::slice::from_ref(&batch)).await;
    eventually("the batch", || batch.is_acknowledged()).await;
    for request in stub.bulk() {
        assert_eq!(request.headers["content-encoding"], "gzip");
        assert!(request.wire_length * 3 < request.body.len());
    }
    assert_eq!(stub.stored(), documents(0..5_000));
}

#[tokio::test]
async fn requests_are_cut_by_bytes_and_by_count() {
    let stub = Stub::start(script(vec![])).await;
    let output = Output::start(ElasticsearchOptions {
        bulk_max_bytes: 400,
        concurrency: 1,
        ..options(&[stub.url()])
    });
    let batch = Batch::new(documents(0..100));
    output.write(std::slice::from_ref(&batch)).await;
    eventually("the batch", || batch.is_acknowledged()).await;
    let requests = stub.bulk();
    assert!(requests.iter().all(|request| request.body.len() <= 400));
    assert!(requests.len() <= 12, "{} requests", requests.len());
    assert_eq!(stub.stored(), documents(0..100));

    let output = Output::start(ElasticsearchOptions {
        bulk_max_events: 7,
        concurrency: 1,
        ..options(&[stub.url()])
    });
    let batch = Batch::new(documents(0..20));
    output.write(std::slice::from_ref(&batch)).await;
    eventually("the batch", || batch.is_acknowledged()).await;
    let counts: Vec<usize> = stub.bulk()[requests.len()..]
        .iter()
        .map(|request| request.documents().len())
        .collect();
    assert_eq!(counts, [7, 7, 6]);
}

#[tokio::test]
async fn credentials_are_sent_and_probes_have_them_too() {
    for (user_in_url, authorization) in [(false, "Basic YW5uYTpwYSNz"), (true, "Basic dXJsOnBA")] {
        let reserved = Reserved::new();
        let url = reserved.url();
        let url = if user_in_url {
            url.replace("//", "//url:p%40@")
        } else {
            url
        };
        let output = Output::start(ElasticsearchOptions {
            user: Some("anna".to_owned()),
            password: Some(Secret::new("pa#s")),
            ..options(&[url])
        });
        let batch = Batch::new(documents(0..1));
        output.write(std::slice::from_ref(&batch)).await;
        let sender = output.sender();
        eventually("an attempt", || {
            sender.statistics().failed_requests.load(Ordering::Relaxed) > 0
        })
        .await;
        let stub = reserved.start(script(vec![]));
        eventually("the batch", || batch.is_acknowledged()).await;
        assert_eq!(stub.bulk()[0].headers["authorization"], authorization);
        assert_eq!(stub.probes()[0].headers["authorization"], authorization);
    }
}

#[tokio::test]
async fn complaint_26_denied_items_and_requests_are_never_given_up() {
    let granted = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&granted);
    let stub = Stub::start(move |request: &Request| {
        if gate.load(Ordering::SeqCst) {
            Reply::Stored
        } else if request.headers.contains_key("x-item") {
            Reply::Items(vec![(403, "security_exception"); request.documents().len()])
        } else {
            Reply::Status(
                401,
                "{\"error\":{\"type\":\"security_exception\",\"reason\":\"who\"}}".to_owned(),
            )
        }
    })
    .await;
    let whole = Output::start(options(&[stub.url()]));
    let item = Output::start(ElasticsearchOptions {
        custom_headers: vec![("x-item".to_owned(), "1".to_owned())],
        ..options(&[stub.url()])
    });
    let batches = [Batch::new(documents(0..2)), Batch::new(documents(2..4))];
    whole.write(&batches[..1]).await;
    item.write(&batches[1..]).await;
    eventually("many attempts", || stub.bulk().len() > 10).await;
    assert!(!batches.iter().any(Batch::is_acknowledged));
    granted.store(true, Ordering::SeqCst);
    eventually("both batches", || {
        batches.iter().all(Batch::is_acknowledged)
    })
    .await;
    assert!(whole.letters().is_empty() && item.letters().is_empty());
}

struct Identity {
    directory: TempDir,
    acceptor: TlsAcceptor,
}

/// A throw-away CA, in `ca.pem`, and a server with a certificate of it for `name`.
fn identity(name: &str) -> Identity {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority
        .distinguished_name
        .push(rcgen::DnType::CommonName, format!("CA for {name}"));
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("ca.pem"), authority_certificate.pem()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(
        vec![certificate.der().clone()],
        rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
    )
    .unwrap();
    Identity {
        directory,
        acceptor: TlsAcceptor::from(Arc::new(config)),
    }
}

fn tls(identity: &Identity, verification: Verification) -> ClientTlsOptions {
    ClientTlsOptions {
        certificate_authorities: vec![identity.directory.path().join("ca.pem")],
        verification,
        ..ClientTlsOptions::default()
    }
}

#[tokio::test]
async fn tls_with_an_authority_and_an_api_key() {
    let right = identity("127.0.0.1");
    let stub = Stub::start_tls(right.acceptor.clone(), script(vec![])).await;
    let output = Output::start(ElasticsearchOptions {
        tls: tls(&right, Verification::Full),
        api_key: Some(Secret::new("id:key")),
        ..options(&[stub.url()])
    });
    let batch = Batch::new(documents(0..3));
    output.write(std::slice::from_ref(&batch)).await;
    eventually("the batch", || batch.is_acknowledged()).await;
    assert_eq!(stub.bulk()[0].headers["authorization"], "ApiKey aWQ6a2V5");
}

#[tokio::test]
async fn verification_modes_check_what_they_say() {
    let other_name = identity("search.example");
    let other_authority = identity("127.0.0.1");
    for (trusted, verification, reaches) in [
        (&other_name, Verification::Full, false),
        (&other_name, Verification::Certificate, true),
        (&other_authority, Verification::Certificate, false),
        (&other_authority, Verification::None, true),
    ] {
        let stub = Stub::start_tls(other_name.acceptor.clone(), script(vec![])).await;
        let output = Output::start(ElasticsearchOptions {
            tls: tls(trusted, verification),
            ..options(&[stub.url()])
        });
        let batch = Batch::new(documents(0..3));
        output.write(std::slice::from_ref(&batch)).await;
        let sender = output.sender();
        let failed = || sender.statistics().failed_requests.load(Ordering::Relaxed) > 0;
        eventually("an outcome", || batch.is_acknowledged() || failed()).await;
        assert_eq!(batch.is_acknowledged(), reaches, "{verification:?}");
        assert_eq!(
            stub.bulk().len(),
            usize::from(reaches),
            "nothing is sent to a stranger"
        );
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test]
async fn failed_handshakes_are_explained() {
    // For the whole process: a subscriber of one thread can miss lines while other tests run.
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let server = identity("search.example");
    let stranger = identity("127.0.0.1");
    let plain = Stub::start(script(vec![])).await;
    let secured = Stub::start_tls(server.acceptor.clone(), script(vec![])).await;
    for (url, trusted, words) in [
        (
            secured.url(),
            &stranger,
            "not issued by an authority that is trusted here: name the file of its CA with \
             `ssl_certificate_authorities`",
        ),
        (secured.url(), &server, "is not for 127.0.0.1, it is for"),
        (
            plain.url().replace("http:", "https:"),
            &server,
            "is it plain http?",
        ),
    ] {
        let output = Output::start(ElasticsearchOptions {
            tls: tls(trusted, Verification::Full),
            ..options(std::slice::from_ref(&url))
        });
        let batch = Batch::new(documents(0..1));
        output.write(std::slice::from_ref(&batch)).await;
        let sender = output.sender();
        eventually("a failed request", || {
            sender.statistics().failed_requests.load(Ordering::Relaxed) > 0
        })
        .await;
        let own: Vec<String> = log
            .text()
            .lines()
            .filter(|line| line.contains(&url))
            .map(str::to_owned)
            .collect();
        assert!(own.iter().any(|line| line.contains(words)), "{own:#?}");
    }
}

#[tokio::test]
async fn names_left_with_a_placeholder_go_to_the_dead_letters() {
    let stub = Stub::start(script(vec![])).await;
    let output = Output::start(options(&[stub.url()]));
    let batch = Batch::new(documents(0..2));
    let sender = output.sender();
    let ack = batch.ack.clone();
    tokio::task::spawn_blocking(move || {
        let mut writer = BulkWriter::new(sender);
        let bad = Action::new(ActionKind::Index, "logs-%{type}");
        writer
            .append(&bad, &ack, |out| out.extend_from_slice(b"{\"n\":0}"))
            .unwrap();
        let good = Action::new(ActionKind::Index, "logs");
        writer
            .append(&good, &ack, |out| out.extend_from_slice(b"{\"n\":1}"))
            .unwrap();
        assert!(writer.due().is_some());
        writer.flush().unwrap();
        assert!(writer.due().is_none());
    })
    .await
    .unwrap();
    eventually("the batch", || batch.is_acknowledged()).await;
    assert_eq!(stub.stored(), documents([1]));
    let letters = output.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["status"], 0);
    assert_eq!(
        letters[0]["reason"],
        "badly formatted index, after interpolation still contains placeholder: [logs-%{type}]"
    );
}

#[tokio::test]
async fn nothing_is_acknowledged_before_its_letter_is_on_the_disk() {
    let stub = Stub::start(script(vec![Reply::Items(vec![(400, "bad"), (201, "")])])).await;
    let output = Output::start(options(&[stub.url()]));
    // A file where the folder should be stands for a disk that refuses.
    let directory = output.dead_letters.directory().to_owned();
    fs::remove_dir(&directory).unwrap();
    fs::write(&directory, "in the way").unwrap();
    let refused = Batch::new(documents([0]));
    let stored = Batch::new(documents([1]));
    output.write(&[first_of(&refused), first_of(&stored)]).await;
    eventually("the stored event", || stored.is_acknowledged()).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(!refused.is_acknowledged());
    fs::remove_file(&directory).unwrap();
    eventually("the refused event", || refused.is_acknowledged()).await;
    assert_eq!(output.letters().len(), 1);
}

#[tokio::test]
async fn options_decide_about_error_types_and_codes() {
    let stub = Stub::start(script(vec![Reply::Items(vec![
        (400, "strict_dynamic_mapping_exception"),
        (503, "unavailable_shards_exception"),
    ])]))
    .await;
    let output = Output::start(ElasticsearchOptions {
        drop_error_types: vec!["strict_dynamic_mapping_exception".to_owned()],
        dlq_custom_codes: vec![503],
        ..options(&[stub.url()])
    });
    let batch = Batch::new(documents(0..2));
    output.write(std::slice::from_ref(&batch)).await;
    eventually("the batch", || batch.is_acknowledged()).await;
    assert_eq!(output.letters()[0]["document"], document(1));
    let summary = output.finish().await;
    assert_eq!(
        summary,
        DeliverySummary {
            delivered: 1,
            duplicates: 0,
            dead_lettered: 1,
            undelivered: 0
        }
    );
}

#[tokio::test]
async fn at_the_deadline_the_rest_is_left_unacknowledged() {
    let stub = Stub::start(|request: &Request| {
        if request.documents() == documents([0]) {
            Reply::Stored
        } else {
            Reply::Status(503, String::new())
        }
    })
    .await;
    let output = Output::start(ElasticsearchOptions {
        pending_requests: 1,
        concurrency: 1,
        ..options(&[stub.url()])
    });
    let stored = Batch::new(documents([0]));
    output.write(std::slice::from_ref(&stored)).await;
    eventually("the first batch", || stored.is_acknowledged()).await;
    let left = Batch::new(documents(1..4));
    output.write(std::slice::from_ref(&left)).await;
    eventually("an attempt", || stub.bulk().len() >= 2).await;

    // Another writer blocks, as nothing moves: the deadline must free it.
    let sender = output.sender();
    let blocked = tokio::task::spawn_blocking(move || {
        let mut writer = BulkWriter::new(sender);
        let action = Action::new(ActionKind::Index, "logs");
        let ack = Ack::ignored();
        ack.hold(10);
        for _ in 0..10 {
            writer.append(&action, &ack, |out| out.extend_from_slice(b"{}"))?;
            writer.flush()?;
        }
        Ok::<(), DeliveryClosed>(())
    });
    output
        .deadline
        .send(Some(Instant::now() + Duration::from_millis(50)))
        .unwrap();
    assert_eq!(blocked.await.unwrap(), Err(DeliveryClosed));
    assert!(!left.is_acknowledged());
    let letters = output.letters();
    let summary = output.finish().await;
    assert_eq!(summary.delivered, 1);
    assert!(summary.undelivered >= 3);
    assert!(letters.is_empty(), "what is not delivered is not dead");
}

#[tokio::test]
async fn memory_is_bounded_by_what_may_be_pending() {
    let stub = Stub::start(|_: &Request| Reply::Status(503, String::new())).await;
    let output = Output::start(ElasticsearchOptions {
        pending_requests: 3,
        concurrency: 2,
        ..options(&[stub.url()])
    });
    let sender = output.sender();
    let handed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handed);
    let writer = tokio::task::spawn_blocking(move || {
        let mut writer = BulkWriter::new(sender);
        let ack = Ack::ignored();
        ack.hold(1_000);
        for _ in 0..1_000 {
            let action = Action::new(ActionKind::Index, "logs");
            writer.append(&action, &ack, |out| out.extend_from_slice(b"{}"))?;
            writer.flush()?;
            count.fetch_add(1, Ordering::SeqCst);
        }
        Ok::<(), DeliveryClosed>(())
    });
    eventually("attempts", || stub.bulk().len() > 30).await;
    // Three under way and one in the queue; the next blocks.
    assert!(handed.load(Ordering::SeqCst) <= 4);
    output.deadline.send(Some(Instant::now())).unwrap();
    assert_eq!(writer.await.unwrap(), Err(DeliveryClosed));
}

/// One misbehaviour of the server in the property test.
#[derive(Clone, Debug)]
enum Fault {
    Reply(Reply),
    /// One status per item, repeated.
    Statuses(Vec<u16>),
    TooLarge(usize),
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let statuses = proptest::sample::select(vec![200_u16, 201, 201, 409, 429, 503, 400, 404, 403]);
    let status = proptest::sample::select(vec![429_u16, 500, 503, 401, 404]);
    proptest::collection::vec(
        prop_oneof![
            4 => proptest::collection::vec(statuses, 1..6).prop_map(Fault::Statuses),
            1 => status.prop_map(|status| Fault::Reply(Reply::Status(status, String::new()))),
            1 => Just(Fault::Reply(Reply::Close)),
            1 => (0..30_usize).prop_map(|length| Fault::Reply(Reply::Truncated(length))),
            1 => Just(Fault::Reply(Reply::Body(answer(&[(201, "")])))),
            1 => Just(Fault::Reply(Reply::Body("garbage".to_owned()))),
            1 => (60..400_usize).prop_map(Fault::TooLarge),
        ],
        0..12,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the server does for a while, every batch is acknowledged, exactly when each of
    /// its events is stored or in the dead letters, and every event is accounted for once.
    #[test]
    fn every_event_is_acknowledged_when_it_is_safe(
        faults in faults(),
        sizes in proptest::collection::vec(1..9_usize, 1..8),
        bulk_max_bytes in 40..600_usize,
        concurrency in 1..4_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let mut replies = faults.into_iter();
            let stub = Arc::new(Stub::start(move |request: &Request| {
                match replies.next() {
                    Some(Fault::Reply(Reply::Body(body)))
                        if request.documents().len() == 1 && body.starts_with('{') => Reply::Stored,
                    Some(Fault::Reply(reply)) => reply,
                    Some(Fault::TooLarge(limit)) if request.body.len() > limit => {
                        Reply::Status(413, String::new())
                    }
                    None | Some(Fault::TooLarge(_)) => Reply::Stored,
                    Some(Fault::Statuses(statuses)) => Reply::Items(
                        statuses.iter().cycle().take(request.documents().len())
                            .map(|status| (*status, "some_exception")).collect(),
                    ),
                }
            }).await);
            let output = Output::start(ElasticsearchOptions {
                bulk_max_bytes,
                concurrency,
                retry_initial_interval: Duration::from_millis(1),
                retry_max_interval: Duration::from_millis(4),
                ..options(&[stub.url()])
            });
            let early: Arc<Mutex<Vec<String>>> = Arc::default();
            let mut expected = Vec::new();
            let mut acknowledged = Vec::new();
            let mut batches = Vec::new();
            for size in sizes {
                let first = expected.len();
                let own = documents(first..first + size);
                expected.extend(own.clone());
                let flag = Arc::new(AtomicBool::new(false));
                let done = Arc::clone(&flag);
                let (server, directory) =
                    (Arc::clone(&stub), output.dead_letters.directory().to_owned());
                let (unsafe_events, watched) = (Arc::clone(&early), own.clone());
                batches.push(Batch::watched(own, move || {
                    let mut safe = server.stored();
                    safe.extend(letters(&directory).iter().map(|letter| {
                        letter["document"].as_str().unwrap().to_owned()
                    }));
                    unsafe_events.lock().unwrap().extend(
                        watched.into_iter().filter(|document| !safe.contains(document)),
                    );
                    done.store(true, Ordering::SeqCst);
                }));
                acknowledged.push(flag);
            }
            output.write(&batches).await;
            eventually("every batch", || {
                acknowledged.iter().all(|flag| flag.load(Ordering::SeqCst))
            }).await;
            assert_eq!(*early.lock().unwrap(), Vec::<String>::new(), "acknowledged too early");

            let letters = output.letters();
            let summary = output.finish().await;
            assert_eq!(summary.undelivered, 0);
            assert_eq!(summary.dead_lettered as usize, letters.len());
            assert_eq!(
                (summary.delivered + summary.dead_lettered) as usize,
                expected.len(),
                "each event has one outcome"
            );
        });
    }
}
