//! The conformance harness: cases with known answers, read from the folder that `SKIDDER_SHARED`
//! names.
//!
//! Each line of `conformance/NAME.jsonl` is a case; the README beside them says what the keys mean.
//! A test hands [`run_cases`] a file, which cases of it it is for, and how to run one. All cases
//! run before the test fails, so that one run shows the whole picture.
//!
//! - Without `SKIDDER_SHARED` a test says so and passes; with `SKIDDER_REQUIRE_ALL=1` that is a
//!   failure.
//! - `tests/known_failures.txt` names the cases that fail, each with the reason. A listed case that
//!   passes is a failure too, so the list can only be right.
#![allow(
    dead_code,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "every test uses its own part of the harness, and says what it did"
)]

pub(crate) mod dissect;
pub(crate) mod events;
pub(crate) mod expectation;
pub(crate) mod pipeline;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use bumpalo::Bump;
use skidder_pipeline::event::{
    Array, Event, JsonLimits, Name, Object, Path, Timestamp, Value, read_json_object,
};
use skidder_pipeline::language::{
    self, Attribute, FieldReference, HashEntry, Number, Span, Spanned,
};

/// The time that cases run at unless they say otherwise: 2024-06-15T12:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp::new(1_718_452_800, 0);

/// Name of the variable that names the folder with the cases.
const SHARED: &str = "SKIDDER_SHARED";
/// Name of the variable that makes a skipped test a failure.
const REQUIRE_ALL: &str = "SKIDDER_REQUIRE_ALL";

/// One case.
pub(crate) struct Case<'b> {
    /// What names it.
    pub(crate) id: String,
    /// What it says.
    pub(crate) data: Object<'b>,
    /// Memory for whoever runs it.
    pub(crate) arena: &'b Bump,
}

impl<'b> Case<'b> {
    /// What it says under `key`, null counting as nothing.
    pub(crate) fn get(&self, key: &str) -> Option<&Value<'b>> {
        self.data
            .get(&Name::new(key))
            .filter(|value| !matches!(value, Value::Null))
    }

    /// The text under `key`.
    pub(crate) fn text(&self, key: &str) -> Option<&'b str> {
        self.get(key).and_then(as_str)
    }

    /// The texts under `key`.
    pub(crate) fn texts(&self, key: &str) -> Vec<&'b str> {
        self.get(key)
            .map(elements)
            .unwrap_or_default()
            .iter()
            .filter_map(as_str)
            .collect()
    }

    /// The object under `key`.
    pub(crate) fn object(&self, key: &str) -> Option<&Object<'b>> {
        self.get(key).and_then(as_object)
    }

    /// What must hold.
    pub(crate) fn expect(&self) -> &Object<'b> {
        self.object("expect").expect("every case expects something")
    }

    /// Whether the case runs with the names of the Elastic Common Schema.
    pub(crate) fn is_ecs(&self) -> bool {
        self.text("ecs").is_some_and(|ecs| ecs != "disabled")
    }

    /// The event that `value` describes, made as an input makes it.
    pub(crate) fn event(&self, value: &Value<'b>, now: Timestamp) -> Event<'b> {
        let Value::Object(fields) = special_values(value, self.arena) else {
            panic!("case {}: an event is an object", self.id);
        };
        Event::from_object(
            std::mem::replace(fields, Object::new_in(self.arena)),
            now,
            self.arena,
        )
    }
}

/// The folder with everything that is shared, if this run has it.
pub(crate) fn shared() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(SHARED) {
        return Some(PathBuf::from(folder));
    }
    assert!(
        std::env::var_os(REQUIRE_ALL).is_none_or(|value| value != "1"),
        "{SHARED} is not set, and {REQUIRE_ALL} allows no test to be skipped"
    );
    eprintln!("skipped: {SHARED} is not set");
    None
}

/// Runs the cases of `conformance/{name}.jsonl` that `select` picks; `check` says what is wrong, if
/// anything is.
///
/// # Panics
/// If a case fails that is not a known failure, if one passes that is, and if no case was picked.
pub(crate) fn run_cases(
    name: &str,
    select: impl Fn(&Case<'_>) -> bool,
    check: impl for<'b> Fn(&Case<'b>) -> Result<(), String>,
) {
    let Some(shared) = shared() else { return };
    let path = shared
        .join("conformance")
        .join(name)
        .with_extension("jsonl");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    let known = known_failures();
    let (mut passed, mut expected) = (0, 0);
    let mut wrong = Vec::new();
    for line in text.lines() {
        let arena = Bump::new();
        let data = read_json_object(line.as_bytes(), JsonLimits::default(), &arena)
            .unwrap_or_else(|error| panic!("{}: {error}: {line}", path.display()));
        let id = data
            .get(&Name::new("id"))
            .and_then(as_str)
            .expect("every case has an id")
            .to_owned();
        let case = Case {
            id,
            data,
            arena: &arena,
        };
        if !select(&case) {
            continue;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&case)))
            .unwrap_or_else(|_| Err("it panicked".to_owned()));
        match (outcome, known.get(&case.id)) {
            (Ok(()), None) => passed += 1,
            (Err(_), Some(_)) => expected += 1,
            (Ok(()), Some(reason)) => {
                wrong.push(format!("{}: passes, but is listed: {reason}", case.id));
            }
            (Err(fault), None) => wrong.push(format!("{}: {fault}", case.id)),
        }
    }
    println!(
        "{name}: {passed} passed, {expected} failed as known, {} wrong",
        wrong.len()
    );
    assert!(passed > 0 || !wrong.is_empty(), "{name}: no case was run");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The known failures and their reasons.
fn known_failures() -> HashMap<String, String> {
    include_str!("../known_failures.txt")
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (id, reason) = line
                .split_once(' ')
                .unwrap_or_else(|| panic!("known_failures.txt: no reason: {line}"));
            (id.to_owned(), reason.trim().to_owned())
        })
        .collect()
}

/// A copy in which `{"$timestamp": …}`, `{"$bytes": …}` and `{"$decimal": …}` are what they stand
/// for.
pub(crate) fn special_values<'b>(value: &Value<'b>, arena: &'b Bump) -> Value<'b> {
    match value {
        Value::Object(object) => {
            let mut fields = object.iter();
            if let (Some((name, Value::Text(text))), None) = (fields.next(), fields.next()) {
                match name.as_str() {
                    "$timestamp" => return Value::Time(instant(value)),
                    "$bytes" => return Value::copied_text(&base64(text), arena),
                    "$decimal" => {
                        let text = std::str::from_utf8(text).expect("a decimal is a text");
                        return Value::Numeral(text);
                    }
                    _ => {}
                }
            }
            let mut copy = Object::new_in(arena);
            for (name, value) in object.iter() {
                copy.set(name, special_values(value, arena));
            }
            Value::object(copy, arena)
        }
        Value::Array(array) => {
            let mut copy = Array::new_in(arena);
            copy.extend(array.iter().map(|value| special_values(value, arena)));
            Value::array(copy, arena)
        }
        other => other.copy_in(arena),
    }
}

/// The instant that a text in ISO 8601, a `{"$timestamp": …}`, or a number of seconds since 1970
/// stands for.
pub(crate) fn instant(value: &Value<'_>) -> Timestamp {
    match value {
        Value::Time(timestamp) => *timestamp,
        Value::Integer(seconds) => Timestamp::new(*seconds, 0),
        Value::Text(text) => {
            let text = std::str::from_utf8(text).expect("a time is a text");
            let parsed: jiff::Timestamp = text
                .parse()
                .unwrap_or_else(|error| panic!("not a time: {text}: {error}"));
            let nanoseconds = parsed.as_nanosecond();
            Timestamp::new(
                nanoseconds.div_euclid(1_000_000_000) as i64,
                nanoseconds.rem_euclid(1_000_000_000) as u32,
            )
        }
        Value::Object(object) => instant(
            object
                .get(&Name::new("$timestamp"))
                .expect("a time is a text or a `$timestamp`"),
        ),
        other => panic!("not a time: {other:?}"),
    }
}

/// The path of a reference of a case.
pub(crate) fn path(reference: &str) -> Path {
    let parsed = FieldReference::parse(reference);
    Path::from(&parsed.unwrap_or_else(|error| panic!("reference of a case: {error}")))
}

/// A plugin with these settings, as if a configuration had it.
pub(crate) fn plugin_of(name: &str, settings: Option<&Object<'_>>) -> language::Plugin {
    let settings = settings.into_iter().flat_map(Object::iter);
    language::Plugin {
        name: Spanned::new(name.to_owned(), Span::default()),
        attributes: settings
            .filter(|(_, value)| !matches!(value, Value::Null))
            .map(|(name, value)| Attribute {
                name: Spanned::new(name.as_str().to_owned(), Span::default()),
                value: setting(value),
            })
            .collect(),
        span: Span::default(),
    }
}

/// A setting as the language would have it.
fn setting(value: &Value<'_>) -> Spanned<language::Value> {
    let value = match value {
        Value::Null => language::Value::String(String::new()),
        Value::Boolean(boolean) => language::Value::Bareword(boolean.to_string()),
        Value::Integer(integer) => language::Value::Number(Number::Integer(*integer)),
        Value::Float(float) => language::Value::Number(Number::Decimal(*float)),
        Value::Numeral(numeral) => language::Value::String((*numeral).to_owned()),
        Value::Text(text) => language::Value::String(String::from_utf8_lossy(text).into_owned()),
        Value::Time(time) => language::Value::String(time.to_string()),
        Value::Array(array) => language::Value::Array(array.iter().map(setting).collect()),
        Value::Object(object) => language::Value::Hash(
            object
                .iter()
                .map(|(name, value)| HashEntry {
                    key: setting(&Value::Text(name.as_str().as_bytes())),
                    value: setting(value),
                })
                .collect(),
        ),
    };
    Spanned::new(value, Span::default())
}

/// The text of a value.
pub(crate) fn as_str<'b>(value: &Value<'b>) -> Option<&'b str> {
    std::str::from_utf8(value.as_text()?).ok()
}

/// The object that a value is.
pub(crate) fn as_object<'v, 'b>(value: &'v Value<'b>) -> Option<&'v Object<'b>> {
    match value {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// The elements of an array; a value that is none is the only element.
pub(crate) fn elements<'v, 'b>(value: &'v Value<'b>) -> &'v [Value<'b>] {
    match value {
        Value::Array(array) => array,
        other => std::slice::from_ref(other),
    }
}

/// Whether a flag is set.
pub(crate) fn is_true(value: Option<&Value<'_>>) -> bool {
    matches!(value, Some(Value::Boolean(true)))
}

fn base64(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.iter().filter(|byte| **byte != b'=') {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            other => panic!("not base64: {other}"),
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
