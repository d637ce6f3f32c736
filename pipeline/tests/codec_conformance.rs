//! Conformance of the codecs and of the tokenizer below them.

mod support;

use std::sync::Arc;

use skidder_pipeline::codec::{Codec, CodecDefaults, Sink, Tokenizer, build_codec};
use skidder_pipeline::event::{Event, JsonLimits, Name, Object, Value, read_json_object};
use skidder_pipeline::language::{Diagnostics, SourceMap};

use support::{
    Case, NOW, as_object, as_str, elements, expectation, plugin_of, run_cases, special_values,
};

#[test]
fn tokenizer() {
    run_cases(
        "tokenizer",
        |_| true,
        |case| {
            let delimiter = case.text("delimiter").ok_or("no delimiter")?;
            let mut tokenizer = Tokenizer::new(delimiter.as_bytes(), 1 << 20);
            for (at, chunk) in elements(case.get("chunks").ok_or("no chunks")?)
                .iter()
                .enumerate()
            {
                let [data, expected] = elements(chunk) else {
                    return Err(format!("chunk {at} is malformed"));
                };
                let data = as_str(data).ok_or("data")?;
                let expected: Vec<_> = elements(expected).iter().filter_map(as_str).collect();
                let mut tokens = Vec::new();
                tokenizer.feed(data.as_bytes(), case.arena, |token| {
                    tokens.push(String::from_utf8_lossy(token.bytes).into_owned());
                });
                if tokens != expected {
                    return Err(format!("chunk {at}: {tokens:?} instead of {expected:?}"));
                }
            }
            Ok(())
        },
    );
}

#[test]
fn plain() {
    run_cases("codec-plain", |_| true, run_steps);
}

#[test]
fn line() {
    run_cases("codec-line", |_| true, run_steps);
}

#[test]
fn json() {
    run_cases("codec-json", |_| true, run_steps);
}

#[test]
fn json_lines() {
    run_cases("codec-json_lines", |_| true, run_steps);
}

#[test]
fn multiline() {
    run_cases("codec-multiline", |_| true, run_steps);
}

#[test]
fn es_bulk() {
    run_cases("codec-es_bulk", |_| true, run_steps);
}

/// Gives the steps of a case to one codec and one decoder.
fn run_steps(case: &Case<'_>) -> Result<(), String> {
    let codec = codec_of(case)?;
    let mut decoder = codec.decoder().ok_or("the codec does not decode")?;
    let mut events = Vec::new();
    let mut before_flush = None;
    let expect = case.expect();
    let expected_of = |key: &str, step: usize| {
        let of_steps = expect.get(&Name::new(key)).and_then(as_object)?;
        of_steps.get(&Name::new(&step.to_string()))
    };
    for (at, step) in elements(case.get("steps").ok_or("no steps")?)
        .iter()
        .enumerate()
    {
        let step = as_object(step).ok_or("a step is an object")?;
        let mut sink = Sink {
            arena: case.arena,
            now: NOW,
            events: &mut events,
        };
        if let Some(data) = step.get(&Name::new("decode")) {
            let data = special_values(data, case.arena);
            let data = data.as_text().ok_or("data is a text")?;
            decoder.decode(data, &mut sink);
        } else if let Some(event) = step.get(&Name::new("encode")) {
            let event = case.event(event, NOW);
            let mut encoded = Vec::new();
            codec.encode(&event, &mut encoded);
            check_encoded(
                case,
                &encoded,
                expected_of("encoded", at),
                expected_of("encoded_json", at),
            )
            .map_err(|fault| format!("step {at}: {fault}"))?;
        } else {
            before_flush.get_or_insert(sink.events.len());
            decoder.flush(&mut sink);
        }
    }
    if let Some(expected) = expect.get(&Name::new("count_before_flush"))
        && before_flush
            .map(|count| Value::Integer(count as i64))
            .as_ref()
            != Some(expected)
    {
        return Err(format!(
            "{before_flush:?} events before the flush, not {expected:?}"
        ));
    }
    let mut of_events = Object::new_in(case.arena);
    for (key, value) in expect.iter() {
        if !["encoded", "encoded_json", "count_before_flush"].contains(&key.as_str()) {
            of_events.set(key, value.copy_in(case.arena));
        }
    }
    expectation::check_events(&events, &of_events, case.arena)
}

fn check_encoded<'b>(
    case: &Case<'b>,
    encoded: &[u8],
    exact: Option<&Value<'b>>,
    json: Option<&Value<'b>>,
) -> Result<(), String> {
    let shown = || String::from_utf8_lossy(encoded).into_owned();
    if let Some(exact) = exact {
        let exact = special_values(exact, case.arena);
        if exact.as_text() != Some(encoded) {
            return Err(format!("is {:?}, expected {exact:?}", shown()));
        }
    }
    let Some(json) = json.and_then(as_object) else {
        return Ok(());
    };
    let suffix = json
        .get(&Name::new("suffix"))
        .and_then(as_str)
        .unwrap_or_default();
    let text = encoded
        .strip_suffix(suffix.as_bytes())
        .ok_or_else(|| format!("does not end in {suffix:?}: {:?}", shown()))?;
    let text = case.arena.alloc_slice_copy(text);
    let fields = read_json_object(text, JsonLimits::default(), case.arena)
        .map_err(|error| format!("{error}: {:?}", shown()))?;
    let actual = Value::object(fields, case.arena);
    if let Some(whole) = json.get(&Name::new("json"))
        && !expectation::is_same(&actual, whole)
    {
        return Err(format!("is {:?}, expected {whole:?}", shown()));
    }
    let includes = json.get(&Name::new("json_includes")).and_then(as_object);
    for (name, expected) in includes.into_iter().flat_map(Object::iter) {
        let value = as_object(&actual).and_then(|fields| fields.get(&name));
        if !value.is_some_and(|value| expectation::is_same(value, expected)) {
            return Err(format!(
                "{} is {value:?}, expected {expected:?}",
                name.as_str()
            ));
        }
    }
    Ok(())
}

fn codec_of(case: &Case<'_>) -> Result<Arc<dyn Codec>, String> {
    let name = case.text("codec").ok_or("no codec")?;
    let plugin = plugin_of(name, case.object("settings"));
    let defaults = CodecDefaults {
        ecs: case.is_ecs(),
        ..CodecDefaults::default()
    };
    let mut diagnostics = Diagnostics::new();
    build_codec(&plugin, defaults, &mut diagnostics)
        .ok_or_else(|| diagnostics.render(&SourceMap::new(), false))
}

/// COMPAT: the text form of an event, which the codec `plain` prints.
#[test]
fn the_text_form_of_an_event() {
    run_cases(
        "event-ops",
        |case| {
            let steps = case.get("steps").map(elements).unwrap_or_default();
            steps
                .iter()
                .any(|step| elements(step).first().and_then(as_str) == Some("to_string"))
        },
        |case| {
            let codec = build_codec(
                &plugin_of("plain", None),
                CodecDefaults::default(),
                &mut Diagnostics::new(),
            )
            .ok_or("no codec")?;
            let mut event: Event<'_> = case.event(case.get("initial").ok_or("no event")?, NOW);
            for step in elements(case.get("steps").ok_or("no steps")?) {
                let words: Vec<_> = elements(step).iter().filter_map(as_str).collect();
                match words[..] {
                    ["remove", reference] => drop(event.remove(&support::path(reference))),
                    ["to_string", expected] => {
                        let mut text = Vec::new();
                        codec.encode(&event, &mut text);
                        if text != expected.as_bytes() {
                            return Err(format!("is {:?}", String::from_utf8_lossy(&text)));
                        }
                    }
                    _ => return Err(format!("unknown operation {words:?}")),
                }
            }
            Ok(())
        },
    );
}
