use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::super::build::tests::{codec, decoded, encoded, events_of};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(text).unwrap();
    packer.finish().unwrap()
}

#[test]
fn lines_of_all_members_are_events() {
    // With a name and a comment in the header.
    let named = flate2::GzBuilder::new()
        .filename("x")
        .comment("y")
        .extra(vec![1, 2, 3]);
    let mut named = named.write(Vec::new(), Compression::fast());
    named.write_all(b"o\nthree").unwrap();
    let data = [gzip(b"one\r\n\ntw"), named.finish().unwrap()].concat();
    assert_eq!(
        decoded("gzip_lines", false, &[data.leak()]),
        [
            r#"{"message":"one"}"#,
            r#"{"message":""}"#,
            r#"{"message":"two"}"#,
            r#"{"message":"three"}"#
        ]
    );
    let data = gzip(b"\x92").leak();
    assert_eq!(
        decoded("gzip_lines { charset => 'CP1252' }", false, &[data]),
        [r#"{"message":"’"}"#]
    );
    let event = r#"{"message":"m","host":"h","@timestamp":"1970-01-01T00:00:00.000Z"}"#;
    assert_eq!(encoded("gzip_lines", event), "1970-01-01T00:00:00.000Z h m");
}

#[test]
fn what_cannot_be_unpacked_is_told_of() {
    let whole = gzip(b"one\ntwo\n");
    let failed =
        |message: &str| format!(r#"{{"message":"{message}","tags":["_gzipparsefailure"]}}"#);
    let (one, two) = (r#"{"message":"one"}"#, r#"{"message":"two"}"#);
    for (data, expected) in [
        (b"no gzip".to_vec(), vec![failed("no gzip")]),
        // Something stands behind it.
        (
            [&whole[..], b"more"].concat(),
            vec![one.into(), two.into(), failed("more")],
        ),
    ] {
        assert_eq!(decoded("gzip_lines", false, &[data.leak()]), expected);
    }
    // Cut off before its trailer, and with a wrong sum.
    let mut wrong = whole.clone();
    *wrong.last_mut().unwrap() ^= 1;
    for data in [whole[..whole.len() - 3].to_vec(), wrong] {
        let events = decoded("gzip_lines", false, &[data.leak()]);
        assert_eq!(events[..2], [one, two]);
        assert!(events[2].contains("_gzipparsefailure") && events.len() == 3);
    }
    let too_long = "x".repeat(super::member::MAX_HEADER + 1);
    let named = flate2::GzBuilder::new().filename(too_long);
    let named = named
        .write(Vec::new(), Compression::fast())
        .finish()
        .unwrap();
    assert_eq!(decoded("gzip_lines", false, &[named.leak()]).len(), 1);
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let bomb = gzip(&vec![b'\n'; 10 << 20]).leak();
    let events = decoded(
        "gzip_lines { decompress_size_limit_bytes => 40000000 }",
        false,
        &[bomb],
    );
    // Each line takes its kilobyte, and what is unpacked at once is taken as a whole or not.
    assert!((1000..=40_000).contains(&events.len()), "{}", events.len());
    assert!(events.last().unwrap().contains("_gzipparsefailure"));
    let long = gzip(&vec![b'x'; 1 << 20]).leak();
    let events = decoded(
        "gzip_lines { decompress_size_limit_bytes => 100000 }",
        false,
        &[long],
    );
    assert_eq!(events.len(), 2);
}

#[test]
fn a_stream_of_any_length_is_cut_into_small_pieces() {
    let codec = codec("gzip_lines { decode_size_limit_bytes => 100000 }", false).unwrap();
    let line = "0123456789".repeat(10);
    let mut text = format!("{line}\n").repeat(100_000);
    // A line that is too long, of letters that can hardly be packed.
    let mut state = 7_u32;
    text.extend((0..250_000).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (state >> 24) as u8 % 16)
    }));
    let packed = gzip(text.as_bytes());
    let mut cutter = codec.cutter().unwrap();
    let mut messages: Vec<String> = Vec::new();
    let mut take = |piece: Vec<u8>| {
        for event in events_of(&*codec, &[piece], true) {
            let (_, message) = event.split_once(r#""message":""#).unwrap();
            messages.push(message.split('"').next().unwrap().to_owned());
        }
    };
    for chunk in packed.chunks(10_000) {
        take(cutter.push(chunk.to_vec()).unwrap_or_default());
        assert!(cutter.pending() < 200_000, "{}", cutter.pending());
    }
    take(cutter.flush().unwrap_or_default());
    assert_eq!(messages.concat(), text.replace('\n', ""));
    let (lines, long) = messages.split_at(100_000);
    assert!(lines.iter().all(|each| *each == line));
    assert!((2..=4).contains(&long.len()), "{}", long.len());
}

proptest! {
    /// However a stream comes, sound or not, the pieces have its lines.
    #[test]
    fn pieces_have_the_lines_of_the_stream(
        texts in prop::collection::vec("[ab\n]{0,20}", 0..4),
        damage in prop::option::of((any::<prop::sample::Index>(), 1u8..=255)),
        every in 1usize..50,
    ) {
        let mut stream: Vec<u8> = texts.iter().flat_map(|text| gzip(text.as_bytes())).collect();
        let is_sound = damage.is_none();
        if let Some((at, by)) = damage && !stream.is_empty() {
            let at = at.index(stream.len());
            stream[at] ^= by;
        }
        let codec = codec("gzip_lines", false).unwrap();
        let mut cutter = codec.cutter().unwrap();
        let mut pieces: Vec<Vec<u8>> = stream.chunks(every).filter_map(|chunk| cutter.push(chunk.to_vec())).collect();
        pieces.extend(cutter.flush());
        prop_assert_eq!(cutter.pending(), 0);
        let events = events_of(&*codec, &pieces, true);
        if is_sound {
            let expected = texts.concat();
            prop_assert_eq!(events.len(), expected.lines().count());
            prop_assert_eq!(events, events_of(&*codec, &[stream], false));
        }
    }

    #[test]
    fn no_bytes_do_harm(mut reads: Vec<Vec<u8>>) {
        for read in &mut reads {
            read.splice(0..0, [0x1F, 0x8B, 8]);
        }
        let codec = codec("gzip_lines", false).unwrap();
        let mut cutter = codec.cutter().unwrap();
        let mut pieces: Vec<Vec<u8>> = reads.iter().filter_map(|read| cutter.push(read.clone())).collect();
        pieces.extend(cutter.flush());
        events_of(&*codec, &pieces, true);
        events_of(&*codec, &reads, true);
    }
}
