//! The archive in a bucket: a real server for objects behind a gate that computes each signature anew with Amazon's own
//! library, and an aggregator that is killed, kept waiting and refused.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test is a failed test"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use skidder_tests::amazon::{FIXED_KEYS, REGION};
use skidder_tests::daemon::{Daemon, Program};
use skidder_tests::http;
use skidder_tests::storage::{BUCKET, Object, Storage};
use skidder_tests::wait;
use skidder_tests::writers::{Plan, Tally, tally};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_mins(2);

/// What one test needs.
struct Case {
    folder: TempDir,
    storage: Storage,
}

impl Case {
    fn new() -> Option<Self> {
        let folder = tempfile::Builder::new()
            .prefix("skidder-s3-")
            .tempdir()
            .unwrap();
        let storage = Storage::start_or_skip(folder.path()).unwrap()?;
        Some(Self { folder, storage })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn log(&self) -> PathBuf {
        self.path().join("lines.log")
    }

    /// The configuration of the output, with more options.
    fn output(&self, bucket: &str, more: &str) -> String {
        let ((id, secret), gate) = (FIXED_KEYS, self.storage.amazon.gate());
        format!(
            "output {{ s3 {{
               bucket => '{bucket}' region => '{REGION}' endpoint => 'http://127.0.0.1:{gate}'
               additional_settings => {{ force_path_style => true }}
               access_key_id => '{id}' secret_access_key => '{secret}' retry_delay => '50ms' {more} }} }}"
        )
    }

    /// An aggregator that follows the log, with more options of its output.
    fn aggregator(&self, filters: &str, more: &str) -> Daemon {
        let pipeline = format!(
            "input {{ file {{ path => '{}' start_position => beginning }} }}
             filter {{ {filters} }}
             {}",
            self.log().display(),
            self.output(BUCKET, more)
        );
        Daemon::aggregator(self.path(), "aggregator", &pipeline)
            .unwrap()
            .with_arguments(&["--pipeline.shutdown_timeout", "20s"])
    }

    fn objects(&self) -> Vec<Object> {
        self.storage.objects().unwrap()
    }

    /// Waits until there are so many lines in all objects.
    fn wait_for_lines(&self, lines: u64, daemon: &Daemon) -> Vec<Object> {
        let mut objects = Vec::new();
        let reached = wait::until("lines in objects", PATIENCE, || {
            objects = self.objects();
            let there: usize = objects.iter().map(|object| object.lines().count()).sum();
            if there as u64 >= lines {
                Ok(())
            } else {
                Err(format!("{there} lines in {} objects", objects.len()))
            }
        });
        assert!(reached.is_ok(), "{reached:?}\n{}", daemon.log());
        objects
    }
}

/// Lines of objects as they were written to the log, compared with these.
fn tally_of(lines: u64, objects: &[Object]) -> Tally {
    tally(0, lines, objects.iter().flat_map(Object::lines))
}

const AS_IT_WAS: &str = "codec => line { format => '%{message}' }";

/// Waits until so many lines are in the queue of the output, of which none is stored.
fn wait_for_queue(lines: u64, daemon: &Daemon) {
    let waiting = format!("waiting:  {lines} records");
    let reached = daemon.wait_for_queue(&["output:   s3\n", &waiting], PATIENCE);
    assert!(reached.is_ok(), "{reached:?}\n{}", daemon.log());
}

#[test]
fn lines_are_parted_by_the_time_of_their_events() {
    const LINES: u64 = 12_000;
    let Some(case) = Case::new() else { return };
    Plan::new(&case.log(), LINES).write().unwrap();
    // Line n is of n seconds after midnight, on the first of January 1970.
    let filters =
        "grok { match => { message => 'line %{INT:second}' } } date { match => [second, UNIX] }";
    let mut aggregator = case.aggregator(
        filters,
        "prefix => 'events ü+~/%{+yyyy/MM/dd/HH}' codec => json_lines encoding => gzip size_file => 60000 time_file => 0.02
         tags => [web, eu] storage_class => STANDARD_IA server_side_encryption => true",
    );
    aggregator.start().unwrap();
    let objects = case.wait_for_lines(LINES, &aggregator);
    assert!(
        aggregator.terminate().unwrap().success(),
        "{}",
        aggregator.log()
    );
    let mut messages = Vec::new();
    let mut hours = BTreeSet::new();
    for object in &objects {
        let (folder, name) = object.key.rsplit_once('/').unwrap();
        let hour = folder.strip_prefix("events ü+~/1970/01/01/").unwrap();
        assert!(
            name.starts_with("ls.s3.") && name.ends_with(".tag_web.eu.part0.txt.gz"),
            "{name}"
        );
        hours.insert(hour.to_owned());
        assert_eq!(object.described["class"], json!("STANDARD_IA"));
        assert_eq!(object.described["encryption"], json!("AES256"));
        for line in object.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let second: u64 = event["second"].as_str().unwrap().parse().unwrap();
            assert_eq!(format!("{:02}", second / 3600), hour);
            messages.push(event["message"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(hours.len(), 4);
    tally(0, LINES, messages.iter().map(String::as_str)).assert_once_each();
    let refused = case.storage.amazon.seen().unwrap();
    assert!(
        refused.iter().all(|one| one["status"] == json!(200)),
        "{refused:?}"
    );
}

/// Puts each line into the partition `by/even` or `by/odd`. They take turns, so an object is never what one record of
/// the queue has.
const BY_TURNS: &str = "if [message] =~ /^line \\d+[02468] / { mutate { add_field => { '[@metadata][half]' => even } } }
                        else { mutate { add_field => { '[@metadata][half]' => odd } } }";

/// The objects of an aggregator that was killed so many times while it stored the lines of the log.
fn stored_between_kills(
    case: &Case,
    lines: u64,
    kills: usize,
    filters: &str,
    more: &str,
) -> Vec<Object> {
    Plan::new(&case.log(), lines).write().unwrap();
    let mut aggregator = case.aggregator(
        &format!("{BY_TURNS} {filters}"),
        &format!(
            "prefix => 'by/%{{[@metadata][half]}}' size_file => 20000 time_file => 0.05 {more}"
        ),
    );
    // All of it is in the queue before the first object can be stored, and nobody sends any of it again.
    case.storage.amazon.set_down(true).unwrap();
    aggregator.start().unwrap();
    wait_for_queue(lines, &aggregator);
    aggregator.kill().unwrap();
    std::fs::remove_file(case.log()).unwrap();
    case.storage.amazon.set_down(false).unwrap();
    let mut before = 0;
    for kill in 0..kills {
        aggregator.start().unwrap();
        wait::until("more objects", PATIENCE, || {
            let there = case.storage.keys().unwrap().len();
            if there > before + kill {
                Ok(())
            } else {
                Err(format!("{there} objects"))
            }
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", aggregator.log()));
        aggregator.kill().unwrap();
        before = case.storage.keys().unwrap().len();
    }
    aggregator.start().unwrap();
    let objects = case.wait_for_lines(lines, &aggregator);
    assert!(
        aggregator.terminate().unwrap().success(),
        "{}",
        aggregator.log()
    );
    assert!(objects.len() > before, "the last start had something to do");
    assert!(
        aggregator
            .log()
            .contains("they are made again, as they were"),
        "a kill has met an upload\n{}",
        aggregator.log()
    );
    let shown = aggregator.queue(&["show"]).unwrap();
    assert!(shown.contains("waiting:  0 records"), "{shown}");
    objects
}

#[test]
fn kills_in_between_leave_every_line_in_exactly_one_object() {
    const LINES: u64 = 40_000;
    let Some(case) = Case::new() else { return };
    let objects = stored_between_kills(&case, LINES, 5, "", AS_IT_WAS);
    tally_of(LINES, &objects).assert_once_each();
    for object in &objects {
        let even = object.key.starts_with("by/even/");
        let all = object.lines().all(|line| {
            let number = line.split(' ').nth(1).unwrap();
            number.ends_with(['0', '2', '4', '6', '8']) == even
        });
        assert!(all, "{}", object.key);
    }
}

#[test]
fn kills_in_between_leave_every_line_in_exactly_one_row() {
    const LINES: u64 = 20_000;
    let Some(case) = Case::new() else { return };
    let filters = "grok { match => { message => 'line %{INT:[line][number]}' } }
                   if [line][number] =~ /7$/ { mutate { replace => { '[line][number]' => 'seven' } } }";
    let columns = "format => parquet columns => {
        'at' => '@timestamp:timestamp' 'number' => '[line][number]:long' 'half' => '[@metadata][half]:string' 'text' => 'message:string' }";
    let objects = stored_between_kills(&case, LINES, 3, filters, columns);
    let mut messages = Vec::new();
    for object in &objects {
        assert!(
            object.key.ends_with(".part0.zstd.parquet"),
            "{}",
            object.key
        );
        let said = &object.described;
        assert_eq!(
            (&said["compression"], &said["encoding"]),
            (&json!("ZSTD"), &Value::Null)
        );
        let types = json!({ "at": "timestamp[us, tz=UTC]", "number": "int64", "half": "string", "text": "string", "event": "string" });
        assert_eq!(said["columns"], types);
        let half = object.key.split('/').nth(1).unwrap();
        for line in object.lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            let event: Value = serde_json::from_str(row["event"].as_str().unwrap()).unwrap();
            let text = row["text"].as_str().unwrap();
            let number: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
            assert_eq!(
                (&row["half"], number.is_multiple_of(2)),
                (&json!(half), half == "even")
            );
            let expected = if number % 10 == 7 {
                Value::Null
            } else {
                json!(number)
            };
            assert_eq!(row["number"], expected);
            assert_eq!(event["message"], row["text"]);
            // Both are of one moment, written in two ways.
            let (column, field) = (
                row["at"].as_str().unwrap(),
                event["@timestamp"].as_str().unwrap(),
            );
            assert_eq!(column[..22], field[..22]);
            messages.push(text.to_owned());
        }
    }
    tally(0, LINES, messages.iter().map(String::as_str)).assert_once_each();
}

/// A refusal in the server's words.
fn refusal(status: u16, code: &str) -> Value {
    let words = format!("<Error><Code>{code}</Code><Message>by the test</Message></Error>");
    json!([status, words, {}])
}

/// The same, of requests that have the text in their path.
fn refusal_of(text: &str, status: u16, code: &str) -> Value {
    let mut refusal = refusal(status, code);
    refusal.as_array_mut().unwrap().push(json!(text));
    refusal
}

#[test]
fn refusals_are_alarms_and_never_losses() {
    const LINES: u64 = 3_000;
    let Some(case) = Case::new() else { return };
    let amazon = &case.storage.amazon;
    Plan::new(&case.log(), LINES).write().unwrap();
    amazon.change_secret("another").unwrap();
    let options = format!("encoding => zstd size_file => 20000 time_file => 0.02 {AS_IT_WAS}");
    let mut aggregator = case.aggregator("", &options);
    aggregator.start().unwrap();
    let process = aggregator.process().unwrap();
    process
        .wait_for_log("the secret key does not belong to the access key", PATIENCE)
        .unwrap();
    assert!(case.objects().is_empty());
    let storm: Vec<Value> = [
        refusal(503, "SlowDown"),
        refusal(403, "AccessDenied"),
        refusal(503, "SlowDown"),
        refusal(500, "InternalError"),
        refusal(404, "NoSuchBucket"),
        json!([200, "", {}, "nothing"]),
        refusal(503, "SlowDown"),
    ]
    .to_vec();
    amazon.refuse(&json!(storm)).unwrap();
    amazon.change_secret(FIXED_KEYS.1).unwrap();
    let objects = case.wait_for_lines(LINES, &aggregator);
    assert!(
        aggregator.terminate().unwrap().success(),
        "{}",
        aggregator.log()
    );
    tally_of(LINES, &objects).assert_once_each();
    let seen = amazon.seen().unwrap();
    let stormed = seen
        .iter()
        .filter(|one| one["status"] != json!(200) && !one["who"].is_null());
    assert_eq!(stormed.count(), 6, "{seen:?}");
}

#[test]
fn a_bucket_that_is_away_costs_no_memory_and_no_line() {
    const LINES: u64 = 60_000;
    let Some(case) = Case::new() else { return };
    case.storage.amazon.set_down(true).unwrap();
    let mut aggregator = case.aggregator(
        "",
        "codec => json_lines size_file => 200000 time_file => 0.02 max_memory_bytes => '1 MiB' queue_max_bytes => '4 MiB'",
    );
    aggregator.start().unwrap();
    let process = aggregator.process().unwrap();
    process.wait_for_log("pipeline started", PATIENCE).unwrap();
    let before = process.usage().unwrap().resident;
    Plan::new(&case.log(), LINES).write().unwrap();
    process.wait_for_log("the queue is full", PATIENCE).unwrap();
    process
        .wait_for_log("an object cannot be stored", PATIENCE)
        .unwrap();
    // The buffers around the queue, and 1 MiB: about 60 MB, however many lines wait in the file.
    let grown = process.usage().unwrap().resident.saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes");
    case.storage.amazon.set_down(false).unwrap();
    let objects = case.wait_for_lines(LINES, &aggregator);
    assert!(
        aggregator.terminate().unwrap().success(),
        "{}",
        aggregator.log()
    );
    let messages: Vec<String> = objects
        .iter()
        .flat_map(Object::lines)
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            event["message"].as_str().unwrap().to_owned()
        })
        .collect();
    tally(0, LINES, messages.iter().map(String::as_str)).assert_once_each();
}

#[test]
fn large_objects_go_in_parts_and_leave_no_parts_behind() {
    const LINES: u64 = 140_000;
    let Some(case) = Case::new() else { return };
    let amazon = &case.storage.amazon;
    Plan::new(&case.log(), LINES).write().unwrap();
    let options = format!("size_file => '9 MiB' time_file => 0.2 {AS_IT_WAS}");
    let mut aggregator = case.aggregator("", &options);
    let stuck = refusal_of("partNumber=2", 500, "InternalError");
    amazon.refuse(&json!(vec![stuck; 5])).unwrap();
    aggregator.start().unwrap();
    aggregator
        .process()
        .unwrap()
        .wait_for_log("an object cannot be stored", PATIENCE)
        .unwrap();
    assert_eq!(case.storage.uploads().unwrap().len(), 1);
    wait_for_queue(LINES, &aggregator);
    aggregator.kill().unwrap();
    std::fs::remove_file(case.log()).unwrap();
    let gone = refusal_of("partNumber=2", 404, "NoSuchUpload");
    amazon.refuse(&json!([gone])).unwrap();
    aggregator.start().unwrap();
    let objects = case.wait_for_lines(LINES, &aggregator);
    assert!(
        aggregator.terminate().unwrap().success(),
        "{}",
        aggregator.log()
    );
    tally_of(LINES, &objects).assert_once_each();
    let tags = objects
        .iter()
        .map(|object| object.described["tag"].as_str().unwrap());
    let in_parts = tags.filter(|tag| tag.contains("-2")).count();
    assert_eq!(in_parts, 1, "{objects:?}");
    assert!(
        aggregator
            .log()
            .contains("gave up a multipart upload of the last process")
    );
    // Of the one that the gate has called gone there was nothing to give up.
    assert_eq!(case.storage.uploads().unwrap().len(), 1);
}

#[test]
fn large_tables_have_row_groups_and_go_in_parts() {
    const LINES: u64 = 80_000;
    let Some(case) = Case::new() else { return };
    Plan::new(&case.log(), LINES).write().unwrap();
    let filters = "grok { match => { message => 'line %{INT:number}' } }
                   if [number] =~ /7$/ { mutate { replace => { 'number' => 'seven' } } }";
    let options = "format => parquet encoding => none size_file => '20 MiB' time_file => 0.2
                   columns => { 'number' => 'number:long' 'message' => 'message:string' }";
    let mut aggregator = case.aggregator(filters, options);
    aggregator.start().unwrap();
    let objects = case.wait_for_lines(LINES, &aggregator);
    let log = aggregator.log();
    let (_, api) = log.split_once("url=\"http://").unwrap();
    let (api, _) = api.split_once('"').unwrap();
    let api = api.parse().unwrap();
    let page = http::request(api, "GET", "/metrics", None, PATIENCE)
        .unwrap()
        .text();
    let misfits = format!("}} {}", LINES / 10);
    assert!(
        page.lines().any(
            |line| line.starts_with("skidder_output_column_misfits_total{")
                && line.ends_with(&misfits)
        ),
        "{page}"
    );
    assert!(
        aggregator.terminate().unwrap().success(),
        "{}",
        aggregator.log()
    );
    let mut messages = Vec::new();
    for object in &objects {
        assert!(object.key.ends_with(".part0.parquet"), "{}", object.key);
        assert_eq!(object.described["compression"], json!("UNCOMPRESSED"));
        for line in object.lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            messages.push(row["message"].as_str().unwrap().to_owned());
        }
    }
    tally(0, LINES, messages.iter().map(String::as_str)).assert_once_each();
    // 20 MiB: a row group of 16 and the rest, in parts of 8, 8 and 4.
    let is_large = |object: &Object| {
        let tag = object.described["tag"].as_str().unwrap();
        object.described["groups"] == json!(2) && tag.contains("-3")
    };
    let told: Vec<&Value> = objects.iter().map(|object| &object.described).collect();
    assert!(objects.iter().any(is_large), "{told:?}");
}

#[test]
fn doctor_tries_what_is_needed_and_leaves_nothing_behind() {
    let Some(case) = Case::new() else { return };
    let doctor = |bucket: &str| {
        let pipeline = case.output(bucket, "prefix => 'web/%{+yyyy}'");
        let output = Program::Aggregator
            .command()
            .args([
                "doctor",
                "-e",
                &format!("input {{ stdin {{ }} }} {pipeline}"),
            ])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.success(), said)
    };
    let (fine, said) = doctor(BUCKET);
    assert!(
        fine && said.contains("objects may be stored as s3://archive/web/2"),
        "{said}"
    );
    assert!(said.contains("multipart uploads may be given up"), "{said}");
    assert!(case.storage.uploads().unwrap().is_empty());
    assert!(case.objects().is_empty());
    let (fine, said) = doctor("nobodys");
    assert!(
        !fine && said.contains("there is no bucket `nobodys`"),
        "{said}"
    );
    case.storage.amazon.change_secret("another").unwrap();
    let (fine, said) = doctor(BUCKET);
    assert!(
        !fine && said.contains("the secret key does not belong"),
        "{said}"
    );
    case.storage.amazon.set_down(true).unwrap();
    let (fine, said) = doctor(BUCKET);
    assert!(!fine && said.contains("error    connection"), "{said}");
}
