//! The native framing: what is sent is what comes, whatever is not is refused, and a server that stops
//! is left without an error.

use std::time::Duration;

use proptest::prelude::*;
use skidder_lumberjack::native::{
    Line, LineBuilder, MAX_SOURCES, MAX_SOURCES_BYTES, NativeCompression, SourceFields,
};
use skidder_lumberjack::{
    Answer, ByteBudget, Client, ClientOptions, Decoder, Delivery, EncodeError, EncodedWindow,
    LimitName, Limits, Payload, ProtocolError, ServerOptions, Step, Version, serve_until,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_mins(1);
const ZSTD: NativeCompression = NativeCompression::Zstd { level: 1 };

fn describe(fields: SourceFields<'_>) {
    let before = [(&b"host"[..], &b"web1"[..]), (b"file", b"/a.log")];
    let after = [(&b"type"[..], &b"nginx\xff"[..])];
    fields.write(b"stream", before.into_iter(), after.into_iter());
}

fn push(builder: &mut LineBuilder, key: u64, offset: u64, text: &[u8]) -> Result<(), EncodeError> {
    builder.push(key, describe, 7, offset, text, [].into_iter())
}

fn window(texts: &[&str]) -> EncodedWindow {
    let mut builder = LineBuilder::new(ZSTD, 10_000);
    for text in texts {
        push(&mut builder, 1, 0, text.as_bytes()).expect("fits");
    }
    builder.finish()
}

/// A window of these header fields and this body, with the right checksum.
fn framed(codec: u8, flags: u8, lines: u32, unpacked: u32, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![b'N', b'W', codec, flags];
    for number in [lines, unpacked, body.len() as u32] {
        frame.extend(number.to_be_bytes());
    }
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    hash.update(&frame);
    hash.update(body);
    frame.extend(hash.digest().to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

fn decoder(limits: &Limits) -> Decoder {
    Decoder::new(limits.clone(), ByteBudget::new(usize::MAX).account())
}

/// The lines of each window, fed in pieces of this size.
fn decode(
    decoder: &mut Decoder,
    bytes: &[u8],
    piece: usize,
) -> Result<Vec<Vec<Line>>, ProtocolError> {
    let mut windows = Vec::new();
    for mut rest in bytes.chunks(piece) {
        while !rest.is_empty() {
            let taken = decoder.feed(rest);
            rest = &rest[taken..];
            loop {
                match decoder.step()? {
                    Step::Window(window) => {
                        assert_eq!(window.version, Version::Native);
                        let lines = window.events.into_iter().enumerate().map(|(index, event)| {
                            assert_eq!(event.sequence as usize, index + 1);
                            match event.payload {
                                Payload::Line(line) => line,
                                other => panic!("no line: {other:?}"),
                            }
                        });
                        windows.push(lines.collect());
                    }
                    Step::NeedInput => break,
                    Step::NeedMemory(_) => unreachable!("the budget is unlimited"),
                }
            }
        }
    }
    Ok(windows)
}

fn refused(bytes: &[u8], limits: &Limits) -> ProtocolError {
    decode(&mut decoder(limits), bytes, usize::MAX).expect_err("it is refused")
}

#[test]
fn lines_come_with_what_they_were_sent_with() {
    for compression in [NativeCompression::None, ZSTD] {
        let mut builder = LineBuilder::new(compression, 100);
        push(&mut builder, 1, 0, b"first").expect("fits");
        push(&mut builder, 1, 6, b"\xff\0").expect("fits");
        push(&mut builder, 1, u64::MAX, b"").expect("fits");
        let extra = [(&b"stream"[..], &b"stdout"[..])];
        builder
            .push(9, describe, -5, 3, b"other", extra.into_iter())
            .expect("fits");
        let first = builder.finish();
        assert_eq!((first.events, first.last_sequence()), (4, 4));
        push(&mut builder, 9, 9, b"again").expect("fits");
        let second = builder.finish();
        // The second window does not describe its source again.
        assert!(second.bytes.len() < first.bytes.len());
        let stream = [&first.bytes[..], &second.bytes[..]].concat();
        for piece in [1, 7, stream.len()] {
            let windows = decode(&mut decoder(&Limits::default()), &stream, piece).expect("valid");
            let lines: Vec<_> = windows.concat();
            let seen: Vec<_> = lines
                .iter()
                .map(|line| (line.read_at, line.offset, &line.text[..]))
                .collect();
            let expected: [(i64, u64, &[u8]); 5] = [
                (7, 0, b"first"),
                (7, 6, b"\xff\0"),
                (7, u64::MAX, b""),
                (-5, 3, b"other"),
                (7, 9, b"again"),
            ];
            assert_eq!(seen, expected);
            assert_eq!(lines[0].extra().count(), 0);
            let extra: Vec<_> = lines[3].extra().collect();
            assert_eq!(extra, [(&b"stream"[..], &b"stdout"[..])]);
            for line in &lines {
                assert_eq!(&*line.source.stream, b"stream");
                assert_eq!(line.source.before.len(), 2);
                assert_eq!(&*line.source.after[0].0, "type");
                assert_eq!(&*line.source.after[0].1, b"nginx\xff");
            }
        }
    }
}

#[test]
fn another_connection_is_told_everything_again() {
    let mut builder = LineBuilder::new(ZSTD, 100);
    push(&mut builder, 1, 0, b"lost").expect("fits");
    builder.finish();
    push(&mut builder, 1, 5, b"half").expect("fits");
    builder.restart();
    push(&mut builder, 1, 0, b"again").expect("fits");
    let window = builder.finish();
    let windows = decode(&mut decoder(&Limits::default()), &window.bytes, 5).expect("valid");
    assert_eq!(windows.concat()[0].text, "again");
}

#[test]
fn a_full_table_of_sources_is_begun_anew() {
    let mut builder = LineBuilder::new(ZSTD, 10_000);
    let mut stream = Vec::new();
    let mut windows = 0;
    for key in 0..MAX_SOURCES as u64 * 2 + 10 {
        let text = key.to_string();
        if let Err(error) = push(&mut builder, key, 0, text.as_bytes()) {
            assert_eq!(error, EncodeError::SourcesFull);
            stream.extend_from_slice(&builder.finish().bytes);
            windows += 1;
            push(&mut builder, key, 0, text.as_bytes()).expect("fits an empty window");
        }
    }
    stream.extend_from_slice(&builder.finish().bytes);
    assert_eq!(windows, 2);
    let decoded = decode(&mut decoder(&Limits::default()), &stream, stream.len()).expect("valid");
    let texts: Vec<_> = decoded
        .concat()
        .iter()
        .map(|line| String::from_utf8_lossy(&line.text).into_owned())
        .collect();
    let expected: Vec<_> = (0..MAX_SOURCES * 2 + 10)
        .map(|key| key.to_string())
        .collect();
    assert_eq!(texts, expected);
}

#[test]
fn a_description_that_fits_no_table_is_an_error() {
    let huge = vec![b'x'; MAX_SOURCES_BYTES];
    let mut builder = LineBuilder::new(ZSTD, 10);
    let describe = |fields: SourceFields<'_>| fields.write(&huge, [].into_iter(), [].into_iter());
    let error = builder.push(1, describe, 0, 0, b"", [].into_iter());
    assert!(matches!(error, Err(EncodeError::EventTooLarge { .. })));
}

#[test]
fn a_changed_byte_is_never_taken() {
    let window = window(&[
        "one",
        "two",
        "three and some more text text text text text text",
    ]);
    for at in 0..window.bytes.len() {
        for bit in [1, 0x10, 0x80] {
            let mut bytes = window.bytes.to_vec();
            bytes[at] ^= bit;
            // Either it is refused, or it seems to be a longer frame, which never ends.
            if let Ok(windows) = decode(&mut decoder(&Limits::default()), &bytes, bytes.len()) {
                assert!(windows.is_empty(), "byte {at}");
            }
        }
    }
    for length in 0..window.bytes.len() {
        let cut = &window.bytes[..length];
        let mut decoder = decoder(&Limits::default());
        assert!(
            decode(&mut decoder, cut, cut.len().max(1))
                .expect("so far")
                .is_empty()
        );
        assert_eq!(decoder.is_at_boundary(), length == 0);
    }
}

#[test]
fn every_limit_is_checked_by_the_header() {
    let exceeded = |limit, allowed, got| ProtocolError::LimitExceeded {
        limit,
        allowed,
        got,
    };
    let header = |lines, unpacked, packed: u32| {
        let mut frame = framed(1, 0, lines, unpacked, b"");
        frame[12..16].copy_from_slice(&packed.to_be_bytes());
        frame
    };
    let limits = Limits {
        max_window_events: 10,
        max_compressed_bytes: 100,
        max_inflated_bytes: 1000,
        ..Limits::default()
    };
    for (bytes, error) in [
        (header(11, 0, 0), exceeded(LimitName::WindowEvents, 10, 11)),
        (
            header(1, 0, 101),
            exceeded(LimitName::CompressedBytes, 100, 101),
        ),
        (
            header(1, 1001, 1),
            exceeded(LimitName::InflatedBytes, 1000, 1001),
        ),
    ] {
        assert_eq!(refused(&bytes, &limits), error);
    }
    let limits = Limits {
        max_inflate_ratio: Some(10),
        ..limits
    };
    let error = exceeded(LimitName::InflateRatio, 10, 11);
    assert_eq!(refused(&header(1, 11, 1), &limits), error);
}

#[test]
fn every_limit_is_checked_in_the_body() {
    let exceeded = |limit, allowed, got| ProtocolError::LimitExceeded {
        limit,
        allowed,
        got,
    };
    let two = window(&["12345", "12345"]).bytes;
    let limits = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    };
    for (limits, error) in [
        (
            limits(|limits| limits.max_event_bytes = 4),
            exceeded(LimitName::EventBytes, 4, 5),
        ),
        (
            limits(|limits| limits.max_window_bytes = 9),
            exceeded(LimitName::WindowBytes, 9, 10),
        ),
        (
            limits(|limits| limits.max_pairs = 1),
            exceeded(LimitName::Pairs, 1, 2),
        ),
        (
            limits(|limits| limits.max_key_bytes = 3),
            exceeded(LimitName::KeyBytes, 3, 4),
        ),
    ] {
        assert_eq!(refused(&two, &limits), error);
    }
    // Sources without a name, a stream or a line: three bytes each.
    let sources = |count: usize| {
        let mut head = vec![count as u8 | 0x80, (count >> 7) as u8];
        head.extend([3, 0, 0, 0].repeat(count));
        let mut body = (head.len() as u32).to_be_bytes().to_vec();
        body.extend(head);
        framed(0, 0, 1, body.len() as u32, &body)
    };
    let most = MAX_SOURCES as u64;
    assert_eq!(
        refused(&sources(MAX_SOURCES + 1), &Limits::default()),
        exceeded(LimitName::Sources, most, most + 1)
    );
    assert!(matches!(
        refused(&sources(MAX_SOURCES), &Limits::default()),
        ProtocolError::MalformedNative { .. }
    ));
}

#[test]
fn a_length_that_lies_is_refused_and_costs_what_it_names_at_most() {
    let packed = zstd::bulk::compress(&vec![0; 1 << 20], 1).expect("packs");
    for unpacked in [0, 1000, (1 << 20) - 1, (1 << 20) + 1] {
        let budget = ByteBudget::new(usize::MAX);
        let mut decoder = Decoder::new(Limits::default(), budget.account());
        let frame = framed(1, 0, 1, unpacked, &packed);
        let error = decode(&mut decoder, &frame, frame.len()).expect_err("refused");
        assert!(
            matches!(error, ProtocolError::CorruptNative { .. }),
            "{error}"
        );
        assert!(budget.peak() <= unpacked as usize + (64 << 10));
    }
    for frame in [framed(0, 0, 1, 4, b"abc"), framed(1, 0, 1, 4, b"abcd")] {
        let error = refused(&frame, &Limits::default());
        assert!(
            matches!(error, ProtocolError::CorruptNative { .. }),
            "{error}"
        );
    }
    for frame in [framed(2, 0, 1, 0, b""), framed(0, 2, 1, 0, b"")] {
        let error = refused(&frame, &Limits::default());
        assert!(
            matches!(error, ProtocolError::UnknownNative { .. }),
            "{error}"
        );
    }
}

#[test]
fn the_framing_does_not_change_within_a_connection() {
    let native = window(&["one"]).bytes;
    let old = [b'2', b'W', 0, 0, 0, 1];
    for (first, second) in [(&native[..], &old[..]), (&old, &native)] {
        let stream = [first, second].concat();
        let error = refused(&stream, &Limits::default());
        assert!(
            matches!(error, ProtocolError::VersionChanged { .. }),
            "{error}"
        );
    }
}

proptest! {
    #[test]
    fn no_body_does_harm(body in prop::collection::vec(prop_oneof![any::<u8>(), 0..4_u8], 0..200), lines in 0..6_u32) {
        let mut with_head = (body.len() as u32 / 2).to_be_bytes().to_vec();
        with_head.extend_from_slice(&body);
        for body in [body, with_head] {
            let frame = framed(0, 0, lines, body.len() as u32, &body);
            match decode(&mut decoder(&Limits::default()), &frame, frame.len()) {
                Ok(windows) => prop_assert_eq!(windows[0].len(), lines as usize),
                Err(error) => {
                    let malformed = matches!(error, ProtocolError::MalformedNative { .. });
                    let exceeded = matches!(error, ProtocolError::LimitExceeded { .. });
                    prop_assert!(malformed || exceeded, "{}", error);
                }
            }
        }
    }

    #[test]
    fn any_lines_come_back(lines in prop::collection::vec(
        (0..4_u64, any::<i64>(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..30)), 1..50)) {
        let mut builder = LineBuilder::new(ZSTD, 100);
        for (key, read_at, offset, text) in &lines {
            builder.push(*key, describe, *read_at, *offset, text, [].into_iter()).expect("fits");
        }
        let window = builder.finish();
        let windows = decode(&mut decoder(&Limits::default()), &window.bytes, 64).expect("valid");
        let decoded = windows.concat();
        prop_assert_eq!(decoded.len(), lines.len());
        for (line, (_, read_at, offset, text)) in decoded.iter().zip(&lines) {
            prop_assert_eq!((line.read_at, line.offset, &line.text[..]), (*read_at, *offset, &text[..]));
        }
    }
}

#[tokio::test]
async fn a_server_that_stops_acknowledges_what_is_under_way_and_is_left() {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let (sender, mut deliveries) = mpsc::channel::<Delivery>(1);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let shutdown = async { drop(stopped.await) };
        serve_until(theirs, &ServerOptions::default(), sender, shutdown).await
    });
    let mut client = Client::new(ours, ClientOptions::new(Version::Native));
    let mut builder = LineBuilder::new(ZSTD, 100);
    let mut next = || {
        push(&mut builder, 1, 0, b"line").expect("fits");
        builder.finish()
    };
    client.send(&next()).await.expect("sends");
    let first = deliveries.recv().await.expect("a window");
    stop.send(()).expect("it listens");
    let answer = timeout(PATIENCE, client.receive()).await.expect("in time");
    assert_eq!(answer.expect("an answer"), Answer::Leave);
    assert!(client.is_asked_to_leave());
    // What was on its way meanwhile is taken and acknowledged all the same.
    client.send(&next()).await.expect("sends");
    let second = timeout(PATIENCE, deliveries.recv()).await.expect("in time");
    first.ack.acknowledge();
    second.expect("the second window").ack.acknowledge();
    for _ in 0..2 {
        let acked = client.receive_ack().await.expect("acknowledged");
        assert!(acked.complete);
    }
    client.close().await.expect("closes");
    server.await.expect("no panic").expect("no error");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_leave_is_left() {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let (sender, mut deliveries) = mpsc::channel::<Delivery>(1);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let shutdown = async { drop(stopped.await) };
        serve_until(theirs, &ServerOptions::default(), sender, shutdown).await
    });
    let mut client = Client::new(ours, ClientOptions::new(Version::Native));
    client.send(&window(&["line"])).await.expect("sends");
    let delivery = deliveries.recv().await.expect("a window");
    delivery.ack.acknowledge();
    stop.send(()).expect("it listens");
    timeout(PATIENCE, server)
        .await
        .expect("in time")
        .expect("no panic")
        .expect("no error");
}
