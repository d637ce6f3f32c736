//! What a case expects of events, held against what came out.
//!
//! INVARIANT: a key that is not known here makes the case fail: nothing that a case asks for goes
//! unchecked.

use bumpalo::Bump;
use regex::Regex;
use skidder_pipeline::event::{Event, Name, Object, Timestamp, Value, write_json_value};

use super::{as_object, as_str, elements, instant, is_true, path, special_values};

/// Keys that speak about the result as a whole or about the run, and are looked at by whoever runs
/// the case.
const ABOUT_THE_RESULT: &[&str] = &[
    "dropped",
    "count",
    "events",
    "last_event",
    "every_event",
    "no_error",
    "error",
    "error_class",
    "error_regex",
    "error_text",
];

/// Holds all events that came out against what is expected. What a case says about an event without
/// naming one is about the first.
pub(crate) fn check_events<'b>(
    events: &[Event<'b>],
    expect: &Object<'b>,
    arena: &'b Bump,
) -> Result<(), String> {
    let mut faults = Vec::new();
    for (key, value) in expect.iter() {
        match key.as_str() {
            "dropped" if events.is_empty() != is_true(Some(value)) => {
                faults.push(format!("dropped: {} events came out", events.len()));
            }
            "count" if *value != Value::Integer(events.len() as i64) => {
                faults.push(format!("{} events came out, not {value:?}", events.len()));
            }
            "events" => {
                let expected = elements(value);
                if expected.len() != events.len() {
                    faults.push(format!(
                        "{} events came out, not {}",
                        events.len(),
                        expected.len()
                    ));
                }
                for (at, (event, expected)) in events.iter().zip(expected).enumerate() {
                    let expected = as_object(expected).expect("an expected event is an object");
                    for fault in event_faults(event, expected, arena) {
                        faults.push(format!("event {at}: {fault}"));
                    }
                }
            }
            "last_event" => match events.last() {
                Some(event) => faults.extend(event_faults(
                    event,
                    as_object(value).expect("an expected event is an object"),
                    arena,
                )),
                None => faults.push("no event came out".to_owned()),
            },
            "every_event" => {
                for event in events {
                    let expected = as_object(value).expect("an expected event is an object");
                    faults.extend(event_faults(event, expected, arena));
                }
            }
            "error" | "error_class" | "error_regex" | "error_text" => {
                faults.push("it should have been refused".to_owned());
            }
            _ => {}
        }
    }
    if expect
        .iter()
        .any(|(key, _)| !ABOUT_THE_RESULT.contains(&key.as_str()))
    {
        match events.first() {
            Some(event) => faults.extend(event_faults(event, expect, arena)),
            None => faults.push("no event came out".to_owned()),
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = events.iter().map(show_event).collect();
    Err(format!(
        "{}\n  events: {}",
        faults.join("\n  "),
        shown.join("\n          ")
    ))
}

/// What is wrong with one event.
pub(crate) fn event_faults<'b>(
    event: &Event<'b>,
    expect: &Object<'b>,
    arena: &'b Bump,
) -> Vec<String> {
    let mut faults = Vec::new();
    for (key, expected) in expect.iter() {
        let key = key.as_str();
        if ABOUT_THE_RESULT.contains(&key) {
            continue;
        }
        match key {
            "absent" | "missing" | "present" | "present_null" | "truthy" | "falsey" => {
                for reference in elements(expected) {
                    let reference = as_str(reference).expect("a reference is a text");
                    let value = get(event, reference, arena);
                    if !presence_holds(key, value.as_ref()) {
                        faults.push(format!("{key} {reference}: is {}", show(value.as_ref())));
                    }
                }
            }
            "top_level_only" => {
                let allowed: Vec<_> = elements(expected).iter().filter_map(as_str).collect();
                for (name, _) in event.fields.iter() {
                    if !allowed.contains(&name.as_str()) {
                        faults.push(format!("{} should not be there", name.as_str()));
                    }
                }
            }
            "event_equals" => {
                let expected = special_values(expected, arena);
                let actual = Value::object(event.fields.copy_in(arena), arena);
                if !is_same(&actual, &expected) {
                    faults.push(format!("the event is not {}", show(Some(&expected))));
                }
            }
            _ => {
                let Some(expected) = as_object(expected) else {
                    faults.push(format!("unknown expectation {key}"));
                    continue;
                };
                for (reference, expected) in expected.iter() {
                    let reference = reference.as_str();
                    let value = get(event, reference, arena);
                    let expected = special_values(expected, arena);
                    if let Err(fault) =
                        reference_holds(key, value.as_ref(), &expected, event, arena)
                    {
                        faults.push(format!(
                            "{key} {reference}: {fault}: is {}, expected {}",
                            show(value.as_ref()),
                            show(Some(&expected))
                        ));
                    }
                }
            }
        }
    }
    faults
}

fn presence_holds(key: &str, value: Option<&Value<'_>>) -> bool {
    let falsey = matches!(value, None | Some(Value::Null | Value::Boolean(false)));
    match key {
        "absent" => matches!(value, None | Some(Value::Null)),
        "missing" => value.is_none(),
        "present" => value.is_some(),
        "present_null" => matches!(value, Some(Value::Null)),
        "truthy" => !falsey,
        _ => falsey,
    }
}

/// One entry of an expectation that maps references to something.
fn reference_holds<'b>(
    key: &str,
    value: Option<&Value<'b>>,
    expected: &Value<'b>,
    event: &Event<'b>,
    arena: &'b Bump,
) -> Result<(), String> {
    let ensure = |holds: bool, fault: &str| holds.then_some(()).ok_or_else(|| fault.to_owned());
    // Null is expected where nothing need be.
    if key == "fields" && matches!((value, expected), (None, Value::Null)) {
        return Ok(());
    }
    if key == "not_equal" {
        let equal = elements(expected)
            .iter()
            .any(|each| value.is_some_and(|value| is_same(value, each)));
        return ensure(!equal, "has this value");
    }
    if key == "excludes" && value.is_none() {
        return Ok(());
    }
    let value = value.ok_or("is missing")?;
    match key {
        "fields" => ensure(is_same(value, expected), "differs"),
        "includes" | "excludes" => {
            for each in elements(expected) {
                ensure(
                    includes(value, each) == (key == "includes"),
                    "in, or not in",
                )?;
            }
            Ok(())
        }
        "types" => ensure(as_str(expected) == Some(kind(value)), kind(value)),
        "as_string" => ensure(as_str(expected) == Some(&to_string(value)), "as text"),
        "as_integer" => ensure(
            matches!(expected, Value::Integer(integer) if to_integer(value) == Some(*integer)),
            "as integer",
        ),
        "lengths" => ensure(is_number(expected, length(value)?), "length"),
        "bytes" | "max_bytes" => {
            let bytes = value.as_text().ok_or("is no text")?.len();
            let Value::Integer(limit) = expected else {
                return Err("not a length".to_owned());
            };
            let limit = usize::try_from(*limit).map_err(|error| error.to_string())?;
            ensure(
                if key == "bytes" {
                    bytes == limit
                } else {
                    bytes <= limit
                },
                "length in bytes",
            )
        }
        "keys" => {
            let object = as_object(value).ok_or("is no object")?;
            let mut actual: Vec<&str> = object.iter().map(|(name, _)| name.as_str()).collect();
            let mut wanted: Vec<&str> = elements(expected).iter().filter_map(as_str).collect();
            actual.sort_unstable();
            wanted.sort_unstable();
            ensure(actual == wanted, "other keys")
        }
        "timestamps" => ensure(time(value)? == instant(expected), "other instant"),
        "not_timestamps" => {
            let time = time(value)?;
            ensure(
                elements(expected).iter().all(|each| instant(each) != time),
                "this instant",
            )
        }
        "timestamp_part" => {
            let (date, clock) = (time(value)?.date(), time(value)?.time());
            for (part, expected) in as_object(expected).ok_or("no parts")?.iter() {
                let actual = match part.as_str() {
                    "year" => date.0,
                    "month" => i64::from(date.1),
                    "day" => i64::from(date.2),
                    "hour" => i64::from(clock.0),
                    "minute" => i64::from(clock.1),
                    "second" => i64::from(clock.2),
                    other => return Err(format!("unknown part {other}")),
                };
                ensure(*expected == Value::Integer(actual), part.as_str())?;
            }
            Ok(())
        }
        "approx" => {
            let expected = as_object(expected).ok_or("no range")?;
            let number = |name| expected.get(&Name::new(name)).and_then(to_float);
            let (wanted, delta) = (
                number("value").ok_or("value")?,
                number("delta").ok_or("delta")?,
            );
            let actual = to_float(value).ok_or("is no number")?;
            ensure((actual - wanted).abs() <= delta, "too far off")
        }
        "regex" | "not_regex" => {
            let text = to_string(value);
            for pattern in elements(expected).iter().filter_map(as_str) {
                let matches = Regex::new(pattern)
                    .map_err(|error| error.to_string())?
                    .is_match(&text);
                ensure(matches == (key == "regex"), pattern)?;
            }
            Ok(())
        }
        "starts_with" | "not_starts_with" | "ends_with" | "not_ends_with" => {
            let text = to_string(value);
            for affix in elements(expected).iter().filter_map(as_str) {
                let holds = if key.ends_with("starts_with") {
                    text.starts_with(affix)
                } else {
                    text.ends_with(affix)
                };
                ensure(holds != key.starts_with("not_"), affix)?;
            }
            Ok(())
        }
        "same_as" => {
            for other in elements(expected).iter().filter_map(as_str) {
                let same = get(event, other, arena).is_some_and(|other| is_same(value, &other));
                ensure(same, other)?;
            }
            Ok(())
        }
        other => Err(format!("unknown expectation {other}")),
    }
}

/// The value at a reference, the event as a whole and its metadata included.
pub(crate) fn get<'b>(event: &Event<'b>, reference: &str, arena: &'b Bump) -> Option<Value<'b>> {
    match reference {
        "" => Some(Value::object(event.fields.copy_in(arena), arena)),
        "[@metadata]" | "@metadata" => Some(Value::object(event.metadata.copy_in(arena), arena)),
        reference => event
            .get(&path(reference))
            .map(|value| value.copy_in(arena)),
    }
}

/// Deep equality that tells integers and floats apart.
pub(crate) fn is_same(left: &Value<'_>, right: &Value<'_>) -> bool {
    let mut texts = [Vec::new(), Vec::new()];
    write_exactly(left, &mut texts[0]);
    write_exactly(right, &mut texts[1]);
    texts[0] == texts[1]
}

/// A form that only equal values share: keys are sorted, and times and bytes that are not UTF-8
/// told apart from texts.
fn write_exactly(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Object(object) => {
            let mut fields: Vec<_> = object.iter().collect();
            fields.sort_by_key(|(name, _)| name.as_str());
            out.push(b'{');
            for (name, value) in fields {
                write_exactly(&Value::Text(name.as_str().as_bytes()), out);
                write_exactly(value, out);
            }
            out.push(b'}');
        }
        Value::Array(array) => {
            out.push(b'[');
            for value in array.iter() {
                write_exactly(value, out);
                out.push(b',');
            }
            out.push(b']');
        }
        Value::Text(text) => out.extend_from_slice(format!("{text:?}").as_bytes()),
        Value::Time(time) => out.extend_from_slice(format!("time {time}").as_bytes()),
        other => write_json_value(other, out),
    }
}

fn includes(value: &Value<'_>, part: &Value<'_>) -> bool {
    match (value, part) {
        (Value::Array(array), part) => array.iter().any(|each| is_same(each, part)),
        (Value::Text(text), Value::Text(part)) => memchr::memmem::find(text, part).is_some(),
        (Value::Object(object), part) => {
            as_str(part).is_some_and(|name| object.get(&Name::new(name)).is_some())
        }
        _ => false,
    }
}

fn kind(value: &Value<'_>) -> &'static str {
    match value {
        Value::Float(_) => "float",
        Value::Numeral(numeral) if numeral.contains(['.', 'e', 'E']) => "float",
        Value::Numeral(_) => "integer",
        other => other.kind(),
    }
}

/// How a value reads as text.
pub(crate) fn to_string(value: &Value<'_>) -> String {
    match value {
        Value::Null => String::new(),
        Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Value::Time(time) => time.to_string(),
        other => {
            let mut out = Vec::new();
            write_json_value(other, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        }
    }
}

fn to_float(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Integer(integer) => Some(*integer as f64),
        Value::Float(float) => Some(*float),
        Value::Numeral(numeral) => numeral.parse().ok(),
        _ => None,
    }
}

fn to_integer(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Integer(integer) => Some(*integer),
        Value::Float(float) => Some(*float as i64),
        Value::Text(_) => as_str(value)?.trim().parse().ok(),
        _ => None,
    }
}

fn is_number(expected: &Value<'_>, number: usize) -> bool {
    *expected == Value::Integer(number as i64)
}

fn length(value: &Value<'_>) -> Result<usize, String> {
    match value {
        Value::Array(array) => Ok(array.len()),
        Value::Object(object) => Ok(object.len()),
        Value::Text(text) => Ok(String::from_utf8_lossy(text).chars().count()),
        other => Err(format!("{} has no length", other.kind())),
    }
}

fn time(value: &Value<'_>) -> Result<Timestamp, String> {
    match value {
        Value::Time(time) => Ok(*time),
        other => Err(format!("is a {}", other.kind())),
    }
}

fn show(value: Option<&Value<'_>>) -> String {
    match value {
        None => "missing".to_owned(),
        Some(value) => {
            let mut out = Vec::new();
            write_json_value(value, &mut out);
            format!("{} ({})", String::from_utf8_lossy(&out), kind(value))
        }
    }
}

fn show_event(event: &Event<'_>) -> String {
    let mut out = Vec::new();
    skidder_pipeline::event::write_json(event, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}
