//! Every limit: what is exactly allowed passes, one more is refused, and refused as soon as the
//! number is read, before the bytes that it promises.

use skidder_lumberjack::{ByteBudget, Decoder, LimitName, Limits, ProtocolError, Step};

use crate::frames::{
    bare, compressed, compressed_raw, data, decode, decode_with, events, json, window, zlib,
};

fn exceeded(limit: LimitName, allowed: u64, got: u64) -> ProtocolError {
    ProtocolError::LimitExceeded {
        limit,
        allowed,
        got,
    }
}

/// Both streams under the limits: the first must pass, the second must fail as given.
fn check(limits: &Limits, passes: &[u8], fails: &[u8], error: &ProtocolError) {
    for piece in [1, 7, usize::MAX] {
        decode(passes, piece.min(passes.len()), limits).expect("what is allowed passes");
        assert_eq!(
            &decode(fails, piece.min(fails.len()), limits)
                .expect_err("what exceeds the limit is refused"),
            error
        );
    }
}

#[test]
fn max_window_events_is_checked_on_the_window_frame() {
    let limits = Limits {
        max_window_events: 10,
        ..Limits::default()
    };
    check(
        &limits,
        &bare(b'2', 1, 10),
        &window(b'2', 11),
        &exceeded(LimitName::WindowEvents, 10, 11),
    );
}

#[test]
fn the_default_takes_windows_of_any_known_sender() {
    // logstash-forwarder with a large -spool-size; go-lumber refuses it for ever.
    let stream = [
        window(b'1', 12_000),
        compressed(b'1', &events(b'1', 1, 12_000)),
    ]
    .concat();
    let windows = decode(&stream, stream.len(), &Limits::default()).expect("valid");
    assert_eq!(windows[0].events.len(), 12_000);
}

#[test]
fn a_window_of_four_billion_events_costs_nothing() {
    let limits = Limits {
        max_window_events: u32::MAX,
        ..Limits::default()
    };
    let budget = ByteBudget::new(usize::MAX);
    let mut decoder = Decoder::new(limits, budget.account());
    decode_with(&mut decoder, std::iter::once(&window(b'2', u32::MAX)[..])).expect("allowed");
    decode_with(&mut decoder, std::iter::once(&events(b'2', 1, 1)[..])).expect("allowed");
    assert!(budget.peak() <= 4096, "peak {}", budget.peak());
}

#[test]
fn max_window_bytes_counts_all_frames_of_a_window() {
    let limits = Limits {
        max_window_bytes: 100,
        ..Limits::default()
    };
    let two = [window(b'2', 2), json(b'2', 1, &[b'x'; 60])].concat();
    let passes = [two.clone(), compressed(b'2', &json(b'2', 2, &[b'x'; 40]))].concat();
    let fails = [two.clone(), compressed(b'2', &json(b'2', 2, &[b'x'; 41]))].concat();
    let error = exceeded(LimitName::WindowBytes, 100, 101);
    check(&limits, &passes, &fails, &error);
    let fails = [two, json(b'2', 2, &[b'x'; 41])].concat();
    check(&limits, &passes, &fails, &error);
    // The next window counts from 0.
    check(&limits, &[passes.clone(), passes].concat(), &fails, &error);
}

#[test]
fn max_compressed_bytes_is_checked_on_the_header() {
    let limits = Limits {
        max_compressed_bytes: 1000,
        ..Limits::default()
    };
    let passes = [window(b'2', 3), compressed(b'2', &events(b'2', 1, 3))].concat();
    let fails = [&b"2C"[..], &1001_u32.to_be_bytes()].concat();
    let error = exceeded(LimitName::CompressedBytes, 1000, 1001);
    check(&limits, &passes, &fails, &error);
}

#[test]
fn max_inflated_bytes_stops_a_bomb() {
    let limits = Limits {
        max_inflated_bytes: 100_010,
        ..Limits::default()
    };
    let passes = [
        window(b'2', 1),
        compressed(b'2', &json(b'2', 1, &vec![b' '; 100_000])),
    ]
    .concat();
    let fails = [
        window(b'2', 1),
        compressed(b'2', &json(b'2', 1, &vec![b' '; 100_001])),
    ]
    .concat();
    let error = exceeded(LimitName::InflatedBytes, 100_010, 100_011);
    check(&limits, &passes, &fails, &error);
}

#[test]
fn a_bomb_costs_no_more_than_the_limit() {
    const LIMIT: usize = 1 << 20;
    let limits = Limits {
        max_inflated_bytes: LIMIT,
        ..Limits::default()
    };
    let bomb = compressed_raw(b'2', &zlib(&vec![0; 64 << 20]));
    assert!(bomb.len() < 128 * 1024, "{} bytes", bomb.len());
    let budget = ByteBudget::new(usize::MAX);
    let mut decoder = Decoder::new(limits, budget.account());
    let stream = [window(b'2', 1), bomb.clone()].concat();
    let error = decode_with(&mut decoder, stream.chunks(1000)).unwrap_err();
    assert_eq!(
        error,
        exceeded(LimitName::InflatedBytes, LIMIT as u64, LIMIT as u64 + 1)
    );
    assert!(
        budget.peak() <= LIMIT + 2 * bomb.len(),
        "peak {}",
        budget.peak()
    );
    drop(decoder);
    assert_eq!(budget.used(), 0);
}

#[test]
fn max_inflate_ratio_applies_when_it_is_set() {
    let limits = Limits {
        max_inflate_ratio: Some(20),
        ..Limits::default()
    };
    let body = zlib(&json(b'2', 1, &vec![b' '; 100_000]));
    let allowed = body.len() as u64 * 20;
    let fails = [window(b'2', 1), compressed_raw(b'2', &body)].concat();
    let passes = [window(b'2', 2), compressed(b'2', &events(b'2', 1, 2))].concat();
    let error = exceeded(LimitName::InflateRatio, allowed, allowed + 1);
    check(&limits, &passes, &fails, &error);
}

#[test]
fn max_event_bytes_is_checked_on_the_header_of_a_json_frame() {
    let limits = Limits {
        max_event_bytes: 50,
        ..Limits::default()
    };
    let passes = [window(b'2', 1), json(b'2', 1, &[b'x'; 50])].concat();
    let fails = [
        window(b'2', 1),
        b"2J\0\0\0\x01".to_vec(),
        51_u32.to_be_bytes().to_vec(),
    ]
    .concat();
    let error = exceeded(LimitName::EventBytes, 50, 51);
    check(&limits, &passes, &fails, &error);
}

#[test]
fn max_event_bytes_counts_the_pairs_of_a_data_frame() {
    let limits = Limits {
        max_event_bytes: 50,
        ..Limits::default()
    };
    // 4 + 1 + 4 + 41 bytes are 50.
    let passes = [window(b'1', 1), data(b'1', 1, &[(b"k", &[b'v'; 41])])].concat();
    let fails = [
        window(b'1', 1),
        b"1D\0\0\0\x01\0\0\0\x01\0\0\0\x01k".to_vec(),
        42_u32.to_be_bytes().to_vec(),
    ]
    .concat();
    let error = exceeded(LimitName::EventBytes, 50, 51);
    check(&limits, &passes, &fails, &error);
}

#[test]
fn a_length_of_four_gib_is_refused_and_does_not_overflow() {
    let limits = Limits::default();
    let allowed = limits.max_event_bytes as u64;
    let value = [
        window(b'1', 1),
        b"1D\0\0\0\x01\0\0\0\x01\0\0\0\x01k\xff\xff\xff\xff".to_vec(),
    ]
    .concat();
    let got = 4 + 1 + 4 + u64::from(u32::MAX);
    let error = exceeded(LimitName::EventBytes, allowed, got);
    check(&limits, &bare(b'1', 1, 1), &value, &error);
    let json = [window(b'2', 1), b"2J\0\0\0\x01\xff\xff\xff\xff".to_vec()].concat();
    let error = exceeded(LimitName::EventBytes, allowed, u64::from(u32::MAX));
    check(&limits, &bare(b'2', 1, 1), &json, &error);
}

#[test]
fn max_pairs_is_checked_on_the_header() {
    let limits = Limits {
        max_pairs: 2,
        ..Limits::default()
    };
    let pair: (&[u8], &[u8]) = (b"k", b"v");
    let passes = [window(b'1', 1), data(b'1', 1, &[pair, pair])].concat();
    let fails = [window(b'1', 1), b"1D\0\0\0\x01\0\0\0\x03".to_vec()].concat();
    check(&limits, &passes, &fails, &exceeded(LimitName::Pairs, 2, 3));
}

#[test]
fn max_key_bytes_bounds_keys_and_not_values() {
    let limits = Limits {
        max_key_bytes: 4,
        ..Limits::default()
    };
    let passes = [
        window(b'1', 1),
        data(b'1', 1, &[(b"line", b"a long value")]),
    ]
    .concat();
    let fails = [
        window(b'1', 1),
        b"1D\0\0\0\x01\0\0\0\x01\0\0\0\x05".to_vec(),
    ]
    .concat();
    check(
        &limits,
        &passes,
        &fails,
        &exceeded(LimitName::KeyBytes, 4, 5),
    );
}

#[test]
fn a_promised_length_is_not_allocated_before_its_bytes_come() {
    let budget = ByteBudget::new(usize::MAX);
    let mut decoder = Decoder::new(Limits::default(), budget.account());
    let header = [&b"2C"[..], &(60_u32 << 20).to_be_bytes()].concat();
    decode_with(
        &mut decoder,
        [&window(b'2', 1)[..], &header[..]].into_iter(),
    )
    .expect("allowed");
    assert!(budget.peak() <= 64 * 1024, "peak {}", budget.peak());
}

#[test]
fn a_decoder_waits_for_memory_and_goes_on_where_it_was() {
    let budget = ByteBudget::new(100_000);
    let mut other = budget.account();
    let all = other.try_reserve(100_000).expect("all of it");
    // Another connection holds the right to overdraw.
    let mut overdrawing = budget.account();
    let overdrawn = overdrawing.try_reserve(1).expect("one may overdraw");

    let stream = [window(b'2', 500), compressed(b'2', &events(b'2', 1, 500))].concat();
    let mut decoder = Decoder::new(Limits::default(), budget.account());
    assert_eq!(decoder.feed(&stream), stream.len());
    for _ in 0..3 {
        let step = decoder.step().expect("valid");
        assert!(matches!(step, Step::NeedMemory(_)), "{step:?}");
    }
    drop((all, overdrawn));
    overdrawing.settle();
    let step = decoder.step().expect("valid");
    let Step::Window(window) = step else {
        panic!("the window, not {step:?}");
    };
    assert_eq!(window.events.len(), 500);
    assert!(budget.used() > 0, "the events are still held");
    let last = window.events[499].clone();
    drop(window);
    assert!(budget.used() > 0, "one event holds on to its chunk");
    drop(last);
    assert_eq!(budget.used(), 0);
}
