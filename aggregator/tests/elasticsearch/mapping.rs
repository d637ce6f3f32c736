//! Documents that do not fit the mapping of their index, and what is learned of it.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use skidder_aggregator::output::elasticsearch::{ElasticsearchOptions, OnConflict};

use super::support::{Reply, Request, Stub};
use super::{Batch, Output, eventually, options};

/// A stand-in of an index: `n` takes numbers; with `fields`, it has these and takes no others.
async fn index(fields: Option<&'static [&'static str]>, may_read: bool) -> Stub {
    Stub::start(move |request: &Request| {
        if request.target.contains("_mapping") {
            if !may_read {
                return Reply::Status(403, "{}".into());
            }
            let fields = fields.unwrap_or(&["n"]).iter();
            let fields: serde_json::Map<String, Value> = fields
                .map(|name| ((*name).to_owned(), json!({ "type": "keyword" })))
                .collect();
            let answer = json!({ "logs": { "mappings": { "properties": fields } } });
            return Reply::Status(200, answer.to_string());
        }
        let mut errors = false;
        let mut refuse = |kind: &str, reason: &str| {
            errors = true;
            json!({ "index": { "status": 400, "error": { "type": kind, "reason": reason } } })
        };
        let items: Vec<Value> = request
            .documents()
            .iter()
            .map(|document| {
                let document: Value = serde_json::from_str(document).unwrap();
                let number = &document["n"];
                let is_number = number.is_null()
                    || number.is_number()
                    || number
                        .as_str()
                        .is_some_and(|text| text.parse::<f64>().is_ok());
                let mut names = document.as_object().unwrap().keys();
                let is_known =
                    |name: &String| fields.is_none_or(|fields| fields.contains(&name.as_str()));
                if !is_number {
                    let reason = "failed to parse field [n] of type [long] in document with id '1'";
                    refuse("mapper_parsing_exception", reason)
                } else if names.all(is_known) {
                    json!({ "index": { "status": 201 } })
                } else {
                    let reason = "Limit of total fields [3] has been exceeded";
                    refuse("illegal_argument_exception", reason)
                }
            })
            .collect();
        Reply::Body(json!({ "errors": errors, "items": items }).to_string())
    })
    .await
}

/// Sends each group of documents when the one before it is delivered; gives what went out, and the number of dead letters.
async fn send(
    stub: &Stub,
    options: ElasticsearchOptions,
    groups: &[&[&str]],
) -> (Vec<Vec<String>>, usize) {
    let output = Output::start(options);
    for group in groups {
        let batch = Batch::new(group.iter().map(|document| (*document).to_owned()));
        output.write(std::slice::from_ref(&batch)).await;
        eventually("the batch", || batch.is_acknowledged()).await;
    }
    let letters = output.letters().len();
    output.finish().await;
    let sent = stub.bulk().iter().map(Request::documents).collect();
    (sent, letters)
}

/// The requests for the mapping.
fn asked(stub: &Stub) -> Vec<String> {
    stub.calls().into_iter().map(|call| call.target).collect()
}

#[tokio::test]
async fn what_does_not_fit_is_refused_once_and_then_known() {
    for (on_conflict, moved) in [
        (OnConflict::Rename, r#"{"m":1,"n__string":"x"}"#),
        (OnConflict::Unmapped, r#"{"m":1,"unmapped":["n=x"]}"#),
    ] {
        let stub = index(None, true).await;
        let options = ElasticsearchOptions {
            on_conflict,
            ..options(&[stub.url()])
        };
        let misfit = r#"{"m":1,"n":"x"}"#;
        let fitting = r#"{"m":1,"n":"7"}"#;
        let (sent, letters) = send(&stub, options, &[&[misfit], &[fitting, misfit]]).await;
        assert_eq!(
            sent,
            [vec![misfit], vec![moved], vec![fitting, moved]],
            "the second one goes out as it has to be"
        );
        assert_eq!(letters, 0);
        // The server's words said all that was needed.
        assert_eq!(asked(&stub), [""; 0]);
    }
    let stub = index(None, true).await;
    let options = ElasticsearchOptions {
        on_conflict: OnConflict::DeadLetter,
        ..options(&[stub.url()])
    };
    let (_, letters) = send(&stub, options, &[&[r#"{"n":"x"}"#]]).await;
    assert_eq!(letters, 1);
}

#[tokio::test]
async fn an_index_that_takes_no_more_fields_gets_texts() {
    let stub = index(Some(&["a", "b", "unmapped"]), true).await;
    let document = r#"{"a":1,"new":{"c":2,"d":["x"]}}"#;
    let kept = r#"{"a":1,"unmapped":["new.c=2","new.d=x"]}"#;
    let groups: [&[&str]; 2] = [&[document], &[r#"{"b":1}"#, document]];
    let (sent, letters) = send(&stub, options(&[stub.url()]), &groups).await;
    assert_eq!(letters, 0);
    assert_eq!(asked(&stub), ["/logs/_mapping"]);
    let [first, again, more @ ..] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!(
        (first, again),
        (&vec![document.into()], &vec![document.into()])
    );
    assert_eq!(more, [vec![kept], vec![r#"{"b":1}"#, kept]]);
}

#[tokio::test]
async fn what_cannot_be_helped_is_a_dead_letter() {
    // The mapping may not be read; and where it may, there is no field for what is left.
    for (fields, may_read) in [(&["a", "unmapped"][..], false), (&["a"][..], true)] {
        let stub = index(Some(fields), may_read).await;
        let groups: [&[&str]; 2] = [&[r#"{"new":1}"#], &[r#"{"new":2}"#]];
        let (_, letters) = send(&stub, options(&[stub.url()]), &groups).await;
        assert_eq!(letters, 2);
        assert_eq!(asked(&stub), ["/logs/_mapping"], "once in a minute");
    }
}

#[tokio::test]
async fn a_budget_of_fields_is_kept_before_any_server_complains() {
    let stub = index(Some(&["a", "b", "c", "unmapped"]), true).await;
    let options = ElasticsearchOptions {
        max_fields: Some(4),
        ..options(&[stub.url()])
    };
    let groups: [&[&str]; 2] = [&[r#"{"a":1,"x":2}"#], &[r#"{"b":3}"#]];
    let (sent, letters) = send(&stub, options, &groups).await;
    assert_eq!(
        sent,
        [vec![r#"{"a":1,"unmapped":["x=2"]}"#], vec![r#"{"b":3}"#]]
    );
    assert_eq!((letters, asked(&stub).len()), (0, 1));
}

#[tokio::test]
async fn what_was_moved_and_what_could_not_be_is_counted() {
    let misfit = r#"{"n":"x"}"#;
    for (on_conflict, expected) in [
        (OnConflict::Rename, [3, 3, 0, 0]),
        (OnConflict::Unmapped, [3, 0, 3, 0]),
        (OnConflict::DeadLetter, [0, 0, 0, 3]),
    ] {
        let stub = index(None, true).await;
        let output = Output::start(ElasticsearchOptions {
            on_conflict,
            ..options(&[stub.url()])
        });
        for documents in [&[misfit][..], &[misfit, r#"{"n":7}"#, misfit]] {
            let batch = Batch::new(documents.iter().map(|document| (*document).to_owned()));
            output.write(std::slice::from_ref(&batch)).await;
            eventually("the batch", || batch.is_acknowledged()).await;
        }
        let sender = output.sender();
        let counted = sender.statistics();
        let counts = [
            &counted.fitted,
            &counted.beside,
            &counted.unmapped,
            &counted.unfit,
        ];
        assert_eq!(
            counts.map(|counter| counter.load(Ordering::Relaxed)),
            expected
        );
        drop(sender);
        output.finish().await;
    }
}
