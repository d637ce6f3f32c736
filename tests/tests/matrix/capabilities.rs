//! What is tried on each server, in the order of the table; and what the output sets up there.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use skidder_tests::daemon::Program;
use skidder_tests::http::Response;
use skidder_tests::servers::Search;

use super::subject::{DEADLINE, Subject, numbered};
use super::{Verdict, documents, faults};

/// One row of the table.
pub(crate) struct Capability {
    /// What the row says.
    pub(crate) name: &'static str,
    /// Tries it; an error is a fault of ours.
    pub(crate) check: fn(&mut Subject<'_>) -> Result<Verdict>,
}

/// All of them.
pub(crate) const CAPABILITIES: &[Capability] = &[
    Capability {
        name: "`doctor` finds all in order",
        check: doctor,
    },
    Capability {
        name: "`index` with the event's date",
        check: documents::dated_index,
    },
    Capability {
        name: "bodies packed with gzip, and plain ones",
        check: documents::compression,
    },
    Capability {
        name: "`create` twice with one `document_id` stores once",
        check: documents::create_once,
    },
    Capability {
        name: "`index` twice with one `document_id` replaces",
        check: documents::index_replaces,
    },
    Capability {
        name: "`update`, `upsert`, `doc_as_upsert`",
        check: documents::update,
    },
    Capability {
        name: "`delete`",
        check: documents::delete,
    },
    Capability {
        name: "`routing`",
        check: documents::routing,
    },
    Capability {
        name: "`version` with `version_type => external`",
        check: documents::version,
    },
    Capability {
        name: "ingest `pipeline`",
        check: documents::ingest_pipeline,
    },
    Capability {
        name: "our index template, classic names",
        check: classic_template,
    },
    Capability {
        name: "our index template, ECS",
        check: ecs_template,
    },
    Capability {
        name: "`data_stream`",
        check: data_stream,
    },
    Capability {
        name: "`ilm_enabled`",
        check: rollover,
    },
    Capability {
        name: "values that do not fit: `on_conflict => rename`",
        check: documents::misfits_beside,
    },
    Capability {
        name: "values that do not fit: `on_conflict => unmapped`",
        check: documents::misfits_unmapped,
    },
    Capability {
        name: "values that do not fit: dead letters",
        check: documents::misfits_dead,
    },
    Capability {
        name: "fields for which an index has no room",
        check: documents::full_index,
    },
    Capability {
        name: "bodies and documents that are too large (413)",
        check: faults::too_large,
    },
    Capability {
        name: "a server that is busy (429)",
        check: faults::busy,
    },
    Capability {
        name: "a blocked index holds up its own events only",
        check: faults::blocked_index,
    },
    Capability {
        name: "each line once, through kills of aggregator and server",
        check: faults::kills,
    },
];

fn doctor(subject: &mut Subject<'_>) -> Result<Verdict> {
    let options = subject.options("manage_template => true");
    let said = Program::Aggregator
        .command()
        .args(["doctor", "-e"])
        .arg(format!(
            "input {{ stdin {{ }} }} output {{ elasticsearch {{ {options} }} }}"
        ))
        .output()?;
    let text = String::from_utf8_lossy(&said.stdout);
    ensure!(said.status.success(), "{text}");
    // A request may be shorter than ours here: it says so, and that is no error.
    for line in ["ok       server", "ok       writing", "warning  requests"] {
        ensure!(text.contains(line), "no `{line}` in\n{text}");
    }
    Ok(Verdict::Yes)
}

/// Whether the fields of an index have these types; an empty one is for a field that is not there.
fn types(subject: &Subject<'_>, index: &str, types: &[(&str, &str)]) -> Result<()> {
    let properties = subject.properties(index)?;
    for (path, wanted) in types {
        let found = properties.pointer(path).and_then(Value::as_str);
        ensure!(
            found.unwrap_or_default() == *wanted,
            "{path} is {found:?}, not {wanted}: {properties}"
        );
    }
    Ok(())
}

fn colored() -> Vec<Value> {
    let mut events = numbered(3);
    for event in &mut events {
        event["color"] = json!("red");
    }
    events
}

fn classic_template(subject: &mut Subject<'_>) -> Result<Verdict> {
    subject.deliver_all(&colored(), "")?;
    subject.documents("logstash-*", 3)?;
    types(
        subject,
        "logstash-*",
        &[
            ("/message/type", "text"),
            ("/message/fields/keyword/type", ""),
            ("/@version/type", "keyword"),
            ("/color/fields/keyword/type", "keyword"),
        ],
    )?;
    Ok(Verdict::Yes)
}

fn ecs_template(subject: &mut Subject<'_>) -> Result<Verdict> {
    let options =
        "ecs_compatibility => v8 index => \"ecs-logstash-%{+yyyy.MM.dd}\" manage_template => true";
    subject.deliver_all(&colored(), options)?;
    subject.documents("ecs-logstash-*", 3)?;
    types(
        subject,
        "ecs-logstash-*",
        &[
            ("/message/type", "text"),
            ("/color/type", "keyword"),
            ("/source/properties/ip/type", "ip"),
        ],
    )?;
    Ok(Verdict::Yes)
}

fn data_stream(subject: &mut Subject<'_>) -> Result<Verdict> {
    let stream = "logs-nginx-default";
    let options = "data_stream => true data_stream_dataset => nginx ecs_compatibility => v8";
    let probe = json!({ "index_patterns": ["probe-*"], "data_stream": {}, "template": {} });
    let search = subject.search;
    let answer = search.request("PUT", "/_index_template/probe", Some(&probe))?;
    let has = answer.status == 200;
    if has {
        search.request("DELETE", "/_index_template/probe", None)?;
    }
    subject.deliver_all(&colored(), options)?;
    subject.documents(stream, 3)?;
    let backing = search
        .request("GET", &format!("/{stream}/_mapping"), None)?
        .json()?;
    let is_stream = backing
        .as_object()
        .is_some_and(|all| all.keys().all(|name| name.starts_with(".ds-")));
    ensure!(is_stream == has, "{has}: {backing}");
    if !has {
        let words = words(&answer);
        return Ok(Verdict::No(format!(
            "there are no data streams ({words}); the events are in an index of the stream's name, and the log says so"
        )));
    }
    types(
        subject,
        stream,
        &[
            ("/message/type", "text"),
            ("/data_stream/properties/dataset/type", "keyword"),
        ],
    )?;
    Ok(Verdict::Yes)
}

fn rollover(subject: &mut Subject<'_>) -> Result<Verdict> {
    let options = "ilm_enabled => true ilm_rollover_alias => rolled";
    let policies = ["_ilm/policy", "_plugins/_ism/policies"];
    let mut has = false;
    for path in policies {
        has |= answers(&subject.search, path)?;
    }
    if has {
        subject.deliver_all(&colored(), options)?;
        subject.documents("rolled", 3)?;
        let answer = subject.search.request("GET", "/_alias/rolled", None)?;
        let alias = answer.json()?;
        let first = alias.as_object().and_then(|all| all.keys().next().cloned());
        let is_first = first
            .as_ref()
            .is_some_and(|name| name.starts_with("rolled-") && name.ends_with("-000001"));
        ensure!(is_first, "{alias}");
        let path = format!(
            "/{}/_settings?flat_settings=true",
            first.unwrap_or_default()
        );
        let settings = subject.search.request("GET", &path, None)?.text();
        ensure!(settings.contains("logstash-policy"), "{settings}");
        return Ok(Verdict::Yes);
    }
    // Nothing may be stored under the name that is to be an alias.
    let (mut process, _) = subject.start(&colored(), options)?;
    process.wait_for_log("the server has neither ILM nor ISM", DEADLINE)?;
    process.kill()?;
    ensure!(subject.search.count("rolled")? == 0, "{}", process.stderr());
    Ok(Verdict::No(
        "the distribution for tests comes without lifecycle policies (the real one has them): nothing is \
         sent, and the log says why"
            .to_owned(),
    ))
}

fn answers(search: &Search, path: &str) -> Result<bool> {
    Ok(search.request("GET", &format!("/{path}"), None)?.status == 200)
}

/// What the server says of a refusal, short.
fn words(answer: &Response) -> String {
    let said = answer.json().unwrap_or_default();
    let reason = match &said["error"] {
        Value::String(text) => text.as_str(),
        error => error["type"].as_str().unwrap_or("no reason"),
    };
    let mut reason: String = reason.chars().filter(|each| *each != '|').collect();
    reason.truncate(reason.floor_char_boundary(120));
    format!("status {}: `{reason}`", answer.status)
}

/// How long something that must not happen is looked at.
pub(crate) const A_WHILE: Duration = Duration::from_secs(3);
