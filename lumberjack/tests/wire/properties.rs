//! What holds for any bytes: the same result for every split of them, no panic, and memory that
//! stays within what the limits allow.

use proptest::{collection::vec, prelude::*};
use skidder_lumberjack::{
    ByteBudget, Compression, Decoder, Limits, Payload, Version, Window, WindowBuilder,
};

use crate::frames::{compressed, data, decode, decode_with, json, window};

fn small_limits() -> Limits {
    Limits {
        max_window_events: 1000,
        max_window_bytes: 64 * 1024,
        max_compressed_bytes: 64 * 1024,
        max_inflated_bytes: 64 * 1024,
        max_inflate_ratio: None,
        max_event_bytes: 32 * 1024,
        max_pairs: 100,
        max_key_bytes: 1024,
    }
}

/// What can be compared of windows.
fn summary(windows: &[Window]) -> Vec<(u32, Vec<(u32, Payload)>)> {
    windows
        .iter()
        .map(|window| {
            let events = window
                .events
                .iter()
                .map(|event| (event.sequence, event.payload.clone()));
            (window.announced, events.collect())
        })
        .collect()
}

fn pieces<'a>(mut bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at((*size).clamp(1, bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn event_pairs() -> impl Strategy<Value = Pairs> {
    vec((vec(any::<u8>(), 0..12), vec(any::<u8>(), 0..80)), 0..6)
}

/// A stream of frames as a sender that follows the rules might write it, in any of the shapes
/// that are accepted.
fn valid_stream() -> impl Strategy<Value = Vec<u8>> {
    let event = prop_oneof![
        vec(any::<u8>(), 0..200).prop_map(|body| json(b'2', 1, &body)),
        event_pairs().prop_map(|pairs| {
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(key, value)| (&key[..], &value[..]))
                .collect();
            data(b'2', 2, &pairs)
        }),
    ];
    let group = (any::<bool>(), vec(event, 1..8));
    let one_window =
        (vec(group, 0..4), 0..3_u32, any::<bool>()).prop_map(|(groups, more, inside)| {
            let count: usize = groups.iter().map(|(_, events)| events.len()).sum();
            let head = window(b'2', count as u32 + more);
            if inside {
                let frames: Vec<u8> = groups
                    .into_iter()
                    .flat_map(|group| group.1.concat())
                    .collect();
                return compressed(b'2', &[head, frames].concat());
            }
            let frames = groups.into_iter().flat_map(|(compress, events)| {
                let events = events.concat();
                if compress {
                    compressed(b'2', &events)
                } else {
                    events
                }
            });
            head.into_iter().chain(frames).collect()
        });
    vec(one_window, 1..5).prop_map(|windows| windows.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn complaint_16_what_is_encoded_is_decoded_under_any_split(
        windows in vec(vec(event_pairs(), 1..20), 1..4),
        first in any::<u32>(),
        level in 0..13_u8,
        sizes in vec(1..400_usize, 1..10),
    ) {
        let compression = match level {
            0 => Compression::None,
            level => Compression::Zlib { level },
        };
        for version in [Version::V1, Version::V2] {
            let mut builder = WindowBuilder::new(version, compression);
            builder.set_next_sequence(first);
            let mut stream = Vec::new();
            let mut lasts = Vec::new();
            for (index, events) in windows.iter().enumerate() {
                for event in events {
                    let pairs = event.iter().map(|(key, value)| (&key[..], &value[..]));
                    if index % 2 == 0 {
                        builder.push_pairs(pairs).expect("fits");
                    } else {
                        let text: Vec<u8> = event.iter().flat_map(|pair| pair.1.clone()).collect();
                        builder.push_json(&text).expect("fits");
                    }
                }
                let window = builder.finish();
                lasts.push(window.last_sequence());
                stream.extend_from_slice(&window.bytes);
            }
            let budget = ByteBudget::new(usize::MAX);
            let mut decoder = Decoder::new(Limits::default(), budget.account());
            let decoded = decode_with(&mut decoder, pieces(&stream, &sizes).into_iter())
                .expect("what we send is valid");
            prop_assert!(decoder.is_at_boundary());
            prop_assert_eq!(decoded.len(), windows.len());
            for (index, (decoded, events)) in decoded.iter().zip(&windows).enumerate() {
                prop_assert_eq!(decoded.version, version);
                prop_assert_eq!(decoded.announced as usize, events.len());
                prop_assert_eq!(decoded.last_sequence(), lasts[index]);
                for (decoded, event) in decoded.events.iter().zip(events) {
                    match &decoded.payload {
                        Payload::Line(line) => prop_assert!(false, "not of this version: {line:?}"),
                        Payload::Pairs(pairs) => prop_assert!(pairs
                            .iter()
                            .eq(event.iter().map(|(key, value)| (&key[..], &value[..])))),
                        Payload::Json(json) => {
                            let text: Vec<u8> =
                                event.iter().flat_map(|pair| pair.1.clone()).collect();
                            prop_assert_eq!(&json[..], &text[..]);
                        }
                    }
                }
            }
            drop((decoder, decoded));
            prop_assert_eq!(budget.used(), 0);
        }
    }

    #[test]
    fn every_split_gives_the_same_windows(
        stream in valid_stream(),
        sizes in vec(1..300_usize, 1..10),
    ) {
        let whole = decode(&stream, stream.len(), &Limits::default()).expect("valid");
        let budget = ByteBudget::new(usize::MAX);
        let mut decoder = Decoder::new(Limits::default(), budget.account());
        let split = decode_with(&mut decoder, pieces(&stream, &sizes).into_iter()).expect("valid");
        prop_assert_eq!(summary(&whole), summary(&split));
    }

    #[test]
    fn complaint_16_damaged_streams_neither_panic_nor_cost_more_than_the_limits(
        stream in valid_stream(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        sizes in vec(1..300_usize, 1..10),
    ) {
        let mut stream = stream;
        for (index, byte) in damage {
            let at = index.index(stream.len());
            stream[at] = byte;
        }
        stream.truncate(cut.index(stream.len()) + 1);
        check_any(&stream, &sizes)?;
    }

    #[test]
    fn any_bytes_neither_panic_nor_cost_more_than_the_limits(
        bytes in vec(any::<u8>(), 1..300),
        as_frames in any::<bool>(),
        sizes in vec(1..40_usize, 1..10),
    ) {
        let stream = if as_frames {
            [&window(b'2', 3)[..], &compressed(b'2', &bytes)].concat()
        } else {
            bytes
        };
        check_any(&stream, &sizes)?;
    }
}

fn check_any(stream: &[u8], sizes: &[usize]) -> Result<(), TestCaseError> {
    let limits = small_limits();
    let budget = ByteBudget::new(usize::MAX);
    let mut decoder = Decoder::new(limits.clone(), budget.account());
    let split = decode_with(&mut decoder, pieces(stream, sizes).into_iter());
    let whole = decode(stream, stream.len(), &limits);
    match (&split, &whole) {
        (Ok(split), Ok(whole)) => prop_assert_eq!(summary(split), summary(whole)),
        (Err(split), Err(whole)) => prop_assert_eq!(split, whole),
        _ => prop_assert!(false, "split: {split:?}, whole: {whole:?}"),
    }
    // Compressed and inflated bytes of all the windows there can be in so short a stream.
    prop_assert!(budget.peak() <= 8 * 1024 * 1024, "peak {}", budget.peak());
    drop((split, decoder));
    prop_assert_eq!(budget.used(), 0);
    Ok(())
}
