//! Data streams: `type-dataset-namespace` for the index, and the same three in the document.
//!
//! COMPAT: as Logstash: an event's own `[data_stream]` fields go before the options
//! (`data_stream_auto_routing`), and what is missing of them is added to the document
//! (`data_stream_sync_fields`). A `[data_stream]` that is not an object is left alone.

use skidder_pipeline::event::{
    Event, Name, Object, Value, write_json, write_json_text, write_json_value,
};
use skidder_pipeline::language::Options;

/// The options that begin with `data_stream`.
#[derive(Clone, Debug)]
pub struct DataStream {
    /// `data_stream_type`, `data_stream_dataset`, `data_stream_namespace`.
    parts: [String; 3],
    auto_routing: bool,
    sync_fields: bool,
}

const FIELD: Name<'static> = Name::new("data_stream");
const PARTS: [Name<'static>; 3] = [
    Name::new("type"),
    Name::new("dataset"),
    Name::new("namespace"),
];
const DEFAULTS: [&str; 3] = ["logs", "generic", "default"];
/// COMPAT: characters that Logstash refuses, as the servers do.
const FORBIDDEN: &[char] = &['\\', '/', '*', '?', '"', '<', '>', '|', ' ', ',', '#', ':'];

impl DataStream {
    /// Reads the options; nothing if events do not go to data streams.
    pub fn from_options(options: &mut Options<'_>, ecs: bool) -> Option<Self> {
        let written = options.string("data_stream");
        let names = [
            "data_stream_type",
            "data_stream_dataset",
            "data_stream_namespace",
        ];
        let given = [
            options
                .enumeration(
                    "data_stream_type",
                    &[
                        ("logs", "logs"),
                        ("metrics", "metrics"),
                        ("synthetics", "synthetics"),
                        ("traces", "traces"),
                    ],
                )
                .map(ToOwned::to_owned),
            options.string(names[1]),
            options.string(names[2]),
        ];
        let auto_routing = options.boolean("data_stream_auto_routing");
        let sync_fields = options.boolean("data_stream_sync_fields");
        let set = [given[0].is_some(), given[1].is_some(), given[2].is_some()];
        let any = set.contains(&true) || auto_routing.is_some() || sync_fields.is_some();
        let other = contradiction(options);
        let enabled = match written.as_deref() {
            Some("true") => true,
            Some("false") => false,
            // COMPAT: `auto` is the default with ECS, and means what the other options allow.
            Some("auto") | None => ecs && other.is_none(),
            Some(_) => {
                options.error(
                    "data_stream",
                    "`data_stream` must be `true`, `false` or `auto`",
                );
                false
            }
        };
        if !enabled {
            if any {
                let name = names
                    .into_iter()
                    .zip(set)
                    .find(|(_, set)| *set)
                    .map_or("data_stream", |(name, _)| name);
                options.error(name, format!("`{name}` needs `data_stream => true`"));
            }
            return None;
        }
        if let Some(other) = other {
            let message = format!(
                "`{other}` contradicts `data_stream => true`: the stream is named by `data_stream_type`, \
                 `data_stream_dataset` and `data_stream_namespace`, and takes the action `create` only"
            );
            options.error(other, message);
            return None;
        }
        let mut parts = DEFAULTS.map(ToOwned::to_owned);
        for ((name, given), part) in names.into_iter().zip(given).zip(&mut parts) {
            let Some(given) = given else { continue };
            let longest = 100;
            if given.is_empty()
                || given.len() > longest
                || given.contains(FORBIDDEN)
                || given.contains('-')
            {
                let message =
                    format!("`{name}` must be 1 to {longest} bytes without `-` and the like");
                options.error(name, message);
            }
            *part = given;
        }
        Some(Self {
            parts,
            auto_routing: auto_routing.unwrap_or(true),
            sync_fields: sync_fields.unwrap_or(true),
        })
    }

    /// The stream of events that do not say which.
    pub fn name(&self) -> String {
        self.parts.join("-")
    }

    /// Appends the name of the event's stream.
    pub(super) fn write_name(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        let own = self.own(event);
        for (at, (part, name)) in self.parts.iter().zip(&PARTS).enumerate() {
            if at > 0 {
                out.push(b'-');
            }
            let own = own.and_then(|own| own.get(name)).and_then(Value::as_text);
            out.extend_from_slice(own.unwrap_or(part.as_bytes()));
        }
    }

    /// Appends the document, with the fields that say which stream it is in.
    pub(super) fn write_document(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        let known = event.fields.get(&FIELD);
        let lacks = |object: &Object<'_>| PARTS.iter().any(|name| object.get(name).is_none());
        match known {
            _ if !self.sync_fields => write_json(event, out),
            None => {
                write_json(event, out);
                out.pop();
                if !event.fields.is_empty() {
                    out.push(b',');
                }
                out.extend_from_slice(b"\"data_stream\":");
                self.write_fields(None, out);
                out.push(b'}');
            }
            Some(Value::Object(object)) if lacks(object) => {
                out.push(b'{');
                for (at, (name, value)) in event.fields.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    write_json_text(name.as_str().as_bytes(), out);
                    out.push(b':');
                    if name.is(&FIELD) {
                        self.write_fields(Some(object), out);
                    } else {
                        write_json_value(value, out);
                    }
                }
                out.push(b'}');
            }
            Some(_) => write_json(event, out),
        }
    }

    fn own<'e, 'b>(&self, event: &'e Event<'b>) -> Option<&'e Object<'b>> {
        match event.fields.get(&FIELD) {
            Some(Value::Object(object)) if self.auto_routing => Some(object),
            _ => None,
        }
    }

    /// The object `data_stream`: what is known of it, and the parts that are not.
    fn write_fields(&self, known: Option<&Object<'_>>, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut first = true;
        let mut member = |name: &str, out: &mut Vec<u8>| {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            write_json_text(name.as_bytes(), out);
            out.push(b':');
        };
        for (name, value) in known.into_iter().flat_map(Object::iter) {
            member(name.as_str(), out);
            write_json_value(value, out);
        }
        for (part, name) in self.parts.iter().zip(&PARTS) {
            if known.is_none_or(|known| known.get(name).is_none()) {
                member(name.as_str(), out);
                write_json_text(part.as_bytes(), out);
            }
        }
        out.push(b'}');
    }
}

/// The first option that says that events do not go to data streams.
fn contradiction(options: &mut Options<'_>) -> Option<&'static str> {
    let action = options
        .string("action")
        .is_some_and(|action| action != "create");
    let manages = options.boolean("manage_template") == Some(true);
    let rolls = options
        .string("ilm_enabled")
        .is_some_and(|enabled| enabled == "true");
    [
        ("action", action),
        ("manage_template", manages),
        ("ilm_enabled", rolls),
    ]
    .into_iter()
    .chain(
        [
            "index",
            "document_type",
            "template",
            "template_name",
            "template_api",
            "version",
            "version_type",
            "upsert",
            "doc_as_upsert",
        ]
        .map(|name| (name, options.has(name))),
    )
    .find(|(_, set)| *set)
    .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use bumpalo::Bump;
    use skidder_pipeline::event::Timestamp;
    use skidder_pipeline::language::{Diagnostics, ParseOptions, SourceMap, Statement, parse};

    use super::*;

    fn read(text: &str, ecs: bool) -> (Option<DataStream>, String) {
        let sources = SourceMap::single("t", format!("output {{ elasticsearch {{ {text} }} }}"));
        let mut diagnostics = Diagnostics::new();
        let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
        let Statement::Plugin(plugin) = &config.outputs[0] else {
            panic!("no plugin")
        };
        let mut options = Options::new(plugin, "output", &mut diagnostics);
        let read = DataStream::from_options(&mut options, ecs);
        (read, diagnostics.render(&sources, false))
    }

    #[test]
    fn when_events_go_to_data_streams() {
        for (text, ecs, expected) in [
            ("", false, false),
            ("", true, true),
            ("data_stream => auto", false, false),
            ("data_stream => auto index => xx", true, false),
            ("index => xx", true, false),
            ("action => create", true, true),
            ("data_stream => false", true, false),
            ("data_stream => true", false, true),
        ] {
            let (read, findings) = read(text, ecs);
            assert_eq!(
                (read.is_some(), findings.as_str()),
                (expected, ""),
                "{text} {ecs}"
            );
        }
        for (text, words) in [
            ("data_stream => true index => xx", "`index` contradicts"),
            (
                "data_stream => true action => index",
                "`action` contradicts",
            ),
            ("data_stream_dataset => xx", "needs `data_stream => true`"),
            (
                "data_stream => true data_stream_dataset => \"a-b\"",
                "without `-`",
            ),
            ("data_stream => maybe", "must be `true`"),
        ] {
            let (_, findings) = read(text, false);
            assert!(findings.contains(words), "{text}: {findings}");
        }
    }

    #[test]
    fn names_and_documents() {
        let arena = Bump::new();
        for (options, event, name, stream) in [
            (
                "",
                "{}",
                "logs-generic-default",
                r#"{"type":"logs","dataset":"generic","namespace":"default"}"#,
            ),
            (
                "data_stream_dataset => nginx",
                r#"{"data_stream":{"namespace":"prod","x":1}}"#,
                "logs-nginx-prod",
                r#"{"namespace":"prod","x":1,"type":"logs","dataset":"nginx"}"#,
            ),
            (
                "data_stream_auto_routing => false",
                r#"{"data_stream":{"namespace":"prod","type":"a","dataset":"b"}}"#,
                "logs-generic-default",
                r#"{"namespace":"prod","type":"a","dataset":"b"}"#,
            ),
            (
                "data_stream_sync_fields => false",
                r#"{"data_stream":{"dataset":"b"}}"#,
                "logs-b-default",
                r#"{"dataset":"b"}"#,
            ),
            (
                "",
                r#"{"data_stream":"text"}"#,
                "logs-generic-default",
                r#""text""#,
            ),
        ] {
            let (data_stream, findings) = read(&format!("data_stream => true {options}"), false);
            assert_eq!(findings, "");
            let data_stream = data_stream.unwrap();
            let event = Event::from_json(event.as_bytes(), Timestamp::new(0, 0), &arena).unwrap();
            let (mut written, mut document) = (Vec::new(), Vec::new());
            data_stream.write_name(&event, &mut written);
            data_stream.write_document(&event, &mut document);
            assert_eq!(String::from_utf8(written).unwrap(), name);
            let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
            let expected: serde_json::Value = serde_json::from_str(stream).unwrap();
            assert_eq!(document["data_stream"], expected);
            assert!(document["@timestamp"].is_string());
        }
    }
}
