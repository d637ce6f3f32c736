//! Runs a case of `dissect.jsonl`: one mapping on one text, or one conversion of one value.

use bumpalo::Bump;
use skidder_pipeline::event::{Event, MESSAGE, Name, Object, TIMESTAMP, VERSION, Value};
use skidder_pipeline::filter::Scratch;
use skidder_pipeline::language::{Config, Diagnostics, EscapeStyle, Statement};
use skidder_pipeline::{CompileOptions, NoFiles, compile};

use super::expectation::{get, is_same};
use super::{Case, NOW, as_object, elements, plugin_of, special_values};

/// Runs a mapping or a conversion and checks what comes of it.
pub(crate) fn run_mapping(case: &Case<'_>) -> Result<(), String> {
    if case.get("convert").is_some() {
        return run_conversion(case);
    }
    let pattern = case.text("pattern").ok_or("no mapping")?;
    let expect = case.expect();
    let refused = expect.get(&Name::new("error")).is_some();
    let mut event = initial(case);
    match (case.get("input"), case.data.get(&Name::new("input"))) {
        (Some(input), _) => event.fields.set(MESSAGE, input.copy_in(case.arena)),
        (None, Some(_)) => event.fields.set(MESSAGE, Value::Null),
        (None, None) => {}
    }
    let settings = hash("mapping", "message", pattern, case.arena);
    let event = match run(case, &settings, event) {
        Err(_) if refused => return Ok(()),
        Ok(_) if refused => return Err("the mapping should have been refused".to_owned()),
        other => other?,
    };
    let failed = get(&event, "tags", case.arena).is_some();
    let matches = expect.get(&Name::new("match")) == Some(&Value::Boolean(true));
    if failed == matches {
        return Err(format!("matched: {}, expected: {matches}", !failed));
    }
    let fields = expect.get(&Name::new("fields")).and_then(as_object);
    for (name, value) in fields.map(Object::iter).into_iter().flatten() {
        let expected = special_values(value, case.arena);
        match get(&event, name.as_str(), case.arena) {
            Some(actual) if is_same(&actual, &expected) => {}
            other => return Err(format!("{name:?} is {other:?}, not {expected:?}")),
        }
    }
    let is_counted = |name: &Name<'_>| {
        let told = fields.is_some_and(|fields| fields.get(name).is_some());
        told || ![MESSAGE, TIMESTAMP, VERSION].contains(name)
    };
    let count = event.fields.iter().filter(|(name, _)| is_counted(name));
    let count = count.count();
    if let Some(Value::Integer(expected)) = expect.get(&Name::new("field_count"))
        && *expected != count as i64
    {
        return Err(format!("{count} fields, not {expected}"));
    }
    let forbidden = expect.get(&Name::new("no_value")).map(elements);
    for forbidden in forbidden.unwrap_or_default() {
        let mut others = event.fields.iter().filter(|(name, _)| *name != MESSAGE);
        if others.any(|(_, value)| value == forbidden) {
            return Err(format!("{forbidden:?} is a value"));
        }
    }
    Ok(())
}

fn run_conversion(case: &Case<'_>) -> Result<(), String> {
    let kind = case.text("convert").ok_or("no kind")?;
    let mut event = Event::with_timestamp_in(NOW, case.arena);
    let value = case.get("value").ok_or("no value")?;
    event
        .fields
        .set(Name::new("field"), value.copy_in(case.arena));
    let settings = hash("convert_datatype", "field", kind, case.arena);
    let event = run(case, &settings, event)?;
    let actual = get(&event, "field", case.arena);
    let failed = get(&event, "tags", case.arena).is_some();
    let expect = case.expect();
    let same = match (
        expect.get(&Name::new("integer")),
        expect.get(&Name::new("decimal")),
    ) {
        (Some(Value::Text(digits)), _) => match &actual {
            Some(Value::Integer(integer)) => integer.to_string().as_bytes() == *digits,
            Some(Value::Numeral(numeral)) => numeral.as_bytes() == *digits,
            _ => false,
        },
        (_, Some(Value::Text(digits))) => {
            let decimal: f64 = std::str::from_utf8(digits)
                .map_err(|error| error.to_string())?
                .parse()
                .map_err(|_| "no decimal")?;
            actual == Some(Value::Float(decimal))
        }
        _ => failed && expect.get(&Name::new("error")).is_some(),
    };
    if same {
        Ok(())
    } else {
        Err(format!("is {actual:?}, tagged: {failed}"))
    }
}

fn initial<'b>(case: &Case<'b>) -> Event<'b> {
    let mut event = Event::with_timestamp_in(NOW, case.arena);
    for (name, value) in case
        .object("initial")
        .map(Object::iter)
        .into_iter()
        .flatten()
    {
        event.fields.set(name, value.copy_in(case.arena));
    }
    event
}

/// `{ option => { key => value } }`.
fn hash<'b>(option: &'b str, key: &'b str, value: &'b str, arena: &'b Bump) -> Object<'b> {
    let mut inner = Object::new_in(arena);
    inner.set(Name::new(key), Value::Text(value.as_bytes()));
    let mut settings = Object::new_in(arena);
    settings.set(Name::new(option), Value::object(inner, arena));
    settings
}

fn run<'b>(case: &Case<'b>, settings: &Object<'b>, event: Event<'b>) -> Result<Event<'b>, String> {
    let mut diagnostics = Diagnostics::new();
    let config = Config {
        filters: vec![Statement::Plugin(plugin_of("dissect", Some(settings)))],
        ..Config::default()
    };
    let options = CompileOptions {
        ecs: false,
        escape_style: EscapeStyle::None,
        files: &NoFiles,
    };
    let pipeline = compile(&config, &options, &mut diagnostics).ok_or("refused")?;
    let pipeline = case.arena.alloc(pipeline);
    let mut done = Vec::new();
    let mut scratch = Scratch::default();
    pipeline
        .filters
        .run(event, case.arena, NOW, &mut scratch, |event| {
            done.push(event);
        });
    done.pop().ok_or_else(|| "no event came out".to_owned())
}
