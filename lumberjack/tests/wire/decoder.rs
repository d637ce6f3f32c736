//! What a sender may do, and what it may not, as far as the bytes decide it.

use skidder_lumberjack::{Limits, Payload, ProtocolError, Version};

use crate::frames::{
    bare, compressed, compressed_raw, data, decode, decode_whole, events, json, sequences, window,
    zlib,
};

#[test]
fn bare_data_frames_may_be_split_anywhere() {
    let stream = bare(b'1', 1, 3);
    for piece in 1..=stream.len() {
        let windows = decode(&stream, piece, &Limits::default()).expect("valid");
        assert_eq!(windows.len(), 1);
        assert_eq!(windows[0].version, Version::V1);
        assert_eq!(sequences(&windows[0]), [1, 2, 3]);
        let Payload::Pairs(pairs) = &windows[0].events[1].payload else {
            panic!("a D frame carries pairs");
        };
        assert_eq!(pairs.find(b"line"), Some(&b"text"[..]));
    }
}

#[test]
fn a_json_frame_in_version_1_is_taken() {
    let stream = [window(b'1', 1), json(b'1', 9, b"{}")].concat();
    let windows = decode_whole(&stream).expect("valid");
    assert_eq!(windows[0].version, Version::V1);
    assert_eq!(
        windows[0].events[0].payload,
        Payload::Json(b"{}"[..].into())
    );
}

#[test]
fn data_and_json_may_be_mixed_in_a_window() {
    let stream = [
        window(b'2', 3),
        json(b'2', 1, b"[1]"),
        data(b'2', 2, &[(b"a", b"b")]),
        json(b'2', 3, b""),
    ]
    .concat();
    let windows = decode_whole(&stream).expect("valid");
    assert_eq!(sequences(&windows[0]), [1, 2, 3]);
    assert!(matches!(windows[0].events[1].payload, Payload::Pairs(_)));
}

#[test]
fn a_window_may_have_several_compressed_frames() {
    let stream = [
        window(b'2', 5),
        compressed(b'2', &events(b'2', 1, 2)),
        compressed(b'2', &events(b'2', 3, 3)),
    ]
    .concat();
    let windows = decode_whole(&stream).expect("valid");
    assert_eq!(windows.len(), 1);
    assert_eq!(sequences(&windows[0]), [1, 2, 3, 4, 5]);
}

#[test]
fn compressed_and_bare_frames_may_be_mixed_and_keep_their_order() {
    let stream = [
        window(b'2', 6),
        events(b'2', 1, 2),
        compressed(b'2', &events(b'2', 3, 1)),
        events(b'2', 4, 1),
        compressed(b'2', &events(b'2', 5, 1)),
        events(b'2', 6, 1),
    ]
    .concat();
    for piece in [1, 7, stream.len()] {
        let windows = decode(&stream, piece, &Limits::default()).expect("valid");
        assert_eq!(sequences(&windows[0]), [1, 2, 3, 4, 5, 6]);
        assert!(
            windows[0].events.iter().all(|event| {
                event.payload == Payload::Json(b"{\"message\":\"text\"}"[..].into())
            })
        );
    }
}

#[test]
fn window_frames_may_be_inside_a_compressed_frame() {
    let inside = [bare(b'2', 1, 2), bare(b'2', 1, 3), window(b'2', 2)].concat();
    let stream = [compressed(b'2', &inside), events(b'2', 1, 2)].concat();
    let windows = decode_whole(&stream).expect("valid");
    let lengths: Vec<_> = windows.iter().map(|window| window.events.len()).collect();
    assert_eq!(lengths, [2, 3, 2]);
}

#[test]
fn bytes_after_the_end_of_a_zlib_stream_are_ignored() {
    let mut body = zlib(&events(b'2', 1, 2));
    body.extend(b"trailing");
    let stream = [
        window(b'2', 2),
        compressed_raw(b'2', &body),
        bare(b'2', 1, 1),
    ]
    .concat();
    let windows = decode_whole(&stream).expect("valid");
    assert_eq!(windows.len(), 2);
}

#[test]
fn a_window_that_begins_early_hands_on_the_short_one_and_is_itself_whole() {
    let stream = [
        window(b'2', 5),
        events(b'2', 1, 2),
        window(b'2', 3),
        events(b'2', 1, 3),
        bare(b'2', 1, 1),
    ]
    .concat();
    let windows = decode_whole(&stream).expect("valid");
    assert_eq!(windows.len(), 3, "none waits for a further window");
    assert_eq!((windows[0].announced, windows[0].last_sequence()), (5, 2));
    assert_eq!(sequences(&windows[1]), [1, 2, 3]);
    assert_eq!(sequences(&windows[2]), [1]);
}

#[test]
fn a_window_that_follows_an_empty_one_replaces_it() {
    let stream = [window(b'2', 5), bare(b'2', 1, 1)].concat();
    let windows = decode_whole(&stream).expect("valid");
    assert_eq!(windows.len(), 1);
    assert_eq!(windows[0].announced, 1);
}

#[test]
fn a_window_of_size_zero_after_a_short_one_gives_both() {
    let stream = [window(b'2', 5), events(b'2', 1, 1), window(b'2', 0)].concat();
    let windows = decode_whole(&stream).expect("valid");
    let lengths: Vec<_> = windows.iter().map(|window| window.events.len()).collect();
    assert_eq!(lengths, [1, 0]);
}

#[test]
fn sequence_numbers_are_unsigned_and_wrap() {
    let stream = bare(b'1', u32::MAX - 1, 4);
    let windows = decode_whole(&stream).expect("valid");
    assert_eq!(sequences(&windows[0]), [u32::MAX - 1, u32::MAX, 0, 1]);
    assert_eq!(windows[0].last_sequence(), 1);
}

#[test]
fn keys_and_values_need_not_be_utf8_nor_keys_unique() {
    let pairs: [(&[u8], &[u8]); 3] = [
        (b"line", b"\xff\xfe\x00"),
        (b"line", b"second"),
        (b"\x80", b""),
    ];
    let stream = [window(b'1', 1), data(b'1', 1, &pairs)].concat();
    let windows = decode_whole(&stream).expect("valid");
    let Payload::Pairs(decoded) = &windows[0].events[0].payload else {
        panic!("a D frame carries pairs");
    };
    assert_eq!(decoded.len(), 3);
    assert!(decoded.iter().eq(pairs));
    assert_eq!(decoded.find(b"line"), Some(&b"\xff\xfe\x00"[..]));
    assert_eq!(decoded.find(b"absent"), None);
}

#[test]
fn a_data_frame_may_have_no_pairs() {
    let stream = [window(b'1', 1), data(b'1', 7, &[])].concat();
    let windows = decode_whole(&stream).expect("valid");
    assert_eq!(windows[0].last_sequence(), 7);
}

#[test]
fn nested_compression_is_refused() {
    let inner = compressed(b'2', &events(b'2', 1, 1));
    let stream = [window(b'2', 1), compressed(b'2', &inner)].concat();
    assert_eq!(
        decode_whole(&stream).unwrap_err(),
        ProtocolError::NestedCompression
    );
}

#[test]
fn a_change_of_version_is_refused_wherever_it_is() {
    let changed = ProtocolError::VersionChanged {
        began: Version::V2,
        got: b'1',
    };
    for stream in [
        [bare(b'2', 1, 1), bare(b'1', 1, 1)].concat(),
        [window(b'2', 1), events(b'1', 1, 1)].concat(),
        [window(b'2', 1), compressed(b'2', &events(b'1', 1, 1))].concat(),
    ] {
        assert_eq!(decode_whole(&stream).unwrap_err(), changed);
    }
}

#[test]
fn what_is_not_lumberjack_is_refused_by_its_first_byte() {
    let error = decode_whole(b"\x16\x03\x01").unwrap_err();
    assert_eq!(error, ProtocolError::NotLumberjack { got: 0x16 });
    assert!(error.to_string().contains("looks like TLS"), "{error}");
    let error = decode_whole(b"GET / HTTP/1.1").unwrap_err();
    assert!(error.to_string().contains("looks like HTTP"), "{error}");
}

#[test]
fn an_unknown_frame_type_is_refused_even_with_a_known_version() {
    for kind in [b'Q', b'A', b'w', 0] {
        assert_eq!(
            decode_whole(&[b'2', kind]).unwrap_err(),
            ProtocolError::UnknownFrame { got: kind }
        );
    }
}

#[test]
fn events_outside_of_a_window_are_refused() {
    let outside = ProtocolError::EventOutsideWindow { sequence: 4 };
    for stream in [
        events(b'2', 4, 1),
        [bare(b'2', 1, 3), events(b'2', 4, 1)].concat(),
        [window(b'2', 3), compressed(b'2', &events(b'2', 1, 4))].concat(),
    ] {
        assert_eq!(decode_whole(&stream).unwrap_err(), outside);
    }
}

#[test]
fn what_is_not_zlib_is_refused() {
    let garbage = compressed_raw(b'2', b"this is not compressed");
    let mut wrong_checksum = zlib(&events(b'2', 1, 1));
    if let Some(last) = wrong_checksum.last_mut() {
        *last ^= 1;
    }
    for (frame, compressed) in [
        (garbage, 22),
        (compressed_raw(b'2', b""), 0),
        (compressed_raw(b'2', &wrong_checksum), wrong_checksum.len()),
    ] {
        assert_eq!(
            decode_whole(&[window(b'2', 1), frame].concat()).unwrap_err(),
            ProtocolError::CorruptCompression { compressed }
        );
    }
}

#[test]
fn a_compressed_frame_must_end_where_a_frame_ends() {
    let events = events(b'2', 1, 2);
    for length in [1, 5, 9, 12, events.len() - 1] {
        let stream = [window(b'2', 2), compressed(b'2', &events[..length])].concat();
        assert_eq!(
            decode_whole(&stream).unwrap_err(),
            ProtocolError::TruncatedCompression
        );
    }
}

#[test]
fn a_frame_larger_than_any_buffer_arrives_in_pieces() {
    let body: Vec<u8> = (0..300_000_u32).flat_map(u32::to_be_bytes).collect();
    let value = &body[..];
    let stream = [
        window(b'1', 3),
        json(b'1', 1, &body),
        data(b'1', 2, &[(b"line", value), (b"again", value)]),
        compressed(b'1', &json(b'1', 3, &body)),
    ]
    .concat();
    for piece in [1000, 16 * 1024, stream.len()] {
        let windows = decode(&stream, piece, &Limits::default()).expect("valid");
        let [first, second, third] = &windows[0].events[..] else {
            panic!("three events");
        };
        assert_eq!(first.payload, Payload::Json(body.clone().into()));
        assert_eq!(third.payload, Payload::Json(body.clone().into()));
        let Payload::Pairs(pairs) = &second.payload else {
            panic!("a D frame carries pairs");
        };
        assert_eq!(pairs.find(b"again"), Some(value));
    }
}
