//! What the client believes, and what it does not: the traps on the sending side.

use std::time::Duration;

use skidder_lumberjack::{
    Acked, Client, ClientError, ClientOptions, Compression, EncodeError, EncodedWindow, Limits,
    Version, WindowBuilder,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{sleep, timeout},
};

use crate::frames::{PATIENCE, decode};

fn build(builder: &mut WindowBuilder, events: u32) -> EncodedWindow {
    for _ in 0..events {
        builder.push_json(b"{\"message\":\"text\"}").expect("fits");
    }
    builder.finish()
}

fn one_window(version: Version, events: u32) -> EncodedWindow {
    build(&mut WindowBuilder::new(version, Compression::None), events)
}

/// A client with a window in flight, and the server's end.
async fn in_flight(window: &EncodedWindow) -> (Client<DuplexStream>, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let mut client = Client::new(ours, ClientOptions::new(window.version));
    client.send(window).await.expect("sent");
    (client, theirs)
}

async fn answer(server: &mut DuplexStream, version: u8, sequence: u32) {
    let frame = [&[version, b'A'][..], &sequence.to_be_bytes()].concat();
    server.write_all(&frame).await.expect("writes");
}

fn partly(events: u32) -> Acked {
    Acked {
        events,
        complete: false,
    }
}

fn wholly(events: u32) -> Acked {
    Acked {
        events,
        complete: true,
    }
}

#[tokio::test]
async fn partial_acknowledgements_add_up_and_never_go_back() {
    let (mut client, mut server) = in_flight(&one_window(Version::V2, 10)).await;
    for (sequence, expected) in [(5, partly(5)), (3, partly(5)), (9, partly(9))] {
        answer(&mut server, b'2', sequence).await;
        assert_eq!(client.receive_ack().await.expect("valid"), expected);
    }
    assert_eq!(client.in_flight(), 1);
    answer(&mut server, b'2', 10).await;
    assert_eq!(client.receive_ack().await.expect("valid"), wholly(10));
    assert_eq!(client.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_may_come_in_pieces_and_waiting_for_it_may_be_given_up() {
    let (mut client, mut server) = in_flight(&one_window(Version::V2, 4)).await;
    for byte in b"2A\0\0\0" {
        server.write_all(&[*byte]).await.expect("writes");
        let early = timeout(Duration::from_secs(1), client.receive_ack()).await;
        assert!(early.is_err(), "{early:?}");
    }
    server.write_all(&[4]).await.expect("writes");
    assert_eq!(client.receive_ack().await.expect("valid"), wholly(4));
}

#[tokio::test(start_paused = true)]
async fn keep_alives_hold_off_the_timeout_and_acknowledge_nothing() {
    let (mut client, mut server) = in_flight(&one_window(Version::V2, 4)).await;
    let keep_alive = tokio::spawn(async move {
        for _ in 0..20 {
            sleep(Duration::from_secs(14)).await;
            answer(&mut server, b'2', 0).await;
        }
        sleep(Duration::from_secs(14)).await;
        answer(&mut server, b'2', 4).await;
        server
    });
    assert_eq!(client.receive_ack().await.expect("valid"), wholly(4));
    keep_alive.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_timeout() {
    let (mut client, _server) = in_flight(&one_window(Version::V2, 4)).await;
    let error = client.receive_ack().await.unwrap_err();
    assert!(
        matches!(error, ClientError::AckTimeout { after } if after == Duration::from_secs(15)),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_acknowledgement_beyond_the_window_is_refused() {
    let (mut client, mut server) = in_flight(&one_window(Version::V2, 1600)).await;
    answer(&mut server, b'2', 1601).await;
    let error = client.receive_ack().await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::AckOutOfRange {
                got: 1601,
                first: 1,
                last: 1600
            }
        ),
        "{error:?}"
    );
    assert_eq!(client.in_flight(), 1, "the window is not safe");
}

#[tokio::test]
async fn an_acknowledgement_of_another_version_is_refused() {
    let (mut client, mut server) = in_flight(&one_window(Version::V2, 4)).await;
    answer(&mut server, b'1', 4).await;
    let error = client.receive_ack().await.unwrap_err();
    assert!(
        matches!(error, ClientError::WrongVersion { .. }),
        "{error:?}"
    );
    let (mut client, mut server) = in_flight(&one_window(Version::V1, 4)).await;
    answer(&mut server, b'2', 4).await;
    let error = client.receive_ack().await.unwrap_err();
    assert!(
        matches!(error, ClientError::WrongVersion { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_is_no_acknowledgement_is_refused() {
    for bytes in [b"XXXXXX", b"2W\0\0\0\x04", b"HTTP/1"] {
        let (mut client, mut server) = in_flight(&one_window(Version::V2, 4)).await;
        server.write_all(bytes).await.expect("writes");
        let error = client.receive_ack().await.unwrap_err();
        assert!(matches!(error, ClientError::NotAnAck { .. }), "{error:?}");
        assert_eq!(client.in_flight(), 1);
    }
}

#[tokio::test]
async fn an_acknowledgement_of_nothing_is_refused_and_a_keep_alive_is_not() {
    let (ours, mut server) = tokio::io::duplex(1024);
    let mut client = Client::new(ours, ClientOptions::new(Version::V2));
    answer(&mut server, b'2', 0).await;
    answer(&mut server, b'2', 1).await;
    let error = client.receive_ack().await.unwrap_err();
    assert!(
        matches!(error, ClientError::UnexpectedAck { got: 1 }),
        "{error:?}"
    );
}

#[tokio::test]
async fn in_version_1_the_first_number_does_not_acknowledge_the_window() {
    let (mut client, mut server) = in_flight(&one_window(Version::V1, 1024)).await;
    answer(&mut server, b'1', 1).await;
    assert_eq!(client.receive_ack().await.expect("valid"), partly(1));
    answer(&mut server, b'1', 1024).await;
    assert_eq!(client.receive_ack().await.expect("valid"), wholly(1024));
}

#[tokio::test]
async fn in_version_1_a_keep_alive_of_version_2_acknowledges_nothing() {
    let (mut client, mut server) = in_flight(&one_window(Version::V1, 4)).await;
    answer(&mut server, b'2', 0).await;
    answer(&mut server, b'1', 4).await;
    assert_eq!(client.receive_ack().await.expect("valid"), wholly(4));
}

#[tokio::test]
async fn in_version_1_zero_is_refused_unless_it_is_the_number_of_an_event() {
    let (mut client, mut server) = in_flight(&one_window(Version::V1, 4)).await;
    answer(&mut server, b'1', 0).await;
    let error = client.receive_ack().await.unwrap_err();
    assert!(
        matches!(error, ClientError::AckOutOfRange { .. }),
        "{error:?}"
    );

    let mut builder = WindowBuilder::new(Version::V1, Compression::None);
    builder.set_next_sequence(u32::MAX - 1);
    let (mut client, mut server) = in_flight(&build(&mut builder, 4)).await;
    answer(&mut server, b'1', 0).await;
    assert_eq!(client.receive_ack().await.expect("valid"), partly(3));
    answer(&mut server, b'1', 1).await;
    assert_eq!(client.receive_ack().await.expect("valid"), wholly(4));
}

#[tokio::test]
async fn in_version_1_the_count_of_events_is_taken_for_all_where_it_can_mean_nothing_else() {
    let mut builder = WindowBuilder::new(Version::V1, Compression::None);
    builder.set_next_sequence(1025);
    let (mut client, mut server) = in_flight(&build(&mut builder, 1024)).await;
    answer(&mut server, b'1', 1024).await;
    assert_eq!(client.receive_ack().await.expect("valid"), wholly(1024));
    // Within the window it is the number of an event.
    builder.set_next_sequence(11);
    let (mut client, mut server) = in_flight(&build(&mut builder, 20)).await;
    answer(&mut server, b'1', 20).await;
    assert_eq!(client.receive_ack().await.expect("valid"), partly(10));
}

#[tokio::test]
async fn pipelined_windows_are_acknowledged_in_order() {
    let mut builder = WindowBuilder::new(Version::V2, Compression::default());
    let (mut client, mut server) = in_flight(&build(&mut builder, 3)).await;
    client.send(&build(&mut builder, 5)).await.expect("sent");
    assert_eq!(client.in_flight(), 2);
    answer(&mut server, b'2', 3).await;
    answer(&mut server, b'2', 5).await;
    assert_eq!(client.receive_ack().await.expect("valid"), wholly(3));
    assert_eq!(client.receive_ack().await.expect("valid"), wholly(5));
    // Two windows in one acknowledgement are none.
    client.send(&build(&mut builder, 3)).await.expect("sent");
    client.send(&build(&mut builder, 5)).await.expect("sent");
    answer(&mut server, b'2', 5).await;
    assert!(client.receive_ack().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_that_stops_reading_but_keeps_alive_is_waited_for() {
    let (ours, mut server) = tokio::io::duplex(64);
    let mut client = Client::new(ours, ClientOptions::new(Version::V2));
    let window = one_window(Version::V2, 100);
    let length = window.bytes.len();
    let busy = tokio::spawn(async move {
        for _ in 0..20 {
            answer(&mut server, b'2', 0).await;
            sleep(Duration::from_secs(14)).await;
        }
        let mut received = vec![0; length];
        server.read_exact(&mut received).await.expect("reads");
        answer(&mut server, b'2', 100).await;
        (server, received)
    });
    client.send(&window).await.expect("sent in the end");
    assert_eq!(client.receive_ack().await.expect("valid"), wholly(100));
    let (_server, received) = busy.await.expect("no panic");
    assert_eq!(received, window.bytes, "not a byte twice or out of order");
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_waited_for_when_the_stream_has_a_buffer_too() {
    let (ours, mut server) = tokio::io::duplex(64);
    let window = one_window(Version::V2, 100);
    let length = window.bytes.len();
    // As TLS does, this takes all of the window at once and blocks when it is flushed.
    let ours = tokio::io::BufStream::with_capacity(1024, length + 1, ours);
    let mut client = Client::new(ours, ClientOptions::new(Version::V2));
    let busy = tokio::spawn(async move {
        for _ in 0..20 {
            answer(&mut server, b'2', 0).await;
            sleep(Duration::from_secs(14)).await;
        }
        let mut received = vec![0; length];
        server.read_exact(&mut received).await.expect("reads");
        answer(&mut server, b'2', 100).await;
        (server, received)
    });
    client.send(&window).await.expect("sent in the end");
    assert_eq!(client.receive_ack().await.expect("valid"), wholly(100));
    let (_server, received) = busy.await.expect("no panic");
    assert_eq!(received, window.bytes);
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_that_come_while_sending_are_kept() {
    let mut builder = WindowBuilder::new(Version::V2, Compression::None);
    let (ours, mut server) = tokio::io::duplex(2048);
    let mut client = Client::new(ours, ClientOptions::new(Version::V2));
    client.send(&build(&mut builder, 2)).await.expect("sent");
    let second = build(&mut builder, 500);
    let server = tokio::spawn(async move {
        answer(&mut server, b'2', 1).await;
        answer(&mut server, b'2', 2).await;
        sleep(Duration::from_secs(5)).await;
        let mut sink = vec![0; 100_000];
        while server.read(&mut sink).await.expect("reads") > 0 {}
    });
    client.send(&second).await.expect("sent");
    assert_eq!(client.in_flight(), 2, "none is lost from view");
    assert_eq!(client.receive_ack().await.expect("valid"), partly(1));
    assert_eq!(client.receive_ack().await.expect("valid"), wholly(2));
    assert_eq!(client.in_flight(), 1);
    drop(client);
    server.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_nothing_and_says_nothing_is_a_timeout() {
    let (ours, _server) = tokio::io::duplex(64);
    let mut client = Client::new(ours, ClientOptions::new(Version::V2));
    let error = client
        .send(&one_window(Version::V2, 100))
        .await
        .unwrap_err();
    assert!(
        matches!(error, ClientError::WriteTimeout { .. }),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_send_that_was_given_up_poisons_the_connection() {
    let (ours, _server) = tokio::io::duplex(64);
    let mut client = Client::new(ours, ClientOptions::new(Version::V2));
    let window = one_window(Version::V2, 100);
    let given_up = timeout(Duration::from_secs(1), client.send(&window)).await;
    assert!(given_up.is_err());
    let error = client.send(&window).await.unwrap_err();
    assert!(matches!(error, ClientError::SendInterrupted), "{error:?}");
}

#[tokio::test]
async fn a_server_that_closes_says_how_much_is_unacknowledged() {
    let mut builder = WindowBuilder::new(Version::V2, Compression::default());
    let (mut client, server) = in_flight(&build(&mut builder, 3)).await;
    client.send(&build(&mut builder, 5)).await.expect("sent");
    drop(server);
    let error = timeout(PATIENCE, client.receive_ack())
        .await
        .expect("in time")
        .unwrap_err();
    assert!(
        matches!(error, ClientError::Closed { in_flight: 2 }),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_idle_client_notices_that_the_server_closes() {
    let (ours, server) = tokio::io::duplex(64);
    let mut client = Client::new(ours, ClientOptions::new(Version::V1));
    drop(server);
    let error = client.receive_ack().await.unwrap_err();
    assert!(
        matches!(error, ClientError::Closed { in_flight: 0 }),
        "{error:?}"
    );
}

#[tokio::test]
async fn windows_of_another_version_or_without_events_are_not_sent() {
    let (ours, mut server) = tokio::io::duplex(64);
    let mut client = Client::new(ours, ClientOptions::new(Version::V2));
    for window in [one_window(Version::V1, 1), one_window(Version::V2, 0)] {
        let error = client.send(&window).await.unwrap_err();
        assert!(
            matches!(error, ClientError::UnsuitableWindow { .. }),
            "{error:?}"
        );
    }
    client.close().await.expect("closes");
    let mut sent = Vec::new();
    server.read_to_end(&mut sent).await.expect("reads");
    assert_eq!(sent, b"");
}

#[test]
fn a_window_is_one_window_frame_and_one_compressed_frame() {
    let mut builder = WindowBuilder::new(Version::V2, Compression::Zlib { level: 3 });
    let window = build(&mut builder, 2048);
    let (head, rest) = window.bytes.split_at(6);
    assert_eq!(head, b"2W\0\0\x08\0");
    assert_eq!(rest[..2], *b"2C");
    let length = u32::from_be_bytes(rest[2..6].try_into().expect("four bytes"));
    assert_eq!(rest.len(), 6 + length as usize, "and nothing after it");
}

#[test]
fn what_does_not_compress_is_sent_bare() {
    let mut builder = WindowBuilder::new(Version::V2, Compression::Zlib { level: 3 });
    builder.push_json(b"{}").expect("fits");
    assert_eq!(
        builder.finish().bytes,
        &b"2W\0\0\0\x012J\0\0\0\x01\0\0\0\x02{}"[..]
    );
}

#[test]
fn version_2_numbers_begin_anew_in_each_window_and_version_1_numbers_run_on() {
    let mut second = WindowBuilder::new(Version::V2, Compression::None);
    second.set_next_sequence(77);
    let mut first = WindowBuilder::new(Version::V1, Compression::None);
    for window in 0..3 {
        assert_eq!(build(&mut second, 10).first_sequence, 1);
        assert_eq!(build(&mut first, 10).first_sequence, 1 + window * 10);
    }
}

#[test]
fn version_1_numbers_wrap_to_zero_and_say_before_when_logstash_stops_acknowledging() {
    let mut builder = WindowBuilder::new(Version::V1, Compression::None).with_max_events(100);
    assert!(!builder.should_restart_sequence());
    builder.set_next_sequence((1 << 31) - 50);
    assert!(builder.should_restart_sequence());
    builder.set_next_sequence(u32::MAX);
    let window = build(&mut builder, 3);
    assert_eq!(
        (window.first_sequence, window.last_sequence()),
        (u32::MAX, 1)
    );
    let decoded = decode(&window.bytes, 5, &Limits::default()).expect("valid");
    let sequences: Vec<_> = decoded[0]
        .events
        .iter()
        .map(|event| event.sequence)
        .collect();
    assert_eq!(sequences, [u32::MAX, 0, 1]);
    assert_eq!(build(&mut builder, 1).first_sequence, 2);
}

#[test]
fn a_full_window_takes_no_more_and_keeps_what_it_has() {
    let mut builder = WindowBuilder::new(Version::V1, Compression::None).with_max_events(2);
    builder.push_json(b"1").expect("fits");
    builder.push_pairs([(&b"k"[..], &b"v"[..])]).expect("fits");
    assert!(builder.is_full());
    let before = builder.bytes();
    assert_eq!(
        builder.push_json(b"3"),
        Err(EncodeError::WindowFull { limit: 2 })
    );
    assert_eq!((builder.len(), builder.bytes()), (2, before));
    assert_eq!(builder.finish().events, 2);
    builder.push_json(b"3").expect("the next window");
    assert_eq!(builder.finish().first_sequence, 3);
}

#[test]
fn a_cleared_window_leaves_no_gap_in_the_numbers() {
    let mut builder = WindowBuilder::new(Version::V1, Compression::None);
    build(&mut builder, 5);
    builder.push_json(b"never sent").expect("fits");
    builder.clear();
    assert!(builder.is_empty());
    assert_eq!(build(&mut builder, 1).first_sequence, 6);
}
