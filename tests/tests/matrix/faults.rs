//! Servers that refuse, are busy, or die.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skidder_tests::daemon::Daemon;
use skidder_tests::site::{Site, arrived_in_index, elasticsearch_output};
use skidder_tests::writers::Plan;

use super::Verdict;
use super::capabilities::A_WHILE;
use super::subject::{DEADLINE, Subject, numbered};

/// Texts that gzip makes little of, so that both sizes count.
fn noise(bytes: usize, seed: usize) -> String {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Writing to a string does not fail.
        write!(text, "{state:016x}").unwrap_or_default();
    }
    text
}

pub(crate) fn too_large(subject: &mut Subject<'_>) -> Result<Verdict> {
    // Three times what a request may have, and one document that is too large by itself.
    let mut events: Vec<Value> = (0..300)
        .map(|n| json!({ "n": n, "message": noise(10_000, n) }))
        .collect();
    events.insert(150, json!({ "n": 1000, "message": noise(1_500_000, 1000) }));
    let properties =
        json!({ "message": { "type": "keyword", "index": false, "doc_values": false } });
    subject.create("large", &json!({}), &properties)?;
    let run = subject.deliver(&events, "index => large")?;
    subject.documents("large", 300)?;
    ensure!(
        run.letters.len() == 1,
        "{} letters\n{}",
        run.letters.len(),
        run.log
    );
    ensure!(
        run.letters[0]["status"] == 413,
        "{}",
        run.letters[0]["reason"]
    );
    Ok(Verdict::Yes)
}

pub(crate) fn busy(subject: &mut Subject<'_>) -> Result<Verdict> {
    let options =
        "index => busy bulk_max_events => 20 concurrency => 16 concurrency_adaptive => false";
    // More shards make more work at a time of a request.
    subject.create("busy", &json!({ "number_of_shards": 5 }), &json!({}))?;
    let before = rejected(subject)?;
    let run = subject.deliver_all(&numbered(3_000), options)?;
    subject.documents("busy", 3_000)?;
    let after = rejected(subject)?;
    ensure!(after > before, "nothing was rejected\n{}", run.log);
    Ok(Verdict::Yes)
}

/// How much the server has rejected so far.
fn rejected(subject: &Subject<'_>) -> Result<u64> {
    let answer = subject
        .search
        .request("GET", "/_nodes/stats/thread_pool", None)?;
    let said = answer.json()?;
    let nodes = said["nodes"].as_object().context("no nodes")?;
    let pools = nodes.values().map(|node| &node["thread_pool"]["write"]);
    Ok(pools.filter_map(|pool| pool["rejected"].as_u64()).sum())
}

pub(crate) fn blocked_index(subject: &mut Subject<'_>) -> Result<Verdict> {
    let block = |on: Value| json!({ "index.blocks.read_only_allow_delete": on });
    subject.create("blocked", &json!({}), &json!({}))?;
    subject
        .search
        .put_settings("blocked", &block(json!(true)))?;
    let mut events = numbered(200);
    for (n, event) in events.iter_mut().enumerate() {
        event["where"] = json!(if n % 2 == 0 { "blocked" } else { "free" });
    }
    let (mut process, data) = subject.start(&events, "index => \"%{where}\"")?;
    subject.search.wait_for_count("free", 100, DEADLINE)?;
    let until = Instant::now() + A_WHILE;
    while Instant::now() < until {
        ensure!(process.running(), "{}", process.quoted_log());
        std::thread::sleep(A_WHILE / 10);
    }
    ensure!(
        subject.search.count("blocked")? == 0,
        "stored in spite of the block"
    );
    subject
        .search
        .put_settings("blocked", &block(Value::Null))?;
    let status = process.wait(DEADLINE)?;
    ensure!(status.success(), "{}", process.quoted_log());
    subject.documents("blocked", 100)?;
    subject.documents("free", 100)?;
    let letters = data.join("dead_letter_queue/main/000000001.jsonl");
    ensure!(!letters.try_exists()?, "there are dead letters");
    Ok(Verdict::Yes)
}

pub(crate) fn kills(subject: &mut Subject<'_>) -> Result<Verdict> {
    const LINES: u64 = 20_000;
    let quick = "retry_initial_interval => 1 retry_max_interval => 1 resurrect_delay => 1";
    let site = Site::new()?;
    let output = elasticsearch_output(&subject.server.host(), "survivors", quick);
    let mut aggregator = site.aggregator(&output)?;
    aggregator.start_listening(site.port)?;
    let mut forwarder: Daemon = site.forwarder()?;
    forwarder.start()?;
    let plan = Plan {
        rate: 4_000,
        ..Plan::new(&site.log(), LINES)
    };
    let mut writer = plan.start();
    subject
        .search
        .wait_for_count("survivors", LINES / 5, DEADLINE)?;
    aggregator.kill()?;
    aggregator.start_listening(site.port)?;
    subject
        .search
        .wait_for_count("survivors", LINES / 2, DEADLINE)?;
    subject.server.kill()?;
    subject.server.resume()?;
    writer.finish()?;
    let tally = arrived_in_index(&subject.search, "survivors", LINES, DEADLINE)?;
    ensure!(
        tally.missing.is_empty() && tally.duplicates == 0,
        "{} missing, {} twice\n{}",
        tally.missing.len(),
        tally.duplicates,
        aggregator.log()
    );
    ensure!(forwarder.terminate()?.success(), "{}", forwarder.log());
    ensure!(aggregator.terminate()?.success(), "{}", aggregator.log());
    Ok(Verdict::Yes)
}
