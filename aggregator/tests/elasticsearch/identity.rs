//! Each line once: ids that are made of what an event is, and what a conflict of one means.

use std::sync::Arc;

use skidder_aggregator::ack::Ack;
use skidder_aggregator::output::Writer;
use skidder_aggregator::output::elasticsearch::{
    Action, ActionKind, BulkWriter, EventWriter, Templates,
};

use super::support::{Reply, Request, Stub};
use super::{Batch, Output, document, documents, eventually, options, script};

/// What the options of an output say.
pub(super) fn templates(text: &str) -> Templates {
    use skidder_aggregator::settings::Settings;
    use skidder_pipeline::language::{
        Diagnostics, Options, ParseOptions, SourceMap, Statement, parse,
    };
    let sources = SourceMap::single("t", format!("output {{ elasticsearch {{ {text} }} }}"));
    let mut diagnostics = Diagnostics::new();
    let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
    let Statement::Plugin(plugin) = &config.outputs[0] else {
        panic!("no plugin")
    };
    let mut options = Options::new(plugin, "output", &mut diagnostics);
    Templates::from_options(&mut options, &Settings::default()).unwrap()
}

/// The action lines that events of these identities and fields become.
async fn action_lines(text: &str, lines: &[(Option<u64>, &str)]) -> Vec<String> {
    use skidder_pipeline::event::{Event, Identity, Timestamp};
    let stub = Stub::start(|_| Reply::Stored).await;
    let output = Output::start(options(&[stub.url()]));
    let templates = Arc::new(templates(text));
    let sender = output.sender();
    let lines: Vec<_> = lines
        .iter()
        .map(|(offset, json)| (*offset, (*json).to_owned()))
        .collect();
    tokio::task::spawn_blocking(move || {
        let mut writer = EventWriter::new(templates, sender);
        let arena = bumpalo::Bump::new();
        let now = Timestamp::new(1_700_000_000, 0);
        let ack = Ack::new(Box::new(|| {}));
        for (offset, json) in &lines {
            let mut event = Event::from_json(json.as_bytes(), now, &arena).unwrap();
            event.identity = offset.map(|offset| Identity::of_line(b"stream", offset, 0));
            writer.write(&event, now, &ack);
        }
        writer.flush();
    })
    .await
    .unwrap();
    output.finish().await;
    let bodies = stub.bulk();
    let text: Vec<String> = bodies
        .iter()
        .map(|request| String::from_utf8(request.body.clone()).unwrap())
        .collect();
    text.concat()
        .lines()
        .filter(|line| !line.contains("@timestamp"))
        .map(ToOwned::to_owned)
        .collect()
}

#[tokio::test]
async fn complaint_31_ids_are_made_of_what_the_event_is() {
    let own = r#"{"create":{"_index":"ii","_id":"stream-------0--------"}}"#;
    let none = r#"{"index":{"_index":"ii"}}"#;
    for (options, event, expected) in [
        ("index => ii", "{}", own),
        ("index => ii action => create", "{}", own),
        ("index => ii action => \"%{a}\"", r#"{"a":"index"}"#, own),
        ("index => ii deduplicate => false", "{}", none),
        (
            "index => ii document_id => \"%{a}\"",
            r#"{"a":"b"}"#,
            r#"{"index":{"_index":"ii","_id":"b"}}"#,
        ),
        (
            "index => ii version => \"%{a}\"",
            r#"{"a":"7"}"#,
            r#"{"index":{"_index":"ii","version":"7"}}"#,
        ),
        (
            "index => ii action => \"%{a}\" document_id => xx",
            r#"{"a":"delete"}"#,
            r#"{"delete":{"_index":"ii","_id":"xx"}}"#,
        ),
        (
            "index => ii action => \"%{a}\"",
            r#"{"a":"delete"}"#,
            r#"{"delete":{"_index":"ii"}}"#,
        ),
    ] {
        let lines = action_lines(options, &[(Some(1), event)]).await;
        assert_eq!(lines, [expected], "{options}");
    }
    let lines = action_lines("index => ii", &[(None, "{}"), (Some(1), "{}")]).await;
    assert_eq!(lines, [none, own]);
}

#[tokio::test]
async fn complaint_31_what_was_stored_by_an_earlier_attempt_is_done() {
    let stub = Stub::start(script(vec![
        Reply::Items(vec![
            (409, "version_conflict_engine_exception"),
            (201, ""),
            (429, "es_rejected_execution_exception"),
        ]),
        Reply::Items(vec![(409, "version_conflict_engine_exception")]),
    ]))
    .await;
    let output = Output::start(options(&[stub.url()]));
    let batch = Batch::new(documents(0..3));
    let (sender, ack) = (output.sender(), batch.ack.clone());
    tokio::task::spawn_blocking(move || {
        let mut writer = BulkWriter::new(sender);
        for (number, id) in ["a", "b", "c"].into_iter().enumerate() {
            let mut action = Action::new(ActionKind::Create, "logs");
            (action.id, action.own_id) = (Some(id), true);
            let write = |out: &mut Vec<u8>| out.extend_from_slice(document(number).as_bytes());
            writer.append(&action, &ack, write).unwrap();
        }
        writer.flush().unwrap();
    })
    .await
    .unwrap();
    eventually("the batch is acknowledged", || batch.is_acknowledged()).await;
    assert!(output.letters().is_empty());
    let summary = output.finish().await;
    assert_eq!((summary.delivered, summary.duplicates), (3, 2));
}

#[tokio::test]
async fn a_server_that_takes_no_ids_gets_them_in_the_documents() {
    let stub = Stub::start(|request: &Request| {
        if String::from_utf8_lossy(&request.body).contains("\"_id\"") {
            let reason = "Document ID is not supported in create/index operation request";
            let item = format!(
                "{{\"create\":{{\"status\":400,\"error\":{{\"type\":\"illegal_argument_exception\",\"reason\":\"{reason}\"}}}}}}"
            );
            let items = vec![item; request.documents().len()].join(",");
            return Reply::Status(200, format!("{{\"errors\":true,\"items\":[{items}]}}"));
        }
        Reply::Stored
    })
    .await;
    let output = Output::start(options(&[stub.url()]));
    for round in 0..2 {
        let batch = Batch::new(documents(0..2));
        let (sender, ack) = (output.sender(), batch.ack.clone());
        tokio::task::spawn_blocking(move || {
            let mut writer = BulkWriter::new(sender);
            for number in 0..2 {
                let mut action = Action::new(ActionKind::Create, "logs");
                (action.id, action.own_id) = (Some("x"), true);
                let write = |out: &mut Vec<u8>| out.extend_from_slice(document(number).as_bytes());
                writer.append(&action, &ack, write).unwrap();
            }
            writer.flush().unwrap();
        })
        .await
        .unwrap();
        eventually("the batch", || batch.is_acknowledged()).await;
        // The first batch is refused once; after it the writers know.
        assert_eq!(stub.bulk().len(), 2 + round);
    }
    let expected: Vec<String> = [0, 1, 0, 1]
        .iter()
        .map(|number| format!("{{\"dedupe_id\":\"x\",\"n\":{number}}}"))
        .collect();
    assert_eq!(stub.stored(), expected);
    assert!(output.letters().is_empty());
}

#[tokio::test]
async fn a_server_that_wants_types_gets_them() {
    let stub = Stub::start(|request: &Request| {
        let body = String::from_utf8_lossy(&request.body);
        if body.lines().any(|line| line.contains("_index") && !line.contains("_type")) {
            let error = "{\"error\":{\"type\":\"action_request_validation_exception\",\"reason\":\"Validation Failed: 1: type is missing;\"},\"status\":400}";
            return Reply::Status(400, error.to_owned());
        }
        Reply::Stored
    })
    .await;
    let output = Output::start(options(&[stub.url()]));
    for round in 0..2 {
        let batch = Batch::new(documents(0..3));
        let (sender, ack) = (output.sender(), batch.ack.clone());
        tokio::task::spawn_blocking(move || {
            let mut writer = BulkWriter::new(sender);
            for (number, name) in [None, Some("kept"), Some("")].into_iter().enumerate() {
                let mut action = Action::new(ActionKind::Index, "logs");
                action.document_type = name;
                let write = |out: &mut Vec<u8>| out.extend_from_slice(document(number).as_bytes());
                writer.append(&action, &ack, write).unwrap();
            }
            writer.flush().unwrap();
        })
        .await
        .unwrap();
        eventually("the batch", || batch.is_acknowledged()).await;
        // The first batch is refused once, and never cut in two; after it the writers know.
        let requests = stub.bulk();
        assert_eq!(requests.len(), 2 + round);
        let sent = String::from_utf8(requests[1 + round].body.clone()).unwrap();
        let types: Vec<&str> = sent
            .lines()
            .filter_map(|line| line.split_once("\"_type\":\"")?.1.split('"').next())
            .collect();
        assert_eq!(types, ["_doc", "kept", "_doc"]);
    }
    assert!(output.letters().is_empty());
    assert_eq!(output.finish().await.delivered, 6);
}
