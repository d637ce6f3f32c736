//! The codec `cef`: the Common Event Format, which firewalls and the like write.
//!
//! ```text
//! CEF:Version|Vendor|Product|Device Version|Signature ID|Name|Severity|key=value key=value …
//! ```
//!
//! A header of syslog may stand before it. In the header a backslash takes the meaning off a `|` and a backslash, in
//! the extension off `=` and a backslash, and `\n` and `\r` are line ends there. A value goes on until a blank
//! behind which a key and `=` stand.
//!
//! INVARIANTS: time linear in the text. What is no such message is the `message` of an event with the tag
//! `_cefparsefailure`, and so is one with more than [`MAX_EXTENSIONS`] fields.
//!
//! COMPAT (logstash-codec-cef): names with ECS and without, times read with ECS only, the rules for keys.
//! Without `delimiter` what is decoded at once is one message; inputs that read lines set it. Empty lines are passed
//! over.

mod dictionary;
mod time;

use std::collections::HashMap;
use std::sync::Arc;

use bumpalo::Bump;

use self::dictionary::{
    ALIASES, FIELDS, HEADER, HIGHEST_NUMBER, NUMBERED, OF_HOST, SYSLOG, TIMES, ZONE,
};
use self::time::Times;
use super::build::{self, CodecDefaults};
use super::{Codec, Decoder, Sink, Token, Tokenizer};
use crate::event::{Event, Key, Path, TIMESTAMP, Timestamp, Value, path, write_json_value};
use crate::language::{EscapeStyle, FieldReference, Options};
use crate::number_text::write_ruby_float;
use crate::template::{Template, set_named, write_value};
use crate::time::{Locale, Zone};

/// How many fields the extension of a message may have.
pub const MAX_EXTENSIONS: usize = 1_000;

/// Tag of an event whose text is no message.
const FAILURE: &[u8] = b"_cefparsefailure";

/// The codec `cef`.
#[derive(Clone, Debug)]
pub struct Cef {
    reader: Arc<Reader>,
    writer: Arc<Writer>,
    delimiter: Option<Arc<[u8]>>,
    limit: usize,
}

/// How messages are read.
#[derive(Debug)]
struct Reader {
    header: Vec<FieldReference>,
    syslog: FieldReference,
    /// By name and by key.
    fields: HashMap<String, Field>,
    raw: Option<FieldReference>,
    times: Times,
    escape_style: EscapeStyle,
}

/// Where a field of the extension goes.
#[derive(Clone, Debug)]
struct Field {
    reference: FieldReference,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Time,
    Zone,
}

/// How messages are written.
#[derive(Debug)]
struct Writer {
    /// With what stands there if it is empty.
    header: [(Template, &'static str); 5],
    severity: Template,
    /// Keys, and the fields whose values they have.
    fields: Vec<(String, Path)>,
}

/// The severity of an event that names none.
const DEFAULT_SEVERITY: &str = "6";

impl Cef {
    /// Reads the options of the codec.
    pub(super) fn from_options(options: &mut Options<'_>, defaults: CodecDefaults) -> Option<Self> {
        let ecs = build::keep_original(options, defaults);
        let devices = [("observer", false), ("host", true)];
        let is_host = options.enumeration("device", &devices).unwrap_or(false);
        // COMPAT: in a configuration without escapes these are written so.
        let delimiter = options
            .string("delimiter")
            .map(|text| text.replace("\\r", "\r").replace("\\n", "\n"));
        let delimiter = delimiter.filter(|text| !text.is_empty());
        let locale = options.string("locale").unwrap_or_else(|| "en".to_owned());
        let known_locale = Locale::find(&locale);
        if known_locale.is_none() {
            let known: Vec<_> = Locale::languages().collect();
            options.error(
                "locale",
                format!(
                    "the names of months in `{locale}` are not known; known are {}",
                    known.join(", ")
                ),
            );
        }
        let zone = match options.string("default_timezone") {
            None => Some(Zone::system()),
            Some(name) => {
                let zone = Zone::find(&name);
                if zone.is_none() {
                    let message = format!("there is no time zone `{name}`");
                    options.error("default_timezone", message);
                }
                zone
            }
        };
        let raw = options.field("raw_data_field").map(|field| field.value);
        let limit = build::size_limit(options);
        let writer = Writer::from_options(options, defaults.escape_style, ecs, is_host);
        let header = HEADER
            .iter()
            .map(|(name, ecs_name)| reference(if ecs { ecs_name } else { name }));
        let reader = Reader {
            header: header.collect(),
            syslog: reference(if ecs { SYSLOG.1 } else { SYSLOG.0 }),
            fields: fields(ecs, is_host),
            raw,
            times: Times::new(zone?, known_locale?)?,
            escape_style: defaults.escape_style,
        };
        Some(Self {
            reader: Arc::new(reader),
            writer: Arc::new(writer?),
            delimiter: delimiter.map(|text| text.as_bytes().into()),
            limit,
        })
    }
}

fn reference(text: &str) -> FieldReference {
    FieldReference::parse(text).expect("a name in the source is a reference")
}

/// Name, key and reference with ECS of every field, in the order of the dictionary.
fn all_fields(is_host: bool) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for (name, key, ecs) in NUMBERED {
        for number in 1..=HIGHEST_NUMBER {
            for (behind, part) in [("", "value"), ("Label", "label")] {
                all.push((
                    format!("{name}{number}{behind}"),
                    format!("{key}{number}{behind}"),
                    format!("[cef][{ecs}_{number}][{part}]"),
                ));
            }
        }
    }
    for known in FIELDS {
        let host = OF_HOST.iter().find(|(name, _)| *name == known.name);
        let host = host.filter(|_| is_host);
        let key = if known.key.is_empty() {
            known.name
        } else {
            known.key
        };
        let ecs = host.map_or(known.ecs, |(_, ecs)| ecs);
        all.push((known.name.into(), key.into(), ecs.into()));
    }
    all
}

/// What is read by its name, its key or a name it had.
fn fields(ecs: bool, is_host: bool) -> HashMap<String, Field> {
    let mut fields = HashMap::new();
    for (name, key, ecs_name) in all_fields(is_host) {
        let kind = match &*name {
            _ if !ecs => Kind::Text,
            ZONE => Kind::Zone,
            name if TIMES.contains(&name) => Kind::Time,
            _ => Kind::Text,
        };
        let field = Field {
            reference: reference(if ecs { &ecs_name } else { &name }),
            kind,
        };
        fields.insert(key, field.clone());
        fields.insert(name, field);
    }
    for (alias, name) in ALIASES {
        let field = match fields.get(name) {
            Some(field) if ecs => field.clone(),
            _ => Field {
                reference: reference(alias),
                kind: Kind::Text,
            },
        };
        fields.insert(alias.to_owned(), field);
    }
    fields
}

impl Codec for Cef {
    fn decoder(&self) -> Option<Box<dyn Decoder>> {
        let tokenizer = |delimiter: &Arc<[u8]>| Tokenizer::new(delimiter, self.limit);
        Some(Box::new(CefDecoder {
            reader: Arc::clone(&self.reader),
            tokenizer: self.delimiter.as_ref().map(tokenizer),
        }))
    }

    fn takes_pieces(&self) -> bool {
        self.delimiter.is_some()
    }

    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        self.writer.write(event, out);
        if let Some(delimiter) = &self.delimiter {
            out.extend_from_slice(delimiter);
        }
    }
}

struct CefDecoder {
    reader: Arc<Reader>,
    tokenizer: Option<Tokenizer>,
}

impl Decoder for CefDecoder {
    fn decode<'b>(&mut self, data: &'b [u8], sink: &mut Sink<'_, 'b>) {
        let (reader, arena) = (&self.reader, sink.arena);
        match &mut self.tokenizer {
            Some(tokenizer) => tokenizer.feed(data, arena, |token| reader.line(token, sink)),
            None => reader.line(
                Token {
                    bytes: data,
                    is_piece: false,
                },
                sink,
            ),
        }
    }

    fn flush(&mut self, sink: &mut Sink<'_, '_>) {
        let (reader, arena) = (&self.reader, sink.arena);
        if let Some(tokenizer) = &mut self.tokenizer {
            tokenizer.flush(arena, |token| reader.line(token, sink));
        }
    }

    fn pending(&self) -> usize {
        self.tokenizer.as_ref().map_or(0, Tokenizer::pending)
    }
}

impl Reader {
    fn line<'b>(&self, token: Token<'b>, sink: &mut Sink<'_, 'b>) {
        let text = token.bytes;
        if text.trim_ascii().is_empty() {
            return;
        }
        let read = (!token.is_piece).then(|| self.read(text, sink)).flatten();
        match read {
            Some(event) => sink.events.push(event),
            None => sink.push_failure(text, FAILURE),
        }
    }

    /// The event of a message; nothing if it is none.
    fn read<'b>(&self, data: &'b [u8], sink: &Sink<'_, 'b>) -> Option<Event<'b>> {
        let arena = sink.arena;
        let text = std::str::from_utf8(data).ok()?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        // COMPAT: some connectors put quotes around it.
        let text = match text.strip_prefix('"') {
            Some(inside) => inside.strip_suffix('"').unwrap_or(inside),
            None => text,
        };
        if text.contains('\n') {
            return None;
        }
        let mut event = Event::with_timestamp_in(sink.now, arena);
        if let Some(raw) = &self.raw {
            set(&mut event, raw, Value::Text(data), arena);
        }
        let mut rest = text;
        for (at, reference) in self.header.iter().enumerate() {
            let (mut part, behind) = header_part(rest, arena)?;
            rest = behind;
            if at == 0 {
                if let Some((before, version)) = part.rsplit_once(' ') {
                    let before = Value::Text(before.as_bytes());
                    set(&mut event, &self.syslog, before, arena);
                    part = version;
                }
                part = part.strip_prefix("CEF:").unwrap_or(part);
            }
            set(&mut event, reference, Value::Text(part.as_bytes()), arena);
        }
        self.extension(rest.trim_matches(is_blank), &mut event, sink)?;
        Some(event)
    }

    fn extension<'b>(
        &self,
        text: &'b str,
        event: &mut Event<'b>,
        sink: &Sink<'_, 'b>,
    ) -> Option<()> {
        let arena = sink.arena;
        let mut times = Vec::new();
        let mut zone = None;
        let mut rest = text;
        let mut count = 0;
        while let Some((key, behind)) = key(rest) {
            let (written, next) = value(behind);
            rest = next;
            count += 1;
            if count > MAX_EXTENSIONS {
                return None;
            }
            let value = unescaped(written, b"\\=nr", arena);
            let Some(field) = self.fields.get(key) else {
                let value = Value::Text(value.as_bytes());
                self.set_unknown(key, value, event, arena);
                continue;
            };
            match field.kind {
                Kind::Time => times.push((&field.reference, value)),
                kind => {
                    if kind == Kind::Zone {
                        zone = Some(value);
                    }
                    set(
                        event,
                        &field.reference,
                        Value::Text(value.as_bytes()),
                        arena,
                    );
                }
            }
        }
        if !rest.is_empty() {
            return None;
        }
        for (reference, text) in times {
            let value = if text.trim_matches(is_blank).is_empty() {
                Value::Null
            } else {
                Value::Time(self.times.read(text, zone, sink.now)?)
            };
            set(event, reference, value, arena);
        }
        Some(())
    }

    /// Sets a field of which nothing is known. COMPAT: `name[0]` is the field `[name][0]`.
    fn set_unknown<'b>(
        &self,
        key: &'b str,
        value: Value<'b>,
        event: &mut Event<'b>,
        arena: &'b Bump,
    ) {
        let name = match key.split_once('[') {
            Some((name, index)) => &*arena.alloc_str(&format!("[{name}][{index}")),
            None => key,
        };
        // A name that is none, or a time that is a text, is left out by this; no key can be either.
        set_named(
            event,
            crate::event::Name::new(name),
            value,
            self.escape_style,
            arena,
        );
    }
}

/// Sets a field, but never a time to what is none.
fn set<'b>(event: &mut Event<'b>, reference: &FieldReference, value: Value<'b>, arena: &'b Bump) {
    let keys = reference.keys();
    let is_time = !reference.is_metadata() && keys.len() == 1 && keys[0] == TIMESTAMP.as_str();
    if is_time && !matches!(value, Value::Time(_)) {
        return;
    }
    let keys = keys.iter().map(|key| Key::new(arena.alloc_str(key)));
    path::set(event, reference.is_metadata(), keys, value, arena);
}

/// The part of the header at the start of a text, and what stands behind its `|`.
fn header_part<'b>(text: &'b str, arena: &'b Bump) -> Option<(&'b str, &'b str)> {
    let bytes = text.as_bytes();
    let mut end = 0;
    loop {
        end += memchr::memchr2(b'|', b'\\', bytes.get(end..)?)?;
        if bytes[end] == b'|' {
            break;
        }
        end += match bytes.get(end + 1) {
            Some(b'|' | b'\\') => 2,
            _ => 1,
        };
    }
    Some((unescaped(&text[..end], b"\\|", arena), &text[end + 1..]))
}

/// A text with what a backslash stands before, if it is one of these characters; `n` and `r` are line
/// ends.
fn unescaped<'b>(text: &'b str, characters: &[u8], arena: &'b Bump) -> &'b str {
    if !text.contains('\\') {
        return text;
    }
    let mut plain = bumpalo::collections::String::with_capacity_in(text.len(), arena);
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        let escaped = |next: &char| {
            character == '\\' && u8::try_from(*next).is_ok_and(|next| characters.contains(&next))
        };
        plain.push(match rest.next_if(escaped) {
            Some('n') => '\n',
            Some('r') => '\r',
            Some(other) => other,
            None => character,
        });
    }
    plain.into_bump_str()
}

/// What separates fields of the extension.
fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n' | '\x0B' | '\x0C' | '\0')
}

/// The key at the start of a text, and what stands behind its `=`.
///
/// COMPAT: letters, digits and underscores; then perhaps more behind points, and an index in brackets.
fn key(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let count = |from: usize, belongs: &dyn Fn(u8) -> bool| {
        let rest = bytes[from..].iter();
        rest.take_while(|byte| belongs(**byte)).count()
    };
    let mut end = count(0, &|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if end == 0 {
        return None;
    }
    while bytes.get(end) == Some(&b'.') {
        let ends = |byte: u8| {
            matches!(byte, b'.' | b'=' | b'|' | b'\\' | b'[' | b']') || is_blank(char::from(byte))
        };
        let length = count(end + 1, &|byte| !ends(byte));
        if length == 0 {
            return None;
        }
        end += 1 + length;
    }
    if bytes.get(end) == Some(&b'[') {
        let digits = count(end + 1, &|byte| byte.is_ascii_digit());
        if digits == 0 || bytes.get(end + 1 + digits) != Some(&b']') {
            return None;
        }
        end += digits + 2;
    }
    let behind = text[end..].strip_prefix('=')?;
    Some((&text[..end], behind))
}

/// The value at the start of a text, and the next key.
fn value(text: &str) -> (&str, &str) {
    let mut from = 0;
    while let Some(blank) = text[from..].find(is_blank) {
        let end = from + blank;
        let next = text[end..].trim_start_matches(is_blank);
        if key(next).is_some() {
            return (&text[..end], next);
        }
        from = text.len() - next.len();
    }
    (text, "")
}

impl Writer {
    fn from_options(
        options: &mut Options<'_>,
        escape_style: EscapeStyle,
        ecs: bool,
        is_host: bool,
    ) -> Option<Self> {
        let mut template = |name: &'static str, default: &'static str| {
            let text = options.string(name).unwrap_or_else(|| default.to_owned());
            match Template::parse(&text, escape_style) {
                Ok(template) => Some((template, default)),
                Err(error) => {
                    options.error(name, error.to_string());
                    None
                }
            }
        };
        let header = [
            template("vendor", "Elasticsearch"),
            template("product", "Logstash"),
            template("version", "1.0"),
            template("signature", "Logstash"),
            template("name", "Logstash"),
        ];
        let severity = template("severity", DEFAULT_SEVERITY);
        let short = options.boolean("reverse_mapping").unwrap_or(false);
        let keys = keys(ecs, is_host, short);
        let mut fields = Vec::new();
        for field in options.strings("fields").unwrap_or_default() {
            let key = keys.get(&field.value).unwrap_or(&field.value);
            let key = key.chars().filter(char::is_ascii_alphanumeric).collect();
            if let Some(reference) = options.field_of(&field) {
                fields.push((key, Path::from(&reference.value)));
            }
        }
        let [vendor, product, version, signature, name] = header;
        Some(Self {
            header: [vendor?, product?, version?, signature?, name?],
            severity: severity?.0,
            fields,
        })
    }

    fn write(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        // Templates that ask for the time now get that of the event: what is encoded twice is the
        // same twice.
        let now = event.timestamp().unwrap_or(Timestamp::new(0, 0));
        let mut text = Vec::new();
        out.extend_from_slice(b"CEF:0|");
        for (template, default) in &self.header {
            text.clear();
            template.write(event, now, &mut text);
            let part = if text.is_empty() {
                default.as_bytes()
            } else {
                &text
            };
            write_escaped(part, b"|", b" ", out);
            out.push(b'|');
        }
        text.clear();
        self.severity.write(event, now, &mut text);
        out.extend_from_slice(severity(&text).as_bytes());
        out.push(b'|');
        let mut is_first = true;
        for (key, path) in &self.fields {
            text.clear();
            match event.get(path) {
                None | Some(Value::Null) => continue,
                Some(value @ (Value::Array(_) | Value::Object(_))) => {
                    write_json_value(value, &mut text);
                }
                Some(Value::Float(number)) => write_ruby_float(*number, &mut text),
                Some(value) => write_value(value, &mut text),
            }
            if !std::mem::take(&mut is_first) {
                out.push(b' ');
            }
            out.extend_from_slice(key.as_bytes());
            out.push(b'=');
            write_escaped(&text, b"=", b"\\n", out);
        }
    }
}

/// The keys that fields are written with, by their names and references.
fn keys(ecs: bool, is_host: bool, short: bool) -> HashMap<String, String> {
    let mut keys = HashMap::new();
    for (name, key, ecs_name) in all_fields(is_host) {
        let written = if short { key } else { name.clone() };
        if ecs {
            keys.insert(ecs_name, written.clone());
        }
        keys.insert(name, written);
    }
    for (alias, name) in ALIASES {
        let written = keys.get(name).filter(|_| short).cloned();
        keys.insert(
            alias.to_owned(),
            written.unwrap_or_else(|| alias.to_owned()),
        );
    }
    keys
}

/// A whole number from 0 to 10, or the default.
fn severity(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let number: Option<f64> = text.trim().parse().ok();
    let number = number.filter(|number| (0.0..=10.0).contains(number) && number.fract() == 0.0);
    number.map_or_else(
        || DEFAULT_SEVERITY.to_owned(),
        |number| format!("{number:.0}"),
    )
}

/// Appends a text with a backslash before one of its own and before `special`, and with something else for
/// line ends.
fn write_escaped(text: &[u8], special: &[u8], line_end: &[u8], out: &mut Vec<u8>) {
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                out.extend_from_slice(line_end);
            }
            b'\n' => out.extend_from_slice(line_end),
            _ => {
                if byte == b'\\' || special.contains(&byte) {
                    out.push(b'\\');
                }
                out.push(byte);
            }
        }
    }
}

#[cfg(test)]
mod tests;
