//! Conformance of the event: reading it from JSON, and the operations on it.

mod support;

use bumpalo::Bump;
use skidder_pipeline::event::{Event, JsonLimits, Name, Value, read_json_object, write_json};
use skidder_pipeline::language::FieldReference;

use support::{NOW, as_str, elements, expectation, is_true, path, run_cases, special_values};

#[test]
fn events_from_json() {
    run_cases(
        "event-json",
        |_| true,
        |case| {
            let text = case.text("text").unwrap_or_default();
            let mut events = Vec::new();
            let read = Event::all_from_json(text.as_bytes(), NOW, case.arena, &mut events);
            let expect = case.expect();
            let refused = is_true(expect.get(&Name::new("error")));
            match (read, refused) {
                (Err(_), true) => Ok(()),
                (Err(error), false) => Err(error.to_string()),
                (Ok(()), true) => Err("it should have been refused".to_owned()),
                (Ok(()), false) => expectation::check_events(&events, expect, case.arena),
            }
        },
    );
}

#[test]
fn operations_on_events() {
    // The text form of an event is the codec `plain`'s, and tested there.
    let is_text_form =
        |step: &Value<'_>| elements(step).first().and_then(as_str) == Some("to_string");
    run_cases(
        "event-ops",
        |case| {
            let steps = case.get("steps").map(elements).unwrap_or_default();
            !steps.iter().any(is_text_form)
        },
        |case| {
            let arena = case.arena;
            let mut event = case.event(case.get("initial").ok_or("no event")?, NOW);
            for (at, step) in elements(case.get("steps").ok_or("no steps")?)
                .iter()
                .enumerate()
            {
                let words = elements(step);
                operate(&mut event, words, arena).map_err(|fault| format!("step {at}: {fault}"))?;
            }
            Ok(())
        },
    );
}

fn operate<'b>(event: &mut Event<'b>, words: &[Value<'b>], arena: &'b Bump) -> Result<(), String> {
    let name = words.first().and_then(as_str).ok_or("no operation")?;
    let reference = words.get(1).and_then(as_str).unwrap_or_default();
    let argument = words.get(2).map(|value| special_values(value, arena));
    let must_fail = words
        .iter()
        .skip(2)
        .any(|word| as_str(word) == Some("ERROR"));
    if must_fail {
        return refused(event, name, reference, argument, arena);
    }
    match name {
        "get" => {
            let value = expectation::get(event, reference, arena);
            let expected = argument.unwrap_or(Value::Null);
            let same = value
                .as_ref()
                .map_or(matches!(expected, Value::Null), |value| {
                    expectation::is_same(value, &expected)
                });
            same.then_some(())
                .ok_or_else(|| format!("{reference} is {value:?}, expected {expected:?}"))
        }
        "set" => {
            let path = arena.alloc(path(reference));
            event.set(path, argument.unwrap_or(Value::Null), arena);
            Ok(())
        }
        "remove" => {
            let value = event.remove(&path(reference));
            let Some(expected) = argument else {
                return Ok(());
            };
            let same = value
                .as_ref()
                .map_or(matches!(expected, Value::Null), |value| {
                    expectation::is_same(value, &expected)
                });
            same.then_some(())
                .ok_or_else(|| format!("removed {value:?}, expected {expected:?}"))
        }
        "include" => {
            let included = expectation::get(event, reference, arena).is_some();
            (Some(Value::Boolean(included)) == argument)
                .then_some(())
                .ok_or_else(|| format!("{reference} is there: {included}"))
        }
        "set_ignored" => refused(event, "set", reference, argument, arena),
        "tag" => {
            event.tag(reference.as_bytes(), arena);
            Ok(())
        }
        "get_as_string" => {
            let value = expectation::get(event, reference, arena).unwrap_or(Value::Null);
            let (text, expected) = (expectation::to_string(&value), words.get(2));
            (expected.and_then(as_str) == Some(&text))
                .then_some(())
                .ok_or_else(|| format!("{reference} is {text}, expected {expected:?}"))
        }
        "serialized_top_level" | "serialized_has" => {
            let mut text = Vec::new();
            write_json(event, &mut text);
            let fields =
                read_json_object(arena.alloc_slice_copy(&text), JsonLimits::default(), arena)
                    .map_err(|error| error.to_string())?;
            let value = fields.get(&Name::new(reference));
            let holds = if name == "serialized_has" {
                Some(Value::Boolean(value.is_some())) == argument
            } else {
                value.is_some_and(|value| expectation::is_same(value, &words[2]))
            };
            holds
                .then_some(())
                .ok_or_else(|| format!("{reference} is {value:?} as JSON"))
        }
        other => Err(format!("unknown operation {other}")),
    }
}

/// A reference is refused when it is parsed; a value that may not stand somewhere is not set.
fn refused<'b>(
    event: &mut Event<'b>,
    name: &str,
    reference: &str,
    argument: Option<Value<'b>>,
    arena: &'b Bump,
) -> Result<(), String> {
    if FieldReference::parse(reference).is_err() {
        return Ok(());
    }
    let before = expectation::get(event, "", arena);
    if name == "set" {
        event.set(
            arena.alloc(path(reference)),
            argument.unwrap_or(Value::Null),
            arena,
        );
    }
    let same = name == "set"
        && before
            .zip(expectation::get(event, "", arena))
            .is_some_and(|(before, after)| expectation::is_same(&before, &after));
    same.then_some(())
        .ok_or_else(|| format!("{name} {reference} should fail"))
}
