//! What a request says of an event.

use skidder_pipeline::event::{Event, Timestamp, write_json, write_json_text};
use skidder_pipeline::language::{Entry, EscapeStyle, Options, Spanned, Value as Given};
use skidder_pipeline::template::{Template, write_value};

/// `format`
#[derive(Debug)]
pub(super) enum Format {
    /// One event a request, as JSON.
    Json(Option<Mapping>),
    /// An array of many.
    JsonBatch(Option<Mapping>),
    /// `a=b&c=d`
    Form(Option<Mapping>),
    /// Any text.
    Message(Template),
}

impl Format {
    pub(super) fn content_type(&self) -> &'static str {
        match self {
            Self::Json(_) | Self::JsonBatch(_) => "application/json",
            Self::Form(_) => "application/x-www-form-urlencoded",
            Self::Message(_) => "text/plain",
        }
    }

    /// Whether what is sent is the event itself.
    pub(super) fn is_event(&self) -> bool {
        matches!(self, Self::Json(None) | Self::JsonBatch(None))
    }

    /// Appends the event.
    pub(super) fn write(&self, event: &Event<'_>, now: Timestamp, out: &mut Vec<u8>) {
        match self {
            Self::Json(None) | Self::JsonBatch(None) => write_json(event, out),
            Self::Json(Some(mapping)) | Self::JsonBatch(Some(mapping)) => {
                mapping.write_json(event, now, out);
            }
            Self::Form(mapping) => write_form(mapping.as_ref(), event, now, out),
            Self::Message(template) => template.write(event, now, out),
        }
    }
}

/// `mapping`: what is sent instead of the event.
#[derive(Debug)]
pub(super) struct Mapping(Vec<(String, Mapped)>);

#[derive(Debug)]
enum Mapped {
    Text(Template),
    Array(Vec<Self>),
    Object(Mapping),
}

impl Mapping {
    /// Reads the hash; what is wrong is reported through `options`.
    pub(super) fn from_entries(
        entries: &[Entry<'_>],
        style: EscapeStyle,
        options: &mut Options<'_>,
    ) -> Option<Self> {
        let entries = entries.iter().map(|entry| {
            let value = mapped(entry.value, style, options)?;
            Some((entry.key.value.clone(), value))
        });
        entries.collect::<Option<_>>().map(Self)
    }

    fn write_json(&self, event: &Event<'_>, now: Timestamp, out: &mut Vec<u8>) {
        out.push(b'{');
        for (number, (name, value)) in self.0.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            write_json_text(name.as_bytes(), out);
            out.push(b':');
            value.write_json(event, now, out);
        }
        out.push(b'}');
    }
}

impl Mapped {
    fn write_json(&self, event: &Event<'_>, now: Timestamp, out: &mut Vec<u8>) {
        match self {
            Self::Text(template) => {
                let mut text = Vec::new();
                template.write(event, now, &mut text);
                write_json_text(&text, out);
            }
            Self::Array(values) => {
                out.push(b'[');
                for (number, value) in values.iter().enumerate() {
                    if number > 0 {
                        out.push(b',');
                    }
                    value.write_json(event, now, out);
                }
                out.push(b']');
            }
            Self::Object(mapping) => mapping.write_json(event, now, out),
        }
    }
}

fn mapped(given: &Spanned<Given>, style: EscapeStyle, options: &mut Options<'_>) -> Option<Mapped> {
    match &given.value {
        Given::Array(values) => {
            let values = values.iter().map(|value| mapped(value, style, options));
            values.collect::<Option<_>>().map(Mapped::Array)
        }
        Given::Hash(entries) => {
            let entries = entries.iter().map(|entry| {
                let value = mapped(&entry.value, style, options)?;
                Some((entry.key_text(), value))
            });
            let entries: Option<Vec<_>> = entries.collect();
            entries.map(|entries| Mapped::Object(Mapping(entries)))
        }
        _ => {
            let text = options.text_in("mapping", given)?;
            match Template::parse(&text.value, style) {
                Ok(template) => Some(Mapped::Text(template)),
                Err(error) => {
                    options.diagnostics().error(text.span, error.to_string());
                    None
                }
            }
        }
    }
}

/// COMPAT: a value of an event is written as `%{…}` has it, where Logstash writes arrays and objects in Ruby.
fn write_form(mapping: Option<&Mapping>, event: &Event<'_>, now: Timestamp, out: &mut Vec<u8>) {
    let start = out.len();
    let mut text = Vec::new();
    let mut pair = |name: &str, value: &[u8]| {
        if out.len() > start {
            out.push(b'&');
        }
        escape(name.as_bytes(), out);
        out.push(b'=');
        escape(value, out);
    };
    let Some(Mapping(mapping)) = mapping else {
        for (name, value) in event.fields.iter() {
            text.clear();
            write_value(value, &mut text);
            pair(name.as_str(), &text);
        }
        return;
    };
    for (name, value) in mapping {
        text.clear();
        match value {
            Mapped::Text(template) => template.write(event, now, &mut text),
            other => other.write_json(event, now, &mut text),
        }
        pair(name, &text);
    }
}

/// Escapes as forms do (WHATWG URL, `application/x-www-form-urlencoded`).
fn escape(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'*' | b'-' | b'.' | b'_' => out.push(*byte),
            b' ' => out.push(b'+'),
            other => out.extend_from_slice(format!("%{other:02X}").as_bytes()),
        }
    }
}
