//! Raw bytes over real sockets against a server whose queue the test holds in its hand.

use std::sync::Arc;
use std::time::Duration;

use bumpalo::Bump;
use skidder_lumberjack::ByteBudget;
use skidder_pipeline::language::{Diagnostics, ParseOptions, SourceMap, Statement, parse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::server::Server;
use crate::input::Build;
use crate::queue::stored::{Restore, Sources, write_event, write_payload};
use crate::settings::Settings;
use crate::worker::{Batch, now};

/// A running input.
pub(super) struct Site {
    pub(super) address: std::net::SocketAddr,
    pub(super) queue: mpsc::Receiver<Batch>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) budget: Arc<ByteBudget>,
    pub(super) task: JoinHandle<()>,
    stored: Option<Arc<dyn Restore>>,
}

/// Builds the one input of a configuration, on a port that the system chooses.
pub(super) async fn start(
    plugin: &str,
    from_options: impl FnOnce(
        &mut skidder_pipeline::language::Options<'_>,
        &Build<'_>,
    ) -> Option<Server>,
) -> Site {
    let sources = SourceMap::single("test", format!("input {{ {plugin} }}"));
    let mut diagnostics = Diagnostics::new();
    let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
    let Some(Statement::Plugin(plugin)) = config.inputs.first() else {
        panic!("the test has an input");
    };
    let settings = Settings::default();
    let budget = ByteBudget::new(1 << 20);
    let build = Build {
        settings: &settings,
        budget: &budget,
        name: "test",
    };
    let mut options = skidder_pipeline::language::Options::new(plugin, "input", &mut diagnostics);
    let server = from_options(&mut options, &build);
    options.finish();
    assert!(!diagnostics.has_errors(), "{diagnostics:?}");
    let server = server.unwrap();
    let stored = server.stored();
    let listener = server.bind().await.unwrap();
    let address = listener.local_addr().unwrap();
    let (to_queue, queue) = mpsc::channel(1);
    let (stop, stopping) = watch::channel(false);
    let task = tokio::spawn(server.run(listener, to_queue, stopping));
    Site {
        address,
        queue,
        stop,
        budget,
        task,
        stored,
    }
}

#[tokio::test]
async fn a_request_in_the_disk_queue_is_as_it_came() {
    for (options, kind) in [
        ("codec => line", "text/plain"),
        (
            "codec => line ecs_compatibility => v8",
            "Application/JSON; charset=utf-8",
        ),
    ] {
        let mut site = http(options).await;
        let head = format!("POST /a?b=c HTTP/1.1\r\ncontent-type: {kind}\r\nx-y: \u{e9}\r\n");
        let _stream = site.send(&head, b"[{\"a\":1},{\"a\":2}]").await;
        let (mut came, batch) = site.batch().await;
        let mut payload = Vec::new();
        write_payload(&*batch.records, &mut payload);
        let text = String::from_utf8_lossy(&payload);
        assert!(text.ends_with(r#"[{"a":1},{"a":2}]"#), "{text}");
        let mut sources = Sources::default();
        sources.add("test", site.stored.clone().unwrap());
        let time = skidder_pipeline::event::Timestamp::new(1, 0);
        let restored = Batch {
            records: sources.restore(&payload.into(), time).unwrap(),
            ack: crate::ack::Ack::ignored(),
        };
        let mut again = events(&restored);
        for event in came.iter_mut().chain(&mut again) {
            event.as_object_mut().unwrap().remove("@timestamp");
        }
        assert_eq!(again, came);
        assert!(!came.is_empty());
    }
    // Whatever the disk has.
    let site = http("").await;
    for length in 0..60 {
        let body = bytes::Bytes::from(vec![1_u8; length]);
        let time = skidder_pipeline::event::Timestamp::new(1, 0);
        assert!(site.stored.clone().unwrap().restore(body, time).is_none());
    }
}

async fn http(options: &str) -> Site {
    let plugin = format!("http {{ host => '127.0.0.1' port => 0 {options} }}");
    start(&plugin, super::plain::from_options).await
}

impl Site {
    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a request and closes the writing half; the answer is read by [`answer`].
    pub(super) async fn send(&self, head: &str, body: &[u8]) -> TcpStream {
        let mut stream = self.connect().await;
        let head = format!(
            "{head}host: a\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        stream
    }

    /// The events of the next batch as JSON, and the batch.
    pub(super) async fn batch(&mut self) -> (Vec<serde_json::Value>, Batch) {
        let batch = self.queue.recv().await.expect("a batch comes");
        (events(&batch), batch)
    }

    /// Sends a request whose batch is safe at once.
    pub(super) async fn post(
        &mut self,
        head: &str,
        body: &[u8],
    ) -> (String, Vec<serde_json::Value>) {
        let stream = self.send(head, body).await;
        let (events, batch) = self.batch().await;
        batch.ack.done(1);
        (answer(stream).await, events)
    }
}

/// The events of a batch, with their metadata.
pub(super) fn events(batch: &Batch) -> Vec<serde_json::Value> {
    let mut text = Vec::new();
    let arena = Bump::new();
    for index in 0..batch.records.len() {
        let records = &batch.records;
        records.decode(index, &arena, now(), &mut |event| {
            write_event(&event, &mut text);
        });
    }
    let lines = std::str::from_utf8(&text).unwrap().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// All that is answered until the connection ends.
pub(super) async fn answer(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    // A reset after the answer is as good as an end.
    let _end = stream.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn the_answer_waits_until_the_events_are_safe() {
    let mut site = http("type => web").await;
    let mut stream = site
        .send(
            "POST /a?b=c HTTP/1.1\r\nuser-agent: curl\r\nauthorization: x\r\n",
            b"hello",
        )
        .await;
    let (events, batch) = site.batch().await;
    let event = &events[0];
    assert_eq!(event["message"], "hello");
    assert_eq!(event["host"], "127.0.0.1");
    assert_eq!(event["type"], "web");
    let headers = serde_json::json!({
        "request_method": "POST", "request_path": "/a?b=c", "http_version": "HTTP/1.1", "http_host": "a",
        "http_user_agent": "curl", "content_length": "5", "connection": "close",
    });
    assert_eq!(event["headers"], headers);
    // Nothing is answered before the acknowledgement.
    let early = tokio::time::timeout(Duration::from_millis(100), stream.read_u8()).await;
    assert!(early.is_err(), "answered before the events are safe");
    batch.ack.done(1);
    drop(batch);
    let text = answer(stream).await;
    assert!(
        text.starts_with("HTTP/1.1 200 OK") && text.ends_with("\r\n\r\nok"),
        "{text}"
    );
    assert!(text.contains("content-type: text/plain"), "{text}");
    assert_eq!(site.budget.used(), 0);
}

#[tokio::test]
async fn codecs_by_content_type_and_lists_as_several_events() {
    let mut site = http("").await;
    let json = "POST / HTTP/1.1\r\ncontent-type: application/JSON; charset=utf-8\r\n";
    let (_, events) = site.post(json, br#"[{"a":1},{"a":2}]"#).await;
    assert_eq!((&events[0]["a"], &events[1]["a"]), (&1.into(), &2.into()));
    let mut site = http("codec => json additional_codecs => { 'text/x' => line } response_code => 202 response_headers => { 'x-a' => 'b' }").await;
    let (text, events) = site.post("PUT / HTTP/1.1\r\n", br#"{"a":1}"#).await;
    assert_eq!(events[0]["a"], 1);
    assert!(
        text.starts_with("HTTP/1.1 202") && text.contains("x-a: b"),
        "{text}"
    );
    let (_, events) = site
        .post("PUT / HTTP/1.1\r\ncontent-type: text/x\r\n", b"a\nb")
        .await;
    assert_eq!(events.len(), 2);
}

#[tokio::test]
async fn the_fields_of_ecs() {
    let mut site = http("ecs_compatibility => v8 request_headers_target_field => '[req]' codec => plain { ecs_compatibility => disabled }").await;
    let head = "POST /p HTTP/1.1\r\nuser-agent: curl\r\ncontent-type: text/plain\r\nhost: h.example:81\r\n";
    let mut stream = site.connect().await;
    let request = format!("{head}content-length: 1\r\nconnection: close\r\n\r\nx");
    stream.write_all(request.as_bytes()).await.unwrap();
    let (events, batch) = site.batch().await;
    batch.ack.done(1);
    let event = &events[0];
    assert_eq!(event["host"]["ip"], "127.0.0.1");
    assert_eq!(
        event["url"],
        serde_json::json!({"path": "/p", "domain": "h.example", "port": 81})
    );
    assert_eq!(event["user_agent"]["original"], "curl");
    assert_eq!(
        event["http"]["request"],
        serde_json::json!({"body": {"bytes": "1"}, "mime_type": "text/plain"})
    );
    assert_eq!(event["req"]["request_method"], "POST");
    drop(answer(stream).await);
}

#[tokio::test]
async fn who_has_no_password_is_refused() {
    let site = http("user => ann password => secret").await;
    let text = answer(site.send("POST / HTTP/1.1\r\n", b"x").await).await;
    assert!(
        text.starts_with("HTTP/1.1 401") && text.contains("www-authenticate: Basic"),
        "{text}"
    );
    let mut site = site;
    let (text, _) = site
        .post(
            "POST / HTTP/1.1\r\nauthorization: Basic YW5uOnNlY3JldA==\r\n",
            b"x",
        )
        .await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

#[tokio::test]
async fn bodies_that_are_too_long_or_too_slow_or_packed_in_an_unknown_way() {
    let mut site =
        http("max_content_length => 10 max_decompressed_length => 20 request_timeout => '300ms'")
            .await;
    let text = answer(site.send("POST / HTTP/1.1\r\n", b"12345678901").await).await;
    assert!(
        text.starts_with("HTTP/1.1 413") && text.contains("max_content_length"),
        "{text}"
    );
    // Not announced, and longer all the same.
    let mut stream = site.connect().await;
    let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n8\r\n12345678\r\n8\r\n12345678\r\n";
    stream.write_all(chunked.as_bytes()).await.unwrap();
    let text = answer(stream).await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    let head = "POST / HTTP/1.1\r\ncontent-encoding: br\r\n";
    let text = answer(site.send(head, b"x").await).await;
    assert!(text.starts_with("HTTP/1.1 415"), "{text}");
    // A body that comes too slowly.
    let mut stream = site.connect().await;
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n12";
    stream.write_all(head).await.unwrap();
    let text = answer(stream).await;
    assert!(
        text.starts_with("HTTP/1.1 408") && text.contains("request_timeout"),
        "{text}"
    );
    assert!(site.queue.try_recv().is_err());
    assert_eq!(site.budget.used(), 0);
}

#[tokio::test]
async fn connections_without_a_request_are_closed_and_long_headers_refused() {
    let site = http("client_inactivity_timeout => '300ms' max_header_bytes => 8192").await;
    for start in [
        "",
        "POS",
        "POST / HTTP/1.1\r\nhost: a\r\nx-",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = site.connect().await;
        stream.write_all(start.as_bytes()).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        // A byte now and then does not keep it open.
        let dripping = tokio::spawn(async move {
            while !start.is_empty() && writing.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            writing
        });
        let mut seen = Vec::new();
        let closed =
            tokio::time::timeout(Duration::from_secs(20), reading.read_to_end(&mut seen)).await;
        assert!(closed.is_ok(), "{start:?} keeps the connection open");
        dripping.abort();
    }
    let head = format!("POST / HTTP/1.1\r\nx: {}\r\n", "y".repeat(9000));
    let text = answer(site.send(&head, b"").await).await;
    assert!(text.starts_with("HTTP/1.1 431"), "{text}");
}

#[tokio::test]
async fn a_full_queue_and_too_many_requests_are_said_with_429() {
    let mut site =
        http("queue_timeout => '200ms' ack_timeout => '400ms' max_pending_requests => 2").await;
    // One fills the queue's only place; its time to be safe runs out.
    let first = site.send("POST / HTTP/1.1\r\n", b"1").await;
    while site.queue.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let second = site.send("POST / HTTP/1.1\r\n", b"2").await;
    let text = answer(second).await;
    assert!(
        text.starts_with("HTTP/1.1 429") && text.contains("queue_timeout"),
        "{text}"
    );
    assert!(text.contains("retry-after: 1"), "{text}");
    let text = answer(first).await;
    assert!(
        text.starts_with("HTTP/1.1 503") && text.contains("ack_timeout"),
        "{text}"
    );
    drop(site.batch().await);
    // Two that wait; the third is turned away.
    let mut waiting = Vec::new();
    let mut batches = Vec::new();
    for _ in 0..2 {
        waiting.push(site.send("POST / HTTP/1.1\r\n", b"x").await);
        batches.push(site.batch().await);
    }
    let text = answer(site.send("POST / HTTP/1.1\r\n", b"3").await).await;
    assert!(
        text.starts_with("HTTP/1.1 429") && text.contains("max_pending_requests"),
        "{text}"
    );
    // What is lost is not acknowledged.
    drop(batches);
    for stream in waiting {
        let text = answer(stream).await;
        assert!(text.starts_with("HTTP/1.1 503"), "{text}");
    }
}

#[tokio::test]
async fn memory_is_bounded_over_all_requests() {
    let mut site = http("").await;
    let big = vec![b'x'; 900 << 10];
    let first = site.send("POST / HTTP/1.1\r\n", &big).await;
    let held = site.batch().await;
    // The second may overdraw the budget, the third not.
    let second = site.send("POST / HTTP/1.1\r\n", &big).await;
    let held_too = site.batch().await;
    let text = answer(site.send("POST / HTTP/1.1\r\n", b"x").await).await;
    assert!(
        text.starts_with("HTTP/1.1 429") && text.contains("queue.max_memory_bytes"),
        "{text}"
    );
    for ((_, batch), stream) in [(held, first), (held_too, second)] {
        batch.ack.done(1);
        drop(batch);
        assert!(answer(stream).await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(site.budget.used(), 0);
}

#[tokio::test]
async fn connections_are_bounded() {
    let mut site = http("max_connections => 1").await;
    let first = site.connect().await;
    let second = site.send("POST / HTTP/1.1\r\n", b"x").await;
    let early = tokio::time::timeout(Duration::from_millis(100), site.queue.recv()).await;
    assert!(early.is_err(), "the second is served beside the first");
    drop(first);
    let (_, batch) = site.batch().await;
    batch.ack.done(1);
    assert!(answer(second).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn stopping_answers_what_is_under_way_and_takes_nothing_new() {
    let mut site = http("").await;
    let idle = site.connect().await;
    let half = {
        let mut stream = site.connect().await;
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n12";
        stream.write_all(head).await.unwrap();
        stream
    };
    let whole = site.send("POST / HTTP/1.1\r\n", b"x").await;
    let (_, batch) = site.batch().await;
    site.stop.send_replace(true);
    let text = answer(half).await;
    assert!(
        text.is_empty() || text.starts_with("HTTP/1.1 503"),
        "{text}"
    );
    assert_eq!(answer(idle).await, "");
    assert!(!site.task.is_finished());
    batch.ack.done(1);
    assert!(answer(whole).await.starts_with("HTTP/1.1 200"));
    site.task.await.unwrap();
}
