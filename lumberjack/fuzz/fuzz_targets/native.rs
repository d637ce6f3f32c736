//! The decoder on native windows with any content: it must not panic, must give the same lines for two
//! different splits of the bytes, must stay within its memory and give all of it back.
//!
//! Run with `cargo +nightly fuzz run native fuzz/corpus/native` in the folder of the crate. The input is
//! framed with the right checksum, which no fuzzer finds: first the size of the pieces, the flags and the number of
//! lines, then the body as it is once it is unpacked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skidder_lumberjack::{ByteBudget, Decoder, Limits, Payload, ProtocolError, Step};

const LIMIT: usize = 256 * 1024;

fuzz_target!(|input: &[u8]| {
    let [size, flags, lines, body @ ..] = input else {
        return;
    };
    // The same window twice: the second one meets the sources of the first.
    let frame = framed(flags & 1, u32::from(*lines), body).repeat(2);
    let whole = decode(&frame, frame.len());
    let split = decode(&frame, usize::from(*size).max(1));
    assert_eq!(whole, split);
});

fn framed(flags: u8, lines: u32, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![b'N', b'W', 0, flags];
    for number in [lines, body.len() as u32, body.len() as u32] {
        frame.extend(number.to_be_bytes());
    }
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    hash.update(&frame);
    hash.update(body);
    frame.extend(hash.digest().to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

type Lines = Vec<(i64, u64, Vec<u8>, usize)>;

fn decode(stream: &[u8], piece: usize) -> Result<Lines, ProtocolError> {
    let limits = Limits {
        max_window_bytes: LIMIT,
        max_compressed_bytes: LIMIT,
        max_inflated_bytes: LIMIT,
        max_event_bytes: LIMIT,
        max_pairs: 1000,
        max_key_bytes: 1000,
        ..Limits::default()
    };
    let budget = ByteBudget::new(usize::MAX);
    let mut decoder = Decoder::new(limits, budget.account());
    let result = run(&mut decoder, stream, piece);
    assert!(budget.peak() <= 8 * LIMIT, "held {}", budget.peak());
    drop(decoder);
    assert_eq!(budget.used(), 0);
    result
}

fn run(decoder: &mut Decoder, stream: &[u8], piece: usize) -> Result<Lines, ProtocolError> {
    let mut lines = Lines::new();
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
                            let Payload::Line(line) = &event.payload else {
                                panic!("no line: {event:?}");
                            };
                            let extra = line.extra().count();
                            lines.push((line.read_at, line.offset, line.text.to_vec(), extra));
                        }
                    }
                    Step::NeedInput => break,
                    Step::NeedMemory(bytes) => panic!("{bytes} of an unlimited budget"),
                }
            }
        }
    }
    Ok(lines)
}
