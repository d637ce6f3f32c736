//! Any stream, cut anywhere, can be decoded by the codecs that cut lines: the cuts make no difference.
#![no_main]

use bumpalo::Bump;
use libfuzzer_sys::fuzz_target;
use skidder_pipeline::codec::{Codec, JsonLines, Line, Sink};
use skidder_pipeline::event::{Timestamp, write_json};

fn decoded(codec: &dyn Codec, reads: &[&[u8]]) -> Vec<u8> {
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
    }
    decoder.flush(&mut sink);
    let mut out = Vec::new();
    for event in &events {
        write_json(event, &mut out);
    }
    out
}

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
    for codec in [&line as &dyn Codec, &json_lines] {
        assert_eq!(decoded(codec, &[&whole]), decoded(codec, &[first, second]));
    }
});
