//! From `codec => name { … }` to a codec.

use std::sync::Arc;

use super::{
    Cef, Charset, Codec, Csv, Dots, EsBulk, Graphite, GzipLines, Json, JsonLines, Line, Multiline,
    Plain, RubyDebug,
};
use crate::compile::{Files, NoFiles};
use crate::language::{Code, Diagnostic, Diagnostics, EscapeStyle, Options, Plugin};
use crate::template::Template;

/// What the options of a codec do not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct CodecDefaults {
    /// Events keep their text in `[event][original]`, as the Elastic Common Schema asks for.
    pub ecs: bool,
    /// How brackets in field names are escaped.
    pub escape_style: EscapeStyle,
}

/// The names of all codecs.
pub const CODECS: &[&str] = &[
    "cef",
    "csv",
    "dots",
    "es_bulk",
    "graphite",
    "gzip_lines",
    "json",
    "json_lines",
    "line",
    "multiline",
    "plain",
    "rubydebug",
];

/// Makes the codec that a configuration asks for; what is wrong goes to `diagnostics`.
pub fn build_codec(
    plugin: &Plugin,
    defaults: CodecDefaults,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Codec>> {
    build_codec_with(plugin, defaults, &NoFiles, diagnostics)
}

/// The same for one that may name files (`patterns_dir`).
pub fn build_codec_with(
    plugin: &Plugin,
    defaults: CodecDefaults,
    files: &dyn Files,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<dyn Codec>> {
    let name = plugin.name.value.as_str();
    if !CODECS.contains(&name) {
        diagnostics.push(
            Diagnostic::error(plugin.name.span, format!("there is no codec `{name}`"))
                .code(Code::UnknownPlugin)
                .did_you_mean(name, CODECS.iter().copied()),
        );
        return None;
    }
    let mut options =
        Options::new(plugin, "codec", diagnostics).with_escape_style(defaults.escape_style);
    // Common to all codecs: names for the metrics.
    options.string("id");
    options.boolean("enable_metric");
    let codec: Option<Arc<dyn Codec>> = match name {
        "cef" => Cef::from_options(&mut options, defaults).map(shared),
        "csv" => Csv::from_options(&mut options, defaults).map(shared),
        "es_bulk" => Some(shared(EsBulk::from_options(&mut options, defaults))),
        "graphite" => Graphite::from_options(&mut options, defaults).map(shared),
        "gzip_lines" => GzipLines::from_options(&mut options).map(shared),
        "json" => Json::from_options(&mut options, defaults).map(shared),
        "json_lines" => JsonLines::from_options(&mut options, defaults).map(shared),
        "line" => Line::from_options(&mut options, defaults).map(shared),
        "multiline" => Multiline::from_options(&mut options, defaults, files).map(shared),
        "plain" => Plain::from_options(&mut options, defaults).map(shared),
        "rubydebug" => Some(shared(RubyDebug::from_options(&mut options))),
        _ => Some(shared(Dots)),
    };
    options.finish();
    codec.filter(|_| options.is_valid())
}

fn shared<C: Codec + 'static>(codec: C) -> Arc<dyn Codec> {
    Arc::new(codec)
}

/// The option `charset`.
pub(super) fn charset(options: &mut Options<'_>) -> Option<Charset> {
    let Some(name) = options.string("charset") else {
        return Some(Charset::default());
    };
    match Charset::from_name(&name) {
        Ok(charset) => Some(charset),
        Err(error) => {
            options.error("charset", error.to_string());
            None
        }
    }
}

/// The option `ecs_compatibility`: whether events keep their text.
pub(super) fn keep_original(options: &mut Options<'_>, defaults: CodecDefaults) -> bool {
    const CHOICES: &[(&str, bool)] = &[("disabled", false), ("v1", true), ("v8", true)];
    options
        .enumeration("ecs_compatibility", CHOICES)
        .unwrap_or(defaults.ecs)
}

/// The option `format`.
///
/// A format cannot ask for the time now: encoding gives the same bytes for an event whenever it is
/// done, so that a retry sends what the first attempt sent.
pub(super) fn format(options: &mut Options<'_>, defaults: CodecDefaults) -> Option<Arc<Template>> {
    const TIME_NOW: &str = "%{{TIME_NOW}}";
    let text = options.string("format")?;
    if text.contains(TIME_NOW) {
        options.error(
            "format",
            format!(
                "`{TIME_NOW}` cannot stand in the format of a codec, set a field to it by a filter"
            ),
        );
        return None;
    }
    match Template::parse(&text, defaults.escape_style) {
        Ok(template) => Some(Arc::new(template)),
        Err(error) => {
            options.error("format", error.to_string());
            None
        }
    }
}

/// The option `delimiter`.
pub(super) fn delimiter(options: &mut Options<'_>) -> Vec<u8> {
    options
        .string("delimiter")
        .map_or_else(|| b"\n".to_vec(), String::into_bytes)
}

/// The option `decode_size_limit_bytes`.
pub(super) fn size_limit(options: &mut Options<'_>) -> usize {
    options
        .count("decode_size_limit_bytes", 1..=usize::MAX >> 1)
        .unwrap_or(super::DECODE_SIZE_LIMIT)
}

#[cfg(test)]
pub(super) mod tests {
    use std::borrow::Cow;

    use bumpalo::Bump;
    use proptest::prelude::*;

    use super::super::Sink;
    use super::*;
    use crate::event::{Event, Timestamp, write_json};
    use crate::language::{ParseOptions, SourceMap, Statement, parse};

    /// The codec of a text like `json { … }`, or what is wrong with it.
    pub(in crate::codec) fn codec(text: &str, ecs: bool) -> Result<Arc<dyn Codec>, String> {
        let sources = SourceMap::single("t", format!("output {{ stdout {{ codec => {text} }} }}"));
        let mut diagnostics = Diagnostics::new();
        let parsing = ParseOptions {
            support_escapes: true,
            ..ParseOptions::default()
        };
        let config = parse(&sources, parsing, &mut diagnostics);
        let Statement::Plugin(plugin) = &config.outputs[0] else {
            panic!("no plugin")
        };
        let plugin = Options::new(plugin, "output", &mut diagnostics)
            .codec("codec")
            .map(Cow::into_owned);
        let defaults = CodecDefaults {
            ecs,
            ..CodecDefaults::default()
        };
        let codec = plugin.and_then(|plugin| build_codec(&plugin, defaults, &mut diagnostics));
        codec.ok_or_else(|| diagnostics.render(&sources, false))
    }

    /// What comes out of these reads and the end of the stream, a line of JSON for each event.
    pub(in crate::codec) fn decoded(text: &str, ecs: bool, reads: &[&[u8]]) -> Vec<String> {
        let arena = Bump::new();
        let mut events: Vec<Event<'_>> = Vec::new();
        let mut sink = Sink {
            arena: &arena,
            now: Timestamp::new(0, 0),
            events: &mut events,
        };
        let mut decoder = codec(text, ecs).unwrap().decoder().unwrap();
        for read in reads {
            decoder.decode(arena.alloc_slice_copy(read), &mut sink);
        }
        decoder.flush(&mut sink);
        let shown = events.iter_mut().map(|event| {
            event.fields.remove(&crate::event::TIMESTAMP);
            event.fields.remove(&crate::event::VERSION);
            let mut out = Vec::new();
            write_json(event, &mut out);
            String::from_utf8(out).unwrap()
        });
        shown.collect()
    }

    /// What becomes of an event in JSON.
    pub(in crate::codec) fn encoded(text: &str, json: &str) -> String {
        let arena = Bump::new();
        let json = arena.alloc_str(json).as_bytes();
        let mut event = Event::from_json(json, Timestamp::new(0, 0), &arena).unwrap();
        event.fields.remove(&crate::event::VERSION);
        let mut out = Vec::new();
        codec(text, false).unwrap().encode(&event, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// The events of pieces of a stream, each decoded by itself or all by one decoder.
    pub(in crate::codec) fn events_of(
        codec: &dyn Codec,
        pieces: &[Vec<u8>],
        each_by_itself: bool,
    ) -> Vec<String> {
        let arena = Bump::new();
        let mut events = Vec::new();
        let mut sink = Sink {
            arena: &arena,
            now: Timestamp::new(0, 0),
            events: &mut events,
        };
        let mut decoder = codec.decoder().unwrap();
        for piece in pieces {
            decoder.decode(arena.alloc_slice_copy(piece), &mut sink);
            if each_by_itself {
                decoder.flush(&mut sink);
                decoder = codec.decoder().unwrap();
            }
        }
        decoder.flush(&mut sink);
        let shown = events.iter().map(|event| {
            let mut out = Vec::new();
            write_json(event, &mut out);
            format!("{} {:?}", String::from_utf8_lossy(&out), event.metadata)
        });
        shown.collect()
    }

    #[test]
    fn each_codec_decodes() {
        for (text, ecs, reads, expected) in [
            (
                "plain",
                false,
                &[&b"a\nb"[..], b"", b"c"][..],
                &[r#"{"message":"a\nb"}"#, r#"{"message":"c"}"#][..],
            ),
            (
                r#"plain { charset => "CP1252" ecs_compatibility => v8 }"#,
                false,
                &[b"\x92"],
                &[r#"{"message":"’","event":{"original":"’"}}"#],
            ),
            (
                "line",
                false,
                &[b"a\nb", b"c\n\nd"],
                &[
                    r#"{"message":"a"}"#,
                    r#"{"message":"bc"}"#,
                    r#"{"message":""}"#,
                    r#"{"message":"d"}"#,
                ],
            ),
            (
                r#"line { delimiter => "||" }"#,
                true,
                &[b"a|", b"|b"],
                &[
                    r#"{"message":"a","event":{"original":"a"}}"#,
                    r#"{"message":"b","event":{"original":"b"}}"#,
                ],
            ),
            (
                "line { decode_size_limit_bytes => 2 }",
                false,
                &[b"abc\nd"],
                &[
                    r#"{"message":"ab"}"#,
                    r#"{"message":"c"}"#,
                    r#"{"message":"d"}"#,
                ],
            ),
            (
                "json",
                true,
                &[br#"{"a":1}"#, b"{", b"[1]", b""],
                &[
                    r#"{"a":1,"event":{"original":"{\"a\":1}"}}"#,
                    r#"{"message":"{","tags":["_jsonparsefailure"]}"#,
                    r#"{"message":"[1]","tags":["_jsonparsefailure"]}"#,
                    r#"{"message":"","tags":["_jsonparsefailure"]}"#,
                ],
            ),
            (
                r#"multiline { pattern => "\\$" what => next multiline_tag => "" max_lines => 2 }"#,
                false,
                &[b"a$\nb\n\nc$\nd$\n", b"e$\nf"],
                &[
                    r#"{"message":"a$\nb"}"#,
                    r#"{"message":""}"#,
                    r#"{"message":"c$\nd$\ne$","tags":["multiline_codec_max_lines_reached"]}"#,
                    r#"{"message":"f"}"#,
                ],
            ),
            (
                r#"multiline { pattern => "^\\s" what => previous max_bytes => 4 charset => "CP1252" }"#,
                true,
                &[b"\x92\n b\n c"],
                &[
                    r#"{"message":"’\n b","event":{"original":"’\n b"},"tags":["multiline","multiline_codec_max_bytes_reached"]}"#,
                    r#"{"message":" c","event":{"original":" c"}}"#,
                ],
            ),
            (
                "es_bulk { target => doc decode_size_limit_bytes => 40 }",
                false,
                &[
                    b"{\"index\":{\"_id\":\"1\"}}\n{\"a\"",
                    b":1}\n\n{\"delete\":{}}\n{\"nothing\":{}}\nx\n{\"create\":{}}\n[]\n",
                    b"{\"update\":{}}\n",
                ],
                &[
                    r#"{"doc":{"a":1}}"#,
                    "{}",
                    r#"{"message":"{\"nothing\":{}}","tags":["_jsonparsefailure"]}"#,
                    r#"{"message":"x","tags":["_jsonparsefailure"]}"#,
                    r#"{"message":"[]","tags":["_jsonparsefailure"]}"#,
                    r#"{"tags":["_jsonparsefailure"]}"#,
                ],
            ),
            (
                "json",
                true,
                &[br#"{"event":"login"}"#],
                &[r#"{"event":"login"}"#],
            ),
            (
                r#"json { target => "[a][b]" ecs_compatibility => disabled }"#,
                true,
                &[br#"[{"x":1},{"@timestamp":"no"}]"#],
                &[
                    r#"{"a":{"b":{"x":1}}}"#,
                    r#"{"a":{"b":{"@timestamp":"no"}}}"#,
                ],
            ),
            (
                r#"json_lines { delimiter => "|" }"#,
                false,
                &[br#"{"a":1}|{"a""#, br":2}||x|", br#"{"a":3}"#],
                &[
                    r#"{"a":1}"#,
                    r#"{"a":2}"#,
                    r#"{"message":"x","tags":["_jsonparsefailure"]}"#,
                    r#"{"a":3}"#,
                ],
            ),
            (
                "json_lines { target => foo }",
                false,
                &[b"{\"field\": \"value1\"}\n{\"field\": 2.0}\n"],
                &[r#"{"foo":{"field":"value1"}}"#, r#"{"foo":{"field":2.0}}"#],
            ),
            (
                "json_lines { decode_size_limit_bytes => 8 }",
                false,
                &[b"{\"a\":12345}\n{\"b\":1}\n"],
                &[
                    r#"{"message":"{\"a\":123","tags":["_jsonparsetoobigfailure"]}"#,
                    r#"{"message":"45}","tags":["_jsonparsetoobigfailure"]}"#,
                    r#"{"b":1}"#,
                ],
            ),
        ] {
            assert_eq!(decoded(text, ecs, reads), expected, "{text}");
        }
    }

    #[test]
    fn each_codec_encodes() {
        let json = br#"{"message":"a","host":{"name":"h"},"@timestamp":"1970-01-01T00:00:00.000Z","@version":"1"}"#;
        for (text, expected) in [
            ("plain", r#"1970-01-01T00:00:00.000Z {"name":"h"} a"#),
            (
                r#"line { delimiter => "|" }"#,
                r#"1970-01-01T00:00:00.000Z {"name":"h"} a|"#,
            ),
            (r#"plain { format => "<%{[host][name]}>" }"#, "<h>"),
            (r#"line { format => "%{+YYYY} %{message}" }"#, "1970 a\n"),
            ("json", std::str::from_utf8(json).unwrap()),
            (
                "json_lines",
                concat!(
                    r#"{"message":"a","host":{"name":"h"},"@timestamp":"1970-01-01T00:00:00.000Z","@version":"1"}"#,
                    "\n"
                ),
            ),
            ("dots", "."),
        ] {
            let arena = Bump::new();
            let event = Event::from_json(json, Timestamp::new(0, 0), &arena).unwrap();
            let mut out = Vec::new();
            codec(text, false).unwrap().encode(&event, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{text}");
        }
        let shown = codec("rubydebug { metadata => true }", false).unwrap();
        assert!(format!("{shown:?}").contains("true"));
        assert!(shown.decoder().is_none());
    }

    proptest! {
        /// Whatever comes in is decoded without a panic, however it is cut, and no byte of a line
        /// is lost.
        #[test]
        fn any_bytes_are_decoded(
            first: Vec<u8>,
            second in prop::collection::vec(prop::sample::select(b"{}[]\":,1a\n\xff".to_vec()), 0..80),
            charset in prop::sample::select(vec!["UTF-8", "CP1252", "ASCII-8BIT", "UTF-16LE", "Shift_JIS", "ISO-8859-1"]),
            limit in 1usize..40,
        ) {
            let arena = Bump::new();
            for name in ["plain", "line", "json", "json_lines", "cef", "csv", "graphite", "gzip_lines"] {
                let limited = if name.contains("line") || ["cef", "csv"].contains(&name) {
                    format!("decode_size_limit_bytes => {limit}")
                } else {
                    String::new()
                };
                // Some have one of their own.
                let charset = match name {
                    "cef" => r"delimiter => '\\n'".to_owned(),
                    "graphite" => String::new(),
                    "csv" | "gzip_lines" if charset == "UTF-16LE" => String::new(),
                    _ => format!("charset => '{charset}'"),
                };
                let codec = codec(&format!("{name} {{ {charset} {limited} }}"), true).unwrap();
                let mut decoder = codec.decoder().unwrap();
                let mut events = Vec::new();
                let mut sink = Sink { arena: &arena, now: Timestamp::new(0, 0), events: &mut events };
                decoder.decode(arena.alloc_slice_copy(&first), &mut sink);
                decoder.decode(arena.alloc_slice_copy(&second), &mut sink);
                decoder.flush(&mut sink);
                prop_assert_eq!(decoder.pending(), 0);
                let mut out = Vec::new();
                let mut bytes = 0;
                for event in &events {
                    codec.encode(event, &mut out);
                    let message = event.fields.get(&crate::event::MESSAGE);
                    bytes += message.and_then(crate::event::Value::as_text).map_or(0, <[u8]>::len);
                }
                if name == "line" && charset.contains("UTF-8") {
                    let without_newlines = first.iter().chain(&second).filter(|byte| **byte != b'\n');
                    let expected = without_newlines.count();
                    prop_assert_eq!(bytes, expected);
                }
            }
        }
    }

    proptest! {
        /// However a stream comes and is cut where events end, nothing of it is lost, and the
        /// pieces decoded each by itself are the events of the whole.
        #[test]
        fn pieces_of_a_cutter_make_the_events_of_the_whole(
            chunks in prop::collection::vec(prop::collection::vec(prop::sample::select(b" a\n\xff".to_vec()), 0..30), 0..6),
            what in prop::sample::select(vec!["previous", "next"]),
            negate: bool,
            max_lines in 1usize..6,
            max_bytes in 1usize..40,
        ) {
            let text = format!(
                "multiline {{ pattern => '^ ' what => {what} negate => {negate} max_lines => {max_lines} max_bytes => {max_bytes} }}"
            );
            let codec = codec(&text, false).unwrap();
            // Inputs give whole lines.
            let chunks: Vec<Vec<u8>> = chunks.into_iter().map(|mut chunk| { chunk.push(b'\n'); chunk }).collect();
            let mut cutter = codec.cutter().unwrap();
            let mut pieces: Vec<_> = chunks.iter().filter_map(|chunk| cutter.push(chunk.clone())).collect();
            pieces.extend(cutter.flush());
            prop_assert_eq!(cutter.pending(), 0);
            prop_assert_eq!(pieces.concat(), chunks.concat());
            prop_assert_eq!(events_of(&*codec, &pieces, true), events_of(&*codec, &chunks, false));
        }

        /// The same for requests to the bulk interface, with whatever in between.
        #[test]
        fn a_bulk_request_is_cut_between_actions(
            lines in prop::collection::vec(prop::sample::select(vec![
                r#"{"index":{}}"#, r#"{"delete":{"_id":"1"}}"#, r#"{"a":1}"#, "", "x", r#"{"update":{},"create":{}}"#,
                r#"{"index":{"_id":"longer than the limit"}}"#,
            ]), 0..12),
            every in 1usize..5,
        ) {
            let codec = codec("es_bulk { decode_size_limit_bytes => 30 }", true).unwrap();
            let chunks: Vec<Vec<u8>> = lines.chunks(every).map(|lines| format!("{}\n", lines.join("\n")).into_bytes()).collect();
            let mut cutter = codec.cutter().unwrap();
            let mut pieces: Vec<_> = chunks.iter().filter_map(|chunk| cutter.push(chunk.clone())).collect();
            pieces.extend(cutter.flush());
            prop_assert_eq!(pieces.concat(), chunks.concat());
            prop_assert_eq!(events_of(&*codec, &pieces, true), events_of(&*codec, &chunks, false));
        }

        /// Whatever the bytes are and however they are cut.
        #[test]
        fn codecs_with_a_cutter_take_any_bytes(reads: Vec<Vec<u8>>) {
            for text in ["multiline { pattern => '%{WORD}' what => previous charset => 'Shift_JIS' }", "es_bulk"] {
            let codec = codec(text, true).unwrap();
            let (mut decoder, mut cutter) = (codec.decoder().unwrap(), codec.cutter().unwrap());
            let arena = Bump::new();
            let mut events = Vec::new();
            let mut sink = Sink { arena: &arena, now: Timestamp::new(0, 0), events: &mut events };
            let mut pieces = Vec::new();
            for read in &reads {
                decoder.decode(arena.alloc_slice_copy(read), &mut sink);
                pieces.extend(cutter.push(read.clone()).unwrap_or_default());
            }
            decoder.flush(&mut sink);
            pieces.extend(cutter.flush().unwrap_or_default());
            prop_assert_eq!(decoder.pending(), 0);
            prop_assert_eq!(pieces, reads.concat());
            }
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, part) in [
            ("jsonlines", "did you mean `json_lines`"),
            (r#"plain { charset => "CP-1" }"#, "no character set `CP-1`"),
            ("json { targett => a }", "did you mean `target`"),
            (r#"json { target => "[a" }"#, "[a"),
            (
                "line { decode_size_limit_bytes => 0 }",
                "decode_size_limit_bytes",
            ),
            ("rubydebug { metadata => maybe }", "metadata"),
            ("multiline { what => next }", "pattern"),
            ("multiline { pattern => a }", "what"),
            ("multiline { pattern => a what => nxt }", "next"),
            (
                r#"multiline { pattern => "%{WORDD}" what => next }"#,
                "WORDD",
            ),
            (
                "multiline { pattern => a what => next max_bytes => 0 }",
                "at least 1",
            ),
            (
                "multiline { pattern => a what => next auto_flush_interval => 0 }",
                "above 0",
            ),
            (
                r#"multiline { pattern => a what => next charset => "UTF-16LE" }"#,
                "character",
            ),
            (r#"plain { format => "%{[a}" }"#, "[a"),
            (r#"line { format => "%{{TIME_NOW}}" }"#, "TIME_NOW"),
        ] {
            let message = codec(text, false).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
