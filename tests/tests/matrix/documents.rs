//! What becomes of an event: its index, its id, the action, what does not fit.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Verdict;
use super::subject::{Subject, numbered};

pub(crate) fn dated_index(subject: &mut Subject<'_>) -> Result<Verdict> {
    let event = |day: u32| json!({ "@timestamp": format!("2026-11-{day}T10:00:00.000Z") });
    let events = [event(24), event(24), event(25)];
    subject.deliver_all(&events, "index => \"dated-%{+yyyy.MM.dd}\"")?;
    subject.documents("dated-2026.11.24", 2)?;
    subject.documents("dated-2026.11.25", 1)?;
    Ok(Verdict::Yes)
}

pub(crate) fn compression(subject: &mut Subject<'_>) -> Result<Verdict> {
    for level in [0, 1, 9] {
        let options = format!("index => \"packed-{level}\" compression_level => {level}");
        subject.deliver_all(&numbered(500), &options)?;
        subject.documents(&format!("packed-{level}"), 500)?;
    }
    Ok(Verdict::Yes)
}

pub(crate) fn create_once(subject: &mut Subject<'_>) -> Result<Verdict> {
    let options = "index => created action => create document_id => \"%{id}\"";
    subject.deliver_all(
        &[json!({"id": "a", "n": 1}), json!({"id": "b", "n": 1})],
        options,
    )?;
    subject.deliver_all(
        &[json!({"id": "a", "n": 2}), json!({"id": "c", "n": 2})],
        options,
    )?;
    for document in subject.documents("created", 3)? {
        let n = if document["_id"] == "c" { 2 } else { 1 };
        ensure!(document["_source"]["n"] == n, "{document}");
    }
    Ok(Verdict::Yes)
}

pub(crate) fn index_replaces(subject: &mut Subject<'_>) -> Result<Verdict> {
    let options = "index => replaced document_id => \"%{id}\"";
    subject.deliver_all(&[json!({"id": "a", "n": 1})], options)?;
    subject.deliver_all(&[json!({"id": "a", "n": 2})], options)?;
    let document = subject.document("replaced")?;
    ensure!(document["_source"]["n"] == 2, "{document}");
    Ok(Verdict::Yes)
}

pub(crate) fn update(subject: &mut Subject<'_>) -> Result<Verdict> {
    let options = "index => updated action => update document_id => \"%{id}\"";
    let upsert = format!("{options} upsert => '{{\"first\": true}}'");
    subject.deliver_all(&[json!({"id": "a", "n": 1})], &upsert)?;
    let document = subject.document("updated")?;
    ensure!(document["_source"] == json!({"first": true}), "{document}");
    subject.deliver_all(&[json!({"id": "a", "n": 2})], &upsert)?;
    let document = subject.document("updated")?;
    ensure!(document["_source"]["first"] == true, "{document}");
    ensure!(document["_source"]["n"] == 2, "{document}");
    let whole = format!("{options} doc_as_upsert => true");
    subject.deliver_all(&[json!({"id": "b", "n": 3})], &whole)?;
    subject.documents("updated", 2)?;
    // There is nothing to update, and nothing says what to make.
    let run = subject.deliver(&[json!({"id": "none", "n": 4})], options)?;
    ensure!(run.letters.len() == 1, "{}", run.log);
    ensure!(run.letters[0]["status"] == 404, "{:?}", run.letters);
    Ok(Verdict::Yes)
}

pub(crate) fn delete(subject: &mut Subject<'_>) -> Result<Verdict> {
    let id = "index => deleted document_id => \"%{id}\"";
    let two = [json!({"id": "a"}), json!({"id": "b"})];
    subject.deliver_all(&two, id)?;
    let delete = format!("{id} action => delete");
    subject.deliver_all(&[json!({"id": "a"}), json!({"id": "none"})], &delete)?;
    let document = subject.document("deleted")?;
    ensure!(document["_id"] == "b", "{document}");
    Ok(Verdict::Yes)
}

pub(crate) fn routing(subject: &mut Subject<'_>) -> Result<Verdict> {
    let options = "index => routed routing => \"%{customer}\" document_id => \"%{id}\"";
    subject.create("routed", &json!({ "number_of_shards": 3 }), &json!({}))?;
    let events: Vec<Value> = (0..9)
        .map(|n| json!({"id": n.to_string(), "customer": format!("c{}", n % 3)}))
        .collect();
    subject.deliver_all(&events, options)?;
    for document in subject.documents("routed", 9)? {
        let customer = &document["_source"]["customer"];
        ensure!(document["_routing"] == *customer, "{document}");
    }
    Ok(Verdict::Yes)
}

pub(crate) fn version(subject: &mut Subject<'_>) -> Result<Verdict> {
    let options =
        "index => versions document_id => \"a\" version => \"%{v}\" version_type => external";
    subject.deliver_all(&[json!({"v": 5})], options)?;
    subject.deliver_all(&[json!({"v": 3})], options)?;
    let document = subject.document("versions")?;
    ensure!(document["_source"]["v"] == 5, "{document}");
    subject.deliver_all(&[json!({"v": 7})], options)?;
    let document = subject.document("versions")?;
    ensure!(document["_source"]["v"] == 7, "{document}");
    Ok(Verdict::Yes)
}

pub(crate) fn ingest_pipeline(subject: &mut Subject<'_>) -> Result<Verdict> {
    // The distributions for tests have no processors, but pipelines without any.
    let pipeline = json!({ "description": "nothing", "processors": [] });
    let path = "/_ingest/pipeline/nothing";
    let answer = subject.search.request("PUT", path, Some(&pipeline))?;
    ensure!(answer.status == 200, "{}", answer.text());
    subject.deliver_all(&numbered(3), "index => ingested pipeline => nothing")?;
    subject.documents("ingested", 3)?;
    // That the name arrives shows in the refusal of another.
    let run = subject.deliver(&numbered(1), "index => ingested pipeline => missing")?;
    ensure!(run.letters.len() == 1, "{}", run.log);
    let reason = run.letters[0]["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("missing"), "{reason}");
    subject.documents("ingested", 3)?;
    Ok(Verdict::Yes)
}

fn misfits(subject: &Subject<'_>, index: &str) -> Result<Value> {
    let properties = json!({
        "n": { "type": "long" },
        "a": { "properties": { "b": { "type": "ip" } } },
        "text": { "type": "keyword" },
        "unmapped": { "type": "keyword" },
    });
    subject.create(index, &json!({}), &properties)?;
    Ok(json!({"n": "many", "a": {"b": "nowhere"}, "text": {"inner": "deep"}, "message": "m"}))
}

pub(crate) fn misfits_beside(subject: &mut Subject<'_>) -> Result<Verdict> {
    let event = misfits(subject, "misfits")?;
    subject.deliver_all(&[event.clone(), event], "index => misfits")?;
    for document in subject.documents("misfits", 2)? {
        let source = &document["_source"];
        ensure!(source["n__string"] == "many", "{document}");
        ensure!(source["a"]["b__string"] == "nowhere", "{document}");
        ensure!(
            source["text__string"] == r#"{"inner":"deep"}"#,
            "{document}"
        );
    }
    Ok(Verdict::Yes)
}

pub(crate) fn misfits_unmapped(subject: &mut Subject<'_>) -> Result<Verdict> {
    let event = misfits(subject, "misfits-unmapped")?;
    subject.deliver_all(
        &[event],
        "index => \"misfits-unmapped\" on_conflict => unmapped",
    )?;
    let document = subject.document("misfits-unmapped")?;
    let unmapped = &document["_source"]["unmapped"];
    let mut texts: Vec<&str> = unmapped
        .as_array()
        .context("no `unmapped`")?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    texts.sort_unstable();
    ensure!(
        texts == ["a.b=nowhere", "n=many", "text.inner=deep"],
        "{document}"
    );
    Ok(Verdict::Yes)
}

pub(crate) fn misfits_dead(subject: &mut Subject<'_>) -> Result<Verdict> {
    let event = misfits(subject, "misfits-dead")?;
    let good = json!({"n": 1, "message": "good"});
    let run = subject.deliver(
        &[event, good],
        "index => \"misfits-dead\" mapping_guard => false",
    )?;
    ensure!(run.letters.len() == 1, "{:?}\n{}", run.letters, run.log);
    ensure!(run.letters[0]["status"] == 400, "{:?}", run.letters);
    let document = subject.document("misfits-dead")?;
    ensure!(document["_source"]["message"] == "good", "{document}");
    Ok(Verdict::Yes)
}

pub(crate) fn full_index(subject: &mut Subject<'_>) -> Result<Verdict> {
    let settings = json!({ "index.mapping.total_fields.limit": 4 });
    let properties = json!({
        "@timestamp": { "type": "date" },
        "message": { "type": "keyword" },
        "unmapped": { "type": "keyword" },
        "n": { "type": "long" },
    });
    subject.create("crowded", &settings, &properties)?;
    let events: Vec<Value> = (0..20)
        .map(|n| json!({"@timestamp": "2026-11-24T10:00:00.000Z", "message": "m", "n": n, format!("new{n}"): n}))
        .collect();
    // What a codec adds would be new fields, too; they go the same way.
    subject.deliver_all(&events, "index => crowded")?;
    for document in subject.documents("crowded", 20)? {
        let n = &document["_source"]["n"];
        let kept = json!(format!("new{n}={n}"));
        let unmapped = document["_source"]["unmapped"].as_array();
        ensure!(
            unmapped.is_some_and(|all| all.contains(&kept)),
            "{document}"
        );
    }
    Ok(Verdict::Yes)
}
