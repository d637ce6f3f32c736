//! The codec `graphite`: a metric a line, `name value seconds`.
//!
//! Decoded, a metric is the field of its name with the value as a number, at its time. Encoded, an event is the metrics that
//! `metrics` makes of it, or its fields with `fields_are_metrics`.
//!
//! COMPAT (logstash-codec-graphite): what values are as numbers, which names are left out. A line that is no metric is
//! the `message` of an event with the tag `_graphiteparsefailure`, where Logstash makes zeros or stops; `-1` as a
//! time is now, as Graphite has it. `metrics_format` is filled for each event, not only for the first.

use super::build::CodecDefaults;
use super::{Codec, DECODE_SIZE_LIMIT, Decoder, Sink, Token, Tokenizer};
use crate::event::{Event, Name, TAGS, TIMESTAMP, Timestamp, VERSION, Value};
use crate::language::Options;
use crate::number::float_prefix;
use crate::number_text::{write_ruby_float, write_whole};
use crate::regex_dialect::Regex;
use crate::template::{Template, write_value};

use std::sync::Arc;

/// Tag of an event whose line is no metric.
const FAILURE: &[u8] = b"_graphiteparsefailure";

/// What stands for the name of a metric in `metrics_format`.
const PLACEHOLDER: &[u8] = b"*";

/// The codec `graphite`.
#[derive(Clone, Debug)]
pub struct Graphite {
    writer: Arc<Writer>,
}

/// What the options say.
#[derive(Debug)]
struct Writer {
    metrics: Vec<(Template, Template)>,
    fields_are_metrics: bool,
    include: Vec<Regex>,
    exclude: Vec<Regex>,
    format: Template,
}

impl Graphite {
    /// Reads the options of the codec.
    pub(super) fn from_options(options: &mut Options<'_>, defaults: CodecDefaults) -> Option<Self> {
        let style = defaults.escape_style;
        let mut metrics = Vec::new();
        for (name, value) in options.string_hash("metrics").unwrap_or_default() {
            let mut template = |text: &str| match Template::parse(text, style) {
                Ok(template) => Some(template),
                Err(error) => {
                    options.error_in("metrics", text, error.to_string());
                    None
                }
            };
            metrics.extend(template(&name.value).zip(template(&value.value)));
        }
        let format = options
            .string("metrics_format")
            .unwrap_or_else(|| "*".into());
        let format = match Template::parse(&format, style) {
            Ok(format) => Some(format),
            Err(error) => {
                options.error("metrics_format", error.to_string());
                None
            }
        };
        let writer = Writer {
            metrics,
            fields_are_metrics: options.boolean("fields_are_metrics").unwrap_or(false),
            include: expressions(options, "include_metrics", ".*"),
            exclude: expressions(options, "exclude_metrics", r"%\{[^}]+\}"),
            format: format?,
        };
        Some(Self {
            writer: Arc::new(writer),
        })
    }
}

/// Reads an option that is a list of expressions.
fn expressions(options: &mut Options<'_>, name: &'static str, default: &str) -> Vec<Regex> {
    let texts = match options.strings(name) {
        Some(texts) => texts.into_iter().map(|text| text.value).collect(),
        None => vec![default.to_owned()],
    };
    let mut expressions = Vec::new();
    for text in texts {
        match Regex::new(&text) {
            Ok(expression) => expressions.push(expression),
            Err(error) => options.error_in(name, &text, error.to_string()),
        }
    }
    expressions
}

impl Codec for Graphite {
    fn decoder(&self) -> Option<Box<dyn Decoder>> {
        Some(Box::new(GraphiteDecoder(Tokenizer::new(
            b"\n",
            DECODE_SIZE_LIMIT,
        ))))
    }

    fn takes_pieces(&self) -> bool {
        true
    }

    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        self.writer.write(event, out);
    }
}

struct GraphiteDecoder(Tokenizer);

impl Decoder for GraphiteDecoder {
    fn decode<'b>(&mut self, data: &'b [u8], sink: &mut Sink<'_, 'b>) {
        let arena = sink.arena;
        self.0.feed(data, arena, |token| line(token, sink));
    }

    fn flush(&mut self, sink: &mut Sink<'_, '_>) {
        let arena = sink.arena;
        self.0.flush(arena, |token| line(token, sink));
    }

    fn pending(&self) -> usize {
        self.0.pending()
    }
}

fn line<'b>(token: Token<'b>, sink: &mut Sink<'_, 'b>) {
    if token.bytes.trim_ascii().is_empty() {
        return;
    }
    let metric = (!token.is_piece).then(|| metric(token.bytes, sink.now));
    match metric.flatten() {
        Some((name, value, time)) => {
            let mut event = Event::with_timestamp_in(time, sink.arena);
            event.fields.push_new(Name::new(name), Value::Float(value));
            sink.events.push(event);
        }
        None => sink.push_failure(token.bytes, FAILURE),
    }
}

/// The parts of a line; nothing if it is no metric.
fn metric(line: &[u8], now: Timestamp) -> Option<(&str, f64, Timestamp)> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let (name, value, time) = (words.next()?, words.next()?, words.next()?);
    let own = [TIMESTAMP, VERSION, TAGS];
    if words.next().is_some() || own.iter().any(|own| own.as_str() == name) {
        return None;
    }
    let value: f64 = value.parse().ok().filter(|value: &f64| value.is_finite())?;
    let time: f64 = time.parse().ok()?;
    if !(-1.0..=MAX_SECONDS).contains(&time) {
        return None;
    }
    let time = if time < 0.0 {
        now
    } else {
        Timestamp::new(time as i64, 0)
    };
    Some((name, value, time))
}

/// The end of the year 9999.
const MAX_SECONDS: f64 = 253_402_300_799.0;

impl Writer {
    fn write(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        let now = event.timestamp().unwrap_or(Timestamp::new(0, 0));
        let mut format = Vec::new();
        self.format.write(event, now, &mut format);
        let mut text = Vec::new();
        if self.fields_are_metrics {
            for (name, value) in event.fields.iter() {
                if name.is(&TIMESTAMP) || name.is(&VERSION) {
                    continue;
                }
                text.clear();
                match value {
                    Value::Null => {}
                    // An integer of Ruby as a float.
                    Value::Integer(number) => write_ruby_float(*number as f64, &mut text),
                    Value::Float(number) => write_ruby_float(*number, &mut text),
                    other => write_value(other, &mut text),
                }
                self.write_metric(&format, name.as_str().as_bytes(), &text, now, out);
            }
            return;
        }
        let mut name = Vec::new();
        for (named, value) in &self.metrics {
            name.clear();
            text.clear();
            named.write(event, now, &mut name);
            value.write(event, now, &mut text);
            self.write_metric(&format, &name, &text, now, out);
        }
    }

    fn write_metric(
        &self,
        format: &[u8],
        name: &[u8],
        value: &[u8],
        time: Timestamp,
        out: &mut Vec<u8>,
    ) {
        let matches = |list: &[Regex]| list.iter().any(|each| each.is_match(name));
        // COMPAT: without an expression all fields are metrics, but none of `metrics` is one.
        let is_included =
            matches(&self.include) || self.include.is_empty() && self.fields_are_metrics;
        if !is_included || matches(&self.exclude) {
            return;
        }
        let mut rest = format;
        while let Some(at) = memchr::memchr(PLACEHOLDER[0], rest) {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(name);
            rest = &rest[at + PLACEHOLDER.len()..];
        }
        out.extend_from_slice(rest);
        out.push(b' ');
        write_ruby_float(float_prefix(value), out);
        out.push(b' ');
        write_whole(time.seconds(), out);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::tests::{codec, decoded, encoded};

    #[test]
    fn metrics_are_read() {
        assert_eq!(
            decoded(
                "graphite",
                false,
                &[
                    b"a.b 1.5 1500000000\nc -2e3",
                    b" -1\r\n\nd nan 1\nonly two\n@timestamp 1 1\na 1 1 1\n\xff 1 1\ne 1 soon"
                ]
            ),
            [
                r#"{"a.b":1.5}"#,
                r#"{"c":-2000.0}"#,
                r#"{"message":"d nan 1","tags":["_graphiteparsefailure"]}"#,
                r#"{"message":"only two","tags":["_graphiteparsefailure"]}"#,
                r#"{"message":"@timestamp 1 1","tags":["_graphiteparsefailure"]}"#,
                r#"{"message":"a 1 1 1","tags":["_graphiteparsefailure"]}"#,
                "{\"message\":\"\u{FFFD} 1 1\",\"tags\":[\"_graphiteparsefailure\"]}",
                r#"{"message":"e 1 soon","tags":["_graphiteparsefailure"]}"#,
            ]
        );
    }

    #[test]
    fn the_time_is_that_of_the_line() {
        use crate::event::{TIMESTAMP, Timestamp, Value};
        let arena = bumpalo::Bump::new();
        let mut events = Vec::new();
        let now = Timestamp::new(7, 5);
        let mut sink = super::Sink {
            arena: &arena,
            now,
            events: &mut events,
        };
        let codec = codec("graphite", false).unwrap();
        codec
            .decoder()
            .unwrap()
            .decode(b"a 1 1500000000.9\nb 1 -1\n", &mut sink);
        let times = events.iter().map(|event| event.fields.get(&TIMESTAMP));
        assert_eq!(
            times.collect::<Vec<_>>(),
            [
                Some(&Value::Time(Timestamp::new(1_500_000_000, 0))),
                Some(&Value::Time(now))
            ]
        );
    }

    #[test]
    fn metrics_are_written() {
        let event = r#"{"host":"web1","load":1.5,"n":12,"big":1e20,"text":"7x","@timestamp":"2017-07-14T02:40:00.500Z"}"#;
        for (text, expected) in [
            (
                r#"graphite { metrics => { "%{host}.load" => "%{load}" "%{none}.x" => "1" "n" => "%{n}" } }"#,
                "web1.load 1.5 1500000000\nn 12.0 1500000000\n",
            ),
            (
                r#"graphite { fields_are_metrics => true metrics_format => "%{host}.foo.*.sum" exclude_metrics => ["^h"] include_metrics => ["o", "^n$", "g"] }"#,
                "web1.foo.load.sum 1.5 1500000000\nweb1.foo.n.sum 12.0 1500000000\nweb1.foo.big.sum 1.0e+20 1500000000\n",
            ),
            (
                "graphite { fields_are_metrics => true metrics => { foo => 4 } include_metrics => [text] }",
                "text 7.0 1500000000\n",
            ),
            ("graphite", ""),
        ] {
            assert_eq!(encoded(text, event), expected, "{text}");
        }
        for (text, part) in [
            ("graphite { include_metrics => ['('] }", "'('"),
            ("graphite { metrics => { name => '%{[b}' } }", "[b"),
            ("graphite { metrics_format => '%{[b}' }", "[b"),
        ] {
            let told = codec(text, false).unwrap_err();
            assert!(told.contains(part), "{told}");
        }
    }
}
