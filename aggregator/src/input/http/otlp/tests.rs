use serde_json::{Value, json};
use skidder_pipeline::event::Timestamp;

use super::super::tests::{Site, answer, start};
use super::protobuf::Writer;
use super::schema::{any_value, key_value, list, log_record, request, resource_logs, scope_logs};
use super::survey::{Fault, MAX_DEPTH, survey};
use super::{json as otlp_json, mapping};

async fn otlp(options: &str) -> Site {
    let plugin = format!("otlp {{ host => '127.0.0.1' port => 0 {options} }}");
    start(&plugin, super::from_options).await
}

/// A request with all that a record can have.
fn full() -> Value {
    json!({"resourceLogs": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "shop"}},
            {"key": "host.name", "value": {"stringValue": "a1"}},
        ]},
        "scopeLogs": [{
            "scope": {"name": "com.shop.Cart", "version": "1.2", "attributes": [{"key": "k", "value": {"boolValue": true}}]},
            "logRecords": [{
                "timeUnixNano": "1704164645123456789", "observedTimeUnixNano": 1_704_164_646_000_000_000_u64,
                "severityNumber": 17, "severityText": "Error", "eventName": "cart.lost", "flags": 1,
                "body": {"stringValue": "out of stock"},
                "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174",
                "attributes": [
                    {"key": "http.status_code", "value": {"intValue": "503"}},
                    {"key": "ratio", "value": {"doubleValue": 0.5}},
                    {"key": "nan", "value": {"doubleValue": "NaN"}},
                    {"key": "raw", "value": {"bytesValue": "AAE="}},
                    {"key": "list", "value": {"arrayValue": {"values": [{"intValue": -1}, {}]}}},
                    {"key": "map", "value": {"kvlistValue": {"values": [{"key": "x", "value": {"stringValue": "y"}}]}}},
                    {"key": "service", "value": {"stringValue": "taken"}},
                    {"key": "message", "value": {"stringValue": "not the message"}},
                ],
            }, {"body": {"kvlistValue": {"values": [{"key": "x", "value": {"intValue": 1}}]}}, "severityNumber": 9}],
        }],
    }]})
}

async fn posted(options: &str, body: &Value) -> (String, Vec<Value>) {
    let mut site = otlp(options).await;
    let head = "POST /v1/logs HTTP/1.1\r\ncontent-type: application/json\r\n";
    site.post(head, body.to_string().as_bytes()).await
}

#[tokio::test]
async fn every_part_of_a_record_under_its_own_name() {
    let (text, events) = posted("tags => ['t']", &full()).await;
    assert!(
        text.starts_with("HTTP/1.1 200") && text.ends_with("\r\n\r\n{}"),
        "{text}"
    );
    let expected = json!({
        "@timestamp": "2024-01-02T03:04:05.123456789Z", "@version": "1", "message": "out of stock", "tags": ["t"],
        "severity": "Error", "severity_number": 17, "event_name": "cart.lost", "trace_flags": 1,
        "observed_timestamp": "2024-01-02T03:04:06.000Z",
        "trace_id": "5b8efff798038103d269b633813fc60c", "span_id": "eee19b7ec3c1b174",
        "attributes": {"http.status_code": 503, "ratio": 0.5, "nan": "NaN", "raw": "AAE=", "list": [-1, null], "map": {"x": "y"},
            "service": "taken", "message": "not the message"},
        "resource": {"service.name": "shop", "host.name": "a1"},
        "scope": {"name": "com.shop.Cart", "version": "1.2", "attributes": {"k": true}},
        "@metadata": {"ip_address": "127.0.0.1"},
    });
    assert_eq!(events[0], expected);
    assert_eq!(events[1]["body"], json!({"x": 1}));
    assert_eq!(events[1]["severity"], "INFO");
    assert!(events[1].get("message").is_none() && events[1].get("trace_id").is_none());
}

#[tokio::test]
async fn with_ecs_where_it_has_a_place_and_nothing_is_lost() {
    let (_, events) = posted("ecs_compatibility => v8", &full()).await;
    let expected = json!({
        "@timestamp": "2024-01-02T03:04:05.123456789Z", "@version": "1", "message": "out of stock",
        "log": {"level": "Error", "logger": "com.shop.Cart"},
        "event": {"severity": 17, "created": "2024-01-02T03:04:06.000Z", "action": "cart.lost"},
        "trace": {"id": "5b8efff798038103d269b633813fc60c", "flags": 1}, "span": {"id": "eee19b7ec3c1b174"},
        "http": {"status_code": 503}, "ratio": 0.5, "nan": "NaN", "raw": "AAE=", "list": [-1, null], "map": {"x": "y"},
        "service": "taken", "host": {"name": "a1"},
        "otel": {
            "scope": {"version": "1.2", "attributes": {"k": true}},
            "attributes": {"message": "not the message"},
            "resource": {"service.name": "shop"},
        },
        "@metadata": {"input": {"otlp": {"host": {"ip": "127.0.0.1"}}}},
    });
    assert_eq!(events[0], expected);
}

/// A request with one record that has a body.
fn with_body(body: &[u8]) -> Vec<u8> {
    let mut record = Writer::default();
    record.bytes(log_record::BODY, body);
    let mut scoped = Writer::default();
    scoped.bytes(scope_logs::LOG_RECORDS, &record.0);
    let mut logs = Writer::default();
    logs.bytes(resource_logs::SCOPE_LOGS, &scoped.0);
    let mut whole = Writer::default();
    whole.bytes(request::RESOURCE_LOGS, &logs.0);
    whole.0
}

/// A value nested so many times.
fn nested(levels: usize, as_map: bool) -> Vec<u8> {
    let mut value = Writer::default();
    value.varint(any_value::INT, 1);
    for _ in 1..levels {
        let mut values = Writer::default();
        let mut outer = Writer::default();
        if as_map {
            let mut pair = Writer::default();
            pair.bytes(key_value::KEY, b"k");
            pair.bytes(key_value::VALUE, &value.0);
            values.bytes(list::VALUES, &pair.0);
            outer.bytes(any_value::KVLIST, &values.0);
        } else {
            values.bytes(list::VALUES, &value.0);
            outer.bytes(any_value::ARRAY, &values.0);
        }
        value = outer;
    }
    value.0
}

#[tokio::test]
async fn what_is_nested_too_deep_is_a_partial_success() {
    for as_map in [false, true] {
        let fits = survey(&with_body(&nested(MAX_DEPTH, as_map))).unwrap();
        assert_eq!((fits.places.len(), fits.rejected), (1, 0));
        let too_deep = survey(&with_body(&nested(MAX_DEPTH + 1, as_map))).unwrap();
        assert_eq!((too_deep.places.len(), too_deep.rejected), (0, 1));
    }
    let mut site = otlp("").await;
    // Fields that repeat: two requests, one behind the other, are one.
    let mut value = Writer::default();
    value.bytes(any_value::STRING, b"good");
    let both = [with_body(&nested(99, true)), with_body(&value.0)].concat();
    let head = "POST /v1/logs HTTP/1.1\r\ncontent-type: application/x-protobuf\r\n";
    let (text, events) = site.post(head, &both).await;
    assert_eq!((events.len(), &events[0]["message"]), (1, &"good".into()));
    assert!(
        text.contains("content-type: application/x-protobuf"),
        "{text}"
    );
    assert!(text.contains("nested deeper than 64"), "{text}");
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let mut site = otlp("user => ann password => secret").await;
    let login = "authorization: Basic YW5uOnNlY3JldA==\r\n";
    for (kind, body, status, reason) in [
        (
            "application/x-protobuf",
            &b"\x0a\x05abc"[..],
            400,
            "ExportLogsServiceRequest",
        ),
        (
            "application/json",
            b"{\"resourceLogs\":[1]}",
            400,
            "`resource`",
        ),
        ("application/json", b"{\"resourceLogs\":[", 400, ""),
        (
            "application/json",
            b"{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"traceId\":\"xy\"}]}]}]}",
            400,
            "traceId",
        ),
        ("text/plain", b"", 415, "content-type"),
    ] {
        let head = format!("POST /v1/logs HTTP/1.1\r\ncontent-type: {kind}\r\n{login}");
        let text = answer(site.send(&head, body).await).await;
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status}")) && text.contains(reason),
            "{text}"
        );
    }
    let text = answer(
        site.send(
            "POST /v1/logs HTTP/1.1\r\ncontent-type: application/json\r\n",
            b"{}",
        )
        .await,
    )
    .await;
    assert!(text.starts_with("HTTP/1.1 401"), "{text}");
    let text = answer(
        site.send(&format!("POST /v1/traces HTTP/1.1\r\n{login}"), b"{}")
            .await,
    )
    .await;
    assert!(
        text.starts_with("HTTP/1.1 404") && text.contains("/v1/logs"),
        "{text}"
    );
    assert!(site.queue.try_recv().is_err());
    // Nothing to take is fine.
    let text = answer(
        site.send(
            &format!("POST /v1/logs HTTP/1.1\r\ncontent-type: application/json\r\n{login}"),
            b"{}",
        )
        .await,
    )
    .await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

#[tokio::test]
async fn calls_over_grpc_fail_by_its_codes() {
    let mut site = otlp("queue_timeout => '100ms' ack_timeout => '5s'").await;
    let kind = "content-type: application/grpc\r\n";
    let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let head = format!("POST {path} HTTP/1.1\r\n{kind}");
    let framed = |flag: u8, message: &[u8]| {
        let length = (message.len() as u32).to_be_bytes();
        [&[flag], &length[..], message].concat()
    };
    let mut value = Writer::default();
    value.bytes(any_value::STRING, b"hello");
    let message = with_body(&value.0);
    for (head, body, code) in [
        (
            format!("POST /a.B/C HTTP/1.1\r\n{kind}"),
            framed(0, &message),
            12,
        ),
        (
            format!("{head}grpc-encoding: snappy\r\n"),
            framed(1, &message),
            12,
        ),
        (head.clone(), framed(1, &message), 3),
        (head.clone(), framed(0, &message)[..10].to_vec(), 3),
        (head.clone(), framed(0, b"\x0a\x05a"), 3),
        (head.clone(), Vec::new(), 3),
    ] {
        let text = answer(site.send(&head, &body).await).await;
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        assert!(text.contains(&format!("grpc-status: {code}\r\n")), "{text}");
    }
    // One waits; the next is told to come again.
    let waiting = site.send(&head, &framed(0, &message)).await;
    while site.queue.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let text = answer(site.send(&head, &framed(0, &message)).await).await;
    assert!(
        text.contains("grpc-status: 14\r\n") && text.contains("grpc-status-details-bin"),
        "{text}"
    );
    let (events, batch) = site.batch().await;
    assert_eq!(events[0]["message"], "hello");
    batch.ack.done(1);
    assert!(answer(waiting).await.starts_with("HTTP/1.1 200"));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100), at in 0_usize..400) {
        let whole = otlp_json::to_protobuf(full().to_string().as_bytes()).unwrap();
        let (start, end) = whole.split_at(at.min(whole.len()));
        body = [start, &body, end].concat();
        match survey(&body) {
            Err(fault) => proptest::prop_assert!(matches!(fault, Fault::Malformed | Fault::TooDeep)),
            Ok(found) => {
                for place in found.places {
                    let parts = mapping::Parts {
                        resource: &body[place.resource],
                        scope: &body[place.scope],
                        record: &body[place.record],
                    };
                    for ecs in [false, true] {
                        let arena = bumpalo::Bump::new();
                        let event = mapping::event(&parts, ecs, Timestamp::from_milliseconds(0), &arena);
                        let mut text = Vec::new();
                        skidder_pipeline::event::write_json(&event, &mut text);
                        proptest::prop_assert!(serde_json::from_slice::<Value>(&text).is_ok());
                    }
                }
            }
        }
    }
}
