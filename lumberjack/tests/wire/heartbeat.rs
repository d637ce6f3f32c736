//! Signs of life over the native framing, in paused time: a server that owes nothing is asked for one, and
//! one that receives gives some unasked.

use std::time::Duration;

use skidder_lumberjack::native::{LineBuilder, NativeCompression};
use skidder_lumberjack::{
    Acked, Client, ClientError, ClientOptions, Delivery, EncodedWindow, ServerOptions, Version,
    serve,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, advance, timeout};

const HEARTBEAT: Duration = Duration::from_secs(10);

fn window(lines: usize) -> EncodedWindow {
    let mut builder = LineBuilder::new(NativeCompression::None, 10_000);
    for number in 0..lines {
        let text = format!("line {number}");
        builder
            .push(
                1,
                |fields| fields.write(b"stream", [].into_iter(), [].into_iter()),
                7,
                0,
                text.as_bytes(),
                [].into_iter(),
            )
            .expect("fits");
    }
    builder.finish()
}

fn client(stream: DuplexStream, version: Version) -> Client<DuplexStream> {
    let mut options = ClientOptions::new(version);
    options.heartbeat_timeout = Some(HEARTBEAT);
    Client::new(stream, options)
}

/// A server that acknowledges what it gets.
fn server(stream: DuplexStream) {
    let (sender, mut deliveries) = mpsc::channel::<Delivery>(1);
    tokio::spawn(async move {
        let options = ServerOptions::default();
        let taking = async {
            while let Some(delivery) = deliveries.recv().await {
                delivery.ack.acknowledge();
            }
        };
        drop(tokio::join!(serve(stream, &options, sender), taking));
    });
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_while_there_are_signs_of_life() {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    server(theirs);
    let mut client = client(ours, Version::Native);
    // Longer than the server's patience with a silent peer, and given up waiting for again and again.
    for _ in 0..100 {
        let quiet = timeout(Duration::from_secs(3), client.receive()).await;
        assert!(quiet.is_err(), "{quiet:?}");
    }
    client.send(&window(3)).await.expect("sends");
    let acked = client.receive_ack().await.expect("acknowledged");
    assert_eq!(
        acked,
        Acked {
            events: 3,
            complete: true
        }
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_server_without_a_sign_of_life_is_given_up() {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let mut silent = client(ours, Version::Native);
    let begun = Instant::now();
    let error = silent.receive().await.expect_err("it is silent");
    assert!(
        matches!(error, ClientError::HeartbeatTimeout { after } if after == HEARTBEAT),
        "{error:?}"
    );
    let took = begun.elapsed();
    assert!((HEARTBEAT..HEARTBEAT * 2).contains(&took), "{took:?}");
    drop(silent);
    let mut question = Vec::new();
    theirs.read_to_end(&mut question).await.expect("reads");
    assert_eq!(
        (question.len(), &question[..8]),
        (24, &b"NW\0\0\0\0\0\0"[..])
    );
    // Receivers of version 2 are asked nothing: some do not answer a window of no events.
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let mut old = client(ours, Version::V2);
    let waited = timeout(Duration::from_hours(1), old.receive()).await;
    assert!(waited.is_err(), "{waited:?}");
    drop(old);
    assert_eq!(theirs.read(&mut [0]).await.expect("reads"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_window_follows_a_question_that_is_half_written() {
    // Seven bytes fit into the pipe: the question is stuck when the window comes.
    let (ours, mut theirs) = tokio::io::duplex(7);
    let mut client = client(ours, Version::Native);
    let early = timeout(HEARTBEAT * 3 / 4, client.receive()).await;
    assert!(early.is_err(), "{early:?}");
    let window = window(2);
    let receiving = async {
        let mut bytes = vec![0; 24 + window.bytes.len()];
        theirs.read_exact(&mut bytes).await.expect("reads");
        bytes
    };
    let (sent, bytes) = tokio::join!(client.send(&window), receiving);
    sent.expect("sent");
    assert_eq!(&bytes[..4], b"NW\0\0");
    assert_eq!(bytes[24..], window.bytes[..]);
}

#[tokio::test(start_paused = true)]
async fn who_sends_a_window_slowly_is_told_that_it_arrives() {
    let (mut ours, theirs) = tokio::io::duplex(1 << 16);
    server(theirs);
    let window = window(1000);
    let mut answer = [0; 6];
    for piece in window.bytes.chunks(window.bytes.len() / 4 + 1) {
        ours.write_all(piece).await.expect("writes");
        let begun = Instant::now();
        ours.read_exact(&mut answer).await.expect("reads");
        if answer != *b"NA\0\0\0\0" {
            break;
        }
        let pause = begun.elapsed();
        assert!(pause < Duration::from_secs(4), "{pause:?}");
    }
    assert_eq!(answer, *b"NA\0\0\x03\xe8");
    // Between windows it is quiet.
    advance(Duration::from_secs(30)).await;
    let quiet = timeout(Duration::from_secs(20), ours.read(&mut answer)).await;
    assert!(quiet.is_err(), "{quiet:?}");
}
