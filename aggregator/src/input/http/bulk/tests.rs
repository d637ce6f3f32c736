use serde_json::{Value, json};

use super::super::tests::{Site, answer, start};

async fn bulk(options: &str) -> Site {
    let plugin = format!("elasticsearch_bulk {{ host => '127.0.0.1' port => 0 {options} }}");
    start(&plugin, super::from_options).await
}

fn body(text: &str) -> Value {
    let body = text.split_once("\r\n\r\n").expect("an answer has a body").1;
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}"))
}

async fn get(site: &Site, request: &str) -> (String, Value) {
    let text = answer(site.send(&format!("{request} HTTP/1.1\r\n"), b"").await).await;
    let body = body(&text);
    (text, body)
}

#[tokio::test]
async fn documents_become_events_with_what_their_actions_say() {
    let mut site = bulk("type => web").await;
    let request = concat!(
        "{\"index\":{\"_index\":\"a\",\"_id\":\"1\",\"pipeline\":\"p\",\"routing\":\"r\"}}\n{\"message\":\"one\",\"@timestamp\":\"2024-01-02T03:04:05Z\"}\n",
        "\n{\"create\":{}}\r\n{\"message\":\"two\"}\r\n",
        "{\"update\":{\"_id\":\"2\"}}\n{\"doc\":{}}\n",
        "{\"delete\":{\"_index\":\"c\",\"_id\":\"3\"}}\n",
        "{\"index\":{}}\nno json",
    );
    let (text, events) = site
        .post(
            "POST /b/_bulk?pipeline=q%20q HTTP/1.1\r\n",
            request.as_bytes(),
        )
        .await;
    assert!(text.contains("x-elastic-product: Elasticsearch"), "{text}");
    assert_eq!(events[0]["message"], "one");
    assert_eq!(events[0]["@timestamp"], "2024-01-02T03:04:05.000Z");
    assert_eq!(events[0]["type"], "web");
    let first = json!({"action": "index", "_index": "a", "_id": "1", "pipeline": "p", "routing": "r", "ip_address": "127.0.0.1"});
    assert_eq!(events[0]["@metadata"], first);
    let second =
        json!({"action": "create", "_index": "b", "pipeline": "q q", "ip_address": "127.0.0.1"});
    assert_eq!(events[1]["@metadata"], second);
    assert_eq!(events[2]["message"], "no json");
    assert_eq!(events[2]["tags"], json!(["_jsonparsefailure"]));
    assert_eq!(events.len(), 3);
    let answer = body(&text);
    assert_eq!(answer["errors"], true);
    let items = answer["items"].as_array().unwrap();
    let statuses: Vec<_> = items
        .iter()
        .map(|item| item.as_object().unwrap().iter().next().unwrap())
        .map(|(action, item)| (action.as_str(), item["status"].as_u64().unwrap()))
        .collect();
    let expected = [
        ("index", 201),
        ("create", 201),
        ("update", 400),
        ("delete", 400),
        ("index", 201),
    ];
    assert_eq!(statuses, expected);
    assert_eq!(items[0]["index"]["_id"], "1");
    assert_eq!(
        items[3]["delete"]["error"]["type"],
        "illegal_argument_exception"
    );
}

#[tokio::test]
async fn answers_have_the_parts_that_are_asked_for() {
    let mut site = bulk("").await;
    let request = "{\"index\":{}}\n{}\n{\"delete\":{}}\n";
    let head = "POST /_bulk?filter_path=errors,items.*.error.type,items.*.status HTTP/1.1\r\n";
    let (text, _) = site.post(head, request.as_bytes()).await;
    let expected = json!({"errors": true, "items": [{"index": {"status": 201}}, {"delete": {"status": 400, "error": {"type": "illegal_argument_exception"}}}]});
    assert_eq!(body(&text), expected);
    let head = "POST /_bulk?filter_path=errors,items.*.error HTTP/1.1\r\n";
    let (text, _) = site.post(head, b"{\"index\":{}}\n{}\n").await;
    assert_eq!(body(&text), json!({"errors": false}));
}

#[tokio::test]
async fn what_is_no_bulk_request_is_refused_whole_and_names_the_line() {
    let mut site = bulk("").await;
    for (request, reason) in [
        ("", "no action"),
        ("{\"index\":{}}\n{}\n{\"message\":1}\n{}\n", "line 3"),
        ("{\"index\":{}}\n", "has no document"),
        ("{\"index\":1}\n{}\n", "line 1"),
        ("{\"index\":{},\"create\":{}}\n{}\n", "line 1"),
    ] {
        let text = answer(
            site.send("POST /_bulk HTTP/1.1\r\n", request.as_bytes())
                .await,
        )
        .await;
        assert!(
            text.starts_with("HTTP/1.1 400") && text.contains(reason),
            "{text}"
        );
    }
    assert!(site.queue.try_recv().is_err(), "nothing of them is taken");
}

#[tokio::test]
async fn single_documents() {
    let mut site = bulk("ecs_compatibility => v8").await;
    for (request, action, id) in [
        ("POST /logs/_doc", "index", None),
        ("PUT /logs/_doc/7?op_type=create", "create", Some("7")),
        ("PUT /logs/_create/8", "create", Some("8")),
    ] {
        let head = format!("{request} HTTP/1.1\r\n");
        let (text, events) = site.post(&head, b"{\n\"a\": 1\n}").await;
        assert!(text.starts_with("HTTP/1.1 201"), "{text}");
        assert_eq!(body(&text)["_index"], "logs");
        assert_eq!(body(&text).get("_id").and_then(Value::as_str), id);
        assert_eq!(events[0]["a"], 1);
        let metadata = &events[0]["@metadata"];
        assert_eq!(metadata["action"], action);
        assert_eq!(metadata.get("_id").and_then(Value::as_str), id);
        let peer = &metadata["input"]["elasticsearch_bulk"]["host"]["ip"];
        assert_eq!(peer, "127.0.0.1");
    }
}

#[tokio::test]
async fn what_clients_ask_before_they_send() {
    let site = bulk("").await;
    let (text, root) = get(&site, "GET /").await;
    assert!(
        text.starts_with("HTTP/1.1 200") && text.contains("x-elastic-product"),
        "{text}"
    );
    assert_eq!(root["tagline"], "You Know, for Search");
    assert_eq!(root["version"]["number"], "8.19.0");
    let (_, part) = get(&site, "GET /?filter_path=version.number").await;
    assert_eq!(part, json!({"version": {"number": "8.19.0"}}));
    let (_, license) = get(&site, "GET /_license?human=false").await;
    assert_eq!(license["license"]["status"], "active");
    let (_, xpack) = get(&site, "GET /_xpack").await;
    assert_eq!(xpack["features"]["ilm"]["enabled"], true);
    let (_, health) = get(&site, "GET /_cluster/health").await;
    assert_eq!(health["status"], "green");
    let (_, nodes) = get(&site, "GET /_nodes/http").await;
    let node = nodes["nodes"].as_object().unwrap().values().next().unwrap();
    assert_eq!(node["http"]["publish_address"], "a");
    for name in [
        "_ilm/policy",
        "_index_template",
        "_template",
        "_ingest/pipeline",
        "_data_stream",
    ] {
        let (text, _) = get(&site, &format!("GET /{name}/x")).await;
        assert!(text.starts_with("HTTP/1.1 404"), "{text}");
        let (text, put) = get(&site, &format!("PUT /{name}/x")).await;
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        assert_eq!(put, json!({"acknowledged": true}));
    }
    for request in ["HEAD /", "HEAD /some-index"] {
        let text = answer(site.send(&format!("{request} HTTP/1.1\r\n"), b"").await).await;
        assert!(
            text.starts_with("HTTP/1.1 200") && text.ends_with("\r\n\r\n"),
            "{text}"
        );
    }
    let (text, said) = get(&site, "GET /logs/_search").await;
    assert!(text.starts_with("HTTP/1.1 404"), "{text}");
    assert!(
        said["error"]["reason"].as_str().unwrap().contains("_bulk"),
        "{said}"
    );
    let site = bulk("distribution => opensearch version => '3.1.0'").await;
    let (text, root) = get(&site, "GET /").await;
    assert!(!text.contains("x-elastic-product"), "{text}");
    assert_eq!(root["version"]["distribution"], "opensearch");
    assert_eq!(root["version"]["number"], "3.1.0");
}

#[tokio::test]
async fn backpressure_and_missing_keys_are_said_as_elasticsearch_says_them() {
    let site = bulk(
        "queue_timeout => '100ms' ack_timeout => '5s' api_key => 'id:key' user => 'u' password => 'p'",
    )
    .await;
    let request = b"{\"index\":{}}\n{}\n";
    let text = answer(site.send("POST /_bulk HTTP/1.1\r\n", request).await).await;
    assert!(text.starts_with("HTTP/1.1 401"), "{text}");
    assert_eq!(body(&text)["error"]["type"], "security_exception");
    let head = "POST /_bulk HTTP/1.1\r\nauthorization: ApiKey aWQ6a2V5\r\n";
    let first = site.send(head, request).await;
    while site.queue.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let basic = "POST /_bulk HTTP/1.1\r\nauthorization: Basic dTpw\r\n";
    let text = answer(site.send(basic, request).await).await;
    assert!(
        text.starts_with("HTTP/1.1 429") && text.contains("retry-after"),
        "{text}"
    );
    assert_eq!(
        body(&text)["error"]["type"],
        "es_rejected_execution_exception"
    );
    drop(site.queue);
    let text = answer(first).await;
    assert!(text.starts_with("HTTP/1.1 503"), "{text}");
}
