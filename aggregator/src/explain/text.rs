//! What was explained, for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value as Json;

use crate::shown::{SHOWN_CHARACTERS, cut};

/// The text for one line of the input.
pub(super) fn render(explained: &Json) -> Result<String, std::fmt::Error> {
    // What filters have left at the end comes of no event.
    let (mut text, mut number, nothing) = match &explained["event"] {
        Json::Null => ("end of the input\n".to_owned(), 0, "\nresult: none\n"),
        event => {
            let dropped = "\nresult: none, it was dropped\n";
            (format!("event\n  {event}\n"), 1, dropped)
        }
    };
    for step in array(&explained["steps"]) {
        let event = step["event_number"].as_u64().unwrap_or(number);
        if event != number {
            number = event;
            writeln!(text, "\nevent {number}, made by a filter")?;
        }
        if step["filter"].is_string() {
            filter(step, &mut text)?;
        } else {
            condition(step, &mut text)?;
        }
    }
    let results = array(&explained["results"]);
    text.push_str(match results.len() {
        0 => nothing,
        1 => "\nresult\n",
        _ => "\nresults\n",
    });
    for result in results {
        writeln!(text, "  {result}")?;
    }
    text.push('\n');
    Ok(text)
}

fn condition(step: &Json, text: &mut String) -> std::fmt::Result {
    let (condition, place) = (string(&step["condition"]), string(&step["place"]));
    writeln!(text, "\nif {condition}   ({place})")?;
    let parts = array(&step["parts"]);
    for part in parts {
        let fields = part["fields"].as_object();
        let values: Vec<String> = fields
            .into_iter()
            .flatten()
            .map(|(name, value)| match value {
                Json::Null => format!("{name} is missing"),
                value => format!("{name} is {}", cut(&value.to_string())),
            })
            .collect();
        let values = if values.is_empty() {
            String::new()
        } else {
            format!(": {}", values.join(", "))
        };
        if parts.len() > 1 {
            let (part_text, answer) = (string(&part["text"]), &part["answer"]);
            writeln!(text, "    {answer}  {part_text}{values}")?;
        } else {
            writeln!(text, "  {}{values}", step["answer"])?;
        }
    }
    if parts.len() != 1 {
        writeln!(text, "  {}", step["answer"])?;
    }
    Ok(())
}

fn filter(step: &Json, text: &mut String) -> std::fmt::Result {
    let (name, place) = (string(&step["filter"]), string(&step["place"]));
    writeln!(text, "\n{name}   ({place})")?;
    for attempt in array(&step["attempts"]) {
        let (field, pattern) = (string(&attempt["field"]), string(&attempt["pattern"]));
        let answer = &attempt["answer"];
        if answer["matched"] == true {
            writeln!(text, "  {field} matches {pattern}")?;
            continue;
        }
        writeln!(text, "  {field} does not match {pattern}")?;
        if answer["out_of_steps"] == true {
            text.push_str("    it ran out of steps (see `timeout_millis`)\n");
            continue;
        }
        let prefix = string(&answer["prefix"]);
        if !prefix.is_empty() {
            let matched = Json::from(cut_front(string(&answer["prefix_text"])));
            writeln!(text, "    as far as  `{}`", cut_front(prefix))?;
            writeln!(text, "    which took {matched}")?;
        }
        let within: Vec<&str> = array(&answer["within"]).iter().map(string).collect();
        let within = match within.last() {
            Some(_) => format!("   (in {})", within.join(", in ")),
            None => String::new(),
        };
        match string(&answer["failed"]) {
            "" => text.push_str("    its parts match, but not with what stands around them\n"),
            part => writeln!(text, "    then not   `{part}`{within}")?,
        }
        match string(&answer["found"]) {
            "" => text.push_str("    where the text ends\n"),
            found => writeln!(text, "    where it is {}", Json::from(cut(found)))?,
        }
    }
    match (&step["before"], &step["event"]) {
        (Json::Null, _) => {}
        (_, Json::Null) => text.push_str("  dropped\n"),
        (before, after) => changes(before, after, text)?,
    }
    let emitted = array(&step["emitted"]);
    match emitted.len() {
        0 => {}
        1 => text.push_str("  makes an event\n"),
        count => writeln!(text, "  makes {count} events")?,
    }
    for event in emitted {
        writeln!(text, "    {}", cut(&event.to_string()))?;
    }
    Ok(())
}

/// The fields that a filter added, changed and removed.
fn changes(before_step: &Json, after_step: &Json, text: &mut String) -> std::fmt::Result {
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    flatten("", before_step, &mut before);
    flatten("", after_step, &mut after);
    let mut changed = false;
    for (field, value) in &after {
        match before.get(field) {
            None => writeln!(text, "  + {field} {}", cut(value))?,
            Some(old) if old != value => {
                writeln!(text, "  ~ {field} {} → {}", cut(old), cut(value))?;
            }
            Some(_) => continue,
        }
        changed = true;
    }
    for (field, value) in before
        .iter()
        .filter(|(field, _)| !after.contains_key(*field))
    {
        writeln!(text, "  - {field} {}", cut(value))?;
        changed = true;
    }
    if !changed {
        text.push_str("  changes nothing\n");
    }
    Ok(())
}

/// The fields of an event, nested ones by their reference.
fn flatten(name: &str, value: &Json, fields: &mut BTreeMap<String, String>) {
    match value {
        Json::Object(object) if !object.is_empty() || name.is_empty() => {
            for (key, value) in object {
                flatten(&format!("{name}[{key}]"), value, fields);
            }
        }
        value => {
            // A field at the top is written without brackets.
            let plain = name
                .strip_prefix('[')
                .and_then(|name| name.strip_suffix(']'));
            let plain = plain.filter(|name| !name.contains(['[', ']']));
            fields.insert(plain.unwrap_or(name).to_owned(), value.to_string());
        }
    }
}

fn array(value: &Json) -> &[Json] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn string(value: &Json) -> &str {
    value.as_str().unwrap_or_default()
}

/// The end of a text.
fn cut_front(text: &str) -> String {
    match text.char_indices().rev().nth(SHOWN_CHARACTERS) {
        Some((start, first)) => format!("…{}", &text[start + first.len_utf8()..]),
        None => text.to_owned(),
    }
}
