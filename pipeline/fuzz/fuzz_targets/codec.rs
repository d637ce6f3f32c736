//! Any stream, cut anywhere, can be decoded: by the codecs that cut lines the cuts make no difference, and by those
//! with a cutter the pieces, each decoded by itself, are the events of the whole.
#![no_main]

use std::sync::{Arc, LazyLock};

use bumpalo::Bump;
use libfuzzer_sys::fuzz_target;
use skidder_pipeline::codec::{Codec, CodecDefaults, JsonLines, Line, Sink, build_codec};
use skidder_pipeline::event::{Timestamp, write_json};
use skidder_pipeline::language::{Diagnostics, Options, ParseOptions, SourceMap, Statement, parse};

/// What is decoded of pieces of a stream, by one decoder or each by its own.
fn decoded(codec: &dyn Codec, reads: &[&[u8]], each_by_itself: bool) -> Vec<u8> {
    let arena = Bump::new();
    let mut events = Vec::new();
    let mut sink = Sink {
        arena: &arena,
        now: Timestamp::new(0, 0),
        events: &mut events,
    };
    let mut decoder = codec.decoder().expect("it decodes");
    for read in reads {
        decoder.decode(arena.alloc_slice_copy(read), &mut sink);
        if each_by_itself {
            decoder.flush(&mut sink);
            decoder = codec.decoder().expect("it decodes");
        }
    }
    decoder.flush(&mut sink);
    assert_eq!(decoder.pending(), 0);
    let mut out = Vec::new();
    for event in &events {
        write_json(event, &mut out);
        // Whatever can be decoded can be encoded.
        let length = out.len();
        codec.encode(event, &mut out);
        out.truncate(length);
    }
    out
}

/// A codec as a configuration has it.
fn built(text: &str) -> Arc<dyn Codec> {
    let sources = SourceMap::single("t", format!("input {{ stdin {{ codec => {text} }} }}"));
    let mut diagnostics = Diagnostics::new();
    let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
    let Statement::Plugin(input) = &config.inputs[0] else {
        panic!("it is a plugin")
    };
    let plugin = Options::new(input, "input", &mut diagnostics)
        .codec("codec")
        .map(std::borrow::Cow::into_owned);
    let plugin = plugin.expect("it is a codec");
    build_codec(&plugin, CodecDefaults::default(), &mut diagnostics).expect("it can be built")
}

/// Codecs without a cutter, for which a read is a record or a part of a line.
static WHOLE: LazyLock<Vec<Arc<dyn Codec>>> = LazyLock::new(|| {
    [
        "cef",
        "cef { ecs_compatibility => v8 default_timezone => 'UTC' fields => ['[source][ip]', message] }",
        "csv { convert => { column1 => integer column2 => date_time } }",
        "json",
    ]
    .map(built)
    .into()
});

/// Codecs whose decoders cut lines.
static LINES: LazyLock<Vec<Arc<dyn Codec>>> = LazyLock::new(|| {
    [
        r"cef { delimiter => '\n' decode_size_limit_bytes => 50 }",
        "graphite { fields_are_metrics => true }",
    ]
    .map(built)
    .into()
});

/// Codecs with a cutter.
static CUT: LazyLock<Vec<Arc<dyn Codec>>> = LazyLock::new(|| {
    [
        "csv { decode_size_limit_bytes => 20 }",
        "csv { autodetect_column_names => true quote_char => \"'\" separator => ';;' }",
        "gzip_lines",
        "multiline { pattern => '^ ' what => previous }",
        "es_bulk",
    ]
    .map(built)
    .into()
});

fuzz_target!(|data: (u8, &[u8], &[u8])| {
    let (limit, first, second) = data;
    let whole = [first, second].concat();
    let limit = usize::from(limit) + 1;
    let line = Line {
        delimiter: b"\r\n".to_vec(),
        limit,
        ..Line::default()
    };
    let json_lines = JsonLines {
        limit,
        ..JsonLines::default()
    };
    let lines = [&line as &dyn Codec, &json_lines].into_iter();
    for codec in lines.chain(LINES.iter().map(|codec| &**codec)) {
        let pieces = decoded(codec, &[first, second], false);
        assert_eq!(decoded(codec, &[&whole], false), pieces);
    }
    for codec in WHOLE.iter() {
        decoded(&**codec, &[first, second], true);
    }
    for codec in CUT.iter() {
        // Inputs give whole lines, but for the last one.
        let cut = first
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let (head, tail) = whole.split_at(cut);
        let mut cutter = codec.cutter().expect("it has one");
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        for chunk in [head, tail] {
            pieces.extend(cutter.push(chunk.to_vec()));
        }
        pieces.extend(cutter.flush());
        assert_eq!(cutter.pending(), 0);
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let by_pieces = decoded(&**codec, &pieces, true);
        // What is left of a gzip that is damaged comes in other portions.
        if !by_pieces
            .windows(17)
            .any(|part| part == b"_gzipparsefailure")
        {
            assert_eq!(by_pieces, decoded(&**codec, &[&whole], false));
        }
    }
});
