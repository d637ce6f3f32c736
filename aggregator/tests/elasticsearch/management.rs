//! What is set up before the first event: templates, policies and aliases, on servers of all kinds.
//!
//! The servers are a scripted stand-in of their interfaces: ILM and ISM come with plugins that the
//! real servers of the tests lack.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use skidder_aggregator::output::elasticsearch::ElasticsearchOptions;

use super::identity::templates;
use super::support::{Reply, Request, Stub};
use super::{Batch, Output, documents, eventually, options};

/// What a stand-in has.
#[derive(Clone, Copy, Default)]
struct Has {
    composable: bool,
    types: bool,
    ilm: bool,
    ism: Option<&'static str>,
    denies: Option<&'static str>,
}

/// What was put there: path without query, and body.
type Things = Arc<Mutex<BTreeMap<String, Value>>>;

fn error(status: u16, kind: &str, reason: &str) -> Reply {
    let body = json!({ "error": { "type": kind, "reason": reason }, "status": status });
    Reply::Status(status, body.to_string())
}

async fn server(has: Has, things: &Things) -> Stub {
    let things = Arc::clone(things);
    Stub::start(move |request: &Request| {
        let path = request.target.trim_start_matches('/').to_owned();
        if path.starts_with("_bulk") {
            return Reply::Stored;
        }
        if has.denies.is_some_and(|denied| path.starts_with(denied)) {
            return error(403, "security_exception", "no permissions");
        }
        let no_handler = || {
            let body = json!({ "error": format!("no handler found for uri [/{path}]") });
            Reply::Status(400, body.to_string())
        };
        let mut things = things.lock().unwrap();
        let first = path.split('/').next().unwrap_or_default();
        let exists = match first {
            "_ilm" => has.ilm,
            "_plugins" | "_opendistro" => has.ism == Some(first),
            "_index_template" => has.composable,
            _ => true,
        };
        if !exists {
            return no_handler();
        }
        if request.method == "PUT" {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let typed = body["mappings"].get("_doc").is_some();
            if first == "_template" && typed != has.types {
                return error(400, "mapper_parsing_exception", "Root mapping definition");
            }
            if let Some(aliases) = body["aliases"].as_object() {
                for alias in aliases.keys() {
                    things.insert(format!("_alias/{alias}"), json!({}));
                }
            }
            things.insert(path, body);
            return Reply::Status(200, json!({ "acknowledged": true }).to_string());
        }
        if path == "_index_template" {
            let all: Vec<Value> = things
                .iter()
                .filter_map(|(path, body)| {
                    let name = path.strip_prefix("_index_template/")?;
                    Some(json!({ "name": name, "index_template": body }))
                })
                .collect();
            return Reply::Status(200, json!({ "index_templates": all }).to_string());
        }
        match things.get(&path) {
            Some(body) => Reply::Status(200, body.to_string()),
            None if first == "_plugins" || first == "_opendistro" => {
                error(404, "status_exception", "Policy not found")
            }
            None => error(404, "resource_not_found_exception", "not found"),
        }
    })
    .await
}

fn managed(stub: &Stub, text: &str) -> ElasticsearchOptions {
    ElasticsearchOptions {
        management: templates(text).management,
        ..options(&[stub.url()])
    }
}

/// Sends an event with these options; gives what is on the server then.
async fn deliver(has: Has, text: &str, things: &Things) -> BTreeMap<String, Value> {
    let stub = server(has, things).await;
    let output = Output::start(managed(&stub, text));
    let batch = Batch::new(documents(0..3));
    output.write(std::slice::from_ref(&batch)).await;
    eventually("the batch", || batch.is_acknowledged()).await;
    output.finish().await;
    things.lock().unwrap().clone()
}

const NEW: Has = Has {
    composable: true,
    types: false,
    ilm: false,
    ism: None,
    denies: None,
};

#[tokio::test]
async fn our_template_in_the_form_that_the_server_knows() {
    for (has, path, mappings) in [
        (NEW, "_index_template/logstash", "/template/mappings"),
        (
            Has {
                composable: false,
                ..NEW
            },
            "_template/logstash",
            "/mappings",
        ),
        (
            Has {
                composable: false,
                types: true,
                ..NEW
            },
            "_template/logstash",
            "/mappings/_doc",
        ),
    ] {
        let things = Things::default();
        let put = deliver(has, "", &things).await;
        assert_eq!(put.keys().collect::<Vec<_>>(), [path]);
        assert_eq!(put[path]["index_patterns"], json!(["logstash-*"]));
        let mappings = put[path].pointer(mappings).unwrap();
        assert_eq!(mappings["properties"]["@timestamp"]["type"], "date");

        // One that is there is left alone, unless it is to be overwritten.
        things
            .lock()
            .unwrap()
            .insert(path.to_owned(), json!("mine"));
        assert_eq!(deliver(has, "", &things).await[path], json!("mine"));
        let put = deliver(has, "template_overwrite => true", &things).await;
        assert_ne!(put[path], json!("mine"));
    }
}

#[tokio::test]
async fn options_of_templates() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("template.json");
    let content = json!({ "index_patterns": ["web-*"], "template": { "mappings": {} } });
    std::fs::write(&file, content.to_string()).unwrap();
    for (text, expected) in [
        ("index => web", None),
        ("manage_template => false", None),
        (
            "manage_template => true index => web",
            Some(("_index_template/logstash", None)),
        ),
        (
            "ecs_compatibility => v8 data_stream => false",
            Some(("_index_template/ecs-logstash", None)),
        ),
        (
            "template_name => mine",
            Some(("_index_template/mine", None)),
        ),
        ("template_api => legacy", Some(("_template/logstash", None))),
        (
            "legacy_template => true",
            Some(("_template/logstash", None)),
        ),
        (
            &format!(
                "index => web template => \"{}\" template_name => web",
                file.display()
            ),
            Some(("_index_template/web", Some(&content))),
        ),
    ] {
        let put = deliver(NEW, text, &Things::default()).await;
        let only = expected.map(|(path, _)| path);
        assert_eq!(put.keys().next().map(String::as_str), only, "{text}");
        if let Some((path, Some(content))) = expected {
            assert_eq!(&put[path], content, "{text}");
        }
    }
}

#[tokio::test]
async fn indices_that_roll_over_by_ilm_and_by_ism() {
    let ilm = Has { ilm: true, ..NEW };
    let ism = |path| Has {
        ism: Some(path),
        ..NEW
    };
    for (has, policy, settings) in [
        (
            ilm,
            "_ilm/policy/logstash-policy",
            json!({ "index.lifecycle.name": "logstash-policy", "index.lifecycle.rollover_alias": "web" }),
        ),
        (
            ism("_plugins"),
            "_plugins/_ism/policies/logstash-policy",
            json!({ "plugins.index_state_management.rollover_alias": "web" }),
        ),
        (
            ism("_opendistro"),
            "_opendistro/_ism/policies/logstash-policy",
            json!({ "opendistro.index_state_management.rollover_alias": "web" }),
        ),
    ] {
        let text = "ilm_enabled => true ilm_rollover_alias => web";
        let put = deliver(has, text, &Things::default()).await;
        let first = "%3Cweb%2D%7Bnow%2Fd%7D%2D000001%3E";
        assert_eq!(put[first]["aliases"]["web"]["is_write_index"], true);
        assert!(put[policy]["policy"].is_object());
        let template = &put["_index_template/web"];
        assert_eq!(template["index_patterns"], json!(["web-*"]));
        for (name, value) in settings.as_object().unwrap() {
            assert_eq!(&template["template"]["settings"][name], value);
        }
    }
    let templates = templates("ilm_enabled => true ilm_rollover_alias => web index => other");
    assert_eq!(templates.index.as_str(), "web");
}

#[tokio::test]
async fn events_wait_for_an_alias_and_not_for_a_template() {
    // Neither ILM nor ISM, and a policy that the operator names and has not made.
    for (has, text) in [
        (NEW, "ilm_enabled => true"),
        (
            Has { ilm: true, ..NEW },
            "ilm_enabled => true ilm_policy => mine",
        ),
        (
            Has {
                ilm: true,
                denies: Some("_index_template"),
                ..NEW
            },
            "ilm_enabled => true",
        ),
    ] {
        let things = Things::default();
        let stub = server(has, &things).await;
        let output = Output::start(managed(&stub, text));
        let batch = Batch::new(documents(0..3));
        output.write(std::slice::from_ref(&batch)).await;
        eventually("questions", || !stub.calls().is_empty()).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!batch.is_acknowledged(), "{text}");
        assert!(stub.bulk().is_empty(), "{text}");
    }
    let denied = Has {
        denies: Some("_index_template"),
        ..NEW
    };
    assert!(deliver(denied, "", &Things::default()).await.is_empty());
}

#[tokio::test]
async fn a_data_stream_gets_a_template_if_there_is_none_for_it() {
    let things = Things::default();
    let text = "data_stream => true data_stream_dataset => nginx";
    let put = deliver(NEW, text, &things).await;
    let template = &put["_index_template/skidder-logs"];
    assert_eq!(template["index_patterns"], json!(["logs-*-*"]));
    assert!(template["data_stream"].is_object());

    let things = Things::default();
    let theirs = json!({ "index_patterns": ["logs-nginx-*"], "data_stream": {} });
    things
        .lock()
        .unwrap()
        .insert("_index_template/theirs".to_owned(), theirs);
    assert_eq!(deliver(NEW, text, &things).await.len(), 1);
}
