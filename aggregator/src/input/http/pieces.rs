//! A body that is decoded piece by piece, so that a worker can empty its arena in between.
//!
//! A body of a hundred megabytes can hold a hundred million events, each of which takes hundreds of bytes while it is worked
//! on. INVARIANT: the events are those of the whole body, in their order. What a codec keeps from one piece to the next
//! (the start of a line, the header of a CSV file) is kept here, which is why pieces are decoded in their order.

use std::cell::RefCell;
use std::sync::Arc;

use bumpalo::Bump;
use bytes::Bytes;
use memchr::memchr;
use skidder_pipeline::codec::{Codec, Cutter, Decoder, Sink};
use skidder_pipeline::event::{Event, Timestamp};

use crate::input::decoding::decode_whole;

/// How much of a body is decoded at once. Most requests have less.
const PIECE_BYTES: usize = 16 << 10;

/// A body, and how far it is decoded.
pub(super) struct Pieces {
    bytes: Bytes,
    codec: Arc<dyn Codec>,
    progress: RefCell<Progress>,
}

struct Progress {
    way: Way,
    /// How many bytes have been given to the decoder or the cutter.
    taken: usize,
}

/// How a body is decoded.
enum Way {
    /// At once, because it is small or because the codec takes it for one text.
    Whole,
    /// By one decoder, in pieces that end anywhere.
    Decoder(Box<dyn Decoder>),
    /// By a decoder for each of what the cutter gives, which takes whole lines.
    Cutter(Box<dyn Cutter>),
}

impl Progress {
    /// Nothing is taken yet.
    fn new(codec: &dyn Codec, length: usize) -> Self {
        let way = if length <= PIECE_BYTES {
            Way::Whole
        } else if let Some(cutter) = codec.cutter() {
            Way::Cutter(cutter)
        } else if codec.takes_pieces() {
            codec.decoder().map_or(Way::Whole, Way::Decoder)
        } else {
            Way::Whole
        };
        Self { way, taken: 0 }
    }
}

impl Pieces {
    pub(super) fn new(bytes: Bytes, codec: Arc<dyn Codec>) -> Self {
        let progress = RefCell::new(Progress::new(&*codec, bytes.len()));
        Self {
            bytes,
            codec,
            progress,
        }
    }

    /// The whole body.
    pub(super) fn whole(&self) -> &[u8] {
        &self.bytes
    }

    /// How many pieces there are; at least one.
    pub(super) fn len(&self) -> usize {
        match self.progress.borrow().way {
            Way::Whole => 1,
            Way::Decoder(_) | Way::Cutter(_) => self.bytes.len().div_ceil(PIECE_BYTES),
        }
    }

    /// The events that end in a piece. Piece 0 begins anew; each other comes after the one before it.
    pub(super) fn decode<'b>(
        &'b self,
        index: usize,
        arena: &'b Bump,
        now: Timestamp,
    ) -> Vec<Event<'b>> {
        let is_last = index + 1 == self.len();
        let mut progress = self.progress.borrow_mut();
        if index == 0 {
            *progress = Progress::new(&*self.codec, self.bytes.len());
        }
        let Progress { way, taken } = &mut *progress;
        let up_to = self.bytes.len().min((index + 1) * PIECE_BYTES);
        match way {
            Way::Whole => decode_whole(&*self.codec, &self.bytes, arena, now),
            Way::Decoder(decoder) => {
                let mut events = Vec::new();
                let mut sink = Sink {
                    arena,
                    now,
                    events: &mut events,
                };
                decoder.decode(&self.bytes[*taken..up_to], &mut sink);
                *taken = up_to;
                if is_last {
                    decoder.flush(&mut sink);
                }
                events
            }
            Way::Cutter(cutter) => {
                let mut cut = None;
                // A line longer than a piece may have been taken already.
                if *taken < up_to {
                    let line_end = memchr(b'\n', &self.bytes[up_to - 1..]);
                    let end = line_end.map_or(self.bytes.len(), |at| up_to + at);
                    cut = cutter.push(self.bytes[*taken..end].to_vec());
                    *taken = end;
                }
                let last = if is_last { cutter.flush() } else { None };
                let mut events = Vec::new();
                for bytes in [cut, last].into_iter().flatten() {
                    let bytes = arena.alloc_slice_copy(&bytes);
                    events.extend(decode_whole(&*self.codec, bytes, arena, now));
                }
                events
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use libdeflater::{CompressionLvl, Compressor};
    use skidder_pipeline::codec::{CODECS, CodecDefaults, build_codec};
    use skidder_pipeline::event::write_json;
    use skidder_pipeline::language::{Diagnostics, EscapeStyle, Plugin, Span, Spanned};

    use super::*;

    fn codec(name: &str) -> Arc<dyn Codec> {
        let defaults = CodecDefaults {
            ecs: false,
            escape_style: EscapeStyle::None,
        };
        let plugin = Plugin {
            name: Spanned::new(name.to_owned(), Span::default()),
            attributes: Vec::new(),
            span: Span::default(),
        };
        build_codec(&plugin, defaults, &mut Diagnostics::new()).unwrap()
    }

    fn in_pieces(body: &Bytes, codec: &Arc<dyn Codec>) -> (usize, Vec<Vec<u8>>) {
        let pieces = Pieces::new(body.clone(), Arc::clone(codec));
        let mut events = Vec::new();
        for index in 0..pieces.len() {
            let arena = Bump::new();
            for event in pieces.decode(index, &arena, Timestamp::new(0, 0)) {
                let mut json = Vec::new();
                write_json(&event, &mut json);
                events.push(json);
            }
        }
        (pieces.len(), events)
    }

    fn at_once(body: &Bytes, codec: &Arc<dyn Codec>) -> Vec<Vec<u8>> {
        let arena = Bump::new();
        let events = decode_whole(&**codec, body, &arena, Timestamp::new(0, 0));
        let json = |event: &Event<'_>| {
            let mut json = Vec::new();
            write_json(event, &mut json);
            json
        };
        events.iter().map(json).collect()
    }

    /// Lines of many lengths, and one that is longer than three pieces.
    fn body(line: impl Fn(usize) -> String) -> Bytes {
        let mut text = String::new();
        for number in 0..4_000 {
            text.push_str(&line(number));
            if number == 2_000 {
                text.push_str(&"x".repeat(3 * PIECE_BYTES));
            }
            text.push('\n');
        }
        text.push_str("the last one has no end");
        text.into()
    }

    /// Hardly packed, so that it is as long as the text.
    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut packer = Compressor::new(CompressionLvl::new(0).unwrap());
        let mut out = vec![0; packer.gzip_compress_bound(text.len())];
        let length = packer.gzip_compress(text, &mut out).unwrap();
        out.truncate(length);
        out
    }

    #[test]
    fn pieces_have_the_events_of_the_whole() {
        let plain = body(|number| format!("line {number} {}", "é".repeat(number % 50)));
        let json = body(|number| format!(r#"{{"number":{number},"text":"{number:0>20}"}}"#));
        let bulk = body(|number| {
            if number % 2 == 0 {
                r#"{"index":{"_index":"a"}}"#.to_owned()
            } else {
                format!(r#"{{"number":{number}}}"#)
            }
        });
        let metrics = body(|number| format!("a.b.c {number} 1700000000"));
        let table = body(|number| format!("{number},\"two\nlines {number}\",c"));
        let packed = gzip(&plain).into();
        for (name, body) in [
            ("gzip_lines", &packed),
            ("line", &plain),
            ("json_lines", &json),
            ("es_bulk", &bulk),
            ("graphite", &metrics),
            ("csv", &table),
        ] {
            let codec = codec(name);
            let (count, events) = in_pieces(body, &codec);
            assert!(count > 5, "{name} came in {count} pieces");
            let whole = at_once(body, &codec);
            assert!(whole.len() >= 2_000, "{name}: {} events", whole.len());
            for (number, (piece, whole)) in events.iter().zip(&whole).enumerate() {
                assert_eq!(
                    String::from_utf8_lossy(piece),
                    String::from_utf8_lossy(whole),
                    "{name}, event {number}"
                );
            }
            assert_eq!(events.len(), whole.len(), "{name}");
        }
    }

    #[test]
    fn every_codec_says_truly_whether_it_takes_pieces() {
        let bodies = [
            body(|number| format!("line {number}")),
            body(|number| format!("CEF:0|a|b|c|{number}|name|3|src=10.0.0.1 msg=text {number}")),
            body(|number| format!("  {number} continued")),
            vec![b'\n'; 5 * PIECE_BYTES].into(),
        ];
        for name in CODECS {
            // Some write only, one needs a pattern, and what is no gzip fails once for each piece.
            if matches!(*name, "dots" | "rubydebug" | "multiline" | "gzip_lines") {
                continue;
            }
            let codec = codec(name);
            for body in &bodies {
                let (_, events) = in_pieces(body, &codec);
                assert!(events == at_once(body, &codec), "{name}");
            }
        }
    }

    #[test]
    fn a_text_that_is_one_is_not_cut() {
        let plain = body(|number| format!("line {number}"));
        for name in ["plain", "json"] {
            assert_eq!(in_pieces(&plain, &codec(name)).0, 1, "{name}");
        }
    }
}
