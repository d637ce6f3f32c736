//! The decoder on any bytes: it must not panic, must give the same windows for two different
//! splits of them, must stay within its memory and give all of it back.
//!
//! Run with `cargo +nightly fuzz run decoder fuzz/corpus/decoder fuzz/seeds/decoder` in the
//! folder of the crate. The first input byte is the size of the pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skidder_lumberjack::{ByteBudget, Decoder, Event, Limits, Payload, ProtocolError, Step};

const LIMIT: usize = 256 * 1024;

fuzz_target!(|input: &[u8]| {
    let Some((&size, stream)) = input.split_first() else {
        return;
    };
    let whole = decode(stream, stream.len().max(1));
    let split = decode(stream, usize::from(size).max(1));
    assert_eq!(whole, split);
});

type Windows = Vec<(u32, Vec<Event>)>;

fn decode(stream: &[u8], piece: usize) -> Result<Windows, ProtocolError> {
    let limits = Limits {
        max_window_events: 10_000,
        max_window_bytes: LIMIT,
        max_compressed_bytes: LIMIT,
        max_inflated_bytes: LIMIT,
        max_inflate_ratio: None,
        max_event_bytes: LIMIT,
        max_pairs: 1000,
        max_key_bytes: 1000,
    };
    let budget = ByteBudget::new(usize::MAX);
    let mut decoder = Decoder::new(limits, budget.account());
    let result = run(&mut decoder, stream, piece, &budget);
    drop(decoder);
    assert_eq!(budget.used(), 0);
    result
}

fn run(
    decoder: &mut Decoder,
    stream: &[u8],
    piece: usize,
    budget: &ByteBudget,
) -> Result<Windows, ProtocolError> {
    let mut windows = Windows::new();
    for mut bytes in stream.chunks(piece) {
        while !bytes.is_empty() {
            let taken = decoder.feed(bytes);
            assert!(
                taken > 0,
                "there is always room after the decoder asked for input"
            );
            bytes = &bytes[taken..];
            loop {
                match decoder.step()? {
                    Step::Window(window) => {
                        for event in &window.events {
                            if let Payload::Pairs(pairs) = &event.payload {
                                assert_eq!(pairs.iter().count(), pairs.len());
                            }
                        }
                        // Copied, so that what is held is the decoder's alone.
                        let events = window.events.iter().map(copy).collect();
                        windows.push((window.announced, events));
                    }
                    Step::NeedInput => break,
                    Step::NeedMemory(bytes) => panic!("{bytes} of an unlimited budget"),
                }
                assert!(budget.used() <= 8 * LIMIT, "holds {}", budget.used());
            }
        }
    }
    Ok(windows)
}

fn copy(event: &Event) -> Event {
    let payload = match &event.payload {
        Payload::Json(json) => Payload::Json(json.to_vec().into()),
        Payload::Pairs(pairs) => Payload::Json(pairs.body().to_vec().into()),
        Payload::Line(line) => Payload::Json(line.text.to_vec().into()),
    };
    Event {
        sequence: event.sequence,
        payload,
    }
}
