//! The shared conformance cases: what Logstash's own tests say about its patterns.
//!
//! They are read from the folder that `SKIDDER_SHARED` names; without it the tests are skipped,
//! which `SKIDDER_REQUIRE_ALL=1` makes a failure.
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::{Map, Value};
use skidder_grok::{CaptureKind, CompileOptions, Matcher, PatternSet, Slots};

/// Cases that do not pass, each with its reason. A case whose pattern is not defined fails as well.
const KNOWN_DIFFERENCES: &[(&str, &str)] = &[];

fn cases(file: &str) -> Option<Vec<Value>> {
    let Some(folder) = std::env::var_os("SKIDDER_SHARED") else {
        assert!(
            std::env::var_os("SKIDDER_REQUIRE_ALL").is_none(),
            "SKIDDER_SHARED is not set, and no test may be skipped"
        );
        println!("skipped: SKIDDER_SHARED is not set");
        return None;
    };
    let path = PathBuf::from(folder).join("conformance").join(file);
    let text = std::fs::read_to_string(&path).expect("the file with the cases can be read");
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a case is JSON"))
            .collect(),
    )
}

/// The event that a match makes, in the least of the ways that the cases need.
fn event(matcher: &Matcher, input: &str) -> Option<Value> {
    let (mut scratch, mut slots) = (matcher.scratch(), Slots::new());
    let found = matcher
        .find(input.as_bytes(), &mut scratch, &mut slots)
        .expect("no budget here");
    if !found {
        return None;
    }
    let mut captured: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (index, capture) in matcher.captures().iter().enumerate() {
        let Some((start, end)) = slots.get(index) else {
            continue;
        };
        let text = &input[start..end];
        if text.is_empty() {
            continue;
        }
        let value = match capture.kind {
            CaptureKind::Integer => Value::from(leading_number(text) as i64),
            CaptureKind::Float => Value::from(leading_number(text)),
            _ => Value::from(text),
        };
        captured.entry(&capture.name).or_default().push(value);
    }
    let mut event = Value::Object(Map::new());
    event["message"] = Value::from(input);
    event["@version"] = Value::from("1");
    for (name, mut values) in captured {
        if name == "message" {
            values.insert(0, Value::from(input));
        }
        let value = if values.len() == 1 {
            values.remove(0)
        } else {
            Value::Array(values)
        };
        let mut place = &mut event;
        for key in path(name) {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[key];
        }
        *place = value;
    }
    Some(event)
}

/// The number that a text begins with, or 0; so Ruby turns texts into numbers.
fn leading_number(text: &str) -> f64 {
    let end = text
        .find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+'))
        .unwrap_or(text.len());
    text[..end].parse().unwrap_or(0.0)
}

fn path(reference: &str) -> Vec<&str> {
    match reference
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(inside) => inside.split("][").collect(),
        None => vec![reference],
    }
}

fn at<'v>(event: &'v Value, reference: &str) -> Option<&'v Value> {
    path(reference)
        .into_iter()
        .try_fold(event, |value, key| match value {
            // A negative place counts from the end.
            Value::Array(values) => match key.parse::<isize>().ok()? {
                place @ 0.. => values.get(place as usize),
                place => values.get(values.len().checked_sub(place.unsigned_abs())?),
            },
            _ => value.get(key),
        })
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, value)| right.get(key).is_some_and(|other| equal(value, other)))
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| equal(left, right))
        }
        _ => left == right,
    }
}

enum Outcome {
    Passed,
    Failed(String),
}

fn run(case: &Value) -> Outcome {
    let mut set = match case["ecs"].as_str() {
        _ if case["standard_patterns"] == Value::Bool(false) => PatternSet::empty(),
        Some("v1" | "v8") => PatternSet::ecs_v1(),
        _ => PatternSet::legacy(),
    };
    if let Some(definitions) = case["definitions"].as_object() {
        for (name, definition) in definitions {
            set.add(name, definition.as_str().expect("a definition is text"));
        }
    }
    let mut options = CompileOptions::default();
    options.named_captures_only = case["named_captures_only"] != Value::Bool(false);
    let pattern = case["pattern"].as_str().expect("a pattern is text");
    let matcher = match set.compile(pattern, &options) {
        Ok(matcher) => matcher,
        Err(error) => return Outcome::Failed(format!("{pattern}: {error}")),
    };
    let input = case["input"].as_str().expect("an input is text");
    let found = event(&matcher, input);
    let expect = &case["expect"];
    let mut wrong = Vec::new();
    if let Some(wanted) = expect["match"].as_bool()
        && wanted != found.is_some()
    {
        wrong.push(format!("match is {}", found.is_some()));
    }
    let mut event = found
        .unwrap_or_else(|| serde_json::json!({"message": input, "tags": ["_grokparsefailure"]}));
    if case.get("named_captures_only").is_some()
        && let Some(Value::Array(messages)) = event.get_mut("message")
        && messages.len() == 2
    {
        // These libraries return what was captured, not an event that held a message before.
        let captured = messages.remove(1);
        event["message"] = captured;
    }
    for (reference, wanted) in expect["fields"].as_object().into_iter().flatten() {
        let got = at(&event, reference);
        if !got.is_some_and(|got| equal(got, wanted)) {
            wrong.push(format!("{reference} is {got:?}, not {wanted}"));
        }
    }
    for key in ["absent", "missing"] {
        for reference in expect[key].as_array().into_iter().flatten() {
            let reference = reference.as_str().expect("a reference is text");
            if let Some(got) = at(&event, reference) {
                wrong.push(format!("{reference} is {got}, not absent"));
            }
        }
    }
    for (reference, wanted) in expect["includes"].as_object().into_iter().flatten() {
        for wanted in wanted.as_array().into_iter().flatten() {
            let held = match at(&event, reference) {
                Some(Value::Array(values)) => values.iter().any(|value| equal(value, wanted)),
                Some(Value::String(text)) => wanted.as_str().is_some_and(|w| text.contains(w)),
                Some(Value::Object(map)) => wanted.as_str().is_some_and(|w| map.contains_key(w)),
                _ => false,
            };
            if !held {
                wrong.push(format!(
                    "{reference} is {:?}, without {wanted}",
                    at(&event, reference)
                ));
            }
        }
    }
    for (reference, wanted) in expect["keys"].as_object().into_iter().flatten() {
        let got = if reference.is_empty() {
            Some(&event)
        } else {
            at(&event, reference)
        };
        let mut got: Vec<&str> = got
            .and_then(Value::as_object)
            .map(|map| map.keys().map(String::as_str).collect())
            .unwrap_or_default();
        let mut wanted: Vec<&str> = wanted
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        got.sort_unstable();
        wanted.sort_unstable();
        wanted.retain(|key| !matches!(*key, "@timestamp" | "@version"));
        got.retain(|key| !matches!(*key, "@metadata" | "@version"));
        if got != wanted {
            wrong.push(format!(
                "the keys of {reference} are {got:?}, not {wanted:?}"
            ));
        }
    }
    if let Some(allowed) = expect["top_level_only"].as_array() {
        for key in event.as_object().into_iter().flat_map(Map::keys) {
            // Metadata is no part of what an event shows.
            if key != "@metadata" && !allowed.iter().any(|name| name.as_str() == Some(key)) {
                wrong.push(format!("{key} must not be there"));
            }
        }
    }
    for (reference, values) in expect["not_equal"].as_object().into_iter().flatten() {
        for value in values.as_array().into_iter().flatten() {
            if at(&event, reference).is_some_and(|got| equal(got, value)) {
                wrong.push(format!("{reference} must not be {value}"));
            }
        }
    }
    for (key, wanted) in [("starts_with", true), ("not_ends_with", false)] {
        for (reference, texts) in expect[key].as_object().into_iter().flatten() {
            let texts = texts
                .as_array()
                .cloned()
                .unwrap_or_else(|| vec![texts.clone()]);
            for text in texts.iter().filter_map(Value::as_str) {
                let got = at(&event, reference)
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let holds = if wanted {
                    got.starts_with(text)
                } else {
                    !got.ends_with(text)
                };
                if !holds {
                    wrong.push(format!("{reference} is {got}: {key} {text}"));
                }
            }
        }
    }
    if wrong.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed(wrong.join("; "))
    }
}

fn run_file(file: &str) {
    let Some(cases) = cases(file) else { return };
    let (mut passed, mut failures) = (0, Vec::new());
    for case in &cases {
        let id = case["id"].as_str().expect("a case has an id");
        let known = KNOWN_DIFFERENCES.iter().any(|(known, _)| *known == id);
        match run(case) {
            // A difference that is gone must leave the list.
            Outcome::Passed if known => failures.push(format!("{id}: passes, and is listed")),
            Outcome::Passed => passed += 1,
            Outcome::Failed(_) if known => {}
            Outcome::Failed(why) => failures.push(format!("{id}: {why}")),
        }
    }
    println!("{file}: {passed} of {} pass", cases.len());
    assert!(
        failures.is_empty(),
        "{} fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn standard_patterns() {
    run_file("grok-patterns.jsonl");
}

#[test]
fn other_libraries() {
    run_file("grok-extra.jsonl");
}
