//! Conformance of templates and of times as texts.

mod support;

use skidder_pipeline::event::{Event, Name, Object, Timestamp, Value};
use skidder_pipeline::language::EscapeStyle;
use skidder_pipeline::template::Template;
use skidder_pipeline::time::Zone;

use support::{NOW, as_str, instant, is_true, run_cases, special_values};

#[test]
fn templates() {
    run_cases(
        "sprintf",
        |case| case.text("expect_kind").is_none(),
        |case| {
            // The event as it is, without what an input would add.
            let mut event = Event::new_in(case.arena);
            if let Some(value) = case.get("event")
                && let Value::Object(fields) = special_values(value, case.arena)
            {
                event.fields = std::mem::replace(fields, Object::new_in(case.arena));
            }
            let text = case.text("template").ok_or("no template")?;
            let refused = is_true(case.get("error"));
            match (Template::parse(text, EscapeStyle::None), refused) {
                (Err(_), true) => Ok(()),
                (Err(error), false) => Err(error.to_string()),
                (Ok(_), true) => Err("it should have been refused".to_owned()),
                (Ok(template), false) => {
                    let mut filled = Vec::new();
                    template.write(&event, NOW, &mut filled);
                    let filled = String::from_utf8_lossy(&filled);
                    (case.text("expect") == Some(&*filled))
                        .then_some(())
                        .ok_or_else(|| format!("is {filled}"))
                }
            }
        },
    );
}

#[test]
fn timestamps() {
    run_cases(
        "timestamp",
        |_| true,
        |case| {
            let zone = case.text("default_zone").unwrap_or("UTC");
            let zone = Zone::find(zone).ok_or("no such zone")?;
            let parsed = match case.get("input").ok_or("no input")? {
                Value::Text(text) => Timestamp::parse_iso8601(text, &zone),
                other => Some(instant(other)),
            };
            let printed = parsed.map(|timestamp| timestamp.to_string());
            let expected = case.data.get(&Name::new("expect")).and_then(as_str);
            (printed.as_deref() == expected)
                .then_some(())
                .ok_or_else(|| format!("is {printed:?}, expected {expected:?}"))
        },
    );
}
