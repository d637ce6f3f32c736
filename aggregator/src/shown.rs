//! How the tools (`filter`, `explain`, `test`) show events: as JSON, with metadata if that is asked for.

use skidder_pipeline::event::{self, Event};

/// Longer texts are cut here where people are to see them.
pub(crate) const SHOWN_CHARACTERS: usize = 120;

/// Appends an event as JSON; with its metadata, if it has any, under `@metadata`.
pub(crate) fn write_event(event: &Event<'_>, metadata: bool, out: &mut Vec<u8>) {
    event::write_json(event, out);
    if !metadata || event.metadata.is_empty() {
        return;
    }
    // Into the object that has just been closed.
    out.pop();
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.extend_from_slice(b"\"@metadata\":{");
    for (at, (name, value)) in event.metadata.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        event::write_json_text(name.as_str().as_bytes(), out);
        out.push(b':');
        event::write_json_value(value, out);
    }
    out.extend_from_slice(b"}}");
}

/// The start of a text.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use bumpalo::Bump;
    use skidder_pipeline::event::Timestamp;

    use super::*;

    #[test]
    fn metadata_is_shown_if_it_is_wanted_and_there() {
        let arena = Bump::new();
        let shown = |text: &'static str, metadata| {
            let event = Event::from_json(text.as_bytes(), Timestamp::new(0, 0), &arena).unwrap();
            let mut out = Vec::new();
            write_event(&event, metadata, &mut out);
            let shown: serde_json::Value = serde_json::from_slice(&out).unwrap();
            shown.get("@metadata").cloned()
        };
        let text = r#"{"@metadata": {"a\"": 1, "b": [2]}, "c": 3}"#;
        let metadata = serde_json::json!({"a\"": 1, "b": [2]});
        assert_eq!(shown(text, true), Some(metadata));
        assert_eq!(shown(text, false), None);
        assert_eq!(shown("{}", true), None);
        let mut bare = Event::new_in(&arena);
        let event = Event::from_json(text.as_bytes(), Timestamp::new(0, 0), &arena).unwrap();
        bare.metadata = event.metadata;
        let mut out = Vec::new();
        write_event(&bare, true, &mut out);
        assert_eq!(out, br#"{"@metadata":{"a\"":1,"b":[2]}}"#);
    }
}
